//! To the desk: what a handle can do with entries, as messages.
//!
//! Each is typed by the value. Where a handle's call has options, the message has fields with the
//! same meaning; `None` takes the cache's default.

use std::sync::Arc;
use std::time::Duration;

use actix::Message;

use crate::cache::{Cursor, Page};
use crate::codec::Value;
use crate::entry::Entry;
use crate::error::Error;
use crate::messages::hub::SubscriptionId;
use crate::outcome::{Durability, ReadOutcome, WriteOutcome};
use crate::shelf::Priority;
use crate::version::Version;

macro_rules! message {
    ($name:ident => $reply:ty) => {
        reply!($name => $reply);

        /// Shows the cache, never a key or a value: a sealed cache's must not reach a log.
        impl<V: Value> std::fmt::Debug for $name<V> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}({})", stringify!($name), self.cache)
            }
        }
    };
}

macro_rules! reply {
    ($name:ident => $reply:ty) => {
        impl<V: Value> Message for $name<V> {
            type Result = Result<$reply, Error>;
        }
    };
}

mod many;
mod watching;

pub use many::{GetMany, RemoveMany, SetMany};
pub use watching::{Subscribe, Watching};

/// Which value a message is about, where it carries none.
type Of<V> = std::marker::PhantomData<fn() -> V>;

/// Read an entry.
pub struct Get<V> {
    /// The cache.
    pub cache: String,
    /// The key.
    pub key: String,
    /// Show it past its TTL while it is kept as a fallback.
    pub allow_stale: bool,
    /// Ask only these drivers besides memory; empty for all.
    pub drivers: Vec<String>,
    /// How long it may take; the larder's `call_ms_max` where nothing is said.
    pub deadline: Option<Duration>,
    of: Of<V>,
}
message!(Get => Option<Entry<V>>);

impl<V> Get<V> {
    /// Reads `key` of `cache`.
    pub fn new(cache: impl Into<String>, key: impl Into<String>) -> Self {
        Self {
            cache: cache.into(),
            key: key.into(),
            allow_stale: false,
            drivers: Vec::new(),
            deadline: None,
            of: Of::default(),
        }
    }
}

/// Read an entry without taking it into memory or renewing its time.
pub struct Peek<V> {
    /// The cache.
    pub cache: String,
    /// The key.
    pub key: String,
    of: Of<V>,
}
message!(Peek => Option<Entry<V>>);

impl<V> Peek<V> {
    /// Looks at `key` of `cache`.
    pub fn new(cache: impl Into<String>, key: impl Into<String>) -> Self {
        Self {
            cache: cache.into(),
            key: key.into(),
            of: Of::default(),
        }
    }
}

/// Do what the message says and explain it: [`Get`], [`Set`], [`Remove`] or [`GetMany`], whose bad keys
/// then fail alone.
#[derive(Debug)]
pub struct Explain<M>(pub M);

impl<V: Value> Message for Explain<Get<V>> {
    type Result = Result<ReadOutcome<V>, Error>;
}

impl<V: Value> Message for Explain<Set<V>> {
    type Result = Result<WriteOutcome, Error>;
}

impl<V: Value> Message for Explain<Remove<V>> {
    type Result = Result<WriteOutcome, Error>;
}

/// Tell whether there is an entry.
pub struct Contains<V> {
    /// The cache.
    pub cache: String,
    /// The key.
    pub key: String,
    of: Of<V>,
}
message!(Contains => bool);

impl<V> Contains<V> {
    /// Asks for `key` of `cache`.
    pub fn new(cache: impl Into<String>, key: impl Into<String>) -> Self {
        Self {
            cache: cache.into(),
            key: key.into(),
            of: Of::default(),
        }
    }
}

/// Set an entry.
pub struct Set<V> {
    /// The cache.
    pub cache: String,
    /// The key.
    pub key: String,
    /// The value.
    pub value: Arc<V>,
    /// Expires so long after now.
    pub ttl: Option<Duration>,
    /// Expires so long after it was last read.
    pub idle: Option<Duration>,
    /// Is kept so long beyond its TTL, for those who allow stale values.
    pub stale_for: Option<Duration>,
    /// Names under which it can be invalidated.
    pub tags: Vec<String>,
    /// How long it should outlast others.
    pub priority: Option<Priority>,
    /// Only these of the cache's drivers are to hold it; empty for all.
    pub drivers: Vec<String>,
    /// What to wait for.
    pub durability: Option<Durability>,
    /// How long it may take; the larder's `call_ms_max` where nothing is said.
    pub deadline: Option<Duration>,
}
message!(Set => Version);

