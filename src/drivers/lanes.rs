//! Lanes: the bounded channels between async code and the threads that make a driver's blocking calls.
//!
//! Several read lanes share one queue; everything that writes goes through one commit lane. Sent to a
//! supply, it takes batch after batch from it, each as late as can be: what comes while one is under way
//! is the next one. This file runs loops; it starts no thread.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, bounded};
use tokio::sync::oneshot;

use super::pulse::{Pulse, Thread, unharmed};
use super::queue::{self, Refused};
use super::{
    Driver, Failure, PageLimit, Reclaimed, StoreDurability, Upkeep, Usage, Watermark, Write,
};
use crate::clock::{Clock, Millis};
use crate::gate::Permit;
use crate::record::{self, Damage};
use crate::version::Version;

/// A question for a read lane.
pub enum Read {
    /// [`Driver::get`].
    Get(Bytes, Answer<Option<Bytes>>),
    /// [`Driver::get_many`].
    GetMany(Vec<Bytes>, Answer<Vec<Option<Bytes>>>),
    /// [`Driver::scan`]: prefix, after, limit.
    Scan(Bytes, Bytes, PageLimit, Answer<Vec<(Bytes, Bytes)>>),
    /// [`Driver::usage`].
    Usage(Answer<Usage>),
}

/// A command for the commit lane.
pub enum Command {
    /// [`Driver::commit`].
    Commit(Vec<Write>, StoreDurability, Answer<()>),
    /// [`Driver::commit`] of what a supply has, batch by batch until it has no more or one fails.
    Drain(Arc<dyn Supply>, Answer<()>),
    /// Delete what is filed under a key if it is damaged.
    Repair(Bytes, Answer<bool>),
    /// Delete what is in doubt from one page of records, those after a key. Where the next page
    /// begins; `None` after the last one.
    Purge(Bytes, Doubtful, Answer<Option<Bytes>>),
    /// [`Driver::reclaim`].
    Reclaim(Millis, usize, Answer<Reclaimed>),
    /// [`Driver::reserve`].
    Reserve(Watermark, Answer<()>),
    /// [`Driver::upkeep`].
    Upkeep(PageLimit, Answer<Upkeep>),
}

/// Where the commit lane takes what is to be stored.
pub trait Supply: Send + Sync {
    /// The next batch, as it is now; `None` if there is none for the time being.
    fn next(&self) -> Option<(Vec<Write>, StoreDurability)>;

    /// What is to be reserved before that batch is committed.
    fn due(&self) -> Option<Watermark>;

    /// It is reserved.
    fn reserved(&self, mark: Watermark);

    /// The latest batch is stored, which took so long.
    fn stored(&self, took: Duration);
}

/// Whether a record of this key and version is in doubt.
pub type Doubtful = Arc<dyn Fn(&[u8], Version) -> bool + Send + Sync>;

/// Where a lane sends what came of it.
pub type Answer<T> = oneshot::Sender<Result<T, Failure>>;

/// The async end of a driver's lanes. The threads end when the last clone is gone.
#[derive(Clone)]
pub struct Lanes {
    reads: queue::Sender<(Read, Permit)>,
    commits: Sender<Command>,
    pulse: Arc<Pulse>,
}

/// The threads' end.
pub struct LaneEnds {
    reads: queue::Receiver<(Read, Permit)>,
    commits: Receiver<Command>,
    pulse: Arc<Pulse>,
}

/// How much is looked at in one go when a store is purged.
const PURGE_PAGE: PageLimit = PageLimit {
    count_max: 1_000,
    bytes_max: 4 << 20,
};
/// Most commits that are made one group.
const GROUP_MAX: usize = 256;
/// The share of the commit lane that is filled with what may as well be left, as a divisor.
const SPARE_SHARE: usize = 8;

/// Lanes that hold at most `reads_max` questions and `commits_max` commands.
pub fn lanes(reads_max: usize, commits_max: usize, pulse: Pulse) -> (Lanes, LaneEnds) {
    let (reads, read_end) = queue::queue(reads_max);
    let (commits, commit_end) = bounded(commits_max);
    let pulse = Arc::new(pulse);
    let ends = LaneEnds {
        reads: read_end,
        commits: commit_end,
        pulse: Arc::clone(&pulse),
    };
    let lanes = Lanes {
        reads,
        commits,
        pulse,
    };
    (lanes, ends)
}

