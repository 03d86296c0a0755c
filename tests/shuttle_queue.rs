//! The queue of the read lanes, as it is shipped, under a scheduler that explores interleavings.
//!
//! Some ask and some answer, and whoever asks waits until everything was answered: a question that nobody was woken
//! for stops all of them. A failure prints the schedule that broke it.
#![allow(dead_code, unused_imports)]
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
// Shuttle's atomics are large.
#![allow(clippy::large_enum_variant)]

#[path = "../src/clock.rs"]
mod clock;
#[path = "../src/drivers/queue.rs"]
mod queue;
#[path = "support/explored.rs"]
mod sync;

use shuttle::sync::mpsc;
use shuttle::thread;
use sync::{Arc, explore};

const ITERATIONS: usize = 2_000;
const ASKERS: usize = 2;
const QUESTIONS: usize = 3;

/// Everything is answered once while some can still ask, and the threads end when none can.
fn scenario(threads: usize) {
    let (sender, receiver) = queue::queue(ASKERS * QUESTIONS);
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
    explore(ITERATIONS, || scenario(3));
}

#[test]
fn one_thread_alone_answers_everything() {
    explore(ITERATIONS, || scenario(1));
}

#[test]
fn threads_end_that_rest_or_watch_when_the_last_sender_goes() {
    explore(ITERATIONS, || {
        let (sender, receiver) = queue::queue::<()>(1);
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
