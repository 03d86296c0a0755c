//! Subscriptions of actors: what ends with them, and what does not depend on them.
#![cfg(feature = "test-util")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

#[path = "support/trial.rs"]
mod trial;

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use larder::clock::Clock;
use larder::messages::entry;
use larder::{ActorState, Builder, Cache, EntryEvent, Larder};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use trial::{SOON, Trial, until, until_actor};

const START_MS: u64 = 1_800_000_000_000;

fn over(trial: &Trial) -> Builder {
    let trial = trial.clone();
    Larder::builder().driver("store", move || trial.open())
}

/// An actor that hears of changes and passes them on, for as long as somebody hears it.
struct Listener(UnboundedSender<EntryEvent<u64>>);

impl Actor for Listener {
    type Context = Context<Self>;
}

impl Handler<EntryEvent<u64>> for Listener {
    type Result = ();

    fn handle(&mut self, event: EntryEvent<u64>, ctx: &mut Self::Context) {
        if self.0.send(event).is_err() {
            ctx.stop();
        }
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Leave;

impl Handler<Leave> for Listener {
    type Result = ();

    fn handle(&mut self, _: Leave, ctx: &mut Self::Context) {
        ctx.stop();
    }
}

fn listener() -> (Addr<Listener>, UnboundedReceiver<EntryEvent<u64>>) {
    let (events, heard) = unbounded_channel();
    (Listener(events).start(), heard)
}

fn subscribe(to: &Addr<Listener>, watching: entry::Watching) -> entry::Subscribe<u64> {
    entry::Subscribe {
        cache: "numbers".into(),
        watching,
        recipient: to.clone().recipient(),
    }
}

#[actix::test]
async fn a_subscription_of_an_actor_ends_with_the_last_handle_and_keeps_no_larder_alive() {
    let trial = Trial::default();
    let larder = over(&trial).start().await.unwrap();
    let (listener, mut heard) = listener();
    let desk = larder.desk().unwrap();
    let cache: Cache<u64> = larder.cache("numbers").unwrap();
    let watchings = [
        entry::Watching::Key("a".into()),
        entry::Watching::Prefix("a".into()),
        entry::Watching::All,
        entry::Watching::Latest("a".into()),
    ];
    for watching in watchings {
        let subscribed = desk.send(subscribe(&listener, watching)).await;
        subscribed.unwrap().unwrap();
    }
    let mut stream = cache.watch_all().await.unwrap();
    let mut latest = cache.watch_latest("a").await.unwrap();
    cache.set("a", 1).await.unwrap();
    for _ in 0..4 {
        assert!(heard.recv().await.is_some());
    }
    assert!(stream.next().await.is_some());
    assert!(latest.changed().await.is_some());
    drop(cache);
    drop(larder);
    until("larder has ended", || !desk.connected()).await;
    assert!(trial.has("numbers/a"));
    assert!(stream.next().await.is_none());
    assert!(latest.changed().await.is_none());
}

#[actix::test]
async fn a_subscription_ends_with_its_actor_whatever_it_listens_to() {
    let larder = over(&Trial::default()).start().await.unwrap();
    let cache: Cache<u64> = larder.cache("numbers").unwrap();
    let desk = larder.desk().unwrap();
    for watching in [
        entry::Watching::Key("a".into()),
        entry::Watching::Prefix("a".into()),
        entry::Watching::All,
        entry::Watching::Latest("a".into()),
    ] {
        let (listener, mut heard) = listener();
        let what = format!("{watching:?}");
        let subscribed = desk.send(subscribe(&listener, watching)).await;
        subscribed.unwrap().unwrap();
        cache.set("a", 1).await.unwrap();
        assert!(heard.recv().await.is_some(), "{what}");
        assert_eq!(larder.stats().await.unwrap().watch.subscriptions, 1);
        drop(heard);
        // It stops at the next change; the one after that finds nobody.
        let ending = async {
            while larder.stats().await.unwrap().watch.subscriptions > 0 {
                cache.set("a", 1).await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        let ended = tokio::time::timeout(SOON, ending).await;
        assert!(ended.is_ok(), "{what}");
        assert!(!listener.connected());
    }
    larder.shutdown(SOON).await.unwrap();
}

#[actix::test]
async fn actors_that_have_gone_without_a_word_take_no_place_from_others_though_nothing_changes() {
    const SUBSCRIPTIONS_MAX: usize = 200;
    let mut limits = larder::Limits::default();
    limits.subscriptions_max = SUBSCRIPTIONS_MAX;
    let larder = over(&Trial::default()).limits(limits).start();
    let larder = larder.await.unwrap();
    let desk = larder.desk().unwrap();
    for _ in 0..2 * SUBSCRIPTIONS_MAX {
        let (listener, _heard) = listener();
        let watching = entry::Watching::Key("a".into());
        let subscribed = desk.send(subscribe(&listener, watching)).await;
        subscribed.unwrap().unwrap();
        listener.do_send(Leave);
        until("it has gone", || !listener.connected()).await;
    }
    larder.shutdown(SOON).await.unwrap();
}

#[actix::test]
async fn a_number_of_a_subscription_that_ended_with_its_desk_is_nobody_elses() {
    let clock = Clock::manual(START_MS);
    let builder = over(&Trial::default()).clock(clock.clone());
    let larder = builder.start().await.unwrap();
    let (listener, mut heard) = listener();
    let watching = || subscribe(&listener, entry::Watching::All);
    let old = larder.desk().unwrap().send(watching());
    let old = old.await.unwrap().unwrap();
    larder.stop_actor("desk");
    until_actor(&larder, "desk", ActorState::Down).await;
    clock.advance(Duration::from_secs(60));
    until_actor(&larder, "desk", ActorState::Up).await;
    let desk = larder.desk().unwrap();
    let new = desk.send(watching()).await.unwrap().unwrap();
    assert_ne!(old, new);
    desk.send(entry::Unsubscribe(old)).await.unwrap();
    let set = entry::Set::new("numbers", "a", 1u64);
    desk.send(set).await.unwrap().unwrap();
    assert!(matches!(
        heard.recv().await,
        Some(EntryEvent::Changed(change)) if change.key == "a"
    ));
    larder.shutdown(SOON).await.unwrap();
}

/// An actor that takes its time: it has handled an event when the test says so.
struct Slow {
    heard: UnboundedSender<u64>,
    leave: Arc<Semaphore>,
}

impl Actor for Slow {
    type Context = Context<Self>;
}

impl Handler<EntryEvent<u64>> for Slow {
    type Result = AtomicResponse<Self, ()>;

    fn handle(&mut self, event: EntryEvent<u64>, _: &mut Self::Context) -> Self::Result {
        if let EntryEvent::Changed(change) = event {
            let _ = self.heard.send(*change.new.unwrap());
        }
        let leave = Arc::clone(&self.leave);
        let handled = async move { leave.acquire().await.unwrap().forget() };
        AtomicResponse::new(Box::pin(handled.into_actor(self)))
    }
}

#[actix::test]
async fn an_actor_that_wants_only_the_latest_hears_of_nothing_between() {
    let larder = over(&Trial::default()).start().await.unwrap();
    let cache: Cache<u64> = larder.cache("numbers").unwrap();
    let (events, mut heard) = unbounded_channel();
    let leave = Arc::new(Semaphore::new(0));
    let slow = Slow {
        heard: events,
        leave: Arc::clone(&leave),
    };
    let desk = larder.desk().unwrap();
    let subscribe = entry::Subscribe {
        cache: "numbers".into(),
        watching: entry::Watching::Latest("a".into()),
        recipient: slow.start().recipient(),
    };
    let id = desk.send(subscribe).await.unwrap().unwrap();
    cache.set("a", 1).await.unwrap();
    assert_eq!(heard.recv().await, Some(1));
    for n in 2..6 {
        cache.set("a", n).await.unwrap();
        cache.set("b", n).await.unwrap();
    }
    while larder.stats().await.unwrap().watch.delivered < 5 {
        tokio::task::yield_now().await;
    }
    leave.add_permits(9);
    assert_eq!(heard.recv().await, Some(5));
    cache.set("a", 6).await.unwrap();
    assert_eq!(heard.recv().await, Some(6));
    desk.send(entry::Unsubscribe(id)).await.unwrap();
    assert_eq!(heard.recv().await, None, "nobody holds the actor any more");
    larder.shutdown(SOON).await.unwrap();
}
