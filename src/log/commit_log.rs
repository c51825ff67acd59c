//! The commit log of a shard: appending, the offsets, and the commits that bring the ring to the disk.

use std::collections::{BTreeSet, VecDeque};

use thiserror::Error;

use super::background::Background;
use super::cache::Caches;
use super::checkpoint::Checkpointer;
use super::clock::RetentionClock;
use super::consume_queue::{BlockSizes, ConsumeQueues, Entry, QueueIndex};
use super::crowd::Crowd;
use super::damage::Damage;
use super::derive;
use super::file::{BlockId, Commit, FileName, Flush, IoError, IoId};
use super::index_file::IndexFiles;
use super::key_index::KeyIndex;
use super::read::{Lookup, OpenBlock, TimeSearch};
use super::replicated::Replicated;
use super::scrub::Scrub;
use super::segment::Segments;
use super::settings::{FlushPolicy, LogSettings};
use super::tail::{Tail, TailMemory};
use crate::limits::{
    DISK_BLOCK_BYTES, INDEX_PENDING_BYTES_MAX, INDEX_REFERENCE_MEMORY, QUEUE_MEMORY, UNSEALED_ENTRIES_MAX,
    UNSEALED_ENTRY_MEMORY,
};
use crate::model::{LogOffset, Now, QueueId, QueueOffset, TopicName, UnixMs};
use crate::protocol::message::{DelayLevels, LIGHT_QUEUE, is_light, light_places, may_await_light};
use crate::protocol::record::{self, DraftError, FILLER_BYTES, Marks, Place, RecordDraft, Sized};

const BLOCK: u64 = DISK_BLOCK_BYTES as u64;

/// The log of one shard. State of the shard; single-threaded; no clock, no file.
///
/// Who calls what: the broker appends and reads, and passes on what the shell asks at its door ([`Log::poll_commit`], [`Log::poll_background`],
/// answered with [`Log::handle_io`]); a block that a read asks for comes back through [`Log::supply`]; [`Log::tick`] is called some
/// times a second.
///
/// `start <= flushed <= written <= appended` and `start <= confirm <= appended`, always.
pub struct Log {
    pub(super) settings: LogSettings,
    pub(super) tail: Tail,
    pub(super) segments: Segments,
    pub(super) queues: ConsumeQueues,
    pub(super) keys: KeyIndex,
    pub(super) index: IndexFiles,
    pub(super) caches: Caches,
    pub(super) crowd: Crowd,
    /// End of what a direct write has brought to the device.
    pub(super) written: LogOffset,
    /// End of what is on stable storage.
    pub(super) flushed: LogOffset,
    /// End of what consumers may see.
    pub(super) confirm: LogOffset,
    pub(super) commit: Option<InFlight>,
    /// Records that are not confirmed yet, in order: their ends, their queues and how many messages each holds. Also what a commit may not be
    /// followed by.
    pub(super) unconfirmed: VecDeque<(LogOffset, QueueIndex, u32)>,
    advanced: Vec<QueueIndex>,
    /// Ends of records that are not wholly written, and the end of the last one that is. The ring keeps everything behind `whole`: a start
    /// finds the log valid up to there, and could not put a record together of which the disk has one half and the ring the other.
    pub(super) ends: VecDeque<LogOffset>,
    pub(super) whole: LogOffset,
    /// Places where the log jumps to the next segment: the end of a filler, and the end of its segment.
    pub(super) jumps: VecDeque<(LogOffset, LogOffset)>,
    /// Topics whose removal found no room in the log yet.
    pub(super) removals: VecDeque<String>,
    /// End of the newest one that was written here.
    pub(super) removed_until: LogOffset,
    /// Below, somebody waits for a flush who does not go by the flush setting.
    pub(super) flush_wanted: LogOffset,
    pub(super) background: Background,
    pub(super) checkpointer: Checkpointer,
    pub(super) lookups: VecDeque<Lookup>,
    pub(super) time_searches: VecDeque<TimeSearch>,
    pub(super) open_block: Option<OpenBlock>,
    pub(super) prefetch: VecDeque<BlockId>,
    pub(super) damage: Damage,
    pub(super) scrub: Scrub,
    pub(super) clock: RetentionClock,
    /// What the log knows for its replication: of masters and of slaves.
    pub(super) replicated: Replicated,
    next_io: u64,
    /// As of the last tick.
    pub(super) now: Now,
    /// The same, as the clock of retention stamps it.
    pub(super) time_stamp: Option<UnixMs>,
    /// Retention leaves what lies from here on, whatever its age.
    pub(super) held_from: Option<LogOffset>,
    last_flush: Now,
    pub(super) is_disk_refused: bool,
    failure: Option<LogFailure>,
}

