//! Scans: what the tiers hold, overlaid with what memory knows better.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use smol_str::SmolStr;

use super::flight::slot_of;
use super::read::unreadable;
use super::{Place, Tiers};
use crate::drivers::PageLimit;
use crate::entry::Source;
use crate::error::Error;
use crate::key::{split_stored_key, stored_key};
use crate::port::Port;
use crate::record;
use crate::shelf::{Freshness, Listed, Listing, Look, Seen, Slot, TierId, TierSet};
use crate::sync::Arc;
use crate::wait::Wait;

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
    /// A tier that should have been read is not up, or entries kept moving: keys may be missing.
    pub partial: bool,
}

/// How often a page is read again because an entry moved from one store to another meanwhile.
const LOOKS_MAX: usize = 4;

/// What a page is made of, by key.
type Rows = BTreeMap<SmolStr, Row>;

/// One key of a page.
struct Row {
    shown: Option<(Slot, Source)>,
    /// Memory knew of it before any store was read. No record stands against that, not even one of a
    /// newer version: that of a store that was opened late may be from before.
    is_known: bool,
    distrusted: TierSet,
    /// A store has told of it: those below hold the same or an older one.
    decided: bool,
}

impl Row {
    fn decided(shown: Option<(Slot, Source)>) -> Self {
        Self {
            shown,
            is_known: false,
            distrusted: TierSet::NONE,
            decided: true,
        }
    }

    /// Whether a tier's record tells more than what stands here.
    fn believes(&self, tier: TierId) -> bool {
        !self.decided && !self.distrusted.has(tier) && !self.is_known
    }
}

impl From<Listed> for Row {
    fn from(listed: Listed) -> Self {
        Self {
            shown: listed.slot.map(|slot| (slot, Source::Memory)),
            is_known: listed.is_known,
            distrusted: listed.distrusted,
            decided: false,
        }
    }
}

impl Tiers {
    /// Reads a page in the order of keys. It sees what reads see, as of some moment during the call.
    pub(crate) async fn page(&self, place: &Place, ask: PageAsk<'_>) -> Result<PageFound, Error> {
        self.check_open()?;
        let wait = self.wait(ask.wait).standing(place.standing);
        let (mut looks, mut failed) = (1, TierSet::NONE);
        loop {
            let (moves, emptied) = (place.scope.moves_done(), self.emptied(place));
            let mut found = match self.look(place, &ask, failed, &wait).await {
                Ok(found) => found,
                // As one that is not up: memory may know what it would have shown.
                Err((tier, Error::Unavailable { .. })) => {
                    failed = failed.with(tier);
                    continue;
                }
                Err((_, error)) => return Err(error),
            };
            let stood = place.scope.moves_begun() == moves && self.emptied(place) == emptied;
            if found.partial || stood {
                return Ok(found);
            }
            // What moved up between the reads of two stores was in neither when it was read; what one had
            // when memory was asked may be gone from its successor.
            if looks == LOOKS_MAX {
                found.partial = true;
                return Ok(found);
            }
            looks += 1;
        }
    }

    /// How often the drivers of a cache have lost what they had. Not all of it is stored again at once, and
    /// what cannot be encoded any more never.
    fn emptied(&self, place: &Place) -> u64 {
        let ports = place.tiers.iter().filter_map(|tier| self.port(tier));
        ports.map(|port| port.emptied()).sum()
    }

    /// Reads a page without the tiers that have failed. An error says which tier it is of.
    async fn look(
        &self,
        place: &Place,
        ask: &PageAsk<'_>,
        failed: TierSet,
        wait: &Wait<'_>,
    ) -> Result<PageFound, (TierId, Error)> {
        // IMPORTANT: memory first, then the stores. A key that is dirty now may be stored and clean a
        // moment later; looked for in the other order it would be found in neither.
        let ports: Vec<_> = place.tiers.iter().filter_map(|t| self.port(t)).collect();
        let is_up = |port: &&Arc<Port>| port.is_up() && !failed.has(port.id);
        let up: Vec<_> = ports.iter().copied().filter(is_up).collect();
        let partial = up.len() < ports.len();
        let listed = self.shelf.list(&Listing {
            scope: &place.scope,
            prefix: ask.prefix,
            after: ask.after,
            count_max: ask.count_max,
            // What is in no store, not any more, or in one that is not up, memory may still know.
            table: ports.is_empty()
                || partial
                || place.scope.moves_begun() > 0
                || self.emptied(place) > 0,
            tiers: place.tiers,
            now_ms: self.now_ms(),
        });
        // With nothing to read below, what memory lists is the page, and a full one may go on.
        let mut ends_at = (listed.len() >= ask.count_max)
            .then(|| listed.last().map(|l| l.name.clone()))
            .flatten();
        let mut page: Rows = listed
            .into_iter()
            .map(|l| (l.name.clone(), l.into()))
            .collect();
        // All of them, in the order of reads: a call may have stored an entry in a lower one only.
        for port in up {
            let stored_end = self.add_stored(place, ask, port, wait, &mut page).await;
            let stored_end = stored_end.map_err(|error| (port.id, error))?;
            // Beyond the last key that one side has looked at, the page is not complete.
            ends_at = match (ends_at, stored_end) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
        }
        let mut entries: Vec<_> = page
            .into_iter()
            .filter(|(name, _)| ends_at.as_ref().is_none_or(|end| name <= end))
            .filter_map(|(name, row)| row.shown.map(|(slot, source)| (name, slot, source)))
            .collect();
        let more = entries.len() > ask.count_max;
        entries.truncate(ask.count_max);
        let last = entries.last().map(|(name, ..)| name.clone());
        Ok(PageFound {
            next: if more { last } else { ends_at },
            entries,
            partial,
        })
    }

    /// Adds what a store holds, as reads would show it. Returns the last key that was looked at, or
    /// `None` if the store has no more: a page that is short in both count and bytes is the last.
    async fn add_stored(
        &self,
        place: &Place,
        ask: &PageAsk<'_>,
        port: &Arc<Port>,
        wait: &Wait<'_>,
        page: &mut Rows,
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
            let (header, payload) = match record::decode(key, record) {
                Ok(parts) => parts,
                Err(damage) => {
                    unreadable(port, key, damage);
                    continue;
                }
            };
            let row = page.get(name);
            if row.is_some_and(|row| !row.believes(port.id)) {
                continue;
            }
            let slot = slot_of(header, payload);
            if let Some(row) = self.overlay(place, name, slot, port, now_ms) {
                page.insert(SmolStr::new(name), row);
            }
        }
        Ok(if is_end { None } else { last })
    }

    /// What a read would show for a key whose record was just read from a store; `None` if it would
    /// not believe it and ask the next one.
    fn overlay(
        &self,
        place: &Place,
        name: &str,
        slot: Slot,
        port: &Port,
        now_ms: u64,
    ) -> Option<Row> {
        let hash = self.shelf.hash(place.scope.id, name);
        let show = |slot: Look<'_>, _: Freshness| (slot.to_slot(), Source::Memory);
        match self
            .shelf
            .read(&place.scope, hash, name, || now_ms, false, show)
        {
            Seen::Hit(found) => return Some(Row::decided(Some(found))),
            Seen::Gone(_) => return Some(Row::decided(None)),
            Seen::Unknown | Seen::Below(..) => {}
        }
        if self.shelf.distrusts(&place.scope, hash, name).has(port.id) {
            return None;
        }
        let shows = slot.is_fresh(|| now_ms) && place.scope.accepts(slot.version, slot.tags());
        Some(Row::decided(shows.then_some((slot, port.source))))
    }
}
