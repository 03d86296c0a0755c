//! Reaching a driver: when it is full, gone, silent, or of an older generation.

use super::*;
use crate::clock::NEVER;
use crate::drivers::lanes::{LaneEnds, lanes};
use crate::drivers::map::MapStore;
use crate::drivers::{Driver, StoreDurability, Write};
use crate::record::{FORMAT, HEADER_BYTES, MAGIC};
use crate::version::Version;
use crate::wait::Timer;

/// A guard only.
const SOON: Duration = Duration::from_secs(20);
/// No time at all: whoever waits so long waits for nothing.
const AT_ONCE: Duration = Duration::from_millis(1);

fn port() -> Port {
    Port::new(TierId(0), "store", Source::Custom(0), 1)
}

/// A port whose generation 1 is open; nobody serves its lanes yet.
fn open() -> (Port, LaneEnds) {
    let (port, (lanes, ends)) = (port(), lanes(1, 1));
    port.open(1, lanes);
    (port, ends)
}

fn timer() -> Timer {
    Timer::new(tokio::runtime::Handle::current())
}

async fn get(port: &Port, after: Duration) -> Result<Option<Bytes>, Error> {
    let timer = timer();
    port.get(Bytes::from_static(b"k"), &timer.wait(after)).await
}

fn failures(port: &Port) -> u64 {
    port.stats.failures.load(Ordering::Relaxed)
}

fn is_unavailable<T>(result: &Result<T, Error>) -> bool {
    matches!(result, Err(Error::Unavailable { driver, .. }) if &**driver == "store")
}

#[tokio::test]
async fn a_full_gate_lets_a_caller_wait_for_its_turn_and_refuses_it_at_its_deadline() {
    let (port, ends) = open();
    let inside = port.gate.try_pass().unwrap();
    let refused = get(&port, AT_ONCE).await;
    let limit = "reads_in_flight_max";
    assert!(
        matches!(refused, Err(Error::Overloaded { limit: l, .. }) if l == limit),
        "{refused:?}"
    );
    assert_eq!((port.gate.refused(), failures(&port)), (1, 0));
    let driver: Arc<dyn Driver> = Arc::new(MapStore::new().open());
    let served = tokio::task::spawn_blocking(move || ends.read_loop(&driver));
    let (found, ()) = tokio::join!(get(&port, SOON), async { drop(inside) });
    assert_eq!(found.unwrap(), None);
    assert_eq!(port.gate.refused(), 1, "who got in was not refused");
    port.close(1);
    served.await.unwrap();
    assert_eq!(port.gate.in_flight(), 0);
}

#[tokio::test]
async fn a_closed_gate_and_a_driver_that_is_gone_answer_at_once() {
    let port = port();
    assert_eq!(port.state(), BreakerState::Open);
    assert!(is_unavailable(&get(&port, SOON).await), "never opened");
    let (lanes, _ends) = lanes(1, 1);
    port.open(1, lanes);
    assert_eq!(port.state(), BreakerState::Closed);
    port.close(1);
    assert!(is_unavailable(&get(&port, SOON).await), "closed");
    assert_eq!(port.gate.in_flight(), 0, "the permit is given back");
    port.gate.close();
    assert!(matches!(get(&port, SOON).await, Err(Error::Closed)));
}

#[tokio::test]
async fn a_generation_that_ends_answers_the_questions_in_its_lanes() {
    let (port, ends) = open();
    let (found, ()) = tokio::join!(get(&port, SOON), async {
        drop(ends);
        port.close(1);
    });
    assert!(is_unavailable(&found), "{found:?}");
    assert_eq!(port.gate.in_flight(), 0);
}

#[tokio::test]
async fn a_lane_that_has_ended_is_reported_once_with_its_generation() {
    let (port, ends) = open();
    let reports = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&reports);
    port.on_failure(move |generation, failure| {
        told.lock().push((generation, failure.to_string()));
    });
    drop(ends);
    for _ in 0..2 {
        assert!(is_unavailable(&get(&port, SOON).await));
    }
    assert_eq!(*reports.lock(), [(1, "the lane has ended".to_owned())]);
    assert_eq!((port.is_up(), failures(&port)), (false, 1));
}

#[tokio::test]
async fn who_is_not_answered_in_time_leaves_and_the_driver_stays_up() {
    let (port, ends) = open();
    let late = get(&port, AT_ONCE).await;
    assert!(matches!(late, Err(Error::DeadlineExceeded { after }) if after == AT_ONCE));
    assert!(port.is_up());
    assert_eq!(port.gate.in_flight(), 1, "its question still takes a place");
    drop(ends);
    port.close(1);
    assert_eq!(port.gate.in_flight(), 0);
}

#[test]
fn only_a_failure_of_the_present_generation_that_cannot_pass_closes_the_way() {
    let (port, _ends) = open();
    let retry = Failure::Retry {
        reason: "busy".into(),
        after: AT_ONCE,
    };
    port.failed(1, retry);
    assert!(port.is_up(), "it may work the next time");
    let (lanes, _later_ends) = lanes(1, 1);
    port.open(2, lanes);
    port.failed(1, Failure::reopen("late news"));
    assert!(port.is_up(), "that one is gone already");
    port.failed(2, Failure::fatal("broken"));
    assert!(!port.is_up());
    assert_eq!(failures(&port), 3);
}

#[test]
fn a_repair_is_counted_and_waits_for_nobody_however_full_the_lane_is() {
    let (port, ends) = open();
    let driver: Arc<dyn Driver> = Arc::new(MapStore::new().open());
    let names = ["a", "b"].map(|name| Bytes::from_static(name.as_bytes()));
    let mut damaged = [0; HEADER_BYTES];
    damaged[..3].copy_from_slice(&[MAGIC[0], MAGIC[1], FORMAT]);
    let put = |key: &Bytes| Write::Put {
        key: key.clone(),
        record: Bytes::copy_from_slice(&damaged),
        version: Version::at(1),
        keep_ms: NEVER,
    };
    let batch = names.each_ref().map(put);
    driver.commit(&batch, StoreDurability::Written).unwrap();
    for name in &names {
        port.repair(name.clone());
    }
    port.close(1);
    port.repair(Bytes::from_static(b"c"));
    assert_eq!(port.stats.damaged.load(Ordering::Relaxed), 3);
    ends.commit_loop(&driver);
    let left = names.map(|name| driver.get(&name).unwrap().is_some());
    assert_eq!(left, [false, true], "what did not fit is found again later");
}
