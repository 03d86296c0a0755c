//! Scene: the trace on an empty larder, and once more.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::Failed;
use crate::keeper::ByHandle;
use crate::replay::{COLUMNS, replay};
use crate::screen::{Screen, grouped};
use crate::shop::{self, MEMORY_BYTES, PAGES, Trace};

/// Plays it on the store, which is empty at first and full at the end.
pub async fn run(screen: &mut Screen, store: &Path, trace: &Arc<Trace>) -> Result<(), Failed> {
    let mib = MEMORY_BYTES >> 20;
    screen.scene(&format!("Cold and warm: {mib} MiB of memory over a disk"));
    let larder = shop::open(store).await?;
    let keeper = Arc::new(ByHandle(larder.clone(), larder.cache(PAGES)?));
    let cold = replay(&keeper, trace, "cold").await?;
    let warm = replay(&keeper, trace, "warm").await?;
    drop(keeper);
    larder.shutdown(Duration::from_secs(10)).await?;
    screen.table(COLUMNS, &[cold.row("cold"), warm.row("warm")]);
    println!(
        "   Cold, {} calls were for a page that another request was already waiting for: this scene\n   \
         gets and sets by hand; `fetch` would have joined them.\n",
        grouped(cold.origin.saturating_sub(trace.pages() as u64)),
    );
    screen.claim(
        cold.forgotten == 0,
        "cold: no page was asked of the origin once larder had acknowledged it",
    );
    screen.claim(warm.origin == 0, "warm: no request reached the origin");
    screen.claim(
        cold.wrong + warm.wrong == 0,
        "every answer was the page that was asked for",
    );
    Ok(())
}
