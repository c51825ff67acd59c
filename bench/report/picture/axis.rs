//! Axes: from a value to its place, and the values that are written beside it.

/// From values to places between 0 and 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scale {
    low: f64,
    high: f64,
    is_log: bool,
}

impl Scale {
    /// From zero to a round number at or above `high`.
    pub fn from_zero(high: f64) -> Self {
        let high = if high > 0.0 { high } else { 1.0 };
        let step = round_step(high / 4.0);
        Self { low: 0.0, high: (high / step - 1e-9).ceil() * step, is_log: false }
    }

    /// All of `low` to `high`, as they are.
    pub fn linear(low: f64, high: f64) -> Self {
        Self { low, high: if high > low { high } else { low + 1.0 }, is_log: false }
    }

    /// Logarithmic, from a round number at or below the lowest value to one at or above the highest; what is not positive is left out.
    pub fn logarithmic(values: impl Iterator<Item = f64>) -> Self {
        let (mut low, mut high) = (f64::INFINITY, 0.0f64);
        for value in values.filter(|value| *value > 0.0 && value.is_finite()) {
            (low, high) = (low.min(value), high.max(value));
        }
        if low > high {
            (low, high) = (1.0, 10.0);
        }
        let down = rungs(low / 10.0, low).into_iter().next_back().unwrap_or(low);
        let up = rungs(high, high * 10.0).into_iter().next().unwrap_or(high);
        Self { low: down, high: if up > down { up } else { down * 10.0 }, is_log: true }
    }

    /// Logarithmic where the values are spread over more than a factor of 20, as they are otherwise; a little wider than they need.
    pub fn fitting(values: &[f64]) -> Self {
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if low > high {
            return Self::linear(0.0, 1.0);
        }
        if low > 0.0 && high > 20.0 * low {
            return Self { low: low / 1.15, high: high * 1.15, is_log: true };
        }
        let margin = if high > low { (high - low) * 0.05 } else { high.abs().max(1.0) * 0.5 };
        let floor = if low >= 0.0 { 0.0 } else { f64::NEG_INFINITY };
        Self::linear((low - margin).max(floor), high + margin)
    }

    /// 0 at the low end, 1 at the high end; what lies beyond is at the end.
    pub fn place(&self, value: f64) -> f64 {
        let place = if self.is_log {
            (value.max(self.low) / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        place.clamp(0.0, 1.0)
    }

    /// Round values, about `count` of them, low to high.
    #[expect(clippy::cast_precision_loss, reason = "a few ticks")]
    pub fn ticks(&self, count: usize) -> Vec<f64> {
        if self.is_log && self.high / self.low > 6.0 {
            let all = rungs(self.low, self.high);
            let decades: Vec<f64> = all.iter().copied().filter(|value| is_power_of_ten(*value)).collect();
            return if all.len() <= count + 2 || decades.len() < 3 { all } else { decades };
        }
        let step = round_step((self.high - self.low) / count.max(1) as f64);
        let first = (self.low / step - 1e-9).ceil();
        (0..100u8)
            .map(|index| (first + f64::from(index)) * step)
            .take_while(|value| *value <= self.high + step * 1e-6)
            .collect()
    }
}

/// 1, 2 and 5 times the powers of ten from `low` to `high`.
fn rungs(low: f64, high: f64) -> Vec<f64> {
    let mut found = Vec::new();
    let mut decade = 10f64.powf(low.log10().floor());
    while decade <= high * 1.000_001 {
        found.extend(
            [1.0, 2.0, 5.0]
                .into_iter()
                .map(|rung| rung * decade)
                .filter(|value| (low * 0.999_999..=high * 1.000_001).contains(value)),
        );
        decade *= 10.0;
    }
    found
}

fn is_power_of_ten(value: f64) -> bool {
    let power = value.log10();
    (power - power.round()).abs() < 1e-6
}

/// The smallest of 1, 2 and 5 times a power of ten that is not below `least`.
fn round_step(least: f64) -> f64 {
    let decade = 10f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|rung| rung * decade).find(|step| *step >= least * 0.999_999).unwrap_or(least)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(scale: Scale, count: usize, expected: &[f64]) {
        let ticks = scale.ticks(count);
        let is_equal = ticks.len() == expected.len()
            && ticks.iter().zip(expected).all(|(tick, expected)| (tick - expected).abs() <= expected * 1e-6);
        assert!(is_equal, "{ticks:?} instead of {expected:?} on {scale:?}");
    }

    #[test]
    fn ticks_are_round() {
        check(Scale::from_zero(96_900.0), 5, &[0.0, 20_000.0, 40_000.0, 60_000.0, 80_000.0, 100_000.0]);
        check(Scale::from_zero(0.0), 5, &[0.0, 0.2, 0.4, 0.6, 0.8, 1.0]);
        check(Scale::logarithmic([130.0, 4_000.0].into_iter()), 6, &[100.0, 200.0, 500.0, 1_000.0, 2_000.0, 5_000.0]);
        check(Scale::logarithmic([130.0, 4e6].into_iter()), 6, &[100.0, 1e3, 1e4, 1e5, 1e6]);
        check(Scale::linear(0.0, 22.0), 5, &[0.0, 5.0, 10.0, 15.0, 20.0]);
    }

    #[test]
    fn odd_values_have_a_place() {
        let scale = Scale::logarithmic(std::iter::empty());
        assert_eq!((scale.place(0.0), scale.place(f64::INFINITY)), (0.0, 1.0));
        let scale = Scale::logarithmic([5.0, 5.0].into_iter());
        assert!((0.0..=1.0).contains(&scale.place(5.0)) && scale.ticks(4).len() > 1, "{scale:?}");
        assert!(Scale::fitting(&[7.0]).place(7.0) > 0.2);
        assert!(Scale::fitting(&[]).place(0.5) == 0.5);
        assert!(Scale::fitting(&[100.0, 100_000.0]).is_log);
    }
}
