//! A driver whose calls can be held, failed and let go by hand: for histories that need a call under
//! way at a certain moment.
#![allow(
    clippy::unwrap_used,
    dead_code,
    reason = "every test takes what it needs"
)]

use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use bytes::Bytes;
use larder::drivers::{
    Driver, Factory, Failure, PageLimit, Reclaimed, StoreDurability, Usage, Watermark, Write,
};
use tokio::sync::Notify;

/// The hand on the sluice. All clones are the same one.
#[derive(Clone, Default)]
pub struct Sluice(Arc<Inner>);

#[derive(Default)]
struct Inner {
    state: Mutex<State>,
    changed: Condvar,
    entered: Notify,
}

#[derive(Default)]
struct State {
    commits_held: bool,
    get: Hold,
    scan: Hold,
    broken: bool,
    stopped: bool,
}

/// What becomes of the next call of a kind.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Hold {
    #[default]
    Free,
    /// The next call reads, and then waits.
    Armed,
    /// A call has read and waits.
    Entered,
}

impl Sluice {
    /// Drivers of `inner` behind this sluice.
    pub fn factory(&self, inner: Factory) -> Factory {
        let sluice = self.clone();
        Arc::new(move || {
            if sluice.state().stopped {
                return Err(Failure::reopen("stopped by hand"));
            }
            Ok(Box::new(Held {
                sluice: sluice.clone(),
                inner: inner()?,
            }))
        })
    }

    /// Commits wait from now on, before they reach the store.
    pub fn hold_commits(&self) {
        self.state().commits_held = true;
    }

    /// Held commits go on, and so do later ones.
    pub fn release_commits(&self) {
        self.change(|state| state.commits_held = false);
    }

    /// The next `get` reads its record and then waits.
    pub fn arm_get(&self) {
        self.state().get = Hold::Armed;
    }

    /// The held `get` answers with what it has read; none is held any more.
    pub fn release_get(&self) {
        self.change(|state| state.get = Hold::Free);
    }

    /// The next `scan` reads its page and then waits.
    pub fn arm_scan(&self) {
        self.state().scan = Hold::Armed;
    }

    /// The held `scan` answers with what it has read; none is held any more.
    pub fn release_scan(&self) {
        self.change(|state| state.scan = Hold::Free);
    }

    /// Returns once a `get` or `scan` that was waited for is held.
    pub async fn entered(&self) {
        self.0.entered.notified().await;
    }

    /// The next `get` says that the driver is of no more use.
    pub fn break_get(&self) {
        self.state().broken = true;
    }

    /// Commits fail, and no driver can be opened.
    pub fn stop(&self) {
        self.state().stopped = true;
    }

    /// Drivers can be opened again, and work.
    pub fn restore(&self) {
        self.change(|state| state.stopped = false);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap()
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.0.changed.notify_all();
    }

    fn hold(&self, of: impl Fn(&mut State) -> &mut Hold) {
        let mut state = self.state();
        if *of(&mut state) != Hold::Armed {
            return;
        }
        *of(&mut state) = Hold::Entered;
        self.0.entered.notify_one();
        while *of(&mut state) == Hold::Entered {
            state = self.0.changed.wait(state).unwrap();
        }
    }
}

struct Held {
    sluice: Sluice,
    inner: Box<dyn Driver>,
}

impl Driver for Held {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Failure> {
        if std::mem::take(&mut self.sluice.state().broken) {
            return Err(Failure::reopen("broken by hand"));
        }
        let found = self.inner.get(key);
        self.sluice.hold(|state| &mut state.get);
        found
    }

    fn get_many(&self, keys: &[Bytes]) -> Result<Vec<Option<Bytes>>, Failure> {
        self.inner.get_many(keys)
    }

    fn commit(&self, batch: &[Write], durability: StoreDurability) -> Result<(), Failure> {
        let mut state = self.sluice.state();
        while state.commits_held {
            state = self.sluice.0.changed.wait(state).unwrap();
        }
        if state.stopped {
            return Err(Failure::reopen("stopped by hand"));
        }
        drop(state);
        self.inner.commit(batch, durability)
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: &[u8],
        page: PageLimit,
    ) -> Result<Vec<(Bytes, Bytes)>, Failure> {
        let found = self.inner.scan(prefix, after, page);
        self.sluice.hold(|state| &mut state.scan);
        found
    }

    fn reclaim(&self, now_ms: u64, count_max: usize) -> Result<Reclaimed, Failure> {
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
