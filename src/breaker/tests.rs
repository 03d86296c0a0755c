//! The breaker as a table of histories.

use super::*;

const OK: Called = Called {
    writes: false,
    failed: false,
    took_ms: 1,
};
const BAD: Called = Called {
    writes: false,
    failed: true,
    took_ms: 1,
};
const SLOW: Called = Called {
    writes: false,
    failed: false,
    took_ms: 1_000,
};

fn closed(config: BreakerConfig) -> Breaker {
    let mut breaker = Breaker::new(config, 0);
    breaker.half_open(0);
    assert_eq!(breaker.state(), BreakerState::Closed);
    breaker
}

#[test]
fn it_begins_open_and_the_first_opening_closes_it() {
    let mut breaker = Breaker::new(BreakerConfig::default(), 0);
    assert_eq!(breaker.state(), BreakerState::Open);
    breaker.half_open(1);
    assert_eq!(breaker.state(), BreakerState::Closed);
    let stats = breaker.stats(1);
    assert_eq!((stats.opened, stats.open_ms, stats.probes), (0, 0, 0));
    assert!((stats.availability - 1.0).abs() < f64::EPSILON);
}

#[test]
fn a_successor_gets_calls_after_enough_probes() {
    let mut breaker = closed(BreakerConfig {
        probes: 2,
        ..BreakerConfig::default()
    });
    breaker.open(1);
    assert_eq!(breaker.probed(true, 1), BreakerState::Open, "not half open");
    breaker.half_open(1);
    assert_eq!(breaker.probed(true, 2), BreakerState::HalfOpen);
    assert_eq!(breaker.probed(true, 3), BreakerState::Closed);
    let stats = breaker.stats(3);
    assert_eq!((stats.opened, stats.open_ms, stats.probes), (1, 2, 2));
}

#[test]
fn a_probe_that_fails_opens_it_and_the_next_half_open_begins_anew() {
    let config = BreakerConfig {
        probes: 2,
        ..BreakerConfig::default()
    };
    let mut breaker = closed(config);
    breaker.open(0);
    breaker.half_open(0);
    breaker.probed(true, 0);
    assert_eq!(breaker.probed(false, 0), BreakerState::Open);
    breaker.half_open(0);
    assert_eq!(breaker.probed(true, 0), BreakerState::HalfOpen);
    assert_eq!(breaker.stats(0).probes_failed, 1);
}

#[test]
fn failures_in_a_row_open_it_and_a_success_between_starts_the_count_again() {
    let mut breaker = closed(BreakerConfig {
        failure_percent_max: 100,
        ..BreakerConfig::default()
    });
    for call in [BAD, BAD, BAD, BAD, OK, BAD, BAD, BAD, BAD] {
        assert_eq!(breaker.record(call), None);
    }
    assert_eq!(breaker.record(BAD), Some(Trip::InARow(5)));
}

#[test]
fn what_reads_does_not_hide_what_writes() {
    let write = |called| Called {
        writes: true,
        ..called
    };
    let mut breaker = closed(BreakerConfig::default());
    for call in [
        write(BAD),
        OK,
        write(BAD),
        OK,
        write(BAD),
        OK,
        write(BAD),
        OK,
    ] {
        assert_eq!(breaker.record(call), None);
    }
    assert_eq!(breaker.record(write(BAD)), Some(Trip::InARow(5)));
    let mut breaker = closed(BreakerConfig::default());
    for _ in 0..100 {
        assert_eq!(breaker.record(write(SLOW)), None, "it serves all the same");
        assert_eq!(breaker.record(OK), None);
    }
}

#[test]
fn a_rate_is_judged_only_once_there_are_enough_calls() {
    let mut breaker = closed(BreakerConfig::default());
    for call in [BAD, OK, BAD, OK, BAD, OK, BAD, OK, OK] {
        assert_eq!(breaker.record(call), None);
    }
    assert_eq!(breaker.record(BAD), Some(Trip::Failing(5, 10)));
}

