//! To the batch writer.

use actix::Message;

use crate::drivers::StoreDurability;
use crate::error::Error;

/// Something is dirty. Sent by a bell; carries nothing.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub struct Wake;

/// Store everything that is dirty now; the reply comes when that is done.
#[derive(Message, Debug)]
#[rtype(result = "Result<(), Error>")]
pub struct Flush {
    /// What it must survive.
    pub durability: StoreDurability,
}
