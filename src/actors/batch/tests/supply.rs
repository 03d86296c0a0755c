//! What the commit lane takes from a supply: when a bell rings for it, what is taken back, and what is stored
//! in spite of a panic.

use std::future::Future;

use super::super::supply::Supply;
use super::*;
use crate::drivers::lanes::Supply as _;

#[tokio::test]
async fn nobody_rings_while_a_lane_is_at_work_and_whoever_comes_after_its_last_look_does() {
    let bench = bench();
    let rings = bench.rings();
    let supply = Supply::new(&bench.home(), whole(), false);
    for (name, rung) in [("a", 1), ("b", 1)] {
        bench.set(name);
        assert_eq!(rings.load(Ordering::SeqCst), rung);
        let (batch, _) = supply.next().unwrap();
        assert_eq!(batch.len(), 1);
        supply.stored(Duration::ZERO);
    }
    assert!(supply.next().is_none());
    bench.set("c");
    assert_eq!(rings.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn what_a_thread_stores_after_its_supply_was_taken_back_is_not_called_stored() {
    let bench = bench();
    bench.set("a");
    let supply = Supply::new(&bench.home(), whole(), false);
    assert!(supply.next().is_some());
    let left = supply.take_back().unwrap().under_way;
    supply.stored(Duration::ZERO);
    assert!(supply.next().is_none());
    assert!(bench.shelf.is_dirty(STORE));
    bench.shelf.unsettle(&left);
    bench.drain(whole(), |_| Ok(())).await;
    assert!(!bench.shelf.is_dirty(STORE));
}

#[tokio::test]
async fn what_comes_to_be_in_doubt_while_a_lane_is_at_work_is_deleted_in_the_same_run() {
    let bench = Arc::new(bench());
    let rings = bench.rings();
    bench.set("a");
    let sent = Arc::new(Mutex::new(Vec::new()));
    let (log, other) = (Arc::clone(&sent), Arc::clone(&bench));
    let answer = move |count| {
        if log.lock().is_empty() {
            other.set_in("b", Room::default());
            other.shelf.bells.dirty.ring();
            assert_eq!(rings.load(Ordering::SeqCst), 1, "unheard");
        }
        log.lock().push(count);
        Ok(())
    };
    bench.drain(whole(), answer).await;
    assert_eq!(*sent.lock(), [1, 1]);
    assert!(!bench.shelf.is_distrusted(STORE));
    // The answer holds the bench that holds it.
    *bench.says.lock() = Box::new(|_| Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_lane_that_ends_with_what_it_took_leaves_it_dirty_for_the_next_one() {
    let bench = bench();
    bench.set("a");
    bench.set("b");
    let port = Arc::clone(&bench.port);
    let answer = move |_| {
        port.close(1, "by order");
        Err(Failure::reopen("by order"))
    };
    let progress = bench.drain(whole(), answer).await;
    assert!(bench.shelf.is_dirty(STORE));
    let taken = bench.shelf.take(STORE, 8, 1_000, 1_000, &mut 0);
    assert_eq!((taken.len(), progress.blame.count()), (2, 1));
}

/// A task that cannot be woken.
struct Unwakeable;

impl std::task::Wake for Unwakeable {
    fn wake(self: Arc<Self>) {
        panic!("by order");
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_that_panics_when_it_is_woken_keeps_nothing_from_being_stored() {
    let bench = bench();
    bench.set("a");
    let (ticket, mut waiting) = Ticket::new();
    let durability = StoreDurability::Written;
    bench.shelf.wait_for_all(STORE, durability, &ticket);
    ticket.done();
    let waker = Arc::new(Unwakeable).into();
    let mut cx = std::task::Context::from_waker(&waker);
    assert!(std::pin::pin!(&mut waiting).poll(&mut cx).is_pending());
    for n in 0..40 {
        bench.set(&n.to_string());
    }
    bench.drain(whole(), |_| Ok(())).await;
    assert!(!bench.shelf.is_dirty(STORE));
}

#[tokio::test]
async fn nothing_more_is_taken_once_calls_cease_to_go_to_a_driver() {
    let bench = bench();
    bench.set("a");
    let supply = Supply::new(&bench.home(), whole(), false);
    bench.port.force(BreakerMode::ForcedOpen);
    assert!(supply.next().is_none());
    assert!(!supply.take_back().unwrap().is_dry);
}

#[tokio::test]
async fn what_was_taken_as_calls_ceased_to_go_to_a_driver_is_left_dirty() {
    let bench = bench();
    bench.set("a");
    let port = Arc::clone(&bench.port);
    let home = bench.home_told(Box::new(move |_| port.force(BreakerMode::ForcedOpen)));
    let supply = Supply::new(&home, whole(), false);
    assert!(supply.next().is_none());
    let inside = supply.take_back().unwrap();
    assert!(!inside.is_dry && inside.under_way.is_empty());
    assert_eq!(bench.shelf.take(STORE, 8, 1_000, 1_000, &mut 0).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_panic_while_a_batch_is_made_leaves_it_to_be_stored_again() {
    let bench = bench();
    bench.set("a");
    let told = AtomicUsize::new(0);
    let home = bench.home_told(Box::new(move |_| {
        assert!(told.fetch_add(1, Ordering::SeqCst) > 0, "by order");
    }));
    let progress = whole();
    Run { home, progress }.drain().await;
    assert!(!bench.shelf.is_dirty(STORE));
}

#[tokio::test]
async fn what_a_batch_writer_that_is_gone_had_sent_is_not_called_stored() {
    let bench = Arc::new(bench());
    bench.set("a");
    let (entered, mut is_entered) = tokio::sync::mpsc::unbounded_channel();
    let (release, released) = std::sync::mpsc::channel::<()>();
    *bench.says.lock() = Box::new(move |_| {
        entered.send(()).unwrap();
        // An error means that the test is over.
        let _ = released.recv();
        Ok(())
    });
    let (home, progress) = (bench.home(), whole());
    let run = tokio::spawn(async move { Run { home, progress }.drain().await });
    is_entered.recv().await.unwrap();
    run.abort();
    assert!(run.await.is_err());
    drop(release);
    // The lane is at the next command: it has heard what came of the batch.
    let durability = StoreDurability::Written;
    bench.port.commit_nothing(durability).await.unwrap();
    assert!(bench.shelf.is_dirty(STORE));
    bench.shelf.requeue();
    bench.drain(whole(), |_| Ok(())).await;
    assert!(!bench.shelf.is_dirty(STORE));
}

#[tokio::test]
async fn a_lane_that_is_never_dry_lets_the_batch_writer_look_after_a_tenth_of_a_second() {
    let bench = bench();
    let supply = Supply::new(&bench.home(), whole(), false);
    for (step_ms, goes_on) in [(0, true), (99, true), (1, false)] {
        bench.clock.advance(Duration::from_millis(step_ms));
        bench.set("a");
        assert_eq!(supply.next().is_some(), goes_on, "{step_ms}");
        supply.stored(Duration::ZERO);
    }
    assert!(!supply.take_back().unwrap().is_dry);
}

#[tokio::test]
async fn versions_and_the_time_are_reserved_again_after_a_while_and_not_before_each_commit() {
    let bench = bench();
    let home = bench.home();
    assert_eq!(home.due(), None, "its opening has reserved");
    bench.clock.advance(Duration::from_secs(19));
    assert_eq!(home.due(), None);
    bench.clock.advance(Duration::from_secs(1));
    let mark = home.due().unwrap();
    assert_eq!(mark.clock_ms, 21_000);
    assert_eq!(mark.ceiling, Version::at(21_000 + RESERVE_MS).get());
    assert_eq!(home.due(), None);
    home.reserved(mark);
    let next = bench.shelf.versions().next(21_000 + RESERVE_MS / 2 - 1);
    assert_eq!(
        next.millis(),
        21_000 + RESERVE_MS / 2 - 1,
        "time is used again"
    );
}
