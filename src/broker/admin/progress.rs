//! How far groups have come, seen from topics and queues: 303, 308, 314, 317, 321.

use std::collections::{BTreeMap, BTreeSet};

use super::super::group::check_is_clients;
use super::super::query::too_many_offsets;
use super::super::{Asked, Broker, Handled, Output, Refusal};
use super::stats::signed;
use crate::limits::{CONSUME_STATS_MAX, OFFSETS_PER_REQUEST_MAX, PARKED_ROUNDS_MAX, QUEUE_ENTRIES_MAX};
use crate::log::{BlockId, QueueIndex};
use crate::model::{GroupName, QueueId, QueueOffset, TopicName, UnixMs};
use crate::protocol::body::{AllConsumeStats, ConsumeStats, QueueEntries, TimeSpan, correction_offsets, time_spans};
use crate::protocol::code::ResponseCode;
use crate::protocol::reply::Reply;
use crate::protocol::request::{
    AllConsumeStatsRequest, CloneOffsetsRequest, CorrectionRequest, GroupTopicRequest, QueueEntriesRequest,
};

/// The time of a message that is not there.
const NEVER: UnixMs = UnixMs(-1);

/// A topic that a group consumes, and how many queues it has to send to.
type ConsumedTopic = (TopicName, u32);

impl Broker {
    /// QUERY_CONSUME_TIME_SPAN 303.
    pub(in crate::broker) fn time_spans(
        &mut self,
        asked: &Asked,
        request: GroupTopicRequest<'_>,
        out: &mut Output,
    ) -> Result<Handled, Refusal> {
        let Some((_, queues)) = self.queues_of(request.topic) else {
            return Err(Refusal::new(ResponseCode::TopicNotExist, format!("topic[{}] not exist", request.topic)));
        };
        let topic = TopicName::from(request.topic);
        let mut spans = Vec::new();
        for queue_id in (0..queues).map(QueueId) {
            match self.time_span(asked, request.group, &topic, queue_id) {
                Ok(span) => spans.push(span),
                Err(block) => return Ok(Handled::Cold(block)),
            }
        }
        self.reply(asked, &Reply::body(&time_spans(&spans)), out);
        Ok(Handled::Done)
    }

    fn time_span(
        &mut self,
        asked: &Asked,
        group: &str,
        topic: &TopicName,
        queue_id: QueueId,
    ) -> Result<TimeSpan, BlockId> {
        let queue = self.message_queue(topic, queue_id);
        let mut span = TimeSpan { queue, oldest: NEVER, newest: NEVER, consumed: NEVER, delay_ms: 0 };
        let Some(queue) = self.log.find_queue(topic.as_str(), queue_id) else { return Ok(span) };
        let bounds = self.log.bounds(queue);
        let (first, end) = match self.log.first(queue) {
            Err(block) if asked.rounds < PARKED_ROUNDS_MAX => return Err(block),
            first => (first.unwrap_or(bounds.min), bounds.max),
        };
        span.oldest = self.time_at(asked, queue, first)?;
        span.newest = self.time_at(asked, queue, QueueOffset(end.0.saturating_sub(1)))?;
        let stands = self.offsets.get(group, topic.as_str(), queue_id).unwrap_or_default();
        span.consumed = match stands.0.checked_sub(1) {
            Some(last) => self.time_at(asked, queue, QueueOffset(last))?,
            None => span.oldest,
        };
        let next = stands.max(first);
        if next < end {
            let waits_since = self.time_at(asked, queue, next)?;
            span.delay_ms = if waits_since == NEVER { 0 } else { asked.now.unix.0.saturating_sub(waits_since.0) };
        }
        Ok(span)
    }

    /// When the message at `offset` was stored.
    fn time_at(&mut self, asked: &Asked, queue: QueueIndex, offset: QueueOffset) -> Result<UnixMs, BlockId> {
        let time = self.time_before(asked, queue, offset.plus(1))?;
        Ok(if time == UnixMs(0) { NEVER } else { time })
    }

