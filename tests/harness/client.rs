//! A blocking RocketMQ client of one connection.
use std::collections::BTreeMap;
use std::io::{self, BufReader, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::frame::{Frame, invalid};
use crate::record::{Record, properties_to_text};

/// Request and response codes of the shorthands.
pub mod code {
    pub const SEND_MESSAGE: i32 = 10;
    pub const PULL_MESSAGE: i32 = 11;
    pub const QUERY_MESSAGE: i32 = 12;
    pub const QUERY_CONSUMER_OFFSET: i32 = 14;
    pub const UPDATE_CONSUMER_OFFSET: i32 = 15;
    pub const UPDATE_AND_CREATE_TOPIC: i32 = 17;
    pub const GET_MAX_OFFSET: i32 = 30;
    pub const GET_MIN_OFFSET: i32 = 31;
    pub const VIEW_MESSAGE_BY_ID: i32 = 33;
    pub const HEART_BEAT: i32 = 34;
    pub const UNREGISTER_CLIENT: i32 = 35;
    pub const GET_CONSUMER_LIST_BY_GROUP: i32 = 38;
    pub const GET_ROUTE: i32 = 105;
    pub const DELETE_TOPIC_IN_BROKER: i32 = 215;
    pub const SEND_MESSAGE_V2: i32 = 310;
    pub const SEND_BATCH_MESSAGE: i32 = 320;
    pub const GET_TOPIC_CONFIG: i32 = 351;
    pub const GET_BROKER_HA_STATUS: i32 = 907;

    pub const SUCCESS: i32 = 0;
    pub const SYSTEM_ERROR: i32 = 1;
    pub const SYSTEM_BUSY: i32 = 2;
    pub const REQUEST_CODE_NOT_SUPPORTED: i32 = 3;
    pub const SERVICE_NOT_AVAILABLE: i32 = 14;
    pub const TOPIC_NOT_EXIST: i32 = 17;
    pub const PULL_NOT_FOUND: i32 = 19;
    pub const PULL_RETRY_IMMEDIATELY: i32 = 20;
    pub const QUERY_NOT_FOUND: i32 = 22;
    pub const FLOW_CONTROL: i32 = 215;
}

/// `sysFlag` of a pull: take the subscription from the request; hold the request while there is nothing.
const PULL_SUBSCRIPTION: i32 = 4;
const PULL_SUSPEND: i32 = 2;
/// Longest wait for any answer, unless set otherwise.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Answer to a send that was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// Response code: 0, or 10 to 12 for "stored, but ...".
    pub code: i32,
    /// The broker's message id: address and log offset, 32 hex digits.
    pub msg_id: String,
    /// Queue it went to.
    pub queue_id: i32,
    /// Its offset there; of the first message for a batch.
    pub queue_offset: i64,
}

/// Answer to a pull.
#[derive(Debug, Clone)]
pub struct Pulled {
    /// 0 found, 19 not found, 20 again, 21 offset moved.
    pub code: i32,
    pub next_begin_offset: i64,
    pub min_offset: i64,
    pub max_offset: i64,
    pub records: Vec<Record>,
}

/// One connection. Requests of the server that arrive meanwhile are kept in [`Client::from_server`].
#[derive(Debug)]
pub struct Client {
    stream: BufReader<TcpStream>,
    opaque_next: i32,
    early: BTreeMap<i32, Frame>,
    /// Requests that the server sent (such as 40, consumer ids changed), in order.
    pub from_server: Vec<Frame>,
}

impl Client {
    /// Connects to `HOST:PORT`.
    pub fn connect(address: &str) -> io::Result<Self> {
        let address = address.to_socket_addrs()?.next().ok_or_else(|| invalid("no address"))?;
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        Ok(Self { stream: BufReader::new(stream), opaque_next: 1, early: BTreeMap::new(), from_server: Vec::new() })
    }

    /// Sets the longest wait for an answer. After a timeout in the middle of a frame the connection is of no more use.
    pub fn set_timeout(&mut self, timeout: Duration) -> io::Result<()> {
        self.stream.get_ref().set_read_timeout(Some(timeout))
    }

