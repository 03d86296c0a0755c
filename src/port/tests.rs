//! Reaching a driver: when it is full, gone, silent, or of an older generation.

use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::clock::NEVER;
use crate::drivers::lanes::{self, LaneEnds};
use crate::drivers::map::MapStore;
use crate::drivers::{Driver, StoreDurability, Write};
use crate::record::{FORMAT, HEADER_BYTES, MAGIC};
use crate::version::Version;
use crate::wait::Timer;

/// A guard only.
const SOON: Duration = Duration::from_secs(20);
/// No time at all: whoever waits so long waits for nothing.
const AT_ONCE: Duration = Duration::from_millis(1);

fn port() -> Arc<Port> {
    let breaker = BreakerConfig::default();
    let clock = Clock::manual(1_000);
    let port = Port::new(TierId(0), "store", Source::Custom(0), 1, breaker, clock);
    Arc::new(port)
}

/// Lanes of a generation whose threads tell the port of their calls.
fn lanes(port: &Arc<Port>, generation: u64) -> (Lanes, LaneEnds) {
    let (clock, to) = (port.clock.clone(), Arc::downgrade(port));
    let told = move |ended: Ended<'_>| {
        if let Some(port) = to.upgrade() {
            port.called(generation, &ended);
        }
    };
    lanes::lanes(1, 1, Pulse::new(clock, 1, told))
}

/// A port whose generation 1 is open; nobody serves its lanes yet.
fn open() -> (Arc<Port>, LaneEnds) {
    let port = port();
    let (lanes, ends) = lanes(&port, 1);
    port.half_open(1, lanes);
    (port, ends)
}

type Log = Arc<Mutex<Vec<(u64, String)>>>;

/// What the port reports.
fn reports(port: &Port) -> Log {
    let log = Log::default();
    let to = Arc::clone(&log);
    port.tell(Told {
        failed: Box::new(move |generation, failure| {
            to.lock().push((generation, failure.to_string()));
        }),
        changed: Box::new(|| {}),
    });
    log
}

fn ended(failure: Option<&Failure>) -> Ended<'_> {
    Ended {
        thread: Thread::Commit,
        failure,
        took_ms: 0,
    }
}

fn state(port: &Port) -> BreakerState {
    port.breaker().state
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
    let served = tokio::task::spawn_blocking(move || ends.read_loop(0, &driver));
    let (found, ()) = tokio::join!(get(&port, SOON), async { drop(inside) });
    assert_eq!(found.unwrap(), None);
    assert_eq!(port.gate.refused(), 1, "who got in was not refused");
    port.close(1, "ended");
    served.await.unwrap();
    assert_eq!(port.gate.in_flight(), 0);
}

#[tokio::test]
async fn a_closed_gate_and_a_driver_that_is_gone_answer_at_once() {
    let port = port();
    assert_eq!(state(&port), BreakerState::Open);
    assert!(is_unavailable(&get(&port, SOON).await), "never opened");
    let (lanes, _ends) = lanes(&port, 1);
    port.half_open(1, lanes);
    assert_eq!(state(&port), BreakerState::Closed);
    port.close(1, "ended");
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
        port.close(1, "ended");
    });
    assert!(is_unavailable(&found), "{found:?}");
    assert_eq!(port.gate.in_flight(), 0);
}

#[tokio::test]
async fn a_lane_that_has_ended_is_reported_once_with_its_generation() {
    let (port, ends) = open();
    let reports = reports(&port);
    drop(ends);
    for _ in 0..2 {
        assert!(is_unavailable(&get(&port, SOON).await));
    }
    assert_eq!(*reports.lock(), [(1, "the lane has ended".to_owned())]);
    assert!(!port.is_up());
}

