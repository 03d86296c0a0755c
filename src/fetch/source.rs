//! Named sources: each is asked by so many at a time, the most urgent first, and left alone while it fails.
//!
//! What is decided is pure: `queue` has who is next, `circuit` whether anybody is. This is the shell: one lock
//! over the places of all sources, one over the circuit of each, and who waits is told through a channel.

mod config;
mod stats;
mod ticket;
mod turn;

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hashbrown::HashMap;
use smol_str::SmolStr;

use super::chain::Chain;
use super::circuit::{Circuit, Ended, Pass, Turned};
use super::queue::{Bounds, Entered, Number, Queue, Urgency};
use crate::breaker::BreakerMode;
use crate::clock::{Clock, Millis};
use crate::error::Error;
use crate::sync::{Arc, Mutex};
pub use config::{CALL_MS_MAX, CALLS_IN_FLIGHT, CALLS_WAITING, SourceConfig};
pub use stats::SourceStats;
pub(crate) use ticket::{Held, Ticket};
pub(crate) use turn::Rank;
use turn::{Turn, Waiter};

/// When it is worth trying again where as many calls wait as may.
const QUEUE_RETRY_AFTER: Duration = Duration::from_millis(250);

/// All sources of a larder.
pub(crate) struct Sources {
    shared: Arc<Shared>,
    by_name: Mutex<HashMap<SmolStr, LoadSource>>,
    count_max: usize,
}

struct Shared {
    clock: Clock,
    queue: Mutex<Queue<Waiter>>,
}

/// A source that is loaded from, by its name: [`Larder::source`](crate::Larder::source). Cheap to clone; all
/// clones are the same one. See [`SourceConfig`] for what is bounded.
///
/// ```
/// # #[tokio::main] async fn main() -> Result<(), larder::Error> {
/// # let larder = larder::Larder::builder().start().await?;
/// use larder::SourceConfig;
///
/// let mut config = SourceConfig::default();
/// config.calls_in_flight_max = 2;
/// let api = larder.source_with("profile-api", config)?;
///
/// let users = larder.cache::<String>("users")?;
/// let load = |_| async { Ok::<_, std::io::Error>("Ada".to_owned()) };
/// let ada = users.fetch("42", load).source(&api).await?;
/// assert_eq!(ada.as_deref().map(String::as_str), Some("Ada"));
/// assert_eq!(api.stats().calls, 1);
/// # larder.shutdown(std::time::Duration::from_secs(5)).await }
/// ```
#[derive(Clone)]
pub struct LoadSource(Arc<Known>);

struct Known {
    name: Arc<str>,
    number: Number,
    shared: Arc<Shared>,
    state: Mutex<State>,
    calls: AtomicU64,
    failures: AtomicU64,
    refused: AtomicU64,
    turned_away: AtomicU64,
}

struct State {
    config: SourceConfig,
    circuit: Circuit,
    rng: fastrand::Rng,
}

impl Sources {
    pub fn new(clock: Clock, calls_in_flight_max: usize, count_max: usize) -> Self {
        let queue = Mutex::new(Queue::new(calls_in_flight_max));
        Self {
            shared: Arc::new(Shared { clock, queue }),
            by_name: Mutex::default(),
            count_max,
        }
    }

    /// The source of this name, as it was configured last.
    pub fn get(&self, name: &str) -> Result<LoadSource, Error> {
        let mut by_name = self.by_name.lock();
        if let Some(known) = by_name.get(name) {
            return Ok(known.clone());
        }
        self.add(&mut by_name, name, SourceConfig::default())
    }

    /// The same with other settings from now on.
    pub fn configure(&self, name: &str, config: SourceConfig) -> Result<LoadSource, Error> {
        config::refuse(config.problems())?;
        let mut by_name = self.by_name.lock();
        match by_name.get(name).cloned() {
            Some(known) => {
                drop(by_name);
                known.configure(config);
                Ok(known)
            }
            None => self.add(&mut by_name, name, config),
        }
    }

    fn add(
        &self,
        by_name: &mut HashMap<SmolStr, LoadSource>,
        name: &str,
        config: SourceConfig,
    ) -> Result<LoadSource, Error> {
        config::refuse(config::name_problems(name))?;
        if by_name.len() >= self.count_max {
            return Err(Error::Overloaded {
                limit: "sources_max",
                retry_after: Duration::from_secs(60),
            });
        }
        let number = self.shared.queue.lock().add(config.bounds());
        let known = LoadSource(Arc::new(Known {
            name: name.into(),
            number,
            shared: Arc::clone(&self.shared),
            state: Mutex::new(State::new(config, self.shared.clock.now_ms())),
            calls: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            turned_away: AtomicU64::new(0),
        }));
        by_name.insert(name.into(), known.clone());
        Ok(known)
    }

    /// What each comes to, by name.
    pub fn stats(&self) -> Vec<SourceStats> {
        let known: Vec<_> = self.by_name.lock().values().cloned().collect();
        let mut stats: Vec<_> = known.iter().map(LoadSource::stats).collect();
        stats.sort_by(|a, b| a.name.cmp(&b.name));
        stats
    }
}

