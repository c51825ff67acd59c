//! The tables' files of a node: replaced by renames, or grown at their ends.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::random::Random;
use crate::broker::change_files::ChangeFiles;
use crate::broker::persist::{Append, FoundChanges, Table};
use crate::broker::snapshot::SnapshotWork;
use crate::protocol::body::{
    ChangesError, ConsumerOffsets, DelayOffsets, GroupTable, StoredTables, TopicTable, decode_changes,
};

/// What a loss of power takes or leaves as a whole.
const BLOCK_BYTES: usize = 64;

/// A file that grows, and how much of it is flushed.
#[derive(Clone, Debug, Default)]
struct Growing {
    bytes: Vec<u8>,
    flushed: usize,
}

impl Growing {
    fn write(&mut self, at: u64, bytes: &[u8], flush: bool) {
        let at = usize::try_from(at).expect("a made-up table is small");
        if at == 0 {
            *self = Growing::default();
        }
        assert_eq!(at, self.bytes.len(), "a file of changes grows at its end");
        self.bytes.extend_from_slice(bytes);
        if flush {
            self.flushed = self.bytes.len();
        }
    }
}

/// Those of one store.
#[derive(Clone, Debug)]
pub(crate) struct TableFiles {
    whole: BTreeMap<Table, Bytes>,
    unfinished: BTreeMap<Table, Growing>,
    changes: BTreeMap<u64, Growing>,
    /// Which files of changes there are, and how much of each is flushed; and how much of that a loss of power leaves.
    noted: ChangeFiles,
    noted_durably: ChangeFiles,
}

impl Default for TableFiles {
    fn default() -> Self {
        let (noted, noted_durably) = (ChangeFiles::of(&[]), ChangeFiles::of(&[]));
        let (whole, unfinished, changes) = Default::default();
        TableFiles { whole, unfinished, changes, noted, noted_durably }
    }
}

impl TableFiles {
    /// Appends to a file of changes.
    pub(crate) fn append(&mut self, append: &Append) {
        self.write(append);
        let file = self.changes.get(&append.number).expect("it was written");
        self.noted = self.noted.clone().with(append.number, file.flushed as u64);
        if append.at == 0 {
            self.noted_durably = self.noted.clone();
        }
    }

    fn write(&mut self, append: &Append) {
        self.changes.entry(append.number).or_default().write(append.at, &append.bytes, append.flush);
    }

    /// Carries out a step of a snapshot.
    pub(crate) fn work(&mut self, work: &SnapshotWork) {
        match work {
            SnapshotWork::Write { table, at, bytes, flush } => {
                self.unfinished.entry(*table).or_default().write(*at, bytes, *flush);
            }
            SnapshotWork::Finish { table, at, crc } => {
                let mut file = self.unfinished.remove(table).expect("it was written");
                assert_eq!(
                    (file.bytes.len() as u64, crc32fast::hash(&file.bytes)),
                    (*at, *crc),
                    "the proof of its content"
                );
                file.bytes.push(b'}');
                self.whole.insert(*table, file.bytes.into());
            }
            SnapshotWork::Forget(before) => {
                self.changes = self.changes.split_off(before);
                self.noted = self.noted.clone().from(*before);
                self.noted_durably = self.noted.clone();
            }
        }
    }

    /// An append fails, or is cut off: some of it is there.
    pub(crate) fn fail(&mut self, append: &Append, random: &mut Random) {
        self.write(append);
        let file = self.changes.entry(append.number).or_default();
        let at = usize::try_from(append.at).expect("a made-up table is small");
        file.flushed = file.flushed.min(at);
        let torn = at + usize::try_from(random.below(append.bytes.len() as u64 + 1)).expect("it is small");
        file.bytes.truncate(torn);
    }

