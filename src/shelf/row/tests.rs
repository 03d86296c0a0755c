//! What goes into a row comes out of it.

use super::*;
use crate::clock::NEVER;

fn slot(version: Version, created_ms: Millis, schema: u32) -> Slot {
    Slot {
        version,
        created_ms,
        expires_ms: NEVER,
        body: Body::Decoded(Arc::new(7_u64)),
        extra: None,
        weight: 3,
        schema,
        priority: Priority::High,
        announced: false,
    }
}

#[test]
fn what_is_put_into_a_row_is_what_is_seen_in_it_and_comes_out_of_it() {
    let at = Version::at(10_000);
    // As the host has it, too long ago or too late for a byte, and a schema too large for one.
    for (created_ms, schema) in [
        (9_999, 7),
        (1, 0),
        (10_001, 254),
        (10_000, 255),
        (0, 70_000),
    ] {
        let other = slot(Version::at(1), 0, 0);
        let (mut hot, mut cold) = Hot::new(CacheId(1), "k", other, Queue::Small);
        hot.exchange(&mut cold, slot(at, created_ms, schema));
        hot.set_announced();
        let look = Row {
            hot: &hot,
            cold: &cold,
        }
        .look();
        let seen = (look.created_ms, look.schema, look.version, look.weight);
        assert_eq!(seen, (created_ms, schema, at, 3));
        assert!(look.announced && look.priority == Priority::High);
        let blank = look.body.clone();
        let (key, out) = hot.free(&mut cold, blank);
        assert_eq!((key.cache, key.name.as_str()), (CacheId(1), "k"));
        assert_eq!((out.created_ms, out.schema), (created_ms, schema));
        assert!(hot.is_free() && cold.seq == 1);
    }
}
