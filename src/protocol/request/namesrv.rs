//! What the name server is asked: by brokers to be known, by clients for routes, by tools for settings.

use super::{BadRequest, HeaderFields, is_true};
use crate::body::{DataVersion, RegisterBody};
use crate::header::Header;
use crate::json::JsonForm;
use crate::model::BrokerId;

/// From this version on (4.9.4) clients read standard JSON.
const VERSION_STANDARD_JSON: i32 = 401;

/// 105: a topic's route.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub struct RouteRequest<'a> {
    pub topic: &'a str,
    /// The form that this client reads. It depends on its version or its wish, never on its language.
    pub form: JsonForm,
    /// Only brokers of this zone, and those that lost their master.
    pub zone: Option<&'a str>,
}

impl<'a> RouteRequest<'a> {
    /// Reads 105.
    ///
    /// # Errors
    /// [`BadRequest`].
    pub fn parse(header: &'a Header<'_>) -> Result<Self, BadRequest> {
        let fields = HeaderFields(header);
        let standard = header.version >= VERSION_STANDARD_JSON || fields.boolean("acceptStandardJsonOnly", false);
        let zone = fields.optional_text("__ZONE_MODE").is_some_and(is_true);
        Ok(RouteRequest {
            topic: fields.text("topic")?,
            form: if standard { JsonForm::Standard } else { JsonForm::Fastjson },
            zone: fields.optional_text("__ZONE_NAME").filter(|_| zone),
        })
    }
}

/// A broker, as every request of it says who it is. 104 holds nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub struct BrokerIdentity<'a> {
    /// `clusterName`.
    pub cluster: &'a str,
    pub broker_name: &'a str,
    /// `host:port` that clients dial.
    pub address: &'a str,
    /// Its number among the replicas of that name.
    pub broker_id: BrokerId,
}

impl<'a> BrokerIdentity<'a> {
    /// Reads 104, 322, and the part of 103 that says who asks.
    ///
    /// # Errors
    /// [`BadRequest`].
    pub fn parse(header: &'a Header<'_>) -> Result<Self, BadRequest> {
        let fields = HeaderFields(header);
        // Java's clients and tools read it as a long.
        let broker_id: i64 = fields.number("brokerId")?;
        Ok(BrokerIdentity {
            cluster: fields.text("clusterName")?,
            broker_name: fields.text("brokerName")?,
            address: fields.text("brokerAddr")?,
            broker_id: BrokerId(u64::try_from(broker_id).map_err(|_| BadRequest::Range { field: "brokerId" })?),
        })
    }

    /// Reads 322: who asks, and the version of its topics.
    ///
    /// # Errors
    /// [`BadRequest`].
    pub fn parse_with_version(header: &'a Header<'_>, body: &[u8]) -> Result<(Self, DataVersion), BadRequest> {
        let version = if body.is_empty() { DataVersion::default() } else { DataVersion::decode(body)? };
        Ok((BrokerIdentity::parse(header)?, version))
    }
}

/// 103: a broker makes itself and its topics known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisterBrokerRequest<'a> {
    /// Who.
    pub identity: BrokerIdentity<'a>,
    /// `host:port` where its replicas connect.
    pub ha_address: &'a str,
    /// Silence after which it counts as gone, ms; none: the name server's own setting.
    pub heartbeat_timeout_ms: Option<u64>,
    /// Its zone, if it has one.
    pub zone: Option<&'a str>,
    /// Whether its replica may act for it when it is lost.
    pub enable_acting_master: bool,
    /// [`CHANGES_ONLY`].
    pub changes_only: bool,
    /// Its topics.
    pub body: RegisterBody,
}

/// A field of ours in 103: the topics are what changed, and the broker has others. Others do not know it, and tell in no way.
pub const CHANGES_ONLY: &str = "changesOnly";

impl<'a> RegisterBrokerRequest<'a> {
    /// Reads 103, its body in either form. No body is a broker without topics.
    ///
    /// RocketMQ takes whatever is there, and hands it out to clients, who dial it. What no broker can mean is refused here; hosts may be names, and
    /// names of brokers and clusters are anything that can be read.
    ///
    /// # Errors
    /// [`BadRequest`].
    pub fn parse(header: &'a Header<'_>, body: &[u8]) -> Result<Self, BadRequest> {
        let fields = HeaderFields(header);
        let said: u32 = fields.number_if_any("bodyCrc32")?.unwrap_or(0);
        if said != 0 {
            let found = crc32fast::hash(body) & 0x7FFF_FFFF;
            if found != said {
                return Err(BadRequest::Checksum { said, found });
            }
        }
        let identity = BrokerIdentity::parse(header)?;
        let ha_address = fields.optional_text("haServerAddr").unwrap_or_default();
        for (field, text) in [("brokerName", identity.broker_name), ("clusterName", identity.cluster)] {
            if text.trim().is_empty() || text.contains(char::is_control) {
                return Err(BadRequest::Text { field, wanted: "a name" });
            }
        }
        let zone = header.ext.get("__ZONE_NAME");
        if zone.is_some_and(|zone| zone.contains(char::is_control)) {
            return Err(BadRequest::Text { field: "__ZONE_NAME", wanted: "a name" });
        }
        for (field, text) in [("brokerAddr", identity.address), ("haServerAddr", ha_address)] {
            let may_lack = field == "haServerAddr";
            if !(is_host_port(text) || (may_lack && text.is_empty())) {
                return Err(BadRequest::Text { field, wanted: "HOST:PORT" });
            }
        }
        let heartbeat_timeout_ms: Option<u64> = fields.number_if_any("heartbeatTimeoutMillis")?;
        if heartbeat_timeout_ms == Some(0) {
            return Err(BadRequest::Range { field: "heartbeatTimeoutMillis" });
        }
        Ok(RegisterBrokerRequest {
            identity,
            ha_address,
            heartbeat_timeout_ms,
            zone,
            enable_acting_master: fields.boolean("enableActingMaster", false),
            changes_only: fields.boolean(CHANGES_ONLY, false),
            body: match body {
                [] => RegisterBody::default(),
                body if fields.boolean("compressed", false) => RegisterBody::decode_compressed(body)?,
                body => RegisterBody::decode(body)?,
            },
        })
    }
}

