//! Who is told of what, in which order, and what becomes of sinks that are slow, gone or panic.

use super::*;
use crate::shelf::EventKind::{self, Cleared, Created, Evicted, Expired, Removed, Updated};
use crate::watch::fixture::{Answer, CACHE, LogSink, Told, event};

fn key(name: &str) -> Filter {
    Filter::Key(CACHE, name.into())
}

fn prefix(prefix: &str) -> Filter {
    Filter::Prefix(CACHE, prefix.into())
}

const ALL: Filter = Filter::All(CACHE);

fn watch(registry: &mut Registry, filter: Filter) -> (LogSink, SubscriptionId) {
    let sink = LogSink::default();
    let id = registry.subscribe(filter, Box::new(sink.clone())).unwrap();
    (sink, id)
}

fn told(kind: EventKind, name: &str, n: u64) -> Told {
    Told::Event(kind, name.into(), n)
}

#[test]
fn an_event_goes_to_those_who_watch_its_key_a_prefix_of_it_or_its_cache() {
    let mut registry = Registry::new(100);
    let filters = [
        key("user:1"),
        prefix("user:"),
        prefix("us"),
        prefix(""),
        ALL,
    ];
    let concerned = filters.map(|filter| watch(&mut registry, filter).0);
    let others = [
        key("user:2"),
        prefix("user:11"),
        prefix("usé"),
        Filter::All(CacheId(9)),
    ];
    let others = others.map(|filter| watch(&mut registry, filter).0);
    registry.deliver(&event("user:1", Created, 1));
    for sink in concerned {
        assert_eq!(sink.told(), [told(Created, "user:1", 1)]);
    }
    assert!(others.iter().all(|sink| sink.calls() == 0));
    assert_eq!(registry.stats().delivered, 5);
}

#[test]
fn a_prefix_ends_between_characters() {
    let mut registry = Registry::new(100);
    let (sink, _) = watch(&mut registry, prefix("é"));
    registry.deliver(&event("è", Created, 1));
    registry.deliver(&event("éa", Created, 2));
    assert_eq!(sink.told(), [told(Created, "éa", 2)]);
}

#[test]
fn ten_thousand_watchers_of_other_keys_are_not_called() {
    let mut registry = Registry::new(20_000);
    let others: Vec<_> = (0..10_000)
        .map(|n| watch(&mut registry, key(&format!("other:{n}"))).0)
        .collect();
    let (sink, _) = watch(&mut registry, key("k"));
    for n in 1..=100 {
        registry.deliver(&event("k", Updated, n));
    }
    assert_eq!(sink.calls(), 100);
    assert!(others.iter().all(|sink| sink.calls() == 0));
}

#[test]
fn a_key_is_never_told_backwards() {
    let mut registry = Registry::new(100);
    let (sink, _) = watch(&mut registry, key("k"));
    for (kind, n) in [
        (Updated, 5),
        (Updated, 4),
        (Expired, 5),
        (Removed, 6),
        (Evicted, 5),
    ] {
        registry.deliver(&event("k", kind, n));
    }
    let expected = [(Updated, 5), (Expired, 5), (Removed, 6)];
    assert_eq!(sink.told(), expected.map(|(kind, n)| told(kind, "k", n)));
}

#[test]
fn a_fence_goes_to_everybody_in_its_cache_and_nothing_older_follows() {
    let mut registry = Registry::new(100);
    let sinks = [key("k"), prefix("x"), ALL].map(|filter| watch(&mut registry, filter).0);
    let (elsewhere, _) = watch(&mut registry, Filter::All(CacheId(9)));
    registry.deliver(&event("team:7", Cleared, 4));
    registry.deliver(&event("", Cleared, 6));
    registry.deliver(&event("k", Created, 5));
    registry.deliver(&event("x1", Evicted, 5));
    for sink in sinks {
        let expected = [told(Cleared, "team:7", 4), told(Cleared, "", 6)];
        assert_eq!(sink.told(), expected);
    }
    assert_eq!(elsewhere.calls(), 0);
    registry.deliver(&event("nobody", Created, 7));
}

#[test]
fn a_key_that_survived_a_late_fence_is_not_told_of_it() {
    let mut registry = Registry::new(100);
    let (sink, _) = watch(&mut registry, key("k"));
    let (all, _) = watch(&mut registry, ALL);
    registry.deliver(&event("k", Created, 7));
    registry.deliver(&event("", Cleared, 6));
    assert_eq!(sink.told(), [told(Created, "k", 7)]);
    assert_eq!(all.told(), [told(Created, "k", 7), told(Cleared, "", 6)]);
}

#[test]
fn a_full_sink_is_told_how_many_it_missed_before_the_next_event() {
    let mut registry = Registry::new(100);
    let (sink, _) = watch(&mut registry, key("k"));
    sink.answer(Answer::Full);
    for n in 1..=3 {
        registry.deliver(&event("k", Updated, n));
    }
    assert!(registry.is_behind());
    sink.answer(Answer::Take);
    registry.deliver(&event("k", Updated, 4));
    assert_eq!(sink.told(), [Told::Lagged(3), told(Updated, "k", 4)]);
    assert!(!registry.is_behind());
    assert_eq!(registry.stats().missed, 3);
}

