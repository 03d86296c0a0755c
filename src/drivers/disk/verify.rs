//! Reading a store through, once: whether its own threads have stumbled over damage that no reader met.
//!
//! It must not decide what follows.

use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use super::layout::INDEX_END;
use super::store::{self, Store, Verdict};
use crate::clock::Clock;

/// How long a store is read through at most when it is opened. What is not reached counts as whole, and
/// the next opening by the same process begins there.
pub const VERIFY_MS_MAX: u64 = 20_000;

/// What a process knows of a directory from its earlier openings.
#[derive(Default)]
pub struct Past {
    /// It was open before, so a store that is not there any more is a loss.
    pub is_known: bool,
    /// Where reading it through was given up. A store that is too large for one opening is read through
    /// by several: else damage behind the first part had it opened again and again.
    read_to: Option<Vec<u8>>,
}

impl Past {
    /// Of a directory that was open before.
    pub fn known() -> Self {
        Self {
            is_known: true,
            read_to: None,
        }
    }

    /// What damage is found in `store`, whose tables are all read, as merging them would.
    pub fn damage(&mut self, store: &Store) -> Option<String> {
        let most = Duration::from_millis(VERIFY_MS_MAX);
        // Over some damage fjall panics.
        let found = catch_unwind(AssertUnwindSafe(|| self.read_on(store, most)));
        found.unwrap_or_else(|_| Some("damaged files, reading them panicked".into()))
    }

    /// From where it was given up to the end, for `most` or one record.
    fn read_on(&mut self, store: &Store, most: Duration) -> Option<String> {
        let (began, from) = (Clock::instant(), self.read_to.take());
        let start = match &from {
            Some(place) => Bound::Included(place.as_slice()),
            None => Bound::Unbounded,
        };
        for (read, entry) in store.view().range(start, &INDEX_END).enumerate() {
            let place = match entry {
                Ok((place, _)) => place,
                Err(error) => {
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
            };
            if read > 0 && began.elapsed() > most {
                self.read_to = Some(place.to_vec());
                tracing::warn!(
                    limit_ms = VERIFY_MS_MAX,
                    "a store that may be damaged was not read to its end: it takes too long, the next opening goes on"
                );
                return None;
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::{DiskConfig, DiskDriver, layout};
    use super::*;
    use crate::clock::NEVER;
    use crate::drivers::{Driver, StoreDurability, Write};
    use crate::version::Version;

    #[test]
    fn a_store_too_large_for_one_opening_is_read_through_by_several_and_then_from_its_start() {
        let dir = tempfile::tempdir().unwrap();
        let driver = DiskDriver::open(dir.path(), &DiskConfig::default()).unwrap();
        let writes = ["k/a", "k/b", "k/c"].map(|key| Write::Put {
            key: Bytes::from_static(key.as_bytes()),
            record: Bytes::from_static(b"v"),
            version: Version::at(1),
            keep_ms: NEVER,
        });
        driver.commit(&writes, StoreDurability::Written).unwrap();
        let mut past = Past::default();
        let mut read_to = || {
            assert_eq!(past.read_on(&driver.store, Duration::ZERO), None);
            past.read_to.clone()
        };
        let [b, c] = [b"k/b", b"k/c"].map(|key| Some(layout::record_key(key)));
        let first = read_to();
        // What the store keeps of itself comes first or last; the records in between are met in order.
        let mut met = vec![first.clone()];
        while let Some(place) = read_to() {
            met.push(Some(place));
            assert!(met.len() < 20, "it ends");
        }
        let at = |place| met.iter().position(|met| *met == place).unwrap();
        assert_eq!(at(c), at(b) + 1);
        assert_eq!(read_to(), first, "it begins again");
    }
}
