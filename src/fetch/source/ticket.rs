//! What a load has of its source while it asks: leave to ask once, and a place, which it gives up while it waits
//! for another load.

use std::time::{Duration, Instant};

use super::turn::{Place, Rank, Turn};
use super::{LoadSource, Urgency};
use crate::clock::{Clock, Millis, millis};
use crate::error::{Error, ErrorClass, LoadError};
use crate::fetch::chain::Chain;
use crate::fetch::circuit::{Ended, Pass};
use crate::sync::{Arc, Mutex};

/// What a load has of its source at present.
#[derive(Clone, Default)]
pub(crate) struct Held(Arc<Mutex<Holding>>);

#[derive(Default)]
struct Holding {
    source: Option<LoadSource>,
    place: Option<Place>,
    /// How many other loads it waits for, since when, and for how long in all.
    waits: usize,
    waits_since: Option<Instant>,
    waited: Duration,
    /// It waits for its place again.
    queues: bool,
    /// What it asked the same source for in the midst of this failed so.
    part_failed: Option<Ended>,
}

impl Holding {
    fn waited(&self) -> Duration {
        let now = self
            .waits_since
            .map_or(Duration::ZERO, |since| since.elapsed());
        self.waited + now
    }

    /// It waits for one other load fewer.
    fn waits_less(&mut self) {
        self.waits = self.waits.saturating_sub(1);
    }

    /// It goes on by itself.
    fn goes_on(&mut self) {
        if self.waits == 0 && !self.queues {
            self.waited = self.waited();
            self.waits_since = None;
        }
    }
}

impl Held {
    /// Whether this source is being asked.
    pub fn asks(&self, source: &LoadSource) -> bool {
        self.0
            .lock()
            .source
            .as_ref()
            .is_some_and(|own| own.is(source))
    }

    /// Gives up the place.
    pub fn give_up(&self) {
        let place = self.0.lock().place.take();
        drop(place);
    }

    /// The same, if it waits for another load.
    pub fn lend(&self) {
        let place = {
            let mut holding = self.0.lock();
            match holding.waits {
                0 => None,
                _ => holding.place.take(),
            }
        };
        drop(place);
    }

    /// How long it has waited for other loads, and for its place after that: that is not its source's time.
    pub fn waited(&self) -> Duration {
        self.0.lock().waited()
    }

    pub fn waits(&self) {
        let mut holding = self.0.lock();
        holding.waits += 1;
        holding.waits_since.get_or_insert_with(Clock::instant);
    }

    pub fn waits_no_more(&self) {
        let mut holding = self.0.lock();
        holding.waits_less();
        holding.goes_on();
    }

    /// Whether it waits for other loads, or for its place after that.
    pub fn is_waiting(&self) -> bool {
        self.0.lock().waits_since.is_some()
    }

    /// A part of what it asks its source for has ended so.
    pub fn part_ended(&self, source: &LoadSource, ended: Ended) {
        let mut holding = self.0.lock();
        if holding.source.as_ref().is_some_and(|own| own.is(source)) {
            holding.part_failed = match ended {
                Ended::Failed { .. } => Some(ended),
                Ended::Answered => None,
                Ended::Cut | Ended::Elsewhere => holding.part_failed,
            };
        }
    }

    /// Waits for a place again, once it waits for nothing else. Dropped, it goes on without: it is no new call.
    pub async fn go_on(&self) {
        let source = {
            let mut holding = self.0.lock();
            holding.waits_less();
            // IMPORTANT: once. Whoever waited beside the one who gets it would wait for ever.
            match holding.waits == 0 && holding.place.is_none() && !holding.queues {
                true => {
                    holding.queues = holding.source.is_some();
                    holding.source.clone()
                }
                false => None,
            }
        };
        let Some(source) = source else {
            self.0.lock().goes_on();
            return;
        };
        let _goes_on = GoesOn(self);
        // Somebody waits for it, and it is half done.
        let rank = Rank::new(Urgency::Foreground);
        if let Turn::Yours(place) = rank.turn(&source, true).await {
            self.take(place);
        }
    }

    fn take(&self, place: Place) {
        let mut holding = self.0.lock();
        let is_wanted = holding.source.is_some() && holding.waits == 0 && holding.place.is_none();
        let unused = match is_wanted {
            true => holding.place.replace(place),
            false => Some(place),
        };
        drop(holding);
        drop(unused);
    }
}

struct GoesOn<'a>(&'a Held);

impl Drop for GoesOn<'_> {
    fn drop(&mut self) {
        let mut holding = self.0.0.lock();
        holding.queues = false;
        holding.goes_on();
    }
}

/// Leave to ask once. Dropped, whoever asked could not wait for the answer.
pub(crate) struct Ticket {
    source: LoadSource,
    pass: Pass,
    began_ms: Millis,
    held: Held,
    /// What it is loaded for, outermost last.
    chain: Arc<Chain>,
    has_ended: bool,
}

impl Ticket {
    pub(super) fn new(source: &LoadSource, pass: Pass, place: Place, chain: &Arc<Chain>) -> Self {
        let held = &chain.held;
        {
            let mut holding = held.0.lock();
            *holding = Holding {
                source: Some(source.clone()),
                place: Some(place),
                ..Holding::default()
            };
        }
        Self {
            source: source.clone(),
            pass,
            began_ms: source.0.shared.clock.awake_ms(),
            held: held.clone(),
            chain: Arc::clone(chain),
            has_ended: false,
        }
    }

    /// The source has answered.
    pub fn answered(mut self) {
        self.has_ended = true;
        self.settle(Ended::Answered);
    }

    /// The source has not answered, or that is what it said.
    pub fn failed(mut self, error: &LoadError) {
        self.has_ended = true;
        self.settle(if is_elsewhere(error) {
            Ended::Elsewhere
        } else if is_failure(error.class()) {
            let pace_ms = error.pace().map(millis).filter(|pace_ms| *pace_ms > 0);
            Ended::Failed { pace_ms }
        } else {
            Ended::Answered
        });
    }

    fn settle(&self, ended: Ended) {
        let now_ms = self.source.0.shared.clock.awake_ms();
        let (waited, part_failed) = {
            let mut holding = self.held.0.lock();
            (holding.waited(), holding.part_failed.take())
        };
        // Its own error is no news of the source, but that of what it needed of it is.
        let ended = match (ended, part_failed) {
            (Ended::Elsewhere, Some(part)) => part,
            (ended, _) => ended,
        };
        let took_ms = now_ms.saturating_sub(self.began_ms);
        let took_ms = took_ms.saturating_sub(millis(waited));
        self.source.ended(self.pass, ended, took_ms);
        self.chain.part_ended(&self.source, ended);
        // IMPORTANT: after that, so that whoever gets the place knows of it.
        let place = {
            let mut holding = self.held.0.lock();
            holding.source = None;
            holding.place.take()
        };
        drop(place);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.has_ended {
            self.settle(Ended::Cut);
        }
    }
}

fn is_failure(class: ErrorClass) -> bool {
    // A loader's panic is a bug.
    matches!(
        class,
        ErrorClass::Transient | ErrorClass::Device | ErrorClass::Bug
    )
}

/// Whether it is an error of larder's, which another source, a driver or a limit is the reason of. A budget that
/// is used up is this source's.
fn is_elsewhere(error: &LoadError) -> bool {
    let own = error.larders();
    own.is_some_and(|own| !matches!(own, Error::DeadlineExceeded { .. }))
}
