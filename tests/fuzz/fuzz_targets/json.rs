//! fastjson's dialect from any bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmq_protocol::limits::JSON_NODES_MAX;
use ringmq_protocol::json::parse;

fuzz_target!(|bytes: &[u8]| {
    let _ = parse(bytes, JSON_NODES_MAX);
});
