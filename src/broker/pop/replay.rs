//! What was in flight when a life begins: read from the notes of those before it.

use bytes::BytesMut;

use super::{Broker, Flight, PopQueue, PoppedQueue};
use crate::broker::Output;
use crate::broker::job::{OwnRead, Tries, Wait};
use crate::limits::{JOB_BYTES_PER_TURN, JOB_RETRY_MS, POP_NOTES_PER_TURN};
use crate::log::ReadLimits;
use crate::model::{GroupName, Now, QueueOffset, TopicName};
use crate::protocol::message::{PopNote, PopTime};
use crate::protocol::record::{Check, RecordView};

impl Broker {
    /// Reads some of the notes that were there when the life began.
    pub(super) fn read_notes_of_pops(&mut self, now: Now, out: &mut Output) {
        let mut record = std::mem::take(&mut self.scratch.records);
        record.clear();
        let wait = self.read_some_notes(now, &mut record);
        self.scratch.records = record;
        wait.fetch(out);
        if let Some(places) = &mut self.pops.places {
            places.wait = wait;
        }
        if self.pops.is_known() {
            self.end_replay();
        }
    }

    fn read_some_notes(&mut self, now: Now, records: &mut BytesMut) -> Wait {
        let Some(places) = &mut self.pops.places else { return Wait::Growth };
        match places.wait {
            Wait::Until(time) if now.mono < time => return places.wait,
            Wait::Block(_) => return places.wait,
            Wait::Until(_) | Wait::Turn | Wait::Growth => {}
        }
        let (queue, at) = (places.queue, places.read);
        let limits = ReadLimits {
            messages_max: POP_NOTES_PER_TURN,
            bytes_max: JOB_BYTES_PER_TURN,
            entries_max: POP_NOTES_PER_TURN,
        };
        let said = ("a note of popped messages", "what it spoke of is not given again");
        let next = match self.read_own(queue, at, &limits, said, records) {
            OwnRead::Found { next } | OwnRead::LeftOut { next, .. } => next,
            // They are not with the replicas yet.
            OwnRead::Nothing => return Wait::for_ms(now, JOB_RETRY_MS),
            OwnRead::Cold(block) => return Wait::Block(block),
            OwnRead::Failed => return self.wait_for_note(now, at),
        };
        let mut rest = &records[..];
        while let Ok(note) = RecordView::decode(rest, None, Check::Shape) {
            rest = rest.get(note.size as usize..).unwrap_or_default();
            match PopNote::decode(note.body) {
                Some(said) => self.learn_of_pop(note.queue_offset, said),
                None => {
                    tracing::warn!(at = %note.queue_offset, "a note of popped messages is none of ringmq's and is left out")
                }
            }
        }
        if let Some(places) = &mut self.pops.places {
            (places.read, places.tries) = (next, Tries::default());
        }
        Wait::Turn
    }

    /// An error moves no reader.
    fn wait_for_note(&mut self, now: Now, at: QueueOffset) -> Wait {
        let Some(places) = &mut self.pops.places else { return Wait::Growth };
        let wait_ms = places.tries.fail(|tries, wait_ms| {
            tracing::error!(%at, tries, wait_ms, "a note of popped messages cannot be read: it is tried again, and nothing is popped before");
        });
        Wait::for_ms(now, wait_ms)
    }

    /// Takes what a note says.
    fn learn_of_pop(&mut self, note: QueueOffset, said: PopNote<'_>) {
        let queue = self.queue_of(&said);
        let pops = &mut self.pops;
        match said {
            PopNote::Taken { time, invisible_ms, next, offsets, .. } => {
                if let Some(next) = next {
                    pops.queues.insert(queue.clone(), PoppedQueue { ahead: Some(next), last: note });
                }
                if !offsets.is_empty() {
                    pops.flights.insert(note, Flight::new(queue, time, invisible_ms, offsets));
                }
            }
            PopNote::Ended { time, offsets, .. } => {
                if let Some(flight) = pops.flights.find(&queue, time) {
                    pops.flights.end(flight, |offset| offsets.contains(&offset));
                }
            }
            PopNote::GivenBack { time, offsets, .. } => {
                if let Some(flight) = pops.flights.find(&queue, time) {
                    pops.flights.end(flight, |offset| offsets.contains(&offset));
                }
                pops.gave_back.insert(queue);
            }
            PopNote::Changed { time, invisible_ms, again, .. } => {
                if let Some(flight) = pops.flights.find(&queue, time) {
                    pops.flights.end(flight, |offset| offset == again.start);
                }
                let PopTime { start, .. } = again;
                pops.flights.insert(note, Flight::new(queue, again, invisible_ms, vec![start]));
            }
            PopNote::SetBack { next, .. } => {
                pops.queues.insert(queue, PoppedQueue { ahead: next, last: note });
            }
            PopNote::Forgotten { topic } => {
                pops.flights.forget_topic(topic);
                pops.queues.retain(|(_, other, _), _| other.as_str() != topic);
                pops.gave_back.retain(|(_, other, _)| other.as_str() != topic);
            }
        }
    }

    /// The queue that a note is about. Names that the tables have are theirs, since there may be very many notes.
    fn queue_of(&self, said: &PopNote<'_>) -> PopQueue {
        let place = said.place();
        let group = self.groups.get(place.group).map(|group| group.name.clone());
        let topic = self.topics.get(place.topic).map(|topic| topic.name.clone());
        let group = group.unwrap_or_else(|| GroupName::from(place.group));
        (group, topic.unwrap_or_else(|| TopicName::from(place.topic)), place.queue_id)
    }

    /// All notes were read. Where groups go on is committed when the log is safe that far, unless the table says so already.
    fn end_replay(&mut self) {
        let is_there = |(_, topic, _): &PopQueue| self.topics.get(topic.as_str()).is_some();
        let gone: Vec<TopicName> =
            self.pops.queues.keys().filter(|queue| !is_there(queue)).map(|(_, topic, _)| topic.clone()).collect();
        for topic in gone {
            self.pops.flights.forget_topic(topic.as_str());
            self.pops.queues.retain(|(_, other, _), _| *other != topic);
        }
        let at = self.log.appended();
        let gave_back = std::mem::take(&mut self.pops.gave_back);
        let queues: Vec<(PopQueue, QueueOffset)> =
            self.pops.queues.iter().filter_map(|(queue, known)| Some((queue.clone(), known.ahead?))).collect();
        for (queue, next) in queues {
            let (group, topic, queue_id) = &queue;
            let next = next.min(self.end_of(topic.as_str(), *queue_id));
            let committed = self.offsets.get(group.as_str(), topic.as_str(), *queue_id);
            let is_news = committed.is_none_or(|committed| committed < next);
            if gave_back.contains(&queue) && committed.is_some_and(|committed| committed > next) {
                // The table is that of another replica's, from before the reset: what it passes over is with nobody.
                self.offsets.commit(group.as_str(), topic.as_str(), *queue_id, next);
            }
            if let Some(known) = self.pops.queues.get_mut(&queue) {
                known.ahead = is_news.then_some(next);
            }
            if is_news {
                self.pops.ahead.push(at, (queue, next));
            }
        }
    }
}
