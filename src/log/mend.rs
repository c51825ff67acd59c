//! What is damaged is mended from a replica, while the log is in use.
//!
//! A mend begins at a record that is proven to be damaged ([`super::damage`]) and goes on, record by record, to the next one that is sound:
//!
//! ```text
//! look ──sound──▶ done, or on to the next record behind one that was mended
//!   │ ▲
//!   │ └──────────────────────────────── write ◀── ready ◀──twice the same── own bytes around it
//!   └─unsound─▶ fetch: pieces of the replica's log ──▶ a sound record that says that it lies here ──┘
//! ```
//!
//! Who is asked is [`crate::replication`]'s: [`Log::poll_mend`] says what is wanted and [`Log::take_piece`] takes it; [`Log::rest_mend`] gives up for a
//! while. The own bytes come as what is read ahead of need does; the write is background work, which changes whole disk blocks: what lies beside
//! the record in them was read twice, and is written as it was. Nothing is believed of a piece but what its CRCs and its place prove, and nothing is
//! written that consumers do not see yet, that is not flushed, or that the ring still has.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Bytes, BytesMut};

use super::commit_log::Log;
use super::damage::Damage;
use super::file::{BlockId, FileName, IoError, Work};
use super::read::Miss;
use super::recovery::Parsed;
use crate::limits::{
    COLD_BLOCK_BYTES, DISK_BLOCK_BYTES, MEND_FIRST_BYTES, MEND_PIECE_BYTES, MEND_REST_MS_MAX, MEND_REST_MS_MIN,
    PREFETCH_BLOCKS_MAX, RECORD_BYTES_MAX, SCRUB_PATIENCE_MS,
};
use crate::model::{LogOffset, MonoNs};
use crate::protocol::record::{FILLER_BYTES, peek_size};

const BLOCK: u64 = DISK_BLOCK_BYTES as u64;

/// Bytes of the log that are wanted of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PieceWanted {
    /// The record that is damaged: what is asked for one says nothing of another.
    pub(crate) record: LogOffset,
    pub(crate) from: LogOffset,
    /// 1 to [`MEND_PIECE_BYTES`].
    pub(crate) len: usize,
}

/// What the log gives a replica that asks for bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// So many were put out, at least one.
    Bytes(usize),
    /// They are not there, not confirmed, or cannot be read now.
    None,
    /// Call again when this block was supplied.
    Cold(BlockId),
}

/// What a piece of a replica's log was worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PieceTaken {
    /// More is wanted, or the record is whole.
    Sound,
    /// What came is not what was written at this place.
    Unsound,
}

/// What is being mended, and what could not be.
#[derive(Debug, Default)]
pub(super) struct Mends {
    current: Option<Mend>,
    /// What could not be mended, by its place: never more than is known to be damaged.
    rests: BTreeMap<LogOffset, Rest>,
    /// What is damaged wherever it is known to have been.
    lost: BTreeSet<LogOffset>,
    /// Somebody waits for this one.
    wanted: Option<LogOffset>,
    /// Nothing is to be begun before.
    quiet_until: MonoNs,
    pub(super) mended: u64,
}

#[derive(Clone, Copy, Debug)]
struct Rest {
    until: MonoNs,
    tries: u32,
}

#[derive(Debug)]
struct Mend {
    at: LogOffset,
    step: MendStep,
    /// It was written.
    is_written: bool,
    /// The record before it was mended: this one may be sound.
    is_next: bool,
    /// The own bytes that were asked for, and when.
    asked: Option<(BlockId, MonoNs)>,
}

#[derive(Debug)]
enum MendStep {
    /// The own bytes are looked at, so many from the beginning of the disk block on.
    Look { len: u64 },
    /// The replica's are awaited; these have come.
    Fetch { theirs: BytesMut },
    /// These are to take the place of the own ones, which are read twice.
    Compose { theirs: Bytes, before: Option<Bytes> },
    /// To be written.
    Ready { data: Bytes, before: Bytes },
    /// It is being written.
    Writing,
}

impl Mend {
    fn new(at: LogOffset, is_next: bool) -> Mend {
        Mend { at, step: MendStep::Look { len: COLD_BLOCK_BYTES }, is_written: false, is_next, asked: None }
    }

