//! Who is connected: connections, and the producer and consumer groups that they are members of.
//!
//! State of the shard, in memory only: clients tell it again within 30 s. The key of a member is its connection, not its client
//! id: a client that comes back on a new connection is there twice until the old one closes, and the old one's end must not take
//! the new one away. Source: RocketMQ `ConsumerManager`, `ConsumerGroupInfo`, `ProducerManager`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::ops::Bound;
use std::sync::Arc;

use super::due::DueSet;
use super::filter::{MessageFilter, SqlFilter, TagFilter};
use crate::limits::{
    CLIENT_BYTES_MAX, CLIENT_BYTES_PER_CONNECTION_MAX, EXPIRIES_PER_TICK, EXPRESSION_BYTES_MAX, FILTER_BYTES_PER_BYTE,
    GROUP_NAME_BYTES_MAX, GROUPS_PER_CONNECTION_MAX, MEMBER_BYTES, SUBSCRIPTION_BYTES, SUBSCRIPTIONS_PER_GROUP_MAX,
    TAG_BYTES, TRANSACTION_PRODUCERS_TRIED_MAX,
};
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
    /// What that means for the broker; none if the expression cannot be compiled.
    pub(crate) filter: Option<Arc<MessageFilter>>,
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
    /// What its subscriptions weigh.
    bytes: usize,
}

impl ConsumerGroup {
    /// What the group wants of a topic, if it has subscribed to it.
    #[must_use]
    pub(crate) fn subscription(&self, topic: &str) -> Option<&Subscription> {
        self.subscriptions.get(topic)
    }

    /// Each client, with the connection on which it was heard last. One that lost its network unseen and came back is a member twice, until
    /// its old connection has been silent for too long.
    pub(crate) fn clients(&self) -> impl Iterator<Item = (ConnectionId, &Member)> {
        let mut newest: BTreeMap<&ClientId, (ConnectionId, &Member)> = BTreeMap::new();
        for (&connection, member) in &self.members {
            let known = newest.entry(&member.client).or_insert((connection, member));
            if member.seen >= known.1.seen {
                *known = (connection, member);
            }
        }
        newest.into_values()
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
        let wanted: BTreeSet<&TopicName> = data.subscriptions.iter().map(|wanted| &wanted.topic).collect();
        self.subscriptions.retain(|topic, _| wanted.contains(topic));
        (is_changed | (self.subscriptions.len() != before), not_kept)
    }
}

/// A subscription with its filter. The legacy mode that filters by Java classes filters nothing in a broker: its stock clients ask a filter server,
/// and refuse by themselves where none is registered.
fn subscription_of(data: &SubscriptionData) -> Subscription {
    let filter = match data.expression_type {
        _ if data.class_filter_mode => Some(MessageFilter::Tags(TagFilter::All)),
        ExpressionType::Tag if data.is_everything() => Some(MessageFilter::Tags(TagFilter::All)),
        ExpressionType::Tag => Some(MessageFilter::Tags(TagFilter::Hashes(data.codes.iter().copied().collect()))),
        ExpressionType::Sql92 => SqlFilter::compile(&data.expression).ok().map(MessageFilter::Sql),
        ExpressionType::Other(_) => None,
    };
    Subscription { data: data.clone(), filter: filter.map(Arc::new) }
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
    /// A name that no stock client has.
    #[error("a group of {bytes} bytes was not taken: at most {GROUP_NAME_BYTES_MAX} are")]
    LongGroup {
        /// How long it is.
        bytes: usize,
    },
    /// Too many bytes of one connection, or of all.
    #[error(
        "group {group} was not taken: a client's groups and subscriptions may have {CLIENT_BYTES_PER_CONNECTION_MAX} bytes, those of all {CLIENT_BYTES_MAX}"
    )]
    Bytes { group: GroupName },
}

#[derive(Debug)]
struct Connected {
    peer: SocketAddr,
    /// Under which it is in [`Clients::producing`].
    producer: Option<ClientId>,
    /// With what each weighs.
    producer_groups: BTreeMap<GroupName, usize>,
    consumer_groups: BTreeMap<GroupName, Weight>,
    /// Under which it is in [`Clients::due`], while it is a member of anything; heartbeats do not move it.
    looked_at: Option<MonoNs>,
    /// What all of them weigh.
    bytes: usize,
}

