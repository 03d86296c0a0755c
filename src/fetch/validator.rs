//! What a source tells a value's version by (RFC 9110, section 8.8: an ETag, a date; or any bytes), kept with the
//! value so that the next load can ask only for what is newer.
//!
//! It lies among the entry's tags, in a place that no host's tag can have: so it goes wherever the value goes,
//! and with it.

use smol_str::SmolStr;

/// What a validator's tag begins with, and no host's.
const MARK: &str = "\0v";
/// The longest that is kept, in bytes. Without one the next load asks for all.
pub const VALIDATOR_BYTES_MAX: usize = 1_024;

/// Whether a tag is none that a host may give.
pub(crate) fn is_reserved(tag: &str) -> bool {
    tag.starts_with(MARK)
}

/// The tag that keeps a validator; none, if it is too long.
pub(crate) fn to_tag(validator: &[u8]) -> Option<SmolStr> {
    if validator.len() > VALIDATOR_BYTES_MAX {
        return None;
    }
    Some(match std::str::from_utf8(validator) {
        Ok(text) => format!("{MARK}={text}").into(),
        Err(_) => {
            let digits = validator.iter().map(|byte| format!("{byte:02x}"));
            let digits: String = digits.collect();
            format!("{MARK}#{digits}").into()
        }
    })
}

/// The validator among an entry's tags.
pub(crate) fn among(tags: &[SmolStr]) -> Option<Vec<u8>> {
    let kept = tags.iter().find_map(|tag| tag.strip_prefix(MARK))?;
    if let Some(text) = kept.strip_prefix('=') {
        return Some(text.as_bytes().to_vec());
    }
    let digits = kept.strip_prefix('#')?.as_bytes().chunks(2);
    let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_come_back_and_other_tags_are_none() {
        let long = vec![7; VALIDATOR_BYTES_MAX];
        for validator in [
            &b""[..],
            b"W/\"abc\"",
            b"\xff\x00\x80",
            "\0v#".as_bytes(),
            &long,
        ] {
            let tag = to_tag(validator).unwrap();
            assert!(is_reserved(&tag));
            let tags = ["a".into(), tag, "b".into()];
            assert_eq!(among(&tags).as_deref(), Some(validator));
        }
        assert_eq!(to_tag(&[7; VALIDATOR_BYTES_MAX + 1]), None);
        let others: [&[SmolStr]; 3] = [&[], &["v=1".into()], &["\0v#f".into(), "\0v#".into()]];
        assert_eq!(others.map(among)[..2], [None, None]);
        assert!(!is_reserved("v=1") && !is_reserved("\0w"));
    }
}
