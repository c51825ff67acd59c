//! One setting changes from run to run: the rate to the knee, size, queues, connections, what a request costs the generator, the distance
//! between master and slave.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::Args;
use serde::Deserialize;

use crate::lab::cli::Experiment;
use crate::lab::compare::{check_rounds, measure_in_turn, open_all};
use crate::lab::error::LabError;
use crate::lab::results::{self, Point};
use crate::lab::session::{Order, REACHED, RecordArgs, Session};
use crate::lab::site::{Request, SubjectArgs};
use crate::load::run::ratio;
use crate::load::settings::{LoadArgs, parse_duration};

/// A rate that is not reached so many times in a row lies beyond the knee.
const MISSES: u32 = 2;

/// Of `ringmq-bench sweep`.
#[derive(Debug, Clone, Args, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SweepArgs {
    /// One subject or several, measured in turn at every point.
    #[command(flatten)]
    #[serde(default)]
    pub subjects: SubjectArgs,
    /// What does not change.
    #[command(flatten)]
    #[serde(default)]
    pub load: LoadArgs,
    /// What is kept.
    #[command(flatten)]
    #[serde(default)]
    pub record: RecordArgs,
    /// What changes, and its values: rate=1000,5000,10000, or size=..., queues=..., connections=..., work=0us,1us, think=0us,1us,
    /// round-trip=0ms,1ms,2ms. Rates end where
    /// less than 99 % of what was asked is reached twice in a row
    #[arg(long, value_name = "SETTING=VALUE,VALUE")]
    pub vary: String,
    /// Runs at each point on each subject
    #[arg(long, default_value_t = default_rounds())]
    #[serde(default = "default_rounds")]
    pub rounds: usize,
}

fn default_rounds() -> usize {
    1
}

/// A value that a sweep gives to its setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Rate(u64),
    Size(u64),
    Queues(u32),
    Connections(usize),
    Work(Duration),
    Think(Duration),
    RoundTrip(Duration),
}

impl Step {
    /// All of `rate=1000,5000`.
    fn parse(text: &str) -> Result<Vec<Self>, LabError> {
        let refuse = |reason: String| LabError::Option(format!("--vary {text}: {reason}"));
        let known = "rate, size, queues, connections, work, think or round-trip";
        let (name, values) =
            text.split_once('=').ok_or_else(|| refuse(format!("it takes SETTING=VALUE,VALUE with {known}")))?;
        let one = |value: &str| -> Result<Self, LabError> {
            let value = value.trim();
            let is_none = || refuse(format!("'{value}' is no number"));
            let time = || parse_duration(value).map_err(|reason| refuse(format!("'{value}': {reason}")));
            Ok(match name.trim() {
                "rate" => Self::Rate(value.parse().map_err(|_| is_none())?),
                "size" => Self::Size(value.parse().map_err(|_| is_none())?),
                "queues" => Self::Queues(value.parse().map_err(|_| is_none())?),
                "connections" => Self::Connections(value.parse().map_err(|_| is_none())?),
                "work" => Self::Work(time()?),
                "think" => Self::Think(time()?),
                "round-trip" => Self::RoundTrip(time()?),
                other => return Err(refuse(format!("there is no setting {other}; it takes {known}"))),
            })
        };
        values.split(',').map(one).collect()
    }

    fn point(self) -> Point {
        let (name, value, unit) = match self {
            Self::Rate(rate) => ("rate", ratio(rate, 1), "messages/s"),
            Self::Size(bytes) => ("size", ratio(bytes, 1), "B"),
            Self::Queues(count) => ("queues", f64::from(count), ""),
            Self::Connections(count) => ("connections", ratio(count as u64, 1), ""),
            Self::Work(time) => ("work", time.as_secs_f64() * 1e6, "µs a request"),
            Self::Think(time) => ("think", time.as_secs_f64() * 1e6, "µs a request"),
            Self::RoundTrip(time) => ("round-trip", time.as_secs_f64() * 1000.0, "ms"),
        };
        Point { name: name.to_owned(), value, unit: unit.to_owned() }
    }

    fn load(self, load: &LoadArgs) -> LoadArgs {
        let load = load.clone();
        match self {
            Self::Rate(rate) => LoadArgs { rate: Some(rate), ..load },
            Self::Size(bytes) => LoadArgs { size: bytes.to_string(), ..load },
            // A topic of its own: brokers do not like to take queues away.
            Self::Queues(queues) => LoadArgs { queues, topic: format!("{}-q{queues}", load.topic), ..load },
            Self::Connections(connections) => LoadArgs { connections, ..load },
            Self::Work(work) => LoadArgs { work, ..load },
            Self::Think(think) => LoadArgs { think, ..load },
            Self::RoundTrip(_) => load,
        }
    }
}

