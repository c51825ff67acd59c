//! All tests of the workspace: built once, then several binaries side by side.
//!
//! `cargo test` runs one binary after the other, and most of them wait for processes, timers and clients most of the time. Here those whose outcome
//! does not depend on how busy the machine is run side by side, the longest first, and the others ([`ALONE`]) alone after them. Behind all of them runs
//! what only computes for minutes ([`BEHIND`]), with the time that they leave. What a binary says is kept in `target/verify/NAME.log` and printed when it ends.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{Outcome, cargo, seconds, workspace};

/// Test files that start stock software, the longest first; `--quick` leaves them out.
pub(crate) const STOCK: [&str; 15] = [
    "daily",
    "client_calls",
    "cluster",
    "differential",
    "java_peers",
    "delay_peers",
    "transactions",
    "timers",
    "pop",
    "batch",
    "filter_peers",
    "mqadmin_facts",
    "clients",
    "mqadmin",
    "honest",
];

/// Test files whose kills, rounds and seeds take minutes; `--quick` leaves them out as well.
pub(crate) const LONG: [&str; 7] = ["crash", "full_disk", "delay", "replication", "hostile", "sim", "runtime"];

/// Test files that run alone, since a machine that is busy with others can fail them: name, and what they hold somebody to.
pub(crate) const ALONE: [(&str, &str); 16] = [
    ("cluster", "stock clients find the next broker before their own patience ends"),
    ("crash", "an offset older than 1.5 s is on the disk, whatever is killed"),
    ("crowd", "a neighbour of thousands of clients is answered within 3 s"),
    ("delay", "half of what is due comes within 20 ms"),
    ("delay_peers", "Apache's copies and ringmq's come as late as they say"),
    ("full_disk", "sends are answered before a client gives up, after 3 s; the node's own limit is 2.7 s"),
    ("honest", "answers come within 0.4 and 0.5 s"),
    ("hostile", "a neighbour of hostile clients is answered within 3 s"),
    ("lab", "no load is late by more than the master that it killed"),
    ("latency", "the load generator measures a delay that is known"),
    ("produce", "the same, of a peer that stands still"),
    ("replication", "as full_disk; sends that wait for nobody take less than a second"),
    ("restart", "an orderly end takes 5 s at most"),
    ("role", "a master asks its slaves for 3 s before it takes sends"),
    ("runtime", "timers of a millisecond"),
    ("transactions", "producers answer their checks within a second, before the next"),
];

/// What computes for minutes, starts nothing and looks at no clock: it gets what processor time the others leave, which wait for most of theirs.
const BEHIND: &str = "sim";

/// A test binary.
struct TestRun {
    name: String,
    command: Command,
    /// What to type to have it again.
    again: String,
}

struct TestEnd {
    job: TestRun,
    outcome: Outcome,
    /// The tests in it that failed the first time.
    failed: Vec<String>,
    is_second: bool,
    took: Duration,
}

/// Builds and runs the library and binary tests, and the files of `only`; all, when `None`.
pub(crate) fn run(only: Option<&[String]>) -> Outcome {
    let began = Instant::now();
    let mut jobs = match build(only) {
        Ok(jobs) => jobs,
        Err(error) => {
            println!("the tests were not built: {error}");
            return Outcome::Failed;
        }
    };
    // Else the first tests wait for their flushes behind all that was built.
    if let Err(error) = Command::new("sync").status() {
        println!("sync: {error}");
    }
    println!("== tests built after {}", seconds(began.elapsed()));
    let logs = workspace().join("target/verify");
    if let Err(error) = fs::create_dir_all(&logs) {
        println!("{}: {error}", logs.display());
        return Outcome::Failed;
    }
    // Files that are in no list are short.
    let place = |job: &TestRun| STOCK.iter().chain(&LONG).position(|name| *name == job.name).unwrap_or(usize::MAX);
    jobs.sort_by_key(place);
    let is_alone = |job: &TestRun| ALONE.iter().any(|(name, _)| *name == job.name);
    let (behind, others): (Vec<TestRun>, Vec<TestRun>) = jobs.into_iter().partition(|job| job.name == BEHIND);
    let (alone, beside): (Vec<TestRun>, Vec<TestRun>) = others.into_iter().partition(is_alone);
    // Most of them wait more than they compute; more than one a core makes brokers late that are waited for.
    let lanes = thread::available_parallelism().map_or(1, NonZero::get);
    let ran = thread::scope(|scope| {
        let behind = scope.spawn(|| run_jobs(behind, 1, &logs));
        let mut ran = run_jobs(beside, lanes, &logs);
        ran.extend(run_jobs(alone, 1, &logs));
        ran.extend(behind.join().expect("no lane panics"));
        ran
    });
    let mut ran: Vec<TestEnd> =
        ran.into_iter().map(|end| if is_tried_again(&end) { try_again(end, &logs) } else { end }).collect();
    say_times(&mut ran);
    if ran.iter().all(|one| one.outcome == Outcome::Passed) { Outcome::Passed } else { Outcome::Failed }
}

