//! What clippy cannot see: the borders between the folders, names, leftovers. Each message says what to do.
#![allow(clippy::disallowed_methods, reason = "a test reads the source tree")]

#[path = "tidy/arrows.rs"]
mod arrows;
#[path = "tidy/dependencies.rs"]
mod dependencies;
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

/// The line without its comment, near enough for names: string literals with `//` in them do not occur with these names.
fn code_of(line: &str) -> &str {
    line.split("//").next().unwrap_or("")
}

fn complain(problems: Vec<String>) {
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

/// Tests within `src/` that read golden files; they are part of no build.
const TEST_FILES: [&str; 2] = ["src/protocol/golden.rs", "src/protocol/code.rs"];

/// Lines of `src/` that use the crate `name` outside of the folders that may.
fn outside(name: &str, allowed: &[&str], advice: &str) -> Vec<String> {
    let path = format!("{name}::");
    let mut problems = Vec::new();
    for (file, text) in sources() {
        let may = allowed.iter().chain(&TEST_FILES).any(|prefix| file.starts_with(prefix));
        if !file.starts_with("src/") || may {
            continue;
        }
        for (index, line) in text.lines().enumerate() {
            if code_of(line).contains(&path) {
                problems.push(format!("{file}:{}: names {name}: {advice}", index + 1));
            }
        }
    }
    problems
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
fn every_dependency_is_named_by_its_package() {
    let mut manifests =
        files(&["src", "bench", "tools", "tests"], |path| path.file_name().is_some_and(|name| name == "Cargo.toml"));
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifests.push(("Cargo.toml".into(), fs::read_to_string(root.join("Cargo.toml")).expect("a manifest")));
    let manifests: Vec<Manifest> = manifests.into_iter().map(|(path, text)| Manifest { path, text }).collect();
    complain(dependencies::unnamed(&manifests, &parsed()));
}

#[test]
fn glommio_is_named_in_the_shells_only() {
    complain(outside(
        "glommio",
        &["src/net/", "src/disk/", "src/shard/"],
        "decide in a state machine and let a shell carry it out",
    ));
}

#[test]
fn tokio_is_named_in_the_control_plane_only() {
    complain(outside(
        "tokio",
        &["src/control/", "src/shard/", "src/main.rs"],
        "the data plane does not wait for the control plane; pass a message",
    ));
}

#[test]
fn the_core_has_no_clock_file_or_socket() {
    let shells = ["src/net/", "src/disk/", "src/files.rs", "src/shard/", "src/control/", "src/main.rs"];
    let mut problems = Vec::new();
    for name in [
        "std::fs",
        "std::thread",
        "std::time::Instant",
        "std::time::SystemTime",
        "std::net::TcpStream",
        "std::net::TcpListener",
    ] {
        problems.extend(outside(name, &shells, "the core takes time, bytes and seeds as arguments"));
        let import = format!("use {name}");
        for (file, text) in sources() {
            if file.starts_with("src/")
                && !shells.iter().any(|prefix| file.starts_with(prefix))
                && text.contains(&import)
            {
                problems.push(format!("{file}: imports {name}: the core takes time, bytes and seeds as arguments"));
            }
        }
    }
    complain(problems);
}

#[test]
fn unsafe_is_only_where_the_system_is_met() {
    let mut problems = Vec::new();
    for (file, text) in sources() {
        let is_allowed =
            ["src/disk/", "src/net/listener.rs", "tests/tidy.rs"].iter().any(|prefix| file.starts_with(prefix));
        if is_allowed {
            continue;
        }
        for (index, line) in text.lines().enumerate() {
            if code_of(line).contains("unsafe {") || code_of(line).contains("unsafe fn") {
                problems.push(format!("{file}:{}: unsafe belongs behind a safe wrapper in src/disk", index + 1));
            }
        }
    }
    complain(problems);
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
    let files = sources();
    let mut problems = Vec::new();
    for (file, _) in files.iter().filter(|(file, _)| file.starts_with("src/")) {
        let path = Path::new(file);
        let stem = path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
        if ["lib", "main"].contains(&stem.as_str()) {
            continue;
        }
        let (module, parents) = if stem == "mod" {
            let folder = path.parent().expect("src/x/mod.rs has a folder");
            let name = folder.file_name().expect("named").to_string_lossy().into_owned();
            (name, parent_modules(folder.parent().expect("below src")))
        } else {
            (stem, parent_modules(path.parent().expect("below src")))
        };
        let declaration = format!("mod {module};");
        if !files.iter().any(|(name, text)| parents.contains(name) && text.contains(&declaration)) {
            problems.push(format!("{file}: no `{declaration}` in {}; declare it or delete it", parents.join(" or ")));
        }
    }
    complain(problems);
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
