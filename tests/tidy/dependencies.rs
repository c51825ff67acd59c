//! Each dependency is named in the source of the package that asks for it.

use std::collections::BTreeSet;

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
