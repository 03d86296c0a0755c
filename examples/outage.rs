//! An outage, played out: a profile service fails in one way after the other, while a host goes on asking for
//! profiles 200 times a second, and 2,000 times a second in the worst of it.
//!
//! The service is a real one on loopback. What the host is shown is checked: no answer may be another key's, older than
//! the host allows, or older than one that was shown before. What reaches the service is counted: never more
//! calls than the policy below allows, however many ask. And whatever happens, each request is answered.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use actix_web::body::SizedStream;
use actix_web::dev::ServerHandle;
use actix_web::{App, HttpResponse, HttpServer, get, web};
use futures_util::{StreamExt, stream};
use larder::{Budget, Cache, Entry, Freshness, Larder, LoadContext, LoadError};
use larder::{LoadSource, Retry, SourceConfig};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

type Done<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// What is asked for, one after the other.
const KEYS: usize = 20;
/// The host's users come in once a tick: one of them, or ten where it says so.
const TICK: Duration = Duration::from_millis(5);

/// Short, so that there is always something to load.
const TTL: Duration = Duration::from_millis(300);
/// Whoever finds something that has expired waits so long for something better ...
const SOFT: Duration = Duration::from_millis(50);
/// ... and is shown what has expired this long ago. No outage here takes longer.
const STALE: Duration = Duration::from_secs(8);
/// Longer than anything here takes: nobody is to meet it.
const DEADLINE: Duration = Duration::from_secs(5);
/// A key that could not be loaded is left alone for so long.
const THROTTLE: Duration = Duration::from_millis(300);
/// How often a load is tried, and the most that it waits before the second time.
const ATTEMPTS: u32 = 3;
const RETRY_BASE: Duration = Duration::from_millis(20);
/// One call of the service may take so long in all: connecting, and each read, less.
const CALL: Duration = Duration::from_millis(600);
const CONNECT: Duration = Duration::from_millis(200);
const READ: Duration = Duration::from_millis(500);
/// The longest answer that is read.
const ANSWER_BYTES_MAX: usize = 4_096;

/// Calls of the service at once.
const CALLS_IN_FLIGHT: u32 = 4;
/// So many failures in a row open the breaker; so many among the last ten do, too, so that answers that were on
/// their way when the service failed make no difference.
const FAILURES: u32 = 5;
/// How long it is left alone: half of this at least; after a probe that fails twice as long, up to the most.
const PAUSE_MS: u64 = 300;
const PAUSE_MS_MAX: u64 = 600;

/// How long the service takes when it is slow, and how long before the breaker calls it that.
const SLOW: Duration = Duration::from_millis(400);
const SLOW_FROM_MS: u64 = 300;
/// Between two bytes of an answer in drips: each comes soon, and all 19 of them after more than [`CALL`].
const DRIP: Duration = Duration::from_millis(60);
/// How long it is well, and how long it is not, when it flaps.
const FLAP: Duration = Duration::from_millis(400);
/// What it asks for with a 429.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Once it is well again, all keys are fresh again within the longest pause, the throttle and a TTL. A busy machine
/// gets more.
const RECOVERY: Duration = Duration::from_secs(5);
/// A machine that is busy with other things may let a process stand still for so long.
const HICCUP: Duration = Duration::from_millis(500);

/// How the service is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mood {
    Well,
    Slow,
    Drips,
    Flaps,
    Busy,
    Broken,
    Resets,
    Dead,
}

struct Phase {
    name: &'static str,
    mood: Mood,
    ticks: u32,
    allows: Allows,
}

/// How many calls may reach the service in a phase of this length.
type Allows = fn(Duration) -> u64;

const PHASES: [Phase; 9] = [
    phase("well", Mood::Well, 1_400, allows::well),
    phase("slow, 400 ms each", Mood::Slow, 2_100, allows::slow),
    phase("in drips, over 1 s", Mood::Drips, 2_000, allows::failing),
    phase("fails on and off", Mood::Flaps, 2_300, allows::flapping),
    phase("429, Retry-After: 1", Mood::Busy, 1_800, allows::busy),
    phase(
        "500, ten times the users",
        Mood::Broken,
        1_600,
        allows::failing,
    ),
    phase("resets connections", Mood::Resets, 1_500, allows::failing),
    phase("nobody listens", Mood::Dead, 1_500, allows::failing),
    phase("well again", Mood::Well, 1_400, allows::well),
];
const fn phase(name: &'static str, mood: Mood, ms: u32, allows: Allows) -> Phase {
    Phase {
        name,
        mood,
        ticks: ms / TICK.as_millis() as u32,
        allows,
    }
}

