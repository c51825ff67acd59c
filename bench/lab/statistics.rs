//! What the rounds of an experiment say, and how surely: medians, and 95 % intervals by bootstrap.
//!
//! Medians, because one round in which something else ran on the machine must not move a figure. Bootstrap, because rounds are few and their
//! figures, those of the tail above all, are not normally distributed: the rounds themselves are drawn again and again, and the interval is
//! where the result then lies 95 times of 100. Everything here is pure and seeded: the same file gives the same interval for everybody.

use std::ops::RangeInclusive;

/// Drawings of a bootstrap. The bounds are the 50th from either end.
const DRAWINGS: usize = 2000;
/// Share of the drawings below the interval, and above it.
const TAIL: f64 = 0.025;
/// Any number; a fixed one makes intervals repeatable.
const SEED: u64 = 0x7269_6e67_6d71;

/// A figure and where it lies with 95 %.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// From the medians.
    pub value: f64,
    /// None if one of the sets is a single round: what was measured once has no known noise.
    pub interval: Option<Interval>,
}

/// A 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// Its lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

impl Interval {
    /// Whether `value` lies in it, its ends included.
    pub fn holds(&self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }
}

/// The middle value, or the mean of the two middle ones; none if there is none.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    (!sorted.is_empty()).then(|| median_of(&mut sorted))
}

/// Sorts, since rounds are few.
fn median_of(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let upper = values.len() / 2;
    if values.len() % 2 == 1 { values[upper] } else { f64::midpoint(values[upper - 1], values[upper]) }
}

/// The noise of a set: its lowest and its highest value; none if there is none.
pub fn spread(values: &[f64]) -> Option<RangeInclusive<f64>> {
    let low = values.iter().copied().min_by(f64::total_cmp)?;
    let high = values.iter().copied().max_by(f64::total_cmp)?;
    Some(low..=high)
}

/// How two sets of rounds belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pairing {
    /// Interleaved, A B A B, so round `n` of one ran next to round `n` of the other: both are drawn together, and what slowed the machine for
    /// both of them cancels out. Needs sets of one length; sets of different lengths are taken as [`Pairing::Apart`].
    ByRound,
    /// Measured at different times, on different days perhaps.
    Apart,
}

/// The median of a set.
pub fn level(values: &[f64]) -> Option<Estimate> {
    let value = median(values)?;
    let drawn = draw(values, values, Pairing::ByRound, |median, _| median);
    Some(Estimate { value, interval: interval(value, drawn, values.len(), |drawn| drawn, |kept| kept) })
}

/// Median of `values` by median of `base`; none if a set is empty or one of its figures is no positive number.
pub fn ratio(values: &[f64], base: &[f64], pairing: Pairing) -> Option<Estimate> {
    if values.iter().chain(base).any(|value| !value.is_finite() || *value <= 0.0) {
        return None;
    }
    let value = median(values)? / median(base)?;
    let drawn = draw(values, base, pairing, |value, base| value / base);
    // As a logarithm, a half is as far from one as a double is.
    Some(Estimate { value, interval: interval(value, drawn, values.len().min(base.len()), f64::ln, f64::exp) })
}

/// Median of `values` less that of `base`, in their unit; none if a set is empty.
pub fn difference(values: &[f64], base: &[f64], pairing: Pairing) -> Option<Estimate> {
    let value = median(values)? - median(base)?;
    let drawn = draw(values, base, pairing, |value, base| value - base);
    Some(Estimate { value, interval: interval(value, drawn, values.len().min(base.len()), |drawn| drawn, |kept| kept) })
}

