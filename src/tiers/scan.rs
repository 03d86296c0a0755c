//! Scans and multi-key reads: what the tiers hold, overlaid with what memory knows better.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use smol_str::SmolStr;

use super::read::{ReadOptions, slot_of};
use super::{Place, Tiers};
use crate::drivers::PageLimit;
use crate::entry::Source;
use crate::error::Error;
use crate::key::{split_stored_key, stored_key};
use crate::port::{Port, Wait};
use crate::record;
use crate::shelf::{Freshness, Seen, Slot};
use crate::sync::Arc;

/// Bytes of records read from a store for one page.
const PAGE_BYTES_MAX: usize = 4 << 20;

/// One page of a scan.
pub(crate) struct PageAsk<'a> {
    /// What the keys begin with.
    pub prefix: &'a str,
    /// They are greater than this.
    pub after: &'a str,
    /// How many at most.
    pub count_max: usize,
    /// How long it may take.
    pub wait: Option<Duration>,
}

/// What a page holds.
pub(crate) struct PageFound {
    pub entries: Vec<(SmolStr, Slot, Source)>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<SmolStr>,
    /// A tier that should have been read is not up: keys may be missing.
    pub partial: bool,
}

impl Tiers {
    /// Reads a page in the order of keys. It sees what reads see, as of some moment during the call.
    pub(crate) async fn page(&self, place: &Place, ask: PageAsk<'_>) -> Result<PageFound, Error> {
        self.check_open()?;
        let wait = self.wait(ask.wait);
        let now_ms = self.now_ms();
        // IMPORTANT: memory first, then the store. A key that is dirty now may be stored and clean a
        // moment later; looked for in the other order it would be found in neither.
        let ports: Vec<_> = place.tiers.iter().filter_map(|t| self.port(t)).collect();
        let up: Vec<_> = ports.iter().filter(|port| port.is_up()).collect();
        let partial = up.len() < ports.len();
        // What a tier that is not up cannot say, memory may still know.
        let table =
            ports.is_empty() || partial || self.unstored.load(std::sync::atomic::Ordering::SeqCst);
        let (listed, hides) = self.shelf.list(
            &place.scope,
            ask.prefix,
            ask.after,
            ask.count_max,
            table,
            now_ms,
        );
        // With nothing to read below, what memory lists is the page, and a full one may go on.
        let mut ends_at = (listed.len() >= ask.count_max)
            .then(|| listed.last().map(|l| l.name.clone()))
            .flatten();
        let mut page: BTreeMap<SmolStr, (Slot, Source)> = listed
            .into_iter()
            .map(|l| (l.name, (l.slot, Source::Memory)))
            .collect();
        // All of them: a call may have stored an entry in one of the lower only.
        for port in up {
            let stored_end = self.add_stored(place, &ask, port, &wait, &mut page).await?;
            // Beyond the last key that one side has looked at, the page is not complete.
            ends_at = match (ends_at, stored_end) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
        }
        let mut entries: Vec<_> = page
            .into_iter()
            .filter(|(name, _)| ends_at.as_ref().is_none_or(|end| name <= end))
            .map(|(name, (slot, source))| (name, slot, source))
            .collect();
        let more = entries.len() > ask.count_max;
        entries.truncate(ask.count_max);
        let last = entries.last().map(|(name, ..)| name.clone());
        let mut found = PageFound {
            next: if more { last } else { ends_at },
            entries,
            partial,
        };
        if hides {
            self.verify(place, &mut found, &wait).await?;
        }
        Ok(found)
    }

