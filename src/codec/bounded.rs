//! A place for bytes that ends at a limit, so that nothing is allocated beyond it.

use std::io;

use bytes::Bytes;

use crate::error::Error;
use crate::wipe::Wiped;

/// Hands bytes on, up to a limit.
pub(super) struct Bounded<F> {
    take: F,
    pub written: usize,
    pub bytes_max: usize,
}

impl<F: FnMut(&[u8])> Bounded<F> {
    pub fn new(bytes_max: usize, take: F) -> Self {
        Self {
            take,
            written: 0,
            bytes_max,
        }
    }

    /// Whether these still fit; if so, they are taken.
    #[inline]
    pub fn take(&mut self, bytes: &[u8]) -> bool {
        self.written += bytes.len();
        if self.written > self.bytes_max {
            return false;
        }
        (self.take)(bytes);
        true
    }
}

impl<F> Bounded<F> {
    /// How many bytes were written, if that is no more than there may be; else `failed` counts, too.
    pub fn end<E>(self, done: Result<(), E>, failed: impl Fn(E) -> Error) -> Result<usize, Error> {
        if self.written > self.bytes_max {
            return Err(Error::value_too_large(self.written, self.bytes_max));
        }
        done.map_err(failed)?;
        Ok(self.written)
    }
}

impl<F: FnMut(&[u8])> io::Write for Bounded<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self.take(bytes) {
            true => Ok(()),
            false => Err(io::ErrorKind::FileTooLarge.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What `write` writes, in one buffer for which room of `length` bytes is made beforehand.
pub(super) fn collected(
    length: usize,
    write: impl FnOnce(&mut dyn FnMut(&[u8])) -> Result<usize, Error>,
) -> Result<Bytes, Error> {
    let mut out = Vec::with_capacity(length);
    write(&mut |bytes| out.extend_from_slice(bytes))?;
    // Of a value that was not measured, or is not the same twice.
    out.shrink_to(2 * out.len());
    Ok(out.into())
}

/// As [`collected`], in a buffer that is overwritten when it is let go; `None` if it is longer than it
/// was measured to be.
pub(super) fn collected_secretly(
    length: usize,
    write: impl FnOnce(&mut dyn FnMut(&[u8])) -> Result<usize, Error>,
) -> Result<Option<Bytes>, Error> {
    let mut out = Wiped::from(Vec::with_capacity(length));
    let mut fits = true;
    write(&mut |bytes| {
        // IMPORTANT: never beyond its room. A buffer that grows leaves what was in it behind.
        fits &= bytes.len() <= length - out.len();
        if fits {
            out.extend_from_slice(bytes);
        }
    })?;
    Ok(fits.then(|| out.shared()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_buffer_never_grows() {
        let write = |take: &mut dyn FnMut(&[u8])| {
            take(b"abc");
            take(b"def");
            Ok(6)
        };
        assert_eq!(collected_secretly(6, write).unwrap().unwrap(), "abcdef");
        assert_eq!(collected_secretly(5, write).unwrap(), None);
        assert_eq!(collected(0, write).unwrap(), "abcdef");
    }
}
