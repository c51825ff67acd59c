//! One shard's log in the made-up world: load, faults, crashes, restarts.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use bytes::Bytes;

use super::disk::SimDisk;
use super::late::Late;
use super::life::pick_flush;
use super::model::{Message, Model, QueueName};
use super::random::Random;
use super::retention::RESERVED_HOURS;
use super::tail::{Remains, Slot};
use crate::log::{
    AppendError, Commit, FileName, FoundStore, HeapTail, Io, IoError, Log, LogSettings, Recovery, RecoveryError,
    Retention, Step, Work,
};
use crate::model::{LogOffset, MonoNs, Now, QueueId, QueueOffset, UnixMs};
use crate::protocol::message::{LIGHT_QUEUE, sys_flag};
use crate::protocol::record::{Marks, Place, RecordDraft, Sized};

pub(super) const TOPICS: [&str; 4] = ["orders", "payments", "T", "a-topic-with-a-longer-name"];
/// Queues that messages of all topics are in as well, where there are any.
pub(super) const LIGHT: [&str; 3] = ["%LMQ%a", "%LMQ%b", "%LMQ%c"];
pub(super) const START_UNIX_MS: i64 = 1_700_000_000_000;
pub(super) const FAILED: IoError = IoError::Failed { errno: 5 };
pub(super) const DISK_BLOCK: u64 = 4096;
/// No record of the load is larger.
const RECORD_BYTES_MAX: u64 = 21 * 1024;
/// The last byte of a record's store time, which is what two stores do not have in common.
const STORE_TIME_AT: usize = 63;

/// Whether the world keeps its own rules. All but the first are there to see that the checks would notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// It does.
    Sound,
    /// Messages count as safe from a power loss when they are appended.
    AcknowledgeBeforeFlush,
    /// The disk forgets flushes.
    ForgetFlushes,
    /// Behind the end of the log lies a sound record that nobody appended, as if recovery took old records for new ones.
    ForgeRecord,
    /// A reader that is told that the disk has failed goes on with the next message.
    MoveOnError,
    /// A bit of a message rots, and the model does not know.
    RotUnseen,
    /// An operator says of each time that the clock is set to that it is right.
    AcceptAnyClock,
    /// With the checkpoint go both copies of where the queues go on.
    LoseAllCopies,
    /// A start is told that the last process may have left anything unflushed: it cannot tell damage from a torn end.
    BelieveAnyEnd,
    /// What lies beyond a cut is not overwritten, but for the block in which the log ends.
    LeaveWhatIsCut,
    /// A start is told that the last process has left nothing unflushed.
    ForgetReach,
    /// A start is told what its own settings let it leave unflushed, not those of the process before.
    ConfuseReach,
    /// A sector that is being written when the power goes may lose what was in it before.
    GarbleWhatStays,
    /// A shell gives zeros for what it cannot read.
    ReadZeros,
    /// A shell flushes no folder, neither after a change of names nor at a start.
    ForgetNames,
    /// A start believes the names that it finds: those of the process before may not be durable.
    TrustNames,
    /// The log is told to keep messages for less time than the operator wants.
    KeepForLess,
    /// A shell never says that a segment was put into its place.
    ForgetRenames,
    /// What the scrub is brought is what lay there before.
    ScrubWhatWas,
    /// A record that holds several messages does not say so.
    HideBatches,
    /// A record does not say at which offsets of light queues it is.
    HideLight,
    /// A branch of the index says that what it leads to lies further in front.
    ForgeBranches,
}

