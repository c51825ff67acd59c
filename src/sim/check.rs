//! What is compared with the model.

use bytes::{Bytes, BytesMut};

use super::model::{Message, QueueName};
use super::world::{FAILED, LogWorld, Rule, body, shared_key, unique_key};
use crate::limits::FAILED_REST_MS_MAX;
use crate::log::{BlockId, FileName, KeySearch, Read, ReadLimits, RecordRead, Search};
use crate::model::{LogOffset, QueueOffset, UnixMs};
use crate::protocol::record::Check;
use crate::protocol::record::RecordView;
use crate::protocol::request::Boundary;

/// Reads that are tried until a cold one must have come through.
pub(super) const TRIES_MAX: usize = 2000;

impl LogWorld {
    /// Everything that was appended and not removed is where it was put, and nothing else.
    pub(super) fn check_all(&mut self) {
        let names: Vec<_> = self.model.queues().map(|(name, _)| name).collect();
        for name in names {
            self.check_bounds(name);
            let Some(queue) = self.log().find_queue(name.0, name.1) else {
                let start = self.log().start();
                let is_gone = self.model.messages(name).iter().all(|message| message.log_offset < start);
                assert!(is_gone, "{name:?} is not known any more");
                continue;
            };
            let bounds = self.log().bounds(queue);
            let mut at = bounds.min;
            while at < bounds.max {
                at = self.check_read_from(name, at, 64, 1 << 20, None);
            }
        }
        for topic in super::world::TOPICS.into_iter().chain(super::world::LIGHT) {
            let known: Vec<_> = self.log().queues_of(topic).collect();
            for (id, queue) in known {
                let next = self.log().bounds(queue).appended_max;
                assert_eq!(next.0, self.model.messages((topic, id)).len() as u64, "the end of queue {id} of {topic}");
            }
        }
    }

    fn check_bounds(&mut self, name: QueueName) {
        let log = self.log.as_mut().expect("a process runs");
        let start = log.start();
        let messages = self.model.messages(name);
        let first = messages.iter().position(|message| message.log_offset >= start).unwrap_or(messages.len());
        if let Some(queue) = log.find_queue(name.0, name.1) {
            let bounds = log.bounds(queue);
            assert!(bounds.min.0 <= first as u64, "{name:?} begins at {}, but {first} is still there", bounds.min);
            assert!(bounds.min <= bounds.max && bounds.max <= bounds.appended_max);
            assert_eq!(bounds.appended_max.0, messages.len() as u64, "the end of {name:?}");
            let confirm = log.confirm();
            let visible = messages.iter().filter(|message| message.end <= confirm).count();
            assert_eq!(
                bounds.max.0.max(first as u64),
                (visible as u64).max(first as u64),
                "what may be seen of {name:?}"
            );
        }
    }

    fn pick_queue(&mut self) -> Option<QueueName> {
        let names: Vec<_> = self.model.queues().map(|(name, _)| name).collect();
        (!names.is_empty()).then(|| self.random.pick(&names))
    }

    pub(super) fn pick_live(&mut self) -> Option<(QueueName, Message)> {
        let name = self.pick_queue()?;
        let (start, confirm) = (self.log().start(), self.log().confirm());
        let messages = self.model.messages(name);
        let message = messages.get(self.random.index(messages.len().max(1)))?;
        (start <= message.log_offset && message.end <= confirm).then(|| (name, message.clone()))
    }

    /// A read from somewhere, of all or of one tag.
    pub(super) fn check_read(&mut self) {
        let Some(name) = self.pick_queue() else { return };
        self.check_bounds(name);
        let Some(queue) = self.log().find_queue(name.0, name.1) else { return };
        let bounds = self.log().bounds(queue);
        let from = QueueOffset(bounds.min.0 + self.random.below(bounds.max.0 - bounds.min.0 + 1));
        let tag = if self.random.percent(50) { None } else { Some(i64::from(b"ABC"[self.random.index(3)])) };
        let (messages_max, bytes_max) = (1 + self.random.index(40), 1 + self.random.index(100_000));
        if from < bounds.max {
            self.check_read_from(name, from, messages_max, bytes_max, tag);
        }
    }

