//! Bad input: a clear error that names what is wrong and the range, and nothing lost or changed.
#![cfg(all(feature = "disk", feature = "test-util"))]
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

#[path = "support/world.rs"]
mod world;

use std::time::Duration;

use larder::config::Limits;
use larder::{Cache, Durability, Error, Larder};
use world::{SOON, World, cache, flush, read, secs, text};

/// The error's text, after a look at its parts.
fn told<T: std::fmt::Debug>(result: Result<T, Error>, parts: &[&str]) -> String {
    let text = result.unwrap_err().to_string();
    for part in parts {
        assert!(text.contains(part), "{text:?} does not say {part:?}");
    }
    assert!(!text.ends_with('.'), "{text:?}");
    text
}

/// Every world with a small larder that holds `k`.
async fn each(check: impl AsyncFn(&Larder, &Cache<String>)) {
    for world in World::all() {
        let mut limits = Limits::default();
        (limits.key_bytes_max, limits.value_bytes_max) = (16, 64);
        (limits.tag_bytes_max, limits.tags_per_entry_max) = (8, 2);
        limits.page_size_max = 10;
        let larder = world.builder().limits(limits).start().await.unwrap();
        let users = cache(&larder);
        let version = users.set("k", text("kept")).await.unwrap();
        check(&larder, &users).await;
        let kept = users.get("k").await.unwrap().unwrap();
        assert_eq!(
            (kept.as_str(), kept.version()),
            ("kept", version),
            "{}",
            world.name
        );
        let stats = larder.stats().await.unwrap();
        assert_eq!((stats.memory.entries, stats.memory.marks), (1, 0));
        assert_eq!(stats.overloaded, 0);
    }
}

