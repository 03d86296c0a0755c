//! Typed messages.

pub mod hub;
pub mod ttl;
