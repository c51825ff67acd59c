//! From the files that are found to a log: what is valid, what is taken from the tail, what is refused.
//!
//! In order:
//!
//! 1. Segments must be contiguous and of the right size; anything unknown in the folders is refused by name.
//! 2. A checkpoint, if there is a sound one, says where to begin; else the whole log is read. It also says how each segment begins: what was
//!    put there from elsewhere is refused by name, see [`places`].
//! 3. The log is valid up to the first bytes that are not a sound record *for that place*: recycled segments hold sound records of an
//!    older part of the log, so the record's own log offset counts as much as its CRC.
//! 4. What was found is flushed: that it can be read does not mean that it would survive.
//! 5. What the dead process had appended but not written is in the tail ring, if that outlived it; it is written and flushed. The ring also
//!    says how far the log went: if what was found ends where ring and disk cannot be put together, or records lie further on than an unflushed
//!    write reaches, the end is damage and the store is refused as it is, see [`beyond`].
//! 6. Behind the end, a write that was never flushed may have left whole records of the lost end of the log. They would become valid when the
//!    log grows up to them, so whatever claims its place within the reach of an unflushed write is overwritten with zeros.
//!
//! With [`FoundStore::end_max`] the log is cut there, between 3 and 4: see [`cut`].
//!
//! A segment is flushed before anything is written to the next one. So an end within a segment is damage, not a crash, if the next segment has
//! begun; and damage is refused, because cutting the log there would lose what was promised.

mod beyond;
mod cut;
mod parse;
mod places;
mod precious;

use std::borrow::Cow;
use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;
use thiserror::Error;

use self::beyond::Beyond;
use self::cut::Cut;
use self::parse::CLAIM_BYTES;
pub(super) use self::parse::{CrcRule, Parsed, parse};
use self::precious::Precious;
use super::checkpoint::Checkpoint;
use super::commit_log::Log;
use super::consume_queue::{BlockSizes, ConsumeQueues};
use super::derive::{self, QueueGap};
use super::file::{FileName, IoError, IoId};
use super::index_file::IndexFiles;
use super::key_index::KeyIndex;
use super::scrub::ScrubPlace;
use super::segment::Segments;
use super::settings::{FlushPolicy, LogSettings};
use super::tail::{self, Tail, TailMemory};
use crate::limits::{DISK_BLOCK_BYTES, INDEX_WRITE_BYTES_MIN, PREPARE_CHUNK_BYTES, UNFLUSHED_REACH_BYTES_MAX};
use crate::model::{LogOffset, QueueId, QueueOffset, TopicName, UnixMs};
use crate::protocol::message::DelayLevels;
use crate::protocol::record::{FILLER_BYTES, RecordView, claims_place, peek_size};

const BLOCK: u64 = DISK_BLOCK_BYTES as u64;
/// Bytes that are read at once.
const READ_BYTES: u64 = PREPARE_CHUNK_BYTES;

/// A file that lies in one of [`super::FOLDERS`], or the checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FoundFile {
    /// Path below the shard's folder.
    pub(crate) path: String,
    pub(crate) size_bytes: u64,
}

/// What a recovery begins with.
pub(crate) struct FoundStore {
    /// Files in [`super::FOLDERS`] and the checkpoint; in any order.
    pub(crate) files: Vec<FoundFile>,
    /// The ring; its content counts only together with `tail_appended`.
    pub(crate) tail: Box<dyn TailMemory>,
    /// What the dead process published last; `None` if the ring is new, has another length than then, or belongs to another store or
    /// another boot.
    pub(crate) tail_appended: Option<LogOffset>,
    /// Where the log is cut, at the last record that ends there or before: what a slave has beyond is not what its master has. It does not
    /// come back, in the ring or on the disk. A log that begins beyond is left empty, and goes on from its start until [`Log::begin_at`].
    pub(crate) end_max: Option<LogOffset>,
    /// Most that the last process can have written and not flushed ([`LogSettings::unflushed_bytes_max`] of its settings), if that is known; not
    /// after a cut that may not have come to its end, which leaves [`UNFLUSHED_REACH_BYTES_MAX`].
    pub(crate) unflushed_max: Option<u64>,
}

