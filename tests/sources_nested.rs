//! Named sources: what loaders do with them that fetch themselves, fail elsewhere, or hang.
#![cfg(all(feature = "disk", feature = "test-util"))]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/world.rs"]
mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use larder::{
    BreakerMode, BreakerState, Cache, Error, Larder, LoadError, LoadSource, Retry, SourceConfig,
};
use tokio::sync::Semaphore;
use world::{SOON, World, cache, ms, secs, text, until};

async fn start(
    change: impl FnOnce(&mut SourceConfig),
) -> (World, Larder, Cache<String>, LoadSource) {
    let world = World::memory();
    let larder = world.start().await;
    let users = cache(&larder);
    let mut config = SourceConfig::default();
    config.breaker.consecutive_failures_max = 3;
    change(&mut config);
    let api = larder.source_with("api", config).unwrap();
    (world, larder, users, api)
}

async fn fails(users: &Cache<String>, api: &LoadSource, error: fn() -> LoadError) {
    let load = move |_| async move { Err::<String, _>(error()) };
    let fetch = users.fetch("fails", load).source(api);
    assert!(fetch.retry(Retry::never()).await.is_err());
}

#[tokio::test]
async fn what_one_needs_who_finds_out_whether_a_source_works_is_let_through() {
    let (world, larder, users, api) = start(|_| ()).await;
    for _ in 0..3 {
        fails(&users, &api, || LoadError::transient("503")).await;
    }
    assert_eq!(api.stats().breaker.state, BreakerState::Open);
    world.advance(secs(1));
    let outer = {
        let (users, api) = (users.clone(), api.clone());
        move |_| {
            let (users, api) = (users.clone(), api.clone());
            async move {
                let token = |_| async { Ok::<_, Error>(text("token")) };
                let token = users.fetch("token", token).source(&api).await?;
                Ok::<_, Error>(format!("user by {}", *token.unwrap()))
            }
        }
    };
    let found = users.fetch("user", outer).source(&api).await.unwrap();
    assert_eq!(*found.unwrap(), "user by token");
    assert_eq!(api.stats().breaker.state, BreakerState::Closed);
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn what_fails_elsewhere_is_not_the_sources_failure() {
    let (_world, larder, users, api) = start(|_| ()).await;
    let other = larder.source("other").unwrap();
    other.force(BreakerMode::ForcedOpen);
    for _ in 0..5 {
        let (inner, other) = (users.clone(), other.clone());
        let load = move |_| {
            let (users, other) = (inner.clone(), other.clone());
            async move {
                let load = |_| async { Ok::<_, Error>(text("never")) };
                users.fetch("inner", load).source(&other).await?;
                Ok::<_, Error>(text("never"))
            }
        };
        let fetch = users
            .fetch("outer", load)
            .source(&api)
            .retry(Retry::never());
        assert!(matches!(fetch.await, Err(Error::Fetch(_))));
    }
    let stats = api.stats();
    assert_eq!((stats.calls, stats.failures), (5, 0));
    assert_eq!(stats.breaker.state, BreakerState::Closed);
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn a_no_to_one_user_that_comes_with_a_time_leaves_the_source_to_the_others() {
    let (_world, larder, users, api) = start(|_| ()).await;
    for _ in 0..5 {
        fails(&users, &api, || {
            LoadError::business("quota").retry_after(secs(86_400))
        })
        .await;
        fails(&users, &api, || {
            LoadError::permanent("no").retry_after(secs(60))
        })
        .await;
    }
    assert_eq!(api.stats().breaker.state, BreakerState::Closed);
    fails(&users, &api, || {
        LoadError::transient("503").retry_after(secs(0))
    })
    .await;
    assert_eq!(api.stats().breaker.state, BreakerState::Closed);
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn a_source_that_hangs_until_its_calls_are_cut_is_left_alone() {
    let (_world, larder, users, api) = start(|config| config.call_ms_max = 1).await;
    let hang = |_| std::future::pending::<Result<String, Error>>();
    for _ in 0..3 {
        let fetch = users.fetch("k", hang).source(&api).retry(Retry::never());
        assert!(matches!(fetch.await, Err(Error::Fetch(_))));
    }
    assert_eq!(api.stats().breaker.state, BreakerState::Open);
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn a_budget_that_is_used_up_is_the_sources_failure() {
    let (_world, larder, users, api) = start(|_| ()).await;
    for _ in 0..3 {
        let load = |cx: larder::LoadContext<String>| async move {
            let budget = cx.budget().read_max(ms(1));
            budget.read(std::future::pending::<()>()).await?;
            Ok::<_, Error>(text("never"))
        };
        let fetch = users.fetch("k", load).source(&api).retry(Retry::never());
        assert!(matches!(fetch.await, Err(Error::Fetch(_))));
    }
    assert_eq!(api.stats().breaker.state, BreakerState::Open);
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn loads_that_waited_for_another_one_go_on_so_many_at_a_time() {
    let (_world, larder, users, api) = start(|config| config.calls_in_flight_max = 1).await;
    let (token, calls) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let (within, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let told: Vec<_> = (0..4)
        .map(|nth: usize| {
            let (users, api, token, calls) = (
                users.clone(),
                api.clone(),
                Arc::clone(&token),
                Arc::clone(&calls),
            );
            let (within, most) = (Arc::clone(&within), Arc::clone(&most));
            tokio::spawn(async move {
                let inner = users.clone();
                let load = {
                    let api = api.clone();
                    move |_| {
                        let (users, api, token, calls) = (
                            inner.clone(),
                            api.clone(),
                            Arc::clone(&token),
                            Arc::clone(&calls),
                        );
                        let (within, most) = (Arc::clone(&within), Arc::clone(&most));
                        async move {
                            let load = move |_| {
                                let token = Arc::clone(&token);
                                async move {
                                    token.acquire().await.unwrap().forget();
                                    Ok::<_, Error>(text("token"))
                                }
                            };
                            users.fetch("token", load).source(&api).await?;
                            let now = within.fetch_add(1, Ordering::SeqCst) + 1;
                            most.fetch_max(now, Ordering::SeqCst);
                            calls.acquire().await.unwrap().forget();
                            within.fetch_sub(1, Ordering::SeqCst);
                            Ok::<_, Error>(text("user"))
                        }
                    }
                };
                users.fetch(&nth.to_string(), load).source(&api).await
            })
        })
        .collect();
    until("all wait for the token", async || {
        larder.stats().await.unwrap().fetch.coalesced == 3
    })
    .await;
    token.add_permits(1);
    for nth in 0..4 {
        until("one goes on", async || within.load(Ordering::SeqCst) == 1).await;
        until("the others wait", async || {
            api.stats().calls_waiting == 3 - nth
        })
        .await;
        calls.add_permits(1);
        until("it is done", async || {
            api.stats().calls_waiting < 3 - nth || nth == 3
        })
        .await;
    }
    for told in told {
        assert!(told.await.unwrap().is_ok());
    }
    assert_eq!(most.load(Ordering::SeqCst), 1);
    until("all places are free", async || {
        api.stats().calls_in_flight == 0
    })
    .await;
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn all_loads_that_were_told_when_to_come_back_get_their_answer() {
    let (world, larder, users, api) = start(|_| ()).await;
    let asked = Arc::new(AtomicUsize::new(0));
    let told: Vec<_> = (0..4)
        .map(|nth: usize| {
            let (users, api, asked) = (users.clone(), api.clone(), Arc::clone(&asked));
            tokio::spawn(async move {
                let load = move |_| {
                    let first = asked.fetch_add(1, Ordering::SeqCst) < 4;
                    async move {
                        // All are asked before any is told.
                        tokio::task::yield_now().await;
                        match first {
                            true => Err(LoadError::transient("429").retry_after(ms(5))),
                            false => Ok(text("now")),
                        }
                    }
                };
                users.fetch(&nth.to_string(), load).source(&api).await
            })
        })
        .collect();
    until("all have been told", async || api.stats().failures == 4).await;
    world.advance(secs(1));
    for told in told {
        assert!(told.await.unwrap().unwrap().is_some());
    }
    assert_eq!(asked.load(Ordering::SeqCst), 8, "each came back once");
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn other_settings_change_neither_who_decides_nor_a_pause_that_was_asked_for() {
    let (_world, larder, users, api) = start(|_| ()).await;
    fails(&users, &api, || {
        LoadError::transient("429").retry_after(secs(90))
    })
    .await;
    larder.source_with("api", SourceConfig::default()).unwrap();
    assert_eq!(api.stats().refuses_for_ms, Some(90_000));
    api.force(BreakerMode::ForcedClosed);
    let mut config = SourceConfig::default();
    config.breaker.window_calls = 50;
    larder.source_with("api", config).unwrap();
    assert_eq!(api.stats().breaker.mode, BreakerMode::ForcedClosed);
    assert_eq!(api.stats().refuses_for_ms, None);
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn whoever_says_that_a_source_is_well_again_is_believed_for_every_key() {
    let (world, larder, users, api) = start(|_| ()).await;
    let set = users.set("k", text("old")).ttl(secs(1));
    set.stale_for(secs(9_999)).await.unwrap();
    world.advance(secs(2));
    let ask = async |answer: fn() -> Result<String, LoadError>| {
        let load = move |_| async move { answer() };
        let fetch = users
            .fetch("k", load)
            .source(&api)
            .stale_if_error_for(secs(9_999));
        let fetch = fetch.throttle(secs(0)).retry(Retry::never());
        String::clone(&fetch.await.unwrap().unwrap())
    };
    assert_eq!(
        ask(|| Err(LoadError::transient("429").retry_after(secs(3_600)))).await,
        "old"
    );
    assert_eq!(ask(|| Ok(text("new"))).await, "old");
    assert_eq!(api.stats().calls, 1, "it asked not to be asked");
    api.force(BreakerMode::ForcedClosed);
    assert_eq!(ask(|| Ok(text("new"))).await, "new");
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn what_a_loader_needs_of_its_own_source_and_does_not_get_is_the_sources_failure() {
    let (world, larder, users, api) = start(|_| ()).await;
    let ask = async |token: fn() -> Result<String, LoadError>| {
        let (inner, source) = (users.clone(), api.clone());
        let load = move |_| {
            let (users, api) = (inner.clone(), source.clone());
            async move {
                let load = move |_| async move { token() };
                let fetch = users.fetch("token", load).source(&api);
                fetch.retry(Retry::never()).await?;
                Ok::<_, Error>(text("user"))
            }
        };
        let fetch = users.fetch("user", load).source(&api);
        fetch.retry(Retry::never()).await
    };
    assert!(
        ask(|| Err(LoadError::transient("429").retry_after(secs(60))))
            .await
            .is_err()
    );
    assert_eq!(
        api.stats().refuses_for_ms,
        Some(60_000),
        "all its callers keep it"
    );
    world.advance(secs(60));
    assert!(ask(|| Err(LoadError::transient("503"))).await.is_err());
    assert_eq!(
        api.stats().breaker.state,
        BreakerState::Open,
        "the probe has failed"
    );
    world.advance(secs(60));
    assert!(ask(|| Ok(text("token"))).await.is_ok());
    assert_eq!(api.stats().breaker.state, BreakerState::Closed);
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn the_time_that_a_loader_waits_for_another_load_is_not_its_sources() {
    let (_world, larder, users, api) = start(|config| {
        config.call_ms_max = 5;
        config.breaker.slow_ms = 5;
    })
    .await;
    let door = Arc::new(Semaphore::new(0));
    let load = {
        let (users, door) = (users.clone(), Arc::clone(&door));
        move |_| {
            let (users, door) = (users.clone(), Arc::clone(&door));
            async move {
                let load = move |_| {
                    let door = Arc::clone(&door);
                    async move {
                        door.acquire().await.unwrap().forget();
                        Ok::<_, Error>(text("inner"))
                    }
                };
                users.fetch("inner", load).await?;
                Ok::<_, Error>(text("outer"))
            }
        }
    };
    let asked = tokio::spawn({
        let (users, api) = (users.clone(), api.clone());
        async move {
            users
                .fetch("outer", load)
                .source(&api)
                .retry(Retry::never())
                .await
        }
    });
    until("it waits for the other", async || {
        larder.stats().await.unwrap().fetch.loads == 2
    })
    .await;
    // More than the source's own bound passes, on the timer that cuts calls.
    for _ in 0..3 {
        let budget = larder.budget(ms(5));
        assert!(budget.run(std::future::pending::<()>()).await.is_err());
    }
    door.add_permits(1);
    assert!(asked.await.unwrap().unwrap().is_some());
    assert_eq!(api.stats().failures, 0);
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn a_load_whose_runtime_stands_still_keeps_neither_a_place_nor_its_turn() {
    let (_world, larder, users, api) = start(|config| config.calls_in_flight_max = 1).await;
    let ask = |key: &'static str| {
        let (users, api) = (users.clone(), api.clone());
        // Driven for a moment, and never again.
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .build()
                .unwrap();
            let hang = |_| std::future::pending::<Result<String, Error>>();
            let fetch = async { users.fetch(key, hang).source(&api).deadline(ms(20)).await };
            assert!(runtime.block_on(fetch).is_err());
            runtime
        })
    };
    let (first, second) = (ask("first"), ask("second"));
    let runtimes = (first.join().unwrap(), second.join().unwrap());
    let load = |_| async { Ok::<_, Error>(text("served")) };
    let served = users.fetch("third", load).source(&api).await.unwrap();
    assert_eq!(*served.unwrap(), "served");
    tokio::task::spawn_blocking(move || drop(runtimes))
        .await
        .unwrap();
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn a_shutdown_asks_no_loader_once_more() {
    let (_world, larder, users, api) = start(|_| ()).await;
    let asked = Arc::new(AtomicUsize::new(0));
    let hang = {
        let asked = Arc::clone(&asked);
        move |_| {
            asked.fetch_add(1, Ordering::SeqCst);
            std::future::pending::<Result<String, LoadError>>()
        }
    };
    let fetch = tokio::spawn({
        let (users, api) = (users.clone(), api.clone());
        async move { users.fetch("k", hang).source(&api).keep_warm().await }
    });
    until("it is asked", async || asked.load(Ordering::SeqCst) == 1).await;
    larder.shutdown(SOON).await.unwrap();
    assert!(matches!(fetch.await.unwrap(), Err(Error::Closed)));
    until("its place is free", async || {
        api.stats().calls_in_flight == 0
    })
    .await;
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    assert_eq!(api.stats().breaker.state, BreakerState::Closed);
}

#[tokio::test]
async fn a_loader_that_waits_for_several_loads_gets_one_place_again_and_goes_on() {
    let (_world, larder, users, api) = start(|config| config.calls_in_flight_max = 1).await;
    let doors: [Arc<Semaphore>; 5] = std::array::from_fn(|_| Arc::new(Semaphore::new(0)));
    let inner = |users: &Cache<String>, key: &'static str, door: &Arc<Semaphore>| {
        let (users, door) = (users.clone(), Arc::clone(door));
        async move {
            let load = move |_| {
                let door = Arc::clone(&door);
                async move {
                    door.acquire().await.unwrap().forget();
                    Ok::<_, Error>(text("inner"))
                }
            };
            users.fetch(key, load).await
        }
    };
    let load = {
        let (users, doors) = (users.clone(), doors.clone());
        move |_| {
            let a = inner(&users, "a", &doors[0]);
            let b1 = inner(&users, "b1", &doors[1]);
            let b2 = inner(&users, "b2", &doors[2]);
            let gate = Arc::clone(&doors[4]);
            async move {
                let b = async {
                    let b1 = b1.await;
                    gate.acquire().await.unwrap().forget();
                    (b1, b2.await)
                };
                let (a, (b1, b2)) = tokio::join!(a, b);
                Ok::<_, Error>(
                    [a?, b1?, b2?]
                        .map(|entry| entry.is_some())
                        .len()
                        .to_string(),
                )
            }
        }
    };
    let outer = tokio::spawn({
        let (users, api) = (users.clone(), api.clone());
        async move { users.fetch("outer", load).source(&api).await }
    });
    until("it waits for two", async || {
        larder.stats().await.unwrap().fetch.loads == 3
    })
    .await;
    // Somebody else has the place meanwhile.
    let other = tokio::spawn({
        let (users, api, door) = (users.clone(), api.clone(), Arc::clone(&doors[3]));
        async move {
            let load = move |_| {
                let door = Arc::clone(&door);
                async move {
                    door.acquire().await.unwrap().forget();
                    Ok::<_, Error>(text("other"))
                }
            };
            users.fetch("other", load).source(&api).await
        }
    });
    until("it has it", async || api.stats().calls == 2).await;
    let in_flight = async |count: usize| {
        until("so many loads are under way", async || {
            larder.stats().await.unwrap().fetch.in_flight == count
        })
        .await;
    };
    doors[1].add_permits(1);
    in_flight(3).await;
    doors[0].add_permits(1);
    until("it wants its place again", async || {
        api.stats().calls_waiting == 1
    })
    .await;
    doors[4].add_permits(1);
    in_flight(3).await;
    doors[2].add_permits(1);
    in_flight(2).await;
    doors[3].add_permits(1);
    assert!(other.await.unwrap().unwrap().is_some());
    assert_eq!(*outer.await.unwrap().unwrap().unwrap(), "3");
    until("all places are free", async || {
        api.stats().calls_in_flight == 0
    })
    .await;
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn what_one_needs_who_finds_out_is_tried_again_like_any_load() {
    let (world, larder, users, api) = start(|_| ()).await;
    for _ in 0..3 {
        fails(&users, &api, || LoadError::transient("503")).await;
    }
    world.advance(secs(1));
    let asked = Arc::new(AtomicUsize::new(0));
    let mut loads = users.watch_loads();
    let outer = {
        let (users, api, asked) = (users.clone(), api.clone(), Arc::clone(&asked));
        move |_| {
            let (users, api, asked) = (users.clone(), api.clone(), Arc::clone(&asked));
            async move {
                let token = move |_| {
                    let first = asked.fetch_add(1, Ordering::SeqCst) == 0;
                    async move {
                        match first {
                            true => Err(LoadError::transient("a blip")),
                            false => Ok(text("token")),
                        }
                    }
                };
                let fetch = users.fetch("token", token).source(&api);
                fetch.retry(Retry::default().base(ms(1)).cap(ms(1))).await?;
                Ok::<_, Error>(text("user"))
            }
        }
    };
    assert!(
        users
            .fetch("user", outer)
            .source(&api)
            .await
            .unwrap()
            .is_some()
    );
    assert_eq!(asked.load(Ordering::SeqCst), 2);
    assert_eq!(api.stats().breaker.state, BreakerState::Closed);
    let mut keys = Vec::new();
    for _ in 0..4 {
        keys.push(loads.next().await.unwrap().key);
    }
    assert_eq!(
        keys,
        ["user", "token", "token", "user"],
        "each began and ended"
    );
    larder.shutdown(SOON).await.unwrap();
}
