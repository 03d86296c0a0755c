//! What compression saves of answers of APIs, and what it costs: bytes, and CPU of the whole process for each
//! record that is stored (`Written`), beside the same without. The least of several turns counts.
//!
//! `cargo bench -p larder-bench --bench compression`; `-- quick` for a fifth of it. The documents are made from
//! fixed seeds: no two are alike, and identifiers, numbers and times in them are random.

use std::time::Duration;

use larder::{Cache, Compression, Durability, Larder};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

/// Documents of a corpus.
const DOCUMENTS: usize = 300;
/// Records that are stored between two readings of the clock.
const RECORDS: usize = 3_000;
/// Turns that each contender has; the first is dropped.
const ROUNDS: usize = 6;

/// splitmix64: the same documents everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn of<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[self.below(words.len() as u64) as usize]
    }

    fn hex(&mut self, digits: usize) -> String {
        let all = format!("{:016x}{:016x}", self.next(), self.next());
        all[..digits].to_owned()
    }

    fn uuid(&mut self) -> String {
        let h = self.hex(32);
        format!(
            "{}-{}-4{}-a{}-{}",
            &h[..8],
            &h[8..12],
            &h[13..16],
            &h[17..20],
            &h[20..]
        )
    }

    fn time(&mut self) -> String {
        format!(
            "202{}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
            self.below(6),
            1 + self.below(12),
            1 + self.below(28),
            self.below(24),
            self.below(60),
            self.below(60),
            self.below(1_000)
        )
    }
}

const FIRST: &str = "Ada Grace Alan Barbara Edsger Donald Margaret Katherine Dorothy Tim Vint Radia Hedy \
    Karen Frances Jean Adele Shafi Silvio Whitfield Martin Ron Leonard Adi Leslie Butler Niklaus Tony Robin John \
    Amina Chidi Yuki Haruto Mei Lin Priya Arjun Fatima Omar Sofia Mateo Lucia Diego Ines Joao Olga Dmitri \
    Anneke Bram Saskia Freya Lars Ingrid Aoife Cillian Siobhan Rhys Carys Elif Emre Zeynep Noa Eitan Tamar";
const LAST: &str = "Lovelace Hopper Turing Liskov Dijkstra Knuth Hamilton Johnson Vaughan Berners Cerf Perlman \
    Lamarr Jones Allen Sammet Goldberg Goldwasser Micali Diffie Hellman Rivest Adleman Shamir Lamport Lampson Wirth \
    Hoare Milner McCarthy Okafor Nwosu Tanaka Sato Suzuki Chen Wang Zhang Sharma Patel Khan Hassan Garcia Martinez \
    Rodriguez Fernandez Silva Santos Ivanova Petrov Visser Bakker Jansen Nielsen Hansen Larsen Murphy Kelly Byrne \
    Evans Davies Yilmaz Demir Kaya Levi Cohen Mizrahi";
const CITIES: &str = "Lisbon Porto Madrid Sevilla Lyon Nantes Gent Utrecht Groningen Aarhus Bergen Malmo Turku \
    Tartu Riga Vilnius Gdansk Brno Graz Linz Basel Turin Bari Split Varna Izmir Haifa Tunis Accra Nairobi Kigali \
    Durban Pune Kochi Hanoi Cebu Osaka Busan Perth Hobart Quito Cusco Rosario Recife Bogota Merida Austin Tacoma";

