//! Deleting what a store that is back must not keep, when that is more than could be remembered key by
//! key: page by page between the batches, so that nobody waits for the end of it.
//!
//! Only this lane writes values, so what a page shows is still there when it is deleted.

use bytes::Bytes;

use super::run::Run;
use crate::drivers::{StoreDurability, Write};
use crate::error::Error;
use crate::key::split_stored_key;
use crate::record;
use crate::version::Version;

/// A pass over a store.
pub struct Purge {
    /// Drawn when it began: what was distrusted until then is gone when it ends.
    as_of: Version,
    /// The key it has come to.
    after: Bytes,
}

impl Run {
    /// Begins a pass if the store is distrusted as a whole and none is under way.
    pub fn begin_purge(&mut self) {
        let is_distrusted = self.shelf.distrusted_tiers().has(self.lane.port.id);
        if is_distrusted && self.progress.purge.is_none() {
            tracing::info!(
                driver = %self.lane.port.name,
                "more changes were not stored than could be remembered: the store is gone through"
            );
            self.progress.purge = Some(Purge {
                as_of: self.shelf.versions().next(self.clock.now_ms()),
                after: Bytes::new(),
            });
        }
    }

    /// One page of the pass that is under way, if one is.
    pub async fn purge_page(&mut self) -> Result<(), Error> {
        let tier = self.lane.port.id;
        let Some(purge) = &mut self.progress.purge else {
            return Ok(());
        };
        let page = (self.lane.page)(purge.after.clone()).await?;
        let Some((last, _)) = page.last() else {
            self.shelf.trust_all(tier, purge.as_of);
            self.progress.purge = None;
            // More may have been distrusted since.
            self.begin_purge();
            return Ok(());
        };
        let after = last.clone();
        let doubtful = page.iter().filter(|(key, bytes)| {
            let record = record::decode(key, bytes).ok();
            let names = split_stored_key(key);
            record
                .zip(names)
                .is_some_and(|((header, _), (cache, name))| {
                    // What larder files for itself is never left unstored.
                    let is_own = cache.starts_with('\u{0}');
                    !is_own && self.shelf.doubts(tier, cache, name, header.version)
                })
        });
        let deletions: Vec<_> = doubtful
            .map(|(key, _)| Write::Delete { key: key.clone() })
            .collect();
        if !deletions.is_empty() {
            (self.lane.send)(deletions, StoreDurability::Written).await?;
        }
        purge.after = after;
        Ok(())
    }
}
