//! Starting from any host and ending cleanly: on every runtime and on none, alone and beside others.
#![cfg(all(feature = "disk", feature = "test-util"))]
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

#[path = "support/gated.rs"]
mod gated;
#[path = "support/world.rs"]
mod world;

use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use gated::Gated;
use larder::config::{CommitConfig, Limits};
use larder::drivers::map::MapStore;
use larder::{Cache, Durability, Error, Larder};
use tokio::sync::Mutex;
use world::{SOON, cache, flush, ms, read, take_down, text, until};

/// The tests here look at the threads of their process, so they run one at a time.
static ALONE: Mutex<()> = Mutex::const_new(());

/// The threads of this process and what they are called.
fn threads() -> BTreeMap<String, String> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let task = |task: std::io::Result<std::fs::DirEntry>| {
        let path = task.ok()?.path();
        let name = std::fs::read_to_string(path.join("comm")).ok()?;
        let id = path.file_name()?.to_str()?.to_owned();
        Some((id, name.trim().to_owned()))
    };
    tasks.filter_map(task).collect()
}

/// The threads that larders of this process run on.
fn larder_threads() -> Vec<String> {
    let ours = ["larder", "actix-rt", "fjall"];
    let all = threads().into_values();
    all.filter(|name| ours.iter().any(|our| name.starts_with(our)))
        .collect()
}

async fn all_gone() {
    let began = std::time::Instant::now();
    while !larder_threads().is_empty() {
        let left = larder_threads();
        assert!(began.elapsed() < SOON, "these have not ended: {left:?}");
        tokio::task::yield_now().await;
    }
}

/// What a host does all day.
async fn work(larder: &Larder) {
    let users = cache(larder);
    let version = users
        .set("k", text("1"))
        .durability(Durability::Written)
        .await
        .unwrap();
    users
        .set("low", text("1"))
        .drivers(["disk"])
        .durability(Durability::Synced)
        .await
        .unwrap();
    assert_eq!(
        read(&users, "low").await,
        Some(text("1")),
        "read from the disk"
    );
    assert!(users.set("k", text("2")).if_absent().await.is_err());
    users.set("k", text("2")).if_version(version).await.unwrap();
    let mut changes = users.watch("k").await.unwrap();
    users
        .update("k", |old| format!("{}!", old.unwrap()))
        .await
        .unwrap();
    let change = futures_util::StreamExt::next(&mut changes).await;
    assert!(change.is_some());
    assert_eq!(read(&users, "k").await, Some(text("2!")));
    assert!(users.get("none").deadline(ms(50)).await.unwrap().is_none());
    larder.flush(Durability::Synced).await.unwrap();
    assert_eq!(larder.stats().await.unwrap().drivers.len(), 1);
}

/// A whole life.
async fn live(dir: &Path) {
    for _ in 0..2 {
        let larder = Larder::builder().disk(dir).start().await.unwrap();
        work(&larder).await;
        larder.shutdown(SOON).await.unwrap();
    }
}

#[actix_web::test]
async fn it_lives_in_an_actix_host() {
    let _alone = ALONE.lock().await;
    let dir = tempfile::tempdir().unwrap();
    live(dir.path()).await;
    all_gone_but_the_hosts().await;
}

/// As `all_gone`, in a host that has actix threads of its own.
async fn all_gone_but_the_hosts() {
    until("every thread has ended", async || {
        larder_threads()
            .iter()
            .all(|name| !name.starts_with("larder"))
    })
    .await;
}

