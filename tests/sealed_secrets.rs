//! Nothing of a secret is anywhere but where it belongs: not in a store's files, not in what is logged at
//! any level, not in what errors, events, handles and statistics show.
#![cfg(all(feature = "secure", feature = "test-util"))]
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::fmt::{Debug, Display, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use larder::drivers::faults::{Fault, Faults, Op, When};
use larder::drivers::sealed::over;
use larder::secret::{MasterKey, Secret};
use larder::{
    Builder, Cache, CommitConfig, Durability, EncryptionConfig, EntryEvent, Larder, LoadError, Old,
};
use serde::{Deserialize, Serialize};
use tracing_subscriber::filter::LevelFilter;

use keys::{Log, tells};
use sealed::{SOON, Sealed, mended, quick_dir, tree};

#[path = "support/keys.rs"]
mod keys;
#[path = "support/sealed.rs"]
mod sealed;

const CACHE: &str = "hushcache";
const NAME: &str = "hushname-5f1c";
const VALUE: &str = "hushvalue-93ab";
const TAG: &str = "hushtag-77d0";

/// Everything that was shown to anybody.
#[derive(Default)]
struct Shown(String);

impl Shown {
    fn debug(&mut self, what: &impl Debug) {
        writeln!(self.0, "{what:?} {what:#?}").unwrap();
    }

    fn error(&mut self, error: &(impl Debug + Display)) {
        writeln!(self.0, "{error} {error:?} {error:#?}").unwrap();
    }

    fn json(&mut self, what: &impl Serialize) {
        writeln!(self.0, "{}", serde_json::to_string(what).unwrap()).unwrap();
    }
}

/// Whether `text` holds `secret`, as text or as a list of its bytes.
fn has(text: &str, secret: &str) -> bool {
    let bytes: Vec<String> = secret.bytes().map(|byte| byte.to_string()).collect();
    let packed: String = text.split_whitespace().collect();
    text.contains(secret) || packed.contains(&bytes.join(","))
}

/// Which secrets a text tells. The cache's name is none there: it is in every driver's and source's.
fn told(text: &str, masters: &[String]) -> Vec<String> {
    let mut told: Vec<String> = [NAME, VALUE, TAG].map(str::to_owned).to_vec();
    told.retain(|secret| has(text, secret));
    told.extend(masters.iter().filter(|master| tells(text, master)).cloned());
    told
}

/// Which secrets are in the files below `dir`: names and values, and keys as they are and as text.
fn filed(dir: &Path, masters: &[String]) -> Vec<String> {
    let mut needles: Vec<Vec<u8>> = Vec::new();
    for text in [CACHE, NAME, VALUE, TAG] {
        needles.push(text.into());
    }
    for master in masters {
        let raw = base64::Engine::decode(&base64::prelude::BASE64_STANDARD, master).unwrap();
        let hex = raw
            .iter()
            .fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
        needles.extend([master.clone().into(), hex.into(), raw[..16].to_vec()]);
    }
    let files = tree(dir);
    let is_filed = |needle: &Vec<u8>| {
        let bytes = files.values().flatten();
        let mut bytes = bytes.map(|bytes| bytes.as_slice());
        bytes.any(|bytes| find(bytes, needle))
    };
    needles.retain(is_filed);
    let shown = needles.iter();
    shown
        .map(|needle| String::from_utf8_lossy(needle).into_owned())
        .collect()
}

/// Quick also over a journal of 64 MiB.
fn find(bytes: &[u8], needle: &[u8]) -> bool {
    let end = bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |at| at + 1);
    bytes[..end]
        .windows(needle.len())
        .any(|window| window == needle)
}

fn secure(dir: &Path, key: &MasterKey) -> Builder {
    Larder::builder().secure(dir, key.clone())
}

fn value() -> Secret<String> {
    Secret::new(VALUE.to_owned())
}

/// Start, every kind of call, a rotation, another start with either key, shredding, the end.
async fn live(dir: &Path, old: &MasterKey, new: &MasterKey, shown: &mut Shown) {
    let larder = secure(dir, old).start().await.unwrap();
    let cache: Cache<Secret<String>> = larder.secure(CACHE).unwrap();
    let mut events = cache.watch_prefix("").await.unwrap();
    for n in 0..20 {
        let name = format!("{NAME}-{n}");
        let set = cache.set(&name, value()).tag(TAG);
        shown.debug(&set.durability(Durability::Written).outcome().await.unwrap());
    }
    let first = format!("{NAME}-0");
    shown.debug(&cache.get(&first).outcome().await.unwrap());
    shown.debug(&cache.get(&first).await.unwrap());
    let page = cache.scan(NAME).page_size(3).await.unwrap();
    assert_eq!(page.entries.len(), 3);
    shown.debug(&page);
    let fetched = cache
        .fetch("new", |_| async { Ok::<_, LoadError>(Some(value())) })
        .await;
    shown.debug(&fetched.unwrap());
    let loading = |_| async {
        let failed = LoadError::permanent("it failed");
        Err::<Option<Secret<String>>, _>(failed)
    };
    shown.error(&cache.fetch("never", loading).await.unwrap_err());
    shown.error(&cache.set(&first, value()).if_absent().await.unwrap_err());
    shown.error(&cache.set(&NAME.repeat(900), value()).await.unwrap_err());
    cache.remove_tag(TAG).await.unwrap();
    cache.set(NAME, value()).await.unwrap();
    larder.flush(Durability::Written).await.unwrap();
    for _ in 0..10 {
        shown.debug(&events.next().await.unwrap());
    }
    let driver = larder.driver("secure").unwrap();
    let rotation = driver.rotate_key(new.clone()).await.unwrap();
    shown.debug(&rotation);
    shown.debug(&rotation.finished().await.unwrap());
    shown.debug(&larder);
    shown.debug(&cache);
    shown.debug(&events);
    shown.json(&larder.stats().await.unwrap());
    shown.json(&larder.health());
    shown.debug(&larder.stats().await.unwrap());
    shown.debug(&larder.health());
    larder.shutdown(SOON).await.unwrap();
    shown.error(&secure(dir, old).start().await.unwrap_err());
    fail_to_decode(dir, new, shown).await;
}

