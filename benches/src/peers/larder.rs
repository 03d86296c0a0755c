//! larder as a host gets it: default features, the builder with nothing but a budget, a typed handle.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use larder::{Cache, Larder};

use super::{LARDER, Maker, Peer, loops};
use crate::workload::{Keys, User};

pub const MAKER: Maker = Maker {
    name: LARDER,
    make: |keys, entries| Box::new(Own::new(entries * entry_bytes(keys))),
};

/// The least budget that the builder takes with its default limits.
pub const BUDGET_MIN: usize = 1 << 20;

struct Own {
    larder: Larder,
    cache: Cache<User>,
}

impl Own {
    fn new(memory_bytes: usize) -> Self {
        let larder = Larder::builder()
            .memory_bytes(memory_bytes.max(BUDGET_MIN))
            .start_blocking()
            .expect("a larder");
        let cache = larder.cache("users").expect("a cache");
        Self { larder, cache }
    }
}

impl Peer for Own {
    loops!(|peer, key, at|
        get peer.cache.get(key).await.expect("an answer"),
        set(user) peer.cache.set(key, Arc::new(user)).await.expect("a version"),
    );

    fn resident(&self) -> usize {
        stats(&self.larder).entries
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        stop(&self.larder);
    }
}

/// Ends a larder and waits for its threads.
pub fn stop(larder: &Larder) {
    let stopped = larder.block_on(larder.shutdown(Duration::from_secs(5)));
    stopped.expect("a runtime").expect("a clean end");
}

pub fn stats(larder: &Larder) -> larder::shelf::ShelfStats {
    let stats = larder.block_on(larder.stats());
    stats.expect("a runtime").expect("statistics").memory
}

/// What one entry counts for in the budget, as the statistics say.
fn entry_bytes(keys: &Keys) -> usize {
    static BYTES: OnceLock<usize> = OnceLock::new();
    *BYTES.get_or_init(|| {
        let own = Own::new(BUDGET_MIN);
        let few: Vec<u32> = (0..100).collect();
        own.set(keys, &few);
        let stats = stats(&own.larder);
        assert_eq!(stats.entries, few.len(), "all are there");
        stats.bytes.div_ceil(stats.entries)
    })
}

/// How large the future of a get is.
pub fn future_bytes() -> usize {
    let own = Own::new(BUDGET_MIN);
    let future = std::future::IntoFuture::into_future(own.cache.get("user:0000000"));
    size_of_val(&future)
}
