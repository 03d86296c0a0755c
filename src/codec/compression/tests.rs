//! What is kept compressed, and what damage is.
#![cfg(feature = "compression")]

use super::*;

/// Bytes that shrink, each run of them another.
fn text(bytes: usize) -> Vec<u8> {
    let words = ["alpha ", "beta ", "gamma ", "delta ", "epsilon "];
    let mut random = fastrand::Rng::with_seed(7);
    let mut text = Vec::with_capacity(bytes + 8);
    while text.len() < bytes {
        text.extend(random.choice(words).unwrap().bytes());
    }
    text.truncate(bytes);
    text
}

fn noise(bytes: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(7);
    (0..bytes).map(|_| random.u8(..)).collect()
}

const ALL: [Compression; 4] = [
    Compression::Zstd { level: -7 },
    Compression::Zstd { level: 1 },
    Compression::Zstd { level: 19 },
    Compression::Lz4,
];

#[test]
fn compressed_bytes_are_read_back_secret_or_not() {
    let plain = text(20_000);
    for compression in ALL {
        for is_secret in [false, true, false] {
            let (flags, packed) = compression.pack(&plain, is_secret).unwrap();
            assert!(packed.len() < plain.len() / 2, "{compression:?}");
            assert_eq!(crate::record::plain_len(flags, &packed), plain.len());
            for is_secret in [false, true] {
                let read = unpack(flags, &packed, plain.len(), is_secret);
                assert_eq!(read.unwrap(), plain);
            }
        }
    }
}

#[test]
fn what_saves_less_than_a_tenth_is_not_kept() {
    for compression in ALL {
        assert_eq!(compression.pack(&noise(10_000), false), None);
        assert_eq!(compression.pack(&noise(10_000), true), None);
        assert_eq!(compression.pack(b"", false), None);
    }
    assert_eq!(Compression::None.pack(&text(10_000), false), None);
    // The length before counts, too.
    assert_eq!(
        prefixed(100, &[0; 86], false).map(|bytes| bytes.len()),
        Some(90)
    );
    assert_eq!(prefixed(100, &[0; 87], false), None);
    assert_eq!(prefixed(0, &[], false), None);
}

#[test]
fn a_length_that_lies_is_refused_before_anything_is_allocated() {
    let plain = text(20_000);
    for compression in ALL {
        let (flags, packed) = compression.pack(&plain, false).unwrap();
        for lie in [0_u32, 1, 19_999, 20_001, 1 << 20, u32::MAX] {
            let mut lying = packed.to_vec();
            lying[..4].copy_from_slice(&lie.to_le_bytes());
            let read = unpack(flags, &lying.into(), 1 << 20, false);
            assert!(read.is_err(), "{compression:?} {lie}");
        }
        let error = unpack(flags, &packed, 19_999, false).unwrap_err();
        assert!(error.contains("value_bytes_max"), "{error}");
        for cut in 0..5 {
            assert!(unpack(flags, &packed.slice(..cut), 1 << 20, false).is_err());
        }
    }
}

#[test]
fn what_follows_a_frame_is_damage() {
    let plain = text(20_000);
    let (flags, packed) = ALL[1].pack(&plain, false).unwrap();
    let skipped = [0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 7];
    let (_, empty) = (0, ::zstd::bulk::compress(b"", 1).unwrap());
    for more in [&skipped[..], &empty, &[0]] {
        let longer = [&packed[..], more].concat();
        assert!(unpack(flags, &longer.into(), 1 << 20, false).is_err());
    }
    let (flags, packed) = Compression::Lz4.pack(&plain, false).unwrap();
    let longer = [&packed[..], &[0]].concat();
    assert!(unpack(flags, &longer.into(), 1 << 20, false).is_err());
}

#[test]
fn no_damage_makes_it_panic_and_contexts_go_on_after_it() {
    let plain = text(5_000);
    let mut random = fastrand::Rng::with_seed(11);
    for compression in ALL {
        let (flags, packed) = compression.pack(&plain, false).unwrap();
        for at in 0..packed.len() {
            let mut damaged = packed.to_vec();
            damaged[at] ^= random.u8(1..);
            // What is read is wrong at most, never longer.
            if let Ok(read) = unpack(flags, &damaged.into(), 5_000, false) {
                assert!(read.len() <= 5_000);
            }
        }
        assert_eq!(unpack(flags, &packed, 5_000, false).unwrap(), plain);
    }
}

#[test]
fn levels_beyond_the_range_are_named() {
    for level in [-8, 20, i32::MIN, i32::MAX] {
        let problem = Compression::Zstd { level }.problem().unwrap();
        for part in ["compression", &level.to_string(), "-7 to 19"] {
            assert!(problem.contains(part), "{problem:?} does not say {part:?}");
        }
    }
    assert!(ALL.iter().all(|one| one.problem().is_none()));
    assert!(Compression::default().problem().is_none());
}
