//! Many entries in one message.
//!
//! A stream has no message of its own: an actor sends its items a chunk at a time, each in one of these
//! messages, and the reply to one says that it is time for the next.

use std::sync::Arc;
use std::time::Duration;

use actix::Message;

use super::{Explain, Of};
use crate::cache::{BatchReport, ReadChunk};
use crate::codec::Value;
use crate::entry::Entry;
use crate::error::Error;
use crate::outcome::Durability;
use crate::shelf::Priority;

/// Read many entries.
pub struct GetMany<V> {
    /// The cache.
    pub cache: String,
    /// The keys.
    pub keys: Vec<String>,
    /// Show values past their TTL while they are kept as a fallback.
    pub allow_stale: bool,
    /// Items of one chunk; where nothing is said, what suits the slowest driver.
    pub chunk: Option<usize>,
    /// How long each chunk may take; the larder's `call_ms_max` where nothing is said.
    pub deadline: Option<Duration>,
    of: Of<V>,
}
message!(GetMany => Vec<(String, Option<Entry<V>>)>);

impl<V: Value> Message for Explain<GetMany<V>> {
    type Result = Result<Vec<ReadChunk<V>>, Error>;
}

impl<V> GetMany<V> {
    /// Reads `keys` of `cache`.
    pub fn new<K: Into<String>>(
        cache: impl Into<String>,
        keys: impl IntoIterator<Item = K>,
    ) -> Self {
        Self {
            cache: cache.into(),
            keys: keys.into_iter().map(Into::into).collect(),
            allow_stale: false,
            chunk: None,
            deadline: None,
            of: Of::default(),
        }
    }
}

/// Set many entries.
pub struct SetMany<V> {
    /// The cache.
    pub cache: String,
    /// Keys and values.
    pub items: Vec<(String, Arc<V>)>,
    /// They expire so long after they are set.
    pub ttl: Option<Duration>,
    /// What to wait for, chunk by chunk.
    pub durability: Option<Durability>,
    /// Names under which all of them can be invalidated.
    pub tags: Vec<String>,
    /// How long they should outlast others.
    pub priority: Option<Priority>,
    /// Items of one chunk; where nothing is said, what suits the slowest driver.
    pub chunk: Option<usize>,
    /// How long one item, and the commit of one chunk, may take; the larder's `call_ms_max` where nothing
    /// is said.
    pub deadline: Option<Duration>,
}
message!(SetMany => BatchReport);

impl<V> SetMany<V> {
    /// Sets `items` of `cache` with the cache's defaults.
    pub fn new<K: Into<String>, T: Into<Arc<V>>>(
        cache: impl Into<String>,
        items: impl IntoIterator<Item = (K, T)>,
    ) -> Self {
        let items = items.into_iter();
        Self {
            cache: cache.into(),
            items: items.map(|(k, v)| (k.into(), v.into())).collect(),
            ttl: None,
            durability: None,
            tags: Vec::new(),
            priority: None,
            chunk: None,
            deadline: None,
        }
    }
}

/// Remove many entries.
pub struct RemoveMany<V> {
    /// The cache.
    pub cache: String,
    /// The keys.
    pub keys: Vec<String>,
    /// What to wait for, chunk by chunk.
    pub durability: Option<Durability>,
    /// Items of one chunk; where nothing is said, what suits the slowest driver.
    pub chunk: Option<usize>,
    /// How long one item, and the commit of one chunk, may take; the larder's `call_ms_max` where nothing
    /// is said.
    pub deadline: Option<Duration>,
    of: Of<V>,
}
message!(RemoveMany => BatchReport);

impl<V> RemoveMany<V> {
    /// Removes `keys` of `cache`.
    pub fn new<K: Into<String>>(
        cache: impl Into<String>,
        keys: impl IntoIterator<Item = K>,
    ) -> Self {
        Self {
            cache: cache.into(),
            keys: keys.into_iter().map(Into::into).collect(),
            durability: None,
            chunk: None,
            deadline: None,
            of: Of::default(),
        }
    }
}