    /// The socket, for what this client does not do (half-closing, writing garbage).
    pub fn socket(&mut self) -> &mut TcpStream {
        self.stream.get_mut()
    }

    /// Sends a request and waits for its answer. Any response code is `Ok`.
    pub fn call(&mut self, request: Frame) -> io::Result<Frame> {
        let opaque = self.start(request)?;
        self.finish(opaque)
    }

    /// Sends a request without waiting; the opaque is for [`Client::finish`].
    pub fn start(&mut self, mut request: Frame) -> io::Result<i32> {
        request.opaque = self.opaque_next;
        self.opaque_next += 1;
        self.stream.get_mut().write_all(&request.encode())?;
        Ok(request.opaque)
    }

    /// Waits for the answer to a request that was started. Answers to others are kept for their turn.
    pub fn finish(&mut self, opaque: i32) -> io::Result<Frame> {
        loop {
            if let Some(response) = self.early.remove(&opaque) {
                return Ok(response);
            }
            self.read_one()?;
        }
    }

    /// Answers a request of the server, without a body.
    pub fn answer(&mut self, request: &Frame, code: i32) -> io::Result<()> {
        let answer = Frame { opaque: request.opaque, flag: 1, ..Frame::request(code) };
        self.stream.get_mut().write_all(&answer.encode())
    }

    /// Answers that came and were not waited for.
    pub fn unclaimed(&self) -> Vec<&Frame> {
        self.early.values().collect()
    }

    /// Waits for one frame and files it.
    pub fn read_one(&mut self) -> io::Result<()> {
        let frame = Frame::read(&mut self.stream)?;
        if frame.is_response() {
            self.early.insert(frame.opaque, frame);
        } else {
            self.from_server.push(frame);
        }
        Ok(())
    }

    /// Sends one message to a queue of a topic and expects it to be stored.
    pub fn send(&mut self, topic: &str, queue_id: i32, body: &[u8]) -> io::Result<Receipt> {
        self.send_with(topic, queue_id, body, &[])
    }

    /// The same with properties, such as `("TAGS", "a")`.
    pub fn send_with(
        &mut self,
        topic: &str,
        queue_id: i32,
        body: &[u8],
        properties: &[(&str, &str)],
    ) -> io::Result<Receipt> {
        let response = self.call(Self::send_request(topic, queue_id, body, properties))?;
        Self::receipt(&response)
    }

    /// The request of a send (310), to be started or changed.
    pub fn send_request(topic: &str, queue_id: i32, body: &[u8], properties: &[(&str, &str)]) -> Frame {
        Frame::request(code::SEND_MESSAGE_V2)
            .ext("a", "HARNESS_PRODUCER")
            .ext("b", topic)
            .ext("c", "TBW102")
            .ext("d", 4)
            .ext("e", queue_id)
            .ext("f", 0)
            .ext("g", now_ms())
            .ext("h", 0)
            .ext("i", properties_to_text(properties))
            .ext("j", 0)
            .ext("k", false)
            .ext("m", false)
            .body(body)
    }

    /// Reads the answer to a send; an error when it was not stored.
    pub fn receipt(response: &Frame) -> io::Result<Receipt> {
        if ![0, 10, 11, 12].contains(&response.code) {
            return Err(refused("send", response));
        }
        Ok(Receipt {
            code: response.code,
            msg_id: response.ext.get("msgId").cloned().ok_or_else(|| invalid("no msgId"))?,
            queue_id: i32::try_from(response.ext_number("queueId")?).map_err(|_| invalid("queueId"))?,
            queue_offset: response.ext_number("queueOffset")?,
        })
    }

    /// Pulls from a queue, answered at once. Needs no heartbeat: the subscription is in the request.
    pub fn pull(&mut self, group: &str, topic: &str, queue_id: i32, offset: i64, count_max: u32) -> io::Result<Pulled> {
        let response = self.call(Self::pull_request(group, topic, queue_id, offset, count_max))?;
        Self::pulled(&response)
    }

