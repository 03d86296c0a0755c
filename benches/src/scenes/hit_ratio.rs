//! How many requests of real traces hit, beside peers and the optimum.

use super::Scene;
use crate::replay::{ALL, BELADY, Case, LARDER, LRU, PEERS, cases, load, play, problems};
use crate::report::{Report, print_table};

pub const SCENE: Scene = Scene {
    name: "hit-ratio",
    group: "replay",
    about: "hits of real traces in percent, every trace at several capacities in entries",
    reading: "points that larder is above the best of moka, quick_cache and foyer; more is better",
    pictured: true,
    parts: || {
        let mut parts = vec![MEAN.to_owned(), KNOWN_MEAN.to_owned(), WORST.to_owned()];
        parts.extend(cases().iter().map(Case::name));
        parts
    },
    run: |scene, _, report| {
        let cases = cases();
        let ratios = play(&cases, &load());
        let wrong = problems(&cases, &ratios);
        if !wrong.is_empty() {
            return Err(format!("the replay is wrong:\n{}", wrong.join("\n")).into());
        }
        let mut lines = Vec::new();
        let mut worst = f64::INFINITY;
        for (case, ratios) in cases.iter().zip(&ratios) {
            let above = above_best(ratios);
            if !case.is_loop() {
                worst = worst.min(above);
            }
            report.row(scene.row(&case.name()), above);
            lines.push(line(case.name(), ratios, above));
        }
        report.row(scene.row(WORST), worst);
        let known = cases
            .iter()
            .zip(&ratios)
            .filter(|(case, _)| case.reference.is_some());
        let known: Vec<_> = known.map(|(_, ratios)| ratios.clone()).collect();
        for (part, of, ratios) in [(KNOWN_MEAN, "known", &known), (MEAN, "all", &ratios)] {
            let means = means(ratios);
            let above = above_best(&means);
            report.row(scene.row(part), above);
            lines.push(line(
                format!("mean of {of} {}", ratios.len()),
                &means,
                above,
            ));
        }
        let head: Vec<&str> = ["trace-capacity"]
            .into_iter()
            .chain(ALL.iter().map(|policy| policy.name))
            .chain(["vs best"])
            .collect();
        print_table(&head, &lines);
        println!(
            "\n  worst row that is no loop: {worst:+.2} points; LRU and Belady agree with the reference"
        );
        picture(scene.name, &means(&ratios), report);
        Ok(())
    },
};

/// larder's mean over all rows, less the best mean of a peer.
const MEAN: &str = "mean-vs-best";
/// The same over the rows of the reference.
const KNOWN_MEAN: &str = "known-mean-vs-best";
/// The least of the rows, pure loops left out.
const WORST: &str = "worst-vs-best";

fn above_best(ratios: &[f64]) -> f64 {
    let peers = PEERS.map(|peer| ratios[peer]);
    ratios[LARDER] - peers.fold(f64::NEG_INFINITY, f64::max)
}

fn means(ratios: &[Vec<f64>]) -> Vec<f64> {
    let mean = |policy: usize| {
        let sum: f64 = ratios.iter().map(|row| row[policy]).sum();
        sum / ratios.len() as f64
    };
    (0..ALL.len()).map(mean).collect()
}

fn line(name: String, ratios: &[f64], above: f64) -> Vec<String> {
    let cells = ratios.iter().map(|ratio| format!("{ratio:.2}"));
    [name]
        .into_iter()
        .chain(cells)
        .chain([format!("{above:+.2}")])
        .collect()
}

fn picture(scene: &'static str, means: &[f64], report: &mut Report) {
    let shown = [LARDER].into_iter().chain(PEERS).chain([LRU, BELADY]);
    for policy in shown {
        report.figure(scene, ALL[policy].name, means[policy]);
    }
}
