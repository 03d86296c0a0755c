//! Tiers by number: which drivers a change concerns.
//!
//! Pure sets of bits, and what hosts call the tiers; what a tier is stands in `drivers/`.

use super::Shelf;
use crate::sync::Arc;

/// A set of tiers, one bit per driver.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct TierSet(pub u16);

/// One driver's number within a larder; at most 16, counted from 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TierId(pub u8);

impl TierSet {
    /// No tier.
    pub const NONE: Self = Self(0);

    /// Whether `tier` is in it.
    pub fn has(self, tier: TierId) -> bool {
        self.0 & bit(tier) != 0
    }

    /// This set and `tier`.
    #[must_use]
    pub fn with(self, tier: TierId) -> Self {
        Self(self.0 | bit(tier))
    }

    /// This set without `tier`.
    #[must_use]
    pub fn without(self, tier: TierId) -> Self {
        Self(self.0 & !bit(tier))
    }

    /// What is in either.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is in this one only.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether it is empty.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Its lowest tier.
    pub fn first(self) -> Option<TierId> {
        self.iter().next()
    }

    /// What is in both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Its tiers, lowest first.
    pub fn iter(self) -> impl Iterator<Item = TierId> {
        let mut left = self.0;
        std::iter::from_fn(move || {
            let lowest = TierId(left.trailing_zeros() as u8);
            // Without its lowest bit, until there is none.
            left &= left.checked_sub(1)?;
            Some(lowest)
        })
    }
}

impl Shelf {
    /// Says what hosts call the tiers, lowest number first: errors name them so.
    pub fn name_tiers(&self, names: Vec<Arc<str>>) {
        *self.tiers.write() = names;
    }

    pub(super) fn tier_name(&self, tier: TierId) -> Arc<str> {
        let names = self.tiers.read();
        let name = names.get(usize::from(tier.0)).cloned();
        name.unwrap_or_else(|| format!("tier {}", tier.0).into())
    }
}

fn bit(tier: TierId) -> u16 {
    1u16.checked_shl(u32::from(tier.0)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_what_was_added_and_not_taken_away() {
        let (a, b) = (TierId(0), TierId(15));
        let both = TierSet::NONE.with(a).with(b);
        assert_eq!(both.iter().collect::<Vec<_>>(), [a, b]);
        assert_eq!(both.without(a), TierSet::NONE.with(b));
        assert_eq!(
            both.minus(TierSet::NONE.with(b)).or(TierSet::NONE),
            TierSet(1)
        );
        assert!(TierSet::NONE.is_empty() && !both.is_empty());
    }

    #[test]
    fn a_number_past_the_last_tier_is_in_no_set() {
        assert!(!TierSet(u16::MAX).has(TierId(16)));
        assert!(TierSet::NONE.with(TierId(200)).is_empty());
    }
}
