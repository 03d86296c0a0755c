//! The storage driver's actor: stands for one generation, which ends with it.
//!
//! Reads of the handle and commits of the batch writer go straight to a lane, by the port; the handle's
//! questions can be sent here as messages, too.

use std::sync::Arc;

use actix::prelude::*;
use bytes::Bytes;

use super::guard::DeathGuard;
use crate::drivers::{Reclaimed, Usage};
use crate::error::Error;
use crate::messages::control::Stop;
use crate::messages::storage::{Get, GetMany, Measure, Reclaim, Scan};
use crate::port::Port;
use crate::wait::{Timer, Wait};

/// Commands that wait for the commit lane at most; none holds more than a record.
pub const COMMANDS_MAX: usize = 64;

/// Why a port is closed that no failure has closed before.
const STOPPED: &str = "its actor stopped or panicked";

/// The actor of one driver in one generation.
pub struct StorageDriver {
    pub(crate) port: Arc<Port>,
    pub(crate) call_ms_max: u64,
    pub(crate) timer: Timer,
    // IMPORTANT: last, so that the port is closed before the supervisor hears of it.
    pub(crate) guard: DeathGuard,
}

impl StorageDriver {
    /// Asks a question on a read lane through the port, as the handle does.
    fn ask<T: 'static, F>(
        &self,
        ask: impl FnOnce(Arc<Port>, Asking) -> F,
    ) -> ResponseFuture<Result<T, Error>>
    where
        F: Future<Output = Result<T, Error>> + 'static,
    {
        let asking = Asking {
            timer: self.timer.clone(),
            after: std::time::Duration::from_millis(self.call_ms_max),
        };
        Box::pin(ask(Arc::clone(&self.port), asking))
    }
}

/// What a question needs to wait.
struct Asking {
    timer: Timer,
    after: std::time::Duration,
}

impl Asking {
    fn wait(&self) -> Wait<'_> {
        self.timer.wait(self.after)
    }
}

impl Actor for StorageDriver {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(COMMANDS_MAX * 2);
    }

    fn stopping(&mut self, _: &mut Self::Context) -> Running {
        self.port.close(self.guard.generation(), STOPPED);
        Running::Stop
    }
}

impl Drop for StorageDriver {
    fn drop(&mut self) {
        // A panic skips `stopping`.
        self.port.close(self.guard.generation(), STOPPED);
    }
}

impl Handler<Get> for StorageDriver {
    type Result = ResponseFuture<Result<Option<Bytes>, Error>>;

    fn handle(&mut self, get: Get, _: &mut Self::Context) -> Self::Result {
        self.ask(|port, asking| async move { port.get(get.key, &asking.wait()).await })
    }
}

impl Handler<GetMany> for StorageDriver {
    type Result = ResponseFuture<Result<Vec<Option<Bytes>>, Error>>;

    fn handle(&mut self, get: GetMany, _: &mut Self::Context) -> Self::Result {
        self.ask(|port, asking| async move { port.get_many(get.keys, &asking.wait()).await })
    }
}

impl Handler<Scan> for StorageDriver {
    type Result = ResponseFuture<Result<Vec<(Bytes, Bytes)>, Error>>;

    fn handle(&mut self, scan: Scan, _: &mut Self::Context) -> Self::Result {
        self.ask(|port, asking| async move {
            port.scan(scan.prefix, scan.after, scan.page, &asking.wait())
                .await
        })
    }
}

impl Handler<Reclaim> for StorageDriver {
    type Result = ResponseFuture<Result<Reclaimed, Error>>;

    fn handle(&mut self, reclaim: Reclaim, _: &mut Self::Context) -> Self::Result {
        let port = Arc::clone(&self.port);
        Box::pin(async move { port.reclaim(reclaim.now_ms, reclaim.count_max).await })
    }
}

impl Handler<Measure> for StorageDriver {
    type Result = ResponseFuture<Result<Usage, Error>>;

    fn handle(&mut self, _: Measure, _: &mut Self::Context) -> Self::Result {
        self.ask(|port, asking| async move { port.usage(&asking.wait()).await })
    }
}

impl Handler<Stop> for StorageDriver {
    type Result = ();

    fn handle(&mut self, _: Stop, ctx: &mut Self::Context) {
        ctx.stop();
    }
}
