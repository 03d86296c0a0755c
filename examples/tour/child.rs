//! Processes that the tour starts: itself once more, in a role.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::Failed;
use crate::scenes::{batches, restart};

/// Starts this program in a role; it answers on its standard output.
pub fn start(role: &str, arguments: &[&str]) -> Result<Child, Failed> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(role).args(arguments);
    Ok(command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?)
}

/// Starts this program in a role and returns what it wrote once it has ended well.
pub fn run(role: &str, arguments: &[&str]) -> Result<String, Failed> {
    let output = start(role, arguments)?.wait_with_output()?;
    if !output.status.success() {
        return Err(format!("the child {role:?} ended with {}", output.status).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// What such a process does.
pub async fn play(role: &str, arguments: &[String]) -> Result<(), Failed> {
    match (role, arguments) {
        (restart::CHANGES, [store]) => restart::change_prices(Path::new(store)).await,
        (restart::SERVES, [store]) => restart::serve(Path::new(store)).await,
        (batches::STORES, [store, how]) => batches::store(Path::new(store), how).await,
        _ => Err(format!("the tour takes no arguments, and not {role:?}").into()),
    }
}

/// The most memory that this process has had in use, in KiB, where the system tells.
pub fn peak_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}
