//! The histories that the slot protocol forbids, told against the real shelf one step at a time.
//!
//! The model of the protocol switches its rules off one by one and prints the shortest history that
//! then goes wrong; each rule has a test here that plays that history with the rule in force. One
//! thread, a store that is a map, and every step by hand, so each test is the same on every run.
//!
//! Rules of the model that no shelf alone can keep are told in `driver_protocol.rs`: `reclaim_cond` (6),
//! `gen_fenced` (10), `ceil_issued` and `expiry_monotone` (13), `fence_sync` (14). Of `cancel_hands_over`
//! (4), which the flight's guard keeps, here is only that `release` frees the key.

#[path = "support/one_key.rs"]
mod one_key;

use larder::drivers::StoreDurability::{Synced, Written};
use larder::shelf::*;

use one_key::{DISK, Flight, K, World, done, draft, is_conflict, until, value_of};

// Rule 4, `mark_first`: the mark is left in the same critical section as the miss.
#[test]
fn a_value_set_stored_and_evicted_between_miss_and_promotion_is_not_undone() {
    let mut world = World::stored();
    let flight = world.go_down();
    world.set(2);
    world.flush();
    world.evict();
    assert!(!world.come_up(&flight));
    assert_eq!(world.get(), Some(2));
}

// Rule 4, `promote_fenced`: that the slot is empty is not enough.
#[test]
fn a_promotion_under_a_struck_mark_is_refused() {
    let mut world = World::stored();
    let flight = world.go_down();
    world.remove();
    world.flush();
    assert!(!world.come_up(&flight));
    assert_eq!(world.get(), None);
}

// Rule 4, `mark_id`: another mark of the same key will not do.
#[test]
fn a_promotion_under_a_later_readers_mark_is_refused() {
    let mut world = World::stored();
    let early = world.go_down();
    world.set(2);
    world.flush();
    world.evict();
    let late = world.go_down();
    assert!(!world.come_up(&early));
    assert!(
        world.come_up(&late),
        "and it did not cost the later one its mark"
    );
    assert_eq!(world.get(), Some(2));
}

// Rule 4, `cas_fenced`: a conditional operation on an absent key needs its mark too.
#[test]
fn a_compare_and_set_on_what_was_read_before_another_mutation_looks_again() {
    let mut world = World::stored();
    let flight = world.go_down();
    let one = flight.found.as_ref().unwrap().version;
    world.set(2);
    world.flush();
    world.evict();
    let applied = world.set_if(3, Condition::Version(one), Some(&flight));
    let Applied::Below(mark, distrusted) = applied else {
        panic!("{applied:?}");
    };
    let mut again = Flight {
        mark,
        distrusted,
        found: None,
    };
    world.look(&mut again);
    assert!(is_conflict(&world.set_if(
        3,
        Condition::Version(one),
        Some(&again)
    )));
}

// Rule 4, `cas_fenced`: of two compare-and-sets on one version, one wins.
#[test]
fn two_compare_and_sets_under_one_mark_have_one_winner() {
    let world = World::stored();
    let (a, b) = (world.go_down(), world.go_down());
    let one = a.found.as_ref().unwrap().version;
    done(world.set_if(2, Condition::Version(one), Some(&a)));
    assert!(is_conflict(&world.set_if(
        3,
        Condition::Version(one),
        Some(&b)
    )));
    assert_eq!(world.get(), Some(2));
}

// Rule 1, `lock_version`: versions are drawn under the slot's lock, so the later writer is newer.
#[test]
fn what_is_applied_later_has_the_higher_version_and_is_what_the_store_gets() {
    let mut world = World::new();
    let (first, second) = (world.set(1), world.set(2));
    assert!(first < second);
    assert_eq!(world.flush(), 1);
    assert_eq!(world.store[K].version, second);
}

// Rule 6, `requeue`: a completion that finds a newer slot queues the key again.
#[test]
fn a_value_set_while_an_older_one_is_being_stored_is_stored_too() {
    let mut world = World::new();
    world.set(1);
    let taken = world.take();
    world.set(2);
    world.commit(&taken);
    world.settle(&taken);
    assert!(world.shelf.is_dirty(DISK));
    assert_eq!(world.flush(), 1);
    world.evict();
    assert_eq!(world.get(), Some(2));
}

