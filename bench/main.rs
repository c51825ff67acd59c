//! `ringmq-bench`: the command line around the load generator.
//!
//! Exit codes: 0 after a whole and clean run; 1 when it could not begin, was cut short, or lost or failed messages; 2 for a command line that
//! makes no sense; 130 after Ctrl-C.
#![allow(clippy::disallowed_methods, reason = "writes the figures where the user wants them")]

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::{Args, Parser, Subcommand};
use ringmq_bench::lab;
use ringmq_bench::lab::attached::{AttachedArgs, become_attached};
use ringmq_bench::lab::cli::{LabCommand, conduct};
use ringmq_bench::lab::produce::KeptArgs;
use ringmq_bench::load::cli::{ClockArgs, ConsumeArgs, Format, complain, note, write_json};
use ringmq_bench::load::report::Report;
use ringmq_bench::load::run::{Ending, Halt, produce};
use ringmq_bench::load::settings::{LoadArgs, Settings, SettingsError, TargetArgs};
use ringmq_bench::load::view::{Tool, View};
use ringmq_bench::report::command::{GateArgs, ReportArgs};

/// Load on any RocketMQ-compatible broker, and what its clients would feel.
#[derive(Debug, Parser)]
#[command(name = "ringmq-bench", version = env!("RINGMQ_VERSION"))]
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
    /// Pull what is stored as fast as it comes, or what others send as they send it (--live)
    Consume(ConsumeArgs),
    /// Tell this machine's clock to consumers on others
    Clock(ClockArgs),
    #[command(flatten)]
    Lab(LabCommand),
    /// Become a process that ends with its parent
    #[command(hide = true)]
    Attached(AttachedArgs),
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
    /// How to show what happens: for people, or the lines of Apache's producer.sh every 10 s, for scripts that read them
    #[arg(long, value_enum, default_value_t = Format::People)]
    format: Format,
    #[command(flatten)]
    kept: KeptArgs,
}

impl ProduceArgs {
    fn view(&self, settings: &Settings) -> View {
        match self.format {
            Format::People => View::for_stderr(settings.warmup + settings.duration, "produce"),
            Format::Rocketmq => View::rocketmq(Tool::Producer),
        }
    }
}

fn main() -> ExitCode {
    let command = CommandLine::parse().command;
    if let Command::Attached(args) = &command {
        return complain(&become_attached(args), 1);
    }
    // It has nothing to print at its end: a signal ends it as any process.
    if let Command::Clock(args) = &command {
        return args.run();
    }
    // These measure nothing, so what follows is none of their business.
    match &command {
        Command::Report(args) => return args.run(),
        Command::Gate(args) => return args.run(),
        _ => {}
    }
    if cfg!(debug_assertions) {
        note("this is a debug build: its figures say nothing about a broker; build with --release");
    }
    let stop = match stop_on_signals() {
        Ok(stop) => stop,
        Err(error) => return complain(&format!("cannot watch for signals: {error}"), 1),
    };
    match command {
        Command::Produce(args) => args.run(&stop),
        Command::Consume(args) => args.run(&stop),
        Command::Clock(args) => args.run(),
        Command::Lab(command) => command.run(&stop),
        Command::Attached(args) => complain(&become_attached(&args), 1),
        Command::Report(args) => args.run(),
        Command::Gate(args) => args.run(),
    }
}

/// Set by Ctrl-C and SIGTERM.
fn stop_on_signals() -> io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        // The second time it ends at once.
        signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&stop))?;
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    Ok(stop)
}

impl ProduceArgs {
    /// The experiment that it is, if it is one.
    fn experiment(&self) -> Result<Option<lab::produce::ProduceArgs>, SettingsError> {
        let mut experiment = self.kept.experiment(&self.load, &self.target)?;
        if let Some(experiment) = &mut experiment {
            experiment.json.clone_from(&self.json);
            experiment.view = matches!(self.format, Format::Rocketmq).then_some(|_, _| View::rocketmq(Tool::Producer));
        }
        Ok(experiment)
    }

    fn run(&self, stop: &Arc<AtomicBool>) -> ExitCode {
        match self.experiment() {
            Ok(None) => {}
            Ok(Some(experiment)) => return conduct(&experiment, "produce", stop),
            Err(error) => return complain(&error, 2),
        }
        let settings = match self.target.resolve().and_then(|place| Settings::check(&self.load, &place)) {
            Ok(settings) => settings,
            Err(error) => return complain(&error, 2),
        };
        match self.load(&settings, stop) {
            Ok(code) => code,
            Err(error) => complain(error.as_ref(), 1),
        }
    }

    fn load(&self, settings: &Settings, stop: &AtomicBool) -> Result<ExitCode, Box<dyn std::error::Error>> {
        let halt = Halt { interrupt: stop, enough: &AtomicBool::new(false) };
        let outcome = produce(settings, halt, &mut self.view(settings))?;
        let report = Report::of(settings, &outcome);
        report.print(&mut io::stdout().lock())?;
        if let Some(path) = &self.json {
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
}