    /// Start of the disk block in which the record begins. Segments are whole blocks.
    fn block(&self) -> LogOffset {
        LogOffset(self.at.0 / BLOCK * BLOCK)
    }
}

/// End of the disk block in which a record of so many bytes ends that begins at `at`.
fn block_end(at: LogOffset, len: usize) -> LogOffset {
    LogOffset(at.plus(len as u64).0.next_multiple_of(BLOCK))
}

impl Mends {
    /// A reader has met it, and waits.
    pub(super) fn note_wanted(&mut self, at: LogOffset) {
        if !self.lost.contains(&at) {
            self.wanted = Some(at);
        }
    }

    /// There may be something to begin.
    pub(super) fn wake(&mut self) {
        self.quiet_until = MonoNs(0);
    }

    /// What is to be mended next, of what is `proven` to be damaged before `end`: what somebody waits for, then what was not tried yet, then what has
    /// rested longest. What is lost does not keep the others from it.
    fn next(&mut self, proven: &BTreeSet<LogOffset>, end: LogOffset, now: MonoNs) -> Option<LogOffset> {
        if let Some(at) = self.wanted.take()
            && at < end
            && proven.contains(&at)
            && self.rests.get(&at).is_none_or(|rest| rest.until <= now)
        {
            return Some(at);
        }
        if now < self.quiet_until {
            return None;
        }
        let fresh = proven.range(..end).copied().find(|at| !self.rests.contains_key(at));
        let longest = || self.rests.range(..end).min_by_key(|(_, rest)| rest.until);
        let next = fresh.or_else(|| longest().filter(|(_, rest)| rest.until <= now).map(|(at, _)| *at));
        if next.is_none() {
            // Else it may be begun as soon as the log is safe there.
            let waits_for_end = proven.last().is_some_and(|last| *last >= end);
            self.quiet_until = longest().filter(|_| !waits_for_end).map_or(now, |(_, rest)| rest.until);
        }
        next
    }

    /// What lies there can be read again.
    pub(super) fn forget(&mut self, at: LogOffset) {
        self.rests.remove(&at);
        self.lost.remove(&at);
    }

    /// Forgets what lies before the start of the log.
    pub(super) fn trim(&mut self, start: LogOffset) {
        while self.rests.first_key_value().is_some_and(|(first, _)| *first < start) {
            self.rests.pop_first();
        }
        while self.lost.first().is_some_and(|first| *first < start) {
            self.lost.pop_first();
        }
    }

    pub(super) fn clear(&mut self) {
        *self = Mends { mended: self.mended, ..Mends::default() };
    }

    pub(super) fn lost_count(&self) -> u64 {
        self.lost.len() as u64
    }
}

/// What replication calls.
impl Log {
    /// What is wanted of a replica now, if there is one to ask. Call it some times a second, and when a piece was taken.
    pub(crate) fn poll_mend(&mut self, now: MonoNs) -> Option<PieceWanted> {
        if self.failure().is_some() {
            return None;
        }
        let start = self.start();
        let is_gone = |mend: &Mend| mend.at < start && !matches!(mend.step, MendStep::Writing);
        if self.damage.mends.current.as_ref().is_some_and(is_gone) {
            self.damage.mends.current = None;
        }
        if self.damage.mends.current.is_none() {
            let end = self.mendable_end();
            let Damage { mends, proven, .. } = &mut self.damage;
            mends.current = mends.next(proven, end, now).map(|at| Mend::new(at, false));
        }
        self.read_for_mend(now);
        let mend = self.damage.mends.current.as_ref()?;
        let MendStep::Fetch { theirs } = &mend.step else { return None };
        let from = mend.at.plus(theirs.len() as u64);
        let size = peek_size(theirs).map_or(0, |size| size as usize);
        let missing = if size > theirs.len() { size - theirs.len() } else { MEND_FIRST_BYTES };
        let len = missing.min(MEND_PIECE_BYTES).min(self.room_at(from));
        if len == 0 {
            // The record would go beyond what may be mended.
            self.rest_mend(now, false);
            return None;
        }
        Some(PieceWanted { record: mend.at, from, len })
    }

