//! Changes of a broker's durable tables: the lines of the store's `changes-NUMBER`, and the pieces in which a table's file is written.
//!
//! ```text
//! 5a3f10be {"flushed":0}
//! 1c291ca3 {"topics":{"dataVersion":{..},..,"topicConfigTable":{"T":{..}}},"removed":["GONE"]}
//! 83dcefb7 {"consumerOffsets":{"dataVersion":{..},"lastSetBack":"0/0","offsetTable":{"T@G":{0:12}}},"removed":["T@GONE"]}
//! ```
//!
//! A line has the CRC-32 of what follows its space, eight digits; then a table of what has changed, in the form of the table's own file. What is
//! removed goes first. A line says what is, not what became more or less: read twice, or over a table that is newer already, it changes nothing
//! that later lines do not say again.
//!
//! Each append begins with how much of the file was flushed then. A loss of power may leave any of the blocks that were not, and so sound lines
//! behind a gap, of which nobody was told that they are written; a gap in what a later line knows to be flushed is damage.

use super::fields::Fields;
use super::{BodyError, ConsumerOffsets, DelayOffsets, GroupTable, OffsetTable, TopicTable};
use crate::json::{JsonForm, Writer, parse};
use crate::model::{GroupName, TopicName};

/// Digits of the CRC and a space.
const CRC_BYTES: usize = 9;

const FLUSHED_BEGIN: &str = "{\"flushed\":";

/// What has changed in one table: those of its entries that are new or other, and the names of those that are gone.
#[derive(Clone, Debug, PartialEq)]
pub enum TableChange {
    /// Of `topics.json`.
    Topics(TopicTable, Vec<TopicName>),
    /// Of `subscriptionGroup.json`; what a group may not do, and how it gets messages, goes with its settings.
    Groups(GroupTable, Vec<GroupName>),
    /// Of `consumerOffset.json`: single queues; removed are all of a topic and group. Of the queues that it names, those in `kept` are kept, others are not.
    ConsumerOffsets(ConsumerOffsets, Vec<(TopicName, GroupName)>),
    /// The whole of `delayOffset.json`, which is small.
    DelayOffsets(DelayOffsets),
}

impl TableChange {
    /// Appends the line.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut writer = Writer::new(JsonForm::Fastjson);
        writer.object(|writer| match self {
            TableChange::Topics(table, removed) => {
                table.write(writer.key("topics"));
                writer.key("removed").texts(removed.iter().map(TopicName::as_str));
            }
            TableChange::Groups(table, removed) => {
                table.write(writer.key("groups"));
                writer.key("removed").texts(removed.iter().map(GroupName::as_str));
            }
            TableChange::ConsumerOffsets(table, removed) => {
                table.write(writer.key("consumerOffsets"));
                let pairs: Vec<String> = removed.iter().map(|(topic, group)| format!("{topic}@{group}")).collect();
                writer.key("removed").texts(pairs.iter().map(String::as_str));
            }
            TableChange::DelayOffsets(table) => table.write(writer.key("delayOffsets")),
        });
        let text = writer.finish();
        out.extend_from_slice(crc_text(&text).as_bytes());
        out.extend_from_slice(&text);
        out.push(b'\n');
    }

    /// Reads what stands behind the CRC of a line.
    fn decode(text: &[u8]) -> Result<TableChange, BodyError> {
        let value = parse(text, text.len())?;
        let fields = Fields::of(&value, "change")?;
        let removed = fields.texts("removed")?;
        if let Some(table) = fields.object("topics")? {
            let removed = removed.iter().map(|name| TopicName::from(name.as_str())).collect();
            return Ok(TableChange::Topics(TopicTable::read(table)?, removed));
        }
        if let Some(table) = fields.object("groups")? {
            let removed = removed.iter().map(|name| GroupName::from(name.as_str())).collect();
            return Ok(TableChange::Groups(GroupTable::read(table)?, removed));
        }
        if let Some(table) = fields.object("consumerOffsets")? {
            let pairs = removed.iter().filter_map(|pair| pair.split_once('@'));
            let removed = pairs.map(|(topic, group)| (TopicName::from(topic), GroupName::from(group))).collect();
            return Ok(TableChange::ConsumerOffsets(ConsumerOffsets::read(table)?, removed));
        }
        match fields.object("delayOffsets")? {
            Some(table) => Ok(TableChange::DelayOffsets(DelayOffsets::read(table)?)),
            None => Err(BodyError::Missing { field: "topics, groups, consumerOffsets or delayOffsets" }),
        }
    }
}

