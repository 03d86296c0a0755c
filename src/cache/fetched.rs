//! A fetch with its explanation: where its answer came from, and why something stale is shown.

use std::time::{Duration, Instant};

use crate::entry::{Entry, Source};
use crate::error::Error;
use crate::shelf::Freshness;

/// A fetch with its explanation.
#[derive(Debug)]
#[non_exhaustive]
pub struct FetchOutcome<V> {
    /// The answer; `None` if the source has none.
    pub entry: Option<Entry<V>>,
    /// Where it came from: [`Source::Fetch`] if it was loaded.
    pub source: Option<Source>,
    /// How it stands to its time.
    pub freshness: Option<Freshness>,
    /// How often the loader was asked, by this call or by the load that it waited for.
    pub attempts: u32,
    /// How long that load waited for its turn at its source.
    pub queued: Duration,
    /// How many waited for that load, this call among them; 0 if it did not wait for one.
    pub waiters: usize,
    /// How long the call took.
    pub took: Duration,
    /// What became of what was loaded.
    pub stored: Option<Stored>,
    /// Why something stale is shown.
    pub stale_because: Option<StaleBecause>,
    /// Whether the source was not asked because it has said, within `missing_ttl`, that it has nothing.
    pub was_known_missing: bool,
}

impl<V> Clone for FetchOutcome<V> {
    fn clone(&self) -> Self {
        Self {
            entry: self.entry.clone(),
            stored: self.stored.clone(),
            stale_because: self.stale_because.clone(),
            ..*self
        }
    }
}

/// Why something stale is shown.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum StaleBecause {
    /// It is being loaded anew.
    Refreshing,
    /// Loading it takes longer than the call's soft timeout.
    SoftTimeout,
    /// It could not be loaded.
    Failed(Error),
}

impl<V> FetchOutcome<V> {
    pub(super) fn of(entry: Option<Entry<V>>, began: Instant) -> Self {
        Self {
            source: entry.as_ref().map(Entry::source),
            freshness: entry.as_ref().map(Entry::freshness),
            entry,
            attempts: 0,
            queued: Duration::ZERO,
            waiters: 0,
            took: began.elapsed(),
            stored: None,
            stale_because: None,
            was_known_missing: false,
        }
    }

    /// The source has said that it has nothing.
    pub(super) fn missing(began: Instant) -> Self {
        Self {
            was_known_missing: true,
            ..Self::of(None, began)
        }
    }
}

/// What became of what a load brought.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Stored {
    /// It is kept; what the source has no more is removed.
    Yes,
    /// It is kept nowhere, as the loader wished, or there was nothing to keep.
    No,
    /// It is kept nowhere: the key was set, removed or invalidated while it was loaded.
    Fenced,
    /// It is kept nowhere: it could not be stored.
    Refused(Error),
}
