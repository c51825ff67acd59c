//! Pop consumption: the broker hands messages out for a while, and gives again what was not acknowledged by then.
//!
//! State of the shard; on masters only. A pop ([`take`]) takes messages of a topic's queues from where its group goes on there, and notes in the revive
//! topic which ones, and for how long they are their consumer's. An acknowledgement ([`end`]) is a note as well. When the time of messages is over, a
//! copy of each goes to the group's pop retry topic ([`revive`]), of which a pop takes too. What is in flight is known in memory ([`flight`]); the notes
//! are read when a life begins ([`replay`]), and not again.
//! [`look`] is for those who want to know what a pop would find, [`order`] for those who want a queue in its order.
//! Source: RocketMQ `PopMessageProcessor`, `AckMessageProcessor`, `ChangeInvisibleTimeProcessor`, `PopReviveService`.
//!
//! What holds at any moment, whatever is killed between two steps:
//! - Where a group goes on in a queue is committed when the note of what was taken is on the disk and with the in-sync set; until then it is known from
//!   the note. So nothing is passed over that is not in flight.
//! - A copy is stored before it is noted that its message is in flight no longer, and before any later note.
//! - What is in flight from where a group is set back to ends when the disk has the new offset. A slave that becomes the master may have an older one: it
//!   goes by the notes then.
//! - The offset of [`REVIVE_GROUP`](crate::protocol::message::REVIVE_GROUP) says from where on notes are of use. It moves when what made older ones useless
//!   is as safe, and when the offsets of which these spoke are in the table that is on the disk.
//!
//! Of what stays in flight for long a copy of its note is put behind all others ([`POP_NOTES_MAX`]), so that what a start reads follows what is in
//! flight, not what has been.

mod end;
mod flight;
mod look;
mod order;
mod replay;
mod revive;
mod room;
mod take;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;

use self::flight::{Flight, Flights, PopQueue, place_of};
use self::order::InOrder;
use self::take::Pop;
use super::hold::HoldTable;
use super::job::{Tries, Wait};
use super::persist::Table;
use super::store::NotStored;
use super::unsettled::Unsettled;
use super::{Broker, Output};
use crate::limits::{JOB_CLOCK_MS, JOB_RETRY_MS, POP_NOTES_MAX, POP_NOTES_PER_TURN, POP_UNNOTED_MAX};
use crate::log::{Appended, BlockId, QueueIndex};
use crate::model::{ConnectionId, FastMap, GroupName, LogOffset, MonoNs, Now, QueueId, QueueOffset, TopicName};
use crate::protocol::message::{PopNote, PopTime, REVIVE_GROUP, revive_topic};
use crate::protocol::record::RecordDraft;
use crate::said::BY_STRANGERS;

/// The one queue of the revive topic that is used.
const QUEUE: QueueId = QueueId(0);

/// The notes, and how far they are of use.
#[derive(Clone, Debug)]
struct NotePlaces {
    topic: TopicName,
    queue: QueueIndex,
    /// Notes from here to `read_end` are still to be read: those that were there when the life began.
    read: QueueOffset,
    read_end: QueueOffset,
    wait: Wait,
    tries: Tries,
    /// Notes below are of no use, as far as is known in memory.
    passed: QueueOffset,
    /// The same, and what made them useless is safe.
    done: QueueOffset,
    /// The same, by the disk: a start reads the notes from there on.
    on_disk: QueueOffset,
}

/// What is known of a queue that notes speak of.
#[derive(Clone, Copy, Debug)]
struct PoppedQueue {
    /// Where its group goes on, as long as its committed offset does not say so.
    ahead: Option<QueueOffset>,
    /// The newest note that says where it goes on, or does not any more.
    last: QueueOffset,
}

