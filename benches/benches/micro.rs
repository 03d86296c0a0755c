//! Single calls through the public API: gets and sets of larder in memory, the codec, and a set until all
//! watchers of its key have been told.
//!
//! In a loop on one thread, which flatters caches and branch predictors: to see what a change does, not what
//! a host gets. The scenes of `larder-bench` are for that.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use larder::codec::Bincode;
use larder::watch::WatchLatest;
use larder::{Cache, Codec, Larder};
use larder_bench::harness::drive;
use larder_bench::peers::larder::stop;
use larder_bench::workload::{Keys, User};

const KEYS: u32 = 10_000;

fn start() -> Larder {
    let started = Larder::builder().memory_bytes(256 << 20).start_blocking();
    started.expect("a larder")
}

/// Awaits as many calls as asked for, in one block.
fn time<F: Future<Output = ()>>(calls: u64, mut call: impl FnMut(u64) -> F) -> Duration {
    drive(async {
        let began = Instant::now();
        for n in 0..calls {
            call(n).await;
        }
        began.elapsed()
    })
}

fn calls(c: &mut Criterion) {
    let larder = start();
    let cache: Cache<User> = larder.cache("users").expect("a cache");
    let (there, absent) = (Keys::new(0, KEYS), Keys::new(KEYS, KEYS));
    let at = |n: u64| (n % u64::from(KEYS)) as u32;
    let set = async |key: &str, n: u64| {
        let user = Arc::new(User::new(at(n)));
        cache.set(key, user).await.expect("a version");
    };
    time(KEYS.into(), |n| set(there.at(at(n)), n));
    let get = async |key: &str| {
        black_box(cache.get(key).await.expect("an answer"));
    };
    let mut group = c.benchmark_group("memory");
    group.bench_function("get-hit", |b| {
        b.iter_custom(|calls| time(calls, |n| get(there.at(at(n)))));
    });
    group.bench_function("get-miss", |b| {
        b.iter_custom(|calls| time(calls, |n| get(absent.at(at(n)))));
    });
    group.bench_function("overwrite", |b| {
        b.iter_custom(|calls| time(calls, |n| set(there.at(at(n)), n)));
    });
    group.bench_function("insert", |b| {
        b.iter_custom(|calls| {
            // A cache without them for each round over all keys; emptying it is not timed.
            let rounds = calls.div_ceil(KEYS.into());
            let round = |round: u64| {
                drive(cache.clear().into_future()).expect("no driver");
                let left = calls - round * u64::from(KEYS);
                time(left.min(KEYS.into()), |n| set(there.at(at(n)), n))
            };
            (0..rounds).map(round).sum()
        });
    });
    group.finish();
    stop(&larder);
}

fn codec(c: &mut Criterion) {
    let user = User::new(1);
    let encode = |user: &User| Bincode.encode(user, 1 << 20).expect("bytes");
    let bytes = encode(&user);
    let mut group = c.benchmark_group("codec");
    group.bench_function("encode-64-bytes", |b| b.iter(|| encode(black_box(&user))));
    // As a set in memory does that has no weigher.
    group.bench_function("encoded-len-64-bytes", |b| {
        b.iter(|| {
            Bincode
                .encoded_len(black_box(&user), 1 << 20)
                .expect("a length")
        });
    });
    group.bench_function("decode-64-bytes", |b| {
        b.iter(|| {
            let user: User = Bincode.decode(black_box(&bytes)).expect("a user");
            user
        });
    });
    group.finish();
}

/// A set of a key with so many watchers of its latest value, until the last of them has been told.
fn hub(c: &mut Criterion) {
    let mut group = c.benchmark_group("hub");
    for watchers in [0, 1, 100, 10_000] {
        let larder = start();
        let cache: Cache<u64> = larder.cache("watched").expect("a cache");
        // The last to subscribe is the last to be told.
        let mut watching: Vec<WatchLatest<u64>> = (0..watchers)
            .map(|_| drive(cache.watch_latest("key")).expect("a watcher"))
            .collect();
        group.bench_function(BenchmarkId::from_parameter(watchers), |b| {
            b.iter(|| {
                drive(async {
                    cache.set("key", 1).await.expect("a version");
                    if let Some(last) = watching.last_mut() {
                        black_box(last.changed().await);
                    }
                });
            });
        });
        stop(&larder);
    }
    group.finish();
}

criterion_group! {
    name = micro;
    config = Criterion::default().measurement_time(Duration::from_secs(3)).without_plots();
    targets = calls, codec, hub
}
criterion_main!(micro);
