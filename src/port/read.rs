//! Questions to a driver, on its read lanes: each has a permit, a deadline, and an end when the
//! generation that was asked is given up. And commands, on its commit lane.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;

use bytes::Bytes;
use tokio::sync::{Notify, oneshot};

use super::Port;
use crate::clock::{Clock, Millis};
#[cfg(feature = "secure")]
use crate::drivers::Upkeep;
use crate::drivers::lanes::{Answer, Command, Doubtful, Read, Supply};
use crate::drivers::pulse::Pulse;
use crate::drivers::{Failure, PageLimit, Reclaimed, StoreDurability, Usage, Watermark};
use crate::error::Error;
use crate::wait::Wait;

impl Port {
    /// So many reads went on without it because it was not up.
    pub fn passed_over(&self, reads: usize) {
        let counter = &self.stats.passed_over;
        counter.fetch_add(reads as u64, Ordering::Relaxed);
    }

    /// [`Driver::get`](crate::drivers::Driver::get), on a read lane.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] if the driver is not up or failed, [`Error::Overloaded`] if no permit
    /// was free in time, [`Error::DeadlineExceeded`], also where those before it seem to hang.
    pub async fn get(&self, key: Bytes, wait: &Wait<'_>) -> Result<Option<Bytes>, Error> {
        let found = self.read(|answer| Read::Get(key, answer), wait).await?;
        let counter = if found.is_some() {
            &self.stats.hits
        } else {
            &self.stats.misses
        };
        counter.fetch_add(1, Ordering::Relaxed);
        Ok(found)
    }

    /// [`Driver::get_many`](crate::drivers::Driver::get_many), on a read lane.
    ///
    /// # Errors
    ///
    /// As [`get`](Port::get).
    pub async fn get_many(
        &self,
        keys: Vec<Bytes>,
        wait: &Wait<'_>,
    ) -> Result<Vec<Option<Bytes>>, Error> {
        let found = self
            .read(|answer| Read::GetMany(keys, answer), wait)
            .await?;
        let hits = found.iter().filter(|f| f.is_some()).count();
        self.stats.hits.fetch_add(hits as u64, Ordering::Relaxed);
        self.stats
            .misses
            .fetch_add((found.len() - hits) as u64, Ordering::Relaxed);
        Ok(found)
    }

    /// [`Driver::scan`](crate::drivers::Driver::scan), on a read lane.
    ///
    /// # Errors
    ///
    /// As [`get`](Port::get).
    pub async fn scan(
        &self,
        prefix: Bytes,
        after: Bytes,
        page: PageLimit,
        wait: &Wait<'_>,
    ) -> Result<Vec<(Bytes, Bytes)>, Error> {
        self.read(|answer| Read::Scan(prefix, after, page, answer), wait)
            .await
    }

    /// [`Driver::usage`](crate::drivers::Driver::usage), on a read lane: whoever asks how much is
    /// stored does not wait for a commit. Its refusals are not counted: nobody's call was refused.
    ///
    /// # Errors
    ///
    /// As [`get`](Port::get).
    pub async fn usage(&self, wait: &Wait<'_>) -> Result<Usage, Error> {
        self.ask(Read::Usage, wait).await
    }

    async fn read<T>(
        &self,
        read: impl FnOnce(Answer<T>) -> Read,
        wait: &Wait<'_>,
    ) -> Result<T, Error> {
        let began = Clock::instant();
        let found = self.ask(read, wait).await.map_err(|error| match error {
            Error::Overloaded { .. } => self.gate.refuse(),
            other => other,
        })?;
        self.stats.read_latency.record(began.elapsed());
        Ok(found)
    }

    async fn ask<T>(
        &self,
        ask: impl FnOnce(Answer<T>) -> Read,
        wait: &Wait<'_>,
    ) -> Result<T, Error> {
        let permit = match self.gate.try_pass_as(wait.stands()) {
            Ok(permit) => permit,
            Err(refusal @ Error::Overloaded { .. }) => {
                wait.turn(|| refusal)?;
                let began_ms = self.clock.awake_ms();
                let pass = unless(self.gate.pass(), &self.gone, || !self.is_up());
                let late = || match self.may_hang(began_ms) {
                    true => wait.exceeded(),
                    false => self.gate.refusal(),
                };
                let passed = wait.until(pass, late).await?;
                passed.ok_or_else(|| self.unavailable())??
            }
            Err(error) => return Err(error),
        };
        let lanes = self.lanes.read().clone().filter(|_| self.is_up());
        let (generation, lanes) = lanes.ok_or_else(|| self.unavailable())?;
        let (answer, waiting) = oneshot::channel();
        let sent = lanes.read(ask(answer), permit);
        let pulse = Arc::clone(lanes.pulse());
        // Only the lane threads may keep the driver alive from here on.
        drop(lanes);
        if let Err(failure) = sent {
            self.not_sent(generation, failure);
            return Err(self.unavailable());
        }
        // A call that hangs is waited for until its generation is given up.
        let waiting = self.unless_given_up(&pulse, waiting);
        match wait.until(waiting, || wait.exceeded()).await? {
            Some(Ok(Ok(found))) => Ok(found),
            Some(Ok(Err(_)) | Err(_)) | None => Err(self.unavailable()),
        }
    }

