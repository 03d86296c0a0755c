//! What a driver's threads tell of their calls: when the one under way began, and how it ended.
//!
//! One per generation. The supervisor's watchdog reads it, and condemns a generation that is of no more
//! use: its threads then call the driver no more.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::Failure;
use crate::clock::{Clock, Millis};

/// What a generation's threads are doing.
pub struct Pulse {
    clock: Clock,
    is_condemned: AtomicBool,
    /// By thread: when its call began, plus one; 0 while it makes none.
    calls: Box<[AtomicU64]>,
    told: Box<dyn Fn(Ended<'_>) + Send + Sync>,
}

/// A call of the driver that has ended.
pub struct Ended<'a> {
    /// Which thread made it.
    pub thread: Thread,
    /// Why it failed, if it did.
    pub failure: Option<&'a Failure>,
    /// How long it took.
    pub took_ms: u64,
}

/// A call of the driver that is under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnderWay {
    /// Which thread makes it.
    pub thread: Thread,
    /// When it began, on [`Clock::awake_ms`].
    pub began_ms: Millis,
}

/// A thread of a driver.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Thread {
    /// The one that writes.
    Commit,
    /// One of those that read.
    Read(usize),
}

impl fmt::Display for Thread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Commit => "the commit lane",
            Self::Read(_) => "a read thread",
        })
    }
}

impl Thread {
    fn at(self) -> usize {
        match self {
            Self::Commit => 0,
            Self::Read(nth) => nth + 1,
        }
    }
}

/// What a call gives; nothing if it panics.
pub fn unharmed<T>(call: impl FnOnce() -> T) -> Option<T> {
    let done = catch_unwind(AssertUnwindSafe(call));
    let harmless = |payload| {
        // It may be anything of somebody else's, and panic again when it is dropped.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(payload)));
    };
    done.map_err(harmless).ok()
}

impl Pulse {
    /// For a commit thread and `read_threads` others. `told` hears of every call that ended, on the
    /// thread that made it.
    pub fn new(
        clock: Clock,
        read_threads: usize,
        told: impl Fn(Ended<'_>) + Send + Sync + 'static,
    ) -> Self {
        Self {
            clock,
            is_condemned: AtomicBool::new(false),
            calls: (0..=read_threads).map(|_| AtomicU64::new(0)).collect(),
            told: Box::new(told),
        }
    }

    /// Makes a call of the driver on a thread. A panic in it is a failure.
    ///
    /// # Errors
    ///
    /// What the call says; [`Failure::Reopen`] without a call if the generation is condemned.
    pub fn call<T>(
        &self,
        thread: Thread,
        call: impl FnOnce() -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        if self.is_condemned() {
            return Err(Failure::reopen("the driver is being restarted"));
        }
        let began_ms = self.clock.awake_ms();
        self.note(thread, began_ms.saturating_add(1));
        let panicked = || Err(Failure::reopen("the driver panicked"));
        let done = unharmed(call).unwrap_or_else(panicked);
        self.note(thread, 0);
        (self.told)(Ended {
            thread,
            failure: done.as_ref().err(),
            took_ms: self.clock.awake_ms().saturating_sub(began_ms),
        });
        done
    }

    /// Lets no further call be made. What is queued is answered with a failure.
    pub fn condemn(&self) {
        self.is_condemned.store(true, Ordering::Release);
    }

    /// Whether the generation is condemned.
    pub fn is_condemned(&self) -> bool {
        self.is_condemned.load(Ordering::Acquire)
    }

    /// The call that has been under way for longest.
    pub fn oldest(&self) -> Option<UnderWay> {
        let began = self.calls.iter().enumerate().filter_map(|(at, began)| {
            let began_ms = began.load(Ordering::Acquire).checked_sub(1)?;
            let thread = at.checked_sub(1).map_or(Thread::Commit, Thread::Read);
            Some(UnderWay { thread, began_ms })
        });
        began.min_by_key(|call| call.began_ms)
    }

    /// Whether each thread that reads is in a call that began no later than that.
    pub fn reads_all_since(&self, at_ms: Millis) -> bool {
        let mut reads = self.calls.iter().skip(1).peekable();
        reads.peek().is_some()
            && reads.all(|began| {
                let began_ms = began.load(Ordering::Acquire).checked_sub(1);
                began_ms.is_some_and(|began_ms| began_ms <= at_ms)
            })
    }

    fn note(&self, thread: Thread, began: u64) {
        if let Some(call) = self.calls.get(thread.at()) {
            call.store(began, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use super::*;

    type Log = Arc<Mutex<Vec<(Option<String>, u64)>>>;

    fn pulse(clock: &Clock) -> (Pulse, Log) {
        let log = Log::default();
        let to = Arc::clone(&log);
        let told = move |ended: Ended<'_>| {
            let failure = ended.failure.map(ToString::to_string);
            to.lock().unwrap().push((failure, ended.took_ms));
        };
        (Pulse::new(clock.clone(), 2, told), log)
    }

    #[test]
    fn every_call_is_told_with_how_it_ended_and_how_long_it_took() {
        let clock = Clock::manual(100);
        let (pulse, log) = pulse(&clock);
        let slow = || {
            clock.advance(Duration::from_millis(7));
            Ok(1)
        };
        assert_eq!(pulse.call(Thread::Commit, slow).unwrap(), 1);
        let panics = || -> Result<(), Failure> { panic!("boom") };
        assert!(matches!(
            pulse.call(Thread::Read(1), panics),
            Err(Failure::Reopen { .. })
        ));
        let told = log.lock().unwrap();
        assert_eq!(
            *told,
            [(None, 7), (Some("the driver panicked".to_owned()), 0)]
        );
    }

    #[test]
    fn the_oldest_call_under_way_is_known() {
        let clock = Clock::manual(0);
        let (pulse, _) = pulse(&clock);
        assert_eq!(pulse.oldest(), None);
        let inner = || {
            clock.advance(Duration::from_millis(5));
            let read = || {
                let oldest = pulse.oldest().unwrap();
                assert_eq!((oldest.thread, oldest.began_ms), (Thread::Commit, 0));
                Ok(())
            };
            pulse.call(Thread::Read(0), read)
        };
        pulse.call(Thread::Commit, inner).unwrap();
        assert_eq!(pulse.oldest(), None);
    }

    #[test]
    fn a_condemned_generation_calls_its_driver_no_more() {
        let (pulse, log) = pulse(&Clock::manual(0));
        pulse.condemn();
        let call = || -> Result<(), Failure> { panic!("called") };
        let answer = pulse.call(Thread::Commit, call).unwrap_err();
        assert_eq!(answer.to_string(), "the driver is being restarted");
        assert!(log.lock().unwrap().is_empty());
    }
}
