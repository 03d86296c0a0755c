//! What a loader of many keys is given.

use std::fmt;
use std::time::Duration;

use smol_str::SmolStr;

use super::loaded::{LoadContext, Stale};
use crate::entry::Entry;

use super::budget::Budget;

/// What a loader of many keys is given: those that are to be loaded, in the order of the call. Dropping the
/// loader's future is the signal that nobody waits any more.
///
/// ```
/// # #[tokio::main] async fn main() -> Result<(), larder::Error> {
/// # let larder = larder::Larder::builder().start().await?;
/// use larder::LoadManyContext;
///
/// let squares = larder.cache::<u64>("squares")?;
/// let load = |cx: LoadManyContext<u64>| async move {
///     let numbers = cx.keys().map(|key| Ok((key.to_owned(), key.parse::<u64>()?.pow(2))));
///     numbers.collect::<Result<Vec<_>, std::num::ParseIntError>>()
/// };
/// let found = squares.fetch_many(["7", "8"], load).await?;
/// assert_eq!(found[1].1.as_deref(), Some(&64));
/// # larder.shutdown(std::time::Duration::from_secs(5)).await }
/// ```
pub struct LoadManyContext<V> {
    pub(crate) keys: Vec<(SmolStr, Stale<V>)>,
    /// What is the same for all of them.
    pub(crate) any: LoadContext<V>,
}

impl<V> LoadManyContext<V> {
    /// The keys.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.keys.iter().map(|(key, _)| key.as_str())
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there are none: never.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The values that are there already, which mostly have expired, with their keys.
    pub fn stale(&self) -> impl Iterator<Item = (&str, &Entry<V>)> {
        let all = self.keys.iter();
        all.filter_map(|(key, stale)| Some((key.as_str(), stale.entry.as_ref()?)))
    }

    /// What the source tells the version of a key's value by, if a load has said so ([`Loaded::validator`](super::Loaded::validator)).
    pub fn validator(&self, key: &str) -> Option<&[u8]> {
        let mut all = self.keys.iter();
        all.find(|(own, _)| own == key)?.1.validator.as_deref()
    }

    /// Which attempt this is; the first is 1.
    pub fn attempt(&self) -> u32 {
        self.any.attempt()
    }

    /// As [`LoadContext::left`].
    pub fn left(&self) -> Duration {
        self.any.left()
    }

    /// As [`LoadContext::budget`].
    pub fn budget(&self) -> Budget {
        self.any.budget()
    }

    /// As [`LoadContext::idempotency_key`]: of the load of all these keys together.
    pub fn idempotency_key(&self) -> &str {
        self.any.idempotency_key()
    }
}

/// Shows how many keys there are, not which.
impl<V> fmt::Debug for LoadManyContext<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadManyContext")
            .field("keys", &self.keys.len())
            .field("attempt", &self.attempt())
            .field("left", &self.left())
            .finish_non_exhaustive()
    }
}
