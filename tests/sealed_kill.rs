//! `kill -9` while a master key is rotated, a plain store is converted, or keys are destroyed: what was
//! acknowledged is there, what was removed stays away, and what was begun comes to its end.
//!
//! The default run kills a few children over small stores; `LARDER_LONG=1` kills 200 over 20,000 records.
#![cfg(all(target_os = "linux", feature = "secure", feature = "test-util"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::path::Path;
use std::time::Duration;

use larder::secret::MasterKey;
use larder::{Builder, Cache, Durability, Larder};

use crash::Child;

#[path = "support/crash.rs"]
mod crash;

const SOON: Duration = Duration::from_secs(60);
/// Which keys and how many records a child works with, as `old new records`.
const PLAN: &str = "SEALED_KILL_PLAN";
/// Names that a child's writers change.
const CHANGED: u64 = 8;

fn key(byte: u8) -> MasterKey {
    MasterKey::from_bytes([byte; 32]).unwrap()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().unwrap().block_on(future)
}

fn is_long() -> bool {
    std::env::var_os("LARDER_LONG").is_some()
}

fn base(dir: &Path) -> Builder {
    Larder::builder()
        .memory_bytes(1 << 20)
        .call_max(SOON)
        .disk(dir.join("data"))
}

/// The kind of larder that is killed.
async fn sealed(dir: &Path, byte: u8) -> Result<Larder, larder::Error> {
    base(dir).encrypted(key(byte)).start().await
}

fn fixed(larder: &Larder) -> Cache<u64> {
    larder.cache("fixed").unwrap()
}

/// A cache whose plain records lie after all sealed ones.
fn changed(larder: &Larder) -> Cache<u64> {
    larder.cache("zz").unwrap()
}

async fn fill(larder: &Larder, records: u64) {
    let items = (0..records).map(|n| (n.to_string(), n));
    let fixed = fixed(larder);
    let report = fixed.set_many(items).durability(Durability::Written);
    assert_eq!(report.await.unwrap().refused, 0);
}

/// In a child: sets and removes until it is killed, and says so before and after.
async fn change_until_killed(larder: &Larder) {
    let cache = changed(larder);
    for n in 1_u64.. {
        let name = (n % CHANGED).to_string();
        // A set is followed by an overwrite or a removal of the same name, in turn.
        crash::acknowledge(format!("begin {name} {n}"));
        let set = cache.set(&name, n).durability(Durability::Written);
        set.await.unwrap();
        crash::acknowledge(format!("done {name} {n}"));
        if (n / CHANGED).is_multiple_of(2) {
            crash::acknowledge(format!("begin {name} 0"));
            let remove = cache.remove(&name).durability(Durability::Written);
            remove.await.unwrap();
            crash::acknowledge(format!("done {name} 0"));
        }
    }
}

/// What names may hold; 0 is nothing.
fn allowed(said: &[String], name: u64) -> Vec<u64> {
    let mut allowed = vec![0];
    for line in said {
        let words: Vec<&str> = line.split(' ').collect();
        if words.len() != 3 || words[1] != name.to_string() {
            continue;
        }
        let n = words[2].parse().unwrap();
        match words[0] {
            "begin" => allowed.push(n),
            _ => allowed = vec![n],
        }
    }
    allowed
}

async fn check(larder: &Larder, said: &[String], records: u64, context: &str) {
    let cache = changed(larder);
    for name in 0..CHANGED {
        let found = cache.get(&name.to_string()).await.unwrap();
        let (found, allowed) = (found.map_or(0, |n| *n), allowed(said, name));
        assert!(
            allowed.contains(&found),
            "{context}: {name} is {found}, allowed {allowed:?}"
        );
    }
    let names = (0..records).map(|n| n.to_string());
    let fixed = fixed(larder);
    let mut chunks = fixed.get_many(names);
    let mut n = 0;
    while let Some(chunk) = chunks.next().await {
        for (name, found) in chunk.unwrap().keys {
            let found = found.unwrap().map(|n| *n);
            assert_eq!(found, Some(n), "{context}: {name}");
            n += 1;
        }
    }
    assert_eq!(n, records, "{context}");
}

