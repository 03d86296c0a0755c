//! Plain reads and sets: that they do what the others do, and leave to them what is not plain.

use super::*;

fn memory() -> Bench {
    memory_of(1 << 20)
}

fn memory_of(budget: usize) -> Bench {
    Bench {
        tiers: TierSet::NONE,
        ..Bench::with(1, budget)
    }
}

const FRESH: Fresh = Fresh {
    created_ms: 1_000,
    expires_ms: NEVER,
    weight: 8,
    schema: 0,
    priority: Priority::Normal,
};

/// Set at the time that the clock shows.
fn now(draft: Draft) -> Draft {
    Draft {
        created_ms: 1_000,
        ..draft
    }
}

impl Bench {
    /// The version of a plain set; `None` if it is not plain.
    fn plainly(&self, name: &str, value: u64, fresh: &Fresh) -> Option<Version> {
        let value: Shared = Arc::new(value);
        self.shelf.set(&self.scope, name, value, fresh).ok()
    }

    /// As a set is made: what is given back is applied.
    fn set_either_way(&self, name: &str, value: u64, fresh: &Fresh) {
        let value: Shared = Arc::new(value);
        if let Err(value) = self.shelf.set(&self.scope, name, value, fresh) {
            self.put(name, Draft::plain(value, fresh));
        }
    }

    fn glance(&self, name: &str) -> Glance<u64> {
        let cast = |any: Shared| any.downcast_ref::<u64>().copied();
        let of = (&*self.scope, 0);
        self.shelf.glance(of, name, || self.now_ms, cast)
    }
}

#[test]
fn a_plain_set_leaves_what_an_applied_one_would() {
    let (plain, applied) = (memory(), memory());
    let (mut last, weights) = (None, [8, 8, 3, 900, 8]);
    for (n, weight) in weights.into_iter().enumerate() {
        let (value, fresh) = (n as u64, Fresh { weight, ..FRESH });
        let version = plain.plainly("k", value, &fresh);
        assert!(version > last);
        last = version;
        applied.put("k", Draft::plain(Arc::new(value), &fresh));
        for bench in [&plain, &applied] {
            assert_eq!(bench.get("k"), Some(value));
        }
        assert_eq!(plain.shelf.stats(), applied.shelf.stats());
    }
    let slot = |bench: &Bench| {
        let (name, now) = ("k", || 0);
        let hash = bench.hash(name);
        let show = |slot: Look<'_>, _| (slot.created_ms, slot.expires_ms, slot.priority);
        match bench.shelf.read(&bench.scope, hash, name, now, false, show) {
            Seen::Hit(facts) => facts,
            _ => panic!("it is there"),
        }
    };
    assert_eq!(slot(&plain), slot(&applied));
    assert_eq!(slot(&plain), (1_000, NEVER, Priority::Normal));
}

#[test]
fn a_plain_set_strikes_the_mark_of_a_flight() {
    let bench = memory();
    let (mark, _) = bench.mark("k");
    bench.plainly("k", 2, &FRESH).unwrap();
    // Else memory would know better.
    bench.evict_all();
    assert!(!bench.promote("k", mark, record(1, Version::at(1))));
    assert_eq!(bench.get("k"), None);
}

#[test]
fn a_plain_set_makes_room() {
    let bench = memory_of(4 * (ENTRY_OVERHEAD_BYTES + 9));
    for n in 0..20 {
        bench.plainly(&(n % 10).to_string(), n, &FRESH).unwrap();
    }
    let stats = bench.shelf.stats();
    assert_eq!(stats.entries, 4);
    assert!(stats.evicted >= 6 && stats.bytes <= stats.bytes_max);
    // One that grows takes the room of others.
    let heavy = Fresh {
        weight: 8 + 2 * ENTRY_OVERHEAD_BYTES as u32,
        ..FRESH
    };
    bench.plainly("9", 9, &heavy).unwrap();
    let stats = bench.shelf.stats();
    assert!(stats.bytes <= stats.bytes_max && stats.entries < 4);
}

