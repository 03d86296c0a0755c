//! What befalls the disk.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use larder::drivers::faults::{Calls, Fault, Faults, Op, When};

#[derive(Clone, Copy)]
pub enum Disaster {
    Panic,
    Hang,
    Errors,
    Full,
    Damage,
}

impl Disaster {
    pub const ALL: [Self; 5] = [
        Self::Panic,
        Self::Hang,
        Self::Errors,
        Self::Full,
        Self::Damage,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::Panic => "panics",
            Self::Hang => "hangs",
            Self::Errors => "EIO",
            Self::Full => "no space",
            Self::Damage => "damaged",
        }
    }

    pub fn begin(self, faults: &Faults, vandal: &Vandal) {
        match self {
            // One call in a hundred, whatever it does.
            Self::Panic => faults.inject(Calls::Any, When::Share(0.01), Fault::Panic),
            Self::Hang => {
                faults.inject(Op::Commit, When::Always, Fault::Hang);
                faults.inject(Calls::Reads, When::Share(0.01), Fault::Hang);
            }
            Self::Errors => faults.inject(Calls::Any, When::Always, Fault::Reopen),
            Self::Full => faults.inject(Op::Commit, When::Always, Fault::Full),
            Self::Damage => {
                vandal.arm();
                faults.inject(Op::Commit, When::Nth(1), Fault::Reopen);
            }
        }
    }

    pub fn end(self, faults: &Faults) {
        faults.repair();
    }
}

/// Damages the store's files while nobody has it open.
#[derive(Clone)]
pub struct Vandal {
    store: PathBuf,
    armed: Arc<AtomicBool>,
}

impl Vandal {
    pub fn new(directory: &Path) -> Self {
        Self {
            store: directory.join("store"),
            armed: Arc::default(),
        }
    }

    pub fn arm(&self) {
        self.armed.store(true, Ordering::SeqCst);
    }

    /// Flips bits all over the files, if it is armed.
    pub fn strike(&self) {
        if self.armed.swap(false, Ordering::SeqCst) {
            let mut rng = fastrand::Rng::with_seed(7);
            files(&self.store).iter().for_each(|file| {
                // What cannot be damaged stays as it is.
                let _ = damage(file, &mut rng);
            });
        }
    }
}

fn damage(path: &Path, rng: &mut fastrand::Rng) -> std::io::Result<()> {
    let mut file: File = OpenOptions::new().read(true).write(true).open(path)?;
    // Journals are preallocated: damage what is used of them, too.
    let length = file.metadata()?.len().min(4 << 20);
    for _ in 0..64.min(length) {
        let mut byte = [0];
        let at = rng.u64(0..length);
        file.seek(SeekFrom::Start(at))?;
        file.read_exact(&mut byte)?;
        file.seek(SeekFrom::Start(at))?;
        file.write_all(&[byte[0] ^ 1 << rng.u32(0..8)])?;
    }
    Ok(())
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}
