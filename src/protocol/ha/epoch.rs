//! The stream that carries epochs.
//!
//! Slave to master, first and once:
//!
//! | bytes | field               | meaning                                                  |
//! |-------|---------------------|----------------------------------------------------------|
//! | 0..4  | state               | `i32`, 1                                                 |
//! | 4..6  | `from_last_segment` | `i16`, 1: an empty slave wants the last segment only; 2: it knows of [`super::identity`] |
//! | 6..8  | `is_learner`        | `i16`, 1: it shall never count as in sync                |
//! | 8..16 | `broker_id`         | `i64`                                                    |
//!
//! Master to slave, in answer:
//!
//! | bytes  | field        | meaning                                                        |
//! |--------|--------------|----------------------------------------------------------------|
//! | 0..4   | state        | `i32`, 1                                                       |
//! | 4..8   | body size    | `i32`, 12 for each of at most [`EPOCHS_MAX`] epochs            |
//! | 8..16  | `end`        | `i64`, end of the master's log                                 |
//! | 16..20 | `epoch`      | `i32`, its reign                                               |
//! | then   | epochs       | each: number `i32`, log offset `i64` at which it began         |
//!
//! Then, master to slave, never with bytes of two epochs:
//!
//! | bytes  | field         | meaning                                               |
//! |--------|---------------|-------------------------------------------------------|
//! | 0..4   | state         | `i32`, 2                                              |
//! | 4..8   | `body_bytes`  | `i32`, at most [`HA_BODY_BYTES_MAX`]; 0 is a heartbeat |
//! | 8..16  | `offset`      | `i64`, log offset of the first byte of the body       |
//! | 16..20 | `epoch`       | `i32`, in which these bytes were appended             |
//! | 20..28 | `epoch_start` | `i64`, where that began                               |
//! | 28..36 | `confirm`     | `i64`, end of what consumers may see                  |
//! | then   | body          | the log's bytes, cut anywhere                         |
//!
//! And slave to master:
//!
//! | bytes | field | meaning                            |
//! |-------|-------|------------------------------------|
//! | 0..4  | state | `i32`, 2                           |
//! | 4..12 | `end` | `i64`, end of what the slave holds |
//!
//! Source: Apache RocketMQ 5.3 `AutoSwitchHAConnection`, `AutoSwitchHAClient`.

use bytes::BufMut;

use super::identity::{EpochEntry, LINEAGE_BYTES, LINEAGE_ENTRY_BYTES, Lineage, decode_lineage};
use super::{Cursor, HaError, body_bytes, offset, wire_size};
use crate::cursor::Ended;
use crate::limits::{EPOCHS_MAX, HA_BODY_BYTES_MAX};
use crate::model::{BrokerId, Epoch, LogOffset, ReignId};

/// Bytes of a slave's handshake.
pub(crate) const HANDSHAKE_BYTES: usize = 16;
/// Bytes of the master's answer before its list.
pub const REPLY_BYTES: usize = 20;
/// Bytes of an epoch in that list.
pub const ENTRY_BYTES: usize = 12;
/// Bytes of a transfer before its body.
pub const HEADER_BYTES: usize = 36;
/// Bytes of a slave's acknowledgement.
pub(crate) const ACK_BYTES: usize = 12;

/// Bytes of the longest answer: with as many epochs as anyone keeps, and their identities.
pub const REPLY_BYTES_MAX: usize = LINEAGE_BYTES + LINEAGE_ENTRY_BYTES * EPOCHS_MAX;

const STATE_HANDSHAKE: i32 = 1;
const STATE_TRANSFER: i32 = 2;
/// Apache's states end at 4. As the first half of an offset, which is what a classic master begins with, these are beyond any log.
pub(super) const STATE_LINEAGE: i32 = 0x524D_0001;
pub(super) const STATE_STATEMENT: i32 = 0x524D_0002;

/// The bits of `from_last_segment`. Apache compares the whole number with 1.
const FROM_LAST: i16 = 1;
const KNOWS_IDENTITIES: i16 = 2;

/// How a slave presents itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handshake {
    /// Whether an empty slave wants the last segment only, instead of all that the master has.
    pub from_last_segment: bool,
    /// Whether it knows of identities, and wants them.
    pub knows_identities: bool,
    /// Whether it shall never count as in sync.
    pub is_learner: bool,
    /// Its number.
    pub broker_id: BrokerId,
}

