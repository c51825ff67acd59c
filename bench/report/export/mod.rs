//! Files for other tools: HdrHistogram's viewers, spreadsheets.

pub mod csv;
pub mod hgrm;
pub mod hlog;

use crate::lab::results::Results;
use crate::lab::rounds::{Latency, Rounds};

/// `ringmq-2m-2s-sync at 10000 messages/s, reply`: what a file of a set of rounds is named after.
fn title(results: &Results, rounds: &Rounds<'_>, latency: Latency) -> String {
    format!("{} {} {}", results.subjects[rounds.subject].name, rounds.load.name(), latency.name())
}
