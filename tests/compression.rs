//! Compression of what is stored: when it is kept, what it changes and what it does not, what damage is.
#![cfg(all(feature = "compression", feature = "codecs", feature = "test-util"))]
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

#[path = "support/mortal.rs"]
mod mortal;

use std::time::Duration;

use bytes::Bytes;
use larder::codec::{COMPRESS_BYTES_MIN, Json, Raw};
use larder::config::CommitConfig;
use larder::record::{self, COMPRESSION_LZ4, COMPRESSION_ZSTD};
use larder::{Cache, Compression, DegradedReason, Durability, Error, EventKind, Larder, Limits};
use mortal::Mortal;

/// A guard only.
const SOON: Duration = Duration::from_secs(60);
const ZSTD: Compression = Compression::Zstd { level: 1 };

async fn start(store: &Mortal) -> Larder {
    let builder = Larder::builder();
    let builder = builder.driver_factory("store", CommitConfig::default(), store.factory());
    builder.start().await.unwrap()
}

fn open(larder: &Larder, compression: Compression) -> Cache<String> {
    let builder = larder.cache_builder("texts").compression(compression);
    builder.open().unwrap()
}

/// A text that shrinks to a third.
fn text(bytes: usize) -> String {
    let mut random = fastrand::Rng::with_seed(bytes as u64);
    let words = ["alpha ", "beta ", "gamma ", "delta ", "epsilon "];
    let mut text = String::new();
    while text.len() < bytes {
        text.push_str(random.choice(words).unwrap());
    }
    text.truncate(bytes);
    text
}

/// A text that does not shrink by a tenth.
fn noise(bytes: usize) -> String {
    let mut random = fastrand::Rng::with_seed(7);
    let chars = (0..bytes / 3).map(|_| random.char('\u{4e00}'..='\u{9fff}'));
    chars.collect()
}

/// Flags and payload of what is stored under a key.
fn stored(store: &Mortal, name: &str) -> (u8, Bytes) {
    let key = format!("texts/{name}");
    let bytes = store.get(key.as_bytes()).unwrap();
    let (header, payload) = record::decode(key.as_bytes(), &bytes).unwrap();
    (header.flags, payload)
}

async fn set<V: larder::Value>(cache: &Cache<V>, key: &str, value: V) {
    let set = cache.set(key, value).durability(Durability::Written);
    set.await.unwrap();
}

#[tokio::test]
async fn long_texts_are_stored_compressed_and_read_back() {
    for (compression, flags) in [
        (ZSTD, COMPRESSION_ZSTD),
        (Compression::Lz4, COMPRESSION_LZ4),
    ] {
        let store = Mortal::default();
        let larder = start(&store).await;
        set(&open(&larder, compression), "k", text(20_000)).await;
        let (stored_flags, payload) = stored(&store, "k");
        assert_eq!(stored_flags, flags);
        assert!(payload.len() < 10_000);
        assert_eq!(
            record::plain_len(flags, &payload),
            20_000 + 3,
            "with its length before it"
        );
        larder.shutdown(SOON).await.unwrap();
        // Whatever the cache does now.
        let larder = start(&store).await;
        let cache = open(&larder, Compression::None);
        assert_eq!(*cache.get("k").await.unwrap().unwrap(), text(20_000));
        larder.shutdown(SOON).await.unwrap();
    }
}

