//! The verdict: what follows from the runs, in a sentence for people and ratios for machines.

use crate::lab::figure::{Figure, Unit, latency, thousands, three_digits};
use crate::lab::results::{Experiment, Finding, Ratio, Results};
use crate::lab::rounds::{Load, Rounds};
use crate::lab::statistics::{Estimate, Interval, Pairing, difference, ratio};

/// Beyond the knee p99.9 is more than so many times that of the lowest rate.
const KNEE: f64 = 5.0;

/// What follows from the runs that went to their end. A compare has one finding for each subject but the first, which is the base, and each
/// load; of several brokers also one against the first subject of its own broker; when it has one closed loop and one open loop, one finding
/// takes the throughput from the former and the latency from the latter. A sweep has one finding for each subject: its knee, or how far rate
/// and p99.9 go. Other experiments know better themselves what they found, so they get none.
pub fn findings(results: &Results) -> Vec<Finding> {
    // A run that was cut short is kept, and judged by nobody.
    let whole =
        Results { runs: results.runs.iter().filter(|run| run.report.complete).cloned().collect(), ..results.clone() };
    let (results, all) = (&whole, Rounds::of(&whole));
    match results.experiment {
        Experiment::Compare => {
            let pairs = (1..results.subjects.len())
                .flat_map(|subject| bases(results, subject).map(move |base| (subject, base)));
            pairs.flat_map(|(subject, base)| compared(results, &all, subject, base)).collect()
        }
        Experiment::Sweep => (0..results.subjects.len()).filter_map(|subject| swept(results, &all, subject)).collect(),
        Experiment::Produce
        | Experiment::Failover
        | Experiment::Soak
        | Experiment::Audit
        | Experiment::Restart
        | Experiment::CatchUp
        | Experiment::Lag => Vec::new(),
    }
}

/// One load on two subjects.
struct Pair<'a> {
    base: &'a Rounds<'a>,
    subject: &'a Rounds<'a>,
}

/// The ratios of two sets of rounds that were measured in turn, figure by figure; figures that are zero somewhere have none. A set of a single
/// round has an interval of no width: `low` and `high` are the ratio itself.
pub fn ratios(base: &Rounds<'_>, subject: &Rounds<'_>, figures: &[Figure]) -> Vec<Ratio> {
    let one = |figure: Figure| {
        let estimate = ratio(&subject.values(figure), &base.values(figure), Pairing::ByRound)?;
        let interval = estimate.interval.unwrap_or(Interval { low: estimate.value, high: estimate.value });
        Some(Ratio {
            figure: figure.name().to_owned(),
            subject: subject.subject,
            base: base.subject,
            value: subject.median(figure),
            base_value: base.median(figure),
            ratio: estimate.value,
            low: interval.low,
            high: interval.high,
        })
    };
    figures.iter().filter_map(|figure| one(*figure)).collect()
}

/// What a subject is compared with: the first of all, and the first of its own software (`apache:...`) if that is another one, so that two
/// modes of two brokers also say what the mode costs on each.
fn bases(results: &Results, subject: usize) -> impl Iterator<Item = usize> {
    let software = |index: usize| results.subjects[index].name.split_once(':').map(|(software, _)| software);
    let own = (1..subject).find(|other| software(*other).is_some() && software(*other) == software(subject));
    let own = own.filter(|_| software(0) != software(subject));
    own.into_iter().chain([0])
}

