//! What the queue promises, a sentence each.

use std::rc::Rc;

use super::Urgency::{Background, Foreground, Prefetch};
use super::*;

fn bounds(in_flight_max: usize, waiting_max: usize) -> Bounds {
    Bounds {
        in_flight_max,
        waiting_max,
    }
}

/// One source, of which one call (0) is under way, and whoever else comes waits.
fn busy(waiting_max: usize) -> (Queue<u32>, Number) {
    let mut queue = Queue::new(1);
    let source = queue.add(bounds(1, waiting_max));
    assert_eq!(queue.enter(source, Foreground, 0), Entered::In(0));
    (queue, source)
}

/// The ticket of one who waits, nobody being turned away for it.
fn wait(queue: &mut Queue<u32>, source: Number, urgency: Urgency, token: u32) -> u64 {
    match queue.enter(source, urgency, token) {
        Entered::Waits {
            ticket,
            turned_away: None,
        } => ticket,
        other => panic!("{token} was to wait: {other:?}"),
    }
}

/// Who gets a place when so many are given back, one after the other.
fn serve(queue: &mut Queue<u32>, source: Number, places: usize) -> Vec<u32> {
    let each = (0..places).filter_map(|_| queue.give_back(source));
    each.collect()
}

#[test]
fn each_source_lets_in_as_many_as_its_bound() {
    let mut queue = Queue::new(9);
    let (a, b) = (queue.add(bounds(2, 9)), queue.add(bounds(1, 9)));
    assert_eq!(queue.enter(a, Foreground, 1), Entered::In(1));
    assert_eq!(queue.enter(a, Prefetch, 2), Entered::In(2));
    wait(&mut queue, a, Foreground, 3);
    assert_eq!(queue.enter(b, Foreground, 4), Entered::In(4));
    assert_eq!((queue.in_flight(a), queue.in_flight(b)), (2, 1));
}

#[test]
fn all_sources_together_let_in_as_many_as_the_overall_bound() {
    let mut queue = Queue::new(2);
    let (a, b) = (queue.add(bounds(9, 9)), queue.add(bounds(9, 9)));
    assert_eq!(queue.enter(a, Foreground, 1), Entered::In(1));
    assert_eq!(queue.enter(b, Foreground, 2), Entered::In(2));
    wait(&mut queue, a, Foreground, 3);
    wait(&mut queue, b, Foreground, 4);
    assert_eq!((queue.in_flight(a), queue.in_flight(b)), (1, 1));
}

#[test]
fn a_newcomer_passes_nobody() {
    let (mut queue, source) = busy(9);
    wait(&mut queue, source, Prefetch, 1);
    assert_eq!(queue.give_back(source), Some(1));
    wait(&mut queue, source, Foreground, 2);
}

#[test]
fn a_free_place_goes_to_the_most_urgent_and_to_the_oldest_of_equals() {
    let (mut queue, source) = busy(9);
    wait(&mut queue, source, Background, 1);
    wait(&mut queue, source, Foreground, 2);
    wait(&mut queue, source, Foreground, 3);
    assert_eq!(serve(&mut queue, source, 3), [2, 3, 1]);
}

#[test]
fn a_free_place_goes_to_the_most_urgent_of_any_source() {
    let mut queue = Queue::new(1);
    let (a, b) = (queue.add(bounds(1, 9)), queue.add(bounds(1, 9)));
    assert_eq!(queue.enter(a, Foreground, 0), Entered::In(0));
    wait(&mut queue, a, Background, 1);
    wait(&mut queue, b, Foreground, 2);
    assert_eq!(queue.give_back(a), Some(2));
    assert_eq!(queue.give_back(b), Some(1));
}

#[test]
fn a_free_place_is_not_for_those_whose_own_source_is_full() {
    let mut queue = Queue::new(2);
    let (a, b) = (queue.add(bounds(1, 9)), queue.add(bounds(2, 9)));
    assert_eq!(queue.enter(a, Foreground, 1), Entered::In(1));
    assert_eq!(queue.enter(b, Foreground, 2), Entered::In(2));
    wait(&mut queue, a, Foreground, 3);
    wait(&mut queue, b, Prefetch, 4);
    assert_eq!(queue.give_back(b), Some(4));
}

#[test]
fn every_fourth_place_goes_to_the_oldest() {
    let (mut queue, source) = busy(99);
    wait(&mut queue, source, Prefetch, 1);
    wait(&mut queue, source, Background, 2);
    for token in 3..=9 {
        wait(&mut queue, source, Foreground, token);
    }
    assert_eq!(serve(&mut queue, source, 9), [3, 4, 5, 1, 6, 7, 8, 2, 9]);
}

#[test]
fn a_prefetch_with_two_older_ones_goes_with_the_twelfth_place_of_a_foreground_stream() {
    let (mut queue, source) = busy(99);
    let older = 2;
    for token in 1..=older + 1 {
        wait(&mut queue, source, Prefetch, token);
    }
    let places = (1..=99).find(|round| {
        wait(&mut queue, source, Foreground, 100 + round);
        queue.give_back(source) == Some(older + 1)
    });
    assert_eq!(places, Some(OLDEST_EVERY * (older + 1)));
}

