//! A larder is killed before each thing that it does to its files, from its first opening over commits,
//! flushes, reopenings and a clear to its shutdown: the next start succeeds and keeps every promise.
//!
//! The default run takes every third step; `LARDER_LONG=1` takes each one.
#![cfg(all(target_os = "linux", feature = "disk", feature = "test-util"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::path::Path;
use std::time::Duration;

use larder::{Cache, Condition, Durability, Larder};

use crash::Child;
use faults_of_disks::Control;

#[path = "support/crash.rs"]
mod crash;
#[path = "support/faults_of_disks.rs"]
mod faults_of_disks;

const TEST: &str = "killed_at_any_step_of_its_life_it_keeps_what_it_promised";
const SOON: Duration = Duration::from_secs(30);
/// More than there are.
const STEPS_MAX: u64 = 2_000;
const ROUNDS: u64 = 3;

async fn open(dir: &Path) -> Larder {
    Larder::builder()
        .memory_bytes(1 << 20)
        .call_max(SOON)
        .restart_backoff(Duration::from_millis(1), Duration::from_millis(5))
        .disk(dir.join("data"))
        .start()
        .await
        .unwrap()
}

fn numbers(larder: &Larder, name: &str) -> Cache<u64> {
    larder.cache(name).unwrap()
}

/// Stops the driver and returns when its successor is up.
async fn reopen(larder: &Larder) {
    let generation = |health: &larder::Health| health.drivers[0].generation;
    let before = generation(&larder.health());
    let mut changes = larder.watch_health();
    larder.stop_actor("disk");
    while let Some(health) = changes.next().await {
        if generation(&health) > before && health.drivers[0].condition == Condition::Up {
            return;
        }
    }
}

/// In the child: says each thing that it may rely on.
async fn live(dir: &Path) {
    let larder = open(dir).await;
    let (kept, cleared) = (numbers(&larder, "kept"), numbers(&larder, "cleared"));
    crash::acknowledge("opened");
    let set = cleared.set("x", 1).durability(Durability::Written);
    set.await.unwrap();
    for round in 1..=ROUNDS {
        let set = kept.set("written", round).durability(Durability::Written);
        set.await.unwrap();
        crash::acknowledge(format!("written {round}"));
        kept.set("flushed", round).await.unwrap();
        larder.flush(Durability::Synced).await.unwrap();
        crash::acknowledge(format!("flushed {round}"));
        reopen(&larder).await;
    }
    kept.remove("written").await.unwrap();
    crash::acknowledge("removed");
    cleared.clear().await.unwrap();
    crash::acknowledge("cleared");
    kept.set("last", 1).await.unwrap();
    larder.shutdown(SOON).await.unwrap();
    crash::acknowledge("shut down");
}

/// Kills a child before its `nth` step; what it said, and whether it came to its end.
fn killed_at(dir: &Path, nth: u64) -> (Vec<String>, bool) {
    let scratch = tempfile::tempdir().unwrap();
    let control = scratch.path().join("control");
    let command = faults_of_disks::command(TEST, dir, &control);
    Control::at(&control).kill_at(nth);
    Child::spawn(command).end()
}

/// The last round that was acknowledged of `what`; 0 for none.
fn last(said: &[String], what: &str) -> u64 {
    let rounds = said.iter().filter_map(|line| line.strip_prefix(what));
    rounds.map(|n| n.trim().parse().unwrap()).max().unwrap_or(0)
}

async fn check(dir: &Path, said: &[String], context: &str) {
    let larder = open(dir).await;
    let (kept, cleared) = (numbers(&larder, "kept"), numbers(&larder, "cleared"));
    let is_said = |what: &str| said.iter().any(|line| line == what);
    let found = |key: &'static str| {
        let kept = kept.clone();
        async move { kept.get(key).await.unwrap().map_or(0, |entry| *entry) }
    };
    for key in ["written", "flushed"] {
        let (found, least) = (found(key).await, last(said, key));
        let may_be_gone = key == "written" && least == ROUNDS;
        let is_kept = found == least || found == least + 1 || (found == 0 && may_be_gone);
        assert!(is_kept, "{context}: {key} is {found} after {said:?}");
        let is_gone = key == "flushed" || !is_said("removed") || found == 0;
        assert!(is_gone, "{context}: {key} is back after {said:?}");
    }
    let x = cleared.get("x").await.unwrap();
    assert!(x.is_none() || !is_said("cleared"), "{context}: {said:?}");
    assert!(found("last").await == 1 || !is_said("shut down"));
    // It serves.
    let set = kept.set("after", 1).durability(Durability::Synced);
    set.await.unwrap();
    larder.shutdown(SOON).await.unwrap();
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().unwrap().block_on(future)
}

#[test]
fn killed_at_any_step_of_its_life_it_keeps_what_it_promised() {
    if let Some(dir) = crash::child_dir() {
        return block_on(live(&dir));
    }
    let stride = std::env::var_os("LARDER_LONG").map_or(3, |_| 1);
    let mut step = 1 + fastrand::u64(..stride);
    while step < STEPS_MAX {
        let dir = crash::quick_dir();
        let (said, ended) = killed_at(dir.path(), step);
        block_on(check(dir.path(), &said, &format!("step {step}")));
        if ended {
            assert!(step > 60, "{step} steps are too few to be all");
            return println!("killed at every {stride}. of {step} steps");
        }
        step += stride;
    }
    panic!("it has no end");
}