/// Before, between and after them it is well.
const REST: usize = PHASES.len();

/// The policy: how many calls may reach the service in so long a time. A second attempt is a call like any other, so
/// retries multiply nothing.
mod allows {
    use super::*;

    /// How often that goes into it, the one that has begun included.
    fn times(took: Duration, each: Duration) -> u64 {
        took.as_millis() as u64 / each.as_millis() as u64 + 1
    }

    /// One load of each key in a TTL, whoever asks.
    pub fn well(took: Duration) -> u64 {
        KEYS as u64 * times(took, TTL)
    }

    /// Each place is taken for as long as the service takes.
    pub fn slow(took: Duration) -> u64 {
        u64::from(CALLS_IN_FLIGHT) * times(took, SLOW)
    }

    /// What it takes to open the breaker, with the other places taken; then a probe after each pause.
    pub fn failing(took: Duration) -> u64 {
        u64::from(FAILURES + CALLS_IN_FLIGHT - 1) + probes(took)
    }

    /// Each time it fails, as above, and as if it were well in between.
    pub fn flapping(took: Duration) -> u64 {
        times(took, 2 * FLAP) * (failing(FLAP) + well(FLAP))
    }

    /// The first that is told so speaks for all. One probe each time that its time is over.
    pub fn busy(took: Duration) -> u64 {
        u64::from(CALLS_IN_FLIGHT) + times(took, RETRY_AFTER)
    }

    fn probes(took: Duration) -> u64 {
        let (mut at_ms, mut pause_ms, mut probes) = (0, PAUSE_MS, 0);
        while at_ms <= took.as_millis() as u64 {
            at_ms += pause_ms / 2;
            pause_ms = (2 * pause_ms).min(PAUSE_MS_MAX);
            probes += 1;
        }
        probes
    }
}

/// A profile says whose it is and when it was made, by the service's clock: it is another one each time.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Profile {
    id: u64,
    made_us: u64,
}

/// The service: how it is, where it is, and how often it has been called in each phase.
struct Service {
    born: Instant,
    now: Mutex<Now>,
    calls: [AtomicU64; PHASES.len() + 1],
}

#[derive(Clone, Copy)]
struct Now {
    phase: usize,
    since: Instant,
    address: SocketAddr,
}

impl Service {
    fn now(&self) -> Now {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_us(&self) -> u64 {
        self.born.elapsed().as_micros() as u64
    }

    fn turns(&self, phase: usize, address: SocketAddr) {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        (now.phase, now.since, now.address) = (phase, Instant::now(), address);
    }

    /// Somebody calls. How it is answered.
    fn called(&self) -> Mood {
        let now = self.now();
        if let Some(calls) = self.calls.get(now.phase) {
            calls.fetch_add(1, Ordering::Relaxed);
        }
        let flaps = now.since.elapsed().as_millis() / FLAP.as_millis();
        match mood(now.phase) {
            Mood::Flaps if flaps.is_multiple_of(2) => Mood::Broken,
            Mood::Flaps => Mood::Well,
            mood => mood,
        }
    }
}

fn mood(phase: usize) -> Mood {
    PHASES.get(phase).map_or(Mood::Well, |phase| phase.mood)
}

#[get("/profiles/{id}")]
async fn profile(service: web::Data<Service>, id: web::Path<u64>) -> HttpResponse {
    let made = || format!("{:03} {:015}", *id, service.now_us());
    if mood(service.now().phase) == Mood::Dead {
        // As good as: it is being stopped, and its calls are counted by who makes them.
        return HttpResponse::InternalServerError().finish();
    }
    match service.called() {
        Mood::Well => HttpResponse::Ok().body(made()),
        Mood::Slow => {
            tokio::time::sleep(SLOW).await;
            HttpResponse::Ok().body(made())
        }
        Mood::Drips => {
            let bytes = made().into_bytes();
            let length = bytes.len() as u64;
            let drips = stream::iter(bytes).then(|byte| async move {
                tokio::time::sleep(DRIP).await;
                Ok::<_, io::Error>(web::Bytes::from(vec![byte]))
            });
            HttpResponse::Ok().body(SizedStream::new(length, Box::pin(drips)))
        }
        Mood::Busy => HttpResponse::TooManyRequests()
            .insert_header(("retry-after", RETRY_AFTER.as_secs()))
            .finish(),
        _ => HttpResponse::InternalServerError().finish(),
    }
}

/// The service's process, which can be killed and started, and something that resets whoever connects.
struct Stage {
    service: Arc<Service>,
    running: Option<(ServerHandle, SocketAddr)>,
    resets_at: SocketAddr,
}

impl Stage {
    async fn new() -> Done<Self> {
        let resets = TcpListener::bind("127.0.0.1:0").await?;
        let resets_at = resets.local_addr()?;
        let service = Arc::new(Service {
            born: Instant::now(),
            now: Mutex::new(Now {
                phase: REST,
                since: Instant::now(),
                address: resets_at,
            }),
            calls: Default::default(),
        });
        let called = Arc::clone(&service);
        // Until the runtime ends.
        tokio::spawn(async move {
            while let Ok((stream, _)) = resets.accept().await {
                called.called();
                // Closed like this it is not ended but reset.
                let _ = stream.set_zero_linger();
            }
        });
        Ok(Self {
            service,
            running: None,
            resets_at,
        })
    }

