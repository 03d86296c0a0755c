//! Launching a storage driver: open on a storage thread, take in what the store remembers, start its
//! lanes, then its actor, then probe it.
//!
//! A successor is opened only when every thread of its predecessor has returned and the store has
//! been let go (the slot protocol, rule 10, SEMANTICS.md).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use actix::{Actor, Addr, ArbiterHandle};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::heal::Healing;
#[cfg(feature = "secure")]
use super::upkeep::{Patience, Upkeep};
use super::{DriverPlan, Parts};
use crate::actors::batch::RESERVE_MS;
use crate::actors::driver::{COMMANDS_MAX, StorageDriver};
use crate::actors::guard::DeathGuard;
use crate::actors::supervisor::Launch;
use crate::drivers::lanes::{LaneEnds, Lanes, lanes};
use crate::drivers::pulse::Pulse;
use crate::drivers::{Driver, Factory, Failure, Watermark};
use crate::messages::control::Stop;
use crate::port::Port;
use crate::runtime::{Runtime, on};
use crate::tiers::{Raised, load_fences};
use crate::version::Version;

/// Resolves when every thread of a generation has let its driver go.
type Ended = oneshot::Receiver<()>;

/// A driver that has been opened, with what it remembers.
struct Opened {
    driver: Arc<dyn Driver>,
    /// As it was found.
    mark: Watermark,
    /// As it is reserved now.
    reserved: Watermark,
    fences: Vec<Raised>,
    /// How many of them could not be read.
    damaged: u64,
}

pub(super) fn launch(
    parts: &Arc<Parts>,
    plan: &DriverPlan,
    port: &Arc<Port>,
    arbiter: ArbiterHandle,
) -> Launch {
    let tiers = Arc::clone(&parts.tiers);
    let (parts, port) = (Arc::downgrade(parts), Arc::clone(port));
    let (name, factory, commits) = (
        plan.name.clone(),
        Arc::clone(&plan.factory),
        plan.commits.clone(),
    );
    let ended: Arc<Mutex<Option<Ended>>> = Arc::default();
    let healing = Arc::new(Healing::new(&tiers, &port));
    let was_open: Arc<AtomicBool> = Arc::default();
    #[cfg(feature = "secure")]
    let patience: Arc<Patience> = Arc::default();
    Box::new(move |guard| {
        let (parts, port, arbiter) = (parts.clone(), Arc::clone(&port), arbiter.clone());
        let (name, factory, commits) = (name.clone(), Arc::clone(&factory), commits.clone());
        let (ended, was_open) = (Arc::clone(&ended), Arc::clone(&was_open));
        let healing = Arc::clone(&healing);
        #[cfg(feature = "secure")]
        let patience = Arc::clone(&patience);
        Box::pin(async move {
            let parts = parts
                .upgrade()
                .ok_or_else(|| Failure::fatal("larder is shut down"))?;
            let before = ended.lock().take();
            if let Some(before) = before {
                // An error means that the other end is gone, which is what is waited for.
                let _ = before.await;
            }
            port.allowed().await;
            let now_ms = parts.tiers.now_ms();
            let opened = open(&parts.runtime, &name, factory, now_ms, &healing).await?;
            let is_first = !was_open.swap(true, Ordering::AcqRel);
            take_in(&parts, &port, &opened, is_first);
            let generation = guard.generation();
            let pulse = pulse(&parts, &port, generation, commits.read_threads);
            let (ends, lanes, (_held, all_ended)) =
                start_lanes(&parts, &name, commits.read_threads, pulse, opened.driver);
            *ended.lock() = Some(all_ended);
            ends?;
            #[cfg(feature = "secure")]
            let pulse = Arc::clone(lanes.pulse());
            port.half_open(generation, lanes);
            let addr = start_actor(&parts, &port, &arbiter, guard).await?;
            let stop = addr.clone().recipient::<Stop>();
            parts.book.stopper(&name, stop.clone());
            parts.book.drivers.write().insert(name, addr);
            if let Err(failure) = port.prove(generation).await {
                // One message per generation.
                stop.do_send(Stop);
                return Err(failure);
            }
            // What could not be stored meanwhile.
            parts.tiers.shelf.bells.dirty.ring();
            // Encoding takes time that the control arbiter does not have.
            arbiter.spawn(healing.run(generation));
            #[cfg(feature = "secure")]
            if let Some(vault) = parts.vaults.get(&*port.name).cloned() {
                let upkeep = Upkeep::new(&parts, &port, vault, _held, patience);
                arbiter.spawn(keep_up(upkeep, port, pulse));
            }
            Ok(())
        })
    })
}

/// What a sealed store has to do, until its generation is given up.
#[cfg(feature = "secure")]
async fn keep_up(upkeep: Upkeep, port: Arc<Port>, pulse: Arc<Pulse>) {
    let _ = port.unless_given_up(&pulse, upkeep.run()).await;
}