    /// Reads once and compares. Where to go on.
    pub(super) fn check_read_from(
        &mut self,
        name: QueueName,
        from: QueueOffset,
        messages_max: usize,
        bytes_max: usize,
        tag: Option<i64>,
    ) -> QueueOffset {
        let queue = self.log().find_queue(name.0, name.1).expect("looked up before");
        let limits = ReadLimits { messages_max, bytes_max, entries_max: 500 };
        let mut out = BytesMut::new();
        let (mut from, mut moved, mut moved_under) = (from, 0, LogOffset(0));
        for _ in 0..TRIES_MAX {
            out.clear();
            let read = self.log().read(queue, from, &limits, &|code| tag.is_none_or(|tag| code == tag), &mut out);
            let start = self.log().start();
            let between = |next: QueueOffset| {
                let (from, next) = (usize::try_from(from.0).expect("small"), usize::try_from(next.0).expect("small"));
                self.model.messages(name)[from..next].iter()
            };
            let wanted = |message: &&Message| tag.is_none_or(|tag| message.tag == tag);
            match read {
                Read::Cold(block) => {
                    assert!(out.is_empty(), "nothing is put out with a cold block");
                    self.fetch(block);
                    continue;
                }
                Read::Found { next, messages } => {
                    let mut expected: Vec<_> = between(next).filter(wanted).cloned().collect();
                    // A record that holds several comes once, and whole.
                    expected.dedup_by_key(|message| message.log_offset);
                    let count: usize = expected.iter().map(|message| message.count as usize).sum();
                    assert_eq!(count, messages, "{name:?} from {from} to {next}");
                    let (is_one, last) = (expected.len() == 1, expected.last().expect("something was found"));
                    assert!(is_one || (messages <= messages_max && out.len() <= bytes_max));
                    assert!(last.first.plus(u64::from(last.count)) <= next, "{name:?}: {next} is within {last:?}");
                    self.counts.batches_entered += u64::from(expected[0].first < from);
                    check_records(name, &out, &expected);
                    self.counts.messages_read += messages as u64;
                    return next;
                }
                Read::NoMatch { next } => {
                    assert!(next > from, "a read goes on");
                    assert_eq!(between(next).filter(wanted).count(), 0, "{name:?} from {from} to {next}");
                    return next;
                }
                Read::Removed { next } => {
                    assert!(
                        next > from && between(next).all(|message| message.log_offset < start),
                        "{name:?}: {from} to {next} are there"
                    );
                    // Once to the block that is partly gone, once within it; retention may go on meanwhile.
                    moved = if moved_under == start { moved + 1 } else { 1 };
                    moved_under = start;
                    assert!(moved <= 2, "{name:?}: a reader is moved step by step, now from {from} to {next}");
                    if next >= self.log().bounds(queue).max {
                        return next;
                    }
                    from = next;
                }
                Read::Failed => {
                    assert!(self.may_rest(), "{name:?}: {from} cannot be read");
                    if self.rule == Rule::MoveOnError {
                        let next = from.plus(1);
                        assert_eq!(between(next).filter(wanted).count(), 0, "{name:?}: a reader was moved from {from}");
                        return next;
                    }
                    self.rest();
                }
                Read::Damaged { at, next } => {
                    let lost = &self.model.messages(name)[usize::try_from(from.0).expect("small")];
                    let behind = lost.first.plus(u64::from(lost.count));
                    // How many messages it held may not be known: its next entries are cold, or were built from what is left of the log.
                    assert!(out.is_empty() && (from.plus(1)..=behind).contains(&next), "one record is lost, not more");
                    assert!(self.rotten.contains(&at), "{name:?}: {from} is damaged, and nobody has damaged it");
                    self.counts.damages_passed += 1;
                    return next;
                }
            }
        }
        panic!("{name:?} from {from} stays cold");
    }

