//! Values that cannot be written, or would not be read back: the set says so, and nothing is taken down.
#![cfg(all(feature = "disk", feature = "test-util"))]
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

#[path = "support/world.rs"]
mod world;

use larder::messages::entry::Set;
use larder::{Cache, Error, Value};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use world::World;

/// The error's text, after a look at its parts.
fn told<T: std::fmt::Debug>(result: Result<T, Error>, parts: &[&str]) {
    let text = result.unwrap_err().to_string();
    for part in parts {
        assert!(text.contains(part), "{text:?} does not say {part:?}");
    }
    assert!(!text.contains("secret"), "{text:?} shows the value");
}

/// What a host's `Serialize` and `Deserialize` do.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Mood {
    Fine,
    FailsToWrite,
    PanicsWhenWritten,
    FailsToRead,
    PanicsWhenRead,
}
use Mood::{FailsToRead, FailsToWrite, Fine, PanicsWhenRead, PanicsWhenWritten};

impl Serialize for Mood {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            FailsToWrite => Err(serde::ser::Error::custom("secret")),
            PanicsWhenWritten => panic!("secret"),
            Fine => to.serialize_u8(0),
            FailsToRead => to.serialize_u8(1),
            PanicsWhenRead => to.serialize_u8(2),
        }
    }
}

impl<'de> Deserialize<'de> for Mood {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        match u8::deserialize(from)? {
            1 => Err(serde::de::Error::custom("secret")),
            2 => panic!("secret"),
            _ => Ok(Fine),
        }
    }
}

