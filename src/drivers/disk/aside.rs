//! Stores that are not trusted: moved aside under a dated name, the newest few of them kept.
//!
//! It must not know why a store is not trusted.

use std::io;
use std::path::{Path, PathBuf};

use super::directory::sync_dir;
use super::layout::Head;
use super::open::{QUARANTINED, STORE};
use crate::clock::Clock;

/// What became of a store that could not be trusted: a new one has taken its place, above the same
/// version ceiling. Of the old one only what could be proven is served, and nothing unless damage alone
/// was the reason.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Quarantine {
    /// Where it is kept; `None` if it was gone.
    pub path: Option<PathBuf>,
    /// Why it is not trusted.
    pub reason: String,
    /// Records that the new one took over; 0 only if nothing at all is in it.
    pub salvaged: u64,
}

impl Quarantine {
    /// A store whose successor ends at `head`.
    pub fn new(path: Option<PathBuf>, reason: &str, head: &Head) -> Self {
        // Whatever is in it must not count as nothing.
        let salvaged = head.live.max(head.seq.min(1));
        let reason = reason.into();
        Self {
            path,
            reason,
            salvaged,
        }
    }
}

/// Moves the store of `dir` aside, durably; where it is now.
///
/// # Errors
///
/// What the file system answers.
pub fn move_aside(dir: &Path) -> io::Result<PathBuf> {
    let newest = stores(dir).last().map_or(0, |(at_ms, _)| at_ms + 1);
    // Above all others, so that their order is that of their ages whatever the clock says.
    let at_ms = Clock::system().now_ms().max(newest);
    let path = dir.join(format!("{QUARANTINED}{at_ms}"));
    std::fs::rename(dir.join(STORE), &path)?;
    sync_dir(dir)?;
    Ok(path)
}

/// Deletes the oldest of the stores that were moved aside until `count_max` are left.
///
/// One that cannot be deleted is left where it is: that is no reason not to open.
pub fn prune(dir: &Path, count_max: usize) {
    let stores = stores(dir);
    let excess = stores.len().saturating_sub(count_max);
    for (_, path) in stores.into_iter().take(excess) {
        let deleted = path.display();
        match std::fs::remove_dir_all(&path) {
            Ok(()) => tracing::warn!(
                %deleted,
                quarantined_max = count_max,
                "a store that had been moved aside is deleted: more than are to be kept"
            ),
            Err(error) => tracing::warn!(
                %deleted,
                error = %super::store::say_io(&error),
                "a store that had been moved aside could not be deleted"
            ),
        }
    }
}

/// Those that are there, oldest first.
fn stores(dir: &Path) -> Vec<(u64, PathBuf)> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let dated = entries.filter_map(|entry| {
        let name = entry.file_name();
        let at_ms = name.to_str()?.strip_prefix(QUARANTINED)?.parse().ok()?;
        Some((at_ms, entry.path()))
    });
    let mut stores: Vec<_> = dated.collect();
    stores.sort();
    stores
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let name = |path: PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
        stores(dir).into_iter().map(|(_, p)| name(p)).collect()
    }

    #[test]
    fn the_oldest_go_by_their_dates_and_foreign_names_stay() {
        let dir = tempfile::tempdir().unwrap();
        for at in ["9", "10", "800", "notes"] {
            std::fs::create_dir(dir.path().join(format!("{QUARANTINED}{at}"))).unwrap();
        }
        prune(dir.path(), 2);
        assert_eq!(
            names(dir.path()),
            ["store.quarantined-10", "store.quarantined-800"]
        );
        prune(dir.path(), 0);
        assert!(names(dir.path()).is_empty());
        assert!(dir.path().join("store.quarantined-notes").exists());
    }

    #[test]
    fn one_that_is_moved_aside_is_the_newest_whatever_the_clock_says() {
        let dir = tempfile::tempdir().unwrap();
        let late = format!("{QUARANTINED}{}", u64::MAX / 2);
        std::fs::create_dir(dir.path().join(&late)).unwrap();
        std::fs::create_dir(dir.path().join(STORE)).unwrap();
        let path = move_aside(dir.path()).unwrap();
        assert_eq!(stores(dir.path()).last().unwrap().1, path);
    }
}
