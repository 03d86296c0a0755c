//! Named sources: how many calls each gets, who is next, and when one is left alone.
#![cfg(all(feature = "disk", feature = "test-util"))]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/origin.rs"]
mod origin;
#[path = "support/world.rs"]
mod world;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use larder::cache::StaleBecause;
use larder::{
    BreakerMode, BreakerState, Cache, Error, Larder, LoadContext, LoadError, LoadSource, Retry,
    SourceConfig, Urgency,
};
use origin::{Origin, found, shown};
use tokio::task::JoinHandle;
use world::{SOON, World, cache, ms, read, secs, text, until};

type Told = JoinHandle<Result<Option<String>, Error>>;

struct Scene {
    world: World,
    larder: Larder,
    users: Cache<String>,
    source: LoadSource,
    origin: Origin,
}

async fn scene(change: impl FnOnce(&mut SourceConfig)) -> Scene {
    let world = World::memory();
    let larder = world.start().await;
    let mut config = SourceConfig::default();
    config.breaker.consecutive_failures_max = 3;
    change(&mut config);
    Scene {
        users: cache(&larder),
        source: larder.source_with("api", config).unwrap(),
        origin: Origin::shut(),
        world,
        larder,
    }
}

impl Scene {
    fn ask(&self, key: &str, urgency: Urgency) -> Told {
        let (users, source, load) = (self.users.clone(), self.source.clone(), self.origin.load());
        let key = text(key);
        tokio::spawn(async move {
            shown(
                users
                    .fetch(&key, load)
                    .source(&source)
                    .urgency(urgency)
                    .await,
            )
        })
    }

    /// Waits until so many are in and so many wait.
    async fn stands(&self, in_flight: usize, waiting: usize) {
        until("the queue stands so", async || {
            let stats = self.source.stats();
            (stats.calls_in_flight, stats.calls_waiting) == (in_flight, waiting)
        })
        .await;
    }

    async fn fails(&self, key: &str, error: fn() -> LoadError) -> Error {
        let load = move |_| async move { Err::<String, _>(error()) };
        let fetch = self.users.fetch(key, load).source(&self.source);
        fetch.retry(Retry::never()).await.unwrap_err()
    }

    /// Fails until the source is left alone.
    async fn opens(&self) {
        for nth in 0..3 {
            let error = self
                .fails(&nth.to_string(), || LoadError::transient("503"))
                .await;
            assert!(matches!(error, Error::Fetch(_)), "{error}");
        }
        assert_eq!(self.source.stats().breaker.state, BreakerState::Open);
    }

    async fn end(self) {
        self.stands(0, 0).await;
        self.larder.shutdown(SOON).await.unwrap();
    }
}

#[tokio::test]
async fn a_source_is_asked_by_so_many_at_a_time_and_the_others_wait_for_their_turn() {
    let scene = scene(|config| config.calls_in_flight_max = 2).await;
    let told: Vec<Told> = ["a", "b", "c", "d", "e"]
        .map(|key| scene.ask(key, Urgency::Foreground))
        .into();
    scene.stands(2, 3).await;
    assert_eq!(scene.origin.asked(), 2);
    scene.origin.answer_one();
    scene.origin.is_asked(3).await;
    scene.stands(2, 2).await;
    for _ in 0..4 {
        scene.origin.answer_one();
    }
    for told in told {
        assert!(told.await.unwrap().unwrap().is_some());
    }
    scene.end().await;
}