/// A commit that is under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct InFlight {
    id: IoId,
    file: FileName,
    end: LogOffset,
    flush: Flush,
}

/// What an append has reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Where the record begins.
    pub(crate) log_offset: LogOffset,
    /// Its bytes.
    pub size: u32,
    /// Its position in the queue.
    pub queue_offset: QueueOffset,
    /// Where it ends: its promise is met when [`Log::flushed`], or whatever was promised, has reached this.
    pub end: LogOffset,
}

/// Why nothing was appended.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum AppendError {
    /// The ring is full of what is not written yet: try again after progress, and read no more requests until then.
    #[error("the tail of the log is full")]
    TailFull,
    /// There is no file to go on in.
    #[error("no segment to append to{}", if *disk_full { ": the disk is full" } else { " yet" })]
    NoSegment {
        /// Whether that is for lack of space; else the next one is on its way.
        disk_full: bool,
    },
    /// The log has failed; see [`Log::failure`].
    #[error("the log has stopped")]
    Stopped,
    /// This draft can never be stored.
    #[error(transparent)]
    TooLarge(DraftError),
}

#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error(
    "{file}: {what} failed: {error}; the log is stopped, because what the disk holds is not known: restart to recover"
)]
pub(crate) struct LogFailure {
    pub(crate) file: FileName,
    /// What was done to it.
    pub(crate) what: &'static str,
    /// What the disk said.
    pub(crate) error: IoError,
}

/// Ends of a message queue; all 0 of one that is not there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct QueueBounds {
    /// First message that is still there.
    pub(crate) min: QueueOffset,
    /// End of what consumers may see.
    pub(crate) max: QueueOffset,
    /// End of what is appended.
    pub(crate) appended_max: QueueOffset,
}

impl Log {
    /// A log over what recovery found, with nothing derived yet. `end` is where it goes on; the tail holds the block it lies in.
    pub(super) fn new(settings: LogSettings, tail: Tail, segments: Segments, end: LogOffset) -> Log {
        settings.check(tail.len());
        Log {
            keys: KeyIndex::new(settings.key_run_entries),
            index: IndexFiles::new(settings.index_file_bytes),
            caches: Caches::new(settings.cache_bytes),
            crowd: Crowd::default(),
            settings,
            tail,
            segments,
            queues: ConsumeQueues::default(),
            written: end,
            flushed: end,
            confirm: end,
            commit: None,
            unconfirmed: VecDeque::new(),
            advanced: Vec::new(),
            ends: VecDeque::new(),
            whole: end,
            jumps: VecDeque::new(),
            removals: VecDeque::new(),
            removed_until: LogOffset(0),
            flush_wanted: LogOffset(0),
            background: Background::default(),
            checkpointer: Checkpointer::default(),
            lookups: VecDeque::new(),
            time_searches: VecDeque::new(),
            open_block: None,
            prefetch: VecDeque::new(),
            damage: Damage::default(),
            scrub: Scrub::default(),
            clock: RetentionClock::default(),
            replicated: Replicated::default(),
            next_io: 0,
            now: Now::default(),
            time_stamp: None,
            held_from: None,
            last_flush: Now::default(),
            is_disk_refused: false,
            failure: None,
        }
    }

    /// The log of a store that has no file yet. Its first segment is asked for by [`Log::poll_background`].
    ///
    /// # Panics
    /// If the settings do not fit one another or the tail.
    #[must_use]
    pub fn create(settings: LogSettings, tail: Box<dyn TailMemory>) -> Log {
        let tail = Tail::new(tail, LogOffset(0), LogOffset(0));
        Log::new(settings, tail, Segments::new(settings.segment_bytes, settings.zeros_bytes()), LogOffset(0))
    }

    /// The queue's handle; the queue is created, empty, on first use.
    pub fn queue(&mut self, topic: &str, queue_id: QueueId) -> QueueIndex {
        self.queues.find_or_create(topic, queue_id)
    }

    /// The queue's handle, if it was ever used.
    #[must_use]
    pub(crate) fn find_queue(&self, topic: &str, queue_id: QueueId) -> Option<QueueIndex> {
        self.queues.find(topic, queue_id)
    }

    /// All queues of a topic that were ever used, in order of their ids.
    pub(crate) fn queues_of(&self, topic: &str) -> impl Iterator<Item = (QueueId, QueueIndex)> {
        self.queues.of_topic(topic)
    }

    /// The number of a queue within its topic.
    #[must_use]
    pub fn queue_id(&self, queue: QueueIndex) -> QueueId {
        self.queues.get(queue).queue_id
    }

    /// What the queues weigh, and what the index does: entries that are in no block yet, and references to blocks, as counted some time ago.
    #[must_use]
    pub(crate) fn memory(&self) -> (usize, usize) {
        let index = self.queues.unsealed * UNSEALED_ENTRY_MEMORY + self.queues.references() * INDEX_REFERENCE_MEMORY;
        (self.queues.list.len() * QUEUE_MEMORY, index)
    }

