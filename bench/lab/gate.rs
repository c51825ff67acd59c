//! The gate: whether a new measurement is worse than a stored one, by more than a share and more than both their noise.
//!
//! The two files were measured apart, so rounds are not paired. What differs between two days of one machine is in no file's noise: the share
//! that is allowed must cover it.

use std::fmt;

use crate::lab::figure::{Figure, latency, thousands};
use crate::lab::results::{Machine, Results};
use crate::lab::rounds::Rounds;
use crate::lab::statistics::{Estimate, Pairing, ratio, spread};

/// Figures that the gate watches.
const WATCHED: [Figure; 2] = [Figure::Rate, Figure::P99_9];

/// Why two files cannot be compared.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[allow(missing_docs, reason = "the messages say what each is")]
pub enum GateError {
    /// Its experiment was cut short.
    #[error("{path} is incomplete ({ended}): no gate on part of an experiment; measure again")]
    Incomplete { path: String, ended: String },
    /// Its figures are those of a debug build.
    #[error("{path} is of a debug build: its figures say nothing; build with --release and measure again")]
    Debug { path: String },
    /// One round has no noise.
    #[error("{path} has one round of {what}: nobody knows its noise; measure at least 3 rounds")]
    OneRound { path: String, what: String },
    #[error("{path} and its baseline share no subject under the same load; measure the same scenario")]
    NothingShared { path: String },
}

/// One figure of one load on one subject, then and now.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub struct Line {
    /// The subject's name.
    pub subject: String,
    pub load: String,
    pub figure: Figure,
    /// Its median in the baseline.
    pub before: f64,
    /// Its median now.
    pub now: f64,
    /// `now / before`; none if one is zero.
    pub ratio: Option<Estimate>,
    /// What follows.
    pub outcome: Outcome,
}

/// What follows from a figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Not worse by more than is allowed.
    Passes,
    /// Nobody knows: the noise reaches beyond what is allowed, and is wider than that itself. More or longer rounds tell.
    Unknown,
    /// Worse by more than is allowed, and more than the noise.
    Worse,
}

/// What the gate found.
#[derive(Debug, Default)]
pub struct Passage {
    /// All that was compared.
    pub lines: Vec<Line>,
    /// Subjects and loads of the baseline that were not measured now: the gate does not pass without them.
    pub missing: Vec<String>,
    /// Subjects and loads that the baseline does not have.
    pub unknown: Vec<String>,
    /// What makes the comparison weaker, a sentence each.
    pub remarks: Vec<String>,
}

impl Passage {
    /// Whether nothing is worse, nothing unknown and nothing missing.
    pub fn is_open(&self) -> bool {
        self.missing.is_empty() && self.lines.iter().all(|line| line.outcome == Outcome::Passes)
    }

    /// What keeps it shut, a sentence each.
    pub fn objections(&self) -> Vec<String> {
        let worse = self.lines.iter().filter(|line| line.outcome != Outcome::Passes).map(Line::sentence);
        let missing = self.missing.iter().map(|what| format!("{what} is in the baseline and was not measured now"));
        worse.chain(missing).collect()
    }
}

/// Compares `new` with `baseline`; files by their names. `worse` is the share that is allowed: 0.05 lets a rate be 5 % lower and p99.9 be 5 %
/// higher.
///
/// # Errors
/// When one of them is no ground for a verdict.
pub fn gate(baseline: (&str, &Results), new: (&str, &Results), worse: f64) -> Result<Passage, GateError> {
    for (path, results) in [baseline, new] {
        let path = path.to_owned();
        if !results.complete {
            return Err(GateError::Incomplete { path, ended: results.ended.clone() });
        }
        if let Some(run) = results.runs.iter().find(|run| !run.report.complete) {
            return Err(GateError::Incomplete { path, ended: run.report.ended.clone() });
        }
        if results.is_debug() {
            return Err(GateError::Debug { path });
        }
    }
    let mut passage = Passage { remarks: machines(&baseline.1.machine, &new.1.machine), ..Passage::default() };
    let (before, now) = (Rounds::of(baseline.1), Rounds::of(new.1));
    let name = |results: &Results, rounds: &Rounds<'_>| results.subjects[rounds.subject].name.clone();
    let is_same =
        |old: &Rounds<'_>, rounds: &Rounds<'_>| name(baseline.1, old) == name(new.1, rounds) && old.load == rounds.load;
    for old in &before {
        let what = format!("{}, {}", name(baseline.1, old), old.load.description());
        let Some(rounds) = now.iter().find(|rounds| is_same(old, rounds)) else {
            passage.missing.push(what);
            continue;
        };
        for (path, rounds) in [(baseline.0, old), (new.0, rounds)] {
            if rounds.runs.len() < 2 {
                return Err(GateError::OneRound { path: path.to_owned(), what });
            }
        }
        passage.remarks.extend(busy_generator(&what, rounds));
        passage.lines.extend(WATCHED.map(|figure| compare(name(new.1, rounds), figure, old, rounds, worse)));
    }
    if passage.lines.is_empty() {
        return Err(GateError::NothingShared { path: new.0.to_owned() });
    }
    let unknown = now.iter().filter(|rounds| !before.iter().any(|old| is_same(old, rounds)));
    passage.unknown = unknown.map(|rounds| format!("{}, {}", name(new.1, rounds), rounds.load.description())).collect();
    Ok(passage)
}

