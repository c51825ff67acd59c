//! What brokers ask: registration, versions, signs of life.

use tracing::warn;

use super::kv::ORDER_NAMESPACE;
use super::{Answer, Answered, NameServer};
use crate::limits::TOPIC_QUEUES_MAX;
use crate::model::{BrokerId, BrokerName, Now};
use crate::protocol::body::{BodyError, BrokerMemberGroup, TopicConfig, TopicRouteData, key_values};
use crate::protocol::code::ResponseCode;
use crate::protocol::header::Header;
use crate::protocol::reply::shown;
use crate::protocol::request::{
    BadRequest, BrokerHeartbeatRequest, BrokerIdentity, BrokerNameRequest, RegisterBrokerRequest, TopicRequest,
};
use crate::route::{Peer, Registration, TopicQueues};
use crate::said::BY_STRANGERS;

impl NameServer {
    /// 103, read: a broker tells what it is and what it has. It needs no state, and may take long: a large one is read on a thread of its own.
    ///
    /// # Errors
    /// The answer that says what is wrong with it.
    pub(crate) fn read_registration(header: &Header<'_>, body: &[u8]) -> Result<Registration, Answer> {
        let request = RegisterBrokerRequest::parse(header, body)?;
        let (identity, table) = (request.identity, request.body.table);
        if table.topics.keys().any(|topic| is_unnamed(topic.as_str())) {
            return Err(BadRequest::Text { field: "topicName", wanted: "a name" }.into());
        }
        Ok(Registration {
            changes_only: request.changes_only,
            cluster: identity.cluster.to_owned(),
            broker_name: identity.broker_name.to_owned(),
            broker_id: identity.broker_id,
            address: identity.address.to_owned(),
            ha_address: request.ha_address.to_owned(),
            zone: request.zone.map(str::to_owned),
            expires_after_ms: request.heartbeat_timeout_ms,
            // Whether the field is there tells a broker of 5.0 from an older one.
            acting_master: header.ext.get("enableActingMaster").map(|_| request.enable_acting_master),
            version: table.version,
            topics: table.topics.values().map(|config| (config.name.to_string(), queues_of(config))).collect(),
        })
    }

    /// 103: takes a registration in.
    ///
    /// # Errors
    /// The answer that refuses it.
    pub(crate) fn register_broker(
        &mut self,
        now: Now,
        from: Peer,
        registration: Registration,
    ) -> Result<Answer, Answer> {
        let master = self
            .table
            .register(now.mono, from, registration)
            .map_err(|error| Answer::error(ResponseCode::SystemError, format!("register broker failed: {error}")))?;
        let mut answer = Answer::success();
        answer.ext.extend(master.ha_address.map(|address| ("haServerAddr", address)));
        answer.ext.extend(master.address.map(|address| ("masterAddr", address)));
        if self.config.return_order_topics
            && let Some(order) = self.kv.namespace(ORDER_NAMESPACE)
        {
            answer.body = key_values(order.iter().map(|(key, value)| (key.as_str(), value.as_str())));
        }
        Ok(answer)
    }

    /// 104: a broker says goodbye. RocketMQ believes anybody.
    pub(super) fn unregister_broker(&mut self, from: Peer, header: &Header<'_>) -> Answered {
        let broker = BrokerIdentity::parse(header)?;
        let (name, address) = (broker.broker_name, broker.address);
        self.table.unregister(from, name, address).map_err(|registered_by| {
            warn!(target: BY_STRANGERS, broker = %shown(name), address = %shown(address), by = %from.ip(), %registered_by, "a living broker is not unregistered by another host");
            let remark = "the broker is connected, and was registered from another host: it unregisters itself";
            Answer::error(ResponseCode::NoPermission, remark)
        })?;
        Ok(Answer::success())
    }

    /// 322: whether a broker must register its topics again; a sign of life as well.
    pub(super) fn query_data_version(&mut self, now: Now, header: &Header<'_>, body: &[u8]) -> Answered {
        let (BrokerIdentity { cluster, broker_name, address, .. }, asked) =
            BrokerIdentity::parse_with_version(header, body)?;
        let known = self.table.version_of(cluster, broker_name, address);
        self.table.heard_from(now.mono, broker_name, address);
        let mut answer = Answer::fields(vec![("changed", (known != Some(asked)).to_string())]);
        answer.body = known.map(|version| version.encode()).unwrap_or_default();
        Ok(answer)
    }

    /// 904: a sign of life.
    pub(super) fn broker_heartbeat(&mut self, now: Now, header: &Header<'_>) -> Answered {
        let broker = BrokerHeartbeatRequest::parse(header)?;
        self.table.heard_from(now.mono, broker.broker_name, broker.address);
        Ok(Answer::success())
    }

    /// 901: the replicas under one name.
    pub(super) fn broker_member_group(&self, header: &Header<'_>) -> Answered {
        let BrokerNameRequest { broker_name, cluster } = BrokerNameRequest::parse(header)?;
        let cluster = cluster.unwrap_or_default().to_owned();
        let known = self.table.brokers().get(broker_name);
        let addresses = known.map(|broker| broker.addresses.iter().map(|(id, a)| (BrokerId(*id), a.clone())).collect());
        let group = BrokerMemberGroup {
            cluster,
            broker_name: BrokerName::from(broker_name),
            addresses: addresses.unwrap_or_default(),
        };
        Ok(Answer::body(group.encode()))
    }

    /// 217: queues of one topic, without the rest of the broker's.
    pub(super) fn register_topic(&mut self, header: &Header<'_>, body: &[u8]) -> Answered {
        let topic = TopicRequest::parse(header)?.topic;
        if is_unnamed(topic) {
            return Err(BadRequest::Text { field: "topic", wanted: "a name" }.into());
        }
        if !body.is_empty() {
            let route = TopicRouteData::decode(body).map_err(BadRequest::from)?;
            for queues in &route.queues {
                // Clients make an object of each.
                let found = queues.read_queues.max(queues.write_queues);
                if found > TOPIC_QUEUES_MAX {
                    let error =
                        BodyError::OutOfRange { field: "readQueueNums, writeQueueNums", found: i64::from(found) };
                    return Err(BadRequest::from(error).into());
                }
            }
            let queues: Vec<(String, TopicQueues)> = route
                .queues
                .iter()
                .map(|q| {
                    let queues = TopicQueues {
                        read: q.read_queues,
                        write: q.write_queues,
                        perm: q.perm,
                        sys_flag: q.topic_sys_flag,
                    };
                    (q.broker_name.to_string(), queues)
                })
                .collect();
            self.table.add_topic(topic, &queues);
        }
        Ok(Answer::success())
    }
}

/// Brokers before ours have let topics be named in many ways, but not like that.
fn is_unnamed(topic: &str) -> bool {
    topic.trim().is_empty() || topic.contains(char::is_control)
}

fn queues_of(config: &TopicConfig) -> TopicQueues {
    TopicQueues { read: config.read_queues, write: config.write_queues, perm: config.perm, sys_flag: config.sys_flag }
}
