//! Values to bytes and back, and what is no value.

use super::*;
use crate::clock::NEVER;
use crate::shelf::{Encoded, Priority, Slot};
use crate::version::Version;

fn form<V: Value>(schema: u32) -> Form<V> {
    Form {
        bytes_max: 100,
        ..Form::of_schema(schema)
    }
}

fn encode<V: Value>(value: &V) -> Arc<Encoded> {
    let form = form(3);
    form.packed(form.plain(value).unwrap())
}

fn value<V: Value>(slot: &Slot, schema: u32) -> Result<Arc<V>, Mismatch> {
    form(schema).value(slot)
}

fn slot(body: Body) -> Slot {
    Slot {
        version: Version::at(1),
        created_ms: 0,
        expires_ms: NEVER,
        body,
        extra: None,
        weight: 1,
        schema: 3,
        priority: Priority::Normal,
        announced: false,
    }
}

#[test]
fn a_slot_is_read_back_decoded_or_from_bytes() {
    let decoded = slot(erase(Arc::new("hello".to_owned())));
    assert_eq!(*value::<String>(&decoded, 3).unwrap(), "hello");
    let bytes = encode(&"hello".to_owned());
    let encoded = slot(Body::Encoded(bytes));
    assert_eq!(*value::<String>(&encoded, 3).unwrap(), "hello");
}

#[test]
fn the_bytes_of_a_slot_are_made_if_it_is_of_that_type() {
    let hello = slot(erase(Arc::new("hello".to_owned())));
    let made = form::<String>(3).bytes(&hello).unwrap();
    assert_eq!(made, encode(&"hello".to_owned()));
    assert!(form::<u64>(3).bytes(&hello).is_err());
    let narrow = Form::<String> {
        bytes_max: 2,
        ..form(3)
    };
    assert!(narrow.bytes(&hello).is_err());
    let stored = slot(Body::Encoded(Arc::clone(&made)));
    assert!(Arc::ptr_eq(&form::<u64>(3).bytes(&stored).unwrap(), &made));
}

#[test]
fn another_type_schema_or_codec_is_no_value() {
    let decoded = slot(erase(Arc::new("hello".to_owned())));
    assert!(matches!(value::<String>(&decoded, 4), Err(Mismatch::Other)));
    assert!(matches!(value::<u64>(&decoded, 3), Err(Mismatch::Other)));
    let bytes = encode(&7u64);
    let encoded = slot(Body::Encoded(Arc::clone(&bytes)));
    assert!(matches!(value::<String>(&encoded, 3), Err(Mismatch::Other)));
    let alien = Encoded {
        codec: 200,
        ..(*bytes).clone()
    };
    let alien = slot(Body::Encoded(Arc::new(alien)));
    let kinds = (
        form::<u64>(3).kind(),
        form::<u64>(4).kind(),
        form::<String>(3).kind(),
    );
    assert!(kinds.0.reads(encoded.look()) && kinds.2.reads(decoded.look()));
    assert!(!kinds.1.reads(encoded.look()) && !kinds.2.reads(encoded.look()));
    assert!(!kinds.0.reads(alien.look()) && !kinds.0.reads(decoded.look()));
    assert!(matches!(value::<u64>(&alien, 3), Err(Mismatch::Other)));
}

#[test]
fn bytes_that_are_not_what_they_say_are_broken() {
    let bytes = encode(&"hello".to_owned());
    let broken = Encoded {
        payload: bytes.payload.slice(..2),
        ..(*bytes).clone()
    };
    let broken = slot(Body::Encoded(Arc::new(broken)));
    assert!(matches!(
        value::<String>(&broken, 3),
        Err(Mismatch::Broken(_))
    ));
}
