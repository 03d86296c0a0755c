//! Scene: the trace once more, by typed messages to larder's desk instead of its handle.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::Failed;
use crate::keeper::{ByHandle, ByMessage};
use crate::replay::{COLUMNS, replay};
use crate::screen::Screen;
use crate::shop::{self, PAGES, Page, Trace};

/// Plays it on a store that has every page.
pub async fn run(screen: &mut Screen, store: &Path, trace: &Arc<Trace>) -> Result<(), Failed> {
    screen.scene("Messages: the same larder, asked by actor messages");
    let larder = shop::open(store).await?;
    let desk = Arc::new(ByMessage::new(&larder, PAGES)?);
    let message = replay(&desk, trace, "by message").await?;
    let keeper = Arc::new(ByHandle::<Page>(larder.clone(), larder.cache(PAGES)?));
    let handle = replay(&keeper, trace, "by handle").await?;
    drop((desk, keeper));
    larder.shutdown(Duration::from_secs(10)).await?;
    let rows = [message.row("by message"), handle.row("by handle")];
    screen.table(COLUMNS, &rows);
    screen.claim(
        message.origin + handle.origin == 0,
        "no request reached the origin",
    );
    screen.claim(
        message.wrong + handle.wrong == 0,
        "every answer was the page that was asked for",
    );
    Ok(())
}