    /// The service turns to this phase: killed or started anew, where that is what it takes.
    async fn turn(&mut self, phase: usize) -> Done<()> {
        let (server, address) = match self.running.take() {
            Some(running) => running,
            None => serve(&self.service)?,
        };
        let resets = mood(phase) == Mood::Resets;
        self.service
            .turns(phase, if resets { self.resets_at } else { address });
        if mood(phase) == Mood::Dead {
            server.stop(false).await;
        } else {
            self.running = Some((server, address));
        }
        Ok(())
    }
}

fn serve(service: &Arc<Service>) -> Done<(ServerHandle, SocketAddr)> {
    let service = web::Data::from(Arc::clone(service));
    let app = move || App::new().app_data(service.clone()).service(profile);
    let server = HttpServer::new(app).workers(1).bind(("127.0.0.1", 0))?;
    let address = *server.addrs().first().ok_or("bound to no address")?;
    let server = server.disable_signals().run();
    let handle = server.handle();
    tokio::spawn(server);
    Ok((handle, address))
}

/// The loader: one HTTP request, each part of it in its share of the time that there is.
async fn load(cx: LoadContext<Profile>, service: Arc<Service>) -> Result<Profile, LoadError> {
    let Now { phase, address, .. } = service.now();
    if mood(phase) == Mood::Dead {
        // There is nobody who could count it.
        service.called();
    }
    let budget = cx.budget().child(CALL).connect_max(CONNECT).read_max(READ);
    let mut stream = budget.connect(TcpStream::connect(address)).await??;
    let (path, rest) = (cx.key(), "host: localhost\r\nconnection: close\r\n\r\n");
    let request = format!("GET /profiles/{path} HTTP/1.1\r\n{rest}");
    budget.run(stream.write_all(request.as_bytes())).await??;
    let answer = read_all(&budget, stream).await?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("no whole head")?;
    let header = |name: &str| {
        let mut lines = head.lines().filter_map(|line| line.split_once(": "));
        let found = lines.find(|(own, _)| own.eq_ignore_ascii_case(name));
        found.and_then(|(_, value)| value.parse::<u64>().ok())
    };
    match head.split(' ').nth(1) {
        Some("200") if header("content-length") == Some(body.len() as u64) => {
            let (id, made_us) = body.split_once(' ').ok_or("not a profile")?;
            Ok(Profile {
                id: id.parse()?,
                made_us: made_us.parse()?,
            })
        }
        Some("200") => Err("half an answer".into()),
        status => {
            let error = LoadError::transient(format!("status {status:?}"));
            Err(match header("retry-after") {
                Some(seconds) => error.retry_after(Duration::from_secs(seconds)),
                None => error,
            })
        }
    }
}

/// What comes until the other side is done.
async fn read_all(budget: &Budget, mut stream: TcpStream) -> Result<String, LoadError> {
    let mut answer = Vec::new();
    while answer.len() < ANSWER_BYTES_MAX {
        if budget.read(stream.read_buf(&mut answer)).await?? == 0 {
            return Ok(String::from_utf8(answer)?);
        }
    }
    Err("too long an answer".into())
}

/// The host: a cache before the service, and what it has shown of each key.
struct Host {
    profiles: Cache<Profile>,
    source: LoadSource,
    service: Arc<Service>,
    keys: Vec<Arc<Key>>,
}

struct Key {
    id: u64,
    shown_us: AtomicU64,
}

/// How one request was answered: fresh or stale, or what was wrong, and after how long.
type Answer = (Result<Freshness, String>, Duration);

/// What is wrong with an answer that was given meanwhile, if what had been shown before was made then.
fn wrong(
    key: &Key,
    answer: &Entry<Profile>,
    while_us: Range<u64>,
    shown_us: u64,
) -> Option<String> {
    let stale = STALE * u32::from(answer.freshness() == Freshness::Stale);
    let most = (TTL + stale + CALL + HICCUP).as_micros() as u64;
    let (id, made_us) = (answer.id, answer.made_us);
    let wrongs = [
        (id != key.id, "another key's"),
        (made_us > while_us.end, "newer than there is"),
        (while_us.start > made_us + most, "too old"),
        (made_us < shown_us, "older than the one before"),
    ];
    let (_, wrong) = wrongs.into_iter().find(|(is_so, _)| *is_so)?;
    Some(format!("{:?} {answer:?}: {wrong}", **answer))
}

impl Host {
    fn new(larder: &Larder, service: &Arc<Service>) -> Done<Self> {
        let mut config = SourceConfig::default();
        config.calls_in_flight_max = CALLS_IN_FLIGHT as usize;
        config.breaker.consecutive_failures_max = FAILURES;
        config.breaker.window_calls = 2 * FAILURES;
        config.breaker.window_calls_min = FAILURES;
        config.breaker.failure_percent_max = 50;
        config.breaker.slow_ms = SLOW_FROM_MS;
        (config.reopen.ms_min, config.reopen.ms_max) = (PAUSE_MS, PAUSE_MS_MAX);
        let key = |id: u64| Key {
            id,
            shown_us: AtomicU64::new(0),
        };
        Ok(Self {
            profiles: larder.cache("profiles")?,
            source: larder.source_with("profile-api", config)?,
            service: Arc::clone(service),
            keys: (0..KEYS as u64).map(key).map(Arc::new).collect(),
        })
    }