/// What has happened, to see that a run was worth something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Counts {
    pub appends: u64,
    pub batches: u64,
    pub batches_entered: u64,
    pub light: u64,
    pub kills: u64,
    pub power_losses: u64,
    pub interrupted_recoveries: u64,
    pub torn_ends: u64,
    pub taken_from_ring: u64,
    pub stale_cleared: u64,
    pub segments_placed: u64,
    pub segments_recycled: u64,
    pub checkpoints: u64,
    pub disk_full: u64,
    pub tail_full: u64,
    pub failures: u64,
    pub removals: u64,
    pub cold_blocks: u64,
    pub messages_read: u64,
    pub keys_found: u64,
    pub clean_stops: u64,
    pub checkpoints_lost: u64,
    pub checkpoints_lost_late: u64,
    pub clock_steps: u64,
    pub clock_changes: u64,
    pub settings_changed: u64,
    pub segments_retired: u64,
    pub late_reads: u64,
    pub late_reads_of_recycled: u64,
    pub progress_seen: u64,
    pub unreadable_blocks: u64,
    pub cuts: u64,
    pub foreign_segments: u64,
    pub damages_refused: u64,
    pub damages_healed: u64,
    pub damages_at_the_end: u64,
    pub(crate) damages_passed: u64,
    pub rotten_messages: u64,
    pub index_blocks_rebuilt: u64,
    pub branches_harmed: u64,
    pub scrubbed_harms: u64,
    pub scrubbed_index_blocks: u64,
}

/// Few references make a branch, so that small queues have branches of branches.
pub(super) fn branch_references(number: u64) -> usize {
    [2, 3, 5][usize::try_from(number % 3).expect("small")]
}

/// The world of one log.
pub struct LogWorld {
    pub(super) random: Random,
    pub(super) disk: SimDisk,
    pub(super) slot: Slot,
    pub(super) log: Option<Box<Log>>,
    pub(super) settings: LogSettings,
    pub(super) ring_bytes: usize,
    pub(super) survives_kill: bool,
    pub(super) rule: Rule,
    /// Whether some records hold several messages.
    has_batches: bool,
    /// Whether some are in light queues as well.
    has_light: bool,
    pub(super) now: Now,
    pub(super) model: Model,
    next_number: u64,
    commit: Option<(Commit, Vec<u8>)>,
    io: Option<Io>,
    /// What was answered under a promise that a power loss must keep.
    pub(super) promised: LogOffset,
    /// When a cold read has failed last: until that has rested, a reader may be told so.
    pub(super) read_failed_at: Option<MonoNs>,
    /// Of a hundred cold reads so many fail.
    pub(super) read_errors_percent: u64,
    /// No fault happens for the moment.
    pub(super) is_healthy: bool,
    /// The messages that are damaged at this moment.
    pub(super) rotten: BTreeSet<LogOffset>,
    /// Reads that take their time.
    pub(super) late: Vec<Late>,
    /// What the settings of the last process that came through let it leave unflushed.
    pub(super) unflushed_of_last: u64,
    /// When the process has started, and what is known of that to the next one on this machine.
    pub(super) started_at: MonoNs,
    pub(super) run_began: Option<(MonoNs, UnixMs)>,
    /// Both copies of the ends were written a moment ago.
    has_kept_ends: bool,
    /// Where the log begins, as far as retention has moved it.
    pub(super) start_seen: LogOffset,
    /// What has happened.
    pub counts: Counts,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProcessEnd {
    /// Killed; the ring stays.
    Kill,
    /// Killed, and the ring is removed before the next start, or is not recognised.
    KillAndLoseTail,
    /// The power goes, and the ring with it.
    Power,
}

impl LogWorld {
    /// A world whose every choice comes from `seed`.
    #[must_use]
    pub fn new(seed: u64, rule: Rule) -> LogWorld {
        let mut random = Random::new(seed);
        let sizes: &[u64] = if rule == Rule::TrustNames { &[64] } else { &[64, 128, 256] };
        let segment_bytes = random.pick(sizes) * 1024;
        let flush = pick_flush(&mut random);
        let reserved_hours = if rule == Rule::KeepForLess { 1 } else { RESERVED_HOURS };
        let settings = LogSettings {
            segment_bytes,
            flush,
            commit_bytes_max: random.pick(&[8, 32, 1024]) * 1024,
            prepare_bytes: random.pick(&[4, 16, 64]) * 1024,
            cache_bytes: 640 * 1024,
            retention: Retention { reserved_hours, ..Retention::default() },
            queue_block_entries: random.pick(&[1, 5, 16]),
            branch_references: branch_references(seed),
            key_run_entries: random.pick(&[40, 150]),
            index_file_bytes: random.pick(&[64, 128]) * 1024,
            checkpoint_bytes: random.pick(&[32, 100, 400]) * 1024,
            scrub_interval_ms: random.pick(&[0, 500, 20_000]),
            ..LogSettings::default()
        };
        let mut disk = SimDisk::default();
        (disk.capacity, disk.is_lying) = (40 * segment_bytes, rule == Rule::ForgetFlushes);
        disk.is_coarse = rule == Rule::GarbleWhatStays;
        disk.forges_branches = rule == Rule::ForgeBranches;
        disk.forgets_names = rule == Rule::ForgetNames;
        disk.takes_all_names = matches!(rule, Rule::ForgetNames | Rule::TrustNames);
        let ring_bytes = random.pick(&[64, 128]) * 1024;
        let survives_kill = random.percent(80);
        let read_errors_percent = random.pick(&[0, 1, 20]);
        LogWorld {
            random,
            disk,
            slot: Slot::default(),
            log: None,
            settings,
            ring_bytes,
            survives_kill,
            rule,
            has_batches: false,
            has_light: false,
            now: Now { unix: UnixMs(START_UNIX_MS), mono: MonoNs(0) },
            model: Model::default(),
            next_number: 0,
            commit: None,
            io: None,
            promised: LogOffset(0),
            read_failed_at: None,
            read_errors_percent,
            is_healthy: false,
            rotten: BTreeSet::new(),
            late: Vec::new(),
            unflushed_of_last: settings.unflushed_bytes_max(),
            started_at: MonoNs(0),
            run_began: None,
            has_kept_ends: false,
            start_seen: LogOffset(0),
            counts: Counts::default(),
        }
    }

