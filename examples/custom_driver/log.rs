//! The log's frames, and what is where in them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write as _};
use std::path::Path;

use bytes::Bytes;
use larder::Version;
use larder::clock::{Millis, NEVER};
use larder::drivers::{Watermark, Write};
use parking_lot::Mutex;

/// Length and checksum before each frame.
const FRAME: usize = 8;
/// Kind, bytes of key and record, version and time before each change.
const CHANGE: usize = 25;
const DELETE: u8 = 0;
const PUT: u8 = 1;
const MARK: u8 = 2;

/// What is where in the log.
pub struct Index {
    pub records: BTreeMap<Bytes, Place>,
    pub expiry: BTreeSet<(Millis, Bytes)>,
    pub mark: Watermark,
    /// Bytes of the log, and of those that are still of use.
    pub len: u64,
    pub live: u64,
    /// Of its own, so that readers do not wait for a commit.
    file: Mutex<File>,
}

/// Where a record is, and what larder said of it.
pub struct Place {
    at: u64,
    pub len: usize,
    pub version: Version,
    keep_ms: Millis,
}

/// Reads a log from its beginning and cuts off what is not a whole frame.
pub fn replay(path: &Path) -> io::Result<(File, Index)> {
    let mut end = OpenOptions::new()
        .append(true)
        .read(true)
        .create(true)
        .open(path)?;
    let mut log = Vec::new();
    end.read_to_end(&mut log)?;
    let mut index = Index {
        records: BTreeMap::new(),
        expiry: BTreeSet::new(),
        mark: Watermark::default(),
        len: 0,
        live: 0,
        file: Mutex::new(File::open(path)?),
    };
    while let Some(changes) = whole_frame(&log[index.len as usize..]) {
        index.apply(changes);
    }
    end.set_len(index.len)?;
    sync_names(path)?;
    Ok((end, index))
}

/// A file survives a loss of power only if its directory knows its name.
pub fn sync_names(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(directory) if cfg!(unix) => File::open(directory)?.sync_all(),
        _ => Ok(()),
    }
}

/// Changes as they stand in the log.
pub fn frame(changes: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(FRAME + changes.len());
    frame.extend((changes.len() as u32).to_le_bytes());
    frame.extend(crc32fast::hash(changes).to_le_bytes());
    frame.extend(changes);
    frame
}

/// The frame at the beginning of `log`, if all of it is there.
fn whole_frame(log: &[u8]) -> Option<&[u8]> {
    let (head, rest) = log.split_at_checked(FRAME)?;
    let changes = rest.get(..u32_at(head, 0) as usize)?;
    (crc32fast::hash(changes) == u32_at(head, 4)).then_some(changes)
}

fn change(into: &mut Vec<u8>, kind: u8, version: u64, time: Millis, key: &[u8], record: &[u8]) {
    into.push(kind);
    into.extend((key.len() as u32).to_le_bytes());
    into.extend((record.len() as u32).to_le_bytes());
    into.extend(version.to_le_bytes());
    into.extend(time.to_le_bytes());
    into.extend(key);
    into.extend(record);
}

/// The changes of a batch, one after the other.
pub fn changes(batch: &[Write]) -> Vec<u8> {
    let mut changes = Vec::new();
    for write in batch {
        match write {
            Write::Put {
                key,
                record,
                version,
                keep_ms,
            } => change(&mut changes, PUT, version.get(), *keep_ms, key, record),
            Write::Delete { key } => change(&mut changes, DELETE, 0, 0, key, b""),
        }
    }
    changes
}

/// What is to be remembered for the next opening, as a change.
pub fn mark(into: &mut Vec<u8>, mark: Watermark) {
    change(into, MARK, mark.ceiling, mark.clock_ms, b"", b"");
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

impl Index {
    /// Takes in a frame that stands at the end of the log.
    pub fn apply(&mut self, mut changes: &[u8]) {
        self.len += FRAME as u64;
        while !changes.is_empty() {
            let (head, rest) = changes.split_at(CHANGE);
            let (key_len, len) = (u32_at(head, 1) as usize, u32_at(head, 5) as usize);
            let (number, time) = (u64_at(head, 9), u64_at(head, 17));
            let key = Bytes::copy_from_slice(&rest[..key_len]);
            let at = self.len + (CHANGE + key_len) as u64;
            match (head[0], Version::new(number)) {
                (PUT, Some(version)) => {
                    self.remove(&key);
                    self.live += (CHANGE + key_len + len) as u64;
                    self.expiry
                        .extend((time != NEVER).then(|| (time, key.clone())));
                    let keep_ms = time;
                    self.records.insert(
                        key,
                        Place {
                            at,
                            len,
                            version,
                            keep_ms,
                        },
                    );
                }
                (MARK, _) => {
                    self.mark = Watermark {
                        ceiling: number,
                        clock_ms: time,
                    }
                }
                _ => self.remove(&key),
            }
            self.len = at + len as u64;
            changes = &rest[key_len + len..];
        }
    }

    /// Forgets what is filed under a key.
    fn remove(&mut self, key: &Bytes) {
        if let Some(old) = self.records.remove(key) {
            self.expiry.remove(&(old.keep_ms, key.clone()));
            self.live -= (CHANGE + key.len() + old.len) as u64;
        }
    }

    /// Reads a record.
    pub fn read(&self, place: &Place) -> io::Result<Bytes> {
        let mut record = vec![0; place.len];
        let mut file = self.file.lock();
        file.seek(SeekFrom::Start(place.at))?;
        file.read_exact(&mut record)?;
        Ok(record.into())
    }

    /// Writes what is of use, as a new log.
    pub fn write_to(&self, path: &Path) -> io::Result<()> {
        let mut new = io::BufWriter::new(File::create(path)?);
        let mut changes = Vec::new();
        mark(&mut changes, self.mark);
        for (key, place) in &self.records {
            let record = self.read(place)?;
            let (version, keep_ms) = (place.version.get(), place.keep_ms);
            change(&mut changes, PUT, version, keep_ms, key, &record);
            new.write_all(&frame(&changes))?;
            changes.clear();
        }
        new.write_all(&frame(&changes))?;
        new.into_inner()?.sync_all()
    }
}
