//! What is compared: loads, the figures taken from them, and what ringmq promises for each.

use ringmq_bench::report::Report;
use ringmq_peers::Flush;

use crate::contender::Kind;

/// One group of rows; runnable on its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Case {
    /// `SYNC_FLUSH`, closed loops
    SyncClosed,
    /// `ASYNC_FLUSH`, closed loops
    AsyncClosed,
    /// `ASYNC_FLUSH`, one message at a time
    AsyncSingle,
    /// `SYNC_FLUSH`, 10,000 messages a second
    SyncOpen,
    /// `ASYNC_FLUSH`, 10,000 messages a second
    AsyncOpen,
    /// 1,000 messages a second, pulled back at once
    EndToEnd,
    /// Resident memory after a closed loop
    Memory,
    /// From the start of an empty node to the first stored message
    Start,
    /// From the start after kill -9, with 5 GB in the log, to the first stored message
    Restart,
}

/// How a case gets its numbers.
#[derive(Debug)]
pub(crate) enum Method {
    /// Loads on servers that stay up, in turn.
    Loads(Vec<Load>),
    /// A server started on an empty folder each time.
    Start,
    /// A server killed under load and started again on what it left.
    Restart,
}

/// One load.
#[derive(Debug)]
pub(crate) struct Load {
    /// In tables: connections x in flight, or the rate.
    pub(crate) name: &'static str,
    /// Arguments of `ringmq-bench produce` beside target, topic, size and times.
    pub(crate) arguments: &'static [&'static str],
    /// What is taken from its report.
    pub(crate) figures: Vec<Figure>,
}

/// One number of a run.
#[derive(Debug)]
pub(crate) struct Figure {
    /// In tables, with its unit.
    pub(crate) label: &'static str,
    /// Where it is in a report; what is resident is not in it.
    pub(crate) value: Value,
    /// What ringmq promises.
    pub(crate) goals: Vec<Goal>,
}

/// Where a figure comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Value {
    /// The load's report.
    Report(fn(&Report) -> f64),
    /// The server's resident memory when the load ends, MB.
    ResidentMb,
}

/// A promise about medians.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Goal {
    /// ringmq's is at least so many times Apache's.
    TimesApacheMin(f64),
    /// ringmq's is at most so much of Apache's.
    TimesApacheMax(f64),
    /// ringmq's is at most so many times the bare echo's.
    TimesEchoMax(f64),
    /// ringmq's is at most this.
    Max(f64),
}

impl Goal {
    /// In tables.
    pub(crate) fn text(self) -> String {
        match self {
            Self::TimesApacheMin(times) => format!("≥ {times} × Apache"),
            Self::TimesApacheMax(times) => format!("≤ {times} × Apache"),
            Self::TimesEchoMax(times) => format!("≤ {times} × echo"),
            Self::Max(bound) => format!("≤ {bound}"),
        }
    }

    /// Whether medians keep it; `None` when one of them is missing.
    pub(crate) fn is_met(self, median: impl Fn(Kind) -> Option<f64>) -> Option<bool> {
        let ours = median(Kind::Ringmq)?;
        Some(match self {
            Self::TimesApacheMin(times) => ours >= times * median(Kind::Apache)?,
            Self::TimesApacheMax(times) => ours <= times * median(Kind::Apache)?,
            Self::TimesEchoMax(times) => ours <= times * median(Kind::Echo)?,
            Self::Max(bound) => ours <= bound,
        })
    }
}

fn rate(goals: Vec<Goal>) -> Figure {
    Figure { label: "messages/s", value: Value::Report(|report| report.rate_per_s), goals }
}

fn p50(goals: Vec<Goal>) -> Figure {
    Figure { label: "p50 µs", value: Value::Report(|report| report.latency_us.p50), goals }
}

fn p99_9(goals: Vec<Goal>) -> Figure {
    Figure { label: "p99.9 µs", value: Value::Report(|report| report.latency_us.p99_9), goals }
}

const SINGLE: &[&str] = &["--connections", "1", "--in-flight", "1"];
const WIDE: &[&str] = &["--connections", "64", "--in-flight", "1"];
const MIDDLE: &[&str] = &["--connections", "8", "--in-flight", "32"];
const DEEP: &[&str] = &["--connections", "16", "--in-flight", "128"];
const PULLED: &[&str] = &["--connections", "8", "--rate", "1000", "--end-to-end"];
const TEN_THOUSAND: &[&str] = &["--connections", "8", "--rate", "10000"];

