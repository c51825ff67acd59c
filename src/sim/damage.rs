//! Damage of what is stable: bits rot, a write is lost or lands elsewhere, a block cannot be read. On a copy of the disk between two lives it is
//! refused, healed, or lies where a power loss may tear; in a life whoever reads is told of what is damaged, and of nothing else.

use std::collections::BTreeSet;

use bytes::{Bytes, BytesMut};

use super::check::TRIES_MAX;
use super::disk::SimDisk;
use super::model::{Message, QueueName};
use super::random::Random;
use super::tail::{Remains, SimTail, Slot};
use super::world::{DISK_BLOCK, LogWorld, Rule};
use crate::log::{FileName, FoundStore, HeapTail, Read, ReadLimits, Recovery, RecoveryError, Step, TailMemory};
use crate::model::LogOffset;

/// First bytes of a record of which one that has changed may say another size: then it is not known how far the record would go.
const SIZE_BYTES: u64 = 4;

/// What happens to what is stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Harm {
    Bit,
    /// A write that was said to be done was not: zeros are left.
    Lost,
    /// Another block was written here.
    Misdirected,
    Unreadable,
}

/// What was harmed, to be mended.
pub(super) struct Harmed {
    pub(super) file: FileName,
    /// Byte in the file.
    pub(super) at: u64,
    pub(super) before: Vec<u8>,
    /// What has changed of the log.
    pub(super) range: std::ops::Range<LogOffset>,
}

/// Harms a byte of a segment, or the disk block that it lies in. Nothing if that changes nothing.
pub(super) fn harm(
    disk: &mut SimDisk,
    kind: Harm,
    at: LogOffset,
    segment_bytes: u64,
    random: &mut Random,
) -> Option<Harmed> {
    let start = LogOffset(at.0 / segment_bytes * segment_bytes);
    let (file, byte) = (FileName::Segment(start), at.0 - start.0);
    let block = byte / DISK_BLOCK * DISK_BLOCK;
    let bytes = disk.read(file, block, 4096).ok()?;
    let (from, now) = match kind {
        Harm::Bit => {
            let old = bytes[usize::try_from(byte - block).expect("within a block")];
            (byte, vec![old ^ (1 << random.below(8))])
        }
        Harm::Lost => (block, vec![0; 4096]),
        Harm::Misdirected => {
            let other = random.below(segment_bytes / DISK_BLOCK) * DISK_BLOCK;
            (block, disk.read(file, other, 4096).ok()?)
        }
        Harm::Unreadable => {
            disk.set_readable(file, block, false);
            let range = start.plus(block)..start.plus(block + DISK_BLOCK);
            return Some(Harmed { file, at: block, before: bytes, range });
        }
    };
    let before = disk.change_at_rest(file, from, &now)?;
    let first = before.iter().zip(&now).position(|(before, now)| before != now)? as u64;
    let last = before.iter().zip(&now).rposition(|(before, now)| before != now)? as u64;
    let range = start.plus(from + first)..start.plus(from + last + 1);
    Some(Harmed { file, at: from, before, range })
}

impl LogWorld {
    pub(super) fn pick_harm(&mut self) -> Harm {
        self.random.pick(&[Harm::Bit, Harm::Bit, Harm::Lost, Harm::Misdirected, Harm::Unreadable])
    }

    /// Harms what was promised to survive, and starts a process on a copy. It must not take the place for the end of the log, unless
    /// what lies behind may be what a power loss has left.
    pub(super) fn try_damage(&mut self, remains: Option<&Remains>, start: LogOffset, promised: LogOffset) {
        let end = self.model.last_end(promised);
        if end <= start || !self.random.percent(40) {
            return;
        }
        let back = self.random.pick(&[4_096, 64 * 1024, 1 << 20]).min(end.0 - start.0);
        let at = LogOffset(end.0 - 1 - self.random.below(back));
        let (kind, mut disk) = (self.pick_harm(), self.disk.clone());
        let Some(harmed) = harm(&mut disk, kind, at, self.settings.segment_bytes, &mut self.random) else { return };
        let touched: Vec<_> = self.model.records(&harmed.range).into_iter().filter(|(_, to)| *to <= end).collect();
        let Some((begin, _)) = touched.first() else { return };
        if kind == Harm::Bit && harmed.range.start.0.saturating_sub(begin.0) < SIZE_BYTES {
            return;
        }
        self.start_on_damaged(disk, kind, &touched, end, remains);
    }

