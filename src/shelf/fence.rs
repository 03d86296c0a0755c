//! Fences: the oldest version that a cache, or a tag of it, still accepts.
//!
//! `clear` and tag invalidation raise a number instead of touching entries, and every read compares
//! (after FusionCache's tag timestamps). Fences only ever rise.
//!
//! Beside them stands how often entries of the cache have moved between its tiers, for scans, and whether
//! anybody watches it.

use hashbrown::HashMap;
use smol_str::SmolStr;

use crate::key::CacheId;
use crate::sync::{Arc, AtomicBool, AtomicU64, Ordering, RwLock};
use crate::version::Version;

/// One named cache as the shelf sees it: its number, its name, its fences, its moves and who watches.
pub struct Scope {
    /// Its number within this process.
    pub id: CacheId,
    /// Its name, as stored.
    pub name: Arc<str>,
    fence: AtomicU64,
    /// Loads that were begun up to here are not kept, whatever they bring.
    loads: AtomicU64,
    has_tags: AtomicBool,
    tags: RwLock<HashMap<SmolStr, u64>>,
    tags_max: usize,
    /// Held shared by a conditional operation from its last look at the fences until it has drawn
    /// its version, and exclusively by a fence from drawing to raising: else a compare-and-set could
    /// draw a version above a `clear` that it has not seen, and survive it.
    order: RwLock<()>,
    moves_begun: AtomicU64,
    moves_done: AtomicU64,
    watched: AtomicBool,
}

/// A change is under way that leaves some tiers out. Ends when it is dropped.
pub struct Moving<'a>(&'a Scope);

/// What a call to [`Scope::raise`] covers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Covers {
    /// Every entry of the cache.
    All,
    /// Entries with this tag.
    Tag(SmolStr),
}

impl Scope {
    /// A cache without fences that keeps at most `tags_max` of them before they coalesce.
    pub fn new(id: CacheId, name: &str, tags_max: usize) -> Self {
        Self {
            id,
            name: name.into(),
            fence: AtomicU64::new(0),
            loads: AtomicU64::new(0),
            has_tags: AtomicBool::new(false),
            tags: RwLock::new(HashMap::new()),
            tags_max,
            order: RwLock::new(()),
            moves_begun: AtomicU64::new(0),
            moves_done: AtomicU64::new(0),
            watched: AtomicBool::new(false),
        }
    }

    /// Says whether somebody watches any of it.
    pub(super) fn watch(&self, watched: bool) {
        // Read by every change: written only if it is another.
        if self.is_watched() != watched {
            self.watched.store(watched, Ordering::SeqCst);
        }
    }

    /// Whether somebody watches any of it.
    #[inline]
    pub(super) fn is_watched(&self) -> bool {
        self.watched.load(Ordering::Relaxed)
    }

    /// To be held over the critical section of a change that some tiers of the cache, or all but
    /// memory, do not get.
    pub fn moving(&self) -> Moving<'_> {
        self.moves_begun.fetch_add(1, Ordering::SeqCst);
        Moving(self)
    }

    /// Moves that have begun.
    pub fn moves_begun(&self) -> u64 {
        self.moves_begun.load(Ordering::SeqCst)
    }

    /// Moves that are through their critical section. While it stays equal to those that have begun,
    /// nothing moves that memory does not list.
    pub fn moves_done(&self) -> u64 {
        self.moves_done.load(Ordering::SeqCst)
    }

    /// Whether an entry of this version with these tags is still accepted.
    #[inline]
    pub fn accepts(&self, version: Version, tags: &[SmolStr]) -> bool {
        if version.get() <= self.fence.load(Ordering::Acquire) {
            return false;
        }
        tags.is_empty() || !self.has_tags.load(Ordering::Acquire) || {
            let fences = self.tags.read();
            // IMPORTANT: the fence once more, now that the tags stand still: had they coalesced into it
            // since the first look, they would be empty here.
            version.get() > self.fence.load(Ordering::Acquire)
                && tags
                    .iter()
                    .all(|tag| fences.get(tag).is_none_or(|fence| version.get() > *fence))
        }
    }

    /// As [`accepts`](Scope::accepts), for what a load brings that was begun at this version.
    pub fn accepts_load(&self, began: Version, tags: &[SmolStr]) -> bool {
        began.get() > self.loads.load(Ordering::Acquire) && self.accepts(began, tags)
    }

    /// Nothing is kept of loads that were begun up to `version`, nor of what they have found missing; what
    /// is there stays. IMPORTANT: for whoever then passes over what is there: what such a load was about
    /// to keep, it has kept before that stripe's lock is next taken.
    pub fn overtake_loads(&self, version: Version) {
        self.loads.fetch_max(version.get(), Ordering::SeqCst);
    }

    /// Raises a fence to a version that `draw` issues, and returns the version with what is now
    /// covered: more than was asked for when there are too many tag fences, which then become one
    /// fence of the whole cache. More is forgotten; nothing lies.
    pub fn raise(&self, covers: Covers, draw: impl FnOnce() -> Version) -> (Version, Covers) {
        let _alone = self.order.write();
        let version = draw();
        (version, self.raise_to(covers, version))
    }

    /// Raises a fence to at least `version`: what a store remembers from an earlier process.
    pub fn raise_to(&self, covers: Covers, version: Version) -> Covers {
        let Covers::Tag(tag) = covers else {
            self.fence.fetch_max(version.get(), Ordering::SeqCst);
            return Covers::All;
        };
        let mut tags = self.tags.write();
        if tags.len() >= self.tags_max && !tags.contains_key(&tag) {
            let newest = tags.values().copied().fold(version.get(), u64::max);
            self.fence.fetch_max(newest, Ordering::SeqCst);
            tags.clear();
            return Covers::All;
        }
        self.has_tags.store(true, Ordering::SeqCst);
        let fence = tags.entry(tag.clone()).or_insert(0);
        *fence = (*fence).max(version.get());
        Covers::Tag(tag)
    }

    /// What is fenced, up to which version, where that is not above `ceiling`.
    pub fn fences_up_to(&self, ceiling: u64) -> Vec<(Covers, Version)> {
        let whole = self.cleared().map(|fence| (Covers::All, fence));
        let tags = self.tags.read();
        let tags = tags.iter().filter_map(|(tag, fence)| {
            let fence = Version::new(*fence)?;
            Some((Covers::Tag(tag.clone()), fence))
        });
        let mut all: Vec<_> = tags.chain(whole).collect();
        all.retain(|(_, fence)| fence.get() <= ceiling);
        all
    }

    /// Runs `decide` while no fence is being raised.
    pub fn undisturbed<R>(&self, decide: impl FnOnce() -> R) -> R {
        let _shared = self.order.read();
        decide()
    }

    /// The newest fence of the whole cache; `None` before the first `clear`.
    pub fn cleared(&self) -> Option<Version> {
        Version::new(self.fence.load(Ordering::Acquire))
    }

    /// How many tag fences are kept.
    pub fn tag_fences(&self) -> usize {
        self.tags.read().len()
    }
}

