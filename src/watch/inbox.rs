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

/// A place for up to `events_max` events (at least one) of up to `bytes_max` bytes; past that the
/// subscriber lags. An empty one takes any one event, however heavy: a subscriber that keeps up sees
/// every change.
pub fn queue_inbox(events_max: usize, bytes_max: usize) -> (InboxSink, Inbox) {
    inbox(Keep::Oldest {
        events_max: events_max.max(1),
        bytes_max,
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
        bytes: 0,
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
    /// Bytes that they count for.
    bytes: usize,
    /// Events that are missing after those that wait. While it is set none is taken in, so that the
    /// gap lies where the subscriber is told of it, and its size is right.
    lag: Option<Lag>,
    waker: Option<Waker>,
    sink_is_gone: bool,
    subscriber_is_gone: bool,
}

#[derive(Clone, Copy)]
enum Keep {
    Oldest { events_max: usize, bytes_max: usize },
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
                let replaced = state.pop();
                state.push(event.clone());
                drop(state);
                drop(replaced);
                wake(waker);
                Offer::Taken
            }
            Keep::Oldest {
                events_max,
                bytes_max,
            } if state.lag.is_some() || !state.has_room(event, events_max, bytes_max) => {
                state.miss(1);
                self.refused += 1;
                Offer::Full
            }
            Keep::Oldest { .. } => {
                state.push(event.clone());
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
        if let Some(event) = state.pop() {
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
    fn has_room(&self, event: &RawEvent, events_max: usize, bytes_max: usize) -> bool {
        let fits = self.bytes.saturating_add(event.bytes()) <= bytes_max;
        self.events.is_empty() || (self.events.len() < events_max && fits)
    }

    fn push(&mut self, event: RawEvent) {
        self.bytes += event.bytes();
        self.events.push_back(event);
    }

    fn pop(&mut self) -> Option<RawEvent> {
        let event = self.events.pop_front()?;
        self.bytes -= event.bytes();
        Some(event)
    }

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
mod tests;