// Rule 3, `mutation_stamp`: `expire` is a mutation with a new version and a new stamp.
#[test]
fn an_expiry_during_a_commit_is_stored_although_the_commit_succeeds() {
    let mut world = World::new();
    let set = world.set(1);
    let taken = world.take();
    let expired = world.put(until(1, world.now_ms));
    assert!(expired > set);
    world.commit(&taken);
    world.settle(&taken);
    world.evict();
    assert_eq!(world.get(), None);
    world.flush();
    assert_eq!(world.get(), None);
}

// Rule 3, `mutation_stamp`: nor does a completion lose a `touch`.
#[test]
fn a_touch_during_a_commit_is_stored_although_the_commit_succeeds() {
    let mut world = World::new();
    world.put(until(1, 2_000));
    let taken = world.take();
    world.put(draft(1));
    world.commit(&taken);
    world.settle(&taken);
    world.flush();
    world.evict();
    world.now_ms = 2_000;
    assert_eq!(world.get(), Some(1));
}

// Rule 2, `expired_dirty_stays`: an expired dirty slot acts as a tombstone until it is stored.
#[test]
fn a_value_that_expires_before_it_is_stored_does_not_uncover_the_one_before_it() {
    let mut world = World::stored();
    world.put(until(2, 1_500));
    world.now_ms = 1_500;
    assert_eq!(world.shelf.due(&world.scope, K, 1_500), Due::Done(true));
    world.shelf.sweep(0, 1_500);
    world.evict();
    assert_eq!(world.get(), None);
    world.flush();
    assert_eq!(world.get(), None);
}

// Rule 2, `expired_dirty_stays`, for a fence.
#[test]
fn a_value_that_is_cleared_before_it_is_stored_does_not_uncover_the_one_before_it() {
    let mut world = World::stored();
    world.set(2);
    world.clear();
    world.shelf.sweep(0, world.now_ms);
    assert_eq!(world.get(), None);
    world.flush();
    assert!(!world.store.contains_key(K));
}

// Rule 4, `join_standing`: a flight may be joined only while its mark stands.
#[test]
fn a_flight_whose_mark_was_struck_cannot_be_joined() {
    let world = World::stored();
    let flight = world.go_down();
    assert_eq!(
        world.go_down().mark,
        flight.mark,
        "a second reader shares it"
    );
    assert!(
        world
            .shelf
            .stands(&world.scope, world.hash(), K, flight.mark)
    );
    world.remove();
    assert!(
        !world
            .shelf
            .stands(&world.scope, world.hash(), K, flight.mark)
    );
}

// Rules 5 and 14, `fetch_start`: a fetch carries the version of its start and loses to any fence since.
#[test]
fn a_fetch_that_began_before_a_clear_is_not_stored_after_it() {
    let world = World::new();
    let fetch = world.begin_fetch();
    world.clear();
    assert!(is_conflict(&world.end_fetch(1, fetch)));
    assert_eq!(world.get(), None);
    done(world.end_fetch(2, world.begin_fetch()));
    assert_eq!(world.get(), Some(2));
}

// Rule 5, `fetch_mark`: a fetch loses to any mutation since.
#[test]
fn a_fetch_that_began_before_a_removal_is_not_stored_after_it() {
    let mut world = World::new();
    let fetch = world.begin_fetch();
    world.remove();
    world.flush();
    assert!(is_conflict(&world.end_fetch(1, fetch)));
    assert_eq!(world.get(), None);
}

// Rule 5, `fetch_mark`, for a set.
#[test]
fn a_fetch_that_began_before_a_set_does_not_replace_it() {
    let mut world = World::new();
    let fetch = world.begin_fetch();
    world.set(2);
    world.flush();
    world.evict();
    assert!(is_conflict(&world.end_fetch(1, fetch)));
    assert_eq!(world.get(), Some(2));
}

