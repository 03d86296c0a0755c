//! To the memory driver.

use actix::Message;

use crate::error::Error;
use crate::shelf::ShelfStats;

/// Give memory another budget; what no longer fits is evicted before the reply.
#[derive(Message, Debug)]
#[rtype(result = "Result<(), Error>")]
pub struct Resize {
    /// The budget in bytes (at least 64 KiB; less: [`Error::Invalid`]).
    pub memory_bytes: usize,
}

/// Free what no read would show any more: what was cleared, invalidated or has expired.
#[derive(Message, Debug)]
#[rtype(result = "u64")]
pub struct Sweep;

/// Tell what the table holds.
#[derive(Message, Debug)]
#[rtype(result = "Measured")]
pub struct Measure;

/// What [`Measure`] answers.
pub type Measured = ShelfStats;
