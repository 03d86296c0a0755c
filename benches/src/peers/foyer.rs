//! foyer's memory cache with its defaults. What a get gives is its own shared entry.

use std::sync::Arc;

use foyer::{Cache, CacheBuilder};

use super::{Maker, Peer, loops};
use crate::workload::User;

pub const MAKER: Maker = Maker {
    name: "foyer",
    make: |_, entries| Box::new(Foyer(CacheBuilder::new(entries).build())),
};

struct Foyer(Cache<String, Arc<User>>);

impl Peer for Foyer {
    loops!(|peer, key, at|
        get peer.0.get(key),
        set(user) peer.0.insert(key.to_owned(), Arc::new(user)),
    );

    fn resident(&self) -> usize {
        self.0.entries()
    }
}