    /// How long delayed messages wait.
    #[inline]
    #[must_use]
    pub fn delay_levels(&self) -> &DelayLevels {
        &self.settings.delay_levels
    }

    /// Every queue that holds a message: topic and number. Those of a removed topic hold none.
    pub(crate) fn filled_queues(&self) -> impl Iterator<Item = (&TopicName, QueueId)> {
        let start = self.start();
        let filled = self.queues.list.iter().filter(move |queue| queue.min(start) < queue.next());
        filled.map(|queue| (&queue.topic, queue.queue_id))
    }

    /// First offset of the log.
    #[must_use]
    pub fn start(&self) -> LogOffset {
        self.segments.oldest().map_or(self.written, |oldest| oldest.start)
    }

    /// End of what direct writes have brought to the device.
    #[must_use]
    pub(crate) fn written(&self) -> LogOffset {
        self.written
    }

    /// End of what is on stable storage.
    #[must_use]
    pub(crate) fn flushed(&self) -> LogOffset {
        self.flushed
    }

    /// End of the log.
    #[must_use]
    pub fn appended(&self) -> LogOffset {
        self.tail.appended()
    }

    /// End of what consumers may see: what is promised, and not beyond what [`Log::set_confirm_max`] allows. It never goes back.
    #[must_use]
    pub(crate) fn confirm(&self) -> LogOffset {
        self.confirm
    }

    /// Whether what lies at `at`, and all that follows, is read without the disk.
    #[must_use]
    pub(crate) fn is_in_tail(&self, at: LogOffset) -> bool {
        at >= self.tail_low()
    }

    /// First offset that is read without the disk.
    #[must_use]
    pub(crate) fn tail_low(&self) -> LogOffset {
        self.tail.low()
    }

    /// End of what the flush setting promises, without regard to replicas: flushed under SYNC_FLUSH; under ASYNC_FLUSH appended, or written
    /// if the tail would not survive the process. A slave acknowledges this.
    #[inline]
    #[must_use]
    pub(crate) fn promised(&self) -> LogOffset {
        match self.settings.flush {
            FlushPolicy::Sync => self.flushed,
            FlushPolicy::Async { .. } if self.tail.survives_kill() => self.tail.appended(),
            FlushPolicy::Async { .. } => self.written,
        }
    }

    /// Whether what the flush setting promises is on stable storage.
    #[must_use]
    pub(crate) fn is_promise_durable(&self) -> bool {
        self.settings.flush == FlushPolicy::Sync
    }

    /// What stopped the log, if it has stopped. It never goes on.
    #[must_use]
    pub(crate) fn failure(&self) -> Option<&LogFailure> {
        self.failure.as_ref()
    }

    /// Ends of a queue.
    #[must_use]
    pub(crate) fn bounds(&self, queue: QueueIndex) -> QueueBounds {
        let queue = self.queues.get(queue);
        let min = queue.min(self.start());
        QueueBounds { min, max: queue.visible.max(min), appended_max: queue.next() }
    }

    /// Queues of which consumers may see more than when this was last asked, each once.
    pub fn queues_advanced(&mut self) -> Vec<QueueIndex> {
        for &queue in &self.advanced {
            self.queues.get_mut(queue).is_advanced = false;
        }
        std::mem::take(&mut self.advanced)
    }

    /// Appends a message to a queue: one copy into the ring. `queue` is that of the draft's topic and queue id.
    ///
    /// # Errors
    /// [`AppendError`]; nothing has changed then.
    pub fn append(&mut self, queue: QueueIndex, draft: &RecordDraft<'_>) -> Result<Appended, AppendError> {
        let record = Sized::new(draft, self.settings.has_record_crc).map_err(AppendError::TooLarge)?;
        if self.is_disk_refused {
            return Err(AppendError::NoSegment { disk_full: true });
        }
        self.append_removals()?;
        self.make_room(record.size())?;
        Ok(self.store(queue, draft, &record))
    }

