//! The steps of the model test: each does something to larder and to the plain map, and compares.

use super::*;

/// What a set is made with.
#[derive(Default)]
pub struct Plan {
    ttl_ms: Option<u64>,
    idle_ms: u64,
    stale_ms: u64,
    tags: Vec<&'static str>,
    memory_only: bool,
}

impl Play {
    fn plan(&mut self) -> Plan {
        let mut plan = Plan::default();
        match self.rng.u32(0..8) {
            0..2 => plan.ttl_ms = Some(self.rng.u64(1..20_000)),
            2 => plan.idle_ms = self.rng.u64(1..20_000),
            _ => {}
        }
        if self.rng.u32(0..4) == 0 {
            plan.stale_ms = self.rng.u64(1..20_000);
        }
        for tag in TAGS {
            if self.rng.u32(0..3) == 0 {
                plan.tags.push(tag);
            }
        }
        plan.memory_only = self.mixed && self.has_tier() && self.rng.u32(0..4) == 0;
        plan
    }

    fn entry(&self, value: &str, version: Version, plan: &Plan) -> Live {
        let now_ms = self.now_ms();
        let idle_end = if plan.idle_ms > 0 {
            now_ms + plan.idle_ms
        } else {
            NEVER
        };
        let ends_ms = plan.ttl_ms.map_or(NEVER, |ttl| now_ms + ttl);
        let expires_ms = ends_ms.min(idle_end);
        Live {
            value: value.to_owned(),
            version,
            expires_ms,
            keep_ms: expires_ms.saturating_add(plan.stale_ms),
            idle_ms: plan.idle_ms,
            ends_ms,
            tags: plan.tags.clone(),
            may_go: plan.memory_only || !self.has_tier(),
        }
    }

    /// Something safer than `Queued`, now and then, where nothing holds it up.
    fn durability(&mut self) -> Durability {
        match self.rng.u32(0..4) {
            _ if self.held || !self.has_tier() => Durability::Queued,
            0 => Durability::Written,
            1 => Durability::Synced,
            _ => Durability::Queued,
        }
    }

    pub async fn set(&mut self) {
        let plan = self.plan();
        let key = self.key();
        self.set_key(key, plan).await;
    }

    pub async fn set_key(&mut self, key: &'static str, plan: Plan) {
        let condition = self.rng.u32(0..8);
        if condition < 4 {
            // What was forgotten lawfully must be known to be, or no condition can be judged.
            self.get_key(key).await;
        }
        let now_ms = self.now_ms();
        let durability = match plan.memory_only {
            true => Durability::Queued,
            false => self.durability(),
        };
        let (value, current) = (
            self.value(),
            self.model.live(key, now_ms).map(|l| l.version),
        );
        let mut set = self.cache.set(key, value.clone());
        let mut holds = true;
        match (condition, current) {
            (0, _) => (set, holds) = (set.if_absent(), current.is_none()),
            (1, _) => (set, holds) = (set.if_present(), current.is_some()),
            (2, Some(version)) => set = set.if_version(version),
            (2 | 3, _) => (set, holds) = (set.if_version(Version::at(5)), false),
            _ => {}
        }
        set = match plan.ttl_ms {
            Some(ttl_ms) => set.ttl(Duration::from_millis(ttl_ms)),
            None => set.no_ttl(),
        };
        if plan.idle_ms > 0 {
            set = set.idle(Duration::from_millis(plan.idle_ms));
        }
        if plan.memory_only {
            set = set.drivers(["memory"]);
        }
        set = set
            .stale_for(Duration::from_millis(plan.stale_ms))
            .tags(&plan.tags);
        let done = set.durability(durability).await;
        self.note(format!(
            "set {key:?} {value} if {condition} {durability:?} {:?} {done:?}",
            plan.ttl_ms
        ));
        // Memory may have let go of it since it was looked at, where it alone had it.
        let is_gone = match &done {
            Ok(_) => !holds && condition == 0,
            Err(Error::Conflict { current: told }) => current.is_some() && told.is_none(),
            Err(_) => false,
        };
        let (holds, current) = match is_gone && self.lets_go(key) {
            true => (condition == 0, None),
            false => (holds, current),
        };
        match done {
            Ok(version) => {
                assert!(
                    holds,
                    "a set of {key:?} under condition {condition} went through"
                );
                self.model.acknowledged("set", version);
                let entry = self.entry(&value, version, &plan);
                self.model.entries.insert(key.to_owned(), entry);
            }
            Err(Error::Conflict { current: told }) if !holds => assert_eq!(told, current),
            Err(error) => panic!("set of {key:?} under condition {condition}: {error}"),
        }
    }

