//! What is damaged is mended from a replica, while the log is in use.
//!
//! A mend is of a stretch: from a record that is proven to be damaged ([`super::damage`]), or lies in a disk block that cannot be read, to the next one
//! that is sound; of a long one so much at a time:
//!
//! ```text
//! find ──▶ look ──sound──▶ done, or on to what lies behind
//!            │ ▲
//!            │ └──── verify ◀── write ◀── ready ◀──twice the same── own bytes around it
//!            └─unsound─▶ fetch: pieces of the replica's log ──▶ records that say that they lie here, and end where this log goes on ──┘
//! ```
//!
//! Of a block that cannot be read it is first found in which record it begins: the one behind the last sound one in front of it.
//!
//! Who is asked is [`crate::replication`]'s: [`Log::poll_mend`] says what is wanted and [`Log::take_piece`] takes it; [`Log::rest_mend`] gives up for a
//! while. The own bytes come as what is read ahead of need does ([`own`]); the write is background work, which changes the disk blocks that are
//! not as they should be: what lies beside the stretch in them was read twice, and is written as it was. Nothing is believed of a piece but what its CRCs
//! and its place prove, and that only as far as no sound record of this log is in its way and its queue, where that is at hand, says the same: else
//! a record that is longer than the one that was there would take those behind it along. Nothing is written that consumers do not see yet, that is not
//! flushed, or that the ring still has.

mod own;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Bytes, BytesMut};

use self::own::{OwnBytes, block_end, block_of};
use super::commit_log::Log;
use super::damage::Damage;
use super::derive::entries_in;
use super::file::{BlockId, FileName, IoError, Work};
use super::read::Miss;
use super::recovery::Parsed;
use crate::limits::{
    COLD_BLOCK_BYTES, DISK_BLOCK_BYTES, MEND_BURST_MS, MEND_BYTES_PER_SECOND, MEND_FIRST_BYTES, MEND_PIECE_BYTES,
    MEND_REST_MS_MAX, MEND_REST_MS_MIN, MEND_SEARCH_BYTES_MAX, MEND_STRETCH_BYTES, PREFETCH_BLOCKS_MAX,
    RECORD_BYTES_MAX, SCRUB_PATIENCE_MS,
};
use crate::model::{LogOffset, MonoNs};
use crate::protocol::record::{Check, FILLER_BYTES, RecordView, find_claim, peek_size};

const BLOCK: u64 = DISK_BLOCK_BYTES as u64;

/// Bytes of the log that are wanted of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PieceWanted {
    /// The first record of the stretch that is mended: what is asked for one says nothing of another.
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
    /// More is wanted, or the stretch is whole.
    Sound,
    /// What came is not what was written at this place.
    Unsound,
}

/// What is to be mended: a record that is damaged, or a disk block that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct MendPlace {
    /// Where the record or the block begins.
    at: LogOffset,
    is_block: bool,
}

impl MendPlace {
    pub(super) fn record(at: LogOffset) -> MendPlace {
        MendPlace { at, is_block: false }
    }

    pub(super) fn block(at: LogOffset) -> MendPlace {
        MendPlace { at, is_block: true }
    }
}

/// What is being mended, and what could not be.
#[derive(Debug, Default)]
pub(super) struct Mends {
    current: Option<Mend>,
    /// What could not be mended: never more than is known to be damaged or unreadable.
    rests: BTreeMap<MendPlace, Rest>,
    /// What is damaged wherever it is known to have been.
    lost: BTreeSet<LogOffset>,
    /// Somebody waits for this one.
    wanted: Option<MendPlace>,
    /// Nothing is to be begun before.
    quiet_until: MonoNs,
    /// What was read, fetched and written by now takes until then.
    spent_until: MonoNs,
    /// What a replica gave did not fit in, which nobody was told of yet.
    is_unfit: bool,
    pub(super) mended: u64,
}

#[derive(Clone, Copy, Debug)]
struct Rest {
    until: MonoNs,
    tries: u32,
}

