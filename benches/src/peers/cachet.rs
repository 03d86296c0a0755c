//! cachet with its memory tier, which is moka's.

use std::sync::Arc;

use cachet::Cache;

use super::{Maker, Peer, loops};
use crate::harness::drive;
use crate::workload::User;

pub const MAKER: Maker = Maker {
    name: "cachet",
    make: |_, entries| {
        // Its clock belongs to a runtime, for timers; there are none here.
        let clock = drive(async { tick::Clock::new_tokio() });
        let builder = Cache::builder::<String, Arc<User>>(clock);
        let cache = builder.memory_with(|memory| memory.max_capacity(entries as u64));
        Box::new(Cachet(cache.build()))
    },
};

struct Cachet(Cache<String, Arc<User>>);

impl Peer for Cachet {
    loops!(|peer, key, at|
        get peer.0.get(key).await.expect("an answer"),
        set(user) peer.0.insert(key.to_owned(), Arc::new(user)).await.expect("an outcome"),
    );

    fn resident(&self) -> usize {
        drive(self.0.len()).map_or(0, |len| len as usize)
    }
}
