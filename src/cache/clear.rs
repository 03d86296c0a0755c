//! Invalidating all entries of a cache, or of a tag of it.

use std::future::IntoFuture;
use std::time::Duration;

use smol_str::SmolStr;

use super::call::Call;
use super::{Cache, CallFuture};
use crate::codec::Value;
use crate::error::Error;
use crate::outcome::{Durability, WriteOutcome};
use crate::shelf::Covers;
use crate::version::Version;

impl<V: Value> Cache<V> {
    /// Makes every entry of the cache a miss, in every tier, in one step. By default acknowledged as
    /// [`Durability::Written`]. Their space is freed in the background.
    ///
    /// # Errors
    ///
    /// As [`set`](Cache::set), for what can happen to it.
    ///
    /// # Cancel safety
    ///
    /// Once polled, the entries are gone for this process; whether also after a crash is open.
    pub fn clear(&self) -> Clear<'_, V> {
        self.fence(None)
    }

    /// As [`clear`](Cache::clear), for the entries that were set with this tag.
    ///
    /// # Errors
    ///
    /// As [`clear`](Cache::clear); [`Error::Invalid`] or [`Error::TooLarge`] for the tag.
    ///
    /// # Cancel safety
    ///
    /// As [`clear`](Cache::clear).
    pub fn remove_tag<'a>(&'a self, tag: &'a str) -> Clear<'a, V> {
        self.fence(Some(tag))
    }

    fn fence<'a>(&'a self, tag: Option<&'a str>) -> Clear<'a, V> {
        Clear {
            tag,
            call: Call::new(self, "", Durability::Written),
        }
    }
}

/// A clear or tag invalidation that is about to be made.
#[must_use = "it is done when it is awaited"]
pub struct Clear<'a, V> {
    tag: Option<&'a str>,
    call: Call<'a, V>,
}

impl<V: Value> Clear<'_, V> {
    call_options!(Clear);

    /// Does it and explains it.
    ///
    /// # Errors
    ///
    /// As [`Cache::clear`].
    ///
    /// # Cancel safety
    ///
    /// As [`Cache::clear`].
    pub async fn outcome(self) -> Result<WriteOutcome, Error> {
        let (call, cache) = (&self.call, self.call.cache);
        let covers = match self.tag {
            None => Covers::All,
            Some(tag) => {
                cache.check_tag(tag)?;
                Covers::Tag(SmolStr::new(tag))
            }
        };
        let (durability, by_name) = (call.durability, call.by_name);
        let tiers = cache.tiers();
        tiers
            .invalidate(cache.place(), covers, durability, by_name, call.wait())
            .await
    }
}

into_future!(Clear, Version, "larder.clear", clear => Ok(clear.outcome().await?.version));
