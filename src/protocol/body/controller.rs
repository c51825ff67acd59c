//! What controllers and brokers tell each other of replicas. RocketMQ: `SyncStateSet`, `ElectMasterResponseBody`, `BrokerReplicasInfo`.

use std::collections::{BTreeMap, BTreeSet};

use super::fields::{Fields, as_integer, as_text};
use super::{BodyError, BrokerMemberGroup};
use crate::json::{JsonForm, Value, Writer, parse};
use crate::limits::{CONTROLLER_GROUPS_MAX, CONTROLLER_REPLICAS_MAX};

/// Who is in sync, and the number of the set: each change takes the next one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct SyncStateSet {
    pub broker_ids: BTreeSet<u64>,
    pub epoch: i32,
}

impl SyncStateSet {
    /// Reads the body of 1001.
    ///
    /// # Errors
    /// [`BodyError`].
    pub fn decode(body: &[u8]) -> Result<SyncStateSet, BodyError> {
        let value = parse(body, 4 * CONTROLLER_REPLICAS_MAX)?;
        let fields = Fields::of(&value, "body")?;
        let field = "syncStateSet";
        let id = |value: &Value<'_>| {
            let id = as_integer(value).ok_or(BodyError::Kind { field, expected: "numbers" })?;
            u64::try_from(id).map_err(|_| BodyError::OutOfRange { field, found: id })
        };
        let broker_ids = fields.array(field)?.iter().map(id).collect::<Result<_, _>>()?;
        Ok(SyncStateSet { broker_ids, epoch: fields.number("syncStateSetEpoch", 0)? })
    }

    /// The set, in fastjson's form.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new(JsonForm::Fastjson);
        writer.object(|writer| {
            write_ids(&self.broker_ids, writer);
            writer.key("syncStateSetEpoch").integer(i64::from(self.epoch));
        });
        writer.finish()
    }
}

fn write_ids(ids: &BTreeSet<u64>, writer: &mut Writer) {
    writer.key("syncStateSet").array(|writer| {
        for id in ids {
            writer.unsigned(*id);
        }
    });
}

/// The body of the answer to 1002: who is in sync with the master, and, if that is a new one, who belongs to the group.
#[must_use]
pub fn elected(group: Option<&BrokerMemberGroup>, in_sync: &BTreeSet<u64>) -> Vec<u8> {
    let mut writer = Writer::new(JsonForm::Fastjson);
    writer.object(|writer| {
        if let Some(group) = group {
            group.write(writer);
        }
        write_ids(in_sync, writer);
    });
    writer.finish()
}

/// One group of replicas, as 1006 tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub struct ReplicasInfo {
    /// Number and address.
    pub master: Option<(u64, String)>,
    pub master_epoch: i32,
    pub set_epoch: i32,
    pub replicas: Vec<ReplicaInfo>,
}

/// One replica.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct ReplicaInfo {
    pub broker_id: u64,
    pub address: String,
    pub is_alive: bool,
    pub is_in_sync: bool,
}

/// The body of the answer to 1006: groups by brokerName.
#[must_use]
pub fn replicas_info(groups: &BTreeMap<String, ReplicasInfo>) -> Vec<u8> {
    let mut writer = Writer::new(JsonForm::Fastjson);
    writer.object(|writer| {
        writer.key("replicasInfoTable").object(|writer| {
            for (name, group) in groups {
                writer.key(name).object(|writer| group.write(name, writer));
            }
        });
    });
    writer.finish()
}

