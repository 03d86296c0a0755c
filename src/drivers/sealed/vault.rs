//! What a sealed store has beyond one opening of it: its configuration, its header, the keys in use and
//! what it remembers. The driver's threads and whoever rotates or shreds meet here.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use super::bundle::Bundle;
use super::config::EncryptionConfig;
use super::head::{self, Unusable};
use super::header::Header;
use super::keys::Keys;
use super::progress::SealProgress;
use super::replay::Replay;
use super::{Failure, MasterKey, file, key_failure};
use crate::drivers::Emptied;
use crate::drivers::disk::DirLock;
use crate::secret::{KeyErrorKind, KeyProvider};

mod masters;
mod unusable;

use unusable::Candidate;

/// The name of the header's file.
pub const HEADER: &str = "keys";

/// One sealed store of this process.
pub struct Vault {
    config: EncryptionConfig,
    /// The header's file.
    path: PathBuf,
    /// Where the master key comes from: that of the configuration until it is rotated.
    provider: Mutex<Arc<dyn KeyProvider>>,
    /// Held while the header's file is written.
    header: Mutex<Place>,
    /// The directory's lock, while this process has it.
    locked: Mutex<Weak<DirLock>>,
    /// What reads take with them.
    keys: RwLock<Option<Arc<Keys>>>,
    /// What was committed last.
    pub(super) replay: Replay,
    /// That the store was emptied, which nobody has been told yet.
    unsaid: Mutex<Option<Emptied>>,
    /// Records that did not open.
    refused: AtomicU64,
    progress: watch::Sender<SealProgress>,
}

/// The header of a store.
#[derive(Default)]
struct Place {
    /// While the store is open.
    header: Option<Header>,
    /// It was destroyed since the directory was looked at.
    is_shredded: bool,
}

impl Place {
    /// A copy, to be changed.
    fn header(&self) -> Result<Header, Failure> {
        let closed = || Failure::reopen("the sealed store is closed");
        self.header.clone().ok_or_else(closed)
    }
}

/// What the directory says before the store is opened.
pub enum Found {
    /// A header that the key opens.
    Header,
    /// No header, and a store: a plain one, or a sealed one whose header is gone.
    Store,
    /// Neither.
    Nothing,
    /// The keys were destroyed: what they sealed may go.
    Shredded,
}

impl Vault {
    /// A store whose header is kept in `directory`.
    pub fn new(directory: &Path, config: EncryptionConfig) -> Self {
        Self {
            path: directory.join(HEADER),
            provider: Mutex::new(Arc::clone(&config.provider)),
            header: Mutex::default(),
            locked: Mutex::default(),
            keys: RwLock::new(None),
            replay: Replay::default(),
            unsaid: Mutex::default(),
            refused: AtomicU64::new(0),
            progress: watch::Sender::new(SealProgress::default()),
            config,
        }
    }

    /// Its configuration.
    pub fn config(&self) -> &EncryptionConfig {
        &self.config
    }

    /// Records that did not open, since this process began.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// A record did not open.
    pub(super) fn refuse(&self) {
        if self
            .refused
            .fetch_add(1, Ordering::Relaxed)
            .is_power_of_two()
        {
            tracing::warn!(
                store = %self.path.display(),
                refused = self.refused(),
                "a sealed record does not open: it was moved, edited or put back; it counts as missing"
            );
        }
    }

    /// How far a conversion or a rotation is.
    pub fn progress(&self) -> watch::Receiver<SealProgress> {
        self.progress.subscribe()
    }

    pub(super) fn report(&self, change: impl FnOnce(&mut SealProgress)) {
        self.progress.send_modify(change);
    }

    /// There is nothing to be sealed anew, or it waits for another key, as these keys say if they are those in use.
    pub(super) fn report_idle(&self, keys: &Arc<Keys>) {
        // IMPORTANT: with the header: a rotation that has just begun has not ended.
        let _place = self.header.lock();
        let in_use = self.keys.read().clone();
        match in_use {
            // Whoever asked for the key that is in use already is told that there was nothing to do.
            Some(now) if !now.is_resealing() => self.report_end(Some(now.since)),
            Some(now) if Arc::ptr_eq(&now, keys) => self.report_end(None),
            _ => {}
        }
    }

    /// Nothing is under way, whatever was reported; what was sealed before this epoch was sealed anew, if so.
    pub(super) fn report_end(&self, through: Option<u32>) {
        self.progress.send_if_modified(|progress| {
            let before = *progress;
            if progress.is_under_way {
                progress.end();
            }
            progress.through = through.unwrap_or(progress.through);
            *progress != before
        });
    }

    /// The keys in use.
    ///
    /// # Errors
    ///
    /// [`Failure::Reopen`] while the store is not open.
    pub(super) fn keys(&self) -> Result<Arc<Keys>, Failure> {
        let keys = self.keys.read().clone();
        keys.ok_or_else(|| Failure::reopen("the sealed store is closed"))
    }

    fn master(&self) -> Result<MasterKey, Failure> {
        let provider = Arc::clone(&self.provider.lock());
        provider
            .key()
            .map_err(|error| key_failure(&provider.name(), &error))
    }

    /// What an opening had to say that came to nothing; keeps what this one has.
    pub(super) fn unsaid(&self, emptied: Option<Emptied>) -> Option<Emptied> {
        std::mem::replace(&mut *self.unsaid.lock(), emptied)
    }

