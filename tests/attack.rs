//! Attacks.
#![allow(missing_docs, dead_code)]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::expect_used)]
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use larder::drivers::map::{MapDriver, MapStore};
use larder::drivers::{Driver, Failure, PageLimit, Reclaimed, StoreDurability, Watermark, Write};
use larder::messages::entry as msg;
use larder::{Cache, CacheBuilder, Durability, Error, Larder, Limits};

const OK: u8 = 0;
const DOWN: u8 = 1; // factory fails, every call fails
const HANG_COMMIT: u8 = 2;
const HANG_READ: u8 = 3;
const HANG_OPEN: u8 = 4;

#[derive(Clone, Default)]
struct Sw { store: MapStore, mode: Arc<AtomicU8>, free: Arc<AtomicBool> }
struct D { inner: MapDriver, sw: Sw }
impl Sw {
    fn open(&self) -> Result<D, Failure> {
        while self.mode.load(Ordering::SeqCst) == HANG_OPEN { std::thread::sleep(Duration::from_millis(5)); }
        if self.mode.load(Ordering::SeqCst) == DOWN { return Err(Failure::reopen("down")); }
        Ok(D { inner: self.store.open(), sw: self.clone() })
    }
    fn set(&self, m: u8) { self.mode.store(m, Ordering::SeqCst) }
    fn raw(&self, k: &str) -> Option<Bytes> { self.store.open().get(k.as_bytes()).unwrap() }
}
impl D {
    fn gate(&self, commit: bool) -> Result<(), Failure> {
        loop { match self.sw.mode.load(Ordering::SeqCst) {
            DOWN => return Err(Failure::reopen("down")),
            HANG_COMMIT if commit => std::thread::sleep(Duration::from_millis(2)),
            HANG_READ if !commit => std::thread::sleep(Duration::from_millis(2)),
            _ => return Ok(()),
        } }
    }
}
impl Driver for D {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Failure> { self.gate(false)?; self.inner.get(key) }
    fn commit(&self, b: &[Write], d: StoreDurability) -> Result<(), Failure> { self.gate(true)?; self.inner.commit(b, d) }
    fn scan(&self, p: &[u8], a: &[u8], l: PageLimit) -> Result<Vec<(Bytes, Bytes)>, Failure> { self.inner.scan(p, a, l) }
    fn reclaim(&self, n: u64, c: usize) -> Result<Reclaimed, Failure> { self.inner.reclaim(n, c) }
    fn reserve(&self, m: Watermark) -> Result<(), Failure> { self.inner.reserve(m) }
    fn reserved(&self) -> Watermark { self.inner.reserved() }
}
fn with(l: &mut Limits) { l.dirty_bytes_max = 4096; l.value_bytes_max = 1024; }
async fn one(sw: &Sw) -> Larder {
    let mut limits = Limits::default(); with(&mut limits);
    let s = sw.clone();
    Larder::builder().limits(limits).restart_backoff(Duration::from_millis(20), Duration::from_millis(50))
        .call_max(Duration::from_millis(700))
        .driver("disk", move || s.open()).start().await.unwrap()
}
async fn two(a: &Sw, b: &Sw) -> Larder {
    let mut limits = Limits::default(); with(&mut limits);
    let (a, b) = (a.clone(), b.clone());
    Larder::builder().limits(limits).restart_backoff(Duration::from_millis(20), Duration::from_millis(50))
        .call_max(Duration::from_millis(700))
        .driver("disk", move || a.open()).driver("archive", move || b.open()).start().await.unwrap()
}
async fn until_down(l: &Larder, c: &Cache<String>) {
    for _ in 0..200 { let _ = c.get("nope").await; tokio::time::sleep(Duration::from_millis(5)).await;
        if l.stats().await.unwrap().drivers.iter().any(|d| format!("{:?}", serde_json::to_value(d).unwrap()).contains("open")) { return; } }
    panic!("never down");
}
const S: Duration = Duration::from_secs(5);
fn ms(n: u64) -> Duration { Duration::from_millis(n) }

// 1: a fence without room while the driver is down deletes the stored fence
#[tokio::test(flavor = "multi_thread")]
async fn t01_fence_without_room() {
    let sw = Sw::default();
    let l = one(&sw).await;
    let c: Cache<String> = l.cache("users").unwrap();
    c.set("old", "OLD".to_owned()).durability(Durability::Written).await.unwrap();
    let o = c.clear().outcome().await.unwrap();
    println!("first clear {o:?}; stored fence {:?}", sw.raw("\u{0}fences/users").is_some());
    sw.set(DOWN);
    until_down(&l, &c).await;
    for n in 0..40 { let _ = c.set(&format!("f{n}"), "x".repeat(500)).await; }
    for n in 0..20 { let _ = c.remove(&format!("r{n}")).await; }
    let o = c.clear().outcome().await.unwrap();
    println!("second clear {o:?}");
    sw.set(OK);
    tokio::time::sleep(ms(500)).await;
    println!("after recovery stored fence {:?}", sw.raw("\u{0}fences/users").is_some());
    println!("in process old = {:?}", c.get("old").await.unwrap().map(|e| e.to_string()));
    println!("shutdown {:?}", l.shutdown(S).await);
    let l = one(&sw).await;
    let c: Cache<String> = l.cache("users").unwrap();
    println!("RESULT t01 after restart old = {:?}", c.get("old").await.unwrap().map(|e| e.to_string()));
    let _ = l.shutdown(S).await;
}

