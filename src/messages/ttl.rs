//! To the TTL manager.

use actix::Message;

use crate::clock::Millis;
use crate::key::Key;

/// There are new deadlines. Sent by a bell; carries nothing.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub struct Wake;

/// Somebody watches this key from now on, and a store may hold it: see to it that its expiry is
/// announced.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub struct Attend(pub Key);

/// A store may hold records that can be reclaimed from then on.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub struct ReclaimAt {
    /// The driver's number.
    pub tier: u8,
    /// When.
    pub at_ms: Millis,
}
