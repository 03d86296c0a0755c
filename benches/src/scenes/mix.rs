//! Three gets to one set over far more keys than there is room for.

use super::contest::{Contest, READING, versus_of};
use super::{Scene, Settings};
use crate::peers::{ALL, Maker};
use crate::report::Report;
use crate::workload::{Keys, SET, Script, Zipf};

pub const ONE: Scene = Scene {
    name: "mix-75-25-1t",
    group: "memory",
    about: "75 % get, 25 % set, 1,000,000 keys, Zipf 0.99, room for 100,000, one thread",
    reading: READING,
    pictured: true,
    parts: || versus_of(takers()),
    run: |scene, settings, report| {
        run(scene, settings, report, 1);
        Ok(())
    },
};

pub const TWO: Scene = Scene {
    name: "mix-75-25-2t",
    about: "75 % get, 25 % set, 1,000,000 keys, Zipf 0.99, room for 100,000, two threads",
    run: |scene, settings, report| {
        run(scene, settings, report, 2);
        Ok(())
    },
    ..ONE
};

const KEYS: u32 = 1_000_000;
const ROOM: usize = 100_000;
const SET_PERCENT: u64 = 25;
/// Sets before anything is timed: enough to fill every cache.
const FILL: usize = 500_000;

/// All but stretto: it puts sets into a queue without an end, and where they displace something its one
/// thread took a hundred times as long as the loop that had filled it. The loop's time says nothing then.
fn takers() -> impl Iterator<Item = &'static Maker> {
    ALL.iter().filter(|maker| maker.name != "stretto")
}

fn run(scene: &Scene, settings: &Settings, report: &mut Report, threads: usize) {
    let keys = Keys::new(0, KEYS);
    let mut contest = Contest::new(scene, settings, threads);
    contest.makers = takers().collect();
    let zipf = Zipf::new(KEYS);
    let script = Script::new(&zipf, settings.rounds, threads, settings.ops, SET_PERCENT);
    let fill = zipf.steps(FILL, 0, 1);
    let full = contest.makers.iter().map(|maker| {
        let peer = (maker.make)(&keys, ROOM);
        peer.set(&keys, &fill);
        peer.settle();
        peer
    });
    let peers: Vec<_> = full.collect();
    contest.hold(report, |contender, round| {
        let steps = |thread| script.at(round, thread);
        let all = (0..threads).flat_map(steps);
        let gets = all.filter(|step| **step & SET == 0).count();
        let peer = &*peers[contender];
        contest.time(peer, gets, |thread| peer.mix(&keys, steps(thread)))
    });
}
