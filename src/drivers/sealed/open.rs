//! Opening a sealed store: header and key first, then the store, then whether the two belong together.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::envelope::{self, Plain};
use super::vault::Found;
use super::{
    Driver, Failure, PageLimit, PlainStore, SealedDriver, StoreDurability, Vault, Write, Writer,
    key_failure,
};
use crate::clock::NEVER;
use crate::drivers::disk::{DiskConfig, DiskDriver, Past};
use crate::drivers::{Emptied, Factory};
use crate::key::FENCES;
use crate::record::{MAGIC, Stamp};
use crate::secret::KeyError;
use crate::version::Version;

/// Where a sealed store says that it is one: the same whatever its keys are.
pub const MARKER: &[u8] = b"\0sealed/store";
/// What is looked at to tell an empty store from a plain one.
const FEW: PageLimit = PageLimit {
    count_max: 64,
    bytes_max: 1 << 20,
};

/// Makes sealed drivers over a store in `directory`.
pub fn disk_factory(directory: &Path, config: &DiskConfig, vault: &Arc<Vault>) -> Factory {
    let (directory, config, vault) = (directory.to_owned(), config.clone(), Arc::clone(vault));
    let past = Mutex::new(Past::default());
    Arc::new(move || {
        let mut found = Found::Nothing;
        let past = &mut *past.lock();
        let opened = DiskDriver::open_prepared(&directory, &config, past, |lock, has_store| {
            vault.locked(lock);
            found = vault.look(has_store)?;
            match found {
                Found::Shredded => {
                    crate::drivers::disk::erase(&directory)?;
                    vault.found(false)?;
                }
                // Before the store: one that has none is not a sealed one, or its header is gone.
                Found::Nothing => vault.found(false)?,
                Found::Header | Found::Store => {}
            }
            Ok(())
        });
        let sealed = opened.and_then(|disk| {
            past.is_known = true;
            SealedDriver::open(Box::new(disk.sharing()), &vault, found)
        });
        // What is not open has no keys.
        let driver = sealed.inspect_err(|_| vault.close())?;
        Ok(Box::new(driver) as Box<dyn Driver>)
    })
}

/// Makes sealed drivers over those of another factory, whose store no other process may have open meanwhile.
/// The header is kept where the vault says.
///
/// ```
/// # let dir = std::env::temp_dir().join(format!("larder-doc-{}", std::process::id()));
/// # std::fs::create_dir_all(&dir).unwrap();
/// use std::sync::Arc;
/// use larder::drivers::{map::MapStore, sealed::{Vault, over}};
/// use larder::{EncryptionConfig, secret::MasterKey};
///
/// let key = MasterKey::generate()?;
/// let vault = Arc::new(Vault::new(&dir, EncryptionConfig::new(key)));
/// let sealed = over(MapStore::new().factory(), &vault);
/// assert_eq!(sealed()?.get(b"users/42")?, None);
/// # std::fs::remove_dir_all(&dir).unwrap();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn over(inner: Factory, vault: &Arc<Vault>) -> Factory {
    let vault = Arc::clone(vault);
    Arc::new(move || {
        let opened = vault.look(true).and_then(|found| {
            let inner = inner()?;
            if matches!(found, Found::Shredded) {
                clear(&*inner)?;
                vault.found(false)?;
            }
            SealedDriver::open(inner, &vault, found)
        });
        // What is not open has no keys.
        let driver = opened.inspect_err(|_| vault.close())?;
        Ok(Box::new(driver) as Box<dyn Driver>)
    })
}

/// Deletes everything.
fn clear(inner: &dyn Driver) -> Result<(), Failure> {
    loop {
        let records = inner.scan(b"", b"", FEW)?;
        if records.is_empty() {
            return Ok(());
        }
        let deletes = records.into_iter().map(|(key, _)| Write::Delete { key });
        let deletes: Vec<_> = deletes.collect();
        inner.commit(&deletes, StoreDurability::Written)?;
    }
}

