//! A get of what is not there, memory being all there is.

use super::Scene;
use super::contest::{Contest, Filled, READING, RESIDENT, versus};
use crate::workload::{Keys, Script, Zipf};

pub const SCENE: Scene = Scene {
    name: "get-absent-1t",
    group: "memory",
    about: "get of what is not there, 100,000 keys asked for and 100,000 others resident, one thread",
    reading: READING,
    pictured: false,
    parts: versus,
    run: |scene, settings, report| {
        let keys = Keys::new(0, 2 * RESIDENT);
        let contest = Contest::new(scene, settings, 1);
        let script = Script::new(&Zipf::new(RESIDENT), settings.rounds, 1, settings.ops, 0);
        // What is there lies behind what is asked for.
        let peers = Filled::new(&contest.makers, &keys, |at| at + RESIDENT);
        contest.hold(report, |contender, round| {
            let peer = peers.of(contender, round);
            contest.time(peer, settings.ops, |_| peer.get(&keys, script.at(round, 0)))
        });
        Ok(())
    },
};
