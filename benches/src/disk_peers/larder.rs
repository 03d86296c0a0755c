//! larder over a disk as a host gets it: default features, the builder with a budget and a directory.

use std::path::Path;

use larder::{Cache, DriverStats, Larder, Stats};

use crate::peers::larder::stop;

pub struct Own {
    pub larder: Larder,
    pub cache: Cache<String>,
}

impl Own {
    pub fn open(dir: &Path, memory_bytes: usize) -> Self {
        let larder = Larder::builder()
            .memory_bytes(memory_bytes)
            .disk(dir)
            .start_blocking()
            .expect("a larder");
        let cache = larder.cache("users").expect("a cache");
        Self { larder, cache }
    }

    pub fn stats(&self) -> Stats {
        let stats = self.larder.block_on(self.larder.stats());
        stats.expect("a runtime").expect("statistics")
    }

    /// What the disk tier has counted.
    pub fn disk(&self) -> DriverStats {
        self.stats().drivers.remove(0)
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        stop(&self.larder);
    }
}
