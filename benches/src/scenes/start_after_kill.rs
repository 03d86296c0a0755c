//! The start on a store whose process was killed, beside bare fjall on a copy of the same files.

use std::error::Error;
use std::fs;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use super::disk_child::{CHILD, FILL};
use super::disk_contest::{DiskContest, MEMORY_BYTES, Ran, Reading, versus_these};
use super::{Scene, Settings};
use crate::disk_peers::fjall::Fjall;
use crate::disk_peers::larder::Own;
use crate::disk_peers::records::Records;
use crate::disk_peers::{FJALL, in_fresh};
use crate::peers::LARDER;
use crate::report::Report;

pub const SCENE: Scene = Scene {
    name: "start-after-kill",
    group: "disk",
    about: "start on 1 GiB (quick: 64 MiB) that a killed process has left; page cache warm",
    reading: "larder's time in fjall's, which opens a copy; less is better",
    pictured: false,
    parts: || versus_these(NAMES),
    run,
};

const NAMES: &[&str] = &[LARDER, FJALL];
/// Where fjall has the number of larder's last batch: what is looked for to see that it is open.
const HEAD_KEY: &[u8] = b"mseq";

fn run(scene: &Scene, settings: &Settings, report: &mut Report) -> Result<(), Box<dyn Error>> {
    let mib: u32 = settings.either(1_024, 64);
    let left = tempfile::tempdir()?;
    fill_and_kill(left.path(), mib)?;
    let last = last_number(mib);
    let records = Records::new(last + 1);
    let contest = DiskContest {
        scene,
        names: NAMES,
        // Each run copies all of it.
        rounds: settings.rounds.min(5),
        reading: Reading::ShareOfTime,
    };
    contest.hold(report, |name, _| {
        in_fresh(|dir| {
            copy(left.path(), dir).expect("a copy");
            rustix::fs::sync();
            let began = Instant::now();
            let seconds = if name == LARDER {
                let own = Own::open(dir, MEMORY_BYTES);
                let seconds = began.elapsed().as_secs_f64();
                let kept = own
                    .larder
                    .block_on(own.cache.get(records.key(last)).into_future());
                let kept = kept.expect("a runtime").expect("an answer");
                assert!(kept.is_some(), "what was written is there");
                seconds
            } else {
                let store = Fjall::open_larders(dir);
                assert!(store.has(HEAD_KEY), "it is larder's");
                began.elapsed().as_secs_f64()
            };
            Ran::new(seconds, 1, String::new())
        })
    });
    Ok(())
}

/// The last record of so many MiB of values.
pub fn last_number(mib: u32) -> u32 {
    (mib << 20) / crate::disk_peers::records::VALUE_BYTES as u32
}

/// Has a child fill a store, and kills it while it goes on writing.
fn fill_and_kill(dir: &Path, mib: u32) -> Result<(), Box<dyn Error>> {
    let mut child = Command::new(std::env::current_exe()?)
        .args([CHILD, FILL, &mib.to_string()])
        .arg(dir)
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    if let Some(said) = child.stdout.take() {
        BufReader::new(said).read_line(&mut line)?;
    }
    // On unix this is SIGKILL.
    child.kill()?;
    child.wait()?;
    match line.trim() {
        FILL => Ok(()),
        _ => Err("the child that was to fill a store ended before".into()),
    }
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let place = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            fs::create_dir(&place)?;
            copy(&entry.path(), &place)?;
        } else {
            fs::copy(entry.path(), &place)?;
        }
    }
    Ok(())
}