    /// Stores a record for which room was made.
    fn store(&mut self, queue: QueueIndex, draft: &RecordDraft<'_>, record: &Sized<'_>) -> Appended {
        let is_queued = record::is_queued(draft.sys_flag);
        let queue_offset = if is_queued { self.queues.get(queue).next() } else { QueueOffset(0) };
        let log_offset = self.put(record, queue_offset);
        let appended = Appended { log_offset, size: record.size(), queue_offset, end: self.appended() };
        let seed = self.queues.get(queue).key_seed;
        debug_assert_eq!(
            draft.marks,
            Marks::of(draft.properties),
            "the draft of {log_offset} says what its properties say"
        );
        self.keys.push(seed, &draft.marks.keys, log_offset, UnixMs(draft.store_timestamp));
        self.keys.seal_overflow(|run, last| self.index.push(run, last));
        if is_queued {
            let levels = &self.settings.delay_levels;
            let tag_code = derive::tag_code(draft.topic, draft.store_timestamp, &draft.marks, levels);
            let entry = Entry { log_offset, size: record.size(), tag_code };
            let count = derive::message_count(draft.sys_flag, draft.marks.inner_count);
            for _ in 0..count {
                push_entry(&mut self.queues, &mut self.index, self.settings.block_sizes(), queue, entry);
            }
            self.unconfirmed.push_back((appended.end, queue, count));
            if draft.marks.is_in_light {
                self.put_in_light_queues(draft, entry, appended.end);
            }
            if self.settings.has_light && may_await_light(draft.topic) {
                self.queues.reserve_light(draft.topic, draft.properties, appended.end);
            }
        }
        self.advance_confirm();
        appended
    }

    /// Puts a record into the light queues that its properties name, at the offsets that they say.
    #[inline(never)]
    fn put_in_light_queues(&mut self, draft: &RecordDraft<'_>, entry: Entry, end: LogOffset) {
        if !derive::is_in_light(draft.topic, draft.sys_flag, &draft.marks) {
            return;
        }
        for (name, offset) in light_places(draft.topic, draft.properties) {
            let queue = self.queues.find_or_create(name, LIGHT_QUEUE);
            let next = self.queues.get(queue).next();
            assert_eq!(next, offset, "the properties of {} say where the light queue {name} ends", entry.log_offset);
            push_entry(&mut self.queues, &mut self.index, self.settings.block_sizes(), queue, entry);
            self.unconfirmed.push_back((end, queue, 1));
        }
    }

    /// The name of a queue, if it is that of a light one.
    #[must_use]
    pub(crate) fn light_name(&self, queue: QueueIndex) -> Option<&TopicName> {
        Some(&self.queues.get(queue).topic).filter(|name| is_light(name.as_str()))
    }

    /// The message for which a queue was made a moment ago is not stored: a light queue of which there is nothing gives its place back.
    pub(crate) fn give_back_queue(&mut self, queue: QueueIndex) {
        self.queues.give_back(queue);
    }

    /// How many light queues were ever used, or are waited for by messages, as far as this process knows.
    #[must_use]
    pub(crate) fn light_queues(&self) -> u64 {
        self.queues.light
    }

