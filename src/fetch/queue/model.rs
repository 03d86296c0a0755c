//! The queue against a list that is searched from end to end, over random steps.

use std::collections::HashSet;

use super::*;

/// One who waits. Its place in the list is its age.
#[derive(Clone, Copy, Debug)]
struct Waiter {
    source: usize,
    ticket: u64,
    urgency: Urgency,
    token: u32,
    /// How many waited when it came.
    older: usize,
    /// Places that it could use since.
    places: usize,
}

/// A place that was given to one who waited.
struct Given {
    by_age: bool,
    /// The sources that could use it.
    to: Vec<usize>,
}

/// What the queue is to do, done the slow way.
struct Model {
    overall_max: usize,
    bounds: Vec<Bounds>,
    in_flight: Vec<usize>,
    /// The oldest first.
    waiters: Vec<Waiter>,
    /// All that ever were, the latest last.
    given: Vec<Given>,
}

impl Model {
    fn could_go(&self, source: usize) -> bool {
        self.in_flight.iter().sum::<usize>() < self.overall_max
            && self.in_flight[source] < self.bounds[source].in_flight_max
    }

    /// Whether the last three places that this source could use went by urgency.
    fn is_due(&self, source: usize) -> bool {
        let of_source = self.given.iter().rev();
        let of_source = of_source.filter(|given| given.to.contains(&source));
        let last: Vec<_> = of_source.take(3).map(|given| given.by_age).collect();
        last == [false; 3]
    }

    /// Gives a place that these sources can use, if somebody waits for one of them.
    fn serve_one(&mut self, sources: &[usize]) -> Option<Waiter> {
        let to: Vec<_> = sources
            .iter()
            .copied()
            .filter(|source| self.waiting(*source) > 0)
            .collect();
        let by_age = to.iter().any(|source| self.is_due(*source));
        for waiter in &mut self.waiters {
            waiter.places += usize::from(to.contains(&waiter.source));
            assert!(waiter.places <= 4 * (waiter.older + 1), "{waiter:?}");
        }
        let mut best: Option<usize> = None;
        for (at, waiter) in self.waiters.iter().enumerate() {
            let is_better =
                best.is_none_or(|best| !by_age && waiter.urgency < self.waiters[best].urgency);
            if to.contains(&waiter.source) && is_better {
                best = Some(at);
            }
        }
        let served = self.waiters.remove(best?);
        self.given.push(Given { by_age, to });
        Some(served)
    }

    fn serve(&mut self) -> Vec<u32> {
        let mut tokens = Vec::new();
        let sources = 0..self.bounds.len();
        loop {
            let with_room: Vec<_> = sources.clone().filter(|at| self.could_go(*at)).collect();
            let Some(waiter) = self.serve_one(&with_room) else {
                return tokens;
            };
            self.in_flight[waiter.source] += 1;
            tokens.push(waiter.token);
        }
    }

    /// As if only this source had room, however much; none of it has happened.
    fn drain(&mut self, source: usize) -> Vec<u32> {
        let given = self.given.len();
        let served = std::iter::from_fn(|| self.serve_one(&[source]));
        let tokens = served.map(|waiter| waiter.token).collect();
        self.given.truncate(given);
        tokens
    }

    fn waiting(&self, source: usize) -> usize {
        self.waiters.iter().filter(|w| w.source == source).count()
    }

    /// Who would be turned away for a newcomer; `Err` if it is to be refused.
    fn turn_away(&mut self, source: usize, urgency: Urgency) -> Result<Option<u32>, ()> {
        let waiting_max = self.bounds[source].waiting_max;
        if self.waiting(source) < waiting_max {
            return Ok(None);
        }
        let mut worst: Option<usize> = None;
        for (at, waiter) in self.waiters.iter().enumerate() {
            let is_worse = worst.is_none_or(|worst| waiter.urgency >= self.waiters[worst].urgency);
            if waiter.source == source && is_worse {
                worst = Some(at);
            }
        }
        match worst {
            Some(at) if waiting_max > 0 && self.waiters[at].urgency > urgency => {
                Ok(Some(self.waiters.remove(at).token))
            }
            _ => Err(()),
        }
    }
}

/// Both, and what has happened to them.
struct Pair {
    rng: fastrand::Rng,
    queue: Queue<u32>,
    numbers: Vec<Number>,
    model: Model,
    /// Source and ticket of all who ever waited.
    tickets: Vec<(usize, u64)>,
    seen: HashSet<u64>,
    tokens: u32,
    places_given: usize,
    places_returned: usize,
}

fn random_bounds(rng: &mut fastrand::Rng) -> Bounds {
    Bounds {
        in_flight_max: rng.usize(0..4),
        waiting_max: rng.usize(0..8),
    }
}

fn random_urgency(rng: &mut fastrand::Rng) -> Urgency {
    Urgency::ALL[rng.usize(0..3)]
}

