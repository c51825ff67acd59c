//! A drawing: SVG elements with the few shapes that pictures here are made of.
//!
//! Drawn by hand and not by a plotting library, since a report needs three things that those do not give: pictures that follow the
//! reader's light or dark theme, a narrow form with text as large as in the wide one. Each shape has its light
//! colour as an attribute, so that every viewer shows it, and a class, by which [`style`] gives it the dark one.

use std::fmt::Write as _;

/// Colours of subjects and percentiles, light and dark: Okabe and Ito's, the weak ones darkened (lightened) until they stand out from the
/// ground. They differ in lightness too.
pub const SERIES: [(&str, &str); 6] = [
    ("#0072b2", "#56b4e9"),
    ("#d55e00", "#ff9a57"),
    ("#00805e", "#3fd0a2"),
    ("#a3407a", "#e79ac4"),
    ("#7a5c00", "#e6c34e"),
    ("#4d4d4d", "#c4c4c4"),
];

/// Light and dark of what is no series, by class.
const INKS: [(&str, &str, &str); 6] = [
    ("ground", "#ffffff", "#15181d"),
    ("ink", "#1c1f23", "#e9ebee"),
    ("faint", "#5b6168", "#a7aeb6"),
    ("grid", "#e2e5e9", "#2d333b"),
    ("shade", "#f1f3f5", "#1f242b"),
    ("alarm", "#b00020", "#ff7b86"),
];

/// Fonts of pictures; the first is the one inside of PNG files.
pub const FONTS: &str = "Noto Sans, system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif";

/// Size of text, px.
pub const TEXT: f64 = 13.0;

/// The dark theme of all drawings, for a `style` element.
pub fn style() -> String {
    let mut rules = String::new();
    for (name, _, dark) in INKS {
        let _ = write!(rules, ".f-{name}{{fill:{dark}}}.s-{name}{{stroke:{dark}}}");
    }
    for (number, (_, dark)) in SERIES.iter().enumerate() {
        let _ = write!(rules, ".f-{number}{{fill:{dark}}}.s-{number}{{stroke:{dark}}}");
    }
    format!("@media (prefers-color-scheme:dark){{{rules}}}")
}

/// A colour by its meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ink {
    /// What a drawing lies on.
    Ground,
    /// Text and axes.
    Ink,
    /// Text that helps.
    Faint,
    /// Lines of a grid.
    Grid,
    /// Areas that are not measured.
    Shade,
    /// A fault.
    Alarm,
    /// A series; those beyond the sixth begin again.
    Series(usize),
}

impl Ink {
    /// Its class without the `f-` or `s-`, and its light colour.
    fn parts(self) -> (String, &'static str) {
        let named = |index: usize| (INKS[index].0.to_owned(), INKS[index].1);
        match self {
            Self::Ground => named(0),
            Self::Ink => named(1),
            Self::Faint => named(2),
            Self::Grid => named(3),
            Self::Shade => named(4),
            Self::Alarm => named(5),
            Self::Series(number) => {
                let number = number % SERIES.len();
                (number.to_string(), SERIES[number].0)
            }
        }
    }

    fn fill(self) -> String {
        let (class, colour) = self.parts();
        format!("class=\"f-{class}\" fill=\"{colour}\"")
    }

    fn stroke(self) -> String {
        let (class, colour) = self.parts();
        format!("class=\"s-{class}\" stroke=\"{colour}\"")
    }
}

/// Where a text is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub enum Anchor {
    /// At its left end.
    Start,
    Middle,
    /// At its right end.
    End,
}

/// How a line is drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pen {
    /// Colour.
    pub ink: Ink,
    /// Width, px.
    pub width: f64,
    /// Lengths of dashes and gaps; empty for a whole line.
    pub dashes: &'static str,
}

impl Pen {
    /// A whole line.
    pub fn of(ink: Ink, width: f64) -> Self {
        Self { ink, width, dashes: "" }
    }

    fn attributes(self) -> String {
        let dashes =
            if self.dashes.is_empty() { String::new() } else { format!(" stroke-dasharray=\"{}\"", self.dashes) };
        format!("{} stroke-width=\"{}\"{dashes} fill=\"none\"", self.ink.stroke(), coordinate(self.width))
    }
}

/// A drawing under way. The origin is at the upper left; lengths are px.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub struct Drawing {
    pub width: f64,
    pub height: f64,
    body: String,
}

impl Drawing {
    /// Nothing yet.
    pub fn new(width: f64, height: f64) -> Self {
        Self { width, height, body: String::new() }
    }

    /// A line of text; `y` is its base line.
    pub fn text(&mut self, x: f64, y: f64, anchor: Anchor, ink: Ink, text: &str) {
        self.sized_text(x, y, anchor, ink, TEXT, "", text);
    }