/// The pops of a shard.
#[derive(Debug, Default)]
pub(super) struct Pops {
    /// `None` on a slave.
    places: Option<NotePlaces>,
    flights: Flights,
    in_order: InOrder,
    /// Groups that were deleted in this life while they had messages in flight.
    gone_groups: BTreeSet<GroupName>,
    queues: BTreeMap<PopQueue, PoppedQueue>,
    /// How many queues there were when those were looked through of which no note is of use.
    queues_swept: usize,
    /// Where groups go on, not safe yet.
    ahead: Unsettled<(PopQueue, QueueOffset)>,
    /// Notes that the log has not taken; none is stored before them.
    unnoted: VecDeque<Vec<u8>>,
    /// When the log that took no note is asked again.
    note_again: Option<MonoNs>,
    /// Up to where notes are of no use, not safe yet. Ascending.
    passed: Unsettled<QueueOffset>,
    /// A place that is committed when this generation of the offsets is on the disk.
    gated: Option<(u64, QueueOffset)>,
    /// Places that were committed: each is on the disk with its generation of the offsets. Both ascend.
    placed: VecDeque<(u64, QueueOffset)>,
    /// Queues whose groups were set back to an offset behind which they have flights: these end when this generation of the offsets is on the disk.
    set_back: BTreeMap<PopQueue, (u64, QueueOffset)>,
    /// Flights that are ended because of that: their messages are in their queues to be popped, from that offset on.
    given_back: BTreeMap<PopQueue, (QueueOffset, Vec<PopTime>)>,
    /// While notes are read: queues of which they say that something was given back.
    gave_back: BTreeSet<PopQueue>,
    /// Flights that wait for blocks.
    cold: BTreeMap<BlockId, Vec<QueueOffset>>,
    /// When flights are looked at next.
    look: Option<MonoNs>,
    /// Pops that wait for messages, by the first queue of their topic.
    holds: HoldTable<QueueIndex, Pop>,
    /// Queues of topics that pops have waited for, with the first one of the topic that was asked for.
    anchors: FastMap<QueueIndex, QueueIndex>,
    /// Counts pops, so that each begins with another queue.
    turn: u32,
}

impl Pops {
    /// Consumers may see more of a queue.
    #[inline]
    pub(super) fn queue_has_grown(&mut self, queue: QueueIndex) {
        if let Some(anchor) = self.anchors.get(&queue) {
            self.holds.queue_has_grown(*anchor);
        }
    }

    /// A queue of a topic is gone, and with the first one those who wait.
    pub(super) fn end_queue(&mut self, queue: QueueIndex) {
        self.holds.end_queue(queue);
        self.anchors.remove(&queue);
    }

    pub(super) fn drop_connection(&mut self, connection: ConnectionId) {
        self.holds.drop_connection(connection);
    }

    /// When a pop that waits is to be looked at.
    pub(super) fn next_hold_time(&self) -> Option<MonoNs> {
        if self.holds.has_turns() { Some(MonoNs(0)) } else { self.holds.next_deadline() }
    }

    /// A block was read, or could not be.
    pub(super) fn block_has_come(&mut self, block: BlockId) {
        if let Some(places) = &mut self.places {
            places.wait.block_has_come(block);
        }
        for note in self.cold.remove(&block).unwrap_or_default() {
            let due = self.flights.get(note).map(Flight::due);
            self.flights.look_again(note, due);
        }
    }

    /// Whether all notes were read that were there when the life began.
    fn is_known(&self) -> bool {
        self.places.as_ref().is_some_and(|places| places.read >= places.read_end)
    }

    /// The queues of a topic that notes speak of: they stand together for each group, and groups are few.
    fn queues_of(&self, topic: &str) -> Vec<PopQueue> {
        let mut found = Vec::new();
        let mut next = self.queues.first_key_value().map(|((group, ..), _)| group.clone());
        while let Some(group) = next {
            let first = (group.clone(), TopicName::from(topic), QueueId(0));
            let behind = self.queues.range(first..).map(|(queue, _)| queue);
            found.extend(behind.take_while(|queue| queue.0 == group && queue.1.as_str() == topic).cloned());
            // Names of topics have letters below this one.
            let last = (group, TopicName::from("\u{10FFFF}"), QueueId(u32::MAX));
            next = self
                .queues
                .range((Bound::Excluded(last), Bound::Unbounded))
                .next()
                .map(|((group, ..), _)| group.clone());
        }
        found
    }

