//! Which half messages have ended, and how far their notes need not be read again.
//!
//! State of the shard, in memory: what the notes in [`OP_TOPIC`](crate::protocol::message::OP_TOPIC) say, and what has ended since. A half message costs
//! a bit, in pieces of [`PIECE`] offsets that are there while something in them has ended and the checker has not passed them. What finds no room is
//! forgotten: the transaction is then asked about although it has ended.

use std::collections::{BTreeMap, VecDeque};

use crate::limits::{TRANSACTION_ENDED_PIECES_MAX, TRANSACTION_LATE_MAX, TRANSACTION_NOTES_MAX};
use crate::model::QueueOffset;

const WORDS: usize = 64;
/// Offsets of a piece: 512 bytes of bits.
const PIECE: u64 = 64 * WORDS as u64;

/// Ended half messages of a shard.
#[derive(Debug, Default)]
pub(super) struct EndedHalves {
    pieces: BTreeMap<u64, Box<[u64; WORDS]>>,
    /// Where the notes up to there end, and the half offset which the checker must pass before they are of no more use. Both ascend.
    notes: VecDeque<(QueueOffset, QueueOffset)>,
    /// Half messages that ended when the checker had passed them and a copy stood further behind: with the half offset behind which that copy
    /// does not stand.
    late: BTreeMap<QueueOffset, QueueOffset>,
    /// The same in the order in which they came.
    late_order: VecDeque<(QueueOffset, QueueOffset)>,
}

impl EndedHalves {
    /// A half message has ended. False if there is no room to remember it.
    pub(super) fn insert(&mut self, half: QueueOffset) -> bool {
        let (piece, bit) = (half.0 / PIECE, half.0 % PIECE);
        if !self.pieces.contains_key(&piece) && self.pieces.len() >= TRANSACTION_ENDED_PIECES_MAX {
            return false;
        }
        let words = self.pieces.entry(piece).or_insert_with(|| Box::new([0; WORDS]));
        if let Some(word) = usize::try_from(bit / 64).ok().and_then(|at| words.get_mut(at)) {
            *word |= 1 << (bit % 64);
        }
        true
    }

    pub(super) fn contains(&self, half: QueueOffset) -> bool {
        self.word(half.0) & (1 << (half.0 % 64)) != 0
    }

    fn word(&self, half: u64) -> u64 {
        let words = self.pieces.get(&(half / PIECE));
        let at = usize::try_from(half % PIECE / 64).ok();
        words.zip(at).and_then(|(words, at)| words.get(at)).copied().unwrap_or_default()
    }

    /// The first half message at or behind `from` that has not ended, at most `end`. It costs a step for 64 that have.
    pub(super) fn next_open(&self, from: QueueOffset, end: QueueOffset) -> QueueOffset {
        let mut at = from.0;
        while at < end.0 {
            let ended_from_here = (self.word(at) >> (at % 64)).trailing_ones();
            at = at.saturating_add(u64::from(ended_from_here));
            // A run that ends within its word ends at a message that is open.
            if !at.is_multiple_of(64) || ended_from_here == 0 {
                break;
            }
        }
        QueueOffset(at.min(end.0))
    }

    /// The checker has passed all below `half`.
    pub(super) fn forget_below(&mut self, half: QueueOffset) {
        while let Some(piece) = self.pieces.first_entry()
            && (*piece.key() + 1).saturating_mul(PIECE) <= half.0
        {
            piece.remove();
        }
        while let Some((until, late)) = self.late_order.front().copied()
            && until <= half
        {
            self.late_order.pop_front();
            if self.late.get(&late) == Some(&until) {
                self.late.remove(&late);
            }
        }
    }

    /// A note ends at `next` of its queue. It is of use until the checker has passed `half_end`.
    pub(super) fn note(&mut self, next: QueueOffset, half_end: QueueOffset) {
        let half_end = self.notes.back().map_or(half_end, |(_, before)| half_end.max(*before));
        let is_full = self.notes.len() >= TRANSACTION_NOTES_MAX;
        match self.notes.back_mut() {
            Some(last) if last.1 == half_end || is_full => *last = (next, half_end),
            _ => self.notes.push_back((next, half_end)),
        }
    }

    /// From where on notes must be read by who looks at half messages from `half` on, if that has moved.
    pub(super) fn pass_notes(&mut self, half: QueueOffset) -> Option<QueueOffset> {
        let mut passed = None;
        while let Some((next, half_end)) = self.notes.front().copied()
            && half_end <= half
        {
            self.notes.pop_front();
            passed = Some(next);
        }
        passed
    }

