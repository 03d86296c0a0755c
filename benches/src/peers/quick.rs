//! quick_cache: its defaults, and with as many shards as larder may have stripes.

use std::sync::Arc;

use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, UnitWeighter};

use super::{Maker, Peer, loops};
use crate::workload::User;

pub const MAKER: Maker = Maker {
    name: "quick_cache",
    make: |_, entries| Box::new(Quick(Cache::new(entries))),
};

pub const MAKER_64: Maker = Maker {
    name: "quick_cache-64",
    make: |_, entries| {
        let options = OptionsBuilder::new()
            .estimated_items_capacity(entries)
            .weight_capacity(entries as u64)
            .shards(64)
            .build()
            .expect("options");
        let hasher = DefaultHashBuilder::default();
        let lifecycle = DefaultLifecycle::default();
        Box::new(Quick(Cache::with_options(
            options,
            UnitWeighter,
            hasher,
            lifecycle,
        )))
    },
};

struct Quick(Cache<String, Arc<User>>);

impl Peer for Quick {
    loops!(|peer, key, at|
        get peer.0.get(key),
        set(user) peer.0.insert(key.to_owned(), Arc::new(user)),
    );

    fn resident(&self) -> usize {
        self.0.len()
    }
}
