//! What a cache's table may look like, with nothing of a cache around it: no eviction, no budget, no clock, no
//! tiers. They show what a design costs at least, and what another one would give.
//!
//! All look a key up by the same hash in one of 64 parts, compare a cache's number and the key, see that the
//! entry is fresh and newer than a fence, note that it was read, and hand out a share of the value.

use std::any::Any;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use crossbeam_utils::CachePadded;
use crossbeam_utils::sync::ShardedLock;
use hashbrown::HashTable;
use parking_lot::RwLock;
use smol_str::SmolStr;

use super::{Maker, Peer, loops};
use crate::workload::User;

/// As larder's: rows in a slab, values without their type.
pub const ERASED: Maker = Maker {
    name: "bare-erased",
    make: |_, _| Box::new(Bare::<Rows<Erased>, RwLock<_>>::new()),
};

/// The same with values of one type.
pub const TYPED: Maker = Maker {
    name: "bare-typed",
    make: |_, _| Box::new(Bare::<Rows<Arc<User>>, RwLock<_>>::new()),
};

/// One allocation for an entry with its value, which is also what a get hands out.
pub const NODE: Maker = Maker {
    name: "bare-node",
    make: |_, _| Box::new(Bare::<Nodes, RwLock<_>>::new()),
};

/// As the first, with a lock that gives each reading thread a line of its own, up to eight.
pub const LINES: Maker = Maker {
    name: "bare-lines",
    make: |_, _| Box::new(Bare::<Rows<Erased>, ShardedLock<_>>::new()),
};

const PARTS: usize = 64;
const CACHE: u32 = 1;
const NEVER: u64 = u64::MAX;

type Hasher = foldhash::quality::RandomState;
type Erased = Arc<dyn Any + Send + Sync>;

/// Nothing older than this is shown.
static FENCE: AtomicU64 = AtomicU64::new(0);
static VERSIONS: AtomicU64 = AtomicU64::new(1);

/// What is known of an entry beside its value.
struct Head {
    name: SmolStr,
    cache: u32,
    reads: AtomicU8,
    version: u64,
    expires: u64,
}

impl Head {
    fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            cache: CACHE,
            reads: AtomicU8::new(0),
            version: VERSIONS.fetch_add(1, Ordering::Relaxed),
            expires: NEVER,
        }
    }

    #[inline]
    fn is(&self, name: &str) -> bool {
        self.cache == CACHE && self.name == name
    }

    /// Whether it may be shown; notes that it was.
    #[inline]
    fn shows(&self) -> bool {
        let shows = self.expires == NEVER && self.version > FENCE.load(Ordering::Acquire);
        let reads = self.reads.load(Ordering::Relaxed);
        if shows && reads < 3 {
            self.reads.store(reads + 1, Ordering::Relaxed);
        }
        shows
    }

    fn hash(&self, hasher: &Hasher) -> u64 {
        hasher.hash_one((self.cache, self.name.as_str()))
    }
}

/// One part of a table.
trait Table: Default + Send + Sync + 'static {
    /// What a get hands out.
    type Found;
    /// A value on its way in.
    type Value;

    fn value(key: &str, user: User) -> Self::Value;
    fn get(&self, hash: u64, key: &str) -> Option<Self::Found>;
    /// What was there is the caller's to drop, without the lock.
    fn set(
        &mut self,
        hasher: &Hasher,
        hash: u64,
        key: &str,
        value: Self::Value,
    ) -> Option<Self::Value>;
    fn len(&self) -> usize;
}

/// How a value lies in a row.
trait Body: Clone + Send + Sync + 'static {
    fn of(user: User) -> Self;
    fn user(self) -> Option<Arc<User>>;
}

impl Body for Arc<User> {
    fn of(user: User) -> Self {
        Self::new(user)
    }

    fn user(self) -> Option<Arc<User>> {
        Some(self)
    }
}

impl Body for Erased {
    fn of(user: User) -> Self {
        Arc::new(user)
    }

    fn user(self) -> Option<Arc<User>> {
        self.downcast().ok()
    }
}

struct Rows<B> {
    index: HashTable<u32>,
    rows: Vec<(Head, B)>,
}

impl<B> Default for Rows<B> {
    fn default() -> Self {
        Self {
            index: HashTable::new(),
            rows: Vec::new(),
        }
    }
}

impl<B: Body> Table for Rows<B> {
    // Cast without the lock.
    type Found = B;
    type Value = B;

    fn value(_: &str, user: User) -> B {
        B::of(user)
    }

    #[inline]
    fn get(&self, hash: u64, key: &str) -> Option<B> {
        let is = |at: &u32| self.rows[*at as usize].0.is(key);
        let (head, body) = &self.rows[*self.index.find(hash, is)? as usize];
        head.shows().then(|| body.clone())
    }

