//! The two replication streams on the wire: neither has RocketMQ's frames, both have fixed headers and the log's own bytes.
//!
//! [`classic`] is what every RocketMQ broker speaks; [`epoch`] adds to it the reigns of masters, so that a slave whose log has parted from its
//! master's can be told where; [`identity`] is what ringmq nodes add to that. Both are on the same port; the first bytes of a slave tell which it
//! is ([`SlaveMessage::decode`]). What either end asks of the other's log is [`mend`].
//!
//! Decoders look at the front of what was received and give `None` while that is too little. Bodies are not theirs: they say how long one is,
//! within its bound, and `log` checks what is in it.

pub mod classic;
pub mod epoch;
pub mod identity;
pub mod mend;
mod stream;

pub use identity::{EpochEntry, Lineage, LogVerdict, Statement};
pub use mend::{Ask, MendMessage};
pub use stream::{SLAVE_MESSAGE_BYTES_MAX, SLAVE_STATEMENT_BYTES, SlaveMessage, StreamKind, Transfer, TransferReign};

use thiserror::Error;

use super::cursor::Cursor;
use crate::limits::HA_BODY_BYTES_MAX;
use crate::model::LogOffset;

/// Why bytes are no message of a replication stream.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum HaError {
    /// A number that is never below zero.
    #[error("{what} of {value}")]
    Negative {
        /// Which field.
        what: &'static str,
        /// What it holds.
        value: i64,
    },
    /// A body beyond its bound.
    #[error("a body of {bytes} bytes, {max} is the most")]
    TooLong {
        /// What the header says.
        bytes: usize,
        /// The bound.
        max: usize,
    },
    /// Another message than the one that comes next, or none at all.
    #[error("state {found} where {expected} belongs")]
    BadState {
        /// The state of the message that comes next.
        expected: i32,
        /// What came.
        found: i32,
    },
    /// A verdict that nobody gives.
    #[error("a slave's statement without a verdict")]
    BadVerdict,
    /// An ask for no byte.
    #[error("an ask for nothing")]
    Empty,
    /// A list whose bytes are no whole number of entries.
    #[error("{bytes} bytes are no list of epochs")]
    BadList {
        /// What the header says.
        bytes: usize,
    },
}

fn offset(what: &'static str, value: i64) -> Result<LogOffset, HaError> {
    u64::try_from(value).map(LogOffset).map_err(|_| HaError::Negative { what, value })
}

fn body_bytes(value: i32, max: usize) -> Result<usize, HaError> {
    let bytes = usize::try_from(value).map_err(|_| HaError::Negative { what: "body size", value: value.into() })?;
    if bytes > max { Err(HaError::TooLong { bytes, max }) } else { Ok(bytes) }
}

/// A body's size as the wire has it.
///
/// # Panics
/// If it is beyond its bound: who makes a transfer knows how much fits.
fn wire_size(bytes: usize) -> i32 {
    assert!(bytes <= HA_BODY_BYTES_MAX, "a transfer of {bytes} bytes, {HA_BODY_BYTES_MAX} is the most");
    i32::try_from(bytes).expect("the bound is far below 2^31")
}

#[cfg(test)]
mod tests;
