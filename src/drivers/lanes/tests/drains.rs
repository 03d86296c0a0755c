//! What the commit lane takes from a supply, and what has its turn meanwhile.

use std::collections::VecDeque;

use super::*;

/// Batches that are ready, and what becomes of them.
#[derive(Default)]
struct Ready {
    batches: Mutex<VecDeque<Vec<Write>>>,
    stored: Mutex<usize>,
    due: Mutex<Option<Watermark>>,
    reserved: Mutex<Option<u64>>,
    /// Called before each batch but the first is taken.
    between: Option<Box<dyn Fn() + Send + Sync>>,
}

impl Supply for Ready {
    fn next(&self) -> Option<(Vec<Write>, StoreDurability)> {
        if let Some(between) = self.between.as_ref().filter(|_| *self.stored.lock() > 0) {
            between();
        }
        Some((self.batches.lock().pop_front()?, StoreDurability::Synced))
    }

    fn due(&self) -> Option<Watermark> {
        self.due.lock().take()
    }

    fn reserved(&self, mark: Watermark) {
        *self.reserved.lock() = Some(mark.ceiling);
    }

    fn stored(&self, _: Duration) {
        *self.stored.lock() += 1;
    }
}

fn ready(batches: &[&'static str]) -> Ready {
    let batches = batches.iter().map(|name| vec![delete(name)]);
    Ready {
        batches: Mutex::new(batches.collect()),
        ..Ready::default()
    }
}

/// Sends the commit lane to a supply.
fn drain(lanes: &Lanes, supply: &Arc<Ready>) -> oneshot::Receiver<Result<(), Failure>> {
    let (answer, drained) = oneshot::channel();
    let supply = Arc::clone(supply) as Arc<dyn Supply>;
    lanes.command(Command::Drain(supply, answer)).unwrap();
    drained
}

#[test]
fn a_supply_is_drained_batch_by_batch_and_each_is_called_stored() {
    let (noting, driver) = noting();
    let (lanes, ends) = lanes_of(1, 8);
    let supply = Arc::new(ready(&["a", "b", "c"]));
    let drained = drain(&lanes, &supply);
    drop(lanes);
    ends.commit_loop(&driver);
    let expected = ["commit a Synced", "commit b Synced", "commit c Synced"];
    assert_eq!(*noting.calls.lock(), expected);
    assert!(drained.blocking_recv().unwrap().is_ok());
    assert_eq!(*supply.stored.lock(), 3);
}

#[test]
fn a_batch_that_fails_ends_its_drain_and_is_not_called_stored() {
    let (noting, driver) = noting();
    noting.fails.store(true, Ordering::Relaxed);
    let (lanes, ends) = lanes_of(1, 8);
    let supply = Arc::new(ready(&["a", "b"]));
    let drained = drain(&lanes, &supply);
    drop(lanes);
    ends.commit_loop(&driver);
    assert_eq!(*noting.calls.lock(), ["commit a Synced"]);
    let failed = drained.blocking_recv().unwrap().unwrap_err();
    assert_eq!(failed.to_string(), "it fails by order");
    assert_eq!(*supply.stored.lock(), 0);
}

#[test]
fn other_commands_have_their_turn_between_two_batches() {
    let (noting, driver) = noting();
    let (lanes, ends) = lanes_of(1, 8);
    let mark = Watermark {
        ceiling: 7,
        clock_ms: 1,
    };
    let supply = Arc::new(ready(&["a", "b"]));
    let drained = drain(&lanes, &supply);
    let (answer, reserved) = oneshot::channel();
    let (reclaim, reclaimed) = oneshot::channel();
    lanes.command(Command::Reserve(mark, answer)).unwrap();
    lanes.command(Command::Reclaim(5, 1, reclaim)).unwrap();
    let alone = commit(&lanes, &["c"], StoreDurability::Written);
    drop(lanes);
    ends.commit_loop(&driver);
    let expected = [
        "commit a Synced",
        "reserve 7",
        "commit c Written",
        "commit b Synced",
    ];
    assert_eq!(*noting.calls.lock(), expected);
    assert!(reserved.blocking_recv().unwrap().is_ok());
    let reclaimed = reclaimed.blocking_recv().unwrap().unwrap();
    assert_eq!(reclaimed, Reclaimed::default(), "it has no index");
    assert!(alone.blocking_recv().unwrap().is_ok());
    assert!(drained.blocking_recv().unwrap().is_ok());
}

#[test]
fn another_drain_ends_the_one_under_way_and_has_the_lane() {
    let (noting, driver) = noting();
    let (lanes, ends) = lanes_of(1, 8);
    let (old, new) = (Arc::new(ready(&["a", "b"])), Arc::new(ready(&["c"])));
    let ended = drain(&lanes, &old);
    let drained = drain(&lanes, &new);
    drop(lanes);
    ends.commit_loop(&driver);
    let expected = ["commit a Synced", "commit c Synced"];
    assert_eq!(*noting.calls.lock(), expected);
    assert!(ended.blocking_recv().unwrap().is_ok());
    assert!(drained.blocking_recv().unwrap().is_ok());
}

#[test]
fn a_supply_that_panics_is_answered_and_the_lane_goes_on() {
    let (noting, driver) = noting();
    let (lanes, ends) = lanes_of(1, 8);
    let supply = Arc::new(Ready {
        between: Some(Box::new(|| panic!("by order"))),
        ..ready(&["a", "b"])
    });
    let drained = drain(&lanes, &supply);
    let after = commit(&lanes, &["c"], StoreDurability::Written);
    drop(lanes);
    ends.commit_loop(&driver);
    assert!(drained.blocking_recv().unwrap().is_err());
    assert!(after.blocking_recv().unwrap().is_ok());
    let expected = ["commit a Synced", "commit c Written"];
    assert_eq!(*noting.calls.lock(), expected);
}

#[test]
fn what_is_due_is_reserved_before_the_batch_that_it_is_due_with() {
    let (noting, driver) = noting();
    let (lanes, ends) = lanes_of(1, 8);
    let mark = Watermark {
        ceiling: 7,
        clock_ms: 1,
    };
    let supply = Arc::new(ready(&["a", "b"]));
    *supply.due.lock() = Some(mark);
    let drained = drain(&lanes, &supply);
    drop(lanes);
    ends.commit_loop(&driver);
    let expected = ["reserve 7", "commit a Synced", "commit b Synced"];
    assert_eq!(*noting.calls.lock(), expected);
    assert_eq!(*supply.reserved.lock(), Some(7));
    assert!(drained.blocking_recv().unwrap().is_ok());
}
