//! What the commit lane takes from: what is dirty for one tier, each time as late as can be, and clean
//! as soon as it is stored.
//!
//! It works on the commit thread: with the batch writer's own between two batches, each would cost two
//! more wake-ups of a thread.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;

use super::run::{Home, Progress};
use crate::clock::{Clock, Millis};
use crate::drivers::lanes;
use crate::drivers::{StoreDurability, Watermark, Write};
use crate::key::stored_key;
use crate::record;
use crate::shelf::{Shelf, Taken};

/// For how long the lane goes on before the batch writer looks at what else there is to do.
const DRAIN_MS_MAX: u64 = 100;

/// For how long a lane that somebody has waited for looks out for what they set next.
const RETURN_US_MAX: u128 = 50;

/// After it has looked out in vain so often in a row, it does so only now and then: whoever sets comes later than that.
const VAIN_MAX: u8 = 2;
/// Of so many times once.
const NOW_AND_THEN: u8 = 8;

/// Whether it pays to look out for what is set next, as it has of late.
#[derive(Default)]
pub struct Returns {
    /// How often in a row it did not.
    vain: u8,
    /// How often it was left since.
    left: u8,
}

impl Returns {
    /// Whether to look out this time.
    fn are_likely(&mut self) -> bool {
        if self.vain < VAIN_MAX {
            return true;
        }
        self.left = (self.left + 1) % NOW_AND_THEN;
        self.left == 0
    }

    /// It has looked out, and something came or not.
    fn note(&mut self, came: bool) {
        self.vain = match came {
            true => 0,
            false => self.vain.saturating_add(1),
        };
    }
}

/// What one drain takes from. Each has its own: one whose generation is given up may still be on its way.
pub struct Supply {
    home: Arc<Home>,
    /// Deletions alone.
    deletions: bool,
    began_ms: Millis,
    /// Nothing once the batch writer has it back: then nothing more is taken, nor called stored.
    inside: Mutex<Option<Inside>>,
}

/// How far a drain has come.
pub struct Inside {
    pub progress: Progress,
    /// What was taken and is not known to be stored.
    pub under_way: Vec<Taken>,
    /// How often its driver had been emptied before that.
    emptied: u64,
    durability: StoreDurability,
    /// How many batches were stored.
    pub stored: usize,
    /// Whether anybody waited when the latest was.
    is_awaited: bool,
    /// Whether a look found nothing.
    pub is_dry: bool,
}

impl Supply {
    pub fn new(home: &Arc<Home>, progress: Progress, deletions: bool) -> Self {
        Self {
            home: Arc::clone(home),
            deletions,
            began_ms: home.clock.awake_ms(),
            inside: Mutex::new(Some(Inside {
                progress,
                under_way: Vec::new(),
                emptied: 0,
                durability: StoreDurability::Written,
                stored: 0,
                is_awaited: false,
                is_dry: false,
            })),
        }
    }

    /// Takes it back. What is under way then counts as not stored, whatever becomes of it.
    pub fn take_back(&self) -> Option<Inside> {
        self.inside.lock().take()
    }

    /// Whether the batch writer is to look first.
    fn pauses(&self, inside: &Inside) -> bool {
        let config = &self.home.lane.config;
        let is_paced = config.writes_per_second_max.is_some();
        inside.stored > 0
            && (self.deletions
                || is_paced
                || self.home.gathers(&inside.progress)
                || self.home.clock.awake_ms() >= self.began_ms + DRAIN_MS_MAX)
    }

    /// Whoever was just told that something is stored may be about to set the next thing: it is there sooner
    /// than two threads are woken for it.
    fn await_return(&self, returns: &mut Returns) {
        if !returns.are_likely() {
            return;
        }
        let began = Clock::instant();
        let tier = self.home.lane.port.id;
        while !self.home.shelf.is_dirty(tier) && began.elapsed().as_micros() < RETURN_US_MAX {
            std::thread::yield_now();
        }
        returns.note(self.home.shelf.is_dirty(tier));
    }

    /// Takes what is dirty. It is under way from then on.
    fn take(&self, inside: &mut Inside) {
        let Home {
            shelf, clock, lane, ..
        } = &*self.home;
        let progress = &mut inside.progress;
        let now_ms = clock.now_ms();
        let rate = lane.config.writes_per_second_max;
        let rate = rate.map(|rate| rate.get() as usize);
        // At most a tenth of a second's worth at a time, so that the pace is even.
        let paced = rate.map_or(usize::MAX, |rate| (rate / 10).max(1));
        let count_max = progress.blame.count().min(paced);
        let (tier, bytes_max) = (lane.port.id, lane.config.commit_bytes_max);
        let from = &mut progress.from;
        inside.under_way = match self.deletions {
            true => shelf.take_deletions(tier, count_max, now_ms, from),
            false => shelf.take(tier, count_max, bytes_max, now_ms, from),
        };
        if let Some(rate) = rate {
            let taken = inside.under_way.len() as u64;
            progress.next_ms = now_ms + (taken * 1_000).div_ceil(rate as u64);
        }
    }
}