/// `figure` of the medians of both sets, drawn again [`DRAWINGS`] times; empty if a set has a single round.
fn draw(values: &[f64], base: &[f64], pairing: Pairing, figure: impl Fn(f64, f64) -> f64) -> Vec<f64> {
    if values.len() < 2 || base.len() < 2 {
        return Vec::new();
    }
    let is_paired = pairing == Pairing::ByRound && values.len() == base.len();
    let mut random = SplitMix64(SEED);
    let (mut some, mut others) = (vec![0.0; values.len()], vec![0.0; base.len()]);
    (0..DRAWINGS)
        .map(|_| {
            if is_paired {
                for (one, other) in some.iter_mut().zip(&mut others) {
                    let round = random.below(values.len());
                    (*one, *other) = (values[round], base[round]);
                }
            } else {
                some.fill_with(|| values[random.below(values.len())]);
                others.fill_with(|| base[random.below(base.len())]);
            }
            figure(median_of(&mut some), median_of(&mut others))
        })
        .collect()
}

/// The middle 95 % of what was drawn, made wider where rounds are few.
///
/// The drawn medians never leave the lowest and highest round. From five rounds on that range holds the truth often enough; that of three
/// rounds does so in 73 of 100 cases only. So below five rounds the distance from the estimate is stretched by
/// `t / z * sqrt(n / (n - 1))`, as a t interval is (Hesterberg 2015, "What Teachers Should Know about the Bootstrap"). 3000 trials a row on
/// normally distributed rounds held the truth in 93 to 98 of 100 with 5 to 11 rounds, in 89 to 95 with 2 to 4 pairs, in 99 with 2 to 4 unpaired.
fn interval(
    value: f64,
    mut drawn: Vec<f64>,
    rounds: usize,
    scale: impl Fn(f64) -> f64,
    back: impl Fn(f64) -> f64,
) -> Option<Interval> {
    if drawn.is_empty() {
        return None;
    }
    drawn.sort_unstable_by(f64::total_cmp);
    let stretch = match rounds {
        2 => 9.17,
        3 => 2.69,
        4 => 1.87,
        _ => 1.0,
    };
    let end = |share: f64| {
        let end = quantile(&drawn, share);
        if stretch == 1.0 || end == value { end } else { back(scale(value) + (scale(end) - scale(value)) * stretch) }
    };
    Some(Interval { low: end(TAIL), high: end(1.0 - TAIL) })
}

/// Between the two sorted values next to `share`.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "an index below DRAWINGS"
)]
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let (below, part) = (place.floor(), place.fract());
    let low = sorted[below as usize];
    let high = sorted[(below as usize + 1).min(sorted.len() - 1)];
    if low == high { low } else { low + (high - low) * part }
}

/// Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014. Ours, since a crate may change its sequence, and with it
/// the intervals of files that exist.
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below `bound`, all alike but for one part in 2^32.
    fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).expect("rounds fit");
        usize::try_from(((self.next() >> 32) * bound) >> 32).expect("below bound")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two numbers of a normal distribution (Box and Muller).
    fn normal(random: &mut SplitMix64) -> f64 {
        let mut unit = || ((random.next() >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
        (-2.0 * unit().ln()).sqrt() * (std::f64::consts::TAU * unit()).cos()
    }

    #[test]
    fn a_median_is_in_the_middle() {
        for (values, expected) in
            [(vec![], None), (vec![3.0], Some(3.0)), (vec![9.0, 1.0, 2.0], Some(2.0)), (vec![4.0, 1.0], Some(2.5))]
        {
            assert_eq!(median(&values), expected, "{values:?}");
        }
        assert_eq!(spread(&[3.0, 1.0, 2.0]), Some(1.0..=3.0));
        assert_eq!(spread(&[]), None);
    }

    #[test]
    fn identical_sets_have_ratio_one_and_no_doubt() {
        for rounds in 2..8 {
            let set: Vec<f64> = (0..rounds).map(|round| 1000.0 + f64::from(round) * 7.3).collect();
            let one = Estimate { value: 1.0, interval: Some(Interval { low: 1.0, high: 1.0 }) };
            assert_eq!(ratio(&set, &set, Pairing::ByRound), Some(one), "{rounds} rounds");
            let none = Estimate { value: 0.0, interval: Some(Interval { low: 0.0, high: 0.0 }) };
            assert_eq!(difference(&set, &set, Pairing::ByRound), Some(none), "{rounds} rounds");
            let apart = ratio(&set, &set, Pairing::Apart).and_then(|ratio| ratio.interval).expect("rounds enough");
            assert!(apart.low < 1.0 && apart.high > 1.0, "unpaired, the same figures are noise: {apart:?}");
        }
    }

    #[test]
    fn a_single_round_has_no_interval() {
        for (values, base) in [(&[2.0][..], &[1.0, 1.0][..]), (&[2.0, 2.0], &[1.0]), (&[2.0], &[1.0])] {
            for pairing in [Pairing::ByRound, Pairing::Apart] {
                assert_eq!(ratio(values, base, pairing), Some(Estimate { value: 2.0, interval: None }));
            }
        }
        assert_eq!(level(&[5.0]), Some(Estimate { value: 5.0, interval: None }));
    }

    #[test]
    fn no_ratio_of_nothing() {
        for (values, base) in [(&[][..], &[1.0][..]), (&[1.0], &[]), (&[1.0], &[0.0]), (&[f64::NAN], &[1.0])] {
            assert_eq!(ratio(values, base, Pairing::ByRound), None, "{values:?} by {base:?}");
        }
    }

    #[test]
    fn the_machine_s_moods_cancel_out_in_pairs() {
        // Both rounds of a pair ran while the machine was slow, or while it was not.
        let base = [100.0, 60.0, 110.0, 70.0, 90.0, 50.0];
        let values = base.map(|value| value * 1.1);
        let paired = ratio(&values, &base, Pairing::ByRound).and_then(|ratio| ratio.interval).expect("six rounds");
        let apart = ratio(&values, &base, Pairing::Apart).and_then(|ratio| ratio.interval).expect("six rounds");
        assert!(paired.low > 1.09 && paired.high < 1.11, "{paired:?}");
        assert!(apart.low < 0.9 && apart.high > 1.3, "{apart:?}");
    }

    /// Share of `trials` in which the interval holds what is true.
    fn coverage(rounds: usize, trials: u32, pairing: Pairing) -> f64 {
        const TRUTH: f64 = 1.03;
        let mut random = SplitMix64(1);
        let mut held = 0;
        for _ in 0..trials {
            let (mut values, mut base) = (Vec::new(), Vec::new());
            for _ in 0..rounds {
                let mood = if pairing == Pairing::ByRound { 1.0 + 0.1 * normal(&mut random) } else { 1.0 };
                values.push(100.0 * TRUTH * mood * (1.0 + 0.03 * normal(&mut random)));
                base.push(100.0 * mood * (1.0 + 0.03 * normal(&mut random)));
            }
            let interval = ratio(&values, &base, pairing).and_then(|ratio| ratio.interval).expect("rounds enough");
            held += u32::from(interval.holds(TRUTH));
        }
        f64::from(held) / f64::from(trials)
    }

    #[test]
    fn intervals_of_normal_rounds_hold_the_truth_in_95_of_100_cases() {
        for pairing in [Pairing::ByRound, Pairing::Apart] {
            let held = coverage(7, 1000, pairing);
            assert!((0.93..=0.985).contains(&held), "{held} of 1000 {pairing:?}");
        }
    }

    #[test]
    fn few_rounds_are_stretched_to_honesty() {
        for (rounds, least) in [(2, 0.9), (3, 0.87), (4, 0.92), (5, 0.93)] {
            for pairing in [Pairing::ByRound, Pairing::Apart] {
                let held = coverage(rounds, 300, pairing);
                assert!(held >= least, "{held} with {rounds} rounds, {pairing:?}");
            }
        }
    }

    #[test]
    fn intervals_are_repeatable() {
        let (values, base) = ([1.0, 2.0, 3.0, 4.0, 5.0], [2.0, 2.5, 2.2, 2.7, 2.9]);
        assert_eq!(ratio(&values, &base, Pairing::Apart), ratio(&values, &base, Pairing::Apart));
    }
}
