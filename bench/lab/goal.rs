//! Goals: figures that an experiment is made for, and the bounds that they are to keep. A scenario names them, results hold them.

use serde::{Deserialize, Serialize};

use crate::lab::error::LabError;
use crate::lab::figure::{latency, thousands, three_digits};
use crate::lab::results::{Goal, Results, Run};
use crate::lab::rounds::Rounds;
use crate::lab::site::Request;
use crate::lab::statistics::median;
use crate::load::report::Percentiles;

/// A figure of a run, or of what an experiment did beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Measure {
    /// Messages stored as promised, a second.
    #[serde(rename = "rate")]
    Rate,
    /// From the intended moment to the reply, µs, as the other latencies of this name.
    #[serde(rename = "p50")]
    P50,
    /// One in a hundred is slower.
    #[serde(rename = "p99")]
    P99,
    /// One in a thousand is slower.
    #[serde(rename = "p99.9")]
    P99_9,
    /// From the intended moment to a consumer, µs.
    #[serde(rename = "end-to-end p50")]
    EndToEndP50,
    /// One in a hundred is slower.
    #[serde(rename = "end-to-end p99")]
    EndToEndP99,
    /// One in a thousand is slower.
    #[serde(rename = "end-to-end p99.9")]
    EndToEndP99_9,
    /// Acknowledgements of what was popped, a second.
    #[serde(rename = "acknowledged")]
    Acknowledged,
    /// From a pop to the reply to the acknowledgement, µs.
    #[serde(rename = "ack p50")]
    AckP50,
    /// One in a thousand is slower.
    #[serde(rename = "ack p99.9")]
    AckP99_9,
    /// How much later messages are at slaves than at their masters, µs.
    #[serde(rename = "lag p50")]
    LagP50,
    /// One in a hundred is later.
    #[serde(rename = "lag p99")]
    LagP99,
    /// Resident memory of the first broker when the load ends, MB.
    #[serde(rename = "resident")]
    Resident,
    /// From the start of a broker to the first message that it stores, s; in a restart.
    #[serde(rename = "start")]
    Start,
    /// How fast a slave takes what it has not, MB/s; in a catch-up.
    #[serde(rename = "catch-up")]
    CatchUp,
}

impl Measure {
    /// Its value in a run that has it.
    pub fn of(self, run: &Run) -> Option<f64> {
        let report = &run.report;
        let end_to_end = |of: fn(&Percentiles) -> f64| report.end_to_end_us.as_ref().map(of);
        let lag = |of: fn(&Percentiles) -> f64| report.lag_us.as_ref().map(of);
        match self {
            Self::Rate => Some(report.rate_per_s),
            Self::P50 => Some(report.latency_us.p50),
            Self::P99 => Some(report.latency_us.p99),
            Self::P99_9 => Some(report.latency_us.p99_9),
            Self::EndToEndP50 => end_to_end(|found| found.p50),
            Self::EndToEndP99 => end_to_end(|found| found.p99),
            Self::EndToEndP99_9 => end_to_end(|found| found.p99_9),
            Self::Acknowledged => report.popped.as_ref().map(|popped| popped.rate_per_s),
            Self::AckP50 => report.popped.as_ref().map(|popped| popped.ack_us.p50),
            Self::AckP99_9 => report.popped.as_ref().map(|popped| popped.ack_us.p99_9),
            Self::LagP50 => lag(|found| found.p50),
            Self::LagP99 => lag(|found| found.p99),
            Self::Resident => {
                let broker = run.processes.iter().find(|process| process.name.contains(" master"));
                broker.map(|broker| broker.resident_mb)
            }
            Self::Start => run.restart.as_ref().map(|restart| restart.seconds),
            Self::CatchUp => run.catch_up.as_ref().map(crate::lab::results::CatchUp::mb_per_s),
        }
    }

