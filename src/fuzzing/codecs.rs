//! What codecs and compressors read: types of everything that serde has, from bytes that may be anything.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::codec::{Bincode, Codec, Value};
#[cfg(feature = "compression")]
use crate::codec::{Compression, Raw, is_known, unpack};
#[cfg(feature = "codecs")]
use crate::codec::{Json, MessagePack};
use crate::error::Error;

/// One of everything. A number that may be `f32` and must be there is not: JSON that is none of larder's can have one
/// that is too large for it, and infinity is not written.
#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct Rich {
    flag: bool,
    letter: char,
    small: (i8, u8, i16, u16),
    numbers: (i32, u32, i64, u64),
    wide: (u128, i128),
    floats: (Option<f32>, f64),
    text: String,
    shared: Cow<'static, str>,
    boxed: Option<Box<str>>,
    raw: Bytes,
    list: Vec<u32>,
    maybe: Option<Option<u16>>,
    kinds: Vec<Kind>,
    by_name: BTreeMap<String, Kind>,
    by_number: BTreeMap<u8, Vec<Cow<'static, str>>>,
    array: [u8; 4],
    nothing: (),
    empty: Empty,
    wrapped: Wrapped,
}

#[derive(Serialize, Deserialize, Default)]
struct Empty {}

#[derive(Serialize, Deserialize, Default)]
struct Unit;

#[derive(Serialize, Deserialize, Default)]
struct Wrapped(u64);

#[derive(Serialize, Deserialize)]
enum Kind {
    Unit,
    New(Inner),
    Tuple(u8, String, Unit),
    Struct { inner: Inner, list: Vec<Inner> },
    Empty {},
}

#[derive(Serialize, Deserialize)]
enum Inner {
    None,
    Number(i128),
    Maybe(Option<Box<Inmost>>),
}

