//! Which queues of a topic a consumer has, where its broker decides that: 400.
//!
//! State of the shard, in memory only: what name servers have said of topics. A route that was told a moment ago is gone by at once; else a name server
//! is asked, by letter, and the request waits for that. When none answers, what was told last counts; where nothing was, the client is told nothing,
//! and goes on with what it has. All brokers of a topic come to the same, since clients are known to each. Source: RocketMQ `QueryAssignmentProcessor`,
//! `TopicRouteInfoManager`.

use std::collections::{BTreeMap, BTreeSet};

use super::dispatch::readers_behind;
use super::{Asked, Broker, Effect, Handled, Output, Refusal};
use crate::letter::{ToControl, ToldRoute};
use crate::limits::{
    ASSIGNED_QUEUES_MAX, CLIENT_ID_BYTES_MAX, GROUP_NAME_BYTES_MAX, POP_QUEUES_MAX, ROUTE_WAITS_MAX, TOLD_ROUTES_MAX,
};
use crate::model::{BrokerName, ClientId, MonoNs, Now, QueueId, TopicName};
use crate::protocol::body::{
    AssignedQueue, AssignmentRequest, GroupMode, MessageModel, RequestMode, Strategy, assignments,
};
use crate::protocol::code::ResponseCode;
use crate::protocol::message::{check_topic, is_retry_topic};
use crate::protocol::reply::Reply;
use crate::said::BY_STRANGERS;

/// How long a route counts without a question. Clients ask every 20 s for each topic; RocketMQ's broker looks every 30 s.
const ROUTE_FRESH_MS: u64 = 1_000;

/// What name servers have said.
#[derive(Debug, Default)]
pub(super) struct Routes {
    topics: BTreeMap<TopicName, KnownRoute>,
    /// How many requests wait for one of them.
    waiting: usize,
}

#[derive(Debug, Default)]
struct KnownRoute {
    /// How many queues consumers may read on each broker, by the brokers' names, and when that was told.
    told: Option<(MonoNs, Vec<(BrokerName, u32)>)>,
    /// Whether a name server is being asked.
    is_asked: bool,
    waiting: Vec<(Asked, AssignmentRequest)>,
}

impl Routes {
    /// What was told last.
    fn queues(&self, topic: &TopicName) -> Option<&[(BrokerName, u32)]> {
        let (_, queues) = self.topics.get(topic)?.told.as_ref()?;
        Some(queues)
    }

    fn is_fresh(&self, now: MonoNs, topic: &TopicName) -> bool {
        let told = self.topics.get(topic).and_then(|route| route.told.as_ref());
        told.is_some_and(|(at, _)| now.ms_since(*at) < ROUTE_FRESH_MS)
    }

    /// Lets a request wait for a route; whether a name server is to be asked. False if there is no room for it: nobody waits then.
    fn wait(&mut self, asked: &Asked, request: &AssignmentRequest) -> Option<bool> {
        if self.waiting >= ROUTE_WAITS_MAX {
            return None;
        }
        if self.topics.len() >= TOLD_ROUTES_MAX && !self.topics.contains_key(&request.topic) {
            self.topics.retain(|_, route| route.is_asked);
        }
        self.waiting += 1;
        let route = self.topics.entry(request.topic.clone()).or_default();
        route.waiting.push((*asked, request.clone()));
        Some(!std::mem::replace(&mut route.is_asked, true))
    }

    /// Takes what a name server says. Who has waited for it.
    fn take(&mut self, now: MonoNs, topic: &TopicName, told: ToldRoute) -> Vec<(Asked, AssignmentRequest)> {
        let Some(route) = self.topics.get_mut(topic) else { return Vec::new() };
        route.is_asked = false;
        let waiting = std::mem::take(&mut route.waiting);
        self.waiting -= waiting.len();
        match (told, &mut route.told) {
            (ToldRoute::Queues(queues), _) => route.told = Some((now, queues)),
            (ToldRoute::Unknown, Some((at, _))) => *at = now,
            (ToldRoute::NoTopic, _) | (ToldRoute::Unknown, None) => drop(self.topics.remove(topic)),
        }
        waiting
    }
}