impl Lanes {
    /// Queues a question. The permit's gate lets in no more than the lane holds.
    pub fn read(&self, read: Read, permit: Permit) -> Result<(), Failure> {
        self.reads.try_send((read, permit)).map_err(full)
    }

    /// Queues a command.
    pub fn command(&self, command: Command) -> Result<(), Failure> {
        let refused = |full| if full { Refused::Full } else { Refused::Gone };
        let sent = self.commits.try_send(command);
        sent.map_err(|error| full(refused(error.is_full())))
    }

    /// Queues a command that may as well be left, if few others wait: the lane is for those that somebody
    /// waits for.
    pub fn spare(&self, command: Command) {
        let few = self.commits.capacity().unwrap_or(0) / SPARE_SHARE;
        if self.commits.len() < few.max(1) {
            // Full by now, or ended: left, too.
            let _ = self.command(command);
        }
    }

    /// What the threads are doing.
    pub fn pulse(&self) -> &Arc<Pulse> {
        &self.pulse
    }
}

fn full(refused: Refused) -> Failure {
    match refused {
        Refused::Full => Failure::Retry {
            reason: "the lane is full".into(),
            after: Duration::from_millis(50),
        },
        Refused::Gone => Failure::reopen("the lane has ended"),
    }
}

impl LaneEnds {
    /// What the `nth` read thread does: answers questions until the lanes are gone.
    pub fn read_loop(&self, nth: usize, driver: &Arc<dyn Driver>) {
        while let Some((read, permit)) = self.reads.recv() {
            // Whoever is told of a call, or answered, runs others' code: no thread may end by it.
            safely((), || self.answer(Thread::Read(nth), driver, read));
            safely((), || drop(permit));
        }
    }

    fn answer(&self, thread: Thread, driver: &Arc<dyn Driver>, read: Read) {
        match read {
            Read::Get(key, answer) => self.reply(thread, answer, || driver.get(&key)),
            Read::GetMany(keys, answer) => self.reply(thread, answer, || driver.get_many(&keys)),
            Read::Scan(prefix, after, page, answer) => {
                self.reply(thread, answer, || driver.scan(&prefix, &after, page));
            }
            Read::Usage(answer) => self.reply(thread, answer, || Ok(driver.usage())),
        }
    }

    /// What the commit thread does: carries out commands until the lanes are gone.
    pub fn commit_loop(&self, driver: &Arc<dyn Driver>) {
        let mut next = None;
        while let Some(command) = next.take().or_else(|| self.commits.recv().ok()) {
            // It is the one thread that stores anything.
            next = safely(None, || match command {
                Command::Drain(supply, answer) => {
                    let failed = Err(Failure::reopen("the commit lane panicked"));
                    let drain = || self.drain(driver, &*supply);
                    let (drained, ended_by) = safely((failed, None), drain);
                    drop(supply);
                    let _ = answer.send(drained);
                    ended_by
                }
                other => self.serve(driver, other),
            });
        }
    }

    /// Stores what a supply has. What else is queued by then has its turn between two batches, and no more:
    /// it may come faster than it goes. Another drain ends this one.
    fn drain(
        &self,
        driver: &Arc<dyn Driver>,
        supply: &dyn Supply,
    ) -> (Result<(), Failure>, Option<Command>) {
        while let Some((batch, durability)) = supply.next() {
            if let Some(mark) = supply.due() {
                let reserved = self.pulse.call(Thread::Commit, || driver.reserve(mark));
                // If it failed there is some time, and some slack, left.
                let _ = reserved.map(|()| supply.reserved(mark));
            }
            let began = Clock::instant();
            let commit = || driver.commit(&batch, durability);
            if let Err(failure) = self.pulse.call(Thread::Commit, commit) {
                return (Err(failure), None);
            }
            supply.stored(began.elapsed());
            for command in self.commits.try_iter().take(self.commits.len()) {
                let mut next = Some(command);
                while let Some(command) = next.take() {
                    match command {
                        drain @ Command::Drain(..) => return (Ok(()), Some(drain)),
                        other => next = self.serve(driver, other),
                    }
                }
            }
        }
        (Ok(()), None)
    }

