//! The reigns of masters in one log: which of them appended which bytes, and where two logs part.
//!
//! State of the shard, kept in a file of its own: a line with the log's identity, then a line an epoch, oldest first, written before the first
//! byte of the epoch is stored. A log that is older than its file, or was copied from a Java master, has epoch 0 at its front.
//!
//! ```text
//! log 0f61c2a35b7e4d8891b2c3d4e5f60718
//! in-sync 1,2
//! ahead 3
//! copy
//! followed 10.0.0.2:10912
//! 1 0 9c4e11d2a0b35f77
//! 2 81920 51f0c7e2d4a69b08
//! ```
//!
//! What has no identity, since an older ringmq or a Java master made it, is `unknown` there; a file without the first line and the last column
//! is an older one. Epochs are one only if number, start and identity are the same, so that two logs that begin alike are not taken for one.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::SocketAddr;

use thiserror::Error;

use crate::limits::{EPOCH_JUMP_MAX, EPOCH_MAX, EPOCHS_MAX, HA_SLAVES_MAX};
use crate::model::{BrokerId, Epoch, LogId, LogOffset, ReignId};

pub(crate) use crate::protocol::ha::EpochEntry;
use crate::protocol::ha::Statement;

/// Random names for what a master may make when it begins to reign.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FreshIds {
    /// Of the log, if that has no name yet.
    pub(crate) log: LogId,
    pub(crate) reign: ReignId,
}

impl FreshIds {
    /// From random bytes; only the first half of those of the reign is used.
    #[must_use]
    pub(crate) fn of(log: [u8; 16], reign: [u8; 16]) -> FreshIds {
        let [a, b, c, d, e, f, g, h, ..] = reign;
        FreshIds { log: LogId(u128::from_be_bytes(log)), reign: ReignId(u64::from_be_bytes([a, b, c, d, e, f, g, h])) }
    }
}

/// Who is known to have, or to have had, a part of a master's log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Holders {
    /// At most [`HA_SLAVES_MAX`].
    ids: BTreeSet<BrokerId>,
    /// There were more, or some that do not say who they are.
    has_others: bool,
}

impl Holders {
    /// This slave, or one that does not say who it is.
    pub(crate) fn note(&mut self, slave: Option<BrokerId>) {
        let known = slave.filter(|slave| self.ids.contains(slave) || self.ids.len() < HA_SLAVES_MAX);
        self.has_others |= known.is_none();
        self.ids.extend(known);
    }

    /// Whether all are among these.
    #[must_use]
    pub(crate) fn are_among(&self, slaves: &BTreeSet<BrokerId>) -> bool {
        !self.has_others && self.ids.is_subset(slaves)
    }
}

/// All reigns of one log. Epochs and starts rise together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EpochTable {
    log: LogId,
    /// The slaves that were in sync with the master of the newest reign when that was noted last.
    in_sync: BTreeSet<BrokerId>,
    /// The slaves that have said that they have what this log has lost: its master stores nothing until they follow or somebody decides.
    ahead: BTreeSet<BrokerId>,
    /// Who has this log, or a part of it, or had.
    holders: Holders,
    /// This is a master's store by its configuration, and a copy under way of another replica's log, which may have more.
    is_copy: bool,
    /// Where the master was found whom this log followed last.
    followed: Option<SocketAddr>,
    entries: Vec<EpochEntry>,
}

