//! To any actor: what the runtime and its tests ask of all of them.

use actix::Message;

/// The actor ends itself, as if it had failed; its supervisor starts the next generation.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub struct Stop;
