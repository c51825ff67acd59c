//! What begins at a place of a log that is not known to be sound.

use crate::log::replicated::FILLER_BYTES_MIN;
use crate::model::LogOffset;
use crate::protocol::record::{Check, FILLER_BYTES, MAGIC_FILLER, RECORD_BYTES_MIN, RecordView, is_filler, peek_size};

/// Bytes that show whether something claims its place.
pub(super) const CLAIM_BYTES: usize = 36;

/// What begins at a place.
pub(in crate::log) enum Parsed<'a> {
    Record(RecordView<'a>),
    Filler,
    /// A filler that does not prove its place: one of RocketMQ's own brokers, or one of ours that was cut by the segment's end. An older one
    /// may have been left there by what the file held before.
    Doubtful,
    /// More bytes are needed to tell.
    More,
    /// Nothing that belongs there.
    NoRecord,
}

/// Which records count as sound without the CRC property.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::log) enum CrcRule {
    Optional,
    /// Those behind which another one like them follows. Else one that lacks it may be one of ours whose end was torn.
    OptionalIfFollowed,
}

/// What begins at `at` in a segment that ends at `end`. `bytes` may be cut short.
pub(in crate::log) fn parse(bytes: &[u8], at: LogOffset, end: LogOffset, crc: CrcRule) -> Parsed<'_> {
    let room = end.0.saturating_sub(at.0);
    let head = usize::try_from(room).unwrap_or(usize::MAX).min(RECORD_BYTES_MIN);
    if let Some(kind) = parse_filler(bytes, at, room) {
        return kind;
    }
    match peek_size(bytes) {
        Ok(size) if u64::from(size) > room => Parsed::NoRecord,
        Ok(size) if bytes.len() < size as usize => Parsed::More,
        Ok(size) => {
            let Ok(view) = RecordView::decode(bytes, Some(at), Check::Crc) else { return Parsed::NoRecord };
            if crc == CrcRule::Optional || view.has_crc() {
                return Parsed::Record(view);
            }
            let behind = at.plus(u64::from(size));
            match is_plain(bytes.get(size as usize..).unwrap_or_default(), behind, end) {
                Some(true) => Parsed::Record(view),
                Some(false) => Parsed::NoRecord,
                None => Parsed::More,
            }
        }
        Err(_) if bytes.len() < head => Parsed::More,
        Err(_) => Parsed::NoRecord,
    }
}

/// Whether a sound record without the CRC property begins here, or a filler of those who make such records; `None` if more bytes are needed to
/// tell.
fn is_plain(bytes: &[u8], at: LogOffset, end: LogOffset) -> Option<bool> {
    match parse(bytes, at, end, CrcRule::Optional) {
        Parsed::Record(view) => Some(!view.has_crc()),
        Parsed::Doubtful => Some(true),
        Parsed::Filler | Parsed::NoRecord => Some(false),
        Parsed::More => None,
    }
}

/// If a filler begins here, what it is worth.
fn parse_filler(bytes: &[u8], at: LogOffset, room: u64) -> Option<Parsed<'static>> {
    if !has_filler_head(bytes, room) {
        return None;
    }
    let len = FILLER_BYTES.min(usize::try_from(room).unwrap_or(usize::MAX));
    let Some(filler) = bytes.get(..len) else { return Some(Parsed::More) };
    let is_ours = is_filler(filler, at, room);
    let is_foreign = filler[FILLER_BYTES_MIN..].iter().all(|&byte| byte == 0);
    Some(match is_ours {
        true if len == FILLER_BYTES => Parsed::Filler,
        true => Parsed::Doubtful,
        false if is_foreign => Parsed::Doubtful,
        false => Parsed::NoRecord,
    })
}

/// Whether the first two fields are those of a filler that closes the `room` bytes from here on.
fn has_filler_head(bytes: &[u8], room: u64) -> bool {
    let remaining = bytes.first_chunk().map(|four| u64::from(u32::from_be_bytes(*four)));
    remaining == Some(room) && bytes.get(4..8) == Some(&MAGIC_FILLER.to_be_bytes())
}