/// Why a table is not one.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub enum EpochError {
    /// An epoch or its start does not rise.
    #[error("epoch {epoch} from {start} does not follow epoch {last} from {last_start}")]
    OutOfOrder {
        /// The entry that does not fit.
        epoch: Epoch,
        start: LogOffset,
        /// The one before it.
        last: Epoch,
        last_start: LogOffset,
    },
    /// An epoch that no number of starts and elections leads to.
    #[error(
        "epoch {epoch} after {last} is not plausible: it is no more than {EPOCH_JUMP_MAX} further, and {EPOCH_MAX} at most"
    )]
    Implausible {
        /// What is not believed.
        epoch: Epoch,
        /// The last one that is known.
        last: Epoch,
    },
    /// There are more than anyone keeps.
    #[error("{count} epochs, {EPOCHS_MAX} at most")]
    TooMany {
        /// How many.
        count: usize,
    },
    /// A line of the file cannot be read.
    #[error("line {line} is not an epoch, its start and its identity")]
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
    pub(crate) fn new(log: LogId, entries: Vec<EpochEntry>) -> Result<EpochTable, EpochError> {
        let mut table = EpochTable::of_log(log);
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
        let first = EpochEntry { epoch: Epoch(0), start: LogOffset(0), id: ReignId::default() };
        EpochTable { entries: vec![first], ..EpochTable::default() }
    }

    /// The table of a log that has no bytes yet.
    #[must_use]
    pub(crate) fn of_log(log: LogId) -> EpochTable {
        EpochTable { log, ..EpochTable::default() }
    }

    /// The table of a log that has no bytes any more, and begins as this one.
    #[must_use]
    pub(crate) fn cleared(&self, log: LogId) -> EpochTable {
        EpochTable { followed: self.followed, is_copy: self.is_copy, ..EpochTable::of_log(log) }
    }

    /// Which log this is.
    #[must_use]
    pub(crate) fn log(&self) -> LogId {
        self.log
    }

    /// Who was in sync with the master when it was noted last: they have what was acknowledged, or know who lacks it.
    #[must_use]
    pub(crate) fn in_sync(&self) -> &BTreeSet<BrokerId> {
        &self.in_sync
    }

    /// These slaves are in sync. Returns whether they were not, or others.
    pub(crate) fn note_in_sync(&mut self, slaves: BTreeSet<BrokerId>) -> bool {
        let is_news = self.in_sync != slaves;
        self.in_sync = slaves;
        is_news
    }

    /// Who has said that he has what this log has lost, as long as that is not decided.
    #[must_use]
    pub(crate) fn ahead(&self) -> &BTreeSet<BrokerId> {
        &self.ahead
    }

    /// These have said so. Returns whether that is news.
    pub(crate) fn note_ahead(&mut self, slaves: BTreeSet<BrokerId>) -> bool {
        let is_news = self.ahead != slaves;
        self.ahead = slaves;
        is_news
    }

    /// Who has this log, as far as its master was told.
    #[must_use]
    pub(crate) fn holders(&self) -> &Holders {
        &self.holders
    }

    /// These have it. Returns whether that is news.
    pub(crate) fn note_holders(&mut self, holders: &Holders) -> bool {
        let is_news = self.holders != *holders;
        if is_news {
            self.holders.clone_from(holders);
        }
        is_news
    }

    /// Whether this is a master's store by its configuration, and was made a copy of another replica's: that one may have more.
    #[must_use]
    pub(crate) fn is_copy(&self) -> bool {
        self.is_copy
    }

    /// It is one from now on, or is none any more. Returns whether that is news.
    pub(crate) fn note_copy(&mut self, is_copy: bool) -> bool {
        std::mem::replace(&mut self.is_copy, is_copy) != is_copy
    }

    /// Where the master was found whom this log followed last: who is registered as its master may be another.
    #[must_use]
    pub(crate) fn followed(&self) -> Option<SocketAddr> {
        self.followed
    }

    /// The master that is followed is there. Returns whether it was elsewhere.
    pub(crate) fn note_followed(&mut self, master: SocketAddr) -> bool {
        self.followed.replace(master) != Some(master)
    }

    /// The log is this one. One that has a name keeps it.
    pub(crate) fn name(&mut self, log: LogId) {
        if !self.log.is_known() {
            self.log = log;
        }
    }

    /// All entries, oldest first.
    #[must_use]
    pub(crate) fn entries(&self) -> &[EpochEntry] {
        &self.entries
    }

    /// The newest entry.
    #[must_use]
    pub(crate) fn last(&self) -> Option<EpochEntry> {
        self.entries.last().copied()
    }

    /// The epoch of the next reign, if nobody else numbers them.
    ///
    /// # Errors
    /// [`EpochError::Implausible`] if it is beyond all numbers.
    pub(crate) fn next_epoch(&self) -> Result<Epoch, EpochError> {
        let last = self.last().map_or(Epoch(0), |entry| entry.epoch);
        let epoch = Epoch(last.0.saturating_add(1));
        if epoch.0 > EPOCH_MAX { Err(EpochError::Implausible { epoch, last }) } else { Ok(epoch) }
    }

    /// Whether these may be the reigns of a master that is followed by a log whose last one is `known`: nobody is to use up the numbers.
    ///
    /// # Errors
    /// [`EpochError::Implausible`].
    pub(crate) fn check_plausible(&self, known: Option<EpochEntry>) -> Result<(), EpochError> {
        let mut last = known.map(|entry| entry.epoch);
        for EpochEntry { epoch, .. } in &self.entries {
            let is_far = last.is_some_and(|last| epoch.0.saturating_sub(last.0) > EPOCH_JUMP_MAX);
            if is_far || epoch.0 > EPOCH_MAX {
                return Err(EpochError::Implausible { epoch: *epoch, last: last.unwrap_or_default() });
            }
            last = last.max(Some(*epoch));
        }
        Ok(())
    }

    /// A master begins to reign over a log that ends at `end`. Returns its entry. A reign without a byte leaves no trace but its number.
    ///
    /// # Panics
    /// If `epoch` is not beyond all that are known: whoever gives it looks at them first.
    pub(crate) fn begin(&mut self, epoch: Epoch, end: LogOffset, fresh: &FreshIds) -> EpochEntry {
        self.name(fresh.log);
        let last = self.last().map_or(Epoch(0), |entry| entry.epoch);
        assert!(epoch > last, "epoch {epoch} was given to a log whose last one is {last}");
        let entry = EpochEntry { epoch, start: end, id: fresh.reign };
        self.truncate(end);
        self.push_unchecked(entry);
        entry
    }

    /// Takes over an entry that a master has told.
    ///
    /// # Errors
    /// [`EpochError::OutOfOrder`] unless it is the newest entry or follows it.
    pub(crate) fn push(&mut self, entry: EpochEntry) -> Result<(), EpochError> {
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
    pub(crate) fn at(&self, offset: LogOffset) -> Option<(EpochEntry, Option<LogOffset>)> {
        let next = self.entries.partition_point(|entry| entry.start <= offset);
        let entry = *self.entries.get(next.checked_sub(1)?)?;
        Some((entry, self.entries.get(next).map(|entry| entry.start)))
    }

    /// Up to where this log, which ends at `end`, is the same as the other: the end of their newest common epoch, in whichever it ends
    /// first; the very beginning if they have one name and share no epoch. `None` if they share neither, or have different names: then nothing is
    /// known to be the same.
    #[must_use]
    pub(crate) fn consistent_point(
        &self,
        end: LogOffset,
        other: &EpochTable,
        other_end: LogOffset,
    ) -> Option<LogOffset> {
        if self.log.is_known() && other.log.is_known() && self.log != other.log {
            return None;
        }
        let Some(common) = self.entries.iter().rposition(|entry| other.entries.contains(entry)) else {
            return (self.log.is_known() && self.log == other.log).then_some(LogOffset(0));
        };
        let entry = self.entries.get(common)?;
        let place = other.entries.iter().position(|known| known == entry)?;
        let end_in = |entries: &[EpochEntry], place: usize, end: LogOffset| {
            entries.get(place + 1).map_or(end, |next| next.start.min(end))
        };
        Some(end_in(&self.entries, common, end).min(end_in(&other.entries, place, other_end)))
    }

    /// Whether a slave's log is the front of this one, which ends at `end`: empty, or with a last reign that is this log's and goes as far here.
    #[must_use]
    pub(crate) fn is_front_of(&self, end: LogOffset, slave: &Statement) -> bool {
        if slave.is_empty() {
            return true;
        }
        let is_other = self.log.is_known() && slave.log.is_known() && self.log != slave.log;
        let known = self.entries.iter().position(|entry| *entry == slave.last).filter(|_| !is_other);
        known.is_some_and(|place| slave.end <= self.entries.get(place + 1).map_or(end, |next| next.start.min(end)))
    }

    /// The file's text.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = format!("log {}\n", self.log);
        if !self.in_sync.is_empty() {
            let _ = writeln!(text, "in-sync {}", ids_text(&self.in_sync));
        }
        if !self.ahead.is_empty() {
            let _ = writeln!(text, "ahead {}", ids_text(&self.ahead));
        }
        if !self.holders.ids.is_empty() {
            let _ = writeln!(text, "holders {}", ids_text(&self.holders.ids));
        }
        if self.holders.has_others {
            text.push_str("other-holders\n");
        }
        if self.is_copy {
            text.push_str("copy\n");
        }
        if let Some(master) = self.followed {
            let _ = writeln!(text, "followed {master}");
        }
        for EpochEntry { epoch, start, id } in &self.entries {
            let _ = writeln!(text, "{epoch} {start} {id}");
        }
        text
    }

    /// The table in a file's text.
    ///
    /// # Errors
    /// [`EpochError`].
    pub fn decode(text: &str) -> Result<EpochTable, EpochError> {
        let mut table = EpochTable::default();
        let mut entries = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let bad = EpochError::BadLine { line: index + 1 };
            let words: Vec<&str> = line.split(' ').collect();
            match words[..] {
                ["log", log] if index == 0 => table.log = log.parse().map_err(|_| bad)?,
                ["in-sync", ids] if entries.is_empty() => table.in_sync = ids_of(ids).ok_or(bad)?,
                ["ahead", ids] if entries.is_empty() => table.ahead = ids_of(ids).ok_or(bad)?,
                ["holders", ids] if entries.is_empty() => table.holders.ids = ids_of(ids).ok_or(bad)?,
                ["other-holders"] if entries.is_empty() => table.holders.has_others = true,
                ["copy"] if entries.is_empty() => table.is_copy = true,
                ["followed", master] if entries.is_empty() => table.followed = Some(master.parse().map_err(|_| bad)?),
                [epoch, start] => entries.push(entry(epoch, start, "unknown").ok_or(bad)?),
                [epoch, start, id] => entries.push(entry(epoch, start, id).ok_or(bad)?),
                _ => return Err(bad),
            }
        }
        let log = table.log;
        EpochTable::new(log, entries).map(|EpochTable { entries, .. }| EpochTable { entries, ..table })
    }
}