fn words(text: &'static str) -> Vec<&'static str> {
    text.split_whitespace().collect()
}

/// A page of users, as an API lists them.
fn users(random: &mut Random) -> Value {
    let (first, last, cities) = (words(FIRST), words(LAST), words(CITIES));
    let users: Vec<Value> = (0..24 + random.below(30))
        .map(|_| {
            let (a, b) = (random.of(&first), random.of(&last));
            let handle = format!("{}.{}{}", a.to_lowercase(), b.to_lowercase(), random.below(1_000));
            json!({
                "id": random.uuid(),
                "name": format!("{a} {b}"),
                "email": format!("{handle}@{}", random.of(&["example.com", "mail.example.org", "corp.example"])),
                "username": handle,
                "phone": format!("+{} {} {:07}", 1 + random.below(90), 100 + random.below(900), random.below(10_000_000)),
                "created_at": random.time(),
                "updated_at": random.time(),
                "last_login_ip": format!("{}.{}.{}.{}", random.below(224), random.below(256), random.below(256), random.below(256)),
                "is_active": random.below(5) > 0,
                "is_verified": random.below(3) > 0,
                "roles": if random.below(6) == 0 { json!(["member", "admin"]) } else { json!(["member"]) },
                "address": {
                    "street": format!("{} {} Street", 1 + random.below(400), random.of(&last)),
                    "city": random.of(&cities),
                    "postal_code": format!("{:05}", random.below(100_000)),
                    "coordinates": { "lat": random.below(180_000_000) as f64 / 1e6 - 90.0, "lng": random.below(360_000_000) as f64 / 1e6 - 180.0 },
                },
                "stats": { "posts": random.below(3_000), "followers": random.below(90_000), "score": random.below(10_000) as f64 / 100.0 },
                "avatar_url": format!("https://cdn.example.com/avatars/{}.png?s=128", random.hex(20)),
            })
        })
        .collect();
    json!({ "data": users, "page": random.below(500), "per_page": users.len(), "total": 12_000 + random.below(9_000), "request_id": random.uuid() })
}

/// Sentences that people have written.
fn sentences() -> Vec<&'static str> {
    let prose = concat!(
        include_str!("../../SEMANTICS.md"),
        include_str!("../../ARCHITECTURE.md"),
        include_str!("../../CONTRIBUTING.md"),
        include_str!("../../CHANGELOG.md")
    );
    let sentences = prose.split(['.', '|', '\n']).map(str::trim);
    sentences.filter(|s| (40..160).contains(&s.len())).collect()
}

/// A page of a catalogue: mostly descriptions. No sentence stands in a document twice.
fn catalogue(random: &mut Random) -> Value {
    let (mut pool, last) = (sentences(), words(LAST));
    let mut sentence = move |random: &mut Random| {
        let at = random.below(pool.len() as u64) as usize;
        format!("{}. ", pool.swap_remove(at))
    };
    let products: Vec<Value> = (0..14 + random.below(16))
        .map(|_| {
            let description: String = (0..3 + random.below(4)).map(|_| sentence(random)).collect();
            json!({
                "sku": format!("{}-{:06}", random.hex(4).to_uppercase(), random.below(1_000_000)),
                "title": sentence(random),
                "brand": random.of(&last),
                "description": description,
                "price": { "amount": random.below(90_000) as f64 / 100.0, "currency": random.of(&["EUR", "USD", "GBP"]) },
                "stock": random.below(400),
                "rating": { "average": random.below(50) as f64 / 10.0, "count": random.below(4_000) },
                "dimensions_mm": [random.below(900), random.below(900), random.below(900)],
                "tags": [random.of(&["home", "garden", "office"]), random.of(&["new", "sale", "classic"])],
                "images": [format!("https://img.example.com/p/{}/large.jpg", random.hex(12)), format!("https://img.example.com/p/{}/thumb.jpg", random.hex(12))],
                "updated_at": random.time(),
            })
        })
        .collect();
    json!({ "products": products, "next": random.hex(24) })
}

/// What a service logged: identifiers and times, deep in each other.
fn events(random: &mut Random) -> Value {
    let began = 1_700_000_000_000 + random.below(40_000_000_000);
    let mut at = began;
    let events: Vec<Value> = (0..40 + random.below(50))
        .map(|n| {
            at += random.below(900);
            let took = random.below(250_000);
            let status = [200, 200, 200, 201, 204, 304, 404, 500][random.below(8) as usize];
            json!({
                "seq": n,
                "timestamp": at,
                "level": random.of(&["info", "info", "info", "warn", "error", "debug"]),
                "trace": { "trace_id": random.hex(32), "span_id": random.hex(16), "sampled": random.below(10) == 0 },
                "source": { "service": random.of(&["gateway", "orders", "billing", "search", "mailer"]), "host": format!("ip-10-{}-{}-{}", random.below(4), random.below(256), random.below(256)), "version": format!("4.{}.{}", random.below(20), random.below(10)) },
                "http": { "method": random.of(&["GET", "GET", "POST", "PUT", "DELETE"]), "path": format!("/v2/orders/{}/items/{}", random.below(9_000_000), random.below(60)), "status": status, "bytes": random.below(80_000), "duration_us": took },
                "user": { "id": random.below(4_000_000), "session": random.hex(24) },
                "message": format!("request finished in {}.{:03} ms with status {status}", took / 1_000, took % 1_000),
            })
        })
        .collect();
    json!({ "stream": random.uuid(), "from": began, "to": at, "events": events })
}

/// CPU that the process has used.
fn cpu() -> Duration {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(used.tv_sec as u64, used.tv_nsec as u32)
}