// 2: concurrent clears
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn t02_concurrent_clears() {
    let mut bad = 0;
    for _ in 0..300 {
        let sw = Sw::default();
        let s = sw.clone();
        let l = Larder::builder().driver("disk", move || s.open()).start().await.unwrap();
        let c: Cache<String> = l.cache("users").unwrap();
        let tasks: Vec<_> = (0..4).map(|_| { let c = c.clone(); tokio::spawn(async move {
            let mut last = 0; for _ in 0..30 { last = c.clear().durability(Durability::Written).await.unwrap().get(); } last }) }).collect();
        let mut max = 0;
        for t in tasks { max = max.max(t.await.unwrap()); }
        l.shutdown(S).await.unwrap();
        let rec = sw.raw("\u{0}fences/users").unwrap();
        let stored = u64::from_le_bytes(rec[rec.len() - 8..].try_into().unwrap());
        if stored < max { bad += 1; }
    }
    println!("RESULT t02 stored fence below an acknowledged one in {bad} of 300 runs");
}

// 3: two tiers, removal acked, process dies
#[tokio::test(flavor = "multi_thread")]
async fn t03_two_tiers_removal_crash() {
    let (a, b) = (Sw::default(), Sw::default());
    let l = two(&a, &b).await;
    let c: Cache<String> = l.cache("users").unwrap();
    c.set("k", "v1".to_owned()).await.unwrap();
    l.flush(Durability::Synced).await.unwrap();
    b.set(HANG_COMMIT);
    let o = c.remove("k").durability(Durability::Synced).outcome().await.unwrap();
    println!("remove {o:?}");
    // the process dies here: what is stored is what the maps hold now
    let (a2, b2) = (copy(&a), copy(&b));
    let l2 = two(&a2, &b2).await;
    let c2: Cache<String> = l2.cache("users").unwrap();
    println!("RESULT t03 removed (Synced) key after crash: {:?}", c2.get("k").await.unwrap().map(|e| e.to_string()));
    b.set(OK);
    let _ = l.shutdown(S).await; let _ = l2.shutdown(S).await;
}
fn copy(s: &Sw) -> Sw {
    let n = Sw::default();
    let (d, o) = (n.store.open(), s.store.open());
    for (k, r) in o.scan(b"", b"", PageLimit { count_max: 9999, bytes_max: 1 << 30 }).unwrap() {
        let (h, _) = larder::record::decode(&k, &r).unwrap();
        d.commit(&[Write::Put { key: k, record: r, version: h.version, keep_ms: h.keep_ms }], StoreDurability::Synced).unwrap();
    }
    d.reserve(o.reserved()).unwrap();
    n
}

// 4: Clear message replaces the definition
#[tokio::test(flavor = "multi_thread")]
async fn t04_clear_message_replaces_definition() {
    let sw = Sw::default();
    let l = one(&sw).await;
    let b: CacheBuilder<String> = l.cache_builder("secrets");
    let _c = b.drivers(["memory"]).ttl(Duration::from_secs(60)).open().unwrap();
    let desk = l.desk().unwrap();
    desk.send(msg::Set::<String>::new("secrets", "a", "S1".to_owned())).await.unwrap().unwrap();
    l.flush(Durability::Written).await.unwrap();
    println!("before: on disk {:?}", sw.raw("secrets/a").is_some());
    desk.send(msg::Clear { cache: "secrets".into(), tag: None }).await.unwrap().unwrap();
    desk.send(msg::Set::<String>::new("secrets", "a", "S2".to_owned())).await.unwrap().unwrap();
    l.flush(Durability::Written).await.unwrap();
    let e = desk.send(msg::Get::<String>::new("secrets", "a")).await.unwrap().unwrap().unwrap();
    println!("RESULT t04 after Clear message: on disk {:?}, expires_in {:?}", sw.raw("secrets/a").is_some(), e.expires_in());
    let _ = l.shutdown(S).await;
}

// 5: schema is re-stamped by touch and by a sliding read
#[tokio::test(flavor = "multi_thread")]
async fn t05_schema() {
    let sw = Sw::default();
    let l = one(&sw).await;
    let c: Cache<(u8, u8)> = l.cache_builder("p").schema(1).open().unwrap();
    c.set("k", (1, 2)).await.unwrap();
    let _ = l.shutdown(S).await;
    let l = one(&sw).await;
    let c: Cache<(u8, u8)> = l.cache_builder("p").schema(2).open().unwrap();
    println!("schema 2 get {:?}", c.get("k").await.unwrap().map(|e| *e));
    println!("touch {:?}", c.touch("k", S).await);
    l.flush(Durability::Written).await.unwrap();
    println!("RESULT t05 schema 2 get of a schema 1 record after touch {:?}", c.get("k").await.unwrap().map(|e| *e));
    let _ = l.shutdown(S).await;
    // and by a mere sliding read
    let sw = Sw::default();
    let l = one(&sw).await;
    let c: Cache<(u8, u8)> = l.cache_builder("p").schema(1).idle(ms(800)).open().unwrap();
    c.set("k", (1, 2)).await.unwrap();
    let _ = l.shutdown(S).await;
    let l = one(&sw).await;
    let c: Cache<(u8, u8)> = l.cache_builder("p").schema(2).open().unwrap();
    tokio::time::sleep(ms(200)).await;
    println!("sliding: first get {:?}", c.get("k").await.unwrap().map(|e| *e));
    println!("RESULT t05b sliding: second get {:?}", c.get("k").await.unwrap().map(|e| *e));
    println!("RESULT t05c update on old schema: {:?}", { let c: Cache<(u8,u8)> = l.cache_builder("p").schema(3).open().unwrap(); c.update("k", |_| (9, 9)).retries(1).await.map(|e| *e) });
    let _ = l.shutdown(S).await;
}