impl Broker {
    /// QUERY_ASSIGNMENT 400.
    pub(super) fn query_assignment(
        &mut self,
        asked: &Asked,
        request: &AssignmentRequest,
        out: &mut Output,
    ) -> Result<Handled, Refusal> {
        let is_light = self.is_light_queue(request.topic.as_str());
        if !is_light {
            check_topic(request.topic.as_str())?;
        }
        if request.group.as_str().len() > GROUP_NAME_BYTES_MAX || request.client_id.as_str().len() > CLIENT_ID_BYTES_MAX
        {
            return Err(Refusal::new(
                ResponseCode::InvalidParameter,
                "the name of the group or the client is too long",
            ));
        }
        if asked.is_oneway {
            return Ok(Handled::Done);
        }
        // Of a light queue there is no route, and whoever asks is at its broker.
        let is_told = is_light || self.routes.is_fresh(asked.now.mono, &request.topic);
        match if is_told { None } else { self.routes.wait(asked, request) } {
            None => self.answer_assignment(asked, request, out),
            Some(false) => {}
            Some(true) => {
                let (shard, topic) = (self.settings.shard, request.topic.clone());
                out.effects.push(Effect::Control(ToControl::AskRoute { shard, topic }));
            }
        }
        Ok(Handled::Done)
    }

    /// A name server has said something, or none has.
    pub(super) fn route_told(&mut self, now: Now, topic: &TopicName, told: ToldRoute, out: &mut Output) {
        for (asked, request) in self.routes.take(now.mono, topic, told) {
            if !self.clients.is_connected(asked.connection) {
                continue;
            }
            if out.outbox.is_full() {
                self.refuse(&asked, &readers_behind(), out);
            } else {
                self.answer_assignment(&asked, &request, out);
            }
        }
    }

    fn answer_assignment(&self, asked: &Asked, request: &AssignmentRequest, out: &mut Output) {
        let mode = self.mode_of(request.group.as_str(), request.topic.as_str());
        let queues = self.assigned_queues(request, mode);
        let body = assignments(&request.topic, mode.mode, queues.as_deref());
        self.reply(asked, &Reply::body(&body), out);
    }

    /// How a group gets the messages of a topic. Of its retry topic by pull, as of all where nothing else was said; of a light queue in any case.
    fn mode_of(&self, group: &str, topic: &str) -> GroupMode {
        self.groups.mode(group, topic).unwrap_or_else(|| {
            if is_retry_topic(topic) || self.is_light_queue(topic) {
                GroupMode::default()
            } else {
                self.settings.default_mode
            }
        })
    }

    /// The queues of a consumer; `None`: that cannot be said.
    fn assigned_queues(&self, request: &AssignmentRequest, mode: GroupMode) -> Option<Vec<AssignedQueue>> {
        let here = [(self.settings.name.clone(), 1)];
        let is_light = self.is_light_queue(request.topic.as_str());
        let brokers = if is_light { &here } else { self.routes.queues(&request.topic)? };
        let all = brokers.iter().map(|(_, queues)| *queues).fold(0, u32::saturating_add);
        let numbers: Vec<u32> = if request.model == MessageModel::Broadcasting || !self.settings.deals_out_queues {
            (0..all).take(ASSIGNED_QUEUES_MAX + 1).collect()
        } else {
            let group = self.clients.consumer_group(request.group.as_str())?;
            let mut consumers: Vec<&ClientId> = group.members.values().map(|member| &member.client).collect();
            consumers.sort_unstable();
            consumers.dedup();
            if request.strategy == Strategy::Unknown || all == 0 {
                return None;
            }
            let shares = usize::try_from(mode.pop_share_queues).unwrap_or(0);
            let is_pop = mode.mode == RequestMode::Pop;
            if is_pop && (shares == 0 || shares >= consumers.len().saturating_sub(1)) {
                return whole_brokers(brokers);
            }
            let consumer = consumers.binary_search(&&request.client_id);
            let Ok(consumer) = consumer else { return Some(Vec::new()) };
            share(request.strategy, all, (consumer, consumers.len()), is_pop.then_some(shares))
        };
        if numbers.len() > ASSIGNED_QUEUES_MAX {
            tracing::warn!(topic = %request.topic, group = %request.group, queues = all, "these are more queues than one consumer is given");
            return None;
        }
        Some(numbers.into_iter().filter_map(|number| nth_queue(brokers, number)).collect())
    }
}

/// Numbers of the queues that one of several consumers has, ascending. `shares`: of a pop, so many consumers behind it share theirs with it.
fn share(strategy: Strategy, queues: u32, (own, consumers): (usize, usize), shares: Option<usize>) -> Vec<u32> {
    let count = u32::try_from(consumers).unwrap_or(u32::MAX).max(1);
    let of = |consumer: usize| {
        let consumer = u32::try_from(consumer).unwrap_or(u32::MAX);
        let (each, more) = (queues / count, queues % count);
        let start = match strategy {
            Strategy::ByCircle => consumer,
            Strategy::Averagely | Strategy::Unknown => consumer.saturating_mul(each).saturating_add(consumer.min(more)),
        };
        let step = if strategy == Strategy::ByCircle { count } else { 1 };
        let end = if strategy == Strategy::ByCircle { queues } else { start + each + u32::from(consumer < more) };
        (start..end).step_by(step as usize)
    };
    match shares {
        // Nobody is left without.
        Some(_) if count > queues => vec![u32::try_from(own).unwrap_or(0) % queues],
        Some(shares) => {
            let mut numbers = BTreeSet::new();
            for consumer in own..=own.saturating_add(shares) {
                if numbers.len() > ASSIGNED_QUEUES_MAX {
                    break;
                }
                numbers.extend(of(consumer % consumers.max(1)));
            }
            numbers.into_iter().collect()
        }
        None => of(own).take(ASSIGNED_QUEUES_MAX + 1).collect(),
    }
}