    /// Reads what came from a store once more, as single reads do: memory first, then the store. When
    /// the page was read a removal that memory knew of may not have been stored yet, and when memory
    /// was asked it may have been.
    async fn verify(
        &self,
        place: &Place,
        page: &mut PageFound,
        wait: &Wait<'_>,
    ) -> Result<(), Error> {
        let stored = |entry: &&(SmolStr, Slot, Source)| entry.2 != Source::Memory;
        let names: Vec<SmolStr> = page
            .entries
            .iter()
            .filter(stored)
            .map(|e| e.0.clone())
            .collect();
        let names: Vec<&str> = names.iter().map(SmolStr::as_str).collect();
        let options = ReadOptions {
            no_promote: true,
            wait: Some(wait.left()),
            ..ReadOptions::default()
        };
        let mut read = self.read_many(place, &names, options).await?.into_iter();
        let entries = std::mem::take(&mut page.entries);
        for (name, slot, source) in entries {
            if source == Source::Memory {
                page.entries.push((name, slot, source));
                continue;
            }
            let found = read.next().unwrap_or_default();
            page.partial |= !found.degraded.is_empty();
            if let Some((slot, _, source)) = found.slot {
                page.entries.push((name, slot, source));
            }
        }
        Ok(())
    }

    /// Adds what a store holds, as reads would show it. Returns the last key that was looked at, or
    /// `None` if the store has no more: a page that is short in both count and bytes is the last.
    async fn add_stored(
        &self,
        place: &Place,
        ask: &PageAsk<'_>,
        port: &Arc<Port>,
        wait: &Wait<'_>,
        page: &mut BTreeMap<SmolStr, (Slot, Source)>,
    ) -> Result<Option<SmolStr>, Error> {
        let prefix = Bytes::from(stored_key(&place.scope.name, ask.prefix));
        let after = match ask.after {
            "" => Bytes::new(),
            after => Bytes::from(stored_key(&place.scope.name, after)),
        };
        let limit = PageLimit {
            count_max: ask.count_max,
            bytes_max: PAGE_BYTES_MAX,
        };
        let records = port.scan(prefix, after, limit, wait).await?;
        let now_ms = self.now_ms();
        let bytes: usize = records
            .iter()
            .map(|(key, record)| key.len() + record.len())
            .sum();
        let is_end = records.len() < limit.count_max && bytes < limit.bytes_max;
        let mut last = None;
        for (key, record) in &records {
            let Some((_, name)) = split_stored_key(key) else {
                continue;
            };
            last = Some(SmolStr::new(name));
            match self.overlay(place, name, key, record, port, now_ms) {
                Shown::Value(slot, source) => {
                    let known = page.get(name);
                    if known.is_none_or(|(known, _)| known.version < slot.version) {
                        page.insert(SmolStr::new(name), (slot, source));
                    }
                }
                Shown::Gone => {
                    page.remove(name);
                }
                Shown::Nothing => {}
            }
        }
        Ok(if is_end { None } else { last })
    }

    /// What a read would show for a key whose record was just read from a store.
    fn overlay(
        &self,
        place: &Place,
        name: &str,
        key: &[u8],
        record: &Bytes,
        port: &Arc<Port>,
        now_ms: u64,
    ) -> Shown {
        let hash = self.shelf.hash(place.scope.id, name);
        let show = |slot: &Slot, _: Freshness| slot.clone();
        match self
            .shelf
            .read(&place.scope, hash, name, || now_ms, false, show)
        {
            Seen::Hit(slot) => return Shown::Value(slot, Source::Memory),
            Seen::Gone(_) => return Shown::Gone,
            Seen::Unknown | Seen::Below(..) => {}
        }
        let Ok((header, payload)) = record::decode(key, record) else {
            port.repair(Bytes::copy_from_slice(key));
            return Shown::Nothing;
        };
        let slot = slot_of(header, payload);
        let shows = slot.is_fresh(|| now_ms)
            && place.scope.accepts(slot.version, slot.tags())
            && !self.shelf.distrusts(&place.scope, hash, name).has(port.id);
        if shows {
            Shown::Value(slot, port.source)
        } else {
            Shown::Nothing
        }
    }
}

/// What a read would show for a key.
enum Shown {
    Value(Slot, Source),
    /// Memory knows that there is nothing.
    Gone,
    /// This tier has nothing to show.
    Nothing,
}
