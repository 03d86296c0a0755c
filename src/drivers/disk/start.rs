//! Making a driver of a directory: opened, salvaged, tidied up.

use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

use super::closing::Closing;
use super::directory::DirLock;
use super::open::{self, Opened};
use super::reclaim::Floor;
use super::room::Room;
use super::{DiskConfig, DiskDriver, Marked, Past, Quarantine, aside, directory};
use crate::drivers::{Factory, Failure};

impl DiskDriver {
    /// Opens the store in `dir`, creating both where they are missing.
    ///
    /// A store that is damaged, or has lost something that it had, is moved aside within `dir` and
    /// replaced by a new one: see [`quarantined`](Self::quarantined). For damage alone, what can be proven
    /// of it is taken over.
    ///
    /// # Errors
    ///
    /// [`Failure::Fatal`] if `dir` is in use, is no directory, or may not be written to;
    /// [`Failure::Reopen`] for what may pass, such as a full disk.
    pub fn open(dir: &Path, config: &DiskConfig) -> Result<Self, Failure> {
        Self::open_after(dir, config, &mut Past::default())
    }

    fn open_after(dir: &Path, config: &DiskConfig, past: &mut Past) -> Result<Self, Failure> {
        Self::open_prepared(dir, config, past, |_, _| directory::refuse_sealed(dir))
    }

    /// As [`open`](Self::open); `prepare` is given the lock and told whether there is a store, before anything in the
    /// directory is looked at, and may refuse.
    pub(crate) fn open_prepared(
        dir: &Path,
        config: &DiskConfig,
        past: &mut Past,
        prepare: impl FnOnce(&Arc<DirLock>, bool) -> Result<(), Failure>,
    ) -> Result<Self, Failure> {
        let mut opened = open::open(dir, config, past, prepare)?;
        let kept = opened.salvageable.take();
        let mut driver = Self::new(dir, config, opened);
        if let Some(kept) = kept {
            driver = driver.salvage(&kept, config)?;
        }
        aside::prune(dir, config.quarantined_max);
        Ok(driver)
    }

    pub(super) fn new(dir: &Path, config: &DiskConfig, opened: Opened) -> Self {
        Self {
            dir: dir.to_owned(),
            quarantined: opened.quarantined,
            is_sharing: false,
            floor: Mutex::new(Floor::new()),
            room: Mutex::new(Room::new(dir, config.disk_free_bytes_min)),
            marked: Mutex::new(Marked {
                head: opened.head,
                file: opened.file,
                marks: opened.marks,
                is_salvaging: false,
                is_explained: false,
            }),
            _closing: Closing(opened.store.files()),
            store: opened.store,
            lock: opened.lock,
        }
    }

    /// Makes drivers on `dir`.
    pub fn factory(dir: &Path, config: &DiskConfig) -> Factory {
        let (dir, config) = (dir.to_owned(), config.clone());
        let past = Mutex::new(Past::default());
        Arc::new(move || {
            let mut past = past.lock();
            let driver = Self::open_after(&dir, &config, &mut past)?;
            past.is_known = true;
            Ok(Box::new(driver))
        })
    }

    /// The store that was found at opening and not trusted, if there was one.
    pub fn quarantined(&self) -> Option<&Quarantine> {
        self.quarantined.as_ref()
    }
}