    #[inline]
    fn set(&mut self, hasher: &Hasher, hash: u64, key: &str, value: B) -> Option<B> {
        let is = |at: &u32| self.rows[*at as usize].0.is(key);
        if let Some(at) = self.index.find(hash, is) {
            let (head, body) = &mut self.rows[*at as usize];
            head.version = VERSIONS.fetch_add(1, Ordering::Relaxed);
            return Some(std::mem::replace(body, value));
        }
        let at = self.rows.len() as u32;
        self.rows.push((Head::new(key), value));
        let rows = &self.rows;
        self.index
            .insert_unique(hash, at, |at| rows[*at as usize].0.hash(hasher));
        None
    }

    fn len(&self) -> usize {
        self.rows.len()
    }
}

#[derive(Default)]
struct Nodes(HashTable<Arc<(Head, User)>>);

impl Table for Nodes {
    type Found = Arc<(Head, User)>;
    type Value = Arc<(Head, User)>;

    fn value(key: &str, user: User) -> Self::Value {
        Arc::new((Head::new(key), user))
    }

    #[inline]
    fn get(&self, hash: u64, key: &str) -> Option<Self::Found> {
        let node = self.0.find(hash, |node| node.0.is(key))?;
        node.0.shows().then(|| Arc::clone(node))
    }

    #[inline]
    fn set(
        &mut self,
        hasher: &Hasher,
        hash: u64,
        key: &str,
        value: Self::Value,
    ) -> Option<Self::Value> {
        if let Some(node) = self.0.find_mut(hash, |node| node.0.is(key)) {
            return Some(std::mem::replace(node, value));
        }
        self.0
            .insert_unique(hash, value, |node| node.0.hash(hasher));
        None
    }

    fn len(&self) -> usize {
        self.0.len()
    }
}

/// A lock that many may read under.
trait Lock<T>: Send + Sync {
    fn new(table: T) -> Self;
    fn read<R>(&self, read: impl FnOnce(&T) -> R) -> R;
    fn write<R>(&self, write: impl FnOnce(&mut T) -> R) -> R;
}

impl<T: Send + Sync> Lock<T> for RwLock<T> {
    fn new(table: T) -> Self {
        Self::new(table)
    }

    #[inline(always)]
    fn read<R>(&self, read: impl FnOnce(&T) -> R) -> R {
        read(&self.read())
    }

    #[inline(always)]
    fn write<R>(&self, write: impl FnOnce(&mut T) -> R) -> R {
        write(&mut self.write())
    }
}

impl<T: Send + Sync> Lock<T> for ShardedLock<T> {
    fn new(table: T) -> Self {
        Self::new(table)
    }

    #[inline(always)]
    fn read<R>(&self, read: impl FnOnce(&T) -> R) -> R {
        read(&self.read().expect("no panic"))
    }

    #[inline(always)]
    fn write<R>(&self, write: impl FnOnce(&mut T) -> R) -> R {
        write(&mut self.write().expect("no panic"))
    }
}

struct Bare<T, L> {
    parts: Box<[CachePadded<L>]>,
    hasher: Hasher,
    table: std::marker::PhantomData<fn() -> T>,
}

impl<T: Table, L: Lock<T>> Bare<T, L> {
    fn new() -> Self {
        let parts = (0..PARTS).map(|_| CachePadded::new(L::new(T::default())));
        Self {
            parts: parts.collect(),
            hasher: Hasher::default(),
            table: std::marker::PhantomData,
        }
    }

    #[inline(always)]
    fn part(&self, key: &str) -> (u64, &L) {
        let hash = self.hasher.hash_one((CACHE, key));
        (hash, &self.parts[(hash >> 32) as usize % PARTS])
    }

    #[inline(always)]
    fn find(&self, key: &str) -> Option<T::Found> {
        let (hash, part) = self.part(key);
        part.read(|table| table.get(hash, key))
    }

    #[inline(always)]
    fn put(&self, key: &str, user: User) {
        let value = T::value(key, user);
        let (hash, part) = self.part(key);
        drop(part.write(|table| table.set(&self.hasher, hash, key, value)));
    }
}

impl<B: Body, L: Lock<Rows<B>>> Peer for Bare<Rows<B>, L> {
    loops!(|peer, key, at|
        get peer.find(key).and_then(Body::user),
        set(user) peer.put(key, user),
    );

    fn resident(&self) -> usize {
        self.parts.iter().map(|part| part.read(Table::len)).sum()
    }
}

impl<L: Lock<Nodes>> Peer for Bare<Nodes, L> {
    loops!(|peer, key, at|
        get peer.find(key),
        set(user) peer.put(key, user),
    );

    fn resident(&self) -> usize {
        self.parts.iter().map(|part| part.read(Table::len)).sum()
    }
}
