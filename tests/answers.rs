//! The table of answers: every operation, in every durability, in every state of its tier.
//!
//! `src/tiers.rs` has the same table in words.
#![cfg(all(feature = "disk", feature = "test-util"))]
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "support/gated.rs"]
mod gated;
#[path = "support/world.rs"]
mod world;

use std::time::Duration;

use gated::Gated;
use larder::config::{CommitConfig, Limits};
use larder::{Cache, DegradedReason, Durability, Error, Larder, Source, WriteOutcome};
use world::{NEVER_BACK, SOON, cache, flush, ms, take_down, text};

/// How the tier is.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Tier {
    /// Up, with room in the dirty set.
    Up,
    /// Its breaker is open.
    Open,
    /// Up, but its commits hang and the dirty set is full.
    Full,
    /// Open, and the dirty set is full.
    OpenFull,
}
use Tier::{Full, Open, OpenFull, Up};

const TIERS: [Tier; 4] = [Up, Open, Full, OpenFull];

/// What is asked of larder. `Known` entries are in memory, `Below` ones in the tier only.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Operation {
    GetKnown,
    GetBelow,
    Set,
    SetIfKnown,
    SetIfBelow,
    UpdateKnown,
    UpdateBelow,
    Remove,
    Clear,
}
use Operation::{
    Clear, GetBelow, GetKnown, Remove, Set, SetIfBelow, SetIfKnown, UpdateBelow, UpdateKnown,
};

const MUTATIONS: [Operation; 7] = [
    Set,
    SetIfKnown,
    SetIfBelow,
    UpdateKnown,
    UpdateBelow,
    Remove,
    Clear,
];

/// `None` is what the operation does by itself.
const DURABILITIES: [Option<Durability>; 4] = [
    None,
    Some(Durability::Queued),
    Some(Durability::Written),
    Some(Durability::Synced),
];

/// The table: the answer, and what a read shows afterwards.
fn expected(operation: Operation, asked: Option<Durability>, tier: Tier) -> String {
    let by_itself = match operation {
        Remove | Clear => Durability::Written,
        _ => Durability::Queued,
    };
    let durability = asked.unwrap_or(by_itself);
    let must_wait = asked.is_some_and(|asked| asked > Durability::Queued);
    let new = if matches!(operation, Remove | Clear) {
        "gone"
    } else {
        "new"
    };
    let is_below = matches!(operation, SetIfBelow | UpdateBelow);
    match (operation, tier) {
        (GetKnown, _) => "hit Memory".into(),
        (GetBelow, Up | Full) => "hit Custom(0)".into(),
        (GetBelow, Open | OpenFull) => "miss, Down".into(),
        // Everything is stored and promised as asked.
        (_, Up) => format!("ok {durability:?}, then {new}"),
        // Whether the condition holds cannot be known.
        (_, Open | OpenFull) if is_below => "Unavailable, then unknown".into(),
        // What was asked for by name cannot be kept; the change stands in memory.
        (_, Open | OpenFull) if must_wait => format!("Unavailable, then {new}"),
        // A fence always finds room.
        (_, Open) | (Clear, OpenFull) => format!("ok Queued, Down, then {new}"),
        (_, OpenFull) => format!("ok Queued, MemoryOnly, then {new}"),
        (Clear, Full) if must_wait => "DeadlineExceeded, then gone".into(),
        (Clear, Full) if durability == Durability::Queued => "ok Queued, then gone".into(),
        (Clear, Full) => "ok Queued, Late, then gone".into(),
        // No room until the deadline: nothing was changed.
        (_, Full) => "Overloaded dirty_bytes_max, then old".into(),
    }
}

struct Stage {
    gate: Gated,
    larder: Larder,
    users: Cache<String>,
    known: larder::Version,
    below: larder::Version,
    deadline: Duration,
}

async fn stage(tier: Tier) -> Stage {
    let gate = Gated::default();
    let mut limits = Limits::default();
    (limits.dirty_bytes_max, limits.value_bytes_max) = (4_096, 1_024);
    let builder = Larder::builder().limits(limits);
    let builder = builder
        .restart_limit(0, NEVER_BACK, NEVER_BACK)
        .restart_backoff(NEVER_BACK, NEVER_BACK);
    let builder = builder.driver_factory("map", CommitConfig::default(), gate.factory());
    let larder = builder.start().await.unwrap();
    let users = cache(&larder);
    let known = users.set("known", text("old")).await.unwrap();
    let below = users
        .set("below", text("old"))
        .drivers(["map"])
        .await
        .unwrap();
    flush(&larder).await;
    match tier {
        Up => {}
        Full => gate.shut_commits(),
        Open | OpenFull => take_down(&larder, "map").await,
    }
    if matches!(tier, Full | OpenFull) {
        fill(&users).await;
    }
    Stage {
        gate,
        larder,
        users,
        known,
        below,
        // Only what waits for room, or for a commit that hangs, gets to see it.
        deadline: if tier == Full { ms(10) } else { SOON },
    }
}

/// Fills the dirty set with the smallest changes there are.
async fn fill(users: &Cache<String>) {
    for n in 0..100 {
        let key = format!("f{n}");
        let removal = users.remove(&key).durability(Durability::Queued);
        match removal.deadline(ms(0)).outcome().await {
            Ok(done) if is_memory_only(&done) => return,
            Ok(_) => {}
            Err(Error::Overloaded { .. }) => return,
            Err(error) => panic!("{error}"),
        }
    }
    panic!("it is never full");
}

