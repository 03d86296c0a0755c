//! dashmap: a map that evicts nothing, as the floor of what sharing a table costs.

use std::sync::Arc;

use dashmap::DashMap;

use super::{Maker, Peer, loops};
use crate::workload::User;

pub const MAKER: Maker = Maker {
    name: "dashmap",
    make: |_, entries| Box::new(Map(DashMap::with_capacity(entries))),
};

struct Map(DashMap<String, Arc<User>>);

impl Peer for Map {
    loops!(|peer, key, at|
        get peer.0.get(key).map(|user| Arc::clone(user.value())),
        set(user) peer.0.insert(key.to_owned(), Arc::new(user)),
    );

    fn resident(&self) -> usize {
        self.0.len()
    }
}
