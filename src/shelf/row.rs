//! How the table keeps a slot: what a hit looks at in one cache line, the rest beside it.
//!
//! What few slots have is out of line. A row knows nothing of queues but where it stands.

mod facts;
mod flags;

use smol_str::SmolStr;

use super::look::Look;
use super::plain::{Fresh, Plain};
use super::policy::{FREQ_MAX, Queue};
use super::slot::{Body, Extra, Priority, Shared, Slot};
use crate::clock::Millis;
use crate::key::{CacheId, Key, is_same};
use crate::sync::{Arc, HintU8, Ordering};
use crate::version::Version;
use facts::Facts;
use flags::Flags;

/// Stands for a number that does not fit: it is in [`Rare`].
const TOO_LARGE: u8 = u8::MAX;

/// What a hit looks at: one cache line.
#[repr(C, align(64))]
pub(super) struct Hot {
    name: SmolStr,
    cache: CacheId,
    freq: HintU8,
    flags: Flags,
    /// The schema number, if it is small.
    schema: u8,
    /// How many milliseconds before its version's time the value was set, if they are few.
    age_ms: u8,
    version: Version,
    expires_ms: Millis,
    body: Body,
}

const _: () = assert!(size_of::<Hot>() == 64, "one cache line");

/// What a hit does not look at.
pub(super) struct Cold {
    /// Bytes that the value counts for.
    weight: u32,
    /// Tells what stands here from what stood here before.
    pub seq: u32,
    rare: Option<Box<Rare>>,
}

/// What few slots have.
struct Rare {
    extra: Option<Arc<Extra>>,
    created_ms: Millis,
    schema: u32,
}

/// One row of the table.
#[derive(Clone, Copy)]
pub(super) struct Row<'a> {
    pub hot: &'a Hot,
    pub cold: &'a Cold,
}

impl<'a> Row<'a> {
    /// The slot in it.
    #[inline]
    pub fn look(self) -> Look<'a> {
        let Self { hot, cold } = self;
        let rare = match hot.flags.has(Flags::HAS_RARE) {
            true => cold.rare.as_deref(),
            false => None,
        };
        Look {
            version: hot.version,
            expires_ms: hot.expires_ms,
            created_ms: match (hot.age_ms, rare) {
                (TOO_LARGE, Some(rare)) => rare.created_ms,
                (age_ms, _) => hot.version.millis().saturating_sub(age_ms.into()),
            },
            body: &hot.body,
            extra: rare.and_then(|rare| rare.extra.as_ref()),
            weight: cold.weight,
            schema: match (hot.schema, rare) {
                (TOO_LARGE, Some(rare)) => rare.schema,
                (schema, _) => schema.into(),
            },
            priority: hot.priority(),
            announced: hot.flags.has(Flags::ANNOUNCED),
        }
    }

    /// Bytes that its value and tags count for.
    pub fn bytes(self) -> usize {
        let extra = self.look().extra;
        self.cold.weight as usize + extra.map_or(0, |extra| extra.tag_bytes())
    }
}

/// The number, if it can stand in a byte.
#[inline]
fn small(n: Option<u64>) -> Option<u8> {
    let n = u8::try_from(n?).ok()?;
    (n < TOO_LARGE).then_some(n)
}

impl Hot {
    /// A row that nothing has stood in before.
    pub fn new(cache: CacheId, name: &str, slot: Slot, queue: Queue) -> (Self, Cold) {
        let (facts, body) = Facts::of(slot);
        let mut hot = Self {
            name: SmolStr::new(name),
            cache,
            freq: HintU8::new(0),
            flags: Flags(0),
            schema: 0,
            age_ms: 0,
            version: facts.version,
            expires_ms: facts.expires_ms,
            body,
        };
        let mut cold = Cold {
            weight: 0,
            seq: 0,
            rare: None,
        };
        hot.describe(&mut cold, facts);
        hot.stand(queue);
        (hot, cold)
    }

    /// Another entry in a free row. Returns what kept the place of its value.
    pub fn fill(
        &mut self,
        cold: &mut Cold,
        (cache, name): (CacheId, &str),
        slot: Slot,
        queue: Queue,
    ) -> Body {
        let (facts, body) = Facts::of(slot);
        (self.cache, self.name) = (cache, SmolStr::new(name));
        self.flags = Flags(0);
        self.set_freq(0);
        self.describe(cold, facts);
        self.stand(queue);
        std::mem::replace(&mut self.body, body)
    }

    /// Another slot of the same entry. Returns the one before.
    pub fn exchange(&mut self, cold: &mut Cold, slot: Slot) -> Slot {
        let (facts, body) = Facts::of(slot);
        let old = self.take_facts(cold);
        self.describe(cold, facts);
        old.with(std::mem::replace(&mut self.body, body))
    }

    /// Frees the row; `blank` keeps the place of its value. Returns what stood in it.
    pub fn free(&mut self, cold: &mut Cold, blank: Body) -> (Key, Slot) {
        let old = self.take_facts(cold);
        self.flags = Flags(Flags::FREE);
        cold.seq = cold.seq.wrapping_add(1);
        let key = Key {
            cache: self.cache,
            name: std::mem::take(&mut self.name),
        };
        (key, old.with(std::mem::replace(&mut self.body, blank)))
    }

    fn take_facts(&mut self, cold: &mut Cold) -> Facts {
        let look = Row { hot: self, cold }.look();
        let facts = Facts {
            version: look.version,
            created_ms: look.created_ms,
            expires_ms: look.expires_ms,
            extra: None,
            weight: look.weight,
            schema: look.schema,
            priority: look.priority,
            announced: look.announced,
        };
        let extra = cold.rare.take().and_then(|rare| rare.extra);
        Facts { extra, ..facts }
    }

