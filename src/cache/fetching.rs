//! The way of a fetch that memory could not answer at a glance: what is there, the load, and what is there
//! if that fails.

use std::sync::Arc;

use super::Cache;
use super::asking::{Asking, Says};
use super::fetched::{FetchOutcome, StaleBecause};
use super::loading::Load;
use super::seats::Lead;
use crate::codec::Value;
use crate::error::Error;
use crate::fetch::{Chain, Loader, Verdict, chain};

/// How often one call waits for a load, where those of others bring what may not be shown to it, or have no more time.
pub(super) const FOLLOWS_MAX: usize = 16;

impl<V: Value> Cache<V> {
    pub(super) async fn fetch_slow(
        &self,
        key: &str,
        loader: Loader<V>,
        says: Option<Box<Says>>,
    ) -> Result<FetchOutcome<V>, Error> {
        let asking = Asking::new(self, says)?;
        self.check_key(key)?;
        let fetching = Fetching {
            asking,
            key,
            loader,
        };
        let answer = fetching.run().await;
        fetching.asking.count(&answer);
        answer
    }
}

/// A fetch of one key.
struct Fetching<'a, V> {
    asking: Asking<'a, V>,
    key: &'a str,
    loader: Loader<V>,
}

impl<V: Value> Fetching<'_, V> {
    async fn run(&self) -> Result<FetchOutcome<V>, Error> {
        let (asking, key) = (&self.asking, self.key);
        if asking.says().terms.is_forced {
            return self.loaded(false).await?.map_err(|_| asking.exceeded());
        }
        let shows_stale = asking.shows_stale();
        let there = match asking.look_in_memory(key).await {
            // Boxed, as few fetches come this way and all are moved about.
            None if shows_stale => Box::pin(asking.look(key)).await?,
            there => there,
        };
        let mut has_fallback = false;
        if let Some((entry, verdict)) = there {
            match verdict {
                Verdict::Show => return Ok(FetchOutcome::of(Some(entry), asking.began)),
                Verdict::ShowAndRefresh => {
                    let because = self.refresh();
                    return Ok(asking.shown(entry, because));
                }
                Verdict::LoadOr => {
                    if let Some(error) = asking.failed(key) {
                        return Ok(asking.shown(entry, StaleBecause::Failed(error)));
                    }
                    has_fallback = true;
                }
                Verdict::Load => {}
            }
        } else if asking.is_missing(key) {
            return Ok(FetchOutcome::missing(asking.began));
        }
        let because = match self.loaded(has_fallback).await {
            Ok(Ok(outcome)) => return Ok(outcome),
            Ok(Err(because)) => because,
            Err(error) => StaleBecause::Failed(error),
        };
        if let Some(outcome) = Box::pin(asking.fallback(key, &because)).await {
            return Ok(outcome);
        }
        match because {
            StaleBecause::Failed(error) => Err(error),
            // It has gone meanwhile, or its time is over: there is nothing but the load.
            _ => Box::pin(self.loaded(false))
                .await?
                .map_err(|_| asking.exceeded()),
        }
    }

    /// What a load brings, which it begins if there is none: the inner error is that of a call that does not
    /// wait any longer.
    async fn loaded(&self, is_soft: bool) -> Result<Result<FetchOutcome<V>, StaleBecause>, Error> {
        let asking = &self.asking;
        for follows in 0..FOLLOWS_MAX {
            if follows > 0
                && is_soft
                && let Some(error) = asking.failed(self.key)
            {
                return Ok(Err(StaleBecause::Failed(error)));
            }
            let mut seated = asking.sit_down(self.key, || asking.rank())?;
            let lead = seated.leads.take();
            let has_led = lead.is_some();
            if let Some(lead) = lead {
                self.lead(lead, true);
            }
            let landed = match asking.wait(&mut seated.seat, is_soft).await? {
                Ok(landed) => landed,
                Err(because) => return Ok(Err(because)),
            };
            if let Some(outcome) = asking.taken(landed, has_led)? {
                return Ok(Ok(outcome));
            }
        }
        Err(asking.overloaded())
    }

    /// Has what is shown loaded anew, if that is worth a try. Why it is shown.
    fn refresh(&self) -> StaleBecause {
        if let Some(error) = self.asking.failed(self.key) {
            return StaleBecause::Failed(error);
        }
        let rank = || self.asking.rank_behind();
        if let Some(lead) = self.asking.refresh(self.key, rank) {
            self.lead(lead, false);
        }
        StaleBecause::Refreshing
    }

    fn lead(&self, lead: Lead, is_waited_for: bool) {
        let asking = &self.asking;
        // What nobody waits for may be part of anything.
        let outer = if is_waited_for { chain() } else { None };
        let chain = Chain::new(vec![lead.id.clone()], outer);
        let load = Load {
            loader: Arc::clone(&self.loader),
            says: asking.loads(&lead.claim.rank, chain),
        };
        asking.cache.lead(lead, load);
    }
}

