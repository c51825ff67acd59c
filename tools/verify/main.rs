//! `cargo verify`: the one check command, for people and for CI alike.
//!
//! Format, clippy, documentation, all tests with the stock clients, and the licences of what is linked in. On Debian, run
//! as root, it installs what the stock clients need; elsewhere it says in one line what is skipped and how to get it.
//! `cargo verify --quick` leaves out the tests that start stock software, and those that take minutes. On 2 cores with everything built once it is
//! to take 5 minutes, the whole 30; what takes longer says so, and a table says what each test took. Exits with 1 when a step fails.
#![allow(clippy::print_stdout, reason = "a command line tool: its output is its purpose")]
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "runs commands and reads the clock: it is the world around ringmq, not ringmq"
)]

mod tests;

use std::env;
use std::io;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

/// What it is to take, quick and whole.
const TIME_MAX: [Duration; 2] = [Duration::from_secs(5 * 60), Duration::from_secs(30 * 60)];

/// What the stock clients need: a command that succeeds when it is there, and the Debian packages that bring it.
const TOOLS: [(&str, &[&str], &[&str]); 4] = [
    ("the Java client and Apache's servers", &["javac", "-version"], &["openjdk-17-jdk-headless"]),
    ("the Java client and Apache's servers", &["mvn", "-version"], &["maven"]),
    ("the Go client", &["go", "version"], &["golang-go"]),
    ("the C++ client through Python", &["python3", "-c", "import venv, ensurepip"], &["python3-venv"]),
];

/// Licences that a dependency may have; one of a choice (`OR`) is enough.
const LICENCES: [&str; 13] = [
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "MIT",
    // Copyleft for its own files only, which we do not change (`bitmaps`, under glommio).
    "MPL-2.0+",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
    "0BSD",
];

/// Outcome of a step.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Passed,
    Failed,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let quick = arguments.iter().any(|argument| argument == "--quick");
    if arguments.iter().any(|argument| argument != "--quick") {
        eprintln!("usage: cargo verify [--quick]");
        return ExitCode::from(2);
    }
    let began = Instant::now();
    let mut skipped = Vec::new();
    if quick {
        skipped.push("stock clients and fuzz targets: --quick was given".to_owned());
        skipped.push(format!("tests that take minutes ({}): the same", tests::LONG.join(", ")));
    } else {
        provide_tools();
    }
    let steps = steps(quick);
    let mut results = Vec::new();
    let count = steps.len();
    for (index, (name, step)) in steps.into_iter().enumerate() {
        println!("== {}/{count} {name}", index + 1);
        let start = Instant::now();
        let outcome = match step {
            Step::Cargo(mut command) => run(&mut command),
            Step::Licences => check_licences(),
            Step::Stock(fetching) => end_fetching(fetching, &mut skipped),
            Step::Tests => tests::run(quick.then(quick_tests).as_deref()),
        };
        println!("== {name}: {outcome:?} after {}", seconds(start.elapsed()));
        results.push((name, outcome, start.elapsed()));
    }
    println!();
    for (name, outcome, took) in &results {
        println!("{name:<15} {:<7} {:>8}", format!("{outcome:?}").to_lowercase(), seconds(*took));
    }
    for line in &skipped {
        println!("skipped: {line}");
    }
    let failed = results.iter().filter(|(_, outcome, _)| *outcome == Outcome::Failed).count();
    println!("verify: {failed} of {} steps failed, {} in all", results.len(), seconds(began.elapsed()));
    let time_max = TIME_MAX[usize::from(!quick)];
    if began.elapsed() > time_max {
        println!("verify: with everything built once, and the machine for itself, it is to take {}", seconds(time_max));
    }
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

enum Step {
    Cargo(Command),
    Licences,
    /// Under way since the steps were listed: it waits for others' machines most of the time.
    Stock(io::Result<Child>),
    Tests,
}

