//! The house keeps its order: import directions, who may do what, sizes, and what is not left lying.
//!
//! ARCHITECTURE.md has the reasons. A new arrow or exception here is a change of design and belongs
//! there, too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

#[path = "support/house.rs"]
mod house;
#[path = "support/source.rs"]
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use house::{
    AGAINST_THE_ORDER, ARROWS, FUNCTION_LINES_MAX, KNOWS_ACTIX, MAY_SLEEP, OTHER_LINES_MAX, SHARED,
    SRC_LINES_MAX,
};
use source::{
    Source, functions, line_of, module_of, paths_named, reexports, root, shipped, sources, words,
};

#[test]
fn imports_follow_the_arrows() {
    let found = arrows();
    let mut wrong = Vec::new();
    for (from, to) in &found {
        let known = ARROWS.iter().find(|(name, _)| name == from);
        let known: BTreeSet<String> = known.map_or_else(BTreeSet::new, |(_, to)| {
            to.split_whitespace().map(str::to_owned).collect()
        });
        if !ARROWS.iter().any(|(name, _)| name == from) {
            wrong.push(format!("{from} is not in the table"));
        }
        for to in to.difference(&known) {
            wrong.push(format!("{from} imports {to}"));
        }
        for to in known.difference(to) {
            wrong.push(format!(
                "{from} no longer imports {to}: take it out of the table"
            ));
        }
    }
    for (name, _) in ARROWS.iter().filter(|(name, _)| !found.contains_key(*name)) {
        wrong.push(format!("{name} is gone"));
    }
    assert_tidy(wrong);
}

#[test]
fn arrows_point_to_what_is_lower() {
    let place = |name: &str| ARROWS.iter().position(|(module, _)| *module == name);
    let mut wrong = Vec::new();
    for (from, to) in ARROWS {
        for to in to.split_whitespace() {
            let is_known = AGAINST_THE_ORDER.contains(&(*from, to));
            if (place(to) < place(from)) == is_known {
                wrong.push(format!(
                    "{from} imports {to}, which is not lower, or is listed as such"
                ));
            }
        }
    }
    assert_tidy(wrong);
}

#[test]
fn actors_meet_through_recipients_only() {
    let found = arrows();
    let actors = found
        .iter()
        .filter(|(from, _)| from.starts_with("actors::"));
    let mut wrong = Vec::new();
    for (from, to) in actors {
        let others = to
            .iter()
            .filter(|to| to.starts_with("actors::") && *to != "actors::guard");
        wrong.extend(others.map(|to| format!("{from} imports {to}")));
    }
    for from in ["cache", "tiers", "watch", "messages", "port", "shelf"] {
        let actors = found[from].iter().filter(|to| to.starts_with("actors"));
        wrong.extend(actors.map(|to| format!("{from} imports {to}")));
    }
    assert_tidy(wrong);
}

#[test]
fn only_those_who_must_know_actix() {
    assert_tidy(named_outside(&["actix"], KNOWS_ACTIX));
}

#[test]
fn only_the_error_names_the_mailbox_error() {
    assert_tidy(named_outside(&["MailboxError"], &["src/error.rs"]));
}

#[test]
fn only_the_runtime_starts_threads_and_arbiters() {
    let starts = [
        "System::new",
        "System::current",
        "Arbiter::",
        "thread::spawn",
        "thread::Builder",
        "thread::scope",
        "spawn_blocking",
        "Runtime::new",
    ];
    // The suite for drivers reads from several threads, as larder will; it runs in a host's tests.
    let allowed = ["src/runtime.rs", "src/drivers/conformance/"];
    assert_tidy(named_outside(&starts, &allowed));
    // Arbiters are handed on as handles, to where actors are put on them.
    let arbiters = ["src/runtime.rs", "src/wiring"];
    assert_tidy(named_outside(&["ArbiterHandle", "Arbiter"], &arbiters));
}

#[test]
fn only_the_clock_reads_time() {
    let reads = ["Instant::now", "SystemTime", "UNIX_EPOCH", "clock_gettime"];
    assert_tidy(named_outside(
        &reads,
        &["src/clock.rs", "src/clock/base.rs"],
    ));
}

#[test]
fn what_is_sent_without_waiting_says_what_bounds_it() {
    let mut wrong = named_outside(&["do_send"], &["src/actors/", "src/bell.rs", "src/wiring"]);
    for source in shipped() {
        let lines: Vec<&str> = source.text.lines().collect();
        for at in words(&source.shipped, "do_send(") {
            let line = line_of(&source.shipped, at);
            let near = &lines[line.saturating_sub(2)..line];
            if !near.iter().any(|line| line.contains("// ")) {
                wrong.push(format!(
                    "{}:{line} has no word about its bound",
                    source.path
                ));
            }
        }
    }
    assert_tidy(wrong);
}

