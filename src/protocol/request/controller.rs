//! What a controller is asked: by brokers who they are and who leads them, by tools what it knows, and by other controllers of ringmq to agree.
//!
//! Names are texts of at most [`CONTROLLER_TEXT_BYTES_MAX`] bytes without control characters: they are kept. Sources: RocketMQ 5.3.3, the classes of
//! `remoting.protocol.header.controller` and `BrokerHeartbeatRequestHeader`.

use std::collections::BTreeSet;

use super::{BadRequest, HeaderFields};
use crate::body::SyncStateSet;
use crate::header::Header;
use crate::limits::CONTROLLER_TEXT_BYTES_MAX;

/// A text that is kept as a name.
fn name<'a>(fields: HeaderFields<'a>, field: &'static str) -> Result<&'a str, BadRequest> {
    checked(fields.text(field)?, field)
}

fn checked<'a>(text: &'a str, field: &'static str) -> Result<&'a str, BadRequest> {
    let is_name =
        !text.trim().is_empty() && text.len() <= CONTROLLER_TEXT_BYTES_MAX && !text.contains(char::is_control);
    if is_name { Ok(text) } else { Err(BadRequest::Text { field, wanted: "a name" }) }
}

fn address<'a>(fields: HeaderFields<'a>, field: &'static str) -> Result<&'a str, BadRequest> {
    let text = name(fields, field)?;
    if super::namesrv::is_host_port(text) { Ok(text) } else { Err(BadRequest::Text { field, wanted: "HOST:PORT" }) }
}

/// A broker's number, as controllers give it: from 1 on. Java's peers read it as a long.
fn broker_id(fields: HeaderFields<'_>, field: &'static str) -> Result<u64, BadRequest> {
    let number: i64 = fields.number(field)?;
    u64::try_from(number).ok().filter(|id| *id > 0).ok_or(BadRequest::Range { field })
}

/// 1001: a master says who is in sync with it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub struct AlterSyncStateSetRequest<'a> {
    pub broker_name: &'a str,
    pub master_broker_id: u64,
    /// Its reign.
    pub master_epoch: i32,
    /// Who is in sync, and the number of the set that it changes.
    pub set: SyncStateSet,
}

impl<'a> AlterSyncStateSetRequest<'a> {
    /// Reads 1001.
    ///
    /// # Errors
    /// [`BadRequest`].
    pub fn parse(header: &'a Header<'_>, body: &[u8]) -> Result<Self, BadRequest> {
        let fields = HeaderFields(header);
        Ok(AlterSyncStateSetRequest {
            broker_name: name(fields, "brokerName")?,
            master_broker_id: broker_id(fields, "masterBrokerId")?,
            master_epoch: fields.number("masterEpoch")?,
            set: SyncStateSet::decode(body)?,
        })
    }
}

/// 1002: a broker wants a master for its group, or a tool wants another one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub struct ElectMasterRequest<'a> {
    pub broker_name: &'a str,
    /// Who asks, or who is wanted; none: any.
    pub broker_id: Option<u64>,
    /// Nobody else will do.
    pub designate: bool,
}

impl<'a> ElectMasterRequest<'a> {
    /// Reads 1002.
    ///
    /// # Errors
    /// [`BadRequest`].
    pub fn parse(header: &'a Header<'_>) -> Result<Self, BadRequest> {
        let fields = HeaderFields(header);
        let id: i64 = fields.number_if_any("brokerId")?.unwrap_or(-1);
        Ok(ElectMasterRequest {
            broker_name: name(fields, "brokerName")?,
            broker_id: u64::try_from(id).ok(),
            designate: fields.boolean("designateElect", false),
        })
    }
}

/// 1003: a broker that has its number is there, under this address.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub struct RegisterToControllerRequest<'a> {
    /// `clusterName`.
    pub cluster: &'a str,
    pub broker_name: &'a str,
    pub broker_id: u64,
    /// `brokerAddress`: `host:port` that clients dial, and the controller.
    pub address: &'a str,
}

impl<'a> RegisterToControllerRequest<'a> {
    /// Reads 1003.
    ///
    /// # Errors
    /// [`BadRequest`].
    pub fn parse(header: &'a Header<'_>) -> Result<Self, BadRequest> {
        let fields = HeaderFields(header);
        Ok(RegisterToControllerRequest {
            cluster: name(fields, "clusterName")?,
            broker_name: name(fields, "brokerName")?,
            broker_id: broker_id(fields, "brokerId")?,
            address: address(fields, "brokerAddress")?,
        })
    }
}

