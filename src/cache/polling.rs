//! Loading a key again every so often, while somebody wants to see it.

use std::time::Duration;

use smol_str::SmolStr;
use tokio::task::AbortHandle;

use super::Cache;
use super::watching::Watched;
use crate::clock::millis;
use crate::codec::Value;
use crate::error::Error;
use crate::fetch::{DEADLINE_MAX, Urgency};
use crate::runtime::host;

/// The least time between two loads of one key that is polled.
pub const POLL_MIN: Duration = Duration::from_millis(10);

/// A key that is loaded again every so often. Dropped, it is not any more.
#[must_use = "dropped, it polls no more"]
#[derive(Debug)]
pub struct Polling(AbortHandle);

impl Drop for Polling {
    fn drop(&mut self) {
        self.0.abort();
    }
}

pub(super) fn poll<V: Value>(
    cache: &Cache<V>,
    key: SmolStr,
    every: Duration,
) -> Result<Polling, Error> {
    if !(POLL_MIN..=DEADLINE_MAX).contains(&every) {
        let reason = format!(
            "is {} ms, allowed are {} ms to a day",
            every.as_millis(),
            POLL_MIN.as_millis()
        );
        return Err(Error::Invalid {
            field: "every",
            reason,
        });
    }
    let tiers = cache.tiers();
    let runtime = match host() {
        Some(runtime) => runtime,
        None => tiers.lines()?.loads.clone(),
    };
    // No handle: or a screen that is forgotten would keep larder running.
    let cache = Watched::of(cache);
    Ok(Polling(
        runtime.spawn(polls(cache, key, every)).abort_handle(),
    ))
}

async fn polls<V: Value>(watched: Watched<V>, key: SmolStr, every: Duration) {
    loop {
        let Ok(cache) = watched.upgrade() else { return };
        let tiers = cache.tiers();
        let (clock, runtime) = (tiers.clock.clone(), tiers.timer.runtime().clone());
        drop(cache);
        let at_ms = clock.now_ms().saturating_add(millis(every));
        // larder's clock is read on larder's runtime.
        let sleeps = runtime.spawn(async move { clock.sleep_until(at_ms).await });
        let sleeps = Sleep(sleeps);
        if !sleeps.out().await {
            return;
        }
        let Ok(cache) = watched.upgrade() else { return };
        let Ok((loader, mut says)) = cache.registered() else {
            return;
        };
        says.terms.is_forced = true;
        says.urgency = says.urgency.max(Urgency::Background);
        // A failure is told to those who watch loads.
        if let Err(Error::Closed) = cache.fetch_slow(&key, loader, Some(says)).await {
            return;
        }
    }
}

/// A sleep on another runtime; dropped, it ends.
struct Sleep(tokio::task::JoinHandle<()>);

impl Sleep {
    /// Whether it has come to its end.
    async fn out(mut self) -> bool {
        (&mut self.0).await.is_ok()
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.0.abort();
    }
}
