//! Delayed messages: how they are put off, and the job that delivers them.
//!
//! State of the shard, durable: how far each delay level is, `delayOffset.json`. A message whose property `DELAY` names a level is stored in
//! [`SCHEDULE_TOPIC`], in the queue of its level, and says in its properties where it belongs. One job a level goes along that queue: the index
//! says when a message is due, so what is not due is not read. A copy goes to the topic that was meant. Consumers' retries take the
//! same way. Source: RocketMQ `HookUtils.transformDelayLevelMessage`, `ScheduleMessageService`.
//!
//! The file may be ahead of the log: the log of ASYNC_FLUSH loses its end with the power, and a slave's may not have come as far as its master's
//! when it asked. So the table says where the log ended that holds all copies it speaks of, and which positions hold for a shorter one.

use std::collections::VecDeque;

use super::job::{JobBudget, JobId, Jobs, ONE_MESSAGE, OwnRead, Wait};
use super::persist::Table;
use super::store::NotStored;
use super::timer::Timers;
use super::{Broker, Output};
use crate::limits::{JOB_CLOCK_MS, JOB_RETRY_MS, TICK_MS};
use crate::log::{AppendError, Appended, Coded, QueueIndex};
use crate::model::{LogOffset, MonoNs, Now, QueueId, QueueOffset};
use crate::protocol::body::{DelayOffsets, LevelOffsets, TimerPlaces};
use crate::protocol::message::{
    DelayLevels, HALF_TOPIC, Properties, SCHEDULE_TOPIC, append_property, property, queue_of_level, without_property,
};
use crate::protocol::record::{Check, Marks, RecordDraft, RecordView};

/// Copies of the table that wait for the log's flush. Beyond, a later one takes the place of the one before.
const SNAPSHOTS_MAX: usize = 16;

/// The delay levels of a shard.
#[derive(Debug, Default)]
pub(super) struct Delays {
    pub(super) jobs: Jobs,
    /// What waits for a time of its own: how far that is stands in the same file.
    pub(super) timers: Timers,
    /// The levels that have a job.
    queues: Vec<(i32, QueueIndex)>,
    /// What is written, and told to slaves. Of a slave: what its master told.
    table: DelayOffsets,
    /// Positions that become `table.safe` when the log is flushed up to there.
    snapshots: VecDeque<(LogOffset, Positions)>,
    /// Whether positions have moved since the table was written.
    has_moved: bool,
    /// When moved positions were last noted for their file.
    noted: MonoNs,
    /// The file on the disk was ahead of the log, and the one that is right is not written yet. Until it is nothing is stored: a log that has
    /// grown beyond what the old file speaks of would make it credible again.
    is_corrected: bool,
}

/// What was delivered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Positions {
    levels: LevelOffsets,
    timers: TimerPlaces,
}

/// How one look at a level has ended.
enum LevelStep {
    /// A message was dealt with.
    Passed,
    /// There is nothing to do before this.
    Wait(Wait),
}

impl Delays {
    /// The file of the store, or what the master told.
    pub(super) fn load(&mut self, table: DelayOffsets) {
        self.table = table;
    }

    /// The table as of now, as it is written and told.
    pub(super) fn form(&self) -> DelayOffsets {
        let (offsets, timers) = (self.offsets(), self.timer_places());
        DelayOffsets { offsets, log_offset: self.log_offset(), timers, ..self.table.clone() }
    }

    /// The timer messages that are delivered, as it may be written down.
    pub(super) fn timer_places(&self) -> TimerPlaces {
        self.timers.places().unwrap_or_else(|| self.table.timers.clone())
    }

    /// The position of each level, as it may be written down.
    pub(super) fn offsets(&self) -> LevelOffsets {
        let mut offsets = self.table.offsets.clone();
        let done = self.queues.iter().filter_map(|(level, queue)| Some((*level, self.jobs.done(*queue)?)));
        offsets.extend(done);
        offsets
    }

    /// What is delivered for sure by a log of which the bytes up to `durable` stay: whatever becomes of the rest of it, the copies are there. Of a slave its
    /// master may have told more.
    pub(super) fn sure(&self, durable: LogOffset) -> (LevelOffsets, TimerPlaces) {
        if self.log_offset() <= durable {
            return (self.offsets(), self.timer_places());
        }
        (self.table.safe.clone(), self.table.safe_timers.clone())
    }

    /// Levels that stand still because their next message cannot be read, or stored where it belongs: the level, that message, how often in a row it was tried.
    pub(super) fn blocked(&self) -> impl Iterator<Item = (i32, QueueOffset, u32)> {
        self.queues.iter().filter_map(|(level, queue)| {
            let (at, tries) = self.jobs.blocked(*queue)?;
            Some((*level, at, tries))
        })
    }