/// Whether a binary neither starts processes nor looks at the clock: its outcome is the same each time.
fn is_pure(name: &str) -> bool {
    ["sim", "tidy", "lib ringmq", "lib ringmq_protocol"].contains(&name)
}

/// Builds the binaries and lists them.
fn build(only: Option<&[String]>) -> io::Result<Vec<TestRun>> {
    // Tests of other packages use the tool, and cargo builds those of a test's own package alone.
    if !cargo(&["build", "--package", "ringmq-tools", "--bins"]).status()?.success() {
        return Err(io::Error::other("cargo failed"));
    }
    let mut command = cargo(&["test", "--workspace", "--no-run", "--message-format=json-render-diagnostics"]);
    if let Some(names) = only {
        command.args(["--lib", "--bins"]);
        command.args(names.iter().flat_map(|name| ["--test", name.as_str()]));
    }
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let output = child.stdout.take().ok_or_else(|| io::Error::other("cargo has no output"))?;
    let mut jobs = Vec::new();
    for line in BufReader::new(output).lines() {
        jobs.extend(serde_json::from_str(&line?).ok().as_ref().and_then(job_of));
    }
    if child.wait()?.success() { Ok(jobs) } else { Err(io::Error::other("cargo failed")) }
}

/// The test binary that one of cargo's messages reports, run as `cargo test` runs it: in its package's folder.
fn job_of(message: &Value) -> Option<TestRun> {
    let binary = message["executable"].as_str().filter(|_| message["profile"]["test"] == true)?;
    let folder = Path::new(message["manifest_path"].as_str()?).parent()?;
    let (target, kind) = (message["target"]["name"].as_str()?, message["target"]["kind"][0].as_str()?);
    let name = if kind == "test" { target.to_owned() } else { format!("{kind} {target}") };
    let mut command = if name == BEHIND { behind_others(binary) } else { Command::new(binary) };
    command.current_dir(folder).env("CARGO_MANIFEST_DIR", folder);
    let flag = if kind == "lib" { "--lib".to_owned() } else { format!("--{kind} {target}") };
    let manifest = folder.strip_prefix(workspace()).map_or(folder.to_owned(), PathBuf::from).join("Cargo.toml");
    Some(TestRun { name, command, again: format!("cargo test --manifest-path {} {flag}", manifest.display()) })
}

/// A command before which goes whatever else is runnable, where `chrt` of util-linux is there and may say so.
fn behind_others(binary: &str) -> Command {
    let as_idle = |program: &str| {
        let mut command = Command::new("chrt");
        command.args(["--idle", "0", program]);
        command
    };
    let may = as_idle("true").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if may.is_ok_and(|status| status.success()) { as_idle(binary) } else { Command::new(binary) }
}

