//! What clippy cannot see: the borders between the folders, names, leftovers. Each message says what to do.
#![allow(clippy::disallowed_methods, reason = "a test reads the source tree")]

#[path = "tidy/arrows.rs"]
mod arrows;
#[path = "tidy/core.rs"]
mod core_rules;
#[path = "tidy/dependencies.rs"]
mod dependencies;
#[path = "tidy/docs.rs"]
mod docs;
#[path = "tidy/names.rs"]
mod names;
#[path = "tidy/source.rs"]
mod source;
#[path = "tidy/surface.rs"]
mod surface;

use std::fs;
use std::path::{Path, PathBuf};

use dependencies::Manifest;
use source::Source;

const LINE_LENGTH_MAX: usize = 160;
const FILE_LINES_MAX: usize = 1000;

/// Every Rust source file of the workspace, with its path from the root, in a fixed order.
fn sources() -> Vec<(String, String)> {
    let folders = ["src", "bench", "tools", "tests"];
    files(&folders, |path| path.extension().is_some_and(|ending| ending == "rs"))
}

/// The files below `folders` that are wanted, with their paths from the root.
fn files(folders: &[&str], is_wanted: fn(&Path) -> bool) -> Vec<(String, String)> {
    fn walk(folder: &Path, is_wanted: fn(&Path) -> bool, found: &mut Vec<PathBuf>) {
        let mut entries: Vec<_> =
            fs::read_dir(folder).expect("a source folder").map(|e| e.expect("an entry").path()).collect();
        entries.sort();
        for path in entries {
            if path.is_dir() && path.file_name().is_some_and(|name| name != "target" && name != "stock") {
                walk(&path, is_wanted, found);
            } else if is_wanted(&path) {
                found.push(path);
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for folder in folders {
        walk(&root.join(folder), is_wanted, &mut found);
    }
    found
        .into_iter()
        .map(|path| {
            let name = path.strip_prefix(root).expect("below the root").to_string_lossy().into_owned();
            let text = fs::read_to_string(&path).expect("UTF-8 source");
            (name, text)
        })
        .collect()
}

/// The words of every source file.
fn parsed() -> Vec<Source> {
    sources().iter().map(|(path, text)| Source::new(path, text)).collect()
}

fn complain(problems: Vec<String>) {
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

#[test]
fn arrows_between_folders_point_down() {
    complain(arrows::wrong_arrows(&parsed()));
}

#[test]
fn every_public_function_is_called() {
    complain(names::uncalled(&parsed()));
}

#[test]
fn nothing_is_shown_to_nobody() {
    let is_protocol = |path: &str| path.starts_with("src/protocol/");
    let is_broker =
        |path: &str| path.starts_with("src/") && !path.starts_with("src/protocol/") && path != "src/main.rs";
    let sources = parsed();
    let mut problems = surface::shown_to_nobody(&sources, is_protocol, |_| true);
    problems.extend(surface::shown_to_nobody(&sources, is_broker, |source| {
        source.folder() == Some("main") || source.words.iter().any(|word| word.text == "ringmq")
    }));
    complain(problems);
}

#[test]
fn no_two_types_share_a_name() {
    complain(names::shared_type_names(&parsed()));
}

#[test]
fn words_that_had_many_meanings_have_one() {
    complain(names::overused_words(&parsed()));
}

#[test]
fn the_broker_has_one_door() {
    complain(names::other_doors(&parsed()));
}

#[test]
fn comments_say_more_than_names() {
    complain(sources().iter().flat_map(|(path, text)| docs::silent_docs(path, text)).collect());
}

#[test]
fn a_send_is_read_in_ten_files() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let architecture = fs::read_to_string(root.join("src/ARCHITECTURE.md")).expect("the page is there");
    complain(docs::walk_is_short(&architecture, root));
}

#[test]
fn the_tests_of_the_features_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let compat = fs::read_to_string(root.join("src/protocol/COMPAT.md")).expect("the page is there");
    complain(docs::unknown_tests(&compat, |file| fs::read_to_string(root.join(format!("tests/{file}.rs"))).ok()));
}

/// The manifest of every package.
fn manifests() -> Vec<Manifest> {
    let mut manifests =
        files(&["src", "bench", "tools", "tests"], |path| path.file_name().is_some_and(|name| name == "Cargo.toml"));
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifests.push(("Cargo.toml".into(), fs::read_to_string(root.join("Cargo.toml")).expect("a manifest")));
    manifests.into_iter().map(|(path, text)| Manifest { path, text }).collect()
}

#[test]
fn every_dependency_is_named_by_its_package() {
    complain(dependencies::unnamed(&manifests(), &parsed()));
}

#[test]
fn cargo_run_runs_the_broker() {
    complain(dependencies::other_default_runs(&manifests()));
}

#[test]
fn tools_are_built_without_the_broker() {
    let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock");
    let lock = fs::read_to_string(lock).expect("cargo has written it");
    assert!(lock.contains("name = \"ringmq-tools\""), "the tools have another name");
    complain(dependencies::built_with_broker(&lock));
}

#[test]
fn what_the_shells_use_is_named_in_the_shells_only() {
    complain(core_rules::named_elsewhere(&parsed()));
}

#[test]
fn unsafe_is_only_where_the_system_is_met() {
    complain(core_rules::unsafe_elsewhere(&parsed()));
}

#[test]
fn files_are_short_and_lines_fit() {
    let mut problems = Vec::new();
    for (file, text) in sources() {
        let lines = text.lines().count();
        if lines > FILE_LINES_MAX {
            problems.push(format!("{file}: {lines} lines: look for the second idea in it and give it a file"));
        }
        for (index, line) in text.lines().enumerate() {
            // A text that is compared byte for byte is not broken for its looks.
            if line.chars().count() > LINE_LENGTH_MAX && !line.contains('"') {
                problems.push(format!("{file}:{}: longer than {LINE_LENGTH_MAX} columns", index + 1));
            }
        }
    }
    complain(problems);
}

#[test]
fn nothing_is_left_over() {
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X:"), concat!("HA", "CK")];
    let folders = ["utils", "helpers", "common", "impls", "misc"];
    let mut problems = Vec::new();
    for (file, text) in sources() {
        for part in file.trim_end_matches(".rs").split('/') {
            if folders.contains(&part) {
                problems.push(format!("{file}: `{part}` says nothing; name the idea"));
            }
        }
        for (index, line) in text.lines().enumerate() {
            if marks.iter().any(|mark| line.contains(mark)) {
                problems.push(format!("{file}:{}: do it or delete the note", index + 1));
            }
        }
    }
    complain(problems);
}

#[test]
fn every_file_of_the_tree_is_part_of_a_crate() {
    complain(core_rules::undeclared(&parsed()));
}
