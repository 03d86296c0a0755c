//! A device whose system calls fail at random, or whose process is killed at a chosen one, for a child
//! process (`fault_shim.c`).
#![allow(
    clippy::unwrap_used,
    dead_code,
    reason = "helpers end in a panic, and not every test file uses each of them"
)]

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::crash;

const SOURCE: &str = include_str!("fault_shim.c");
const CONTROL: &str = "FAULT_CONTROL";

/// Calls that fail; a set of bits.
pub const OPEN: u32 = 1;
pub const READ: u32 = 2;
pub const WRITE: u32 = 4;
pub const SYNC: u32 = 8;

pub const EIO: u32 = 5;
pub const ENOSPC: u32 = 28;
pub const EROFS: u32 = 30;

/// The test called `test` of this binary as a child over a device that can fail below `root`; a test
/// reaches its `root` by [`crash::child_dir`].
pub fn command(test: &str, root: &Path, control: &Path) -> Command {
    std::fs::create_dir_all(root).unwrap();
    let root = root.canonicalize().unwrap();
    File::create(control).unwrap().set_len(4_096).unwrap();
    let mut child = crash::command(test, &root);
    child
        .env("LD_PRELOAD", crash::build("fault_shim", SOURCE))
        .env("FAULT_ROOT", &root)
        .env(CONTROL, control);
    child
}

/// What fails, and how often.
pub struct Control(File);

impl Control {
    /// Of the process that this is, which was started with [`command`].
    pub fn of_this_process() -> Self {
        Self::at(&PathBuf::from(std::env::var_os(CONTROL).unwrap()))
    }

    pub fn at(path: &Path) -> Self {
        Self(
            OpenOptions::new()
                .read(true)
                .write(true)
                .open(path)
                .unwrap(),
        )
    }

    /// From now on so many of a million of these calls fail.
    pub fn fail(&self, calls: u32, per_million: u32, errno: u32, seed: u64) {
        self.put(8, &errno.to_le_bytes());
        self.put(16, &(seed | 1).to_le_bytes());
        self.put(4, &per_million.to_le_bytes());
        self.put(0, &calls.to_le_bytes());
    }

    /// From now on none does.
    pub fn heal(&self) {
        self.put(0, &0_u32.to_le_bytes());
    }

    /// How many calls have failed.
    pub fn failed(&self) -> u64 {
        self.get(24)
    }

    /// The process is killed before the `nth` change that it makes, counted from its start.
    pub fn kill_at(&self, nth: u64) {
        self.put(40, &nth.to_le_bytes());
    }

    fn put(&self, at: u64, bytes: &[u8]) {
        self.0.write_all_at(bytes, at).unwrap();
    }

    fn get(&self, at: u64) -> u64 {
        let mut bytes = [0; 8];
        self.0.read_exact_at(&mut bytes, at).unwrap();
        u64::from_le_bytes(bytes)
    }
}
