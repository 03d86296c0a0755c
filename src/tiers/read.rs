//! The read path: memory, then each tier in turn, under a mark.
use std::time::Duration;

use bytes::Bytes;

use super::flight::{Flight, slot_of};
use super::{Place, Tiers};
use crate::clock::Millis;
use crate::entry::Source;
use crate::error::Error;
use crate::key::stored_key;
use crate::outcome::{Degraded, DegradedReason};
use crate::port::Port;
use crate::record::{self, Damage, Header};
use crate::shelf::{Brought, Freshness, Look, MarkId, Seen, Slot, TierId, TierSet};
use crate::sync::Arc;
use crate::wait::Wait;

/// How a read is made.
#[derive(Clone, Copy, Default)]
pub(crate) struct ReadOptions {
    /// Show values past their TTL while they are kept as a fallback.
    pub stale_ok: bool,
    /// Tiers not to ask.
    pub skip: TierSet,
    /// Do not keep in memory what a tier has.
    pub no_promote: bool,
    /// Count it as a read of memory: a host asked for it, and nobody has counted it yet.
    pub counts: bool,
    /// How long it may take.
    pub wait: Option<Duration>,
}

/// What a read found.
#[derive(Default)]
pub(crate) struct Found {
    pub slot: Option<(Slot, Freshness, Source)>,
    pub expired_ms: Option<Millis>,
    pub degraded: Vec<Degraded>,
    /// A tier had a record of the key. Those below it hold the same or an older one, which must not
    /// come back when this one has expired.
    decided: bool,
}

impl Found {
    /// For a miss: a tier that could not say whether it is one. A distrusted copy is no answer to wait
    /// for: what it was is forgotten.
    pub(crate) fn unsure(&self) -> Option<&str> {
        let known = [
            DegradedReason::Damaged,
            DegradedReason::Refused,
            DegradedReason::Distrusted,
        ];
        let mut unsure = self.degraded.iter().filter(|d| !known.contains(&d.reason));
        unsure
            .next()
            .map(|d| &*d.driver)
            .filter(|_| self.slot.is_none() && !self.decided)
    }
}

impl Tiers {
    /// Reads a key of which memory knows nothing, or not enough.
    pub(crate) async fn read(
        &self,
        place: &Place,
        name: &str,
        options: ReadOptions,
    ) -> Result<Found, Error> {
        self.check_open()?;
        let (flight, distrusted) = match self.begin(place, name, options) {
            Ok(found) => return Ok(found),
            Err(below) => below,
        };
        let wait = self.wait(options.wait).standing(place.standing);
        let found = self
            .look_below(place, name, options, distrusted, &wait)
            .await?;
        Ok(flight.land(found, options))
    }

    /// Reads many keys, in order. Each tier is asked once for all that are still missing.
    pub(crate) async fn read_many(
        &self,
        place: &Place,
        names: &[&str],
        options: ReadOptions,
    ) -> Result<Vec<Found>, Error> {
        self.check_open()?;
        let options = ReadOptions {
            counts: true,
            ..options
        };
        let wait = self.wait(options.wait).standing(place.standing);
        let mut all: Vec<_> = names
            .iter()
            .map(|name| match self.begin(place, name, options) {
                Ok(found) => (found, None),
                Err((flight, distrusted)) => {
                    let key = Bytes::from(stored_key(&place.scope.name, name));
                    (Found::default(), Some((flight, distrusted, key)))
                }
            })
            .collect();
        for (tier, port) in self.below(place, options) {
            let missing = all.iter_mut().filter_map(|(found, down)| {
                let (_, distrusted, key) = down.as_ref().filter(|_| !found.decided)?;
                if distrusted.has(tier) {
                    let reason = DegradedReason::Distrusted;
                    found.degraded.push(Degraded::new(&port.name, reason));
                    return None;
                }
                Some((found, key))
            });
            let missing: Vec<_> = missing.collect();
            let keys = missing.iter().map(|(_, key)| (*key).clone()).collect();
            let records = self.ask_many(port, keys, &wait).await?;
            for ((found, key), record) in missing.into_iter().zip(records) {
                match record.map(|record| record.map(|bytes| record::decode(key, &bytes))) {
                    Ok(Some(Ok((header, payload)))) => {
                        self.consider(place, slot_of(header, payload), port, options, found);
                    }
                    Ok(Some(Err(damage))) => {
                        let reason = unreadable(port, key, damage);
                        found.degraded.push(Degraded::new(&port.name, reason));
                    }
                    Ok(None) => {}
                    Err(reason) => found.degraded.push(Degraded::new(&port.name, reason)),
                }
            }
        }
        let landed = all.into_iter().map(|(found, down)| match down {
            Some((flight, ..)) => flight.land(found, options),
            None => found,
        });
        Ok(landed.collect())
    }