#[test]
fn what_is_not_plain_is_given_back() {
    let given_back = |name: &str, fresh: &Fresh, bench: &Bench| {
        let (before, was) = (bench.shelf.stats(), bench.get("k"));
        assert_eq!(bench.plainly("k", 9, fresh), None, "{name}");
        let after = bench.shelf.stats();
        let reads = |stats: ShelfStats| ShelfStats {
            hits: 0,
            misses: 0,
            ..stats
        };
        assert_eq!(reads(after), reads(before), "{name}");
        assert_eq!(bench.get("k"), was, "{name}");
    };
    let pinned = Fresh {
        priority: Priority::Pinned,
        ..FRESH
    };
    let heavy = Fresh {
        weight: 2 << 20,
        ..FRESH
    };
    let timed = Fresh {
        expires_ms: 5_000,
        ..FRESH
    };
    let schema = Fresh {
        schema: 300,
        ..FRESH
    };
    let bench = memory();
    given_back("pinned", &pinned, &bench);
    given_back("heavy", &heavy, &bench);
    given_back("a timer for a new key", &timed, &bench);
    bench.put("k", now(draft(1)));
    given_back("pinned over another", &pinned, &bench);
    given_back("heavy over another", &heavy, &bench);
    given_back("a timer where none stands", &timed, &bench);
    given_back("a large schema number", &schema, &bench);
    bench.put("k", now(draft(1)));
    bench.shelf.watch(true);
    given_back("watched", &FRESH, &bench);
    bench.shelf.watch(false);
    assert!(bench.plainly("k", 9, &FRESH).is_some());
    bench.put("k", now(until(1, 6_000)));
    given_back("a timer before the one that stands", &timed, &bench);
    bench.put("k", now(until(1, 1_000)));
    given_back("a timer where one has fired", &timed, &bench);
    bench.put("k", now(until(1, 4_000)));
    // Within the millisecond: what is set by a clock that is behind is not plain for that alone.
    bench.shelf.fence(&bench.scope, Covers::All, 1_000);
    given_back("a timer where a fenced slot had one", &timed, &bench);
    let tagged = Draft {
        extra: extra(NEVER, 0, &["t"]),
        ..now(draft(1))
    };
    bench.put("k", tagged);
    given_back("over a tag", &FRESH, &bench);
    bench.put(
        "k",
        Draft {
            priority: Priority::Pinned,
            ..now(draft(1))
        },
    );
    given_back("over a pin", &FRESH, &bench);
}

#[test]
fn what_waits_to_be_stored_is_not_passed_over() {
    let bench = bench();
    bench.put("k", now(draft(1)));
    assert_eq!(bench.plainly("k", 2, &FRESH), None);
    bench.evict_all();
    assert_eq!(bench.plainly("k", 2, &FRESH), None);
    assert!(matches!(bench.glance("other"), Glance::Unclear));
    bench.remove("k");
    assert!(matches!(bench.glance("k"), Glance::Unclear));
    bench.flush(DISK);
    assert!(matches!(bench.glance("k"), Glance::Unknown));
}

#[test]
fn a_timer_that_stands_serves_a_later_deadline() {
    let bench = memory();
    let until = |expires_ms| Fresh {
        expires_ms,
        ..FRESH
    };
    bench.set_either_way("k", 1, &until(4_000));
    let mut deadlines = Vec::new();
    bench.shelf.take_deadlines(&mut deadlines);
    assert_eq!(deadlines.len(), 1);
    bench.plainly("k", 2, &until(9_000)).unwrap();
    bench.shelf.take_deadlines(&mut deadlines);
    assert_eq!(deadlines.len(), 1);
    assert_eq!(bench.get("k"), Some(2));
}

#[test]
fn a_glance_is_a_read_that_is_counted_once() {
    let bench = memory();
    bench.put("k", now(draft(1)));
    let Glance::Hit(value, plain) = bench.glance("k") else {
        panic!("it is plain");
    };
    assert_eq!((value, plain.expires_ms, plain.read_ms), (1, NEVER, 0));
    assert!(matches!(bench.glance("other"), Glance::Unknown));
    let stats = bench.shelf.stats();
    assert_eq!((stats.hits, stats.misses), (1, 1));
    bench.put("k", now(until(1, 2_000)));
    let Glance::Hit(_, plain) = bench.glance("k") else {
        panic!("it is fresh");
    };
    assert_eq!((plain.expires_ms, plain.read_ms), (2_000, 1_000));
}

#[test]
fn a_glance_leaves_what_is_not_plain_to_others_and_does_not_count_it() {
    let mut bench = memory();
    let bodies = [
        now(until(1, 1_000)),
        Draft {
            extra: extra(NEVER, 0, &["t"]),
            ..now(draft(1))
        },
        Draft {
            schema: 1,
            ..now(draft(1))
        },
        // Set long before its version was drawn.
        draft(1),
        Draft {
            body: Body::Encoded(draft(1).encoded.unwrap()),
            ..now(draft(1))
        },
    ];
    for (at, draft) in bodies.into_iter().enumerate() {
        bench.put("k", draft);
        assert!(matches!(bench.glance("k"), Glance::Unclear), "{at}");
    }
    bench.put("k", now(draft(1)));
    bench.shelf.fence(&bench.scope, Covers::All, 1_000);
    assert!(matches!(bench.glance("k"), Glance::Unclear));
    bench.put("k", now(until(1, 9_000)));
    assert!(matches!(bench.glance("k"), Glance::Hit(..)));
    bench.now_ms = 9_000;
    assert!(matches!(bench.glance("k"), Glance::Unclear));
    let stats = bench.shelf.stats();
    assert_eq!((stats.hits, stats.misses), (1, 0));
}
