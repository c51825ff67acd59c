//! The consume queues: for each message of a queue, where it lies in the log.
//!
//! A node may have 100,000 queues, so a queue has no file. Its newest entries are in memory; when enough have gathered they are
//! closed into a block in the index files, which all queues share (see [`super::index_file`]), and of the block only its place stays in memory;
//! of many blocks that of a branch which leads to them (see [`super::branch`]).
//! All of it is derived from the log: a checkpoint saves the trouble of reading all of the log at a start, no more.

use std::collections::{BTreeMap, VecDeque};

use super::branch;
use crate::limits::LIGHT_QUEUES_MAX;
use crate::model::{FastMap, LogOffset, QueueId, QueueOffset, TopicName};
use crate::protocol::message::{LIGHT_QUEUE, awaited_light, is_light};
use crate::protocol::record::java_hash;

/// Handle of a message queue within one log. Valid while the process lives, also after its topic was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueIndex(pub(super) u32);

impl QueueIndex {
    /// Queues are numbered from 0 as they become known, so a table of them is a list.
    #[inline]
    pub(crate) fn number(self) -> usize {
        self.0 as usize
    }
}

/// Where one message of a queue lies in the commit log. In a block 20 bytes, big-endian, back to back.
///
/// | bytes  | field        | meaning                                                           |
/// |--------|--------------|-------------------------------------------------------------------|
/// | 0..8   | `log_offset` | bytes from the start of this shard's commit log                   |
/// | 8..12  | `size`       | bytes of the whole record                                         |
/// | 12..20 | `tag_code`   | Java hash of the tag; of what waits for a time, that time         |
///
/// Source: Apache RocketMQ 5 `ConsumeQueue`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) log_offset: LogOffset,
    pub(super) size: u32,
    pub(super) tag_code: i64,
}

/// Bytes of an [`Entry`] in a block.
pub(super) const ENTRY_BYTES: usize = 20;

/// Bytes before the first entry of a block.
///
/// | bytes  | field      | meaning                            |
/// |--------|------------|------------------------------------|
/// | 0..4   | magic      | [`BLOCK_MAGIC`]                    |
/// | 4..8   | CRC-32     | of all bytes from 8 on             |
/// | 8..16  | `first`    | queue offset of the first entry    |
/// | 16..20 | `count`    | entries                            |
/// | 20..24 | `queue_id` |                                    |
pub(super) const BLOCK_HEADER_BYTES: usize = 24;
pub(super) const BLOCK_MAGIC: u32 = u32::from_be_bytes(*b"RQCB");

impl Entry {
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.log_offset.0.to_be_bytes());
        out.extend_from_slice(&self.size.to_be_bytes());
        out.extend_from_slice(&self.tag_code.to_be_bytes());
    }

    pub(super) fn get(bytes: &[u8]) -> Option<Entry> {
        let (log_offset, rest) = bytes.split_first_chunk::<8>()?;
        let (size, rest) = rest.split_first_chunk::<4>()?;
        let (tag_code, _) = rest.split_first_chunk::<8>()?;
        Some(Entry {
            log_offset: LogOffset(u64::from_be_bytes(*log_offset)),
            size: u32::from_be_bytes(*size),
            tag_code: i64::from_be_bytes(*tag_code),
        })
    }
}

/// A block of a queue in the index files, or a branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BlockRef {
    /// Queue offset of its first entry.
    pub(super) first: QueueOffset,
    /// Log offset of its last entry: the block is dead when the log starts beyond.
    pub(super) last_log: LogOffset,
    /// Position in the index files.
    pub(super) at: u64,
    /// 0: entries; else a branch, whose references are one lower.
    pub(super) height: u8,
}

/// A block or a branch, and what of its queue and of the log it covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct IndexSpan {
    pub(super) block: BlockRef,
    /// Queue offset behind its last entry.
    pub(super) end: QueueOffset,
    /// Log offset of the last entry of its queue before it: its own do not lie before. `None` where that is not known.
    pub(super) after: Option<LogOffset>,
}

impl IndexSpan {
    pub(super) fn contains(&self, at: QueueOffset) -> bool {
        (self.block.first..self.end).contains(&at)
    }

    /// Entries of a block.
    pub(super) fn count(&self) -> u32 {
        u32::try_from(self.end.0 - self.block.first.0).expect("a block has few entries")
    }
}

/// How many entries make a block, and how many references a branch.
#[derive(Clone, Copy, Debug)]
pub(super) struct BlockSizes {
    pub(super) entries: usize,
    pub(super) references: usize,
}

