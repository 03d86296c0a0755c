//! What the contenders are asked to do: keys, values and the order of calls, all made before a clock runs.

use serde::{Deserialize, Serialize};

/// A step of a mix with this bit is a set; the rest of it is the key's number.
pub const SET: u32 = 1 << 31;

/// What is cached: 64 bytes, shared by reference count. Every field has its top bit set, so that all
/// values are equally long however they are encoded.
#[derive(Clone, Serialize, Deserialize)]
pub struct User {
    pub id: u64,
    pub created: u64,
    pub seen: u64,
    pub visits: u64,
    pub plan: u64,
    pub region: u64,
    pub flags: u64,
    pub check: u64,
}

impl User {
    pub fn new(n: u32) -> Self {
        let at = |field: u64| (1 << 63) | (field << 32) | u64::from(n);
        Self {
            id: at(1),
            created: at(2),
            seen: at(3),
            visits: at(4),
            plan: at(5),
            region: at(6),
            flags: at(7),
            check: at(8),
        }
    }
}

/// Keys of twelve bytes, one after the other, so that finding them costs every contender little.
pub struct Keys {
    text: String,
}

impl Keys {
    const BYTES: usize = 12;

    /// `user:0000000` and so on; `first` is the number of the first.
    pub fn new(first: u32, count: u32) -> Self {
        let text: String = (first..first + count)
            .map(|n| format!("user:{n:07}"))
            .collect();
        assert_eq!(
            text.len(),
            count as usize * Self::BYTES,
            "twelve bytes each"
        );
        Self { text }
    }

    /// How many there are.
    pub fn count(&self) -> u32 {
        (self.text.len() / Self::BYTES) as u32
    }

    #[inline]
    pub fn at(&self, n: u32) -> &str {
        let from = n as usize * Self::BYTES;
        &self.text[from..from + Self::BYTES]
    }
}

/// SplitMix64: the same numbers in every run, from a seed.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// At least 0 and below 1.
    pub fn unit(&mut self) -> f64 {
        (self.draw() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Every number below `count` once, in an order without a pattern.
pub fn shuffled(count: u32, seed: u64) -> Vec<u32> {
    let mut random = Random::new(seed);
    let mut all: Vec<u32> = (0..count).collect();
    for at in (1..all.len()).rev() {
        all.swap(at, (random.draw() % (at as u64 + 1)) as usize);
    }
    all
}

/// Zipf's distribution over `count` keys; key 0 is the hottest.
pub struct Zipf {
    up_to: Vec<f64>,
}

impl Zipf {
    pub const EXPONENT: f64 = 0.99;

    pub fn new(count: u32) -> Self {
        let mut sum = 0.0;
        let up_to = (1..=count).map(|rank| {
            sum += f64::from(rank).powf(-Self::EXPONENT);
            sum
        });
        Self {
            up_to: up_to.collect(),
        }
    }

    /// So many steps, of which `set_percent` in a hundred are sets.
    pub fn steps(&self, count: usize, set_percent: u64, seed: u64) -> Vec<u32> {
        let mut random = Random::new(seed);
        let whole = self.up_to.last().copied().unwrap_or(0.0);
        let last = self.up_to.len() - 1;
        let step = |_| {
            let at = random.unit() * whole;
            let key = self.up_to.partition_point(|sum| *sum <= at).min(last) as u32;
            let is_set = random.draw() % 100 < set_percent;
            if is_set { key | SET } else { key }
        };
        (0..count).map(step).collect()
    }
}

/// Steps for every thread of every round, each of a seed of its own.
pub struct Script {
    steps: Vec<Vec<Vec<u32>>>,
}

impl Script {
    pub fn new(zipf: &Zipf, rounds: usize, threads: usize, ops: usize, set_percent: u64) -> Self {
        let of = |round: usize, thread: usize| {
            let seed = 1_000 + (round * threads + thread) as u64;
            zipf.steps(ops, set_percent, seed)
        };
        // The round that is dropped has its own, too.
        let steps = (0..=rounds).map(|round| (0..threads).map(|t| of(round, t)).collect());
        Self {
            steps: steps.collect(),
        }
    }

    pub fn at(&self, round: usize, thread: usize) -> &[u32] {
        &self.steps[round][thread]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_has_sixty_four_bytes() {
        assert_eq!(size_of::<User>(), 64);
    }

    #[test]
    fn keys_have_twelve_bytes_and_their_numbers() {
        let keys = Keys::new(5, 3);
        assert_eq!(keys.at(2), "user:0000007");
        assert_eq!(keys.at(0).len(), 12);
    }

    #[test]
    fn a_shuffle_has_everything_once_and_not_in_order() {
        let mut all = shuffled(1_000, 1);
        assert!(all.windows(2).any(|pair| pair[0] > pair[1]));
        all.sort_unstable();
        assert!(all.into_iter().eq(0..1_000));
    }

    #[test]
    fn the_hottest_key_has_its_share_and_sets_have_theirs() {
        let zipf = Zipf::new(1_000);
        let steps = zipf.steps(100_000, 25, 1);
        let first = steps.iter().filter(|step| **step & !SET == 0).count() as f64 / 100_000.0;
        let share = 1.0 / zipf.up_to.last().unwrap();
        assert!((first - share).abs() < 0.01, "{first} of {share}");
        let sets = steps.iter().filter(|step| **step & SET != 0).count();
        assert!((24_000..26_000).contains(&sets), "{sets}");
    }
}
