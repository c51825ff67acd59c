//! Cutting the log at an offset: how a slave parts with what its master does not have.
//!
//! What lies beyond the cut are sound records for their places. They would come back at some later start, when the log has grown up to one
//! of them, so all of them are overwritten with zeros before the log is served. That is done from the back: at each moment, and after a crash at each
//! moment, the log is a whole one that ends somewhere between the cut and its old end, with zeros behind. Zeros are flushed so often that those
//! which a power loss takes lie within the reach of what each recovery clears behind the end.
//!
//! What was derived from more than is left is given up first: a checkpoint that knows of a later end would call the cut damage, and the ends of
//! queues that are gone with it must not let retention take the log that grows in their place.

use bytes::Bytes;

use super::{BLOCK, READ_BYTES, Recovery, RecoveryError, Step, floor, read};
use crate::limits::{UNFLUSHED_BYTES_MAX, UNFLUSHED_REACH_BYTES_MAX};
use crate::log::file::FileName;
use crate::model::LogOffset;

/// How far the zeros have come.
#[derive(Debug, Default)]
pub(super) struct Cut {
    /// Starts of the segments that are not done, in order: the last one is next.
    segments: Vec<LogOffset>,
    /// Byte in that one from which on it is done.
    done_from: u64,
    /// Zeros that were written to it since its last flush.
    unflushed: u64,
    /// Whether it was flushed since the last zeros were written. What is found to be zeros may be what a start has written that was killed before
    /// it flushed them: a power loss would bring back what lay there.
    is_flushed: bool,
    asked: LastStep,
}

/// What was asked for last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum LastStep {
    #[default]
    Nothing,
    Read {
        at: u64,
        len: u64,
    },
    Write {
        at: u64,
        len: u64,
    },
    Flush,
}

impl Recovery {
    /// Whether what ends at `end` may still be taken.
    pub(super) fn is_within(&self, end: LogOffset) -> bool {
        self.end_max.is_none_or(|max| end <= max)
    }

    /// Begins to overwrite what lies beyond the end that was found.
    pub(super) fn begin_cut(&mut self) {
        let (cut, size) = (self.scan.at, self.settings.segment_bytes);
        // From here on the ring must not be put behind what is left: a start after this one may not be told to cut.
        if let Some(tail) = &mut self.tail {
            tail.publish(cut);
        }
        self.precious.narrow(self.derived.segments.oldest().map_or(cut, |oldest| oldest.start));
        let starts = self.derived.segments.iter().map(|segment| segment.start);
        let segments = starts.filter(|start| start.plus(size) > cut).collect();
        self.cut = Cut { segments, done_from: size, ..Cut::default() };
    }

    /// The next step of it; none when it is done.
    pub(super) fn poll_cut(&mut self) -> Result<Option<Step>, RecoveryError> {
        let end = self.scan.at;
        if let Some(answer) = self.answer.take()
            && let Some(step) = self.note_cut(&answer)?
        {
            return Ok(Some(step));
        }
        if let Some(step) = self.precious.poll_narrow() {
            return Ok(Some(step));
        }
        let cut = &mut self.cut;
        while let Some(&start) = cut.segments.last() {
            let file = FileName::Segment(start);
            let keep = end.0.saturating_sub(start.0);
            let low = floor(LogOffset(keep)).0;
            if cut.done_from <= low {
                if !cut.is_flushed {
                    cut.asked = LastStep::Flush;
                    return Ok(Some(Step::Flush { file }));
                }
                cut.segments.pop();
                cut.done_from = self.settings.segment_bytes;
                cut.is_flushed = false;
                continue;
            }
            if cut.unflushed >= UNFLUSHED_BYTES_MAX {
                cut.asked = LastStep::Flush;
                return Ok(Some(Step::Flush { file }));
            }
            // The block in which the log ends comes last and alone: it keeps what belongs to the log.
            let above = if keep == low { low } else { low + BLOCK };
            let at = cut.done_from.saturating_sub(READ_BYTES).max(if cut.done_from > above { above } else { low });
            let len = cut.done_from - at;
            cut.asked = LastStep::Read { at, len };
            return Ok(Some(read(file, at, len)));
        }
        Ok(None)
    }

    /// Takes an answer; what was read is overwritten, unless it is as it shall be.
    fn note_cut(&mut self, answer: &Bytes) -> Result<Option<Step>, RecoveryError> {
        let Some(&start) = self.cut.segments.last() else { return Ok(None) };
        match std::mem::take(&mut self.cut.asked) {
            LastStep::Nothing => {}
            LastStep::Flush => (self.cut.unflushed, self.cut.is_flushed) = (0, true),
            LastStep::Write { at, len } => {
                self.cut.done_from = at;
                self.cut.unflushed += len;
                self.cut.is_flushed = false;
            }
            LastStep::Read { at, len } => {
                if answer.len() as u64 != len {
                    return Err(self.unreadable(start));
                }
                let keep = usize::try_from(self.scan.at.0.saturating_sub(start.plus(at).0)).unwrap_or(usize::MAX);
                let (kept, cut) = answer.split_at(keep.min(answer.len()));
                if cut.iter().all(|&byte| byte == 0) {
                    self.cut.done_from = at;
                    return Ok(None);
                }
                let mut data = kept.to_vec();
                data.resize(answer.len(), 0);
                self.cut.asked = LastStep::Write { at, len };
                return Ok(Some(Step::Write { file: FileName::Segment(start), at, data: data.into() }));
            }
        }
        Ok(None)
    }
}

const _: () =
    assert!(UNFLUSHED_BYTES_MAX + READ_BYTES <= UNFLUSHED_REACH_BYTES_MAX, "a cut leaves no more than is looked for");
