//! stretto: ten counters for an entry, as it advises, and an entry costs one, whatever it takes inside.

use std::sync::Arc;

use stretto::Cache;

use super::{Maker, Peer, loops};
use crate::workload::User;

pub const MAKER: Maker = Maker {
    name: "stretto",
    make: |_, entries| {
        let builder = Cache::builder(10 * entries, entries as i64);
        let cache = builder.set_ignore_internal_cost(true).finalize();
        Box::new(Stretto(cache.expect("a cache")))
    },
};

struct Stretto(Cache<String, Arc<User>>);

impl Peer for Stretto {
    loops!(|peer, key, at|
        get peer.0.get(key).map(|user| Arc::clone(user.value())),
        set(user) peer.0.insert(key.to_owned(), Arc::new(user), 1),
    );

    fn settle(&self) {
        self.0.wait().expect("an end of what is under way");
    }

    fn resident(&self) -> usize {
        self.settle();
        self.0.len()
    }
}
