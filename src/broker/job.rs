//! Work without a connection: jobs that read an internal queue of this shard's own log and put again what is due.
//!
//! State of the shard; on masters only. A [`Job`] goes along one queue from a position that outlives the process. This module knows when a job
//! can run and how far it may say that it is; what it does with a message is its customer's matter: see [`super::delay`]. Who goes along a
//! queue in an order of its own (timers by time, transactions in passes, notes of pops) keeps its own place, and waits ([`Wait`]), reads
//! ([`Broker::read_own`]) and tries again ([`Tries`]) as jobs do.
//!
//! A job that cannot go on waits for one thing: for its queue to grow, for a time, or for a block of the disk. One that waits costs nothing, so
//! the cost follows what is due, not what there is. What a job has stored is remembered in the order of the log until that is as safe as the
//! flush setting and the role promise; only then its position moves for whoever writes it down. So after a crash a message may be put
//! twice, but none is left out.
//!
//! Whoever does such work is hooked in at five places: what it waits for, a block (`handle_block`), a time (`poll_timeout`, `handle_deadline`) or the
//! growth of its queue (`wake_readers`); what was promised (`progress`); and what holds it up (`holds_delays`: an end, tables that are not written).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Display;

use bytes::BytesMut;

use super::unsettled::Unsettled;
use super::{Broker, Effect, Output};
use crate::limits::{
    JOB_BYTES_PER_TURN, JOB_MESSAGES_PER_TURN, JOB_READ_WAIT_MS_MAX, JOB_RETRY_MS, JOB_UNPROMISED_MAX,
};
use crate::log::{BlockId, QueueIndex, Read, ReadLimits};
use crate::model::{FastMap, LogOffset, MonoNs, Now, QueueOffset};

/// Which job of the shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct JobId(usize);

/// What somebody waits for who reads a queue of the shard's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Wait {
    /// More messages in its queue.
    #[default]
    Growth,
    Turn,
    Until(MonoNs),
    /// A block of the disk.
    Block(BlockId),
}

impl Wait {
    pub(super) fn for_ms(now: Now, wait_ms: u64) -> Wait {
        Wait::Until(now.mono.plus_ms(wait_ms))
    }

    /// When it is over: at once if it is one's turn; `None` if something has to happen first.
    pub(super) fn time(self) -> Option<MonoNs> {
        match self {
            Wait::Turn => Some(MonoNs(0)),
            Wait::Until(time) => Some(time),
            Wait::Growth | Wait::Block(_) => None,
        }
    }

    /// A block was read, or could not be.
    pub(super) fn block_has_come(&mut self, block: BlockId) {
        self.end_if(*self == Wait::Block(block));
    }

    pub(super) fn wake_due(&mut self, now: MonoNs) {
        self.end_if(matches!(*self, Wait::Until(time) if time <= now));
    }

    pub(super) fn end_if(&mut self, is_over: bool) {
        if is_over {
            *self = Wait::Turn;
        }
    }

    /// Asks the shell for the block, if it is that.
    pub(super) fn fetch(self, out: &mut Output) {
        if let Wait::Block(block) = self {
            out.effects.push(Effect::Fetch(block));
        }
    }
}

/// How often in a row the next message could not be read, or stored where it belongs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tries(u32);

impl Tries {
    /// Once more in vain. How long to wait then, in ms; `say` is told of the tries and of that, at first each time and then less and less often.
    pub(super) fn fail(&mut self, say: impl FnOnce(u32, u64)) -> u64 {
        self.0 = self.0.saturating_add(1);
        let wait_ms = read_wait_ms(self.0);
        if self.0.is_power_of_two() {
            say(self.0, wait_ms);
        }
        wait_ms
    }

    /// How many, if there are any.
    pub(super) fn count(self) -> Option<u32> {
        (self.0 > 0).then_some(self.0)
    }
}

/// One message: what jobs read.
pub(super) const ONE_MESSAGE: ReadLimits = ReadLimits { messages_max: 1, bytes_max: 0, entries_max: 1 };

/// Why a message cannot be read any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    /// Retention has taken it, with those behind it up to the next.
    Removed,
    /// Wherever it was kept.
    Damaged,
}

