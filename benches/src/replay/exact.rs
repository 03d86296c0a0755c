//! Two policies that are known exactly: least recently used, and Belady's optimum, which knows the future.

use std::collections::BinaryHeap;

use super::trace::Trace;

const NONE: u32 = u32::MAX;

/// Hits of a cache that throws out what was used least recently.
pub fn lru(trace: &Trace, capacity: usize) -> usize {
    let mut list = List::new(trace.distinct);
    let mut hits = 0;
    let mut len = 0;
    for &key in &trace.requests {
        if list.has(key) {
            hits += 1;
            list.unlink(key);
        } else if len == capacity {
            list.unlink(list.newer[list.end()]);
        } else {
            len += 1;
        }
        list.push(key);
    }
    hits
}

/// A ring of keys through one more place, its end, from the oldest to the newest.
struct List {
    newer: Vec<u32>,
    older: Vec<u32>,
}

impl List {
    fn new(keys: usize) -> Self {
        let mut list = Self {
            newer: vec![NONE; keys + 1],
            older: vec![NONE; keys + 1],
        };
        list.newer[keys] = keys as u32;
        list.older[keys] = keys as u32;
        list
    }

    fn end(&self) -> usize {
        self.newer.len() - 1
    }

    fn has(&self, key: u32) -> bool {
        self.newer[key as usize] != NONE
    }

    fn unlink(&mut self, key: u32) {
        let (newer, older) = (self.newer[key as usize], self.older[key as usize]);
        self.older[newer as usize] = older;
        self.newer[older as usize] = newer;
        self.newer[key as usize] = NONE;
    }

    fn push(&mut self, key: u32) {
        let end = self.end();
        let newest = self.older[end];
        self.newer[newest as usize] = key;
        self.older[key as usize] = newest;
        self.newer[key as usize] = end as u32;
        self.older[end] = key;
    }
}

/// Hits of a cache that throws out what is used again last of all. Every miss is kept, as by the others.
pub fn belady(trace: &Trace, capacity: usize) -> usize {
    let uses = next_uses(trace);
    // When each resident key is used next; `NONE` is not resident.
    let mut resident = vec![NONE; trace.distinct];
    // What is used last is on top. A key's older places are skipped.
    let mut heap = BinaryHeap::new();
    let (mut hits, mut len) = (0, 0);
    for (&key, &next) in trace.requests.iter().zip(&uses) {
        if resident[key as usize] != NONE {
            hits += 1;
        } else if len == capacity {
            while let Some((next, oldest)) = heap.pop() {
                if resident[oldest as usize] == next {
                    resident[oldest as usize] = NONE;
                    break;
                }
            }
        } else {
            len += 1;
        }
        resident[key as usize] = next;
        heap.push((next, key));
    }
    hits
}

/// For each request when its key is asked for again; after the end if never.
fn next_uses(trace: &Trace) -> Vec<u32> {
    let never = trace.requests.len() as u32;
    let mut seen = vec![never; trace.distinct];
    let mut uses = vec![never; trace.requests.len()];
    for (at, &key) in trace.requests.iter().enumerate().rev() {
        uses[at] = std::mem::replace(&mut seen[key as usize], at as u32);
    }
    uses
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(requests: &[u32]) -> Trace {
        let distinct = requests.iter().max().map_or(0, |most| *most as usize + 1);
        Trace {
            name: "by hand",
            requests: requests.to_vec(),
            distinct,
        }
    }

    #[test]
    fn lru_throws_out_what_was_used_least_recently() {
        assert_eq!(lru(&trace(&[0, 1, 0, 2, 0, 1]), 2), 2);
        assert_eq!(lru(&trace(&[0, 1, 2, 0, 1, 2]), 2), 0);
        assert_eq!(lru(&trace(&[0, 1, 2, 0, 1, 2]), 3), 3);
    }

    #[test]
    fn the_optimum_throws_out_what_is_used_again_last() {
        assert_eq!(belady(&trace(&[0, 1, 2, 0, 1, 2]), 2), 2);
        assert_eq!(belady(&trace(&[0, 1, 2, 0, 1, 2]), 3), 3);
        assert_eq!(belady(&trace(&[0, 0, 0]), 1), 2);
    }
}