impl Handshake {
    /// Whether a handshake may begin with what would be this report on the classic stream: an end at 4 GiB or a few bytes behind.
    #[must_use]
    pub(crate) fn may_begin_with(report: LogOffset) -> bool {
        report.0 >> 32 == 1 && report.0 & 0xFFFC_FFFE == 0
    }

    /// Puts the handshake.
    pub fn encode(&self, out: &mut impl BufMut) {
        out.put_i32(STATE_HANDSHAKE);
        let identities = if self.knows_identities { KNOWS_IDENTITIES } else { 0 };
        out.put_i16(i16::from(self.from_last_segment) | identities);
        out.put_i16(i16::from(self.is_learner));
        out.put_u64(self.broker_id.0);
    }

    /// The handshake at the front of `bytes`; `None` if more must come.
    ///
    /// # Errors
    /// `BadState`, `Negative`.
    pub fn decode(bytes: &[u8]) -> Result<Option<Handshake>, HaError> {
        let mut at = Cursor::new(bytes);
        if !is_state(&mut at, STATE_HANDSHAKE)? {
            return Ok(None);
        }
        let (Ok(from_last), Ok(learner), Ok(id)) = (at.i16(), at.i16(), at.i64()) else { return Ok(None) };
        let broker_id = u64::try_from(id).map_err(|_| HaError::Negative { what: "broker id", value: id })?;
        Ok(Some(Handshake {
            from_last_segment: from_last & FROM_LAST != 0,
            knows_identities: from_last & KNOWS_IDENTITIES != 0,
            is_learner: learner == 1,
            broker_id: BrokerId(broker_id),
        }))
    }
}

/// Puts a master's answer to a handshake; `epochs` are at most [`EPOCHS_MAX`], oldest first.
///
/// # Panics
/// If there are more.
pub fn encode_handshake_reply(
    end: LogOffset,
    epoch: Epoch,
    epochs: impl ExactSizeIterator<Item = (Epoch, LogOffset)>,
    out: &mut impl BufMut,
) {
    assert!(epochs.len() <= EPOCHS_MAX, "{} epochs, {EPOCHS_MAX} at most", epochs.len());
    out.put_i32(STATE_HANDSHAKE);
    out.put_i32(wire_size(epochs.len().saturating_mul(ENTRY_BYTES)));
    out.put_u64(end.0);
    out.put_u32(epoch.0);
    for (epoch, start) in epochs {
        out.put_u32(epoch.0);
        out.put_u64(start.0);
    }
}

/// Bytes of the whole answer to a handshake that begins so; of its fixed part while its length is not there.
///
/// # Errors
/// `BadState`, `Negative`, `TooLong`, `BadList`.
pub fn handshake_reply_bytes(front: &[u8]) -> Result<usize, HaError> {
    let mut at = Cursor::new(front);
    let (head, entry) = match at.i32() {
        Err(Ended) => return Ok(REPLY_BYTES),
        Ok(STATE_HANDSHAKE) => (REPLY_BYTES, ENTRY_BYTES),
        Ok(STATE_LINEAGE) => (LINEAGE_BYTES, LINEAGE_ENTRY_BYTES),
        Ok(found) => return Err(HaError::BadState { expected: STATE_HANDSHAKE, found }),
    };
    let Ok(size) = at.i32() else { return Ok(head) };
    let bytes = body_bytes(size, EPOCHS_MAX.saturating_mul(entry))?;
    if !bytes.is_multiple_of(entry) {
        return Err(HaError::BadList { bytes });
    }
    Ok(head.saturating_add(bytes))
}

/// A master's answer to a handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandshakeReply {
    /// What it has appended, bytes.
    pub end: LogOffset,
    /// Its reign.
    pub epoch: Epoch,
    /// Its log, if it knows of identities; else those of `epochs` are unknown.
    pub lineage: Option<Lineage>,
    /// The reigns of its log and where they began, as it sent them: whether they rise is for who uses them to see.
    pub epochs: Vec<EpochEntry>,
}

