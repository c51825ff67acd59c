//! What a start reads before the log: the checkpoint, and the two copies of where the queues go on.

use std::collections::VecDeque;

use bytes::Bytes;

use super::{BLOCK, READ_BYTES, Recovery, RecoveryError, Scan, Step, floor, read};
use crate::log::checkpoint::Checkpoint;
use crate::log::consume_queue::{ConsumeQueues, Queue};
use crate::log::ends::{self, COPIES};
use crate::log::file::FileName;
use crate::model::LogOffset;

/// The files, and what they say.
#[derive(Debug, Default)]
pub(super) struct Precious {
    /// Those that are not read yet, with their sizes.
    files: VecDeque<(FileName, u64)>,
    /// The first of them, as far as it was read.
    bytes: Vec<u8>,
    checkpoint: Vec<u8>,
    /// Of each copy that is sound.
    copies: Vec<LogOffset>,
    queues: Option<ConsumeQueues>,
    /// As far on as here the log may begin: both copies say so.
    pub(super) start_max: LogOffset,
    /// The sound copies as they were read.
    sound: Vec<(FileName, Vec<u8>)>,
    /// What they are made to say before the log is cut, and the one that is to be flushed.
    narrowed: VecDeque<(FileName, Bytes)>,
    unflushed: Option<FileName>,
}

impl Precious {
    pub(super) fn add(&mut self, file: FileName, size_bytes: u64) {
        self.files.push_back((file, size_bytes));
    }

    /// Takes a file that was read. Of two copies the one that lets the log begin further on is the newer.
    fn take(&mut self, file: FileName) {
        let bytes = std::mem::take(&mut self.bytes);
        if file == FileName::Checkpoint {
            self.checkpoint = bytes;
            return;
        }
        let Some(ends) = ends::decode(&bytes) else {
            tracing::warn!(%file, "the file is damaged; its copy is used, and it is written again");
            return;
        };
        self.sound.push((file, bytes));
        if self.copies.iter().all(|known| *known <= ends.start_max) {
            self.queues = Some(ends.queues);
        }
        self.copies.push(ends.start_max);
    }

    /// The log is to be cut: what the copies allow was said of one that went on beyond. They allow nothing more, and are written anew before
    /// retention takes a segment.
    pub(super) fn narrow(&mut self, start: LogOffset) {
        let narrowed = |(file, bytes): (FileName, Vec<u8>)| Some((file, ends::with_start_max(&bytes, start)?.into()));
        self.narrowed = std::mem::take(&mut self.sound).into_iter().filter_map(narrowed).collect();
        self.start_max = start;
    }

    /// One copy after the other, so that one is whole at each moment.
    pub(super) fn poll_narrow(&mut self) -> Option<Step> {
        if let Some(file) = self.unflushed.take() {
            return Some(Step::Flush { file });
        }
        let (file, data) = self.narrowed.pop_front()?;
        self.unflushed = Some(file);
        Some(Step::Write { file, at: 0, data })
    }

    /// Where the log may begin at most, by the newest copy.
    fn start_allowed(&self) -> Option<LogOffset> {
        self.copies.iter().copied().max()
    }
}

