//! What both streams have in common: what a slave says, and what comes before the bytes of a transfer.

use bytes::BufMut;

use super::identity::{STATEMENT_BYTES, Statement};
use super::mend::{MendMessage, PIECE_BYTES_MAX};
use super::{Cursor, HaError, classic, epoch};
use crate::model::{Epoch, LogOffset};

/// Which of the two streams a connection carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamKind {
    /// RocketMQ's classic one.
    Classic,
    /// The one with epochs.
    Epoch,
}

impl StreamKind {
    /// Bytes of a transfer before its body.
    #[must_use]
    pub fn header_bytes(self) -> usize {
        match self {
            StreamKind::Classic => classic::HEADER_BYTES,
            StreamKind::Epoch => epoch::HEADER_BYTES,
        }
    }

    /// Bytes of a master's message that begins so, without the body of a transfer; of its first two fields while they are not there.
    ///
    /// # Errors
    /// `Negative`, `TooLong`.
    pub fn message_bytes(self, front: &[u8]) -> Result<usize, HaError> {
        match self {
            StreamKind::Classic => Ok(classic::HEADER_BYTES),
            StreamKind::Epoch if front.len() < FIELDS_BYTES => Ok(FIELDS_BYTES),
            StreamKind::Epoch => Ok(MendMessage::size(front)?.unwrap_or(epoch::HEADER_BYTES)),
        }
    }
}

/// Bytes of the two fields with which all messages of the stream with epochs begin.
const FIELDS_BYTES: usize = 8;

/// What a slave says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlaveMessage<'a> {
    /// It opens the stream with epochs.
    Handshake(epoch::Handshake),
    /// Whose bytes it has, on a stream whose handshake asked for identities.
    Statement(Statement),
    /// The end of its log. The first one on a connection without a handshake opens the classic stream.
    Report(LogOffset),
    /// What it asks of the master's log, or answers of its own, on the stream with epochs.
    Mend(MendMessage<'a>),
}

/// Bytes of the longest message of a slave: fewer are left of what it says, at most, when all that is whole was taken off.
pub const SLAVE_MESSAGE_BYTES_MAX: usize =
    if PIECE_BYTES_MAX > STATEMENT_BYTES { PIECE_BYTES_MAX } else { STATEMENT_BYTES };

/// Bytes of the longest one that is no answer to what the slave was asked.
pub const SLAVE_STATEMENT_BYTES: usize = STATEMENT_BYTES;

impl SlaveMessage<'_> {
    /// The message at the front of `bytes` and its size; `None` if more must come. `stream` is that of the connection, once it is open.
    ///
    /// The two streams are told apart by their first bytes. A classic slave begins with the end of its log, 8 bytes. One that knows epochs
    /// begins with a handshake of 16 bytes: state 1 in 4 bytes, two flags of 2 bytes, its brokerId in 8. As an offset, the first half of a
    /// handshake is 4 GiB and at most 196,609 bytes more: eight offsets in all. A classic slave may end there (4 GiB sharp is where a segment
    /// begins), so these are told apart by the 8 bytes that follow: a brokerId is small, and the second report of a slave, which comes
    /// within `haSendHeartbeatInterval`, is 4 GiB or more.
    ///
    /// # Errors
    /// `BadState`, `Negative`.
    pub fn decode(stream: Option<StreamKind>, bytes: &[u8]) -> Result<Option<(SlaveMessage<'_>, usize)>, HaError> {
        match stream {
            Some(StreamKind::Classic) => report(bytes),
            Some(StreamKind::Epoch) if Cursor::new(bytes).i32() == Ok(epoch::STATE_STATEMENT) => {
                let statement = Statement::decode(bytes)?;
                Ok(statement.map(|statement| (SlaveMessage::Statement(statement), STATEMENT_BYTES)))
            }
            Some(StreamKind::Epoch) if let Some(size) = MendMessage::size(bytes)? => {
                Ok(MendMessage::decode(bytes)?.map(|message| (SlaveMessage::Mend(message), size)))
            }
            Some(StreamKind::Epoch) => {
                let ack = epoch::Ack::decode(bytes)?;
                Ok(ack.map(|ack| (SlaveMessage::Report(ack.end), epoch::ACK_BYTES)))
            }
            None => opening(bytes),
        }
    }

    /// Puts a report in the form of its stream.
    pub fn encode_report(stream: StreamKind, end: LogOffset, out: &mut impl BufMut) {
        match stream {
            StreamKind::Classic => classic::encode_report(end, out),
            StreamKind::Epoch => epoch::Ack { end }.encode(out),
        }
    }
}

fn report(bytes: &[u8]) -> Result<Option<(SlaveMessage<'_>, usize)>, HaError> {
    let end = classic::decode_report(bytes)?;
    Ok(end.map(|end| (SlaveMessage::Report(end), classic::REPORT_BYTES)))
}

fn opening(bytes: &[u8]) -> Result<Option<(SlaveMessage<'_>, usize)>, HaError> {
    match classic::decode_report(bytes)? {
        Some(end) if epoch::Handshake::may_begin_with(end) => match epoch::Handshake::decode(bytes)? {
            None => Ok(None),
            Some(handshake) if handshake.broker_id.0 < u64::from(u32::MAX) => {
                Ok(Some((SlaveMessage::Handshake(handshake), epoch::HANDSHAKE_BYTES)))
            }
            Some(_) => report(bytes),
        },
        _ => report(bytes),
    }
}

/// What comes before the bytes of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// Log offset of the first byte that follows; of a heartbeat, where the stream has come to.
    pub offset: LogOffset,
    /// Bytes that follow; 0 is a heartbeat.
    pub body_bytes: usize,
    /// What only the stream with epochs says.
    pub reign: Option<TransferReign>,
}

/// Whose bytes a transfer has, and what may be read of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransferReign {
    /// The reign in which these bytes were appended.
    pub epoch: Epoch,
    /// Where that began.
    pub start: LogOffset,
    /// End of what consumers may see.
    pub confirm: LogOffset,
}

impl Transfer {
    /// Before the body; the two streams differ.
    #[must_use]
    pub fn header_bytes(&self) -> usize {
        if self.reign.is_some() { epoch::HEADER_BYTES } else { classic::HEADER_BYTES }
    }

    /// Puts the header.
    ///
    /// # Panics
    /// If the body is beyond its bound.
    pub fn encode(&self, out: &mut impl BufMut) {
        let Transfer { offset, body_bytes, .. } = *self;
        match self.reign {
            None => classic::TransferHeader { offset, body_bytes }.encode(out),
            Some(TransferReign { epoch, start, confirm }) => {
                epoch::TransferHeader { body_bytes, offset, epoch, epoch_start: start, confirm }.encode(out);
            }
        }
    }

    /// The header at the front of `bytes`; `None` if more must come.
    ///
    /// # Errors
    /// `BadState`, `Negative`, `TooLong`.
    pub fn decode(stream: StreamKind, bytes: &[u8]) -> Result<Option<Transfer>, HaError> {
        match stream {
            StreamKind::Classic => {
                let header = classic::TransferHeader::decode(bytes)?;
                Ok(header.map(|header| Transfer { offset: header.offset, body_bytes: header.body_bytes, reign: None }))
            }
            StreamKind::Epoch => Ok(epoch::TransferHeader::decode(bytes)?.map(|header| {
                let (epoch, start, confirm) = (header.epoch, header.epoch_start, header.confirm);
                let reign = Some(TransferReign { epoch, start, confirm });
                Transfer { offset: header.offset, body_bytes: header.body_bytes, reign }
            })),
        }
    }
}
