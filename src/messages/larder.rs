//! To the desk: what a handle can do with larder as a whole, as messages.

use std::fmt;

use actix::Message;

use crate::error::Error;
use crate::outcome::Durability;
use crate::stats::Stats;

/// Store everything that is acknowledged and not stored yet.
#[derive(Message, Debug)]
#[rtype(result = "Result<(), Error>")]
pub struct Flush {
    /// How safely.
    pub durability: Durability,
}

/// Load entries into memory before they are asked for.
#[derive(Message)]
#[rtype(result = "Result<Warmed, Error>")]
pub struct Warm {
    /// What, as `cache/key`.
    pub entries: Vec<String>,
}

/// Shows how many, never a key.
impl fmt::Debug for Warm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Warm({} entries)", self.entries.len())
    }
}

/// What a warm-up did.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Warmed {
    /// Entries that are in memory now.
    pub loaded: usize,
    /// Entries that no tier has.
    pub missing: usize,
}

/// Tell everything that is counted.
#[derive(Message, Debug)]
#[rtype(result = "Result<Stats, Error>")]
pub struct TakeStats;
