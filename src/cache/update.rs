//! Changing an entry by what it is, with a retry when somebody else was faster.

use std::future::IntoFuture;
use std::sync::Arc;
use std::time::Duration;

use super::call::Call;
use super::{Cache, CallFuture, EntryOptions};
use crate::codec::Value;
use crate::entry::Entry;
use crate::error::Error;
use crate::fetch::is_reserved;
use crate::outcome::{Durability, WriteOutcome};
use crate::shelf::{Change, Condition};
use crate::tiers::ReadOptions;

/// How often [`Cache::update`] tries again by default.
const UPDATE_RETRIES: u32 = 3;
/// The wait before its first retry; it doubles, with half of it jitter.
const UPDATE_WAIT_MS: u64 = 10;

impl<V: Value> Cache<V> {
    /// Changes an entry by what it is: `change` gets the value that is there, if any, and returns the
    /// new one. Tried again when somebody else was faster: by default 3 times, after 10, 20 and 40 ms
    /// with jitter.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), larder::Error> {
    /// # let larder = larder::Larder::builder().start().await?;
    /// let counters = larder.cache::<u64>("counters")?;
    /// counters.update("hits", |old| old.copied().unwrap_or(0) + 1).await?;
    /// # larder.shutdown(std::time::Duration::from_secs(5)).await }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`] if it was too slow each time, and as [`set`](Cache::set).
    ///
    /// # Cancel safety
    ///
    /// As [`set`](Cache::set).
    pub fn update<'a, F>(&'a self, key: &'a str, change: F) -> Update<'a, V, F>
    where
        F: Fn(Option<&V>) -> V + Send + 'a,
    {
        Update {
            change,
            retries: UPDATE_RETRIES,
            entry: EntryOptions::default(),
            call: Call::new(self, key, Durability::Queued),
        }
    }
}

/// A change by what is there that is about to be made.
#[must_use = "it is done when it is awaited"]
pub struct Update<'a, V, F> {
    change: F,
    retries: u32,
    entry: EntryOptions,
    call: Call<'a, V>,
}

impl<'a, V: Value, F: Fn(Option<&V>) -> V + Send + 'a> Update<'a, V, F> {
    call_options!(Update);

    /// How often to try again (0 for never).
    pub fn retries(mut self, retries: u32) -> Self {
        self.retries = retries;
        self
    }

    /// The TTL of what is set; the cache's default where nothing is said.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.entry.ttl = Some(Some(ttl));
        self
    }

    /// Does it and explains it.
    ///
    /// # Errors
    ///
    /// As [`Cache::update`].
    ///
    /// # Cancel safety
    ///
    /// As [`Cache::set`].
    pub async fn outcome(self) -> Result<WriteOutcome, Error> {
        Ok(self.run().await?.1)
    }

    async fn run(mut self) -> Result<(Entry<V>, WriteOutcome), Error> {
        let (cache, key) = (self.call.cache, self.call.key);
        cache.check_key(key)?;
        let tiers = cache.tiers();
        let wait = tiers.wait(self.call.wait());
        let mut attempt = 0;
        loop {
            let options = ReadOptions {
                no_promote: true,
                wait: Some(wait.left()),
                ..ReadOptions::default()
            };
            let found = tiers.read(cache.place(), key, options).await?;
            // What cannot be decoded is a miss like any other, and is replaced.
            let current = found.slot.as_ref().map(|(slot, ..)| slot);
            self.call.terms().condition = match current.filter(|slot| cache.reads(slot)) {
                Some(slot) => {
                    // It is the same entry with another value, which its source knows nothing of.
                    let tags = slot.tags().iter().filter(|tag| !is_reserved(tag));
                    self.entry.tags = tags.cloned().collect();
                    self.entry.priority = Some(slot.priority);
                    Condition::Version(slot.version)
                }
                None => Condition::Absent,
            };
            let entry = cache.outcome(key, found).entry;
            let value = Arc::new((self.change)(entry.as_deref()));
            self.call.terms().wait = Some(wait.left());
            let draft = cache.prepare(Arc::clone(&value), &self.entry, tiers.now_ms())?;
            let (created_ms, expires_ms) = (draft.created_ms, draft.expires_ms);
            match self.call.write(Change::Put(draft)).await {
                Ok(done) => {
                    let entry = Entry::updated(value, done.version, created_ms, expires_ms);
                    return Ok((entry, done));
                }
                Err(Error::Conflict { .. }) if attempt < self.retries => {
                    let wait_ms = UPDATE_WAIT_MS << attempt.min(10);
                    let jitter = fastrand::u64(0..=wait_ms / 2);
                    tiers
                        .sleep(Duration::from_millis(wait_ms / 2 + jitter).min(wait.left()))
                        .await;
                }
                Err(error) => return Err(error),
            }
            attempt += 1;
        }
    }
}

impl<'a, V: Value, F: Fn(Option<&V>) -> V + Send + 'a> IntoFuture for Update<'a, V, F> {
    type Output = Result<Entry<V>, Error>;
    type IntoFuture = CallFuture<'a, Entry<V>>;

    fn into_future(self) -> Self::IntoFuture {
        let span = tracing::trace_span!("larder.update", cache = self.call.cache.name());
        let call = async move { Ok(self.run().await?.0) };
        Box::pin(tracing::Instrument::instrument(call, span))
    }
}
