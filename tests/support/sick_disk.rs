//! What a larder over a sick disk has acknowledged and shown, and whether an answer fits that.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    dead_code,
    reason = "helpers end in a panic, and not every test file uses each of them"
)]

use std::path::Path;
use std::time::Duration;

use larder::drivers::disk::DiskConfig;
use larder::{Cache, Durability, Error, Larder, Limits};

/// A guard only.
pub const SOON: Duration = Duration::from_secs(40);

/// A larder that gives a sick disk up and tries it again without long pauses.
pub async fn start(dir: &Path, config: DiskConfig) -> Larder {
    start_with(dir, config, 64 << 20).await
}

/// With so much memory.
pub async fn start_with(dir: &Path, config: DiskConfig, memory_bytes: usize) -> Larder {
    let mut limits = Limits::default();
    limits.value_bytes_max = (memory_bytes / 4).min(256 << 10);
    let ms = Duration::from_millis;
    let builder = Larder::builder().limits(limits).call_max(SOON);
    let builder = builder.memory_bytes(memory_bytes);
    let builder = builder.restart_backoff(ms(1), ms(20));
    let builder = builder.restart_limit(u32::MAX, ms(1), ms(1));
    let builder = builder.disk_with(dir, config);
    #[cfg(feature = "secure")]
    let builder = match dir.join("keys").exists() {
        true => builder.encrypted(key()),
        false => builder,
    };
    builder.start().await.unwrap()
}

#[cfg(feature = "secure")]
fn key() -> larder::secret::MasterKey {
    larder::secret::MasterKey::from_bytes([1; 32]).unwrap()
}

/// Makes an empty sealed store in `dir`: every start from here on finds it and has its key.
#[cfg(feature = "secure")]
pub async fn seal(dir: &Path) {
    let larder = Larder::builder().disk(dir).encrypted(key()).start();
    larder.await.unwrap().shutdown(SOON).await.unwrap();
}

/// What is known of one key; its values are numbers that only rise, 0 is none.
#[derive(Clone, Copy, Default)]
struct Line {
    /// The newest that may be there.
    tried: u64,
    /// The newest that was acknowledged, or shown by a read.
    known: u64,
    /// The newest that was acknowledged as `Written` or safer.
    written: u64,
    /// A removal is newer than all of them.
    removed: bool,
}

/// The history of a few keys.
pub struct Ledger {
    lines: Vec<Line>,
    value_bytes: usize,
    next: u64,
}

impl Ledger {
    pub fn new(keys: usize, value_bytes: usize) -> Self {
        Self {
            lines: vec![Line::default(); keys],
            value_bytes,
            next: 1,
        }
    }

    fn key(at: usize) -> String {
        format!("k{at}")
    }

    /// Whose it is stands in it, so that a foreign or damaged value is known as such. The rest of it takes the
    /// room that it seems to take: it can hardly be compressed.
    fn value(&self, at: usize, n: u64) -> String {
        let mut noise = fastrand::Rng::with_seed(n << 16 | at as u64);
        let fill = (0..self.value_bytes).map(|_| noise.alphanumeric());
        format!("{at}:{n}:{}", fill.collect::<String>())
    }

    fn number(&self, at: usize, found: &str) -> u64 {
        let n = found.split(':').nth(1).and_then(|n| n.parse().ok());
        let n = n.unwrap();
        assert!(
            found == self.value(at, n),
            "a damaged or foreign value of k{at}"
        );
        n
    }

    pub fn keys(&self) -> usize {
        self.lines.len()
    }

    /// Sets a key; what was not acknowledged may be there all the same. Whether it was.
    pub async fn set(&mut self, cache: &Cache<String>, at: usize, durability: Durability) -> bool {
        let n = self.next;
        self.next += 1;
        let (key, value) = (Self::key(at), self.value(at, n));
        self.lines[at].tried = n;
        let done = cache.set(&key, value).durability(durability).await;
        let line = &mut self.lines[at];
        match done {
            // Either way it stands in memory, so that no read shows an older one.
            Ok(_) | Err(Error::Unavailable { .. }) => (line.known, line.removed) = (n, false),
            Err(error) => panic!("a set of k{at}: {error}"),
        }
        if done.is_ok() && durability != Durability::Queued {
            line.written = n;
        }
        done.is_ok()
    }

    /// Removes a key, as safely as can be.
    pub async fn remove(&mut self, cache: &Cache<String>, at: usize) {
        cache.remove(&Self::key(at)).await.unwrap();
        self.lines[at].removed = true;
    }

    /// Reads a key: nothing older than what is known may come, and no error.
    pub async fn read(&mut self, cache: &Cache<String>, at: usize) -> bool {
        let found = cache.get(&Self::key(at)).await.unwrap();
        let number = found.map(|found| self.number(at, &found));
        let line = &mut self.lines[at];
        if let Some(n) = number {
            assert!(!line.removed, "k{at} was removed and shows {n}");
            let range = line.known..=line.tried;
            assert!(range.contains(&n), "k{at} shows {n}, not within {range:?}");
            line.known = n;
        }
        number.is_some()
    }

    /// The process was started anew: what was only `Queued` may be lost, unless all was flushed.
    pub fn restarted(&mut self, flushed: bool) {
        for line in self.lines.iter_mut().filter(|_| !flushed) {
            line.known = line.written;
            // It may have been the default that degraded.
            line.removed = false;
        }
    }

    /// Reads everything. How many keys are missed that were acknowledged as written.
    pub async fn read_all(&mut self, cache: &Cache<String>) -> usize {
        let mut missed = 0;
        for at in 0..self.lines.len() {
            let found = self.read(cache, at).await;
            let line = self.lines[at];
            missed += usize::from(!found && !line.removed && line.written > 0);
        }
        missed
    }
}
