//! Actors that subscribed with their address.

use actix::Recipient;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::house::{GUARD, House, key, send};
use super::*;
use crate::event::EntryEvent;
use crate::messages::hub::Sink;
use crate::watch::fixture::put;
use crate::watch::{RecipientSink, forward};

/// An actor that passes on what it hears and holds up as long as it is told to.
struct Listener {
    heard: mpsc::UnboundedSender<String>,
    hold: Option<oneshot::Receiver<()>>,
}

impl Actor for Listener {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(2);
        if let Some(hold) = self.hold.take() {
            ctx.wait(actix::fut::wrap_future(async {
                let _ = hold.await;
            }));
        }
    }
}

impl Handler<EntryEvent<u64>> for Listener {
    type Result = ();

    fn handle(&mut self, event: EntryEvent<u64>, _: &mut Self::Context) {
        let _ = self.heard.send(match event {
            EntryEvent::Changed(change) => format!("{:?}", change.new.map(|entry| *entry)),
            other => format!("{other:?}"),
        });
    }
}

fn listener() -> (
    Recipient<EntryEvent<u64>>,
    mpsc::UnboundedReceiver<String>,
    oneshot::Sender<()>,
) {
    let (heard, hears) = mpsc::unbounded_channel();
    let (release, hold) = oneshot::channel();
    let hold = Some(hold);
    let to = Listener { heard, hold }.start().recipient();
    (to, hears, release)
}

async fn heard(hears: &mut mpsc::UnboundedReceiver<String>) -> String {
    timeout(GUARD, hears.recv()).await.unwrap().unwrap()
}

#[actix::test]
async fn an_actor_with_a_full_mailbox_is_told_how_many_it_missed_though_nothing_more_happens() {
    let house = House::new(1_024);
    let (to, mut hears, release) = listener();
    tokio::task::yield_now().await;
    let ask = Subscribe {
        filter: key("k"),
        sink: Box::new(RecipientSink::new(to, 0)),
    };
    send(&house.hub, ask).await.unwrap();
    for n in 1..=10 {
        put(&house.shelf, "k", n, n);
    }
    send(&house.hub, Wake).await;
    let stats = house.registry.lock().stats();
    assert_eq!(stats.delivered + stats.missed, 10);
    assert!(stats.missed > 0 && stats.delivered <= 3, "{stats:?}");
    release.send(()).unwrap();
    for n in 1..=stats.delivered {
        assert_eq!(heard(&mut hears).await, format!("Some({n})"));
    }
    let lagged = format!("Lagged {{ missed: {} }}", stats.missed);
    assert_eq!(heard(&mut hears).await, lagged);
}

#[actix::test]
async fn an_actor_that_is_gone_is_unsubscribed() {
    let house = House::new(1_024);
    let (to, _hears, _release) = listener();
    assert!(!RecipientSink::new(to, 0).is_gone());
    let gone = RecipientSink::<u64>::new(gone(), 0);
    assert!(gone.is_gone());
    let ask = Subscribe {
        filter: key("k"),
        sink: Box::new(gone),
    };
    send(&house.hub, ask).await.unwrap();
    put(&house.shelf, "k", 1, 1);
    house.settle().await;
    assert!(house.registry.lock().is_empty() && !house.shelf.is_watched());
}

/// The recipient of an actor that no longer runs.
fn gone() -> Recipient<EntryEvent<u64>> {
    let (tx, rx) = actix::dev::channel::channel::<Listener>(1);
    drop(rx);
    Addr::new(tx).recipient()
}

#[actix::test]
async fn a_stream_can_be_forwarded_to_an_actor_snapshots_included() {
    let house = House::new(1_024);
    let watch = house.watch("k", 2).await;
    for n in 1..=5 {
        put(&house.shelf, "k", n, n);
    }
    house.settle().await;
    let (to, mut hears, release) = listener();
    release.send(()).unwrap();
    let forwarding = actix::spawn(forward(watch, to));
    for expected in ["Some(1)", "Some(2)", "Lagged { missed: 3 }"] {
        assert_eq!(heard(&mut hears).await, expected);
    }
    assert!(heard(&mut hears).await.starts_with("Snapshot"));
    forwarding.abort();
    let _ = forwarding.await;
    house.settle().await;
    assert!(house.registry.lock().is_empty());

    let watch = house.watch("k", 2).await;
    put(&house.shelf, "k", 6, 6);
    timeout(GUARD, forward(watch, gone())).await.unwrap();
}
