//! The log of a slave: the bytes of a master's log, checked and stored as they are.
//!
//! What is stored is exactly what the master stored, so that offsets, keys and queues mean the same on both, and a slave can take a master's
//! place. Nothing of it is trusted: size, lengths, CRC, own offset, place in the queue and the fit into our segment are checked before
//! one byte is part of the log.
//!
//! A record of ours carries the CRC of all its bytes. RocketMQ's own brokers make records without it, whose body alone is covered. A record
//! that lacks it and does not follow another such one may have had its CRC property damaged on the way, so it is refused; if the very same
//! bytes come again, on what must be another connection, then that is how the master has it.

use bytes::Bytes;
use thiserror::Error;

use super::background::Background;
use super::commit_log::{AppendError, Log};
use super::derive::{Change, Derived, Grown, QueueGap};
use super::ends;
use super::file::FileName;
use super::scrub::Scrub;
use super::stream::StreamBlocks;
use super::{QueueIndex, file::Work};
use crate::limits::DISK_BLOCK_BYTES;
use crate::model::{LogOffset, QueueId, QueueOffset, TopicName};
use crate::protocol::record::{self, Check, DraftError, FILLER_BYTES, MAGIC_FILLER, RecordError, RecordView};

/// Bytes of a filler that RocketMQ's own brokers give a meaning: remaining, magic. No record ends nearer to the end of its segment.
pub(super) const FILLER_BYTES_MIN: usize = 8;

/// What a log knows for its replication.
#[derive(Debug, Default)]
pub(super) struct Replicated {
    /// Consumers see nothing beyond, whatever is promised here.
    pub(super) confirm_max: Option<LogOffset>,
    /// The last filler that came from a master and the end of its segment, which is the end of the log while the padding still comes.
    padding: Option<(LogOffset, LogOffset)>,
    /// Whether the last record has no CRC property; `None` if there is none, or it is not known.
    pub(super) is_plain: Option<bool>,
    /// The last record or filler that lacked a CRC: its place and the CRC-32 of its bytes.
    unproven: Option<(LogOffset, u32)>,
    /// The same, of which the caller knows.
    refused_plain: Option<(LogOffset, u32)>,
    /// Old bytes for replicas that are far behind.
    pub(super) blocks: StreamBlocks,
}

/// Why bytes of a master's log were not appended.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub enum ReplicaError {
    /// They are not what a broker stores: damaged on the way. Drop the connection and ask again from [`Log::appended`].
    #[error("no sound record came for log offset {at}: {error}")]
    Damaged {
        /// Where it should lie.
        at: LogOffset,
        /// What is wrong with it.
        error: RecordError,
    },
    /// A record without the CRC property, or a filler without ours, that does not come after another such record: damaged, or made by a
    /// RocketMQ broker. Drop the connection and ask again, without delay: the same bytes are taken then.
    #[error(
        "what came for log offset {at} has no CRC of its own; if the master is one of RocketMQ's own brokers it is taken when it comes again"
    )]
    Unproven {
        /// Where it should lie.
        at: LogOffset,
    },
    /// Sound, but not what comes next.
    #[error("bytes of log offset {found} came, and {expected} comes next")]
    OutOfPlace {
        /// End of the log.
        expected: LogOffset,
        /// What came.
        found: LogOffset,
    },
    /// The master's segments end elsewhere than ours: the two can never follow one another.
    #[error(
        "{bytes} bytes at log offset {at} do not fit segments of {segment_bytes} bytes: master and slave need the same mappedFileSizeCommitLog"
    )]
    SegmentSize {
        /// Where they begin.
        at: LogOffset,
        /// Size of the record, or of what the filler says remains.
        bytes: u64,
        /// Our setting.
        segment_bytes: u64,
    },
    /// The record is sound, and its queue has come to another end here than on the master: the two logs are not one.
    #[error(
        "queue {queue_id} of topic {topic} ends at {expected}, and the master's record at {at} is its number {found}"
    )]
    QueueGap {
        topic: TopicName,
        queue_id: QueueId,
        /// Its end here.
        expected: QueueOffset,
        /// What the record says.
        found: QueueOffset,
        /// The record.
        at: LogOffset,
    },
    /// There is no room now (`TailFull`, `NoSegment`: offer the same bytes again after progress), or never will be.
    #[error(transparent)]
    Append(#[from] AppendError),
}