    /// Appends messages to one queue, all of them or none, with offsets in a row.
    ///
    /// # Errors
    /// [`AppendError`]; nothing has changed then.
    pub(crate) fn append_batch(
        &mut self,
        queue: QueueIndex,
        drafts: &[RecordDraft<'_>],
    ) -> Result<Vec<Appended>, AppendError> {
        let sized = |draft| Sized::new(draft, self.settings.has_record_crc);
        let records = drafts.iter().map(sized).collect::<Result<Vec<_>, _>>().map_err(AppendError::TooLarge)?;
        let size = records.iter().fold(0_u32, |sum, record| sum.saturating_add(record.size()));
        if self.is_disk_refused {
            return Err(AppendError::NoSegment { disk_full: true });
        }
        self.append_removals()?;
        self.make_room(size)?;
        Ok(drafts.iter().zip(&records).map(|(draft, record)| self.store(queue, draft, record)).collect())
    }

    /// Whether the ring is so full of what is not written yet that the largest message might not fit: no more requests should be read.
    #[must_use]
    pub(crate) fn is_tail_nearly_full(&self) -> bool {
        let unwritten = self.appended().since(LogOffset(self.written.0 / BLOCK * BLOCK));
        unwritten > self.tail.len() - self.tail.len() / 4
    }

    /// Whether the next segment is still being made and a large message might need it: for this moment no more requests should be read.
    /// False while the disk is full, since that lasts, and whoever sends must be told.
    #[must_use]
    pub(crate) fn awaits_segment(&self) -> bool {
        if self.segments.has_next() || self.is_disk_refused || self.background.is_disk_full() {
            return false;
        }
        let size = self.segments.size();
        let room_wanted = (self.tail.len() / 2).min(size / 2);
        self.segments.current().is_none_or(|current| current.start.plus(size).since(self.appended()) < room_wanted)
    }

    /// Store time of the oldest message, if there is one.
    #[must_use]
    pub(crate) fn earliest_time(&self) -> Option<UnixMs> {
        self.segments.oldest().and_then(|segment| segment.times).map(|(first, _)| UnixMs(first))
    }

    /// Writes a record at the end; the room was made.
    #[inline]
    pub(super) fn put(&mut self, record: &Sized<'_>, queue_offset: QueueOffset) -> LogOffset {
        let log_offset = self.appended();
        let (segments, has_crc) = (&mut self.segments, self.settings.has_record_crc);
        self.tail.fill(record.size() as usize, |out| {
            record.encode(Place { log_offset, queue_offset }, out);
            segments.note_record(log_offset, record.store_timestamp(), has_crc, out);
        });
        self.replicated.is_plain = Some(!has_crc);
        let end = log_offset.plus(u64::from(record.size()));
        self.tail.publish(end);
        self.ends.push_back(end);
        log_offset
    }

    /// Whether such a record can be stored at all, with these settings.
    ///
    /// # Errors
    /// [`AppendError::TooLarge`].
    pub(crate) fn check_size(&self, draft: &RecordDraft<'_>) -> Result<(), AppendError> {
        let record = Sized::new(draft, self.settings.has_record_crc).map_err(AppendError::TooLarge)?;
        self.check_fits(record.size())
    }

    fn check_fits(&self, size: u32) -> Result<(), AppendError> {
        let max = (self.tail.len() / 2).min(self.segments.size() - FILLER_BYTES as u64);
        if u64::from(size) <= max {
            return Ok(());
        }
        let (bytes, max) = (size as usize, usize::try_from(max).unwrap_or(usize::MAX));
        Err(AppendError::TooLarge(DraftError::RecordTooLong { bytes, max }))
    }

    /// Makes sure that a record of `size` can be put at the log's end: moves on to the next segment if it does not fit this one.
    pub(super) fn make_room(&mut self, size: u32) -> Result<(), AppendError> {
        if self.failure.is_some() {
            return Err(AppendError::Stopped);
        }
        self.check_fits(size)?;
        let size = u64::from(size);
        self.check_index()?;
        let disk_full = self.background.is_disk_full();
        let Some(current) = self.segments.current() else {
            return Err(AppendError::NoSegment { disk_full });
        };
        let segment_end = current.start.plus(self.segments.size());
        let remaining = segment_end.since(self.appended());
        if size + FILLER_BYTES as u64 <= remaining {
            return self.check_ring(self.appended().plus(size));
        }
        if !self.segments.has_next() {
            return Err(AppendError::NoSegment { disk_full });
        }
        self.check_ring(segment_end.plus(size))?;
        let remaining = u32::try_from(remaining).expect("a segment is smaller than 4 GiB");
        self.close_segment(segment_end, &record::encode_filler(self.appended(), remaining));
        Ok(())
    }

    /// Index bytes that wait to be written have a bound, too.
    pub(super) fn check_index(&self) -> Result<(), AppendError> {
        if self.index.unwritten() <= INDEX_PENDING_BYTES_MAX {
            return Ok(());
        }
        let disk_full = self.background.is_disk_full();
        Err(if disk_full { AppendError::NoSegment { disk_full } } else { AppendError::TailFull })
    }

    /// The ring must keep what the next commit rewrites, and whole records: see `whole`.
    pub(super) fn check_ring(&self, end: LogOffset) -> Result<(), AppendError> {
        if end.since(self.ring_keeps()) > self.tail.len() { Err(AppendError::TailFull) } else { Ok(()) }
    }

    fn ring_keeps(&self) -> LogOffset {
        LogOffset(self.whole.0 / BLOCK * BLOCK)
    }

    /// Puts the filler and moves to the next segment. What follows the filler is never written, so a jump is noted.
    ///
    /// Behind records of RocketMQ's own brokers there may be room for the first 8 bytes of a filler only.
    pub(super) fn close_segment(&mut self, segment_end: LogOffset, filler: &[u8; FILLER_BYTES]) {
        let at = self.appended();
        let room = usize::try_from(segment_end.since(at)).unwrap_or(usize::MAX);
        let filler = &filler[..FILLER_BYTES.min(room)];
        self.tail.write(at, filler);
        self.segments.note_filler(at);
        self.segments.note_closed(at, self.time_stamp);
        let filler_end = at.plus(filler.len() as u64);
        // The rest of the filler's last disk block goes to the disk with it; the ring holds an older part of the log there.
        let padding = filler_end.0.next_multiple_of(BLOCK).min(segment_end.0) - filler_end.0;
        self.tail.write(filler_end, &[0; DISK_BLOCK_BYTES][..usize::try_from(padding).expect("less than a block")]);
        self.jumps.push_back((filler_end, segment_end));
        self.tail.publish(segment_end);
        self.ends.push_back(segment_end);
        let has_rolled = self.segments.roll();
        assert!(has_rolled, "the next segment is in place");
    }

    /// Takes over a jump that recovery found in the ring.
    pub(super) fn note_jump(&mut self, filler_end: LogOffset, segment_end: LogOffset) {
        self.jumps.push_back((filler_end, segment_end));
    }

    /// The next commit, if there is something to write or a flush is due. At most one is under way.
    ///
    /// It never waits for more: what gathers while one is under way is the next one.
    pub fn poll_commit(&mut self) -> Option<Commit> {
        if self.commit.is_some() || self.failure.is_some() {
            return None;
        }
        let segment = self.segments.find(self.written)?.start;
        let segment_end = segment.plus(self.segments.size());
        let from = LogOffset(self.written.0 / BLOCK * BLOCK);
        let jump = self.jumps.front().copied().filter(|(_, to)| *to == segment_end);
        let wanted = jump.map_or(segment_end, |(filler_end, _)| filler_end).min(self.appended());
        let end = wanted.min(from.plus(self.settings.commit_bytes_max as u64));
        let end = self.segments.writable(segment, end, self.background.preparing());
        if end <= self.written {
            return if self.is_flush_due() { self.flush_only() } else { None };
        }
        // A segment that is left is flushed with its last write: only the newest one can hold unflushed bytes.
        let is_last = jump.is_some_and(|(filler_end, _)| end == filler_end);
        let flush = is_last
            || self.is_flush_due()
            || match self.settings.flush {
                FlushPolicy::Sync => true,
                FlushPolicy::Async { flush_bytes, .. } => end.since(self.flushed) >= flush_bytes,
            };
        Some(self.start_commit(from, end, if is_last { segment_end } else { end }, flush))
    }

    /// Writes the last block again, to carry a flush.
    fn flush_only(&mut self) -> Option<Commit> {
        let last = LogOffset(self.written.0.checked_sub(1)? / BLOCK * BLOCK);
        self.segments.find(last).filter(|_| last >= self.tail.low())?;
        Some(self.start_commit(last, self.written, self.written, true))
    }

    fn start_commit(&mut self, from: LogOffset, end: LogOffset, then: LogOffset, is_durable: bool) -> Commit {
        let segment = self.segments.find(from).expect("commits lie in a segment").start;
        let len = usize::try_from(end.since(from)).expect("bounded").next_multiple_of(DISK_BLOCK_BYTES);
        let flush = match is_durable {
            false => Flush::None,
            true if self.flushed == self.written => Flush::Own,
            true => Flush::File,
        };
        let (id, file) = (self.next_io_id(), FileName::Segment(segment));
        self.commit = Some(InFlight { id, file, end: then, flush });
        Commit { id, segment: file, at: from.since(segment), from, len, flush }
    }

    /// Whether written bytes have waited long enough, or a checkpoint or the end waits for them.
    fn is_flush_due(&self) -> bool {
        let is_late = match self.settings.flush {
            FlushPolicy::Sync => true,
            FlushPolicy::Async { flush_ms, .. } => self.now.mono.ms_since(self.last_flush.mono) >= flush_ms,
        };
        let is_wanted = self.flushed < self.flush_wanted || self.checkpointer.wants_flush(self.flushed);
        self.flushed < self.written && (is_late || is_wanted)
    }

    /// Fills `out` with the bytes of a commit from `from` on, and zeros beyond the log's end. Call it right after [`Self::poll_commit`].
    pub(crate) fn copy_tail(&self, from: LogOffset, out: &mut [u8]) {
        self.tail.copy(from, out);
    }

    /// Overwrites the start of a disk block with what the log holds of it: the block in which the log ends, or one beyond.
    pub(super) fn copy_tail_block(&self, block: LogOffset, out: &mut [u8]) {
        if block < self.appended() {
            self.tail.copy(block, out);
        }
    }

    /// The result of a commit or of background work.
    ///
    /// A commit that fails for whatever reason stops the log for good: what the disk holds is not known then. Other work that finds the disk
    /// full is asked for again later.
    ///
    /// # Panics
    /// If `id` is not under way.
    pub fn handle_io(&mut self, id: IoId, result: Result<(), IoError>) {
        match self.commit {
            Some(commit) if commit.id == id => {
                self.commit = None;
                match result {
                    Ok(()) => self.committed(commit),
                    Err(error) => self.fail(
                        commit.file,
                        if commit.flush == Flush::None { "write" } else { "write or flush" },
                        error,
                    ),
                }
            }
            _ => self.handle_background(id, result),
        }
    }

    fn committed(&mut self, commit: InFlight) {
        self.written = self.written.max(commit.end);
        if self.jumps.front().is_some_and(|(_, to)| *to <= self.written) {
            self.jumps.pop_front();
        }
        while let Some(&end) = self.ends.front()
            && end <= self.written
        {
            self.ends.pop_front();
            self.whole = end;
        }
        if self.written == self.tail.appended() {
            self.whole = self.written;
        }
        if commit.flush != Flush::None {
            self.flushed = self.written;
            self.last_flush = self.now;
        }
        self.advance_confirm();
    }

    pub(super) fn fail(&mut self, file: FileName, what: &'static str, error: IoError) {
        self.failure.get_or_insert(LogFailure { file, what, error });
    }

    pub(super) fn next_io_id(&mut self) -> IoId {
        self.next_io += 1;
        IoId(self.next_io)
    }

    /// Lets consumers see what the flush setting's promise covers now.
    #[inline]
    pub(super) fn advance_confirm(&mut self) {
        let promised = self.promised();
        let confirm = self.replicated.confirm_max.map_or(promised, |max| promised.min(max)).max(self.confirm);
        self.confirm = confirm;
        while let Some(&(end, index, count)) = self.unconfirmed.front()
            && end <= confirm
        {
            self.unconfirmed.pop_front();
            let queue = self.queues.get_mut(index);
            queue.visible = queue.visible.plus(u64::from(count));
            if !queue.is_advanced {
                queue.is_advanced = true;
                self.advanced.push(index);
            }
        }
    }

    /// Records of removed queues are no longer waited for.
    pub(super) fn forget_unconfirmed(&mut self, removed: &[QueueIndex]) {
        let removed: BTreeSet<QueueIndex> = removed.iter().copied().collect();
        self.unconfirmed.retain(|(_, queue, _)| !removed.contains(queue));
    }

    /// Checks what must always hold; the simulator calls it after each step.
    ///
    /// # Panics
    /// If it does not.
    pub fn check_invariants(&self) {
        let (start, flushed, written, appended) = (self.start(), self.flushed, self.written, self.appended());
        assert!(start <= flushed, "start {start} beyond flushed {flushed}");
        assert!(flushed <= written, "flushed {flushed} beyond written {written}");
        assert!(written <= appended, "written {written} beyond appended {appended}");
        assert!(
            start <= self.confirm && self.confirm <= appended,
            "confirm {} outside {start}..{appended}",
            self.confirm
        );
        assert!(appended.since(self.ring_keeps()) <= self.tail.len(), "unwritten bytes left the ring");
        assert!(self.whole <= written, "records whole up to {} but written up to {written}", self.whole);
        assert!(self.tail.low() <= written, "the ring begins beyond what is written");
    }
}

/// Adds an entry to a queue, and closes a block when there are enough.
#[inline]
pub(super) fn push_entry(
    queues: &mut ConsumeQueues,
    index: &mut IndexFiles,
    sizes: BlockSizes,
    queue: QueueIndex,
    entry: Entry,
) {
    queues.push(queue, entry);
    if queues.get(queue).tail.len() >= sizes.entries {
        queues.seal(queue, sizes.references, |block, last| index.push(block, last));
    } else if queues.unsealed > UNSEALED_ENTRIES_MAX {
        // A few tries an append keep it cheap; the bound may be passed by little.
        if let Some(other) = queues.next_to_seal(8) {
            queues.seal(other, sizes.references, |block, last| index.push(block, last));
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use bytes::BytesMut;

    use super::*;
    use crate::log::{HeapTail, Io, Read, ReadLimits, Work};
    use crate::protocol::record::Check;
    use crate::protocol::record::{Marks, RecordView};

    fn log(flush: FlushPolicy) -> Log {
        let settings = LogSettings {
            segment_bytes: 64 * 1024,
            cache_bytes: 1024 * 1024,
            queue_block_entries: 4,
            key_run_entries: 16,
            index_file_bytes: 128 * 1024,
            flush,
            ..LogSettings::default()
        };
        Log::create(settings, Box::new(HeapTail::new(32 * 1024)))
    }

    pub(in crate::log) fn draft(body: &[u8]) -> RecordDraft<'_> {
        let host = std::net::SocketAddr::from(([127, 0, 0, 1], 10911));
        RecordDraft {
            topic: "T",
            queue_id: QueueId(0),
            flag: 0,
            sys_flag: 0,
            born_timestamp: 1,
            born_host: host,
            store_host: host,
            store_timestamp: 2,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body,
            properties: b"",
            marks: Marks::default(),
        }
    }

    fn settle(log: &mut Log) {
        while let Some(io) = log.poll_background(Now::default()) {
            log.handle_io(io.id, Ok(()));
        }
        while let Some(commit) = log.poll_commit() {
            log.handle_io(commit.id, Ok(()));
            log.check_invariants();
        }
    }

    #[test]
    fn messages_are_visible_when_flushed_and_read_from_the_ring() {
        let mut log = log(FlushPolicy::Sync);
        let queue = log.queue("T", QueueId(0));
        assert_eq!(log.append(queue, &draft(b"x")), Err(AppendError::NoSegment { disk_full: false }));
        assert!(log.awaits_segment(), "a request that is not read need not be refused");
        settle(&mut log);
        assert!(!log.awaits_segment());
        for number in 0..10u8 {
            let appended = log.append(queue, &draft(&[number])).expect("there is room");
            assert_eq!(appended.queue_offset, QueueOffset(u64::from(number)));
        }
        assert_eq!(log.bounds(queue).max, QueueOffset(0), "not flushed yet");
        settle(&mut log);
        assert_eq!(log.queues_advanced(), vec![queue]);
        let limits = ReadLimits { messages_max: 3, bytes_max: 10_000, entries_max: 100 };
        let mut out = BytesMut::new();
        let read = log.read(queue, QueueOffset(8), &limits, &|_| true, &mut out);
        assert_eq!(read, Read::Found { next: QueueOffset(10), messages: 2 });
        let first = RecordView::decode(&out, None, Check::CrcRequired).expect("whole records");
        assert_eq!((first.body, first.queue_offset), (&[8][..], QueueOffset(8)));
    }

    #[test]
    fn the_ring_never_loses_what_is_not_written() {
        let mut log = log(FlushPolicy::ASYNC);
        settle(&mut log);
        let queue = log.queue("T", QueueId(0));
        let body = [7; 3000];
        let mut appended = 0;
        while log.append(queue, &draft(&body)).is_ok() {
            appended += 1;
            log.check_invariants();
        }
        assert_eq!(log.append(queue, &draft(&body)), Err(AppendError::TailFull));
        assert_eq!(appended, 10, "a ring of 32 KiB holds ten");
        let commit = log.poll_commit().expect("there is something to write");
        assert_eq!((commit.at, commit.len % 4096), (0, 0));
        assert!(log.poll_commit().is_none(), "one at a time");
        log.handle_io(commit.id, Ok(()));
        assert!(log.append(queue, &draft(&body)).is_ok());
    }

    /// Carries out background work up to the first zeros at `at` of the first segment, and gives those.
    fn work_up_to_zeros(log: &mut Log, at: u64) -> Option<Io> {
        let zeros = |io: &Io| matches!(io.work, Work::Prepare { file: FileName::Segment(LogOffset(0)), at: from, .. } if from == at);
        while let Some(io) = log.poll_background(Now::default()) {
            if zeros(&io) {
                return Some(io);
            }
            log.handle_io(io.id, Ok(()));
        }
        None
    }

    fn commit_ends(log: &mut Log) -> Vec<u64> {
        let mut ends = Vec::new();
        while let Some(commit) = log.poll_commit() {
            ends.push(commit.at + commit.len as u64);
            log.handle_io(commit.id, Ok(()));
        }
        ends
    }

    #[test]
    fn a_log_that_is_faster_than_the_zeros_waits_only_for_those_under_way() {
        let settings = LogSettings { prepare_bytes: 4096, ..log(FlushPolicy::Sync).settings };
        let mut log = Log::create(settings, Box::new(HeapTail::new(32 * 1024)));
        let under_way = work_up_to_zeros(&mut log, 4 * 4096).expect("the segment serves before it is full of zeros");
        let queue = log.queue("T", QueueId(0));
        for _ in 0..10 {
            log.append(queue, &draft(&[7; 2500])).expect("there is room");
        }
        assert_eq!(commit_ends(&mut log), [4 * 4096], "the zeros under way must not come behind messages");
        log.handle_io(under_way.id, Ok(()));
        assert_eq!(commit_ends(&mut log), [7 * 4096], "the rest is written where nothing was");
        assert!(work_up_to_zeros(&mut log, 5 * 4096).is_none(), "zeros would overwrite messages");
    }

    #[test]
    fn without_a_flush_for_each_commit_no_zeros_are_written() {
        let mut log = log(FlushPolicy::ASYNC);
        let mut zeros = 0;
        while let Some(io) = log.poll_background(Now::default()) {
            zeros += if let Work::Prepare { len, .. } = io.work { len } else { 0 };
            log.handle_io(io.id, Ok(()));
        }
        assert_eq!((zeros, log.awaits_segment()), (0, false));
    }

    #[test]
    fn the_log_rolls_over_segments_and_stops_for_good_on_a_failed_commit() {
        let mut log = log(FlushPolicy::Sync);
        let queue = log.queue("T", QueueId(0));
        for number in 0..200u64 {
            settle(&mut log);
            let appended = log.append(queue, &draft(&[1; 1000])).expect("there is room");
            assert_eq!(appended.queue_offset, QueueOffset(number));
        }
        assert!(log.appended() > LogOffset(3 * 64 * 1024));
        let commit = log.poll_commit().expect("there is something to write");
        log.handle_io(commit.id, Err(IoError::Failed { errno: 5 }));
        assert!(log.failure().is_some() && log.poll_commit().is_none());
        assert_eq!(log.append(queue, &draft(b"x")), Err(AppendError::Stopped));
    }
}
