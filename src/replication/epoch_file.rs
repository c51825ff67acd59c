//! The epochs of one log with their file: what is known of it, and what it holds already.
//!
//! The bytes of an epoch are stored when the epoch is, so that after an end no byte lies in an epoch that nobody knows. Who calls what:
//! [`EpochFile::adopt`] changes the table, [`EpochFile::poll_write`] says what is to be written, [`EpochFile::handle_written`] how it went.
//! At most one write is under way.

use super::epoch::{EpochEntry, EpochError, EpochTable};
use crate::limits::NO_SPACE_RETRY_MS;
use crate::model::{LogOffset, MonoNs};

/// A table and its file. State of the shard.
#[derive(Debug)]
pub struct EpochFile {
    table: EpochTable,
    /// Generations of the table: the newest, and that in the file.
    wanted: u64,
    written: u64,
    is_writing: bool,
    /// Set when the last write has failed: when it is tried again.
    retry_at: Option<MonoNs>,
}

impl EpochFile {
    /// The table as the file holds it.
    #[must_use]
    pub fn new(table: EpochTable) -> EpochFile {
        EpochFile { table, wanted: 0, written: 0, is_writing: false, retry_at: None }
    }

    /// The epochs.
    #[must_use]
    pub fn table(&self) -> &EpochTable {
        &self.table
    }

    /// Whether the file holds all epochs.
    #[must_use]
    pub(crate) fn is_current(&self) -> bool {
        self.wanted == self.written
    }

    /// Takes over the epoch of a master's bytes; a new one is to be written.
    ///
    /// # Errors
    /// [`EpochError::OutOfOrder`] unless it is the newest epoch or follows it.
    pub(crate) fn adopt(&mut self, entry: EpochEntry) -> Result<(), EpochError> {
        if self.table.last() != Some(entry) {
            self.table.push(entry)?;
            self.wanted += 1;
        }
        Ok(())
    }

    /// Forgets what begins at or beyond the log's end: the reign of a master that appended nothing. The file may keep it, since a start forgets
    /// it as well.
    pub fn truncate(&mut self, end: LogOffset) {
        self.table.truncate(end);
    }

    /// Forgets everything: the log holds nothing, and begins wherever a master's does.
    pub fn clear(&mut self) {
        self.table = EpochTable::default();
    }

    /// The file's text, if it is to be written now, and its generation; then [`EpochFile::handle_written`].
    pub(crate) fn poll_write(&mut self, now: MonoNs) -> Option<(u64, String)> {
        if self.is_current() || self.is_writing || self.retry_at.is_some_and(|at| at > now) {
            return None;
        }
        self.is_writing = true;
        Some((self.wanted, self.table.encode()))
    }

    /// The write of a generation has ended. Returns whether it has failed after one that had not: a disk may be full for long, which is said once.
    pub(crate) fn handle_written(&mut self, now: MonoNs, generation: u64, is_ok: bool) -> bool {
        assert!(self.is_writing, "generation {generation} of the epochs was written, and nobody has asked for it");
        self.is_writing = false;
        if !is_ok {
            return self.retry_at.replace(now.plus_ms(NO_SPACE_RETRY_MS)).is_none();
        }
        assert!(
            self.written < generation && generation <= self.wanted,
            "generation {generation} of the epochs was written, after {} and of {}",
            self.written,
            self.wanted
        );
        (self.written, self.retry_at) = (generation, None);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Epoch;

    #[test]
    fn one_write_is_under_way_and_the_newest_follows() {
        let entry = |epoch, start| EpochEntry { epoch: Epoch(epoch), start: LogOffset(start) };
        let (now, later) = (MonoNs(0), MonoNs(0).plus_ms(NO_SPACE_RETRY_MS));
        let mut file = EpochFile::new(EpochTable::default());
        assert!(file.is_current() && file.poll_write(now).is_none());
        file.adopt(entry(1, 0)).expect("the first");
        file.adopt(entry(1, 0)).expect("the same");
        assert_eq!(file.poll_write(now), Some((1, "1 0\n".to_owned())));
        file.adopt(entry(2, 50)).expect("it follows");
        assert!(file.adopt(entry(2, 40)).is_err());
        assert_eq!(file.poll_write(now), None, "one at a time");
        assert!(file.handle_written(now, 1, false) && !file.is_current());
        assert_eq!(file.poll_write(now), None, "the disk is given time");
        assert_eq!(file.poll_write(later), Some((2, "1 0\n2 50\n".to_owned())));
        assert!(!file.handle_written(later, 2, false), "it was said");
        let later = later.plus_ms(NO_SPACE_RETRY_MS);
        assert!(file.poll_write(later).is_some());
        assert!(!file.handle_written(later, 2, true) && file.is_current());
    }
}
