//! A walk along the log from record to record, over what is unsound as well.

use bytes::{Buf, BytesMut};

use crate::model::LogOffset;
use crate::protocol::record::{RECORD_BYTES_MIN, find_claim};

/// Where a walk is, and what it has read from there on.
#[derive(Debug, Default)]
pub(super) struct Walk {
    /// Where the next record begins.
    pub(super) at: LogOffset,
    /// Bytes of the log from `at` on.
    pub(super) bytes: BytesMut,
    /// Whether what lies at `at` is unsound.
    pub(super) is_in_gap: bool,
}

impl Walk {
    pub(super) fn new(at: LogOffset) -> Walk {
        Walk { at, ..Walk::default() }
    }

    /// End of what was read.
    pub(super) fn end(&self) -> LogOffset {
        self.at.plus(self.bytes.len() as u64)
    }

    /// Goes on at `at`, of which nothing was read yet.
    pub(super) fn go_to(&mut self, at: LogOffset) {
        self.at = at;
        self.bytes.clear();
    }

    /// Goes on behind so many bytes, of those that were read.
    pub(super) fn pass(&mut self, bytes: usize) {
        let bytes = bytes.min(self.bytes.len()).max(1);
        self.bytes.advance(bytes.min(self.bytes.len()));
        self.at = self.at.plus(bytes as u64);
    }

    /// What lies here is unsound: on to the next place of which a record says that it is its own, as far as was read.
    pub(super) fn pass_gap(&mut self) {
        self.is_in_gap = true;
        self.pass(1);
        if let Some(last) = self.bytes.len().checked_sub(RECORD_BYTES_MIN) {
            // As far as a whole head was read.
            match find_claim(&self.bytes, self.at).filter(|found| *found <= last) {
                Some(0) => {}
                found => self.pass(found.unwrap_or(last + 1)),
            }
        }
    }
}