    /// The same, and some records hold several messages.
    #[must_use]
    pub fn with_batches(seed: u64, rule: Rule) -> LogWorld {
        LogWorld { has_batches: true, ..LogWorld::new(seed, rule) }
    }

    /// The same, and some records are in light queues as well as in their own.
    #[must_use]
    pub fn with_light(seed: u64, rule: Rule) -> LogWorld {
        LogWorld { has_light: true, ..LogWorld::with_batches(seed, rule) }
    }

    /// Runs so many steps, then stops in order, starts again and compares everything.
    ///
    /// # Panics
    /// When something is not as it must be.
    pub fn run(&mut self, steps: u64) {
        self.restart(None, LogOffset(0), None);
        for _ in 0..steps {
            self.act();
            self.note_promises();
            self.check_step();
        }
        self.stop();
        self.check_all();
    }

    /// What holds after each step. Only a tick moves the beginning of the log, and looks at it.
    fn check_step(&mut self) {
        self.log().check_invariants();
        let start = self.log().start();
        assert_eq!(start, self.start_seen, "the beginning of the log has moved, and retention did not do it");
    }

    /// # Panics
    /// If no process runs.
    pub(super) fn log(&mut self) -> &mut Log {
        self.log.as_mut().expect("a process runs")
    }

    fn act(&mut self) {
        let elapsed_ms = self.random.below(50);
        self.pass(elapsed_ms);
        match self.random.below(210) {
            0..70 => self.append_some(),
            70..100 => self.begin_commit(),
            100..130 => self.end_commit(false),
            130..160 => self.background(),
            160..172 => self.check_read(),
            172..176 => self.check_keys(),
            176..179 => self.check_times(),
            179..189 => self.tick(),
            189..190 => self.remove_topic(),
            190 => self.disk.capacity = self.random.pick(&[6, 10, 24, 40, 80]) * self.settings.segment_bytes,
            191 if self.random.percent(40) => self.check_clock_step(),
            192 => self.end_commit(true),
            193 => {
                self.begin_old_reads();
                self.skip_to_delete_hour();
                // A shell ticks some times a second.
                self.tick();
            }
            194..197 => {
                let end = self.random.pick(&[ProcessEnd::Kill, ProcessEnd::KillAndLoseTail, ProcessEnd::Power]);
                self.crash(end);
            }
            197 if self.random.percent(30) => self.stop(),
            198 => self.check_rot(),
            199 if self.random.percent(20) => self.check_index_rot(),
            200..202 => self.begin_late_read(),
            202..204 => self.end_late_read(),
            204 if self.random.percent(20) => self.check_progress(),
            205 if self.random.percent(20) => self.step_clock(),
            206..208 => self.bring_ahead(),
            208 if self.random.percent(20) => self.check_scrub(),
            209 if self.random.percent(20) => self.check_scrub_of_index(),
            _ => {}
        }
        // What retention goes by is in place, and it has not gone by it yet.
        let is_between = std::mem::take(&mut self.has_kept_ends) && self.random.percent(20);
        let has_failed = self.log().failure().is_some();
        if has_failed {
            self.counts.failures += 1;
            self.append_some();
        }
        if has_failed || is_between {
            let end = self.random.pick(&[ProcessEnd::Kill, ProcessEnd::Power]);
            self.crash(end);
        }
    }

