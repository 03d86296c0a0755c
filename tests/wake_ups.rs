//! A model of how the batch writer is woken, in every order of its steps: whatever is set is looked at.
//!
//! Two lanes, each with a driver that takes all. A bell is answered by a lane before its last look, and the
//! message that it sends sets off, or has run again, every lane (`actors/batch.rs`, `actors/batch/supply.rs`).

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
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct State {
    /// What is set and not yet filed with its ring.
    filed: bool,
    sets: u8,
    dirty: [bool; LANES],
    ringing: bool,
    message: bool,
    lanes: [Lane; LANES],
    again: [bool; LANES],
}

/// Where the bell is answered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answers {
    BeforeTheLastLook,
    AfterIt,
}

impl State {
    fn new() -> Self {
        Self {
            filed: false,
            sets: 0,
            dirty: [false; LANES],
            ringing: false,
            message: false,
            lanes: [Lane::Idle; LANES],
            again: [false; LANES],
        }
    }

    /// Every step that can be made from here.
    fn steps(&self, answers: Answers) -> Vec<Self> {
        let mut steps = Vec::new();
        let mut step = |change: &dyn Fn(&mut Self)| {
            let mut next = self.clone();
            change(&mut next);
            steps.push(next);
        };
        if !self.filed && self.sets < SETS_MAX {
            step(&|s| {
                s.dirty = [true; LANES];
                s.filed = true;
                s.sets += 1;
            });
        }
        if self.filed {
            step(&|s| {
                s.message |= !s.ringing;
                s.ringing = true;
                s.filed = false;
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
            match self.lanes[lane] {
                Lane::Idle => {}
                Lane::Looking if self.dirty[lane] => step(&|s| s.dirty[lane] = false),
                Lane::Looking if answers == Answers::AfterIt => {
                    step(&|s| s.lanes[lane] = Lane::Answered)
                }
                Lane::Looking => step(&|s| {
                    s.ringing = false;
                    s.lanes[lane] = Lane::Answered;
                }),
                Lane::Answered if self.dirty[lane] && answers == Answers::BeforeTheLastLook => {
                    step(&|s| {
                        s.dirty[lane] = false;
                        s.lanes[lane] = Lane::Looking;
                    });
                }
                Lane::Answered => step(&|s| {
                    if answers == Answers::AfterIt {
                        s.ringing = false;
                    }
                    let again = std::mem::take(&mut s.again[lane]);
                    s.lanes[lane] = if again { Lane::Looking } else { Lane::Idle };
                }),
            }
        }
        steps
    }
}

/// How many states there are, and one in which everybody rests although something is dirty.
fn explore(answers: Answers) -> (usize, Option<State>) {
    let mut seen = HashSet::from([State::new()]);
    let mut open = vec![State::new()];
    let mut left = None;
    while let Some(state) = open.pop() {
        let steps = state.steps(answers);
        if steps.is_empty() && state.dirty != [false; LANES] {
            left = Some(state);
        }
        open.extend(steps.into_iter().filter(|next| seen.insert(next.clone())));
    }
    (seen.len(), left)
}

#[test]
fn when_everybody_rests_nothing_is_dirty() {
    let (states, left) = explore(Answers::BeforeTheLastLook);
    assert!(states > 100, "{states}");
    assert_eq!(left, None);
}

#[test]
fn answered_after_the_last_look_a_ring_is_lost() {
    assert!(explore(Answers::AfterIt).1.is_some());
}