/// Whether clients could dial it: a host, by name or number, and a port.
pub(super) fn is_host_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let is_of_host = |character: char| character.is_ascii_alphanumeric() || "._-:[]%".contains(character);
    !host.is_empty()
        && host.chars().all(is_of_host)
        && port.bytes().all(|byte| byte.is_ascii_digit())
        && port.parse::<u16>().is_ok_and(|port| port > 0)
}

/// 904: a broker lives.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub struct BrokerHeartbeatRequest<'a> {
    /// `clusterName`.
    pub cluster: &'a str,
    pub broker_name: &'a str,
    /// `brokerAddr`.
    pub address: &'a str,
    /// Silence after which it counts as gone, ms.
    pub heartbeat_timeout_ms: Option<u64>,
}

impl<'a> BrokerHeartbeatRequest<'a> {
    /// Reads 904.
    ///
    /// # Errors
    /// [`BadRequest`].
    pub fn parse(header: &'a Header<'_>) -> Result<Self, BadRequest> {
        let fields = HeaderFields(header);
        // The field's name lacks an `i` in RocketMQ.
        let timeout: Option<i64> = fields.optional_number("heartbeatTimeoutMills");
        Ok(BrokerHeartbeatRequest {
            cluster: fields.text("clusterName")?,
            broker_name: fields.text("brokerName")?,
            address: fields.text("brokerAddr")?,
            heartbeat_timeout_ms: timeout.and_then(|ms| u64::try_from(ms).ok()).filter(|ms| *ms > 0),
        })
    }
}

/// 205, 327, 901: a broker by name.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub struct BrokerNameRequest<'a> {
    pub broker_name: &'a str,
    /// 901 only: its cluster.
    pub cluster: Option<&'a str>,
}

impl<'a> BrokerNameRequest<'a> {
    /// Reads 205, 327 or 901.
    ///
    /// # Errors
    /// [`BadRequest`].
    pub fn parse(header: &'a Header<'_>) -> Result<Self, BadRequest> {
        let fields = HeaderFields(header);
        Ok(BrokerNameRequest { broker_name: fields.text("brokerName")?, cluster: fields.optional_text("clusterName") })
    }
}

/// 100, 101, 102: a setting by namespace and key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub struct KvRequest<'a> {
    /// The namespace, e.g. `ORDER_TOPIC_CONFIG`.
    pub namespace: &'a str,
    pub key: &'a str,
    /// 100 only: its value.
    pub value: Option<&'a str>,
}

impl<'a> KvRequest<'a> {
    /// Reads 101 or 102.
    ///
    /// # Errors
    /// [`BadRequest`].
    pub fn parse(header: &'a Header<'_>) -> Result<Self, BadRequest> {
        let fields = HeaderFields(header);
        let value = header.ext.get("value");
        Ok(KvRequest { namespace: fields.text("namespace")?, key: fields.text("key")?, value })
    }

    /// Reads 100 and gives the value too, which must be there.
    ///
    /// # Errors
    /// [`BadRequest`].
    pub fn parse_put(header: &'a Header<'_>) -> Result<(Self, &'a str), BadRequest> {
        Ok((KvRequest::parse(header)?, HeaderFields(header).text("value")?))
    }
}

/// 219: all settings of a namespace; 224: all topics of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamespaceRequest<'a> {
    /// The namespace, or the cluster.
    pub name: &'a str,
}

impl<'a> NamespaceRequest<'a> {
    /// Reads 219.
    ///
    /// # Errors
    /// [`BadRequest`].
    pub fn parse(header: &'a Header<'_>) -> Result<Self, BadRequest> {
        Ok(NamespaceRequest { name: HeaderFields(header).text("namespace")? })
    }

