//! To a storage driver: what it can be asked, as messages.

use std::fmt;

use actix::Message;
use bytes::Bytes;

use crate::clock::Millis;
use crate::drivers::{PageLimit, Reclaimed, Usage};
use crate::error::Error;

/// Read one record.
#[derive(Message)]
#[rtype(result = "Result<Option<Bytes>, Error>")]
pub struct Get {
    /// The stored key (see [`stored_key`](crate::key::stored_key)).
    pub key: Bytes,
}

/// Shows lengths, never a key.
impl fmt::Debug for Get {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Get({} bytes of key)", self.key.len())
    }
}

/// Read some records as they stood at one moment.
#[derive(Message)]
#[rtype(result = "Result<Vec<Option<Bytes>>, Error>")]
pub struct GetMany {
    /// The stored keys.
    pub keys: Vec<Bytes>,
}

/// Shows how many, never a key.
impl fmt::Debug for GetMany {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GetMany({} keys)", self.keys.len())
    }
}

/// Read a page of records in order.
#[derive(Message)]
#[rtype(result = "Result<Vec<(Bytes, Bytes)>, Error>")]
pub struct Scan {
    /// What the keys begin with.
    pub prefix: Bytes,
    /// They are greater than this.
    pub after: Bytes,
    /// How much at most.
    pub page: PageLimit,
}

/// Shows lengths, never a key.
impl fmt::Debug for Scan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scan")
            .field("prefix_bytes", &self.prefix.len())
            .field("after_bytes", &self.after.len())
            .field("page", &self.page)
            .finish()
    }
}

/// Delete records whose time is over.
#[derive(Message, Debug)]
#[rtype(result = "Result<Reclaimed, Error>")]
pub struct Reclaim {
    /// The time now.
    pub now_ms: Millis,
    /// How many at most.
    pub count_max: usize,
}

/// Tell how much is stored.
#[derive(Message, Debug)]
#[rtype(result = "Result<Usage, Error>")]
pub struct Measure;
