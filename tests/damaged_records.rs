//! A damaged record is a miss that says so, and goes; what is good is left alone.
#![cfg(all(feature = "disk", feature = "test-util"))]
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

#[path = "support/sluice.rs"]
mod sluice;
#[path = "support/world.rs"]
mod world;

use bytes::Bytes;
use larder::config::CommitConfig;
use larder::drivers::map::MapStore;
use larder::drivers::{Driver, StoreDurability, Write};
use larder::key::stored_key;
use larder::{Degraded, DegradedReason, Durability, Error, Larder, Version, record};
use sluice::Sluice;
use world::{World, cache, flush, read, text};

/// Files a record of `key` that is not as it was.
fn damage(driver: &dyn Driver, key: &str, how: impl Fn(&mut [u8])) {
    let key = Bytes::from(stored_key("users", key));
    let mut record = driver.get(&key).unwrap().unwrap().to_vec();
    how(&mut record);
    let write = Write::Put {
        key,
        record: record.into(),
        version: Version::new(1).unwrap(),
        keep_ms: larder::clock::NEVER,
    };
    driver.commit(&[write], StoreDurability::Written).unwrap();
}

/// Its value is not what the checksum was made of.
fn flip(record: &mut [u8]) {
    *record.last_mut().unwrap() ^= 0xff;
}

fn damaged(drivers: &[&str]) -> Vec<Degraded> {
    let note = |driver: &&str| Degraded {
        driver: (*driver).to_owned(),
        reason: DegradedReason::Damaged,
    };
    drivers.iter().map(note).collect()
}

/// What each driver has counted.
async fn counted(larder: &Larder) -> Vec<u64> {
    let drivers = larder.stats().await.unwrap().drivers;
    drivers.iter().map(|driver| driver.damaged).collect()
}

/// The names of the drivers below.
fn names(world: &World) -> Vec<&'static str> {
    match world.name {
        "memory and disk" => vec!["disk"],
        "memory and a map" => vec!["map"],
        _ => vec!["disk", "map"],
    }
}

/// `a`, `k` and `z` are stored, `k` is damaged everywhere, and memory knows nothing.
async fn with_damage(world: &World) -> Larder {
    let larder = world.start().await;
    for key in ["a", "k", "z"] {
        cache(&larder).set(key, text(key)).await.unwrap();
    }
    larder.shutdown(world::SOON).await.unwrap();
    for driver in world.below() {
        damage(&*driver, "k", flip);
    }
    world.start().await
}

/// Which drivers still hold something under `k`.
fn holding(world: &World) -> usize {
    let key = stored_key("users", "k");
    let below = world.below();
    below
        .iter()
        .filter(|d| d.get(&key).unwrap().is_some())
        .count()
}

#[tokio::test]
async fn a_damaged_record_is_a_miss_that_says_so_once_and_is_deleted() {
    for world in World::stored() {
        let larder = with_damage(&world).await;
        let users = cache(&larder);
        let found = users.get("k").outcome().await.unwrap();
        assert!(found.entry.is_none(), "{}", world.name);
        assert_eq!(found.degraded, damaged(&names(&world)));
        assert_eq!(found.freshness, None, "what it was, nobody knows");
        assert_eq!(counted(&larder).await, vec![1; names(&world).len()]);
        // The lane carries commands out in their order: when this is stored, the repair is done.
        users
            .set("other", text("1"))
            .durability(Durability::Written)
            .await
            .unwrap();
        let again = users.get("k").outcome().await.unwrap();
        assert_eq!((again.entry.is_none(), again.degraded), (true, vec![]));
        assert_eq!(counted(&larder).await, vec![1; names(&world).len()]);
        larder.shutdown(world::SOON).await.unwrap();
        assert_eq!(holding(&world), 0, "{}", world.name);
    }
}

#[tokio::test]
async fn many_reads_show_what_is_whole_and_remove_what_is_not() {
    for world in World::stored() {
        let larder = with_damage(&world).await;
        let users = cache(&larder);
        let found = users.get_many(["a", "k", "never", "z"]).await.unwrap();
        let found: Vec<_> = found
            .iter()
            .map(|(key, entry)| (key.as_str(), entry.as_ref().map(|e| e.as_str())))
            .collect();
        let expected = [
            ("a", Some("a")),
            ("k", None),
            ("never", None),
            ("z", Some("z")),
        ];
        assert_eq!(found, expected, "{}", world.name);
        assert_eq!(counted(&larder).await, vec![1; names(&world).len()]);
        larder.shutdown(world::SOON).await.unwrap();
        assert_eq!(holding(&world), 0, "{}", world.name);
    }
}

#[tokio::test]
async fn a_scan_passes_over_it_goes_on_behind_it_and_removes_it() {
    let world = World::disk();
    let larder = with_damage(&world).await;
    let users = cache(&larder);
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let mut scan = users.scan("").page_size(1);
        if let Some(cursor) = after.take() {
            scan = scan.after(cursor);
        }
        let page = scan.await.unwrap();
        assert!(!page.partial);
        seen.extend(page.entries.into_iter().map(|(key, _)| key));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen, ["a", "z"]);
    assert_eq!(counted(&larder).await, [1]);
    larder.shutdown(world::SOON).await.unwrap();
    assert_eq!(holding(&world), 0);
}

