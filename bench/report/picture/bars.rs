//! Subjects side by side: bars from zero, each round as a dot, and the 95 % interval of the median.

use super::axis::Scale;
use super::frame::{Canvas, Form, GAP, LINE, Panel};
use super::svg::{Anchor, Drawing, Ink, Pen, TEXT, width_of, wrap};
use crate::lab::figure::{Figure, Unit, thousands};
use crate::lab::statistics::{Pairing, level, ratio};

/// Height of a bar, px.
const BAR: f64 = 16.0;

/// A figure of all subjects.
#[derive(Debug)]
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub struct Group {
    pub figure: Figure,
    /// What it is of, for the heading: `in closed loop`.
    pub note: String,
    /// The first is the base.
    pub bars: Vec<Bar>,
}

/// A figure of one subject.
#[derive(Debug)]
pub struct Bar {
    /// Which colour.
    pub number: usize,
    /// Of the subject.
    pub name: String,
    /// A round each; at least one.
    pub values: Vec<f64>,
}

/// The picture: two groups in a row on a page, one on a phone.
pub fn draw(form: Form, title: &str, groups: &[Group]) -> Drawing {
    let mut canvas = Canvas::new(form, title);
    canvas.note("bar: median; circles: rounds; whiskers: 95 % interval of the median, by bootstrap");
    canvas.y += GAP / 2.0;
    let columns = if form == Form::Wide { 2 } else { 1 };
    for row in groups.chunks(columns) {
        let width = (form.width() - GAP) / if columns == 2 { 2.0 } else { 1.0 } - GAP;
        let mut bottom = canvas.y;
        let mut left = GAP;
        for group in row {
            bottom = f64::max(bottom, draw_group(&mut canvas.drawing, group, left, canvas.y, width));
            left += width + GAP;
        }
        canvas.y = bottom + GAP;
    }
    canvas.finish()
}

/// Draws it from `top` on and says where it ends.
fn draw_group(drawing: &mut Drawing, group: &Group, left: f64, top: f64, width: f64) -> f64 {
    let levels: Vec<_> = group.bars.iter().map(|bar| level(&bar.values).expect("at least one round")).collect();
    let highs = group.bars.iter().zip(&levels).flat_map(|(bar, level)| {
        bar.values.iter().copied().chain(level.interval.map(|interval| interval.high)).collect::<Vec<_>>()
    });
    let high = highs.fold(0.0, f64::max);
    let unit = Unit::for_micros(high);
    let (scale, unit_name) = if group.figure == Figure::Rate { (1.0, "messages/s") } else { (unit.micros, unit.name) };
    let x = Scale::from_zero(high / scale);
    let mut y = top;
    let what = if group.figure == Figure::Rate {
        "rate".to_owned()
    } else {
        format!("{} from the intended send", group.figure.name())
    };
    for line in wrap(format!("{what}, {unit_name} {}", group.note).trim(), width) {
        drawing.text(left, y + TEXT, Anchor::Start, Ink::Faint, &line);
        y += LINE;
    }
    let first = y;
    // Texts stand above their bars, so that long names have room; the grid is drawn below all of them first.
    let texts: Vec<_> =
        group.bars.iter().zip(&levels).map(|(bar, level)| caption(group, bar, level.value, width)).collect();
    let heights = texts.iter().map(|lines| lines.len() as f64 * LINE + BAR + 8.0);
    let panel =
        Panel { left, top: first, width: width - 6.0, height: heights.sum::<f64>(), x, y: Scale::linear(0.0, 1.0) };
    let tick_label = |value: f64| {
        if x.ticks(4).iter().all(|tick| tick.fract() == 0.0) { thousands(value) } else { format!("{value:.1}") }
    };
    let ticks: Vec<_> = x.ticks(4).into_iter().map(|value| (value, tick_label(value))).collect();
    panel.x_axis(drawing, &ticks, false);
    for ((bar, level), lines) in group.bars.iter().zip(&levels).zip(&texts) {
        for line in lines {
            let back = width_of(line).min(width);
            // Grid lines do not run through letters.
            drawing.area((left, y), (back, LINE), Ink::Ground, "");
            drawing.text(left, y + TEXT, Anchor::Start, Ink::Ink, line);
            y += LINE;
        }
        let place = |value: f64| panel.across(value / scale);
        drawing.area((left, y), (place(level.value) - left, BAR), Ink::Series(bar.number), &lines.join(" "));
        // Whiskers above, rounds below: neither hides the other.
        let (middle, lower) = (y + 5.0, y + BAR - 4.0);
        if let Some(interval) = level.interval {
            let (low, high) = (place(interval.low), place(interval.high));
            // Light below dark: the line shows on the bar and beside it.
            drawing.line((low, middle), (high, middle), Pen::of(Ink::Ground, 4.0));
            drawing.line((low, middle), (high, middle), Pen::of(Ink::Ink, 1.5));
            for end in [low, high] {
                drawing.line((end, middle - 3.5), (end, middle + 3.5), Pen::of(Ink::Ink, 1.5));
            }
        }
        for (round, value) in bar.values.iter().enumerate() {
            let what = format!("round {}: {}", round + 1, group.figure.written(*value));
            drawing.dot((place(*value), lower), &what);
        }
        y += BAR + 8.0;
    }
    panel.bottom() + LINE + 4.0
}

/// `sync: 96,900 messages/s, -3.1 % (-3.9 to -2.3)`, in lines that fit.
fn caption(group: &Group, bar: &Bar, value: f64, width: f64) -> Vec<String> {
    let written = group.figure.written(value);
    let base = &group.bars[0];
    let change = (!std::ptr::eq(base, bar)).then(|| ratio(&bar.values, &base.values, Pairing::ByRound)).flatten();
    let change = change.map(|change| match change.interval {
        Some(interval) => format!(
            ", {:+.1}\u{a0}%\u{a0}({:+.1}\u{a0}to\u{a0}{:+.1})",
            (change.value - 1.0) * 100.0,
            (interval.low - 1.0) * 100.0,
            (interval.high - 1.0) * 100.0
        ),
        None => format!(", {:+.1}\u{a0}%, one round", (change.value - 1.0) * 100.0),
    });
    wrap(&format!("{}: {written}{}", bar.name, change.unwrap_or_default()), width)
}
