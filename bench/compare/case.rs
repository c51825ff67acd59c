//! What is compared: loads, the figures taken from them, and what ringmq promises for each.

use ringmq_bench::load::report::{Percentiles, Report};
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
    /// A master and a slave, synchronous double write and asynchronous replication, closed loops
    ReplicatedClosed,
    /// The same at 10,000 messages a second
    ReplicatedOpen,
    /// Double write with 2 ms each way between master and slave
    Distance,
    /// Asynchronous replication at 10,000 messages a second, pulled from the slave and from the master
    Lag,
    /// A slave that begins empty on 5 GB while producers send 10,000 messages a second
    CatchUp,
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
    /// A slave started on an empty folder beside a master with a long log, under load.
    CatchUp,
}

/// One load.
#[derive(Debug)]
pub(crate) struct Load {
    /// In tables: connections x in flight, or the rate.
    pub(crate) name: &'static str,
    /// Arguments of `ringmq-bench produce` beside target, topic, size and times.
    pub(crate) arguments: &'static [&'static str],
    /// Where what is pulled is pulled from.
    pub(crate) pulled_from: PulledFrom,
    /// What is taken from its report.
    pub(crate) figures: Vec<Figure>,
}

/// Where a load's messages are pulled from, if they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PulledFrom {
    Master,
    Slave,
    /// By a consumer each.
    Both,
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
    /// Of the times until messages were pulled.
    EndToEnd(fn(&Percentiles) -> f64),
    /// How much later messages were pulled from the slave than from the master.
    Lag(fn(&Percentiles) -> f64),
    /// The server's resident memory when the load ends, MB.
    ResidentMb,
}

/// A promise about medians.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Goal {
    /// It is at least so many times the other's.
    AtLeast(f64, Kind),
    /// It is at most so many times the other's.
    AtMost(f64, Kind),
    /// It is at most this.
    Max(f64),
    /// It is at least this.
    Min(f64),
}

impl Goal {
    /// In tables.
    pub(crate) fn text(self) -> String {
        match self {
            Self::AtLeast(times, other) => format!("≥ {times} × {}", other.name()),
            Self::AtMost(times, other) => format!("≤ {times} × {}", other.name()),
            Self::Max(bound) => format!("≤ {bound}"),
            Self::Min(bound) => format!("≥ {bound}"),
        }
    }

