//! Past the dirty budget: memory-only values, distrust, and healing when the driver is back.

use super::refile::values;
use super::*;

#[test]
fn a_memory_only_value_is_read_and_its_stored_copy_is_not() {
    let bench = bench();
    bench.set("k", 1);
    bench.flush(DISK);
    bench.overflow("k", 2);
    assert_eq!(bench.get("k"), Some(2));
    bench.evict_all();
    assert_eq!(bench.mark("k").1, bench.tiers);
}

#[test]
fn who_waited_for_a_change_that_memory_alone_keeps_hears_that_no_tier_will() {
    let bench = bench();
    let (ticket, mut first) = Ticket::new();
    let mut ask = bench.ask("k", Change::Put(draft(1)));
    ask.waiters = vec![(DISK, StoreDurability::Written, ticket)];
    version(bench.shelf.apply(ask));
    let (ticket, mut second) = Ticket::new();
    let mut ask = bench.ask("k", Change::Remove);
    ask.waiters = vec![(DISK, StoreDurability::Written, ticket)];
    ask.room = Room::default();
    version(bench.shelf.apply(ask));
    let unavailable = |w: &mut Waiting| matches!(w.try_recv(), Ok(Err(Error::Unavailable { .. })));
    assert!(unavailable(&mut first) && unavailable(&mut second));
}

#[test]
fn an_older_commit_that_lands_late_does_not_end_distrust() {
    let bench = bench();
    bench.set("k", 1);
    let taken = bench.take(DISK);
    bench.overflow("k", 2);
    bench.shelf.settle(DISK, &taken, StoreDurability::Written);
    bench.evict_all();
    assert_eq!(
        bench.mark("k").1,
        bench.tiers,
        "the store has the value before"
    );
}

#[test]
fn healing_deletes_the_stored_copy_and_keeps_what_memory_has() {
    let bench = bench();
    bench.overflow("k", 2);
    assert_eq!(bench.shelf.heal(FAR, 10, 0), 0);
    assert_eq!(bench.shelf.heal(DISK, 10, 0), 1);
    assert_eq!(bench.shelf.heal(DISK, 10, 0), 0, "it is under way");
    let taken = bench.take(DISK);
    assert!(taken[0].value.is_none());
    assert_eq!(bench.shelf.stats().distrusted, 1, "until it is stored");
    bench.shelf.settle(DISK, &taken, StoreDurability::Written);
    assert_eq!(bench.shelf.stats().distrusted, 0);
    assert_eq!(bench.get("k"), Some(2));
}

#[test]
fn healing_is_bounded_and_reaches_every_key_in_the_end() {
    let bench = Bench::with(2, 1 << 20);
    for name in ["a", "b", "c"] {
        bench.overflow(name, 1);
    }
    assert_eq!(bench.shelf.heal(DISK, 2, 0), 2);
    assert_eq!(bench.shelf.heal(DISK, 2, 0), 1);
    assert_eq!(bench.shelf.heal(DISK, 2, 0), 0);
    bench.flush(DISK);
    assert_eq!(bench.shelf.stats().distrusted, 0);
}

#[test]
fn a_key_that_is_dirty_again_heals_by_being_stored() {
    let mut bench = bench();
    bench.tiers = TierSet::NONE.with(DISK).with(FAR);
    bench.overflow("k", 1);
    bench.tiers = TierSet::NONE.with(DISK);
    bench.set("k", 2);
    assert_eq!(bench.shelf.heal(DISK, 10, 0), 0);
    assert_eq!(
        bench.shelf.heal(FAR, 10, 0),
        1,
        "the other tier has to delete"
    );
    assert!(bench.take(FAR)[0].value.is_none());
    bench.flush(DISK);
    bench.shelf.requeue();
    bench.flush(FAR);
    let stats = bench.shelf.stats();
    assert_eq!((stats.distrusted, stats.dirty_slots), (0, 0));
}

#[test]
fn a_stored_copy_is_deleted_once_while_another_tier_does_not_confirm_the_change() {
    let mut bench = bench();
    bench.tiers = TierSet::NONE.with(DISK).with(FAR);
    let mut ask = bench.ask("k", Change::Put(draft(2)));
    ask.room = bench.room_in(FAR);
    version(bench.shelf.apply(ask));
    assert_eq!(bench.shelf.heal(DISK, 10, 0), 1);
    let far = bench.take(FAR);
    bench.flush(DISK);
    assert_eq!(bench.shelf.heal(DISK, 10, 0), 0, "it is deleted");
    assert_eq!(bench.shelf.stats().distrusted, 0);
    assert!(far[0].value.is_some() && !bench.shelf.is_dirty(DISK));
    bench.shelf.unsettle(&far);
    bench.flush(FAR);
    assert_eq!(bench.shelf.stats().dirty_slots, 0);
}