/// 1012: which number is free in a group; 1004: who leads it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub struct ReplicaGroupRequest<'a> {
    /// `clusterName`; 1012 only.
    pub cluster: Option<&'a str>,
    pub broker_name: &'a str,
}

impl<'a> ReplicaGroupRequest<'a> {
    /// Reads 1004 or 1012.
    ///
    /// # Errors
    /// [`BadRequest`].
    pub fn parse(header: &'a Header<'_>) -> Result<Self, BadRequest> {
        let fields = HeaderFields(header);
        Ok(ReplicaGroupRequest {
            cluster: fields.optional_text("clusterName"),
            broker_name: name(fields, "brokerName")?,
        })
    }
}

/// 1013: a broker wants a number for good.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub struct ApplyBrokerIdRequest<'a> {
    /// `clusterName`.
    pub cluster: &'a str,
    pub broker_name: &'a str,
    pub broker_id: u64,
    /// `registerCheckCode`, `ADDRESS;TIME`: by it a broker that asks again is known.
    pub check_code: &'a str,
    /// The address in it.
    pub address: &'a str,
}

impl<'a> ApplyBrokerIdRequest<'a> {
    /// Reads 1013.
    ///
    /// # Errors
    /// [`BadRequest`].
    pub fn parse(header: &'a Header<'_>) -> Result<Self, BadRequest> {
        let fields = HeaderFields(header);
        let check_code = name(fields, "registerCheckCode")?;
        let address = check_code.split(';').next().unwrap_or_default();
        if !super::namesrv::is_host_port(address) {
            return Err(BadRequest::Text { field: "registerCheckCode", wanted: "HOST:PORT;TIME" });
        }
        Ok(ApplyBrokerIdRequest {
            cluster: name(fields, "clusterName")?,
            broker_name: name(fields, "brokerName")?,
            broker_id: broker_id(fields, "appliedBrokerId")?,
            check_code,
            address,
        })
    }
}

/// 1011: brokers are to be forgotten.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub struct CleanBrokerDataRequest<'a> {
    pub broker_name: &'a str,
    /// `brokerControllerIdsToClean`, numbers with `;` between; none: all of the group.
    pub broker_ids: Option<BTreeSet<u64>>,
    /// `isCleanLivingBroker`.
    pub also_living: bool,
}

impl<'a> CleanBrokerDataRequest<'a> {
    /// Reads 1011.
    ///
    /// # Errors
    /// [`BadRequest`].
    pub fn parse(header: &'a Header<'_>) -> Result<Self, BadRequest> {
        let fields = HeaderFields(header);
        let field = "brokerControllerIdsToClean";
        let ids = fields.optional_text(field).filter(|text| !text.trim().is_empty());
        let ids = ids.map(|text| text.split(';').map(|id| super::parse_number(id, field)).collect()).transpose()?;
        Ok(CleanBrokerDataRequest {
            broker_name: name(fields, "brokerName")?,
            broker_ids: ids,
            also_living: fields.boolean("isCleanLivingBroker", false),
        })
    }
}

/// 904 to a controller: a broker lives, and has so much.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub struct SignOfLifeRequest<'a> {
    pub broker_name: &'a str,
    /// None: it has not said; a controller asks for it.
    pub broker_id: Option<u64>,
    /// Silence after which it counts as gone, ms.
    pub timeout_ms: Option<u64>,
    /// The last reign in its log; -1: it has not said.
    pub epoch: i32,
    /// The end of its log; -1: it has not said.
    pub log_end: i64,
    /// `electionPriority`: the smaller, the sooner it is elected among equals.
    pub priority: i32,
}

impl<'a> SignOfLifeRequest<'a> {
    /// Reads 904.
    ///
    /// # Errors
    /// [`BadRequest`].
    pub fn parse(header: &'a Header<'_>) -> Result<Self, BadRequest> {
        let fields = HeaderFields(header);
        let id: Option<i64> = fields.number_if_any("brokerId")?;
        // The field's name lacks an `i` in RocketMQ.
        let timeout: Option<i64> = fields.number_if_any("heartbeatTimeoutMills")?;
        Ok(SignOfLifeRequest {
            broker_name: name(fields, "brokerName")?,
            broker_id: id.and_then(|id| u64::try_from(id).ok()),
            timeout_ms: timeout.and_then(|ms| u64::try_from(ms).ok()).filter(|ms| *ms > 0),
            epoch: fields.number_if_any("epoch")?.unwrap_or(-1),
            log_end: fields.number_if_any("maxOffset")?.unwrap_or(-1),
            priority: fields.number_if_any("electionPriority")?.unwrap_or(i32::MAX),
        })
    }
}