    /// The request of a pull for all tags that is answered at once.
    pub fn pull_request(group: &str, topic: &str, queue_id: i32, offset: i64, count_max: u32) -> Frame {
        Frame::request(code::PULL_MESSAGE)
            .ext("consumerGroup", group)
            .ext("topic", topic)
            .ext("queueId", queue_id)
            .ext("queueOffset", offset)
            .ext("maxMsgNums", count_max)
            .ext("sysFlag", PULL_SUBSCRIPTION)
            .ext("commitOffset", 0)
            .ext("suspendTimeoutMillis", 0)
            .ext("subscription", "*")
            .ext("subVersion", 0)
            .ext("expressionType", "TAG")
    }

    /// The same, held by the broker up to `hold` while there is nothing.
    pub fn long_pull_request(group: &str, topic: &str, queue_id: i32, offset: i64, hold: Duration) -> Frame {
        Self::pull_request(group, topic, queue_id, offset, 32)
            .ext("sysFlag", PULL_SUBSCRIPTION | PULL_SUSPEND)
            .ext("suspendTimeoutMillis", hold.as_millis())
    }

    /// Reads the answer to a pull; an error for codes other than 0, 19, 20 and 21.
    pub fn pulled(response: &Frame) -> io::Result<Pulled> {
        if ![0, 19, 20, 21].contains(&response.code) {
            return Err(refused("pull", response));
        }
        Ok(Pulled {
            code: response.code,
            next_begin_offset: response.ext_number("nextBeginOffset")?,
            min_offset: response.ext_number("minOffset")?,
            max_offset: response.ext_number("maxOffset")?,
            records: if response.code == 0 { Record::decode_all(&response.body)? } else { Vec::new() },
        })
    }

    /// All records of a queue from `offset` to its end.
    pub fn read_queue(&mut self, topic: &str, queue_id: i32, offset: i64) -> io::Result<Vec<Record>> {
        let mut records = Vec::new();
        let mut next = offset;
        loop {
            let pulled = self.pull("HARNESS_READER", topic, queue_id, next, 32)?;
            match pulled.code {
                // A slave whose master is there sends its readers to it from the end of a queue, instead of saying that there is nothing.
                20 if pulled.next_begin_offset == next && pulled.max_offset <= next => return Ok(records),
                0 | 20 => {
                    next = pulled.next_begin_offset;
                    records.extend(pulled.records);
                }
                19 => return Ok(records),
                21 if pulled.max_offset == next => return Ok(records),
                _ => return Err(invalid(format!("offset {next} moved to {}", pulled.next_begin_offset))),
            }
        }
    }

    /// The bytes of a queue's records as they are stored, from the first to the end or to what else the broker answers.
    pub fn read_bytes(&mut self, topic: &str, queue_id: i32) -> io::Result<Vec<u8>> {
        let (mut bytes, mut next) = (Vec::new(), 0);
        loop {
            let response = self.call(Client::pull_request("G", topic, queue_id, next, 32))?;
            if response.code != code::SUCCESS {
                return Ok(bytes);
            }
            next = Client::pulled(&response)?.next_begin_offset;
            bytes.extend_from_slice(&response.body);
        }
    }

    /// Creates a topic with `queues` read and write queues, or changes it.
    pub fn create_topic(&mut self, topic: &str, queues: u32) -> io::Result<()> {
        let request = Frame::request(code::UPDATE_AND_CREATE_TOPIC)
            .ext("topic", topic)
            .ext("defaultTopic", "TBW102")
            .ext("readQueueNums", queues)
            .ext("writeQueueNums", queues)
            .ext("perm", 6)
            .ext("topicFilterType", "SINGLE_TAG")
            .ext("topicSysFlag", 0)
            .ext("order", false);
        self.expect_success("create topic", request).map(drop)
    }

