//! `Cache<V>`: the thin async handle of one named cache.
//!
//! Everything here prepares arguments on the caller's thread, calls the paths in `tiers`, and casts
//! what comes back. The desk calls the same methods for those who send messages.

mod asking;
mod build;
#[macro_use]
mod call;
#[macro_use]
mod terms;
mod changes;
mod chunks;
mod clear;
mod encoding;
mod feed;
mod feeding;
mod fetch;
mod fetch_many;
mod fetched;
mod fetching;
mod fetching_many;
mod gap;
mod get;
mod get_many;
mod keeping;
mod loading;
mod loading_many;
mod many;
mod mutate;
mod mutation;
mod noting;
mod pages;
mod polling;
mod prepare;
mod pushed;
mod ranks;
mod read;
mod register;
mod report;
mod retime;
mod scan;
mod seats;
mod secure;
mod update;
mod watching;

pub use build::{CacheBuilder, EXPIRED_KEEP};
pub use chunks::{CHUNK_COUNT_MAX, Items};
pub use clear::Clear;
pub use feed::{Feed, FeedBuilder, FeedEnd, FeedState, FeedStats};
pub use fetch::{Fetch, FetchFuture};
pub use fetch_many::{FETCH_CHUNK, FetchMany};
pub use fetched::{FetchOutcome, StaleBecause, Stored};
pub use gap::OnGap;
pub use get::{Get, GetFuture};
pub use get_many::GetMany;
pub use many::{RemoveMany, SetMany};
pub use mutate::{Remove, Set};
pub use mutation::Mutation;
pub use pages::FetchPage;
pub use polling::{POLL_MIN, Polling};
pub use pushed::FeedChange;
pub use register::{Register, WarmReport};
pub use report::{BatchReport, ChunkReport, FAILURES_BYTES_MAX, FAILURES_MAX, ReadChunk, ReadKey};
pub use retime::{Expire, Touch};
pub use scan::{Cursor, PAGE_SIZE, Page, Scan};
pub use update::Update;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::codec::{BuiltIn, Coder, Compression, Proof, Value};
use crate::error::Error;
use crate::fetch::LoadSource;
use crate::shelf::{Priority, Scope, Shelf};
use crate::tiers::{Home, Place, Targets, Tiers};
use crate::typed::Form;
pub(crate) use prepare::EntryOptions;
use prepare::{PLAIN, deadline, idle_ms};
use register::Registry;

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
    definition: Arc<Definition<V>>,
    /// What each call asks for, at hand.
    shelf: Arc<Shelf>,
    scope: Arc<Scope>,
    tiers: Arc<Tiers>,
    /// Ends larder with its last handle.
    home: Arc<Home>,
}

impl<V> Inner<V> {
    fn new(home: Arc<Home>, definition: Arc<Definition<V>>) -> Self {
        let tiers = Arc::clone(&home.tiers);
        Self {
            shelf: Arc::clone(&tiers.shelf),
            scope: Arc::clone(&definition.place.scope),
            definition,
            tiers,
            home,
        }
    }
}

/// What a cache is, whoever holds it: all handles of a name and type share one.
struct Definition<V> {
    place: Place,
    defaults: Defaults,
    weigher: Option<Weigher<V>>,
    /// How its values are written and read.
    form: Arc<Form<V>>,
    /// That a stored value of this type can be read back.
    proof: Proof,
    /// Its entries lie in memory alone and have nothing by default that few entries have.
    is_plain: bool,
    /// How its values are loaded where a call brings no loader.
    registered: Arc<Registry<V>>,
}

impl<V: Value> Definition<V> {
    fn new(
        place: Place,
        defaults: Defaults,
        form: Arc<Form<V>>,
        weigher: Option<Weigher<V>>,
        tiers: &Tiers,
    ) -> Self {
        let has_more = defaults.idle.is_some()
            || defaults.stale_for > Duration::ZERO
            || defaults.suppress_unchanged;
        Self {
            is_plain: place.memory && place.tiers.is_empty() && !has_more && !tiers.config.disabled,
            registered: Registry::of(tiers, place.scope.id),
            place,
            defaults,
            form,
            weigher,
            proof: Proof::default(),
        }
    }
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
    /// What handles of another type write with; none for a codec of the host's own.
    pub codec: Option<BuiltIn>,
    pub compression: Option<Compression>,
    pub compress_bytes_min: usize,
    /// Its values are secrets.
    pub is_secret: bool,
    /// Memory keeps them decoded.
    pub keeps_decoded: Option<bool>,
    /// Watchers are shown values.
    pub shows_values: Option<bool>,
    pub suppress_unchanged: bool,
    pub source: Option<LoadSource>,
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
            Err(_) => {
                let defaults = match opened.defaults.downcast::<Defaults>() {
                    Ok(defaults) => (*defaults).clone(),
                    Err(_) => return CacheBuilder::new(home, name).open(),
                };
                let coder = Coder::beside(defaults.codec);
                let form = defaults.form(opened.place.schema, coder, None, &home.tiers);
                let place = Place {
                    kind: Some(form.kind()),
                    ..opened.place
                };
                Arc::new(Definition::new(place, defaults, form, None, &home.tiers))
            }
        };
        let inner = Arc::new(Inner::new(home, definition));
        Ok(Self { inner })
    }

    /// The cache's name.
    pub fn name(&self) -> &str {
        &self.inner.definition.place.scope.name
    }

    fn tiers(&self) -> &Tiers {
        &self.inner.tiers
    }

    fn form(&self) -> &Arc<Form<V>> {
        &self.inner.definition.form
    }

    fn place(&self) -> &Place {
        &self.inner.definition.place
    }

    /// Whether its entries lie in memory alone and have nothing by default that few entries have.
    fn is_plain(&self) -> bool {
        self.inner.definition.is_plain
    }

    fn check_key(&self, key: &str) -> Result<(), Error> {
        self.tiers().check_key(key)
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
