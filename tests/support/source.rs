//! Rust source as text: files, what is code in them, and which modules they name. Not a parser: it
//! knows as much of the language as this repository uses.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// One file of the repository.
pub struct Source {
    /// Its path from the root, with `/`.
    pub path: String,
    /// All of it.
    pub text: String,
    /// The same lines without comments and without what stands in quotes.
    pub code: String,
    /// The part of `code` before the file's own test module.
    pub shipped: String,
}

/// Every `.rs` file below these directories, in order.
pub fn sources(directories: &[&str]) -> Vec<Source> {
    let mut paths = Vec::new();
    for directory in directories {
        walk(&root().join(directory), &mut paths);
    }
    paths.sort();
    let paths = paths.into_iter().filter(|path| path.ends_with(".rs"));
    paths.map(read).collect()
}

/// Files of `src` that are compiled into the library: without those that are modules for tests.
pub fn shipped() -> Vec<Source> {
    let all = sources(&["src"]);
    let for_tests: Vec<String> = all.iter().flat_map(test_modules).collect();
    let is_for_tests = |path: &str| {
        let within =
            |stem: &String| path == format!("{stem}.rs") || path.starts_with(&format!("{stem}/"));
        for_tests.iter().any(within)
    };
    all.into_iter()
        .filter(|source| !is_for_tests(&source.path))
        .collect()
}

/// The repository's root.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn walk(directory: &Path, paths: &mut Vec<String>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            walk(&path, paths);
        } else {
            let path = path.strip_prefix(root()).unwrap();
            paths.push(path.to_str().unwrap().replace('\\', "/"));
        }
    }
}

fn read(path: String) -> Source {
    let text = fs::read_to_string(root().join(&path)).unwrap();
    let code = code_of(&text);
    let tests = code.find("\n#[cfg(test)]\nmod tests {");
    let shipped = code[..tests.unwrap_or(code.len())].to_owned();
    Source {
        path,
        text,
        code,
        shipped,
    }
}

/// The module that a file is: `src/actors/hub.rs` and `src/actors/hub/mod.rs` are `[actors, hub]`.
pub fn module_of(path: &str) -> Vec<&str> {
    let path = path.trim_start_matches("src/").trim_end_matches(".rs");
    let path = path.trim_end_matches("/mod");
    path.split('/').filter(|part| *part != "lib").collect()
}

/// Paths, without `.rs`, of the modules that a file declares for tests only.
fn test_modules(source: &Source) -> Vec<String> {
    let lines: Vec<&str> = source.code.lines().collect();
    let mut found = Vec::new();
    for pair in lines.windows(2) {
        let name = pair[1].trim().trim_start_matches("pub(crate) ");
        let name = name.strip_prefix("mod ").and_then(|n| n.strip_suffix(';'));
        if let (true, Some(name)) = (pair[0].trim() == "#[cfg(test)]", name) {
            found.push(format!("src/{}/{name}", module_of(&source.path).join("/")));
        }
    }
    found
}

/// Blanks comments and the insides of string and character literals; lines stay where they are.
fn code_of(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = match bytes[at] {
            b'/' if bytes[at..].starts_with(b"//") => find(bytes, at, b"\n"),
            b'/' if bytes[at..].starts_with(b"/*") => find(bytes, at, b"*/") + 2,
            b'r' if !is_word(bytes, at.wrapping_sub(1)) && raw_hashes(bytes, at).is_some() => {
                let hashes = raw_hashes(bytes, at).unwrap();
                let close = [b"\"".as_slice(), &b"#".repeat(hashes)].concat();
                find(bytes, at + hashes + 2, &close) + close.len()
            }
            b'"' => quoted(bytes, at, b'"'),
            // A lifetime has no closing quote close by.
            b'\'' if bytes.get(at + 1) == Some(&b'\\') || bytes.get(at + 2) == Some(&b'\'') => {
                quoted(bytes, at, b'\'')
            }
            _ => at,
        };
        for byte in &mut code[at..end.min(bytes.len())] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end.max(at + 1);
    }
    String::from_utf8_lossy(&code).into_owned()
}

fn find(bytes: &[u8], from: usize, what: &[u8]) -> usize {
    let found = bytes[from..].windows(what.len()).position(|w| w == what);
    found.map_or(bytes.len(), |found| from + found)
}