/// Why a file of changes is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangesError {
    /// A line has another CRC than it says, and was flushed, as a later one knows or the store's note: no crash leaves that.
    #[error("the line at byte {at} is damaged, and was flushed")]
    Damaged {
        /// Where the line begins.
        at: usize,
    },
    /// The file has fewer bytes than were flushed: no crash leaves that either.
    #[error("it ends at byte {len}, and {flushed} bytes of it were flushed")]
    Short {
        /// Bytes that are there.
        len: usize,
        /// Bytes that must be there.
        flushed: u64,
    },
    /// A sound line says something unknown.
    #[error("the line at byte {at} cannot be read: {source}")]
    Unknown {
        /// Where the line begins.
        at: usize,
        /// What it lacks.
        source: BodyError,
    },
}

/// Appends the first line of an append to a file of which so many bytes are flushed.
pub fn encode_flushed(flushed: u64, out: &mut Vec<u8>) {
    let text = format!("{FLUSHED_BEGIN}{flushed}}}");
    out.extend_from_slice(crc_text(text.as_bytes()).as_bytes());
    out.extend_from_slice(text.as_bytes());
    out.push(b'\n');
}

/// How much was flushed when this was written, if it says so.
fn flushed(text: &[u8]) -> Option<usize> {
    let number = text.strip_prefix(FLUSHED_BEGIN.as_bytes())?.strip_suffix(b"}")?;
    std::str::from_utf8(number).ok()?.parse().ok()
}

/// Reads a file of changes of which so many bytes are known to have been flushed. What a crash left of its last lines is left out; nobody was told
/// that these were written. Returns the changes, and how many bytes they take from the file's beginning.
///
/// # Errors
/// [`ChangesError`].
pub fn decode_changes(file: &[u8], flushed_min: u64) -> Result<(Vec<TableChange>, usize), ChangesError> {
    if (file.len() as u64) < flushed_min {
        return Err(ChangesError::Short { len: file.len(), flushed: flushed_min });
    }
    let mut changes = Vec::new();
    let mut torn: Option<usize> = None;
    let mut at = 0_usize;
    for line in file.split_inclusive(|byte| *byte == b'\n') {
        let text = sound_text(line);
        // The end of a line may be what is damaged: then it hides the next one.
        let known = text.map_or_else(|| hidden_flushed(line), flushed);
        torn = torn.or(Some(at).filter(|_| text.is_none()));
        match (text, torn) {
            (_, Some(at)) if known.is_some_and(|known| known > at) => return Err(ChangesError::Damaged { at }),
            (_, Some(at)) if (at as u64) < flushed_min => return Err(ChangesError::Damaged { at }),
            (_, Some(_)) => {}
            (Some(text), None) if known.is_none() => {
                let change = TableChange::decode(text).map_err(|source| ChangesError::Unknown { at, source })?;
                changes.push(change);
            }
            (_, None) => {}
        }
        at = at.saturating_add(line.len());
    }
    Ok((changes, torn.unwrap_or(at)))
}

/// What a sound line says that begins somewhere within: how much was flushed.
fn hidden_flushed(line: &[u8]) -> Option<usize> {
    let begins = line.windows(CRC_BYTES.saturating_add(FLUSHED_BEGIN.len())).enumerate().skip(1);
    let mut begins = begins.filter(|(_, window)| window.ends_with(FLUSHED_BEGIN.as_bytes()));
    begins.find_map(|(at, _)| flushed(sound_text(line.get(at..)?)?))
}

fn crc_text(text: &[u8]) -> String {
    format!("{:08x} ", crc32fast::hash(text))
}

