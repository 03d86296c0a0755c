//! What a sealed store has to do for itself: sealing anew, a page at a time, beside what hosts ask for.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::Parts;
use super::launch::Held;
use crate::clock::Clock;
use crate::drivers::pulse::unharmed;
use crate::drivers::sealed::Vault;
use crate::drivers::{Failure, PageLimit};
use crate::error::Error;
use crate::port::Port;
use crate::wait::Timer;

/// How much is done at once: the commit lane is kept from others for so long.
const PAGE: PageLimit = PageLimit {
    count_max: 256,
    bytes_max: 1 << 20,
};

/// One generation's upkeep.
pub(super) struct Upkeep {
    parts: Weak<Parts>,
    port: Arc<Port>,
    timer: Timer,
    vault: Arc<Vault>,
    held: Weak<Held>,
    /// The store's files are being rewritten.
    is_scrubbing: Arc<AtomicBool>,
    /// When that is worth trying again.
    patience: Arc<Patience>,
}

/// When a store's files are rewritten after that has failed. It outlives the generations: a failure may be the end of
/// one, and the next one is not to begin with the same.
#[derive(Default)]
pub(super) struct Patience(Mutex<Option<(Instant, Duration)>>);

impl Patience {
    /// Not before so long, which is twice as long as the last time.
    fn put_off(&self) {
        let mut until = self.0.lock();
        let long = until.map_or(SCRUB_AGAIN, |(_, before)| SCRUB_AGAIN_MAX.min(before * 2));
        *until = Some((Clock::instant() + long, long));
    }

    /// How long it has to wait.
    fn left(&self) -> Duration {
        let until = *self.0.lock();
        until.map_or(Duration::ZERO, |(at, _)| {
            at.saturating_duration_since(Clock::instant())
        })
    }
}

impl Upkeep {
    pub fn new(
        parts: &Arc<Parts>,
        port: &Arc<Port>,
        vault: Arc<Vault>,
        held: Weak<Held>,
        patience: Arc<Patience>,
    ) -> Self {
        Self {
            parts: Arc::downgrade(parts),
            port: Arc::clone(port),
            timer: parts.tiers.timer.clone(),
            vault,
            held,
            is_scrubbing: Arc::default(),
            patience,
        }
    }

    /// Does what there is to do, whenever there is something, until its driver is gone.
    pub async fn run(self) {
        let mut progress = self.vault.progress();
        loop {
            if !self.catch_up().await || !self.is_there() {
                return;
            }
            // What could not be rewritten may be by then.
            let after = match progress.borrow().plain_text_left {
                true => self.patience.left().max(SCRUB_AGAIN),
                false => Duration::MAX,
            };
            // It ends with its generation: see where it is spawned.
            let wait = self.timer.wait(after);
            let looked = wait.until(progress.changed(), || wait.exceeded()).await;
            if matches!(looked, Ok(Err(_)) | Err(Error::Closed)) {
                return;
            }
        }
    }

    /// Whether the driver is still up.
    async fn catch_up(&self) -> bool {
        loop {
            // Its breaker may be forced open.
            self.port.coming_up().await;
            let began = Clock::instant();
            let Ok(done) = self.port.upkeep(PAGE).await else {
                // What failed may have passed by then: a full disk, a lane without room.
                self.timer.wait(AGAIN).out().await;
                match self.held.upgrade() {
                    Some(_) if !self.timer.is_closed() => continue,
                    _ => return false,
                }
            };
            if done.wants_scrub && self.patience.left().is_zero() {
                self.scrub();
            }
            if !done.goes_on || !self.is_there() {
                return true;
            }
            // Half of the lane is for those that somebody waits for.
            let rest = began.elapsed().min(REST_MAX);
            self.timer.wait(rest).out().await;
        }
    }

    /// Whether its driver is.
    fn is_there(&self) -> bool {
        self.held.strong_count() > 0
    }

    /// On a thread of its own: it may take long.
    fn scrub(&self) {
        let (Some(parts), held) = (self.parts.upgrade(), self.held.clone()) else {
            return;
        };
        let Some(one) = Scrubbing::begin(&self.is_scrubbing) else {
            return;
        };
        let (port, patience) = (Arc::clone(&self.port), Arc::clone(&self.patience));
        let body = move || {
            let _one = one;
            // IMPORTANT: with all that a thread of its generation holds, so that a successor waits for it.
            let Some(held) = held.upgrade() else {
                return;
            };
            let panicked = || Err(Failure::reopen("the driver panicked"));
            match unharmed(|| held.driver.scrub()).unwrap_or_else(panicked) {
                Ok(()) => {
                    tracing::info!(driver = %port.name, "what was plain is gone from the store's files")
                }
                Err(failure) => {
                    // Where room is wanted there may be some at any time.
                    if !matches!(failure, Failure::Full { .. }) {
                        patience.put_off();
                    }
                    // It may take no more writes: nobody else may find that out for long. IMPORTANT: with what is held,
                    // so that it is this generation which is given up.
                    if matches!(failure, Failure::Reopen { .. }) {
                        port.abandon(failure.clone());
                    }
                    tracing::warn!(driver = %port.name, %failure, "plain text may be left in the store's files");
                }
            }
        };
        let thread = format!("larder-{}-scrub", self.port.name);
        if let Err(error) = parts.runtime.spawn(&thread, body) {
            tracing::warn!(%error, "plain text may be left in the store's files");
        }
    }
}

/// One rewriting of a store's files, which ends when it is dropped.
struct Scrubbing(Arc<AtomicBool>);

impl Scrubbing {
    /// Nothing while there is one.
    fn begin(is_under_way: &Arc<AtomicBool>) -> Option<Self> {
        let was = is_under_way.swap(true, Ordering::AcqRel);
        (!was).then(|| Self(Arc::clone(is_under_way)))
    }
}

impl Drop for Scrubbing {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// When it is worth trying again what has failed.
const AGAIN: Duration = Duration::from_millis(500);
/// When it is worth trying again to rewrite files; twice as long after each failure, but for want of room.
const SCRUB_AGAIN: Duration = Duration::from_secs(15);
/// The longest of these.
const SCRUB_AGAIN_MAX: Duration = Duration::from_secs(3_600);
/// The longest rest between two pages.
const REST_MAX: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests;