/// Where an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Located {
    Memory(Entry),
    /// In this block, or below this branch.
    Block(IndexSpan),
    /// Below the queue's first entry or beyond its last.
    Outside,
}

#[derive(Debug)]
pub(super) struct Queue {
    pub(super) topic: TopicName,
    pub(super) queue_id: QueueId,
    /// Java hash of the topic and `#`: every key's hash goes on from it.
    pub(super) key_seed: i32,
    pub(super) blocks: VecDeque<BlockRef>,
    /// Queue offset of `tail[0]`.
    pub(super) sealed_end: QueueOffset,
    /// Entries that are in no block yet.
    pub(super) tail: Vec<Entry>,
    /// End of what consumers may see.
    pub(super) visible: QueueOffset,
    /// Entries below are known to be gone, where a block still holds them beside living ones.
    pub(super) floor: QueueOffset,
    /// Where the log began when `floor` was last looked up in such a block: until the log begins elsewhere it need not be again.
    pub(super) floor_as_of: LogOffset,
    /// Whether `visible` grew since it was last asked.
    pub(super) is_advanced: bool,
    /// Everything of this queue below this log offset is in here already: a replay leaves it out.
    pub(super) as_of: LogOffset,
    /// No record below this log offset is in here: before it the topic was another one, which was removed. 0 where that is not known.
    pub(super) life_from: LogOffset,
    /// Whether the first offset is known, from a record, a checkpoint or because the queue is new.
    pub(super) is_based: bool,
}

impl Queue {
    fn new(topic: TopicName, queue_id: QueueId) -> Queue {
        let key_seed = java_hash(java_hash(0, topic.as_str()), "#");
        Queue {
            topic,
            queue_id,
            key_seed,
            blocks: VecDeque::new(),
            sealed_end: QueueOffset(0),
            tail: Vec::new(),
            visible: QueueOffset(0),
            floor: QueueOffset(0),
            floor_as_of: LogOffset(0),
            is_advanced: false,
            as_of: LogOffset(0),
            life_from: LogOffset(0),
            is_based: false,
        }
    }

    /// Queue offset of the next message.
    #[inline]
    pub(super) fn next(&self) -> QueueOffset {
        QueueOffset(self.sealed_end.0 + self.tail.len() as u64)
    }

    /// First queue offset that is still there, as far as is known without reading: a block or branch that is partly gone counts from `floor`.
    pub(super) fn min(&self, start: LogOffset) -> QueueOffset {
        let dead = self.blocks.partition_point(|block| block.last_log < start);
        let first = match self.blocks.get(dead) {
            Some(block) => block.first,
            None => self.sealed_end.plus(self.tail.partition_point(|entry| entry.log_offset < start) as u64),
        };
        first.max(self.floor)
    }

    pub(super) fn locate(&self, offset: QueueOffset) -> Located {
        if let Some(in_tail) = offset.0.checked_sub(self.sealed_end.0) {
            let entry = usize::try_from(in_tail).ok().and_then(|in_tail| self.tail.get(in_tail));
            return entry.map_or(Located::Outside, |entry| Located::Memory(*entry));
        }
        let Some(index) = self.blocks.partition_point(|block| block.first <= offset).checked_sub(1) else {
            return Located::Outside;
        };
        let before = index.checked_sub(1).and_then(|before| self.blocks.get(before));
        Located::Block(IndexSpan {
            block: self.blocks[index],
            end: self.blocks.get(index + 1).map_or(self.sealed_end, |next| next.first),
            after: before.map(|before| before.last_log),
        })
    }

    /// Where the references begin that make a branch, the newest ones, and its height: they are enough, and of one height. References from a checkpoint
    /// of before there were branches stay as they are.
    fn branch_to_be(&self, references: usize) -> Option<(usize, u8)> {
        let from = self.blocks.len().checked_sub(references)?;
        let height = self.blocks.back()?.height;
        let is_even = self.blocks.range(from..).all(|block| block.height == height);
        is_even.then_some((from, height + 1))
    }

    /// Forgets blocks that lie wholly below the log's start. How many.
    pub(super) fn trim(&mut self, start: LogOffset) -> usize {
        let dead = self.blocks.partition_point(|block| block.last_log < start);
        self.blocks.drain(..dead);
        if self.blocks.is_empty() {
            self.blocks.shrink_to_fit();
        }
        dead
    }

    /// Whether a start may do without it: it has no entry and begins at 0, as one that is new does, and so does what the log has of it. So go the queues
    /// of a topic that was removed, when the record that says so is past retention, and those that were made and never written.
    pub(super) fn is_nothing(&self, start: LogOffset) -> bool {
        let is_of_no_record = !self.is_based && self.as_of == LogOffset(0);
        self.next() == QueueOffset(0) && self.blocks.is_empty() && (is_of_no_record || self.as_of < start)
    }

