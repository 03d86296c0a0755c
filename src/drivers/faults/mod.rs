//! Drivers that fail on demand: for tests of larder, of drivers, and of hosts that want to see what
//! becomes of them when their disk does.
//!
//! [`Faults`] is the hand that steers: put over any driver, it makes calls fail, block, panic, lie or
//! damage what they carry. [`Platform`] is a store with the manners of the key-value stores of mobile
//! platforms.

mod driver;
mod meter;
mod plan;
mod platform;

use std::fmt;
use std::panic::resume_unwind;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use tokio::sync::watch;

use super::Factory;
use crate::clock::{Clock, millis};
use driver::Faulty;
use plan::Plan;

pub use plan::{Calls, Fault, Op, When};
pub use platform::{Platform, PlatformCounts, PlatformDriver, PlatformLimits};

/// What befalls the calls of a driver. All clones are the same one, so a test keeps one and steers.
///
/// ```
/// use larder::drivers::faults::{Calls, Fault, Faults, Op, When};
/// use larder::drivers::map::MapStore;
///
/// let faults = Faults::new();
/// let factory = faults.over(MapStore::new().factory());
///
/// // Opening fails twice, then works.
/// faults.inject(Op::Open, When::First(2), Fault::Reopen);
/// assert!(factory().is_err() && factory().is_err());
/// let driver = factory()?;
///
/// // One read in ten returns something damaged, the third write from now on panics.
/// faults.inject(Calls::Reads, When::Share(0.1), Fault::Corrupt);
/// faults.inject(Calls::Writes, When::Nth(3), Fault::Panic);
///
/// // All is well again, and a test may ask what came through.
/// faults.repair();
/// assert_eq!(driver.get(b"users/42")?, None);
/// assert_eq!((faults.calls(Op::Open), faults.calls(Op::Get)), (3, 1));
/// # Ok::<(), larder::drivers::Failure>(())
/// ```
///
/// Whoever waits for a call to be under way need not sleep:
///
/// ```
/// # #[tokio::main] async fn main() -> Result<(), larder::Error> {
/// use larder::drivers::faults::{Fault, Faults, Op, When};
/// use larder::{CommitConfig, Durability, Larder, drivers::map::MapStore};
///
/// let faults = Faults::new();
/// let store = faults.over(MapStore::new().factory());
/// let larder = Larder::builder()
///     .driver_factory("store", CommitConfig::default(), store)
///     .start()
///     .await?;
/// let cache = larder.cache::<u64>("numbers")?;
///
/// faults.inject(Op::Commit, When::Nth(1), Fault::Hang);
/// cache.set("a", 1).await?;
/// faults.entered().await;
/// assert_eq!(*cache.get("a").await?.expect("in memory"), 1);
/// faults.release();
/// larder.flush(Durability::Written).await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Faults(Arc<Shared>);

struct Shared {
    clock: Clock,
    state: Mutex<State>,
    released: Condvar,
    /// Told of every call and of every one that hangs.
    changed: watch::Sender<()>,
}

struct State {
    plan: Plan,
    /// Calls that hang.
    hanging: usize,
    /// How often hanging calls were let go.
    releases: u64,
}

impl Default for Faults {
    fn default() -> Self {
        Self::new()
    }
}

impl Faults {
    /// No faults yet; delays take their time on the system's clock.
    pub fn new() -> Self {
        Self::on(Clock::system())
    }

    /// No faults yet; delays take their time on this clock, which should be larder's.
    pub fn on(clock: Clock) -> Self {
        Self(Arc::new(Shared {
            clock,
            state: Mutex::new(State {
                plan: Plan::new(0),
                hanging: 0,
                releases: 0,
            }),
            released: Condvar::new(),
            changed: watch::Sender::new(()),
        }))
    }

    /// Drivers of `inner` under these faults.
    pub fn over(&self, inner: Factory) -> Factory {
        let faults = self.clone();
        Arc::new(move || Ok(Box::new(Faulty::open(&faults, &inner)?)))
    }

    /// What is left to chance is drawn from this seed from now on. Default: 0.
    pub fn seed(&self, seed: u64) {
        self.0.state.lock().plan.seed(seed);
    }

    /// Adds a rule: these calls meet this fault. Where several rules strike a call, the earliest one
    /// counts.
    pub fn inject(&self, calls: impl Into<Calls>, when: When, fault: Fault) {
        self.0.state.lock().plan.add(calls.into(), when, fault);
    }

