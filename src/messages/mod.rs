//! Typed messages.

pub mod control;
pub mod hub;
pub mod ttl;
