//! A sweep: latency against what changes, and below it the rate that was reached.

use super::axis::Scale;
use super::frame::{Canvas, Form, GAP, Key, LINE, Panel, margin_for};
use super::percentiles::latency_label;
use super::svg::{Anchor, Drawing, Ink, Pen, TEXT};
use crate::lab::figure::{Figure, thousands, three_digits};
use crate::lab::results::Point;
use crate::lab::statistics::{median, spread};

/// One subject, point after point.
#[derive(Debug)]
pub struct Course {
    /// Which colour and mark.
    pub number: usize,
    /// Of the subject.
    pub name: String,
    /// By rising value.
    pub steps: Vec<Step>,
}

/// One point of one subject.
#[derive(Debug)]
pub struct Step {
    /// What was changed.
    pub point: Point,
    /// Messages stored a second, a round each.
    pub rates: Vec<f64>,
    /// Latencies in the order of [`FIGURES`], a round each, µs.
    pub latencies: [Vec<f64>; 2],
    /// Whether the rate asked for was not reached.
    pub is_short: bool,
}

/// The latencies that are drawn, and how.
pub const FIGURES: [(Figure, &str); 2] = [(Figure::P50, "2 3"), (Figure::P99_9, "")];

/// The picture; there is at least one step.
pub fn draw(form: Form, title: &str, courses: &[Course]) -> Drawing {
    let mut canvas = Canvas::new(form, title);
    canvas.legend(&legend(courses));
    canvas.note("latency from the intended send; marks: medians, bars: lowest to highest round");
    let steps = || courses.iter().flat_map(|course| &course.steps);
    let values: Vec<f64> = steps().map(|step| step.point.value).collect();
    let x = Scale::fitting(&values);
    let y = Scale::logarithmic(steps().flat_map(|step| step.latencies.iter().flatten().copied()));
    let rate = Scale::from_zero(steps().flat_map(|step| step.rates.iter().copied()).fold(0.0, f64::max));
    let y_ticks: Vec<_> = y.ticks(6).into_iter().map(|value| (value, latency_label(value))).collect();
    let rate_ticks: Vec<_> = rate.ticks(3).into_iter().map(|value| (value, thousands(value))).collect();
    let left = margin_for(y_ticks.iter().chain(&rate_ticks));
    let width = form.width() - left - 2.0 * GAP;
    let panel = Panel { left, top: canvas.y + GAP / 2.0, width, height: form.panel_height(), x, y };
    let x_ticks: Vec<_> =
        x.ticks(if form == Form::Wide { 8 } else { 4 }).into_iter().map(|value| (value, bare(value))).collect();
    panel.x_axis(&mut canvas.drawing, &x_ticks, true);
    panel.y_axis(&mut canvas.drawing, &y_ticks);
    for course in courses {
        latencies(&mut canvas.drawing, panel, course);
    }
    canvas.y = panel.bottom() + GAP / 2.0;
    canvas.drawing.text(left, canvas.y + TEXT, Anchor::Start, Ink::Faint, "messages stored a second");
    let lower = Panel { top: canvas.y + LINE + 4.0, height: form.panel_height() * 0.4, y: rate, ..panel };
    lower.x_axis(&mut canvas.drawing, &x_ticks, false);
    lower.y_axis(&mut canvas.drawing, &rate_ticks);
    asked(&mut canvas.drawing, lower, courses);
    for course in courses {
        rates(&mut canvas.drawing, lower, course);
    }
    canvas.y = lower.bottom() + LINE + 6.0;
    canvas.note(&axis_title(courses));
    canvas.finish()
}

fn axis_title(courses: &[Course]) -> String {
    let Some(point) = courses.iter().flat_map(|course| &course.steps).map(|step| &step.point).next() else {
        return String::new();
    };
    let name = if point.name == "rate" { "rate asked for" } else { point.name.as_str() };
    if point.unit.is_empty() { name.to_owned() } else { format!("{name}, {}", point.unit) }
}

