//! Times the contenders in memory against each other and prints the table that all their scenes share.

use std::time::Duration;

use super::{Scene, Settings};
use crate::harness::{interleave, median, ratio, timed};
use crate::peers::{ALL, LARDER, Maker, Peer};
use crate::report::{Report, print_table};
use crate::workload::{Keys, shuffled};

/// What the rows of a scene say that compares times.
pub const READING: &str = "how many times as fast as the peer larder is; more is better";

/// Keys that lie in the caches where nothing is to be evicted, and their room beyond that.
pub const RESIDENT: u32 = 100_000;
pub const ROOM: usize = 2 * RESIDENT as usize;

/// How often each contender is filled: where its memory happens to lie decides up to a quarter of what a get takes,
/// and stays as it is for as long as it is filled.
const FILLS: usize = 3;

/// The rows of a scene that compares times between all: one for each peer.
pub fn versus() -> Vec<String> {
    versus_of(ALL)
}

/// The rows of a scene that compares times between these.
pub fn versus_of<'a>(makers: impl IntoIterator<Item = &'a Maker>) -> Vec<String> {
    let peers = makers.into_iter().filter(|maker| maker.name != LARDER);
    peers.map(|maker| versus_one(maker.name)).collect()
}

pub fn versus_one(peer: &str) -> String {
    format!("larder-vs-{peer}")
}

/// One contender's run of one round.
pub struct Run {
    pub time: Duration,
    /// In percent, the gets that found something.
    pub found: Option<f64>,
    pub entries: usize,
}

/// How a contest is held.
pub struct Contest<'a> {
    pub scene: &'a Scene,
    /// Who takes part, larder first.
    pub makers: Vec<&'static Maker>,
    pub rounds: usize,
    pub threads: usize,
    /// Operations of each thread.
    pub ops: usize,
}

impl<'a> Contest<'a> {
    pub fn new(scene: &'a Scene, settings: &Settings, threads: usize) -> Self {
        Self {
            scene,
            makers: ALL.iter().collect(),
            rounds: settings.rounds,
            threads,
            ops: settings.ops,
        }
    }

    /// Lets each contender run in each round, given its number among the makers and the round's.
    pub fn hold(&self, report: &mut Report, mut run: impl FnMut(usize, usize) -> Run) {
        let mut last: Vec<Option<Run>> = self.makers.iter().map(|_| None).collect();
        let figures = interleave(self.rounds, last.len(), |contender, round| {
            let ran = run(contender, round);
            let ns = ran.time.as_nanos() as f64 / self.ops as f64;
            last[contender] = Some(ran);
            ns
        });
        let mut lines = Vec::new();
        for ((maker, own), ran) in self.makers.iter().zip(&figures).zip(&last) {
            let ns = median(own);
            let rate = self.threads as f64 * 1e3 / ns;
            let least = own.iter().copied().fold(f64::INFINITY, f64::min);
            let most = own.iter().copied().fold(0.0, f64::max);
            let mut versus = String::new();
            if maker.name != LARDER {
                let times = ratio(own, &figures[0]);
                versus = format!("{times:.2} x as fast");
                report.row(self.scene.row(&versus_one(maker.name)), times);
            }
            report.figure(self.scene.name, maker.name, rate);
            let found = ran.as_ref().and_then(|ran| ran.found);
            lines.push(vec![
                maker.name.to_owned(),
                format!("{ns:.1}"),
                format!("{least:.0}..{most:.0}"),
                format!("{rate:.2}"),
                found.map_or(String::new(), |found| format!("{found:.1} %")),
                ran.as_ref()
                    .map_or(String::new(), |ran| ran.entries.to_string()),
                versus,
            ]);
        }
        let head = [
            "",
            "ns/op",
            "of rounds",
            "M op/s",
            "found",
            "entries",
            "larder is",
        ];
        print_table(&head, &lines);
    }

    /// Times gets, or whatever else counts what it found, by threads with their numbers.
    pub fn time(&self, peer: &dyn Peer, gets: usize, ask: impl Fn(usize) -> usize + Sync) -> Run {
        let found = std::sync::atomic::AtomicUsize::new(0);
        let time = timed(self.threads, |thread| {
            found.fetch_add(ask(thread), std::sync::atomic::Ordering::Relaxed);
        });
        let found = found.into_inner();
        peer.settle();
        Run {
            time,
            found: (gets > 0).then(|| 100.0 * found as f64 / gets as f64),
            entries: peer.resident(),
        }
    }
}

/// Contenders with room for twice as many keys as they are given.
pub struct Filled(Vec<Vec<Box<dyn Peer>>>);

impl Filled {
    /// These contenders; in shuffled order the keys that `key` says.
    pub fn new(makers: &[&Maker], keys: &Keys, key: impl Fn(u32) -> u32) -> Self {
        let order: Vec<u32> = shuffled(RESIDENT, 1).into_iter().map(key).collect();
        let fill = |maker: &&Maker| {
            let peer = (maker.make)(keys, ROOM);
            peer.set(keys, &order);
            peer.settle();
            peer
        };
        let fills = (0..FILLS).map(|_| makers.iter().map(fill).collect());
        Self(fills.collect())
    }

    /// A contender as it takes part in a round: in each as it was filled another time.
    pub fn of(&self, contender: usize, round: usize) -> &dyn Peer {
        &*self.0[round % FILLS][contender]
    }
}
