//! What child processes do for the scenes over disk: whatever has to have a process of its own.

use std::error::Error;
use std::path::Path;
use std::process::Command;

use larder::Durability;

use super::disk_contest::MEMORY_BYTES;
use super::{disk_set_many, disk_set_queued, start_after_kill};
use crate::disk_peers::in_fresh;
use crate::disk_peers::larder::Own;
use crate::disk_peers::records::Records;
use crate::workload::shuffled;

/// What a child process is told to do, followed by what of it.
pub const CHILD: &str = "--disk-child";

/// Runs a child to its end; the figure that it printed.
pub fn spawn(words: &[&str]) -> Result<f64, Box<dyn Error>> {
    let mut child = Command::new(std::env::current_exe()?);
    let output = child.arg(CHILD).args(words).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().parse().map_err(|_| {
        let error = String::from_utf8_lossy(&output.stderr);
        format!("{words:?} gave no figure: {text}{error}").into()
    })
}

/// Does what a parent asked for and prints its figure.
pub fn run(words: &[String]) -> Result<(), Box<dyn Error>> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["queued", count] => println!("{}", queued(count.parse()?)?),
        ["many", call] => println!("{}", many(call.parse()?)?),
        [FILL, mib, dir] => fill(mib.parse()?, Path::new(dir))?,
        _ => return Err(format!("no child does {words:?}").into()),
    }
    Ok(())
}

/// What a child is told that fills a store and waits to be killed; it says the same when it is full.
pub const FILL: &str = "fill";

/// Fills a store with so many MiB of values, says so, and goes on writing until it is killed.
fn fill(mib: u32, dir: &Path) -> Result<(), Box<dyn Error>> {
    let last = start_after_kill::last_number(mib);
    let records = Records::new(last + 1);
    let own = Own::open(dir, MEMORY_BYTES);
    for from in (0..=last).step_by(10_000) {
        let numbers = from..(from + 10_000).min(last + 1);
        disk_set_many::set_many(&own, &records, numbers, Durability::Written);
    }
    println!("{FILL}");
    // Endless for the parent's purposes; not for ever, should it be gone.
    for n in (0..last).cycle().take(10_000_000) {
        disk_set_many::set_many(&own, &records, n..n + 1, Durability::Queued);
    }
    Ok(())
}

/// By how many bytes the process grew at most while so many records were set and stored.
fn queued(count: u32) -> Result<f64, Box<dyn Error>> {
    let records = Records::new(count);
    let order = shuffled(count, 1);
    let before = peak_bytes()?;
    in_fresh(|dir| disk_set_queued::fill(&Own::open(dir, MEMORY_BYTES), &records, &order));
    Ok(peak_bytes()? - before)
}

/// By how many bytes the process grew at most while it set 200,000 records, so many in each call. Only
/// written: what is held meanwhile does not depend on the device.
fn many(call: u32) -> Result<f64, Box<dyn Error>> {
    const ALL: u32 = 200_000;
    const MEMORY_BYTES: usize = 8 << 20;
    let records = Records::new(ALL);
    let before = peak_bytes()?;
    in_fresh(|dir| {
        let own = Own::open(dir, MEMORY_BYTES);
        for from in (0..ALL).step_by(call as usize) {
            disk_set_many::set_many(&own, &records, from..from + call, Durability::Written);
        }
    });
    Ok(peak_bytes()? - before)
}

/// The most that this process has had in memory, as Linux says.
fn peak_bytes() -> Result<f64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|rest| rest.split_whitespace().next())
        .ok_or("no VmHWM in /proc/self/status")?;
    Ok(kib.parse::<f64>()? * 1024.0)
}
