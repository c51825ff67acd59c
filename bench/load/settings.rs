//! A load as asked for, on the command line or in a scenario's file, and the load that it is, checked once.

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use clap::{Args, Parser, ValueEnum};
use serde::{Deserialize, Deserializer, Serialize};

use crate::load::connection::PENDING_MAX;
use crate::load::frame::HeaderKind;
use crate::load::record::STAMP_BYTES;
use crate::load::transaction::Endings;

/// Largest body that a broker takes unless configured otherwise.
const SIZE_MAX: usize = 4 * 1024 * 1024;
/// Most different sizes of one load.
const SIZES_MAX: usize = 16;
/// Most queues of all topics together on one broker.
const QUEUES_MAX: u32 = 100_000;
/// Most connections.
const CONNECTIONS_MAX: usize = 20_000;
/// Highest rate: a message a nanosecond is no load but a loop.
const RATE_MAX: u64 = 100_000_000;
/// Most messages of one batch.
const BATCH_MAX: usize = 1024;
/// Most groups that pull the same messages.
const GROUPS_MAX: usize = 64;
/// Delay levels from 1 on, s: brokers' `messageDelayLevel` unless configured otherwise.
const LEVEL_SECONDS: [u64; 18] =
    [1, 5, 10, 30, 60, 120, 180, 240, 300, 360, 420, 480, 540, 600, 1200, 1800, 3600, 7200];
/// Most connections of a group at a broker that pop.
const POP_MAX: usize = 1024;
/// Most that a request may cost beside what it needs: at a second each there is no load any more.
const COST_MAX: Duration = Duration::from_secs(1);

