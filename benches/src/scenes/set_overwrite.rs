//! A set of what is there, with no store below memory.

use super::Scene;
use super::contest::{Contest, Filled, READING, RESIDENT, versus};
use crate::workload::{Keys, Script, Zipf};

pub const SCENE: Scene = Scene {
    name: "set-overwrite-1t",
    group: "memory",
    about: "set of what is there, 100,000 keys, Zipf 0.99, one thread",
    reading: READING,
    pictured: false,
    parts: versus,
    run: |scene, settings, report| {
        let keys = Keys::new(0, RESIDENT);
        let contest = Contest::new(scene, settings, 1);
        let script = Script::new(&Zipf::new(RESIDENT), settings.rounds, 1, settings.ops, 0);
        let peers = Filled::new(&contest.makers, &keys, |at| at);
        contest.hold(report, |contender, round| {
            let peer = peers.of(contender, round);
            contest.time(peer, 0, |_| {
                peer.set(&keys, script.at(round, 0));
                0
            })
        });
        Ok(())
    },
};
