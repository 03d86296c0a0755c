//! larder beside its peers: scenes that print tables and give ratios under stable names.
//!
//! `scenes` lists what there is, `peers` who takes part, `harness` how it is timed, `replay` how hit
//! ratios are found. README.md says what each row means and how each contender is set up.

mod args;
mod child;
mod disk_peers;
mod floors;
pub mod harness;
mod machine;
pub mod peers;
mod plot;
mod process;
mod replay;
mod report;
mod scenes;
pub mod workload;

use std::error::Error;
use std::process::ExitCode;

use args::{Args, Job};
use report::Report;

/// Does what the arguments say; what it finds goes to standard output, what went wrong to the other.
pub fn run(args: impl Iterator<Item = String>) -> ExitCode {
    let done = Args::parse(args).and_then(|args| carry_out(&args));
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("larder-bench: {error}");
            ExitCode::from(2)
        }
    }
}

/// Whether everything that was to be checked held.
fn carry_out(args: &Args) -> Result<bool, Box<dyn Error>> {
    match &args.job {
        Job::Help => print!("{}", args::HELP),
        Job::List => scenes::list(),
        Job::Allocs => return allocs(),
        Job::Child(child, whom) => child.run(whom)?,
        Job::DiskChild(words) => scenes::disk_child::run(words)?,
        Job::Scenes(chosen) => return measure(args, chosen),
    }
    Ok(true)
}

fn measure(args: &Args, chosen: &[&scenes::Scene]) -> Result<bool, Box<dyn Error>> {
    machine::print();
    let began = std::time::Instant::now();
    let mut report = Report::default();
    for scene in chosen {
        println!("\n{}: {}\n", scene.name, scene.about);
        (scene.run)(scene, &args.settings, &mut report)?;
    }
    println!(
        "\n{} scenes in {:.0} s",
        chosen.len(),
        began.elapsed().as_secs_f64()
    );
    if let Some(path) = &args.json {
        report.write_json(path)?;
        println!("\n{} rows written to {path}", report.rows.len());
    }
    if let Some(directory) = &args.plot {
        plot::draw(&report, directory)?;
    }
    if args.check {
        return floors::check(&report);
    }
    Ok(true)
}

/// Allocations are counted by an allocator that counts, which is no allocator to measure times with: it
/// has a benchmark of its own.
fn allocs() -> Result<bool, Box<dyn Error>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let arguments = "bench --profile release -p larder-bench --bench allocs";
    let ended = std::process::Command::new(cargo)
        .args(arguments.split(' '))
        .status()?;
    Ok(ended.success())
}