#[tokio::test]
async fn all_sources_together_are_asked_by_so_many_at_a_time() {
    let world = World::memory();
    let mut limits = larder::Limits::default();
    limits.source_calls_in_flight_max = 3;
    let larder = world.builder().limits(limits).start().await.unwrap();
    let (users, origin) = (cache(&larder), Origin::shut());
    let told: Vec<Told> = (0..4)
        .map(|nth| {
            let source = larder.source(&format!("api {nth}")).unwrap();
            let (users, load) = (users.clone(), origin.load());
            tokio::spawn(
                async move { shown(users.fetch(&nth.to_string(), load).source(&source).await) },
            )
        })
        .collect();
    until("one waits", async || {
        let stats = larder.stats().await.unwrap().sources;
        let sum = |count: fn(&larder::SourceStats) -> usize| stats.iter().map(count).sum::<usize>();
        (sum(|s| s.calls_in_flight), sum(|s| s.calls_waiting)) == (3, 1)
    })
    .await;
    for _ in 0..4 {
        origin.answer_one();
    }
    for told in told {
        assert!(told.await.unwrap().unwrap().is_some());
    }
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn the_more_urgent_go_first_and_whoever_waits_for_a_load_lifts_it() {
    let scene = scene(|config| config.calls_in_flight_max = 1).await;
    let order = Arc::new(Mutex::new(Vec::new()));
    let ask = |key: &'static str, urgency| {
        let (users, source) = (scene.users.clone(), scene.source.clone());
        let (origin, order) = (scene.origin.load(), Arc::clone(&order));
        let load = move |cx: LoadContext<String>| {
            order.lock().unwrap().push(cx.key().to_owned());
            origin(cx)
        };
        tokio::spawn(async move {
            shown(
                users
                    .fetch(key, load)
                    .source(&source)
                    .urgency(urgency)
                    .await,
            )
        })
    };
    let mut told = vec![ask("first", Urgency::Foreground)];
    scene.stands(1, 0).await;
    for (nth, (key, urgency)) in [
        ("prefetch", Urgency::Prefetch),
        ("lifted", Urgency::Prefetch),
        ("background", Urgency::Background),
        ("foreground", Urgency::Foreground),
    ]
    .into_iter()
    .enumerate()
    {
        told.push(ask(key, urgency));
        scene.stands(1, nth + 1).await;
    }
    told.push(ask("lifted", Urgency::Foreground));
    until("somebody joins", async || {
        scene.larder.stats().await.unwrap().fetch.coalesced == 1
    })
    .await;
    for _ in 0..5 {
        scene.origin.answer_one();
    }
    for told in told {
        assert!(told.await.unwrap().unwrap().is_some());
    }
    // The lifted one is older than the other in the foreground; every fourth place is by age.
    let order = order.lock().unwrap().clone();
    assert_eq!(
        order,
        ["first", "lifted", "foreground", "background", "prefetch"]
    );
    scene.end().await;
}

#[tokio::test]
async fn a_source_that_fails_is_not_asked_until_one_has_found_out_that_it_works() {
    let scene = scene(|_| ()).await;
    scene.opens().await;
    let calls = scene.source.stats().calls;
    let refused = scene
        .ask("k", Urgency::Foreground)
        .await
        .unwrap()
        .unwrap_err();
    let Error::SourceUnavailable { name, retry_after } = &refused else {
        panic!("{refused}")
    };
    assert_eq!(&**name, "api");
    assert!((ms(500)..=secs(1)).contains(retry_after), "{retry_after:?}");
    assert!(refused.is_retryable() && refused.retry_after().is_some());
    assert_eq!(scene.source.stats().calls, calls, "nobody asked");

    scene.world.advance(secs(1));
    let probe = scene.ask("k", Urgency::Foreground);
    scene.origin.is_asked(1).await;
    let beside = scene.ask("l", Urgency::Foreground).await.unwrap();
    assert!(matches!(beside, Err(Error::SourceUnavailable { .. })));
    scene.origin.answer_one();
    assert_eq!(probe.await.unwrap().unwrap(), found("loaded 1"));
    assert_eq!(scene.source.stats().breaker.state, BreakerState::Closed);
    scene.origin.answer_one();
    let after = scene.ask("l", Urgency::Foreground).await.unwrap();
    assert_eq!(after.unwrap(), found("loaded 2"));
    scene.end().await;
}

