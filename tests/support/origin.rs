//! A source that tests load from, and larders before it.

#![allow(
    clippy::unwrap_used,
    dead_code,
    reason = "helpers end in a panic, and not every test file uses each of them"
)]

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use larder::{Cache, Error, Larder, LoadContext, LoadError, Loaded};
use tokio::sync::Semaphore;

use super::world::{World, cache, secs, text, until};

/// A source that answers when it is let to, each time with another value.
#[derive(Clone)]
pub struct Origin {
    pub asked: Arc<AtomicUsize>,
    doors: Arc<Semaphore>,
}

impl Origin {
    pub fn shut() -> Self {
        Self {
            asked: Arc::default(),
            doors: Arc::new(Semaphore::new(0)),
        }
    }

    pub fn open() -> Self {
        let origin = Self::shut();
        origin.doors.add_permits(1_000);
        origin
    }

    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    pub async fn is_asked(&self, times: usize) {
        until("the source is asked", async || self.asked() >= times).await;
    }

    pub fn answer_one(&self) {
        self.doors.add_permits(1);
    }

    pub fn load(&self) -> impl Fn(LoadContext<String>) -> Answer + Clone + Send + Sync + use<> {
        self.load_as(Ok)
    }

    /// What it makes of its answers, which are numbered.
    pub fn load_as<A, M>(
        &self,
        make: M,
    ) -> impl Fn(LoadContext<String>) -> Answer + Clone + Send + Sync + use<A, M>
    where
        A: Into<Loaded<String>> + 'static,
        M: Fn(String) -> Result<A, LoadError> + Clone + Send + Sync + 'static,
    {
        let origin = self.clone();
        move |_| {
            let nth = origin.asked.fetch_add(1, Ordering::SeqCst) + 1;
            let (doors, make) = (Arc::clone(&origin.doors), make.clone());
            Box::pin(async move {
                doors.acquire().await.unwrap().forget();
                make(format!("loaded {nth}")).map(Into::into)
            })
        }
    }
}

/// One answer of a loader.
pub type Answer = std::pin::Pin<Box<dyn Future<Output = Result<Loaded<String>, LoadError>> + Send>>;

pub async fn larder() -> (Larder, Cache<String>) {
    let larder = World::memory().start().await;
    let users = cache(&larder);
    (larder, users)
}

/// A fetch on a task of its own.
pub fn fetch(
    users: &Cache<String>,
    origin: &Origin,
) -> tokio::task::JoinHandle<Result<Option<String>, Error>> {
    let (users, load) = (users.clone(), origin.load());
    tokio::spawn(async move { shown(users.fetch("k", load).await) })
}

pub fn shown(found: Result<Option<larder::Entry<String>>, Error>) -> Result<Option<String>, Error> {
    found.map(|entry| entry.map(|entry| String::clone(&entry)))
}

pub fn found(value: &str) -> Option<String> {
    Some(text(value))
}

/// A larder on a manual clock with an entry that expires after a second, and is kept as a fallback.
pub async fn expiring(keep: Duration) -> (World, Larder, Cache<String>) {
    let world = World::memory();
    let larder = world.start().await;
    let users = cache(&larder);
    let set = users.set("k", text("old")).ttl(secs(1)).stale_for(keep);
    set.await.unwrap();
    (world, larder, users)
}
