//! The contenders in memory: each with the loops that are timed, written out for it by one macro.
//!
//! A loop holds the call as a host would write it, `cache.get(key).await` for instance. Whoever is not
//! async runs in the same block without an await. What a get gives outlives the call for everybody: an
//! `Arc` of the value or the peer's own shared entry, never a lock that is held.

pub mod bare;
pub mod cachet;
pub mod dashmap;
pub mod foyer;
pub mod hitbox;
pub mod larder;
pub mod moka;
pub mod quick;
pub mod stretto;

use crate::workload::Keys;

/// A cache that is asked in loops, by any thread.
pub trait Peer: Send + Sync {
    /// Gets in this order; how many found something.
    fn get(&self, keys: &Keys, order: &[u32]) -> usize;

    /// Sets in this order, each a new value.
    fn set(&self, keys: &Keys, order: &[u32]);

    /// Gets and sets, as the steps say; how many gets found something.
    fn mix(&self, keys: &Keys, steps: &[u32]) -> usize;

    /// Lets whatever it does in the background end.
    fn settle(&self) {}

    /// How many entries it has.
    fn resident(&self) -> usize;
}

/// A way to make one.
pub struct Maker {
    /// Stands in the names of rows.
    pub name: &'static str,
    /// With room for so many entries of these keys.
    pub make: fn(&Keys, usize) -> Box<dyn Peer>,
}

/// Whom every ratio is about.
pub const LARDER: &str = "larder";

/// Every contender in memory, larder first.
pub const ALL: &[Maker] = &[
    larder::MAKER,
    quick::MAKER,
    quick::MAKER_64,
    moka::MAKER,
    moka::MAKER_FUTURE,
    foyer::MAKER,
    stretto::MAKER,
    cachet::MAKER,
    hitbox::MAKER,
    dashmap::MAKER,
];

/// Writes the loops around one get and one set.
macro_rules! loops {
    (|$peer:ident, $key:ident, $at:ident| get $get:expr, set($value:ident) $set:expr $(,)?) => {
        #[allow(unused_variables)]
        fn get(&self, keys: &$crate::workload::Keys, order: &[u32]) -> usize {
            let $peer = self;
            $crate::harness::drive(async move {
                let mut found = 0;
                for &$at in order {
                    let $key = keys.at($at);
                    found += usize::from(std::hint::black_box($get).is_some());
                }
                found
            })
        }

        #[allow(unused_variables)]
        fn set(&self, keys: &$crate::workload::Keys, order: &[u32]) {
            let $peer = self;
            $crate::harness::drive(async move {
                for &$at in order {
                    let $key = keys.at($at);
                    let $value = $crate::workload::User::new($at);
                    std::hint::black_box($set);
                }
            })
        }

        #[allow(unused_variables)]
        fn mix(&self, keys: &$crate::workload::Keys, steps: &[u32]) -> usize {
            let $peer = self;
            $crate::harness::drive(async move {
                let mut found = 0;
                for step in steps {
                    let $at = step & !$crate::workload::SET;
                    let $key = keys.at($at);
                    if step & $crate::workload::SET == 0 {
                        found += usize::from(std::hint::black_box($get).is_some());
                    } else {
                        let $value = $crate::workload::User::new($at);
                        std::hint::black_box($set);
                    }
                }
                found
            })
        }
    };
}
pub(crate) use loops;
