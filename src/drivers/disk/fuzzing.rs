//! The fixed values that the disk driver keeps beside records, for `crate::fuzzing`.

use super::layout::{Expiry, Head, index_key, split_index_key};
use super::watermark::{Marks, SLOT_BYTES, decode, encode};
use crate::version::Version;

/// A slot of the watermark file, as it is and with a checksum that fits; and whatever else the same bytes could
/// be in the keyspace.
pub fn watermark(bytes: &[u8]) {
    let mut slot = [0; SLOT_BYTES];
    slot.iter_mut()
        .zip(bytes)
        .for_each(|(to, byte)| *to = *byte);
    read_slot(&slot);
    if let Some((body, sum)) = slot.split_last_chunk_mut::<4>() {
        *sum = crc32fast::hash(body).to_le_bytes();
    }
    read_slot(&slot);
    if let Some(expiry) = Expiry::decode(bytes) {
        assert_eq!(expiry.encode(), bytes);
    }
    if let Some(head) = Head::decode(bytes) {
        assert_eq!(head.encode(), bytes);
    }
    if let Some((at_ms, key)) = split_index_key(bytes) {
        assert_eq!(index_key(at_ms, key), bytes);
    }
}

fn read_slot(slot: &[u8; SLOT_BYTES]) {
    let Some((generation, marks)) = decode(slot) else {
        return;
    };
    // Bits that are not known are passed over, so not all of it is written again.
    assert_eq!(
        decode(&encode(generation, &marks)),
        Some((generation, marks))
    );
    for at in [0, 8, 40, SLOT_BYTES - 1] {
        let mut damaged = *slot;
        if let Some(byte) = damaged.get_mut(at) {
            *byte ^= 0x11;
        }
        assert_eq!(decode(&damaged), None);
    }
}

/// What there is of each kind.
pub fn seeds() -> Vec<Vec<u8>> {
    let marks = Marks {
        store_id: 7,
        ceiling: 8,
        clock_ms: 9,
        written_seq: 5,
        synced_seq: 4,
        boot: 10,
        is_damaged: true,
        is_lost: false,
        is_suspect: true,
    };
    let version = Version::at(3);
    vec![
        encode(2, &marks).to_vec(),
        encode(3, &Marks::default()).to_vec(),
        Expiry {
            version,
            keep_ms: 9,
        }
        .encode(),
        Head::default().encode(),
        index_key(9, b"users/42"),
    ]
}
