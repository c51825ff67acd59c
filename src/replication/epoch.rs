//! The reigns of masters in one log: which of them appended which bytes, and where two logs part.
//!
//! State of the shard, kept in a file of its own: a line an epoch, oldest first, written before the first byte of the epoch is stored.
//! A log that is older than its file, or was copied from a Java master, has epoch 0 at its front.

use std::fmt::Write as _;

use thiserror::Error;

use crate::limits::EPOCHS_MAX;
use crate::model::{Epoch, LogOffset};

/// One reign: bytes from `start` on, until the next one's start, were appended under `epoch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEntry {
    /// Its number.
    pub epoch: Epoch,
    /// Its first byte.
    pub start: LogOffset,
}

/// All reigns of one log. Epochs and starts rise together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EpochTable {
    entries: Vec<EpochEntry>,
}

/// Why a table is not one.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum EpochError {
    /// An epoch or its start does not rise.
    #[error("epoch {epoch} from {start} does not follow epoch {last} from {last_start}")]
    OutOfOrder {
        /// The entry that does not fit.
        epoch: Epoch,
        /// Its start.
        start: LogOffset,
        /// The one before it.
        last: Epoch,
        /// Its start.
        last_start: LogOffset,
    },
    /// There are more than anyone keeps.
    #[error("{count} epochs, {EPOCHS_MAX} at most")]
    TooMany {
        /// How many.
        count: usize,
    },
    /// A line of the file cannot be read.
    #[error("line {line} is not an epoch and its start")]
    BadLine {
        /// Counted from 1.
        line: usize,
    },
}

impl EpochTable {
    /// The table of entries, oldest first.
    ///
    /// # Errors
    /// [`EpochError`] if they do not rise or are too many.
    pub fn new(entries: Vec<EpochEntry>) -> Result<EpochTable, EpochError> {
        let mut table = EpochTable::default();
        if entries.len() > EPOCHS_MAX {
            return Err(EpochError::TooMany { count: entries.len() });
        }
        for entry in entries {
            table.push(entry)?;
        }
        Ok(table)
    }

    /// The table of a log that has bytes and no table: epoch 0, as that of a Java master.
    #[must_use]
    pub(crate) fn unnumbered() -> EpochTable {
        EpochTable { entries: vec![EpochEntry { epoch: Epoch(0), start: LogOffset(0) }] }
    }

    /// All entries, oldest first.
    #[must_use]
    pub fn entries(&self) -> &[EpochEntry] {
        &self.entries
    }

    /// The newest entry.
    #[must_use]
    pub fn last(&self) -> Option<EpochEntry> {
        self.entries.last().copied()
    }

    /// The epoch of the next reign, if nobody else numbers them.
    #[must_use]
    pub(crate) fn next_epoch(&self) -> Epoch {
        let last = self.last().map_or(Epoch(0), |entry| entry.epoch);
        Epoch(last.0.checked_add(1).expect("no log has 2^31 masters"))
    }

    /// A master begins to reign over a log that ends at `end`. Returns its entry. A reign without a byte leaves no trace but its number.
    ///
    /// # Panics
    /// If `epoch` is not beyond all that are known: whoever gives it looks at them first.
    pub fn begin(&mut self, epoch: Epoch, end: LogOffset) -> EpochEntry {
        let next = self.next_epoch();
        assert!(epoch >= next, "epoch {epoch} was given to a log whose next one is {next}");
        let entry = EpochEntry { epoch, start: end };
        self.truncate(end);
        self.push_unchecked(entry);
        entry
    }

    /// Takes over an entry that a master has told.
    ///
    /// # Errors
    /// [`EpochError::OutOfOrder`] unless it is the newest entry or follows it.
    pub fn push(&mut self, entry: EpochEntry) -> Result<(), EpochError> {
        if let Some(last) = self.last() {
            if last == entry {
                return Ok(());
            }
            if entry.epoch <= last.epoch || entry.start <= last.start {
                let (epoch, start) = (entry.epoch, entry.start);
                return Err(EpochError::OutOfOrder { epoch, start, last: last.epoch, last_start: last.start });
            }
        }
        self.push_unchecked(entry);
        Ok(())
    }