#[cfg(test)]
mod tests {
    use super::super::loading::Claimed;
    use super::*;
    use crate::{Larder, LoadContext, LoadError};
    use std::future::IntoFuture;
    use std::pin::pin;
    use std::task::Poll;
    use std::time::Duration;

    #[tokio::test]
    async fn whoever_has_time_left_when_a_load_has_none_begins_it_anew() {
        let larder = Larder::builder().start().await.unwrap();
        let users = larder.cache::<String>("users").unwrap();
        let asking = Asking::new(&users, None).unwrap();
        let mut seated = asking.sit_down("k", || asking.rank()).unwrap();
        let hangs = seated.leads.take().unwrap();
        let load = |_: LoadContext<String>| async { Ok::<_, LoadError>("anew".to_owned()) };
        let mut fetch = pin!(users.fetch("k", load).into_future());
        let joins = std::future::poll_fn(|cx| Poll::Ready(fetch.as_mut().poll(cx))).await;
        assert!(joins.is_pending());
        assert_eq!(hangs.pilot.land(None), 2);
        assert_eq!(*fetch.await.unwrap().unwrap(), "anew");
        larder.shutdown(Duration::from_secs(10)).await.unwrap();
    }

    #[tokio::test]
    async fn what_can_be_shown_is_not_loaded_anew_where_its_load_has_just_failed() {
        let larder = Larder::builder().start().await.unwrap();
        let users = larder.cache::<String>("users").unwrap();
        let (ms, hour) = (Duration::from_millis(1), Duration::from_secs(3_600));
        let set = users.set("k", "old".to_owned()).ttl(ms).stale_for(hour);
        set.await.unwrap();
        let began = std::time::Instant::now();
        while users.get("k").await.unwrap().is_some() {
            assert!(began.elapsed() < Duration::from_secs(20));
            tokio::task::yield_now().await;
        }
        let asking = Asking::new(&users, None).unwrap();
        let mut seated = asking.sit_down("k", || asking.rank()).unwrap();
        let hangs = seated.leads.take().unwrap();
        let never = |_: LoadContext<String>| async { Ok::<_, LoadError>("new".to_owned()) };
        let fetch = users.fetch("k", never).stale_if_error_for(hour);
        let mut fetch = pin!(fetch.into_future());
        let joins = std::future::poll_fn(|cx| Poll::Ready(fetch.as_mut().poll(cx))).await;
        assert!(joins.is_pending());
        let claimed = Claimed::new(&users, hangs.id, hangs.claim);
        claimed.note_failure(&LoadError::transient("503").into(), hour, false);
        drop(claimed);
        assert_eq!(hangs.pilot.land(None), 2);
        assert_eq!(*fetch.await.unwrap().unwrap(), "old");
        larder.shutdown(Duration::from_secs(10)).await.unwrap();
    }
}