impl lanes::Supply for Supply {
    fn next(&self) -> Option<(Vec<Write>, StoreDurability)> {
        let mut inside = self.inside.lock();
        let inside = inside.as_mut()?;
        let port = &self.home.lane.port;
        if !port.is_up() || self.pauses(inside) {
            return None;
        }
        self.take(inside);
        if inside.under_way.is_empty() && inside.is_awaited {
            self.await_return(&mut inside.progress.returns);
            if self.pauses(inside) {
                return None;
            }
            self.take(inside);
        }
        if inside.under_way.is_empty() && !self.deletions {
            // While it goes on nobody need ring. IMPORTANT: answered before the last look.
            self.home.shelf.bells.dirty.answer();
            self.take(inside);
        }
        let taken = &inside.under_way;
        inside.is_dry = taken.is_empty();
        inside.durability = taken.iter().map(|one| one.durability).max()?;
        // Before it is sent: afterwards it may have been emptied already.
        inside.emptied = port.emptied();
        let writes = taken.iter().filter_map(|one| write(&self.home.shelf, one));
        let writes: Vec<_> = writes.collect();
        (self.home.lane.noted)(&writes);
        // IMPORTANT: after they are taken. Whoever set one since calls ceased to go to the driver was told so.
        if !port.is_up() {
            self.home.shelf.unsettle(&inside.under_way);
            inside.under_way.clear();
            return None;
        }
        Some((writes, inside.durability))
    }

    fn due(&self) -> Option<Watermark> {
        self.home.due()
    }

    fn reserved(&self, mark: Watermark) {
        self.home.reserved(mark);
    }

    fn stored(&self, took: Duration) {
        let mut inside = self.inside.lock();
        let Some(inside) = inside.as_mut() else {
            return;
        };
        // IMPORTANT: under way until all of it is settled, which wakes the host's tasks, and may panic.
        let taken = &inside.under_way;
        let port = &self.home.lane.port;
        port.stats.commits.fetch_add(1, Ordering::Relaxed);
        let count = taken.len() as u64;
        port.stats.writes.fetch_add(count, Ordering::Relaxed);
        port.stats.commit_latency.record(took);
        inside.stored += 1;
        inside.is_awaited = self.home.hurry.is_awaited();
        if !self.deletions {
            inside.progress.blame.stored();
        }
        if taken.iter().any(|one| one.value.is_some()) {
            inside.progress.blame.takes_values();
            self.home.has_room();
        }
        // Clean, unless the store that has it is gone since.
        let holds = || port.emptied() == inside.emptied;
        let shelf = &self.home.shelf;
        shelf.settle_if(port.id, taken, inside.durability, holds);
        inside.under_way.clear();
    }
}

fn write(shelf: &Shelf, taken: &Taken) -> Option<Write> {
    let scope = shelf.scope_by_id(taken.key.cache)?;
    let key = stored_key(&scope.name, &taken.key.name).into();
    let Some((slot, encoded)) = &taken.value else {
        return Some(Write::Delete { key });
    };
    let header = record::Header {
        version: slot.version,
        created_ms: slot.created_ms,
        expires_ms: slot.expires_ms,
        keep_ms: slot.keep_ms(),
        idle_ms: slot.idle_ms(),
        ends_ms: slot.ends_ms(),
        schema: slot.schema,
        type_tag: encoded.type_tag,
        codec: encoded.codec,
        priority: slot.priority.to_byte(),
        flags: encoded.flags,
        tags: slot.tags().into(),
    };
    let encode = match encoded.is_secret {
        true => record::encode_secret,
        false => record::encode,
    };
    Some(Write::Put {
        record: encode(&key, &header, &encoded.payload),
        key,
        version: slot.version,
        keep_ms: slot.keep_ms(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_two_looks_in_vain_one_of_eight_is_made_until_one_pays() {
        let mut returns = Returns::default();
        let mut looks = |count: usize, came: bool| {
            let look = |_| {
                let looks = returns.are_likely();
                if looks {
                    returns.note(came);
                }
                looks
            };
            (0..count).map(look).filter(|looked| *looked).count()
        };
        assert_eq!(looks(1, false) + looks(1, true) + looks(2, false), 4);
        assert_eq!(looks(80, false), 10);
        assert_eq!(looks(8, true), 1);
        assert_eq!(looks(8, true), 8);
    }
}
