//! To any actor of larder.

use actix::Message;

/// Makes an actor stop itself, as if it had died. For tests and operations.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub struct Stop;
