//! Messages: a host's own actor does by message whatever the handle can do.
#![cfg(all(feature = "disk", feature = "test-util"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

#[path = "support/trial.rs"]
mod trial;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use larder::clock::Clock;
use larder::drivers::PageLimit;
use larder::messages::{entry, larder as whole, memory, storage, supervise};
use larder::{
    BreakerMode, Builder, Condition, Desk, Durability, EntryEvent, Error, EventKind, Larder,
    Priority, Source,
};
use trial::{SOON, Trial};

const START_MS: u64 = 1_800_000_000_000;

fn over(trial: &Trial) -> Builder {
    let trial = trial.clone();
    Larder::builder().driver("store", move || trial.open())
}

/// The host's actor. It lives in the host's System and knows larder by its addresses alone.
struct Host {
    desk: Addr<Desk>,
    memory: larder::MemoryAddress,
    store: larder::DriverAddress,
    supervisor: Recipient<supervise::Restart>,
    events: tokio::sync::mpsc::UnboundedSender<EntryEvent<u64>>,
    healths: tokio::sync::mpsc::UnboundedSender<larder::Health>,
    sent: Arc<parking::Names>,
}

/// Which messages of the catalogue were sent.
mod parking {
    #[derive(Default)]
    pub struct Names(std::sync::Mutex<std::collections::BTreeSet<String>>);
    impl Names {
        /// Files a message by the last two parts of its type's path, as the catalogue names it.
        pub fn file<M>(&self) {
            let name = std::any::type_name::<M>();
            let name = name.split('<').next().unwrap();
            let parts: Vec<_> = name.split("::").collect();
            let short = parts[parts.len() - 2..].join("::");
            // Some messages stand in a file of their own and are named like the others.
            let short = short.replace("many::", "entry::");
            let short = short.replace("watching::", "entry::");
            self.0.lock().unwrap().insert(short);
        }
        pub fn all(&self) -> std::collections::BTreeSet<String> {
            self.0.lock().unwrap().clone()
        }
    }
}

impl Actor for Host {
    type Context = Context<Self>;
}

impl Handler<EntryEvent<u64>> for Host {
    type Result = ();

    fn handle(&mut self, event: EntryEvent<u64>, _: &mut Self::Context) {
        let _ = self.events.send(event);
    }
}

/// Makes the host send one message to the desk and reply what the desk replied.
struct Say<M>(M);

impl<M> Message for Say<M>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    type Result = Result<M::Result, MailboxError>;
}

impl<M> Handler<Say<M>> for Host
where
    M: Message + Send + 'static,
    M::Result: Send,
    Desk: Handler<M>,
{
    type Result = ResponseFuture<Result<M::Result, MailboxError>>;

    fn handle(&mut self, Say(message): Say<M>, _: &mut Self::Context) -> Self::Result {
        self.sent.file::<M>();
        Box::pin(self.desk.send(message))
    }
}

/// The same, to the other addresses.
#[derive(Message)]
#[rtype(result = "Result<(), MailboxError>")]
struct SayTheRest;

impl Handler<SayTheRest> for Host {
    type Result = ResponseFuture<Result<(), MailboxError>>;

