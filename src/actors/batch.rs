//! The batch writer: takes what is dirty down to the drivers, newest first of all.
//!
//! One lane per driver: one batch is under way at a time, and what becomes dirty meanwhile is the next
//! one, so batches grow by themselves under load. Each attempt takes the slots as they are then; a
//! failure leaves them dirty (the slot protocol, rules 6 and 7, SEMANTICS.md).

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use actix::prelude::*;

use super::guard::DeathGuard;
use crate::clock::{Clock, Millis};
use crate::config::CommitConfig;
use crate::drivers::{StoreDurability, Write};
use crate::error::Error;
use crate::hurry::{Hurry, either};
use crate::key::stored_key;
use crate::messages::control::Stop;
use crate::messages::write::{Flush, Wake};
use crate::port::Port;
use crate::record;
use crate::shelf::{Shelf, Taken, Ticket};

/// Messages that wait for it at most.
const MAILBOX: usize = 1_024;
/// The first wait after a failed commit; it doubles up to [`RETRY_MS_MAX`].
const RETRY_MS_MIN: u64 = 10;
/// The longest wait between two attempts.
const RETRY_MS_MAX: u64 = 1_000;
/// Keys that are healed in one go when a driver is back.
const HEAL_COUNT_MAX: usize = 1_000;

/// Sends a batch to a driver.
pub type Send = Arc<dyn Fn(Vec<Write>, StoreDurability) -> Sent + std::marker::Send + Sync>;
/// What came of it.
pub type Sent = Pin<Box<dyn Future<Output = Result<(), Error>> + std::marker::Send>>;

/// The way down to one driver.
pub struct Lane {
    /// Its port.
    pub port: Arc<Port>,
    /// How to send it a batch.
    pub send: Send,
    /// Bounds and pace.
    pub config: CommitConfig,
}

struct Course {
    lane: Arc<Lane>,
    running: bool,
    again: bool,
}

/// The batch writer's actor.
pub struct BatchWriter {
    shelf: Arc<Shelf>,
    clock: Clock,
    hurry: Arc<Hurry>,
    courses: Vec<Course>,
    // IMPORTANT: last.
    _guard: DeathGuard,
}

impl BatchWriter {
    /// A batch writer over these lanes. `hurry` knows whether somebody waits: then none lingers.
    pub fn new(
        shelf: Arc<Shelf>,
        clock: Clock,
        hurry: Arc<Hurry>,
        lanes: &[Arc<Lane>],
        guard: DeathGuard,
    ) -> Self {
        let courses = lanes.iter().map(|lane| Course {
            lane: Arc::clone(lane),
            running: false,
            again: false,
        });
        Self {
            shelf,
            clock,
            hurry,
            courses: courses.collect(),
            _guard: guard,
        }
    }

    fn set_off(&mut self, at: usize, ctx: &mut Context<Self>) {
        let Some(course) = self.courses.get_mut(at) else {
            return;
        };
        if course.running {
            course.again = true;
            return;
        }
        course.running = true;
        let run = Run {
            shelf: Arc::clone(&self.shelf),
            clock: self.clock.clone(),
            hurry: Arc::clone(&self.hurry),
            lane: Arc::clone(&course.lane),
            from: 0,
            next_ms: 0,
        };
        let run = run.drain().into_actor(self);
        ctx.spawn(run.map(move |(), this, ctx| {
            let again = this.courses.get_mut(at).is_some_and(|course| {
                course.running = false;
                std::mem::take(&mut course.again)
            });
            if again {
                this.set_off(at, ctx);
            }
        }));
    }
}

impl Actor for BatchWriter {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX);
        let addr = ctx.address();
        // Bounded by the bell: at most one ring is on its way.
        self.shelf.bells.dirty.hang(move || addr.do_send(Wake));
        // What an earlier generation had taken and not settled is in no queue any more.
        self.shelf.requeue();
        ctx.notify(Wake);
    }
}

impl Handler<Wake> for BatchWriter {
    type Result = ();

    fn handle(&mut self, _: Wake, ctx: &mut Self::Context) {
        self.shelf.bells.dirty.answer();
        for at in 0..self.courses.len() {
            self.set_off(at, ctx);
        }
    }
}

impl Handler<Flush> for BatchWriter {
    type Result = ResponseFuture<Result<(), Error>>;