#[tokio::test]
async fn a_value_that_fails_or_panics_fails_its_own_call_only() {
    for world in World::all() {
        let larder = world.start().await;
        let moods: Cache<Mood> = larder.cache("moods").unwrap();
        moods.set("k", Fine).await.unwrap();
        for bad in [FailsToWrite, PanicsWhenWritten] {
            for done in [
                moods.set("k", bad).await.map(drop),
                moods.set("new", bad).if_absent().await.map(drop),
                moods.update("k", |_| bad).await.map(drop),
            ] {
                assert!(matches!(done, Err(Error::Encode { .. })), "{done:?}");
                told(done, &["Mood", "could not be encoded"]);
            }
        }
        let report = moods
            .set_many([("a", Fine), ("b", PanicsWhenWritten), ("c", Fine)])
            .await;
        assert_eq!(report.unwrap().applied, 2);
        let stats = larder.stats().await.unwrap();
        assert_eq!(
            (stats.encode_errors, stats.memory.marks),
            (7, 0),
            "{}",
            world.name
        );
        assert_eq!(moods.get("k").await.unwrap().as_deref(), Some(&Fine));
        assert!(
            larder.actors().iter().all(|a| a.generation == 1),
            "nothing was taken down"
        );
    }
    for world in World::stored() {
        let larder = world.start().await;
        let moods: Cache<Mood> = larder.cache("moods").unwrap();
        // One that can be read back shows that the type can; values may still differ.
        let all = [
            ("first", Fine),
            ("fails", FailsToRead),
            ("panics", PanicsWhenRead),
            ("fine", Fine),
        ];
        assert_eq!(moods.set_many(all).await.unwrap().applied, 4);
        let larder = world.restart(larder).await;
        let moods: Cache<Mood> = larder.cache("moods").unwrap();
        let found = moods.get_many(["fails", "panics", "fine"]).await.unwrap();
        let found: Vec<_> = found.iter().map(|(_, entry)| entry.is_some()).collect();
        assert_eq!(found, [false, false, true], "{}", world.name);
        let page = moods.scan("").await.unwrap();
        assert_eq!(page.entries.len(), 2);
        assert!(larder.actors().iter().all(|a| a.generation == 1));
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Text(String),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "kind")]
enum Tagged {
    Named { name: String },
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Flat {
    #[serde(flatten)]
    more: std::collections::BTreeMap<String, String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Shortened {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
}

/// Each way of setting refuses a value that would be a miss after a restart, and changes nothing.
async fn is_refused<V: Value + Clone + std::fmt::Debug>(world: &World, value: V, parts: &[&str]) {
    let larder = world.start().await;
    let cache: Cache<V> = larder.cache("values").unwrap();
    let set = || Set::new("values", "k", value.clone());
    let answers = [
        cache.set("k", value.clone()).await.map(drop),
        cache.set("k", value.clone()).if_absent().await.map(drop),
        cache.update("k", |_| value.clone()).await.map(drop),
        larder.desk().unwrap().send(set()).await.unwrap().map(drop),
    ];
    for answer in answers {
        assert!(matches!(answer, Err(Error::Encode { .. })), "{answer:?}");
        told(answer, parts);
    }
    let report = cache.set_many([("k", value.clone())]).await.unwrap();
    assert_eq!((report.applied, report.refused), (0, 1), "{}", world.name);
    assert!(cache.get("k").await.unwrap().is_none());
    let stats = larder.stats().await.unwrap();
    assert_eq!((stats.memory.entries, stats.encode_errors), (0, 5));
    larder.shutdown(world::SOON).await.unwrap();
}

#[tokio::test]
async fn a_value_that_would_not_be_read_back_is_refused_by_its_first_set() {
    let secret = || "secret".to_owned();
    for world in World::stored() {
        let parts = [
            "would not be read back",
            "untagged",
            "serde_json::Value",
            "memory",
        ];
        is_refused(&world, Untagged::Text(secret()), &parts).await;
        is_refused(&world, Tagged::Named { name: secret() }, &parts).await;
        is_refused(&world, serde_json::json!({ "a": "secret" }), &parts).await;
        let more = [(secret(), secret())].into();
        is_refused(&world, Flat { more }, &["length", "#[serde(flatten)]"]).await;
        let parts = ["would not be read back", "skip_serializing_if"];
        is_refused(&world, Shortened { name: None }, &parts).await;
        for mood in [FailsToRead, PanicsWhenRead] {
            is_refused(&world, mood, &["would not be read back"]).await;
        }
    }
}

#[tokio::test]
async fn memory_alone_keeps_what_no_store_could_give_back() {
    for world in World::all() {
        let larder = world.start().await;
        let builder = larder.cache_builder::<Untagged>("values");
        let cache = builder.drivers(["memory"]).open().unwrap();
        let value = Untagged::Text("kept".to_owned());
        cache.set("k", value).await.unwrap();
        assert!(cache.get("k").await.unwrap().is_some(), "{}", world.name);
        // What cannot even be written is kept, too, if it need not be to be weighed.
        let builder = larder.cache_builder::<Flat>("flat").drivers(["memory"]);
        let cache = builder.weigher(|_| 100).open().unwrap();
        let more = [("a".to_owned(), "b".to_owned())].into();
        cache.set("k", Flat { more }).await.unwrap();
        assert!(cache.get("k").await.unwrap().is_some(), "{}", world.name);
    }
}

/// Counts how often it is read.
#[derive(Clone, Debug, Serialize)]
struct Counted(u8);

static READ: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);

impl<'de> Deserialize<'de> for Counted {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        READ.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        u8::deserialize(from).map(Self)
    }
}

#[tokio::test]
async fn a_value_is_read_back_once_and_not_at_each_set() {
    let world = World::map();
    let larder = world.start().await;
    let cache: Cache<Counted> = larder.cache("values").unwrap();
    let desk = larder.desk().unwrap();
    for n in 0..10 {
        let another: Cache<Counted> = larder.cache("values").unwrap();
        another.set("k", Counted(n)).await.unwrap();
        cache.set("k", Counted(n)).await.unwrap();
        let set = Set::new("values", "k", Counted(n));
        desk.send(set).await.unwrap().unwrap();
    }
    assert_eq!(READ.load(std::sync::atomic::Ordering::Relaxed), 1);
}
