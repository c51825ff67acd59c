//! What one append costs: `cargo bench --bench append`.
//!
//! Messages go round 16 queues, then round 100,000; 256 bytes of body, two keys, into a ring of 32 MiB; commits are answered at once, so that only the CPU's
//! share is measured. A run is repeated and the fastest counts: the others were disturbed.

use std::net::SocketAddr;

use ringmq::log::{FlushPolicy, HeapTail, Log, LogSettings};
use ringmq_protocol::model::{Now, QueueId};
use ringmq_protocol::record::{KeysToIndex, Marks, RecordDraft};

const APPENDS: u64 = 1_000_000;
const RUNS: usize = 7;

fn main() {
    for queues in [16, 100_000] {
        let mut runs: Vec<_> = (0..RUNS).map(|_| run(queues)).collect();
        runs.sort_by(f64::total_cmp);
        let (fastest, median) = (runs[0], runs[RUNS / 2]);
        eprintln!(
            "append, 256 B, 2 keys, {queues} queues: {fastest:.0} ns fastest, {median:.0} ns median of {RUNS} runs of {APPENDS}"
        );
    }
}

/// Nanoseconds an append.
fn run(queue_count: u32) -> f64 {
    let settings = LogSettings { flush: FlushPolicy::Sync, ..LogSettings::default() };
    let mut log = Log::create(settings, Box::new(HeapTail::new(32 * 1024 * 1024)));
    settle(&mut log);
    let queues: Vec<_> = (0..queue_count).map(|id| log.queue("benchmark", QueueId(id))).collect();
    let body = [7u8; 256];
    let host = SocketAddr::from(([127, 0, 0, 1], 10911));
    let keys: Vec<_> = (0..1000).map(|key| format!("7F00000100002A139A5573D6A3C0{key:04}")).collect();
    #[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
    let begin = std::time::Instant::now();
    for number in 0..APPENDS {
        let nth = usize::try_from(number).expect("small");
        let unique = &keys[nth % keys.len()];
        let draft = RecordDraft {
            topic: "benchmark",
            queue_id: QueueId(u32::try_from(number % u64::from(queue_count)).expect("small")),
            flag: 0,
            sys_flag: 0,
            born_timestamp: 1_700_000_000_000,
            born_host: host,
            store_host: host,
            store_timestamp: 1_700_000_000_000,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body: &body,
            properties: b"UNIQ_KEY\x017F00000100002A139A5573D6A3C00000\x02KEYS\x01order-4711\x02TAGS\x01TagA\x02",
            marks: Marks {
                keys: KeysToIndex { unique: Some(unique), keys: Some("order-4711") },
                tag: Some("TagA"),
                ..Marks::default()
            },
        };
        log.append(queues[nth % queues.len()], &draft).expect("there is room");
        if number % 64 == 63 {
            settle(&mut log);
        }
    }
    begin.elapsed().as_secs_f64() * 1e9 / APPENDS as f64
}

/// Answers all that the log asks of the disk.
fn settle(log: &mut Log) {
    while let Some(io) = log.poll_background(Now::default()) {
        log.handle_io(io.id, Ok(()));
    }
    while let Some(commit) = log.poll_commit() {
        log.handle_io(commit.id, Ok(()));
    }
    log.queues_advanced();
}
