//! The requests of the differential test, and their answers as paths and values.
#[path = "daily.rs"]
mod daily;

use std::collections::BTreeMap;
use std::io;

use serde_json::{Value, json};

use harness::{Client, Frame, Record, code, wait_for};

/// Step by step, the answer: path to value.
pub(crate) type Answers = Vec<(String, BTreeMap<String, String>)>;

/// Fields whose value depends on when or where, in ext fields, bodies and properties. That they are there counts.
const MASKED: [&str; 29] = [
    "msgId",
    "transactionId",
    "UNIQ_KEY",
    "__CRC32#",
    "timestamp",
    "counter",
    "stateVersion",
    "lastUpdateTimestamp",
    "lastTimestamp",
    "bornTimestamp",
    "storeTimestamp",
    "consumeTps",
    "topicPutTps",
    "pullOffset",
    "offsetMsgId",
    "indexLastUpdateTimestamp",
    "indexLastUpdatePhyoffset",
    "clientAddr",
    "subVersion",
    "subscriptionVersion",
    "consumeTimeStamp",
    "consumeTimeStampStr",
    "delayTime",
    "maxTimeStamp",
    "maxTimeStampStr",
    "minTimeStamp",
    "minTimeStampStr",
    "physicOffset",
    "physicSize",
];

/// How a body is read.
#[derive(Clone, Copy)]
enum Body {
    /// There should be none; its bytes are compared.
    Bytes,
    /// As text.
    Json,
    /// JSON of which only the names of the fields count.
    JsonNames,
    /// Message records.
    Records,
}

