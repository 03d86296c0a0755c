//! Larders over every kind of tier, and what tests do with them.

#![allow(
    clippy::unwrap_used,
    dead_code,
    reason = "helpers end in a panic, and not every test file uses each of them"
)]

use std::time::Duration;

use larder::clock::Clock;
use larder::config::CommitConfig;
use larder::drivers::Driver;
use larder::drivers::disk::{DiskConfig, DiskDriver};
use larder::drivers::map::MapStore;
use larder::{ActorState, Builder, Cache, Durability, Larder};
use tempfile::TempDir;

/// A guard only: nothing here takes this long.
pub const SOON: Duration = Duration::from_secs(20);
/// When manual clocks begin.
pub const BEGIN_MS: u64 = 1_700_000_000_000;
/// No actor comes back within a test: as the rest after a restart too many. As a wait of the backoff it is any part of
/// that, from 1 ms on.
pub const NEVER_BACK: Duration = Duration::from_secs(3_600);

/// What lies below memory, and outlives a larder.
pub struct World {
    pub name: &'static str,
    dir: Option<TempDir>,
    map: Option<MapStore>,
    is_sealed: bool,
    pub clock: Clock,
}

impl World {
    fn new(name: &'static str, disk: bool, map: bool) -> Self {
        Self {
            name,
            dir: disk.then(|| tempfile::tempdir().unwrap()),
            map: map.then(MapStore::new),
            is_sealed: false,
            clock: Clock::manual(BEGIN_MS),
        }
    }

    pub fn memory() -> Self {
        Self::new("memory", false, false)
    }

    pub fn disk() -> Self {
        Self::new("memory and disk", true, false)
    }

    /// With a disk that is encrypted.
    #[cfg(feature = "secure")]
    pub fn sealed() -> Self {
        Self {
            is_sealed: true,
            ..Self::new("memory and an encrypted disk", true, false)
        }
    }

    pub fn map() -> Self {
        Self::new("memory and a map", false, true)
    }

    pub fn both() -> Self {
        Self::new("memory, disk and a map", true, true)
    }

    /// Every kind.
    pub fn all() -> [Self; 3] {
        [Self::memory(), Self::disk(), Self::both()]
    }

    /// Those that remember beyond a restart.
    pub fn stored() -> [Self; 3] {
        [Self::disk(), Self::map(), Self::both()]
    }

    pub fn builder(&self) -> Builder {
        let mut builder = Larder::builder().clock(self.clock.clone());
        if let Some(dir) = &self.dir {
            builder = builder.disk_with(dir.path(), small());
            #[cfg(feature = "secure")]
            if self.is_sealed {
                let key = larder::secret::MasterKey::from_bytes([1; 32]).unwrap();
                builder = builder.encrypted(key);
            }
        }
        if let Some(map) = &self.map {
            builder = builder.driver_factory("map", CommitConfig::default(), map.factory());
        }
        builder
    }

    pub async fn start(&self) -> Larder {
        self.builder().start().await.unwrap()
    }

    /// As `start`, after a shutdown that was given up: its threads may hold the directory for a while longer.
    pub async fn start_when_free(&self) -> Larder {
        let began = std::time::Instant::now();
        loop {
            match self.builder().start().await {
                Ok(larder) => return larder,
                Err(larder::Error::Open { .. }) if began.elapsed() < SOON => {
                    tokio::task::yield_now().await;
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// What lies below, first to last, without a larder over it.
    pub fn below(&self) -> Vec<Box<dyn Driver>> {
        let disk = self.dir.as_ref().map(|dir| {
            let opened = DiskDriver::open(dir.path(), &small()).unwrap();
            Box::new(opened) as Box<dyn Driver>
        });
        let map = self.map.as_ref().map(MapStore::open);
        let map = map.map(|map| Box::new(map) as Box<dyn Driver>);
        disk.into_iter().chain(map).collect()
    }

    pub fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    /// Everything stored and forgotten by memory: what is there now is below only.
    pub async fn restart(&self, larder: Larder) -> Larder {
        larder.shutdown(SOON).await.unwrap();
        self.start().await
    }
}

/// A disk store for a test.
fn small() -> DiskConfig {
    DiskConfig {
        journal_bytes_max: 64 << 20,
        worker_threads: 1,
        ..DiskConfig::default()
    }
}

pub fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub fn text(text: &str) -> String {
    text.to_owned()
}

pub fn cache(larder: &Larder) -> Cache<String> {
    larder.cache("users").unwrap()
}

/// What a plain read shows.
pub async fn read(cache: &Cache<String>, key: &str) -> Option<String> {
    cache
        .get(key)
        .await
        .unwrap()
        .map(|entry| String::clone(&entry))
}

/// Waits for something to become true.
pub async fn until(what: &str, is: impl AsyncFn() -> bool) {
    let waiting = async {
        while !is().await {
            tokio::task::yield_now().await;
        }
    };
    assert!(tokio::time::timeout(SOON, waiting).await.is_ok(), "{what}");
}

/// Stops a driver and waits until it is down. Start it with a long `restart_backoff` to keep it so.
pub async fn take_down(larder: &Larder, driver: &str) {
    larder.stop_actor(driver);
    until("the driver is down", async || {
        let actors = larder.actors();
        let down = |a: &larder::ActorHealth| a.name == driver && a.state == ActorState::Down;
        actors.iter().any(down)
    })
    .await;
}

/// Launches a driver again and waits until it is up.
pub async fn bring_back(larder: &Larder, driver: &str) {
    larder.restart(driver).unwrap();
    until("the driver is up", async || {
        let actors = larder.actors();
        let up = |a: &larder::ActorHealth| a.name == driver && a.state == ActorState::Up;
        actors.iter().any(up)
    })
    .await;
}

/// Stores what is dirty.
pub async fn flush(larder: &Larder) {
    larder.flush(Durability::Written).await.unwrap();
}
