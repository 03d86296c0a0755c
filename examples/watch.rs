//! Watching a key: every change with the old and the new value; or just the latest.

use std::time::Duration;

use larder::{Cache, EntryEvent, EventKind, Larder};

#[tokio::main]
async fn main() -> Result<(), larder::Error> {
    let larder = Larder::builder().start().await?;
    let flags: Cache<bool> = larder.cache("flags")?;
    let mut every = flags.watch("dark-mode").await?;
    let mut latest = flags.watch_latest("dark-mode").await?;

    flags.set("dark-mode", false).await?;
    flags.set("dark-mode", true).await?;
    let removed = flags.remove("dark-mode").await?;

    let mut kinds = Vec::new();
    while kinds.last() != Some(&EventKind::Removed) {
        // A watcher that is too slow gets `Lagged` and a snapshot; this one is not.
        let Some(EntryEvent::Changed(change)) = every.next().await else {
            panic!("the stream ended, or lagged");
        };
        let old = change.old.known().map(|entry| **entry);
        let new = change.new.as_deref();
        println!("{:?}: {old:?} -> {new:?}, {}", change.kind, change.version);
        kinds.push(change.kind);
    }
    assert_eq!(
        kinds,
        [EventKind::Created, EventKind::Updated, EventKind::Removed]
    );

    // Whoever looks only now is told where things stand, not what was on the way.
    let mut given = 0;
    while let Some(change) = latest.changed().await {
        given += 1;
        println!("the latest: {:?}, {}", change.kind, change.version);
        if change.version == removed {
            break;
        }
    }
    assert!((1..=3).contains(&given));

    larder.shutdown(Duration::from_secs(5)).await
}
