//! The tables that outlive the process: topics, groups, consumer offsets, delay offsets.
//!
//! ```text
//! change ──▶ generation of its table ──▶ lines of `changes-N`, appended and flushed ──▶ persisted
//!                                                │ now and then, in pieces (`snapshot`)
//!                                                ▼
//!                             topics.json, ... written anew; `changes-M` with M < N are forgotten
//! ```
//!
//! What is written is what has changed, however large the tables are. One append is under way at a time; what changes meanwhile is in the next, so
//! a burst of changes costs two writes, not one each. A file of changes grows at its end only; after a write that failed nobody knows what its end
//! is, so that what was not flushed goes to the next file, as it is then: its names are kept until it is flushed ([`super::unwritten`]), not its
//! lines. A start reads the tables' files, then the changes, in the order of their numbers.

use bytes::Bytes;

use super::Broker;
use super::Effect;
use super::Output;
use super::Refusal;
use crate::limits::{CHANGES_UNFLUSHED_BYTES_MAX, OFFSETS_PER_APPEND_MAX, REMOVED_UNWRITTEN_MAX};
use crate::protocol::body::{TableChange, encode_flushed};
use crate::protocol::code::ResponseCode;

/// About as long as the first line of an append.
const FLUSHED_LINE_BYTES: usize = 40;

/// A table with a file of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Table {
    /// `topics.json`.
    Topics,
    /// `subscriptionGroup.json`.
    Groups,
    /// `consumerOffset.json`.
    ConsumerOffsets,
    /// `delayOffset.json`.
    DelayOffsets,
}

impl Table {
    /// How many there are.
    pub(crate) const COUNT: usize = 4;

    /// Every table.
    pub(crate) const ALL: [Table; Table::COUNT] =
        [Table::Topics, Table::Groups, Table::ConsumerOffsets, Table::DelayOffsets];

    /// The file's name, as RocketMQ calls it.
    #[must_use]
    pub(crate) const fn file_name(self) -> &'static str {
        match self {
            Table::Topics => "topics.json",
            Table::Groups => "subscriptionGroup.json",
            Table::ConsumerOffsets => "consumerOffset.json",
            Table::DelayOffsets => "delayOffset.json",
        }
    }

    const fn index(self) -> usize {
        match self {
            Table::Topics => 0,
            Table::Groups => 1,
            Table::ConsumerOffsets => 2,
            Table::DelayOffsets => 3,
        }
    }
}

/// Bytes to put at the end of a file of changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    /// The number of the file.
    pub number: u64,
    /// Where they go; 0: the file is made, or made anew.
    pub at: u64,
    /// Whole lines.
    pub bytes: Bytes,
    /// Whether they are to be on stable storage, with all before them and the file's name.
    pub flush: bool,
}

/// What was found of changes at the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FoundChanges {
    /// The number of the next file.
    pub next: u64,
    /// How long the files are that were found.
    pub bytes: u64,
    /// The tables have what neither they nor the files say: the last life could not write it.
    pub(crate) is_behind: bool,
}

/// How an append has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AppendEnd {
    /// All that was appended is on the disk.
    Flushed,
    /// It is on its way.
    Unflushed,
    /// Nothing is known of what was not flushed before.
    Failed,
}

/// What is written of which table.
#[derive(Debug, Default)]
pub(crate) struct Persistence {
    tables: [TableState; Table::COUNT],
    /// The file of changes that grows, and how far.
    number: u64,
    at: u64,
    /// How much of it is flushed.
    flushed_at: u64,
    /// The append under way: bytes, and whether they are flushed.
    under_way: Option<(u64, bool)>,
    /// Bytes that were appended and not flushed yet.
    unflushed_bytes: u64,
    /// The last append failed: it is tried again with the next tick, not at once.
    failed: bool,
    /// An append failed, and none was flushed since.
    is_stuck: bool,
    /// In files of changes, since the tables' own files were written.
    bytes: u64,
    /// As of [`FoundChanges::is_behind`].
    is_behind: bool,
}

