//! Health: how larder and each of its drivers is, and why.

use serde::Serialize;

use crate::breaker::{BreakerMode, BreakerState, BreakerStats};
use crate::clock::{Millis, millis};
use crate::fetch::Fetches;
use crate::health::{ActorHealth, ActorState};
use crate::port::Port;
use crate::shelf::Owed;

/// How something is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// It does all that it is there for.
    Up,
    /// It does some of it. `reason` says what not.
    Degraded,
    /// It does nothing at present.
    Down,
}

/// How larder is. A larder with every driver down is degraded, not down: memory goes on answering.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Health {
    /// All of it: down only after a shutdown.
    pub condition: Condition,
    /// Each driver below memory, in their order.
    pub drivers: Vec<DriverHealth>,
    /// Every actor.
    pub actors: Vec<ActorHealth>,
    /// Loads by hosts' loaders. They say nothing of larder itself.
    pub loads: LoadsHealth,
}

/// How the loads by hosts' loaders are.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct LoadsHealth {
    /// Loads under way.
    pub in_flight: usize,
    /// The age of the oldest of them, in milliseconds; also of one that hangs, until its time is up.
    pub oldest_ms: Option<u64>,
    /// The sources that are not asked at present, by name.
    pub sources_left_alone: Vec<String>,
}

impl LoadsHealth {
    pub(crate) fn of(fetches: &Fetches) -> Self {
        let (in_flight, oldest) = fetches.flights.under_way();
        let sources = fetches.sources.stats().into_iter();
        let left_alone = sources.filter(|source| source.refuses_for_ms.is_some());
        Self {
            in_flight,
            oldest_ms: oldest.map(|began| millis(began.elapsed())),
            sources_left_alone: left_alone.map(|source| source.name).collect(),
        }
    }
}

/// How one driver is.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct DriverHealth {
    /// Its name.
    pub name: String,
    /// How it is.
    pub condition: Condition,
    /// Why it is not up.
    pub reason: Option<String>,
    /// Whether calls go to it, since when, and for how much of the time.
    pub breaker: BreakerStats,
    /// How often it has been opened.
    pub generation: u64,
    /// Until the next attempt to open it, in milliseconds, if it is down.
    pub retry_in_ms: Option<u64>,
    /// The age of its oldest call under way, in milliseconds; also of one that hangs and was given up.
    pub oldest_call_ms: Option<u64>,
    /// Which thread makes that call.
    pub oldest_call: Option<String>,
    /// Keys whose change is not stored in it yet.
    pub dirty_slots: usize,
    /// Whether stored copies of some keys are not believed until they are deleted or overwritten.
    pub distrusted: bool,
}

impl Health {
    pub(crate) fn of(
        drivers: Vec<DriverHealth>,
        actors: Vec<ActorHealth>,
        loads: LoadsHealth,
        closed: bool,
    ) -> Self {
        let all_up = drivers.iter().all(|d| d.condition == Condition::Up)
            && actors.iter().all(|a| a.state == ActorState::Up);
        let condition = match (closed, all_up) {
            (true, _) => Condition::Down,
            (false, true) => Condition::Up,
            (false, false) => Condition::Degraded,
        };
        Self {
            condition,
            drivers,
            actors,
            loads,
        }
    }
}

impl DriverHealth {
    pub(crate) fn of(
        port: &Port,
        actor: Option<&ActorHealth>,
        owed: &Owed,
        now_ms: Millis,
        awake_ms: Millis,
    ) -> Self {
        let breaker = port.breaker();
        let oldest = port.oldest_call();
        let is_up = breaker.state == BreakerState::Closed;
        let half = port.fullness().or_else(|| {
            let doubt = "some stored copies are not believed until they are replaced";
            owed.distrusted.then(|| doubt.into())
        });
        let condition = match (is_up, &half) {
            (false, _) => Condition::Down,
            (true, Some(_)) => Condition::Degraded,
            (true, None) => Condition::Up,
        };
        // What its supervisor says is later, and may say more.
        let down = || {
            let supervisor = actor.and_then(|actor| actor.reason.clone());
            let reason = supervisor.or_else(|| port.reason().map(|reason| reason.to_string()));
            let is_forced = breaker.mode == BreakerMode::ForcedOpen;
            let else_it_is = match is_forced {
                true => "its breaker is forced open",
                false => "it is being opened",
            };
            reason.or_else(|| Some(else_it_is.into()))
        };
        let next_ms = actor.and_then(|actor| actor.next_ms);
        Self {
            name: port.name.to_string(),
            condition,
            reason: if is_up {
                half.map(|half| half.to_string())
            } else {
                down()
            },
            generation: actor.map_or(0, |actor| actor.generation),
            retry_in_ms: next_ms.map(|next_ms| next_ms.saturating_sub(now_ms)),
            oldest_call_ms: oldest.map(|call| awake_ms.saturating_sub(call.began_ms)),
            oldest_call: oldest.map(|call| call.thread.to_string()),
            dirty_slots: owed.dirty_slots,
            distrusted: owed.distrusted,
            breaker,
        }
    }
}
