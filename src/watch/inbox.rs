//! The bounded place between the hub and one subscriber: events in order, and whether some are
//! missing.
//!
//! The hub's end never waits. A lock is held only to move one event, never while a value is dropped
//! or a task is woken. A channel alone would not do: that events were missed must reach a subscriber
//! that has caught up and hears of no further event.

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

use crate::messages::hub::{Offer, Sink};
use crate::shelf::{EventKind, RawEvent};
use crate::sync::{Arc, Mutex};

/// How many events wait for one subscriber, unless it says otherwise. Each holds at most two values
/// of its entry, shared with whoever else has them.
pub const WATCH_BUFFER_EVENTS: usize = 256;

/// A place for up to `events_max` events (at least one); past that the subscriber lags.
pub fn queue_inbox(events_max: usize) -> (InboxSink, Inbox) {
    inbox(Keep::Oldest {
        events_max: events_max.max(1),
    })
}

/// A place for one event: the newest replaces the one before.
pub fn latest_inbox() -> (InboxSink, Inbox) {
    inbox(Keep::Newest)
}

fn inbox(keep: Keep) -> (InboxSink, Inbox) {
    let state = State {
        keep,
        events: VecDeque::new(),
        lag: None,
        waker: None,
        sink_is_gone: false,
        subscriber_is_gone: false,
    };
    let shared = Arc::new(Mutex::new(state));
    let sink = InboxSink {
        shared: Arc::clone(&shared),
        refused: 0,
    };
    (sink, Inbox { shared })
}

/// The hub's end.
pub struct InboxSink {
    shared: Arc<Mutex<State>>,
    /// Events that this sink has refused and counted itself since it was last told of a lag.
    refused: u64,
}

/// The subscriber's end. Dropping it makes the sink answer [`Offer::Gone`].
pub struct Inbox {
    shared: Arc<Mutex<State>>,
}

/// What a subscriber takes out.
pub(super) enum Received {
    /// The next event.
    Event(RawEvent),
    /// So many events are missing here (0: unknown).
    Lagged(u64),
}

struct State {
    keep: Keep,
    events: VecDeque<RawEvent>,
    /// Events that are missing after those that wait. While it is set none is taken in, so that the
    /// gap lies where the subscriber is told of it, and its size is right.
    lag: Option<Lag>,
    waker: Option<Waker>,
    sink_is_gone: bool,
    subscriber_is_gone: bool,
}

#[derive(Clone, Copy)]
enum Keep {
    Oldest { events_max: usize },
    Newest,
}

#[derive(Clone, Copy)]
enum Lag {
    Events(u64),
    Unknown,
}

impl Sink for InboxSink {
    fn offer(&mut self, event: &RawEvent) -> Offer {
        let mut state = self.shared.lock();
        if state.subscriber_is_gone {
            return Offer::Gone;
        }
        match state.keep {
            // Nobody here knows whether the entry carries the tag: the subscriber has to look, and what
            // waits for it stays.
            Keep::Newest if is_fence_of_tag(event) => {
                state.lag = Some(Lag::Unknown);
                let waker = state.waker.take();
                drop(state);
                wake(waker);
                Offer::Taken
            }
            Keep::Newest => {
                // The newest event stands for all that are missing before it.
                state.lag = None;
                let waker = state.waker.take();
                let replaced = state.events.pop_front();
                state.events.push_back(event.clone());
                drop(state);
                drop(replaced);
                wake(waker);
                Offer::Taken
            }
            Keep::Oldest { events_max }
                if state.lag.is_some() || state.events.len() >= events_max =>
            {
                state.miss(1);
                self.refused += 1;
                Offer::Full
            }
            Keep::Oldest { .. } => {
                state.events.push_back(event.clone());
                let waker = state.waker.take();
                drop(state);
                wake(waker);
                Offer::Taken
            }
        }
    }

    fn lagged(&mut self, missed: u64) -> Offer {
        let mut state = self.shared.lock();
        if state.subscriber_is_gone {
            return Offer::Gone;
        }
        // What it has refused itself is counted already, and the subscriber may have been told.
        let news = missed.saturating_sub(std::mem::take(&mut self.refused));
        if missed == 0 {
            state.lag = Some(Lag::Unknown);
        } else if news > 0 {
            state.miss(news);
        }
        let waker = state.waker.take();
        drop(state);
        wake(waker);
        Offer::Taken
    }

    fn is_gone(&self) -> bool {
        self.shared.lock().subscriber_is_gone
    }
}

impl Drop for InboxSink {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.sink_is_gone = true;
        let waker = state.waker.take();
        drop(state);
        wake(waker);
    }
}

