//! larder in a program without a runtime: it brings its own threads.
#![allow(clippy::expect_used, reason = "an example says what must be")]

use std::time::Duration;

use larder::{Cache, Larder};

fn main() -> Result<(), larder::Error> {
    let larder = Larder::builder().memory_bytes(16 << 20).start_blocking()?;
    let capitals: Cache<String> = larder.cache("capitals")?;

    let found = larder.block_on(async {
        capitals.set("it", "Roma".to_owned()).await?;
        capitals.set("fr", "Paris".to_owned()).await?;
        capitals.get("it").await
    })??;

    let roma = found.expect("it was just set");
    assert_eq!(*roma, "Roma");
    println!(
        "it: {} ({}, from {:?})",
        *roma,
        roma.version(),
        roma.source()
    );
    larder.block_on(larder.shutdown(Duration::from_secs(5)))?
}
