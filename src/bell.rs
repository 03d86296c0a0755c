//! A bell: wakes an actor that takes its work from a shared structure.
//!
//! At most one ring is under way per receiver; it carries nothing, so losing one loses nothing as
//! long as the receiver looks once more when it starts (the slot protocol, rule 8, SEMANTICS.md).
//! This is the one place outside `actors/` from which a message is sent without waiting.

use crate::sync::{AtomicBool, Mutex, Ordering};

type Ring = Box<dyn Fn() + Send + Sync>;

/// Wakes one receiver.
#[derive(Default)]
pub struct Bell {
    ringing: AtomicBool,
    ring: Mutex<Option<Ring>>,
}

impl Bell {
    /// Says how to wake the receiver; a new generation of an actor replaces the old one's way.
    pub fn hang(&self, ring: impl Fn() + Send + Sync + 'static) {
        *self.ring.lock() = Some(Box::new(ring));
        // The receiver looks at everything when it starts, so a ring that went to its predecessor
        // must not keep later ones from being sent.
        self.ringing.store(false, Ordering::SeqCst);
    }

    /// Wakes the receiver, unless a ring is already on its way.
    pub fn ring(&self) {
        if !self.ringing.swap(true, Ordering::SeqCst)
            && let Some(ring) = &*self.ring.lock()
        {
            ring();
        }
    }

    /// The receiver is about to look, and need not have done so since it was rung. IMPORTANT: it must call this
    /// before its last look, not after: what is added between a look and a late call would wake nobody.
    pub fn answer(&self) {
        // Read as well: what was done before a ring that nobody heard is seen by who looks after this.
        self.ringing.swap(false, Ordering::SeqCst);
    }
}

/// The bells that the shelf rings.
#[derive(Default)]
pub struct Bells {
    /// Something is dirty: the batch writer.
    pub dirty: Bell,
    /// Something happened: the subscription hub.
    pub events: Bell,
    /// Something has a deadline: the TTL manager.
    pub deadlines: Bell,
    /// A fence was raised: the memory driver.
    pub sweep: Bell,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::{Arc, AtomicUsize};

    #[test]
    fn at_most_one_ring_is_on_its_way() {
        let rung = Arc::new(AtomicUsize::new(0));
        let bell = Bell::default();
        bell.ring();
        let count = Arc::clone(&rung);
        bell.hang(move || {
            count.fetch_add(1, Ordering::SeqCst);
        });
        bell.ring();
        bell.ring();
        assert_eq!(rung.load(Ordering::SeqCst), 1);
        bell.answer();
        bell.ring();
        assert_eq!(rung.load(Ordering::SeqCst), 2);
    }
}
