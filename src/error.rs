//! The one public error, and the one place that knows actix's mailbox error.
//!
//! A variant exists where a caller would do something else. No text here ever holds a value, and no
//! text holds a key.

// By its path, since a test compiles this file under another roof.
#[path = "error/action.rs"]
mod action;
#[path = "error/class.rs"]
mod class;
#[path = "error/load.rs"]
mod load;

use std::sync::Arc;
use std::time::Duration;

use crate::version::Version;
pub use action::SuggestedAction;
pub use class::ErrorClass;
pub use load::LoadError;

/// What larder answers when it cannot do what was asked. A miss is not an error.
///
/// ```
/// # use larder::{Error, ErrorClass};
/// # use std::time::Duration;
/// let busy = Error::Overloaded { limit: "dirty_bytes_max", retry_after: Duration::from_millis(50) };
/// assert!(busy.is_retryable());
/// assert_eq!(busy.class(), ErrorClass::Transient);
/// ```
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A named limit is reached; nothing was changed.
    #[error("overloaded: {limit} is reached, try again in {} ms", retry_after.as_millis())]
    Overloaded {
        /// The limit, as it is called in the configuration.
        limit: &'static str,
        /// When it is worth trying again.
        retry_after: Duration,
    },
    /// A storage driver is needed for this answer and is not up. A mutation stands in memory.
    #[error("driver {driver:?} is unavailable, try again in {} ms", retry_after.as_millis())]
    Unavailable {
        /// The driver's name.
        driver: Arc<str>,
        /// When it is worth trying again.
        retry_after: Duration,
    },
    /// A source that is loaded from fails, or asked not to be asked: it was not, by this call.
    #[error("source {name:?} is unavailable, try again in {} ms", retry_after.as_millis())]
    SourceUnavailable {
        /// The source's name.
        name: Arc<str>,
        /// When it is worth trying again.
        retry_after: Duration,
    },
    /// The call's time was up. A mutation may still take effect.
    #[error("deadline of {} ms exceeded", after.as_millis())]
    DeadlineExceeded {
        /// The time the call had.
        after: Duration,
    },
    /// A condition did not hold; nothing was changed.
    #[error("conflict: the current version is {}", current.map_or("none".to_owned(), |v| v.to_string()))]
    Conflict {
        /// The version that is there now; `None` if there is no entry.
        current: Option<Version>,
    },
    /// Something is larger than its limit; nothing was changed.
    #[error("{what} of {size} bytes is too large, {limit_name} is {limit}")]
    TooLarge {
        /// What: a key, a value, a tag.
        what: &'static str,
        /// Its size in bytes.
        size: usize,
        /// The limit's name in the configuration.
        limit_name: &'static str,
        /// The limit in bytes.
        limit: usize,
    },
    /// An argument of this call is out of its range; nothing was changed.
    #[error("{field}: {reason}")]
    Invalid {
        /// The argument.
        field: &'static str,
        /// What is wrong with it and what would be right.
        reason: String,
    },
    /// A value could not be turned into bytes, or would not be read back from them; nothing was changed.
    #[error("{type_name} could not be encoded: {reason}")]
    Encode {
        /// The value's type.
        type_name: &'static str,
        /// Why, without the value.
        reason: Arc<str>,
    },
    /// Stored bytes could not be turned into this type.
    #[error("{type_name} could not be decoded: {reason}")]
    Decode {
        /// The type that was asked for.
        type_name: &'static str,
        /// Why, without the bytes.
        reason: Arc<str>,
    },
    /// A stored record is damaged.
    #[error("driver {driver:?} holds a damaged record")]
    Corrupt {
        /// The driver's name.
        driver: Arc<str>,
    },
    /// A record could not be sealed or opened. No call returns it: such a record is a miss, with
    /// [`DegradedReason::Refused`](crate::DegradedReason::Refused), counted in
    /// [`DriverStats::unopened`](crate::DriverStats::unopened).
    #[error("a sealed record could not be opened")]
    Crypto,
    /// The host's loader failed. All who waited for it share the error.
    #[error("fetch failed: {0}")]
    Fetch(Arc<LoadError>),
    /// The configuration does not hold together; every problem is listed.
    #[error("configuration: {}", join(.0))]
    Config(Arc<[String]>),
    /// A store could not be opened at start.
    #[error("driver {driver:?} could not be opened: {reason}")]
    Open {
        /// The driver's name.
        driver: Arc<str>,
        /// Why, naming the directory.
        reason: Arc<str>,
    },
    /// A newer call took this one's place, or its [`FetchScope`](crate::FetchScope) ended: nobody asks any more.
    #[error("superseded by a newer call, or its scope has ended")]
    Superseded,
    /// larder has been shut down.
    #[error("larder is shut down")]
    Closed,
}

fn join(problems: &[String]) -> String {
    problems.join("; ")
}

