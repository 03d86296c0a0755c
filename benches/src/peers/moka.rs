//! moka, both of its faces, with its defaults.

use std::sync::Arc;

use super::{Maker, Peer, loops};
use crate::harness::drive;
use crate::workload::User;

pub const MAKER: Maker = Maker {
    name: "moka",
    make: |_, entries| Box::new(Sync(moka::sync::Cache::new(entries as u64))),
};

pub const MAKER_FUTURE: Maker = Maker {
    name: "moka-future",
    make: |_, entries| Box::new(Async(moka::future::Cache::new(entries as u64))),
};

struct Sync(moka::sync::Cache<String, Arc<User>>);

impl Peer for Sync {
    loops!(|peer, key, at|
        get peer.0.get(key),
        set(user) peer.0.insert(key.to_owned(), Arc::new(user)),
    );

    fn settle(&self) {
        self.0.run_pending_tasks();
    }

    fn resident(&self) -> usize {
        self.settle();
        self.0.entry_count() as usize
    }
}

struct Async(moka::future::Cache<String, Arc<User>>);

impl Peer for Async {
    loops!(|peer, key, at|
        get peer.0.get(key).await,
        set(user) peer.0.insert(key.to_owned(), Arc::new(user)).await,
    );

    fn settle(&self) {
        drive(self.0.run_pending_tasks());
    }

    fn resident(&self) -> usize {
        self.settle();
        self.0.entry_count() as usize
    }
}

/// How large the future of a get is.
pub fn future_bytes() -> usize {
    let cache = moka::future::Cache::<String, Arc<User>>::new(1);
    size_of_val(&cache.get("user:0000000"))
}
