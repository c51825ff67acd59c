//! A slave begins empty beside a master with a long log, while producers go on: how fast it takes what it has not, and what they feel of it.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Deserialize;

use crate::lab::cli::Experiment;
use crate::lab::cluster::Member;
use crate::lab::compare::{check_rounds, in_turn, open_prepared, turns};
use crate::lab::error::LabError;
use crate::lab::figure::{latency, three_digits};
use crate::lab::fill::{bytes, parse_bytes};
use crate::lab::probe;
use crate::lab::processes::Watch;
use crate::lab::results::{self, CatchUp, Point};
use crate::lab::session::{Next, Order, RecordArgs, Session, leave_alone};
use crate::lab::site::{Request, Site, SubjectArgs};
use crate::load::settings::LoadArgs;

/// Longest that a slave may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Of `ringmq-bench catch-up`.
#[derive(Debug, Clone, Args, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct CatchUpArgs {
    /// Clusters that are brought up; the slave of the first master loses its store.
    #[command(flatten)]
    #[serde(default)]
    pub subjects: SubjectArgs,
    /// What producers send: once alone for its duration, and once beside a slave for as long as that needs.
    #[command(flatten)]
    #[serde(default)]
    pub load: LoadArgs,
    /// What is kept.
    #[command(flatten)]
    #[serde(default)]
    pub record: RecordArgs,
    /// What the master's log holds before the first slave begins, such as 5GB
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    #[serde(deserialize_with = "bytes")]
    pub fill: u64,
    /// How often, on each subject
    #[arg(long, default_value_t = default_rounds())]
    #[serde(default = "default_rounds")]
    pub rounds: usize,
}

fn default_rounds() -> usize {
    3
}

/// What tells the two loads of a round apart.
fn point(slaves: f64) -> Option<Point> {
    Some(Point { name: "slaves that catch up:".to_owned(), value: slaves, unit: String::new() })
}

impl Experiment for CatchUpArgs {
    fn begin(&self, name: &str, stop: &Arc<AtomicBool>) -> Result<Session, LabError> {
        check_rounds(self.rounds)?;
        // Apache's slaves tell where their log ends only now and then.
        let is_ours = |request: &Request| match request {
            Request::Up(spec) => spec.mode.replication.is_some() && !spec.is_java() && spec.shards() == 1,
            Request::Targets { .. } | Request::NameServers { .. } => false,
        };
        if !self.subjects.requests()?.iter().all(is_ours) {
            let reason = "catch-up takes --up ringmq with a mode that has slaves, and shards=1";
            return Err(LabError::Option(reason.to_owned()));
        }
        let loads = std::slice::from_ref(&self.load);
        Session::begin(results::Experiment::CatchUp, name, &self.subjects, &self.record, loads, stop)
    }

    fn run(&self, session: &mut Session) -> Result<bool, LabError> {
        let mut sites = open_prepared(session, &self.load, |session, site| {
            session.settle(site, &self.load)?;
            lose_slave(site)?;
            session.fill(site, &self.load, self.fill)
        })?;
        session.plan(2 * self.rounds * sites.len());
        for round in 1..=self.rounds {
            for subject in turns(round, sites.len()) {
                in_turn(session, &mut sites[subject], |session, site| self.one(session, site, subject, round))?;
            }
        }
        Ok(session.is_sound())
    }

    fn name(&self) -> &'static str {
        "catch-up"
    }

    fn places(&mut self) -> (&mut SubjectArgs, &mut RecordArgs) {
        (&mut self.subjects, &mut self.record)
    }
}

impl CatchUpArgs {
    /// Producers alone, then beside a slave.
    fn one(&self, session: &mut Session, site: &mut Site, subject: usize, round: usize) -> Result<(), LabError> {
        let ran =
            session.measure(site, &Order { subject, round, point: point(0.0), load: &self.load }, &mut leave_alone)?;
        session.check_ending(site, &ran.outcome)?;
        let alone_us = session.results.runs[ran.index].report.latency_us.p99_9;

        let (master, slave) = pair(site)?;
        let load = LoadArgs { duration: PATIENCE, ..self.load.clone() };
        let mut course = Course::new(self.load.warmup, master, slave);
        let order = Order { subject, round, point: point(1.0), load: &load };
        let ran = session.measure(site, &order, &mut |site, watch| course.advance(site, watch))?;
        session.check_ending(site, &ran.outcome)?;
        let Some(found) = course.found else {
            let reason = format!("its slave had {} of {} bytes after {PATIENCE:?}", course.seen, course.wanted);
            return Err(LabError::CutShort { subject: site.name.clone(), reason });
        };
        let beside_us = session.results.runs[ran.index].report.latency_us.p99_9;
        session.find(format!(
            "{}, round {round}: {} MB in {:.1} s, {} MB/s; p99.9 {} beside it, {} alone",
            site.name,
            found.bytes / 1_000_000,
            found.seconds,
            three_digits(found.mb_per_s()),
            latency(beside_us),
            latency(alone_us)
        ));
        session.add(&ran, |run| run.catch_up = Some(found))?;
        lose_slave(site)
    }
}

/// The first master and its slave.
fn pair(site: &Site) -> Result<(Member, Member), LabError> {
    let master = site.members[0].clone();
    let slave = site.members.iter().find(|member| member.broker == master.broker && member.id != 0);
    match slave {
        Some(slave) => Ok((master, slave.clone())),
        None => Err(LabError::Option(format!("{} has no slave", site.name))),
    }
}

/// Kills the slave and removes what it has stored.
fn lose_slave(site: &mut Site) -> Result<(), LabError> {
    let slave = node_of(&pair(site)?.1);
    let Some(cluster) = &mut site.cluster else { return Err(LabError::NoSubject) };
    cluster.kill(&slave)?;
    Ok(cluster.wipe(&slave)?)
}

/// As [`crate::lab::cluster::Cluster`] names it.
fn node_of(slave: &Member) -> String {
    format!("{}:slave", slave.broker)
}

/// What has happened so far while a slave catches up.
#[derive(Debug)]
struct Course {
    warmup: Duration,
    master: Member,
    slave: Member,
    begun: Option<Instant>,
    /// Where its master's log ended when it was started; 0 before.
    wanted: u64,
    /// The first that was seen of its log, and when: a start is no part of the speed.
    first: Option<(u64, Instant)>,
    /// The last that was seen of its log.
    seen: u64,
    found: Option<CatchUp>,
}

impl Course {
    fn new(warmup: Duration, master: Member, slave: Member) -> Self {
        Self { warmup, master, slave, begun: None, wanted: 0, first: None, seen: 0, found: None }
    }

    /// Does what is due by now.
    fn advance(&mut self, site: &mut Site, watch: &mut Watch) -> Result<Next, LabError> {
        if self.begun.get_or_insert_with(Instant::now).elapsed() < self.warmup {
            return Ok(Next::GoOn);
        }
        if self.wanted == 0 {
            self.wanted = probe::log_end(self.master.address).map_err(LabError::Silent)?;
            if let Some(cluster) = &mut site.cluster {
                cluster.restart(&node_of(&self.slave))?;
            }
            watch.replace(site.watched());
            return Ok(Next::GoOn);
        }
        // It does not answer before it listens.
        let end = probe::log_end(self.slave.address).unwrap_or(0);
        if end > 0 {
            self.seen = end;
            let (first, at) = *self.first.get_or_insert((end, Instant::now()));
            if end >= self.wanted {
                self.found = Some(CatchUp { bytes: end - first, seconds: at.elapsed().as_secs_f64() });
                return Ok(Next::Enough);
            }
        }
        Ok(Next::GoOn)
    }
}