    fn append_some(&mut self) {
        for _ in 0..self.random.below(8) {
            let queue = (self.random.pick(&TOPICS), QueueId(u32::try_from(self.random.below(3)).expect("small")));
            let body_len = match self.random.below(40) {
                0 => self.random.index(20_000),
                1..4 => self.random.index(4_000),
                _ => self.random.index(300),
            };
            if !self.append(queue, body_len) {
                break;
            }
        }
    }

    pub(super) fn append(&mut self, queue: QueueName, body_len: usize) -> bool {
        let number = self.next_number;
        let (body, mut properties, time) = (body(number, body_len), properties(number), self.now.unix.0);
        let appended_at = self.now.mono;
        let mut count = 1;
        if self.has_batches && self.random.percent(40) {
            count = 1 + u32::try_from(self.random.below(40)).expect("small");
            properties.push_str(&format!("INNER_NUM\x01{count}\x02"));
        }
        let light = if count == 1 { self.pick_light(&mut properties) } else { Vec::new() };
        let mut draft = draft(queue, &body, properties.as_bytes(), time);
        if count > 1 && self.rule != Rule::HideBatches {
            draft.sys_flag = sys_flag::INNER_BATCH;
        }
        let log = self.log.as_mut().expect("a process runs");
        let index = log.queue(queue.0, queue.1);
        let before = log.appended();
        match log.append(index, &draft) {
            Ok(appended) => {
                assert!(log.failure().is_none(), "a stopped log appends nothing");
                assert!(appended.log_offset >= before && appended.end == log.appended());
                assert_eq!(
                    appended.queue_offset.0,
                    self.model.messages(queue).len() as u64,
                    "the next offset of {queue:?}"
                );
                let (log_offset, queue_offset) = (appended.log_offset, appended.queue_offset);
                let end = appended.end;
                let tag = tag_code(number);
                let first = queue_offset;
                let home = (queue, first);
                let message = Message {
                    number,
                    log_offset,
                    end,
                    queue_offset,
                    count,
                    first,
                    body_len,
                    time,
                    appended_at,
                    tag,
                    home,
                };
                self.counts.light += light.len() as u64;
                let light = light.into_iter().map(|name| {
                    let queue_offset = QueueOffset(self.model.messages(name).len() as u64);
                    (name, Message { queue_offset, first: queue_offset, ..message.clone() })
                });
                let places = std::iter::once((queue, message.clone())).chain(light).collect();
                self.model.append(appended.end, places);
                self.next_number += 1;
                self.counts.appends += 1;
                self.counts.batches += u64::from(count > 1);
                return true;
            }
            Err(AppendError::Stopped) => assert!(log.failure().is_some(), "only a failure stops the log"),
            Err(AppendError::TailFull) => self.counts.tail_full += 1,
            Err(AppendError::NoSegment { disk_full }) => self.counts.disk_full += u64::from(disk_full),
            Err(AppendError::TooLarge(error)) => panic!("{error}"),
        }
        false
    }

    /// Some of the light queues, which a record names with the offsets at which they end, as a broker does.
    fn pick_light(&mut self, properties: &mut String) -> Vec<QueueName> {
        if !self.has_light || self.random.percent(50) {
            return Vec::new();
        }
        let names: Vec<_> = LIGHT.into_iter().filter(|_| self.random.percent(40)).collect();
        if names.is_empty() {
            return Vec::new();
        }
        let log = self.log();
        let end = |name: &&str| {
            let queue = log.find_queue(name, LIGHT_QUEUE);
            queue.map_or(0, |queue| log.bounds(queue).appended_max.0).to_string()
        };
        let offsets: Vec<_> = names.iter().map(end).collect();
        properties.push_str(&format!("INNER_MULTI_DISPATCH\x01{}\x02", names.join(",")));
        if self.rule != Rule::HideLight {
            properties.push_str(&format!("INNER_MULTI_QUEUE_OFFSET\x01{}\x02", offsets.join(",")));
        }
        names.into_iter().map(|name| (name, LIGHT_QUEUE)).collect()
    }