    /// A half message has ended whose copy stands before `until`. The oldest such make room.
    pub(super) fn insert_late(&mut self, half: QueueOffset, until: QueueOffset) {
        if self.late_order.len() >= TRANSACTION_LATE_MAX
            && let Some((_, oldest)) = self.late_order.pop_front()
        {
            self.late.remove(&oldest);
        }
        self.late.insert(half, until);
        self.late_order.push_back((until, half));
    }

    /// Whether that of which this half message is a copy has ended.
    pub(super) fn has_late(&self, half: QueueOffset) -> bool {
        self.late.contains_key(&half)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offsets: &[u64]) -> Vec<QueueOffset> {
        offsets.iter().copied().map(QueueOffset).collect()
    }

    #[test]
    fn what_has_ended_is_passed_over_in_whole_runs() {
        let mut ended = EndedHalves::default();
        for half in (0..10_000).filter(|half| ![3, 63, 64, 4095, 4096, 9_999].contains(half)) {
            assert!(ended.insert(QueueOffset(half)));
        }
        let mut open = Vec::new();
        let mut from = QueueOffset(0);
        loop {
            from = ended.next_open(from, QueueOffset(10_002));
            if from == QueueOffset(10_002) {
                break;
            }
            open.push(from);
            from = from.plus(1);
        }
        assert_eq!(open, at(&[3, 63, 64, 4095, 4096, 9_999, 10_000, 10_001]));
        assert_eq!(ended.next_open(QueueOffset(65), QueueOffset(100)), QueueOffset(100), "no further than the end");
        assert!(ended.contains(QueueOffset(65)) && !ended.contains(QueueOffset(64)));
        ended.forget_below(QueueOffset(4096));
        assert!(!ended.contains(QueueOffset(65)) && ended.contains(QueueOffset(4097)));
        assert_eq!(ended.pieces.len(), 2);
    }

    #[test]
    fn what_is_remembered_has_a_bound() {
        let mut ended = EndedHalves::default();
        for piece in 0..TRANSACTION_ENDED_PIECES_MAX as u64 {
            assert!(ended.insert(QueueOffset(piece * PIECE)));
        }
        let beyond = QueueOffset(TRANSACTION_ENDED_PIECES_MAX as u64 * PIECE);
        assert!(!ended.insert(beyond) && !ended.contains(beyond));
        assert!(ended.insert(QueueOffset(1)), "what has a piece has room");
        ended.forget_below(QueueOffset(PIECE));
        assert!(ended.insert(beyond));
        for half in 0..=TRANSACTION_LATE_MAX as u64 {
            ended.insert_late(QueueOffset(half), QueueOffset(half + 5));
        }
        assert_eq!(
            (ended.late.len(), ended.has_late(QueueOffset(0))),
            (TRANSACTION_LATE_MAX, false),
            "the oldest made room"
        );
        for note in 1..=2 * TRANSACTION_NOTES_MAX as u64 {
            ended.note(QueueOffset(note), QueueOffset(note));
        }
        assert_eq!(ended.notes.len(), TRANSACTION_NOTES_MAX);
        let last = QueueOffset(2 * TRANSACTION_NOTES_MAX as u64);
        assert_eq!(ended.pass_notes(QueueOffset(last.0 - 1)), Some(QueueOffset(TRANSACTION_NOTES_MAX as u64 - 1)));
        assert_eq!(ended.pass_notes(last), Some(last), "nothing is passed too early, and in the end all");
    }

    #[test]
    fn notes_are_passed_when_all_that_they_name_was() {
        let mut ended = EndedHalves::default();
        ended.note(QueueOffset(1), QueueOffset(10));
        ended.note(QueueOffset(2), QueueOffset(4));
        ended.note(QueueOffset(3), QueueOffset(12));
        assert_eq!(ended.pass_notes(QueueOffset(9)), None);
        assert_eq!(ended.pass_notes(QueueOffset(11)), Some(QueueOffset(2)), "the second is behind the first");
        assert_eq!(ended.pass_notes(QueueOffset(12)), Some(QueueOffset(3)));
        assert_eq!(ended.pass_notes(QueueOffset(99)), None);
    }

    #[test]
    fn a_late_end_is_known_until_its_copy_was_passed() {
        let mut ended = EndedHalves::default();
        ended.insert_late(QueueOffset(3), QueueOffset(20));
        ended.insert_late(QueueOffset(4), QueueOffset(21));
        ended.insert_late(QueueOffset(3), QueueOffset(22));
        ended.forget_below(QueueOffset(20));
        assert!(ended.has_late(QueueOffset(3)), "it ended again meanwhile");
        ended.forget_below(QueueOffset(21));
        assert!(ended.has_late(QueueOffset(3)) && !ended.has_late(QueueOffset(4)));
        ended.forget_below(QueueOffset(22));
        assert!(!ended.has_late(QueueOffset(3)) && ended.late_order.is_empty());
    }
}