    fn handle(&mut self, _: SayTheRest, _: &mut Self::Context) -> Self::Result {
        let (memory, store, sent) = (
            self.memory.clone(),
            self.store.clone(),
            Arc::clone(&self.sent),
        );
        let supervisor = self.supervisor.clone();
        Box::pin(async move {
            sent.file::<memory::Measure>();
            let measured = memory.measure.send(memory::Measure).await?;
            assert!(measured.entries > 0);
            sent.file::<memory::Resize>();
            let resize = |memory_bytes| memory.resize.send(memory::Resize { memory_bytes });
            assert!(matches!(resize(1).await?, Err(Error::Invalid { .. })));
            resize(1 << 20).await?.unwrap();
            let measured = memory.measure.send(memory::Measure).await?;
            assert_eq!(measured.bytes_max, 1 << 20);
            sent.file::<memory::Sweep>();
            memory.sweep.send(memory::Sweep).await?;

            sent.file::<storage::Get>();
            let key = bytes::Bytes::from_static(b"numbers/stored");
            let get = storage::Get { key: key.clone() };
            let record = store.get.send(get).await?.unwrap();
            assert!(record.is_some());
            sent.file::<storage::GetMany>();
            let keys = vec![key, bytes::Bytes::from_static(b"numbers/nothing")];
            let records = store.get_many.send(storage::GetMany { keys }).await?;
            assert_eq!(records.unwrap(), [record, None]);
            sent.file::<storage::Scan>();
            let scan = storage::Scan {
                prefix: bytes::Bytes::from_static(b"numbers/"),
                after: bytes::Bytes::new(),
                page: PageLimit {
                    count_max: 10,
                    bytes_max: 1 << 20,
                },
            };
            assert!(!store.scan.send(scan).await?.unwrap().is_empty());
            sent.file::<storage::Measure>();
            let usage = store.measure.send(storage::Measure).await?.unwrap();
            assert!(usage.entries.unwrap() > 0);
            sent.file::<supervise::Restart>();
            supervisor.send(supervise::Restart).await
        })
    }
}

/// The messages that the catalogue says hosts can send.
fn catalogue() -> BTreeSet<String> {
    let page = include_str!("../src/messages/mod.rs");
    let table = page.split("# Catalogue: what hosts send").nth(1).unwrap();
    let table = table.split("//! # ").next().unwrap();
    let rows = table.lines().filter(|line| line.starts_with("//! | [`"));
    let name = |row: &str| {
        row.split('`')
            .nth(1)
            .unwrap()
            .split('<')
            .next()
            .unwrap()
            .to_owned()
    };
    let names = rows.map(name);
    names
        .filter(|name| cfg!(feature = "secure") || !name.starts_with("sealed"))
        .collect()
}

/// The same larder with a sealed store.
#[cfg(feature = "secure")]
fn sealing(builder: Builder, dir: &std::path::Path) -> Builder {
    builder.secure(dir, master(1))
}

#[cfg(not(feature = "secure"))]
fn sealing(builder: Builder, _: &std::path::Path) -> Builder {
    builder
}

#[cfg(feature = "secure")]
fn master(byte: u8) -> larder::secret::MasterKey {
    larder::secret::MasterKey::from_bytes([byte; 32]).unwrap()
}

#[cfg(feature = "secure")]
async fn sealed_stores(host: &Addr<Host>) {
    use larder::messages::sealed::{RotateKey, Shred, TakeSealProgress};
    let driver = || "secure".to_owned();
    let rotate = |driver| RotateKey {
        driver,
        key: Arc::new(master(2)),
    };
    host.send(Say(rotate(driver())))
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    let progress = Say(TakeSealProgress { driver: driver() });
    let progress = host.send(progress).await.unwrap().unwrap().unwrap();
    assert!(!progress.plain_text_left);
    let refused = host
        .send(Say(rotate("store".into())))
        .await
        .unwrap()
        .unwrap();
    assert!(refused.unwrap_err().to_string().contains("is not sealed"));
    let shred = Say(Shred { driver: driver() });
    host.send(shred).await.unwrap().unwrap().unwrap();
}

#[cfg(not(feature = "secure"))]
async fn sealed_stores(_: &Addr<Host>) {}

fn host(
    larder: &Larder,
) -> (
    Addr<Host>,
    tokio::sync::mpsc::UnboundedReceiver<EntryEvent<u64>>,
    tokio::sync::mpsc::UnboundedReceiver<larder::Health>,
    Arc<parking::Names>,
) {
    let (healths, told) = tokio::sync::mpsc::unbounded_channel();
    let (events, heard) = tokio::sync::mpsc::unbounded_channel();
    let sent = Arc::new(parking::Names::default());
    let host = Host {
        desk: larder.desk().unwrap(),
        memory: larder.memory().unwrap(),
        store: larder.driver("store").unwrap().addresses().unwrap(),
        supervisor: larder.supervisor("store").unwrap(),
        events,
        healths,
        sent: Arc::clone(&sent),
    };
    (host.start(), heard, told, sent)
}

