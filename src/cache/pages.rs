//! Lists that a source gives page by page: each page is an entry, and those of a list go together.

use std::future::IntoFuture;
use std::time::Duration;

use super::asking::Says;
use super::{Cache, CallFuture, Clear, FetchOutcome};
use crate::codec::Value;
use crate::entry::Entry;
use crate::error::{Error, ErrorClass, LoadError};
use crate::fetch::{LoadContext, LoadSource, Loaded, Loader, Retry, Urgency};
use crate::shelf::Priority;

impl<V: Value> Cache<V> {
    /// Reads one page of a list, or loads it: as [`fetch`](Cache::fetch), with a page for a value. Each page is kept under its
    /// cursor, whatever the source's cursors are ("" for the first page), and all pages of a list are dropped together by
    /// [`drop_pages`](Cache::drop_pages).
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), larder::Error> {
    /// # let larder = larder::Larder::builder().start().await?;
    /// let inbox = larder.cache::<Vec<String>>("inbox")?;
    /// let page = |_| async { Ok::<_, std::io::Error>(vec!["a letter".to_owned()]) };
    /// let first = inbox.fetch_page("of Ada", "", page).await?;
    /// assert_eq!(first.map(|page| page.len()), Some(1));
    /// // The next one, by the cursor that the source gave with the first.
    /// let load = |cursor: &'static str| move |_| async move { Ok::<_, std::io::Error>(vec![format!("after {cursor}")]) };
    /// let second = inbox.fetch_page("of Ada", "c-17", load("c-17")).await?;
    /// assert_eq!(*second.expect("it has one"), ["after c-17"]);
    /// // One more letter has come: what is on which page is not known any more.
    /// inbox.drop_pages("of Ada").await?;
    /// # larder.shutdown(std::time::Duration::from_secs(5)).await }
    /// ```
    ///
    /// The loader's [`LoadContext::key`] is the page's own, of list and cursor; it knows its cursor better itself.
    ///
    /// # Errors
    ///
    /// As [`fetch`](Cache::fetch); the longest key and tag count for the list's and the cursor's names together.
    ///
    /// # Cancel safety
    ///
    /// As [`fetch`](Cache::fetch).
    pub fn fetch_page<F, R, A, E>(&self, list: &str, cursor: &str, loader: F) -> FetchPage<'_, V>
    where
        F: Fn(LoadContext<V>) -> R + Send + Sync + 'static,
        R: Future<Output = Result<A, E>> + Send + 'static,
        A: Into<Loaded<V>>,
        E: Into<LoadError>,
    {
        FetchPage {
            cache: self,
            key: page_key(list, cursor),
            loader: super::fetch::erase(loader),
            says: Box::default(),
        }
        .tag(list_tag(list))
    }

    /// Drops all pages of a list, also those that are being loaded.
    ///
    /// # Errors
    ///
    /// As [`remove_tag`](Cache::remove_tag).
    ///
    /// # Cancel safety
    ///
    /// As [`remove_tag`](Cache::remove_tag).
    pub async fn drop_pages(&self, list: &str) -> Result<(), Error> {
        let tag = list_tag(list);
        let drops: Clear<'_, V> = self.remove_tag(&tag);
        drops.await.map(drop)
    }
}

/// The list's length tells where its name ends, whatever it holds.
fn page_key(list: &str, cursor: &str) -> String {
    format!("page/{}/{list}/{cursor}", list.len())
}

fn list_tag(list: &str) -> String {
    format!("pages/{list}")
}

/// A fetch of one page that is about to be made. `.await` it, or ask for its [`outcome`](FetchPage::outcome).
#[must_use = "it is done when it is awaited"]
pub struct FetchPage<'a, V> {
    cache: &'a Cache<V>,
    key: String,
    loader: Loader<V>,
    says: Box<Says>,
}

impl<'a, V: Value> FetchPage<'a, V> {
    fn says(&mut self) -> &mut Says {
        &mut self.says
    }

    fetch_options!();

    /// The same answer with its explanation.
    ///
    /// # Errors
    ///
    /// As [`Cache::fetch_page`].
    ///
    /// # Cancel safety
    ///
    /// As [`Cache::fetch_page`].
    pub async fn outcome(self) -> Result<FetchOutcome<V>, Error> {
        self.cache
            .fetch_slow(&self.key, self.loader, Some(self.says))
            .await
    }
}

impl<'a, V: Value> IntoFuture for FetchPage<'a, V> {
    type Output = Result<Option<Entry<V>>, Error>;
    type IntoFuture = CallFuture<'a, Option<Entry<V>>>;

    fn into_future(self) -> Self::IntoFuture {
        let span = tracing::trace_span!("larder.fetch_page", cache = self.cache.name());
        let call = async move { Ok(self.outcome().await?.entry) };
        Box::pin(tracing::Instrument::instrument(call, span))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_pages_have_one_key() {
        let lists = ["", "a", "a/", "a/b", "1/a", "page/1/a/"];
        let mut keys = Vec::new();
        for list in lists {
            keys.extend(["", "b", "/b", "b/c", "1/a/b"].map(|cursor| page_key(list, cursor)));
        }
        let count = keys.len();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), count);
    }
}