    /// What the log says is safe must be safe.
    fn note_promises(&mut self) {
        let is_early = self.rule == Rule::AcknowledgeBeforeFlush;
        let log = self.log();
        let promised = if is_early { log.appended() } else { log.flushed() };
        self.promised = self.promised.max(promised);
    }

    pub(super) fn begin_commit(&mut self) {
        if self.commit.is_some() {
            return;
        }
        let log = self.log.as_mut().expect("a process runs");
        if let Some(commit) = log.poll_commit() {
            assert!(
                commit.at.is_multiple_of(DISK_BLOCK)
                    && (commit.len as u64).is_multiple_of(DISK_BLOCK)
                    && commit.len > 0
            );
            assert!(
                commit.len <= self.settings.commit_bytes_max
                    && commit.at + commit.len as u64 <= self.settings.segment_bytes
            );
            let mut data = vec![0xEE; commit.len];
            log.copy_tail(commit.from, &mut data);
            self.commit = Some((commit, data));
        }
    }

    pub(super) fn end_commit(&mut self, fails: bool) {
        let Some((commit, data)) = self.commit.take() else { return };
        let result = if fails {
            let written = self.disk.write(commit.segment, commit.at, &data, Some(&mut self.random));
            written.and(Err(FAILED))
        } else {
            self.disk.write(commit.segment, commit.at, &data, None)
        };
        if result.is_ok() {
            self.disk.flush_commit(&commit);
        }
        self.log().handle_io(commit.id, result);
    }

    pub(super) fn background(&mut self) {
        let now = self.now;
        match self.io.take() {
            None => self.io = self.log().poll_background(now),
            Some(io) if self.rule == Rule::ForgetRenames && matches!(io.work, Work::Rename { .. }) => {
                self.io = Some(io)
            }
            Some(io) => self.end_background(&io),
        }
    }

    fn end_background(&mut self, io: &Io) {
        let fails = !self.is_healthy && self.random.below(2000) == 0;
        let torn = if fails { Some(&mut self.random) } else { None };
        let done = self.disk.work(&io.work, torn);
        if done.is_ok() {
            match io.work {
                Work::Rename { to: FileName::Segment(_), .. } => self.counts.segments_placed += 1,
                Work::Rename { to: FileName::Spare(_), .. } => self.counts.segments_recycled += 1,
                Work::Replace { file: FileName::Ends(1), .. } => self.has_kept_ends = true,
                Work::Replace { .. } => self.counts.checkpoints += 1,
                _ => {}
            }
        }
        self.log().handle_io(io.id, if fails { Err(FAILED) } else { done });
    }

    fn remove_topic(&mut self) {
        let is_light = self.has_light && self.random.percent(30);
        let topic = if is_light { self.random.pick(&LIGHT) } else { self.random.pick(&TOPICS) };
        let segment_bytes = self.settings.segment_bytes;
        let log = self.log.as_mut().expect("a process runs");
        let before = log.appended();
        // Where its record must find room, so that the model knows when it happens.
        let room = segment_bytes - before.0 % segment_bytes;
        let unwritten = before.0 - log.written().0 / DISK_BLOCK * DISK_BLOCK;
        let ring_room = (self.ring_bytes as u64).saturating_sub(unwritten + RECORD_BYTES_MAX);
        if log.failure().is_some() || room < 1024 || ring_room < 1024 || log.start() == before && before.0 == 0 {
            return;
        }
        log.remove_topic(topic);
        if log.appended() > before {
            self.model.remove_topic(topic, before, log.appended());
            self.counts.removals += 1;
        } else {
            panic!("there was room for a removal at {before}");
        }
    }

