//! Opening a cache with defaults of its own.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use super::{Cache, Defaults, Definition, Inner, MEMORY, Weigher};
use crate::clock::Millis;
use crate::codec::{BuiltIn, COMPRESS_BYTES_MIN, Coder, Compression, Value};
use crate::config::refuse;
use crate::error::Error;
use crate::fetch::LoadSource;
use crate::gate::{Admission, Standing};
use crate::shelf::{Priority, TierSet};
use crate::tiers::{Home, Opened, Place, Tiers, name_problems};
use crate::typed::Migrate;

/// How long `expire` keeps a value as a fallback where nothing is said: a day.
pub const EXPIRED_KEEP: Duration = Duration::from_secs(86_400);

/// The largest share of a TTL that jitter may take off.
const JITTER_MAX: f64 = 0.9;

/// A cache that is about to be opened. The precedence is: larder's default, this, the call.
///
/// ```
/// # use std::time::Duration;
/// # #[tokio::main] async fn main() -> Result<(), larder::Error> {
/// # let larder = larder::Larder::builder().start().await?;
/// let sessions = larder
///     .cache_builder::<String>("sessions")
///     .ttl(Duration::from_secs(600))
///     .ttl_jitter(0.1)
///     .schema(2)
///     .open()?;
/// # larder.shutdown(Duration::from_secs(5)).await }
/// ```
#[must_use = "a cache is opened by `open`"]
pub struct CacheBuilder<V> {
    pub(super) home: Arc<Home>,
    pub(super) name: String,
    pub(super) defaults: Defaults,
    schema: u32,
    pub(super) coder: Coder<V>,
    pub(super) migrate: Option<Migrate<V>>,
    pub(super) drivers: Option<Vec<String>>,
    weigher: Option<Weigher<V>>,
    admission: Option<Admission>,
    _value: PhantomData<V>,
}

impl<V: Value> CacheBuilder<V> {
    pub(crate) fn new(home: Arc<Home>, name: &str) -> Self {
        Self {
            home,
            name: name.to_owned(),
            defaults: Defaults {
                ttl: None,
                ttl_jitter: 0.0,
                idle: None,
                stale_for: Duration::ZERO,
                expired_keep: EXPIRED_KEEP,
                priority: Priority::Normal,
                codec: None,
                compression: None,
                compress_bytes_min: COMPRESS_BYTES_MIN,
                is_secret: false,
                keeps_decoded: None,
                shows_values: None,
                suppress_unchanged: false,
                source: None,
            },
            schema: 0,
            coder: Coder::BuiltIn(BuiltIn::Bincode),
            migrate: None,
            drivers: None,
            weigher: None,
            admission: None,
            _value: PhantomData,
        }
    }

