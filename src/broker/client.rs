//! Who is connected: connections, and the producer and consumer groups that they are members of.
//!
//! State of the shard, in memory only: clients tell it again within 30 s. The key of a member is its connection, not its client
//! id: a client that comes back on a new connection is there twice until the old one closes, and the old one's end must not take
//! the new one away. Source: RocketMQ `ConsumerManager`, `ConsumerGroupInfo`, `ProducerManager`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use super::filter::TagFilter;
use crate::limits::{EXPRESSION_BYTES_MAX, GROUPS_PER_CONNECTION_MAX, SUBSCRIPTIONS_PER_GROUP_MAX};
use crate::model::{ClientId, ConnectionId, FastMap, GroupName, MonoNs, TopicName};
use crate::protocol::body::{
    ConsumeFromWhere, ConsumeType, ConsumerData, ExpressionType, MessageModel, SubscriptionData,
};
use crate::protocol::code::Language;

/// A member is forgotten after this long without a heartbeat. Source: RocketMQ `channelExpiredTimeout`.
const MEMBER_EXPIRY_MS: u64 = 120_000;

/// A client on one connection, as a member of a group.
#[derive(Clone, Debug)]
pub struct Member {
    /// What it calls itself.
    pub client: ClientId,
    /// What it is written in.
    pub(crate) language: Language,
    /// Its version as RocketMQ counts.
    pub version: i32,
    /// Its last heartbeat.
    pub(crate) seen: MonoNs,
    /// The same, wall clock, Unix ms.
    pub(crate) seen_unix_ms: i64,
}

/// What a group wants of one topic.
#[derive(Clone, Debug)]
pub(crate) struct Subscription {
    /// As the client said it.
    pub(crate) data: SubscriptionData,
    /// What that means for the broker.
    pub(crate) filter: Arc<TagFilter>,
}

/// The online part of a consumer group.
#[derive(Debug)]
pub(crate) struct ConsumerGroup {
    /// By connection.
    pub(crate) members: BTreeMap<ConnectionId, Member>,
    subscriptions: BTreeMap<TopicName, Subscription>,
    /// Push, pull or pop.
    pub(crate) consume_type: ConsumeType,
    /// Clustering or broadcasting.
    pub(crate) model: MessageModel,
    /// Where a new group begins.
    pub(crate) from_where: ConsumeFromWhere,
    /// Of the last full heartbeat of the second version.
    fingerprint: i32,
}

impl ConsumerGroup {
    /// What the group wants of a topic, if it has subscribed to it.
    #[must_use]
    pub(crate) fn subscription(&self, topic: &str) -> Option<&Subscription> {
        self.subscriptions.get(topic)
    }

    /// All subscriptions by topic.
    pub(crate) fn subscriptions(&self) -> impl Iterator<Item = (&TopicName, &Subscription)> {
        self.subscriptions.iter()
    }

    /// Whether every member gets every message.
    #[must_use]
    pub(crate) fn is_broadcast(&self) -> bool {
        self.model == MessageModel::Broadcasting
    }

    /// The client ids, each once.
    #[must_use]
    pub(crate) fn client_ids(&self) -> BTreeSet<ClientId> {
        self.members.values().map(|member| member.client.clone()).collect()
    }

    /// Takes over what a full heartbeat says: whether a topic came or went, and what was left out.
    fn update_subscriptions(&mut self, data: &ConsumerData) -> (bool, Option<NotKept>) {
        let (mut is_changed, mut not_kept) = (false, None);
        if data.subscriptions.len() > SUBSCRIPTIONS_PER_GROUP_MAX {
            not_kept = Some(NotKept::Subscriptions { group: data.group.clone(), count: data.subscriptions.len() });
        }
        for wanted in data.subscriptions.iter().take(SUBSCRIPTIONS_PER_GROUP_MAX) {
            let bytes = wanted.expression.len();
            if bytes > EXPRESSION_BYTES_MAX {
                not_kept = Some(NotKept::Expression { group: data.group.clone(), topic: wanted.topic.clone(), bytes });
                continue;
            }
            let known = self.subscriptions.get(&wanted.topic);
            is_changed |= known.is_none();
            if known.is_none_or(|known| wanted.version > known.data.version) {
                self.subscriptions.insert(wanted.topic.clone(), subscription_of(wanted));
            }
        }
        let before = self.subscriptions.len();
        self.subscriptions.retain(|topic, _| data.subscriptions.iter().any(|wanted| wanted.topic == *topic));
        (is_changed | (self.subscriptions.len() != before), not_kept)
    }
}