/// What recovery wants done; answer each with [`Recovery::supply`].
pub(crate) enum Step {
    /// Read; fewer bytes at the end of the file.
    Read {
        file: FileName,
        /// Byte in the file, whole disk blocks.
        at: u64,
        /// Bytes, whole disk blocks.
        len: usize,
    },
    /// Write; an index file may have to be made.
    Write {
        file: FileName,
        /// Byte in the file, whole disk blocks.
        at: u64,
        data: Bytes,
    },
    /// Make what was written to the file durable.
    Flush {
        file: FileName,
    },
    Remove {
        file: FileName,
    },
    /// The log is ready, all of it flushed.
    Done(Box<Log>),
    /// It is not safe to go on.
    Refused(RecoveryError),
}

/// Why a store is not opened. Each says what to do.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub enum RecoveryError {
    /// A file that this version never makes.
    #[error("{path} does not belong to this store: move it away")]
    ForeignFile {
        /// Its path below the shard's folder.
        path: String,
    },
    /// A segment that was cut, or a store with another segment size.
    #[error(
        "{file} has {found} bytes instead of {expected}: set the segment size that the store was made with, or restore the file"
    )]
    WrongSize {
        /// The segment.
        file: FileName,
        /// Its size.
        found: u64,
        /// What it should be.
        expected: u64,
    },
    /// A segment that holds something else than what was written there.
    #[error(
        "{file} does not begin as it was written: it is another store's, or damaged; put the right one back, or restore it from a replica or a backup"
    )]
    ForeignSegment {
        /// The segment.
        file: FileName,
    },
    /// A hole in the log.
    #[error("{file} is missing: restore it, or the messages in it and after it are lost")]
    MissingSegment {
        /// The first one that is not there.
        file: FileName,
    },
    /// The oldest segments are gone, and with them where queues went on whose messages were all in them.
    #[error(
        "the log begins at {start}, and where its emptied queues go on is not known: `checkpoint`, `queues-0` and `queues-1` are lost or damaged; restore one of them or what lies before {start} from a backup, or take the whole log from a replica into an empty store"
    )]
    LostEnds {
        /// Where the log begins.
        start: LogOffset,
    },
    /// The log ends before what was flushed.
    #[error(
        "{file} is damaged at byte {at}, and the log goes on to {known_end} at least: nothing was changed; restore the file from a replica or a backup, or see what `ringmq store repair` can do"
    )]
    Damaged {
        /// The segment.
        file: FileName,
        /// Byte in it at which no sound record begins.
        at: u64,
        /// What is known to have been written.
        known_end: LogOffset,
    },
    /// The ring is this store's and goes on from what the segments have, but not as far as it was published.
    #[error(
        "the tail in shared memory is damaged at log offset {at}, and the log goes on to {known_end}: nothing was changed; `ringmq store repair` can go on without it"
    )]
    DamagedTail {
        /// Where no sound record begins.
        at: LogOffset,
        /// What was appended.
        known_end: LogOffset,
    },
    /// Records of a queue do not follow one another.
    #[error(
        "queue {queue_id} of topic {topic} goes from offset {expected} to {found} at log offset {at}: restore the log from a replica or a backup"
    )]
    QueueGap {
        topic: TopicName,
        queue_id: QueueId,
        /// Queue offset that should come.
        expected: QueueOffset,
        /// Queue offset of the record.
        found: QueueOffset,
        /// The record.
        at: LogOffset,
    },
    /// The disk did not do what recovery needs.
    #[error("{file}: {error}")]
    Disk {
        file: FileName,
        /// What the disk said.
        error: IoError,
    },
}

