//! What a person who uses the host program can do about an error.

use std::time::Duration;

use super::{Error, ErrorClass, LoadError};

/// What a person can do about an error: what a button under the message would say.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum SuggestedAction {
    /// The same again.
    Retry,
    /// The same again, after so long.
    RetryAfter(Duration),
    /// Sign in again.
    SignIn,
    /// Tell those who run the program: nothing else will help.
    Report,
}

impl Error {
    /// What a person who uses the host program can do about it.
    ///
    /// ```
    /// # use larder::{Error, LoadError, SuggestedAction};
    /// # use std::time::Duration;
    /// let expired = LoadError::unauthenticated("the token has expired");
    /// assert_eq!(expired.suggested_action(), SuggestedAction::SignIn);
    /// let pace = Duration::from_secs(2);
    /// let busy = Error::Overloaded { limit: "dirty_bytes_max", retry_after: pace };
    /// assert_eq!(busy.suggested_action(), SuggestedAction::RetryAfter(pace));
    /// ```
    pub fn suggested_action(&self) -> SuggestedAction {
        match self {
            Self::Fetch(error) => error.suggested_action(),
            Self::Conflict { .. } | Self::Closed | Self::Superseded => SuggestedAction::Retry,
            other => of(other.class(), other.retry_after()),
        }
    }
}

impl LoadError {
    /// What a person who uses the host program can do about it: what the loader
    /// [`suggest`](LoadError::suggest)s, or what its class does.
    pub fn suggested_action(&self) -> SuggestedAction {
        let own = self.suggestion();
        own.unwrap_or_else(|| of(self.class(), self.pace()))
    }
}

fn of(class: ErrorClass, pace: Option<Duration>) -> SuggestedAction {
    match (class, pace) {
        (ErrorClass::Caller | ErrorClass::Permanent | ErrorClass::Bug, _) => {
            SuggestedAction::Report
        }
        (_, Some(pace)) => SuggestedAction::RetryAfter(pace),
        (ErrorClass::Business, None) => SuggestedAction::Report,
        (_, None) => SuggestedAction::Retry,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn what_may_pass_is_tried_again_and_what_will_not_is_reported() {
        let pace = Duration::from_secs(9);
        let loads = [
            (LoadError::transient("x"), SuggestedAction::Retry),
            (LoadError::device("x"), SuggestedAction::Retry),
            (
                LoadError::transient("x").retry_after(pace),
                SuggestedAction::RetryAfter(pace),
            ),
            (
                LoadError::business("x").retry_after(pace),
                SuggestedAction::RetryAfter(pace),
            ),
            (LoadError::business("x"), SuggestedAction::Report),
            (LoadError::permanent("x"), SuggestedAction::Report),
            (LoadError::unauthenticated("x"), SuggestedAction::SignIn),
            (
                LoadError::business("x").suggest(SuggestedAction::SignIn),
                SuggestedAction::SignIn,
            ),
        ];
        for (error, action) in loads {
            assert_eq!(error.suggested_action(), action, "{error:?}");
            let shared = Error::Fetch(Arc::new(error));
            assert_eq!(shared.suggested_action(), action);
        }
        let invalid = Error::Invalid {
            field: "x",
            reason: String::new(),
        };
        assert_eq!(invalid.suggested_action(), SuggestedAction::Report);
        assert_eq!(Error::Closed.suggested_action(), SuggestedAction::Retry);
    }
}