    /// One request of a user.
    async fn ask(self: Arc<Self>, key: Arc<Key>) -> Answer {
        let shown_us = key.shown_us.load(Ordering::Acquire);
        let asked_us = self.service.now_us();
        let service = Arc::clone(&self.service);
        let load = move |cx| load(cx, Arc::clone(&service));
        let name = key.id.to_string();
        let fetch = self.profiles.fetch(&name, load).source(&self.source);
        let fetch = fetch.ttl(TTL).stale_for(STALE).stale_if_error_for(STALE);
        let fetch = fetch.soft_timeout(SOFT).deadline(DEADLINE);
        let retry = Retry::default().attempts(ATTEMPTS).base(RETRY_BASE);
        let outcome = fetch.throttle(THROTTLE).retry(retry).outcome().await;
        let now_us = self.service.now_us();
        let how = match outcome.map(|outcome| outcome.entry) {
            Ok(Some(entry)) => {
                key.shown_us.fetch_max(entry.made_us, Ordering::AcqRel);
                let wrong = wrong(&key, &entry, asked_us..now_us, shown_us);
                wrong.map_or(Ok(entry.freshness()), Err)
            }
            Ok(None) => Err("said to be missing".to_owned()),
            Err(error) => Err(error.to_string()),
        };
        let how = how.map_err(|wrong| format!("key {}: {wrong}", key.id));
        (how, Duration::from_micros(now_us - asked_us))
    }

    /// Users come, once a tick, until `is_over`.
    async fn serve(
        self: &Arc<Self>,
        ticks: u32,
        asks: usize,
        is_over: impl Fn() -> bool,
    ) -> Done<Tally> {
        // What a busy machine has let slip is made up for.
        let mut tick = tokio::time::interval(TICK);
        let mut asked = JoinSet::new();
        let mut keys = self.keys.iter().cycle();
        for _ in 0..ticks {
            tick.tick().await;
            for key in keys.by_ref().take(asks) {
                asked.spawn(Arc::clone(self).ask(Arc::clone(key)));
            }
            if is_over() {
                break;
            }
        }
        let mut tally = Tally::default();
        while let Some(answer) = asked.join_next().await {
            tally.add(answer?);
        }
        Ok(tally)
    }

    /// Users come until each key has been shown as it is now; how long that took.
    async fn recovers(self: &Arc<Self>) -> Done<(Option<Duration>, Tally)> {
        let (began, began_us) = (Instant::now(), self.service.now_us());
        let ticks = RECOVERY.as_millis() / TICK.as_millis();
        let is_new = |key: &Arc<Key>| key.shown_us.load(Ordering::Acquire) > began_us;
        let is_over = || self.keys.iter().all(is_new);
        let tally = self.serve(u32::try_from(ticks)?, 1, is_over).await?;
        Ok((is_over().then(|| began.elapsed()), tally))
    }
}

/// What the answers of one phase come to.
#[derive(Default)]
struct Tally {
    fresh: usize,
    stale: usize,
    wrong: Vec<String>,
    took: Vec<Duration>,
}

impl Tally {
    fn add(&mut self, (how, took): Answer) {
        self.took.push(took);
        match how {
            Ok(Freshness::Fresh) => self.fresh += 1,
            Ok(_) => self.stale += 1,
            Err(wrong) => self.wrong.push(wrong),
        }
    }

