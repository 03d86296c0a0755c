//! `Cache<V>`: the thin async handle of one named cache.
//!
//! Everything here prepares arguments on the caller's thread, calls the paths in `tiers`, and casts
//! what comes back. The desk calls the same methods for those who send messages.

mod build;
#[macro_use]
mod call;
mod changes;
mod chunks;
mod clear;
mod get;
mod get_many;
mod many;
mod mutate;
mod read;
mod report;
mod retime;
mod scan;
mod update;
mod watching;

pub use build::{CacheBuilder, EXPIRED_KEEP};
pub use chunks::{CHUNK_COUNT_MAX, Items};
pub use clear::Clear;
pub use get::{Get, GetFuture};
pub use get_many::GetMany;
pub use many::{RemoveMany, SetMany};
pub use mutate::{Mutation, Remove, Set};
pub use report::{BatchReport, ChunkReport, FAILURES_BYTES_MAX, FAILURES_MAX, ReadChunk, ReadKey};
pub use retime::{Expire, Touch};
pub use scan::{Cursor, PAGE_SIZE, Page, Scan};
pub use update::Update;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Millis, NEVER, millis};
use crate::codec::{Codec, Proof, Value};
use crate::error::Error;
use crate::shelf::{Draft, Extra, Priority};
use crate::tiers::{Counts, Home, Place, Targets, Tiers};
use crate::typed;

/// A boxed future of a call.
pub type CallFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>;

/// The handle of one named cache. Cheap to clone, `Send + Sync`; all clones are the same cache.
///
/// ```
/// # #[tokio::main] async fn main() -> Result<(), larder::Error> {
/// # let larder = larder::Larder::builder().start().await?;
/// let users: larder::Cache<String> = larder.cache("users")?;
/// let version = users.set("42", "Ada".to_owned()).await?;
/// let ada = users.get("42").await?.expect("just set");
/// assert_eq!(*ada, "Ada");
/// assert_eq!(ada.version(), version);
/// # larder.shutdown(std::time::Duration::from_secs(5)).await }
/// ```
pub struct Cache<V> {
    inner: Arc<Inner<V>>,
}

type Weigher<V> = Arc<dyn Fn(&V) -> usize + Send + Sync>;

struct Inner<V> {
    home: Arc<Home>,
    definition: Arc<Definition<V>>,
}

/// What a cache is, whoever holds it: all handles of a name and type share one.
struct Definition<V> {
    place: Place,
    defaults: Defaults,
    weigher: Option<Weigher<V>>,
    /// That a stored value of this type can be read back.
    proof: Proof,
}

/// What a cache does where a call says nothing else.
#[derive(Clone, Debug)]
pub(crate) struct Defaults {
    pub ttl: Option<Duration>,
    pub ttl_jitter: f64,
    pub idle: Option<Duration>,
    pub stale_for: Duration,
    pub expired_keep: Duration,
    pub priority: Priority,
    pub codec: Codec,
    pub suppress_unchanged: bool,
}

impl<V> Clone for Cache<V> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

impl<V> std::fmt::Debug for Cache<V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache")
            .field("name", &self.inner.definition.place.scope.name)
            .finish_non_exhaustive()
    }
}

/// Times and labels of an entry that is being set.
#[derive(Clone, Default)]
pub(crate) struct EntryOptions {
    pub ttl: Option<Option<Duration>>,
    pub idle: Option<Option<Duration>>,
    pub stale_for: Option<Duration>,
    pub priority: Option<Priority>,
    pub tags: Vec<smol_str::SmolStr>,
}

impl<V: Value> Cache<V> {
    /// The cache of this name as it was opened last, or with default settings.
    pub(crate) fn named(home: Arc<Home>, name: &str) -> Result<Self, Error> {
        let opened = home.tiers.definitions.read().get(name).cloned();
        let Some(opened) = opened else {
            return CacheBuilder::new(home, name).open();
        };
        home.tiers.check_open()?;
        let definition = match opened.definition.downcast::<Definition<V>>() {
            Ok(definition) => definition,
            // Of another type: the same cache all the same, with the same drivers and defaults.
            Err(_) => Arc::new(Definition {
                place: Place {
                    kind: Some(typed::kind::<V>(opened.place.schema)),
                    ..opened.place
                },
                defaults: match opened.defaults.downcast::<Defaults>() {
                    Ok(defaults) => (*defaults).clone(),
                    Err(_) => return CacheBuilder::new(home, name).open(),
                },
                weigher: None,
                proof: Proof::default(),
            }),
        };
        let inner = Arc::new(Inner { home, definition });
        Ok(Self { inner })
    }

    /// The cache's name.
    pub fn name(&self) -> &str {
        &self.inner.definition.place.scope.name
    }

    fn tiers(&self) -> &Tiers {
        &self.inner.home.tiers
    }

    fn place(&self) -> &Place {
        &self.inner.definition.place
    }

    fn check_key(&self, key: &str) -> Result<(), Error> {
        self.tiers().check_key(key)
    }

