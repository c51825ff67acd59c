//! Looks at what a pop would find, of which nothing changes: 200052 is answered with the messages, 200054 with whether there are any, at once or when some
//! come, and 200055 with how many pops wait. Source: RocketMQ `PeekMessageProcessor`, `NotificationProcessor`, `PollingInfoProcessor`.

use bytes::BytesMut;

use super::Broker;
use super::take::{Pop, PopWants};
use crate::broker::{Asked, Handled, Output, Refusal};
use crate::limits::{POP_MESSAGES_MAX, POP_QUEUES_MAX, PULL_BYTES_MAX};
use crate::log::{QueueIndex, Read, ReadLimits};
use crate::model::{Now, QueueId, QueueOffset, TopicName};
use crate::protocol::code::ResponseCode;
use crate::protocol::record::{Check, RecordView};
use crate::protocol::reply::{ExtValue, Reply, encode_reply};
use crate::protocol::request::PopRequest;

/// A queue that a pop would look at, and where it would begin there.
struct PopPlaceLook {
    topic: TopicName,
    index: QueueIndex,
    from: QueueOffset,
    end: QueueOffset,
}

impl Broker {
    /// PEEK_MESSAGE 200052.
    pub(in crate::broker) fn peek(
        &mut self,
        asked: &Asked,
        request: &PopRequest<'_>,
        out: &mut Output,
    ) -> Result<Handled, Refusal> {
        let request = PopRequest { messages_max: request.messages_max.min(POP_MESSAGES_MAX), ..request.clone() };
        let pop = self.checked_pop(asked, &request, 0, out)?;
        self.check_knows_pops()?;
        let mut records = std::mem::take(&mut self.scratch.records);
        records.clear();
        let (mut left, mut rest) = (pop.messages_max, 0);
        let mut cold = None;
        for look in self.looks(asked.now, &pop) {
            rest += look.end.0.saturating_sub(look.from.0);
            if left == 0 || cold.is_some() {
                continue;
            }
            let bytes_max = PULL_BYTES_MAX.saturating_sub(records.len());
            let limits = ReadLimits { messages_max: left, bytes_max, entries_max: left };
            let mut read = BytesMut::new();
            // What cannot be read now is not looked at.
            match self.log.read(look.index, look.from, &limits, &|_| true, &mut read) {
                Read::Found { .. } => {
                    let count = count_of(&read);
                    left = left.saturating_sub(count);
                    self.note_got(asked.now.mono, (look.index, &look.topic, &pop.group), count as u64, &read);
                    records.unsplit(read);
                }
                Read::Cold(block) => cold = Some(block),
                _ => {}
            }
        }
        let result = match cold {
            Some(block) if records.is_empty() => Ok(Handled::Cold(block)),
            _ => {
                let (code, remark) = if records.is_empty() {
                    (ResponseCode::PullNotFound, "NO_MESSAGE_IN_QUEUE")
                } else {
                    (ResponseCode::Success, "FOUND")
                };
                let zero = ExtValue::I64(0);
                let rest = ExtValue::I64(i64::try_from(rest).unwrap_or(i64::MAX));
                let ext = [("popTime", zero), ("invisibleTime", zero), ("reviveQid", zero), ("restNum", rest)];
                self.reply(asked, &Reply { code, remark: Some(remark), ext: &ext, body: &records }, out);
                Ok(Handled::Done)
            }
        };
        self.scratch.records = records;
        result
    }

    /// NOTIFICATION 200054.
    pub(in crate::broker) fn notify_of_messages(
        &mut self,
        asked: &Asked,
        request: &PopRequest<'_>,
        out: &mut Output,
    ) -> Result<Handled, Refusal> {
        let born = request.born.unwrap_or(asked.now.unix);
        let ends = born.0.saturating_add(request.poll_ms.max(0));
        let mut pop = self.checked_pop(asked, request, ends, out)?;
        pop.wants = PopWants::Word;
        self.check_knows_pops()?;
        if self.has_to_pop(asked.now, &pop) {
            answer_word(&pop, true, false, out);
            return Ok(Handled::Done);
        }
        match self.hold_pop(asked.now, pop.clone(), false) {
            None => {}
            Some(code) => answer_word(&pop, false, code == ResponseCode::PollingFull, out),
        }
        Ok(Handled::Done)
    }

    /// POLLING_INFO 200055.
    pub(in crate::broker) fn polling_info(
        &mut self,
        asked: &Asked,
        request: &PopRequest<'_>,
        out: &mut Output,
    ) -> Result<Handled, Refusal> {
        let pop = self.checked_pop(asked, request, 0, out)?;
        let count = self.anchor_of(&pop).map_or(0, |anchor| {
            let is_such = |held: &&Pop| {
                let of = |pop: &Pop| (pop.wants, pop.group.clone(), pop.topic.clone(), pop.queue_id);
                of(held) == of(&pop)
            };
            self.pops.holds.of_queue(anchor).filter(is_such).count()
        });
        let ext = [("pollingNum", ExtValue::I64(i64::try_from(count).unwrap_or(i64::MAX)))];
        self.reply(asked, &Reply::fields(&ext), out);
        Ok(Handled::Done)
    }

    /// Whether a pop would find something, and would be given it.
    pub(super) fn has_to_pop(&mut self, now: Now, pop: &Pop) -> bool {
        !self.lacks_room(pop) && self.looks(now, pop).iter().any(|look| look.from < look.end)
    }

    /// The queues that a pop would look at.
    fn looks(&mut self, now: Now, pop: &Pop) -> Vec<PopPlaceLook> {
        let mut looks = Vec::new();
        let retries = pop.retries.iter().filter(|_| !pop.is_ordered).map(|(name, _)| (name, None));
        for (name, only) in [(&pop.topic, pop.queue_id)].into_iter().chain(retries) {
            let Some(topic) = self.topics.get(name.as_str()) else { continue };
            let (name, queues) = (topic.name.clone(), topic.config.read_queues.min(POP_QUEUES_MAX));
            let ids = only.map_or(0..queues, |queue| queue.0..queue.0.saturating_add(1));
            for queue_id in ids.map(QueueId) {
                let Some(topic) = self.topics.get_mut(name.as_str()) else { break };
                let index = topic.queue(&mut self.log, queue_id);
                let bounds = self.log.bounds(index);
                let queue = (pop.group.clone(), name.clone(), queue_id);
                let from = self.next_to_pop(&queue).unwrap_or(bounds.min).max(bounds.min);
                if pop.is_ordered && self.pops.in_order.is_out(&queue, from, pop.attempt.as_deref(), now.unix) {
                    continue;
                }
                looks.push(PopPlaceLook { topic: name.clone(), index, from, end: bounds.max });
            }
        }
        looks
    }
}

fn count_of(records: &[u8]) -> usize {
    let (mut rest, mut count) = (records, 0);
    while let Ok(view) = RecordView::decode(rest, None, Check::Shape) {
        rest = rest.get(view.size as usize..).unwrap_or_default();
        count += 1;
    }
    count
}

/// Says whether there is something to pop. RocketMQ: `NotificationResponseHeader`.
pub(super) fn answer_word(pop: &Pop, has_messages: bool, is_full: bool, out: &mut Output) {
    let asked = &pop.asked;
    if asked.is_oneway {
        return;
    }
    let ext = [("hasMsg", ExtValue::Bool(has_messages)), ("pollingFull", ExtValue::Bool(is_full))];
    encode_reply(asked.encoding, asked.opaque, &Reply::fields(&ext), out.outbox.buffer(asked.connection));
}