// 6: durability of a call for some drivers only
#[tokio::test(flavor = "multi_thread")]
async fn t06_durability_of_targets() {
    let sw = Sw::default();
    let l = one(&sw).await;
    let c: Cache<String> = l.cache("users").unwrap();
    let o = c.set("k", "v".to_owned()).drivers(["memory"]).durability(Durability::Synced).outcome().await;
    println!("RESULT t06 memory only, Synced: {o:?}, stored {:?}", sw.raw("users/k").is_some());
    let _ = l.shutdown(S).await;
}

// 7: a dead lower tier stops the healthy one
#[tokio::test(flavor = "multi_thread")]
async fn t07_lower_tier_down() {
    let (a, b) = (Sw::default(), Sw::default());
    let l = two(&a, &b).await;
    let c: Cache<String> = l.cache("users").unwrap();
    b.set(DOWN);
    let _ = c.set("z", "z".to_owned()).await;
    tokio::time::sleep(ms(100)).await;
    let mut first = None;
    for n in 0..40 { let o = c.set(&format!("k{n}"), "x".repeat(300)).outcome().await.unwrap(); 
        if first.is_none() && o.degraded.iter().any(|d| format!("{:?}", d.reason) == "MemoryOnly") { first = Some((n, o)); }
        tokio::time::sleep(ms(3)).await; }
    let last = c.set("last", "x".to_owned()).durability(Durability::Written).outcome().await;
    tokio::time::sleep(ms(100)).await;
    println!("RESULT t07 memory-only from {:?}; healthy disk has k39 {:?}; Written to healthy disk: {last:?}", first.map(|f| f.0), a.raw("users/k39").is_some());
    let _ = l.shutdown(ms(300)).await;
}

// 8: cache kept, larder dropped
#[tokio::test(flavor = "multi_thread")]
async fn t08_larder_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let c: Cache<String> = { let l = Larder::builder().disk(dir.path()).start().await.unwrap(); l.cache("users").unwrap() };
    println!("set {:?}", c.set("k", "v".to_owned()).durability(Durability::Written).await.is_ok());
    drop(c);
    tokio::time::sleep(Duration::from_secs(7)).await;
    println!("RESULT t08 reopen 7 s after the last handle was dropped: {:?}", Larder::builder().disk(dir.path()).start().await.map(|_| ()));
    // and a restart of a driver after the Larder handle was dropped
    let sw = Sw::default();
    let c: Cache<String> = { let l = one(&sw).await; l.cache("users").unwrap() };
    sw.set(DOWN);
    for n in 0..20 { let _ = c.get(&format!("m{n}")).await; tokio::time::sleep(ms(10)).await; }
    sw.set(OK);
    tokio::time::sleep(ms(1500)).await;
    println!("RESULT t08b driver healthy for 1.5 s, write: {:?}", c.set("k", "v".to_owned()).durability(Durability::Written).await);
}

// 9: shutdown cancelled
#[tokio::test(flavor = "multi_thread")]
async fn t09_shutdown_cancelled() {
    let sw = Sw::default();
    let l = one(&sw).await;
    let c: Cache<String> = l.cache("users").unwrap();
    sw.set(HANG_COMMIT);
    c.set("k", "v".to_owned()).await.unwrap();
    let _ = tokio::time::timeout(ms(100), l.shutdown(S)).await;
    sw.set(OK);
    drop(c);
    println!("second shutdown {:?}", l.shutdown(S).await);
    drop(l);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let threads = std::fs::read_dir("/proc/self/task").unwrap().filter(|t| std::fs::read_to_string(t.as_ref().unwrap().path().join("comm")).unwrap_or_default().starts_with("larder")).count();
    println!("RESULT t09 larder threads alive 2 s after cancelled shutdown and last drop (run alone): {threads}");
}

