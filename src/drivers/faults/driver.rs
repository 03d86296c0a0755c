//! A driver around another one, whose calls meet what the plan says.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;

use super::{Fault, Faults, Op};
use crate::clock::Millis;
use crate::drivers::{
    Driver, Factory, Failure, Opening, PageLimit, Reclaimed, StoreDurability, Upkeep, Usage,
    Walked, Watermark, Write,
};

/// One instance.
pub(super) struct Faulty {
    inner: Box<dyn Driver>,
    faults: Faults,
    poisoned: AtomicBool,
}

/// What every failure on demand says.
const REASON: &str = "a failure on demand";

impl Faulty {
    /// What the factory does.
    pub(super) fn open(faults: &Faults, inner: &Factory) -> Result<Self, Failure> {
        let fault = faults.meet(Op::Open);
        match fault {
            Some(Fault::Full) => return Err(Failure::full(REASON)),
            Some(Fault::Poison) => return Err(Failure::reopen(REASON)),
            _ => refuse(fault)?,
        }
        let opened = Self {
            inner: inner()?,
            faults: faults.clone(),
            poisoned: AtomicBool::new(false),
        };
        made(fault, opened)
    }

    /// A call that only looks: what befalls it beside a failure.
    fn read(&self, op: Op) -> Result<Option<Fault>, Failure> {
        let fault = self.faults.meet(op);
        refuse(fault)?;
        Ok(fault)
    }

    /// A call that stores something.
    fn write(&self, op: Op) -> Result<Option<Fault>, Failure> {
        let fault = self.faults.meet(op);
        if fault == Some(Fault::Poison) {
            self.poisoned.store(true, Ordering::Release);
        }
        if self.poisoned.load(Ordering::Acquire) {
            return Err(Failure::reopen("poisoned on demand"));
        }
        refuse(fault)?;
        Ok(fault)
    }

    /// A record, with one bit flipped if the call is to damage it.
    fn carried(&self, fault: Option<Fault>, record: Bytes) -> Bytes {
        if fault != Some(Fault::Corrupt) {
            return record;
        }
        flip(&record, self.faults.draw())
    }
}

/// The failure that a call answers with instead of doing anything.
fn refuse(fault: Option<Fault>) -> Result<(), Failure> {
    match fault {
        Some(Fault::Retry) => Err(Failure::Retry {
            reason: REASON.into(),
            after: Duration::ZERO,
        }),
        Some(Fault::Reopen) => Err(Failure::reopen(REASON)),
        Some(Fault::Fatal) => Err(Failure::fatal(REASON)),
        _ => Ok(()),
    }
}

/// What a call that has been made answers.
fn made<T>(fault: Option<Fault>, done: T) -> Result<T, Failure> {
    if fault == Some(Fault::Unknown) {
        return Err(Failure::reopen(REASON));
    }
    Ok(done)
}

/// One bit of `record` flipped, the `nth` of all, counted round and round.
fn flip(record: &Bytes, nth: u64) -> Bytes {
    let mut damaged = record.to_vec();
    let bits = damaged.len() as u64 * 8;
    if let Some(at) = nth.checked_rem(bits)
        && let Some(byte) = usize::try_from(at / 8)
            .ok()
            .and_then(|at| damaged.get_mut(at))
    {
        *byte ^= 1 << (at % 8);
    }
    damaged.into()
}

impl Driver for Faulty {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Failure> {
        let fault = self.read(Op::Get)?;
        let found = self.inner.get(key)?;
        made(fault, found.map(|record| self.carried(fault, record)))
    }

    fn get_many(&self, keys: &[Bytes]) -> Result<Vec<Option<Bytes>>, Failure> {
        let fault = self.read(Op::GetMany)?;
        let found = self.inner.get_many(keys)?;
        let carried = |found: Option<Bytes>| found.map(|record| self.carried(fault, record));
        made(fault, found.into_iter().map(carried).collect())
    }

    fn commit(&self, batch: &[Write], durability: StoreDurability) -> Result<(), Failure> {
        let fault = self.write(Op::Commit)?;
        match fault {
            Some(Fault::Lose) => return Ok(()),
            Some(Fault::Full) if batch.iter().any(|w| matches!(w, Write::Put { .. })) => {
                return Err(Failure::full(REASON));
            }
            Some(Fault::Corrupt) => {
                let mut damaged = batch.to_vec();
                for write in &mut damaged {
                    if let Write::Put { record, .. } = write {
                        *record = flip(record, self.faults.draw());
                    }
                }
                self.inner.commit(&damaged, durability)?;
            }
            _ => self.inner.commit(batch, durability)?,
        }
        made(fault, ())
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: &[u8],
        page: PageLimit,
    ) -> Result<Vec<(Bytes, Bytes)>, Failure> {
        let fault = self.read(Op::Scan)?;
        let found = self.inner.scan(prefix, after, page)?;
        let found = found.into_iter();
        let carried = found.map(|(key, record)| (key, self.carried(fault, record)));
        made(fault, carried.collect())
    }

    fn reclaim(&self, now_ms: Millis, count_max: usize) -> Result<Reclaimed, Failure> {
        let fault = self.write(Op::Reclaim)?;
        if fault == Some(Fault::Lose) {
            return Ok(Reclaimed::default());
        }
        made(fault, self.inner.reclaim(now_ms, count_max)?)
    }

    fn walk(&self, from: &[u8], page: PageLimit) -> Result<Walked, Failure> {
        let fault = self.read(Op::Scan)?;
        let mut walked = self.inner.walk(from, page)?;
        let records = walked.records.into_iter();
        let carried = records.map(|(key, record)| (key, self.carried(fault, record)));
        walked.records = carried.collect();
        made(fault, walked)
    }

    fn upkeep(&self, page: PageLimit) -> Result<Upkeep, Failure> {
        self.inner.upkeep(page)
    }

    fn scrub(&self) -> Result<(), Failure> {
        self.inner.scrub()
    }

    fn usage(&self) -> Usage {
        self.faults.meet(Op::Usage);
        self.inner.usage()
    }

    fn reserve(&self, mark: Watermark) -> Result<(), Failure> {
        let fault = self.write(Op::Reserve)?;
        if fault != Some(Fault::Lose) {
            self.inner.reserve(mark)?;
        }
        made(fault, ())
    }

    fn reserved(&self) -> Watermark {
        self.faults.meet(Op::Reserved);
        self.inner.reserved()
    }

    fn opened(&self) -> Opening {
        self.inner.opened()
    }
}

impl Drop for Faulty {
    fn drop(&mut self) {
        // A second panic would end the process.
        if !std::thread::panicking() {
            self.faults.meet(Op::Close);
        }
    }
}

#[cfg(test)]
mod tests;