    fn log_offset(&self) -> LogOffset {
        self.table.log_offset.max(self.jobs.log_offset()).max(self.timers.log_offset())
    }

    /// Whether nothing may be stored yet.
    #[inline]
    pub(super) fn holds_stores(&self) -> bool {
        self.is_corrected
    }

    /// The table is on the disk as it is now, or was a moment ago.
    pub(super) fn written(&mut self) {
        self.is_corrected = false;
    }

    /// Takes what a master told to its slave whose log is safe up to `safe`. Whether that changes the table.
    pub(super) fn follow(&mut self, told: DelayOffsets, safe: LogOffset) -> bool {
        // The master's log may be ahead, and so is what it calls safe. What is sure for ours is what was told before and has come since.
        let mut sure = self.positions_at(safe);
        let told_positions = Positions { levels: told.offsets.clone(), timers: told.timers.clone() };
        let is_told_before = (&self.table.offsets, &self.table.timers) == (&told.offsets, &told.timers)
            && self.table.log_offset == told.log_offset;
        if !is_told_before {
            self.keep_until_safe(told.log_offset, told_positions);
        }
        if let Some(positions) = self.take_safe(safe) {
            sure = positions;
        }
        if is_told_before && (&self.table.safe, &self.table.safe_timers) == (&sure.levels, &sure.timers) {
            return false;
        }
        self.table = DelayOffsets { safe: sure.levels, safe_timers: sure.timers, ..told };
        true
    }

    /// What the table says of a log that ends here.
    fn positions_at(&self, log_end: LogOffset) -> Positions {
        let table = &self.table;
        let timers = if table.log_offset <= log_end { &table.timers } else { &table.safe_timers };
        Positions { levels: table.at(log_end).clone(), timers: timers.clone() }
    }

    /// Positions of a log that reaches to `log_offset`, to be taken when that much is safe.
    fn keep_until_safe(&mut self, log_offset: LogOffset, positions: Positions) {
        if self.snapshots.len() >= SNAPSHOTS_MAX {
            self.snapshots.pop_back();
        }
        self.snapshots.push_back((log_offset, positions));
    }

    /// The newest of the kept positions that hold for a log which is safe up to `safe`.
    fn take_safe(&mut self, safe: LogOffset) -> Option<Positions> {
        let mut newest = None;
        while self.snapshots.front().is_some_and(|(log_offset, _)| *log_offset <= safe) {
            newest = self.snapshots.pop_front().map(|(_, positions)| positions);
        }
        newest
    }
}

impl Broker {
    /// A life begins: on a master a job for each level that has ever had a message. Those of levels that the settings no longer have are
    /// still due.
    pub(super) fn start_delays(&mut self) {
        // Until it is known what waits.
        self.log.hold(Some(LogOffset(0)));
        // Of a slave's log the end may be cut off yet: what is safe, its master's next word and its own confirmed end say.
        let safe_end = if self.is_slave() { LogOffset(0) } else { self.durable_end() };
        let table = &mut self.delays.table;
        if table.log_offset > self.log.appended() {
            tracing::warn!(end = %self.log.appended(), log_offset = %table.log_offset, "the log ends before what the delay offsets speak of: what was delivered last is delivered again");
            table.offsets = table.safe.clone();
            table.timers = table.safe_timers.clone();
            table.log_offset = LogOffset(0);
            self.delays.is_corrected = true;
            self.persistence.change(Table::DelayOffsets);
        } else if table.log_offset <= safe_end {
            table.safe = table.offsets.clone();
            table.safe_timers = table.timers.clone();
        }
        if self.is_slave() {
            return;
        }
        let end = self.log.appended();
        let table = &mut self.delays.table;
        if table.timers.end.max(table.safe_timers.end) > end {
            // It speaks of messages that the log has lost, and would speak of those that take their places.
            table.timers.cut(end);
            table.safe_timers.cut(end);
            self.delays.is_corrected = true;
            self.persistence.change(Table::DelayOffsets);
        }
        let timers = table.timers.clone();
        self.start_timers(&timers);
        let queues: Vec<(QueueId, QueueIndex)> = self.log.queues_of(SCHEDULE_TOPIC).collect();
        for (queue_id, queue) in queues {
            self.add_delay_job(level_of_queue(queue_id), queue);
        }
    }