// 10: flush gives up at once
#[tokio::test(flavor = "multi_thread")]
async fn t10_flush_gives_up() {
    let (a, b) = (Sw::default(), Sw::default());
    let l = two(&a, &b).await;
    let c: Cache<String> = l.cache("users").unwrap();
    b.set(DOWN);
    let _ = c.set("z", "z".to_owned()).await;
    tokio::time::sleep(ms(150)).await;
    a.set(HANG_COMMIT);
    c.set("k", "v".to_owned()).await.unwrap();
    let a2 = a.clone();
    tokio::spawn(async move { tokio::time::sleep(ms(300)).await; a2.set(OK); });
    let t = std::time::Instant::now();
    let r = l.shutdown(S).await;
    let took = t.elapsed();
    println!("t10 shutdown {r:?} took {took:?}");
    // one tier, down for 200 ms
    let sw = Sw::default();
    let l = one(&sw).await;
    let c: Cache<String> = l.cache("users").unwrap();
    sw.set(DOWN);
    until_down(&l, &c).await;
    c.set("k", "v".to_owned()).await.unwrap();
    let s2 = sw.clone();
    tokio::spawn(async move { tokio::time::sleep(ms(200)).await; s2.set(OK); });
    let t = std::time::Instant::now();
    let r = l.shutdown(S).await;
    println!("RESULT t10 shutdown(5 s) {r:?} took {:?}; stored {:?}", t.elapsed(), sw.raw("users/k").is_some());
}

// 11: a long prefix or warm key
#[tokio::test(flavor = "multi_thread")]
async fn t11_long_keys() {
    let dir = tempfile::tempdir().unwrap();
    let l = Larder::builder().disk(dir.path()).start().await.unwrap();
    let c: Cache<String> = l.cache("users").unwrap();
    c.set("k", "v".to_owned()).durability(Durability::Written).await.unwrap();
    let long = "a".repeat(70_000);
    println!("warm {:?}", l.warm([format!("users/{long}")]).await);
    println!("RESULT t11 after warm {:?}", l.actors().iter().find(|a| a.name == "disk"));
    tokio::time::sleep(ms(600)).await;
    println!("scan {:?}", c.scan(&long).await.map(|p| p.entries.len()));
    println!("RESULT t11 after scan {:?} write {:?}", l.actors().iter().find(|a| a.name == "disk"), c.set("k2", "v".to_owned()).durability(Durability::Written).await);
    let _ = l.shutdown(S).await;
}

// 12: hang
#[tokio::test(flavor = "multi_thread")]
async fn t12_hang() {
    let sw = Sw::default();
    let l = one(&sw).await;
    let c: Cache<String> = l.cache("users").unwrap();
    sw.set(HANG_READ);
    let tasks: Vec<_> = (0..400).map(|n| { let c = c.clone(); tokio::spawn(async move { c.get(&format!("k{n}")).await.map(|_| ()) }) }).collect();
    let mut over = 0;
    for t in tasks { if let Err(Error::Overloaded { .. }) = t.await.unwrap() { over += 1; } }
    let t = std::time::Instant::now();
    let r = c.get("again").await.map(|_| ());
    println!("RESULT t12 hung reads: {over} of 400 Overloaded; next get {r:?} after {:?}; {:?}", t.elapsed(), l.actors().iter().find(|a| a.name == "disk").map(|a| a.state));
    sw.set(HANG_COMMIT);
    tokio::time::sleep(ms(200)).await;
    let mut errs = 0;
    for n in 0..12 { if c.set(&format!("s{n}"), "x".repeat(400)).await.is_err() { errs += 1; } }
    println!("RESULT t12b hung commits: {errs} of 12 Queued sets refused");
    sw.set(OK);
    let _ = l.shutdown(S).await;
}

// 13: two handles with different drivers
#[tokio::test(flavor = "multi_thread")]
async fn t13_handles_differ() {
    let sw = Sw::default();
    let l = one(&sw).await;
    let a: Cache<String> = l.cache("users").unwrap();
    a.set("k", "v1".to_owned()).durability(Durability::Written).await.unwrap();
    let b: Cache<String> = l.cache_builder("users").drivers(["memory"]).open().unwrap();
    b.remove("k").await.unwrap();
    println!("RESULT t13 removed by one handle, read by the other: {:?}", a.get("k").await.unwrap().map(|e| e.to_string()));
    let _ = l.shutdown(S).await;
}

// 14: renewal
#[tokio::test(flavor = "multi_thread")]
async fn t14_renewal() {
    let sw = Sw::default();
    let l = one(&sw).await;
    let c: Cache<String> = l.cache("users").unwrap();
    c.set("k", "secret".to_owned()).drivers(["memory"]).idle(ms(400)).ttl(ms(1000)).stale_for(S).await.unwrap();
    l.flush(Durability::Written).await.unwrap();
    println!("before renewal stored {:?}", sw.raw("users/k").is_some());
    for _ in 0..14 { tokio::time::sleep(ms(100)).await; let _ = c.get("k").await.unwrap(); }
    l.flush(Durability::Written).await.unwrap();
    println!("RESULT t14 1.4 s after set with ttl 1 s: {:?}; memory-only value on disk: {:?}", c.get("k").await.unwrap().map(|e| e.to_string()), sw.raw("users/k").is_some());
    tokio::time::sleep(ms(600)).await;
    println!("RESULT t14b stale_for kept: {:?}", c.get("k").allow_stale().await.unwrap().map(|e| e.to_string()));
    let _ = l.shutdown(S).await;
}

