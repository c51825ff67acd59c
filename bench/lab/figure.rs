//! The figures of a run that are compared, and how numbers are written for people.

use serde::{Deserialize, Serialize};

use crate::load::report::{Percentiles, Report};

/// A figure of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Figure {
    /// Messages stored as promised, a second. More is better; of all others less is.
    Rate,
    /// Latency from the intended moment, median.
    P50,
    /// The same, 90 %.
    P90,
    /// The same, 99 %.
    P99,
    /// The same, 99.9 %.
    P99_9,
    /// The same, 99.99 %.
    P99_99,
    /// The slowest.
    Max,
}

impl Figure {
    /// All, as a table has them.
    pub const ALL: [Self; 7] = [Self::Rate, Self::P50, Self::P90, Self::P99, Self::P99_9, Self::P99_99, Self::Max];
    /// Those that a comparison is about, as [`super::results::Ratio`] has them.
    pub const COMPARED: [Self; 4] = [Self::Rate, Self::P50, Self::P99, Self::P99_9];

    /// As in [`super::results::Ratio::figure`].
    pub fn name(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::P50 => "p50",
            Self::P90 => "p90",
            Self::P99 => "p99",
            Self::P99_9 => "p99.9",
            Self::P99_99 => "p99.99",
            Self::Max => "max",
        }
    }

    /// Its value in a run: messages a second, or µs.
    pub fn of(self, report: &Report) -> f64 {
        if self == Self::Rate { report.rate_per_s } else { self.of_latency(&report.latency_us) }
    }

    /// Its value among latencies, µs; 0 for [`Figure::Rate`], which is none.
    pub fn of_latency(self, latency: &Percentiles) -> f64 {
        match self {
            Self::Rate => 0.0,
            Self::P50 => latency.p50,
            Self::P90 => latency.p90,
            Self::P99 => latency.p99,
            Self::P99_9 => latency.p99_9,
            Self::P99_99 => latency.p99_99,
            Self::Max => latency.max,
        }
    }

    /// A value of it with its unit: `41.2 µs`, `10,000 messages/s`.
    pub fn written(self, value: f64) -> String {
        if self == Self::Rate { format!("{} messages/s", thousands(value)) } else { latency(value) }
    }
}

/// A whole number with separators: `1,234,567`.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts and rates, far below 2^63")]
pub fn thousands(value: f64) -> String {
    let digits = (value.abs().round() as u64).to_string();
    let mut text = String::new();
    if value.round() < 0.0 {
        text.push('-');
    }
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Three significant digits and more only before the point: `0.41`, `4.12`, `41.2`, `412`, `4,123`.
pub fn three_digits(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        small if small < 0.9995 => format!("{value:.3}").trim_end_matches('0').trim_end_matches('.').to_owned(),
        small if small < 9.995 => format!("{value:.2}"),
        small if small < 99.95 => format!("{value:.1}"),
        _ => thousands(value),
    }
}

/// A unit of time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Unit {
    /// `µs`.
    pub name: &'static str,
    /// Microseconds of one.
    pub micros: f64,
}

impl Unit {
    /// The one in which `micros` reads best.
    pub fn for_micros(micros: f64) -> Self {
        match micros.abs() {
            small if small < 999.5 => Self { name: "µs", micros: 1.0 },
            small if small < 999_500.0 => Self { name: "ms", micros: 1e3 },
            _ => Self { name: "s", micros: 1e6 },
        }
    }
}

/// Microseconds in the unit in which they read best: `41.2 µs`, `3.10 ms`, `1.02 s`.
pub fn latency(micros: f64) -> String {
    let unit = Unit::for_micros(micros);
    format!("{} {}", three_digits(micros / unit.micros), unit.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        for (value, expected) in
            [(0.0, "0"), (999.4, "999"), (1000.0, "1,000"), (-1_234_567.0, "-1,234,567"), (-0.2, "0")]
        {
            assert_eq!(thousands(value), expected);
        }
        for (value, expected) in [(0.04, "0.04"), (0.99, "0.99"), (4.119, "4.12"), (41.17, "41.2"), (4117.0, "4,117")] {
            assert_eq!(three_digits(value), expected);
        }
        for (value, expected) in
            [(0.0, "0 µs"), (41.24, "41.2 µs"), (999.7, "1.00 ms"), (30_000.0, "30.0 ms"), (2e6, "2.00 s")]
        {
            assert_eq!(latency(value), expected);
        }
    }
}
