//! The truth about the runs: machine, subjects, settings side by side, processes, and every run.

use std::collections::BTreeSet;

use crate::lab::figure::{Figure, latency, thousands, three_digits};
use crate::lab::results::{Results, Run};
use crate::lab::rounds::Load;
use crate::lab::statistics::median;
use crate::report::picture::svg::escape;

/// All of it.
pub fn facts(results: &Results) -> String {
    let mut text =
        format!("<h3>How it was measured</h3>\n<pre>{}</pre>\n{}", escape(&results.command), machine(results));
    text.push_str(&subjects(results));
    text.push_str(&settings(results));
    text.push_str(&processes(results));
    text.push_str(&runs(results));
    text
}

fn machine(results: &Results) -> String {
    let machine = &results.machine;
    #[expect(clippy::cast_precision_loss, reason = "megabytes")]
    let memory = format!("{} MB", thousands(machine.memory_mb as f64));
    let rows = [
        ("generator", &machine.generator),
        ("kernel", &machine.kernel),
        ("processor", &machine.cpu),
        ("governor", &machine.governor),
        ("memory", &memory),
        ("disk", &machine.disk),
        ("disk cache", &machine.disk_cache),
        ("disk's interrupts", &machine.disk_interrupts),
        ("limits", &machine.limits),
        ("java", &machine.java),
        ("load average before", &machine.load_average),
        ("placement", &machine.placement),
        ("began", &results.started),
        ("ended", &results.ended),
    ];
    let mut text = "<h4>Machine</h4>\n<dl>\n".to_owned();
    for (name, value) in rows {
        let value = if value.is_empty() { "unknown" } else { value.as_str() };
        text.push_str(&format!("<dt>{name}</dt><dd>{}</dd>\n", escape(value)));
    }
    text.push_str("</dl>\n");
    text
}

fn subjects(results: &Results) -> String {
    let mut text = String::new();
    for subject in &results.subjects {
        text.push_str(&format!("<h4>{}: {}</h4>\n", escape(&subject.name), escape(&subject.software)));
        if subject.how.is_empty() {
            text.push_str("<p class=\"note\">It was there before; how it was started is not known here.</p>\n");
        } else {
            text.push_str(&format!("<pre>{}</pre>\n", escape(&subject.how.join("\n"))));
        }
    }
    text
}

/// A column a broker, a row a key; rows with different values are marked.
fn settings(results: &Results) -> String {
    let brokers: Vec<_> = results
        .subjects
        .iter()
        .flat_map(|subject| subject.brokers.iter().map(move |broker| (&subject.name, broker)))
        .collect();
    if brokers.is_empty() {
        return String::new();
    }
    let note = if brokers.len() > 1 { "<p class=\"note\">&#8800; marks rows that differ.</p>\n" } else { "" };
    let mut text = format!(
        "<h4>Settings, as the brokers say</h4>\n{note}\
         <div class=\"scroll\"><table class=\"text\">\n<thead><tr><th></th>"
    );
    for (subject, broker) in &brokers {
        let role = if broker.broker_id == 0 { "master".to_owned() } else { format!("slave {}", broker.broker_id) };
        text.push_str(&format!(
            "<th scope=\"col\">{}<br/>{} {role}<br/>{}</th>",
            escape(subject),
            escape(&broker.name),
            escape(&broker.address)
        ));
    }
    text.push_str("</tr></thead>\n<tbody>\n");
    let keys: BTreeSet<&String> = brokers.iter().flat_map(|(_, broker)| broker.settings.keys()).collect();
    let mut rows: Vec<(&str, Vec<&str>)> =
        vec![("version", brokers.iter().map(|(_, broker)| broker.version.as_str()).collect())];
    rows.extend(keys.into_iter().map(|key| {
        let values = brokers.iter().map(|(_, broker)| broker.settings.get(key).map_or("\u{2013}", String::as_str));
        (key.as_str(), values.collect())
    }));
    for (key, values) in rows {
        let differs = values.iter().any(|value| *value != values[0]);
        let (class, sign) = if differs { (" class=\"differs\"", " &#8800;") } else { ("", "") };
        text.push_str(&format!("<tr{class}><th scope=\"row\">{}{sign}</th>", escape(key)));
        for value in values {
            text.push_str(&format!("<td>{}</td>", escape(value)));
        }
        text.push_str("</tr>\n");
    }
    text.push_str("</tbody></table></div>\n");
    text
}

