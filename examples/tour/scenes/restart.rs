//! Scene: a process that changes prices is killed in the middle; another one serves from its store.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use larder::{Cache, Durability};
use tokio::task::JoinSet;

use crate::Failed;
use crate::child;
use crate::keeper::ByHandle;
use crate::replay::{COLUMNS, Replayed, replay};
use crate::screen::{Progress, Screen, grouped, seconds};
use crate::shop::{self, PAGES, Page, TASKS, Trace};

/// The role of the process that is killed.
pub const CHANGES: &str = "changes-prices";
/// The role of the process that is started after it.
pub const SERVES: &str = "serves";

/// Acknowledged changes after which the process is killed.
const CHANGES_BEFORE_KILL: usize = 10_000;

/// Plays it on a store that has every page.
pub fn run(screen: &mut Screen, store: &Path, trace: &Trace) -> Result<(), Failed> {
    screen.scene("Killed: kill -9 of a process that changes prices, then a new one on its store");
    let path = store
        .to_str()
        .ok_or("the temporary directory has an odd name")?;
    let acknowledged = change_until_killed(path)?;
    let began = Instant::now();
    let told = child::run(SERVES, &[path])?;
    let mut lines = told.lines();
    let opened: u64 = lines.next().ok_or("the child said nothing")?.parse()?;
    let served: Replayed = lines.next().ok_or("the child did not serve")?.parse()?;
    let there: HashMap<u64, u32> = lines.filter_map(pair).collect();
    screen.table(COLUMNS, &[served.row("after kill -9")]);
    println!(
        "   {} changes of {} pages were acknowledged as written; the new process opened the\n   \
         store in {opened} ms and was done after {}\n",
        grouped(
            acknowledged
                .values()
                .map(|revision| u64::from(*revision))
                .sum()
        ),
        grouped(acknowledged.len() as u64),
        seconds(began.elapsed()),
    );
    let lost = acknowledged
        .iter()
        .filter(|(id, acknowledged)| there.get(id).is_none_or(|revision| revision < acknowledged));
    let lost = lost.count();
    screen.claim(lost == 0, "no acknowledged change was lost");
    screen.claim(there.len() == trace.pages(), "every page is still there");
    screen.claim(served.origin == 0, "no request reached the origin");
    screen.claim(
        served.wrong == 0,
        "every answer was the page that was asked for",
    );
    Ok(())
}

/// The newest acknowledged revision of each page that was changed.
fn change_until_killed(store: &str) -> Result<HashMap<u64, u32>, Failed> {
    let mut child = child::start(CHANGES, &[store])?;
    let mut told = BufReader::new(child.stdout.take().ok_or("no pipe from the child")?);
    let progress = Progress::new("changes before the kill", CHANGES_BEFORE_KILL);
    let mut newest = HashMap::new();
    let (mut line, mut count) = (String::new(), 0);
    while told.read_line(&mut line)? > 0 {
        // The last line may be cut short by the kill: then it was not acknowledged to anybody.
        if let Some((id, revision)) = line.strip_suffix('\n').and_then(pair) {
            let known = newest.entry(id).or_insert(revision);
            *known = revision.max(*known);
            count += 1;
        }
        if count == CHANGES_BEFORE_KILL {
            child.kill()?;
        }
        if count <= CHANGES_BEFORE_KILL {
            progress.step();
        }
        line.clear();
    }
    let status = child.wait()?;
    if count < CHANGES_BEFORE_KILL {
        return Err(format!("the child ended by itself, with {status}").into());
    }
    Ok(newest)
}

fn pair(line: &str) -> Option<(u64, u32)> {
    let (id, revision) = line.split_once(' ')?;
    Some((id.parse().ok()?, revision.parse().ok()?))
}

/// In a process of its own: changes one price after the other, says each that is acknowledged as
/// written, and does not end.
pub async fn change_prices(store: &Path) -> Result<(), Failed> {
    let trace = Arc::new(Trace::load()?);
    let pages: Cache<Page> = shop::open(store).await?.cache(PAGES)?;
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let (trace, pages) = (Arc::clone(&trace), pages.clone());
        tasks.spawn(async move {
            for revision in 1.. {
                for id in trace.ids().skip(task).step_by(TASKS) {
                    let (key, page) = (Page::key(id), Page::render(id, revision));
                    let set = pages.set(&key, page);
                    set.durability(Durability::Written).await?;
                    writeln!(std::io::stdout(), "{id} {revision}")?;
                }
            }
            Ok::<(), Failed>(())
        });
    }
    while let Some(task) = tasks.join_next().await {
        task??;
    }
    Ok(())
}

/// In a process of its own: replays the trace on the store, then says what is in it.
pub async fn serve(store: &Path) -> Result<(), Failed> {
    let trace = Arc::new(Trace::load()?);
    let began = Instant::now();
    let larder = shop::open(store).await?;
    let opened = began.elapsed();
    let keeper = Arc::new(ByHandle(larder.clone(), larder.cache(PAGES)?));
    let served = replay(&keeper, &trace, "after kill -9").await?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}\n{}", opened.as_millis(), served.line())?;
    let keys: Vec<String> = trace.ids().map(Page::key).collect();
    for (_, page) in keeper.1.get_many(&keys).chunk(1_000).await? {
        if let Some(page) = page {
            writeln!(out, "{} {}", page.id, page.revision)?;
        }
    }
    larder.shutdown(Duration::from_secs(10)).await?;
    Ok(())
}