    /// Bits rot in the index, whose blocks are derived: nobody notices.
    pub(super) fn check_index_rot(&mut self) {
        let number = u32::try_from(self.random.below(8)).expect("small");
        let file = FileName::Index(number);
        let Ok(bytes) = self.disk.read(file, 0, 1 << 20) else { return };
        let starts = heads_of_index(&bytes);
        if starts.is_empty() {
            return;
        }
        let start = starts[self.random.index(starts.len())];
        self.counts.branches_harmed += u64::from(bytes[start..].starts_with(b"RQBR"));
        let at = start + self.random.index(44);
        self.disk.rot(file, at as u64, 1_u8 << self.random.below(8));
        let before = self.log().damage().index_blocks_rebuilt;
        for (name, _) in self.model.queues().map(|(name, messages)| (name, messages.len())).collect::<Vec<_>>() {
            let Some(queue) = self.log().find_queue(name.0, name.1) else { continue };
            let bounds = self.log().bounds(queue);
            let mut at = bounds.min;
            while at < bounds.max {
                at = self.check_read_from(name, at, 64, 1 << 20, None);
            }
        }
        self.counts.index_blocks_rebuilt += self.log().damage().index_blocks_rebuilt - before;
    }

    /// Brings a block, and perhaps what will be wanted soon; now and then the disk fails.
    pub(super) fn fetch(&mut self, block: BlockId) {
        self.counts.cold_blocks += 1;
        let ahead = if self.random.percent(50) { self.log().prefetch() } else { Default::default() };
        for block in std::iter::once(block).chain(ahead) {
            self.bring(block);
        }
    }

    /// Reads a block; now and then the disk fails.
    pub(super) fn bring(&mut self, block: BlockId) {
        let fails = !self.is_healthy && self.random.percent(self.read_errors_percent);
        let data = match fails {
            true => Err(FAILED),
            false => self.disk.read(block.file, block.at, block.len as usize).map(Bytes::from),
        };
        let is_there = data.as_ref().is_ok_and(|data| data.len() == block.len as usize);
        assert!(is_there || fails || !self.rotten.is_empty(), "{block:?} is not there");
        if !is_there {
            self.read_failed_at = Some(self.now.mono);
        }
        self.log().supply(block, data);
    }

    /// Whether something may rest that could not be read.
    fn may_rest(&self) -> bool {
        self.read_failed_at.is_some_and(|at| self.now.mono < at.plus_ms(FAILED_REST_MS_MAX))
    }

    /// What failed rests, and can be read again.
    pub(super) fn rest(&mut self) {
        self.pass(FAILED_REST_MS_MAX);
        self.tick();
    }

    /// A message is found by its own key, by a shared one, and by its log offset.
    pub(super) fn check_keys(&mut self) {
        let Some((name, message)) = self.pick_live() else { return };
        let is_right = |found: &[LogOffset]| found == [message.log_offset];
        let topic = message.home.0.0;
        let found = self.find_surely(topic, &unique_key(message.number), message.time, &is_right);
        if message.log_offset < self.log().start() {
            return;
        }
        assert!(is_right(&found), "{name:?} {message:?}: {found:?}");
        let is_right = |found: &[LogOffset]| found.contains(&message.log_offset);
        let found = self.find_surely(topic, &shared_key(message.number), message.time, &is_right);
        assert!(is_right(&found) || message.log_offset < self.log().start(), "{name:?} {message:?}: {found:?}");
        assert!(found.is_sorted_by(|newer, older| newer > older), "newest first, each once: {found:?}");
        self.counts.keys_found += 1;
        let (mut out, mut was_harmed) = (BytesMut::new(), true);
        for _ in 0..TRIES_MAX {
            match self.log().record(message.log_offset, &mut out) {
                RecordRead::Cold(block) => self.fetch(block),
                // Time passes below, and retention with it.
                RecordRead::Missing if message.log_offset < self.log().start() => return,
                // What was brought while it was harmed is in the cache until somebody asks for it.
                RecordRead::Missing | RecordRead::Failed if was_harmed => was_harmed = false,
                RecordRead::Failed if self.may_rest() => self.rest(),
                read @ (RecordRead::Missing | RecordRead::Failed) => panic!("{message:?}: {read:?}"),
                RecordRead::Found { size } => {
                    assert_eq!(size as usize, out.len());
                    return check_records(name, &out, &[message]);
                }
            }
        }
        panic!("{message:?} stays cold");
    }

