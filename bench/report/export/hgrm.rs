//! `.hgrm`: latency by percentile as HdrHistogram's `outputPercentileDistribution` writes it, the format of HdrHistogram Plotter and wrk2.
//!
//! Values are milliseconds, which is what those tools take them for. Source: HdrHistogram 2.1 `AbstractHistogram`.

use std::fmt::Write as _;

use hdrhistogram::Histogram;

use super::title;
use crate::lab::results::{Damaged, Results};
use crate::lab::rounds::{Latency, Rounds};
use crate::report::name::Names;

/// Lines for each halving of the distance to 100 %.
const TICKS_PER_HALF: u32 = 5;
/// Nanoseconds of the unit.
const MILLISECOND: f64 = 1e6;

/// A file for each load, subject and series, all rounds together: name and text.
///
/// # Errors
/// When a histogram does not unpack.
pub fn files(results: &Results) -> Result<Vec<(String, String)>, Damaged> {
    let mut names = Names::default();
    let mut files = Vec::new();
    for rounds in Rounds::of(results) {
        for latency in Latency::ALL {
            if let Some(histogram) = rounds.histogram(latency)? {
                let name = names.unique(&title(results, &rounds, latency));
                files.push((format!("{name}.hgrm"), text(&histogram)));
            }
        }
    }
    Ok(files)
}

/// The text; of an empty histogram only head and foot.
#[expect(clippy::cast_precision_loss, reason = "nanoseconds below a day")]
pub fn text(histogram: &Histogram<u64>) -> String {
    let mut text = format!("{:>12} {:>14} {:>10} {:>14}\n\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)");
    let mut count = 0;
    for step in histogram.iter_quantiles(TICKS_PER_HALF) {
        count += step.count_since_last_iteration();
        let (value, quantile) = (step.value_iterated_to() as f64 / MILLISECOND, step.quantile_iterated_to());
        let _ = if quantile < 1.0 {
            writeln!(text, "{value:12.3} {quantile:2.12} {count:10} {:14.2}", 1.0 / (1.0 - quantile))
        } else {
            writeln!(text, "{value:12.3} {quantile:2.12} {count:10}")
        };
    }
    let (mean, deviation) = (histogram.mean() / MILLISECOND, histogram.stdev() / MILLISECOND);
    let (max, total) = (histogram.max() as f64 / MILLISECOND, histogram.len());
    // As many as hold two at the finest of the digits, rounded up to a power of two.
    let sub_buckets = (2 * 10u64.pow(u32::from(histogram.sigfig()))).next_power_of_two();
    let buckets = histogram.buckets();
    let _ = writeln!(text, "#[Mean    = {mean:12.3}, StdDeviation   = {deviation:12.3}]");
    let _ = writeln!(text, "#[Max     = {max:12.3}, Total count    = {total:12}]");
    let _ = writeln!(text, "#[Buckets = {buckets:12}, SubBuckets     = {sub_buckets:12}]");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_those_of_hdrhistogram() {
        let mut histogram = Histogram::<u64>::new_with_bounds(1, 3_600_000_000_000, 3).expect("constant bounds");
        for milliseconds in 1..=4u64 {
            histogram.record(milliseconds * 1_000_000).expect("within bounds");
        }
        let text = text(&histogram);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "       Value     Percentile TotalCount 1/(1-Percentile)");
        assert_eq!(lines[1], "");
        assert_eq!(lines[2], "       1.000 0.000000000000          1           1.00");
        assert!(lines.contains(&"       4.002 1.000000000000          4"), "{text}");
        assert_eq!(lines[lines.len() - 3], "#[Mean    =        2.500, StdDeviation   =        1.118]");
        assert!(lines[lines.len() - 2].ends_with("Total count    =            4]"), "{text}");
        assert!(lines[lines.len() - 1].ends_with("SubBuckets     =         2048]"), "{text}");
    }
}
