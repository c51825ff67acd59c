//! The commit that a release is built from, which `--version` of each program says, as `RINGMQ_VERSION`.
//!
//! Only a release asks git: a build for development would be made anew after each commit. `RINGMQ_COMMIT` says it where there is no repository.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::print_stdout,
    reason = "runs before the build, and talks to cargo on its stdout"
)]

use std::env;
use std::process::Command;

fn main() {
    // Without a file named, any change of the package would run this again.
    println!("cargo::rerun-if-changed=Cargo.toml");
    println!("cargo::rerun-if-env-changed=RINGMQ_COMMIT");
    let given = env::var("RINGMQ_COMMIT").ok().filter(|commit| !commit.is_empty());
    let is_release = env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let commit = match (given, is_release) {
        (Some(commit), _) => commit,
        (None, true) => {
            if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]) {
                println!("cargo::rerun-if-changed={log}");
            }
            git(&["rev-parse", "--short=12", "HEAD"]).unwrap_or_else(|| "of no known commit".to_owned())
        }
        (None, false) => "built for development".to_owned(),
    };
    println!("cargo::rustc-env=RINGMQ_VERSION={} ({commit})", env::var("CARGO_PKG_VERSION").unwrap_or_default());
}

/// What git says, if there is a git and a repository.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    Some(text).filter(|text| !text.is_empty())
}