/// Runs the factory, and everything that must be known before the first read, on a storage thread.
async fn open(
    runtime: &Runtime,
    name: &str,
    factory: Factory,
    now_ms: u64,
    healing: &Arc<Healing>,
) -> Result<Opened, Failure> {
    let (opened, waiting) = oneshot::channel();
    let healing = Arc::clone(healing);
    let body = move || {
        let open = std::panic::AssertUnwindSafe(|| {
            let driver: Arc<dyn Driver> = Arc::from(factory()?);
            if let Some(emptied) = &driver.opened().emptied {
                healing.emptied(emptied);
            }
            let mark = driver.reserved();
            let now_ms = now_ms.max(mark.clock_ms);
            let from = Version::at(now_ms).get().max(mark.ceiling);
            let newest = Version::new(from).unwrap_or(Version::at(now_ms));
            let (fences, damaged) = load_fences(&*driver, newest)?;
            let next = Watermark {
                ceiling: from.saturating_add(Version::at(RESERVE_MS).get()),
                clock_ms: now_ms,
            };
            driver.reserve(next)?;
            let reserved = driver.reserved();
            Ok(Opened {
                driver,
                mark,
                reserved,
                fences,
                damaged,
            })
        });
        let result = std::panic::catch_unwind(open);
        let _ =
            opened.send(result.unwrap_or_else(|_| {
                Err(Failure::reopen("the driver panicked while it was opened"))
            }));
    };
    runtime
        .spawn(&format!("larder-{name}-open"), body)
        .map_err(Failure::reopen)?;
    waiting
        .await
        .map_err(|_| Failure::reopen("the opening thread ended"))?
}

/// Versions begin above everything the store has seen issued, time does not go back, and what it
/// remembers as cleared stays cleared.
fn take_in(parts: &Parts, port: &Port, opened: &Opened, is_first: bool) {
    let mark = opened.mark;
    let fences = opened.fences.iter().map(|(_, version)| version.get());
    parts.versions.raise(fences.fold(mark.ceiling, u64::max));
    port.stats
        .damaged
        .fetch_add(opened.damaged, Ordering::Relaxed);
    parts.tiers.clock.raise(mark.clock_ms);
    parts.versions.reserve(opened.reserved.ceiling);
    if is_first && parts.started.load(Ordering::Acquire) {
        // Calls have been made before anything was known of it.
        parts.tiers.outbid(port.id, mark.ceiling, &opened.fences);
    }
    parts.tiers.raise_stored(&opened.fences);
}

/// What tells a port of the calls that a generation's threads make.
fn pulse(parts: &Parts, port: &Arc<Port>, generation: u64, read_threads: usize) -> Pulse {
    let port = Arc::downgrade(port);
    Pulse::new(parts.tiers.clock.clone(), read_threads, move |ended| {
        if let Some(port) = port.upgrade() {
            port.called(generation, &ended);
        }
    })
}

/// Starts the threads. Each holds the driver; the last to end lets it go and says so.
fn start_lanes(
    parts: &Parts,
    name: &str,
    read_threads: usize,
    pulse: Pulse,
    driver: Arc<dyn Driver>,
) -> (Result<(), Failure>, Lanes, (Weak<Held>, Ended)) {
    let reads_max = parts.tiers.config.limits.reads_in_flight_max;
    let (lanes, ends) = lanes(reads_max, COMMANDS_MAX, pulse);
    let (gone, all_ended) = oneshot::channel();
    let held = Arc::new(Held {
        ends,
        driver,
        _gone: Gone(Some(gone)),
    });
    let mut started = Ok(());
    for nth in 0..read_threads {
        let held = Arc::clone(&held);
        let body = move || held.ends.read_loop(nth, &held.driver);
        let thread = parts
            .runtime
            .spawn(&format!("larder-{name}-read-{nth}"), body);
        started = started.and(thread);
    }
    let weak = Arc::downgrade(&held);
    let body = move || held.ends.commit_loop(&held.driver);
    let thread = parts.runtime.spawn(&format!("larder-{name}-commit"), body);
    (
        started.and(thread).map_err(Failure::reopen),
        lanes,
        (weak, all_ended),
    )
}

/// What the threads share. IMPORTANT: in this order, so that the driver is gone when `_gone` tells.
pub(super) struct Held {
    ends: LaneEnds,
    pub(super) driver: Arc<dyn Driver>,
    _gone: Gone,
}

struct Gone(Option<oneshot::Sender<()>>);

impl Drop for Gone {
    fn drop(&mut self) {
        if let Some(gone) = self.0.take() {
            let _ = gone.send(());
        }
    }
}

async fn start_actor(
    parts: &Parts,
    port: &Arc<Port>,
    arbiter: &ArbiterHandle,
    guard: DeathGuard,
) -> Result<Addr<StorageDriver>, Failure> {
    let tiers = &parts.tiers;
    let (port, timer) = (Arc::clone(port), tiers.timer.clone());
    let call_ms_max = tiers.config.call_ms_max;
    let make = move || {
        StorageDriver {
            port,
            call_ms_max,
            timer,
            guard,
        }
        .start()
    };
    on(arbiter, make).await.map_err(Failure::reopen)
}
