//! The address book: where each actor's present generation can be reached.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix::{Addr, Recipient};
use parking_lot::{Mutex, RwLock};

use crate::actors::batch::BatchWriter;
use crate::actors::desk::Desk;
use crate::actors::driver::StorageDriver;
use crate::actors::hub::Hub;
use crate::actors::memory::MemoryDriver;
use crate::actors::supervisor::Supervisor;
use crate::actors::ttl::TtlManager;
use crate::health::{ActorHealth, ActorState};
use crate::messages::control::Stop;
use crate::messages::supervise::{Failed, Restart};

/// Addresses by name. Each launch replaces its actor's.
#[derive(Default)]
pub(crate) struct Book {
    pub memory: RwLock<Option<Addr<MemoryDriver>>>,
    pub batch: RwLock<Option<Addr<BatchWriter>>>,
    pub desk: RwLock<Option<Addr<Desk>>>,
    pub hub: RwLock<Option<Addr<Hub>>>,
    pub ttl: RwLock<Option<Addr<TtlManager>>>,
    pub drivers: RwLock<BTreeMap<String, Addr<StorageDriver>>>,
    stoppers: RwLock<BTreeMap<String, Recipient<Stop>>>,
    supervisors: RwLock<Vec<Supervised>>,
}

struct Supervised {
    name: String,
    addr: Addr<Supervisor>,
    health: Arc<Mutex<ActorHealth>>,
}

impl Book {
    /// Files how to stop an actor.
    pub fn stopper(&self, name: &str, stop: Recipient<Stop>) {
        self.stoppers.write().insert(name.to_owned(), stop);
    }

    /// Files a supervisor.
    pub fn supervisor(&self, name: &str, addr: Addr<Supervisor>, health: Arc<Mutex<ActorHealth>>) {
        self.supervisors.write().push(Supervised {
            name: name.to_owned(),
            addr,
            health,
        });
    }

    /// Makes an actor stop.
    pub fn stop(&self, name: &str) {
        if let Some(stop) = self.stoppers.read().get(name) {
            // One message per call of an operator or a supervisor, so nothing piles up.
            stop.do_send(Stop);
        }
    }

    /// Makes a supervisor launch its actor now, if it is down. `false` if there is none of the name.
    pub fn restart(&self, name: &str) -> bool {
        let supervisors = self.supervisors.read();
        let found = supervisors.iter().find(|s| s.name == name);
        if let Some(supervised) = found {
            // One message per call of an operator.
            supervised.addr.do_send(Restart);
        }
        found.is_some()
    }

    /// Where a supervisor takes commands of an operator.
    pub fn supervisor_of(&self, name: &str) -> Option<Recipient<Restart>> {
        let supervisors = self.supervisors.read();
        let found = supervisors.iter().find(|s| s.name == name);
        found.map(|supervised| supervised.addr.clone().recipient())
    }

    /// Tells a driver's supervisor that a generation is of no more use.
    pub fn failed(&self, name: &str, failed: Failed) {
        let supervisors = self.supervisors.read();
        if let Some(supervised) = supervisors.iter().find(|s| s.name == name) {
            // At most a few per generation: the port is closed before it reports.
            supervised.addr.do_send(failed);
        }
    }

    /// Whether an actor is up, as its supervisor has it. An address may still be connected for a moment
    /// when its actor is gone.
    pub fn is_up(&self, name: &str) -> bool {
        let supervisors = self.supervisors.read();
        let found = supervisors.iter().find(|s| s.name == name);
        found.is_some_and(|s| s.health.lock().state == ActorState::Up)
    }

    /// How every actor is.
    pub fn health(&self) -> Vec<ActorHealth> {
        self.supervisors
            .read()
            .iter()
            .map(|s| s.health.lock().clone())
            .collect()
    }
}
