//! A run second by second: latency above, and below it what was stored, so that a stall shows in both.

use super::axis::Scale;
use super::frame::{Canvas, Form, GAP, LINE, Panel, margin_for, spread_labels};
use super::percentiles::latency_label;
use super::svg::{Anchor, Drawing, Ink, Pen, TEXT, width_of, wrap};
use crate::lab::figure::{thousands, three_digits};
use crate::lab::results::{Experiment, Run, Second};

/// Most points of a line: more than there are px say nothing.
const POINTS_MAX: usize = 430;

/// A line of the upper panel: its name, its colour, its value, µs.
type Line = (&'static str, usize, fn(&Second) -> f64);

/// The lines of the upper panel.
const LINES: [Line; 3] =
    [("p50", 0, |second| second.p50_us), ("p99", 1, |second| second.p99_us), ("max", 2, |second| second.max_us)];

/// A panel below.
type Strip = (&'static str, fn(&Second) -> f64);

/// Some seconds as one point.
struct Bin {
    /// From, in seconds since the load began.
    from: f64,
    to: f64,
    /// The middle p50, the worst p99 and max, rates and counts of a second.
    second: Second,
}

/// The picture. `y` is shared by pictures that are compared; `experiment` says which panels matter.
pub fn draw(form: Form, title: &str, run: &Run, experiment: Experiment, y: Scale) -> Drawing {
    let mut canvas = Canvas::new(form, title);
    let bins = bins(&run.seconds);
    let end = bins.last().map_or(1.0, |bin| bin.to);
    canvas.note(&match bins.first() {
        Some(bin) if bin.to - bin.from > 1.5 => {
            format!(
                "latency from the intended send; a point is {:.0} s: its middle p50, its worst p99 and max",
                bin.to - bin.from
            )
        }
        _ => "latency from the intended send, second by second; a gap: no reply in that second".to_owned(),
    });
    let y_ticks: Vec<_> = y.ticks(6).into_iter().map(|value| (value, latency_label(value))).collect();
    let strips = strips(run, experiment);
    let scales: Vec<_> = strips
        .iter()
        .map(|(_, value)| Scale::from_zero(bins.iter().map(|bin| value(&bin.second)).fold(0.0, f64::max)))
        .collect();
    let strip_ticks: Vec<Vec<_>> = scales.iter().map(|scale| count_ticks(*scale)).collect();
    let left = margin_for(y_ticks.iter().chain(strip_ticks.iter().flatten()));
    let width = form.width() - left - 44.0;
    let x = Scale::linear(0.0, end);
    let (scale, unit) = time_unit(end);
    let x_ticks: Vec<_> = Scale::linear(0.0, end / scale)
        .ticks(if form == Form::Wide { 10 } else { 5 })
        .into_iter()
        .map(|value| (value * scale, three_digits_bare(value)))
        .collect();
    let tops = events(run).len();
    let panel =
        Panel { left, top: canvas.y + GAP / 2.0 + tops as f64 * LINE, width, height: form.panel_height() * 0.75, x, y };
    shade_warm_up(&mut canvas.drawing, panel, &bins);
    panel.x_axis(&mut canvas.drawing, &x_ticks, true);
    panel.y_axis(&mut canvas.drawing, &y_ticks);
    lines(&mut canvas.drawing, panel, &bins);
    canvas.y = panel.bottom() + GAP / 2.0;
    let mut bottom = panel.bottom();
    for (index, ((name, value), y)) in strips.iter().zip(scales).enumerate() {
        let top = canvas.y + LINE + 4.0;
        canvas.drawing.text(left, canvas.y + TEXT, Anchor::Start, Ink::Faint, name);
        let strip = Panel { top, height: form.panel_height() * 0.2, y, ..panel };
        shade_warm_up(&mut canvas.drawing, strip, &bins);
        strip.x_axis(&mut canvas.drawing, &x_ticks, index + 1 < strips.len());
        strip.y_axis(&mut canvas.drawing, &strip_ticks[index]);
        canvas.drawing.strokes(&[steps(strip, &bins, *value)], Pen::of(Ink::Series(5), 1.6));
        (canvas.y, bottom) = (strip.bottom() + GAP / 2.0, strip.bottom());
    }
    mark_events(&mut canvas.drawing, panel, run, bottom);
    canvas.y = bottom + LINE + 6.0;
    canvas.note(&format!("{unit} since the load began{}", if has_warm_up(&bins) { "; shaded: warm-up" } else { "" }));
    canvas.finish()
}

fn strips(run: &Run, experiment: Experiment) -> Vec<Strip> {
    #[expect(clippy::cast_precision_loss, reason = "counts of a second, far below 2^53")]
    let mut strips: Vec<Strip> = vec![("messages stored a second", |second| second.replies as f64)];
    if experiment == Experiment::Soak && run.seconds.iter().any(|second| second.resident_mb > 0.0) {
        strips.push(("memory of the brokers, MB", |second| second.resident_mb));
        #[expect(clippy::cast_precision_loss, reason = "counts, far below 2^53")]
        strips.push(("open descriptors of the brokers", |second| second.descriptors as f64));
    }
    if run.seconds.iter().any(|second| second.backlog > 0) {
        #[expect(clippy::cast_precision_loss, reason = "counts, far below 2^53")]
        strips.push(("messages stored and not yet received", |second| second.backlog as f64));
    }
    strips
}

/// What happened, and when: the fault and what followed from it.
fn events(run: &Run) -> Vec<(f64, String, Ink)> {
    let Some(failover) = &run.failover else { return Vec::new() };
    let mut events = vec![(failover.at_s, failover.fault.clone(), Ink::Alarm)];
    if let Some(after) = failover.first_success_s {
        let text = format!("stored again after {} s", three_digits(after));
        events.push((failover.at_s + after, text, Ink::Faint));
    }
    events
}

/// A line through all panels, its text in a row of its own above them.
fn mark_events(drawing: &mut Drawing, panel: Panel, run: &Run, bottom: f64) {
    let events = events(run);
    let rows = events.len();
    let height = |row: usize| panel.top - (rows - row) as f64 * LINE + TEXT - 2.0;
    for (row, (at_s, _, ink)) in events.iter().enumerate() {
        let x = panel.across(*at_s);
        drawing.line((x, height(row) + 4.0), (x, bottom), Pen { dashes: "3 3", ..Pen::of(*ink, 1.5) });
    }
    for (row, (at_s, text, ink)) in events.into_iter().enumerate() {
        let x = panel.across(at_s);
        let room = (drawing.width - x - 6.0).max(x - 6.0);
        let text = wrap(&text, room).into_iter().next().unwrap_or_default();
        let is_right = x + width_of(&text) + 6.0 <= drawing.width;
        let (at, anchor) = if is_right { (x + 4.0, Anchor::Start) } else { (x - 4.0, Anchor::End) };
        // The line of an earlier event does not run through it.
        let left = if is_right { at } else { at - width_of(&text) };
        drawing.area((left, height(row) - TEXT + 1.0), (width_of(&text), LINE - 3.0), Ink::Ground, "");
        drawing.text(at, height(row), anchor, ink, &text);
    }
}

fn lines(drawing: &mut Drawing, panel: Panel, bins: &[Bin]) {
    let mut ends = Vec::new();
    for (name, number, value) in LINES {
        let mut strokes: Vec<Vec<(f64, f64)>> = vec![Vec::new()];
        for bin in bins {
            let micros = value(&bin.second);
            if bin.second.replies == 0 || micros <= 0.0 {
                strokes.push(Vec::new());
            } else if let Some(stroke) = strokes.last_mut() {
                stroke.push(panel.at(f64::midpoint(bin.from, bin.to), micros));
            }
        }
        strokes.retain(|stroke| !stroke.is_empty());
        if let Some(end) = strokes.last().and_then(|stroke| stroke.last()) {
            ends.push((name, number, *end));
        }
        drawing.strokes(&strokes, Pen::of(Ink::Series(number), 1.8));
    }
    let wanted: Vec<f64> = ends.iter().map(|(_, _, (_, y))| y + TEXT * 0.35).collect();
    let heights = spread_labels(&wanted, TEXT + 2.0, panel.top + TEXT, panel.bottom());
    for ((name, number, (x, _)), y) in ends.into_iter().zip(heights) {
        drawing.text((x + 6.0).max(panel.left + panel.width + 4.0), y, Anchor::Start, Ink::Series(number), name);
    }
}

fn steps(panel: Panel, bins: &[Bin], value: fn(&Second) -> f64) -> Vec<(f64, f64)> {
    bins.iter()
        .flat_map(|bin| {
            let value = value(&bin.second);
            [panel.at(bin.from, value), panel.at(bin.to, value)]
        })
        .collect()
}

fn has_warm_up(bins: &[Bin]) -> bool {
    bins.iter().any(|bin| bin.second.is_warmup)
}

fn shade_warm_up(drawing: &mut Drawing, panel: Panel, bins: &[Bin]) {
    if let Some(last) = bins.iter().rfind(|bin| bin.second.is_warmup) {
        let right = panel.across(last.to);
        drawing.area((panel.left, panel.top), (right - panel.left, panel.height), Ink::Shade, "warm-up");
    }
}

fn count_ticks(scale: Scale) -> Vec<(f64, String)> {
    scale.ticks(2).into_iter().map(|value| (value, thousands(value))).collect()
}

/// Seconds of the unit in which a time axis to `end` reads best, and its name.
fn time_unit(end: f64) -> (f64, &'static str) {
    match end {
        long if long > 7200.0 => (3600.0, "hours"),
        middle if middle > 300.0 => (60.0, "minutes"),
        _ => (1.0, "seconds"),
    }
}

fn three_digits_bare(value: f64) -> String {
    if value.fract().abs() < 1e-9 { thousands(value) } else { three_digits(value) }
}

#[expect(clippy::cast_precision_loss, reason = "seconds of a run")]
fn bins(seconds: &[Second]) -> Vec<Bin> {
    let size = seconds.len().div_ceil(POINTS_MAX).max(1);
    seconds
        .chunks(size)
        .map(|chunk| {
            let first = chunk[0];
            let worst = |value: fn(&Second) -> f64| chunk.iter().map(value).fold(0.0, f64::max);
            let mut p50s: Vec<f64> =
                chunk.iter().filter(|second| second.replies > 0).map(|second| second.p50_us).collect();
            p50s.sort_by(f64::total_cmp);
            let count = chunk.len() as u64;
            let last = chunk[chunk.len() - 1];
            Bin {
                from: first.at.saturating_sub(1) as f64,
                to: last.at as f64,
                second: Second {
                    at: last.at,
                    is_warmup: first.is_warmup,
                    replies: chunk.iter().map(|second| second.replies).sum::<u64>().div_ceil(count),
                    p50_us: p50s.get(p50s.len() / 2).copied().unwrap_or(0.0),
                    p99_us: worst(|second| second.p99_us),
                    p99_9_us: worst(|second| second.p99_9_us),
                    max_us: worst(|second| second.max_us),
                    ..last
                },
            }
        })
        .collect()
}

/// The y axis that fits all of `runs`.
pub fn scale_of<'a>(runs: impl Iterator<Item = &'a Run>) -> Scale {
    let values: Vec<f64> = runs
        .flat_map(|run| &run.seconds)
        .filter(|second| second.replies > 0)
        .flat_map(|second| LINES.map(|(_, _, value)| value(second)))
        .collect();
    Scale::logarithmic(values.into_iter())
}
