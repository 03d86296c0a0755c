//! Codecs: what each writes is read back after a restart, whichever the cache has then.
#![cfg(all(feature = "disk", feature = "codecs", feature = "test-util"))]
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

#[path = "support/mortal.rs"]
mod mortal;
#[path = "support/world.rs"]
mod world;

use std::collections::BTreeMap;

use bytes::Bytes;
use larder::codec::{Bincode, Json, MessagePack, Raw};
use larder::config::CommitConfig;
use larder::messages::entry::{Get, Set};
use larder::{Cache, CacheBuilder, Codec, Compression, Error, Larder, Value, record};
use mortal::Mortal;
use serde::{Deserialize, Serialize};
use world::{SOON, World};

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
struct User {
    name: String,
    age: Option<u8>,
    tags: Vec<String>,
}

fn ada() -> User {
    User {
        name: "Ada".into(),
        age: Some(36),
        tags: vec!["a".into(), "b".into()],
    }
}

/// Opens a cache with a codec.
type Open<V> = fn(CacheBuilder<V>) -> CacheBuilder<V>;

/// A builder that changes nothing but the codec.
fn all<V: Value>() -> [(u8, Open<V>); 3] {
    [
        (1, |builder| builder.codec(Bincode)),
        (2, |builder| builder.codec(MessagePack)),
        (3, |builder| builder.codec(Json)),
    ]
}

fn open<V: Value>(larder: &Larder, codec: Open<V>) -> Cache<V> {
    codec(larder.cache_builder("values")).open().unwrap()
}

/// A number as text, with any number of its own.
struct Decimal(u8);

impl Codec<u64> for Decimal {
    fn id(&self) -> u8 {
        self.0
    }

    fn encode(&self, value: &u64, _: usize) -> Result<Bytes, Error> {
        assert_ne!(*value, 13, "secret");
        Ok(value.to_string().into())
    }

    fn decode(&self, bytes: &Bytes) -> Result<u64, Error> {
        let text = std::str::from_utf8(bytes).ok();
        let value = text.and_then(|text| text.parse().ok());
        value.ok_or_else(|| Error::decode::<u64>("it is no number"))
    }
}

