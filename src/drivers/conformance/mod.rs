//! What every driver must do, as a suite that any driver can be put to.
//!
//! Each behaviour is a function of its own, on a store of its own; [`check`] runs them all. It goes
//! through the [`Driver`](super::Driver) trait alone and panics with a sentence that says what was not kept.
//!
//! A driver that leaves methods as they are is put to [`BEHAVIOURS`] without those that ask for more:
//! the four that name reclaiming or expiry, for want of an index ([`reclaim`](super::Driver::reclaim));
//! the one that names a moment, for want of a snapshot ([`get_many`](super::Driver::get_many)).

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a suite of checks ends in a panic when a check fails"
)]

use super::Factory;

mod expiry;
mod lifetimes;
mod records;
mod scans;
mod support;

/// A behaviour: its argument makes drivers on one store, which is empty at first. Called again
/// after the earlier driver was dropped, it reopens that store.
pub type Behaviour = fn(&Factory);

/// Every behaviour, by name.
pub const BEHAVIOURS: &[(&str, Behaviour)] = &[
    (
        "what is put is there until it is deleted",
        records::puts_and_deletes,
    ),
    (
        "the last write of a key in a batch wins",
        records::batch_order,
    ),
    (
        "many are got in the order of the keys",
        records::get_many_order,
    ),
    ("a scan is ordered and bounded", scans::scan_bounds),
    ("a scan keeps to its prefix", scans::scan_prefixes),
    ("any bytes can be a key", scans::odd_keys),
    ("pages put together are the whole", scans::scan_pages),
    ("only what is due is reclaimed", expiry::reclaim_due),
    ("reclaiming is bounded", expiry::reclaim_bounded),
    (
        "a newer record survives its older expiry",
        expiry::reclaim_newer,
    ),
    (
        "what was committed survives reopening",
        lifetimes::reopening,
    ),
    ("an expiry survives reopening", lifetimes::reclaim_reopened),
    ("the reserved mark survives reopening", lifetimes::reserving),
    ("a large record comes back whole", records::large_record),
    ("an empty batch is committed", records::empty_batch),
    ("readers see whole batches", records::whole_batches),
    ("many are got as of one moment", records::many_at_one_moment),
    ("usage follows what is stored", lifetimes::usage),
];

/// Runs every behaviour, each on a store of its own. `fresh` makes an empty store and returns what
/// makes drivers on it.
///
/// ```
/// use larder::drivers::{conformance, map::MapStore};
/// conformance::check(|| MapStore::new().factory());
/// ```
///
/// # Panics
///
/// If a behaviour is not kept; the sentence says which one.
pub fn check(fresh: impl Fn() -> Factory) {
    for (_, behaviour) in BEHAVIOURS {
        behaviour(&fresh());
    }
}