#[tokio::test]
async fn an_empty_key_and_one_that_is_too_long_are_refused_by_every_call() {
    each(async |_, users| {
        let long = "x".repeat(17);
        let parts: [(&str, &[&str]); 2] = [
            ("", &["key", "empty", "1 to 16"]),
            (&long, &["key", "17", "key_bytes_max", "16"]),
        ];
        for (key, parts) in parts {
            let text_of_it = told(users.set(key, text("1")).await, parts);
            assert!(!text_of_it.contains("xxx"), "never the key itself");
            told(users.set(key, text("1")).if_absent().await, parts);
            told(users.get(key).await, parts);
            told(users.get(key).allow_stale().outcome().await, parts);
            told(users.peek(key).await, parts);
            told(users.contains(key).await, parts);
            told(users.remove(key).await, parts);
            told(users.touch(key, secs(1)).await, parts);
            told(users.expire(key).await, parts);
            told(users.update(key, |_| text("1")).await, parts);
            told(users.get_many([key]).await, parts);
            told(users.watch(key).await.map(drop), parts);
        }
        let just = "x".repeat(16);
        users.set(&just, text("1")).await.unwrap();
        users.remove(&just).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_value_that_is_too_large_is_refused_with_the_limit() {
    each(async |_, users| {
        let parts = ["value", "value_bytes_max", "64"];
        told(users.set("k", "x".repeat(64)).await, &parts);
        told(users.set("new", "x".repeat(1 << 20)).await, &parts);
        told(users.update("k", |_| "x".repeat(100)).await, &parts);
        users.set("k2", "x".repeat(63)).await.unwrap();
        users.remove("k2").await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn times_that_cannot_be_are_refused() {
    each(async |larder, users| {
        let max = Duration::MAX;
        for wrong in [Duration::ZERO, max] {
            told(
                users.set("k", text("1")).ttl(wrong).await,
                &["ttl", "above zero"],
            );
            told(users.touch("k", wrong).await, &["ttl", "above zero"]);
            told(
                users.set("k", text("1")).idle(wrong).await,
                &["idle", "1 ms to 49 days"],
            );
            let builder = || larder.cache_builder::<String>("users");
            told(builder().ttl(wrong).open(), &["ttl", "above zero"]);
            told(builder().idle(wrong).open(), &["idle", "1 ms to 49 days"]);
        }
        // A fallback for ever is a fallback for as long as there is time.
        users
            .set("ever", text("1"))
            .ttl(secs(1))
            .stale_for(max)
            .await
            .unwrap();
        users.remove("ever").await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn tags_that_cannot_be_are_refused() {
    each(async |_, users| {
        told(
            users.set("k", text("1")).tag("").await,
            &["tag", "empty", "1 to 8"],
        );
        told(
            users.set("k", text("1")).tag("123456789").await,
            &["tag", "9", "tag_bytes_max", "8"],
        );
        told(
            users.set("k", text("1")).tags(["a", "b", "c"]).await,
            &["3 tags", "tags_per_entry_max", "2"],
        );
        told(users.remove_tag("").await, &["tag", "empty"]);
        told(users.remove_tag("123456789").await, &["tag_bytes_max"]);
    })
    .await;
}

#[tokio::test]
async fn drivers_that_are_not_there_are_refused() {
    each(async |larder, users| {
        told(
            users.set("k", text("1")).drivers(["dsik"]).await,
            &["drivers", "dsik", "users"],
        );
        told(users.get("k").drivers(["dsik"]).await, &["drivers", "dsik"]);
        let none: [&str; 0] = [];
        told(
            users.set("k", text("1")).drivers(none).await,
            &["drivers", "empty"],
        );
        let builder = || larder.cache_builder::<String>("users");
        told(builder().drivers(["dsik"]).open(), &["drivers", "dsik"]);
        told(builder().drivers(none).open(), &["drivers", "empty"]);
    })
    .await;
}

#[tokio::test]
async fn names_that_no_cache_can_have_are_refused() {
    each(async |larder, _| {
        let long = "x".repeat(129);
        for (name, part) in [
            ("", "1 to 128"),
            ("a/b", "separates"),
            ("a\u{0}b", "control"),
            ("a\n", "control"),
            (&long, "129 bytes"),
        ] {
            told(larder.cache::<String>(name), &["cache name", part]);
            told(
                larder.cache_builder::<String>(name).open(),
                &["cache name", part],
            );
        }
        let both = larder
            .cache_builder::<String>("a/\n")
            .ttl_jitter(2.0)
            .open();
        told(
            both,
            &["separates", "control", "ttl_jitter is 2", "0.0 to 0.9"],
        );
        larder.cache::<String>("ümläut und 空白").unwrap();
    })
    .await;
}

#[tokio::test]
async fn pages_and_cursors_that_cannot_be_are_refused() {
    each(async |larder, users| {
        told(
            users.scan("").page_size(0).await,
            &["page_size", "0", "1 to 10"],
        );
        told(
            users.scan("").page_size(11).await,
            &["page_size", "11", "1 to 10"],
        );
        let page = users.scan("").page_size(1).await.unwrap();
        let others: Cache<String> = larder.cache("others").unwrap();
        if let Some(cursor) = page.next {
            told(
                others.scan("").after(cursor.clone()).await,
                &["after", "others"],
            );
            told(
                users.scan("x").after(cursor).await,
                &["after", "another scan"],
            );
        }
        let foreign: larder::cache::Cursor = "others/0/k".parse().unwrap();
        told(users.scan("").after(foreign).await, &["after", "users"]);
        told("nonsense".parse::<larder::cache::Cursor>(), &["cursor"]);
    })
    .await;
}

#[tokio::test]
async fn one_bad_item_of_a_batch_fails_alone() {
    for world in World::all() {
        let mut limits = Limits::default();
        (limits.key_bytes_max, limits.value_bytes_max) = (16, 64);
        let larder = world.builder().limits(limits).start().await.unwrap();
        let users = cache(&larder);
        let bad = [
            (text("big"), "x".repeat(100)),
            (text(""), text("1")),
            ("x".repeat(17), text("1")),
        ];
        let good = (0..10).map(|n| (n.to_string(), text("1")));
        let items = good.clone().take(5).chain(bad).chain(good.skip(5));
        let report = users.set_many(items).chunk(4).await.unwrap();
        assert_eq!((report.applied, report.refused), (10, 3), "{}", world.name);
        let failed: Vec<_> = report
            .failures
            .iter()
            .map(|(key, _)| key.as_str())
            .collect();
        assert_eq!(failed, ["big", "", &"x".repeat(17)]);
        assert!(report.failures[0].1.to_string().contains("value_bytes_max"));
        for n in 0..10 {
            assert_eq!(read(&users, &n.to_string()).await, Some(text("1")));
        }
        assert_eq!(read(&users, "big").await, None);
        told(
            users.set_many([("a", text("1"))]).chunk(0).await,
            &["chunk", "0", "at least 1"],
        );
    }
}

#[tokio::test]
async fn keys_are_any_text() {
    for world in World::stored() {
        let larder = world.start().await;
        let users = cache(&larder);
        let keys = [
            "ключ",
            "🦀",
            "a/b/c",
            "\u{0}",
            "line\nbreak\ttab",
            " ",
            "\u{10ffff}",
            "\u{0}fences/users",
        ];
        for key in keys {
            users.set(key, text(key)).tag(key).await.unwrap();
        }
        let larder = world.restart(larder).await;
        let users = cache(&larder);
        for key in keys {
            assert_eq!(read(&users, key).await, Some(text(key)), "{key:?}");
        }
        let page = users.scan("").await.unwrap();
        let mut sorted = keys.to_vec();
        sorted.sort_unstable();
        let found: Vec<_> = page.entries.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(found, sorted);
        for key in keys {
            users.remove_tag(key).await.unwrap();
            assert_eq!(read(&users, key).await, None);
        }
        let larder = world.restart(larder).await;
        assert!(
            cache(&larder).scan("").await.unwrap().entries.is_empty(),
            "{}",
            world.name
        );
    }
}

#[tokio::test]
async fn calls_after_a_shutdown_are_closed() {
    for world in World::all() {
        let larder = world.start().await;
        let users = cache(&larder);
        users.set("k", text("1")).await.unwrap();
        let desk = larder.desk().unwrap();
        larder.shutdown(SOON).await.unwrap();
        let answers: Vec<Result<(), Error>> = vec![
            users.get("k").await.map(drop),
            users.get("k").outcome().await.map(drop),
            users.peek("k").await.map(drop),
            users.contains("k").await.map(drop),
            users.set("k", text("2")).await.map(drop),
            users
                .set("k", text("2"))
                .if_absent()
                .durability(Durability::Synced)
                .await
                .map(drop),
            users.remove("k").await.map(drop),
            users.update("k", |_| text("2")).await.map(drop),
            users.touch("k", secs(1)).await.map(drop),
            users.expire("k").await.map(drop),
            users.clear().await.map(drop),
            users.remove_tag("t").await.map(drop),
            users.scan("").await.map(drop),
            users.get_many(["k"]).await.map(drop),
            users.set_many([("k", text("2"))]).await.map(drop),
            users.remove_many(["k"]).await.map(drop),
            users.watch("k").await.map(drop),
            users.watch_all().await.map(drop),
            larder.cache::<String>("users").map(drop),
            larder.cache_builder::<String>("new").open().map(drop),
            larder.stats().await.map(drop),
            larder.flush(Durability::Written).await,
            larder.warm(["users/k"]).await.map(drop),
            larder.resize_memory(1 << 20).await,
            larder.desk().map(drop),
            larder.shutdown(SOON).await,
        ];
        for (nth, answer) in answers.into_iter().enumerate() {
            assert!(
                matches!(answer, Err(Error::Closed)),
                "{nth}: {answer:?} in {}",
                world.name
            );
        }
        let sent = desk.send(larder::messages::larder::TakeStats).await;
        assert!(matches!(sent.map_err(Error::from), Err(Error::Closed)));
    }
}

#[tokio::test]
async fn a_directory_that_is_a_file_or_lies_below_one_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "x").unwrap();
    for path in [file.clone(), file.join("below")] {
        let started = Larder::builder().disk(&path).start().await.map(drop);
        assert!(matches!(started, Err(Error::Open { .. })), "{started:?}");
        told(started, &["disk", file.to_str().unwrap(), "directory"]);
    }
    assert_eq!(
        std::fs::read_to_string(&file).unwrap(),
        "x",
        "nothing was changed"
    );
}

#[tokio::test]
async fn a_directory_that_may_not_be_written_to_is_refused_by_name() {
    // Root may write anywhere but where the kernel itself says no.
    let path = "/proc/larder";
    let started = Larder::builder().disk(path).start().await.map(drop);
    assert!(matches!(started, Err(Error::Open { .. })), "{started:?}");
    told(started, &["disk", path]);
}

#[tokio::test]
async fn a_directory_that_another_larder_has_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let larder = Larder::builder().disk(path).start().await.unwrap();
    cache(&larder).set("k", text("1")).await.unwrap();
    let second = Larder::builder().disk(path).start().await.map(drop);
    assert!(matches!(second, Err(Error::Open { .. })), "{second:?}");
    told(second, &["disk", path, "in use"]);
    flush(&larder).await;
    larder.shutdown(SOON).await.unwrap();
    let larder = Larder::builder().disk(path).start().await.unwrap();
    assert_eq!(read(&cache(&larder), "k").await, Some(text("1")));
}

#[tokio::test]
async fn a_start_that_fails_gives_back_what_it_had_taken() {
    let dir = tempfile::tempdir().unwrap();
    let failing = || -> Result<larder::drivers::map::MapDriver, _> {
        Err(larder::drivers::Failure::fatal("not today"))
    };
    for _ in 0..3 {
        let started = Larder::builder()
            .disk(dir.path())
            .driver("mine", failing)
            .start()
            .await;
        told(started.map(drop), &["mine", "not today"]);
        let panicking = || -> Result<larder::drivers::map::MapDriver, _> { panic!("oh") };
        let started = Larder::builder()
            .disk(dir.path())
            .driver("mine", panicking)
            .start()
            .await;
        told(started.map(drop), &["mine", "panicked"]);
    }
    Larder::builder().disk(dir.path()).start().await.unwrap();
}

#[tokio::test]
async fn an_actor_that_is_not_there_cannot_be_restarted() {
    let larder = World::memory().start().await;
    told(larder.restart("dsik"), &["actor", "dsik", "memory", "hub"]);
    assert!(larder.restart("hub").is_ok());
}
