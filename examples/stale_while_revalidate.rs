//! What has expired is shown at once and loaded anew meanwhile; and goes on being shown, for as long as the call
//! allows, when the source is down.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use larder::cache::StaleBecause;
use larder::fetch::THROTTLE;
use larder::{Cache, FetchOutcome, Larder, LoadContext, LoadError, Retry};

const TTL: Duration = Duration::from_millis(100);
const STALE: Duration = Duration::from_secs(60);

/// An exchange that needs 40 ms for a price, and may be down.
#[derive(Clone, Default)]
struct Exchange {
    price: Arc<AtomicU64>,
    is_down: Arc<AtomicBool>,
}

impl Exchange {
    async fn price(&self) -> Result<u64, LoadError> {
        tokio::time::sleep(Duration::from_millis(40)).await;
        match self.is_down.load(Ordering::Relaxed) {
            true => Err(LoadError::device("no route to the exchange")),
            false => Ok(self.price.fetch_add(1, Ordering::Relaxed) + 100),
        }
    }
}

async fn ask(
    prices: &Cache<u64>,
    exchange: &Exchange,
) -> Result<(FetchOutcome<u64>, Duration), larder::Error> {
    let began = Instant::now();
    let exchange = exchange.clone();
    let load = move |_: LoadContext<u64>| {
        let exchange = exchange.clone();
        async move { exchange.price().await }
    };
    let fetch = prices.fetch("gold", load).ttl(TTL).retry(Retry::never());
    let outcome = fetch.stale_for(STALE).stale_if_error_for(STALE).outcome();
    Ok((outcome.await?, began.elapsed()))
}

fn tell(what: &str, outcome: &FetchOutcome<u64>, took: Duration) {
    let price = outcome.entry.as_deref().copied().unwrap_or_default();
    let why = match &outcome.stale_because {
        None => "fresh".to_owned(),
        Some(StaleBecause::Refreshing) => "stale, a new one is on its way".to_owned(),
        Some(because) => format!("stale: {because:?}"),
    };
    let took = took.as_secs_f64() * 1e3;
    println!("{what:<34} {price}  after {took:>5.1} ms, {why}");
}

#[tokio::main]
async fn main() -> Result<(), larder::Error> {
    let larder = Larder::builder().start().await?;
    let (prices, exchange) = (larder.cache("prices")?, Exchange::default());

    let (first, took) = ask(&prices, &exchange).await?;
    tell("the first call waits for the source", &first, took);
    assert!(took >= Duration::from_millis(40) && first.attempts == 1);
    let (again, took) = ask(&prices, &exchange).await?;
    tell("the next one does not", &again, took);
    assert_eq!(again.attempts, 0);

    tokio::time::sleep(TTL).await;
    let (stale, took) = ask(&prices, &exchange).await?;
    tell("it has expired", &stale, took);
    assert!(stale.stale_because.is_some());
    tokio::time::sleep(Duration::from_millis(60)).await;
    let (fresh, took) = ask(&prices, &exchange).await?;
    tell("a moment later", &fresh, took);
    assert_eq!(fresh.entry.as_deref(), Some(&101));

    exchange.is_down.store(true, Ordering::Relaxed);
    for _ in 0..3 {
        tokio::time::sleep(TTL).await;
        let (kept, took) = ask(&prices, &exchange).await?;
        tell("the exchange is down", &kept, took);
        assert_eq!(kept.entry.as_deref(), Some(&101));
    }
    exchange.is_down.store(false, Ordering::Relaxed);
    let (kept, took) = ask(&prices, &exchange).await?;
    tell("it is back, and not asked yet", &kept, took);
    // What has just failed is left alone for a moment.
    tokio::time::sleep(THROTTLE).await;
    ask(&prices, &exchange).await?;
    tokio::time::sleep(Duration::from_millis(60)).await;
    let (back, took) = ask(&prices, &exchange).await?;
    tell("a moment later", &back, took);
    assert_eq!(back.entry.as_deref(), Some(&102));
    larder.shutdown(Duration::from_secs(5)).await
}
