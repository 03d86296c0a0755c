//! The locks and atomics that the shelf, and whatever else is delicate, is built from, behind one name each.
//!
//! Everything under `shelf/` takes its synchronisation from here and from nowhere else, so that a
//! test can compile the very same files against a scheduler that explores interleavings.

pub use parking_lot::{Mutex, RwLock};
pub use std::sync::Arc;
/// A number that may be wrong, so that its interleavings are not worth exploring.
pub use std::sync::atomic::AtomicU8 as HintU8;
pub use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
/// How a thread rests until it is woken.
pub use std::thread::{Thread, current as this_thread, park};