impl Experiment for SweepArgs {
    fn begin(&self, name: &str, stop: &Arc<AtomicBool>) -> Result<Session, LabError> {
        let steps = Step::parse(&self.vary)?;
        check_rounds(self.rounds)?;
        let is_far = steps.iter().any(|step| matches!(step, Step::RoundTrip(_)));
        let has_slaves = |request: &Request| matches!(request, Request::Up(spec) if spec.can_be_apart());
        if is_far && !self.subjects.requests()?.iter().all(has_slaves) {
            let reason = "--vary round-trip puts a relay between master and slave: it needs --up with a mode that has slaves, and shards=1";
            return Err(LabError::Option(reason.to_owned()));
        }
        let loads: Vec<LoadArgs> = steps.iter().map(|step| step.load(&self.load)).collect();
        Session::begin(results::Experiment::Sweep, name, &self.subjects, &self.record, &loads, stop)
    }

    fn run(&self, session: &mut Session) -> Result<bool, LabError> {
        let steps = Step::parse(&self.vary)?;
        session.plan(steps.len() * self.rounds * session.requests.len());
        let mut sites = Vec::new();
        let mut misses = vec![0; session.requests.len()];
        for step in steps {
            if let Step::RoundTrip(time) = step {
                // The relay is part of the cluster: another distance is another cluster.
                sites.clear();
                session.setup.round_trip = Some(time);
            }
            if sites.is_empty() {
                sites = open_all(session, &self.load)?;
            }
            let load = step.load(&self.load);
            let first = session.results.runs.len();
            for round in 1..=self.rounds {
                for (subject, site) in sites.iter_mut().enumerate().filter(|(subject, _)| misses[*subject] < MISSES) {
                    measure_in_turn(session, site, &Order { subject, round, point: Some(step.point()), load: &load })?;
                }
            }
            if let Step::Rate(asked) = step {
                for (subject, misses) in misses.iter_mut().enumerate() {
                    let runs = session.results.runs[first..].iter().filter(|run| run.subject == subject);
                    let rates: Vec<f64> = runs.map(|run| run.report.rate_per_s).collect();
                    let mean = rates.iter().sum::<f64>() / ratio(rates.len().max(1) as u64, 1);
                    *misses = if mean < REACHED * ratio(asked, 1) { *misses + 1 } else { 0 };
                }
                if misses.iter().all(|count| *count >= MISSES) {
                    break;
                }
            }
        }
        Ok(true)
    }

    fn name(&self) -> &'static str {
        "sweep"
    }

    fn places(&mut self) -> (&mut SubjectArgs, &mut RecordArgs) {
        (&mut self.subjects, &mut self.record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_and_values_are_read_and_have_their_points() {
        let steps = |text: &str| Step::parse(text).map_err(|error| error.to_string());
        assert_eq!(steps("rate=1000, 5000"), Ok(vec![Step::Rate(1000), Step::Rate(5000)]));
        let far = steps("round-trip=0ms,1.5ms").expect("times");
        assert_eq!(far[1].point(), Point { name: "round-trip".to_owned(), value: 1.5, unit: "ms".to_owned() });
        for (wrong, expected) in [
            ("rate", "SETTING=VALUE"),
            ("rate=x", "'x' is no number"),
            ("rats=1", "no setting rats"),
            ("round-trip=1", "a duration has a unit"),
        ] {
            assert!(steps(wrong).is_err_and(|error| error.contains(expected)), "{wrong}");
        }
    }

    #[test]
    fn a_step_changes_its_setting_alone() {
        let load = LoadArgs { topic: "t".to_owned(), rate: Some(1), ..LoadArgs::default() };
        let check = |step: Step, expected: (Option<u64>, &str, u32, usize, &str)| {
            let load = step.load(&load);
            let found = (load.rate, load.size.as_str(), load.queues, load.connections, load.topic.as_str());
            assert_eq!(found, expected, "{step:?}");
        };
        check(Step::Rate(9), (Some(9), "256", 8, 8, "t"));
        check(Step::Size(99), (Some(1), "99", 8, 8, "t"));
        check(Step::Queues(3), (Some(1), "256", 3, 8, "t-q3"));
        check(Step::Connections(64), (Some(1), "256", 8, 64, "t"));
        let time = Duration::from_micros(3);
        assert_eq!((Step::Work(time).load(&load).work, Step::Think(time).load(&load).think), (time, time));
        assert_eq!(Step::Think(time).point().value, 3.0);
        check(Step::RoundTrip(Duration::ZERO), (Some(1), "256", 8, 8, "t"));
    }
}
