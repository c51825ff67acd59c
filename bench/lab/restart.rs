//! A broker is killed under load and started again, on what it left or on nothing: how long until it stores a message.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use serde::{Deserialize, Deserializer};

use crate::lab::cli::Experiment;
use crate::lab::cluster::Cluster;
use crate::lab::compare::{check_rounds, in_turn, open_prepared, turns};
use crate::lab::error::LabError;
use crate::lab::fill::{bytes, parse_bytes};
use crate::lab::probe;
use crate::lab::results::{self, Restart};
use crate::lab::session::{Next, Order, RecordArgs, Session, leave_alone};
use crate::lab::site::{Request, Site, SubjectArgs};
use crate::load::settings::LoadArgs;

/// How long a load runs before its broker is killed.
const BEFORE_KILL: Duration = Duration::from_millis(1500);
/// Longest that a broker may take until it stores.
const START_TIMEOUT: Duration = Duration::from_secs(120);
/// How often is looked whether it does.
const POLL: Duration = Duration::from_millis(1);

/// Of `ringmq-bench restart`.
#[derive(Debug, Clone, Args, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RestartArgs {
    /// Clusters that are brought up; the first master of each is started again.
    #[command(flatten)]
    #[serde(default)]
    pub subjects: SubjectArgs,
    /// Under it the broker is killed, and measured when it is there again.
    #[command(flatten)]
    #[serde(default)]
    pub load: LoadArgs,
    /// What is kept.
    #[command(flatten)]
    #[serde(default)]
    pub record: RecordArgs,
    /// What the log holds before the first kill, such as 5GB
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    #[serde(default, deserialize_with = "some_bytes")]
    pub fill: Option<u64>,
    /// Start it on an empty folder each time
    #[arg(long, conflicts_with = "fill")]
    #[serde(default)]
    pub empty: bool,
    /// Starts of each subject
    #[arg(long, default_value_t = default_rounds())]
    #[serde(default = "default_rounds")]
    pub rounds: usize,
}

fn default_rounds() -> usize {
    3
}

/// Of a scenario.
fn some_bytes<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    bytes(from).map(Some)
}

impl Experiment for RestartArgs {
    fn begin(&self, name: &str, stop: &Arc<AtomicBool>) -> Result<Session, LabError> {
        check_rounds(self.rounds)?;
        if self.empty && self.fill.is_some() {
            return Err(LabError::Option("--empty and --fill exclude each other".to_owned()));
        }
        for request in self.subjects.requests()? {
            match request {
                Request::Up(spec) if self.empty || spec.is_broker() => {}
                Request::Up(spec) => {
                    let reason = format!("{} stores nothing that could be found again: --empty", spec.text);
                    return Err(LabError::Option(reason));
                }
                _ => return Err(LabError::Option("restart starts what it brought up itself: --up".to_owned())),
            }
        }
        let loads = std::slice::from_ref(&self.load);
        Session::begin(results::Experiment::Restart, name, &self.subjects, &self.record, loads, stop)
    }

    fn run(&self, session: &mut Session) -> Result<bool, LabError> {
        let mut sites = open_prepared(session, &self.load, |session, site| match self.fill {
            Some(bytes) => session.fill(site, &self.load, bytes),
            None => Ok(()),
        })?;
        session.plan(self.rounds * sites.len());
        for round in 1..=self.rounds {
            for subject in turns(round, sites.len()) {
                let order = Order { subject, round, point: None, load: &self.load };
                in_turn(session, &mut sites[subject], |session, site| self.one(session, site, &order))?;
            }
        }
        Ok(session.is_sound())
    }

    fn name(&self) -> &'static str {
        "restart"
    }

    fn places(&mut self) -> (&mut SubjectArgs, &mut RecordArgs) {
        (&mut self.subjects, &mut self.record)
    }
}

impl RestartArgs {
    /// One kill, one start, and one load after it.
    fn one(&self, session: &mut Session, site: &mut Site, order: &Order<'_>) -> Result<(), LabError> {
        let master = site.members[0].clone();
        if !self.empty {
            kill_under_load(session, site, &self.load, &master.broker)?;
        }
        let Some(cluster) = &mut site.cluster else { return Err(LabError::NoSubject) };
        if self.empty {
            cluster.kill(&master.broker)?;
            cluster.wipe(&master.broker)?;
        }
        rustix::fs::sync();
        let begun = Instant::now();
        cluster.restart(&master.broker)?;
        let seconds = until_stored(session, cluster, master.address, begun)?.as_secs_f64();
        // The echo has no log.
        let log_bytes = if self.empty { 0 } else { probe::log_end(master.address).map_err(LabError::Silent)? };
        let seconds = (seconds * 1000.0).round() / 1000.0;
        let left = if self.empty { "an empty folder".to_owned() } else { format!("{} MB", log_bytes / 1_000_000) };
        session.find(format!(
            "{}, round {}: a message stored {seconds} s after the start on {left}",
            site.name, order.round
        ));
        let ran = session.measure(site, order, &mut leave_alone)?;
        session.add(&ran, |run| run.restart = Some(Restart { log_bytes, seconds }))?;
        session.check_ending(site, &ran.outcome)
    }
}

/// The load loses its broker, and that is what is wanted.
fn kill_under_load(session: &Session, site: &mut Site, load: &LoadArgs, broker: &str) -> Result<(), LabError> {
    let load = LoadArgs { duration: BEFORE_KILL * 20, warmup: Duration::ZERO, drain: Duration::ZERO, ..load.clone() };
    let mut begun = None;
    let label = format!("kill of {broker}");
    session.load(site, &load, &label, &mut |site, _| {
        if begun.get_or_insert_with(Instant::now).elapsed() < BEFORE_KILL {
            return Ok(Next::GoOn);
        }
        if let Some(cluster) = &mut site.cluster {
            cluster.kill(broker)?;
        }
        Ok(Next::Enough)
    })?;
    if session.is_stopped() { Err(LabError::Interrupted) } else { Ok(()) }
}

/// Waits until the broker at `address` stores a message.
fn until_stored(
    session: &Session,
    cluster: &mut Cluster,
    address: std::net::SocketAddr,
    begun: Instant,
) -> Result<Duration, LabError> {
    loop {
        let Err(error) = probe::store_one(address) else { return Ok(begun.elapsed()) };
        if session.is_stopped() {
            return Err(LabError::Interrupted);
        }
        let reason = match cluster.first_end() {
            Some(end) => end,
            None if begun.elapsed() < START_TIMEOUT => {
                thread::sleep(POLL);
                continue;
            }
            None => format!("{address} stores nothing after {START_TIMEOUT:?}: {error}"),
        };
        return Err(LabError::CutShort { subject: cluster.name.clone(), reason });
    }
}
