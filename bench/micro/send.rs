//! What a send, and each other hot request, costs from frame to reply: `cargo bench --bench send`.
//!
//! The frames are those of a Java client; the send is SEND_MESSAGE_V2 with 256 bytes of body. It goes through header, request, broker and
//! log into a ring of 32 MiB, and its reply is encoded; sockets and disk have no part, so that only the CPU's share is measured. A run is
//! repeated and the fastest counts: the others were disturbed.
//!
//! `cargo bench --bench send -- commit` takes only the rows that have the word in their names, and 10,000 calls of each: for a tool that
//! counts instructions.

use std::net::SocketAddr;

use bytes::BytesMut;
use ringmq::broker::life::Life;
use ringmq::broker::settings::BrokerSettings;
use ringmq::broker::{Broker, Effect, Output, Tables};
use ringmq::config::{NodeConfig, NodeKind};
use ringmq::letter::{ToControl, ToShard};
use ringmq::log::{FlushPolicy, HeapTail, Log, LogSettings};
use ringmq_protocol::frame::{Encoding, split};
use ringmq_protocol::header::Header;
use ringmq_protocol::model::{ConnectionId, MonoNs, Now, ShardId, UnixMs};
use ringmq_protocol::reply::{ExtValue, encode_request};
use ringmq_protocol::request::SendRequest;

const CALLS: u32 = 500_000;
const RUNS: usize = 9;
/// Calls of a row that is asked for by name.
const CALLS_COUNTED: u32 = 10_000;
/// Requests of one turn of a connection.
const BURST: u32 = 64;
const NOW: Now = Now { unix: UnixMs(1_700_000_000_000), mono: MonoNs(1_000_000_000) };
const CONNECTION: ConnectionId = ConnectionId(1);

fn main() {
    for (name, encoding) in [("JSON", Encoding::Json), ("binary", Encoding::Binary)] {
        let frame = frame(encoding);
        let frame = &frame[..];
        report(&format!("{name} header"), || {
            let raw = split(frame).expect("a frame").expect("whole");
            let header = Header::decode(raw.encoding, raw.header).expect("a header");
            assert_eq!(std::hint::black_box(&header).code, 310);
        });
        report(&format!("{name} header and request"), || {
            let raw = split(frame).expect("a frame").expect("whole");
            let header = Header::decode(raw.encoding, raw.header).expect("a header");
            let request = SendRequest::parse(&header, raw.body).expect("a send");
            assert_eq!(std::hint::black_box(&request).topic, "benchmark");
        });
        let mut world = World::new();
        report(&format!("{name} send, frame to reply"), || world.answer(frame));
        for (request, code, ext, body) in requests() {
            let frame = request_frame(encoding, code, &ext, body.as_bytes());
            report(&format!("{name} {request}, frame to reply"), || world.answer(&frame));
        }
    }
}

type Field = (&'static str, &'static str);

/// What consumers ask most besides: name, code, fields and body. The queue of the pull is one that the sends do not fill: it has no message.
fn requests() -> [(&'static str, i32, Vec<Field>, &'static str); 3] {
    let pull = vec![
        ("consumerGroup", "benchmark_consumer"),
        ("topic", "benchmark"),
        ("queueId", "1"),
        ("queueOffset", "0"),
        ("maxMsgNums", "32"),
        ("sysFlag", "4"),
        ("commitOffset", "0"),
        ("suspendTimeoutMillis", "15000"),
        ("subscription", "*"),
        ("subVersion", "1700000000000"),
        ("expressionType", "TAG"),
    ];
    let commit = vec![
        ("consumerGroup", "benchmark_consumer"),
        ("topic", "benchmark"),
        ("queueId", "1"),
        ("commitOffset", "1234567"),
    ];
    let beat = r#"{"clientID":"127.0.0.1@1#2","consumerDataSet":[{"consumeFromWhere":"CONSUME_FROM_LAST_OFFSET","consumeType":"CONSUME_PASSIVELY","groupName":"benchmark_consumer","messageModel":"CLUSTERING","subscriptionDataSet":[{"classFilterMode":false,"codeSet":[],"expressionType":"TAG","subString":"*","subVersion":1700000000000,"tagsSet":[],"topic":"benchmark"}],"unitMode":false}],"heartbeatFingerprint":0,"producerDataSet":[{"groupName":"CLIENT_INNER_PRODUCER"}],"withoutSub":false}"#;
    [("heartbeat", 34, vec![], beat), ("commit of an offset", 15, commit, ""), ("pull of nothing", 11, pull, "")]
}