/// What stands behind the CRC of a whole line, if that is its own.
fn sound_text(line: &[u8]) -> Option<&[u8]> {
    let (crc, text) = line.strip_suffix(b"\n")?.split_at_checked(CRC_BYTES)?;
    (crc == crc_text(text).as_bytes()).then_some(text)
}

/// The tables of a store, as its files and the changes after them say. `None` where there is neither.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StoredTables {
    /// `topics.json`.
    pub topics: Option<TopicTable>,
    /// `subscriptionGroup.json`.
    pub groups: Option<GroupTable>,
    /// `consumerOffset.json`.
    pub offsets: Option<ConsumerOffsets>,
    /// `delayOffset.json`.
    pub delay_offsets: Option<DelayOffsets>,
}

impl StoredTables {
    /// Takes a change over what is there.
    pub fn apply(&mut self, change: TableChange) {
        match change {
            TableChange::Topics(changed, removed) => {
                let table = self.topics.get_or_insert_default();
                table.version = changed.version;
                for name in &removed {
                    table.topics.remove(name);
                }
                table.topics.extend(changed.topics);
            }
            TableChange::Groups(mut changed, removed) => {
                let table = self.groups.get_or_insert_default();
                table.version = changed.version;
                for name in &removed {
                    table.remove_group(name);
                }
                let names: Vec<GroupName> = changed.groups.keys().cloned().collect();
                for name in &names {
                    table.take_group(name, &mut changed);
                }
            }
            TableChange::ConsumerOffsets(changed, removed) => {
                let table = self.offsets.get_or_insert_default();
                table.version = changed.version;
                table.set_back = changed.set_back;
                for pair in &removed {
                    table.offsets.remove(pair);
                    table.kept.remove(pair);
                }
                take_offsets(table, &changed.offsets, &changed.kept);
            }
            TableChange::DelayOffsets(changed) => self.delay_offsets = Some(changed),
        }
    }
}

fn take_offsets(table: &mut ConsumerOffsets, changed: &OffsetTable, kept: &OffsetTable) {
    for (pair, queues) in changed {
        let is_kept = |queue| kept.get(pair).is_some_and(|kept| kept.contains_key(queue));
        let known = table.offsets.entry(pair.clone()).or_default();
        known.extend(queues);
        let mut kept_queues = table.kept.remove(pair).unwrap_or_default();
        for (queue, offset) in queues {
            if is_kept(queue) {
                kept_queues.insert(*queue, *offset);
            } else {
                kept_queues.remove(queue);
            }
        }
        if !kept_queues.is_empty() {
            table.kept.insert(pair.clone(), kept_queues);
        }
    }
}

/// A table's file in pieces: what stands before its entries, and what behind them. Entries of a large table are written some at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableFrame {
    head: Vec<u8>,
    tail: Vec<u8>,
}

impl TableFrame {
    /// The frame of a topic table of this version.
    #[must_use]
    pub fn of_topics(empty: &TopicTable) -> TableFrame {
        TableFrame::around(empty.encode(), "topicConfigTable")
    }

    /// The same of groups.
    #[must_use]
    pub fn of_groups(empty: &GroupTable) -> TableFrame {
        TableFrame::around(empty.encode(), "subscriptionGroupTable")
    }

    /// The same of consumer offsets; what is kept is in it.
    #[must_use]
    pub fn of_offsets(empty: &ConsumerOffsets) -> TableFrame {
        TableFrame::around(empty.encode(), "offsetTable")
    }

    /// The text of a table without entries, taken apart in the middle of its map.
    fn around(mut empty: Vec<u8>, map: &str) -> TableFrame {
        let open = format!("\"{map}\":{{");
        let found = empty.windows(open.len()).rposition(|window| window == open.as_bytes());
        let tail = empty.split_off(found.map_or(empty.len(), |at| at.saturating_add(open.len())));
        TableFrame { head: empty, tail }
    }

    /// What stands before the first entry.
    #[must_use]
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// What stands behind the last one.
    #[must_use]
    pub fn tail(&self) -> &[u8] {
        &self.tail
    }

