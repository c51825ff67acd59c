//! `.hlog`: HdrHistogram's interval log, version 1.3 with V2 histograms, for HistogramLogProcessor, HistogramLogAnalyzer and the like.
//!
//! A file for each load, subject and series; a run is an interval. Runs say how long they measured, not when: each is put after those before it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::IntervalLogWriterBuilder;

use super::title;
use crate::lab::results::{Damaged, Results};
use crate::lab::rounds::{Latency, Rounds};
use crate::report::name::Names;

/// Nanoseconds of the unit of the interval's maximum, as Java's writer has it.
const MILLISECOND: f64 = 1e6;

/// Name and text of each file.
///
/// # Errors
/// When a histogram does not unpack.
pub fn files(results: &Results) -> Result<Vec<(String, String)>, Damaged> {
    let mut names = Names::default();
    let mut files = Vec::new();
    for rounds in Rounds::of(results) {
        for latency in Latency::ALL {
            if rounds.histogram(latency)?.is_some() {
                let title = title(results, &rounds, latency);
                let name = names.unique(&title);
                files.push((format!("{name}.hlog"), text(results, &rounds, latency, &title)?));
            }
        }
    }
    Ok(files)
}

fn text(results: &Results, rounds: &Rounds<'_>, latency: Latency, title: &str) -> Result<String, Damaged> {
    let mut bytes = Vec::new();
    let mut serializer = V2DeflateSerializer::new();
    let began = unix_time(&results.started).unwrap_or(UNIX_EPOCH);
    let comment = |text: &str| text.replace(['\n', '\r'], " ");
    let mut log = IntervalLogWriterBuilder::new()
        .add_comment("[Histogram log format version 1.3]")
        .add_comment(&comment(&format!("[{}: {title}; histograms of nanoseconds]", results.title)))
        .add_comment(&comment(&format!("[{}]", results.command)))
        .with_max_value_divisor(MILLISECOND)
        .with_start_time(began)
        .with_base_time(began)
        .begin_log_with(&mut bytes, &mut serializer)
        .expect("memory takes it");
    let mut at = Duration::ZERO;
    for run in &rounds.runs {
        let settings = &run.report.settings;
        at += Duration::try_from_secs_f64(settings.warmup_s).unwrap_or_default();
        let length = Duration::try_from_secs_f64(run.report.elapsed_s).unwrap_or_default();
        if let Some(histogram) = latency.of(run)? {
            log.write_histogram(&histogram, at, length, None).expect("what was read in this format is written in it");
        }
        at += length;
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A time of day in UTC, `2026-11-23T10:00:00Z`, fractions left out.
fn unix_time(text: &str) -> Option<SystemTime> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<u64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if year < 1970 || !(1..=12).contains(&month) || !(1..=31).contains(&day) || !text.ends_with('Z') {
        return None;
    }
    // Days since 1970 by Howard Hinnant, "chrono-compatible low-level date algorithms": the year begins in March, so a leap day is its last.
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year / 400, year % 400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    Some(UNIX_EPOCH + Duration::from_secs(days * 86_400 + hour * 3600 + minute * 60 + second))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_day_are_counted() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2000-02-29T12:00:01Z", Some(951_825_601)),
            ("2026-11-23T10:00:00.5Z", Some(1_795_428_000)),
            ("yesterday", None),
            ("2026-13-01T00:00:00Z", None),
        ] {
            let seconds = unix_time(text).map(|time| time.duration_since(UNIX_EPOCH).expect("after").as_secs());
            assert_eq!(seconds, expected, "{text}");
        }
    }
}