#[test]
fn of_a_foreground_stream_of_another_source_every_fourth_place_goes_to_the_oldest_prefetch() {
    let mut queue = Queue::new(1);
    let sources = [(); 3].map(|()| queue.add(bounds(1, 9)));
    assert_eq!(queue.enter(sources[0], Foreground, 0), Entered::In(0));
    wait(&mut queue, sources[1], Prefetch, 1);
    wait(&mut queue, sources[2], Prefetch, 2);
    let mut ends = 0;
    let served = [(); 8].map(|()| {
        wait(&mut queue, sources[0], Foreground, 0);
        ends = queue.give_back(sources[ends as usize]).unwrap();
        ends
    });
    assert_eq!(served, [0, 0, 0, 1, 0, 0, 0, 2]);
}

#[test]
fn places_that_others_give_while_its_source_is_full_delay_nobody() {
    let mut queue = Queue::new(2);
    let (a, b) = (queue.add(bounds(1, 9)), queue.add(bounds(1, 9)));
    assert_eq!(queue.enter(a, Foreground, 0), Entered::In(0));
    assert_eq!(queue.enter(b, Foreground, 0), Entered::In(0));
    for (source, token) in [(a, 1), (a, 2), (b, 3)] {
        wait(&mut queue, source, Prefetch, token);
    }
    let by_turns = (1..=12).flat_map(|round| [(round, a), (round, b)]);
    let served = by_turns.map(|(round, source)| {
        wait(&mut queue, source, Foreground, 0);
        (round, queue.give_back(source).unwrap())
    });
    let prefetched: Vec<_> = served.filter(|(_, token)| *token > 0).collect();
    assert_eq!(prefetched, [(4, 1), (4, 3), (8, 2)]);
}

#[test]
fn a_place_that_a_newcomer_finds_free_does_not_count_towards_the_fourth() {
    let (mut queue, source) = busy(9);
    for _ in 0..3 {
        assert_eq!(queue.give_back(source), None);
        assert_eq!(queue.enter(source, Foreground, 0), Entered::In(0));
    }
    wait(&mut queue, source, Prefetch, 1);
    wait(&mut queue, source, Foreground, 2);
    assert_eq!(queue.give_back(source), Some(2));
}

#[test]
fn a_full_queue_turns_away_the_youngest_of_the_least_urgent() {
    let (mut queue, source) = busy(4);
    for (token, urgency) in [(1, Prefetch), (2, Prefetch), (3, Background), (4, Prefetch)] {
        wait(&mut queue, source, urgency, token);
    }
    let mut turned_away = |urgency| match queue.enter(source, urgency, 9) {
        Entered::Waits { turned_away, .. } => turned_away,
        other => panic!("{other:?}"),
    };
    assert_eq!(turned_away(Background), Some(4));
    assert_eq!(turned_away(Foreground), Some(2));
    assert_eq!(queue.waiting(source), 4);
}

#[test]
fn a_full_queue_of_others_as_urgent_is_full() {
    let (mut queue, source) = busy(2);
    wait(&mut queue, source, Background, 1);
    wait(&mut queue, source, Foreground, 2);
    assert_eq!(queue.enter(source, Background, 3), Entered::Full(3));
    assert_eq!(queue.enter(source, Prefetch, 4), Entered::Full(4));
    assert_eq!(serve(&mut queue, source, 2), [2, 1]);
}

#[test]
fn with_a_bound_of_none_nobody_waits() {
    let (mut queue, source) = busy(0);
    assert_eq!(queue.enter(source, Foreground, 1), Entered::Full(1));
}

#[test]
fn with_a_bound_that_became_none_nobody_takes_the_stead_of_one_who_waits() {
    let (mut queue, source) = busy(1);
    wait(&mut queue, source, Prefetch, 1);
    assert!(queue.resize(source, bounds(1, 0)).is_empty());
    assert_eq!(queue.enter(source, Foreground, 2), Entered::Full(2));
    assert_eq!(queue.give_back(source), Some(1));
}

#[test]
fn who_leaves_gets_its_token_once_and_no_place() {
    let (mut queue, source) = busy(9);
    let ticket = wait(&mut queue, source, Foreground, 1);
    wait(&mut queue, source, Prefetch, 2);
    assert_eq!(queue.leave(source, ticket), Some(1));
    assert_eq!(queue.leave(source, ticket), None);
    assert_eq!(queue.give_back(source), Some(2));
}

#[test]
fn who_has_a_place_cannot_leave_the_queue() {
    let (mut queue, source) = busy(9);
    let ticket = wait(&mut queue, source, Foreground, 1);
    assert_eq!(queue.give_back(source), Some(1));
    assert_eq!(queue.leave(source, ticket), None);
    assert_eq!(queue.in_flight(source), 1);
}

