//! The web shop: which pages were asked for, and the slow origin that makes them.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use larder::{Larder, config::Limits};
use serde::{Deserialize, Serialize};

use crate::Failed;

/// Requests under way at once.
pub const TASKS: usize = 64;
/// How long the origin takes for a page.
pub const ORIGIN_TIME: Duration = Duration::from_millis(5);
/// Memory for pages: less than a third of them fit, the others are on disk only.
pub const MEMORY_BYTES: usize = 8 << 20;
/// The cache of the pages.
pub const PAGES: &str = "pages";

const TRACE: &[u8] = include_bytes!("../data/web07.u64le.zst");

/// The requests, in order.
pub struct Trace {
    /// The page of each request.
    pub requests: Vec<u64>,
    /// Whether larder has acknowledged each page.
    stored: HashMap<u64, AtomicBool>,
}

impl Trace {
    /// Reads the trace that comes with the examples.
    pub fn load() -> Result<Self, Failed> {
        let bytes = zstd::stream::decode_all(TRACE)?;
        let (ids, _) = bytes.as_chunks::<8>();
        let requests: Vec<u64> = ids.iter().copied().map(u64::from_le_bytes).collect();
        let stored = requests.iter().map(|id| (*id, AtomicBool::new(false)));
        Ok(Self {
            stored: stored.collect(),
            requests,
        })
    }

    /// How many different pages are asked for.
    pub fn pages(&self) -> usize {
        self.stored.len()
    }

    /// Every page, once.
    pub fn ids(&self) -> impl Iterator<Item = u64> {
        self.stored.keys().copied()
    }

    /// Whether larder has acknowledged the page.
    pub fn is_stored(&self, id: u64) -> bool {
        let stored = self.stored.get(&id);
        stored.is_some_and(|stored| stored.load(Ordering::Acquire))
    }

    /// Notes that larder has acknowledged the page.
    pub fn note_stored(&self, id: u64) {
        if let Some(stored) = self.stored.get(&id) {
            stored.store(true, Ordering::Release);
        }
    }
}

/// A product page.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Page {
    /// Which product.
    pub id: u64,
    /// Counts the changes of the page.
    pub revision: u32,
    /// What is shown.
    pub text: String,
}

impl Page {
    /// The page as it is in this revision.
    pub fn render(id: u64, revision: u32) -> Self {
        let price = (id * 37 + u64::from(revision) * 11) % 100_000;
        let text = format!("<h1>Product {id}</h1><p>{price} cents, rev. {revision}</p>");
        Self {
            id,
            revision,
            text: text.repeat(20),
        }
    }

    /// The key that it is filed under.
    pub fn key(id: u64) -> String {
        format!("product/{id}")
    }
}

/// The shop's own server.
#[derive(Default)]
pub struct Origin(AtomicU64);

impl Origin {
    /// Makes a page, slowly.
    pub async fn fetch(&self, id: u64) -> Page {
        self.0.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(ORIGIN_TIME).await;
        Page::render(id, 0)
    }

    /// How often it was asked.
    pub fn calls(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A larder for the shop: memory over the store in this directory.
pub async fn open(store: &Path) -> Result<Larder, larder::Error> {
    let mut limits = Limits::default();
    limits.value_bytes_max = 64 << 10;
    let builder = Larder::builder().memory_bytes(MEMORY_BYTES).limits(limits);
    builder.disk(store).start().await
}
