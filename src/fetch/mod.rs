//! Get-or-fetch: one load for all who ask, tried again where that may help, and kept where it may be.
//!
//! The pieces are pure where they can be: `flights` knows who waits for which load, `retry` when it is
//! tried again, `judge` whether what is there will do. [`Cache::fetch`](crate::Cache::fetch) puts them
//! together (`cache/fetch.rs`, `cache/loading.rs`).

mod attempts;
mod budget;
mod chain;
mod circuit;
mod context;
mod flights;
mod judge;
mod loaded;
mod news;
mod notes;
mod queue;
mod retry;
mod scope;
mod source;
mod table;
mod validator;

pub(crate) use attempts::{Attempts, Classify, Guarded, Loader, Loading};
pub use budget::{Budget, CONNECT, READ};
pub(crate) use chain::{Chain, chain};
pub use context::LoadManyContext;
pub(crate) use flights::{Pilot, Seat};
pub(crate) use judge::{Lapse, Terms, Verdict, judge};
pub use loaded::{LoadContext, Loaded};
pub(crate) use loaded::{Stale, What};
pub(crate) use news::News;
pub use news::{LOADS_BUFFER_EVENTS, LoadEvent, LoadEventKind, LoadWatch};
pub(crate) use notes::{Note, Noted, Notes, Proof};
pub use queue::Urgency;
pub use retry::{ATTEMPTS, BASE, CAP, FACTOR, Retry};
pub use scope::FetchScope;
pub use source::{
    CALL_MS_MAX, CALLS_IN_FLIGHT, CALLS_WAITING, LoadSource, SourceConfig, SourceStats,
};
pub(crate) use source::{Rank, Sources};
pub(crate) use table::{Full, Id, Landed};
pub use validator::VALIDATOR_BYTES_MAX;
#[cfg(feature = "test-util")]
pub(crate) use validator::among as validator_among;
pub(crate) use validator::is_reserved;

use std::any::{Any, TypeId};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use hashbrown::HashMap;
use parking_lot::Mutex;

use crate::clock::Clock;
use crate::config::Limits;
use crate::error::Error;
use crate::key::CacheId;
use crate::shelf::MarkId;
use crate::version::Version;

/// How long a call may take in all, where nothing else is said.
pub const DEADLINE: Duration = Duration::from_secs(60);
/// The longest that anybody may ask for: a day.
pub const DEADLINE_MAX: Duration = Duration::from_secs(86_400);
/// How long a load goes on that is to go on without anybody, if it has not taken very long by then, and at most if
/// nobody ever waited for it.
pub const BACKGROUND_MAX: Duration = Duration::from_secs(30);
/// How long what can be shown is not loaded again after a failure, where nothing else is said.
pub const THROTTLE: Duration = Duration::from_secs(1);
/// A load has so much more time than those who wait for it, so that they are told that their own is up.
pub(crate) const GRACE: Duration = Duration::from_secs(1);

/// What a load claims when it begins: nothing may have happened to its key since, or it is not kept.
#[derive(Clone)]
pub(crate) struct Claim {
    pub mark: MarkId,
    pub began: Version,
    /// Whoever joins lifts it.
    pub rank: Arc<Rank>,
}

impl Claim {
    /// Somebody joins who is as urgent as this: always true.
    pub fn lifted(&self, urgency: Urgency) -> bool {
        self.rank.lift(urgency);
        true
    }
}

/// What a load brings: without its type, as one table is for all.
pub(crate) type Brings = Result<Arc<dyn Any + Send + Sync>, Error>;

/// The loads of one larder.
pub(crate) struct Fetches {
    pub flights: Arc<flights::Flights<Claim, Brings>>,
    pub sources: Sources,
    pub notes: Notes,
    pub news: News,
    /// Loaders of caches' own, by cache and type: no more than there are caches, for each type.
    pub registries: Mutex<HashMap<(CacheId, TypeId), Arc<dyn Forgets>>>,
    pub counts: FetchCounts,
}

/// What they come to.
#[derive(Default)]
pub(crate) struct FetchCounts {
    pub loads: AtomicU64,
    pub attempts: AtomicU64,
    pub failed: AtomicU64,
    pub missing: AtomicU64,
    pub coalesced: AtomicU64,
    pub fenced: AtomicU64,
    pub not_stored: AtomicU64,
    pub stale: AtomicU64,
}

/// Something that holds a host's code.
pub(crate) trait Forgets: Any + Send + Sync {
    /// Lets go of it.
    fn forget(&self);
}

impl Fetches {
    /// Nothing is loaded any more: what hosts' loaders hold is let go of, which may be larder itself.
    pub fn close(&self) {
        let registries = std::mem::take(&mut *self.registries.lock());
        for registry in registries.into_values() {
            // A host's code: it may panic.
            let _ = catch_unwind(AssertUnwindSafe(|| registry.forget()));
        }
    }

    /// Within these limits.
    pub fn new(limits: &Limits, clock: Clock) -> Self {
        let calls_max = limits.source_calls_in_flight_max;
        Self {
            flights: Arc::new(flights::Flights::new(limits.loads_in_flight_max)),
            news: News::new(),
            registries: Mutex::default(),
            notes: Notes::new(limits.load_notes_max),
            sources: Sources::new(clock, calls_max, limits.sources_max),
            counts: FetchCounts::default(),
        }
    }
}
