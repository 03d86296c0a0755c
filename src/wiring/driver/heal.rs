//! What follows when a driver says that it was emptied: it is counted and said, nothing in it is
//! distrusted any more if it is empty indeed, and what memory still has is stored again (the slot protocol, rules 11 and 12,
//! SEMANTICS.md).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::drivers::Emptied;
use crate::port::Port;
use crate::tiers::Tiers;

/// What one driver is to get back from memory. Outlives its generations.
pub(super) struct Healing {
    tiers: Arc<Tiers>,
    port: Arc<Port>,
    /// The latest one that got calls.
    generation: AtomicU64,
}

impl Healing {
    pub fn new(tiers: &Arc<Tiers>, port: &Arc<Port>) -> Self {
        Self {
            tiers: Arc::clone(tiers),
            port: Arc::clone(port),
            generation: AtomicU64::new(0),
        }
    }

    /// A driver that has just been opened was emptied. To be called before anything can be taken for it.
    pub fn emptied(&self, emptied: &Emptied) {
        let (tiers, port) = (&self.tiers, &self.port);
        tracing::warn!(
            driver = %port.name,
            reason = %emptied.reason,
            kept = emptied.kept.as_deref().unwrap_or("nothing"),
            salvaged = emptied.salvaged,
            "driver begins with a new store, which has what could be salvaged of the old one; what memory \
             has is stored again, the rest is fetched anew; check the device, and delete what is kept \
             when nobody needs it"
        );
        let (stats, order) = (&port.stats, Ordering::Relaxed);
        stats.emptied.fetch_add(1, order);
        stats.salvaged.fetch_add(emptied.salvaged, order);
        port.owe(true);
        // IMPORTANT: what was distrusted may be among what was salvaged, whole and old.
        if emptied.salvaged == 0 {
            let as_of = tiers.shelf.versions().next(tiers.now_ms());
            tiers.shelf.trust_all(port.id, as_of);
        }
    }

    /// A generation was proven. Resolves when it has all that it is owed, or another one was.
    pub async fn run(self: Arc<Self>, generation: u64) {
        self.generation.store(generation, Ordering::Release);
        let is_latest = || self.generation.load(Ordering::Acquire) == generation;
        let (port, tiers) = (&self.port, &self.tiers);
        while port.is_owed() {
            // Its breaker may be forced open.
            port.coming_up().await;
            if !is_latest() || tiers.takes_no_more() {
                return;
            }
            let goes_on = || port.is_up() && is_latest();
            let (filed, is_all) = tiers.refile(port.id, goes_on).await;
            if is_all && goes_on() {
                port.owe(false);
            }
            tracing::info!(driver = %port.name, filed, is_all, "stored again from memory");
        }
    }
}
