//! The composition root: checks the configuration, starts the runtime, launches every actor under a
//! supervisor and hands out the handle.

#[cfg(feature = "secure")]
mod sealed;

#[cfg(feature = "disk")]
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::cache::CHUNK_COUNT_MAX;
use crate::clock::Clock;
use crate::config::{CommitConfig, Config, Limits, OnOpenFailure, refuse};
#[cfg(feature = "disk")]
use crate::drivers::disk::{DiskConfig, DiskDriver};
use crate::drivers::{Driver, Factory, Failure};
use crate::entry::Source;
use crate::error::Error;
use crate::gate::Admission;
use crate::health::{Backoff, RestartLimit};
use crate::larder::Larder;
use crate::runtime;
use crate::wiring::{self, DriverPlan};

/// Most drivers below memory.
pub const DRIVERS_MAX: usize = 16;

/// Longest name of a driver in bytes; it is part of the names of its threads.
pub const NAME_BYTES_MAX: usize = 64;
/// The disk tier's name.
#[cfg(feature = "disk")]
const DISK: &str = "disk";
/// Names that no driver can have: actors are told apart by name.
const ACTORS: [&str; 5] = [crate::cache::MEMORY, "hub", "ttl", "batch", "desk"];

/// A larder that is about to be started.
///
/// ```no_run
/// # #[tokio::main] async fn main() -> Result<(), larder::Error> {
/// let larder = larder::Larder::builder()
///     .memory_bytes(64 << 20)
///     .disk("./data")
///     .start()
///     .await?;
/// # Ok(()) }
/// ```
#[must_use = "a larder is started by `start`"]
#[derive(Default)]
pub struct Builder {
    config: Config,
    clock: Option<Clock>,
    drivers: Vec<DriverPlan>,
    #[cfg(feature = "disk")]
    disks: Vec<(PathBuf, DiskConfig)>,
    disk_commits: Option<CommitConfig>,
    #[cfg(feature = "secure")]
    sealing: sealed::Sealing,
}

impl Builder {
    /// Budget of the memory tier in bytes, overhead of entries included (at least 64 KiB, and no less
    /// than `Limits::value_bytes_max`, which is 1 MiB by default). Default: 64 MiB. Acknowledged values
    /// that are not stored yet count against `dirty_bytes_max` instead.
    pub fn memory_bytes(mut self, bytes: usize) -> Self {
        self.config.memory_bytes = bytes;
        self
    }

    /// Adds the disk tier (`"disk"`), a store in this directory, which is made if it is not there.
    /// One process at a time can have it open, and one larder in it: a directory is free again when
    /// [`Larder::shutdown`] has returned, and only some time after a larder was dropped without. Given
    /// once: a second store is a driver with a name of its own.
    #[cfg(feature = "disk")]
    pub fn disk(self, directory: impl AsRef<Path>) -> Self {
        self.disk_with(directory, DiskConfig::default())
    }

    /// As [`disk`](Builder::disk), with the store's own settings.
    #[cfg(feature = "disk")]
    pub fn disk_with(mut self, directory: impl AsRef<Path>, config: DiskConfig) -> Self {
        self.disks.push((directory.as_ref().to_owned(), config));
        self
    }

    /// How batches go down to the disk tier, which must be given, too.
    pub fn disk_commits(mut self, config: CommitConfig) -> Self {
        self.disk_commits = Some(config);
        self
    }

    /// Adds a driver of the host's own under a name, below the drivers added before it. See
    /// `examples/custom_driver.rs`.
    pub fn driver<F, D>(self, name: &str, open: F) -> Self
    where
        F: Fn() -> Result<D, Failure> + Send + Sync + 'static,
        D: Driver,
    {
        self.driver_with(name, CommitConfig::default(), open)
    }

    /// As [`driver`](Builder::driver), with its own bounds and pace.
    pub fn driver_with<F, D>(self, name: &str, commits: CommitConfig, open: F) -> Self
    where
        F: Fn() -> Result<D, Failure> + Send + Sync + 'static,
        D: Driver,
    {
        let factory: Factory = Arc::new(move || Ok(Box::new(open()?)));
        self.driver_factory(name, commits, factory)
    }

