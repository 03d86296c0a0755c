//! The way of a fetch of many keys: what is there, one load for all that is not, and what is there if that
//! fails.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use hashbrown::HashMap;
use smol_str::SmolStr;

use super::asking::{Asking, Says};
use super::chunks::CHUNK_COUNT_MAX;
use super::fetch_many::FetchMany;
use super::fetched::{FetchOutcome, StaleBecause};
use super::fetching::FOLLOWS_MAX;
use super::loading_many::{LoadMany, ManyLoader};
use super::ranks::Ranks;
use super::seats::{Lead, Seated, Waits};
use crate::codec::Value;
use crate::entry::Entry;
use crate::error::Error;
use crate::fetch::{Chain, Rank, Verdict, chain};
use crate::tiers::{Found, ReadOptions};

/// The share of all loads that one call may have under way, as a divisor.
const LOADS_SHARE: usize = 4;

/// What a call has found out about one key.
struct Stands<V> {
    /// Its answer; without one it is to be loaded.
    answer: Option<Result<FetchOutcome<V>, Error>>,
    /// Meanwhile, or if that fails, what is there may be shown.
    has_fallback: bool,
    /// It has been waited for.
    is_loaded: bool,
    /// How often.
    follows: usize,
}

impl<V> Stands<V> {
    fn new() -> Self {
        Self {
            answer: None,
            is_loaded: false,
            has_fallback: false,
            follows: 0,
        }
    }

    /// Whether its answer is one, whatever else is waited for.
    fn stays(&self) -> bool {
        match &self.answer {
            None => false,
            Some(_) if self.is_loaded => true,
            Some(Ok(outcome)) => outcome.stale_because.is_none(),
            Some(Err(_)) => true,
        }
    }
}

/// What there is of a key, and what is to be done about it.
type There<V> = Result<Option<(Entry<V>, Verdict)>, Error>;

type Outcomes<V> = Vec<(SmolStr, Result<FetchOutcome<V>, Error>)>;

impl<V: Value> FetchMany<'_, V> {
    pub(super) async fn run(self, says: Box<Says>) -> Result<Outcomes<V>, Error> {
        let asking = Asking::new(self.cache, Some(says))?;
        if !(1..=CHUNK_COUNT_MAX).contains(&self.chunk) {
            let reason = format!("is {}, allowed are 1 to {CHUNK_COUNT_MAX}", self.chunk);
            return Err(Error::Invalid {
                field: "chunk",
                reason,
            });
        }
        // A key that is named twice is looked for once.
        let mut places = HashMap::with_capacity(self.keys.len());
        let mut keys = Vec::with_capacity(self.keys.len());
        for key in &self.keys {
            places.entry(key.clone()).or_insert_with(|| {
                keys.push(key.clone());
                keys.len() - 1
            });
        }
        let many = FetchingMany {
            asking,
            keys,
            loader: self.loader,
            chunk: self.chunk,
        };
        let answers = Box::pin(many.run()).await?;
        let answer = |key: SmolStr| {
            let answer = places.get(&key).and_then(|at| answers.get(*at));
            let answer = answer.map_or(Err(Error::Closed), Clone::clone);
            (key, answer)
        };
        Ok(self.keys.into_iter().map(answer).collect())
    }
}

struct FetchingMany<'a, V> {
    asking: Asking<'a, V>,
    /// Each once.
    keys: Vec<SmolStr>,
    loader: ManyLoader<V>,
    chunk: usize,
}

