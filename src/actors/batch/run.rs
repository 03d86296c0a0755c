//! One run down one lane, until nothing is dirty or the driver is down.
//!
//! Each attempt takes the slots as they are then; a failure leaves them dirty (the slot protocol, rules
//! 6 and 7, SEMANTICS.md).

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Lane;
use super::blame::Blame;
use super::purge::purge;
use crate::clock::{Clock, Millis};
use crate::drivers::{StoreDurability, Write};
use crate::error::Error;
use crate::hurry::{Hurry, either};
use crate::key::{is_reserved, stored_key};
use crate::record;
use crate::shelf::{Shelf, Taken};

/// The first wait after a failed commit; it doubles up to [`RETRY_MS_MAX`].
pub const RETRY_MS_MIN: u64 = 10;
/// The longest wait between two attempts.
pub const RETRY_MS_MAX: u64 = 1_000;
/// How long a commit waits for a chunk that is being filed: its items may come from a slow iterator.
const GATHER_MS_MAX: u64 = 5;
/// Keys that are healed in one go when a driver is back.
pub const HEAL_COUNT_MAX: usize = 1_000;

/// What outlasts a run.
pub struct Progress {
    /// Who is to blame for what was not stored.
    pub blame: Blame,
    /// The stripe to begin with.
    pub from: usize,
    /// No commit before then.
    pub next_ms: Millis,
    /// Whether the latest purge failed: it is to be made again, though nothing else is to be done.
    pub purges_again: bool,
    /// Whether any stored copy was in doubt when those who watch were told last.
    pub is_doubted: bool,
}

/// What was stored: how safely, and in which of the stores that a driver has had.
#[derive(Clone, Copy)]
struct Stored {
    durability: StoreDurability,
    /// How often the driver had been emptied before.
    emptied: u64,
}

/// One run down one lane.
pub struct Run {
    pub shelf: Arc<Shelf>,
    pub clock: Clock,
    pub hurry: Arc<Hurry>,
    pub lane: Arc<Lane>,
    /// Whether it deletes what is in doubt.
    pub purges: bool,
    pub progress: Progress,
}

impl Run {
    pub async fn drain(mut self) -> Progress {
        self.tell_doubt();
        self.run().await;
        self.tell_doubt();
        self.progress
    }

    async fn run(&mut self) {
        let tier = self.lane.port.id;
        self.progress.purges_again = false;
        if self.lane.port.is_up() {
            // Only now: while it is down, the doubt itself keeps the old copies from being shown.
            self.shelf.heal(tier, HEAL_COUNT_MAX, self.clock.now_ms());
            if self.purges {
                self.progress.purges_again = !purge(&self.shelf, &self.lane.port).await;
            }
        }
        self.linger().await;
        let mut failures = 0;
        while self.lane.port.is_up() {
            // Also before a look that finds nothing: so the next run need not know of the pace.
            self.clock.sleep_until(self.progress.next_ms).await;
            self.gather().await;
            let taken = self.take(false);
            match self.store(&taken).await {
                Ok(None) => {
                    // With no value left to try, there is no telling whether there is room.
                    return self.has_room();
                }
                Ok(Some(stored)) => {
                    failures = 0;
                    self.stored(&taken, stored);
                    continue;
                }
                Err(_) => self.not_stored(taken).await,
            }
            failures += 1;
            if !self.lane.port.is_up() {
                break;
            }
            let wait_ms = RETRY_MS_MIN << (failures - 1).min(10);
            self.pause(Duration::from_millis(wait_ms.min(RETRY_MS_MAX)))
                .await;
        }
        // While it is down there is no waiting (the slot protocol, rule 11, SEMANTICS.md). Whoever begins
        // to wait from here on rings first, and is told by the run after this one.
        self.tell_waiters();
    }

    /// That some stored copies are not believed, or all are again, is news of the driver's health.
    fn tell_doubt(&mut self) {
        let port = &self.lane.port;
        let is_doubted = self.shelf.is_distrusted(port.id);
        if std::mem::replace(&mut self.progress.is_doubted, is_doubted) != is_doubted {
            port.changed();
        }
    }

    /// Waits before the next attempt. Without room for values whoever begins to wait meanwhile gets an
    /// answer: deletions may find room, and values wait for the attempt without anybody.
    async fn pause(&mut self, time: Duration) {
        let hurry = Arc::clone(&self.hurry);
        let port = Arc::clone(&self.lane.port);
        let mut over = pin!(tokio::time::sleep(time));
        let mut come = hurry.somebody_else();
        while port.is_up() && !port.takes_values() && !over.is_elapsed() {
            either(over.as_mut(), come).await;
            // Before the look, so that nobody comes unnoticed after it.
            come = hurry.somebody_else();
            if !over.is_elapsed() {
                // Bounds how often what is dirty is looked through.
                tokio::time::sleep(Duration::from_millis(RETRY_MS_MIN)).await;
                self.without_room().await;
            }
        }
        over.await;
    }

    /// Waits a little for more to come, unless somebody waits for an answer.
    async fn linger(&self) {
        let linger_ms = self.lane.config.linger_ms_max;
        if linger_ms > 0 {
            let over_ms = self.clock.now_ms().saturating_add(linger_ms);
            either(self.clock.sleep_until(over_ms), self.hurry.somebody()).await;
        }
    }

