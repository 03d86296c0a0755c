//! larder: an embedded cache runtime that keeps answering.
//!
//! A host starts it, asks it for values, and need not know that a disk filled up, a driver panicked or
//! a store was damaged. Values live in memory and, if wanted, in stores below it; each tier is a driver
//! under supervision, everything is bounded, and every answer can explain itself.
//!
//! It may forget; it never lies: no read returns a value older than one that was acknowledged before it
//! began, nor one that was removed, cleared or has expired. When larder does not know, the answer is a
//! miss.
//!
//! # Example: values that survive the process
//!
//! ```
//! # #[cfg(feature = "disk")]
//! # #[tokio::main] async fn main() -> Result<(), larder::Error> {
//! use std::time::Duration;
//! use larder::{Cache, Durability, Larder};
//!
//! #[derive(serde::Serialize, serde::Deserialize)]
//! struct User {
//!     name: String,
//! }
//!
//! # let scratch = tempfile::tempdir().expect("a directory");
//! # let directory = scratch.path();
//! let larder = Larder::builder().memory_bytes(64 << 20).disk(directory).start().await?;
//! let users: Cache<User> = larder.cache("users")?;
//!
//! let ada = User { name: "Ada".into() };
//! let version = users.set("42", ada).ttl(Duration::from_secs(3_600)).tag("team:7").await?;
//!
//! // An entry derefs to its value and knows its version and times.
//! let found = users.get("42").await?.expect("just set");
//! assert_eq!(found.name, "Ada");
//! assert_eq!(found.version(), version);
//!
//! // Only if nobody was faster, and back only when it is on the device.
//! let grace = User { name: "Grace".into() };
//! users.set("42", grace).if_version(version).durability(Durability::Synced).await?;
//!
//! // What an answer is worth: where it came from, how fresh it is, what did not take part.
//! let outcome = users.get("42").outcome().await?;
//! assert!(outcome.degraded.is_empty());
//!
//! users.remove_tag("team:7").await?;
//! larder.shutdown(Duration::from_secs(5)).await?;
//! # Ok(()) }
//! # #[cfg(not(feature = "disk"))] fn main() {}
//! ```
//!
//! # How the rest is organised
//!
//! - [`Larder`] is a running larder, [`Builder`] what it is started from; it runs on threads of its own
//!   and is used from any async runtime, or from none ([`Builder::start_blocking`],
//!   [`Larder::block_on`]).
//! - [`Cache`] is the handle of one named cache: reads, sets under conditions, batches of any size from
//!   iterators and streams, scans, tags, watching. [`CacheBuilder`] gives it defaults. Calls are configured by methods on what they return
//!   and made by awaiting it.
//! - [`Cache::fetch`] loads what is not there, once for all who ask; [`fetch`] has what goes with it: what a loader is given
//!   and answers ([`LoadContext`], [`Loaded`], [`LoadError`]), when it is tried again ([`Retry`]), named sources with limits and a
//!   breaker ([`LoadSource`]), time for its parts ([`Budget`]), calls that end with a view ([`FetchScope`]). Beside it are
//!   [`Cache::fetch_many`], loaders of a cache's own ([`Cache::loader`]), pages ([`Cache::fetch_page`]).
//! - [`codec`] has what writes values ([`Codec`], chosen by [`CacheBuilder::codec`]) and what compresses them on their way to a
//!   store ([`Compression`]); [`CacheBuilder::migrate`] reads what an earlier version of the host has stored.
//! - [`messages`] has everything that a handle can do as typed messages to [`Larder::desk`], for hosts
//!   that are actors.
//! - [`watch`] has the streams of changes, [`EntryEvent`] what they yield.
//! - [`drivers`] has the [`Driver`](drivers::Driver) trait for stores of a host's own, and the stores
//!   that come with larder.
//! - [`Error`] is the one error; a miss is none. [`Limits`] has every bound, [`Stats`] everything that is
//!   counted.
//! - [`shelf`], [`record`], [`key`], [`version`] and [`clock`] are what the rest is made of.
//!
//! The repository's ARCHITECTURE.md shows how it works, SEMANTICS.md what exactly is promised,
//! FORMAT.md what is stored, SECURITY.md what sealing protects from and how to get a key in production.
//!
//! # What it does not do
//!
//! - It is not a database: it forgets when memory or a bound says so, and its conditions are no locks.
//! - It is not distributed. A store belongs to one process at a time.
//! - It keeps no order between two keys across a crash.
//! - It does not outlive `panic = "abort"`: supervision needs panics to unwind.
//!
//! # Features
//!
//! | feature | default | what it adds |
//! |---|---|---|
//! | `disk` | yes | the disk tier over fjall: `Builder::disk` |
//! | `secure` | yes | sealed stores: `Builder::secure`, `Builder::encrypted`, `Larder::secure`; brings `disk` |
//! | `keyring` | no | the master key from the operating system's keychain: `secret::KeychainKey` |
//! | `codecs` | yes | `codec::MessagePack` and `codec::Json` |
//! | `compression` | yes | `Compression::Zstd` and `Compression::Lz4` |
//! | `test-util` | no | for tests: a clock that is moved by hand, stopping actors, the conformance suite for drivers (`drivers::conformance`), drivers that fail on demand (`drivers::faults`) |