fn compared(results: &Results, all: &[Rounds<'_>], subject: usize, base: usize) -> Vec<Finding> {
    let pairs: Vec<Pair<'_>> = all
        .iter()
        .filter(|rounds| rounds.subject == subject)
        .filter_map(|rounds| {
            let base = all.iter().find(|other| other.subject == base && other.load == rounds.load)?;
            Some(Pair { base, subject: rounds })
        })
        .collect();
    let (open, closed): (Vec<_>, Vec<_>) = pairs.iter().partition(|pair| pair.subject.load.is_open());
    if let ([closed], [open]) = (closed.as_slice(), open.as_slice()) {
        return vec![finding(results, Some(closed), open)];
    }
    pairs.iter().map(|pair| finding(results, None, pair)).collect()
}

/// Of one load, or of the throughput of one and the latency of another.
fn finding(results: &Results, throughput: Option<&Pair<'_>>, pair: &Pair<'_>) -> Finding {
    let load = &pair.subject.load;
    let mut changes = Vec::new();
    // In an open loop the rate was asked for: it says something only where it was not reached.
    let source = throughput.unwrap_or(pair);
    let is_told = !source.subject.load.is_open() || source.subject.is_short() || source.base.is_short();
    changes.extend(is_told.then(|| rate_change(source)).flatten());
    changes.extend([Figure::P50, Figure::P99_9].iter().filter_map(|figure| latency_change(pair, *figure)));
    let when = match throughput {
        Some(closed) => format!("throughput {}, latency {}", closed.subject.load.pace(), load.pace()),
        None => load.pace(),
    };
    let names = [pair.subject, pair.base].map(|rounds| results.subjects[rounds.subject].name.as_str());
    let text = sentence(names, &changes, &when);
    let compared = match throughput {
        None => ratios(pair.base, pair.subject, &Figure::COMPARED),
        Some(closed) => [
            ratios(closed.base, closed.subject, &[Figure::Rate]),
            ratios(pair.base, pair.subject, &[Figure::P50, Figure::P99, Figure::P99_9]),
        ]
        .concat(),
    };
    Finding { text, ratios: compared }
}

/// What a difference is called; in a sentence in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Costs,
    Gains,
    Saves,
    /// The interval holds that nothing changed.
    Keeps,
}

/// A part of the sentence.
#[derive(Debug)]
struct Change {
    verb: Verb,
    /// `3.1 % ± 0.8 of throughput`, without a sign unless nothing changed.
    text: String,
    is_single: bool,
}

fn rate_change(pair: &Pair<'_>) -> Option<Change> {
    let change = ratio(&pair.subject.values(Figure::Rate), &pair.base.values(Figure::Rate), Pairing::ByRound)?;
    let percent = |ratio: f64| (ratio - 1.0) * 100.0;
    let shown = Estimate {
        value: percent(change.value),
        interval: change.interval.map(|interval| Interval { low: percent(interval.low), high: percent(interval.high) }),
    };
    let verb = verb(change, Verb::Gains, Verb::Costs);
    let text = match verb {
        Verb::Keeps => format!("throughput ({})", with_doubt(shown, true, "%")),
        _ => format!("{} of throughput", with_doubt(shown, false, "%")),
    };
    Some(Change { verb, text, is_single: change.interval.is_none() })
}

fn latency_change(pair: &Pair<'_>, figure: Figure) -> Option<Change> {
    let (values, base) = (pair.subject.values(figure), pair.base.values(figure));
    let change = ratio(&values, &base, Pairing::ByRound)?;
    let absolute = difference(&values, &base, Pairing::ByRound)?;
    let unit = Unit::for_micros(absolute.value);
    let scaled = |micros: f64| micros / unit.micros;
    let absolute = Estimate {
        value: scaled(absolute.value),
        interval: absolute.interval.map(|interval| Interval { low: scaled(interval.low), high: scaled(interval.high) }),
    };
    let verb = verb(change, Verb::Costs, Verb::Saves);
    let text = match verb {
        Verb::Keeps => format!("{} ({})", figure.name(), with_doubt(absolute, true, unit.name)),
        _ => format!("{} at {}", with_doubt(absolute, false, unit.name), figure.name()),
    };
    Some(Change { verb, text, is_single: change.interval.is_none() })
}

fn verb(ratio: Estimate, when_more: Verb, when_less: Verb) -> Verb {
    let is_same = ratio.interval.map_or(ratio.value == 1.0, |interval| interval.holds(1.0));
    match (is_same, ratio.value > 1.0) {
        (true, _) => Verb::Keeps,
        (false, true) => when_more,
        (false, false) => when_less,
    }
}

