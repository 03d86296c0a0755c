//! larder in a tokio program: memory over a disk, and what is there after a restart.
#![allow(clippy::expect_used, reason = "an example says what must be")]

use std::path::Path;
use std::time::Duration;

use larder::{Cache, Durability, Error, Larder, Source};
use serde::{Deserialize, Serialize};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct User {
    name: String,
    visits: u32,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = tempfile::tempdir()?;
    let version = first_run(directory.path()).await?;
    second_run(directory.path(), version).await?;
    Ok(())
}

async fn first_run(directory: &Path) -> Result<larder::Version, Error> {
    let larder = Larder::builder().disk(directory).start().await?;
    let users: Cache<User> = larder.cache("users")?;
    let ada = User {
        name: "Ada".into(),
        visits: 1,
    };
    let first = users.set("42", ada).ttl(Duration::from_secs(3_600)).await?;

    // Nobody can overwrite what they have not seen.
    let ada = User {
        name: "Ada".into(),
        visits: 2,
    };
    let seen = users.set("42", ada).if_version(first).tag("team:7");
    let second = seen.durability(Durability::Synced).await?;
    let late = User {
        name: "Eve".into(),
        visits: 1,
    };
    let refused = users.set("42", late).if_version(first).await;
    assert!(matches!(refused, Err(Error::Conflict { current }) if current == Some(second)));

    larder.shutdown(Duration::from_secs(5)).await?;
    Ok(second)
}

async fn second_run(directory: &Path, version: larder::Version) -> Result<(), Error> {
    let larder = Larder::builder().disk(directory).start().await?;
    let users: Cache<User> = larder.cache("users")?;
    let ada = users.get("42").await?.expect("it was synced");
    assert_eq!((ada.visits, ada.version()), (2, version));
    assert_eq!(ada.source(), Source::Disk);
    println!("after a restart: {:?}, from {:?}", *ada, ada.source());

    users.remove_tag("team:7").await?;
    assert!(users.get("42").await?.is_none());
    println!("after its tag was removed: a miss");
    larder.shutdown(Duration::from_secs(5)).await
}