// 15: distrust past its bound
#[tokio::test(flavor = "multi_thread")]
async fn t15_distrust_for_ever() {
    let sw = Sw::default();
    let mut limits = Limits::default(); with(&mut limits); limits.distrusted_keys_max = 1;
    let s = sw.clone();
    let l = Larder::builder().limits(limits).memory_bytes(64 << 10).restart_backoff(ms(20), ms(50)).call_max(ms(700)).driver("disk", move || s.open()).start().await.unwrap();
    let c: Cache<String> = l.cache("users").unwrap();
    c.set("old", "v1".to_owned()).durability(Durability::Written).await.unwrap();
    sw.set(DOWN);
    until_down(&l, &c).await;
    for n in 0..40 { let _ = c.set(&format!("f{n}"), "x".repeat(300)).await; }
    c.set("old", "v2".to_owned()).await.unwrap();
    sw.set(OK);
    tokio::time::sleep(ms(500)).await;
    for n in 0..300 { let _ = c.set(&format!("g{n}"), "x".repeat(400)).durability(Durability::Written).await; }
    println!("old in process: {:?}", c.get("old").await.unwrap().map(|e| e.to_string()));
    println!("RESULT t15 g0 Written and on disk {:?}, read {:?}", sw.raw("users/g0").is_some(), c.get("g0").await.unwrap().map(|e| e.len()));
    let mut unread = 0; for n in 0..300 { if sw.raw(&format!("users/g{n}")).is_some() && c.get(&format!("g{n}")).await.unwrap().is_none() { unread += 1; } }
    println!("RESULT t15a Written, on disk, and read as a miss: {unread} of 300");
    println!("RESULT t15b if_absent of a new key: {:?}", c.set("new", "x".to_owned()).if_absent().await);
    println!("flush {:?} shutdown {:?}", l.flush(Durability::Synced).await, l.shutdown(S).await);
    let l = one(&sw).await;
    let c: Cache<String> = l.cache("users").unwrap();
    println!("RESULT t15c after graceful restart old (v2 was acknowledged last) = {:?}", c.get("old").await.unwrap().map(|e| e.to_string()));
    let _ = l.shutdown(S).await;
}

// 17: start with a store that hangs or is down
#[tokio::test(flavor = "multi_thread")]
async fn t17_start() {
    let sw = Sw::default(); sw.set(DOWN);
    let s = sw.clone();
    println!("RESULT t17 start with a store that is down: {:?}", Larder::builder().driver("disk", move || s.open()).start().await.map(|_| ()));
    let sw = Sw::default(); sw.set(HANG_OPEN);
    let s = sw.clone();
    let r = tokio::time::timeout(Duration::from_secs(8), Larder::builder().call_max(ms(500)).driver("disk", move || s.open()).start()).await;
    println!("RESULT t17b start with a store that hangs for 8 s: timed out {:?}", r.is_err());
    sw.set(OK);
}

// 18: Debug
#[tokio::test(flavor = "multi_thread")]
async fn t18_debug() {
    let sw = Sw::default();
    let l = one(&sw).await;
    let c: Cache<String> = l.cache("users").unwrap();
    c.set("key-secret", "value-secret".to_owned()).durability(Durability::Written).await.unwrap();
    println!("RESULT t18 MapStore Debug shows value: {}", format!("{:?}", sw.store).contains("value-secret"));
    let w = Write::Put { key: Bytes::from_static(b"k"), record: sw.raw("users/key-secret").unwrap(), version: larder::Version::at(1), keep_ms: 1 };
    println!("RESULT t18b Write Debug shows value: {}; Get message shows key: {}", format!("{w:?}").contains("value-secret"), format!("{:?}", msg::Get::<String>::new("users", "key-secret")).contains("key-secret"));
    let _ = l.shutdown(S).await;
}

// 19: warm reads tiers that the cache does not use
#[tokio::test(flavor = "multi_thread")]
async fn t19_warm() {
    let (a, b) = (Sw::default(), Sw::default());
    let l = two(&a, &b).await;
    let c: Cache<String> = l.cache("users").unwrap();
    c.set("k", "v1".to_owned()).await.unwrap();
    l.shutdown(S).await.unwrap();
    let l = two(&a, &b).await;
    let c: Cache<String> = l.cache_builder("users").drivers(["memory", "disk"]).open().unwrap();
    c.remove("k").await.unwrap();
    println!("after remove {:?}", c.get("k").await.unwrap().map(|e| e.to_string()));
    l.warm(["users/k"]).await.unwrap();
    println!("RESULT t19 removed, then warm: {:?}", c.get("k").await.unwrap().map(|e| e.to_string()));
    let mut n = 0; while l.warm([format!("w{n}/k")]).await.is_ok() && n < 3000 { n += 1; }
    println!("RESULT t19b {n} names warmed; then opening a cache: {:?}", l.cache::<String>("fresh").map(|_| ()));
    let _ = l.shutdown(S).await;
}

