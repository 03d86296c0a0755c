//! A port: how the read and write paths reach one driver.
//!
//! It holds the gate, the breaker and the present generation's lanes. An absent or open driver costs
//! its callers one load. It knows lanes, not actors.

mod probe;
mod read;
mod waits;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

use crate::breaker::{Breaker, BreakerConfig, BreakerMode, BreakerState, BreakerStats, Called};
use crate::clock::{Clock, Millis};
use crate::drivers::Failure;
use crate::drivers::lanes::Lanes;
use crate::drivers::pulse::{Ended, Pulse, Thread, UnderWay, unharmed};
use crate::entry::Source;
use crate::error::Error;
use crate::gate::Gate;
use crate::histogram::Histogram;
use crate::shelf::TierId;

/// One driver as the paths see it.
pub struct Port {
    /// Its number.
    pub id: TierId,
    /// Its name.
    pub name: Arc<str>,
    /// What its answers are marked with.
    pub source: Source,
    /// Bounds its reads.
    pub gate: Gate,
    /// What it counts.
    pub stats: PortStats,
    /// When versions were reserved in it last.
    pub reserved_ms: AtomicU64,
    /// Told when calls cease to go to it.
    pub gone: Notify,
    /// Told when calls go to it again, or may.
    pub back: Notify,
    /// Told when a generation is given up.
    given_up: Notify,
    clock: Clock,
    /// What the breaker says, so that asking costs one load.
    is_up: AtomicBool,
    breaker: Mutex<Breaker>,
    /// Why it is not up.
    reason: Mutex<Option<Arc<str>>>,
    is_full: AtomicBool,
    /// How often it had been emptied when all that memory has was filed for it.
    filled: AtomicU64,
    /// Why it takes no new values although it is up.
    fullness: Mutex<Option<Arc<str>>>,
    lanes: RwLock<Option<(u64, Lanes)>>,
    /// The latest generation's, also when no call goes to it any more.
    pulse: Mutex<Option<Arc<Pulse>>>,
    /// The call that the latest look found under way for too long.
    overdue: Mutex<Option<UnderWay>>,
    told: OnceLock<Told>,
}

/// Who is told of what happens to a port.
pub struct Told {
    /// A generation is of no more use.
    pub failed: Box<dyn Fn(u64, Failure) + Send + Sync>,
    /// The driver is better or worse than before.
    pub changed: Box<dyn Fn() + Send + Sync>,
}

/// What a port counts.
#[derive(Default)]
pub struct PortStats {
    /// Reads that found a record.
    pub hits: AtomicU64,
    /// Reads that found none.
    pub misses: AtomicU64,
    /// Reads of a key that passed it over because it was not up.
    pub passed_over: AtomicU64,
    /// Calls that failed.
    pub failures: AtomicU64,
    /// Commits.
    pub commits: AtomicU64,
    /// Changes in them.
    pub writes: AtomicU64,
    /// Commits that had to be made again.
    pub retries: AtomicU64,
    /// Records that could not be read.
    pub damaged: AtomicU64,
    /// Records that the store refused again and again.
    pub refused: AtomicU64,
    /// Stores that were found empty although something had been stored.
    pub emptied: AtomicU64,
    /// Records that were taken over from those.
    pub salvaged: AtomicU64,
    /// How long reads took.
    pub read_latency: Histogram,
    /// How long commits took.
    pub commit_latency: Histogram,
}

impl Port {
    /// A port whose driver is not up yet.
    pub fn new(
        id: TierId,
        name: &str,
        source: Source,
        reads_in_flight_max: usize,
        breaker: BreakerConfig,
        clock: Clock,
    ) -> Self {
        Self {
            id,
            name: name.into(),
            source,
            gate: Gate::new("reads_in_flight_max", reads_in_flight_max),
            stats: PortStats::default(),
            reserved_ms: AtomicU64::new(0),
            gone: Notify::new(),
            back: Notify::new(),
            given_up: Notify::new(),
            is_up: AtomicBool::new(false),
            breaker: Mutex::new(Breaker::new(breaker, clock.now_ms())),
            reason: Mutex::default(),
            is_full: AtomicBool::new(false),
            filled: AtomicU64::new(0),
            fullness: Mutex::default(),
            lanes: RwLock::default(),
            pulse: Mutex::default(),
            overdue: Mutex::default(),
            told: OnceLock::new(),
            clock,
        }
    }

