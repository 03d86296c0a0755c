//! Scans and multi-key reads: what the tiers hold, overlaid with what memory knows better.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use smol_str::SmolStr;

use super::flight::slot_of;
use super::{Place, Tiers};
use crate::drivers::PageLimit;
use crate::entry::Source;
use crate::error::Error;
use crate::key::{split_stored_key, stored_key};
use crate::port::Port;
use crate::record;
use crate::shelf::{Freshness, Listed, Listing, Seen, Slot};
use crate::sync::Arc;
use crate::version::Version;
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
    /// A tier that should have been read is not up: keys may be missing.
    pub partial: bool,
}

/// What a page is made of, by key.
type Rows = BTreeMap<SmolStr, Row>;

/// One key of a page.
struct Row {
    shown: Option<(Slot, Source)>,
    outdates: Option<Version>,
}

impl Row {
    fn shown(shown: Option<(Slot, Source)>) -> Self {
        Self {
            shown,
            outdates: None,
        }
    }

    /// Whether a stored record of this version adds nothing to what memory has listed.
    fn beats(&self, stored: Version) -> bool {
        self.outdates.is_none_or(|version| stored <= version)
    }
}

impl From<Listed> for Row {
    fn from(listed: Listed) -> Self {
        Self {
            shown: listed.slot.map(|slot| (slot, Source::Memory)),
            outdates: listed.outdates,
        }
    }
}

impl Tiers {
    /// Reads a page in the order of keys. It sees what reads see, as of some moment during the call.
    pub(crate) async fn page(&self, place: &Place, ask: PageAsk<'_>) -> Result<PageFound, Error> {
        self.check_open()?;
        let wait = self.wait(ask.wait);
        // IMPORTANT: memory first, then the store. A key that is dirty now may be stored and clean a
        // moment later; looked for in the other order it would be found in neither.
        let table =
            place.tiers.is_empty() || self.unstored.load(std::sync::atomic::Ordering::SeqCst);
        let listed = self.shelf.list(&Listing {
            scope: &place.scope,
            prefix: ask.prefix,
            after: ask.after,
            count_max: ask.count_max,
            table,
            tier: place.durable(),
            now_ms: self.now_ms(),
        });
        let port = place.durable().and_then(|tier| self.port(tier));
        let up = port.filter(|port| port.is_up());
        // With nothing to read below, what memory lists is the page, and a full one may go on.
        let mut ends_at = (listed.len() >= ask.count_max)
            .then(|| listed.last().map(|l| l.name.clone()))
            .flatten();
        let mut page: Rows = listed
            .into_iter()
            .map(|l| (l.name.clone(), l.into()))
            .collect();
        if let Some(port) = up {
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
            .filter_map(|(name, row)| row.shown.map(|(slot, source)| (name, slot, source)))
            .collect();
        let more = entries.len() > ask.count_max;
        entries.truncate(ask.count_max);
        let last = entries.last().map(|(name, ..)| name.clone());
        Ok(PageFound {
            next: if more { last } else { ends_at },
            entries,
            partial: port.is_some() && up.is_none(),
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
            let Ok((header, payload)) = record::decode(key, record) else {
                port.repair(key.clone());
                continue;
            };
            // What memory listed before the record was read stands against any that is not newer.
            if page.get(name).is_some_and(|row| row.beats(header.version)) {
                continue;
            }
            let shown = self.overlay(place, name, slot_of(header, payload), port, now_ms);
            page.insert(SmolStr::new(name), Row::shown(shown));
        }
        Ok(if is_end { None } else { last })
    }

    /// What a read would show for a key whose record was just read from a store.
    fn overlay(
        &self,
        place: &Place,
        name: &str,
        slot: Slot,
        port: &Port,
        now_ms: u64,
    ) -> Option<(Slot, Source)> {
        let hash = self.shelf.hash(place.scope.id, name);
        let show = |slot: &Slot, _: Freshness| (slot.clone(), Source::Memory);
        match self
            .shelf
            .read(&place.scope, hash, name, || now_ms, false, show)
        {
            Seen::Hit(found) => return Some(found),
            Seen::Gone(_) => return None,
            Seen::Unknown | Seen::Below(..) => {}
        }
        let shows = slot.is_fresh(|| now_ms)
            && place.scope.accepts(slot.version, slot.tags())
            && !self.shelf.distrusts(&place.scope, hash, name).has(port.id);
        shows.then_some((slot, port.source))
    }
}
