//! Random values of a type that has everything: written by each codec, compressed or not, sealed or not, stored, and
//! read back equal after a restart. `LARDER_SEED` plays others.
#![cfg(all(
    feature = "disk",
    feature = "compression",
    feature = "codecs",
    feature = "secure",
    feature = "test-util"
))]
#![allow(clippy::unwrap_used)]

#[path = "support/world.rs"]
mod world;

use std::borrow::Cow;
use std::collections::BTreeMap;

use larder::codec::{Bincode, Json, MessagePack};
use larder::{Cache, CacheBuilder, Compression, Durability, Larder};
use serde::{Deserialize, Serialize};
use world::{SOON, World};

/// Values of each codec and compression.
const VALUES: usize = 40;

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
struct Everything {
    unit: (),
    flag: bool,
    small: (u8, i8, u16, i16),
    large: (u32, i32, u64, i64),
    huge: (u128, i128),
    real: (f32, f64),
    letter: char,
    text: String,
    borrowed: Cow<'static, str>,
    empty: Empty,
    maybe: Option<Option<Box<Tree>>>,
    tree: Tree,
    list: Vec<Option<Vec<u8>>>,
    map: BTreeMap<String, Kind>,
    numbered: BTreeMap<u64, String>,
    pair: [Kind; 2],
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
struct Empty {}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
struct Named(u64);

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
enum Kind {
    Nothing,
    One(Named),
    Two(String, i128),
    Many { a: Option<f64>, b: Vec<Kind> },
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
enum Tree {
    Leaf(u64),
    Fork(Box<Tree>, Vec<Tree>),
}

/// A number of any size.
fn number(random: &mut fastrand::Rng) -> u128 {
    random.u128(..) >> random.u32(0..128)
}

/// A number that JSON has, too: finite. To the last bit.
fn real(random: &mut fastrand::Rng) -> f64 {
    loop {
        let real = f64::from_bits(random.u64(..));
        if real.is_finite() {
            return real;
        }
    }
}

fn text(random: &mut fastrand::Rng) -> String {
    let chars = random.usize(0..40);
    (0..chars).map(|_| random.char(..)).collect()
}

fn tree(random: &mut fastrand::Rng, depth: usize) -> Tree {
    if depth == 0 || random.bool() {
        return Tree::Leaf(number(random) as u64);
    }
    let more = (0..random.usize(0..3)).map(|_| tree(random, depth - 1));
    let more = more.collect();
    Tree::Fork(Box::new(tree(random, depth - 1)), more)
}

fn kind(random: &mut fastrand::Rng, depth: usize) -> Kind {
    match random.u8(0..if depth == 0 { 3 } else { 4 }) {
        0 => Kind::Nothing,
        1 => Kind::One(Named(number(random) as u64)),
        2 => Kind::Two(text(random), number(random) as i128),
        _ => Kind::Many {
            a: random.bool().then(|| real(random)),
            b: (0..random.usize(0..4))
                .map(|_| kind(random, depth - 1))
                .collect(),
        },
    }
}

fn everything(random: &mut fastrand::Rng) -> Everything {
    let many = random.usize(0..20);
    Everything {
        unit: (),
        flag: random.bool(),
        small: (random.u8(..), random.i8(..), random.u16(..), random.i16(..)),
        large: (
            random.u32(..),
            random.i32(..),
            random.u64(..),
            random.i64(..),
        ),
        huge: (number(random), (number(random) as i128).wrapping_neg()),
        real: (random.f32(), real(random)),
        letter: random.char(..),
        text: text(random),
        borrowed: match random.bool() {
            true => Cow::Borrowed("the same for all"),
            false => text(random).into(),
        },
        empty: Empty {},
        // `Some(None)` is nothing in JSON and MessagePack.
        maybe: random.bool().then(|| Some(Box::new(tree(random, 3)))),
        tree: tree(random, 6),
        list: (0..many)
            .map(|n| random.bool().then(|| vec![n as u8; random.usize(0..300)]))
            .collect(),
        map: (0..many).map(|_| (text(random), kind(random, 3))).collect(),
        numbered: (0..many).map(|_| (random.u64(..), text(random))).collect(),
        pair: [kind(random, 2), kind(random, 2)],
    }
}

type Open = fn(CacheBuilder<Everything>) -> CacheBuilder<Everything>;

fn open(larder: &Larder, codec: Open, compression: Compression) -> Cache<Everything> {
    let builder = codec(larder.cache_builder("values")).compress_bytes_min(64);
    builder.compression(compression).open().unwrap()
}

#[tokio::test]
async fn a_value_is_what_it_was_whichever_way_it_went() {
    for world in [World::disk(), World::sealed()] {
        goes(&world).await;
    }
}

async fn goes(world: &World) {
    let seed = std::env::var("LARDER_SEED").map_or(1, |seed| seed.parse().unwrap());
    let mut random = fastrand::Rng::with_seed(seed);
    let codecs: [Open; 3] = [
        |builder| builder.codec(Bincode),
        |builder| builder.codec(MessagePack),
        |builder| builder.codec(Json),
    ];
    let compressions = [
        Compression::None,
        Compression::Lz4,
        Compression::Zstd { level: 1 },
        Compression::Zstd { level: -7 },
        Compression::Zstd { level: 12 },
    ];
    let mut larder = world.start().await;
    let mut values = Vec::new();
    for codec in codecs {
        for compression in compressions {
            let cache = open(&larder, codec, compression);
            for _ in 0..VALUES {
                let (key, value) = (format!("{:04}", values.len()), everything(&mut random));
                let set = cache.set(&key, value.clone());
                set.durability(Durability::Written).await.unwrap();
                values.push((key, value));
            }
        }
    }
    assert!(larder.stats().await.unwrap().compression.compressed > 100);
    larder = world.restart(larder).await;
    // By any of them.
    for codec in codecs {
        let cache = open(&larder, codec, Compression::None);
        let name = world.name;
        for (key, value) in &values {
            let found = cache.get(key).await.unwrap();
            let found = found.unwrap_or_else(|| panic!("{name}, seed {seed}: {key} is gone"));
            assert_eq!(*found, *value, "{name}, seed {seed}: {key}");
        }
        larder = world.restart(larder).await;
    }
    larder.shutdown(SOON).await.unwrap();
}
