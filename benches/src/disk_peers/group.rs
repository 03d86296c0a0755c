//! Threads around a bare store, for callers that must not block: one that collects what waits and makes one
//! batch of it, and one that reads.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use super::records::Records;
use super::{Safety, Store};

/// Most records of one batch.
const BATCH_MAX: usize = 1_024;

type Ask = (u32, oneshot::Sender<()>);

/// The thread, and the way to it.
pub struct Group {
    asks: Sender<Ask>,
    thread: JoinHandle<()>,
}

impl Group {
    pub fn new(store: Box<dyn Store>, records: Arc<Records>) -> Self {
        let (asks, waiting) = channel();
        let thread = std::thread::spawn(move || serve(&*store, &records, &waiting));
        Self { asks, thread }
    }

    /// A way to set for one task.
    pub fn writer(&self) -> Writer {
        Writer(self.asks.clone())
    }

    /// Ends the thread and closes the store.
    pub fn end(self) {
        drop(self.asks);
        self.thread.join().expect("a thread that ends well");
    }
}

pub struct Writer(Sender<Ask>);

impl Writer {
    /// Returns when the record is on the device.
    pub async fn set(&self, n: u32) {
        let (answer, done) = oneshot::channel();
        self.0.send((n, answer)).expect("a thread that listens");
        done.await.expect("an answer");
    }
}

fn serve(store: &dyn Store, records: &Records, waiting: &Receiver<Ask>) {
    let (mut numbers, mut answers) = (Vec::new(), Vec::new());
    while let Ok(first) = waiting.recv() {
        for (n, answer) in [first].into_iter().chain(waiting.try_iter()) {
            numbers.push(n);
            answers.push(answer);
            if numbers.len() == BATCH_MAX {
                break;
            }
        }
        store.commit(records, &numbers, Safety::Synced);
        numbers.clear();
        for answer in answers.drain(..) {
            answer.send(()).expect("somebody who waits");
        }
    }
}

/// A thread that reads for others.
pub struct Reader {
    asks: Sender<Question>,
    thread: JoinHandle<()>,
}

type Question = (String, oneshot::Sender<bool>);

impl Reader {
    pub fn new(store: Box<dyn Store>) -> Self {
        let (asks, waiting) = channel::<Question>();
        let thread = std::thread::spawn(move || {
            for (key, answer) in waiting {
                answer.send(store.get(&key)).expect("somebody who waits");
            }
        });
        Self { asks, thread }
    }

    /// Whether there is a record of this key.
    pub async fn get(&self, key: &str) -> bool {
        let (answer, found) = oneshot::channel();
        let asked = self.asks.send((key.to_owned(), answer));
        asked.expect("a thread that listens");
        found.await.expect("an answer")
    }

    /// Ends the thread and closes the store.
    pub fn end(self) {
        drop(self.asks);
        self.thread.join().expect("a thread that ends well");
    }
}