#[derive(Debug)]
struct Mend {
    place: MendPlace,
    /// Where its first record begins; before that is found, the block.
    at: LogOffset,
    step: MendStep,
    own: OwnBytes,
    /// The own bytes that were asked for, and when.
    asked: Option<(BlockId, MonoNs)>,
    /// The next sound record is looked for up to here.
    reach: LogOffset,
    /// Where it begins, or the segment ends; `None` if it is not found so near.
    end: Option<LogOffset>,
    /// What has come from replicas, from `at` on.
    theirs: BytesMut,
    /// So many bytes of it are records that fit in, and so many records, to here; a filler goes to the end of the segment.
    sound: usize,
    records: u64,
    to: LogOffset,
    /// What is before it was mended: this one may be sound.
    is_next: bool,
}

#[derive(Debug)]
enum MendStep {
    /// The first record is looked for in front of the block.
    Find,
    /// The own bytes are looked at, up to the next sound record.
    Look,
    /// The replica's are awaited.
    Fetch,
    /// They are to take the place of the own ones, which are read a second time.
    Compose { before: OwnBytes },
    /// To be written, `at` its first disk block.
    Ready { at: LogOffset, data: Bytes, before: Bytes },
    /// It is being written.
    Writing,
    /// What was written is read.
    Verify,
}

/// What becomes of a stretch with what has come of it.
enum Advance {
    Wants,
    Whole,
    Unsound,
    /// It is sound, and does not fit in.
    Unfit,
    /// It goes to here, and the own bytes that were looked at do not.
    Look(LogOffset),
    /// It goes on where it may still be written to.
    Rest,
}

/// What begins at a place of the own bytes.
enum Own {
    /// It is sound, and ends here.
    Sound(LogOffset),
    /// It would end here.
    More(LogOffset),
    Unsound,
}

impl Mend {
    fn new(place: MendPlace, step: MendStep, own: OwnBytes) -> Mend {
        let at = place.at;
        Mend {
            place,
            at,
            step,
            own,
            asked: None,
            reach: at.plus(MEND_STRETCH_BYTES),
            end: None,
            theirs: BytesMut::new(),
            sound: 0,
            records: 0,
            to: at,
            is_next: false,
        }
    }

    /// End of the bytes that are to be written: behind a filler nothing has a meaning.
    fn written_end(&self) -> LogOffset {
        self.at.plus(self.sound as u64)
    }

    /// Whether what was fetched can be written, but for what of it would follow: the disk block in which it ends is known.
    fn can_end(&self) -> bool {
        let end = self.written_end();
        let is_filled = self.to > end;
        self.sound > 0 && (is_filled || !self.own.has_hole(end, block_end(end)))
    }

    fn forget_theirs(&mut self) {
        self.theirs.clear();
        (self.sound, self.records, self.to) = (0, 0, self.at);
    }
}

impl Mends {
    /// A reader has met it, and waits.
    pub(super) fn note_wanted(&mut self, place: MendPlace) {
        if place.is_block || !self.lost.contains(&place.at) {
            self.wanted = Some(place);
        }
    }

    /// There may be something to begin.
    pub(super) fn wake(&mut self) {
        self.quiet_until = MonoNs(0);
    }

    /// So many bytes were read, fetched or written.
    fn spend(&mut self, now: MonoNs, bytes: usize) {
        let ns = (bytes as u64).saturating_mul(1_000_000_000) / MEND_BYTES_PER_SECOND;
        self.spent_until = MonoNs(self.spent_until.max(now).0.saturating_add(ns));
    }

    /// What is to be mended next, of what is known to be damaged, or unreadable, before `end`: what somebody waits for, then what was not tried yet, then
    /// what has rested longest. What is lost does not keep the others from it.
    fn next(&mut self, known: Known<'_>, end: LogOffset, now: MonoNs) -> Option<MendPlace> {
        let end = MendPlace::record(end);
        if let Some(place) = self.wanted.take()
            && place < end
            && known.has(place)
            && self.rests.get(&place).is_none_or(|rest| rest.until <= now)
        {
            return Some(place);
        }
        if now < self.quiet_until {
            return None;
        }
        let fresh = known.places(end.at).filter(|place| !self.rests.contains_key(place)).min();
        let longest = || self.rests.range(..end).min_by_key(|(_, rest)| rest.until);
        let next = fresh.or_else(|| longest().filter(|(_, rest)| rest.until <= now).map(|(place, _)| *place));
        if next.is_none() {
            // Else it may be begun as soon as the log is safe there.
            let waits_for_end = known.last().is_some_and(|last| last >= end.at);
            self.quiet_until = longest().filter(|_| !waits_for_end).map_or(now, |(_, rest)| rest.until);
        }
        next
    }

