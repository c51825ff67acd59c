//! One load on one subject, with all that the laboratory keeps of it.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::Args;
use serde::Deserialize;

use crate::lab::cli::Experiment;
use crate::lab::error::LabError;
use crate::lab::results;
use crate::lab::session::{Order, RecordArgs, Session, leave_alone};
use crate::lab::site::{Request, SubjectArgs};
use crate::load::settings::{LoadArgs, Place, SettingsError, TargetArgs};
use crate::load::view::View;

/// Of `experiment = "produce"`, and of `ringmq-bench produce` where it brings brokers up, asks a name server or keeps results.
#[derive(Debug, Clone, Args, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ProduceArgs {
    /// One subject.
    #[command(flatten)]
    #[serde(default)]
    pub subjects: SubjectArgs,
    /// What is sent.
    #[command(flatten)]
    #[serde(default)]
    pub load: LoadArgs,
    /// What is kept.
    #[command(flatten)]
    #[serde(default)]
    pub record: RecordArgs,
    /// Pull from elsewhere than the subject says.
    #[arg(skip)]
    #[serde(skip)]
    pub elsewhere: Place,
    /// Also write the report alone, here.
    #[arg(skip)]
    #[serde(skip)]
    pub json: Option<PathBuf>,
    /// What people see, if not what they always see.
    #[arg(skip)]
    #[serde(skip)]
    pub view: Option<fn(Duration, &str) -> View>,
}

/// Of `ringmq-bench produce`, beside the load and its targets.
#[derive(Debug, Clone, Args)]
pub struct KeptArgs {
    /// Bring up a cluster: ringmq:MODE, ringmq@NAME:MODE (see --ringmq), apache:MODE or apache@VERSION:MODE, with properties of its brokers
    /// behind commas, or echo: a sink that answers and stores nothing. Modes: all, 2m-noslave, 2m-2s-async, 2m-2s-sync, 1m-1s-async,
    /// 1m-1s-sync; of one with slaves, round-trip=4ms behind a comma puts them so far away
    #[arg(long, value_name = "SOFTWARE:MODE[,KEY=VALUE]", conflicts_with_all = ["namesrv", "target"])]
    up: Option<String>,
    /// Use the brokers that a name server knows: those that have the topic, or else all
    #[arg(short = 'n', long, value_name = "HOST:PORT[;HOST:PORT]", conflicts_with = "target")]
    namesrv: Option<String>,
    /// ringmq's binary, for --up [default: beside this one]; NAME=FILE is that of ringmq@NAME
    #[arg(long, value_name = "[NAME=]FILE")]
    ringmq: Vec<String>,
    /// Folder for the stores of what --up starts [default: the system's temporary folder]
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
    #[command(flatten)]
    record: RecordArgs,
}

impl KeptArgs {
    /// The experiment that these options make of a load; none if the load is enough, without a look at brokers and without results.
    ///
    /// # Errors
    /// When `target` is none, or on another machine.
    pub fn experiment(&self, load: &LoadArgs, target: &TargetArgs) -> Result<Option<ProduceArgs>, SettingsError> {
        if self.up.is_none() && self.namesrv.is_none() && self.record.out.is_none() {
            return Ok(None);
        }
        let elsewhere = target.resolve()?;
        let subjects = SubjectArgs {
            up: self.up.iter().cloned().collect(),
            target: if target.target.is_empty() { Vec::new() } else { vec![target.target.join(",")] },
            namesrv: self.namesrv.iter().cloned().collect(),
            allow_remote: target.allow_remote,
            ringmq: self.ringmq.clone(),
            store: self.store.clone(),
            generator_anywhere: self.up.is_none() && load.cpu.is_none(),
            ..SubjectArgs::default()
        };
        let (load, record) = (load.clone(), self.record.clone());
        Ok(Some(ProduceArgs { subjects, load, record, elsewhere, json: None, view: None }))
    }
}

impl Experiment for ProduceArgs {
    fn begin(&self, name: &str, stop: &Arc<AtomicBool>) -> Result<Session, LabError> {
        let request = self.subjects.request("produce")?;
        let mut subjects = self.subjects.clone();
        if !matches!(request, Request::Up(_)) {
            // Brokers that are there get what was asked for, and nothing before.
            subjects.settle = subjects.settle.or(Some(Duration::ZERO));
        }
        let loads = std::slice::from_ref(&self.load);
        let mut session = Session::begin(results::Experiment::Produce, name, &subjects, &self.record, loads, stop)?;
        session.view = self.view.unwrap_or(session.view);
        Ok(session)
    }

    fn run(&self, session: &mut Session) -> Result<bool, LabError> {
        let mut site = session.open(0, &self.load.topic)?;
        if !self.elsewhere.sources.is_empty() {
            site.place.sources.clone_from(&self.elsewhere.sources);
        }
        site.place.lag_sources.clone_from(&self.elsewhere.lag_sources);
        session.settle(&mut site, &self.load)?;
        session.plan(1);
        let order = Order { subject: 0, round: 1, point: None, load: &self.load };
        let ran = session.measure(&mut site, &order, &mut leave_alone)?;
        let report = &session.results.runs[ran.index].report;
        if let Some(path) = &self.json {
            let text = serde_json::to_string_pretty(report).expect("plain data has a JSON form");
            fs::write(path, text + "\n")
                .map_err(|source| LabError::Folder { path: path.display().to_string(), source })?;
        }
        session.check_ending(&mut site, &ran.outcome)?;
        Ok(report.complaints().is_empty())
    }

    fn name(&self) -> &'static str {
        "produce"
    }

    fn places(&mut self) -> (&mut SubjectArgs, &mut RecordArgs) {
        (&mut self.subjects, &mut self.record)
    }
}