/// One run of the script against one cluster.
struct Run {
    names: Client,
    broker: Client,
    addresses: [(String, &'static str); 2],
    answers: Answers,
}

impl Run {
    fn broker(&mut self, step: &str, request: Frame, body: Body) -> io::Result<Frame> {
        let response = self.broker.call(request)?;
        self.keep(step, &response, body)?;
        Ok(response)
    }

    fn names(&mut self, step: &str, request: Frame, body: Body) -> io::Result<()> {
        let response = self.names.call(request)?;
        self.keep(step, &response, body)
    }

    fn keep(&mut self, step: &str, response: &Frame, body: Body) -> io::Result<()> {
        assert!(self.answers.iter().all(|(known, _)| known != step), "two steps are named {step:?}");
        let mut answer = BTreeMap::new();
        answer.insert("code".to_owned(), response.code.to_string());
        for (name, value) in &response.ext {
            answer.insert(format!("ext.{name}"), self.normal(name, value));
        }
        match body {
            _ if response.body.is_empty() => {}
            Body::Bytes => {
                let text = String::from_utf8_lossy(&response.body).into_owned();
                answer.insert("body".to_owned(), self.normal("", &text));
            }
            Body::Json => self.flatten("body", "", &response.json()?, &mut answer),
            Body::JsonNames => {
                self.flatten("body", "", &response.json()?, &mut answer);
                // One entry a disk, named by its path.
                answer.retain(|path, _| !path.contains("DiskRatio_"));
                answer.iter_mut().filter(|(path, _)| path.starts_with("body")).for_each(|(_, value)| value.clear());
            }
            Body::Records => {
                for (index, record) in Record::decode_all(&response.body)?.iter().enumerate() {
                    self.flatten(&format!("body[{index}]"), "", &as_json(record), &mut answer);
                }
            }
        }
        self.answers.push((step.to_owned(), answer));
        Ok(())
    }

    /// Every leaf of `value` as a path. Arrays here are sets, so they are sorted.
    fn flatten(&self, path: &str, name: &str, value: &Value, into: &mut BTreeMap<String, String>) {
        match value {
            Value::Object(map) if !map.is_empty() => {
                for (name, value) in map {
                    self.flatten(&format!("{path}.{}", self.normal("", name)), name, value, into);
                }
            }
            Value::Array(items) if !items.is_empty() => {
                let mut items: Vec<&Value> = items.iter().collect();
                items.sort_by_cached_key(|item| self.normal("", &item.to_string()));
                for (index, item) in items.into_iter().enumerate() {
                    self.flatten(&format!("{path}[{index}]"), name, item, into);
                }
            }
            Value::String(text) => drop(into.insert(path.to_owned(), self.normal(name, text))),
            other => drop(into.insert(path.to_owned(), self.normal(name, &other.to_string()))),
        }
    }

    fn normal(&self, name: &str, value: &str) -> String {
        if MASKED.contains(&name) {
            return "masked".to_owned();
        }
        self.addresses.iter().fold(value.to_owned(), |text, (address, word)| text.replace(address, word))
    }
}

/// A record without what depends on the run.
fn as_json(record: &Record) -> Value {
    json!({
        "bodyCrc": record.body_crc, "queueId": record.queue_id, "flag": record.flag, "queueOffset": record.queue_offset,
        "sysFlag": record.sys_flag, "storeHost": record.store_host.to_string(), "bornHost": record.born_host.ip().to_string(),
        "reconsumeTimes": record.reconsume_times, "preparedTransactionOffset": record.prepared_transaction_offset,
        "body": String::from_utf8_lossy(&record.body), "topic": record.topic, "properties": record.properties,
    })
}

/// Runs the whole script against a cluster of one name server and one broker, both fresh.
pub(crate) fn run_script(name_server: &str, broker: &str) -> io::Result<Answers> {
    let mut run = Run {
        names: Client::connect(name_server)?,
        broker: Client::connect(broker)?,
        addresses: [(broker.to_owned(), "BROKER"), (name_server.to_owned(), "NAMES")],
        answers: Vec::new(),
    };
    topics(&mut run)?;
    sends(&mut run)?;
    pulls(&mut run)?;
    groups(&mut run)?;
    offsets(&mut run)?;
    statistics(&mut run)?;
    daily::daily(&mut run)?;
    name_server_requests(&mut run)?;
    Ok(run.answers)
}

fn create(topic: &str) -> Frame {
    Frame::request(code::UPDATE_AND_CREATE_TOPIC)
        .ext("topic", topic)
        .ext("defaultTopic", "TBW102")
        .ext("readQueueNums", 4)
        .ext("writeQueueNums", 4)
        .ext("perm", 6)
        .ext("topicFilterType", "SINGLE_TAG")
        .ext("topicSysFlag", 0)
        .ext("order", false)
}

fn topics(run: &mut Run) -> io::Result<()> {
    run.broker("create topic", create("T"), Body::Bytes)?;
    run.broker("create topic again", create("T"), Body::Bytes)?;
    run.broker("create topic with a bad name", create("a b"), Body::Bytes)?;
    run.broker("create topic without a name", create(""), Body::Bytes)?;
    run.broker("create topic with a long name", create(&"x".repeat(128)), Body::Bytes)?;
    run.broker("create system topic", create("SCHEDULE_TOPIC_XXXX"), Body::Bytes)?;
    run.broker("topic config", Frame::request(351).ext("topic", "T"), Body::Json)?;
    run.broker("config of no topic", Frame::request(351).ext("topic", "NONE"), Body::Json)?;
    run.broker("all topic configs", Frame::request(21), Body::Json)?;
    run.broker("create topic to delete", create("GOING"), Body::Bytes)?;
    run.broker("delete topic", Frame::request(215).ext("topic", "GOING"), Body::Bytes)?;
    run.broker("delete no topic", Frame::request(215).ext("topic", "NONE"), Body::Bytes)?;
    run.broker("delete system topic", Frame::request(215).ext("topic", "TBW102"), Body::Bytes)?;
    run.broker("code of nothing", Frame::request(9_999), Body::Bytes)?;
    Ok(())
}

fn send_v1(topic: &str, queue_id: i32) -> Frame {
    Frame::request(code::SEND_MESSAGE)
        .ext("producerGroup", "P")
        .ext("topic", topic)
        .ext("defaultTopic", "TBW102")
        .ext("defaultTopicQueueNums", 4)
        .ext("queueId", queue_id)
        .ext("sysFlag", 0)
        .ext("bornTimestamp", 1_700_000_000_000_i64)
        .ext("flag", 7)
        .ext("properties", "KEYS\u{1}k1 k2\u{2}TAGS\u{1}a\u{2}WAIT\u{1}true")
        .ext("reconsumeTimes", 0)
        .ext("unitMode", false)
        .ext("maxReconsumeTimes", 0)
        .body("first")
}

fn sends(run: &mut Run) -> io::Result<()> {
    run.broker("send V1", send_v1("T", 0), Body::Bytes)?;
    let properties = [("UNIQ_KEY", "0123456789ABCDEF0123456789ABCDEF"), ("TAGS", "b"), ("own", "x y")];
    run.broker("send V2", Client::send_request("T", 0, b"second", &properties), Body::Bytes)?;
    run.broker("send with binary header", Client::send_request("T", 0, b"third", &[]).binary(), Body::Bytes)?;
    run.broker("send batch", batch("T", 0, &["one", "two", "three"]), Body::Bytes)?;
    run.broker("send without body", Client::send_request("T", 0, b"", &[]), Body::Bytes)?;
    run.broker("send to no queue", Client::send_request("T", 99, b"x", &[]), Body::Bytes)?;
    run.broker("send creates topic", Client::send_request("CREATED", 0, b"x", &[]), Body::Bytes)?;
    run.broker("created topic", Frame::request(351).ext("topic", "CREATED"), Body::Json)?;
    let other = Client::send_request("OTHER", 0, b"x", &[]).ext("c", "NO_SUCH_DEFAULT");
    run.broker("send creates no topic", other, Body::Bytes)?;
    run.broker("send to a bad name", Client::send_request("a b", 0, b"x", &[]), Body::Bytes)?;
    run.broker("send to a system topic", Client::send_request("SCHEDULE_TOPIC_XXXX", 0, b"x", &[]), Body::Bytes)?;
    let long = "v".repeat(32_800);
    run.broker("send long properties", Client::send_request("T", 0, b"x", &[("p", &long)]), Body::Bytes)?;
    run.broker("send large body", Client::send_request("T", 1, &vec![b'x'; (4 << 20) + 1], &[]), Body::Bytes)?;
    // Nothing may come back: the next answer must be that of the next request.
    run.broker.start(Client::send_request("T", 2, b"oneway", &[]).oneway())?;
    wait_for("oneway message", || run.broker.max_offset("T", 2).ok().filter(|&offset| offset == 1));
    Ok(())
}

/// 320: each message as size, magic 0, CRC 0, flag, body, properties.
fn batch(topic: &str, queue_id: i32, bodies: &[&str]) -> Frame {
    let mut body = Vec::new();
    for text in bodies {
        let properties = b"TAGS\x01batch";
        let length = |count: usize| u32::try_from(count).expect("short").to_be_bytes();
        body.extend_from_slice(&length(4 + 4 + 4 + 4 + 4 + text.len() + 2 + properties.len()));
        body.extend_from_slice(&[0; 12]);
        body.extend_from_slice(&length(text.len()));
        body.extend_from_slice(text.as_bytes());
        body.extend_from_slice(&u16::try_from(properties.len()).expect("short").to_be_bytes());
        body.extend_from_slice(properties);
    }
    let mut request = Client::send_request(topic, queue_id, &body, &[]).ext("m", true);
    request.code = code::SEND_BATCH_MESSAGE;
    request
}

fn pulls(run: &mut Run) -> io::Result<()> {
    let pull = |offset: i64| Client::pull_request("PULLER", "T", 0, offset, 32);
    wait_for("dispatch", || run.broker.max_offset("T", 0).ok().filter(|&offset| offset >= 6));
    run.broker("pull all", pull(0), Body::Records)?;
    run.broker("pull two", pull(1).ext("maxMsgNums", 2), Body::Records)?;
    run.broker("pull one tag", pull(0).ext("subscription", "a"), Body::Records)?;
    run.broker("pull no tag", pull(0).ext("subscription", "none"), Body::Records)?;
    run.broker(
        "pull bad expression",
        pull(0).ext("expressionType", "SQL92").ext("subscription", "a >"),
        Body::Records,
    )?;
    run.broker("pull beyond the end", pull(1_000), Body::Records)?;
    run.broker("pull before the start", pull(-1), Body::Records)?;
    run.broker("pull an empty queue", Client::pull_request("PULLER", "T", 3, 0, 32), Body::Records)?;
    run.broker("pull an empty queue beyond", Client::pull_request("PULLER", "T", 3, 5, 32), Body::Records)?;
    run.broker("pull no queue", Client::pull_request("PULLER", "T", 99, 0, 32), Body::Records)?;
    run.broker("pull no topic", Client::pull_request("PULLER", "NONE", 0, 0, 32), Body::Records)?;
    run.broker("pull without heartbeat", pull(0).ext("sysFlag", 0), Body::Records)?;
    let hold = Client::long_pull_request("PULLER", "T", 3, 0, std::time::Duration::from_millis(300));
    run.broker("pull held to its end", hold, Body::Records)?;
    let mut lite = pull(0);
    lite.code = 361;
    run.broker("lite pull", lite, Body::Records)?;
    let found = run.broker.call(pull(0))?;
    let first = Record::decode_all(&found.body)?.remove(0);
    run.broker("view message", Frame::request(33).ext("offset", first.log_offset), Body::Records)?;
    run.broker("view nothing", Frame::request(33).ext("offset", 1_i64 << 40), Body::Records)?;
    Ok(())
}

fn heartbeat(group: &str) -> Frame {
    let body = json!({
        "clientID": "client@1",
        "producerDataSet": [{"groupName": "P"}],
        "consumerDataSet": [{
            "groupName": group, "consumeType": "CONSUME_PASSIVELY", "messageModel": "CLUSTERING",
            "consumeFromWhere": "CONSUME_FROM_LAST_OFFSET", "unitMode": false,
            "subscriptionDataSet": [{
                "classFilterMode": false, "topic": "T", "subString": "a || b", "tagsSet": ["a", "b"], "codeSet": [97, 98],
                "subVersion": 1, "expressionType": "TAG",
            }],
        }],
    });
    Frame::request(code::HEART_BEAT).body(body.to_string())
}

fn groups(run: &mut Run) -> io::Result<()> {
    let group = |code: i32| Frame::request(code).ext("consumerGroup", "G");
    run.broker("consumers of nobody", group(38), Body::Json)?;
    run.broker("connections of nobody", group(203), Body::Json)?;
    run.broker("producers of nobody", Frame::request(204).ext("producerGroup", "NOBODY"), Body::Json)?;
    run.broker("heartbeat", heartbeat("G"), Body::Bytes)?;
    run.broker("heartbeat again", heartbeat("G"), Body::Bytes)?;
    run.broker("heartbeat of garbage", Frame::request(code::HEART_BEAT).body("{"), Body::Bytes)?;
    run.broker("consumers", group(38), Body::Json)?;
    run.broker("connections", group(203), Body::Json)?;
    run.broker("producers", Frame::request(204).ext("producerGroup", "P"), Body::Json)?;
    run.broker("retry topic", Frame::request(351).ext("topic", "%RETRY%G"), Body::Json)?;
    let subscribed = Client::pull_request("G", "T", 0, 0, 1).ext("sysFlag", 0).ext("subVersion", 1);
    run.broker("pull as subscribed", subscribed.clone(), Body::Records)?;
    run.broker("pull a newer subscription", subscribed.ext("subVersion", 2), Body::Records)?;
    let queues = json!([{"brokerName": "broker-a", "queueId": 0, "topic": "T"}, {"brokerName": "broker-a", "queueId": 1, "topic": "T"}]);
    let lock = |code: i32, client: &str| {
        let body = json!({"clientId": client, "consumerGroup": "G", "mqSet": queues, "onlyThisBroker": false});
        Frame::request(code).body(body.to_string())
    };
    run.broker("lock", lock(41, "client@1"), Body::Json)?;
    run.broker("lock again", lock(41, "client@1"), Body::Json)?;
    run.broker("lock what another has", lock(41, "client@2"), Body::Json)?;
    run.broker("unlock", lock(42, "client@1"), Body::Json)?;
    run.broker("lock what is free again", lock(41, "client@2"), Body::Json)?;
    let config = json!({"groupName": "MADE", "retryMaxTimes": 3, "consumeEnable": true});
    run.broker("create group", Frame::request(200).body(config.to_string()), Body::Bytes)?;
    run.broker("group config", Frame::request(352).ext("group", "MADE"), Body::Json)?;
    run.broker("unregister", Frame::request(35).ext("clientID", "client@1").ext("consumerGroup", "G"), Body::Bytes)?;
    run.broker("consumers after unregister", group(38), Body::Json)?;
    Ok(())
}

fn offsets(run: &mut Run) -> io::Result<()> {
    let at = |code: i32, topic: &str, queue_id: i32| Frame::request(code).ext("topic", topic).ext("queueId", queue_id);
    for (topic, queue_id) in [("T", 0), ("T", 3), ("T", 99), ("NONE", 0)] {
        run.broker(&format!("largest offset of {topic} {queue_id}"), at(30, topic, queue_id), Body::Bytes)?;
        run.broker(&format!("smallest offset of {topic} {queue_id}"), at(31, topic, queue_id), Body::Bytes)?;
        for time in [0, i64::MAX / 2] {
            let search = at(29, topic, queue_id).ext("timestamp", time);
            run.broker(&format!("offset of {topic} {queue_id} at {time}"), search, Body::Bytes)?;
        }
    }
    run.broker("time of the first", at(32, "T", 0), Body::Bytes)?;
    run.broker("time of none", at(32, "T", 3), Body::Bytes)?;
    let group = |code: i32, name: &str| at(code, "T", 0).ext("consumerGroup", name);
    run.broker("offset of a new group", group(14, "NEW"), Body::Bytes)?;
    run.broker("offset of a new group, no zero", group(14, "NEW").ext("setZeroIfNotFound", false), Body::Bytes)?;
    run.broker("commit", group(15, "G").ext("commitOffset", 3), Body::Bytes)?;
    run.broker("committed", group(14, "G"), Body::Bytes)?;
    run.broker("commit backwards", group(15, "G").ext("commitOffset", 1), Body::Bytes)?;
    run.broker("committed backwards", group(14, "G"), Body::Bytes)?;
    let elsewhere = at(15, "NONE", 0).ext("consumerGroup", "G").ext("commitOffset", 3);
    run.broker("commit to no topic", elsewhere, Body::Bytes)?;
    Ok(())
}

fn statistics(run: &mut Run) -> io::Result<()> {
    run.broker("topic status", Frame::request(202).ext("topic", "T"), Body::Json)?;
    run.broker("status of no topic", Frame::request(202).ext("topic", "NONE"), Body::Json)?;
    run.broker("consume status", Frame::request(208).ext("consumerGroup", "G"), Body::Json)?;
    run.broker("who consumes", Frame::request(300).ext("topic", "T"), Body::Json)?;
    run.broker("runtime", Frame::request(28), Body::JsonNames)?;
    Ok(())
}

fn name_server_requests(run: &mut Run) -> io::Result<()> {
    let route = |topic: &str| Frame::request(code::GET_ROUTE).ext("topic", topic);
    for topic in ["T", "TBW102", "DefaultCluster", "broker-a", "%RETRY%G", "GOING", "NONE"] {
        run.names(&format!("route of {topic}"), route(topic), Body::Json)?;
    }
    // Keys of the addresses are bare numbers for old clients, and strings for new ones: compared as bytes.
    run.names("route for 4.9.3", route("TBW102").version(399), Body::Bytes)?;
    run.names("route for 4.9.8", route("TBW102").version(409), Body::Bytes)?;
    run.names("route in standard JSON", route("TBW102").version(0).ext("acceptStandardJsonOnly", true), Body::Bytes)?;
    run.names("cluster info", Frame::request(106), Body::Json)?;
    run.names("all topics", Frame::request(206), Body::Json)?;
    run.names("topics of a cluster", Frame::request(224).ext("cluster", "DefaultCluster"), Body::Json)?;
    run.names("topics of no cluster", Frame::request(224).ext("cluster", "NONE"), Body::Json)?;
    run.names("system topics", Frame::request(304), Body::Json)?;
    let key = |code: i32| Frame::request(code).ext("namespace", "N").ext("key", "k");
    run.names("no KV value", key(101), Body::Bytes)?;
    run.names("put KV value", key(100).ext("value", "v"), Body::Bytes)?;
    run.names("KV value", key(101), Body::Bytes)?;
    run.names("KV values", Frame::request(219).ext("namespace", "N"), Body::Json)?;
    run.names("delete KV value", key(102), Body::Bytes)?;
    run.names("no KV value any more", key(101), Body::Bytes)?;
    run.names("no KV namespace", Frame::request(219).ext("namespace", "NONE"), Body::Json)?;
    run.names("name server code of nothing", Frame::request(9_999), Body::Bytes)?;
    run.names("wipe write permission of nobody", Frame::request(205).ext("brokerName", "NONE"), Body::Bytes)?;
    run.names("wipe write permission", Frame::request(205).ext("brokerName", "broker-a"), Body::Bytes)?;
    run.names("route without write permission", route("T"), Body::Json)?;
    run.names("add write permission", Frame::request(327).ext("brokerName", "broker-a"), Body::Bytes)?;
    Ok(())
}
