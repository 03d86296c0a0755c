//! What a row says of itself in one byte.

/// Priority, queue and three truths in one byte.
#[derive(Clone, Copy)]
pub struct Flags(pub u8);

impl Flags {
    pub const PRIORITY: u8 = 0b11;
    pub const QUEUE: u8 = 0b1100;
    pub const ANNOUNCED: u8 = 1 << 4;
    pub const HAS_RARE: u8 = 1 << 5;
    pub const FREE: u8 = 1 << 6;

    pub fn has(self, flag: u8) -> bool {
        self.0 & flag != 0
    }

    pub fn set(&mut self, mask: u8, bits: u8) {
        self.0 = self.0 & !mask | bits;
    }
}