// 20: quarantine while running
#[tokio::test(flavor = "multi_thread")]
async fn t20_quarantine() {
    let dir = tempfile::tempdir().unwrap();
    let start = || Larder::builder().restart_backoff(ms(20), ms(50)).disk(dir.path()).start();
    let l = start().await.unwrap();
    let c: Cache<String> = l.cache("users").unwrap();
    c.set("k", "v".to_owned()).durability(Durability::Synced).await.unwrap();
    std::fs::remove_file(dir.path().join("watermark")).unwrap();
    let _ = c.scan(&"a".repeat(70_000)).await;
    tokio::time::sleep(ms(1500)).await;
    println!("dir {:?}", std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect::<Vec<_>>());
    println!("get {:?} scan {:?}", c.get("k").await.unwrap().map(|e| e.to_string()), c.scan("").await.unwrap().entries.len());
    println!("flush {:?}", l.flush(Durability::Synced).await);
    println!("stats says quarantine: {}", serde_json::to_string(&l.stats().await.unwrap()).unwrap().contains("quarantin"));
    l.shutdown(S).await.unwrap();
    let l = start().await.unwrap();
    let c: Cache<String> = l.cache("users").unwrap();
    println!("RESULT t20 Synced value that memory had when the store was quarantined, after flush and graceful restart: {:?}", c.get("k").await.unwrap().map(|e| e.to_string()));
    let _ = l.shutdown(S).await;
}

// 21: deadline of update and touch
#[tokio::test(flavor = "multi_thread")]
async fn t21_update_deadline() {
    let sw = Sw::default();
    let l = one(&sw).await;
    let c: Cache<String> = l.cache("users").unwrap();
    sw.set(HANG_READ);
    let t = std::time::Instant::now();
    let r = c.update("k", |_| "x".to_owned()).deadline(ms(20)).await.map(|_| ());
    println!("RESULT t21 update with deadline 20 ms (call_max 700): {r:?} after {:?}", t.elapsed());
    sw.set(OK);
    let _ = l.shutdown(S).await;
}

// 22: tags are not weighed
#[tokio::test(flavor = "multi_thread")]
async fn t22_tags_weight() {
    let l = Larder::builder().memory_bytes(8 << 20).start().await.unwrap();
    let c: Cache<u8> = l.cache("users").unwrap();
    for n in 0..60_000u32 { c.set(&format!("{n}"), 1u8).tags((0..16).map(|t| format!("{n:08}-{t:02}-{}", "x".repeat(240)))).await.unwrap(); }
    let m = l.stats().await.unwrap().memory;
    println!("RESULT t22 budget 8 MiB, entries {}, counted {} bytes, tags alone {} MiB", m.entries, m.bytes, m.entries as usize * 16 * 276 >> 20);
    let _ = l.shutdown(S).await;
}

// 23: tag fences on disk
#[tokio::test(flavor = "multi_thread")]
async fn t23_tag_fences() {
    let sw = Sw::default();
    let mk = || { let s = sw.clone(); let mut limits = Limits::default(); limits.tag_fences_max = 8; Larder::builder().limits(limits).driver("disk", move || s.open()).start() };
    let l = mk().await.unwrap();
    let c: Cache<String> = l.cache("users").unwrap();
    for n in 0..9 { c.remove_tag(&format!("t{n}")).await.unwrap(); }
    c.set("k", "v".to_owned()).durability(Durability::Synced).await.unwrap();
    for n in 0..4 { c.remove_tag(&format!("u{n}")).await.unwrap(); }
    println!("in process {:?}", c.get("k").await.unwrap().map(|e| e.to_string()));
    l.shutdown(S).await.unwrap();
    let fences = sw.store.open().scan("\u{0}fences/".as_bytes(), b"", PageLimit { count_max: 999, bytes_max: 1 << 20 }).unwrap().len();
    let l = mk().await.unwrap();
    let c: Cache<String> = l.cache("users").unwrap();
    println!("RESULT t23 {fences} fence records stored (tag_fences_max 8); untagged Synced value after restart: {:?}", c.get("k").await.unwrap().map(|e| e.to_string()));
    let _ = l.shutdown(S).await;
}

// 24: waiters of a key that is removed again and again
#[tokio::test(flavor = "multi_thread")]
async fn t24_start_damaged_fence() {
    let sw = Sw::default();
    let d = sw.store.open();
    d.commit(&[Write::Put { key: Bytes::from_static("\u{0}fences/users".as_bytes()), record: Bytes::from_static(b"damaged"), version: larder::Version::at(1), keep_ms: u64::MAX }], StoreDurability::Written).unwrap();
    for _ in 0..2 { let s = sw.clone(); println!("RESULT t24 start with a damaged fence record: {:?}", Larder::builder().driver("disk", move || s.open()).start().await.map(|_| ())); }
}

#[derive(serde::Deserialize)]
struct Slow(u8);
impl serde::Serialize for Slow {
    fn serialize<T: serde::Serializer>(&self, s: T) -> Result<T::Ok, T::Error> { std::thread::sleep(Duration::from_secs(6)); s.serialize_u8(self.0) }
}
// 25: shutdown joins the desk's arbiter without a deadline
#[tokio::test(flavor = "multi_thread")]
async fn t25_shutdown_desk() {
    let sw = Sw::default();
    let l = one(&sw).await;
    l.desk().unwrap().do_send(msg::Set::<Slow>::new("slow", "k", Slow(1)));
    tokio::time::sleep(ms(100)).await;
    let t = std::time::Instant::now();
    let r = l.shutdown(ms(500)).await;
    println!("RESULT t25 shutdown(500 ms) {r:?} took {:?}", t.elapsed());
}

