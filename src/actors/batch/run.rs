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
use super::supply::{Returns, Supply};
use crate::clock::{Clock, Millis};
use crate::drivers::StoreDurability;
use crate::error::Error;
use crate::hurry::{Hurry, either};
use crate::key::is_reserved;
use crate::port::Port;
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
    /// Whether whoever waits comes back at once.
    pub returns: Returns,
}

/// What a run and what it lends to the commit lane share.
pub struct Home {
    pub shelf: Arc<Shelf>,
    pub clock: Clock,
    pub hurry: Arc<Hurry>,
    pub lane: Arc<Lane>,
    /// Every driver's.
    pub ports: Vec<Arc<Port>>,
}

/// One run down one lane.
pub struct Run {
    pub home: Arc<Home>,
    pub progress: Progress,
}

impl Progress {
    /// Nothing has been stored yet, and nothing has failed.
    pub fn new(count_max: usize) -> Self {
        Self {
            blame: Blame::new(count_max),
            from: 0,
            next_ms: 0,
            purges_again: false,
            is_doubted: false,
            returns: Returns::default(),
        }
    }
}

impl Home {
    /// Whether a commit is to wait for a chunk that is being filed: stored in two parts, it would cost its
    /// caller two commits. Not while somebody or a whole commit waits, or the next one is to be small.
    pub fn gathers(&self, progress: &Progress) -> bool {
        let count_max = self.lane.config.commit_count_max;
        self.hurry.is_filing()
            && !self.hurry.is_awaited()
            && progress.blame.count() >= count_max
            && self.shelf.dirty_slots(self.lane.port.id) < count_max
    }

    /// Values are stored again. What came to be in doubt without room is the next run's to delete.
    pub fn has_room(&self) {
        if self.lane.port.has_room() {
            self.shelf.bells.dirty.ring();
        }
    }
}

/// What came of it when the commit lane was sent to store what is dirty.
struct Done {
    result: Result<(), Error>,
    /// What was taken and is not stored.
    left: Vec<Taken>,
    /// How many batches were.
    stored: usize,
    /// Whether nothing else was there.
    is_dry: bool,
}

/// What was lent to the commit lane. It is taken back also from a lane that hangs, or when the batch writer
/// goes: what its successor takes is nobody else's.
struct Loan(Arc<Supply>);

impl Drop for Loan {
    fn drop(&mut self) {
        self.0.take_back();
    }
}

impl Run {
    pub async fn drain(mut self) -> Progress {
        self.tell_doubt();
        self.run().await;
        self.tell_doubt();
        self.progress
    }

    async fn run(&mut self) {
        let home = Arc::clone(&self.home);
        let port = &home.lane.port;
        self.look_after().await;
        self.linger().await;
        let mut failures = 0;
        loop {
            if !port.is_up() {
                home.shelf.bells.dirty.answer();
                // IMPORTANT: it may have come up, and nobody have rung, before that.
                if !port.is_up() {
                    break;
                }
            }
            // Also before a look that finds nothing: so the next run need not know of the pace.
            home.clock.sleep_until(self.progress.next_ms).await;
            self.gather().await;
            let done = self.store(false).await;
            if done.stored > 0 {
                failures = 0;
            }
            if done.result.is_ok() {
                // Somebody may have rung for what came to be in doubt, unheard because this went on.
                if !self.look_after().await && done.is_dry {
                    // With no value left to try, there is no telling whether there is room.
                    return home.has_room();
                }
                continue;
            }
            self.not_stored(done.left).await;
            failures += 1;
            if port.is_up() {
                let wait_ms = RETRY_MS_MIN << (failures - 1).min(10);
                self.pause(Duration::from_millis(wait_ms.min(RETRY_MS_MAX)))
                    .await;
            }
        }
        // While it is down there is no waiting (the slot protocol, rule 11, SEMANTICS.md). Whoever begins
        // to wait from here on rings, and is told by the run after this one.
        home.shelf.fail_waiters(port.id, &port.unavailable());
    }

    /// Has what is in doubt deleted. Whether there is something to be stored for it.
    async fn look_after(&mut self) -> bool {
        let Home { shelf, clock, .. } = &*self.home;
        let port = &self.home.lane.port;
        self.progress.purges_again = false;
        if !port.is_up() {
            return false;
        }
        // Only now: while it is down, the doubt itself keeps the old copies from being shown.
        let healed = shelf.heal(port.id, HEAL_COUNT_MAX, clock.now_ms());
        // While one is down, more comes to be in doubt with each change that finds no room.
        if self.home.ports.iter().all(|port| port.is_up()) {
            self.progress.purges_again = !purge(shelf, port).await;
        }
        healed > 0
    }

