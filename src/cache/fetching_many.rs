//! The way of a fetch of many keys: what is there, one load for all that is not, and what is there if that
//! fails.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use smol_str::SmolStr;

use super::asking::{Asking, Lead, Says, Waits};
use super::chunks::CHUNK_COUNT_MAX;
use super::fetch_many::FetchMany;
use super::fetched::{FetchOutcome, StaleBecause};
use super::fetching::FOLLOWS_MAX;
use super::loading_many::LoadMany;
use crate::codec::Value;
use crate::entry::Entry;
use crate::error::Error;
use crate::fetch::{Chain, Rank, Verdict, chain};
use crate::tiers::{Found, ReadOptions};

/// What a call has found out about one key.
struct Stands<V> {
    /// Its answer; without one it is to be loaded.
    answer: Option<Result<FetchOutcome<V>, Error>>,
    /// Meanwhile, or if that fails, what is there may be shown.
    has_fallback: bool,
}

/// What there is of a key, and what is to be done about it.
type There<V> = Result<Option<(Entry<V>, Verdict)>, Error>;

type Outcomes<V> = Vec<(SmolStr, Result<FetchOutcome<V>, Error>)>;

impl<V: Value> FetchMany<'_, V> {
    pub(super) async fn run(self, says: Says) -> Result<Outcomes<V>, Error> {
        let asking = Asking::new(self.cache, says)?;
        if !(1..=CHUNK_COUNT_MAX).contains(&self.chunk) {
            let reason = format!("is {}, allowed are 1 to {CHUNK_COUNT_MAX}", self.chunk);
            return Err(Error::Invalid {
                field: "chunk",
                reason,
            });
        }
        let many = FetchingMany { asking, many: self };
        Box::pin(many.run()).await
    }
}

struct FetchingMany<'a, V> {
    asking: Asking<'a, V>,
    many: FetchMany<'a, V>,
}

impl<V: Value> FetchingMany<'_, V> {
    async fn run(self) -> Result<Outcomes<V>, Error> {
        let keys = &self.many.keys;
        let mut stands = self.look().await?;
        self.load(&mut stands).await?;
        let mut outcomes = Vec::with_capacity(keys.len());
        for (key, stands) in keys.iter().zip(stands) {
            let overloaded = || Err(self.asking.overloaded());
            let outcome = stands.answer.unwrap_or_else(overloaded);
            outcomes.push((key.clone(), outcome));
        }
        Ok(outcomes)
    }

    /// What is there of each key, and what is loaded anew meanwhile.
    async fn look(&self) -> Result<Vec<Stands<V>>, Error> {
        let (asking, keys) = (&self.asking, &self.many.keys);
        let mut there = Vec::with_capacity(keys.len());
        for key in keys {
            there.push(match asking.cache.check_key(key) {
                Ok(()) => Ok(asking.look_in_memory(key).await),
                Err(error) => Err(error),
            });
        }
        if asking.shows_stale() {
            self.look_below(&mut there).await?;
        }
        let (mut refreshes, rank) = (Vec::new(), asking.rank_behind());
        let mut stands = Vec::with_capacity(keys.len());
        for (key, there) in keys.iter().zip(there) {
            let mut has_fallback = false;
            let answer = match there {
                Err(error) => Some(Err(error)),
                Ok(Some((entry, Verdict::Show))) => {
                    Some(Ok(FetchOutcome::of(Some(entry), asking.began)))
                }
                Ok(Some((entry, Verdict::ShowAndRefresh))) => {
                    let because = asking.failed(key).map(StaleBecause::Failed);
                    let because = because.unwrap_or_else(|| {
                        refreshes.extend(asking.refresh(key, || Arc::clone(&rank)));
                        StaleBecause::Refreshing
                    });
                    Some(Ok(asking.shown(entry, because)))
                }
                Ok(Some((entry, Verdict::LoadOr))) => {
                    has_fallback = true;
                    let failed = asking.failed(key).map(StaleBecause::Failed);
                    failed.map(|because| Ok(asking.shown(entry, because)))
                }
                Ok(None) if asking.is_missing(key) => Some(Ok(FetchOutcome::missing(asking.began))),
                Ok(_) => None,
            };
            stands.push(Stands {
                answer,
                has_fallback,
            });
        }
        self.lead(refreshes, &rank, false);
        Ok(stands)
    }

    /// Asks the tiers below together for all that memory does not have.
    async fn look_below(&self, there: &mut [There<V>]) -> Result<(), Error> {
        let (asking, cache) = (&self.asking, self.asking.cache);
        let absent = there.iter_mut().zip(&self.many.keys);
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

    /// Has all that is wanted loaded, and waits for it.
    async fn load(&self, stands: &mut [Stands<V>]) -> Result<(), Error> {
        for _ in 0..FOLLOWS_MAX {
            let (asking, rank) = (&self.asking, self.asking.rank());
            let (mut seats, mut leads) = (Vec::new(), Vec::new());
            for (at, (key, stands)) in self.many.keys.iter().zip(stands.iter_mut()).enumerate() {
                if stands.answer.is_some() {
                    continue;
                }
                match asking.sit_down(key, || Arc::clone(&rank)) {
                    Ok(mut seated) => {
                        let led = seated.leads.take();
                        let has_led = led.is_some();
                        leads.extend(led);
                        let waits = self.wait(key, seated.seat, has_led, stands.has_fallback);
                        seats.push(Wait::new(at, waits));
                    }
                    Err(error) => stands.answer = Some(Err(error)),
                }
            }
            if seats.is_empty() {
                return Ok(());
            }
            self.lead(leads, &rank, true);
            for (at, outcome) in all(seats).await {
                if let Some(stands) = stands.get_mut(at) {
                    stands.answer = outcome;
                }
            }
        }
        Ok(())
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

    fn lead(&self, mut leads: Vec<Lead>, rank: &Arc<Rank>, is_waited_for: bool) {
        let (asking, many) = (&self.asking, &self.many);
        while !leads.is_empty() {
            let rest = leads.split_off(many.chunk.min(leads.len()));
            let ids = leads.iter().map(|lead| lead.id.clone()).collect();
            // What nobody waits for may be part of anything.
            let outer = if is_waited_for { chain() } else { None };
            let load = LoadMany {
                loader: Arc::clone(&many.loader),
                says: asking.loads(rank, Chain::new(ids, outer)),
            };
            asking.cache.lead_many(leads, load);
            leads = rest;
        }
    }
}

/// One of the keys that are waited for.
struct Wait<'a, T> {
    at: usize,
    waits: Option<Pin<Box<dyn Future<Output = T> + Send + 'a>>>,
}

impl<'a, T> Wait<'a, T> {
    fn new(at: usize, waits: impl Future<Output = T> + Send + 'a) -> Self {
        Self {
            at,
            waits: Some(Box::pin(waits)),
        }
    }
}

/// All of them.
async fn all<T>(mut waits: Vec<Wait<'_, T>>) -> Vec<(usize, T)> {
    let mut done = Vec::with_capacity(waits.len());
    poll_fn(|cx| {
        for wait in &mut waits {
            if let Some(future) = &mut wait.waits
                && let Poll::Ready(outcome) = future.as_mut().poll(cx)
            {
                wait.waits = None;
                done.push((wait.at, outcome));
            }
        }
        match done.len() == waits.len() {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
    done
}
