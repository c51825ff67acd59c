//! One load for long, and what drifts under it: memory, descriptors, latency.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::Args;
use serde::Deserialize;

use crate::lab::cli::Experiment;
use crate::lab::error::LabError;
use crate::lab::results::{self, Finding, Second};
use crate::lab::session::{Order, RecordArgs, Session, leave_alone};
use crate::lab::site::SubjectArgs;
use crate::load::settings::{LoadArgs, duration, parse_duration};

/// Seconds are gathered into so many bins: neighbours are too alike to count as evidence each.
const BINS: usize = 30;
/// Below so many bins a line through them says nothing.
const BINS_MIN: usize = 6;
/// Below so many seconds it says nothing of hours.
const SECONDS_MIN: usize = 60;
/// A slope counts from so many of its standard errors on.
const ERRORS: f64 = 3.0;

/// Of `ringmq-bench soak`.
#[derive(Debug, Clone, Args, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SoakArgs {
    /// One subject.
    #[command(flatten)]
    #[serde(default)]
    pub subjects: SubjectArgs,
    /// Its duration is that of --for.
    #[command(flatten)]
    #[serde(default)]
    pub load: LoadArgs,
    /// What is kept.
    #[command(flatten)]
    #[serde(default)]
    pub record: RecordArgs,
    /// How long
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration)]
    #[serde(rename = "for", deserialize_with = "duration")]
    pub lasting: Duration,
}

impl SoakArgs {
    fn load(&self) -> LoadArgs {
        LoadArgs { duration: self.lasting, ..self.load.clone() }
    }
}

impl Experiment for SoakArgs {
    fn begin(&self, name: &str, stop: &Arc<AtomicBool>) -> Result<Session, LabError> {
        self.subjects.request("soak")?;
        Session::begin(results::Experiment::Soak, name, &self.subjects, &self.record, &[self.load()], stop)
    }

    fn run(&self, session: &mut Session) -> Result<bool, LabError> {
        let load = self.load();
        let mut site = session.open(0, &load.topic)?;
        session.settle(&mut site, &load)?;
        session.plan(1);
        let order = Order { subject: 0, round: 1, point: None, load: &load };
        let ran = session.measure(&mut site, &order, &mut leave_alone)?;
        let run = &session.results.runs[ran.index];
        let findings = drifts(&run.seconds);
        let is_good = run.report.complaints().is_empty();
        session.results.findings = findings;
        session.check_ending(&mut site, &ran.outcome)?;
        Ok(is_good)
    }

    fn name(&self) -> &'static str {
        "soak"
    }

    fn places(&mut self) -> (&mut SubjectArgs, &mut RecordArgs) {
        (&mut self.subjects, &mut self.record)
    }
}

/// Something that may drift.
struct Quantity {
    name: &'static str,
    unit: &'static str,
    /// Smaller changes over the second half are no drift, as a part of the mean: what noise and caches that fill do.
    least: f64,
    of: fn(&Second) -> f64,
}

#[expect(clippy::cast_precision_loss, reason = "descriptors are few")]
const QUANTITIES: [Quantity; 5] = [
    Quantity { name: "memory", unit: "MB", least: 0.01, of: |second| second.resident_mb },
    Quantity { name: "descriptors", unit: "", least: 0.01, of: |second| second.descriptors as f64 },
    Quantity { name: "p50", unit: "us", least: 0.1, of: |second| second.p50_us },
    Quantity { name: "p99", unit: "us", least: 0.1, of: |second| second.p99_us },
    Quantity { name: "p99.9", unit: "us", least: 0.1, of: |second| second.p99_9_us },
];

/// A sentence for each quantity, of a line through the second half of what was measured: the first half is where caches fill.
fn drifts(seconds: &[Second]) -> Vec<Finding> {
    let measured: Vec<&Second> = seconds.iter().filter(|second| !second.is_warmup && second.replies > 0).collect();
    let half = measured.get(measured.len() / 2..).unwrap_or_default();
    let sentences = QUANTITIES.iter().filter_map(|quantity| drift(quantity, half));
    sentences.map(|text| Finding { text, ratios: Vec::new() }).collect()
}