#[test]
fn who_is_lifted_keeps_its_age() {
    let (mut queue, source) = busy(9);
    wait(&mut queue, source, Foreground, 1);
    let lifted = wait(&mut queue, source, Prefetch, 2);
    wait(&mut queue, source, Foreground, 3);
    queue.lift(source, lifted, Foreground);
    assert_eq!(serve(&mut queue, source, 3), [1, 2, 3]);
}

#[test]
fn nobody_is_made_less_urgent() {
    let (mut queue, source) = busy(9);
    let ticket = wait(&mut queue, source, Foreground, 1);
    wait(&mut queue, source, Background, 2);
    queue.lift(source, ticket, Prefetch);
    assert_eq!(serve(&mut queue, source, 2), [1, 2]);
}

#[test]
fn a_wider_bound_lets_in_several_at_once_as_far_as_there_is_room_overall() {
    let mut queue = Queue::new(3);
    let source = queue.add(bounds(1, 9));
    assert_eq!(queue.enter(source, Foreground, 0), Entered::In(0));
    for (token, urgency) in [(1, Prefetch), (2, Background), (3, Foreground)] {
        wait(&mut queue, source, urgency, token);
    }
    assert_eq!(queue.resize(source, bounds(9, 9)), [3, 2]);
    assert_eq!((queue.in_flight(source), queue.waiting(source)), (3, 1));
}

#[test]
fn under_a_narrower_bound_nobody_enters_until_fewer_are_in() {
    let mut queue = Queue::new(9);
    let source = queue.add(bounds(3, 9));
    for token in 0..3 {
        assert_eq!(queue.enter(source, Foreground, token), Entered::In(token));
    }
    assert!(queue.resize(source, bounds(1, 9)).is_empty());
    assert_eq!(queue.in_flight(source), 3);
    wait(&mut queue, source, Foreground, 3);
    assert_eq!(queue.give_back(source), None);
    assert_eq!(queue.give_back(source), None);
    assert_eq!(queue.give_back(source), Some(3));
}

#[test]
fn who_is_drained_comes_in_the_order_of_service() {
    let fill = || {
        let (mut queue, source) = busy(99);
        wait(&mut queue, source, Foreground, 1);
        wait(&mut queue, source, Prefetch, 2);
        for token in 3..=9 {
            wait(&mut queue, source, Foreground, token);
        }
        assert_eq!(queue.give_back(source), Some(1));
        (queue, source)
    };
    let (mut drained, source) = fill();
    let (mut served, _) = fill();
    assert_eq!(drained.drain(source), serve(&mut served, source, 8));
    assert_eq!((drained.waiting(source), drained.in_flight(source)), (0, 1));
}

#[test]
fn an_unknown_source_is_full_and_empty() {
    let mut queue = Queue::new(9);
    let nowhere = Number(0);
    assert_eq!(queue.enter(nowhere, Foreground, 1), Entered::Full(1));
    assert!(queue.resize(nowhere, bounds(9, 9)).is_empty());
    assert_eq!(queue.give_back(nowhere), None);
    assert!(queue.drain(nowhere).is_empty());
    assert_eq!(queue.leave(nowhere, 1), None);
    queue.lift(nowhere, 1, Foreground);
    assert_eq!((queue.in_flight(nowhere), queue.waiting(nowhere)), (0, 0));
}

#[test]
fn a_ticket_is_of_its_own_source_alone() {
    let (mut queue, source) = busy(9);
    let other = queue.add(bounds(1, 9));
    let ticket = wait(&mut queue, source, Prefetch, 1);
    wait(&mut queue, source, Background, 2);
    queue.lift(other, ticket, Foreground);
    assert_eq!(queue.leave(other, ticket), None);
    assert_eq!(serve(&mut queue, source, 2), [2, 1]);
}

#[test]
fn a_place_that_nobody_has_cannot_be_given_back() {
    let mut queue = Queue::new(1);
    let (a, b) = (queue.add(bounds(1, 9)), queue.add(bounds(1, 9)));
    assert_eq!(queue.enter(a, Foreground, 0), Entered::In(0));
    wait(&mut queue, b, Foreground, 1);
    assert_eq!(queue.give_back(b), None);
    assert_eq!((queue.in_flight(a), queue.in_flight(b)), (1, 0));
}

#[test]
fn of_those_who_have_left_nothing_is_kept() {
    let mut queue = Queue::new(1);
    let source = queue.add(bounds(1, 300));
    let token = Rc::new(());
    for urgency in Urgency::ALL.repeat(100) {
        drop(queue.enter(source, urgency, Rc::clone(&token)));
    }
    assert_eq!(Rc::strong_count(&token), 300);
    while queue.in_flight(source) > 0 {
        drop(queue.give_back(source));
    }
    assert_eq!(Rc::strong_count(&token), 1);
}

#[test]
fn an_urgency_survives_being_a_number_and_keeps_its_order() {
    let numbers = Urgency::ALL.map(Urgency::as_u8);
    assert!(numbers.is_sorted_by(|a, b| a < b));
    assert_eq!(numbers.map(Urgency::from_u8), Urgency::ALL);
    assert_eq!(Urgency::from_u8(u8::MAX), Prefetch);
}