    /// Carries out a command that is no drain. Returns the one that ended a group of commits.
    fn serve(&self, driver: &Arc<dyn Driver>, command: Command) -> Option<Command> {
        match command {
            Command::Commit(batch, durability, answer) => {
                return self.commit_group(driver, batch, durability, answer);
            }
            Command::Repair(key, answer) => self.carry_out(answer, || repair(driver, &key)),
            Command::Purge(after, doubtful, answer) => {
                self.carry_out(answer, || purge(driver, &after, &doubtful));
            }
            Command::Reclaim(now_ms, count_max, answer) => {
                self.carry_out(answer, || driver.reclaim(now_ms, count_max));
            }
            Command::Reserve(mark, answer) => self.carry_out(answer, || driver.reserve(mark)),
            Command::Upkeep(page, answer) => self.carry_out(answer, || driver.upkeep(page)),
            drain @ Command::Drain(..) => return Some(drain),
        }
        None
    }

    /// Commits everything that is queued as one group, with the highest durability that anybody in
    /// it asked for. Returns the command that ended the group.
    fn commit_group(
        &self,
        driver: &Arc<dyn Driver>,
        mut batch: Vec<Write>,
        mut durability: StoreDurability,
        answer: Answer<()>,
    ) -> Option<Command> {
        let mut answers = vec![answer];
        let mut ended_by = None;
        while answers.len() < GROUP_MAX {
            match self.commits.try_recv() {
                Ok(Command::Commit(more, wanted, answer)) => {
                    batch.extend(more);
                    durability = durability.max(wanted);
                    answers.push(answer);
                }
                Ok(other) => {
                    ended_by = Some(other);
                    break;
                }
                Err(_) => break,
            }
        }
        let commit = || driver.commit(&batch, durability);
        let result = self.pulse.call(Thread::Commit, commit);
        for answer in answers {
            // Whoever asked may have left; the commit stands.
            safely((), || drop(answer.send(result.clone())));
        }
        ended_by
    }

    fn reply<T>(
        &self,
        thread: Thread,
        answer: Answer<T>,
        call: impl FnOnce() -> Result<T, Failure>,
    ) {
        // Nobody waits any more: a read need not be made.
        if !answer.is_closed() {
            let _ = answer.send(self.pulse.call(thread, call));
        }
    }

    /// A command is carried out whether anybody waits for it or not.
    fn carry_out<T>(&self, answer: Answer<T>, call: impl FnOnce() -> Result<T, Failure>) {
        let _ = answer.send(self.pulse.call(Thread::Commit, call));
    }
}

/// What a call gives, or that if it panics.
fn safely<T>(or: T, call: impl FnOnce() -> T) -> T {
    unharmed(call).unwrap_or_else(|| {
        // The host's own subscriber may be what panics.
        unharmed(|| tracing::error!("a lane panicked; what was under way counts as failed"));
        or
    })
}

/// Deletes a damaged record. It is looked at again first: the lane is the only writer, so what it sees
/// is what it deletes. A record of a later layout, or one that is sealed, is not damaged: it is left for who can read it.
fn repair(driver: &Arc<dyn Driver>, key: &Bytes) -> Result<bool, Failure> {
    let damaged = match driver.get(key)? {
        Some(bytes) => {
            let damage = record::decode(key, &bytes).err();
            damage.is_some_and(|damage| !matches!(damage, Damage::Foreign | Damage::Sealed))
        }
        None => false,
    };
    if damaged {
        let delete = Write::Delete { key: key.clone() };
        driver.commit(&[delete], StoreDurability::Written)?;
    }
    Ok(damaged)
}

/// Deletes what is in doubt from the page after a key. What cannot be read is shown to nobody anyway.
fn purge(
    driver: &Arc<dyn Driver>,
    after: &Bytes,
    doubtful: &Doubtful,
) -> Result<Option<Bytes>, Failure> {
    let walked = driver.walk(after, PURGE_PAGE)?;
    let deletes = walked.records.iter().filter_map(|(key, bytes)| {
        let (header, _) = record::decode(key, bytes).ok()?;
        let key = key.clone();
        doubtful(&key, header.version).then_some(Write::Delete { key })
    });
    let deletes: Vec<_> = deletes.collect();
    if !deletes.is_empty() {
        driver.commit(&deletes, StoreDurability::Written)?;
    }
    Ok(walked.next)
}

#[cfg(test)]
mod tests;
