//! larder's own threads: the actix `System`, its arbiters and the storage threads.
//!
//! The only file that starts threads or touches `System` and `Arbiter`. Because larder brings its
//! own, it starts the same way from any host, on any runtime or none.

use std::cell::Cell;
use std::future::Future;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use actix::{Arbiter, ArbiterHandle, System};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::clock::Clock;
use crate::error::Error;

/// How often a shutdown looks whether the storage threads have ended.
const JOIN_PAUSE: Duration = Duration::from_millis(1);

/// The running System of one larder.
pub struct Runtime {
    system: System,
    control: ArbiterHandle,
    timer: tokio::runtime::Handle,
    /// `None` once the end has begun: whatever is started then, nobody would wait for.
    threads: Mutex<Option<Vec<thread::JoinHandle<()>>>>,
    arbiters: Mutex<Vec<Arbiter>>,
}

impl Runtime {
    /// Starts the System thread and returns when it runs.
    ///
    /// # Errors
    ///
    /// [`Error::Open`] if the operating system refuses a thread.
    pub async fn start() -> Result<Arc<Self>, Error> {
        let (ready, started) = oneshot::channel();
        let body = move || {
            let runner = System::new();
            runner.block_on(async {
                let parts = (
                    System::current(),
                    Arbiter::current(),
                    tokio::runtime::Handle::current(),
                );
                // Not taken, or dropped on the way, it ends the System again.
                let _ = ready.send(Unclaimed(Some(parts)));
            });
            if let Err(error) = runner.run() {
                tracing::error!(%error, "larder's system ended with an error");
            }
        };
        let thread = spawn("larder-control", body)?;
        let mut parts = started.await.map_err(|_| Error::Closed)?;
        let (system, control, timer) = parts.0.take().ok_or(Error::Closed)?;
        Ok(Arc::new(Self {
            system,
            control,
            timer,
            threads: Mutex::new(Some(vec![thread])),
            arbiters: Mutex::new(Vec::new()),
        }))
    }

    /// The arbiter of supervisors, TTL manager, hub and batch writer.
    pub fn control(&self) -> &ArbiterHandle {
        &self.control
    }

    /// The runtime whose timer calls wait on, whatever the host runs on.
    pub fn timer(&self) -> &tokio::runtime::Handle {
        &self.timer
    }

    /// A thread of its own for what a host's loaders do whose callers are on no runtime.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] if the System has ended.
    pub async fn loads(&self) -> Result<tokio::runtime::Handle, Error> {
        let arbiter = self.arbiter().await?;
        on(&arbiter, tokio::runtime::Handle::current).await
    }

    /// A new arbiter with a thread of its own.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] if the System has ended.
    pub async fn arbiter(&self) -> Result<ArbiterHandle, Error> {
        let mut made = on(&self.control, || Unkept(Some(Arbiter::new()))).await?;
        let arbiter = made.0.take().ok_or(Error::Closed)?;
        let handle = arbiter.handle();
        self.arbiters.lock().push(arbiter);
        Ok(handle)
    }

    /// Starts a storage thread; it is joined at the end.
    ///
    /// # Errors
    ///
    /// [`Error::Open`] if the operating system refuses; [`Error::Closed`] once the end has begun.
    pub fn spawn(&self, name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), Error> {
        let mut threads = self.threads.lock();
        let threads = threads.as_mut().ok_or(Error::Closed)?;
        let thread = spawn(name, body)?;
        // Threads of earlier generations have ended; their handles are of no use.
        threads.retain(|t| !t.is_finished());
        threads.push(thread);
        Ok(())
    }