    /// A line of bold text, larger by two px.
    pub fn heading(&mut self, x: f64, y: f64, text: &str) {
        self.sized_text(x, y, Anchor::Start, Ink::Ink, TEXT + 2.0, " font-weight=\"700\"", text);
    }

    #[expect(clippy::too_many_arguments, reason = "what a text has")]
    fn sized_text(&mut self, x: f64, y: f64, anchor: Anchor, ink: Ink, size: f64, more: &str, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "",
            Anchor::Middle => " text-anchor=\"middle\"",
            Anchor::End => " text-anchor=\"end\"",
        };
        let (x, y, fill) = (coordinate(x), coordinate(y), ink.fill());
        let text = escape(text);
        let _ =
            writeln!(self.body, "<text x=\"{x}\" y=\"{y}\"{anchor} font-size=\"{size}\"{more} {fill}>{text}</text>");
    }

    /// A straight line.
    pub fn line(&mut self, from: (f64, f64), to: (f64, f64), pen: Pen) {
        let [x1, y1, x2, y2] = [from.0, from.1, to.0, to.1].map(coordinate);
        let _ = writeln!(self.body, "<line x1=\"{x1}\" y1=\"{y1}\" x2=\"{x2}\" y2=\"{y2}\" {}/>", pen.attributes());
    }

    /// Lines from point to point, each list a stroke of its own: gaps stay gaps. A lone point is a dot.
    pub fn strokes(&mut self, strokes: &[Vec<(f64, f64)>], pen: Pen) {
        let mut path = String::new();
        for stroke in strokes {
            for (index, (x, y)) in stroke.iter().enumerate() {
                let _ = write!(path, "{}{} {}", if index == 0 { 'M' } else { 'L' }, coordinate(*x), coordinate(*y));
            }
            if stroke.len() == 1 {
                path.push_str("h0.1");
            }
        }
        if !path.is_empty() {
            let caps = "stroke-linejoin=\"round\" stroke-linecap=\"round\"";
            let _ = writeln!(self.body, "<path d=\"{path}\" {caps} {}/>", pen.attributes());
        }
    }

    /// A filled rectangle; `what` is said when a pointer rests on it.
    pub fn area(&mut self, (x, y): (f64, f64), (width, height): (f64, f64), ink: Ink, what: &str) {
        let [x, y, width, height] = [x, y, width.max(0.0), height.max(0.0)].map(coordinate);
        let fill = ink.fill();
        let shape = format!("<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" {fill}");
        self.closed(&shape, what);
    }

    /// A mark of series `number`: shapes differ, so that colours need not be told apart. `is_hollow` where a figure is in doubt.
    pub fn mark(&mut self, (x, y): (f64, f64), number: usize, is_hollow: bool, what: &str) {
        let r = 4.0;
        let shape = match number % 4 {
            0 => format!("<circle cx=\"{}\" cy=\"{}\" r=\"{r}\"", coordinate(x), coordinate(y)),
            1 => {
                let r = r - 0.5;
                let side = coordinate(2.0 * r);
                let (x, y) = (coordinate(x - r), coordinate(y - r));
                format!("<rect x=\"{x}\" y=\"{y}\" width=\"{side}\" height=\"{side}\"")
            }
            2 => polygon(&[(x, y - r - 1.0), (x + r + 0.5, y + r - 0.5), (x - r - 0.5, y + r - 0.5)]),
            _ => polygon(&[(x, y - r - 1.0), (x + r + 1.0, y), (x, y + r + 1.0), (x - r - 1.0, y)]),
        };
        let ink = Ink::Series(number);
        let (class, colour) = ink.parts();
        let paint = if is_hollow {
            let (ground_class, ground) = Ink::Ground.parts();
            format!("class=\"s-{class} f-{ground_class}\" stroke=\"{colour}\" stroke-width=\"2\" fill=\"{ground}\"")
        } else {
            ink.fill()
        };
        self.closed(&format!("{shape} {paint}"), what);
    }

    /// A small round of a set of rounds.
    pub fn dot(&mut self, (x, y): (f64, f64), what: &str) {
        let (x, y) = (coordinate(x), coordinate(y));
        let (class, colour) = Ink::Ink.parts();
        let (ground_class, ground) = Ink::Ground.parts();
        let paint = format!("class=\"s-{class} f-{ground_class}\" stroke=\"{colour}\" fill=\"{ground}\"");
        self.closed(&format!("<circle cx=\"{x}\" cy=\"{y}\" r=\"2.2\" stroke-width=\"1.1\" {paint}"), what);
    }

    fn closed(&mut self, shape: &str, what: &str) {
        let _ = match what {
            "" => writeln!(self.body, "{shape}/>"),
            what => writeln!(self.body, "{shape}><title>{}</title></{}>", escape(what), name_of(shape)),
        };
    }

    /// As an element of an HTML page that has [`style`] once; `class` tells the page when to show it.
    pub fn inline(&self, class: &str, title: &str) -> String {
        self.element(&format!(" class=\"{class}\""), title, "")
    }

    /// As a file of its own. PNG files have no theme: theirs is the light one, so `is_themed` is false for them.
    pub fn file(&self, title: &str, is_themed: bool) -> String {
        let style = if is_themed { format!("<style>{}</style>\n", style()) } else { String::new() };
        self.element(" xmlns=\"http://www.w3.org/2000/svg\"", title, &style)
    }

    fn element(&self, attributes: &str, title: &str, style: &str) -> String {
        let (width, height, title) = (coordinate(self.width), coordinate(self.height), escape(title));
        format!(
            "<svg{attributes} viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" role=\"img\" \
             aria-label=\"{title}\" font-family=\"{FONTS}\">\n{style}<rect width=\"{width}\" height=\"{height}\" {}/>\n\
             {}</svg>\n",
            Ink::Ground.fill(),
            self.body
        )
    }
}

