//! Latencies, counted in buckets that grow by a quarter: enough for p50, p95 and p99.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;

/// Four buckets for each doubling of microseconds, up to about an hour.
const BUCKETS: usize = 128;

/// A concurrent histogram of durations.
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS],
}

/// What a histogram says, in microseconds. Each figure is the upper edge of its bucket: at most a
/// quarter too high.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Serialize)]
pub struct Latency {
    /// How many were measured.
    pub count: u64,
    /// Half took at most this.
    pub p50_us: u64,
    /// 95 of 100 took at most this.
    pub p95_us: u64,
    /// 99 of 100 took at most this.
    pub p99_us: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: [const { AtomicU64::new(0) }; BUCKETS],
        }
    }
}

impl Histogram {
    /// Counts one.
    pub fn record(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        if let Some(bucket) = self.buckets.get(bucket_of(us)) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What was measured so far.
    pub fn latency(&self) -> Latency {
        let counts: Vec<u64> = self
            .buckets
            .iter()
            .map(|b| b.load(Ordering::Relaxed))
            .collect();
        let count: u64 = counts.iter().sum();
        let at = |share: u64| {
            let rank = (count * share).div_ceil(100).max(1);
            let mut seen = 0;
            let found = counts.iter().position(|n| {
                seen += n;
                seen >= rank
            });
            found.map_or(0, edge_of)
        };
        Latency {
            count,
            p50_us: at(50),
            p95_us: at(95),
            p99_us: at(99),
        }
    }
}

fn bucket_of(us: u64) -> usize {
    if us < 4 {
        return us as usize;
    }
    let doubling = 63 - us.leading_zeros();
    let quarter = (us >> (doubling - 2)) & 3;
    ((doubling as usize - 1) * 4 + quarter as usize).min(BUCKETS - 1)
}

/// The largest value that falls into a bucket.
fn edge_of(bucket: usize) -> u64 {
    if bucket < 4 {
        return bucket as u64;
    }
    let (doubling, quarter) = (bucket / 4 + 1, bucket % 4);
    ((4 + quarter as u64 + 1) << (doubling - 2)) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_falls_into_a_bucket_whose_edge_is_at_most_a_quarter_above_it() {
        let mut last = 0;
        for us in (0..5_000).chain([1 << 20, (1 << 20) + 77, 3_600_000_000]) {
            let bucket = bucket_of(us);
            assert!(bucket >= last);
            last = bucket;
            let edge = edge_of(bucket);
            assert!(edge >= us && edge - us <= us / 4 + 1, "{us} -> {edge}");
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn percentiles_are_the_ranks_of_what_was_recorded() {
        let histogram = Histogram::default();
        assert_eq!(histogram.latency(), Latency::default());
        for us in 1..=100 {
            histogram.record(Duration::from_micros(us));
        }
        let seen = histogram.latency();
        assert_eq!(seen.count, 100);
        assert!((50..=63).contains(&seen.p50_us), "{seen:?}");
        assert!((95..=111).contains(&seen.p95_us), "{seen:?}");
        assert!((99..=111).contains(&seen.p99_us), "{seen:?}");
    }
}