#[derive(Serialize, Deserialize)]
enum Inmost {
    Text(Cow<'static, str>),
    Pairs(Vec<(u16, Option<f32>)>),
    Raw(Bytes),
}

/// The codec that is not self-describing. A type that holds itself is left out: nothing bounds how deep one nests.
pub fn bincode(bytes: &[u8]) {
    let Some((&kind, rest)) = bytes.split_first() else {
        return;
    };
    let rest = Bytes::copy_from_slice(rest);
    match kind % 4 {
        0 => reads_back::<Rich, _>(Bincode, &rest),
        1 => reads_back::<Vec<Kind>, _>(Bincode, &rest),
        2 => reads_back::<BTreeMap<String, Inner>, _>(Bincode, &rest),
        _ => reads_back::<Vec<u128>, _>(Bincode, &rest),
    }
}

/// MessagePack.
#[cfg(feature = "codecs")]
pub fn messagepack(bytes: &[u8]) {
    self_describing(MessagePack, bytes);
}

/// JSON.
#[cfg(feature = "codecs")]
pub fn json(bytes: &[u8]) {
    self_describing(Json, bytes);
}

#[cfg(feature = "codecs")]
fn self_describing<C>(codec: C, bytes: &[u8])
where
    C: Codec<Rich> + Codec<Tree> + Codec<Shape> + Codec<Any>,
{
    let Some((&kind, rest)) = bytes.split_first() else {
        return;
    };
    let rest = Bytes::copy_from_slice(rest);
    match kind % 4 {
        0 => reads_back::<Rich, _>(codec, &rest),
        1 => reads_back::<Tree, _>(codec, &rest),
        2 => reads_back::<Shape, _>(codec, &rest),
        _ => reads_back::<Any, _>(codec, &rest),
    }
}

/// Nests as deep as bytes say.
#[cfg(feature = "codecs")]
#[derive(Serialize, Deserialize)]
enum Tree {
    Leaf(i64),
    Branch(Vec<Tree>),
    Pair(Box<Tree>, Box<Tree>),
    Named(BTreeMap<String, Tree>),
    Maybe(Option<Box<Tree>>),
}

/// Told apart by a field, with whatever else there is.
#[cfg(feature = "codecs")]
#[derive(Serialize, Deserialize)]
#[serde(tag = "kind")]
enum Shape {
    Point,
    Circle {
        radius: f64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
    },
    More {
        #[serde(flatten)]
        rest: BTreeMap<String, Any>,
    },
}

/// Told apart by what it looks like.
#[cfg(feature = "codecs")]
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Any {
    Nothing(()),
    Flag(bool),
    Whole(i64),
    Float(f64),
    Text(String),
    List(Vec<Any>),
    Map(BTreeMap<String, Any>),
}

/// Either they are no value, or one that is written and read back as the same.
fn reads_back<V: Value, C: Codec<V>>(codec: C, bytes: &Bytes) {
    let value = match codec.decode(bytes) {
        Ok(value) => value,
        Err(error) => return assert_tells_nothing(&error),
    };
    let bytes_max = 64 * bytes.len() + 4_096;
    let written = codec.encode(&value, bytes_max);
    let length = written.as_ref().map(Bytes::len).ok();
    assert_eq!(codec.encoded_len(&value, bytes_max).ok(), length);
    let again = written
        .as_ref()
        .map_err(Clone::clone)
        .and_then(|written| codec.decode(written))
        .and_then(|value| codec.encode(&value, bytes_max));
    assert!(again.is_ok(), "{:?} {:?}", written.err(), again.err());
    assert!(again.ok() == written.ok(), "it is not the same again");
}

/// A panic would have been caught by the codec, and be an error like any other.
fn assert_tells_nothing(error: &Error) {
    assert!(matches!(error, Error::Decode { .. }), "{error:?}");
    assert!(!error.to_string().contains("panicked"));
}

/// What payloads may be at most, here.
#[cfg(feature = "compression")]
const BYTES_MAX: usize = 128 << 10;

/// The payload of a record, with its flags before it; and what compressors make of it, edited.
#[cfg(feature = "compression")]
pub fn compression(bytes: &[u8]) {
    let Some((&flags, rest)) = bytes.split_first() else {
        return;
    };
    unpacks(flags, &Bytes::copy_from_slice(rest));
    // The first half, often enough to be worth it, and with the second as its edits.
    let (plain, edits) = rest.split_at(rest.len() / 2);
    let plain = Bytes::from(plain.repeat(4));
    let compressions = [Compression::Zstd { level: 1 }, Compression::Lz4];
    for compression in compressions {
        let Some((flags, packed)) = compression.pack(&plain, false) else {
            continue;
        };
        let secret = compression.pack(&plain, true);
        assert!(secret.is_some_and(|secret| secret == (flags, packed.clone())));
        assert_eq!(unpack(flags, &packed, BYTES_MAX, false), Ok(plain.clone()));
        assert!(unpack(flags, &packed, plain.len() - 1, false).is_err());
        unpacks(flags, &super::edited(&packed, edits).into());
    }
}

#[cfg(feature = "compression")]
fn unpacks(flags: u8, payload: &Bytes) {
    let plain = unpack(flags, payload, BYTES_MAX, false);
    assert_eq!(unpack(flags, payload, BYTES_MAX, true), plain);
    let Ok(plain) = plain else {
        return;
    };
    assert_eq!(plain.len(), crate::record::plain_len(flags, payload));
    if is_known(flags) && flags & crate::record::COMPRESSION_BITS != 0 {
        assert!(plain.len() <= BYTES_MAX);
    }
    let raw = Raw.decode(&plain).ok();
    assert!(raw.is_some_and(|raw| raw == plain && raw.as_ptr() == plain.as_ptr()));
}

fn rich() -> Rich {
    let inmost = [
        Inmost::Text("inmost".into()),
        Inmost::Pairs(vec![(1, None), (2, Some(0.5))]),
        Inmost::Raw(Bytes::from_static(b"\0\xff")),
    ];
    let inner = || vec![Inner::None, Inner::Number(-1 << 100)];
    let kinds = inmost.map(|inmost| Kind::New(Inner::Maybe(Some(Box::new(inmost)))));
    Rich {
        flag: true,
        letter: 'ü',
        small: (-1, 200, -300, 60_000),
        numbers: (-70_000, 70_000, i64::MIN, u64::MAX),
        wide: (u128::MAX, i128::MIN),
        floats: (Some(0.1), -1e300),
        text: "text".into(),
        shared: "shared".into(),
        boxed: Some("boxed".into()),
        raw: Bytes::from_static(b"\x01\x02\x80"),
        list: vec![1, 300, 70_000],
        maybe: Some(Some(7)),
        kinds: kinds.into(),
        by_name: BTreeMap::from([
            ("unit".into(), Kind::Unit),
            ("tuple".into(), Kind::Tuple(1, "x".into(), Unit)),
            ("empty".into(), Kind::Empty {}),
            (
                "struct".into(),
                Kind::Struct {
                    inner: Inner::Maybe(None),
                    list: inner(),
                },
            ),
        ]),
        by_number: BTreeMap::from([(1, vec!["one".into()]), (2, Vec::new())]),
        array: [1, 2, 3, 4],
        wrapped: Wrapped(9),
        ..Rich::default()
    }
}

/// The byte that stands for its type, and a value as a codec writes it.
fn seed<V: Value, C: Codec<V>>(kind: u8, codec: C, value: &V) -> Vec<u8> {
    let written = codec.encode(value, 1 << 20).unwrap_or_default();
    [&[kind], &written[..]].concat()
}

pub(super) fn bincodes() -> Vec<Vec<u8>> {
    vec![
        seed(0, Bincode, &rich()),
        seed(0, Bincode, &Rich::default()),
        seed(1, Bincode, &rich().kinds),
        seed(
            2,
            Bincode,
            &BTreeMap::from([("a".to_owned(), Inner::Number(7))]),
        ),
        seed(3, Bincode, &vec![1_u128, 300, 1 << 20, 1 << 40, u128::MAX]),
    ]
}

#[cfg(feature = "codecs")]
pub(super) fn messagepacks() -> Vec<Vec<u8>> {
    self_describing_seeds(MessagePack)
}

#[cfg(feature = "codecs")]
pub(super) fn jsons() -> Vec<Vec<u8>> {
    self_describing_seeds(Json)
}

#[cfg(feature = "codecs")]
fn self_describing_seeds<C>(codec: C) -> Vec<Vec<u8>>
where
    C: Codec<Rich> + Codec<Tree> + Codec<Shape> + Codec<Any> + Copy,
{
    let leaf = || Tree::Leaf(-7);
    let tree = Tree::Branch(vec![
        leaf(),
        Tree::Pair(Box::new(leaf()), Box::new(Tree::Maybe(None))),
        Tree::Named(BTreeMap::from([("a".to_owned(), leaf())])),
    ]);
    let any = Any::List(vec![
        Any::Nothing(()),
        Any::Flag(true),
        Any::Whole(1 << 40),
        Any::Float(0.5),
        Any::Text("x".into()),
        Any::Map(BTreeMap::from([("a".to_owned(), Any::Whole(1))])),
    ]);
    let circle = Shape::Circle {
        radius: 0.5,
        name: Some("c".into()),
    };
    let rest = BTreeMap::from([("a".to_owned(), Any::Whole(1))]);
    vec![
        seed(0, codec, &rich()),
        seed(0, codec, &Rich::default()),
        seed(1, codec, &tree),
        seed(2, codec, &circle),
        seed(2, codec, &Shape::Point),
        seed(2, codec, &Shape::More { rest }),
        seed(3, codec, &any),
    ]
}
