//! Each fault does what it says, and nothing else.

use super::*;
use crate::clock::NEVER;
use crate::drivers::faults::{Calls, When};
use crate::drivers::map::MapStore;
use crate::version::Version;

fn put(key: &'static [u8], record: &'static [u8]) -> Write {
    Write::Put {
        key: Bytes::from_static(key),
        record: Bytes::from_static(record),
        version: Version::at(1),
        keep_ms: NEVER,
    }
}

fn delete(key: &'static [u8]) -> Write {
    Write::Delete {
        key: Bytes::from_static(key),
    }
}

fn open() -> (Faults, MapStore, Box<dyn Driver>) {
    let (faults, store) = (Faults::new(), MapStore::new());
    let driver = faults.over(store.factory())().unwrap();
    (faults, store, driver)
}

fn commit(driver: &dyn Driver, write: Write) -> Result<(), Failure> {
    driver.commit(&[write], StoreDurability::Written)
}

fn stored(store: &MapStore) -> Option<Bytes> {
    store.open().get(b"k").unwrap()
}

#[test]
fn a_refused_call_does_nothing_and_says_what_was_asked_for() {
    let (faults, store, driver) = open();
    faults.script([
        (Op::Commit, 1, Fault::Retry),
        (Op::Commit, 2, Fault::Reopen),
        (Op::Commit, 3, Fault::Fatal),
    ]);
    let mut failures = (0..3).map(|_| commit(&*driver, put(b"k", b"v")).unwrap_err());
    assert!(matches!(failures.next(), Some(Failure::Retry { .. })));
    assert!(matches!(failures.next(), Some(Failure::Reopen { .. })));
    assert!(matches!(failures.next(), Some(Failure::Fatal { .. })));
    assert_eq!(stored(&store), None);
    commit(&*driver, put(b"k", b"v")).unwrap();
    assert!(stored(&store).is_some());
}

#[test]
fn a_full_store_takes_deletions_and_answers_reads() {
    let (faults, store, driver) = open();
    commit(&*driver, put(b"k", b"v")).unwrap();
    faults.inject(Calls::Any, When::Always, Fault::Full);
    let refused = commit(&*driver, put(b"k", b"w"));
    assert!(matches!(refused, Err(Failure::Full { .. })));
    assert_eq!(driver.get(b"k").unwrap().unwrap(), "v");
    driver.reserve(Watermark::default()).unwrap();
    commit(&*driver, delete(b"k")).unwrap();
    assert_eq!(stored(&store), None);
}

#[test]
fn a_poisoned_instance_takes_no_write_until_another_one_is_opened() {
    let (faults, store, driver) = open();
    faults.inject(Op::Commit, When::Nth(1), Fault::Poison);
    let all = [put(b"k", b"v"), delete(b"k")];
    for write in all {
        let refused = commit(&*driver, write);
        assert!(matches!(refused, Err(Failure::Reopen { .. })));
    }
    faults.repair();
    assert!(driver.reserve(Watermark::default()).is_err());
    assert!(driver.get(b"k").is_ok());
    let next = faults.over(store.factory())().unwrap();
    commit(&*next, put(b"k", b"v")).unwrap();
}

#[test]
fn what_is_lost_or_unknown_is_the_opposite_of_what_is_said() {
    let (faults, store, driver) = open();
    faults.inject(Op::Commit, When::Nth(1), Fault::Lose);
    commit(&*driver, put(b"k", b"v")).unwrap();
    assert_eq!(stored(&store), None);
    faults.inject(Op::Commit, When::Nth(1), Fault::Unknown);
    assert!(commit(&*driver, put(b"k", b"v")).is_err());
    assert_eq!(stored(&store).unwrap(), "v");
    let mark = Watermark {
        ceiling: 7,
        clock_ms: 7,
    };
    faults.inject(Op::Reserve, When::Nth(1), Fault::Lose);
    driver.reserve(mark).unwrap();
    assert_eq!(driver.reserved(), Watermark::default());
    faults.inject(Op::Reclaim, When::Always, Fault::Lose);
    assert_eq!(driver.reclaim(9, 9).unwrap(), Reclaimed::default());
}

#[test]
fn damage_is_one_bit_in_what_is_returned_or_stored() {
    let (faults, store, driver) = open();
    faults.seed(1);
    let differ = |found: &Bytes| -> u32 {
        let whole = b"value".iter().zip(found);
        whole.map(|(a, b)| (a ^ b).count_ones()).sum()
    };
    commit(&*driver, put(b"k", b"value")).unwrap();
    faults.inject(Calls::Reads, When::Always, Fault::Corrupt);
    let page = PageLimit {
        count_max: 9,
        bytes_max: 9,
    };
    let key = Bytes::from_static(b"k");
    let found = [
        driver.get(b"k").unwrap(),
        driver.get_many(&[key]).unwrap().remove(0),
        driver.scan(b"", b"", page).unwrap().pop().map(|(_, r)| r),
    ];
    assert_eq!(found.map(|record| differ(&record.unwrap())), [1, 1, 1]);
    assert_eq!(stored(&store).unwrap(), "value");
    faults.repair();
    faults.inject(Op::Commit, When::Always, Fault::Corrupt);
    commit(&*driver, put(b"k", b"value")).unwrap();
    assert_eq!(differ(&stored(&store).unwrap()), 1);
    assert_eq!(flip(&Bytes::new(), 9), Bytes::new());
}

#[test]
fn a_factory_fails_as_often_as_asked_for_and_panics() {
    let faults = Faults::new();
    let factory = faults.over(MapStore::new().factory());
    faults.inject(Op::Open, When::First(10), Fault::Reopen);
    assert_eq!((0..12).filter(|_| factory().is_ok()).count(), 2);
    faults.inject(Op::Open, When::First(1), Fault::Panic);
    let opened = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| factory().is_ok()));
    assert!(opened.is_err());
    for fault in [Fault::Full, Fault::Poison, Fault::Unknown] {
        faults.inject(Op::Open, When::Nth(1), fault);
        assert!(factory().is_err(), "{fault:?}");
    }
}

#[tokio::test]
async fn a_hanging_call_is_announced_and_goes_on_when_it_is_let_go() {
    let (faults, _, driver) = open();
    faults.inject(Op::Get, When::Nth(1), Fault::Hang);
    let reading = std::thread::spawn(move || driver.get(b"k").unwrap());
    faults.entered().await;
    faults.called(Op::Get, 1).await;
    assert_eq!(faults.hanging(), 1);
    faults.release();
    assert_eq!(reading.join().unwrap(), None);
    assert_eq!(faults.hanging(), 0);
}

#[tokio::test]
async fn a_delay_passes_on_the_clock_that_it_was_given() {
    let clock = crate::clock::Clock::manual(0);
    let faults = Faults::on(clock.clone());
    let driver = faults.over(MapStore::new().factory())().unwrap();
    faults.inject(Op::Get, When::Always, Fault::Delay(Duration::from_secs(9)));
    let reading = std::thread::spawn(move || driver.get(b"k").unwrap());
    faults.called(Op::Get, 1).await;
    assert!(!reading.is_finished());
    clock.advance(Duration::from_secs(9));
    reading.join().unwrap();
}
