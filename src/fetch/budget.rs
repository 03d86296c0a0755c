//! Time that is left for something, and futures that are cut when it is over.

use std::future::Future;
use std::time::{Duration, Instant};

use super::DEADLINE_MAX;
use crate::clock::Clock;
use crate::error::Error;
use crate::wait::Timer;

/// How long connecting may take where nothing else is said.
pub const CONNECT: Duration = Duration::from_secs(5);
/// How long one read may take where nothing else is said.
pub const READ: Duration = Duration::from_secs(30);

/// Time for a piece of work, of which each part takes its share. A loader gets that of its load
/// ([`LoadContext::budget`](super::LoadContext::budget)), others take one of
/// [`Larder::budget`](crate::Larder::budget). Works on any executor.
///
/// ```
/// # #[tokio::main] async fn main() -> Result<(), larder::Error> {
/// # use std::time::Duration;
/// # let larder = larder::Larder::builder().start().await?;
/// # async fn connect() -> Result<u8, std::io::Error> { Ok(1) }
/// # async fn page(_: &u8) -> Result<String, std::io::Error> { Ok("<p>".into()) }
/// let budget = larder.budget(Duration::from_secs(10));
/// let link = budget.connect(connect()).await?.expect("somebody listens");
/// let page = budget.read(page(&link)).await?.expect("it answers");
/// assert_eq!(page, "<p>");
/// // For something that is not worth all of the rest.
/// let little = budget.child(Duration::from_millis(50));
/// assert!(little.left() <= budget.left());
/// # larder.shutdown(Duration::from_secs(5)).await }
/// ```
#[derive(Clone, Debug)]
pub struct Budget {
    timer: Timer,
    until: Instant,
    connect: Duration,
    read: Duration,
}

impl Budget {
    pub(crate) fn until(timer: Timer, until: Instant) -> Self {
        Self {
            timer,
            until,
            connect: CONNECT,
            read: READ,
        }
    }

    pub(crate) fn new(timer: Timer, whole: Duration) -> Self {
        Self::until(timer, Clock::instant() + whole.min(DEADLINE_MAX))
    }

    /// How long connecting may take. Default: [`CONNECT`].
    #[must_use]
    pub fn connect_max(self, connect: Duration) -> Self {
        Self { connect, ..self }
    }

    /// How long one read may take. Default: [`READ`].
    #[must_use]
    pub fn read_max(self, read: Duration) -> Self {
        Self { read, ..self }
    }

    /// How much is left.
    pub fn left(&self) -> Duration {
        self.until.saturating_duration_since(Clock::instant())
    }

    /// A part of it: as much as is asked for, and no more than is left. What the parent uses meanwhile is used
    /// up for the child, too.
    #[must_use]
    pub fn child(&self, most: Duration) -> Self {
        let asked = Clock::instant().checked_add(most);
        Self {
            until: asked.map_or(self.until, |asked| asked.min(self.until)),
            ..self.clone()
        }
    }

    /// What `connecting` gives, if it is done in the time for connecting and before the budget is used up.
    ///
    /// # Errors
    ///
    /// [`Error::DeadlineExceeded`] with the time that it had: then `connecting` was dropped. [`Error::Closed`] if larder
    /// ends meanwhile.
    ///
    /// # Cancel safety
    ///
    /// Dropping it drops `connecting`.
    pub async fn connect<F: Future>(&self, connecting: F) -> Result<F::Output, Error> {
        self.within(self.connect, connecting).await
    }

    /// What `reading` gives, if it is done in the time for one read and before the budget is used up.
    ///
    /// # Errors
    ///
    /// As [`connect`](Budget::connect).
    ///
    /// # Cancel safety
    ///
    /// As [`connect`](Budget::connect).
    pub async fn read<F: Future>(&self, reading: F) -> Result<F::Output, Error> {
        self.within(self.read, reading).await
    }

    /// What `work` gives, if it is done before the budget is used up.
    ///
    /// # Errors
    ///
    /// As [`connect`](Budget::connect).
    ///
    /// # Cancel safety
    ///
    /// As [`connect`](Budget::connect).
    pub async fn run<F: Future>(&self, work: F) -> Result<F::Output, Error> {
        self.within(Duration::MAX, work).await
    }

    async fn within<F: Future>(&self, most: Duration, work: F) -> Result<F::Output, Error> {
        let wait = self.timer.wait(self.left().min(most));
        wait.until(work, || wait.exceeded()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::{pending, ready};
    use std::sync::Arc;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn budget(whole: Duration) -> Budget {
        Budget::new(Timer::new(tokio::runtime::Handle::current()), whole)
    }

    #[tokio::test]
    async fn what_takes_too_long_is_dropped_and_told_how_long_it_had() {
        let budget = budget(ms(60_000)).connect_max(ms(1)).read_max(ms(2));
        let held = Arc::new(());
        let hang = |held: &Arc<()>| {
            let held = Arc::clone(held);
            async move {
                pending::<()>().await;
                drop(held);
            }
        };
        let late = |ended: Result<(), Error>| match ended {
            Err(Error::DeadlineExceeded { after }) => after,
            other => panic!("{other:?}"),
        };
        assert_eq!(late(budget.connect(hang(&held)).await), ms(1));
        assert_eq!(late(budget.read(hang(&held)).await), ms(2));
        assert!(late(budget.child(ms(3)).run(hang(&held)).await) <= ms(3));
        assert_eq!(Arc::strong_count(&held), 1);
        assert_eq!(budget.read(ready(7)).await.unwrap(), 7);
    }

    #[tokio::test]
    async fn no_child_has_more_than_its_parent_whatever_it_asks_for() {
        let mut rng = fastrand::Rng::with_seed(7);
        for _ in 0..200 {
            let mut line = vec![budget(ms(rng.u64(..100_000)))];
            for _ in 0..rng.usize(1..6) {
                let asked = match rng.u8(..8) {
                    0 => Duration::MAX,
                    1 => Duration::ZERO,
                    _ => ms(rng.u64(..200_000)),
                };
                let parent = line.last().unwrap();
                let child = parent.child(asked);
                assert!(child.until <= parent.until);
                assert!(child.left() <= asked);
                line.push(child);
            }
        }
    }

    #[tokio::test]
    async fn one_that_is_used_up_still_takes_what_is_ready() {
        let budget = budget(ms(0));
        assert_eq!(budget.left(), ms(0));
        assert_eq!(budget.connect(ready(7)).await.unwrap(), 7);
        let late = budget.run(pending::<()>()).await;
        assert!(matches!(late, Err(Error::DeadlineExceeded { .. })));
        assert!(super::Budget::new(budget.timer, Duration::MAX).left() <= DEADLINE_MAX);
    }
}