#[tokio::test]
async fn what_is_stale_is_shown_at_once_while_its_source_is_left_alone() {
    let scene = scene(|_| ()).await;
    let set = scene.users.set("k", text("old")).ttl(secs(1));
    set.stale_for(secs(3_600)).await.unwrap();
    scene.world.advance(secs(2));
    scene.opens().await;
    let fetch = scene.users.fetch("k", scene.origin.load());
    let outcome = fetch
        .source(&scene.source)
        .stale_if_error_for(secs(3_600))
        .outcome()
        .await
        .unwrap();
    assert_eq!(outcome.entry.as_deref().map(String::as_str), Some("old"));
    assert!(matches!(
        outcome.stale_because,
        Some(StaleBecause::Failed(Error::SourceUnavailable { .. }))
    ));
    assert_eq!(scene.origin.asked(), 0);
    scene.end().await;
}

#[tokio::test]
async fn the_time_that_a_source_asks_for_is_kept_by_all_its_callers() {
    let scene = scene(|_| ()).await;
    let busy = || LoadError::transient("429").retry_after(secs(90));
    assert_eq!(scene.fails("k", busy).await.retry_after(), Some(secs(90)));
    scene.world.advance(secs(60));
    let refused = scene
        .ask("l", Urgency::Foreground)
        .await
        .unwrap()
        .unwrap_err();
    assert!(matches!(refused, Error::SourceUnavailable { .. }));
    assert_eq!(refused.retry_after(), Some(secs(30)));
    scene.world.advance(secs(30));
    scene.origin.answer_one();
    let after = scene.ask("l", Urgency::Foreground).await.unwrap();
    assert_eq!(after.unwrap(), found("loaded 1"));
    scene.end().await;
}

#[tokio::test]
async fn whoever_waits_for_a_source_is_refused_at_once_when_it_is_left_alone() {
    let scene = scene(|config| config.calls_in_flight_max = 1).await;
    let first = scene.ask("first", Urgency::Foreground);
    scene.stands(1, 0).await;
    let waiting = ["a", "b", "c"].map(|key| scene.ask(key, Urgency::Foreground));
    scene.stands(1, 3).await;
    scene.source.force(BreakerMode::ForcedOpen);
    for told in waiting {
        let refused = told.await.unwrap().unwrap_err();
        assert!(matches!(refused, Error::SourceUnavailable { .. }));
    }
    scene.origin.answer_one();
    assert_eq!(first.await.unwrap().unwrap(), found("loaded 1"));
    scene.source.force(BreakerMode::Auto);
    scene.origin.answer_one();
    let after = scene.ask("a", Urgency::Foreground).await.unwrap();
    assert_eq!(after.unwrap(), found("loaded 2"));
    scene.end().await;
}

#[tokio::test]
async fn where_too_many_wait_the_least_urgent_is_turned_away() {
    let scene = scene(|config| {
        config.calls_in_flight_max = 1;
        config.calls_waiting_max = 1;
    })
    .await;
    let first = scene.ask("first", Urgency::Foreground);
    scene.stands(1, 0).await;
    let prefetch = scene.ask("prefetch", Urgency::Prefetch);
    scene.stands(1, 1).await;
    let second = scene.ask("second", Urgency::Foreground);
    let away = |told: Result<Option<String>, Error>| match told.unwrap_err() {
        Error::Overloaded { limit, .. } => limit,
        other => panic!("{other}"),
    };
    assert_eq!(away(prefetch.await.unwrap()), "calls_waiting_max");
    let third = scene.ask("third", Urgency::Foreground).await.unwrap();
    assert_eq!(away(third), "calls_waiting_max");
    assert_eq!(scene.source.stats().turned_away, 2);
    scene.origin.answer_one();
    scene.origin.answer_one();
    assert!(first.await.unwrap().is_ok() && second.await.unwrap().is_ok());
    scene.end().await;
}

