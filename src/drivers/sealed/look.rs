//! Reading what is sealed: where a record may be, and whether it is what it should be.

use std::sync::Arc;

use bytes::Bytes;

use super::envelope::{self, Opened};
use super::{Failure, Keys, LOOKS_MAX, SealedDriver};
use crate::record::{self, Damage, MAGIC, Stamp};

/// What is given for a record that does not open: no reader takes it for a value, and none repairs it.
static REFUSED: [u8; record::HEADER_BYTES] = {
    let mut refused = [0; record::HEADER_BYTES];
    [refused[0], refused[1]] = record::SEALED_MAGIC;
    refused[2] = record::SEALED_FORMAT;
    refused
};

/// What a look at one key's places found.
enum Answer {
    /// It, or nothing, or what stands for a damaged or refused record.
    Sure(Option<Bytes>),
    /// Keys have changed meanwhile; what to answer if they go on doing so.
    Again(Option<Bytes>),
}

impl SealedDriver {
    /// The record of a key.
    pub(super) fn look(&self, key: &[u8]) -> Result<Option<Bytes>, Failure> {
        let mut last = None;
        for _ in 0..LOOKS_MAX {
            let keys = self.vault.keys()?;
            let places = keys.places(key);
            let as_of = self.vault.replay.now();
            let (one, many);
            let found = match places.as_slice() {
                // Where there is one place, what is there is sealed: opened, it has memory of its own.
                [place] => {
                    one = [self.inner.get(place)?];
                    one.as_slice()
                }
                places => {
                    many = self.inner.get_many(places)?;
                    many.as_slice()
                }
            };
            match self.judge(&keys, key, &places, found, as_of)? {
                Answer::Sure(answer) => return Ok(answer),
                Answer::Again(answer) => last = answer,
            }
        }
        if last.is_some() {
            self.vault.refuse();
        }
        Ok(last)
    }

    /// The records of many keys, each as it was at one moment.
    pub(super) fn look_many(&self, wanted: &[Bytes]) -> Result<Vec<Option<Bytes>>, Failure> {
        for _ in 0..LOOKS_MAX {
            if let Some(answers) = self.look_once(wanted)? {
                return Ok(answers);
            }
        }
        wanted.iter().map(|key| self.look(key)).collect()
    }

    /// All of them as of one moment; nothing if one of them has changed meanwhile.
    fn look_once(&self, wanted: &[Bytes]) -> Result<Option<Vec<Option<Bytes>>>, Failure> {
        let keys = self.vault.keys()?;
        let places: Vec<Vec<Bytes>> = wanted.iter().map(|key| keys.places(key)).collect();
        let all: Vec<Bytes> = places.iter().flatten().cloned().collect();
        let as_of = self.vault.replay.now();
        let found = self.inner.get_many(&all)?;
        let (mut rest, mut answers) = (found.as_slice(), Vec::with_capacity(wanted.len()));
        for (key, places) in wanted.iter().zip(&places) {
            let (own, others) = rest.split_at_checked(places.len()).unwrap_or((rest, &[]));
            rest = others;
            match self.judge(&keys, key, places, own, as_of)? {
                Answer::Sure(answer) => answers.push(answer),
                Answer::Again(_) => return Ok(None),
            }
        }
        Ok(Some(answers))
    }

    /// What was found at a key's places, oldest place first.
    fn judge(
        &self,
        keys: &Arc<Keys>,
        key: &[u8],
        places: &[Bytes],
        found: &[Option<Bytes>],
        as_of: u64,
    ) -> Result<Answer, Failure> {
        let both = places.iter().zip(found).rev();
        let mut newest = both.filter_map(|(place, found)| Some((place, found.as_ref()?)));
        // Keys are changed before records are moved: who finds nothing with old ones looks again.
        let is_current = || self.vault.keys().map(|now| Arc::ptr_eq(keys, &now));
        let refused = || Some(Bytes::from_static(&REFUSED));
        let Some((place, stored)) = newest.next() else {
            return Ok(match is_current()? {
                true => Answer::Sure(None),
                false => Answer::Again(None),
            });
        };
        Ok(match self.open_at(keys, place, stored) {
            Ok(opened) if opened.key != key => {
                self.vault.refuse();
                Answer::Sure(refused())
            }
            Ok(opened) if opened.epoch < keys.floor => Answer::Sure(None),
            // An old one that was put back.
            Ok(opened)
                if !self
                    .vault
                    .replay
                    .believes(place, opened.stamp.version, as_of) =>
            {
                self.vault.refuse();
                Answer::Sure(refused())
            }
            Ok(opened) => Answer::Sure(Some(opened.record)),
            Err(Damage::Sealed) if !is_current()? => Answer::Again(refused()),
            Err(Damage::Sealed | Damage::Foreign) => {
                self.vault.refuse();
                Answer::Sure(refused())
            }
            // Shorter than any record: whoever reads it knows that it is damaged, and has it deleted.
            Err(Damage::Truncated | Damage::Checksum) => Answer::Sure(Some(Bytes::new())),
        })
    }

    /// Opens what is stored at a place.
    ///
    /// # Errors
    ///
    /// The damage; [`Damage::Foreign`] for a plain record where none belongs.
    pub(super) fn open_at(
        &self,
        keys: &Keys,
        place: &Bytes,
        stored: &Bytes,
    ) -> Result<Found, Damage> {
        if stored.starts_with(&MAGIC) {
            if !keys.is_converting {
                return Err(Damage::Foreign);
            }
            let stamp = record::stamp(place, stored)?;
            return Ok(Found {
                key: place.clone(),
                record: stored.clone(),
                stamp,
                epoch: 0,
            });
        }
        let head = envelope::head(place, stored)?;
        let key = keys.of(head.epoch).ok_or(Damage::Sealed)?;
        let sealer = keys.sealer(head.epoch);
        let Opened { key, record } = envelope::open(key, sealer, place, &head, stored)?;
        Ok(Found {
            key,
            record,
            stamp: head.stamp,
            epoch: head.epoch,
        })
    }
}

/// A record that was opened.
pub(super) struct Found {
    /// Its key.
    pub key: Bytes,
    /// All of it.
    pub record: Bytes,
    /// Its version, and until when it is kept.
    pub stamp: Stamp,
    /// Which epoch has sealed it; 0 for a plain one.
    pub epoch: u32,
}
