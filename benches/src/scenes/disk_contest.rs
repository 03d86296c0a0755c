//! The table and the rows that the scenes over disk share.

use super::Scene;
use super::contest::versus_one;
use crate::harness::{interleave, median, ratio};
use crate::peers::LARDER;
use crate::report::{Report, print_table};

/// Memory of the tier above the disk where nothing else is said: larder's default.
pub const MEMORY_BYTES: usize = 64 << 20;

/// What a row says.
#[derive(Clone, Copy)]
pub enum Reading {
    /// How many times as fast as the peer larder is; more is better.
    TimesAsFast,
    /// larder's time in the peer's; less is better.
    ShareOfTime,
}

/// One contender's run of one round.
pub struct Ran {
    /// Of one operation.
    pub seconds: f64,
    /// What else is to be said of it.
    pub note: String,
}

impl Ran {
    pub fn new(seconds: f64, ops: usize, note: String) -> Self {
        Self {
            seconds: seconds / ops as f64,
            note,
        }
    }
}

/// How a contest is held.
pub struct DiskContest<'a> {
    pub scene: &'a Scene,
    /// Who takes part, larder first.
    pub names: &'a [&'static str],
    pub rounds: usize,
    pub reading: Reading,
}

/// The rows of a scene with these contenders.
pub fn versus_these(names: &[&str]) -> Vec<String> {
    let peers = names.iter().filter(|name| **name != LARDER);
    peers.map(|name| versus_one(name)).collect()
}

impl DiskContest<'_> {
    /// Lets each contender run in each round, given its name and the round's number. larder is the first
    /// of all to run, so that others can do what it did.
    pub fn hold(&self, report: &mut Report, mut run: impl FnMut(&'static str, usize) -> Ran) {
        let mut notes = vec![String::new(); self.names.len()];
        let figures = interleave(self.rounds, self.names.len(), |contender, round| {
            let ran = run(self.names[contender], round);
            notes[contender] = ran.note;
            ran.seconds * 1e6
        });
        let mut lines = Vec::new();
        for ((name, own), note) in self.names.iter().zip(&figures).zip(notes) {
            let mut versus = String::new();
            if *name != LARDER {
                let (row, said) = match self.reading {
                    Reading::TimesAsFast => (ratio(own, &figures[0]), "x as fast"),
                    Reading::ShareOfTime => (ratio(&figures[0], own), "of its time"),
                };
                versus = format!("{row:.2} {said}");
                report.row(self.scene.row(&versus_one(name)), row);
            }
            let us = median(own);
            let least = own.iter().copied().fold(f64::INFINITY, f64::min);
            let most = own.iter().copied().fold(0.0, f64::max);
            report.figure(self.scene.name, name, 1e6 / us);
            lines.push(vec![
                (*name).to_owned(),
                format!("{us:.1}"),
                format!("{least:.1}..{most:.1}"),
                format!("{:.0}", 1e6 / us),
                note,
                versus,
            ]);
        }
        let head = [
            "",
            "us/op",
            "of rounds",
            "op/s",
            "its last run",
            "larder is",
        ];
        print_table(&head, &lines);
    }
}