    /// The process ends while `append` is under way, or the power goes.
    pub(crate) fn end(&mut self, append: Option<&Append>, loses_power: bool, random: &mut Random) {
        self.unfinished.clear();
        if let Some(append) = append {
            self.fail(append, random);
        }
        for file in self.changes.values_mut().filter(|_| loses_power) {
            let left = file.flushed as u64 + random.below((file.bytes.len() - file.flushed) as u64 + 1);
            file.bytes.truncate(usize::try_from(left).expect("it is small"));
            // Of what was not flushed any block may be missing.
            for block in file.bytes[file.flushed..].chunks_mut(BLOCK_BYTES).filter(|_| random.percent(30)) {
                block.fill(0);
            }
        }
        // The note of what was flushed is not flushed itself: it comes to the disk, or the one before does. No choice of its own, so that seeds stay what
        // they are.
        let is_even = self.changes.values().map(|file| file.bytes.len()).sum::<usize>().is_multiple_of(2);
        if loses_power && is_even {
            self.noted = self.noted_durably.clone();
        }
        for (number, file) in &mut self.changes {
            file.flushed = file.bytes.len();
            let decoded = decode_changes(&file.bytes, self.noted.flushed(*number));
            let (_, sound) = decoded.expect("a crash leaves what was flushed");
            self.noted = self.noted.clone().with(*number, sound as u64);
        }
    }

    /// Cuts the end of a file of changes, as no crash does, at any byte or where a line ends. Whether there was one.
    #[cfg(test)]
    pub(crate) fn cut(&mut self, random: &mut Random) -> bool {
        let numbers: Vec<u64> = self.changes.keys().copied().collect();
        if numbers.is_empty() {
            return false;
        }
        let file = self.changes.get_mut(&numbers[random.index(numbers.len())]).expect("it is there");
        let any = usize::try_from(random.below(file.bytes.len() as u64 + 1)).expect("it is small");
        let line = file.bytes[..any].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        file.bytes.truncate(if random.percent(50) { line } else { any });
        true
    }

    /// What a start finds.
    pub(crate) fn read(&self) -> (StoredTables, FoundChanges) {
        self.try_read().expect("a crash leaves at most a torn end")
    }

    /// The same where it may be refused.
    pub(crate) fn try_read(&self) -> Result<(StoredTables, FoundChanges), ChangesError> {
        let whole = |table| self.whole.get(&table);
        let mut stored = StoredTables {
            topics: whole(Table::Topics).map(|file| TopicTable::decode(file).expect("the file is whole")),
            groups: whole(Table::Groups).map(|file| GroupTable::decode(file).expect("the file is whole")),
            offsets: whole(Table::ConsumerOffsets)
                .map(|file| ConsumerOffsets::decode(file).expect("the file is whole")),
            delay_offsets: whole(Table::DelayOffsets)
                .map(|file| DelayOffsets::decode(file).expect("the file is whole")),
        };
        for (number, file) in &self.changes {
            let (changes, _) = decode_changes(&file.bytes, self.noted.flushed(*number))?;
            changes.into_iter().for_each(|change| stored.apply(change));
        }
        let next = self.changes.last_key_value().map_or(1, |(number, _)| number + 1);
        let bytes = self.changes.values().map(|file| file.bytes.len() as u64).sum();
        Ok((stored, FoundChanges { next, bytes, is_behind: false }))
    }

    /// Forgets all changes but those of the newest file: to see that the checks would notice.
    #[cfg(test)]
    pub(crate) fn forget_older(&mut self) {
        let newest = self.changes.keys().last().copied().unwrap_or_default();
        self.changes = self.changes.split_off(&newest);
    }

    /// Files that hold these, as a stop leaves them.
    pub(crate) fn of(tables: &StoredTables) -> TableFiles {
        let files = [
            (Table::Topics, tables.topics.as_ref().map(TopicTable::encode)),
            (Table::Groups, tables.groups.as_ref().map(GroupTable::encode)),
            (Table::ConsumerOffsets, tables.offsets.as_ref().map(ConsumerOffsets::encode)),
            (Table::DelayOffsets, tables.delay_offsets.as_ref().map(DelayOffsets::encode)),
        ];
        let whole = files.into_iter().filter_map(|(table, file)| Some((table, file?.into()))).collect();
        TableFiles { whole, ..TableFiles::default() }
    }
}
