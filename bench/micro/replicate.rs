//! What one replicated record costs a slave: `cargo bench --bench replicate`.
//!
//! A master's log is made first: 256 bytes of body, two keys, 16 queues. Then a slave takes it in pieces of 32 KiB (RocketMQ's own batch) and of
//! 1 MiB; commits are answered at once, so that only the CPU's share is measured. A run is repeated and the fastest counts.

use std::net::SocketAddr;

use bytes::BytesMut;
use ringmq::log::{FlushPolicy, HeapTail, Log, LogSettings, Stream};
use ringmq_protocol::model::{LogOffset, Now, QueueId};
use ringmq_protocol::record::{Marks, RecordDraft};

const RECORDS: u64 = 60_000;
const RUNS: usize = 7;

fn main() {
    let bytes = master();
    for piece in [32 * 1024, 1024 * 1024] {
        let mut runs: Vec<_> = (0..RUNS).map(|_| run(&bytes, piece)).collect();
        runs.sort_by(f64::total_cmp);
        let (fastest, median) = (runs[0], runs[RUNS / 2]);
        let rate = bytes.len() as f64 / (fastest * RECORDS as f64) * 1e3;
        eprintln!(
            "append_replicated, 256 B, 2 keys, pieces of {} KiB: {fastest:.0} ns a record fastest ({rate:.0} MB/s), {median:.0} ns median of {RUNS} runs",
            piece / 1024
        );
    }
}

fn log() -> Log {
    let settings = LogSettings { flush: FlushPolicy::Sync, ..LogSettings::default() };
    let mut log = Log::create(settings, Box::new(HeapTail::new(32 * 1024 * 1024)));
    settle(&mut log);
    log
}

/// The bytes of a master's log; it stays below what the ring holds.
fn master() -> Vec<u8> {
    let mut log = log();
    let body = [7_u8; 256];
    let host = SocketAddr::from(([127, 0, 0, 1], 10911));
    for number in 0..RECORDS {
        let queue_id = QueueId(u32::try_from(number % 16).expect("small"));
        let properties =
            format!("UNIQ_KEY\x017F00000100002A139A5573D6A3C{number:05}\x02KEYS\x01order-4711\x02TAGS\x01TagA\x02");
        let draft = RecordDraft {
            topic: "benchmark",
            queue_id,
            flag: 0,
            sys_flag: 0,
            born_timestamp: 1_700_000_000_000,
            born_host: host,
            store_host: host,
            store_timestamp: 1_700_000_000_000,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body: &body,
            properties: properties.as_bytes(),
            marks: Marks::of(properties.as_bytes()),
        };
        let queue = log.queue("benchmark", queue_id);
        log.append(queue, &draft).expect("there is room");
        if number % 64 == 63 {
            settle(&mut log);
        }
    }
    let mut out = BytesMut::new();
    while let Stream::Bytes(_) = log.stream(LogOffset(out.len() as u64), 1 << 20, &mut out) {}
    assert_eq!(out.len() as u64, log.appended().0, "the whole log is in the ring");
    out.to_vec()
}

/// Nanoseconds a record.
fn run(bytes: &[u8], piece: usize) -> f64 {
    let mut log = log();
    #[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
    let begin = std::time::Instant::now();
    let (mut at, mut have) = (0, 0);
    while at < bytes.len() {
        have = (have + piece).min(bytes.len());
        while let taken @ 1.. = log.append_replicated(LogOffset(at as u64), &bytes[at..have]).expect("sound") {
            at += taken;
        }
        settle(&mut log);
    }
    begin.elapsed().as_secs_f64() * 1e9 / RECORDS as f64
}

/// Answers all that the log asks of the disk.
fn settle(log: &mut Log) {
    while let Some(io) = log.poll_background(Now::default()) {
        log.handle_io(io.id, Ok(()));
    }
    while let Some(commit) = log.poll_commit() {
        log.handle_io(commit.id, Ok(()));
    }
}