    /// Whether it was hardly too many calls that kept a caller waiting since then: no thread that reads has
    /// begun one, and all that they are in are slow. Until the watchdog knows, calls that hang hold every
    /// permit.
    fn may_hang(&self, began_ms: Millis) -> bool {
        let slow_ms = self.breaker.lock().config().slow_ms;
        let slow_since_ms = self.clock.awake_ms().saturating_sub(slow_ms);
        let pulse = self.pulse.lock().clone();
        pulse.is_some_and(|pulse| pulse.reads_all_since(began_ms.min(slow_since_ms)))
    }

    /// A lane has not taken something: it is full, or its threads are gone without a word.
    pub fn not_sent(&self, generation: u64, failure: Failure) {
        if !matches!(failure, Failure::Retry { .. }) {
            self.give_up(generation, failure);
        }
    }

    /// Has the commit lane delete what is in doubt from the page of records after a key. Where the next
    /// page begins; `None` after the last one.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] if the driver is not up or failed.
    pub async fn purge(&self, after: Bytes, doubtful: Doubtful) -> Result<Option<Bytes>, Error> {
        self.command(|answer| Command::Purge(after, doubtful, answer))
            .await
    }

    /// Has the commit lane store what a supply has.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] if the driver is not up or failed. What it has stored before stays so.
    pub async fn drain(&self, supply: Arc<dyn Supply>) -> Result<(), Error> {
        self.command(|answer| Command::Drain(supply, answer)).await
    }

    /// Commits an empty batch: that syncs, and shows whether the store takes anything.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] if the driver is not up or failed.
    pub async fn commit_nothing(&self, durability: StoreDurability) -> Result<(), Error> {
        self.command(|answer| Command::Commit(Vec::new(), durability, answer))
            .await
    }

    /// [`Driver::reclaim`](crate::drivers::Driver::reclaim), on the commit lane.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] if the driver is not up or failed.
    pub async fn reclaim(&self, now_ms: Millis, count_max: usize) -> Result<Reclaimed, Error> {
        self.command(|answer| Command::Reclaim(now_ms, count_max, answer))
            .await
    }

    /// [`Driver::reserve`](crate::drivers::Driver::reserve), on the commit lane.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] if the driver is not up or failed.
    pub async fn reserve(&self, mark: Watermark) -> Result<(), Error> {
        self.command(|answer| Command::Reserve(mark, answer)).await
    }

    /// [`Driver::upkeep`](crate::drivers::Driver::upkeep), on the commit lane.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] if the driver is not up or failed.
    #[cfg(feature = "secure")]
    pub async fn upkeep(&self, page: PageLimit) -> Result<Upkeep, Error> {
        self.command(|answer| Command::Upkeep(page, answer)).await
    }

    async fn command<T>(&self, command: impl FnOnce(Answer<T>) -> Command) -> Result<T, Error> {
        let lanes = self.lanes.read().clone().filter(|_| self.is_up());
        let (generation, lanes) = lanes.ok_or_else(|| self.unavailable())?;
        let (answer, waiting) = oneshot::channel();
        let sent = lanes.command(command(answer));
        let pulse = Arc::clone(lanes.pulse());
        drop(lanes);
        if let Err(failure) = sent {
            self.not_sent(generation, failure);
            return Err(self.unavailable());
        }
        match self.unless_given_up(&pulse, waiting).await {
            Some(Ok(Ok(done))) => Ok(done),
            // What went wrong in a call has been told by the lane's own thread.
            _ => Err(self.unavailable()),
        }
    }

    /// `future`'s outcome, or nothing once the generation with this pulse is given up.
    ///
    /// # Cancel safety
    ///
    /// That of `future`.
    pub async fn unless_given_up<F: Future>(&self, pulse: &Pulse, future: F) -> Option<F::Output> {
        unless(future, &self.given_up, || pulse.is_condemned()).await
    }

    /// Asks the commit lane to delete a record if it is damaged. Nobody waits for it.
    pub fn repair(&self, key: Bytes) {
        self.stats.damaged.fetch_add(1, Ordering::Relaxed);
        if let Some((_, lanes)) = self.lanes.read().as_ref().filter(|_| self.is_up()) {
            let (answer, _ignored) = oneshot::channel();
            // One that is left will be found damaged, and tried, again.
            lanes.spare(Command::Repair(key, answer));
        }
    }
}

/// `future`'s outcome, or nothing once `over` says so; `told` is told when it may.
async fn unless<F: Future>(future: F, told: &Notify, over: impl Fn() -> bool) -> Option<F::Output> {
    let (mut future, mut told) = (pin!(future), pin!(told.notified()));
    // Before the look, so that nothing goes unnoticed after it.
    told.as_mut().enable();
    if over() {
        return None;
    }
    std::future::poll_fn(|cx| {
        if let Poll::Ready(done) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(done));
        }
        told.as_mut().poll(cx).map(|()| None)
    })
    .await
}
