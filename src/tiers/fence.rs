//! Clear and tag invalidation: raising fences, storing them, and raising them again after a restart.
//!
//! A fence is stored as an ordinary record of a reserved cache, so it takes the same way down, with
//! the same promises, as any value. FORMAT.md has the layout.

use std::cmp::Reverse;
use std::time::Duration;

use bytes::Bytes;
use hashbrown::HashMap;
use smol_str::SmolStr;
use tokio::sync::OwnedSemaphorePermit;

use super::{Order, Place, Tiers};
use crate::clock::NEVER;
use crate::drivers::{Driver, Failure, PageLimit, StoreDurability, Write};
use crate::error::Error;
use crate::gate::Standing;
use crate::key::{FENCES, SEPARATOR, split_stored_key, stored_key};
use crate::outcome::{Durability, WriteOutcome};
use crate::record::{self, Damage, Header};
use crate::shelf::{
    Body, Change, Condition, Covers, Draft, Encoded, Priority, Room, Scope, TierId, TierSet,
};
use crate::sync::Arc;
use crate::version::Version;

/// A fence as a store remembers it: `cache` or `cache/tag`, and how high.
pub(crate) type Raised = (String, Version);
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
        let now_ms = self.now_ms();
        let wait = self.wait(wait);
        let fences = self.fences(place.tiers);
        let room = self.fence_room();
        let covers = if room.is_some() { covers } else { Covers::All };
        let room = room.or_else(|| Arc::clone(&self.fence_room).try_acquire_many_owned(0).ok());
        let order = |version, name| Order {
            name,
            change: Change::Put(fence_value(version, now_ms)),
            condition: Condition::None,
            targets: None,
            durability,
            by_name,
            ticket: None,
            wait: None,
        };
        self.check_durability(&fences, &order(Version::at(0), ""))?;
        let name;
        let (version, promise, attempt) = {
            // IMPORTANT: from drawing to filing. Else an older fence could be filed over a newer one of
            // the same name, and be all that is left of both after a restart.
            let _one_by_one = self.fence_order.lock();
            let (version, covers) = self.shelf.fence(&place.scope, covers, now_ms);
            self.shelf
                .announce_fence(&place.scope, &covers, version, now_ms);
            name = fence_name(&place.scope, &covers);
            let mut order = order(version, &name);
            let promise = order.promise(&fences);
            let stored = !place.tiers.is_empty();
            let attempt = stored.then(|| self.first_attempt(&fences, &mut order, everywhere(room)));
            (version, promise, attempt)
        };
        self.shelf.bells.sweep.ring();
        let outcome = match attempt {
            Some(attempt) => self.conclude(&fences, promise, attempt, &wait).await?,
            None => WriteOutcome {
                version,
                replaced: None,
                durability: Durability::Queued,
                degraded: Vec::new(),
            },
        };
        Ok(WriteOutcome {
            version,
            replaced: None,
            ..outcome
        })
    }

    /// Leave for one more fence to wait to be stored. Fences take no part of the dirty budget: a
    /// fence that were not stored would leave an older one, or none, for the next start.
    fn fence_room(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.fence_room).try_acquire_owned().ok()
    }

    /// A store that was unknown until now holds versions up to `ceiling`, which may be above those that
    /// this process has issued. Fences raised meanwhile are raised again above it, so that they hide
    /// what they were raised for; what was set after them may be forgotten with it (the slot protocol,
    /// rule 13). Not those that it remembers itself, nor those of caches that it is no driver of: what
    /// was set after them would be forgotten for nothing.
    ///
    /// Before the first read of that store, before its own fences are raised, and after versions begin
    /// above the ceiling.
    pub(crate) fn outbid(&self, tier: TierId, ceiling: u64, own: &[Raised]) {
        self.shelf.redate(tier, ceiling);
        let now_ms = self.now_ms();
        for scope in self.shelf.all_scopes() {
            let place = self.definitions.read().get(&*scope.name).cloned();
            let tiers = place.map(|opened| opened.place.tiers);
            if tiers.is_some_and(|tiers| !tiers.has(tier)) {
                continue;
            }
            let tiers = tiers.unwrap_or(TierSet::NONE);
            for (covers, fence) in scope.fences_up_to(ceiling) {
                if own.contains(&(fence_name(&scope, &covers), fence)) {
                    continue;
                }
                let fences = self.fences(tiers);
                let _one_by_one = self.fence_order.lock();
                let (version, covers) = self.shelf.fence(&scope, covers, now_ms);
                let name = fence_name(&scope, &covers);
                if tiers.is_empty() {
                    continue;
                }
                let mut order = Order {
                    name: &name,
                    change: Change::Put(fence_value(version, now_ms)),
                    condition: Condition::None,
                    targets: None,
                    durability: Durability::Queued,
                    by_name: false,
                    ticket: None,
                    wait: None,
                };
                // It is stored as soon as it can be; nobody waits for it.
                let room = Arc::clone(&self.fence_room).try_acquire_many_owned(0).ok();
                self.first_attempt(&fences, &mut order, everywhere(room));
            }
        }
        self.shelf.bells.sweep.ring();
    }

    /// The reserved cache of fences, over these tiers.
    fn fences(&self, tiers: TierSet) -> Place {
        Place {
            scope: self.shelf.scope(FENCES),
            memory: false,
            tiers,
            schema: 0,
            kind: None,
            standing: Standing::default(),
        }
    }

    /// Raises the fences that a store remembers. Before the first read of that store.
    pub(crate) fn raise_stored(&self, fences: &[Raised]) {
        let caches_max = self.config.limits.caches_max;
        let mut fences: Vec<_> = fences
            .iter()
            .map(|(name, version)| match name.split_once(SEPARATOR) {
                None => (&**name, Covers::All, *version),
                Some((cache, tag)) => (cache, Covers::Tag(SmolStr::new(tag)), *version),
            })
            .collect();
        // Whole caches first: they make many a tag's fence needless. The newest first: what there is no
        // place for counts for other caches, and so it does with the least harm.
        fences.sort_by_key(|(_, covers, version)| (*covers != Covers::All, Reverse(*version)));
        for (cache, covers, version) in fences {
            self.shelf.recall(cache, covers, version, caches_max);
        }
    }
}