    /// Where a group goes on in a queue is known from the note at `note`, and safe when the log is up to `at`.
    fn go_on_at(&mut self, queue: PopQueue, next: QueueOffset, note: QueueOffset, at: LogOffset) {
        self.queues.insert(queue.clone(), PoppedQueue { ahead: Some(next), last: note });
        self.ahead.push(at, (queue, next));
    }
}

impl Broker {
    /// A life begins: a master reads what was in flight.
    pub(super) fn start_pops(&mut self) {
        if self.is_slave() {
            return;
        }
        let topic = TopicName::from(revive_topic(&self.settings.cluster).as_str());
        let queue = self.log.queue(topic.as_str(), QUEUE);
        let bounds = self.log.bounds(queue);
        let known = self.offsets.get(REVIVE_GROUP, topic.as_str(), QUEUE).unwrap_or(bounds.min);
        let read = known.max(bounds.min).min(bounds.appended_max);
        let (wait, tries) = (Wait::Turn, Tries::default());
        let read_end = bounds.appended_max;
        self.pops.places =
            Some(NotePlaces { topic, queue, read, read_end, wait, tries, passed: read, done: read, on_disk: read });
    }

    /// Whether nothing is done now. A log that has failed takes no copy any more.
    fn holds_pops(&self) -> bool {
        self.pops.places.is_none() || self.log.failure().is_some() || self.awaits_tables() || self.is_ending()
    }

    /// When there is something to do.
    pub(super) fn next_pop_time(&self) -> Option<MonoNs> {
        let places = self.pops.places.as_ref().filter(|_| !self.holds_pops())?;
        if places.read < places.read_end {
            return places.wait.time();
        }
        if !self.pops.given_back.is_empty() && self.pops.unnoted.is_empty() {
            return Some(MonoNs(0));
        }
        self.pops.look.into_iter().chain(self.pops.note_again).min()
    }

    /// Does what is due, as much as one turn allows.
    pub(super) fn run_pops(&mut self, now: Now, out: &mut Output) {
        if self.holds_pops() {
            return;
        }
        if self.pops.note_again.is_some_and(|time| time <= now.mono) {
            self.pops.note_again = None;
        }
        if self.pops.is_known() {
            self.end_in_order(now);
            self.end_given_back(now);
            self.revive_due(now, out);
        } else {
            self.read_notes_of_pops(now, out);
        }
    }

    /// What follows from any event: notes that found no room are stored, old ones are put behind all others, and what was noted may be safe now.
    pub(super) fn promise_pops(&mut self, now: Now) {
        self.note_set_backs(now);
        if !self.pops.is_known() || self.holds_pops() {
            return;
        }
        if !self.pops.unnoted.is_empty() && self.pops.note_again.is_none() && self.store_unnoted(now).is_err() {
            self.pops.note_again = Some(now.mono.plus_ms(JOB_RETRY_MS));
        }
        self.note_anew(now);
        self.pass_notes();
        if !self.pops.ahead.is_empty() || !self.pops.passed.is_empty() {
            self.take_promised();
        }
        for queue in self.pops.flights.take_roomy() {
            self.pops.holds.queue_has_grown(queue);
        }
        let ends = self.pops.flights.next_look().map(|(look, _)| look).into_iter().chain(self.pops.in_order.next_end());
        self.pops.look = ends.min().map(|look| {
            // The clock may be set meanwhile.
            let wait_ms = u64::try_from(look.saturating_sub(now.unix.0)).unwrap_or(0).min(JOB_CLOCK_MS);
            now.mono.plus_ms(wait_ms)
        });
    }

