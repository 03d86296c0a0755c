//! The death guard: how a supervisor learns that an actor is gone, however it went.
//!
//! actix restarts nothing after a panic, so each actor owns a guard; dropping the actor, by a stop or
//! by unwinding, drops the guard, which tells the supervisor.

use crate::sync::Arc;

/// Tells a supervisor, when dropped, that the generation that owns it is gone.
///
/// IMPORTANT: an actor's guard is its last field, so that everything else it owned is gone when the
/// supervisor hears of it.
pub struct DeathGuard {
    generation: u64,
    tell: Arc<dyn Fn(u64) + Send + Sync>,
}

impl DeathGuard {
    /// A guard for one generation. `tell` must not block and must not panic: it may run while a
    /// panic unwinds.
    pub fn new(generation: u64, tell: Arc<dyn Fn(u64) + Send + Sync>) -> Self {
        Self { generation, tell }
    }

    /// The generation it guards.
    pub fn generation(&self) -> u64 {
        self.generation
    }
}

impl Drop for DeathGuard {
    fn drop(&mut self) {
        (self.tell)(self.generation);
    }
}
