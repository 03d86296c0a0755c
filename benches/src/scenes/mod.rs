//! The registry of scenes. A scene is a file here with a name, its rows and who takes part; a new one is
//! a file and a line in `ALL`.

mod contest;
mod designs;
pub mod disk_child;
mod disk_contest;
mod disk_get;
mod disk_set_many;
mod disk_set_queued;
mod disk_set_synced;
mod fetch;
mod get_absent;
mod get_hit;
mod hit_ratio;
mod hybrid_get;
mod memory_per_entry;
mod mix;
mod origin;
mod sealed;
mod set_new;
mod set_overwrite;
mod start_after_kill;
mod upkeep;

use std::error::Error;
use std::io::Write;

use crate::child::Child;
use crate::report::Report;

/// How much is done.
#[derive(Clone, Copy)]
pub struct Settings {
    /// Rounds that count.
    pub rounds: usize,
    /// Operations of each thread of a contender in each round.
    pub ops: usize,
}

impl Settings {
    pub const FULL: Self = Self {
        rounds: 7,
        ops: 1_000_000,
    };
    pub const QUICK: Self = Self {
        rounds: 3,
        ops: 200_000,
    };

    /// The first in full, the second where it is to be quick.
    pub fn either<T>(&self, full: T, quick: T) -> T {
        match self.rounds < Self::FULL.rounds {
            true => quick,
            false => full,
        }
    }
}

pub struct Scene {
    /// Stable; the first part of its rows' names.
    pub name: &'static str,
    /// Scenes that are asked for together.
    pub group: &'static str,
    /// What is measured, in one line.
    pub about: &'static str,
    /// What its rows say, in one line.
    pub reading: &'static str,
    /// Whether the README has a picture of it.
    pub pictured: bool,
    /// What follows the name in its rows' names.
    pub parts: fn() -> Vec<String>,
    pub run: Run,
}

/// Does what a scene is about, prints its table and reports its rows.
type Run = fn(&Scene, &Settings, &mut Report) -> Result<(), Box<dyn Error>>;

impl Scene {
    /// The names of its rows.
    pub fn rows(&self) -> Vec<String> {
        let parts = (self.parts)();
        parts.iter().map(|part| self.row(part)).collect()
    }

    pub fn row(&self, part: &str) -> String {
        format!("{}/{part}", self.name)
    }
}

pub const ALL: &[Scene] = &[
    get_hit::ONE,
    get_hit::TWO,
    get_absent::SCENE,
    set_new::SCENE,
    set_overwrite::SCENE,
    mix::ONE,
    mix::TWO,
    designs::HIT_ONE,
    designs::HIT_TWO,
    designs::OVERWRITE,
    fetch::HIT,
    fetch::STAMPEDE,
    memory_per_entry::SCENE,
    hit_ratio::SCENE,
    disk_set_synced::ONE,
    disk_set_synced::SOME,
    disk_set_synced::MANY,
    disk_set_queued::SCENE,
    disk_set_many::FIFTY,
    disk_set_many::FIVE_HUNDRED,
    disk_set_many::THOUSAND,
    disk_set_many::MOST,
    disk_get::WARM,
    disk_get::COLD,
    sealed::GET,
    sealed::SET,
    start_after_kill::SCENE,
    hybrid_get::SCENE,
    origin::stores::SCENE,
    origin::synced::SCENE,
    origin::chunks::SCENE,
    origin::session::SCENE,
    origin::watched::SCENE,
    origin::faults::SCENE,
    upkeep::hub::NO_WATCHER,
    upkeep::hub::CROWD,
    upkeep::ttl::SCENE,
    upkeep::idle::SCENE,
];

/// What is measured in processes of their own.
pub const CHILDREN: &[Child] = &[
    memory_per_entry::CHILD,
    origin::chunks::CHILD,
    origin::session::CHILD,
    upkeep::ttl::CHILD,
    upkeep::idle::CHILD,
];

/// Prints every scene with its rows. A reader that leaves early is no error.
pub fn list() {
    let mut out = std::io::stdout().lock();
    for scene in ALL {
        let Scene {
            name,
            group,
            about,
            reading,
            ..
        } = scene;
        let rows = scene.rows().join("\n    ");
        if writeln!(out, "{name} ({group}): {about}\n  {reading}\n    {rows}").is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_stands_in_the_readme_and_none_twice() {
        let readme = include_str!("../../README.md");
        let mut rows: Vec<String> = ALL.iter().flat_map(Scene::rows).collect();
        for row in &rows {
            assert!(readme.contains(&format!("`{row}`")), "{row}");
        }
        let count = rows.len();
        rows.sort();
        rows.dedup();
        assert_eq!(rows.len(), count);
    }
}