    /// The log is safe up to somewhere: where groups go on is committed.
    fn take_promised(&mut self) {
        let safe = self.durable_end();
        while let Some((_, (queue, next))) = self.pops.ahead.take(safe) {
            let (group, topic, queue_id) = &queue;
            let (group, topic) = (group.as_str(), topic.as_str());
            if self.offsets.get(group, topic, *queue_id).is_none_or(|committed| committed < next)
                && !self.offsets.commit(group, topic, *queue_id, next)
            {
                tracing::warn!(
                    target: BY_STRANGERS,
                    group,
                    topic,
                    "the table of consumer offsets is full: where a group goes on is not kept"
                );
            }
            if let Some(known) = self.pops.queues.get_mut(&queue)
                && known.ahead == Some(next)
            {
                known.ahead = None;
            }
            self.pops.flights.make_room(&queue.0);
        }
        while let Some((_, done)) = self.pops.passed.take(safe) {
            if let Some(places) = &mut self.pops.places {
                places.done = done;
            }
        }
    }

    /// Notes before those of what is in flight are of no use any more.
    fn pass_notes(&mut self) {
        let appended = self.log.appended();
        let Some(places) = &mut self.pops.places else { return };
        let end = self.log.bounds(places.queue).appended_max;
        let first = self.pops.flights.first().unwrap_or(end);
        if first > places.passed {
            places.passed = first;
            self.pops.passed.push_place(appended, first);
        }
    }

    /// Puts copies of the oldest notes that are of use behind all others, if there are too many others between them.
    fn note_anew(&mut self, now: Now) {
        let Some(queue) = self.pops.places.as_ref().map(|places| places.queue) else { return };
        for _ in 0..POP_NOTES_PER_TURN {
            let Some(first) = self.pops.flights.first() else { return };
            let notes = self.log.bounds(queue).appended_max.0.saturating_sub(first.0);
            if notes <= POP_NOTES_MAX.saturating_add(4 * self.pops.flights.len() as u64) {
                return;
            }
            let Some(flight) = self.pops.flights.get(first).cloned() else { return };
            let Flight { time, invisible_ms, .. } = flight;
            let note =
                PopNote::Taken { place: flight.place(), time, invisible_ms, next: None, offsets: flight.open.clone() };
            match self.note_pop(now, &note) {
                Ok(stored) => self.pops.flights.insert(stored.queue_offset, flight),
                Err(_) => return,
            }
        }
    }

    /// Committed offsets were made less, or are gone: notes from before count for them no longer, and what is in flight from there on will be popped again.
    fn note_set_backs(&mut self, now: Now) {
        let queues = self.offsets.take_set_back();
        if queues.is_empty() || self.pops.places.is_none() {
            return;
        }
        let is_known = |queue: &PopQueue| self.pops.queues.contains_key(queue) || self.pops.flights.has_any_from(queue);
        let known: Vec<PopQueue> = queues.into_iter().filter(is_known).collect();
        if known.is_empty() {
            return;
        }
        self.pops.ahead.retain(|(queue, _)| known.binary_search(queue).is_err());
        let generation = self.next_generation_of_offsets();
        for queue in known {
            let (group, topic, queue_id) = &queue;
            // The table that says it too is written later.
            let next = self.offsets.get(group.as_str(), topic.as_str(), *queue_id);
            let last = self.note_in_any_case(now, &PopNote::SetBack { place: place_of(&queue), next });
            self.pops.set_back.remove(&queue);
            if let Some(next) = next
                && self.pops.flights.set_back(&queue, next)
            {
                self.pops.set_back.insert(queue.clone(), (generation, next));
            }
            self.pops.queues.insert(queue, PoppedQueue { ahead: None, last });
        }
    }

    /// Whose groups were set back, and the disk says so: their flights may end. Before, a start could go on behind them, and nobody would have them.
    fn give_back_set_back(&mut self) {
        let flushed = self.persistence.flushed(Table::ConsumerOffsets);
        let ready: Vec<PopQueue> =
            self.pops.set_back.iter().filter(|(_, (at, _))| *at <= flushed).map(|(queue, _)| queue.clone()).collect();
        for queue in ready {
            let Some((_, next)) = self.pops.set_back.remove(&queue) else { continue };
            let times = self.pops.flights.all_set_back(&queue);
            self.pops.given_back.insert(queue, (next, times));
        }
    }

