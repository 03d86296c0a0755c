//! A plain ledger of what was acknowledged: what a read may show now, and what a store may show after
//! the next start.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    dead_code,
    reason = "helpers end in a panic, and not every test file uses each of them"
)]

use std::collections::BTreeMap;

use larder::{DegradedReason, Durability, Entry, WriteOutcome};

/// The number of a value, and when it expires.
pub type State = Option<(u64, u64)>;

/// A value says whose it is, so that a foreign or damaged one is known as such.
pub fn value(key: &str, n: u64) -> String {
    let fill = char::from(b'a' + u8::try_from(n % 26).unwrap());
    let len = usize::try_from(500 + n * 37 % 2_000).unwrap();
    format!("{key}:{n}:{}", fill.to_string().repeat(len))
}

fn number(key: &str, found: &str) -> u64 {
    let n = found.split(':').nth(1).expect("a value has a number");
    let n = n.parse().expect("a value has a number");
    assert_eq!(found, value(key, n), "a damaged or foreign value of {key}");
    n
}

/// One key.
#[derive(Default)]
struct Line {
    now: State,
    tag: u64,
    /// What a store may hold; the last one is what it shall hold.
    stored: Vec<State>,
    /// Its last change is in memory only, so that it may be forgotten.
    volatile: bool,
}

/// Everything that was acknowledged.
#[derive(Default)]
pub struct Ledger {
    lines: BTreeMap<String, Line>,
    newest: u64,
    clock_ms: u64,
}

/// How a change was acknowledged; `None` if that is not known, or if it stands although it failed.
type Acknowledged<'a> = Option<&'a WriteOutcome>;

impl Ledger {
    /// With nothing under these keys.
    pub fn new(keys: impl Iterator<Item = String>) -> Self {
        let line = || Line {
            stored: vec![None],
            ..Line::default()
        };
        Self {
            lines: keys.map(|key| (key, line())).collect(),
            ..Self::default()
        }
    }

    /// Time has moved.
    pub fn at(&mut self, now_ms: u64) {
        self.clock_ms = now_ms;
    }

    /// What a read of a key shall show.
    pub fn state(&self, key: &str) -> State {
        live(self.lines[key].now, self.clock_ms)
    }

    /// The tag that a key was set with.
    pub fn tag(&self, key: &str) -> u64 {
        self.lines[key].tag
    }

    /// A key was changed.
    pub fn changed(&mut self, key: &str, state: State, tag: u64, how: Acknowledged<'_>) {
        let line = self.lines.get_mut(key).unwrap();
        if state.is_some() {
            line.tag = tag;
        }
        line.change(state, how);
        self.version(key, how);
    }

    /// All keys, or those with a tag, were forgotten.
    pub fn cleared(&mut self, tag: Option<u64>, how: Acknowledged<'_>) {
        for line in self.lines.values_mut() {
            if tag.is_none_or(|tag| tag == line.tag) {
                line.change(None, how);
            }
        }
        self.version("a clear", how);
    }

    fn version(&mut self, what: &str, how: Acknowledged<'_>) {
        if let Some(outcome) = how {
            let (version, newest) = (outcome.version.get(), self.newest);
            assert!(
                version > newest,
                "{what}: v{version} is not above v{newest}"
            );
            self.newest = version;
        }
    }

    /// Compares what a read showed. `explained`: a miss was said to be none for certain.
    pub fn check(&self, how: &str, key: &str, found: Option<&str>, explained: bool) {
        let wanted = self.state(key).map(|(n, _)| n);
        let line = &self.lines[key];
        match found {
            Some(found) => {
                let n = number(key, found);
                assert_eq!(
                    Some(n),
                    wanted,
                    "{how} of {key} (left: larder, right: the ledger)"
                );
            }
            None => assert!(
                explained || wanted.is_none() || line.volatile,
                "{how} of {key} is a miss without a reason, {wanted:?} was acknowledged"
            ),
        }
    }

    /// The process has ended, having stored everything or not.
    pub fn ended(&mut self, stored_all: bool) {
        for line in self.lines.values_mut().filter(|_| stored_all) {
            line.stored = vec![line.now];
            if line.volatile {
                line.stored.push(None);
            }
        }
    }

    /// Compares what a key shows after a start. From then on that is what it holds.
    pub fn check_stored(&mut self, how: &str, key: &str, found: Option<&Entry<String>>) {
        let now_ms = self.clock_ms;
        let line = self.lines.get_mut(key).unwrap();
        let n = found.map(|entry| number(key, entry));
        let held = line
            .stored
            .iter()
            .rev()
            .find(|state| live(**state, now_ms).map(|(n, _)| n) == n);
        let Some(held) = held else {
            panic!(
                "{how}: {key} shows {n:?} after the start, allowed are {:?} at {now_ms}",
                line.stored
            );
        };
        line.now = *held;
        line.stored = vec![*held];
        line.volatile = false;
        if let Some(entry) = found {
            self.newest = self.newest.max(entry.version().get());
        }
    }
}

impl Line {
    fn change(&mut self, state: State, how: Acknowledged<'_>) {
        self.now = state;
        let reason = |reason| how.is_some_and(|o| o.degraded.iter().any(|d| d.reason == reason));
        if how.is_some_and(|outcome| outcome.durability >= Durability::Written) {
            self.stored = vec![state];
            self.volatile = false;
            return;
        }
        self.stored.push(state);
        self.volatile = how.is_none() || reason(DegradedReason::MemoryOnly);
        if self.volatile {
            // What is stored is distrusted, and deleted.
            self.stored.push(None);
        }
    }
}

fn live(state: State, now_ms: u64) -> State {
    state.filter(|(_, expires_ms)| now_ms < *expires_ms)
}
