//! `larder-bench`: see README.md beside it, or run it without arguments.

fn main() -> std::process::ExitCode {
    larder_bench::run(std::env::args().skip(1))
}