impl<V> Set<V> {
    /// Sets `key` of `cache` with the cache's defaults.
    pub fn new(cache: impl Into<String>, key: impl Into<String>, value: impl Into<Arc<V>>) -> Self {
        Self {
            cache: cache.into(),
            key: key.into(),
            value: value.into(),
            ttl: None,
            idle: None,
            stale_for: None,
            tags: Vec::new(),
            priority: None,
            drivers: Vec::new(),
            durability: None,
            deadline: None,
        }
    }
}

/// Set an entry if it is what the sender has seen.
pub struct CompareAndSet<V> {
    /// What to set, and how.
    pub set: Set<V>,
    /// The version it must have; `None`: there must be no live entry.
    pub expected: Option<Version>,
}
reply!(CompareAndSet => Version);

/// Remove an entry.
pub struct Remove<V> {
    /// The cache.
    pub cache: String,
    /// The key.
    pub key: String,
    /// Only if it has this version.
    pub if_version: Option<Version>,
    /// What to wait for.
    pub durability: Option<Durability>,
    /// How long it may take; the larder's `call_ms_max` where nothing is said.
    pub deadline: Option<Duration>,
    of: Of<V>,
}
message!(Remove => Version);

impl<V> Remove<V> {
    /// Removes `key` of `cache`.
    pub fn new(cache: impl Into<String>, key: impl Into<String>) -> Self {
        Self {
            cache: cache.into(),
            key: key.into(),
            if_version: None,
            durability: None,
            deadline: None,
            of: Of::default(),
        }
    }
}

/// Give a live entry a new TTL.
pub struct Touch<V> {
    /// The cache.
    pub cache: String,
    /// The key.
    pub key: String,
    /// The new TTL.
    pub ttl: Duration,
    /// What to wait for.
    pub durability: Option<Durability>,
    /// How long it may take; the larder's `call_ms_max` where nothing is said.
    pub deadline: Option<Duration>,
    of: Of<V>,
}
message!(Touch => Option<Version>);

impl<V> Touch<V> {
    /// Gives `key` of `cache` a new TTL.
    pub fn new(cache: impl Into<String>, key: impl Into<String>, ttl: Duration) -> Self {
        Self {
            cache: cache.into(),
            key: key.into(),
            ttl,
            durability: None,
            deadline: None,
            of: Of::default(),
        }
    }
}

/// Let an entry expire now and keep its value as a fallback.
pub struct Expire<V> {
    /// The cache.
    pub cache: String,
    /// The key.
    pub key: String,
    /// How long to keep the value as a fallback.
    pub keep_for: Option<Duration>,
    /// What to wait for.
    pub durability: Option<Durability>,
    /// How long it may take; the larder's `call_ms_max` where nothing is said.
    pub deadline: Option<Duration>,
    of: Of<V>,
}
message!(Expire => Option<Version>);

impl<V> Expire<V> {
    /// Lets `key` of `cache` expire.
    pub fn new(cache: impl Into<String>, key: impl Into<String>) -> Self {
        Self {
            cache: cache.into(),
            key: key.into(),
            keep_for: None,
            durability: None,
            deadline: None,
            of: Of::default(),
        }
    }
}

/// Read a page of entries in order.
pub struct Scan<V> {
    /// The cache.
    pub cache: String,
    /// What the keys begin with.
    pub prefix: String,
    /// Where an earlier page of the same scan ended.
    pub after: Option<Cursor>,
    /// Most entries of the page.
    pub page_size: usize,
    /// How long it may take; the larder's `call_ms_max` where nothing is said.
    pub deadline: Option<Duration>,
    of: Of<V>,
}
message!(Scan => Page<V>);

impl<V> Scan<V> {
    /// The first page of `cache`, keys that begin with `prefix`.
    pub fn new(cache: impl Into<String>, prefix: impl Into<String>) -> Self {
        Self {
            cache: cache.into(),
            prefix: prefix.into(),
            after: None,
            page_size: crate::cache::PAGE_SIZE,
            deadline: None,
            of: Of::default(),
        }
    }
}

/// Make every entry of a cache, or those with a tag, a miss.
#[derive(Debug)]
pub struct Clear {
    /// The cache.
    pub cache: String,
    /// Only entries with this tag.
    pub tag: Option<String>,
    /// What to wait for.
    pub durability: Option<Durability>,
    /// How long it may take; the larder's `call_ms_max` where nothing is said.
    pub deadline: Option<Duration>,
}

impl Clear {
    /// Clears all of `cache`.
    pub fn new(cache: impl Into<String>) -> Self {
        Self {
            cache: cache.into(),
            tag: None,
            durability: None,
            deadline: None,
        }
    }
}

impl Message for Clear {
    type Result = Result<Version, Error>;
}

/// End a subscription made by message.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub struct Unsubscribe(pub SubscriptionId);
