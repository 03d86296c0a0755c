//! Steady load: tasks that read any key and write their own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use larder::Cache;
use tokio::task::JoinSet;

use crate::ledger::Ledger;

/// Tasks.
const TASKS: usize = 16;
/// What a task does in one go, and the pause after it: the load of a service, not a benchmark.
const CALLS: usize = 8;
const PAUSE: Duration = Duration::from_millis(2);
/// Share of writes, in percent.
const WRITES: usize = 30;

/// Load that goes on until it is stopped.
pub struct Load {
    tasks: JoinSet<()>,
    stop: Arc<AtomicBool>,
}

pub fn start(cache: &Cache<Vec<u8>>, ledger: &Arc<Ledger>) -> Load {
    let mut tasks = JoinSet::new();
    let stop = Arc::new(AtomicBool::new(false));
    for nth in 0..TASKS {
        let (cache, ledger, stop) = (cache.clone(), Arc::clone(ledger), Arc::clone(&stop));
        tasks.spawn(async move {
            let mut rng = fastrand::Rng::with_seed(nth as u64);
            while !stop.load(Ordering::Relaxed) {
                for _ in 0..CALLS {
                    let key = rng.usize(0..ledger.keys());
                    if rng.usize(0..100) < WRITES {
                        // Each key has one task that writes it.
                        ledger.set(&cache, key - key % TASKS + nth).await;
                    } else {
                        ledger.get(&cache, key).await;
                    }
                }
                tokio::time::sleep(PAUSE).await;
            }
        });
    }
    Load { tasks, stop }
}

impl Load {
    pub async fn stop(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(done) = self.tasks.join_next().await {
            done.expect("a task of the load ends well");
        }
    }
}