    /// Says that this connection is a consumer of `group` (push, clustering, all tags of `topic`).
    pub fn heartbeat(&mut self, client_id: &str, group: &str, topic: &str) -> io::Result<Frame> {
        let body = json!({
            "clientID": client_id,
            "producerDataSet": [{"groupName": "HARNESS_PRODUCER"}],
            "consumerDataSet": [{
                "groupName": group,
                "consumeType": "CONSUME_PASSIVELY",
                "messageModel": "CLUSTERING",
                "consumeFromWhere": "CONSUME_FROM_FIRST_OFFSET",
                "unitMode": false,
                "subscriptionDataSet": [{
                    "classFilterMode": false, "topic": topic, "subString": "*", "tagsSet": [], "codeSet": [],
                    "subVersion": now_ms(), "expressionType": "TAG",
                }],
            }],
        });
        self.expect_success("heartbeat", Frame::request(code::HEART_BEAT).body(body.to_string()))
    }

    /// Takes it back.
    pub fn unregister(&mut self, client_id: &str, group: &str) -> io::Result<()> {
        let request = Frame::request(code::UNREGISTER_CLIENT).ext("clientID", client_id).ext("consumerGroup", group);
        self.expect_success("unregister", request).map(drop)
    }

    /// Asks a name server for the route of a topic; `None` when there is none (17).
    pub fn route(&mut self, topic: &str) -> io::Result<Option<Value>> {
        let response =
            self.call(Frame::request(code::GET_ROUTE).ext("topic", topic).ext("acceptStandardJsonOnly", true))?;
        match response.code {
            code::SUCCESS => response.json().map(Some),
            code::TOPIC_NOT_EXIST => Ok(None),
            _ => Err(refused("route", &response)),
        }
    }

    /// Offset after the last message of a queue.
    pub fn max_offset(&mut self, topic: &str, queue_id: i32) -> io::Result<i64> {
        let request = Frame::request(code::GET_MAX_OFFSET).ext("topic", topic).ext("queueId", queue_id);
        self.expect_success("max offset", request)?.ext_number("offset")
    }

    /// What the broker says of its replication.
    pub fn ha_status(&mut self) -> io::Result<Value> {
        self.expect_success("the HA status", Frame::request(code::GET_BROKER_HA_STATUS))?.json()
    }

    /// Offset of the first message of a queue.
    pub fn min_offset(&mut self, topic: &str, queue_id: i32) -> io::Result<i64> {
        let request = Frame::request(code::GET_MIN_OFFSET).ext("topic", topic).ext("queueId", queue_id);
        self.expect_success("min offset", request)?.ext_number("offset")
    }

    /// The offset that a group has stored for a queue; `None` when it has none (22).
    pub fn consumer_offset(&mut self, group: &str, topic: &str, queue_id: i32) -> io::Result<Option<i64>> {
        let request = Frame::request(code::QUERY_CONSUMER_OFFSET)
            .ext("consumerGroup", group)
            .ext("topic", topic)
            .ext("queueId", queue_id)
            .ext("setZeroIfNotFound", false);
        let response = self.call(request)?;
        match response.code {
            code::SUCCESS => response.ext_number("offset").map(Some),
            code::QUERY_NOT_FOUND => Ok(None),
            _ => Err(refused("consumer offset", &response)),
        }
    }

    /// Stores a group's offset.
    pub fn commit_offset(&mut self, group: &str, topic: &str, queue_id: i32, offset: i64) -> io::Result<()> {
        let request = Frame::request(code::UPDATE_CONSUMER_OFFSET)
            .ext("consumerGroup", group)
            .ext("topic", topic)
            .ext("queueId", queue_id)
            .ext("commitOffset", offset);
        self.expect_success("commit offset", request).map(drop)
    }

    /// Calls and turns any code but 0 into an error.
    pub fn expect_success(&mut self, what: &str, request: Frame) -> io::Result<Frame> {
        let response = self.call(request)?;
        if response.code == code::SUCCESS { Ok(response) } else { Err(refused(what, &response)) }
    }
}

/// An answer with an error code. Kind `Other`, unlike failures of the connection.
fn refused(what: &str, response: &Frame) -> io::Error {
    let remark = response.remark.as_deref().unwrap_or_default();
    io::Error::other(format!("{what} refused with code {}: {remark}", response.code))
}

fn now_ms() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970").as_millis()
}