/// Prints nanoseconds a call.
fn report(name: &str, mut call: impl FnMut()) {
    let wanted = std::env::args().skip(1).find(|word| !word.starts_with('-'));
    let (runs, calls) = match wanted {
        Some(word) if name.contains(&word) => (1, CALLS_COUNTED),
        Some(_) => return,
        None => (RUNS, CALLS),
    };
    let mut found: Vec<f64> = (0..runs)
        .map(|_| {
            #[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
            let begin = std::time::Instant::now();
            (0..calls).for_each(|_| call());
            begin.elapsed().as_secs_f64() * 1e9 / f64::from(calls)
        })
        .collect();
    found.sort_by(f64::total_cmp);
    eprintln!("{name}: {:.0} ns fastest, {:.0} ns median of {runs} runs of {calls}", found[0], found[runs / 2]);
}

fn frame(encoding: Encoding) -> BytesMut {
    let properties = "UNIQ_KEY\u{1}7F00000100002A139A5573D6A3C00000\u{2}WAIT\u{1}true\u{2}";
    let ext = [
        ("a", "benchmark_producer"),
        ("b", "benchmark"),
        ("c", "TBW102"),
        ("d", "4"),
        ("e", "3"),
        ("f", "0"),
        ("g", "1700000000000"),
        ("h", "0"),
        ("i", properties),
        ("j", "0"),
        ("k", "false"),
        ("m", "false"),
        ("n", "broker-a"),
    ];
    request_frame(encoding, 310, &ext, &[7; 256])
}

fn request_frame(encoding: Encoding, code: i32, ext: &[(&str, &str)], body: &[u8]) -> BytesMut {
    let ext: Vec<_> = ext.iter().map(|(name, value)| (*name, ExtValue::Str(value))).collect();
    let mut frame = BytesMut::new();
    encode_request(encoding, code, 1_000_000_007, false, &ext, body, &mut frame);
    frame
}

/// A broker whose disk answers at once.
struct World {
    broker: Broker,
    out: Output,
    asked: u32,
}

impl World {
    fn new() -> World {
        let address = SocketAddr::from(([127, 0, 0, 1], 10911));
        let config = NodeConfig::defaults(NodeKind::Broker);
        let settings = BrokerSettings::of(&config, ShardId(0), 1, address);
        let log = LogSettings { flush: FlushPolicy::Sync, ..LogSettings::default() };
        let log = Log::create(log, Box::new(HeapTail::new(32 * 1024 * 1024)));
        let mut world = World {
            broker: Broker::new(Life::first(&config), settings, log, Tables::default()),
            out: Output::default(),
            asked: 0,
        };
        world.broker.handle_start(NOW, &mut world.out);
        world.broker.handle_connected(NOW, CONNECTION, SocketAddr::from(([127, 0, 0, 1], 40_000)));
        world.settle();
        let create = frame(Encoding::Json);
        world.answer(&create);
        world.settle();
        world
    }

    fn answer(&mut self, frame: &[u8]) {
        let raw = split(frame).expect("a frame").expect("whole");
        self.broker.handle_frame(NOW, CONNECTION, &raw, &mut self.out).expect("it is read");
        self.asked += 1;
        if self.asked.is_multiple_of(BURST) {
            self.settle();
        }
    }

    /// Answers all that the log asks of the disk, and takes what goes out.
    fn settle(&mut self) {
        while let Some(io) = self.broker.poll_background(NOW) {
            self.broker.handle_io(NOW, io.id, Ok(()), &mut self.out);
        }
        while let Some(commit) = self.broker.poll_commit() {
            self.broker.handle_io(NOW, commit.id, Ok(()), &mut self.out);
        }
        self.broker.handle_turn_end(NOW, &mut self.out);
        for effect in std::mem::take(&mut self.out.effects) {
            match effect {
                Effect::Append(_) => self.broker.handle_appended(NOW, Ok(()), &mut self.out),
                Effect::Control(ToControl::TopicsChanged { ticket, .. }) => {
                    self.broker.handle_control(NOW, ToShard::Registered { ticket }, &mut self.out);
                }
                _ => {}
            }
        }
        while let Some(connection) = self.out.outbox.next_touched() {
            std::hint::black_box(self.out.outbox.take(connection));
        }
    }
}
