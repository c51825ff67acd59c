//! What one send costs from frame to reply: `cargo bench --bench send`.
//!
//! The frame is that of a Java client: 256 bytes of body, SEND_MESSAGE_V2. It goes through header, request, broker and log into a ring of
//! 32 MiB, and its reply is encoded; sockets and disk have no part, so that only the CPU's share is measured. A run is repeated and the
//! fastest counts: the others were disturbed.

use std::net::SocketAddr;

use bytes::BytesMut;
use ringmq::broker::settings::BrokerSettings;
use ringmq::broker::{Broker, Output, Tables};
use ringmq::control::message::ToShard;
use ringmq::log::{FlushPolicy, HeapTail, Log, LogSettings};
use ringmq::replication::ReplicaSettings;
use ringmq_protocol::frame::{Encoding, split};
use ringmq_protocol::header::Header;
use ringmq_protocol::model::{BrokerName, ConnectionId, MonoNs, Now, ShardId, UnixMs};
use ringmq_protocol::reply::{ExtValue, encode_request};
use ringmq_protocol::request::SendRequest;

const SENDS: u32 = 500_000;
const RUNS: usize = 9;
/// Sends of one turn of a connection.
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
        report(&format!("{name} send, frame to reply"), || world.send(frame));
    }
}

/// Prints nanoseconds a call.
fn report(name: &str, mut call: impl FnMut()) {
    let mut runs: Vec<f64> = (0..RUNS)
        .map(|_| {
            #[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
            let begin = std::time::Instant::now();
            (0..SENDS).for_each(|_| call());
            begin.elapsed().as_secs_f64() * 1e9 / f64::from(SENDS)
        })
        .collect();
    runs.sort_by(f64::total_cmp);
    eprintln!("{name}: {:.0} ns fastest, {:.0} ns median of {RUNS} runs of {SENDS}", runs[0], runs[RUNS / 2]);
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
    let ext = ext.map(|(name, value)| (name, ExtValue::Str(value)));
    let mut frame = BytesMut::new();
    encode_request(encoding, 310, 1_000_000_007, false, &ext, &[7; 256], &mut frame);
    frame
}

/// A broker whose disk answers at once.
struct World {
    broker: Broker,
    out: Output,
    sent: u32,
}

impl World {
    fn new() -> World {
        let settings = BrokerSettings {
            shard: ShardId(0),
            cluster: "DefaultCluster".to_owned(),
            name: BrokerName::from("broker-a"),
            address: SocketAddr::from(([127, 0, 0, 1], 10911)),
            region: "DefaultRegion".to_owned(),
            trace_on: true,
            auto_create_topic: true,
            auto_create_group: true,
            default_topic_queues: 8,
            permission: 6,
            cluster_topic: true,
            broker_topic: true,
            trace_topic: false,
            trace_topic_name: "RMQ_SYS_TRACE_TOPIC".to_owned(),
            message_body_bytes_max: 4096,
            long_polling: true,
            flush_wait_ms: 5_000,
            replica: ReplicaSettings::default(),
            config_text: String::new(),
        };
        let log = LogSettings { flush: FlushPolicy::Sync, ..LogSettings::default() };
        let log = Log::create(log, Box::new(HeapTail::new(32 * 1024 * 1024)));
        let mut world =
            World { broker: Broker::new(settings, log, Tables::default()), out: Output::default(), sent: 0 };
        world.broker.handle_start(NOW, &mut world.out);
        world.broker.handle_connected(NOW, CONNECTION, SocketAddr::from(([127, 0, 0, 1], 40_000)));
        world.settle();
        let create = frame(Encoding::Json);
        world.send(&create);
        world.settle();
        for ticket in 0..8 {
            world.broker.handle_control(NOW, ToShard::Registered { ticket }, &mut world.out);
        }
        world.settle();
        world
    }

    fn send(&mut self, frame: &[u8]) {
        let raw = split(frame).expect("a frame").expect("whole");
        self.broker.handle_frame(NOW, CONNECTION, &raw, &mut self.out).expect("it is read");
        self.sent += 1;
        if self.sent.is_multiple_of(BURST) {
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
            if let ringmq::broker::Effect::Persist(table, _) = effect {
                self.broker.handle_persisted(NOW, table, Ok(()), &mut self.out);
            }
        }
        while let Some(connection) = self.out.outbox.next_touched() {
            std::hint::black_box(self.out.outbox.take(connection));
        }
    }
}
