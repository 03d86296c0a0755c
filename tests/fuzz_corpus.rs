//! What fuzzers have found worth keeping is read again: every decoder of stored bytes keeps its promises with it.
//!
//! `tests/corpus` has a directory for each target; `fuzz/README.md` says how it is made.
#![cfg(feature = "test-util")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

#[path = "support/fuzzed.rs"]
mod fuzzed;

use std::path::{Path, PathBuf};

use larder::fuzzing::{TARGETS, seeds};

const FILES_MAX: usize = 60;
const FILE_BYTES_MAX: u64 = 4 << 10;

fn files(target: &str) -> Vec<PathBuf> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let Ok(files) = std::fs::read_dir(corpus.join(target)) else {
        return Vec::new();
    };
    files.map(|file| file.unwrap().path()).collect()
}

/// One test: what is allocated is counted for the whole process.
#[test]
fn what_fuzzers_have_found_breaks_no_promise() {
    for target in TARGETS {
        let seeds = seeds(target.name);
        assert!(!seeds.is_empty(), "{} has no seeds", target.name);
        for seed in seeds {
            fuzzed::run(target.name, &seed);
        }
        let files = files(target.name);
        assert!(files.len() <= FILES_MAX, "{}", target.name);
        for file in files {
            let bytes = std::fs::read(&file).unwrap();
            assert!(bytes.len() as u64 <= FILE_BYTES_MAX, "{}", file.display());
            println!("{}", file.display());
            fuzzed::run(target.name, &bytes);
        }
    }
}
