//! A name server and broker for tests: one thread that answers as it is told.
#![expect(clippy::disallowed_methods, reason = "a test has sockets and threads")]

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use bytes::{Buf as _, BytesMut};
use ringmq_protocol::code::{RequestCode, ResponseCode};
use ringmq_protocol::frame::{self, Encoding};
use ringmq_protocol::header::Header;
use ringmq_protocol::reply::{ExtValue, Reply, encode_reply};

use crate::wire::Cluster;

/// A response: its code, a field if there is one, its body.
pub(crate) type Answer = (ResponseCode, Option<(&'static str, &'static str)>, String);

/// Requests as they came: the code's name and the fields, `GetMaxOffset queueId=0 topic=T`.
pub(crate) type Seen = Arc<Mutex<Vec<String>>>;

/// A cluster of one broker, `broker-a`, with two queues of topic `T`, and of topic `new` once it was sent to. Requests that `broker`
/// has no answer for get code 3, as from brokers that do not know them.
pub(crate) fn cluster(broker: fn(RequestCode, &Header<'_>) -> Option<Answer>) -> (Cluster, Seen) {
    let (address, seen) = listen(broker, name_server);
    (Cluster::new(&address).expect("an address"), seen)
}

/// The address of something that is no name server unless `broker` is one.
pub(crate) fn broker(broker: fn(RequestCode, &Header<'_>) -> Option<Answer>) -> (String, Seen) {
    listen(broker, |_, _, _, _| None)
}

/// Answers as what is asked first does, or else the second, which knows its own address, and whether `new` was sent to.
fn listen(
    broker: fn(RequestCode, &Header<'_>) -> Option<Answer>,
    name_server: fn(RequestCode, &Header<'_>, &str, bool) -> Option<Answer>,
) -> (String, Seen) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    let address = listener.local_addr().expect("it is bound").to_string();
    let seen = Seen::default();
    let (requests, own) = (Arc::clone(&seen), address.clone());
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            serve(stream, |code, header| {
                let mut fields: Vec<String> =
                    header.ext.iter().map(|(name, value)| format!(" {name}={value}")).collect();
                fields.sort();
                let mut requests = requests.lock().expect("nobody panics");
                let is_sent_to = requests.iter().any(|request| request.starts_with("SendMessageV2"));
                requests.push(format!("{code:?}{}", fields.concat()));
                broker(code, header).or_else(|| name_server(code, header, &own, is_sent_to)).unwrap_or((
                    ResponseCode::RequestCodeNotSupported,
                    None,
                    String::new(),
                ))
            });
        }
    });
    (address, seen)
}

pub(crate) fn success(body: &str) -> Option<Answer> {
    Some((ResponseCode::Success, None, body.to_owned()))
}

pub(crate) fn refusal(code: ResponseCode) -> Option<Answer> {
    Some((code, None, String::new()))
}

fn name_server(code: RequestCode, header: &Header<'_>, own: &str, is_sent_to: bool) -> Option<Answer> {
    let brokers = format!(r#"{{"brokerAddrs":{{"0":"{own}"}},"brokerName":"broker-a","cluster":"C"}}"#);
    match code {
        RequestCode::GetBrokerClusterInfo => success(&format!(
            r#"{{"brokerAddrTable":{{"broker-a":{brokers}}},"clusterAddrTable":{{"C":["broker-a"]}}}}"#
        )),
        RequestCode::GetRouteinfoByTopic
            if header
                .ext
                .get("topic")
                .is_some_and(|topic| ["T", "TBW102"].contains(&topic) || topic == "new" && is_sent_to) =>
        {
            let queues = r#"{"brokerName":"broker-a","perm":6,"readQueueNums":2,"topicSysFlag":0,"writeQueueNums":2}"#;
            success(&format!(r#"{{"brokerDatas":[{brokers}],"filterServerTable":{{}},"queueDatas":[{queues}]}}"#))
        }
        RequestCode::GetRouteinfoByTopic => refusal(ResponseCode::TopicNotExist),
        _ => None,
    }
}

fn serve(mut stream: TcpStream, mut answer: impl FnMut(RequestCode, &Header<'_>) -> Answer) {
    let (mut received, mut chunk) = (BytesMut::new(), [0; 4096]);
    while let Ok(count @ 1..) = stream.read(&mut chunk) {
        received.extend_from_slice(&chunk[..count]);
        while let Some(request) = frame::split(&received).expect("ours are frames") {
            let header = Header::decode(request.encoding, request.header).expect("ours have headers");
            let code = RequestCode::try_from(header.code).expect("ours have codes");
            let (code, field, body) = answer(code, &header);
            let ext: Vec<_> = field.iter().map(|(name, value)| (*name, ExtValue::Str(value))).collect();
            let reply = Reply { code, remark: None, ext: &ext, body: body.as_bytes() };
            let mut out = BytesMut::new();
            encode_reply(Encoding::Json, header.opaque, &reply, &mut out);
            let size = request.size;
            received.advance(size);
            if stream.write_all(&out).is_err() {
                return;
            }
        }
    }
}
