//! Wiring: puts shelf, ports and actors together, each actor under its supervisor.
//!
//! Only here do addresses meet. A factory captured here builds each generation anew.

mod book;
mod driver;
mod health;
mod lines;
mod parts;
#[cfg(feature = "secure")]
mod sealed;
mod supervised;

pub(crate) use book::Book;
pub(crate) use driver::DriverPlan;
pub use health::HealthWatch;
pub(crate) use parts::{Changes, Parts};
use supervised::{simple, supervise};

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use actix::{Actor, Addr};
use parking_lot::{Mutex, RwLock};
use tokio::sync::Semaphore;

use crate::actors::batch::{BatchWriter, Lane};
use crate::actors::desk::Desk;
use crate::actors::hub::{self, Hub};
use crate::actors::memory::MemoryDriver;
use crate::actors::ttl::parts::{TtlConfig, TtlParts};
use crate::actors::ttl::{self, TtlManager};
use crate::clock::Clock;
use crate::config::Config;
use crate::error::Error;
use crate::fetch::Fetches;
use crate::gate::Gate;
use crate::hurry::Hurry;
use crate::messages::control::Stop;
use crate::messages::ttl::Attend;
use crate::port::Port;
use crate::runtime::Runtime;
use crate::shelf::{Bounds, Shelf, TierId, TierSet};
use crate::tiers::{Counts, Home, Tiers};
use crate::version::VersionClock;
use crate::wait::Timer;
use crate::watch::Registry;

/// Starts everything that a larder is made of.
pub(crate) async fn start(
    config: Config,
    clock: Clock,
    drivers: Vec<DriverPlan>,
) -> Result<(Arc<Home>, Arc<Parts>), Error> {
    let runtime = Runtime::start().await?;
    // Ends the threads again if this is dropped.
    let mut unfinished = Unfinished(Some(Arc::clone(&runtime)));
    let started = assemble(config, clock, drivers, Arc::clone(&runtime)).await;
    if started.is_err() {
        // Whoever tries again at once finds every directory free.
        runtime.stop(FAILED_START).await;
    }
    unfinished.0 = None;
    started
}

/// How long the threads of a larder that failed to start may take to end.
const FAILED_START: Duration = Duration::from_secs(5);

async fn assemble(
    config: Config,
    clock: Clock,
    drivers: Vec<DriverPlan>,
    runtime: Arc<Runtime>,
) -> Result<(Arc<Home>, Arc<Parts>), Error> {
    let versions = Arc::new(VersionClock::new(0));
    let (subscriptions_max, messages_max) = (
        config.limits.subscriptions_max,
        config.limits.messages_in_flight_max,
    );
    let tiers = Arc::new(tiers(config, clock, &drivers, &runtime, &versions));
    let parts = Arc::new(Parts {
        tiers,
        runtime,
        book: Arc::new(Book::default()),
        versions,
        ttl_stats: Arc::default(),
        registry: Arc::new(Mutex::new(Registry::new(subscriptions_max))),
        gate: Gate::new("messages_in_flight_max", messages_max),
        started: AtomicBool::new(false),
        changes: Changes::default(),
        #[cfg(feature = "secure")]
        vaults: sealed::vaults(&drivers),
    });
    for (at, plan) in drivers.iter().enumerate() {
        let port = &parts.tiers.ports.get(at).ok_or(Error::Closed)?;
        driver::start(&parts, plan, port).await?;
    }
    start_memory(&parts).await?;
    start_hub(&parts).await?;
    start_ttl(&parts).await?;
    start_batch(&parts, &drivers).await?;
    let home = Arc::new(Home {
        tiers: Arc::clone(&parts.tiers),
        farewell: Mutex::new(None),
    });
    lines::hang(&parts).await?;
    start_desk(&parts, &home).await?;
    parts.started.store(true, Ordering::Release);
    Ok((home, parts))
}

struct Unfinished(Option<Arc<Runtime>>);

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.stop_without_waiting();
        }
    }
}

fn tiers(
    config: Config,
    clock: Clock,
    drivers: &[DriverPlan],
    runtime: &Runtime,
    versions: &Arc<VersionClock>,
) -> Tiers {
    let stripes = config.stripes();
    let limits = &config.limits;
    let bounds = Bounds {
        events_max: (limits.events_waiting_max / stripes).max(1),
        events_bytes_max: limits.events_waiting_bytes_max,
        deadlines_max: (limits.deadlines_waiting_max / stripes).max(1),
        distrusted_max: (limits.distrusted_keys_max / stripes).max(1),
    };
    let shelf = Shelf::new(
        stripes,
        config.memory_bytes,
        limits.tag_fences_max,
        bounds,
        Arc::clone(versions),
    );
    let ports = drivers.iter().enumerate().map(|(at, plan)| {
        let id = TierId(u8::try_from(at).unwrap_or(u8::MAX));
        Arc::new(Port::new(
            id,
            &plan.name,
            plan.source,
            limits.reads_in_flight_max,
            plan.commits.breaker.clone(),
            clock.clone(),
        ))
    });
    let ports: Vec<_> = ports.collect();
    let fetches = Fetches::new(limits, clock.clone());
    shelf.name_tiers(ports.iter().map(|port| Arc::clone(&port.name)).collect());
    Tiers {
        shelf: Arc::new(shelf),
        ports,
        clock,
        timer: Timer::new(runtime.timer().clone()),
        rooms: drivers
            .iter()
            .map(|_| Arc::new(Semaphore::new(limits.dirty_bytes_max)))
            .collect(),
        fence_room: Arc::new(Semaphore::new(limits.tag_fences_max)),
        fence_order: Mutex::new(()),
        hurry: Arc::new(Hurry::default()),
        closed: AtomicBool::new(false),
        counts: Counts::default(),
        fetches,
        sealed: sealed_tiers(drivers),
        chunk_counts: drivers
            .iter()
            .map(|plan| plan.commits.chunk_count)
            .collect(),
        definitions: RwLock::default(),
        lines: OnceLock::new(),
        config,
    }
}

