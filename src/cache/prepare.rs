//! What a value needs before it can be set: measured, encoded where a tier will store it, with its times.
//! On the caller's thread, before any lock.

use std::sync::Arc;
use std::time::Duration;

use super::Cache;
use crate::clock::{Millis, NEVER, millis};
use crate::codec::Value;
use crate::error::Error;
use crate::fetch::is_reserved;
use crate::shelf::{Draft, Extra, Fresh, Priority};
use crate::tiers::Counts;

/// Times and labels of an entry that is being set.
#[derive(Clone, Default)]
pub(crate) struct EntryOptions {
    pub ttl: Option<Option<Duration>>,
    pub ttl_jitter: Option<f64>,
    pub idle: Option<Option<Duration>>,
    pub stale_for: Option<Duration>,
    pub priority: Option<Priority>,
    pub tags: Vec<smol_str::SmolStr>,
    /// The tag that is none of the host's.
    pub validator: Option<smol_str::SmolStr>,
}

impl EntryOptions {
    /// The host's tags and the one that is not.
    pub fn all_tags(&self) -> impl Iterator<Item = smol_str::SmolStr> {
        self.tags.iter().chain(&self.validator).cloned()
    }
}

/// All of it is left to the cache.
pub(super) static PLAIN: EntryOptions = EntryOptions {
    ttl: None,
    ttl_jitter: None,
    idle: None,
    stale_for: None,
    priority: None,
    tags: Vec::new(),
    validator: None,
};

impl<V: Value> Cache<V> {
    /// Encodes and measures a value on the caller's thread, before any lock.
    pub(super) fn prepare(
        &self,
        value: Arc<V>,
        options: &EntryOptions,
        now_ms: Millis,
    ) -> Result<Draft, Error> {
        let (inner, tiers) = (&*self.inner.definition, self.tiers());
        let defaults = &inner.defaults;
        let idle_ms = idle_ms(options.idle.unwrap_or(defaults.idle))?;
        let ttl = options.ttl.unwrap_or(defaults.ttl);
        let jitter = options.ttl_jitter.unwrap_or(defaults.ttl_jitter);
        let ends_ms = deadline("ttl", now_ms, ttl, jitter)?;
        let mut expires_ms = ends_ms;
        if idle_ms > 0 {
            expires_ms = expires_ms.min(now_ms + Millis::from(idle_ms));
        }
        let stale_for = options.stale_for.unwrap_or(defaults.stale_for);
        let keep_ms = expires_ms.saturating_add(millis(stale_for));
        self.check_tags(&options.tags)?;
        let is_stored = !inner.place.tiers.is_empty();
        let needs_bytes = is_stored || defaults.suppress_unchanged || !inner.form.keeps_decoded;
        let count = |error: Error| {
            Counts::add(&tiers.counts.encode_errors);
            error
        };
        let write = || {
            let plain = inner.form.plain(&value)?;
            if is_stored {
                inner.proof.check(&inner.form.coder, &plain)?;
            }
            Ok(plain)
        };
        let plain = needs_bytes.then(write).transpose().map_err(count)?;
        let weight = match (&inner.weigher, &plain) {
            (None, Some(plain)) => u32::try_from(plain.len()).unwrap_or(u32::MAX),
            _ => self.weight(&value)?,
        };
        let fingerprint = match &plain {
            Some(plain) if defaults.suppress_unchanged => fingerprint(plain),
            _ => 0,
        };
        let encoded = plain.map(|plain| match is_stored {
            true => inner.form.packed(plain),
            false => inner.form.unpacked(plain),
        });
        let is_plain = options.tags.is_empty()
            && options.validator.is_none()
            && idle_ms == 0
            && keep_ms == expires_ms
            && fingerprint == 0;
        Ok(Draft {
            body: inner.form.kept(value, encoded.as_ref()),
            encoded,
            weight,
            created_ms: now_ms,
            expires_ms,
            extra: (!is_plain).then(|| {
                Arc::new(Extra {
                    keep_ms,
                    idle_ms,
                    ends_ms,
                    fingerprint,
                    skipped: crate::shelf::TierSet::NONE,
                    tags: options.all_tags().collect(),
                })
            }),
            schema: inner.place.schema,
            priority: options.priority.unwrap_or(defaults.priority),
        })
    }

    /// What a set says that leaves everything to a plain cache.
    #[inline]
    pub(super) fn fresh(&self, value: &V, now_ms: Millis) -> Result<Fresh, Error> {
        let inner = &*self.inner.definition;
        let defaults = &inner.defaults;
        let expires_ms = match defaults.ttl {
            None => NEVER,
            ttl => deadline("ttl", now_ms, ttl, defaults.ttl_jitter)?,
        };
        Ok(Fresh {
            created_ms: now_ms,
            expires_ms,
            weight: self.weight(value)?,
            schema: inner.place.schema,
            priority: defaults.priority,
        })
    }

    /// Bytes that a value without an encoded form counts for.
    fn weight(&self, value: &V) -> Result<u32, Error> {
        let (inner, tiers) = (&*self.inner.definition, self.tiers());
        let limit = tiers.config.limits.value_bytes_max;
        let weight = match &inner.weigher {
            Some(weigh) => weigh(value),
            None => match inner.form.coder.encoded_len(value, limit) {
                Ok(len) => len,
                Err(error) => {
                    Counts::add(&tiers.counts.encode_errors);
                    return Err(error);
                }
            },
        };
        Ok(u32::try_from(weight).unwrap_or(u32::MAX))
    }

    pub(super) fn check_tags(&self, tags: &[smol_str::SmolStr]) -> Result<(), Error> {
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

    pub(super) fn check_tag(&self, tag: &str) -> Result<(), Error> {
        let limit = self.tiers().config.limits.tag_bytes_max;
        if tag.is_empty() {
            return Err(Error::Invalid {
                field: "tag",
                reason: format!("is empty, allowed are 1 to {limit} bytes"),
            });
        }
        if is_reserved(tag) {
            return Err(Error::Invalid {
                field: "tag",
                reason: "begins with a zero byte and a v, which no host's tag may".into(),
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
}

/// When something ends that lasts `time` from now.
pub(super) fn deadline(
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

/// A sliding expiry in milliseconds; 0 for none.
pub(super) fn idle_ms(idle: Option<Duration>) -> Result<u32, Error> {
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
