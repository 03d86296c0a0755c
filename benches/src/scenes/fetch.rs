//! What fetching costs where nothing is to be loaded, and what waiting for somebody else's load does.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use larder::{Cache, Larder, LoadContext, LoadError};
use tokio::sync::Semaphore;

use super::contest::RESIDENT;
use super::{Scene, Settings};
use crate::harness::{drive, interleave, median, ratio, timed};
use crate::peers::larder::stop;
use crate::report::{Report, print_table};
use crate::workload::{Keys, Script, User, Zipf, shuffled};

pub const HIT: Scene = Scene {
    name: "fetch-hit",
    group: "fetch",
    about: "fetch and get of what is there, 100,000 keys, Zipf 0.99, one thread",
    reading: "how many times as fast as a get the fetch is; more is better",
    pictured: false,
    parts: || vec![FETCH.into()],
    run: hit,
};

pub const STAMPEDE: Scene = Scene {
    name: "fetch-stampede",
    group: "fetch",
    about: "1,000 tasks of one runtime that fetch a key that is nowhere: one load, which takes no time",
    reading: "microseconds of each; with `other-`, where they wait for a tokio semaphore instead; less is better",
    pictured: false,
    parts: || vec![EACH.into(), OTHER.into()],
    run: stampede,
};

const FETCH: &str = "fetch-vs-get";
const EACH: &str = "us-per-caller";
const OTHER: &str = "other-us-per-caller";
const CALLERS: u32 = 1_000;

fn hit(scene: &Scene, settings: &Settings, report: &mut Report) -> Result<(), Box<dyn Error>> {
    let keys = Keys::new(0, RESIDENT);
    let larder = Larder::builder().start_blocking()?;
    let cache: Cache<User> = larder.cache("users")?;
    drive(async {
        for at in shuffled(RESIDENT, 1) {
            cache.set(keys.at(at), Arc::new(User::new(at))).await?;
        }
        Ok::<_, larder::Error>(())
    })?;
    let script = Script::new(&Zipf::new(RESIDENT), settings.rounds, 1, settings.ops, 0);
    let figures = interleave(settings.rounds, 2, |side, round| {
        let order = script.at(round, 0);
        let time = timed(1, |_| match side {
            0 => gets(&cache, &keys, order),
            _ => fetches(&cache, &keys, order),
        });
        time.as_nanos() as f64 / order.len() as f64
    });
    let times = ratio(&figures[0], &figures[1]);
    report.row(scene.row(FETCH), times);
    let line = |name: &str, own: &[f64]| vec![name.to_owned(), format!("{:.1}", median(own))];
    print_table(
        &["", "ns/op"],
        &[line("get", &figures[0]), line("fetch", &figures[1])],
    );
    stop(&larder);
    Ok(())
}

fn gets(cache: &Cache<User>, keys: &Keys, order: &[u32]) {
    drive(async move {
        for &at in order {
            let found = cache.get(keys.at(at)).await;
            std::hint::black_box(found.expect("an answer"));
        }
    });
}

fn fetches(cache: &Cache<User>, keys: &Keys, order: &[u32]) {
    drive(async move {
        for &at in order {
            let load =
                |_: LoadContext<User>| async { Err::<User, _>(LoadError::permanent("none")) };
            let found = cache.fetch(keys.at(at), load).await;
            std::hint::black_box(found.expect("an answer"));
        }
    });
}

fn stampede(scene: &Scene, settings: &Settings, report: &mut Report) -> Result<(), Box<dyn Error>> {
    let larder = Larder::builder().start_blocking()?;
    let cache: Cache<User> = larder.cache("users")?;
    let rounds = settings.either(200, 50);
    let figures = interleave(rounds, 2, |side, round| {
        let time = match side {
            0 => herd(|doors| ask(cache.clone(), round, doors)),
            _ => herd(|doors| async move { drop(doors.acquire().await) }),
        };
        time.as_nanos() as f64 / 1e3 / f64::from(CALLERS)
    });
    let stats = drive(larder.stats())?.fetch;
    assert_eq!(stats.loads, rounds as u64 + 1, "one load a round");
    report.row(scene.row(EACH), median(&figures[0]));
    report.row(scene.row(OTHER), median(&figures[1]));
    let line = |name: &str, own: &[f64]| vec![name.to_owned(), format!("{:.2}", median(own))];
    print_table(
        &["", "us/caller"],
        &[line("fetch", &figures[0]), line("a semaphore", &figures[1])],
    );
    stop(&larder);
    Ok(())
}

async fn ask(cache: Cache<User>, round: usize, doors: Arc<Semaphore>) {
    let load = move |_: LoadContext<User>| {
        let doors = Arc::clone(&doors);
        async move {
            drop(doors.acquire().await);
            Ok::<_, LoadError>(User::new(0))
        }
    };
    let found = cache.fetch(&round.to_string(), load).await;
    assert!(found.expect("an answer").is_some());
}

/// Tasks that all wait for one thing; from the first until the last has what it waits for.
fn herd<R>(ask: impl Fn(Arc<Semaphore>) -> R) -> Duration
where
    R: Future<Output = ()> + Send + 'static,
{
    drive(async move {
        let doors = Arc::new(Semaphore::new(0));
        let began = Instant::now();
        let tasks: Vec<_> = (0..CALLERS)
            .map(|_| tokio::spawn(ask(Arc::clone(&doors))))
            .collect();
        // Each has its turn, and waits.
        tokio::task::yield_now().await;
        doors.add_permits(1);
        for task in tasks {
            task.await.expect("no panic");
        }
        began.elapsed()
    })
}