#[test]
fn a_sink_that_is_behind_is_reminded_though_nothing_more_happens() {
    let mut registry = Registry::new(100);
    let (sink, _) = watch(&mut registry, key("k"));
    sink.answer(Answer::Full);
    registry.deliver(&event("k", Updated, 1));
    registry.remind();
    assert!(registry.is_behind());
    sink.answer(Answer::Take);
    registry.remind();
    assert_eq!(sink.told(), [Told::Lagged(1)]);
    assert!(!registry.is_behind());
}

#[test]
fn lost_events_are_told_to_everybody_as_an_unknown_number() {
    let mut registry = Registry::new(100);
    let (ready, _) = watch(&mut registry, key("k"));
    let (full, _) = watch(&mut registry, key("k"));
    full.answer(Answer::Full);
    registry.deliver(&event("k", Updated, 1));
    registry.lost(5);
    registry.deliver(&event("k", Updated, 2));
    full.answer(Answer::Take);
    registry.remind();
    assert_eq!(
        ready.told(),
        [
            told(Updated, "k", 1),
            Told::Lagged(0),
            told(Updated, "k", 2)
        ]
    );
    assert_eq!(full.told(), [Told::Lagged(0)]);
    assert_eq!(registry.stats().lost, 5);
}

#[test]
fn a_sink_that_is_gone_or_panics_ends_its_own_subscription_only() {
    for answer in [Answer::Gone, Answer::Panic] {
        let mut registry = Registry::new(100);
        let (bad, _) = watch(&mut registry, key("k"));
        let (behind, _) = watch(&mut registry, key("k"));
        let (good, _) = watch(&mut registry, key("k"));
        behind.answer(Answer::Full);
        bad.answer(answer);
        registry.deliver(&event("k", Updated, 1));
        behind.answer(answer);
        registry.deliver(&event("k", Updated, 2));
        assert_eq!(good.told().len(), 2);
        let stats = registry.stats();
        assert_eq!((stats.subscriptions, stats.gone), (1, 2));
        assert_eq!((bad.calls(), registry.is_behind()), (1, false));
    }
}

#[test]
fn a_sink_that_panics_when_it_is_dropped_takes_nothing_with_it() {
    struct Bomb;
    impl Sink for Bomb {
        fn offer(&mut self, _: &RawEvent) -> Offer {
            Offer::Gone
        }
        fn lagged(&mut self, _: u64) -> Offer {
            Offer::Gone
        }
    }
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("this sink panics when it is dropped");
        }
    }
    let mut registry = Registry::new(2);
    registry.subscribe(key("k"), Box::new(Bomb)).unwrap();
    registry.deliver(&event("k", Updated, 1));
    registry.subscribe(key("k"), Box::new(Bomb)).unwrap();
    registry.lost(0);
    assert!(registry.is_empty());
}

#[test]
fn past_its_bound_a_subscription_is_refused_unless_somebody_is_gone() {
    let mut registry = Registry::new(2);
    let (first, _) = watch(&mut registry, key("a"));
    watch(&mut registry, key("b"));
    let refused = registry.subscribe(ALL, Box::new(LogSink::default()));
    assert!(matches!(
        refused,
        Err(Error::Overloaded {
            limit: "subscriptions_max",
            ..
        })
    ));
    first.answer(Answer::Gone);
    watch(&mut registry, ALL);
    assert_eq!(registry.stats().subscriptions, 2);
}

#[test]
fn what_is_unsubscribed_hears_nothing_and_leaves_nothing() {
    let mut registry = Registry::new(100);
    let filters = [key("k"), key("k"), prefix("k"), prefix("k"), ALL];
    let watchers = filters.map(|filter| watch(&mut registry, filter));
    for (sink, id) in &watchers {
        assert!(registry.watches(&Key::new(CACHE, "k")));
        registry.unsubscribe(*id);
        registry.unsubscribe(*id);
        registry.deliver(&event("k", Updated, id.0));
        assert_eq!(sink.calls() as u64, id.0 - 1);
    }
    assert!(registry.is_empty() && registry.caches.is_empty());
    assert!(!registry.watches(&Key::new(CACHE, "k")));
}

#[test]
fn the_watched_keys_are_known() {
    let mut registry = Registry::new(100);
    for filter in [key("a"), key("b"), key("a"), prefix("user:")] {
        watch(&mut registry, filter);
    }
    let mut keys: Vec<_> = registry.keys().collect();
    keys.sort();
    assert_eq!(keys, [Key::new(CACHE, "a"), Key::new(CACHE, "b")]);
    assert!(registry.watches(&Key::new(CACHE, "user:1")));
    assert!(!registry.watches(&Key::new(CACHE, "c")));
    assert!(!registry.watches(&Key::new(CacheId(9), "a")));
    let shown = format!("{:?} {:?} {ALL:?}", key("secret"), prefix("secret"));
    assert_eq!(shown, "Key(0, 6 bytes) Prefix(0, 6 bytes) All(0, 0 bytes)");
}