/// The record of a text, read as a number.
async fn fail_to_decode(dir: &Path, key: &MasterKey, shown: &mut Shown) {
    let larder = secure(dir, key).start().await.unwrap();
    let numbers: Cache<u64> = larder.secure(CACHE).unwrap();
    match numbers.get(NAME).outcome().await {
        Ok(outcome) => shown.debug(&outcome),
        Err(error) => shown.error(&error),
    }
    shown.json(&larder.stats().await.unwrap());
    larder.shutdown(SOON).await.unwrap();
}

/// Records that are edited, and a driver below that fails in each way.
async fn fail(master: &MasterKey, shown: &mut Shown) {
    let store = Sealed::with(EncryptionConfig::new(master.clone()));
    let faults = Faults::new();
    let factory = over(faults.over(store.map.factory()), &store.vault);
    let ms = Duration::from_millis;
    let builder = Larder::builder().restart_backoff(ms(1), ms(5));
    let builder = builder.driver_factory("store", CommitConfig::default(), factory);
    let larder = builder.start().await.unwrap();
    let cache = larder.cache_builder::<Secret<String>>(CACHE);
    let cache = cache.drivers(["store"]).open().unwrap();
    cache
        .set(NAME, value())
        .durability(Durability::Written)
        .await
        .unwrap();
    for (place, record) in store.records() {
        let mut edited = record.to_vec();
        edited[50] ^= 1;
        store.plant(&place, mended(&place, &edited));
    }
    shown.debug(&cache.get(NAME).outcome().await.unwrap());
    for fault in [Fault::Retry, Fault::Reopen, Fault::Panic, Fault::Full] {
        faults.inject(Op::Commit, When::Nth(1), fault);
        let set = cache.set(NAME, value()).durability(Durability::Written);
        match set.outcome().await {
            Ok(outcome) => shown.debug(&outcome),
            Err(error) => shown.error(&error),
        }
        shown.json(&larder.health());
        shown.debug(&faults);
    }
    faults.repair();
    shown.debug(&store.vault);
    shown.debug(&store.vault.config());
    let _ = larder.shutdown(SOON).await;
}

#[tokio::test]
async fn a_whole_life_leaves_no_secret_in_files_logs_errors_events_or_statistics() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        .with_ansi(false)
        .with_writer(log.clone())
        .finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let (old, new) = (
        MasterKey::generate().unwrap(),
        MasterKey::generate().unwrap(),
    );
    let masters = [&old, &new].map(|key| key.to_base64().to_string());
    let (dir, mut shown) = (quick_dir(), Shown::default());
    live(dir.path(), &old, &new, &mut shown).await;
    assert_eq!(
        filed(dir.path(), &masters),
        [""; 0],
        "before it is shredded"
    );
    fail(&old, &mut shown).await;
    let larder = secure(dir.path(), &new).start().await.unwrap();
    larder.driver("secure").unwrap().shred().await.unwrap();
    larder.shutdown(SOON).await.unwrap();
    assert_eq!(filed(dir.path(), &masters), [""; 0]);
    let logged = log.text();
    assert!(logged.contains("the keys were destroyed"), "it is heard");
    assert!(shown.0.len() > 1_000);
    assert_eq!(told(&logged, &masters), [""; 0], "{logged}");
    assert_eq!(told(&shown.0, &masters), [""; 0], "{}", shown.0);
    what_is_planted_is_found(dir.path(), &masters, &log, shown);
}

/// Or nothing was shown above.
fn what_is_planted_is_found(dir: &Path, masters: &[String], log: &Log, mut shown: Shown) {
    tracing::trace!(name = NAME, value = ?VALUE.as_bytes(), tag = TAG, key = masters[0], "planted");
    assert_eq!(told(&log.text(), masters).len(), 4);
    shown.debug(&(NAME, VALUE.as_bytes(), TAG, &masters[1]));
    assert_eq!(told(&shown.0, masters).len(), 4);
    let raw = base64::Engine::decode(&base64::prelude::BASE64_STANDARD, &masters[0]).unwrap();
    let planted = [
        CACHE.as_bytes(),
        NAME.as_bytes(),
        VALUE.as_bytes(),
        TAG.as_bytes(),
        &raw,
    ];
    std::fs::write(dir.join("planted"), planted.concat()).unwrap();
    assert_eq!(filed(dir, masters).len(), 5);
}

