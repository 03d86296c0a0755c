//! Get-or-fetch of many keys: one call of the loader for all that are missing, each kept by itself.
#![cfg(all(feature = "disk", feature = "test-util"))]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/world.rs"]
mod world;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use larder::cache::StaleBecause;
use larder::{
    Cache, Error, ErrorClass, Larder, LoadError, LoadManyContext, Loaded, Retry, Urgency,
};
use tokio::sync::Semaphore;
use world::{SOON, World, cache, ms, read, secs, text, until};

const HOUR: Duration = Duration::from_secs(3_600);

/// A source that answers when it is let to, and remembers what it was asked for.
#[derive(Clone)]
struct Source {
    asked: Arc<Mutex<Vec<Vec<String>>>>,
    doors: Arc<Semaphore>,
    dropped: Arc<AtomicUsize>,
}

type Pairs = Vec<(String, Loaded<String>)>;

impl Source {
    fn shut() -> Self {
        Self {
            asked: Arc::default(),
            doors: Arc::new(Semaphore::new(0)),
            dropped: Arc::default(),
        }
    }

    fn open() -> Self {
        let source = Self::shut();
        source.doors.add_permits(1_000);
        source
    }

    fn asked(&self) -> Vec<Vec<String>> {
        self.asked.lock().unwrap().clone()
    }

    async fn is_asked(&self, times: usize) {
        until("it is asked", async || self.asked().len() >= times).await;
    }

    fn load(
        &self,
    ) -> impl Fn(
        LoadManyContext<String>,
    ) -> futures_core::future::BoxFuture<'static, Result<Pairs, LoadError>>
    + Clone
    + use<> {
        self.load_as(|keys| Ok(keys.iter().map(|key| (key.clone(), value(key))).collect()))
    }

    fn load_as<M>(
        &self,
        make: M,
    ) -> impl Fn(
        LoadManyContext<String>,
    ) -> futures_core::future::BoxFuture<'static, Result<Pairs, LoadError>>
    + Clone
    + use<M>
    where
        M: Fn(&[String]) -> Result<Pairs, LoadError> + Clone + Send + Sync + 'static,
    {
        let source = self.clone();
        move |cx| {
            let keys: Vec<String> = cx.keys().map(str::to_owned).collect();
            source.asked.lock().unwrap().push(keys.clone());
            let (doors, make) = (Arc::clone(&source.doors), make.clone());
            let ends = Ends(Arc::clone(&source.dropped));
            Box::pin(async move {
                doors.acquire().await.unwrap().forget();
                std::mem::forget(ends);
                make(&keys)
            })
        }
    }
}

