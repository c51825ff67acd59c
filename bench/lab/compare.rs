//! The same load on several subjects in turn: A B A B. Single runs on a shared machine differ by more than brokers do, so all subjects are up
//! together, paused but for the one that is measured, and what counts are ratios within the rounds.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Args;
use serde::Deserialize;

use crate::lab::cli::Experiment;
use crate::lab::error::LabError;
use crate::lab::results;
use crate::lab::session::{Order, RecordArgs, Session};
use crate::lab::site::{Site, SubjectArgs};
use crate::load::settings::LoadArgs;

/// Of `ringmq-bench compare`.
#[derive(Debug, Clone, Args, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct CompareArgs {
    /// Two or more subjects; the first is the base of all ratios.
    #[command(flatten)]
    #[serde(default)]
    pub subjects: SubjectArgs,
    /// With both a rate and a number in flight these are two loads: throughput of the closed loop, latency of the open one.
    #[command(flatten)]
    #[serde(default)]
    pub load: LoadArgs,
    /// What is kept.
    #[command(flatten)]
    #[serde(default)]
    pub record: RecordArgs,
    /// Runs of each load on each subject
    #[arg(long, default_value_t = default_rounds())]
    #[serde(default = "default_rounds")]
    pub rounds: usize,
}

fn default_rounds() -> usize {
    5
}

/// The loads of a compare: one, or a closed and an open loop.
fn loads(load: &LoadArgs) -> Vec<LoadArgs> {
    if load.rate.is_some() && load.in_flight.is_some() {
        vec![LoadArgs { rate: None, ..load.clone() }, LoadArgs { in_flight: None, ..load.clone() }]
    } else {
        vec![load.clone()]
    }
}

/// Between 1 and a thousand.
///
/// # Errors
/// When it is not.
pub fn check_rounds(rounds: usize) -> Result<(), LabError> {
    if (1..=1000).contains(&rounds) {
        return Ok(());
    }
    Err(LabError::Option(format!("--rounds {rounds} is out of range: it takes 1 to 1000")))
}

impl Experiment for CompareArgs {
    fn begin(&self, name: &str, stop: &Arc<AtomicBool>) -> Result<Session, LabError> {
        let found = self.subjects.requests()?.len();
        if found < 2 {
            return Err(LabError::Subjects { experiment: "compare", wanted: "two subjects or more", found });
        }
        check_rounds(self.rounds)?;
        Session::begin(results::Experiment::Compare, name, &self.subjects, &self.record, &loads(&self.load), stop)
    }

    fn run(&self, session: &mut Session) -> Result<bool, LabError> {
        let loads = loads(&self.load);
        let mut sites = open_all(session, &self.load)?;
        session.plan(self.rounds * loads.len() * sites.len());
        for round in 1..=self.rounds {
            for load in &loads {
                for (subject, site) in sites.iter_mut().enumerate() {
                    measure_in_turn(session, site, &Order { subject, round, point: None, load })?;
                }
            }
        }
        Ok(session.results.runs.iter().all(|run| run.report.complaints().is_empty()))
    }

    fn name(&self) -> &'static str {
        "compare"
    }

    fn set_out(&mut self, out: PathBuf) {
        self.record.out = Some(out);
    }
}

/// Opens all subjects, each warmed up and then paused.
///
/// # Errors
/// When one does not come up.
pub fn open_all(session: &mut Session, load: &LoadArgs) -> Result<Vec<Site>, LabError> {
    let mut sites = Vec::new();
    for index in 0..session.requests.len() {
        let mut site = session.open(index, &load.topic)?;
        session.settle(&mut site, load)?;
        if session.requests.len() > 1 {
            site.pause();
        }
        sites.push(site);
    }
    Ok(sites)
}

/// One run while all the others are paused.
///
/// # Errors
/// When the subject does not come back, or is lost, or the file cannot be written.
pub fn measure_in_turn(session: &mut Session, site: &mut Site, order: &Order<'_>) -> Result<(), LabError> {
    let stop = Arc::clone(&session.stop);
    if session.requests.len() > 1 {
        site.resume(&stop)?;
    }
    let ran = session.measure(site, order, &mut |_, _| Ok(()))?;
    session.check_ending(site, &ran.outcome)?;
    if session.requests.len() > 1 {
        site.pause();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_and_a_depth_are_two_loads() {
        let both = LoadArgs { rate: Some(5), in_flight: Some(7), ..LoadArgs::default() };
        let paces = |load: &LoadArgs| loads(load).iter().map(|load| (load.rate, load.in_flight)).collect::<Vec<_>>();
        assert_eq!(paces(&both), [(None, Some(7)), (Some(5), None)]);
        assert_eq!(paces(&LoadArgs { rate: None, ..both }), [(None, Some(7))]);
    }
}