fn quoted(bytes: &[u8], from: usize, quote: u8) -> usize {
    let mut at = from + 1;
    while at < bytes.len() && bytes[at] != quote {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    at + 1
}

fn raw_hashes(bytes: &[u8], at: usize) -> Option<usize> {
    let hashes = bytes[at + 1..].iter().take_while(|b| **b == b'#').count();
    (bytes.get(at + 1 + hashes) == Some(&b'"')).then_some(hashes)
}

fn is_word(bytes: &[u8], at: usize) -> bool {
    bytes
        .get(at)
        .is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_')
}

/// Where `word` stands in `text` as a whole word (it may contain `::` and the like).
pub fn words<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let bytes = text.as_bytes();
    text.match_indices(word)
        .map(|(at, _)| at)
        .filter(move |at| {
            let opens = !is_word(word.as_bytes(), 0) || *at == 0 || !is_word(bytes, at - 1);
            let ends =
                !is_word(word.as_bytes(), word.len() - 1) || !is_word(bytes, at + word.len());
            opens && ends
        })
}

/// The number of the line that `at` is in, from 1.
pub fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

/// Every path into this crate that a file's shipped code names, from the crate's root.
pub fn paths_named(source: &Source) -> BTreeSet<Vec<String>> {
    let code = &source.shipped;
    let mut found = BTreeSet::new();
    for at in words(code, "crate::") {
        // `pub(crate)` and `$crate` have no path behind them that matters here.
        expand(&code[at + "crate::".len()..], Vec::new(), &mut found);
    }
    for at in words(code, "super::") {
        if code[..at].ends_with("super::") {
            continue; // counted with the first
        }
        let mut base: Vec<String> = module_of(&source.path)
            .iter()
            .map(|s| (*s).into())
            .collect();
        let mut rest = &code[at..];
        while let Some(up) = rest.strip_prefix("super::") {
            base.pop();
            rest = up;
        }
        expand(rest, base, &mut found);
    }
    found
}

/// Reads `a::b::{c, d::e}` behind `base`; returns what is left of the text.
fn expand<'a>(text: &'a str, base: Vec<String>, found: &mut BTreeSet<Vec<String>>) -> &'a str {
    let mut rest = text.trim_start();
    if let Some(group) = rest.strip_prefix('{') {
        rest = group.trim_start();
        while !rest.is_empty() && !rest.starts_with('}') {
            rest = expand(rest, base.clone(), found).trim_start();
            // Past `as name` and the comma.
            let next = rest.find([',', '}']).unwrap_or(rest.len());
            rest = rest[next..].trim_start_matches(',').trim_start();
        }
        return rest.get(1..).unwrap_or("");
    }
    let end = rest
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(rest.len());
    let mut path = base;
    path.push(rest[..end].to_owned());
    match rest[end..].strip_prefix("::") {
        Some(more) => expand(more, path, found),
        None => {
            found.insert(path);
            &rest[end..]
        }
    }
}

/// What `lib.rs` re-exports at the root: name to module.
pub fn reexports() -> BTreeMap<String, Vec<String>> {
    let lib = read("src/lib.rs".into());
    let mut exported = BTreeMap::new();
    for at in words(&lib.code, "pub use ") {
        let mut found = BTreeSet::new();
        expand(&lib.code[at + "pub use ".len()..], Vec::new(), &mut found);
        for mut path in found {
            let name = path.pop().unwrap();
            exported.insert(name, path);
        }
    }
    exported
}

/// Functions of a file: name, first line, number of lines. Counts braces.
pub fn functions(code: &str) -> Vec<(String, usize, usize)> {
    let mut found = Vec::new();
    for at in words(code, "fn ") {
        let name: String = code[at + 3..]
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect();
        let Some(open) = code[at..]
            .find(['{', ';'])
            .filter(|open| code[at + open..].starts_with('{'))
        else {
            continue;
        };
        let mut depth = 0;
        let close = code[at + open..].char_indices().find_map(|(i, c)| {
            depth += i32::from(c == '{') - i32::from(c == '}');
            (depth == 0).then_some(i)
        });
        let (first, last) = (
            line_of(code, at),
            line_of(code, at + open + close.unwrap_or(0)),
        );
        if !name.is_empty() {
            found.push((name, first, last - first + 1));
        }
    }
    found
}