/// None for what was not seen: processes on another machine.
fn drift(quantity: &Quantity, half: &[&Second]) -> Option<String> {
    let Quantity { name, unit, least, of } = quantity;
    let points: Vec<(f64, f64)> = half
        .chunks(half.len().div_ceil(BINS).max(1))
        .map(|bin| {
            let mean = |value: &dyn Fn(&Second) -> f64| {
                bin.iter().map(|second| value(second)).sum::<f64>() / crate::load::run::ratio(bin.len() as u64, 1)
            };
            (mean(&|second| crate::load::run::ratio(second.at, 3600)), mean(&|second| of(second)))
        })
        .collect();
    if points.iter().all(|(_, value)| *value == 0.0) {
        return None;
    }
    if half.len() < SECONDS_MIN || points.len() < BINS_MIN {
        return Some(format!("{name}: too short to say whether it drifts"));
    }
    let line = Line::through(&points);
    let hours = points[points.len() - 1].0 - points[0].0;
    let is_drift = line.slope.abs() > ERRORS * line.slope_error && (line.slope * hours).abs() > least * line.mean;
    let verdict = if is_drift { "it drifts" } else { "no drift" };
    Some(
        format!(
            "{name}: {verdict}: {:+.3} {unit}/h (standard error {:.3}), {:.1} {unit} on average",
            line.slope, line.slope_error, line.mean
        )
        .replace(" /h", "/h"),
    )
}

/// Least squares.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Line {
    mean: f64,
    slope: f64,
    slope_error: f64,
}

impl Line {
    /// Through at least three points of different x.
    fn through(points: &[(f64, f64)]) -> Self {
        let count = crate::load::run::ratio(points.len() as u64, 1);
        let mean_x = points.iter().map(|(x, _)| x).sum::<f64>() / count;
        let mean = points.iter().map(|(_, y)| y).sum::<f64>() / count;
        let spread: f64 = points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
        let slope = points.iter().map(|(x, y)| (x - mean_x) * (y - mean)).sum::<f64>() / spread;
        let rest: f64 = points.iter().map(|(x, y)| (y - mean - slope * (x - mean_x)).powi(2)).sum();
        Self { mean, slope, slope_error: (rest / (count - 2.0) / spread).sqrt() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(count: u64, resident_mb: impl Fn(u64) -> f64) -> Vec<Second> {
        let second = |at| Second { at, replies: 1, resident_mb: resident_mb(at), p50_us: 100.0, ..Second::default() };
        (1..=count).map(second).collect()
    }

    fn said(seconds: &[Second], quantity: &str) -> Option<String> {
        let mut found = drifts(seconds).into_iter().map(|finding| finding.text);
        found.find(|text| text.starts_with(&format!("{quantity}: ")))
    }

    #[test]
    fn a_line_is_found_with_its_error() {
        let line = Line::through(&[(0.0, 1.0), (1.0, 3.0), (2.0, 5.0), (3.0, 7.0)]);
        assert_eq!((line.mean, line.slope, line.slope_error), (4.0, 2.0, 0.0));
        let noisy = Line::through(&[(0.0, 1.0), (1.0, 0.0), (2.0, 1.0), (3.0, 0.0)]);
        assert!(noisy.slope.abs() < ERRORS * noisy.slope_error, "{noisy:?}");
    }

    #[test]
    fn growth_is_a_drift_and_what_settles_is_none() {
        let noise = |at: u64| crate::load::run::ratio(at * 7919 % 13, 10);
        // 36 MB an hour.
        let text =
            said(&seconds(7200, |at| 100.0 + crate::load::run::ratio(at, 100) + noise(at)), "memory").expect("seen");
        assert!(text.contains("it drifts: +36.") || text.contains("it drifts: +35."), "{text}");
        // Grows for half of the time, as a cache does.
        let text = said(&seconds(7200, |at| 100.0 + crate::load::run::ratio(at.min(3500), 10) + noise(at)), "memory");
        assert!(text.as_ref().is_some_and(|text| text.contains("no drift")), "{text:?}");
        let text = said(&seconds(7200, noise), "p50").expect("seen");
        assert!(text.contains("no drift: +0.000 us/h") && text.contains("100.0 us on average"), "{text}");
        assert_eq!(said(&seconds(7200, noise), "descriptors"), None, "they are elsewhere");
        assert!(said(&seconds(100, noise), "p50").is_some_and(|text| text.contains("too short")));
    }
}
