//! One record of any bytes: what a start finds on the disk, what a master sends, what a tool reads.
//!
//! A fuzzer cannot guess a CRC, so the shape is asked for first; a record whose CRCs are right has that shape too.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmq_protocol::model::LogOffset;
use ringmq_protocol::record::{Check, KeysToIndex, Marks, RecordView, check_lengths, claims_place, peek_size, peek_store_time};

fuzz_target!(|bytes: &[u8]| {
    let shape = RecordView::decode(bytes, None, Check::Shape);
    for check in [Check::Crc, Check::CrcRequired, Check::Once] {
        if RecordView::decode(bytes, None, check).is_ok() {
            assert!(shape.is_ok());
        }
    }
    let _ = peek_store_time(bytes, LogOffset(0));
    let Ok(view) = shape else { return };
    assert_eq!(peek_size(bytes), Ok(view.size));
    assert_eq!(check_lengths(bytes, view.size), Ok(()));
    assert!(claims_place(bytes, view.log_offset));
    assert_eq!(peek_store_time(bytes, view.log_offset), Some(view.store_timestamp));
    // What is read of it does not depend on what lies behind it.
    let whole = &bytes[..view.size as usize];
    let alone = RecordView::decode(whole, Some(view.log_offset), Check::Shape).expect("it was decoded before");
    assert_eq!((alone.topic, alone.body, alone.properties), (view.topic, view.body, view.properties));
    let _ = (Marks::of(view.properties), KeysToIndex::of(view.properties).iter().count());
});
