//! A service under steady load while its disk fails in every way it can: it panics, hangs, returns
//! errors, runs out of space and comes back damaged, one after the other.
//!
//! ```sh
//! cargo run --release --example survive
//! ```
//!
//! Every answer is compared with a ledger of what was acknowledged. The program fails if a read or a
//! `Queued` write returned an error, if an answer was wrong or older than what had been acknowledged
//! before it was asked, or if the disk is not back in service at the end.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "an example may end with a panic, and prints"
)]

mod disasters;
mod ledger;
mod load;
mod timeline;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use larder::drivers::Factory;
use larder::drivers::disk::{DiskConfig, DiskDriver};
use larder::drivers::faults::Faults;
use larder::{Cache, CommitConfig, Durability, Error, Larder, Limits};

use disasters::{Disaster, Vandal};
use ledger::Ledger;
use timeline::Timeline;

/// Keys. With values of 1 KiB they are four times what memory may hold.
const KEYS: usize = 16_384;
/// Memory.
const MEMORY_BYTES: usize = 4 << 20;
/// Acknowledged and not yet stored.
const DIRTY_BYTES: usize = 2 << 20;
/// How long a call of the disk may take before it counts as hung.
const HUNG_MS: u64 = 500;
/// The quiet time before, between and after disasters, and how long a disaster lasts.
const SCENE: Duration = Duration::from_millis(1_500);
/// How long the disk may take until it is in service again.
const BACK: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> Result<ExitCode, Error> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let faults = Faults::new();
    let vandal = Vandal::new(directory.path());
    let larder = start(&directory, &faults, &vandal).await?;
    let cache: Cache<Vec<u8>> = larder.cache("pages")?;
    let ledger = Arc::new(Ledger::new(KEYS));
    println!(
        "{KEYS} keys of 1 KiB, {} MiB of memory; 16 tasks, 30 % writes (Queued); every answer is checked\n",
        MEMORY_BYTES >> 20
    );

    let load = load::start(&cache, &ledger);
    let mut timeline = Timeline::new(&larder, &ledger);
    timeline.scene("fill", SCENE).await;
    let mut back = true;
    for disaster in Disaster::ALL {
        disaster.begin(&faults, &vandal);
        timeline.scene(disaster.name(), SCENE).await;
        disaster.end(&faults);
        back &= timeline.until_back(BACK).await;
        timeline.scene("service", SCENE).await;
    }
    load.stop().await;

    larder.flush(Durability::Written).await?;
    let after = ledger.check_all(&cache).await;
    timeline.summary(after);
    let survived = back && ledger.is_clean();
    larder.shutdown(Duration::from_secs(10)).await?;
    println!("{}", if survived { "survived" } else { "NOT SURVIVED" });
    Ok(if survived {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// A larder over a real disk that fails as `faults` say, and whose files `vandal` may damage.
async fn start(
    directory: &tempfile::TempDir,
    faults: &Faults,
    vandal: &Vandal,
) -> Result<Larder, Error> {
    let (path, vandal) = (directory.path().to_owned(), vandal.clone());
    let disk: Factory = Arc::new(move || {
        vandal.strike();
        Ok(Box::new(DiskDriver::open(&path, &DiskConfig::default())?))
    });
    let mut limits = Limits::default();
    limits.value_bytes_max = 16 << 10;
    limits.dirty_bytes_max = DIRTY_BYTES;
    let mut commits = CommitConfig::default();
    commits.breaker.hung_ms = HUNG_MS;
    Larder::builder()
        .memory_bytes(MEMORY_BYTES)
        .limits(limits)
        .restart_backoff(Duration::from_millis(50), Duration::from_millis(500))
        .driver_factory("disk", commits, faults.over(disk))
        .start()
        .await
}
