//! Why a load failed: the host's own error, with its class and the pace that a source asked for.

use std::error::Error as StdError;
use std::fmt;
use std::io::{self, ErrorKind};
use std::time::Duration;

use super::{Error, ErrorClass, SuggestedAction};

/// What a loader fails with. Any error turns into one, and is classed by what it is: larder's own errors
/// keep their class, an [`io::Error`] among the causes decides by its kind, everything else is
/// [`ErrorClass::Transient`]. A loader that knows better says so:
///
/// ```
/// use larder::{ErrorClass, LoadError};
/// use std::time::Duration;
///
/// let refused = LoadError::permanent("the token is not valid any more");
/// assert_eq!(refused.class(), ErrorClass::Permanent);
/// let busy = LoadError::transient("429").retry_after(Duration::from_secs(2));
/// assert_eq!(busy.pace(), Some(Duration::from_secs(2)));
/// // What `?` does in a loader.
/// let lost: LoadError = std::io::Error::from(std::io::ErrorKind::ConnectionReset).into();
/// assert_eq!(lost.class(), ErrorClass::Transient);
/// ```
// Like other errors that any error turns into, it is none itself: `?` could not tell them apart.
pub struct LoadError {
    class: ErrorClass,
    retry_after: Option<Duration>,
    action: Option<SuggestedAction>,
    source: Cause,
}

type Cause = Box<dyn StdError + Send + Sync>;

impl LoadError {
    /// An error of this class.
    pub fn new(class: ErrorClass, source: impl Into<Cause>) -> Self {
        Self {
            class,
            retry_after: None,
            action: None,
            source: source.into(),
        }
    }

    /// It may well work in a moment: a time-out, a reset, too many requests, a server's own error.
    pub fn transient(source: impl Into<Cause>) -> Self {
        Self::new(ErrorClass::Transient, source)
    }

    /// It will not work until somebody changes something: validation, authentication.
    pub fn permanent(source: impl Into<Cause>) -> Self {
        Self::new(ErrorClass::Permanent, source)
    }

    /// Whoever asks is not known to the source, or not any more: a permanent error that signing in mends.
    pub fn unauthenticated(source: impl Into<Cause>) -> Self {
        Self::permanent(source).suggest(SuggestedAction::SignIn)
    }

    /// The answer is no, for a reason of the business at hand: a quota, a lock.
    pub fn business(source: impl Into<Cause>) -> Self {
        Self::new(ErrorClass::Business, source)
    }

    /// This machine cannot reach the source: no network, no name, no trust.
    pub fn device(source: impl Into<Cause>) -> Self {
        Self::new(ErrorClass::Device, source)
    }

    /// What the source asked for (`Retry-After`): no attempt is made before.
    #[must_use]
    pub fn retry_after(mut self, pace: Duration) -> Self {
        self.retry_after = Some(pace);
        self
    }

    /// What a person can do about it, where that does not follow from its class.
    #[must_use]
    pub fn suggest(mut self, action: SuggestedAction) -> Self {
        self.action = Some(action);
        self
    }

    pub(super) fn suggestion(&self) -> Option<SuggestedAction> {
        self.action
    }

    /// What kind of trouble it is.
    pub fn class(&self) -> ErrorClass {
        self.class
    }

    /// When the source said that it may be asked again.
    pub fn pace(&self) -> Option<Duration> {
        self.retry_after
    }

    /// The host's error.
    pub fn get_ref(&self) -> &(dyn StdError + Send + Sync + 'static) {
        &*self.source
    }

