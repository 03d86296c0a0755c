//! Which events a snapshot has overtaken: those that were under way when it was read.
//!
//! Bounded, whatever the size of the snapshot: the versions of its first entries are kept one by one,
//! and one floor for each of its first pages; later pages share the oldest floor that is safe. Safe
//! means that no change is ever taken for an old one; the price is that behind a snapshot of more
//! than [`FLOORS_EXACT_MAX`] entries a change can be repeated that the snapshot already showed.

use std::collections::HashMap;

use super::snapshot::SnapshotPage;
use crate::clock::Millis;
use crate::shelf::{EventKind, RawEvent};
use crate::version::Version;

/// Entries of a snapshot whose versions are kept.
pub(super) const FLOORS_EXACT_MAX: usize = 4_096;
/// Pages of a snapshot with a floor of their own.
const FLOORS_PAGES_MAX: usize = 4_096;

/// What the last snapshot showed.
#[derive(Default)]
pub(super) struct Floors {
    /// In key order; each covers the keys after the one before it.
    pages: Vec<Floor>,
    exact: HashMap<String, Version>,
    /// Entries shown.
    entries: usize,
}

struct Floor {
    /// The last key covered; `None`: all the rest.
    upto: Option<String>,
    as_of: Version,
    at_ms: Millis,
}

impl Floors {
    /// A new snapshot begins.
    pub fn begin(&mut self) {
        *self = Self::default();
    }

    /// A page of it was read.
    pub fn add<V>(&mut self, page: &SnapshotPage<V>) {
        for (key, entry) in &page.entries {
            let Some(entry) = entry else { continue };
            self.entries += 1;
            if self.exact.len() < FLOORS_EXACT_MAX {
                self.exact.insert(key.clone(), entry.version());
            }
        }
        let is_full = self.pages.len() >= FLOORS_PAGES_MAX;
        match self.pages.last_mut() {
            Some(last) if is_full => last.upto.clone_from(&page.next),
            _ => self.pages.push(Floor {
                upto: page.next.clone(),
                as_of: page.as_of,
                at_ms: page.at_ms,
            }),
        }
    }

    /// Whether an event is news to somebody who has seen the snapshot.
    pub fn passes(&self, event: &RawEvent) -> bool {
        if event.kind == EventKind::Cleared {
            return !self.all_survived(event.version);
        }
        let name = event.key.name.as_str();
        if let Some(&shown) = self.exact.get(name) {
            return match event.kind {
                EventKind::Expired | EventKind::Evicted => event.version >= shown,
                _ => event.version > shown,
            };
        }
        let covers = |floor: &Floor| floor.upto.as_deref().is_some_and(|upto| upto < name);
        let at = self.pages.partition_point(covers);
        let Some(floor) = self.pages.get(at) else {
            return true;
        };
        // An entry ends under the version that it had, so only time tells on which side of the page.
        event.version > floor.as_of
            || match event.kind {
                // It was shown as long as its time was not up, so it expired strictly later.
                EventKind::Expired => event.at_ms > floor.at_ms,
                EventKind::Evicted => event.at_ms >= floor.at_ms,
                _ => false,
            }
    }

    /// Whether everything that was shown is newer than a fence, so that the fence says nothing.
    /// Fences are never judged by `as_of`: one can be issued before a page is read and be raised
    /// after.
    fn all_survived(&self, fence: Version) -> bool {
        let is_complete = self.pages.last().is_some_and(|last| last.upto.is_none());
        is_complete
            && self.entries > 0
            && self.entries == self.exact.len()
            && self.exact.values().all(|&shown| shown > fence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::fixture::{event, page};
    use EventKind::{Cleared, Created, Evicted, Expired, Removed, Updated};

    fn after(pages: &[SnapshotPage<u64>]) -> Floors {
        let mut floors = Floors::default();
        floors.begin();
        pages.iter().for_each(|page| floors.add(page));
        floors
    }

    #[test]
    fn without_a_snapshot_everything_is_news() {
        assert!(Floors::default().passes(&event("k", Updated, 1)));
        assert!(Floors::default().passes(&event("", Cleared, 1)));
    }

    #[test]
    fn what_an_entry_was_before_it_was_shown_is_no_news() {
        // Written after `as_of` was taken and before the page was read.
        let floors = after(&[page(10, &[("k", Some(12))], None)]);
        for (kind, n, news) in [
            (Updated, 11, false),
            (Updated, 12, false),
            (Removed, 13, true),
            (Expired, 11, false),
            (Expired, 12, true),
            (Evicted, 12, true),
        ] {
            assert_eq!(floors.passes(&event("k", kind, n)), news, "{kind:?} {n}");
        }
    }

    #[test]
    fn what_was_absent_does_not_come_back_by_an_older_change() {
        let floors = after(&[page(10, &[("k", None)], None)]);
        for (kind, n, news) in [
            (Updated, 10, false),
            (Removed, 9, false),
            (Expired, 10, false),
            (Evicted, 9, false),
            (Created, 11, true),
        ] {
            assert_eq!(floors.passes(&event("k", kind, n)), news, "{kind:?} {n}");
        }
    }

    #[test]
    fn the_end_of_an_entry_that_was_shown_long_ago_is_news_by_its_time() {
        let floors = after(&[page(10, &[], None)]);
        let ended = |kind, at_ms| RawEvent {
            at_ms,
            ..event("k", kind, 5)
        };
        assert!(!floors.passes(&ended(Expired, 10)));
        assert!(floors.passes(&ended(Expired, 11)));
        assert!(!floors.passes(&ended(Evicted, 9)));
        assert!(floors.passes(&ended(Evicted, 10)));
    }

    #[test]
    fn each_page_judges_the_keys_that_it_covers() {
        let floors = after(&[page(10, &[], Some("f")), page(20, &[], Some("p"))]);
        assert!(floors.passes(&event("f", Updated, 15)));
        assert!(!floors.passes(&event("g", Updated, 15)));
        // Not read yet, or never: the snapshot failed before.
        assert!(floors.passes(&event("q", Updated, 1)));
    }

    #[test]
    fn a_fence_is_no_news_only_where_everything_shown_is_newer() {
        let floors = after(&[page(10, &[("k", Some(8))], None)]);
        assert!(!floors.passes(&event("", Cleared, 7)));
        assert!(floors.passes(&event("", Cleared, 9)));
        let absent = after(&[page(10, &[("k", None)], None)]);
        assert!(absent.passes(&event("", Cleared, 7)));
        let incomplete = after(&[page(10, &[("k", Some(8))], Some("k"))]);
        assert!(incomplete.passes(&event("", Cleared, 7)));
    }

    #[test]
    fn past_its_bounds_a_snapshot_loses_no_change() {
        let names: Vec<String> = (0..=FLOORS_EXACT_MAX).map(|n| format!("{n:05}")).collect();
        let entries: Vec<_> = names.iter().map(|name| (name.as_str(), Some(8))).collect();
        let floors = after(&[page(10, &entries, None)]);
        assert_eq!(floors.exact.len(), FLOORS_EXACT_MAX);
        assert!(floors.passes(&event("", Cleared, 7)));

        let pages = names.iter().zip(10..);
        let pages = pages.map(|(name, n)| page(n, &[], Some(name)));
        let floors = after(&pages.collect::<Vec<_>>());
        assert_eq!(floors.pages.len(), FLOORS_PAGES_MAX);
        let oldest = 10 + FLOORS_PAGES_MAX as u64 - 1;
        let last = names.last().unwrap();
        assert!(!floors.passes(&event(last, Updated, oldest)));
        assert!(floors.passes(&event(last, Updated, oldest + 1)));
    }
}
