//! The tables that outlive the process, each one file: topics, groups, consumer offsets, delay offsets.
//!
//! A change makes a new generation of its table. One write of a table is under way at a time; what changes meanwhile is in the
//! next, so a burst of changes costs two writes, not one each.

/// A table with a file of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
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
    pub const COUNT: usize = 4;

    /// Every table.
    pub const ALL: [Table; Table::COUNT] = [Table::Topics, Table::Groups, Table::ConsumerOffsets, Table::DelayOffsets];

    /// The file's name, as RocketMQ calls it.
    #[must_use]
    pub const fn file_name(self) -> &'static str {
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

/// What is written of which table.
#[derive(Debug, Default)]
pub(crate) struct Persistence {
    tables: [TableState; Table::COUNT],
}

#[derive(Debug, Default)]
struct TableState {
    /// Of the table in memory.
    generation: u64,
    /// Of the table on its way to the disk.
    writing: Option<u64>,
    /// Of the table on the disk.
    written: u64,
    /// The last write failed: it is tried again with the next tick, not at once.
    failed: bool,
}

impl Persistence {
    /// Notes a change and names the generation that holds it.
    pub(crate) fn change(&mut self, table: Table) -> u64 {
        let state = self.state(table);
        state.generation += 1;
        state.generation
    }

    /// Whether the table is to be written now; if so, its write counts as under way.
    pub(crate) fn start_write(&mut self, table: Table) -> bool {
        let state = self.state(table);
        let is_due = state.writing.is_none() && state.written < state.generation && !state.failed;
        if is_due {
            state.writing = Some(state.generation);
        }
        is_due
    }

    /// The write under way has ended. Returns the generation that is now on the disk.
    pub(crate) fn end_write(&mut self, table: Table, ok: bool) -> Option<u64> {
        let state = self.state(table);
        let generation = state.writing.take()?;
        if ok {
            state.written = generation;
        } else {
            state.failed = true;
        }
        ok.then_some(generation)
    }

    /// Lets failed writes be tried again.
    pub(crate) fn retry_failed(&mut self) {
        for state in &mut self.tables {
            state.failed = false;
        }
    }

    fn state(&mut self, table: Table) -> &mut TableState {
        &mut self.tables[table.index()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_write_at_a_time_and_the_next_holds_all_changes() {
        let mut persistence = Persistence::default();
        assert!(!persistence.start_write(Table::Topics), "nothing changed");
        assert_eq!(persistence.change(Table::Topics), 1);
        assert!(persistence.start_write(Table::Topics));
        assert_eq!(persistence.change(Table::Topics), 2);
        assert_eq!(persistence.change(Table::Topics), 3);
        assert!(!persistence.start_write(Table::Topics), "one is under way");
        assert_eq!(persistence.end_write(Table::Topics, true), Some(1));
        assert!(persistence.start_write(Table::Topics));
        assert_eq!(persistence.end_write(Table::Topics, true), Some(3));
        assert!(!persistence.start_write(Table::Topics));
    }

    #[test]
    fn a_failed_write_is_tried_again_later() {
        let mut persistence = Persistence::default();
        persistence.change(Table::Groups);
        assert!(persistence.start_write(Table::Groups));
        assert_eq!(persistence.end_write(Table::Groups, false), None);
        assert!(!persistence.start_write(Table::Groups));
        persistence.retry_failed();
        assert!(persistence.start_write(Table::Groups));
        assert_eq!(persistence.end_write(Table::Groups, true), Some(1));
    }
}
