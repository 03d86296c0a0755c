//! The thin path through everything: set, get, remove, restart.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use larder::{Cache, Error, Larder};

const SOON: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_set_is_read_back_from_memory() {
    let larder = Larder::builder().start().await.unwrap();
    let users: Cache<String> = larder.cache("users").unwrap();
    let version = users.set("42", "Ada".to_owned()).await.unwrap();
    let entry = users.get("42").await.unwrap().unwrap();
    assert_eq!(*entry, "Ada");
    assert_eq!(entry.version(), version);
    users.remove("42").await.unwrap();
    assert!(users.get("42").await.unwrap().is_none());
    larder.shutdown(SOON).await.unwrap();
    assert!(matches!(users.get("42").await, Err(Error::Closed)));
}

#[cfg(feature = "disk")]
#[tokio::test]
async fn what_was_written_is_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let start = || Larder::builder().disk(dir.path()).start();
    let larder = start().await.unwrap();
    let users: Cache<String> = larder.cache("users").unwrap();
    let version = users
        .set("42", "Ada".to_owned())
        .durability(larder::Durability::Synced)
        .await
        .unwrap();
    users.set("43", "Bob".to_owned()).await.unwrap();
    larder.shutdown(SOON).await.unwrap();
    let larder = start().await.unwrap();
    let users: Cache<String> = larder.cache("users").unwrap();
    let ada = users.get("42").await.unwrap().unwrap();
    assert_eq!(*ada, "Ada");
    assert_eq!(ada.version(), version);
    assert_eq!(*users.get("43").await.unwrap().unwrap(), "Bob");
    assert!(users.set("44", "Eve".to_owned()).await.unwrap() > version);
    let page = users.scan("").await.unwrap();
    let keys: Vec<_> = page.entries.iter().map(|(k, _)| k.as_str()).collect();
    assert_eq!(keys, ["42", "43", "44"]);
    users.clear().await.unwrap();
    assert!(users.get("42").await.unwrap().is_none());
    larder.shutdown(SOON).await.unwrap();
    let larder = start().await.unwrap();
    let users: Cache<String> = larder.cache("users").unwrap();
    assert!(users.get("42").await.unwrap().is_none());
    larder.shutdown(SOON).await.unwrap();
}
