//! What the watchers of one key may still be told, given what they have been told already.
//!
//! The shelf records the events of a key in the order of their versions; what can come late is the
//! event of a fence, which is recorded beside the keys it covers, and a timer's or an eviction's
//! word on an entry that is no longer the one it was.

use crate::shelf::{EventKind, RawEvent};
use crate::version::Version;

/// The newest that was told of one key.
#[derive(Default)]
pub(super) struct Order {
    /// The newest change of any kind, fences of a tag included.
    change: Option<Version>,
    /// The newest version that the entry itself is known to have had, or to have lost. A fence of a
    /// tag does not count: the entry may not carry it, and then still has its end to announce.
    entry: Option<Version>,
    /// The end of `entry` by expiry has been told.
    expired: bool,
}

impl Order {
    /// Whether the event may be told after all before it; if so, it counts as told.
    ///
    /// | kind | told if its version is |
    /// |---|---|
    /// | `Created`, `Updated`, `Removed`, `Cleared` | above every version told |
    /// | `Expired` | not below the entry's, and once per version |
    /// | `Evicted` | not below the entry's (an entry can be read back and evicted again) |
    pub fn admits(&mut self, event: &RawEvent) -> bool {
        let version = Some(event.version);
        let admitted = match event.kind {
            EventKind::Expired => version > self.entry || (version == self.entry && !self.expired),
            EventKind::Evicted => version >= self.entry,
            _ => version > self.entry.max(self.change),
        };
        if !admitted {
            return false;
        }
        match event.kind {
            EventKind::Expired => self.expired = true,
            EventKind::Evicted => self.expired &= version == self.entry,
            _ => {
                self.change = version;
                self.expired = false;
            }
        }
        if event.kind != EventKind::Cleared || event.key.name.is_empty() {
            self.entry = version;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::fixture::event;
    use EventKind::{Cleared, Created, Evicted, Expired, Removed, Updated};

    /// Which of these events, all of the key "k", are told.
    fn told(events: &[(EventKind, u64)]) -> Vec<(EventKind, u64)> {
        let mut order = Order::default();
        let admitted = |&&(kind, n): &&(EventKind, u64)| {
            let name = if kind == Cleared { "" } else { "k" };
            order.admits(&event(name, kind, n))
        };
        events.iter().filter(admitted).copied().collect()
    }

    #[test]
    fn changes_are_told_in_the_order_of_their_versions_and_once() {
        let events = [
            (Created, 1),
            (Updated, 3),
            (Updated, 2),
            (Updated, 3),
            (Removed, 4),
        ];
        assert_eq!(told(&events), [(Created, 1), (Updated, 3), (Removed, 4)]);
    }

    #[test]
    fn the_end_of_an_entry_carries_the_entrys_own_version() {
        let events = [
            (Updated, 5),
            (Evicted, 5),
            (Evicted, 5),
            (Expired, 5),
            (Evicted, 5),
        ];
        assert_eq!(told(&events), events);
        assert_eq!(told(&[(Expired, 5), (Expired, 5)]), [(Expired, 5)]);
        let anew = [(Expired, 5), (Updated, 6), (Expired, 6)];
        assert_eq!(told(&anew), anew);
    }

    #[test]
    fn the_end_of_an_entry_that_was_replaced_or_removed_is_not_told() {
        for newer in [Updated, Removed, Cleared] {
            let events = [(newer, 6), (Expired, 5), (Evicted, 5)];
            assert_eq!(told(&events), [(newer, 6)]);
        }
    }

    #[test]
    fn what_a_fence_has_removed_is_not_created_after_it() {
        assert_eq!(told(&[(Cleared, 6), (Created, 5)]), [(Cleared, 6)]);
        let survived = [(Created, 7), (Cleared, 6)];
        assert_eq!(told(&survived), [(Created, 7)]);
    }

    #[test]
    fn a_fence_of_a_tag_does_not_silence_the_end_of_an_entry_without_it() {
        let mut order = Order::default();
        assert!(order.admits(&event("k", Created, 5)));
        assert!(order.admits(&event("team:7", Cleared, 6)));
        assert!(!order.admits(&event("k", Created, 6)));
        assert!(order.admits(&event("k", Evicted, 5)));
        assert!(order.admits(&event("k", Expired, 5)));
        assert!(!order.admits(&event("k", Expired, 5)));
    }
}
