//! The words of RocketMQ as types, so that two offsets or two names cannot be mixed.
//!
//! Nothing here has behaviour beyond checking its own shape. `Arc<str>` names are cheap to clone and may cross threads
//! (a shard's mailbox to the control plane), which is the only reason they are not `Rc`.

use std::fmt;
use std::sync::Arc;

/// A map for look-ups only. Its order depends on a hash, so it must never be iterated where the order can be seen.
///
/// The hasher has a fixed seed: the same input gives the same run, in the simulator too.
#[expect(clippy::disallowed_types, reason = "this alias is where the seeded default hasher is replaced")]
pub type FastMap<K, V> = std::collections::HashMap<K, V, foldhash::fast::FixedState>;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number! {
    /// Byte position in one shard's commit log. RocketMQ: physical offset.
    LogOffset(u64)
}
number! {
    /// Position in one message queue, counted in messages; the next one to be written is last + 1. RocketMQ: logic offset.
    QueueOffset(u64)
}
number! {
    /// Number of a message queue within a topic on one broker.
    QueueId(u32)
}
number! {
    /// Number of a shard within its node, from 0. It never leaves the node: on the wire a shard is a broker name.
    ShardId(u16)
}
number! {
    /// A connection of one shard. Never reused while the process lives.
    ConnectionId(u64)
}
number! {
    /// Milliseconds since the Unix epoch, as RocketMQ stores and sends time.
    UnixMs(i64)
}
number! {
    /// Nanoseconds of a clock that never goes back; its zero has no meaning.
    MonoNs(u64)
}
number! {
    /// A broker's number within its brokerName: 0 is the master.
    BrokerId(u64)
}
number! {
    /// A link: a replication connection of one shard, to a slave or to its master. Never reused while the process lives.
    LinkId(u64)
}
number! {
    /// A master's numbered reign over a log. On the wire it has 32 bits and a sign.
    Epoch(u32)
}

impl BrokerId {
    /// That of a master.
    pub const MASTER: BrokerId = BrokerId(0);
}

macro_rules! identity {
    ($(#[$doc:meta])* $name:ident($inner:ty), $digits:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl $name {
            /// Whether it is one. Older stores and Apache's brokers have none, which is written as 0.
            #[must_use]
            pub fn is_known(self) -> bool {
                self.0 != 0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self.0 {
                    0 => f.write_str("unknown"),
                    id => write!(f, concat!("{:0", $digits, "x}"), id),
                }
            }
        }

        impl std::str::FromStr for $name {
            type Err = std::num::ParseIntError;

            fn from_str(text: &str) -> Result<$name, Self::Err> {
                if text == "unknown" { Ok($name(0)) } else { <$inner>::from_str_radix(text, 16).map($name) }
            }
        }
    };
}

identity! {
    /// Which log this is: 128 random bits, made by its first master, the same on every replica. Two logs are one only if both have it.
    LogId(u128), "32"
}
identity! {
    /// Which reign this is: 64 random bits, made when a master begins it. An epoch's number may come twice in two logs, this does not.
    ReignId(u64), "16"
}

/// Which master a slave follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub enum MasterLog {
    /// One that says whose bytes it has.
    Named { log: LogId, reign: ReignId },
    /// Apache's, or an older ringmq.
    Nameless,
}

impl MasterLog {
    /// How a master of ringmq names itself beside its tables; nothing is known of others.
    #[must_use]
    pub fn text(self) -> Option<String> {
        match self {
            MasterLog::Named { log, reign } => Some(format!("{log}/{reign}")),
            MasterLog::Nameless => None,
        }
    }
}

impl LogOffset {
    /// The offset `bytes` further on. Offsets are made by this process and stay far below 2^63.
    #[must_use]
    pub fn plus(self, bytes: u64) -> LogOffset {
        LogOffset(self.0.checked_add(bytes).expect("a log offset stays below 2^63"))
    }

    /// Bytes from `earlier` to here.
    ///
    /// # Panics
    /// If `earlier` lies behind `self`: offsets of one log are compared before they are subtracted.
    #[must_use]
    pub fn since(self, earlier: LogOffset) -> u64 {
        self.0.checked_sub(earlier.0).expect("`earlier` lies at or before this offset")
    }
}

impl QueueOffset {
    /// The offset `count` messages further on.
    #[must_use]
    pub fn plus(self, count: u64) -> QueueOffset {
        QueueOffset(self.0.checked_add(count).expect("a queue offset stays below 2^63"))
    }
}

impl MonoNs {
    /// The moment `ms` milliseconds later; saturates, for deadlines that clients choose.
    #[must_use]
    pub fn plus_ms(self, ms: u64) -> MonoNs {
        MonoNs(self.0.saturating_add(ms.saturating_mul(1_000_000)))
    }

    /// Milliseconds from `earlier` to here, 0 if it lies behind.
    #[must_use]
    pub fn ms_since(self, earlier: MonoNs) -> u64 {
        self.0.saturating_sub(earlier.0) / 1_000_000
    }
}

/// A broker's part in replication, in RocketMQ's words: `brokerRole`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// Appends, and replies without asking a slave.
    #[default]
    AsyncMaster,
    /// Appends, and replies when `inSyncReplicas` have the message.
    SyncMaster,
    /// Copies its master's log.
    Slave,
}

impl Role {
    /// Whether it appends what producers send.
    #[must_use]
    pub fn is_master(self) -> bool {
        self != Role::Slave
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::AsyncMaster => "ASYNC_MASTER",
            Role::SyncMaster => "SYNC_MASTER",
            Role::Slave => "SLAVE",
        })
    }
}

/// What time it is, as an argument: the core has no clock of its own.
#[derive(Clone, Copy, Debug, Default)]
pub struct Now {
    /// Wall clock, for what is stored and sent.
    pub unix: UnixMs,
    /// Monotonic clock, for deadlines and durations.
    pub mono: MonoNs,
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                $name(Arc::from(text))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

name! {
    /// A topic's name. Whether it is well-formed is decided where it enters (`broker::topic`).
    TopicName
}
name! {
    /// A consumer group's or producer group's name.
    GroupName
}
name! {
    /// RocketMQ's client id: `ip@instance[@unit]`.
    ClientId
}
name! {
    /// The name under which a shard registers: one broker to every client.
    BrokerName
}
