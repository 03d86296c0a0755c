use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix::dev::ToEnvelope;
use actix::{Message, Recipient};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::*;
use crate::event::EntryEvent;
use crate::key::CacheId;
use crate::messages::hub::{Filter, Sink};
use crate::shelf::{EventKind, Freshness, Seen};
use crate::typed;
use crate::version::Version;
use crate::watch::fixture::{Answer, CACHE, LogSink, Told, put, shelf};
use crate::watch::{OnDrop, RecipientSink, SnapshotFn, SnapshotPage, Watch, forward, queue_inbox};
use crate::{Entry, Source};

/// Long enough that only a test that hangs meets it.
const GUARD: Duration = Duration::from_secs(20);

struct House {
    shelf: Arc<Shelf>,
    registry: Arc<Mutex<Registry>>,
    hub: Addr<Hub>,
    /// Told of the death of each generation.
    deaths: mpsc::UnboundedReceiver<u64>,
    generations: AtomicU64,
    tell: Arc<dyn Fn(u64) + Send + Sync>,
}

impl House {
    fn new(events_max: usize) -> Self {
        let shelf = shelf(events_max);
        let registry = Arc::new(Mutex::new(Registry::new(100)));
        let (dead, deaths) = mpsc::unbounded_channel();
        let tell: Arc<dyn Fn(u64) + Send + Sync> = Arc::new(move |generation| {
            let _ = dead.send(generation);
        });
        let guard = DeathGuard::new(1, Arc::clone(&tell));
        let hub = start(Arc::clone(&shelf), Arc::clone(&registry), guard);
        Self {
            shelf,
            registry,
            hub,
            deaths,
            generations: AtomicU64::new(1),
            tell,
        }
    }

    async fn restart(&mut self) {
        let hub = self.hub.clone();
        hub.send(Stop).await.unwrap();
        let died = timeout(GUARD, self.deaths.recv()).await.unwrap();
        let generation = self.generations.fetch_add(1, Ordering::SeqCst);
        assert_eq!(died, Some(generation));
        let guard = DeathGuard::new(generation + 1, Arc::clone(&self.tell));
        self.hub = start(Arc::clone(&self.shelf), Arc::clone(&self.registry), guard);
    }

    async fn log(&self, filter: Filter) -> (LogSink, SubscriptionId) {
        let sink = LogSink::default();
        let ask = Subscribe {
            filter,
            sink: Box::new(sink.clone()),
        };
        let id = send(&self.hub, ask).await.unwrap();
        (sink, id)
    }

    async fn watch(&self, name: &str, events_max: usize) -> Watch<u64> {
        let (sink, inbox) = queue_inbox(events_max);
        let ask = Subscribe {
            filter: key(name),
            sink: Box::new(sink),
        };
        let id = send(&self.hub, ask).await.unwrap();
        let hub = self.hub.clone();
        let on_drop: OnDrop = Box::new(move || hub.do_send(Unsubscribe(id)));
        Watch::new(
            inbox,
            0,
            snapshot_of(Arc::clone(&self.shelf), name),
            on_drop,
        )
    }

    /// Returns when the hub has delivered everything that was put before.
    async fn settle(&self) {
        let (_, id) = self.log(Filter::All(CacheId(9))).await;
        send(&self.hub, Unsubscribe(id)).await;
    }
}

async fn send<M>(hub: &Addr<Hub>, message: M) -> M::Result
where
    M: Message + Send + 'static,
    M::Result: Send,
    Hub: Handler<M>,
    Context<Hub>: ToEnvelope<Hub, M>,
{
    timeout(GUARD, hub.send(message)).await.unwrap().unwrap()
}

async fn next(watch: &mut Watch<u64>) -> Option<EntryEvent<u64>> {
    timeout(GUARD, watch.next()).await.unwrap()
}

fn key(name: &str) -> Filter {
    Filter::Key(CACHE, name.into())
}

