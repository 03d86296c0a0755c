//! One change that a source pushes, and how it is carried out: wholly, or so that nothing older is left.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use smol_str::SmolStr;

use super::call::Call;
use super::keeping::ROOM_MAX;
use super::{Cache, EntryOptions};
use crate::codec::Value;
use crate::error::Error;
use crate::fetch::Guarded;
use crate::outcome::Durability;
use crate::shelf::Change;

/// A change that a source pushes.
///
/// ```
/// use larder::FeedChange;
/// use std::time::Duration;
///
/// let ada: FeedChange<String> = FeedChange::set("42", "Ada".to_owned()).ttl(Duration::from_secs(60)).tag("team:7");
/// let gone = FeedChange::<String>::remove("43");
/// # let _ = (ada, gone);
/// ```
pub struct FeedChange<V> {
    pub(super) what: Pushes<V>,
    /// Of a set.
    pub(super) entry: EntryOptions,
}

pub(super) enum Pushes<V> {
    Set(SmolStr, Arc<V>),
    Remove(SmolStr),
    Expire(SmolStr),
    RemoveTag(SmolStr),
    Clear,
}

impl<V> FeedChange<V> {
    fn new(what: Pushes<V>) -> Self {
        Self {
            what,
            entry: EntryOptions::default(),
        }
    }

    /// The key has this value now. `value` is a `V` or an `Arc<V>`.
    pub fn set(key: impl AsRef<str>, value: impl Into<Arc<V>>) -> Self {
        Self::new(Pushes::Set(SmolStr::new(key), value.into()))
    }

    /// The key has no value any more: [`Cache::remove`].
    pub fn remove(key: impl AsRef<str>) -> Self {
        Self::new(Pushes::Remove(SmolStr::new(key)))
    }

    /// The key has another value, which the source does not tell: [`Cache::expire`].
    pub fn expire(key: impl AsRef<str>) -> Self {
        Self::new(Pushes::Expire(SmolStr::new(key)))
    }

    /// What has this tag is not right any more: [`Cache::remove_tag`].
    pub fn remove_tag(tag: impl AsRef<str>) -> Self {
        Self::new(Pushes::RemoveTag(SmolStr::new(tag)))
    }

    /// Nothing is right any more: [`Cache::clear`].
    pub fn clear() -> Self {
        Self::new(Pushes::Clear)
    }

    /// What is set expires so long after it was set (at least 1 ms). This and what follows means a set alone.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.entry.ttl = Some(Some(ttl));
        self
    }

    /// What is set never expires, whatever the cache's default is.
    #[must_use]
    pub fn no_ttl(mut self) -> Self {
        self.entry.ttl = Some(None);
        self
    }

    /// What is set is kept so long beyond its TTL, for calls that allow stale values.
    #[must_use]
    pub fn stale_for(mut self, stale_for: Duration) -> Self {
        self.entry.stale_for = Some(stale_for);
        self
    }

    /// One more name under which it can be invalidated.
    #[must_use]
    pub fn tag(mut self, tag: impl AsRef<str>) -> Self {
        self.entry.tags.push(SmolStr::new(tag));
        self
    }
}

/// Shows what it does, never to which key, nor the value.
impl<V> fmt::Debug for FeedChange<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.what {
            Pushes::Set(..) => "FeedChange::Set",
            Pushes::Remove(_) => "FeedChange::Remove",
            Pushes::Expire(_) => "FeedChange::Expire",
            Pushes::RemoveTag(_) => "FeedChange::RemoveTag",
            Pushes::Clear => "FeedChange::Clear",
        })
    }
}

impl<V: Value> Cache<V> {
    /// Carries out a change. `false` if that was not possible, and nothing older is left of what it was about.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`]; whatever left something older.
    pub(super) async fn carry_out(&self, change: FeedChange<V>) -> Result<bool, Error> {
        // A host's code, which measures or writes its values, may panic.
        let made = Guarded::new(self.make(&change)).await;
        let error = match made {
            Some(Ok(())) => return Ok(true),
            Some(Err(Error::Closed)) => return Err(Error::Closed),
            Some(Err(error)) => Some(error),
            None => None,
        };
        match (&change.what, error) {
            (Pushes::Set(key, _) | Pushes::Remove(key) | Pushes::Expire(key), _) => {
                self.let_go_of(key).await.map(|()| false)
            }
            // No entry can have it.
            (Pushes::RemoveTag(_), Some(Error::Invalid { .. } | Error::TooLarge { .. })) => {
                Ok(false)
            }
            (Pushes::RemoveTag(_) | Pushes::Clear, error) => Err(error.unwrap_or(Error::Closed)),
        }
    }

    async fn make(&self, change: &FeedChange<V>) -> Result<(), Error> {
        match &change.what {
            Pushes::Set(key, value) => {
                self.check_key(key)?;
                let now_ms = self.tiers().now_ms();
                let draft = self.prepare(Arc::clone(value), &change.entry, now_ms)?;
                let call = Call::new(self, key, Durability::Queued);
                call.write(Change::Put(draft)).await.map(drop)
            }
            Pushes::Remove(key) => self.remove(key).await.map(drop),
            Pushes::Expire(key) => self.expire(key).await.map(drop),
            Pushes::RemoveTag(tag) => self.remove_tag(tag).await.map(drop),
            Pushes::Clear => self.clear().await.map(drop),
        }
    }

    /// Removes a key, whatever stores have room for.
    async fn let_go_of(&self, key: &str) -> Result<(), Error> {
        if self.check_key(key).is_err() {
            // No entry can have it.
            return Ok(());
        }
        let mut call = Call::new(self, key, Durability::Queued);
        call.terms().wait = Some(ROOM_MAX);
        match call.write(Change::Remove).await {
            Ok(_) => Ok(()),
            Err(Error::Closed) => Err(Error::Closed),
            Err(_) => {
                let order = call.order(Change::Remove);
                self.tiers().without_room(self.place(), order)
            }
        }
    }
}