    /// What lies there can be read again.
    pub(super) fn forget(&mut self, place: MendPlace) {
        self.rests.remove(&place);
        if !place.is_block {
            self.lost.remove(&place.at);
        }
    }

    /// Forgets what lies before the start of the log.
    pub(super) fn trim(&mut self, start: LogOffset) {
        while self.rests.first_key_value().is_some_and(|(first, _)| first.at < start) {
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

/// What is known to be damaged, and to be unreadable.
#[derive(Clone, Copy)]
struct Known<'a> {
    records: &'a BTreeSet<LogOffset>,
    blocks: &'a BTreeSet<LogOffset>,
}

impl Known<'_> {
    fn has(&self, place: MendPlace) -> bool {
        if place.is_block { self.blocks.contains(&place.at) } else { self.records.contains(&place.at) }
    }

    fn places(&self, end: LogOffset) -> impl Iterator<Item = MendPlace> {
        let records = self.records.range(..end).map(|at| MendPlace::record(*at));
        records.chain(self.blocks.range(..end).map(|at| MendPlace::block(*at)))
    }

    fn last(&self) -> Option<LogOffset> {
        self.records.last().max(self.blocks.last()).copied()
    }
}

/// What replication calls.
impl Log {
    /// What is wanted of a replica now, if there is one to ask. Call it some times a second, when a piece was taken, and when own bytes came.
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
            let Damage { mends, proven, unreadable, .. } = &mut self.damage;
            let next = mends.next(Known { records: proven, blocks: unreadable }, end, now);
            self.damage.mends.current = next.and_then(|place| self.begin_mend(place));
        }
        self.read_for_mend(now);
        let mend = self.damage.mends.current.as_ref().filter(|mend| matches!(mend.step, MendStep::Fetch))?;
        let from = mend.at.plus(mend.theirs.len() as u64);
        let rest = &mend.theirs[mend.sound..];
        let size = peek_size(rest).map_or(0, |size| size as usize);
        let missing = match mend.end {
            _ if size > rest.len() => size - rest.len(),
            Some(end) => usize::try_from(end.0.saturating_sub(from.0)).unwrap_or(usize::MAX),
            None if mend.theirs.is_empty() => MEND_FIRST_BYTES,
            None => MEND_PIECE_BYTES,
        };
        let len = missing.min(MEND_PIECE_BYTES).min(self.room_at(from));
        if len == 0 {
            // The record would go beyond what may be mended.
            self.rest_mend(now, false);
            return None;
        }
        Some(PieceWanted { record: mend.at, from, len })
    }

    /// Takes bytes of a replica's log from `from` on, which were asked for. They are looked at when a record is whole.
    pub(crate) fn take_piece(&mut self, from: LogOffset, bytes: &[u8]) -> PieceTaken {
        let is_fetching = |mend: &mut Mend| matches!(mend.step, MendStep::Fetch);
        let Some(mut mend) = self.damage.mends.current.take_if(is_fetching) else { return PieceTaken::Sound };
        let most = RECORD_BYTES_MAX + 2 * MEND_PIECE_BYTES;
        if from == mend.at.plus(mend.theirs.len() as u64) && mend.theirs.len() - mend.sound + bytes.len() <= most {
            mend.theirs.extend_from_slice(bytes);
            self.damage.mends.spend(self.now.mono, bytes.len());
            return self.go_on_fetching(mend);
        }
        self.damage.mends.current = Some(mend);
        PieceTaken::Sound
    }

    /// Whether what a replica gave since this was asked last was sound and did not fit in: it was not taken.
    pub(crate) fn take_unfit(&mut self) -> bool {
        std::mem::take(&mut self.damage.mends.is_unfit)
    }

    /// What has come of the stretch is thrown away: it is asked for from its beginning.
    pub(crate) fn restart_mend(&mut self) {
        if let Some(mend) = self.damage.mends.current.as_mut().filter(|mend| matches!(mend.step, MendStep::Fetch)) {
            mend.forget_theirs();
        }
    }

    /// The stretch that is being mended is left for a while: nobody who can be asked has it. `is_lost`: nobody who is known to have had it has it.
    pub(crate) fn rest_mend(&mut self, now: MonoNs, is_lost: bool) {
        let Some(mend) = self.damage.mends.current.take_if(|mend| !matches!(mend.step, MendStep::Writing)) else {
            return;
        };
        let MendPlace { at, is_block } = mend.place;
        let Damage { mends, proven, unreadable, .. } = &mut self.damage;
        mends.wake();
        if !(Known { records: proven, blocks: unreadable }).has(mend.place) {
            return;
        }
        let tries = mends.rests.get(&mend.place).map_or(0, |rest| rest.tries);
        let rest_ms = (MEND_REST_MS_MIN << tries.min(16)).min(MEND_REST_MS_MAX);
        mends.rests.insert(mend.place, Rest { until: now.plus_ms(rest_ms), tries: tries.saturating_add(1) });
        if is_lost && !is_block && mends.lost.insert(at) {
            tracing::error!(log_offset = %at, "a damaged message is damaged on all replicas that are known as well: readers go on without it, and it is counted; a store that has it, as a replica, mends it");
        } else if !is_lost && tries == 0 {
            let what = if is_block { "a disk block that cannot be read" } else { "a damaged message" };
            tracing::warn!(log_offset = %at, "{what} was not mended: no replica that is connected could give what was there; it is tried again and again");
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

    /// Whether there is something to mend.
    #[must_use]
    pub(crate) fn has_to_mend(&self) -> bool {
        !self.damage.proven.is_empty() || !self.damage.unreadable.is_empty()
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
        block_of(self.flushed.min(self.confirm).min(self.tail.low()))
    }

    /// The same, within the segment of `at`.
    fn mendable_to(&self, at: LogOffset) -> LogOffset {
        let end = self.segments.find(at).map_or(at, |segment| segment.start.plus(self.segments.size()));
        end.min(self.mendable_end())
    }
}

/// What replicas give.
impl Log {
    /// Goes on with what has come from a replica.
    fn go_on_fetching(&mut self, mut mend: Mend) -> PieceTaken {
        let mut taken = PieceTaken::Sound;
        match self.advance(&mut mend) {
            Advance::Wants => {}
            Advance::Whole => {
                let own = OwnBytes::new(block_of(mend.at), block_end(mend.written_end()));
                let before = std::mem::replace(&mut mend.own, own);
                mend.step = MendStep::Compose { before };
            }
            Advance::Look(to) => {
                self.look_further(mend, to);
                return PieceTaken::Sound;
            }
            Advance::Unsound => {
                mend.forget_theirs();
                taken = PieceTaken::Unsound;
            }
            Advance::Unfit => {
                mend.forget_theirs();
                self.damage.mends.is_unfit = true;
            }
            Advance::Rest => {
                self.damage.mends.current = Some(mend);
                self.rest_mend(self.now.mono, false);
                return PieceTaken::Sound;
            }
        }
        self.damage.mends.current = Some(mend);
        taken
    }

    /// Looks at the records that have come.
    fn advance(&mut self, mend: &mut Mend) -> Advance {
        let Some(segment) = self.segments.find(mend.at).copied() else { return Advance::Rest };
        let segment_end = segment.start.plus(self.segments.size());
        let mendable = self.mendable_end();
        loop {
            let is_long = mend.end.is_none() && mend.sound as u64 >= MEND_STRETCH_BYTES;
            let is_at_end = mend.to == mend.end.unwrap_or(segment_end);
            if (is_long || is_at_end) && mend.can_end() {
                return Advance::Whole;
            }
            if is_at_end {
                return Advance::Rest;
            }
            let at = mend.written_end();
            let bytes = &mend.theirs[mend.sound..];
            let (len, to) = match self.fetched(at, segment_end, bytes) {
                Ok(Some((len, true))) => (len, segment_end),
                Ok(Some((len, false))) => (len, at.plus(len as u64)),
                Ok(None) => {
                    let claimed = peek_size(bytes).map_or(bytes.len() as u64 + 1, u64::from);
                    let is_beyond = mend.end.is_some_and(|end| at.plus(claimed) > end);
                    return if is_beyond { Advance::Unfit } else { Advance::Wants };
                }
                Err(()) => return Advance::Unsound,
            };
            let is_over_filler = segment.filler.is_some_and(|filler| at < filler && filler < to);
            if mend.end.is_some_and(|end| to > end) || is_over_filler {
                return Advance::Unfit;
            }
            let written_end = at.plus(len as u64);
            if block_end(written_end) > mendable {
                return if mend.can_end() { Advance::Whole } else { Advance::Rest };
            }
            if written_end > mend.own.end() {
                mend.reach = written_end.plus(COLD_BLOCK_BYTES);
                return Advance::Look(mend.reach);
            }
            if !self.agrees_with_queue(&mend.theirs[mend.sound..], at) {
                return Advance::Unfit;
            }
            mend.sound += len;
            mend.records += u64::from(to == written_end);
            mend.to = to;
        }
    }

    /// Whether a sound record or filler is at the beginning of what a replica has sent for `at`: its bytes, and whether it is a filler; `None` if there
    /// must be more.
    fn fetched(&self, at: LogOffset, segment_end: LogOffset, bytes: &[u8]) -> Result<Option<(usize, bool)>, ()> {
        let filler_bytes = FILLER_BYTES.min(usize::try_from(segment_end.since(at)).unwrap_or(usize::MAX));
        match self.parse_at(bytes, at, segment_end) {
            Parsed::Record(view) if self.is_whole(&view) => Ok(Some((view.size as usize, false))),
            Parsed::Filler => Ok(Some((filler_bytes, true))),
            // It proves its place only where this log knows that one lies there.
            Parsed::Doubtful if self.segments.find(at).is_some_and(|segment| segment.filler == Some(at)) => {
                Ok(Some((filler_bytes, true)))
            }
            Parsed::More => Ok(None),
            Parsed::Record(_) | Parsed::Doubtful | Parsed::NoRecord => Err(()),
        }
    }

    /// Whether the queue of a sound record, if it says anything of it and that is at hand, says that it lies at `at` and is as long.
    fn agrees_with_queue(&mut self, bytes: &[u8], at: LogOffset) -> bool {
        let Ok(view) = RecordView::decode(bytes, Some(at), Check::Crc) else { return true };
        let Some(queue) = self.find_queue(view.topic, view.queue_id) else { return true };
        // An earlier life of the queue is forgotten.
        if at < self.queues.get(queue).life_from {
            return true;
        }
        let entry = entries_in(&view, (view.topic, view.queue_id), &self.settings.delay_levels);
        let Some((first, theirs, _)) = entry else { return true };
        match self.place_at_hand(queue, first) {
            Some(own) => own == (theirs.log_offset, theirs.size),
            None => true,
        }
    }
}

/// The own bytes.
impl Log {
    fn begin_mend(&self, place: MendPlace) -> Option<Mend> {
        let segment = self.segments.find(place.at)?.start;
        let to = self.mendable_to(place.at);
        let (from, step) = match place.is_block {
            true => (LogOffset(place.at.0.saturating_sub(COLD_BLOCK_BYTES)).max(segment), MendStep::Find),
            false => (block_of(place.at), MendStep::Look),
        };
        let wanted = if place.is_block { place.at.plus(BLOCK) } else { from.plus(COLD_BLOCK_BYTES) };
        let to = wanted.min(to);
        (from < to).then(|| Mend::new(place, step, OwnBytes::new(from, to)))
    }

    /// Asks for the own bytes that come next, unless they are on their way. A shell that has much to do forgets what is wanted ahead of need.
    fn read_for_mend(&mut self, now: MonoNs) {
        let Some(mend) = self.damage.mends.current.as_mut() else { return };
        let wants = matches!(mend.step, MendStep::Find | MendStep::Look | MendStep::Compose { .. } | MendStep::Verify);
        if !wants || mend.asked.is_some_and(|(_, at)| now < at.plus_ms(SCRUB_PATIENCE_MS)) {
            return;
        }
        if self.prefetch.len() >= PREFETCH_BLOCKS_MAX || self.damage.mends.spent_until > now.plus_ms(MEND_BURST_MS) {
            return;
        }
        let segment = self.segments.find(mend.at).map(|segment| segment.start);
        if let Some(block) = segment.and_then(|segment| mend.own.next_block(segment)) {
            mend.asked = Some((block, now));
            self.prefetch.push_back(block);
        }
    }

    /// Takes a block that was asked for here. Whether it was.
    pub(super) fn supply_mend(&mut self, block: BlockId, data: &Result<Bytes, IoError>) -> bool {
        let is_asked = |mend: &mut Mend| mend.asked.is_some_and(|(asked, _)| asked == block);
        let Some(mut mend) = self.damage.mends.current.take_if(is_asked) else { return false };
        mend.asked = None;
        let now = self.now.mono;
        self.damage.mends.spend(now, block.len as usize);
        self.damage.reads_failed += u64::from(data.is_err());
        let taken = mend.own.take(block, data);
        let is_whole = mend.own.is_whole();
        if is_whole && taken.is_ok() {
            self.note_holes(&mend.own);
            self.own_has_come(now, mend);
        } else {
            self.damage.mends.current = Some(mend);
            if taken.is_err() {
                self.rest_mend(now, false);
            }
        }
        self.read_for_mend(now);
        true
    }

    fn note_holes(&mut self, own: &OwnBytes) {
        let known: Vec<LogOffset> = self.damage.unreadable.range(own.from..own.to).copied().collect();
        for block in known.into_iter().filter(|block| !own.holes.contains(block)) {
            self.damage.note_readable(block);
        }
        for block in &own.holes {
            self.note_unreadable(*block);
        }
    }

    /// All own bytes that were wanted are there.
    fn own_has_come(&mut self, now: MonoNs, mut mend: Mend) {
        match std::mem::replace(&mut mend.step, MendStep::Look) {
            MendStep::Find => self.find_first(now, mend),
            MendStep::Compose { before } => self.compose(now, mend, &before),
            MendStep::Verify => self.verify(now, mend),
            MendStep::Look | MendStep::Fetch | MendStep::Ready { .. } | MendStep::Writing => {
                self.look_at_own(now, mend);
            }
        }
    }

    /// What begins at a place of the own bytes. What reaches into a hole is unsound.
    fn parse_own(&self, own: &OwnBytes, at: LogOffset) -> Own {
        let Some(segment) = self.segments.find(at) else { return Own::Unsound };
        let end = segment.start.plus(self.segments.size());
        let bytes = own.bytes(at);
        let (sound_to, used) = match self.parse_at(bytes, at, end) {
            Parsed::Record(view) if self.is_whole(&view) => (at.plus(u64::from(view.size)), u64::from(view.size)),
            Parsed::Filler | Parsed::Doubtful => (end, (FILLER_BYTES as u64).min(end.since(at))),
            Parsed::More if own.has_hole(at, own.end()) => return Own::Unsound,
            Parsed::More => {
                let size = peek_size(bytes).map_or(MEND_FIRST_BYTES as u64, u64::from);
                return Own::More(at.plus(size));
            }
            Parsed::Record(_) | Parsed::NoRecord => return Own::Unsound,
        };
        if own.has_hole(at, at.plus(used)) { Own::Unsound } else { Own::Sound(sound_to) }
    }

    /// The first sound record of the own bytes from `at` on; `More` if one may be, that ends behind what was read.
    fn next_sound(&self, own: &OwnBytes, mut at: LogOffset) -> Own {
        while let Some(found) = find_claim(own.bytes(at), at) {
            at = at.plus(found as u64);
            match self.parse_own(own, at) {
                Own::Sound(_) => return Own::Sound(at),
                Own::More(to) if to <= at.plus(RECORD_BYTES_MAX as u64) && to <= self.mendable_to(at) => {
                    return Own::More(to);
                }
                Own::More(_) | Own::Unsound => at = at.plus(1),
            }
        }
        Own::Unsound
    }

    /// Looks for the record in which a block that cannot be read begins: the one behind the last that is sound in front of it.
    fn find_first(&mut self, now: MonoNs, mut mend: Mend) {
        let block = mend.place.at;
        let Some(segment) = self.segments.find(block).map(|segment| segment.start) else { return };
        if !mend.own.holes.contains(&block) {
            // It can be read again.
            return;
        }
        let own = &mend.own;
        let begin = match self.next_sound(own, own.from) {
            _ if own.from == segment => Some(segment),
            Own::Sound(at) if at < block => Some(at),
            _ => None,
        };
        let Some(mut at) = begin else {
            let searched = own.to.since(own.from);
            let wider = (4 * searched).min(MEND_SEARCH_BYTES_MAX);
            if searched > wider {
                self.damage.mends.current = Some(mend);
                return self.rest_mend(now, false);
            }
            mend.own = OwnBytes::new(LogOffset(block.0.saturating_sub(wider)).max(segment), own.to);
            mend.step = MendStep::Find;
            self.damage.mends.current = Some(mend);
            return;
        };
        loop {
            match self.parse_own(own, at) {
                Own::Sound(to) if to <= block => at = to,
                // It lies behind the filler, where nothing has a meaning.
                Own::Sound(_) => return self.damage.note_readable(block),
                Own::More(_) | Own::Unsound => match self.next_sound(own, at.plus(1)) {
                    Own::Sound(next) if next < block => at = next,
                    _ => break,
                },
            }
            if at == block {
                break;
            }
        }
        (mend.at, mend.to, mend.reach) = (at, at, at.plus(MEND_STRETCH_BYTES).max(block.plus(2 * COLD_BLOCK_BYTES)));
        let to = block.plus(COLD_BLOCK_BYTES).min(self.mendable_to(at));
        mend.own = OwnBytes::new(block_of(at), to);
        mend.step = MendStep::Look;
        self.damage.mends.current = Some(mend);
    }

    /// Looks at what lies at the place of a record that is to be mended, or lies behind what was, and where the next sound one begins.
    fn look_at_own(&mut self, now: MonoNs, mut mend: Mend) {
        let at = mend.at;
        let Some(segment) = self.segments.find(at).map(|segment| segment.start) else { return };
        let (segment_end, mendable) = (segment.plus(self.segments.size()), self.mendable_to(at));
        match self.parse_own(&mend.own, at) {
            Own::Sound(to) => {
                let is_known = self.damage.proven.contains(&at);
                self.damage.note_sound(at);
                // What is damaged goes on to the next sound record.
                if is_known && to < mendable {
                    self.begin_next(to);
                }
                return;
            }
            // More of it, as long as it says it is.
            Own::More(to) if block_end(to) <= mendable && to <= at.plus(RECORD_BYTES_MAX as u64) => {
                return self.look_further(mend, to);
            }
            // It goes beyond what may be mended, if it is a record at all.
            Own::More(_) if mend.is_next => return,
            Own::More(_) | Own::Unsound => {}
        }
        let first_block = block_of(at);
        if first_block < at && mend.own.holes.contains(&first_block) {
            // What lies in front of it has to come from a replica as well.
            self.damage.mends.current = Some(mend);
            return self.rest_mend(now, false);
        }
        // Read twice, unless it was proven before.
        if !mend.place.is_block && !self.note_unsound(at) {
            mend.own = OwnBytes::new(mend.own.from, mend.own.to);
            self.damage.mends.current = Some(mend);
            return;
        }
        // Behind the block that cannot be read, if it is one.
        let behind = if mend.place.is_block { mend.place.at.plus(BLOCK) } else { at.plus(1) };
        mend.end = match self.next_sound(&mend.own, behind.max(at.plus(1))) {
            Own::Sound(end) => Some(end),
            Own::More(to) => return self.look_further(mend, to),
            Own::Unsound if mend.own.to == segment_end => Some(segment_end),
            Own::Unsound if mend.own.to < mend.reach.min(mendable) => {
                let to = mend.own.to.plus(mend.own.to.since(mend.own.from)).min(block_end(mend.reach));
                return self.look_further(mend, to);
            }
            Own::Unsound => None,
        };
        mend.step = MendStep::Fetch;
        // It may be that some has come before.
        if mend.theirs.is_empty() {
            self.damage.mends.current = Some(mend);
        } else {
            self.go_on_fetching(mend);
        }
    }

    fn look_further(&mut self, mut mend: Mend, to: LogOffset) {
        mend.own.to = block_end(to).min(self.mendable_to(mend.at)).max(mend.own.to.plus(BLOCK));
        mend.step = MendStep::Look;
        self.damage.mends.current = Some(mend);
    }

    /// What was mended goes on here.
    fn begin_next(&mut self, at: LogOffset) {
        let next = self.begin_mend(MendPlace::record(at));
        self.damage.mends.current = next.map(|mend| Mend { is_next: true, ..mend });
    }

    /// Puts together what is to be written: the disk blocks that are not what they should be. What lies beside the stretch is written again: it must
    /// be what is there, and not what a bad read has made of it.
    fn compose(&mut self, now: MonoNs, mut mend: Mend, before: &OwnBytes) {
        let own = &mend.own;
        let (from, to) = (own.from, own.to);
        let bytes = own.bytes(from);
        let holes: BTreeSet<LogOffset> = before.holes.range(from..to).copied().collect();
        let mut composed = bytes.to_vec();
        let head = usize::try_from(mend.at.since(from)).expect("within a block");
        composed[head..head + mend.sound].copy_from_slice(&mend.theirs[..mend.sound]);
        let blocks = bytes.chunks(DISK_BLOCK_BYTES).zip(composed.chunks(DISK_BLOCK_BYTES));
        let is_changed =
            |nth: usize, (old, new): (&[u8], &[u8])| old != new || own.holes.contains(&from.plus(nth as u64 * BLOCK));
        let changed: Vec<usize> =
            blocks.enumerate().filter(|(nth, pair)| is_changed(*nth, *pair)).map(|(nth, _)| nth).collect();
        let is_same = own.holes == holes && before.slice(from, to) == bytes;
        let (true, Some(first), Some(last)) = (is_same, changed.first(), changed.last()) else {
            self.damage.mends.current = Some(mend);
            return self.rest_mend(now, false);
        };
        let range = first * DISK_BLOCK_BYTES..(last + 1) * DISK_BLOCK_BYTES;
        let at = from.plus(range.start as u64);
        let unreadable = holes.range(at..from.plus(range.end as u64)).count() * DISK_BLOCK_BYTES;
        let mut kept = Bytes::copy_from_slice(&bytes[range.clone()]);
        if unreadable > 0 {
            tracing::warn!(log_offset = %at, bytes = range.len(), unreadable, "of what is written anew something cannot be read, and is not kept aside");
            if unreadable == range.len() {
                kept = Bytes::new();
            }
        }
        let data = Bytes::from(composed).slice(range);
        mend.step = MendStep::Ready { at, data, before: kept };
        self.damage.mends.current = Some(mend);
    }

    /// What was written is read: it counts as mended if it is what it should be.
    fn verify(&mut self, now: MonoNs, mend: Mend) {
        let Some(segment) = self.segments.find(mend.at).map(|segment| segment.start) else { return };
        let (end, mut at) = (mend.written_end(), mend.at);
        let mut sound = Vec::new();
        while at < end
            && let Own::Sound(to) = self.parse_own(&mend.own, at)
        {
            sound.push(at);
            at = to;
        }
        if at < end || mend.own.has_hole(mend.own.from, mend.own.to) {
            let is_first = !self.damage.mends.rests.contains_key(&mend.place);
            if is_first {
                tracing::error!(log_offset = %mend.place.at, "what was mended is still damaged on the disk, or cannot be read: the disk may be at its end");
            }
            self.damage.mends.current = Some(mend);
            return self.rest_mend(now, false);
        }
        // Also what was taken for the beginning of a record and is none.
        sound.extend(self.damage.proven.range(mend.at..mend.to));
        for record in sound {
            self.damage.note_sound(record);
        }
        self.damage.mends.mended += mend.records;
        let (file, byte) = (FileName::Segment(segment), mend.at.since(segment));
        let (bytes, messages) = (mend.sound, mend.records);
        tracing::info!(%file, byte, bytes, messages, log_offset = %mend.at, "what was damaged was mended from a replica");
        let len = u32::try_from(mend.own.to.since(mend.own.from)).unwrap_or(u32::MAX);
        let block = BlockId { file, at: mend.own.from.since(segment), len };
        self.caches.log.note_read(block);
        // What is damaged goes on.
        if mend.end.is_none() && mend.to < self.mendable_to(mend.at) {
            self.begin_next(mend.to);
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
        let MendStep::Ready { at, data, before } = std::mem::replace(&mut mend.step, MendStep::Writing) else {
            return None;
        };
        self.damage.mends.spend(self.now.mono, data.len());
        Some(Work::Mend { file: FileName::Segment(segment), at: at.since(segment), data, before })
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
        mend.own = OwnBytes::new(block_of(mend.at), block_end(mend.written_end()));
        mend.step = MendStep::Verify;
        if let Err(error) = result {
            let is_first = !self.damage.mends.rests.contains_key(&mend.place);
            if is_first {
                tracing::error!(%file, byte = at, %error, "what is damaged could not be mended: its disk blocks were not written");
            }
            self.rest_mend(now, false);
        }
        self.read_for_mend(now);
    }
}