fn closed(name: &'static str, arguments: &'static [&'static str], figures: Vec<Figure>) -> Load {
    Load { name, arguments, figures }
}

impl Case {
    /// All of them, in the order of the table.
    pub(crate) const ALL: [Self; 9] = [
        Self::SyncClosed,
        Self::AsyncClosed,
        Self::AsyncSingle,
        Self::SyncOpen,
        Self::AsyncOpen,
        Self::EndToEnd,
        Self::Memory,
        Self::Start,
        Self::Restart,
    ];

    /// When the brokers call a message stored.
    pub(crate) fn flush(self) -> Flush {
        match self {
            Self::SyncClosed | Self::SyncOpen => Flush::Sync,
            _ => Flush::Async,
        }
    }

    /// Whether a server without a store can take part.
    pub(crate) fn suits(self, kind: Kind) -> bool {
        kind != Kind::Echo || !matches!(self, Self::EndToEnd | Self::Memory | Self::Restart)
    }

    /// How it is measured.
    pub(crate) fn method(self) -> Method {
        use Goal::{Max, TimesApacheMax, TimesApacheMin, TimesEchoMax};
        match self {
            Self::SyncClosed => Method::Loads(vec![
                closed("64x1", WIDE, vec![rate(vec![TimesApacheMin(3.0)])]),
                closed("8x32", MIDDLE, vec![rate(vec![TimesApacheMin(8.0)])]),
                closed("16x128", DEEP, vec![rate(vec![TimesApacheMin(10.0)])]),
            ]),
            Self::AsyncClosed => Method::Loads(vec![
                closed("64x1", WIDE, vec![rate(vec![TimesApacheMin(2.0)])]),
                closed("8x32", MIDDLE, vec![rate(vec![TimesApacheMin(8.0)])]),
                closed("16x128", DEEP, vec![rate(vec![TimesApacheMin(10.0)])]),
            ]),
            Self::AsyncSingle => {
                Method::Loads(vec![closed("1x1", SINGLE, vec![p50(vec![TimesApacheMax(1.0)]), rate(vec![])])])
            }
            Self::SyncOpen => Method::Loads(vec![Load {
                name: "10,000/s",
                arguments: TEN_THOUSAND,
                figures: vec![p50(vec![TimesApacheMax(0.25)]), p99_9(vec![TimesApacheMax(0.2), TimesEchoMax(2.0)])],
            }]),
            Self::AsyncOpen => Method::Loads(vec![Load {
                name: "10,000/s",
                arguments: TEN_THOUSAND,
                figures: vec![p50(vec![TimesApacheMax(0.25)]), p99_9(vec![TimesApacheMax(0.2), TimesEchoMax(1.5)])],
            }]),
            Self::EndToEnd => Method::Loads(vec![Load {
                name: "1,000/s, pulled",
                arguments: PULLED,
                figures: vec![
                    Figure {
                        label: "end to end p50 µs",
                        value: Value::Report(|report| report.end_to_end_us.map_or(f64::NAN, |found| found.p50)),
                        goals: vec![TimesApacheMax(0.25)],
                    },
                    Figure {
                        label: "end to end p99.9 µs",
                        value: Value::Report(|report| report.end_to_end_us.map_or(f64::NAN, |found| found.p99_9)),
                        goals: vec![],
                    },
                ],
            }]),
            Self::Memory => Method::Loads(vec![Load {
                name: "8x32",
                arguments: MIDDLE,
                figures: vec![Figure { label: "resident MB", value: Value::ResidentMb, goals: vec![Max(200.0)] }],
            }]),
            Self::Start => Method::Start,
            Self::Restart => Method::Restart,
        }
    }

    /// The one figure of [`Method::Start`] and [`Method::Restart`], seconds.
    pub(crate) fn seconds_goal(self) -> Goal {
        Goal::Max(if self == Self::Start { 0.3 } else { 2.0 })
    }

    /// As on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::SyncClosed => "sync-closed",
            Self::AsyncClosed => "async-closed",
            Self::AsyncSingle => "async-single",
            Self::SyncOpen => "sync-open",
            Self::AsyncOpen => "async-open",
            Self::EndToEnd => "end-to-end",
            Self::Memory => "memory",
            Self::Start => "start",
            Self::Restart => "restart",
        }
    }
}