    /// Takes bytes of a replica's log from `from` on, which were asked for. They are looked at when the record is whole.
    pub(crate) fn take_piece(&mut self, from: LogOffset, bytes: &[u8]) -> PieceTaken {
        let Some(mut mend) = self.damage.mends.current.take() else { return PieceTaken::Sound };
        let MendStep::Fetch { theirs } = &mut mend.step else {
            self.damage.mends.current = Some(mend);
            return PieceTaken::Sound;
        };
        let mut taken = PieceTaken::Sound;
        if from == mend.at.plus(theirs.len() as u64)
            && theirs.len() + bytes.len() <= RECORD_BYTES_MAX + MEND_PIECE_BYTES
        {
            theirs.extend_from_slice(bytes);
            let at = mend.at;
            match self.fetched_bytes(at, theirs) {
                Ok(Some(len)) if block_end(at, len) <= self.mendable_end() => {
                    let theirs = std::mem::take(theirs).split_to(len).freeze();
                    mend.step = MendStep::Compose { theirs, before: None };
                }
                // It ends where it may still be written to.
                Ok(Some(_)) => {
                    self.damage.mends.current = Some(mend);
                    self.rest_mend(self.now.mono, false);
                    return PieceTaken::Sound;
                }
                Ok(None) => {}
                Err(()) => {
                    theirs.clear();
                    taken = PieceTaken::Unsound;
                }
            }
        }
        self.damage.mends.current = Some(mend);
        taken
    }

    /// What has come of the record is thrown away: it is asked for from its beginning.
    pub(crate) fn restart_mend(&mut self) {
        if let Some(MendStep::Fetch { theirs }) = self.damage.mends.current.as_mut().map(|mend| &mut mend.step) {
            theirs.clear();
        }
    }

    /// The record that is being mended is left for a while: nobody who can be asked has it. `is_lost`: nobody who is known to have had it has it.
    pub(crate) fn rest_mend(&mut self, now: MonoNs, is_lost: bool) {
        let Some(mend) = self.damage.mends.current.take_if(|mend| !matches!(mend.step, MendStep::Writing)) else {
            return;
        };
        let at = mend.at;
        let mends = &mut self.damage.mends;
        mends.wake();
        let tries = mends.rests.get(&at).map_or(0, |rest| rest.tries);
        let rest_ms = (MEND_REST_MS_MIN << tries.min(16)).min(MEND_REST_MS_MAX);
        if self.damage.proven.contains(&at) {
            mends.rests.insert(at, Rest { until: now.plus_ms(rest_ms), tries: tries.saturating_add(1) });
            if is_lost && mends.lost.insert(at) {
                tracing::error!(log_offset = %at, "a damaged message is damaged on all replicas that are known as well: readers go on without it, and it is counted; a store that has it, as a replica, mends it");
            } else if !is_lost && tries == 0 {
                tracing::warn!(log_offset = %at, "a damaged message was not mended: no replica that is connected could give it; it is tried again and again");
            }
        }
    }

    /// A replica has come: what rests is tried again.
    pub(crate) fn wake_mends(&mut self) {
        self.damage.mends.rests.values_mut().for_each(|rest| rest.until = MonoNs(0));
        self.damage.mends.wake();
    }

    /// Whether something is being mended.
    #[must_use]
    pub(crate) fn is_mending(&self) -> bool {
        self.damage.mends.current.is_some()
    }

    /// Whether a damaged record is known to be damaged wherever it was.
    #[must_use]
    pub(crate) fn is_lost(&self, at: LogOffset) -> bool {
        self.damage.mends.lost.contains(&at)
    }

    /// Puts out bytes of the log for a replica that asks, from `from` on, at most `len`: what consumers may see, and not beyond the segment. They
    /// are read as a consumer's are, and not looked at; whoever asks again has them from the device.
    pub(crate) fn piece(&mut self, from: LogOffset, len: usize, out: &mut BytesMut) -> Piece {
        let len = if from < self.start() { 0 } else { len.min(self.room_at(from)) };
        if len == 0 {
            return Piece::None;
        }
        match self.copy_log_by(from, len, true, out) {
            Ok(()) => {
                self.forget_blocks(from, from.plus(len as u64));
                Piece::Bytes(len)
            }
            Err(Miss::Cold(block)) => Piece::Cold(block),
            Err(Miss::Failed | Miss::Damaged(_)) => Piece::None,
        }
    }

