//! The actors: shells of state with one handler per message.
//!
//! No actor imports another (but the supervisor of a driver its driver); they meet through
//! recipients that the builder hands in.

pub(crate) mod batch;
pub(crate) mod desk;
pub(crate) mod driver;
pub(crate) mod guard;
pub(crate) mod hub;
pub(crate) mod memory;
pub(crate) mod supervisor;
pub(crate) mod ttl;
