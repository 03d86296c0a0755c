//! Sealing: a driver over another one that keeps nothing readable in it.
//!
//! Whole records go in under their keys, and encrypted records under hashed names go down. The driver below
//! keeps all that it is good at: batches, expiry, watermarks, salvage. What does not open is never shown. It
//! must not know which store is below, nor touch a plain record but to seal it, or to give it up where it cannot
//! be read.

mod bundle;
mod cipher;
mod config;
mod envelope;
mod file;
#[cfg(feature = "test-util")]
pub(crate) mod fuzzing;
mod head;
mod header;
mod keys;
mod look;
mod names;
mod open;
mod page;
mod progress;
mod replay;
mod reseal;
mod vault;

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::{
    Driver, Failure, Opening, PageLimit, Reclaimed, StoreDurability, Upkeep, Usage, Walked,
    Watermark, Write,
};
use crate::clock::Millis;
use crate::record::Stamp;
use crate::secret::{KeyError, KeyErrorKind, MasterKey};
use cipher::Nonces;
use envelope::Plain;
use keys::Keys;

pub use cipher::Cipher;
pub use config::{EncryptionConfig, PlainStore, SEALS_PER_KEY_MAX};
pub use open::{disk_factory, over};
pub(crate) use progress::Awaited;
pub use progress::SealProgress;
pub use replay::REPLAY_KEYS_MAX;
pub use vault::{HEADER, Vault};

/// How often a call begins anew because the keys have changed meanwhile.
const LOOKS_MAX: usize = 8;

/// A driver that seals what another one stores.
pub struct SealedDriver {
    inner: Box<dyn Driver>,
    vault: Arc<Vault>,
    /// The writing thread's alone.
    writer: Mutex<Writer>,
    /// Held while the store is rewritten.
    scrubbing: Mutex<()>,
    opening: Opening,
}

/// What the writing thread has at hand.
#[derive(Default)]
struct Writer {
    nonces: Nonces,
    /// Seals of an epoch that are set aside and not used yet.
    seals: u64,
    epoch: u32,
    /// Where sealing anew goes on.
    cursor: Bytes,
    /// The master key's first epoch when it began: under another one all of it begins again.
    since: u32,
    /// All of it was sealed anew; the older key is forgotten when the newer one is the one in use.
    waits_for_newest: bool,
    /// The store says that it is a sealed one.
    is_marked: bool,
    /// What tells that the store was put back, where a guard does.
    counter: u64,
}

impl SealedDriver {
    /// A sealed record of `plain` for the place where it is written to.
    fn seal(&self, writer: &mut Writer, plain: Plain<'_>) -> Result<(Bytes, Bytes), Failure> {
        let place = self.vault.keys()?.place(plain.key);
        let record = self.seal_at(writer, &place, plain)?;
        Ok((place, record))
    }

    fn seal_at(
        &self,
        writer: &mut Writer,
        place: &Bytes,
        plain: Plain<'_>,
    ) -> Result<Bytes, Failure> {
        let seals_max = self.vault.config().seals_per_key_max;
        for _ in 0..LOOKS_MAX {
            let keys = self.vault.keys()?;
            let broken = || Failure::fatal("the sealed store has no key");
            let (epoch, key) = keys.newest().ok_or_else(broken)?;
            if writer.epoch == epoch && writer.seals > 0 {
                writer.seals -= 1;
                let nonce = writer.nonces.next()?;
                let sealer = keys.sealer(epoch);
                let too_large = || Failure::fatal("a record is too large to be sealed");
                return envelope::seal(key, sealer, nonce, place, plain).ok_or_else(too_large);
            }
            // IMPORTANT: on the device before the first of them is used.
            (writer.epoch, writer.seals) = self
                .vault
                .change(|header| header.bundle.set_aside(seals_max))?;
        }
        Err(Failure::reopen(
            "the keys of the sealed store keep changing",
        ))
    }

    /// The changes below that one change is, and where they are.
    fn sealed(
        &self,
        writer: &mut Writer,
        write: &Write,
        out: &mut Vec<Write>,
    ) -> Result<(), Failure> {
        // IMPORTANT: the same keys for the places as those in use: only this thread sees two of them.
        let places = self.vault.keys()?.places(write.key());
        let (last, older) = places.split_last().ok_or_else(no_place)?;
        out.extend(older.iter().map(|key| Write::Delete { key: key.clone() }));
        match write {
            Write::Delete { .. } => out.push(Write::Delete { key: last.clone() }),
            Write::Put {
                key,
                record,
                version,
                keep_ms,
            } => {
                let stamp = Stamp {
                    version: *version,
                    keep_ms: *keep_ms,
                };
                let plain = Plain { key, record, stamp };
                let record = self.seal_at(writer, last, plain)?;
                out.push(Write::Put {
                    key: last.clone(),
                    record,
                    version: *version,
                    keep_ms: *keep_ms,
                });
            }
        }
        Ok(())
    }

