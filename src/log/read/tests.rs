//! A crowd of readers of old messages, and what its reads cost the disk.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Bytes, BytesMut};

use super::*;
use crate::limits::{BRANCH_REFERENCES, FETCHES_WAITING_MAX, PARKED_ROUNDS_MAX, QUEUE_BLOCK_ENTRIES};
use crate::log::cache::Caches;
use crate::log::commit_log::tests::draft;
use crate::log::consume_queue::BlockSizes;
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
                Work::Write { file, at, data, .. } | Work::Mend { file, at, data, .. } => self.put(file, at, &data),
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

/// A log whose blocks and branches are small; nothing of the index is in a cache.
fn branched(queues: u32, messages: u32) -> World {
    filled_by(queues, messages, BlockSizes { entries: 2, references: 4 })
}

fn filled_by(queues: u32, messages: u32, sizes: BlockSizes) -> World {
    let mut world = World::filled(queues, 0, 0);
    (world.log.settings.queue_block_entries, world.log.settings.branch_references) = (sizes.entries, sizes.references);
    let mut time = 0;
    for nth in 0..messages {
        for id in 0..queues {
            time += 10;
            let draft = RecordDraft { queue_id: QueueId(id), store_timestamp: time, ..draft(&[7; 100]) };
            while world.log.append(world.queues[id as usize], &draft).is_err() {
                world.settle();
            }
        }
        if nth % 64 == 0 {
            world.settle();
        }
    }
    world.settle();
    world.forget_cold();
    world
}

impl World {
    fn forget_cold(&mut self) {
        (self.log.caches, self.log.crowd, self.log.open_block) = (Caches::new(1 << 20), Default::default(), None);
    }

    /// What the index says of a message, and how many reads that took.
    fn code(&mut self, id: u32, at: u64) -> (Coded, u32) {
        let mut reads = 0;
        loop {
            match self.log.code(self.queues[id as usize], QueueOffset(at)) {
                Coded::Cold(block) => self.supply(block),
                coded => return (coded, reads),
            }
            reads += 1;
        }
    }

    fn height(&self, id: u32) -> usize {
        let of = self.log.queues.get(self.queues[id as usize]);
        of.blocks.iter().map(|block| usize::from(block.height)).max().expect("it has blocks")
    }
}

/// At the bound: what stays in memory of a queue grows by less than a branch a height, whatever its length, and each entry is found from there.
#[test]
fn a_queue_keeps_few_references_in_memory_and_every_entry_is_found() {
    let messages = 600;
    let mut world = branched(7, messages);
    let height = world.height(3);
    assert!(height >= 4, "300 blocks, four to a branch: {height}");
    for &queue in &world.queues {
        let references = world.log.queues.get(queue).blocks.len();
        assert!(references <= 3 * (height + 1), "{references} references");
    }
    let (mut last, mut reads_max) = (None, 0);
    for at in 0..u64::from(messages) {
        world.forget_cold();
        let (coded, reads) = world.code(3, at);
        let Coded::Code(0, place) = coded else { panic!("{at}: {coded:?}") };
        assert!(Some(place) > last, "{at}");
        (last, reads_max) = (Some(place), reads_max.max(reads));
    }
    assert!(reads_max as usize <= height + 1, "one read a height: {reads_max}");
    assert_eq!(world.log.damage().index_blocks_rebuilt, 0);
}

/// The price, with blocks as small as 50,000 busy queues on a shard have them: so much more is written of the index, and read of the disk by readers of
/// all queues.
#[test]
fn branches_cost_a_tenth_of_the_index_and_less_of_what_is_read() {
    let cost = |references| {
        let sizes = BlockSizes { entries: 20, references };
        let mut world = filled_by(50, 20 * 16 * 3 + 7, sizes);
        let written = world.log.index.end();
        let references: usize = world.queues.iter().map(|queue| world.log.queues.get(*queue).blocks.len()).sum();
        let (read, _) = world.read_all(32, |_| 0);
        (written, read, references)
    };
    let (with, without) = (cost(BRANCH_REFERENCES), cost(1 << 20));
    eprintln!("bytes of the index, bytes read, references in memory: with branches {with:?}, without {without:?}");
    assert!(with.2 * 16 <= without.2);
    assert!(with.0 * 10 <= without.0 * 11 && with.1 * 10 <= without.1 * 11, "{with:?}, without {without:?}");
}