fn contenders() -> Vec<(&'static str, Compression)> {
    vec![
        ("none", Compression::None),
        ("zstd -1", Compression::Zstd { level: -1 }),
        ("zstd 1", Compression::Zstd { level: 1 }),
        ("zstd 3", Compression::Zstd { level: 3 }),
        ("lz4", Compression::Lz4),
    ]
}

/// CPU microseconds for each record of one turn, and what it saved.
async fn turn<V: larder::Value + Clone>(
    documents: &[V],
    compression: Compression,
    records: usize,
    callers: usize,
    open: fn(larder::CacheBuilder<V>) -> larder::CacheBuilder<V>,
) -> (f64, f64) {
    let dir = tempfile::tempdir().expect("a directory");
    let larder = Larder::builder()
        .disk(dir.path())
        .start()
        .await
        .expect("it starts");
    let cache: Cache<V> = open(larder.cache_builder("answers"))
        .compression(compression)
        .open()
        .expect("it opens");
    // What is set is made beforehand.
    let mut work: Vec<Vec<(String, V)>> = vec![Vec::new(); callers];
    for n in 0..records {
        work[n % callers].push((
            format!("answer/{n}"),
            documents[n % documents.len()].clone(),
        ));
    }
    let before = cpu();
    let tasks: Vec<_> = work
        .into_iter()
        .map(|work| {
            let cache = cache.clone();
            tokio::spawn(async move {
                for (key, value) in work {
                    let set = cache.set(&key, value).durability(Durability::Written);
                    set.await.expect("it is stored");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("it ends");
    }
    let used = cpu() - before;
    let stats = larder.stats().await.expect("it runs").compression;
    let saved = match stats.bytes_before {
        0 => 0.0,
        before => 1.0 - stats.bytes_after as f64 / before as f64,
    };
    larder
        .shutdown(Duration::from_secs(60))
        .await
        .expect("it ends");
    (used.as_secs_f64() * 1e6 / records as f64, saved)
}

async fn scene<V: larder::Value + Clone>(
    name: &str,
    documents: &[V],
    records: usize,
    callers: usize,
    open: fn(larder::CacheBuilder<V>) -> larder::CacheBuilder<V>,
) {
    let contenders = contenders();
    let mut costs = vec![Vec::new(); contenders.len()];
    let mut saved = vec![0.0; contenders.len()];
    for round in 0..ROUNDS {
        let mut order: Vec<usize> = (0..contenders.len()).collect();
        order.rotate_left(round % contenders.len());
        for at in order {
            let (cost, saves) = turn(documents, contenders[at].1, records, callers, open).await;
            saved[at] = saves;
            if round > 0 {
                costs[at].push(cost);
            }
        }
    }
    // What else the machine does only adds to it.
    let least = |costs: &Vec<f64>| costs.iter().copied().fold(f64::INFINITY, f64::min);
    for (at, (contender, _)) in contenders.iter().enumerate() {
        let (cost, none) = (least(&costs[at]), least(&costs[0]));
        println!(
            "{name:<24} {callers:>2} callers  {contender:<8} saved {:>5.1} %  cpu {cost:>6.1} us a record  {:>+6.1} %",
            100.0 * saved[at],
            100.0 * (cost / none - 1.0),
        );
    }
}

fn main() {
    let quick = std::env::args().any(|arg| arg == "quick");
    let records = if quick { RECORDS / 5 } else { RECORDS };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    type Make = fn(&mut Random) -> Value;
    let corpora: [(&str, Make); 3] = [
        ("users", users),
        ("catalogue", catalogue),
        ("events", events),
    ];
    for (name, make) in corpora {
        let mut random = Random(name.len() as u64);
        let values: Vec<Value> = (0..DOCUMENTS).map(|_| make(&mut random)).collect();
        let texts: Vec<String> = values.iter().map(Value::to_string).collect();
        let bytes: usize = texts.iter().map(String::len).sum();
        let least = texts.iter().map(String::len).min().unwrap_or(0);
        println!(
            "{name}: {} documents of {} bytes on average, {least} at least",
            texts.len(),
            bytes / texts.len()
        );
        for callers in [1, 64] {
            let text = format!("{name}, text");
            runtime.block_on(scene(&text, &texts, records, callers, |builder| builder));
        }
        let json = format!("{name}, value as JSON");
        runtime.block_on(scene(&json, &values, records, 1, |builder| {
            builder.codec(larder::codec::Json)
        }));
    }
}