    /// Waits until a chunk that is being filed is whole, a moment at most and not while somebody waits for
    /// an answer: stored in two parts, it would cost its caller two commits. Neither while a whole commit
    /// waits, or the next one is to be small.
    async fn gather(&self) {
        let count_max = self.lane.config.commit_count_max;
        let is_whole = || self.shelf.dirty_slots(self.lane.port.id) >= count_max;
        if !self.hurry.is_filing() || self.progress.blame.count() < count_max || is_whole() {
            return;
        }
        let moment = tokio::time::sleep(Duration::from_millis(GATHER_MS_MAX));
        let called = either(self.hurry.somebody(), moment);
        either(self.hurry.filed(), called).await;
    }

    fn take(&mut self, deletions: bool) -> Vec<Taken> {
        let config = &self.lane.config;
        let now_ms = self.clock.now_ms();
        let paced = config.writes_per_second_max.map(|rate| rate.get() as usize);
        // At most a tenth of a second's worth at a time, so that the pace is even.
        let count_max = self
            .progress
            .blame
            .count()
            .min(paced.map_or(usize::MAX, |rate| (rate / 10).max(1)));
        let (tier, bytes_max) = (self.lane.port.id, config.commit_bytes_max);
        let from = &mut self.progress.from;
        let taken = match deletions {
            true => self.shelf.take_deletions(tier, count_max, now_ms, from),
            false => self.shelf.take(tier, count_max, bytes_max, now_ms, from),
        };
        if let Some(rate) = paced {
            self.progress.next_ms = now_ms + (taken.len() as u64 * 1_000).div_ceil(rate as u64);
        }
        taken
    }

    /// How safely it was stored, and where; `None` if there was nothing to store.
    async fn store(&self, taken: &[Taken]) -> Result<Option<Stored>, Error> {
        let Some(durability) = taken.iter().map(|one| one.durability).max() else {
            return Ok(None);
        };
        let writes = taken.iter().filter_map(|one| self.write(one)).collect();
        // Before it is sent: afterwards it may have been emptied already.
        let emptied = self.lane.port.emptied();
        (self.lane.send)(writes, durability).await?;
        Ok(Some(Stored {
            durability,
            emptied,
        }))
    }

    /// What was taken is clean, unless the store that has it is gone since.
    fn settle(&self, taken: &[Taken], stored: Stored) {
        let holds = || self.lane.port.emptied() == stored.emptied;
        let tier = self.lane.port.id;
        self.shelf.settle_if(tier, taken, stored.durability, holds);
    }

    fn stored(&mut self, taken: &[Taken], stored: Stored) {
        if taken.iter().any(|one| one.value.is_some()) {
            self.has_room();
            self.progress.blame.takes_values();
        }
        self.progress.blame.stored();
        self.settle(taken, stored);
    }

    /// Values are stored again. What came to be in doubt without room is the next run's to delete.
    fn has_room(&self) {
        if self.lane.port.has_room() {
            self.shelf.bells.dirty.ring();
        }
    }

    async fn not_stored(&mut self, taken: Vec<Taken>) {
        let port = Arc::clone(&self.lane.port);
        port.stats.retries.fetch_add(1, Ordering::Relaxed);
        self.shelf.unsettle(&taken);
        if port.is_up() && !port.takes_values() {
            return self.without_room().await;
        }
        let [one] = &*taken else {
            self.progress.blame.failed(taken.len());
            return;
        };
        if !self.may_be_given_up(one) {
            return;
        }
        // An empty batch shows whether the store takes anything at all.
        let other = (self.lane.send)(Vec::new(), StoreDurability::Written);
        let proven = port.is_up() && other.await.is_ok();
        if !proven && port.is_up() {
            // It takes nothing at present, which says nothing of the record.
            return;
        }
        let blame = &mut self.progress.blame;
        if blame.alone(one.hash, one.stamp, proven)
            && self.shelf.refuse(port.id, one, &port.unavailable())
        {
            port.stats.refused.fetch_add(1, Ordering::Relaxed);
            // Its older copy is the next run's to delete.
            self.shelf.bells.dirty.ring();
            tracing::warn!(
                driver = %port.name,
                "a record was refused again and again: it stays in memory only"
            );
        }
    }

    /// Whoever waits for a value is told that there is no room; deletions get their chance.
    async fn without_room(&mut self) {
        let port = &self.lane.port;
        self.shelf
            .fail_waiters_of_values(port.id, &port.unavailable());
        self.delete_only().await;
    }

    /// Not a deletion, nor a fence: the store would go on to hold what they hide, and the older fence of
    /// the same name would be deleted with the one that is given up.
    fn may_be_given_up(&self, one: &Taken) -> bool {
        let scope = self.shelf.scope_by_id(one.key.cache);
        one.value.is_some() && scope.is_some_and(|scope| !is_reserved(&scope.name))
    }

    /// Without room for values there may be some for deletions: those that wait behind values too. For
    /// so long, and then values are tried again.
    async fn delete_only(&mut self) {
        let until_ms = self.clock.now_ms().saturating_add(RETRY_MS_MAX);
        while self.clock.now_ms() < until_ms {
            let deletions = self.take(true);
            match self.store(&deletions).await {
                Ok(Some(stored)) => self.settle(&deletions, stored),
                Ok(None) => return,
                Err(_) => return self.shelf.unsettle(&deletions),
            }
            self.clock.sleep_until(self.progress.next_ms).await;
        }
    }

    fn tell_waiters(&self) {
        let port = &self.lane.port;
        self.shelf.fail_waiters(port.id, &port.unavailable());
    }

    fn write(&self, taken: &Taken) -> Option<Write> {
        let scope = self.shelf.scope_by_id(taken.key.cache)?;
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
            tags: slot.tags().into(),
        };
        Some(Write::Put {
            record: record::encode(&key, &header, &encoded.payload),
            key,
            version: slot.version,
            keep_ms: slot.keep_ms(),
        })
    }
}
