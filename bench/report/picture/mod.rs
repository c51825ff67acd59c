//! Pictures of results: which of them an experiment has, each in a wide and a narrow form.
//!
//! In reading order: [`svg`] draws shapes, [`axis`] and [`frame`] lay them out; [`bars`], [`percentiles`], [`seconds`] and [`steps`] are the
//! pictures; [`png`] turns one into pixels.

pub mod axis;
pub mod bars;
pub mod frame;
pub mod percentiles;
pub mod png;
pub mod seconds;
pub mod steps;
pub mod svg;

use crate::lab::figure::Figure;
use crate::lab::results::{Damaged, Experiment, Results, Run};
use crate::lab::rounds::{Latency, Load, Rounds};
use crate::report::name::Names;
use bars::{Bar, Group};
use frame::Form;
use percentiles::Latencies;
use steps::{Course, FIGURES, Step};
use svg::Drawing;

/// A picture in both forms.
#[derive(Debug)]
pub struct Picture {
    /// Its file's name without an ending; different for all pictures of one file of results.
    pub stem: String,
    /// What it shows, for those who cannot see it.
    pub title: String,
    /// For pages.
    pub wide: Drawing,
    /// For phones.
    pub narrow: Drawing,
}

/// All pictures of `results`, the one that says most first.
///
/// # Errors
/// When a histogram does not unpack.
pub fn pictures(results: &Results) -> Result<Vec<Picture>, Damaged> {
    let all = Rounds::of(results);
    let mut album = Album { results, names: Names::default(), pictures: Vec::new() };
    if results.experiment == Experiment::Sweep && album.steps(&all) {
        return Ok(album.pictures);
    }
    let loads = loads(&all);
    album.bars(&all, &loads);
    if matches!(results.experiment, Experiment::Failover | Experiment::Soak) {
        album.seconds(&all, &loads);
    }
    for load in &loads {
        let sets: Vec<_> = all.iter().filter(|rounds| rounds.load == **load).collect();
        album.percentiles("latency by percentile", Latency::Reply, &sets, loads.len())?;
        album.percentiles("end-to-end latency by percentile", Latency::EndToEnd, &sets, loads.len())?;
    }
    if !matches!(results.experiment, Experiment::Failover | Experiment::Soak) {
        album.seconds(&all, &loads);
    }
    Ok(album.pictures)
}

/// The different loads, in the order in which they came.
pub fn loads<'a>(all: &'a [Rounds<'_>]) -> Vec<&'a Load> {
    let mut loads: Vec<&Load> = Vec::new();
    for rounds in all {
        if !loads.iter().any(|load| **load == rounds.load) {
            loads.push(&rounds.load);
        }
    }
    loads
}

/// The round whose p99.9 is in the middle.
pub fn typical<'a>(rounds: &Rounds<'a>) -> &'a Run {
    let mut runs = rounds.runs.clone();
    runs.sort_by(|a, b| a.report.latency_us.p99_9.total_cmp(&b.report.latency_us.p99_9));
    runs[(runs.len() - 1) / 2]
}

struct Album<'a> {
    results: &'a Results,
    names: Names,
    pictures: Vec<Picture>,
}

