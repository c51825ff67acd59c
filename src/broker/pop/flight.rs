//! Which messages are in flight: popped, and neither acknowledged nor up for another try.
//!
//! State of the shard, in memory: what the notes in the revive topic say. A flight is what one pop took from one queue. It has two names: the place of
//! its note, by which it is kept, and the handle that its consumer has, by which it is found. What is in flight no longer costs nothing.

use std::collections::{BTreeMap, BTreeSet};

use super::room::RoomWaits;
use crate::broker::job::Tries;
use crate::limits::{POP_FLIGHTS_MAX, POP_FLIGHTS_PER_GROUP_MAX, POP_FREE_PER_FLIGHT};
use crate::log::QueueIndex;
use crate::model::{GroupName, QueueId, QueueOffset, TopicName, UnixMs};
use crate::protocol::message::{PopPlace, PopTime};

/// A queue, as a group pops from it. A pop retry topic by its own name.
pub(super) type PopQueue = (GroupName, TopicName, QueueId);

/// Messages that were popped together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Flight {
    pub(super) queue: PopQueue,
    pub(super) time: PopTime,
    pub(super) invisible_ms: u64,
    /// Offsets of those that are in flight still, ascending; never empty.
    pub(super) open: Vec<QueueOffset>,
    /// When it is looked at next, Unix ms; `None` while a block is waited for.
    look: Option<i64>,
    /// How often in a row a message of it could not be put up for another try.
    tries: Tries,
    /// Its group was set back to one of its messages, or to one before them.
    is_set_back: bool,
}

impl Flight {
    pub(super) fn new(queue: PopQueue, time: PopTime, invisible_ms: u64, mut open: Vec<QueueOffset>) -> Flight {
        // There may be very many.
        open.shrink_to_fit();
        let mut flight =
            Flight { queue, time, invisible_ms, open, look: None, tries: Tries::default(), is_set_back: false };
        flight.look = Some(flight.due());
        flight
    }

    /// When its messages are no longer its consumer's, Unix ms.
    pub(super) fn due(&self) -> i64 {
        self.time.popped.0.saturating_add(i64::try_from(self.invisible_ms).unwrap_or(i64::MAX))
    }

    pub(super) fn place(&self) -> PopPlace<'_> {
        place_of(&self.queue)
    }
}

/// The queue as a note names it.
pub(super) fn place_of((group, topic, queue_id): &PopQueue) -> PopPlace<'_> {
    PopPlace { group: group.as_str(), topic: topic.as_str(), queue_id: *queue_id }
}

/// The first name that a flight from a group's queues of a topic can have.
fn first_of(group: &GroupName, topic: &str) -> (PopQueue, PopTime) {
    let time = PopTime { start: QueueOffset(0), popped: UnixMs(i64::MIN) };
    ((group.clone(), TopicName::from(topic), QueueId(0)), time)
}

/// Whether a queue is one of a group's of a topic.
fn is_of(queue: &PopQueue, group: &GroupName, topic: &str) -> bool {
    queue.0 == *group && queue.1.as_str() == topic
}

/// The flights of a shard, each by the place of its newest note.
#[derive(Debug, Default)]
pub(super) struct Flights {
    by_note: BTreeMap<QueueOffset, Flight>,
    by_handle: BTreeMap<(PopQueue, PopTime), QueueOffset>,
    looks: BTreeSet<(i64, QueueOffset)>,
    of_group: BTreeMap<GroupName, usize>,
    waits: RoomWaits,
}

impl Flights {
    /// Whether the group may have one more. The less room is left, the less may be taken by who has much already.
    pub(super) fn has_room(&self, group: &GroupName) -> bool {
        let (count, left) = (self.len_of(group), POP_FLIGHTS_MAX.saturating_sub(self.by_note.len()));
        count < POP_FLIGHTS_PER_GROUP_MAX && count * POP_FREE_PER_FLIGHT < left
    }

    /// How many the group has.
    pub(super) fn len_of(&self, group: &GroupName) -> usize {
        self.of_group.get(group).copied().unwrap_or_default()
    }

    /// A group's pop that waits at this queue has its turn when the group has room.
    pub(super) fn wait_for_room(&mut self, group: &GroupName, queue: QueueIndex) {
        self.waits.put(group, queue);
    }