    fn push_unchecked(&mut self, entry: EpochEntry) {
        if self.entries.len() >= EPOCHS_MAX {
            self.entries.remove(0);
        }
        self.entries.push(entry);
    }

    /// Forgets what begins at or beyond the log's new end.
    pub fn truncate(&mut self, end: LogOffset) {
        self.entries.retain(|entry| entry.start < end);
    }

    /// The epoch of the byte at `offset`, and where it ends if a later one begins. `None` below the first entry.
    #[must_use]
    pub fn at(&self, offset: LogOffset) -> Option<(EpochEntry, Option<LogOffset>)> {
        let next = self.entries.partition_point(|entry| entry.start <= offset);
        let entry = *self.entries.get(next.checked_sub(1)?)?;
        Some((entry, self.entries.get(next).map(|entry| entry.start)))
    }

    /// Up to where this log, which ends at `end`, is the same as the other: the end of their newest common epoch, in whichever it ends
    /// first. `None` if they share no epoch: then nothing is known to be the same.
    #[must_use]
    pub(crate) fn consistent_point(
        &self,
        end: LogOffset,
        other: &EpochTable,
        other_end: LogOffset,
    ) -> Option<LogOffset> {
        let common = self.entries.iter().rposition(|entry| other.entries.contains(entry))?;
        let entry = self.entries.get(common)?;
        let place = other.entries.iter().position(|known| known == entry)?;
        let end_in = |entries: &[EpochEntry], place: usize, end: LogOffset| {
            entries.get(place + 1).map_or(end, |next| next.start.min(end))
        };
        Some(end_in(&self.entries, common, end).min(end_in(&other.entries, place, other_end)))
    }

