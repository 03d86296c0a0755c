//! The actors: shells of state with one handler per message.
//!
//! No actor imports another (but the supervisor of a driver its driver); they meet through
//! recipients that the builder hands in.

pub mod guard;
pub mod hub;