    pub async fn remove(&mut self) {
        let (key, durability) = (self.key(), self.durability());
        let done = self.cache.remove(key).durability(durability).await;
        self.note(format!("remove {key:?} {durability:?} {done:?}"));
        self.model.acknowledged("remove", done.unwrap());
        self.model.entries.remove(key);
    }

    pub async fn touch(&mut self) {
        let (key, ttl_ms) = (self.key(), self.rng.u64(1..20_000));
        self.get_key(key).await;
        let done = self.cache.touch(key, Duration::from_millis(ttl_ms)).await;
        self.note(format!("touch {key:?} {ttl_ms} {done:?}"));
        let (now_ms, ends_ms) = (self.now_ms(), self.now_ms() + ttl_ms);
        let (mut expires_ms, mut keep_ms) = (ends_ms, ends_ms);
        if let Some(old) = self.model.live(key, now_ms) {
            if old.idle_ms > 0 {
                expires_ms = ends_ms.min(now_ms + old.idle_ms);
            }
            keep_ms = expires_ms + old.fallback_ms();
        }
        self.retimed("touch", key, done.unwrap(), [expires_ms, keep_ms, ends_ms]);
    }

    pub async fn expire(&mut self) {
        let (key, keep_ms) = (self.key(), self.rng.u64(1..20_000));
        self.get_key(key).await;
        let keep = Duration::from_millis(keep_ms);
        let done = self.cache.expire(key).keep_for(keep).await;
        self.note(format!("expire {key:?} {keep_ms} {done:?}"));
        let now_ms = self.now_ms();
        self.retimed(
            "expire",
            key,
            done.unwrap(),
            [now_ms, now_ms + keep_ms, now_ms],
        );
    }

    fn retimed(&mut self, how: &str, key: &str, done: Option<Version>, times: [u64; 3]) {
        let mut live = self.model.live(key, self.now_ms()).is_some();
        if live && done.is_none() {
            live = !self.lets_go(key);
        }
        assert_eq!(done.is_some(), live, "{how} of {key:?}");
        let Some(version) = done else { return };
        self.model.acknowledged(how, version);
        let entry = self.model.entries.get_mut(key).unwrap();
        entry.version = version;
        [entry.expires_ms, entry.keep_ms, entry.ends_ms] = times;
    }

    /// Forgets an entry that memory may let go of at any time; whether it is one.
    fn lets_go(&mut self, key: &str) -> bool {
        let may_go = self.model.entries.get(key).is_some_and(|e| e.may_go);
        if may_go {
            self.model.entries.remove(key);
        }
        may_go
    }

    pub async fn update(&mut self) {
        let key = self.key();
        self.get_key(key).await;
        let done = self.cache.update(key, |old| match old {
            Some(old) => format!("u{old}"),
            None => "u/10".to_owned(),
        });
        let done = done.await.unwrap();
        self.note(format!("update {key:?}: {}", *done));
        if *done == "u/10" {
            self.lets_go(key);
        }
        let old = self.model.live(key, self.now_ms());
        let wanted = old.map_or("u/10".to_owned(), |old| format!("u{}", old.value));
        assert_eq!(*done, wanted, "update of {key:?}");
        // It is the same entry with another value.
        let tags = old.map_or_else(Default::default, |old| old.tags.clone());
        self.model.acknowledged("update", done.version());
        let plan = Plan {
            tags,
            ..Plan::default()
        };
        let entry = self.entry(&wanted, done.version(), &plan);
        self.model.entries.insert(key.to_owned(), entry);
    }

