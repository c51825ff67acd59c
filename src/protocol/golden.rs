//! Frames of stock clients, tools and brokers (`tests/golden`) through every decoder that would meet them, and what stock
//! servers answered, through our encoders: byte for byte the same.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::BytesMut;

use super::body::{
    ClusterInfo, ConsumeStats, ConsumeType, HeartbeatData, LockRequest, MessageModel, RegisterBody,
    SubscriptionGroupConfig, TopicConfig, TopicList, TopicRouteData, TopicStats, consumer_list, decode_key_values,
    locked_queues,
};
use super::code::{Endpoint, Language, RequestCode, ResponseCode};
use super::frame::{Encoding, RawFrame, split};
use super::header::Header;
use super::json::JsonForm;
use super::message::{MessageId, Properties, split_batch};
use super::reply::{SendReplyFields, encode_send_reply};
use super::request::*;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden")
}

#[expect(clippy::disallowed_methods, reason = "golden frames are files")]
fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every golden file by `folder/name`, in order.
fn files() -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(folder()).expect("the golden folder is there") {
        let sender = entry.expect("an entry").path();
        let Ok(frames) = std::fs::read_dir(&sender) else { continue };
        for frame in frames {
            let path = frame.expect("an entry").path();
            let name = path.strip_prefix(folder()).expect("a path below it").to_string_lossy().into_owned();
            files.insert(name, read(&path));
        }
    }
    assert!(files.len() > 150, "the golden frames are missing: {} found", files.len());
    files
}

fn frame(bytes: &[u8]) -> RawFrame<'_> {
    let frame = split(bytes).expect("a frame").expect("a whole frame");
    assert_eq!(frame.size, bytes.len());
    frame
}

