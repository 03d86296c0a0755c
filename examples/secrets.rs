//! A vault for tokens: what lies on the disk says nothing, and each claim is checked as it is made.
//!
//! `cargo run --release --example secrets` fails if any of it is untrue.

#![allow(clippy::indexing_slicing, reason = "an example says what must be")]

use std::path::Path;
use std::time::{Duration, Instant};

use larder::secret::{FileKey, KeyProvider, Secret};
use larder::{Cache, DegradedReason, Durability, Error, Larder};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// How many tokens there are.
const TOKENS: usize = 5_000;
/// Long enough for anything here.
const SOON: Duration = Duration::from_secs(30);

#[tokio::main]
async fn main() -> Outcome<()> {
    let home = tempfile::tempdir()?;
    let (store, keys) = (home.path().join("secrets"), home.path().join("keys"));
    std::fs::create_dir(&keys)?;
    let key = |name: &str| FileKey::new(keys.join(name)).create();

    println!("1. {TOKENS} tokens are stored under a key of 32 random bytes, in a file of its own");
    let larder = start(&store, key("first")).await?;
    let tokens: Cache<Secret<String>> = larder.secure("tokens")?;
    let items = (0..TOKENS).map(|n| (name(n), token(n)));
    let report = tokens.set_many(items.collect::<Vec<_>>()).await?;
    check(report.applied == TOKENS, "every token is stored")?;
    larder.flush(Durability::Synced).await?;
    println!("   a token shows itself as {:?}", token(7));

    println!("2. the directory holds neither names nor values");
    let size = nothing_readable_in(&store)?;
    println!("   {} KiB were searched", size / 1024);

    println!("3. the master key is rotated while tokens are read and written");
    rotate(&larder, &tokens, key("second")).await?;
    larder.shutdown(SOON).await?;
    match start(&store, key("first")).await {
        Err(Error::Open { reason, .. }) => println!("   the first key: {reason}"),
        _ => return Err("the first key still opens the store".into()),
    }

    println!("4. a record is edited on the disk");
    tamper(&store, key("second")).await?;

    println!("5. the keys are destroyed");
    shred(&store, key("second")).await?;
    println!("all of it is true");
    Ok(())
}

async fn start(store: &Path, key: impl KeyProvider) -> Result<Larder, Error> {
    Larder::builder().secure(store, key).start().await
}

fn name(n: usize) -> String {
    format!("user-{n}@example.org")
}

fn token(n: usize) -> Secret<String> {
    Secret::new(format!("eyJhbGciOiJIUzI1NiJ9.{n:08}.signature"))
}

/// Everybody reads and writes while everything is sealed anew.
async fn rotate(
    larder: &Larder,
    tokens: &Cache<Secret<String>>,
    key: impl KeyProvider,
) -> Outcome<()> {
    let began = Instant::now();
    let rotation = larder.driver("secure")?.rotate_key(key).await?;
    let (mut reads, mut n) = (0, 0);
    while rotation.progress().is_under_way {
        n = (n + 37) % TOKENS;
        let found = tokens.get(&name(n)).await?.ok_or("a token is missing")?;
        check(
            found.expose() == token(n).expose(),
            "a token is another one",
        )?;
        tokens.set(&name(n), token(n)).await?;
        reads += 1;
    }
    let done = rotation.finished().await?;
    println!(
        "   {} records were sealed anew in {:.1?}, beside {reads} reads and writes",
        done.resealed,
        began.elapsed()
    );
    for n in 0..TOKENS {
        check(tokens.get(&name(n)).await?.is_some(), "a token was lost")?;
    }
    Ok(())
}

/// Somebody with the disk, and no key, edits a record so that every checksum is right.
async fn tamper(store: &Path, key: impl KeyProvider) -> Outcome<()> {
    {
        let db = fjall::Database::builder(store.join("store")).open()?;
        let records = db.keyspace("larder", Default::default)?;
        let sealed = records.prefix("rs").next().ok_or("there is no record")?;
        let (place, record) = sealed.into_inner()?;
        let mut record = record.to_vec();
        *record.last_mut().ok_or("an empty record")? ^= 1;
        let sum = checksum(&place[1..], &record).to_le_bytes();
        record[4..8].copy_from_slice(&sum);
        records.insert(place, record)?;
        db.persist(fjall::PersistMode::SyncAll)?;
    }
    let larder = start(store, key).await?;
    let tokens: Cache<Secret<String>> = larder.secure("tokens")?;
    let mut refused = Vec::new();
    for n in 0..TOKENS {
        let outcome = tokens.get(&name(n)).outcome().await?;
        match outcome.entry {
            Some(entry) => check(
                entry.expose() == token(n).expose(),
                "a token is another one",
            )?,
            None => refused.extend(outcome.degraded),
        }
    }
    check(refused.len() == 1, "exactly one record is refused")?;
    check(
        refused[0].reason == DegradedReason::Refused,
        "it is said why",
    )?;
    println!(
        "   the other {} are as they were; for that one: {:?}",
        TOKENS - 1,
        refused[0]
    );
    Ok(larder.shutdown(SOON).await?)
}

/// As FORMAT.md has it.
fn checksum(key: &[u8], record: &[u8]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(&(key.len() as u64).to_le_bytes());
    sum.update(key);
    sum.update(&record[..4]);
    sum.update(&record[8..]);
    sum.finalize()
}

/// Whoever has the master key has nothing any more.
async fn shred(store: &Path, key: FileKey) -> Outcome<()> {
    let larder = start(store, key.clone()).await?;
    let tokens: Cache<Secret<String>> = larder.secure("tokens")?;
    check(
        tokens.get(&name(1)).await?.is_some(),
        "a token is there before",
    )?;
    let began = Instant::now();
    larder.driver("secure")?.shred().await?;
    println!("   after {:.1?} nobody can read them", began.elapsed());
    check(
        tokens.get(&name(1)).await?.is_none(),
        "memory has forgotten it",
    )?;
    larder.shutdown(SOON).await?;
    let larder = start(store, key).await?;
    let tokens: Cache<Secret<String>> = larder.secure("tokens")?;
    for n in 0..TOKENS {
        check(tokens.get(&name(n)).await?.is_none(), "no token comes back")?;
    }
    tokens
        .set("a new beginning", token(1))
        .durability(Durability::Written)
        .await?;
    check(
        tokens.get("a new beginning").await?.is_some(),
        "the store goes on",
    )?;
    println!("   the store is empty, and goes on under keys of its own");
    Ok(larder.shutdown(SOON).await?)
}

/// How many bytes were searched.
fn nothing_readable_in(dir: &Path) -> Outcome<usize> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            bytes += nothing_readable_in(&path)?;
            continue;
        }
        let contents = std::fs::read(&path)?;
        for text in ["eyJhbGciOiJIUzI1NiJ9", "example.org", "user-", "tokens"] {
            let is_there = contents.windows(text.len()).any(|w| w == text.as_bytes());
            check(!is_there, &format!("{text:?} is in {}", path.display()))?;
        }
        bytes += contents.len();
    }
    Ok(bytes)
}

fn check(is_true: bool, what: &str) -> Outcome<()> {
    match is_true {
        true => Ok(()),
        false => Err(format!("not so: {what}").into()),
    }
}