    /// Below, nobody writes again but who mends.
    fn mendable_end(&self) -> LogOffset {
        let end = self.flushed.min(self.confirm).min(self.tail.low());
        LogOffset(end.0 / BLOCK * BLOCK)
    }

    /// Whether a sound record or filler is at the beginning of what a replica has sent for `at`, and its bytes; `None` if there must be more.
    fn fetched_bytes(&self, at: LogOffset, bytes: &[u8]) -> Result<Option<usize>, ()> {
        let Some(segment) = self.segments.find(at) else { return Err(()) };
        let end = segment.start.plus(self.segments.size());
        let filler_bytes = FILLER_BYTES.min(usize::try_from(end.since(at)).unwrap_or(usize::MAX));
        match self.parse_at(bytes, at, end) {
            Parsed::Record(view) if self.is_whole(&view) => Ok(Some(view.size as usize)),
            Parsed::Filler => Ok(Some(filler_bytes)),
            // It proves its place only where this log knows that one lies there.
            Parsed::Doubtful if segment.filler == Some(at) => Ok(Some(filler_bytes)),
            Parsed::More => Ok(None),
            Parsed::Record(_) | Parsed::Doubtful | Parsed::NoRecord => Err(()),
        }
    }
}

/// The own bytes.
impl Log {
    /// Asks for the own bytes that come next, unless they are on their way. A shell that has much to do forgets what is wanted ahead of need.
    fn read_for_mend(&mut self, now: MonoNs) {
        let end = self.mendable_end();
        let segment_bytes = self.segments.size();
        let Some(mend) = self.damage.mends.current.as_mut() else { return };
        if mend.asked.is_some_and(|(_, at)| now < at.plus_ms(SCRUB_PATIENCE_MS)) {
            return;
        }
        let from = mend.block();
        let len = match &mend.step {
            MendStep::Look { len } => *len,
            MendStep::Compose { theirs, .. } => block_end(mend.at, theirs.len()).since(from),
            MendStep::Fetch { .. } | MendStep::Ready { .. } | MendStep::Writing => return,
        };
        let Some(segment) = self.segments.find(mend.at).map(|segment| segment.start) else { return };
        let end = end.min(segment.plus(segment_bytes));
        let len = len.min(end.0.saturating_sub(from.0));
        if len == 0 || self.prefetch.len() >= PREFETCH_BLOCKS_MAX {
            return;
        }
        let len = u32::try_from(len).expect("a record and two blocks");
        let block = BlockId { file: FileName::Segment(segment), at: from.since(segment), len };
        mend.asked = Some((block, now));
        self.prefetch.push_back(block);
    }

    /// Takes a block that was asked for here. Whether it was.
    pub(super) fn supply_mend(&mut self, block: BlockId, data: &Result<Bytes, IoError>) -> bool {
        let Some(mend) = self.damage.mends.current.as_mut() else { return false };
        if mend.asked.is_none_or(|(asked, _)| asked != block) {
            return false;
        }
        mend.asked = None;
        let now = self.now.mono;
        match data {
            Ok(data) if data.len() == block.len as usize => self.go_on_mending(now, data),
            // Not a proof of anything.
            Ok(_) | Err(_) => {
                self.damage.reads_failed += 1;
                self.rest_mend(now, false);
            }
        }
        self.read_for_mend(now);
        true
    }

    fn go_on_mending(&mut self, now: MonoNs, data: &Bytes) {
        let Some(mut mend) = self.damage.mends.current.take() else { return };
        let head = usize::try_from(mend.at.since(mend.block())).expect("within a block");
        match &mut mend.step {
            MendStep::Look { len } => {
                let len = *len;
                self.look_at_own(now, mend, len, data);
            }
            MendStep::Compose { theirs, before } => {
                match before.take() {
                    // What lies beside the record is written again: it must be what is there, and not what a bad read has made of it.
                    None => *before = Some(data.clone()),
                    Some(before) if before == *data => {
                        let mut composed = BytesMut::from(&data[..]);
                        composed[head..head + theirs.len()].copy_from_slice(theirs);
                        mend.step = MendStep::Ready { data: composed.freeze(), before };
                    }
                    Some(_) => {
                        self.damage.mends.current = Some(mend);
                        return self.rest_mend(now, false);
                    }
                }
                self.damage.mends.current = Some(mend);
            }
            MendStep::Fetch { .. } | MendStep::Ready { .. } | MendStep::Writing => {
                self.damage.mends.current = Some(mend)
            }
        }
    }

