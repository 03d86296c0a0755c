//! A driver over a map whose commits wait until they are let through.

#![allow(
    clippy::unwrap_used,
    dead_code,
    reason = "helpers end in a panic, and not every test file uses each of them"
)]

use std::sync::{Arc, Condvar, Mutex};

use bytes::Bytes;
use larder::clock::Millis;
use larder::drivers::map::{MapDriver, MapStore};
use larder::drivers::{
    Driver, Factory, Failure, PageLimit, Reclaimed, StoreDurability, Usage, Watermark, Write,
};

/// Opens and shuts the way to a map.
#[derive(Clone, Default)]
pub struct Gated {
    pub store: MapStore,
    shut: Arc<(Mutex<Doors>, Condvar)>,
}

#[derive(Default, Clone, Copy)]
struct Doors {
    commits: bool,
    reads: bool,
    waiting: usize,
}

impl Gated {
    pub fn factory(&self) -> Factory {
        let gated = self.clone();
        Arc::new(move || {
            Ok(Box::new(GatedDriver {
                inner: gated.store.open(),
                gate: gated.clone(),
            }))
        })
    }

    /// Commits wait from now on.
    pub fn shut_commits(&self) {
        self.shut.0.lock().unwrap().commits = true;
    }

    /// Reads wait from now on.
    pub fn shut_reads(&self) {
        self.shut.0.lock().unwrap().reads = true;
    }

    /// Everything passes again.
    pub fn open(&self) {
        let mut doors = self.shut.0.lock().unwrap();
        (doors.commits, doors.reads) = (false, false);
        self.shut.1.notify_all();
    }

    /// How many calls stand before a shut door.
    pub fn waiting(&self) -> usize {
        self.shut.0.lock().unwrap().waiting
    }

    fn pass(&self, is_shut: impl Fn(&Doors) -> bool) {
        let mut doors = self.shut.0.lock().unwrap();
        while is_shut(&doors) {
            doors.waiting += 1;
            doors = self.shut.1.wait(doors).unwrap();
            doors.waiting -= 1;
        }
    }
}

struct GatedDriver {
    inner: MapDriver,
    gate: Gated,
}

impl Driver for GatedDriver {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Failure> {
        self.gate.pass(|doors| doors.reads);
        self.inner.get(key)
    }

    fn commit(&self, batch: &[Write], durability: StoreDurability) -> Result<(), Failure> {
        self.gate.pass(|doors| doors.commits);
        self.inner.commit(batch, durability)
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: &[u8],
        page: PageLimit,
    ) -> Result<Vec<(Bytes, Bytes)>, Failure> {
        self.inner.scan(prefix, after, page)
    }

    fn reclaim(&self, now_ms: Millis, count_max: usize) -> Result<Reclaimed, Failure> {
        self.inner.reclaim(now_ms, count_max)
    }

    fn usage(&self) -> Usage {
        self.inner.usage()
    }

    fn reserve(&self, mark: Watermark) -> Result<(), Failure> {
        self.inner.reserve(mark)
    }

    fn reserved(&self) -> Watermark {
        self.inner.reserved()
    }
}