    /// So many of a hundred took no longer, in milliseconds.
    fn percentile(&mut self, percent: usize) -> String {
        self.took.sort_unstable();
        let at = (self.took.len() * percent).div_ceil(100).saturating_sub(1);
        let seconds = self.took.get(at).map_or(0.0, Duration::as_secs_f64);
        format!("{:.2}", seconds * 1e3)
    }
}

/// Plays one phase and the rest after it, prints its row, and says what was wrong.
async fn play(at: usize, phase: &Phase, stage: &mut Stage, host: &Arc<Host>) -> Done<Vec<String>> {
    let began = Instant::now();
    stage.turn(at).await?;
    let asks = if phase.mood == Mood::Broken { 10 } else { 1 };
    let mut tally = host.serve(phase.ticks, asks, || false).await?;
    stage.turn(REST).await?;
    let allowed = (phase.allows)(began.elapsed());
    let calls = stage.service.calls.get(at);
    let calls = calls.map_or(0, |calls| calls.load(Ordering::Relaxed));
    let (mut wrong, mut recovered) = (tally.wrong.clone(), String::new());
    if calls == 0 || calls > allowed {
        wrong.push(format!("{calls} calls, 1 to {allowed} are allowed"));
    }
    if phase.mood != Mood::Well {
        let (after, rest) = host.recovers().await?;
        wrong.extend(rest.wrong);
        match after {
            Some(after) => recovered = format!("{} ms", after.as_millis()),
            None => wrong.push(format!("not all fresh again within {RECOVERY:?}")),
        }
    }
    let [half, most] = [50, 99].map(|percent| tally.percentile(percent));
    let (name, asked, failed) = (phase.name, tally.took.len(), tally.wrong.len());
    let Tally { fresh, stale, .. } = tally;
    print!("{name:<24}{asked:>9}{fresh:>7}{stale:>7}{failed:>7}{calls:>7}");
    println!("{allowed:>9}{half:>9}{most:>9}{recovered:>13}");
    let named = |wrong: String| format!("{}: {wrong}", phase.name);
    Ok(wrong.into_iter().map(named).collect())
}

/// Plays them all, and says what was wrong.
async fn play_all(larder: &Larder) -> Done<Vec<String>> {
    let mut stage = Stage::new().await?;
    let host = Arc::new(Host::new(larder, &stage.service)?);
    stage.turn(REST).await?;
    // What is known to nobody yet has nothing stale to be shown instead: that is another matter.
    host.recovers().await?;
    println!("A host asks for {KEYS} profiles, 200 times a second, each with a TTL of {TTL:?}.\n");
    println!(
        "the service              requests  fresh  stale failed  calls  at most   p50 ms   p99 ms  fresh again"
    );
    let mut wrong = Vec::new();
    for (at, phase) in PHASES.iter().enumerate() {
        wrong.extend(play(at, phase, &mut stage, &host).await?);
    }
    println!(
        "\n  stale        it had expired, less than {STALE:?} before\n  \
         calls        those that reached the service, or tried to, and how many its policy allows\n  \
         fresh again  so long after the service was well again, each profile had been shown as it was now\n"
    );
    let stats = host.source.stats();
    println!(
        "{} calls in all, {} of them failed. The breaker opened {} times and kept {} loads from the service.",
        stats.calls, stats.failures, stats.breaker.opened, stats.refused
    );
    if let Some((server, _)) = stage.running.take() {
        server.stop(false).await;
    }
    Ok(wrong)
}

#[tokio::main]
async fn main() -> Done<ExitCode> {
    let larder = Larder::builder().start().await?;
    let wrong = play_all(&larder).await?;
    larder.shutdown(Duration::from_secs(5)).await?;
    if wrong.is_empty() {
        println!("No answer was wrong or missing, and no call was made that was not allowed.");
        return Ok(ExitCode::SUCCESS);
    }
    let some: Vec<_> = wrong.iter().take(20).map(String::as_str).collect();
    eprintln!("{} things went wrong:\n{}", wrong.len(), some.join("\n"));
    Ok(ExitCode::FAILURE)
}
