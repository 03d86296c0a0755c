//! Waiting until a closed store has let go of its files.
//!
//! It must not know what is in them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::clock::Clock;

/// Waits, when it is dropped, until no file below its path is open in this process.
///
/// fjall's workers let go of the journal a moment after the database is dropped, and letting go of
/// it writes what a failed write has left in its buffer. A successor must not be open by then.
pub struct Closing(pub PathBuf);

/// How long [`Closing`] waits at most. It only matters if a thread of fjall hangs.
const CLOSING_MS_MAX: u64 = 1_000;

impl Drop for Closing {
    fn drop(&mut self) {
        let start = Clock::instant();
        while is_open_below(&self.0) {
            if start.elapsed() > Duration::from_millis(CLOSING_MS_MAX) {
                tracing::warn!("the store's files are still open after it was closed");
                return;
            }
            std::thread::sleep(Duration::from_micros(50));
        }
    }
}

/// Whether this process has a file below `path` open; no, where the system does not tell.
fn is_open_below(path: &Path) -> bool {
    let open = std::fs::read_dir("/proc/self/fd").into_iter().flatten();
    open.flatten()
        .filter_map(|entry| std::fs::read_link(entry.path()).ok())
        .any(|file| file.starts_with(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn an_open_file_below_a_path_is_seen_until_it_is_closed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().canonicalize().unwrap();
        let file = std::fs::File::create(path.join("journal")).unwrap();
        assert!(is_open_below(&path));
        drop(file);
        assert!(!is_open_below(&path));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn closing_waits_for_a_file_that_stays_open_but_not_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().canonicalize().unwrap();
        let file = std::fs::File::create(path.join("journal")).unwrap();
        let began = Clock::instant();
        drop(Closing(path.clone()));
        assert!(began.elapsed() >= Duration::from_millis(CLOSING_MS_MAX));
        drop(file);
        let began = Clock::instant();
        drop(Closing(path));
        assert!(began.elapsed() < Duration::from_millis(CLOSING_MS_MAX));
    }
}