/// What a membership weighs.
#[derive(Clone, Copy, Debug, Default)]
struct Weight {
    member: usize,
    /// What the group's subscriptions weigh, as this client said them. They are kept once a group, so the shard counts them there.
    subscriptions: usize,
}

impl Weight {
    fn sum(self) -> usize {
        self.member + self.subscriptions
    }
}

/// Whether the groups of one connection, or of all, would weigh more than they may.
fn is_too_much(of_connection: usize, of_all: usize) -> bool {
    of_connection > CLIENT_BYTES_PER_CONNECTION_MAX || of_all > CLIENT_BYTES_MAX
}

fn member_bytes(group: &GroupName, member: &Member) -> usize {
    MEMBER_BYTES + group.as_str().len() + member.client.as_str().len()
}

fn subscription_bytes(data: &SubscriptionData) -> usize {
    let tags: usize = data.tags.iter().map(|tag| tag.len() + TAG_BYTES).sum();
    let compiled = match data.expression_type {
        ExpressionType::Sql92 => data.expression.len().min(EXPRESSION_BYTES_MAX) * FILTER_BYTES_PER_BYTE,
        ExpressionType::Tag | ExpressionType::Other(_) => 0,
    };
    let texts = data.topic.as_str().len() + data.expression.len();
    SUBSCRIPTION_BYTES + texts + compiled + tags + data.codes.len() * TAG_BYTES
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
    /// Connections of clients that are members of a producer group, by what they called themselves last.
    producing: BTreeMap<ClientId, BTreeSet<ConnectionId>>,
    consumers: BTreeMap<GroupName, ConsumerGroup>,
    /// Connections by when the oldest of their heartbeats may be too old.
    due: DueSet<ConnectionId>,
    /// What members and subscriptions weigh.
    bytes: usize,
}

impl Clients {
    /// A connection was accepted.
    pub(crate) fn connect(&mut self, connection: ConnectionId, peer: SocketAddr) {
        let (producer_groups, consumer_groups) = (BTreeMap::new(), BTreeMap::new());
        let fresh = Connected { peer, producer: None, producer_groups, consumer_groups, looked_at: None, bytes: 0 };
        self.connections.insert(connection, fresh);
    }