/// All queues of all brokers, for a pop: without naming one, or one by one where there are more than a pop looks at; `None` if those are too many.
fn whole_brokers(brokers: &[(BrokerName, u32)]) -> Option<Vec<AssignedQueue>> {
    let of = |(name, queues): &(BrokerName, u32)| -> Vec<AssignedQueue> {
        let named = (0..*queues).take(ASSIGNED_QUEUES_MAX + 1).map(|queue| (name.clone(), Some(QueueId(queue))));
        match *queues {
            0 => Vec::new(),
            1..=POP_QUEUES_MAX => vec![(name.clone(), None)],
            _ => named.collect(),
        }
    };
    let mut assigned = Vec::new();
    for broker in brokers {
        assigned.extend(of(broker));
        if assigned.len() > ASSIGNED_QUEUES_MAX {
            tracing::warn!(target: BY_STRANGERS, queues = broker.1, "a topic that is popped has more queues than one consumer is given");
            return None;
        }
    }
    Some(assigned)
}

/// The queue of this number, counted over the brokers in the order of their names.
fn nth_queue(brokers: &[(BrokerName, u32)], mut number: u32) -> Option<AssignedQueue> {
    for (name, queues) in brokers {
        if number < *queues {
            return Some((name.clone(), Some(QueueId(number))));
        }
        number -= queues;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_are_dealt_out_as_java_deals_them_out() {
        let check = |strategy, queues, consumers: usize, expected: &[&[u32]]| {
            for (own, numbers) in expected.iter().enumerate() {
                assert_eq!(share(strategy, queues, (own, consumers), None), *numbers, "{own} of {consumers}");
            }
        };
        check(Strategy::Averagely, 8, 3, &[&[0, 1, 2], &[3, 4, 5], &[6, 7]]);
        check(Strategy::Averagely, 2, 3, &[&[0], &[1], &[]]);
        check(Strategy::Averagely, 3, 3, &[&[0], &[1], &[2]]);
        check(Strategy::ByCircle, 8, 3, &[&[0, 3, 6], &[1, 4, 7], &[2, 5]]);
        check(Strategy::ByCircle, 2, 3, &[&[0], &[1], &[]]);
    }

    #[test]
    fn consumers_that_pop_share_with_those_behind_them() {
        let of = |queues, consumer, shares| share(Strategy::Averagely, queues, consumer, Some(shares));
        assert_eq!(of(8, (0, 4), 1), [0, 1, 2, 3]);
        assert_eq!(of(8, (3, 4), 1), [0, 1, 6, 7], "the first is behind the last");
        assert_eq!(of(2, (3, 4), 1), [1], "more consumers than queues: each has one");
    }

    #[test]
    fn of_a_broker_with_more_queues_than_a_pop_looks_at_each_is_named() {
        let assigned = whole_brokers(&[("a".into(), 4), ("b".into(), 0), ("c".into(), POP_QUEUES_MAX + 1)]).unwrap();
        assert_eq!(assigned.len(), 1 + POP_QUEUES_MAX as usize + 1);
        let (first, last) = (assigned.first().unwrap(), assigned.last().unwrap());
        assert_eq!(*first, ("a".into(), None));
        assert_eq!(*last, ("c".into(), Some(QueueId(POP_QUEUES_MAX))));
        assert_eq!(whole_brokers(&[("a".into(), u32::MAX), ("b".into(), 4)]), None);
        assert_eq!(whole_brokers(&[("a".into(), POP_QUEUES_MAX)]), Some(vec![("a".into(), None)]));
    }

    #[test]
    fn queues_are_counted_over_all_brokers() {
        let brokers = [("a".into(), 2), ("b".into(), 0), ("c".into(), 1)];
        let found: Vec<_> = (0..4).map(|number| nth_queue(&brokers, number)).collect();
        let queue = |name: &str, number| Some((BrokerName::from(name), Some(QueueId(number))));
        assert_eq!(found, [queue("a", 0), queue("a", 1), queue("c", 0), None]);
    }
}
