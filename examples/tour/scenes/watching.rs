//! Scene: somebody watches one price while it changes, runs out and is removed.

use std::time::Duration;

use larder::{Cache, Change, EntryEvent, EventKind, Larder, Old};

use crate::Failed;
use crate::screen::Screen;

/// No event takes this long unless something is wrong.
const PATIENCE: Duration = Duration::from_secs(10);

/// Plays it.
pub async fn run(screen: &mut Screen) -> Result<(), Failed> {
    screen.scene("Watching: one price, as somebody sees it who watches");
    let larder = Larder::builder().start().await?;
    let prices: Cache<u64> = larder.cache("prices")?;
    let mut watch = prices.watch("shoes").await?;
    let mut issued = vec![prices.set("shoes", 4_999_u64).await?];
    prices.set("socks", 499_u64).await?;
    let lower = prices.update("shoes", |old| old.copied().unwrap_or(0) - 1_000);
    issued.push(lower.await?.version());
    let sale = prices
        .set("shoes", 2_999_u64)
        .ttl(Duration::from_millis(20))
        .await?;
    // Once by the set, and once when its time is up.
    issued.extend([sale, sale]);

    let mut changes = Vec::new();
    while changes.len() < 4 {
        changes.push(next(&mut watch).await?);
    }
    issued.push(prices.set("shoes", 5_499_u64).await?);
    issued.push(prices.remove("shoes").await?);
    while changes.len() < 6 {
        changes.push(next(&mut watch).await?);
    }
    larder.shutdown(Duration::from_secs(5)).await?;

    let rows: Vec<Vec<String>> = changes.iter().map(row).collect();
    screen.table(&["event", "version", "old", "new"], &rows);
    let kinds: Vec<EventKind> = changes.iter().map(|change| change.kind).collect();
    use EventKind::{Created, Expired, Removed, Updated};
    screen.claim(
        kinds == [Created, Updated, Updated, Expired, Created, Removed],
        "every change of the watched key was seen, in order, and none of another key",
    );
    let versions: Vec<_> = changes.iter().map(|change| change.version).collect();
    screen.claim(
        versions == issued,
        "with the versions that the calls replied",
    );
    let chained = changes.windows(2).all(|pair| match pair {
        [before, after] => value(&before.new) == old(after),
        _ => true,
    });
    screen.claim(
        chained,
        "each old value is the new value of the change before",
    );
    Ok(())
}

async fn next(watch: &mut larder::watch::Watch<u64>) -> Result<Change<u64>, Failed> {
    match tokio::time::timeout(PATIENCE, watch.next()).await? {
        Some(EntryEvent::Changed(change)) => Ok(change),
        other => Err(format!("{other:?} instead of a change").into()),
    }
}

fn row(change: &Change<u64>) -> Vec<String> {
    let shown = |value: Option<u64>| value.map_or("-".to_owned(), |cents| cents.to_string());
    vec![
        format!("{:?}", change.kind).to_lowercase(),
        change.version.to_string(),
        shown(old(change)),
        shown(value(&change.new)),
    ]
}

fn old(change: &Change<u64>) -> Option<u64> {
    match &change.old {
        Old::Known(entry) => Some(**entry),
        _ => None,
    }
}

fn value(entry: &Option<larder::Entry<u64>>) -> Option<u64> {
    entry.as_deref().copied()
}