    /// The directory is locked by this process for as long as this is held.
    pub(super) fn locked(&self, lock: &Arc<DirLock>) {
        *self.locked.lock() = Arc::downgrade(lock);
    }

    /// Which of the master keys that are configured opens a header. Blocks.
    fn fitting(&self, stored: &[u8]) -> Result<Candidate, Failure> {
        let first = self.provider.lock().name();
        let candidate = |master, name: &str| Candidate {
            master,
            name: name.to_owned(),
            tried: first.clone(),
        };
        let master = self.master()?;
        let Some(older) = &self.config.older else {
            return Ok(candidate(master, &first));
        };
        if Header::decode(stored, master.clone()).err() != Some(Unusable::OtherKey) {
            return Ok(candidate(master, &first));
        }
        match older.key() {
            Err(error) if error.kind == KeyErrorKind::Missing => Ok(candidate(master, &first)),
            Err(error) => Err(key_failure(&older.name(), &error)),
            Ok(master) => Ok(Candidate {
                tried: format!("{first} or {}", older.name()),
                ..candidate(master, &older.name())
            }),
        }
    }

    /// Looks at the directory, which must be locked, and takes the header in if there is one.
    ///
    /// # Errors
    ///
    /// [`Failure::Fatal`] for a key or a header that does not fit, with what to do; nothing was changed.
    pub(super) fn look(&self, has_store: bool) -> Result<Found, Failure> {
        let read = || file::read(&self.path).map_err(|e| self.failed(&e));
        let found = if has_store {
            Found::Store
        } else {
            Found::Nothing
        };
        // Asked for before anything is held: it may take its time. Keys that were destroyed need none.
        let wanted = read()?.filter(|stored| !head::is_shredded(stored));
        let candidate = wanted.map(|stored| self.fitting(&stored)).transpose()?;
        let mut place = self.header.lock();
        (*place, *self.keys.write()) = (Place::default(), None);
        let (stored, candidate) = match (read()?, candidate) {
            (None, _) => return Ok(found),
            (Some(stored), _) if head::is_shredded(&stored) => return Ok(Found::Shredded),
            (Some(stored), Some(candidate)) => (stored, candidate),
            (Some(_), None) => return Err(Failure::reopen("a header has come meanwhile")),
        };
        let header = Header::decode(&stored, candidate.master.clone())
            .map_err(|error| self.unusable(&error, &candidate))?;
        self.install(&header)?;
        place.header = Some(header);
        Ok(Found::Header)
    }

    /// Makes the header of a new store.
    ///
    /// # Errors
    ///
    /// [`Failure`].
    pub(super) fn found(&self, is_converting: bool) -> Result<(), Failure> {
        let bundle = Bundle::new(self.config.cipher, is_converting)?;
        let header = Header::new(bundle, self.master()?)?;
        let mut place = self.header.lock();
        if place.is_shredded {
            // Whatever is in the directory goes when it is opened next.
            return Err(Failure::reopen("its keys were destroyed meanwhile"));
        }
        self.write(&header)?;
        self.install(&header)?;
        place.header = Some(header);
        Ok(())
    }

    /// Changes the header, in its file first.
    ///
    /// # Errors
    ///
    /// [`Failure`]; then nothing is changed but for what `change` did to a header that is not used.
    pub(super) fn change<T>(
        &self,
        change: impl FnOnce(&mut Header) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut place = self.header.lock();
        let mut header = place.header()?;
        let done = change(&mut header)?;
        self.write(&header)?;
        self.install(&header)?;
        place.header = Some(header);
        Ok(done)
    }

    /// Whether the newest of the master keys is the one in use.
    pub(super) fn is_newest(&self) -> bool {
        let place = self.header.lock();
        place.header.as_ref().is_some_and(Header::is_newest)
    }

    fn write(&self, header: &Header) -> Result<(), Failure> {
        file::replace(&self.path, &header.encode()?).map_err(|e| self.failed(&e))
    }

    fn install(&self, header: &Header) -> Result<(), Failure> {
        let bundle = &header.bundle;
        let known = self.keys.read().clone();
        *self.keys.write() = Some(Arc::new(Keys::new(bundle, known.as_deref())?));
        let plain_text_left = bundle.is_converting || bundle.needs_scrub;
        self.progress.send_if_modified(|progress| {
            let before = *progress;
            progress.plain_text_left = plain_text_left;
            progress.older_key_opens = header.has_older();
            progress.is_of(bundle.id);
            *progress != before
        });
        Ok(())
    }

    /// Nothing comes of what is waited for any more.
    pub fn end(&self) {
        self.report(|progress| progress.is_over = true);
    }

    fn failed(&self, error: &std::io::Error) -> Failure {
        use std::io::ErrorKind as Kind;
        match error.kind() {
            // What is stored can still be read.
            Kind::StorageFull | Kind::QuotaExceeded => Failure::full(format!(
                "{}: no room for the header of the sealed store",
                self.path.display()
            )),
            _ => crate::drivers::disk::path_failure(&self.path, error),
        }
    }

    /// The store is not open any more.
    pub(super) fn close(&self) {
        let mut place = self.header.lock();
        (place.header, *self.keys.write()) = (None, None);
    }
}

/// Shows where, no key.
impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault")
            .field("header", &self.path)
            .finish_non_exhaustive()
    }
}
