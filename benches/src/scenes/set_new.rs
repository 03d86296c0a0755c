//! A set of what is not there yet, into an empty cache with room for all.

use super::Scene;
use super::contest::{Contest, READING, RESIDENT, ROOM, versus};
use crate::peers::ALL;
use crate::workload::{Keys, shuffled};

pub const SCENE: Scene = Scene {
    name: "set-new-1t",
    group: "memory",
    about: "set of 100,000 new keys in shuffled order, a fresh cache each round, one thread",
    reading: READING,
    pictured: false,
    parts: versus,
    run: |scene, settings, report| {
        let keys = Keys::new(0, RESIDENT);
        let mut contest = Contest::new(scene, settings, 1);
        contest.ops = RESIDENT as usize;
        // A run is short, so there are more of them.
        contest.rounds = settings.rounds + 2;
        contest.hold(report, |contender, round| {
            let order = shuffled(RESIDENT, round as u64);
            let peer = (ALL[contender].make)(&keys, ROOM);
            contest.time(&*peer, 0, |_| {
                peer.set(&keys, &order);
                0
            })
        });
        Ok(())
    },
};
