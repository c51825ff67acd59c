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
    let began = results.started.parse::<jiff::Timestamp>().map_or(UNIX_EPOCH, SystemTime::from);
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