/// A crowd at the same depth costs the disk no more than branches are worth, though no cache holds what leads to so many.
#[test]
fn a_crowd_below_branches_comes_to_its_end() {
    let mut world = branched(900, 40);
    assert!(world.height(0) >= 2);
    world.log.caches = Caches::new(64 * 1024);
    let (read, got) = world.read_all(4, |_| 0);
    // A block of the index has two entries here, and each read has 4 KiB or 8.
    assert!(got > 900 * 40 * 100 && read < 900 * 40 * 2 * 8_192, "{read} bytes read for {got}");
}

#[test]
fn what_a_damaged_branch_or_block_below_it_said_is_built_again_from_the_log() {
    const MESSAGES: u32 = 1_500;
    let mut world = branched(3, MESSAGES);
    let sound: Vec<Coded> = (0..u64::from(MESSAGES)).map(|at| world.code(1, at).0).collect();
    let root = *world.log.queues.get(world.queues[1]).blocks.front().expect("there are some");
    assert!(root.height >= 4);
    let of_queue = [QueueId(1).0.to_be_bytes().as_slice()].concat();
    let index = world.disk[&FileName::Index(0)].clone();
    let starts = |magic: &[u8]| {
        let is_of = |at: &usize| index[*at..].starts_with(magic) && index.get(at + 20..at + 24) == Some(&of_queue[..]);
        (0..index.len()).filter(is_of).collect::<Vec<usize>>()
    };
    let (branches, blocks) = (starts(b"RQBR"), starts(b"RQCB"));
    let root = usize::try_from(root.at).expect("small");
    for harmed in [vec![root], vec![branches[0]], vec![blocks[7], blocks[8]], branches.clone()] {
        world.disk.insert(FileName::Index(0), index.clone());
        world.log.damage = Default::default();
        for at in &harmed {
            world.put(FileName::Index(0), *at as u64 + 9, &[0x55]);
        }
        for order in [(0..u64::from(MESSAGES)).collect::<Vec<u64>>(), (0..u64::from(MESSAGES)).rev().collect()] {
            world.forget_cold();
            for at in order {
                assert_eq!(world.code(1, at).0, sound[usize::try_from(at).expect("small")], "{harmed:?} {at}");
            }
        }
        let rebuilt = world.log.damage().index_blocks_rebuilt;
        assert!(
            (1..=u64::from(MESSAGES) / 2).contains(&rebuilt),
            "{harmed:?}: {rebuilt} blocks were built again, each once"
        );
        let others = (0..u64::from(MESSAGES)).all(|at| matches!(world.code(0, at).0, Coded::Code(..)));
        assert!(others, "the queue beside it");
    }
}

/// Branches lead to blocks that are built again one at a time, of one branch and of one above it: each block is built from all of the log that it is
/// about, though the one before it goes on beyond its beginning, or has lost its last entry and does not say where that lay.
#[test]
fn blocks_below_damaged_branches_do_not_lose_what_lies_between_them() {
    let small = |number: u64| usize::try_from(number).expect("small");
    for (entries, lost) in [(5, None), (4, Some(15))] {
        let mut world = filled_by(2, 1_500, BlockSizes { entries: 3, references: 4 });
        // Of what was closed by another setting, branches do not begin where one above them says that blocks do.
        world.log.settings.queue_block_entries = entries;
        let sound: Vec<Coded> = (0..100).map(|at| world.code(1, at).0).collect();
        let root = *world.log.queues.get(world.queues[1]).blocks.front().expect("there are some");
        assert!(root.height >= 2 && root.first == QueueOffset(0));
        let (segment, index) = (FileName::Segment(LogOffset(0)), FileName::Index(0));
        let (log, blocks) = (world.disk[&segment].clone(), world.disk[&index].clone());
        let of_branch = [12_u64.to_be_bytes().as_slice(), &4_u32.to_be_bytes(), &QueueId(1).0.to_be_bytes()].concat();
        let is_branch = |at: &usize| blocks[*at..].starts_with(b"RQBR") && blocks[at + 8..].starts_with(&of_branch);
        let branch = (0..blocks.len()).find(is_branch).expect("the second of the lowest ones");

        world.put(index, branch as u64 + 30, &[0x55; 8]);
        if let Some(lost) = lost {
            let Coded::Code(_, place) = sound[small(lost)] else { panic!("{lost}") };
            world.put(segment, place.0 + 150, &[0x55]);
        }
        world.forget_cold();
        for at in [12, lost.unwrap_or(12)] {
            assert_eq!(world.code(1, at).0, sound[small(at)], "what is lost says where it lay: {at}");
        }
        world.disk.insert(index, blocks.clone());
        world.put(index, root.at + 30, &[0x55; 8]);
        world.forget_cold();
        world.code(1, 17);
        assert_eq!(world.log.damage().index_blocks_rebuilt, 2, "one below each branch");
        world.disk.extend([(segment, log), (index, blocks)]);
        world.forget_cold();
        for (at, sound) in (0..).zip(&sound) {
            assert_eq!(world.code(1, at).0, *sound, "blocks of {entries}, {lost:?} was lost: {at}");
        }
    }
}