#[test]
fn every_shared_structure_is_known() {
    let shared = [
        "Mutex<",
        "RwLock<",
        "AtomicBool",
        "AtomicU8",
        "HintU8",
        "AtomicU32",
        "AtomicU64",
        "AtomicUsize",
        "Semaphore",
        "Notify",
        "OnceLock<",
        "LazyLock<",
        "thread_local!",
        "static mut",
    ];
    let known: Vec<&str> = SHARED.iter().map(|(path, _)| *path).collect();
    let mut wrong = named_outside(&shared, &known);
    let all = shipped();
    for (path, _) in SHARED {
        let source = all.iter().find(|source| source.path == *path);
        let holds = |s: &Source| {
            shared
                .iter()
                .any(|name| words(&s.shipped, name).next().is_some())
        };
        if !source.is_some_and(holds) {
            wrong.push(format!("{path} shares nothing any more"));
        }
    }
    assert_tidy(wrong);
}

#[test]
fn nothing_shipped_panics_on_purpose_or_prints() {
    let never = [
        ".unwrap()",
        ".expect(",
        "todo!",
        "unimplemented!",
        "dbg!",
        "println!",
        "eprintln!",
        "print!",
        "eprint!",
        "panic!",
    ];
    // The suite for drivers is a test that ships: panicking is how it reports.
    assert_tidy(named_outside(&never, &["src/drivers/conformance/"]));
}

#[test]
fn no_test_is_ignored_and_nothing_waits_by_sleeping() {
    let mut wrong = Vec::new();
    for source in sources(&["src", "tests", "examples", "benches"]) {
        let is_test = source.path.starts_with("tests/");
        let mut never = vec!["#[ignore"];
        // Examples are read, and some scenes of the benchmarks are about time that passes.
        let shows = [
            "examples/",
            "benches/src/scenes/",
            "benches/src/disk_peers/",
        ];
        let shows = shows.iter().any(|dir| source.path.starts_with(dir));
        if !shows && !MAY_SLEEP.contains(&source.path.as_str()) {
            never.push("thread::sleep");
        }
        if is_test {
            never.push("time::sleep(");
        }
        wrong.extend(
            never
                .iter()
                .flat_map(|name| places(&source.code, name, &source.path)),
        );
    }
    assert_tidy(wrong);
}

#[test]
fn files_and_functions_fit_their_sizes() {
    let mut wrong = Vec::new();
    for source in sources(&["src", "tests", "examples", "benches"]) {
        let is_src = source.path.starts_with("src/");
        let lines_max = if is_src {
            SRC_LINES_MAX
        } else {
            OTHER_LINES_MAX
        };
        let lines = source.text.lines().count();
        if lines > lines_max {
            wrong.push(format!(
                "{} has {lines} lines, {lines_max} are allowed",
                source.path
            ));
        }
        // A test's table of cases may be as long as it is.
        for (name, first, lines) in functions(&source.shipped) {
            if lines > FUNCTION_LINES_MAX && !source.path.contains("tests") {
                wrong.push(format!("{}:{first} {name} has {lines} lines", source.path));
            }
        }
    }
    assert_tidy(wrong);
}

#[test]
fn every_file_begins_with_its_idea() {
    let all = sources(&["src", "tests", "examples", "benches"]);
    let mute = all.iter().filter(|source| !source.text.starts_with("//! "));
    assert_tidy(
        mute.map(|source| format!("{} does not begin with //!", source.path))
            .collect(),
    );
}

#[test]
fn every_message_stands_in_the_catalogue() {
    let all = sources(&["src/messages"]);
    let catalogue = &all
        .iter()
        .find(|s| s.path.ends_with("mod.rs"))
        .unwrap()
        .text;
    let mut wrong = Vec::new();
    for source in &all {
        let subject = module_of(&source.path).pop().unwrap().to_owned();
        for (derive, _) in source.text.match_indices("#[derive(Message") {
            let name = source.text[derive..].split("pub struct ").nth(1).unwrap();
            let name: String = name.chars().take_while(|c| c.is_alphanumeric()).collect();
            if !catalogue.contains(&format!("[`{subject}::{name}")) {
                wrong.push(format!("{subject}::{name} is not in the catalogue"));
            }
        }
    }
    assert_tidy(wrong);
}