    /// Ends the System; `true` when every thread has ended within `deadline`.
    ///
    /// # Cancel safety
    ///
    /// Dropping it leaves the threads to end by themselves.
    pub async fn stop(&self, deadline: Duration) -> bool {
        self.stop_without_waiting();
        let threads = self.threads.lock().take().unwrap_or_default();
        let arbiters = std::mem::take(&mut *self.arbiters.lock());
        let (ended, all) = oneshot::channel();
        // The timer's own thread is among those that end, so a thread keeps the time.
        let joiner = spawn("larder-join", move || {
            let until = Clock::instant() + deadline;
            // An arbiter tells only who joins it that it has ended, and the desk's may be in the middle of
            // a host's code; so each is joined by a thread of its own.
            let joins = arbiters.into_iter().map(|arbiter| {
                let join = || {
                    let _ = arbiter.join();
                };
                spawn("larder-join", join)
            });
            let mut running: Vec<_> = joins.flatten().chain(threads).collect();
            while !running.is_empty() && Clock::instant() < until {
                running.retain(|thread| !thread.is_finished());
                thread::park_timeout(JOIN_PAUSE);
            }
            let _ = ended.send(running.is_empty());
        });
        joiner.is_ok() && all.await.unwrap_or(false)
    }

    /// Tells the System and its arbiters to end.
    pub fn stop_without_waiting(&self) {
        for arbiter in self.arbiters.lock().iter() {
            arbiter.stop();
        }
        self.system.stop();
    }
}

/// An arbiter that nobody keeps yet. Dropped, one would run for ever.
struct Unkept(Option<Arbiter>);

impl Drop for Unkept {
    fn drop(&mut self) {
        if let Some(arbiter) = &self.0 {
            arbiter.stop();
        }
    }
}

/// A System that nobody holds yet.
struct Unclaimed(Option<(System, ArbiterHandle, tokio::runtime::Handle)>);

impl Drop for Unclaimed {
    fn drop(&mut self) {
        if let Some((system, ..)) = &self.0 {
            system.stop();
        }
    }
}

/// Runs `make` on an arbiter and returns what it made.
///
/// # Errors
///
/// [`Error::Closed`] if the arbiter has ended.
pub async fn on<T: Send + 'static>(
    arbiter: &ArbiterHandle,
    make: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    let (made, waiting) = oneshot::channel();
    arbiter.spawn_fn(move || {
        let _ = made.send(make());
    });
    waiting.await.map_err(|_| Error::Closed)
}

/// Runs a future to its end on the calling thread, for hosts without a runtime.
///
/// # Errors
///
/// [`Error::Invalid`] within a tokio runtime; [`Error::Open`] if no runtime can be made for it.
pub fn block_on<F: Future>(future: F) -> Result<F::Output, Error> {
    if tokio::runtime::Handle::try_current().is_ok() {
        return Err(Error::Invalid {
            field: "block_on",
            reason: "is called within a tokio runtime, which it would block; await instead".into(),
        });
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .map_err(|error| refused(&error))?;
    let _passing = Passing::enter();
    Ok(runtime.block_on(future))
}

thread_local! {
    /// Whether the runtime here ends with the call that it is for.
    static IS_PASSING: Cell<bool> = const { Cell::new(false) };
}

struct Passing;

impl Passing {
    fn enter() -> Self {
        IS_PASSING.set(true);
        Self
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        IS_PASSING.set(false);
    }
}

/// The runtime of the host that this is called on; none, if it is one that ends with the present call.
pub fn host() -> Option<tokio::runtime::Handle> {
    let runtime = tokio::runtime::Handle::try_current().ok();
    runtime.filter(|_| !IS_PASSING.get())
}

fn spawn(
    name: &str,
    body: impl FnOnce() + Send + 'static,
) -> Result<thread::JoinHandle<()>, Error> {
    let builder = thread::Builder::new().name(name.to_owned());
    builder.spawn(body).map_err(|error| refused(&error))
}

fn refused(error: &std::io::Error) -> Error {
    Error::Open {
        driver: "runtime".into(),
        reason: format!("the operating system refused a thread: {error}").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_thread_is_started_that_the_end_would_not_wait_for() {
        let runtime = block_on(Runtime::start()).unwrap().unwrap();
        let (ran, has_run) = std::sync::mpsc::channel();
        runtime
            .spawn("early", move || ran.send(()).unwrap())
            .unwrap();
        assert!(block_on(runtime.stop(Duration::from_secs(20))).unwrap());
        assert!(has_run.recv().is_ok());
        let late = runtime.spawn("late", || unreachable!("it was started"));
        assert!(matches!(late, Err(Error::Closed)));
    }
}
