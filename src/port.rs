//! A port: how the read and write paths reach one driver.
//!
//! It holds the gate, the breaker's state word and the present generation's lanes. An absent or open
//! driver costs its callers one load. It knows lanes, not actors.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use serde::Serialize;
use tokio::sync::{Notify, oneshot};

use crate::clock::Clock;
use crate::drivers::lanes::{Answer, Command, Doubtful, Lanes, Read};
use crate::drivers::{Failure, PageLimit, Usage};
use crate::entry::Source;
use crate::error::Error;
use crate::gate::Gate;
use crate::histogram::Histogram;
use crate::shelf::TierId;
use crate::wait::Wait;

/// Whether calls go to a driver.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// They do.
    Closed,
    /// They do not; the supervisor is at work.
    Open,
    /// Only the supervisor's probes do.
    HalfOpen,
}

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
    /// Told when calls cease to go to it.
    pub gone: Notify,
    state: AtomicU8,
    lanes: RwLock<Option<(u64, Lanes)>>,
    report: Mutex<Option<Report>>,
}

type Report = Box<dyn Fn(u64, Failure) + Send + Sync>;

/// What a port counts.
#[derive(Default)]
pub struct PortStats {
    /// Reads that found a record.
    pub hits: AtomicU64,
    /// Reads that found none.
    pub misses: AtomicU64,
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
    /// How long reads took.
    pub read_latency: Histogram,
    /// How long commits took.
    pub commit_latency: Histogram,
}

impl Port {
    /// A port whose driver is not up yet.
    pub fn new(id: TierId, name: &str, source: Source, reads_in_flight_max: usize) -> Self {
        Self {
            id,
            name: name.into(),
            source,
            gate: Gate::new("reads_in_flight_max", reads_in_flight_max),
            stats: PortStats::default(),
            gone: Notify::new(),
            state: AtomicU8::new(1),
            lanes: RwLock::new(None),
            report: Mutex::new(None),
        }
    }

    /// Whether calls go to the driver.
    #[inline]
    pub fn is_up(&self) -> bool {
        self.state.load(Ordering::Acquire) == 0
    }

    /// The breaker's state.
    pub fn state(&self) -> BreakerState {
        match self.state.load(Ordering::Acquire) {
            0 => BreakerState::Closed,
            1 => BreakerState::Open,
            _ => BreakerState::HalfOpen,
        }
    }

    /// A generation has opened: calls go to it.
    pub fn open(&self, generation: u64, lanes: Lanes) {
        *self.lanes.write() = Some((generation, lanes));
        self.state.store(0, Ordering::Release);
    }

    /// A generation is gone: no call goes to it any more. Ignored for any but the present one.
    pub fn close(&self, generation: u64) {
        let mut lanes = self.lanes.write();
        if lanes.as_ref().is_some_and(|(g, _)| *g == generation) {
            self.state.store(1, Ordering::Release);
            *lanes = None;
            self.gone.notify_waiters();
        }
    }

    /// Says whom to tell of a driver that wants to be reopened.
    pub fn on_failure(&self, report: impl Fn(u64, Failure) + Send + Sync + 'static) {
        *self.report.lock() = Some(Box::new(report));
    }

    fn lanes(&self) -> Option<(u64, Lanes)> {
        self.lanes.read().clone()
    }

    /// [`Driver::get`](crate::drivers::Driver::get), on a read lane.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] if the driver is not up or failed, [`Error::Overloaded`] if no permit
    /// was free in time, [`Error::DeadlineExceeded`].
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
        let permit = match self.gate.try_pass() {
            Ok(permit) => permit,
            Err(Error::Overloaded { .. }) => {
                wait.until(self.gate.pass(), || self.gate.refusal())
                    .await??
            }
            Err(error) => return Err(error),
        };
        let (generation, lanes) = self.lanes().ok_or_else(|| self.unavailable())?;
        let (answer, waiting) = oneshot::channel();
        lanes
            .read(ask(answer), permit)
            .map_err(|failure| self.failed(generation, failure))?;
        // Only the lane threads may keep the driver alive from here on.
        drop(lanes);
        let answered = wait.until(waiting, || wait.exceeded()).await?;
        match answered {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(failure)) => Err(self.failed(generation, failure)),
            Err(_) => Err(self.unavailable()),
        }
    }

    /// Asks the commit lane to delete a record if it is damaged. Nobody waits for it.
    pub fn repair(&self, key: Bytes) {
        self.stats.damaged.fetch_add(1, Ordering::Relaxed);
        if let Some((_, lanes)) = self.lanes() {
            let (answer, _ignored) = oneshot::channel();
            // A full lane means that it will be found damaged, and tried, again.
            let _ = lanes.command(Command::Repair(key, answer));
        }
    }

    /// Has the commit lane delete what is in doubt from the page of records after a key. Where the next
    /// page begins; `None` after the last one.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] if the driver is not up or failed.
    pub async fn purge(&self, after: Bytes, doubtful: Doubtful) -> Result<Option<Bytes>, Error> {
        let (generation, lanes) = self.lanes().ok_or_else(|| self.unavailable())?;
        let (answer, waiting) = oneshot::channel();
        let sent = lanes.command(Command::Purge(after, doubtful, answer));
        drop(lanes);
        sent.map_err(|failure| self.failed(generation, failure))?;
        let done = waiting.await.map_err(|_| self.unavailable())?;
        done.map_err(|failure| self.failed(generation, failure))
    }

    /// Counts a failure and tells the supervisor if the driver is of no more use.
    pub fn failed(&self, generation: u64, failure: Failure) -> Error {
        self.stats.failures.fetch_add(1, Ordering::Relaxed);
        if !matches!(failure, Failure::Retry { .. }) {
            self.close(generation);
            if let Some(report) = &*self.report.lock() {
                report(generation, failure);
            }
        }
        self.unavailable()
    }

    /// What a caller gets who needs this driver.
    pub fn unavailable(&self) -> Error {
        Error::Unavailable {
            driver: Arc::clone(&self.name),
            retry_after: Duration::from_millis(250),
        }
    }
}

#[cfg(test)]
mod tests;
