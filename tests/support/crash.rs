//! Crashes for tests: a child process that is killed, and a device that keeps only what was synced.
//!
//! A test runs its own binary again as the child that does the work:
//!
//! ```ignore
//! #[test]
//! fn synced_lines_survive() {
//!     if let Some(dir) = crash::child_dir() {
//!         for i in 0..1_000 {
//!             append_and_sync(&dir.join("log"), i);
//!             crash::acknowledge(i);
//!         }
//!         return crash::wait_for_kill();
//!     }
//!     let shim = Shim::new(&root, &shadow);
//!     let acknowledged = Child::spawn(shim.command("synced_lines_survive")).kill_after(17);
//!     shim.power_loss(&after);
//!     assert_all_there(&after.join("log"), &acknowledged);
//! }
//! ```
//!
//! For `kill -9` alone, where the operating system keeps everything, take [`command`] instead of
//! [`Shim::command`] and look into the child's own directory. What the device models, and what it does not,
//! stands at the top of `sync_shim.c`. The kit does not make calls fail and needs `cc` and glibc.
#![allow(dead_code, reason = "every test takes what it needs")]

use std::collections::hash_map::DefaultHasher;
use std::fmt::Display;
use std::fs::{self, File};
use std::hash::{Hash, Hasher};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{self, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

/// How long a child may take from its start to its end: a guard, and no measure.
pub const CHILD_DEADLINE: Duration = Duration::from_secs(300);

const SHIM_SOURCE: &str = include_str!("sync_shim.c");
const CHILD_DIR: &str = "CRASH_CHILD_DIR";
/// Tells acknowledgements from what the test runner prints, with which they may share a line.
const ACKNOWLEDGED: &str = "acknowledged: ";

/// A device below one directory, for processes that are started with [`Shim::command`].
pub struct Shim {
    library: PathBuf,
    root: PathBuf,
    shadow: PathBuf,
}

impl Shim {
    /// A device that backs `root` and holds all that is below it now. Its state lives in `shadow`, a
    /// directory that is outside of `root` and new; both are created where missing.
    pub fn new(root: &Path, shadow: &Path) -> Self {
        fs::create_dir_all(root).unwrap();
        fs::create_dir_all(shadow).unwrap();
        let shim = Self {
            library: Self::build(),
            root: root.canonicalize().unwrap(),
            shadow: shadow.canonicalize().unwrap(),
        };
        assert!(!shim.shadow.starts_with(&shim.root), "shadow inside root");
        // The first process that is started takes stock; this one does nothing else.
        assert!(
            shim.preload(&mut Command::new("true"))
                .status()
                .unwrap()
                .success()
        );
        assert!(
            shim.shadow.join("dirs/root").exists(),
            "the shim is not loaded"
        );
        shim
    }

    /// Compiles the preloaded library and says where it is.
    pub fn build() -> PathBuf {
        build("sync_shim", SHIM_SOURCE)
    }

    /// The test called `test` of this binary as a child on the device; its [`child_dir`] is the root.
    pub fn command(&self, test: &str) -> Command {
        let mut child = command(test, &self.root);
        self.preload(&mut child);
        child
    }

    /// The syncs below the root that succeeded, in order: the call, and the path relative to the root.
    pub fn sync_calls(&self) -> Vec<(String, String)> {
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        log.lines()
            .map(|line| line.split_once(' ').unwrap())
            .map(|(call, path)| (call.to_owned(), path.to_owned()))
            .collect()
    }

    /// Writes what the device holds into `target`, a directory that is created and must be new.
    /// No process may run on the device meanwhile. The device itself stays as it is.
    pub fn power_loss(&self, target: &Path) {
        self.restore_dir("root", target);
    }

    fn log(&self) -> PathBuf {
        self.shadow.join("log")
    }

    fn preload<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .env("LD_PRELOAD", &self.library)
            .env("SHIM_ROOT", &self.root)
            .env("SHIM_SHADOW", &self.shadow)
            .env("SHIM_LOG", self.log())
    }

    fn restore_dir(&self, key: &str, target: &Path) {
        fs::create_dir(target).unwrap();
        // A kill between a name and what it leads to leaves nothing there yet.
        let listing = fs::read_to_string(self.shadow.join("dirs").join(key)).unwrap_or_default();
        for line in listing.lines() {
            let (kind, entry) = line.split_once(' ').unwrap();
            let (key, name) = entry.split_once(' ').unwrap();
            if kind == "d" {
                self.restore_dir(key, &target.join(name));
            } else {
                let mut file = File::create_new(target.join(name)).unwrap();
                if let Ok(content) = File::open(self.shadow.join("inodes").join(key)) {
                    copy_sparse(content, &mut file);
                }
            }
        }
    }
}

