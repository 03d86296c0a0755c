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
use super::progress::{Awaited, SealProgress};
use super::replay::Replay;
use super::{Failure, MasterKey, file, key_failure};
use crate::drivers::disk::DirLock;
use crate::secret::KeyProvider;

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

    /// The directory is locked by this process for as long as this is held.
    pub(super) fn locked(&self, lock: &Arc<DirLock>) {
        *self.locked.lock() = Arc::downgrade(lock);
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
        // Asked for before anything is held: it may take its time.
        let master = read()?.map(|_| self.master()).transpose()?;
        let mut place = self.header.lock();
        (*place, *self.keys.write()) = (Place::default(), None);
        let (Some(stored), Some(master)) = (read()?, master) else {
            return Ok(found);
        };
        match Header::decode(&stored, master) {
            Ok(header) => {
                self.install(&header.bundle)?;
                place.header = Some(header);
                Ok(Found::Header)
            }
            Err(Unusable::Shredded) => Ok(Found::Shredded),
            Err(unusable) => Err(self.unusable(&unusable)),
        }
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
        self.install(&header.bundle)?;
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
        self.install(&header.bundle)?;
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

    fn install(&self, bundle: &Bundle) -> Result<(), Failure> {
        let known = self.keys.read().clone();
        *self.keys.write() = Some(Arc::new(Keys::new(bundle, known.as_deref())?));
        let plain_text_left = bundle.is_converting || bundle.needs_scrub;
        self.progress.send_if_modified(|progress| {
            let before = *progress;
            progress.plain_text_left = plain_text_left;
            progress.is_of(bundle.id);
            *progress != before
        });
        Ok(())
    }

    /// Accepts another master key from here on, and has everything sealed anew. Blocks: the key is asked
    /// for, and the header written.
    ///
    /// # Errors
    ///
    /// [`Failure`], with what to do; nothing was changed.
    pub fn rotate(&self, provider: Arc<dyn KeyProvider>) -> Result<Awaited, Failure> {
        let key = provider
            .key()
            .map_err(|error| key_failure(&provider.name(), &error))?;
        let mut place = self.header.lock();
        let before = place.header()?;
        let mut header = before.clone();
        header.rotate(key)?;
        let written = header.encode()?;
        file::replace(&self.path, &written).map_err(|e| {
            // It may stand there all the same, not known to be durable: a key that was refused must open nothing.
            let stands = file::read(&self.path).is_ok_and(|stored| stored == Some(written));
            if stands && self.write(&before).is_err() {
                tracing::warn!("a master key that was refused may open the sealed store");
            }
            self.failed(&e)
        })?;
        self.install(&header.bundle)?;
        let (since, store) = (header.bundle.since, header.bundle.id);
        // There is nothing to do for a key that is in use already.
        if header.bundle.is_rotating() || header.bundle.is_converting {
            self.report(SealProgress::begin);
        }
        place.header = Some(header);
        // IMPORTANT: with the header: whoever opens the store next asks for the key that is newest.
        *self.provider.lock() = provider;
        Ok(Awaited { since, store })
    }

    /// Destroys the keys. Blocks. Works without the master key, and whether the store is open, being opened, or
    /// neither.
    ///
    /// # Errors
    ///
    /// [`Failure`]: they may not be destroyed, or another process has the store.
    pub fn shred(&self) -> Result<(), Failure> {
        let mut place = self.header.lock();
        // IMPORTANT: to the end, also where its driver ends meanwhile: without it the store may be somebody else's.
        let ours = self.locked.lock().upgrade();
        let _lock = match (ours, &place.header, self.path.parent()) {
            (None, None, Some(directory)) => Some(Arc::new(crate::drivers::disk::lock(directory)?)),
            (ours, _, _) => ours,
        };
        let header = place.header.as_ref();
        let id = header.map_or([0; 16], |header| header.bundle.id);
        let destroyed = file::destroy(&self.path, &head::shredded(id));
        // IMPORTANT: also where that failed half-way: what is sealed with keys that are gone is lost. Whoever has
        // them has them for the length of one call; the next one has the store opened anew.
        (place.header, place.is_shredded) = (None, true);
        *self.keys.write() = None;
        // What failed may have left them all: then the store is what it was once it is opened anew.
        destroyed.map_err(|e| self.failed(&e))?;
        self.report(SealProgress::shredded);
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

    fn unusable(&self, unusable: &Unusable) -> Failure {
        let (path, key) = (self.path.display(), self.provider.lock().name());
        Failure::fatal(match unusable {
            Unusable::Shredded => format!("{path}: its keys were destroyed"),
            Unusable::Damaged(why) => format!(
                "{path}: the header of a sealed store cannot be read, {why}; put a copy of it back, or \
                 move the whole directory away to begin anew; nothing was overwritten"
            ),
            Unusable::OtherKey => format!(
                "{path}: the store was sealed with another master key than that from {key}; give the right \
                 one, or move the whole directory away to begin anew; nothing was overwritten"
            ),
            Unusable::Edited => format!(
                "{path}: the master key from {key} is the right one, and the header of the sealed store was \
                 edited; put a copy of it back, or move the whole directory away to begin anew; nothing \
                 was overwritten"
            ),
        })
    }

    /// A store without a header that is a sealed one.
    pub(super) fn headless(&self) -> Failure {
        let path = self.path.display();
        Failure::fatal(format!(
            "{path}: the header of this sealed store is gone, or of another store; put it back from a copy, or \
             move the whole directory away to begin anew; nothing was overwritten"
        ))
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