#[derive(Debug, Default)]
struct TableState {
    /// Of the table in memory.
    generation: u64,
    /// Of the newest one whose changes are all on their way to the disk.
    writing: u64,
    /// Of the table on the disk.
    written: u64,
}

impl Persistence {
    /// Begins behind what was found.
    pub(super) fn load(&mut self, found: FoundChanges) {
        (self.number, self.bytes, self.is_behind) = (found.next, found.bytes, found.is_behind);
    }

    /// Notes a change and names the generation that holds it.
    pub(crate) fn change(&mut self, table: Table) -> u64 {
        let state = self.state(table);
        state.generation += 1;
        state.generation
    }

    /// The generation of the table in memory.
    pub(super) fn generation(&self, table: Table) -> u64 {
        self.tables[table.index()].generation
    }

    /// Whether an append may be put together now.
    pub(super) fn may_append(&self) -> bool {
        self.under_way.is_none() && !self.failed
    }

    /// Whether the table has changes that are not on their way.
    pub(super) fn is_due(&self, table: Table) -> bool {
        let state = &self.tables[table.index()];
        state.writing < state.generation
    }

    /// All of the table's changes are in the lines that are appended next.
    pub(super) fn include(&mut self, table: Table) {
        let state = self.state(table);
        state.writing = state.generation;
    }

    /// The next append. `None` if there is nothing.
    pub(super) fn begin_append(&mut self, lines: &[u8], flush: bool) -> Option<Append> {
        if lines.is_empty() {
            return None;
        }
        let mut bytes = Vec::with_capacity(lines.len().saturating_add(FLUSHED_LINE_BYTES));
        encode_flushed(self.flushed_at, &mut bytes);
        bytes.extend_from_slice(lines);
        let bytes = Bytes::from(bytes);
        let len = bytes.len() as u64;
        let flush = flush || self.unflushed_bytes.saturating_add(len) > CHANGES_UNFLUSHED_BYTES_MAX;
        self.under_way = Some((len, flush));
        Some(Append { number: self.number, at: self.at, bytes, flush })
    }

    /// The append under way has ended.
    pub(super) fn end_append(&mut self, ok: bool) -> AppendEnd {
        let Some((bytes, flush)) = self.under_way.take() else { return AppendEnd::Unflushed };
        if !ok {
            (self.failed, self.is_stuck) = (true, true);
            // Nobody knows what its end is. A file that has nothing of ours yet is made anew.
            self.number += u64::from(self.at > 0);
            (self.at, self.flushed_at, self.unflushed_bytes) = (0, 0, 0);
            for state in &mut self.tables {
                state.writing = state.written;
            }
            return AppendEnd::Failed;
        }
        self.at += bytes;
        self.bytes += bytes;
        self.unflushed_bytes += bytes;
        if !flush {
            return AppendEnd::Unflushed;
        }
        self.unflushed_bytes = 0;
        self.flushed_at = self.at;
        self.is_stuck = false;
        AppendEnd::Flushed
    }

    /// The generation of a table that is on the disk.
    pub(super) fn flushed(&self, table: Table) -> u64 {
        let state = &self.tables[table.index()];
        let is_flushed = self.under_way.is_none() && self.unflushed_bytes == 0;
        if is_flushed { state.writing } else { state.written }
    }

    /// What is on the disk by an append that was flushed: tables, and their generations.
    pub(super) fn take_written(&mut self) -> impl Iterator<Item = (Table, u64)> {
        let states = Table::ALL.into_iter().zip(&mut self.tables);
        states.filter(|(_, state)| state.written < state.writing).map(|(table, state)| {
            state.written = state.writing;
            (table, state.written)
        })
    }

    /// Begins a new file of changes, if all that was appended is flushed: what is in the tables now is in the older ones, or comes in this. Its number.
    pub(super) fn begin_file(&mut self) -> Option<u64> {
        if self.under_way.is_some() || self.unflushed_bytes > 0 || self.is_stuck {
            return None;
        }
        self.number += u64::from(self.at > 0);
        (self.at, self.flushed_at) = (0, 0);
        Some(self.number)
    }

