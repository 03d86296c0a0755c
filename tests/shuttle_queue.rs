//! The queue of the read lanes, as it is shipped, under a scheduler that explores interleavings.
//!
//! Some ask and some answer, and whoever asks waits until everything was answered: a question that nobody was woken
//! for stops all of them. A failure prints the schedule that broke it.
#![allow(dead_code, unused_imports)]
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
// Shuttle's atomics are large.
#![allow(clippy::large_enum_variant)]

#[path = "../src/drivers/queue.rs"]
mod queue;
#[path = "support/explored.rs"]
mod sync;

/// Time that passes with each look at it, so that a schedule repeats.
mod clock {
    use std::cell::Cell;
    use std::sync::LazyLock;
    use std::time::{Duration, Instant};

    static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
    thread_local! {
        static LOOKS: Cell<u32> = const { Cell::new(0) };
    }

    pub struct Clock;

    impl Clock {
        pub fn instant() -> Instant {
            LOOKS.set(LOOKS.get() + 1);
            *BEGAN + LOOKS.get() * Duration::from_micros(1)
        }

        pub fn begin() {
            LOOKS.set(0);
        }
    }
}

use std::sync::atomic::{AtomicUsize, Ordering};

use queue::{Refused, queue};
use shuttle::sync::mpsc;
use shuttle::thread;
use sync::{Arc, explore};

const ITERATIONS: usize = 2_000;
const ASKERS: usize = 2;
/// More than threads rest after one has watched in vain.
const QUESTIONS: usize = 6;

/// Everything is answered once while some can still ask, and the threads end when none can.
fn scenario(threads: usize, strays: usize) {
    clock::Clock::begin();
    let (sender, receiver) = queue(ASKERS * QUESTIONS);
    let receiver = Arc::new(receiver);
    let (told, hears) = mpsc::channel();
    let mut all = Vec::new();
    for _ in 0..threads {
        let (receiver, told) = (Arc::clone(&receiver), told.clone());
        all.push(thread::spawn(move || {
            while let Some(question) = receiver.recv() {
                told.send(question).unwrap();
            }
        }));
    }
    // Who wakes them for reasons of its own.
    let answering: Vec<_> = all.iter().map(|it| it.thread().clone()).collect();
    all.push(thread::spawn(move || {
        for _ in 0..strays {
            answering.iter().for_each(|thread| thread.unpark());
            thread::yield_now();
        }
    }));
    for asker in 0..ASKERS {
        let sender = sender.clone();
        all.push(thread::spawn(move || {
            for nth in 0..QUESTIONS {
                sender.try_send(asker * QUESTIONS + nth).unwrap();
            }
        }));
    }
    let mut answered: Vec<usize> = (0..ASKERS * QUESTIONS)
        .map(|_| hears.recv().unwrap())
        .collect();
    answered.sort_unstable();
    assert!(answered.into_iter().eq(0..ASKERS * QUESTIONS));
    drop(sender);
    for thread in all {
        thread.join().unwrap();
    }
}

#[test]
fn every_question_is_answered_whoever_sleeps_or_watches_meanwhile() {
    explore(ITERATIONS, || scenario(3, 0));
}

#[test]
fn every_question_is_answered_whoever_else_wakes_the_threads() {
    explore(ITERATIONS, || scenario(2, 4));
}

#[test]
fn one_thread_alone_answers_everything() {
    explore(ITERATIONS, || scenario(1, 1));
}

#[test]
fn threads_end_that_rest_or_watch_when_the_last_sender_goes() {
    explore(ITERATIONS, || {
        clock::Clock::begin();
        let (sender, receiver) = queue::<()>(1);
        let receiver = Arc::new(receiver);
        let threads: Vec<_> = (0..3)
            .map(|_| {
                let receiver = Arc::clone(&receiver);
                thread::spawn(move || assert!(receiver.recv().is_none()))
            })
            .collect();
        drop(sender);
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

/// Counts when it is dropped.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn nothing_is_kept_of_what_is_sent_while_the_receiver_goes() {
    explore(ITERATIONS, || {
        clock::Clock::begin();
        let (sender, receiver) = queue(8);
        let dropped = Arc::new(AtomicUsize::new(0));
        let asker = thread::spawn({
            let dropped = Arc::clone(&dropped);
            move || {
                let send = |_| sender.try_send(Counted(Arc::clone(&dropped)));
                let sent: Vec<_> = (0..4).map(send).collect();
                assert!(!sent.contains(&Err(Refused::Full)));
                let first_refused = sent.iter().position(Result::is_err).unwrap_or(4);
                assert!(sent[first_refused..].iter().all(Result::is_err));
                sender
            }
        });
        let answerer = thread::spawn(move || drop(receiver.recv()));
        answerer.join().unwrap();
        let sender = asker.join().unwrap();
        assert_eq!(dropped.load(Ordering::SeqCst), 4);
        drop(sender);
    });
}