/// The steps in order: what is quick to fail comes first. All of them use the `dev` profile, so clippy and the
/// documentation share checked dependencies, and only the tests build.
fn steps(quick: bool) -> Vec<(&'static str, Step)> {
    let mut clippy = cargo(&["clippy", "--workspace", "--all-targets"]);
    clippy.args(["--", "-D", "warnings"]);
    let mut docs = cargo(&["doc", "--workspace", "--no-deps"]);
    docs.env("RUSTDOCFLAGS", "-D warnings");
    let mut steps = vec![
        ("format", Step::Cargo(cargo(&["fmt", "--all", "--check"]))),
        ("licences", Step::Licences),
        ("clippy", Step::Cargo(clippy)),
        ("documentation", Step::Cargo(docs)),
    ];
    if !quick {
        // A workspace of its own, so nothing else notices when a decoder changes under its target, or its lock file is behind. In the same folder
        // and with the same profile, so that dependencies are checked once for both.
        let mut fuzz = cargo(&["check", "--locked", "--bins", "--manifest-path", "tests/fuzz/Cargo.toml"]);
        fuzz.args(["--target-dir", "target"]);
        // Nothing is linked, so the fuzzer's own C++ needs not be compiled: its build asks for a library of this name instead.
        fuzz.env("CUSTOM_LIBFUZZER_PATH", "none/libfuzzer.a");
        steps.push(("fuzz targets", Step::Cargo(fuzz)));
        steps.push(("stock software", Step::Stock(start_fetching())));
    }
    steps.push(("tests", Step::Tests));
    steps
}

fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(workspace());
    command
}

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("tools/verify/ lies in the workspace")
}

/// Test files that `--quick` runs.
fn quick_tests() -> Vec<String> {
    let is_left_out = |name: &String| tests::STOCK.iter().chain(&tests::LONG).any(|own| own == name);
    test_files("tests").into_iter().filter(|name| !is_left_out(name)).collect()
}

/// Names of the files `FOLDER/*.rs`, sorted.
fn test_files(folder: &str) -> Vec<String> {
    let entries = std::fs::read_dir(workspace().join(folder)).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
        .collect();
    names.sort();
    names
}

/// Runs a command with its output passed on.
fn run(command: &mut Command) -> Outcome {
    match command.status() {
        Ok(status) if status.success() => Outcome::Passed,
        Ok(_) => Outcome::Failed,
        Err(error) => {
            println!("{command:?}: {error}");
            Outcome::Failed
        }
    }
}

/// Begins to fetch and build the stock software. Cargo holds its lock while it builds the fetching program, not while that runs.
fn start_fetching() -> io::Result<Child> {
    let mut fetch = cargo(&["run", "--quiet", "--package", "ringmq-peers", "--bin", "fetch"]);
    fetch.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn()
}

/// Waits for it. What cannot be had is no failure: the tests skip it, and the summary says so.
fn end_fetching(fetching: io::Result<Child>, skipped: &mut Vec<String>) -> Outcome {
    let output = match fetching.and_then(Child::wait_with_output) {
        Ok(output) => output,
        Err(error) => {
            println!("the stock software was not fetched: {error}");
            return Outcome::Failed;
        }
    };
    let text = String::from_utf8_lossy(&output.stdout);
    print!("{text}");
    skipped.extend(text.lines().filter_map(|line| line.strip_prefix("skipped: ")).map(str::to_owned));
    if output.status.success() { Outcome::Passed } else { Outcome::Failed }
}

/// Looks for what the stock clients need and installs it where that is possible. What stays missing is said once more
/// by [`end_fetching`].
fn provide_tools() {
    let mut missing: Vec<_> = TOOLS.iter().filter(|(_, command, _)| !succeeds(command)).collect();
    if !missing.is_empty() && can_install() {
        let packages: Vec<&str> = missing.iter().flat_map(|(_, _, packages)| packages.iter().copied()).collect();
        println!("== installing {}", packages.join(" "));
        let mut update = Command::new("apt-get");
        update.args(["update", "-qq"]).stdout(Stdio::null());
        let mut install = Command::new("apt-get");
        install.args(["install", "-y", "-qq", "--no-install-recommends"]).args(&packages).stdout(Stdio::null());
        install.env("DEBIAN_FRONTEND", "noninteractive");
        // What they say goes to the terminal; whether it helped is asked again below.
        let _ = run(&mut update);
        let _ = run(&mut install);
        missing.retain(|(_, command, _)| !succeeds(command));
    }
    for (what, command, packages) in missing {
        println!("{what} needs `{}`; on Debian `apt-get install {}`", command.join(" "), packages.join(" "));
    }
}