    /// QUERY_CORRECTION_OFFSET 308. RocketMQ also deletes the offsets of groups that are left out, which nobody means by a question.
    pub(in crate::broker) fn corrections(
        &mut self,
        asked: &Asked,
        request: &CorrectionRequest<'_>,
        out: &mut Output,
    ) -> Result<Handled, Refusal> {
        let topic = request.topic;
        let mut least: BTreeMap<QueueId, i64> = BTreeMap::new();
        let mut seen = 0_usize;
        let left_out: BTreeSet<&str> = request.left_out.iter().copied().collect();
        for group in self.offsets.groups_of(topic).map(GroupName::as_str) {
            let offsets = self.offsets.of_topic(group, topic).filter(|_| !left_out.contains(group));
            seen += offsets.map_or(1, BTreeMap::len);
            check_count(seen)?;
            for (queue, offset) in offsets.into_iter().flatten() {
                let bounds = self.log.find_queue(topic, *queue).map(|queue| self.log.bounds(queue));
                if bounds.is_none_or(|bounds| *offset >= bounds.min) {
                    let offset = signed(*offset);
                    least.entry(*queue).and_modify(|least| *least = offset.min(*least)).or_insert(offset);
                }
            }
        }
        for (queue, offset) in self.offsets.of_topic(request.group, topic).into_iter().flatten() {
            if let Some(least) = least.get_mut(queue)
                && *least > signed(*offset)
            {
                *least = i64::MAX;
            }
        }
        self.reply(asked, &Reply::body(&correction_offsets(&least)), out);
        Ok(Handled::Done)
    }

    /// CLONE_GROUP_OFFSET 314. All or nothing.
    pub(in crate::broker) fn clone_offsets(
        &mut self,
        asked: &Asked,
        request: CloneOffsetsRequest<'_>,
        out: &mut Output,
    ) -> Result<Handled, Refusal> {
        self.check_unwritten()?;
        let (from, to) = (request.from, request.to);
        check_is_clients(to)?;
        let is_meant = |topic: &&TopicName| request.topic.is_none_or(|wanted| wanted == topic.as_str());
        let topics = self.offsets.topics_of(from).filter(is_meant).filter(|topic| {
            self.topics.get(topic.as_str()).is_some()
                && (request.is_offline || !self.is_no_longer_wanted(from, topic.as_str()))
        });
        let topics: Vec<TopicName> = topics.cloned().collect();
        let counts = topics.iter().filter_map(|topic| self.offsets.of_topic(from, topic.as_str()));
        let count: usize = counts.map(BTreeMap::len).sum();
        check_count(count)?;
        if !self.offsets.has_room(count) {
            return Err(too_many_offsets());
        }
        for topic in topics {
            self.offsets.clone_topic(from, to, topic.as_str());
        }
        self.reply(asked, &Reply::new(ResponseCode::Success), out);
        Ok(Handled::Done)
    }

    /// GET_BROKER_CONSUME_STATS 317.
    pub(in crate::broker) fn all_consume_stats(
        &mut self,
        asked: &Asked,
        request: AllConsumeStatsRequest,
        out: &mut Output,
    ) -> Result<Handled, Refusal> {
        let wanted = self.topics_of_groups(request.ordered_only)?;
        let mut all = AllConsumeStats { groups: BTreeMap::new(), address: self.settings.address.to_string() };
        for (group, topics) in wanted {
            let mut list = Vec::with_capacity(topics.len());
            for (topic, queues) in topics {
                let rate = self.statistics.get_rate(asked.now.mono, topic.as_str(), group.as_str());
                let mut stats = ConsumeStats { consume_tps: rate, ..ConsumeStats::default() };
                for queue_id in (0..queues).map(QueueId) {
                    match self.offset_stats(asked, group.as_str(), &topic, queue_id) {
                        Ok(offsets) => stats.offsets.insert(self.message_queue(&topic, queue_id), offsets),
                        Err(block) => return Ok(Handled::Cold(block)),
                    };
                }
                list.push(stats);
            }
            all.groups.insert(group, list);
        }
        self.reply(asked, &Reply::body(&all.encode()), out);
        Ok(Handled::Done)
    }

