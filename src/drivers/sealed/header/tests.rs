//! The header, byte by byte, and what each master key opens of it.

use super::super::envelope::ID_BYTES;
use super::super::head::shredded;
use super::*;

fn master(byte: u8) -> MasterKey {
    MasterKey::from_bytes([byte; 32]).unwrap()
}

fn header() -> Header {
    Header::new(Bundle::new(Cipher::Aes256Gcm, true).unwrap(), master(1)).unwrap()
}

fn open(stored: &[u8], byte: u8) -> Result<Header, Unusable> {
    Header::decode(stored, master(byte))
}

/// With a checksum that fits again.
fn mended(mut stored: Vec<u8>) -> Vec<u8> {
    let body = stored.len() - 4;
    let sum = crc32fast::hash(&stored[..body]);
    stored[body..].copy_from_slice(&sum.to_le_bytes());
    stored
}

#[test]
fn a_header_reads_back_as_it_was_written() {
    let mut header = header();
    header.bundle.floor = 12;
    header.bundle.begin_epoch().unwrap();
    let read = open(&header.encode().unwrap(), 1).unwrap();
    assert_eq!(read.bundle.id, header.bundle.id);
    assert_eq!((read.bundle.floor, read.bundle.since), (12, 1));
    assert!(read.bundle.is_converting && !read.bundle.needs_scrub);
    let keys = |header: &Header| {
        let epochs = header.bundle.epochs.iter();
        epochs
            .map(|e| (e.number, e.key.clone()))
            .collect::<Vec<_>>()
    };
    assert_eq!(keys(&read), keys(&header));
}

#[test]
fn another_master_key_is_told_from_an_edited_header() {
    let stored = header().encode().unwrap();
    assert_eq!(open(&stored, 2).err(), Some(Unusable::OtherKey));
    for at in 0..stored.len() - 4 {
        let mut edited = stored.clone();
        edited[at] ^= 1;
        let accident = open(&edited, 1).err();
        assert!(
            matches!(accident, Some(Unusable::Damaged(_))),
            "byte {at}: {accident:?}"
        );
        let purpose = open(&mended(edited), 1).err();
        assert!(purpose.is_some(), "byte {at}");
        assert_ne!(purpose, Some(Unusable::Shredded), "byte {at}");
    }
    for length in 0..stored.len() {
        assert!(open(&stored[..length], 1).is_err());
        if length >= 4 {
            assert!(open(&mended(stored[..length].to_vec()), 1).is_err());
        }
    }
}

#[test]
fn while_a_rotation_is_under_way_both_keys_open_it_and_then_the_new_one_alone() {
    let mut header = header();
    header.rotate(master(2)).unwrap();
    assert!(header.bundle.is_rotating() && header.is_newest());
    let stored = header.encode().unwrap();
    let (old, new) = (open(&stored, 1).unwrap(), open(&stored, 2).unwrap());
    assert!(!old.is_newest() && new.is_newest());
    // What is written with the one is read with the other.
    for by in [&old, &new] {
        let again = by.encode().unwrap();
        assert!(open(&again, 1).is_ok() && open(&again, 2).is_ok());
    }
    let third = header.rotate(master(3)).unwrap_err();
    assert!(third.to_string().contains("under way"), "{third}");
    header.forget_older().unwrap();
    assert!(!header.bundle.is_rotating());
    let stored = header.encode().unwrap();
    assert_eq!(open(&stored, 1).err(), Some(Unusable::OtherKey));
    assert_eq!(open(&stored, 2).unwrap().bundle.epochs.len(), 1);
}

#[test]
fn the_one_who_began_with_the_old_key_can_go_on_with_the_new_one() {
    let mut header = header();
    header.rotate(master(2)).unwrap();
    let mut old = open(&header.encode().unwrap(), 1).unwrap();
    assert!(!old.is_newest());
    old.rotate(master(2)).unwrap();
    assert!(old.is_newest());
    assert_eq!(old.bundle.epochs.len(), 2);
}

#[test]
fn a_shredded_header_says_so_whatever_the_key_is() {
    let stored = shredded([7; ID_BYTES]);
    assert_eq!(open(&stored, 1).err(), Some(Unusable::Shredded));
    assert!(matches!(
        open(&stored[1..], 1).err(),
        Some(Unusable::Damaged(_))
    ));
}

#[test]
fn seals_are_set_aside_until_an_epoch_has_had_its_share() {
    let mut bundle = Bundle::new(Cipher::Aes256Gcm, false).unwrap();
    assert_eq!(bundle.set_aside(100_000).unwrap(), (1, 65_536));
    assert_eq!(bundle.set_aside(100_000).unwrap(), (1, 100_000 - 65_536));
    assert_eq!(bundle.set_aside(100_000).unwrap(), (2, 65_536));
    assert_eq!(bundle.set_aside(1).unwrap(), (3, 1));
    assert_ne!(bundle.epochs[0].key, bundle.epochs[1].key);
}

#[test]
fn past_the_most_epochs_a_rotation_is_asked_for() {
    let mut bundle = Bundle::new(Cipher::Aes256Gcm, false).unwrap();
    while bundle.epochs.len() < super::super::bundle::EPOCHS_MAX {
        bundle.begin_epoch().unwrap();
    }
    let full = bundle.begin_epoch().unwrap_err();
    assert!(full.to_string().contains("rotate"), "{full}");
    let header = Header::new(bundle, master(1)).unwrap();
    assert!(open(&header.encode().unwrap(), 1).is_ok());
}

#[test]
fn a_store_that_is_forgotten_again_and_again_keeps_a_header_that_can_be_read() {
    let mut header = header();
    header.rotate(master(2)).unwrap();
    let (first, since) = (1, header.bundle.since);
    for _ in 0..3 * super::super::bundle::EPOCHS_MAX {
        header.bundle.forget_all(Some(500)).unwrap();
    }
    let mut read = open(&header.encode().unwrap(), 2).unwrap();
    let last = read.bundle.epochs.last().unwrap().number;
    assert_eq!(read.bundle.floor, last);
    // Where records are is known, and the rotation comes to its end.
    let known = |number| read.bundle.epochs.iter().any(|e| e.number == number);
    assert!(known(first) && known(since) && known(500) && read.bundle.is_rotating());
    read.forget_older().unwrap();
    assert!(!read.bundle.is_rotating());
    open(&read.encode().unwrap(), 2).unwrap();
}