    /// Has the commit lane store what is dirty.
    async fn store(&mut self, deletions: bool) -> Done {
        let port = &self.home.lane.port;
        let nothing = Progress::new(self.home.lane.config.commit_count_max);
        let progress = std::mem::replace(&mut self.progress, nothing);
        let loan = Loan(Arc::new(Supply::new(&self.home, progress, deletions)));
        let mut done = Done {
            result: port.drain(Arc::clone(&loan.0) as _).await,
            left: Vec::new(),
            stored: 0,
            is_dry: false,
        };
        if let Some(inside) = loan.0.take_back() {
            self.progress = inside.progress;
            done.left = inside.under_way;
            done.stored = inside.stored;
            done.is_dry = inside.is_dry;
        }
        done
    }

    /// That some stored copies are not believed, or all are again, is news of the driver's health.
    fn tell_doubt(&mut self) {
        let port = &self.home.lane.port;
        let is_doubted = self.home.shelf.is_distrusted(port.id);
        if std::mem::replace(&mut self.progress.is_doubted, is_doubted) != is_doubted {
            port.changed();
        }
    }

    /// Waits before the next attempt. Without room for values whoever begins to wait meanwhile gets an
    /// answer: deletions may find room, and values wait for the attempt without anybody.
    async fn pause(&mut self, time: Duration) {
        let hurry = Arc::clone(&self.home.hurry);
        let port = Arc::clone(&self.home.lane.port);
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
        let linger_ms = self.home.lane.config.linger_ms_max;
        if linger_ms > 0 {
            let over_ms = self.home.clock.now_ms().saturating_add(linger_ms);
            either(
                self.home.clock.sleep_until(over_ms),
                self.home.hurry.somebody(),
            )
            .await;
        }
    }

    /// Waits until a chunk that is being filed is whole, a moment at most and not while somebody waits for
    /// an answer.
    async fn gather(&self) {
        let hurry = &self.home.hurry;
        if self.home.gathers(&self.progress) {
            let moment = tokio::time::sleep(Duration::from_millis(GATHER_MS_MAX));
            let called = either(hurry.somebody(), moment);
            either(hurry.filed(), called).await;
        }
    }

    async fn not_stored(&mut self, taken: Vec<Taken>) {
        let port = Arc::clone(&self.home.lane.port);
        port.stats.retries.fetch_add(1, Ordering::Relaxed);
        self.home.shelf.unsettle(&taken);
        if taken.is_empty() {
            // Nothing was sent: the lane was full, or its driver is gone.
            return;
        }
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
        let proven = port.is_up() && port.commit_nothing(StoreDurability::Written).await.is_ok();
        if !proven && port.is_up() {
            // It takes nothing at present, which says nothing of the record.
            return;
        }
        let blame = &mut self.progress.blame;
        if blame.alone(one.hash, one.stamp, proven)
            && self.home.shelf.refuse(port.id, one, &port.unavailable())
        {
            port.stats.refused.fetch_add(1, Ordering::Relaxed);
            // Its older copy is the next run's to delete.
            self.home.shelf.bells.dirty.ring();
            tracing::warn!(
                driver = %port.name,
                "a record was refused again and again: it stays in memory only"
            );
        }
    }

    /// Whoever waits for a value is told that there is no room; deletions get their chance.
    async fn without_room(&mut self) {
        let port = &self.home.lane.port;
        self.home
            .shelf
            .fail_waiters_of_values(port.id, &port.unavailable());
        self.delete_only().await;
    }

    /// Not a deletion, nor a fence: the store would go on to hold what they hide, and the older fence of
    /// the same name would be deleted with the one that is given up.
    fn may_be_given_up(&self, one: &Taken) -> bool {
        let scope = self.home.shelf.scope_by_id(one.key.cache);
        one.value.is_some() && scope.is_some_and(|scope| !is_reserved(&scope.name))
    }

    /// Without room for values there may be some for deletions: those that wait behind values too. For
    /// so long, and then values are tried again.
    async fn delete_only(&mut self) {
        let clock = self.home.clock.clone();
        let until_ms = clock.now_ms().saturating_add(RETRY_MS_MAX);
        while clock.now_ms() < until_ms {
            let done = self.store(true).await;
            self.home.shelf.unsettle(&done.left);
            if done.result.is_err() || done.is_dry {
                return;
            }
            clock.sleep_until(self.progress.next_ms).await;
        }
    }
}