fn with<R>(name: &str, check: impl FnOnce(&Header<'_>, &[u8]) -> R) -> R {
    let bytes = read(&folder().join(name));
    let frame = frame(&bytes);
    check(&Header::decode(frame.encoding, frame.header).expect("a header"), frame.body)
}

/// What a name says: kind, code of the request, code of the response.
fn facts(name: &str) -> (&str, i32, Option<i32>) {
    let stem = name.rsplit('/').next().unwrap_or_default().trim_end_matches(".bin");
    let stem = stem.strip_prefix("from-server").map_or(stem, |rest| rest.trim_start_matches('-'));
    let mut words = stem.split('-');
    let first = words.next().unwrap_or_default();
    let number = |word: Option<&str>| word.and_then(|word| word.parse::<i32>().ok());
    match first {
        "request" | "response" => (first, number(words.next()).expect("a code"), number(words.next())),
        code => ("from-server", code.parse().expect("a code"), None),
    }
}

/// Sends a request through the decoder of its code, as broker and name server do.
fn parse(code: RequestCode, header: &Header<'_>, body: &[u8]) -> Result<(), BadRequest> {
    use RequestCode as Code;
    match code.row().endpoint {
        Endpoint::Broker(_) => match Request::decode(code, header, body)? {
            Request::Send(send) => assert!(send.queue_id.is_some() && send.born_timestamp.0 > 1_700_000_000_000),
            Request::Pull(pull) => assert!(pull.messages_max > 0),
            Request::LockQueues(lock) | Request::UnlockQueues(lock) => assert!(!lock.queues.is_empty()),
            _ => {}
        },
        _ => match code {
            Code::RegisterBroker => RegisterBrokerRequest::parse(header, body).map(|_| ())?,
            Code::GetRouteinfoByTopic => RouteRequest::parse(header).map(|_| ())?,
            Code::DeleteTopicInNamesrv => TopicRequest::parse(header).map(|_| ())?,
            Code::GetBrokerClusterInfo | Code::GetAllTopicListFromNameserver | Code::NotifyConsumerIdsChanged => {}
            unexpected => panic!("no decoder is tried on {}", unexpected.row().name),
        },
    }
    Ok(())
}

#[test]
fn every_frame_is_understood() {
    for (name, bytes) in files() {
        let frame = frame(&bytes);
        let binary = name.contains("-binary.bin");
        assert_eq!(frame.encoding == Encoding::Binary, binary, "{name}");
        let header = Header::decode(frame.encoding, frame.header).unwrap_or_else(|error| panic!("{name}: {error}"));
        let (kind, code, result) = facts(&name);
        assert_eq!(header.is_response(), kind == "response", "{name}");
        if kind == "response" {
            assert_eq!(Some(header.code), result, "{name}");
            ResponseCode::try_from(header.code).unwrap_or_else(|error| panic!("{name}: {error}"));
            continue;
        }
        assert_eq!(header.code, code, "{name}");
        let code = RequestCode::try_from(code).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(kind == "from-server", code.row().endpoint == Endpoint::Client, "{name}");
        parse(code, &header, frame.body).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[test]
fn what_stock_servers_answer_is_what_we_would_write() {
    let same = |name: &str, body: &[u8], written: Vec<u8>| {
        assert_eq!(String::from_utf8_lossy(&written), String::from_utf8_lossy(body), "{name}");
    };
    for (name, bytes) in files() {
        let frame = frame(&bytes);
        let ("response", code, Some(0)) = facts(&name) else { continue };
        match RequestCode::try_from(code).expect("a known code") {
            RequestCode::GetRouteinfoByTopic => {
                let route = TopicRouteData::decode(frame.body).expect("a route");
                let standard = frame.body.windows(4).any(|bytes| bytes == b"\"0\":");
                let form = if standard { JsonForm::Standard } else { JsonForm::Fastjson };
                same(&name, frame.body, route.encode(form));
            }
            RequestCode::GetBrokerClusterInfo => {
                same(&name, frame.body, ClusterInfo::decode(frame.body).expect("a cluster").encode());
            }
            RequestCode::GetTopicConfig => {
                same(&name, frame.body, TopicConfig::decode(frame.body).expect("a topic").encode());
            }
            RequestCode::GetAllTopicListFromNameserver => {
                let list = TopicList::decode(frame.body).expect("a list");
                assert!(list.topics.len() > 20 && TopicList::decode(&list.encode()) == Ok(list), "{name}");
            }
            RequestCode::GetTopicStatsInfo => {
                let stats = TopicStats::decode(frame.body).expect("stats");
                assert_eq!(stats.offsets.values().map(|offsets| offsets.max_offset).sum::<i64>(), 100, "{name}");
                assert_eq!(TopicStats::decode(&stats.encode()), Ok(stats), "{name}");
            }
            RequestCode::GetConsumeStats => {
                let stats = ConsumeStats::decode(frame.body).expect("stats");
                assert_eq!(stats.offsets.len(), 4, "{name}");
                same(&name, frame.body, stats.encode());
            }
            RequestCode::SendMessage | RequestCode::SendMessageV2 => check_send_reply(&name, &frame),
            _ => {}
        }
    }
}

/// A send's reply has Java's own order of fields, so it too must come out byte for byte.
fn check_send_reply(name: &str, frame: &RawFrame<'_>) {
    let header = Header::decode(frame.encoding, frame.header).expect("a header");
    let message_id = header.ext.get("msgId").expect("an id");
    let id = MessageId::decode(message_id).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(id.encode().as_str(), message_id, "{name}");
    let fields = SendReplyFields {
        code: ResponseCode::Success,
        message_id,
        queue_id: header.ext.number("queueId").expect("a queue"),
        queue_offset: header.ext.number("queueOffset").expect("an offset"),
        transaction_id: header.ext.get("transactionId"),
        recall_handle: None,
        batch_id: None,
        region: header.ext.get("MSG_REGION").expect("a region"),
        trace: header.ext.get("TRACE_ON") == Some("true"),
        remark: None,
    };
    let mut out = BytesMut::new();
    encode_send_reply(Encoding::Json, header.opaque, &fields, &mut out);
    let written = self::frame(&out);
    assert_eq!(std::str::from_utf8(written.header), std::str::from_utf8(frame.header), "{name}");
}

#[test]
fn a_java_send_says_what_its_producer_said() {
    for name in ["java-5.3.3/request-310.bin", "java-4.9.8/request-310.bin", "java-5.3.3-binary/request-310-binary.bin"]
    {
        with(name, |header, body| {
            let send = SendRequest::parse(header, body).expect("a send");
            assert_eq!((header.language, send.default_topic, send.default_topic_queues), (Language::Java, "TBW102", 4));
            assert!(body.starts_with(b"body of message"), "{name}");
            let properties = Properties::new(send.properties.as_bytes());
            assert_eq!((properties.tag(), properties.get("text")), (Some("TagA"), Some("Grüße 消息 0")), "{name}");
            assert_eq!(properties.unique_key().map(str::len), Some(56), "{name}");
            assert!(!send.batch, "{name}");
        });
    }
}

#[test]
fn batches_of_all_clients_are_split() {
    for name in ["java-5.3.3/request-320.bin", "java-4.9.8/request-320.bin", "go-2.1.2/request-320.bin"] {
        with(name, |header, body| {
            let send = SendRequest::parse(header, body).expect("a send");
            assert!(send.batch, "{name}");
            let messages: Vec<_> = split_batch(send.body).collect::<Result<_, _>>().expect("a batch");
            assert!(messages.len() > 1, "{name}: {}", messages.len());
            for message in messages {
                let properties = Properties::new(message.properties);
                // The Go client gives its batched messages no key of its own.
                assert_eq!(properties.unique_key().is_some(), header.language == Language::Java, "{name}");
                assert!(properties.tag().is_some_and(|tag| tag.starts_with("Tag")), "{name}");
                assert!(std::str::from_utf8(message.body).is_ok_and(|body| body.contains("body")), "{name}");
            }
        });
    }
}

#[test]
fn heartbeats_name_their_groups() {
    with("go-2.1.2/request-34.bin", |header, body| {
        let heartbeat = HeartbeatData::decode(body).expect("a heartbeat");
        assert_eq!(header.language, Language::Go);
        let consumer = &heartbeat.consumers[0];
        assert_eq!((consumer.consume_type, consumer.message_model), (ConsumeType::Passively, MessageModel::Clustering));
        assert_eq!(consumer.subscriptions.len(), 2);
        assert!(consumer.subscriptions[0].is_everything());
        assert!(consumer.subscriptions[0].version > 1_795_394_413_007_571_811);
    });
    with("python-0.4.4/request-34.bin", |header, body| {
        let heartbeat = HeartbeatData::decode(body).expect("a heartbeat");
        assert_eq!((header.language, header.remark()), (Language::Cpp, Some("")));
        assert_eq!((heartbeat.producers.len(), heartbeat.consumers.len()), (1, 0));
    });
}

#[test]
fn an_apache_broker_registers() {
    with("broker-5.3.3/request-103.bin", |header, body| {
        let request = RegisterBrokerRequest::parse(header, body).expect("a registration, its checksum right");
        let identity = &request.identity;
        assert_eq!((identity.cluster, identity.broker_name, identity.broker_id.0), ("DefaultCluster", "broker-a", 0));
        let topics = &request.body.table.topics;
        assert!(topics.contains_key("TBW102") && topics.contains_key("DefaultCluster"), "{topics:?}");
        assert_eq!(RegisterBody::decode(&request.body.encode()).as_ref(), Ok(&request.body));
    });
}

#[test]
fn lists_come_out_as_they_came_in() {
    with("java-5.3.3/response-38-0.bin", |_, body| {
        assert_eq!(consumer_list(["192.0.2.2@stock-2679-5@STREAM"]), body);
    });
    with("java-5.3.3/request-41.bin", |_, body| {
        let request = LockRequest::decode(body).expect("a lock");
        let reply = String::from_utf8(locked_queues(&request.queues)).expect("JSON is text");
        assert!(reply.starts_with(r#"{"lockOKMQSet":[{"brokerName":"broker-a","queueId":"#), "{reply}");
    });
    with("mqadmin-5.3.3/request-200.bin", |_, body| {
        assert_eq!(SubscriptionGroupConfig::decode(body).expect("a group").encode(), body);
    });
}

#[test]
fn our_runtime_map_has_every_key_of_apache_s() {
    with("mqadmin-5.3.3/response-28-0.bin", |_, body| {
        let apache = decode_key_values(body).expect("a map");
        let ours = decode_key_values(&super::body::RuntimeInfo::new().encode()).expect("a map");
        // One of a path of the store and one a delay level: the broker knows them, not the protocol.
        let of_the_broker =
            |key: &str| key.starts_with("commitLogDiskRatio_") || key.starts_with("scheduleMessageOffset_");
        let missing: Vec<_> = apache.keys().filter(|key| !ours.contains_key(*key) && !of_the_broker(key)).collect();
        assert!(missing.is_empty(), "{missing:?}");
    });
}

/// Bytes changed, cut out, doubled and swapped between frames, from a seed; what any decoder says is right, a panic is not.
#[test]
fn damaged_frames_are_refused_or_read() {
    let files: Vec<_> = files().into_values().filter(|bytes| bytes.len() < 4_000).collect();
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 33).expect("31 bits") % below.max(1)
    };
    let mut decoded = 0;
    for _ in 0..20_000 {
        let mut bytes = files[random(files.len())].clone();
        for _ in 0..=random(3) {
            // The prefix is left alone three times of four: it has tests of its own, and hides what lies behind it.
            let start = if random(4) == 0 { 0 } else { 8 };
            let at = start + random(bytes.len().saturating_sub(start));
            match random(4) {
                0 => bytes[at] = u8::try_from(random(256)).expect("a byte"),
                1 => bytes[at] = b"{}[]\",:\\\0-9u/*"[random(14)],
                2 => bytes[at..].rotate_left(1),
                _ => {
                    let other = &files[random(files.len())];
                    let from = random(other.len());
                    let count = random(16).min(other.len() - from).min(bytes.len() - at);
                    bytes[at..at + count].copy_from_slice(&other[from..from + count]);
                }
            }
        }
        let Ok(Some(frame)) = split(&bytes) else { continue };
        let Ok(header) = Header::decode(frame.encoding, frame.header) else { continue };
        decoded += 1;
        if let (false, Ok(code)) = (header.is_response(), RequestCode::try_from(header.code)) {
            let _ = std::hint::black_box(parse_damaged(code, &header, frame.body));
        }
        let _ = (HeartbeatData::decode(frame.body), RegisterBody::decode(frame.body), LockRequest::decode(frame.body));
        let _ = (TopicRouteData::decode(frame.body), ClusterInfo::decode(frame.body), TopicStats::decode(frame.body));
        let _ = (split_batch(frame.body).count(), Properties::new(frame.body).iter().count());
    }
    assert!(decoded > 5_000, "only {decoded} headers were read: the damage hides the decoders");
}

/// Decodes a request without the expectations that only stock frames meet.
fn parse_damaged(code: RequestCode, header: &Header<'_>, body: &[u8]) -> Result<(), BadRequest> {
    match code {
        RequestCode::RegisterBroker => RegisterBrokerRequest::parse(header, body).map(|_| ()),
        _ => Request::decode(code, header, body).map(|_| ()),
    }
}