    /// Entries expire so long after they are set (at least 1 ms). Default: never.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.defaults.ttl = Some(ttl);
        self
    }

    /// Takes a random share of up to this much off each TTL (0.0 to 0.9), so that entries that were
    /// set together do not expire together. Default: 0.
    pub fn ttl_jitter(mut self, share: f64) -> Self {
        self.defaults.ttl_jitter = share;
        self
    }

    /// Entries expire so long after they were last read (1 ms to 49 days, and no longer than
    /// [`ttl`](CacheBuilder::ttl)). Default: never.
    pub fn idle(mut self, idle: Duration) -> Self {
        self.defaults.idle = Some(idle);
        self
    }

    /// Values are kept so long beyond their TTL, for calls that allow stale ones. Default: not.
    pub fn stale_for(mut self, stale_for: Duration) -> Self {
        self.defaults.stale_for = stale_for;
        self
    }

    /// How long `expire` keeps values as a fallback. Default: [`EXPIRED_KEEP`].
    pub fn expired_keep(mut self, keep: Duration) -> Self {
        self.defaults.expired_keep = keep;
        self
    }

    /// The priority of entries. Default: [`Priority::Normal`].
    pub fn priority(mut self, priority: Priority) -> Self {
        self.defaults.priority = priority;
        self
    }

    /// What becomes of a call that meets a bound. Default: that of the larder.
    pub fn admission(mut self, admission: Admission) -> Self {
        self.admission = Some(admission);
        self
    }

    /// The number of the value's layout. A stored value of another number is a miss and is replaced
    /// by the next set, but for what [`migrate`](CacheBuilder::migrate) takes. Raise it when `V` changes. Default: 0.
    pub fn schema(mut self, schema: u32) -> Self {
        self.schema = schema;
        self
    }

    /// Keeps entries in these drivers only, each named once; `"memory"` is one. Default: memory and all
    /// others. A cache with no driver but memory takes values that no store could give back.
    pub fn drivers<I: IntoIterator<Item: Into<String>>>(mut self, names: I) -> Self {
        self.drivers = Some(names.into_iter().map(Into::into).collect());
        self
    }

    /// How many bytes of memory a value counts for. Default: as many as its encoded form has.
    pub fn weigher(mut self, weigh: impl Fn(&V) -> usize + Send + Sync + 'static) -> Self {
        self.weigher = Some(Arc::new(weigh));
        self
    }

    /// Sends no event for an update that leaves the value's bytes as they were. It is stored all the
    /// same, with a new version. Default: every update is an event.
    pub fn suppress_unchanged(mut self) -> Self {
        self.defaults.suppress_unchanged = true;
        self
    }

    /// Where its values are loaded from, for each fetch that says nothing else. Default: nowhere in particular.
    pub fn source(mut self, source: &LoadSource) -> Self {
        self.defaults.source = Some(source.clone());
        self
    }

    /// Opens the cache.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] with every problem; [`Error::Overloaded`] beyond `caches_max`;
    /// [`Error::Closed`].
    pub fn open(mut self) -> Result<Cache<V>, Error> {
        self.defaults.codec = self.coder.built_in();
        let tiers = &self.home.tiers;
        tiers.check_open()?;
        let mut problems = name_problems(&self.name, tiers.config.limits.cache_name_bytes_max);
        let (memory, below) = self.tiers_of(&mut problems);
        self.defaults.is_secret = self.is_secret(below);
        problems.extend(self.defaults.problems(tiers.now_ms()));
        problems.extend(self.coder.problem());
        // Two handles that store in different places would leave each other's older copies behind, and the one
        // that was opened last would say how the values of both are kept and shown.
        let (name, is_secret) = (self.name.clone(), self.defaults.is_secret);
        let is_disabled = tiers.config.disabled;
        let differs = move |opened: &Opened| {
            let has_secrecy = opened.is_secret == is_secret || is_disabled;
            let other = (!has_secrecy).then(|| other_secrecy(&name, is_secret));
            let is_there = (opened.place.memory, opened.place.tiers) == (memory, below);
            let elsewhere = (!is_there).then(|| other_drivers(&name));
            other.into_iter().chain(elsewhere)
        };
        let opened = tiers.definitions.read().get(&*self.name).cloned();
        problems.extend(opened.iter().flat_map(&differs));
        refuse(problems)?;
        tiers.check_cache(&self.name)?;
        let scope = tiers.shelf.scope(&self.name);
        let form = self
            .defaults
            .form(self.schema, self.coder, self.migrate, tiers);
        let place = Place {
            scope,
            memory,
            tiers: below,
            schema: self.schema,
            kind: Some(form.kind()),
            standing: Standing {
                admission: self.admission.unwrap_or(tiers.config.admission),
                is_low: self.defaults.priority == Priority::Low,
            },
        };
        let defaults = self.defaults.clone();
        let (place_of, weigher) = (place.clone(), self.weigher);
        let definition = Definition::new(place_of, defaults, Arc::clone(&form), weigher, tiers);
        let definition = Arc::new(definition);
        // Messages, and handles that are opened without settings, follow the one opened last.
        let opened = Opened {
            encode: Arc::new(move |slot| form.bytes(slot).ok()),
            place,
            is_secret: self.defaults.is_secret,
            defaults: Arc::new(self.defaults),
            definition: Arc::clone(&definition) as _,
        };
        let mut definitions = tiers.definitions.write();
        // Once more: another thread may have opened it since.
        let opened_since = definitions.get(&*self.name);
        refuse(opened_since.into_iter().flat_map(differs).collect())?;
        definitions.insert(self.name.into(), opened);
        drop(definitions);
        let home = Arc::clone(&self.home);
        Ok(Cache {
            inner: Arc::new(Inner::new(home, definition)),
        })
    }

    fn tiers_of(&self, problems: &mut Vec<String>) -> (bool, TierSet) {
        let tiers = &self.home.tiers;
        let ports = || tiers.ports.iter().map(|port| port.id);
        let all = ports().fold(TierSet::NONE, TierSet::with);
        let Some(names) = &self.drivers else {
            let below = all.minus(tiers.secure());
            problems.extend(self.plain_text(below));
            return (true, below);
        };
        if tiers.config.disabled {
            // A host that turns caching off need not touch what it says about drivers.
            return (true, TierSet::NONE);
        }
        let (mut memory, mut below) = (false, TierSet::NONE);
        for (at, name) in names.iter().enumerate() {
            if names.iter().take(at).any(|other| other == name) {
                problems.push(format!("drivers names {name:?} twice"));
            }
            match tiers.tier_named(name) {
                Some(tier) => below = below.with(tier),
                None if name == MEMORY => memory = true,
                None => problems.push(format!(
                    "drivers names {name:?}, which this larder does not have; it has {:?}",
                    tier_names(tiers, true, all)
                )),
            }
        }
        if names.is_empty() {
            problems.push("drivers is empty, at least one is needed".into());
        }
        problems.extend(self.plain_text(below));
        (memory, below)
    }

    /// Whether its values are secrets: so it was said, or they go into the secure driver.
    fn is_secret(&self, below: TierSet) -> bool {
        let secure = self.home.tiers.secure();
        self.defaults.is_secret || below.minus(secure) != below
    }

    /// What is wrong with tiers that would keep secrets in plain text.
    fn plain_text(&self, below: TierSet) -> Option<String> {
        let tiers = &self.home.tiers;
        let plain = below.minus(tiers.sealed);
        (self.is_secret(below) && !plain.is_empty()).then(|| {
            format!(
                "drivers of a secure cache include {:?}, which would keep its values in plain text",
                tier_names(tiers, false, plain)
            )
        })
    }
}