#[tokio::test]
async fn what_each_codec_writes_is_read_back_after_a_restart() {
    for world in World::stored() {
        for (_, codec) in all() {
            let larder = world.start().await;
            let cache = open(&larder, codec);
            cache.set("k", ada()).await.unwrap();
            assert_eq!(*cache.get("k").await.unwrap().unwrap(), ada());
            let larder = world.restart(larder).await;
            let cache = open(&larder, codec);
            assert_eq!(*cache.get("k").await.unwrap().unwrap(), ada());
            larder.shutdown(SOON).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_record_names_the_codec_that_wrote_it() {
    let store = Mortal::default();
    let factory = store.factory();
    let builder = Larder::builder().driver_factory("store", CommitConfig::default(), factory);
    let larder = builder.start().await.unwrap();
    for (id, codec) in all() {
        let cache = open(&larder, codec);
        cache.set("k", ada()).await.unwrap();
        world::flush(&larder).await;
        let stored = store.get(b"values/k").unwrap();
        assert_eq!(record::decode(b"values/k", &stored).unwrap().0.codec, id);
    }
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn a_cache_that_changes_its_codec_reads_what_it_has() {
    for (_, before) in all() {
        for (_, after) in all() {
            let world = World::map();
            let larder = world.start().await;
            open(&larder, before).set("old", ada()).await.unwrap();
            let larder = world.restart(larder).await;
            let cache = open(&larder, after);
            assert_eq!(*cache.get("old").await.unwrap().unwrap(), ada());
            cache.set("new", ada()).if_absent().await.unwrap();
            let absent = cache.set("old", ada()).if_absent().await;
            assert!(matches!(absent, Err(Error::Conflict { .. })));
            assert_eq!(cache.scan("").await.unwrap().entries.len(), 2);
            assert_eq!(larder.stats().await.unwrap().schema_misses, 0);
        }
    }
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
struct Free {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    name: Option<String>,
    shape: Shape,
    id: Id,
    any: serde_json::Value,
    #[serde(flatten)]
    more: BTreeMap<String, serde_json::Value>,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "kind")]
enum Shape {
    Circle { radius: f64 },
    Square { side: f64 },
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Id {
    Number(u64),
    Text(String),
}

fn free() -> [Free; 2] {
    let any = serde_json::json!({ "a": [1, null, "x", 2.5], "b": { "c": true } });
    let one = Free {
        name: None,
        shape: Shape::Circle { radius: 0.1 },
        id: Id::Text("x".into()),
        more: [("more".to_owned(), any.clone())].into(),
        any,
    };
    let other = Free {
        name: Some("Ada".into()),
        shape: Shape::Square { side: 2.0 },
        id: Id::Number(u64::MAX),
        more: BTreeMap::new(),
        any: serde_json::Value::Null,
    };
    [one, other]
}

#[tokio::test]
async fn what_needs_a_self_describing_format_has_two() {
    let world = World::disk();
    let codecs: [Open<Free>; 2] = [|b| b.codec(MessagePack), |b| b.codec(Json)];
    for codec in codecs {
        let larder = world.start().await;
        let cache = open(&larder, codec);
        for (key, value) in ["a", "b"].into_iter().zip(free()) {
            cache.set(key, value).await.unwrap();
        }
        let larder = world.restart(larder).await;
        let cache = open(&larder, codec);
        for (key, value) in ["a", "b"].into_iter().zip(free()) {
            assert_eq!(*cache.get(key).await.unwrap().unwrap(), value);
        }
        larder.shutdown(SOON).await.unwrap();
    }
    // The default says which.
    let larder = world.start().await;
    let cache: Cache<Free> = larder.cache("others").unwrap();
    let [value, _] = free();
    let error = cache.set("a", value).await.unwrap_err().to_string();
    assert!(
        error.contains("codec(MessagePack) or codec(Json)"),
        "{error}"
    );
}

/// Two layouts under one name, as when a host is rebuilt.
mod old {
    #[derive(serde::Serialize, serde::Deserialize)]
    pub struct Account {
        pub name: String,
        pub gone: u8,
    }
}

#[derive(PartialEq, Debug, Serialize, Deserialize)]
struct Account {
    name: String,
    #[serde(default)]
    since: u32,
}

#[tokio::test]
async fn fields_come_and_go_in_what_has_their_names() {
    let before = old::Account {
        name: "Ada".into(),
        gone: 1,
    };
    let after = Account {
        name: "Ada".into(),
        since: 0,
    };
    let bytes = MessagePack.encode(&before, 1_000).unwrap();
    assert_eq!(
        Codec::<Account>::decode(&MessagePack, &bytes).unwrap(),
        after
    );
    let bytes = Json.encode(&before, 1_000).unwrap();
    assert_eq!(Codec::<Account>::decode(&Json, &bytes).unwrap(), after);
}

#[tokio::test]
async fn bytes_as_they_are_share_their_memory() {
    let world = World::map();
    let larder = world.start().await;
    let cache = open::<Bytes>(&larder, |builder| builder.codec(Raw));
    // Longer than what is compressed elsewhere, and it would shrink.
    let value = Bytes::from(vec![7; 20_000]);
    cache.set("k", value.clone()).await.unwrap();
    let found = cache.get("k").await.unwrap().unwrap();
    assert_eq!(found.as_ptr(), value.as_ptr());
    let larder = world.restart(larder).await;
    let cache = open::<Bytes>(&larder, |builder| builder.codec(Raw));
    let (first, second) = (cache.get("k").await.unwrap(), cache.get("k").await.unwrap());
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!((&*first, first.as_ptr()), (&value, second.as_ptr()));
    // It is the record, as the store gave it.
    let stored = world.below()[0].get(b"values/k").unwrap().unwrap();
    let (_, payload) = record::decode(b"values/k", &stored).unwrap();
    assert_eq!(payload.as_ptr(), first.as_ptr(), "no copy was made");
    assert_eq!(larder.stats().await.unwrap().compression.not_worth, 0);
}

#[tokio::test]
async fn bytes_as_they_are_and_bytes_by_another_codec_are_read_alike() {
    let world = World::disk();
    let larder = world.start().await;
    let raw = open::<Bytes>(&larder, |builder| builder.codec(Raw));
    raw.set("raw", Bytes::from_static(b"abc")).await.unwrap();
    for (_, codec) in all::<Bytes>() {
        let cache = open(&larder, codec);
        cache.set("k", Bytes::from_static(b"def")).await.unwrap();
    }
    let larder = world.restart(larder).await;
    for (_, codec) in all::<Bytes>() {
        let cache = open(&larder, codec);
        assert_eq!(*cache.get("raw").await.unwrap().unwrap(), "abc");
        assert_eq!(*cache.get("k").await.unwrap().unwrap(), "def");
    }
}

#[tokio::test]
async fn a_codec_of_the_hosts_own_is_used_in_every_way() {
    for world in World::stored() {
        let larder = world.start().await;
        let cache = larder.cache_builder("values").codec(Decimal(200));
        let cache = cache.open().unwrap();
        cache.set("k", 7).await.unwrap();
        // A handle by name, and messages, follow the cache as it was opened last.
        let named: Cache<u64> = larder.cache("values").unwrap();
        named.set("named", 8).await.unwrap();
        let desk = larder.desk().unwrap();
        desk.send(Set::new("values", "sent", 9_u64))
            .await
            .unwrap()
            .unwrap();
        let larder = world.restart(larder).await;
        let below = |name: &str| {
            let key = format!("values/{name}");
            let stored = world.below()[0].get(key.as_bytes()).unwrap().unwrap();
            record::decode(key.as_bytes(), &stored).unwrap()
        };
        if world.name == "memory and a map" {
            for (name, text) in [("k", "7"), ("named", "8"), ("sent", "9")] {
                let (header, payload) = below(name);
                assert_eq!((header.codec, &payload[..]), (200, text.as_bytes()));
            }
        }
        let cache = larder.cache_builder::<u64>("values").codec(Decimal(200));
        let cache = cache.open().unwrap();
        assert_eq!(*cache.update("k", |old| old.unwrap() + 1).await.unwrap(), 8);
        let absent = cache.set("named", 1).if_absent().await;
        assert!(matches!(absent, Err(Error::Conflict { .. })));
        let desk = larder.desk().unwrap();
        let sent = desk
            .send(Get::<u64>::new("values", "sent"))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(*sent.unwrap(), 9);
        let panicked = cache.set("k", 13).await.unwrap_err();
        assert!(matches!(panicked, Error::Encode { .. }), "{panicked:?}");
        assert!(!panicked.to_string().contains("secret"));
        larder.shutdown(SOON).await.unwrap();
    }
}

#[tokio::test]
async fn a_record_of_an_unknown_codec_is_a_miss_that_is_counted() {
    let world = World::map();
    let larder = world.start().await;
    let cache = larder.cache_builder("values").codec(Decimal(200));
    cache.open().unwrap().set("k", 7_u64).await.unwrap();
    let larder = world.restart(larder).await;
    for cache in [
        larder.cache_builder::<u64>("values").codec(Decimal(201)),
        larder.cache_builder::<u64>("values"),
    ] {
        let cache = cache.open().unwrap();
        assert!(cache.get("k").await.unwrap().is_none());
    }
    assert_eq!(larder.stats().await.unwrap().schema_misses, 2);
    // It is there until it is overwritten.
    let cache = larder.cache_builder::<u64>("values").codec(Decimal(200));
    assert_eq!(*cache.open().unwrap().get("k").await.unwrap().unwrap(), 7);
}

#[tokio::test]
async fn a_host_has_the_numbers_from_128_on() {
    let larder = World::memory().start().await;
    for id in [0, 1, 4, 127] {
        let error = larder.cache_builder("values").codec(Decimal(id)).open();
        let error = error.unwrap_err().to_string();
        for part in ["codec", &id.to_string(), "128 to 255"] {
            assert!(error.contains(part), "{error:?} does not say {part:?}");
        }
    }
    for id in [128, 255] {
        let cache = larder.cache_builder("values").codec(Decimal(id));
        assert!(cache.open().is_ok());
    }
}

#[tokio::test]
async fn memory_alone_weighs_a_value_by_its_codec_and_keeps_it_as_it_is() {
    let world = World::memory();
    let larder = world.start().await;
    for (_, codec) in all() {
        open(&larder, codec).set("k", ada()).await.unwrap();
        let bytes = larder.stats().await.unwrap().memory.bytes;
        let longer = User {
            name: "x".repeat(1_000),
            ..ada()
        };
        open(&larder, codec).set("k", longer).await.unwrap();
        let more = larder.stats().await.unwrap().memory.bytes - bytes;
        assert!((990..1_010).contains(&more), "{more}");
    }
    let limit = larder.cache_builder("values").codec(Decimal(200));
    let cache = limit.compression(Compression::default()).open().unwrap();
    cache.set("k", 7_u64).await.unwrap();
    assert!(cache.set("k", 13).await.is_err(), "it is measured, too");
}

#[tokio::test]
async fn a_value_past_the_limit_is_refused_by_every_codec() {
    let world = World::map();
    let mut limits = larder::Limits::default();
    limits.value_bytes_max = 1_000;
    let larder = world.builder().limits(limits).start().await.unwrap();
    let long = |error: Error| {
        assert!(
            matches!(error, Error::TooLarge { limit: 1_000, .. }),
            "{error:?}"
        )
    };
    for (_, codec) in all::<String>() {
        let cache = open(&larder, codec);
        cache.set("k", "x".repeat(900)).await.unwrap();
        long(cache.set("k", "x".repeat(1_000)).await.unwrap_err());
    }
    let raw = open::<Bytes>(&larder, |builder| builder.codec(Raw));
    raw.set("k", Bytes::from(vec![0; 1_000])).await.unwrap();
    long(raw.set("k", Bytes::from(vec![0; 1_001])).await.unwrap_err());
    /// Keeps to no limit.
    struct Lax;
    impl Codec<String> for Lax {
        fn id(&self) -> u8 {
            200
        }
        fn encode(&self, value: &String, _: usize) -> Result<Bytes, Error> {
            Ok(value.clone().into())
        }
        fn decode(&self, bytes: &Bytes) -> Result<String, Error> {
            Ok(String::from_utf8_lossy(bytes).into_owned())
        }
    }
    let lax = larder.cache_builder("values").codec(Lax).open().unwrap();
    long(lax.set("k", "x".repeat(1_001)).await.unwrap_err());
}
