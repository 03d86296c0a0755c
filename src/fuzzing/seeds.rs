//! Good inputs to begin with, of every target.

use bytes::Bytes;

use crate::record::{self, Header};
use crate::version::Version;

/// Inputs of a target that get far; none of one that is not known.
pub fn seeds(target: &str) -> Vec<Vec<u8>> {
    match target {
        "record" => records(),
        "cursor" => {
            let texts = [
                "users/0/b",
                "users/2/a/a/7",
                "a b/4/üü/x",
                "users/9/x",
                "/0/",
            ];
            texts.iter().map(|text| text.as_bytes().to_vec()).collect()
        }
        #[cfg(feature = "disk")]
        "watermark" => crate::drivers::disk::fuzzing::seeds(),
        #[cfg(feature = "secure")]
        "envelope" => super::sealed::envelopes(),
        #[cfg(feature = "secure")]
        "header" => super::sealed::headers(),
        "bincode" => super::codecs::bincodes(),
        #[cfg(feature = "codecs")]
        "messagepack" => super::codecs::messagepacks(),
        #[cfg(feature = "codecs")]
        "json" => super::codecs::jsons(),
        #[cfg(feature = "compression")]
        "compression" => compressed(),
        _ => Vec::new(),
    }
}

fn records() -> Vec<Vec<u8>> {
    let plain = Header {
        version: Version::at(77),
        created_ms: 77,
        expires_ms: 1_077,
        keep_ms: 2_077,
        idle_ms: 0,
        ends_ms: u64::MAX,
        schema: 1,
        type_tag: 0x0123_4567_89ab_cdef,
        codec: 1,
        priority: 2,
        flags: 0,
        tags: Box::default(),
    };
    let tagged = Header {
        idle_ms: 60_000,
        ends_ms: 5_000,
        tags: ["team:7".into(), "\0v=W/\"etag\"".into(), "\0v#ff00".into()].into(),
        ..plain.clone()
    };
    let packed = Header {
        flags: record::COMPRESSION_LZ4,
        ..tagged.clone()
    };
    let key = b"users/42";
    let mut found: Vec<Bytes> = [&plain, &tagged, &packed]
        .map(|header| record::encode(key, header, b"\x09\0\0\0payload"))
        .into();
    let mut sealed = Vec::new();
    let stamp = record::Stamp {
        version: plain.version,
        keep_ms: plain.keep_ms,
    };
    record::put_sealed_head(&mut sealed, 1, stamp, 3);
    sealed.extend_from_slice(&[7; 40]);
    record::put_checksum(key, &mut sealed);
    found.push(sealed.into());
    let inputs = found
        .iter()
        .map(|stored| [&[key.len() as u8], &key[..], stored].concat());
    inputs.collect()
}

#[cfg(feature = "compression")]
fn compressed() -> Vec<Vec<u8>> {
    use crate::codec::Compression;
    let plain = b"a text that is worth it, for it says everything twice; ".repeat(4);
    let mut found = vec![[&[0], &plain[..]].concat()];
    for compression in [
        Compression::Zstd { level: 1 },
        Compression::Zstd { level: 19 },
        Compression::Lz4,
    ] {
        let Some((flags, packed)) = compression.pack(&plain, false) else {
            continue;
        };
        found.push([&[flags], &packed[..]].concat());
        // Lengths that lie: as long as may be, a little more and less than it is, too long.
        for length in [
            128 << 10,
            plain.len() as u32 + 1,
            plain.len() as u32 - 1,
            u32::MAX,
        ] {
            let packed = packed.get(record::LENGTH_BYTES..).unwrap_or_default();
            found.push([&[flags], &length.to_le_bytes()[..], packed].concat());
        }
    }
    found
}
