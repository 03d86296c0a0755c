//! From slots to a host's types and back: the one place where erased values are cast.

mod form;

pub use form::{Form, Migrate, OldRecord};

use std::any::Any;
use std::sync::Arc;

use crate::codec::Value;
use crate::error::Error;
use crate::shelf::{Body, Shared};

/// Why a slot is not a value of this type.
#[derive(Debug)]
pub enum Mismatch {
    /// It was written with another schema number, as another type, or by an unknown codec: a miss.
    Other,
    /// It says that it is of this type, and its bytes are not.
    Broken(Error),
}

/// A value erased, as the shelf keeps it.
pub fn erase<V: Value>(value: Arc<V>) -> Body {
    let any: Arc<dyn Any + Send + Sync> = value;
    Body::Decoded(any as Shared)
}

#[cfg(test)]
mod tests;