/// A clock was set back: what lies in front of a queue in the log was stored later, which says nothing of when the queue's own messages were.
#[test]
fn a_search_by_time_below_branches_takes_no_other_queue_s_times() {
    let mut world = filled_by(2, 0, BlockSizes { entries: 2, references: 4 });
    let mut append = |id: u32, store_timestamp, body: &[u8]| {
        let draft = RecordDraft { queue_id: QueueId(id), store_timestamp, ..draft(body) };
        while world.log.append(world.queues[id as usize], &draft).is_err() {
            world.settle();
        }
        world.log.appended()
    };
    while append(0, 1_000_000, &[7; 50_000]) < LogOffset(16 << 20) {}
    for nth in 0..200 {
        append(1, 10 * nth, &[7; 2_000]);
    }
    world.settle();
    assert!(world.height(1) >= 2);
    for (boundary, expected) in [(Boundary::Lower, 50), (Boundary::Upper, 50)] {
        for queue in world.queues.clone() {
            world.forget_cold();
            let found = loop {
                match world.log.offset_by_time(queue, UnixMs(500), boundary) {
                    Search::Cold(block) => world.supply(block),
                    found => break found,
                }
            };
            let expected = if queue == world.queues[1] { expected } else { 0 };
            assert_eq!(found, Search::Found(QueueOffset(expected)), "{queue:?} {boundary:?}");
        }
    }
}

/// Where messages begin, by time or behind what retention took, is found with as many reads as the tree is high, not with one a step of the search.
#[test]
fn a_search_below_branches_reads_little() {
    let (queues, messages) = (64, 1_500);
    let mut world = branched(queues, messages);
    let queue = world.queues[5];
    let segments: Vec<_> = world.log.segments.iter().map(|segment| (segment.start, segment.times)).collect();
    assert!(segments.len() > 1, "{segments:?}");
    for nth in [0_u32, 1, 700, 1_499] {
        world.forget_cold();
        let time = UnixMs(i64::from(nth) * 640 + 60);
        let mut reads = 0;
        let found = loop {
            match world.log.offset_by_time(queue, time, Boundary::Lower) {
                Search::Cold(block) => world.supply(block),
                found => break found,
            }
            reads += 1;
        };
        assert_eq!(found, Search::Found(QueueOffset(u64::from(nth))));
        assert!(reads <= PARKED_ROUNDS_MAX / 2, "{reads} reads for message {nth}");
    }
    world.forget_cold();
    let (start, _) = segments[1];
    let (_, expected) =
        (0..messages).map(|nth| (nth, world.code(5, u64::from(nth)).0)).fold((0, 0), |(at, gone), (_, code)| {
            let is_gone = matches!(code, Coded::Code(_, place) if place < start);
            (at + 1, if is_gone { at + 1 } else { gone })
        });
    assert!(world.log.segments.retire(false).is_some());
    world.forget_cold();
    let mut reads = 0;
    while let Err(block) = world.log.first(queue) {
        world.supply(block);
        reads += 1;
    }
    assert_eq!(world.log.first(queue), Ok(QueueOffset(expected)));
    assert!(reads <= 2 * (world.height(5) + 1), "{reads} reads");

    // The same where what leads there is damaged: the log says it.
    let index = world.disk[&FileName::Index(0)].clone();
    let is_branch = |at: &usize| index[*at..].starts_with(b"RQBR") && index[at + 20..].starts_with(&[0, 0, 0, 5]);
    for at in (0..index.len() - 24).filter(is_branch) {
        world.put(FileName::Index(0), at as u64 + 30, &[0x55; 8]);
    }
    world.forget_cold();
    let known = world.log.queues.get_mut(queue);
    (known.floor, known.floor_as_of) = (QueueOffset(0), LogOffset(0));
    let mut out = BytesMut::new();
    let limits = ReadLimits { messages_max: 32, bytes_max: 64 * 1024, entries_max: 800 };
    let removed = loop {
        match world.log.read(queue, QueueOffset(expected - 1), &limits, &|_| true, &mut out) {
            Read::Cold(block) => world.supply(block),
            read => break read,
        }
    };
    assert_eq!(removed, Read::Removed { next: QueueOffset(expected) });
    while let Err(block) = world.log.first(queue) {
        world.supply(block);
    }
    assert_eq!(world.log.first(queue), Ok(QueueOffset(expected)));
    assert!(world.log.damage().index_blocks_rebuilt > 0);
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
