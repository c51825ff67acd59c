//! The command line, and the run that it asks for, checked once.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::connection::PENDING_MAX;
use crate::frame::HeaderKind;
use crate::record::STAMP_BYTES;

/// Largest body that a broker takes unless configured otherwise.
const SIZE_MAX: usize = 4 * 1024 * 1024;
/// Most queues of the topic on one broker.
const QUEUES_MAX: u32 = 4096;
/// Most connections.
const CONNECTIONS_MAX: usize = 20_000;
/// Highest rate: a message a nanosecond is no load but a loop.
const RATE_MAX: u64 = 100_000_000;

/// Load on any RocketMQ-compatible broker, and what its clients would feel.
#[derive(Debug, Parser)]
#[command(name = "ringmq-bench", version)]
pub struct CommandLine {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The kinds of load.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Send messages, in closed loop (--in-flight) or at a fixed rate (--rate), and optionally pull them back
    Produce(ProduceArgs),
}

/// As typed; [`Settings::check`] makes sense of it.
#[derive(Debug, Args)]
pub struct ProduceArgs {
    /// Brokers to send to, HOST:PORT or several with commas between; connections are spread over them
    #[arg(long, value_delimiter = ',', required = true)]
    pub target: Vec<String>,
    /// Topic; created on every target before the load begins
    #[arg(long)]
    pub topic: String,
    /// Queues of the topic on each target
    #[arg(long, default_value_t = 8)]
    pub queues: u32,
    /// Sending connections, all targets together
    #[arg(long, default_value_t = 8)]
    pub connections: usize,
    /// Closed loop: requests that each connection keeps without a reply
    #[arg(long)]
    pub in_flight: Option<usize>,
    /// Open loop: messages a second, all connections together; latency counts from the moment each was due
    #[arg(long)]
    pub rate: Option<u64>,
    /// Open loop: requests without a reply at which sending pauses (their latency goes on counting, and the report says so)
    #[arg(long, default_value_t = 1_000_000)]
    pub outstanding_max: usize,
    /// Bytes of a message's body; 24 of them hold its number and time
    #[arg(long, default_value_t = 256)]
    pub size: usize,
    /// How long to measure, such as 10s, 500ms or 2m
    #[arg(long, value_parser = parse_duration)]
    pub duration: Duration,
    /// How long to send before measuring
    #[arg(long, value_parser = parse_duration, default_value = "2s")]
    pub warmup: Duration,
    /// How long to wait, after the last message, for replies and for messages to arrive
    #[arg(long, value_parser = parse_duration, default_value = "10s")]
    pub drain: Duration,
    /// Pull the messages back with long polls on connections of their own, and measure until each arrived
    #[arg(long)]
    pub end_to_end: bool,
    /// Pull them from these brokers, slaves of the targets for example, and not from the targets; goes with --end-to-end
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',', requires = "end_to_end")]
    pub consume_from: Vec<String>,
    /// Write the figures here
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Use RocketMQ's binary request headers instead of JSON ones
    #[arg(long)]
    pub binary_header: bool,
    /// Stay on this processor
    #[arg(long, value_name = "N")]
    pub cpu: Option<usize>,
    /// Allow targets that are not on this machine
    #[arg(long)]
    pub allow_remote: bool,
}

/// How messages are paced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Each connection keeps so many requests without a reply.
    Closed {
        /// Requests a connection.
        in_flight: usize,
    },
    /// Messages leave at a fixed rate, replies or not.
    Open {
        /// Messages a second, all connections.
        rate_per_s: u64,
        /// Requests without a reply at which sending pauses, all connections.
        outstanding_max: usize,
    },
}

/// A run that makes sense.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Brokers; connection `n` goes to `targets[n % targets.len()]`.
    pub targets: Vec<SocketAddr>,
    /// Topic.
    pub topic: String,
    /// Queues on each target.
    pub queues: u32,
    /// Sending connections.
    pub connections: usize,
    /// Closed or open loop.
    pub pace: Pace,
    /// Bytes of a body.
    pub size: usize,
    /// What counts.
    pub duration: Duration,
    /// What goes before.
    pub warmup: Duration,
    /// What may follow.
    pub drain: Duration,
    /// Brokers to pull the messages back from; empty if they are not pulled.
    pub sources: Vec<SocketAddr>,
    /// How request headers are written.
    pub header: HeaderKind,
    /// Processor to stay on.
    pub cpu: Option<usize>,
}