#[tokio::test]
async fn a_loader_that_never_ends_is_cut_and_its_place_is_free_again() {
    let scene = scene(|config| {
        config.calls_in_flight_max = 1;
        config.call_ms_max = 50;
    })
    .await;
    let fetch = scene.users.fetch("k", scene.origin.load());
    let cut = fetch.source(&scene.source).retry(Retry::never()).await;
    let Err(Error::Fetch(error)) = cut else {
        panic!("{cut:?}")
    };
    assert_eq!(error.class(), larder::ErrorClass::Transient);
    assert_eq!(scene.origin.asked(), 1);
    assert_eq!(scene.source.stats().failures, 1);
    scene.end().await;
}

#[tokio::test]
async fn a_loader_that_fetches_from_its_own_source_does_not_wait_for_itself() {
    let scene = scene(|config| config.calls_in_flight_max = 1).await;
    let (users, source) = (scene.users.clone(), scene.source.clone());
    let outer = move |_| {
        let (users, source) = (users.clone(), source.clone());
        async move {
            let inner = |_| async { Ok::<_, Error>(text("inner")) };
            let inner = users.fetch("inner", inner).source(&source).await?;
            Ok::<_, Error>(format!("outer of {}", *inner.unwrap()))
        }
    };
    let fetch = scene.users.fetch("outer", outer).source(&scene.source);
    assert_eq!(shown(fetch.await).unwrap(), found("outer of inner"));
    scene.end().await;
}

#[tokio::test]
async fn whoever_leaves_gives_up_its_place_and_its_place_in_the_queue() {
    let scene = scene(|config| config.calls_in_flight_max = 1).await;
    let first = scene.ask("first", Urgency::Foreground);
    scene.stands(1, 0).await;
    let second = scene.ask("second", Urgency::Foreground);
    scene.stands(1, 1).await;
    let third = scene.ask("third", Urgency::Foreground);
    scene.stands(1, 2).await;
    second.abort();
    scene.stands(1, 1).await;
    first.abort();
    scene.origin.is_asked(2).await;
    scene.origin.answer_one();
    assert_eq!(third.await.unwrap().unwrap(), found("loaded 2"));
    assert_eq!(scene.source.stats().breaker.state, BreakerState::Closed);
    scene.end().await;
}

#[tokio::test]
async fn loaders_that_panic_open_a_breaker_and_answers_of_business_do_not() {
    let scene = scene(|_| ()).await;
    for nth in 0..9 {
        scene
            .fails(&nth.to_string(), || LoadError::business("quota"))
            .await;
    }
    assert_eq!(scene.source.stats().failures, 0);
    fn panics() -> Result<String, LoadError> {
        // Without a word of the hook.
        std::panic::resume_unwind(Box::new("by order"))
    }
    let load = |_| async { panics() };
    for _ in 0..3 {
        let fetch = scene.users.fetch("k", load).source(&scene.source);
        assert!(matches!(fetch.await, Err(Error::Fetch(_))));
    }
    assert_eq!(scene.source.stats().breaker.state, BreakerState::Open);
    scene.end().await;
}

#[tokio::test]
async fn a_load_that_was_told_when_to_come_back_comes_back_then() {
    let scene = scene(|_| ()).await;
    let asked = Arc::new(AtomicUsize::new(0));
    let load = {
        let (asked, clock) = (Arc::clone(&asked), scene.world.clock.clone());
        move |_| {
            let nth = asked.fetch_add(1, Ordering::SeqCst);
            let clock = clock.clone();
            async move {
                if nth == 0 {
                    let busy = LoadError::transient("429").retry_after(ms(5));
                    // The source's time passes while the load waits for it.
                    tokio::spawn(async move { clock.advance(secs(1)) });
                    return Err(busy);
                }
                Ok(text("now"))
            }
        }
    };
    let outcome = scene.users.fetch("k", load).source(&scene.source).outcome();
    let outcome = outcome.await.unwrap();
    assert_eq!(outcome.attempts, 2);
    assert_eq!(scene.source.stats().breaker.state, BreakerState::Closed);
    scene.end().await;
}