// 26: sets acknowledged while it is being shut down
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn t26_shutdown_race() {
    let mut lost = 0; let mut runs_lost = 0;
    for _ in 0..150 {
        let sw = Sw::default();
        let s = sw.clone();
        let l = Larder::builder().driver("disk", move || s.open()).start().await.unwrap();
        let c: Cache<String> = l.cache("users").unwrap();
        let tasks: Vec<_> = (0..4).map(|t| { let c = c.clone(); tokio::spawn(async move { let mut n = 0usize; loop { if c.set(&format!("{t}-{n}"), "v".to_owned()).await.is_err() { return n; } n += 1; if n % 16 == 0 { tokio::task::yield_now().await; } } }) }).collect();
        tokio::time::sleep(ms(3)).await;
        let r = l.shutdown(S).await;
        let mut here = 0;
        for (t, task) in tasks.into_iter().enumerate() { let n = task.await.unwrap(); for i in n.saturating_sub(64)..n { if sw.raw(&format!("users/{t}-{i}")).is_none() { here += 1; } } }
        if r.is_ok() { lost += here; runs_lost += usize::from(here > 0); }
    }
    println!("RESULT t26 acknowledged sets missing after shutdown -> Ok: {lost}, in {runs_lost} of 150 runs");
}

// 28: a driver that dies while a removal waits
#[tokio::test(flavor = "multi_thread")]
async fn t28_dies_while_waiting() {
    let sw = Sw::default();
    let s = sw.clone();
    let l = Larder::builder().restart_backoff(ms(20), ms(50)).driver("disk", move || s.open()).start().await.unwrap();
    let c: Cache<String> = l.cache("users").unwrap();
    sw.set(HANG_COMMIT);
    let s2 = sw.clone();
    tokio::spawn(async move { tokio::time::sleep(ms(50)).await; s2.set(DOWN); });
    let t = std::time::Instant::now();
    let o = c.remove("k").outcome().await;
    println!("RESULT t28 default remove, driver died after 50 ms: {o:?} after {:?}", t.elapsed());
    let _ = l.shutdown(ms(200)).await;
}

fn rss() -> usize { std::fs::read_to_string("/proc/self/statm").unwrap().split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4 / 1024 }
// 29: waiters pile up
#[tokio::test(flavor = "multi_thread")]
async fn t29_waiters() {
    let sw = Sw::default();
    let l = one(&sw).await;
    let c: Cache<String> = l.cache("users").unwrap();
    sw.set(HANG_COMMIT);
    let before = rss();
    for _ in 0..100_000 { let _ = c.remove("k").deadline(Duration::from_micros(1)).await; }
    println!("RESULT t29 one key removed 100000 times while the commit lane hangs: RSS {before} -> {} MiB, dirty bytes {}", rss(), l.stats().await.unwrap().dirty.bytes);
    sw.set(OK);
    let _ = l.shutdown(S).await;
}

// 30: a watcher after a shutdown
#[tokio::test(flavor = "multi_thread")]
async fn t30_sweeps() {
    let l = Larder::builder().memory_bytes(512 << 20).start().await.unwrap();
    let c: Cache<u32> = l.cache("users").unwrap();
    for n in 0..400_000u32 { c.set(&format!("{n}"), n).await.unwrap(); }
    let stop = Arc::new(AtomicBool::new(false));
    let (c2, s2) = (c.clone(), stop.clone());
    let h = tokio::spawn(async move { let mut n = 0u64; while !s2.load(Ordering::SeqCst) { let _ = c2.remove_tag(&format!("t{}", n % 1000)).await; n += 1; tokio::time::sleep(ms(1)).await; } n });
    tokio::time::sleep(ms(500)).await;
    let mut worst = Duration::ZERO; let mut worst_set = Duration::ZERO;
    for n in 0..40u32 { let t = std::time::Instant::now(); let _ = l.flush(Durability::Written).await; worst = worst.max(t.elapsed());
        let t = std::time::Instant::now(); c.set(&format!("{n}"), n).await.unwrap(); worst_set = worst_set.max(t.elapsed()); tokio::time::sleep(ms(10)).await; }
    stop.store(true, Ordering::SeqCst);
    println!("RESULT t30 under {} remove_tag: empty flush (one message to the control arbiter) worst {worst:?}, set worst {worst_set:?}", h.await.unwrap());
    let t = std::time::Instant::now();
    let r = l.shutdown(ms(500)).await;
    println!("RESULT t30b shutdown {r:?} {:?}", t.elapsed());
}