impl Pair {
    fn new(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let overall_max = rng.usize(1..7);
        let mut queue = Queue::new(overall_max);
        let bounds: Vec<_> = (0..rng.usize(1..=4))
            .map(|_| random_bounds(&mut rng))
            .collect();
        let numbers = bounds.iter().map(|bounds| queue.add(*bounds)).collect();
        let model = Model {
            overall_max,
            in_flight: vec![0; bounds.len()],
            bounds,
            waiters: Vec::new(),
            given: Vec::new(),
        };
        Self {
            rng,
            queue,
            numbers,
            model,
            tickets: Vec::new(),
            seen: HashSet::new(),
            tokens: 0,
            places_given: 0,
            places_returned: 0,
        }
    }

    fn step(&mut self) {
        let source = self.rng.usize(0..self.numbers.len());
        match self.rng.u32(0..100) {
            0..45 => self.enter(source),
            45..75 => self.give_back(source),
            75..82 => self.leave(),
            82..91 => self.lift(),
            91..98 => self.resize(source),
            _ => {
                let drained = self.queue.drain(self.numbers[source]);
                assert_eq!(drained, self.model.drain(source));
            }
        }
    }

    fn enter(&mut self, source: usize) {
        let urgency = random_urgency(&mut self.rng);
        self.tokens += 1;
        let token = self.tokens;
        let entered = self.queue.enter(self.numbers[source], urgency, token);
        if self.model.could_go(source) {
            self.model.in_flight[source] += 1;
            self.places_given += 1;
            assert_eq!(entered, Entered::In(token));
            return;
        }
        let Ok(expected) = self.model.turn_away(source, urgency) else {
            assert_eq!(entered, Entered::Full(token));
            return;
        };
        let Entered::Waits {
            ticket,
            turned_away,
        } = entered
        else {
            panic!("{token} was to wait: {entered:?}");
        };
        assert_eq!(turned_away, expected);
        assert!(self.seen.insert(ticket), "ticket {ticket} was another's");
        self.tickets.push((source, ticket));
        self.model.waiters.push(Waiter {
            source,
            ticket,
            urgency,
            token,
            older: self.model.waiters.len(),
            places: 0,
        });
    }

    fn give_back(&mut self, source: usize) {
        let given = self.queue.give_back(self.numbers[source]);
        let mut expected = Vec::new();
        if self.model.in_flight[source] > 0 {
            self.model.in_flight[source] -= 1;
            self.places_returned += 1;
            expected = self.model.serve();
        }
        self.places_given += given.iter().count();
        assert_eq!(Vec::from_iter(given), expected);
    }

    fn resize(&mut self, source: usize) {
        let bounds = random_bounds(&mut self.rng);
        let given = self.queue.resize(self.numbers[source], bounds);
        self.model.bounds[source] = bounds;
        self.places_given += given.len();
        assert_eq!(given, self.model.serve());
    }

    /// Mostly one who waits, at times one who did or none at all.
    fn somebody(&mut self) -> (usize, u64) {
        let waiter = self.rng.choice(&self.model.waiters);
        let waiter = waiter.map(|waiter| (waiter.source, waiter.ticket));
        let anybody = self.rng.choice(&self.tickets).copied();
        let choice = if self.rng.u32(0..4) > 0 {
            waiter
        } else {
            anybody
        };
        choice.unwrap_or((0, u64::MAX))
    }

    fn leave(&mut self) {
        let (source, ticket) = self.somebody();
        let left = self.queue.leave(self.numbers[source], ticket);
        let at = self.model.waiters.iter().position(|w| w.ticket == ticket);
        assert_eq!(left, at.map(|at| self.model.waiters.remove(at).token));
    }

    fn lift(&mut self) {
        let (source, ticket) = self.somebody();
        let urgency = random_urgency(&mut self.rng);
        self.queue.lift(self.numbers[source], ticket, urgency);
        for waiter in &mut self.model.waiters {
            if waiter.ticket == ticket {
                waiter.urgency = waiter.urgency.min(urgency);
            }
        }
    }

    fn check(&self) {
        let each = || self.numbers.iter().enumerate();
        for (at, number) in each() {
            assert_eq!(self.queue.in_flight(*number), self.model.in_flight[at]);
            assert_eq!(self.queue.waiting(*number), self.model.waiting(at));
        }
        let in_flight: usize = each()
            .map(|(_, number)| self.queue.in_flight(*number))
            .sum();
        assert_eq!(self.places_given, self.places_returned + in_flight);
        for (at, number) in each() {
            let has_room = self.queue.in_flight(*number) < self.model.bounds[at].in_flight_max;
            let could_go = has_room && in_flight < self.model.overall_max;
            assert!(!could_go || self.queue.waiting(*number) == 0);
        }
        let given = &self.model.given;
        let by_age = given.iter().filter(|given| given.by_age).count();
        assert!(3 * by_age <= self.numbers.len() * (given.len() - by_age));
    }
}

#[test]
fn the_queue_answers_as_a_list_does_that_is_searched() {
    for seed in 0..300 {
        // Shown where the test fails: which seed it was.
        println!("seed {seed}");
        let mut pair = Pair::new(seed);
        for _ in 0..300 {
            pair.step();
            pair.check();
        }
    }
}
