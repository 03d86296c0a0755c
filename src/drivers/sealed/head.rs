//! What a header says without a key, and why one is of no use.

use bytes::{Buf, BufMut};

use super::cipher::Cipher;
use super::envelope::ID_BYTES;

/// First bytes of a header.
pub const MAGIC: [u8; 4] = *b"LKEY";
/// The version of this layout.
pub const FORMAT: u32 = 1;
/// Bytes before the slots.
pub const HEAD_BYTES: usize = 32;
/// Most slots.
pub const SLOTS_MAX: usize = 2;
/// The state of a header whose keys were destroyed.
const SHREDDED: u8 = 0x80;
/// The bit of the state of a store that was a plain one and is being converted.
pub const CONVERTING: u8 = 1;
/// The bit of the state of one that was converted and whose files may still hold plain text.
pub const SCRUB: u8 = 2;

/// Why a header is of no use, as text that says what to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Unusable {
    /// The keys were destroyed on purpose.
    Shredded,
    /// It is damaged, or of a version that is not known.
    Damaged(&'static str),
    /// It was made for another master key than this one.
    OtherKey,
    /// The key is right, and what it should open does not open.
    Edited,
}

/// What is left of a header whose keys are destroyed.
pub fn shredded(id: [u8; ID_BYTES]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEAD_BYTES + 4);
    out.put_slice(&MAGIC);
    out.put_u32_le(FORMAT);
    out.put_slice(&id);
    out.put_slice(&[0, SHREDDED, 0, 0, 0, 0, 0, 0]);
    let sum = crc32fast::hash(&out);
    out.put_u32_le(sum);
    out
}

/// The part of a header that needs no key.
pub struct Head {
    /// The store's identity.
    pub id: [u8; ID_BYTES],
    /// How it seals.
    pub cipher: Cipher,
    /// Bits.
    pub state: u8,
    /// How many slots follow.
    pub slots: usize,
    /// How long the bundle is.
    pub bundle_bytes: usize,
}

/// The part that needs no key, and all of it but the checksum.
///
/// # Errors
///
/// Why it is [`Unusable`].
pub fn read_head(stored: &[u8]) -> Result<(Head, &[u8]), Unusable> {
    let (body, sum) = stored
        .split_last_chunk::<4>()
        .ok_or(Unusable::Damaged("it is cut short"))?;
    let mut rest = body;
    let mut magic = [0; 4];
    let cut = |_| Unusable::Damaged("it is cut short");
    rest.try_copy_to_slice(&mut magic).map_err(cut)?;
    if magic != MAGIC {
        return Err(Unusable::Damaged("it is no header"));
    }
    if is_shredded(stored) {
        return Err(Unusable::Shredded);
    }
    if u32::from_le_bytes(*sum) != crc32fast::hash(body) {
        return Err(Unusable::Damaged("its checksum does not match"));
    }
    if rest.try_get_u32_le().map_err(cut)? != FORMAT {
        return Err(Unusable::Damaged("a later larder wrote it"));
    }
    let mut id = [0; ID_BYTES];
    rest.try_copy_to_slice(&mut id).map_err(cut)?;
    let cipher = rest.try_get_u8().map_err(cut)?;
    let state = rest.try_get_u8().map_err(cut)?;
    let slots = usize::from(rest.try_get_u16_le().map_err(cut)?);
    let bundle_bytes = rest.try_get_u32_le().map_err(cut)? as usize;
    let known = Cipher::from_byte(cipher).filter(|_| state & !(CONVERTING | SCRUB) == 0);
    let cipher = known.ok_or(Unusable::Damaged("a later larder wrote it"))?;
    if !(1..=SLOTS_MAX).contains(&slots) {
        return Err(Unusable::Damaged("its parts do not add up"));
    }
    let head = Head {
        id,
        cipher,
        state,
        slots,
        bundle_bytes,
    };
    Ok((head, body))
}

/// Whether it begins as one whose keys were destroyed, whatever comes after: whoever destroyed them may have died
/// over it.
pub fn is_shredded(stored: &[u8]) -> bool {
    let Some((head, rest)) = stored.split_at_checked(HEAD_BYTES) else {
        return false;
    };
    let sum = rest.first_chunk().map(|sum| u32::from_le_bytes(*sum));
    head.get(4..8) == Some(&FORMAT.to_le_bytes())
        && head.get(25) == Some(&SHREDDED)
        && sum == Some(crc32fast::hash(head))
}