/// Runs jobs in their order, so many at a time.
fn run_jobs(jobs: Vec<TestRun>, lanes: usize, logs: &Path) -> Vec<TestEnd> {
    let (waiting, ran) = (Mutex::new(VecDeque::from(jobs)), Mutex::new(Vec::new()));
    let next = || waiting.lock().expect("no lane panics with it").pop_front();
    thread::scope(|scope| {
        for _ in 0..lanes {
            scope.spawn(|| {
                while let Some(job) = next() {
                    println!("== running {}", job.name);
                    let one = run_job(job, &[], logs);
                    ran.lock().expect("no lane panics with it").push(one);
                }
            });
        }
    });
    ran.into_inner().expect("no lane panics with it")
}

/// What starts processes depends on the machine, whose disk now and then stands still for longer than a client waits, and on the races of stock
/// software. What fails of it is tried once more by itself, and the table says so.
fn is_tried_again(end: &TestEnd) -> bool {
    end.outcome == Outcome::Failed && !end.failed.is_empty() && !is_pure(&end.job.name)
}

fn try_again(first: TestEnd, logs: &Path) -> TestEnd {
    println!("== {} once more: {}", first.job.name, first.failed.join(", "));
    let log = log_path(logs, &first.job.name);
    let kept = log.with_extension("first.log");
    if let Err(error) = fs::rename(&log, &kept) {
        println!("{}: {error}", kept.display());
    }
    let second = run_job(first.job, &first.failed, logs);
    TestEnd { is_second: true, failed: first.failed, took: first.took + second.took, ..second }
}

fn log_path(logs: &Path, name: &str) -> PathBuf {
    logs.join(format!("{}.log", name.replace(' ', "-")))
}

/// Runs one to its end, all of its tests or those that are named, and prints what it said, in one piece.
fn run_job(mut job: TestRun, only: &[String], logs: &Path) -> TestEnd {
    if !only.is_empty() {
        job.command.arg("--exact").args(only);
    }
    let log = log_path(logs, &job.name);
    let began = Instant::now();
    let status = File::create(&log).and_then(|output| {
        job.command.stdin(Stdio::null()).stderr(output.try_clone()?).stdout(output);
        job.command.status()
    });
    let took = began.elapsed();
    let outcome = if status.as_ref().is_ok_and(|status| status.success()) { Outcome::Passed } else { Outcome::Failed };
    let said = fs::read(&log).unwrap_or_default();
    let end = match status {
        Ok(status) if status.success() => String::new(),
        Ok(status) => format!(" ({status})"),
        Err(error) => format!(" ({error})"),
    };
    let text = String::from_utf8_lossy(&said);
    println!("== {}: {outcome:?} after {}{end}\n{}", job.name, seconds(took), text.trim());
    let test = |line: &str| Some(line.strip_prefix("test ")?.strip_suffix(" ... FAILED")?.to_owned());
    let failed = text.lines().filter_map(test).collect();
    TestEnd { job, outcome, failed, is_second: false, took }
}

/// One line each, the slowest first, so that it is seen what makes the whole slow; those under a second together.
fn say_times(ran: &mut [TestEnd]) {
    ran.sort_by_key(|one| std::cmp::Reverse(one.took));
    println!();
    for TestEnd { job, outcome, failed, is_second, took } in ran.iter() {
        if *took < Duration::from_secs(1) && !is_second {
            continue;
        }
        let name = &job.name;
        let how = match name.as_str() {
            BEHIND => ", behind the others",
            _ if ALONE.iter().any(|(alone, _)| alone == name) => ", alone",
            _ => "",
        };
        let again = if *is_second { format!(", once more: {}", failed.join(", ")) } else { String::new() };
        println!("test  {name:<22} {:>8}  {}{how}{again}", seconds(*took), format!("{outcome:?}").to_lowercase());
    }
    let sum: Duration = ran.iter().map(|one| one.took).sum();
    println!("test  {} binaries, one after the other they would take {}", ran.len(), seconds(sum));
    for TestEnd { job, .. } in ran.iter().filter(|one| one.outcome == Outcome::Failed) {
        println!("failed: {}; again: {}", job.name, job.again);
    }
}
