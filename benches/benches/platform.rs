//! A mobile platform's key-value store, written to in three ways: one call after the other, all at once,
//! and through a larder in front of it that is told the pace. In real time, a dozen seconds in all.
//!
//! The store is the fault kit's `Platform`: 20 ms a call, 64 calls in flight and no more, and of what is
//! written faster than it takes some is acknowledged and lost. Prints how long each way takes until
//! everything is acknowledged and until all that ever will be is stored, and what became of the rest.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use bytes::Bytes;
use larder::clock::{Clock, NEVER};
use larder::drivers::faults::Platform;
use larder::drivers::{Driver, StoreDurability, Write};
use larder::{Cache, CommitConfig, Durability, Larder, Version};

/// Values that are set, each under a key of its own.
const VALUES: usize = 200;
const VALUE_BYTES: usize = 1_000;

struct Outcome {
    acknowledged: Duration,
    stored: Duration,
    refused: usize,
}

fn put(n: usize) -> Write {
    Write::Put {
        key: format!("values/{n}").into(),
        record: Bytes::from(vec![7; VALUE_BYTES]),
        version: Version::at(1),
        keep_ms: NEVER,
    }
}

/// Whether one call of a bare client was refused.
fn is_refused(platform: &Platform, n: usize) -> bool {
    let call = platform.open().commit(&[put(n)], StoreDurability::Written);
    call.is_err()
}

fn one_by_one(platform: &Platform) -> Outcome {
    let began = Instant::now();
    let refused = (0..VALUES).filter(|n| is_refused(platform, *n)).count();
    Outcome {
        acknowledged: began.elapsed(),
        stored: began.elapsed(),
        refused,
    }
}

fn all_at_once(platform: &Platform) -> Outcome {
    let began = Instant::now();
    let refused = std::thread::scope(|scope| {
        let calls: Vec<_> = (0..VALUES)
            .map(|n| scope.spawn(move || is_refused(platform, n)))
            .collect();
        let refused = calls.into_iter().map(|call| call.join().unwrap_or(true));
        refused.filter(|refused| *refused).count()
    });
    Outcome {
        acknowledged: began.elapsed(),
        stored: began.elapsed(),
        refused,
    }
}

async fn through_larder(platform: &Platform) -> Result<Outcome, larder::Error> {
    let mut commits = CommitConfig::default();
    commits.writes_per_second_max = NonZeroU32::new(40);
    let larder = Larder::builder()
        .driver_factory("platform", commits, platform.factory())
        .start()
        .await?;
    let cache: Cache<Vec<u8>> = larder.cache("values")?;
    let began = Instant::now();
    let items = (0..VALUES).map(|n| (n.to_string(), vec![7; VALUE_BYTES]));
    let report = cache.set_many(items).await?;
    let acknowledged = began.elapsed();
    // A call waits for five seconds where nothing is said, and this may be longer.
    while larder.flush(Durability::Written).await.is_err() {}
    let stored = began.elapsed();
    larder.shutdown(Duration::from_secs(30)).await?;
    Ok(Outcome {
        acknowledged,
        stored,
        refused: report.refused,
    })
}

fn print(name: &str, platform: &Platform, outcome: &Outcome) {
    let entries = platform.store().open().usage().entries.unwrap_or(0);
    let stored = usize::try_from(entries).unwrap_or(VALUES);
    let lost = VALUES.saturating_sub(stored + outcome.refused);
    println!(
        "{name:28} {:>9.2} s {:>9.2} s {stored:>8} {:>8} {lost:>6}   {}",
        outcome.acknowledged.as_secs_f64(),
        outcome.stored.as_secs_f64(),
        outcome.refused,
        if platform.counts().tripped() {
            "tripped"
        } else {
            ""
        },
    );
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("{VALUES} values of {VALUE_BYTES} bytes to a platform's store\n");
    println!("                             acknowledged      stored   stored  refused   lost");
    let platform = Platform::new(Clock::system());
    let outcome = one_by_one(&platform);
    print("one call after the other", &platform, &outcome);
    let platform = Platform::new(Clock::system());
    let outcome = all_at_once(&platform);
    print("all at once", &platform, &outcome);
    let platform = Platform::new(Clock::system());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(through_larder(&platform))?;
    print("larder, 40 writes a second", &platform, &outcome);
    Ok(())
}