/// Compiles a library to be preloaded, once per version of its source, and says where it is.
pub fn build(name: &str, source: &str) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let mut hasher = DefaultHasher::new();
    source.hash(&mut hasher);
    let dir = option_env!("CARGO_TARGET_TMPDIR").map_or_else(std::env::temp_dir, PathBuf::from);
    fs::create_dir_all(&dir).unwrap();
    let library = dir.join(format!("{name}-{:016x}.so", hasher.finish()));
    if library.exists() {
        return library;
    }
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let unfinished = dir.join(format!("{name}-{}-{count}.tmp", process::id()));
    let mut compiler = Command::new("cc")
        .args(["-std=gnu11", "-O2", "-Wall", "-shared", "-fPIC"])
        .args(["-x", "c", "-", "-o"])
        .arg(&unfinished)
        .args(["-ldl", "-lpthread"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("crash tests need a C compiler called cc");
    let mut stdin = compiler.stdin.take().unwrap();
    stdin.write_all(source.as_bytes()).unwrap();
    drop(stdin);
    assert!(
        compiler.wait().unwrap().success(),
        "{name}.c does not compile"
    );
    fs::rename(&unfinished, &library).unwrap();
    library
}

/// Copies all but long runs of zeros, so that preallocated files stay cheap.
fn copy_sparse(mut from: File, to: &mut File) {
    let len = from.metadata().unwrap().len();
    to.set_len(len).unwrap();
    let mut buffer = vec![0; 1 << 16];
    let mut at = 0;
    while at < len {
        let count = from.read(&mut buffer).unwrap();
        assert!(count > 0, "the device changed while it was read");
        if buffer[..count].iter().any(|byte| *byte != 0) {
            to.seek(SeekFrom::Start(at)).unwrap();
            to.write_all(&buffer[..count]).unwrap();
        }
        at += count as u64;
    }
}

/// A directory in memory, where there is such a place: for kills, and faults that are made, a device's own
/// slowness adds nothing.
pub fn quick_dir() -> tempfile::TempDir {
    let in_memory = tempfile::tempdir_in("/dev/shm");
    in_memory.unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

/// The test called `test` (with its module path, without the crate's name) of this binary as a child
/// whose [`child_dir`] is `dir`, on the real device.
pub fn command(test: &str, dir: &Path) -> Command {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD_DIR, dir);
    child
}

/// In a child: the directory to work in. `None` in the test itself.
pub fn child_dir() -> Option<PathBuf> {
    std::env::var_os(CHILD_DIR).map(PathBuf::from)
}

/// In a child: tells the parent, in one line, what has been promised.
pub fn acknowledge(what: impl Display) {
    let mut out = io::stdout().lock();
    out.write_all(format!("{ACKNOWLEDGED}{what}\n").as_bytes())
        .unwrap();
    out.flush().unwrap();
}

/// In a child that has done its work: waits for the end, with everything left open as it is.
pub fn wait_for_kill() {
    // Nothing is ever sent. If the parent dies, its end of the pipe closes.
    let _ = io::stdin().read(&mut [0]);
}

/// A running child. It dies with its handle, or at its deadline.
pub struct Child {
    process: process::Child,
    lines: Receiver<String>,
    deadline: Instant,
    acknowledged: Vec<String>,
}

impl Child {
    /// Starts a child that may take [`CHILD_DEADLINE`] in all.
    pub fn spawn(mut command: Command) -> Self {
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = process.stdout.take().unwrap();
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || send_acknowledged(out, |line| sender.send(line).is_ok()));
        Self {
            process,
            lines,
            deadline: Instant::now() + CHILD_DEADLINE,
            acknowledged: Vec::new(),
        }
    }

    /// Kills the child as soon as it has acknowledged `count` things. Returns all that it
    /// acknowledged in its life, which may be a few more.
    pub fn kill_after(mut self, count: usize) -> Vec<String> {
        while self.acknowledged.len() < count {
            assert!(
                self.next_line(),
                "{self} ended by itself before the {count}th"
            );
        }
        self.process.kill().unwrap();
        while self.next_line() {}
        self.process.wait().unwrap();
        std::mem::take(&mut self.acknowledged)
    }

    /// Lets the child come to its own end, which must be a success.
    pub fn finish(mut self) -> Vec<String> {
        drop(self.process.stdin.take());
        while self.next_line() {}
        let status = self.process.wait().unwrap();
        assert!(status.success(), "{self} failed: {status}");
        std::mem::take(&mut self.acknowledged)
    }

    /// Lets the child come to its end, whatever that is. `false` if something killed it.
    pub fn end(mut self) -> (Vec<String>, bool) {
        drop(self.process.stdin.take());
        while self.next_line() {}
        let status = self.process.wait().unwrap();
        assert!(
            status.success() || status.code().is_none(),
            "{self} failed: {status}"
        );
        (std::mem::take(&mut self.acknowledged), status.success())
    }

    /// Waits for one more line; `false` at the end of the child's output.
    fn next_line(&mut self) -> bool {
        let left = self.deadline.saturating_duration_since(Instant::now());
        match self.lines.recv_timeout(left) {
            Ok(line) => self.acknowledged.push(line),
            Err(mpsc::RecvTimeoutError::Disconnected) => return false,
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("{self} passed its deadline"),
        }
        true
    }
}

impl Display for Child {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let count = self.acknowledged.len();
        write!(f, "the child, after {count} acknowledgements,")
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Both fail only for a child that has already been waited for.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Passes on what was acknowledged in full: a line without its end was never said.
fn send_acknowledged(out: impl Read, mut send: impl FnMut(String) -> bool) {
    let mut out = BufReader::new(out);
    let mut line = String::new();
    while out.read_line(&mut line).unwrap_or(0) > 0 && line.ends_with('\n') {
        if let Some((_, what)) = line.split_once(ACKNOWLEDGED)
            && !send(what.trim_end_matches('\n').to_owned())
        {
            return;
        }
        line.clear();
    }
}