async fn single_keys(host: &Addr<Host>) {
    let set = |key: &str, value: u64| entry::Set::new("numbers", key, value);
    let first = host.send(Say(set("a", 1))).await.unwrap().unwrap().unwrap();
    let get = |key: &str| entry::Get::<u64>::new("numbers", key);
    let found = host
        .send(Say(get("a")))
        .await
        .unwrap()
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!((*found, found.version()), (1, first));
    let peek = Say(entry::Peek::<u64>::new("numbers", "a"));
    assert!(host.send(peek).await.unwrap().unwrap().unwrap().is_some());
    let contains = Say(entry::Contains::<u64>::new("numbers", "nothing"));
    assert!(!host.send(contains).await.unwrap().unwrap().unwrap());

    let swap = |expected, value| {
        Say(entry::CompareAndSet {
            set: set("a", value),
            expected,
        })
    };
    let second = host
        .send(swap(Some(first), 2))
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    let refused = host.send(swap(Some(first), 3)).await.unwrap().unwrap();
    assert!(matches!(refused, Err(Error::Conflict { current }) if current == Some(second)));
    let refused = host.send(swap(None, 3)).await.unwrap().unwrap();
    assert!(matches!(refused, Err(Error::Conflict { .. })));

    let explained = Say(entry::Explain(get("a")));
    let outcome = host.send(explained).await.unwrap().unwrap().unwrap();
    assert_eq!(outcome.source, Some(Source::Memory));
    let mut full = set("stored", 7);
    full.ttl = Some(Duration::from_secs(60));
    full.stale_for = Some(Duration::from_secs(60));
    full.idle = Some(Duration::from_secs(30));
    full.priority = Some(Priority::High);
    full.tags = vec!["t".into()];
    full.drivers = vec!["memory".into(), "store".into()];
    full.durability = Some(Durability::Synced);
    let outcome = host
        .send(Say(entry::Explain(full)))
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!(outcome.durability, Durability::Synced);

    let touch = entry::Touch::<u64>::new("numbers", "a", Duration::from_secs(60));
    assert!(
        host.send(Say(touch))
            .await
            .unwrap()
            .unwrap()
            .unwrap()
            .unwrap()
            > second
    );
    let mut expire = entry::Expire::<u64>::new("numbers", "a");
    expire.keep_for = Some(Duration::from_secs(9));
    assert!(
        host.send(Say(expire))
            .await
            .unwrap()
            .unwrap()
            .unwrap()
            .is_some()
    );
    assert!(
        host.send(Say(get("a")))
            .await
            .unwrap()
            .unwrap()
            .unwrap()
            .is_none()
    );
    let mut stale = get("a");
    stale.allow_stale = true;
    assert!(
        host.send(Say(stale))
            .await
            .unwrap()
            .unwrap()
            .unwrap()
            .is_some()
    );
    let remove = || entry::Remove::<u64>::new("numbers", "a");
    let removed = host.send(Say(remove())).await.unwrap().unwrap().unwrap();
    assert!(removed > second);
    let mut conditional = remove();
    conditional.if_version = Some(second);
    let refused = host
        .send(Say(entry::Explain(conditional)))
        .await
        .unwrap()
        .unwrap();
    assert!(matches!(refused, Err(Error::Conflict { current: None })));
}

