//! CSV as RFC 4180 has it: a table of all runs, and one of all their seconds.

use crate::lab::figure::Figure;
use crate::lab::results::Results;
use crate::lab::rounds::Load;

/// Name and text of `runs.csv` and `seconds.csv`. Latencies are µs; numbers have a point and no separators.
pub fn files(results: &Results) -> Vec<(String, String)> {
    vec![("runs.csv".to_owned(), runs(results)), ("seconds.csv".to_owned(), seconds(results))]
}

fn runs(results: &Results) -> String {
    let head = [
        "run",
        "subject",
        "load",
        "round",
        "mode",
        "point",
        "point_unit",
        "asked_per_s",
        "rate_per_s",
        "p50_us",
        "p90_us",
        "p99_us",
        "p99_9_us",
        "p99_99_us",
        "max_us",
        "end_to_end_p50_us",
        "end_to_end_p99_us",
        "end_to_end_p99_9_us",
        "end_to_end_max_us",
        "sent",
        "failed",
        "elapsed_s",
        "generator_cpu",
        "brokers_cpu",
        "brokers_resident_mb",
        "complete",
    ];
    let mut text = row(head.map(str::to_owned));
    for (index, run) in results.runs.iter().enumerate() {
        let report = &run.report;
        let load = Load::of(run);
        let end_to_end = report
            .end_to_end_us
            .map(|latency| [latency.p50, latency.p99, latency.p99_9, latency.max].map(|value| value.to_string()));
        let mut fields = vec![
            (index + 1).to_string(),
            results.subjects[run.subject].name.clone(),
            load.name(),
            run.round.to_string(),
            report.mode.clone(),
            run.point.as_ref().map(|point| point.value.to_string()).unwrap_or_default(),
            run.point.as_ref().map(|point| point.unit.clone()).unwrap_or_default(),
            report.settings.rate.map(|rate| rate.to_string()).unwrap_or_default(),
        ];
        fields.extend(Figure::ALL.map(|figure| figure.of(report).to_string()));
        fields.extend(end_to_end.unwrap_or_default());
        fields.extend([
            report.sent.to_string(),
            report.failed.to_string(),
            report.elapsed_s.to_string(),
            report.generator_cpu.to_string(),
            run.processes.iter().map(|process| process.cpu).sum::<f64>().to_string(),
            run.processes.iter().map(|process| process.resident_mb).sum::<f64>().to_string(),
            report.complete.to_string(),
        ]);
        text.push_str(&row(fields));
    }
    text
}

fn seconds(results: &Results) -> String {
    let head = [
        "run",
        "subject",
        "round",
        "second",
        "is_warmup",
        "replies",
        "failed",
        "received",
        "p50_us",
        "p99_us",
        "p99_9_us",
        "max_us",
        "outstanding",
        "backlog",
        "brokers_resident_mb",
        "brokers_descriptors",
    ];
    let mut text = row(head.map(str::to_owned));
    for (index, run) in results.runs.iter().enumerate() {
        for second in &run.seconds {
            text.push_str(&row([
                (index + 1).to_string(),
                results.subjects[run.subject].name.clone(),
                run.round.to_string(),
                second.at.to_string(),
                second.is_warmup.to_string(),
                second.replies.to_string(),
                second.failed.to_string(),
                second.received.to_string(),
                second.p50_us.to_string(),
                second.p99_us.to_string(),
                second.p99_9_us.to_string(),
                second.max_us.to_string(),
                second.outstanding.to_string(),
                second.backlog.to_string(),
                second.resident_mb.to_string(),
                second.descriptors.to_string(),
            ]));
        }
    }
    text
}

fn row(fields: impl IntoIterator<Item = String>) -> String {
    let fields: Vec<_> = fields.into_iter().map(|field| quoted(&field)).collect();
    fields.join(",") + "\r\n"
}

/// In quotes where it must be. A text that a spreadsheet would take for a formula gets a quote before it.
fn quoted(field: &str) -> String {
    let is_formula = field.starts_with(['=', '+', '@']) || (field.starts_with('-') && field.parse::<f64>().is_err());
    let field = if is_formula { format!("'{field}") } else { field.to_owned() };
    if field.contains(['"', ',', '\n', '\r']) { format!("\"{}\"", field.replace('"', "\"\"")) } else { field }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_keep_their_commas_and_are_no_formulas() {
        for (field, expected) in
            [("a", "a"), ("a,b", "\"a,b\""), ("\"a\"", "\"\"\"a\"\"\""), ("=1+1", "'=1+1"), ("-1.5", "-1.5"), ("", "")]
        {
            assert_eq!(quoted(field), expected);
        }
    }
}
