//! Single requests beside the load: is a broker ready, what does it say of itself, who belongs to its cluster. Blocking, one connection a
//! request, nothing of it is measured.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::load::clock::unix_ms;
use crate::load::frame::{
    GET_BROKER_CONFIG, HeaderKind, OPAQUE_MIN, Packer, SEND_MESSAGE_V2, SendPatch, SendShape, SendTemplate, request,
};
use crate::load::record::Stamp;
use crate::load::scan::{HeadScanner, WireError, remark, split_frame};
use crate::load::settings::SizeShare;

/// A server that starts may accept and not answer yet.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Created by the send itself, through `TBW102`.
const TOPIC: &str = "ringmq_bench_probe";
/// Request code: the configuration in force, as properties.
/// Request code: what a broker says of itself.
const GET_BROKER_RUNTIME_INFO: i32 = 28;
/// Request code: where the queues of a topic begin and end.
const GET_TOPIC_STATS_INFO: i32 = 202;
/// Request code: the brokers of a topic.
const GET_ROUTEINFO_BY_TOPIC: i32 = 105;
/// Request code: all brokers.
const GET_BROKER_CLUSTER_INFO: i32 = 106;
/// Response code: no broker has the topic.
const TOPIC_NOT_EXIST: i32 = 17;

/// Why there is no answer, or none that helps.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what each is")]
pub enum ProbeError {
    #[error("{address} does not answer: {source}")]
    Silent {
        address: SocketAddr,
        /// What the kernel says.
        source: io::Error,
    },
    #[error("{address} refuses request {request} with code {code}: {remark}")]
    Refused {
        address: SocketAddr,
        request: i32,
        code: i32,
        /// What the server says.
        remark: String,
    },
    /// What is no frame.
    #[error("{address} sends {source}")]
    Wire {
        address: SocketAddr,
        /// What is wrong with it.
        source: WireError,
    },
    /// An answer of another shape.
    #[error("{address} answers request {request} with what RocketMQ does not: {reason}")]
    Content {
        address: SocketAddr,
        request: i32,
        /// What is wrong with it.
        reason: String,
    },
}

/// A master and its slaves, as a name server knows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replicas {
    /// `brokerName`.
    pub name: String,
    /// HOST:PORT by `brokerId`; 0 is the master.
    pub addresses: BTreeMap<u64, String>,
}

/// Stores one message at `address`, as its settings promise.
///
/// # Errors
/// When it is not there, or says anything but "stored".
pub fn store_one(address: SocketAddr) -> Result<(), ProbeError> {
    ask(address, SEND_MESSAGE_V2, &small_message(TOPIC, 0, 0)).map(drop)
}

/// The request that sends a message of a few bytes.
pub(super) fn small_message(topic: &str, queue: u32, sequence: u64) -> Vec<u8> {
    let run_id = u64::from(std::process::id());
    let shape = SendShape {
        header: HeaderKind::Json,
        batch: 1,
        keys: false,
        tags: 0,
        is_placed: false,
        deliver_after_ms: 0,
        delay_level: 0,
        is_half: false,
        is_oneway: false,
        run_id,
    };
    let stamp = Stamp { intended_ns: 0, sequence, run_id, sender: 0 };
    let patch = SendPatch { opaque: OPAQUE_MIN, born_ms: unix_ms(), stamp };
    let packer = Packer::new(shape, &[SizeShare { bytes: 64, share: 1 }], false);
    let mut frame = Vec::new();
    packer.write(&mut frame, &SendTemplate::new(&shape, topic, queue), &patch);
    frame
}

/// End of the log of the broker at `address`, bytes.
///
/// # Errors
/// When it is not there, or does not say.
pub fn log_end(address: SocketAddr) -> Result<u64, ProbeError> {
    let end = runtime_info(address)?.get("commitLogMaxOffset").and_then(|end| end.parse().ok());
    end.ok_or_else(|| ProbeError::Content {
        address,
        request: GET_BROKER_RUNTIME_INFO,
        reason: "it does not say where its log ends".to_owned(),
    })
}

