//! What a loader is given and what it answers.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use smol_str::SmolStr;

use super::GRACE;
use super::attempts::Attempt;
use super::budget::Budget;
use super::validator::{among, to_tag};
use crate::clock::Clock;
use crate::entry::Entry;
use crate::wait::Timer;

/// What a loader answers. `Ok(value)` is one; whoever found out more says it:
///
/// ```
/// use larder::fetch::Loaded;
/// use std::time::Duration;
///
/// let found: Loaded<u64> = 7.into();
/// let short = Loaded::value(7_u64).ttl(Duration::from_secs(5)).tag("odd");
/// let nobody = Loaded::<u64>::missing();
/// # let _ = (found, short, nobody);
/// ```
pub struct Loaded<V> {
    pub(crate) what: What<V>,
    pub(crate) ttl: Option<Option<Duration>>,
    pub(crate) tags: Vec<SmolStr>,
    pub(crate) keeps: bool,
    pub(crate) validator: Option<SmolStr>,
}

pub(crate) enum What<V> {
    Value(Arc<V>),
    NotModified,
    Missing,
}

impl<V> Loaded<V> {
    fn new(what: What<V>) -> Self {
        Self {
            what,
            ttl: None,
            tags: Vec::new(),
            keeps: true,
            validator: None,
        }
    }

    /// This value.
    pub fn value(value: impl Into<Arc<V>>) -> Self {
        Self::new(What::Value(value.into()))
    }

    /// The value that is there already ([`LoadContext::stale`]) is still right: it gets a new TTL, and keeps its
    /// tags and its priority.
    pub fn not_modified() -> Self {
        Self::new(What::NotModified)
    }

    /// The source has none. What larder knew of the key, or could not look up, is removed.
    pub fn missing() -> Self {
        Self::new(What::Missing)
    }

    /// Its TTL, whatever the call says.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(Some(ttl));
        self
    }

    /// It does not expire by age, whatever the call says.
    #[must_use]
    pub fn no_ttl(mut self) -> Self {
        self.ttl = Some(None);
        self
    }

    /// One more name under which it can be invalidated.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<SmolStr>) -> Self {
        self.tags.push(tag.into());
        self
    }

    /// What the source tells this version of the value by: an ETag, a date, any bytes up to
    /// [`VALIDATOR_BYTES_MAX`](super::VALIDATOR_BYTES_MAX) (longer ones are not kept). It is kept with the value, in every tier, and
    /// the next load has it in [`LoadContext::validator`], to ask only for what is newer and answer
    /// [`Loaded::not_modified`].
    ///
    /// ```
    /// # use larder::{LoadContext, Loaded};
    /// # struct Response { status: u16, etag: String, body: String }
    /// # async fn get(_: &str, if_none_match: Option<&str>) -> std::io::Result<Response> {
    /// #   Ok(Response { status: 200, etag: "7".into(), body: "Ada".into() }) }
    /// async fn load(cx: LoadContext<String>) -> std::io::Result<Loaded<String>> {
    ///     let response = get(cx.key(), cx.validator_text()).await?;
    ///     Ok(match response.status {
    ///         304 => Loaded::not_modified(),
    ///         _ => Loaded::value(response.body).validator(response.etag),
    ///     })
    /// }
    /// ```
    #[must_use]
    pub fn validator(mut self, validator: impl AsRef<[u8]>) -> Self {
        self.validator = to_tag(validator.as_ref());
        self
    }

    /// Only those who wait get it: nothing is stored, and what is there already is removed, as it is older.
    #[must_use]
    pub fn do_not_store(mut self) -> Self {
        self.keeps = false;
        self
    }
}

/// As [`Loaded::value`].
impl<V> From<V> for Loaded<V> {
    fn from(value: V) -> Self {
        Self::value(value)
    }
}

/// As [`Loaded::value`].
impl<V> From<Arc<V>> for Loaded<V> {
    fn from(value: Arc<V>) -> Self {
        Self::value(value)
    }
}