fn succeeds(command: &[&str]) -> bool {
    let Some((program, arguments)) = command.split_first() else { return false };
    let status = Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// Root on a machine with apt.
fn can_install() -> bool {
    let id = Command::new("id").arg("-u").output();
    let is_root = id.is_ok_and(|output| output.stdout.trim_ascii() == b"0");
    is_root && succeeds(&["apt-get", "--version"])
}

/// Every crate in the build must have a licence of [`LICENCES`]: `cargo tree` names it.
fn check_licences() -> Outcome {
    let mut tree =
        cargo(&["tree", "--workspace", "--edges", "normal,build", "--prefix", "none", "--format", "{p} | {l}"]);
    let Ok(output) = tree.stderr(Stdio::inherit()).output() else { return Outcome::Failed };
    let text = String::from_utf8_lossy(&output.stdout);
    let mut refused: Vec<&str> = text.lines().filter(|line| !is_allowed(line)).collect();
    refused.sort_unstable();
    refused.dedup();
    for line in &refused {
        println!("licence not allowed: {line}");
    }
    if output.status.success() && refused.is_empty() { Outcome::Passed } else { Outcome::Failed }
}

/// `name version | LICENCE`, where a licence is an SPDX expression. The second mention of a crate ends in ` (*)`.
fn is_allowed(line: &str) -> bool {
    let Some((_, licence)) = line.trim_end_matches(" (*)").split_once(" | ") else { return line.trim().is_empty() };
    // Old crates write `MIT/Apache-2.0`. A choice may stand in brackets before a demand, so brackets are plain text here:
    // each part of an `AND` must hold a licence that is allowed.
    let licence = licence.replace('/', " OR ").replace(['(', ')'], "");
    licence.split(" AND ").all(|part| part.split(" OR ").any(|one| LICENCES.contains(&one.trim())))
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

#[cfg(test)]
mod checks {
    use super::*;

    #[test]
    fn licences_are_read_as_spdx() {
        let check = |line: &str, expected: bool| assert_eq!(is_allowed(line), expected, "{line}");
        check("a v1.0.0 | MIT", true);
        check("a v1.0.0 | MIT/Apache-2.0 (*)", true);
        check("a v1.0.0 | GPL-3.0 OR MIT", true);
        check("a v1.0.0 | (MIT OR Apache-2.0) AND Unicode-3.0", true);
        check("a v1.0.0 | MIT AND GPL-3.0", false);
        check("a v1.0.0 | GPL-3.0", false);
        check("a v1.0.0 | ", false);
        check("", true);
    }

    #[test]
    fn test_files_in_the_lists_exist_and_what_starts_stock_software_is_in_one() {
        let found = test_files("tests");
        for name in tests::STOCK.iter().chain(&tests::LONG) {
            assert!(found.iter().any(|own| own == name), "tests/{name}.rs is gone: take it out of the lists");
        }
        for (name, _) in tests::ALONE {
            let is_there = found.iter().chain(&test_files("bench/tests")).any(|own| own == name);
            assert!(is_there, "{name}.rs is gone: take it out of ALONE");
        }
        let quick = quick_tests();
        for name in found {
            let path = workspace().join("tests").join(format!("{name}.rs"));
            let text = std::fs::read_to_string(path).expect("it was listed");
            let is_stock = ["Apache::locate", "StockClient::"].iter().any(|word| text.contains(word));
            assert!(!is_stock || !quick.contains(&name), "tests/{name}.rs starts stock software: put it into STOCK");
        }
    }
}
