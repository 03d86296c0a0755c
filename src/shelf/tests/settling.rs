//! The way down: taking, settling, waiting, in one tier and in several.

use super::*;
use StoreDurability::{Synced, Written};

fn set_and_wait(bench: &Bench, name: &str, tier: TierId, durability: StoreDurability) -> Waiting {
    let (ticket, waiting) = Ticket::new();
    let mut ask = bench.ask(name, Change::Put(draft(1)));
    ask.waiters = vec![(tier, durability, ticket)];
    version(bench.shelf.apply(ask));
    waiting
}

#[test]
fn a_hot_key_under_constant_rewriting_still_answers_those_who_wait() {
    let bench = bench();
    let mut waiting = set_and_wait(&bench, "k", DISK, Written);
    let taken = bench.take(DISK);
    bench.set("k", 2);
    bench.shelf.settle(DISK, &taken, Written);
    assert!(matches!(waiting.try_recv(), Ok(Ok(()))));
    assert_eq!(value_of(&bench.take(DISK)[0].value.as_ref().unwrap().0), 2);
}

#[test]
fn a_commit_of_less_durability_answers_nobody_who_wants_more() {
    let bench = bench();
    let mut waiting = set_and_wait(&bench, "k", DISK, Synced);
    let taken = bench.take(DISK);
    assert_eq!(taken[0].durability, Synced);
    bench.shelf.settle(DISK, &taken, Written);
    assert!(waiting.try_recv().is_err());
    let taken = bench.take(DISK);
    bench.shelf.settle(DISK, &taken, Synced);
    assert!(matches!(waiting.try_recv(), Ok(Ok(()))));
    assert!(!bench.shelf.is_dirty(DISK));
}

#[test]
fn a_slot_is_clean_when_every_tier_has_confirmed_it() {
    let mut bench = bench();
    bench.tiers = TierSet::NONE.with(DISK).with(FAR);
    let mut far = set_and_wait(&bench, "k", FAR, Written);
    assert_eq!(bench.flush(DISK), 1);
    assert!(!bench.shelf.is_dirty(DISK) && bench.shelf.is_dirty(FAR));
    assert!(far.try_recv().is_err());
    assert_eq!(bench.shelf.stats().dirty_slots, 1);
    assert_eq!((bench.flush(DISK), bench.flush(FAR)), (0, 1));
    assert!(matches!(far.try_recv(), Ok(Ok(()))));
    assert_eq!(bench.shelf.stats().dirty_slots, 0);
    assert_eq!(bench.room.available_permits(), 1 << 20);
}

/// Sees how much room there is when it is told.
struct Looks(StdArc<Semaphore>, std::sync::atomic::AtomicUsize);

impl std::task::Wake for Looks {
    fn wake(self: StdArc<Self>) {
        let room = self.0.available_permits();
        self.1.store(room, std::sync::atomic::Ordering::SeqCst);
    }
}

#[test]
fn whoever_is_told_that_a_change_is_stored_or_given_up_finds_its_room_free() {
    for is_stored in [true, false] {
        let mut bench = bench();
        if is_stored {
            bench.tiers = TierSet::NONE.with(DISK).with(FAR);
        }
        let mut waiting = set_and_wait(&bench, "k", DISK, Written);
        let looks = StdArc::new(Looks(StdArc::clone(&bench.room), 0.into()));
        let waker = StdArc::clone(&looks).into();
        let mut cx = std::task::Context::from_waker(&waker);
        assert!(Future::poll(std::pin::pin!(&mut waiting), &mut cx).is_pending());
        let taken = bench.take(DISK);
        if is_stored {
            bench.flush(FAR);
            bench.shelf.settle(DISK, &taken, Written);
        } else {
            assert!(bench.shelf.refuse(DISK, &taken[0], &Error::Closed));
        }
        let room = looks.1.load(std::sync::atomic::Ordering::SeqCst);
        assert_eq!(room, bench.room.available_permits());
        assert_eq!(room, 1 << 20, "is stored: {is_stored}");
    }
}

#[test]
fn one_tier_settling_does_not_make_another_store_twice() {
    let mut bench = bench();
    bench.tiers = TierSet::NONE.with(DISK).with(FAR);
    bench.set("k", 1);
    let far = bench.take(FAR);
    bench.flush(DISK);
    assert!(bench.take(FAR).is_empty());
    bench.shelf.settle(FAR, &far, Written);
    assert_eq!(bench.shelf.stats().dirty_slots, 0);
}