/// As [`Loaded::value`], or [`Loaded::missing`].
impl<V> From<Option<V>> for Loaded<V> {
    fn from(value: Option<V>) -> Self {
        value.map_or_else(Self::missing, Self::value)
    }
}

/// Shows what it is about, never the value.
impl<V> fmt::Debug for Loaded<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.what {
            What::Value(_) => "Loaded::Value",
            What::NotModified => "Loaded::NotModified",
            What::Missing => "Loaded::Missing",
        })
    }
}

/// The value that is there already, and what its source tells its version by.
pub(crate) struct Stale<V> {
    pub entry: Option<Entry<V>>,
    pub validator: Option<Arc<[u8]>>,
}

impl<V> Stale<V> {
    /// What an entry with these tags has.
    pub fn of(there: Option<(Entry<V>, &[SmolStr])>) -> Self {
        let validator = there.as_ref().and_then(|(_, tags)| among(tags));
        Self {
            entry: there.map(|(entry, _)| entry),
            validator: validator.map(Arc::from),
        }
    }
}

impl<V> Clone for Stale<V> {
    fn clone(&self) -> Self {
        Self {
            entry: self.entry.clone(),
            validator: self.validator.clone(),
        }
    }
}

/// What a loader is given. Dropping the loader's future is the signal that nobody waits any more.
pub struct LoadContext<V> {
    pub(crate) key: SmolStr,
    pub(crate) stale: Option<Entry<V>>,
    pub(crate) validator: Option<Arc<[u8]>>,
    pub(crate) attempt: u32,
    pub(crate) until: Instant,
    pub(crate) idempotency_key: SmolStr,
    pub(crate) timer: Timer,
}

impl<V> LoadContext<V> {
    pub(crate) fn new(attempt: Attempt, key: SmolStr, stale: Stale<V>, timer: &Timer) -> Self {
        Self {
            key,
            stale: stale.entry,
            validator: stale.validator,
            attempt: attempt.number,
            until: attempt.until,
            idempotency_key: attempt.idempotency_key,
            timer: timer.clone(),
        }
    }

    /// The key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The value that is there already, which mostly has expired: to ask the source for what changed since, or to
    /// answer [`Loaded::not_modified`].
    pub fn stale(&self) -> Option<&Entry<V>> {
        self.stale.as_ref()
    }

    /// What the source tells the version of that value by, if a load has said so ([`Loaded::validator`]).
    pub fn validator(&self) -> Option<&[u8]> {
        self.validator.as_deref()
    }

    /// The same, if it is text.
    pub fn validator_text(&self) -> Option<&str> {
        std::str::from_utf8(self.validator()?).ok()
    }

    /// Which attempt this is; the first is 1.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// How much time is left before the last who waits has to have an answer. It may become more, when others
    /// come.
    pub fn left(&self) -> Duration {
        let grace = Clock::instant() + GRACE;
        self.until.saturating_duration_since(grace)
    }

    /// The same as time that each part of the load takes its share of: connecting, each read, a request that the
    /// answer leads to.
    pub fn budget(&self) -> Budget {
        // Who waits is told in time, so the load has less than it will be given.
        let until = Clock::instant() + self.left();
        Budget::until(self.timer.clone(), until)
    }

    /// The same over all attempts of one load, and of no other: for sources that make a request only once.
    pub fn idempotency_key(&self) -> &str {
        &self.idempotency_key
    }
}

impl<V> Clone for LoadContext<V> {
    fn clone(&self) -> Self {
        Self {
            key: self.key.clone(),
            stale: self.stale.clone(),
            validator: self.validator.clone(),
            attempt: self.attempt,
            until: self.until,
            idempotency_key: self.idempotency_key.clone(),
            timer: self.timer.clone(),
        }
    }
}

impl<V> fmt::Debug for LoadContext<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadContext")
            .field("stale", &self.stale)
            .field("attempt", &self.attempt)
            .field("left", &self.left())
            .finish_non_exhaustive()
    }
}
