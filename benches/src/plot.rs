//! Bar charts as SVG, written by hand: a title, a bar for each contender, its figure beside it.

use std::error::Error;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use crate::peers::LARDER;
use crate::report::{Figure, Report};

struct Picture {
    file: &'static str,
    title: &'static str,
    unit: &'static str,
    /// Scenes, each with what stands above its bars.
    parts: &'static [(&'static str, &'static str)],
}

const PICTURES: &[Picture] = &[
    Picture {
        file: "get-hit.svg",
        title: "get of what is there, 100,000 keys, Zipf 0.99",
        unit: "million operations a second, more is better",
        parts: &[("get-hit-1t", "one thread"), ("get-hit-2t", "two threads")],
    },
    Picture {
        file: "mix.svg",
        title: "75 % get, 25 % set, 1,000,000 keys, room for 100,000",
        unit: "million operations a second, more is better",
        parts: &[
            ("mix-75-25-1t", "one thread"),
            ("mix-75-25-2t", "two threads"),
        ],
    },
    Picture {
        file: "hit-ratio.svg",
        title: "hits of real traces",
        unit: "percent, more is better; Belady is what no policy can pass",
        parts: &[("hit-ratio", "mean over traces and capacities")],
    },
];

const WIDTH: usize = 720;
const LABEL: usize = 120;
const BAR: usize = 18;
const STEP: usize = 24;

/// Draws whatever the report has the figures for.
pub fn draw(report: &Report, directory: &str) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(directory)?;
    for picture in PICTURES {
        let parts = picture.parts.iter().map(|(scene, caption)| {
            let figures: Vec<&Figure> = report.figures_of(scene).collect();
            (*caption, figures)
        });
        let parts: Vec<_> = parts.filter(|(_, figures)| !figures.is_empty()).collect();
        if parts.is_empty() {
            continue;
        }
        let path = Path::new(directory).join(picture.file);
        fs::write(&path, svg(picture, &parts)?)?;
        println!("\ndrawn: {}", path.display());
    }
    Ok(())
}

fn svg(picture: &Picture, parts: &[(&str, Vec<&Figure>)]) -> Result<String, std::fmt::Error> {
    let bars: usize = parts.iter().map(|(_, figures)| figures.len()).sum();
    let height = 64 + STEP * bars + 36 * parts.len();
    let mut svg = String::new();
    writeln!(
        svg,
        r##"<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="13">
<rect width="100%" height="100%" fill="#ffffff"/>
<text x="12" y="24" font-size="16" font-weight="bold" fill="#222222">{}</text>
<text x="12" y="44" fill="#666666">{}</text>"##,
        picture.title, picture.unit
    )?;
    let mut y = 60;
    for (caption, figures) in parts {
        y += 20;
        writeln!(
            svg,
            r##"<text x="12" y="{y}" fill="#222222">{caption}</text>"##
        )?;
        y += 10;
        let most = figures.iter().map(|f| f.value).fold(0.0, f64::max);
        for figure in figures {
            bar(&mut svg, figure, most, y)?;
            y += STEP;
        }
        y += 6;
    }
    svg.push_str("</svg>\n");
    Ok(svg)
}

fn bar(svg: &mut String, figure: &Figure, most: f64, y: usize) -> std::fmt::Result {
    let room = (WIDTH - LABEL - 80) as f64;
    let width = (figure.value / most * room).max(1.0);
    let own = figure.contender == LARDER;
    let (fill, weight) = if own {
        ("#c2571a", "bold")
    } else {
        ("#9db4c0", "normal")
    };
    let (text, beside) = (y + BAR - 4, LABEL as f64 + width + 6.0);
    writeln!(
        svg,
        r##"<text x="{}" y="{text}" text-anchor="end" font-weight="{weight}" fill="#222222">{}</text>
<rect x="{LABEL}" y="{y}" width="{width:.1}" height="{BAR}" fill="{fill}"/>
<text x="{beside:.1}" y="{text}" fill="#222222">{:.1}</text>"##,
        LABEL - 8,
        figure.contender,
        figure.value
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenes;

    #[test]
    fn every_picture_is_of_scenes_that_are_run_for_it() {
        for (name, _) in PICTURES.iter().flat_map(|picture| picture.parts) {
            let scene = scenes::ALL
                .iter()
                .find(|scene| scene.name == *name)
                .unwrap();
            assert!(scene.pictured);
        }
    }

    #[test]
    fn a_bar_is_as_long_as_its_figure() {
        let figures = [("larder", 10.0), ("peer", 5.0)].map(|(contender, value)| Figure {
            scene: "get-hit-1t",
            contender: contender.to_owned(),
            value,
        });
        let parts = [("one thread", figures.iter().collect())];
        let svg = svg(&PICTURES[0], &parts).unwrap();
        assert!(svg.contains(r#"width="520.0""#) && svg.contains(r#"width="260.0""#));
    }
}