#[test]
fn what_is_queued_again_while_it_is_stored_is_not_stored_twice() {
    let mut bench = bench();
    bench.tiers = TierSet::NONE.with(DISK).with(FAR);
    bench.set("k", 1);
    let taken = bench.take(DISK);
    // As a successor of the batch writer does, while the commit is still under way.
    bench.shelf.requeue();
    bench.shelf.settle(DISK, &taken, Written);
    assert!(bench.take(DISK).is_empty());
    assert!(!bench.shelf.is_dirty(DISK));
    assert_eq!((bench.flush(FAR), bench.shelf.stats().dirty_slots), (1, 0));
}

#[test]
fn a_skipped_tier_deletes_what_it_may_have() {
    let bench = bench();
    let mut ask = bench.ask("k", Change::Put(draft(1)));
    ask.plan.delete = TierSet::NONE.with(FAR);
    version(bench.shelf.apply(ask));
    assert!(bench.take(FAR)[0].value.is_none());
    assert!(bench.take(DISK)[0].value.is_some());
}

#[test]
fn a_change_for_memory_alone_takes_an_older_one_out_of_its_tiers() {
    let bench = bench();
    bench.set("k", 1);
    let mut ask = bench.ask("k", Change::Put(draft(2)));
    ask.plan.put = TierSet::NONE;
    version(bench.shelf.apply(ask));
    assert!(bench.take(DISK)[0].value.is_none());
    bench.evict_all();
    assert_eq!(bench.get("k"), Some(2), "never the older one");
}

#[test]
fn a_change_that_memory_skips_leaves_no_older_one_in_it() {
    let bench = bench();
    bench.set("k", 1);
    bench.flush(DISK);
    let mut ask = bench.ask("k", Change::Put(draft(2)));
    ask.plan.memory = false;
    version(bench.shelf.apply(ask));
    assert_eq!(bench.get("k"), Some(2));
    assert_eq!(bench.shelf.stats().entries, 0);
}

#[test]
fn without_room_for_values_who_waits_for_a_deletion_waits_on() {
    let bench = bench();
    let mut set = set_and_wait(&bench, "set", DISK, Written);
    let (ticket, mut removal) = Ticket::new();
    let mut ask = bench.ask("removed", Change::Remove);
    ask.waiters = vec![(DISK, Written, ticket)];
    version(bench.shelf.apply(ask));
    bench.shelf.fail_waiters_of_values(DISK, &Error::Closed);
    assert!(matches!(set.try_recv(), Ok(Err(Error::Closed))));
    bench.flush(DISK);
    assert!(matches!(removal.try_recv(), Ok(Ok(()))));
}

#[test]
fn who_waits_for_a_tier_that_fails_is_told_and_others_wait_on() {
    let mut bench = bench();
    bench.tiers = TierSet::NONE.with(DISK).with(FAR);
    let mut disk = set_and_wait(&bench, "k", DISK, Written);
    let mut far = set_and_wait(&bench, "k", FAR, Written);
    bench.shelf.fail_waiters(DISK, &Error::Closed);
    assert!(matches!(disk.try_recv(), Ok(Err(Error::Closed))));
    bench.flush(FAR);
    assert!(matches!(far.try_recv(), Ok(Ok(()))));
    assert!(
        bench.shelf.is_dirty(DISK),
        "failing those who wait loses nothing"
    );
}

#[test]
fn one_ticket_waits_for_everything_that_is_dirty_now() {
    let bench = bench();
    let (ticket, mut waiting) = Ticket::new();
    bench.set("a", 1);
    bench.set("b", 1);
    bench.shelf.wait_for_all(FAR, Written, &ticket);
    bench.shelf.wait_for_all(DISK, Written, &ticket);
    ticket.done();
    assert!(waiting.try_recv().is_err());
    bench.set("c", 1);
    assert_eq!(bench.flush(DISK), 3);
    assert!(matches!(waiting.try_recv(), Ok(Ok(()))));
}

#[test]
fn what_was_taken_and_not_settled_is_queued_again() {
    let bench = bench();
    bench.set("k", 1);
    let taken = bench.take(DISK);
    assert!(bench.take(DISK).is_empty());
    bench.shelf.unsettle(&taken);
    assert_eq!(bench.take(DISK).len(), 1);
    bench.shelf.requeue();
    bench.shelf.requeue();
    assert_eq!(bench.take(DISK).len(), 1);
    assert!(bench.take(DISK).is_empty());
}