    /// Has no entry, and goes on at `next` unless the log says otherwise.
    pub(super) fn go_on_at(&mut self, next: QueueOffset) {
        (self.sealed_end, self.floor) = (next, next);
    }

    /// Forgets all entries but not how many there were: they are gone from the log, and it is not known how many more went after them.
    pub(super) fn forget_entries(&mut self) {
        self.sealed_end = self.next();
        self.floor = self.sealed_end;
        self.blocks = VecDeque::new();
        self.tail = Vec::new();
        self.is_based = false;
    }

    /// Forgets everything: the topic was removed, and if it comes back it begins at 0.
    fn reset(&mut self, as_of: LogOffset) {
        self.blocks = VecDeque::new();
        self.tail = Vec::new();
        self.sealed_end = QueueOffset(0);
        self.visible = QueueOffset(0);
        self.floor = QueueOffset(0);
        self.as_of = as_of;
        self.is_based = true;
    }
}

/// The bytes of a block.
pub(super) fn encode_block(first: QueueOffset, queue_id: QueueId, entries: &[Entry], out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(&BLOCK_MAGIC.to_be_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&first.0.to_be_bytes());
    out.extend_from_slice(&u32::try_from(entries.len()).expect("a block has few entries").to_be_bytes());
    out.extend_from_slice(&queue_id.0.to_be_bytes());
    for entry in entries {
        entry.put(out);
    }
    let crc = crc32fast::hash(&out[8..]);
    out[4..8].copy_from_slice(&crc.to_be_bytes());
}

/// Bytes of a block of so many entries.
pub(super) fn bytes_of(count: u32) -> usize {
    BLOCK_HEADER_BYTES + count as usize * ENTRY_BYTES
}

/// Bytes that a block has by its own header; `None` if too few of them are there.
pub(super) fn block_bytes(bytes: &[u8]) -> Option<usize> {
    let count = bytes.get(16..20)?.first_chunk().map(|four| u32::from_be_bytes(*four))?;
    Some(bytes_of(count))
}

/// Whether the bytes of a block are those that its checksum is of.
pub(super) fn has_sound_crc(block: &[u8]) -> bool {
    let head = block.split_at_checked(8);
    head.is_some_and(|(head, rest)| head.ends_with(&crc32fast::hash(rest).to_be_bytes()))
}

/// Checks a block as it was read. False if it is not this block.
pub(super) fn is_sound_block(bytes: &[u8], span: &IndexSpan, queue_id: QueueId) -> bool {
    let Some((head, rest)) = bytes.split_at_checked(8) else { return false };
    let (first, count) = (span.block.first.0.to_be_bytes(), span.count().to_be_bytes());
    let expected = [first.as_slice(), &count, &queue_id.0.to_be_bytes()].concat();
    head.starts_with(&BLOCK_MAGIC.to_be_bytes()) && has_sound_crc(bytes) && rest.starts_with(&expected)
}

/// All queues of a log.
#[derive(Debug, Default)]
pub(super) struct ConsumeQueues {
    pub(super) list: Vec<Queue>,
    by_name: FastMap<TopicName, BTreeMap<QueueId, QueueIndex>>,
    /// How many of them are light.
    pub(super) light: u64,
    /// Whether it was said that there are no more.
    pub(super) has_told_full: bool,
    /// Entries in memory, of all queues.
    pub(super) unsealed: usize,
    /// Where closing early, or trimming, goes on.
    cursor: usize,
    /// References to blocks, as they were counted last; and how far they are counted anew, with the count so far.
    references: usize,
    counting: (usize, usize),
    scratch: Vec<u8>,
}

impl ConsumeQueues {
    pub(super) fn find(&self, topic: &str, queue_id: QueueId) -> Option<QueueIndex> {
        self.by_name.get(topic)?.get(&queue_id).copied()
    }

    pub(super) fn of_topic(&self, topic: &str) -> impl Iterator<Item = (QueueId, QueueIndex)> {
        self.by_name.get(topic).into_iter().flatten().map(|(&id, &index)| (id, index))
    }

    pub(super) fn find_or_create(&mut self, topic: &str, queue_id: QueueId) -> QueueIndex {
        if let Some(index) = self.find(topic, queue_id) {
            return index;
        }
        let index = QueueIndex(u32::try_from(self.list.len()).expect("fewer than 2^32 queues"));
        self.light += u64::from(is_light(topic));
        let topic = TopicName::from(topic);
        self.list.push(Queue::new(topic.clone(), queue_id));
        self.by_name.entry(topic).or_default().insert(queue_id, index);
        index
    }