impl Recovery {
    pub(super) fn read_precious(&mut self) -> Result<Option<Step>, RecoveryError> {
        if let Some(data) = self.answer.take()
            && let Some((_, size)) = self.precious.files.front_mut()
        {
            self.precious.bytes.extend_from_slice(&data);
            if data.is_empty() {
                // Shorter than it was listed; what is there must do.
                *size = self.precious.bytes.len() as u64;
            }
        }
        while let Some(&(file, size)) = self.precious.files.front() {
            let at = self.precious.bytes.len() as u64;
            if at < size {
                let len = READ_BYTES.min((size - at).next_multiple_of(BLOCK));
                return Ok(Some(read(file, at, len)));
            }
            self.precious.take(file);
            self.precious.files.pop_front();
        }
        if self.precious.copies.len() == usize::from(COPIES) {
            self.precious.start_max = self.precious.copies.iter().copied().min().unwrap_or_default();
        }
        let bytes = std::mem::take(&mut self.precious.checkpoint);
        let checkpoint = Checkpoint::decode(&bytes, &self.settings);
        if checkpoint.is_none() && !bytes.is_empty() {
            tracing::warn!(file = %FileName::Checkpoint, "the file is damaged, or of another version or segment size; all of the log is read");
        }
        self.check_start(checkpoint.as_ref())?;
        let fingerprints = checkpoint.as_ref().map(Checkpoint::fingerprints).unwrap_or_default();
        let rest = match checkpoint {
            Some(checkpoint) if self.is_within(checkpoint.flushed) => self.begin_at(checkpoint)?.map(Some),
            Some(checkpoint) => {
                // It knows of what is to be cut off.
                self.leftovers.push_front(FileName::Checkpoint);
                Some(Some(checkpoint.queues))
            }
            None => Some(None),
        };
        if let Some(of_checkpoint) = rest {
            self.begin_with_ends(of_checkpoint)?;
        }
        self.begin_places(&fingerprints);
        let known = self.derived.index.files();
        let unknown = self.index_sizes.iter().map(|(number, _)| *number).filter(|number| !known.contains_key(number));
        self.leftovers.extend(unknown.map(FileName::Index));
        Ok(None)
    }

    /// Whether the log begins where it may: what lay before was taken by retention, and not by somebody else.
    fn check_start(&self, checkpoint: Option<&Checkpoint>) -> Result<(), RecoveryError> {
        let start = self.scan.at;
        let known = checkpoint.filter(|checkpoint| checkpoint.is_start_known);
        let known = known.and_then(|checkpoint| checkpoint.segments.iter().map(|segment| segment.start).min());
        let allowed = self.precious.start_allowed().max(known);
        match allowed {
            Some(allowed) if start > allowed => Err(RecoveryError::MissingSegment { file: FileName::Segment(allowed) }),
            _ => Ok(()),
        }
    }

    /// Everything is derived from the log anew; queues of which it has nothing go on where they were.
    fn begin_with_ends(&mut self, of_checkpoint: Option<ConsumeQueues>) -> Result<(), RecoveryError> {
        let start = self.scan.at;
        if start == LogOffset(0) {
            return Ok(());
        }
        let known = self.precious.queues.take().or(of_checkpoint);
        self.derived.queues = known.ok_or(RecoveryError::LostEnds { start })?;
        let queues = &mut self.derived.queues;
        for queue in &mut queues.list {
            queue.forget_entries();
            queue.as_of = LogOffset(0);
        }
        queues.unsealed = 0;
        Ok(())
    }

    /// Goes on from a checkpoint; its queues, if everything must be derived from the log all the same.
    fn begin_at(&mut self, checkpoint: Checkpoint) -> Result<Option<ConsumeQueues>, RecoveryError> {
        let size = self.settings.segment_bytes;
        let first_missing = LogOffset(checkpoint.flushed.0 / size * size);
        let start = self.scan.at;
        let is_missing = self.derived.segments.find(checkpoint.flushed).is_none();
        if is_missing && checkpoint.flushed >= start && checkpoint.flushed > LogOffset(0) {
            return Err(RecoveryError::MissingSegment { file: FileName::Segment(first_missing) });
        }
        self.known_end = checkpoint.flushed.max(start);
        if !self.has_index_files(&checkpoint, start) {
            return Ok(Some(checkpoint.queues));
        }
        // Segments may have gone after the checkpoint was made, when the disk was too full for another one.
        let at = checkpoint.replay_from.max(start);
        self.replay_from = at;
        self.is_plain = checkpoint.is_plain.then_some(true);
        self.scrub = checkpoint.scrub;
        self.scan = Scan { at, window_at: floor(at), window: Vec::new() };
        self.derived.queues = checkpoint.queues;
        if checkpoint.flushed < start {
            self.derived.queues.list.iter_mut().for_each(Queue::forget_entries);
            self.derived.queues.unsealed = 0;
        }
        self.derived.keys = checkpoint.keys;
        let mut index_files = checkpoint.index_files;
        index_files.retain(|number, _| self.index_sizes.iter().any(|(found, _)| found == number));
        self.derived.index.resume(checkpoint.index_end, index_files);
        for known in &checkpoint.segments {
            self.derived.segments.set_known(known);
        }
        Ok(None)
    }
}