async fn many_keys(host: &Addr<Host>) {
    let mut many = entry::SetMany::new("numbers", (0..120u64).map(|n| (format!("m{n:03}"), n)));
    many.durability = Some(Durability::Written);
    many.ttl = Some(Duration::from_secs(60));
    let report = host.send(Say(many)).await.unwrap().unwrap().unwrap();
    assert_eq!((report.applied, report.chunks_unstored), (120, 0));
    let many = entry::GetMany::<u64>::new("numbers", ["m003", "m999"]);
    let found = host.send(Say(many)).await.unwrap().unwrap().unwrap();
    assert!(found[0].1.is_some() && found[1].1.is_none());
    let many = entry::GetMany::<u64>::new("numbers", ["m003", "", "m004"]);
    let refused = Say(entry::GetMany::<u64>::new("numbers", [""]));
    let refused = host.send(refused).await.unwrap().unwrap();
    assert!(matches!(refused, Err(Error::Invalid { field: "key", .. })));
    let chunks = host.send(Say(entry::Explain(many))).await.unwrap().unwrap();
    let [chunk] = &chunks.unwrap()[..] else {
        panic!("three keys are one chunk");
    };
    let of_each = chunk.keys.iter().map(|(_, found)| found.is_ok());
    assert_eq!(of_each.collect::<Vec<_>>(), [true, false, true]);
    let mut scan = entry::Scan::<u64>::new("numbers", "m");
    scan.page_size = 100;
    let page = host.send(Say(scan)).await.unwrap().unwrap().unwrap();
    assert_eq!(page.entries.len(), 100);
    let mut scan = entry::Scan::<u64>::new("numbers", "m");
    scan.after = page.next;
    let page = host.send(Say(scan)).await.unwrap().unwrap().unwrap();
    assert_eq!(page.entries.len(), 20);
    let mut many = entry::RemoveMany::<u64>::new("numbers", ["m000", "m001"]);
    many.durability = Some(Durability::Synced);
    let report = host.send(Say(many)).await.unwrap().unwrap().unwrap();
    assert_eq!(report.applied, 2);
}

async fn the_whole(host: &Addr<Host>) {
    let flush = whole::Flush {
        durability: Durability::Synced,
    };
    host.send(Say(flush)).await.unwrap().unwrap().unwrap();
    let warm = whole::Warm {
        entries: vec!["numbers/stored".into(), "numbers/nothing".into()],
    };
    let warmed = host.send(Say(warm)).await.unwrap().unwrap().unwrap();
    assert_eq!((warmed.loaded, warmed.missing), (1, 1));
    let stats = host
        .send(Say(whole::TakeStats))
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!(stats.drivers[0].name, "store");
}

impl Handler<whole::HealthChanged> for Host {
    type Result = ();

    fn handle(&mut self, changed: whole::HealthChanged, _: &mut Self::Context) {
        let _ = self.healths.send(changed.0);
    }
}

async fn health(
    host: &Addr<Host>,
    healths: &mut tokio::sync::mpsc::UnboundedReceiver<larder::Health>,
) {
    let take = || Say(whole::TakeHealth);
    let health = host.send(take()).await.unwrap().unwrap().unwrap();
    assert_eq!(health.condition, Condition::Up);
    let recipient = host.clone().recipient();
    let watch = Say(whole::WatchHealth { recipient });
    let watching = host.send(watch).await.unwrap().unwrap().unwrap();
    let set = |driver: &str, mode| {
        let driver = driver.into();
        Say(whole::SetBreaker { driver, mode })
    };
    let refused = set("nobody", BreakerMode::Auto);
    let refused = host.send(refused).await.unwrap().unwrap();
    assert!(matches!(
        refused,
        Err(Error::Invalid {
            field: "driver",
            ..
        })
    ));
    for (mode, condition) in [
        (BreakerMode::ForcedOpen, Condition::Down),
        (BreakerMode::Auto, Condition::Up),
    ] {
        host.send(set("store", mode))
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        let told =
            async { while healths.recv().await.unwrap().drivers[0].condition != condition {} };
        tokio::time::timeout(SOON, told).await.unwrap();
    }
    let end = Say(entry::Unsubscribe(watching));
    host.send(end).await.unwrap().unwrap();
}

async fn invalidation(host: &Addr<Host>) {
    let get = || Say(entry::Get::<u64>::new("numbers", "stored"));
    assert!(host.send(get()).await.unwrap().unwrap().unwrap().is_some());
    let mut clear = entry::Clear::new("numbers");
    clear.tag = Some("t".into());
    host.send(Say(clear)).await.unwrap().unwrap().unwrap();
    assert!(host.send(get()).await.unwrap().unwrap().unwrap().is_none());
    let mut clear = entry::Clear::new("numbers");
    clear.durability = Some(Durability::Synced);
    host.send(Say(clear)).await.unwrap().unwrap().unwrap();
    let page = Say(entry::Scan::<u64>::new("numbers", ""));
    let page = host.send(page).await.unwrap().unwrap().unwrap();
    assert!(page.entries.is_empty());
}

