//! The commands of the laboratory.
//!
//! Exit codes: 0 after a whole experiment whose runs are good; 1 when it could not begin, was cut short, or messages failed or were lost; 2
//! for a command line or a scenario that makes no sense; 130 after Ctrl-C.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::{Args, Subcommand};

use crate::lab::audit::AuditArgs;
use crate::lab::catch_up::CatchUpArgs;
use crate::lab::compare::CompareArgs;
use crate::lab::document::document;
use crate::lab::error::LabError;
use crate::lab::failover::FailoverArgs;
use crate::lab::goal::{GoalArgs, judged};
use crate::lab::lag::LagArgs;
use crate::lab::restart::RestartArgs;
use crate::lab::results::Results;
use crate::lab::scenario::{self, Case, Scenario};
use crate::lab::session::{RecordArgs, Session};
use crate::lab::site::SubjectArgs;
use crate::lab::soak::SoakArgs;
use crate::lab::sweep::SweepArgs;
use crate::lab::{say, table, verdict};

/// The experiments.
#[derive(Debug, Subcommand)]
pub enum LabCommand {
    /// The same load on two or more subjects in turn, A B A B, and what they cost against the first
    Compare(Box<CompareArgs>),
    /// A load of which one setting changes from run to run: the rate to the knee, size, queues, connections, round-trip time
    Sweep(Box<SweepArgs>),
    /// Kill or stop a broker under load: how long nobody is served, and what becomes of the messages
    Failover(Box<FailoverArgs>),
    /// Kill a broker under load and start it again, on what it left or on nothing: how long until it stores
    Restart(Box<RestartArgs>),
    /// A slave that begins empty beside a long log: how fast it takes it, and what producers feel
    CatchUp(Box<CatchUpArgs>),
    /// How much later messages are at slaves than at their masters
    Lag(Box<LagArgs>),
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
    /// Where the results go: a folder, or a file that ends in .json; wins over the scenario's own. A scenario of several cases needs a folder,
    /// which also gets goals.md: all cases that are in it
    #[arg(long, value_name = "DIR|FILE.json")]
    out: Option<PathBuf>,
    /// Of a scenario of several cases these alone
    #[arg(long = "case", value_name = "NAME", value_delimiter = ',')]
    cases: Vec<String>,
    /// Folder for the stores of clusters that are brought up; wins over the scenario's own
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
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

    /// What it is made on and where its results go, to be said anew.
    fn places(&mut self) -> (&mut SubjectArgs, &mut RecordArgs);
}

impl LabCommand {
    /// Does it.
    pub fn run(self, stop: &Arc<AtomicBool>) -> ExitCode {
        match self {
            Self::Compare(args) => conduct(args.as_ref(), args.name(), stop),
            Self::Sweep(args) => conduct(args.as_ref(), args.name(), stop),
            Self::Failover(args) => conduct(args.as_ref(), args.name(), stop),
            Self::Restart(args) => conduct(args.as_ref(), args.name(), stop),
            Self::CatchUp(args) => conduct(args.as_ref(), args.name(), stop),
            Self::Lag(args) => conduct(args.as_ref(), args.name(), stop),
            Self::Soak(args) => conduct(args.as_ref(), args.name(), stop),
            Self::Audit(args) => conduct(args.as_ref(), args.name(), stop),
            Self::Run(args) => args.run(stop),
        }
    }
}

impl RunArgs {
    fn run(self, stop: &Arc<AtomicBool>) -> ExitCode {
        match scenario::read(&self.scenario) {
            Ok(Scenario::One(_)) if !self.cases.is_empty() => {
                let reason = format!("{} has no cases: leave --case out", self.scenario.display());
                fail(&LabError::Option(reason))
            }
            Ok(Scenario::One(mut case)) => {
                let name =
                    self.scenario.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
                self.redirect(&mut case, self.out.clone());
                conduct_case(case.experiment.as_ref(), &case.goals, &name, stop)
            }
            Ok(Scenario::Cases(cases)) => self.run_cases(cases, stop),
            Err(error) => fail(&error.into()),
        }
    }

    /// What was said on the command line wins over the scenario.
    fn redirect(&self, case: &mut Case, out: Option<PathBuf>) {
        let (subjects, record) = case.experiment.places();
        record.out = out.or(record.out.take());
        subjects.store = self.store.clone().or(subjects.store.take());
    }

    /// One after the other, and after each the document of all that are in the folder.
    fn run_cases(&self, mut cases: Vec<Case>, stop: &Arc<AtomicBool>) -> ExitCode {
        let Some(folder) = self.out.clone().filter(|out| out.extension().is_none_or(|ending| ending != "json")) else {
            let reason =
                format!("{} has several cases: --out FOLDER says where their results go", self.scenario.display());
            return fail(&LabError::Option(reason));
        };
        let name_of = |case: &Case| case.name.clone().unwrap_or_default();
        let names: Vec<String> = cases.iter().map(name_of).collect();
        if let Some(unknown) = self.cases.iter().find(|case| !names.contains(case)) {
            return fail(&LabError::Option(format!("there is no case {unknown}; the cases are {}", names.join(", "))));
        }
        cases.retain(|case| self.cases.is_empty() || self.cases.contains(&name_of(case)));
        for case in &mut cases {
            self.redirect(case, Some(folder.clone()));
            // What makes no sense in the last one is said before hours are spent on the first.
            let checked = case.experiment.begin(&name_of(case), stop);
            if let Err(error) = checked.and_then(|session| check_goals(&case.goals, &session)) {
                return fail(&error);
            }
        }
        let mut code = ExitCode::SUCCESS;
        for case in cases {
            let ended = conduct_case(case.experiment.as_ref(), &case.goals, &name_of(&case), stop);
            if let Err(error) = write_document(&folder, &names) {
                return fail(&error);
            }
            if stop.load(Ordering::Relaxed) {
                return ended;
            }
            if ended != ExitCode::SUCCESS {
                code = ended;
            }
        }
        code
    }
}

/// `goals.md`, of all cases that have a file in the folder.
fn write_document(folder: &Path, names: &[String]) -> Result<(), LabError> {
    let mut all = Vec::new();
    for name in names {
        let path = folder.join(format!("{name}.json"));
        if path.exists() {
            all.push((name.clone(), Results::load(&path)?));
        }
    }
    let path = folder.join("goals.md");
    fs::write(&path, document(&all)).map_err(|source| LabError::Folder { path: path.display().to_string(), source })
}

fn check_goals(goals: &[GoalArgs], session: &Session) -> Result<(), LabError> {
    goals.iter().try_for_each(|goal| goal.check(&session.requests))
}

/// Carries an experiment out, from the command line to the exit code. `stop` is set by Ctrl-C and by a request to stop; a second one ends this
/// process at once, and the kernel ends what it started.
pub fn conduct(experiment: &dyn Experiment, name: &str, stop: &Arc<AtomicBool>) -> ExitCode {
    conduct_case(experiment, &[], name, stop)
}

/// The same with goals. One that is missed is said, and is no failure: what was measured is good.
fn conduct_case(experiment: &dyn Experiment, goals: &[GoalArgs], name: &str, stop: &Arc<AtomicBool>) -> ExitCode {
    let begun = experiment.begin(name, stop).and_then(|session| check_goals(goals, &session).map(|()| session));
    let mut session = match begun {
        Ok(session) => session,
        Err(error) => return fail(&error),
    };
    let ended = experiment.run(&mut session);
    let findings = verdict::findings(&session.results);
    session.results.findings.splice(0..0, findings);
    session.results.goals = judged(goals, &session.results);
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
