//! The circuit of a source, move by move.

use super::*;

const REOPEN: Backoff = Backoff {
    ms_min: 1_000,
    ms_max: 4_000,
};

fn config() -> BreakerConfig {
    BreakerConfig {
        consecutive_failures_max: 3,
        slow_ms: 5_000,
        ..BreakerConfig::default()
    }
}

fn circuit() -> Circuit {
    Circuit::new(config(), REOPEN, 0)
}

const FAILED: Ended = Ended::Failed { pace_ms: None };

impl Circuit {
    /// Asks once; whether that opened it.
    fn ask(&mut self, ended: Ended, now_ms: Millis) -> bool {
        let pass = self.begin(now_ms, 30_000).unwrap();
        self.ends(pass, ended, 1, now_ms, 1.0)
    }

    /// Whether that opens it.
    fn ends(
        &mut self,
        pass: Pass,
        ended: Ended,
        took_ms: u64,
        now_ms: Millis,
        random: f64,
    ) -> bool {
        let turned = self.end(pass, ended, took_ms, now_ms, random);
        matches!(turned, Turned::Opened(_))
    }

    fn fail(&mut self, now_ms: Millis) {
        while !self.ask(FAILED, now_ms) {}
    }
}

#[test]
fn failures_in_a_row_open_it_and_answers_between_them_do_not() {
    let mut circuit = circuit();
    for ended in [FAILED, FAILED, Ended::Answered, FAILED, FAILED] {
        assert!(!circuit.ask(ended, 0));
    }
    assert_eq!(circuit.refuses_for(0), None);
    assert!(circuit.ask(FAILED, 0));
    assert_eq!(circuit.refuses_for(0), Some(1_000));
    assert_eq!(circuit.begin(400, 30_000).unwrap_err(), 600);
}

#[test]
fn once_its_time_is_over_one_finds_out_for_all() {
    let mut circuit = circuit();
    circuit.fail(0);
    let probe = circuit.begin(1_000, 30_000).unwrap();
    assert_eq!(circuit.begin(1_000, 30_000).unwrap_err(), AGAIN_MS);
    assert!(!circuit.ends(probe, Ended::Answered, 1, 1_001, 0.0));
    assert_eq!(circuit.refuses_for(1_001), None);
    assert_eq!(circuit.stats(1_001).state, BreakerState::Closed);
}

#[test]
fn each_failed_probe_doubles_the_time_up_to_its_bound() {
    let mut circuit = circuit();
    circuit.fail(0);
    let mut now_ms = 0;
    for pause_ms in [1_000, 2_000, 4_000, 4_000] {
        assert_eq!(circuit.refuses_for(now_ms), Some(pause_ms));
        now_ms += pause_ms;
        assert!(circuit.ask(FAILED, now_ms));
    }
    now_ms += 4_000;
    circuit.ask(Ended::Answered, now_ms);
    circuit.fail(now_ms);
    assert_eq!(circuit.refuses_for(now_ms), Some(1_000), "it had worked");
}

#[test]
fn the_pause_is_at_least_half_of_what_it_may_be() {
    for random in [0.0, 0.5, 0.99] {
        let mut circuit = circuit();
        let passes = [0; 3].map(|_| circuit.begin(0, 30_000).unwrap());
        for pass in passes {
            circuit.ends(pass, FAILED, 1, 0, random);
        }
        let pause = circuit.refuses_for(0).unwrap();
        assert!((500..=1_000).contains(&pause), "{pause}");
    }
}

#[test]
fn the_time_that_a_source_asks_for_is_kept_after_one_failure_by_all() {
    let mut circuit = circuit();
    let busy = |pace_ms| Ended::Failed {
        pace_ms: Some(pace_ms),
    };
    assert!(circuit.ask(busy(60_000), 0));
    assert_eq!(circuit.refuses_for(0), Some(60_000));
    assert!(circuit.ask(busy(u64::MAX), 60_000));
    assert_eq!(circuit.refuses_for(60_000), Some(PACE_MS_MAX));
}

#[test]
fn what_began_before_it_opened_says_nothing_after_it() {
    let mut circuit = circuit();
    let slow = circuit.begin(0, 30_000).unwrap();
    circuit.fail(0);
    let probe = circuit.begin(1_000, 30_000).unwrap();
    assert!(!circuit.ends(slow, FAILED, 1_000, 1_000, 1.0));
    assert!(!circuit.ends(slow, Ended::Answered, 1_000, 1_000, 1.0));
    assert_eq!(circuit.refuses_for(1_000), Some(AGAIN_MS), "still probed");
    circuit.ends(probe, Ended::Answered, 1, 1_000, 1.0);
    assert_eq!(circuit.refuses_for(1_000), None);
}