// Rule 6, `retry_rereads`: each attempt takes the slot as it is then.
#[test]
fn a_retry_stores_the_newest_value_and_not_the_bytes_of_the_first_attempt() {
    let mut world = World::new();
    world.set(1);
    let failed = world.take();
    world.set(2);
    world.shelf.unsettle(&failed);
    assert_eq!(world.flush(), 1);
    assert_eq!(value_of(&world.store[K]), 2);
    assert!(world.take().is_empty());
}

// Rule 11, `overflow_mark`: distrust is recorded before the dirty slot goes.
#[test]
fn after_an_overflow_the_stored_copy_is_not_shown() {
    let world = World::stored();
    world.overflow(2);
    assert_eq!(world.get(), Some(2));
    world.evict();
    assert_eq!(world.get(), None);
}

// Rule 11, `overflow_mark`: an older commit that lands late does not end the distrust.
#[test]
fn an_older_commit_under_way_during_an_overflow_does_not_bring_its_value_back() {
    let mut world = World::new();
    world.set(1);
    let taken = world.take();
    world.overflow(2);
    world.commit(&taken);
    world.settle(&taken);
    world.evict();
    assert_eq!(world.get(), None, "1 is in the store, and older than 2");
    world.shelf.heal(DISK, 10, world.now_ms);
    world.flush();
    assert!(!world.store.contains_key(K));
}

// Rule 11, `recover_delete`: trust comes back when the stored copy has been deleted, not when filed.
#[test]
fn the_stored_copy_is_deleted_before_the_store_is_trusted_again() {
    let mut world = World::stored();
    world.overflow(2);
    assert_eq!(world.shelf.heal(DISK, 10, world.now_ms), 1);
    world.evict();
    let taken = world.take();
    assert_eq!(world.get(), None);
    world.shelf.unsettle(&taken);
    assert_eq!(
        world.shelf.stats().distrusted,
        1,
        "a failed attempt ends nothing"
    );
    world.flush();
    assert_eq!(world.shelf.stats().distrusted, 0);
    assert_eq!(world.get(), None);
}

// Rule 11, `recover_delete`: an overflow after the deletion was taken is not healed by it.
#[test]
fn an_overflow_while_its_elder_is_being_healed_is_healed_on_its_own() {
    let mut world = World::stored();
    world.overflow(2);
    world.shelf.heal(DISK, 10, world.now_ms);
    let healing = world.take();
    world.set(3);
    let storing = world.take();
    world.overflow(4);
    world.commit(&healing);
    world.settle(&healing);
    world.commit(&storing);
    world.settle(&storing);
    world.evict();
    assert_eq!(world.get(), None, "3 is in the store, and older than 4");
}

// Rule 11, `trust_by_epoch`: distrust of a store names the store as it was, not versions.
#[test]
fn an_acknowledged_value_outlives_the_distrust_that_other_keys_brought_on_its_store() {
    let mut world = World::new();
    let mut waiting = world.wait_for(Synced, 1);
    for name in ["a", "b", "c"] {
        let mut ask = world.ask(Change::Remove);
        (ask.name, ask.hash) = (name, world.shelf.hash(world.scope.id, name));
        ask.room = Room::default();
        done(world.shelf.apply(ask));
    }
    assert!(world.shelf.distrusted_tiers().has(DISK));
    assert_eq!(
        world.get(),
        Some(1),
        "no fence was raised over what is dirty"
    );
    world.store.clear();
    let emptied = world.shelf.versions().next(world.now_ms);
    world.shelf.trust_all(DISK, emptied);
    let taken = world.take();
    world.commit(&taken);
    world.shelf.settle(DISK, &taken, Synced);
    assert!(matches!(waiting.try_recv(), Ok(Ok(()))));
    world.evict();
    assert_eq!(world.get(), Some(1));
}