/// What has come of reading a message for somebody without a connection.
#[derive(Clone, Copy, Debug)]
pub(super) enum OwnRead {
    /// It was read; what follows stands at `next`.
    Found {
        next: QueueOffset,
    },
    /// It cannot be read any more, which is counted: what follows stands at `next`.
    LeftOut {
        next: QueueOffset,
        loss: Loss,
    },
    /// There is nothing that may be read yet.
    Nothing,
    Cold(BlockId),
    /// An error moves no reader.
    Failed,
}

impl Broker {
    /// Reads a queue for somebody without a connection.
    pub(super) fn read_alone(
        &mut self,
        queue: QueueIndex,
        at: QueueOffset,
        limits: &ReadLimits,
        out: &mut BytesMut,
    ) -> OwnRead {
        match self.log.read(queue, at, limits, &|_| true, out) {
            Read::Found { next, .. } => OwnRead::Found { next },
            Read::NoMatch { .. } => OwnRead::Nothing,
            Read::Cold(block) => OwnRead::Cold(block),
            Read::Removed { next } => OwnRead::LeftOut { next, loss: Loss::Removed },
            Read::Damaged { at: place, next } if !self.may_be_whole_elsewhere(place) => {
                self.counters.damaged_passed_count += 1;
                OwnRead::LeftOut { next, loss: Loss::Damaged }
            }
            Read::Damaged { .. } | Read::Failed => OwnRead::Failed,
        }
    }

    /// Reads a queue of the shard's own. If the message at `at` is lost, that is said: `what` it was, and what that means.
    pub(super) fn read_own(
        &mut self,
        queue: QueueIndex,
        at: QueueOffset,
        limits: &ReadLimits,
        (what, meaning): (impl Display, &str),
        out: &mut BytesMut,
    ) -> OwnRead {
        let read = self.read_alone(queue, at, limits, out);
        match read {
            OwnRead::LeftOut { next, loss: Loss::Removed } => {
                tracing::warn!(%at, %next, "{what} and those behind it are gone from the log: {meaning}");
            }
            OwnRead::LeftOut { loss: Loss::Damaged, .. } => {
                tracing::error!(%at, "{what} is damaged on the disk: {meaning}");
            }
            OwnRead::Found { .. } | OwnRead::Nothing | OwnRead::Cold(_) | OwnRead::Failed => {}
        }
        read
    }
}

/// One pass along one queue.
#[derive(Debug)]
struct Job {
    queue: QueueIndex,
    /// Next message to look at.
    next: QueueOffset,
    /// What was put again for all messages below is as safe as is promised.
    done: QueueOffset,
    wait: Wait,
    /// How often in a row the next message could not be read, or stored.
    tries: Tries,
}

/// The jobs of a shard.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    list: Vec<Job>,
    by_queue: FastMap<QueueIndex, JobId>,
    /// Those that wait for their turn, in the order in which they became able to run.
    turns: VecDeque<JobId>,
    timers: BTreeSet<(MonoNs, JobId)>,
    blocks: BTreeMap<BlockId, Vec<JobId>>,
    /// Who has dealt with a message, and what follows it.
    passed: Unsettled<(JobId, QueueOffset)>,
    /// Where the log ends that holds all that positions speak of.
    log_offset: LogOffset,
}

impl Jobs {
    /// Adds a job that goes along `queue` from `from` on, if the queue has none. It waits for its turn.
    pub(super) fn add(&mut self, queue: QueueIndex, from: QueueOffset) -> JobId {
        if let Some(&job) = self.by_queue.get(&queue) {
            return job;
        }
        let job = JobId(self.list.len());
        self.list.push(Job { queue, next: from, done: from, wait: Wait::Turn, tries: Tries::default() });
        self.by_queue.insert(queue, job);
        self.turns.push_back(job);
        job
    }

    pub(super) fn has(&self, queue: QueueIndex) -> bool {
        self.by_queue.contains_key(&queue)
    }

    /// The job whose turn it is, with its queue and position. It waits for its turn again until [`Self::wait`] says otherwise.
    pub(super) fn next_turn(&mut self) -> Option<(JobId, QueueIndex, QueueOffset)> {
        if self.passed.len() >= JOB_UNPROMISED_MAX {
            return None;
        }
        let id = self.turns.pop_front()?;
        self.turns.push_back(id);
        let job = self.job(id);
        assert!(job.wait == Wait::Turn, "{id:?} has its turn and waits for {:?}", job.wait);
        Some((id, job.queue, job.next))
    }