    /// Makes the light queues in which the record before `end` will be when its time has come, so that they have their places by then, here, after a
    /// restart, and on slaves: that it was taken is a promise. They begin at 0, with what comes behind it.
    #[inline(never)]
    pub(super) fn reserve_light(&mut self, topic: &str, properties: &[u8], end: LogOffset) {
        for name in awaited_light(topic, properties) {
            if self.light < LIGHT_QUEUES_MAX || self.find(name, LIGHT_QUEUE).is_some() {
                let queue = self.find_or_create(name, LIGHT_QUEUE);
                let queue = self.get_mut(queue);
                // Also for a later one, as of a message that was put off once more.
                if queue.is_nothing(end) {
                    queue.as_of = end;
                }
            }
        }
    }

    /// Takes back a light queue that is the newest of all and of which there is nothing.
    pub(super) fn give_back(&mut self, index: QueueIndex) {
        let is_newest = index.number() + 1 == self.list.len();
        let start = LogOffset(0);
        if let Some(queue) =
            self.list.pop_if(|queue| is_newest && is_light(queue.topic.as_str()) && queue.is_nothing(start))
        {
            self.light -= 1;
            if let Some(queues) = self.by_name.get_mut(&queue.topic) {
                queues.remove(&queue.queue_id);
                if queues.is_empty() {
                    self.by_name.remove(&queue.topic);
                }
            }
        }
    }

    #[inline]
    pub(super) fn get(&self, index: QueueIndex) -> &Queue {
        &self.list[index.0 as usize]
    }

    #[inline]
    pub(super) fn get_mut(&mut self, index: QueueIndex) -> &mut Queue {
        &mut self.list[index.0 as usize]
    }

    /// Adds an entry at the queue's end.
    #[inline]
    pub(super) fn push(&mut self, index: QueueIndex, entry: Entry) {
        self.unsealed += 1;
        let queue = &mut self.list[index.0 as usize];
        if !queue.is_based {
            // It is new, and so is its life.
            (queue.is_based, queue.life_from) = (true, entry.log_offset);
        }
        queue.tail.push(entry);
    }

    /// Empties a queue and lets it begin at an offset, with the record at `at`: the first that is left of it, or of a new life of its topic.
    pub(super) fn begin_at(&mut self, index: QueueIndex, offset: QueueOffset, at: LogOffset) {
        let queue = &mut self.list[index.0 as usize];
        self.unsealed -= queue.tail.len();
        let as_of = if queue.is_based { at } else { queue.as_of };
        queue.reset(as_of);
        queue.life_from = at;
        queue.sealed_end = offset;
        queue.floor = offset;
        queue.visible = offset;
    }

    /// Forgets the entries of all queues, and where they went on: the log begins anew elsewhere.
    pub(super) fn forget_all(&mut self) {
        for queue in &mut self.list {
            queue.forget_entries();
            (queue.as_of, queue.life_from) = (LogOffset(0), LogOffset(0));
        }
        self.unsealed = 0;
    }

    /// Closes the entries in memory into a block, and as many references as make a branch into one; `store` puts them into the index files and
    /// says where.
    pub(super) fn seal(
        &mut self,
        index: QueueIndex,
        references: usize,
        mut store: impl FnMut(&[u8], LogOffset) -> u64,
    ) {
        let queue = &mut self.list[index.0 as usize];
        let Some(last) = queue.tail.last() else { return };
        let last_log = last.log_offset;
        encode_block(queue.sealed_end, queue.queue_id, &queue.tail, &mut self.scratch);
        let at = store(&self.scratch, last_log);
        queue.blocks.push_back(BlockRef { first: queue.sealed_end, last_log, at, height: 0 });
        let count = queue.tail.len();
        queue.sealed_end = queue.next();
        // Not `clear`: with many queues their spare capacity would be most of the memory.
        queue.tail = Vec::new();
        self.unsealed -= count;
        while let Some((from, height)) = queue.branch_to_be(references) {
            let first = queue.blocks[from].first;
            branch::encode(first, queue.queue_id, queue.blocks.range(from..), &mut self.scratch);
            let at = store(&self.scratch, last_log);
            queue.blocks.truncate(from);
            queue.blocks.push_back(BlockRef { first, last_log, at, height });
        }
    }

