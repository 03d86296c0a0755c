//! larder: an embedded cache runtime that keeps answering.

pub mod clock;
pub mod drivers;
pub mod error;
pub mod key;
pub mod record;
mod sync;
pub mod version;

pub use error::{Error, ErrorClass};
pub use version::Version;