    /// The host's error, if it is of this type.
    pub fn downcast_ref<E: StdError + 'static>(&self) -> Option<&E> {
        self.source.downcast_ref()
    }

    /// The error of larder's among its causes, if there is one.
    pub(crate) fn larders(&self) -> Option<&Error> {
        causes(&*self.source).find_map(|error| error.downcast_ref())
    }

    pub(crate) fn classed(self, class: ErrorClass) -> Self {
        Self { class, ..self }
    }

    /// A short sentence fit for a person who uses the host program.
    pub fn user_message(&self) -> &'static str {
        if self.action == Some(SuggestedAction::SignIn) {
            return "Please sign in again.";
        }
        match self.class {
            ErrorClass::Device => "There is no connection at the moment.",
            ErrorClass::Transient => "The data could not be loaded. Please try again in a moment.",
            ErrorClass::Permanent => "The data cannot be loaded.",
            ErrorClass::Business => "This is not possible at the moment.",
            ErrorClass::Caller | ErrorClass::Bug => "Something is wrong with the program.",
        }
    }
}

/// The host's text; what it says of itself in a log is the host's to decide.
impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.source, f)
    }
}

impl fmt::Debug for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadError")
            .field("class", &self.class)
            .field("retry_after", &self.retry_after)
            .field("source", &self.source)
            .finish()
    }
}

impl<E: Into<Cause>> From<E> for LoadError {
    fn from(error: E) -> Self {
        let source = error.into();
        let (class, retry_after) = judge(&*source);
        Self {
            class,
            retry_after,
            action: None,
            source,
        }
    }
}

/// The causes of an error that are looked at.
const CAUSES_MAX: usize = 16;

fn causes<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    let mut next = Some(error);
    let cause = move || {
        let cause = next?;
        next = cause.source();
        Some(cause)
    };
    std::iter::from_fn(cause).take(CAUSES_MAX)
}

fn judge(error: &(dyn StdError + 'static)) -> (ErrorClass, Option<Duration>) {
    for error in causes(error) {
        if let Some(own) = error.downcast_ref::<Error>() {
            return (own.class(), own.retry_after());
        }
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return (class_of(io.kind()), None);
        }
    }
    (ErrorClass::Transient, None)
}

fn class_of(kind: ErrorKind) -> ErrorClass {
    match kind {
        ErrorKind::NotFound
        | ErrorKind::PermissionDenied
        | ErrorKind::InvalidInput
        | ErrorKind::InvalidData
        | ErrorKind::Unsupported => ErrorClass::Permanent,
        ErrorKind::NetworkDown
        | ErrorKind::NetworkUnreachable
        | ErrorKind::HostUnreachable
        | ErrorKind::AddrNotAvailable
        | ErrorKind::StorageFull
        | ErrorKind::OutOfMemory => ErrorClass::Device,
        _ => ErrorClass::Transient,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Wrapped(io::Error);

    impl fmt::Display for Wrapped {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("wrapped")
        }
    }

    impl StdError for Wrapped {
        fn source(&self) -> Option<&(dyn StdError + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn an_error_is_classed_by_the_first_cause_that_is_known() {
        let of = |kind| LoadError::from(Wrapped(kind)).class();
        assert_eq!(of(ErrorKind::TimedOut.into()), ErrorClass::Transient);
        assert_eq!(of(ErrorKind::ConnectionReset.into()), ErrorClass::Transient);
        assert_eq!(of(ErrorKind::NetworkUnreachable.into()), ErrorClass::Device);
        assert_eq!(
            of(ErrorKind::PermissionDenied.into()),
            ErrorClass::Permanent
        );
        assert_eq!(LoadError::from("a text").class(), ErrorClass::Transient);
        let pace = Duration::from_secs(3);
        let busy = LoadError::from(Error::Overloaded {
            limit: "x",
            retry_after: pace,
        });
        assert_eq!(
            (busy.class(), busy.pace()),
            (ErrorClass::Transient, Some(pace))
        );
        assert_eq!(
            LoadError::from(Error::Closed).class(),
            ErrorClass::Permanent
        );
    }

    #[test]
    fn the_hosts_error_comes_back_as_it_was() {
        let error = LoadError::business(Wrapped(ErrorKind::Other.into()));
        assert!(error.downcast_ref::<Wrapped>().is_some());
        assert!(error.downcast_ref::<io::Error>().is_none());
        assert_eq!(error.to_string(), "wrapped");
        assert!(error.get_ref().source().is_some());
    }
}
