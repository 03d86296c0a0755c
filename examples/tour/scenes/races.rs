//! Scene: an old value runs out just when a fresh one is set. Whose is the key?

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use larder::Cache;
use tokio::task::JoinSet;

use crate::Failed;
use crate::keeper::{ByHandle, ByMessage, Keeper, Naive};
use crate::screen::{Progress, Screen, grouped, seconds};
use crate::shop::{self, TASKS};

/// Races of one round, all at about the same time.
const RACES_OF_ROUND: usize = 4_000;
const ROUNDS: usize = 25;
const RACES: usize = RACES_OF_ROUND * ROUNDS;
/// How long an old value lasts.
const TTL: Duration = Duration::from_millis(40);
/// Fresh values are set so long before to so long after the old one's time.
const SPREAD: Duration = Duration::from_millis(20);
const CACHE: &str = "races";

/// What a contender came to.
#[derive(Default)]
struct Raced {
    /// Fresh values that were set after the old one's time.
    after: u64,
    /// Fresh values that were not there in the end.
    lost: u64,
    took: Duration,
}

/// Plays it.
pub async fn run(screen: &mut Screen) -> Result<(), Failed> {
    let count = grouped(RACES as u64);
    screen.scene(&format!(
        "Races: {count} late expiries against a fresh value"
    ));
    let naive = race(Naive::start(), "naive map").await?;
    let store = tempfile::tempdir()?;
    let larder = shop::open(store.path()).await?;
    let cache: Cache<u64> = larder.cache(CACHE)?;
    let handle = race(ByHandle(larder.clone(), cache), "larder").await?;
    let message = race(ByMessage::new(&larder, CACHE)?, "larder by message").await?;
    let expired = larder.stats().await?.expiry.expired;
    larder.shutdown(Duration::from_secs(10)).await?;
    let rows = [
        naive.row("map and sweeper"),
        handle.row("larder, by handle"),
        message.row("larder, by message"),
    ];
    let columns = [
        "",
        "races",
        "fresh set before",
        "and after",
        "fresh lost",
        "time",
    ];
    screen.table(&columns, &rows);
    println!(
        "   larder reclaimed {} old values meanwhile\n",
        grouped(expired)
    );
    screen.claim(
        naive.lost > 0,
        "the map with a sweeper that deletes by key lost fresh values",
    );
    screen.claim(handle.lost == 0, "larder lost none");
    screen.claim(message.lost == 0, "nor did larder by message");
    Ok(())
}

impl Raced {
    fn row(&self, label: &str) -> Vec<String> {
        let races = RACES as u64;
        let counts = [races, races - self.after, self.after, self.lost];
        let mut row = vec![label.to_owned()];
        row.extend(counts.map(grouped));
        row.push(seconds(self.took));
        row
    }
}

async fn race<K: Keeper<u64>>(keeper: K, label: &str) -> Result<Raced, Failed> {
    let keeper = Arc::new(keeper);
    let progress = Arc::new(Progress::new(label, RACES));
    let began = Instant::now();
    let mut raced = Raced::default();
    for round in 0..ROUNDS as u64 {
        let after = Arc::new(AtomicU64::new(0));
        let (mut tasks, mut checks) = (JoinSet::new(), JoinSet::new());
        for task in 0..TASKS {
            let (keeper, after) = (Arc::clone(&keeper), Arc::clone(&after));
            let progress = Arc::clone(&progress);
            tasks.spawn(async move { run_task(&*keeper, &progress, task, round, &after).await });
        }
        while let Some(task) = tasks.join_next().await {
            task??;
        }
        keeper.settled().await?;
        for task in 0..TASKS {
            let keeper = Arc::clone(&keeper);
            checks.spawn(async move { lost(&*keeper, task, round).await });
        }
        while let Some(lost) = checks.join_next().await {
            raced.lost += lost??;
        }
        raced.after += after.load(Ordering::Relaxed);
    }
    raced.took = began.elapsed();
    Ok(raced)
}

/// One task's share of a round: old values that will run out, then a fresh one over each.
async fn run_task<K: Keeper<u64>>(
    keeper: &K,
    progress: &Progress,
    task: usize,
    round: u64,
    after: &AtomicU64,
) -> Result<(), larder::Error> {
    let mut ends = Vec::new();
    for number in (task..RACES_OF_ROUND).step_by(TASKS) {
        keeper
            .set(&key(number), fresh(round) - 1, Some(TTL))
            .await?;
        ends.push((number, Instant::now() + TTL));
    }
    let width = SPREAD * 2;
    let count = u32::try_from(ends.len()).unwrap_or(u32::MAX);
    for (nth, (number, end)) in (0..).zip(ends) {
        let at = end - SPREAD + width * nth / count;
        tokio::time::sleep_until(at.into()).await;
        let is_after = Instant::now() >= end;
        keeper.set(&key(number), fresh(round), None).await?;
        after.fetch_add(u64::from(is_after), Ordering::Relaxed);
        progress.step();
    }
    Ok(())
}

/// How many of one task's fresh values are not there.
async fn lost<K: Keeper<u64>>(keeper: &K, task: usize, round: u64) -> Result<u64, larder::Error> {
    let mut lost = 0;
    for number in (task..RACES_OF_ROUND).step_by(TASKS) {
        let kept = keeper.get(&key(number)).await?;
        lost += u64::from(kept.is_none_or(|(value, _)| *value != fresh(round)));
    }
    Ok(lost)
}

fn key(number: usize) -> String {
    format!("race/{number}")
}

/// The fresh value of a round; the old one is one less.
fn fresh(round: u64) -> u64 {
    round * 2 + 1
}
