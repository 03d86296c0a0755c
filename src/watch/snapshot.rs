//! Where a subscriber that lags finds what is there now. The cache's handle provides it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::clock::Millis;
use crate::entry::Entry;
use crate::error::Error;
use crate::version::Version;

/// Reads one page of what a subscription is about: for one key a single page with that key, present
/// or not; for a prefix or a cache the entries after the given key in key order.
pub type SnapshotFn<V> = Arc<dyn Fn(Option<String>) -> SnapshotFuture<V> + Send + Sync>;

/// A page on its way.
pub type SnapshotFuture<V> = Pin<Box<dyn Future<Output = Result<SnapshotPage<V>, Error>> + Send>>;

/// Done when a stream is dropped: ends its subscription.
pub type OnDrop = Box<dyn FnOnce() + Send>;

/// One page of a snapshot.
pub struct SnapshotPage<V> {
    /// The newest version issued *before* the page was read: every mutation up to it is in the page
    /// or overtaken by what is. IMPORTANT: taken afterwards, changes would be lost.
    pub as_of: Version,
    /// The time before the page was read; after `as_of` or before it.
    pub at_ms: Millis,
    /// What is there; `None` only for a watched key that has no entry.
    pub entries: Vec<(String, Option<Entry<V>>)>,
    /// The last key that the page covers, to go on after; `None` if it was the last page.
    pub next: Option<String>,
}