/// The machine: call [`Self::step`], do what it says, call [`Self::supply`], until `Done` or `Refused`.
pub(crate) struct Recovery {
    settings: LogSettings,
    tail: Option<Box<dyn TailMemory>>,
    tail_appended: Option<LogOffset>,
    end_max: Option<LogOffset>,
    unflushed_max: u64,
    /// Whether something was found beyond `end_max`.
    is_cut: bool,
    beyond: Beyond,
    /// Where the log is valid to, and the bytes of the record that may be torn there.
    torn: Option<(LogOffset, u64)>,
    cut: Cut,
    phase: Phase,
    /// The file of the step that is under way.
    asked: Option<FileName>,
    answer: Option<Bytes>,
    failed: Option<RecoveryError>,
    leftovers: VecDeque<FileName>,
    /// Segments whose first record is still to be looked at, and its fingerprint if it is known.
    places: VecDeque<(LogOffset, Option<u32>)>,
    precious: Precious,
    index_sizes: Vec<(u32, u64)>,
    derived: Rebuilt,
    /// What the checkpoint says was flushed.
    known_end: LogOffset,
    /// What the last run has found, and flushed, when it began. Counts without a ring alone: with one, that says more, and may have what is damaged.
    run_end: LogOffset,
    replay_from: LogOffset,
    /// Whether the last record that was read has no CRC property, if one was read.
    is_plain: Option<bool>,
    /// Where the scrub goes on, and when it last came to the end.
    scrub: Option<(ScrubPlace, Option<UnixMs>)>,
    scan: Scan,
    log: Option<Box<Log>>,
    commit: Option<IoId>,
    /// Segments that may hold something unflushed.
    to_flush: BTreeSet<LogOffset>,
    /// Blocks to be cleared when all that is stale behind them is gone.
    stale_at_end: BTreeSet<LogOffset>,
    /// A write of the index files is under way, or its flush.
    index_write: Option<IndexStep>,
}

/// Phases in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Checkpoint,
    Places,
    Leftovers,
    Scan,
    Doubt,
    NextSegment,
    Beyond,
    Cut,
    FlushFound,
    WriteFound,
    Flush,
    Stale,
    FlushStale,
    StaleEnd,
    Done,
}

/// What is built up from the log.
struct Rebuilt {
    segments: Segments,
    queues: ConsumeQueues,
    keys: KeyIndex,
    index: IndexFiles,
    block_sizes: BlockSizes,
    delay_levels: DelayLevels,
    has_light: bool,
}

/// A write of an index file that is under way; `flush`: which is to be flushed after it.
struct IndexStep {
    file: FileName,
    flush: bool,
}

/// A window of the log that slides over it.
struct Scan {
    at: LogOffset,
    window_at: LogOffset,
    window: Vec<u8>,
}

impl Recovery {
    /// Looks at the files that were found.
    ///
    /// # Errors
    /// [`RecoveryError`] if they cannot be a log.
    pub(crate) fn new(settings: LogSettings, found: FoundStore) -> Result<Recovery, RecoveryError> {
        let expected = settings.segment_bytes;
        let mut segments = Segments::new(expected, settings.zeros_bytes());
        let mut starts = Vec::new();
        let mut leftovers = VecDeque::new();
        let (mut precious, mut index_sizes) = (Precious::default(), Vec::new());
        for FoundFile { path, size_bytes } in found.files {
            match FileName::parse(&path) {
                None => return Err(RecoveryError::ForeignFile { path }),
                Some(file @ FileName::Segment(start))
                    if size_bytes != expected || !start.0.is_multiple_of(expected) =>
                {
                    return Err(RecoveryError::WrongSize { file, found: size_bytes, expected });
                }
                Some(FileName::Segment(start)) => starts.push(start),
                // A spare that was being made when the process died.
                Some(file @ FileName::Spare(_)) if size_bytes != expected => leftovers.push_back(file),
                Some(FileName::Spare(number)) => segments.add_found_spare(number),
                Some(FileName::Index(number)) => index_sizes.push((number, size_bytes)),
                Some(file @ (FileName::Checkpoint | FileName::Ends(_))) => precious.add(file, size_bytes),
            }
        }
        starts.sort_unstable();
        for (at, &start) in starts.iter().enumerate() {
            let wanted = starts[0].plus(expected * at as u64);
            if start != wanted {
                return Err(RecoveryError::MissingSegment { file: FileName::Segment(wanted) });
            }
            segments.add_found(start);
        }
        let at = starts.first().copied().unwrap_or_default();
        Ok(Recovery {
            derived: Rebuilt {
                segments,
                queues: ConsumeQueues::default(),
                keys: KeyIndex::new(settings.key_run_entries),
                index: IndexFiles::new(settings.index_file_bytes),
                block_sizes: settings.block_sizes(),
                delay_levels: settings.delay_levels,
                has_light: settings.has_light,
            },
            settings,
            tail: Some(found.tail),
            tail_appended: found.tail_appended,
            end_max: found.end_max,
            unflushed_max: found.unflushed_max.unwrap_or(UNFLUSHED_REACH_BYTES_MAX),
            is_cut: false,
            beyond: Beyond::default(),
            torn: None,
            cut: Cut::default(),
            phase: Phase::Checkpoint,
            asked: None,
            answer: None,
            failed: None,
            leftovers,
            places: VecDeque::new(),
            precious,
            index_sizes,
            known_end: at,
            run_end: LogOffset(0),
            replay_from: at,
            is_plain: None,
            scrub: None,
            scan: Scan { at, window_at: at, window: Vec::new() },
            log: None,
            commit: None,
            to_flush: BTreeSet::new(),
            stale_at_end: BTreeSet::new(),
            index_write: None,
        })
    }