#[test]
fn past_its_bound_the_whole_store_is_distrusted_until_it_was_emptied() {
    let bench = bench();
    for name in ["a", "b", "c", "d"] {
        bench.overflow(name, 1);
    }
    assert!(bench.shelf.distrusted_tiers().is_empty());
    let early = bench.shelf.versions().next(bench.now_ms);
    bench.overflow("e", 1);
    assert_eq!(bench.shelf.distrusted_tiers(), bench.tiers);
    assert_eq!(bench.mark("anything").1, bench.tiers);
    bench.shelf.trust_all(DISK, early);
    assert_eq!(bench.shelf.distrusted_tiers(), bench.tiers);
    assert_eq!(bench.shelf.stats().distrusted, 0);
    let late = bench.shelf.versions().next(bench.now_ms);
    bench.shelf.trust_all(DISK, late);
    assert!(bench.shelf.distrusted_tiers().is_empty());
    assert!(bench.mark("anything").1.is_empty());
}

#[test]
fn a_removal_without_room_is_taken_all_the_same() {
    let bench = bench();
    bench.set("k", 1);
    bench.flush(DISK);
    let mut ask = bench.ask("k", Change::Remove);
    ask.room = Room::default();
    version(bench.shelf.apply(ask));
    assert_eq!(bench.get("k"), None);
    assert_eq!(bench.mark("k").1, bench.tiers);
}

#[test]
fn every_superseded_slot_gives_its_room_back() {
    let bench = bench();
    for n in 0..10 {
        bench.set("k", n);
    }
    assert_eq!(bench.room.available_permits(), (1 << 20) - 1);
    bench.overflow("k", 1);
    assert_eq!(bench.room.available_permits(), 1 << 20);
}

/// Sets with room in one tier of two.
fn half_overflow(bench: &Bench, value: u64, has_room: TierId) -> Applied {
    let mut ask = bench.ask("k", Change::Put(draft(value)));
    ask.room = bench.room_in(has_room);
    bench.shelf.apply(ask)
}

#[test]
fn a_change_with_room_in_one_tier_is_stored_there_and_the_other_ones_copy_is_not_believed() {
    let mut bench = bench();
    bench.tiers = TierSet::NONE.with(DISK).with(FAR);
    bench.set("k", 1);
    bench.flush(DISK);
    let applied = half_overflow(&bench, 2, FAR);
    let of_disk = TierSet::NONE.with(DISK);
    assert!(matches!(applied, Applied::Done { unstored, .. } if unstored == of_disk));
    assert!(bench.take(DISK).is_empty(), "it waits for no room");
    assert_eq!(values(&bench.take(FAR)), [Some(2)]);
    bench.shelf.requeue();
    bench.flush(FAR);
    bench.evict_all();
    assert_eq!(bench.mark("k").1, of_disk);
    assert_eq!(bench.room.available_permits(), 1 << 20);
    assert_eq!(bench.shelf.heal(DISK, 10, 0), 1);
    bench.flush(DISK);
    assert_eq!(bench.shelf.stats().distrusted, 0);
}

#[test]
fn while_one_tier_is_being_healed_what_another_has_is_not_hidden() {
    let mut bench = bench();
    bench.tiers = TierSet::NONE.with(DISK).with(FAR);
    half_overflow(&bench, 2, FAR);
    bench.flush(FAR);
    bench.evict_all();
    assert_eq!(bench.shelf.heal(DISK, 10, 0), 1);
    let (mark, distrusted) = bench.mark("k");
    assert_eq!(distrusted, TierSet::NONE.with(DISK));
    bench
        .shelf
        .release(&bench.scope, bench.hash("k"), "k", mark);
    bench.flush(DISK);
    let (_, distrusted) = bench.mark("k");
    assert!(distrusted.is_empty());
}

