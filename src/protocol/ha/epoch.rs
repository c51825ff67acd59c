//! The stream with epochs.
use super::HaError;
use crate::limits::EPOCHS_MAX;
use crate::model::{BrokerId, Epoch, LogOffset};
use crate::replication::EpochEntry;
use bytes::{Buf, BufMut, BytesMut};
/// Bytes.
pub const HANDSHAKE_BYTES: usize = 16;
/// Bytes.
pub const ACK_BYTES: usize = 12;
/// Bytes.
pub const HEADER_BYTES: usize = 36;
const REPLY_BYTES: usize = 20;
const BAD: HaError = HaError::BadField { what: "field", value: 0 };
/// Handshake.
#[derive(Clone, Copy, Debug)]
pub struct Handshake {
    /// Flag.
    pub from_last_segment: bool,
    /// Flag.
    pub is_learner: bool,
    /// Id.
    pub broker_id: BrokerId,
}
impl Handshake {
    /// Whether a handshake may begin with these 8 bytes.
    #[must_use]
    pub fn may_begin_with(offset: LogOffset) -> bool {
        offset.0 >> 32 == 1 && offset.0 & 0xFFFE_FFFE == 0
    }
    /// Appends it.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_i32(1);
        out.put_i16(i16::from(self.from_last_segment));
        out.put_i16(i16::from(self.is_learner));
        out.put_u64(self.broker_id.0);
    }
    /// Reads it.
    /// # Errors
    /// [`HaError`]
    pub fn decode(mut bytes: &[u8]) -> Result<Option<Handshake>, HaError> {
        if bytes.len() < HANDSHAKE_BYTES {
            return Ok(None);
        }
        let (state, last, learner, id) = (bytes.get_i32(), bytes.get_i16(), bytes.get_i16(), bytes.get_u64());
        if state != 1 {
            return Err(BAD);
        }
        Ok(Some(Handshake { from_last_segment: last == 1, is_learner: learner == 1, broker_id: BrokerId(id) }))
    }
}
/// Appends.
pub fn encode_handshake_reply(
    end: LogOffset,
    epoch: Epoch,
    entries: impl ExactSizeIterator<Item = (Epoch, LogOffset)>,
    out: &mut BytesMut,
) {
    out.put_i32(1);
    out.put_u32(u32::try_from(entries.len() * 12).expect("bounded"));
    out.put_u64(end.0);
    out.put_u32(epoch.0);
    for (epoch, start) in entries {
        out.put_u32(epoch.0);
        out.put_u64(start.0);
    }
}
/// Bytes of the reply that begins so.
/// # Errors
/// [`HaError`]
pub fn handshake_reply_bytes(mut front: &[u8]) -> Result<usize, HaError> {
    if front.len() < 8 {
        return Ok(REPLY_BYTES);
    }
    if front.get_i32() != 1 {
        return Err(BAD);
    }
    let body = usize::try_from(front.get_i32()).map_err(|_| BAD)?;
    if body > 12 * EPOCHS_MAX || !body.is_multiple_of(12) {
        return Err(BAD);
    }
    Ok(REPLY_BYTES + body)
}
/// Reply.
#[derive(Clone, Debug)]
pub struct HandshakeReply {
    /// End.
    pub end: LogOffset,
    /// Entries.
    pub entries: Vec<EpochEntry>,
}
impl HandshakeReply {
    /// Reads.
    /// # Errors
    /// [`HaError`]
    pub fn decode(bytes: &[u8]) -> Result<HandshakeReply, HaError> {
        if bytes.len() < handshake_reply_bytes(bytes)? {
            return Err(BAD);
        }
        let mut bytes = bytes.get(8..).ok_or(BAD)?;
        let end = LogOffset(bytes.get_u64());
        let _ = bytes.get_u32();
        let mut entries = Vec::new();
        while bytes.len() >= 12 {
            entries.push(EpochEntry { epoch: Epoch(bytes.get_u32()), start: LogOffset(bytes.get_u64()) });
        }
        Ok(HandshakeReply { end, entries })
    }
}
/// Header.
#[derive(Clone, Copy, Debug)]
pub struct TransferHeader {
    /// Bytes.
    pub body_bytes: usize,
    /// First byte.
    pub offset: LogOffset,
    /// Epoch.
    pub epoch: Epoch,
    /// Its start.
    pub epoch_start: LogOffset,
    /// Confirm.
    pub confirm: LogOffset,
}
impl TransferHeader {
    /// Appends.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_i32(2);
        out.put_u32(u32::try_from(self.body_bytes).expect("small"));
        out.put_u64(self.offset.0);
        out.put_u32(self.epoch.0);
        out.put_u64(self.epoch_start.0);
        out.put_u64(self.confirm.0);
    }
    /// Reads.
    /// # Errors
    /// [`HaError`]
    pub fn decode(mut bytes: &[u8]) -> Result<TransferHeader, HaError> {
        if bytes.len() < HEADER_BYTES || bytes.get_i32() != 2 {
            return Err(BAD);
        }
        let body_bytes = usize::try_from(bytes.get_i32()).map_err(|_| BAD)?;
        let (offset, epoch) = (LogOffset(bytes.get_u64()), Epoch(bytes.get_u32()));
        let (epoch_start, confirm) = (LogOffset(bytes.get_u64()), LogOffset(bytes.get_u64()));
        if (offset.0 | epoch_start.0 | confirm.0) >> 63 != 0 {
            return Err(BAD);
        }
        Ok(TransferHeader { body_bytes, offset, epoch, epoch_start, confirm })
    }
}
/// Ack.
#[derive(Clone, Copy, Debug)]
pub struct Ack {
    /// End.
    pub end: LogOffset,
}
impl Ack {
    /// Appends.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_i32(2);
        out.put_u64(self.end.0);
    }
    /// Reads.
    /// # Errors
    /// [`HaError`]
    pub fn decode(mut bytes: &[u8]) -> Result<Option<Ack>, HaError> {
        if bytes.len() < ACK_BYTES {
            return Ok(None);
        }
        if bytes.get_i32() != 2 {
            return Err(BAD);
        }
        Ok(Some(Ack { end: LogOffset(bytes.get_u64()) }))
    }
}
