//! A broker's registration in both forms.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmq_protocol::body::RegisterBody;

fuzz_target!(|bytes: &[u8]| {
    let _ = RegisterBody::decode_compressed(bytes);
    if let Ok(body) = RegisterBody::decode(bytes) {
        assert_eq!(RegisterBody::decode(&body.encode()).as_ref(), Ok(&body));
    }
});
