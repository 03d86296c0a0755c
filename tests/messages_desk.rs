//! The desk and the addresses beside it: when they are given out, what they refuse, and that messages and
//! calls are one.
#![cfg(all(feature = "disk", feature = "test-util"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

#[path = "support/trial.rs"]
mod trial;

use std::time::Duration;

use actix::prelude::*;
use larder::clock::Clock;
use larder::messages::{entry, larder as whole};
use larder::{ActorState, Builder, Cache, Desk, Durability, Error, Larder, Version};
use trial::{SOON, Trial, until, until_actor};

const START_MS: u64 = 1_800_000_000_000;

fn over(trial: &Trial) -> Builder {
    let trial = trial.clone();
    Larder::builder().driver("store", move || trial.open())
}

#[actix::test]
async fn an_address_is_given_out_only_of_what_is_there() {
    let clock = Clock::manual(START_MS);
    let builder = over(&Trial::default()).clock(clock.clone());
    let larder = builder.start().await.unwrap();
    let unknown = larder.driver("memory").unwrap_err().to_string();
    assert_eq!(unknown, r#"driver: is "memory", there are ["store"]"#);
    assert!(matches!(
        larder.supervisor("nobody"),
        Err(Error::Invalid { field: "actor", .. })
    ));
    for name in ["desk", "memory", "store"] {
        larder.stop_actor(name);
        until_actor(&larder, name, ActorState::Down).await;
    }
    let down = [
        larder.desk().err().unwrap(),
        larder.memory().unwrap_err(),
        larder.driver("store").unwrap().addresses().unwrap_err(),
    ];
    assert!(down.iter().all(|e| matches!(e, Error::Unavailable { .. })));
    clock.advance(Duration::from_secs(60));
    for name in ["desk", "memory", "store"] {
        until_actor(&larder, name, ActorState::Up).await;
    }
    let get = entry::Get::<u64>::new("numbers", "a");
    assert!(larder.desk().unwrap().send(get).await.unwrap().is_ok());
    larder.shutdown(SOON).await.unwrap();
}

#[actix::test]
async fn more_messages_than_the_desk_works_on_at_once_are_refused_and_counted() {
    let trial = Trial::default();
    let mut limits = larder::Limits::default();
    limits.messages_in_flight_max = 3;
    let larder = over(&trial).limits(limits).start().await.unwrap();
    let desk = larder.desk().unwrap();
    trial.hold();
    let set = |n: u64| {
        let mut set = entry::Set::new("numbers", n.to_string(), n);
        set.durability = Some(Durability::Written);
        desk.send(set)
    };
    let waiting: Vec<_> = (0..3).map(|n| actix::spawn(set(n))).collect();
    while in_flight(&larder).await < 3 {
        tokio::task::yield_now().await;
    }
    let refused = set(3).await.unwrap().unwrap_err();
    assert!(matches!(
        refused,
        Error::Overloaded {
            limit: "messages_in_flight_max",
            ..
        }
    ));
    assert!(refused.is_retryable());
    let about_all = desk.send(whole::TakeStats).await.unwrap();
    assert!(matches!(about_all, Err(Error::Overloaded { .. })));
    trial.release();
    for one in waiting {
        one.await.unwrap().unwrap().unwrap();
    }
    set(3).await.unwrap().unwrap();
    assert_eq!(larder.stats().await.unwrap().overloaded, 2);
    larder.shutdown(SOON).await.unwrap();
}

async fn in_flight(larder: &Larder) -> usize {
    let stats = larder.stats();
    stats.await.unwrap().messages_in_flight
}

#[actix::test]
async fn messages_and_calls_see_one_another() {
    let larder = over(&Trial::default()).start().await.unwrap();
    let cache: Cache<u64> = larder.cache("numbers").unwrap();
    let desk = larder.desk().unwrap();
    let add_by_message = |desk: Addr<Desk>| async move {
        let mut done = 0;
        while done < 100 {
            let get = entry::Get::<u64>::new("numbers", "sum");
            let found = desk.send(get).await.unwrap().unwrap();
            let expected = found.as_ref().map(|entry| entry.version());
            let next = found.map_or(0, |entry| *entry) + 1;
            let set = entry::Set::new("numbers", "sum", next);
            match desk
                .send(entry::CompareAndSet { set, expected })
                .await
                .unwrap()
            {
                Ok(_) => done += 1,
                Err(Error::Conflict { .. }) => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        }
    };
    let add_by_call = |cache: Cache<u64>| async move {
        for _ in 0..100 {
            let add = cache.update("sum", |old| old.copied().unwrap_or(0) + 1);
            add.retries(1_000).await.unwrap();
        }
    };
    let tasks = [
        actix::spawn(add_by_message(desk.clone())),
        actix::spawn(add_by_call(cache.clone())),
        actix::spawn(add_by_message(desk.clone())),
    ];
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(*cache.get("sum").await.unwrap().unwrap(), 300);
    let version: Version = cache.remove("sum").await.unwrap();
    let get = entry::Get::<u64>::new("numbers", "sum");
    assert!(desk.send(get).await.unwrap().unwrap().is_none());
    assert!(cache.set("sum", 1).await.unwrap() > version);
    larder.shutdown(SOON).await.unwrap();
}

#[actix::test]
async fn a_message_follows_the_settings_that_the_cache_was_opened_with() {
    let clock = Clock::manual(START_MS);
    let larder = over(&Trial::default())
        .clock(clock.clone())
        .start()
        .await
        .unwrap();
    let _cache = larder
        .cache_builder::<u64>("short")
        .ttl(Duration::from_secs(1))
        .open()
        .unwrap();
    let desk = larder.desk().unwrap();
    desk.send(entry::Set::new("short", "a", 1u64))
        .await
        .unwrap()
        .unwrap();
    let get = || entry::Get::<u64>::new("short", "a");
    assert!(desk.send(get()).await.unwrap().unwrap().is_some());
    clock.advance(Duration::from_secs(1));
    assert!(desk.send(get()).await.unwrap().unwrap().is_none());
    let bad = desk.send(entry::Get::<u64>::new("a/b", "a")).await.unwrap();
    assert!(matches!(bad, Err(Error::Config(_))));
    larder.shutdown(SOON).await.unwrap();
}

/// An actor that never gets to the end of what it is told.
struct Stuck;

impl Actor for Stuck {
    type Context = Context<Self>;
}

/// An actor that hears of health until it leaves.
struct Listener;

impl Actor for Listener {
    type Context = Context<Self>;
}

impl Handler<whole::HealthChanged> for Listener {
    type Result = ();

    fn handle(&mut self, _: whole::HealthChanged, ctx: &mut Self::Context) {
        ctx.stop();
    }
}

impl Handler<whole::HealthChanged> for Stuck {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: whole::HealthChanged, _: &mut Self::Context) -> Self::Result {
        Box::pin(std::future::pending())
    }
}

#[actix::test]
async fn actors_that_watch_health_find_no_place_beyond_the_limit_until_one_leaves() {
    let larder = over(&Trial::default()).start().await.unwrap();
    let desk = larder.desk().unwrap();
    let stuck = Stuck.start();
    let watch = || {
        let recipient = stuck.clone().recipient();
        desk.send(whole::WatchHealth { recipient })
    };
    let first = watch().await.unwrap().unwrap();
    for _ in 1..64 {
        watch().await.unwrap().unwrap();
    }
    let refused = watch().await.unwrap().unwrap_err();
    assert!(matches!(
        refused,
        Error::Overloaded {
            limit: "health_watchers_max",
            ..
        }
    ));
    desk.send(entry::Unsubscribe(first)).await.unwrap();
    watch().await.unwrap().unwrap();
    larder.shutdown(SOON).await.unwrap();
}

#[actix::test]
async fn an_actor_that_has_gone_without_a_word_keeps_no_place_of_those_that_watch_health() {
    let larder = over(&Trial::default()).start().await.unwrap();
    let desk = larder.desk().unwrap();
    for _ in 0..64 {
        let listener = Listener.start();
        let recipient = listener.clone().recipient();
        let watching = desk.send(whole::WatchHealth { recipient });
        watching.await.unwrap().unwrap();
        until("it has gone", || !listener.connected()).await;
    }
    let recipient = Stuck.start().recipient();
    let watching = desk.send(whole::WatchHealth { recipient });
    watching.await.unwrap().unwrap();
    larder.shutdown(SOON).await.unwrap();
}