/// Medians over all runs of a subject.
fn processes(results: &Results) -> String {
    let mut rows = String::new();
    for (index, subject) in results.subjects.iter().enumerate() {
        let uses: Vec<_> =
            results.runs.iter().filter(|run| run.subject == index).flat_map(|run| &run.processes).collect();
        let mut names: Vec<&str> = Vec::new();
        for one in &uses {
            if !names.contains(&one.name.as_str()) {
                names.push(&one.name);
            }
        }
        for name in names {
            let of = |value: fn(&crate::lab::results::ProcessUse) -> f64| {
                let values: Vec<f64> = uses.iter().filter(|one| one.name == name).map(|one| value(one)).collect();
                median(&values).unwrap_or(0.0)
            };
            #[expect(clippy::cast_precision_loss, reason = "a few thousand descriptors")]
            let descriptors = of(|one| one.descriptors as f64);
            rows.push_str(&format!(
                "<tr><th scope=\"row\">{}</th><td class=\"words\">{}</td><td>{} %</td><td>{} MB</td><td>{}</td></tr>\n",
                escape(&subject.name),
                escape(name),
                three_digits(of(|one| one.cpu) * 100.0),
                thousands(of(|one| one.resident_mb)),
                thousands(descriptors)
            ));
        }
    }
    if rows.is_empty() {
        return String::new();
    }
    format!(
        "<h4>Broker processes on this machine</h4>\n<p class=\"note\">Medians over the runs; memory and descriptors at their ends.</p>\n\
         <div class=\"scroll\"><table>\n<thead><tr><th>subject</th><th class=\"words\">process</th><th>of one processor</th><th>resident</th>\
         <th>descriptors</th></tr></thead>\n<tbody>\n{rows}</tbody></table></div>\n"
    )
}

fn runs(results: &Results) -> String {
    let mut text = format!(
        "<details>\n<summary>All {} runs, in the order in which they happened</summary>\n<div class=\"scroll\"><table>\n\
         <thead><tr><th>run</th><th class=\"words\">subject</th><th class=\"words\">load</th><th>round</th>",
        results.runs.len()
    );
    for figure in Figure::ALL {
        text.push_str(&format!("<th>{}</th>", if figure == Figure::Rate { "stored a second" } else { figure.name() }));
    }
    text.push_str("<th>generator</th><th class=\"words\">remarks</th></tr></thead>\n<tbody>\n");
    for (index, run) in results.runs.iter().enumerate() {
        text.push_str(&run_row(results, index, run));
    }
    text.push_str("</tbody></table></div>\n</details>\n");
    text
}

fn run_row(results: &Results, index: usize, run: &Run) -> String {
    let load = Load::of(run).name();
    let mut text = format!(
        "<tr><th scope=\"row\">{}</th><td class=\"words\">{}</td><td class=\"words\">{}</td><td>{}</td>",
        index + 1,
        escape(&results.subjects[run.subject].name),
        escape(&load),
        run.round
    );
    for figure in Figure::ALL {
        let value = figure.of(&run.report);
        let written = if figure == Figure::Rate { thousands(value) } else { latency(value) };
        text.push_str(&format!("<td>{written}</td>"));
    }
    let sentences: Vec<_> =
        run.report.complaints().into_iter().chain(run.report.remarks()).map(|sentence| escape(&sentence)).collect();
    text.push_str(&format!(
        "<td>{} %</td><td class=\"words\">{}</td></tr>\n",
        three_digits(run.report.generator_cpu * 100.0),
        sentences.join("<br/>")
    ));
    text
}