mod actors;
mod addresses;
mod bell;
mod breaker;
mod builder;
pub mod cache;
pub mod clock;
pub mod codec;
pub mod config;
pub mod drivers;
mod entry;
pub mod error;
mod event;
pub mod fetch;
#[cfg(feature = "test-util")]
#[doc(hidden)]
pub mod fuzzing;
mod gate;
mod health;
mod histogram;
mod hurry;
pub mod key;
mod larder;
pub mod messages;
mod outcome;
mod port;
pub mod record;
mod runtime;
pub mod secret;
pub mod shelf;
mod stats;
mod sync;
mod tally;
mod tiers;
mod timers;
mod typed;
pub mod version;
mod wait;
pub mod watch;
mod wipe;
mod wiring;

pub use actors::desk::Desk;
pub use addresses::{DriverAddress, MemoryAddress};
pub use breaker::{BreakerConfig, BreakerMode, BreakerState, BreakerStats};
pub use builder::Builder;
pub use cache::{
    BatchReport, Cache, CacheBuilder, ChunkReport, Feed, FeedChange, FeedEnd, FeedState, FeedStats,
    FetchOutcome, OnGap,
};
pub use codec::{Codec, Compression, Value};
pub use config::{CommitConfig, Config, Limits, MemoryBound, OnOpenFailure};
#[cfg(feature = "secure")]
pub use drivers::sealed::{Cipher, EncryptionConfig, PlainStore, SealProgress};
pub use entry::{Entry, Source};
pub use error::{Error, ErrorClass, LoadError, SuggestedAction};
pub use event::{Change, EntryEvent, Old};
pub use fetch::{
    Budget, FetchScope, LoadContext, LoadEvent, LoadManyContext, LoadSource, LoadWatch, Loaded,
    Retry, SourceConfig, SourceStats, Urgency,
};
pub use gate::Admission;
pub use health::{ActorHealth, ActorState, Backoff, RestartLimit};
pub use histogram::Latency;
#[cfg(feature = "secure")]
pub use larder::Rotation;
pub use larder::{DriverHandle, Larder};
pub use outcome::{Degraded, DegradedReason, Durability, ReadOutcome, WriteOutcome};
pub use secret::Secret;
pub use shelf::{EventKind, Freshness, Priority};
pub use stats::{
    CompressionStats, Condition, DirtyStats, DriverHealth, DriverStats, ExpiryStats, FetchStats,
    Health, LoadsHealth, Stats, WatchStats,
};
pub use typed::OldRecord;
pub use version::Version;
pub use wiring::HealthWatch;

/// The examples of SECURITY.md are compiled.
#[cfg(all(doctest, feature = "secure"))]
#[doc = include_str!("../SECURITY.md")]
struct Security;

/// The README's example is compiled.
#[cfg(all(doctest, feature = "disk"))]
#[doc = include_str!("../README.md")]
struct Readme;