/// Field of 720004: which controllers agree, as `controllerDLegerGroup` has it.
pub const AGREE_GROUP: &str = "group";

/// RINGMQ_CONTROLLER_AGREE 720004: one controller's step towards agreement. The body is the sender's matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgreeRequest<'a> {
    /// [`AGREE_GROUP`].
    pub group: &'a str,
}

impl<'a> AgreeRequest<'a> {
    /// Reads 720004.
    ///
    /// # Errors
    /// [`BadRequest`].
    pub fn parse(header: &'a Header<'_>) -> Result<Self, BadRequest> {
        Ok(AgreeRequest { group: HeaderFields(header).text(AGREE_GROUP)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::header_of;

    #[test]
    fn numbers_of_brokers_begin_at_one_and_names_are_names() {
        let check = |fields: &str, expected: Result<u64, BadRequest>| {
            let text = format!(r#"{{"code":1013,"extFields":{{"clusterName":"C",{fields}}}}}"#);
            let found = ApplyBrokerIdRequest::parse(&header_of(&text)).map(|found| found.broker_id);
            assert_eq!(found, expected, "{fields}");
        };
        let usual = r#""brokerName":"a","appliedBrokerId":"1","registerCheckCode":"h:1;17""#;
        check(usual, Ok(1));
        check(&usual.replace(r#""1""#, r#""0""#), Err(BadRequest::Range { field: "appliedBrokerId" }));
        check(&usual.replace(r#""1""#, r#""-3""#), Err(BadRequest::Range { field: "appliedBrokerId" }));
        check(
            &usual.replace("h:1;17", "h;17"),
            Err(BadRequest::Text { field: "registerCheckCode", wanted: "HOST:PORT;TIME" }),
        );
        check(&usual.replace(r#""a""#, r#""a\n""#), Err(BadRequest::Text { field: "brokerName", wanted: "a name" }));
        let long = "x".repeat(CONTROLLER_TEXT_BYTES_MAX + 1);
        check(
            &usual.replace(r#""a""#, &format!("{long:?}")),
            Err(BadRequest::Text { field: "brokerName", wanted: "a name" }),
        );
    }

    #[test]
    fn who_is_to_be_elected_or_cleaned_may_be_anybody() {
        let elect = |fields: &str| {
            let text = format!(r#"{{"code":1002,"extFields":{{"brokerName":"a"{fields}}}}}"#);
            ElectMasterRequest::parse(&header_of(&text)).map(|found| (found.broker_id, found.designate))
        };
        assert_eq!(elect(""), Ok((None, false)));
        assert_eq!(elect(r#","brokerId":"-1""#), Ok((None, false)));
        assert_eq!(elect(r#","brokerId":"2","designateElect":"true""#), Ok((Some(2), true)));
        assert_eq!(elect(r#","brokerId":"two""#), Err(BadRequest::Number { field: "brokerId" }));
        let clean = |ids: &str| {
            let text =
                format!(r#"{{"code":1011,"extFields":{{"brokerName":"a","brokerControllerIdsToClean":"{ids}"}}}}"#);
            CleanBrokerDataRequest::parse(&header_of(&text)).map(|found| found.broker_ids)
        };
        assert_eq!(clean(""), Ok(None));
        assert_eq!(clean("1;2"), Ok(Some([1, 2].into())));
        assert_eq!(clean("1,2"), Err(BadRequest::Number { field: "brokerControllerIdsToClean" }));
    }

    #[test]
    fn a_sign_of_life_says_what_it_can() {
        let text = r#"{"code":904,"extFields":{"clusterName":"C","brokerAddr":"h:1","brokerName":"a","brokerId":"1","epoch":"2","maxOffset":"30","heartbeatTimeoutMills":"1000"}}"#;
        let expected = SignOfLifeRequest {
            broker_name: "a",
            broker_id: Some(1),
            timeout_ms: Some(1000),
            epoch: 2,
            log_end: 30,
            priority: i32::MAX,
        };
        assert_eq!(SignOfLifeRequest::parse(&header_of(text)), Ok(expected));
    }
}
