//! What becomes of many keys whose loads end at different times.

use std::future::IntoFuture;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};

use super::*;
use crate::{Larder, LoadError, LoadManyContext};

const SOON: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_key_whose_load_has_no_more_time_is_begun_anew_while_others_are_waited_for() {
    let larder = Larder::builder().start().await.unwrap();
    let users = larder.cache::<String>("users").unwrap();
    let asking = Asking::new(&users, None).unwrap();
    let mut seated = asking.sit_down("a", || asking.rank()).unwrap();
    let hangs = seated.leads.take().unwrap();
    let (asking_for, mut asks) = mpsc::unbounded_channel();
    let gate = Arc::new(Semaphore::new(0));
    let load = {
        let gate = Arc::clone(&gate);
        move |context: LoadManyContext<String>| {
            let keys: Vec<_> = context.keys().map(SmolStr::from).collect();
            asking_for.send(keys.clone()).unwrap();
            let gate = Arc::clone(&gate);
            async move {
                drop(gate.acquire().await);
                let pairs = keys.into_iter().map(|key| (key, "new".to_owned()));
                Ok::<_, LoadError>(pairs.collect::<Vec<_>>())
            }
        }
    };
    let mut fetch = pin!(users.fetch_many(["a", "b"], load).into_future());
    let mut step = async || {
        let step = std::future::poll_fn(|cx| Poll::Ready(fetch.as_mut().poll(cx)));
        assert!(step.await.is_pending());
    };
    let mut asked = async || {
        let asked = tokio::time::timeout(SOON, asks.recv()).await;
        asked.expect("it is asked").unwrap()
    };
    step().await;
    assert_eq!(asked().await, ["b"]);
    assert_eq!(hangs.pilot.land(None), 2);
    step().await;
    assert_eq!(asked().await, ["a"]);
    gate.add_permits(1);
    let found = fetch.await.unwrap();
    assert!(
        found
            .iter()
            .all(|(_, entry)| **entry.as_ref().unwrap() == "new")
    );
    larder.shutdown(SOON).await.unwrap();
}
