//! The plain map that a larder is compared with: one cache as the laws say it must look.
#![allow(
    clippy::unwrap_used,
    dead_code,
    reason = "every test takes what it needs"
)]

use std::collections::BTreeMap;

use larder::Version;

/// A value with its version, as reads give it.
pub type Seen = Option<(String, Version)>;

/// No deadline.
pub const NEVER: u64 = u64::MAX;

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Live {
    pub value: String,
    pub version: Version,
    pub expires_ms: u64,
    pub keep_ms: u64,
    pub idle_ms: u64,
    pub tags: Vec<&'static str>,
    /// No tier holds it, so memory may forget it.
    pub may_go: bool,
}

/// One cache.
#[derive(Default)]
pub struct PlainMap {
    pub entries: BTreeMap<String, Live>,
    /// The newest version that anybody was told of.
    pub newest: u64,
}

impl PlainMap {
    /// The entry that a read must show at `now_ms`.
    pub fn live(&self, key: &str, now_ms: u64) -> Option<&Live> {
        self.entries.get(key).filter(|e| now_ms < e.expires_ms)
    }

    /// What a read must show at `now_ms`.
    pub fn seen(&self, key: &str, now_ms: u64) -> Seen {
        let live = self.live(key, now_ms)?;
        Some((live.value.clone(), live.version))
    }

    /// Whether a read may show nothing.
    pub fn may_miss(&self, key: &str, now_ms: u64) -> bool {
        self.live(key, now_ms).is_none_or(|live| live.may_go)
    }

    /// Compares what a read showed; what was forgotten lawfully must stay away.
    pub fn check(&mut self, how: &str, key: &str, got: Seen, now_ms: u64) {
        let wanted = self.seen(key, now_ms);
        if got.is_none() && wanted.is_some() && self.may_miss(key, now_ms) {
            self.entries.remove(key);
            return;
        }
        assert_eq!(
            got, wanted,
            "{how} of {key:?} (left: larder, right: the laws)"
        );
    }

    /// A mutation was acknowledged with this version.
    pub fn acknowledged(&mut self, how: &str, version: Version) {
        let newest = self.newest;
        assert!(
            version.get() > newest,
            "{how}: {version} is not above v{newest}"
        );
        self.newest = version.get();
    }

    /// A read gives a sliding entry its time back once an eighth of it has passed.
    pub fn renew(&mut self, key: &str, now_ms: u64) {
        if self.live(key, now_ms).is_none() {
            return;
        }
        let entry = self.entries.get_mut(key).unwrap();
        let idle_ms = entry.idle_ms;
        if idle_ms > 0 && entry.expires_ms - now_ms < idle_ms - idle_ms / 8 {
            entry.expires_ms = now_ms + idle_ms;
            entry.keep_ms = entry.expires_ms;
        }
    }

    /// A tag was invalidated.
    pub fn remove_tag(&mut self, tag: &str) {
        self.entries.retain(|_, e| !e.tags.contains(&tag));
    }

    /// The process came to its end. A renewed entry has been stored wherever the cache stores.
    pub fn restart(&mut self) {
        self.entries.retain(|_, e| !e.may_go || e.idle_ms > 0);
    }
}
