//! Compares rows with the floors that are kept in `floors.json`.

use std::collections::BTreeMap;
use std::error::Error;

use serde::Deserialize;

use crate::report::{Report, print_table};

const FLOORS: &str = include_str!("../floors.json");

/// Which way a row may not go. Times and hit ratios have a floor, footprints a ceiling.
#[derive(Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct Floor {
    at_least: Option<f64>,
    at_most: Option<f64>,
    /// Four fifths of what was reached, and not of the target: RESULTS.md says what was tried.
    #[serde(default)]
    of_reached: bool,
}

impl Floor {
    fn holds(self, value: f64) -> bool {
        self.at_least.is_none_or(|floor| value >= floor)
            && self.at_most.is_none_or(|ceiling| value <= ceiling)
    }

    fn text(self) -> String {
        let bounds = [("at least", self.at_least), ("at most", self.at_most)];
        let bounds = bounds.into_iter();
        let bounds = bounds.filter_map(|(word, bound)| Some(format!("{word} {}", bound?)));
        let of = if self.of_reached { " (of reached)" } else { "" };
        bounds.collect::<Vec<_>>().join(", ") + of
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
        let verdict = if floor.holds(value) { "ok" } else { "MISSED" };
        let value = format!("{value:.2}");
        lines.push(vec![name, value, floor.text(), verdict.into()]);
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
        let floor = |text| serde_json::from_str::<Floor>(text).unwrap();
        let least = floor(r#"{ "at_least": 0.5 }"#);
        assert!(least.holds(0.5) && !least.holds(0.4));
        let most = floor(r#"{ "at_most": 0.5, "of_reached": true }"#);
        assert!(most.holds(0.5) && !most.holds(0.6));
        assert_eq!(most.text(), "at most 0.5 (of reached)");
    }

    #[test]
    fn every_floor_bounds_its_row_on_one_side() {
        for (name, floor) in floors().unwrap() {
            assert!(
                floor.at_least.is_some() != floor.at_most.is_some(),
                "{name}"
            );
        }
    }
}