    fn add_delay_job(&mut self, level: i32, queue: QueueIndex) {
        let bounds = self.log.bounds(queue);
        let known = self.delays.table.offsets.get(&level).copied().unwrap_or_default();
        let from = known.max(bounds.min).min(bounds.appended_max);
        if from != known {
            tracing::warn!(level, %known, %from, "the delay offset of a level lay outside its queue");
        }
        self.delays.jobs.add(queue, from);
        self.delays.queues.push((level, queue));
    }

    /// Stores a message where it waits as long as its level says. Errors as [`Broker::store`].
    pub(super) fn put_off(&mut self, now: Now, level: i32, draft: &RecordDraft<'_>) -> Result<Appended, NotStored> {
        let properties = put_off_properties(draft, level);
        let queue_id = queue_of_level(level);
        let copy = RecordDraft { properties: &properties, ..*draft };
        // What cannot be delivered is refused, not left out when its time has come: the copy may be longer than what waits.
        self.log.check_size(&copy).map_err(NotStored::Append)?;
        let draft = RecordDraft {
            topic: SCHEDULE_TOPIC,
            queue_id,
            marks: Marks { delay_level: level, is_timer: false, ..draft.marks },
            ..copy
        };
        let queue = self.log.queue(SCHEDULE_TOPIC, queue_id);
        // Before the message is there: a position that was written for another log ends where the queue does now.
        if !self.delays.jobs.has(queue) {
            self.add_delay_job(level, queue);
        }
        self.store(now, queue, &draft)
    }

    /// Whether nothing is delivered now. A log that has failed takes no copy any more.
    pub(super) fn holds_delays(&self) -> bool {
        self.log.failure().is_some() || self.awaits_tables() || self.is_ending()
    }

    /// When a delayed message can be delivered.
    pub(super) fn next_delay_time(&self) -> Option<MonoNs> {
        if self.holds_delays() { None } else { self.delays.jobs.next_time() }
    }

    /// Delivers what is due, as much as one turn allows.
    pub(super) fn run_delays(&mut self, now: Now, out: &mut Output) {
        if self.holds_delays() {
            return;
        }
        self.delays.jobs.wake_due(now.mono);
        let mut budget = JobBudget::of_turn();
        while budget.has_rest()
            && let Some((job, queue, at)) = self.delays.jobs.next_turn()
        {
            let mut record = std::mem::take(&mut self.scratch.records);
            record.clear();
            let step = self.deliver_next(now, (job, queue, at), &mut record, &mut budget);
            self.scratch.records = record;
            if let LevelStep::Wait(wait) = step {
                wait.fetch(out);
                self.delays.jobs.wait(job, wait);
            }
        }
    }

    /// Deals with the next message of a level, if it is due.
    fn deliver_next(
        &mut self,
        now: Now,
        (job, queue, at): (JobId, QueueIndex, QueueOffset),
        record: &mut bytes::BytesMut,
        budget: &mut JobBudget,
    ) -> LevelStep {
        let level = level_of_queue(self.log.queue_id(queue));
        match self.log.code(queue, at) {
            Coded::Code(due, _) => {
                if let Some(wait_ms) = wait_ms(due, now.unix.0, level, self.log.delay_levels()) {
                    return LevelStep::Wait(Wait::for_ms(now, wait_ms.min(JOB_CLOCK_MS)));
                }
            }
            Coded::Cold(block) => return LevelStep::Wait(Wait::Block(block)),
            Coded::Unreadable => return self.wait_to_read(now, job, level, at),
            Coded::None => {}
        }
        budget.messages = budget.messages.saturating_sub(1);
        let said = (format_args!("a delayed message of level {level}"), "it is not delivered");
        match self.read_own(queue, at, &ONE_MESSAGE, said, record) {
            OwnRead::Found { next } => {
                budget.bytes = budget.bytes.saturating_sub(record.len());
                match self.deliver(now, record) {
                    Ok(()) => self.delays.jobs.pass(job, next, self.log.appended()),
                    Err(NotStored::Append(AppendError::TooLarge(error))) => {
                        return self.wait_in_vain(now, job, level, at, &format!("cannot be stored ({error})"));
                    }
                    Err(_) => return LevelStep::Wait(Wait::for_ms(now, JOB_RETRY_MS)),
                }
            }
            OwnRead::LeftOut { next, .. } => self.delays.jobs.pass(job, next, self.log.appended()),
            OwnRead::Nothing => return LevelStep::Wait(Wait::Growth),
            OwnRead::Cold(block) => return LevelStep::Wait(Wait::Block(block)),
            OwnRead::Failed => return self.wait_to_read(now, job, level, at),
        }
        LevelStep::Passed
    }

    fn wait_to_read(&mut self, now: Now, job: JobId, level: i32, at: QueueOffset) -> LevelStep {
        self.wait_in_vain(now, job, level, at, "cannot be read")
    }