    /// The file's text.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = String::new();
        for entry in &self.entries {
            let _ = writeln!(text, "{} {}", entry.epoch, entry.start);
        }
        text
    }

    /// The table in a file's text.
    ///
    /// # Errors
    /// [`EpochError`].
    pub fn decode(text: &str) -> Result<EpochTable, EpochError> {
        let mut entries = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let bad = EpochError::BadLine { line: index + 1 };
            let (epoch, start) = line.split_once(' ').ok_or(bad)?;
            let (epoch, start) = (epoch.parse().map_err(|_| bad)?, start.parse().map_err(|_| bad)?);
            if epoch > i32::MAX.unsigned_abs() || start > i64::MAX.unsigned_abs() {
                return Err(bad);
            }
            entries.push(EpochEntry { epoch: Epoch(epoch), start: LogOffset(start) });
        }
        EpochTable::new(entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn table(entries: &[(u32, u64)]) -> EpochTable {
        let entries = entries.iter().map(|&(epoch, start)| EpochEntry { epoch: Epoch(epoch), start: LogOffset(start) });
        EpochTable::new(entries.collect()).expect("it rises")
    }

    #[test]
    fn each_master_begins_an_epoch_where_the_log_ends() {
        let mut epochs = EpochTable::default();
        let begin = |epochs: &mut EpochTable, end| epochs.begin(epochs.next_epoch(), LogOffset(end));
        assert_eq!(begin(&mut epochs, 0).epoch, Epoch(1));
        assert_eq!(epochs, table(&[(1, 0)]));
        begin(&mut epochs, 500);
        assert_eq!(epochs, table(&[(1, 0), (2, 500)]));
        // Nothing was appended: the number rises, and no two entries have one start.
        begin(&mut epochs, 500);
        assert_eq!(epochs, table(&[(1, 0), (3, 500)]));
        // A tail was lost: the epochs that lay in it are gone, but their numbers are not given again.
        begin(&mut epochs, 300);
        assert_eq!(epochs, table(&[(1, 0), (4, 300)]));
        // Whoever gives the shards their roles numbers reigns that this log has not seen.
        assert_eq!(epochs.begin(Epoch(9), LogOffset(400)).epoch, Epoch(9));
        assert_eq!(epochs, table(&[(1, 0), (4, 300), (9, 400)]));
    }

    #[test]
    fn two_logs_part_where_their_newest_common_epoch_ends_first() {
        let check = |own: &[(u32, u64)], end, other: &[(u32, u64)], other_end, expected: Option<u64>| {
            let point = table(own).consistent_point(LogOffset(end), &table(other), LogOffset(other_end));
            assert_eq!(point, expected.map(LogOffset), "{own:?} to {end}, {other:?} to {other_end}");
        };
        // Behind, in step, ahead.
        check(&[(1, 0)], 100, &[(1, 0)], 200, Some(100));
        check(&[(1, 0)], 200, &[(1, 0)], 200, Some(200));
        check(&[(1, 0)], 300, &[(1, 0)], 200, Some(200));
        // The master has begun anew with less than the slave has.
        check(&[(1, 0)], 300, &[(1, 0), (2, 250)], 900, Some(250));
        check(&[(1, 0), (2, 250)], 300, &[(1, 0), (3, 250)], 900, Some(250));
        // Each has had a reign of its own.
        check(&[(1, 0), (2, 100)], 300, &[(1, 0), (3, 150)], 900, Some(100));
        // Nothing in common.
        check(&[(1, 0)], 300, &[(1, 10)], 900, None);
        check(&[], 0, &[(1, 0)], 900, None);
        check(&[(5, 40)], 50, &[(5, 50), (6, 60)], 90, None);
    }

    #[test]
    fn an_offset_has_an_epoch() {
        let epochs = table(&[(1, 100), (4, 200)]);
        let at = |offset| epochs.at(LogOffset(offset)).map(|(entry, end)| (entry.epoch.0, end.map(|end| end.0)));
        assert_eq!(at(99), None);
        assert_eq!(at(100), Some((1, Some(200))));
        assert_eq!(at(199), Some((1, Some(200))));
        assert_eq!(at(200), Some((4, None)));
    }

    #[test]
    fn a_damaged_file_is_refused() {
        let check = |text: &str, expected| assert_eq!(EpochTable::decode(text), Err(expected), "{text:?}");
        check("1 0\n1 5\n", order(1, 5, 1, 0));
        check("1 5\n2 5\n", order(2, 5, 1, 5));
        check("1 0\n\n", EpochError::BadLine { line: 2 });
        check("1 0 7\n", EpochError::BadLine { line: 1 });
        check("-1 0\n", EpochError::BadLine { line: 1 });
        check("1 9223372036854775808\n", EpochError::BadLine { line: 1 });
        assert_eq!(EpochTable::decode(""), Ok(EpochTable::default()));
    }

    fn order(epoch: u32, start: u64, last: u32, last_start: u64) -> EpochError {
        let (start, last_start) = (LogOffset(start), LogOffset(last_start));
        EpochError::OutOfOrder { epoch: Epoch(epoch), start, last: Epoch(last), last_start }
    }

    /// A log as the epoch that wrote each of its bytes: the plain model.
    fn model(table: &EpochTable, end: u64) -> Vec<Option<EpochEntry>> {
        (0..end).map(|offset| table.at(LogOffset(offset)).map(|(entry, _)| entry)).collect()
    }

    proptest! {
        #[test]
        fn logs_with_a_common_history_agree_up_to_the_point(
            shared in prop::collection::vec(1_u64..20, 0..5),
            own in prop::collection::vec(1_u64..20, 0..4),
            other in prop::collection::vec(1_u64..20, 0..4),
        ) {
            // Masters take turns over one log, then over two copies of it; numbers are never given twice.
            let (mut table, mut end) = (EpochTable::default(), 0);
            for bytes in shared {
                table.begin(table.next_epoch(), LogOffset(end));
                end += bytes;
            }
            let mut number = table.last().map_or(0, |last| last.epoch.0);
            let mut go_on = |reigns: &[u64]| {
                let (mut table, mut end) = (table.clone(), end);
                for bytes in reigns {
                    number += 1;
                    table.push(EpochEntry { epoch: Epoch(number), start: LogOffset(end) }).expect("it rises");
                    end += bytes;
                }
                (table, end)
            };
            let ((a, a_end), (b, b_end)) = (go_on(&own), go_on(&other));
            let same = model(&a, a_end).iter().zip(model(&b, b_end)).take_while(|(a, b)| **a == *b).count() as u64;
            let point = a.consistent_point(LogOffset(a_end), &b, LogOffset(b_end)).map_or(0, |point| point.0);
            prop_assert_eq!(point, same);
            prop_assert_eq!(EpochTable::decode(&a.encode()), Ok(a));
        }
    }
}