    fn describe(&mut self, cold: &mut Cold, facts: Facts) {
        let age_ms = facts.version.millis().checked_sub(facts.created_ms);
        self.age_ms = small(age_ms).unwrap_or(TOO_LARGE);
        self.schema = small(Some(facts.schema.into())).unwrap_or(TOO_LARGE);
        (self.version, self.expires_ms) = (facts.version, facts.expires_ms);
        let is_rare = facts.extra.is_some() || self.age_ms == TOO_LARGE || self.schema == TOO_LARGE;
        cold.weight = facts.weight;
        cold.rare = is_rare.then(|| {
            Box::new(Rare {
                extra: facts.extra,
                created_ms: facts.created_ms,
                schema: facts.schema,
            })
        });
        let flag = |is: bool, flag| if is { flag } else { 0 };
        self.flags.set(
            Flags::PRIORITY | Flags::ANNOUNCED | Flags::HAS_RARE,
            facts.priority.to_byte()
                | flag(facts.announced, Flags::ANNOUNCED)
                | flag(is_rare, Flags::HAS_RARE),
        );
    }

    /// What a read shows of it, if all of that stands here and the value is of this schema.
    #[inline]
    pub fn plain(&self, schema: u32) -> Option<Plain> {
        if self.flags.has(Flags::HAS_RARE) || u32::from(self.schema) != schema {
            return None;
        }
        let age_ms = Millis::from(self.age_ms);
        Some(Plain {
            version: self.version,
            created_ms: self.version.millis().saturating_sub(age_ms),
            expires_ms: self.expires_ms,
            read_ms: 0,
        })
    }

    /// Its value.
    #[inline]
    pub fn body(&self) -> &Body {
        &self.body
    }

    /// Bytes that its value counts for, if it has nothing that few have and is not pinned.
    #[inline]
    pub fn plain_weight(&self, cold: &Cold) -> Option<u32> {
        let is_plain = !self.flags.has(Flags::HAS_RARE) && self.queue() != Queue::None;
        is_plain.then_some(cold.weight)
    }

    /// Puts a plain value in place of another one; gives it back if it is none. Returns what was there.
    #[inline]
    pub fn overwrite(
        &mut self,
        cold: &mut Cold,
        version: Version,
        value: Shared,
        fresh: &Fresh,
    ) -> Result<Body, Shared> {
        let age_ms = version.millis().checked_sub(fresh.created_ms);
        let (Some(age_ms), Some(schema)) = (small(age_ms), small(Some(fresh.schema.into()))) else {
            return Err(value);
        };
        (self.version, self.expires_ms) = (version, fresh.expires_ms);
        (self.age_ms, self.schema) = (age_ms, schema);
        let mask = Flags::PRIORITY | Flags::ANNOUNCED;
        self.flags.set(mask, fresh.priority.to_byte());
        cold.weight = fresh.weight;
        self.touch();
        Ok(std::mem::replace(&mut self.body, Body::Decoded(value)))
    }

    /// Whether it is this entry's.
    #[inline]
    pub fn is(&self, cache: CacheId, name: &str) -> bool {
        self.cache == cache && is_same(&self.name, name)
    }

    /// The cache of the entry in it.
    pub fn cache(&self) -> CacheId {
        self.cache
    }

    /// The key of the entry in it.
    pub fn name(&self) -> &SmolStr {
        &self.name
    }

    /// Nothing stands in it.
    pub fn is_free(&self) -> bool {
        self.flags.has(Flags::FREE)
    }

    /// How long the entry should outlast others.
    pub fn priority(&self) -> Priority {
        Priority::from_byte(self.flags.0 & Flags::PRIORITY)
    }

    /// Until when the slot in it is fresh.
    pub fn expires_ms(&self) -> Millis {
        self.expires_ms
    }

    /// The version of the slot in it.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Replaces the form of its value, which is of this schema then.
    pub fn recast(&mut self, cold: &mut Cold, schema: u32, body: Body) -> Body {
        let facts = self.take_facts(cold);
        self.describe(cold, Facts { schema, ..facts });
        std::mem::replace(&mut self.body, body)
    }

    /// Its `Expired` event has been sent.
    pub fn set_announced(&mut self) {
        self.flags.set(Flags::ANNOUNCED, Flags::ANNOUNCED);
    }

    /// Which queue it stands in.
    pub fn queue(&self) -> Queue {
        match self.flags.0 & Flags::QUEUE {
            0 => Queue::Small,
            0b100 => Queue::Main,
            _ => Queue::None,
        }
    }

    /// It stands in this queue from now on.
    pub fn stand(&mut self, queue: Queue) {
        let bits = match queue {
            Queue::Small => 0,
            Queue::Main => 0b100,
            Queue::None => 0b1000,
        };
        self.flags.set(Flags::QUEUE, bits);
    }

    /// Counts a read. Needs no exclusive access.
    #[inline]
    pub fn touch(&self) {
        let freq = self.freq.load(Ordering::Relaxed);
        // A store only while it changes something, so that hot entries stay shared between cores.
        if freq < FREQ_MAX {
            self.freq.store(freq + 1, Ordering::Relaxed);
        }
    }

    /// How often it was read.
    pub fn freq(&self) -> u8 {
        self.freq.load(Ordering::Relaxed)
    }

    /// It counts as read so often.
    pub fn set_freq(&mut self, freq: u8) {
        self.freq.store(freq, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