/// What is sent, how fast and for how long. Names are those of the command line, in a scenario without the dashes.
#[derive(Debug, Clone, Args, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct LoadArgs {
    /// Topic; created on every target before the load begins. Of several topics the first part of their names
    #[arg(short = 't', long, default_value = "RingmqBench")]
    pub topic: String,
    /// Topics: TOPIC, TOPIC-1, TOPIC-2 ...
    #[arg(long, default_value_t = 1)]
    pub topics: u32,
    /// Queues of each topic on each target
    #[arg(long, default_value_t = 8)]
    pub queues: u32,
    /// Sending connections, all targets together
    #[arg(short = 'w', long, visible_alias = "threads", default_value_t = 8)]
    pub connections: usize,
    /// Closed loop: requests that each connection keeps without a reply
    #[arg(long)]
    pub in_flight: Option<usize>,
    /// Open loop: messages a second, all connections together; latency counts from the moment each was due
    #[arg(long)]
    pub rate: Option<u64>,
    /// Open loop: distances between messages
    #[arg(long, value_enum, default_value_t = Arrivals::Constant)]
    pub arrivals: Arrivals,
    /// Open loop: requests without a reply at which sending pauses (their latency goes on counting, and the report says so)
    #[arg(long, default_value_t = 1_000_000)]
    pub outstanding_max: usize,
    /// What a sender does with a message
    #[arg(long, value_enum, default_value_t = Sending::Async)]
    pub send: Sending,
    /// Bytes of a message's body: 256, or a distribution SIZE:SHARE,SIZE:SHARE such as 256:90,4096:9,65536:1
    #[arg(short = 's', long, default_value = "256")]
    #[serde(deserialize_with = "text_or_number")]
    pub size: String,
    /// Give each message a key of its own (KEYS), so that the broker indexes it
    #[arg(short = 'k', long, num_args = 0..=1, default_value_t = false, default_missing_value = "true")]
    pub keys: bool,
    /// Tags: messages get TAG0000, TAG0001 and so on, N of them in turn; 0 for none
    #[arg(long, default_value_t = 0)]
    pub tags: u32,
    /// Messages of one request
    #[arg(long, default_value_t = 1)]
    pub batch: usize,
    /// Ask brokers to deliver each message so long after it was sent (TIMER_DELIVER_MS), such as 5s; end to end counts from that moment
    #[arg(long, value_parser = parse_duration, default_value = "0s", value_name = "TIME")]
    #[serde(deserialize_with = "duration")]
    pub deliver_after: Duration,
    /// Ask brokers to deliver each message at one of their delay levels (DELAY), 1 to 18 as 1s 5s 10s 30s 1m and so on to 2h; 0 for none. End
    /// to end counts from that moment
    #[arg(long, value_name = "LEVEL", default_value_t = 0)]
    pub delay_level: u8,
    /// Send each message as a transaction: a half message, and its end when that is answered. Latency is that of both together
    #[arg(long)]
    pub transactions: bool,
    /// Roll every N-th transaction back and commit the others; 0 commits all
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub roll_back: u32,
    /// Write each request by itself, as stock clients do, instead of all that are ready together
    #[arg(long)]
    pub write_each: bool,
    /// Processor time to spend on each request before it is written, such as 2us: as a client that costs more
    #[arg(long, value_parser = parse_duration, default_value = "0us")]
    #[serde(deserialize_with = "duration")]
    pub work: Duration,
    /// Time to let pass for each request before it is written, without the processor, such as 2us: as a client that is further away
    #[arg(long, value_parser = parse_duration, default_value = "0us")]
    #[serde(deserialize_with = "duration")]
    pub think: Duration,
    /// How long to measure, such as 10s, 500ms, 2m or 1h
    #[arg(long, value_parser = parse_duration, default_value = "10s")]
    #[serde(deserialize_with = "duration")]
    pub duration: Duration,
    /// How long to send before measuring
    #[arg(long, value_parser = parse_duration, default_value = "2s")]
    #[serde(deserialize_with = "duration")]
    pub warmup: Duration,
    /// How long to wait, after the last message, for replies and for messages to arrive
    #[arg(long, value_parser = parse_duration, default_value = "10s")]
    #[serde(deserialize_with = "duration")]
    pub drain: Duration,
    /// Pull the messages back with long polls on connections of their own, and measure until each arrived
    #[arg(long)]
    pub end_to_end: bool,
    /// Pull only what has the first of the --tags, by its name or by an SQL92 expression of three terms, so that one of --tags messages comes;
    /// goes with --end-to-end. Brokers of Apache need enablePropertyFilter=true for SQL92
    #[arg(long, value_enum, value_name = "BY")]
    pub filter: Option<Filter>,
    /// Also pull them from the slaves of a cluster that is brought up or found by its name server, in a group of its own, and measure how much
    /// later each message is there than at its master; goes with --end-to-end
    #[arg(long)]
    pub lag: bool,
    /// Pull them from the slaves of a cluster that is brought up or found by its name server, not from its masters; goes with --end-to-end
    #[arg(long, conflicts_with = "lag")]
    pub from_slaves: bool,
    /// Pop the messages on so many connections a broker and group instead of pulling them, and acknowledge each; goes with --end-to-end. A
    /// closed loop then keeps in flight what is not acknowledged yet
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub pop: usize,
    /// Groups that pull all messages each; goes with --end-to-end
    #[arg(long, default_value_t = 1)]
    pub groups: usize,
    /// Go on when a connection breaks: connect again, to a slave if it is a consumer's, and send again what has no reply
    #[arg(long)]
    pub reconnect: bool,
    /// Account for every message: its content by a checksum, its place among those of its queue; goes with --end-to-end
    #[arg(long)]
    pub audit: bool,
    /// Use RocketMQ's binary request headers instead of JSON ones
    #[arg(long)]
    pub binary_header: bool,
    /// Stay on this processor
    #[arg(long, value_name = "N")]
    pub cpu: Option<usize>,
}

impl Default for LoadArgs {
    /// As the command line has it: one set of defaults, not two.
    fn default() -> Self {
        #[derive(Parser)]
        struct Alone {
            #[command(flatten)]
            load: LoadArgs,
        }
        Alone::parse_from(["ringmq-bench"]).load
    }
}

/// Distances between the messages of an open loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arrivals {
    /// All the same.
    Constant,
    /// Exponentially distributed, as of many independent senders: bursts belong to it.
    Poisson,
}

/// What a sender does with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sending {
    /// Sends on while earlier ones have no reply
    Async,
    /// Waits for each reply, one request a connection
    Sync,
    /// Wants no reply: what becomes of the message shows only at consumers
    Oneway,
}