    /// Reads 224.
    ///
    /// # Errors
    /// [`BadRequest`].
    pub fn parse_cluster(header: &'a Header<'_>) -> Result<Self, BadRequest> {
        Ok(NamespaceRequest { name: HeaderFields(header).text("cluster")? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::header_of;

    #[test]
    fn the_form_of_a_route_depends_on_version_or_wish() {
        let check = |version: i32, wish: &str, expected: JsonForm| {
            let text = format!(r#"{{"code":105,"extFields":{{"topic":"T"{wish}}},"version":{version}}}"#);
            let header = header_of(&text);
            assert_eq!(RouteRequest::parse(&header), Ok(RouteRequest { topic: "T", form: expected, zone: None }));
        };
        check(400, "", JsonForm::Fastjson);
        check(401, "", JsonForm::Standard);
        check(317, r#","acceptStandardJsonOnly":"true""#, JsonForm::Standard);
        check(317, r#","acceptStandardJsonOnly":"false","__ZONE_NAME":"z""#, JsonForm::Fastjson);
    }

    #[test]
    fn a_registration_is_checked_before_it_is_read() {
        let body = RegisterBody::default().encode();
        let crc = crc32fast::hash(&body) & 0x7FFF_FFFF;
        let check = |crc: u32, compressed: bool, body: &[u8], expected: Result<Option<u64>, BadRequest>| {
            let text = format!(
                r#"{{"code":103,"extFields":{{"brokerName":"b","brokerAddr":"a:1","clusterName":"C","haServerAddr":"a:2","brokerId":"0","heartbeatTimeoutMillis":"1000","compressed":"{compressed}","bodyCrc32":"{crc}"}}}}"#
            );
            let found = RegisterBrokerRequest::parse(&header_of(&text), body).map(|found| found.heartbeat_timeout_ms);
            assert_eq!(found, expected);
        };
        check(crc, false, &body, Ok(Some(1000)));
        check(0, false, &body, Ok(Some(1000)));
        check(0, false, b"", Ok(Some(1000)));
        check(crc ^ 1, false, &body, Err(BadRequest::Checksum { said: crc ^ 1, found: crc }));
        let max = crate::limits::REGISTER_BODY_BYTES_MAX;
        check(crc, true, &body, Err(BadRequest::Body(crate::body::BodyError::Inflate { max })));
    }

    #[test]
    fn what_no_broker_can_mean_is_refused() {
        let check = |field: &'static str, values: &[&str], expected: Option<BadRequest>| {
            for value in values {
                let usual = [
                    ("brokerName", "broker-a"),
                    ("brokerAddr", "10.0.0.1:10911"),
                    ("clusterName", "DefaultCluster"),
                    ("haServerAddr", "10.0.0.1:10912"),
                    ("brokerId", "0"),
                ];
                let mut fields: std::collections::BTreeMap<&str, &str> = usual.into();
                fields.insert(field, value);
                let fields: Vec<String> = fields.iter().map(|(name, value)| format!(r#""{name}":"{value}""#)).collect();
                let text = format!(r#"{{"code":103,"extFields":{{{}}}}}"#, fields.join(","));
                let found = RegisterBrokerRequest::parse(&header_of(&text), b"").err();
                assert_eq!(found, expected, "{field}: {value:?}");
            }
        };
        for field in ["brokerName", "clusterName"] {
            check(field, &["", "  ", r"a\nb", r"\u0000"], Some(BadRequest::Text { field, wanted: "a name" }));
            check(field, &["a", "broker 1", "経紀人", "a.b_c-d@0"], None);
        }
        check("__ZONE_NAME", &[r"a\tb"], Some(BadRequest::Text { field: "__ZONE_NAME", wanted: "a name" }));
        check("__ZONE_NAME", &["", "z"], None);
        let nonsense =
            ["h", "h:", ":1", "h:0", "h:65536", "h:+1", "h:1;i:2", "a b:1", "<script>:1", r"h\n:1", "http://h:1"];
        for field in ["brokerAddr", "haServerAddr"] {
            check(field, &nonsense, Some(BadRequest::Text { field, wanted: "HOST:PORT" }));
            check(field, &["h:1", "broker-0.broker.default.svc:10911", "[fe80::1%eth0]:10911", "::1:10911"], None);
        }
        check("brokerAddr", &[""], Some(BadRequest::Text { field: "brokerAddr", wanted: "HOST:PORT" }));
        check("haServerAddr", &[""], None);
        let beyond = ["-1", "9223372036854775808", "18446744073709551615", "99999999999999999999"];
        check("brokerId", &beyond, Some(BadRequest::Range { field: "brokerId" }));
        check("brokerId", &["", "x", "1.5"], Some(BadRequest::Number { field: "brokerId" }));
        check("brokerId", &["1", "9223372036854775807"], None);
        let field = "heartbeatTimeoutMillis";
        check(field, &["0", "-1"], Some(BadRequest::Range { field }));
        check(field, &["soon"], Some(BadRequest::Number { field }));
        check(field, &["", "10000"], None);
        check("bodyCrc32", &["-1", "4294967296"], Some(BadRequest::Range { field: "bodyCrc32" }));
        check("bodyCrc32", &["x"], Some(BadRequest::Number { field: "bodyCrc32" }));
    }
}
