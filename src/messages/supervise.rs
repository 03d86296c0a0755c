//! To a supervisor.

use actix::Message;

use crate::drivers::Failure;

/// A generation is gone. Sent by its death guard.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub struct Died {
    /// Which.
    pub generation: u64,
}

/// A generation is of no more use. Sent by the port of a driver.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub struct Failed {
    /// Which.
    pub generation: u64,
    /// Why.
    pub failure: Failure,
}

/// Start the actor now if it is down, without waiting for the backoff.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub struct Restart;
