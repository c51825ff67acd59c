//! Each dependency is named in the source of the package that asks for it, and some packages have none on the broker.

use std::collections::{BTreeMap, BTreeSet};

use super::source::Source;

/// A `Cargo.toml`; `path` is from the root of the workspace.
pub(crate) struct Manifest {
    pub(crate) path: String,
    pub(crate) text: String,
}

impl Manifest {
    fn folder(&self) -> &str {
        self.path.trim_end_matches("Cargo.toml")
    }

    /// Sections with the dependencies that they list.
    fn dependencies(&self) -> Vec<(&str, &str)> {
        let mut section = "";
        let mut found = Vec::new();
        for line in self.text.lines() {
            if let Some(name) = line.strip_prefix('[') {
                section = name.trim_end_matches(']');
            } else if section.ends_with("dependencies")
                && let Some(name) =
                    line.split(['=', '.', ' ']).next().filter(|name| !name.is_empty() && !name.starts_with('#'))
            {
                found.push((section, name));
            }
        }
        found
    }
}

/// Dependencies that their package does not name, or names in tests alone.
pub(crate) fn unnamed(manifests: &[Manifest], sources: &[Source]) -> Vec<String> {
    let mut problems = Vec::new();
    let mut taken = BTreeSet::new();
    for manifest in manifests {
        for (section, name) in manifest.dependencies() {
            if section == "workspace.dependencies" {
                continue;
            }
            taken.insert(name);
            let word = name.replace('-', "_");
            let is_for_tests = section == "dev-dependencies";
            let is_named = sources.iter().filter(|source| is_owner(manifest, manifests, &source.path)).any(|source| {
                let is_test_file =
                    source.path.strip_prefix(manifest.folder()).is_none_or(|below| below.starts_with("tests/"));
                let mut words = source.words.iter().filter(|found| found.text == word);
                words.any(|found| is_for_tests || !(is_test_file || found.in_test))
            });
            if !is_named {
                let path = &manifest.path;
                problems.push(format!("{path}: {name}: not named where {section} are used: take it out, or move it"));
            }
        }
    }
    for manifest in manifests {
        for (section, name) in manifest.dependencies() {
            if section == "workspace.dependencies" && !taken.contains(name) {
                problems.push(format!("{}: {name}: no package takes it: take it out", manifest.path));
            }
        }
    }
    problems
}

/// A file belongs to the package that names it by path, else to that of the nearest folder above.
fn is_owner(manifest: &Manifest, manifests: &[Manifest], file: &str) -> bool {
    let by_path = |manifest: &Manifest| manifest.text.contains(&format!("path = \"{file}\""));
    let by_folder =
        manifests.iter().filter(|other| file.starts_with(other.folder())).max_by_key(|other| other.folder().len());
    let owner = manifests.iter().find(|other| by_path(other)).or(by_folder);
    owner.is_some_and(|owner| owner.path == manifest.path)
}

/// Packages beside the broker's that say which program is run by default: with two of them `cargo run` runs neither.
pub(crate) fn other_default_runs(manifests: &[Manifest]) -> Vec<String> {
    let says_so = |manifest: &&Manifest| manifest.text.lines().any(|line| line.starts_with("default-run"));
    let others = manifests.iter().filter(|manifest| manifest.path != "Cargo.toml").filter(says_so);
    others.map(|manifest| format!("{}: `cargo run` is the broker's: take default-run out", manifest.path)).collect()
}

#[test]
fn a_second_program_by_default_is_told() {
    let manifest = |path: &str, text: &str| Manifest { path: path.to_owned(), text: text.to_owned() };
    let broker = manifest("Cargo.toml", "[package]\ndefault-run = \"ringmq\"\n");
    let bench = |text| other_default_runs(&[manifest("Cargo.toml", &broker.text), manifest("bench/Cargo.toml", text)]);
    assert_eq!(bench("[package]\nname = \"b\"\n").len(), 0);
    assert_eq!(bench("[package]\ndefault-run = \"b\"\n").len(), 1);
}

