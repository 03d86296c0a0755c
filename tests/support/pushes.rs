//! A source that pushes what a test tells it to, connection by connection.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    dead_code,
    reason = "helpers end in a panic, and some are asked to"
)]

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use futures_util::stream::{self, BoxStream, StreamExt};
use larder::{Cache, Feed, FeedChange, FeedState, FeedStats, LoadError, Retry};
use tokio::sync::{Mutex, mpsc};

use super::world::{ms, text, until};

/// What comes through a connection.
pub enum Push {
    Change(FeedChange<String>),
    Error,
    Panic,
}

enum Offer {
    Line(mpsc::Receiver<Push>),
    Refuse,
    Panic,
    Hang,
}

/// The source's own end of it. All clones are the same one.
#[derive(Clone)]
pub struct Pushes {
    offer: mpsc::UnboundedSender<Offer>,
    offers: Arc<Mutex<mpsc::UnboundedReceiver<Offer>>>,
    asked: Arc<AtomicUsize>,
    times: Arc<std::sync::Mutex<Vec<Instant>>>,
}

/// One connection.
pub struct Line(mpsc::Sender<Push>);

type Stream = BoxStream<'static, Result<FeedChange<String>, LoadError>>;
type Connecting = Pin<Box<dyn Future<Output = Result<Stream, LoadError>> + Send>>;

impl Pushes {
    /// A source that lets nobody in yet.
    pub fn new() -> Self {
        let (offer, offers) = mpsc::unbounded_channel();
        Self {
            offer,
            offers: Arc::new(Mutex::new(offers)),
            asked: Arc::default(),
            times: Arc::default(),
        }
    }

    /// Lets the next one in.
    pub fn accept(&self) -> Line {
        let (push, pushed) = mpsc::channel(1);
        self.offer(Offer::Line(pushed));
        Line(push)
    }

    pub fn refuse(&self) {
        self.offer(Offer::Refuse);
    }

    pub fn panic(&self) {
        self.offer(Offer::Panic);
    }

    pub fn hang(&self) {
        self.offer(Offer::Hang);
    }

    fn offer(&self, offer: Offer) {
        self.offer.send(offer).ok().unwrap();
    }

    /// How often anybody has begun to connect.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// When.
    pub fn times(&self) -> Vec<Instant> {
        self.times.lock().unwrap().clone()
    }

    pub async fn is_asked(&self, times: usize) {
        until("the source is asked", async || self.asked() >= times).await;
    }

    pub fn connect(&self) -> impl Fn() -> Connecting + Send + Sync + use<> {
        let source = self.clone();
        move || {
            source.asked.fetch_add(1, Ordering::SeqCst);
            source.times.lock().unwrap().push(Instant::now());
            let offers = Arc::clone(&source.offers);
            Box::pin(async move {
                let offer = offers.lock().await.recv().await;
                match offer.unwrap() {
                    Offer::Line(mut pushed) => {
                        let pushes = stream::poll_fn(move |cx| pushed.poll_recv(cx));
                        Ok(pushes.map(Push::taken).boxed())
                    }
                    Offer::Refuse => Err(LoadError::permanent("not today")),
                    Offer::Panic => panic!("a host's mistake"),
                    Offer::Hang => std::future::pending().await,
                }
            })
        }
    }
}

impl Push {
    fn taken(self) -> Result<FeedChange<String>, LoadError> {
        match self {
            Self::Change(change) => Ok(change),
            Self::Error => Err(LoadError::transient("reset by peer")),
            Self::Panic => panic!("a host's mistake"),
        }
    }
}

impl Line {
    pub async fn push(&self, change: FeedChange<String>) {
        self.send(Push::Change(change)).await;
    }

    pub async fn set(&self, key: &str, value: &str) {
        self.push(FeedChange::set(key, text(value))).await;
    }

    pub async fn send(&self, push: Push) {
        self.0.send(push).await.ok().unwrap();
    }

    pub fn has_been_dropped(&self) -> bool {
        self.0.is_closed()
    }

    /// Waits until the stream has been dropped.
    pub async fn is_dropped(&self) {
        let dropped = tokio::time::timeout(super::world::SOON, self.0.closed());
        dropped.await.unwrap();
    }
}

/// Waits until so many changes have been dealt with.
pub async fn dealt_with(feed: &Feed, changes: u64) {
    let done = |stats: FeedStats| stats.applied + stats.failed;
    let is_done = async || done(feed.stats()) >= changes;
    until("the changes are dealt with", is_done).await;
}

/// Waits until a feed knows that it is not connected.
pub async fn lost(feed: &Feed) {
    let in_gap = async || matches!(feed.state(), FeedState::Gap { .. });
    until("the connection is lost", in_gap).await;
}

/// A pace for tests.
pub fn quick() -> Retry {
    Retry::default().base(ms(1)).cap(ms(1))
}

/// A feed at that pace.
pub fn start(users: &Cache<String>, source: &Pushes) -> Feed {
    users.feed(source.connect()).retry(quick()).start().unwrap()
}

/// A feed that is connected.
pub async fn connected(users: &Cache<String>) -> (Pushes, Line, Feed) {
    let source = Pushes::new();
    let line = source.accept();
    let feed = start(users, &source);
    feed.connected().await.unwrap();
    (source, line, feed)
}