/// Waits until nothing is left to be sealed anew, nor plain.
async fn sealed_anew(larder: &Larder) {
    let driver = larder.driver("disk").unwrap();
    let ended = async {
        loop {
            let progress = driver.seal_progress().unwrap();
            if !progress.is_under_way && progress.finished > 0 {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, ended).await.unwrap();
}

/// How many records, and how many children are killed over so many.
fn plans(quick: usize) -> Vec<(u64, usize)> {
    match is_long() {
        true => vec![(20_000, 200)],
        false => vec![(300, quick), (2_000, 1)],
    }
}

/// Records of a child's plan, and its keys.
fn plan() -> (u8, u8, u64) {
    let plan = std::env::var(PLAN).unwrap();
    let words: Vec<u64> = plan.split(' ').map(|word| word.parse().unwrap()).collect();
    (words[0] as u8, words[1] as u8, words[2])
}

fn spawn(test: &str, dir: &Path, (old, new, records): (u8, u8, u64)) -> Child {
    let mut command = crash::command(test, dir);
    command.env(PLAN, format!("{old} {new} {records}"));
    Child::spawn(command)
}

const ROTATION: &str = "a_rotation_that_is_killed_goes_on_under_either_key_and_loses_nothing";

#[test]
fn a_rotation_that_is_killed_goes_on_under_either_key_and_loses_nothing() {
    if let Some(dir) = crash::child_dir() {
        return block_on(async {
            let (old, new, _) = plan();
            let larder = sealed(&dir, old).await.unwrap();
            let driver = larder.driver("disk").unwrap();
            crash::acknowledge("opened");
            let rotating = async {
                let rotation = driver.rotate_key(key(new)).await.unwrap();
                crash::acknowledge("accepted");
                rotation.finished().await.unwrap();
                crash::acknowledge("ended");
            };
            tokio::join!(rotating, change_until_killed(&larder));
        });
    }
    for (records, kills) in plans(5) {
        let dir = crash::quick_dir();
        block_on(async {
            let larder = sealed(dir.path(), 1).await.unwrap();
            fill(&larder, records).await;
            larder.shutdown(SOON).await.unwrap();
        });
        // What all children said of their changes: each goes on where the one before was killed.
        let (mut old, mut history) = (1, Vec::new());
        for kill in 0..kills {
            let new = old + 1;
            let child = spawn(ROTATION, dir.path(), (old, new, records));
            let said = child.kill_after(1 + fastrand::usize(..60));
            let is_said = |what: &str| said.iter().any(|line| line == what);
            let context = format!("kill {kill} over {records}, {} lines", said.len());
            history.extend(said.iter().cloned());
            let keys = (old, new, is_said("accepted"));
            old = block_on(reopen(dir.path(), keys, &history, records, &context));
        }
    }
}

/// Opens it with the old key, if that still opens it, then with the new one; which one is then the store's.
async fn reopen(
    dir: &Path,
    (old, new, is_accepted): (u8, u8, bool),
    said: &[String],
    records: u64,
    context: &str,
) -> u8 {
    let slots = sealed_with(dir).slots;
    let first = sealed(dir, old).await;
    // Until it has ended both keys open it, and then the new one alone.
    assert!(first.is_ok() || (is_accepted && slots == 1), "{context}");
    if let Ok(larder) = first {
        check(&larder, said, records, context).await;
        larder.shutdown(SOON).await.unwrap();
    }
    let Ok(larder) = sealed(dir, new).await else {
        assert!(!is_accepted && slots == 1, "{context}");
        return old;
    };
    check(&larder, said, records, context).await;
    // It goes on by itself, unless it had ended.
    let ended = async {
        while sealed_with(dir).slots > 1 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, ended).await.expect(context);
    check(&larder, said, records, context).await;
    larder.shutdown(SOON).await.unwrap();
    assert!(sealed(dir, old).await.is_err(), "{context}");
    new
}

/// What a header says without a key.
struct Head {
    slots: u16,
    is_converting: bool,
}

fn sealed_with(dir: &Path) -> Head {
    let header = std::fs::read(dir.join("data/keys")).unwrap();
    Head {
        slots: u16::from_le_bytes([header[26], header[27]]),
        is_converting: header[25] & 1 != 0,
    }
}

const CONVERSION: &str = "a_conversion_that_is_killed_goes_on_and_loses_nothing";

#[test]
fn a_conversion_that_is_killed_goes_on_and_loses_nothing() {
    if let Some(dir) = crash::child_dir() {
        return block_on(async {
            let larder = sealed(&dir, 1).await.unwrap();
            crash::acknowledge("opened");
            change_until_killed(&larder).await;
        });
    }
    for (records, kills) in plans(3) {
        for kill in 0..kills {
            let dir = crash::quick_dir();
            block_on(async {
                let larder = base(dir.path()).start().await.unwrap();
                fill(&larder, records).await;
                larder.shutdown(SOON).await.unwrap();
            });
            let said = spawn(CONVERSION, dir.path(), (1, 1, records));
            let said = said.kill_after(1 + fastrand::usize(..40));
            let context = format!("kill {kill} over {records}, {} lines", said.len());
            let was_converting = sealed_with(dir.path()).is_converting;
            block_on(async {
                let larder = sealed(dir.path(), 1).await.unwrap();
                check(&larder, &said, records, &context).await;
                if was_converting {
                    sealed_anew(&larder).await;
                }
                check(&larder, &said, records, &context).await;
                larder.shutdown(SOON).await.unwrap();
                assert!(!sealed_with(dir.path()).is_converting);
                assert!(base(dir.path()).start().await.is_err(), "it is sealed");
            });
        }
    }
}
