//! Starts that are refused: headers and keys that do not fit, stores that are not what they should be. Each
//! says what to do, and changes nothing on disk.
#![cfg(all(feature = "secure", feature = "test-util"))]
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use larder::drivers::disk::DiskConfig;
use larder::secret::{
    FileGuard, KeyError, KeyErrorKind, KeyProvider, MasterKey, RollbackGuard, Secret, named,
};
use larder::{
    Builder, Cache, Condition, Durability, EncryptionConfig, Error, Larder, OnOpenFailure,
    PlainStore,
};
use tempfile::TempDir;

use sealed::{
    HEADER, SOON, assert_unchanged, below, copy, key, mended_header, put_back, quick_dir, tree,
};

#[path = "support/sealed.rs"]
mod sealed;

fn secure(dir: &Path, key: impl KeyProvider) -> Builder {
    Larder::builder().secure(dir, key)
}

/// A sealed directory with one token.
async fn filled(byte: u8) -> TempDir {
    let dir = quick_dir();
    fill(dir.path(), byte).await;
    dir
}

async fn fill(dir: &Path, byte: u8) {
    let larder = secure(dir, key(byte)).start().await.unwrap();
    keep(&larder, "ada", "eyJ0", Durability::Synced).await;
    larder.shutdown(SOON).await.unwrap();
}

fn tokens(larder: &Larder) -> Cache<Secret<String>> {
    larder.secure("tokens").unwrap()
}

async fn keep(larder: &Larder, name: &str, token: &str, durability: Durability) {
    let tokens = tokens(larder);
    let set = tokens.set(name, Secret::new(token.to_owned()));
    set.durability(durability).await.unwrap();
}

async fn holds_ada(dir: &Path, byte: u8) -> bool {
    let larder = secure(dir, key(byte)).start().await.unwrap();
    let ada = tokens(&larder).get("ada").await.unwrap();
    larder.shutdown(SOON).await.unwrap();
    ada.is_some_and(|ada| ada.expose() == "eyJ0")
}

/// Why it does not start; nothing on disk is other than it was.
async fn refused(dir: &Path, builder: Builder, context: &str) -> String {
    let before = tree(dir);
    let error = builder.start().await.map(drop).unwrap_err();
    assert_unchanged(dir, &before, context);
    let Error::Open { reason, .. } = &error else {
        panic!("{context}: {error:?}");
    };
    reason.to_string()
}

#[tokio::test]
async fn a_header_that_was_edited_by_accident_or_on_purpose_is_refused_with_what_to_do() {
    let dir = filled(1).await;
    let path = dir.path().join(HEADER);
    let whole = fs::read(&path).unwrap();
    // Magic, format, identity, cipher, state, slots, lengths, each part of the slot, nonce, bundle, tag.
    let places = (0..36).chain((36..whole.len() - 4).step_by(11));
    for at in places {
        for mends in [false, true] {
            let mut edited = whole.clone();
            edited[at] ^= 0x04;
            fs::write(&path, if mends { mended_header(edited) } else { edited }).unwrap();
            // Which of the reasons it is depends on what was edited; all of them say this.
            let error = secure(dir.path(), key(1)).start().await.unwrap_err();
            let text = error.to_string();
            let says = text.contains("move the whole directory away to begin anew");
            assert!(
                says && text.contains("nothing was overwritten"),
                "byte {at}: {text}"
            );
        }
    }
    fs::write(&path, whole).unwrap();
    assert!(holds_ada(dir.path(), 1).await);
}

