//! To any actor: what operations and tests ask of it.

use actix::Message;

/// Makes an actor stop itself, as if it had died. For tests and operations.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Stop;
