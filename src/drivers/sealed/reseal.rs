//! Sealing anew, a page at a time on the writing thread: what an older master key has sealed, and what was
//! plain. Whoever is killed in between finds both, and goes on from the start.

use bytes::Bytes;

use super::envelope::Plain;
use super::open::MARKER;
use super::page::is_plain_fence;
use super::{Failure, Keys, PageLimit, SealedDriver, StoreDurability, Upkeep, Write, Writer};
use crate::record::{Damage, MAGIC, SEALED_MAGIC};

/// What is to become of one record.
enum Fate {
    /// It is as it should be, or nobody's.
    Stays,
    /// It was sealed anew.
    Resealed,
    /// It does not open, and never will.
    GivenUp,
}

impl SealedDriver {
    /// Seals the next page anew, if there is anything to be sealed anew.
    pub(super) fn reseal(&self, page: PageLimit) -> Result<Upkeep, Failure> {
        let keys = self.vault.keys()?;
        let writer = &mut *self.writer.lock();
        if !keys.is_resealing() || (writer.waits_for_newest && !self.vault.is_newest()) {
            self.vault.report_idle(&keys);
            return Ok(Upkeep {
                goes_on: false,
                wants_scrub: keys.needs_scrub,
            });
        }
        if writer.since != keys.since {
            // IMPORTANT: what this run has passed was sealed under what is now an older key.
            (writer.cursor, writer.since) = (Bytes::new(), keys.since);
        }
        if writer.cursor.is_empty() {
            let records = self.inner.usage().entries;
            self.vault.report(|progress| {
                progress.begin();
                progress.records = records;
            });
        }
        let records = self.inner.scan(b"", &writer.cursor, page)?;
        let Some((last, _)) = records.last() else {
            return self.finish(writer, &keys);
        };
        let last = last.clone();
        let (mut batch, mut resealed, mut given_up) = (Vec::new(), 0, 0);
        for (place, stored) in &records {
            match self.reseal_one(writer, &keys, place, stored, &mut batch)? {
                Fate::Stays => {}
                Fate::Resealed => resealed += 1,
                Fate::GivenUp => given_up += 1,
            }
        }
        if !batch.is_empty() {
            if !writer.is_marked {
                // IMPORTANT: before there is anything that only the header opens. Without it the store is a
                // plain one for whoever finds no header.
                batch.push(self.marker(writer)?);
            }
            self.commit_below(&batch, StoreDurability::Written)?;
            writer.is_marked = true;
        }
        writer.cursor = last;
        self.vault.report(|progress| {
            progress.looked_at += records.len() as u64;
            progress.resealed += resealed;
            progress.given_up += given_up;
        });
        Ok(Upkeep {
            goes_on: true,
            wants_scrub: false,
        })
    }

    fn reseal_one(
        &self,
        writer: &mut Writer,
        keys: &Keys,
        place: &Bytes,
        stored: &Bytes,
        batch: &mut Vec<Write>,
    ) -> Result<Fate, Failure> {
        if *place == MARKER || keys.is_new(place, stored) {
            return Ok(Fate::Stays);
        }
        let delete = || Write::Delete { key: place.clone() };
        let found = match self.open_at(keys, place, stored) {
            Ok(found) => found,
            // Sealed by a later larder. IMPORTANT: what is plain and cannot be read is given up: it would stay here in
            // plain text, and nobody reads it in a sealed store.
            Err(Damage::Foreign) if stored.starts_with(&SEALED_MAGIC) => return Ok(Fate::Stays),
            // It was replaced when the fences were read, or will be when they are read next.
            Err(_) if is_plain_fence(place, stored) => return Ok(Fate::Stays),
            Err(_) => {
                batch.push(delete());
                return Ok(Fate::GivenUp);
            }
        };
        if found.epoch < keys.floor {
            batch.push(delete());
            return Ok(Fate::GivenUp);
        }
        let is_plain = stored.starts_with(&MAGIC);
        let stamp = found.stamp;
        let plain = Plain {
            key: &found.key,
            record: &found.record,
            stamp,
        };
        let (new, record) = self.seal(writer, plain)?;
        // IMPORTANT: what stands in the new place already is newer, or this one was put back.
        let is_superseded = new != *place && self.inner.get(&new)?.is_some();
        let is_old = !is_plain && !self.vault.replay.believes(place, stamp.version, u64::MAX);
        if !is_superseded && !is_old {
            batch.push(Write::Put {
                key: new.clone(),
                record,
                version: stamp.version,
                keep_ms: stamp.keep_ms,
            });
        }
        if new != *place || is_old {
            batch.push(delete());
        }
        Ok(Fate::Resealed)
    }

    /// All of it was looked at.
    fn finish(&self, writer: &mut Writer, keys: &Keys) -> Result<Upkeep, Failure> {
        writer.cursor = Bytes::new();
        let may_forget = self.vault.is_newest();
        if keys.is_rotating() && !may_forget {
            // Opened with the older of two keys: it is not forgotten while it is the one in use.
            writer.waits_for_newest = true;
            let was_plain = keys.is_converting;
            if was_plain {
                // The conversion has ended all the same.
                self.mark(writer)?;
                self.inner.commit(&[], StoreDurability::Synced)?;
                self.vault.change(|header| {
                    let is_same = header.bundle.since == keys.since;
                    header.bundle.is_converting &= !is_same;
                    header.bundle.needs_scrub |= is_same;
                    Ok(())
                })?;
            }
            self.vault.report_end(None);
            return Ok(Upkeep {
                goes_on: false,
                wants_scrub: was_plain || keys.needs_scrub,
            });
        }
        self.mark(writer)?;
        // IMPORTANT: on the device before the keys of what was there are forgotten.
        self.inner.commit(&[], StoreDurability::Synced)?;
        // Seals that were set aside are those of an epoch that stays.
        let wants_scrub = keys.is_converting || keys.needs_scrub;
        let has_ended = self.vault.change(|header| {
            // IMPORTANT: a key that was accepted meanwhile has a run of its own before it, and the older of two
            // that was made the one in use is not the one to be kept.
            if header.bundle.since != keys.since || !header.is_newest() {
                return Ok(false);
            }
            header.bundle.is_converting = false;
            header.bundle.needs_scrub = wants_scrub;
            header.forget_older().map(|()| true)
        })?;
        if has_ended {
            self.vault.report_end(Some(keys.since));
        }
        Ok(Upkeep {
            goes_on: !has_ended,
            wants_scrub: has_ended && wants_scrub,
        })
    }
}
