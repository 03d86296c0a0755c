//! Compares rows with the floors that are kept in `floors.json`.

use std::collections::BTreeMap;
use std::error::Error;

use serde::Deserialize;

use crate::report::{Report, print_table};

const FLOORS: &str = include_str!("../floors.json");

/// Which way a row may not go. Times and hit ratios have a floor, footprints a ceiling.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Floor {
    AtLeast(f64),
    AtMost(f64),
}

impl Floor {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::AtLeast(floor) => value >= floor,
            Self::AtMost(ceiling) => value <= ceiling,
        }
    }
}

fn floors() -> Result<BTreeMap<String, Floor>, serde_json::Error> {
    serde_json::from_str(FLOORS)
}

/// Whether every row that was measured is where it should be. Floors of other rows are left alone.
pub fn check(report: &Report) -> Result<bool, Box<dyn Error>> {
    let mut lines = Vec::new();
    for (name, floor) in floors()? {
        let Some(&value) = report.rows.get(&name) else {
            continue;
        };
        let holds = floor.holds(value);
        let bound = match floor {
            Floor::AtLeast(floor) => format!("at least {floor}"),
            Floor::AtMost(ceiling) => format!("at most {ceiling}"),
        };
        let verdict = if holds { "ok" } else { "MISSED" };
        lines.push(vec![name, format!("{value:.2}"), bound, verdict.into()]);
    }
    println!("\nchecked against floors.json\n");
    print_table(&["row", "value", "wanted", ""], &lines);
    let missed = lines.iter().filter(|line| line[3] != "ok").count();
    println!(
        "\n  {missed} of {} rows are not where they should be",
        lines.len()
    );
    Ok(missed == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenes;

    #[test]
    fn every_floor_is_of_a_row_that_exists() {
        let rows: Vec<String> = scenes::ALL.iter().flat_map(scenes::Scene::rows).collect();
        for name in floors().unwrap().keys() {
            assert!(rows.contains(name), "{name}");
        }
    }

    #[test]
    fn a_value_below_its_floor_or_above_its_ceiling_does_not_hold() {
        assert!(Floor::AtLeast(0.5).holds(0.5) && !Floor::AtLeast(0.5).holds(0.4));
        assert!(Floor::AtMost(0.5).holds(0.5) && !Floor::AtMost(0.5).holds(0.6));
    }
}