    /// Encodes and measures a value on the caller's thread, before any lock.
    fn prepare(
        &self,
        value: Arc<V>,
        options: &EntryOptions,
        now_ms: Millis,
    ) -> Result<Draft, Error> {
        let (inner, tiers) = (&*self.inner.definition, self.tiers());
        let defaults = &inner.defaults;
        let idle_ms = idle_ms(options.idle.unwrap_or(defaults.idle))?;
        let ttl = options.ttl.unwrap_or(defaults.ttl);
        let ends_ms = deadline("ttl", now_ms, ttl, defaults.ttl_jitter)?;
        let mut expires_ms = ends_ms;
        if idle_ms > 0 {
            expires_ms = expires_ms.min(now_ms + Millis::from(idle_ms));
        }
        let stale_for = options.stale_for.unwrap_or(defaults.stale_for);
        let keep_ms = expires_ms.saturating_add(millis(stale_for));
        self.check_tags(&options.tags)?;
        let limit = tiers.config.limits.value_bytes_max;
        let needs_bytes = !inner.place.tiers.is_empty() || defaults.suppress_unchanged;
        let count = |error| {
            Counts::add(&tiers.counts.encode_errors);
            error
        };
        let encode = || {
            let encoded = typed::encode(&*value, defaults.codec, limit)?;
            if !inner.place.tiers.is_empty() {
                inner.proof.check::<V>(defaults.codec, &encoded.payload)?;
            }
            Ok(encoded)
        };
        let encoded = needs_bytes.then(encode).transpose().map_err(count)?;
        let weight = match (&inner.weigher, &encoded) {
            (Some(weigh), _) => weigh(&value),
            (None, Some(encoded)) => encoded.payload.len(),
            (None, None) => defaults.codec.encoded_len(&*value, limit).map_err(count)?,
        };
        let fingerprint = match &encoded {
            Some(encoded) if defaults.suppress_unchanged => fingerprint(&encoded.payload),
            _ => 0,
        };
        let is_plain =
            options.tags.is_empty() && idle_ms == 0 && keep_ms == expires_ms && fingerprint == 0;
        Ok(Draft {
            body: typed::erase(value),
            encoded,
            weight: u32::try_from(weight).unwrap_or(u32::MAX),
            created_ms: now_ms,
            expires_ms,
            extra: (!is_plain).then(|| {
                Arc::new(Extra {
                    keep_ms,
                    idle_ms,
                    ends_ms,
                    fingerprint,
                    skipped: crate::shelf::TierSet::NONE,
                    tags: options.tags.clone().into(),
                })
            }),
            schema: inner.place.schema,
            priority: options.priority.unwrap_or(defaults.priority),
        })
    }

    fn check_tags(&self, tags: &[smol_str::SmolStr]) -> Result<(), Error> {
        let limits = &self.tiers().config.limits;
        if tags.len() > limits.tags_per_entry_max {
            return Err(Error::Invalid {
                field: "tags",
                reason: format!(
                    "{} tags, tags_per_entry_max is {}",
                    tags.len(),
                    limits.tags_per_entry_max
                ),
            });
        }
        tags.iter().try_for_each(|tag| self.check_tag(tag))
    }

    fn check_tag(&self, tag: &str) -> Result<(), Error> {
        let limit = self.tiers().config.limits.tag_bytes_max;
        if tag.is_empty() {
            return Err(Error::Invalid {
                field: "tag",
                reason: format!("is empty, allowed are 1 to {limit} bytes"),
            });
        }
        if tag.len() > limit {
            return Err(Error::TooLarge {
                what: "tag",
                size: tag.len(),
                limit_name: "tag_bytes_max",
                limit,
            });
        }
        Ok(())
    }

    /// The drivers that a call names, out of this cache's own.
    fn targets(&self, names: &[String]) -> Result<Targets, Error> {
        let (tiers, place) = (self.tiers(), self.place());
        let mut targets = Targets {
            memory: false,
            tiers: crate::shelf::TierSet::NONE,
        };
        if tiers.config.disabled {
            // Nothing is stored anywhere, so there is nothing to choose from.
            return Ok(targets);
        }
        for name in names {
            let tier = tiers.tier_named(name).filter(|tier| place.tiers.has(*tier));
            match tier {
                _ if name == MEMORY && place.memory => targets.memory = true,
                Some(tier) => targets.tiers = targets.tiers.with(tier),
                None => {
                    return Err(Error::Invalid {
                        field: "drivers",
                        reason: format!(
                            "{name:?} is no driver of cache {:?}, which has {:?}",
                            self.name(),
                            build::tier_names(tiers, place.memory, place.tiers)
                        ),
                    });
                }
            }
        }
        if names.is_empty() {
            return Err(Error::Invalid {
                field: "drivers",
                reason: "is empty, at least one is needed".into(),
            });
        }
        Ok(targets)
    }
}

/// The memory tier's name, where drivers are chosen by name.
pub const MEMORY: &str = "memory";

/// When something ends that lasts `time` from now.
fn deadline(
    field: &'static str,
    now_ms: Millis,
    time: Option<Duration>,
    jitter: f64,
) -> Result<Millis, Error> {
    let Some(time) = time else {
        return Ok(NEVER);
    };
    let whole = millis(time);
    if whole == 0 || now_ms.checked_add(whole).is_none_or(|end| end == NEVER) {
        return Err(Error::Invalid {
            field,
            reason: format!("is {time:?}, it must be above zero and end before the clock does"),
        });
    }
    // Earlier, never later: what is promised to be gone by then is.
    let earlier = whole as f64 * jitter * fastrand::f64();
    Ok(now_ms + whole - (earlier as u64).min(whole - 1))
}

fn idle_ms(idle: Option<Duration>) -> Result<u32, Error> {
    let Some(idle) = idle else {
        return Ok(0);
    };
    let refused = || Error::Invalid {
        field: "idle",
        reason: format!("is {idle:?}, allowed is 1 ms to 49 days"),
    };
    match u32::try_from(millis(idle)) {
        Ok(0) | Err(_) => Err(refused()),
        Ok(idle) => Ok(idle),
    }
}

/// A number for a value's bytes by which an update that changes nothing is recognised; never 0.
fn fingerprint(payload: &[u8]) -> u64 {
    use std::hash::BuildHasher;
    foldhash::quality::FixedState::default()
        .hash_one(payload)
        .max(1)
}