    /// Looks at what lies at the place of a record that is to be mended, was mended, or lies behind one that was.
    fn look_at_own(&mut self, now: MonoNs, mut mend: Mend, len: u64, data: &Bytes) {
        let (at, block) = (mend.at, mend.block());
        let head = usize::try_from(at.since(block)).expect("within a block");
        let Some(segment) = self.segments.find(at).copied() else { return };
        let end = segment.start.plus(self.segments.size());
        let bytes = data.get(head..).unwrap_or_default();
        let sound_to = match self.parse_at(bytes, at, end) {
            Parsed::Record(view) if self.is_whole(&view) => Some(at.plus(u64::from(view.size))),
            Parsed::Filler | Parsed::Doubtful => Some(end),
            // More of it, once it is known how long it says it is.
            Parsed::More if data.len() as u64 == len => {
                let size = peek_size(bytes).map_or(MEND_FIRST_BYTES, |size| size as usize);
                let wanted = block_end(mend.at, size).since(block);
                if wanted > len {
                    mend.step = MendStep::Look { len: wanted };
                    self.damage.mends.current = Some(mend);
                    return;
                }
                None
            }
            // It goes beyond what may be mended, if it is a record at all.
            Parsed::More if mend.is_next => return,
            Parsed::More | Parsed::Record(_) | Parsed::NoRecord => None,
        };
        let Some(sound_to) = sound_to else {
            if mend.is_written {
                tracing::error!(log_offset = %at, "a message that was mended is still damaged on the disk");
                self.damage.mends.current = Some(mend);
                return self.rest_mend(now, false);
            }
            // Read twice, unless it was proven before.
            if self.note_unsound(at) {
                mend.step = MendStep::Fetch { theirs: BytesMut::new() };
            }
            self.damage.mends.current = Some(mend);
            return;
        };
        let is_known = self.damage.proven.contains(&at);
        self.damage.note_sound(at);
        if mend.is_written {
            self.damage.mends.mended += 1;
            let file = FileName::Segment(segment.start);
            let (byte, bytes) = (at.since(segment.start), sound_to.min(end).since(at));
            tracing::info!(%file, byte, bytes, log_offset = %at, "a damaged message was mended from a replica");
        }
        // What is damaged goes on to the next sound record.
        if (mend.is_written || is_known) && sound_to < end.min(self.mendable_end()) {
            self.damage.mends.current = Some(Mend::new(sound_to, true));
        }
    }

    /// The blocks that are to be written, if there are any.
    pub(super) fn next_mend_write(&mut self) -> Option<Work> {
        let start = self.start();
        let mend = self.damage.mends.current.as_mut()?;
        if !matches!(mend.step, MendStep::Ready { .. }) {
            return None;
        }
        if mend.at < start {
            self.damage.mends.current = None;
            return None;
        }
        let segment = self.segments.find(mend.at)?.start;
        let at = mend.block().since(segment);
        let MendStep::Ready { data, before } = std::mem::replace(&mut mend.step, MendStep::Writing) else {
            return None;
        };
        Some(Work::Mend { file: FileName::Segment(segment), at, data, before })
    }

