//! The histories that the slot protocol forbids and that no shelf alone can prevent, told against
//! drivers, lanes and whole larders. `shelf_protocol.rs` has the others.
#![cfg(all(feature = "disk", feature = "test-util"))]
#![allow(clippy::unwrap_used)]

#[path = "support/mortal.rs"]
mod mortal;
#[path = "support/sluice.rs"]
mod sluice;
#[path = "support/world.rs"]
mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Waker};

use bytes::Bytes;
use larder::clock::{Clock, NEVER};
use larder::config::CommitConfig;
use larder::drivers::disk::{DiskConfig, DiskDriver};
use larder::drivers::lanes::{Command, lanes};
use larder::drivers::pulse::Pulse;
use larder::drivers::{Driver, Factory, StoreDurability, Write};
use larder::record::{self, Header};
use larder::{ActorState, Durability, Error, Larder, Version};
use mortal::Mortal;
use sluice::Sluice;
use tokio::sync::oneshot;
use world::{BEGIN_MS, SOON, cache, ms, read, secs, text, until};

async fn start(factory: Factory, clock: &Clock) -> Larder {
    Larder::builder()
        .clock(clock.clone())
        .restart_backoff(ms(1), ms(1))
        .driver_factory("store", CommitConfig::default(), factory)
        .start()
        .await
        .unwrap()
}

const KEY: &[u8] = b"users/k";

fn put(version: u64, keep_ms: u64) -> Write {
    let version = Version::at(version);
    let header = Header {
        version,
        created_ms: 0,
        expires_ms: keep_ms,
        keep_ms,
        idle_ms: 0,
        ends_ms: NEVER,
        schema: 0,
        type_tag: 0,
        codec: 0,
        priority: 0,
        flags: 0,
        tags: Box::default(),
    };
    Write::Put {
        key: Bytes::from_static(KEY),
        record: record::encode(KEY, &header, b"value"),
        version,
        keep_ms,
    }
}

// Rule 6, `reclaim_cond`: reclaim is a command of the commit lane, decided there by what is stored.
#[test]
fn a_record_that_was_set_anew_survives_the_reclaim_that_was_meant_for_its_elder() {
    for reclaim_first in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let open = || DiskDriver::open(dir.path(), &DiskConfig::default()).unwrap();
        let driver: Arc<dyn Driver> = Arc::new(open());
        // It is due, and what is in the lane now was queued in the belief that it still is.
        driver
            .commit(&[put(1, 100)], StoreDurability::Synced)
            .unwrap();
        let pulse = Pulse::new(Clock::manual(0), 1, |_| ());
        let (to, lane) = lanes(1, 2, pulse);
        let (stored, mut set) = oneshot::channel();
        let (reclaimed, _) = oneshot::channel();
        let newer = Command::Commit(vec![put(2, NEVER)], StoreDurability::Synced, stored);
        let reclaim = Command::Reclaim(200, 9, reclaimed);
        let mut commands = [newer, reclaim];
        if reclaim_first {
            commands.reverse();
        }
        for command in commands {
            to.command(command).unwrap();
        }
        drop(to);
        lane.commit_loop(&driver);
        assert!(set.try_recv().unwrap().is_ok(), "acknowledged as synced");
        drop(driver);
        let found = open().get(KEY).unwrap().unwrap();
        let (header, _) = record::decode(KEY, &found).unwrap();
        assert_eq!(header.version, Version::at(2), "{reclaim_first}");
    }
}

// Rule 10, `gen_fenced`: a successor opens only when no write of the old generation can land.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_is_not_opened_again_while_a_commit_of_the_generation_before_may_still_land() {
    let (sluice, store) = (Sluice::default(), Mortal::default());
    let opened = Arc::new(AtomicUsize::new(0));
    let (inner, count) = (store.factory(), Arc::clone(&opened));
    let counting: Factory = Arc::new(move || {
        count.fetch_add(1, Ordering::SeqCst);
        inner()
    });
    let clock = Clock::system();
    let larder = start(sluice.factory(counting), &clock).await;
    let users = cache(&larder);
    sluice.hold_commits();
    users.set("k", text("1")).await.unwrap();
    sluice.committing().await;
    sluice.break_get();
    assert_eq!(read(&users, "else").await, None);
    until("a successor is being launched", async || {
        let actors = larder.actors();
        let mut stores = actors.iter().filter(|a| a.name == "store");
        stores.any(|a| a.generation == 2 && a.state == ActorState::Starting)
    })
    .await;
    users.set("k", text("2")).await.unwrap();
    // Every chance to open too early and to store what is newer.
    for _ in 0..10_000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(
        opened.load(Ordering::SeqCst),
        1,
        "the old commit still hangs"
    );
    sluice.release_commits();
    until("it is stored", async || {
        larder.flush(Durability::Written).await.is_ok()
    })
    .await;
    assert_eq!(opened.load(Ordering::SeqCst), 2);
    let next = start(store.after_a_kill().factory(), &clock).await;
    assert_eq!(read(&cache(&next), "k").await, Some(text("2")));
    next.shutdown(SOON).await.unwrap();
    larder.shutdown(SOON).await.unwrap();
}

