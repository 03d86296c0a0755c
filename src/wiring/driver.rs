//! How the rest reaches a storage driver: its plan, its supervisor, the ways of the batch writer and of
//! the TTL manager.

mod heal;
mod launch;
#[cfg(feature = "secure")]
mod upkeep;

use std::sync::{Arc, Weak};

use super::{Book, Parts, supervise};
use crate::actors::batch::Lane;
use crate::actors::supervisor::Watchdog;
use crate::actors::ttl::parts::Reclaimer;
use crate::clock::NEVER;
use crate::config::{CommitConfig, OnOpenFailure};
#[cfg(feature = "secure")]
use crate::drivers::sealed::Vault;
use crate::drivers::{Factory, Write};
use crate::entry::Source;
use crate::error::Error;
use crate::messages::storage::Reclaim;
use crate::messages::supervise::Failed;
use crate::messages::ttl::ReclaimAt;
use crate::port::{Port, Told};
use crate::shelf::TierId;
use launch::launch;

/// One driver of a configuration.
pub(crate) struct DriverPlan {
    pub name: String,
    pub source: Source,
    pub commits: CommitConfig,
    pub factory: Factory,
    /// What it has beyond one opening, if it is sealed.
    #[cfg(feature = "secure")]
    pub vault: Option<Arc<Vault>>,
}

impl DriverPlan {
    pub fn new(name: &str, source: Source, commits: CommitConfig, factory: Factory) -> Self {
        Self {
            name: name.to_owned(),
            source,
            commits,
            factory,
            #[cfg(feature = "secure")]
            vault: None,
        }
    }

    /// Whether nothing of it lies anywhere in plain text.
    pub fn is_sealed(&self) -> bool {
        #[cfg(feature = "secure")]
        return self.vault.is_some();
        #[cfg(not(feature = "secure"))]
        return false;
    }
}

/// Starts a driver under its supervisor.
pub(super) async fn start(
    parts: &Arc<Parts>,
    plan: &DriverPlan,
    port: &Arc<Port>,
) -> Result<(), Error> {
    let arbiter = parts.runtime.arbiter().await?;
    let (book, name) = (Arc::downgrade(&parts.book), plan.name.clone());
    let changes = parts.changes.clone();
    port.tell(Told {
        failed: Box::new(move |generation, failure| {
            let failed = Failed {
                generation,
                failure,
            };
            if let Some(book) = book.upgrade() {
                book.failed(&name, failed);
            }
        }),
        changed: Box::new(move || changes.note()),
    });
    let launch = launch(parts, plan, port, arbiter);
    let watched = Arc::clone(port);
    let watchdog = Watchdog {
        look: Box::new(move || watched.watch()),
        every_ms: (plan.commits.breaker.hung_ms / 4).max(1),
    };
    let started = supervise(parts, &plan.name, launch, Some(watchdog)).await;
    let is_optional = parts.tiers.config.on_open_failure == OnOpenFailure::StartDegraded;
    match started {
        Err(error @ Error::Open { .. }) if is_optional => {
            // Its supervisor goes on trying.
            tracing::warn!(%error, "starts without this driver");
            Ok(())
        }
        started => started,
    }
}

/// How the batch writer reaches a driver's present generation.
pub(super) fn lane(book: &Arc<Book>, plan: &DriverPlan, port: &Arc<Port>) -> Lane {
    let (book, tier) = (Arc::clone(book), port.id);
    Lane {
        port: Arc::clone(port),
        config: plan.commits.clone(),
        noted: Box::new(move |batch| note_keep(&book, tier, batch)),
    }
}

/// How the TTL manager has a driver reclaim.
pub(super) fn reclaimer(book: &Weak<Book>, port: &Arc<Port>) -> Reclaimer {
    let (book, port) = (book.clone(), Arc::clone(port));
    Arc::new(move |now_ms, count_max| {
        let book = book.upgrade();
        let driver = book.and_then(|book| book.drivers.read().get(&*port.name).cloned());
        let up = port.is_up();
        Box::pin(async move {
            let driver = driver.filter(|_| up)?;
            driver.send(Reclaim { now_ms, count_max }).await.ok()?.ok()
        })
    })
}

/// Tells the TTL manager that a driver is to store something that may be reclaimed from then on.
fn note_keep(book: &Book, tier: TierId, batch: &[Write]) {
    let keeps = batch.iter().map(|write| match write {
        Write::Put { keep_ms, .. } => *keep_ms,
        Write::Delete { .. } => NEVER,
    });
    let at_ms = keeps.min().unwrap_or(NEVER);
    if at_ms == NEVER {
        return;
    }
    if let Some(ttl) = &*book.ttl.read() {
        // A full mailbox: the next reclaim finds it.
        let _ = ttl.try_send(ReclaimAt {
            tier: tier.0,
            at_ms,
        });
    }
}