    /// The log went to `end` when the last run began.
    pub(crate) fn expect_end(&mut self, end: LogOffset) {
        self.run_end = end;
    }

    /// What to do next.
    ///
    /// # Panics
    /// If the last step was not answered, or after `Done` or `Refused`.
    pub(crate) fn step(&mut self) -> Step {
        assert!(self.asked.is_none(), "the last step was not answered");
        loop {
            if let Some(error) = self.failed.take() {
                return Step::Refused(error);
            }
            let next = match self.phase {
                Phase::Checkpoint => self.read_precious(),
                Phase::Scan => self.scan(),
                Phase::Doubt => Ok(self.resolve_doubt()),
                Phase::NextSegment => self.check_next_segment(),
                Phase::Beyond => self.look_beyond(),
                Phase::Cut => self.go_on_cutting(),
                Phase::Places => self.check_places(),
                Phase::Leftovers => Ok(self.remove_leftover()),
                Phase::WriteFound => Ok(self.write_commit()),
                Phase::Flush => Ok(self.flush_commit()),
                Phase::Stale => Ok(self.clear_stale()),
                Phase::FlushFound => Ok(self.flush_some(Phase::WriteFound)),
                Phase::FlushStale => Ok(self.flush_some(Phase::StaleEnd)),
                Phase::StaleEnd => Ok(self.clear_stale_end()),
                Phase::Done => return Step::Done(self.finish()),
            };
            match next {
                Ok(Some(step)) => {
                    self.asked = match &step {
                        Step::Read { file, .. }
                        | Step::Write { file, .. }
                        | Step::Flush { file }
                        | Step::Remove { file } => Some(*file),
                        Step::Done(_) | Step::Refused(_) => None,
                    };
                    return step;
                }
                Ok(None) => {}
                Err(error) => return Step::Refused(error),
            }
        }
    }

    /// The answer to a step: what was read, or nothing for the others.
    ///
    /// # Panics
    /// If nothing was asked.
    pub(crate) fn supply(&mut self, result: Result<Bytes, IoError>) {
        let file = self.asked.take().expect("an answer belongs to a step");
        match result {
            Ok(data) => self.answer = Some(data),
            Err(error) => self.failed = Some(RecoveryError::Disk { file, error }),
        }
    }

    /// Whether the index files are there as far as the checkpoint speaks of them and the log still needs them; else everything is derived
    /// anew.
    fn has_index_files(&self, checkpoint: &Checkpoint, start: LogOffset) -> bool {
        let file_bytes = self.settings.index_file_bytes;
        let needed = checkpoint.index_files.iter().filter(|(_, last)| **last >= start);
        needed.into_iter().all(|(&number, _)| {
            let needed =
                (checkpoint.index_end - (u64::from(number) * file_bytes).min(checkpoint.index_end)).min(file_bytes);
            self.index_sizes.iter().any(|&(found, size)| found == number && size >= needed)
        })
    }