fn is_memory_only(done: &WriteOutcome) -> bool {
    let reasons = done.degraded.iter().map(|d| d.reason);
    reasons.into_iter().any(|r| r == DegradedReason::MemoryOnly)
}

impl Stage {
    async fn get(&self, key: &str) -> String {
        let found = self.users.get(key).outcome().await.unwrap();
        match (found.entry, found.source, found.degraded.first()) {
            (Some(_), Some(Source::Memory), None) => "hit Memory".into(),
            (Some(_), Some(source), None) => format!("hit {source:?}"),
            (None, None, Some(degraded)) => format!("miss, {:?}", degraded.reason),
            other => format!("{other:?}"),
        }
    }

    async fn change(
        &self,
        operation: Operation,
        asked: Option<Durability>,
    ) -> Result<String, Error> {
        let (users, deadline) = (&self.users, self.deadline);
        let set = |key, version| {
            let set = users.set(key, text("new")).deadline(deadline);
            let set = match version {
                Some(version) => set.if_version(version),
                None => set,
            };
            match asked {
                Some(durability) => set.durability(durability).outcome(),
                None => set.outcome(),
            }
        };
        let done = match operation {
            Set => set("known", None).await?,
            SetIfKnown => set("known", Some(self.known)).await?,
            SetIfBelow => set("below", Some(self.below)).await?,
            UpdateKnown | UpdateBelow => {
                let update = users.update(self.key(operation), |_| text("new"));
                let update = update.deadline(deadline);
                match asked {
                    Some(durability) => update.durability(durability).outcome().await?,
                    None => update.outcome().await?,
                }
            }
            Remove => {
                let remove = users.remove("known").deadline(deadline);
                match asked {
                    Some(durability) => remove.durability(durability).outcome().await?,
                    None => remove.outcome().await?,
                }
            }
            Clear => {
                let clear = users.clear().deadline(deadline);
                match asked {
                    Some(durability) => clear.durability(durability).outcome().await?,
                    None => clear.outcome().await?,
                }
            }
            GetKnown | GetBelow => panic!("no change"),
        };
        let mut answer = format!("ok {:?}", done.durability);
        for degraded in done.degraded {
            answer += &format!(", {:?}", degraded.reason);
        }
        Ok(answer)
    }

    fn key(&self, operation: Operation) -> &'static str {
        match operation {
            GetBelow | SetIfBelow | UpdateBelow => "below",
            _ => "known",
        }
    }

    /// What a read shows afterwards.
    async fn then(&self, operation: Operation) -> String {
        let found = self.users.get(self.key(operation)).outcome().await.unwrap();
        match found.entry {
            Some(entry) => entry.to_string(),
            // A sweep may already have made memory forget what a fence ended.
            None if operation == Clear => "gone".into(),
            None if found
                .degraded
                .iter()
                .any(|d| d.reason == DegradedReason::Down) =>
            {
                "unknown".into()
            }
            None => "gone".into(),
        }
    }

    async fn answer(&self, operation: Operation, asked: Option<Durability>) -> String {
        let answer = match operation {
            GetKnown | GetBelow => return self.get(self.key(operation)).await,
            _ => self.change(operation, asked).await,
        };
        let answer = answer.unwrap_or_else(|error| match error {
            Error::Overloaded { limit, .. } => format!("Overloaded {limit}"),
            Error::Unavailable { driver, .. } if *driver == *"map" => "Unavailable".into(),
            Error::DeadlineExceeded { .. } => "DeadlineExceeded".into(),
            error => format!("{error:?}"),
        });
        format!("{answer}, then {}", self.then(operation).await)
    }
}

async fn check(operation: Operation, asked: Option<Durability>, tier: Tier) {
    let stage = stage(tier).await;
    let answer = stage.answer(operation, asked).await;
    let expected = expected(operation, asked, tier);
    assert_eq!(answer, expected, "{operation:?} {asked:?} while {tier:?}");
    stage.gate.open();
    assert_eq!(stage.larder.stats().await.unwrap().memory.marks, 0);
    let _ = stage.larder.shutdown(ms(50)).await;
}

#[tokio::test]
async fn reads_never_fail_for_their_tier() {
    for tier in TIERS {
        check(GetKnown, None, tier).await;
        check(GetBelow, None, tier).await;
    }
}

async fn check_all(tier: Tier) {
    for operation in MUTATIONS {
        for asked in DURABILITIES {
            check(operation, asked, tier).await;
        }
    }
}

#[tokio::test]
async fn changes_are_stored_and_promised_while_the_tier_is_up() {
    check_all(Up).await;
}

#[tokio::test]
async fn changes_are_queued_while_the_tier_is_open() {
    check_all(Open).await;
}

#[tokio::test]
async fn changes_wait_for_room_while_the_tier_is_up_and_the_dirty_set_full() {
    check_all(Full).await;
}

#[tokio::test]
async fn changes_are_in_memory_only_while_the_tier_is_open_and_the_dirty_set_full() {
    check_all(OpenFull).await;
}

#[tokio::test]
async fn a_change_that_waits_for_room_goes_on_in_memory_when_its_tier_goes_down() {
    let stage = stage(Full).await;
    let users = stage.users.clone();
    let waiting =
        tokio::spawn(async move { users.set("k", text("1")).deadline(SOON).outcome().await });
    tokio::task::yield_now().await;
    take_down(&stage.larder, "map").await;
    let done = waiting.await.unwrap().unwrap();
    assert!(is_memory_only(&done), "{done:?}");
    stage.gate.open();
}
