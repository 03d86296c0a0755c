//! Reserving versions ahead, and with them the time: what comes after a crash begins above both.
//!
//! IMPORTANT: before the batch that it is due with. What is acknowledged then carries the time with it: an
//! entry that had expired before does not come back with a clock that is set back (the slot protocol, rule 13,
//! SEMANTICS.md).

use std::sync::atomic::Ordering;

use super::run::Home;
use crate::clock::Millis;
use crate::drivers::{StoreDurability, Watermark};
use crate::error::Error;
use crate::version::Version;

/// How far ahead versions are reserved.
pub const RESERVE_MS: Millis = 60_000;
/// How old a reservation gets before a commit renews it.
const RENEW_MS: Millis = 20_000;

impl Home {
    /// What is to be reserved before the next commit; `None` if that was done a moment ago.
    pub fn due(&self) -> Option<Watermark> {
        let (now_ms, port) = (self.clock.now_ms(), &self.lane.port);
        let before_ms = port.reserved_ms.load(Ordering::Relaxed);
        if now_ms < before_ms.saturating_add(RENEW_MS) {
            return None;
        }
        // Whatever becomes of it: a store that cannot reserve is not asked before each commit.
        port.reserved_ms.store(now_ms, Ordering::Relaxed);
        // Above what is issued, too: after a few quick restarts versions run ahead of the time.
        let from = Version::at(now_ms).get().max(self.shelf.versions().last());
        Some(Watermark {
            ceiling: from.saturating_add(Version::at(RESERVE_MS).get()),
            clock_ms: now_ms,
        })
    }

    /// It is reserved.
    pub fn reserved(&self, mark: Watermark) {
        self.shelf.versions().reserve(mark.ceiling);
    }

    /// Has what is stored synced, and what is due reserved before.
    pub async fn sync(&self) -> Result<(), Error> {
        let port = &self.lane.port;
        if let Some(mark) = self.due()
            && port.reserve(mark).await.is_ok()
        {
            self.reserved(mark);
        }
        port.commit_nothing(StoreDurability::Synced).await
    }
}
