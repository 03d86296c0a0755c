//! What a named cache is does not change because somebody else opens it.
#![cfg(feature = "test-util")]
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use larder::drivers::map::MapStore;
use larder::messages::entry::{Clear, Set};
use larder::{Cache, CommitConfig, Error, Larder};

const SOON: Duration = Duration::from_secs(20);

async fn start(store: &MapStore) -> Larder {
    let builder = Larder::builder();
    let builder = builder.driver_factory("store", CommitConfig::default(), store.factory());
    builder.start().await.unwrap()
}

/// What a store holds, as a larder that starts on it sees it.
async fn stored(larder: Larder, store: &MapStore, key: &str) -> Option<String> {
    larder.shutdown(SOON).await.unwrap();
    let larder = start(store).await;
    let cache: Cache<String> = larder.cache("secrets").unwrap();
    let found = cache.get(key).await.unwrap().map(|e| (*e).clone());
    larder.shutdown(SOON).await.unwrap();
    found
}

#[tokio::test]
async fn a_message_of_no_type_leaves_a_memory_only_cache_in_memory() {
    let store = MapStore::new();
    let larder = start(&store).await;
    let secrets = larder.cache_builder::<String>("secrets");
    let secrets = secrets.drivers(["memory"]).open().unwrap();
    let desk = larder.desk().unwrap();
    desk.send(Clear::new("secrets")).await.unwrap().unwrap();
    let set = Set::<String>::new("secrets", "k", "token".to_owned());
    desk.send(set).await.unwrap().unwrap();
    assert_eq!(*secrets.get("k").await.unwrap().unwrap(), "token");
    assert_eq!(stored(larder, &store, "k").await, None);
}

#[tokio::test]
async fn a_name_is_not_opened_again_with_other_drivers() {
    let store = MapStore::new();
    let larder = start(&store).await;
    let _all: Cache<String> = larder.cache("secrets").unwrap();
    let other = larder
        .cache_builder::<String>("secrets")
        .drivers(["memory"]);
    let refused = other.open().unwrap_err();
    assert!(matches!(refused, Error::Config(_)), "{refused}");
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn a_value_set_for_memory_alone_is_not_stored_by_a_touch() {
    let store = MapStore::new();
    let larder = start(&store).await;
    let cache: Cache<String> = larder.cache("secrets").unwrap();
    cache
        .set("k", "token".to_owned())
        .drivers(["memory"])
        .await
        .unwrap();
    assert!(cache.touch("k", SOON).await.unwrap().is_some());
    assert_eq!(stored(larder, &store, "k").await, None);
}

#[tokio::test]
async fn a_prefix_longer_than_a_key_is_refused_before_a_store_sees_it() {
    let larder = start(&MapStore::new()).await;
    let cache: Cache<String> = larder.cache("secrets").unwrap();
    let long = "a".repeat(70_000);
    assert!(matches!(
        cache.scan(&long).await,
        Err(Error::TooLarge { .. })
    ));
    assert!(matches!(
        cache.watch_prefix(&long).await,
        Err(Error::TooLarge { .. })
    ));
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn of_two_threads_that_open_a_name_one_as_secret_only_one_has_it() {
    let larder = Larder::builder().start().await.unwrap();
    let together = std::sync::Barrier::new(2);
    let open = |name: &str, is_secret: bool| {
        let cache = larder.cache_builder::<String>(name).drivers(["memory"]);
        let cache = if is_secret { cache.secret() } else { cache };
        together.wait();
        cache.open().is_ok()
    };
    for n in 0..500 {
        let name = format!("cache-{n}");
        let opened = std::thread::scope(|scope| {
            let secret = scope.spawn(|| open(&name, true));
            let plain = open(&name, false);
            [secret.join().unwrap(), plain]
        });
        assert!(opened == [true, false] || opened == [false, true], "{n}");
    }
    larder.shutdown(SOON).await.unwrap();
}

#[cfg(feature = "secure")]
#[tokio::test]
async fn where_caching_is_turned_off_a_cache_is_opened_as_it_would_be_otherwise() {
    let dir = tempfile::tempdir().unwrap();
    let key = larder::secret::MasterKey::from_bytes([1; 32]).unwrap();
    let builder = Larder::builder().secure(dir.path(), key).disabled();
    let larder = builder.start().await.unwrap();
    let by_name = larder
        .cache_builder::<String>("tokens")
        .drivers(["memory", "secure"]);
    by_name.open().unwrap();
    let by_call: Cache<String> = larder.secure("tokens").unwrap();
    assert!(by_call.get("a").await.unwrap().is_none());
    larder.secure_builder::<String>("tokens").open().unwrap();
    let by_name: Cache<String> = larder.cache("tokens").unwrap();
    by_name.set("a", "value".to_owned()).await.unwrap();
    larder.shutdown(SOON).await.unwrap();
}
