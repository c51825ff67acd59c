//! A crowd of readers of old messages, and what its reads cost the disk.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Bytes, BytesMut};

use super::*;
use crate::limits::FETCHES_WAITING_MAX;
use crate::log::commit_log::tests::draft;
use crate::log::{FlushPolicy, HeapTail, LogSettings, Work};
use crate::model::{Now, QueueId};
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
        let settings = LogSettings {
            segment_bytes: 16 << 20,
            flush: FlushPolicy::ASYNC,
            cache_bytes: 1 << 20,
            index_file_bytes: 8 << 20,
            key_run_entries: 1024,
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
            let from = usize::try_from(block.at).expect("small");
            let data = Bytes::copy_from_slice(&self.disk[&block.file][from..from + block.len as usize]);
            self.log.supply(block, Ok(data));
            ready.extend(parked.remove(&block).unwrap_or_default());
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
