//! Choosing drivers per cache and per call, warming, and the disabled mode.
#![cfg(all(feature = "disk", feature = "test-util"))]
#![allow(clippy::unwrap_used)]

#[path = "support/world.rs"]
mod world;

use larder::{Cache, Durability, Error, Larder, Source};
use world::{World, cache, flush, read, text};

async fn source(users: &Cache<String>, key: &str) -> Option<Source> {
    users.peek(key).await.unwrap().map(|entry| entry.source())
}

#[tokio::test]
async fn a_tier_that_a_call_skips_keeps_no_older_copy() {
    for (names, stays) in [
        (vec!["memory"], false),
        (vec!["disk"], true),
        (vec!["map"], true),
        (vec!["memory", "map"], true),
    ] {
        let world = World::both();
        let larder = world.start().await;
        let users = cache(&larder);
        users.set("k", text("old")).await.unwrap();
        flush(&larder).await;
        users
            .set("k", text("new"))
            .drivers(names.clone())
            .await
            .unwrap();
        assert_eq!(read(&users, "k").await, Some(text("new")), "{names:?}");
        flush(&larder).await;
        assert_eq!(read(&users, "k").await, Some(text("new")), "{names:?}");
        let larder = world.restart(larder).await;
        let found = read(&cache(&larder), "k").await;
        assert_eq!(found, stays.then(|| text("new")), "{names:?}");
    }
}

#[tokio::test]
async fn a_set_for_one_tier_lies_there_and_nowhere_else() {
    let world = World::both();
    let larder = world.start().await;
    let users = cache(&larder);
    users
        .set("disk", text("1"))
        .drivers(["disk"])
        .await
        .unwrap();
    users.set("map", text("1")).drivers(["map"]).await.unwrap();
    flush(&larder).await;
    assert_eq!(source(&users, "disk").await, Some(Source::Disk));
    assert_eq!(source(&users, "map").await, Some(Source::Custom(0)));
    let asked = users.get("disk").drivers(["map"]).await.unwrap();
    assert!(asked.is_none(), "only the map was asked");
    assert!(users.get("map").drivers(["map"]).await.unwrap().is_some());
    assert_eq!(
        larder.stats().await.unwrap().memory.entries,
        0,
        "a choosy read promotes nothing"
    );
}

#[tokio::test]
async fn a_promise_for_a_call_that_chooses_covers_what_is_skipped_too() {
    let world = World::both();
    let builder = world
        .builder()
        .restart_limit(0, world::NEVER_BACK, world::NEVER_BACK)
        .restart_backoff(world::NEVER_BACK, world::NEVER_BACK);
    let larder = builder.start().await.unwrap();
    let users = cache(&larder);
    let set = users
        .set("k", text("1"))
        .drivers(["map"])
        .durability(Durability::Written);
    assert_eq!(set.outcome().await.unwrap().durability, Durability::Written);
    let set = users
        .set("k", text("1"))
        .drivers(["memory"])
        .durability(Durability::Written);
    assert!(matches!(
        set.await,
        Err(Error::Invalid {
            field: "durability",
            ..
        })
    ));
    assert_eq!(
        source(&users, "k").await,
        Some(Source::Custom(0)),
        "nothing was changed"
    );
    world::take_down(&larder, "disk").await;
    // The disk may still hold an older copy, which a restart would show first.
    let set = users
        .set("k", text("2"))
        .drivers(["map"])
        .durability(Durability::Written);
    assert!(matches!(set.await, Err(Error::Unavailable { driver, .. }) if &*driver == "disk"));
}

#[tokio::test]
async fn a_cache_keeps_to_its_drivers() {
    let world = World::both();
    let larder = world.start().await;
    let open = |larder: &Larder, name: &str, drivers: &[&str]| -> Cache<String> {
        let builder = larder.cache_builder(name).drivers(drivers.iter().copied());
        builder.open().unwrap()
    };
    let kinds: [(&str, &[&str]); 3] = [
        ("volatile", &["memory"]),
        ("disk", &["disk"]),
        ("map", &["memory", "map"]),
    ];
    for (name, drivers) in kinds {
        open(&larder, name, drivers)
            .set("k", text("1"))
            .await
            .unwrap();
    }
    flush(&larder).await;
    assert_eq!(
        larder.stats().await.unwrap().memory.entries,
        2,
        "volatile and map"
    );
    for _ in 0..2 {
        let found = source(&open(&larder, "disk", &["disk"]), "k").await;
        assert_eq!(found, Some(Source::Disk), "never promoted");
    }
    let larder = world.restart(larder).await;
    let sources = [None, Some(Source::Disk), Some(Source::Custom(0))];
    for ((name, drivers), expected) in kinds.into_iter().zip(sources) {
        assert_eq!(
            source(&open(&larder, name, drivers), "k").await,
            expected,
            "{name}"
        );
    }
}

