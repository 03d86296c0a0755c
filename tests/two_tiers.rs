//! Two drivers below memory: what is promised is true of each, so that no crash brings back what one of
//! them had not heard of.
#![cfg(all(feature = "disk", feature = "test-util"))]
#![allow(clippy::unwrap_used)]

#[path = "support/mortal.rs"]
mod mortal;
#[path = "support/sluice.rs"]
mod sluice;
#[path = "support/world.rs"]
mod world;

use larder::config::CommitConfig;
use larder::drivers::Factory;
use larder::{Cache, Durability, Error, Larder};
use mortal::Mortal;
use sluice::Sluice;
use world::{NEVER_BACK, SOON, cache, ms, read, take_down, text};

/// A fast store over a slow one.
#[derive(Default)]
struct Stores {
    upper: Mortal,
    lower: Mortal,
    sluice: Sluice,
}

impl Stores {
    async fn start(&self) -> Larder {
        start(
            self.upper.factory(),
            self.sluice.factory(self.lower.factory()),
        )
        .await
    }

    /// What the next process finds after the loss of power.
    async fn restart(&self) -> Larder {
        let (upper, lower) = (
            self.upper.after_a_power_loss(),
            self.lower.after_a_power_loss(),
        );
        start(upper.factory(), lower.factory()).await
    }
}

async fn start(upper: Factory, lower: Factory) -> Larder {
    Larder::builder()
        .restart_limit(0, NEVER_BACK, NEVER_BACK)
        .restart_backoff(NEVER_BACK, NEVER_BACK)
        .driver_factory("upper", CommitConfig::default(), upper)
        .driver_factory("lower", CommitConfig::default(), lower)
        .start()
        .await
        .unwrap()
}

#[tokio::test]
async fn a_removal_that_only_one_of_them_has_heard_of_is_not_promised() {
    let stores = Stores::default();
    let larder = stores.start().await;
    let users = cache(&larder);
    let synced = Durability::Synced;
    users.set("k", text("1")).durability(synced).await.unwrap();
    stores.sluice.hold_commits();
    let removed = users.remove("k").durability(synced).deadline(ms(20)).await;
    assert!(
        matches!(removed, Err(Error::DeadlineExceeded { .. })),
        "{removed:?}"
    );
    assert_eq!(read(&users, "k").await, None, "in force all the same");
    stores.sluice.release_commits();
    users.remove("k").durability(synced).await.unwrap();
    let next = stores.restart().await;
    assert_eq!(read(&cache(&next), "k").await, None);
    next.shutdown(SOON).await.unwrap();
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn a_value_that_was_promised_hides_the_older_one_whichever_of_them_answers() {
    let stores = Stores::default();
    let larder = stores.start().await;
    let users = cache(&larder);
    let synced = Durability::Synced;
    users.set("k", text("1")).durability(synced).await.unwrap();
    stores.sluice.hold_commits();
    let set = users
        .set("k", text("2"))
        .durability(synced)
        .deadline(ms(20));
    assert!(matches!(set.await, Err(Error::DeadlineExceeded { .. })));
    stores.sluice.release_commits();
    users.set("k", text("3")).durability(synced).await.unwrap();
    for down in [None, Some("upper"), Some("lower")] {
        let next = stores.restart().await;
        if let Some(down) = down {
            take_down(&next, down).await;
        }
        assert_eq!(read(&cache(&next), "k").await, Some(text("3")), "{down:?}");
        let _ = next.shutdown(SOON).await;
    }
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn warming_asks_only_those_that_the_cache_lies_in() {
    let stores = Stores::default();
    let larder = stores.start().await;
    cache(&larder).set("k", text("1")).await.unwrap();
    larder.shutdown(SOON).await.unwrap();
    let larder = stores.start().await;
    let users: Cache<String> = larder
        .cache_builder("users")
        .drivers(["memory", "upper"])
        .open()
        .unwrap();
    users.remove("k").await.unwrap();
    assert!(
        stores.lower.get(b"users/k").is_some(),
        "it lies there still"
    );
    assert_eq!(larder.warm(["users/k"]).await.unwrap().loaded, 0);
    assert_eq!(read(&users, "k").await, None);
    assert!(larder.warm(["never/opened"]).await.is_err());
    assert!(
        larder
            .warm([format!("users/{}", "k".repeat(70_000))])
            .await
            .is_err()
    );
    larder.shutdown(SOON).await.unwrap();
}
