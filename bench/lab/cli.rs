//! The commands of the laboratory.
//!
//! Exit codes: 0 after a whole experiment whose runs are good; 1 when it could not begin, was cut short, or messages failed or were lost; 2
//! for a command line or a scenario that makes no sense; 130 after Ctrl-C.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::{Args, Subcommand};

use crate::lab::audit::AuditArgs;
use crate::lab::compare::CompareArgs;
use crate::lab::error::LabError;
use crate::lab::failover::FailoverArgs;
use crate::lab::session::Session;
use crate::lab::soak::SoakArgs;
use crate::lab::sweep::SweepArgs;
use crate::lab::{say, scenario, table, verdict};

/// The experiments.
#[derive(Debug, Subcommand)]
pub enum LabCommand {
    /// The same load on two or more subjects in turn, A B A B, and what they cost against the first
    Compare(Box<CompareArgs>),
    /// A load of which one setting changes from run to run: the rate to the knee, size, queues, connections, round-trip time
    Sweep(Box<SweepArgs>),
    /// Kill or stop a broker under load: how long nobody is served, and what becomes of the messages
    Failover(Box<FailoverArgs>),
    /// One load for long: what drifts of memory, descriptors and latency
    Soak(Box<SoakArgs>),
    /// Account for every message: what was acknowledged must arrive, whole and in order
    Audit(Box<AuditArgs>),
    /// What a scenario says: a TOML file, see bench/scenarios
    Run(RunArgs),
}

/// Of `ringmq-bench run`.
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// The scenario
    #[arg(value_name = "SCENARIO.toml")]
    scenario: PathBuf,
    /// Where the results go: a folder, or a file that ends in .json; wins over the scenario's own
    #[arg(long, value_name = "DIR|FILE.json")]
    out: Option<PathBuf>,
}

/// Something that can be carried out.
pub trait Experiment {
    /// Checks all that can be checked. `name` is that of the file of results.
    ///
    /// # Errors
    /// See [`LabError`].
    fn begin(&self, name: &str, stop: &Arc<AtomicBool>) -> Result<Session, LabError>;

    /// Carries it out; whether its runs are good.
    ///
    /// # Errors
    /// See [`LabError`]; what was measured before is in the session.
    fn run(&self, session: &mut Session) -> Result<bool, LabError>;

    /// In words of the command line.
    fn name(&self) -> &'static str;

    /// Sends the results elsewhere.
    fn set_out(&mut self, out: PathBuf);
}

impl LabCommand {
    /// Does it.
    pub fn run(self, stop: &Arc<AtomicBool>) -> ExitCode {
        match self {
            Self::Compare(args) => conduct(args.as_ref(), args.name(), stop),
            Self::Sweep(args) => conduct(args.as_ref(), args.name(), stop),
            Self::Failover(args) => conduct(args.as_ref(), args.name(), stop),
            Self::Soak(args) => conduct(args.as_ref(), args.name(), stop),
            Self::Audit(args) => conduct(args.as_ref(), args.name(), stop),
            Self::Run(args) => match scenario::read(&args.scenario) {
                Ok(mut experiment) => {
                    let name =
                        args.scenario.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
                    if let Some(out) = args.out {
                        experiment.set_out(out);
                    }
                    conduct(experiment.as_ref(), &name, stop)
                }
                Err(error) => fail(&error.into()),
            },
        }
    }
}

/// Carries an experiment out, from the command line to the exit code. `stop` is set by Ctrl-C and by a request to stop; a second one ends this
/// process at once, and the kernel ends what it started.
pub fn conduct(experiment: &dyn Experiment, name: &str, stop: &Arc<AtomicBool>) -> ExitCode {
    let mut session = match experiment.begin(name, stop) {
        Ok(session) => session,
        Err(error) => return fail(&error),
    };
    let ended = experiment.run(&mut session);
    let findings = verdict::findings(&session.results);
    session.results.findings.splice(0..0, findings);
    let saved = session.finish(ended.as_ref().map(drop));
    // A closed stdout is no reason to say less on stderr.
    let _ = table::print(&session.results, &mut io::stdout().lock());
    match &saved {
        Ok(true) => say(&format!("the results are in {}", session.path.display())),
        Ok(false) => {}
        // What ended it is said below.
        Err(_) if ended.is_err() => {}
        Err(error) => say(&error.to_string()),
    }
    match ended {
        Err(error) => fail(&error),
        Ok(true) if saved.is_ok() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
    }
}

fn fail(error: &LabError) -> ExitCode {
    say(&error.to_string());
    ExitCode::from(if error.is_interrupt() {
        130
    } else if error.is_usage() {
        2
    } else {
        1
    })
}