/// `3.1 % ± 0.8`; `1.2 ms (0.1 to 4.0)` where one side of the interval is much longer; `3.1 %` without an interval. Without `signs`, numbers
/// are turned round so that the value is not negative. No more decimals than the interval has.
fn with_doubt(estimate: Estimate, signs: bool, unit: &str) -> String {
    let is_turned = !signs && estimate.value < 0.0;
    let value = if is_turned { -estimate.value } else { estimate.value };
    let plus = |value: f64, text: String| if signs && value > 0.0 { format!("+{text}") } else { text };
    let Some(Interval { low, high }) = estimate.interval else {
        return format!("{} {unit}", plus(value, three_digits(value)));
    };
    let (low, high) = if is_turned { (-high, -low) } else { (low, high) };
    let (below, above) = (value - low, high - value);
    let decimals = match below.max(above) {
        wide if wide >= 10.0 => 0,
        _ => 1,
    };
    let written = |value: f64| match decimals {
        0 => thousands(value),
        _ => format!("{value:.decimals$}"),
    };
    let is_even = below.max(above) <= 1.5 * below.min(above) || below.max(above) < 0.05;
    if is_even {
        format!("{} {unit} ± {}", plus(value, written(value)), written(below.max(above)))
    } else {
        let [value, low, high] = [value, low, high].map(|value| plus(value, written(value)));
        // With signs it stands in brackets already.
        if signs { format!("{value} {unit}, {low} to {high}") } else { format!("{value} {unit} ({low} to {high})") }
    }
}

fn sentence([subject, base]: [&str; 2], changes: &[Change], when: &str) -> String {
    let of = |verb| {
        let texts = changes.iter().filter(|change| change.verb == verb).map(|change| change.text.as_str());
        and(&texts.collect::<Vec<_>>())
    };
    let verbs: Vec<String> = [("costs", Verb::Costs), ("gains", Verb::Gains), ("saves", Verb::Saves)]
        .into_iter()
        .map(|(word, verb)| (word, of(verb)))
        .filter(|(_, what)| !what.is_empty())
        .map(|(word, what)| format!("{word} {what}"))
        .collect();
    let same = of(Verb::Keeps);
    let is_single = changes.iter().any(|change| change.is_single);
    let no = if is_single { "no difference" } else { "no difference outside the noise" };
    let mut text = match (verbs.as_slice(), same.as_str()) {
        ([], "") => format!(
            "no replies were timed of {subject} or {base}, {when}: nothing can be said of one against the other"
        ),
        ([], same) => format!("{no} between {subject} and {base} in {same}, {when}"),
        (verbs, "") => format!("{subject} {} against {base}, {when}", verbs.join(" and ")),
        (verbs, same) => format!("{subject} {} against {base}, {when}; {no} in {same}", verbs.join(" and ")),
    };
    if is_single {
        text.push_str("; measured once, so nobody knows the noise");
    }
    text
}