/// How consumers ask for a part of the messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Filter {
    /// By the name of a tag
    Tag,
    /// By an SQL92 expression of three terms
    Sql,
}

impl Filter {
    /// Its type and text, as subscriptions have them.
    pub fn expression(this: Option<Self>) -> (&'static str, &'static str) {
        match this {
            None => ("TAG", "*"),
            Some(Self::Tag) => ("TAG", "TAG0000"),
            Some(Self::Sql) => ("SQL92", "place < 1 AND TAGS = 'TAG0000' AND WAIT = 'true'"),
        }
    }
}

/// Bytes of a body, and how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub struct SizeShare {
    pub bytes: usize,
    /// Of the sum of all shares.
    pub share: u32,
}

/// How messages are paced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Each connection keeps so many requests without a reply.
    Closed {
        /// Requests a connection.
        in_flight: usize,
    },
    /// Messages leave when they are due, replies or not.
    Open {
        /// Messages a second, all connections.
        rate_per_s: u64,
        /// Distances between them.
        arrivals: Arrivals,
        /// Requests without a reply at which sending pauses, all connections.
        outstanding_max: usize,
    },
}

/// Brokers that a load is put on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// Masters: what is sent goes there.
    pub targets: Vec<SocketAddr>,
    /// Consumers each: a broker's replicas in the order in which they are tried. Empty: the targets.
    pub sources: Vec<Vec<SocketAddr>>,
    /// Slaves, one a source in the same order, that are also pulled from to see how much later messages are there.
    pub lag_sources: Vec<Vec<SocketAddr>>,
}

/// Which replicas messages are pulled from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PulledFrom {
    /// From where they are sent to, or not at all.
    #[default]
    Masters,
    /// From elsewhere, and that can only be slaves.
    Slaves,
    /// By a group each.
    Both,
}

impl PulledFrom {
    fn of(place: &Place, is_pulled: bool) -> Self {
        let firsts = place.sources.iter().filter_map(|replicas| replicas.first());
        if !place.lag_sources.is_empty() {
            Self::Both
        } else if is_pulled && !place.sources.is_empty() && firsts.ne(&place.targets) {
            Self::Slaves
        } else {
            Self::Masters
        }
    }

    /// Whether it is so in most loads.
    pub fn is_usual(&self) -> bool {
        *self == Self::Masters
    }
}

/// A load that makes sense.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub struct Settings {
    /// Brokers; connection `n` goes to `targets[n % targets.len()]`.
    pub targets: Vec<SocketAddr>,
    /// First part of the topics' names, and with one topic all of it.
    pub topic: String,
    pub topics: u32,
    /// Queues of a topic on each target.
    pub queues: u32,
    /// Sending connections.
    pub connections: usize,
    /// Closed or open loop.
    pub pace: Pace,
    /// What a sender does with a message.
    pub send: Sending,
    /// Bodies.
    pub sizes: Vec<SizeShare>,
    /// Whether messages have keys.
    pub keys: bool,
    /// Different tags.
    pub tags: u32,
    /// Messages of one request.
    pub batch: usize,
    /// How long brokers are to keep a message before it is delivered, by its own time.
    pub deliver_after: Duration,
    /// The delay level of messages; 0 for none.
    pub delay_level: u8,
    /// Of a load of transactions.
    pub transactions: Option<Endings>,
    /// Whether each request is a write of its own.
    pub write_each: bool,
    /// Processor time spent on each request beside what it needs.
    pub work: Duration,
    /// Time that passes for each request without the processor.
    pub think: Duration,
    /// What counts.
    pub duration: Duration,
    /// What goes before.
    pub warmup: Duration,
    /// What may follow.
    pub drain: Duration,
    /// Brokers to pull the messages back from, each with its replicas; empty if they are not pulled.
    pub sources: Vec<Vec<SocketAddr>>,
    /// Brokers that a second group pulls from, to see how much later messages are there; empty if that is not asked for.
    pub lag_sources: Vec<Vec<SocketAddr>>,
    /// Where from, as far as it is a matter of roles.
    pub pulled_from: PulledFrom,
    /// Groups that pull.
    pub groups: usize,
    /// Connections of each group at each broker that pop; 0 where messages are pulled.
    pub pop: usize,
    /// How they ask for one message of [`Self::tags`]; none asks for all.
    pub filter: Option<Filter>,
    /// Whether a broken connection is made again.
    pub reconnect: bool,
    /// Whether content and order are checked.
    pub audit: bool,
    /// How request headers are written.
    pub header: HeaderKind,
    /// Processor to stay on.
    pub cpu: Option<usize>,
}

