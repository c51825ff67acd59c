//! What is kept of a case, and the table made of all cases in a folder.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::ops::RangeInclusive;
use std::path::Path;

use ringmq_bench::lab::statistics;
use ringmq_bench::load::report::Report;
use serde::{Deserialize, Serialize};

use crate::Failure;
use crate::case::Case;
use crate::contender::Kind;
use crate::host::Host;

/// `CASE.json`: all runs of a case, nothing averaged away.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct CaseRecord {
    /// Which.
    pub(crate) case: Case,
    /// The command line that made it.
    pub(crate) command: String,
    /// Machine and sources.
    pub(crate) host: Host,
    /// Configuration of each server.
    pub(crate) settings: BTreeMap<Kind, String>,
    /// A load each.
    pub(crate) rows: Vec<RowRecord>,
}

/// One load on everyone.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RowRecord {
    /// In tables.
    pub(crate) load: String,
    /// Of `ringmq-bench produce`.
    pub(crate) arguments: String,
    /// What is taken from the runs.
    pub(crate) figures: Vec<FigureRecord>,
    /// In the order in which they happened.
    pub(crate) runs: Vec<RunRecord>,
}

/// One figure of everyone.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct FigureRecord {
    /// With its unit.
    pub(crate) label: String,
    /// A sample a round.
    pub(crate) samples: BTreeMap<Kind, Vec<f64>>,
    /// What ringmq promises.
    pub(crate) goals: Vec<GoalRecord>,
}

/// A promise, and whether the medians keep it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct GoalRecord {
    /// In tables.
    pub(crate) text: String,
    /// `None` when someone needed for it took no part.
    pub(crate) is_met: Option<bool>,
}

/// One load on one server.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RunRecord {
    /// Whom.
    pub(crate) contender: Kind,
    /// From 1.
    pub(crate) round: usize,
    /// The server's, when the load ended.
    pub(crate) resident_mb: f64,
    /// All that the generator says.
    pub(crate) report: Report,
}

impl RowRecord {
    /// Messages that failed, by server: what was refused is in no latency, so a broker that refuses looks faster than it is.
    fn failed(&self) -> String {
        let mut failed: BTreeMap<Kind, u64> = BTreeMap::new();
        for run in self.runs.iter().filter(|run| run.report.failed > 0) {
            *failed.entry(run.contender).or_default() += run.report.failed;
        }
        let texts: Vec<String> = failed.iter().map(|(kind, count)| format!("{} {count}", kind.name())).collect();
        if texts.is_empty() { "none".to_owned() } else { texts.join(", ") }
    }
}

impl FigureRecord {
    /// The middle sample of `kind`; the mean of the middle two if their number is even.
    pub(crate) fn median(&self, kind: Kind) -> Option<f64> {
        statistics::median(self.samples.get(&kind)?)
    }

    fn spread(&self, kind: Kind) -> Option<(f64, f64)> {
        statistics::spread(self.samples.get(&kind)?).map(RangeInclusive::into_inner)
    }

    fn cell(&self, kind: Kind) -> String {
        match (self.median(kind), self.spread(kind)) {
            (Some(median), Some((low, high))) => format!("{} ({} – {})", number(median), number(low), number(high)),
            _ => "–".to_owned(),
        }
    }

    fn ratio(&self, ours: Kind, to: Kind) -> String {
        match (self.median(ours), self.median(to)) {
            (Some(ours), Some(theirs)) if theirs > 0.0 => format!("{:.2}", ours / theirs),
            _ => "–".to_owned(),
        }
    }
}