#[tokio::test]
async fn a_condition_takes_it_for_absent() {
    for world in World::stored() {
        let larder = with_damage(&world).await;
        let users = cache(&larder);
        let refused = users.set("k", text("new")).if_present().await;
        assert!(
            matches!(refused, Err(Error::Conflict { current: None })),
            "{refused:?}"
        );
        users.set("k", text("new")).if_absent().await.unwrap();
        let larder = world.restart(larder).await;
        assert_eq!(read(&cache(&larder), "k").await, Some(text("new")));
    }
}

#[tokio::test]
async fn a_good_record_written_before_the_repair_is_not_deleted() {
    let (sluice, store) = (Sluice::default(), MapStore::new());
    let larder = behind(&sluice, &store).await;
    cache(&larder).set("k", text("old")).await.unwrap();
    larder.shutdown(world::SOON).await.unwrap();
    damage(&store.open(), "k", flip);
    let larder = behind(&sluice, &store).await;
    let users = cache(&larder);
    sluice.arm_get();
    let (found, ()) = tokio::join!(users.get("k").outcome(), async {
        // The damaged record is read and not yet handed over.
        sluice.entered().await;
        users.set("k", text("new")).await.unwrap();
        flush(&larder).await;
        sluice.release_get();
    });
    assert_eq!(found.unwrap().degraded, damaged(&["map"]), "it was read");
    users
        .set("other", text("1"))
        .durability(Durability::Written)
        .await
        .unwrap();
    larder.shutdown(world::SOON).await.unwrap();
    let larder = behind(&sluice, &store).await;
    assert_eq!(read(&cache(&larder), "k").await, Some(text("new")));
}

/// A larder over a map behind a sluice.
async fn behind(sluice: &Sluice, store: &MapStore) -> Larder {
    let factory = sluice.factory(store.factory());
    let builder = Larder::builder().driver_factory("map", CommitConfig::default(), factory);
    builder.start().await.unwrap()
}

#[tokio::test]
async fn more_repairs_than_there_is_room_for_keep_no_commit_from_its_place_and_lose_nothing() {
    // More than the commit lane holds (64), and one under way.
    const DAMAGED: usize = 80;
    let names: Vec<_> = (0..DAMAGED).map(|n| n.to_string()).collect();
    let (sluice, store) = (Sluice::default(), MapStore::new());
    let larder = behind(&sluice, &store).await;
    for name in &names {
        cache(&larder).set(name, text("old")).await.unwrap();
    }
    larder.shutdown(world::SOON).await.unwrap();
    for name in &names {
        damage(&store.open(), name, flip);
    }
    let larder = behind(&sluice, &store).await;
    let users = cache(&larder);
    sluice.hold_commits();
    for name in &names {
        assert_eq!(read(&users, name).await, None, "reads do not wait for it");
    }
    let set = tokio::spawn({
        let users = users.clone();
        async move {
            let set = users.set("new", text("1"));
            set.durability(Durability::Written).await
        }
    });
    assert_eq!(counted(&larder).await, [DAMAGED as u64]);
    sluice.release_commits();
    set.await.unwrap().unwrap();
    assert_eq!(larder.stats().await.unwrap().drivers[0].retries, 0);
    // Those for which there was no room are found again.
    for name in &names {
        world::until("it was deleted", async || {
            let found = users.get(name).outcome().await.unwrap();
            found.entry.is_none() && found.degraded.is_empty()
        })
        .await;
    }
    larder.shutdown(world::SOON).await.unwrap();
    let larder = behind(&sluice, &store).await;
    for name in &names {
        let found = cache(&larder).get(name).outcome().await.unwrap();
        assert_eq!((found.entry.is_none(), found.degraded), (true, vec![]));
    }
    assert_eq!(read(&cache(&larder), "new").await, Some(text("1")));
}

#[tokio::test]
async fn a_record_that_lies_under_another_key_is_not_that_keys_value() {
    let world = World::disk();
    let larder = with_damage(&world).await;
    larder.shutdown(world::SOON).await.unwrap();
    {
        let driver = &world.below()[0];
        let whole = driver.get(&stored_key("users", "a")).unwrap().unwrap();
        let write = Write::Put {
            key: stored_key("users", "z").into(),
            record: whole,
            version: Version::new(1).unwrap(),
            keep_ms: larder::clock::NEVER,
        };
        driver.commit(&[write], StoreDurability::Written).unwrap();
    }
    let larder = world.start().await;
    let found = cache(&larder).get("z").outcome().await.unwrap();
    assert!(found.entry.is_none());
    assert_eq!(found.degraded, damaged(&["disk"]));
    assert_eq!(read(&cache(&larder), "a").await, Some(text("a")));
}

#[tokio::test]
async fn a_record_of_a_later_layout_is_a_miss_and_stays_for_who_can_read_it() {
    let world = World::disk();
    let larder = world.start().await;
    cache(&larder).set("k", text("1")).await.unwrap();
    larder.shutdown(world::SOON).await.unwrap();
    damage(&*world.below()[0], "k", |bytes| {
        bytes[2] = record::FORMAT_FLAGGED + 1
    });
    let larder = world.start().await;
    let users = cache(&larder);
    assert_eq!(read(&users, "k").await, None);
    let page = users.scan("").await.unwrap();
    assert!(page.entries.is_empty());
    assert!(users.get_many(["k"]).await.unwrap()[0].1.is_none());
    larder.shutdown(world::SOON).await.unwrap();
    assert_eq!(holding(&world), 1);
}
