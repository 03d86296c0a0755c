//! Whether the store that stands in a directory is to be believed.
//!
//! Decided before anything is read from it, by what the watermark says and what the store says.

use std::path::Path;

use bytes::Buf;

use super::layout::FORMAT;
use super::store::Passport;
use super::watermark::Marks;

/// Why a store that opens well is not to be trusted.
#[derive(PartialEq, Eq, Debug)]
pub enum Doubt {
    /// Nobody knows whether it is all that was stored.
    Past(String),
    /// It has come as far as it should, and some of it is damaged.
    Damage(String),
}

/// Whether a store that opens well is to be trusted.
pub fn doubt(known: Option<&Marks>, passport: &Passport, boot: u128) -> Option<Doubt> {
    let is_damaged = known.is_some_and(|known| known.is_damaged);
    let damage = || Doubt::Damage("damage was found while the store was in use".into());
    let past = past(known, passport, boot).map(Doubt::Past);
    past.or_else(|| is_damaged.then(damage))
}

fn past(known: Option<&Marks>, passport: &Passport, boot: u128) -> Option<String> {
    let Some(known) = known else {
        return Some("the watermark file is missing or unreadable".into());
    };
    if passport.format != FORMAT {
        let format = passport.format;
        return Some(format!("the store has layout {format}, not {FORMAT}"));
    }
    if passport.id != known.store_id {
        return Some("the watermark speaks of another store".into());
    }
    // What was only written is lost with the power, and was never promised to survive it.
    let survived = boot != 0 && boot == known.boot;
    let least = if survived {
        known.written_seq.max(known.synced_seq)
    } else {
        known.synced_seq
    };
    let seq = passport.head.seq;
    (seq < least).then(|| format!("the store ends at batch {seq}, but batch {least} was stored"))
}

/// Which boot of the machine this is; 0 if it cannot be told.
pub fn boot() -> u128 {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    u128::from_str_radix(&id.trim().replace('-', ""), 16).unwrap_or(0)
}

/// Names in fjall's directory on which its recovery panics, in a way that aborts the process.
pub fn strange_entry(store: &Path) -> Option<String> {
    let entries = |path| std::fs::read_dir(path).into_iter().flatten().flatten();
    let is_dir = |e: &std::fs::DirEntry| e.file_type().is_ok_and(|t| t.is_dir());
    let is_number = |name: &str| name.parse::<u64>().is_ok();
    let journal = |e: std::fs::DirEntry| {
        let name = e.file_name();
        let is_journal = Path::new(&name).extension().is_some_and(|x| x == "jnl");
        is_journal && is_dir(&e)
    };
    let tree = |e: std::fs::DirEntry| is_dir(&e) && !e.file_name().to_str().is_some_and(is_number);
    if entries(store.to_owned()).any(journal) {
        return Some("a journal is a directory".into());
    }
    let is_strange = entries(store.join("keyspaces")).any(tree);
    is_strange.then(|| "a foreign directory stands among the keyspaces".into())
}

/// Whether the list of a keyspace's tables is not what was written. fjall keeps a checksum of it and
/// does not look at it: its recovery would leave tables out, or panic in a way that aborts the process.
///
/// What is missing is left to fjall, which says so.
pub fn altered_list(store: &Path) -> Option<String> {
    let keyspaces = std::fs::read_dir(store.join("keyspaces"));
    let is_altered = |dir: std::fs::DirEntry| is_altered(&dir.path()) == Some(true);
    let mut keyspaces = keyspaces.into_iter().flatten().flatten();
    keyspaces
        .any(is_altered)
        .then(|| "a list of tables is damaged".into())
}

/// `None` if there is nothing to compare, or in a form that is not known.
fn is_altered(keyspace: &Path) -> Option<bool> {
    let mut current = bytes::Bytes::from(std::fs::read(keyspace.join("current")).ok()?);
    // Number of the list (u64), its checksum (u128), the kind of the checksum (0 is XXH3).
    if current.len() != 25 || current.last() != Some(&0) {
        return None;
    }
    let number = current.get_u64_le();
    let list = std::fs::read(keyspace.join(format!("v{number}"))).ok()?;
    Some(xxhash_rust::xxh3::xxh3_128(&list) != current.get_u128_le())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drivers::disk::layout::Head;

    fn marks() -> Marks {
        Marks {
            store_id: 7,
            written_seq: 9,
            synced_seq: 5,
            boot: 1,
            ..Marks::default()
        }
    }

    fn passport(seq: u64) -> Passport {
        let head = Head {
            seq,
            ..Head::default()
        };
        Passport {
            format: FORMAT,
            id: 7,
            head,
        }
    }

    #[test]
    fn after_the_death_of_the_process_every_written_batch_must_be_there() {
        assert_eq!(doubt(Some(&marks()), &passport(9), 1), None);
        assert_eq!(doubt(Some(&marks()), &passport(10), 1), None);
        assert!(doubt(Some(&marks()), &passport(8), 1).is_some());
    }

    #[test]
    fn after_the_loss_of_power_only_synced_batches_must_be_there() {
        for boot in [0, 2] {
            assert_eq!(doubt(Some(&marks()), &passport(5), boot), None);
            assert!(doubt(Some(&marks()), &passport(4), boot).is_some());
        }
    }

    #[test]
    fn a_store_of_unknown_past_is_doubtful() {
        assert!(doubt(None, &passport(9), 1).is_some());
        let other = Passport {
            id: 8,
            ..passport(9)
        };
        assert!(doubt(Some(&marks()), &other, 1).is_some());
        let later = Passport {
            format: FORMAT + 1,
            ..passport(9)
        };
        assert!(doubt(Some(&marks()), &later, 1).is_some());
        let damaged = Marks {
            is_damaged: true,
            ..marks()
        };
        let found = |seq| doubt(Some(&damaged), &passport(seq), 1);
        assert!(matches!(found(9), Some(Doubt::Damage(_))));
        assert!(matches!(found(8), Some(Doubt::Past(_))), "and behind, too");
    }
}