    /// Of each group the topics that it consumes, with their queues.
    fn topics_of_groups(&self, ordered_only: bool) -> Result<BTreeMap<GroupName, Vec<ConsumedTopic>>, Refusal> {
        let mut wanted = BTreeMap::new();
        let mut count = self.groups.all().len();
        for group in self.groups.all().keys() {
            let mut topics = Vec::new();
            for name in self.offsets.topics_of(group.as_str()) {
                let Some(topic) = self.topics.get(name.as_str()).map(|topic| &topic.config) else { continue };
                if (ordered_only && !topic.order) || self.is_no_longer_wanted(group.as_str(), name.as_str()) {
                    continue;
                }
                count += topic.write_queues as usize;
                topics.push((name.clone(), topic.write_queues));
            }
            if count > CONSUME_STATS_MAX {
                let remark = format!(
                    "there are more than {CONSUME_STATS_MAX} groups and queues that they consume: ask for one group"
                );
                return Err(Refusal::new(ResponseCode::SystemError, remark));
            }
            wanted.insert(group.clone(), topics);
        }
        Ok(wanted)
    }

    /// QUERY_CONSUME_QUEUE 321. Beyond what there is the answer is success without a body, as RocketMQ's; a queue that was never used is not there.
    pub(in crate::broker) fn queue_entries(
        &mut self,
        asked: &Asked,
        request: QueueEntriesRequest<'_>,
        out: &mut Output,
    ) -> Result<Handled, Refusal> {
        let QueueEntriesRequest { topic, queue_id, index, count, group } = request;
        let number = queue_id.map_or_else(|| "-1".to_owned(), |queue| queue.to_string());
        let queue = queue_id.and_then(|queue_id| self.log.find_queue(topic, queue_id));
        let Some(queue) = queue.filter(|_| self.queues_of(topic).is_some()) else {
            return Err(Refusal::new(ResponseCode::SystemError, format!("{number}@{topic} is not exist!")));
        };
        let min = match self.log.first(queue) {
            Ok(first) => first,
            Err(block) => return Ok(Handled::Cold(block)),
        };
        let max = self.log.bounds(queue).max;
        let Some(from) = u64::try_from(index).ok().map(QueueOffset).filter(|from| (min..max).contains(from)) else {
            let remark = format!("Index {index} of {number}@{topic} is not exist!");
            self.reply(asked, &Reply { remark: Some(&remark), ..Reply::new(ResponseCode::Success) }, out);
            return Ok(Handled::Done);
        };
        let count = u64::try_from(count).unwrap_or(0).min(QUEUE_ENTRIES_MAX as u64);
        let mut entries = Vec::new();
        for offset in (from.0..max.0.min(from.0.saturating_add(count))).map(QueueOffset) {
            match self.log.queue_entry(queue, offset) {
                Ok(Some(entry)) => entries.push(entry),
                Err(block) if asked.rounds < PARKED_ROUNDS_MAX => return Ok(Handled::Cold(block)),
                Ok(None) | Err(_) => break,
            }
        }
        let asker = group.map(|group| (group, topic, self.clients.subscription(group, topic)));
        self.reply(asked, &Reply::body(&QueueEntries { min, max, asker, entries }.encode()), out);
        Ok(Handled::Done)
    }
}

/// Whether one request may look at so many offsets.
fn check_count(count: usize) -> Result<(), Refusal> {
    if count <= OFFSETS_PER_REQUEST_MAX {
        return Ok(());
    }
    let remark = format!("more than {OFFSETS_PER_REQUEST_MAX} offsets are too many for one request");
    Err(Refusal::new(ResponseCode::SystemError, remark))
}