#[test]
fn what_waited_for_the_tier_without_room_is_told_that_it_will_not_be_stored_there() {
    let mut bench = bench();
    bench.tiers = TierSet::NONE.with(DISK).with(FAR);
    let wait = |tier| {
        let (ticket, waiting) = Ticket::new();
        (vec![(tier, StoreDurability::Written, ticket)], waiting)
    };
    let mut ask = bench.ask("k", Change::Put(draft(1)));
    let (waiters, mut before) = wait(DISK);
    ask.waiters = waiters;
    version(bench.shelf.apply(ask));
    let mut ask = bench.ask("k", Change::Put(draft(2)));
    let (mut waiters, mut now) = wait(DISK);
    let (far, mut stored) = wait(FAR);
    waiters.extend(far);
    ask.waiters = waiters;
    ask.room = bench.room_in(FAR);
    version(bench.shelf.apply(ask));
    let unavailable = |w: &mut Waiting| matches!(w.try_recv(), Ok(Err(Error::Unavailable { .. })));
    assert!(unavailable(&mut before) && unavailable(&mut now));
    bench.flush(FAR);
    assert!(matches!(stored.try_recv(), Ok(Ok(()))));
}

#[test]
fn a_renewal_with_room_in_one_tier_leaves_the_others_copy_believed_unless_it_has_none_yet() {
    for was_stored in [true, false] {
        let mut bench = bench();
        bench.tiers = TierSet::NONE.with(DISK).with(FAR);
        bench.put("k", until(1, 2_000));
        if was_stored {
            bench.flush(DISK);
        }
        let mut ask = bench.ask("k", Change::Renew(until(1, 3_000)));
        ask.room = bench.room_in(FAR);
        version(bench.shelf.apply(ask));
        assert_eq!(bench.shelf.stats().distrusted, usize::from(!was_stored));
        assert!(bench.take(DISK).is_empty());
    }
}

#[test]
fn each_tier_gives_its_own_part_of_the_room_back() {
    let mut bench = bench();
    bench.tiers = TierSet::NONE.with(DISK).with(FAR);
    let mut ask = bench.ask("k", Change::Put(draft(1)));
    ask.room = bench.room_in(DISK);
    let far = StdArc::new(Semaphore::new(1));
    let permit = StdArc::clone(&far).try_acquire_owned();
    ask.room.add(FAR, permit.unwrap());
    version(bench.shelf.apply(ask));
    bench.flush(FAR);
    assert_eq!(far.available_permits(), 1);
    assert_eq!(bench.room.available_permits(), (1 << 20) - 1);
    bench.flush(DISK);
    assert_eq!(bench.room.available_permits(), 1 << 20);
}

/// More keys than can be remembered one by one are in doubt, and a store that holds versions up to the
/// one that is returned has been opened since.
fn late_store(bench: &Bench) -> Version {
    for name in ["a", "b", "c", "d"] {
        bench.overflow(name, 1);
    }
    let ceiling = Version::at(5_000);
    bench.shelf.versions().raise(ceiling.get());
    bench.shelf.redate(DISK, ceiling.get());
    ceiling
}

fn is_doubted(bench: &Bench, name: &str, version: Version) -> bool {
    let doubts = bench.shelf.doubts(DISK).unwrap();
    bench.shelf.doubted(&doubts, "users", name, version)
}

#[test]
fn what_a_store_refuses_that_was_opened_late_is_in_doubt_up_to_the_versions_that_it_holds() {
    let bench = bench();
    bench.set("k", 1);
    let ceiling = late_store(&bench);
    let taken = bench.take(DISK);
    assert!(bench.shelf.refuse(DISK, &taken[0], &Error::Closed));
    assert!(is_doubted(&bench, "k", ceiling));
}

#[test]
fn what_has_changed_since_a_store_refused_it_is_not_given_up() {
    let bench = bench();
    bench.set("k", 1);
    let taken = bench.take(DISK);
    bench.set("k", 2);
    assert!(!bench.shelf.refuse(DISK, &taken[0], &Error::Closed));
    assert_eq!(bench.take(DISK).len(), 1, "the new one goes its way");
}

#[test]
fn what_a_store_refuses_is_in_memory_only_and_scans_know_to_look_there() {
    let bench = bench();
    bench.set("k", 1);
    let taken = bench.take(DISK);
    assert_eq!(bench.scope.moves_begun(), 0);
    assert!(bench.shelf.refuse(DISK, &taken[0], &Error::Closed));
    assert_eq!(
        (bench.scope.moves_begun(), bench.scope.moves_done()),
        (1, 1)
    );
}

#[test]
fn what_a_fetch_brings_without_room_is_in_doubt_up_to_the_newest_version_there_is() {
    let bench = bench();
    let (mark, began) = bench
        .shelf
        .claim(&bench.scope, bench.hash("k"), "k", bench.now_ms);
    let ceiling = late_store(&bench);
    let mut ask = bench.ask("k", Change::Fetched(draft(1), began));
    ask.condition = Condition::Flight(mark);
    ask.room = Room::default();
    assert_eq!(version(bench.shelf.apply(ask)), began);
    assert!(is_doubted(&bench, "k", ceiling));
}
