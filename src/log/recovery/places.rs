//! Whether the segments are those of this log, before anything is read from them or written to them.
//!
//! A segment of another store may hold sound records for the very same places: nothing in it is wrong, and behind the end that the checkpoint
//! knows, what it holds would be taken for leftovers and overwritten. So a checkpoint has a fingerprint of how each segment begins, and a file
//! that begins otherwise is refused. What a cut or a new beginning takes away takes the checkpoint away first, so that it never speaks of what
//! was there before. A segment that was begun after the checkpoint was made cannot be told: its records are only checked on their own.

use std::collections::BTreeMap;

use super::{BLOCK, Phase, Recovery, RecoveryError, Step, read};
use crate::log::file::FileName;
use crate::log::segment::fingerprint;
use crate::model::LogOffset;
use crate::protocol::record::claims_place;

impl Recovery {
    /// Begins to look at the segments that the checkpoint knows, and at those of which the scan will not read the beginning.
    pub(super) fn begin_places(&mut self, fingerprints: &BTreeMap<LogOffset, u32>) {
        let starts = self.derived.segments.iter().map(|segment| segment.start);
        let places = starts.map(|start| (start, fingerprints.get(&start).copied()));
        self.places = places.filter(|(start, known)| known.is_some() || *start < self.replay_from).collect();
        self.phase = Phase::Places;
    }

    /// Looks at the first record of each.
    pub(super) fn check_places(&mut self) -> Result<Option<Step>, RecoveryError> {
        if let Some(data) = self.answer.take()
            && let Some((start, known)) = self.places.pop_front()
        {
            let found = fingerprint(&data);
            let is_own = match known {
                Some(_) => found == known,
                None => claims_place(&data, start),
            };
            if !is_own {
                return Err(RecoveryError::ForeignSegment { file: FileName::Segment(start) });
            }
            if known.is_none() {
                self.derived.segments.note_fingerprint(start, found);
            }
        }
        if let Some(&(start, _)) = self.places.front() {
            return Ok(Some(read(FileName::Segment(start), 0, BLOCK)));
        }
        self.phase = Phase::Leftovers;
        Ok(None)
    }
}