/// The names of tiers, memory's first.
pub(super) fn tier_names(tiers: &Tiers, memory: bool, below: TierSet) -> Vec<&str> {
    let ports = tiers.ports.iter().filter(|port| below.has(port.id));
    let memory = memory.then_some(MEMORY);
    memory
        .into_iter()
        .chain(ports.map(|port| &*port.name))
        .collect()
}

impl Defaults {
    /// Every problem, each with the field, its value and the range.
    fn problems(&self, now_ms: Millis) -> Vec<String> {
        let mut problems = Vec::new();
        let times = [
            super::deadline("ttl", now_ms, self.ttl, 0.0).map(drop),
            super::idle_ms(self.idle).map(drop),
        ];
        for time in times {
            if let Err(Error::Invalid { field, reason }) = time {
                problems.push(format!("{field} {reason}"));
            }
        }
        if let (Some(ttl), Some(idle)) = (self.ttl, self.idle)
            && idle > ttl
        {
            problems.push(format!(
                "idle is {idle:?} and ttl is {ttl:?}: entries end before they could be idle for so long; allowed is up to the ttl"
            ));
        }
        if let Err(reason) = check_jitter(self.ttl_jitter) {
            problems.push(format!("ttl_jitter {reason}"));
        }
        problems.extend(self.compression.and_then(Compression::problem));
        problems
    }
}

fn other_drivers(cache: &str) -> String {
    format!("cache {cache:?} is open with other drivers")
}

pub(super) fn other_secrecy(cache: &str, is_secret: bool) -> String {
    match is_secret {
        true => format!("cache {cache:?} is open, and not as a secure one"),
        false => format!("cache {cache:?} is open as a secure one"),
    }
}

/// What is wrong with a share that jitter may take off.
pub(super) fn check_jitter(share: f64) -> Result<(), String> {
    match (0.0..=JITTER_MAX).contains(&share) {
        true => Ok(()),
        false => Err(format!(
            "is {share}, a share of the ttl; allowed is 0.0 to {JITTER_MAX}"
        )),
    }
}
