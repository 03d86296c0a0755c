//! What sealing costs: the same disk tier, plain and encrypted. Keys come in no order, as hosts' do.

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use larder::secret::MasterKey;
use larder::{Cache, Durability, Larder};

use super::{Scene, Settings};
use crate::disk_peers::in_fresh;
use crate::harness::{drive, interleave, median, ratio};
use crate::peers::larder::stop;
use crate::report::{Report, print_table};
use crate::workload::shuffled;

pub const GET: Scene = Scene {
    name: "sealed-get",
    group: "disk",
    about: "get of 1 KB from the disk tier alone, page cache warm, one caller",
    reading: "the time with encryption in that without; less is better",
    pictured: false,
    parts: || vec![SHARE.into()],
    run: get,
};

pub const SET: Scene = Scene {
    name: "sealed-set-written",
    about: "set of 1 KB that returns when it survives the end of the process, one writer",
    run: set,
    ..GET
};

const SHARE: &str = "sealed-vs-plain";
const SIDES: [&str; 2] = ["plain", "sealed"];
const VALUE_BYTES: usize = 1_000;

/// A larder with nothing between its host and the disk.
struct Own {
    larder: Larder,
    cache: Cache<String>,
}

impl Own {
    fn open(dir: &Path, side: usize) -> Self {
        let builder = Larder::builder().disk(dir);
        let builder = match side {
            0 => builder,
            _ => builder.encrypted(MasterKey::from_bytes([7; 32]).expect("a key")),
        };
        let larder = builder.start_blocking().expect("a larder");
        let cache = larder.cache_builder("values").drivers(["disk"]).open();
        let cache = cache.expect("a cache");
        Self { larder, cache }
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        stop(&self.larder);
    }
}

fn key(n: u32) -> String {
    format!("key-{n:08}")
}

/// No two are alike, and none compresses well.
fn value(n: u32) -> String {
    let mut state = u64::from(n) + 1;
    let mut letter = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        char::from(b'!' + (state >> 33) as u8 % 90)
    };
    (0..VALUE_BYTES).map(|_| letter()).collect()
}

fn get(scene: &Scene, settings: &Settings, report: &mut Report) -> Result<(), Box<dyn Error>> {
    let (count, gets) = (
        settings.either(50_000, 20_000),
        settings.either(20_000, 5_000),
    );
    // Filled anew each time: how a store's tables lie is an accident of its threads, and lasts as long as they do.
    let figures = interleave(settings.rounds, 2, |side, round| {
        in_fresh(|dir| {
            let own = Own::open(dir, side);
            let items = shuffled(count, 7).into_iter().map(|n| (key(n), value(n)));
            let set = own.cache.set_many(items.collect::<Vec<_>>());
            drive(async { set.await }).expect("room for all");
            drop(own);
            let own = Own::open(dir, side);
            let order = shuffled(count, 100 + round as u64);
            let (first, rest) = order.split_at(gets);
            let ask = |numbers: &[u32]| {
                drive(async {
                    for &n in numbers {
                        let found = own.cache.get(&key(n)).await.expect("an answer");
                        assert_eq!(found.expect("it is on the disk").len(), VALUE_BYTES);
                    }
                });
            };
            ask(first);
            let rest = &rest[..gets];
            let began = Instant::now();
            ask(rest);
            began.elapsed().as_secs_f64() * 1e6 / gets as f64
        })
    });
    tell(scene, report, &figures);
    Ok(())
}

fn set(scene: &Scene, settings: &Settings, report: &mut Report) -> Result<(), Box<dyn Error>> {
    let sets = settings.either(10_000, 3_000);
    let items = shuffled(sets, 7).into_iter().map(|n| (key(n), value(n)));
    let items: Vec<_> = items.collect();
    let figures = interleave(settings.rounds, 2, |side, _| {
        in_fresh(|dir| {
            let own = Own::open(dir, side);
            drive(async {
                let put = async |(key, value): &(String, String)| {
                    let set = own.cache.set(key, value.clone());
                    set.durability(Durability::Written)
                        .await
                        .expect("a version");
                };
                let (first, rest) = items.split_first().expect("some");
                put(first).await;
                let began = Instant::now();
                for item in rest {
                    put(item).await;
                }
                began.elapsed().as_secs_f64() * 1e6 / f64::from(sets - 1)
            })
        })
    });
    tell(scene, report, &figures);
    Ok(())
}

fn tell(scene: &Scene, report: &mut Report, figures: &[Vec<f64>]) {
    let share = ratio(&figures[1], &figures[0]);
    report.row(scene.row(SHARE), share);
    let lines: Vec<_> = SIDES
        .iter()
        .zip(figures)
        .map(|(side, own)| vec![(*side).to_owned(), format!("{:.1}", median(own))])
        .collect();
    print_table(&["", "us/op"], &lines);
    println!("  sealed takes {share:.2} of the time");
}