fn sealed_tiers(drivers: &[DriverPlan]) -> TierSet {
    let sealed = drivers
        .iter()
        .enumerate()
        .filter(|(_, plan)| plan.is_sealed());
    let ids = sealed.map(|(at, _)| TierId(u8::try_from(at).unwrap_or(u8::MAX)));
    ids.fold(TierSet::NONE, TierSet::with)
}

async fn start_memory(parts: &Arc<Parts>) -> Result<(), Error> {
    let (shelf, clock) = (Arc::clone(&parts.tiers.shelf), parts.tiers.clock.clone());
    let make = move |guard| {
        let memory = MemoryDriver {
            shelf: Arc::clone(&shelf),
            clock: clock.clone(),
            _guard: guard,
        };
        memory.start()
    };
    let book = Arc::clone(&parts.book);
    let file = move |addr: Addr<MemoryDriver>| {
        book.stopper("memory", addr.clone().recipient::<Stop>());
        *book.memory.write() = Some(addr);
    };
    let arbiter = parts.runtime.control().clone();
    supervise(parts, "memory", simple(arbiter, make, file), None).await
}

async fn start_hub(parts: &Arc<Parts>) -> Result<(), Error> {
    let (shelf, registry) = (Arc::clone(&parts.tiers.shelf), Arc::clone(&parts.registry));
    let make = move |guard| hub::start(Arc::clone(&shelf), Arc::clone(&registry), guard);
    let book = Arc::clone(&parts.book);
    let file = move |addr: Addr<Hub>| {
        book.stopper("hub", addr.clone().recipient::<Stop>());
        *book.hub.write() = Some(addr);
    };
    let arbiter = parts.runtime.control().clone();
    supervise(parts, "hub", simple(arbiter, make, file), None).await
}

async fn start_desk(parts: &Arc<Parts>, home: &Arc<Home>) -> Result<(), Error> {
    let arbiter = parts.runtime.arbiter().await?;
    let lines = Arc::new(lines::desk(parts, home));
    let (gate, capacity) = (
        parts.gate.clone(),
        parts.tiers.config.limits.messages_in_flight_max,
    );
    let make = move |guard| Desk::new(Arc::clone(&lines), gate.clone(), capacity, guard).start();
    let book = Arc::clone(&parts.book);
    let file = move |addr: Addr<Desk>| {
        book.stopper("desk", addr.clone().recipient::<Stop>());
        *book.desk.write() = Some(addr);
    };
    supervise(parts, "desk", simple(arbiter, make, file), None).await
}

async fn start_ttl(parts: &Arc<Parts>) -> Result<(), Error> {
    let (weak, names) = (Arc::downgrade(parts), Arc::downgrade(&parts.book));
    let registry = Arc::clone(&parts.registry);
    let reclaimers = parts
        .tiers
        .ports
        .iter()
        .map(|port| (port.id.0, driver::reclaimer(&names, port)));
    let ttl = TtlParts {
        shelf: Arc::clone(&parts.tiers.shelf),
        clock: parts.tiers.clock.clone(),
        config: TtlConfig::default(),
        watched: Arc::new(move |key| registry.lock().watches(key)),
        below: Arc::new(move |key| {
            let parts = weak.upgrade();
            Box::pin(async move { parts?.tiers.deadline_of(&key).await })
        }),
        reclaimers: reclaimers.collect(),
        stats: Arc::clone(&parts.ttl_stats),
    };
    let make = move |guard| ttl::start(ttl.clone(), guard);
    let book = Arc::clone(&parts.book);
    let registry = Arc::clone(&parts.registry);
    let file = move |addr: Addr<TtlManager>| {
        book.stopper("ttl", addr.clone().recipient::<Stop>());
        // A new generation finds in the shelf what is there; what is watched may lie below only.
        for key in registry.lock().keys() {
            // A full mailbox leaves the rest to the records' own reclaim.
            let _ = addr.try_send(Attend(key));
        }
        *book.ttl.write() = Some(addr);
    };
    let arbiter = parts.runtime.control().clone();
    supervise(parts, "ttl", simple(arbiter, make, file), None).await
}

async fn start_batch(parts: &Arc<Parts>, drivers: &[DriverPlan]) -> Result<(), Error> {
    let tiers = &parts.tiers;
    let lanes: Vec<Arc<Lane>> = drivers
        .iter()
        .zip(&tiers.ports)
        .map(|(plan, port)| Arc::new(driver::lane(&parts.book, plan, port)))
        .collect();
    let (shelf, clock, hurry) = (
        Arc::clone(&tiers.shelf),
        tiers.clock.clone(),
        Arc::clone(&tiers.hurry),
    );
    let make = move |guard| {
        let (shelf, clock, hurry) = (Arc::clone(&shelf), clock.clone(), Arc::clone(&hurry));
        BatchWriter::new(shelf, clock, hurry, &lanes, guard).start()
    };
    let book = Arc::clone(&parts.book);
    let file = move |addr: Addr<BatchWriter>| {
        book.stopper("batch", addr.clone().recipient::<Stop>());
        *book.batch.write() = Some(addr);
    };
    let arbiter = parts.runtime.control().clone();
    supervise(parts, "batch", simple(arbiter, make, file), None).await
}
