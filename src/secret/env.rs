//! The master key in an environment variable.

use zeroize::Zeroizing;

use super::key::MasterKey;
use super::provider::{KeyError, KeyProvider};

/// A master key in an environment variable: the base64 of 32 bytes.
///
/// The environment is easy to fill and not very secret: processes of the same user can read it, child
/// processes inherit it, and larder does not take it out.
///
/// ```
/// use larder::secret::{EnvKey, KeyErrorKind, KeyProvider};
///
/// let error = EnvKey::new("APP_KEY_THAT_NOBODY_HAS_SET").key().unwrap_err();
/// assert_eq!(error.kind, KeyErrorKind::Missing);
/// ```
#[derive(Clone, Debug)]
pub struct EnvKey {
    variable: Variable,
}

/// The variable's name. `Debug` shows it as errors do.
#[derive(Clone)]
struct Variable(String);

impl EnvKey {
    /// The key is in the variable called `variable`, which is read each time the store is opened.
    pub fn new(variable: impl Into<String>) -> Self {
        let variable = Variable(variable.into());
        Self { variable }
    }
}

impl KeyProvider for EnvKey {
    fn key(&self) -> Result<MasterKey, KeyError> {
        let Some(text) = std::env::var_os(&self.variable.0) else {
            return Err(KeyError::missing(format!(
                "{} is not set; put the base64 of 32 random bytes there, as from `openssl rand -base64 32`",
                self.name()
            )));
        };
        let text = Zeroizing::new(text.into_encoded_bytes());
        let text = std::str::from_utf8(&text)
            .map_err(|_| KeyError::malformed("it is no text").at(self.name()))?;
        MasterKey::from_base64(text).map_err(|error| error.at(self.name()))
    }

    fn name(&self) -> String {
        format!("environment variable {}", self.variable.shown())
    }
}

impl Variable {
    /// The name, unless somebody has given the key itself in its place.
    fn shown(&self) -> &str {
        let is_a_key = MasterKey::from_base64(&self.0).is_ok();
        if is_a_key {
            "(a key was given as its name)"
        } else {
            &self.0
        }
    }
}

impl std::fmt::Debug for Variable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(self.shown(), f)
    }
}
