//! A slave's log that is given any bytes in any pieces: it takes whole sound records or nothing, and stays sound.
//!
//! The first byte says how large the pieces are. The rest may hold records whose CRC a fuzzer cannot guess, so a plain log is used too.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmq::log::{FlushPolicy, HeapTail, Log, LogSettings};
use ringmq_protocol::model::{LogOffset, Now};

fuzz_target!(|bytes: &[u8]| {
    let Some((&piece, mut bytes)) = bytes.split_first() else { return };
    let settings = LogSettings {
        segment_bytes: 64 * 1024,
        index_file_bytes: 128 * 1024,
        key_run_entries: 64,
        cache_bytes: 1024 * 1024,
        flush: FlushPolicy::Sync,
        has_record_crc: piece % 2 == 0,
        ..LogSettings::default()
    };
    let mut log = Log::create(settings, Box::new(HeapTail::new(64 * 1024)));
    while let Some(io) = log.poll_background(Now::default()) {
        log.handle_io(io.id, Ok(()));
    }
    let (mut at, mut pending) = (LogOffset(0), Vec::new());
    while !bytes.is_empty() {
        let (here, rest) = bytes.split_at(bytes.len().min(1 + usize::from(piece)));
        (pending, bytes) = ([&pending[..], here].concat(), rest);
        match log.append_replicated(at, &pending) {
            Ok(taken) => {
                pending.drain(..taken);
                at = at.plus(taken as u64);
            }
            Err(_) => pending.clear(),
        }
        log.check_invariants();
    }
});