/// Why a log does not begin elsewhere.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub enum BeginError {
    /// It holds something.
    #[error("the log holds {start} to {appended}, and only an empty one can begin elsewhere")]
    NotEmpty {
        start: LogOffset,
        /// Its end.
        appended: LogOffset,
    },
    /// Not the start of a segment.
    #[error(
        "log offset {at} is not the start of a segment of {segment_bytes} bytes: master and slave need the same mappedFileSizeCommitLog"
    )]
    NotASegment {
        /// Where it should begin.
        at: LogOffset,
        /// Our setting.
        segment_bytes: u64,
    },
    /// A file is being put into place: try again after progress.
    #[error("a file is being put into place")]
    Busy,
    /// The log has failed; see [`Log::failure`].
    #[error("the log has stopped")]
    Stopped,
}

impl Log {
    /// Size of a segment: what a master and its slaves must agree on.
    #[must_use]
    pub fn segment_bytes(&self) -> u64 {
        self.segments.size()
    }

    /// Start of the segment in which the log ends: where a master begins for a slave that has nothing. If the log ends with a segment, that is
    /// the end of the log.
    #[must_use]
    pub(crate) fn last_segment_start(&self) -> LogOffset {
        LogOffset(self.appended().0 / self.segments.size() * self.segments.size())
    }

    /// Bounds what consumers may see, beside what is promised here: what the in-sync set holds. `None` is no bound. What was visible stays so.
    pub(crate) fn set_confirm_max(&mut self, max: Option<LogOffset>) {
        self.replicated.confirm_max = max;
        self.advance_confirm();
    }

    /// Lets an empty log begin at `at`, the start of a segment; also one whose content has all been thrown away, which forgets its queues then.
    ///
    /// # Errors
    /// [`BeginError`]; nothing has changed then.
    pub(crate) fn begin_at(&mut self, at: LogOffset) -> Result<(), BeginError> {
        let (start, appended) = (self.start(), self.appended());
        if self.failure().is_some() {
            return Err(BeginError::Stopped);
        }
        if start != appended {
            return Err(BeginError::NotEmpty { start, appended });
        }
        if !at.0.is_multiple_of(self.segments.size()) {
            return Err(BeginError::NotASegment { at, segment_bytes: self.segments.size() });
        }
        if at == appended {
            return Ok(());
        }
        if self.commit.is_some() || self.background.is_placing() {
            return Err(BeginError::Busy);
        }
        // A checkpoint of another life would speak of offsets that this one does not have.
        self.background.retired.push_back(Work::Remove { file: FileName::Checkpoint });
        // Where the queues of what lies before go on is not known here: the log does not say that it lost something.
        let ends: Bytes = ends::finish(ends::begin(), at, at).into();
        let replace = |copy| Work::Replace { file: FileName::Ends(copy), data: ends.clone() };
        self.background.retired.extend((0..ends::COPIES).map(replace));
        self.background.retired.extend(self.segments.clear());
        self.queues.forget_all();
        self.keys.forget_all();
        self.caches.clear();
        self.crowd.clear();
        self.replicated.blocks.clear();
        self.replicated.padding = None;
        self.replicated.is_plain = None;
        self.open_block = None;
        self.time_searches.clear();
        self.lookups.clear();
        self.prefetch.clear();
        self.damage.clear();
        self.scrub = Scrub::default();
        self.unconfirmed.clear();
        self.ends.clear();
        self.jumps.clear();
        self.tail.restart(at);
        (self.written, self.flushed, self.confirm, self.whole) = (at, at, at, at);
        self.checkpointer.resume(at);
        self.checkpointer.resume_ends(at, at);
        Ok(())
    }