    fn scan(&mut self) -> Result<Option<Step>, RecoveryError> {
        if let Some(data) = self.answer.take() {
            match self.index_write.take() {
                Some(IndexStep { file, flush: true }) => {
                    self.index_write = Some(IndexStep { file, flush: false });
                    return Ok(Some(Step::Flush { file }));
                }
                Some(_) => self.derived.index.wrote(),
                None if data.is_empty() => return Err(self.unreadable(self.scan.at)),
                None => self.scan.window.extend_from_slice(&data),
            }
        }
        // A long log gives a long index: it leaves memory on the way.
        if let Some(write) = self.derived.index.poll_write(INDEX_WRITE_BYTES_MIN, false) {
            self.index_write = Some(IndexStep { file: write.file, flush: write.flush });
            return Ok(Some(Step::Write { file: write.file, at: write.at, data: write.data }));
        }
        while let Some(segment) = self.derived.segments.find(self.scan.at).copied() {
            let (end, crc) = (segment.start.plus(self.settings.segment_bytes), self.crc_rule());
            let (is_at_end, end_max) = (!self.is_within(self.scan.at.plus(1)), self.end_max);
            let is_within = |end| end_max.is_none_or(|max| end <= max);
            let scan = &mut self.scan;
            let bytes = usize::try_from(scan.at.since(scan.window_at)).ok().and_then(|from| scan.window.get(from..));
            let parsed = match bytes {
                // What comes before it in its block will be needed.
                None => Parsed::More,
                Some(_) if is_at_end => {
                    self.is_cut = true;
                    break;
                }
                Some(bytes) => parse(bytes, scan.at, end, crc),
            };
            match parsed {
                Parsed::Record(RecordView { size, .. }) if !is_within(scan.at.plus(u64::from(size))) => {
                    self.is_cut = true;
                    break;
                }
                Parsed::Filler | Parsed::Doubtful if !is_within(end) => {
                    self.is_cut = true;
                    break;
                }
                Parsed::Doubtful => {
                    self.phase = Phase::Doubt;
                    return Ok(None);
                }
                Parsed::Record(view) => {
                    self.derived.replay(&view)?;
                    self.is_plain = Some(!view.has_crc());
                    scan.at = scan.at.plus(u64::from(view.size));
                }
                Parsed::Filler => {
                    self.derived.segments.note_filler(scan.at);
                    *scan = Scan { at: end, window_at: end, window: Vec::new() };
                }
                Parsed::More => {
                    let keep = floor(scan.at);
                    scan.window
                        .drain(..usize::try_from(keep.since(scan.window_at)).unwrap_or(0).min(scan.window.len()));
                    scan.window_at = keep;
                    let from = keep.plus(scan.window.len() as u64).since(segment.start);
                    let len = READ_BYTES.min(self.settings.segment_bytes - from);
                    return Ok(Some(read(FileName::Segment(segment.start), from, len)));
                }
                Parsed::NoRecord => break,
            }
        }
        self.phase = Phase::NextSegment;
        Ok(None)
    }

    /// What the CRC property of the next record proves.
    fn crc_rule(&self) -> CrcRule {
        let is_optional = !self.settings.has_record_crc || self.is_plain == Some(true);
        if is_optional { CrcRule::Optional } else { CrcRule::OptionalIfFollowed }
    }

    /// Whether a filler that does not prove its place is the end of its segment: it is if the log is known to go on behind it. Else the log
    /// ends before it: it is made again, or sent again by the master.
    fn resolve_doubt(&mut self) -> Option<Step> {
        let (at, size) = (self.scan.at, self.settings.segment_bytes);
        let next = LogOffset(at.0 / size * size).plus(size);
        let mut goes_on = self.known_end >= next;
        if !goes_on && self.derived.segments.find(next).is_some() {
            let Some(data) = self.answer.take() else { return Some(read(FileName::Segment(next), 0, BLOCK)) };
            goes_on = claims_place(&data, next);
        }
        if goes_on {
            self.derived.segments.note_filler(at);
            self.scan = Scan { at: next, window_at: next, window: Vec::new() };
            self.phase = Phase::Scan;
        } else {
            self.phase = Phase::NextSegment;
        }
        None
    }

    fn go_on_cutting(&mut self) -> Result<Option<Step>, RecoveryError> {
        let step = self.poll_cut()?;
        if step.is_none() {
            self.take_tail()?;
        }
        Ok(step)
    }

    /// A segment that has its size but gives no bytes.
    fn unreadable(&self, at: LogOffset) -> RecoveryError {
        let start = LogOffset(at.0 / self.settings.segment_bytes * self.settings.segment_bytes);
        RecoveryError::Disk { file: FileName::Segment(start), error: IoError::Failed { errno: 5 } }
    }