impl<V: Value> FetchingMany<'_, V> {
    async fn run(self) -> Result<Vec<Result<FetchOutcome<V>, Error>>, Error> {
        // One call takes no more than its part of the loads there may be.
        let loads_max = self.asking.cache.tiers().config.limits.loads_in_flight_max;
        let wave_max = (loads_max / LOADS_SHARE).max(1);
        let mut stands: Vec<_> = self.keys.iter().map(|_| Stands::new()).collect();
        for _ in 0..FOLLOWS_MAX {
            self.look(&mut stands).await?;
            let wanted = stands.iter().enumerate();
            let wanted = wanted.filter(|(_, stands)| stands.answer.is_none());
            let wanted: Vec<_> = wanted.map(|(at, _)| at).collect();
            if wanted.is_empty() {
                break;
            }
            for wave in wanted.chunks(wave_max) {
                self.load(&mut stands, wave).await;
            }
            // IMPORTANT: time has passed. What is stale may have gone, or have become too old to be shown.
        }
        let overloaded = || Err(self.asking.overloaded());
        let answers = stands.into_iter().map(|stands| {
            let answer = self
                .asking
                .in_time(stands.answer.unwrap_or_else(overloaded));
            self.asking.count(&answer);
            answer
        });
        Ok(answers.collect())
    }

    /// What is there of each key that has no answer that stays, and what is loaded anew meanwhile.
    async fn look(&self, stands: &mut [Stands<V>]) -> Result<(), Error> {
        let asking = &self.asking;
        let asked = stands.iter_mut().zip(&self.keys);
        let mut asked: Vec<_> = asked.filter(|(stands, _)| !stands.stays()).collect();
        let mut there = Vec::with_capacity(asked.len());
        for (_, key) in &asked {
            there.push(match asking.cache.check_key(key) {
                Ok(()) => Ok(asking.look_in_memory(key).await),
                Err(error) => Err(error),
            });
        }
        if asking.shows_stale() {
            let keys: Vec<_> = asked.iter().map(|(_, key)| *key).collect();
            self.look_below(&keys, &mut there).await?;
        }
        let (mut refreshes, ranks) = (Vec::new(), Ranks::new(self.chunk, || asking.rank_behind()));
        for ((stands, key), there) in asked.iter_mut().zip(there) {
            stands.has_fallback = matches!(there, Ok(Some((_, Verdict::LoadOr))));
            stands.answer = match there {
                Err(error) => Some(Err(error)),
                Ok(Some((entry, Verdict::Show))) => {
                    Some(Ok(FetchOutcome::of(Some(entry), asking.began)))
                }
                Ok(Some((entry, Verdict::ShowAndRefresh))) => {
                    let because = asking.failed(key).map(StaleBecause::Failed);
                    let because = because.unwrap_or_else(|| {
                        refreshes.extend(asking.refresh(key, || ranks.next()));
                        StaleBecause::Refreshing
                    });
                    Some(Ok(asking.shown(entry, because)))
                }
                Ok(Some((entry, Verdict::LoadOr))) => {
                    let failed = asking.failed(key).map(StaleBecause::Failed);
                    failed.map(|because| Ok(asking.shown(entry, because)))
                }
                Ok(None) if asking.is_missing(key) => Some(Ok(FetchOutcome::missing(asking.began))),
                Ok(_) => None,
            };
        }
        self.lead(refreshes, false);
        Ok(())
    }

    /// Asks the tiers below together for all that memory does not have.
    async fn look_below(&self, keys: &[&SmolStr], there: &mut [There<V>]) -> Result<(), Error> {
        let (asking, cache) = (&self.asking, self.asking.cache);
        let absent = there.iter_mut().zip(keys);
        let absent = absent.filter(|(there, _)| matches!(there, Ok(None)));
        let (slots, names): (Vec<_>, Vec<&str>) =
            absent.map(|(there, key)| (there, key.as_str())).unzip();
        if names.is_empty() {
            return Ok(());
        }
        let options = ReadOptions {
            stale_ok: true,
            wait: Some(asking.look_max()),
            ..ReadOptions::default()
        };
        let found = cache
            .tiers()
            .read_many(cache.place(), &names, options)
            .await;
        let found = match found {
            Ok(found) => found,
            Err(Error::Closed) => return Err(Error::Closed),
            // A tier that cannot say is no reason not to ask the source.
            Err(_) => std::iter::repeat_with(Found::default)
                .take(names.len())
                .collect(),
        };
        for ((slot, name), found) in slots.into_iter().zip(names).zip(found) {
            cache.renew(name, &found).await;
            *slot = Ok(asking.judged(cache.outcome(name, found)));
        }
        Ok(())
    }

    /// Has these loaded, and waits for them. What is to be loaded once more does not wait for the others.
    async fn load(&self, stands: &mut [Stands<V>], wave: &[usize]) {
        let (mut waits, mut next) = (FuturesUnordered::new(), wave.to_vec());
        loop {
            let ranks = Ranks::new(self.chunk, || self.asking.rank());
            let mut leads = Vec::new();
            for at in next.drain(..) {
                let (Some(key), Some(stands)) = (self.keys.get(at), stands.get_mut(at)) else {
                    continue;
                };
                if stands.answer.is_some() {
                    continue;
                }
                match self.sit_down(key, stands, &ranks) {
                    Ok(mut seated) => {
                        let lead = seated.leads.take();
                        let has_led = lead.is_some();
                        leads.extend(lead);
                        let wait = self.wait(key, seated.seat, has_led, stands.has_fallback);
                        waits.push(async move { (at, wait.await) });
                    }
                    Err(error) => {
                        let because = StaleBecause::Failed(error.clone());
                        let fallback = Box::pin(self.asking.fallback(key, &because)).await;
                        stands.answer = Some(fallback.ok_or(error));
                        stands.is_loaded = true;
                    }
                }
            }
            self.lead(leads, true);
            let Some(ready) = (&mut waits).ready_chunks(wave.len().max(1)).next().await else {
                return;
            };
            for (at, answer) in ready {
                if answer.is_none() {
                    next.push(at);
                }
                if let Some(stands) = stands.get_mut(at) {
                    (stands.answer, stands.is_loaded) = (answer, true);
                }
            }
        }
    }

    /// A place among those who wait for a key; not for ever again, nor where it has failed just now and there is
    /// something to show.
    fn sit_down(
        &self,
        key: &str,
        stands: &mut Stands<V>,
        ranks: &Ranks<impl Fn() -> Arc<Rank>>,
    ) -> Result<Seated, Error> {
        if stands.follows >= FOLLOWS_MAX {
            return Err(self.asking.overloaded());
        }
        if stands.follows > 0
            && stands.has_fallback
            && let Some(error) = self.asking.failed(key)
        {
            return Err(error);
        }
        stands.follows += 1;
        self.asking.sit_down(key, || ranks.next())
    }

    /// What becomes of one key; nothing, if it is to be loaded once more.
    async fn wait(
        &self,
        key: &str,
        mut seat: Waits,
        has_led: bool,
        has_fallback: bool,
    ) -> Option<Result<FetchOutcome<V>, Error>> {
        let asking = &self.asking;
        let landed = match asking.wait(&mut seat, has_fallback).await {
            Ok(Ok(landed)) => asking.taken(landed, has_led).transpose()?,
            Ok(Err(because)) => {
                if let Some(outcome) = Box::pin(asking.fallback(key, &because)).await {
                    return Some(Ok(outcome));
                }
                // It has gone meanwhile, or its time is over: there is nothing but the load.
                match asking.wait(&mut seat, false).await {
                    Ok(Ok(landed)) => asking.taken(landed, has_led).transpose()?,
                    Ok(Err(_)) => Err(asking.exceeded()),
                    Err(error) => Err(error),
                }
            }
            Err(error) => Err(error),
        };
        let error = match landed {
            Ok(outcome) => return Some(Ok(outcome)),
            Err(error) => error,
        };
        let because = StaleBecause::Failed(error);
        let fallback = Box::pin(asking.fallback(key, &because)).await;
        Some(match (fallback, because) {
            (Some(outcome), _) => Ok(outcome),
            (None, StaleBecause::Failed(error)) => Err(error),
            (None, _) => Err(asking.exceeded()),
        })
    }

    fn lead(&self, leads: Vec<Lead>, is_waited_for: bool) {
        let asking = &self.asking;
        let mut leads = leads.into_iter();
        loop {
            let chunk: Vec<_> = leads.by_ref().take(self.chunk).collect();
            let Some(rank) = chunk.first().map(|lead| Arc::clone(&lead.claim.rank)) else {
                return;
            };
            let ids: Vec<_> = chunk.iter().map(|lead| lead.id.clone()).collect();
            // What nobody waits for may be part of anything.
            let outer = if is_waited_for { chain() } else { None };
            let load = LoadMany {
                loader: Arc::clone(&self.loader),
                says: asking.loads(&rank, Chain::new(ids, outer)),
            };
            asking.cache.lead_many(chunk, load);
        }
    }
}

#[cfg(test)]
mod tests;