impl SealedDriver {
    /// Seals what `inner` stores, with the header that was found.
    ///
    /// # Errors
    ///
    /// [`Failure::Fatal`] if the two do not belong together, with what to do.
    pub(super) fn open(
        inner: Box<dyn Driver>,
        vault: &Arc<Vault>,
        found: Found,
    ) -> Result<Self, Failure> {
        let mut opening = inner.opened();
        if matches!(found, Found::Shredded) {
            opening.emptied = Some(emptied("its keys were destroyed"));
        }
        // IMPORTANT: taken in any case: said twice, it would be said of a store that is whole.
        let unsaid = vault.unsaid(None);
        opening.emptied = opening.emptied.or(unsaid);
        let mut driver = Self {
            inner,
            vault: Arc::clone(vault),
            writer: Mutex::new(Writer::default()),
            scrubbing: Mutex::new(()),
            opening,
        };
        // IMPORTANT: what is not open says nothing. Whoever opens it next says that it was emptied.
        driver.check(found).inspect_err(|_| {
            vault.unsaid(driver.opening.emptied.take());
        })?;
        Ok(driver)
    }

    fn check(&mut self, found: Found) -> Result<(), Failure> {
        let marker = self.inner.get(MARKER)?;
        match (&found, &marker) {
            (Found::Store, Some(_)) => return Err(self.vault.headless()),
            (Found::Store, None) => adopt(&*self.inner, &self.vault)?,
            _ => {}
        }
        let mark = marker.as_ref().and_then(epoch_of_mark);
        self.check_marker(marker.as_ref(), mark)?;
        if self.check_fences(mark)? {
            let why = emptied("stored fences do not open");
            self.opening.emptied.get_or_insert(why);
        }
        self.writer.lock().is_marked = marker.is_some();
        self.advance()
    }

    /// Whether header and store are of each other, and the store no older than the guard knows.
    fn check_marker(&mut self, marker: Option<&Bytes>, mark: Option<u32>) -> Result<(), Failure> {
        let mut counter = 0;
        if let Some(marker) = marker {
            let place = Bytes::from_static(MARKER);
            let keys = self.vault.keys()?;
            let opened = self.open_at(&keys, &place, marker);
            let opened = opened.map_err(|_| self.vault.headless())?;
            counter = counter_of(&opened.record).ok_or_else(|| self.vault.headless())?;
        }
        let Some(guard) = &self.vault.config().guard else {
            self.writer.lock().counter = counter;
            return Ok(());
        };
        let known = guard.counter().map_err(guard_failure)?;
        // Written to the store before the guard: a crash in between leaves the store ahead.
        let is_older = counter < known;
        let is_emptied = self.opening.emptied.is_some();
        // One that has forgotten before believes nothing plain any more.
        let keys = self.vault.keys()?;
        let has_begun = keys.is_converting && keys.floor == 0;
        let is_plain = has_begun && marker.is_none() && !is_emptied;
        if is_older && is_plain && !self.inner.scan(b"", b"", FEW)?.is_empty() {
            return Err(guard_knows_better(known));
        }
        if is_older && (marker.is_none() || is_emptied) {
            // It was lost, or salvaged, or never had room for the mark. What is in it, or is put into it from here on,
            // may be of an old copy.
            self.forget_all(mark)?;
            let why = || emptied("it has no mark, and its rollback guard misses it");
            self.opening.emptied.get_or_insert_with(why).salvaged = 0;
        } else if is_older {
            return Err(Failure::fatal(format!(
                "the store is older than its rollback guard knows ({counter} is below {known}): it was put \
                 back from a copy; move the whole directory away to begin anew, or set the guard back if \
                 you did this yourself; nothing was overwritten"
            )));
        }
        self.writer.lock().counter = counter.max(known);
        Ok(())
    }

    /// A fence that does not open guards nobody knows what: everything stored so far is forgotten. Whether there was
    /// one.
    fn check_fences(&self, mark: Option<u32>) -> Result<bool, Failure> {
        let prefix = format!("{FENCES}/");
        let keys = self.vault.keys()?;
        let (mut from, mut lost, mut all) = (Bytes::new(), 0, Vec::new());
        loop {
            let fences = self.inner.scan(prefix.as_bytes(), &from, FEW)?;
            let Some((last, _)) = fences.last() else {
                break;
            };
            from = last.clone();
            for (place, stored) in &fences {
                let is_plain = stored.starts_with(&MAGIC);
                let opened = self.open_at(&keys, place, stored);
                // A damaged plain one has a name, by which it is found damaged when fences are read.
                if is_plain && keys.is_converting {
                    continue;
                }
                lost += usize::from(opened.is_err());
                all.push(Write::Delete { key: place.clone() });
            }
        }
        if lost == 0 {
            return Ok(false);
        }
        tracing::warn!(
            fences = lost,
            "stored fences do not open, so everything stored until now is forgotten"
        );
        self.forget_all(mark)?;
        // All of them: what they guarded is forgotten, and the keys of some may be.
        self.inner.commit(&all, StoreDurability::Synced)?;
        Ok(true)
    }

