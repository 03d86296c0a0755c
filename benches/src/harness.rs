//! Contenders take turns, round by round, in one process; figures are medians.
//!
//! Every second round runs the one before it backwards (AB, BA), and each such pair begins with another
//! contender, so that nobody always comes after the same neighbour. A ratio is taken within each round, where both saw the same machine,
//! and the median of these is what counts: figures of different rounds are never compared.

use std::cell::RefCell;
use std::future::Future;
use std::sync::Barrier;
use std::time::{Duration, Instant};

thread_local! {
    static HOST: RefCell<tokio::runtime::Runtime> = RefCell::new(
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime"),
    );
}

/// Runs a future on this thread's own runtime: a whole loop of calls, not each of them.
pub fn drive<T>(future: impl Future<Output = T>) -> T {
    HOST.with_borrow(|host| host.block_on(future))
}

/// Who runs when in a round: backwards in odd ones, and rotated by one with each pair of rounds. Rotated
/// with each round, two contenders would never swap.
pub fn order(round: usize, contenders: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..contenders)
        .map(|at| (at + round / 2) % contenders)
        .collect();
    if round % 2 == 1 {
        order.reverse();
    }
    order
}

/// The figures of every contender, one for each of `rounds` rounds; a round before them is dropped.
pub fn interleave(
    rounds: usize,
    contenders: usize,
    mut run: impl FnMut(usize, usize) -> f64,
) -> Vec<Vec<f64>> {
    let mut figures = vec![Vec::with_capacity(rounds); contenders];
    for round in 0..=rounds {
        for contender in order(round, contenders) {
            let figure = run(contender, round);
            if round > 0 {
                figures[contender].push(figure);
            }
        }
    }
    figures
}

/// The middle of the figures; of an even number of them the mean of the middle two.
pub fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

/// The median of what `over` is of `under`, round by round.
pub fn ratio(over: &[f64], under: &[f64]) -> f64 {
    let ratios: Vec<f64> = over.iter().zip(under).map(|(o, u)| o / u).collect();
    median(&ratios)
}

/// How long `threads` threads take that start together, each with its number: the longest of them.
pub fn timed(threads: usize, work: impl Fn(usize) + Sync) -> Duration {
    let gate = Barrier::new(threads);
    std::thread::scope(|scope| {
        let started: Vec<_> = (0..threads)
            .map(|thread| {
                let (gate, work) = (&gate, &work);
                scope.spawn(move || {
                    // The thread's runtime is made before the clock is read.
                    drive(std::future::ready(()));
                    gate.wait();
                    let began = Instant::now();
                    work(thread);
                    began.elapsed()
                })
            })
            .collect();
        let times = started.into_iter().map(|t| t.join().expect("a result"));
        times.max().unwrap_or_default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_contender_runs_once_a_round_and_neighbours_swap() {
        assert_eq!(order(0, 3), [0, 1, 2]);
        assert_eq!(order(1, 3), [2, 1, 0]);
        assert_eq!(order(2, 3), [1, 2, 0]);
        assert_eq!(order(3, 3), [0, 2, 1]);
        let pairs: Vec<_> = (0..4).map(|round| order(round, 2)).collect();
        assert_eq!(pairs, [[0, 1], [1, 0], [1, 0], [0, 1]]);
    }

    #[test]
    fn the_first_round_is_dropped() {
        let figures = interleave(3, 2, |contender, round| (10 * contender + round) as f64);
        assert_eq!(figures, [[1.0, 2.0, 3.0], [11.0, 12.0, 13.0]]);
    }

    #[test]
    fn a_median_is_the_middle_whatever_the_order() {
        assert_eq!(median(&[9.0, 1.0, 5.0]), 5.0);
        assert_eq!(median(&[9.0, 1.0, 5.0, 7.0]), 6.0);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn a_ratio_is_the_median_of_the_rounds_ratios_and_not_the_ratio_of_medians() {
        let (over, under) = ([10.0, 40.0, 90.0], [10.0, 10.0, 100.0]);
        assert_eq!(ratio(&over, &under), 1.0);
        assert_eq!(median(&over) / median(&under), 4.0);
    }

    #[test]
    fn the_longest_thread_counts() {
        let time = timed(2, |thread| {
            let began = Instant::now();
            while thread == 1 && began.elapsed() < Duration::from_millis(5) {}
        });
        assert!(time >= Duration::from_millis(5));
    }
}
