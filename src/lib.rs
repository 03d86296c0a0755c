//! larder: an embedded cache runtime that keeps answering.

mod actors;
mod bell;
pub mod clock;
pub mod codec;
pub mod drivers;
mod entry;
pub mod error;
mod event;
pub mod key;
pub mod messages;
pub mod record;
pub mod shelf;
mod sync;
mod typed;
pub mod version;
pub mod watch;

pub use codec::{Codec, Value};
pub use entry::{Entry, Source};
pub use error::{Error, ErrorClass};
pub use event::{Change, EntryEvent, Old};
pub use shelf::{EventKind, Freshness, Priority};
pub use version::Version;
