//! What a load has of its source while it asks: leave to ask once, and a place, which it gives up while it waits
//! for another load.

use super::turn::{Place, Rank, Turn};
use super::{LoadSource, Urgency};
use crate::clock::{Millis, millis};
use crate::error::{Error, ErrorClass, LoadError};
use crate::fetch::circuit::{Ended, Pass};
use crate::sync::{Arc, Mutex};

/// What a load has of its source at present.
#[derive(Clone, Default)]
pub(crate) struct Held(Arc<Mutex<Holding>>);

#[derive(Default)]
struct Holding {
    source: Option<LoadSource>,
    place: Option<Place>,
    /// How many other loads it waits for.
    waits: usize,
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

    pub fn waits(&self) {
        self.0.lock().waits += 1;
    }

    pub fn waits_no_more(&self) {
        let mut holding = self.0.lock();
        holding.waits = holding.waits.saturating_sub(1);
    }

    /// Waits for a place again, once it waits for nothing else.
    pub async fn go_on(&self) {
        let source = {
            let mut holding = self.0.lock();
            holding.waits = holding.waits.saturating_sub(1);
            match holding.waits == 0 && holding.place.is_none() {
                true => holding.source.clone(),
                false => None,
            }
        };
        let Some(source) = source else { return };
        // Somebody waits for it, and it is half done.
        let rank = Rank::new(Urgency::Foreground);
        if let Turn::Yours(place) = rank.turn(&source, true).await {
            self.take(place);
        }
        // Where it cannot have one it goes on without: it is no new call.
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

/// Leave to ask once. Dropped, whoever asked could not wait for the answer.
pub(crate) struct Ticket {
    source: LoadSource,
    pass: Pass,
    began_ms: Millis,
    held: Held,
    has_ended: bool,
}

impl Ticket {
    pub(super) fn new(source: &LoadSource, pass: Pass, place: Place, held: &Held) -> Self {
        {
            let mut holding = held.0.lock();
            (holding.source, holding.place) = (Some(source.clone()), Some(place));
        }
        Self {
            source: source.clone(),
            pass,
            began_ms: source.0.shared.clock.awake_ms(),
            held: held.clone(),
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
        let took_ms = now_ms.saturating_sub(self.began_ms);
        self.source.ended(self.pass, ended, took_ms);
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
