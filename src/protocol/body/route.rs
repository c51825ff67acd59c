//! Routes: which brokers and queues serve a topic; and the lists and maps that the name server answers with.

use std::collections::{BTreeMap, BTreeSet};

use super::BodyError;
use super::fields::Fields;
use crate::json::{JsonForm, Value, Writer, parse};
use crate::limits::JSON_TABLE_NODES_MAX;
use crate::model::{BrokerId, BrokerName, TopicName};

/// Queues of a topic on one broker.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub struct QueueData {
    pub broker_name: BrokerName,
    /// Queues that consumers see.
    pub read_queues: u32,
    /// Queues that producers see.
    pub write_queues: u32,
    /// Bits of [`super::perm`].
    pub perm: u32,
    /// Bit 0: unit topic; bit 1: subscribed across units.
    pub topic_sys_flag: i32,
}

/// A broker and its replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub struct BrokerData {
    pub cluster: String,
    pub broker_name: BrokerName,
    /// `host:port` of each replica; id 0 is the master, and producers skip a broker without one.
    pub addresses: BTreeMap<BrokerId, String>,
    /// Zone, if it has one.
    pub zone_name: Option<String>,
    /// Whether the replica with the least id may act for a lost master.
    pub enable_acting_master: bool,
}

/// A topic's route: the reply to 105.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicRouteData {
    /// The brokers that serve it.
    pub brokers: Vec<BrokerData>,
    /// Its queues on each.
    pub queues: Vec<QueueData>,
    /// Fixed queues of an ordered topic: `broker-a:4;broker-b:4`.
    pub order_topic_conf: Option<String>,
}

fn write_addresses(addresses: &BTreeMap<BrokerId, String>, writer: &mut Writer) {
    writer.key("brokerAddrs").object(|writer| {
        for (id, address) in addresses {
            writer.integer_key(id.0).text(address);
        }
    });
}

fn read_addresses(fields: Fields<'_>) -> Result<BTreeMap<BrokerId, String>, BodyError> {
    let field = "brokerAddrs";
    let entry = |(id, value): (&str, &Value<'_>)| {
        let id = id.parse().map_err(|_| BodyError::Kind { field, expected: "a map from broker ids" })?;
        let address = super::fields::as_text(value).ok_or(BodyError::Kind { field, expected: "a map to addresses" })?;
        Ok((BrokerId(id), address.into_owned()))
    };
    fields.entries(field)?.map(entry).collect()
}

impl BrokerData {
    fn read(value: &Value<'_>) -> Result<BrokerData, BodyError> {
        let fields = Fields::of(value, "brokerData")?;
        Ok(BrokerData {
            cluster: fields.text("cluster")?.map_or_else(String::new, String::from),
            broker_name: BrokerName::from(&*fields.required_text("brokerName")?),
            addresses: read_addresses(fields)?,
            zone_name: fields.text("zoneName")?.map(String::from),
            enable_acting_master: fields.boolean("enableActingMaster", false)?,
        })
    }

    fn write(&self, writer: &mut Writer) {
        writer.object(|writer| {
            write_addresses(&self.addresses, writer);
            writer.key("brokerName").text(self.broker_name.as_str()).key("cluster").text(&self.cluster);
            writer.key("enableActingMaster").boolean(self.enable_acting_master);
            if let Some(zone) = &self.zone_name {
                writer.key("zoneName").text(zone);
            }
        });
    }
}

impl QueueData {
    fn read(value: &Value<'_>) -> Result<QueueData, BodyError> {
        let fields = Fields::of(value, "queueData")?;
        Ok(QueueData {
            broker_name: BrokerName::from(&*fields.required_text("brokerName")?),
            read_queues: fields.number("readQueueNums", 0)?,
            write_queues: fields.number("writeQueueNums", 0)?,
            perm: fields.number("perm", 0)?,
            topic_sys_flag: fields.number("topicSysFlag", 0)?,
        })
    }

    fn write(&self, writer: &mut Writer) {
        writer.object(|writer| {
            writer.key("brokerName").text(self.broker_name.as_str()).key("perm").unsigned(u64::from(self.perm));
            writer.key("readQueueNums").unsigned(u64::from(self.read_queues));
            writer.key("topicSysFlag").integer(i64::from(self.topic_sys_flag));
            writer.key("writeQueueNums").unsigned(u64::from(self.write_queues));
        });
    }
}

impl TopicRouteData {
    /// Reads a route of either form: the body of 217, and what name servers answer to us.
    ///
    /// # Errors
    /// [`BodyError`].
    pub fn decode(body: &[u8]) -> Result<TopicRouteData, BodyError> {
        let value = parse(body, JSON_TABLE_NODES_MAX)?;
        let fields = Fields::of(&value, "route")?;
        Ok(TopicRouteData {
            brokers: fields.array("brokerDatas")?.iter().map(BrokerData::read).collect::<Result<_, _>>()?,
            queues: fields.array("queueDatas")?.iter().map(QueueData::read).collect::<Result<_, _>>()?,
            order_topic_conf: fields.text("orderTopicConf")?.map(String::from),
        })
    }

