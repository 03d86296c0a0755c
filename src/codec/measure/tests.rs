//! Everything has the length that it has when it is written.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;

use super::*;

fn agrees<V: Serialize + DeserializeOwned + Send + Sync + 'static>(value: V) {
    let written = crate::codec::bincode::write(&value, usize::MAX, |_| ());
    assert_eq!(measure(&value, usize::MAX), Some(written.unwrap()));
}

#[derive(Serialize, serde::Deserialize)]
enum Shape {
    Unit,
    New(u64),
    Tuple(u8, String),
    Struct { a: Option<char>, b: Vec<i128> },
}

#[derive(Serialize, serde::Deserialize)]
struct Unit;

#[derive(Serialize, serde::Deserialize)]
struct New(f32);

#[derive(Serialize, serde::Deserialize)]
struct All {
    shapes: Vec<Shape>,
    map: BTreeMap<String, Option<Unit>>,
    pair: (New, f64),
    flag: bool,
}

/// Numbers on both sides of each step of the encoding.
fn steps() -> impl Iterator<Item = u128> {
    (0..128).flat_map(|bit| {
        let power = 1_u128 << bit;
        [power - 1, power, power + 1]
    })
}

#[test]
fn numbers_are_as_long_as_they_are_when_written() {
    let steps = steps().chain([249, 250, 251, 252, 125, 126, u128::MAX]);
    for n in steps {
        agrees((n as u8, n as u16, n as u32, n as u64, n));
        agrees((n as i8, n as i16, n as i32, n as i64, n as i128));
        let n = (n as i128).wrapping_neg();
        agrees((n as i8, n as i16, n as i32, n as i64, n));
    }
}

#[test]
fn texts_and_lists_are_as_long_as_they_are_when_written() {
    for len in [0, 1, 250, 251, 65_535, 65_536] {
        agrees("x".repeat(len));
        agrees(vec![7_u8; len]);
        agrees(vec![300_u16; len]);
    }
    for c in ['a', 'ä', '€', '🦀'] {
        agrees(c);
    }
}

#[test]
fn every_shape_is_as_long_as_it_is_when_written() {
    let shapes = || {
        vec![
            Shape::Unit,
            Shape::New(1 << 40),
            Shape::Tuple(255, "text".into()),
            Shape::Struct {
                a: Some('ß'),
                b: vec![-1, i128::MIN],
            },
            Shape::Struct { a: None, b: vec![] },
        ]
    };
    agrees(All {
        shapes: shapes(),
        map: [("a".into(), Some(Unit)), ("b".into(), None)].into(),
        pair: (New(0.5), 0.25),
        flag: true,
    });
    agrees(shapes());
}

#[test]
fn a_list_of_unknown_length_cannot_be_measured() {
    struct Endless;
    impl Serialize for Endless {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            ser::SerializeSeq::end(serializer.serialize_seq(None)?)
        }
    }
    assert_eq!(measure(&Endless, usize::MAX), None);
}

#[test]
fn what_is_too_large_is_not_walked_through() {
    struct Walked(std::cell::Cell<usize>);
    impl Serialize for Walked {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_seq((0..1_000_000).map(|_| {
                self.0.set(self.0.get() + 1);
                300_u16
            }))
        }
    }
    let walked = Walked(0.into());
    assert_eq!(measure(&walked, 100), None);
    assert!(walked.0.get() < 100);
}