/// How many values of a test's own type there are.
static ALIVE: AtomicUsize = AtomicUsize::new(0);

#[derive(Serialize)]
struct Counted(String);

impl Counted {
    fn new(text: &str) -> Self {
        ALIVE.fetch_add(1, Ordering::SeqCst);
        Self(text.to_owned())
    }
}

impl<'de> Deserialize<'de> for Counted {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::new(&String::deserialize(deserializer)?))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        ALIVE.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn until_alive(count: usize) {
    let there = async {
        while ALIVE.load(Ordering::SeqCst) != count {
            tokio::task::yield_now().await;
        }
    };
    let alive = || ALIVE.load(Ordering::SeqCst);
    let waited = tokio::time::timeout(Duration::from_secs(5), there).await;
    assert!(waited.is_ok(), "{} are alive, not {count}", alive());
}

#[tokio::test]
async fn memory_keeps_no_decoded_value_of_a_secure_cache_unless_it_is_told_to() {
    let (dir, key) = (quick_dir(), MasterKey::generate().unwrap());
    let larder = secure(dir.path(), &key).start().await.unwrap();
    let cache: Cache<Counted> = larder.secure("counted").unwrap();
    let mut events = cache.watch_prefix("").await.unwrap();
    cache.set("a", Counted::new("value")).await.unwrap();
    let old = cache.set("a", Counted::new("another"));
    old.durability(Durability::Written).await.unwrap();
    until_alive(0).await;
    let read = cache.get("a").await.unwrap().unwrap();
    assert_eq!(read.0, "another");
    until_alive(1).await;
    drop(read);
    until_alive(0).await;
    let page = cache.scan("").await.unwrap();
    assert_eq!(page.entries.len(), 1);
    drop(page);
    let fetched = cache
        .fetch("b", |_| async {
            Ok::<_, LoadError>(Some(Counted::new("loaded")))
        })
        .await;
    assert_eq!(fetched.unwrap().unwrap().0, "loaded");
    assert!(events.next().await.is_some());
    until_alive(0).await;
    let keeps = larder.secure_builder::<Counted>("kept").keep_decoded(true);
    let keeps = keeps.open().unwrap();
    keeps.set("a", Counted::new("value")).await.unwrap();
    drop(keeps.get("a").await.unwrap());
    until_alive(1).await;
    larder.shutdown(SOON).await.unwrap();
}

/// The first change of `name` that a watcher is told.
async fn change(cache: &Cache<String>) -> larder::Change<String> {
    let mut events = cache.watch_prefix("").await.unwrap();
    let first = cache.set("a", "one".to_owned()).await.unwrap();
    let second = cache.set("a", "two".to_owned()).await.unwrap();
    let told = async {
        loop {
            if let EntryEvent::Changed(change) = events.next().await.unwrap() {
                assert!([first, second].contains(&change.version));
                if change.version == second {
                    return change;
                }
            }
        }
    };
    tokio::time::timeout(SOON, told).await.unwrap()
}

#[tokio::test]
async fn watchers_of_a_secure_cache_are_told_versions_and_values_only_where_that_was_asked_for() {
    let (dir, key) = (quick_dir(), MasterKey::generate().unwrap());
    let larder = secure(dir.path(), &key).start().await.unwrap();
    let hidden = change(&larder.secure("hidden").unwrap()).await;
    assert_eq!(hidden.key, "a");
    assert!(hidden.new.is_none() && matches!(hidden.old, Old::NotLoaded));
    let open = larder.secure_builder("open").event_values(true).open();
    let open = change(&open.unwrap()).await;
    assert_eq!(**open.new.unwrap(), *"two");
    assert_eq!(**open.old.known().unwrap(), "one".to_owned());
    larder.shutdown(SOON).await.unwrap();
}

#[test]
fn buffers_of_secrets_have_an_owner_and_what_is_opened_does_too() {
    let store = Sealed::new();
    let driver = store.open();
    sealed::set(&*driver, "c/a", 1, "value");
    let record = driver.get(b"c/a").unwrap().unwrap();
    let (header, payload) = larder::record::decode(b"c/a", &record).unwrap();
    let plain = larder::record::encode(b"c/a", &header, &payload);
    let secret = larder::record::encode_secret(b"c/a", &header, &payload);
    assert_eq!(plain, secret);
    drop((payload, header));
    // Bytes that are alone can be had back as a plain buffer, but for those that have an owner: it is what
    // overwrites them. That it does is beyond safe code to see.
    assert!(plain.is_unique() && plain.try_into_mut().is_ok());
    assert!(secret.try_into_mut().is_err());
    assert!(record.try_into_mut().is_err());
    drop(Arc::new(store));
}
