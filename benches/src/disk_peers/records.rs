//! What is stored: keys of sixteen bytes, and values of five hundred that do not compress.

use std::sync::Arc;

use crate::workload::Random;

/// Bytes of a value.
pub const VALUE_BYTES: usize = 500;

const KEY_BYTES: usize = 16;
/// Values are pieces of a text of this length.
const TEXT_BYTES: usize = 4 << 20;
const SYMBOLS: &[u8; 64] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";

/// Keys and values by their numbers; `Arc`, so that tasks and threads can have it.
pub struct Records {
    keys: String,
    text: String,
}

impl Records {
    pub fn new(count: u32) -> Arc<Self> {
        let keys: String = (0..count).map(|n| format!("user:{n:011}")).collect();
        assert_eq!(keys.len(), count as usize * KEY_BYTES, "sixteen bytes each");
        let mut random = Random::new(7);
        let symbol = |_| char::from(SYMBOLS[(random.draw() % 64) as usize]);
        let text = (0..TEXT_BYTES).map(symbol).collect();
        Arc::new(Self { keys, text })
    }

    #[inline]
    pub fn key(&self, n: u32) -> &str {
        let from = n as usize * KEY_BYTES;
        &self.keys[from..from + KEY_BYTES]
    }

    /// Two values overlap by nothing, or begin at different places.
    #[inline]
    pub fn value(&self, n: u32) -> &str {
        let from = n as usize * 509 % (TEXT_BYTES - VALUE_BYTES);
        &self.text[from..from + VALUE_BYTES]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_have_the_lengths_that_are_said() {
        let records = Records::new(100_000);
        assert_eq!(records.key(99_999), "user:00000099999");
        assert_eq!(records.value(99_999).len(), VALUE_BYTES);
        assert_ne!(records.value(0), records.value(1));
    }
}