    /// Whether calls go to the driver.
    #[inline]
    pub fn is_up(&self) -> bool {
        self.is_up.load(Ordering::Acquire)
    }

    /// Whether new values are stored: it is up and has room.
    #[inline]
    pub fn takes_values(&self) -> bool {
        self.is_up() && !self.is_full.load(Ordering::Acquire)
    }

    /// It has been given all that memory has since it was emptied so often; whether it was emptied again
    /// meanwhile shows by the count.
    pub fn fill(&self, emptied: u64) {
        self.filled.fetch_max(emptied, Ordering::AcqRel);
    }

    /// Whether memory has something that it has lost and that was not filed for it yet.
    pub fn is_owed(&self) -> bool {
        self.filled.load(Ordering::Acquire) < self.emptied()
    }

    /// How often it was found empty although something had been stored.
    pub fn emptied(&self) -> u64 {
        self.stats.emptied.load(Ordering::Acquire)
    }

    /// Why new values are not stored although it is up.
    pub fn fullness(&self) -> Option<Arc<str>> {
        self.fullness.lock().clone()
    }

    /// A value has been stored, or there is no telling any more: it has room until it says otherwise.
    /// Whether it had none before.
    pub fn has_room(&self) -> bool {
        let was_full = self.is_full.swap(false, Ordering::AcqRel);
        if was_full {
            *self.fullness.lock() = None;
            self.changed();
            self.back.notify_waiters();
        }
        was_full
    }

    fn has_no_room(&self, reason: &str) {
        *self.fullness.lock() = Some(reason.into());
        if !self.is_full.swap(true, Ordering::AcqRel) {
            tracing::warn!(driver = %self.name, reason, "driver takes no new values");
            self.changed();
            self.gone.notify_waiters();
        }
    }

    /// The breaker's state and what it has counted.
    pub fn breaker(&self) -> BreakerStats {
        self.breaker.lock().stats(self.clock.now_ms())
    }

    /// Why it is not up.
    pub fn reason(&self) -> Option<Arc<str>> {
        self.reason.lock().clone()
    }

    /// The call of the driver that has been under way for longest, also of a generation that is given
    /// up and has not returned.
    pub fn oldest_call(&self) -> Option<UnderWay> {
        self.pulse.lock().as_ref()?.oldest()
    }

    /// A generation that has just been opened, and reserved versions for that, is to be probed.
    pub fn half_open(&self, generation: u64, lanes: Lanes) {
        self.reserved_ms
            .store(self.clock.now_ms(), Ordering::Relaxed);
        *self.pulse.lock() = Some(Arc::clone(lanes.pulse()));
        *self.lanes.write() = Some((generation, lanes));
        self.has_room();
        self.turn(|breaker, now_ms| breaker.half_open(now_ms));
    }

    /// A generation is gone, or of no more use: no further call goes to it; what is in its lanes is
    /// carried out as long as its threads are there. `false` for any but the present one.
    pub fn close(&self, generation: u64, reason: &str) -> bool {
        let mut lanes = self.lanes.write();
        if lanes
            .take_if(|(present, _)| *present == generation)
            .is_none()
        {
            return false;
        }
        *self.reason.lock() = Some(reason.into());
        // Under the lock, so that a successor cannot come between.
        self.turn(|breaker, now_ms| breaker.open(now_ms));
        true
    }

    /// Takes the decision from the breaker, or gives it back.
    pub fn force(&self, mode: BreakerMode) {
        self.turn(|breaker, now_ms| breaker.force(mode, now_ms));
        // Its supervisor may be waiting for leave to open it.
        self.back.notify_waiters();
    }

