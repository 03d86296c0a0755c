//! A tour of larder on a real access trace. Run it with `cargo run --release --example tour`.
//!
//! Each scene is a file of its own, prints one table and checks what it claims; the program fails if
//! a claim does not hold.

mod child;
mod keeper;
mod replay;
mod scenes;
mod screen;
mod shop;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use screen::Screen;
use shop::Trace;

/// What goes wrong in a scene.
type Failed = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.split_first() {
        Some((role, rest)) => child::play(role, rest).await.map(|()| true),
        None => tour().await,
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("the tour ended early: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Every scene in turn; whether every claim held.
async fn tour() -> Result<bool, Failed> {
    let began = Instant::now();
    let trace = Arc::new(Trace::load()?);
    let mut screen = Screen::default();
    println!(
        "larder tour: {} real requests for {} pages of a web shop, {} at a time,\n\
         from an origin that takes {} ms for each page of about 1 KB",
        screen::grouped(trace.requests.len() as u64),
        screen::grouped(trace.pages() as u64),
        shop::TASKS,
        shop::ORIGIN_TIME.as_millis(),
    );
    let store = tempfile::tempdir()?;
    scenes::cold_warm::run(&mut screen, store.path(), &trace).await?;
    scenes::restart::run(&mut screen, store.path(), &trace)?;
    scenes::batches::run(&mut screen)?;
    scenes::watching::run(&mut screen).await?;
    scenes::races::run(&mut screen).await?;
    scenes::messages::run(&mut screen, store.path(), &trace).await?;
    Ok(screen.end(began.elapsed()))
}
