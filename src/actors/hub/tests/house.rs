//! A hub over a real shelf, without the rest of larder.

use std::sync::atomic::{AtomicU64, Ordering};

use actix::Message;
use actix::dev::ToEnvelope;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::*;
use crate::key::CacheId;
use crate::messages::hub::Filter;
use crate::shelf::{Freshness, Seen};
use crate::watch::fixture::{CACHE, LogSink, form, shelf};
use crate::watch::{OnDrop, SnapshotFn, SnapshotPage, Watch, queue_inbox};
use crate::{Entry, Source};

/// Long enough that only a test that hangs meets it.
pub const GUARD: Duration = Duration::from_secs(20);

pub struct House {
    pub shelf: Arc<Shelf>,
    pub registry: Arc<Mutex<Registry>>,
    pub hub: Addr<Hub>,
    /// Told of the death of each generation.
    pub deaths: mpsc::UnboundedReceiver<u64>,
    generations: AtomicU64,
    pub tell: Arc<dyn Fn(u64) + Send + Sync>,
}

impl House {
    pub fn new(events_max: usize) -> Self {
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

    pub async fn restart(&mut self) {
        let hub = self.hub.clone();
        hub.send(Stop).await.unwrap();
        let died = timeout(GUARD, self.deaths.recv()).await.unwrap();
        let generation = self.generations.fetch_add(1, Ordering::SeqCst);
        assert_eq!(died, Some(generation));
        let guard = DeathGuard::new(generation + 1, Arc::clone(&self.tell));
        self.hub = start(Arc::clone(&self.shelf), Arc::clone(&self.registry), guard);
    }

    pub async fn log(&self, filter: Filter) -> (LogSink, SubscriptionId) {
        let sink = LogSink::default();
        let ask = Subscribe {
            filter,
            sink: Box::new(sink.clone()),
        };
        let id = send(&self.hub, ask).await.unwrap();
        (sink, id)
    }

    pub async fn watch(&self, name: &str, events_max: usize) -> Watch<u64> {
        let (sink, inbox) = queue_inbox(events_max, usize::MAX);
        let ask = Subscribe {
            filter: key(name),
            sink: Box::new(sink),
        };
        let id = send(&self.hub, ask).await.unwrap();
        let hub = self.hub.clone();
        let on_drop: OnDrop = Box::new(move || hub.do_send(Unsubscribe(id)));
        Watch::new(
            inbox,
            form(),
            snapshot_of(Arc::clone(&self.shelf), name),
            on_drop,
        )
    }

    /// Returns when the hub has delivered everything that was put before.
    pub async fn settle(&self) {
        let (_, id) = self.log(Filter::All(CacheId(9))).await;
        send(&self.hub, Unsubscribe(id)).await;
    }
}

pub async fn send<M>(hub: &Addr<Hub>, message: M) -> M::Result
where
    M: Message + Send + 'static,
    M::Result: Send,
    Hub: Handler<M>,
    Context<Hub>: ToEnvelope<Hub, M>,
{
    timeout(GUARD, hub.send(message)).await.unwrap().unwrap()
}

pub async fn next(watch: &mut Watch<u64>) -> Option<EntryEvent<u64>> {
    timeout(GUARD, watch.next()).await.unwrap()
}

pub fn key(name: &str) -> Filter {
    Filter::Key(CACHE, name.into())
}

pub fn read(shelf: &Shelf, name: &str) -> Option<Entry<u64>> {
    let scope = shelf.scope("cache");
    let hash = shelf.hash(scope.id, name);
    let entry = |slot: crate::shelf::Look<'_>, _| {
        let slot = slot.to_slot();
        form()
            .entry(&slot, Freshness::Fresh, Source::Memory, 0)
            .unwrap()
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