    /// The blocks were written, or may have been in part: then a CRC says so. Nothing rests on them that was not damaged before, so the log goes on.
    pub(super) fn mend_written(&mut self, file: FileName, at: u64, len: usize, result: Result<(), IoError>) {
        if let FileName::Segment(start) = file {
            let from = start.plus(at);
            self.forget_blocks(from, from.plus(len as u64));
            self.replicated.blocks.forget(file);
        }
        let now = self.now.mono;
        let Some(mend) = self.damage.mends.current.as_mut() else { return };
        (mend.step, mend.is_written) = (MendStep::Look { len: COLD_BLOCK_BYTES }, result.is_ok());
        if let Err(error) = result {
            tracing::error!(%file, byte = at, %error, "a damaged message could not be mended: its blocks were not written");
            self.rest_mend(now, false);
        }
        self.read_for_mend(now);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::log::commit_log::tests::draft;
    use crate::log::{FlushPolicy, HeapTail, LogSettings, QueueIndex, Read, ReadLimits};
    use crate::model::{Now, QueueId, QueueOffset};
    use crate::protocol::record::encode_filler;

    /// A log of two closed segments with its files, and as much as the ring has behind them.
    pub(crate) struct World {
        pub(crate) log: Log,
        files: BTreeMap<FileName, Vec<u8>>,
        queue: QueueIndex,
    }

    impl World {
        pub(crate) fn new() -> World {
            let settings = LogSettings {
                segment_bytes: 64 * 1024,
                cache_bytes: 1024 * 1024,
                queue_block_entries: 4,
                key_run_entries: 16,
                index_file_bytes: 128 * 1024,
                flush: FlushPolicy::Sync,
                ..LogSettings::default()
            };
            let mut log = Log::create(settings, Box::new(HeapTail::new(32 * 1024)));
            let queue = log.queue("T", QueueId(0));
            let mut world = World { log, files: BTreeMap::new(), queue };
            for number in 0..60_u8 {
                world.settle();
                world.log.append(queue, &draft(&[number; 3_000])).expect("there is room");
            }
            world.settle();
            world
        }

        fn file(&mut self, name: FileName) -> &mut Vec<u8> {
            self.files.entry(name).or_default()
        }

        /// Carries out what is asked, reads ahead of need included.
        pub(crate) fn settle(&mut self) {
            loop {
                if let Some(io) = self.log.poll_background(Now::default()) {
                    match io.work {
                        Work::Prepare { file, size, .. } => {
                            self.file(file).resize(usize::try_from(size).expect("small"), 0);
                        }
                        Work::Rename { from, to } => {
                            let moved = self.files.remove(&from).expect("it was made");
                            self.files.insert(to, moved);
                        }
                        Work::Write { file, at, data, .. } | Work::Mend { file, at, data, .. } => {
                            let at = usize::try_from(at).expect("small");
                            let content = self.file(file);
                            content.resize(content.len().max(at + data.len()), 0);
                            content[at..at + data.len()].copy_from_slice(&data);
                        }
                        Work::Replace { file, data } => *self.file(file) = data.to_vec(),
                        Work::Remove { file } => drop(self.files.remove(&file)),
                    }
                    self.log.handle_io(io.id, Ok(()));
                } else if let Some(commit) = self.log.poll_commit() {
                    let mut bytes = vec![0; commit.len];
                    self.log.copy_tail(commit.from, &mut bytes);
                    let at = usize::try_from(commit.at).expect("small");
                    self.file(commit.segment)[at..at + commit.len].copy_from_slice(&bytes);
                    self.log.handle_io(commit.id, Ok(()));
                } else if let Some(block) = self.log.prefetch().pop_front() {
                    self.bring(block);
                } else {
                    return;
                }
                self.log.check_invariants();
            }
        }

        fn bring(&mut self, block: BlockId) {
            let at = usize::try_from(block.at).expect("small");
            let data = Bytes::copy_from_slice(&self.files[&block.file][at..at + block.len as usize]);
            self.log.supply(block, Ok(data));
        }

        pub(crate) fn place(&mut self, number: u64) -> LogOffset {
            loop {
                match self.log.place(self.queue, QueueOffset(number)) {
                    Ok(place) => return place.expect("it was stored"),
                    Err(block) => self.bring(block),
                }
            }
        }

        /// A reader meets a damaged message.
        pub(crate) fn prove(&mut self, number: u64) {
            assert!(matches!(self.read(number), Read::Damaged { .. }), "message {number} is not damaged");
        }

        fn read(&mut self, number: u64) -> Read {
            let limits = ReadLimits { messages_max: 1, bytes_max: 10_000, entries_max: 1 };
            loop {
                let mut out = BytesMut::new();
                match self.log.read(self.queue, QueueOffset(number), &limits, &|_| true, &mut out) {
                    Read::Cold(block) => self.bring(block),
                    read => return read,
                }
            }
        }

        /// Bytes of the first segment, as they were written.
        pub(crate) fn first(&self) -> &[u8] {
            &self.files[&FileName::Segment(LogOffset(0))]
        }

        pub(crate) fn flip(&mut self, at: LogOffset) {
            self.file(FileName::Segment(LogOffset(0)))[usize::try_from(at.0).expect("small")] ^= 0x10;
        }

        /// Answers what is wanted from `theirs`, which begin at `begin`. How often.
        fn feed(&mut self, theirs: &[u8], now: MonoNs) -> Vec<(u64, PieceTaken)> {
            let mut fed = Vec::new();
            self.log.poll_mend(now);
            self.settle();
            while let Some(PieceWanted { record, from, len }) = self.log.poll_mend(now) {
                assert!(
                    from >= record && len > 0 && len <= MEND_PIECE_BYTES && fed.len() < 20,
                    "{record} {from} {len}"
                );
                let at = usize::try_from(from.0).expect("small");
                let taken = self.log.take_piece(from, &theirs[at..(at + len).min(theirs.len())]);
                fed.push((record.0, taken));
                if taken == PieceTaken::Unsound {
                    break;
                }
                self.log.poll_mend(now);
                self.settle();
            }
            fed
        }
    }

    const NOW: MonoNs = MonoNs(0);

    #[test]
    fn a_damaged_record_and_those_behind_it_are_mended_and_nothing_else_is_written() {
        let mut world = World::new();
        let before = world.first().to_vec();
        let (third, fourth) = (world.place(3), world.place(4));
        world.flip(third.plus(700));
        world.flip(fourth.plus(20));
        assert!(matches!(world.read(3), Read::Damaged { at, .. } if at == third));
        assert_eq!(world.log.damage().records, 1, "nobody has read the other one");
        let fed = world.feed(&before, NOW);
        assert!(fed.iter().all(|(_, taken)| *taken == PieceTaken::Sound), "{fed:?}");
        let records: BTreeSet<u64> = fed.iter().map(|(record, _)| *record).collect();
        assert_eq!(records, BTreeSet::from([third.0, fourth.0]));
        assert!(world.first() == before, "the segment is as it was written");
        let damage = world.log.damage();
        assert_eq!((damage.records, damage.mended, damage.lost), (0, 2, 0));
        for number in 2..6 {
            assert!(matches!(world.read(number), Read::Found { .. }), "{number}");
        }
    }

    #[test]
    fn what_proves_no_place_or_no_crc_is_not_written() {
        let mut world = World::new();
        let before = world.first().to_vec();
        let (third, fourth) = (world.place(3), world.place(4));
        world.flip(third.plus(700));
        assert!(matches!(world.read(3), Read::Damaged { .. }));
        let harmed = world.first().to_vec();
        // A sound record of the same log, which lies elsewhere; one with a bit that has changed; and nothing at all.
        let (from, to) = (usize::try_from(third.0).expect("small"), usize::try_from(fourth.0).expect("small"));
        let mut elsewhere = before.clone();
        elsewhere.copy_within(to.., from);
        let mut changed = before.clone();
        changed[from + 1_000] ^= 1;
        for theirs in [elsewhere, changed, vec![0; before.len()]] {
            let fed = world.feed(&theirs, NOW);
            assert_eq!(fed.last().map(|(_, taken)| *taken), Some(PieceTaken::Unsound), "{fed:?}");
            world.settle();
            assert!(world.first() == harmed, "what is not proven was written");
        }
        world.log.restart_mend();
        world.feed(&before, NOW);
        assert!(world.first() == before);
    }

    /// A misdirected write, or a replica that lies: the rest of the segment was taken for what lies behind a filler.
    #[test]
    fn a_filler_amid_a_segment_is_damage_and_is_not_taken_from_a_replica() {
        let mut world = World::new();
        let before = world.first().to_vec();
        let third = world.place(3);
        let filler = encode_filler(third, u32::try_from(64 * 1024 - third.0).expect("small"));
        let at = usize::try_from(third.0).expect("small");
        let mut hidden = before.clone();
        hidden[at..at + filler.len()].copy_from_slice(&filler);
        *world.file(FileName::Segment(LogOffset(0))) = hidden.clone();
        assert!(matches!(world.read(3), Read::Damaged { .. }));
        let fed = world.feed(&hidden, NOW);
        assert_eq!(fed, [(third.0, PieceTaken::Unsound)]);
        assert!(world.first() == hidden, "nothing is written");
        world.log.restart_mend();
        world.feed(&before, NOW);
        assert!(world.first() == before);
    }

    #[test]
    fn what_somebody_waits_for_comes_first_and_what_rests_keeps_nothing_from_it() {
        let (at, end) = (|number: u64| LogOffset(10 * number), LogOffset(1_000));
        let proven: BTreeSet<LogOffset> = (1..=5).map(at).collect();
        let mut mends = Mends::default();
        let rest = |mends: &mut Mends, number, until| {
            mends.rests.insert(at(number), Rest { until: MonoNs(until), tries: 1 });
            mends.wake();
        };
        rest(&mut mends, 1, 50);
        rest(&mut mends, 2, 40);
        assert_eq!(mends.next(&proven, end, MonoNs(60)), Some(at(3)), "it was not tried yet");
        mends.note_wanted(at(5));
        assert_eq!(mends.next(&proven, end, MonoNs(60)), Some(at(5)));
        assert_eq!(mends.next(&proven, end, MonoNs(60)), Some(at(3)), "one reader is one turn");
        for (number, until) in [(3, 90), (4, 80), (5, 70)] {
            rest(&mut mends, number, until);
        }
        assert_eq!(mends.next(&proven, end, MonoNs(60)), Some(at(2)), "it has rested longest");
        mends.note_wanted(at(5));
        assert_eq!(mends.next(&proven, end, MonoNs(30)), None, "also what is wanted rests");
        assert_eq!(mends.quiet_until, MonoNs(40));
        assert_eq!(mends.next(&proven, LogOffset(5), MonoNs(60)), None);
        assert_eq!(mends.next(&proven, end, MonoNs(60)), Some(at(2)), "the log is safe there by now");
        mends.lost.insert(at(4));
        mends.note_wanted(at(4));
        assert_eq!(mends.wanted, None, "nobody waits for what is lost");
    }

    #[test]
    fn what_nobody_has_rests_longer_each_time_and_is_lost_only_until_somebody_has_it() {
        let mut world = World::new();
        let before = world.first().to_vec();
        let third = world.place(3);
        world.flip(third.plus(700));
        assert!(matches!(world.read(3), Read::Damaged { .. }));
        let mut now = NOW;
        for rest_ms in [MEND_REST_MS_MIN, 2 * MEND_REST_MS_MIN] {
            world.log.poll_mend(now);
            world.settle();
            assert!(world.log.poll_mend(now).is_some());
            world.log.rest_mend(now, rest_ms > MEND_REST_MS_MIN);
            assert_eq!(world.log.poll_mend(now.plus_ms(rest_ms - 1)), None);
            assert!(world.log.prefetch().is_empty(), "it is not even looked at");
            now = now.plus_ms(rest_ms);
        }
        assert!(world.log.is_lost(third) && world.log.damage().lost == 1);
        world.log.wake_mends();
        world.feed(&before, now);
        assert!(!world.log.is_lost(third) && world.first() == before);
        assert_eq!((world.log.damage().lost, world.log.damage().mended), (0, 1));
    }

    #[test]
    fn a_replica_is_given_what_consumers_may_see_and_nothing_beyond() {
        let mut world = World::new();
        let before = world.first().to_vec();
        let end = world.log.appended();
        let mut piece = |from: u64, len: usize| loop {
            let mut out = BytesMut::new();
            match world.log.piece(LogOffset(from), len, &mut out) {
                Piece::Cold(block) => world.bring(block),
                Piece::Bytes(bytes) => {
                    assert_eq!(bytes, out.len());
                    return out.to_vec();
                }
                Piece::None => return Vec::new(),
            }
        };
        assert_eq!(piece(100, 5_000), before[100..5_100]);
        assert_eq!(piece(64 * 1024 - 10, 5_000).len(), 10, "to the end of the segment");
        assert_eq!(piece(end.0 - 10, 5_000).len(), 10, "to the end of the log");
        assert!(piece(end.0, 1).is_empty() && piece(u64::MAX, 1).is_empty());
    }
}
