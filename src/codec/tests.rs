//! What every codec does, and does alike.

use super::*;
use serde::{Deserialize, Deserializer, Serializer};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct User {
    name: String,
    age: Option<u8>,
}

#[derive(Debug)]
struct Panics;
impl Serialize for Panics {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        panic!("secret")
    }
}
impl<'de> Deserialize<'de> for Panics {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        panic!("secret")
    }
}

#[derive(Debug)]
struct Fails;
impl Serialize for Fails {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("secret"))
    }
}
impl<'de> Deserialize<'de> for Fails {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(serde::de::Error::custom("secret"))
    }
}

fn ada() -> User {
    User {
        name: "Ada".into(),
        age: Some(36),
    }
}

/// Every codec that writes more than bytes.
fn all() -> Vec<BuiltIn> {
    let all = (0..=u8::MAX).filter_map(BuiltIn::from_byte);
    all.filter(|codec| *codec != BuiltIn::Raw).collect()
}

fn encode<V: Value>(codec: BuiltIn, value: &V) -> Bytes {
    codec.encode(value, 1_000, false).unwrap()
}

#[test]
fn a_value_reads_back_as_it_was_written() {
    for codec in all() {
        let bytes = encode(codec, &ada());
        assert_eq!(codec.encode(&ada(), 1_000, true).unwrap(), bytes);
        assert_eq!(codec.encoded_len(&ada(), 1_000).unwrap(), bytes.len());
        assert_eq!(codec.decode::<User>(&bytes).unwrap(), ada());
        assert_eq!(BuiltIn::from_byte(codec.to_byte()), Some(codec));
    }
    assert_eq!(BuiltIn::from_byte(0), None);
    assert_eq!(BuiltIn::from_byte(HOST_ID_MIN), None);
}

#[test]
fn a_codec_is_told_by_its_type_and_carries_its_number() {
    let ids = [
        (
            Coder::<User>::new(Bincode).id(),
            Codec::<User>::id(&Bincode),
        ),
        #[cfg(feature = "codecs")]
        (
            Coder::<User>::new(MessagePack).id(),
            Codec::<User>::id(&MessagePack),
        ),
        #[cfg(feature = "codecs")]
        (Coder::<User>::new(Json).id(), Codec::<User>::id(&Json)),
        (Coder::<Bytes>::new(Raw).id(), Raw.id()),
    ];
    for (told, own) in ids {
        assert_eq!(told, own);
    }
    let last = ids.last().map(|(id, _)| *id);
    assert_eq!((ids.first().map(|(id, _)| *id), last), (Some(1), Some(4)));
}

#[test]
fn the_codecs_themselves_write_and_read_what_a_cache_does() {
    fn works(codec: impl Codec<User>) {
        let bytes = codec.encode(&ada(), 1_000).unwrap();
        assert_eq!(codec.encoded_len(&ada(), 1_000).unwrap(), bytes.len());
        assert_eq!(codec.decode(&bytes).unwrap(), ada());
        assert!(codec.decode(&bytes.slice(1..)).is_err());
        assert!(matches!(
            codec.encode(&ada(), 3),
            Err(Error::TooLarge { .. })
        ));
    }
    works(Bincode);
    #[cfg(feature = "codecs")]
    works(MessagePack);
    #[cfg(feature = "codecs")]
    works(Json);
    let bytes = Bytes::from_static(b"abcdef");
    for same in [
        Raw.encode(&bytes, 6).unwrap(),
        Raw.decode(&bytes).unwrap(),
        BuiltIn::Raw.encode(&bytes, 6, true).unwrap(),
    ] {
        assert_eq!((same.as_ptr(), same.len()), (bytes.as_ptr(), 6));
    }
    assert_eq!(Raw.encoded_len(&bytes, 6).unwrap(), 6);
    assert!(matches!(Raw.encode(&bytes, 5), Err(Error::TooLarge { .. })));
    assert!(Raw.encoded_len(&bytes, 5).is_err());
    assert!(BuiltIn::Raw.encode(&ada(), 100, false).is_err());
    assert!(BuiltIn::Raw.decode::<User>(&bytes).is_err());
}

#[test]
fn a_value_past_the_limit_is_refused_with_the_limit() {
    for codec in all() {
        for refused in [
            codec.encode(&ada(), 3, false).map(|b| b.len()),
            codec.encode(&ada(), 3, true).map(|b| b.len()),
            codec.encoded_len(&ada(), 3),
        ] {
            assert!(matches!(refused, Err(Error::TooLarge { limit: 3, .. })));
        }
    }
}

#[test]
fn bytes_left_over_or_missing_are_an_error() {
    for codec in all() {
        let bytes = encode(codec, &ada());
        let mut longer = bytes.to_vec();
        longer.push(b'0');
        for wrong in [longer.into(), bytes.slice(..bytes.len() - 1), Bytes::new()] {
            let error = codec.decode::<User>(&wrong).unwrap_err();
            assert!(matches!(error, Error::Decode { .. }), "{codec:?} {error}");
        }
    }
}