    /// As [`driver_with`](Builder::driver_with), from a factory as drivers provide them.
    pub fn driver_factory(mut self, name: &str, commits: CommitConfig, factory: Factory) -> Self {
        let nth = u8::try_from(self.drivers.len()).unwrap_or(u8::MAX);
        let source = Source::Custom(nth);
        self.drivers
            .push(DriverPlan::new(name, source, commits, factory));
        self
    }

    /// Every bound. Start from [`Limits::default`].
    pub fn limits(mut self, limits: Limits) -> Self {
        self.config.limits = limits;
        self
    }

    /// The longest a call waits where it says nothing else (1 ms to a day). Default: 5 s.
    pub fn call_max(mut self, time: Duration) -> Self {
        self.config.call_ms_max = crate::clock::millis(time);
        self
    }

    /// What becomes of a call that meets a bound, in caches that say nothing else. Default: it waits.
    pub fn admission(mut self, admission: Admission) -> Self {
        self.config.admission = admission;
        self
    }

    /// The longest that opening one driver may take at start (1 ms to a day). Default: 60 s.
    pub fn open_max(mut self, time: Duration) -> Self {
        self.config.open_ms_max = crate::clock::millis(time);
        self
    }

    /// The wait before an actor that died is started again (each 1 ms to a day, `first` at most
    /// `longest`). Default: 100 ms, doubling up to 30 s.
    pub fn restart_backoff(mut self, first: Duration, longest: Duration) -> Self {
        self.config.restart_backoff = Backoff {
            ms_min: crate::clock::millis(first),
            ms_max: crate::clock::millis(longest),
        };
        self
    }

    /// What becomes of a start whose store cannot be opened: by default it fails. A service that should
    /// rather run without its disk than not at all starts degraded; `Larder::health` says so, and the
    /// driver is tried again and again.
    pub fn on_open_failure(mut self, then: OnOpenFailure) -> Self {
        self.config.on_open_failure = then;
        self
    }

    /// When an actor that comes up and fails again and again is left alone for a while: more than
    /// `count_max` restarts within `window` earn a rest. [`DriverHandle::restart`](crate::DriverHandle::restart)
    /// and [`Larder::restart`] end it. `window` and `rest` are at least 1 ms. Default: 20 in ten minutes,
    /// two minutes.
    pub fn restart_limit(mut self, count_max: u32, window: Duration, rest: Duration) -> Self {
        self.config.restart_limit = RestartLimit {
            count_max,
            window_ms: crate::clock::millis(window),
            rest_ms: crate::clock::millis(rest),
        };
        self
    }

    /// Starts a larder with the same API that stores nothing: reads miss, sets succeed and are
    /// forgotten at once. For turning caching off without touching the host's code.
    pub fn disabled(mut self) -> Self {
        self.config.disabled = true;
        self
    }

    /// Runs on this clock.
    #[cfg(feature = "test-util")]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Starts larder on threads of its own and returns when every driver has been opened.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] with every problem of the configuration; [`Error::Open`] if a store could
    /// not be opened, with its directory and what to do.
    ///
    /// # Cancel safety
    ///
    /// Dropped while it starts, everything that was started ends again.
    pub async fn start(mut self) -> Result<Larder, Error> {
        let mut problems = self.config.problems();
        problems.extend(self.disk_problems());
        #[cfg(feature = "secure")]
        if let Some(plan) = self.secure_plan(&mut problems) {
            self.drivers.push(plan);
        }
        #[cfg(feature = "disk")]
        if let Some(plan) = self.disk_plan() {
            self.drivers.insert(0, plan);
        }
        problems.extend(driver_problems(&self.drivers));
        refuse(problems)?;
        if self.config.disabled {
            self.drivers.clear();
        }
        let clock = self.clock.unwrap_or_else(Clock::system);
        let (home, parts) = wiring::start(self.config, clock, self.drivers).await?;
        Ok(Larder::new(home, parts))
    }