/// Three significant digits or more, thousands apart.
fn number(value: f64) -> String {
    if value < 10.0 {
        return format!("{value:.3}");
    }
    if value < 1000.0 {
        return format!("{value:.1}");
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Writes `CASE.json` into `dir`, then the table of all cases found there.
pub(crate) fn save(dir: &Path, record: &CaseRecord) -> Result<(), Failure> {
    fs::create_dir_all(dir)?;
    let mut text = serde_json::to_string_pretty(record)?;
    text.push('\n');
    fs::write(dir.join(format!("{}.json", record.case.name())), text)?;
    let mut records = Vec::new();
    for case in Case::ALL {
        let path = dir.join(format!("{}.json", case.name()));
        if path.exists() {
            let record: CaseRecord = serde_json::from_str(&fs::read_to_string(path)?)?;
            records.push(record);
        }
    }
    fs::write(dir.join("README.md"), table(&records)?)?;
    Ok(())
}

impl CaseRecord {
    /// Says `STORE` for the folder of the stores: where that was on this machine helps nobody.
    pub(crate) fn forget_folder(&mut self, folder: &Path) {
        let parent = folder.parent().unwrap_or(folder);
        for text in self.settings.values_mut().chain([&mut self.command]) {
            for path in [folder, parent] {
                *text = text.replace(&path.display().to_string(), "STORE");
            }
        }
    }
}

fn table(records: &[CaseRecord]) -> Result<String, Failure> {
    let mut text = String::from(
        "# ringmq, Apache RocketMQ and a bare echo, measured in turn\n\n\
         Medians of interleaved runs, the lowest and highest in parentheses; 256-byte bodies, JSON headers, 8 queues; the servers not being\n\
         measured are stopped. Open-loop latency counts from the intended send time. \
         `failed` sums all rounds; what failed is in no latency. The JSON files hold every run. `to` is the first server's figure by another's.\n",
    );
    let mut columns: &[Kind] = &[];
    for record in records {
        if !record.case.kinds().iter().all(|kind| columns.contains(kind)) {
            columns = record.case.kinds();
            text.push_str(&heading(columns));
        }
        for row in &record.rows {
            for figure in &row.figures {
                let mut cells = vec![record.case.name().to_owned(), row.load.clone(), figure.label.clone()];
                cells.extend(columns.iter().map(|kind| figure.cell(*kind)));
                cells.extend(columns.iter().skip(1).map(|kind| figure.ratio(columns[0], *kind)));
                cells.push(row.failed());
                cells.push(figure.goals.iter().map(goal_text).collect::<Vec<_>>().join("; "));
                writeln!(text, "| {} |", cells.join(" | "))?;
            }
        }
    }
    text.push_str("\n## How\n");
    for record in records {
        let host = &record.host;
        writeln!(text, "\n### {}\n\n`{}`\n", record.case.name(), record.command)?;
        writeln!(
            text,
            "commit {}; kernel {}; {}; {} MB; {}; {}; load average before: {}\n",
            host.commit, host.kernel, host.cpu, host.memory_mb, host.disk, host.java, host.load_average
        )?;
        for (kind, settings) in &record.settings {
            writeln!(text, "{}:\n\n```text\n{}\n```\n", kind.name(), settings.trim())?;
        }
        let failures = record.rows.iter().flat_map(|row| row.runs.iter().map(move |run| (row, run)));
        for (row, run) in failures.filter(|(_, run)| run.report.failed > 0 || !run.report.complete) {
            let (failed, ended) = (run.report.failed, &run.report.ended);
            writeln!(text, "- {} {}, round {}: {failed} failed; {ended}", run.contender.name(), row.load, run.round)?;
        }
    }
    Ok(text)
}

/// The head of a table whose servers are `columns`.
fn heading(columns: &[Kind]) -> String {
    let mut cells = vec!["case".to_owned(), "load".to_owned(), "figure".to_owned()];
    cells.extend(columns.iter().map(|kind| kind.name().to_owned()));
    cells.extend(columns.iter().skip(1).map(|kind| format!("to {}", kind.name())));
    cells.extend(["failed".to_owned(), "goal".to_owned()]);
    format!("\n| {} |\n|{}\n", cells.join(" | "), "---|".repeat(cells.len()))
}

fn goal_text(goal: &GoalRecord) -> String {
    let verdict = match goal.is_met {
        Some(true) => "kept",
        Some(false) => "**missed**",
        None => "not measured",
    };
    format!("{}: {verdict}", goal.text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::Goal;

    fn figure(ours: &[f64], apache: &[f64]) -> FigureRecord {
        let samples = BTreeMap::from([(Kind::Ringmq, ours.to_vec()), (Kind::Apache, apache.to_vec())]);
        FigureRecord { label: "x".to_owned(), samples, goals: Vec::new() }
    }

    #[test]
    fn goals_are_judged_by_medians() {
        let found = figure(&[100.0, 900.0, 300.0], &[10.0, 40.0, 30.0]);
        let check = |goal: Goal, expected| {
            assert_eq!(goal.is_met(Kind::Ringmq, |kind| found.median(kind)), expected, "{goal:?}");
        };
        check(Goal::AtLeast(10.0, Kind::Apache), Some(true));
        check(Goal::AtLeast(10.1, Kind::Apache), Some(false));
        check(Goal::AtMost(10.0, Kind::Apache), Some(true));
        check(Goal::AtMost(0.25, Kind::Apache), Some(false));
        check(Goal::Max(300.0), Some(true));
        check(Goal::AtMost(2.0, Kind::Echo), None);
        assert_eq!(figure(&[1.0, 2.0], &[]).median(Kind::Ringmq), Some(1.5));
        assert_eq!(figure(&[1.0, 2.0], &[]).median(Kind::Apache), None);
    }

    #[test]
    fn cells_show_median_and_spread() {
        let found = figure(&[1_234_567.0, 999.95, 12.34], &[0.5]);
        assert_eq!(found.cell(Kind::Ringmq), "1000.0 (12.3 – 1,234,567)");
        assert_eq!(found.cell(Kind::Apache), "0.500 (0.500 – 0.500)");
        assert_eq!(found.cell(Kind::Echo), "–");
    }
}