    /// A message was dealt with: `at` is where the log ended behind what was stored for it.
    pub(super) fn pass(&mut self, id: JobId, next: QueueOffset, at: LogOffset) {
        let job = self.job_mut(id);
        assert!(next > job.next, "a job went from {} to {next}", job.next);
        job.next = next;
        job.tries = Tries::default();
        self.passed.push(at, (id, next));
    }

    /// What the job whose turn it is has tried in vain.
    pub(super) fn tries(&mut self, id: JobId) -> &mut Tries {
        &mut self.job_mut(id).tries
    }

    /// The next message of a queue's job, and how often in a row it could not be read, if that is why it stands still.
    pub(super) fn blocked(&self, queue: QueueIndex) -> Option<(QueueOffset, u32)> {
        let job = self.job(*self.by_queue.get(&queue)?);
        job.tries.count().map(|tries| (job.next, tries))
    }

    /// The job whose turn it is waits for something else.
    pub(super) fn wait(&mut self, id: JobId, wait: Wait) {
        if wait == Wait::Turn {
            return;
        }
        let turn = self.turns.iter().rposition(|other| *other == id).expect("only who has the turn waits");
        self.turns.remove(turn);
        match wait {
            Wait::Turn | Wait::Growth => {}
            Wait::Until(time) => {
                self.timers.insert((time, id));
            }
            Wait::Block(block) => self.blocks.entry(block).or_default().push(id),
        }
        self.job_mut(id).wait = wait;
    }

    fn wake(&mut self, id: JobId) {
        self.job_mut(id).wait = Wait::Turn;
        self.turns.push_back(id);
    }

    /// Consumers may see more of a queue.
    #[inline]
    pub(super) fn queue_has_grown(&mut self, queue: QueueIndex) {
        if let Some(&id) = self.by_queue.get(&queue)
            && self.job(id).wait == Wait::Growth
        {
            self.wake(id);
        }
    }

    /// A block was read, or could not be.
    pub(super) fn block_has_come(&mut self, block: BlockId) {
        for id in self.blocks.remove(&block).unwrap_or_default() {
            self.wake(id);
        }
    }

    pub(super) fn wake_due(&mut self, now: MonoNs) {
        while let Some(&(time, id)) = self.timers.first()
            && time <= now
        {
            self.timers.pop_first();
            self.wake(id);
        }
    }

    /// When a job can run: at once if it is a job's turn.
    pub(super) fn next_time(&self) -> Option<MonoNs> {
        if self.passed.len() >= JOB_UNPROMISED_MAX {
            return None;
        }
        if self.turns.is_empty() { self.timers.first().map(|(time, _)| *time) } else { Some(MonoNs(0)) }
    }

    /// Whether something that jobs have stored is not known to be safe.
    #[inline]
    pub(super) fn is_waiting_for_promises(&self) -> bool {
        !self.passed.is_empty()
    }

    /// The log is safe up to `safe`. Whether a position has moved.
    #[inline]
    pub(super) fn promised(&mut self, safe: LogOffset) -> bool {
        let mut has_moved = false;
        while let Some((at, (id, next))) = self.passed.take(safe) {
            let job = self.job_mut(id);
            assert!(job.done < next, "a position went from {} to {next}", job.done);
            job.done = next;
            self.log_offset = at;
            has_moved = true;
        }
        has_moved
    }

    /// How far the job of a queue is, as may be written down.
    pub(super) fn done(&self, queue: QueueIndex) -> Option<QueueOffset> {
        self.by_queue.get(&queue).map(|&id| self.job(id).done)
    }

    /// Where the log ends that holds all that [`Self::done`] speaks of.
    pub(super) fn log_offset(&self) -> LogOffset {
        self.log_offset
    }

    fn job(&self, id: JobId) -> &Job {
        self.list.get(id.0).expect("jobs stay")
    }

    fn job_mut(&mut self, id: JobId) -> &mut Job {
        self.list.get_mut(id.0).expect("jobs stay")
    }
}

/// What is left of a turn.
pub(super) struct JobBudget {
    pub(super) messages: usize,
    pub(super) bytes: usize,
}

impl JobBudget {
    pub(super) fn of_turn() -> JobBudget {
        JobBudget { messages: JOB_MESSAGES_PER_TURN, bytes: JOB_BYTES_PER_TURN }
    }