    /// Adds a list of rules: the `n`th call of a kind from now on, counted from 1, meets this fault.
    ///
    /// ```
    /// use larder::drivers::faults::{Fault, Faults, Op};
    /// # use larder::drivers::map::MapStore;
    /// let faults = Faults::new();
    /// let driver = faults.over(MapStore::new().factory())()?;
    /// faults.script([(Op::Get, 2, Fault::Retry), (Op::Commit, 5, Fault::Unknown)]);
    /// assert!(driver.get(b"a").is_ok());
    /// assert!(driver.get(b"a").is_err());
    /// assert_eq!(faults.struck(), 1);
    /// # Ok::<(), larder::drivers::Failure>(())
    /// ```
    pub fn script(&self, faults: impl IntoIterator<Item = (Op, u64, Fault)>) {
        let mut state = self.0.state.lock();
        for (op, nth, fault) in faults {
            state.plan.add(op.into(), When::Nth(nth), fault);
        }
    }

    /// No faults any more: every rule is forgotten and hanging calls go on. An instance that is
    /// poisoned stays so.
    pub fn repair(&self) {
        self.0.state.lock().plan.clear();
        self.release();
    }

    /// Hanging calls go on. Later ones hang as the rules say.
    pub fn release(&self) {
        self.0.state.lock().releases += 1;
        self.0.released.notify_all();
    }

    /// How many of these calls were made, whatever became of them.
    pub fn calls(&self, calls: impl Into<Calls>) -> u64 {
        self.0.state.lock().plan.calls(calls.into())
    }

    /// How many calls met a fault.
    pub fn struck(&self) -> u64 {
        self.0.state.lock().plan.struck()
    }

    /// How many calls hang.
    pub fn hanging(&self) -> usize {
        self.0.state.lock().hanging
    }

    /// Returns once a call hangs.
    ///
    /// # Cancel safety
    ///
    /// Dropping it has no effect.
    pub async fn entered(&self) {
        self.until(|state| state.hanging > 0).await;
    }

    /// Returns once so many of these calls were made, from the beginning.
    ///
    /// # Cancel safety
    ///
    /// Dropping it has no effect.
    pub async fn called(&self, calls: impl Into<Calls>, count: u64) {
        let calls = calls.into();
        self.until(|state| state.plan.calls(calls) >= count).await;
    }

    async fn until(&self, is: impl Fn(&State) -> bool) {
        let mut changed = self.0.changed.subscribe();
        while !is(&self.0.state.lock()) {
            // The sender lives as long as `self`.
            let _ = changed.changed().await;
        }
    }

    /// A call is made: blocks or panics as the plan says. What else befalls it.
    fn meet(&self, op: Op) -> Option<Fault> {
        let clock = &self.0.clock;
        // Before the call is announced: whoever moves the clock then moves it for this call.
        let began_ms = clock.now_ms();
        let (fault, releases) = self.decide(op);
        match fault? {
            Fault::Delay(time) => {
                clock.block_until(began_ms.saturating_add(millis(time)));
                None
            }
            Fault::Hang => {
                self.hang(releases);
                None
            }
            Fault::Panic => resume_unwind(Box::new("a panic on demand")),
            other => Some(other),
        }
    }

    /// What befalls a call, and how often those that hang had been released by then: whoever hears of the
    /// call may release it before it hangs.
    fn decide(&self, op: Op) -> (Option<Fault>, u64) {
        let mut state = self.0.state.lock();
        let decided = (state.plan.call(op), state.releases);
        drop(state);
        self.0.changed.send_replace(());
        decided
    }

    fn hang(&self, releases: u64) {
        let mut state = self.0.state.lock();
        state.hanging += 1;
        self.0.changed.send_replace(());
        while state.releases == releases {
            self.0.released.wait(&mut state);
        }
        state.hanging -= 1;
    }

    /// A number by chance.
    fn draw(&self) -> u64 {
        self.0.state.lock().plan.draw()
    }
}

/// Shows the rules and counts.
impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.0.state.lock();
        f.debug_struct("Faults")
            .field("plan", &state.plan)
            .field("hanging", &state.hanging)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_is_released_before_it_hangs_goes_on() {
        let faults = Faults::new();
        faults.inject(Op::Get, When::Always, Fault::Hang);
        let (fault, releases) = faults.decide(Op::Get);
        assert_eq!(fault, Some(Fault::Hang));
        faults.repair();
        let (ended, waiting) = std::sync::mpsc::channel();
        let hangs = faults.clone();
        std::thread::spawn(move || {
            hangs.hang(releases);
            ended.send(()).unwrap();
        });
        let waited = waiting.recv_timeout(std::time::Duration::from_secs(5));
        faults.repair();
        waited.unwrap();
    }
}