    /// Ends flights whose messages will be popped again, as many as one turn allows.
    fn end_given_back(&mut self, now: Now) {
        for _ in 0..POP_NOTES_PER_TURN {
            if !self.pops.unnoted.is_empty() {
                return;
            }
            let Some(mut entry) = self.pops.given_back.last_entry() else { return };
            let (next, times) = entry.get_mut();
            let (next, time) = (*next, times.pop());
            let queue = entry.key().clone();
            let Some(time) = time else {
                entry.remove();
                continue;
            };
            let Some((note, offsets)) = self.pops.flights.find_set_back(&queue, time, next) else { continue };
            if !offsets.is_empty() {
                self.note_in_any_case(now, &PopNote::GivenBack { place: place_of(&queue), time, offsets });
                self.pops.flights.end(note, |offset| offset >= next);
            }
        }
    }

    /// Which generation of the offsets holds all that they say by now.
    fn next_generation_of_offsets(&self) -> u64 {
        self.persistence.generation(Table::ConsumerOffsets) + u64::from(self.offsets.is_dirty())
    }

    /// A topic is gone.
    pub(super) fn forget_pops_of(&mut self, now: Now, topic: &str) {
        if self.pops.places.is_none() {
            return;
        }
        let had_flights = self.pops.flights.forget_topic(topic);
        self.pops.in_order.forget_topic(topic);
        self.pops.set_back.retain(|(_, other, _), _| other.as_str() != topic);
        let popped = self.pops.queues_of(topic);
        if had_flights || !popped.is_empty() {
            for queue in &popped {
                self.pops.queues.remove(queue);
            }
            self.pops.ahead.retain(|((_, other, _), _)| other.as_str() != topic);
            self.note_in_any_case(now, &PopNote::Forgotten { topic });
        }
    }

    /// A group is deleted: what it has in flight is not tried again, unless it is made anew.
    pub(super) fn forget_pops_of_group(&mut self, group: &str) {
        let group = GroupName::from(group);
        if self.pops.flights.has_any_of(&group) {
            self.pops.gone_groups.insert(group);
        }
    }

    /// Stores a note behind those that the log has not taken yet.
    ///
    /// # Errors
    /// The log takes nothing now.
    fn note_pop(&mut self, now: Now, note: &PopNote<'_>) -> Result<Appended, NotStored> {
        self.store_unnoted(now)?;
        let mut body = Vec::new();
        note.encode(&mut body);
        self.store_note_of_pop(now, &body)
    }

    /// Stores a note now or, if the log takes nothing, before any other. Where it is, or will be at the earliest.
    fn note_in_any_case(&mut self, now: Now, note: &PopNote<'_>) -> QueueOffset {
        match self.note_pop(now, note) {
            Ok(stored) => stored.queue_offset,
            Err(error) => {
                if self.pops.unnoted.len() < POP_UNNOTED_MAX {
                    let mut body = Vec::new();
                    note.encode(&mut body);
                    self.pops.unnoted.push_back(body);
                } else {
                    tracing::warn!(?error, "a note of popped messages found no room: a start would not know of it");
                }
                let queue = self.pops.places.as_ref().map(|places| places.queue);
                queue.map_or(QueueOffset(0), |queue| self.log.bounds(queue).appended_max)
            }
        }
    }

    fn store_unnoted(&mut self, now: Now) -> Result<(), NotStored> {
        while let Some(body) = self.pops.unnoted.pop_front() {
            if let Err(error) = self.store_note_of_pop(now, &body) {
                self.pops.unnoted.push_front(body);
                return Err(error);
            }
        }
        Ok(())
    }

