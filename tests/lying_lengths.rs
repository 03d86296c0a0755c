//! Bytes that claim to be longer than they are make nobody allocate what they claim.
#![cfg(all(feature = "compression", feature = "codecs", feature = "test-util"))]
#![allow(clippy::unwrap_used)]

#[path = "support/mortal.rs"]
mod mortal;

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use larder::codec::{Bincode, Json, MessagePack};
use larder::config::CommitConfig;
use larder::record::{self, COMPRESSION_LZ4, COMPRESSION_ZSTD, Header};
use larder::{Codec, Larder, Value, Version, clock::NEVER};
use mortal::Mortal;
use peak_alloc::PeakAlloc;
use serde::{Deserialize, Serialize};

#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

/// One test at a time: what is allocated is the whole process's.
static TURN: std::sync::Mutex<()> = std::sync::Mutex::new(());

/// A list in lists, as deep as the bytes say.
#[derive(Debug, Serialize, Deserialize)]
struct Nested(Vec<Nested>);

/// By how many bytes the process grew at its peak.
fn peak(run: impl FnOnce()) -> usize {
    let before = ALLOCATED.current_usage();
    ALLOCATED.reset_peak_usage();
    run();
    ALLOCATED.peak_usage().saturating_sub(before)
}

fn refuses<V: Value>(codec: &impl Codec<V>, bytes: &[u8]) -> usize {
    let bytes = Bytes::copy_from_slice(bytes);
    peak(|| assert!(codec.decode(&bytes).is_err()))
}

#[test]
fn a_codec_believes_no_length_before_it_has_the_bytes() {
    let _turn = TURN.lock().unwrap();
    // 2^63 and 2^32 items or bytes.
    let bincode = [
        0xfd, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 1, 2, 3,
    ];
    let lists = [0xdd, 0xff, 0xff, 0xff, 0xff, 1, 2, 3];
    let maps = [0xdf, 0xff, 0xff, 0xff, 0xff, 1, 2, 3];
    let texts = [0xdb, 0xff, 0xff, 0xff, 0xff, b'a', b'b'];
    let binaries = [0xc6, 0xff, 0xff, 0xff, 0xff, 1, 2, 3];
    let extensions = [0xc9, 0xff, 0xff, 0xff, 0xff, 1, 2, 3];
    for lie in [&lists[..], &maps, &texts, &binaries, &extensions] {
        for peak in [
            refuses::<Vec<u64>>(&MessagePack, lie),
            refuses::<String>(&MessagePack, lie),
            refuses::<Bytes>(&MessagePack, lie),
            refuses::<HashMap<u64, u64>>(&MessagePack, lie),
            refuses::<serde_json::Value>(&MessagePack, lie),
        ] {
            assert!(peak < 4_096, "{peak}");
        }
    }
    // Each list in the one before it, and each lies.
    let nested = [0xdd, 0, 0xff, 0xff, 0xff].repeat(100);
    let peak = refuses::<Nested>(&MessagePack, &nested);
    assert!(peak < 16_384, "{peak}");
    // What serde makes room for at most, before the items are there.
    for peak in [
        refuses::<Vec<u64>>(&Bincode, &bincode),
        refuses::<String>(&Bincode, &bincode),
        refuses::<HashMap<u64, u64>>(&Bincode, &bincode),
    ] {
        assert!(peak < 4 << 20, "{peak}");
    }
    // 2^29: what a text or bytes are given before they are read.
    let long = [0xfc, 0, 0, 0, 0x20, b'a'];
    for peak in [
        refuses::<String>(&Bincode, &long),
        refuses::<Bytes>(&Bincode, &long),
    ] {
        assert!(peak < 4 << 20, "{peak}");
    }
    // As many numbers as there can be in so few bytes.
    let full = Bincode.encode(&vec![0_u128; (1 << 20) - 8], 1 << 20);
    assert!(Codec::<Vec<u128>>::decode(&Bincode, &full.unwrap()).is_ok());
    for lie in ["[[[[", "\"", "{\"a\":", &"[".repeat(100_000)] {
        let peak = refuses::<serde_json::Value>(&Json, lie.as_bytes());
        assert!(peak < 64 << 10, "{peak}");
    }
}

#[test]
fn a_compressed_payload_that_lies_is_not_given_its_room() {
    let _turn = TURN.lock().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let store = Mortal::default();
    let text = "abcdefgh".repeat(100_000);
    let packed_zstd = zstd::bulk::compress(text.as_bytes(), 1).unwrap();
    let header = |flags| Header {
        version: Version::at(1),
        created_ms: 0,
        expires_ms: NEVER,
        keep_ms: NEVER,
        idle_ms: 0,
        ends_ms: NEVER,
        schema: 0,
        type_tag: larder::codec::type_tag::<String>(),
        codec: 1,
        priority: 1,
        flags,
        tags: [].into(),
    };
    let plant = |name: &str, flags, claim: u32, packed: &[u8]| {
        let payload = [&claim.to_le_bytes(), packed].concat();
        let key = format!("texts/{name}");
        let record = record::encode(key.as_bytes(), &header(flags), &payload);
        store.plant(key.as_bytes(), record);
    };
    // Beyond `value_bytes_max`; less than it is; and what is no frame at all.
    plant("huge", COMPRESSION_ZSTD, u32::MAX, &packed_zstd);
    plant("huge-lz4", COMPRESSION_LZ4, u32::MAX, &[0xff; 100]);
    plant("short", COMPRESSION_ZSTD, 100, &packed_zstd);
    plant("short-lz4", COMPRESSION_LZ4, 100, &[0xff; 100]);
    plant("none", COMPRESSION_ZSTD, 100, b"");
    runtime.block_on(async {
        let builder = Larder::builder();
        let factory = store.factory();
        let builder = builder.driver_factory("store", CommitConfig::default(), factory);
        let larder = builder.start().await.unwrap();
        let texts = larder.cache::<String>("texts").unwrap();
        let before = ALLOCATED.current_usage();
        ALLOCATED.reset_peak_usage();
        for name in ["huge", "huge-lz4", "short", "short-lz4", "none"] {
            assert!(texts.get(name).await.unwrap().is_none(), "{name}");
        }
        let peak = ALLOCATED.peak_usage().saturating_sub(before);
        assert!(peak < 512 << 10, "{peak}");
        assert_eq!(larder.stats().await.unwrap().decode_errors, 5);
        larder.shutdown(Duration::from_secs(60)).await.unwrap();
    });
}
