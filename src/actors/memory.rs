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