    /// How many connections there are.
    pub(super) fn connections(&self) -> usize {
        self.connections.len()
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

    /// What members and subscriptions weigh.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// A connection is gone. Returns the consumer groups that have lost a member.
    pub(crate) fn disconnect(&mut self, connection: ConnectionId) -> Vec<GroupName> {
        self.set_producer(connection, None);
        let Some(gone) = self.connections.remove(&connection) else { return Vec::new() };
        if let Some(looked_at) = gone.looked_at {
            self.due.remove(looked_at, connection);
        }
        for (group, bytes) in &gone.producer_groups {
            remove_producer(&mut self.producers, group, connection);
            self.bytes -= bytes;
        }
        let mut lost = Vec::new();
        for (group, weight) in gone.consumer_groups {
            self.bytes -= weight.member;
            if self.remove_consumer(&group, connection) {
                lost.push(group);
            }
        }
        lost
    }

    /// A heartbeat names a producer group.
    ///
    /// # Errors
    /// [`NotKept`], by a bound.
    pub(crate) fn register_producer(
        &mut self,
        connection: ConnectionId,
        group: GroupName,
        member: Member,
    ) -> Result<(), NotKept> {
        // A connection that is gone needs no answer.
        let Some(known) = self.connections.get_mut(&connection) else { return Ok(()) };
        if group.as_str().len() > GROUP_NAME_BYTES_MAX {
            return Err(NotKept::LongGroup { bytes: group.as_str().len() });
        }
        if known.producer_groups.len() >= GROUPS_PER_CONNECTION_MAX && !known.producer_groups.contains_key(&group) {
            return Err(NotKept::Group { group });
        }
        let (before, after) =
            (known.producer_groups.get(&group).copied().unwrap_or_default(), member_bytes(&group, &member));
        let of_connection = known.bytes - before + after;
        let of_all = self.bytes - before + after;
        if after > before && is_too_much(of_connection, of_all) {
            return Err(NotKept::Bytes { group });
        }
        (known.bytes, self.bytes) = (of_connection, of_all);
        known.producer_groups.insert(group.clone(), after);
        self.look_at(connection, member.seen);
        self.set_producer(connection, Some(&member.client));
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
        if known.consumer_groups.len() >= GROUPS_PER_CONNECTION_MAX && !known.consumer_groups.contains_key(&data.group)
        {
            registered.not_kept = Some(NotKept::Group { group: data.group.clone() });
            return registered;
        }
        let before = known.consumer_groups.get(&data.group).copied().unwrap_or_default();
        let kept_before = self.consumers.get(&data.group).map_or(0, |group| group.bytes);
        let subscriptions = data.subscriptions.iter().take(SUBSCRIPTIONS_PER_GROUP_MAX).map(subscription_bytes).sum();
        let after = Weight {
            member: member_bytes(&data.group, &member),
            subscriptions: if without_subscriptions { before.subscriptions } else { subscriptions },
        };
        let kept_after = if without_subscriptions { kept_before } else { subscriptions };
        let of_connection = known.bytes - before.sum() + after.sum();
        let of_all = self.bytes - before.member - kept_before + after.member + kept_after;
        let is_more = of_connection > known.bytes || of_all > self.bytes;
        if is_more && is_too_much(of_connection, of_all) {
            registered.not_kept = Some(NotKept::Bytes { group: data.group.clone() });
            return registered;
        }
        known.bytes = of_connection;
        self.bytes = self.bytes - before.member + after.member;
        let name = data.group.clone();
        known.consumer_groups.insert(name.clone(), after);
        self.look_at(connection, member.seen);
        let group = self.consumers.entry(name).or_insert_with(|| ConsumerGroup {
            members: BTreeMap::new(),
            subscriptions: BTreeMap::new(),
            consume_type: data.consume_type,
            model: data.message_model,
            from_where: data.consume_from_where,
            fingerprint: 0,
            bytes: 0,
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
        // What is kept may be an older version of what was said.
        let kept = group.subscriptions.values().map(|kept| subscription_bytes(&kept.data)).sum();
        self.bytes = self.bytes - group.bytes + kept;
        group.bytes = kept;
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
            let bytes = known.producer_groups.remove(&group).unwrap_or_default();
            known.bytes -= bytes;
            self.bytes -= bytes;
            let was_last = known.producer_groups.is_empty();
            remove_producer(&mut self.producers, &group, connection);
            if was_last {
                self.set_producer(connection, None);
            }
        }
        let known = self.connections.get_mut(&connection)?;
        let group = GroupName::from(consumer_group?);
        let weight = known.consumer_groups.remove(&group).unwrap_or_default();
        known.bytes -= weight.sum();
        self.bytes -= weight.member;
        self.remove_consumer(&group, connection).then_some(group)
    }

    /// A connection was heard as a member at `seen`: it is looked at when that is too long ago, unless it is sooner in any case.
    fn look_at(&mut self, connection: ConnectionId, seen: MonoNs) {
        let Some(known) = self.connections.get_mut(&connection).filter(|known| known.looked_at.is_none()) else {
            return;
        };
        let at = seen.plus_ms(MEMBER_EXPIRY_MS + 1);
        known.looked_at = Some(at);
        self.due.insert(at, connection);
    }

    /// Forgets members without a heartbeat for 120 s, of some connections at a time. Returns the consumer groups that have lost one. Call it at
    /// each tick.
    pub(crate) fn expire(&mut self, now: MonoNs) -> Vec<GroupName> {
        let mut lost = Vec::new();
        for _ in 0..EXPIRIES_PER_TICK {
            let Some(connection) = self.due.pop(now) else { break };
            self.expire_members(connection, now, &mut lost);
        }
        lost
    }

    fn expire_members(&mut self, connection: ConnectionId, now: MonoNs, lost: &mut Vec<GroupName>) {
        let Some(known) = self.connections.get_mut(&connection) else { return };
        known.looked_at = None;
        let producing = known.producer_groups.keys().filter_map(|group| {
            let seen = self.producers.get(group)?.get(&connection)?.seen;
            Some((group.clone(), seen, true))
        });
        let consuming = known.consumer_groups.keys().filter_map(|group| {
            let seen = self.consumers.get(group)?.members.get(&connection)?.seen;
            Some((group.clone(), seen, false))
        });
        let memberships: Vec<(GroupName, MonoNs, bool)> = producing.chain(consuming).collect();
        let mut oldest = None;
        for (group, seen, is_producer) in memberships {
            if now.ms_since(seen) <= MEMBER_EXPIRY_MS {
                oldest = Some(oldest.map_or(seen, |oldest: MonoNs| oldest.min(seen)));
            } else if is_producer {
                self.unregister(connection, Some(group.as_str()), None);
            } else {
                lost.extend(self.unregister(connection, None, Some(group.as_str())));
            }
        }
        if let Some(oldest) = oldest {
            self.look_at(connection, oldest);
        }
    }

    /// The online part of a consumer group.
    #[must_use]
    pub(crate) fn consumer_group(&self, group: &str) -> Option<&ConsumerGroup> {
        self.consumers.get(group)
    }

    /// What a group that is online wants of a topic, as its clients said it.
    pub(crate) fn subscription(&self, group: &str, topic: &str) -> Option<&SubscriptionData> {
        Some(&self.consumer_group(group)?.subscription(topic)?.data)
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

    /// The newest connection of a client that produces.
    #[must_use]
    pub(crate) fn producer(&self, client: &str) -> Option<ConnectionId> {
        self.producing.get(client)?.last().copied()
    }

    fn set_producer(&mut self, connection: ConnectionId, client: Option<&ClientId>) {
        let Some(known) = self.connections.get_mut(&connection) else { return };
        if known.producer.as_ref() == client {
            return;
        }
        if let Some(before) = std::mem::replace(&mut known.producer, client.cloned())
            && let Some(connections) = self.producing.get_mut(&before)
        {
            connections.remove(&connection);
            if connections.is_empty() {
                self.producing.remove(&before);
            }
        }
        if let Some(client) = client {
            self.producing.entry(client.clone()).or_default().insert(connection);
        }
    }

    /// A connected producer of a group that is free, the next one behind `last`; `None` if a few in a row are not.
    pub(super) fn next_producer(
        &self,
        group: &str,
        last: ConnectionId,
        is_free: impl Fn(ConnectionId) -> bool,
    ) -> Option<ConnectionId> {
        let members = self.producers.get(group)?;
        let behind = members.range((Bound::Excluded(last), Bound::Unbounded));
        let around = behind.chain(members.range(..=last)).map(|(connection, _)| *connection);
        around.take(TRANSACTION_PRODUCERS_TRIED_MAX).find(|connection| is_free(*connection))
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
            self.bytes -= known.bytes;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn member(seen_ms: u64) -> Member {
        let seen = MonoNs(0).plus_ms(seen_ms);
        Member { client: "c".into(), language: Language::Java, version: 0, seen, seen_unix_ms: 0 }
    }

    #[test]
    fn members_go_120_s_behind_their_last_heartbeat_each_by_itself() {
        let mut clients = Clients::default();
        let (a, b) = (ConnectionId(1), ConnectionId(2));
        let at = |ms| MonoNs(0).plus_ms(ms);
        for connection in [a, b] {
            clients.connect(connection, SocketAddr::from(([127, 0, 0, 1], 1)));
            clients.register_producer(connection, "p".into(), member(0)).expect("small");
        }
        let data = ConsumerData {
            group: "g".into(),
            consume_type: ConsumeType::Passively,
            message_model: MessageModel::Clustering,
            consume_from_where: ConsumeFromWhere::LastOffset,
            subscriptions: Vec::new(),
            unit_mode: false,
        };
        clients.register_consumer(a, &data, member(60_000), 0, false);
        clients.register_producer(b, "p".into(), member(30_000)).expect("small");
        assert_eq!(clients.expire(at(120_000)), []);
        assert_eq!(clients.producer_group("p").map(BTreeMap::len), Some(2));
        assert_eq!(clients.expire(at(120_001)), [], "it produces no more, and consumes");
        assert_eq!(clients.producer_group("p").map(BTreeMap::len), Some(1));
        assert!(clients.consumer_group("g").is_some());
        assert_eq!(clients.expire(at(150_001)), []);
        assert!(clients.producer_group("p").is_none());
        assert_eq!(clients.expire(at(180_000)), []);
        assert_eq!(clients.expire(at(180_001)), ["g".into()]);
        assert_eq!((clients.due.len(), clients.bytes), (0, 0));
        clients.register_producer(b, "p".into(), member(190_000)).expect("small");
        assert_eq!(clients.due.len(), 1);
        clients.disconnect(b);
        assert_eq!((clients.due.len(), clients.bytes), (0, 0));
    }
}