impl Error {
    /// What kind of trouble this is.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Overloaded { .. }
            | Self::SourceUnavailable { .. }
            | Self::DeadlineExceeded { .. } => ErrorClass::Transient,
            Self::Fetch(error) => error.class(),
            Self::Unavailable { .. } | Self::Corrupt { .. } | Self::Open { .. } => {
                ErrorClass::Device
            }
            Self::Conflict { .. } | Self::Superseded => ErrorClass::Business,
            Self::TooLarge { .. } | Self::Invalid { .. } | Self::Config(_) => ErrorClass::Caller,
            Self::Crypto | Self::Closed => ErrorClass::Permanent,
            Self::Encode { .. } | Self::Decode { .. } => ErrorClass::Bug,
        }
    }

    /// Whether the same call may succeed later without anybody changing it.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Overloaded { .. }
            | Self::Unavailable { .. }
            | Self::SourceUnavailable { .. }
            | Self::DeadlineExceeded { .. } => true,
            Self::Fetch(error) => error.class() == ErrorClass::Transient,
            _ => false,
        }
    }

    /// How long to wait before trying again, where larder can tell.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Overloaded { retry_after, .. }
            | Self::Unavailable { retry_after, .. }
            | Self::SourceUnavailable { retry_after, .. } => Some(*retry_after),
            Self::Fetch(error) => error.pace(),
            _ => None,
        }
    }

    /// A short sentence fit for a person who uses the host program.
    pub fn user_message(&self) -> &'static str {
        match self {
            Self::Overloaded { .. } => "The service is busy. Please try again in a moment.",
            Self::Unavailable { .. } | Self::Corrupt { .. } | Self::Open { .. } => {
                "The local store cannot be used at the moment."
            }
            Self::SourceUnavailable { .. } => {
                "The data cannot be loaded at the moment. Please try again in a moment."
            }
            Self::DeadlineExceeded { .. } => "This took too long. Please try again.",
            Self::Conflict { .. } => "This was changed in the meantime. Please look at it again.",
            Self::TooLarge { .. } => "This is too large to be stored.",
            Self::Fetch(error) => error.user_message(),
            Self::Superseded => "This is no longer needed.",
            Self::Closed => "The service is shutting down.",
            Self::Crypto => "This could not be read with the key at hand.",
            Self::Invalid { .. } | Self::Config(_) | Self::Encode { .. } | Self::Decode { .. } => {
                "Something is wrong with the program."
            }
        }
    }
}

/// A mailbox that is closed belongs to an actor that is being restarted, or to a larder that is shut
/// down; to the caller both mean that this call was not carried out.
impl From<actix::MailboxError> for Error {
    fn from(error: actix::MailboxError) -> Self {
        match error {
            actix::MailboxError::Closed => Self::Closed,
            actix::MailboxError::Timeout => Self::DeadlineExceeded {
                after: Duration::ZERO,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<(Error, ErrorClass, bool)> {
        use ErrorClass::*;
        let second = Duration::from_secs(1);
        let reason: Arc<str> = "because".into();
        let driver: Arc<str> = "disk".into();
        let (r, d) = (|| reason.clone(), || driver.clone());
        vec![
            (
                Error::Overloaded {
                    limit: "dirty_bytes_max",
                    retry_after: second,
                },
                Transient,
                true,
            ),
            (
                Error::Unavailable {
                    driver: d(),
                    retry_after: second,
                },
                Device,
                true,
            ),
            (Error::DeadlineExceeded { after: second }, Transient, true),
            (
                Error::Conflict {
                    current: Version::new(7),
                },
                Business,
                false,
            ),
            (Error::Conflict { current: None }, Business, false),
            (
                Error::TooLarge {
                    what: "key",
                    size: 9,
                    limit_name: "key_bytes_max",
                    limit: 8,
                },
                Caller,
                false,
            ),
            (
                Error::Invalid {
                    field: "ttl",
                    reason: "is zero".into(),
                },
                Caller,
                false,
            ),
            (
                Error::Encode {
                    type_name: "User",
                    reason: r(),
                },
                Bug,
                false,
            ),
            (
                Error::Decode {
                    type_name: "User",
                    reason: r(),
                },
                Bug,
                false,
            ),
            (Error::Corrupt { driver: d() }, Device, false),
            (Error::Crypto, Permanent, false),
            (
                Error::Fetch(Arc::new(std::fmt::Error.into())),
                Transient,
                true,
            ),
            (
                Error::Fetch(Arc::new(LoadError::business("no"))),
                Business,
                false,
            ),
            (
                Error::Config(vec!["a".into(), "b".into()].into()),
                Caller,
                false,
            ),
            (
                Error::Open {
                    driver: d(),
                    reason: r(),
                },
                Device,
                false,
            ),
            (Error::Superseded, Business, false),
            (Error::Closed, Permanent, false),
        ]
    }

    #[test]
    fn every_error_has_a_class_a_text_and_a_sentence_for_a_person() {
        for (error, class, retryable) in all() {
            assert_eq!(error.class(), class, "{error}");
            assert_eq!(error.is_retryable(), retryable, "{error}");
            assert!(!error.to_string().ends_with('.'), "{error}");
            assert!(error.user_message().ends_with('.'), "{error}");
        }
    }

    #[test]
    fn only_refusals_with_a_pace_say_when_to_try_again() {
        let paced = all()
            .iter()
            .filter(|(e, ..)| e.retry_after().is_some())
            .count();
        assert_eq!(paced, 2);
    }

    #[test]
    fn a_closed_mailbox_is_a_closed_larder_and_a_slow_one_a_deadline() {
        assert!(matches!(
            Error::from(actix::MailboxError::Closed),
            Error::Closed
        ));
        let late = Error::from(actix::MailboxError::Timeout);
        assert!(matches!(late, Error::DeadlineExceeded { .. }));
    }
}
