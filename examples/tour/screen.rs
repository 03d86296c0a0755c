//! What the tour shows: headings, tables and claims on stdout, progress on stderr.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Counts scenes and claims.
#[derive(Default)]
pub struct Screen {
    scenes: usize,
    claims: usize,
    broken: usize,
}

impl Screen {
    /// Begins a scene.
    pub fn scene(&mut self, title: &str) {
        self.scenes += 1;
        println!("\n{}. {title}\n", self.scenes);
    }

    /// Prints rows under their headings, numbers to the right; the first column is text.
    pub fn table(&self, headings: &[&str], rows: &[Vec<String>]) {
        let heading = headings.iter().map(|h| (*h).to_owned()).collect();
        let lines: Vec<Vec<String>> = std::iter::once(heading)
            .chain(rows.iter().cloned())
            .collect();
        let width = |column: usize| {
            let cells = lines.iter().filter_map(|line| line.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        for line in &lines {
            let cells = line.iter().enumerate().map(|(at, cell)| match at {
                0 => format!("{cell:<width$}", width = width(at)),
                _ => format!("{cell:>width$}", width = width(at)),
            });
            println!("   {}", cells.collect::<Vec<_>>().join("   ").trim_end());
        }
        println!();
    }

    /// Says whether what the scene claims is so.
    pub fn claim(&mut self, holds: bool, claim: &str) {
        self.claims += 1;
        self.broken += usize::from(!holds);
        println!("   {}  {claim}", if holds { "ok    " } else { "BROKEN" });
    }

    /// The last line. Whether every claim held.
    pub fn end(self, took: Duration) -> bool {
        let held = self.claims - self.broken;
        println!(
            "\n{held} of {} claims held, {:.0} s",
            self.claims,
            took.as_secs_f64()
        );
        self.broken == 0
    }
}

/// How far something long has come: a bar on a terminal, a few lines elsewhere.
pub struct Progress {
    label: String,
    total: u64,
    done: AtomicU64,
    is_terminal: bool,
}

impl Progress {
    /// Nothing of `total` is done.
    pub fn new(label: impl Into<String>, total: usize) -> Self {
        Self {
            label: label.into(),
            total: (total as u64).max(1),
            done: AtomicU64::new(0),
            is_terminal: std::io::stderr().is_terminal(),
        }
    }

    /// One more is done.
    pub fn step(&self) {
        let before = self.done.fetch_add(1, Ordering::Relaxed);
        // Drawing costs a system call: a bar moves in steps of 1 %, lines come every half.
        let steps = if self.is_terminal { 100 } else { 2 };
        let step = (before + 1) * steps / self.total;
        if step != before * steps / self.total {
            self.draw(step * 100 / steps);
        }
    }

    fn draw(&self, percent: u64) {
        let (label, total) = (&self.label, grouped(self.total));
        let mut stderr = std::io::stderr().lock();
        // A terminal that is gone is no reason to stop.
        let _ = if self.is_terminal {
            let filled = (percent * 40 / 100) as usize;
            let bar = "#".repeat(filled) + &".".repeat(40 - filled);
            write!(stderr, "\r   {label:<24} [{bar}] {percent:>3} % of {total}")
        } else {
            writeln!(stderr, "   {label}: {percent} % of {total}")
        };
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_terminal {
            eprint!("\r\x1b[K");
        }
    }
}

/// A number with its thousands apart.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// How many a second.
pub fn rate(count: u64, took: Duration) -> String {
    grouped((count as f64 / took.as_secs_f64().max(1e-6)) as u64)
}

/// A time in seconds.
pub fn seconds(took: Duration) -> String {
    format!("{:.2} s", took.as_secs_f64())
}
