//! How a cache's values become bytes: its codec, compression, and values of lower schema numbers.

use std::sync::Arc;

use super::{CacheBuilder, Defaults};
use crate::codec::{BuiltIn, Codec, Coder, Compression, Value};
use crate::error::Error;
use crate::tiers::Tiers;
use crate::typed::{Form, Migrate, OldRecord};

impl<V: Value> CacheBuilder<V> {
    /// What writes its values: [`Bincode`](crate::codec::Bincode), `MessagePack`, `Json`,
    /// [`Raw`](crate::codec::Raw) or a codec of the host's own, whose number is
    /// [`HOST_ID_MIN`](crate::codec::HOST_ID_MIN) to 255. Default: `Bincode`.
    ///
    /// A cache may change its codec: each record names the one that wrote it, and those of larder's are always
    /// read. One of a host's own is read while the cache has the codec of that number; else it is a miss that is
    /// counted as another schema.
    pub fn codec(mut self, codec: impl Codec<V>) -> Self {
        self.coder = Coder::new(codec);
        self
    }

    /// What compresses its values on their way to its stores, on the caller's thread: kept where it saves a
    /// tenth at least. What is in memory, and what it weighs there, is not compressed. Records say how they
    /// are compressed, so this may change. Default: [`Compression::default`], but [`Compression::None`] with
    /// [`Raw`](crate::codec::Raw) and in a cache of secrets.
    ///
    /// The length of a compressed secret tells something of what is in it, above all where others choose a part
    /// of it: ask for it there only if they do not. zstd then also leaves parts of it in its own memory, which is
    /// not overwritten; [`Compression::Lz4`] does not.
    pub fn compression(mut self, compression: Compression) -> Self {
        self.defaults.compression = Some(compression);
        self
    }

    /// Values of fewer encoded bytes than this are stored as they are. Default:
    /// [`COMPRESS_BYTES_MIN`](crate::codec::COMPRESS_BYTES_MIN), 4 KiB.
    pub fn compress_bytes_min(mut self, bytes: usize) -> Self {
        self.defaults.compress_bytes_min = bytes;
        self
    }

    /// Makes values of those that were stored under a lower schema number, instead of missing them. What it
    /// returns is an entry with the version and the times that the stored one has, for reads, conditions,
    /// updates, scans and watchers alike; memory keeps it, a store keeps the old bytes until the entry is set
    /// anew. It is called for each read from a store, on the reader's thread.
    ///
    /// An error, or a panic, makes it a miss that is counted as one that could not be decoded. What a later
    /// version of the host has stored under a higher number is a miss, and so is what a handle with the lower
    /// number has set as another type, for as long as memory holds it.
    ///
    /// ```
    /// # #[tokio::main] async fn main() -> Result<(), larder::Error> {
    /// # let larder = larder::Larder::builder().start().await?;
    /// # use serde::{Deserialize, Serialize};
    /// #[derive(Serialize, Deserialize)]
    /// struct UserV1 {
    ///     name: String,
    /// }
    ///
    /// #[derive(Serialize, Deserialize)]
    /// struct User {
    ///     name: String,
    ///     age: Option<u8>,
    /// }
    ///
    /// let users = larder
    ///     .cache_builder::<User>("users")
    ///     .schema(2)
    ///     .migrate(|old| {
    ///         let UserV1 { name } = old.decode()?;
    ///         Ok(User { name, age: None })
    ///     })
    ///     .open()?;
    /// # larder.shutdown(std::time::Duration::from_secs(5)).await }
    /// ```
    pub fn migrate<F>(mut self, migrate: F) -> Self
    where
        F: Fn(OldRecord<'_>) -> Result<V, Error> + Send + Sync + 'static,
    {
        self.migrate = Some(Arc::new(migrate));
        self
    }
}

impl Defaults {
    /// How values of a type are written and read where all of this is said.
    pub(super) fn form<V: Value>(
        &self,
        schema: u32,
        coder: Coder<V>,
        migrate: Option<Migrate<V>>,
        tiers: &Tiers,
    ) -> Arc<Form<V>> {
        // Of bytes that are to be stored as they are, most are compressed already.
        let is_bare = self.is_secret || coder.built_in() == Some(BuiltIn::Raw);
        let default = match is_bare {
            true => Compression::None,
            false => Compression::default(),
        };
        Arc::new(Form {
            schema,
            migrate,
            coder,
            compression: self.compression.unwrap_or(default),
            compress_bytes_min: self.compress_bytes_min,
            bytes_max: tiers.config.limits.value_bytes_max,
            is_secret: self.is_secret,
            keeps_decoded: self.keeps_decoded.unwrap_or(!self.is_secret),
            shows_values: self.shows_values.unwrap_or(!self.is_secret),
            packed: Arc::clone(&tiers.counts.packed),
        })
    }
}
