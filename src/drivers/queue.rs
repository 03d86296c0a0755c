//! A bounded queue between async code and threads, of which the one that has rested for the shortest time is woken:
//! what it used last is still in its processor's caches, and where one thread keeps up the others sleep on.
//!
//! Things are taken in the order in which they came. A channel wakes the longest idle thread, so that each question
//! finds another one, and a cold one. One thread at a time watches for a moment before it rests: whoever asks one
//! question after the other finds it awake. It says all the time that it runs, so that nobody is left
//! to one that had lost its processor before.

use std::collections::VecDeque;
use std::hint::spin_loop;
use std::thread::{available_parallelism, yield_now};
use std::time::{Duration, Instant};

use crate::clock::Clock;
use crate::sync::{Arc, AtomicBool, AtomicU64, Mutex, Ordering, Thread, park, this_thread};

/// How long a thread watches: longer than it takes whoever was answered to wake and to ask the next question.
const WATCH: Duration = Duration::from_micros(30);
/// One that has not said for so long that it runs does not.
const BEAT: Duration = Duration::from_micros(5);
/// After one has watched in vain, so many rest at once before another one watches.
const RESTS: u32 = 7;

/// A queue that holds at most `most`.
pub fn queue<T>(most: usize) -> (Sender<T>, Receiver<T>) {
    // With one processor whoever would ask waits for who watches.
    let may_watch = available_parallelism().is_ok_and(|count| count.get() > 1);
    let shared = Arc::new(Shared {
        most,
        may_watch,
        has_news: AtomicBool::new(false),
        made: Clock::instant(),
        beat: AtomicU64::new(0),
        state: Mutex::new(State::new()),
    });
    let receiver = Receiver(Arc::clone(&shared));
    (Sender(Arc::new(SendEnd(shared))), receiver)
}

/// Where things are put. When the last clone is gone the threads take what is left, and end.
pub struct Sender<T>(Arc<SendEnd<T>>);

/// Where threads take things, by reference. When it is gone, so is what nobody took.
pub struct Receiver<T>(Arc<Shared<T>>);

/// Why something was not put in the queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// It holds as much as it may.
    Full,
    /// Nobody will take anything any more.
    Gone,
}

struct SendEnd<T>(Arc<Shared<T>>);

struct Shared<T> {
    most: usize,
    may_watch: bool,
    /// For who watches: there is something to be taken, or nothing more to come. Changed with the lock.
    has_news: AtomicBool,
    /// When the queue was made.
    made: Instant,
    /// When who watches last said that it runs, in nanoseconds since then.
    beat: AtomicU64,
    state: Mutex<State<T>>,
}

struct State<T> {
    /// Oldest first.
    items: VecDeque<T>,
    /// The threads that rest, or are about to; the last one to do so is the last.
    idle: Vec<Thread>,
    /// A thread watches.
    is_watched: bool,
    /// How many are to rest at once before one watches again.
    rests: u32,
    has_senders: bool,
    has_receiver: bool,
}

/// What a thread has done before it asks what to do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Done {
    /// It has worked, or rested.
    Other,
    /// It has watched, and there was news.
    Watched,
    /// It has watched for as long as one does.
    WatchedInVain,
}

/// What a thread is to do next.
enum Next<T> {
    Take(T),
    End,
    Watch,
    Rest,
}

impl<T> State<T> {
    fn new() -> Self {
        Self {
            items: VecDeque::new(),
            idle: Vec::new(),
            is_watched: false,
            rests: 0,
            has_senders: true,
            has_receiver: true,
        }
    }

    /// The thread to be woken for what was just put in. Who watches takes one thing, if it runs.
    fn woken(&mut self, runs: impl FnOnce() -> bool) -> Option<Thread> {
        let is_seen = self.is_watched && self.items.len() == 1 && runs();
        if is_seen { None } else { self.idle.pop() }
    }

    fn next(&mut self, done: Done, may_watch: bool) -> Next<T> {
        let item = self.items.pop_front();
        if done == Done::Watched && item.is_none() && self.has_senders {
            // Somebody was faster.
            return Next::Watch;
        }
        self.is_watched &= done == Done::Other;
        if let Some(item) = item {
            return Next::Take(item);
        }
        if !self.has_senders {
            return Next::End;
        }
        if done == Done::WatchedInVain {
            self.rests = RESTS;
            return Next::Rest;
        }
        if !may_watch || self.is_watched {
            return Next::Rest;
        }
        if self.rests > 0 {
            self.rests -= 1;
            return Next::Rest;
        }
        self.is_watched = true;
        Next::Watch
    }

