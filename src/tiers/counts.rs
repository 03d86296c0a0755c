//! What the paths count beyond what shelf and ports do.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::codec::Packed;
use crate::sync::Arc;

/// Counters of one larder.
#[derive(Default)]
pub(crate) struct Counts {
    pub encode_errors: AtomicU64,
    pub decode_errors: AtomicU64,
    pub schema_misses: AtomicU64,
    pub memory_only_sets: AtomicU64,
    pub overloaded: AtomicU64,
    pub packed: Arc<Packed>,
}

impl Counts {
    pub fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}