/// `a, b and c`.
fn and(texts: &[&str]) -> String {
    match texts {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

/// A point of a sweep, medians.
struct Step<'a> {
    load: &'a Load,
    value: f64,
    rate: f64,
    p99_9: f64,
    is_short: bool,
}

fn swept(results: &Results, all: &[Rounds<'_>], subject: usize) -> Option<Finding> {
    let mut steps: Vec<Step<'_>> = all
        .iter()
        .filter(|rounds| rounds.subject == subject)
        .filter_map(|rounds| {
            Some(Step {
                load: &rounds.load,
                value: rounds.load.point.as_ref()?.value,
                rate: rounds.median(Figure::Rate),
                p99_9: rounds.median(Figure::P99_9),
                is_short: rounds.is_short(),
            })
        })
        .collect();
    steps.sort_by(|a, b| a.value.total_cmp(&b.value));
    let name = &results.subjects[subject].name;
    let (first, last) = (steps.first()?, steps.last()?);
    let is_rate = first.load.point.as_ref().is_some_and(|point| point.name == "rate");
    let text = if is_rate { knee(name, &steps) } else { course(name, first, last) };
    Some(Finding { text, ratios: Vec::new() })
}

/// The highest rate that a subject holds: it is reached, and p99.9 stays below [`KNEE`] times that of the lowest rate, here and at all lower ones.
fn knee(name: &str, steps: &[Step<'_>]) -> String {
    let first = &steps[0];
    let is_beyond = |step: &Step<'_>| step.is_short || step.p99_9 > KNEE * first.p99_9;
    let times = |step: &Step<'_>| three_digits(step.p99_9 / first.p99_9);
    let slowest = thousands(first.value);
    let beyond = steps.iter().position(is_beyond);
    let held = match beyond {
        Some(0) => {
            return format!("{name} does not reach even {slowest} messages/s: it stores {}", thousands(first.rate));
        }
        Some(index) => &steps[index - 1],
        None => &steps[steps.len() - 1],
    };
    let mut text = format!("{name} holds {} messages/s with {} at p99.9", thousands(held.value), latency(held.p99_9));
    if held.value > first.value {
        text.push_str(&format!(", {} times that at {slowest}", times(held)));
    }
    match beyond.map(|index| &steps[index]) {
        None => text.push_str("; no higher rate was tried"),
        Some(step) if step.is_short => {
            text.push_str(&format!("; asked for {} it stores {}", thousands(step.value), thousands(step.rate)));
        }
        Some(step) => {
            let (asked, p99_9) = (thousands(step.value), latency(step.p99_9));
            text.push_str(&format!("; at {asked} it is {p99_9}, {} times", times(step)));
        }
    }
    text
}

/// What changes from one end of a sweep to the other.
fn course(name: &str, first: &Step<'_>, last: &Step<'_>) -> String {
    let point = |step: &Step<'_>| step.load.point.as_ref().map(|point| point.written()).unwrap_or_default();
    let what = first.load.point.as_ref().map(|point| point.name.as_str()).unwrap_or_default();
    format!(
        "{name}, {what} {} to {}: the rate goes from {} to {} messages/s, p99.9 from {} to {}",
        point(first),
        point(last),
        thousands(first.rate),
        thousands(last.rate),
        latency(first.p99_9),
        latency(last.p99_9)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::Sample;

    fn texts(results: &Results) -> Vec<String> {
        findings(results).into_iter().map(|finding| finding.text).collect()
    }

    #[test]
    fn a_compare_says_what_a_mode_costs() {
        let mut sample = Sample::compare(&["async", "sync"]);
        for round in 0..5 {
            let noise = 1.0 + 0.002 * f64::from(round);
            sample.closed(0, 100_000.0 * noise, [400.0, 900.0, 2000.0]);
            sample.closed(1, 96_900.0 * noise, [420.0, 950.0, 2100.0]);
            sample.open(0, 10_000, [100.0 * noise, 150.0, 800.0 * noise]);
            sample.open(1, 10_000, [141.0 * noise, 180.0, 1000.0 * noise]);
        }
        let found = findings(&sample.results);
        assert_eq!(found.len(), 1);
        assert!(
            found[0]
                .text
                .starts_with("sync costs 3.1 % ± 0.0 of throughput, 41.2 µs ± 0.2 at p50 and 200.8 µs ± 0.8 at"),
            "{}",
            found[0].text
        );
        assert!(found[0].text.contains("at p99.9 against async, throughput in closed loop"), "{}", found[0].text);
        assert!(found[0].text.ends_with("latency at 10,000 messages/s"), "{}", found[0].text);
        let figures: Vec<_> = found[0].ratios.iter().map(|ratio| ratio.figure.as_str()).collect();
        assert_eq!(figures, ["rate", "p50", "p99", "p99.9"]);
        assert!((found[0].ratios[0].ratio - 0.969).abs() < 1e-3, "{:?}", found[0].ratios[0]);
        assert!((found[0].ratios[3].ratio - 1.25).abs() < 1e-3, "{:?}", found[0].ratios[3]);
    }

    #[test]
    fn modes_of_two_brokers_are_compared_on_each() {
        let mut sample = Sample::compare(&["ringmq:async", "ringmq:sync", "apache:async", "apache:sync"]);
        for subject in 0..4u32 {
            sample.open(subject as usize, 10_000, [100.0 + f64::from(subject), 150.0, 900.0]);
        }
        let texts = texts(&sample.results);
        let found: Vec<_> = texts.iter().map(|text| text.split(", at ").next().unwrap_or_default()).collect();
        assert_eq!(
            found,
            [
                "ringmq:sync costs 1.00 µs at p50 against ringmq:async",
                "apache:async costs 2.00 µs at p50 against ringmq:async",
                "apache:sync costs 1.00 µs at p50 against apache:async",
                "apache:sync costs 3.00 µs at p50 against ringmq:async",
            ]
        );
    }

    #[test]
    fn noise_is_no_difference() {
        let mut sample = Sample::compare(&["async", "sync"]);
        for (a, b) in [(100.0, 103.0), (104.0, 101.0), (99.0, 100.0), (102.0, 99.0), (101.0, 104.0)] {
            sample.open(0, 10_000, [a, 2.0 * a, 4.0 * a]);
            sample.open(1, 10_000, [b, 2.0 * b, 4.0 * b]);
        }
        let text = texts(&sample.results).remove(0);
        assert!(text.starts_with("no difference outside the noise between sync and async in p50 ("), "{text}");
        assert!(!text.contains("throughput"), "the rate was asked for: {text}");
    }

    #[test]
    fn one_round_has_no_interval_and_says_so() {
        let mut sample = Sample::compare(&["async", "sync"]);
        sample.open(0, 10_000, [100.0, 150.0, 900.0]);
        sample.open(1, 10_000, [90.0, 150.0, 1500.0]);
        assert_eq!(
            texts(&sample.results),
            [
                "sync costs 600 µs at p99.9 and saves 10.0 µs at p50 against async, at 10,000 messages/s; measured once, so nobody knows the noise"
            ]
        );
    }

    #[test]
    fn a_missed_rate_is_told_in_an_open_loop() {
        let mut sample = Sample::compare(&["async", "sync"]);
        for _ in 0..3 {
            sample.open(0, 10_000, [100.0, 150.0, 900.0]);
            sample.open_reached(1, 10_000, 8_000.0, [100.0, 150.0, 900.0]);
        }
        let text = texts(&sample.results).remove(0);
        assert!(text.starts_with("sync costs 20.0 % ± 0.0 of throughput against async"), "{text}");
    }

    #[test]
    fn a_sweep_ends_at_its_knee() {
        let rates = [(5_000, 1.0, 800.0), (10_000, 1.0, 1_200.0), (20_000, 1.0, 3_000.0), (40_000, 1.0, 90_000.0)];
        let check = |reached: f64, expected: &str| {
            let mut sample = Sample::sweep(&["sync"]);
            for (rate, share, p99_9) in rates {
                let share = if rate == 20_000 { reached } else { share };
                sample.step(0, rate, f64::from(rate) * share, [100.0, 400.0, p99_9]);
            }
            assert_eq!(texts(&sample.results), [expected]);
        };
        check(
            1.0,
            "sync holds 20,000 messages/s with 3.00 ms at p99.9, 3.75 times that at 5,000; at 40,000 it is 90.0 ms, 113 times",
        );
        check(
            0.8,
            "sync holds 10,000 messages/s with 1.20 ms at p99.9, 1.50 times that at 5,000; asked for 20,000 it stores 16,000",
        );
    }
}
