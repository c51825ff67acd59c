//! The tables' own files, written anew now and then, so that a start has few changes to read, and people find them as RocketMQ has them.
//!
//! A table is written in pieces, each a moment's work, while it changes: what a piece missed is in the changes since the snapshot began. The four
//! files are replaced one after the other; when the last one is there, older files of changes are removed. Small tables are written soon after they
//! change, larger ones when the changes have become as many bytes: what that costs follows what has changed.

use std::ops::Bound;

use bytes::Bytes;

use super::Broker;
use super::persist::Table;
use crate::limits::{SNAPSHOT_FLUSH_BYTES, SNAPSHOT_PART_ENTRIES, SNAPSHOT_SMALL_BYTES};
use crate::log::IoError;
use crate::model::{MonoNs, Now};
use crate::protocol::body::{ConsumerOffsets, GroupTable, TableFrame, TablePlace, TopicTable};

/// Between the end of a snapshot and the next one. RocketMQ writes its tables as often (`flushConsumerOffsetInterval`).
const SNAPSHOT_PAUSE_MS: u64 = 5_000;

/// Tables that have changed are not older than this in their files, however large they are: people look at them, and copy them.
const SNAPSHOT_AGE_MS: u64 = 600_000;

/// A table's CRC stands where its last brace would.
const LAST_BRACE: usize = 1;

/// A step of a snapshot, for the shell to carry out; then [`Broker::handle_snapshot`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SnapshotWork {
    /// Write to the file that is to take the place of the table's.
    Write {
        /// Whose.
        table: Table,
        /// Where; 0: it is made anew.
        at: u64,
        bytes: Bytes,
        /// Whether to flush it, so that the flush at the end is not a long one.
        flush: bool,
    },
    /// End it with its CRC, flush it, and let it take the place, durably.
    Finish {
        /// Whose.
        table: Table,
        /// How long it is, but for its last brace.
        at: u64,
        /// The CRC-32 of that.
        crc: u32,
    },
    /// Remove the files of changes before this number, the oldest first.
    Forget(u64),
}

/// Snapshots of a shard's tables.
#[derive(Debug, Default)]
pub(super) struct Snapshots {
    running: Option<Running>,
    /// Whether a step is under way.
    is_busy: bool,
    /// When the last one ended, well or not.
    ended: MonoNs,
    /// How long the files of the last one are.
    bytes: u64,
}

#[derive(Debug)]
struct Running {
    /// The file of changes that began with it.
    from: u64,
    /// How long the files are so far.
    bytes: u64,
    step: SnapshotStep,
}

#[derive(Debug)]
enum SnapshotStep {
    TablePart(TablePart),
    /// The delay offsets, which are few.
    Delays,
    Finish {
        table: Table,
        at: u64,
        crc: u32,
    },
    Forget,
}

/// A table that is being written.
#[derive(Debug)]
struct TablePart {
    behind: TablePlace,
    /// Where the next piece goes.
    at: u64,
    /// Of it, what was not flushed.
    unflushed: u64,
    frame: TableFrame,
    has_entries: bool,
    /// Of what was written.
    crc: crc32fast::Hasher,
}

/// Names behind one up to another, as a range of a table in their order.
pub(super) fn names_between<'n, N>(behind: Option<&'n N>, until: Option<&'n N>) -> (Bound<&'n N>, Bound<&'n N>) {
    (behind.map_or(Bound::Unbounded, Bound::Excluded), until.map_or(Bound::Unbounded, Bound::Included))
}

impl Broker {
    /// The next step of a snapshot, if one is due. One at a time.
    pub(crate) fn poll_snapshot(&mut self, now: Now) -> Option<SnapshotWork> {
        if self.snapshots.is_busy {
            return None;
        }
        if self.snapshots.running.is_none() {
            if !self.is_snapshot_due(now.mono) {
                return None;
            }
            let from = self.persistence.begin_file()?;
            let step = SnapshotStep::TablePart(self.begin_part(TablePlace::FIRST));
            self.snapshots.running = Some(Running { from, bytes: 0, step });
        }
        let mut running = self.snapshots.running.take()?;
        let (work, next) = match running.step {
            SnapshotStep::TablePart(part) => {
                let (work, next, bytes) = self.next_piece(part);
                running.bytes += bytes;
                (work, next)
            }
            SnapshotStep::Delays => {
                let mut bytes = self.delays.form().encode();
                bytes.truncate(bytes.len().saturating_sub(LAST_BRACE));
                let (table, at, crc) = (Table::DelayOffsets, bytes.len() as u64, crc32fast::hash(&bytes));
                running.bytes += at;
                let write = SnapshotWork::Write { table, at: 0, bytes: bytes.into(), flush: false };
                (write, SnapshotStep::Finish { table, at, crc })
            }
            SnapshotStep::Finish { table, at, crc } => {
                (SnapshotWork::Finish { table, at, crc }, self.step_after(table))
            }
            SnapshotStep::Forget => (SnapshotWork::Forget(running.from), SnapshotStep::Forget),
        };
        running.step = next;
        self.snapshots.running = Some(running);
        self.snapshots.is_busy = true;
        Some(work)
    }

