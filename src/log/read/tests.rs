//! A crowd of readers of old messages, and what its reads cost the disk.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Bytes, BytesMut};

use super::*;
use crate::limits::{FETCHES_WAITING_MAX, QUEUE_BLOCK_ENTRIES};
use crate::log::cache::Caches;
use crate::log::commit_log::tests::draft;
use crate::log::{FlushPolicy, HeapTail, LogSettings, Work};
use crate::model::{Now, QueueId};
use crate::protocol::message::sys_flag;
use crate::protocol::record::RecordDraft;

/// A log whose tail holds next to nothing, and its disk.
struct World {
    log: Log,
    disk: BTreeMap<FileName, Vec<u8>>,
    queues: Vec<QueueIndex>,
}

impl World {
    /// So many queues, to which messages were sent in turn.
    fn filled(queues: u32, messages: u32, body_bytes: usize) -> World {
        World::filled_with(true, queues, messages, body_bytes)
    }

    fn filled_with(has_record_crc: bool, queues: u32, messages: u32, body_bytes: usize) -> World {
        let settings = LogSettings {
            segment_bytes: 16 << 20,
            flush: FlushPolicy::ASYNC,
            cache_bytes: 1 << 20,
            index_file_bytes: 8 << 20,
            key_run_entries: 1024,
            has_record_crc,
            ..LogSettings::default()
        };
        let mut log = Log::create(settings, Box::new(HeapTail::new(256 * 1024)));
        let queues = (0..queues).map(|id| log.queue("T", QueueId(id))).collect();
        let mut world = World { log, disk: BTreeMap::new(), queues };
        world.settle();
        let body = vec![7; body_bytes];
        for _ in 0..messages {
            for id in 0..queues_len(&world) {
                world.append(id, &body);
            }
        }
        world.settle();
        world
    }

    fn append(&mut self, id: u32, body: &[u8]) {
        let draft = RecordDraft { queue_id: QueueId(id), ..draft(body) };
        while self.log.append(self.queues[id as usize], &draft).is_err() {
            self.settle();
        }
    }

    fn settle(&mut self) {
        while let Some(commit) = self.log.poll_commit() {
            let mut block = vec![0; commit.len];
            self.log.copy_tail(commit.from, &mut block);
            self.put(commit.segment, commit.at, &block);
            self.log.handle_io(commit.id, Ok(()));
        }
        while let Some(io) = self.log.poll_background(Now::default()) {
            match io.work {
                Work::Write { file, at, data, .. } => self.put(file, at, &data),
                Work::Rename { from, to } => {
                    let bytes = self.disk.remove(&from).unwrap_or_default();
                    self.disk.insert(to, bytes);
                }
                Work::Prepare { .. } | Work::Replace { .. } | Work::Remove { .. } => {}
            }
            self.log.handle_io(io.id, Ok(()));
        }
    }