// Rule 13, `ceil_issued`: versions begin above all that were issued, not only above those stored.
#[tokio::test]
async fn a_version_that_was_issued_and_lost_with_its_process_is_not_issued_again() {
    let (sluice, store) = (Sluice::default(), Mortal::default());
    let clock = Clock::manual(BEGIN_MS);
    let larder = start(sluice.factory(store.factory()), &clock).await;
    sluice.hold_commits();
    let mut lost = Version::at(1);
    for n in 0..100 {
        lost = cache(&larder).set("k", n.to_string()).await.unwrap();
    }
    // Both crash, and the next process finds the clock where this one did.
    for found in [store.after_a_kill(), store.after_a_power_loss()] {
        let next = start(found.factory(), &Clock::manual(BEGIN_MS)).await;
        let users = cache(&next);
        assert_eq!(read(&users, "k").await, None, "it was lost");
        let version = users.set("k", text("other")).await.unwrap();
        assert!(version > lost, "{version} is not above {lost}");
        let stale = users.set("k", text("mine")).if_version(lost).await;
        assert!(matches!(stale, Err(Error::Conflict { .. })), "{stale:?}");
        next.shutdown(SOON).await.unwrap();
    }
    sluice.release_commits();
    larder.shutdown(SOON).await.unwrap();
}

// Rule 13, `expiry_monotone`: the clock that judges expiry does not go back over a restart.
#[tokio::test]
async fn an_entry_that_has_expired_stays_expired_when_the_clock_is_set_back_over_a_restart() {
    let store = Mortal::default();
    let clock = Clock::manual(BEGIN_MS);
    let larder = start(store.factory(), &clock).await;
    let users = cache(&larder);
    let set = users.set("k", text("1")).ttl(secs(60)).stale_for(secs(60));
    set.durability(Durability::Synced).await.unwrap();
    clock.advance(secs(61));
    assert_eq!(read(&users, "k").await, None);
    // What is stored later carries the time with it.
    let other = users.set("other", text("1")).durability(Durability::Synced);
    other.await.unwrap();
    until("the time is remembered", async || {
        let found = store.after_a_power_loss().factory()().unwrap();
        found.reserved().clock_ms >= BEGIN_MS + 61_000
    })
    .await;
    assert!(store.get(b"users/k").is_some(), "the record is still there");
    let clock = Clock::manual(BEGIN_MS);
    let next = start(store.after_a_power_loss().factory(), &clock).await;
    assert!(clock.now_ms() >= BEGIN_MS + 61_000);
    assert_eq!(read(&cache(&next), "k").await, None);
    next.shutdown(SOON).await.unwrap();
    larder.shutdown(SOON).await.unwrap();
}

// Rule 14, `fence_sync`: a clear is acknowledged when its fence is as safe as was asked for.
#[tokio::test]
async fn a_clear_is_acknowledged_only_when_its_fence_survives_what_was_asked_for() {
    for tag in [None, Some("t")] {
        let (sluice, store) = (Sluice::default(), Mortal::default());
        let clock = Clock::manual(BEGIN_MS);
        let larder = start(sluice.factory(store.factory()), &clock).await;
        let users = cache(&larder);
        let set = users.set("k", text("1")).tag("t");
        set.durability(Durability::Synced).await.unwrap();
        sluice.hold_commits();
        let clear = match tag {
            None => users.clear(),
            Some(tag) => users.remove_tag(tag),
        };
        let mut clear = Box::pin(clear.durability(Durability::Synced).into_future());
        let mut context = Context::from_waker(Waker::noop());
        assert!(clear.as_mut().poll(&mut context).is_pending());
        sluice.committing().await;
        assert!(clear.as_mut().poll(&mut context).is_pending(), "not stored");
        sluice.release_commits();
        clear.await.unwrap();
        let next = start(store.after_a_power_loss().factory(), &clock).await;
        assert_eq!(read(&cache(&next), "k").await, None, "{tag:?}");
        next.shutdown(SOON).await.unwrap();
        larder.shutdown(SOON).await.unwrap();
    }
}
