//! What an entry takes: the growth of a process in which one contender is filled with a million entries.
//!
//! Each contender has a process of its own, so that nobody is given memory that another has freed.

use std::error::Error;

use super::Scene;
use super::contest::{versus, versus_one};
use crate::child::Child;
use crate::harness::{median, order, ratio};
use crate::peers::{ALL, LARDER};
use crate::process::resident_bytes;
use crate::report::print_table;
use crate::workload::{Keys, shuffled};

pub const SCENE: Scene = Scene {
    name: "memory-per-entry",
    group: "footprint",
    about: "resident memory of an entry, 12-byte key, 64-byte value, 1,000,000 of them",
    reading: "larder's bytes in the peer's; less is better",
    pictured: false,
    parts: versus,
    run: |scene, settings, report| {
        // It hardly varies: a third of the rounds, and none to be dropped.
        let mut figures = vec![Vec::new(); ALL.len()];
        for round in 0..settings.rounds.div_ceil(3) {
            for contender in order(round, ALL.len()) {
                figures[contender].extend(CHILD.spawn(ALL[contender].name)?);
            }
        }
        let mut lines = Vec::new();
        for (maker, own) in ALL.iter().zip(&figures) {
            let mut versus = String::new();
            if maker.name != LARDER {
                let share = ratio(&figures[0], own);
                versus = format!("{share:.2} of it");
                report.row(scene.row(&versus_one(maker.name)), share);
            }
            lines.push(vec![
                maker.name.to_owned(),
                format!("{:.1}", median(own)),
                versus,
            ]);
        }
        print_table(&["", "bytes/entry", "larder takes"], &lines);
        Ok(())
    },
};

pub const CHILD: Child = Child {
    word: "--entry-bytes",
    measure: child,
};

const ENTRIES: u32 = 1_000_000;
/// With this room every contender keeps them all, however unevenly its shards fill.
const ROOM: usize = 1_250_000;

/// Fills one contender and says by how many bytes for each entry the process grew.
fn child(name: &str) -> Result<Vec<f64>, Box<dyn Error>> {
    let maker = ALL.iter().find(|maker| maker.name == name);
    let maker = maker.ok_or_else(|| format!("there is no contender {name:?}"))?;
    let keys = Keys::new(0, ENTRIES);
    let order = shuffled(ENTRIES, 1);
    // What a contender sets aside beforehand counts, too.
    let before = resident_bytes()?;
    let peer = (maker.make)(&keys, ROOM);
    peer.set(&keys, &order);
    let entries = peer.resident();
    if entries < ENTRIES as usize * 99 / 100 {
        return Err(format!("{name} kept {entries} of {ENTRIES} entries").into());
    }
    Ok(vec![(resident_bytes()? - before) / entries as f64])
}
