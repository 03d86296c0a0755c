//! The TTL manager: reclaims what has expired and sees to it that whoever watches hears of it.
//!
//! Whether an entry may be shown is decided at every read, never here. A timer only says when to look:
//! the shelf then says whether the slot has expired, so a late timer cannot touch a fresh value.
//!
//! It sleeps until the next deadline (one sleep at a time) and works in bounded turns; between two
//! turns the other actors of its arbiter run. Precision: see `timers.rs`; a deadline that was
//! set less than `wake_pause_ms` ago may be late by that much.

mod announced;
mod below;
pub mod parts;
mod pass;
mod reclaim;
#[cfg(test)]
mod tests;

use std::time::Duration;

use actix::{Actor, ActorContext, ActorFutureExt, Addr, AsyncContext, Context, Handler};
use actix::{SpawnHandle, WrapFuture};

use self::announced::Announced;
use self::parts::{MAILBOX_MAX, TtlParts};
use self::pass::{Pass, Trimming};
use self::reclaim::Schedule;
use super::guard::DeathGuard;
use crate::clock::{Millis, NEVER};
use crate::key::Key;
use crate::messages::control::Stop;
use crate::messages::ttl::{Attend, ReclaimAt, Wake};
use crate::shelf::Due;
use crate::sync::Ordering;
use crate::timers::Timers;
use crate::version::Version;

/// A list of deadlines longer than this is not kept for the next ones.
const NOTES_KEPT: usize = 4_096;

/// The actor.
pub struct TtlManager {
    parts: TtlParts,
    timers: Timers,
    pass: Pass,
    trimming: Trimming,
    schedule: Schedule,
    announced: Announced,
    /// Deadlines that are taken and not armed yet.
    notes: Vec<(Key, Millis)>,
    /// There is something to take.
    rung: bool,
    /// It has taken something a moment ago and waits for more to come together.
    pausing: bool,
    /// Another turn follows as soon as the others have had theirs.
    turning: bool,
    /// The one sleep, and until when.
    sleep: Option<(Millis, SpawnHandle)>,
    /// Questions to the tiers under way.
    asking: usize,
    /// IMPORTANT: the last field, see [`DeathGuard`].
    _guard: DeathGuard,
}

/// Starts the TTL manager on the current arbiter. It finds what is already in the shelf by itself; what
/// is only below and watched must be named again by [`Attend`].
pub fn start(parts: TtlParts, guard: DeathGuard) -> Addr<TtlManager> {
    TtlManager::create(|ctx| {
        ctx.set_mailbox_capacity(MAILBOX_MAX);
        TtlManager::new(parts, guard)
    })
}

impl TtlManager {
    fn new(mut parts: TtlParts, guard: DeathGuard) -> Self {
        let now_ms = parts.clock.now_ms();
        let reclaimers = std::mem::take(&mut parts.reclaimers);
        let config = &parts.config;
        Self {
            timers: Timers::new(config.timers_max, now_ms),
            pass: Pass::new(config),
            trimming: Trimming::new(config),
            schedule: Schedule::new(reclaimers, config.reclaim_pause_ms, now_ms),
            announced: Announced::new(config.announced_max),
            notes: Vec::new(),
            rung: true,
            pausing: false,
            turning: false,
            sleep: None,
            asking: 0,
            parts,
            _guard: guard,
        }
    }

    /// One bounded piece of all work there is.
    fn turn(&mut self, ctx: &mut Context<Self>) {
        let now_ms = self.parts.clock.now_ms();
        self.take_notes(ctx);
        self.arm_notes();
        self.pass_on(now_ms);
        self.fire(now_ms, ctx);
        self.trim(now_ms);
        self.reclaim(now_ms, ctx);
        self.rest(now_ms, ctx);
    }

    fn take_notes(&mut self, ctx: &mut Context<Self>) {
        if !self.rung || self.pausing || !self.notes.is_empty() {
            return;
        }
        self.rung = false;
        // IMPORTANT: before the look, so that what is noted after it rings again.
        self.parts.shelf.bells.deadlines.answer();
        if self.parts.shelf.take_deadlines(&mut self.notes) {
            self.pass.want();
        }
        let pause = Duration::from_millis(self.parts.config.wake_pause_ms);
        if !pause.is_zero() {
            self.pausing = true;
            ctx.run_later(pause, |act, ctx| {
                act.pausing = false;
                if act.rung {
                    act.turn(ctx);
                }
            });
        }
    }

    fn arm_notes(&mut self) {
        let mut notes = std::mem::take(&mut self.notes);
        let left = notes.len().saturating_sub(self.parts.config.fire_count_max);
        for (key, at_ms) in notes.drain(left..) {
            self.arm(key, at_ms);
        }
        if !notes.is_empty() || notes.capacity() <= NOTES_KEPT {
            self.notes = notes;
        }
    }