#[tokio::test]
async fn it_is_on_where_nothing_is_said_and_off_where_that_is_said() {
    let store = Mortal::default();
    let larder = start(&store).await;
    let default: Cache<String> = larder.cache("texts").unwrap();
    set(&default, "default", text(20_000)).await;
    assert_eq!(stored(&store, "default").0, COMPRESSION_ZSTD);
    set(&open(&larder, Compression::None), "none", text(20_000)).await;
    assert_eq!(stored(&store, "none").0, 0);
    // A handle by name follows the cache as it was opened last.
    let named: Cache<String> = larder.cache("texts").unwrap();
    set(&named, "named", text(20_000)).await;
    assert_eq!(stored(&store, "named").0, 0);
    // Of what is stored as it is, it is asked for.
    let raw = larder.cache_builder("texts").codec(Raw);
    let bytes = Bytes::from(text(20_000));
    set(&raw.open().unwrap(), "raw", bytes.clone()).await;
    assert_eq!(stored(&store, "raw").0, 0);
    let raw = larder.cache_builder("texts").codec(Raw).compression(ZSTD);
    set(&raw.open().unwrap(), "raw", bytes).await;
    assert_eq!(stored(&store, "raw").0, COMPRESSION_ZSTD);
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn values_below_the_least_length_are_stored_as_they_are() {
    let store = Mortal::default();
    let larder = start(&store).await;
    let cache = open(&larder, ZSTD);
    // Three bytes of it are its length.
    set(&cache, "short", text(COMPRESS_BYTES_MIN - 4)).await;
    set(&cache, "long", text(COMPRESS_BYTES_MIN - 3)).await;
    assert_eq!(stored(&store, "short").0, 0);
    assert_eq!(stored(&store, "long").0, COMPRESSION_ZSTD);
    let builder = larder.cache_builder("texts").compress_bytes_min(100);
    set(&builder.open().unwrap(), "short", text(200)).await;
    assert_eq!(stored(&store, "short").0, COMPRESSION_ZSTD);
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn what_saves_less_than_a_tenth_is_stored_as_it_is_and_counted() {
    let store = Mortal::default();
    let larder = start(&store).await;
    for compression in [ZSTD, Compression::Lz4] {
        let cache = open(&larder, compression);
        set(&cache, "noise", noise(30_000)).await;
        let (flags, payload) = stored(&store, "noise");
        let saved = noise(30_000).len().saturating_sub(payload.len());
        assert!(flags == 0 || saved >= 3_000, "{compression:?} {saved}");
    }
    let bytes = Bytes::from((0..30_000).map(|_| fastrand::u8(..)).collect::<Vec<_>>());
    let raw = larder.cache_builder("texts").codec(Raw).compression(ZSTD);
    set(&raw.open().unwrap(), "bytes", bytes.clone()).await;
    let (flags, payload) = stored(&store, "bytes");
    assert_eq!((flags, payload), (0, bytes));
    let before = larder.stats().await.unwrap().compression;
    assert!(before.not_worth > 0);
    set(&open(&larder, ZSTD), "text", text(20_000)).await;
    let after = larder.stats().await.unwrap().compression;
    assert_eq!(after.compressed, before.compressed + 1);
    assert_eq!(after.bytes_before - before.bytes_before, 20_003);
    let kept = stored(&store, "text").1.len() as u64;
    assert_eq!(after.bytes_after - before.bytes_after, kept);
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn an_entry_weighs_what_it_does_without() {
    let store = Mortal::default();
    let mut weights = Vec::new();
    for compression in [Compression::None, ZSTD] {
        let larder = start(&store).await;
        let cache = open(&larder, compression);
        set(&cache, "k", text(20_000)).await;
        weights.push(larder.stats().await.unwrap().memory.bytes);
        larder.shutdown(SOON).await.unwrap();
        let larder = start(&store).await;
        let cache = open(&larder, compression);
        larder.warm(["texts/k"]).await.unwrap();
        weights.push(larder.stats().await.unwrap().memory.bytes);
        cache.get("k").await.unwrap();
        weights.push(larder.stats().await.unwrap().memory.bytes);
        larder.shutdown(SOON).await.unwrap();
    }
    assert!(
        weights.iter().all(|weight| *weight == weights[0]),
        "{weights:?}"
    );
}

#[tokio::test]
async fn an_update_that_changes_nothing_is_known_by_the_bytes_before() {
    let store = Mortal::default();
    let larder = start(&store).await;
    let builder = || larder.cache_builder("texts").suppress_unchanged();
    let cache = builder().compression(ZSTD).open().unwrap();
    let mut watch = cache.watch("k").await.unwrap();
    set(&cache, "k", text(20_000)).await;
    // Other bytes below, the same above.
    let cache = builder().compression(Compression::Lz4).open().unwrap();
    set(&cache, "k", text(20_000)).await;
    set(&cache, "k", text(20_001)).await;
    let mut kinds = Vec::new();
    for _ in 0..2 {
        let event = tokio::time::timeout(SOON, watch.next()).await.unwrap();
        if let Some(larder::EntryEvent::Changed(change)) = event {
            kinds.push((change.kind, change.new.unwrap().len()));
        }
    }
    assert_eq!(
        kinds,
        [(EventKind::Created, 20_000), (EventKind::Updated, 20_001)]
    );
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn what_waits_to_be_stored_counts_as_what_is_kept_of_it() {
    let store = Mortal::default();
    let larder = start(&store).await;
    larder.stop_actor("store");
    let cache = open(&larder, ZSTD);
    cache.set("k", text(100_000)).await.unwrap();
    let dirty = larder.stats().await.unwrap().dirty;
    assert!(dirty.bytes < 60_000, "{}", dirty.bytes);
    larder.shutdown(SOON).await.unwrap();
}

/// A larder over a store in which `texts/k` is compressed and then changed.
async fn damaged(compression: Compression, damage: impl Fn(&mut Vec<u8>)) -> (Mortal, Larder) {
    let store = Mortal::default();
    let larder = start(&store).await;
    set(&open(&larder, compression), "k", text(20_000)).await;
    larder.shutdown(SOON).await.unwrap();
    let stored = store.get(b"texts/k").unwrap();
    let (header, payload) = record::decode(b"texts/k", &stored).unwrap();
    let mut payload = payload.to_vec();
    damage(&mut payload);
    store.plant(b"texts/k", record::encode(b"texts/k", &header, &payload));
    let larder = start(&store).await;
    (store, larder)
}

#[tokio::test]
async fn a_damaged_payload_is_a_miss_that_is_counted_and_replaced() {
    type Damage = fn(&mut Vec<u8>);
    let damages: [Damage; 6] = [
        |payload| payload.truncate(3),
        |payload| payload.clear(),
        |payload| payload.truncate(100),
        |payload| payload.push(0),
        |payload| payload[..4].copy_from_slice(&u32::MAX.to_le_bytes()),
        |payload| payload[..4].copy_from_slice(&19_000_u32.to_le_bytes()),
    ];
    for compression in [ZSTD, Compression::Lz4] {
        for damage in damages {
            let (_, larder) = damaged(compression, damage).await;
            let cache = open(&larder, compression);
            assert!(cache.get("k").await.unwrap().is_none());
            assert_eq!(larder.stats().await.unwrap().decode_errors, 1);
            set(&cache, "k", text(20_000)).await;
            assert_eq!(*cache.get("k").await.unwrap().unwrap(), text(20_000));
            larder.shutdown(SOON).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_value_that_was_longer_than_the_limit_is_not_decompressed() {
    let store = Mortal::default();
    let larder = start(&store).await;
    set(&open(&larder, ZSTD), "k", text(20_000)).await;
    larder.shutdown(SOON).await.unwrap();
    let mut limits = Limits::default();
    limits.value_bytes_max = 10_000;
    let builder = Larder::builder().limits(limits);
    let builder = builder.driver_factory("store", CommitConfig::default(), store.factory());
    let larder = builder.start().await.unwrap();
    assert!(open(&larder, ZSTD).get("k").await.unwrap().is_none());
    assert_eq!(larder.stats().await.unwrap().decode_errors, 1);
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn flags_that_are_not_known_are_left_for_who_knows_them() {
    for flags in [1, 3, 6, 8, 0x80] {
        let store = Mortal::default();
        let larder = start(&store).await;
        set(&open(&larder, ZSTD), "k", text(20_000)).await;
        larder.shutdown(SOON).await.unwrap();
        let stored = store.get(b"texts/k").unwrap();
        let (mut header, payload) = record::decode(b"texts/k", &stored).unwrap();
        header.flags = flags;
        let planted = record::encode(b"texts/k", &header, &payload);
        store.plant(b"texts/k", planted.clone());
        let larder = start(&store).await;
        let miss = open(&larder, ZSTD).get("k").outcome().await.unwrap();
        assert!(miss.entry.is_none(), "{flags}");
        assert_eq!(miss.degraded[0].reason, DegradedReason::Damaged);
        larder.shutdown(SOON).await.unwrap();
        assert_eq!(store.get(b"texts/k"), Some(planted));
    }
}

#[tokio::test]
async fn a_level_beyond_the_range_is_refused_when_the_cache_is_opened() {
    let larder = Larder::builder().start().await.unwrap();
    for level in [-8, 20] {
        let builder = larder.cache_builder::<String>("texts");
        let error = builder.compression(Compression::Zstd { level }).open();
        assert!(matches!(error, Err(Error::Config(_))), "{error:?}");
        let error = error.unwrap_err().to_string();
        for part in ["compression", &level.to_string(), "-7 to 19"] {
            assert!(error.contains(part), "{error:?} does not say {part:?}");
        }
    }
    for level in [-7, 0, 19] {
        let store = Mortal::default();
        let larder = start(&store).await;
        set(
            &open(&larder, Compression::Zstd { level }),
            "k",
            text(20_000),
        )
        .await;
        assert_eq!(stored(&store, "k").0, COMPRESSION_ZSTD);
        larder.shutdown(SOON).await.unwrap();
    }
}

#[tokio::test]
async fn other_times_keep_the_bytes_as_they_are() {
    let store = Mortal::default();
    let larder = start(&store).await;
    set(&open(&larder, ZSTD), "k", text(20_000)).await;
    let (_, before) = stored(&store, "k");
    larder.shutdown(SOON).await.unwrap();
    let larder = start(&store).await;
    let cache = open(&larder, Compression::None);
    larder.warm(["texts/k"]).await.unwrap();
    let touch = cache.touch("k", SOON).durability(Durability::Written);
    touch.await.unwrap().unwrap();
    assert_eq!(stored(&store, "k"), (COMPRESSION_ZSTD, before));
    assert_eq!(*cache.get("k").await.unwrap().unwrap(), text(20_000));
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn a_self_describing_value_is_compressed_after_its_codec() {
    let store = Mortal::default();
    let larder = start(&store).await;
    let open = |larder: &Larder| {
        let builder = larder.cache_builder::<serde_json::Value>("texts");
        builder.codec(Json).open().unwrap()
    };
    let cache = open(&larder);
    let value = serde_json::json!({ "all": vec![text(100); 100] });
    set(&cache, "k", value.clone()).await;
    assert_eq!(stored(&store, "k").0, COMPRESSION_ZSTD);
    larder.shutdown(SOON).await.unwrap();
    let larder = start(&store).await;
    let cache = open(&larder);
    assert_eq!(*cache.get("k").await.unwrap().unwrap(), value);
    larder.shutdown(SOON).await.unwrap();
}
