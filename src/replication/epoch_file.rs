//! The epochs of one log with their file: what is known of it, and what it holds already.
//!
//! The bytes of an epoch are stored when the epoch is, so that after an end no byte lies in an epoch that nobody knows. Who calls what:
//! [`EpochFile::adopt`] changes the table, [`EpochFile::poll_write`] says what is to be written, [`EpochFile::handle_written`] how it went.
//! At most one write is under way.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use super::epoch::{EpochEntry, EpochError, EpochTable, Holders};
use crate::limits::NO_SPACE_RETRY_MS;
use crate::model::{BrokerId, LogId, LogOffset, MonoNs};

/// A table and its file. State of the shard.
#[derive(Debug)]
pub struct EpochFile {
    table: EpochTable,
    /// Generations of the table: the newest, and that in the file.
    wanted: u64,
    written: u64,
    is_writing: bool,
    /// Whether the file does not have the newest slaves in sync, or where the master is, for which nobody waits.
    is_behind: bool,
    /// Set when the last write has failed: when it is tried again.
    retry_at: Option<MonoNs>,
}

impl EpochFile {
    /// The table as the file holds it.
    #[must_use]
    pub fn new(table: EpochTable) -> EpochFile {
        EpochFile { table, wanted: 0, written: 0, is_writing: false, is_behind: false, retry_at: None }
    }

    /// What the file has, or will have once it is written.
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

    /// These slaves are in sync. The file has it in a moment: nobody waits for that.
    pub(crate) fn note_in_sync(&mut self, slaves: BTreeSet<BrokerId>) {
        self.is_behind |= self.table.note_in_sync(slaves);
    }

    /// These slaves have what this log has lost, and somebody has to decide; none: it is decided. The file has it in a moment.
    pub(crate) fn note_ahead(&mut self, slaves: BTreeSet<BrokerId>) {
        self.is_behind |= self.table.note_ahead(slaves);
    }

    /// These have the log. The file has it in a moment.
    pub(crate) fn note_holders(&mut self, holders: &Holders) {
        self.is_behind |= self.table.note_holders(holders);
    }

    /// A master goes on with a log that was a copy. The file has it in a moment.
    pub(crate) fn end_copy(&mut self) {
        self.is_behind |= self.table.note_copy(false);
    }

    /// A master is followed, and was found there. The file has it in a moment.
    pub(crate) fn note_followed(&mut self, master: Option<SocketAddr>) {
        self.is_behind |= master.is_some_and(|master| self.table.note_followed(master));
    }

    /// Forgets what begins at or beyond the log's end: the reign of a master that appended nothing. The file may keep it, since a start forgets
    /// it as well.
    pub fn truncate(&mut self, end: LogOffset) {
        self.table.truncate(end);
    }

    /// Forgets everything: the log holds nothing, and begins as a master's, `log`, wherever that does. The file has it with the first epoch.
    pub(crate) fn clear(&mut self, log: LogId) {
        self.table = self.table.cleared(log);
    }

    /// The log proves to be this one; if it had no name until now, it is to be written.
    pub(crate) fn name(&mut self, log: LogId) {
        if !self.table.log().is_known() && log.is_known() {
            self.table.name(log);
            self.wanted += 1;
        }
    }

    /// The file's text, if it is to be written now, and its generation; then [`EpochFile::handle_written`].
    pub(crate) fn poll_write(&mut self, now: MonoNs) -> Option<(u64, String)> {
        let is_due = self.is_behind || !self.is_current();
        if !is_due || self.is_writing || self.retry_at.is_some_and(|at| at > now) {
            return None;
        }
        (self.is_writing, self.is_behind) = (true, false);
        Some((self.wanted, self.table.encode()))
    }

    /// The write of a generation has ended. Returns whether it has failed after one that had not: a disk may be full for long, which is said once.
    pub(crate) fn handle_written(&mut self, now: MonoNs, generation: u64, is_ok: bool) -> bool {
        assert!(self.is_writing, "generation {generation} of the epochs was written, and nobody has asked for it");
        self.is_writing = false;
        if !is_ok {
            self.is_behind = true;
            return self.retry_at.replace(now.plus_ms(NO_SPACE_RETRY_MS)).is_none();
        }
        assert!(
            self.written <= generation && generation <= self.wanted,
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
    use crate::model::{Epoch, ReignId};

    #[test]
    fn who_is_in_sync_is_written_and_waited_for_by_nobody() {
        let (now, mut file) = (MonoNs(0), EpochFile::new(EpochTable::default()));
        file.note_in_sync(BTreeSet::new());
        assert_eq!(file.poll_write(now), None, "nobody was and nobody is");
        file.note_in_sync(BTreeSet::from([BrokerId(3), BrokerId(4)]));
        let (generation, text) = file.poll_write(now).expect("it is news");
        assert_eq!(text, "log unknown\nin-sync 3,4\n");
        assert!(file.is_current() && file.poll_write(now).is_none(), "one at a time");
        assert!(file.handle_written(now, generation, false));
        let later = now.plus_ms(NO_SPACE_RETRY_MS);
        assert_eq!(file.poll_write(later), Some((generation, text)), "it was not written");
        assert!(!file.handle_written(later, generation, true) && file.poll_write(later).is_none());
    }

    #[test]
    fn one_write_is_under_way_and_the_newest_follows() {
        let entry = |epoch, start| EpochEntry { epoch: Epoch(epoch), start: LogOffset(start), id: ReignId(0) };
        let (now, later) = (MonoNs(0), MonoNs(0).plus_ms(NO_SPACE_RETRY_MS));
        let mut file = EpochFile::new(EpochTable::default());
        assert!(file.is_current() && file.poll_write(now).is_none());
        file.adopt(entry(1, 0)).expect("the first");
        file.adopt(entry(1, 0)).expect("the same");
        assert_eq!(file.poll_write(now), Some((1, "log unknown\n1 0 unknown\n".to_owned())));
        file.adopt(entry(2, 50)).expect("it follows");
        assert!(file.adopt(entry(2, 40)).is_err());
        assert_eq!(file.poll_write(now), None, "one at a time");
        assert!(file.handle_written(now, 1, false) && !file.is_current());
        assert_eq!(file.poll_write(now), None, "the disk is given time");
        assert_eq!(file.poll_write(later), Some((2, "log unknown\n1 0 unknown\n2 50 unknown\n".to_owned())));
        assert!(!file.handle_written(later, 2, false), "it was said");
        let later = later.plus_ms(NO_SPACE_RETRY_MS);
        assert!(file.poll_write(later).is_some());
        assert!(!file.handle_written(later, 2, true) && file.is_current());
    }
}
