//! What the words on the command line ask for.

use std::error::Error;

use crate::child::Child;
use crate::scenes::{self, Scene, Settings};

pub const HELP: &str = "\
larder-bench: larder beside its peers

  cargo run --release -p larder-bench -- WHAT... [OPTIONS]

What
  all              every scene
  quick            fewer rounds and operations; every scene, if none is named beside it
  memory           every scene of this group (also: designs, fetch, footprint, replay, disk, origin, upkeep)
  get-hit-1t ...   a scene by its name
  plot DIR         the scenes of the README's pictures, drawn into DIR as SVG
  allocs           allocations for each hit and set, counted
  list             scenes and the names of all rows

Options
  --json FILE      writes {row: value}
  --check          compares with benches/floors.json; the exit code says whether all rows held
";

/// What is to be done.
pub enum Job {
    Help,
    List,
    Allocs,
    /// What a child process measures, and of whom.
    Child(&'static Child, String),
    /// What a child process does for the scenes over disk.
    DiskChild(Vec<String>),
    Scenes(Vec<&'static Scene>),
}

pub struct Args {
    pub job: Job,
    pub settings: Settings,
    pub json: Option<String>,
    pub plot: Option<String>,
    pub check: bool,
}

impl Args {
    pub fn parse(words: impl Iterator<Item = String>) -> Result<Self, Box<dyn Error>> {
        let mut words = words.peekable();
        let mut args = Self {
            job: Job::Help,
            settings: Settings::FULL,
            json: None,
            plot: None,
            check: false,
        };
        let nothing = words.peek().is_none();
        let (mut names, mut is_quick) = (Vec::<String>::new(), false);
        let mut special = None;
        while let Some(word) = words.next() {
            let mut value = |what| {
                let next = words.next();
                next.ok_or_else(|| format!("{word} needs {what}"))
            };
            match word.as_str() {
                "help" | "--help" | "-h" => special = Some(Job::Help),
                "list" => special = Some(Job::List),
                "allocs" => special = Some(Job::Allocs),
                scenes::disk_child::CHILD => {
                    special = Some(Job::DiskChild(words.by_ref().collect()))
                }
                "quick" => {
                    args.settings = Settings::QUICK;
                    is_quick = true;
                }
                "plot" => args.plot = Some(value("a directory")?),
                "--json" => args.json = Some(value("a file")?),
                "--check" => args.check = true,
                _ => match scenes::CHILDREN.iter().find(|child| child.word == word) {
                    Some(child) => special = Some(Job::Child(child, value("whom to measure")?)),
                    None => names.push(word),
                },
            }
        }
        if nothing {
            return Ok(args);
        }
        args.job = match special {
            Some(job) => job,
            // Half an hour of everything is to be asked for by name.
            None if names.is_empty() && !is_quick && args.plot.is_none() => {
                return Err(
                    "say what to measure: all, quick, a group or a scene; see `help`".into(),
                );
            }
            None => Job::Scenes(chosen(&names, args.plot.is_some())?),
        };
        Ok(args)
    }
}

/// The scenes of these names and groups, in the registry's order.
fn chosen(names: &[String], plotted: bool) -> Result<Vec<&'static Scene>, String> {
    let is_meant = |scene: &Scene, name: &str| name == scene.name || name == scene.group;
    for name in names {
        if name != "all" && !scenes::ALL.iter().any(|scene| is_meant(scene, name)) {
            return Err(format!("there is no {name:?}; see `list` and `help`"));
        }
    }
    let all = names.iter().any(|name| name == "all") || (names.is_empty() && !plotted);
    let scenes = scenes::ALL.iter().filter(|scene| {
        let named = names.iter().any(|name| is_meant(scene, name));
        all || named || (plotted && scene.pictured)
    });
    Ok(scenes.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scenes(line: &str) -> Vec<&'static str> {
        let args = Args::parse(line.split_whitespace().map(str::to_owned)).unwrap();
        match args.job {
            Job::Scenes(chosen) => chosen.iter().map(|scene| scene.name).collect(),
            _ => panic!("{line} is about scenes"),
        }
    }

    #[test]
    fn quick_alone_means_everything_and_beside_a_name_only_that() {
        assert_eq!(scenes("quick").len(), scenes("all").len());
        assert_eq!(scenes("quick get-hit-1t"), ["get-hit-1t"]);
    }

    #[test]
    fn a_group_is_all_its_scenes() {
        assert!(scenes("memory").contains(&"get-hit-2t"));
        assert_eq!(scenes("replay"), ["hit-ratio"]);
    }

    #[test]
    fn what_does_not_exist_is_refused() {
        let args = |line: &str| Args::parse(line.split_whitespace().map(str::to_owned));
        assert!(args("get-hit-3t").is_err());
        assert!(args("all --json").is_err());
        assert!(args("--check").is_err());
    }
}
