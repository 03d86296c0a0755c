//! A larder with sealed stores, from start to shredding.
#![cfg(all(feature = "secure", feature = "test-util"))]
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::path::Path;
use std::time::Duration;

use larder::secret::{MasterKey, Secret};
use larder::{Builder, Cache, Durability, Error, Larder};

/// A guard only: rewriting a store takes its time on a busy device.
const SOON: Duration = Duration::from_secs(60);

fn key(byte: u8) -> MasterKey {
    MasterKey::from_bytes([byte; 32]).unwrap()
}

fn secure(dir: &Path, byte: u8) -> Builder {
    Larder::builder().secure(dir, key(byte))
}

async fn tokens(larder: &Larder) -> Cache<Secret<String>> {
    larder.secure("tokens").unwrap()
}

fn token(n: usize) -> Secret<String> {
    Secret::new(format!("eyJ-token-{n}"))
}

/// Whether a file below `dir` holds `text`.
fn holds(dir: &Path, text: &str) -> bool {
    let entries = std::fs::read_dir(dir).unwrap().flatten();
    entries
        .map(|entry| entry.path())
        .any(|path| match path.is_dir() {
            true => holds(&path, text),
            false => {
                let bytes = std::fs::read(&path).unwrap();
                bytes
                    .windows(text.len())
                    .any(|window| window == text.as_bytes())
            }
        })
}

#[tokio::test]
async fn tokens_survive_a_restart_and_nothing_of_them_is_readable_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let larder = secure(dir.path(), 1).start().await.unwrap();
    let cache = tokens(&larder).await;
    for n in 0..50 {
        let name = format!("user-{n}");
        let set = cache.set(&name, token(n)).durability(Durability::Written);
        set.tag("team:7").await.unwrap();
    }
    cache.remove("user-7").await.unwrap();
    larder.shutdown(SOON).await.unwrap();
    for text in ["eyJ-token", "user-", "tokens", "team:7"] {
        assert!(!holds(dir.path(), text), "{text}");
    }
    let larder = secure(dir.path(), 1).start().await.unwrap();
    let cache = tokens(&larder).await;
    let got = cache.get("user-3").await.unwrap().unwrap();
    assert_eq!(got.expose(), "eyJ-token-3");
    assert!(cache.get("user-7").await.unwrap().is_none());
    let page = cache.scan("user-1").await.unwrap();
    let names: Vec<_> = page.entries.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names.len(), 11);
    assert!(names.is_sorted(), "{names:?}");
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn a_wrong_key_is_told_at_start_and_nothing_is_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let larder = secure(dir.path(), 1).start().await.unwrap();
    tokens(&larder)
        .await
        .set("a", token(1))
        .durability(Durability::Written)
        .await
        .unwrap();
    larder.shutdown(SOON).await.unwrap();
    let refused = secure(dir.path(), 2).start().await.unwrap_err();
    let Error::Open { reason, .. } = &refused else {
        panic!("{refused:?}");
    };
    assert!(reason.contains("another master key"), "{reason}");
    let larder = secure(dir.path(), 1).start().await.unwrap();
    assert!(tokens(&larder).await.get("a").await.unwrap().is_some());
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn after_a_rotation_only_the_new_key_opens_and_everything_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let larder = secure(dir.path(), 1).start().await.unwrap();
    let cache = tokens(&larder).await;
    for n in 0..600 {
        cache.set(&n.to_string(), token(n)).await.unwrap();
    }
    larder.flush(Durability::Written).await.unwrap();
    let rotation = larder
        .driver("secure")
        .unwrap()
        .rotate_key(key(2))
        .await
        .unwrap();
    let done = tokio::time::timeout(SOON, rotation.finished())
        .await
        .unwrap()
        .unwrap();
    assert!(done.resealed >= 600, "{done:?}");
    larder.shutdown(SOON).await.unwrap();
    let refused = secure(dir.path(), 1).start().await.unwrap_err();
    assert!(
        refused.to_string().contains("another master key"),
        "{refused}"
    );
    let larder = secure(dir.path(), 2).start().await.unwrap();
    let cache = tokens(&larder).await;
    for n in 0..600 {
        let got = cache.get(&n.to_string()).await.unwrap();
        assert_eq!(got.unwrap().expose(), &format!("eyJ-token-{n}"));
    }
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn what_was_shredded_is_gone_from_memory_and_store_and_the_store_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let larder = secure(dir.path(), 1).start().await.unwrap();
    let cache = tokens(&larder).await;
    cache
        .set("a", token(1))
        .durability(Durability::Written)
        .await
        .unwrap();
    let header = std::fs::read(dir.path().join("keys")).unwrap();
    let driver = larder.driver("secure").unwrap();
    driver.shred().await.unwrap();
    assert!(cache.get("a").await.unwrap().is_none());
    let set = || cache.set("b", token(2)).durability(Durability::Written);
    let back = async {
        while set().await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, back).await.unwrap();
    larder.shutdown(SOON).await.unwrap();
    assert_ne!(std::fs::read(dir.path().join("keys")).unwrap(), header);
    let larder = secure(dir.path(), 1).start().await.unwrap();
    let cache = tokens(&larder).await;
    assert!(cache.get("a").await.unwrap().is_none());
    assert_eq!(
        cache.get("b").await.unwrap().unwrap().expose(),
        "eyJ-token-2"
    );
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn a_plain_store_is_converted_and_nothing_readable_is_left_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let larder = Larder::builder().disk(dir.path()).start().await.unwrap();
    let cache: Cache<String> = larder.cache("users").unwrap();
    for n in 0..600 {
        let (key, value) = (format!("user-{n}"), format!("plain-{n}"));
        let mut set = cache.set(&key, value);
        // What expires has its name in an index, too.
        if n % 2 == 0 {
            set = set.ttl(Duration::from_secs(86_400));
        }
        set.await.unwrap();
    }
    larder.shutdown(SOON).await.unwrap();
    assert!(holds(dir.path(), "plain-5"));
    let start = || Larder::builder().disk(dir.path()).encrypted(key(1)).start();
    let larder = start().await.unwrap();
    let driver = larder.driver("disk").unwrap();
    let ended = async {
        while driver.seal_progress().unwrap().plain_text_left {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, ended).await.unwrap();
    // At once, and not when the store is closed.
    for text in ["user-", "users/", "plain-"] {
        assert!(!holds(dir.path(), text), "{text}, while it is open");
    }
    let cache: Cache<String> = larder.cache("users").unwrap();
    let got = cache.get("user-77").await.unwrap().unwrap();
    assert_eq!(*got, "plain-77");
    larder.shutdown(SOON).await.unwrap();
    let refused = Larder::builder()
        .disk(dir.path())
        .start()
        .await
        .unwrap_err();
    assert!(refused.to_string().contains("sealed"), "{refused}");
    let larder = start().await.unwrap();
    let cache: Cache<String> = larder.cache("users").unwrap();
    assert_eq!(
        cache.scan("").page_size(1_000).await.unwrap().entries.len(),
        600
    );
    larder.shutdown(SOON).await.unwrap();
    for text in ["user-", "users/", "plain-"] {
        assert!(!holds(dir.path(), text), "{text}");
    }
}
