//! What drivers answer, as plain data.

use std::fmt;

use bytes::Bytes;

use crate::clock::Millis;
use crate::version::Version;

/// What [`Driver::walk`](super::Driver::walk) found.
#[derive(Clone, Default)]
pub struct Walked {
    /// Keys and records.
    pub records: Vec<(Bytes, Bytes)>,
    /// Where the next call begins; `None` at the end. There may be more although there are no records.
    pub next: Option<Bytes>,
}

/// Shows how many, never a key.
impl fmt::Debug for Walked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Walked")
            .field("records", &self.records.len())
            .field("is_end", &self.next.is_none())
            .finish()
    }
}

/// What [`Driver::upkeep`](super::Driver::upkeep) did.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Upkeep {
    /// There is more to be done.
    pub goes_on: bool,
    /// [`Driver::scrub`](super::Driver::scrub) is to be called.
    pub wants_scrub: bool,
}

/// What [`Driver::reclaim`](super::Driver::reclaim) did.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Reclaimed {
    /// Keys and versions of the records that were deleted.
    pub records: Vec<(Bytes, Version)>,
    /// The records themselves, in the same order, for a driver over this one that files them under other
    /// names. May be left empty.
    pub bodies: Vec<Bytes>,
    /// When the next record may be reclaimed; `None` if the store knows of none.
    pub next_ms: Option<Millis>,
}

/// Shows how many, never a key.
impl fmt::Debug for Reclaimed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reclaimed")
            .field("records", &self.records.len())
            .field("next_ms", &self.next_ms)
            .finish_non_exhaustive()
    }
}

/// How much a store holds.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Usage {
    /// Records, possibly estimated; `None` if the store cannot tell.
    pub entries: Option<u64>,
    /// Bytes on its device.
    pub bytes: u64,
}