impl ReplicasInfo {
    fn write(&self, broker_name: &str, writer: &mut Writer) {
        let mut list = |key: &str, is_in_sync: bool| {
            writer.key(key).array(|writer| {
                for replica in self.replicas.iter().filter(|replica| replica.is_in_sync == is_in_sync) {
                    writer.object(|writer| {
                        writer.key("alive").boolean(replica.is_alive);
                        writer.key("brokerAddress").text(&replica.address);
                        writer.key("brokerId").unsigned(replica.broker_id);
                        writer.key("brokerName").text(broker_name);
                    });
                }
            });
        };
        list("inSyncReplicas", true);
        list("notInSyncReplicas", false);
        if let Some((id, address)) = &self.master {
            writer.key("masterAddress").text(address).key("masterBrokerId").unsigned(*id);
        }
        writer.key("masterEpoch").integer(i64::from(self.master_epoch));
        writer.key("syncStateSetEpoch").integer(i64::from(self.set_epoch));
    }
}

/// Reads the body of 1006: names of groups.
///
/// # Errors
/// [`BodyError`].
pub fn decode_broker_names(body: &[u8]) -> Result<Vec<String>, BodyError> {
    let value = parse(body, 2 * CONTROLLER_GROUPS_MAX)?;
    let field = "body";
    let Value::Array(names) = &value else { return Err(BodyError::Kind { field, expected: "an array of names" }) };
    let name = |value| as_text(value).map(std::borrow::Cow::into_owned);
    names.iter().map(|value| name(value).ok_or(BodyError::Kind { field, expected: "an array of names" })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{BrokerId, BrokerName};

    #[test]
    fn bodies_look_as_java_s() {
        let check = |body: Vec<u8>, expected: &str| assert_eq!(String::from_utf8(body).as_deref(), Ok(expected));
        let set = SyncStateSet { broker_ids: [1, 2].into(), epoch: 3 };
        check(set.encode(), r#"{"syncStateSet":[1,2],"syncStateSetEpoch":3}"#);
        assert_eq!(SyncStateSet::decode(&set.encode()), Ok(set));
        let group = BrokerMemberGroup {
            cluster: "C".into(),
            broker_name: BrokerName::from("a"),
            addresses: [(BrokerId(1), "h:1".to_owned())].into(),
        };
        check(
            elected(Some(&group), &[1].into()),
            r#"{"brokerMemberGroup":{"brokerAddrs":{1:"h:1"},"brokerName":"a","cluster":"C"},"syncStateSet":[1]}"#,
        );
        check(elected(None, &[1].into()), r#"{"syncStateSet":[1]}"#);
        let replica = |broker_id, is_in_sync| ReplicaInfo {
            broker_id,
            address: format!("h:{broker_id}"),
            is_alive: true,
            is_in_sync,
        };
        let info = ReplicasInfo {
            master: Some((1, "h:1".to_owned())),
            master_epoch: 2,
            set_epoch: 3,
            replicas: vec![replica(1, true), replica(2, false)],
        };
        check(
            replicas_info(&[("a".to_owned(), info)].into()),
            r#"{"replicasInfoTable":{"a":{"inSyncReplicas":[{"alive":true,"brokerAddress":"h:1","brokerId":1,"brokerName":"a"}],"notInSyncReplicas":[{"alive":true,"brokerAddress":"h:2","brokerId":2,"brokerName":"a"}],"masterAddress":"h:1","masterBrokerId":1,"masterEpoch":2,"syncStateSetEpoch":3}}}"#,
        );
        assert_eq!(decode_broker_names(br#"["a","b"]"#), Ok(vec!["a".to_owned(), "b".to_owned()]));
    }

    #[test]
    fn what_is_no_set_is_refused() {
        assert!(SyncStateSet::decode(br#"{"syncStateSet":["x"],"syncStateSetEpoch":1}"#).is_err());
        assert!(SyncStateSet::decode(br#"{"syncStateSet":[-1],"syncStateSetEpoch":1}"#).is_err());
        let many: Vec<String> = (0..1_000).map(|id| id.to_string()).collect();
        let body = format!(r#"{{"syncStateSet":[{}]}}"#, many.join(","));
        assert!(SyncStateSet::decode(body.as_bytes()).is_err(), "a group has no thousand replicas");
        assert!(decode_broker_names(br#"{"a":1}"#).is_err());
    }
}
