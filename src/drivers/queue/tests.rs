//! What the queue does with real threads, and whom it wakes.

use std::sync::mpsc;
use std::thread;

use super::*;

#[test]
fn things_are_taken_in_the_order_in_which_they_came_until_nobody_sends_any() {
    let (sender, receiver) = queue(3);
    let other = sender.clone();
    (1..=2).for_each(|n| sender.try_send(n).unwrap());
    drop(sender);
    other.try_send(3).unwrap();
    drop(other);
    let taken: Vec<i32> = std::iter::from_fn(|| receiver.recv()).collect();
    assert_eq!(taken, [1, 2, 3]);
}

#[test]
fn it_refuses_what_is_too_much_and_what_nobody_would_take() {
    let (sender, receiver) = queue(1);
    sender.try_send(1).unwrap();
    assert_eq!(sender.try_send(2), Err(Refused::Full));
    assert_eq!(receiver.recv(), Some(1));
    sender.try_send(3).unwrap();
    drop(receiver);
    assert_eq!(sender.try_send(4), Err(Refused::Gone));
}

#[test]
fn what_nobody_took_is_dropped_with_the_receiver() {
    let (sender, receiver) = queue(1);
    let (told, hears) = mpsc::channel::<()>();
    sender.try_send(told).unwrap();
    drop(receiver);
    assert!(hears.recv().is_err());
}

/// Waits until so many threads rest.
fn rest<T>(sender: &Sender<T>, count: usize) {
    while sender.0.0.state.lock().idle.len() < count {
        thread::yield_now();
    }
}

#[test]
fn of_idle_threads_the_last_one_to_rest_is_woken() {
    let (sender, receiver) = queue(8);
    let (told, hears) = mpsc::channel();
    thread::scope(|scope| {
        let (receiver, told) = (&receiver, &told);
        for nth in 0..3 {
            scope.spawn(move || {
                while receiver.recv().is_some() {
                    told.send(nth).unwrap();
                }
            });
            rest(&sender, nth + 1);
        }
        for _ in 0..20 {
            sender.try_send(()).unwrap();
            assert_eq!(hears.recv().unwrap(), 2);
            rest(&sender, 3);
        }
        drop(sender);
    });
}

#[test]
fn a_thread_that_wakes_by_itself_is_not_taken_for_an_idle_one_while_it_works() {
    let (sender, receiver) = queue(8);
    let (told, hears) = mpsc::channel();
    let (lets_go, waits) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let (receiver, told) = (&receiver, &told);
        let busy = scope.spawn(move || {
            while let Some(n) = receiver.recv() {
                told.send(n).unwrap();
                let _ = waits.recv();
            }
        });
        rest(&sender, 1);
        // As if it had woken by itself just when something came.
        sender.0.0.change(|state| state.items.push_back(1));
        busy.thread().unpark();
        assert_eq!(hears.recv().unwrap(), 1);
        assert!(sender.0.0.state.lock().idle.is_empty());
        scope.spawn(move || {
            while let Some(n) = receiver.recv() {
                told.send(n).unwrap();
            }
        });
        sender.try_send(2).unwrap();
        assert_eq!(hears.recv().unwrap(), 2, "by the other one");
        drop(lets_go);
        drop(sender);
    });
}

#[test]
fn nothing_is_lost_or_taken_twice_however_many_send_and_take() {
    let (sender, receiver) = queue(64);
    let taken = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(n) = receiver.recv() {
                    taken.lock().push(n);
                }
            });
        }
        for from in 0..4 {
            let sender = sender.clone();
            scope.spawn(move || {
                for n in (from..4_000).step_by(4) {
                    while sender.try_send(n) == Err(Refused::Full) {
                        thread::yield_now();
                    }
                }
            });
        }
        drop(sender);
    });
    let mut taken = std::mem::take(&mut *taken.lock());
    taken.sort_unstable();
    assert!(taken.into_iter().eq(0..4_000));
}

#[test]
fn who_watches_takes_the_next_thing_and_nobody_is_woken_for_it_but_for_a_second_one() {
    let mut state = State::<u8>::new();
    state.idle.push(this_thread());
    assert!(matches!(state.next(Done::Other, true), Next::Watch));
    state.items.push_back(1);
    assert!(state.woken(|| true).is_none());
    state.items.push_back(2);
    assert!(state.woken(|| true).is_some());
    assert!(matches!(state.next(Done::Watched, true), Next::Take(1)));
    assert!(!state.is_watched);
}

#[test]
fn one_that_watches_and_does_not_run_is_not_waited_for() {
    let (sender, _receiver) = queue(8);
    sender.0.0.change(|state| {
        state.is_watched = true;
        state.idle.push(this_thread());
    });
    sender.0.0.beats();
    while sender.0.0.runs() {
        thread::yield_now();
    }
    sender.try_send(1).unwrap();
    assert!(sender.0.0.state.lock().idle.is_empty());
}

#[test]
fn who_watches_goes_on_when_somebody_else_was_faster() {
    let mut state = State::<u8>::new();
    assert!(matches!(state.next(Done::Other, true), Next::Watch));
    assert!(matches!(state.next(Done::Watched, true), Next::Watch));
    assert!(state.is_watched && state.rests == 0);
    state.has_senders = false;
    assert!(matches!(state.next(Done::Watched, true), Next::End));
}

#[test]
fn after_one_has_watched_in_vain_some_rest_at_once() {
    let mut state = State::<u8>::new();
    assert!(matches!(state.next(Done::Other, true), Next::Watch));
    let other = state.next(Done::Other, true);
    assert!(matches!(other, Next::Rest), "one watches");
    assert!(matches!(state.next(Done::WatchedInVain, true), Next::Rest));
    for _ in 0..RESTS {
        assert!(matches!(state.next(Done::Other, true), Next::Rest));
    }
    assert!(matches!(state.next(Done::Other, true), Next::Watch));
    state.items.push_back(1);
    assert!(matches!(
        state.next(Done::WatchedInVain, true),
        Next::Take(1)
    ));
    let it_paid = state.next(Done::Other, true);
    assert!(matches!(it_paid, Next::Watch));
    let mut state = State::<u8>::new();
    let one_processor = state.next(Done::Other, false);
    assert!(matches!(one_processor, Next::Rest));
}
