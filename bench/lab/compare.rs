//! The same loads on several subjects in turn: A B B A. Single runs on a shared machine differ by more than brokers do, so all subjects are up
//! together, paused but for the one that is measured, and what counts are ratios within the rounds. Every other round goes backwards: what
//! drifts while they last, a disk that fills for example, hits both alike.

use std::cell::Cell;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Args;
use serde::Deserialize;

use crate::lab::cli::Experiment;
use crate::lab::error::LabError;
use crate::lab::figure::thousands;
use crate::lab::results;
use crate::lab::session::{Order, RecordArgs, Session, leave_alone};
use crate::lab::site::{Site, SubjectArgs};
use crate::lab::tables;
use crate::load::settings::LoadArgs;

/// Of `ringmq-bench compare`.
#[derive(Debug, Clone, Args, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct CompareArgs {
    /// Two or more subjects; the first is the base of all ratios.
    #[command(flatten)]
    #[serde(default)]
    pub subjects: SubjectArgs,
    /// With both a rate and a number in flight, or `closed`, these are several loads: throughput of closed loops, latency of the open one.
    #[command(flatten)]
    #[serde(default)]
    pub load: LoadArgs,
    /// What is kept.
    #[command(flatten)]
    #[serde(default)]
    pub record: RecordArgs,
    /// Closed loops of these shapes instead of --in-flight: connections x requests that each keeps without a reply, such as 64x1,8x32
    #[arg(long, value_name = "CxN,CxN", value_delimiter = ',', conflicts_with = "in_flight")]
    #[serde(default)]
    pub closed: Vec<Shape>,
    /// Each closed loop twice: requests written together as they are ready, and each by itself as stock clients do
    #[arg(long, conflicts_with = "write_each")]
    #[serde(default)]
    pub both_writes: bool,
    /// The last subject holds so many committed offsets, and a twentieth of that topics and groups, all of which change while it is measured
    #[arg(long, value_name = "OFFSETS")]
    #[serde(default)]
    pub tables: Option<u64>,
    /// Runs of each load on each subject
    #[arg(long, default_value_t = default_rounds())]
    #[serde(default = "default_rounds")]
    pub rounds: usize,
}

fn default_rounds() -> usize {
    5
}

/// A closed loop: connections, and requests that each of them keeps without a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Shape {
    connections: usize,
    in_flight: usize,
}

impl FromStr for Shape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let shape = text.split_once('x').and_then(|(connections, in_flight)| {
            Some(Self { connections: connections.parse().ok()?, in_flight: in_flight.parse().ok()? })
        });
        shape.ok_or_else(|| {
            format!("'{text}' is no closed loop: it takes connections x requests in flight, such as 8x32")
        })
    }
}

impl TryFrom<String> for Shape {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl CompareArgs {
    /// One, or closed loops and then an open one.
    fn loads(&self) -> Vec<LoadArgs> {
        let base = &self.load;
        let shapes = self.closed.iter().map(|shape| (shape.connections, Some(shape.in_flight)));
        let own = base.in_flight.map(|in_flight| (base.connections, Some(in_flight)));
        let mut loads = Vec::new();
        for (connections, in_flight) in shapes.chain(own) {
            let load = LoadArgs { connections, in_flight, rate: None, ..base.clone() };
            loads.push(load.clone());
            if self.both_writes {
                loads.push(LoadArgs { write_each: true, ..load });
            }
        }
        if base.rate.is_some() || loads.is_empty() {
            loads.push(LoadArgs { in_flight: None, ..base.clone() });
        }
        loads
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
        // A scenario has not been through the command line's own checks.
        if !self.closed.is_empty() && self.load.in_flight.is_some() {
            return Err(LabError::Option("--closed and --in-flight exclude each other".to_owned()));
        }
        if self.tables.is_some_and(|offsets| !(20..=2_000_000).contains(&offsets)) {
            return Err(LabError::Option("--tables takes 20 to 2000000 committed offsets".to_owned()));
        }
        if self.both_writes && self.load.write_each {
            return Err(LabError::Option("--both-writes and --write-each exclude each other".to_owned()));
        }
        Session::begin(results::Experiment::Compare, name, &self.subjects, &self.record, &self.loads(), stop)
    }

    fn run(&self, session: &mut Session) -> Result<bool, LabError> {
        let loads = self.loads();
        match self.tables {
            Some(offsets) => self.beside_changes(session, &loads, offsets)?,
            None => {
                let mut sites = open_all(session, &self.load)?;
                measure_all(session, &mut sites, &loads, self.rounds)?;
            }
        }
        Ok(session.is_sound())
    }

    fn name(&self) -> &'static str {
        "compare"
    }

    fn places(&mut self) -> (&mut SubjectArgs, &mut RecordArgs) {
        (&mut self.subjects, &mut self.record)
    }
}