    fn store_note_of_pop(&mut self, now: Now, body: &[u8]) -> Result<Appended, NotStored> {
        let places = self.pops.places.as_ref().expect("a slave notes nothing");
        let (topic, queue) = (places.topic.clone(), places.queue);
        let draft =
            RecordDraft { topic: topic.as_str(), queue_id: QUEUE, born_timestamp: now.unix.0, body, ..self.draft(now) };
        self.store(now, queue, &draft)
    }

    /// Of a queue that a group pops from: the first message that it has not finished, if any is in flight, and where its next pop begins, if that is
    /// not where it has committed.
    pub(super) fn pop_progress(
        &self,
        now: Now,
        (group, topic, queue_id): (&str, &TopicName, QueueId),
    ) -> (Option<QueueOffset>, Option<QueueOffset>) {
        let queue = (GroupName::from(group), topic.clone(), queue_id);
        let ahead = self.pops.queues.get(&queue).and_then(|known| known.ahead);
        (self.pops.flights.first_open(&queue), ahead.max(self.pops.in_order.out_until(&queue, now.unix)))
    }

    /// Commits from where on notes are of use, when the offsets that these spoke of are on the disk: a start that finds the one must find the other.
    pub(super) fn commit_pop_place(&mut self) {
        let flushed = self.persistence.flushed(Table::ConsumerOffsets);
        let Some(places) = &mut self.pops.places else { return };
        while let Some((at, place)) = self.pops.placed.front().copied()
            && at <= flushed
        {
            self.pops.placed.pop_front();
            places.on_disk = place;
        }
        let NotePlaces { topic, done, on_disk, .. } = places.clone();
        if let Some((generation, done)) = self.pops.gated
            && flushed >= generation
        {
            self.pops.gated = None;
            if self.commit_place(&topic, done) {
                self.pops.placed.push_back((self.next_generation_of_offsets(), done));
            }
        }
        if self.pops.gated.is_none()
            && self.offsets.get(REVIVE_GROUP, topic.as_str(), QUEUE).unwrap_or_default() != done
        {
            self.pops.gated = Some((self.next_generation_of_offsets(), done));
        }
        self.give_back_set_back();
        let queues = self.pops.queues.len();
        if queues > 2 * self.pops.queues_swept + POP_NOTES_PER_TURN {
            // A note that a start would read may be spoken against until the disk says that it is not read.
            self.pops.queues.retain(|_, queue| queue.ahead.is_some() || queue.last >= on_disk);
            self.pops.queues_swept = self.pops.queues.len();
        }
    }

    /// The same at an orderly stop, which writes the whole table.
    pub(super) fn commit_pop_place_at_stop(&mut self) {
        if let Some(NotePlaces { topic, done, .. }) = self.pops.places.clone().filter(|places| places.done.0 > 0) {
            self.commit_place(&topic, done);
        }
    }

    /// As if no note said any more where a group goes on in a queue.
    #[cfg(test)]
    pub(super) fn forget_popped_queue(&mut self, queue: &PopQueue) {
        self.pops.queues.remove(queue);
    }

    /// Lets messages of as many queues be out in order as may be.
    #[cfg(test)]
    pub(super) fn flood_in_order(&mut self, now: crate::model::UnixMs) {
        self.pops.in_order.fill(now);
    }

    /// Lets a group have as much in flight as it may.
    #[cfg(test)]
    pub(super) fn flood_flights(&mut self, group: &str) {
        self.pops.flights.fill(group);
    }

    /// Whether there was room for it.
    fn commit_place(&mut self, topic: &TopicName, done: QueueOffset) -> bool {
        // A table without room says so; all that is lost is read again by the next life.
        let is_kept = self.offsets.commit(REVIVE_GROUP, topic.as_str(), QUEUE, done);
        if !is_kept {
            tracing::warn!(
                target: BY_STRANGERS,
                "the table of consumer offsets is full: which notes of popped messages are of use is not kept"
            );
        }
        is_kept
    }
}