impl Album<'_> {
    fn add(&mut self, stem: &str, title: String, draw: impl Fn(Form, &str) -> Drawing) {
        let stem = self.names.unique(stem);
        let (wide, narrow) = (draw(Form::Wide, &title), draw(Form::Narrow, &title));
        self.pictures.push(Picture { stem, title, wide, narrow });
    }

    fn name(&self, subject: usize) -> String {
        self.results.subjects[subject].name.clone()
    }

    /// Whether there was anything to draw.
    fn steps(&mut self, all: &[Rounds<'_>]) -> bool {
        let courses: Vec<_> = (0..self.results.subjects.len())
            .map(|number| Course { number, name: self.name(number), steps: course(all, number) })
            .filter(|course| !course.steps.is_empty())
            .collect();
        if courses.is_empty() {
            return false;
        }
        let point = &courses[0].steps[0].point;
        let against = if point.name == "rate" { "load".to_owned() } else { point.name.clone() };
        self.add(&format!("latency against {against}"), format!("Latency against {against}"), |form, title| {
            steps::draw(form, title, &courses)
        });
        true
    }

    /// Of a compare with one closed and one open loop, the rate of the former and the latencies of the latter, in one picture.
    fn bars(&mut self, all: &[Rounds<'_>], loads: &[&Load]) {
        if self.results.subjects.len() < 2 {
            return;
        }
        let (open, closed): (Vec<&Load>, Vec<&Load>) = loads.iter().partition(|load| load.is_open());
        let latencies = [Figure::P50, Figure::P99, Figure::P99_9];
        if let ([open], [closed]) = (open.as_slice(), closed.as_slice()) {
            let mut groups = self.groups(all, closed, &[Figure::Rate], &format!("({})", closed.brief()));
            groups.extend(self.groups(all, open, &latencies, &format!("({})", open.brief())));
            self.add("side by side", "Side by side: throughput and latency".to_owned(), |form, title| {
                bars::draw(form, title, &groups)
            });
            return;
        }
        for load in loads {
            // A rate that was asked for and reached everywhere says nothing.
            let sets = all.iter().filter(|rounds| rounds.load == **load);
            let is_rate_told = !load.is_open() || sets.clone().any(Rounds::is_short);
            let groups = self.groups(all, load, if is_rate_told { &Figure::COMPARED } else { &latencies }, "");
            self.add("side by side", format!("Side by side, {}", load.description()), |form, title| {
                bars::draw(form, title, &groups)
            });
        }
    }

    fn groups(&self, all: &[Rounds<'_>], load: &Load, figures: &[Figure], note: &str) -> Vec<Group> {
        let group = |figure: Figure| {
            let sets = all.iter().filter(|rounds| rounds.load == *load);
            let bars = sets.map(|rounds| Bar {
                number: rounds.subject,
                name: self.name(rounds.subject),
                values: rounds.values(figure),
            });
            Group { figure, note: note.to_owned(), bars: bars.collect() }
        };
        figures.iter().map(|figure| group(*figure)).collect()
    }

    fn percentiles(&mut self, what: &str, latency: Latency, sets: &[&Rounds<'_>], loads: usize) -> Result<(), Damaged> {
        let mut lines = Vec::new();
        for rounds in sets {
            let Some(from_intended) = rounds.histogram(latency)? else { continue };
            let from_send = if latency == Latency::Reply { rounds.histogram(Latency::FromSend)? } else { None };
            let from_send = from_send.filter(|other| {
                [0.5, 0.99, 0.999, 0.9999, 1.0].iter().any(|share| {
                    let [value, other] = [&from_intended, other].map(|histogram| histogram.value_at_quantile(*share));
                    value.abs_diff(other) > value / 100
                })
            });
            let (number, name) = (rounds.subject, self.name(rounds.subject));
            lines.push(Latencies { number, name, from_intended, from_send });
        }
        let Some(rounds) = sets.first().filter(|_| !lines.is_empty()) else { return Ok(()) };
        let title = format!("{}{}, {}", what[..1].to_uppercase(), &what[1..], rounds.load.description());
        let stem = if loads == 1 { what.to_owned() } else { format!("{what} {}", rounds.load.brief()) };
        self.add(&stem, title, |form, title| percentiles::draw(form, title, &lines));
        Ok(())
    }

    /// One picture a subject and load, of the round with the middle p99.9; pictures of one load have one axis of latency.
    fn seconds(&mut self, all: &[Rounds<'_>], loads: &[&Load]) {
        for load in loads {
            let sets: Vec<_> = all.iter().filter(|rounds| rounds.load == **load).collect();
            let runs = || sets.iter().map(|rounds| typical(rounds));
            if runs().all(|run| run.seconds.is_empty()) {
                continue;
            }
            let y = seconds::scale_of(runs());
            for rounds in &sets {
                let run = typical(rounds);
                let name = self.name(rounds.subject);
                let round = match rounds.runs.len() {
                    1 => String::new(),
                    count => format!(", round {} of {count} (the one with the middle p99.9)", run.round),
                };
                let experiment = self.results.experiment;
                self.add(
                    &format!("over time {name} {}", load.brief()),
                    format!("Over time: {name}, {}{round}", load.pace()),
                    |form, title| seconds::draw(form, title, run, experiment, y),
                );
            }
        }
    }
}

fn course(all: &[Rounds<'_>], subject: usize) -> Vec<Step> {
    let mut steps: Vec<Step> = all
        .iter()
        .filter(|rounds| rounds.subject == subject)
        .filter_map(|rounds| {
            Some(Step {
                point: rounds.load.point.clone()?,
                rates: rounds.values(Figure::Rate),
                latencies: FIGURES.map(|(figure, _)| rounds.values(figure)),
                is_short: rounds.is_short(),
            })
        })
        .collect();
    steps.sort_by(|a, b| a.point.value.total_cmp(&b.point.value));
    steps
}
