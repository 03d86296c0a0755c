//! The memory of a long session: a map that only grows beside larder with a budget, each in a process of its
//! own.

use std::collections::HashMap;
use std::error::Error;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Instant;

use larder::Larder;

use crate::child::Child;
use crate::harness::drive;
use crate::peers::larder::stop;
use crate::process::peak_bytes;
use crate::report::print_table;
use crate::scenes::Scene;
use crate::workload::{Random, User};

pub const SCENE: Scene = Scene {
    name: "origin-session",
    group: "origin",
    about: "a get, and a set after a miss, 100,000,000 times; 2,000,000 keys, some far more often than others",
    reading: "the most that the process had in memory, in MB, with a budget of 32 MiB; less is better",
    pictured: false,
    parts: || vec![PEAK.to_owned(), SHARE.to_owned()],
    run: |scene, settings, report| {
        let ops = settings.either(100_000_000, 1_000_000);
        let mut lines = Vec::new();
        let mut peaks = Vec::new();
        for (who, published) in [("map", "380"), ("larder", "52")] {
            let figures = CHILD.spawn(&format!("{who}-{ops}"))?;
            peaks.push(figures[0]);
            lines.push(vec![
                who.to_owned(),
                published.to_owned(),
                format!("{:.1}", figures[0]),
                format!("{:.1} %", figures[1]),
                format!("{:.0}", figures[2]),
            ]);
        }
        report.row(scene.row(PEAK), peaks[1]);
        report.row(scene.row(SHARE), peaks[1] / peaks[0]);
        print_table(&["", "published MB", "peak MB", "hits", "ns/op"], &lines);
        println!("\n  {ops} operations; whole processes, with the program itself");
        Ok(())
    },
};

const PEAK: &str = "larder-mb";
const SHARE: &str = "larder-vs-map";
const KEYS: f64 = 2e6;
const BUDGET: usize = 32 << 20;

pub const CHILD: Child = Child {
    word: "--session-peak",
    measure: |whom| {
        let (who, ops) = whom.split_once('-').ok_or("a word is missing")?;
        let ops: usize = ops.parse()?;
        let began = Instant::now();
        let hits = match who {
            "map" => map(ops),
            _ => larder(ops)?,
        };
        let ns = began.elapsed().as_nanos() as f64 / ops as f64;
        let share = 100.0 * hits as f64 / ops as f64;
        Ok(vec![peak_bytes()? / 1e6, share, ns])
    },
};

/// The next key: the first one in a hundred thousand has a twentieth of all calls.
fn draw(random: &mut Random, key: &mut String) -> u32 {
    let n = (random.unit().powi(4) * KEYS) as u32;
    key.clear();
    write!(key, "user:{n:07}").expect("a string takes it");
    n
}

/// What an app has that forgets nothing; how many gets found something.
fn map(ops: usize) -> usize {
    let (mut random, mut key) = (Random::new(1), String::new());
    let mut users: HashMap<String, Arc<User>> = HashMap::new();
    let mut hits = 0;
    for _ in 0..ops {
        let n = draw(&mut random, &mut key);
        match users.get(key.as_str()).cloned() {
            Some(user) => hits += usize::from(std::hint::black_box(user).id > 0),
            None => {
                users.insert(key.clone(), Arc::new(User::new(n)));
            }
        }
    }
    hits
}

fn larder(ops: usize) -> Result<usize, Box<dyn Error>> {
    let larder = Larder::builder().memory_bytes(BUDGET).start_blocking()?;
    let users = larder.cache::<User>("users")?;
    let (mut random, mut key) = (Random::new(1), String::new());
    let hits: Result<usize, larder::Error> = drive(async {
        let mut hits = 0;
        for _ in 0..ops {
            let n = draw(&mut random, &mut key);
            match users.get(&key).await? {
                Some(user) => hits += usize::from(std::hint::black_box(user).id > 0),
                None => {
                    users.set(&key, Arc::new(User::new(n))).await?;
                }
            }
        }
        Ok(hits)
    });
    stop(&larder);
    Ok(hits?)
}
