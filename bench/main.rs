//! `ringmq-bench`: the command line around the load generator.
//!
//! Exit codes: 0 after a whole and clean run; 1 when it could not begin, was cut short, or lost or failed messages; 2 for a command line that
//! makes no sense; 130 after Ctrl-C.
#![allow(clippy::disallowed_methods, reason = "writes the figures where the user wants them")]

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::{Args, Parser, Subcommand};
use ringmq_bench::load::report::Report;
use ringmq_bench::load::run::{Ending, produce};
use ringmq_bench::load::settings::{LoadArgs, Settings, TargetArgs};
use ringmq_bench::report::command::{GateArgs, ReportArgs, pass, report};

/// Load on any RocketMQ-compatible broker, and what its clients would feel.
#[derive(Debug, Parser)]
#[command(name = "ringmq-bench", version)]
struct CommandLine {
    /// What to do.
    #[command(subcommand)]
    command: Command,
}

/// The kinds of load.
#[derive(Debug, Subcommand)]
enum Command {
    /// Send messages, in closed loop (--in-flight) or at a fixed rate (--rate), and optionally pull them back
    Produce(ProduceArgs),
    /// Make a page, pictures and tables from files of results
    Report(ReportArgs),
    /// Fail when results are worse than stored ones, by more than a share and more than the noise of both
    Gate(GateArgs),
}

/// As typed.
#[derive(Debug, Args)]
struct ProduceArgs {
    #[command(flatten)]
    load: LoadArgs,
    #[command(flatten)]
    target: TargetArgs,
    /// Write the figures here
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    match CommandLine::parse().command {
        Command::Produce(args) => measure(&args),
        Command::Report(args) => make_report(&args),
        Command::Gate(args) => pass_gate(&args),
    }
}

fn measure(args: &ProduceArgs) -> ExitCode {
    let settings = match args.target.resolve().and_then(|place| Settings::check(&args.load, &place)) {
        Ok(settings) => settings,
        Err(error) => return complain(&error, 2),
    };
    if cfg!(debug_assertions) {
        note("this is a debug build: its figures say nothing about a broker; build with --release");
    }
    match load(&settings, args) {
        Ok(code) => code,
        Err(error) => complain(error.as_ref(), 1),
    }
}

fn load(settings: &Settings, args: &ProduceArgs) -> Result<ExitCode, Box<dyn std::error::Error>> {
    if let Some(cpu) = settings.cpu {
        pin(cpu)?;
    }
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    let outcome = produce(settings, &stop)?;
    let report = Report::of(settings, &outcome);
    report.print(&mut io::stdout().lock())?;
    if let Some(path) = &args.json {
        write_json(path, &report)?;
    }
    report.remarks().iter().for_each(|remark| note(remark));
    let complaints = report.complaints();
    complaints.iter().for_each(|complaint| note(complaint));
    Ok(match outcome.ending {
        Ending::Interrupted => ExitCode::from(130),
        _ if complaints.is_empty() => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

fn make_report(args: &ReportArgs) -> ExitCode {
    match report(args) {
        Ok(made) => {
            made.remarks.iter().for_each(|remark| note(remark));
            made.summary().iter().for_each(|line| note(line));
            ExitCode::SUCCESS
        }
        Err(error) => complain(&error, 1),
    }
}

fn pass_gate(args: &GateArgs) -> ExitCode {
    let passage = match pass(args) {
        Ok(passage) => passage,
        Err(error) => return complain(&error, 1),
    };
    if write!(io::stdout().lock(), "{passage}").is_err() {
        return complain("nobody reads the table", 1);
    }
    passage.remarks.iter().for_each(|remark| note(remark));
    passage.unknown.iter().for_each(|what| note(&format!("{what} is not in the baseline")));
    passage.objections().iter().for_each(|objection| note(objection));
    if passage.is_open() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Keeps the one thread of this process on one processor.
fn pin(cpu: usize) -> Result<(), Box<dyn std::error::Error>> {
    if cpu >= rustix::thread::CpuSet::MAX_CPU {
        return Err(format!("cannot stay on processor {cpu}: there is none of that number").into());
    }
    let mut only = rustix::thread::CpuSet::new();
    only.set(cpu);
    rustix::thread::sched_setaffinity(None, &only)
        .map_err(|error| format!("cannot stay on processor {cpu}: {error}"))?;
    Ok(())
}

fn write_json(path: &Path, report: &Report) -> Result<(), Box<dyn std::error::Error>> {
    let mut text = serde_json::to_string_pretty(report)?;
    text.push('\n');
    fs::write(path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    Ok(())
}

fn note(sentence: &str) {
    // With stderr closed there is nobody to tell.
    let _ = writeln!(io::stderr(), "ringmq-bench: {sentence}");
}

fn complain(error: &(impl std::fmt::Display + ?Sized), code: u8) -> ExitCode {
    note(&error.to_string());
    ExitCode::from(code)
}