    /// Bytes of changes that a start would read.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether the tables' own files are needed for what was changed before this life.
    pub(super) fn is_behind(&self) -> bool {
        self.is_behind
    }

    /// The tables' files were written; only the changes since the current file began are needed.
    pub(super) fn forget_files(&mut self) {
        self.bytes = self.at;
        self.is_behind = false;
    }

    /// Lets failed appends be tried again.
    pub(crate) fn retry_failed(&mut self) {
        self.failed = false;
    }

    fn state(&mut self, table: Table) -> &mut TableState {
        &mut self.tables[table.index()]
    }
}

impl Broker {
    /// What was to be written is on the disk, or is to be written again as it is by then.
    pub(super) fn settle_changes(&mut self, appended: AppendEnd) {
        match appended {
            AppendEnd::Unflushed => {}
            AppendEnd::Flushed => {
                self.topics.changed.is_flushed();
                self.groups.changed.is_flushed();
                self.offsets.are_flushed();
            }
            AppendEnd::Failed => {
                self.topics.changed.put_back();
                self.groups.changed.put_back();
                self.offsets.put_back();
            }
        }
    }

    /// Whether somebody may have something removed of the tables: what is gone waits for the disk by its name. A slave follows its master in any case.
    ///
    /// # Errors
    /// 1 if too much waits.
    pub(super) fn check_unwritten(&self) -> Result<(), Refusal> {
        let topics_gone = self.topics.changed.len().saturating_sub(self.topics.len());
        let groups_gone = self.groups.changed.len().saturating_sub(self.groups.all().len());
        let most = topics_gone.max(groups_gone).max(self.offsets.pairs_gone());
        if most < REMOVED_UNWRITTEN_MAX {
            return Ok(());
        }
        let remark = format!("{most} removals of topics or groups are not written yet: the disk takes none, make room");
        Err(Refusal::new(ResponseCode::SystemError, remark))
    }

