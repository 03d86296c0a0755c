//! The reads of the model test, alone and beside changes: each is compared with the plain map.

use super::*;
use crate::model_steps::Plan;

impl Play {
    pub async fn get(&mut self) {
        let key = self.key();
        match self.rng.u32(0..6) {
            0 => {
                let got = self.cache.contains(key).await.unwrap();
                self.note(format!("contains {key:?}: {got}"));
                let now_ms = self.now_ms();
                let wanted = self.model.live(key, now_ms).is_some();
                let excused = !got && self.model.may_miss(key, now_ms);
                assert!(got == wanted || excused, "contains of {key:?}");
                self.model.renew(key, now_ms);
            }
            1 => self.get_stale(key).await,
            _ => self.get_key(key).await,
        }
    }

    pub async fn get_key(&mut self, key: &'static str) {
        let entry = self.cache.get(key).await.unwrap();
        let got: Seen = entry.map(|e| ((*e).clone(), e.version()));
        self.note(format!("get {key:?}: {got:?}"));
        let now_ms = self.now_ms();
        self.model.check("get", key, got, now_ms);
        self.model.renew(key, now_ms);
    }

    async fn get_stale(&mut self, key: &'static str) {
        let now_ms = self.now_ms();
        if self.model.live(key, now_ms).is_some() {
            return self.get_key(key).await;
        }
        let found = self.cache.get(key).allow_stale().await.unwrap();
        self.note(format!("get stale {key:?}: {found:?}"));
        let kept = self.model.entries.get(key).filter(|e| now_ms < e.keep_ms);
        match (found, kept) {
            (Some(found), Some(kept)) => {
                assert_eq!(found.freshness(), Freshness::Stale);
                let got = ((*found).clone(), found.version());
                assert_eq!(got, (kept.value.clone(), kept.version), "stale {key:?}");
            }
            (Some(found), None) => panic!("stale {key:?} is {}", *found),
            (None, Some(kept)) => assert!(kept.may_go, "the fallback of {key:?} is gone"),
            (None, None) => {}
        }
    }

    pub async fn get_many(&mut self) {
        let found = self
            .cache
            .get_many(KEYS)
            .chunk(self.rng.usize(1..8))
            .await
            .unwrap();
        self.note(format!("get many: {found:?}"));
        assert_eq!(found.len(), KEYS.len());
        let now_ms = self.now_ms();
        for (key, entry) in found {
            let got: Seen = entry.map(|e| ((*e).clone(), e.version()));
            self.model.check("get_many", &key, got, now_ms);
            self.model.renew(&key, now_ms);
        }
    }

    pub async fn scan(&mut self) {
        let (size, prefix) = (self.rng.usize(1..5), ["", "a", "a/"][self.rng.usize(..3)]);
        let found = scan_all(&self.cache, prefix, size).await;
        self.note(format!("scan {prefix:?} by {size}: {found:?}"));
        self.check_scan(prefix, found);
    }

    fn check_scan(&mut self, prefix: &str, found: Vec<(String, (String, Version))>) {
        let sorted = found.windows(2).all(|pair| pair[0].0 < pair[1].0);
        assert!(sorted, "a scan out of order: {found:?}");
        let foreign = found.iter().find(|(key, _)| !KEYS.contains(&key.as_str()));
        assert_eq!(foreign, None);
        let now_ms = self.now_ms();
        for key in KEYS.iter().filter(|key| key.starts_with(prefix)) {
            let got = found
                .iter()
                .find(|(k, _)| k == key)
                .map(|(_, seen)| seen.clone());
            self.model.check("scan", key, got, now_ms);
        }
    }

    /// A read is on its way up while the key changes, is stored and is evicted.
    pub async fn read_beside_changes(&mut self) {
        if !self.has_tier() {
            return;
        }
        let key = self.key();
        if self.model.entries.values().any(|e| e.idle_ms > 0) {
            return;
        }
        self.flush().await;
        self.evict().await;
        let mut allowed = vec![self.model.seen(key, self.now_ms())];
        let mut excused = self.model.may_miss(key, self.now_ms());
        let expires_ms = self.model.live(key, self.now_ms()).map(|l| l.expires_ms);
        self.sluice.arm_get();
        self.note(format!("a get of {key:?} begins"));
        let cache = self.cache.clone();
        let mut get = tokio::spawn(async move { cache.get(key).await });
        tokio::select! {
            () = self.sluice.entered() => {}
            // It was in memory.
            got = &mut get => {
                self.sluice.release_get();
                let entry = got.unwrap().unwrap();
                let got: Seen = entry.map(|e| ((*e).clone(), e.version()));
                let now_ms = self.now_ms();
                return self.model.check("get", key, got, now_ms);
            }
        }
        for _ in 0..self.rng.usize(1..4) {
            match self.rng.u32(0..6) {
                0..2 => self.set_key(key, Plan::default()).await,
                2 => {
                    self.model
                        .acknowledged("remove", self.cache.remove(key).await.unwrap());
                    self.model.entries.remove(key);
                    self.note(format!("remove {key:?}"));
                }
                3 => self.clear().await,
                4 => self.let_time_pass(),
                _ => {}
            }
            if self.rng.bool() {
                self.flush().await;
                self.evict().await;
            }
            allowed.push(self.model.seen(key, self.now_ms()));
            excused |= self.model.may_miss(key, self.now_ms());
        }
        // What it read is over by now, and that something newer was set meanwhile it cannot know.
        excused |= expires_ms.is_some_and(|at| at <= self.now_ms());
        self.sluice.release_get();
        let entry = get.await.unwrap().unwrap();
        let got: Seen = entry.map(|e| ((*e).clone(), e.version()));
        self.note(format!("that get of {key:?}: {got:?}"));
        let lawful = allowed.contains(&got) || got.is_none() && excused;
        assert!(
            lawful,
            "a get beside changes: {got:?}, allowed are {allowed:?}"
        );
        self.get_key(key).await;
    }

    /// A scan is under way while what was dirty is stored.
    pub async fn scan_beside_a_flush(&mut self) {
        if !self.has_tier() {
            return;
        }
        self.flush().await;
        self.hold_or_release();
        let key = self.key();
        self.set_key(key, Plan::default()).await;
        self.sluice.arm_scan();
        let cache = self.cache.clone();
        let scan = tokio::spawn(async move { scan_all(&cache, "", 100).await });
        self.sluice.entered().await;
        self.flush().await;
        self.evict().await;
        self.sluice.release_scan();
        let found = scan.await.unwrap();
        self.note(format!("a scan beside a flush: {found:?}"));
        self.check_scan("", found);
    }
}

/// All pages of a scan.
async fn scan_all(
    cache: &Cache<String>,
    prefix: &str,
    size: usize,
) -> Vec<(String, (String, Version))> {
    let mut found = Vec::new();
    let mut page = cache.scan(prefix).page_size(size).await.unwrap();
    loop {
        assert!(!page.partial && page.entries.len() <= size);
        let entries = page.entries.drain(..);
        found.extend(entries.map(|(key, e)| (key, ((*e).clone(), e.version()))));
        match page.next.take() {
            Some(next) => {
                page = cache
                    .scan(prefix)
                    .page_size(size)
                    .after(next)
                    .await
                    .unwrap()
            }
            None => return found,
        }
    }
}
