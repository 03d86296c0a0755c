//! What the lanes' loops do, on the test's own thread: everything is queued, then the loop runs out.

mod drains;

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::*;
use crate::clock::{Clock, NEVER};
use crate::gate::Gate;
use crate::record::Header;
use crate::version::Version;

/// Writes down each call, and fails or panics on request.
#[derive(Default)]
struct Noting {
    calls: Mutex<Vec<String>>,
    stored: Mutex<Option<Bytes>>,
    fails: AtomicBool,
}

impl Noting {
    fn note(&self, call: String) -> Result<(), Failure> {
        self.calls.lock().push(call);
        if self.fails.load(Ordering::Relaxed) {
            return Err(Failure::fatal("it fails by order"));
        }
        Ok(())
    }
}

impl Driver for Noting {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Failure> {
        assert_ne!(key, b"panic");
        self.note(format!("get {}", key.len()))?;
        Ok(self.stored.lock().clone())
    }

    fn commit(&self, batch: &[Write], durability: StoreDurability) -> Result<(), Failure> {
        let keys: Vec<_> = batch.iter().map(|w| text(w.key())).collect();
        assert_ne!(keys, ["panic"]);
        self.note(format!("commit {} {durability:?}", keys.join(",")))
    }

    fn scan(&self, _: &[u8], _: &[u8], page: PageLimit) -> Result<Vec<(Bytes, Bytes)>, Failure> {
        self.note(format!("scan {}", page.count_max))?;
        Ok(Vec::new())
    }

    fn reserve(&self, mark: Watermark) -> Result<(), Failure> {
        self.note(format!("reserve {}", mark.ceiling))
    }

    fn reserved(&self) -> Watermark {
        Watermark::default()
    }
}

