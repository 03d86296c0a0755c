//! The only reader of time.
//!
//! [`Clock::now_ms`] is milliseconds since 1970 and never goes back: it starts at the wall clock (or
//! at what the store remembers, if that is later) and then follows the system's monotonic clock, so
//! a step of the wall clock moves no expiry. That clock stands while the machine sleeps, and no cheap
//! one goes on; but the wall clock jumps when it wakes, and a jump is what makes larder ask the dear one
//! how long it slept. Under `test-util` a clock can be moved by hand.

// By its path, since a test compiles this file under another roof.
#[path = "clock/base.rs"]
pub(crate) mod base;

#[cfg(feature = "test-util")]
use std::pin::pin;
use std::sync::Arc;
#[cfg(feature = "test-util")]
use std::task::Context;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use base::{Base, reading, slept_ms};

/// Milliseconds since 1970 as larder counts them; `u64::MAX` stands for "never".
pub type Millis = u64;

/// No deadline.
pub const NEVER: Millis = Millis::MAX;

/// Reads the time. Cheap to clone; all clones agree.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Source>);

#[derive(Debug)]
enum Source {
    System(Base),
    Manual(watch::Sender<Millis>),
}

/// The longest sleep of a timer: it stands while the machine sleeps, too.
const NAP_MS_MAX: u64 = 10_000;

impl Clock {
    /// The system's clock.
    pub fn system() -> Self {
        Self(Arc::new(Source::System(Base::new(reading(), slept_ms()))))
    }

    /// A clock that stands at `start_ms` until it is [`advance`](Clock::advance)d.
    pub fn manual(start_ms: Millis) -> Self {
        Self(Arc::new(Source::Manual(watch::Sender::new(start_ms))))
    }

    /// Milliseconds since 1970. Costs a few nanoseconds; resolution is the kernel's tick (4 ms or
    /// better on Linux).
    #[inline]
    pub fn now_ms(&self) -> Millis {
        match &*self.0 {
            Source::System(base) => base.now_ms(reading(), slept_ms),
            Source::Manual(now) => *now.borrow(),
        }
    }

    /// As [`now_ms`](Clock::now_ms), without the time that the machine has slept since the start: for
    /// how long a call has been under way. What nobody has worked at is not late.
    pub fn awake_ms(&self) -> Millis {
        match &*self.0 {
            Source::System(base) => base.awake_ms(reading()),
            Source::Manual(now) => *now.borrow(),
        }
    }

    /// Never reports a time before `floor_ms` from now on.
    pub fn raise(&self, floor_ms: Millis) {
        match &*self.0 {
            Source::System(base) => {
                base.raise(reading(), floor_ms);
            }
            Source::Manual(now) => {
                now.send_if_modified(|now| {
                    let later = floor_ms > *now;
                    *now = (*now).max(floor_ms);
                    later
                });
            }
        }
    }

    /// Moves a manual clock forward and wakes what sleeps on it; a system clock ignores it.
    pub fn advance(&self, by: Duration) {
        if let Source::Manual(now) = &*self.0 {
            now.send_modify(|now| *now = now.saturating_add(millis(by)));
        }
    }

    /// Returns once the clock has reached `at_ms`. Must be polled within larder's runtime.
    ///
    /// # Cancel safety
    ///
    /// Dropping it has no effect.
    pub async fn sleep_until(&self, at_ms: Millis) {
        match &*self.0 {
            Source::System(_) => loop {
                let now = self.now_ms();
                if now >= at_ms {
                    return;
                }
                let wait = (at_ms - now).min(NAP_MS_MAX);
                tokio::time::sleep(Duration::from_millis(wait)).await;
            },
            Source::Manual(now) => {
                let mut seen = now.subscribe();
                // The sender lives as long as `self`, so this ends only when time has come.
                let _ = seen.wait_for(|now| *now >= at_ms).await;
            }
        }
    }

    /// Blocks the calling thread until the clock has reached `at_ms`. For drivers that play slow
    /// devices; never on a host's thread.
    #[cfg(feature = "test-util")]
    pub fn block_until(&self, at_ms: Millis) {
        match &*self.0 {
            Source::System(_) => loop {
                let now = self.now_ms();
                if now >= at_ms {
                    return;
                }
                std::thread::park_timeout(Duration::from_millis(at_ms - now));
            },
            Source::Manual(now) => {
                let waker = Arc::new(Unpark(std::thread::current())).into();
                let mut context = Context::from_waker(&waker);
                let mut seen = now.subscribe();
                let mut reached = pin!(seen.wait_for(|now| *now >= at_ms));
                while reached.as_mut().poll(&mut context).is_pending() {
                    std::thread::park();
                }
            }
        }
    }

    /// An instant for measuring how long something took; not for expiry.
    pub fn instant() -> Instant {
        Instant::now()
    }
}

/// Wakes a blocked thread.
#[cfg(feature = "test-util")]
struct Unpark(std::thread::Thread);

#[cfg(feature = "test-util")]
impl std::task::Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// A duration in whole milliseconds, rounded up, saturating.
pub fn millis(d: Duration) -> Millis {
    let whole = u64::try_from(d.as_millis()).unwrap_or(NEVER);
    whole.saturating_add(u64::from(!d.subsec_nanos().is_multiple_of(1_000_000)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_clock_stands_near_the_wall_clock_and_never_goes_back() {
        let clock = Clock::system();
        let first = clock.now_ms();
        assert!(first > 1_700_000_000_000);
        clock.raise(first + 60_000);
        assert!(clock.now_ms() >= first + 60_000);
        clock.raise(5);
        clock.advance(Duration::from_secs(1));
        assert!(clock.now_ms() >= first + 60_000);
        assert!(clock.awake_ms() >= first + 60_000, "nobody slept");
    }

    #[test]
    fn a_manual_clock_moves_only_by_hand() {
        let clock = Clock::manual(1_000);
        assert_eq!(clock.now_ms(), 1_000);
        clock.advance(Duration::from_millis(5));
        clock.raise(900);
        assert_eq!(clock.clone().now_ms(), 1_005);
        clock.raise(2_000);
        assert_eq!((clock.now_ms(), clock.awake_ms()), (2_000, 2_000));
    }

    #[tokio::test]
    async fn a_sleeper_wakes_when_the_hand_reaches_its_time() {
        let clock = Clock::manual(0);
        let sleeper = tokio::spawn({
            let clock = clock.clone();
            async move { clock.sleep_until(100).await }
        });
        clock.advance(Duration::from_millis(100));
        sleeper.await.unwrap();
        Clock::system().sleep_until(0).await;
        let system = Clock::system();
        system.sleep_until(system.now_ms() + 5).await;
    }

    #[cfg(feature = "test-util")]
    #[test]
    fn a_blocked_thread_goes_on_when_the_hand_reaches_its_time() {
        let clock = Clock::manual(0);
        let blocked = std::thread::spawn({
            let clock = clock.clone();
            move || clock.block_until(100)
        });
        clock.advance(Duration::from_millis(99));
        assert!(!blocked.is_finished());
        clock.advance(Duration::from_millis(1));
        blocked.join().unwrap();
        let system = Clock::system();
        let at_ms = system.now_ms() + 5;
        system.block_until(at_ms);
        assert!(system.now_ms() >= at_ms);
    }

    #[test]
    fn durations_round_up_to_whole_milliseconds() {
        assert_eq!(millis(Duration::from_micros(1)), 1);
        assert_eq!(millis(Duration::from_millis(7)), 7);
        assert_eq!(millis(Duration::MAX), NEVER);
    }
}