    /// The route, without a space: the Go client splits the raw text. Which form is right is in [`crate::request::RouteRequest`].
    #[must_use]
    pub fn encode(&self, form: JsonForm) -> Vec<u8> {
        let mut writer = Writer::new(form);
        writer.object(|writer| {
            writer.key("brokerDatas").array(|writer| self.brokers.iter().for_each(|broker| broker.write(writer)));
            writer.key("filterServerTable").object(|_| ());
            if let Some(order) = &self.order_topic_conf {
                writer.key("orderTopicConf").text(order);
            }
            writer.key("queueDatas").array(|writer| self.queues.iter().for_each(|queue| queue.write(writer)));
        });
        writer.finish()
    }
}

/// All brokers and clusters: the reply to 106.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterInfo {
    /// Brokers by name.
    pub brokers: BTreeMap<BrokerName, BrokerData>,
    /// Names of the brokers of each cluster.
    pub clusters: BTreeMap<String, BTreeSet<BrokerName>>,
}

impl ClusterInfo {
    /// Reads what a name server answers to us.
    ///
    /// # Errors
    /// [`BodyError`].
    pub fn decode(body: &[u8]) -> Result<ClusterInfo, BodyError> {
        let value = parse(body, JSON_TABLE_NODES_MAX)?;
        let fields = Fields::of(&value, "clusterInfo")?;
        let broker = |(name, value)| BrokerData::read(value).map(|broker| (BrokerName::from(name), broker));
        let field = "clusterAddrTable";
        let mut info = ClusterInfo {
            brokers: fields.entries("brokerAddrTable")?.map(broker).collect::<Result<_, _>>()?,
            clusters: BTreeMap::new(),
        };
        for (cluster, value) in fields.entries(field)? {
            let Value::Array(names) = value else {
                return Err(BodyError::Kind { field, expected: "a map of lists" });
            };
            let names = names.iter().filter_map(super::fields::as_text).map(|name| BrokerName::from(&*name));
            info.clusters.insert(cluster.to_owned(), names.collect());
        }
        Ok(info)
    }

    /// Always in fastjson's form, as Java has it.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new(JsonForm::Fastjson);
        writer.object(|writer| {
            writer.key("brokerAddrTable").object(|writer| {
                for (name, broker) in &self.brokers {
                    broker.write(writer.key(name.as_str()));
                }
            });
            writer.key("clusterAddrTable").object(|writer| {
                for (cluster, names) in &self.clusters {
                    writer.key(cluster).texts(names.iter().map(BrokerName::as_str));
                }
            });
        });
        writer.finish()
    }
}

/// Names of topics: the reply to 206, 224, 304, 305, 311, 312, 313, 343.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicList {
    /// The topics, without repetition.
    pub topics: BTreeSet<TopicName>,
    /// Where to ask for more: of 304 any broker's address.
    pub broker_address: Option<String>,
}

impl TopicList {
    /// Reads what a name server or broker answers to us.
    ///
    /// # Errors
    /// [`BodyError`].
    pub fn decode(body: &[u8]) -> Result<TopicList, BodyError> {
        let value = parse(body, JSON_TABLE_NODES_MAX)?;
        let fields = Fields::of(&value, "topicList")?;
        Ok(TopicList {
            topics: fields.texts("topicList")?.iter().map(|topic| TopicName::from(topic.as_str())).collect(),
            broker_address: fields.text("brokerAddr")?.map(String::from),
        })
    }

    /// JSON: the answer to 206, 224 and others that name topics.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new(JsonForm::Standard);
        writer.object(|writer| {
            if let Some(address) = &self.broker_address {
                writer.key("brokerAddr").text(address);
            }
            writer.key("topicList").texts(self.topics.iter().map(TopicName::as_str));
        });
        writer.finish()
    }
}

/// Names of groups: the reply to 300.
pub fn group_list<'g>(groups: impl IntoIterator<Item = &'g str>) -> Vec<u8> {
    let mut writer = Writer::new(JsonForm::Standard);
    writer.object(|writer| {
        writer.key("groupList").texts(groups);
    });
    writer.finish()
}

/// A map of texts: the reply to 28, 103 and 219. RocketMQ: `KVTable`.
pub fn key_values<'t>(pairs: impl IntoIterator<Item = (&'t str, &'t str)>) -> Vec<u8> {
    let mut writer = Writer::new(JsonForm::Standard);
    writer.object(|writer| {
        writer.key("table").object(|writer| {
            for (key, value) in pairs {
                writer.key(key).text(value);
            }
        });
    });
    writer.finish()
}