    fn has_news(&self) -> bool {
        !self.items.is_empty() || !self.has_senders
    }
}

impl<T> Shared<T> {
    /// Changes the state with the lock.
    fn change<R>(&self, change: impl FnOnce(&mut State<T>) -> R) -> R {
        let mut state = self.state.lock();
        let done = change(&mut state);
        self.has_news.store(state.has_news(), Ordering::Release);
        done
    }

    /// Nanoseconds since the queue was made.
    fn now(&self) -> u64 {
        let age = Clock::instant().saturating_duration_since(self.made);
        u64::try_from(age.as_nanos()).unwrap_or(u64::MAX)
    }

    /// Who watches says that it runs.
    fn beats(&self) -> u64 {
        let now = self.now();
        self.beat.store(now, Ordering::Release);
        now
    }

    /// Whether who watches has said lately that it runs.
    fn runs(&self) -> bool {
        let silent = self.now().saturating_sub(self.beat.load(Ordering::Acquire));
        Duration::from_nanos(silent) < BEAT
    }

    /// Waits for news until then, in nanoseconds since the queue was made.
    fn watch(&self, until: u64) -> Done {
        loop {
            if self.has_news.load(Ordering::Acquire) {
                return Done::Watched;
            }
            if self.beats() >= until {
                return Done::WatchedInVain;
            }
            spin_loop();
        }
    }
}

impl<T> Sender<T> {
    /// Puts something in the queue, and sees to it that a thread takes it. Does not wait for one.
    ///
    /// # Errors
    ///
    /// [`Refused`]; `item` is dropped.
    pub fn try_send(&self, item: T) -> Result<(), Refused> {
        let shared = &self.0.0;
        let mut item = Some(item);
        let woken = shared.change(|state| {
            if !state.has_receiver {
                return Err(Refused::Gone);
            }
            if state.items.len() >= shared.most {
                return Err(Refused::Full);
            }
            state.items.extend(item.take());
            Ok(state.woken(|| shared.runs()))
        });
        // What was refused is dropped after the lock was: it may tell somebody who asks again.
        drop(item);
        if let Some(thread) = woken? {
            thread.unpark();
        }
        Ok(())
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Drop for SendEnd<T> {
    fn drop(&mut self) {
        let idle = self.0.change(|state| {
            state.has_senders = false;
            std::mem::take(&mut state.idle)
        });
        idle.iter().for_each(Thread::unpark);
    }
}

impl<T> Receiver<T> {
    /// Waits for the next thing; `None` when there will be none.
    pub fn recv(&self) -> Option<T> {
        let shared = &self.0;
        let (mut me, mut done, mut until) = (None, Done::Other, 0);
        loop {
            let next = shared.change(|state| {
                // Whoever was woken is not among the idle any more; whoever woke by itself still is.
                if let Some(me) = &me {
                    let is_other = |thread: &Thread| Thread::id(thread) != Thread::id(me);
                    state.idle.retain(is_other);
                }
                let next = state.next(done, shared.may_watch);
                if done == Done::Other && matches!(next, Next::Watch) {
                    // It does not run until it says so.
                    shared.beat.store(0, Ordering::Release);
                }
                if matches!(next, Next::Rest) {
                    let me: &Thread = me.get_or_insert_with(this_thread);
                    state.idle.push(me.clone());
                }
                next
            });
            match next {
                Next::Take(item) => return Some(item),
                Next::End => return None,
                Next::Rest => {
                    park();
                    done = Done::Other;
                }
                Next::Watch => {
                    if done == Done::Other {
                        // Whoever was just answered may wait for this processor.
                        yield_now();
                        until = shared.beats().saturating_add(WATCH.as_nanos() as u64);
                    }
                    done = shared.watch(until);
                }
            }
        }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let items = self.0.change(|state| {
            state.has_receiver = false;
            std::mem::take(&mut state.items)
        });
        // Whoever waits for one of them is told so.
        drop(items);
    }
}

// By its path, since a test compiles this file under another roof.
#[path = "queue/tests.rs"]
#[cfg(test)]
mod tests;