impl Inbox {
    /// The next thing; `None` once the subscription has ended and everything is taken.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Received>> {
        let mut state = self.shared.lock();
        if let Some(event) = state.events.pop_front() {
            return Poll::Ready(Some(Received::Event(event)));
        }
        if let Some(lag) = state.lag.take() {
            let missed = match lag {
                Lag::Events(events) => events,
                Lag::Unknown => 0,
            };
            return Poll::Ready(Some(Received::Lagged(missed)));
        }
        if state.sink_is_gone {
            return Poll::Ready(None);
        }
        let replaced = state.waker.replace(cx.waker().clone());
        drop(state);
        drop(replaced);
        Poll::Pending
    }

    /// How many events wait.
    pub fn len(&self) -> usize {
        self.shared.lock().events.len()
    }

    /// Whether none does.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.subscriber_is_gone = true;
        let left = (std::mem::take(&mut state.events), state.waker.take());
        drop(state);
        drop(left);
    }
}

impl State {
    fn miss(&mut self, events: u64) {
        self.lag = Some(match self.lag {
            None => Lag::Events(events),
            Some(Lag::Events(before)) => Lag::Events(before + events),
            Some(Lag::Unknown) => Lag::Unknown,
        });
    }
}

fn is_fence_of_tag(event: &RawEvent) -> bool {
    event.kind == EventKind::Cleared && !event.key.name.is_empty()
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shelf::EventKind::Updated;
    use crate::watch::fixture::event;

    /// What can be taken without waiting: `n` for an event, `-n` for a lag.
    fn received(inbox: &mut Inbox) -> Vec<i64> {
        let mut cx = Context::from_waker(Waker::noop());
        let next = || match inbox.poll(&mut cx) {
            Poll::Ready(Some(Received::Event(event))) => Some(event.version.millis() as i64),
            Poll::Ready(Some(Received::Lagged(missed))) => Some(-(missed as i64)),
            Poll::Ready(None) | Poll::Pending => None,
        };
        std::iter::from_fn(next).collect()
    }

    fn offer(sink: &mut InboxSink, numbers: std::ops::RangeInclusive<u64>) -> Vec<Offer> {
        numbers
            .map(|n| sink.offer(&event("k", Updated, n)))
            .collect()
    }

    #[test]
    fn a_full_inbox_refuses_until_its_subscriber_knows_how_many_it_missed() {
        let (mut sink, mut inbox) = queue_inbox(2);
        assert!(inbox.is_empty());
        use Offer::{Full, Taken};
        assert_eq!(offer(&mut sink, 1..=4), [Taken, Taken, Full, Full]);
        assert_eq!(inbox.len(), 2);
        assert_eq!(sink.lagged(2), Taken);
        assert_eq!(received(&mut inbox), [1, 2, -2]);
        assert_eq!(offer(&mut sink, 5..=5), [Taken]);
        assert_eq!(received(&mut inbox), [5]);
    }

    #[test]
    fn a_lag_is_told_once_however_late_the_registry_speaks_of_it() {
        let (mut sink, mut inbox) = queue_inbox(1);
        offer(&mut sink, 1..=3);
        assert_eq!(received(&mut inbox), [1, -2]);
        assert_eq!(sink.lagged(2), Offer::Taken);
        assert!(received(&mut inbox).is_empty());
        assert_eq!(sink.lagged(7), Offer::Taken);
        offer(&mut sink, 4..=4);
        assert_eq!(received(&mut inbox), [-8]);
    }

    #[test]
    fn an_unknown_number_stays_unknown() {
        let (mut sink, mut inbox) = queue_inbox(1);
        offer(&mut sink, 1..=2);
        sink.lagged(0);
        offer(&mut sink, 3..=3);
        assert_eq!(received(&mut inbox), [1, 0]);
    }

    #[test]
    fn the_latest_inbox_holds_the_newest_event_which_stands_for_those_missed() {
        let (mut sink, mut inbox) = latest_inbox();
        offer(&mut sink, 1..=1_000);
        assert_eq!(inbox.len(), 1);
        assert_eq!(received(&mut inbox), [1_000]);
        sink.lagged(0);
        assert_eq!(received(&mut inbox), [0]);
        sink.lagged(0);
        offer(&mut sink, 1_001..=1_001);
        assert_eq!(received(&mut inbox), [1_001]);
    }

    #[test]
    fn a_fence_of_a_tag_replaces_no_event_of_the_key() {
        let (mut sink, mut inbox) = latest_inbox();
        offer(&mut sink, 1..=1);
        assert_eq!(
            sink.offer(&event("tag", EventKind::Cleared, 2)),
            Offer::Taken
        );
        assert_eq!(received(&mut inbox), [1, 0]);
        assert_eq!(sink.offer(&event("", EventKind::Cleared, 3)), Offer::Taken);
        assert_eq!(received(&mut inbox), [3]);
    }

    #[test]
    fn either_end_learns_that_the_other_is_gone() {
        let (mut sink, inbox) = queue_inbox(1);
        assert!(!sink.is_gone());
        drop(inbox);
        assert!(sink.is_gone());
        assert_eq!(offer(&mut sink, 1..=1), [Offer::Gone]);
        assert_eq!(sink.lagged(0), Offer::Gone);

        let (mut sink, mut inbox) = queue_inbox(1);
        offer(&mut sink, 1..=1);
        drop(sink);
        assert_eq!(received(&mut inbox), [1]);
        let mut cx = Context::from_waker(Waker::noop());
        assert!(matches!(inbox.poll(&mut cx), Poll::Ready(None)));
    }
}