    /// As in a scenario.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::P50 => "p50",
            Self::P99 => "p99",
            Self::P99_9 => "p99.9",
            Self::EndToEndP50 => "end-to-end p50",
            Self::EndToEndP99 => "end-to-end p99",
            Self::EndToEndP99_9 => "end-to-end p99.9",
            Self::Acknowledged => "acknowledged",
            Self::AckP50 => "ack p50",
            Self::AckP99_9 => "ack p99.9",
            Self::LagP50 => "lag p50",
            Self::LagP99 => "lag p99",
            Self::Resident => "resident",
            Self::Start => "start",
            Self::CatchUp => "catch-up",
        }
    }

    /// A value of it with its unit.
    pub fn written(self, value: f64) -> String {
        match self {
            Self::Rate | Self::Acknowledged => format!("{}/s", thousands(value)),
            Self::Resident => format!("{} MB", three_digits(value)),
            Self::Start => format!("{} s", three_digits(value)),
            Self::CatchUp => format!("{} MB/s", three_digits(value)),
            _ => latency(value),
        }
    }
}

/// A figure that a scenario asks for. Without a bound it is shown, and nothing is promised of it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub struct GoalArgs {
    pub figure: Measure,
    /// Under which load, as tables name it: `closed loop 64 x 1`. Without one, under each that has the figure.
    #[serde(default)]
    pub load: Option<String>,
    /// The first subject's is no less than this, in the figure's unit, or so many times another's.
    #[serde(default)]
    pub at_least: Option<f64>,
    /// The first subject's is no more than this, likewise.
    #[serde(default)]
    pub at_most: Option<f64>,
    /// The bound is so many times the figure of this subject: its name, or how that begins.
    #[serde(default)]
    pub times: Option<String>,
    /// The bound is so many times the figure under this load.
    #[serde(default)]
    pub times_load: Option<String>,
}

impl GoalArgs {
    /// Whether it makes sense for these subjects.
    ///
    /// # Errors
    /// When it does not: what is wrong.
    pub fn check(&self, requests: &[Request]) -> Result<(), LabError> {
        let refuse = |reason: String| Err(LabError::Option(format!("the goal of {}: {reason}", self.figure.name())));
        let is_relative = self.times.is_some() || self.times_load.is_some();
        match (self.at_least, self.at_most) {
            (Some(_), Some(_)) => return refuse("at-least and at-most are two goals".to_owned()),
            (None, None) if is_relative => return refuse("times needs at-least or at-most".to_owned()),
            _ => {}
        }
        match &self.times {
            Some(name) if find(requests.iter().map(Request::text), name).is_none() => {
                refuse(format!("there is no subject {name}"))
            }
            _ => Ok(()),
        }
    }

    /// `≥ 3 × apache:all`; empty without a bound.
    fn bound(&self) -> String {
        let (sign, bound) = match (self.at_least, self.at_most) {
            (Some(bound), _) => ("\u{2265}", bound),
            (None, Some(bound)) => ("\u{2264}", bound),
            (None, None) => return String::new(),
        };
        let of: Vec<&str> = self.times.iter().chain(&self.times_load).map(String::as_str).collect();
        if of.is_empty() {
            return format!("{sign} {}", self.figure.written(bound));
        }
        format!("{sign} {bound} \u{d7} {}", of.join(" under "))
    }

    /// Whether it is kept; none when a figure is missing or nothing is promised.
    fn is_kept(&self, value: f64, base: impl Fn() -> Option<f64>) -> Option<bool> {
        let is_relative = self.times.is_some() || self.times_load.is_some();
        let base = if is_relative { base()? } else { 1.0 };
        match (self.at_least, self.at_most) {
            (Some(bound), _) => Some(value >= bound * base),
            (None, Some(bound)) => Some(value <= bound * base),
            (None, None) => None,
        }
    }
}

/// The one of that name, or else the first whose name begins so.
fn find<'a>(names: impl Iterator<Item = &'a str> + Clone, wanted: &str) -> Option<usize> {
    names.clone().position(|name| name == wanted).or_else(|| names.clone().position(|name| name.starts_with(wanted)))
}

/// The median of a figure over rounds that have it.
pub fn middle(rounds: &Rounds<'_>, figure: Measure) -> Option<f64> {
    let values: Vec<f64> = rounds.runs.iter().filter_map(|run| figure.of(run)).collect();
    median(&values)
}

