//! A tier that was emptied gets again what memory has, and nothing that no read would show.

use super::*;

fn encode(slot: &Slot) -> Option<Arc<Encoded>> {
    draft(value_of(slot)).encoded
}

impl Bench {
    fn lost(&self, tier: TierId) -> Vec<Lost> {
        let stripes = 0..self.shelf.stripes();
        let lost = stripes.flat_map(|at| self.shelf.lost(at, tier, |_| true, self.now_ms));
        lost.collect()
    }

    fn refile_one(&self, tier: TierId, lost: &Lost) -> bool {
        let bytes = self.shelf.bytes_of(lost, encode);
        bytes.is_some_and(|(encoded, _)| {
            let room = self.permit();
            self.shelf.refile(tier, lost, encoded, room)
        })
    }

    fn refile(&self, tier: TierId) -> usize {
        let lost = self.lost(tier);
        lost.iter()
            .filter(|lost| self.refile_one(tier, lost))
            .count()
    }
}

pub fn values(taken: &[Taken]) -> Vec<Option<u64>> {
    let value = |one: &Taken| one.value.as_ref().map(|(slot, _)| value_of(slot));
    taken.iter().map(value).collect()
}

#[test]
fn a_clean_slot_is_taken_once_more_under_its_own_version() {
    let bench = bench();
    let version = bench.set("k", 1);
    bench.flush(DISK);
    assert_eq!(bench.refile(DISK), 1);
    let taken = bench.take(DISK);
    assert_eq!((taken[0].version, values(&taken)), (version, vec![Some(1)]));
    bench.shelf.settle(DISK, &taken, StoreDurability::Written);
    assert!(!bench.shelf.is_dirty(DISK));
    assert_eq!(bench.room.available_permits(), 1 << 20);
    assert_eq!(bench.get("k"), Some(1));
}

#[test]
fn what_no_read_shows_is_not_stored_again() {
    let mut bench = bench();
    bench.put("expired", until(1, 1_500));
    bench.put(
        "tagged",
        Draft {
            extra: extra(NEVER, 0, &["t"]),
            ..draft(2)
        },
    );
    bench.set("removed", 3);
    bench.set("shown", 4);
    bench.remove("removed");
    bench.flush(DISK);
    bench.now_ms = 2_000;
    bench
        .shelf
        .fence(&bench.scope, Covers::Tag("t".into()), bench.now_ms);
    assert_eq!(bench.refile(DISK), 1);
    assert_eq!(values(&bench.take(DISK)), [Some(4)]);
}

#[test]
fn an_entry_that_was_set_without_the_tier_stays_out_of_it() {
    let bench = bench();
    let mut skips = Extra::clone(&extra(NEVER, 0, &[]).unwrap());
    skips.skipped = bench.tiers;
    bench.put(
        "k",
        Draft {
            extra: Some(Arc::new(skips)),
            ..draft(1)
        },
    );
    bench.flush(DISK);
    assert_eq!((bench.refile(DISK), bench.refile(FAR)), (0, 1));
}

#[test]
fn only_the_caches_that_the_tier_stores_are_looked_at() {
    let bench = bench();
    bench.set("k", 1);
    bench.flush(DISK);
    let of = |cache| {
        bench
            .shelf
            .lost(0, DISK, |id| id == cache, bench.now_ms)
            .len()
    };
    assert_eq!((of(bench.scope.id), of(CacheId(77))), (1, 0));
}

#[test]
fn what_is_on_its_way_there_is_left_alone() {
    let bench = bench();
    bench.set("k", 1);
    assert!(bench.lost(DISK).is_empty());
    assert_eq!(bench.take(DISK).len(), 1);
}

#[test]
fn what_is_on_its_way_to_another_tier_takes_this_one_along() {
    let mut bench = bench();
    bench.tiers = TierSet::NONE.with(DISK).with(FAR);
    bench.set("k", 1);
    bench.flush(DISK);
    assert_eq!(bench.refile(DISK), 1);
    assert_eq!((bench.flush(DISK), bench.flush(FAR)), (1, 1));
    assert_eq!(bench.shelf.stats().dirty_slots, 0);
    assert_eq!(bench.room.available_permits(), 1 << 20);
}

#[test]
fn a_change_between_the_looks_is_stored_by_itself() {
    for change in [Some(2), None] {
        let bench = bench();
        bench.set("k", 1);
        bench.flush(DISK);
        let lost = bench.lost(DISK);
        let (encoded, _) = bench.shelf.bytes_of(&lost[0], encode).unwrap();
        match change {
            Some(value) => bench.set("k", value),
            None => bench.remove("k"),
        };
        let room = bench.permit();
        assert!(!bench.shelf.refile(DISK, &lost[0], encoded, room));
        assert!(bench.shelf.bytes_of(&lost[0], encode).is_none());
        assert_eq!(values(&bench.take(DISK)), [change]);
    }
}

#[test]
fn a_change_that_is_stored_already_between_the_looks_is_left_alone() {
    let bench = bench();
    bench.set("k", 1);
    bench.flush(DISK);
    let lost = bench.lost(DISK);
    let (encoded, _) = bench.shelf.bytes_of(&lost[0], encode).unwrap();
    bench.set("k", 2);
    bench.flush(DISK);
    let room = bench.permit();
    assert!(!bench.shelf.refile(DISK, &lost[0], encoded, room));
    assert!(!bench.shelf.is_dirty(DISK));
}

#[test]
fn a_commit_to_the_lost_store_that_is_settled_late_does_not_settle_the_repair() {
    let bench = bench();
    bench.set("k", 1);
    let late = bench.take(DISK);
    bench.shelf.settle(DISK, &late, StoreDurability::Written);
    assert_eq!(bench.refile(DISK), 1);
    bench.shelf.settle(DISK, &late, StoreDurability::Written);
    assert!(bench.shelf.is_dirty(DISK));
}

#[test]
fn a_value_that_only_memory_has_is_stored_and_believed_again() {
    let bench = bench();
    bench.set("k", 1);
    bench.flush(DISK);
    bench.overflow("k", 2);
    assert_eq!(bench.refile(DISK), 1);
    assert_eq!(bench.shelf.heal(DISK, 10, 0), 0, "it is under way");
    assert_eq!(values(&bench.take(DISK)), [Some(2)]);
    bench.shelf.requeue();
    bench.flush(DISK);
    assert_eq!(bench.shelf.stats().distrusted, 0);
}

#[test]
fn a_deletion_that_is_on_its_way_stays_one() {
    let bench = bench();
    bench.overflow("k", 2);
    assert_eq!(bench.shelf.heal(DISK, 10, 0), 1);
    assert_eq!(bench.refile(DISK), 0);
    assert_eq!(values(&bench.take(DISK)), [None]);
    assert_eq!(bench.get("k"), Some(2));
}

#[test]
fn a_stripe_that_is_not_there_has_lost_nothing() {
    let bench = bench();
    bench.set("k", 1);
    bench.flush(DISK);
    let stripes = bench.shelf.stripes();
    let lost = bench.shelf.lost(stripes, DISK, |_| true, bench.now_ms);
    assert!(lost.is_empty());
}
