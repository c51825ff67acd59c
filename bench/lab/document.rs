//! Goals as a document: what several experiments measured and what was promised of it, a table each, and how it all came about.

use crate::lab::goal::{Measure, middle};
use crate::lab::results::{Goal, Results};
use crate::lab::rounds::Rounds;

/// Markdown, of experiments by the names of their files, in the order given. Those without goals are left out.
pub fn document(all: &[(String, Results)]) -> String {
    let mut text = "# Figures and goals\n\n\
         Medians of runs in turn, the lowest and highest in parentheses; `to` is the first subject's figure by another's. Subjects that are not\n\
         being measured stand still. Latency of an open loop counts from the intended send time; what failed is in no latency. The JSON files of\n\
         the same names hold every run.\n"
        .to_owned();
    let shown: Vec<_> = all.iter().filter(|(_, results)| !results.goals.is_empty()).collect();
    for (name, results) in &shown {
        text.push_str(&format!("\n## {name}\n\n{}\n\n{}", results.title, table(results)));
        for warning in warnings(results) {
            text.push_str(&format!("> - {warning}\n"));
        }
    }
    text.push_str("\n## How\n");
    for (name, results) in &shown {
        text.push_str(&how(name, results));
    }
    text
}

/// A row a figure and load, a column a subject.
fn table(results: &Results) -> String {
    let names: Vec<String> = results.subjects.iter().map(|subject| format!("`{}`", subject.name)).collect();
    let mut head = vec!["load".to_owned(), "figure".to_owned()];
    head.extend(names.iter().cloned());
    head.extend(names.iter().skip(1).map(|name| format!("to {name}")));
    head.extend(["failed".to_owned(), "goal".to_owned()]);
    let mut text = format!("| {} |\n|{}\n", head.join(" | "), "---|".repeat(head.len()));
    let runs = results.runs.iter().filter(|run| run.report.complete).cloned().collect();
    let whole = Results { runs, ..results.clone() };
    let all = Rounds::of(&whole);
    let mut done: Vec<(&str, Measure)> = Vec::new();
    for goal in &results.goals {
        let row = (goal.load.as_str(), goal.figure);
        if done.contains(&row) {
            continue;
        }
        done.push(row);
        let of =
            |subject: usize| all.iter().find(|rounds| rounds.subject == subject && rounds.load.name() == goal.load);
        let mut cells = vec![goal.load.clone(), goal.figure.name().to_owned()];
        cells.extend((0..names.len()).map(|subject| of(subject).map_or_else(none, |rounds| cell(rounds, goal.figure))));
        cells.extend((1..names.len()).map(|subject| ratio(of(0), of(subject), goal.figure)));
        cells.push(failed(results, &goal.load));
        let same = results.goals.iter().filter(|other| (other.load.as_str(), other.figure) == row);
        cells.push(same.filter(|goal| !goal.bound.is_empty()).map(judged).collect::<Vec<_>>().join("; "));
        text.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    text
}

fn none() -> String {
    "\u{2013}".to_owned()
}

/// `32,571/s (26,689/s – 37,530/s)`.
fn cell(rounds: &Rounds<'_>, figure: Measure) -> String {
    let mut values: Vec<f64> = rounds.runs.iter().filter_map(|run| figure.of(run)).collect();
    values.sort_unstable_by(f64::total_cmp);
    match (middle(rounds, figure), values.as_slice()) {
        (Some(middle), [_]) => figure.written(middle),
        (Some(middle), [low, .., high]) => {
            format!("{} ({} \u{2013} {})", figure.written(middle), figure.written(*low), figure.written(*high))
        }
        _ => none(),
    }
}

fn ratio(ours: Option<&Rounds<'_>>, theirs: Option<&Rounds<'_>>, figure: Measure) -> String {
    let of = |rounds: Option<&Rounds<'_>>| middle(rounds?, figure);
    match (of(ours), of(theirs)) {
        (Some(ours), Some(theirs)) if theirs > 0.0 => format!("{:.2}", ours / theirs),
        _ => none(),
    }
}

/// Messages that failed under a load, by subject: a broker that refuses looks faster than it is.
fn failed(results: &Results, load: &str) -> String {
    let of = |(index, name): (usize, &str)| {
        let runs = results.runs.iter().filter(|run| run.subject == index);
        let count: u64 =
            runs.filter(|run| super::rounds::Load::of(run).name() == load).map(|run| run.report.failed).sum();
        (count > 0).then(|| format!("`{name}` {count}"))
    };
    let texts: Vec<String> =
        results.subjects.iter().map(|subject| subject.name.as_str()).enumerate().filter_map(of).collect();
    if texts.is_empty() { "none".to_owned() } else { texts.join(", ") }
}

fn judged(goal: &Goal) -> String {
    let fate = if goal.is_kept == Some(false) { "**missed**" } else { goal.fate() };
    format!("{}: {fate}", goal.bound)
}

/// What spoils the figures: of each kind of warning, how many runs have it. The files have each of them.
fn warnings(results: &Results) -> Vec<String> {
    let machine = results.warnings.iter().filter(|text| text.contains("the figure is the machine's")).count();
    let others = results.warnings.len() - machine;
    let mut found = Vec::new();
    if !results.complete {
        found.push(format!("not whole: {}", results.ended));
    }
    if machine > 0 {
        found.push(format!(
            "{machine} times others than generator and brokers used a processor of theirs: that figure is the machine's"
        ));
    }
    if others > 0 {
        found.push(format!("{others} other warnings"));
    }
    found
}

fn how(name: &str, results: &Results) -> String {
    let machine = &results.machine;
    let mut text = format!(
        "\n### {name}\n\n`{}`\n\n{}; {}; kernel {}; {}; {} MB; {}, {}, interrupts to {}; {}; load average before: {}\n\n```text\n",
        results.command,
        results.started,
        machine.generator,
        machine.kernel,
        machine.cpu,
        machine.memory_mb,
        machine.disk,
        machine.disk_cache,
        machine.disk_interrupts,
        machine.java,
        machine.load_average
    );
    for subject in &results.subjects {
        text.push_str(&format!("{}: {}\n", subject.name, subject.software));
        subject.how.iter().for_each(|line| text.push_str(&format!("  {line}\n")));
    }
    text.push_str("```\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::goal::{GoalArgs, judged};
    use crate::sample::Sample;

    #[test]
    fn a_row_has_median_spread_ratio_and_fate() {
        let mut sample = Sample::compare(&["ringmq:all", "apache:all", "echo"]);
        for (ours, theirs) in [(1000.0, 500.0), (1100.0, 490.0), (1234.0, 510.0)] {
            sample.closed(0, ours, [100.0, 200.0, 400.0]);
            sample.closed(1, theirs, [100.0, 200.0, 500.0]).report.failed = 2;
        }
        let goals = [
            "figure = \"rate\"\nat-least = 3.0\ntimes = \"apache\"",
            "figure = \"rate\"\nat-least = 0.5\ntimes = \"echo\"",
        ];
        let goals: Vec<GoalArgs> = goals.iter().map(|text| toml::from_str(text).expect("a goal")).collect();
        sample.results.goals = judged(&goals, &sample.results);
        let text = document(&[("sync".to_owned(), sample.results)]);
        let row = text.lines().find(|line| line.starts_with("| closed loop 8 x 32 ")).expect("a row");
        assert_eq!(
            row,
            "| closed loop 8 x 32 | rate | 1,100/s (1,000/s \u{2013} 1,234/s) | 500/s (490/s \u{2013} 510/s) | \u{2013} | 2.20 | \u{2013} | \
             `apache:all` 6 | \u{2265} 3 \u{d7} apache: **missed**; \u{2265} 0.5 \u{d7} echo: not measured |"
        );
        assert_eq!(text.matches("## sync\n").count(), 2, "the table, and how it came about");
    }
}