/// Why a command line makes no sense.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SettingsError {
    /// Neither loop.
    #[error("say how to send: --in-flight N for a closed loop, or --rate N for a fixed rate")]
    NoPace,
    /// Both loops.
    #[error("--in-flight and --rate exclude each other: a closed loop has no rate of its own")]
    TwoPaces,
    /// A number out of its bounds.
    #[error("{option} {value} is out of range: it takes {min} to {max}")]
    OutOfRange {
        /// Which option.
        option: &'static str,
        /// Its value.
        value: u64,
        /// Smallest.
        min: u64,
        /// Largest.
        max: u64,
    },
    /// A topic that brokers refuse.
    #[error("topic '{topic}' is no topic name: 1 to 127 of letters, digits, %, |, - and _")]
    Topic {
        /// As typed.
        topic: String,
    },
    /// No address.
    #[error("target '{target}' is no address: {reason}")]
    Target {
        /// As typed.
        target: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Another machine.
    #[error("target {target} is not on this machine; add --allow-remote if you may put load on it")]
    Remote {
        /// Its address.
        target: SocketAddr,
    },
    /// Nothing would be measured.
    #[error("--duration must be longer than zero")]
    NoDuration,
    /// A broker would get nothing.
    #[error("{connections} connections cannot reach {targets} targets: at least one each")]
    FewConnections {
        /// Sending connections.
        connections: usize,
        /// Brokers.
        targets: usize,
    },
}

impl Settings {
    /// Checks everything that can be checked without talking to a broker.
    ///
    /// # Errors
    /// The first thing that makes no sense.
    pub fn check(args: &ProduceArgs) -> Result<Self, SettingsError> {
        let pace = match (args.in_flight, args.rate) {
            (None, None) => return Err(SettingsError::NoPace),
            (Some(_), Some(_)) => return Err(SettingsError::TwoPaces),
            (Some(in_flight), None) => Pace::Closed { in_flight: within("--in-flight", in_flight, 1, 65_536)? },
            (None, Some(rate)) => Pace::Open {
                rate_per_s: within("--rate", rate, 1, RATE_MAX)?,
                outstanding_max: within("--outstanding-max", args.outstanding_max, 1, PENDING_MAX)?,
            },
        };
        let is_name = |letter: char| letter.is_ascii_alphanumeric() || "%|-_".contains(letter);
        if args.topic.is_empty() || args.topic.len() > 127 || !args.topic.chars().all(is_name) {
            return Err(SettingsError::Topic { topic: args.topic.clone() });
        }
        if args.duration.is_zero() {
            return Err(SettingsError::NoDuration);
        }
        let connections = within("--connections", args.connections, 1, CONNECTIONS_MAX)?;
        let targets: Vec<SocketAddr> = args.target.iter().map(|target| resolve(target)).collect::<Result<_, _>>()?;
        let sources = match (args.end_to_end, args.consume_from.is_empty()) {
            (false, _) => Vec::new(),
            (true, true) => targets.clone(),
            (true, false) => args.consume_from.iter().map(|source| resolve(source)).collect::<Result<_, _>>()?,
        };
        let remote = targets.iter().chain(&sources).find(|target| !target.ip().is_loopback() && !args.allow_remote);
        if let Some(target) = remote {
            return Err(SettingsError::Remote { target: *target });
        }
        if connections < targets.len() {
            return Err(SettingsError::FewConnections { connections, targets: targets.len() });
        }
        Ok(Self {
            targets,
            topic: args.topic.clone(),
            queues: within("--queues", args.queues, 1, QUEUES_MAX)?,
            connections,
            pace,
            size: within("--size", args.size, STAMP_BYTES, SIZE_MAX)?,
            duration: args.duration,
            warmup: args.warmup,
            drain: args.drain,
            sources,
            header: if args.binary_header { HeaderKind::Binary } else { HeaderKind::Json },
            cpu: args.cpu,
        })
    }
}

