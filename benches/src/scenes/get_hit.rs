//! A get of what is there, by one thread and by two.

use std::error::Error;

use super::contest::{Contest, Filled, READING, RESIDENT, versus};
use super::{Scene, Settings};
use crate::peers;
use crate::report::Report;
use crate::workload::{Keys, Script, Zipf};

pub const ONE: Scene = Scene {
    name: "get-hit-1t",
    group: "memory",
    about: "get of what is there, 100,000 keys, Zipf 0.99, one thread",
    reading: READING,
    pictured: true,
    parts: || {
        let mut parts = versus();
        parts.push(FUTURE.into());
        parts
    },
    run: |scene, settings, report| {
        run(scene, settings, report, 1);
        let (own, moka) = (peers::larder::future_bytes(), peers::moka::future_bytes());
        println!("\n  the future of a get: {own} bytes, moka's {moka}");
        report.row(scene.row(FUTURE), own as f64);
        Ok::<(), Box<dyn Error>>(())
    },
};

pub const TWO: Scene = Scene {
    name: "get-hit-2t",
    about: "get of what is there, 100,000 keys, Zipf 0.99, two threads",
    parts: versus,
    run: |scene, settings, report| {
        run(scene, settings, report, 2);
        Ok(())
    },
    ..ONE
};

/// Bytes of the future that larder's get is; fewer is better.
const FUTURE: &str = "future-bytes";

fn run(scene: &Scene, settings: &Settings, report: &mut Report, threads: usize) {
    let keys = Keys::new(0, RESIDENT);
    let contest = Contest::new(scene, settings, threads);
    let zipf = Zipf::new(RESIDENT);
    let script = Script::new(&zipf, settings.rounds, threads, settings.ops, 0);
    let peers = Filled::new(&contest.makers, &keys, |at| at);
    contest.hold(report, |contender, round| {
        let peer = peers.of(contender, round);
        contest.time(peer, threads * settings.ops, |thread| {
            peer.get(&keys, script.at(round, thread))
        })
    });
}
