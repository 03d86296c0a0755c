//! To the desk: what a handle can do with larder as a whole, as messages.

use std::fmt;

use actix::{Message, Recipient};

use super::hub::SubscriptionId;
use crate::breaker::BreakerMode;
use crate::error::Error;
use crate::outcome::Durability;
use crate::stats::{Health, Stats};

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

/// Tell how larder and each of its drivers is.
#[derive(Message, Debug)]
#[rtype(result = "Result<Health, Error>")]
pub struct TakeHealth;

/// Tell an actor how larder is, now and whenever that changes. It is ended by
/// [`Unsubscribe`](super::entry::Unsubscribe).
///
/// The next change is sent when the actor has handled the last; of those between, it gets the latest.
#[derive(Message, Debug)]
#[rtype(result = "Result<SubscriptionId, Error>")]
pub struct WatchHealth {
    /// Who is told.
    pub recipient: Recipient<HealthChanged>,
}

/// How larder is now. Sent by the desk to an actor that asked for it.
#[derive(Message, Clone, Debug)]
#[rtype(result = "()")]
pub struct HealthChanged(pub Health);

/// Take the decision whether calls go to a driver from its breaker, or give it back.
///
/// Replies [`Error::Invalid`] if there is no driver of this name.
#[derive(Message, Debug)]
#[rtype(result = "Result<(), Error>")]
pub struct SetBreaker {
    /// The driver's name.
    pub driver: String,
    /// Who decides from now on.
    pub mode: BreakerMode,
}
