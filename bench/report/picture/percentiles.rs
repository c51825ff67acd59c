//! Latency by percentile, the way HdrHistogram draws it: each decade to the right is ten times rarer.

use hdrhistogram::Histogram;

use super::axis::Scale;
use super::frame::{Canvas, Form, GAP, Key, LINE, Panel, margin_for};
use super::svg::{Drawing, Ink, Pen};
use crate::lab::figure::latency;
use crate::load::run::ratio;

/// Points of a line between one decade and the next.
const POINTS_OF_A_DECADE: u32 = 60;
/// Percentiles with a mark on the line.
const MARKED: [(f64, &str); 5] = [(0.5, "p50"), (0.9, "p90"), (0.99, "p99"), (0.999, "p99.9"), (0.9999, "p99.99")];

/// Latencies of one subject, ns.
#[derive(Debug)]
pub struct Latencies {
    /// Which colour and mark.
    pub number: usize,
    /// Of the subject.
    pub name: String,
    /// From the intended moment.
    pub from_intended: Histogram<u64>,
    /// From the actual send, if that is another story.
    pub from_send: Option<Histogram<u64>>,
}

/// The picture; no histogram may be empty.
pub fn draw(form: Form, title: &str, all: &[Latencies]) -> Drawing {
    let mut canvas = Canvas::new(form, title);
    canvas.legend(&legend(all));
    canvas.note("latency");
    let histograms = || all.iter().flat_map(|one| std::iter::once(&one.from_intended).chain(&one.from_send));
    let extremes = histograms().flat_map(|histogram| [histogram.min(), histogram.max()]).map(|ns| ratio(ns, 1000));
    let y = Scale::logarithmic(extremes);
    let decades = histograms().map(|histogram| rarity(histogram.len())).fold(1.0, f64::max);
    let y_ticks: Vec<_> = y.ticks(6).into_iter().map(|value| (value, latency_label(value))).collect();
    let left = margin_for(y_ticks.iter());
    let panel = Panel {
        left,
        top: canvas.y + GAP / 2.0,
        width: form.width() - left - GAP,
        height: form.panel_height(),
        x: Scale::linear(0.0, decades),
        y,
    };
    panel.x_axis(&mut canvas.drawing, &percentile_ticks(decades), false);
    panel.y_axis(&mut canvas.drawing, &y_ticks);
    for one in all {
        let pen = Pen::of(Ink::Series(one.number), 2.0);
        if let Some(histogram) = &one.from_send {
            line(&mut canvas.drawing, panel, histogram, Pen { dashes: "5 4", width: 1.6, ..pen });
        }
        line(&mut canvas.drawing, panel, &one.from_intended, pen);
        for (share, name) in
            MARKED.iter().filter(|(share, _)| -(1.0 - share).log10() <= rarity(one.from_intended.len()))
        {
            let value = ratio(one.from_intended.value_at_quantile(*share), 1000);
            let what = format!("{}, {name}: {}", one.name, latency(value));
            canvas.drawing.mark(panel.at(-(1.0 - share).log10(), value), one.number, false, &what);
        }
    }
    canvas.y = panel.bottom() + LINE + 6.0;
    canvas.note("share of the messages that were at least as fast");
    canvas.finish()
}

fn legend(all: &[Latencies]) -> Vec<(Key, String)> {
    let pen = Pen::of(Ink::Series(0), 2.0);
    let mut entries: Vec<_> = all
        .iter()
        .map(|one| (Key::Line(Pen { ink: Ink::Series(one.number), ..pen }, Some(one.number)), one.name.clone()))
        .collect();
    if all.iter().any(|one| one.from_send.is_some()) {
        let faint = Pen { ink: Ink::Faint, ..pen };
        entries.push((Key::Line(faint, None), "from the intended send".to_owned()));
        entries
            .push((Key::Line(Pen { dashes: "5 4", ..faint }, None), "from the actual send: hides stalls".to_owned()));
    }
    entries
}

/// How far to the right a histogram of `count` messages says something: the rarest of them is one in `count`.
#[expect(clippy::cast_precision_loss, reason = "a position on paper")]
fn rarity(count: u64) -> f64 {
    (count.max(2) as f64).log10()
}

/// A round value without the zeros that [`latency`] would write.
pub fn latency_label(value: f64) -> String {
    let unit = crate::lab::figure::Unit::for_micros(value);
    let number = format!("{:.3}", value / unit.micros);
    format!("{} {}", number.trim_end_matches('0').trim_end_matches('.'), unit.name)
}

fn percentile_ticks(decades: f64) -> Vec<(f64, String)> {
    let mut ticks = vec![(0.5f64.log10().abs(), "50 %".to_owned())];
    for decade in 1..=20u8 {
        let x = f64::from(decade);
        if x > decades + 1e-9 {
            break;
        }
        let label = match decade {
            1 => "90 %".to_owned(),
            2 => "99 %".to_owned(),
            _ => format!("99.{} %", "9".repeat(usize::from(decade) - 2)),
        };
        ticks.push((x, label));
    }
    ticks
}

fn line(drawing: &mut Drawing, panel: Panel, histogram: &Histogram<u64>, pen: Pen) {
    let end = rarity(histogram.len());
    let mut points: Vec<(f64, f64)> = Vec::new();
    let step = 1.0 / f64::from(POINTS_OF_A_DECADE);
    for index in 0..20 * POINTS_OF_A_DECADE {
        let x = f64::from(index) * step;
        if x >= end {
            break;
        }
        points.push((x, ratio(histogram.value_at_quantile(1.0 - 10f64.powf(-x)), 1000)));
    }
    points.push((end, ratio(histogram.max(), 1000)));
    // Of points of one height only the first and the last are needed.
    let is_needed = |index: usize| {
        index == 0
            || index + 1 == points.len()
            || points[index - 1].1 != points[index].1
            || points[index + 1].1 != points[index].1
    };
    let places =
        (0..points.len()).filter(|index| is_needed(*index)).map(|index| panel.at(points[index].0, points[index].1));
    drawing.strokes(&[places.collect()], pen);
}