#[test]
fn the_documents_name_every_module_and_every_limit() {
    let read = |path: &str| std::fs::read_to_string(root().join(path)).unwrap();
    let (architecture, semantics) = (read("ARCHITECTURE.md"), read("SEMANTICS.md"));
    let mut wrong = Vec::new();
    for (module, _) in ARROWS {
        let path = module.replace("::", "/");
        if !architecture.contains(&format!("`{path}")) {
            wrong.push(format!("ARCHITECTURE.md does not name {path}"));
        }
    }
    let config = read("src/config/limits.rs");
    let limits = config.split("pub struct Limits {").nth(1).unwrap();
    for line in limits.lines().take_while(|line| !line.starts_with('}')) {
        let field = line
            .trim()
            .strip_prefix("pub ")
            .and_then(|f| f.split(':').next());
        if field.is_some_and(|field| !semantics.contains(&format!("`{field}`"))) {
            wrong.push(format!("SEMANTICS.md does not name {}", line.trim()));
        }
    }
    assert_tidy(wrong);
}

#[test]
fn nothing_tracked_names_a_machine() {
    // In halves, so that this list does not find itself.
    let halves = [
        ("/ho", "me/"),
        ("/ro", "ot/"),
        ("/wo", "rk/"),
        ("/Us", "ers/"),
        ("C:\\U", "sers"),
        ("/tmp/", "wt"),
        ("artif", "actory"),
        ("jfr", "og"),
        ("index.crat", "es.io"),
        ("registry+https://in", "dex"),
        (".inter", "nal/"),
        ("127.0.0.1:", "80"),
    ];
    let mut wrong = Vec::new();
    for path in tracked() {
        // Binary files hold no words.
        let text = std::fs::read_to_string(root().join(&path)).unwrap_or_default();
        for (a, b) in halves {
            let found = text.match_indices(&format!("{a}{b}")).next();
            wrong
                .extend(found.map(|(at, _)| format!("{path}:{} names {a}{b}", line_of(&text, at))));
        }
    }
    assert_tidy(wrong);
}

/// Every module with what it imports.
fn arrows() -> BTreeMap<String, BTreeSet<String>> {
    let all = shipped();
    let rooms: BTreeSet<Vec<String>> = all.iter().map(|s| owned(&module_of(&s.path), 2)).collect();
    let exported = reexports();
    let unit = |path: &[String]| -> String {
        let path = exported.get(&path[0]).map_or(path, Vec::as_slice);
        let is_house = matches!(path[0].as_str(), "actors" | "drivers");
        let depth = if is_house && rooms.contains(&path[..path.len().min(2)]) {
            2
        } else {
            1
        };
        path[..path.len().min(depth)].join("::")
    };
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in all.iter().filter(|source| source.path != "src/lib.rs") {
        let from = unit(&owned(&module_of(&source.path), usize::MAX));
        let named = paths_named(source)
            .iter()
            .map(|path| unit(path))
            .collect::<Vec<_>>();
        let to = found.entry(from.clone()).or_default();
        to.extend(named.into_iter().filter(|to| *to != from));
    }
    found
}

fn owned(path: &[&str], count: usize) -> Vec<String> {
    path.iter()
        .take(count)
        .map(|part| (*part).to_owned())
        .collect()
}

/// Where shipped code outside of the files that begin with one of `allowed` has one of `names`.
fn named_outside(names: &[&str], allowed: &[&str]) -> Vec<String> {
    let all = shipped();
    let others = all
        .iter()
        .filter(|s| !allowed.iter().any(|allowed| s.path.starts_with(allowed)));
    let found = others.flat_map(|s| {
        names
            .iter()
            .flat_map(|name| places(&s.shipped, name, &s.path))
    });
    found.collect()
}

fn places(code: &str, name: &str, path: &str) -> Vec<String> {
    let lines = words(code, name).map(|at| line_of(code, at));
    lines
        .map(|line| format!("{path}:{line} has {name}"))
        .collect()
}

/// Files under version control, or the sources where there is none.
fn tracked() -> Vec<String> {
    let listed = Command::new("git")
        .arg("ls-files")
        .current_dir(root())
        .output();
    let listed = listed
        .ok()
        .filter(|out| out.status.success())
        .map(|out| out.stdout);
    match listed.map(|out| {
        String::from_utf8_lossy(&out)
            .lines()
            .map(str::to_owned)
            .collect()
    }) {
        Some(paths) => paths,
        None => sources(&["src", "tests", "examples", "benches"])
            .into_iter()
            .map(|s| s.path)
            .collect(),
    }
}

fn assert_tidy(wrong: Vec<String>) {
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}