    /// Something that a group has was in the way, and is not any more.
    pub(super) fn make_room(&mut self, group: &GroupName) {
        for group in self.waits.next_asked(group).into_iter().flatten() {
            if self.has_room(&group) {
                self.waits.has_room(&group);
            }
        }
    }

    /// Queues whose pops have waited for room, and have it.
    pub(super) fn take_roomy(&mut self) -> Vec<QueueIndex> {
        self.waits.take_ready()
    }

    /// Whether the group has messages in flight.
    pub(super) fn has_any_of(&self, group: &GroupName) -> bool {
        self.of_group.contains_key(group)
    }

    pub(super) fn len(&self) -> usize {
        self.by_note.len()
    }

    /// The place of the oldest note that is of use.
    pub(super) fn first(&self) -> Option<QueueOffset> {
        self.by_note.first_key_value().map(|(note, _)| *note)
    }

    pub(super) fn get(&self, note: QueueOffset) -> Option<&Flight> {
        self.by_note.get(&note)
    }

    /// The flight with this handle.
    pub(super) fn find(&self, queue: &PopQueue, time: PopTime) -> Option<QueueOffset> {
        self.by_handle.get(&(queue.clone(), time)).copied()
    }

    /// The least offset of a queue that is in flight. A flight begins where its first message was, so those that begin behind what was found are not
    /// looked at.
    pub(super) fn first_open(&self, queue: &PopQueue) -> Option<QueueOffset> {
        let from = (queue.clone(), PopTime { start: QueueOffset(0), popped: UnixMs(i64::MIN) });
        let mut least = None;
        for ((other, time), note) in self.by_handle.range(from..) {
            if other != queue || least.is_some_and(|least| time.start > least) {
                break;
            }
            let first = self.by_note.get(note).and_then(|flight| flight.open.first()).copied();
            least = [least, first].into_iter().flatten().min();
        }
        least
    }

    /// Adds a flight, or another note of one that is known. Who waits for a block does so under a note; under another it is looked at anew.
    pub(super) fn insert(&mut self, note: QueueOffset, mut flight: Flight) {
        assert!(!flight.open.is_empty(), "nothing is in flight at {note}");
        flight.look = flight.look.or_else(|| Some(flight.due()));
        if let Some(before) = self.find(&flight.queue, flight.time) {
            self.remove(before);
        }
        self.looks.extend(flight.look.map(|look| (look, note)));
        self.by_handle.insert((flight.queue.clone(), flight.time), note);
        *self.of_group.entry(flight.queue.0.clone()).or_default() += 1;
        let before = self.by_note.insert(note, flight);
        assert!(before.is_none(), "two flights at {note}");
    }

    pub(super) fn remove(&mut self, note: QueueOffset) -> Option<Flight> {
        let flight = self.by_note.remove(&note)?;
        if let Some(look) = flight.look {
            self.looks.remove(&(look, note));
        }
        self.by_handle.remove(&(flight.queue.clone(), flight.time));
        let group = &flight.queue.0;
        let count = self.of_group.get_mut(group).expect("its group was counted");
        *count -= 1;
        if *count == 0 {
            self.of_group.remove(group);
        }
        self.make_room(group);
        Some(flight)
    }

    /// Messages of a flight are in flight no longer.
    pub(super) fn end(&mut self, note: QueueOffset, is_over: impl Fn(QueueOffset) -> bool) {
        let Some(flight) = self.by_note.get_mut(&note) else { return };
        flight.open.retain(|offset| !is_over(*offset));
        flight.tries = Tries::default();
        if flight.open.is_empty() {
            self.remove(note);
        }
    }

    /// Whether something of the queue is in flight.
    pub(super) fn has_any_from(&self, queue: &PopQueue) -> bool {
        self.of_queue(queue).next().is_some()
    }

    /// The flights of a queue, by the places of their notes.
    fn of_queue<'a>(&'a self, queue: &'a PopQueue) -> impl Iterator<Item = (PopTime, QueueOffset)> + 'a {
        let from = (queue.clone(), PopTime { start: QueueOffset(0), popped: UnixMs(i64::MIN) });
        let behind = self.by_handle.range(from..).take_while(move |((other, _), _)| other == queue);
        behind.map(|((_, time), note)| (*time, *note))
    }

