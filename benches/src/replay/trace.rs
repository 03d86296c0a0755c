//! The traces that come with the benchmarks, and at which capacities each is played.

use std::collections::HashMap;

macro_rules! traces {
    ($($name:literal),* $(,)?) => {
        &[$(($name, include_bytes!(concat!("../../traces/", $name, ".u64le.zst")))),*]
    };
}

const PACKED: &[(&str, &[u8])] = traces![
    "arc-oltp",
    "orm-busy",
    "web07",
    "lirs-multi1",
    "lirs-multi2",
    "lirs-gli",
    "lirs-cpp",
    "lirs-loop",
];

/// Known hit ratios, computed by others on these very sequences.
const REFERENCE: &str = include_str!("../../traces/reference.csv");

/// Capacities for the traces of which nothing is known.
const OTHERS: &[(&str, &[usize])] = &[
    ("web07", &[500, 1_000, 2_000, 4_000]),
    ("lirs-multi1", &[250, 500, 1_000, 1_500]),
    ("lirs-multi2", &[500, 1_000, 2_000, 3_000]),
    ("lirs-cpp", &[50, 100, 250, 500]),
];

/// The only trace that is nothing but a loop.
const LOOP: &str = "lirs-loop";

/// Requests in their order. Keys are numbered by their first appearance.
pub struct Trace {
    pub name: &'static str,
    pub requests: Vec<u32>,
    pub distinct: usize,
}

/// Every trace, unpacked.
pub fn load() -> Vec<Trace> {
    PACKED
        .iter()
        .map(|(name, packed)| unpack(name, packed))
        .collect()
}

fn unpack(name: &'static str, packed: &[u8]) -> Trace {
    let bytes = zstd::stream::decode_all(packed).expect("a trace as it was packed");
    let mut numbers = HashMap::new();
    let requests = bytes.chunks_exact(8).map(|bytes| {
        let id = u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
        let next = numbers.len() as u32;
        *numbers.entry(id).or_insert(next)
    });
    let requests = requests.collect();
    Trace {
        name,
        requests,
        distinct: numbers.len(),
    }
}

/// A trace at a capacity.
pub struct Case {
    pub trace: &'static str,
    pub capacity: usize,
    /// Known for LRU and Belady, in percent.
    pub reference: Option<(f64, f64)>,
}

impl Case {
    /// The part of its row's name.
    pub fn name(&self) -> String {
        format!("{}-{}", self.trace, self.capacity)
    }

    /// Whether it is nothing but a loop, where what was used last is what is used again last.
    pub fn is_loop(&self) -> bool {
        self.trace == LOOP
    }
}

/// Every case: those of the reference, then the others.
pub fn cases() -> Vec<Case> {
    let mut lines = REFERENCE.lines();
    let head: Vec<&str> = lines.next().unwrap_or_default().split(',').collect();
    let column = |name: &str| head.iter().position(|column| *column == name);
    let column = |name| column(name).expect("a column of the reference");
    let (capacity, lru, belady) = (column("capacity"), column("LRU"), column("Belady"));
    let known = lines.map(|line| {
        let cells: Vec<&str> = line.split(',').collect();
        let number = |at: usize| cells[at].parse::<f64>().expect("a number");
        Case {
            trace: cells[0],
            capacity: number(capacity) as usize,
            reference: Some((number(lru), number(belady))),
        }
    });
    let others = OTHERS.iter().flat_map(|(trace, capacities)| {
        capacities.iter().map(|&capacity| Case {
            trace,
            capacity,
            reference: None,
        })
    });
    known.chain(others).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_trace_is_played_and_is_as_long_as_the_reference_says() {
        let traces = load();
        for trace in &traces {
            assert!(cases().iter().any(|case| case.trace == trace.name));
        }
        for line in REFERENCE.lines().skip(1) {
            let cells: Vec<&str> = line.split(',').collect();
            let trace = traces.iter().find(|trace| trace.name == cells[0]).unwrap();
            assert_eq!(trace.requests.len(), cells[1].parse::<usize>().unwrap());
            assert_eq!(trace.distinct, cells[2].parse::<usize>().unwrap());
        }
    }
}
