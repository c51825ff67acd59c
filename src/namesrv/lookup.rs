//! What clients and tools look up: routes, clusters, lists of topics.

use std::collections::BTreeSet;

use super::kv::ORDER_NAMESPACE;
use super::{Answer, Answered, NameServer};
use crate::model::{BrokerId, BrokerName, Now, TopicName};
use crate::protocol::body::{BrokerData, ClusterInfo, QueueData, TopicList, TopicRouteData};
use crate::protocol::code::ResponseCode;
use crate::protocol::header::Header;
use crate::protocol::request::{NamespaceRequest, RouteRequest, TopicRequest};
use crate::route::{BrokerReplicas, TopicQueues};

const UNIT: i32 = 1;
const UNIT_SUBSCRIBED: i32 = 1 << 1;

/// Which topics of units are wanted.
#[derive(Clone, Copy, Debug)]
pub(super) enum UnitFilter {
    /// 311: topics of a unit.
    Unit,
    /// 312: topics that other units subscribe.
    Subscribed,
    /// 313: of those, the ones that belong to no unit.
    SubscribedNotUnit,
}

impl NameServer {
    /// 105: where a topic's queues are.
    pub(super) fn route(&self, now: Now, header: &Header<'_>) -> Answered {
        if self.config.wait_for_service {
            let waited_ms = now.mono.ms_since(self.started);
            if waited_ms < self.config.wait_for_service_s.saturating_mul(1_000) {
                return Err(Answer::error(ResponseCode::SystemError, "name server not ready"));
            }
        }
        let RouteRequest { topic, form, zone } = RouteRequest::parse(header)?;
        let Some(route) = self.table.route(topic, zone) else {
            let remark = format!("No topic route info in name server for the topic: {topic}");
            return Err(Answer::error(ResponseCode::TopicNotExist, remark));
        };
        let order = self.config.order_message.then(|| self.kv.get(ORDER_NAMESPACE, topic)).flatten();
        let data = TopicRouteData {
            brokers: route.brokers.iter().map(|(name, broker)| broker_data(name, broker)).collect(),
            queues: route.queues.iter().map(|(name, queues)| queue_data(name, *queues)).collect(),
            order_topic_conf: order.map(str::to_owned),
        };
        Ok(Answer::body(data.encode(form)))
    }

    /// 106: all brokers of all clusters.
    pub(super) fn cluster_info(&self) -> Answer {
        let brokers = self.table.brokers().iter();
        let names = |names: Vec<&str>| names.into_iter().map(BrokerName::from).collect::<BTreeSet<_>>();
        let info = ClusterInfo {
            brokers: brokers
                .map(|(name, broker)| (BrokerName::from(name.as_str()), broker_data(name, broker)))
                .collect(),
            clusters: self.table.clusters().into_iter().map(|(cluster, of)| (cluster.to_owned(), names(of))).collect(),
        };
        Answer::body(info.encode())
    }

    /// 206: every topic.
    pub(super) fn all_topics(&self) -> Answer {
        if !self.config.all_topic_list {
            return disabled();
        }
        topic_list(self.table.topics_where(|_, _| true), None)
    }

    /// 224: the topics of a cluster.
    pub(super) fn topics_of_cluster(&self, header: &Header<'_>) -> Answered {
        if !self.config.topic_list {
            return Err(disabled());
        }
        Ok(topic_list(self.table.topics_of_cluster(NamespaceRequest::parse_cluster(header)?.name), None))
    }

    /// 304: names of clusters and brokers, which are topics too, and a broker that knows the rest.
    pub(super) fn system_topics(&self) -> Answer {
        let clusters = self.table.clusters();
        let brokers = self.table.brokers();
        let names = clusters.keys().copied().chain(brokers.keys().map(String::as_str)).collect();
        let any = brokers.values().find_map(|broker| broker.addresses.values().next());
        topic_list(names, any.cloned())
    }

    /// 311, 312, 313.
    pub(super) fn topics_by_unit(&self, filter: UnitFilter) -> Answer {
        if !self.config.topic_list {
            return disabled();
        }
        let wanted = |flag: i32| match filter {
            UnitFilter::Unit => flag & UNIT != 0,
            UnitFilter::Subscribed => flag & UNIT_SUBSCRIBED != 0,
            UnitFilter::SubscribedNotUnit => flag & UNIT_SUBSCRIBED != 0 && flag & UNIT == 0,
        };
        topic_list(self.table.topics_where(|_, queues| wanted(queues.sys_flag)), None)
    }

    /// 216: a topic, or its queues in one cluster, leaves the routes.
    pub(super) fn delete_topic(&mut self, header: &Header<'_>) -> Answered {
        let TopicRequest { topic, cluster, .. } = TopicRequest::parse(header)?;
        self.table.delete_topic(topic, cluster);
        Ok(Answer::success())
    }
}

fn disabled() -> Answer {
    Answer::error(ResponseCode::SystemError, "disable")
}

fn topic_list(topics: Vec<&str>, broker_address: Option<String>) -> Answer {
    let list = TopicList { topics: topics.into_iter().map(TopicName::from).collect(), broker_address };
    Answer::body(list.encode())
}

fn broker_data(name: &str, broker: &BrokerReplicas) -> BrokerData {
    BrokerData {
        cluster: broker.cluster.clone(),
        broker_name: BrokerName::from(name),
        addresses: broker.addresses.iter().map(|(id, address)| (BrokerId(*id), address.clone())).collect(),
        zone_name: broker.zone.clone(),
        enable_acting_master: broker.acting_master,
    }
}

fn queue_data(name: &str, queues: TopicQueues) -> QueueData {
    QueueData {
        broker_name: BrokerName::from(name),
        read_queues: queues.read,
        write_queues: queues.write,
        perm: queues.perm,
        topic_sys_flag: queues.sys_flag,
    }
}
