//! Tables of other designs, bare, beside larder and quick_cache: where the limit of a design is.

use super::Scene;
use super::contest::{Contest, Filled, RESIDENT, versus_of};
use crate::peers::{Maker, bare, larder, quick};
use crate::report::Report;
use crate::scenes::Settings;
use crate::workload::{Keys, Script, Zipf};

pub const HIT_ONE: Scene = Scene {
    name: "design-hit-1t",
    group: "designs",
    about: "get of what is there, 100,000 keys, Zipf 0.99, one thread, beside tables with no cache around them",
    reading: "how many times as fast as the table larder is; a limit, not a peer",
    pictured: false,
    parts: || versus_of(MAKERS.iter().copied()),
    run: |scene, settings, report| {
        hold(scene, settings, report, 1, Ask::Get);
        Ok(())
    },
};

pub const HIT_TWO: Scene = Scene {
    name: "design-hit-2t",
    about: "the same with two threads",
    run: |scene, settings, report| {
        hold(scene, settings, report, 2, Ask::Get);
        Ok(())
    },
    ..HIT_ONE
};

pub const OVERWRITE: Scene = Scene {
    name: "design-overwrite-1t",
    about: "set of what is there, 100,000 keys, Zipf 0.99, one thread, beside tables with no cache around them",
    run: |scene, settings, report| {
        hold(scene, settings, report, 1, Ask::Set);
        Ok(())
    },
    ..HIT_ONE
};

const MAKERS: &[&Maker] = &[
    &larder::MAKER,
    &quick::MAKER,
    &bare::ERASED,
    &bare::TYPED,
    &bare::NODE,
    &bare::LINES,
];

#[derive(Clone, Copy, PartialEq)]
enum Ask {
    Get,
    Set,
}

fn hold(scene: &Scene, settings: &Settings, report: &mut Report, threads: usize, ask: Ask) {
    let keys = Keys::new(0, RESIDENT);
    let contest = Contest {
        makers: MAKERS.to_vec(),
        ..Contest::new(scene, settings, threads)
    };
    let zipf = Zipf::new(RESIDENT);
    let script = Script::new(&zipf, settings.rounds, threads, settings.ops, 0);
    let peers = Filled::new(&contest.makers, &keys, |at| at);
    let gets = if ask == Ask::Get {
        threads * settings.ops
    } else {
        0
    };
    contest.hold(report, |contender, round| {
        let peer = peers.of(contender, round);
        contest.time(peer, gets, |thread| {
            let order = script.at(round, thread);
            match ask {
                Ask::Get => peer.get(&keys, order),
                Ask::Set => {
                    peer.set(&keys, order);
                    0
                }
            }
        })
    });
}