    /// Makes sure that the end that was found is one that a crash can leave.
    fn check_next_segment(&mut self) -> Result<Option<Step>, RecoveryError> {
        let at = self.scan.at;
        let size = self.settings.segment_bytes;
        if self.is_cut {
            self.begin_cut();
            self.phase = Phase::Cut;
            return Ok(None);
        }
        let Some(segment) = self.derived.segments.find(at).copied() else {
            return match self.derived.segments.oldest() {
                // The filler before was written only when this segment lay in place.
                Some(_) => Err(RecoveryError::MissingSegment { file: FileName::Segment(at) }),
                None if self.is_known_to_go_on() => {
                    let last = LogOffset((self.run_end.0 - 1) / size * size);
                    Err(RecoveryError::MissingSegment { file: FileName::Segment(last) })
                }
                None => self.take_tail().map(|()| None),
            };
        };
        if at < self.known_end {
            return Err(self.damaged(self.known_end));
        }
        if self.is_known_to_go_on() {
            return Err(self.damaged(self.run_end));
        }
        let next = segment.start.plus(size);
        if self.derived.segments.find(next).is_some() {
            let Some(data) = self.answer.take() else {
                return Ok(Some(read(FileName::Segment(next), 0, BLOCK)));
            };
            if claims_place(&data, next) {
                return Err(self.damaged(next));
            }
        }
        self.phase = Phase::Beyond;
        Ok(None)
    }

    /// Whether the last run has found more, and nothing else has it.
    fn is_known_to_go_on(&self) -> bool {
        self.tail_appended.is_none() && self.scan.at < self.run_end
    }

    /// The log does not end where the scan has stopped.
    fn damaged(&self, known_end: LogOffset) -> RecoveryError {
        let (at, size) = (self.scan.at.0, self.settings.segment_bytes);
        RecoveryError::Damaged { file: FileName::Segment(LogOffset(at / size * size)), at: at % size, known_end }
    }

    /// Makes the log up to its valid end, and takes from the ring what goes on from there.
    fn take_tail(&mut self) -> Result<(), RecoveryError> {
        let memory = self.tail.take().expect("taken once");
        let valid_end = self.scan.at;
        let first = floor(valid_end);
        let last_byte = LogOffset(valid_end.0.saturating_sub(1));
        self.to_flush
            .extend([last_byte, valid_end].iter().filter_map(|&at| Some(self.derived.segments.find(at)?.start)));
        let (end, jumps) = match self.tail_appended {
            Some(appended) if !self.is_cut && appended > valid_end => self.replay_ring(memory.ring(), appended)?,
            _ => (valid_end, Vec::new()),
        };
        let mut tail = Tail::new(memory, first, valid_end);
        // The block in which the log goes on: the next commit writes it again. Beyond, the ring holds what it held.
        let from = usize::try_from(first.since(self.scan.window_at)).expect("the window was kept");
        let len = usize::try_from(valid_end.since(first)).expect("less than a block");
        tail.write(first, &self.scan.window[from..from + len]);
        tail.publish(end);
        self.scan.window = Vec::new();
        let derived = &mut self.derived;
        let mut segments = std::mem::replace(
            &mut derived.segments,
            Segments::new(self.settings.segment_bytes, self.settings.zeros_bytes()),
        );
        segments.set_writer(end);
        // What recovery writes, it flushes.
        let settings = LogSettings { flush: FlushPolicy::Sync, ..self.settings };
        let mut log = Log::new(settings, tail, segments, valid_end);
        for (filler_end, segment_end) in jumps {
            log.note_jump(filler_end, segment_end);
        }
        log.queues = std::mem::take(&mut derived.queues);
        log.keys = std::mem::replace(&mut derived.keys, KeyIndex::new(1));
        log.index = std::mem::replace(&mut derived.index, IndexFiles::new(self.settings.index_file_bytes));
        log.checkpointer.resume(self.replay_from);
        log.checkpointer.is_wanted = self.is_cut;
        log.checkpointer.resume_ends(log.start(), self.precious.start_max);
        log.replicated.is_plain = self.is_plain;
        if let Some((place, last_end)) = self.scrub {
            log.scrub.resume(place, last_end);
        }
        self.log = Some(Box::new(log));
        self.phase = Phase::FlushFound;
        Ok(())
    }