fn name_of(shape: &str) -> &str {
    shape.trim_start_matches('<').split(' ').next().unwrap_or_default()
}

fn polygon(points: &[(f64, f64)]) -> String {
    let points: Vec<_> = points.iter().map(|(x, y)| format!("{},{}", coordinate(*x), coordinate(*y))).collect();
    format!("<polygon points=\"{}\"", points.join(" "))
}

/// A tenth of a px is enough for any eye, and keeps files small.
fn coordinate(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}

/// Text for XML and HTML, in elements and in attributes. What XML cannot hold at all becomes U+FFFD.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\t' | '\n' | '\r' => escaped.push(letter),
            '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            _ if letter.is_control() => escaped.push('\u{fffd}'),
            _ => escaped.push(letter),
        }
    }
    escaped
}

/// Width of a line of text at [`TEXT`] px in any of [`FONTS`], px: rather too wide than too narrow.
pub fn width_of(text: &str) -> f64 {
    let width = |letter: char| match letter {
        ' ' | '\u{a0}' | '.' | ',' | ':' | ';' | '\'' | 'i' | 'j' | 'l' => 0.29,
        '(' | ')' | '-' | '/' | '|' | 'I' | 'f' | 't' => 0.38,
        'c' | 'k' | 'r' | 's' | 'v' | 'x' | 'y' | 'z' => 0.53,
        'm' | 'w' | 'M' | 'W' | '%' | '@' => 0.93,
        'A'..='Z' => 0.70,
        letter if letter as u32 >= 0x1100 => 1.05,
        _ => 0.60,
    };
    text.chars().map(width).sum::<f64>() * TEXT
}

/// Breaks a text into lines of at most `width` px, at spaces but not at U+00A0; a word that is longer is cut.
pub fn wrap(text: &str, width: f64) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut line = String::new();
    for word in text.split_ascii_whitespace() {
        let longer = if line.is_empty() { word.to_owned() } else { format!("{line} {word}") };
        if width_of(&longer) <= width {
            line = longer;
            continue;
        }
        if !line.is_empty() {
            lines.push(std::mem::take(&mut line));
        }
        for letter in word.chars() {
            if width_of(&line) + width_of(letter.encode_utf8(&mut [0; 4])) > width && !line.is_empty() {
                lines.push(std::mem::take(&mut line));
            }
            line.push(letter);
        }
    }
    lines.extend((!line.is_empty()).then_some(line));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_be_markup_is_text() {
        assert_eq!(escape("<a href=\"x\">&'\u{1}"), "&lt;a href=&quot;x&quot;&gt;&amp;&#39;\u{fffd}");
    }

    #[test]
    fn a_drawing_is_xml() {
        let mut drawing = Drawing::new(100.0, 50.5);
        drawing.text(1.0, 2.25, Anchor::Middle, Ink::Ink, "a < b & \"c\"");
        drawing.mark((10.0, 10.0), 2, true, "<what>");
        drawing.strokes(&[vec![(0.0, 0.0), (1.0, 1.0)], vec![(3.0, 3.0)]], Pen::of(Ink::Series(7), 2.0));
        let text = drawing.file("it's \"x\"", true);
        let document = roxmltree::Document::parse(&text).expect("well-formed");
        assert_eq!(document.root_element().attribute("aria-label"), Some("it's \"x\""));
        assert!(text.contains("M0 0L1 1M3 3h0.1"), "{text}");
    }

    #[test]
    fn text_is_wrapped_and_long_words_are_cut() {
        let lines = wrap("one two three aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 90.0);
        assert!(lines.len() > 3 && lines.iter().all(|line| width_of(line) <= 90.0), "{lines:?}");
        assert_eq!(lines.concat().replace(' ', ""), "onetwothreeaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
        assert!(wrap("", 90.0).is_empty());
    }
}
