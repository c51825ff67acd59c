//! A header that is learned as a template, and another that the template may read: it says what the full reading says, or nothing.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmq_protocol::code::RequestCode;
use ringmq_protocol::frame::{Encoding, RawFrame};
use ringmq_protocol::header::Header;
use ringmq_protocol::request::{Request, SendTemplate};

fuzz_target!(|input: (&[u8], Vec<(u16, u8)>)| {
    let (learned, changes) = input;
    let frame = RawFrame { encoding: Encoding::Json, header: learned, body: b"body", size: 0 };
    let Ok(header) = Header::decode(frame.encoding, learned) else { return };
    let Ok(code) = RequestCode::try_from(header.code) else { return };
    let Ok(Request::Send(send)) = Request::decode(code, &header, frame.body) else { return };
    let Some(mut template) = SendTemplate::of(&frame, &header, &send) else { return };
    let mut other = learned.to_vec();
    for (place, byte) in changes {
        let place = usize::from(place) % other.len();
        other[place] = byte;
        let frame = RawFrame { header: &other, ..frame };
        let Some(read) = template.read(&frame) else { continue };
        let full = Header::decode(frame.encoding, &other).expect("the template has read it");
        assert_eq!(Request::decode(read.code, &full, frame.body), Ok(read.request));
        assert_eq!((full.code, full.opaque, full.language), (read.code.number(), read.opaque, read.language));
        assert_eq!((full.version, full.is_oneway()), (read.version, read.is_oneway));
    }
});