    fn arm(&mut self, key: Key, at_ms: Millis) {
        if !self.timers.arm(key, at_ms) {
            self.trimming.refused();
            let refused = &self.parts.stats.timers_refused;
            refused.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn pass_on(&mut self, now_ms: Millis) {
        if !self.notes.is_empty() {
            return;
        }
        let shelf = &self.parts.shelf;
        if let Some(stripe) = self.pass.next(now_ms, shelf.stripes()) {
            if stripe == 0 && self.trimming.wants(now_ms, self.timers.len()) {
                self.trimming.begin();
                self.timers.begin_trim();
            }
            shelf.deadlines_of(stripe, &mut self.notes);
        }
    }

    fn trim(&mut self, now_ms: Millis) {
        let timers = self.timers.len();
        if self.trimming.wants(now_ms, timers) || self.trimming.has_room_again(timers) {
            self.pass.want();
        }
        if !self.is_sweeping() {
            return;
        }
        let watched = &*self.parts.watched;
        let count_max = self.parts.config.fire_count_max;
        if self.timers.trim(count_max, watched) {
            self.trimming.done(now_ms, self.timers.len());
        }
    }

    fn is_sweeping(&self) -> bool {
        self.trimming.is_running() && !self.pass.is_running() && self.notes.is_empty()
    }

    fn fire(&mut self, now_ms: Millis, ctx: &mut Context<Self>) {
        let mut fired = Vec::new();
        let count_max = self.parts.config.fire_count_max;
        self.timers.fire(now_ms, count_max, &mut fired);
        for key in fired {
            let unknown = self.look_at(key, now_ms);
            if let Some(key) = unknown.filter(|key| (self.parts.watched)(key)) {
                self.ask(key, now_ms, ctx);
            }
        }
    }

    /// Has the shelf look whether a key has expired; the key, if memory does not know it.
    fn look_at(&mut self, key: Key, now_ms: Millis) -> Option<Key> {
        let shelf = &self.parts.shelf;
        let scope = shelf.scope_by_id(key.cache)?;
        // Read before the look: a version above it was set after `now_ms` and has not expired.
        let newest = Version::new(shelf.versions().last());
        match shelf.due(&scope, &key.name, now_ms) {
            Due::Later(at_ms) => self.arm(key, at_ms),
            Due::Done(expired) => {
                let count = u64::from(expired);
                self.parts.stats.expired.fetch_add(count, Ordering::Relaxed);
                // Whatever a store still has of this key was announced or is older.
                if let Some(newest) = newest.filter(|_| shelf.is_watched()) {
                    let hash = shelf.hash(key.cache, &key.name);
                    self.announced.remember(hash, newest);
                }
            }
            Due::Unknown => return Some(key),
        }
        None
    }

    /// When there is something to do.
    fn next_ms(&self, now_ms: Millis) -> Option<Millis> {
        let taking = self.rung && !self.pausing;
        let busy = taking || !self.notes.is_empty() || self.pass.is_running();
        if busy || self.is_sweeping() {
            return Some(now_ms);
        }
        let next = [
            self.timers.next_ms(),
            self.schedule.next_ms(),
            self.pass.next_ms(),
        ];
        let next = next.into_iter().flatten().min();
        next.filter(|at_ms| *at_ms != NEVER)
    }

    /// Sees to it that the next turn comes when it is due, and not before.
    fn rest(&mut self, now_ms: Millis, ctx: &mut Context<Self>) {
        let timers = self.timers.len() as u64;
        self.parts.stats.timers.store(timers, Ordering::Relaxed);
        let Some(at_ms) = self.next_ms(now_ms) else {
            return;
        };
        if at_ms <= now_ms {
            if !self.turning {
                self.turning = true;
                // Not a message: an actor drains its mailbox before others get a turn.
                let others = tokio::task::yield_now().into_actor(self);
                ctx.spawn(others.map(|(), act, ctx| {
                    act.turning = false;
                    act.turn(ctx);
                }));
            }
            return;
        }
        if let Some((planned_ms, handle)) = self.sleep {
            if planned_ms <= at_ms {
                return;
            }
            ctx.cancel_future(handle);
        }
        let clock = self.parts.clock.clone();
        let sleep = async move { clock.sleep_until(at_ms).await }.into_actor(self);
        let handle = ctx.spawn(sleep.map(|(), act, ctx| {
            act.sleep = None;
            act.turn(ctx);
        }));
        self.sleep = Some((at_ms, handle));
    }
}

impl Actor for TtlManager {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let me = ctx.address().downgrade();
        self.parts.shelf.bells.deadlines.hang(move || {
            if let Some(me) = me.upgrade() {
                // Bounded by the bell: one is on its way at most.
                me.do_send(Wake);
            }
        });
        self.turn(ctx);
    }
}

impl Handler<Wake> for TtlManager {
    type Result = ();

    fn handle(&mut self, _: Wake, ctx: &mut Self::Context) {
        self.rung = true;
        // Else the end of the pause is a turn.
        if !self.pausing {
            self.turn(ctx);
        }
    }
}

impl Handler<Attend> for TtlManager {
    type Result = ();

    fn handle(&mut self, Attend(key): Attend, ctx: &mut Self::Context) {
        let now_ms = self.parts.clock.now_ms();
        if let Some(key) = self.look_at(key, now_ms) {
            self.ask(key, now_ms, ctx);
        }
        self.rest(now_ms, ctx);
    }
}

impl Handler<ReclaimAt> for TtlManager {
    type Result = ();

    fn handle(&mut self, ReclaimAt { tier, at_ms }: ReclaimAt, ctx: &mut Self::Context) {
        self.schedule.want(tier, at_ms);
        self.rest(self.parts.clock.now_ms(), ctx);
    }
}

impl Handler<Stop> for TtlManager {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Self::Context) {
        ctx.stop();
    }
}
