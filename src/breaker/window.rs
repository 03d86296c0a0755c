//! The latest calls of a driver, two bits each.

/// Which of the latest calls failed and which were slow.
#[derive(Debug)]
pub struct Window {
    failed: u128,
    slow: u128,
    len: u32,
    size: u32,
}

impl Window {
    /// An empty one of the latest `size` calls (1 to 128).
    pub fn new(size: u32) -> Self {
        Self {
            failed: 0,
            slow: 0,
            len: 0,
            size: size.clamp(1, u128::BITS),
        }
    }

    /// A call has ended; the oldest one may fall out.
    pub fn push(&mut self, failed: bool, slow: bool) {
        let keep = u128::MAX >> (u128::BITS - self.size);
        self.failed = (self.failed << 1 | u128::from(failed)) & keep;
        self.slow = (self.slow << 1 | u128::from(slow)) & keep;
        self.len = (self.len + 1).min(self.size);
    }

    /// How many failed, how many were slow, of how many.
    pub fn counts(&self) -> (u32, u32, u32) {
        (self.failed.count_ones(), self.slow.count_ones(), self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_latest_calls_are_counted() {
        let mut window = Window::new(3);
        assert_eq!(window.counts(), (0, 0, 0));
        for (failed, slow) in [(true, true), (true, false), (false, true)] {
            window.push(failed, slow);
        }
        assert_eq!(window.counts(), (2, 2, 3));
        window.push(false, false);
        assert_eq!(window.counts(), (1, 1, 3));
    }

    #[test]
    fn the_widest_window_holds_128_calls() {
        let mut window = Window::new(u32::MAX);
        (0..200).for_each(|_| window.push(true, false));
        assert_eq!(window.counts(), (128, 0, 128));
    }
}
