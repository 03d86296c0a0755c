//! Values of a lower schema number: what a migration makes of them is an entry like any other.
#![cfg(all(feature = "disk", feature = "test-util"))]
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

#[path = "support/world.rs"]
mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use larder::messages::entry::{Get, Set};
use larder::{Cache, EntryEvent, Error, Larder, OldRecord};
use serde::{Deserialize, Serialize};
use world::{SOON, World, secs, text, until};

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
struct User {
    name: String,
    age: Option<u8>,
}

fn user(name: &str) -> User {
    User {
        name: name.to_owned(),
        age: None,
    }
}

/// What users were before: their names.
fn of_name(old: OldRecord<'_>) -> Result<User, Error> {
    assert_eq!(old.schema, 1);
    let name: String = old.decode()?;
    assert_ne!(name, "panics", "secret");
    if name == "fails" {
        return Err(Error::decode::<User>("it has no age"));
    }
    Ok(user(&name))
}

fn first(larder: &Larder) -> Cache<String> {
    larder.cache_builder("users").schema(1).open().unwrap()
}

fn second(larder: &Larder) -> Cache<User> {
    let builder = larder.cache_builder("users").schema(2);
    builder.migrate(of_name).open().unwrap()
}

/// Each store with these names in it, below only.
async fn each(names: &[&str], check: impl AsyncFn(Larder, &World)) {
    for world in World::stored() {
        let larder = world.start().await;
        let names_alone = first(&larder);
        for name in names {
            let set = names_alone.set(name, text(name));
            set.ttl(secs(60)).tag("team").await.unwrap();
        }
        let larder = world.restart(larder).await;
        check(larder, &world).await;
    }
}

#[tokio::test]
async fn a_read_shows_it_with_the_version_and_the_times_that_are_stored() {
    each(&["ada"], async |larder, world| {
        let old = first(&larder).get("ada").await.unwrap().unwrap();
        let (version, ends) = (old.version(), old.expires_in());
        let larder = world.restart(larder).await;
        let users = second(&larder);
        let new = users.get("ada").await.unwrap().unwrap();
        assert_eq!(
            (&*new, new.version(), new.expires_in()),
            (&user("ada"), version, ends)
        );
        let stats = larder.stats().await.unwrap();
        assert_eq!((stats.schema_misses, stats.decode_errors), (0, 0));
        users.remove_tag("team").await.unwrap();
        assert!(users.get("ada").await.unwrap().is_none());
    })
    .await;
}

#[tokio::test]
async fn without_a_migration_it_stays_a_miss_that_is_counted() {
    each(&["ada"], async |larder, _| {
        let users = larder.cache_builder::<User>("users").schema(2);
        assert!(users.open().unwrap().get("ada").await.unwrap().is_none());
        assert_eq!(larder.stats().await.unwrap().schema_misses, 1);
    })
    .await;
}

#[tokio::test]
async fn memory_keeps_what_was_made() {
    each(&["ada"], async |larder, _| {
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&calls);
        let builder = larder.cache_builder("users").schema(2);
        let users = builder.migrate(move |old| {
            counted.fetch_add(1, Ordering::Relaxed);
            of_name(old)
        });
        let users = users.open().unwrap();
        let one = users.get("ada").await.unwrap().unwrap();
        let other = users.get("ada").await.unwrap().unwrap();
        assert!(Arc::ptr_eq(one.value(), other.value()));
        assert_eq!(calls.load(Ordering::Relaxed), 1);
    })
    .await;
}