/// Counts loaders that were cancelled.
struct Ends(Arc<AtomicUsize>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn value(key: &str) -> Loaded<String> {
    Loaded::value(format!("loaded {key}"))
}

type Found = Vec<(String, Option<String>)>;

async fn values(
    fetch: impl IntoFuture<
        Output = Result<Vec<(smol_str::SmolStr, Option<larder::Entry<String>>)>, Error>,
    >,
) -> Result<Found, Error> {
    let found = fetch.await?.into_iter();
    let text = |entry: larder::Entry<String>| String::clone(&entry);
    Ok(found
        .map(|(key, entry)| (key.to_string(), entry.map(text)))
        .collect())
}

fn all(pairs: &[(&str, Option<&str>)]) -> Found {
    let owned = |(key, value): &(&str, Option<&str>)| (text(key), value.map(text));
    pairs.iter().map(owned).collect()
}

async fn start(world: &World) -> (Larder, Cache<String>) {
    let larder = world.start().await;
    let users = cache(&larder);
    (larder, users)
}

#[tokio::test]
async fn one_call_loads_all_that_are_missing_and_keeps_each() {
    for world in World::all() {
        let (larder, users) = start(&world).await;
        users.set("a", text("set")).await.unwrap();
        let source = Source::open();
        let fetch = users
            .fetch_many(["a", "b", "c"], source.load())
            .ttl(secs(60));
        let expected = [
            ("a", Some("set")),
            ("b", Some("loaded b")),
            ("c", Some("loaded c")),
        ];
        assert_eq!(
            values(fetch).await.unwrap(),
            all(&expected),
            "{}",
            world.name
        );
        assert_eq!(source.asked(), [["b", "c"]]);
        assert_eq!(read(&users, "c").await, Some(text("loaded c")));
        let again = users.fetch_many(["c", "b", "a"], source.load());
        assert_eq!(values(again).await.unwrap().len(), 3);
        assert_eq!(source.asked().len(), 1);
        world.advance(secs(60));
        assert_eq!(read(&users, "b").await, None, "it has its TTL");
        larder.shutdown(SOON).await.unwrap();
    }
}

#[tokio::test]
async fn what_lies_below_is_found_and_not_loaded() {
    for world in World::stored() {
        let (larder, users) = start(&world).await;
        users.set("a", text("set")).await.unwrap();
        let larder = world.restart(larder).await;
        let (users, source) = (cache(&larder), Source::open());
        let fetch = users.fetch_many(["a", "b"], source.load());
        let expected = [("a", Some("set")), ("b", Some("loaded b"))];
        assert_eq!(
            values(fetch).await.unwrap(),
            all(&expected),
            "{}",
            world.name
        );
        assert_eq!(source.asked(), [["b"]]);
        larder.shutdown(SOON).await.unwrap();
    }
}

#[tokio::test]
async fn a_key_that_the_loader_does_not_return_has_none_and_what_it_returns_beyond_is_passed_over()
{
    let (larder, users) = start(&World::memory()).await;
    let source = Source::open();
    let load = source.load_as(|_| Ok(vec![(text("b"), value("b")), (text("z"), value("z"))]));
    let fetch = users.fetch_many(["a", "b"], load.clone()).missing_ttl(HOUR);
    let expected = [("a", None), ("b", Some("loaded b"))];
    assert_eq!(values(fetch).await.unwrap(), all(&expected));
    assert_eq!(read(&users, "z").await, None);
    let again = users.fetch_many(["a", "b"], load).outcomes().await.unwrap();
    assert!(again[0].1.as_ref().unwrap().was_known_missing);
    assert_eq!(source.asked().len(), 1);
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn keys_that_are_being_loaded_are_waited_for_by_fetches_of_one_and_of_many() {
    let (larder, users) = start(&World::memory()).await;
    let source = Source::shut();
    let ask = |keys: &'static [&'static str]| {
        let (users, load) = (users.clone(), source.load());
        tokio::spawn(async move { values(users.fetch_many(keys.iter().copied(), load)).await })
    };
    let first = ask(&["a", "b"]);
    source.is_asked(1).await;
    let second = ask(&["b", "c", "b"]);
    source.is_asked(2).await;
    let one = tokio::spawn({
        let users = users.clone();
        let load = |_| async { Ok::<_, Error>(text("of its own")) };
        async move {
            users
                .fetch("c", load)
                .await
                .unwrap()
                .map(|entry| String::clone(&entry))
        }
    });
    until("all wait", async || {
        larder.stats().await.unwrap().fetch.coalesced == 2
    })
    .await;
    assert_eq!(source.asked(), [vec!["a", "b"], vec!["c"]]);
    source.doors.add_permits(2);
    let pairs = [
        ("a", Some("loaded a")),
        ("b", Some("loaded b")),
        ("c", Some("loaded c")),
    ];
    assert_eq!(first.await.unwrap().unwrap(), all(&pairs[..2]));
    let expected = [pairs[1], pairs[2], pairs[1]];
    assert_eq!(second.await.unwrap().unwrap(), all(&expected));
    assert_eq!(one.await.unwrap(), Some(text("loaded c")));
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn a_change_of_one_key_during_the_load_fences_that_key_alone() {
    for world in World::all() {
        let (larder, users) = start(&world).await;
        let source = Source::shut();
        let asked = tokio::spawn({
            let (users, load) = (users.clone(), source.load());
            async move { values(users.fetch_many(["a", "b"], load)).await }
        });
        source.is_asked(1).await;
        users.set("a", text("newer")).await.unwrap();
        source.doors.add_permits(1);
        let expected = [("a", Some("loaded a")), ("b", Some("loaded b"))];
        assert_eq!(asked.await.unwrap().unwrap(), all(&expected));
        assert_eq!(read(&users, "a").await, Some(text("newer")));
        assert_eq!(read(&users, "b").await, Some(text("loaded b")));
        larder.shutdown(SOON).await.unwrap();
    }
}

#[tokio::test]
async fn the_last_who_leaves_cancels_the_load_and_not_before() {
    let (larder, users) = start(&World::memory()).await;
    let source = Source::shut();
    let ask = |keys: &'static [&'static str]| {
        let (users, load) = (users.clone(), source.load());
        tokio::spawn(async move { values(users.fetch_many(keys.iter().copied(), load)).await })
    };
    let (first, second) = (ask(&["a", "b"]), ask(&["b"]));
    source.is_asked(1).await;
    until("it waits", async || {
        larder.stats().await.unwrap().fetch.coalesced == 1
    })
    .await;
    let leaves = async |caller: tokio::task::JoinHandle<_>| {
        caller.abort();
        let left: Result<Result<Found, Error>, _> = caller.await;
        assert!(left.unwrap_err().is_cancelled());
    };
    leaves(first).await;
    let third = ask(&["a"]);
    until("it waits", async || {
        larder.stats().await.unwrap().fetch.coalesced == 2
    })
    .await;
    leaves(second).await;
    assert_eq!(source.dropped.load(Ordering::SeqCst), 0);
    assert_eq!(source.asked().len(), 1, "it is the load of a, too");
    leaves(third).await;
    until("the loader is cancelled", async || {
        source.dropped.load(Ordering::SeqCst) == 1
    })
    .await;
    until("all has come back", async || {
        let stats = larder.stats().await.unwrap();
        (stats.fetch.in_flight, stats.memory.marks) == (0, 0)
    })
    .await;
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn a_failure_is_that_of_each_key_and_is_tried_again_for_all_together() {
    let (larder, users) = start(&World::memory()).await;
    let source = Source::open();
    let tries = Arc::new(AtomicUsize::new(0));
    let load = source.load_as({
        let tries = Arc::clone(&tries);
        move |keys| match tries.fetch_add(1, Ordering::SeqCst) {
            0 => Err(LoadError::transient("503")),
            _ => Ok(keys.iter().map(|key| (key.clone(), value(key))).collect()),
        }
    });
    let retry = Retry::default().base(ms(1)).cap(ms(1));
    let fetch = users.fetch_many(["a", "b"], load).retry(retry);
    let outcomes = fetch.outcomes().await.unwrap();
    assert!(
        outcomes
            .iter()
            .all(|(_, outcome)| outcome.as_ref().unwrap().attempts == 2)
    );
    assert_eq!(source.asked(), [["a", "b"], ["a", "b"]]);

    let load = source.load_as(|_| Err(LoadError::permanent("no")));
    let outcomes = users.fetch_many(["c", "d"], load).outcomes().await.unwrap();
    for (_, outcome) in outcomes {
        let Err(Error::Fetch(error)) = outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!(error.class(), ErrorClass::Permanent);
    }
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn stale_values_are_shown_and_refreshed_together() {
    for world in World::all() {
        let (larder, users) = start(&world).await;
        for key in ["a", "b"] {
            let set = users.set(key, text("old")).ttl(secs(1));
            set.stale_for(HOUR).await.unwrap();
        }
        world.advance(secs(2));
        let source = Source::open();
        let fetch = users.fetch_many(["a", "b"], source.load()).stale_for(HOUR);
        let outcomes = fetch.outcomes().await.unwrap();
        let because = outcomes[0].1.as_ref().unwrap().stale_because.as_ref();
        assert!(matches!(because, Some(StaleBecause::Refreshing)));
        until("they are refreshed", async || {
            read(&users, "a").await == Some(text("loaded a"))
                && read(&users, "b").await == Some(text("loaded b"))
        })
        .await;
        assert_eq!(source.asked(), [["a", "b"]], "{}", world.name);
        larder.shutdown(SOON).await.unwrap();
    }
}

#[tokio::test]
async fn a_fallback_is_shown_for_what_cannot_be_loaded_and_the_others_have_the_error() {
    let world = World::memory();
    let (larder, users) = start(&world).await;
    let set = users.set("a", text("old")).ttl(secs(1));
    set.stale_for(HOUR).await.unwrap();
    world.advance(secs(2));
    let source = Source::open();
    let load = source.load_as(|_| Err(LoadError::permanent("no")));
    let fetch = users.fetch_many(["a", "b"], load).stale_if_error_for(HOUR);
    let outcomes = fetch.outcomes().await.unwrap();
    let shown = outcomes[0].1.as_ref().unwrap();
    assert_eq!(shown.entry.as_deref().map(String::as_str), Some("old"));
    assert!(matches!(shown.stale_because, Some(StaleBecause::Failed(_))));
    assert!(matches!(outcomes[1].1, Err(Error::Fetch(_))));
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn more_keys_than_a_chunk_are_loaded_by_several_calls() {
    let (larder, users) = start(&World::memory()).await;
    let source = Source::open();
    let keys: Vec<String> = (0..25).map(|nth| nth.to_string()).collect();
    let fetch = users.fetch_many(keys.clone(), source.load()).chunk(10);
    assert!(
        values(fetch)
            .await
            .unwrap()
            .iter()
            .all(|(_, value)| value.is_some())
    );
    let mut sizes: Vec<_> = source.asked().iter().map(Vec::len).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [5, 10, 10]);
    let refused = users
        .fetch_many(keys, source.load())
        .chunk(0)
        .outcomes()
        .await;
    assert!(matches!(
        refused,
        Err(Error::Invalid { field: "chunk", .. })
    ));
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn a_key_that_none_can_be_has_an_error_of_its_own() {
    let (larder, users) = start(&World::memory()).await;
    let source = Source::open();
    let long = "x".repeat(2_000);
    let outcomes = users
        .fetch_many([long.as_str(), "a"], source.load())
        .outcomes();
    let outcomes = outcomes.await.unwrap();
    assert!(matches!(outcomes[0].1, Err(Error::TooLarge { .. })));
    assert!(outcomes[1].1.is_ok());
    let nothing: [&str; 0] = [];
    assert!(
        users
            .fetch_many(nothing, source.load())
            .await
            .unwrap()
            .is_empty()
    );
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn a_loader_that_panics_is_an_error_for_each_key_and_no_more() {
    let (larder, users) = start(&World::memory()).await;
    let source = Source::open();
    // Without a word of the hook.
    let load = source.load_as(|_| std::panic::resume_unwind(Box::new("by order")));
    let outcomes = users.fetch_many(["a", "b"], load).outcomes().await.unwrap();
    assert!(outcomes.iter().all(|(_, outcome)| {
        matches!(outcome, Err(Error::Fetch(error)) if error.class() == ErrorClass::Bug)
    }));
    let fetch = users.fetch_many(["a"], source.load());
    assert_eq!(
        values(fetch).await.unwrap(),
        all(&[("a", Some("loaded a"))])
    );
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn a_loader_of_many_that_fetches_one_of_them_is_told_instead_of_waiting_for_itself() {
    let (larder, users) = start(&World::memory()).await;
    let load = {
        let users = users.clone();
        move |_: LoadManyContext<String>| {
            let users = users.clone();
            async move {
                let inner = |_| async { Ok::<_, Error>(text("inner")) };
                users.fetch("b", inner).await?;
                Ok::<Pairs, Error>(Vec::new())
            }
        }
    };
    let fetch = users.fetch_many(["a", "b"], load).retry(Retry::never());
    let Err(Error::Fetch(error)) = fetch.await else {
        panic!("it went through")
    };
    assert!(
        error.to_string().contains("fetches the key itself"),
        "{error}"
    );
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn whoever_waits_for_one_key_of_a_call_lifts_the_load_that_brings_it() {
    let (larder, users) = start(&World::memory()).await;
    let mut config = larder::SourceConfig::default();
    config.calls_in_flight_max = 1;
    let api = larder.source_with("api", config).unwrap();
    let source = Source::shut();
    let ask = |keys: &'static [&'static str], urgency| {
        let (users, load, api) = (users.clone(), source.load(), api.clone());
        tokio::spawn(async move {
            let fetch = users.fetch_many(keys.iter().copied(), load).chunk(2);
            values(fetch.source(&api).urgency(urgency)).await
        })
    };
    let waiting = async |count| {
        until("so many wait", async || api.stats().calls_waiting == count).await;
    };
    let mut told = vec![ask(&["first"], Urgency::Foreground)];
    source.is_asked(1).await;
    told.push(ask(&["a", "b", "c", "d"], Urgency::Prefetch));
    waiting(2).await;
    told.push(ask(&["e"], Urgency::Background));
    waiting(3).await;
    told.push(ask(&["d"], Urgency::Foreground));
    until("it joins", async || {
        larder.stats().await.unwrap().fetch.coalesced == 1
    })
    .await;
    source.doors.add_permits(9);
    for told in told {
        assert!(told.await.unwrap().is_ok());
    }
    let expected = [vec!["first"], vec!["c", "d"], vec!["e"], vec!["a", "b"]];
    assert_eq!(source.asked(), expected);
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn what_becomes_too_old_while_others_are_waited_for_is_not_shown_any_more() {
    let world = World::memory();
    let (larder, users) = start(&world).await;
    let set = users.set("a", text("old")).ttl(secs(1));
    set.stale_for(HOUR).await.unwrap();
    world.advance(secs(2));
    let source = Source::shut();
    let asked = tokio::spawn({
        let (users, load) = (users.clone(), source.load());
        let failing = source.load_as(|_| Err(LoadError::permanent("no")));
        async move {
            // Its refresh fails, so that nothing newer takes its place.
            let first = users.fetch_many(["a"], failing).stale_for(secs(10));
            first.outcomes().await.unwrap();
            let fetch = users.fetch_many(["a", "b"], load).stale_for(secs(10));
            values(fetch.throttle(secs(0))).await
        }
    });
    source.is_asked(1).await;
    source.doors.add_permits(1);
    source.is_asked(2).await;
    world.advance(secs(60));
    source.doors.add_permits(9);
    let expected = [("a", Some("loaded a")), ("b", Some("loaded b"))];
    assert_eq!(asked.await.unwrap().unwrap(), all(&expected));
    larder.shutdown(SOON).await.unwrap();
}