    /// Whether the medians keep it for `ours`; `None` when one of them is missing.
    pub(crate) fn is_met(self, ours: Kind, median: impl Fn(Kind) -> Option<f64>) -> Option<bool> {
        let ours = median(ours)?;
        Some(match self {
            Self::AtLeast(times, other) => ours >= times * median(other)?,
            Self::AtMost(times, other) => ours <= times * median(other)?,
            Self::Max(bound) => ours <= bound,
            Self::Min(bound) => ours >= bound,
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
/// 10,000 messages a second.
pub(crate) const TEN_THOUSAND: &[&str] = &["--connections", "8", "--rate", "10000"];
const LAG: &[&str] = &["--connections", "8", "--rate", "10000", "--end-to-end"];
const FAR: &[&str] = &["--connections", "16", "--in-flight", "64"];

fn load(name: &'static str, arguments: &'static [&'static str], figures: Vec<Figure>) -> Load {
    Load { name, arguments, pulled_from: PulledFrom::Master, figures }
}

fn end_to_end(label: &'static str, of: fn(&Percentiles) -> f64, goals: Vec<Goal>) -> Figure {
    Figure { label, value: Value::EndToEnd(of), goals }
}

fn lag(label: &'static str, of: fn(&Percentiles) -> f64, goals: Vec<Goal>) -> Figure {
    Figure { label, value: Value::Lag(of), goals }
}

fn lag_loads() -> Vec<Load> {
    use Goal::Max;
    let pulled = || {
        vec![
            end_to_end("sent to pulled p50 µs", |found| found.p50, vec![]),
            end_to_end("sent to pulled p99 µs", |found| found.p99, vec![]),
        ]
    };
    let from_slave = load("10,000/s, pulled from the slave", LAG, pulled());
    let from_master = load("10,000/s, pulled from the master", LAG, pulled());
    let from_both = load(
        "10,000/s, pulled from both",
        LAG,
        vec![
            lag("slave after master p50 µs", |found| found.p50, vec![]),
            lag("slave after master p99 µs", |found| found.p99, vec![Max(2000.0)]),
        ],
    );
    vec![
        Load { pulled_from: PulledFrom::Both, ..from_both },
        Load { pulled_from: PulledFrom::Slave, ..from_slave },
        from_master,
    ]
}

impl Case {
    /// All of them, in the order of the table.
    pub(crate) const ALL: [Self; 14] = [
        Self::SyncClosed,
        Self::AsyncClosed,
        Self::AsyncSingle,
        Self::SyncOpen,
        Self::AsyncOpen,
        Self::EndToEnd,
        Self::Memory,
        Self::Start,
        Self::Restart,
        Self::ReplicatedClosed,
        Self::ReplicatedOpen,
        Self::Distance,
        Self::Lag,
        Self::CatchUp,
    ];

    /// When the brokers call a message stored.
    pub(crate) fn flush(self) -> Flush {
        match self {
            Self::SyncClosed | Self::SyncOpen => Flush::Sync,
            _ => Flush::Async,
        }
    }

    /// Who takes part; the first is the one that promises.
    pub(crate) fn kinds(self) -> &'static [Kind] {
        match self {
            // Without a store there is nothing to pull, to keep or to recover.
            Self::EndToEnd | Self::Memory | Self::Restart => &[Kind::Ringmq, Kind::Apache],
            Self::ReplicatedClosed | Self::ReplicatedOpen => {
                &[Kind::RingmqDouble, Kind::RingmqAsync, Kind::ApacheDouble, Kind::ApacheAsync]
            }
            Self::Distance => &[Kind::RingmqFar, Kind::RingmqRelayed, Kind::RingmqDouble],
            Self::Lag | Self::CatchUp => &[Kind::RingmqAsync],
            _ => &[Kind::Ringmq, Kind::Apache, Kind::Echo],
        }
    }

    /// How it is measured.
    pub(crate) fn method(self) -> Method {
        use Goal::{AtLeast, AtMost, Max};
        use Kind::{Apache, ApacheDouble, Echo, RingmqAsync, RingmqDouble, RingmqRelayed};
        match self {
            Self::SyncClosed => Method::Loads(vec![
                load("64x1", WIDE, vec![rate(vec![AtLeast(3.0, Apache)])]),
                load("8x32", MIDDLE, vec![rate(vec![AtLeast(8.0, Apache)])]),
                load("16x128", DEEP, vec![rate(vec![AtLeast(10.0, Apache)])]),
            ]),
            Self::AsyncClosed => Method::Loads(vec![
                load("64x1", WIDE, vec![rate(vec![AtLeast(2.0, Apache)])]),
                load("8x32", MIDDLE, vec![rate(vec![AtLeast(8.0, Apache)])]),
                load("16x128", DEEP, vec![rate(vec![AtLeast(10.0, Apache)])]),
            ]),
            Self::AsyncSingle => {
                Method::Loads(vec![load("1x1", SINGLE, vec![p50(vec![AtMost(1.0, Apache)]), rate(vec![])])])
            }
            Self::SyncOpen => Method::Loads(vec![load(
                "10,000/s",
                TEN_THOUSAND,
                vec![p50(vec![AtMost(0.25, Apache)]), p99_9(vec![AtMost(0.2, Apache), AtMost(2.0, Echo)])],
            )]),
            Self::AsyncOpen => Method::Loads(vec![load(
                "10,000/s",
                TEN_THOUSAND,
                vec![p50(vec![AtMost(0.25, Apache)]), p99_9(vec![AtMost(0.2, Apache), AtMost(1.5, Echo)])],
            )]),
            Self::EndToEnd => Method::Loads(vec![load(
                "1,000/s, pulled",
                PULLED,
                vec![
                    end_to_end("end to end p50 µs", |found| found.p50, vec![AtMost(0.25, Apache)]),
                    end_to_end("end to end p99.9 µs", |found| found.p99_9, vec![]),
                ],
            )]),
            Self::Memory => Method::Loads(vec![load(
                "8x32",
                MIDDLE,
                vec![Figure { label: "resident MB", value: Value::ResidentMb, goals: vec![Max(200.0)] }],
            )]),
            Self::Start => Method::Start,
            Self::Restart => Method::Restart,
            Self::ReplicatedClosed => Method::Loads(vec![
                load("64x1", WIDE, vec![rate(vec![AtLeast(2.0, ApacheDouble), AtLeast(0.85, RingmqAsync)])]),
                load("8x32", MIDDLE, vec![rate(vec![AtLeast(6.0, ApacheDouble)])]),
                load("16x128", DEEP, vec![rate(vec![AtLeast(8.0, ApacheDouble), AtLeast(0.95, RingmqAsync)])]),
            ]),
            Self::ReplicatedOpen => Method::Loads(vec![load(
                "10,000/s",
                TEN_THOUSAND,
                vec![p50(vec![AtMost(0.25, ApacheDouble)]), p99_9(vec![AtMost(0.25, ApacheDouble)])],
            )]),
            Self::Distance => Method::Loads(vec![load(
                "16x64",
                FAR,
                vec![rate(vec![AtLeast(0.8, RingmqRelayed), AtLeast(0.8, RingmqDouble)])],
            )]),
            Self::Lag => Method::Loads(lag_loads()),
            Self::CatchUp => Method::CatchUp,
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
            Self::ReplicatedClosed => "replicated-closed",
            Self::ReplicatedOpen => "replicated-open",
            Self::Distance => "distance",
            Self::Lag => "lag",
            Self::CatchUp => "catch-up",
        }
    }
}