    /// Replays the ring from the valid end on. Where it ends, and where it jumps from one segment to the next.
    fn replay_ring(
        &mut self,
        ring: &[u8],
        appended: LogOffset,
    ) -> Result<(LogOffset, Vec<(LogOffset, LogOffset)>), RecoveryError> {
        let (mut at, mut jumps) = (self.scan.at, Vec::new());
        while at < appended
            && let Some(segment) = self.derived.segments.find(at).copied()
        {
            let end = segment.start.plus(self.settings.segment_bytes);
            let there = usize::try_from(appended.min(end).since(at)).unwrap_or(usize::MAX);
            let head = ring_bytes(ring, at, there.min(CLAIM_BYTES));
            let size = peek_size(&head).map_or(there.min(CLAIM_BYTES), |size| there.min(size as usize));
            // Bytes of the ring were appended as they are: nothing of them can be torn.
            let bytes = ring_bytes(ring, at, size);
            let parsed = parse(&bytes, at, end, CrcRule::Optional);
            match parsed {
                Parsed::Record(RecordView { size, .. }) if !self.is_within(at.plus(u64::from(size))) => break,
                Parsed::Filler | Parsed::Doubtful if !self.is_within(end) => break,
                Parsed::Record(view) => {
                    self.derived.replay(&view)?;
                    self.is_plain = Some(!view.has_crc());
                    at = at.plus(u64::from(view.size));
                }
                Parsed::Filler | Parsed::Doubtful if self.derived.segments.find(end).is_some() => {
                    self.derived.segments.note_filler(at);
                    jumps.push((at.plus(FILLER_BYTES as u64).min(end), end));
                    at = end;
                }
                Parsed::Filler | Parsed::Doubtful | Parsed::More | Parsed::NoRecord => break,
            }
        }
        if at < appended && self.end_max.is_none() {
            // A killed process leaves its ring whole.
            let is_from_start = at == self.scan.at;
            return Err(if is_from_start {
                self.damaged(appended)
            } else {
                RecoveryError::DamagedTail { at, known_end: appended }
            });
        }
        Ok((at, jumps))
    }

    fn remove_leftover(&mut self) -> Option<Step> {
        self.answer = None;
        match self.leftovers.pop_front() {
            Some(file) => Some(Step::Remove { file }),
            None => {
                self.phase = Phase::Scan;
                None
            }
        }
    }

    fn log(&mut self) -> &mut Log {
        self.log.as_mut().expect("made by `take_tail`")
    }

    fn write_commit(&mut self) -> Option<Step> {
        self.answer = None;
        let log = self.log();
        let Some(commit) = log.poll_commit() else {
            let end = log.appended();
            assert_eq!(log.flushed(), end, "recovery writes everything");
            // The last one is where zeros may be written.
            let last = log.segments.find(end).map(|segment| segment.start);
            self.to_flush.extend(last);
            self.scan = Scan { at: end, window_at: floor(end), window: Vec::new() };
            self.phase = Phase::Stale;
            return None;
        };
        let mut data = vec![0; commit.len];
        log.copy_tail(commit.from, &mut data);
        self.commit = Some(commit.id);
        self.scan.window_at = commit.from;
        self.phase = Phase::Flush;
        Some(Step::Write { file: commit.segment, at: commit.at, data: data.into() })
    }

    fn flush_commit(&mut self) -> Option<Step> {
        if self.answer.take().is_some() && self.commit.is_some() {
            let from = self.scan.window_at;
            let file =
                self.log().segments.find(from).map(|segment| FileName::Segment(segment.start)).expect("written to");
            // The answer to this flush finds the phase back at `Commit`.
            let id = self.commit.take().expect("checked above");
            self.phase = Phase::WriteFound;
            self.log().handle_io(id, Ok(()));
            return Some(Step::Flush { file });
        }
        self.phase = Phase::WriteFound;
        None
    }

