//! Transactions: half messages, how they end, and who is asked about those that do not.
//!
//! State of the shard. A transactional message is stored in [`HALF_TOPIC`] ([`half`]) and is seen by no consumer. When its producer says how the
//! transaction ends ([`end`]), a copy goes to the topic that was meant, or nothing does; then the end is noted in [`OP_TOPIC`]. A checker
//! ([`check`]) goes along the half messages, from one interval to the next, and asks the producers of those that have not ended; each of these it
//! puts back behind all others, with one more try. Two consumer offsets of [`TRANSACTION_GROUP`] say how far it is: below the first, nothing waits
//! in [`HALF_TOPIC`]; below the second, nothing in [`OP_TOPIC`] is of use. All of it is as Apache's broker has it, so that either goes on with what the
//! other began. Source: RocketMQ `EndTransactionProcessor`, `TransactionalMessageServiceImpl`, `TransactionalMessageBridge`.
//!
//! What holds at any moment, whatever is killed between two steps: a message is stored for consumers before its end is noted, and a half message is
//! passed when what was stored for it is on the disk and with the replicas. So a transaction may be asked about twice, but none is forgotten.
//!
//! Ends are noted once a turn, not after seconds as Apache does: a broker that is killed asks about hardly any transaction that has ended. Which
//! half messages have ended is known in memory ([`ended`]); the notes are read when a life begins, and not again.

mod check;
mod end;
mod ended;
mod half;

use self::ended::EndedHalves;
use super::job::{Tries, Wait};
use super::unsettled::Unsettled;
use super::{Broker, Output};
use crate::limits::{JOB_RETRY_MS, TRANSACTION_PASSED_MAX};
use crate::log::{BlockId, QueueIndex};
use crate::model::{ConnectionId, LogOffset, MonoNs, Now, QueueId, QueueOffset};
use crate::protocol::message::{HALF_TOPIC, OP_TOPIC, TRANSACTION_GROUP};
use crate::said::BY_STRANGERS;

/// The one queue of each of the two topics that is used.
const QUEUE: QueueId = QueueId(0);

/// One look along the half messages that were there when it began.
#[derive(Clone, Copy, Debug)]
struct Pass {
    /// Unix ms.
    begun: i64,
    end: QueueOffset,
    given_up: u64,
}

/// The two queues, and how far they were gone through.
#[derive(Clone, Copy, Debug)]
struct Places {
    half: QueueIndex,
    op: QueueIndex,
    /// The next half message to look at.
    next: QueueOffset,
    /// All below are done with, and what was stored for them is safe.
    done: QueueOffset,
    /// Notes from here to `notes_end` are still to be read: those that were there when the life began.
    note: QueueOffset,
    notes_end: QueueOffset,
    /// Of half messages below, those notes may speak.
    half_of_notes: QueueOffset,
    /// Notes below are of no more use.
    notes_done: QueueOffset,
}

/// The transactions of a shard.
#[derive(Debug, Default)]
pub(super) struct Transactions {
    /// `None` on a slave.
    places: Option<Places>,
    ended: EndedHalves,
    /// Half messages that have ended and whose end is not noted yet.
    unnoted: Vec<QueueOffset>,
    /// When the log that took no note is asked again.
    note_again: Option<MonoNs>,
    /// What the checker waits for: for a half message, if there is none that was not passed, or the shard is a slave.
    wait: Wait,
    pass: Option<Pass>,
    /// When the next pass may begin.
    next_pass: MonoNs,
    /// How far was passed and is not safe yet. Ascending.
    passed: Unsettled<QueueOffset>,
    /// Whether places have moved since they were committed.
    has_moved: bool,
    /// How often in a row the next half message or note could not be read.
    tries: Tries,
    /// The producer that was asked last, so that each has its turn.
    last_asked: ConnectionId,
}

impl Transactions {
    /// A half message was stored, or may be read now.
    fn wake_for_pass(&mut self) {
        if self.wait == Wait::Growth {
            self.wait = Wait::Until(self.next_pass);
        }
    }

    /// A block was read, or could not be.
    pub(super) fn block_has_come(&mut self, block: BlockId) {
        self.wait.block_has_come(block);
    }

    /// The checker has passed all below `next`; for that the log was filled up to `at`.
    fn pass(&mut self, next: QueueOffset, at: LogOffset) {
        let places = self.places.as_mut().expect("a slave passes nothing");
        assert!(next > places.next, "the checker went from {} to {next}", places.next);
        places.next = next;
        self.tries = Tries::default();
        self.ended.forget_below(next);
        self.passed.push_place(at, next);
    }

