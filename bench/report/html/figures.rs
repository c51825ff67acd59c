//! Tables of figures: of a comparison a column for each subject, of a sweep a row for each point.

use crate::lab::figure::{Figure, latency, thousands, three_digits};
use crate::lab::results::{Experiment, Results, Run};
use crate::lab::rounds::Rounds;
use crate::lab::statistics::{median, spread};
use crate::lab::verdict::ratios;
use crate::load::report::{Consumed, Percentiles};
use crate::report::picture::loads;
use crate::report::picture::svg::escape;

/// Share of a processor from which on the generator may be what was measured.
pub const GENERATOR_BUSY: f64 = 0.9;

/// All tables of an experiment.
pub fn tables(results: &Results) -> String {
    let all = Rounds::of(results);
    let mut text = failovers(results);
    text.push_str("<h3>Figures</h3>\n");
    if results.experiment == Experiment::Sweep {
        for (subject, facts) in results.subjects.iter().enumerate() {
            let mut steps: Vec<_> = all.iter().filter(|rounds| rounds.subject == subject).collect();
            steps.sort_by(|a, b| {
                let value = |rounds: &Rounds<'_>| rounds.load.point.as_ref().map_or(0.0, |point| point.value);
                value(a).total_cmp(&value(b))
            });
            text.push_str(&sweep_table(&facts.name, &steps));
        }
    } else {
        for load in loads(&all) {
            let sets: Vec<_> = all.iter().filter(|rounds| rounds.load == *load).collect();
            text.push_str(&load_table(results, &load.description(), &sets));
        }
    }
    text
}

/// A value as people read it, and exactly as `value` of a `data` element.
fn data(value: f64, written: &str) -> String {
    format!("<data value=\"{value}\">{}</data>", escape(written))
}

/// Median, lowest and highest.
fn cell(values: &[f64], written: impl Fn(f64) -> String) -> String {
    let (Some(middle), Some(spread)) = (median(values), spread(values)) else { return String::new() };
    let mut text = data(middle, &written(middle));
    if values.len() > 1 {
        let (low, high) = (written(*spread.start()), written(*spread.end()));
        text.push_str(&format!("<small>{} &#8211; {}</small>", escape(&low), escape(&high)));
    }
    text
}

