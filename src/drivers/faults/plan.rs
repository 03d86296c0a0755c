//! The plan: which fault a call meets. Rules, counted call by call; pure, it calls nothing and waits
//! for nobody.

use std::time::Duration;

/// What a driver is asked to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Op {
    /// Its factory makes an instance.
    Open,
    /// [`Driver::get`](crate::drivers::Driver::get).
    Get,
    /// [`Driver::get_many`](crate::drivers::Driver::get_many).
    GetMany,
    /// [`Driver::scan`](crate::drivers::Driver::scan).
    Scan,
    /// [`Driver::usage`](crate::drivers::Driver::usage), which cannot fail: only faults that block or
    /// panic do something to it.
    Usage,
    /// [`Driver::commit`](crate::drivers::Driver::commit).
    Commit,
    /// [`Driver::reclaim`](crate::drivers::Driver::reclaim).
    Reclaim,
    /// [`Driver::reserve`](crate::drivers::Driver::reserve).
    Reserve,
    /// [`Driver::reserved`](crate::drivers::Driver::reserved), which cannot fail, as [`Op::Usage`].
    Reserved,
    /// An instance is dropped, which cannot fail, as [`Op::Usage`].
    Close,
}

/// How many kinds of calls there are.
const OPS: usize = Op::Close as usize + 1;

/// The calls that a rule is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Calls {
    /// All that can fail.
    Any,
    /// `get`, `get_many`, `scan`.
    Reads,
    /// `commit`, `reclaim`, `reserve`.
    Writes,
    /// This kind alone.
    Only(Op),
}

impl From<Op> for Calls {
    fn from(op: Op) -> Self {
        Self::Only(op)
    }
}

impl Calls {
    /// Whether a call is one of these.
    pub fn has(self, op: Op) -> bool {
        let reads = matches!(op, Op::Get | Op::GetMany | Op::Scan);
        let writes = matches!(op, Op::Commit | Op::Reclaim | Op::Reserve);
        match self {
            Self::Any => reads || writes || op == Op::Open,
            Self::Reads => reads,
            Self::Writes => writes,
            Self::Only(only) => only == op,
        }
    }
}

/// Which of its calls a rule strikes. They are counted from 1, beginning when the rule is made.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum When {
    /// Every one.
    Always,
    /// This one alone.
    Nth(u64),
    /// So many, then none.
    First(u64),
    /// This one and all after it.
    From(u64),
    /// Each with this probability, 0.0 to 1.0, drawn from the seed.
    Share(f64),
}

/// What befalls a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Fault {
    /// It does nothing and answers [`Failure::Retry`](crate::drivers::Failure::Retry).
    Retry,
    /// It does nothing and answers [`Failure::Reopen`](crate::drivers::Failure::Reopen).
    Reopen,
    /// It does nothing and answers [`Failure::Fatal`](crate::drivers::Failure::Fatal).
    Fatal,
    /// A commit that puts something answers [`Failure::Full`](crate::drivers::Failure::Full), and so
    /// does opening. Deletions and other calls pass.
    Full,
    /// A write does nothing and answers `Reopen`, and so does every later one of the same instance,
    /// struck or not: as fjall after it has met a full disk or an I/O error. Reads pass.
    Poison,
    /// It takes so long, on the clock of the [`Faults`](super::Faults), and then is made.
    Delay(Duration),
    /// It waits for [`Faults::release`](super::Faults::release) and then is made.
    Hang,
    /// It panics (without the panic hook, so that the output of tests stays readable).
    Panic,
    /// A read is made, and one bit of each record that it returns is flipped; a commit stores such
    /// records. Other calls pass.
    Corrupt,
    /// A write stores nothing and says that it did. Other calls pass.
    Lose,
    /// It is made, and answers `Reopen`: a write that has taken place although nobody knows it.
    Unknown,
}

/// Rules, how often they were asked, and a source of chance.
#[derive(Debug)]
pub(super) struct Plan {
    rules: Vec<Rule>,
    counts: [u64; OPS],
    struck: u64,
    rng: fastrand::Rng,
}

#[derive(Debug)]
struct Rule {
    calls: Calls,
    when: When,
    fault: Fault,
    seen: u64,
}

impl Plan {
    /// No rule yet.
    pub(super) fn new(seed: u64) -> Self {
        Self {
            rules: Vec::new(),
            counts: [0; OPS],
            struck: 0,
            rng: fastrand::Rng::with_seed(seed),
        }
    }

    /// Draws from this seed from now on.
    pub(super) fn seed(&mut self, seed: u64) {
        self.rng = fastrand::Rng::with_seed(seed);
    }

    /// One more rule. Where several strike a call, the earliest one counts.
    pub(super) fn add(&mut self, calls: Calls, when: When, fault: Fault) {
        self.rules.push(Rule {
            calls,
            when,
            fault,
            seen: 0,
        });
    }

    /// No rule any more.
    pub(super) fn clear(&mut self) {
        self.rules.clear();
    }

