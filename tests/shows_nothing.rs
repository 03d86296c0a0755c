//! No value and no key of an entry is shown by `{:?}` of anything that larder has or hands out.
#![cfg(all(feature = "disk", feature = "test-util"))]
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

#[path = "support/world.rs"]
mod world;

use std::fmt::Debug;
use std::sync::Arc;

use bytes::Bytes;
use larder::cache::Cursor;
use larder::drivers::map::MapStore;
use larder::drivers::{Driver, Reclaimed, StoreDurability, Write};
use larder::key::{CacheId, Key};
use larder::messages::{entry, larder as whole, storage};
use larder::shelf::Encoded;
use larder::{Cache, Durability, Version};
use world::{SOON, World, cache, secs, text};

/// Stands in every key and value here, and nowhere else.
const SECRET: &str = "hush";

/// As text, and as the bytes that a list of numbers would show.
fn shows_nothing(what: &impl Debug) {
    let bytes: Vec<String> = SECRET.bytes().map(|byte| byte.to_string()).collect();
    for shown in [format!("{what:?}"), format!("{what:#?}")] {
        let packed: String = shown.split_whitespace().collect();
        assert!(!shown.contains(SECRET), "{shown}");
        assert!(!packed.contains(&bytes.join(",")), "{shown}");
    }
}

fn secret() -> Bytes {
    Bytes::from_static(SECRET.as_bytes())
}

fn put() -> Write {
    Write::Put {
        key: secret(),
        record: secret(),
        version: Version::at(1),
        keep_ms: 1,
    }
}

#[test]
fn what_drivers_see_shows_nothing() {
    shows_nothing(&put());
    shows_nothing(&Write::Delete { key: secret() });
    shows_nothing(&Reclaimed {
        records: vec![(secret(), Version::at(1))],
        bodies: vec![secret()],
        next_ms: None,
    });
    let store = MapStore::new();
    let driver = store.open();
    driver.commit(&[put()], StoreDurability::Written).unwrap();
    shows_nothing(&store);
}

#[test]
fn what_memory_keeps_shows_nothing() {
    let encoded = Encoded {
        codec: 0,
        type_tag: 0,
        flags: 0,
        is_secret: false,
        payload: secret(),
    };
    shows_nothing(&encoded);
    shows_nothing(&Arc::new(encoded));
    shows_nothing(&Key::new(CacheId(1), SECRET));
}

#[test]
fn messages_to_drivers_show_nothing() {
    shows_nothing(&storage::Get { key: secret() });
    let keys = vec![secret(), secret()];
    shows_nothing(&storage::GetMany { keys });
    let page = larder::drivers::PageLimit {
        count_max: 1,
        bytes_max: 1,
    };
    shows_nothing(&storage::Scan {
        prefix: secret(),
        after: secret(),
        page,
    });
}

#[test]
fn messages_to_the_desk_show_nothing() {
    type V = String;
    let value = || text(SECRET);
    shows_nothing(&entry::Get::<V>::new("c", SECRET));
    shows_nothing(&entry::Peek::<V>::new("c", SECRET));
    shows_nothing(&entry::Contains::<V>::new("c", SECRET));
    shows_nothing(&entry::Set::<V>::new("c", SECRET, value()));
    shows_nothing(&entry::Explain(entry::Get::<V>::new("c", SECRET)));
    shows_nothing(&entry::Explain(entry::Set::<V>::new("c", SECRET, value())));
    shows_nothing(&entry::Remove::<V>::new("c", SECRET));
    shows_nothing(&entry::Touch::<V>::new("c", SECRET, secs(1)));
    shows_nothing(&entry::Expire::<V>::new("c", SECRET));
    shows_nothing(&entry::Scan::<V>::new("c", SECRET));
    shows_nothing(&entry::GetMany::<V>::new("c", [SECRET]));
    shows_nothing(&entry::SetMany::<V>::new("c", [(SECRET, value())]));
    shows_nothing(&entry::RemoveMany::<V>::new("c", [SECRET]));
    shows_nothing(&entry::Watching::Key(value()));
    shows_nothing(&entry::Watching::Latest(value()));
    shows_nothing(&entry::Watching::Prefix(value()));
    shows_nothing(&entry::Watching::All);
    shows_nothing(&whole::Warm {
        entries: vec![format!("c/{SECRET}")],
    });
}