    /// The entries of a table that was encoded with the same frame; between two pieces stands a comma.
    #[must_use]
    pub fn entries<'a>(&self, encoded: &'a [u8]) -> &'a [u8] {
        let end = encoded.len().saturating_sub(self.tail.len());
        encoded.get(self.head.len()..end).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::body::{SubscriptionGroupConfig, TopicConfig};
    use crate::model::{QueueId, QueueOffset};

    fn topics(names: &[&str]) -> TopicTable {
        let topics = names.iter().map(|name| (TopicName::from(*name), TopicConfig::new(name, 4)));
        TopicTable { topics: topics.collect(), ..TopicTable::default() }
    }

    fn offsets(entries: &[(&str, &str, u32, u64)]) -> OffsetTable {
        let mut table = OffsetTable::new();
        for (topic, group, queue, offset) in entries {
            let pair = (TopicName::from(*topic), GroupName::from(*group));
            table.entry(pair).or_default().insert(QueueId(*queue), QueueOffset(*offset));
        }
        table
    }

    fn changes() -> Vec<TableChange> {
        let mut groups = GroupTable::default();
        groups.groups.insert(GroupName::from("G"), SubscriptionGroupConfig::new("G"));
        groups.forbidden.entry(GroupName::from("G")).or_default().insert("T".into(), 4);
        let kept = offsets(&[("T", "G", 1, 8)]);
        let changed =
            ConsumerOffsets { offsets: offsets(&[("T", "G", 0, 7), ("T", "G", 1, 8)]), kept, ..Default::default() };
        let gone = (TopicName::from("GONE"), GroupName::from("G"));
        vec![
            TableChange::Topics(topics(&["A", "B"]), vec![TopicName::from("GONE")]),
            TableChange::Groups(groups, vec![]),
            TableChange::ConsumerOffsets(changed, vec![gone]),
            TableChange::DelayOffsets(DelayOffsets { offsets: [(3, QueueOffset(9))].into(), ..Default::default() }),
        ]
    }

    /// Each change in an append of its own, which is flushed; and where the appends end.
    fn file() -> (Vec<u8>, Vec<usize>) {
        let (mut file, mut ends) = (Vec::new(), vec![0]);
        for change in changes() {
            encode_flushed(file.len() as u64, &mut file);
            change.encode(&mut file);
            ends.push(file.len());
        }
        (file, ends)
    }

    #[test]
    fn a_file_of_changes_is_read_up_to_its_torn_end() {
        let ((file, ends), changes) = (file(), changes());
        for end in 0..=file.len() {
            let whole = ends.iter().filter(|at| **at <= end).count() - 1;
            let (found, sound) = decode_changes(&file[..end], 0).expect("a crash may leave it");
            assert_eq!(found, changes[..whole], "the first {end} bytes");
            // A line that says how much was flushed says no more.
            assert!((ends[whole]..=end).contains(&sound), "the first {end} bytes");
        }
    }

    #[test]
    fn what_is_noted_as_flushed_is_missed_wherever_the_file_ends() {
        let ((file, ends), changes) = (file(), changes());
        for flushed in &ends {
            for end in 0..=file.len() {
                let found = decode_changes(&file[..end], *flushed as u64);
                match found {
                    Ok((_, sound)) => assert!(end >= *flushed && sound >= *flushed, "{flushed} of {end}"),
                    Err(error) => assert_eq!(error, ChangesError::Short { len: end, flushed: *flushed as u64 }),
                }
            }
        }
        // The last line is known to no other one.
        let last = ends[3];
        for at in last..file.len() {
            let mut damaged = file.clone();
            damaged[at] ^= 0x20;
            assert_eq!(decode_changes(&damaged, 0).map(|(found, _)| found.len()), Ok(changes.len() - 1), "byte {at}");
            let noted = decode_changes(&damaged, file.len() as u64);
            assert!(matches!(noted, Err(ChangesError::Damaged { .. })), "byte {at}: {noted:?}");
        }
    }

    #[test]
    fn what_is_known_to_be_flushed_is_damaged_where_it_has_changed() {
        let (file, ends) = file();
        for at in 0..ends[3] {
            let mut damaged = file.clone();
            damaged[at] ^= 0x20;
            assert!(matches!(decode_changes(&damaged, 0), Err(ChangesError::Damaged { .. })), "byte {at}");
        }
    }

    /// One append of several lines that was not flushed: the power took a block in its middle.
    #[test]
    fn what_was_not_flushed_may_have_gaps() {
        let ((mut file, ends), changes) = (file(), changes());
        file.truncate(ends[1]);
        encode_flushed(file.len() as u64, &mut file);
        changes[1..].iter().for_each(|change| change.encode(&mut file));
        for gap in ends[1]..file.len() - 1 {
            let mut torn = file.clone();
            let until = (gap + 100).min(torn.len());
            torn[gap..until].fill(0);
            let (found, _) = decode_changes(&torn, 0).expect("no damage");
            assert!(!found.is_empty() && changes.starts_with(&found), "{gap}: {found:?}");
        }
    }

    #[test]
    fn a_sound_line_that_says_something_unknown_is_an_error() {
        let text = r#"{"timers":{}}"#;
        let line = format!("{}{text}\n", crc_text(text.as_bytes()));
        assert!(matches!(decode_changes(line.as_bytes(), 0), Err(ChangesError::Unknown { at: 0, .. })));
    }

    #[test]
    fn a_change_says_what_is_and_may_be_read_again() {
        let mut tables = StoredTables { topics: Some(topics(&["A", "GONE"])), ..StoredTables::default() };
        let old = offsets(&[("T", "G", 0, 5), ("T", "G", 2, 6), ("GONE", "G", 0, 1)]);
        tables.offsets =
            Some(ConsumerOffsets { offsets: old, kept: offsets(&[("T", "G", 0, 5)]), ..Default::default() });
        let changes = changes();
        changes.iter().cloned().for_each(|change| tables.apply(change));
        let after = tables.clone();
        changes.into_iter().for_each(|change| tables.apply(change));
        assert_eq!(tables, after);
        let found = tables.offsets.expect("there are some");
        assert_eq!(found.offsets, offsets(&[("T", "G", 0, 7), ("T", "G", 1, 8), ("T", "G", 2, 6)]));
        assert_eq!(found.kept, offsets(&[("T", "G", 1, 8)]), "the master has 0 by now");
        let names: Vec<_> = tables.topics.expect("some").topics.into_keys().collect();
        assert_eq!(names, [TopicName::from("A"), TopicName::from("B")]);
        assert_eq!(tables.groups.expect("some").forbidden.len(), 1);
    }

    #[test]
    fn a_table_in_pieces_is_the_table() {
        let whole = topics(&["A", "B", "C"]);
        let frame = TableFrame::of_topics(&TopicTable::default());
        let pieces = [topics(&["A"]), topics(&["B", "C"])].map(|part| frame.entries(&part.encode()).to_vec());
        let text = [frame.head(), &pieces.join(&b','), frame.tail()].concat();
        assert_eq!(TopicTable::decode(&text), Ok(whole.clone()));
        assert_eq!(text, whole.encode());
        let all = offsets(&[("A", "G", 0, 1), ("B", "G", 0, 2)]);
        let kept = offsets(&[("B", "G", 0, 2)]);
        let empty = ConsumerOffsets { kept: kept.clone(), ..Default::default() };
        let whole = ConsumerOffsets { offsets: all, ..empty.clone() };
        let frame = TableFrame::of_offsets(&empty);
        assert_eq!([frame.head(), frame.entries(&whole.encode()), frame.tail()].concat(), whole.encode());
        let group = SubscriptionGroupConfig::new("G");
        let whole = GroupTable { groups: BTreeMap::from([(group.name.clone(), group)]), ..Default::default() };
        let frame = TableFrame::of_groups(&GroupTable::default());
        assert_eq!([frame.head(), frame.entries(&whole.encode()), frame.tail()].concat(), whole.encode());
    }
}