    /// Changes the breaker, and tells who waits for that.
    fn turn<T>(&self, change: impl FnOnce(&mut Breaker, Millis) -> T) -> T {
        let mut breaker = self.breaker.lock();
        let done = change(&mut breaker, self.clock.now_ms());
        let is_up = breaker.state() == BreakerState::Closed;
        let was_up = self.is_up.swap(is_up, Ordering::AcqRel);
        drop(breaker);
        self.changed();
        match (was_up, is_up) {
            (true, false) => self.gone.notify_waiters(),
            (false, true) => {
                *self.reason.lock() = None;
                self.back.notify_waiters();
            }
            _ => {}
        }
        done
    }

    /// A thread of a generation has made a call. Runs on that thread.
    pub fn called(&self, generation: u64, ended: &Ended<'_>) {
        let failure = ended.failure;
        if failure.is_some() {
            self.stats.failures.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(failure @ (Failure::Reopen { .. } | Failure::Fatal { .. })) = failure {
            self.give_up(generation, failure.clone());
            return;
        }
        if let Some(Failure::Full { reason }) = failure {
            // It is in order, so the breaker has nothing to say.
            self.has_no_room(reason);
            return;
        }
        let called = Called {
            writes: ended.thread == Thread::Commit,
            failed: failure.is_some(),
            took_ms: ended.took_ms,
        };
        let trip = self.breaker.lock().record(called);
        if let Some(trip) = trip {
            let last =
                failure.map_or_else(String::new, |failure| format!(", the last one: {failure}"));
            self.give_up(generation, Failure::reopen(format!("{trip}{last}")));
        }
    }

    /// Gives a generation up if its oldest call has gone on for too long. The look before must have found
    /// it so, too: in a process that stood still, every call is old at the first look.
    pub fn watch(&self) {
        let age_ms = |call: &UnderWay| self.clock.awake_ms().saturating_sub(call.began_ms);
        let hung_ms = self.breaker.lock().config().hung_ms;
        let overdue = self.oldest_call().filter(|call| age_ms(call) >= hung_ms);
        let before = std::mem::replace(&mut *self.overdue.lock(), overdue);
        let Some(oldest) = overdue.filter(|_| overdue == before) else {
            return;
        };
        let present = self.lanes.read().as_ref().map(|(present, _)| *present);
        if let Some(generation) = present {
            let age_ms = age_ms(&oldest);
            let failure = format!("a call on {} hangs for {age_ms} ms", oldest.thread);
            self.give_up(generation, Failure::reopen(failure));
        }
    }

    /// No further call goes to a generation, what is in its lanes is not carried out, nobody waits for
    /// it, and its supervisor is told why.
    fn give_up(&self, generation: u64, failure: Failure) {
        let pulse = {
            let lanes = self.lanes.read();
            let present = lanes.as_ref().filter(|(present, _)| *present == generation);
            present.map(|(_, lanes)| Arc::clone(lanes.pulse()))
        };
        let Some(pulse) = pulse else {
            return;
        };
        pulse.condemn();
        // Whoever waits runs the host's own code when it is woken: a panic of it must not keep this from the supervisor.
        let closed = unharmed(|| self.close(generation, &failure.to_string())).unwrap_or(true);
        if let (true, Some(told)) = (closed, self.told.get()) {
            (told.failed)(generation, failure);
        }
        unharmed(|| self.given_up.notify_waiters());
    }

    /// Says whom to tell.
    pub fn tell(&self, told: Told) {
        // Once, when it is wired.
        let _ = self.told.set(told);
    }

    /// Tells those who watch that it is better or worse than before.
    pub fn changed(&self) {
        if let Some(told) = self.told.get() {
            (told.changed)();
        }
    }

    /// What a caller gets who needs this driver.
    pub fn unavailable(&self) -> Error {
        Error::Unavailable {
            driver: Arc::clone(&self.name),
            retry_after: std::time::Duration::from_millis(250),
        }
    }
}

#[cfg(test)]
mod tests;
