//! What begins at a place of a log that is not known to be sound.

use crate::log::record::{
    Check, FILLER_BYTES, MAGIC_FILLER, RECORD_BYTES_MIN, RecordView, claims_place, is_filler, peek_size,
};
use crate::log::replica::FILLER_BYTES_MIN;
use crate::model::LogOffset;

/// Bytes that show whether something claims its place.
pub(super) const CLAIM_BYTES: usize = 36;

/// What begins at a place.
pub(super) enum Parsed<'a> {
    Record(RecordView<'a>),
    Filler,
    /// A filler that does not prove its place: one of RocketMQ's own brokers, or one of ours that was cut by the segment's end. An older one
    /// may have been left there by what the file held before.
    Doubtful,
    /// More bytes are needed to tell.
    More,
    /// Nothing that belongs there.
    End,
}

/// Which records count as sound without the CRC property.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CrcRule {
    Required,
    Optional,
    /// Those behind which the log goes on. Behind records that have it, one that lacks it at the very end may be one of ours that was torn.
    OptionalIfFollowed,
}

/// What begins at `at` in a segment that ends at `end`. `bytes` may be cut short.
pub(super) fn parse(bytes: &[u8], at: LogOffset, end: LogOffset, crc: CrcRule) -> Parsed<'_> {
    let room = end.0.saturating_sub(at.0);
    let head = usize::try_from(room).unwrap_or(usize::MAX).min(RECORD_BYTES_MIN);
    if let Some(kind) = parse_filler(bytes, at, room, crc) {
        return kind;
    }
    match peek_size(bytes) {
        Ok(size) if u64::from(size) > room => Parsed::End,
        Ok(size) if bytes.len() < size as usize => Parsed::More,
        Ok(size) => {
            let check = if crc == CrcRule::Required { Check::CrcRequired } else { Check::Crc };
            let Ok(view) = RecordView::decode(bytes, Some(at), check) else { return Parsed::End };
            let follows = bytes.get(size as usize..).unwrap_or_default();
            let room_behind = room - u64::from(size);
            if crc != CrcRule::OptionalIfFollowed || view.has_crc() {
                Parsed::Record(view)
            } else if (follows.len() as u64) < room_behind.min(CLAIM_BYTES as u64) {
                Parsed::More
            } else if claims_place(follows, at.plus(u64::from(size))) || has_filler_head(follows, room_behind) {
                Parsed::Record(view)
            } else {
                Parsed::End
            }
        }
        Err(_) if bytes.len() < head => Parsed::More,
        Err(_) => Parsed::End,
    }
}

/// If a filler begins here, what it is worth.
fn parse_filler(bytes: &[u8], at: LogOffset, room: u64, crc: CrcRule) -> Option<Parsed<'static>> {
    if !has_filler_head(bytes, room) {
        return None;
    }
    let len = FILLER_BYTES.min(usize::try_from(room).unwrap_or(usize::MAX));
    let Some(filler) = bytes.get(..len) else { return Some(Parsed::More) };
    let is_ours = is_filler(filler, at, room);
    let is_foreign = crc != CrcRule::Required && filler[FILLER_BYTES_MIN..].iter().all(|&byte| byte == 0);
    Some(match is_ours {
        true if len == FILLER_BYTES => Parsed::Filler,
        true => Parsed::Doubtful,
        false if is_foreign => Parsed::Doubtful,
        false => Parsed::End,
    })
}

/// Whether the first two fields are those of a filler that closes the `room` bytes from here on.
fn has_filler_head(bytes: &[u8], room: u64) -> bool {
    let remaining = bytes.first_chunk().map(|four| u64::from(u32::from_be_bytes(*four)));
    remaining == Some(room) && bytes.get(4..8) == Some(&MAGIC_FILLER.to_be_bytes())
}