impl HandshakeReply {
    /// The answer at the front of `bytes`; `None` if more must come.
    ///
    /// # Errors
    /// As of [`handshake_reply_bytes`].
    pub fn decode(bytes: &[u8]) -> Result<Option<HandshakeReply>, HaError> {
        let Some(whole) = bytes.get(..handshake_reply_bytes(bytes)?) else { return Ok(None) };
        let mut at = Cursor::new(whole);
        let Ok((state, end, epoch)) = reply_head(&mut at) else { return Ok(None) };
        let (end, epoch) = (offset("end of the log", end)?, to_epoch(epoch)?);
        if state == STATE_LINEAGE {
            let lineage = decode_lineage(&mut at)?;
            return Ok(lineage.map(|(said, epochs)| HandshakeReply { end, epoch, lineage: Some(said), epochs }));
        }
        let mut epochs = Vec::with_capacity(at.left() / ENTRY_BYTES);
        while let (Ok(number), Ok(start)) = (at.i32(), at.i64()) {
            let (epoch, start) = (to_epoch(number)?, offset("start of an epoch", start)?);
            epochs.push(EpochEntry { epoch, start, id: ReignId::default() });
        }
        Ok(Some(HandshakeReply { end, epoch, lineage: None, epochs }))
    }
}

fn reply_head(at: &mut Cursor<'_>) -> Result<(i32, i64, i32), Ended> {
    let state = at.i32()?;
    at.take(4)?;
    Ok((state, at.i64()?, at.i32()?))
}

/// What comes before the bytes of a transfer. See the table of the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransferHeader {
    /// Bytes that follow; 0 is a heartbeat.
    pub body_bytes: usize,
    /// Log offset of the first byte that follows.
    pub offset: LogOffset,
    /// The reign in which these bytes were appended.
    pub epoch: Epoch,
    pub(crate) epoch_start: LogOffset,
    /// End of what consumers may see.
    pub confirm: LogOffset,
}

impl TransferHeader {
    /// Puts the header.
    ///
    /// # Panics
    /// If the body is beyond its bound.
    pub fn encode(&self, out: &mut impl BufMut) {
        out.put_i32(STATE_TRANSFER);
        out.put_i32(wire_size(self.body_bytes));
        out.put_u64(self.offset.0);
        out.put_u32(self.epoch.0);
        out.put_u64(self.epoch_start.0);
        out.put_u64(self.confirm.0);
    }

    /// The header at the front of `bytes`; `None` if more must come.
    ///
    /// # Errors
    /// `BadState`, `Negative`, `TooLong`.
    pub fn decode(bytes: &[u8]) -> Result<Option<TransferHeader>, HaError> {
        let mut at = Cursor::new(bytes);
        if !is_state(&mut at, STATE_TRANSFER)? {
            return Ok(None);
        }
        let (Ok(size), Ok(first), Ok(epoch)) = (at.i32(), at.i64(), at.i32()) else { return Ok(None) };
        let (Ok(epoch_start), Ok(confirm)) = (at.i64(), at.i64()) else { return Ok(None) };
        Ok(Some(TransferHeader {
            body_bytes: body_bytes(size, HA_BODY_BYTES_MAX)?,
            offset: offset("log offset", first)?,
            epoch: to_epoch(epoch)?,
            epoch_start: offset("start of an epoch", epoch_start)?,
            confirm: offset("confirm offset", confirm)?,
        }))
    }
}

/// A slave's acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// End of what it holds.
    pub end: LogOffset,
}

impl Ack {
    /// Puts the acknowledgement.
    pub fn encode(&self, out: &mut impl BufMut) {
        out.put_i32(STATE_TRANSFER);
        out.put_u64(self.end.0);
    }

    /// The acknowledgement at the front of `bytes`; `None` if more must come.
    ///
    /// # Errors
    /// `BadState`, `Negative`.
    pub fn decode(bytes: &[u8]) -> Result<Option<Ack>, HaError> {
        let mut at = Cursor::new(bytes);
        if !is_state(&mut at, STATE_TRANSFER)? {
            return Ok(None);
        }
        let Ok(end) = at.i64() else { return Ok(None) };
        Ok(Some(Ack { end: offset("end of the log", end)? }))
    }
}

/// Whether a message of this state begins here; `false` if more must come.
pub(super) fn is_state(at: &mut Cursor<'_>, expected: i32) -> Result<bool, HaError> {
    match at.i32() {
        Err(Ended) => Ok(false),
        Ok(found) if found == expected => Ok(true),
        Ok(found) => Err(HaError::BadState { expected, found }),
    }
}

pub(super) fn to_epoch(value: i32) -> Result<Epoch, HaError> {
    u32::try_from(value).map(Epoch).map_err(|_| HaError::Negative { what: "epoch", value: value.into() })
}