#[tokio::test]
async fn a_header_that_is_cut_emptied_longer_of_a_later_format_or_of_another_store_is_refused() {
    let (dir, other) = (filled(1).await, filled(1).await);
    let path = dir.path().join(HEADER);
    let whole = fs::read(&path).unwrap();
    let mut later = whole.clone();
    later[4] = 2;
    let foreign = fs::read(other.path().join(HEADER)).unwrap();
    let longer = [&whole[..], b"more"].concat();
    let headers = [
        ("emptied", vec![], "cut short"),
        ("cut", whole[..100].to_vec(), "checksum"),
        ("zeros", vec![0; whole.len()], "is no header"),
        ("longer", longer.clone(), "checksum"),
        ("longer, mended", mended_header(longer), "do not add up"),
        ("later", mended_header(later), "a later larder wrote it"),
        ("huge", vec![7; 1 << 20], ""),
    ];
    for (what, header, says) in headers {
        fs::write(&path, header).unwrap();
        let reason = refused(dir.path(), secure(dir.path(), key(1)), what).await;
        assert!(reason.contains(says), "{what}: {reason}");
    }
    fs::write(&path, foreign).unwrap();
    let error = secure(dir.path(), key(1)).start().await.unwrap_err();
    assert!(error.to_string().contains("or of another store"), "{error}");
    fs::write(&path, whole).unwrap();
    assert!(holds_ada(dir.path(), 1).await);
}

#[tokio::test]
async fn a_directory_in_the_place_of_the_header_is_refused() {
    let dir = filled(1).await;
    let path = dir.path().join(HEADER);
    let whole = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let reason = refused(dir.path(), secure(dir.path(), key(1)), "a directory").await;
    assert!(reason.contains("keys"), "{reason}");
    fs::remove_dir(&path).unwrap();
    fs::write(&path, whole).unwrap();
    assert!(holds_ada(dir.path(), 1).await);
}

#[tokio::test]
async fn a_header_that_is_gone_is_missed_where_there_is_a_store_and_made_where_there_is_none() {
    let dir = filled(1).await;
    let path = dir.path().join(HEADER);
    let whole = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let error = secure(dir.path(), key(1)).start().await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("header of this sealed store is gone"),
        "{error}"
    );
    assert!(!path.exists());
    // What it said to do helps.
    fs::write(&path, whole).unwrap();
    assert!(holds_ada(dir.path(), 1).await);
    fs::remove_file(&path).unwrap();
    fs::remove_dir_all(dir.path().join("store")).unwrap();
    assert!(!holds_ada(dir.path(), 1).await);
    assert!(path.exists());
}

#[tokio::test]
async fn a_wrong_key_and_one_from_before_a_rotation_are_refused() {
    let dir = filled(1).await;
    let reason = refused(dir.path(), secure(dir.path(), key(2)), "wrong").await;
    assert!(reason.contains("give the right"), "{reason}");
    let larder = secure(dir.path(), key(1)).start().await.unwrap();
    let rotation = larder
        .driver("secure")
        .unwrap()
        .rotate_key(key(2))
        .await
        .unwrap();
    tokio::time::timeout(SOON, rotation.finished())
        .await
        .unwrap()
        .unwrap();
    larder.shutdown(SOON).await.unwrap();
    let reason = refused(dir.path(), secure(dir.path(), key(1)), "old").await;
    assert!(reason.contains("another master key"), "{reason}");
    assert!(holds_ada(dir.path(), 2).await);
}

/// Has no key, for this reason.
fn without(kind: KeyErrorKind) -> impl KeyProvider {
    named("a test's place", move || {
        Err::<MasterKey, _>(KeyError::new(kind, "it says why"))
    })
}

