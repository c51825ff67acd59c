//! Where topics and groups stand, and who is connected: 202, 208, 203, 204, 300, 315, 328.

use std::collections::{BTreeMap, BTreeSet};

use super::super::client::Member;
use super::super::{Asked, Broker, Handled, Output, Refusal};
use crate::limits::{OFFSETS_PER_REQUEST_MAX, PARKED_ROUNDS_MAX};
use crate::log::{BlockId, QueueIndex, StoreTime};
use crate::model::{ConnectionId, GroupName, QueueId, QueueOffset, TopicName, UnixMs};
use crate::protocol::body::{
    ClientConnection, ConsumeStats, ConsumerConnection, MessageQueue, OffsetStats, ProducerInfo, TopicOffsets,
    TopicStats, group_list, producer_connection, producer_table,
};
use crate::protocol::code::ResponseCode;
use crate::protocol::message::is_retry_topic;
use crate::protocol::reply::Reply;
use crate::protocol::request::{BrokerStatsRequest, ConsumeStatsRequest};

impl Broker {
    /// GET_TOPIC_STATS_INFO 202. An empty topic has all its queues in the answer, at 0: tools fail on an empty table.
    pub(in crate::broker) fn topic_stats(
        &mut self,
        asked: &Asked,
        name: &str,
        out: &mut Output,
    ) -> Result<Handled, Refusal> {
        let (topic, queues) = if self.is_light_queue(name) {
            (TopicName::from(name), 1)
        } else {
            let topic = self.known_topic(name)?;
            (topic.name.clone(), topic.queue_count())
        };
        let mut stats = TopicStats::default();
        for queue_id in (0..queues).map(QueueId) {
            let mut offsets = TopicOffsets::default();
            if let Some(queue) = self.log.find_queue(name, queue_id) {
                let first = match self.log.first(queue) {
                    Err(block) if asked.rounds < PARKED_ROUNDS_MAX => return Ok(Handled::Cold(block)),
                    first => first.ok(),
                };
                let bounds = self.log.bounds(queue);
                offsets.min_offset = signed(first.unwrap_or(bounds.min));
                offsets.max_offset = signed(bounds.max);
                match self.time_before(asked, queue, bounds.max) {
                    Ok(time) => offsets.last_update = time,
                    Err(block) => return Ok(Handled::Cold(block)),
                }
            }
            stats.offsets.insert(self.message_queue(&topic, queue_id), offsets);
        }
        self.statistics.settle(asked.now.mono);
        stats.put_tps = self.statistics.put_rate(asked.now.mono, name);
        self.reply(asked, &Reply::body(&stats.encode()), out);
        Ok(Handled::Done)
    }

    /// VIEW_BROKER_STATS_DATA 315. Tools take a refusal for "nothing was sent there", and look on.
    pub(in crate::broker) fn statistic(
        &mut self,
        asked: &Asked,
        request: &BrokerStatsRequest<'_>,
        out: &mut Output,
    ) -> Result<Handled, Refusal> {
        let (name, key) = (request.name, request.key);
        self.statistics.settle(asked.now.mono);
        let Some(stats) = self.statistics.view(asked.now.mono, &self.settings.cluster, name, key) else {
            return Err(Refusal::new(ResponseCode::SystemError, format!("The stats <{name}> <{key}> not exist")));
        };
        self.reply(asked, &Reply::body(&stats.encode()), out);
        Ok(Handled::Done)
    }

    /// GET_CONSUME_STATS 208: of the topics that are named, or of all that the group has offsets of.
    pub(in crate::broker) fn consume_stats(
        &mut self,
        asked: &Asked,
        request: &ConsumeStatsRequest<'_>,
        out: &mut Output,
    ) -> Result<Handled, Refusal> {
        let group = request.group;
        let topics: BTreeSet<TopicName> = if request.topics.is_empty() {
            self.offsets.topics_of(group).cloned().collect()
        } else {
            request.topics.iter().map(|topic| TopicName::from(*topic)).collect()
        };
        let queues =
            |topic: &TopicName| self.queues_of(topic.as_str()).map_or(0, |(read_queues, _)| read_queues as usize);
        if topics.iter().map(queues).sum::<usize>() > OFFSETS_PER_REQUEST_MAX {
            let remark = format!(
                "the topics that the group reads have more than {OFFSETS_PER_REQUEST_MAX} queues: ask for one topic"
            );
            return Err(Refusal::new(ResponseCode::SystemError, remark));
        }
        let mut stats = ConsumeStats::default();
        for topic in topics {
            let Some((read_queues, _)) = self.queues_of(topic.as_str()) else { continue };
            if self.is_no_longer_wanted(group, topic.as_str()) {
                continue;
            }
            stats.consume_tps += self.statistics.get_rate(asked.now.mono, topic.as_str(), group);
            for queue_id in (0..read_queues).map(QueueId) {
                match self.offset_stats(asked, group, &topic, queue_id) {
                    Ok(offsets) => {
                        stats.offsets.insert(self.message_queue(&topic, queue_id), offsets);
                    }
                    Err(block) => return Ok(Handled::Cold(block)),
                }
            }
        }
        self.reply(asked, &Reply::body(&stats.encode()), out);
        Ok(Handled::Done)
    }

    /// An online group that has unsubscribed from a topic does not lag behind it.
    pub(super) fn is_no_longer_wanted(&self, group: &str, topic: &str) -> bool {
        self.clients
            .consumer_group(group)
            .is_some_and(|online| online.subscriptions().next().is_some() && online.subscription(topic).is_none())
            && !is_retry_topic(topic)
    }

