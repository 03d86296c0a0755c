//! Opening the directory: lock it, judge the store in it, and begin an empty one where the old one
//! cannot be trusted.
//!
//! A store that may have lost something is moved aside, kept, and never read again: it may forget,
//! it never lies. FORMAT.md describes the directory and every case.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::directory::{DirLock, lock, private_dir, remove_leftovers, sync_dir};
use super::layout::Head;
use super::store::{self, Passport, Store, Verdict};
use super::trust::{self, Doubt};
use super::verify::Past;
use super::watermark::{Marks, WatermarkFile};
use super::{DiskConfig, Quarantine, aside};
use crate::drivers::Failure;

/// fjall's directory.
pub const STORE: &str = "store";
/// Where a store is made before it gets its name.
pub const CREATING: &str = "store.creating";
/// A store that was moved aside has this name and the time.
pub const QUARANTINED: &str = "store.quarantined-";
/// The watermark file.
pub const WATERMARK: &str = "watermark";
/// The header of a sealed store.
pub const SEALED_HEADER: &str = "keys";
/// Locked for as long as a driver lives.
pub const LOCK: &str = "lock";
/// What is said of a loss whose reason was said to somebody who is gone.
const GIVEN_UP: &str = "an earlier store was given up";

/// A directory in use.
pub struct Opened {
    /// The store.
    pub store: Store,
    /// Where it ends.
    pub head: Head,
    /// The watermark file, which already speaks of this store and this boot.
    pub file: WatermarkFile,
    /// What is in it.
    pub marks: Marks,
    /// What became of the store that was there before.
    pub quarantined: Option<Quarantine>,
    /// Where that store is, if damage alone was the reason.
    pub salvageable: Option<PathBuf>,
    /// The directory's lock.
    pub lock: Arc<DirLock>,
}

/// Opens `dir`. What is in it is looked at when `prepare` has been, which is given the lock, and told whether there
/// is a store.
pub fn open(
    dir: &Path,
    config: &DiskConfig,
    past: &mut Past,
    prepare: impl FnOnce(&Arc<DirLock>, bool) -> Result<(), Failure>,
) -> Result<Opened, Failure> {
    open_locked(Arc::new(lock(dir)?), dir, config, past, prepare)
}

/// As [`open`], with the lock that it had.
pub fn open_locked(
    lock: Arc<DirLock>,
    dir: &Path,
    config: &DiskConfig,
    past: &mut Past,
    prepare: impl FnOnce(&Arc<DirLock>, bool) -> Result<(), Failure>,
) -> Result<Opened, Failure> {
    prepare(&lock, has_store(dir)?)?;
    let path = dir.join(WATERMARK);
    let (mut file, known) = WatermarkFile::open(&path).map_err(|e| path_failure(&path, &e))?;
    remove_leftovers(&dir.join(CREATING))?;
    let boot = trust::boot();
    let mut marks = begin(known, boot);
    let mut opening = Opening {
        dir,
        config,
        file: &mut file,
        marks: &mut marks,
    };
    let mut salvageable = None;
    let (store, passport, quarantined) = match opening.examine(known.as_ref(), boot, past)? {
        Found::Trusted(store, passport) => {
            let lost = marks.is_lost.then(|| lost(GIVEN_UP, &passport));
            (store, passport, lost)
        }
        Found::Nothing => {
            let given_up = known.is_some_and(|marks| marks.is_lost);
            let reason = match given_up {
                true => GIVEN_UP,
                false => "the store has vanished",
            };
            let had = given_up || known.is_some_and(|marks| marks.written_seq > 0);
            let is_lost = had || past.is_known;
            let (store, passport) = opening.begin_anew(is_lost, || Ok(()))?;
            let lost = is_lost.then(|| lost(reason, &passport));
            (store, passport, lost)
        }
        Found::Doubtful { doubt, version_max } => {
            let (store, passport, path) = opening.replace(version_max)?;
            let reason = match doubt {
                Doubt::Past(reason) => reason,
                Doubt::Damage(reason) => {
                    salvageable = Some(path.clone());
                    reason
                }
            };
            let lost = Quarantine::new(Some(path), &reason, &passport.head);
            (store, passport, Some(lost))
        }
    };
    marks.store_id = passport.id;
    marks.ceiling = marks.ceiling.max(passport.head.version_max);
    // Until something is stored in it: whoever opened it may have died before it could say so.
    marks.is_lost = quarantined.is_some();
    // fjall has synced the journal while it recovered it.
    (marks.written_seq, marks.synced_seq) = (passport.head.seq, passport.head.seq);
    file.write_synced(&marks)
        .map_err(|e| path_failure(&path, &e))?;
    Ok(Opened {
        store,
        head: passport.head,
        file,
        marks,
        quarantined,
        salvageable,
        lock,
    })
}

/// What is known until the store has been looked at.
fn begin(known: Option<Marks>, boot: u128) -> Marks {
    Marks {
        boot,
        is_damaged: false,
        is_suspect: false,
        ..known.unwrap_or_default()
    }
}

fn has_store(dir: &Path) -> Result<bool, Failure> {
    let path = dir.join(STORE);
    path.try_exists().map_err(|e| path_failure(&path, &e))
}

fn lost(reason: &str, successor: &Passport) -> Quarantine {
    Quarantine::new(None, reason, &successor.head)
}

/// What stands in the directory.
enum Found {
    Nothing,
    Trusted(Store, Passport),
    Doubtful { doubt: Doubt, version_max: u64 },
}

/// A directory while it is being opened.
struct Opening<'a> {
    dir: &'a Path,
    config: &'a DiskConfig,
    file: &'a mut WatermarkFile,
    marks: &'a mut Marks,
}

