//! Settings that cannot be, or do not go together: all of them are told at once, before anything is
//! started, each with the field, its value and what is allowed.
#![cfg(all(feature = "disk", feature = "test-util"))]
#![allow(clippy::unwrap_used)]

#[path = "support/world.rs"]
mod world;

use std::time::Duration;

use larder::config::{CommitConfig, Limits};
use larder::drivers::disk::DiskConfig;
use larder::drivers::map::MapStore;
use larder::{Builder, CacheBuilder, Error, Larder};
use world::{SOON, World, ms, secs};

async fn refused(builder: Builder, parts: &[&str]) {
    let started = builder.start().await.map(drop);
    assert!(matches!(started, Err(Error::Config(_))), "{started:?}");
    says(&started.unwrap_err(), parts);
}

#[tokio::test]
async fn every_problem_of_a_configuration_is_told_at_once() {
    let mut limits = Limits::default();
    (limits.key_bytes_max, limits.page_size_max) = (0, 0);
    (limits.value_bytes_max, limits.dirty_bytes_max) = (1 << 21, 1 << 20);
    let mut commits = CommitConfig::default();
    (commits.chunk_count, commits.read_threads) = (0, 1_000);
    commits.linger_ms_max = 20_000;
    let disk = DiskConfig {
        worker_threads: 1_000,
        open_files_max: 1,
        journal_bytes_max: 1,
        ..DiskConfig::default()
    };
    let map = || MapStore::new().factory();
    let builder = Larder::builder()
        .memory_bytes(1_000)
        .limits(limits)
        .call_max(Duration::ZERO)
        .open_max(Duration::ZERO)
        .restart_backoff(secs(2), secs(1))
        .disk_with("", disk)
        .driver_factory("map", commits, map())
        .driver_factory("map", CommitConfig::default(), map())
        .driver_factory("", CommitConfig::default(), map())
        .driver_factory("memory", CommitConfig::default(), map())
        .driver_factory("hub", CommitConfig::default(), map())
        .driver_factory("a\u{0}b", CommitConfig::default(), map());
    let parts = [
        "memory_bytes is 1000, allowed is 65536",
        "limits.key_bytes_max is 0, allowed is 1 to 60000",
        "limits.page_size_max is 0",
        "value_bytes_max is 2097152 and memory_bytes is 1000",
        "value_bytes_max is 2097152 and limits.dirty_bytes_max is 1048576",
        "call_ms_max is 0, allowed is 1 to 86400000",
        "open_ms_max is 0, allowed is 1 to 86400000",
        "restart_backoff.ms_min is 2000 and restart_backoff.ms_max is 1000",
        "disk directory is empty",
        "disk.worker_threads is 1000, allowed is 1 to 256",
        "disk.open_files_max is 1, allowed is 10",
        "disk.journal_bytes_max is 1, allowed is 67108864",
        "map.chunk_count is 0, allowed is 1 to",
        "map.read_threads is 1000, allowed is 1 to 256",
        "map.linger_ms_max is 20000, allowed is 0 to 10000",
        "\"map\" is used twice",
        "driver name \"\" has 0 bytes",
        "\"memory\" is not allowed",
        "\"hub\" is not allowed",
        "control",
    ];
    refused(builder, &parts).await;
}

#[tokio::test]
async fn more_drivers_than_there_can_be_are_refused() {
    let mut builder = Larder::builder();
    for n in 0..17 {
        let factory = MapStore::new().factory();
        builder = builder.driver_factory(&format!("m{n}"), CommitConfig::default(), factory);
    }
    refused(builder, &["17 drivers, allowed are at most 16"]).await;
}

/// As many problems as there are parts, and each part in one of them.
fn says(error: &Error, parts: &[&str]) {
    let Error::Config(problems) = error else {
        panic!("{error}");
    };
    for part in parts {
        assert!(error.to_string().contains(part), "{error} lacks {part:?}");
    }
    assert_eq!(problems.len(), parts.len(), "{error}");
}

#[tokio::test]
async fn a_disk_is_given_once() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (dir.path().join("one"), dir.path().join("two"));
    let builder = Larder::builder()
        .disk(&one)
        .disk_with(&two, DiskConfig::default());
    let started = builder.start().await.map(drop).unwrap_err();
    says(&started, &["disk is given 2 times"]);
    for directory in [&one, &two] {
        assert!(started.to_string().contains(directory.to_str().unwrap()));
        assert!(!directory.exists(), "nothing was begun");
    }
}

#[tokio::test]
async fn settings_of_a_disk_need_a_disk() {
    let builder = Larder::builder().disk_commits(CommitConfig::default());
    refused(builder, &["disk_commits is given, and no disk"]).await;
}

#[tokio::test]
async fn a_driver_cannot_have_the_name_of_the_disk_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    let factory = MapStore::new().factory();
    let builder = Larder::builder().disk(dir.path());
    let builder = builder.driver_factory("disk", CommitConfig::default(), factory);
    refused(builder, &["driver name \"disk\" is used twice"]).await;
}