fn generator_flag(rounds: &Rounds<'_>) -> &'static str {
    let is_busy = rounds.runs.iter().any(|run| run.report.generator_cpu > GENERATOR_BUSY);
    if is_busy { "<span class=\"flag\">generator was busy</span>" } else { "" }
}

fn load_table(results: &Results, description: &str, sets: &[&Rounds<'_>]) -> String {
    let mut text = format!(
        "<h4>{}</h4>\n<div class=\"scroll\"><table>\n<thead><tr><th>median of rounds</th>",
        escape(description)
    );
    for rounds in sets {
        let (name, count) = (escape(&results.subjects[rounds.subject].name), rounds.runs.len());
        let base = if rounds.subject == sets[0].subject && sets.len() > 1 { ", base of ratios" } else { "" };
        let s = if count == 1 { "" } else { "s" };
        text.push_str(&format!("<th scope=\"col\">{name}<small>{count} round{s}{base}</small></th>"));
    }
    text.push_str("</tr></thead>\n<tbody>\n");
    for figure in Figure::ALL {
        let name = if figure == Figure::Rate { "messages stored a second" } else { figure.name() };
        text.push_str(&format!("<tr data-figure=\"{}\"><th scope=\"row\">{name}</th>", figure.name()));
        for rounds in sets {
            let written = |value: f64| if figure == Figure::Rate { thousands(value) } else { latency(value) };
            // Who wants no reply has none to time.
            let is_timed = figure == Figure::Rate || rounds.median(Figure::Max) > 0.0;
            let shown = if is_timed { cell(&rounds.values(figure), written) } else { "&#8211;".to_owned() };
            text.push_str(&format!("<td>{shown}"));
            if !std::ptr::eq(*rounds, sets[0]) {
                text.push_str(&ratio_line(sets[0], rounds, figure));
            }
            if figure == Figure::Rate {
                text.push_str(generator_flag(rounds));
            }
            text.push_str("</td>");
        }
        text.push_str("</tr>\n");
    }
    for (name, value, written) in further_rows() {
        if sets.iter().flat_map(|rounds| &rounds.runs).all(|run| value(run).is_none()) {
            continue;
        }
        text.push_str(&format!("<tr><th scope=\"row\">{name}</th>"));
        for rounds in sets {
            let values: Vec<f64> = rounds.runs.iter().filter_map(|run| value(run)).collect();
            text.push_str(&format!("<td>{}</td>", cell(&values, written)));
        }
        text.push_str("</tr>\n");
    }
    text.push_str("</tbody></table></div>\n");
    text
}

fn ratio_line(base: &Rounds<'_>, rounds: &Rounds<'_>, figure: Figure) -> String {
    let Some(ratio) = ratios(base, rounds, &[figure]).into_iter().next() else { return String::new() };
    if base.runs.len() < 2 || rounds.runs.len() < 2 {
        return format!("<small>&#215; {:.3}, no interval</small>", ratio.ratio);
    }
    let class = if (ratio.low..=ratio.high).contains(&1.0) { "is-noise" } else { "is-out" };
    format!("<small class=\"{class}\">&#215; {:.3} ({:.3} &#8211; {:.3})</small>", ratio.ratio, ratio.low, ratio.high)
}

type Row = (&'static str, fn(&Run) -> Option<f64>, fn(f64) -> String);

/// What is said of a load besides its rate and the latency of replies; rows that no run has are left out.
fn further_rows() -> [Row; 26] {
    fn end_to_end(run: &Run) -> Option<&Percentiles> {
        run.report.end_to_end_us.as_ref()
    }
    #[expect(clippy::cast_precision_loss, reason = "counts, far below 2^53")]
    fn some(count: u64) -> Option<f64> {
        (count > 0).then_some(count as f64)
    }
    fn percent(share: f64) -> String {
        format!("{} %", three_digits(share * 100.0))
    }
    fn consumed(run: &Run, count: fn(&Consumed) -> u64) -> Option<f64> {
        some(run.report.consumed.as_ref().map_or(0, count))
    }
    [
        ("from the actual send, p50", |run| run.report.from_send_us.map(|latency| latency.p50), latency),
        ("from the actual send, p99", |run| run.report.from_send_us.map(|latency| latency.p99), latency),
        ("from the actual send, p99.9", |run| run.report.from_send_us.map(|latency| latency.p99_9), latency),
        ("end to end, p50", |run| end_to_end(run).map(|latency| latency.p50), latency),
        ("end to end, p99", |run| end_to_end(run).map(|latency| latency.p99), latency),
        ("end to end, p99.9", |run| end_to_end(run).map(|latency| latency.p99_9), latency),
        ("end to end, max", |run| end_to_end(run).map(|latency| latency.max), latency),
        ("acknowledged a second", |run| run.report.popped.as_ref().map(|popped| popped.rate_per_s), thousands),
        ("pop to acknowledged, p50", |run| run.report.popped.as_ref().map(|popped| popped.ack_us.p50), latency),
        ("pop to acknowledged, p99.9", |run| run.report.popped.as_ref().map(|popped| popped.ack_us.p99_9), latency),
        ("generator's lateness, p99.9", |run| run.report.send_delay_us.map(|delay| delay.p99_9), latency),
        ("slave's lag, p50", |run| run.report.lag_us.map(|lag| lag.p50), latency),
        ("slave's lag, p99.9", |run| run.report.lag_us.map(|lag| lag.p99_9), latency),
        ("failed", |run| some(run.report.failed), thousands),
        ("stored, not flushed in time", |run| some(run.report.flush_disk_timeout), thousands),
        ("stored, no slave", |run| some(run.report.slave_not_available), thousands),
        ("stored, not replicated in time", |run| some(run.report.flush_slave_timeout), thousands),
        ("sent once more", |run| some(run.report.resent), thousands),
        ("missing at consumers", |run| consumed(run, |consumed| consumed.missing), thousands),
        ("received twice or more", |run| consumed(run, |consumed| consumed.duplicates), thousands),
        (
            "not acknowledged",
            |run| some(run.report.popped.as_ref().map_or(0, |popped| popped.unacknowledged)),
            thousands,
        ),
        ("received unwanted", |run| consumed(run, |consumed| consumed.unwanted), thousands),
        ("received changed", |run| consumed(run, |consumed| consumed.corrupt), thousands),
        ("received out of order", |run| consumed(run, |consumed| consumed.out_of_order), thousands),
        ("generator, of one processor", |run| Some(run.report.generator_cpu), percent),
        (
            "brokers, of one processor",
            |run| (!run.processes.is_empty()).then(|| run.processes.iter().map(|process| process.cpu).sum()),
            percent,
        ),
    ]
}

fn sweep_table(name: &str, steps: &[&Rounds<'_>]) -> String {
    let Some(point) = steps.first().and_then(|rounds| rounds.load.point.as_ref()) else { return String::new() };
    let what = if point.name == "rate" { "rate asked for" } else { point.name.as_str() };
    let mut text = format!(
        "<h4>{}</h4>\n<div class=\"scroll\"><table>\n<thead><tr><th>{}</th><th scope=\"col\">stored a second</th>",
        escape(name),
        escape(what)
    );
    for figure in &Figure::ALL[1..] {
        text.push_str(&format!("<th scope=\"col\">{}</th>", figure.name()));
    }
    text.push_str("</tr></thead>\n<tbody>\n");
    for rounds in steps {
        let point = rounds.load.point.as_ref().map(|point| point.written()).unwrap_or_default();
        text.push_str(&format!("<tr><th scope=\"row\">{}</th>", escape(&point)));
        for figure in Figure::ALL {
            let written = |value: f64| if figure == Figure::Rate { thousands(value) } else { latency(value) };
            text.push_str(&format!("<td>{}", cell(&rounds.values(figure), written)));
            if figure == Figure::Rate {
                if rounds.is_short() {
                    text.push_str("<span class=\"flag\">not reached</span>");
                }
                text.push_str(generator_flag(rounds));
            }
            text.push_str("</td>");
        }
        text.push_str("</tr>\n");
    }
    text.push_str("</tbody></table></div>\n");
    text
}

fn failovers(results: &Results) -> String {
    let rows: Vec<_> =
        results.runs.iter().filter_map(|run| run.failover.as_ref().map(|failover| (run, failover))).collect();
    if rows.is_empty() {
        return String::new();
    }
    let mut text = "<h3>What the fault cost</h3>\n<div class=\"scroll\"><table>\n<thead><tr><th>subject</th><th>round</th><th class=\"words\">fault</th>\
                    <th>first message stored after</th><th>longest gap</th><th>first message received after</th><th>lost</th>\
                    <th>duplicated</th><th>out of order</th></tr></thead>\n<tbody>\n"
        .to_owned();
    let seconds = |value: f64| format!("{} s", three_digits(value));
    let perhaps = |value: Option<f64>| value.map_or("never".to_owned(), |value| data(value, &seconds(value)));
    for (run, failover) in rows {
        text.push_str(&format!(
            "<tr><th scope=\"row\">{}</th><td>{}</td><td class=\"words\">{}, at {}</td><td>{}</td><td>{}</td><td>{}</td>",
            escape(&results.subjects[run.subject].name),
            run.round,
            escape(&failover.fault),
            seconds(failover.at_s),
            perhaps(failover.first_success_s),
            data(failover.longest_gap_s, &seconds(failover.longest_gap_s)),
            failover.first_received_s.map_or("&#8211;".to_owned(), |value| data(value, &seconds(value))),
        ));
        #[expect(clippy::cast_precision_loss, reason = "counts, far below 2^53")]
        for count in [failover.lost, failover.duplicated, failover.out_of_order] {
            text.push_str(&format!("<td>{}</td>", data(count as f64, &thousands(count as f64))));
        }
        text.push_str("</tr>\n");
    }
    text.push_str("</tbody></table></div>\n");
    text
}
