//! The memory driver: owns the shelf's budget and frees what nobody will read.
//!
//! Handles read the shelf and change single keys in it without asking; without this actor nothing
//! can be resized or swept.

use std::sync::Arc;

use actix::prelude::*;

use super::guard::DeathGuard;
use crate::clock::Clock;
use crate::config::MEMORY_BYTES_MIN;
use crate::error::Error;
use crate::messages::control::Stop;
use crate::messages::memory::{Measure, Measured, Resize, Sweep};
use crate::shelf::Shelf;

/// Messages that wait for it at most.
const MAILBOX: usize = 64;

/// The memory tier's actor.
pub struct MemoryDriver {
    pub(crate) shelf: Arc<Shelf>,
    pub(crate) clock: Clock,
    // IMPORTANT: last.
    pub(crate) _guard: DeathGuard,
}

impl Actor for MemoryDriver {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX);
        let addr = ctx.address();
        // Bounded by the bell: at most one ring is on its way.
        self.shelf.bells.sweep.hang(move || addr.do_send(Sweep));
        // What was cleared while nobody was here to sweep.
        ctx.notify(Sweep);
    }
}

impl Handler<Resize> for MemoryDriver {
    type Result = Result<(), Error>;

    fn handle(&mut self, resize: Resize, _: &mut Self::Context) -> Self::Result {
        let bytes = resize.memory_bytes;
        if bytes < MEMORY_BYTES_MIN {
            return Err(Error::Invalid {
                field: "memory_bytes",
                reason: format!("is {bytes}, allowed is {MEMORY_BYTES_MIN} and more"),
            });
        }
        self.shelf.resize(bytes, self.clock.now_ms());
        Ok(())
    }
}

impl Handler<Sweep> for MemoryDriver {
    // One at a time: with the bell that makes at most one more that waits.
    type Result = AtomicResponse<Self, u64>;

    fn handle(&mut self, _: Sweep, _: &mut Self::Context) -> Self::Result {
        let (shelf, clock) = (Arc::clone(&self.shelf), self.clock.clone());
        let sweep = async move {
            shelf.bells.sweep.answer();
            let mut swept = 0;
            for stripe in 0..shelf.stripes() {
                swept += shelf.sweep(stripe, clock.now_ms());
                // One stripe at a time, so that a sweep never holds the others up.
                tokio::task::yield_now().await;
            }
            swept
        };
        AtomicResponse::new(Box::pin(sweep.into_actor(self)))
    }
}

impl Handler<Measure> for MemoryDriver {
    type Result = MessageResult<Measure>;

    fn handle(&mut self, _: Measure, _: &mut Self::Context) -> Self::Result {
        let measured: Measured = self.shelf.stats();
        MessageResult(measured)
    }
}

impl Handler<Stop> for MemoryDriver {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Self::Context) {
        ctx.stop();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::shelf::Bounds;
    use crate::version::VersionClock;

    const STRIPES: usize = 64;

    fn start() -> (Arc<Shelf>, Addr<MemoryDriver>) {
        let bounds = Bounds {
            events_max: 8,
            events_bytes_max: usize::MAX,
            deadlines_max: 8,
            distrusted_max: 8,
        };
        let versions = Arc::new(VersionClock::new(0));
        let shelf = Arc::new(Shelf::new(STRIPES, 1 << 20, 8, bounds, versions));
        let memory = MemoryDriver {
            shelf: Arc::clone(&shelf),
            clock: Clock::manual(1_000),
            _guard: DeathGuard::new(1, Arc::new(|_| {})),
        };
        (shelf, memory.start())
    }

    #[actix::test]
    async fn a_sweep_under_way_is_followed_by_one_more_however_many_are_asked_for() {
        let (shelf, addr) = start();
        assert_eq!(addr.send(Sweep).await.unwrap(), 0);
        let (sent, to) = (Arc::new(AtomicUsize::new(0)), addr.clone());
        let count = Arc::clone(&sent);
        shelf.bells.sweep.hang(move || {
            count.fetch_add(1, Ordering::SeqCst);
            // Bounded by the bell.
            to.do_send(Sweep);
        });
        // A sweep takes a turn for each stripe, so each of these turns finds one under way.
        let turns = STRIPES * 20;
        for _ in 0..turns {
            shelf.bells.sweep.ring();
            tokio::task::yield_now().await;
        }
        let sent = sent.load(Ordering::SeqCst);
        assert!((2..=turns / STRIPES + 2).contains(&sent), "{sent} sweeps");
    }

    #[actix::test]
    async fn other_messages_wait_for_two_sweeps_at_most() {
        let (shelf, addr) = start();
        addr.send(Sweep).await.unwrap();
        for _ in 0..1_000 {
            shelf.bells.sweep.ring();
        }
        let measured = addr.send(Measure);
        tokio::pin!(measured);
        let mut turns = 0;
        while futures_util::poll!(&mut measured).is_pending() {
            turns += 1;
            shelf.bells.sweep.ring();
            tokio::task::yield_now().await;
        }
        assert!(turns <= 2 * STRIPES + 8, "{turns} turns");
    }
}
