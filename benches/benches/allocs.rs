//! Allocations of the calling thread for each call, by contender: a get that hits, a set of what is there
//! and a set of a new key. The value, one allocation of every set, is counted, too.
//!
//! Apart from what is timed, because the allocator that counts is slower than the one that hosts have.

use allocation_counter::measure;
use larder_bench::peers::ALL;
use larder_bench::workload::{Keys, shuffled};

const KEYS: u32 = 10_000;

fn main() {
    let keys = Keys::new(0, 2 * KEYS);
    let there = shuffled(KEYS, 1);
    let new: Vec<u32> = there.iter().map(|at| at + KEYS).collect();
    println!(
        "{:14} {:>9} {:>9} {:>9}",
        "", "get hit", "overwrite", "set new"
    );
    for maker in ALL {
        let peer = (maker.make)(&keys, 4 * KEYS as usize);
        // Each once before it counts, so that what threads allocate once is not counted.
        peer.set(&keys, &there);
        peer.settle();
        peer.get(&keys, &there);
        let per_call = |call: &dyn Fn()| measure(call).count_total as f64 / f64::from(KEYS);
        let hit = per_call(&|| {
            peer.get(&keys, &there);
        });
        let overwrite = per_call(&|| peer.set(&keys, &there));
        let new = per_call(&|| peer.set(&keys, &new));
        println!("{:14} {hit:>9.2} {overwrite:>9.2} {new:>9.2}", maker.name);
    }
}