    /// The log is on the disk, and with the replicas, up to `safe`.
    fn promised(&mut self, safe: LogOffset) {
        let Some(places) = &mut self.places else { return };
        while let Some((_, next)) = self.passed.take(safe) {
            places.done = next;
            self.has_moved = true;
        }
        if self.has_moved
            && let Some(note) = self.ended.pass_notes(places.done)
        {
            places.notes_done = note;
        }
    }
}

impl Broker {
    /// A life begins: a master's checker goes on where the last one was.
    pub(super) fn start_transactions(&mut self, now: Now) {
        if self.is_slave() {
            return;
        }
        let (half, op) = (self.log.queue(HALF_TOPIC, QUEUE), self.log.queue(OP_TOPIC, QUEUE));
        let (half_bounds, op_bounds) = (self.log.bounds(half), self.log.bounds(op));
        let place_in = |topic, min: QueueOffset, end: QueueOffset| {
            self.offsets.get(TRANSACTION_GROUP, topic, QUEUE).unwrap_or(min).max(min).min(end)
        };
        let next = place_in(HALF_TOPIC, half_bounds.min, half_bounds.appended_max);
        let note = place_in(OP_TOPIC, op_bounds.min, op_bounds.appended_max);
        let places = Places {
            half,
            op,
            next,
            done: next,
            note,
            notes_end: op_bounds.appended_max,
            half_of_notes: half_bounds.appended_max,
            notes_done: note,
        };
        let transactions = &mut self.transactions;
        transactions.places = Some(places);
        transactions.next_pass = now.mono.plus_ms(self.settings.transactions.check_interval_ms);
        if places.note < places.notes_end {
            transactions.wait = Wait::Turn;
        } else if next < half_bounds.appended_max {
            transactions.wake_for_pass();
        }
    }

    /// Whether nothing is done now. A log that has failed takes no copy any more.
    fn holds_transactions(&self) -> bool {
        self.transactions.places.is_none() || self.log.failure().is_some() || self.awaits_tables() || self.is_ending()
    }

    /// When there is something to do: a pass, the rest of one, or notes that found no room.
    pub(super) fn next_transaction_time(&self) -> Option<MonoNs> {
        if self.holds_transactions() {
            return None;
        }
        let transactions = &self.transactions;
        let has_room = transactions.wait != Wait::Turn || transactions.passed.len() < TRANSACTION_PASSED_MAX;
        let check = transactions.wait.time().filter(|_| has_room);
        check.into_iter().chain(transactions.note_again).min()
    }

    /// Does what is due, as much as one turn allows.
    pub(super) fn run_transactions(&mut self, now: Now, out: &mut Output) {
        if self.holds_transactions() {
            return;
        }
        if self.transactions.note_again.is_some_and(|time| time <= now.mono) {
            self.transactions.note_again = None;
        }
        self.transactions.wait.wake_due(now.mono);
        if self.transactions.wait == Wait::Turn {
            self.check_transactions(now, out);
        }
    }

    /// What follows from any event: what has ended is noted, and what was passed may be safe now.
    #[inline]
    pub(super) fn promise_transactions(&mut self, now: Now) {
        if !self.transactions.unnoted.is_empty() && self.transactions.note_again.is_none() {
            self.note_ends(now);
        }
        if !self.transactions.passed.is_empty() {
            let safe = self.durable_end();
            self.transactions.promised(safe);
        }
    }

    /// Commits the places if they have moved.
    pub(super) fn commit_transaction_places(&mut self) {
        if !std::mem::take(&mut self.transactions.has_moved) {
            return;
        }
        let Some(Places { done, notes_done, .. }) = self.transactions.places else { return };
        for (topic, offset) in [(HALF_TOPIC, done), (OP_TOPIC, notes_done)] {
            // A table without room says so; all that is lost is looked through again by the next life.
            if !self.offsets.commit(TRANSACTION_GROUP, topic, QUEUE, offset) {
                tracing::warn!(
                    target: BY_STRANGERS,
                    topic,
                    "the table of consumer offsets is full: how far transactions were checked is not kept"
                );
            }
        }
    }

    /// Notes what has ended, as far as the log takes it; for the rest it is asked again later.
    fn note_ends(&mut self, now: Now) {
        while !self.transactions.unnoted.is_empty() {
            if let Err(error) = self.note_some_ends(now) {
                tracing::debug!(?error, "ends of transactions are not noted yet");
                self.transactions.note_again = Some(now.mono.plus_ms(JOB_RETRY_MS));
                return;
            }
        }
    }
}

#[cfg(test)]
impl Transactions {
    /// Ends that the log has not taken, for tests of the bound.
    pub(super) fn flood_unnoted(&mut self, count: usize) {
        self.unnoted = vec![QueueOffset(u64::MAX >> 1); count];
        self.note_again = Some(MonoNs(u64::MAX));
    }
}
