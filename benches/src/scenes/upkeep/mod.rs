//! What larder costs beside the calls: watching, expiry, and nothing at all.

pub mod hub;
pub mod idle;
pub mod ttl;