// Rule 1, `oversize_marks`: a value that the table refuses still removes marks and elders.
#[test]
fn a_value_too_heavy_for_memory_strikes_marks_and_leaves_no_elder_behind() {
    let mut world = World::stored();
    let flight = world.go_down();
    world.set(2);
    world.put(Draft {
        weight: 1 << 21,
        ..draft(3)
    });
    assert!(!world.come_up(&flight));
    assert_eq!(world.get(), Some(3), "from the dirty set");
    world.flush();
    assert!(!world.come_up(&flight));
    assert_eq!(world.get(), Some(3));
}

// Rules 4 and 14, `fence_on_promote`: a promotion compares the fence once more.
#[test]
fn a_promotion_below_a_fence_raised_meanwhile_is_refused() {
    let world = World::stored();
    let flight = world.go_down();
    world.clear();
    assert!(!world.come_up(&flight));
    assert_eq!(world.get(), None);
}

// Rules 4 and 14, `clear_rechecks`: so does a compare-and-set, whose mark a clear cannot touch.
#[test]
fn a_compare_and_set_on_a_version_that_was_cleared_meanwhile_conflicts() {
    let world = World::stored();
    let flight = world.go_down();
    let one = flight.found.as_ref().unwrap().version;
    world.clear();
    let applied = world.set_if(2, Condition::Version(one), Some(&flight));
    assert_eq!(applied, Applied::Conflict { current: None });
}

// Rule 7, `keep_dirty`: a failed or unknown commit leaves the slot dirty and rolls nothing back.
#[test]
fn a_failed_commit_of_a_set_leaves_it_readable_and_dirty() {
    for lands in [false, true] {
        let mut world = World::stored();
        world.set(2);
        let taken = world.take();
        if lands {
            world.commit(&taken);
        }
        world.shelf.unsettle(&taken);
        world.evict();
        assert_eq!(world.get(), Some(2));
        assert_eq!(world.flush(), 1);
        world.evict();
        assert_eq!(world.get(), Some(2));
    }
}

// Rule 7, `keep_dirty`, for a removal.
#[test]
fn a_failed_commit_of_a_removal_brings_nothing_back() {
    let mut world = World::stored();
    world.remove();
    let taken = world.take();
    world.shelf.unsettle(&taken);
    assert_eq!(world.get(), None);
    world.flush();
    assert_eq!(world.get(), None);
}

// Rule 4, `share_mark`: a conditional operation shares a standing mark instead of replacing it.
#[test]
fn two_inserts_of_an_absent_key_share_their_mark_and_one_wins() {
    let world = World::new();
    let (a, b) = (world.go_down(), world.go_down());
    assert_eq!(a.mark, b.mark);
    done(world.set_if(1, Condition::Absent, Some(&a)));
    world.remove();
    let applied = world.set_if(2, Condition::Absent, Some(&b));
    done(applied);
    assert_eq!(
        world.get(),
        Some(2),
        "it was removed again, and memory knows that"
    );
}

// Rule 4, `cancel_hands_over`: a flight that is dropped frees its key.
#[test]
fn a_flight_that_is_released_leaves_no_mark_behind() {
    let world = World::stored();
    let flight = world.go_down();
    world
        .shelf
        .release(&world.scope, world.hash(), K, flight.mark);
    assert_eq!(world.shelf.stats().marks, 0);
    assert_eq!(world.get(), Some(1));
}

// Rule 9, `sync_own`: `Synced` is acknowledged by a sync that covers that very version.
#[test]
fn a_sync_of_an_older_version_does_not_answer_who_waits_for_a_newer_one() {
    let mut world = World::new();
    world.set(1);
    let taken = world.take();
    let mut waiting = world.wait_for(Synced, 2);
    world.commit(&taken);
    world.shelf.settle(DISK, &taken, Synced);
    assert!(waiting.try_recv().is_err());
    let taken = world.take();
    assert_eq!(taken[0].durability, Synced);
    world.shelf.settle(DISK, &taken, Written);
    assert!(waiting.try_recv().is_err(), "written is not synced");
    let taken = world.take();
    world.shelf.settle(DISK, &taken, Synced);
    assert!(matches!(waiting.try_recv(), Ok(Ok(()))));
}