#[test]
fn a_take_is_bounded_by_count_and_by_bytes_and_goes_around_the_stripes() {
    let bench = Bench::with(4, 1 << 20);
    for n in 0..40 {
        bench.set(&n.to_string(), n);
    }
    let mut from = 0;
    let mut count = 0;
    loop {
        let taken = bench.shelf.take(DISK, 3, 20, 0, &mut from);
        assert!(taken.len() <= 3);
        if taken.is_empty() {
            break;
        }
        count += taken.len();
    }
    assert_eq!(count, 40);
    assert!(taken_alone(&bench) == 1, "one, however heavy");
}

fn taken_alone(bench: &Bench) -> usize {
    bench.set("heavy", 1);
    bench.shelf.take(DISK, 9, 0, 0, &mut 0).len()
}

#[test]
fn what_no_read_would_show_is_taken_as_a_deletion() {
    let mut bench = bench();
    bench.put("expired", until(1, 1_500));
    bench.set("cleared", 1);
    bench.shelf.fence(&bench.scope, Covers::All, 1_000);
    bench.set("live", 1);
    bench.now_ms = 1_500;
    let taken = bench.take(DISK);
    let live: Vec<_> = taken.iter().filter(|t| t.value.is_some()).collect();
    assert_eq!((taken.len(), live.len()), (3, 1));
    assert_eq!(live[0].weight(), "live".len() + 8);
}

#[test]
fn a_driver_that_stays_down_does_not_grow_its_queue() {
    let bench = bench();
    for n in 0..1_000 {
        bench.set("k", n);
        bench.overflow("k", n);
    }
    bench.set("k", 7);
    let stripe = bench.shelf.cell(bench.hash("k")).stripe.read();
    assert!(stripe.dirty.places(DISK) <= 70);
    drop(stripe);
    assert_eq!(bench.take(DISK).len(), 1, "stale places are skipped");
}

#[test]
fn settling_what_has_gone_changes_nothing() {
    let bench = bench();
    bench.set("k", 1);
    let taken = bench.take(DISK);
    bench.shelf.settle(DISK, &taken, Written);
    bench.shelf.settle(DISK, &taken, Written);
    bench.shelf.unsettle(&taken);
    assert!(!bench.shelf.is_dirty(DISK));
}

#[test]
fn callers_that_gave_up_on_a_driver_that_hangs_do_not_pile_up() {
    let bench = bench();
    let mut last = set_and_wait(&bench, "k", DISK, Written);
    for _ in 0..10_000 {
        drop(last);
        last = set_and_wait(&bench, "k", DISK, Written);
    }
    let hash = bench.hash("k");
    let stripe = bench.shelf.cell(hash).stripe.read();
    let dirty = stripe.dirty.get(hash, bench.scope.id, "k").unwrap();
    assert!(dirty.waiters.len() <= 8, "{} wait", dirty.waiters.len());
    drop(stripe);
    bench.flush(DISK);
    assert!(
        matches!(last.try_recv(), Ok(Ok(()))),
        "who is still there hears"
    );
}

#[test]
fn flushes_that_gave_up_on_a_driver_that_hangs_do_not_pile_up() {
    let bench = bench();
    bench.set("k", 1);
    for _ in 0..10_000 {
        let (ticket, _waiting) = Ticket::new();
        bench.shelf.wait_for_all(DISK, Written, &ticket);
    }
    let hash = bench.hash("k");
    let stripe = bench.shelf.cell(hash).stripe.read();
    let dirty = stripe.dirty.get(hash, bench.scope.id, "k").unwrap();
    assert!(dirty.waiters.len() <= 8, "{} wait", dirty.waiters.len());
}

#[test]
fn deletions_are_taken_from_between_values_which_keep_their_places() {
    let bench = bench();
    for n in 0..5 {
        bench.set(&n.to_string(), n);
    }
    for name in ["1", "3"] {
        bench.remove(name);
    }
    let deletions = bench.shelf.take_deletions(DISK, 9, 0, &mut 0);
    let names: Vec<_> = deletions.iter().map(|d| d.key.name.as_str()).collect();
    assert_eq!(names, ["1", "3"]);
    assert!(bench.shelf.take_deletions(DISK, 9, 0, &mut 0).is_empty());
    let values = bench.take(DISK);
    assert_eq!(values.len(), 3);
    assert!(values.iter().all(|taken| taken.value.is_some()));
}