/// Lanes that tell nobody of their calls.
fn lanes_of(reads_max: usize, commits_max: usize) -> (Lanes, LaneEnds) {
    lanes(
        reads_max,
        commits_max,
        Pulse::new(Clock::manual(0), 1, |_| ()),
    )
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A driver as the loops take it, and the way to look into it.
fn noting() -> (Arc<Noting>, Arc<dyn Driver>) {
    let noting = Arc::new(Noting::default());
    let driver = Arc::clone(&noting) as Arc<dyn Driver>;
    (noting, driver)
}

fn key(key: &'static str) -> Bytes {
    Bytes::from_static(key.as_bytes())
}

fn delete(name: &'static str) -> Write {
    Write::Delete { key: key(name) }
}

/// Queues a commit of these keys.
fn commit(
    lanes: &Lanes,
    keys: &[&'static str],
    durability: StoreDurability,
) -> oneshot::Receiver<Result<(), Failure>> {
    let (answer, answered) = oneshot::channel();
    let batch = keys.iter().map(|name| delete(name)).collect();
    let command = Command::Commit(batch, durability, answer);
    lanes.command(command).unwrap();
    answered
}

/// A record of `key` as it lies in a store.
fn record_of(name: &'static str) -> Bytes {
    let header = Header {
        version: Version::at(1),
        created_ms: 0,
        expires_ms: NEVER,
        keep_ms: NEVER,
        idle_ms: 0,
        ends_ms: NEVER,
        schema: 0,
        type_tag: 0,
        codec: 0,
        priority: 0,
        flags: 0,
        tags: Box::default(),
    };
    record::encode(name.as_bytes(), &header, b"payload")
}

#[test]
fn queued_commits_are_one_group_with_the_highest_durability_and_everybody_is_answered() {
    use StoreDurability::{Synced, Written};
    let (noting, driver) = noting();
    let (lanes, ends) = lanes_of(1, 8);
    let answers = [
        commit(&lanes, &["a", "b"], Written),
        commit(&lanes, &["c"], Synced),
        commit(&lanes, &["a"], Written),
    ];
    drop(lanes);
    ends.commit_loop(&driver);
    assert_eq!(*noting.calls.lock(), ["commit a,b,c,a Synced"]);
    for mut answer in answers {
        assert!(answer.try_recv().unwrap().is_ok());
    }
}

#[test]
fn a_panic_of_whoever_is_told_of_a_call_ends_no_thread() {
    let (noting, driver) = noting();
    let has_panicked = [AtomicBool::new(false), AtomicBool::new(false)];
    let told = move |ended: crate::drivers::pulse::Ended<'_>| {
        let which = usize::from(ended.thread == Thread::Commit);
        assert!(has_panicked[which].swap(true, Ordering::Relaxed));
    };
    let (lanes, ends) = lanes(2, 2, Pulse::new(Clock::manual(0), 1, told));
    let gate = Gate::new("reads_in_flight_max", 2);
    let ask = || {
        let (answer, answered) = oneshot::channel();
        let permit = gate.try_pass().unwrap();
        lanes.read(Read::Get(key("a"), answer), permit).unwrap();
        answered
    };
    let mut reads = [ask(), ask()];
    let repair = || {
        let (answer, answered) = oneshot::channel();
        lanes.command(Command::Repair(key("a"), answer)).unwrap();
        answered
    };
    let mut repairs = [repair(), repair()];
    drop(lanes);
    ends.read_loop(0, &driver);
    ends.commit_loop(&driver);
    assert!(reads[0].try_recv().is_err());
    assert!(reads[1].try_recv().unwrap().is_ok());
    assert!(repairs[0].try_recv().is_err());
    assert!(repairs[1].try_recv().unwrap().is_ok());
    assert_eq!(noting.calls.lock().len(), 4);
    assert_eq!(gate.in_flight(), 0);
}

#[test]
fn a_group_that_fails_fails_for_everybody_in_it() {
    let (noting, driver) = noting();
    noting.fails.store(true, Ordering::Relaxed);
    let (lanes, ends) = lanes_of(1, 8);
    let left = commit(&lanes, &["a"], StoreDurability::Written);
    let waiting = commit(&lanes, &["b"], StoreDurability::Written);
    drop((left, lanes));
    ends.commit_loop(&driver);
    assert_eq!(*noting.calls.lock(), ["commit a,b Written"]);
    let failed = waiting.blocking_recv().unwrap().unwrap_err();
    assert_eq!(failed.to_string(), "it fails by order");
}

#[test]
fn a_command_that_is_no_commit_ends_the_group_and_keeps_its_place() {
    let (noting, driver) = noting();
    let (lanes, ends) = lanes_of(1, 8);
    let mark = Watermark {
        ceiling: 7,
        clock_ms: 1,
    };
    let (answer, reserved) = oneshot::channel();
    let (reclaim, reclaimed) = oneshot::channel();
    let before = commit(&lanes, &["a"], StoreDurability::Written);
    lanes.command(Command::Reserve(mark, answer)).unwrap();
    lanes.command(Command::Reclaim(5, 1, reclaim)).unwrap();
    let after = commit(&lanes, &["b"], StoreDurability::Written);
    drop(lanes);
    ends.commit_loop(&driver);
    let expected = ["commit a Written", "reserve 7", "commit b Written"];
    assert_eq!(*noting.calls.lock(), expected);
    assert!(reserved.blocking_recv().unwrap().is_ok());
    let reclaimed = reclaimed.blocking_recv().unwrap().unwrap();
    assert_eq!(reclaimed, Reclaimed::default(), "it has no index");
    assert!(before.blocking_recv().unwrap().is_ok());
    assert!(after.blocking_recv().unwrap().is_ok());
}

#[test]
fn a_group_has_a_limit_and_the_rest_is_the_next_one() {
    let (noting, driver) = noting();
    let (lanes, ends) = lanes_of(1, GROUP_MAX + 2);
    let commit = |_| commit(&lanes, &["k"], StoreDurability::Written);
    let answers: Vec<_> = (0..GROUP_MAX + 2).map(commit).collect();
    drop(lanes);
    ends.commit_loop(&driver);
    let calls = noting.calls.lock();
    let sizes: Vec<_> = calls.iter().map(|call| call.matches('k').count()).collect();
    assert_eq!(sizes, [GROUP_MAX, 2]);
    assert!(
        answers
            .into_iter()
            .all(|a| a.blocking_recv().unwrap().is_ok())
    );
}

#[test]
fn a_full_lane_asks_to_try_again_and_an_ended_one_to_reopen() {
    let (lanes, ends) = lanes_of(1, 1);
    let gate = Gate::new("reads_in_flight_max", 3);
    let read = || {
        let (answer, _nobody) = oneshot::channel();
        lanes.read(Read::Usage(answer), gate.try_pass().unwrap())
    };
    let command = || {
        let (answer, _nobody) = oneshot::channel();
        lanes.command(Command::Repair(key("k"), answer))
    };
    read().unwrap();
    command().unwrap();
    for full in [read(), command()] {
        let failure = full.unwrap_err();
        assert_eq!(failure.to_string(), "the lane is full");
        assert!(matches!(failure, Failure::Retry { after, .. } if !after.is_zero()));
    }
    assert_eq!(gate.in_flight(), 1, "only what was queued is under way");
    drop(ends);
    for ended in [read(), command()] {
        assert!(matches!(ended, Err(Failure::Reopen { .. })), "{ended:?}");
    }
    drop(lanes);
    assert_eq!(gate.in_flight(), 0);
}

#[test]
fn a_read_nobody_waits_for_is_not_made_and_gives_its_permit_back() {
    let (noting, driver) = noting();
    let (lanes, ends) = lanes_of(8, 1);
    let gate = Gate::new("reads_in_flight_max", 8);
    let (answer, left) = oneshot::channel();
    let get = Read::Get(key("four"), answer);
    lanes.read(get, gate.try_pass().unwrap()).unwrap();
    let (answer, scanned) = oneshot::channel();
    let page = PageLimit {
        count_max: 3,
        bytes_max: 1,
    };
    let scan = Read::Scan(Bytes::new(), Bytes::new(), page, answer);
    lanes.read(scan, gate.try_pass().unwrap()).unwrap();
    drop((left, lanes));
    assert_eq!(gate.in_flight(), 2, "leaving early gives no place back");
    ends.read_loop(0, &driver);
    assert_eq!(*noting.calls.lock(), ["scan 3"]);
    assert!(scanned.blocking_recv().unwrap().unwrap().is_empty());
    assert_eq!(gate.in_flight(), 0);
}

#[test]
fn a_panic_is_answered_as_a_call_for_a_new_driver_and_the_loops_go_on() {
    let (noting, driver) = noting();
    let (lanes, ends) = lanes_of(8, 8);
    let gate = Gate::new("reads_in_flight_max", 8);
    let (answer, got) = oneshot::channel();
    let get = Read::Get(key("panic"), answer);
    lanes.read(get, gate.try_pass().unwrap()).unwrap();
    let (answer, usage) = oneshot::channel();
    let ask = Read::Usage(answer);
    lanes.read(ask, gate.try_pass().unwrap()).unwrap();
    let panics = commit(&lanes, &["panic"], StoreDurability::Written);
    let (answer, repaired) = oneshot::channel();
    let repair = Command::Repair(key("panic"), answer);
    lanes.command(repair).unwrap();
    let after = commit(&lanes, &["a"], StoreDurability::Written);
    drop(lanes);
    ends.read_loop(0, &driver);
    ends.commit_loop(&driver);
    let said = |failure: Failure| match failure {
        Failure::Reopen { reason } => reason,
        other => panic!("{other:?}"),
    };
    let told = [
        said(got.blocking_recv().unwrap().unwrap_err()),
        said(panics.blocking_recv().unwrap().unwrap_err()),
        said(repaired.blocking_recv().unwrap().unwrap_err()),
    ];
    assert_eq!(told, ["the driver panicked"; 3]);
    assert_eq!(usage.blocking_recv().unwrap().unwrap(), Usage::default());
    assert!(after.blocking_recv().unwrap().is_ok());
    assert_eq!(*noting.calls.lock(), ["commit a Written"]);
    assert_eq!(gate.in_flight(), 0);
}

#[test]
fn a_repair_deletes_what_is_damaged_when_it_looks_and_nothing_else() {
    let mut cut = record_of("k").to_vec();
    cut.pop();
    let mut later = record_of("k").to_vec();
    if let Some(format) = later.get_mut(2) {
        *format += 2;
    }
    for (stored, is_damaged) in [
        (None, false),
        (Some(record_of("k")), false),
        (Some(later.into()), false),
        (Some(cut.into()), true),
        (Some(record_of("other")), true),
    ] {
        let (noting, driver) = noting();
        *noting.stored.lock() = stored;
        let (lanes, ends) = lanes_of(1, 1);
        let (answer, repaired) = oneshot::channel();
        lanes.command(Command::Repair(key("k"), answer)).unwrap();
        drop(lanes);
        ends.commit_loop(&driver);
        assert_eq!(repaired.blocking_recv().unwrap().unwrap(), is_damaged);
        let calls: &[&str] = match is_damaged {
            true => &["get 1", "commit k Written"],
            false => &["get 1"],
        };
        assert_eq!(*noting.calls.lock(), calls);
    }
}