    fn handle(&mut self, flush: Flush, ctx: &mut Self::Context) -> Self::Result {
        let (ticket, waiting) = Ticket::new();
        let mut lanes = Vec::new();
        for course in &self.courses {
            let port = &course.lane.port;
            if port.takes_values() {
                self.shelf.wait_for_all(port.id, flush.durability, &ticket);
                lanes.push(Arc::clone(&course.lane));
            } else if self.shelf.is_dirty(port.id) {
                let error = port.unavailable();
                return Box::pin(async move { Err(error) });
            }
        }
        ticket.done();
        let waits = self.hurry.wait();
        ctx.notify(Wake);
        Box::pin(async move {
            let _waits = waits;
            waiting.await.map_err(|_| Error::Closed)??;
            if flush.durability == StoreDurability::Synced {
                // What was stored before without a sync has left the dirty set: it is covered by this.
                for lane in lanes {
                    (lane.send)(Vec::new(), StoreDurability::Synced).await?;
                }
            }
            Ok(())
        })
    }
}

impl Handler<Stop> for BatchWriter {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Self::Context) {
        ctx.stop();
    }
}

/// One run down one lane, until nothing is dirty or the driver is down.
struct Run {
    shelf: Arc<Shelf>,
    clock: Clock,
    hurry: Arc<Hurry>,
    lane: Arc<Lane>,
    from: usize,
    next_ms: Millis,
}

impl Run {
    async fn drain(mut self) {
        let tier = self.lane.port.id;
        if self.lane.port.is_up() {
            // Only now: while it is down, the doubt itself keeps the old copies from being shown.
            self.shelf.heal(tier, HEAL_COUNT_MAX, self.clock.now_ms());
        }
        self.linger().await;
        let mut failures = 0;
        while self.lane.port.is_up() {
            // Also before a look that finds nothing: so the next run need not know of the pace.
            self.clock.sleep_until(self.next_ms).await;
            let taken = self.take();
            if taken.is_empty() {
                return;
            }
            match self.store(&taken).await {
                Ok(durability) => {
                    failures = 0;
                    self.shelf.settle(tier, &taken, durability);
                }
                Err(_) => {
                    failures += 1;
                    self.shelf.unsettle(&taken);
                    self.lane.port.stats.retries.fetch_add(1, Ordering::Relaxed);
                    if !self.lane.port.is_up() {
                        break;
                    }
                    let wait = RETRY_MS_MIN << (failures - 1).min(10);
                    tokio::time::sleep(Duration::from_millis(wait.min(RETRY_MS_MAX))).await;
                }
            }
        }
        // While it is down there is no waiting (the slot protocol, rule 11, SEMANTICS.md). Whoever begins
        // to wait from here on rings first, and is told by the run after this one.
        let unavailable = self.lane.port.unavailable();
        self.shelf.fail_waiters(tier, &unavailable);
    }

    /// Waits a little for more to come, unless somebody waits for an answer.
    async fn linger(&self) {
        let linger_ms = self.lane.config.linger_ms_max;
        if linger_ms > 0 {
            let over_ms = self.clock.now_ms().saturating_add(linger_ms);
            either(self.clock.sleep_until(over_ms), self.hurry.somebody()).await;
        }
    }

    fn take(&mut self) -> Vec<Taken> {
        let config = &self.lane.config;
        let now_ms = self.clock.now_ms();
        let paced = config.writes_per_second_max.map(|rate| rate.get() as usize);
        // At most a tenth of a second's worth at a time, so that the pace is even.
        let count_max = paced.map_or(config.commit_count_max, |rate| {
            config.commit_count_max.min((rate / 10).max(1))
        });
        let (tier, bytes_max) = (self.lane.port.id, config.commit_bytes_max);
        let taken = self
            .shelf
            .take(tier, count_max, bytes_max, now_ms, &mut self.from);
        if let Some(rate) = paced {
            self.next_ms = now_ms + (taken.len() as u64 * 1_000).div_ceil(rate as u64);
        }
        taken
    }

    async fn store(&self, taken: &[Taken]) -> Result<StoreDurability, Error> {
        let writes = taken.iter().filter_map(|one| self.write(one)).collect();
        let durability = taken.iter().map(|one| one.durability).max();
        let durability = durability.unwrap_or(StoreDurability::Written);
        (self.lane.send)(writes, durability).await?;
        Ok(durability)
    }

    fn write(&self, taken: &Taken) -> Option<Write> {
        let scope = self.shelf.scope_by_id(taken.key.cache)?;
        let key = stored_key(&scope.name, &taken.key.name).into();
        let Some((slot, encoded)) = &taken.value else {
            return Some(Write::Delete { key });
        };
        let header = record::Header {
            version: slot.version,
            created_ms: slot.created_ms,
            expires_ms: slot.expires_ms,
            keep_ms: slot.keep_ms(),
            idle_ms: slot.idle_ms(),
            ends_ms: slot.ends_ms(),
            schema: slot.schema,
            type_tag: encoded.type_tag,
            codec: encoded.codec,
            priority: slot.priority.to_byte(),
            tags: slot.tags().into(),
        };
        Some(Write::Put {
            record: record::encode(&key, &header, &encoded.payload),
            key,
            version: slot.version,
            keep_ms: slot.keep_ms(),
        })
    }
}
