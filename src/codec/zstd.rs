//! Zstandard, with contexts that are used again: making one costs more than compressing a small value.

use bytes::Bytes;
use parking_lot::Mutex;
use zstd::zstd_safe::{CCtx, DCtx, compress_bound, find_frame_compressed_size};

use super::compression::prefixed;
use crate::wipe::Wiped;

/// Contexts of each kind that are kept while nobody uses them.
const IDLE_MAX: usize = 8;
/// A context, or its buffer, that has grown beyond this is let go: 4 MiB.
const IDLE_BYTES_MAX: usize = 4 << 20;

/// A compressor, and where it writes to.
struct Compressor {
    context: CCtx<'static>,
    out: Vec<u8>,
}

static COMPRESSORS: Mutex<Vec<Compressor>> = Mutex::new(Vec::new());
static DECOMPRESSORS: Mutex<Vec<DCtx<'static>>> = Mutex::new(Vec::new());

/// Keeps it for the next one, if there is room.
fn keep<T>(idle: &Mutex<Vec<T>>, used: T) {
    let mut idle = idle.lock();
    if idle.len() < IDLE_MAX {
        idle.push(used);
    }
}

/// A payload of these bytes; `None` where it is not worth it.
pub(super) fn compress(plain: &[u8], level: i32) -> Option<Bytes> {
    let idle = COMPRESSORS.lock().pop();
    let mut compressor = match idle {
        Some(compressor) => compressor,
        None => Compressor {
            context: CCtx::try_create()?,
            out: Vec::new(),
        },
    };
    let Compressor { context, out } = &mut compressor;
    out.clear();
    // With room for the worst it need not look for its end.
    out.reserve(compress_bound(plain.len()));
    let done = context.compress(out, plain, level);
    let packed = done.ok().and_then(|_| prefixed(plain.len(), out, false));
    if done.is_ok() && context.sizeof() <= IDLE_BYTES_MAX && out.capacity() <= IDLE_BYTES_MAX {
        keep(&COMPRESSORS, compressor);
    }
    packed
}

/// As [`compress`], by a context of its own, into buffers that are overwritten when they are let go. What zstd
/// itself leaves in its memory is not.
pub(super) fn compress_secret(plain: &[u8], level: i32) -> Option<Bytes> {
    let mut out = Wiped::from(Vec::with_capacity(compress_bound(plain.len())));
    CCtx::try_create()?.compress(&mut *out, plain, level).ok()?;
    prefixed(plain.len(), &out, true)
}

/// Fills the room that `out` has with what one frame holds; how many bytes. `None` if it is damaged, has more
/// than that, or is followed by anything.
pub(super) fn decompress(frame: &[u8], out: &mut Vec<u8>, is_secret: bool) -> Option<usize> {
    if find_frame_compressed_size(frame).ok()? != frame.len() {
        return None;
    }
    let idle = match is_secret {
        true => None,
        false => DECOMPRESSORS.lock().pop(),
    };
    let mut context = match idle {
        Some(context) => context,
        None => DCtx::try_create()?,
    };
    let length = context.decompress(out, frame).ok()?;
    if !is_secret {
        keep(&DECOMPRESSORS, context);
    }
    Some(length)
}
