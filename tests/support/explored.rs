//! The primitives of `src/sync.rs` over shuttle's, so that shipped files compile against them.
//!
//! Shuttle's work only inside of an exploration. The unit tests of those files are compiled here as
//! well and run outside of one, so each primitive decides when it is made which kind it is.

use std::cell::Cell;
use std::ops::{Deref, DerefMut};

pub use std::sync::Arc;
pub use std::sync::atomic::AtomicU8 as HintU8;
pub use std::sync::atomic::Ordering;

thread_local! {
    static EXPLORING: Cell<bool> = const { Cell::new(false) };
}

/// Explores `iterations` random interleavings of `scenario`.
pub fn explore(iterations: usize, scenario: impl Fn() + Send + Sync + 'static) {
    // Shuttle runs all of an exploration's tasks on this thread.
    EXPLORING.set(true);
    shuttle::check_random(scenario, iterations);
}

macro_rules! guard {
    ($name:ident, $explored:ident, $plain:ident $(, $mutable:ident)?) => {
        pub enum $name<'a, T> {
            Explored(shuttle::sync::$explored<'a, T>),
            Plain(std::sync::$plain<'a, T>),
        }
        impl<T> Deref for $name<'_, T> {
            type Target = T;
            fn deref(&self) -> &T {
                match self {
                    Self::Explored(guard) => guard,
                    Self::Plain(guard) => guard,
                }
            }
        }
        $(impl<T> $mutable for $name<'_, T> {
            fn deref_mut(&mut self) -> &mut T {
                match self {
                    Self::Explored(guard) => guard,
                    Self::Plain(guard) => guard,
                }
            }
        })?
    };
}

guard!(ReadGuard, RwLockReadGuard, RwLockReadGuard);
guard!(WriteGuard, RwLockWriteGuard, RwLockWriteGuard, DerefMut);
guard!(MutexGuard, MutexGuard, MutexGuard, DerefMut);

#[allow(clippy::large_enum_variant)] // a few of them, for a few seconds
pub enum RwLock<T> {
    Explored(shuttle::sync::RwLock<T>),
    Plain(std::sync::RwLock<T>),
}

impl<T> RwLock<T> {
    pub fn new(value: T) -> Self {
        if EXPLORING.get() {
            Self::Explored(shuttle::sync::RwLock::new(value))
        } else {
            Self::Plain(std::sync::RwLock::new(value))
        }
    }

    pub fn read(&self) -> ReadGuard<'_, T> {
        match self {
            Self::Explored(lock) => ReadGuard::Explored(lock.read().unwrap()),
            Self::Plain(lock) => ReadGuard::Plain(lock.read().unwrap()),
        }
    }

    pub fn write(&self) -> WriteGuard<'_, T> {
        match self {
            Self::Explored(lock) => WriteGuard::Explored(lock.write().unwrap()),
            Self::Plain(lock) => WriteGuard::Plain(lock.write().unwrap()),
        }
    }
}

#[allow(clippy::large_enum_variant)] // as above
pub enum Mutex<T> {
    Explored(shuttle::sync::Mutex<T>),
    Plain(std::sync::Mutex<T>),
}

impl<T> Mutex<T> {
    pub fn new(value: T) -> Self {
        if EXPLORING.get() {
            Self::Explored(shuttle::sync::Mutex::new(value))
        } else {
            Self::Plain(std::sync::Mutex::new(value))
        }
    }

    pub fn lock(&self) -> MutexGuard<'_, T> {
        match self {
            Self::Explored(lock) => MutexGuard::Explored(lock.lock().unwrap()),
            Self::Plain(lock) => MutexGuard::Plain(lock.lock().unwrap()),
        }
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

macro_rules! atomic {
    ($name:ident, $value:ty { $($method:ident($($arg:ident: $of:ty),*) -> $result:ty;)* }) => {
        #[derive(Debug)]
        pub enum $name {
            Explored(shuttle::sync::atomic::$name),
            Plain(std::sync::atomic::$name),
        }
        impl $name {
            pub fn new(value: $value) -> Self {
                if EXPLORING.get() {
                    Self::Explored(shuttle::sync::atomic::$name::new(value))
                } else {
                    Self::Plain(std::sync::atomic::$name::new(value))
                }
            }
            $(pub fn $method(&self, $($arg: $of),*) -> $result {
                match self {
                    Self::Explored(atomic) => atomic.$method($($arg),*),
                    Self::Plain(atomic) => atomic.$method($($arg),*),
                }
            })*
        }
        impl Default for $name {
            fn default() -> Self {
                Self::new(<$value>::default())
            }
        }
    };
}

atomic!(AtomicBool, bool {
    load(order: Ordering) -> bool;
    store(value: bool, order: Ordering) -> ();
    swap(value: bool, order: Ordering) -> bool;
});
atomic!(AtomicU8, u8 {
    load(order: Ordering) -> u8;
    store(value: u8, order: Ordering) -> ();
});
atomic!(AtomicU64, u64 {
    load(order: Ordering) -> u64;
    store(value: u64, order: Ordering) -> ();
    fetch_add(value: u64, order: Ordering) -> u64;
    fetch_max(value: u64, order: Ordering) -> u64;
    compare_exchange_weak(old: u64, new: u64, ok: Ordering, no: Ordering) -> Result<u64, u64>;
});
atomic!(AtomicUsize, usize {
    load(order: Ordering) -> usize;
    store(value: usize, order: Ordering) -> ();
    fetch_add(value: usize, order: Ordering) -> usize;
    fetch_sub(value: usize, order: Ordering) -> usize;
});

#[derive(Clone, PartialEq, Eq)]
pub enum ThreadId {
    Explored(shuttle::thread::ThreadId),
    Plain(std::thread::ThreadId),
}

#[derive(Clone)]
pub enum Thread {
    Explored(shuttle::thread::Thread),
    Plain(std::thread::Thread),
}

impl Thread {
    pub fn id(&self) -> ThreadId {
        match self {
            Self::Explored(thread) => ThreadId::Explored(thread.id()),
            Self::Plain(thread) => ThreadId::Plain(thread.id()),
        }
    }

    pub fn unpark(&self) {
        match self {
            Self::Explored(thread) => thread.unpark(),
            Self::Plain(thread) => thread.unpark(),
        }
    }
}

pub fn this_thread() -> Thread {
    match EXPLORING.get() {
        true => Thread::Explored(shuttle::thread::current()),
        false => Thread::Plain(std::thread::current()),
    }
}

pub fn park() {
    match EXPLORING.get() {
        true => shuttle::thread::park(),
        false => std::thread::park(),
    }
}
