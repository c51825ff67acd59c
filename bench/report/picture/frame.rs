//! What pictures have in common: two widths, a heading, a legend that hides nothing, and panels with axes.

use super::axis::Scale;
use super::svg::{Anchor, Drawing, Ink, Pen, TEXT, width_of, wrap};

/// Space between one thing and the next, px.
pub const GAP: f64 = 14.0;
/// From one line of text to the next, px.
pub const LINE: f64 = 18.0;

/// For whom a picture is drawn: text is as large in both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A page or a README.
    Wide,
    /// A phone.
    Narrow,
}

impl Form {
    /// Width, px.
    pub fn width(self) -> f64 {
        match self {
            Self::Wide => 860.0,
            Self::Narrow => 364.0,
        }
    }

    /// Height of a panel with lines, px.
    pub fn panel_height(self) -> f64 {
        match self {
            Self::Wide => 320.0,
            Self::Narrow => 240.0,
        }
    }
}

/// What stands before a name in a legend.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Key {
    /// A line, and the mark of series `n` on it if there is one.
    Line(Pen, Option<usize>),
    /// A hollow mark of a series.
    Hollow(usize),
}

/// A drawing from its top downwards.
#[derive(Debug)]
pub struct Canvas {
    /// What is drawn on.
    pub drawing: Drawing,
    /// Lower edge of what is drawn so far.
    pub y: f64,
}

impl Canvas {
    /// With its heading, in as many lines as it takes.
    pub fn new(form: Form, title: &str) -> Self {
        let mut drawing = Drawing::new(form.width(), 0.0);
        let mut y = GAP / 2.0;
        // The heading's letters are larger than those that `width_of` knows, and bold.
        for line in wrap(title, (form.width() - 2.0 * GAP) / 1.25) {
            drawing.heading(GAP, y + TEXT + 3.0, &line);
            y += LINE + 3.0;
        }
        Self { drawing, y: y + 4.0 }
    }

    /// Lines of faint text.
    pub fn note(&mut self, text: &str) {
        for line in wrap(text, self.drawing.width - 2.0 * GAP) {
            self.drawing.text(GAP, self.y + TEXT, Anchor::Start, Ink::Faint, &line);
            self.y += LINE;
        }
    }

    /// Names and their keys side by side, in as many rows as they take.
    pub fn legend(&mut self, entries: &[(Key, String)]) {
        let (mut x, width) = (GAP, self.drawing.width);
        for (key, name) in entries {
            let lines = wrap(name, width - 2.0 * GAP - 36.0);
            let needed = 36.0 + lines.iter().map(|line| width_of(line)).fold(0.0, f64::max);
            if x > GAP && x + needed > width - GAP {
                (x, self.y) = (GAP, self.y + LINE);
            }
            let middle = (x + 14.0, self.y + TEXT - 4.5);
            match key {
                Key::Line(pen, mark) => {
                    self.drawing.line((x, middle.1), (x + 28.0, middle.1), *pen);
                    mark.iter().for_each(|number| self.drawing.mark(middle, *number, false, ""));
                }
                Key::Hollow(number) => self.drawing.mark(middle, *number, true, ""),
            }
            for (index, line) in lines.iter().enumerate() {
                self.y += if index == 0 { 0.0 } else { LINE };
                self.drawing.text(x + 36.0, self.y + TEXT, Anchor::Start, Ink::Ink, line);
            }
            x += needed + 1.5 * GAP;
        }
        self.y += LINE + 4.0;
    }

    /// The drawing, as high as what is on it.
    pub fn finish(mut self) -> Drawing {
        self.drawing.height = (self.y + GAP / 2.0).ceil();
        self.drawing
    }
}

/// A rectangle with two axes.
#[derive(Debug, Clone, Copy)]
pub struct Panel {
    /// Left edge of what is plotted, px.
    pub left: f64,
    /// Upper edge, px.
    pub top: f64,
    /// Of what is plotted, px.
    pub width: f64,
    /// Of what is plotted, px.
    pub height: f64,
    /// To the right.
    pub x: Scale,
    /// Upwards.
    pub y: Scale,
}

