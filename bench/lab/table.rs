//! What people read at the end: the runs, what follows from them, and what spoils them.

use std::io::{self, Write};

use crate::lab::results::{Results, Run};
use crate::lab::session::written;

/// Prints all of it.
///
/// # Errors
/// When `out` takes no more.
pub fn print(results: &Results, out: &mut impl Write) -> io::Result<()> {
    if results.runs.is_empty() {
        return Ok(());
    }
    let wide = results.subjects.iter().map(|subject| subject.name.chars().count()).max().unwrap_or(0).max(7);
    writeln!(
        out,
        "{:<wide$} {:>19} {:>5} {:>11} {:>10} {:>10} {:>10} {:>10} {:>9} {:>8}",
        "subject", "load", "round", "messages/s", "p50 us", "p99 us", "p99.9 us", "max us", "failed", "missing"
    )?;
    for run in &results.runs {
        let name = results.subjects.get(run.subject).map_or("", |subject| subject.name.as_str());
        let (report, latency) = (&run.report, &run.report.latency_us);
        let missing = report.consumed.as_ref().map_or_else(|| "-".to_owned(), |consumed| consumed.missing.to_string());
        writeln!(
            out,
            "{name:<wide$} {:>19} {:>5} {:>11.0} {:>10.1} {:>10.1} {:>10.1} {:>10.1} {:>9} {missing:>8}{}",
            load(run),
            run.round,
            report.rate_per_s,
            latency.p50,
            latency.p99,
            latency.p99_9,
            latency.max,
            report.failed,
            if report.complete { "" } else { "  cut short" }
        )?;
    }
    for finding in &results.findings {
        writeln!(out, "{}", finding.text)?;
    }
    for goal in &results.goals {
        writeln!(out, "{}", goal.sentence())?;
    }
    if !results.complete {
        writeln!(out, "not whole: {}", results.ended)?;
    }
    for warning in &results.warnings {
        writeln!(out, "warning: {warning}")?;
    }
    Ok(())
}

/// What tells the runs of one subject apart: the point of a sweep, or the loop.
fn load(run: &Run) -> String {
    match (&run.point, run.report.settings.rate) {
        (Some(point), _) => written(point),
        (None, Some(rate)) => format!("{rate} messages/s"),
        (None, None) => "closed loop".to_owned(),
    }
}
