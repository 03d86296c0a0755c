//! hitbox with its moka backend. It keeps bytes: values are encoded and decoded at every call, here with
//! bincode, which is faster than its default of JSON. It has no cache of its own to ask, so its backend is
//! asked as its middleware does; the keys, which are its own type, are made beforehand.

use hitbox::{CacheKey, CacheValue};
use hitbox_backend::CacheBackend;
use hitbox_backend::format::BincodeFormat;
use hitbox_core::CacheContext;
use hitbox_moka::MokaBackend;

use super::{Maker, Peer, loops};
use crate::harness::drive;
use crate::workload::User;

pub const MAKER: Maker = Maker {
    name: "hitbox-moka",
    make: |keys, entries| {
        let builder = MokaBackend::builder().max_entries(entries as u64);
        let backend = builder.value_format(BincodeFormat).build();
        let key = |n| CacheKey::from_slice(&[(keys.at(n), None)]);
        let keys = (0..keys.count()).map(key).collect();
        Box::new(Hitbox { backend, keys })
    },
};

/// What its trait for responses is implemented for and is nearest to eight numbers.
type Value = Vec<u64>;

struct Hitbox {
    backend: MokaBackend<BincodeFormat>,
    keys: Vec<CacheKey>,
}

impl Peer for Hitbox {
    loops!(|peer, key, at|
        get {
            let mut context = CacheContext::default().boxed();
            let found = peer.backend.get::<Value>(&peer.keys[at as usize], &mut context).await;
            found.expect("an answer")
        },
        set(user) {
            let mut context = CacheContext::default().boxed();
            let value = CacheValue::new(numbers(&user), None, None);
            let key = &peer.keys[at as usize];
            let set = peer.backend.set::<Value>(key, &value, &mut context).await;
            set.expect("a set")
        },
    );

    fn settle(&self) {
        drive(self.backend.cache().run_pending_tasks());
    }

    fn resident(&self) -> usize {
        self.settle();
        self.backend.entry_count() as usize
    }
}

fn numbers(user: &User) -> Value {
    vec![
        user.id,
        user.created,
        user.seen,
        user.visits,
        user.plan,
        user.region,
        user.flags,
        user.check,
    ]
}
