//! Scans: the keys of a cache in order, page by page.

use std::fmt;
use std::future::IntoFuture;
use std::str::FromStr;
use std::time::Duration;

use super::{Cache, CallFuture};
use crate::codec::Value;
use crate::entry::Entry;
use crate::error::Error;
use crate::shelf::Freshness;
use crate::tiers::PageAsk;

/// Entries of a page where nothing is said, if `page_size_max` allows as many.
pub const PAGE_SIZE: usize = 100;

impl<V: Value> Cache<V> {
    /// Reads the live entries whose keys begin with `prefix` (all of them for `""`), in the order of
    /// their keys (by bytes), a page at a time.
    ///
    /// A scan sees what reads see. Its cursor survives writes: every key that is there from the first
    /// page to the last is seen once; one that comes or goes meanwhile may or may not be. Pages read
    /// every store of the cache; over memory alone each page looks at all of memory.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), larder::Error> {
    /// # let larder = larder::Larder::builder().start().await?;
    /// # let users = larder.cache::<String>("users")?;
    /// let mut page = users.scan("a").page_size(100).await?;
    /// while let Some(cursor) = page.next.take() {
    ///     page = users.scan("a").page_size(100).after(cursor).await?;
    /// }
    /// # larder.shutdown(std::time::Duration::from_secs(5)).await }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a page size of zero or above `page_size_max`, or for a cursor of another
    /// scan; [`Error::Overloaded`] or [`Error::DeadlineExceeded`] if a store has too much to do or does
    /// not answer in time. One that is not up, or fails, makes the page [`partial`](Page::partial).
    ///
    /// # Cancel safety
    ///
    /// Dropping it has no effect.
    pub fn scan<'a>(&'a self, prefix: &'a str) -> Scan<'a, V> {
        Scan {
            cache: self,
            prefix,
            after: None,
            page_size: PAGE_SIZE.min(self.tiers().config.limits.page_size_max),
            wait: None,
        }
    }
}

/// A page that is about to be read.
#[must_use = "a page is read when it is awaited"]
pub struct Scan<'a, V> {
    cache: &'a Cache<V>,
    prefix: &'a str,
    after: Option<Cursor>,
    page_size: usize,
    wait: Option<Duration>,
}

/// One page of a scan.
#[non_exhaustive]
pub struct Page<V> {
    /// The entries in the order of their keys.
    pub entries: Vec<(String, Entry<V>)>,
    /// Where to go on; `None` at the end. A page may be short of entries and still have one.
    pub next: Option<Cursor>,
    /// A store was not up or failed, or entries kept moving between stores: keys may be missing.
    pub partial: bool,
}

/// Shows how many entries, never a key.
impl<V> fmt::Debug for Page<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Page")
            .field("entries", &self.entries.len())
            .field("next", &self.next)
            .field("partial", &self.partial)
            .finish()
    }
}

/// A place in a scan. It can be turned into text and back, and outlives the process.
#[derive(Clone, PartialEq, Eq)]
pub struct Cursor {
    cache: String,
    prefix: String,
    after: String,
}

/// Shows the cache, never the key: for that there is its text.
impl fmt::Debug for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cursor({}, {} bytes)", self.cache, self.after.len())
    }
}

impl Cursor {
    /// The last key of the page that it was given with.
    pub fn key(&self) -> &str {
        &self.after
    }
}

impl<V: Value> Scan<'_, V> {
    /// Most entries of the page (1 to `page_size_max`); 100 where nothing is said.
    pub fn page_size(mut self, count: usize) -> Self {
        self.page_size = count;
        self
    }

    /// Goes on where an earlier page of the same scan ended.
    pub fn after(mut self, cursor: Cursor) -> Self {
        self.after = Some(cursor);
        self
    }

    /// Goes on after this key, whether it is there or not.
    pub fn after_key(mut self, key: &str) -> Self {
        self.after = Some(Cursor {
            cache: self.cache.name().to_owned(),
            prefix: self.prefix.to_owned(),
            after: key.to_owned(),
        });
        self
    }

    /// How long it may take; the larder's `call_ms_max` where nothing is said.
    pub fn deadline(mut self, after: Duration) -> Self {
        self.wait = Some(after);
        self
    }

    async fn run(self) -> Result<Page<V>, Error> {
        let (cache, tiers) = (self.cache, self.cache.tiers());
        let limit = tiers.config.limits.page_size_max;
        if !(1..=limit).contains(&self.page_size) {
            return Err(Error::Invalid {
                field: "page_size",
                reason: format!("is {}, allowed is 1 to {limit}", self.page_size),
            });
        }
        for key in [self.prefix, self.after.as_ref().map_or("", |c| &c.after)] {
            // An empty one is no key, and right.
            if !key.is_empty() {
                cache.check_key(key)?;
            }
        }
        if let Some(cursor) = &self.after
            && (cursor.cache != cache.name() || cursor.prefix != self.prefix)
        {
            return Err(Error::Invalid {
                field: "after",
                reason: format!(
                    "is a cursor of another scan, this one is of cache {:?}",
                    cache.name()
                ),
            });
        }
        let ask = PageAsk {
            prefix: self.prefix,
            after: self.after.as_ref().map_or("", |c| &c.after),
            count_max: self.page_size,
            wait: self.wait,
        };
        let found = tiers.page(cache.place(), ask).await?;
        let (form, now_ms) = (cache.form(), tiers.now_ms());
        let entries = found.entries.iter().filter_map(|(name, slot, source)| {
            let entry = form.entry(slot, Freshness::Fresh, *source, now_ms).ok()?;
            Some((name.to_string(), entry))
        });
        Ok(Page {
            entries: entries.collect(),
            next: found.next.map(|after| Cursor {
                cache: cache.name().to_owned(),
                prefix: self.prefix.to_owned(),
                after: after.to_string(),
            }),
            partial: found.partial,
        })
    }
}

impl<'a, V: Value> IntoFuture for Scan<'a, V> {
    type Output = Result<Page<V>, Error>;
    type IntoFuture = CallFuture<'a, Page<V>>;

    fn into_future(self) -> Self::IntoFuture {
        let span = tracing::trace_span!("larder.scan", cache = self.cache.name());
        Box::pin(tracing::Instrument::instrument(self.run(), span))
    }
}

/// `cache/length of the prefix/prefix and last key`.
impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}/{}/{}{}",
            self.cache,
            self.prefix.len(),
            self.prefix,
            self.after
        )
    }
}

impl FromStr for Cursor {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let parse = || {
            let (cache, rest) = text.split_once('/')?;
            let (length, rest) = rest.split_once('/')?;
            let (prefix, after) = rest.split_at_checked(length.parse().ok()?)?;
            Some(Self {
                cache: cache.to_owned(),
                prefix: prefix.to_owned(),
                after: after.to_owned(),
            })
        };
        parse().ok_or_else(|| Error::Invalid {
            field: "cursor",
            reason: "is not the text of a cursor".into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_being_text() {
        for (prefix, after) in [("", "b"), ("a/", "a/7"), ("ü", "üx/y")] {
            let cursor = Cursor {
                cache: "users".into(),
                prefix: prefix.into(),
                after: after.into(),
            };
            assert_eq!(cursor.to_string().parse::<Cursor>().unwrap(), cursor);
        }
        for text in ["", "users", "users/x/a", "users/9/a", "users/1/ü"] {
            assert!(text.parse::<Cursor>().is_err(), "{text}");
        }
    }
}
