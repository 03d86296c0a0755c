//! `kill -9` at random moments: what was acknowledged as `Written` or safer is there afterwards.
#![cfg(all(target_os = "linux", feature = "disk"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use larder::{Cache, Durability, Version};

use crash::Child;
use promises::Promises;

#[path = "support/crash.rs"]
mod crash;
#[path = "support/promises.rs"]
mod promises;

const KILLS: usize = 12;
const FIRST: &str = "KILL_FIRST_NUMBER";

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Runtime::new().unwrap().block_on(future)
}

#[test]
fn a_written_value_is_read_back_after_a_kill() {
    if let Some(dir) = crash::child_dir() {
        return block_on(async {
            let larder = promises::open(&dir).await;
            let users: Cache<String> = larder.cache("users").unwrap();
            let set = users
                .set("42", "Ada".to_owned())
                .durability(Durability::Written);
            crash::acknowledge(set.await.unwrap().get());
            crash::wait_for_kill();
        });
    }
    let dir = tempfile::tempdir().unwrap();
    let command = crash::command("a_written_value_is_read_back_after_a_kill", dir.path());
    let said = Child::spawn(command).kill_after(1);
    block_on(async {
        let larder = promises::open(dir.path()).await;
        let users: Cache<String> = larder.cache("users").unwrap();
        let ada = users.get("42").await.unwrap().unwrap();
        assert_eq!(*ada, "Ada");
        assert_eq!(Some(ada.version()), Version::new(said[0].parse().unwrap()));
        assert!(users.set("43", "Bob".to_owned()).await.unwrap() > ada.version());
        larder.shutdown(promises::SOON).await.unwrap();
    });
}

/// Kills children at random moments; after each, everything holds that was promised.
fn play(test: &str, sets: Durability) {
    if let Some(dir) = crash::child_dir() {
        let first = std::env::var(FIRST).unwrap().parse().unwrap();
        let safe = sets.max(Durability::Written);
        return block_on(promises::mutate_until_killed(&dir, sets, safe, first));
    }
    let dir = tempfile::tempdir().unwrap();
    let seed = fastrand::u64(..);
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut promises = Promises::default();
    for kill in 0..KILLS {
        let mut command = crash::command(test, dir.path());
        command.env(FIRST, promises.next.max(1).to_string());
        let after = rng.usize(1..600);
        let said = Child::spawn(command).kill_after(after);
        promises.hear(&said, Durability::Written);
        let context = format!("seed {seed}, kill {kill} after {after} lines");
        block_on(async {
            let larder = promises::open(dir.path()).await;
            promises.check(&larder, &context).await;
            larder.shutdown(promises::SOON).await.unwrap();
        });
    }
}

#[test]
fn queued_mutations_may_be_lost_and_nothing_older_than_written_comes_back() {
    let test = "queued_mutations_may_be_lost_and_nothing_older_than_written_comes_back";
    play(test, Durability::Queued);
}

#[test]
fn written_mutations_survive_kills() {
    play("written_mutations_survive_kills", Durability::Written);
}

#[test]
fn synced_mutations_survive_kills() {
    play("synced_mutations_survive_kills", Durability::Synced);
}
