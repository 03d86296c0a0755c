//! What kind of trouble an error is.

#[cfg(doc)]
use super::Error;

/// What kind of trouble an [`Error`] is, for a caller that decides what to do by kind.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum ErrorClass {
    /// The call itself is wrong; repeating it is pointless.
    Caller,
    /// This machine cannot do it now: disk, memory, network.
    Device,
    /// It may well work in a moment.
    Transient,
    /// It will not work until somebody changes something.
    Permanent,
    /// The answer is no, for a reason of the business at hand.
    Business,
    /// A mistake in larder or in the host.
    Bug,
}