    /// What memory knows, or a flight to look below.
    fn begin<'a>(
        &'a self,
        place: &'a Place,
        name: &'a str,
        options: ReadOptions,
    ) -> Result<Found, (Flight<'a>, TierSet)> {
        let hash = self.shelf.hash(place.scope.id, name);
        let show = |slot: Look<'_>, freshness| (slot.to_slot(), freshness, Source::Memory);
        let (scope, stale_ok) = (&place.scope, options.stale_ok);
        let now = || self.now_ms();
        let hit = |slot| Found {
            slot: Some(slot),
            ..Found::default()
        };
        if options.counts
            && let Seen::Hit(slot) = self.shelf.read(scope, hash, name, now, stale_ok, show)
        {
            return Ok(hit(slot));
        }
        let seen = self
            .shelf
            .read_or_mark(scope, hash, name, now, stale_ok, show);
        match seen {
            Seen::Hit(slot) => Ok(hit(slot)),
            Seen::Gone(expired_ms) => Ok(Found {
                expired_ms,
                ..Found::default()
            }),
            Seen::Unknown => Ok(Found::default()),
            Seen::Below(mark, distrusted) => Err((
                Flight {
                    tiers: self,
                    place,
                    hash,
                    name,
                    mark: Some(mark),
                },
                distrusted,
            )),
        }
    }

    /// The tiers that a read asks, first to last.
    fn below(
        &self,
        place: &Place,
        options: ReadOptions,
    ) -> impl Iterator<Item = (TierId, &Arc<Port>)> {
        let tiers = place.tiers.minus(options.skip);
        tiers
            .iter()
            .filter_map(|tier| Some((tier, self.port(tier)?)))
    }

    /// One tier's records of many keys; a reason for each if it could not say.
    async fn ask_many(
        &self,
        port: &Arc<Port>,
        keys: Vec<Bytes>,
        wait: &Wait<'_>,
    ) -> Result<Vec<Result<Option<Bytes>, DegradedReason>>, Error> {
        let count = keys.len();
        if count == 0 {
            return Ok(Vec::new());
        }
        let all = |reason| Ok(vec![Err(reason); count]);
        if !port.is_up() {
            port.passed_over(count);
            return all(DegradedReason::Down);
        }
        match port.get_many(keys, wait).await {
            Ok(records) => Ok(records.into_iter().map(Ok).collect()),
            Err(error @ (Error::Overloaded { .. } | Error::Closed)) => Err(error),
            Err(Error::DeadlineExceeded { .. }) => all(DegradedReason::Late),
            Err(_) => all(DegradedReason::Failed),
        }
    }

    /// Takes a tier's slot as the answer, if it may be shown.
    fn consider(
        &self,
        place: &Place,
        slot: Slot,
        port: &Port,
        options: ReadOptions,
        found: &mut Found,
    ) {
        found.decided = true;
        if !place.scope.accepts(slot.version, slot.tags()) {
            return;
        }
        let now_ms = self.now_ms();
        if slot.is_fresh(|| now_ms) {
            found.slot = Some((slot, Freshness::Fresh, port.source));
        } else if options.stale_ok && now_ms < slot.keep_ms() {
            found.slot = Some((slot, Freshness::Stale, port.source));
        } else {
            found.expired_ms = Some(slot.expires_ms);
        }
    }

    /// Asks the tiers, first to last, for a value that may be shown.
    async fn look_below(
        &self,
        place: &Place,
        name: &str,
        options: ReadOptions,
        distrusted: TierSet,
        wait: &Wait<'_>,
    ) -> Result<Found, Error> {
        let mut found = Found::default();
        let key = Bytes::from(stored_key(&place.scope.name, name));
        for (tier, port) in self.below(place, options) {
            if distrusted.has(tier) {
                found
                    .degraded
                    .push(Degraded::new(&port.name, DegradedReason::Distrusted));
                continue;
            }
            let Some((header, payload)) = self.ask(port, &key, wait, &mut found.degraded).await?
            else {
                continue;
            };
            self.consider(place, slot_of(header, payload), port, options, &mut found);
            if found.decided {
                break;
            }
        }
        Ok(found)
    }

    /// One tier's record of a key. A driver that is down, fails or is late makes no error of a read,
    /// only a note; too many reads at once do.
    pub(super) async fn ask(
        &self,
        port: &Arc<Port>,
        key: &Bytes,
        wait: &Wait<'_>,
        degraded: &mut Vec<Degraded>,
    ) -> Result<Option<(Header, Bytes)>, Error> {
        let mut note = |reason| degraded.push(Degraded::new(&port.name, reason));
        if !port.is_up() {
            port.passed_over(1);
            note(DegradedReason::Down);
            return Ok(None);
        }
        let record = match port.get(key.clone(), wait).await {
            Ok(Some(record)) => record,
            Ok(None) => return Ok(None),
            Err(error @ (Error::Overloaded { .. } | Error::Closed)) => return Err(error),
            Err(Error::DeadlineExceeded { .. }) => {
                note(DegradedReason::Late);
                return Ok(None);
            }
            Err(_) => {
                note(DegradedReason::Failed);
                return Ok(None);
            }
        };
        match record::decode(key, &record) {
            Ok(parts) => Ok(Some(parts)),
            Err(damage) => {
                note(unreadable(port, key, damage));
                Ok(None)
            }
        }
    }

    /// For a condition on a key that memory does not know: what the tiers say. Unlike a read it
    /// needs the truth, so a tier that cannot answer is an error.
    ///
    /// The flight is to be held until the decision is made: dropping it ends the mark.
    pub(crate) async fn bring<'a>(
        &'a self,
        place: &'a Place,
        name: &'a str,
        mark: MarkId,
        distrusted: TierSet,
        wait: &Wait<'_>,
    ) -> Result<(Brought, Flight<'a>), Error> {
        let hash = self.shelf.hash(place.scope.id, name);
        let flight = Flight {
            tiers: self,
            place,
            hash,
            name,
            mark: Some(mark),
        };
        let found = self
            .look_below(place, name, ReadOptions::default(), distrusted, wait)
            .await?;
        if let Some(driver) = found.unsure() {
            return Err(self.unavailable(driver));
        }
        let brought = Brought {
            mark,
            found: found.slot.map(|(slot, ..)| slot),
        };
        Ok((brought, flight))
    }
}

/// What is said of a record that cannot be read. One that is damaged is deleted; one that somebody has
/// tampered with is counted by the driver, and stays as it is.
pub(super) fn unreadable(port: &Port, key: &Bytes, damage: Damage) -> DegradedReason {
    if damage == Damage::Sealed {
        return DegradedReason::Refused;
    }
    port.repair(key.clone());
    DegradedReason::Damaged
}