#[tokio::test]
async fn limits_that_are_zero_or_absurd_are_told_with_their_ranges() {
    let mut zero = Limits::default();
    (zero.key_bytes_max, zero.value_bytes_max) = (0, 0);
    (zero.tag_bytes_max, zero.cache_name_bytes_max) = (0, 0);
    (zero.caches_max, zero.dirty_bytes_max) = (0, 1);
    (zero.reads_in_flight_max, zero.messages_in_flight_max) = (0, 0);
    (zero.tag_fences_max, zero.events_waiting_max) = (0, 0);
    (zero.deadlines_waiting_max, zero.distrusted_keys_max) = (0, 0);
    (zero.subscriptions_max, zero.page_size_max) = (0, 0);
    zero.events_waiting_bytes_max = 0;
    let fields = [
        "key_bytes_max is 0, allowed is 1 to 60000",
        "limits.value_bytes_max is 0, allowed is 1 to 1073741824",
        "tag_bytes_max is 0, allowed is 1 to 60000",
        "cache_name_bytes_max is 0, allowed is 1 to 1024",
        "caches_max is 0, allowed is 1 to 1048576",
        "reads_in_flight_max is 0, allowed is 1 to 1048576",
        "messages_in_flight_max is 0, allowed is 1 to 1048576",
        "tag_fences_max is 0, allowed is 1 to 16777216",
        "events_waiting_max is 0, allowed is 1 to 16777216",
        "events_waiting_bytes_max is 0, allowed is 1 to 4294967295",
        "deadlines_waiting_max is 0, allowed is 1 to 16777216",
        "distrusted_keys_max is 0, allowed is 1 to 16777216",
        "subscriptions_max is 0, allowed is 1 to 16777216",
        "page_size_max is 0, allowed is 1 to 1048576",
    ];
    refused(Larder::builder().limits(zero), &fields).await;
    let mut absurd = Limits::default();
    (absurd.key_bytes_max, absurd.tags_per_entry_max) = (usize::MAX, 256);
    (absurd.caches_max, absurd.dirty_bytes_max) = (usize::MAX, usize::MAX);
    let fields = [
        "key_bytes_max is 18446744073709551615, allowed is 1 to 60000",
        "tags_per_entry_max is 256, allowed is 0 to 255",
        "caches_max is 18446744073709551615",
        "dirty_bytes_max is 18446744073709551615, allowed is 1 to 4294967295",
    ];
    refused(Larder::builder().limits(absurd), &fields).await;
}

#[tokio::test]
async fn times_of_a_builder_that_are_zero_or_absurd_are_told_with_their_ranges() {
    let (zero, max) = (Duration::ZERO, Duration::MAX);
    let builder = Larder::builder().call_max(max).open_max(max);
    let builder = builder.restart_backoff(zero, max);
    let fields = [
        "call_ms_max is 18446744073709551615, allowed is 1 to 86400000",
        "open_ms_max is 18446744073709551615, allowed is 1 to 86400000",
        "restart_backoff.ms_min is 0, allowed is 1 to 86400000",
        "restart_backoff.ms_max is 18446744073709551615, allowed is 1 to 86400000",
        "restart_limit.window_ms is 0, allowed is 1 to",
        "restart_limit.rest_ms is 0, allowed is 1 to",
    ];
    refused(builder.restart_limit(1, zero, zero), &fields).await;
}

#[tokio::test]
async fn a_budget_that_is_smaller_than_the_largest_value_says_what_to_change() {
    let builder = Larder::builder().memory_bytes(512 << 10);
    refused(builder, &["raise memory_bytes or lower"]).await;
}

#[tokio::test]
async fn a_chunk_is_no_larger_than_a_call_may_ask_for() {
    let mut commits = CommitConfig::default();
    commits.chunk_count = larder::cache::CHUNK_COUNT_MAX + 1;
    let factory = MapStore::new().factory();
    let builder = Larder::builder().driver_factory("map", commits, factory);
    let fields = ["map.chunk_count is 65537, allowed is 1 to 65536"];
    refused(builder, &fields).await;
}

/// What a cache that is opened with these settings is told.
async fn cache_is_refused(
    set: impl Fn(CacheBuilder<String>) -> CacheBuilder<String>,
    parts: &[&str],
) {
    let world = World::map();
    let larder = world.start().await;
    let opened = set(larder.cache_builder("users")).open();
    says(&opened.unwrap_err(), parts);
    // The name is as free as before.
    larder.cache_builder::<u64>("users").open().unwrap();
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn a_cache_is_not_idle_for_longer_than_its_entries_live() {
    let set = |builder: CacheBuilder<String>| builder.ttl(secs(60)).idle(ms(60_001));
    let parts = ["idle is 60.001s and ttl is 60s"];
    cache_is_refused(set, &parts).await;
    let larder = World::memory().start().await;
    let builder = larder.cache_builder::<String>("users");
    builder.ttl(secs(60)).idle(secs(60)).open().unwrap();
}

#[tokio::test]
async fn a_jitter_takes_no_more_than_the_ttl() {
    for wrong in [0.91, 1.0, -0.1, f64::NAN, f64::INFINITY] {
        let set = |builder: CacheBuilder<String>| builder.ttl(secs(60)).ttl_jitter(wrong);
        let part = format!("ttl_jitter is {wrong}, a share of the ttl; allowed is 0.0 to 0.9");
        cache_is_refused(set, &[&part]).await;
    }
}

#[tokio::test]
async fn a_driver_of_a_cache_is_named_once_and_is_there() {
    let set = |builder: CacheBuilder<String>| builder.drivers(["map", "memory", "map", "redis"]);
    let parts = [
        "drivers names \"map\" twice",
        "drivers names \"redis\", which this larder does not have; it has [\"memory\", \"map\"]",
    ];
    cache_is_refused(set, &parts).await;
}

#[tokio::test]
async fn every_problem_of_a_cache_is_told_at_once() {
    let set = |builder: CacheBuilder<String>| {
        let builder = builder.ttl(Duration::ZERO).idle(Duration::ZERO);
        builder.ttl_jitter(7.0).drivers([""; 0])
    };
    let parts = [
        "ttl is 0ns",
        "idle is",
        "ttl_jitter is 7",
        "drivers is empty",
    ];
    cache_is_refused(set, &parts).await;
}