    /// A call is made. What befalls it.
    pub(super) fn call(&mut self, op: Op) -> Option<Fault> {
        if let Some(count) = self.counts.get_mut(op as usize) {
            *count += 1;
        }
        let mut met = None;
        for rule in self.rules.iter_mut().filter(|rule| rule.calls.has(op)) {
            // Each rule counts and draws whatever the others say, so that one changes no other.
            let strikes = rule.strikes(&mut self.rng);
            met = met.or(strikes.then_some(rule.fault));
        }
        self.rules.retain(|rule| !rule.is_over());
        self.struck += u64::from(met.is_some());
        met
    }

    /// How many of these calls were made.
    pub(super) fn calls(&self, calls: Calls) -> u64 {
        let all = ALL.iter().zip(self.counts);
        let these = all.filter(|(op, _)| calls.has(**op));
        these.map(|(_, count)| count).sum()
    }

    /// How many calls met a fault.
    pub(super) fn struck(&self) -> u64 {
        self.struck
    }

    /// A number by chance.
    pub(super) fn draw(&mut self) -> u64 {
        self.rng.u64(..)
    }
}

/// In the order in which they are counted.
const ALL: [Op; OPS] = [
    Op::Open,
    Op::Get,
    Op::GetMany,
    Op::Scan,
    Op::Usage,
    Op::Commit,
    Op::Reclaim,
    Op::Reserve,
    Op::Reserved,
    Op::Close,
];

impl Rule {
    fn strikes(&mut self, rng: &mut fastrand::Rng) -> bool {
        self.seen += 1;
        match self.when {
            When::Always => true,
            When::Nth(nth) => self.seen == nth,
            When::First(count) => self.seen <= count,
            When::From(first) => self.seen >= first,
            When::Share(share) => rng.f64() < share,
        }
    }

    fn is_over(&self) -> bool {
        match self.when {
            When::Nth(last) | When::First(last) => self.seen >= last,
            When::Always | When::From(_) | When::Share(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which of so many calls are struck.
    fn struck(when: When, count: u64) -> Vec<u64> {
        let mut plan = Plan::new(7);
        plan.add(Calls::Only(Op::Get), when, Fault::Retry);
        (1..=count)
            .filter(|_| plan.call(Op::Get).is_some())
            .collect()
    }

    #[test]
    fn each_when_strikes_its_calls() {
        assert_eq!(struck(When::Always, 4), [1, 2, 3, 4]);
        assert_eq!(struck(When::Nth(3), 5), [3]);
        assert_eq!(struck(When::First(2), 5), [1, 2]);
        assert_eq!(struck(When::From(4), 5), [4, 5]);
        assert!(struck(When::Share(0.0), 100).is_empty());
        assert_eq!(struck(When::Share(1.0), 3), [1, 2, 3]);
    }

    #[test]
    fn a_share_is_about_as_large_as_asked_for_and_the_same_for_the_same_seed() {
        let some = struck(When::Share(0.25), 1_000);
        assert!((200..300).contains(&some.len()), "{}", some.len());
        assert_eq!(some, struck(When::Share(0.25), 1_000));
    }

    #[test]
    fn a_rule_counts_its_own_calls_from_when_it_was_made() {
        let mut plan = Plan::new(0);
        plan.call(Op::Commit);
        plan.add(Calls::Writes, When::Nth(2), Fault::Panic);
        assert_eq!(plan.call(Op::Get), None);
        assert_eq!(plan.call(Op::Reserve), None);
        assert_eq!(plan.call(Op::Commit), Some(Fault::Panic));
        assert_eq!(plan.call(Op::Commit), None);
        assert_eq!(plan.struck(), 1);
    }

    #[test]
    fn the_earliest_rule_that_strikes_counts_and_the_others_count_on() {
        let mut plan = Plan::new(0);
        plan.add(Calls::Any, When::Nth(1), Fault::Retry);
        plan.add(Calls::Any, When::First(2), Fault::Reopen);
        assert_eq!(plan.call(Op::Open), Some(Fault::Retry));
        assert_eq!(plan.call(Op::Get), Some(Fault::Reopen));
        assert_eq!(plan.call(Op::Get), None);
        assert!(plan.rules.is_empty(), "what is over is forgotten");
    }

    #[test]
    fn calls_are_counted_by_kind_whether_struck_or_not() {
        let mut plan = Plan::new(0);
        plan.add(Calls::Any, When::Always, Fault::Retry);
        for op in ALL {
            plan.call(op);
        }
        plan.clear();
        assert_eq!(plan.call(Op::Get), None);
        let counts = [Calls::Any, Calls::Reads, Calls::Writes, Op::Get.into()];
        assert_eq!(counts.map(|calls| plan.calls(calls)), [8, 4, 3, 2]);
        assert_eq!(plan.struck(), 7, "usage, reserved and close cannot fail");
    }

    #[test]
    fn every_kind_of_call_has_its_count() {
        assert!(ALL.iter().enumerate().all(|(at, op)| *op as usize == at));
    }
}