fn compare(subject: String, figure: Figure, old: &Rounds<'_>, now: &Rounds<'_>, worse: f64) -> Line {
    let (values, base) = (now.values(figure), old.values(figure));
    let ratio = ratio(&values, &base, Pairing::Apart);
    let (before, median) = (old.median(figure), now.median(figure));
    let is_beyond = match figure {
        Figure::Rate => median < before * (1.0 - worse),
        _ => median > before * (1.0 + worse),
    };
    // A figure that is zero somewhere has no ratio; then the ranges of the rounds say whether it is noise.
    let is_noise = match ratio.and_then(|ratio| ratio.interval) {
        Some(interval) => interval.holds(1.0),
        None => spread(&values).zip(spread(&base)).is_none_or(|(a, b)| a.start() <= b.end() && b.start() <= a.end()),
    };
    let outcome = match (is_beyond, is_noise) {
        (true, false) => Outcome::Worse,
        (true, true) => Outcome::Unknown,
        (false, _) if ratio.is_some_and(|ratio| is_wide(figure, ratio, worse)) => Outcome::Unknown,
        (false, _) => Outcome::Passes,
    };
    Line { subject, load: now.load.description(), figure, before, now: median, ratio, outcome }
}

fn busy_generator(what: &str, rounds: &Rounds<'_>) -> Option<String> {
    let busiest = rounds.runs.iter().map(|run| run.report.generator_cpu).fold(0.0, f64::max);
    (busiest > 0.9).then(|| {
        format!("{what}: the generator used {:.0} % of a processor and may be what was measured", busiest * 100.0)
    })
}

/// Whether the interval reaches beyond what is allowed, and by its own width: a regression of more than that could hide in it.
fn is_wide(figure: Figure, ratio: Estimate, worse: f64) -> bool {
    ratio.interval.is_some_and(|interval| match figure {
        Figure::Rate => interval.low < 1.0 - worse && ratio.value - interval.low > worse,
        _ => interval.high > 1.0 + worse && interval.high - ratio.value > worse,
    })
}

/// Where two machines differ, a sentence each.
fn machines(before: &Machine, now: &Machine) -> Vec<String> {
    let memory = [before, now].map(|machine| format!("{} MB", machine.memory_mb));
    let pairs = [
        ("processor", &before.cpu, &now.cpu),
        ("governor", &before.governor, &now.governor),
        ("memory", &memory[0], &memory[1]),
        ("kernel", &before.kernel, &now.kernel),
        ("disk", &before.disk, &now.disk),
        ("disk cache", &before.disk_cache, &now.disk_cache),
        ("placement", &before.placement, &now.placement),
    ];
    pairs
        .iter()
        .filter(|(_, before, now)| before != now)
        .map(|(what, before, now)| format!("the machines differ in {what}: '{before}' then, '{now}' now"))
        .collect()
}

impl Line {
    /// `sync, 10,000 messages/s ...: p99.9 was 2.06 ms and is 3.10 ms, 50.5 % more (38.1 to 60.2)`.
    fn sentence(&self) -> String {
        let (before, now) = (self.figure.written(self.before), self.figure.written(self.now));
        let change = self.ratio.map(|ratio| {
            let percent = |ratio: f64| (ratio - 1.0) * 100.0;
            let interval = ratio.interval.map(|interval| {
                format!(" ({:+.1} to {:+.1} with 95 %)", percent(interval.low), percent(interval.high))
            });
            format!(", {:+.1} %{}", percent(ratio.value), interval.unwrap_or_default())
        });
        let change = change.unwrap_or_default();
        let unknown = if self.outcome == Outcome::Unknown {
            "; the noise is wider than what is allowed, so nobody knows whether it is worse: measure more or longer rounds"
        } else {
            ""
        };
        format!("{}, {}: {} was {before} and is {now}{change}{unknown}", self.subject, self.load, self.figure.name())
    }
}

