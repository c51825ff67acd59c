//! How much later messages are at slaves than at their masters: pulled from both, and for comparison from either alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Deserialize;

use crate::lab::cli::Experiment;
use crate::lab::compare::{check_rounds, measure_all, open_all};
use crate::lab::error::LabError;
use crate::lab::figure::latency;
use crate::lab::probe;
use crate::lab::results;
use crate::lab::session::{RecordArgs, Session};
use crate::lab::site::{Request, SubjectArgs};
use crate::lab::statistics::median;
use crate::load::consumer::queues;
use crate::load::prelude::create_topics;
use crate::load::report::Percentiles;
use crate::load::settings::{LoadArgs, Settings};

/// Longest that a slave may take to learn of a topic; Apache's ask every 10 s.
const TOPIC_TIMEOUT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);

/// Creates the topics of a load that pulls from slaves, and waits until those have them: until then they refuse to be pulled from.
///
/// # Errors
/// When a broker is silent, refuses, or does not learn of them; or Ctrl-C.
pub(super) fn prepare(settings: &Settings, stop: &AtomicBool) -> Result<(), LabError> {
    for target in &settings.targets {
        create_topics(settings, *target).map_err(|source| LabError::load(&target.to_string(), source))?;
    }
    let queues = queues(&settings.topic, settings.topics, settings.queues);
    let Some(last) = queues.last() else { return Ok(()) };
    let slaves = if settings.lag_sources.is_empty() { &settings.sources } else { &settings.lag_sources };
    let begun = Instant::now();
    for slave in slaves.iter().filter_map(|replicas| replicas.first()) {
        while !probe::has_topic(*slave, &last.topic).map_err(LabError::Silent)? {
            if stop.load(Ordering::Relaxed) {
                return Err(LabError::Interrupted);
            }
            if begun.elapsed() > TOPIC_TIMEOUT {
                let reason = format!("after {TOPIC_TIMEOUT:?} it does not know the topic {}", last.topic);
                return Err(LabError::CutShort { subject: slave.to_string(), reason });
            }
            thread::sleep(POLL);
        }
    }
    Ok(())
}

/// Of `ringmq-bench lag`.
#[derive(Debug, Clone, Args, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LagArgs {
    /// Clusters with slaves, brought up or known to a name server.
    #[command(flatten)]
    #[serde(default)]
    pub subjects: SubjectArgs,
    /// Messages are pulled back, whatever it says of that.
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
    3
}

impl LagArgs {
    /// From both, from slaves, from masters.
    fn loads(&self) -> [LoadArgs; 3] {
        let load = LoadArgs { end_to_end: true, lag: false, from_slaves: false, ..self.load.clone() };
        [LoadArgs { lag: true, ..load.clone() }, LoadArgs { from_slaves: true, ..load.clone() }, load]
    }
}

impl Experiment for LagArgs {
    fn begin(&self, name: &str, stop: &Arc<AtomicBool>) -> Result<Session, LabError> {
        check_rounds(self.rounds)?;
        let may_have_slaves = |request: &Request| match request {
            Request::Up(spec) => spec.mode.replication.is_some(),
            Request::Targets { .. } => false,
            Request::NameServers { .. } => true,
        };
        if !self.subjects.requests()?.iter().all(may_have_slaves) {
            return Err(LabError::Option("lag takes --up with a mode that has slaves, or -n".to_owned()));
        }
        Session::begin(results::Experiment::Lag, name, &self.subjects, &self.record, &self.loads(), stop)
    }

    fn run(&self, session: &mut Session) -> Result<bool, LabError> {
        let loads = self.loads();
        let mut sites = open_all(session, &self.load)?;
        measure_all(session, &mut sites, &loads, self.rounds)?;
        for (index, site) in sites.iter().enumerate() {
            let lags = session.results.runs.iter().filter(|run| run.subject == index);
            let lags: Vec<_> = lags.filter_map(|run| run.report.lag_us).collect();
            let middle = |of: fn(&Percentiles) -> f64| median(&lags.iter().map(of).collect::<Vec<_>>()).unwrap_or(0.0);
            session.find(format!(
                "{}: messages are {} later at slaves than at their masters, one in a hundred {} or more",
                site.name,
                latency(middle(|lag| lag.p50)),
                latency(middle(|lag| lag.p99))
            ));
        }
        Ok(session.is_sound())
    }

    fn name(&self) -> &'static str {
        "lag"
    }

    fn places(&mut self) -> (&mut SubjectArgs, &mut RecordArgs) {
        (&mut self.subjects, &mut self.record)
    }
}
