//! What went well is silent: a larder that is used and shut down logs nothing at WARN or above.
#![cfg(all(feature = "disk", feature = "test-util"))]
#![allow(clippy::unwrap_used)]

#[path = "support/world.rs"]
mod world;

use std::io::Write;
use std::sync::{Arc, Mutex};

use larder::messages::entry::Set;
use larder::{Durability, Larder};
use tracing_subscriber::fmt::MakeWriter;
use world::{SOON, World, cache, ms, text};

/// What was logged, by any thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }

    fn loud(&self) -> Vec<String> {
        let text = self.text();
        let loud = |line: &&str| line.contains("WARN") || line.contains("ERROR");
        text.lines().filter(loud).map(str::to_owned).collect()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// A bit of everything, some of it still under way when it returns.
async fn used(larder: &Larder) {
    let users = cache(larder);
    let mut changes = users.watch_all().await.unwrap();
    let latest = users.watch_latest("3").await.unwrap();
    let items = (0..500).map(|n| (n.to_string(), text("1")));
    users.set_many(items).tag("t").await.unwrap();
    users.set("short", text("1")).ttl(ms(1)).await.unwrap();
    let sets = larder.desk().unwrap();
    let set = Set::<String>::new("users", "by message", text("1"));
    sets.send(set).await.unwrap().unwrap();
    users.remove("3").await.unwrap();
    users.remove_tag("t").await.unwrap();
    users.scan("").await.unwrap();
    users.get_many(["1", "2", "short"]).await.unwrap();
    changes.next().await.unwrap();
    larder.flush(Durability::Synced).await.unwrap();
    users.set("4", text("2")).await.unwrap();
    // Both outlive the larder, and a reader and a writer do so in the middle of their work.
    tokio::spawn(async move { while changes.next().await.is_some() {} });
    tokio::spawn(async move {
        let _latest = latest;
        while users.set("5", text("1")).await.is_ok() && users.get("6").await.is_ok() {
            tokio::task::yield_now().await;
        }
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clean_shutdown_logs_no_warning_and_a_forgotten_one_logs_one() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_writer(log.clone());
    let subscriber = subscriber.with_max_level(tracing_subscriber::filter::LevelFilter::INFO);
    tracing::subscriber::set_global_default(subscriber.finish()).unwrap();
    for _ in 0..5 {
        for world in World::all().into_iter().chain([World::map()]) {
            // New, then on what the first one has left, then closed as soon as it is up.
            for is_used in [true, true, false] {
                let larder = world.start().await;
                if is_used {
                    used(&larder).await;
                }
                larder.shutdown(SOON).await.unwrap();
            }
        }
    }
    assert!(log.text().contains("INFO"), "it is listened to");
    let loud = log.loud();
    assert!(loud.is_empty(), "{loud:#?}");

    // One that is forgotten says what to do, once.
    drop(World::memory().start().await);
    let loud = log.loud();
    assert_eq!(loud.len(), 1, "{loud:#?}");
    assert!(
        loud.concat().contains("await `Larder::shutdown`"),
        "{loud:?}"
    );
}