/// Reads all fences of a store. Blocks; for the thread that opens it.
///
/// One that cannot be read counts as raised at `newest`, which is above everything stored: what it
/// guarded must not come back, so more is forgotten. Returns how many there were, too.
///
/// # Errors
///
/// The driver's failure.
pub(crate) fn load(driver: &dyn Driver, newest: Version) -> Result<(Vec<Raised>, u64), Failure> {
    let prefix = format!("{FENCES}{SEPARATOR}");
    let page = PageLimit {
        count_max: PAGE_COUNT,
        bytes_max: 1 << 20,
    };
    let (mut fences, mut damaged, mut after) = (Vec::new(), 0, Bytes::new());
    loop {
        let records = driver.scan(prefix.as_bytes(), &after, page)?;
        let Some((last, _)) = records.last() else {
            break;
        };
        after = last.clone();
        for (key, bytes) in &records {
            let unnamed = || Failure::reopen("a stored fence has no name");
            let (_, name) = split_stored_key(key).ok_or_else(unnamed)?;
            let version = match read(key, bytes) {
                Ok(version) => version,
                Err(damage) => {
                    damaged += 1;
                    replace(driver, key, damage, newest)?;
                    newest
                }
            };
            fences.push((name.to_owned(), version));
        }
    }
    drop_outdated(driver, &mut fences)?;
    Ok((fences, damaged))
}

fn read(key: &[u8], bytes: &Bytes) -> Result<Version, Damage> {
    let (_, payload) = record::decode(key, bytes)?;
    let raw: [u8; 8] = payload.as_ref().try_into().map_err(|_| Damage::Truncated)?;
    Version::new(u64::from_le_bytes(raw)).ok_or(Damage::Truncated)
}

/// Files a fence at `version` over a damaged one: the next start would put it higher still. One of a
/// later layout is left for who can read it.
fn replace(
    driver: &dyn Driver,
    key: &Bytes,
    damage: Damage,
    version: Version,
) -> Result<(), Failure> {
    tracing::warn!(?damage, "a stored fence cannot be read, more is forgotten");
    if damage == Damage::Foreign {
        return Ok(());
    }
    let header = Header {
        version,
        created_ms: 0,
        expires_ms: NEVER,
        keep_ms: NEVER,
        idle_ms: 0,
        ends_ms: NEVER,
        schema: 0,
        type_tag: 0,
        codec: 0,
        priority: Priority::Normal.to_byte(),
        flags: 0,
        tags: Box::default(),
    };
    let put = Write::Put {
        key: key.clone(),
        record: record::encode(key, &header, &version.get().to_le_bytes()),
        version,
        keep_ms: NEVER,
    };
    driver.commit(&[put], StoreDurability::Synced)
}

/// Deletes tag fences below their cache's own: they say nothing more, and nobody else collects them.
fn drop_outdated(driver: &dyn Driver, fences: &mut Vec<Raised>) -> Result<(), Failure> {
    let whole: HashMap<String, Version> = fences
        .iter()
        .filter(|(name, _)| !name.contains(SEPARATOR))
        .cloned()
        .collect();
    let is_outdated = |(name, version): &Raised| {
        let cache = name
            .split_once(SEPARATOR)
            .and_then(|(cache, _)| whole.get(cache));
        cache.is_some_and(|cleared| cleared >= version)
    };
    let deletes: Vec<Write> = fences
        .iter()
        .filter(|fence| is_outdated(fence))
        .map(|(name, _)| Write::Delete {
            key: stored_key(FENCES, name).into(),
        })
        .collect();
    if !deletes.is_empty() {
        driver.commit(&deletes, StoreDurability::Written)?;
        fences.retain(|fence| !is_outdated(fence));
    }
    Ok(())
}

/// Leave for a fence is leave for every tier.
fn everywhere(permit: Option<OwnedSemaphorePermit>) -> Room {
    permit.map_or_else(Room::default, Room::from)
}

fn fence_name(scope: &Scope, covers: &Covers) -> String {
    match covers {
        Covers::All => scope.name.to_string(),
        Covers::Tag(tag) => format!("{}{SEPARATOR}{tag}", scope.name),
    }
}

fn fence_value(version: Version, now_ms: u64) -> Draft {
    let encoded = Arc::new(Encoded {
        codec: 0,
        type_tag: 0,
        flags: 0,
        is_secret: false,
        payload: Bytes::copy_from_slice(&version.get().to_le_bytes()),
    });
    Draft {
        body: Body::Encoded(Arc::clone(&encoded)),
        encoded: Some(encoded),
        weight: 8,
        created_ms: now_ms,
        expires_ms: NEVER,
        extra: None,
        schema: 0,
        priority: Priority::Normal,
    }
}
