//! What the shelf counts: one short look at each stripe.

use super::Shelf;
use super::tier::TierId;
use crate::sync::Ordering;

/// What the shelf counts.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, serde::Serialize)]
pub struct ShelfStats {
    /// Resident entries.
    pub entries: usize,
    /// Their bytes, with overhead.
    pub bytes: usize,
    /// Bytes of pinned entries among them.
    pub pinned_bytes: usize,
    /// The budget in bytes.
    pub bytes_max: usize,
    /// Reads answered from memory.
    pub hits: u64,
    /// Reads that memory could not answer with a value.
    pub misses: u64,
    /// Entries evicted.
    pub evicted: u64,
    /// Values refused because one alone is heavier than a stripe of the budget.
    pub refused_too_heavy: u64,
    /// Pins not honoured because pinned entries fill their share.
    pub pins_refused: u64,
    /// Acknowledged and not yet stored.
    pub dirty_slots: usize,
    /// Flights that are looking below.
    pub marks: usize,
    /// Keys whose stored copies are not believed.
    pub distrusted: usize,
}

/// What is not yet as it should be in a tier.
pub struct Owed {
    /// Changes that are not stored in it yet.
    pub dirty_slots: usize,
    /// Whether any of its copies is not believed.
    pub distrusted: bool,
}

impl Shelf {
    /// How many changes are not stored in a tier yet.
    pub fn dirty_slots(&self, tier: TierId) -> usize {
        let cells = self.stripes.iter();
        cells.map(|c| c.stripe.read().dirty.count(tier)).sum()
    }

    /// What is not yet as it should be in a tier.
    pub fn owed(&self, tier: TierId) -> Owed {
        Owed {
            dirty_slots: self.dirty_slots(tier),
            distrusted: self.is_distrusted(tier),
        }
    }

    /// What the shelf counts, summed over its stripes.
    pub fn stats(&self) -> ShelfStats {
        let (hits, misses) = self.reads.sum();
        let mut sum = ShelfStats {
            hits,
            misses,
            bytes_max: self.budget.load(Ordering::Relaxed),
            ..ShelfStats::default()
        };
        for cell in &self.stripes {
            let stripe = cell.stripe.read();
            sum.entries += stripe.table.len();
            sum.bytes += stripe.table.bytes();
            sum.pinned_bytes += stripe.table.pinned_bytes();
            sum.dirty_slots += stripe.dirty.len();
            sum.marks += stripe.marks.len() + stripe.claims.len();
            sum.distrusted += stripe.distrusts.len();
            drop(stripe);
            sum.evicted += cell.evicted.load(Ordering::Relaxed);
            sum.refused_too_heavy += cell.refused.load(Ordering::Relaxed);
            sum.pins_refused += cell.pins_refused.load(Ordering::Relaxed);
        }
        sum
    }
}