/// Why a load makes no sense.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[allow(missing_docs, reason = "the messages say what each is")]
pub enum SettingsError {
    #[error(
        "say where to send: --target HOST:PORT, -n NAMESRV for those that a name server knows, or --up ringmq:all to start one"
    )]
    NoTarget,
    #[error("say how to send: --in-flight N for a closed loop, or --rate N for a fixed rate")]
    NoPace,
    #[error("--in-flight and --rate exclude each other: a closed loop has no rate of its own")]
    TwoPaces,
    #[error("{0}")]
    Contradiction(&'static str),
    /// A number out of its bounds.
    #[error("{option} {value} is out of range: it takes {min} to {max}")]
    OutOfRange { option: &'static str, value: u64, min: u64, max: u64 },
    #[error("--size '{text}' is neither a number of bytes nor SIZE:SHARE,SIZE:SHARE with at most {SIZES_MAX} sizes")]
    Sizes { text: String },
    /// A topic that brokers refuse.
    #[error("topic '{topic}' is no topic name: 1 to 120 of letters, digits, %, |, - and _")]
    Topic { topic: String },
    #[error("target '{target}' is no address: {reason}")]
    Target {
        target: String,
        /// What is wrong with it.
        reason: String,
    },
    #[error("target {target} is not on this machine; add --allow-remote if you may put load on it")]
    Remote { target: SocketAddr },
    /// Nothing would be measured.
    #[error("--duration must be longer than zero")]
    NoDuration,
    /// A broker would get nothing.
    #[error("{connections} connections cannot reach {targets} targets: at least one each")]
    FewConnections { connections: usize, targets: usize },
}

impl Settings {
    /// Checks everything that can be checked without talking to a broker.
    ///
    /// # Errors
    /// The first thing that makes no sense.
    pub fn check(args: &LoadArgs, place: &Place) -> Result<Self, SettingsError> {
        if place.targets.is_empty() {
            return Err(SettingsError::NoTarget);
        }
        let pace = pace(args)?;
        let is_name = |letter: char| letter.is_ascii_alphanumeric() || "%|-_".contains(letter);
        if args.topic.is_empty() || args.topic.len() > 120 || !args.topic.chars().all(is_name) {
            return Err(SettingsError::Topic { topic: args.topic.clone() });
        }
        if args.duration.is_zero() {
            return Err(SettingsError::NoDuration);
        }
        check_consumers(args, place)?;
        if args.work.max(args.think) > COST_MAX {
            return Err(SettingsError::Contradiction("--work and --think are times for one request: at most 1s"));
        }
        let connections = within("--connections", args.connections, 1, CONNECTIONS_MAX)?;
        if connections < place.targets.len() {
            return Err(SettingsError::FewConnections { connections, targets: place.targets.len() });
        }
        let topics = within("--topics", args.topics, 1, QUEUES_MAX)?;
        let queues = within("--queues", args.queues, 1, QUEUES_MAX / topics)?;
        let sources = match (args.end_to_end, place.sources.is_empty()) {
            (false, _) => Vec::new(),
            (true, true) => place.targets.iter().map(|target| vec![*target]).collect(),
            (true, false) => place.sources.clone(),
        };
        let batch = within("--batch", args.batch, 1, BATCH_MAX)?;
        let delay_level = within("--delay-level", args.delay_level, 0, LEVEL_SECONDS.len().try_into().unwrap_or(0))?;
        check_delay(args)?;
        let transactions = endings(args)?;
        let sizes = parse_sizes(&args.size)?;
        if sizes.iter().any(|size| size.bytes * batch > SIZE_MAX) {
            return Err(SettingsError::Contradiction("a batch of that many messages of that size is more than 4 MiB"));
        }
        Ok(Self {
            targets: place.targets.clone(),
            topic: args.topic.clone(),
            topics,
            queues,
            connections,
            pace,
            send: args.send,
            sizes,
            keys: args.keys,
            tags: within("--tags", args.tags, 0, 10_000)?,
            batch,
            deliver_after: args.deliver_after,
            delay_level,
            transactions,
            write_each: args.write_each,
            work: args.work,
            think: args.think,
            duration: args.duration,
            warmup: args.warmup,
            drain: args.drain,
            pulled_from: PulledFrom::of(place, args.end_to_end),
            sources,
            lag_sources: place.lag_sources.clone(),
            groups: within("--groups", args.groups, 1, GROUPS_MAX)?,
            pop: within("--pop", args.pop, 0, POP_MAX)?,
            filter: args.filter,
            reconnect: args.reconnect,
            audit: args.audit,
            header: if args.binary_header { HeaderKind::Binary } else { HeaderKind::Json },
            cpu: args.cpu,
        })
    }
}

impl Settings {
    /// How long brokers keep a message before it is delivered.
    pub fn delay(&self) -> Duration {
        self.deliver_after.max(level_time(self.delay_level))
    }
}

/// What a delay level is, unless a broker's `messageDelayLevel` says otherwise.
fn level_time(level: u8) -> Duration {
    let seconds = level.checked_sub(1).and_then(|place| LEVEL_SECONDS.get(usize::from(place)));
    Duration::from_secs(seconds.copied().unwrap_or(0))
}

/// How long messages are to wait, and whether that goes with the rest.
fn check_delay(args: &LoadArgs) -> Result<(), SettingsError> {
    let refuse = |reason| Err(SettingsError::Contradiction(reason));
    if !args.deliver_after.is_zero() && args.delay_level > 0 {
        return refuse("--deliver-after and --delay-level exclude each other: two times to deliver one message");
    }
    let delay = args.deliver_after.max(level_time(args.delay_level));
    if args.batch > 1 && !delay.is_zero() {
        return refuse("--deliver-after and --delay-level exclude --batch: brokers refuse batches that wait");
    }
    if args.end_to_end && args.drain < delay {
        return refuse(
            "--drain must be longer than messages wait (--deliver-after, --delay-level), or the last arrive after the end",
        );
    }
    Ok(())
}

/// How transactions end, if messages are such.
fn endings(args: &LoadArgs) -> Result<Option<Endings>, SettingsError> {
    let refuse = |reason| Err(SettingsError::Contradiction(reason));
    if !args.transactions {
        if args.roll_back > 0 {
            return refuse("--roll-back needs --transactions");
        }
        return Ok(None);
    }
    if args.batch > 1 || !args.deliver_after.is_zero() || args.delay_level > 0 {
        return refuse("--transactions exclude --batch, --deliver-after and --delay-level: brokers know no such thing");
    }
    if args.send == Sending::Oneway {
        return refuse("--transactions need the replies that --send oneway does not want");
    }
    Ok(Some(Endings { roll_back: args.roll_back }))
}

/// What is asked of consumers, and whether there is anything to pull from.
fn check_consumers(args: &LoadArgs, place: &Place) -> Result<(), SettingsError> {
    let refuse = |reason| Err(SettingsError::Contradiction(reason));
    if !args.end_to_end && (args.audit || args.lag || args.from_slaves || args.groups != 1) {
        return refuse("--audit, --lag, --from-slaves and --groups need --end-to-end: they are about what arrives");
    }
    if args.pop > 0 {
        check_pop(args, place)?;
    }
    if args.filter.is_some() && (!args.end_to_end || args.tags == 0) {
        return refuse("--filter needs --end-to-end, and --tags of which it lets one pass");
    }
    if args.lag && args.from_slaves {
        return refuse("--lag and --from-slaves exclude each other");
    }
    if args.lag && place.lag_sources.is_empty() {
        return refuse("--lag needs slaves that are known: --up, -n, or --lag-at names them");
    }
    if !place.lag_sources.is_empty() && (args.groups != 1 || place.lag_sources.len() != place.targets.len()) {
        return refuse("--lag-at takes one slave a target, and has a group of its own");
    }
    Ok(())
}

/// Whether what is popped goes with the rest.
fn check_pop(args: &LoadArgs, place: &Place) -> Result<(), SettingsError> {
    let refuse = |reason| Err(SettingsError::Contradiction(reason));
    if !args.end_to_end {
        return refuse("--pop needs --end-to-end: it is about what arrives");
    }
    if args.topics > 1 {
        return refuse("--pop takes one topic");
    }
    if args.lag || args.from_slaves || !place.lag_sources.is_empty() || args.reconnect {
        return refuse("--pop excludes --lag, --lag-at, --from-slaves and --reconnect: who pops stays with its master");
    }
    Ok(())
}

/// Brokers as typed; [`TargetArgs::resolve`] finds them.
#[derive(Debug, Clone, Default, Args)]
pub struct TargetArgs {
    /// Brokers to send to, HOST:PORT or several with commas between; connections are spread over them
    #[arg(long, value_delimiter = ',', value_name = "HOST:PORT")]
    pub target: Vec<String>,
    /// Pull the messages from these brokers, slaves of the targets for example, and not from the targets; goes with --end-to-end
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',', requires = "end_to_end")]
    pub consume_from: Vec<String>,
    /// Pull them from these slaves as well, one a target in the same order, and measure how much later each message is there than at its
    /// master; goes with --end-to-end
    #[arg(
        long,
        value_name = "HOST:PORT",
        value_delimiter = ',',
        requires = "end_to_end",
        conflicts_with = "consume_from"
    )]
    pub lag_at: Vec<String>,
    /// Allow targets that are not on this machine
    #[arg(long)]
    pub allow_remote: bool,
}