#[tokio::test]
async fn conditions_and_updates_work_without_memory() {
    let world = World::disk();
    let larder = world.start().await;
    let users = larder
        .cache_builder::<String>("users")
        .drivers(["disk"])
        .open()
        .unwrap();
    let version = users.set("k", text("1")).if_absent().await.unwrap();
    flush(&larder).await;
    assert!(users.set("k", text("2")).if_absent().await.is_err());
    let version = users.set("k", text("2")).if_version(version).await.unwrap();
    flush(&larder).await;
    let entry = users
        .update("k", |old| format!("{}3", old.unwrap()))
        .await
        .unwrap();
    assert!(entry.version() > version);
    assert_eq!(read(&users, "k").await, Some(text("23")));
    let stats = larder.stats().await.unwrap().memory;
    assert_eq!((stats.entries, stats.marks), (0, 0));
}

#[tokio::test]
async fn warming_loads_what_is_there_and_counts_what_is_not() {
    for world in World::stored() {
        let larder = world.start().await;
        cache(&larder).set("k/1", text("1")).await.unwrap();
        cache(&larder).set("gone", text("1")).await.unwrap();
        cache(&larder).remove("gone").await.unwrap();
        let larder = world.restart(larder).await;
        cache(&larder);
        let warmed = larder
            .warm(["users/k/1", "users/gone", "users/never"])
            .await
            .unwrap();
        assert_eq!((warmed.loaded, warmed.missing), (1, 2), "{}", world.name);
        assert_eq!(source(&cache(&larder), "k/1").await, Some(Source::Memory));
        for wrong in ["noslash", "/k", "users/", "other/k", "\u{0}fences/users"] {
            assert!(larder.warm([wrong]).await.is_err(), "{wrong:?}");
        }
        let long = format!("users/{}", "x".repeat(2_000));
        assert!(matches!(
            larder.warm([long]).await,
            Err(Error::TooLarge { .. })
        ));
        assert_eq!(larder.stats().await.unwrap().memory.marks, 0);
    }
}

#[tokio::test]
async fn disabled_it_has_the_same_face_and_remembers_nothing() {
    let world = World::both();
    let larder = world.builder().disabled().start().await.unwrap();
    let builder = larder
        .cache_builder::<String>("users")
        .drivers(["memory", "disk"]);
    let users = builder.open().unwrap();
    let version = users.set("k", text("1")).await.unwrap();
    let set = users
        .set("k", text("1"))
        .drivers(["disk"])
        .durability(Durability::Synced);
    set.await.unwrap();
    assert_eq!(read(&users, "k").await, None);
    assert!(
        users
            .get("k")
            .drivers(["disk"])
            .allow_stale()
            .await
            .unwrap()
            .is_none()
    );
    users.set("k", text("2")).if_absent().await.unwrap();
    assert!(
        users
            .remove("k")
            .durability(Durability::Written)
            .await
            .unwrap()
            > version
    );
    users.clear().durability(Durability::Synced).await.unwrap();
    users.remove_tag("t").await.unwrap();
    assert_eq!(users.touch("k", world::secs(1)).await.unwrap(), None);
    assert_eq!(users.expire("k").await.unwrap(), None);
    let updated = users.update("k", |old| format!("{old:?}")).await.unwrap();
    assert_eq!(*updated, "None");
    let report = users
        .set_many([("a", text("1")), ("b", text("1"))])
        .await
        .unwrap();
    assert_eq!((report.applied, report.refused), (2, 0));
    assert!(users.get_many(["a"]).await.unwrap()[0].1.is_none());
    assert!(users.scan("").await.unwrap().entries.is_empty());
    assert!(
        matches!(users.set("", text("1")).await, Err(Error::Invalid { .. })),
        "as enabled"
    );
    assert_eq!(larder.warm(["users/k"]).await.unwrap().loaded, 0);
    flush(&larder).await;
    larder.shutdown(world::SOON).await.unwrap();
    let larder = world.start().await;
    assert_eq!(read(&cache(&larder), "k").await, None);
}