    /// As [`start`](Builder::start), for hosts without a runtime. Blocks the calling thread; not for
    /// use within one.
    ///
    /// # Errors
    ///
    /// As [`start`](Builder::start).
    pub fn start_blocking(self) -> Result<Larder, Error> {
        runtime::block_on(self.start())?
    }
}

impl Builder {
    /// The disk tier's driver, if it was asked for.
    #[cfg(feature = "disk")]
    fn disk_plan(&mut self) -> Option<DriverPlan> {
        let (directory, config) = self.disks.pop()?;
        let commits = self.disk_commits.take().unwrap_or_default();
        #[cfg(feature = "secure")]
        if let Some(encryption) = self.sealing.disk.take() {
            let plan = sealed::plan(DISK, Source::Disk, commits, &directory, &config, encryption);
            return Some(plan);
        }
        let factory = DiskDriver::factory(&directory, &config);
        Some(DriverPlan::new(DISK, Source::Disk, commits, factory))
    }

    /// What is wrong with what was said about the disk tier.
    #[cfg(feature = "disk")]
    fn disk_problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for (directory, config) in &self.disks {
            if directory.as_os_str().is_empty() {
                problems.push("disk directory is empty".into());
            }
            problems.extend(config.problems());
        }
        if self.disks.len() > 1 {
            let directories: Vec<_> = self.disks.iter().map(|(directory, _)| directory).collect();
            problems.push(format!(
                "disk is given {} times, as {directories:?}, allowed is once; a second store is a driver with a name of its own",
                directories.len()
            ));
        }
        if self.disks.is_empty() && self.disk_commits.is_some() {
            problems.push("disk_commits is given, and no disk".into());
        }
        #[cfg(feature = "secure")]
        problems.extend(self.sealing_problems());
        problems
    }

    /// What is wrong with what was said about the disk tier.
    #[cfg(not(feature = "disk"))]
    fn disk_problems(&self) -> Vec<String> {
        let is_for_nothing = self.disk_commits.is_some();
        let problem = is_for_nothing.then(|| "disk_commits is given, and no disk".into());
        problem.into_iter().collect()
    }
}

fn driver_problems(drivers: &[DriverPlan]) -> Vec<String> {
    let mut problems = Vec::new();
    if drivers.len() > DRIVERS_MAX {
        problems.push(format!(
            "{} drivers, allowed are at most {DRIVERS_MAX}",
            drivers.len()
        ));
    }
    for (at, driver) in drivers.iter().enumerate() {
        let name = &driver.name;
        let is_taken = ACTORS.contains(&name.as_str());
        if name.is_empty() || name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
            problems.push(format!(
                "driver name {name:?} has {} bytes, allowed are 1 to {NAME_BYTES_MAX} without control characters",
                name.len()
            ));
        } else if is_taken {
            problems.push(format!(
                "driver name {name:?} is not allowed, {ACTORS:?} are larder's own"
            ));
        }
        if drivers.iter().take(at).any(|other| other.name == *name) {
            problems.push(format!("driver name {name:?} is used twice"));
        }
        let c = &driver.commits;
        let breaker = c.breaker.problems();
        problems.extend(breaker.into_iter().map(|p| format!("{name}.{p}")));
        let counts = [
            ("commit_count_max", c.commit_count_max, 1 << 20),
            ("commit_bytes_max", c.commit_bytes_max, 1 << 30),
            ("chunk_count", c.chunk_count, CHUNK_COUNT_MAX),
            ("read_threads", c.read_threads, 256),
        ];
        for (field, value, high) in counts {
            if !(1..=high).contains(&value) {
                problems.push(format!("{name}.{field} is {value}, allowed is 1 to {high}"));
            }
        }
        if c.linger_ms_max > 10_000 {
            problems.push(format!(
                "{name}.linger_ms_max is {}, allowed is 0 to 10000",
                c.linger_ms_max
            ));
        }
    }
    problems
}
