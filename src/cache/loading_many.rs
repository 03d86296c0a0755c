//! What a load of many keys does, beside those who wait for each of them: as `loading` does for one, with one
//! look below and one call of the host's loader for all.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use smol_str::SmolStr;

use super::Cache;
use super::fetched::Stored;
use super::keeping::ROOM_MAX;
use super::loading::{Brought, Claimed, LoadSays, Looked};
use super::seats::Lead;
use crate::codec::Value;
use crate::error::{Error, ErrorClass, LoadError};
use crate::fetch::{
    Brings, Claim, Guarded, LoadContext, LoadManyContext, Loaded, Loading, Pilot, Stale,
};
use crate::runtime::host;

/// A host's loader of many keys.
pub(super) type ManyLoader<V> =
    Arc<dyn Fn(LoadManyContext<V>) -> Loading<Vec<(SmolStr, Loaded<V>)>> + Send + Sync>;

/// What a load of many keys is to do.
pub(super) struct LoadMany<V> {
    pub loader: ManyLoader<V>,
    pub says: LoadSays,
}

/// One of its keys.
struct Led<V> {
    name: SmolStr,
    /// Both gone once those who wait have been answered.
    duty: Option<(Claimed<V>, Pilot<Claim, Brings>)>,
    seen: Looked<V>,
}

impl<V: Value> Cache<V> {
    /// Has a load made, on the caller's runtime where there is one: a host's clients live there.
    pub(super) fn lead_many(&self, leads: Vec<Lead>, load: LoadMany<V>) {
        let flights = &self.tiers().fetches.flights;
        let Some(brake) = flights.group(leads.iter().map(|lead| &lead.pilot)) else {
            return;
        };
        // IMPORTANT: before the future, which may be dropped without having been polled.
        let led = leads.into_iter().map(|lead| Led {
            name: lead.id.name.clone(),
            duty: Some((Claimed::new(self, lead.id, lead.claim), lead.pilot)),
            seen: Looked::unsure(),
        });
        let many = Many {
            cache: self.clone(),
            led: led.collect(),
        };
        let own = || Some(self.tiers().lines().ok()?.loads.clone());
        // Dropped, it answers.
        let Some(runtime) = host().or_else(own) else {
            return;
        };
        let held = load.says.attempts.chain.held.clone();
        let rank = Arc::clone(&load.says.attempts.rank);
        let task = runtime.spawn(many.load(load)).abort_handle();
        brake.set(Box::new(move || {
            task.abort();
            // Its runtime may stand still.
            rank.give_up();
            held.give_up();
        }));
    }
}

struct Many<V> {
    cache: Cache<V>,
    led: Vec<Led<V>>,
}

impl<V: Value> Many<V> {
    /// Makes a load and answers those who wait. Dropped, it answers them that nothing will come.
    async fn load(mut self, load: LoadMany<V>) {
        // A host's code, its values' too, may panic anywhere in there.
        let brought = Guarded::new(self.bring(&load)).await;
        if brought.is_none() {
            let error = LoadError::new(ErrorClass::Bug, "what is loaded panicked");
            let error = Error::from(error);
            for led in &mut self.led {
                led.land(Err(error.clone()));
            }
        }
    }

    async fn bring(&mut self, load: &LoadMany<V>) {
        self.look().await;
        for led in &mut self.led {
            let found = led.duty.as_ref();
            let found = found.and_then(|(claimed, _)| claimed.found(&led.seen, &load.says.terms));
            if let Some(found) = found {
                led.land(Ok(found));
            }
        }
        if self.until().is_none() {
            return;
        }
        let cache = self.cache.clone();
        let tiers = cache.tiers();
        let counts = &tiers.fetches.counts;
        let wanted = self.wanted().count() as u64;
        let may_ask = load.says.attempts.may_ask();
        for led in self.led.iter_mut().filter(|_| may_ask) {
            if let Some((claimed, _)) = &mut led.duty {
                claimed.begins(&led.seen);
            }
        }
        counts.loads.fetch_add(wanted, Ordering::Relaxed);
        let call = |attempt| {
            let keys = self
                .wanted()
                .map(|led| (led.name.clone(), led.seen.stale()));
            (load.loader)(LoadManyContext {
                keys: keys.collect(),
                any: LoadContext::new(attempt, SmolStr::default(), Stale::of(None), &tiers.timer),
            })
        };
        let attempts = &load.says.attempts;
        let made = attempts.make(&tiers.timer, || self.until(), call).await;
        counts
            .attempts
            .fetch_add(made.attempts.into(), Ordering::Relaxed);
        let mut answers = made
            .answer
            .map(|pairs| pairs.into_iter().collect::<HashMap<_, _>>());
        let mut room = ROOM_MAX;
        for led in &mut self.led {
            let Some((claimed, _)) = &mut led.duty else {
                continue;
            };
            let answer = match &mut answers {
                Ok(answers) => Ok(answers.remove(&led.name).unwrap_or_else(Loaded::missing)),
                Err(error) => Err(error.clone()),
            };
            (claimed.room, claimed.is_late) = (room, made.is_late);
            let seen = std::mem::replace(&mut led.seen, Looked::unsure());
            let mut brought = claimed.settle(&load.says, answer, seen).await;
            if let Ok(brought) = &mut brought {
                (brought.attempts, brought.queued) = (made.attempts, made.queued);
                if let Stored::Refused(Error::Overloaded { .. }) = brought.stored {
                    // The others do not wait for room once more, each for itself.
                    room = Duration::ZERO;
                }
            }
            led.land(brought);
        }
    }

    /// What there is, in memory or below: asked once for all.
    ///
    /// IMPORTANT: under the claims. What was set before one is seen here, and what is set after it keeps
    /// what is loaded from being stored.
    async fn look(&mut self) {
        let (cache, tiers) = (&self.cache, self.cache.tiers());
        let options = cache.look_options(self.until());
        let names: Vec<_> = self.led.iter().map(|led| led.name.as_str()).collect();
        // A store that cannot say is no reason not to ask the source.
        let Ok(found) = tiers.read_many(cache.place(), &names, options).await else {
            return;
        };
        for (led, found) in self.led.iter_mut().zip(found) {
            if let Some((claimed, _)) = &led.duty {
                led.seen = claimed.seen(found);
            }
        }
    }

    /// Those that have no answer yet. IMPORTANT: each of them is asked for, whoever has left meanwhile: what the
    /// source does not return it does not have.
    fn wanted(&self) -> impl Iterator<Item = &Led<V>> {
        self.led.iter().filter(|led| led.duty.is_some())
    }

    /// Until when there is time: that of the latest of all who wait.
    fn until(&self) -> Option<Instant> {
        self.led.iter().filter_map(Led::until).max()
    }
}

impl<V: Value> Led<V> {
    fn until(&self) -> Option<Instant> {
        let (_, pilot) = self.duty.as_ref()?;
        pilot.until()
    }

    /// Answers those who wait for this key, if they have no answer yet.
    fn land(&mut self, brought: Result<Brought<V>, Error>) {
        if let Some((claimed, pilot)) = self.duty.take() {
            claimed.land(pilot, brought);
        }
    }
}