impl Drop for Moving<'_> {
    fn drop(&mut self) {
        self.0.moves_done.fetch_add(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(tags_max: usize) -> Scope {
        Scope::new(CacheId(1), "users", tags_max)
    }

    #[test]
    fn a_clear_refuses_everything_up_to_its_version() {
        let scope = scope(4);
        assert!(scope.cleared().is_none());
        let (version, covers) = scope.raise(Covers::All, || Version::at(10));
        assert_eq!(covers, Covers::All);
        assert!(!scope.accepts(version, &[]));
        assert!(scope.accepts(Version::at(11), &[]));
        assert_eq!(scope.cleared(), Some(version));
    }

    #[test]
    fn a_tag_fence_refuses_only_entries_with_that_tag() {
        let scope = scope(4);
        scope.raise(Covers::Tag("a".into()), || Version::at(10));
        assert!(!scope.accepts(Version::at(9), &["b".into(), "a".into()]));
        assert!(scope.accepts(Version::at(9), &["b".into()]));
        assert!(scope.accepts(Version::at(9), &[]));
        assert!(scope.accepts(Version::at(11), &["a".into()]));
    }

    #[test]
    fn fences_never_sink() {
        let scope = scope(4);
        scope.raise_to(Covers::All, Version::at(10));
        scope.raise_to(Covers::All, Version::at(5));
        assert!(!scope.accepts(Version::at(9), &[]));
        scope.raise_to(Covers::Tag("a".into()), Version::at(20));
        scope.raise_to(Covers::Tag("a".into()), Version::at(15));
        assert!(!scope.accepts(Version::at(18), &["a".into()]));
    }

    #[test]
    fn a_fence_of_loads_leaves_alone_what_is_there() {
        let scope = scope(4);
        scope.overtake_loads(Version::at(10));
        scope.overtake_loads(Version::at(5));
        assert!(scope.accepts(Version::at(9), &[]));
        assert!(!scope.accepts_load(Version::at(10), &[]));
        assert!(scope.accepts_load(Version::at(11), &[]));
        scope.raise_to(Covers::Tag("a".into()), Version::at(12));
        assert!(!scope.accepts_load(Version::at(11), &["a".into()]));
    }

    #[test]
    fn too_many_tag_fences_become_one_of_the_whole_cache() {
        let scope = scope(2);
        for (n, tag) in ["a", "b"].into_iter().enumerate() {
            scope.raise_to(Covers::Tag(tag.into()), Version::at(10 + n as u64));
        }
        let (_, covers) = scope.raise(Covers::Tag("c".into()), || Version::at(5));
        assert_eq!(covers, Covers::All);
        assert_eq!(scope.tag_fences(), 0);
        assert!(
            !scope.accepts(Version::at(11), &[]),
            "the newest of all fences"
        );
        assert!(scope.accepts(Version::at(12), &["a".into()]));
    }
}