#[test]
fn who_cannot_wait_says_nothing_unless_it_had_time_enough() {
    let mut circuit = circuit();
    let passes = [0; 9].map(|_| circuit.begin(0, 30_000).unwrap());
    for pass in passes {
        assert!(!circuit.ends(pass, Ended::Cut, 499, 0, 1.0));
    }
    assert!(!circuit.ask(Ended::Answered, 0));
    let opened = [0; 3].map(|_| {
        let pass = circuit.begin(0, 30_000).unwrap();
        circuit.ends(pass, Ended::Cut, 5_000, 0, 1.0)
    });
    assert_eq!(opened, [false, false, true]);
    let probe = circuit.begin(1_000, 30_000).unwrap();
    circuit.ends(probe, Ended::Cut, 10, 1_000, 1.0);
    assert_eq!(circuit.refuses_for(1_000), None, "the next one finds out");
}

#[test]
fn whoever_decides_for_it_is_obeyed_until_the_decision_is_given_back() {
    let mut circuit = circuit();
    circuit.force(BreakerMode::ForcedOpen, 0);
    assert_eq!(circuit.refuses_for(u64::MAX), Some(AGAIN_MS));
    circuit.force(BreakerMode::Auto, 0);
    assert_eq!(circuit.refuses_for(0), None);
    circuit.fail(0);
    circuit.force(BreakerMode::ForcedClosed, 0);
    for _ in 0..50 {
        let busy = Ended::Failed { pace_ms: Some(9) };
        assert!(!circuit.ask(busy, 0));
    }
    circuit.force(BreakerMode::Auto, 0);
    circuit.fail(0);
    assert_eq!(circuit.refuses_for(0), Some(1_000));
}

#[test]
fn one_that_finds_out_and_stands_still_gives_way_to_another() {
    let mut circuit = circuit();
    circuit.fail(0);
    let lost = circuit.begin(1_000, 30_000).unwrap();
    assert_eq!(circuit.refuses_for(30_999), Some(AGAIN_MS));
    let next = circuit.begin(31_000, 30_000).unwrap();
    assert!(!circuit.ends(lost, FAILED, 30_000, 31_000, 1.0));
    assert_eq!(
        circuit.refuses_for(31_000),
        Some(AGAIN_MS),
        "the other one does"
    );
    circuit.ends(next, Ended::Answered, 1, 31_000, 1.0);
    assert_eq!(circuit.stats(31_000).state, BreakerState::Closed);
}

#[test]
fn one_that_finds_out_late_has_found_out_all_the_same() {
    let mut circuit = circuit();
    circuit.fail(0);
    let late = circuit.begin(1_000, 100).unwrap();
    let _next = circuit.begin(1_100, 100).unwrap();
    let turned = circuit.end(late, Ended::Answered, 120, 1_120, 1.0);
    assert_eq!(turned, Turned::Closed);
    assert_eq!(circuit.refuses_for(1_120), None);
}

#[test]
fn a_burst_that_cannot_wait_is_no_silence_and_is_forgotten_when_all_have_left() {
    let mut circuit = circuit();
    let burst = [0; 40].map(|_| circuit.begin(0, 30_000).unwrap());
    for pass in burst {
        assert!(!circuit.ends(pass, Ended::Cut, 1_000, 1_000, 1.0));
    }
    for now_ms in (60_000..120_000).step_by(2_000) {
        let pass = circuit.begin(now_ms, 30_000).unwrap();
        assert!(!circuit.ends(pass, Ended::Cut, 20, now_ms + 20, 1.0));
    }
}

#[test]
fn calls_from_before_it_opened_condemn_no_probe() {
    let mut circuit = circuit();
    let before = [0; 6].map(|_| circuit.begin(0, 30_000).unwrap());
    circuit.fail(0);
    for pass in before {
        assert!(!circuit.ends(pass, Ended::Cut, 4_000, 900, 1.0));
    }
    let probe = circuit.begin(1_000, 30_000).unwrap();
    assert!(!circuit.ends(probe, Ended::Cut, 1, 1_001, 1.0));
    assert_eq!(circuit.refuses_for(1_001), None);
}

