//! What this process takes, as Linux says: memory, and the time and wake-ups of its threads.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// What this process has in memory.
pub fn resident_bytes() -> Result<f64, Box<dyn Error>> {
    status_bytes("VmRSS:")
}

/// The most that this process has had in memory.
pub fn peak_bytes() -> Result<f64, Box<dyn Error>> {
    status_bytes("VmHWM:")
}

fn status_bytes(field: &str) -> Result<f64, Box<dyn Error>> {
    let path = Path::new("/proc/self/status");
    Ok(number_of(path, field)? as f64 * 1024.0)
}

/// What threads have taken since they began.
#[derive(Clone, Copy, Default)]
pub struct Spent {
    pub cpu: Duration,
    /// How often a thread has gone to sleep: each time it was woken before.
    pub sleeps: u64,
}

impl Spent {
    /// Of all threads of this process but the calling one.
    pub fn by_others() -> Result<Self, Box<dyn Error>> {
        let own = fs::read_link("/proc/thread-self")?;
        let mut spent = Self::default();
        for thread in fs::read_dir("/proc/self/task")? {
            let path = thread?.path();
            if path.file_name() == own.file_name() {
                continue;
            }
            // One that has ended meanwhile counts no more.
            let Ok(times) = fs::read_to_string(path.join("schedstat")) else {
                continue;
            };
            let ns = times.split(' ').next().ok_or("an empty schedstat")?;
            spent.cpu += Duration::from_nanos(ns.parse()?);
            spent.sleeps += number_of(&path.join("status"), "voluntary_ctxt_switches:")?;
        }
        Ok(spent)
    }

    /// What was taken since `earlier`.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(earlier.cpu),
            sleeps: self.sleeps.saturating_sub(earlier.sleeps),
        }
    }
}

fn number_of(status: &Path, field: &str) -> Result<u64, Box<dyn Error>> {
    let text = fs::read_to_string(status)?;
    let number = text
        .lines()
        .find_map(|line| line.strip_prefix(field))
        .and_then(|rest| rest.split_whitespace().next())
        .ok_or_else(|| format!("no {field} in {}", status.display()))?;
    Ok(number.parse()?)
}
