//! Reading a store through, once: whether its own threads have stumbled over damage that no reader met.
//!
//! It must not decide what follows.

use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use super::layout::INDEX_END;
use super::store::{self, Store, Verdict};
use crate::clock::Clock;

/// How long a store is read through at most when it is opened. What is not reached counts as whole.
pub const VERIFY_MS_MAX: u64 = 20_000;

/// What damage is found in `store`, whose tables are all read, as merging them would.
pub fn damage(store: &Store) -> Option<String> {
    // Over some damage fjall panics.
    let found = catch_unwind(AssertUnwindSafe(|| read_through(store)));
    found.unwrap_or_else(|_| Some("damaged files, reading them panicked".into()))
}

fn read_through(store: &Store) -> Option<String> {
    let (began, most) = (Clock::instant(), Duration::from_millis(VERIFY_MS_MAX));
    for entry in store.view().range(Bound::Unbounded, &INDEX_END) {
        if let Err(error) = entry {
            let (verdict, reason) = store::judge(&error);
            if verdict == Verdict::Damaged {
                return Some(reason);
            }
            tracing::warn!(
                reason,
                "a store that may be damaged could not be read through"
            );
            return None;
        }
        if began.elapsed() > most {
            tracing::warn!(
                limit_ms = VERIFY_MS_MAX,
                "a store that may be damaged was not read to its end: it takes too long"
            );
            return None;
        }
    }
    None
}