#[tokio::test]
async fn ten_thousand_keys_of_a_dead_source_cost_a_few_calls_and_each_is_answered() {
    let scene = scene(|config| config.calls_waiting_max = 100).await;
    let told: Vec<Told> = (0..10_000)
        .map(|nth| {
            let (users, source) = (scene.users.clone(), scene.source.clone());
            tokio::spawn(async move {
                let load =
                    |_| async { Err::<String, _>(LoadError::transient("connection refused")) };
                shown(users.fetch(&nth.to_string(), load).source(&source).await)
            })
        })
        .collect();
    for told in told {
        assert!(told.await.unwrap().is_err());
    }
    let stats = scene.source.stats();
    assert!(stats.calls <= 9, "{stats:?}");
    assert_eq!(scene.larder.stats().await.unwrap().fetch.in_flight, 0);
    scene.end().await;
}

#[tokio::test]
async fn a_cache_has_a_source_of_its_own_for_fetches_that_name_none() {
    let scene = scene(|_| ()).await;
    let builder = scene.larder.cache_builder::<String>("pages");
    let pages = builder.source(&scene.source).open().unwrap();
    scene.origin.answer_one();
    let fetch = pages.fetch("k", scene.origin.load());
    assert_eq!(shown(fetch.await).unwrap(), found("loaded 1"));
    assert_eq!(scene.source.stats().calls, 1);
    assert_eq!(read(&pages, "k").await, found("loaded 1"));
    scene.end().await;
}

#[tokio::test]
async fn settings_that_make_no_sense_are_refused_with_each_field_and_its_range() {
    let scene = scene(|_| ()).await;
    let mut config = SourceConfig::default();
    config.calls_in_flight_max = 0;
    config.call_ms_max = 0;
    config.breaker.probes = 0;
    (config.reopen.ms_min, config.reopen.ms_max) = (20, 10);
    let refused = scene
        .larder
        .source_with("api", config)
        .unwrap_err()
        .to_string();
    for problem in [
        "source.calls_in_flight_max is 0, allowed is 1 to 65536",
        "source.call_ms_max is 0, allowed is 1 to",
        "source.breaker.probes is 0, allowed is 1 to 100",
        "source.reopen.ms_max is 10, allowed is 20 to",
    ] {
        assert!(refused.contains(problem), "{refused}");
    }
    for name in ["", "a\nb", &"x".repeat(129)] {
        assert!(matches!(scene.larder.source(name), Err(Error::Config(_))));
    }
    scene.end().await;
}

#[tokio::test]
async fn wider_bounds_let_in_who_waits_and_past_the_limit_there_are_no_more_sources() {
    let world = World::memory();
    let mut limits = larder::Limits::default();
    limits.sources_max = 1;
    let larder = world.builder().limits(limits).start().await.unwrap();
    let mut config = SourceConfig::default();
    config.calls_in_flight_max = 1;
    let scene = Scene {
        users: cache(&larder),
        source: larder.source_with("api", config.clone()).unwrap(),
        origin: Origin::shut(),
        world,
        larder,
    };
    let told = ["a", "b", "c"].map(|key| scene.ask(key, Urgency::Foreground));
    scene.stands(1, 2).await;
    config.calls_in_flight_max = 3;
    scene.larder.source_with("api", config).unwrap();
    scene.stands(3, 0).await;
    let more = scene.larder.source("another");
    assert!(matches!(
        more,
        Err(Error::Overloaded {
            limit: "sources_max",
            ..
        })
    ));
    (0..3).for_each(|_| scene.origin.answer_one());
    for told in told {
        assert!(told.await.unwrap().is_ok());
    }
    scene.end().await;
}
