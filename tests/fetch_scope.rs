//! Fetches in a scope: the newest takes the place of the one before, and all end with the scope.
#![cfg(all(feature = "disk", feature = "test-util"))]
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "support/origin.rs"]
mod origin;
#[path = "support/world.rs"]
mod world;

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use larder::{Cache, Error, ErrorClass, FetchScope, Larder};
use origin::{Origin, fetch, found, larder, shown};
use tokio::task::JoinHandle;
use world::{SOON, ms, read, secs, text, until};

type Told = JoinHandle<Result<Option<String>, Error>>;

/// The newest of the scope, on a task of its own.
fn latest(scope: &FetchScope, users: &Cache<String>, origin: &Origin, key: &str) -> Told {
    tokio::spawn(scope.latest(asked(users, origin, key)))
}

/// One of the scope's beside others, on a task of its own.
fn beside(scope: &FetchScope, users: &Cache<String>, origin: &Origin, key: &str) -> Told {
    tokio::spawn(scope.run(asked(users, origin, key)))
}

fn asked(
    users: &Cache<String>,
    origin: &Origin,
    key: &str,
) -> impl Future<Output = Result<Option<String>, Error>> + Send + use<> {
    let (users, load, key) = (users.clone(), origin.load(), text(key));
    async move { shown(users.fetch(&key, load).await) }
}

fn is_pending(future: std::pin::Pin<&mut impl Future>) -> bool {
    let mut context = Context::from_waker(Waker::noop());
    matches!(future.poll(&mut context), Poll::Pending)
}

fn is_superseded<T>(answer: Result<T, Error>) {
    let error = answer.err().unwrap();
    assert!(matches!(error, Error::Superseded), "{error}");
    assert_eq!(
        (error.class(), error.is_retryable()),
        (ErrorClass::Business, false)
    );
}

/// What a task was told, in time.
async fn told(task: Told) -> Result<Option<String>, Error> {
    tokio::time::timeout(SOON, task).await.unwrap().unwrap()
}

async fn in_flight(larder: &Larder, loads: usize) {
    until("so many loads are in flight", async || {
        larder.stats().await.unwrap().fetch.in_flight == loads
    })
    .await;
}

#[tokio::test]
async fn a_newer_fetch_ends_the_older_one_and_its_load() {
    let (larder, users) = larder().await;
    let (origin, scope) = (Origin::shut(), larder.fetch_scope());
    let older = latest(&scope, &users, &origin, "c");
    origin.is_asked(1).await;
    let newer = latest(&scope, &users, &origin, "ca");
    is_superseded(told(older).await);
    origin.is_asked(2).await;
    in_flight(&larder, 1).await;
    // The only answer goes to the newer one: the loader of the older one is gone.
    origin.answer_one();
    assert_eq!(told(newer).await.unwrap(), found("loaded 2"));
    in_flight(&larder, 0).await;
    assert_eq!(read(&users, "c").await, None);
    assert_eq!(larder.stats().await.unwrap().fetch.failed, 0);
}

#[tokio::test]
async fn what_is_superseded_during_the_debounce_loads_nothing() {
    let (larder, users) = larder().await;
    let (origin, scope) = (Origin::open(), larder.fetch_scope());
    let scope = scope.debounce(secs(3_600));
    let mut typed = Vec::new();
    for key in ["c", "ca", "cat"] {
        let mut call = Box::pin(scope.latest(asked(&users, &origin, key)));
        assert!(is_pending(call.as_mut()), "it waits");
        typed.push(call);
    }
    // The same scope: what it ends does not depend on how long it lets them wait.
    let scope = scope.debounce(ms(1));
    let last = scope.latest(asked(&users, &origin, "cats"));
    assert_eq!(last.await.unwrap(), found("loaded 1"));
    for call in typed {
        is_superseded(call.await);
    }
    let fetched = larder.stats().await.unwrap().fetch;
    assert_eq!((origin.asked(), fetched.loads), (1, 1));
    assert_eq!(read(&users, "cats").await, found("loaded 1"));
}