    pub(super) fn offset_stats(
        &mut self,
        asked: &Asked,
        group: &str,
        topic: &TopicName,
        queue_id: QueueId,
    ) -> Result<OffsetStats, BlockId> {
        let committed = self.offsets.get(group, topic.as_str(), queue_id).unwrap_or_default();
        // Where a group pops, it has committed what it was given: what is in flight is not finished.
        let (open, ahead) = self.pop_progress(asked.now, (group, topic, queue_id));
        let consumed = open.map_or(committed, |open| open.min(committed));
        let mut stats = OffsetStats {
            broker_offset: 0,
            consumer_offset: signed(consumed),
            pull_offset: signed(ahead.map_or(committed, |ahead| ahead.max(committed))),
            last_timestamp: UnixMs(0),
        };
        if let Some(queue) = self.log.find_queue(topic.as_str(), queue_id) {
            stats.broker_offset = signed(self.log.bounds(queue).max);
            stats.last_timestamp = self.time_before(asked, queue, consumed)?;
        }
        Ok(stats)
    }

    /// When the message before `offset` was stored; 0 if there is none, or if this request has waited for the disk often enough.
    pub(super) fn time_before(
        &mut self,
        asked: &Asked,
        queue: QueueIndex,
        offset: QueueOffset,
    ) -> Result<UnixMs, BlockId> {
        let Some(before) = offset.0.checked_sub(1).map(QueueOffset) else { return Ok(UnixMs(0)) };
        if before < self.log.bounds(queue).min {
            return Ok(UnixMs(0));
        }
        match self.log.store_time(queue, before) {
            StoreTime::At(time) => Ok(time),
            StoreTime::Cold(block) if asked.rounds < PARKED_ROUNDS_MAX => Err(block),
            StoreTime::Cold(_) | StoreTime::Missing => Ok(UnixMs(0)),
        }
    }

    pub(super) fn message_queue(&self, topic: &TopicName, queue_id: QueueId) -> MessageQueue {
        MessageQueue { topic: topic.clone(), broker_name: self.settings.name.clone(), queue_id }
    }

    /// GET_CONSUMER_CONNECTION_LIST 203. Tools tell 206 from other errors: the group is not online.
    pub(in crate::broker) fn consumer_connections(
        &mut self,
        asked: &Asked,
        group: &str,
        out: &mut Output,
    ) -> Result<Handled, Refusal> {
        let Some(online) = self.clients.consumer_group(group) else {
            let remark = format!("the consumer group[{group}] not online");
            return Err(Refusal::new(ResponseCode::ConsumerNotOnline, remark));
        };
        let subscriptions =
            online.subscriptions().map(|(topic, subscription)| (topic.clone(), subscription.data.clone())).collect();
        let body = ConsumerConnection {
            connections: self.connections_of(&online.members),
            subscriptions,
            consume_type: online.consume_type,
            message_model: online.model,
            consume_from_where: online.from_where,
        }
        .encode();
        self.reply(asked, &Reply::body(&body), out);
        Ok(Handled::Done)
    }

    /// GET_PRODUCER_CONNECTION_LIST 204.
    pub(in crate::broker) fn producer_connections(
        &mut self,
        asked: &Asked,
        group: &str,
        out: &mut Output,
    ) -> Result<Handled, Refusal> {
        let Some(members) = self.clients.producer_group(group) else {
            let remark = format!("the producer group[{group}] not exist");
            return Err(Refusal::new(ResponseCode::SystemError, remark));
        };
        let body = producer_connection(&self.connections_of(members));
        self.reply(asked, &Reply::body(&body), out);
        Ok(Handled::Done)
    }

    /// GET_ALL_PRODUCER_INFO 328.
    pub(in crate::broker) fn all_producers(&mut self, asked: &Asked, out: &mut Output) -> Result<Handled, Refusal> {
        let mut table: BTreeMap<GroupName, Vec<ProducerInfo>> = BTreeMap::new();
        for (group, members) in self.clients.producer_groups() {
            let infos = members.iter().map(|(connection, member)| ProducerInfo {
                connection: self.connection_of(*connection, member),
                last_update: UnixMs(member.seen_unix_ms),
            });
            table.insert(group.clone(), infos.collect());
        }
        self.reply(asked, &Reply::body(&producer_table(&table)), out);
        Ok(Handled::Done)
    }

    /// QUERY_TOPIC_CONSUME_BY_WHO 300: groups that are online for a topic, and groups with offsets of it.
    pub(in crate::broker) fn groups_of_topic(
        &mut self,
        asked: &Asked,
        topic: &str,
        out: &mut Output,
    ) -> Result<Handled, Refusal> {
        let online = self.clients.consumer_groups().filter(|(_, online)| online.subscription(topic).is_some());
        let mut groups: BTreeSet<&GroupName> = online.map(|(group, _)| group).collect();
        groups.extend(self.offsets.groups_of(topic));
        let body = group_list(groups.into_iter().map(|group| group.as_str()));
        self.reply(asked, &Reply::body(&body), out);
        Ok(Handled::Done)
    }

    fn connections_of(&self, members: &BTreeMap<ConnectionId, Member>) -> Vec<ClientConnection> {
        members.iter().map(|(connection, member)| self.connection_of(*connection, member)).collect()
    }

    fn connection_of(&self, connection: ConnectionId, member: &Member) -> ClientConnection {
        ClientConnection {
            client_id: member.client.clone(),
            address: self.peer(connection).to_string(),
            language: member.language,
            version: member.version,
        }
    }
}

/// Offsets on the wire are signed.
pub(super) fn signed(offset: QueueOffset) -> i64 {
    i64::try_from(offset.0).unwrap_or(i64::MAX)
}
