//! larder: an embedded cache runtime that keeps answering.

mod actors;
mod bell;
mod builder;
pub mod cache;
pub mod clock;
pub mod codec;
pub mod config;
pub mod drivers;
mod entry;
pub mod error;
mod event;
mod gate;
mod health;
mod histogram;
pub mod key;
mod larder;
pub mod messages;
mod outcome;
mod port;
pub mod record;
mod runtime;
pub mod shelf;
mod stats;
mod sync;
mod tiers;
mod timers;
mod typed;
pub mod version;
mod wait;
pub mod watch;
mod wiring;

pub use actors::desk::Desk;
pub use builder::Builder;
pub use cache::{Cache, CacheBuilder};
pub use codec::{Codec, Value};
pub use config::{CommitConfig, Config, Limits};
pub use entry::{Entry, Source};
pub use error::{Error, ErrorClass};
pub use event::{Change, EntryEvent, Old};
pub use health::{ActorHealth, ActorState, Backoff};
pub use larder::Larder;
pub use outcome::{Degraded, DegradedReason, Durability, ReadOutcome, WriteOutcome};
pub use shelf::{EventKind, Freshness, Priority};
pub use stats::{DirtyStats, DriverStats, ExpiryStats, Stats, WatchStats};
pub use version::Version;

/// The README's example is compiled.
#[cfg(all(doctest, feature = "disk"))]
#[doc = include_str!("../README.md")]
struct Readme;