    /// An error never moves a reader: what is behind waits until the message was delivered, or the log knows it to be gone.
    fn wait_in_vain(&mut self, now: Now, job: JobId, level: i32, at: QueueOffset, why: &str) -> LevelStep {
        let wait_ms = self.delays.jobs.tries(job).fail(|tries, wait_ms| {
            tracing::error!(level, %at, tries, wait_ms, "a delayed message {why}: its level waits and tries again");
        });
        LevelStep::Wait(Wait::for_ms(now, wait_ms))
    }

    /// Stores the copy of a scheduled record where it belongs. Errors as [`Broker::put_where_it_belongs`].
    fn deliver(&mut self, now: Now, record: &[u8]) -> Result<(), NotStored> {
        let view = RecordView::decode(record, None, Check::Shape).expect("the log has read it as a record");
        let is_place = |topic: &str| topic != HALF_TOPIC;
        self.put_where_it_belongs(now, &view, "a delayed message", is_place, |properties| {
            without_property(view.properties, property::CRC32, properties);
        })
    }

    /// What was put again may be as safe now as was promised. The first to move a position after a while has it written at once, so that a
    /// lone message is hardly ever delivered twice; many share a write.
    #[inline]
    pub(super) fn promise_delays(&mut self, now: Now, out: &mut Output) {
        if self.delays.jobs.is_waiting_for_promises() || self.delays.timers.is_waiting_for_promises() {
            let safe = self.settled_end();
            self.delays.has_moved |= self.delays.jobs.promised(safe);
            self.delays.has_moved |= self.delays.timers.promised(safe);
            if self.delays.has_moved && now.mono.ms_since(self.delays.noted) >= TICK_MS {
                self.note_delay_offsets(now);
                self.write_changes(out);
            }
        }
    }

    /// Notes the positions for their file if they have moved.
    pub(super) fn note_delay_offsets(&mut self, now: Now) {
        let durable = self.durable_end();
        let delays = &mut self.delays;
        if let Some(Positions { levels, timers }) = delays.take_safe(durable) {
            (delays.table.safe, delays.table.safe_timers) = (levels, timers);
        }
        if !std::mem::take(&mut delays.has_moved) {
            return;
        }
        delays.noted = now.mono;
        delays.table = delays.form();
        delays.table.version = delays.table.version.next(now.unix);
        let positions = Positions { levels: delays.table.offsets.clone(), timers: delays.table.timers.clone() };
        delays.keep_until_safe(delays.table.log_offset, positions);
        self.persistence.change(Table::DelayOffsets);
    }
}

/// How long a message must wait still; `None` if it is due. One that would wait for longer than its level's delay is due at once: the
/// clock was set back, or the level is shorter now. Source: `ScheduleMessageService.correctDeliverTimestamp`.
fn wait_ms(due: i64, now: i64, level: i32, levels: &DelayLevels) -> Option<u64> {
    let wait_ms = u64::try_from(due.saturating_sub(now)).ok().filter(|wait| *wait > 0)?;
    let is_beyond = level <= levels.highest() && wait_ms > levels.delay_ms(level);
    (!is_beyond).then_some(wait_ms)
}

/// The level whose messages wait in this queue.
pub(super) fn level_of_queue(queue: QueueId) -> i32 {
    i32::try_from(queue.0).unwrap_or(i32::MAX).saturating_add(1)
}

/// The properties under which a message waits: its own, the level that it gets, and where it belongs. A delay that is asked for in
/// another way counts for nothing beside a level. Source: `HookUtils.checkIfTimerMessage`.
fn put_off_properties(draft: &RecordDraft<'_>, level: i32) -> Vec<u8> {
    // A level that is not clamped stays as its producer wrote it.
    let is_clamped = draft.marks.delay_level != level;
    let dropped = |name: &str| {
        (is_clamped && name == property::DELAY)
            || matches!(
                name,
                property::REAL_TOPIC
                    | property::REAL_QUEUE_ID
                    | property::TIMER_DELIVER_MS
                    | property::TIMER_DELAY_SEC
                    | property::TIMER_DELAY_MS
            )
    };
    let mut properties = Vec::with_capacity(draft.properties.len() + draft.topic.len() + 48);
    for (name, value) in Properties::new(draft.properties).iter().filter(|(name, _)| !dropped(name)) {
        append_property(&mut properties, name, value);
    }
    if is_clamped {
        append_property(&mut properties, property::DELAY, &level.to_string());
    }
    append_property(&mut properties, property::REAL_TOPIC, draft.topic);
    append_property(&mut properties, property::REAL_QUEUE_ID, &draft.queue_id.to_string());
    properties
}
