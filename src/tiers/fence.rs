//! Clear and tag invalidation: raising fences, storing them, and raising them again after a restart.
//!
//! A fence is stored as an ordinary record of a reserved cache, so it takes the same way down, with
//! the same promises, as any value. FORMAT.md has the layout.

use std::time::Duration;

use bytes::Bytes;
use smol_str::SmolStr;

use super::order::store_durability;
use super::write::check_promise;
use super::{Intent, Order, Place, Prepared, Tiers};
use crate::clock::NEVER;
use crate::drivers::{Driver, Failure, PageLimit};
use crate::error::Error;
use crate::key::{SEPARATOR, split_stored_key};
use crate::outcome::{Durability, WriteOutcome};
use crate::record;
use crate::shelf::{Body, Condition, Covers, Encoded, Priority, Scope, Ticket};
use crate::sync::Arc;
use crate::version::Version;

/// The reserved cache that fences are stored in. No host can name it.
pub(crate) const FENCES: &str = "\u{0}fences";
/// Fences read in one go when a store is opened.
const PAGE_COUNT: usize = 1_000;

impl Tiers {
    /// Makes everything that `covers` says and that is older than now a miss, in every tier, in one
    /// step. The space is freed later.
    pub(crate) async fn invalidate(
        &self,
        place: &Place,
        covers: Covers,
        durability: Durability,
        by_name: bool,
        wait: Option<Duration>,
    ) -> Result<WriteOutcome, Error> {
        self.check_open()?;
        check_promise(place, durability, by_name)?;
        let wait = self.wait(wait);
        let (ticket, waiting) = store_durability(durability).map(|_| Ticket::new()).unzip();
        let version = self.raise_and_file(place, covers, durability, ticket)?;
        if let Some(lines) = self.lines.get() {
            (lines.sweep)();
        }
        let mut outcome = WriteOutcome {
            version,
            replaced: None,
            durability: Durability::Queued,
            degraded: Vec::new(),
        };
        self.note_down(place, false, &mut outcome);
        if let Some(waiting) = waiting {
            self.await_stored(place, (durability, by_name), waiting, &wait, &mut outcome)
                .await?;
        }
        Ok(outcome)
    }

    /// Raises a fence and files it for the tiers.
    fn raise_and_file(
        &self,
        place: &Place,
        covers: Covers,
        durability: Durability,
        ticket: Option<Ticket>,
    ) -> Result<Version, Error> {
        let now_ms = self.now_ms();
        // Always taken: there are few of them, they coalesce, and one that is forgotten would bring back
        // what it covers (the slot protocol, rule 11, SEMANTICS.md).
        let room = Arc::clone(&self.room).try_acquire_many_owned(0);
        let room = room.map_err(|_| Error::Closed)?;
        // IMPORTANT: one at a time, from drawing the version to filing it. Two clears at once would else
        // be filed in the other order, and the store would be left with the older fence.
        let _alone = self.fencing.lock();
        let (version, covers) = self.shelf.fence(&place.scope, covers, now_ms);
        self.shelf
            .announce_fence(&place.scope, &covers, version, now_ms);
        if place.tiers.is_empty() {
            return Ok(version);
        }
        let name = fence_name(&place.scope, &covers);
        let fences = Place {
            scope: self.shelf.scope(FENCES),
            memory: false,
            tiers: place.tiers,
            schema: 0,
        };
        let mut order = Order {
            name: &name,
            intent: Intent::Put(fence_value(version, now_ms)),
            condition: Condition::None,
            targets: None,
            durability,
            by_name: false,
            ticket: None,
            wait: None,
        };
        let waiter = place
            .durable()
            .zip(store_durability(durability))
            .zip(ticket);
        let waiter = waiter.map(|((tier, durability), ticket)| (tier, durability, ticket));
        let ask = self.ask_for(&fences, &mut order, None, Some(room), waiter);
        self.shelf.apply(ask);
        Ok(version)
    }

    /// Raises the fences that a store remembers. Before the first read of that store.
    pub(crate) fn raise_stored(&self, fences: &[(String, Version)]) {
        for (name, version) in fences {
            let (cache, tag) = match name.split_once(SEPARATOR) {
                Some((cache, tag)) => (cache, Some(tag)),
                None => (name.as_str(), None),
            };
            let covers = tag.map_or(Covers::All, |tag| Covers::Tag(SmolStr::new(tag)));
            self.shelf.scope(cache).raise_to(covers, *version);
        }
    }
}

/// Reads all fences of a store. Blocks; for the thread that opens it.
///
/// # Errors
///
/// The driver's failure.
pub(crate) fn load(driver: &dyn Driver) -> Result<Vec<(String, Version)>, Failure> {
    let prefix = format!("{FENCES}{SEPARATOR}");
    let page = PageLimit {
        count_max: PAGE_COUNT,
        bytes_max: 1 << 20,
    };
    let (mut fences, mut after) = (Vec::new(), Bytes::new());
    loop {
        let records = driver.scan(prefix.as_bytes(), &after, page)?;
        let Some((last, _)) = records.last() else {
            return Ok(fences);
        };
        after = last.clone();
        for (key, bytes) in &records {
            // A fence that cannot be read must not be passed over: what it guarded would come back.
            let damaged = || Failure::reopen("a stored fence is damaged");
            let (_, payload) = record::decode(key, bytes).map_err(|_| damaged())?;
            let raw: [u8; 8] = payload.as_ref().try_into().map_err(|_| damaged())?;
            let version = Version::new(u64::from_le_bytes(raw)).ok_or_else(damaged)?;
            let (_, name) = split_stored_key(key).ok_or_else(damaged)?;
            fences.push((name.to_owned(), version));
        }
    }
}

fn fence_name(scope: &Scope, covers: &Covers) -> String {
    match covers {
        Covers::All => scope.name.to_string(),
        Covers::Tag(tag) => format!("{}{SEPARATOR}{tag}", scope.name),
    }
}

fn fence_value(version: Version, now_ms: u64) -> Prepared {
    let encoded = Arc::new(Encoded {
        codec: 0,
        type_tag: 0,
        payload: Bytes::copy_from_slice(&version.get().to_le_bytes()),
    });
    Prepared {
        body: Body::Encoded(Arc::clone(&encoded)),
        encoded: Some(encoded),
        weight: 8,
        created_ms: now_ms,
        expires_ms: NEVER,
        extra: None,
        priority: Priority::Normal,
    }
}