/// Whether the broker at `address` has a topic: a slave learns of one from its master, some time after it was created there.
///
/// # Errors
/// When it is not there, or refuses for another reason.
pub fn has_topic(address: SocketAddr, topic: &str) -> Result<bool, ProbeError> {
    let frame = request(HeaderKind::Json, GET_TOPIC_STATS_INFO, OPAQUE_MIN, &[("topic", topic)], b"");
    match ask(address, GET_TOPIC_STATS_INFO, &frame) {
        Ok(_) => Ok(true),
        Err(ProbeError::Refused { code: TOPIC_NOT_EXIST, .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// What the broker at `address` says of itself.
///
/// # Errors
/// When it is not there, or answers something else.
pub fn runtime_info(address: SocketAddr) -> Result<BTreeMap<String, String>, ProbeError> {
    #[derive(serde::Deserialize)]
    struct Body {
        table: BTreeMap<String, String>,
    }
    let body: Body = ask_json(address, GET_BROKER_RUNTIME_INFO, &[])?;
    Ok(body.table)
}

/// The configuration in force at the broker at `address`.
///
/// # Errors
/// When it is not there, or refuses.
pub fn config(address: SocketAddr) -> Result<BTreeMap<String, String>, ProbeError> {
    let frame = request(HeaderKind::Json, GET_BROKER_CONFIG, OPAQUE_MIN, &[], b"");
    let body = ask(address, GET_BROKER_CONFIG, &frame)?;
    Ok(String::from_utf8_lossy(&body).lines().filter_map(property).collect())
}

/// `KEY=VALUE`; none for a comment.
fn property(line: &str) -> Option<(String, String)> {
    let (key, value) = line.split_once('=')?;
    let key = key.trim();
    (!key.starts_with('#')).then(|| (key.to_owned(), value.trim().to_owned()))
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct BrokerData {
    broker_name: String,
    broker_addrs: BTreeMap<u64, String>,
}

impl From<BrokerData> for Replicas {
    fn from(data: BrokerData) -> Self {
        Self { name: data.broker_name, addresses: data.broker_addrs }
    }
}

/// All brokers that the name server at `address` knows, by name.
///
/// # Errors
/// When it is not there, or is no name server.
pub fn cluster(address: SocketAddr) -> Result<Vec<Replicas>, ProbeError> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Body {
        // Apache's says nothing at all before the first broker.
        #[serde(default)]
        broker_addr_table: BTreeMap<String, BrokerData>,
    }
    let body: Body = ask_json(address, GET_BROKER_CLUSTER_INFO, &[])?;
    Ok(body.broker_addr_table.into_values().map(Replicas::from).collect())
}

/// The brokers that have `topic`, as the name server at `address` knows them; none if nobody has it.
///
/// # Errors
/// When it is not there, or is no name server.
pub fn route(address: SocketAddr, topic: &str) -> Result<Vec<Replicas>, ProbeError> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Body {
        broker_datas: Vec<BrokerData>,
    }
    match ask_json::<Body>(address, GET_ROUTEINFO_BY_TOPIC, &[("topic", topic)]) {
        Ok(body) => {
            let mut replicas: Vec<Replicas> = body.broker_datas.into_iter().map(Replicas::from).collect();
            replicas.sort_by(|one, other| one.name.cmp(&other.name));
            Ok(replicas)
        }
        Err(ProbeError::Refused { code: TOPIC_NOT_EXIST, .. }) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn ask_json<T: serde::de::DeserializeOwned>(
    address: SocketAddr,
    code: i32,
    fields: &[(&str, &str)],
) -> Result<T, ProbeError> {
    let body = ask(address, code, &request(HeaderKind::Json, code, OPAQUE_MIN, fields, b""))?;
    let text = standard_json(&String::from_utf8_lossy(&body));
    serde_json::from_str(&text).map_err(|error| ProbeError::Content {
        address,
        request: code,
        reason: error.to_string(),
    })
}

/// Java's fastjson writes the keys of a map of numbers as numbers, `{0:"a"}`: in quotes they are JSON.
fn standard_json(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    let (mut is_quoted, mut is_escaped, mut last) = (false, false, ' ');
    let mut rest = text.char_indices().peekable();
    while let Some((at, letter)) = rest.next() {
        if !is_quoted && letter.is_ascii_digit() && matches!(last, '{' | ',') {
            let digits = text[at..].chars().take_while(char::is_ascii_digit).count();
            if text[at + digits..].starts_with(':') {
                out.push('"');
                out.push_str(&text[at..at + digits]);
                out.push('"');
                rest.by_ref().take(digits - 1).for_each(drop);
                last = '"';
                continue;
            }
        }
        if letter == '"' && !is_escaped {
            is_quoted = !is_quoted;
        }
        is_escaped = is_quoted && letter == '\\' && !is_escaped;
        out.push(letter);
        if !letter.is_whitespace() {
            last = letter;
        }
    }
    out
}

/// The body of the answer to one request, if that is a success.
fn ask(address: SocketAddr, request: i32, frame: &[u8]) -> Result<Vec<u8>, ProbeError> {
    let silent = |source| ProbeError::Silent { address, source };
    let wire = |source| ProbeError::Wire { address, source };
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT).map_err(silent)?;
    stream.set_nodelay(true).map_err(silent)?;
    stream.set_read_timeout(Some(TIMEOUT)).map_err(silent)?;
    stream.write_all(frame).map_err(silent)?;
    let mut received = Vec::new();
    let mut part = [0u8; 4096];
    loop {
        if let Some((frame, _)) = split_frame(&received).map_err(wire)? {
            return match HeadScanner::default().head(&frame).map_err(wire)?.code {
                0 => Ok(frame.body.to_vec()),
                code => Err(ProbeError::Refused { address, request, code, remark: remark(&frame) }),
            };
        }
        let bytes = stream.read(&mut part).map_err(silent)?;
        if bytes == 0 {
            return Err(silent(io::Error::new(io::ErrorKind::UnexpectedEof, "it closed the connection")));
        }
        received.extend_from_slice(part.get(..bytes).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_as_keys_become_json() {
        let check = |text: &str, expected: &str| assert_eq!(standard_json(text), expected);
        check(r#"{0:"a",12:"b"}"#, r#"{"0":"a","12":"b"}"#);
        check(r#"{"0":"a","n":[1,2],"m":3}"#, r#"{"0":"a","n":[1,2],"m":3}"#);
        check(r#"{"text":"{0:1,2:3}\",4:","x":{ 1:2}}"#, r#"{"text":"{0:1,2:3}\",4:","x":{ "1":2}}"#);
        check(r#"{"ü":{7:"ü"}}"#, r#"{"ü":{"7":"ü"}}"#);
        check("{0", "{0");
    }

    #[test]
    fn properties_are_keys_and_values() {
        let check = |line: &str, expected: Option<(&str, &str)>| {
            assert_eq!(property(line), expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
        };
        check("brokerRole=SYNC_MASTER", Some(("brokerRole", "SYNC_MASTER")));
        check(" a = b=c ", Some(("a", "b=c")));
        check("# a=b", None);
        check("", None);
    }
}