#[tokio::test]
async fn without_a_key_a_start_is_refused_and_health_has_the_reason_of_a_degraded_one() {
    let dir = filled(1).await;
    let kinds = [
        KeyErrorKind::Missing,
        KeyErrorKind::Malformed,
        KeyErrorKind::Refused,
        KeyErrorKind::Unavailable,
    ];
    for kind in kinds {
        let context = format!("{kind:?}");
        let reason = refused(dir.path(), secure(dir.path(), without(kind)), &context).await;
        assert!(reason.contains("a test's place: it says why"), "{reason}");
        let before = tree(dir.path());
        let builder = secure(dir.path(), without(kind));
        let larder = builder
            .on_open_failure(OnOpenFailure::StartDegraded)
            .start();
        let larder = larder.await.unwrap();
        let health = larder.driver("secure").unwrap().health();
        assert_eq!(health.condition, Condition::Down, "{context}");
        assert!(health.reason.unwrap().contains("it says why"), "{context}");
        larder.shutdown(SOON).await.unwrap();
        assert_unchanged(dir.path(), &before, &context);
    }
    let new = quick_dir();
    let builder = secure(new.path(), without(KeyErrorKind::Missing));
    assert!(builder.start().await.is_err());
    assert!(
        !new.path().join(HEADER).exists(),
        "no store is made without a key"
    );
}

