//! Which machine and which versions the figures are of.

use std::fs;

/// The versions that this binary was built with.
const LOCK: &str = include_str!("../../Cargo.lock");

const PEERS: &[&str] = &[
    "quick_cache",
    "moka",
    "foyer",
    "stretto",
    "cachet",
    "hitbox",
    "hitbox-moka",
    "dashmap",
    "fjall",
    "redb",
    "rusqlite",
];

pub fn print() {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("processor unknown", |(_, model)| model);
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or("unknown");
    println!("{cores} cores ({model}), load {load} at the start");
    let versions = PEERS.iter().map(|peer| format!("{peer} {}", version(peer)));
    println!("{}", versions.collect::<Vec<_>>().join(", "));
}

/// The latest version of a package in the lock file: others have older ones below them.
fn version(name: &str) -> &'static str {
    let from = format!("name = \"{name}\"\nversion = \"");
    let found = LOCK.rsplit_once(&from).map(|(_, rest)| rest);
    found.and_then(|rest| rest.split('"').next()).unwrap_or("?")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_peer_has_a_version() {
        for peer in PEERS {
            assert!(version(peer).starts_with(char::is_numeric), "{peer}");
        }
    }
}