#[test]
fn no_bytes_make_a_decoder_panic() {
    for codec in all() {
        let bytes = encode(codec, &(ada(), vec![1_u64 << 60; 3], Some('x')));
        for at in 0..bytes.len() {
            for to in [0, 1, 0x7f, 0x80, 0xc1, 0xc9, 0xd8, 0xdd, 0xdf, 0xfd, 0xff] {
                let mut damaged = bytes.to_vec();
                damaged[at] = to;
                let damaged = Bytes::from(damaged);
                type Read = (User, Vec<u64>, Option<char>);
                if let Err(error) = codec.decode::<Read>(&damaged) {
                    assert!(
                        !error.to_string().contains("panicked"),
                        "{codec:?} {at} {to}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_host_that_panics_or_fails_fails_its_own_call_without_its_text() {
    for codec in all() {
        for is_secret in [false, true] {
            let panicked = codec.encode(&Panics, 10, is_secret).unwrap_err();
            assert!(matches!(panicked, Error::Encode { .. }));
            assert!(!panicked.to_string().contains("secret"));
            let failed = codec.encode(&Fails, 10, is_secret).unwrap_err();
            assert!(!failed.to_string().contains("secret"));
        }
        let one = encode(codec, &1_u8);
        for error in [
            codec.encoded_len(&Panics, 10).unwrap_err(),
            codec.encoded_len(&Fails, 10).unwrap_err(),
            codec.decode::<Panics>(&one).map(drop).unwrap_err(),
            codec.decode::<Fails>(&one).map(drop).unwrap_err(),
        ] {
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
}

/// Writes more each time.
struct Grows(std::sync::atomic::AtomicUsize);
impl Serialize for Grows {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let times = self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        to.serialize_str(&"secret".repeat(times + 1))
    }
}
impl<'de> Deserialize<'de> for Grows {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from).map(|_| Self(0.into()))
    }
}

#[test]
fn a_secret_that_is_longer_than_it_was_measured_is_refused_and_not_moved() {
    for codec in all() {
        let grows = || Grows(0.into());
        assert!(codec.encode(&grows(), 1_000, false).is_ok());
        let error = codec.encode(&grows(), 1_000, true).unwrap_err();
        assert!(error.to_string().contains("the same twice"), "{error}");
    }
}

/// A sequence that does not know its length, as of lines that are read one by one.
#[derive(Debug)]
struct Lines;
impl Serialize for Lines {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeSeq;
        let mut lines = serializer.serialize_seq(None)?;
        lines.serialize_element("secret")?;
        lines.end()
    }
}
impl<'de> Deserialize<'de> for Lines {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::<String>::deserialize(deserializer).map(|_| Self)
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Number(u8),
    Text(String),
}

#[test]
fn what_bincode_cannot_write_or_read_is_said_in_words_that_help() {
    let error = BuiltIn::Bincode.encode(&Lines, 100, false).unwrap_err();
    let error = error.to_string();
    assert!(error.contains("the length of a sequence"), "{error}");
    assert!(error.contains("MessagePack"), "{error}");
    assert!(!error.contains("secret"), "{error}");
    for value in [Untagged::Number(7), Untagged::Text("secret".into())] {
        let bytes = encode(BuiltIn::Bincode, &value);
        let error = BuiltIn::Bincode.decode::<Untagged>(&bytes).unwrap_err();
        let error = error.to_string();
        assert!(error.contains("not self-describing"), "{error}");
        assert!(error.contains("codec(Json)"), "{error}");
        assert!(!error.contains("secret"), "{error}");
    }
    // An empty one has no length that could be wrong.
    let bytes = encode(BuiltIn::Bincode, &Vec::<String>::new());
    assert!(BuiltIn::Bincode.decode::<Lines>(&bytes).is_ok());
}

#[cfg(feature = "codecs")]
#[test]
fn what_nests_too_deep_to_be_read_back_is_not_written() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Chain {
        End,
        Link(Box<Chain>),
    }
    let chain = |links| (0..links).fold(Chain::End, |chain, _| Chain::Link(Box::new(chain)));
    for (codec, links_max) in [(BuiltIn::MessagePack, 128), (BuiltIn::Json, 127)] {
        let deep = chain(links_max);
        let bytes = codec.encode(&deep, 10_000, false).unwrap();
        assert_eq!(codec.decode::<Chain>(&bytes).unwrap(), deep);
        let error = codec.encode(&chain(links_max + 1), 10_000, false);
        let error = error.unwrap_err().to_string();
        assert!(error.contains("nests deeper"), "{error}");
    }
    // Bytes that were not written by it.
    let mut endless = b"\x81\xa4Link".repeat(100_000);
    endless.extend(b"\xa3End");
    assert!(
        BuiltIn::MessagePack
            .decode::<Chain>(&endless.into())
            .is_err()
    );
    let endless = Bytes::from(b"{\"Link\":".repeat(100_000));
    assert!(BuiltIn::Json.decode::<Chain>(&endless).is_err());
}

#[test]
fn two_types_have_two_tags() {
    assert_ne!(type_tag::<User>(), type_tag::<Panics>());
    assert_eq!(type_tag::<User>(), type_tag::<User>());
}