fn read(shelf: &Shelf, name: &str) -> Option<Entry<u64>> {
    let scope = shelf.scope("cache");
    let hash = shelf.hash(scope.id, name);
    let entry = |slot: &crate::shelf::Slot, _| {
        typed::entry(slot, 0, Freshness::Fresh, Source::Memory, 0).unwrap()
    };
    match shelf.read(&scope, hash, name, || 0, false, entry) {
        Seen::Hit(entry) => Some(entry),
        _ => None,
    }
}

fn snapshot_of(shelf: Arc<Shelf>, name: &str) -> SnapshotFn<u64> {
    let name = name.to_owned();
    Arc::new(move |_| {
        let (shelf, name) = (Arc::clone(&shelf), name.clone());
        Box::pin(async move {
            let as_of = Version::new(shelf.versions().last()).unwrap();
            Ok(SnapshotPage {
                as_of,
                at_ms: 0,
                entries: vec![(name.clone(), read(&shelf, &name))],
                next: None,
            })
        })
    })
}

#[actix::test]
async fn while_nobody_watches_no_event_is_recorded() {
    let house = House::new(1_024);
    put(&house.shelf, "k", 1, 1);
    let mut events = Vec::new();
    assert_eq!(house.shelf.take_events(&mut events), 0);
    assert!(events.is_empty() && !house.shelf.is_watched());
}

#[actix::test]
async fn a_subscriber_hears_of_what_began_after_the_reply_and_of_nothing_before() {
    let house = House::new(1_024);
    let (early, _) = house.log(key("k")).await;
    put(&house.shelf, "k", 1, 1);
    let (late, _) = house.log(key("k")).await;
    put(&house.shelf, "k", 2, 2);
    house.settle().await;
    let event = |kind, n| Told::Event(kind, "k".into(), n);
    let second = event(EventKind::Updated, 2);
    assert_eq!(early.told(), [event(EventKind::Created, 1), second.clone()]);
    assert_eq!(late.told(), [second]);
}

#[actix::test]
async fn two_writers_of_a_key_are_told_in_the_order_of_their_versions() {
    let house = House::new(100_000);
    let mut watch = house.watch("k", 100_000).await;
    let writers: Vec<_> = (0..2)
        .map(|_| {
            let shelf = Arc::clone(&house.shelf);
            std::thread::spawn(move || {
                for n in 0..5_000 {
                    put(&shelf, "k", n, 1);
                    put(&shelf, &format!("other:{n}"), n, 1);
                }
            })
        })
        .collect();
    let mut last = None;
    for _ in 0..10_000 {
        let Some(EntryEvent::Changed(change)) = next(&mut watch).await else {
            panic!("an event is missing");
        };
        assert!(Some(change.version) > last);
        last = Some(change.version);
        assert_eq!(change.key, "k");
    }
    assert_eq!(last, read(&house.shelf, "k").map(|entry| entry.version()));
    for writer in writers {
        writer.join().unwrap();
    }
}

#[actix::test]
async fn a_slow_subscriber_is_told_that_it_lags_and_gets_a_snapshot() {
    let house = House::new(1_024);
    let mut watch = house.watch("k", 4).await;
    for n in 1..=100 {
        put(&house.shelf, "k", n, n);
        if n % 10 == 0 {
            house.settle().await;
        }
        assert!(watch.buffered() <= 4);
    }
    for n in 1..=4 {
        let event = next(&mut watch).await;
        assert!(matches!(event, Some(EntryEvent::Changed(c)) if c.new.as_deref() == Some(&n)));
    }
    let event = next(&mut watch).await;
    assert!(
        matches!(event, Some(EntryEvent::Lagged { missed: 96 })),
        "{event:?}"
    );
    let event = next(&mut watch).await;
    let Some(EntryEvent::Snapshot { key, entry }) = event else {
        panic!("{event:?}");
    };
    assert_eq!((key.as_str(), entry.as_deref()), ("k", Some(&100)));
    put(&house.shelf, "k", 101, 101);
    let event = next(&mut watch).await;
    assert!(matches!(event, Some(EntryEvent::Changed(c)) if c.new.as_deref() == Some(&101)));
}

