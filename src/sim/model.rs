//! What the world knows that it appended, and what must therefore be there.

use std::collections::BTreeMap;

use crate::model::{LogOffset, MonoNs, QueueId, QueueOffset};

/// A message that was appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) number: u64,
    pub(super) log_offset: LogOffset,
    pub(super) end: LogOffset,
    pub(super) queue_offset: QueueOffset,
    /// How many its record holds, and the offset of the first of them.
    pub(super) count: u32,
    pub(super) first: QueueOffset,
    pub(super) body_len: usize,
    /// Its stamp, by a clock that may be wrong.
    pub(super) time: i64,
    /// When it was appended.
    pub(super) appended_at: MonoNs,
    pub(super) tag: i64,
    /// What its record says of its place: the queue that it was sent to, and its offset there.
    pub(super) home: (QueueName, QueueOffset),
}

pub(super) type QueueName = (&'static str, QueueId);

#[derive(Clone, Debug)]
enum What {
    /// Its place in the queue that it was sent to, and in the light ones that it is in as well.
    Append(Vec<(QueueName, Message)>),
    /// Where its record begins.
    Remove(&'static str, LogOffset),
}

/// Everything that happened to the log, in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    /// Where it ends in the log, and what it was.
    events: Vec<(LogOffset, What)>,
    queues: BTreeMap<QueueName, Vec<Message>>,
}

impl Model {
    /// The first message of a record was appended, and with it as many as that holds, to each of the queues that it is in.
    pub(super) fn append(&mut self, end: LogOffset, places: Vec<(QueueName, Message)>) {
        let what = What::Append(places);
        self.apply(&what);
        self.events.push((end, what));
    }

    pub(super) fn remove_topic(&mut self, topic: &'static str, begin: LogOffset, end: LogOffset) {
        self.apply(&What::Remove(topic, begin));
        self.events.push((end, What::Remove(topic, begin)));
    }

    fn apply(&mut self, what: &What) {
        match what {
            What::Append(places) => {
                for (queue, message) in places {
                    let messages = (0..u64::from(message.count))
                        .map(|nth| Message { queue_offset: message.first.plus(nth), ..message.clone() });
                    self.queues.entry(*queue).or_default().extend(messages);
                }
            }
            What::Remove(topic, _) => self.queues.retain(|(name, _), _| name != topic),
        }
    }

    /// After a crash the log ends at `end`: what lies beyond has not happened.
    pub(super) fn truncate(&mut self, end: LogOffset) {
        if self.events.last().is_none_or(|(last, _)| *last <= end) {
            return;
        }
        self.events.retain(|(event_end, _)| *event_end <= end);
        self.queues.clear();
        let events = std::mem::take(&mut self.events);
        for (_, what) in &events {
            self.apply(what);
        }
        self.events = events;
    }

    pub(super) fn queues(&self) -> impl Iterator<Item = (QueueName, &[Message])> {
        self.queues.iter().map(|(name, messages)| (*name, messages.as_slice()))
    }

    pub(super) fn messages(&self, queue: QueueName) -> &[Message] {
        self.queues.get(&queue).map_or(&[], Vec::as_slice)
    }

    /// The messages of which a byte lies in `range`.
    pub(super) fn within(&self, range: std::ops::Range<LogOffset>) -> impl Iterator<Item = &Message> {
        let messages = self.queues.values().flatten();
        messages.filter(move |message| message.log_offset < range.end && range.start < message.end)
    }

    /// Where the records begin and end of which a byte lies in `range`, in order; also those of topics that were removed.
    pub(super) fn records(&self, range: &std::ops::Range<LogOffset>) -> Vec<(LogOffset, LogOffset)> {
        let from = self.events.partition_point(|(end, _)| *end <= range.start);
        let records = self.events[from..].iter().map(|(end, what)| match what {
            What::Append(places) => (places[0].1.log_offset, *end),
            What::Remove(_, begin) => (*begin, *end),
        });
        records.take_while(|(begin, _)| *begin < range.end).collect()
    }

    /// End of the last event that lies wholly below `offset`: what a promise up to there comes to.
    pub(super) fn last_end(&self, offset: LogOffset) -> LogOffset {
        let whole = self.events.partition_point(|(end, _)| *end <= offset);
        whole.checked_sub(1).map_or(LogOffset(0), |last| self.events[last].0)
    }
}