impl Panel {
    /// Where a point lies.
    pub fn at(&self, x: f64, y: f64) -> (f64, f64) {
        (self.across(x), self.up(y))
    }

    /// Where a value of the x axis lies.
    pub fn across(&self, x: f64) -> f64 {
        self.left + self.width * self.x.place(x)
    }

    /// Where a value of the y axis lies.
    pub fn up(&self, y: f64) -> f64 {
        self.top + self.height * (1.0 - self.y.place(y))
    }

    /// The lower edge.
    pub fn bottom(&self) -> f64 {
        self.top + self.height
    }

    /// Lines and numbers of the y axis.
    pub fn y_axis(&self, drawing: &mut Drawing, ticks: &[(f64, String)]) {
        for (value, label) in ticks {
            let y = self.up(*value);
            drawing.line((self.left, y), (self.left + self.width, y), Pen::of(Ink::Grid, 1.0));
            drawing.text(self.left - 6.0, y + TEXT * 0.35, Anchor::End, Ink::Faint, label);
        }
    }

    /// Lines of the x axis; numbers where they do not touch, unless `is_bare`.
    pub fn x_axis(&self, drawing: &mut Drawing, ticks: &[(f64, String)], is_bare: bool) {
        let mut free = 0.0;
        for (value, label) in ticks {
            let x = self.across(*value);
            drawing.line((x, self.top), (x, self.bottom()), Pen::of(Ink::Grid, 1.0));
            let half = width_of(label) / 2.0;
            // A number at the edge moves inwards rather than over it.
            let middle = x.min(drawing.width - 2.0 - half);
            if is_bare || middle - half < free {
                continue;
            }
            drawing.text(middle, self.bottom() + LINE, Anchor::Middle, Ink::Faint, label);
            free = middle + half + 6.0;
        }
        drawing.line((self.left, self.bottom()), (self.left + self.width, self.bottom()), Pen::of(Ink::Faint, 1.0));
    }
}

/// Width that the numbers of y axes need, px.
pub fn margin_for<'a>(ticks: impl Iterator<Item = &'a (f64, String)>) -> f64 {
    ticks.map(|(_, label)| width_of(label)).fold(20.0, f64::max) + GAP
}

/// Heights for labels that want to be at `wanted` and must be `distance` apart, between `low` and `high` (downwards); in the order given.
pub fn spread_labels(wanted: &[f64], distance: f64, low: f64, high: f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by(|a, b| wanted[*a].total_cmp(&wanted[*b]));
    let mut placed = vec![0.0; wanted.len()];
    let mut free = low;
    for index in &order {
        placed[*index] = wanted[*index].max(free);
        free = placed[*index] + distance;
    }
    let mut free = high;
    for index in order.iter().rev() {
        placed[*index] = placed[*index].min(free);
        free = placed[*index] - distance;
    }
    placed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_do_not_touch_and_stay_inside() {
        for wanted in [vec![10.0, 11.0, 12.0], vec![98.0, 99.0, 99.5], vec![50.0, 0.0, 100.0], vec![]] {
            let placed = spread_labels(&wanted, 15.0, 0.0, 100.0);
            let mut sorted = placed.clone();
            sorted.sort_by(f64::total_cmp);
            assert!(sorted.windows(2).all(|pair| pair[1] - pair[0] >= 14.99), "{placed:?}");
            assert!(placed.iter().all(|y| (0.0..=100.0).contains(y)), "{placed:?}");
        }
    }

    #[test]
    fn a_long_legend_takes_rows_inside_the_picture() {
        for form in [Form::Wide, Form::Narrow] {
            let mut canvas = Canvas::new(form, "title");
            let before = canvas.y;
            let pen = Pen::of(Ink::Series(0), 2.0);
            let name = "a subject with a name as long as people like to give them, and longer".to_owned();
            canvas.legend(&[(Key::Line(pen, Some(0)), name.clone()), (Key::Hollow(1), name)]);
            assert!(canvas.y - before >= 2.0 * LINE, "{form:?}");
        }
    }
}