#[actix::test]
async fn dropping_the_stream_unsubscribes() {
    let house = House::new(1_024);
    let watch = house.watch("k", 4).await;
    assert!(house.shelf.is_watched());
    drop(watch);
    house.settle().await;
    assert!(house.registry.lock().is_empty() && !house.shelf.is_watched());
}

#[actix::test]
async fn a_restart_keeps_the_subscriptions_and_says_that_something_may_be_missing() {
    let mut house = House::new(1_024);
    let mut watch = house.watch("k", 16).await;
    put(&house.shelf, "k", 1, 1);
    assert!(matches!(
        next(&mut watch).await,
        Some(EntryEvent::Changed(_))
    ));
    house.restart().await;
    assert!(matches!(
        next(&mut watch).await,
        Some(EntryEvent::Lagged { missed: 0 })
    ));
    let event = next(&mut watch).await;
    assert!(matches!(
        event,
        Some(EntryEvent::Snapshot { entry: Some(_), .. })
    ));
    put(&house.shelf, "k", 2, 2);
    let event = next(&mut watch).await;
    assert!(matches!(event, Some(EntryEvent::Changed(c)) if c.new.as_deref() == Some(&2)));
}

#[actix::test]
async fn what_happens_while_no_hub_runs_is_delivered_by_the_next_one() {
    let mut house = House::new(1_024);
    let (sink, _) = house.log(key("k")).await;
    house.hub.send(Stop).await.unwrap();
    timeout(GUARD, house.deaths.recv()).await.unwrap();
    put(&house.shelf, "k", 1, 1);
    let guard = DeathGuard::new(2, Arc::clone(&house.tell));
    house.hub = start(Arc::clone(&house.shelf), Arc::clone(&house.registry), guard);
    house.settle().await;
    let event = Told::Event(EventKind::Created, "k".into(), 1);
    assert_eq!(sink.told(), [Told::Lagged(0), event]);
}

#[actix::test]
async fn events_that_the_shelf_had_to_drop_are_told_as_a_gap() {
    let house = House::new(8);
    let (sink, _) = house.log(key("k")).await;
    // On this thread, so the hub has no turn meanwhile.
    for n in 1..=100 {
        put(&house.shelf, "k", n, n);
    }
    house.settle().await;
    let told = sink.told();
    assert_eq!((told.first(), told.len()), (Some(&Told::Lagged(0)), 9));
    let stats = house.registry.lock().stats();
    assert_eq!((stats.lost, stats.delivered), (92, 8));
}

#[actix::test]
async fn more_events_than_a_turn_takes_are_all_delivered() {
    let house = House::new(100_000);
    let mut watch = house.watch("k", 100_000).await;
    for n in 1..=(3 * TURN_EVENTS_MAX as u64) {
        put(&house.shelf, "k", n, n);
    }
    for n in 1..=(3 * TURN_EVENTS_MAX as u64) {
        let event = next(&mut watch).await;
        assert!(matches!(event, Some(EntryEvent::Changed(c)) if c.version == Version::at(n)));
    }
}

#[actix::test]
async fn a_sink_that_panics_ends_alone() {
    let house = House::new(1_024);
    let (bad, _) = house.log(key("k")).await;
    let (good, _) = house.log(key("k")).await;
    bad.answer(Answer::Panic);
    for n in 1..=2 {
        put(&house.shelf, "k", n, n);
        house.settle().await;
    }
    assert_eq!((good.calls(), bad.calls()), (2, 1));
    assert!(house.hub.connected());
}

#[actix::test]
async fn the_hub_ends_when_nobody_holds_it() {
    let mut house = House::new(1_024);
    house.hub = House::new(8).hub;
    assert_eq!(timeout(GUARD, house.deaths.recv()).await.unwrap(), Some(1));
}

/// An actor that passes on what it hears and holds up as long as it is told to.
struct Listener {
    heard: mpsc::UnboundedSender<String>,
    hold: Option<tokio::sync::oneshot::Receiver<()>>,
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
    tokio::sync::oneshot::Sender<()>,
) {
    let (heard, hears) = mpsc::unbounded_channel();
    let (release, hold) = tokio::sync::oneshot::channel();
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
    house.settle().await;
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