    /// A failed read hides what a run holds, until it is asked for again: if what was found is not right, once more with a disk that does not fail.
    fn find_surely(
        &mut self,
        topic: &str,
        key: &str,
        time: i64,
        is_right: &dyn Fn(&[LogOffset]) -> bool,
    ) -> Vec<LogOffset> {
        let found = self.find(topic, key, time);
        if is_right(&found) || !self.may_rest() {
            return found;
        }
        self.is_healthy = true;
        self.rest();
        let found = self.find(topic, key, time);
        self.is_healthy = false;
        found
    }

    fn find(&mut self, topic: &str, key: &str, time: i64) -> Vec<LogOffset> {
        for _ in 0..TRIES_MAX {
            match self.log().find_keys(topic, key, 10_000, UnixMs(time - 5_000), UnixMs(time + 5_000)) {
                KeySearch::Ready(found) => return found,
                KeySearch::Cold(block) => self.fetch(block),
            }
        }
        panic!("key {key} of {topic} stays cold");
    }

    /// A search by time finds what the model finds.
    pub(super) fn check_times(&mut self) {
        let Some((name, message)) = self.pick_live() else { return };
        let queue = self.log().find_queue(name.0, name.1).expect("it has a message");
        // With a clock that was set back a search by time is not exact.
        if !self.model.messages(name).is_sorted_by_key(|message| message.time) {
            return;
        }
        let time = message.time + i64::try_from(self.random.below(3)).expect("small") - 1;
        let boundary = self.random.pick(&[Boundary::Lower, Boundary::Upper]);
        let start = self.log().start();
        let bounds = self.log().bounds(queue);
        for _ in 0..TRIES_MAX {
            match self.log().offset_by_time(queue, UnixMs(time), boundary) {
                Search::Cold(block) => self.fetch(block),
                Search::Failed => {
                    assert!(self.may_rest(), "{name:?} cannot be read");
                    self.rest();
                }
                Search::Found(found) => {
                    let live = self.model.messages(name).iter().take(usize::try_from(bounds.max.0).expect("small"));
                    let before = |message: &&Message| match boundary {
                        Boundary::Lower => message.time < time,
                        Boundary::Upper => message.time <= time,
                    };
                    let end = live.take_while(|message| message.log_offset < start || before(message)).count() as u64;
                    let last = usize::try_from(end).expect("small").saturating_sub(1);
                    // What is gone is not where a reader goes on.
                    let last = self
                        .model
                        .messages(name)
                        .get(last)
                        .map_or(0, |message| if message.log_offset < start { end } else { message.first.0 });
                    let expected = if boundary == Boundary::Lower { end } else { last };
                    let expected = expected.max(bounds.min.0);
                    assert_eq!(found.0, expected, "{name:?} {boundary:?} {time}");
                    return;
                }
            }
        }
        panic!("{name:?} by time stays cold");
    }
}

/// The bytes are these messages, whole and in order.
fn check_records(name: QueueName, mut bytes: &[u8], expected: &[Message]) {
    for message in expected {
        let view = RecordView::decode(bytes, Some(message.log_offset), Check::CrcRequired)
            .expect("a sound record where it was put");
        assert_eq!(((view.topic, view.queue_id), view.queue_offset), message.home);
        assert!(view.body == body(message.number, message.body_len), "{name:?} {message:?} has another body");
        bytes = &bytes[view.size as usize..];
    }
    assert!(bytes.is_empty(), "nothing was never appended");
}

/// Where blocks of queues and branches begin in an index file.
pub(super) fn heads_of_index(bytes: &[u8]) -> Vec<usize> {
    let is_head = |rest: &[u8]| rest.starts_with(b"RQCB") || rest.starts_with(b"RQBR");
    (0..bytes.len()).filter(|&at| is_head(&bytes[at..])).collect()
}