#[test]
fn the_longest_time_that_a_source_asks_for_counts_whoever_hears_it() {
    let mut circuit = circuit();
    let [first, second, third] = [0; 3].map(|_| circuit.begin(0, 30_000).unwrap());
    let busy = |pace_ms| Ended::Failed {
        pace_ms: Some(pace_ms),
    };
    assert!(circuit.ends(first, busy(2_000), 1, 0, 1.0));
    assert!(!circuit.ends(second, busy(60_000), 1, 0, 1.0));
    assert!(!circuit.ends(third, busy(3_000), 1, 0, 1.0));
    assert_eq!(circuit.refuses_for(0), Some(60_000));
}

#[test]
fn other_rules_leave_who_decides_and_for_how_long_nobody_asks() {
    let mut open = circuit();
    open.fail(0);
    let straggler = Pass {
        era: Some(0),
        probe: None,
    };
    let mut changed = open.with_rules(BreakerConfig::default(), REOPEN, 100);
    assert_eq!(changed.refuses_for(100), Some(900));
    assert!(!changed.ends(straggler, FAILED, 1, 100, 1.0));
    let mut forced = circuit();
    forced.force(BreakerMode::ForcedOpen, 0);
    let changed = forced.with_rules(BreakerConfig::default(), REOPEN, 100);
    assert_eq!(changed.refuses_for(100), Some(AGAIN_MS));
    let closed = circuit().with_rules(BreakerConfig::default(), REOPEN, 100);
    assert_eq!(closed.refuses_for(100), None);
}

#[test]
fn what_failed_elsewhere_says_nothing_of_the_source() {
    let mut circuit = circuit();
    for _ in 0..9 {
        assert!(!circuit.ask(Ended::Elsewhere, 0));
        let part = circuit.ends(Pass::PART, FAILED, 1, 0, 1.0);
        assert!(!part);
    }
    assert_eq!(circuit.refuses_for(0), None);
}

#[test]
fn a_source_that_answers_nobody_fails_however_little_each_can_wait() {
    let mut circuit = circuit();
    let mut opened_ms = None;
    for now_ms in (0..20_000).step_by(100) {
        if circuit.refuses_for(now_ms).is_some() {
            break;
        }
        let pass = circuit.begin(now_ms, 30_000).unwrap();
        if circuit.ends(pass, Ended::Cut, 100, now_ms + 100, 1.0) {
            opened_ms = Some(now_ms + 100);
        }
    }
    // slow_ms is 5,000, and three failures in a row open it.
    assert_eq!(opened_ms, Some(5_200));
}

#[test]
fn whoever_leaves_early_says_nothing_of_a_source_that_answers_others() {
    let mut answers = circuit();
    for now_ms in (0..60_000).step_by(100) {
        let (stays, leaves) = (answers.begin(now_ms, 30_000), answers.begin(now_ms, 30_000));
        assert!(!answers.ends(leaves.unwrap(), Ended::Cut, 50, now_ms + 50, 1.0));
        assert!(!answers.ends(stays.unwrap(), Ended::Answered, 80, now_ms + 80, 1.0));
    }
    // Nor of one that takes its time for somebody who has it.
    let mut busy = circuit();
    let long = busy.begin(0, 30_000).unwrap();
    for now_ms in (0..4_000).step_by(100) {
        let leaves = busy.begin(now_ms, 30_000).unwrap();
        assert!(!busy.ends(leaves, Ended::Cut, 20, now_ms + 20, 1.0));
    }
    assert!(!busy.ends(long, Ended::Answered, 4_500, 4_500, 1.0));
}

#[test]
fn a_slow_probe_has_found_out_that_nothing_is_better() {
    let mut circuit = circuit();
    circuit.fail(0);
    let probe = circuit.begin(1_000, 30_000).unwrap();
    assert!(circuit.ends(probe, Ended::Answered, 5_000, 6_000, 1.0));
    let probe = circuit.begin(8_000, 30_000).unwrap();
    let turned = circuit.end(probe, Ended::Answered, 4_999, 12_999, 1.0);
    assert_eq!(turned, Turned::Closed);
}

#[test]
fn it_says_why_it_opens() {
    let mut circuit = circuit();
    for _ in 0..2 {
        circuit.ask(FAILED, 0);
    }
    let pass = circuit.begin(0, 30_000).unwrap();
    let turned = circuit.end(pass, FAILED, 1, 0, 1.0);
    assert_eq!(turned, Turned::Opened("3 calls in a row failed".into()));
}
