//! What an operator would see: the state of the disk and where answers came from, line by line.

use std::sync::Arc;
use std::time::{Duration, Instant};

use larder::{BreakerState, Condition, Larder};

use crate::ledger::{Ledger, Pass, count};

/// How often a line is printed.
const LINE: Duration = Duration::from_millis(500);

pub struct Timeline {
    larder: Larder,
    ledger: Arc<Ledger>,
    began: Instant,
    seen: [u64; 3],
}

impl Timeline {
    pub fn new(larder: &Larder, ledger: &Arc<Ledger>) -> Self {
        println!(
            "{:>6}  {:<9} {:<10} {:>7} {:>7} {:>7} {:>7} {:>6} {:>5}  why",
            "s", "scene", "breaker", "memory", "disk", "misses", "unsaved", "errors", "wrong"
        );
        Self {
            larder: larder.clone(),
            ledger: Arc::clone(ledger),
            began: Instant::now(),
            seen: [0; 3],
        }
    }

    /// Watches for so long.
    pub async fn scene(&mut self, name: &str, time: Duration) {
        let over = Instant::now() + time;
        while Instant::now() < over {
            tokio::time::sleep(LINE).await;
            self.line(name);
        }
    }

    /// Watches until the disk is in service again; `false` if that takes too long.
    pub async fn until_back(&mut self, most: Duration) -> bool {
        let (began, mut lines) = (Instant::now(), 0);
        loop {
            let disk = self.larder.driver("disk").expect("it exists").health();
            if disk.condition == Condition::Up {
                return true;
            }
            if began.elapsed() > most {
                println!("the disk is not back after {most:?}: {:?}", disk.reason);
                return false;
            }
            tokio::time::sleep(LINE / 10).await;
            if began.elapsed() > LINE * (lines + 1) {
                lines += 1;
                self.line("recovery");
            }
        }
    }

    fn line(&mut self, scene: &str) {
        let disk = self.larder.driver("disk").expect("it exists").health();
        let ledger = &self.ledger;
        let now = [&ledger.memory, &ledger.disk, &ledger.misses].map(count);
        let new: Vec<u64> = now.iter().zip(self.seen).map(|(n, s)| n - s).collect();
        self.seen = now;
        let breaker = match disk.breaker.state {
            BreakerState::Closed => "closed",
            BreakerState::Open => "OPEN",
            BreakerState::HalfOpen => "half open",
        };
        println!(
            "{:>6.1}  {scene:<9} {breaker:<10} {:>7} {:>7} {:>7} {:>7} {:>6} {:>5}  {}",
            self.began.elapsed().as_secs_f64(),
            new[0],
            new[1],
            new[2],
            disk.dirty_slots,
            count(&ledger.read_errors) + count(&ledger.write_errors),
            count(&ledger.old) + count(&ledger.foreign),
            short(disk.reason.as_deref().unwrap_or(""))
        );
    }

    pub fn summary(&self, after: Pass) {
        let (ledger, disk) = (
            &self.ledger,
            self.larder.driver("disk").expect("it exists").health(),
        );
        let answers = count(&ledger.memory) + count(&ledger.disk) + count(&ledger.misses);
        println!(
            "\n{answers} answers: {} from memory, {} from disk, {} misses, {} of them of keys that had been set",
            count(&ledger.memory),
            count(&ledger.disk),
            count(&ledger.misses),
            count(&ledger.forgotten)
        );
        println!(
            "errors of reads {}, of Queued writes {}; older than acknowledged {}, foreign {}",
            count(&ledger.read_errors),
            count(&ledger.write_errors),
            count(&ledger.old),
            count(&ledger.foreign)
        );
        println!(
            "the disk was opened {} times and in service {:.0} % of the time",
            disk.generation,
            disk.breaker.availability * 100.0
        );
        println!(
            "at the end {} keys are there, {} were forgotten (the damaged store was moved aside)",
            after.found, after.forgotten
        );
    }
}

/// As much of a reason as fits a line.
fn short(reason: &str) -> String {
    let reason = reason.replace(|c: char| c.is_control(), " ");
    reason.chars().take(70).collect()
}
