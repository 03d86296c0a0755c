//! larder: an embedded cache runtime that keeps answering.

mod bell;
pub mod clock;
pub mod drivers;
pub mod error;
pub mod key;
pub mod record;
pub mod shelf;
mod sync;
pub mod version;

pub use error::{Error, ErrorClass};
pub use version::Version;
