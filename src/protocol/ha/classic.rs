//! The classic stream.
//!
//! Slave to master, after it has connected, when it has stored something, and now and then:
//!
//! | bytes | field | meaning                                    |
//! |-------|-------|--------------------------------------------|
//! | 0..8  | `end` | `i64`, end of the slave's log; 0 for none  |
//!
//! Master to slave:
//!
//! | bytes | field        | meaning                                               |
//! |-------|--------------|-------------------------------------------------------|
//! | 0..8  | `offset`     | `i64`, log offset of the first byte of the body       |
//! | 8..12 | `body_bytes` | `i32`, at most [`HA_BODY_BYTES_MAX`]; 0 is a heartbeat |
//! | then  | body         | the log's bytes, cut anywhere                         |
//!
//! A slave that reports 0 first is sent the log from the start of its last segment on. Source: Apache RocketMQ 5.3 `DefaultHAConnection`,
//! `DefaultHAClient`.

use bytes::BufMut;

use super::{Cursor, HaError, body_bytes, offset, wire_size};
use crate::limits::HA_BODY_BYTES_MAX;
use crate::model::LogOffset;

/// A slave's report: its offset, 8 bytes.
pub(crate) const REPORT_BYTES: usize = 8;
/// Bytes of a transfer before its body.
pub const HEADER_BYTES: usize = 12;

/// Puts a slave's report.
pub fn encode_report(end: LogOffset, out: &mut impl BufMut) {
    out.put_u64(end.0);
}

/// The slave's report at the front of `bytes`; `None` if more must come.
///
/// # Errors
/// `Negative`.
pub fn decode_report(bytes: &[u8]) -> Result<Option<LogOffset>, HaError> {
    let Ok(end) = Cursor::new(bytes).i64() else { return Ok(None) };
    offset("end of the log", end).map(Some)
}

/// What comes before the bytes of a transfer. See the table of the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransferHeader {
    /// Log offset of the first byte that follows; of a heartbeat, where the stream has come to.
    pub offset: LogOffset,
    /// Bytes that follow.
    pub body_bytes: usize,
}

impl TransferHeader {
    /// Puts the header.
    ///
    /// # Panics
    /// If the body is beyond its bound.
    pub fn encode(&self, out: &mut impl BufMut) {
        out.put_u64(self.offset.0);
        out.put_i32(wire_size(self.body_bytes));
    }

    /// The header at the front of `bytes`; `None` if more must come.
    ///
    /// # Errors
    /// `Negative`, `TooLong`.
    pub fn decode(bytes: &[u8]) -> Result<Option<TransferHeader>, HaError> {
        let mut at = Cursor::new(bytes);
        let (Ok(first), Ok(size)) = (at.i64(), at.i32()) else { return Ok(None) };
        let body_bytes = body_bytes(size, HA_BODY_BYTES_MAX)?;
        Ok(Some(TransferHeader { offset: offset("log offset", first)?, body_bytes }))
    }
}