impl TargetArgs {
    /// Their addresses.
    ///
    /// # Errors
    /// When one is no address, or on another machine though that was not allowed.
    pub fn resolve(&self) -> Result<Place, SettingsError> {
        let all = |texts: &[String]| -> Result<Vec<SocketAddr>, SettingsError> {
            texts.iter().map(|text| resolve(text, self.allow_remote)).collect()
        };
        let each_alone = |addresses: Vec<SocketAddr>| addresses.into_iter().map(|address| vec![address]).collect();
        Ok(Place {
            targets: all(&self.target)?,
            sources: each_alone(all(&self.consume_from)?),
            lag_sources: each_alone(all(&self.lag_at)?),
        })
    }
}

/// Closed or open loop.
fn pace(args: &LoadArgs) -> Result<Pace, SettingsError> {
    Ok(match (args.in_flight, args.rate, args.send) {
        (None, None, Sending::Sync) => Pace::Closed { in_flight: 1 },
        (None, None, _) => return Err(SettingsError::NoPace),
        (Some(_), Some(_), _) => return Err(SettingsError::TwoPaces),
        (Some(_), None, Sending::Oneway) => {
            return Err(SettingsError::Contradiction(
                "--send oneway has no replies to keep in flight: give it a --rate",
            ));
        }
        (Some(2..), None, Sending::Sync) => {
            return Err(SettingsError::Contradiction("--send sync has one request in flight a connection"));
        }
        (Some(in_flight), None, _) => Pace::Closed { in_flight: within("--in-flight", in_flight, 1, 65_536)? },
        (None, Some(rate), _) => Pace::Open {
            rate_per_s: within("--rate", rate, 1, RATE_MAX)?,
            arrivals: args.arrivals,
            outstanding_max: within("--outstanding-max", args.outstanding_max, 1, PENDING_MAX)?,
        },
    })
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

/// The address of `target`.
///
/// # Errors
/// When it is none, or on another machine and `allow_remote` is not given.
pub fn resolve(target: &str, allow_remote: bool) -> Result<SocketAddr, SettingsError> {
    let refuse = |reason: String| SettingsError::Target { target: target.to_owned(), reason };
    let mut addresses = target.to_socket_addrs().map_err(|error| refuse(error.to_string()))?;
    let address = addresses.next().ok_or_else(|| refuse("it resolves to nothing".to_owned()))?;
    if !address.ip().is_loopback() && !allow_remote {
        return Err(SettingsError::Remote { target: address });
    }
    Ok(address)
}

fn parse_sizes(text: &str) -> Result<Vec<SizeShare>, SettingsError> {
    let refuse = || SettingsError::Sizes { text: text.to_owned() };
    let mut sizes = Vec::new();
    for part in text.split(',') {
        let (bytes, share) = part.split_once(':').unwrap_or((part, "1"));
        let bytes: usize = bytes.trim().parse().map_err(|_| refuse())?;
        let share: u32 = share.trim().trim_end_matches('%').parse().map_err(|_| refuse())?;
        let bytes = within("--size", bytes, STAMP_BYTES, SIZE_MAX)?;
        sizes.push(SizeShare { bytes, share: within("the share of a size", share, 1, 1_000_000)? });
    }
    if sizes.len() > SIZES_MAX || (sizes.len() > 1 && !text.contains(':')) {
        return Err(refuse());
    }
    Ok(sizes)
}

/// `10s`, `500ms`, `20us`, `2m`, `1h`.
///
/// # Errors
/// A sentence.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let scale = match unit {
        "us" => 1e-6,
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err("a duration has a unit: 10s, 500ms, 2m or 1h".to_owned()),
    };
    let number: f64 = number.parse().map_err(|_| format!("'{number}' is no number"))?;
    let seconds = number * scale;
    if seconds > 7.0 * 86_400.0 {
        return Err("longer than a week".to_owned());
    }
    Ok(Duration::from_secs_f64(seconds))
}

