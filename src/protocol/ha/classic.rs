//! The classic stream.
use super::HaError;
use crate::model::LogOffset;
use bytes::{BufMut, BytesMut};
/// Bytes of a report.
pub const REPORT_BYTES: usize = 8;
/// Bytes of a header.
pub const HEADER_BYTES: usize = 12;
/// Appends a report.
pub fn encode_report(end: LogOffset, out: &mut BytesMut) {
    out.put_u64(end.0);
}
/// Reads a report.
#[must_use]
pub fn decode_report(bytes: &[u8]) -> Option<LogOffset> {
    bytes.first_chunk::<8>().map(|bytes| LogOffset(u64::from_be_bytes(*bytes)))
}
/// Header.
#[derive(Clone, Copy, Debug)]
pub struct TransferHeader {
    /// First byte.
    pub offset: LogOffset,
    /// Bytes.
    pub body_bytes: usize,
}
impl TransferHeader {
    /// Appends it.
    pub fn encode(&self, out: &mut BytesMut) {
        out.put_u64(self.offset.0);
        out.put_u32(u32::try_from(self.body_bytes).expect("small"));
    }
    /// Reads it.
    /// # Errors
    /// [`HaError`]
    pub fn decode(bytes: &[u8]) -> Result<TransferHeader, HaError> {
        let bad = HaError::BadField { what: "header", value: 0 };
        let offset = decode_report(bytes).filter(|at| at.0 < 1 << 63).ok_or(bad)?;
        let size = bytes.get(8..12).and_then(|bytes| bytes.first_chunk::<4>()).ok_or(bad)?;
        Ok(TransferHeader { offset, body_bytes: usize::try_from(i32::from_be_bytes(*size)).map_err(|_| bad)? })
    }
}
