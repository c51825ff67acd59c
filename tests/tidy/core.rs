//! Who may name what: the runtimes, the clock, files and sockets, `unsafe`; and that each file belongs to a crate.

use std::path::Path;

use super::source::{Source, Word, begins};

/// What is named in some folders only: the beginning of its path, where, and what to do elsewhere.
const BORDERS: [(&[&str], &[&str], &str); 8] = [
    (&["glommio"], &["net", "disk", "shard"], "decide in a state machine and let a shell carry it out"),
    (&["tokio"], &["control"], "the data plane does not wait for the control plane; pass a message"),
    (&["std", "fs"], &SHELLS, OUTSIDE),
    (&["std", "thread"], &SHELLS, OUTSIDE),
    (&["std", "time", "Instant"], &SHELLS, OUTSIDE),
    (&["std", "time", "SystemTime"], &SHELLS, OUTSIDE),
    (&["std", "net", "TcpStream"], &SHELLS, OUTSIDE),
    (&["std", "net", "TcpListener"], &SHELLS, OUTSIDE),
];

const SHELLS: [&str; 7] = ["net", "disk", "files", "repair", "shard", "control", "main"];
const OUTSIDE: &str = "the core takes time, bytes and seeds as arguments";

/// Names that cross a border. Unit tests may read golden files, and are bound by clippy.
pub(crate) fn named_elsewhere(sources: &[Source]) -> Vec<String> {
    let mut problems = Vec::new();
    for source in sources {
        let Some(folder) = source.folder() else { continue };
        for (path, line) in paths(&source.words) {
            for (name, allowed, advice) in BORDERS {
                if path.starts_with(name) && !allowed.contains(&folder) {
                    problems.push(format!("{}:{line}: names {}: {advice}", source.path, name.join("::")));
                }
            }
        }
    }
    problems
}

/// All paths outside of unit tests, those of `use` with their braces opened: segments and line.
fn paths(words: &[Word]) -> Vec<(Vec<&str>, usize)> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < words.len() {
        let is_begin = words.get(at + 1).is_some_and(|next| next.text == "::") && words[at].text != ">";
        if is_begin && !words[at].in_test {
            at = tree(words, at, &mut Vec::new(), &mut found);
        } else {
            at += 1;
        }
    }
    found
}

/// Reads the path that begins at `at`, behind `prefix`. Where it ends.
fn tree<'a>(
    words: &'a [Word],
    mut at: usize,
    prefix: &mut Vec<&'a str>,
    found: &mut Vec<(Vec<&'a str>, usize)>,
) -> usize {
    let depth = prefix.len();
    let mut is_group = false;
    while let Some(word) = words.get(at) {
        if word.text == "{" && depth < prefix.len() {
            is_group = true;
            at += 1;
            while let Some(word) = words.get(at).filter(|word| word.text != "}") {
                match word.text.as_str() {
                    "," => at += 1,
                    "as" => at += 2,
                    _ => at = tree(words, at, prefix, found),
                }
            }
            at += 1;
            break;
        }
        prefix.push(&word.text);
        at += 1;
        if words.get(at).is_none_or(|next| next.text != "::") {
            break;
        }
        at += 1;
    }
    if !is_group {
        let line = words.get(at - 1).map_or(0, |word| word.line);
        found.push((prefix.clone(), line));
    }
    prefix.truncate(depth);
    at
}

/// `unsafe` outside of where the system is met.
pub(crate) fn unsafe_elsewhere(sources: &[Source]) -> Vec<String> {
    const MET: [&str; 2] = ["src/disk/", "src/net/listener.rs"];
    let mut problems = Vec::new();
    for source in sources.iter().filter(|source| !MET.iter().any(|prefix| source.path.starts_with(prefix))) {
        for pair in source.words.windows(2) {
            if pair[0].text == "unsafe" && ["{", "fn", "impl", "extern"].contains(&pair[1].text.as_str()) {
                problems.push(format!(
                    "{}:{}: unsafe belongs behind a safe wrapper in src/disk",
                    source.path, pair[0].line
                ));
            }
        }
    }
    problems
}

/// Files of `src/` that no other declares.
pub(crate) fn undeclared(sources: &[Source]) -> Vec<String> {
    let mut problems = Vec::new();
    for source in sources.iter().filter(|source| source.folder().is_some()) {
        let path = Path::new(&source.path);
        let name = |path: &Path| path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let stem = name(path);
        let folder = path.parent().expect("below src");
        if ["lib", "main"].contains(&stem.as_str()) {
            continue;
        }
        let (module, parents) = if stem == "mod" {
            (name(folder), parent_modules(folder.parent().expect("below src")))
        } else {
            (stem, parent_modules(folder))
        };
        let declares = |other: &&Source| {
            let windows = other.words.windows(3);
            parents.contains(&other.path) && windows.into_iter().any(|three| begins(three, &["mod", &module, ";"]))
        };
        if sources.iter().find(declares).is_none() {
            let parents = parents.join(" or ");
            problems.push(format!("{}: no `mod {module};` in {parents}; declare it or delete it", source.path));
        }
    }
    problems
}

/// The files that may declare the modules lying in `folder`.
fn parent_modules(folder: &Path) -> Vec<String> {
    let folder = folder.to_string_lossy();
    if folder == "src" {
        vec!["src/lib.rs".into(), "src/main.rs".into()]
    } else {
        vec![format!("{folder}/mod.rs"), format!("{folder}/lib.rs"), format!("{folder}.rs")]
    }
}

#[test]
fn what_crosses_a_border_is_told_however_it_is_named() {
    let told = |path: &str, text: &str| named_elsewhere(&[Source::new(path, text)]).len();
    assert_eq!(told("src/broker/a.rs", "use std::time::{Duration, Instant};"), 1);
    assert_eq!(told("src/broker/a.rs", "use std::{fs, net::{IpAddr, TcpStream as S}, fmt};"), 2);
    assert_eq!(told("src/log/a.rs", "fn f() { let x = std::fs::read(p); glommio::spawn_local(x); }"), 2);
    assert_eq!(told("src/log/a.rs", "use std::time::Duration; // std::fs\nuse std::net::IpAddr;"), 0);
    assert_eq!(told("src/disk/a.rs", "use std::fs; use glommio::io::DmaFile;"), 0);
    assert_eq!(told("src/disk/a.rs", "use tokio::sync::{mpsc, oneshot};"), 2);
    assert_eq!(told("src/log/a.rs", "#[cfg(test)] mod tests { use std::fs; }"), 0);
}

#[test]
fn unsafe_code_is_told_and_the_word_is_not() {
    let told = |path: &str, text: &str| unsafe_elsewhere(&[Source::new(path, text)]).len();
    assert_eq!(told("src/log/a.rs", "fn f() { unsafe { g() } } unsafe fn h() {} unsafe impl Send for A {}"), 3);
    assert_eq!(told("src/log/a.rs", "#![expect(unsafe_code)] // unsafe {"), 0);
    assert_eq!(told("src/disk/a.rs", "unsafe fn h() {}"), 0);
}

#[test]
fn a_file_that_nobody_declares_is_told() {
    let told = |parent: &str| undeclared(&[Source::new("src/a/mod.rs", parent), Source::new("src/a/b.rs", "")]).len();
    assert_eq!(told("mod b;"), 1, "a itself");
    assert_eq!(told("// mod b;"), 2);
    assert_eq!(told("mod bb;"), 2);
}
