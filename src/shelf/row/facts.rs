//! What a slot says beside its value.

use super::super::slot::{Body, Extra, Priority, Slot};
use crate::clock::Millis;
use crate::sync::Arc;
use crate::version::Version;

/// A slot without its value.
pub struct Facts {
    pub version: Version,
    pub created_ms: Millis,
    pub expires_ms: Millis,
    pub extra: Option<Arc<Extra>>,
    pub weight: u32,
    pub schema: u32,
    pub priority: Priority,
    pub announced: bool,
}

impl Facts {
    pub fn of(slot: Slot) -> (Self, Body) {
        let facts = Self {
            version: slot.version,
            created_ms: slot.created_ms,
            expires_ms: slot.expires_ms,
            extra: slot.extra,
            weight: slot.weight,
            schema: slot.schema,
            priority: slot.priority,
            announced: slot.announced,
        };
        (facts, slot.body)
    }

    pub fn with(self, body: Body) -> Slot {
        Slot {
            version: self.version,
            created_ms: self.created_ms,
            expires_ms: self.expires_ms,
            body,
            extra: self.extra,
            weight: self.weight,
            schema: self.schema,
            priority: self.priority,
            announced: self.announced,
        }
    }
}
