//! Starting an actor under its supervisor, and waiting for its first launch.

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Addr, ArbiterHandle};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::Parts;
use crate::actors::guard::DeathGuard;
use crate::actors::supervisor::{Charge, Halt, Launch, Supervisor, Watchdog};
use crate::drivers::Failure;
use crate::error::Error;
use crate::health::{ActorHealth, ActorState, Restarts};
use crate::runtime::on;

/// Starts a supervisor on the control arbiter and waits for its first launch.
pub(super) async fn supervise(
    parts: &Arc<Parts>,
    name: &str,
    launch: Launch,
    watchdog: Option<Watchdog>,
) -> Result<(), Error> {
    let health = Arc::new(Mutex::new(ActorHealth {
        name: name.to_owned(),
        state: ActorState::Starting,
        reason: None,
        since_ms: parts.tiers.now_ms(),
        generation: 0,
        next_ms: None,
    }));
    let (first, launched) = oneshot::channel();
    let (book, called) = (Arc::clone(&parts.book), name.to_owned());
    let halt: Halt = Box::new(move || book.stop(&called));
    let (changes, tiers) = (parts.changes.clone(), Arc::clone(&parts.tiers));
    let config = &parts.tiers.config;
    let charge = Charge {
        health: Arc::clone(&health),
        launch,
        halt,
        watchdog,
        changed: Box::new(move || changes.note()),
        is_closing: Box::new(move || tiers.timer.is_closed()),
        restarts: Restarts::new(config.restart_backoff, config.restart_limit),
        clock: parts.tiers.clock.clone(),
    };
    let start = move || Supervisor::start(charge, first);
    let addr = on(parts.runtime.control(), start).await?;
    parts.book.supervisor(name, addr, health);
    let open_ms_max = config.open_ms_max;
    let wait = parts.tiers.timer.wait(Duration::from_millis(open_ms_max));
    let launched = wait.until(launched, || Error::Open {
        driver: name.into(),
        reason: format!("it did not open within {open_ms_max} ms, which is open_ms_max").into(),
    });
    match launched.await? {
        Ok(Ok(())) => Ok(()),
        Ok(Err(failure)) => Err(Error::Open {
            driver: name.into(),
            reason: failure.to_string().into(),
        }),
        Err(_) => Err(Error::Closed),
    }
}

/// A launch that starts an actor on an arbiter and files its address.
pub(super) fn simple<A, M, F>(arbiter: ArbiterHandle, make: M, file: F) -> Launch
where
    A: Actor<Context = actix::Context<A>>,
    M: Fn(DeathGuard) -> Addr<A> + Send + Sync + 'static,
    F: Fn(Addr<A>) + Send + Sync + 'static,
{
    let make = Arc::new(make);
    let file = Arc::new(file);
    Box::new(move |guard| {
        let (make, file, arbiter) = (Arc::clone(&make), Arc::clone(&file), arbiter.clone());
        Box::pin(async move {
            let addr = on(&arbiter, move || make(guard)).await;
            file(addr.map_err(Failure::reopen)?);
            Ok(())
        })
    })
}