    fn start_on_damaged(
        &mut self,
        mut disk: SimDisk,
        kind: Harm,
        touched: &[(LogOffset, LogOffset)],
        end: LogOffset,
        remains: Option<&Remains>,
    ) {
        let (tail, tail_appended): (Box<dyn TailMemory>, _) = match remains {
            Some(Remains { ring, appended }) => {
                let remains = Remains { ring: ring.clone(), appended: *appended };
                (Box::new(SimTail::new(remains, Slot::default(), true)), *appended)
            }
            None => (Box::new(HeapTail::new(self.ring_bytes)), None),
        };
        let unflushed_max = self.known_unflushed_max();
        let found = FoundStore { files: disk.list(), tail, tail_appended, end_max: None, unflushed_max };
        let mut recovery = Recovery::new(self.settings, found).expect("the files fit one another");
        let mut is_touched = false;
        let found_end = loop {
            let step = recovery.step();
            if let Step::Write { file: FileName::Segment(_), .. } | Step::Remove { file: FileName::Segment(_) } = step {
                is_touched = true;
            }
            let answer = match step {
                Step::Done(log) => break log.appended(),
                Step::Refused(error) => {
                    let is_damage = !matches!(error, RecoveryError::Disk { .. });
                    assert!(
                        !is_touched || !is_damage,
                        "{kind:?} of {touched:?} was refused ({error}) after the log was written to"
                    );
                    self.counts.damages_refused += 1;
                    return;
                }
                Step::Read { file, at, len } => match disk.read(file, at, len) {
                    Err(_) if self.rule == Rule::ReadZeros => Ok(Bytes::from(vec![0; len])),
                    read => read.map(Bytes::from),
                },
                step => match disk.recover(step) {
                    // A rebuilt index may want more room than there is.
                    Err(_) => return,
                    done => done,
                },
            };
            recovery.supply(answer);
        };
        if found_end >= end {
            self.counts.damages_healed += 1;
            return;
        }
        self.counts.damages_at_the_end += 1;
        // A start may begin to read behind the first.
        let damaged = touched.iter().find(|(begin, _)| *begin == found_end);
        // Of a record whose head is gone no more is known than that it began in a block.
        let reach = damaged.map(|(begin, to)| begin.plus(to.since(*begin).max(DISK_BLOCK) + self.unflushed_of_last));
        let last = self.model.records(&(found_end..end)).pop().expect("there is a record").0;
        let is_in_reach = reach.is_some_and(|reach| last < reach || unflushed_max.is_none());
        assert!(
            remains.is_none() && kind != Harm::Unreadable && is_in_reach,
            "{kind:?} of {touched:?} was taken for the end of the log: it goes to {found_end}, and {end} was promised"
        );
    }

    /// What is stable of a message is harmed while the log is in use: whoever reads is told of what is harmed and of nothing else, and has it
    /// when it is mended.
    pub(super) fn check_rot(&mut self) {
        let Some((name, message)) = self.pick_live() else { return };
        let size = self.settings.segment_bytes;
        let at = message.log_offset.plus(self.random.below(message.end.0 - message.log_offset.0));
        let block_end = LogOffset((at.0 / DISK_BLOCK + 1) * DISK_BLOCK);
        // The tail does without the disk.
        if self.log().is_in_tail(message.log_offset) || self.log().written() < message.end.max(block_end) {
            return;
        }
        let is_bit = self.log().is_in_tail(LogOffset(block_end.0 - 1));
        let kind = if is_bit { Harm::Bit } else { self.pick_harm() };
        self.late.clear();
        let Some(harmed) = harm(&mut self.disk, kind, at, size, &mut self.random) else { return };
        let touched: Vec<(QueueName, Message)> = (self.model.queues())
            .flat_map(|(name, messages)| messages.iter().map(move |message| (name, message)))
            .filter(|(_, message)| message.log_offset < harmed.range.end && harmed.range.start < message.end)
            .map(|(name, message)| (name, message.clone()))
            .collect();
        // Also what nobody reads any more: a block of the index that is built again meanwhile says of its messages where the log was unsound.
        let places = self.model.records(&harmed.range).into_iter().map(|(begin, _)| begin);
        self.rotten = if self.rule == Rule::RotUnseen { BTreeSet::new() } else { places.collect() };
        let passed = self.counts.damages_passed;
        // Twice: not only the first reader is told.
        for _ in 0..2 {
            match kind {
                Harm::Unreadable => self.check_unreadable(name, &message),
                _ => drop(self.check_read_from(name, message.queue_offset, 1, 1 << 20, None)),
            }
        }
        self.counts.rotten_messages += u64::from(self.counts.damages_passed > passed);
        match kind {
            Harm::Unreadable => self.disk.set_readable(harmed.file, harmed.at, true),
            _ => drop(self.disk.change_at_rest(harmed.file, harmed.at, &harmed.before)),
        }
        self.rotten.clear();
        for (name, message) in touched {
            if message.log_offset >= self.log().start() && message.end <= self.log().confirm() {
                self.check_read_from(name, message.queue_offset, 1, 1 << 20, None);
            }
        }
    }

    /// A message that cannot be read moves no reader, however often it is tried.
    fn check_unreadable(&mut self, name: QueueName, message: &Message) {
        // What fails is this, and not the index.
        self.is_healthy = true;
        self.read_unreadable(name, message);
        self.is_healthy = false;
    }

    fn read_unreadable(&mut self, name: QueueName, message: &Message) {
        let queue = self.log().find_queue(name.0, name.1).expect("it has a message");
        let limits = ReadLimits { messages_max: 1, bytes_max: 1 << 20, entries_max: 1 };
        let mut failed = 0;
        for _ in 0..TRIES_MAX {
            let mut out = BytesMut::new();
            match self.log().read(queue, message.queue_offset, &limits, &|_| true, &mut out) {
                Read::Cold(block) => self.fetch(block),
                Read::Failed if failed < 3 => {
                    failed += 1;
                    self.rest();
                }
                Read::Failed => {
                    self.counts.unreadable_blocks += 1;
                    return;
                }
                // It is in the cache, whole.
                Read::Found { messages, .. } if failed == 0 && messages == message.count as usize => return,
                _ if message.log_offset < self.log().start() => return,
                other => panic!("{name:?} {message:?} cannot be read, and its reader was told {other:?}"),
            }
        }
        panic!("{name:?} {message:?} cannot be read, and its reader is not told");
    }
}