/// Packages that are built without the broker.
const WITHOUT_BROKER: [&str; 1] = ["ringmq-tools"];

/// Those of them that take the broker after all, and over which packages. `lock`: `Cargo.lock`, in which renamed and optional ones are resolved.
pub(crate) fn built_with_broker(lock: &str) -> Vec<String> {
    let mut takes: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in lock.split("[[package]]").skip(1) {
        let name = package.split("name = \"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default();
        let list = package.split("dependencies = [").nth(1).unwrap_or_default().lines();
        // A version stands behind names that are not unique, and several versions of a package are one here.
        let names = list.filter_map(|line| line.trim().strip_prefix('"')?.split(['"', ' ']).next());
        takes.entry(name).or_default().extend(names);
    }
    let mut problems = Vec::new();
    for package in WITHOUT_BROKER {
        let (mut ways, mut seen) = (vec![vec![package]], BTreeSet::from([package]));
        while let Some(way) = ways.pop() {
            for name in way.last().and_then(|last| takes.get(last)).into_iter().flatten() {
                let longer = [way.as_slice(), &[*name]].concat();
                if *name == "ringmq" {
                    problems
                        .push(format!("{}: {package} is built without the broker: start `ringmq`", longer.join(" > ")));
                } else if seen.insert(name) {
                    ways.push(longer);
                }
            }
        }
    }
    problems
}

#[test]
fn a_tool_that_takes_the_broker_is_told() {
    let lock = |tools: &str, harness: &str| {
        let package = |name: &str, list: &str| {
            format!("[[package]]\nname = \"{name}\"\nversion = \"1\"\ndependencies = [\n{list}]\n\n")
        };
        let rest = package("ringmq", "") + &package("ringmq-bench", " \"ringmq\",\n") + &package("ringmq-protocol", "");
        package("ringmq-tools", tools) + &package("ringmq-harness", harness) + &rest
    };
    let protocol = " \"ringmq-protocol\",\n";
    let both = " \"ringmq-harness 0.1.0\",\n \"ringmq-protocol\",\n";
    let told = |tools: &str, harness: &str| built_with_broker(&lock(tools, harness));
    assert_eq!(told(protocol, ""), [""; 0]);
    assert_eq!(told(both, " \"ringmq-tools\",\n"), [""; 0]);
    assert!(told(" \"ringmq\",\n", "").concat().starts_with("ringmq-tools > ringmq: "));
    assert!(told(both, " \"ringmq 0.1.0\",\n").concat().starts_with("ringmq-tools > ringmq-harness > ringmq: "));
}

#[test]
fn a_dependency_that_is_not_named_is_told() {
    let manifest = |path: &str, text: &str| Manifest { path: path.to_owned(), text: text.to_owned() };
    let manifests = [
        manifest(
            "Cargo.toml",
            "[workspace.dependencies]\nbytes = \"1\"\nunused = \"1\"\n[dependencies]\nbytes.workspace = true # buffers\n[dev-dependencies]\nto-test = \"1\"",
        ),
        manifest("tools/Cargo.toml", "[dependencies]\nbytes = \"1\"\nclap = \"4\""),
    ];
    let sources = [
        Source::new("src/lib.rs", "use bytes::Bytes;"),
        Source::new("tests/a.rs", "use to_test::It;"),
        Source::new("tools/main.rs", "// bytes\n#[cfg(test)] mod tests { use clap::Parser; }"),
    ];
    let problems = unnamed(&manifests, &sources);
    let told = |name: &str| problems.iter().any(|problem| problem.contains(name));
    assert_eq!(problems.len(), 3, "{problems:?}");
    assert!(
        told("tools/Cargo.toml: bytes") && told("tools/Cargo.toml: clap") && told("Cargo.toml: unused"),
        "{problems:?}"
    );
}