    /// Commits changes below, and remembers what is then there.
    fn commit_below(&self, batch: &[Write], durability: StoreDurability) -> Result<(), Failure> {
        let replay = &self.vault.replay;
        // Until it has ended, and where it failed, nobody knows what is there.
        batch.iter().for_each(|write| replay.forget(write.key()));
        self.inner.commit(batch, durability)?;
        for write in batch {
            match write {
                Write::Put { version, .. } => replay.note(write.key(), Some(*version)),
                Write::Delete { .. } => replay.note(write.key(), None),
            }
        }
        Ok(())
    }
}

fn no_place() -> Failure {
    Failure::reopen("the sealed store has no place for a record")
}

impl Driver for SealedDriver {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Failure> {
        self.look(key)
    }

    fn get_many(&self, keys: &[Bytes]) -> Result<Vec<Option<Bytes>>, Failure> {
        self.look_many(keys)
    }

    fn commit(&self, batch: &[Write], durability: StoreDurability) -> Result<(), Failure> {
        let writer = &mut *self.writer.lock();
        let mut below = Vec::with_capacity(batch.len());
        for write in batch {
            self.sealed(writer, write, &mut below)?;
        }
        // Deletions are taken where there is no room: they need no mark.
        let marks = !writer.is_marked && batch.iter().any(|w| matches!(w, Write::Put { .. }));
        if marks {
            below.push(self.marker(writer)?);
        }
        self.commit_below(&below, durability)?;
        writer.is_marked |= marks;
        Ok(())
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: &[u8],
        page: PageLimit,
    ) -> Result<Vec<(Bytes, Bytes)>, Failure> {
        self.page(prefix, after, page)
    }

    fn walk(&self, from: &[u8], page: PageLimit) -> Result<Walked, Failure> {
        self.walk_on(from, page)
    }

    fn reclaim(&self, now_ms: Millis, count_max: usize) -> Result<Reclaimed, Failure> {
        let below = self.inner.reclaim(now_ms, count_max)?;
        let keys = self.vault.keys()?;
        let mut reclaimed = Reclaimed {
            next_ms: below.next_ms,
            ..Reclaimed::default()
        };
        for ((place, version), stored) in below.records.iter().zip(&below.bodies) {
            self.vault.replay.note(place, None);
            if let Ok(opened) = self.open_at(&keys, place, stored) {
                reclaimed.records.push((opened.key, *version));
                reclaimed.bodies.push(opened.record);
            }
        }
        Ok(reclaimed)
    }

    fn usage(&self) -> Usage {
        let mut usage = self.inner.usage();
        // The mark is nobody's record.
        usage.entries = usage.entries.map(|entries| entries.saturating_sub(1));
        usage
    }

    fn reserve(&self, mark: Watermark) -> Result<(), Failure> {
        self.inner.reserve(mark)?;
        // A guard that is away costs nobody the store: it is moved the next time, or at the next opening.
        if let Err(failure) = self.advance() {
            tracing::warn!(%failure, "the rollback guard could not be moved");
        }
        Ok(())
    }

    fn reserved(&self) -> Watermark {
        self.inner.reserved()
    }

    fn opened(&self) -> Opening {
        self.opening.clone()
    }

    fn upkeep(&self, page: PageLimit) -> Result<Upkeep, Failure> {
        self.reseal(page)
    }

    fn scrub(&self) -> Result<(), Failure> {
        // One at a time: it is asked for as often as somebody looks.
        let _one = self.scrubbing.lock();
        if !self.vault.keys()?.needs_scrub {
            return Ok(());
        }
        self.inner.scrub()?;
        self.vault.change(|header| {
            header.bundle.needs_scrub = false;
            Ok(())
        })
    }
}

/// IMPORTANT: whoever rotates or destroys the keys must not take this store for open any more: another process
/// may have it.
impl Drop for SealedDriver {
    fn drop(&mut self) {
        self.vault.close();
    }
}

/// What a provider's error means for the store.
fn key_failure(provider: &str, error: &KeyError) -> Failure {
    let reason = format!("the master key from {provider}: {error}");
    match error.kind {
        KeyErrorKind::Unavailable => Failure::Reopen { reason },
        _ => Failure::Fatal { reason },
    }
}