    /// Brings everything to the disk and stops; a start after that has nothing to read.
    fn stop(&mut self) {
        self.disk.capacity = 60 * self.settings.segment_bytes;
        self.pass(5000);
        self.log().begin_stop();
        for _ in 0..100_000 {
            self.pass(1);
            self.tick();
            self.begin_commit();
            self.end_commit(false);
            self.background();
            if self.log().failure().is_some() {
                return self.crash(ProcessEnd::Power);
            }
            if self.io.is_none() && self.log().is_settled() {
                self.note_promises();
                self.counts.clean_stops += 1;
                self.check_foreign();
                return self.crash(ProcessEnd::Power);
            }
        }
        panic!("the log does not settle");
    }

    /// An operator puts another store's file in the place of a segment: the next start refuses it by name, and has not touched anything.
    fn check_foreign(&mut self) {
        let (start, end, size) = (self.log().start().0, self.log().appended().0, self.settings.segment_bytes);
        if start == end {
            return;
        }
        let nth = self.random.below((end - start).div_ceil(size));
        let file = FileName::Segment(LogOffset(start + nth * size));
        let mut disk = self.disk.clone();
        let mut block = disk.read(file, 0, 4096).expect("the log has its segments");
        block[STORE_TIME_AT] ^= 1;
        disk.write(file, 0, &block, None).expect("nothing grows");
        let tail = Box::new(HeapTail::new(self.ring_bytes));
        let found = FoundStore { files: disk.list(), tail, tail_appended: None, end_max: None, unflushed_max: None };
        let mut recovery = Recovery::new(self.settings, found).expect("the files fit one another");
        loop {
            match recovery.step() {
                Step::Read { file, at, len } => recovery.supply(disk.read(file, at, len).map(Bytes::from)),
                Step::Refused(error) => {
                    assert_eq!(error, RecoveryError::ForeignSegment { file }, "the file of another store");
                    self.counts.foreign_segments += 1;
                    return;
                }
                Step::Done(_) => panic!("{file} is another store's, and was taken"),
                _ => panic!("{file} is another store's, and a file was touched before it was refused"),
            }
        }
    }

    fn crash(&mut self, end: ProcessEnd) {
        let log = self.log.as_ref().expect("a process runs");
        let (appended, written, start) = (log.appended(), log.written(), log.start());
        if let Some((commit, data)) = self.commit.take() {
            // Whether an interrupted write reaches the disk, and how much of it, is the disk's choice.
            let _ = match self.random.below(3) {
                0 => self.disk.write(commit.segment, commit.at, &data, None),
                _ => self.disk.write(commit.segment, commit.at, &data, Some(&mut self.random)),
            };
        } else if self.rule == Rule::ForgeRecord {
            self.forge_record(appended);
        }
        if let Some(io) = self.io.take() {
            let _ = self.disk.work(&io.work, Some(&mut self.random));
        }
        self.log = None;
        let mut remains = self.slot.take();
        let promised = match end {
            ProcessEnd::Kill if self.survives_kill => {
                self.counts.kills += 1;
                self.scribble(remains.as_mut().expect("the ring stays"), appended, written);
                appended
            }
            ProcessEnd::Kill | ProcessEnd::KillAndLoseTail => {
                self.counts.kills += 1;
                remains = None;
                written
            }
            ProcessEnd::Power => {
                self.counts.power_losses += 1;
                self.disk.lose_power(&mut self.random);
                self.set_clock_right();
                remains = None;
                self.promised
            }
        };
        self.try_damage(remains.as_ref(), start, promised);
        self.lose_what_is_kept_twice(start);
        // As a slave whose master does not have the end of the log. What was derived is given up then, so all of the log must be there.
        let end_max =
            (start == LogOffset(0) && self.random.percent(15)).then(|| LogOffset(self.random.below(appended.0 + 1)));
        self.restart(remains, promised, end_max);
        let reached = self.log().appended();
        assert!(reached <= appended, "the log goes on to {reached}, but only {appended} was appended");
        self.counts.torn_ends += u64::from(reached < written && end_max.is_none());
        self.counts.taken_from_ring += u64::from(reached > written);
    }