#[tokio::test]
async fn who_is_not_answered_in_time_leaves_and_the_driver_stays_up() {
    let (port, ends) = open();
    let late = get(&port, AT_ONCE).await;
    assert!(matches!(late, Err(Error::DeadlineExceeded { after }) if after == AT_ONCE));
    assert!(port.is_up());
    assert_eq!(port.gate.in_flight(), 1, "its question still takes a place");
    drop(ends);
    port.close(1, "ended");
    assert_eq!(port.gate.in_flight(), 0);
}

#[test]
fn only_a_failure_of_the_present_generation_that_cannot_pass_closes_the_way() {
    let (port, _ends) = open();
    let retry = Failure::Retry {
        reason: "busy".into(),
        after: AT_ONCE,
    };
    port.called(1, &ended(Some(&retry)));
    assert!(port.is_up(), "it may work the next time");
    port.close(1, "ended");
    let (lanes, _later_ends) = lanes(&port, 2);
    port.half_open(2, lanes);
    let late = Failure::reopen("late news");
    port.called(1, &ended(Some(&late)));
    assert_eq!(
        state(&port),
        BreakerState::HalfOpen,
        "that one is gone already"
    );
    let broken = Failure::fatal("broken");
    port.called(2, &ended(Some(&broken)));
    assert_eq!(state(&port), BreakerState::Open);
    assert_eq!(port.reason().as_deref(), Some("broken"));
    assert_eq!(failures(&port), 3);
}

#[test]
fn failures_in_a_row_that_may_pass_give_the_generation_up_and_say_the_last() {
    let (port, _ends) = open();
    let reports = reports(&port);
    let retry = Failure::Retry {
        reason: "busy".into(),
        after: AT_ONCE,
    };
    (0..9).for_each(|_| port.called(1, &ended(Some(&retry))));
    let reason = "5 calls in a row failed, the last one: busy";
    assert_eq!(*reports.lock(), [(1, reason.to_owned())]);
    assert!(!port.is_up());
}

#[test]
fn a_driver_without_room_is_up_takes_no_values_and_says_why_until_one_was_stored() {
    let (port, _ends) = open();
    let full = Failure::full("1 byte is free");
    (0..9).for_each(|_| port.called(1, &ended(Some(&full))));
    assert!(port.is_up() && !port.takes_values());
    assert_eq!(port.fullness().as_deref(), Some("1 byte is free"));
    port.has_room();
    assert!(port.takes_values() && port.fullness().is_none());
}

#[tokio::test]
async fn a_call_that_hangs_is_given_up_by_the_watchdog_and_frees_who_waits() {
    let (port, ends) = open();
    let reports = reports(&port);
    let (entered, inside) = std::sync::mpsc::channel();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let (_, lanes) = port.lanes.read().clone().unwrap();
    let pulse = Arc::clone(lanes.pulse());
    drop(lanes);
    let hung = tokio::task::spawn_blocking(move || {
        pulse.call(Thread::Commit, || {
            entered.send(()).unwrap();
            released.recv().unwrap();
            Ok(())
        })
    });
    inside.recv().unwrap();
    port.clock.advance(Duration::from_millis(9_999));
    port.watch();
    assert!(port.is_up(), "it may be slow");
    let (found, ()) = tokio::join!(get(&port, SOON), async {
        port.clock.advance(AT_ONCE);
        port.watch();
        assert!(port.is_up(), "the process may have stood still");
        port.watch();
    });
    assert!(is_unavailable(&found), "{found:?}");
    let reason = "a call on the commit lane hangs for 10000 ms";
    assert_eq!(*reports.lock(), [(1, reason.to_owned())]);
    assert!(port.oldest_call().is_some(), "it has not returned");
    release.send(()).unwrap();
    hung.await.unwrap().unwrap();
    assert!(port.oldest_call().is_none());
    drop(ends);
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
    port.close(1, "ended");
    port.repair(Bytes::from_static(b"c"));
    assert_eq!(port.stats.damaged.load(Ordering::Relaxed), 3);
    ends.commit_loop(&driver);
    let left = names.map(|name| driver.get(&name).unwrap().is_some());
    assert_eq!(left, [false, true], "what did not fit is found again later");
}
