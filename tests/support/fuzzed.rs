//! Gives bytes to a fuzz target and counts what is allocated meanwhile. Of fuzzers, and of the replay of what
//! they have found.

use larder::fuzzing::TARGETS;
use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATED: PeakAlloc = PeakAlloc;

/// Runs the target of this name. Panics if it breaks a promise, or allocates more than it may at a time. What is
/// allocated is the whole process's: one at a time.
pub fn run(name: &str, bytes: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    let target = target.unwrap_or_else(|| panic!("there is no target {name}"));
    let before = ALLOCATED.current_usage();
    ALLOCATED.reset_peak_usage();
    (target.run)(bytes);
    let used = ALLOCATED.peak_usage().saturating_sub(before);
    let allowed = target.bytes_per_byte * bytes.len() + target.bytes_beside;
    assert!(used <= allowed, "{used} bytes allocated, {allowed} allowed");
}