impl Opening<'_> {
    fn examine(
        &self,
        known: Option<&Marks>,
        boot: u128,
        past: &mut Past,
    ) -> Result<Found, Failure> {
        if !has_store(self.dir)? {
            return Ok(Found::Nothing);
        }
        let path = self.dir.join(STORE);
        let doubtful = |reason: String, version_max| Found::Doubtful {
            doubt: Doubt::Past(reason),
            version_max,
        };
        let damage = trust::strange_entry(&path).or_else(|| trust::altered_list(&path));
        if let Some(reason) = damage {
            return Ok(doubtful(reason, 0));
        }
        // fjall's recovery panics over some damage, and would over it each time.
        let opened = catch_unwind(AssertUnwindSafe(|| {
            let store = Store::open(&path, self.config)?;
            Ok((store.passport()?, store))
        }));
        let (passport, store) = match opened {
            Ok(Ok(opened)) => opened,
            Err(_) => return Ok(doubtful("damaged files, its recovery panicked".into(), 0)),
            Ok(Err(error)) => match store::judge(&error) {
                (Verdict::Damaged, reason) => return Ok(doubtful(reason, 0)),
                (verdict, reason) => return Err(failure(self.dir, verdict, &reason)),
            },
        };
        let Some(passport) = passport else {
            return Ok(doubtful("the store has no identity".into(), 0));
        };
        let is_suspect = known.is_some_and(|marks| marks.is_suspect);
        let mut damage = || is_suspect.then(|| past.damage(&store)).flatten();
        let doubt = trust::doubt(known, &passport, boot);
        Ok(match doubt.or_else(|| damage().map(Doubt::Damage)) {
            Some(doubt) => Found::Doubtful {
                doubt,
                version_max: passport.head.version_max,
            },
            None => Found::Trusted(store, passport),
        })
    }

    /// Gives up the store that is there for an empty one. Also where the old one is.
    fn replace(&mut self, version_max: u64) -> Result<(Store, Passport, PathBuf), Failure> {
        // Kept although nothing else of it is believed: a version must not be issued twice.
        self.marks.ceiling = self.marks.ceiling.max(version_max);
        // IMPORTANT: first of all, so that whoever finds this half done, at any step, does it again.
        (self.marks.is_damaged, self.marks.is_lost) = (true, true);
        self.file
            .write_synced(self.marks)
            .map_err(|e| path_failure(&self.dir.join(WATERMARK), &e))?;
        let (dir, mut kept) = (self.dir, PathBuf::new());
        let (store, passport) = self.begin_anew(true, || {
            kept = aside::move_aside(dir)?;
            Ok(())
        })?;
        Ok((store, passport, kept))
    }

    /// Makes a store beside its place and moves it there when it is whole: fjall cannot open, nor
    /// complete, one whose creation died half-way. `make_way` runs just before the watermark is
    /// written; `is_lost` says that there was a store before.
    fn begin_anew(
        &mut self,
        is_lost: bool,
        make_way: impl FnOnce() -> io::Result<()>,
    ) -> Result<(Store, Passport), Failure> {
        let (beside, path) = (self.dir.join(CREATING), self.dir.join(STORE));
        let failed = |error: fjall::Error| {
            let (verdict, reason) = store::judge(&error);
            failure(self.dir, verdict, &reason)
        };
        private_dir(&beside).map_err(|e| path_failure(&beside, &e))?;
        let id = fastrand::u64(1..);
        let store = Store::open(&beside, self.config).map_err(failed)?;
        store.found(id).map_err(failed)?;
        drop(store);
        let marks = Marks {
            store_id: id,
            written_seq: 0,
            synced_seq: 0,
            is_damaged: false,
            is_lost,
            ..*self.marks
        };
        // IMPORTANT: the watermark before the store. A store that has its place always has one, so that
        // a missing watermark means that somebody removed it.
        make_way()
            .and_then(|()| self.file.write_synced(&marks))
            .and_then(|()| sync_dir(&beside))
            .and_then(|()| std::fs::rename(&beside, &path))
            .and_then(|()| sync_dir(self.dir))
            .map_err(|e| path_failure(self.dir, &e))?;
        *self.marks = marks;
        let store = Store::open(&path, self.config).map_err(failed)?;
        let passport = store.passport().map_err(failed)?;
        let passport = passport.ok_or_else(|| Failure::reopen("a new store lost its identity"))?;
        Ok((store, passport))
    }
}

/// A failure of the store in `dir`, as an instruction.
pub fn failure(dir: &Path, verdict: Verdict, reason: &str) -> Failure {
    let dir = dir.display();
    match verdict {
        Verdict::Locked => Failure::fatal(format!(
            "{dir}: {reason} by another larder; give each its own directory or stop the other one"
        )),
        Verdict::Denied => Failure::fatal(format!(
            "{dir}: {reason}; it must be a directory that this process may write to"
        )),
        Verdict::Damaged | Verdict::Poisoned | Verdict::Broken => {
            Failure::reopen(format!("{dir}: {reason}"))
        }
    }
}

/// A failure of the file system at `path`, as an instruction.
pub fn path_failure(path: &Path, error: &io::Error) -> Failure {
    use io::ErrorKind as Kind;
    let verdict = match error.kind() {
        Kind::PermissionDenied
        | Kind::ReadOnlyFilesystem
        | Kind::NotADirectory
        | Kind::IsADirectory
        | Kind::AlreadyExists
        | Kind::NotFound
        | Kind::InvalidInput
        | Kind::InvalidFilename => Verdict::Denied,
        _ => Verdict::Broken,
    };
    failure(path, verdict, &store::say_io(error))
}
