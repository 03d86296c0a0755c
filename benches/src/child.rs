//! Measures in a process of its own, where nothing is left of what was measured before.

use std::error::Error;
use std::process::Command;

/// What a child process measures, given a word that says of whom: some figures.
pub type Measure = fn(&str) -> Result<Vec<f64>, Box<dyn Error>>;

/// What the parent says first, and what the child does then.
pub struct Child {
    pub word: &'static str,
    pub measure: Measure,
}

impl Child {
    /// Starts a process that measures `whom`, and waits for its figures.
    pub fn spawn(&self, whom: &str) -> Result<Vec<f64>, Box<dyn Error>> {
        let mut child = Command::new(std::env::current_exe()?);
        let output = child.args([self.word, whom]).output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let figures: Result<Vec<f64>, _> = text.split_whitespace().map(str::parse).collect();
        match figures {
            Ok(figures) if !figures.is_empty() => Ok(figures),
            _ => {
                let error = String::from_utf8_lossy(&output.stderr);
                Err(format!("{whom} gave no figures: {text}{error}").into())
            }
        }
    }

    /// Measures in this process and prints what the parent reads.
    pub fn run(&self, whom: &str) -> Result<(), Box<dyn Error>> {
        let figures = (self.measure)(whom)?;
        let figures: Vec<String> = figures.iter().map(f64::to_string).collect();
        println!("{}", figures.join(" "));
        Ok(())
    }
}
