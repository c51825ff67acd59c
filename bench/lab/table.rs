//! What people read at the end: the runs, what follows from them, and what spoils them.

use std::io::{self, Write};

use crate::lab::results::{Results, Run};

/// Prints all of it.
///
/// # Errors
/// When `out` takes no more.
pub fn print(results: &Results, out: &mut impl Write) -> io::Result<()> {
    let wide = results.subjects.iter().map(|subject| subject.name.chars().count()).max().unwrap_or(0).max(7);
    if !results.runs.is_empty() {
        writeln!(
            out,
            "{:<wide$} {:>14} {:>5} {:>11} {:>10} {:>10} {:>10} {:>10} {:>9} {:>8}",
            "subject", "point", "round", "messages/s", "p50 us", "p99 us", "p99.9 us", "max us", "failed", "missing"
        )?;
    }
    for run in &results.runs {
        let name = results.subjects.get(run.subject).map_or("", |subject| subject.name.as_str());
        let (report, latency) = (&run.report, &run.report.latency_us);
        let missing = report.consumed.as_ref().map_or_else(|| "-".to_owned(), |consumed| consumed.missing.to_string());
        writeln!(
            out,
            "{name:<wide$} {:>14} {:>5} {:>11.0} {:>10.1} {:>10.1} {:>10.1} {:>10.1} {:>9} {missing:>8}{}",
            point(run),
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
    for run in &results.runs {
        let Some(failover) = &run.failover else { continue };
        let seconds = |value: Option<f64>| value.map_or_else(|| "never".to_owned(), |value| format!("{value:.3} s"));
        writeln!(
            out,
            "round {}: {} at {:.1} s: first success after {}, first received after {}, longest gap {:.3} s; \
             lost {}, duplicated {}, out of order {}",
            run.round,
            failover.fault,
            failover.at_s,
            seconds(failover.first_success_s),
            seconds(failover.first_received_s),
            failover.longest_gap_s,
            failover.lost,
            failover.duplicated,
            failover.out_of_order
        )?;
    }
    for finding in &results.findings {
        writeln!(out, "{}", finding.text)?;
    }
    if !results.complete {
        writeln!(out, "not whole: {}", results.ended)?;
    }
    for warning in &results.warnings {
        writeln!(out, "warning: {warning}")?;
    }
    Ok(())
}

fn point(run: &Run) -> String {
    run.point
        .as_ref()
        .map_or_else(|| "-".to_owned(), |point| format!("{} {}", point.value, point.unit).trim().to_owned())
}