    /// The next queue with entries in memory, going round: whose block to close early when all queues together hold too many.
    pub(super) fn next_to_seal(&mut self, tries: usize) -> Option<QueueIndex> {
        for _ in 0..tries.min(self.list.len()) {
            let index = self.step();
            if !self.list[index].tail.is_empty() {
                return Some(QueueIndex(u32::try_from(index).expect("fewer than 2^32 queues")));
            }
        }
        None
    }

    fn step(&mut self) -> usize {
        self.cursor = (self.cursor + 1) % self.list.len();
        self.cursor
    }

    /// Trims the next few queues.
    pub(super) fn trim_some(&mut self, count: usize, start: LogOffset) {
        for _ in 0..count.min(self.list.len()) {
            let index = self.step();
            self.list[index].trim(start);
        }
    }

    /// Counts the references to blocks of the next few queues; [`ConsumeQueues::references`] tells when all are counted.
    pub(super) fn count_some(&mut self, count: usize) {
        let (from, counted) = self.counting;
        let some = self.list.iter().skip(from).take(count).map(|queue| queue.blocks.len()).sum::<usize>();
        self.counting = (from + count, counted + some);
        if self.counting.0 >= self.list.len() {
            self.references = self.counting.1;
            self.counting = (0, 0);
        }
    }

    /// References to blocks, of all queues, some time ago.
    pub(super) fn references(&self) -> usize {
        self.references
    }

    /// Empties all queues of a topic, except those that say they are newer than `at`. Which.
    pub(super) fn remove_topic(&mut self, topic: &str, at: LogOffset) -> Vec<QueueIndex> {
        let removed: Vec<_> =
            self.of_topic(topic).map(|(_, index)| index).filter(|&index| self.get(index).as_of <= at).collect();
        for &index in &removed {
            let queue = self.get_mut(index);
            let count = queue.tail.len();
            queue.reset(at);
            queue.life_from = at;
            self.unsealed -= count;
        }
        removed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_of_a_removed_topic_is_nothing_when_its_removal_is_past_retention() {
        let mut queues = ConsumeQueues::default();
        let index = queues.find_or_create("T", QueueId(3));
        let entry = |at| Entry { log_offset: LogOffset(at), size: 1, tag_code: 0 };
        queues.push(index, entry(10));
        assert!(!queues.get(index).is_nothing(LogOffset(1_000)), "it has an entry");
        assert_eq!(queues.remove_topic("T", LogOffset(100)), [index]);
        assert!(!queues.get(index).is_nothing(LogOffset(100)), "its removal is to be read again");
        assert!(queues.get(index).is_nothing(LogOffset(101)));
        queues.push(index, entry(200));
        assert!(!queues.get(index).is_nothing(LogOffset(101)), "its topic was made again");
        let emptied = queues.find_or_create("U", QueueId(0));
        queues.get_mut(emptied).go_on_at(QueueOffset(5));
        assert!(!queues.get(emptied).is_nothing(LogOffset(1_000)), "it goes on at 5");
    }

    #[test]
    fn a_light_queue_has_its_place_while_a_message_waits_to_be_in_it_and_none_if_nothing_does() {
        let mut queues = ConsumeQueues::default();
        let waits = b"REAL_TOPIC\x01%LMQ%own\x02INNER_MULTI_DISPATCH\x01%LMQ%a\x02";
        let asked = queues.find_or_create("%LMQ%own", LIGHT_QUEUE);
        assert!(queues.get(asked).is_nothing(LogOffset(0)), "it was never written");
        queues.reserve_light("SCHEDULE_TOPIC_XXXX", waits, LogOffset(100));
        queues.reserve_light("SCHEDULE_TOPIC_XXXX", waits, LogOffset(200));
        queues.reserve_light("T", b"INNER_MULTI_DISPATCH\x01%LMQ%b\x02", LogOffset(300));
        for name in ["%LMQ%own", "%LMQ%a"] {
            let queue = queues.find(name, LIGHT_QUEUE).expect("a message waits to be in it");
            assert!(!queues.get(queue).is_nothing(LogOffset(200)), "a start finds it in the checkpoint");
            assert!(queues.get(queue).is_nothing(LogOffset(201)), "what waited is past retention");
            queues.give_back(queue);
        }
        assert_eq!((queues.light, queues.list.len()), (2, 2), "what is waited for stays");
        let sent_to = queues.find_or_create("%LMQ%c", LIGHT_QUEUE);
        queues.give_back(asked);
        queues.give_back(sent_to);
        assert_eq!((queues.light, queues.list.len()), (2, 2));
        assert!(queues.find("%LMQ%c", LIGHT_QUEUE).is_none());
    }
}
