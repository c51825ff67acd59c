//! Whether the bytes of another log are those of this one, where no name says so.
//!
//! A record says where it lies, when it was stored and by whom: two logs that share a whole record were one when it was appended, and so share
//! all that lies before it. So it is enough to compare the bytes from the beginning of a record to the end of this log.

use bytes::BytesMut;

use super::commit_log::Log;
use super::file::BlockId;
use super::replicated::FILLER_BYTES_MIN;
use super::stream::Stream;
use crate::limits::PROOF_BYTES;
use crate::model::LogOffset;
use crate::protocol::record;

/// Bytes in which a record says its place.
const PLACE_BYTES: u64 = 36;

/// What a search for a record has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FoundRecord {
    /// One begins here.
    At(LogOffset),
    /// None begins in what was looked at; call again with this.
    Before(LogOffset),
    /// Call again when this block was supplied.
    Cold(BlockId),
    /// The disk could not give what is to be looked at; the next call asks for it again.
    Failed,
}

/// What a comparison has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compared {
    /// So many bytes are the same, or have no meaning here: at least one.
    Same(usize),
    /// The byte at this place is another one.
    Differs(LogOffset),
    /// Call again when this block was supplied.
    Cold(BlockId),
    /// The disk could not give this log's bytes; the next call asks for them again.
    Failed,
}

impl Log {
    /// The first record that begins in the [`PROOF_BYTES`] before `below`, an offset of the log behind its start; its start, if no more lie before.
    pub(crate) fn find_record(&mut self, below: LogOffset) -> FoundRecord {
        let from = LogOffset(below.0.saturating_sub(PROOF_BYTES)).max(self.start());
        // One that begins here may say its place behind `below`.
        let until = below.plus(PLACE_BYTES).min(self.appended());
        let wanted = usize::try_from(until.since(from)).unwrap_or(usize::MAX);
        let mut bytes = BytesMut::new();
        while bytes.len() < wanted {
            match self.stream(from.plus(bytes.len() as u64), wanted - bytes.len(), &mut bytes) {
                Stream::Bytes(_) => {}
                Stream::Cold(block) => return FoundRecord::Cold(block),
                Stream::Failed(_) => return FoundRecord::Failed,
                Stream::CaughtUp | Stream::Beyond | Stream::Removed => break,
            }
        }
        let is_record = |bytes: &[u8], place| record::peek_size(bytes).is_ok() && record::claims_place(bytes, place);
        let mut places = (0..bytes.len()).map(|at| (from.plus(at as u64), bytes.get(at..).unwrap_or_default()));
        match places.find(|(place, bytes)| *place < below && is_record(bytes, *place)) {
            Some((place, _)) => FoundRecord::At(place),
            None if from == self.start() => FoundRecord::At(from),
            None => FoundRecord::Before(from),
        }
    }

    /// Compares bytes of another log, from `at` on, which lies in this one, with its own. What lies behind a filler has no meaning.
    ///
    /// # Panics
    /// If there is nothing to compare.
    pub(crate) fn compare(&mut self, at: LogOffset, theirs: &[u8]) -> Compared {
        let room = usize::try_from(self.appended().since(at)).unwrap_or(usize::MAX).min(theirs.len());
        assert!(room > 0, "nothing to compare at {at} of a log that ends at {}", self.appended());
        let segment = self.segments.find(at).copied();
        let bytes_max = match segment.and_then(|segment| Some((segment.start, segment.filler?))) {
            Some((start, filler)) => {
                let meaning_ends = filler.plus(FILLER_BYTES_MIN as u64);
                let until = |end: LogOffset| usize::try_from(end.since(at)).unwrap_or(usize::MAX).min(room);
                if at >= meaning_ends {
                    return Compared::Same(until(start.plus(self.segments.size())));
                }
                until(meaning_ends)
            }
            None => room,
        };
        let mut ours = BytesMut::new();
        match self.stream(at, bytes_max, &mut ours) {
            Stream::Bytes(_) => match ours.iter().zip(theirs).position(|(ours, theirs)| ours != theirs) {
                Some(place) => Compared::Differs(at.plus(place as u64)),
                None => Compared::Same(ours.len()),
            },
            Stream::Cold(block) => Compared::Cold(block),
            Stream::Failed(_) => Compared::Failed,
            end @ (Stream::CaughtUp | Stream::Beyond | Stream::Removed) => panic!("{at} of the own log is {end:?}"),
        }
    }
}
