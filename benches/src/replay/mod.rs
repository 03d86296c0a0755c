//! Real traces, played to caches with room for so many entries: a hit is a key that is resident when it
//! is asked for; every miss is set.

mod exact;
mod policies;
mod trace;

pub use policies::{ALL, BELADY, LARDER, LRU, PEERS};
pub use trace::{Case, Trace, cases, load};

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The hit ratio in percent of every policy (in the order of [`ALL`]) in every case, played by as many
/// threads as there are cores: nothing here is timed.
pub fn play(cases: &[Case], traces: &[Trace]) -> Vec<Vec<f64>> {
    let jobs = cases.len() * ALL.len();
    let next = AtomicUsize::new(0);
    let ratios = Mutex::new(vec![vec![f64::NAN; ALL.len()]; cases.len()]);
    let work = || {
        loop {
            let job = next.fetch_add(1, Ordering::Relaxed);
            if job >= jobs {
                return;
            }
            let (at, policy) = (job / ALL.len(), job % ALL.len());
            let case = &cases[at];
            let trace = traces.iter().find(|trace| trace.name == case.trace);
            let trace = trace.expect("every case has its trace");
            let hits = (ALL[policy].hits)(trace, case.capacity);
            let percent = 100.0 * hits as f64 / trace.requests.len() as f64;
            ratios.lock().expect("no thread panicked")[at][policy] = percent;
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    ratios.into_inner().expect("no thread panicked")
}

/// How far from what others have computed a ratio may be, in points.
const TOLERANCE: f64 = 0.05;

/// What is wrong with the replay itself: known policies must come out as known, and larder, which keeps
/// every miss as this optimum does, cannot pass it. Who refuses what is new, as moka does, can by a hair: in a
/// loop of n keys it loses none of its places to the key that has just passed.
pub fn problems(cases: &[Case], ratios: &[Vec<f64>]) -> Vec<String> {
    let mut problems = Vec::new();
    for (case, ratios) in cases.iter().zip(ratios) {
        let name = case.name();
        if let Some((lru, belady)) = case.reference {
            for (what, known, found) in [
                ("LRU", lru, ratios[LRU]),
                ("Belady", belady, ratios[BELADY]),
            ] {
                if (known - found).abs() > TOLERANCE {
                    problems.push(format!("{name}: {what} is {found:.2}, known is {known:.2}"));
                }
            }
        }
        if ratios[LARDER] > ratios[BELADY] + TOLERANCE {
            problems.push(format!("{name}: larder is above the optimum"));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_policies_come_out_as_known() {
        let traces = load();
        // The longest trace is left to the scene, which checks it, too.
        let cases: Vec<Case> = cases()
            .into_iter()
            .filter(|c| c.trace != "orm-busy")
            .collect();
        let mut checked = 0;
        for case in &cases {
            let Some((lru, belady)) = case.reference else {
                continue;
            };
            let trace = traces
                .iter()
                .find(|trace| trace.name == case.trace)
                .unwrap();
            for (known, policy) in [(lru, LRU), (belady, BELADY)] {
                let hits = (ALL[policy].hits)(trace, case.capacity);
                let found = 100.0 * hits as f64 / trace.requests.len() as f64;
                assert!(
                    (known - found).abs() <= TOLERANCE,
                    "{}: {found} {known}",
                    case.name()
                );
                checked += 1;
            }
        }
        assert_eq!(checked, 2 * 19);
    }
}
