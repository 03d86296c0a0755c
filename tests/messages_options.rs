//! Options of messages: what a handle's call can say, a message says too.
#![cfg(feature = "test-util")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

#[path = "support/trial.rs"]
mod trial;

use std::time::Duration;

use actix::prelude::*;
use larder::messages::entry;
use larder::{Builder, Cache, Desk, Durability, Error, Larder, Limits, Priority};
use trial::{SOON, Trial, until};

/// What the messages name; no call here would end by itself this soon.
const SHORT: Option<Duration> = Some(Duration::from_millis(5));
const WRITTEN: Option<Durability> = Some(Durability::Written);

fn over(trial: &Trial) -> Builder {
    let trial = trial.clone();
    Larder::builder()
        .driver("store", move || trial.open())
        .call_max(Duration::from_secs(60))
}

/// Within a time in which nothing ends that did not take the message's deadline.
async fn ask<M, T>(desk: &Addr<Desk>, message: M) -> Result<T, Error>
where
    M: Message<Result = Result<T, Error>> + Send + 'static,
    T: Send + 'static,
    Desk: Handler<M>,
{
    desk.send(message).timeout(SOON).await.unwrap()
}

fn is_late<T>(asked: Result<T, Error>) -> bool {
    matches!(asked, Err(Error::DeadlineExceeded { after }) if Some(after) <= SHORT)
}

#[actix::test]
async fn a_change_by_message_waits_as_long_as_it_says() {
    let trial = Trial::default();
    let larder = over(&trial).start().await.unwrap();
    let cache: Cache<u64> = larder.cache("numbers").unwrap();
    let desk = larder.desk().unwrap();
    for key in ["a", "b"] {
        let set = cache.set(key, 1).durability(Durability::Written);
        set.await.unwrap();
    }
    trial.hold();
    let set = || {
        let mut set = entry::Set::new("numbers", "set", 1u64);
        (set.durability, set.deadline) = (WRITTEN, SHORT);
        set
    };
    assert!(is_late(ask(&desk, set()).await));
    let (set, expected) = (set(), cache.get("set").await.unwrap().unwrap().version());
    let expected = Some(expected);
    assert!(is_late(
        ask(&desk, entry::CompareAndSet { set, expected }).await
    ));
    let mut touch = entry::Touch::<u64>::new("numbers", "a", SOON);
    (touch.durability, touch.deadline) = (WRITTEN, SHORT);
    assert!(is_late(ask(&desk, touch).await));
    let mut expire = entry::Expire::<u64>::new("numbers", "a");
    (expire.durability, expire.deadline) = (WRITTEN, SHORT);
    assert!(is_late(ask(&desk, expire).await));
    let mut remove = entry::Remove::<u64>::new("numbers", "b");
    (remove.durability, remove.deadline) = (WRITTEN, SHORT);
    assert!(is_late(ask(&desk, remove).await));
    let mut clear = entry::Clear::new("numbers");
    (clear.durability, clear.deadline) = (WRITTEN, SHORT);
    assert!(is_late(ask(&desk, clear).await));
    let mut many = entry::SetMany::new("numbers", [("a", 1u64), ("b", 1)]);
    (many.durability, many.deadline) = (WRITTEN, SHORT);
    let report = ask(&desk, many).await.unwrap();
    assert_eq!((report.chunks, report.chunks_unstored), (1, 1));
    let mut many = entry::RemoveMany::<u64>::new("numbers", ["a", "b"]);
    (many.chunk, many.deadline) = (Some(1), SHORT);
    many.durability = WRITTEN;
    let report = ask(&desk, many).await.unwrap();
    assert_eq!((report.chunks, report.chunks_unstored), (2, 2));
    trial.release();
    larder.shutdown(SOON).await.unwrap();
}

#[actix::test]
async fn a_read_by_message_waits_as_long_as_it_says() {
    let trial = Trial::default();
    let mut limits = Limits::default();
    limits.reads_in_flight_max = 1;
    let larder = over(&trial).limits(limits).start().await.unwrap();
    let desk = larder.desk().unwrap();
    // A page takes the only place at the store.
    // The fences were read at the start.
    let before = trial.scans();
    trial.hold_scans();
    let scan = || entry::Scan::<u64>::new("numbers", "");
    let first = actix::spawn(desk.send(scan()));
    until("the page is read", || trial.scans() > before).await;
    let refused = |asked: Error| {
        assert!(matches!(asked, Error::Overloaded { limit, .. } if limit == "reads_in_flight_max"));
    };
    let mut second = scan();
    second.deadline = SHORT;
    refused(ask(&desk, second).await.unwrap_err());
    let mut get = entry::Get::<u64>::new("numbers", "a");
    get.deadline = SHORT;
    refused(ask(&desk, get).await.unwrap_err());
    let mut get = entry::Get::<u64>::new("numbers", "a");
    get.deadline = SHORT;
    refused(ask(&desk, entry::Explain(get)).await.unwrap_err());
    let mut many = entry::GetMany::<u64>::new("numbers", ["a"]);
    many.deadline = SHORT;
    refused(ask(&desk, many).await.unwrap_err());
    trial.release_scans();
    first.await.unwrap().unwrap().unwrap();
    larder.shutdown(SOON).await.unwrap();
}

#[actix::test]
async fn a_get_by_message_can_name_its_drivers() {
    let larder = over(&Trial::default()).start().await.unwrap();
    let cache: Cache<u64> = larder.cache("numbers").unwrap();
    let below = cache.set("below", 1).drivers(["store"]);
    below.durability(Durability::Written).await.unwrap();
    let desk = larder.desk().unwrap();
    for (drivers, is_found) in [(vec!["memory"], false), (vec!["store"], true)] {
        let mut get = entry::Get::<u64>::new("numbers", "below");
        get.drivers = drivers.into_iter().map(str::to_owned).collect();
        assert_eq!(ask(&desk, get).await.unwrap().is_some(), is_found);
    }
    let mut get = entry::Get::<u64>::new("numbers", "below");
    get.drivers = vec!["nobody".into()];
    assert!(matches!(
        ask(&desk, get).await,
        Err(Error::Invalid {
            field: "drivers",
            ..
        })
    ));
    larder.shutdown(SOON).await.unwrap();
}

#[actix::test]
async fn many_sets_by_message_have_tags_a_priority_and_chunks() {
    let larder = over(&Trial::default()).start().await.unwrap();
    let desk = larder.desk().unwrap();
    let mut many = entry::SetMany::new("numbers", (0..6u64).map(|n| (n.to_string(), n)));
    many.tags = vec!["some".into(), "others".into()];
    many.priority = Some(Priority::Pinned);
    many.chunk = Some(2);
    let report = ask(&desk, many).await.unwrap();
    assert_eq!((report.applied, report.chunks), (6, 3));
    assert!(larder.stats().await.unwrap().memory.pinned_bytes > 0);
    let mut clear = entry::Clear::new("numbers");
    clear.tag = Some("others".into());
    ask(&desk, clear).await.unwrap();
    let keys = || (0..6).map(|n| n.to_string());
    let mut many = entry::GetMany::<u64>::new("numbers", keys());
    many.chunk = Some(4);
    let found = ask(&desk, many).await.unwrap();
    assert!(found.len() == 6 && found.iter().all(|(_, entry)| entry.is_none()));
    let mut many = entry::GetMany::<u64>::new("numbers", keys());
    many.chunk = Some(0);
    assert!(matches!(
        ask(&desk, many).await,
        Err(Error::Invalid { field: "chunk", .. })
    ));
    larder.shutdown(SOON).await.unwrap();
}
