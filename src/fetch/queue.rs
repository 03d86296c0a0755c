//! Who calls a source next: so many calls of each source are under way at once, so many of all, and who
//! finds no place waits, by urgency, in a queue that is bounded.
//!
//! One rule holds after every operation: nobody waits who could go, that is, whose source has room while
//! there is room overall. So a newcomer that finds room passes nobody.
//!
//! # How long somebody waits
//!
//! A free place goes by urgency, to the most urgent of those who could use it and to the oldest of equals;
//! or by age, to the oldest of those who could use it, however urgent. Each source counts on its own. It
//! *could use* a place that is given to one who waits, whoever gets it, if it has room then and somebody
//! waits for it. Once any of those that could use a place has had three by urgency that it could use, the
//! place goes by age, and all those that could use it count anew.
//!
//! So of any four ([`OLDEST_EVERY`]) places in a row that a source could use at least one goes by age. Who
//! waits gets that one, or somebody older does, and who comes later is younger: who finds `k` older ones
//! waiting, of whatever source, goes **within `4 * (k + 1)` of the places that its source could use**.
//!
//! - Each place that its own source gives back is such a place (but for a source whose bound became
//!   narrower, until fewer are in). While its source has room, so that the overall bound alone holds it
//!   up, so is each that others give back. What others give back while its source is full is none, and
//!   delays nothing.
//! - An older one matters only if its own source could use such places too. While the overall bound is
//!   not reached, only those of the same source do.
//! - With several sources more than every fourth of all places may go by age, as each may reach its fourth
//!   at another place: at worst, with `n` sources, `n` by age to three by urgency.
//!
//! This counts places, not time, and it is for those who stay: in a full queue a more urgent newcomer
//! turns away the youngest of the least urgent.

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

/// Of so many places in a row that a source could use, at least one goes to the oldest, however urgent.
pub const OLDEST_EVERY: u32 = 4;

/// How urgent a load is: which of those that wait for a place of a source gets the next one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[non_exhaustive]
pub enum Urgency {
    /// Somebody waits for the value.
    #[default]
    Foreground,
    /// Nobody waits, but the value is in use: it is brought up to date.
    Background,
    /// Nobody has asked for the value yet.
    Prefetch,
}

impl Urgency {
    const ALL: [Self; 3] = [Self::Foreground, Self::Background, Self::Prefetch];

    /// As a number, for an atomic; the smaller the more urgent, so `fetch_min` lifts.
    pub(crate) const fn as_u8(self) -> u8 {
        self as u8
    }

    /// What [`as_u8`](Self::as_u8) made; a number that it never makes is the least urgent.
    pub(crate) const fn from_u8(number: u8) -> Self {
        match number {
            0 => Self::Foreground,
            1 => Self::Background,
            _ => Self::Prefetch,
        }
    }
}

/// Which source, as the queue numbers them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Number(usize);

/// How much of a source there may be at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// Calls that are under way.
    pub in_flight_max: usize,
    /// Calls that wait; with 0 none does.
    pub waiting_max: usize,
}

/// What became of a newcomer.
#[derive(PartialEq, Eq, Debug)]
#[must_use = "a place that is taken is to be given back"]
pub enum Entered<T> {
    /// There was a place.
    In(T),
    /// It waits under this ticket. Where the source's queue was full, the one who was turned away for
    /// it: the youngest of the least urgent, if that is less urgent than the newcomer.
    Waits { ticket: u64, turned_away: Option<T> },
    /// The queue is full of others that are as urgent or more.
    Full(T),
}

/// Who wait, and how many are in. `T` is what is to be told.
pub struct Queue<T> {
    overall_max: usize,
    in_flight: usize,
    issued: u64,
    sources: Vec<Source<T>>,
}

impl<T> Queue<T> {
    /// No sources yet, and room for so many calls of all of them.
    pub fn new(overall_max: usize) -> Self {
        Self {
            overall_max,
            in_flight: 0,
            issued: 0,
            sources: Vec::new(),
        }
    }

    /// One more source.
    pub fn add(&mut self, bounds: Bounds) -> Number {
        self.sources.push(Source {
            bounds,
            in_flight: 0,
            by_urgency: 0,
            waiting: BTreeMap::new(),
        });
        Number(self.sources.len() - 1)
    }

    /// Other bounds for a source: returns who gets a place now (several may, if they became wider).
    /// Nobody is put out where they became narrower: neither who is in nor who waits.
    #[must_use = "these have places, which are to be given back"]
    pub fn resize(&mut self, source: Number, bounds: Bounds) -> Vec<T> {
        let Some(of) = self.sources.get_mut(source.0) else {
            return Vec::new();
        };
        of.bounds = bounds;
        std::iter::from_fn(|| self.give()).collect()
    }

    /// Takes a place, or waits.
    pub fn enter(&mut self, source: Number, urgency: Urgency, token: T) -> Entered<T> {
        let Some(of) = self.sources.get_mut(source.0) else {
            return Entered::Full(token);
        };
        // Nobody is passed: whoever waits could not use this place, or it would have been given.
        if of.has_room() && self.in_flight < self.overall_max {
            of.in_flight += 1;
            self.in_flight += 1;
            return Entered::In(token);
        }
        let turned_away = if of.waiting.len() < of.bounds.waiting_max {
            None
        } else {
            let Some(youngest) = of.turn_away(urgency) else {
                return Entered::Full(token);
            };
            Some(youngest)
        };
        self.issued += 1;
        let ticket = self.issued;
        of.waiting.insert(Place { urgency, ticket }, token);
        Entered::Waits {
            ticket,
            turned_away,
        }
    }