#[tokio::test]
async fn conditions_see_it() {
    each(&["ada"], async |larder, _| {
        let users = second(&larder);
        let absent = users.set("ada", user("x")).if_absent().await;
        assert!(
            matches!(absent, Err(Error::Conflict { current: Some(_) })),
            "{absent:?}"
        );
        let version = users.peek("ada").await.unwrap().unwrap().version();
        let set = users.set("ada", user("y")).if_version(version);
        set.await.unwrap();
        assert_eq!(*users.get("ada").await.unwrap().unwrap(), user("y"));
    })
    .await;
    each(&["ada"], async |larder, _| {
        let users = second(&larder);
        users.set("ada", user("x")).if_present().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn an_update_changes_it() {
    each(&["ada"], async |larder, _| {
        let users = second(&larder);
        let grow = |old: Option<&User>| User {
            age: Some(36),
            ..old.unwrap().clone()
        };
        let updated = users.update("ada", grow).await.unwrap();
        assert_eq!((updated.name.as_str(), updated.age), ("ada", Some(36)));
    })
    .await;
}

#[tokio::test]
async fn scans_and_reads_of_many_show_it() {
    each(&["ada", "fails", "grace"], async |larder, _| {
        let users = second(&larder);
        let page = users.scan("").await.unwrap();
        let page: Vec<_> = page.entries.iter().map(|(_, user)| &*user.name).collect();
        assert_eq!(page, ["ada", "grace"]);
        let many = users.get_many(["ada", "fails", "grace"]).await.unwrap();
        let many: Vec<_> = many.iter().map(|(_, user)| user.is_some()).collect();
        assert_eq!(many, [true, false, true]);
    })
    .await;
}

#[tokio::test]
async fn watchers_are_shown_it_as_what_was_before() {
    each(&["ada"], async |larder, _| {
        // As bytes, which a watcher's own thread makes a value of.
        let users = second(&larder);
        larder.warm(["users/ada"]).await.unwrap();
        let mut watch = users.watch("ada").await.unwrap();
        users.set("ada", user("x")).await.unwrap();
        let event = tokio::time::timeout(SOON, watch.next()).await.unwrap();
        let Some(EntryEvent::Changed(change)) = event else {
            panic!("nothing else happens here");
        };
        assert_eq!(**change.old.known().unwrap(), user("ada"));
    })
    .await;
}

#[tokio::test]
async fn messages_are_answered_with_it() {
    each(&["ada"], async |larder, _| {
        second(&larder);
        let desk = larder.desk().unwrap();
        let found = desk.send(Get::<User>::new("users", "ada")).await.unwrap();
        assert_eq!(*found.unwrap().unwrap(), user("ada"));
        let set = Set::new("users", "ada", user("x"));
        desk.send(set).await.unwrap().unwrap();
        let named: Cache<User> = larder.cache("users").unwrap();
        assert_eq!(*named.get("ada").await.unwrap().unwrap(), user("x"));
    })
    .await;
}

#[tokio::test]
async fn one_that_fails_or_panics_is_a_miss_that_is_counted_and_replaced() {
    each(&["fails", "panics"], async |larder, _| {
        let users = second(&larder);
        for (at, name) in ["fails", "panics"].into_iter().enumerate() {
            assert!(users.get(name).await.unwrap().is_none());
            let stats = larder.stats().await.unwrap();
            assert_eq!(
                (stats.decode_errors, stats.schema_misses),
                (at as u64 + 1, 0)
            );
        }
        for name in ["fails", "panics"] {
            let replaced = users.update(name, |old| {
                assert!(old.is_none());
                user("new")
            });
            assert_eq!(*replaced.await.unwrap(), user("new"));
        }
    })
    .await;
}

#[tokio::test]
async fn what_a_later_version_has_stored_is_a_miss() {
    for world in World::stored() {
        let larder = world.start().await;
        let later = larder.cache_builder::<String>("users").schema(3);
        let later = later.open().unwrap();
        later.set("ada", text("ada")).await.unwrap();
        let larder = world.restart(larder).await;
        assert!(second(&larder).get("ada").await.unwrap().is_none());
        assert_eq!(larder.stats().await.unwrap().schema_misses, 1);
        let later = larder.cache_builder::<String>("users").schema(3);
        let later = later.open().unwrap();
        assert_eq!(*later.get("ada").await.unwrap().unwrap(), "ada");
    }
}

#[tokio::test]
async fn new_times_leave_the_old_bytes_with_their_number() {
    each(&["ada"], async |larder, world| {
        // As bytes in memory, and not read before.
        let users = second(&larder);
        larder.warm(["users/ada"]).await.unwrap();
        users.touch("ada", secs(600)).await.unwrap().unwrap();
        assert_eq!(*users.get("ada").await.unwrap().unwrap(), user("ada"));
        let larder = world.restart(larder).await;
        let users = second(&larder);
        let found = users.get("ada").await.unwrap().unwrap();
        assert_eq!(
            (&*found, found.expires_in()),
            (&user("ada"), Some(secs(600)))
        );
        // As it is in memory now, it is of the new number below, too.
        users.touch("ada", secs(900)).await.unwrap().unwrap();
        let larder = world.restart(larder).await;
        let builder = larder.cache_builder::<User>("users").schema(2);
        let found = builder.open().unwrap().get("ada").await.unwrap().unwrap();
        assert_eq!(
            (&*found, found.expires_in()),
            (&user("ada"), Some(secs(900)))
        );
    })
    .await;
}

#[tokio::test]
async fn a_sliding_entry_is_renewed_by_reading_it() {
    let world = World::disk();
    let larder = world.start().await;
    first(&larder)
        .set("ada", text("ada"))
        .idle(secs(8))
        .await
        .unwrap();
    let larder = world.restart(larder).await;
    let users = second(&larder);
    for _ in 0..3 {
        world.advance(secs(5));
        assert!(users.get("ada").await.unwrap().is_some());
    }
}

#[tokio::test]
async fn the_same_type_with_another_meaning_is_made_of_what_memory_holds() {
    for world in World::all() {
        let larder = world.start().await;
        let cents = larder.cache_builder::<u64>("prices").schema(1);
        cents.open().unwrap().set("k", 250).await.unwrap();
        let euros = larder.cache_builder::<u64>("prices").schema(2);
        let euros = euros
            .migrate(|old| Ok(old.decode::<u64>()? / 100))
            .open()
            .unwrap();
        for _ in 0..2 {
            assert_eq!(*euros.get("k").await.unwrap().unwrap(), 2, "{}", world.name);
        }
    }
}

#[tokio::test]
async fn one_of_another_type_in_memory_is_a_miss_until_it_is_read_from_below() {
    let world = World::disk();
    let larder = world.start().await;
    first(&larder).set("ada", text("ada")).await.unwrap();
    let users = second(&larder);
    assert!(users.get("ada").await.unwrap().is_none());
    assert_eq!(larder.stats().await.unwrap().schema_misses, 1);
    let larder = world.restart(larder).await;
    assert!(second(&larder).get("ada").await.unwrap().is_some());
}

#[tokio::test]
async fn what_was_made_fills_a_store_that_was_emptied() {
    let world = World::map();
    let larder = world.start().await;
    first(&larder).set("ada", text("ada")).await.unwrap();
    let larder = world.restart(larder).await;
    let users = second(&larder);
    users.get("ada").await.unwrap().unwrap();
    // It is stored again as what memory has, when it is touched.
    users.touch("ada", secs(60)).await.unwrap().unwrap();
    until("it is stored", async || {
        larder.stats().await.unwrap().dirty.slots == 0
    })
    .await;
    let below = world.below()[0].get(b"users/ada").unwrap().unwrap();
    let (header, _) = larder::record::decode(b"users/ada", &below).unwrap();
    assert_eq!(header.schema, 2);
}

#[cfg(feature = "compression")]
#[tokio::test]
async fn a_migration_is_given_the_bytes_as_the_codec_wrote_them() {
    let world = World::disk();
    let larder = world.start().await;
    let long = "ada".repeat(10_000);
    first(&larder).set("k", long.clone()).await.unwrap();
    let larder = world.restart(larder).await;
    assert_eq!(larder.stats().await.unwrap().decode_errors, 0);
    let builder = larder.cache_builder("users").schema(9);
    let users = builder.migrate(|old| {
        assert_eq!((old.schema, old.codec), (1, 1));
        assert!(old.bytes.len() > 30_000);
        assert!(format!("{old:?}").contains("30003"), "{old:?}");
        old.decode::<String>()
    });
    assert_eq!(
        *users.open().unwrap().get("k").await.unwrap().unwrap(),
        long
    );
}
