//! A change's part of the dirty budgets: one budget per tier, so that one that is down and full keeps
//! nothing from the others.

use tokio::sync::OwnedSemaphorePermit;

use super::tier::{TierId, TierSet};

/// For which tiers a change has room. Each tier's part is given back when that tier has confirmed it.
#[derive(Debug, Default)]
pub struct Room {
    tiers: TierSet,
    permits: Vec<(TierSet, OwnedSemaphorePermit)>,
}

impl Room {
    /// Room in one tier more.
    pub fn add(&mut self, tier: TierId, permit: OwnedSemaphorePermit) {
        self.tiers = self.tiers.with(tier);
        self.permits.push((TierSet::NONE.with(tier), permit));
    }

    /// The tiers that there is room for.
    pub fn tiers(&self) -> TierSet {
        self.tiers
    }

    /// This room and that of `other`.
    pub(super) fn join(&mut self, other: Self) {
        self.tiers = self.tiers.or(other.tiers);
        self.permits.extend(other.permits);
    }

    /// What is not needed once only these tiers are left, to be dropped where no lock is held.
    pub(super) fn shrink(&mut self, left: TierSet) -> Vec<OwnedSemaphorePermit> {
        self.tiers = self.tiers.and(left);
        let goes = |of: &mut (TierSet, _)| of.0.and(left).is_empty();
        let gone = self.permits.extract_if(.., goes);
        gone.map(|(_, permit)| permit).collect()
    }
}

/// Room in every tier, given back when the last one has confirmed the change.
impl From<OwnedSemaphorePermit> for Room {
    fn from(permit: OwnedSemaphorePermit) -> Self {
        let all = TierSet(u16::MAX);
        Self {
            tiers: all,
            permits: vec![(all, permit)],
        }
    }
}
