//! What the tests of watching share: events, a shelf to write to, sinks that keep or refuse.

use std::sync::Arc;

use crate::clock::{Millis, NEVER};
use crate::key::{CacheId, Key};
use crate::messages::hub::{Offer, Sink};
use crate::shelf::{
    Applied, Ask, Bounds, Change, Condition, Draft, EventKind, Freshness, OldSlot, Plan, Priority,
    RawEvent, Shelf, Slot, TierSet,
};
use crate::sync::Mutex;
use crate::typed::{self, Form};
use crate::version::{Version, VersionClock};
use crate::watch::{SnapshotFn, SnapshotPage};
use crate::{Entry, Error, Source};

/// How the values of all tests are read.
pub fn form() -> Arc<Form<u64>> {
    Arc::new(Form::of_schema(0))
}

/// The cache that all tests use.
pub const CACHE: CacheId = CacheId(0);

/// An event of version and time `n`.
pub fn event(name: &str, kind: EventKind, n: u64) -> RawEvent {
    RawEvent {
        key: Key::new(CACHE, name),
        kind,
        version: Version::at(n),
        old: OldSlot::NotLoaded,
        new: None,
        at_ms: n,
    }
}

/// An entry of version `n` that holds `n`.
pub fn entry(n: u64) -> Entry<u64> {
    let slot = Slot {
        version: Version::at(n),
        created_ms: n,
        expires_ms: NEVER,
        body: typed::erase(Arc::new(n)),
        extra: None,
        weight: 8,
        schema: 0,
        priority: Priority::Normal,
        announced: false,
    };
    form()
        .entry(&slot, Freshness::Fresh, Source::Memory, n)
        .unwrap()
}

/// A shelf of 4 stripes that keeps `events_max` events per stripe for the hub.
pub fn shelf(events_max: usize) -> Arc<Shelf> {
    let bounds = Bounds {
        events_max,
        events_bytes_max: usize::MAX,
        deadlines_max: 16,
        distrusted_max: 16,
    };
    let versions = Arc::new(VersionClock::new(0));
    let shelf = Shelf::new(4, 1 << 20, 4, bounds, versions);
    assert_eq!(shelf.scope("cache").id, CACHE);
    Arc::new(shelf)
}

/// Sets a key of a shelf, in memory only.
pub fn put(shelf: &Shelf, name: &str, value: u64, now_ms: Millis) -> Version {
    let scope = shelf.scope("cache");
    let draft = Draft {
        body: typed::erase(Arc::new(value)),
        encoded: None,
        weight: 8,
        created_ms: now_ms,
        expires_ms: NEVER,
        extra: None,
        schema: 0,
        priority: Priority::Normal,
    };
    let applied = shelf.apply(Ask {
        scope: &scope,
        hash: shelf.hash(scope.id, name),
        name,
        now_ms,
        change: Change::Put(draft),
        condition: Condition::None,
        brought: None,
        plan: Plan {
            memory: true,
            put: TierSet::NONE,
            delete: TierSet::NONE,
        },
        room: crate::shelf::Room::default(),
        kind: None,
        waiters: Vec::new(),
    });
    match applied {
        Applied::Done { version, .. } => version,
        other => panic!("{other:?}"),
    }
}

/// What a sink was told, in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Told {
    /// An event: kind, name, version in milliseconds.
    Event(EventKind, String, u64),
    /// That it missed so many.
    Lagged(u64),
}

/// A sink that keeps what it is told and answers as it is told to.
#[derive(Clone, Default)]
pub struct LogSink(Arc<Mutex<Log>>);

#[derive(Default)]
struct Log {
    told: Vec<Told>,
    answer: Answer,
    calls: usize,
}

/// How a [`LogSink`] answers.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub enum Answer {
    /// It takes everything.
    #[default]
    Take,
    /// It is full.
    Full,
    /// Nobody listens.
    Gone,
    /// It panics.
    Panic,
}

impl LogSink {
    /// Answers so from now on.
    pub fn answer(&self, answer: Answer) {
        self.0.lock().answer = answer;
    }

    /// What it took since it was last asked.
    pub fn told(&self) -> Vec<Told> {
        std::mem::take(&mut self.0.lock().told)
    }

    /// How often it was called.
    pub fn calls(&self) -> usize {
        self.0.lock().calls
    }

    fn take(&self, told: Told) -> Offer {
        let mut log = self.0.lock();
        log.calls += 1;
        match log.answer {
            Answer::Take => {
                log.told.push(told);
                Offer::Taken
            }
            Answer::Full => Offer::Full,
            Answer::Gone => Offer::Gone,
            Answer::Panic => panic!("this sink panics"),
        }
    }
}

impl Sink for LogSink {
    fn offer(&mut self, event: &RawEvent) -> Offer {
        let name = event.key.name.to_string();
        self.take(Told::Event(event.kind, name, event.version.millis()))
    }

    fn lagged(&mut self, missed: u64) -> Offer {
        self.take(Told::Lagged(missed))
    }

    fn is_gone(&self) -> bool {
        self.0.lock().answer == Answer::Gone
    }
}

/// What a source was asked to go on after.
pub type Asked = Arc<Mutex<Vec<Option<String>>>>;

/// A source that gives these answers in turn, and what it was asked.
pub fn script(answers: Vec<Result<SnapshotPage<u64>, Error>>) -> (SnapshotFn<u64>, Asked) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&asked);
    let answers = Mutex::new(answers.into_iter());
    let source: SnapshotFn<u64> = Arc::new(move |after| {
        log.lock().push(after);
        let answer = answers.lock().next().unwrap();
        Box::pin(async move { answer })
    });
    (source, asked)
}

/// A page as of version and time `n`.
pub fn page(n: u64, entries: &[(&str, Option<u64>)], next: Option<&str>) -> SnapshotPage<u64> {
    let shown = |(key, n): &(&str, Option<u64>)| (key.to_string(), n.map(entry));
    SnapshotPage {
        as_of: Version::at(n),
        at_ms: n,
        entries: entries.iter().map(shown).collect(),
        next: next.map(str::to_owned),
    }
}
