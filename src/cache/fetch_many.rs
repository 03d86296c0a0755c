//! Get-or-fetch of many keys while it is being said.

use std::future::{Future, IntoFuture};
use std::sync::Arc;
use std::time::Duration;

use super::asking::Says;
use super::loading_many::ManyLoader;
use super::{Cache, CallFuture, FetchOutcome};
use crate::codec::Value;
use crate::entry::Entry;
use crate::error::{Error, ErrorClass, LoadError};
use crate::fetch::{LoadManyContext, LoadSource, Loaded, Retry, Urgency};
use crate::shelf::Priority;

/// Keys of one call of a loader where nothing else is said.
pub const FETCH_CHUNK: usize = 1_000;

impl<V: Value> Cache<V> {
    /// Reads many entries, and loads all that are missing with one call of the loader. Each key is kept and joined by
    /// itself: one that is being loaded already, by this call or by a [`fetch`](Cache::fetch) of that key alone, is waited for.
    ///
    /// The loader gets a [`LoadManyContext`] with the keys that are to be loaded, and returns pairs of a key and a value, an
    /// `Option` of one or a [`Loaded`]; a key that it does not return has none. What it returns beyond that is passed over.
    ///
    /// Awaited, it replies with each key and its entry, in the order of the keys; with the first error, if there is one.
    /// [`outcomes`](FetchMany::outcomes) has an answer for each key.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), larder::Error> {
    /// # use std::{collections::HashMap, io, time::Duration};
    /// # #[derive(Clone)] struct Api;
    /// # impl Api { async fn users(&self, ids: Vec<String>) -> io::Result<HashMap<String, String>> {
    /// #   Ok(ids.into_iter().filter(|id| id != "44").map(|id| (id.clone(), format!("user {id}"))).collect()) } }
    /// # let api = Api;
    /// # let larder = larder::Larder::builder().start().await?;
    /// let users = larder.cache::<String>("users")?;
    /// let load = move |cx: larder::LoadManyContext<String>| {
    ///     let api = api.clone();
    ///     async move { api.users(cx.keys().map(str::to_owned).collect()).await }
    /// };
    /// let found = users.fetch_many(["42", "43", "44"], load).ttl(Duration::from_secs(60)).await?;
    /// assert_eq!(found[0].1.as_deref().map(String::as_str), Some("user 42"));
    /// assert!(found[2].1.is_none(), "there is no such user");
    /// assert!(users.get("43").await?.is_some(), "and it is kept");
    /// # larder.shutdown(Duration::from_secs(5)).await }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`fetch`](Cache::fetch), and [`Error::Invalid`] for the size of a chunk.
    ///
    /// # Cancel safety
    ///
    /// As [`fetch`](Cache::fetch), key by key.
    pub fn fetch_many<I, K, F, R, M, N, A, E>(&self, keys: I, loader: F) -> FetchMany<'_, V>
    where
        I: IntoIterator<Item = K>,
        K: Into<smol_str::SmolStr>,
        F: Fn(LoadManyContext<V>) -> R + Send + Sync + 'static,
        R: Future<Output = Result<M, E>> + Send + 'static,
        M: IntoIterator<Item = (N, A)>,
        N: Into<smol_str::SmolStr>,
        A: Into<Loaded<V>>,
        E: Into<LoadError>,
    {
        let loader: ManyLoader<V> = Arc::new(move |context| {
            let loading = loader(context);
            Box::pin(async move {
                let pairs = loading.await.map_err(Into::into)?;
                let pairs = pairs.into_iter();
                Ok(pairs
                    .map(|(key, answer)| (key.into(), answer.into()))
                    .collect())
            })
        });
        FetchMany {
            cache: self,
            keys: keys.into_iter().map(Into::into).collect(),
            loader,
            says: Box::default(),
            chunk: FETCH_CHUNK,
        }
    }
}

/// A fetch of many keys that is about to be made. `.await` it, or ask for its [`outcomes`](FetchMany::outcomes).
#[must_use = "it is done when it is awaited"]
pub struct FetchMany<'a, V> {
    pub(super) cache: &'a Cache<V>,
    pub(super) keys: Vec<smol_str::SmolStr>,
    pub(super) loader: ManyLoader<V>,
    says: Box<Says>,
    pub(super) chunk: usize,
}

impl<'a, V: Value> FetchMany<'a, V> {
    fn says(&mut self) -> &mut Says {
        &mut self.says
    }

    /// Most keys of one call of the loader (1 to [`CHUNK_COUNT_MAX`](crate::cache::CHUNK_COUNT_MAX)). Default: [`FETCH_CHUNK`]. More are
    /// loaded beside each other.
    pub fn chunk(mut self, count: usize) -> Self {
        self.chunk = count;
        self
    }

    fetch_options!();

    /// Each key with its answer and the explanation, in the order of the keys. What fails, fails alone.
    ///
    /// # Errors
    ///
    /// For the call as a whole: [`Error::Invalid`] for terms that make no sense, [`Error::Closed`].
    ///
    /// # Cancel safety
    ///
    /// As [`Cache::fetch_many`].
    pub async fn outcomes(
        mut self,
    ) -> Result<Vec<(smol_str::SmolStr, Result<FetchOutcome<V>, Error>)>, Error> {
        let says = std::mem::take(&mut self.says);
        self.run(says).await
    }
}

impl<'a, V: Value> IntoFuture for FetchMany<'a, V> {
    type Output = Result<Vec<(smol_str::SmolStr, Option<Entry<V>>)>, Error>;
    type IntoFuture = CallFuture<'a, Vec<(smol_str::SmolStr, Option<Entry<V>>)>>;

    fn into_future(self) -> Self::IntoFuture {
        let span = tracing::trace_span!("larder.fetch_many", cache = self.cache.name());
        let call = async move {
            let outcomes = self.outcomes().await?.into_iter();
            let entries = outcomes.map(|(key, outcome)| Ok((key, outcome?.entry)));
            entries.collect()
        };
        Box::pin(tracing::Instrument::instrument(call, span))
    }
}
