//! What a shutdown promises to those who do not wait for it: nothing that was acknowledged is lost, and
//! nobody's slowness makes it late.
#![cfg(all(feature = "disk", feature = "test-util"))]
#![allow(clippy::unwrap_used)]

#[path = "support/mortal.rs"]
mod mortal;
#[path = "support/world.rs"]
mod world;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Barrier, Mutex};
use std::time::{Duration, Instant};

use larder::config::{CommitConfig, Limits};
use larder::messages::entry::Set;
use larder::{Durability, Error, Larder};
use mortal::Mortal;
use serde::{Deserialize, Serialize, Serializer};
use tokio::sync::Notify;
use world::{NEVER_BACK, SOON, bring_back, cache, ms, take_down, text, until};

async fn start(store: &Mortal) -> Larder {
    let mut limits = Limits::default();
    // Nobody waits for room, so that whoever is stopped is stopped on the way to the dirty set.
    limits.dirty_bytes_max = 1 << 30;
    let builder = Larder::builder().limits(limits);
    let builder = builder.driver_factory("store", CommitConfig::default(), store.factory());
    builder.start().await.unwrap()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().unwrap().block_on(future)
}

#[test]
fn what_is_set_during_a_shutdown_is_stored_or_refused() {
    // More threads than cores, so that some are stopped by the scheduler in the middle of a set.
    const THREADS: usize = 16;
    for round in 0..20 {
        let store = Mortal::default();
        let larder = block_on(start(&store));
        let begun = Barrier::new(THREADS + 1);
        let acknowledged = std::thread::scope(|scope| {
            let writer = |thread: usize| {
                let (users, begun) = (cache(&larder), &begun);
                move || {
                    begun.wait();
                    block_on(async {
                        for n in 0.. {
                            match users.set(&format!("{thread}-{n}"), text("1")).await {
                                Ok(_) => {}
                                Err(Error::Closed) => return n,
                                Err(error) => panic!("{error}"),
                            }
                        }
                        unreachable!()
                    })
                }
            };
            let writers = (0..THREADS).map(|thread| scope.spawn(writer(thread)));
            let writers: Vec<_> = writers.collect();
            begun.wait();
            block_on(larder.shutdown(SOON)).unwrap();
            let ends = writers.into_iter().map(|writer| writer.join().unwrap());
            ends.collect::<Vec<usize>>()
        });
        for (thread, count) in acknowledged.into_iter().enumerate() {
            let lost = (0..count).filter(|n| {
                store
                    .get(format!("users/{thread}-{n}").as_bytes())
                    .is_none()
            });
            let lost: Vec<_> = lost.collect();
            assert!(lost.is_empty(), "round {round}: {lost:?} of {count}");
        }
    }
}

#[test]
fn a_clear_during_a_shutdown_is_stored_or_refused() {
    const THREADS: usize = 16;
    for round in 0..20 {
        let store = Mortal::default();
        let larder = block_on(start(&store));
        let begun = Barrier::new(THREADS + 1);
        let newest = std::thread::scope(|scope| {
            let writers = (0..THREADS).map(|thread| {
                let (larder, begun) = (&larder, &begun);
                scope.spawn(move || {
                    let users = larder.cache::<String>(&format!("c{thread}")).unwrap();
                    begun.wait();
                    let mut last = 0;
                    block_on(async {
                        loop {
                            match users.clear().durability(Durability::Queued).await {
                                Ok(version) => last = version.get(),
                                Err(Error::Closed) => return last,
                                Err(error) => panic!("{error}"),
                            }
                        }
                    })
                })
            });
            let writers: Vec<_> = writers.collect();
            begun.wait();
            block_on(larder.shutdown(SOON)).unwrap();
            let ends = writers.into_iter().map(|writer| writer.join().unwrap());
            ends.collect::<Vec<u64>>()
        });
        for (thread, newest) in newest.into_iter().enumerate().filter(|(_, v)| *v > 0) {
            let fence = store
                .get(format!("\u{0}fences/c{thread}").as_bytes())
                .unwrap();
            let raised: [u8; 8] = fence[fence.len() - 8..].try_into().unwrap();
            let raised = u64::from_le_bytes(raised);
            assert!(
                raised >= newest,
                "round {round}: v{raised} is stored, v{newest} was promised"
            );
        }
    }
}

static ENCODING: Notify = Notify::const_new();
static LET_GO: AtomicBool = AtomicBool::new(false);
/// The thread that is held up, below `/proc`.
static HELD_UP: Mutex<Option<PathBuf>> = Mutex::new(None);

/// Takes as long to encode as the test likes.
#[derive(Deserialize)]
struct Slow;

impl Serialize for Slow {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        *HELD_UP.lock().unwrap() = std::fs::read_link("/proc/thread-self").ok();
        ENCODING.notify_one();
        while !LET_GO.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        serializer.serialize_unit()
    }
}

#[tokio::test]
async fn a_desk_that_is_held_up_by_a_hosts_code_does_not_hold_up_a_shutdown() {
    let larder = start(&Mortal::default()).await;
    let desk = larder.desk().unwrap();
    desk.do_send(Set::new("slow", "k", Slow));
    ENCODING.notified().await;
    let began = Instant::now();
    let ended = tokio::time::timeout(SOON, larder.shutdown(ms(20))).await;
    assert!(
        matches!(ended, Ok(Err(Error::DeadlineExceeded { .. }))),
        "{ended:?}"
    );
    // Its deadline and what it leaves the threads at least, with room for a machine that is busy.
    assert!(began.elapsed() < Duration::from_secs(5));
    LET_GO.store(true, Ordering::SeqCst);
    let thread = HELD_UP.lock().unwrap().clone().unwrap();
    let thread = Path::new("/proc").join(thread);
    until("its thread has ended", async || !thread.exists()).await;
}

#[tokio::test]
async fn what_a_store_that_is_down_must_not_show_any_more_is_not_said_to_be_stored() {
    let (store, written) = (Mortal::default(), Durability::Written);
    let mut limits = Limits::default();
    (limits.value_bytes_max, limits.dirty_bytes_max) = (40 << 10, 64 << 10);
    let builder = Larder::builder().limits(limits);
    let builder = builder
        .restart_limit(0, NEVER_BACK, NEVER_BACK)
        .restart_backoff(NEVER_BACK, NEVER_BACK);
    let builder = builder.driver_factory("store", CommitConfig::default(), store.factory());
    let larder = builder.start().await.unwrap();
    // As long below as it is here.
    let users = larder.cache_builder::<String>("users");
    let users = users.compression(larder::Compression::None).open().unwrap();
    let large = || "x".repeat(39 << 10);
    users.set("k", text("1")).durability(written).await.unwrap();
    take_down(&larder, "store").await;
    users.set("k", large()).await.unwrap();
    users.set("k", large()).await.unwrap();
    let stats = larder.stats().await.unwrap();
    assert_eq!((stats.dirty.slots, stats.memory.distrusted), (0, 1));
    let flushed = larder.flush(written).await;
    assert!(
        matches!(flushed, Err(Error::Unavailable { .. })),
        "{flushed:?}"
    );
    bring_back(&larder, "store").await;
    larder.flush(written).await.unwrap();
    assert_eq!(store.get(b"users/k"), None);
    larder.shutdown(SOON).await.unwrap();
}