    /// A group goes on at `next`, again: its flights with messages from there on are marked, and others not. Whether there are any.
    pub(super) fn set_back(&mut self, queue: &PopQueue, next: QueueOffset) -> bool {
        let notes: Vec<QueueOffset> = self.of_queue(queue).map(|(_, note)| note).collect();
        let mut has_any = false;
        for note in notes {
            let Some(flight) = self.by_note.get_mut(&note) else { continue };
            flight.is_set_back = flight.open.last().is_some_and(|last| *last >= next);
            has_any |= flight.is_set_back;
        }
        has_any
    }

    /// The names of a queue's flights that are marked.
    pub(super) fn all_set_back(&self, queue: &PopQueue) -> Vec<PopTime> {
        let is_set_back = |note: &QueueOffset| self.by_note.get(note).is_some_and(|flight| flight.is_set_back);
        self.of_queue(queue).filter(|(_, note)| is_set_back(note)).map(|(time, _)| time).collect()
    }

    /// The flight with this name, if it is marked, and its messages from `next` on.
    pub(super) fn find_set_back(
        &self,
        queue: &PopQueue,
        time: PopTime,
        next: QueueOffset,
    ) -> Option<(QueueOffset, Vec<QueueOffset>)> {
        let note = self.find(queue, time)?;
        let flight = self.by_note.get(&note).filter(|flight| flight.is_set_back)?;
        Some((note, flight.open.iter().copied().filter(|offset| *offset >= next).collect()))
    }

    /// Fills up what a group may have.
    #[cfg(test)]
    pub(super) fn fill(&mut self, group: &str) {
        let queue = (GroupName::from(group), TopicName::from("T"), QueueId(0));
        // Behind all notes that there are, and not over for long.
        for note in (1_u64 << 40..).map(QueueOffset) {
            if !self.has_room(&queue.0) {
                return;
            }
            let time = PopTime { start: note, popped: UnixMs(i64::MAX / 2) };
            self.insert(note, Flight::new(queue.clone(), time, 1_000, vec![note]));
        }
    }

    /// All flights of a topic are over. Whether there were any.
    pub(super) fn forget_topic(&mut self, topic: &str) -> bool {
        let before = self.by_note.len();
        // The queues of a group's topic stand together, and groups are few.
        let groups: Vec<GroupName> = self.of_group.keys().cloned().collect();
        for group in groups {
            let behind = self.by_handle.range(first_of(&group, topic)..);
            let handles = behind.take_while(|((queue, _), _)| is_of(queue, &group, topic));
            let notes: Vec<QueueOffset> = handles.map(|(_, note)| *note).collect();
            for note in notes {
                self.remove(note);
            }
        }
        self.by_note.len() < before
    }

    /// The flight that is looked at next, and when.
    pub(super) fn next_look(&self) -> Option<(i64, QueueOffset)> {
        self.looks.first().copied()
    }

    /// A flight is looked at again then; with `None` not before it is asked for.
    pub(super) fn look_again(&mut self, note: QueueOffset, look: Option<i64>) {
        let Some(flight) = self.by_note.get_mut(&note) else { return };
        if let Some(before) = std::mem::replace(&mut flight.look, look) {
            self.looks.remove(&(before, note));
        }
        self.looks.extend(look.map(|look| (look, note)));
    }

