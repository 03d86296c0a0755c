//! Published vectors, through the same functions that seal records and derive keys.

use serde::Deserialize;

use super::*;

fn bytes(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.map(byte).collect()
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File<T> {
    test_groups: Vec<Group<T>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Group<T> {
    #[serde(default)]
    key_size: usize,
    #[serde(default)]
    iv_size: usize,
    tests: Vec<T>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Aead {
    tc_id: u32,
    key: String,
    iv: String,
    aad: String,
    msg: String,
    ct: String,
    tag: String,
    result: String,
}

fn sealed(key: &SealingKey, nonce: &[u8], bound: &[u8], plain: &[u8]) -> Vec<u8> {
    let mut text = plain.to_vec();
    let tag = key.seal(nonce.try_into().unwrap(), bound, &mut text);
    text.extend_from_slice(&tag.unwrap());
    text
}

/// How many tests of a file of Wycheproof's there are for a cipher; each is run.
fn wycheproof(file: &str, cipher: Cipher) -> usize {
    let file: File<Aead> = serde_json::from_str(file).unwrap();
    let fits = |group: &&Group<Aead>| (group.key_size, group.iv_size) == (256, 96);
    let mut run = 0;
    for test in file.test_groups.iter().filter(fits).flat_map(|g| &g.tests) {
        let key = SealingKey::new(cipher, &bytes(&test.key)).unwrap();
        let (nonce, bound) = (bytes(&test.iv), bytes(&test.aad));
        let wanted = bytes(&format!("{}{}", test.ct, test.tag));
        let mut text = wanted.clone();
        let opened = key.open(nonce.as_slice().try_into().unwrap(), &bound, &mut text);
        let plain = bytes(&test.msg);
        if test.result == "valid" {
            assert_eq!(
                sealed(&key, &nonce, &bound, &plain),
                wanted,
                "{}",
                test.tc_id
            );
            assert_eq!(&text[..opened.unwrap()], plain, "{}", test.tc_id);
        } else {
            assert_eq!(opened, Err(Forged), "{}", test.tc_id);
        }
        run += 1;
    }
    run
}

#[test]
fn wycheproofs_vectors_of_aes_256_gcm_hold() {
    let file = include_str!("../../../../tests/vectors/aes_gcm_test.json");
    assert_eq!(wycheproof(file, Cipher::Aes256Gcm), 66);
}

#[test]
fn wycheproofs_vectors_of_chacha20_poly1305_hold() {
    let file = include_str!("../../../../tests/vectors/chacha20_poly1305_test.json");
    assert_eq!(wycheproof(file, Cipher::ChaCha20Poly1305), 316);
}

#[test]
fn the_vector_of_rfc_8439_section_2_8_2_holds() {
    let key: Vec<u8> = (0x80..0xa0).collect();
    let key = SealingKey::new(Cipher::ChaCha20Poly1305, &key).unwrap();
    let plain = b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, \
                  sunscreen would be it.";
    let nonce = bytes("070000004041424344454647");
    let text = sealed(&key, &nonce, &bytes("50515253c0c1c2c3c4c5c6c7"), plain);
    assert!(text.starts_with(&bytes("d31a8d34648e60db7b86afbc53ef7ec2")));
    assert!(text.ends_with(&bytes("1ae10b594f09e26a7e902ecbd0600691")));
}

#[test]
fn test_case_16_of_the_gcm_specification_holds() {
    let key = bytes("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308");
    let key = SealingKey::new(Cipher::Aes256Gcm, &key).unwrap();
    let plain = bytes(
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72\
         1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
    );
    let bound = bytes("feedfacedeadbeeffeedfacedeadbeefabaddad2");
    let text = sealed(&key, &bytes("cafebabefacedbaddecaf888"), &bound, &plain);
    assert!(text.starts_with(&bytes("522dc1f099567d07f47f37a32a84427d")));
    assert!(text.ends_with(&bytes("76fc6ece0f4e1768cddf8853bb2d551b")));
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Hkdf {
    tc_id: u32,
    ikm: String,
    salt: String,
    info: String,
    size: usize,
    okm: String,
    result: String,
}

#[test]
fn wycheproofs_vectors_of_hkdf_hold() {
    let file = include_str!("../../../../tests/vectors/hkdf_sha256_test.json");
    let file: File<Hkdf> = serde_json::from_str(file).unwrap();
    let mut run = 0;
    for test in file.test_groups.iter().flat_map(|group| &group.tests) {
        // Longer than the specification allows: never asked for here.
        if test.result != "valid" {
            assert!(test.size > 255 * 32, "{}", test.tc_id);
            continue;
        }
        let mut out = vec![0; test.size];
        let (salt, secret) = (bytes(&test.salt), bytes(&test.ikm));
        expand(&salt, &secret, &[&bytes(&test.info)], &mut out);
        assert_eq!(out, bytes(&test.okm), "{}", test.tc_id);
        run += 1;
    }
    assert!(run > 80, "{run}");
}

#[test]
fn the_vectors_of_rfc_5869_hold() {
    let long = |from: u8, to: u8| (from..to).collect::<Vec<u8>>();
    let cases = [
        (
            vec![0x0b; 22],
            bytes("000102030405060708090a0b0c"),
            bytes("f0f1f2f3f4f5f6f7f8f9"),
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
        ),
        (
            long(0x00, 0x50),
            long(0x60, 0xb0),
            (0xb0..=0xff).collect(),
            "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09\
             da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87",
        ),
        (
            vec![0x0b; 22],
            Vec::new(),
            Vec::new(),
            "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
        ),
    ];
    for (secret, salt, info, wanted) in cases {
        let wanted = bytes(wanted);
        let mut out = vec![0; wanted.len()];
        // Parts of it come to the same.
        let (first, second) = info.split_at(info.len() / 2);
        expand(&salt, &secret, &[first, second], &mut out);
        assert_eq!(out, wanted);
        let key = derive(&salt, &secret, &[&info]);
        assert_eq!(key[..], wanted[..KEY_BYTES]);
    }
}

#[test]
fn no_nonce_is_given_twice() {
    let mut nonces = Nonces::default();
    let given: std::collections::HashSet<_> = (0..1_000).map(|_| nonces.next().unwrap()).collect();
    assert_eq!(given.len(), 1_000);
}

#[test]
fn a_key_of_another_length_is_refused() {
    for cipher in [Cipher::Aes256Gcm, Cipher::ChaCha20Poly1305] {
        assert_eq!(Cipher::from_byte(cipher.to_byte()), Some(cipher));
        for length in [0, 16, 31, 33] {
            assert!(SealingKey::new(cipher, &vec![1; length]).is_none());
        }
    }
    assert_eq!(Cipher::from_byte(0), None);
}