fn is_rate_sweep(courses: &[Course]) -> bool {
    courses.iter().flat_map(|course| &course.steps).all(|step| step.point.name == "rate")
}

fn legend(courses: &[Course]) -> Vec<(Key, String)> {
    let mut entries: Vec<_> = courses
        .iter()
        .map(|course| (Key::Line(Pen::of(Ink::Series(course.number), 2.0), Some(course.number)), course.name.clone()))
        .collect();
    for (figure, dashes) in FIGURES {
        let pen = Pen { dashes, ..Pen::of(Ink::Faint, 2.0) };
        entries.push((Key::Line(pen, None), figure.name().to_owned()));
    }
    if is_rate_sweep(courses) {
        let pen = Pen { dashes: "6 4", ..Pen::of(Ink::Faint, 1.0) };
        entries.push((Key::Line(pen, None), "as asked for".to_owned()));
    }
    if let Some(course) = courses.iter().find(|course| course.steps.iter().any(|step| step.is_short)) {
        entries.push((Key::Hollow(course.number), "less than 99 % of the rate asked for was reached".to_owned()));
    }
    entries
}

fn latencies(drawing: &mut Drawing, panel: Panel, course: &Course) {
    for (index, (figure, dashes)) in FIGURES.into_iter().enumerate() {
        let pen = Pen { dashes, ..Pen::of(Ink::Series(course.number), 2.0) };
        let series: Vec<_> = course.steps.iter().map(|step| (step, &step.latencies[index])).collect();
        draw_series(drawing, panel, course, &series, pen, |value| figure.written(value), figure.name());
    }
}

fn rates(drawing: &mut Drawing, panel: Panel, course: &Course) {
    let series: Vec<_> = course.steps.iter().map(|step| (step, &step.rates)).collect();
    let pen = Pen::of(Ink::Series(course.number), 2.0);
    draw_series(drawing, panel, course, &series, pen, |value| Figure::Rate.written(value), "rate");
}

fn draw_series(
    drawing: &mut Drawing,
    panel: Panel,
    course: &Course,
    series: &[(&Step, &Vec<f64>)],
    pen: Pen,
    written: impl Fn(f64) -> String,
    name: &str,
) {
    let points: Vec<_> =
        series.iter().filter_map(|(step, values)| Some((*step, *values, median(values)?, spread(values)?))).collect();
    let line = points.iter().map(|(step, _, value, _)| panel.at(step.point.value, *value)).collect();
    drawing.strokes(&[line], pen);
    for (step, _, value, spread) in &points {
        let x = panel.across(step.point.value);
        if spread.start() < spread.end() {
            drawing.line((x, panel.up(*spread.start())), (x, panel.up(*spread.end())), Pen::of(pen.ink, 1.2));
        }
        let what = format!("{}, {}: {name} {}", course.name, step.point.written(), written(*value));
        drawing.mark((x, panel.up(*value)), course.number, step.is_short, &what);
    }
}

/// In a sweep of rates: where every point would lie if each rate were reached.
fn asked(drawing: &mut Drawing, panel: Panel, courses: &[Course]) {
    if !is_rate_sweep(courses) {
        return;
    }
    let mut values: Vec<f64> = courses.iter().flat_map(|course| &course.steps).map(|step| step.point.value).collect();
    values.sort_by(f64::total_cmp);
    // Many short lines, since with a logarithmic axis the line is bent; it ends at the panel's upper edge.
    let (Some(low), Some(high)) = (values.first(), values.last()) else { return };
    let highest =
        courses.iter().flat_map(|course| &course.steps).flat_map(|step| &step.rates).copied().fold(0.0, f64::max);
    let end = high.min(highest.max(*low));
    let points = (0..=40u8).map(|index| low + (end - low) * f64::from(index) / 40.0);
    let pen = Pen { dashes: "6 4", ..Pen::of(Ink::Faint, 1.0) };
    drawing.strokes(&[points.map(|value| panel.at(value, value)).collect()], pen);
}

fn bare(value: f64) -> String {
    if value.fract().abs() < 1e-9 { thousands(value) } else { three_digits(value) }
}