    /// A step of a snapshot has ended.
    pub(crate) fn handle_snapshot(&mut self, now: Now, work: &SnapshotWork, result: Result<(), IoError>) {
        self.snapshots.is_busy = false;
        match (result, work) {
            (Err(error), _) => {
                tracing::warn!(%error, "the files of the tables were not written; it is tried again");
                self.snapshots.running = None;
                self.snapshots.ended = now.mono;
            }
            (Ok(()), SnapshotWork::Forget(_)) => {
                self.snapshots.bytes = self.snapshots.running.take().map_or(0, |ended| ended.bytes);
                self.snapshots.ended = now.mono;
                self.persistence.forget_files();
            }
            (Ok(()), _) => {}
        }
    }

    fn is_snapshot_due(&self, now: MonoNs) -> bool {
        let (changes, written) = (self.persistence.bytes(), self.snapshots.bytes);
        let age_ms = now.ms_since(self.snapshots.ended);
        let is_worth_it = written < SNAPSHOT_SMALL_BYTES || changes >= written || age_ms >= SNAPSHOT_AGE_MS;
        (changes > 0 && is_worth_it || self.persistence.is_behind()) && age_ms >= SNAPSHOT_PAUSE_MS
    }

    fn begin_part(&self, behind: TablePlace) -> TablePart {
        let frame = match behind {
            TablePlace::Topics(_) => {
                TableFrame::of_topics(&TopicTable { version: self.topics.version, ..Default::default() })
            }
            TablePlace::Groups(_) => TableFrame::of_groups(&self.groups.frame()),
            TablePlace::Offsets(_) | TablePlace::Delays => TableFrame::of_offsets(&self.offsets.frame()),
        };
        TablePart { behind, at: 0, unflushed: 0, frame, has_entries: false, crc: crc32fast::Hasher::new() }
    }

    fn step_after(&self, table: Table) -> SnapshotStep {
        match table {
            Table::Topics => SnapshotStep::TablePart(self.begin_part(TablePlace::Groups(None))),
            Table::Groups => SnapshotStep::TablePart(self.begin_part(TablePlace::Offsets(None))),
            Table::ConsumerOffsets => SnapshotStep::Delays,
            Table::DelayOffsets => SnapshotStep::Forget,
        }
    }

    /// The next piece of a table, what comes then, and how long the piece is.
    fn next_piece(&self, mut part: TablePart) -> (SnapshotWork, SnapshotStep, u64) {
        let table = match part.behind {
            TablePlace::Topics(_) => Table::Topics,
            TablePlace::Groups(_) => Table::Groups,
            TablePlace::Offsets(_) | TablePlace::Delays => Table::ConsumerOffsets,
        };
        let (entries, next) = self.written_part(&part.behind);
        let mut bytes = Vec::new();
        if part.at == 0 {
            bytes.extend_from_slice(part.frame.head());
        }
        if !entries.is_empty() {
            if std::mem::replace(&mut part.has_entries, true) {
                bytes.push(b',');
            }
            bytes.extend_from_slice(&entries);
        }
        if next.is_none() {
            bytes.extend_from_slice(part.frame.tail());
            bytes.truncate(bytes.len().saturating_sub(LAST_BRACE));
        }
        part.crc.update(&bytes);
        let len = bytes.len() as u64;
        part.unflushed += len;
        let flush = part.unflushed >= SNAPSHOT_FLUSH_BYTES;
        let work = SnapshotWork::Write { table, at: part.at, bytes: bytes.into(), flush };
        let next = match next {
            Some(behind) => {
                let unflushed = if flush { 0 } else { part.unflushed };
                SnapshotStep::TablePart(TablePart { behind, at: part.at + len, unflushed, ..part })
            }
            None => SnapshotStep::Finish { table, at: part.at + len, crc: part.crc.clone().finalize() },
        };
        (work, next, len)
    }

    /// Some entries of a table as its file has them, and from where on there is more of it. There is none of the delay offsets, which are few.
    pub(super) fn written_part(&self, behind: &TablePlace) -> (Vec<u8>, Option<TablePlace>) {
        match behind {
            TablePlace::Topics(name) => {
                let (part, next) = self.topics.part(name.as_ref(), SNAPSHOT_PART_ENTRIES);
                let frame = TableFrame::of_topics(&TopicTable { version: part.version, ..Default::default() });
                (frame.entries(&part.encode()).to_vec(), next.map(|name| TablePlace::Topics(Some(name))))
            }
            TablePlace::Groups(name) => {
                let (part, next) = self.groups.part(name.as_ref(), SNAPSHOT_PART_ENTRIES);
                // What a group may not do stands in the frame, with its file's.
                let part = GroupTable { groups: part.groups, ..GroupTable::default() };
                let frame = TableFrame::of_groups(&GroupTable::default());
                (frame.entries(&part.encode()).to_vec(), next.map(|name| TablePlace::Groups(Some(name))))
            }
            TablePlace::Offsets(pair) => {
                let (part, next) = self.offsets.part(pair.as_ref(), SNAPSHOT_PART_ENTRIES);
                let part = ConsumerOffsets { offsets: part.offsets, ..ConsumerOffsets::default() };
                let frame = TableFrame::of_offsets(&ConsumerOffsets::default());
                (frame.entries(&part.encode()).to_vec(), next.map(|pair| TablePlace::Offsets(Some(pair))))
            }
            TablePlace::Delays => (Vec::new(), None),
        }
    }
}
