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

use clap::{Args, Parser, Subcommand, ValueEnum};
use ringmq_bench::lab;
use ringmq_bench::lab::cli::{LabCommand, conduct};
use ringmq_bench::lab::produce::KeptArgs;
use ringmq_bench::load::report::Report;
use ringmq_bench::load::run::{Ending, produce};
use ringmq_bench::load::settings::{LoadArgs, Settings, SettingsError, TargetArgs};
use ringmq_bench::load::view::{Tool, View};

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
    Produce(Box<ProduceArgs>),
    #[command(flatten)]
    Lab(LabCommand),
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
    /// How to show what happens: for people, or the lines of Apache's producer.sh every 10 s, for scripts that read them
    #[arg(long, value_enum, default_value_t = Format::People)]
    format: Format,
    #[command(flatten)]
    kept: KeptArgs,
}

/// How to show what happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A bar on a terminal, a line a second elsewhere, a table at the end.
    People,
    /// Apache's lines.
    Rocketmq,
}

impl ProduceArgs {
    fn view(&self, settings: &Settings) -> View {
        match self.format {
            Format::People => View::for_stderr(settings, "produce"),
            Format::Rocketmq => View::rocketmq(Tool::Producer),
        }
    }

    /// The experiment that it is, if it is one.
    fn experiment(&self) -> Result<Option<lab::produce::ProduceArgs>, SettingsError> {
        let mut experiment = self.kept.experiment(&self.load, &self.target)?;
        if let Some(experiment) = &mut experiment {
            experiment.json.clone_from(&self.json);
            if self.format == Format::Rocketmq {
                experiment.view = Some(|_, _| View::rocketmq(Tool::Producer));
            }
        }
        Ok(experiment)
    }
}

fn main() -> ExitCode {
    let args = match CommandLine::parse().command {
        Command::Produce(args) => args,
        Command::Lab(command) => return command.run(),
    };
    match args.experiment() {
        Ok(None) => {}
        Ok(Some(experiment)) => return conduct(&experiment, "produce"),
        Err(error) => return complain(&error, 2),
    }
    let settings = match args.target.resolve().and_then(|place| Settings::check(&args.load, &place)) {
        Ok(settings) => settings,
        Err(error) => return complain(&error, 2),
    };
    if cfg!(debug_assertions) {
        note("this is a debug build: its figures say nothing about a broker; build with --release");
    }
    match load(&settings, &args) {
        Ok(code) => code,
        Err(error) => complain(error.as_ref(), 1),
    }
}

fn load(settings: &Settings, args: &ProduceArgs) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    let outcome = produce(settings, &stop, &mut args.view(settings))?;
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