#[tokio::test]
async fn a_key_that_comes_later_heals_a_degraded_start_by_itself() {
    let dir = filled(1).await;
    let is_there = Arc::new(AtomicBool::new(false));
    let provider = {
        let is_there = Arc::clone(&is_there);
        move || match is_there.load(Ordering::SeqCst) {
            true => Ok(key(1)),
            false => Err(KeyError::new(KeyErrorKind::Unavailable, "not yet")),
        }
    };
    let ms = Duration::from_millis;
    let builder = secure(dir.path(), provider)
        .restart_backoff(ms(1), ms(5))
        .on_open_failure(OnOpenFailure::StartDegraded);
    let larder = builder.start().await.unwrap();
    let driver = larder.driver("secure").unwrap();
    assert_ne!(driver.health().condition, Condition::Up);
    is_there.store(true, Ordering::SeqCst);
    let healed = async {
        while driver.health().condition != Condition::Up {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, healed).await.unwrap();
    let ada = tokens(&larder).get("ada").await.unwrap().unwrap();
    assert_eq!(ada.expose(), "eyJ0");
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn a_sealed_directory_is_refused_by_a_plain_disk_tier() {
    let dir = filled(1).await;
    let reason = refused(dir.path(), Larder::builder().disk(dir.path()), "plain").await;
    assert!(
        reason.contains("open it with `encrypted` or `secure`"),
        "{reason}"
    );
    assert!(holds_ada(dir.path(), 1).await);
}

#[tokio::test]
async fn a_plain_store_that_is_not_to_be_converted_is_refused_and_still_opens_as_a_plain_one() {
    let dir = quick_dir();
    let plain = || Larder::builder().disk(dir.path()).start();
    let larder = plain().await.unwrap();
    let users: Cache<String> = larder.cache("users").unwrap();
    let set = users
        .set("ada", "plain".to_owned())
        .durability(Durability::Synced);
    set.await.unwrap();
    larder.shutdown(SOON).await.unwrap();
    let config = EncryptionConfig::new(key(1)).plain_store(PlainStore::Refuse);
    let builder = Larder::builder().disk(dir.path()).encrypted_with(config);
    let error = builder.start().await.unwrap_err();
    assert!(error.to_string().contains("PlainStore::Convert"), "{error}");
    assert!(!dir.path().join(HEADER).exists());
    let larder = plain().await.unwrap();
    let users: Cache<String> = larder.cache("users").unwrap();
    assert_eq!(*users.get("ada").await.unwrap().unwrap(), "plain");
    larder.shutdown(SOON).await.unwrap();
}

/// A larder whose store is guarded.
fn guarded(dir: &Path, guard: impl RollbackGuard) -> Builder {
    let config = EncryptionConfig::new(key(1)).rollback_guard(guard);
    Larder::builder().secure_with(dir, DiskConfig::default(), config)
}

#[tokio::test]
async fn a_whole_directory_that_is_put_back_is_refused_by_its_guard_with_what_to_do() {
    let (dir, elsewhere) = (quick_dir(), quick_dir());
    let guard = || FileGuard::new(elsewhere.path().join("guard"));
    let start = || guarded(dir.path(), guard()).start();
    let larder = start().await.unwrap();
    keep(&larder, "ada", "old", Durability::Synced).await;
    larder.shutdown(SOON).await.unwrap();
    let copied = elsewhere.path().join("copy");
    copy(dir.path(), &copied);
    let larder = start().await.unwrap();
    tokens(&larder)
        .remove("ada")
        .durability(Durability::Synced)
        .await
        .unwrap();
    larder.shutdown(SOON).await.unwrap();
    put_back(&copied, dir.path());
    let error = start().await.unwrap_err().to_string();
    for says in [
        "older than its rollback guard knows",
        "begin anew",
        "set the guard back",
    ] {
        assert!(error.contains(says), "{error}");
    }
    // Without a guard nothing tells.
    let larder = secure(dir.path(), key(1)).start().await.unwrap();
    let ada = tokens(&larder).get("ada").await.unwrap().unwrap();
    assert_eq!(ada.expose(), "old");
    larder.shutdown(SOON).await.unwrap();
}

/// A guard in memory that may have no answer.
#[derive(Clone, Default)]
struct Shaky {
    counter: Arc<AtomicU64>,
    is_away: Arc<AtomicBool>,
}

impl Shaky {
    fn there(&self) -> Result<(), KeyError> {
        match self.is_away.load(Ordering::SeqCst) {
            true => Err(KeyError::new(
                KeyErrorKind::Unavailable,
                "the guard is away",
            )),
            false => Ok(()),
        }
    }
}

impl RollbackGuard for Shaky {
    fn counter(&self) -> Result<u64, KeyError> {
        self.there()?;
        Ok(self.counter.load(Ordering::SeqCst))
    }

    fn advance(&self, to: u64) -> Result<(), KeyError> {
        self.there()?;
        self.counter.fetch_max(to, Ordering::SeqCst);
        Ok(())
    }
}

#[tokio::test]
async fn a_guarded_store_that_was_put_back_and_is_salvaged_gives_nothing_old() {
    let (dir, elsewhere) = (quick_dir(), quick_dir());
    let guard = Shaky::default();
    let start = || guarded(dir.path(), guard.clone()).start();
    let larder = start().await.unwrap();
    for n in 0..50 {
        let token = Secret::new(format!("old {n}"));
        let set = tokens(&larder).set(&n.to_string(), token).await;
        set.unwrap();
    }
    larder.shutdown(SOON).await.unwrap();
    let copied = elsewhere.path().join("copy");
    copy(dir.path(), &copied);
    let larder = start().await.unwrap();
    tokens(&larder)
        .clear()
        .durability(Durability::Synced)
        .await
        .unwrap();
    larder.shutdown(SOON).await.unwrap();
    put_back(&copied, dir.path());
    call_it_damaged(dir.path());
    let larder = start().await.unwrap();
    // It was moved aside, and what could be salvaged of it is as old as the copy.
    let stats = larder.stats().await.unwrap();
    let driver = &stats.drivers[0];
    assert_eq!((driver.emptied, driver.salvaged), (1, 0));
    let page = tokens(&larder).scan("").await.unwrap();
    assert_eq!(page.entries.len(), 0);
    assert!(tokens(&larder).get("7").await.unwrap().is_none());
    // It goes on, and what is set from here on is there.
    keep(&larder, "new", "new", Durability::Synced).await;
    larder.shutdown(SOON).await.unwrap();
    let larder = start().await.unwrap();
    assert!(tokens(&larder).get("new").await.unwrap().is_some());
    larder.shutdown(SOON).await.unwrap();
}

/// Has its store's watermark say that the store is damaged (FORMAT.md).
fn call_it_damaged(dir: &Path) {
    let path = dir.join("watermark");
    let mut bytes = fs::read(&path).unwrap();
    let slots = bytes.chunks_mut(4_096);
    for slot in slots.filter(|slot| slot.starts_with(b"LRWM")) {
        slot[72] |= 1;
        let sum = crc32fast::hash(&slot[..76]);
        slot[76..80].copy_from_slice(&sum.to_le_bytes());
    }
    fs::write(&path, bytes).unwrap();
}

#[tokio::test]
async fn a_guard_that_is_away_for_a_while_refuses_a_start_and_nothing_that_runs() {
    let dir = quick_dir();
    let guard = Shaky::default();
    let larder = guarded(dir.path(), guard.clone()).start().await.unwrap();
    guard.is_away.store(true, Ordering::SeqCst);
    keep(&larder, "ada", "eyJ0", Durability::Written).await;
    larder.shutdown(SOON).await.unwrap();
    let error = guarded(dir.path(), guard.clone())
        .start()
        .await
        .unwrap_err();
    assert!(error.to_string().contains("the guard is away"), "{error}");
    guard.is_away.store(false, Ordering::SeqCst);
    let larder = guarded(dir.path(), guard).start().await.unwrap();
    assert!(tokens(&larder).get("ada").await.unwrap().is_some());
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn what_is_edited_in_a_closed_directory_is_a_miss_and_the_rest_is_there() {
    let dir = quick_dir();
    let larder = secure(dir.path(), key(1)).start().await.unwrap();
    for n in 0..30 {
        let token = Secret::new(format!("token {n}"));
        tokens(&larder).set(&n.to_string(), token).await.unwrap();
    }
    larder.shutdown(SOON).await.unwrap();
    let edited = below(dir.path(), |driver| {
        let mut records = sealed::all(driver);
        records.retain(|(place, _)| place.starts_with(b"s"));
        assert_eq!(records.len(), 30);
        for ((place, record), (_, next)) in records.iter().zip(&records[1..]).step_by(3) {
            sealed::plant(driver, place, sealed::mended(place, next));
            assert_ne!(record, next);
        }
        10
    });
    let larder = secure(dir.path(), key(1)).start().await.unwrap();
    let mut found = 0;
    for n in 0..30 {
        if let Some(token) = tokens(&larder).get(&n.to_string()).await.unwrap() {
            assert_eq!(token.expose(), &format!("token {n}"));
            found += 1;
        }
    }
    assert_eq!(found, 30 - edited);
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn while_the_secure_driver_is_down_nothing_secure_is_in_another_tiers_directory() {
    let (plain, secret) = (quick_dir(), quick_dir());
    let builder = Larder::builder()
        .disk(plain.path())
        .secure(secret.path(), without(KeyErrorKind::Missing))
        .on_open_failure(OnOpenFailure::StartDegraded);
    let larder = builder.start().await.unwrap();
    let tokens = tokens(&larder);
    for n in 0..100 {
        let name = format!("Bearer-{n}");
        let set = tokens.set(&name, Secret::new("eyJ-hidden".to_owned()));
        // Whether it is kept in memory is not asked here.
        let _ = set.durability(Durability::Queued).await;
    }
    let users: Cache<String> = larder.cache("users").unwrap();
    let set = users
        .set("in-plain-sight", "a value".to_owned())
        .durability(Durability::Synced);
    set.await.unwrap();
    let _ = larder.shutdown(Duration::from_millis(500)).await;
    assert!(
        holds(plain.path(), "in-plain-sight"),
        "or it would find nothing"
    );
    for text in ["Bearer-", "eyJ-hidden", "tokens"] {
        assert!(!holds(plain.path(), text), "{text}");
        assert!(!holds(secret.path(), text), "{text}");
    }
}

/// Whether a file below `dir` holds `text`.
fn holds(dir: &Path, text: &str) -> bool {
    tree(dir).into_values().flatten().any(|bytes| {
        let mut windows = bytes.windows(text.len());
        windows.any(|window| window == text.as_bytes())
    })
}