impl fmt::Display for Passage {
    /// The table.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut last = String::new();
        for line in &self.lines {
            let head = format!("{}, {}", line.subject, line.load);
            if head != last {
                writeln!(out, "{head}")?;
                writeln!(out, "  {:<8}{:>14}{:>14}{:>10}  {:<22}", "", "baseline", "now", "change", "95 % interval")?;
            }
            last = head;
            let written = |value: f64| if line.figure == Figure::Rate { thousands(value) } else { latency(value) };
            let percent = |ratio: f64| format!("{:+.1} %", (ratio - 1.0) * 100.0);
            let change = line.ratio.map(|ratio| percent(ratio.value)).unwrap_or_default();
            let interval = line.ratio.and_then(|ratio| ratio.interval);
            let interval = interval.map(|interval| format!("{} to {}", percent(interval.low), percent(interval.high)));
            let outcome = match line.outcome {
                Outcome::Passes => "passes",
                Outcome::Unknown => "unknown: too much noise",
                Outcome::Worse => "WORSE",
            };
            let (name, before, now) = (line.figure.name(), written(line.before), written(line.now));
            let interval = interval.unwrap_or_default();
            writeln!(out, "  {name:<8}{before:>14}{now:>14}{change:>10}  {interval:<22}{outcome}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Sample;

    const NOISE: [f64; 5] = [1.0, 1.02, 0.99, 1.01, 0.98];

    fn sample(rate: f64, p99_9: f64, noise: f64) -> Sample {
        let mut sample = Sample::compare(&["sync"]);
        for one in NOISE {
            let factor = 1.0 + (one - 1.0) * noise;
            sample.closed(0, rate * factor, [100.0, 300.0, 2000.0]);
            sample.open(0, 10_000, [100.0, 300.0, p99_9 * factor]);
        }
        sample
    }

    fn check(new: &Sample, worse: f64) -> Result<Passage, GateError> {
        gate(("old.json", &sample(100_000.0, 2000.0, 1.0).results), ("new.json", &new.results), worse)
    }

    #[test]
    fn what_is_worse_and_what_nobody_knows_shuts_the_gate() {
        for (rate, p99_9, worse, noise, objections) in [
            (100_000.0, 2000.0, 0.05, 1.0, 0),
            (97_000.0, 2050.0, 0.05, 1.0, 0),
            (90_000.0, 2000.0, 0.05, 1.0, 1),
            (90_000.0, 3000.0, 0.05, 1.0, 2),
            (90_000.0, 2000.0, 0.20, 1.0, 0),
            (90_000.0, 2000.0, 0.05, 20.0, 2),
            (100_000.0, 2000.0, 0.05, 20.0, 2),
            (200_000.0, 500.0, 0.05, 1.0, 0),
        ] {
            let passage = check(&sample(rate, p99_9, noise), worse).expect("comparable");
            assert_eq!(passage.objections().len(), objections, "{rate} {p99_9} {worse} {noise}\n{passage}");
            assert_eq!(passage.is_open(), objections == 0);
        }
    }

    #[test]
    fn what_is_no_ground_is_refused() {
        let mut incomplete = sample(1.0, 1.0, 1.0);
        incomplete.results.complete = false;
        let mut debug = sample(1.0, 1.0, 1.0);
        debug.results.machine.generator.push_str(" (debug build)");
        let mut once = sample(1.0, 1.0, 1.0);
        once.results.runs.truncate(2);
        let mut other = Sample::compare(&["async"]);
        other.closed(0, 1.0, [1.0, 1.0, 1.0]);
        for (new, expected) in [
            (incomplete, "is incomplete"),
            (debug, "debug build"),
            (once, "has one round"),
            (other, "share no subject"),
        ] {
            let error = check(&new, 0.05).expect_err(expected).to_string();
            assert!(error.starts_with("new.json") && error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_load_that_is_gone_shuts_the_gate_and_a_new_one_is_told() {
        let mut new = sample(100_000.0, 2000.0, 1.0);
        new.results.runs.retain(|run| run.report.settings.rate.is_none());
        for _ in 0..3 {
            new.open(0, 20_000, [100.0, 300.0, 2000.0]);
        }
        new.results.machine.kernel = "Linux 7.0".to_owned();
        let passage = check(&new, 0.05).expect("comparable");
        assert!(!passage.is_open());
        assert!(passage.objections()[0].contains("10,000 messages/s"), "{:?}", passage.objections());
        assert!(passage.unknown[0].contains("20,000 messages/s"), "{:?}", passage.unknown);
        assert_eq!(passage.remarks, ["the machines differ in kernel: 'Linux 6.1.0' then, 'Linux 7.0' now"]);
    }
}