    /// How often in a row a flight could not be dealt with.
    pub(super) fn tries(&mut self, note: QueueOffset) -> Option<&mut Tries> {
        self.by_note.get_mut(&note).map(|flight| &mut flight.tries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{POP_FLIGHT_MEMORY, POP_MESSAGES_MAX};
    use crate::log::{HeapTail, Log, LogSettings};

    fn flight(group: &str, topic: &str, start: u64, popped: i64, offsets: &[u64]) -> Flight {
        let queue = (GroupName::from(group), TopicName::from(topic), QueueId(0));
        let time = PopTime { start: QueueOffset(start), popped: UnixMs(popped) };
        Flight::new(queue, time, 100, offsets.iter().copied().map(QueueOffset).collect())
    }

    #[test]
    fn a_flight_that_waits_for_a_block_is_not_forgotten_when_it_is_noted_anew() {
        let mut flights = Flights::default();
        let one = flight("g", "t", 5, 1_000, &[5]);
        flights.insert(QueueOffset(3), one);
        flights.look_again(QueueOffset(3), None);
        assert_eq!(flights.next_look(), None);
        let waiting = flights.get(QueueOffset(3)).cloned().expect("it is there");
        flights.insert(QueueOffset(9), waiting);
        assert_eq!(flights.next_look(), Some((1_100, QueueOffset(9))));
        flights.look_again(QueueOffset(3), Some(5));
        assert_eq!(flights.next_look(), Some((1_100, QueueOffset(9))), "the block that came was the old note's");
    }

    #[test]
    fn a_flight_costs_what_its_bound_says() {
        // Nodes of a table that grows at its end are left with six of their eleven places taken; a piece of memory costs 16 bytes more.
        let in_tables = size_of::<(QueueOffset, Flight)>()
            + size_of::<((PopQueue, PopTime), QueueOffset)>()
            + size_of::<(i64, QueueOffset)>();
        let most = in_tables * 11 / 6 + 16 + POP_MESSAGES_MAX as usize * size_of::<QueueOffset>();
        assert!(most <= POP_FLIGHT_MEMORY, "{most}");
        let mut offsets = Vec::with_capacity(POP_MESSAGES_MAX as usize);
        offsets.push(QueueOffset(7));
        let Flight { queue, time, .. } = flight("g", "t", 7, 0, &[7]);
        assert_eq!(Flight::new(queue, time, 100, offsets).open.capacity(), 1, "it has room for no more than it has");
    }

    #[test]
    fn a_flight_is_found_by_its_handle_until_its_last_message_is_over() {
        let mut flights = Flights::default();
        let one = flight("g", "t", 5, 1_000, &[5, 7]);
        flights.insert(QueueOffset(3), one.clone());
        flights.insert(QueueOffset(4), flight("g", "t", 8, 900, &[8]));
        assert_eq!(flights.next_look(), Some((1_000, QueueOffset(4))), "the one that was popped first");
        assert_eq!((flights.find(&one.queue, one.time), flights.first()), (Some(QueueOffset(3)), Some(QueueOffset(3))));
        flights.end(QueueOffset(3), |offset| offset.0 == 5);
        assert_eq!(flights.get(QueueOffset(3)).map(|flight| flight.open.len()), Some(1));
        flights.end(QueueOffset(3), |offset| offset.0 == 7);
        assert_eq!((flights.find(&one.queue, one.time), flights.first()), (None, Some(QueueOffset(4))));
        flights.end(QueueOffset(4), |_| true);
        assert!(flights.looks.is_empty() && flights.by_handle.is_empty() && flights.of_group.is_empty());
    }

    #[test]
    fn another_note_of_a_flight_takes_the_place_of_the_first() {
        let mut flights = Flights::default();
        flights.insert(QueueOffset(1), flight("g", "t", 5, 0, &[5, 6]));
        flights.insert(QueueOffset(9), flight("g", "t", 5, 0, &[6]));
        assert_eq!(
            (flights.len(), flights.first(), flights.next_look()),
            (1, Some(QueueOffset(9)), Some((100, QueueOffset(9))))
        );
    }

    #[test]
    fn a_flight_that_waits_for_a_block_is_not_looked_at() {
        let mut flights = Flights::default();
        flights.insert(QueueOffset(1), flight("g", "t", 5, 0, &[5]));
        flights.look_again(QueueOffset(1), None);
        assert_eq!(flights.next_look(), None);
        flights.look_again(QueueOffset(1), Some(7));
        flights.look_again(QueueOffset(2), Some(7));
        assert_eq!(flights.next_look(), Some((7, QueueOffset(1))));
        flights.forget_topic("t");
        assert_eq!((flights.next_look(), flights.len()), (None, 0));
    }

    #[test]
    fn a_topic_takes_its_flights_of_all_groups_and_no_others() {
        let mut flights = Flights::default();
        let all = [("g", "t"), ("g", "ta"), ("g", "s"), ("h", "t"), ("h", "u"), ("ga", "t")];
        for (note, (group, topic)) in all.into_iter().enumerate() {
            flights.insert(QueueOffset(2 * note as u64), flight(group, topic, 5, -7, &[5]));
            flights.insert(QueueOffset(2 * note as u64 + 1), flight(group, topic, 6, 7, &[6]));
        }
        flights.forget_topic("t");
        let left: Vec<u64> = flights.by_note.keys().map(|note| note.0).collect();
        assert_eq!(left, [2, 3, 4, 5, 8, 9]);
        assert_eq!((flights.by_handle.len(), flights.looks.len(), flights.of_group.len()), (6, 6, 2));
    }

    #[test]
    fn who_is_set_back_has_those_flights_marked_that_reach_behind_the_place() {
        let mut flights = Flights::default();
        let all = [flight("g", "t", 1, 0, &[1, 2]), flight("g", "t", 3, 0, &[3, 5]), flight("g", "t", 6, 0, &[6])];
        for (note, one) in all.iter().enumerate() {
            flights.insert(QueueOffset(note as u64), one.clone());
        }
        let queue = &all[0].queue;
        let starts = |flights: &Flights| -> Vec<u64> {
            flights.all_set_back(queue).into_iter().map(|time| time.start.0).collect()
        };
        assert!(flights.set_back(queue, QueueOffset(4)) && flights.has_any_from(queue));
        assert_eq!(starts(&flights), [3, 6]);
        assert_eq!(
            flights.find_set_back(queue, all[1].time, QueueOffset(4)),
            Some((QueueOffset(1), vec![QueueOffset(5)])),
            "what stands before the place is not given again"
        );
        assert_eq!(flights.find_set_back(queue, all[0].time, QueueOffset(4)), None);
        assert!(flights.set_back(queue, QueueOffset(6)));
        assert_eq!(starts(&flights), [6], "the newest place counts");
        assert!(!flights.set_back(queue, QueueOffset(7)) && starts(&flights).is_empty());
    }

    #[test]
    fn one_group_leaves_room_for_others() {
        let mut flights = Flights::default();
        for note in 0..POP_FLIGHTS_PER_GROUP_MAX as u64 {
            assert!(flights.has_room(&GroupName::from("g")));
            flights.insert(QueueOffset(note), flight("g", "t", note, 0, &[note]));
        }
        assert!(!flights.has_room(&GroupName::from("g")) && flights.has_room(&GroupName::from("h")));
        flights.end(QueueOffset(7), |_| true);
        assert!(flights.has_room(&GroupName::from("g")));
    }

    #[test]
    fn groups_that_take_all_they_can_leave_room_for_another_however_many_they_are() {
        for count in [8_usize, 100] {
            let (mut flights, mut note) = (Flights::default(), 0);
            let groups: Vec<GroupName> = (0..count).map(|n| GroupName::from(format!("g{n}").as_str())).collect();
            while groups.iter().any(|group| flights.has_room(group)) {
                for group in groups.iter() {
                    if flights.has_room(group) {
                        flights.insert(QueueOffset(note), flight(group.as_str(), "t", note, 0, &[note]));
                        note += 1;
                    }
                }
            }
            let of_each: Vec<usize> = groups.iter().map(|group| flights.len_of(group)).collect();
            let (least, most) = (of_each.iter().min().copied(), of_each.iter().max().copied());
            assert!(most <= least.map(|least| least + 1), "{count}: each has its share: {of_each:?}");
            let mut late = 0;
            while flights.has_room(&GroupName::from("late")) {
                flights.insert(QueueOffset(note), flight("late", "t", note, 0, &[note]));
                (note, late) = (note + 1, late + 1);
            }
            assert!(2 * late > most.unwrap_or_default(), "{count}: who comes late has {late}, others {most:?}");
        }
    }

    #[test]
    fn who_waits_for_room_is_told_when_there_is_some() {
        let mut log = Log::create(LogSettings::default(), Box::new(HeapTail::new(64 * 1024)));
        let queues: Vec<QueueIndex> = (0..2).map(|n| log.queue("t", QueueId(n))).collect();
        let mut flights = Flights::default();
        for note in 0..POP_FLIGHTS_PER_GROUP_MAX as u64 {
            flights.insert(QueueOffset(note), flight("g", "t", note, 0, &[note, note + 1]));
        }
        let group = GroupName::from("g");
        flights.wait_for_room(&group, queues[1]);
        flights.wait_for_room(&group, queues[0]);
        flights.end(QueueOffset(3), |offset| offset.0 == 3);
        assert_eq!(flights.take_roomy(), [], "the other message of its flight is out still");
        flights.end(QueueOffset(3), |_| true);
        assert_eq!((flights.take_roomy(), flights.take_roomy()), (queues, vec![]));
    }
}