#[test]
fn it_lives_in_an_actix_system() {
    let _alone = ALONE.blocking_lock();
    let dir = tempfile::tempdir().unwrap();
    actix::System::new().block_on(live(dir.path()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_lives_in_multi_thread_tokio() {
    let _alone = ALONE.lock().await;
    let dir = tempfile::tempdir().unwrap();
    live(dir.path()).await;
    all_gone().await;
}

#[tokio::test]
async fn it_lives_in_current_thread_tokio() {
    let _alone = ALONE.lock().await;
    let dir = tempfile::tempdir().unwrap();
    live(dir.path()).await;
    all_gone().await;
}

#[test]
fn it_lives_in_a_plain_main() {
    let _alone = ALONE.blocking_lock();
    let dir = tempfile::tempdir().unwrap();
    let larder = Larder::builder().disk(dir.path()).start_blocking().unwrap();
    larder.block_on(work(&larder)).unwrap();
    larder.block_on(larder.shutdown(SOON)).unwrap().unwrap();
}

/// An executor that knows nothing of tokio.
fn own_executor<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let (mut context, mut future) = (Context::from_waker(&waker), pin!(future));
    loop {
        if let Poll::Ready(done) = future.as_mut().poll(&mut context) {
            return done;
        }
        std::thread::park();
    }
}

#[test]
fn it_lives_under_an_executor_that_is_not_tokios() {
    let _alone = ALONE.blocking_lock();
    let dir = tempfile::tempdir().unwrap();
    own_executor(live(dir.path()));
}

#[tokio::test]
async fn to_block_within_a_runtime_is_an_error_and_no_panic() {
    let _alone = ALONE.lock().await;
    let blocked = Larder::builder().start_blocking().map(drop);
    assert!(matches!(
        blocked,
        Err(Error::Invalid {
            field: "block_on",
            ..
        })
    ));
    let larder = Larder::builder().start().await.unwrap();
    let blocked = larder.block_on(async {});
    assert!(matches!(blocked, Err(Error::Invalid { .. })));
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn several_larders_do_not_disturb_each_other() {
    let _alone = ALONE.lock().await;
    let dirs = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let mut larders = Vec::new();
    for (nth, dir) in dirs.iter().enumerate() {
        let long = world::NEVER_BACK;
        let builder = Larder::builder().restart_limit(0, long, long);
        let larder = builder.disk(dir.path()).start().await.unwrap();
        cache(&larder).set("k", nth.to_string()).await.unwrap();
        larders.push(larder);
    }
    take_down(&larders[0], "disk").await;
    larders.remove(1).shutdown(SOON).await.unwrap();
    let third = &larders[1];
    assert_eq!(read(&cache(third), "k").await, Some(text("2")));
    assert!(third.actors().iter().all(|actor| actor.generation == 1));
    work(third).await;
    assert_eq!(read(&cache(&larders[0]), "k").await, Some(text("0")));
    world::bring_back(&larders[0], "disk").await;
    for larder in larders {
        larder.shutdown(SOON).await.unwrap();
    }
    all_gone().await;
}

async fn behind(gate: &Gated) -> Larder {
    let mut limits = Limits::default();
    (limits.dirty_bytes_max, limits.value_bytes_max) = (32 << 10, 1 << 10);
    let builder = Larder::builder().limits(limits);
    let builder = builder.driver_factory("map", CommitConfig::default(), gate.factory());
    builder.start().await.unwrap()
}

#[tokio::test]
async fn a_shutdown_stores_what_is_dirty_and_ends_every_thread() {
    let _alone = ALONE.lock().await;
    let gate = Gated::default();
    let larder = behind(&gate).await;
    assert!(
        larder_threads()
            .iter()
            .any(|name| name.starts_with("larder"))
    );
    for n in 0..50 {
        cache(&larder).set(&n.to_string(), text("1")).await.unwrap();
    }
    let other = larder.clone();
    larder.shutdown(SOON).await.unwrap();
    all_gone().await;
    assert!(
        matches!(larder.shutdown(SOON).await, Err(Error::Closed)),
        "once is enough"
    );
    assert!(matches!(other.shutdown(SOON).await, Err(Error::Closed)));
    let larder = behind(&gate).await;
    for n in 0..50 {
        assert!(read(&cache(&larder), &n.to_string()).await.is_some());
    }
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn a_shutdown_with_a_driver_that_hangs_ends_at_its_deadline() {
    let _alone = ALONE.lock().await;
    let gate = Gated::default();
    let larder = behind(&gate).await;
    gate.shut_commits();
    cache(&larder).set("k", text("1")).await.unwrap();
    let ended = tokio::time::timeout(SOON, larder.shutdown(ms(20))).await;
    assert!(
        matches!(ended, Ok(Err(Error::DeadlineExceeded { .. }))),
        "{ended:?}"
    );
    gate.open();
    all_gone().await;
}

#[tokio::test]
async fn a_shutdown_with_a_read_that_hangs_stores_everything_and_does_not_wait_for_it() {
    let _alone = ALONE.lock().await;
    let gate = Gated::default();
    let larder = behind(&gate).await;
    let users = cache(&larder);
    users.set("k", text("1")).await.unwrap();
    gate.shut_reads();
    let reading = tokio::spawn(async move { users.get("below").await });
    until("the read is with the driver", async || gate.waiting() == 1).await;
    // Enough to store it, and then all of it is waited for the read.
    let ended = tokio::time::timeout(SOON, larder.shutdown(ms(1_000))).await;
    assert!(
        matches!(ended, Ok(Err(Error::DeadlineExceeded { after })) if after == ms(1_000)),
        "{ended:?}"
    );
    assert!(matches!(reading.await.unwrap(), Err(Error::Closed)));
    gate.open();
    all_gone().await;
    let larder = behind(&gate).await;
    assert_eq!(read(&cache(&larder), "k").await, Some(text("1")));
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn a_shutdown_while_a_driver_is_down_says_what_was_not_stored() {
    let _alone = ALONE.lock().await;
    let (gate, long) = (Gated::default(), world::NEVER_BACK);
    let builder = Larder::builder()
        .restart_limit(0, long, long)
        .restart_backoff(long, long);
    let builder = builder.driver_factory("map", CommitConfig::default(), gate.factory());
    let larder = builder.start().await.unwrap();
    take_down(&larder, "map").await;
    cache(&larder).set("k", text("1")).await.unwrap();
    let ended = larder.shutdown(world::ms(2_000)).await;
    assert!(matches!(ended, Err(Error::Unavailable { .. })), "{ended:?}");
    all_gone().await;
}

#[tokio::test]
async fn the_last_handle_that_is_dropped_stores_what_is_dirty_and_ends_the_threads() {
    let _alone = ALONE.lock().await;
    for cache_last in [false, true] {
        let gate = Gated::default();
        let larder = behind(&gate).await;
        let users = cache(&larder);
        gate.shut_commits();
        users.set("k", text("1")).await.unwrap();
        if cache_last {
            drop(larder);
            assert_eq!(
                read(&users, "k").await,
                Some(text("1")),
                "a cache keeps it alive"
            );
            assert_eq!(read(&users, "below").await, None);
            drop(users);
        } else {
            drop(users);
            drop(larder);
        }
        assert!(!larder_threads().is_empty());
        gate.open();
        all_gone().await;
        let larder = behind(&gate).await;
        assert_eq!(
            read(&cache(&larder), "k").await,
            Some(text("1")),
            "{cache_last}"
        );
        larder.shutdown(SOON).await.unwrap();
    }
    all_gone().await;
}

#[tokio::test]
async fn a_cache_that_outlives_its_larder_has_its_drivers_restarted() {
    let _alone = ALONE.lock().await;
    let gate = Gated::default();
    let larder = behind(&gate).await;
    let users = cache(&larder);
    users.set("k", text("1")).drivers(["map"]).await.unwrap();
    flush(&larder).await;
    larder.stop_actor("map");
    drop(larder);
    until("the driver is back", async || {
        read(&users, "k").await.is_some()
    })
    .await;
    drop(users);
    all_gone().await;
}

#[tokio::test]
async fn a_shutdown_that_is_dropped_goes_on_by_itself() {
    let _alone = ALONE.lock().await;
    let gate = Gated::default();
    let larder = behind(&gate).await;
    let users = cache(&larder);
    gate.shut_commits();
    users.set("k", text("1")).await.unwrap();
    {
        let mut shutdown = Box::pin(larder.shutdown(SOON));
        let mut context = Context::from_waker(Waker::noop());
        assert!(shutdown.as_mut().poll(&mut context).is_pending());
    }
    assert!(
        matches!(users.get("k").await, Err(Error::Closed)),
        "new calls are refused"
    );
    gate.open();
    all_gone().await;
    let larder = behind(&gate).await;
    assert_eq!(read(&cache(&larder), "k").await, Some(text("1")));
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn a_start_that_is_dropped_ends_what_was_started() {
    let _alone = ALONE.lock().await;
    let dir = tempfile::tempdir().unwrap();
    for polls in 1..20 {
        let mut start = Box::pin(Larder::builder().disk(dir.path()).start());
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..polls {
            if start.as_mut().poll(&mut context).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(start);
        all_gone().await;
    }
    let larder = Larder::builder().disk(dir.path()).start().await.unwrap();
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn a_start_that_is_dropped_while_a_driver_opens_ends_when_it_has_opened() {
    let _alone = ALONE.lock().await;
    let (opening, mut is_opening) = tokio::sync::mpsc::unbounded_channel();
    let (go_on, may_go_on) = std::sync::mpsc::channel::<()>();
    let may_go_on = std::sync::Mutex::new(may_go_on);
    let store = MapStore::new();
    let builder = Larder::builder().driver("slow", move || {
        opening.send(()).unwrap();
        // An error is the other end's being dropped, which is what is waited for.
        let _ = may_go_on.lock().unwrap().recv();
        Ok(store.open())
    });
    tokio::select! {
        started = builder.start() => panic!("{:?}", started.map(drop)),
        _ = is_opening.recv() => {}
    }
    assert!(
        larder_threads()
            .iter()
            .any(|name| name.starts_with("larder-slow"))
    );
    drop(go_on);
    all_gone().await;
}

/// One call of every kind that waits.
async fn call(users: Cache<String>, n: usize) -> Result<(), Error> {
    let key = format!("k{n}");
    match n % 8 {
        0 => users.get(&key).await.map(drop),
        1 => users.set(&key, "x".repeat(900)).await.map(drop),
        2 => users
            .set(&key, text("1"))
            .durability(Durability::Written)
            .await
            .map(drop),
        3 => users.set(&key, text("1")).if_absent().await.map(drop),
        4 => users
            .remove(&key)
            .durability(Durability::Synced)
            .await
            .map(drop),
        5 => users.update(&key, |_| text("1")).await.map(drop),
        6 => users
            .clear()
            .durability(Durability::Written)
            .await
            .map(drop),
        _ => users.scan("").await.map(drop),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_shutdown_answers_a_thousand_calls_in_flight() {
    let _alone = ALONE.lock().await;
    for _ in 0..3 {
        let gate = Gated::default();
        let larder = behind(&gate).await;
        gate.shut_commits();
        gate.shut_reads();
        let calls = (0..1_000).map(|n| tokio::spawn(call(cache(&larder), n)));
        let calls: Vec<_> = calls.collect();
        until("reads and a commit hang", async || gate.waiting() >= 9).await;
        let ended = larder.shutdown(ms(50)).await;
        assert!(
            matches!(ended, Err(Error::DeadlineExceeded { .. })),
            "{ended:?}"
        );
        let answers = tokio::time::timeout(SOON, futures_util::future::join_all(calls)).await;
        let answers = answers.unwrap().into_iter().map(Result::unwrap);
        let refused = |answer: &Result<(), Error>| {
            assert!(
                matches!(
                    answer,
                    Ok(()) | Err(Error::Closed | Error::Unavailable { .. })
                ),
                "{answer:?}"
            );
            answer.is_err()
        };
        assert!(answers.filter(refused).count() > 500);
        gate.open();
        all_gone().await;
    }
}

#[tokio::test]
async fn a_driver_that_never_opens_fails_the_start_by_its_limit() {
    let _alone = ALONE.lock().await;
    let (let_go, held) = std::sync::mpsc::channel::<()>();
    let held = std::sync::Mutex::new(held);
    let builder = Larder::builder().open_max(ms(20)).driver("stuck", move || {
        let _ = held.lock().unwrap().recv();
        Err::<larder::drivers::map::MapDriver, _>(larder::drivers::Failure::fatal("let go"))
    });
    let started = tokio::time::timeout(SOON, builder.start()).await.unwrap();
    let Err(Error::Open { driver, reason }) = started.map(drop) else {
        panic!("it started");
    };
    assert_eq!(&*driver, "stuck");
    assert!(
        reason.contains("within 20 ms") && reason.contains("open_ms_max"),
        "{reason}"
    );
    let_go.send(()).unwrap();
    all_gone().await;
}