/// Reads a map of texts: what a broker answers to us (28), or a name server (103, 219).
///
/// # Errors
/// [`BodyError`].
pub fn decode_key_values(body: &[u8]) -> Result<BTreeMap<String, String>, BodyError> {
    Fields::of(&parse(body, JSON_TABLE_NODES_MAX)?, "table")?.text_map("table")
}

/// A broker's live replicas: the reply to 901.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub struct BrokerMemberGroup {
    pub cluster: String,
    pub broker_name: BrokerName,
    /// `host:port` of each replica.
    pub addresses: BTreeMap<BrokerId, String>,
}

impl BrokerMemberGroup {
    /// The group, in fastjson's form.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new(JsonForm::Fastjson);
        writer.object(|writer| self.write(writer));
        writer.finish()
    }

    /// The group as a member of a body.
    pub(super) fn write(&self, writer: &mut Writer) {
        writer.key("brokerMemberGroup").object(|writer| {
            write_addresses(&self.addresses, writer);
            writer.key("brokerName").text(self.broker_name.as_str()).key("cluster").text(&self.cluster);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broker() -> BrokerData {
        BrokerData {
            cluster: "DefaultCluster".into(),
            broker_name: BrokerName::from("broker-a"),
            addresses: [(BrokerId(0), "10.0.0.1:10911".into()), (BrokerId(1), "10.0.0.2:10911".into())].into(),
            zone_name: None,
            enable_acting_master: false,
        }
    }

    #[test]
    fn routes_look_as_java_s() {
        let queue = QueueData {
            broker_name: BrokerName::from("broker-a"),
            read_queues: 4,
            write_queues: 4,
            perm: 6,
            topic_sys_flag: 0,
        };
        let route = TopicRouteData { brokers: vec![broker()], queues: vec![queue], order_topic_conf: None };
        let legacy = r#"{"brokerDatas":[{"brokerAddrs":{0:"10.0.0.1:10911",1:"10.0.0.2:10911"},"brokerName":"broker-a","cluster":"DefaultCluster","enableActingMaster":false}],"filterServerTable":{},"queueDatas":[{"brokerName":"broker-a","perm":6,"readQueueNums":4,"topicSysFlag":0,"writeQueueNums":4}]}"#;
        let standard = legacy.replace("{0:", "{\"0\":").replace(",1:", ",\"1\":");
        for (form, expected) in [(JsonForm::Fastjson, legacy), (JsonForm::Standard, standard.as_str())] {
            assert_eq!(String::from_utf8(route.encode(form)).as_deref(), Ok(expected));
            assert_eq!(TopicRouteData::decode(expected.as_bytes()), Ok(route.clone()));
        }
    }

    #[test]
    fn cluster_info_looks_as_java_s() {
        let mut broker = broker();
        broker.addresses.remove(&BrokerId(1));
        let name = broker.broker_name.clone();
        let info = ClusterInfo {
            brokers: [(name.clone(), broker)].into(),
            clusters: [("DefaultCluster".to_owned(), [name].into())].into(),
        };
        let expected = r#"{"brokerAddrTable":{"broker-a":{"brokerAddrs":{0:"10.0.0.1:10911"},"brokerName":"broker-a","cluster":"DefaultCluster","enableActingMaster":false}},"clusterAddrTable":{"DefaultCluster":["broker-a"]}}"#;
        assert_eq!(String::from_utf8(info.encode()).as_deref(), Ok(expected));
        assert_eq!(ClusterInfo::decode(expected.as_bytes()), Ok(info));
    }

    #[test]
    fn lists_and_maps_look_as_java_s() {
        let check = |found: Vec<u8>, expected: &str| assert_eq!(String::from_utf8(found).as_deref(), Ok(expected));
        let mut list = TopicList { topics: [TopicName::from("A"), TopicName::from("B")].into(), broker_address: None };
        check(list.encode(), r#"{"topicList":["A","B"]}"#);
        list.broker_address = Some("a:1".into());
        check(list.encode(), r#"{"brokerAddr":"a:1","topicList":["A","B"]}"#);
        assert_eq!(TopicList::decode(&list.encode()), Ok(list));
        check(group_list(["G"]), r#"{"groupList":["G"]}"#);
        check(key_values([("k", "v")]), r#"{"table":{"k":"v"}}"#);
        let addresses = [(BrokerId(0), "a:1".to_owned()), (BrokerId(1), "b:1".to_owned())].into();
        let group = BrokerMemberGroup { cluster: "C".into(), broker_name: BrokerName::from("broker-a"), addresses };
        check(
            group.encode(),
            r#"{"brokerMemberGroup":{"brokerAddrs":{0:"a:1",1:"b:1"},"brokerName":"broker-a","cluster":"C"}}"#,
        );
    }
}