/// What became of the goals, by the runs that went to their end; a load that was not measured has none.
pub fn judged(args: &[GoalArgs], results: &Results) -> Vec<Goal> {
    let runs = results.runs.iter().filter(|run| run.report.complete).cloned().collect();
    let whole = Results { runs, ..results.clone() };
    let all = Rounds::of(&whole);
    let names = || whole.subjects.iter().map(|subject| subject.name.as_str());
    let mut goals = Vec::new();
    for goal in args {
        let is_asked = |rounds: &&Rounds<'_>| {
            rounds.subject == 0 && goal.load.as_ref().is_none_or(|load| *load == rounds.load.name())
        };
        for rounds in all.iter().filter(is_asked) {
            let Some(value) = middle(rounds, goal.figure) else { continue };
            let base = || {
                let subject = goal.times.as_ref().map_or(Some(0), |name| find(names(), name))?;
                let load = goal.times_load.clone().unwrap_or_else(|| rounds.load.name());
                let base = all.iter().find(|other| other.subject == subject && other.load.name() == load)?;
                middle(base, goal.figure)
            };
            goals.push(Goal {
                figure: goal.figure,
                load: rounds.load.name(),
                value,
                bound: goal.bound(),
                is_kept: goal.is_kept(value, base),
            });
        }
    }
    goals
}

impl Goal {
    /// `rate 32,571/s, closed loop 64 x 1: ≥ 3 × apache: missed`; without a bound, the figure alone.
    pub fn sentence(&self) -> String {
        let figure = format!("{} {}, {}", self.figure.name(), self.figure.written(self.value), self.load);
        if self.bound.is_empty() { figure } else { format!("{figure}: {}: {}", self.bound, self.fate()) }
    }

    /// In a word or two.
    pub fn fate(&self) -> &'static str {
        match self.is_kept {
            Some(true) => "kept",
            Some(false) => "missed",
            None => "not measured",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Sample;

    fn goal(text: &str) -> GoalArgs {
        toml::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn goals_are_judged_by_medians() {
        let mut sample = Sample::compare(&["ringmq:all", "apache:all"]);
        for (ours, theirs) in [(100.0, 10.0), (900.0, 40.0), (300.0, 30.0)] {
            sample.closed(0, ours, [100.0, 200.0, 400.0]);
            sample.closed(1, theirs, [100.0, 200.0, 500.0]);
        }
        let check = |text: &str, expected: Option<bool>, bound: &str| {
            let found = judged(&[goal(text)], &sample.results);
            assert_eq!(found.len(), 1, "{text}");
            assert_eq!((found[0].is_kept, found[0].bound.as_str()), (expected, bound), "{text}");
        };
        check("figure = \"rate\"\nat-least = 10.0\ntimes = \"apache\"", Some(true), "\u{2265} 10 \u{d7} apache");
        check("figure = \"rate\"\nat-least = 10.1\ntimes = \"apache\"", Some(false), "\u{2265} 10.1 \u{d7} apache");
        check("figure = \"p99.9\"\nat-most = 0.8\ntimes = \"apache\"", Some(true), "\u{2264} 0.8 \u{d7} apache");
        check("figure = \"p99.9\"\nat-most = 399", Some(false), "\u{2264} 399 \u{b5}s");
        check("figure = \"resident\"", None, "");
        check("figure = \"rate\"\nat-least = 1\ntimes-load = \"x\"", None, "\u{2265} 1 \u{d7} x");
        assert!(judged(&[goal("figure = \"start\"\nat-most = 1")], &sample.results).is_empty(), "nothing was started");
        assert!(judged(&[goal("figure = \"rate\"\nload = \"x\"")], &sample.results).is_empty(), "no such load");
    }

    #[test]
    fn a_goal_says_what_is_wrong_with_it() {
        let requests = ["ringmq:all", "echo"].map(|text| Request::Up(text.parse().expect("a cluster")));
        let check = |text: &str, expected: &str| {
            let error = goal(text).check(&requests).expect_err(expected).to_string();
            assert!(error.contains(expected), "{error}");
        };
        check("figure = \"p50\"\nat-least = 1\nat-most = 2", "two goals");
        check("figure = \"p50\"\ntimes = \"echo\"", "needs at-least or at-most");
        check("figure = \"p50\"\nat-most = 1\ntimes = \"apache\"", "no subject apache");
        assert!(goal("figure = \"p50\"\nat-most = 1\ntimes = \"echo\"").check(&requests).is_ok());
        assert!(toml::from_str::<GoalArgs>("figure = \"p51\"").is_err());
    }
}