    pub(super) fn has_rest(&self) -> bool {
        self.messages > 0 && self.bytes > 0
    }
}

/// How long to wait before a message is looked at again that could not be read `tries` times.
fn read_wait_ms(tries: u32) -> u64 {
    let doublings = tries.saturating_sub(1).min(JOB_READ_WAIT_MS_MAX.ilog2());
    (JOB_RETRY_MS << doublings).min(JOB_READ_WAIT_MS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{HeapTail, Log, LogSettings};
    use crate::model::QueueId;

    fn jobs(count: u32) -> (Jobs, Vec<QueueIndex>) {
        let mut log = Log::create(LogSettings::default(), Box::new(HeapTail::new(1024 * 1024)));
        let queues: Vec<QueueIndex> = (0..count).map(|id| log.queue("T", QueueId(id))).collect();
        let mut jobs = Jobs::default();
        for queue in &queues {
            jobs.add(*queue, QueueOffset(0));
        }
        (jobs, queues)
    }

    fn turn(jobs: &mut Jobs) -> Option<usize> {
        jobs.next_turn().map(|(JobId(id), _, _)| id)
    }

    #[test]
    fn jobs_take_turns_and_each_waits_for_one_thing() {
        let (mut jobs, queues) = jobs(3);
        assert_eq!(jobs.next_time(), Some(MonoNs(0)));
        assert_eq!(
            [turn(&mut jobs), turn(&mut jobs), turn(&mut jobs), turn(&mut jobs)],
            [Some(0), Some(1), Some(2), Some(0)]
        );
        jobs.wait(JobId(0), Wait::Growth);
        jobs.wait(JobId(1), Wait::Until(MonoNs(50)));
        jobs.wait(JobId(2), Wait::Turn);
        assert_eq!([turn(&mut jobs), turn(&mut jobs)], [Some(2), Some(2)]);
        jobs.wait(JobId(2), Wait::Growth);
        assert_eq!((turn(&mut jobs), jobs.next_time()), (None, Some(MonoNs(50))));
        jobs.wake_due(MonoNs(49));
        assert_eq!(turn(&mut jobs), None);
        jobs.wake_due(MonoNs(50));
        jobs.queue_has_grown(queues[1]);
        assert_eq!(
            [turn(&mut jobs), turn(&mut jobs)],
            [Some(1), Some(1)],
            "once, though it was woken by its time already"
        );
        jobs.queue_has_grown(queues[2]);
        jobs.wait(JobId(1), Wait::Growth);
        assert_eq!([turn(&mut jobs), turn(&mut jobs)], [Some(2), Some(2)]);
    }

    #[test]
    fn a_position_follows_the_promise_in_the_order_of_the_log() {
        let (mut jobs, queues) = jobs(2);
        jobs.pass(JobId(0), QueueOffset(1), LogOffset(100));
        jobs.pass(JobId(1), QueueOffset(5), LogOffset(100));
        jobs.pass(JobId(0), QueueOffset(2), LogOffset(200));
        let done = |jobs: &Jobs| queues.iter().map(|queue| jobs.done(*queue).unwrap().0).collect::<Vec<_>>();
        assert!(!jobs.promised(LogOffset(99)) && jobs.is_waiting_for_promises());
        assert_eq!((done(&jobs), jobs.log_offset()), (vec![0, 0], LogOffset(0)));
        assert!(jobs.promised(LogOffset(150)));
        assert_eq!((done(&jobs), jobs.log_offset()), (vec![1, 5], LogOffset(100)));
        assert!(jobs.promised(LogOffset(200)) && !jobs.promised(LogOffset(300)));
        assert_eq!((done(&jobs), jobs.log_offset()), (vec![2, 5], LogOffset(200)));
    }

    #[test]
    fn what_is_not_promised_has_a_bound() {
        let (mut jobs, _) = jobs(1);
        for number in 1..=JOB_UNPROMISED_MAX as u64 {
            assert_eq!(turn(&mut jobs), Some(0));
            jobs.pass(JobId(0), QueueOffset(number), LogOffset(number));
        }
        assert_eq!((turn(&mut jobs), jobs.next_time()), (None, None), "no clock wakes it: the promise does");
        assert!(jobs.promised(LogOffset(1)));
        assert_eq!((turn(&mut jobs), jobs.next_time()), (Some(0), Some(MonoNs(0))));
    }
}
