//! A driver of which only the required methods are written is a tier like any other: what it leaves
//! out costs time and space, never an answer.
#![cfg(all(feature = "disk", feature = "test-util"))]
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

#[path = "support/world.rs"]
mod world;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use larder::clock::Clock;
use larder::drivers::conformance::BEHAVIOURS;
use larder::drivers::{
    Driver, Factory, Failure, PageLimit, Reclaimed, StoreDurability, Usage, Watermark, Write,
};
use larder::{Durability, Larder, Source};
use world::{SOON, cache, read, secs, text};

#[derive(Clone, Default)]
struct Minimal(Arc<Mutex<(BTreeMap<Bytes, Bytes>, Watermark)>>);

impl Minimal {
    fn factory(&self) -> Factory {
        let store = self.clone();
        Arc::new(move || Ok(Box::new(store.clone())))
    }

    async fn start(&self, clock: &Clock) -> Larder {
        let store = self.clone();
        let builder = Larder::builder().clock(clock.clone());
        let builder = builder.driver("minimal", move || Ok(store.clone()));
        builder.start().await.unwrap()
    }

    fn records(&self) -> usize {
        self.0.lock().unwrap().0.len()
    }
}

impl Driver for Minimal {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Failure> {
        Ok(self.0.lock().unwrap().0.get(key).cloned())
    }

    fn commit(&self, batch: &[Write], _: StoreDurability) -> Result<(), Failure> {
        let records = &mut self.0.lock().unwrap().0;
        for write in batch {
            match write {
                Write::Put { key, record, .. } => records.insert(key.clone(), record.clone()),
                Write::Delete { key } => records.remove(key),
            };
        }
        Ok(())
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: &[u8],
        page: PageLimit,
    ) -> Result<Vec<(Bytes, Bytes)>, Failure> {
        let (records, mut bytes) = (&self.0.lock().unwrap().0, 0);
        let wanted = records
            .iter()
            .filter(|(key, _)| key.starts_with(prefix) && &key[..] > after);
        let page = wanted.take(page.count_max).take_while(|(key, record)| {
            let is_room = bytes < page.bytes_max;
            bytes += key.len() + record.len();
            is_room
        });
        Ok(page.map(|(k, r)| (k.clone(), r.clone())).collect())
    }

    fn reserve(&self, mark: Watermark) -> Result<(), Failure> {
        self.0.lock().unwrap().1 = mark;
        Ok(())
    }

    fn reserved(&self) -> Watermark {
        self.0.lock().unwrap().1
    }
}

#[test]
fn it_keeps_every_behaviour_but_those_of_what_it_has_not() {
    let asks_for_more = |name: &str| {
        let more = ["reclaim", "expiry", "one moment"];
        more.iter().any(|word| name.contains(word))
    };
    let (more, others): (Vec<_>, Vec<_>) =
        BEHAVIOURS.iter().partition(|(name, _)| asks_for_more(name));
    assert_eq!(more.len(), 5);
    for (_, behaviour) in others {
        behaviour(&Minimal::default().factory());
    }
}

#[test]
#[should_panic(expected = "nothing goes before its time")]
fn the_suite_ends_at_the_first_behaviour_that_is_not_kept() {
    /// Reclaims what is not due.
    struct Hasty(Minimal);
    impl Driver for Hasty {
        fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Failure> {
            self.0.get(key)
        }
        fn commit(&self, batch: &[Write], durability: StoreDurability) -> Result<(), Failure> {
            self.0.commit(batch, durability)
        }
        fn scan(
            &self,
            a: &[u8],
            b: &[u8],
            page: PageLimit,
        ) -> Result<Vec<(Bytes, Bytes)>, Failure> {
            self.0.scan(a, b, page)
        }
        fn reclaim(&self, _: u64, _: usize) -> Result<Reclaimed, Failure> {
            let records = std::mem::take(&mut self.0.0.lock().unwrap().0);
            let gone = |key| (key, larder::Version::new(1).unwrap());
            Ok(Reclaimed {
                records: records.into_keys().map(gone).collect(),
                ..Reclaimed::default()
            })
        }
        fn reserve(&self, mark: Watermark) -> Result<(), Failure> {
            self.0.reserve(mark)
        }
        fn reserved(&self) -> Watermark {
            self.0.reserved()
        }
    }
    larder::drivers::conformance::check(|| Arc::new(|| Ok(Box::new(Hasty(Minimal::default())))));
}

#[tokio::test]
async fn it_is_a_tier_for_every_kind_of_call() {
    let (store, clock) = (Minimal::default(), Clock::manual(world::BEGIN_MS));
    let larder = store.start(&clock).await;
    let users = cache(&larder);
    for key in ["a", "b", "c"] {
        users.set(key, text(key)).await.unwrap();
    }
    let set = users.set("d", text("d")).durability(Durability::Synced);
    set.await.unwrap();
    users.remove("b").await.unwrap();
    larder.shutdown(SOON).await.unwrap();
    let larder = store.start(&clock).await;
    let users = cache(&larder);
    let found = users.get_many(["d", "b", "a", "never"]).await.unwrap();
    let shown: Vec<_> = found
        .iter()
        .map(|(_, entry)| entry.as_ref().map(|e| (e.as_str(), e.source())))
        .collect();
    let from = Source::Custom(0);
    assert_eq!(shown, [Some(("d", from)), None, Some(("a", from)), None]);
    let page = users.scan("").page_size(2).await.unwrap();
    let keys: Vec<_> = page.entries.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, ["a", "c"]);
    let told = &larder.stats().await.unwrap().drivers[0];
    assert_eq!(
        (told.entries, told.bytes),
        (None, Some(0)),
        "it cannot tell"
    );
    assert_eq!(Usage::default().entries, None);
    larder.shutdown(SOON).await.unwrap();
}

#[tokio::test]
async fn what_has_expired_is_a_miss_and_lies_there_until_it_is_overwritten() {
    let (store, clock) = (Minimal::default(), Clock::manual(world::BEGIN_MS));
    let larder = store.start(&clock).await;
    let users = cache(&larder);
    users.set("k", text("1")).ttl(secs(1)).await.unwrap();
    larder.shutdown(SOON).await.unwrap();
    let before = store.records();
    clock.advance(secs(2));
    let larder = store.start(&clock).await;
    let users = cache(&larder);
    assert_eq!(read(&users, "k").await, None);
    assert!(users.scan("").await.unwrap().entries.is_empty());
    assert!(users.get_many(["k"]).await.unwrap()[0].1.is_none());
    assert_eq!(store.records(), before);
    users.set("k", text("2")).await.unwrap();
    larder.shutdown(SOON).await.unwrap();
    assert_eq!(store.records(), before);
    let larder = store.start(&clock).await;
    assert_eq!(read(&cache(&larder), "k").await, Some(text("2")));
}