/// A subscription with its filter. Expressions other than tags keep no filter: pulls with them are refused.
fn subscription_of(data: &SubscriptionData) -> Subscription {
    let filter = match data.expression_type {
        ExpressionType::Tag if !data.is_everything() => TagFilter::Hashes(data.codes.iter().copied().collect()),
        _ => TagFilter::All,
    };
    Subscription { data: data.clone(), filter: Arc::new(filter) }
}

/// What a heartbeat says and the shard does not keep, because of a bound. All else of it is kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotKept {
    /// One more group of a connection.
    #[error(
        "group {group} was not taken: a connection may be a member of {GROUPS_PER_CONNECTION_MAX} groups to send and as many to consume"
    )]
    Group { group: GroupName },
    /// Subscriptions of one group beyond the bound.
    #[error("group {group} subscribes to {count} topics, and only {SUBSCRIPTIONS_PER_GROUP_MAX} were taken")]
    Subscriptions {
        group: GroupName,
        /// How many it has.
        count: usize,
    },
    /// An expression that is too long.
    #[error(
        "the subscription of group {group} to {topic} was not taken: {bytes} bytes, at most {EXPRESSION_BYTES_MAX} are"
    )]
    Expression {
        group: GroupName,
        topic: TopicName,
        /// How long it is.
        bytes: usize,
    },
}

#[derive(Debug)]
struct Connected {
    peer: SocketAddr,
    producer_groups: BTreeSet<GroupName>,
    consumer_groups: BTreeSet<GroupName>,
}

/// What a heartbeat has changed in one consumer group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    /// Members are to be told.
    pub(crate) is_changed: bool,
    /// The client must send its subscriptions again.
    pub(crate) wants_subscriptions: bool,
    /// What was left out.
    pub(crate) not_kept: Option<NotKept>,
}

/// Connections and online groups of a shard.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    connections: FastMap<ConnectionId, Connected>,
    producers: BTreeMap<GroupName, BTreeMap<ConnectionId, Member>>,
    consumers: BTreeMap<GroupName, ConsumerGroup>,
}

impl Clients {
    /// A connection was accepted.
    pub(crate) fn connect(&mut self, connection: ConnectionId, peer: SocketAddr) {
        let fresh = Connected { peer, producer_groups: BTreeSet::new(), consumer_groups: BTreeSet::new() };
        self.connections.insert(connection, fresh);
    }

    /// Whether the connection is still there.
    #[must_use]
    pub(crate) fn is_connected(&self, connection: ConnectionId) -> bool {
        self.connections.contains_key(&connection)
    }

