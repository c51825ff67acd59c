//! Why a slave leaves a master, and what follows from it.

use std::net::SocketAddr;

use thiserror::Error;

use super::super::epoch::EpochError;
use crate::limits::HA_BODY_BYTES_MAX;
use crate::log::{BeginError, ReplicaError};
use crate::model::{LinkId, LogId, LogOffset};
use crate::protocol::ha::{LogVerdict, Statement};

/// Why a slave gives up a connection. One sentence for the log.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub enum SlaveError {
    /// The stream does not go on where the log ends.
    #[error("the master sends the log from {found} on, but this one goes on at {expected}")]
    OutOfPlace {
        /// Where the log ends, with what is pending.
        expected: LogOffset,
        /// What was sent.
        found: LogOffset,
    },
    /// A transfer is larger than anyone sends.
    #[error("a transfer of {bytes} bytes, {HA_BODY_BYTES_MAX} at most: these are not a master's bytes")]
    TooLarge { bytes: usize },
    /// What the master says is not the protocol.
    #[error("what it says is not RocketMQ's replication protocol")]
    Garbage,
    /// It has not been heard of for too long; or not been listened to, while the log took nothing.
    #[error("nothing was read from the master for {silent_ms} ms")]
    Silent {
        /// For how long.
        silent_ms: u64,
    },
    /// The master speaks the classic stream.
    #[error("the master speaks the classic stream")]
    Classic,
    /// The two logs are not one.
    #[error(
        "its log, {theirs}, is not this one, {ours}, {start} to {end}: nothing is taken from it, and nothing is cut; if the master is right, give this slave an empty store"
    )]
    Foreign {
        /// This log.
        ours: LogId,
        /// The master's.
        theirs: LogId,
        /// Where this log begins.
        start: LogOffset,
        /// Where it ends.
        end: LogOffset,
    },
    /// This log has no name, and its bytes are not the master's.
    #[error(
        "its bytes at {at} are others than those of this log, {start} to {end}, which is too old to have a name: they are two logs; nothing is taken from it, and nothing is cut; if the master is right, give this slave an empty store"
    )]
    Unlike {
        /// The first byte that differs.
        at: LogOffset,
        /// Where this log begins.
        start: LogOffset,
        /// Where it ends.
        end: LogOffset,
    },
    /// This log has no name, and the master, which has less, cannot say more than its end.
    #[error(
        "it has the log only up to {theirs}, and this one, which has no name to go by, goes to {end}: nothing is taken before it has as much; if the master is right, give this slave an empty store"
    )]
    Shorter {
        /// The master's end.
        theirs: LogOffset,
        /// This log's end.
        end: LogOffset,
    },
    /// The own log cannot be compared with the master's.
    #[error("this log, which has no name to go by, cannot be read at {at}, and so not be compared with the master's")]
    Unreadable {
        /// Where.
        at: LogOffset,
    },
    /// The master cannot say which log it has, and this one has a name.
    #[error(
        "it does not say which log it has, as Apache's brokers and older versions of ringmq do not; this one, {ours}, follows only masters that do"
    )]
    Nameless {
        /// This log.
        ours: LogId,
    },
    /// The logs part before this one begins.
    #[error(
        "this log begins at {start} and leaves the master's at {point}: give this slave an empty store to copy the master"
    )]
    Hopeless {
        /// Where this log begins.
        start: LogOffset,
        /// Where it ends.
        end: LogOffset,
        /// Up to where both are the same.
        point: LogOffset,
    },
    /// This log has bytes that the master's has not, and a master may have acknowledged them: they may be all that is left of them.
    #[error(
        "this log ends at {end}, but is the master's only up to {point}, and what lies before {acknowledged} may have been acknowledged to producers: the master has lost what both had; nothing is cut"
    )]
    Ahead {
        /// Where this log ends.
        end: LogOffset,
        /// Up to where both are the same.
        point: LogOffset,
        /// Before that lies what may have been acknowledged.
        acknowledged: LogOffset,
    },
    /// This log has bytes that the master's has not, and that nobody has acknowledged, or that an operator gives up; it is to be cut.
    #[error("this log ends at {end}, but is the master's only up to {point}: the rest is moved aside and cut off")]
    Diverged {
        /// Where this log ends.
        end: LogOffset,
        /// Up to where both are the same.
        point: LogOffset,
    },
    /// What was sent is no record of this log.
    #[error("what it sends cannot be stored: {0}")]
    Record(ReplicaError),
    /// The log cannot begin where the master's stream does.
    #[error("the log cannot begin where the master's does: {0}")]
    Begin(#[from] BeginError),
    /// An epoch does not follow the last one.
    #[error("the master's epochs are not in order: {0}")]
    Epochs(#[from] EpochError),
}

/// What a slave has and its master has not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Surplus {
    /// Its first byte.
    pub(crate) from: LogOffset,
    /// Its end.
    pub(crate) to: LogOffset,
    /// One sentence.
    pub(crate) why: String,
}

impl SlaveError {
    /// What the master is told of it, if it can do something about it: `opening` is what it was or would have been told at first.
    pub(super) fn statement(&self, opening: Statement, stored: LogOffset) -> Option<Statement> {
        let (verdict, point) = match self {
            SlaveError::Record(_) => (LogVerdict::Damaged, stored),
            SlaveError::Foreign { .. } | SlaveError::Unlike { .. } => (LogVerdict::Stranger, opening.end),
            SlaveError::Hopeless { point, .. } => (LogVerdict::Hopeless, *point),
            SlaveError::Ahead { point, .. } => (LogVerdict::Ahead, *point),
            _ => return None,
        };
        Some(Statement { verdict, point, ..opening })
    }

    /// What an operator may give up so that the master can be followed: this log from here on, up to there.
    pub(super) fn surplus(&self) -> Option<(LogOffset, LogOffset)> {
        match *self {
            SlaveError::Foreign { start, end, .. }
            | SlaveError::Unlike { start, end, .. }
            | SlaveError::Hopeless { start, end, .. } => Some((start, end)),
            SlaveError::Ahead { point, end, .. } => Some((point, end)),
            _ => None,
        }
    }

    /// The same for all errors of a kind: what is said once does not have to be said again for another number.
    #[must_use]
    pub(crate) fn kind(&self) -> std::mem::Discriminant<SlaveError> {
        std::mem::discriminant(self)
    }
}

/// A connection that the slave has given up.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub struct Left {
    /// Where the master is.
    pub(crate) master: Option<SocketAddr>,
    /// Which, if it is to be closed at once; else its end follows when the master has been told why.
    pub(crate) link: Option<LinkId>,
    pub why: SlaveError,
    /// Where the log is to be cut: two connections in a row have said that it leaves the master's there.
    pub(crate) cut: Option<LogOffset>,
}
