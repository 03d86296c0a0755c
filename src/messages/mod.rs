//! Typed messages.

pub mod control;
pub mod hub;
pub mod memory;
pub mod storage;
pub mod supervise;
pub mod ttl;
pub mod write;