    /// Appends what has changed, unless an append is under way.
    pub(super) fn write_changes(&mut self, out: &mut Output) {
        if !self.persistence.may_append() {
            return;
        }
        let mut lines = Vec::new();
        if self.persistence.is_due(Table::Topics) {
            self.persistence.include(Table::Topics);
            self.topics.take_changes().encode(&mut lines);
        }
        if self.persistence.is_due(Table::Groups) {
            self.persistence.include(Table::Groups);
            self.groups.take_changes().encode(&mut lines);
        }
        if self.persistence.is_due(Table::DelayOffsets) {
            self.persistence.include(Table::DelayOffsets);
            TableChange::DelayOffsets(self.delays.form()).encode(&mut lines);
        }
        let is_urgent = !lines.is_empty();
        let mut has_more = false;
        if self.persistence.is_due(Table::ConsumerOffsets) {
            let (change, is_all) = self.offsets.take_changes(OFFSETS_PER_APPEND_MAX);
            change.encode(&mut lines);
            has_more = !is_all;
            if is_all {
                self.persistence.include(Table::ConsumerOffsets);
            }
        }
        self.trail.push(&lines);
        // Of many offsets only the last part is flushed, unless somebody waits.
        if let Some(append) = self.persistence.begin_append(&lines, is_urgent || !has_more) {
            out.effects.push(Effect::Append(append));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn append(persistence: &mut Persistence, table: Table, line: &str, flush: bool) -> Append {
        assert!(persistence.may_append() && persistence.is_due(table));
        persistence.include(table);
        persistence.begin_append(line.as_bytes(), flush).expect("there is something")
    }

    /// What follows the first line, and how much that says was flushed.
    fn lines(append: &Append) -> (String, String) {
        let text = String::from_utf8(append.bytes.to_vec()).expect("text");
        let (first, lines) = text.split_once('\n').expect("lines");
        (first.split_once(' ').expect("a CRC").1.to_owned(), lines.to_owned())
    }

    fn flushed(bytes: u64) -> String {
        format!("{{\"flushed\":{bytes}}}")
    }

    fn written(persistence: &mut Persistence) -> Vec<(Table, u64)> {
        persistence.take_written().collect()
    }

    #[test]
    fn one_append_at_a_time_and_the_next_holds_all_changes() {
        let mut persistence = Persistence::default();
        assert!(!persistence.is_due(Table::Topics), "nothing changed");
        assert_eq!(persistence.begin_append(b"", true), None);
        assert_eq!(persistence.change(Table::Topics), 1);
        let first = append(&mut persistence, Table::Topics, "one\n", true);
        assert_eq!((first.number, first.at, lines(&first)), (0, 0, (flushed(0), "one\n".to_owned())));
        let one = first.bytes.len() as u64;
        assert_eq!(persistence.change(Table::Topics), 2);
        assert_eq!(persistence.change(Table::Topics), 3);
        assert!(!persistence.may_append(), "one is under way");
        assert_eq!(persistence.end_append(true), AppendEnd::Flushed);
        assert_eq!(written(&mut persistence), [(Table::Topics, 1)]);
        let second = append(&mut persistence, Table::Topics, "two\n", true);
        assert_eq!((second.number, second.at, lines(&second)), (0, one, (flushed(one), "two\n".to_owned())));
        assert_eq!(persistence.end_append(true), AppendEnd::Flushed);
        assert_eq!(written(&mut persistence), [(Table::Topics, 3)]);
        assert!(!persistence.is_due(Table::Topics));
    }

    #[test]
    fn what_is_not_flushed_goes_to_the_next_file_when_an_append_fails() {
        let mut persistence = Persistence::default();
        persistence.change(Table::Groups);
        let first = append(&mut persistence, Table::Groups, "flushed\n", true).bytes.len() as u64;
        assert_eq!(persistence.end_append(true), AppendEnd::Flushed);
        persistence.change(Table::ConsumerOffsets);
        let part = persistence.begin_append(b"part\n", false).expect("a part");
        assert_eq!((part.at, lines(&part)), (first, (flushed(first), "part\n".to_owned())));
        assert_eq!(persistence.end_append(true), AppendEnd::Unflushed);
        assert_eq!(persistence.begin_file(), None, "what is not flushed would be in none");
        assert_eq!(written(&mut persistence), [(Table::Groups, 1)]);
        let last = append(&mut persistence, Table::ConsumerOffsets, "last\n", true);
        let before = first + part.bytes.len() as u64;
        assert_eq!((last.at, lines(&last)), (before, (flushed(first), "last\n".to_owned())), "the part is not flushed");
        assert_eq!(persistence.end_append(false), AppendEnd::Failed);
        assert!(!persistence.may_append(), "with the next tick");
        assert_eq!(written(&mut persistence), [], "neither the part nor the last");
        persistence.retry_failed();
        let again = append(&mut persistence, Table::ConsumerOffsets, "part and last\n", true);
        assert_eq!((again.number, again.at), (1, 0));
        assert_eq!(lines(&again), (flushed(0), "part and last\n".to_owned()));
        assert_eq!(persistence.end_append(false), AppendEnd::Failed);
        assert_eq!(persistence.begin_file(), None, "what is not written would be in none");
        persistence.retry_failed();
        let again = append(&mut persistence, Table::ConsumerOffsets, "all\n", true);
        assert_eq!((again.number, again.at), (1, 0), "a file that has nothing yet is made anew");
        assert_eq!(persistence.end_append(true), AppendEnd::Flushed);
        assert_eq!(written(&mut persistence), [(Table::ConsumerOffsets, 1)]);
        assert_eq!((persistence.begin_file(), persistence.begin_file()), (Some(2), Some(2)));
    }

    #[test]
    fn many_parts_are_flushed_when_they_have_become_many_bytes() {
        let mut persistence = Persistence::default();
        let part = vec![b'x'; usize::try_from(CHANGES_UNFLUSHED_BYTES_MAX).expect("small") - 2 * FLUSHED_LINE_BYTES];
        assert_eq!(persistence.begin_append(&part, false).map(|append| append.flush), Some(false));
        persistence.end_append(true);
        let more = [b'x'; 2 * FLUSHED_LINE_BYTES];
        assert_eq!(persistence.begin_append(&more, false).map(|append| append.flush), Some(true));
    }
}
