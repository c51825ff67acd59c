//! What brokers ask: registration, versions, signs of life.

use super::kv::ORDER_NAMESPACE;
use super::{Answer, Answered, NameServer, required};
use crate::model::{BrokerId, BrokerName, ConnectionId, Now};
use crate::protocol::body::{
    BodyError, BrokerMemberGroup, DataVersion, RegisterBody, TopicConfig, TopicRouteData, TopicTable, key_values,
};
use crate::protocol::code::ResponseCode;
use crate::protocol::header::Header;
use crate::route::{Queues, Registration};

/// Brokers before 3.0.11 send the topic table alone. Source: `MQVersion`.
const VERSION_WITH_BODY: i32 = 37;

impl NameServer {
    /// 103: a broker tells what it is and what it has.
    pub(super) fn register_broker(
        &mut self,
        now: Now,
        connection: ConnectionId,
        header: &Header<'_>,
        body: &[u8],
    ) -> Answered {
        check_crc(header, body)?;
        let table = read_table(header, body).map_err(|error| {
            Answer::error(ResponseCode::SystemError, format!("the registration's body cannot be read: {error}"))
        })?;
        let registration = Registration {
            cluster: required(header, "clusterName")?.to_owned(),
            broker_name: required(header, "brokerName")?.to_owned(),
            broker_id: BrokerId(header.ext.number("brokerId").unwrap_or(0)),
            address: required(header, "brokerAddr")?.to_owned(),
            ha_address: header.ext.get("haServerAddr").unwrap_or_default().to_owned(),
            zone: header.ext.get("__ZONE_NAME").map(str::to_owned),
            expires_after_ms: header.ext.number("heartbeatTimeoutMillis"),
            acting_master: header.ext.get("enableActingMaster").map(is_true),
            version: table.version,
            topics: table.topics.values().map(|config| (config.name.to_string(), queues_of(config))).collect(),
        };
        let master = self
            .table
            .register(now.mono, connection, registration)
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

    /// 104: a broker says goodbye.
    pub(super) fn unregister_broker(&mut self, header: &Header<'_>) -> Answered {
        let cluster = required(header, "clusterName")?;
        let broker_name = required(header, "brokerName")?;
        self.table.unregister(cluster, broker_name, required(header, "brokerAddr")?);
        Ok(Answer::success())
    }

    /// 322: whether a broker must register its topics again; a sign of life as well.
    pub(super) fn query_data_version(&mut self, now: Now, header: &Header<'_>, body: &[u8]) -> Answered {
        let cluster = required(header, "clusterName")?;
        let address = required(header, "brokerAddr")?;
        let asked = DataVersion::decode(body).map_err(|error| {
            Answer::error(ResponseCode::SystemError, format!("the data version cannot be read: {error}"))
        })?;
        let known = self.table.version_of(cluster, address);
        self.table.heard_from(now.mono, cluster, address);
        let mut answer = Answer::fields(vec![("changed", (known != Some(asked)).to_string())]);
        answer.body = known.map(|version| version.encode()).unwrap_or_default();
        Ok(answer)
    }

    /// 904: a sign of life.
    pub(super) fn broker_heartbeat(&mut self, now: Now, header: &Header<'_>) -> Answered {
        self.table.heard_from(now.mono, required(header, "clusterName")?, required(header, "brokerAddr")?);
        Ok(Answer::success())
    }

    /// 901: the replicas under one name.
    pub(super) fn broker_member_group(&self, header: &Header<'_>) -> Answered {
        let cluster = required(header, "clusterName")?.to_owned();
        let broker_name = required(header, "brokerName")?;
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
        let topic = required(header, "topic")?;
        if let Ok(route) = TopicRouteData::decode(body) {
            let queues: Vec<(String, Queues)> = route
                .queues
                .iter()
                .map(|q| {
                    let queues =
                        Queues { read: q.read_queues, write: q.write_queues, perm: q.perm, sys_flag: q.topic_sys_flag };
                    (q.broker_name.to_string(), queues)
                })
                .collect();
            self.table.add_topic(topic, &queues);
        }
        Ok(Answer::success())
    }
}

fn is_true(text: &str) -> bool {
    text.eq_ignore_ascii_case("true")
}

fn queues_of(config: &TopicConfig) -> Queues {
    Queues { read: config.read_queues, write: config.write_queues, perm: config.perm, sys_flag: config.sys_flag }
}

/// `bodyCrc32` is the CRC-32 of the body as sent, without its highest bit; 0 says that it was not computed.
fn check_crc(header: &Header<'_>, body: &[u8]) -> Result<(), Answer> {
    let told: u32 = header.ext.number("bodyCrc32").unwrap_or(0);
    if told == 0 || told == crc32fast::hash(body) & 0x7FFF_FFFF {
        return Ok(());
    }
    Err(Answer::error(ResponseCode::SystemError, "crc32 not match"))
}

fn read_table(header: &Header<'_>, body: &[u8]) -> Result<TopicTable, BodyError> {
    if body.is_empty() {
        return Ok(TopicTable::default());
    }
    if header.version < VERSION_WITH_BODY {
        return TopicTable::decode(body);
    }
    let compressed = header.ext.get("compressed").is_some_and(is_true);
    let body = if compressed { RegisterBody::decode_compressed(body)? } else { RegisterBody::decode(body)? };
    Ok(body.table)
}