// 31: an overwritten value, two tiers, crash, expiry above
#[tokio::test(flavor = "multi_thread")]
async fn t31_two_tiers_overwrite_crash() {
    let (a, b) = (Sw::default(), Sw::default());
    let l = two(&a, &b).await;
    let c: Cache<String> = l.cache("users").unwrap();
    c.set("k", "v1".to_owned()).await.unwrap();
    c.set("m", "m1".to_owned()).await.unwrap();
    l.flush(Durability::Synced).await.unwrap();
    b.set(HANG_COMMIT);
    let o = c.set("k", "v2".to_owned()).ttl(ms(600)).durability(Durability::Synced).outcome().await.unwrap();
    c.set("m", "m2".to_owned()).durability(Durability::Synced).await.unwrap();
    println!("set {o:?}");
    let (a2, b2) = (copy(&a), copy(&b));
    let l2 = two(&a2, &b2).await;
    let c2: Cache<String> = l2.cache("users").unwrap();
    println!("after the crash {:?}", c2.peek("k").await.unwrap().map(|e| e.to_string()));
    tokio::time::sleep(ms(2500)).await;
    println!("RESULT t31 v2 (Synced) expired and was reclaimed above: {:?}", c2.get("k").await.unwrap().map(|e| e.to_string()));
    a2.set(DOWN);
    for _ in 0..3 { let _ = c2.get("nope").await; }
    println!("RESULT t31b first tier down after the crash: {:?} (m2 is Synced)", c2.get("m").await.unwrap().map(|e| e.to_string()));
    b.set(OK); a2.set(OK);
    let _ = l.shutdown(S).await; let _ = l2.shutdown(S).await;
}
// 32: a removal that found no room
#[tokio::test(flavor = "multi_thread")]
async fn t32_removal_without_room() {
    let sw = Sw::default();
    let mut limits = Limits::default(); with(&mut limits); limits.distrusted_keys_max = 1;
    let s = sw.clone();
    let l = Larder::builder().limits(limits).memory_bytes(64 << 10).restart_backoff(ms(20), ms(50)).call_max(ms(700)).driver("disk", move || s.open()).start().await.unwrap();
    let c: Cache<String> = l.cache("users").unwrap();
    c.set("gone", "v1".to_owned()).durability(Durability::Written).await.unwrap();
    sw.set(DOWN);
    until_down(&l, &c).await;
    for n in 0..40 { let _ = c.set(&format!("f{n}"), "x".repeat(300)).await; }
    for n in 0..20 { let _ = c.remove(&format!("r{n}")).await; }
    println!("remove {:?}", c.remove("gone").outcome().await);
    sw.set(OK);
    tokio::time::sleep(ms(500)).await;
    println!("flush {:?} shutdown {:?}", l.flush(Durability::Synced).await, l.shutdown(S).await);
    let l = one(&sw).await;
    let c: Cache<String> = l.cache("users").unwrap();
    println!("RESULT t32 removed while down and over both bounds, then flush Ok, shutdown Ok, restart: {:?}", c.get("gone").await.unwrap().map(|e| e.to_string()));
    let _ = l.shutdown(S).await;
}

// 33: one write that a store always refuses
struct Picky(MapDriver);
impl Driver for Picky {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Failure> { self.0.get(key) }
    fn commit(&self, b: &[Write], d: StoreDurability) -> Result<(), Failure> {
        if b.iter().any(|w| w.key().ends_with(b"/bad")) { return Err(Failure::Retry { reason: "too large for me".into(), after: ms(1) }); }
        self.0.commit(b, d)
    }
    fn scan(&self, p: &[u8], a: &[u8], l: PageLimit) -> Result<Vec<(Bytes, Bytes)>, Failure> { self.0.scan(p, a, l) }
    fn reserve(&self, m: Watermark) -> Result<(), Failure> { self.0.reserve(m) }
    fn reserved(&self) -> Watermark { self.0.reserved() }
}
#[tokio::test(flavor = "multi_thread")]
async fn t33_poison() {
    let store = MapStore::new();
    let s = store.clone();
    let l = Larder::builder().call_max(ms(1500)).driver("disk", move || Ok(Picky(s.open()))).start().await.unwrap();
    let c: Cache<String> = l.cache("users").unwrap();
    c.set("bad", "x".to_owned()).await.unwrap();
    let mut ok = 0; for n in 0..5 { if c.set(&format!("good{n}"), "x".to_owned()).durability(Durability::Written).await.is_ok() { ok += 1; } }
    println!("RESULT t33 with one key that the store always refuses, {ok} of 5 others were stored; {:?}", l.actors().iter().find(|a| a.name == "disk").map(|a| a.state));
    let _ = l.shutdown(ms(200)).await;
}
// 34: a record of a later format
#[tokio::test(flavor = "multi_thread")]
async fn t34_later_format() {
    let sw = Sw::default();
    let l = one(&sw).await;
    let c: Cache<String> = l.cache("users").unwrap();
    c.set("k", "v".to_owned()).durability(Durability::Synced).await.unwrap();
    l.shutdown(S).await.unwrap();
    let mut raw = sw.raw("users/k").unwrap().to_vec(); raw[2] = 2;
    sw.store.open().commit(&[Write::Put { key: Bytes::from_static(b"users/k"), record: raw.into(), version: larder::Version::at(1), keep_ms: u64::MAX }], StoreDurability::Synced).unwrap();
    let l = one(&sw).await;
    let c: Cache<String> = l.cache("users").unwrap();
    let _ = c.get("k").await;
    tokio::time::sleep(ms(200)).await;
    println!("RESULT t34 a record of format 2 after one get: still there {:?}", sw.raw("users/k").is_some());
    let _ = l.shutdown(S).await;
}
