//! The scenes, in the order of the tour.

pub mod batches;
pub mod cold_warm;
pub mod messages;
pub mod races;
pub mod restart;
pub mod watching;