    /// Looks through the reach of an unflushed write behind the end, and overwrites each disk block in which something claims its place.
    ///
    /// What lies at the end itself says how far the reach is. It goes last, when the rest is gone for good: a start after a power loss in between
    /// must look as far as this one.
    fn clear_stale(&mut self) -> Option<Step> {
        let answer = self.answer.take();
        let end = self.log().appended();
        let Some(segment) = self.log().segments.find(end).copied() else {
            self.phase = Phase::FlushStale;
            return None;
        };
        let reach = self.reach_of_unflushed(end).0.next_multiple_of(BLOCK);
        let reach = segment.start.plus(self.settings.segment_bytes).min(LogOffset(reach));
        let file = FileName::Segment(segment.start);
        if let Some(data) = answer.filter(|data| !data.is_empty()) {
            self.scan.window.extend_from_slice(&data);
        }
        let scan = &mut self.scan;
        while let Some(bytes) =
            usize::try_from(scan.at.since(scan.window_at)).ok().and_then(|from| scan.window.get(from..))
            && (bytes.len() >= CLAIM_BYTES || scan.window_at.plus(scan.window.len() as u64) >= reach)
            && !bytes.is_empty()
        {
            if claims_place(bytes, scan.at) {
                // The magic is what must go: the first bytes may lie in the block before and be zeros anyway.
                let block = floor(scan.at.plus(4));
                if scan.at == end || block == floor(end) || self.stale_at_end.contains(&block) {
                    self.stale_at_end.insert(block);
                    scan.at = scan.at.plus(1);
                    continue;
                }
                let mut data = vec![0; DISK_BLOCK_BYTES];
                let in_window = usize::try_from(block.since(scan.window_at)).expect("within the window");
                let log = self.log.as_ref().expect("made by `take_tail`");
                // The block in which the log ends keeps what belongs to the log.
                log.copy_tail_block(block, &mut data);
                scan.window[in_window..in_window + DISK_BLOCK_BYTES].copy_from_slice(&data);
                return Some(Step::Write { file, at: block.since(segment.start), data: data.into() });
            }
            scan.at = scan.at.plus(1);
        }
        let read_to = scan.window_at.plus(scan.window.len() as u64);
        if read_to < reach {
            let keep = floor(scan.at).min(read_to);
            scan.window.drain(..usize::try_from(keep.since(scan.window_at)).expect("within the window"));
            scan.window_at = keep;
            return Some(read(file, read_to.since(segment.start), READ_BYTES.min(reach.since(read_to))));
        }
        self.phase = Phase::FlushStale;
        None
    }

    /// The blocks that were left for the end.
    fn clear_stale_end(&mut self) -> Option<Step> {
        self.answer = None;
        let Some(block) = self.stale_at_end.pop_first() else {
            self.phase = Phase::Done;
            return None;
        };
        let log = self.log();
        let start = log.segments.find(block).map(|segment| segment.start).expect("it was read");
        let mut data = vec![0; DISK_BLOCK_BYTES];
        log.copy_tail_block(block, &mut data);
        self.to_flush.insert(start);
        if self.stale_at_end.is_empty() {
            self.phase = Phase::FlushStale;
        }
        Some(Step::Write { file: FileName::Segment(start), at: block.since(start), data: data.into() })
    }

    /// Flushes what may not be: before anything is written, what was found, and at the end, where zeros were written.
    ///
    /// The dead process may have written what was found, so that it can be read, without having flushed it. Were the next segment written
    /// first, a power loss could leave a hole before it.
    fn flush_some(&mut self, then: Phase) -> Option<Step> {
        self.answer = None;
        let start = self.to_flush.pop_first();
        if start.is_none() {
            self.phase = then;
        }
        start.map(|start| Step::Flush { file: FileName::Segment(start) })
    }

    fn finish(&mut self) -> Box<Log> {
        let mut log = self.log.take().expect("made by `take_tail`");
        log.settings.flush = self.settings.flush;
        for queue in &mut log.queues.list {
            queue.visible = queue.next();
        }
        log.advance_confirm();
        log.check_invariants();
        log
    }
}

impl Rebuilt {
    /// Derives what follows from one record.
    fn replay(&mut self, view: &RecordView<'_>) -> Result<(), RecoveryError> {
        let Rebuilt { segments, queues, keys, index, block_sizes, delay_levels, has_light } = self;
        let (block_sizes, has_light) = (*block_sizes, *has_light);
        let mut derived = derive::Derived { segments, queues, keys, index, block_sizes, delay_levels, has_light };
        let derived = derived.derive(view).map_err(|QueueGap { expected, found }| RecoveryError::QueueGap {
            topic: TopicName::from(view.topic),
            queue_id: view.queue_id,
            expected,
            found,
            at: view.log_offset,
        });
        derived?;
        if self.keys.is_full() {
            self.keys.seal(|run, last| self.index.push(run, last));
        }
        Ok(())
    }
}

fn ring_bytes(ring: &[u8], at: LogOffset, len: usize) -> Cow<'_, [u8]> {
    match tail::raw(ring, at, len) {
        (whole, []) => Cow::Borrowed(whole),
        (before, after) => Cow::Owned([before, after].concat()),
    }
}

fn floor(offset: LogOffset) -> LogOffset {
    LogOffset(offset.0 / BLOCK * BLOCK)
}

fn read(file: FileName, at: u64, len: u64) -> Step {
    Step::Read { file, at, len: usize::try_from(len).expect("bounded by a chunk") }
}

#[cfg(test)]
mod tests;
