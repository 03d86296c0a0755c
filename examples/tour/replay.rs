//! The trace, replayed: each request asks larder, then the origin, and files what the origin made.

use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use larder::Source;
use tokio::task::JoinSet;

use crate::Failed;
use crate::keeper::Keeper;
use crate::screen::{Progress, grouped, rate, seconds};
use crate::shop::{Origin, Page, TASKS, Trace};

/// The columns of [`Replayed::row`].
pub const COLUMNS: &[&str] = &[
    "",
    "requests",
    "memory",
    "disk",
    "origin",
    "by larder",
    "time",
    "requests/s",
];

/// What a replay came to.
#[derive(Default, Clone, Copy)]
pub struct Replayed {
    /// Requests.
    pub requests: u64,
    /// Answered from memory.
    pub memory: u64,
    /// Answered from disk.
    pub disk: u64,
    /// Calls that reached the origin.
    pub origin: u64,
    /// Those among them for a page that larder had acknowledged before.
    pub forgotten: u64,
    /// Answers that were not the page that was asked for.
    pub wrong: u64,
    /// How long it took.
    pub took: Duration,
}

impl Replayed {
    /// As a row of a table.
    pub fn row(&self, label: &str) -> Vec<String> {
        let share = (self.requests - self.origin) as f64 * 100.0 / self.requests.max(1) as f64;
        let mut row = vec![label.to_owned()];
        let counts = [self.requests, self.memory, self.disk, self.origin];
        row.extend(counts.map(grouped));
        row.push(format!("{share:.1} %"));
        row.push(seconds(self.took));
        row.push(rate(self.requests, self.took));
        row
    }

    /// As a line that another process reads with [`FromStr`].
    pub fn line(&self) -> String {
        let micros = self.took.as_micros();
        let Self {
            requests,
            memory,
            disk,
            origin,
            forgotten,
            wrong,
            ..
        } = self;
        format!("{requests} {memory} {disk} {origin} {forgotten} {wrong} {micros}")
    }
}

impl FromStr for Replayed {
    type Err = Failed;

    fn from_str(line: &str) -> Result<Self, Failed> {
        let numbers: Vec<u64> = line.split(' ').map(str::parse).collect::<Result<_, _>>()?;
        let [requests, memory, disk, origin, forgotten, wrong, micros] = numbers[..] else {
            return Err(format!("{line:?} is no replay").into());
        };
        let took = Duration::from_micros(micros);
        Ok(Self {
            requests,
            memory,
            disk,
            origin,
            forgotten,
            wrong,
            took,
        })
    }
}

#[derive(Default)]
struct Counts {
    memory: AtomicU64,
    disk: AtomicU64,
    forgotten: AtomicU64,
    wrong: AtomicU64,
}

/// Replays the trace with [`TASKS`] tasks.
pub async fn replay<K: Keeper<Page>>(
    keeper: &Arc<K>,
    trace: &Arc<Trace>,
    label: &str,
) -> Result<Replayed, Failed> {
    let progress = Arc::new(Progress::new(label, trace.requests.len()));
    let (next, origin) = (Arc::new(AtomicUsize::new(0)), Arc::new(Origin::default()));
    let counts = Arc::new(Counts::default());
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..TASKS {
        let (keeper, trace, next) = (Arc::clone(keeper), Arc::clone(trace), Arc::clone(&next));
        let (origin, counts) = (Arc::clone(&origin), Arc::clone(&counts));
        let progress = Arc::clone(&progress);
        tasks.spawn(async move {
            while let Some(id) = trace.requests.get(next.fetch_add(1, Ordering::Relaxed)) {
                request(&*keeper, &trace, &origin, &counts, *id).await?;
                progress.step();
            }
            Ok::<(), larder::Error>(())
        });
    }
    while let Some(task) = tasks.join_next().await {
        task??;
    }
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    Ok(Replayed {
        requests: trace.requests.len() as u64,
        memory: count(&counts.memory),
        disk: count(&counts.disk),
        origin: origin.calls(),
        forgotten: count(&counts.forgotten),
        wrong: count(&counts.wrong),
        took: began.elapsed(),
    })
}

/// One request, as a service would serve it.
async fn request<K: Keeper<Page>>(
    keeper: &K,
    trace: &Trace,
    origin: &Origin,
    counts: &Counts,
    id: u64,
) -> Result<(), larder::Error> {
    let add = |counter: &AtomicU64| counter.fetch_add(1, Ordering::Relaxed);
    let key = Page::key(id);
    let was_stored = trace.is_stored(id);
    if let Some((page, source)) = keeper.get(&key).await? {
        match source {
            Source::Memory => add(&counts.memory),
            _ => add(&counts.disk),
        };
        if *page != Page::render(id, page.revision) {
            add(&counts.wrong);
        }
        return Ok(());
    }
    if was_stored {
        add(&counts.forgotten);
    }
    let page = origin.fetch(id).await;
    keeper.set(&key, page, None).await?;
    trace.note_stored(id);
    Ok(())
}
