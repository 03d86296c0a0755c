//! Loaders of a cache's own: load, refresh, warm and poll; pages of a list; events of loads; validators.
#![cfg(all(feature = "disk", feature = "test-util"))]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/origin.rs"]
mod origin;
#[path = "support/world.rs"]
mod world;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use larder::cache::StaleBecause;
use larder::fetch::LoadEventKind;
use larder::{Cache, Error, LoadContext, LoadError, LoadManyContext, LoadWatch, Loaded};
use origin::{Origin, expiring, found, larder, shown};
use world::{SOON, World, cache, read, secs, text, until};

const HOUR: Duration = Duration::from_secs(3_600);

#[tokio::test]
async fn a_caches_own_loader_serves_every_handle_of_it() {
    let (larder, users) = larder().await;
    let missing = users.load("k").await;
    assert!(matches!(
        missing,
        Err(Error::Invalid {
            field: "loader",
            ..
        })
    ));
    let origin = Origin::open();
    users
        .loader(origin.load())
        .ttl(secs(60))
        .register()
        .unwrap();
    let other: Cache<String> = larder.cache("users").unwrap();
    let settings = larder
        .cache_builder::<String>("users")
        .ttl(HOUR)
        .open()
        .unwrap();
    assert_eq!(shown(settings.load("k").await).unwrap(), found("loaded 1"));
    assert_eq!(shown(other.load("k").await).unwrap(), found("loaded 1"));
    assert_eq!(shown(users.load("k").await).unwrap(), found("loaded 1"));
    assert_eq!(origin.asked(), 1);
    let wrong = users.loader(origin.load()).refresh_ahead(2.0).register();
    assert!(matches!(
        wrong,
        Err(Error::Invalid {
            field: "refresh_ahead",
            ..
        })
    ));
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn a_refresh_loads_whatever_is_there_and_leaves_it_if_that_fails() {
    let (larder, users) = larder().await;
    let origin = Origin::open();
    users
        .loader(origin.load())
        .stale_for(HOUR)
        .register()
        .unwrap();
    users.set("k", text("set")).await.unwrap();
    assert_eq!(shown(users.load("k").await).unwrap(), found("set"));
    let outcome = users.refresh("k").await.unwrap();
    assert_eq!(**outcome.entry.as_ref().unwrap(), "loaded 1");
    assert_eq!(read(&users, "k").await, found("loaded 1"));
    let failing = origin.load_as(|_| Err::<String, _>(LoadError::permanent("no")));
    users.loader(failing).stale_for(HOUR).register().unwrap();
    assert!(matches!(users.refresh("k").await, Err(Error::Fetch(_))));
    assert_eq!(read(&users, "k").await, found("loaded 1"));
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn warming_loads_what_is_not_there_and_counts_what_it_finds() {
    let (larder, users) = larder().await;
    users.set("there", text("set")).await.unwrap();
    let load = |cx: LoadContext<String>| async move {
        match cx.key() {
            "none" => Ok(None),
            "fails" => Err(LoadError::permanent("no")),
            key => Ok(Some(format!("loaded {key}"))),
        }
    };
    users.loader(load).register().unwrap();
    let mut keys = vec!["there", "none", "fails"];
    let many: Vec<String> = (0..40).map(|nth| nth.to_string()).collect();
    keys.extend(many.iter().map(String::as_str));
    let warmed = users.warm(keys).await.unwrap();
    let counts = (warmed.loaded, warmed.there, warmed.missing, warmed.failed);
    assert_eq!(counts, (40, 1, 1, 1));
    assert_eq!(read(&users, "39").await, found("loaded 39"));
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn a_key_that_is_polled_is_loaded_every_so_often_until_the_guard_is_dropped() {
    let world = World::memory();
    let larder = world.start().await;
    let (users, origin) = (cache(&larder), Origin::open());
    users.loader(origin.load()).register().unwrap();
    let polling = users.poll("k", secs(10)).unwrap();
    for nth in 1..4 {
        // The sleep may begin after the clock has been moved: then it takes another turn.
        until("it is loaded again", async || {
            world.advance(secs(10));
            origin.asked() >= nth
        })
        .await;
    }
    drop(polling);
    let wrong = users.poll("k", Duration::ZERO);
    assert!(matches!(wrong, Err(Error::Invalid { field: "every", .. })));
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn a_poll_keeps_no_larder_running() {
    let world = World::memory();
    let larder = world.start().await;
    let (users, origin) = (cache(&larder), Origin::open());
    users.loader(origin.load()).register().unwrap();
    let polling = cache(&larder).poll("k", HOUR).unwrap();
    let mut loads = users.watch_loads();
    drop((users, larder));
    assert!(loads.next().await.is_none());
    drop(polling);
}

#[tokio::test]
async fn pages_of_a_list_are_kept_each_and_dropped_together() {
    for world in World::all() {
        let larder = world.start().await;
        let (pages, origin) = (cache(&larder), Origin::open());
        let page = |list: &'static str, cursor: &'static str| {
            let fetch = pages.fetch_page(list, cursor, origin.load());
            async move { shown(fetch.ttl(HOUR).await).unwrap() }
        };
        assert_eq!(page("inbox", "").await, found("loaded 1"));
        assert_eq!(page("inbox", "next").await, found("loaded 2"));
        assert_eq!(page("outbox", "").await, found("loaded 3"));
        assert_eq!(page("inbox", "").await, found("loaded 1"));
        pages.drop_pages("inbox").await.unwrap();
        assert_eq!(
            page("inbox", "next").await,
            found("loaded 4"),
            "{}",
            world.name
        );
        assert_eq!(page("outbox", "").await, found("loaded 3"));
        larder.shutdown(SOON).await.unwrap();
    }
}

async fn told(loads: &mut LoadWatch) -> (String, &'static str, bool) {
    let event = tokio::time::timeout(SOON, loads.next())
        .await
        .unwrap()
        .unwrap();
    let kind = match event.kind {
        LoadEventKind::Began => "began",
        LoadEventKind::Loaded => "loaded",
        LoadEventKind::Missing => "missing",
        LoadEventKind::Failed(_) => "failed",
        LoadEventKind::Cancelled => "cancelled",
        _ => "other",
    };
    (event.key.to_string(), kind, event.is_refresh)
}

#[tokio::test]
async fn whoever_watches_loads_is_told_when_they_begin_end_and_fail() {
    let (world, larder, users) = expiring(HOUR).await;
    let origin = Origin::open();
    let (mut all, mut of_k) = (users.watch_loads(), users.watch_loads_of("k"));
    users
        .fetch("new", origin.load_as(|_| Ok(Loaded::missing())))
        .await
        .unwrap();
    world.advance(secs(2));
    let failing = origin.load_as(|_| Err::<String, _>(LoadError::permanent("no")));
    let stale = users
        .fetch("k", failing)
        .stale_for(HOUR)
        .outcome()
        .await
        .unwrap();
    assert!(matches!(
        stale.stale_because,
        Some(StaleBecause::Refreshing)
    ));
    let expected = [
        (text("new"), "began", false),
        (text("new"), "missing", false),
        (text("k"), "began", true),
        (text("k"), "failed", true),
    ];
    for event in &expected {
        assert_eq!(told(&mut all).await, *event);
    }
    for event in &expected[2..] {
        assert_eq!(told(&mut of_k).await, *event);
    }
    let load = |cx: LoadManyContext<String>| async move {
        Ok::<_, Error>(
            cx.keys()
                .map(|key| (text(key), text("x")))
                .collect::<Vec<_>>(),
        )
    };
    users.fetch_many(["a", "b"], load).await.unwrap();
    let mut events = Vec::new();
    for _ in 0..4 {
        events.push(told(&mut all).await.1);
    }
    assert_eq!(events, ["began", "began", "loaded", "loaded"]);
    larder.shutdown(SOON).await.unwrap();
    assert!(all.next().await.is_none());
}

#[tokio::test]
async fn whoever_watches_loads_too_slowly_is_told_how_many_are_missing() {
    let (larder, users) = larder().await;
    let mut loads = users.watch_loads();
    let most = larder::fetch::LOADS_BUFFER_EVENTS;
    for nth in 0..most {
        let load = |_| async { Ok::<_, Error>(text("x")) };
        users.fetch(&nth.to_string(), load).await.unwrap();
    }
    let first = loads.next().await.unwrap();
    assert!(matches!(first.kind, LoadEventKind::Lagged(missed) if missed as usize == most));
    assert_eq!(told(&mut loads).await.0, (most / 2).to_string());
    larder.shutdown(SOON).await.unwrap();
}

/// A source that answers by a validator, and remembers which it was shown.
fn versioned(
    shown: &Arc<Mutex<Vec<Option<String>>>>,
) -> impl Fn(LoadContext<String>) -> origin::Answer + Clone + use<> {
    let shown = Arc::clone(shown);
    move |cx| {
        let validator = cx.validator_text().map(str::to_owned);
        shown.lock().unwrap().push(validator.clone());
        Box::pin(async move {
            Ok(match validator.as_deref() {
                Some("\"7\"") => Loaded::not_modified(),
                _ => Loaded::value(text("seven")).validator("\"7\"").tag("t"),
            })
        })
    }
}

#[tokio::test]
async fn a_validator_is_kept_with_its_value_in_every_tier_until_the_value_changes() {
    for world in World::all() {
        let larder = world.start().await;
        let users = cache(&larder);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let ask = async |users: &Cache<String>| {
            let fetch = users.fetch("k", versioned(&seen)).ttl(secs(1));
            shown(fetch.stale_if_error_for(HOUR).await).unwrap()
        };
        let last = || seen.lock().unwrap().last().unwrap().clone();
        assert_eq!(ask(&users).await, found("seven"));
        for _ in 0..2 {
            world.advance(secs(2));
            assert_eq!(ask(&users).await, found("seven"));
            assert_eq!(last(), found("\"7\""), "{}", world.name);
        }
        let (larder, users) = match world.name {
            "memory" => (larder, users),
            _ => {
                let larder = world.restart(larder).await;
                let users = cache(&larder);
                world.advance(secs(2));
                assert_eq!(ask(&users).await, found("seven"));
                assert_eq!(last(), found("\"7\""), "{}", world.name);
                (larder, users)
            }
        };
        // The host's own change is none that the source knows of.
        users.update("k", |_| text("mine")).await.unwrap();
        users.expire("k").await.unwrap();
        assert_eq!(ask(&users).await, found("seven"));
        assert_eq!(last(), None);
        users.remove_tag("t").await.unwrap();
        assert_eq!(ask(&users).await, found("seven"));
        assert_eq!(last(), None);
        larder.shutdown(SOON).await.unwrap();
    }
}

#[tokio::test]
async fn a_loader_of_many_has_the_validator_of_each() {
    let (larder, users) = larder().await;
    let load = |cx: LoadManyContext<String>| async move {
        let one = |key: &str| match cx.validator(key) {
            Some(validator) => Loaded::value(format!("{validator:?}")),
            None => Loaded::value(text("first")).validator([0xff, 7]),
        };
        Ok::<_, Error>(
            cx.keys()
                .map(|key| (text(key), one(key)))
                .collect::<Vec<_>>(),
        )
    };
    users.fetch_many(["a"], load).await.unwrap();
    users.expire("a").await.unwrap();
    let again = users.fetch_many(["a", "b"], load).await.unwrap();
    let values = again
        .iter()
        .map(|(_, entry)| entry.as_deref().unwrap().as_str());
    assert_eq!(values.collect::<Vec<_>>(), ["[255, 7]", "first"]);
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn no_tag_of_a_hosts_can_pass_for_a_validator() {
    let (larder, users) = larder().await;
    let set = users.set("k", text("x")).tag("\0v=7").await;
    assert!(matches!(set, Err(Error::Invalid { field: "tag", .. })));
    let fetch = users.fetch("k", |_| async { Ok::<_, Error>(text("x")) });
    assert!(matches!(fetch.tag("\0v").await, Err(Error::Invalid { .. })));
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn a_load_that_nobody_waits_for_any_more_is_told_to_be_cancelled() {
    let (larder, users) = larder().await;
    let (origin, mut loads) = (Origin::shut(), users.watch_loads());
    let asked = origin::fetch(&users, &origin);
    origin.is_asked(1).await;
    asked.abort();
    assert_eq!(told(&mut loads).await, (text("k"), "began", false));
    assert_eq!(told(&mut loads).await, (text("k"), "cancelled", false));
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn a_refresh_is_not_content_with_a_load_that_found_what_was_there() {
    let world = World::disk();
    let larder = world.start().await;
    cache(&larder).set("k", text("stored")).await.unwrap();
    let larder = world.restart(larder).await;
    let (users, origin) = (cache(&larder), Origin::open());
    users.loader(origin.load()).register().unwrap();
    // The first one finds it in the store; whether the others join it or not, each has asked the source.
    let all = (0..20).map(|nth| {
        let users = users.clone();
        tokio::spawn(async move {
            match nth {
                0 => users.load("k").await.unwrap().unwrap().to_string(),
                _ => users.refresh("k").await.unwrap().entry.unwrap().to_string(),
            }
        })
    });
    let all: Vec<_> = all.collect();
    for (nth, told) in all.into_iter().enumerate() {
        let value = told.await.unwrap();
        assert!(nth == 0 || value.starts_with("loaded"), "{nth}: {value}");
    }
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn a_loader_that_holds_its_own_cache_is_let_go_of_by_the_shutdown() {
    let (larder, users) = larder().await;
    let held = Arc::new(());
    let load = {
        let (users, held) = (users.clone(), Arc::clone(&held));
        move |_| {
            let (users, _held) = (users.clone(), Arc::clone(&held));
            async move { Ok::<_, Error>(users.name().to_owned()) }
        }
    };
    users.loader(load).register().unwrap();
    assert_eq!(shown(users.load("k").await).unwrap(), found("users"));
    drop(users);
    larder.shutdown(SOON).await.unwrap();
    assert_eq!(Arc::strong_count(&held), 1);
}
