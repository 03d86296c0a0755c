//! A bounded queue between async code and threads, of which the one that has rested for the shortest time is woken:
//! what it used last is still in its processor's caches, and where one thread keeps up the others sleep on.
//!
//! Things are taken in the order in which they came. A channel wakes the longest idle thread, so that each question
//! finds another one, and a cold one. One thread at a time watches for a moment before it rests: whoever asks one
//! question after the other finds it awake.

use std::collections::VecDeque;
use std::hint::spin_loop;
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use crate::clock::Clock;
use crate::sync::{Arc, AtomicBool, Mutex, Ordering, Thread, park, this_thread};

/// How long a thread watches: longer than it takes whoever was answered to wake and to ask the next question.
const WATCH: Duration = Duration::from_micros(30);
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
    state: Mutex<State<T>>,
}

struct State<T> {
    /// Oldest first.
    items: VecDeque<T>,
    /// The threads that rest, or are about to; the last one to do so is the last.
    idle: Vec<Thread>,
    /// Since when a thread watches.
    watching: Option<Instant>,
    /// How many are to rest at once before one watches again.
    rests: u32,
    has_senders: bool,
    has_receiver: bool,
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
            watching: None,
            rests: 0,
            has_senders: true,
            has_receiver: true,
        }
    }

    /// The thread to be woken for what was just put in.
    fn woken(&mut self, now: impl FnOnce() -> Instant) -> Option<Thread> {
        let watching = self.watching.filter(|_| self.items.len() == 1);
        // One that should have ended by now is not running.
        let is_watched = watching.is_some_and(|since| now() < since + WATCH);
        if is_watched { None } else { self.idle.pop() }
    }

    /// For a thread that has just watched, or not.
    fn next(&mut self, has_watched: bool, may_watch: bool) -> Next<T> {
        if has_watched {
            self.watching = None;
        }
        if let Some(item) = self.items.pop_front() {
            return Next::Take(item);
        }
        if !self.has_senders {
            return Next::End;
        }
        if has_watched {
            self.rests = RESTS;
            return Next::Rest;
        }
        if !may_watch || self.watching.is_some() {
            return Next::Rest;
        }
        if self.rests > 0 {
            self.rests -= 1;
            return Next::Rest;
        }
        self.watching = Some(Clock::instant());
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

    fn watch(&self) {
        let began = Clock::instant();
        while !self.has_news.load(Ordering::Acquire) && began.elapsed() < WATCH {
            spin_loop();
        }
    }
}

impl<T> Sender<T> {
    /// Puts something in the queue, and sees to it that a thread takes it. Does not block.
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
            Ok(state.woken(Clock::instant))
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
        let (mut me, mut has_watched) = (None, false);
        loop {
            let next = self.0.change(|state| {
                // Whoever was woken is not among the idle any more; whoever woke by itself still is.
                if let Some(me) = &me {
                    let is_other = |thread: &Thread| Thread::id(thread) != Thread::id(me);
                    state.idle.retain(is_other);
                }
                let next = state.next(has_watched, self.0.may_watch);
                if matches!(next, Next::Rest) {
                    let me: &Thread = me.get_or_insert_with(this_thread);
                    state.idle.push(me.clone());
                }
                next
            });
            has_watched = false;
            match next {
                Next::Take(item) => return Some(item),
                Next::End => return None,
                Next::Rest => park(),
                Next::Watch => {
                    self.0.watch();
                    has_watched = true;
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
