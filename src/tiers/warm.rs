//! Reads that no handle made: warming memory up, and a deadline for the TTL manager.

use bytes::Bytes;

use super::read::ReadOptions;
use super::{Place, Tiers};
use crate::clock::Millis;
use crate::error::Error;
use crate::key::{Key, split_stored_key, stored_key};
use crate::shelf::TierSet;
use crate::version::Version;

impl Tiers {
    /// Loads `cache/key` into memory; whether it is there now.
    pub(crate) async fn warm(&self, entry: &str) -> Result<bool, Error> {
        let (cache, name) = split_stored_key(entry.as_bytes()).ok_or_else(|| Error::Invalid {
            field: "entries",
            reason: "has one that is not of the form cache/key".into(),
        })?;
        self.check_cache(cache)?;
        self.check_key(name)?;
        let all = self
            .ports
            .iter()
            .fold(TierSet::NONE, |set, port| set.with(port.id));
        let place = Place {
            scope: self.shelf.scope(cache),
            memory: true,
            tiers: all,
            schema: 0,
            kind: None,
        };
        let found = self.read(&place, name, ReadOptions::default()).await?;
        Ok(found.slot.is_some())
    }

    /// A stored version and deadline, for the TTL manager; nothing is promoted.
    pub(crate) async fn deadline_of(&self, key: &Key) -> Option<(Version, Millis)> {
        let scope = self.shelf.scope_by_id(key.cache)?;
        let wait = self.wait(None);
        let stored = Bytes::from(stored_key(&scope.name, &key.name));
        for port in &self.ports {
            if let Ok(Some((header, _))) = self.ask(port, &stored, &wait, &mut Vec::new()).await {
                return Some((header.version, header.expires_ms));
            }
        }
        None
    }
}