    pub async fn clear(&mut self) {
        let durability = self.durability();
        let done = self.cache.clear().durability(durability).await;
        self.note(format!("clear {durability:?} {done:?}"));
        self.model.acknowledged("clear", done.unwrap());
        self.model.entries.clear();
    }

    pub async fn remove_tag(&mut self) {
        let (tag, durability) = (TAGS[self.rng.usize(..2)], self.durability());
        let done = self.cache.remove_tag(tag).durability(durability).await;
        self.note(format!("remove tag {tag} {durability:?} {done:?}"));
        self.model.acknowledged("remove_tag", done.unwrap());
        self.model.remove_tag(tag);
    }

    pub async fn set_many(&mut self) {
        let durability = self.durability();
        let keys: Vec<_> = (0..self.rng.usize(1..6)).map(|_| self.key()).collect();
        let items: Vec<_> = keys.iter().map(|k| (*k, self.value())).collect();
        self.note(format!("set many {items:?} {durability:?}"));
        let mut versions = Vec::new();
        let set = self
            .cache
            .set_many(items.clone())
            .chunk(2)
            .durability(durability);
        let report = set.on_chunk(|chunk| {
            assert!(chunk.unstored.is_none(), "{chunk:?}");
            versions.extend(chunk.keys.iter().map(|(_, done)| *done.as_ref().unwrap()));
        });
        assert_eq!(report.await.unwrap().applied, items.len());
        for ((key, value), version) in items.into_iter().zip(versions) {
            self.model.acknowledged("set_many", version);
            let entry = self.entry(&value, version, &Plan::default());
            self.model.entries.insert(key.to_owned(), entry);
        }
    }

    pub async fn remove_many(&mut self) {
        let durability = self.durability();
        let keys: Vec<_> = (0..3).map(|_| self.key()).collect();
        self.note(format!("remove many {keys:?} {durability:?}"));
        let mut versions = Vec::new();
        let report = self.cache.remove_many(&keys).durability(durability);
        let report = report.on_chunk(|chunk| {
            versions.extend(chunk.keys.iter().map(|(_, done)| *done.as_ref().unwrap()));
        });
        assert_eq!(report.await.unwrap().applied, keys.len());
        for (key, version) in keys.iter().zip(versions) {
            self.model.acknowledged("remove_many", version);
            self.model.entries.remove(*key);
        }
    }

    pub async fn flush(&mut self) {
        self.release();
        let synced = self.rng.bool();
        let durability = if synced {
            Durability::Synced
        } else {
            Durability::Written
        };
        self.note(format!("flush {durability:?}"));
        self.larder.flush(durability).await.unwrap();
    }

    pub async fn evict(&mut self) {
        self.note("evict");
        for n in 0..32 {
            // Against newcomers, and against what has proved itself.
            let priority = [Priority::Normal, Priority::High][n as usize % 2];
            let key = format!("f{n}");
            let set = self.filler.set(&key, n).priority(priority);
            set.await.unwrap();
        }
    }

    pub async fn resize(&mut self) {
        let bytes = self.rng.usize(64 << 10..256 << 10);
        self.note(format!("resize {bytes}"));
        self.larder.resize_memory(bytes).await.unwrap();
    }

    pub fn let_time_pass(&mut self) {
        let time_ms = [1, 100, 5_000, 30_000][self.rng.usize(..4)];
        self.note(format!("{time_ms} ms pass"));
        self.clock.advance(Duration::from_millis(time_ms));
    }

    pub fn hold_or_release(&mut self) {
        if self.held {
            return self.release();
        }
        self.note("commits are held");
        self.sluice.hold_commits();
        self.held = true;
    }

    pub fn release(&mut self) {
        if self.held {
            self.note("commits go on");
            self.sluice.release_commits();
            self.held = false;
        }
    }

    pub async fn restart(&mut self) {
        if !self.has_tier() {
            return;
        }
        self.release();
        self.note("restart");
        self.larder.shutdown(SOON).await.unwrap();
        let started = start(&self.clock, self.store.as_ref()).await;
        (self.larder, self.cache, self.filler) = started;
        self.model.restart();
    }
}