fn ids_text(ids: &BTreeSet<BrokerId>) -> String {
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

fn ids_of(text: &str) -> Option<BTreeSet<BrokerId>> {
    text.split(',').map(|id| id.parse().map(BrokerId).ok()).collect()
}

fn entry(epoch: &str, start: &str, id: &str) -> Option<EpochEntry> {
    let (epoch, start): (u32, u64) = (epoch.parse().ok()?, start.parse().ok()?);
    let is_on_the_wire = epoch <= i32::MAX.unsigned_abs() && start <= i64::MAX.unsigned_abs();
    let id = id.parse().ok()?;
    is_on_the_wire.then_some(EpochEntry { epoch: Epoch(epoch), start: LogOffset(start), id })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn table(entries: &[(u32, u64)]) -> EpochTable {
        let entry = |&(epoch, start)| EpochEntry { epoch: Epoch(epoch), start: LogOffset(start), id: ReignId(0) };
        EpochTable::new(LogId(0), entries.iter().map(entry).collect()).expect("it rises")
    }

    /// Nothing has a name, as of an older ringmq.
    const NAMELESS: FreshIds = FreshIds { log: LogId(0), reign: ReignId(0) };

    fn named(log: u128, entries: &[(u32, u64, u64)]) -> EpochTable {
        let entry = |&(epoch, start, id)| EpochEntry { epoch: Epoch(epoch), start: LogOffset(start), id: ReignId(id) };
        EpochTable::new(LogId(log), entries.iter().map(entry).collect()).expect("it rises")
    }

    #[test]
    fn each_master_begins_an_epoch_where_the_log_ends() {
        let mut epochs = EpochTable::default();
        let begin =
            |epochs: &mut EpochTable, end| epochs.begin(epochs.next_epoch().expect("few"), LogOffset(end), &NAMELESS);
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
        assert_eq!(epochs.begin(Epoch(9), LogOffset(400), &NAMELESS).epoch, Epoch(9));
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
    fn logs_that_only_look_alike_have_nothing_in_common() {
        let point = |own: &EpochTable, other: &EpochTable| own.consistent_point(LogOffset(300), other, LogOffset(900));
        let log = named(7, &[(1, 0, 11), (2, 250, 12)]);
        assert_eq!(point(&log, &named(7, &[(1, 0, 11), (2, 250, 12), (3, 280, 13)])), Some(LogOffset(280)));
        assert_eq!(point(&log, &named(7, &[(1, 0, 11), (2, 250, 99)])), Some(LogOffset(250)), "another second reign");
        assert_eq!(point(&log, &named(8, &[(1, 0, 11), (2, 250, 12)])), None, "another log");
        assert_eq!(
            point(&log, &named(7, &[(1, 0, 98), (2, 250, 99)])),
            Some(LogOffset(0)),
            "one log, and no common reign"
        );
        // An older store has no names; what its master appends from now on has.
        let older = table(&[(1, 0), (2, 250)]);
        assert_eq!(point(&older, &named(7, &[(1, 0, 0), (2, 250, 0), (3, 300, 13)])), Some(LogOffset(300)));
        assert_eq!(point(&older, &named(7, &[(1, 0, 13)])), None, "a wiped master's");
    }

    #[test]
    fn a_log_gets_its_name_from_its_first_master_and_keeps_it() {
        let fresh = |log, reign| FreshIds { log: LogId(log), reign: ReignId(reign) };
        let mut epochs = EpochTable::default();
        epochs.begin(epochs.next_epoch().expect("few"), LogOffset(0), &fresh(5, 50));
        epochs.begin(epochs.next_epoch().expect("few"), LogOffset(10), &fresh(6, 60));
        assert_eq!(epochs, named(5, &[(1, 0, 50), (2, 10, 60)]));
        let text = "log 00000000000000000000000000000005\n1 0 0000000000000032\n2 10 000000000000003c\n";
        assert_eq!(epochs.encode(), text);
        assert_eq!(EpochTable::decode(text), Ok(epochs));
        let mut older = EpochTable::decode("1 0\n2 10\n").expect("as it was written before");
        assert_eq!(EpochTable::decode(&older.encode()).as_ref(), Ok(&older));
        older.begin(older.next_epoch().expect("few"), LogOffset(20), &fresh(7, 70));
        assert_eq!(older, named(7, &[(1, 0, 0), (2, 10, 0), (3, 20, 70)]));
    }

    #[test]
    fn who_is_in_sync_is_kept_until_others_are() {
        let mut epochs = named(7, &[(1, 0, 11)]);
        let slaves = BTreeSet::from([BrokerId(2), BrokerId(5)]);
        assert!(epochs.note_in_sync(slaves.clone()) && !epochs.note_in_sync(slaves.clone()));
        let read = EpochTable::decode(&epochs.encode()).expect("as it was written");
        assert_eq!((&read, read.in_sync()), (&epochs, &slaves));
        assert!(epochs.note_in_sync(BTreeSet::new()) && epochs.in_sync().is_empty());
    }

    #[test]
    fn who_has_the_log_is_forgotten_by_nobody() {
        let of = |ids: &[u64]| ids.iter().map(|id| BrokerId(*id)).collect::<BTreeSet<_>>();
        let mut holders = Holders::default();
        assert!(holders.are_among(&of(&[])));
        [3, 5, 3].into_iter().for_each(|id| holders.note(Some(BrokerId(id))));
        assert!(holders.are_among(&of(&[3, 5])) && !holders.are_among(&of(&[3])));
        let mut epochs = named(7, &[(1, 0, 11)]);
        assert!(epochs.note_holders(&holders));
        assert_eq!(EpochTable::decode(&epochs.encode()).expect("as it was written").holders(), &holders);
        (0..=HA_SLAVES_MAX as u64).for_each(|id| holders.note(Some(BrokerId(id))));
        assert!(!holders.are_among(&of(&(0..100).collect::<Vec<_>>())), "there were too many to know all");
        let mut nameless = Holders::default();
        nameless.note(None);
        assert!(!nameless.are_among(&of(&[1])));
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
        check("1 0 7 8\n", EpochError::BadLine { line: 1 });
        check("1 0 x\n", EpochError::BadLine { line: 1 });
        check("log 1\nin-sync x\n", EpochError::BadLine { line: 2 });
        check("1 0 7\nin-sync 2\n", EpochError::BadLine { line: 2 });
        check("log 1g\n", EpochError::BadLine { line: 1 });
        check("log 1\nfollowed somebody\n", EpochError::BadLine { line: 2 });
        check("1 0 7\nlog 1\n", EpochError::BadLine { line: 2 });
        check("-1 0\n", EpochError::BadLine { line: 1 });
        check("1 9223372036854775808\n", EpochError::BadLine { line: 1 });
        check("1 0 7\ncopy\n", EpochError::BadLine { line: 2 });
        assert_eq!(EpochTable::decode(""), Ok(EpochTable::default()));
        let mut all = named(7, &[(1, 0, 11), (2, 250, 12)]);
        all.note_in_sync([BrokerId(1), BrokerId(2)].into());
        all.note_followed(SocketAddr::from(([10, 0, 0, 2], 10912)));
        all.note_copy(true);
        all.note_ahead(BTreeSet::from([BrokerId(3), BrokerId(4)]));
        let mut holders = Holders::default();
        [Some(BrokerId(2)), Some(BrokerId(4)), None].into_iter().for_each(|slave| holders.note(slave));
        assert!(all.note_holders(&holders) && !all.note_holders(&holders));
        assert_eq!(EpochTable::decode(&all.encode()), Ok(all));
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
                table.begin(table.next_epoch().expect("few"), LogOffset(end), &NAMELESS);
                end += bytes;
            }
            let mut number = table.last().map_or(0, |last| last.epoch.0);
            let mut go_on = |reigns: &[u64]| {
                let (mut table, mut end) = (table.clone(), end);
                for bytes in reigns {
                    number += 1;
                    table.push(EpochEntry { epoch: Epoch(number), start: LogOffset(end), id: ReignId(0) }).expect("it rises");
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
