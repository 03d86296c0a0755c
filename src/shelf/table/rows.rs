//! The rows of a table by their numbers.

use super::super::policy::{Place, Queue, Resident, Residents};
use super::super::row::{Cold, Hot, Row};
use super::super::slot::{Body, Priority, Slot};
use super::{Hasher, hash_of, weigh};
use crate::key::CacheId;

/// The rows, each in two parts.
pub struct Rows {
    pub hots: Vec<Hot>,
    pub colds: Vec<Cold>,
    pub hasher: Hasher,
}

impl Rows {
    #[inline]
    pub fn is(&self, at: u32, cache: CacheId, name: &str) -> bool {
        self.hots
            .get(at as usize)
            .is_some_and(|hot| hot.is(cache, name))
    }

    #[inline]
    pub fn row(&self, at: u32) -> Option<Row<'_>> {
        let hot = self.hots.get(at as usize)?;
        let cold = self.colds.get(at as usize)?;
        Some(Row { hot, cold })
    }

    pub fn pair(&mut self, at: u32) -> Option<(&mut Hot, &mut Cold)> {
        let hot = self.hots.get_mut(at as usize)?;
        let cold = self.colds.get_mut(at as usize)?;
        Some((hot, cold))
    }

    /// A row, unless its entry is pinned.
    pub fn unpinned(&mut self, at: u32) -> Option<(&mut Hot, &mut Cold)> {
        let pair = self.pair(at);
        pair.filter(|(hot, _)| hot.queue() != Queue::None)
    }

    /// Puts an entry into a free row or behind the last. Returns what kept its place.
    pub fn stand(
        &mut self,
        at: u32,
        key: (CacheId, &str),
        slot: Slot,
        queue: Queue,
    ) -> Option<Body> {
        if let Some((hot, cold)) = self.pair(at) {
            return Some(hot.fill(cold, key, slot, queue));
        }
        let (hot, cold) = Hot::new(key.0, key.1, slot, queue);
        self.hots.push(hot);
        self.colds.push(cold);
        None
    }

    pub fn hash(&self, at: u32) -> u64 {
        let hot = self.hots.get(at as usize);
        hot.map_or(0, |hot| hash_of(&self.hasher, hot.cache(), hot.name()))
    }
}

impl Residents for Rows {
    fn look(&self, place: Place) -> Option<Resident> {
        let row = self.row(place.at)?;
        let stands = row.cold.seq == place.seq && !row.hot.is_free();
        stands.then(|| Resident {
            weight: weigh(row.hot.name(), row.bytes()),
            freq: row.hot.freq(),
            queue: row.hot.queue(),
            is_low: row.hot.priority() == Priority::Low,
        })
    }

    fn hash(&self, place: Place) -> u64 {
        self.hash(place.at)
    }

    fn set(&mut self, place: Place, freq: u8, queue: Queue) {
        if let Some(hot) = self.hots.get_mut(place.at as usize) {
            hot.set_freq(freq);
            hot.stand(queue);
        }
    }
}
