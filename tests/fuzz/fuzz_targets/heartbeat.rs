//! Heartbeats and locks of any client.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmq_protocol::body::{HeartbeatData, LockRequest, locked_queues};

fuzz_target!(|bytes: &[u8]| {
    let _ = HeartbeatData::decode(bytes);
    if let Ok(request) = LockRequest::decode(bytes) {
        let _ = locked_queues(&request.queues);
    }
});
