//! What a scope does to calls that are polled by hand.

use super::*;
use std::future::{pending, poll_fn, ready};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};

const HOUR: Duration = Duration::from_secs(3_600);

/// On a runtime that is larder's; the tests poll by hand, without one.
fn scope() -> (tokio::runtime::Runtime, FetchScope) {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let own = builder.worker_threads(1).enable_time().build().unwrap();
    let scope = FetchScope::new(Timer::new(own.handle().clone()));
    (own, scope)
}

fn poll<F: Future>(future: std::pin::Pin<&mut F>, waker: &Waker) -> Option<F::Output> {
    match future.poll(&mut Context::from_waker(waker)) {
        Poll::Ready(done) => Some(done),
        Poll::Pending => None,
    }
}

fn now<F: Future>(future: F) -> Option<F::Output> {
    poll(pin!(future), Waker::noop())
}

fn is_over<T: std::fmt::Debug>(answer: Option<Result<T, Error>>) {
    assert!(matches!(answer, Some(Err(Error::Superseded))), "{answer:?}");
}

/// Counts how often it was polled, and how many of it there are.
fn counted() -> (Arc<AtomicUsize>, impl Future<Output = Result<(), Error>>) {
    let polled = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&polled);
    let call = poll_fn(move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        Poll::Pending
    });
    (polled, call)
}

struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_call_is_superseded_when_the_newer_one_is_made_whichever_is_polled_first() {
    let (_own, scope) = scope();
    let (polled, call) = counted();
    let older = scope.latest(call);
    let newer = scope.latest(ready(Ok(2)));
    assert_eq!(now(newer).unwrap().unwrap(), 2);
    is_over(now(older));
    assert_eq!(polled.load(Ordering::SeqCst), 0, "nothing was begun");
    let older = scope.latest(ready(Ok(3)));
    drop(scope.latest(ready(Ok(4))));
    is_over(now(older));
}

#[test]
fn one_that_waits_is_woken_and_has_dropped_its_call_when_it_says_so() {
    let (_own, scope) = scope();
    let woken = Arc::new(Woken(AtomicUsize::new(0)));
    let waker = Waker::from(Arc::clone(&woken));
    let (polled, call) = counted();
    let mut older = pin!(scope.latest(call));
    assert!(poll(older.as_mut(), &waker).is_none());
    assert_eq!(Arc::strong_count(&polled), 2);
    let _newer = scope.latest(ready(Ok(())));
    assert_eq!(woken.0.load(Ordering::SeqCst), 1);
    is_over(poll(older, &waker));
    assert_eq!(Arc::strong_count(&polled), 1);
    assert_eq!(polled.load(Ordering::SeqCst), 1, "not polled once more");
}

#[test]
fn an_answer_that_is_ready_does_not_come_once_a_newer_call_was_made() {
    let (_own, scope) = scope();
    let call = poll_fn(|_| {
        drop(scope.latest(pending::<Result<(), _>>()));
        Poll::Ready(Ok(1))
    });
    is_over(now(scope.latest(call)));
    let call = poll_fn(|_| {
        scope.cancel();
        Poll::Ready(Ok(1))
    });
    is_over(now(scope.run(call)));
}

#[test]
fn dropping_the_scope_ends_what_was_polled_and_what_was_not() {
    let (_own, scope) = scope();
    let mut running = [(); 2].map(|()| Box::pin(scope.run(pending::<Result<(), _>>())));
    let mut latest = pin!(scope.latest(pending::<Result<(), _>>()));
    for running in &mut running {
        assert!(poll(running.as_mut(), Waker::noop()).is_none());
    }
    assert!(poll(latest.as_mut(), Waker::noop()).is_none());
    let never_polled = scope.run(ready(Ok(7)));
    drop(scope);
    for running in running {
        is_over(now(running));
    }
    is_over(poll(latest, Waker::noop()));
    is_over(now(never_polled));
}

#[test]
fn runs_neither_supersede_nor_are_superseded_and_after_a_cancel_it_goes_on() {
    let (_own, scope) = scope();
    let latest = scope.latest(ready(Ok(1)));
    let runs = [2, 3].map(|nth| scope.run(ready(Ok(nth))));
    assert_eq!(now(latest).unwrap().unwrap(), 1);
    drop(scope.latest(ready(Ok(4))));
    assert_eq!(runs.map(|run| now(run).unwrap().unwrap()), [2, 3]);
    let ended = (scope.latest(ready(Ok(5))), scope.run(ready(Ok(6))));
    scope.cancel();
    is_over(now(ended.0));
    is_over(now(ended.1));
    assert_eq!(now(scope.latest(ready(Ok(7)))).unwrap().unwrap(), 7);
    assert_eq!(now(scope.run(ready(Ok(8)))).unwrap().unwrap(), 8);
}

#[test]
fn what_is_superseded_during_its_debounce_or_while_larder_ends_is_never_begun() {
    let (_own, scope) = scope();
    let scope = scope.debounce(HOUR);
    let (polled, call) = counted();
    let mut older = pin!(scope.latest(call));
    assert!(poll(older.as_mut(), Waker::noop()).is_none());
    let (later_polled, call) = counted();
    let mut newer = pin!(scope.latest(call));
    is_over(poll(older, Waker::noop()));
    assert!(poll(newer.as_mut(), Waker::noop()).is_none());
    scope.timer.close();
    let closed = poll(newer, Waker::noop());
    assert!(matches!(closed, Some(Err(Error::Closed))), "{closed:?}");
    for polled in [polled, later_polled] {
        assert_eq!(polled.load(Ordering::SeqCst), 0);
    }
    // Beside the debounce there is nothing to wait for.
    assert_eq!(now(scope.run(ready(Ok(1)))).unwrap().unwrap(), 1);
    assert_eq!(scope.debounce(Duration::MAX).debounce, DEADLINE_MAX);
}

#[test]
fn a_debounce_that_is_over_wakes_an_executor_that_is_not_tokios_and_only_then_is_it_begun() {
    let (_own, scope) = scope();
    let scope = scope.debounce(Duration::from_millis(20));
    let began = std::time::Instant::now();
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut call = pin!(scope.latest(poll_fn(|_| Poll::Ready(Ok(began.elapsed())))));
    let after = loop {
        match poll(call.as_mut(), &waker) {
            Some(after) => break after.unwrap(),
            None => std::thread::park(),
        }
    };
    assert!(after >= scope.debounce, "{after:?}");
}

#[test]
fn of_calls_from_many_threads_at_once_one_is_the_latest() {
    fn everywhere<T: Send + Sync + 'static>(_: &T) {}
    let (_own, scope) = scope();
    everywhere(&scope);
    for _ in 0..50 {
        let made = std::thread::scope(|threads| {
            let make = || {
                let made = (0..20).map(|_| scope.latest(ready(Ok(()))));
                made.collect::<Vec<_>>()
            };
            let threads = [(); 4].map(|()| threads.spawn(make));
            threads.map(|thread| thread.join().unwrap())
        });
        let answers = made.into_iter().flatten().map(|made| now(made).unwrap());
        assert_eq!(answers.filter(Result::is_ok).count(), 1);
    }
}
