//! Attempts at a loader that no source bounds.

use super::*;
use crate::fetch::Urgency;
use std::cell::Cell;
use std::future::{pending, ready};

const CALL_MAX: Duration = Duration::from_millis(10);

fn attempts(retry: Retry) -> Attempts {
    Attempts {
        retry: retry.base(Duration::from_millis(1)),
        classify: None,
        source: None,
        rank: Arc::new(Rank::new(Urgency::Foreground)),
        chain: Chain::new([], None),
        call_max: CALL_MAX,
    }
}

/// Its first attempt never ends. Whoever waits has an hour.
async fn hangs_once(retry: Retry) -> Made<u32> {
    let timer = Timer::new(tokio::runtime::Handle::current());
    let until = Clock::instant() + Duration::from_secs(3_600);
    let asked = Cell::new(0);
    let call = |attempt: Attempt| -> Loading<u32> {
        asked.set(asked.get() + 1);
        assert_eq!(attempt.number, asked.get());
        match attempt.number {
            1 => Box::pin(pending()),
            number => Box::pin(ready(Ok(number))),
        }
    };
    attempts(retry).make(&timer, || Some(until), call).await
}

#[tokio::test]
async fn a_loader_that_hangs_is_asked_again_for_those_who_have_time() {
    let made = hangs_once(Retry::default()).await;
    assert_eq!((made.attempts, made.answer.unwrap()), (2, 2));
}

#[tokio::test]
async fn a_loader_that_hangs_and_is_not_to_be_asked_again_has_failed() {
    let made = hangs_once(Retry::never()).await;
    let error = made.answer.unwrap_err();
    assert_eq!((made.attempts, error.class()), (1, ErrorClass::Transient));
    let text = error.to_string();
    assert!(
        text.contains("the loader did not answer within 10 ms"),
        "{text}"
    );
}