    fn put(&mut self, file: FileName, at: u64, bytes: &[u8]) {
        let at = usize::try_from(at).expect("small");
        let content = self.disk.entry(file).or_default();
        content.resize(content.len().max(at + bytes.len()), 0);
        content[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// Readers of all queues, from `begin` of each on, read on until they have come to the end, as pulls do; the shell brings what they wait for and what
    /// they will want, in order. Bytes that the disk has read, and bytes of messages that readers got.
    fn read_all(&mut self, per_pull: usize, begin: impl Fn(u64) -> u64) -> (u64, u64) {
        let limits = ReadLimits { messages_max: per_pull, bytes_max: 256 * 1024, entries_max: 800 };
        let mut ready: VecDeque<(QueueIndex, QueueOffset)> =
            self.queues.iter().zip(0..).map(|(queue, number)| (*queue, QueueOffset(begin(number)))).collect();
        let mut parked: BTreeMap<BlockId, Vec<(QueueIndex, QueueOffset)>> = BTreeMap::new();
        let (mut wanted, mut read, mut got) = (VecDeque::new(), 0, 0);
        let mut out = BytesMut::new();
        loop {
            while let Some((queue, from)) = ready.pop_front() {
                out.clear();
                match self.log.read(queue, from, &limits, &|_| true, &mut out) {
                    Read::Found { next, .. } => {
                        got += out.len() as u64;
                        ready.push_back((queue, next));
                    }
                    Read::NoMatch { next } if next < self.log.bounds(queue).max => ready.push_back((queue, next)),
                    Read::NoMatch { .. } => {}
                    Read::Cold(block) => {
                        if !parked.contains_key(&block) && !wanted.contains(&block) {
                            wanted.push_back(block);
                        }
                        parked.entry(block).or_default().push((queue, from));
                    }
                    other => panic!("{other:?}"),
                }
                for block in self.log.prefetch() {
                    if wanted.len() < FETCHES_WAITING_MAX && !wanted.contains(&block) {
                        wanted.push_back(block);
                    }
                }
            }
            let Some(block) = wanted.pop_front() else {
                assert!(parked.is_empty());
                return (read, got);
            };
            read += u64::from(block.len);
            self.supply(block);
            ready.extend(parked.remove(&block).unwrap_or_default());
        }
    }
}

impl World {
    fn supply(&mut self, block: BlockId) {
        let from = usize::try_from(block.at).expect("small");
        let data = Bytes::copy_from_slice(&self.disk[&block.file][from..from + block.len as usize]);
        self.log.supply(block, Ok(data));
    }

    /// What a reader of queue 0 is told of its first message.
    fn read_first(&mut self) -> Read {
        let limits = ReadLimits { messages_max: 1, bytes_max: 1, entries_max: 1 };
        loop {
            match self.log.read(self.queues[0], QueueOffset(0), &limits, &|_| true, &mut BytesMut::new()) {
                Read::Cold(block) => self.supply(block),
                read => return read,
            }
        }
    }

    fn record(&mut self, at: LogOffset) -> RecordRead {
        loop {
            match self.log.record(at, &mut BytesMut::new()) {
                RecordRead::Cold(block) => self.supply(block),
                read => return read,
            }
        }
    }
}

fn queues_len(world: &World) -> u32 {
    u32::try_from(world.queues.len()).expect("few")
}

/// Queues, messages of each, bytes of a body, messages that a reader asks for.
type Crowd = (u32, u32, usize, usize);

#[test]
fn a_crowd_of_readers_gets_at_least_half_of_what_the_disk_reads() {
    let crowds: [Crowd; 5] =
        [(1, 10_000, 1_000, 32), (20, 1_000, 1_000, 32), (300, 60, 1_000, 32), (300, 420, 100, 32), (300, 420, 100, 1)];
    for crowd @ (queues, messages, body_bytes, per_pull) in crowds {
        let mut world = World::filled(queues, messages, body_bytes);
        let (read, got) = world.read_all(per_pull, |_| 0);
        assert!(read <= 2 * got, "{crowd:?}: {read} bytes read for {got}");
    }
}

/// Each message is alone in its disk block then, and each block of the index has one reader: no more than those are read, each once.
#[test]
fn readers_that_are_far_from_one_another_read_the_disk_blocks_of_their_messages() {
    let (queues, messages) = (600, 420);
    let mut world = World::filled(queues, messages, 100);
    let begin = |number: u64| u64::from(messages) - 1 - number % 64;
    let (read, _) = world.read_all(1, begin);
    let pulls: u64 = (0..u64::from(queues)).map(|number| number % 64 + 1).sum();
    let (record_max, index_max) = (4096, 3 * 4096);
    let bound = pulls * record_max + u64::from(queues) * index_max;
    assert!(read <= bound, "{read} bytes read for {pulls} messages");
}

/// The body's own CRC does not cover what lies behind it. Where records have the CRC property, one without it is not what was written, whatever
/// else may have come to lie there; those of RocketMQ's own brokers have none.
#[test]
fn a_message_whose_end_was_overwritten_is_damaged_unless_none_has_a_crc() {
    for has_record_crc in [true, false] {
        let mut world = World::filled_with(has_record_crc, 1, 1_000, 1_000);
        let Read::Found { .. } = world.read_first() else { panic!("it is there") };
        let file = FileName::Segment(LogOffset(0));
        let sound = world.disk[&file].clone();
        let size = record::peek_size(&sound).expect("a record") as usize;
        // With the body's length and the topic's go the properties.
        let properties = RecordView::decode(&sound, None, Check::Crc).expect("sound").properties.len();
        world.put(file, (size - properties) as u64, &vec![b'x'; properties]);
        world.log.forget_blocks(LogOffset(0), LogOffset(1));
        let (read, record) = (world.read_first(), world.record(LogOffset(0)));
        if !has_record_crc {
            assert_eq!(properties, 0);
            assert!(matches!((read, record), (Read::Found { .. }, RecordRead::Found { .. })), "{read:?} {record:?}");
            continue;
        }
        assert!(matches!(read, Read::Damaged { at: LogOffset(0), .. }), "{read:?}");
        assert_eq!(record, RecordRead::Failed);
        assert_eq!(world.record(LogOffset(1)), RecordRead::Missing, "no record begins there");
        world.put(file, 0, &sound[..size]);
        assert!(matches!(world.record(LogOffset(0)), RecordRead::Found { .. }), "it is mended, and was in no cache");
        assert!(matches!(world.read_first(), Read::Found { .. }));
    }
}

/// A topic was removed and made again; then the log lost where that lies, with the first message of its new life, and the index its block. What comes
/// instead of that message is not the one of the same offset in the life before.
#[test]
fn a_message_of_a_removed_topic_does_not_come_back_for_one_that_is_lost() {
    let mut world = World::filled(1, 1_000, 100);
    let queue = world.queues[0];
    let removed_at = world.log.appended();
    world.log.remove_topic("T");
    for _ in 0..3_000 {
        world.append(0, &[9; 100]);
    }
    world.settle();
    let (first, begin) = (world.log.queue_entry(queue, QueueOffset(0)), usize::try_from(removed_at.0).expect("small"));
    let mut first = first;
    while let Err(block) = first {
        world.supply(block);
        first = world.log.queue_entry(queue, QueueOffset(0));
    }
    let lost_to = first.expect("read above").expect("it is there").log_offset.plus(16);
    let len = usize::try_from(lost_to.since(removed_at)).expect("small");
    world.put(FileName::Segment(LogOffset(0)), begin as u64, &vec![0; len]);
    let block = world.log.queues.get(queue).blocks[0].at;
    world.put(FileName::Index(0), block, &[0; 64]);
    world.log.caches = Caches::new(1 << 20);
    let read = world.read_first();
    assert!(matches!(read, Read::Damaged { next: QueueOffset(1), .. }), "{read:?}");
}

/// A log whose queue has batches of so many messages, one record each; the tail holds next to nothing.
fn batches(counts: &[u32]) -> World {
    let mut world = World::filled(2, 0, 0);
    for &count in counts {
        let properties = format!("INNER_NUM\u{1}{count}\u{2}TAGS\u{1}{}\u{2}", count % 2);
        let draft = RecordDraft {
            sys_flag: sys_flag::INNER_BATCH,
            store_timestamp: 1_000 + i64::from(count),
            properties: properties.as_bytes(),
            marks: Marks::of(properties.as_bytes()),
            ..draft(&[7; 3_000])
        };
        while world.log.append(world.queues[0], &draft).is_err() {
            world.settle();
        }
    }
    // So much lies behind them that neither they nor their index are in memory.
    for _ in 0..10_000 {
        world.append(1, &[1; 20]);
    }
    world.settle();
    world
}

/// Reads until the blocks that it needs are there.
fn read(world: &mut World, from: u64, limits: &ReadLimits, wanted: &dyn Fn(i64) -> bool) -> (Read, Vec<u64>) {
    loop {
        let mut out = BytesMut::new();
        match world.log.read(world.queues[0], QueueOffset(from), limits, wanted, &mut out) {
            Read::Cold(block) => world.supply(block),
            read => {
                let mut found = Vec::new();
                while let Ok(view) = RecordView::decode(&out, None, Check::Crc) {
                    found.push(view.queue_offset.0);
                    let _ = out.split_to(view.size as usize);
                }
                return (read, found);
            }
        }
    }
}

#[test]
fn a_batch_is_read_whole_and_once_from_any_of_its_offsets() {
    let mut world = batches(&[5, 3, 1, 400, 2]);
    assert_eq!(world.log.bounds(world.queues[0]).max, QueueOffset(411));
    let mut check = |from: u64, messages_max: usize, next: u64, messages: usize, expected: &[u64]| {
        let limits = ReadLimits { messages_max, bytes_max: 1 << 20, entries_max: 800 };
        let found = read(&mut world, from, &limits, &|_| true);
        let read = Read::Found { next: QueueOffset(next), messages };
        assert_eq!(found, (read, expected.to_vec()), "{messages_max} from {from}");
    };
    check(0, 1, 5, 5, &[0]);
    check(0, 7, 5, 5, &[0]);
    check(0, 8, 8, 8, &[0, 5]);
    check(3, 9, 9, 9, &[0, 5, 8]);
    check(8, 32, 9, 1, &[8]);
    check(9, 1, 409, 400, &[9]);
    check(100, 32, 409, 400, &[9]);
    check(0, 1_000, 411, 411, &[0, 5, 8, 9, 409]);
    // The bytes of a record are counted once.
    let limits = ReadLimits { messages_max: 1_000, bytes_max: 7_000, entries_max: 800 };
    assert_eq!(read(&mut world, 0, &limits, &|_| true).1, [0, 5]);
    // Entries of what is not wanted are passed over one by one, up to the bound.
    let limits = ReadLimits { messages_max: 32, bytes_max: 1 << 20, entries_max: 100 };
    let (of_even, of_odd) = (i64::from(record::java_hash(0, "0")), i64::from(record::java_hash(0, "1")));
    assert_eq!(read(&mut world, 9, &limits, &|code| code == of_odd).0, Read::NoMatch { next: QueueOffset(109) });
    assert_eq!(read(&mut world, 0, &limits, &|code| code == of_odd).1, [0, 5, 8]);
    assert_eq!(read(&mut world, 1, &limits, &|code| code == of_even).1, [9]);
}

#[test]
fn a_search_by_time_comes_to_the_beginning_of_a_batch() {
    let mut world = batches(&[5, 7, 9]);
    let mut check = |time: i64, boundary: Boundary, expected: u64| loop {
        match world.log.offset_by_time(world.queues[0], UnixMs(time), boundary) {
            Search::Cold(block) => world.supply(block),
            found => break assert_eq!(found, Search::Found(QueueOffset(expected)), "{boundary:?} {time}"),
        }
    };
    for (time, lower, upper) in
        [(0, 0, 0), (1_005, 0, 0), (1_006, 5, 0), (1_007, 5, 5), (1_009, 12, 12), (9_999, 21, 12)]
    {
        check(time, Boundary::Lower, lower);
        check(time, Boundary::Upper, upper);
    }
}

#[test]
fn a_block_that_begins_within_a_batch_is_built_again() {
    let block = u32::try_from(QUEUE_BLOCK_ENTRIES).expect("small");
    let mut world = batches(&[5, block, 700, 2, block]);
    let end = world.log.bounds(world.queues[0]).max;
    for (file, bytes) in &mut world.disk {
        if matches!(file, FileName::Index(_)) {
            bytes.fill(0);
        }
    }
    let limits = ReadLimits { messages_max: 1, bytes_max: 1, entries_max: 1 };
    let (mut at, mut found) = (0, Vec::new());
    while at < end.0 {
        let (Read::Found { next, .. }, offsets) = read(&mut world, at, &limits, &|_| true) else {
            panic!("lost at {at}")
        };
        assert_eq!(offsets.len(), 1);
        found.extend(offsets);
        at = next.0;
    }
    let block = QUEUE_BLOCK_ENTRIES as u64;
    assert_eq!(found, [0, 5, 5 + block, 705 + block, 707 + block]);
    assert!(world.log.damage().index_blocks_rebuilt >= 2, "blocks were read as they were");
}