#[tokio::test]
async fn dropping_the_scope_ends_all_that_runs_in_it_and_cancel_leaves_it_usable() {
    for is_dropped in [true, false] {
        let (larder, users) = larder().await;
        let (origin, scope) = (Origin::shut(), larder.fetch_scope());
        let running = [
            beside(&scope, &users, &origin, "a"),
            beside(&scope, &users, &origin, "b"),
            latest(&scope, &users, &origin, "c"),
        ];
        origin.is_asked(3).await;
        let scope = match is_dropped {
            true => {
                drop(scope);
                None
            }
            false => {
                scope.cancel();
                Some(scope)
            }
        };
        for task in running {
            is_superseded(told(task).await);
        }
        in_flight(&larder, 0).await;
        origin.answer_one();
        if let Some(scope) = scope {
            let again = latest(&scope, &users, &origin, "c");
            assert_eq!(told(again).await.unwrap(), found("loaded 4"));
        }
    }
}

#[tokio::test]
async fn what_runs_beside_is_not_superseded() {
    let (larder, users) = larder().await;
    let (origin, scope) = (Origin::shut(), larder.fetch_scope());
    let newest = latest(&scope, &users, &origin, "a");
    let besides = ["b", "c"].map(|key| beside(&scope, &users, &origin, key));
    origin.is_asked(3).await;
    (0..3).for_each(|_| origin.answer_one());
    assert!(told(newest).await.unwrap().is_some());
    for task in besides {
        assert!(told(task).await.unwrap().is_some());
    }
    let beside = beside(&scope, &users, &origin, "d");
    origin.is_asked(4).await;
    let newest = latest(&scope, &users, &origin, "e");
    origin.is_asked(5).await;
    (0..2).for_each(|_| origin.answer_one());
    assert!(told(beside).await.unwrap().is_some());
    assert!(told(newest).await.unwrap().is_some());
}

#[tokio::test]
async fn a_load_that_others_wait_for_or_that_is_kept_warm_goes_on() {
    let (larder, users) = larder().await;
    let (origin, scope) = (Origin::shut(), larder.fetch_scope());
    let ends = latest(&scope, &users, &origin, "k");
    origin.is_asked(1).await;
    let other = fetch(&users, &origin);
    until("both wait", async || {
        larder.stats().await.unwrap().fetch.coalesced == 1
    })
    .await;
    let (cache, load) = (users.clone(), origin.load());
    let warm = async move { shown(cache.fetch("warm", load).keep_warm().await) };
    let warm = tokio::spawn(scope.run(warm));
    origin.is_asked(2).await;
    drop(scope);
    is_superseded(told(ends).await);
    is_superseded(told(warm).await);
    origin.answer_one();
    assert_eq!(told(other).await.unwrap(), found("loaded 1"));
    origin.answer_one();
    until("it is kept", async || {
        read(&users, "warm").await == found("loaded 2")
    })
    .await;
    assert_eq!(origin.asked(), 2);
}

#[tokio::test]
async fn a_newer_call_wins_over_an_answer_that_is_ready() {
    let (larder, users) = larder().await;
    let scope = larder.fetch_scope();
    users.set("a", text("at hand")).await.unwrap();
    users.set("b", text("at hand")).await.unwrap();
    let nothing = |_| async { Ok::<_, Error>(None::<String>) };
    // Borrowed, as in a handler that awaits it where it is made.
    let (key, newer) = (text("a"), text("b"));
    let older = scope.latest(users.fetch(&key, nothing));
    let newer = scope.latest(users.fetch(&newer, nothing));
    is_superseded(older.await);
    assert_eq!(shown(newer.await).unwrap(), found("at hand"));
    // Reads are calls, too.
    let read = scope.run(users.get("a")).await;
    assert_eq!(shown(read).unwrap(), found("at hand"));
}

#[tokio::test]
async fn what_waits_for_its_debounce_when_larder_ends_is_told_so() {
    let (larder, users) = larder().await;
    let (origin, scope) = (Origin::open(), larder.fetch_scope().debounce(secs(3_600)));
    let mut waits = pin!(scope.latest(asked(&users, &origin, "k")));
    assert!(is_pending(waits.as_mut()));
    larder.shutdown(SOON).await.unwrap();
    assert!(matches!(waits.await, Err(Error::Closed)));
    let late = scope.latest(asked(&users, &origin, "k")).await;
    assert!(matches!(late, Err(Error::Closed)));
    assert_eq!(origin.asked(), 0);
}

#[tokio::test]
async fn a_scope_does_not_keep_larder_alive() {
    let (larder, users) = larder().await;
    let scope = larder.fetch_scope().debounce(secs(3_600));
    let waits = scope.latest(async { Ok(()) });
    let waits = tokio::spawn(waits);
    drop((larder, users));
    assert!(matches!(waits.await.unwrap(), Err(Error::Closed)));
}