    /// Nothing that was stored until now is believed any more.
    fn forget_all(&self, mark: Option<u32>) -> Result<(), Failure> {
        tracing::warn!("what this sealed store has is not believed any more");
        self.vault.change(|header| header.bundle.forget_all(mark))
    }

    /// Says in the store that it is a sealed one, and of whom.
    pub(super) fn mark(&self, writer: &mut Writer) -> Result<(), Failure> {
        let mark = self.marker(writer)?;
        self.inner.commit(&[mark], StoreDurability::Synced)
    }

    /// What says so.
    pub(super) fn marker(&self, writer: &mut Writer) -> Result<Write, Failure> {
        let version = Version::new(self.inner.reserved().ceiling.max(1));
        let version = version.ok_or_else(|| Failure::reopen("a version of zero"))?;
        let place = Bytes::from_static(MARKER);
        let plain = Plain {
            key: MARKER,
            record: &writer.counter.to_le_bytes(),
            stamp: Stamp {
                version,
                keep_ms: NEVER,
            },
        };
        let record = self.seal_at(writer, &place, plain)?;
        Ok(Write::Put {
            key: place,
            record,
            version,
            keep_ms: NEVER,
        })
    }

    /// Moves the guard's counter, where there is a guard.
    pub(super) fn advance(&self) -> Result<(), Failure> {
        let Some(guard) = &self.vault.config().guard else {
            return Ok(());
        };
        let writer = &mut *self.writer.lock();
        writer.counter += 1;
        if let Err(failure) = self.mark(writer) {
            writer.counter -= 1;
            return has_room(Err(failure));
        }
        guard.advance(writer.counter).map_err(guard_failure)
    }
}

/// A store without room is opened all the same: its records can be read.
fn has_room(marked: Result<(), Failure>) -> Result<(), Failure> {
    match marked {
        Err(Failure::Full { reason }) => {
            tracing::warn!(reason, "a sealed store could not be marked");
            Ok(())
        }
        marked => marked,
    }
}

/// Nothing is left of it.
fn emptied(reason: &str) -> Emptied {
    Emptied {
        reason: reason.into(),
        kept: None,
        salvaged: 0,
    }
}

/// Which key has sealed the mark.
fn epoch_of_mark(marker: &Bytes) -> Option<u32> {
    envelope::head(MARKER, marker).ok().map(|head| head.epoch)
}

/// A plain store where a sealed one is known.
fn guard_knows_better(known: u64) -> Failure {
    Failure::fatal(format!(
        "the store in this directory is a plain one, and its rollback guard knows a sealed one ({known}); put that \
         one back, give another directory, or set the guard to 0 if this one is to be sealed; nothing was overwritten"
    ))
}

fn guard_failure(error: KeyError) -> Failure {
    key_failure("the rollback guard", &error)
}

fn counter_of(record: &Bytes) -> Option<u64> {
    let bytes = record.as_ref().try_into().ok()?;
    Some(u64::from_le_bytes(bytes))
}

/// A store without header or marker: a plain one, if there is anything in it.
fn adopt(inner: &dyn Driver, vault: &Vault) -> Result<(), Failure> {
    let is_empty = inner.scan(b"", b"", FEW)?.is_empty();
    if is_empty {
        return vault.found(false);
    }
    if let Some(guard) = &vault.config().guard {
        // Before there is a header, which would be overwritten with nothing to show for it.
        let known = guard.counter().map_err(guard_failure)?;
        if known > 0 {
            return Err(guard_knows_better(known));
        }
    }
    match vault.config().plain_store.unwrap_or_default() {
        PlainStore::Convert => vault.found(true),
        PlainStore::Refuse => Err(Failure::fatal(
            "the store in this directory is a plain one, and is not to be converted; allow it with \
             `plain_store(PlainStore::Convert)`, or give another directory; nothing was overwritten",
        )),
    }
}