#[test]
fn a_success_does_not_open_it_by_the_failures_before_it() {
    let mut breaker = closed(BreakerConfig::default());
    for call in [BAD, OK, BAD, OK, BAD, BAD, BAD, OK, BAD, OK] {
        assert_eq!(
            breaker.record(call),
            None,
            "6 of 10 failed, the last did not"
        );
    }
    assert!(breaker.record(BAD).is_some());
}

#[test]
fn slow_calls_open_it_although_they_succeed() {
    let mut breaker = closed(BreakerConfig::default());
    for call in [OK, OK, SLOW, SLOW, SLOW, SLOW, SLOW, SLOW, SLOW] {
        assert_eq!(breaker.record(call), None);
    }
    assert_eq!(breaker.record(SLOW), Some(Trip::Slow(8, 10)));
}

#[test]
fn what_ends_after_it_has_opened_is_not_counted() {
    let mut breaker = closed(BreakerConfig::default());
    breaker.open(1);
    for _ in 0..100 {
        assert_eq!(breaker.record(BAD), None);
    }
    breaker.half_open(2);
    breaker.probed(true, 3);
    assert_eq!(breaker.record(BAD), None, "a new window");
}

#[test]
fn forced_open_it_stays_open_whatever_the_probes_say() {
    let mut breaker = closed(BreakerConfig::default());
    breaker.force(BreakerMode::ForcedOpen, 5);
    assert_eq!(breaker.state(), BreakerState::Open);
    breaker.open(6);
    breaker.half_open(7);
    breaker.probed(true, 8);
    assert_eq!(breaker.state(), BreakerState::Open);
    assert_eq!(breaker.stats(9).since_ms, 5);
    breaker.force(BreakerMode::Auto, 10);
    assert_eq!(breaker.state(), BreakerState::Closed);
    let stats = breaker.stats(10);
    assert_eq!((stats.since_ms, stats.open_ms), (10, 5));
}

#[test]
fn forced_closed_and_disabled_it_opens_only_if_the_driver_is_gone() {
    for mode in [BreakerMode::ForcedClosed, BreakerMode::Disabled] {
        let mut breaker = closed(BreakerConfig::default());
        breaker.force(mode, 1);
        for _ in 0..100 {
            assert_eq!(breaker.record(BAD), None);
        }
        assert_eq!(breaker.state(), BreakerState::Closed);
        breaker.open(2);
        assert_eq!(breaker.state(), BreakerState::Open);
    }
}

#[test]
fn availability_is_the_share_of_time_since_it_closed_first() {
    let mut breaker = Breaker::new(BreakerConfig::default(), 0);
    assert!(breaker.stats(50).availability.abs() < f64::EPSILON);
    breaker.half_open(100);
    breaker.open(150);
    breaker.half_open(170);
    breaker.probed(true, 200);
    let stats = breaker.stats(300);
    assert_eq!((stats.opened, stats.open_ms, stats.since_ms), (1, 50, 200));
    assert!((stats.availability - 0.75).abs() < 1e-9);
}

#[test]
fn every_problem_of_the_settings_is_named_with_its_range() {
    assert!(BreakerConfig::default().problems().is_empty());
    let wrong = BreakerConfig {
        consecutive_failures_max: 0,
        window_calls: 129,
        window_calls_min: 129,
        failure_percent_max: 101,
        slow_ms: 0,
        slow_percent_max: 0,
        hung_ms: 1,
        probes: 0,
    };
    assert_eq!(wrong.problems().len(), 8);
    assert_eq!(
        wrong.problems()[1],
        "breaker.window_calls is 129, allowed is 1 to 128"
    );
}

#[test]
fn what_tripped_it_is_said_in_numbers() {
    assert_eq!(Trip::InARow(5).to_string(), "5 calls in a row failed");
    assert_eq!(
        Trip::Failing(5, 10).to_string(),
        "5 of the last 10 calls failed"
    );
    assert_eq!(
        Trip::Slow(8, 10).to_string(),
        "8 of the last 10 calls were slow"
    );
}