impl CompareArgs {
    /// All loads on all subjects in turn, the last of which has large tables that change.
    fn beside_changes(&self, session: &mut Session, loads: &[LoadArgs], offsets: u64) -> Result<(), LabError> {
        let last = session.requests.len() - 1;
        let opened = Cell::new(0);
        let mut sites = open_prepared(session, &self.load, |session, site| {
            session.settle(site, &self.load)?;
            if opened.replace(opened.get() + 1) < last {
                return Ok(());
            }
            tables::fill(site.place.targets[0], offsets, &session.stop)
        })?;
        session.plan(self.rounds * loads.len() * sites.len());
        for round in 1..=self.rounds {
            for load in loads {
                for subject in turns(round, sites.len()) {
                    let order = Order { subject, round, point: None, load };
                    if subject < last {
                        measure_in_turn(session, &mut sites[subject], &order)?;
                        continue;
                    }
                    in_turn(session, &mut sites[subject], |session, site| {
                        let measured = tables::changing(site.place.targets[0], offsets, || {
                            let ran = session.measure(site, &order, &mut leave_alone)?;
                            session.check_ending(site, &ran.outcome)
                        });
                        let ((), changes) = measured?;
                        let changes = thousands(changes.round());
                        session.find(format!("{}, round {round}: beside {changes} changes/s of its tables", site.name));
                        Ok(())
                    })?;
                }
            }
        }
        Ok(())
    }
}

/// Who is measured after whom: there and back.
pub fn turns(round: usize, subjects: usize) -> impl Iterator<Item = usize> {
    let is_forward = round % 2 == 1;
    (0..subjects).map(move |nth| if is_forward { nth } else { subjects - 1 - nth })
}

/// Opens all subjects, each warmed up and then paused.
///
/// # Errors
/// When one does not come up.
pub fn open_all(session: &mut Session, load: &LoadArgs) -> Result<Vec<Site>, LabError> {
    open_prepared(session, load, |session, site| session.settle(site, load))
}

/// Opens all subjects, each prepared and then paused.
///
/// # Errors
/// When one does not come up, or `prepare` fails.
pub fn open_prepared(
    session: &mut Session,
    load: &LoadArgs,
    prepare: impl Fn(&mut Session, &mut Site) -> Result<(), LabError>,
) -> Result<Vec<Site>, LabError> {
    let mut sites = Vec::new();
    for index in 0..session.requests.len() {
        let mut site = session.open(index, &load.topic)?;
        prepare(session, &mut site)?;
        if session.requests.len() > 1 {
            site.pause();
        }
        sites.push(site);
    }
    Ok(sites)
}

/// All loads on all subjects in turn, so often.
///
/// # Errors
/// As of [`measure_in_turn`].
pub fn measure_all(
    session: &mut Session,
    sites: &mut [Site],
    loads: &[LoadArgs],
    rounds: usize,
) -> Result<(), LabError> {
    session.plan(rounds * loads.len() * sites.len());
    for round in 1..=rounds {
        for load in loads {
            for subject in turns(round, sites.len()) {
                measure_in_turn(session, &mut sites[subject], &Order { subject, round, point: None, load })?;
            }
        }
    }
    Ok(())
}

/// One run while all the others are paused.
///
/// # Errors
/// When the subject does not come back, or is lost, or the file cannot be written.
pub fn measure_in_turn(session: &mut Session, site: &mut Site, order: &Order<'_>) -> Result<(), LabError> {
    in_turn(session, site, |session, site| {
        let ran = session.measure(site, order, &mut leave_alone)?;
        session.check_ending(site, &ran.outcome)
    })
}

/// Does something with a subject while all the others are paused.
///
/// # Errors
/// When the subject does not come back, or `act` fails.
pub fn in_turn(
    session: &mut Session,
    site: &mut Site,
    act: impl FnOnce(&mut Session, &mut Site) -> Result<(), LabError>,
) -> Result<(), LabError> {
    let stop = Arc::clone(&session.stop);
    let has_others = session.requests.len() > 1;
    if has_others {
        site.resume(&stop)?;
    }
    act(session, site)?;
    if has_others {
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
        let args = |load: &LoadArgs, closed: &[&str], both_writes| CompareArgs {
            subjects: SubjectArgs::default(),
            load: load.clone(),
            record: RecordArgs::default(),
            closed: closed.iter().map(|text| text.parse().expect("a shape")).collect(),
            both_writes,
            tables: None,
            rounds: 1,
        };
        let paces = |args: CompareArgs| {
            let loads = args.loads();
            loads.iter().map(|load| (load.rate, load.connections, load.in_flight, load.write_each)).collect::<Vec<_>>()
        };
        assert_eq!(paces(args(&both, &[], false)), [(None, 8, Some(7), false), (Some(5), 8, None, false)]);
        let closed = LoadArgs { rate: None, ..both.clone() };
        assert_eq!(paces(args(&closed, &[], true)), [(None, 8, Some(7), false), (None, 8, Some(7), true)]);
        let open = LoadArgs { in_flight: None, ..both };
        assert_eq!(
            paces(args(&open, &["64x1", "1x2"], false)),
            [(None, 64, Some(1), false), (None, 1, Some(2), false), (Some(5), 8, None, false)]
        );
        assert!("8".parse::<Shape>().is_err_and(|error| error.contains("8x32")));
    }

    #[test]
    fn every_other_round_goes_back() {
        assert_eq!([1, 2].map(|round| turns(round, 3).collect::<Vec<_>>()), [[0, 1, 2], [2, 1, 0]]);
    }
}