    /// What is derived may be deleted, and what is not is kept more than once.
    fn lose_what_is_kept_twice(&mut self, start: LogOffset) {
        let copies = [FileName::Ends(0), FileName::Ends(1)];
        // Those that are equal are sound.
        let [first, second] = copies.map(|copy| self.disk.read(copy, 0, 1 << 20));
        let is_twice = first.is_ok() && first == second;
        if self.random.percent(10) && (start == LogOffset(0) || is_twice) {
            self.disk.remove(FileName::Checkpoint);
            self.counts.checkpoints_lost += 1;
            self.counts.checkpoints_lost_late += u64::from(start > LogOffset(0));
            if self.rule == Rule::LoseAllCopies {
                copies.into_iter().for_each(|copy| self.disk.remove(copy));
            }
        } else if self.random.percent(10) && is_twice {
            let copy = self.random.pick(&copies);
            match self.random.percent(50) {
                true => self.disk.remove(copy),
                false => drop(self.disk.rot(copy, self.random.below(40), 4)),
            }
        }
    }

    /// The process may have died while it was copying a record that was not published yet.
    fn scribble(&mut self, remains: &mut Remains, appended: LogOffset, written: LogOffset) {
        let len = remains.ring.len() as u64;
        let room = len.saturating_sub(appended.0 - written.0 / DISK_BLOCK * DISK_BLOCK + RECORD_BYTES_MAX);
        for offset in appended.0..appended.0 + room.min(self.random.below(2000)) {
            let at = usize::try_from(offset % len).expect("below the ring's length");
            remains.ring[at] = self.random.bits().to_le_bytes()[0];
        }
    }

    fn forge_record(&mut self, at: LogOffset) {
        let start = LogOffset(at.0 / self.settings.segment_bytes * self.settings.segment_bytes);
        let queue = (TOPICS[0], QueueId(0));
        let (body, properties) = (body(u64::MAX, 100), properties(u64::MAX));
        let record = Sized::new(&draft(queue, &body, properties.as_bytes(), 0), true).expect("small");
        let queue_offset = QueueOffset(self.model.messages(queue).len() as u64);
        let mut bytes = vec![0; record.size() as usize];
        record.encode(Place { log_offset: at, queue_offset }, &mut bytes);
        let from = (at.0 - start.0) / DISK_BLOCK * DISK_BLOCK;
        let Ok(mut block) = self.disk.read(FileName::Segment(start), from, 2 * 4096) else { return };
        let within = usize::try_from(at.0 - start.0 - from).expect("within a block");
        if let Some(place) = block.get_mut(within..within + bytes.len()) {
            place.copy_from_slice(&bytes);
            let _ = self.disk.write(FileName::Segment(start), from, &block, None);
            self.disk.flush(FileName::Segment(start));
        }
    }
}

/// The body of a message is known from its number.
pub(super) fn body(number: u64, len: usize) -> Vec<u8> {
    let mut body = Random::new(number).bits().to_le_bytes().repeat(len.div_ceil(8));
    body.truncate(len);
    body
}

pub(super) fn unique_key(number: u64) -> String {
    format!("u{number}")
}

pub(super) fn shared_key(number: u64) -> String {
    format!("s{}", number % 7)
}

fn properties(number: u64) -> String {
    let (unique, shared) = (unique_key(number), shared_key(number));
    format!("TAGS\x01{}\x02UNIQ_KEY\x01{unique}\x02KEYS\x01{shared} x\x02", tag(number))
}

fn tag(number: u64) -> &'static str {
    ["A", "B", "C"][usize::try_from(number % 3).expect("small")]
}

/// Java's hash of a tag of one letter.
fn tag_code(number: u64) -> i64 {
    i64::from(tag(number).as_bytes()[0])
}

fn draft<'a>(queue: QueueName, body: &'a [u8], properties: &'a [u8], time: i64) -> RecordDraft<'a> {
    let host = SocketAddr::from(([127, 0, 0, 1], 10911));
    RecordDraft {
        topic: queue.0,
        queue_id: queue.1,
        flag: 0,
        sys_flag: 0,
        born_timestamp: time,
        born_host: host,
        store_host: host,
        store_timestamp: time,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body,
        properties,
        marks: Marks::of(properties),
    }
}