fn within<N: Copy + PartialOrd + TryInto<u64>>(
    option: &'static str,
    value: N,
    min: N,
    max: N,
) -> Result<N, SettingsError> {
    let number = |value: N| value.try_into().unwrap_or(u64::MAX);
    if value < min || value > max {
        return Err(SettingsError::OutOfRange { option, value: number(value), min: number(min), max: number(max) });
    }
    Ok(value)
}

fn resolve(target: &str) -> Result<SocketAddr, SettingsError> {
    let refuse = |reason: String| SettingsError::Target { target: target.to_owned(), reason };
    let mut addresses = target.to_socket_addrs().map_err(|error| refuse(error.to_string()))?;
    addresses.next().ok_or_else(|| refuse("it resolves to nothing".to_owned()))
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let scale = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        _ => return Err("a duration has a unit: 10s, 500ms or 2m".to_owned()),
    };
    let number: f64 = number.parse().map_err(|_| format!("'{number}' is no number"))?;
    let seconds = number * scale;
    if seconds > 86_400.0 {
        return Err("longer than a day".to_owned());
    }
    Ok(Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str) -> Result<Settings, String> {
        let words = ["ringmq-bench", "produce"].into_iter().chain(line.split_whitespace());
        let parsed = CommandLine::try_parse_from(words).map_err(|error| error.to_string())?;
        let Command::Produce(args) = parsed.command;
        Settings::check(&args).map_err(|error| error.to_string())
    }

    #[test]
    fn a_full_line_becomes_settings() {
        let line = "--target 127.0.0.1:10911,127.0.0.1:10921 --topic T --queues 3 --connections 2 --rate 10000 --size 1024 --duration 1.5s \
                    --warmup 0s --end-to-end --binary-header --cpu 1";
        let settings = check(line).expect("a good line");
        assert_eq!(settings.targets.len(), 2);
        assert_eq!(settings.pace, Pace::Open { rate_per_s: 10_000, outstanding_max: 1_000_000 });
        assert_eq!((settings.duration, settings.warmup), (Duration::from_millis(1500), Duration::ZERO));
        assert_eq!((settings.header, settings.cpu), (HeaderKind::Binary, Some(1)));
        assert_eq!(settings.sources, settings.targets);
        let settings = check(&format!("{line} --consume-from 127.0.0.1:10912")).expect("a good line");
        assert_eq!(settings.sources, ["127.0.0.1:10912".parse().expect("an address")]);
    }

    #[test]
    fn nonsense_is_refused_with_its_reason() {
        let refused = |line: &str, expected: &str| {
            let error = check(line).expect_err(line);
            assert!(error.contains(expected), "{line}\n  says: {error}\n  wanted: {expected}");
        };
        let good = "--target 127.0.0.1:1 --topic T --duration 1s";
        refused(good, "say how to send");
        refused(&format!("{good} --in-flight 1 --rate 1"), "exclude each other");
        refused(&format!("{good} --in-flight 0"), "--in-flight 0 is out of range");
        refused(&format!("{good} --rate 0"), "--rate 0 is out of range");
        refused(&format!("{good} --rate 5 --size 23"), "it takes 24 to 4194304");
        refused(&format!("{good} --rate 5 --queues 0"), "--queues 0");
        refused(&format!("{good} --rate 5 --connections 0"), "--connections 0");
        refused(&format!("{good} --rate 5 --outstanding-max 0"), "--outstanding-max 0");
        refused("--target 127.0.0.1:1 --topic T --duration 0s --rate 5", "longer than zero");
        refused("--target 127.0.0.1:1 --topic T --duration 10 --rate 5", "a duration has a unit");
        refused("--target 127.0.0.1:1 --topic T --duration -1s --rate 5", "unexpected argument");
        refused("--target 127.0.0.1:1 --topic a.b --duration 1s --rate 5", "is no topic name");
        refused("--target 127.0.0.1 --topic T --duration 1s --rate 5", "is no address");
        refused("--target 192.0.2.1:1 --topic T --duration 1s --rate 5", "--allow-remote");
        refused(&format!("{good} --rate 5 --consume-from 127.0.0.1:1"), "--end-to-end");
        refused(&format!("{good} --rate 5 --end-to-end --consume-from 192.0.2.1:1"), "--allow-remote");
        refused(
            "--target 127.0.0.1:1,127.0.0.1:2 --connections 1 --topic T --duration 1s --rate 5",
            "at least one each",
        );
    }
}