    /// Somebody who waits gives up: returns its token if it still waited.
    pub fn leave(&mut self, source: Number, ticket: u64) -> Option<T> {
        let of = self.sources.get_mut(source.0)?;
        of.take(of.find(ticket)?)
    }

    /// Somebody who waits has become more urgent (never less): it keeps its age.
    pub fn lift(&mut self, source: Number, ticket: u64, urgency: Urgency) {
        let Some(of) = self.sources.get_mut(source.0) else {
            return;
        };
        let Some(place) = of.find(ticket).filter(|place| urgency < place.urgency) else {
            return;
        };
        if let Some(token) = of.waiting.remove(&place) {
            of.waiting.insert(Place { urgency, ticket }, token);
        }
    }

    /// A place of this source is free again: who gets one now, of whatever source. At most one.
    #[must_use = "this one has a place, which is to be given back"]
    pub fn give_back(&mut self, source: Number) -> Option<T> {
        let of = self.sources.get_mut(source.0)?;
        of.in_flight = of.in_flight.checked_sub(1)?;
        self.in_flight = self.in_flight.saturating_sub(1);
        self.give()
    }

    /// All who wait for this source, in the order in which they would have been served, could no other
    /// source use a place from now on; they wait no more.
    pub fn drain(&mut self, source: Number) -> Vec<T> {
        let Some(of) = self.sources.get_mut(source.0) else {
            return Vec::new();
        };
        let mut by_urgency = of.by_urgency;
        let next = || {
            let turn = Turn::after(by_urgency);
            by_urgency = turn.count(by_urgency);
            of.take(of.first(turn)?)
        };
        std::iter::from_fn(next).collect()
    }

    /// How many calls of this source are under way.
    pub fn in_flight(&self, source: Number) -> usize {
        self.sources.get(source.0).map_or(0, |of| of.in_flight)
    }

    /// How many calls wait for this source.
    pub fn waiting(&self, source: Number) -> usize {
        self.sources.get(source.0).map_or(0, |of| of.waiting.len())
    }

    /// Gives one place, if there is one that somebody could use.
    fn give(&mut self) -> Option<T> {
        if self.in_flight >= self.overall_max {
            return None;
        }
        let could_use = self.sources.iter().filter(|of| of.could_use());
        let turn = Turn::after(could_use.map(|of| of.by_urgency).max()?);
        let (place, of) = self
            .sources
            .iter_mut()
            .filter(|of| of.could_use())
            .filter_map(|of| {
                of.by_urgency = turn.count(of.by_urgency);
                Some((of.first(turn)?, of))
            })
            .min_by_key(|(place, _)| turn.rank(*place))?;
        let token = of.take(place)?;
        of.in_flight += 1;
        self.in_flight += 1;
        Some(token)
    }
}

/// Where somebody stands in the queue of its source: by urgency, then by age, as tickets only grow.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    urgency: Urgency,
    ticket: u64,
}

/// Whom a place is for.
#[derive(Clone, Copy)]
enum Turn {
    MostUrgent,
    Oldest,
}

impl Turn {
    /// The turn of a source that could use so many places by urgency since its last by age.
    fn after(by_urgency: u32) -> Self {
        if by_urgency + 1 >= OLDEST_EVERY {
            Self::Oldest
        } else {
            Self::MostUrgent
        }
    }

    /// Counts this turn, for a source that could use the place.
    fn count(self, by_urgency: u32) -> u32 {
        match self {
            Self::MostUrgent => by_urgency + 1,
            Self::Oldest => 0,
        }
    }

    /// The least is served.
    fn rank(self, place: Place) -> (Urgency, u64) {
        match self {
            Self::MostUrgent => (place.urgency, place.ticket),
            Self::Oldest => (Urgency::Foreground, place.ticket),
        }
    }
}

/// One source.
struct Source<T> {
    bounds: Bounds,
    in_flight: usize,
    /// Places by urgency that it could use, since the last by age that it could use.
    by_urgency: u32,
    waiting: BTreeMap<Place, T>,
}

impl<T> Source<T> {
    fn has_room(&self) -> bool {
        self.in_flight < self.bounds.in_flight_max
    }

    /// Whether it could use a place, if there is room overall.
    fn could_use(&self) -> bool {
        self.has_room() && !self.waiting.is_empty()
    }

    /// Who of those who wait is served at such a turn.
    fn first(&self, turn: Turn) -> Option<Place> {
        if let Turn::MostUrgent = turn {
            return self.waiting.first_key_value().map(|(place, _)| *place);
        }
        let oldest = |urgency| {
            let from = Place { urgency, ticket: 0 };
            self.waiting.range(from..).next().map(|(place, _)| *place)
        };
        let oldest = Urgency::ALL.into_iter().filter_map(oldest);
        oldest.min_by_key(|place| turn.rank(*place))
    }

    fn find(&self, ticket: u64) -> Option<Place> {
        let places = Urgency::ALL.map(|urgency| Place { urgency, ticket });
        places
            .into_iter()
            .find(|place| self.waiting.contains_key(place))
    }

    /// The youngest of the least urgent, if it is less urgent than this.
    fn turn_away(&mut self, urgency: Urgency) -> Option<T> {
        let (last, _) = self.waiting.last_key_value()?;
        let last = *last;
        // With a bound of 0 nobody waits, not even in the stead of one who did when it was wider.
        if last.urgency <= urgency || self.bounds.waiting_max == 0 {
            return None;
        }
        self.take(last)
    }

    fn take(&mut self, place: Place) -> Option<T> {
        let token = self.waiting.remove(&place);
        if self.waiting.is_empty() {
            // An emptied map keeps a node; a new one has none.
            self.waiting = BTreeMap::new();
        }
        token
    }
}
