//! A stampede: a thousand callers want one page that is in no cache yet, while its source needs a fifth of a
//! second for it. First with a cache that only stores, then with `fetch`.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use larder::{Cache, Larder, LoadContext};

type Done<T> = Result<T, Box<dyn Error + Send + Sync>>;

const CALLERS: u64 = 1_000;
/// They come one after the other, within a tenth of a second.
const APART: Duration = Duration::from_micros(100);
const SOURCE_TAKES: Duration = Duration::from_millis(200);

/// A source that counts how often it is asked.
#[derive(Clone, Default)]
struct Source(Arc<AtomicU64>);

impl Source {
    async fn page(&self) -> Result<String, io::Error> {
        self.0.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(SOURCE_TAKES).await;
        Ok("the front page".to_owned())
    }
}

/// When a caller came and how long it waited, in milliseconds.
type Waited = (f64, f64);

/// As hosts do it by hand: look, load if there is nothing, and store.
async fn by_hand(pages: Cache<String>, source: Source) -> Done<()> {
    if pages.get("/").await?.is_none() {
        let page = source.page().await?;
        pages.set("/", page).await?;
    }
    Ok(())
}

async fn by_fetch(pages: Cache<String>, source: Source) -> Done<()> {
    let load = move |_: LoadContext<String>| {
        let source = source.clone();
        async move { source.page().await }
    };
    pages.fetch("/", load).await?;
    Ok(())
}

async fn stampede<R>(ask: impl Fn(Cache<String>, Source) -> R) -> Done<u64>
where
    R: Future<Output = Done<()>> + Send + 'static,
{
    let larder = Larder::builder().start().await?;
    let pages = larder.cache("pages")?;
    let source = Source::default();
    let began = Instant::now();
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let mut callers = Vec::new();
    for nth in 0..CALLERS {
        let (came, asked) = (
            APART * u32::try_from(nth)?,
            ask(pages.clone(), source.clone()),
        );
        callers.push(tokio::spawn(async move {
            tokio::time::sleep_until((began + came).into()).await;
            let comes = began.elapsed();
            asked
                .await
                .map(|()| (ms(comes), ms(began.elapsed() - comes)))
        }));
    }
    let mut waited = Vec::new();
    for caller in callers {
        waited.push(caller.await??);
    }
    draw(&waited);
    let stats = larder.stats().await?.fetch;
    let loads = source.0.load(Ordering::Relaxed);
    println!(
        "   {loads} calls of the source; {} callers joined one of somebody else's\n",
        stats.coalesced
    );
    larder.shutdown(Duration::from_secs(5)).await?;
    Ok(loads)
}

/// A line for each hundred callers: when they came, and how long they waited.
fn draw(waited: &[Waited]) {
    println!("   callers        came after   waited");
    for (at, some) in waited.chunks(100).enumerate() {
        let mean = |of: fn(&Waited) -> f64| some.iter().map(of).sum::<f64>() / some.len() as f64;
        let (came, waits) = (mean(|caller| caller.0), mean(|caller| caller.1));
        let column = |ms: f64| (ms / 6.0).round() as usize;
        println!(
            "   {:>4} to {:>5}   {came:>5.0} ms   {waits:>5.0} ms  {}{}",
            at * 100 + 1,
            at * 100 + some.len(),
            " ".repeat(column(came)),
            "#".repeat(column(waits)),
        );
    }
}

#[tokio::main]
async fn main() -> Done<()> {
    println!("A cache that only stores: whoever finds nothing asks the source.\n");
    let by_hand = stampede(by_hand).await?;
    println!("fetch: one asks, the others wait for that.\n");
    let by_fetch = stampede(by_fetch).await?;
    assert_eq!(by_fetch, 1, "one load for all");
    assert!(by_hand > 100, "a source would have been run over");
    Ok(())
}
