//! A model of how the batch writer is woken, in every order of its steps: whatever is set is looked at.
//!
//! Two lanes; the driver of the first one is down at the beginning and may come up. A bell is answered by a lane
//! before its last look, and the message that it sends sets off, or has run again, every lane
//! (`actors/batch.rs`, `actors/batch/supply.rs`, `actors/batch/run.rs`).

#![allow(clippy::indexing_slicing)]

use std::collections::HashSet;

const LANES: usize = 2;
const SETS_MAX: u8 = 3;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Lane {
    Idle,
    /// Is to look.
    Looking,
    /// Has answered, and is to look once more.
    Answered,
    /// Has found its driver down.
    Down,
    /// Has found nothing, or its driver still down.
    Done,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct State {
    sets: u8,
    /// Who has done something and not rung for it yet.
    to_ring: u8,
    dirty: [bool; LANES],
    up: [bool; LANES],
    ringing: bool,
    message: bool,
    lanes: [Lane; LANES],
    again: [bool; LANES],
}

/// How the lanes go about it.
#[derive(Clone, Copy)]
struct Rules {
    answers_before_the_last_look: bool,
    looks_again_whether_it_is_up: bool,
}

const RULES: Rules = Rules {
    answers_before_the_last_look: true,
    looks_again_whether_it_is_up: true,
};

impl State {
    fn new() -> Self {
        Self {
            sets: 0,
            to_ring: 0,
            dirty: [false; LANES],
            up: [false, true],
            ringing: false,
            message: false,
            lanes: [Lane::Idle; LANES],
            again: [false; LANES],
        }
    }

    /// Every step that can be made from here.
    fn steps(&self, rules: Rules) -> Vec<Self> {
        let mut steps = Vec::new();
        let mut step = |change: &dyn Fn(&mut Self)| {
            let mut next = self.clone();
            change(&mut next);
            steps.push(next);
        };
        if self.sets < SETS_MAX {
            step(&|s| {
                s.dirty = [true; LANES];
                s.sets += 1;
                s.to_ring += 1;
            });
        }
        if !self.up[0] {
            step(&|s| {
                s.up[0] = true;
                s.to_ring += 1;
            });
        }
        if self.to_ring > 0 {
            step(&|s| {
                s.message |= !s.ringing;
                s.ringing = true;
                s.to_ring -= 1;
            });
        }
        if self.message {
            step(&|s| {
                s.message = false;
                for lane in 0..LANES {
                    match s.lanes[lane] {
                        Lane::Idle => s.lanes[lane] = Lane::Looking,
                        _ => s.again[lane] = true,
                    }
                }
            });
        }
        for lane in 0..LANES {
            if self.lanes[lane] != Lane::Idle {
                step(&|s| s.go_on(lane, rules));
            }
        }
        steps
    }

    /// The next step of a lane that runs.
    fn go_on(&mut self, lane: usize, rules: Rules) {
        let is_early = rules.answers_before_the_last_look;
        self.lanes[lane] = match self.lanes[lane] {
            Lane::Looking if !self.up[lane] => Lane::Down,
            Lane::Down => {
                self.ringing = false;
                match rules.looks_again_whether_it_is_up {
                    true => Lane::Answered,
                    false => Lane::Done,
                }
            }
            Lane::Answered if !self.up[lane] => Lane::Done,
            Lane::Looking | Lane::Answered if self.dirty[lane] => {
                self.dirty[lane] = false;
                Lane::Looking
            }
            Lane::Looking => {
                self.ringing &= !is_early;
                match is_early {
                    true => Lane::Answered,
                    false => Lane::Done,
                }
            }
            Lane::Answered => Lane::Done,
            Lane::Done | Lane::Idle => {
                self.ringing &= is_early;
                match std::mem::take(&mut self.again[lane]) {
                    true => Lane::Looking,
                    false => Lane::Idle,
                }
            }
        };
    }
}

/// How many states there are, and one in which everybody rests although something is dirty and its driver up.
fn explore(rules: Rules) -> (usize, Option<State>) {
    let mut seen = HashSet::from([State::new()]);
    let mut open = vec![State::new()];
    let mut left = None;
    while let Some(state) = open.pop() {
        let steps = state.steps(rules);
        if steps.is_empty() && state.dirty != [false; LANES] {
            left = Some(state);
        }
        open.extend(steps.into_iter().filter(|next| seen.insert(next.clone())));
    }
    (seen.len(), left)
}

#[test]
fn when_everybody_rests_nothing_is_dirty() {
    let (states, left) = explore(RULES);
    assert!(states > 1_000, "{states}");
    assert_eq!(left, None);
}

#[test]
fn answered_after_the_last_look_a_ring_is_lost() {
    let rules = Rules {
        answers_before_the_last_look: false,
        ..RULES
    };
    assert!(explore(rules).1.is_some());
}

#[test]
fn who_answers_and_does_not_look_again_whether_its_driver_is_up_overlooks_that_it_is() {
    let rules = Rules {
        looks_again_whether_it_is_up: false,
        ..RULES
    };
    assert!(explore(rules).1.is_some());
}
