//! Frames and headers of any bytes; what was decoded says the same after another turn.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use ringmq_protocol::frame::split;
use ringmq_protocol::header::Header;
use ringmq_protocol::reply::{ExtValue, encode_request};

fuzz_target!(|bytes: &[u8]| {
    let Ok(Some(frame)) = split(bytes) else { return };
    let Ok(header) = Header::decode(frame.encoding, frame.header) else { return };
    let pairs: Vec<_> = header.ext.iter().map(|(name, value)| (name, ExtValue::Str(value))).collect();
    // The binary form has 16 bits for the length of a name, and drops empty values.
    if pairs.iter().any(|(name, value)| name.len() > 1000 || *value == ExtValue::Str("")) {
        return;
    }
    let mut out = BytesMut::new();
    encode_request(frame.encoding, header.code, header.opaque, header.is_oneway(), &pairs, frame.body, &mut out);
    let again = split(&out).expect("a frame of ours").expect("a whole one");
    assert_eq!(again.body, frame.body);
    let again = Header::decode(again.encoding, again.header).expect("a header of ours");
    assert_eq!((again.opaque, again.is_oneway()), (header.opaque, header.is_oneway()));
    assert!(again.ext.iter().eq(header.ext.iter()));
});