impl State {
    fn new(config: SourceConfig, now_ms: Millis) -> Self {
        Self {
            circuit: Circuit::new(config.breaker.clone(), config.reopen, now_ms),
            config,
            rng: fastrand::Rng::new(),
        }
    }
}

impl LoadSource {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Takes the decision whether it is asked from its breaker, or gives it back: for instance while it is
    /// known to be under repair.
    pub fn force(&self, mode: BreakerMode) {
        let now_ms = self.now_ms();
        self.0.state.lock().circuit.force(mode, now_ms);
        if self.refuses_for().is_some() {
            self.look_again();
        }
    }

    /// How long one call of a loader may take.
    pub(crate) fn call_max(&self) -> Duration {
        Duration::from_millis(self.0.state.lock().config.call_ms_max)
    }

    /// Why a load need not be made now; nothing, if it may be.
    pub(crate) fn refuses(&self) -> Option<Error> {
        let retry_after = self.refuses_for()?;
        Some(Error::SourceUnavailable {
            name: Arc::clone(&self.0.name),
            retry_after,
        })
    }

    /// For how long nobody is to ask it; nothing, if somebody may.
    pub(crate) fn refuses_for(&self) -> Option<Duration> {
        let now_ms = self.now_ms();
        let refuses_for = self.0.state.lock().circuit.refuses_for(now_ms);
        refuses_for.map(Duration::from_millis)
    }

    /// Whether the two are one.
    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Leave to ask once, when it is this load's turn.
    pub(crate) async fn admit(&self, rank: &Rank, chain: &Chain) -> Result<Ticket, Error> {
        // IMPORTANT: whoever asks the source for this one may be the one who finds out whether it works.
        let is_part = chain.is_part_of_asking(self);
        loop {
            if let Some(left) = self.refuses_for().filter(|_| !is_part) {
                return Err(self.refusal(left));
            }
            let place = match rank.turn(self, is_part).await {
                Turn::Yours(place) => place,
                Turn::Away => return Err(self.full()),
                Turn::Look => continue,
            };
            let begun = match is_part {
                true => Ok(Pass::PART),
                false => self.begin(),
            };
            return match begun {
                Ok(pass) => {
                    self.0.calls.fetch_add(1, Ordering::Relaxed);
                    Ok(Ticket::new(self, pass, place, &chain.held))
                }
                Err(left_ms) => Err(self.refusal(Duration::from_millis(left_ms))),
            };
        }
    }

    fn begin(&self) -> Result<Pass, u64> {
        let (now_ms, state) = (self.now_ms(), &mut *self.0.state.lock());
        state.circuit.begin(now_ms, state.config.call_ms_max)
    }

    fn configure(&self, config: SourceConfig) {
        let (known, now_ms) = (&*self.0, self.now_ms());
        let in_now = known
            .shared
            .queue
            .lock()
            .resize(known.number, config.bounds());
        in_now.into_iter().for_each(Waiter::has_place);
        let mut state = known.state.lock();
        if (&state.config.breaker, state.config.reopen) != (&config.breaker, config.reopen) {
            let breaker = config.breaker.clone();
            state.circuit = state.circuit.with_rules(breaker, config.reopen, now_ms);
        }
        state.config = config;
    }

    fn ended(&self, pass: Pass, ended: Ended, took_ms: u64) {
        if !matches!(ended, Ended::Answered | Ended::Elsewhere) {
            self.0.failures.fetch_add(1, Ordering::Relaxed);
        }
        let now_ms = self.now_ms();
        let (turned, pause) = {
            let state = &mut *self.0.state.lock();
            let random = state.rng.f64();
            let turned = state.circuit.end(pass, ended, took_ms, now_ms, random);
            (turned, state.circuit.refuses_for(now_ms))
        };
        match turned {
            Turned::Opened(why) => {
                let pause_ms = pause.unwrap_or_default();
                let name = self.name();
                tracing::warn!(source = name, %why, pause_ms, "the source is left alone");
                self.look_again();
            }
            Turned::Closed => tracing::info!(source = self.name(), "the source is asked again"),
            Turned::Nothing => {}
        }
    }

    /// Has all who wait look whether it is still asked.
    fn look_again(&self) {
        let waiting = self.0.shared.queue.lock().drain(self.0.number);
        waiting
            .into_iter()
            .for_each(|waiter| waiter.tell(Turn::Look));
    }

    fn refusal(&self, retry_after: Duration) -> Error {
        self.0.refused.fetch_add(1, Ordering::Relaxed);
        Error::SourceUnavailable {
            name: Arc::clone(&self.0.name),
            retry_after,
        }
    }

    fn full(&self) -> Error {
        self.0.turned_away.fetch_add(1, Ordering::Relaxed);
        Error::Overloaded {
            limit: "calls_waiting_max",
            retry_after: QUEUE_RETRY_AFTER,
        }
    }

    fn now_ms(&self) -> Millis {
        self.0.shared.clock.now_ms()
    }
}

/// Shows its name and whether it is asked.
impl fmt::Debug for LoadSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadSource")
            .field("name", &self.0.name)
            .field("refuses_for", &self.refuses_for())
            .finish_non_exhaustive()
    }
}
