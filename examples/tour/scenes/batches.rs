//! Scene: the same pages stored one by one, in chunks, and all at once, each in a process of its own.

use std::path::Path;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use larder::{Cache, Durability};

use crate::Failed;
use crate::child::{self, peak_kib};
use crate::screen::{Screen, grouped, rate, seconds};
use crate::shop::{self, PAGES, Page};

/// The role of the processes that store.
pub const STORES: &str = "stores";

/// Pages to store, each acknowledged as written.
const PAGES_COUNT: u64 = 20_000;
const ONE_BY_ONE: &str = "one by one";
const ALL_AT_ONCE: &str = "all at once";
const CHUNKS: [&str; 3] = ["50", "500", "1000"];

struct Stored {
    took: Duration,
    peak_kib: Option<u64>,
    found: u64,
}

/// Plays it.
pub fn run(screen: &mut Screen) -> Result<(), Failed> {
    let count = grouped(PAGES_COUNT);
    screen.scene(&format!(
        "Batches: {count} pages stored, each acknowledged as written"
    ));
    let one_by_one = measure(ONE_BY_ONE)?;
    let chunked: Vec<Stored> = CHUNKS.into_iter().map(measure).collect::<Result<_, _>>()?;
    let all_at_once = measure(ALL_AT_ONCE)?;
    let mut rows = vec![one_by_one.row(ONE_BY_ONE)];
    for (chunk, stored) in CHUNKS.iter().zip(&chunked) {
        rows.push(stored.row(&format!("chunks of {chunk}")));
    }
    rows.push(all_at_once.row("all at once, joined"));
    screen.table(&["", "time", "pages/s", "peak memory"], &rows);
    let mut every = chunked.iter().chain([&one_by_one, &all_at_once]);
    screen.claim(
        every.all(|stored| stored.found == PAGES_COUNT),
        "every page was there afterwards, each time",
    );
    screen.claim(
        chunked.iter().all(|stored| stored.took < one_by_one.took),
        "any chunk size is faster than one by one",
    );
    screen.claim(
        chunked
            .iter()
            .all(|stored| stored.peak_kib <= all_at_once.peak_kib),
        "chunks need less memory than all at once",
    );
    Ok(())
}

impl Stored {
    fn row(&self, label: &str) -> Vec<String> {
        let peak = self.peak_kib.map(|kib| format!("{} MiB", kib >> 10));
        vec![
            label.to_owned(),
            seconds(self.took),
            rate(PAGES_COUNT, self.took),
            peak.unwrap_or_else(|| "not told".into()),
        ]
    }
}

fn measure(how: &str) -> Result<Stored, Failed> {
    let store = tempfile::tempdir()?;
    let path = store
        .path()
        .to_str()
        .ok_or("the temporary directory has an odd name")?;
    let told = child::run(STORES, &[path, how])?;
    let [micros, peak_kib, found] = told.split_whitespace().collect::<Vec<_>>()[..] else {
        return Err(format!("{told:?} is no answer").into());
    };
    Ok(Stored {
        took: Duration::from_micros(micros.parse()?),
        peak_kib: peak_kib.parse().ok(),
        found: found.parse()?,
    })
}

/// In a process of its own, so that its peak of memory is its own: stores the pages, says how long it
/// took, the peak, and how many are there.
pub async fn store(store: &Path, how: &str) -> Result<(), Failed> {
    let larder = shop::open(store).await?;
    let pages: Cache<Page> = larder.cache(PAGES)?;
    let began = Instant::now();
    let written = Durability::Written;
    match how {
        ONE_BY_ONE => {
            for id in 0..PAGES_COUNT {
                let key = Page::key(id);
                let set = pages.set(&key, Page::render(id, 0));
                set.durability(written).await?;
            }
        }
        ALL_AT_ONCE => {
            let all: Vec<_> = (0..PAGES_COUNT)
                .map(|id| (Page::key(id), Page::render(id, 0)))
                .collect();
            let sets = all.into_iter().map(|(key, page)| {
                let pages = &pages;
                async move { pages.set(&key, page).durability(written).await }
            });
            try_join_all(sets).await?;
        }
        chunk => {
            let items = (0..PAGES_COUNT).map(|id| (Page::key(id), Page::render(id, 0)));
            let sets = pages.set_many(items).chunk(chunk.parse()?);
            sets.durability(written).await?;
        }
    }
    let took = began.elapsed();
    let peak = peak_kib().map_or("-".into(), |kib| kib.to_string());
    let mut found = 0;
    let keys = (0..PAGES_COUNT).map(Page::key);
    let mut chunks = pages.get_many(keys).chunk(1_000);
    while let Some(chunk) = chunks.next().await {
        for (_, page) in chunk?.keys {
            found += usize::from(page?.is_some());
        }
    }
    println!("{} {peak} {found}", took.as_micros());
    larder.shutdown(Duration::from_secs(10)).await?;
    Ok(())
}