async fn subscriptions(
    host: &Addr<Host>,
    heard: &mut tokio::sync::mpsc::UnboundedReceiver<EntryEvent<u64>>,
) {
    let subscribe = |watching| {
        Say(entry::Subscribe {
            cache: "numbers".into(),
            watching,
            recipient: host.clone().recipient(),
        })
    };
    let watchings = [
        entry::Watching::Key("a".into()),
        entry::Watching::Prefix("p".into()),
        entry::Watching::All,
    ];
    let mut ids = Vec::new();
    for watching in watchings {
        ids.push(
            host.send(subscribe(watching))
                .await
                .unwrap()
                .unwrap()
                .unwrap(),
        );
    }
    let set = |key: &str| Say(entry::Set::new("numbers", key, 5u64));
    for key in ["a", "p1"] {
        let version = host.send(set(key)).await.unwrap().unwrap().unwrap();
        for _ in 0..2 {
            let Some(EntryEvent::Changed(change)) = heard.recv().await else {
                panic!("no change");
            };
            assert_eq!((change.key.as_str(), change.version), (key, version));
            assert_eq!(change.kind, EventKind::Created);
        }
    }
    for id in ids.drain(1..) {
        host.send(Say(entry::Unsubscribe(id)))
            .await
            .unwrap()
            .unwrap();
    }
    host.send(set("p1")).await.unwrap().unwrap().unwrap();
    host.send(set("a")).await.unwrap().unwrap().unwrap();
    let Some(EntryEvent::Changed(change)) = heard.recv().await else {
        panic!("no change");
    };
    assert_eq!(change.key, "a");
    assert!(heard.try_recv().is_err());
}

#[actix::test]
async fn a_hosts_actor_sends_every_message_of_the_catalogue() {
    let clock = Clock::manual(START_MS);
    let dir = tempfile::tempdir().unwrap();
    let builder = sealing(over(&Trial::default()), dir.path());
    let larder = builder.clock(clock).start().await.unwrap();
    let (host, mut heard, mut healths, sent) = host(&larder);
    single_keys(&host).await;
    many_keys(&host).await;
    the_whole(&host).await;
    health(&host, &mut healths).await;
    host.send(SayTheRest).await.unwrap().unwrap();
    invalidation(&host).await;
    subscriptions(&host, &mut heard).await;
    sealed_stores(&host).await;
    assert_eq!(sent.all(), catalogue());
    larder.shutdown(SOON).await.unwrap();
}

#[actix::test]
async fn a_message_after_the_shutdown_gets_closed() {
    let larder = over(&Trial::default()).start().await.unwrap();
    let (host, ..) = host(&larder);
    let (memory, store) = (
        larder.memory().unwrap(),
        larder.driver("store").unwrap().addresses().unwrap(),
    );
    larder.shutdown(SOON).await.unwrap();
    let get = entry::Get::<u64>::new("numbers", "a");
    let late = host.send(Say(get)).await.unwrap();
    assert!(matches!(late, Err(MailboxError::Closed)));
    assert!(matches!(Error::from(late.unwrap_err()), Error::Closed));
    let late = memory.measure.send(memory::Measure).await;
    assert!(matches!(late, Err(MailboxError::Closed)));
    let late = store.measure.send(storage::Measure).await;
    assert!(matches!(late, Err(MailboxError::Closed)));
    let closed = |error: Error| matches!(error, Error::Closed);
    assert!(closed(larder.desk().err().unwrap()));
    assert!(closed(larder.memory().err().unwrap()));
    assert!(closed(
        larder.driver("store").unwrap().addresses().err().unwrap()
    ));
    assert!(closed(larder.supervisor("store").err().unwrap()));
}
