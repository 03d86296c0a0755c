//! What the scenes found: rows under stable names, figures for pictures, and tables for the eye.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;

/// One bar of a picture.
pub struct Figure {
    pub scene: &'static str,
    pub contender: String,
    pub value: f64,
}

#[derive(Default)]
pub struct Report {
    /// Every row by its name.
    pub rows: BTreeMap<String, f64>,
    pub figures: Vec<Figure>,
}

impl Report {
    pub fn row(&mut self, name: String, value: f64) {
        self.rows.insert(name, value);
    }

    pub fn figure(&mut self, scene: &'static str, contender: &str, value: f64) {
        self.figures.push(Figure {
            scene,
            contender: contender.to_owned(),
            value,
        });
    }

    /// The figures of a scene, in the order they came.
    pub fn figures_of<'a>(&'a self, scene: &'a str) -> impl Iterator<Item = &'a Figure> {
        self.figures.iter().filter(move |f| f.scene == scene)
    }

    /// `{row: value}`, sorted, with four decimals.
    pub fn write_json(&self, path: &str) -> Result<(), Box<dyn Error>> {
        let rounded = self
            .rows
            .iter()
            .map(|(name, value)| (name, (value * 1e4).round() / 1e4));
        let rounded: BTreeMap<_, _> = rounded.collect();
        fs::write(path, serde_json::to_string_pretty(&rounded)? + "\n")?;
        Ok(())
    }
}

/// Prints columns: the first to the left, the others to the right.
pub fn print_table(head: &[&str], lines: &[Vec<String>]) {
    print!("{}", table(head, lines));
}

fn table(head: &[&str], lines: &[Vec<String>]) -> String {
    let width = |at: usize| {
        let cells = lines.iter().map(|line| line[at].chars().count());
        cells.chain([head[at].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let head: Vec<String> = head.iter().map(|&cell| cell.to_owned()).collect();
    let mut text = String::new();
    for line in [&head].into_iter().chain(lines) {
        let mut row = format!("  {:<1$}", line[0], widths[0]);
        for (cell, width) in line.iter().zip(&widths).skip(1) {
            row.push_str(&format!("  {cell:>width$}"));
        }
        text.push_str(row.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let lines = [
            vec!["larder".into(), "1".into()],
            vec!["a".into(), "".into()],
        ];
        assert_eq!(
            table(&["who", "ns/op"], &lines),
            "  who     ns/op\n  larder      1\n  a\n"
        );
    }
}