    /// The other end of a connection.
    #[must_use]
    pub(crate) fn peer(&self, connection: ConnectionId) -> Option<SocketAddr> {
        self.connections.get(&connection).map(|connection| connection.peer)
    }

    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.connections.len()
    }

    /// Whether nobody is connected.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    /// A connection is gone. Returns the consumer groups that have lost a member.
    pub(crate) fn disconnect(&mut self, connection: ConnectionId) -> Vec<GroupName> {
        let Some(gone) = self.connections.remove(&connection) else { return Vec::new() };
        for group in &gone.producer_groups {
            remove_producer(&mut self.producers, group, connection);
        }
        gone.consumer_groups.into_iter().filter(|group| self.remove_consumer(group, connection)).collect()
    }

    /// A heartbeat names a producer group.
    ///
    /// # Errors
    /// [`NotKept::Group`].
    pub(crate) fn register_producer(
        &mut self,
        connection: ConnectionId,
        group: GroupName,
        member: Member,
    ) -> Result<(), NotKept> {
        // A connection that is gone needs no answer.
        let Some(known) = self.connections.get_mut(&connection) else { return Ok(()) };
        if known.producer_groups.len() >= GROUPS_PER_CONNECTION_MAX && !known.producer_groups.contains(&group) {
            return Err(NotKept::Group { group });
        }
        known.producer_groups.insert(group.clone());
        self.producers.entry(group).or_default().insert(connection, member);
        Ok(())
    }

    /// A heartbeat names a consumer group. `fingerprint` is 0 in heartbeats of the first version; `without_subscriptions` says that the
    /// client believes its subscriptions known.
    pub(crate) fn register_consumer(
        &mut self,
        connection: ConnectionId,
        data: &ConsumerData,
        member: Member,
        fingerprint: i32,
        without_subscriptions: bool,
    ) -> Registered {
        let mut registered =
            Registered { is_changed: false, wants_subscriptions: without_subscriptions, not_kept: None };
        let Some(known) = self.connections.get_mut(&connection) else { return registered };
        if known.consumer_groups.len() >= GROUPS_PER_CONNECTION_MAX && !known.consumer_groups.contains(&data.group) {
            registered.not_kept = Some(NotKept::Group { group: data.group.clone() });
            return registered;
        }
        let name = data.group.clone();
        known.consumer_groups.insert(name.clone());
        let group = self.consumers.entry(name).or_insert_with(|| ConsumerGroup {
            members: BTreeMap::new(),
            subscriptions: BTreeMap::new(),
            consume_type: data.consume_type,
            model: data.message_model,
            from_where: data.consume_from_where,
            fingerprint: 0,
        });
        group.consume_type = data.consume_type;
        group.model = data.message_model;
        group.from_where = data.consume_from_where;
        let is_new = group.members.insert(connection, member).is_none();
        if without_subscriptions {
            // After a restart nothing is known: asking once more is better than rejecting its pulls.
            let is_known = fingerprint != 0 && group.fingerprint == fingerprint;
            return Registered { is_changed: is_new, wants_subscriptions: !is_known, not_kept: None };
        }
        group.fingerprint = fingerprint;
        let (is_changed, not_kept) = group.update_subscriptions(data);
        Registered { is_changed: is_new | is_changed, wants_subscriptions: false, not_kept }
    }

    /// A client leaves groups. Returns the consumer group if it has lost a member.
    pub(crate) fn unregister(
        &mut self,
        connection: ConnectionId,
        producer_group: Option<&str>,
        consumer_group: Option<&str>,
    ) -> Option<GroupName> {
        let known = self.connections.get_mut(&connection)?;
        if let Some(group) = producer_group.map(GroupName::from) {
            known.producer_groups.remove(&group);
            remove_producer(&mut self.producers, &group, connection);
        }
        let group = GroupName::from(consumer_group?);
        known.consumer_groups.remove(&group);
        self.remove_consumer(&group, connection).then_some(group)
    }

    /// Forgets members without a heartbeat for 120 s. Returns the consumer groups that have lost one.
    pub(crate) fn expire(&mut self, now: MonoNs) -> Vec<GroupName> {
        let is_late = |member: &Member| now.ms_since(member.seen) > MEMBER_EXPIRY_MS;
        let mut late_producers = Vec::new();
        for (group, members) in &self.producers {
            let late = members.iter().filter(|(_, member)| is_late(member));
            late_producers.extend(late.map(|(connection, _)| (group.clone(), *connection)));
        }
        let mut late_consumers = Vec::new();
        for (name, group) in &self.consumers {
            let late = group.members.iter().filter(|(_, member)| is_late(member));
            late_consumers.extend(late.map(|(connection, _)| (name.clone(), *connection)));
        }
        for (group, connection) in late_producers {
            self.unregister(connection, Some(group.as_str()), None);
        }
        late_consumers
            .into_iter()
            .filter_map(|(group, connection)| self.unregister(connection, None, Some(group.as_str())))
            .collect()
    }

    /// The online part of a consumer group.
    #[must_use]
    pub(crate) fn consumer_group(&self, group: &str) -> Option<&ConsumerGroup> {
        self.consumers.get(group)
    }

    /// All online consumer groups by name.
    pub(crate) fn consumer_groups(&self) -> impl Iterator<Item = (&GroupName, &ConsumerGroup)> {
        self.consumers.iter()
    }

    /// The members of a producer group by connection.
    #[must_use]
    pub(crate) fn producer_group(&self, group: &str) -> Option<&BTreeMap<ConnectionId, Member>> {
        self.producers.get(group)
    }

    /// All producer groups by name.
    pub(crate) fn producer_groups(&self) -> impl Iterator<Item = (&GroupName, &BTreeMap<ConnectionId, Member>)> {
        self.producers.iter()
    }

    /// True if the group had this member.
    fn remove_consumer(&mut self, group: &GroupName, connection: ConnectionId) -> bool {
        let Some(known) = self.consumers.get_mut(group.as_str()) else { return false };
        let was_member = known.members.remove(&connection).is_some();
        if known.members.is_empty() {
            self.consumers.remove(group.as_str());
        }
        was_member
    }
}

fn remove_producer(
    producers: &mut BTreeMap<GroupName, BTreeMap<ConnectionId, Member>>,
    group: &GroupName,
    connection: ConnectionId,
) {
    if let Some(members) = producers.get_mut(group.as_str()) {
        members.remove(&connection);
        if members.is_empty() {
            producers.remove(group.as_str());
        }
    }
}