#[tokio::test]
async fn what_is_read_shows_nothing() {
    let world = World::disk();
    let larder = world.start().await;
    let users: Cache<String> = cache(&larder);
    users.set(SECRET, text(SECRET)).await.unwrap();
    users.set("hush2", text(SECRET)).await.unwrap();
    shows_nothing(&users);
    shows_nothing(&users.get(SECRET).await.unwrap().unwrap());
    shows_nothing(&users.get(SECRET).outcome().await.unwrap());
    shows_nothing(&users.set(SECRET, text(SECRET)).outcome().await.unwrap());
    let page = users.scan(SECRET).page_size(1).await.unwrap();
    assert_eq!(page.entries.len(), 1);
    let next: Cursor = page.next.clone().unwrap();
    shows_nothing(&page);
    shows_nothing(&next);
    assert!(next.to_string().contains(SECRET), "its text has to");
    shows_nothing(&larder.stats().await.unwrap());
    shows_nothing(&larder.actors());
    let shown = format!("{larder:?}");
    assert_eq!(
        shown,
        r#"Larder { drivers: ["disk"], is_closed: false, .. }"#
    );
    larder.shutdown(SOON).await.unwrap();
    assert!(format!("{larder:?}").contains("is_closed: true"));
}

#[tokio::test]
async fn what_became_of_a_batch_shows_nothing() {
    let world = World::disk();
    let larder = world.start().await;
    let users: Cache<String> = cache(&larder);
    let long = SECRET.repeat(1_000);
    let items = [(SECRET, text(SECRET)), (long.as_str(), text(SECRET))];
    let mut chunks = 0;
    let set = users.set_many(items).on_chunk(|chunk| {
        shows_nothing(chunk);
        chunks += 1;
    });
    let report = set.await.unwrap();
    assert_eq!((report.applied, report.refused, chunks), (1, 1, 1));
    assert!(
        report.failures[0].0.contains(SECRET),
        "the caller's own key"
    );
    shows_nothing(&report);
    let mut chunks = users.get_many([SECRET, &long]);
    shows_nothing(&chunks);
    let chunk = chunks.next().await.unwrap().unwrap();
    assert!(chunk.keys[0].1.as_ref().unwrap().is_some() && chunk.keys[1].1.is_err());
    shows_nothing(&chunk);
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn what_watchers_are_told_shows_nothing() {
    let world = World::disk();
    let larder = world.start().await;
    let users: Cache<String> = cache(&larder);
    let mut changes = users.watch_prefix(SECRET).await.unwrap();
    shows_nothing(&changes);
    let latest = users.watch_latest(SECRET).await.unwrap();
    shows_nothing(&latest);
    users.set(SECRET, text(SECRET)).await.unwrap();
    users.set(SECRET, text("hush again")).await.unwrap();
    users
        .remove(SECRET)
        .durability(Durability::Queued)
        .await
        .unwrap();
    for _ in 0..3 {
        shows_nothing(&changes.next().await.unwrap());
    }
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn refusals_show_nothing() {
    let world = World::disk();
    let larder = world.start().await;
    let users: Cache<String> = cache(&larder);
    let long = SECRET.repeat(1_000);
    let version = users.set(SECRET, text(SECRET)).await.unwrap();
    let refused = [
        users.set(&long, text(SECRET)).await.map(drop),
        users.set(SECRET, SECRET.repeat(1 << 20)).await.map(drop),
        users.set(SECRET, text(SECRET)).if_absent().await.map(drop),
        users
            .remove(SECRET)
            .if_version(Version::new(version.get() - 1).unwrap())
            .await
            .map(drop),
        larder.warm([format!("users/{long}")]).await.map(drop),
        larder.warm([SECRET]).await.map(drop),
    ];
    for error in refused.map(Result::unwrap_err) {
        shows_nothing(&error);
        assert!(!error.to_string().contains(SECRET), "{error}");
    }
    larder.shutdown(SOON).await.unwrap();
}