    /// Appends what a master has appended: `bytes` are those of its log from `at` on, which is where the last call has come to. Takes whole
    /// records, and fillers with their padding, and says how many bytes it took; offer the rest again when more has come. What went wrong
    /// behind the bytes that were taken is said by the next call.
    ///
    /// # Errors
    /// [`ReplicaError`]; nothing was taken then.
    pub fn append_replicated(&mut self, at: LogOffset, bytes: &[u8]) -> Result<usize, ReplicaError> {
        if self.failure().is_some() {
            return Err(AppendError::Stopped.into());
        }
        let mut taken = self.skip_padding(at, bytes.len())?;
        let mut result = Ok(());
        while let Some(rest) = bytes.get(taken..).filter(|rest| rest.len() >= FILLER_BYTES_MIN) {
            match self.append_one(rest) {
                Ok(0) => break,
                Ok(one) => taken += one,
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
        }
        self.advance_confirm();
        if taken > 0 {
            return Ok(taken);
        }
        if matches!(result, Err(ReplicaError::Unproven { .. })) {
            self.replicated.refused_plain = self.replicated.unproven;
        }
        result.map(|()| 0)
    }

    /// How much of the bytes from `at` on is padding of a filler that was taken.
    fn skip_padding(&self, at: LogOffset, len: usize) -> Result<usize, ReplicaError> {
        let end = self.appended();
        match self.replicated.padding {
            _ if at == end => Ok(0),
            Some((filler, segment_end)) if segment_end == end && at > filler && at < end => {
                Ok(len.min(usize::try_from(end.since(at)).unwrap_or(usize::MAX)))
            }
            _ => Err(ReplicaError::OutOfPlace { expected: end, found: at }),
        }
    }

    /// Appends the record or filler at the beginning of `rest`. How many bytes it took; 0 if there must be more.
    fn append_one(&mut self, rest: &[u8]) -> Result<usize, ReplicaError> {
        let at = self.appended();
        let Some(current) = self.segments.current() else {
            return Err(AppendError::NoSegment { disk_full: self.background.is_disk_full() }.into());
        };
        let segment_end = current.start.plus(self.segments.size());
        let room = segment_end.since(at);
        if is_filler(rest) {
            return self.append_filler(at, room, rest);
        }
        let Some(view) = self.view_next(at, room, rest)? else { return Ok(0) };
        self.check_room_for(at, u64::from(view.size))?;
        let change = self.derive(&view)?;
        let end = at.plus(u64::from(view.size));
        self.tail.write(at, view.bytes);
        self.tail.publish(end);
        self.ends.push_back(end);
        self.replicated.is_plain = Some(!view.has_crc());
        self.note_change(change, end);
        Ok(view.bytes.len())
    }

    /// The record at the beginning of `rest`, sound and in its place; `None` if there must be more.
    fn view_next<'a>(
        &mut self,
        at: LogOffset,
        room: u64,
        rest: &'a [u8],
    ) -> Result<Option<RecordView<'a>>, ReplicaError> {
        let damaged = |error| ReplicaError::Damaged { at, error };
        let size = record::peek_size(rest).map_err(damaged)?;
        if u64::from(size) + FILLER_BYTES_MIN as u64 > room {
            record::check_lengths(rest, size).map_err(damaged)?;
            return Err(ReplicaError::SegmentSize { at, bytes: size.into(), segment_bytes: self.segments.size() });
        }
        let Some(bytes) = rest.get(..size as usize) else {
            record::check_lengths(rest, size).map_err(damaged)?;
            return Ok(None);
        };
        let view = RecordView::decode(bytes, Some(at), Check::Once).map_err(|error| match error {
            RecordError::Elsewhere { expected, found } => ReplicaError::OutOfPlace { expected, found },
            error => damaged(error),
        })?;
        if !view.has_crc() && !self.may_be_plain(at, bytes) {
            return Err(ReplicaError::Unproven { at });
        }
        Ok(Some(view))
    }

    /// Whether a whole record or filler of a master, sound and in its place, is at the beginning of `bytes`, which are those of its log from `at`
    /// on. Nothing is taken.
    ///
    /// # Errors
    /// [`ReplicaError`], as [`Log::append_replicated`] has it: it would not be taken.
    pub(crate) fn check_next(&mut self, at: LogOffset, bytes: &[u8]) -> Result<bool, ReplicaError> {
        let expected = self.appended();
        if at != expected {
            return Err(ReplicaError::OutOfPlace { expected, found: at });
        }
        let Some(current) = self.segments.current().filter(|_| bytes.len() >= FILLER_BYTES_MIN) else {
            return Ok(false);
        };
        let room = current.start.plus(self.segments.size()).since(at);
        let checked = if is_filler(bytes) {
            self.view_filler(at, room, bytes).map(|filler| filler.is_some())
        } else {
            self.view_next(at, room, bytes).map(|view| view.is_some())
        };
        if matches!(checked, Err(ReplicaError::Unproven { .. })) {
            self.replicated.refused_plain = self.replicated.unproven;
        }
        checked
    }

    fn check_room_for(&self, at: LogOffset, size: u64) -> Result<(), AppendError> {
        let max = self.tail.len() / 2;
        if size > max {
            let (bytes, max) =
                (usize::try_from(size).unwrap_or(usize::MAX), usize::try_from(max).unwrap_or(usize::MAX));
            return Err(AppendError::TooLarge(DraftError::RecordTooLong { bytes, max }));
        }
        self.check_index()?;
        self.check_ring(at.plus(size))
    }

    fn derive(&mut self, view: &RecordView<'_>) -> Result<Change, ReplicaError> {
        let mut derived = Derived {
            segments: &mut self.segments,
            queues: &mut self.queues,
            keys: &mut self.keys,
            index: &mut self.index,
            block_sizes: self.settings.block_sizes(),
            delay_levels: &self.settings.delay_levels,
            has_light: self.settings.has_light,
        };
        let change = derived.derive(view).map_err(|QueueGap { expected, found }| ReplicaError::QueueGap {
            topic: TopicName::from(view.topic),
            queue_id: view.queue_id,
            expected,
            found,
            at: view.log_offset,
        })?;
        self.keys.seal_overflow(|run, last| self.index.push(run, last));
        Ok(change)
    }

    /// Carries on what a record has changed to what is only known of a live log.
    fn note_change(&mut self, change: Change, end: LogOffset) {
        match change {
            Change::None => {}
            Change::Removed(queues) => self.forget_reads(&queues),
            Change::Queued(grown) => self.note_grown(grown, end),
            Change::Several(all) => all.into_iter().for_each(|grown| self.note_grown(grown, end)),
        }
    }

    fn note_grown(&mut self, Grown { queue, count, is_restarted }: Grown, end: LogOffset) {
        if is_restarted {
            self.forget_reads(&[queue]);
        }
        self.unconfirmed.push_back((end, queue, count));
    }

    /// Nobody waits any more for what these queues held.
    pub(super) fn forget_reads(&mut self, queues: &[QueueIndex]) {
        self.forget_unconfirmed(queues);
        self.open_block = None;
        self.damage.forget_queues(queues);
        self.crowd.forget_queues(queues);
        self.time_searches.retain(|search| !search.is_of(queues));
    }

    /// The filler at the beginning of `rest`, as it is stored here; `None` if there must be more.
    fn view_filler(
        &mut self,
        at: LogOffset,
        room: u64,
        rest: &[u8],
    ) -> Result<Option<[u8; FILLER_BYTES]>, ReplicaError> {
        let len = FILLER_BYTES.min(usize::try_from(room).unwrap_or(usize::MAX));
        let Some(found) = rest.get(..len) else { return Ok(None) };
        let remaining = found.first_chunk().map_or(0, |four| u32::from_be_bytes(*four));
        let mut filler = record::encode_filler(at, remaining);
        let is_proven = found == &filler[..len];
        if !is_proven && !self.may_be_plain(at, found) {
            return Err(ReplicaError::Unproven { at });
        }
        if u64::from(remaining) != room {
            let segment_bytes = self.segments.size();
            return Err(ReplicaError::SegmentSize { at, bytes: remaining.into(), segment_bytes });
        }
        if !is_proven {
            // What follows the magic has no meaning there, and is zeros here.
            filler[FILLER_BYTES_MIN..].fill(0);
        }
        Ok(Some(filler))
    }

    /// Takes a filler, and of its padding what has come.
    fn append_filler(&mut self, at: LogOffset, room: u64, rest: &[u8]) -> Result<usize, ReplicaError> {
        let Some(filler) = self.view_filler(at, room, rest)? else { return Ok(0) };
        if !self.segments.has_next() {
            return Err(AppendError::NoSegment { disk_full: self.background.is_disk_full() }.into());
        }
        let segment_end = at.plus(room);
        self.check_ring(segment_end)?;
        self.close_segment(segment_end, &filler);
        self.replicated.padding = Some((at, segment_end));
        Ok(usize::try_from(room).unwrap_or(usize::MAX).min(rest.len()))
    }

    /// Whether what came without a CRC of its own may be taken for what the master has.
    fn may_be_plain(&mut self, at: LogOffset, bytes: &[u8]) -> bool {
        if !self.settings.has_record_crc || self.replicated.is_plain == Some(true) {
            return true;
        }
        self.replicated.unproven = Some((at, crc32fast::hash(bytes)));
        self.replicated.unproven == self.replicated.refused_plain
    }
}

/// Whether a filler begins here.
fn is_filler(bytes: &[u8]) -> bool {
    bytes.get(4..8) == Some(&MAGIC_FILLER.to_be_bytes())
}

impl Background {
    /// Whether a file is on its way to its place, a segment or a checkpoint, or is written to.
    fn is_placing(&self) -> bool {
        self.in_flight.as_ref().is_some_and(|(_, work)| !matches!(work, Work::Prepare { .. }))
    }
}

const _: () = assert!(FILLER_BYTES < DISK_BLOCK_BYTES, "a filler is written with the block in which it begins");

#[cfg(test)]
mod tests;