/// A duration in a scenario's file.
///
/// # Errors
/// When the text is none.
pub fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    parse_duration(&String::deserialize(from)?).map_err(serde::de::Error::custom)
}

/// `size = 256` and `size = "256:90,4096:10"` both read well.
fn text_or_number<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Number(u64),
        Text(String),
    }
    Ok(match Either::deserialize(from)? {
        Either::Number(number) => number.to_string(),
        Either::Text(text) => text,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        load: LoadArgs,
        #[command(flatten)]
        target: TargetArgs,
    }

    fn check(line: &str) -> Result<Settings, String> {
        let words = ["ringmq-bench"].into_iter().chain(line.split_whitespace());
        let parsed = Line::try_parse_from(words).map_err(|error| error.to_string())?;
        let place = parsed.target.resolve().map_err(|error| error.to_string())?;
        Settings::check(&parsed.load, &place).map_err(|error| error.to_string())
    }

    #[test]
    fn a_full_line_becomes_settings() {
        let line = "--target 127.0.0.1:10911,127.0.0.1:10921 --topic T --queues 3 --connections 2 --rate 10000 --size 1024 --duration 1.5s \
                    --warmup 0s --end-to-end --binary-header --cpu 1";
        let settings = check(line).expect("a good line");
        assert_eq!(settings.targets.len(), 2);
        assert_eq!(
            settings.pace,
            Pace::Open { rate_per_s: 10_000, arrivals: Arrivals::Constant, outstanding_max: 1_000_000 }
        );
        assert_eq!((settings.duration, settings.warmup), (Duration::from_millis(1500), Duration::ZERO));
        assert_eq!((settings.header, settings.cpu), (HeaderKind::Binary, Some(1)));
        assert_eq!(settings.sources, settings.targets.iter().map(|target| vec![*target]).collect::<Vec<_>>());
        let settings = check(&format!("{line} --consume-from 127.0.0.1:10912")).expect("a good line");
        assert_eq!(settings.sources, [["127.0.0.1:10912".parse().expect("an address")]]);
    }

    #[test]
    fn a_delay_level_is_a_time_and_transactions_have_ends() {
        let good = "--target 127.0.0.1:1 --rate 5";
        let settings = check(&format!("{good} --delay-level 2 --end-to-end")).expect("a good line");
        assert_eq!((settings.delay(), settings.deliver_after), (Duration::from_secs(5), Duration::ZERO));
        assert_eq!(check(&format!("{good} --deliver-after 2s")).expect("a good line").delay(), Duration::from_secs(2));
        assert_eq!(check(good).expect("a good line").transactions, None);
        let settings = check(&format!("{good} --transactions --roll-back 10")).expect("a good line");
        assert_eq!(settings.transactions, Some(Endings { roll_back: 10 }));
    }

    #[test]
    fn the_letters_of_scripts_that_exist_are_known() {
        let settings = check("--target 127.0.0.1:1 -t Old -w 64 -s 128 -k true --send sync").expect("a good line");
        assert_eq!((settings.topic.as_str(), settings.connections, settings.keys), ("Old", 64, true));
        assert_eq!(settings.sizes, [SizeShare { bytes: 128, share: 1 }]);
        assert_eq!(settings.pace, Pace::Closed { in_flight: 1 });
    }

    #[test]
    fn sizes_are_a_number_or_a_distribution() {
        let sizes = |text| parse_sizes(text).map(|sizes| sizes.iter().map(|size| (size.bytes, size.share)).collect());
        assert_eq!(sizes("256"), Ok(vec![(256, 1)]));
        assert_eq!(sizes("256:90,4096:9%, 65536:1"), Ok(vec![(256, 90), (4096, 9), (65_536, 1)]));
        for wrong in ["", "a", "256,512", "256:", "256:0", "31", "256:1,", "5000000:1"] {
            assert!(parse_sizes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_scenario_has_the_names_and_defaults_of_the_command_line() {
        let read = |text: &str| serde_json::from_str::<LoadArgs>(text).map_err(|error| error.to_string());
        let load = read(r#"{"rate": 10000, "size": 512, "duration": "30s", "end-to-end": true}"#).expect("a load");
        assert_eq!((load.rate, load.size.as_str(), load.duration.as_secs()), (Some(10_000), "512", 30));
        assert_eq!((load.connections, load.warmup.as_secs(), load.topic.as_str()), (8, 2, "RingmqBench"));
        assert!(read(r#"{"rats": 1}"#).expect_err("a typing error").contains("unknown field `rats`"));
        assert!(read(r#"{"duration": "30"}"#).expect_err("no unit").contains("a duration has a unit"));
    }

    #[test]
    fn nonsense_is_refused_with_its_reason() {
        let refused = |line: &str, expected: &str| {
            let error = check(line).expect_err(line);
            assert!(error.contains(expected), "{line}\n  says: {error}\n  wanted: {expected}");
        };
        let good = "--target 127.0.0.1:1 --topic T --duration 1s";
        refused("--topic T --duration 1s --rate 5", "say where to send");
        refused(good, "say how to send");
        refused(&format!("{good} --in-flight 1 --rate 1"), "exclude each other");
        refused(&format!("{good} --in-flight 0"), "--in-flight 0 is out of range");
        refused(&format!("{good} --rate 0"), "--rate 0 is out of range");
        refused(&format!("{good} --rate 5 --size 31"), "it takes 32 to 4194304");
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
        refused(&format!("{good} --rate 5 --filter sql --end-to-end"), "--tags of which");
        refused(&format!("{good} --rate 5 --filter tag --tags 9"), "needs --end-to-end");
        refused(&format!("{good} --rate 5 --pop 1"), "needs --end-to-end");
        refused(&format!("{good} --rate 5 --end-to-end --pop 1 --topics 2"), "one topic");
        refused(&format!("{good} --rate 5 --end-to-end --pop 1 --reconnect"), "stays with its master");
        refused(&format!("{good} --rate 5 --end-to-end --pop 1025"), "it takes 0 to 1024");
        refused(&format!("{good} --rate 5 --delay-level 19"), "it takes 0 to 18");
        refused(&format!("{good} --rate 5 --delay-level 1 --deliver-after 5s"), "exclude each other");
        refused(&format!("{good} --rate 5 --delay-level 1 --batch 2"), "exclude --batch");
        refused(&format!("{good} --rate 5 --delay-level 4 --end-to-end"), "--drain must be longer");
        refused(&format!("{good} --rate 5 --roll-back 2"), "needs --transactions");
        refused(&format!("{good} --rate 5 --transactions --batch 2"), "exclude --batch");
        refused(&format!("{good} --rate 5 --transactions --send oneway"), "need the replies");
        refused(&format!("{good} --rate 5 --end-to-end --consume-from 192.0.2.1:1"), "--allow-remote");
        refused(
            "--target 127.0.0.1:1,127.0.0.1:2 --connections 1 --topic T --duration 1s --rate 5",
            "at least one each",
        );
    }
}
