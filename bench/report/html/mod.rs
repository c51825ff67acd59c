//! One page of everything: no script, no network, nothing beside it.

pub mod facts;
pub mod figures;

use std::collections::BTreeSet;

use crate::lab::results::{Damaged, Experiment, Finding, Results};
use crate::lab::rounds::Load;
use crate::lab::verdict::findings;
use crate::report::picture::pictures;
use crate::report::picture::svg::{escape, style};

/// Most complaints of single runs that are listed above the pictures.
const COMPLAINTS_MAX: usize = 12;

const CSS: &str = include_str!("page.css");

/// The page; results are named by their files.
///
/// # Errors
/// When a histogram of the file at the index does not unpack.
pub fn page(all: &[(String, Results)]) -> Result<String, (usize, Damaged)> {
    let title = match all {
        [(_, one)] => one.title.clone(),
        all => format!("{} experiments", all.len()),
    };
    let mut body = String::new();
    if all.len() > 1 {
        body.push_str(&format!("<h1>{}</h1>\n<nav><ol>\n", escape(&title)));
        for (index, (_, results)) in all.iter().enumerate() {
            body.push_str(&format!("<li><a href=\"#e{index}\">{}</a></li>\n", escape(&results.title)));
        }
        body.push_str("</ol></nav>\n");
    }
    for (index, (file, results)) in all.iter().enumerate() {
        let heading = if all.len() > 1 { "h2" } else { "h1" };
        body.push_str(&format!("<section id=\"e{index}\">\n<{heading}>{}</{heading}>\n", escape(&results.title)));
        body.push_str(&section(file, results).map_err(|error| (index, error))?);
        body.push_str("</section>\n");
    }
    Ok(format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
         <meta name=\"color-scheme\" content=\"light dark\"/>\n\
         <title>{}</title>\n<style>\n{CSS}{}\n</style>\n</head>\n<body>\n<main>\n{body}{HOW_TO_READ}</main>\n</body>\n</html>\n",
        escape(&title),
        style()
    ))
}

const HOW_TO_READ: &str = "<footer>
<h3>How to read this</h3>
<p><b>From the intended send:</b> in an open loop each message is due at a fixed moment, and its latency counts from then on, whatever became of \
those before it. A broker that stalls for a second shows that second. <b>From the actual send</b> it would not: what waits is not sent, and what is \
not sent is not measured.</p>
<p><b>Closed loop:</b> each connection keeps a number of requests without a reply. It shows the highest rate at that depth; its latency says little, \
since a broker that stalls is also asked less.</p>
<p><b>Figures</b> are medians of the rounds, with the lowest and the highest round below. <b>Ratios</b> have a 95 % interval, by bootstrap \
over the rounds; where it holds 1, there is no difference outside the noise.</p>
</footer>
";

/// What follows from the results: as the file says, or if it says nothing, as its runs do.
pub fn verdict(results: &Results) -> Vec<Finding> {
    if results.findings.is_empty() { findings(results) } else { results.findings.clone() }
}

/// Why figures are no headline, a sentence each.
pub fn warnings(results: &Results) -> Vec<String> {
    let mut warnings = Vec::new();
    if !results.complete {
        warnings.push(format!(
            "The experiment did not go to its end ({}): the figures are of the {} runs before.",
            results.ended,
            results.runs.len()
        ));
    }
    warnings.extend(results.warnings.iter().cloned());
    if results.is_debug() && !results.warnings.iter().any(|warning| warning.contains("debug")) {
        warnings.push("A debug build was measured: its figures are no headline.".to_owned());
    }
    let rounds: BTreeSet<usize> = results.runs.iter().map(|run| run.round).collect();
    if results.subjects.len() > 1 && rounds.len() == 1 {
        warnings.push("Each load ran once on each subject: nobody knows how much of a difference is noise.".to_owned());
    }
    let complaints: Vec<String> = results
        .runs
        .iter()
        .flat_map(|run| {
            let who = format!("{}, {}, round {}", results.subjects[run.subject].name, Load::of(run).pace(), run.round);
            let sentences = run.report.complaints().into_iter().chain(run.report.remarks());
            // An experiment may have said the same when it happened.
            let is_news =
                |sentence: &String| !results.warnings.iter().any(|warning| warning.contains(sentence.as_str()));
            sentences.filter(is_news).map(|sentence| format!("{who}: {sentence}.")).collect::<Vec<_>>()
        })
        .collect();
    let more = complaints.len().saturating_sub(COMPLAINTS_MAX);
    warnings.extend(complaints.into_iter().take(COMPLAINTS_MAX));
    warnings.extend((more > 0).then(|| format!("{more} more sentences of this kind are in the list of runs.")));
    warnings
}

/// The kind of an experiment, for people.
pub fn kind(experiment: Experiment) -> &'static str {
    match experiment {
        Experiment::Produce => "one load on one subject",
        Experiment::Compare => "comparison",
        Experiment::Sweep => "sweep",
        Experiment::Failover => "failover",
        Experiment::Soak => "soak",
        Experiment::Audit => "audit",
        Experiment::Restart => "starts",
        Experiment::CatchUp => "a slave that catches up",
        Experiment::Lag => "lag of slaves",
    }
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// With spaces at which no line breaks between a number, its unit and its doubt.
fn unbroken(text: &str) -> String {
    [" %", " µs", " ms", " s ", " ± "].iter().fold(text.to_owned(), |text, part| {
        let firm = if part.ends_with("s ") { "\u{a0}s ".to_owned() } else { part.replace(' ', "\u{a0}") };
        text.replace(part, &firm)
    })
}

fn section(file: &str, results: &Results) -> Result<String, Damaged> {
    let mut text = format!(
        "<p class=\"meta\">{}, begun {}, {} on {}{} &#183; {}</p>\n",
        kind(results.experiment),
        escape(&results.started),
        count(results.runs.len(), "run"),
        count(results.subjects.len(), "subject"),
        if results.complete { "" } else { ", <strong>incomplete</strong>" },
        escape(file)
    );
    let verdict = verdict(results);
    if !verdict.is_empty() {
        text.push_str("<ul class=\"verdict\">\n");
        for finding in &verdict {
            text.push_str(&format!("<li>{}</li>\n", escape(&unbroken(&finding.text))));
        }
        text.push_str("</ul>\n");
    }
    let warnings = warnings(results);
    if !warnings.is_empty() {
        text.push_str("<div class=\"warnings\" role=\"note\">\n<h3>Before you quote a figure</h3>\n<ul>\n");
        for warning in &warnings {
            text.push_str(&format!("<li>{}</li>\n", escape(warning)));
        }
        text.push_str("</ul>\n</div>\n");
    }
    for picture in pictures(results)? {
        let (wide, narrow) =
            (picture.wide.inline("wide", &picture.title), picture.narrow.inline("narrow", &picture.title));
        text.push_str(&format!("<figure>\n{wide}{narrow}</figure>\n"));
    }
    text.push_str(&figures::tables(results));
    text.push_str(&facts::facts(results));
    Ok(text)
}
