//! Replies as Java brokers write them, in all their orders, whole and in pieces.

use super::*;

/// As Apache RocketMQ 5.3.3 answers a send.
const JAVA_REPLY: &str = concat!(
    r#"{"code":0,"extFields":{"queueId":"3","transactionId":"7F","MSG_REGION":"DefaultRegion","#,
    r#""msgId":"7F00000100002A9F00000000000004D2","queueOffset":"17","TRACE_ON":"true"},"#,
    r#""flag":1,"language":"JAVA","opaque":1000000042,"serializeTypeCurrentRPC":"JSON","version":479}"#
);

fn json_frame(header: &str, body: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(4 + header.len() + body.len()).expect("short").to_be_bytes().to_vec();
    frame.extend_from_slice(&u32::try_from(header.len()).expect("short").to_be_bytes());
    frame.extend_from_slice(header.as_bytes());
    frame.extend_from_slice(body);
    frame
}

fn json(header: &str) -> Frame<'_> {
    Frame { header_type: 0, header: header.as_bytes(), body: &[] }
}

#[test]
fn heads_of_all_shapes_are_found() {
    let check = |header: &str, expected: Option<(i32, i32, i32)>| {
        let expected = expected.map(|(code, opaque, flag)| Head { code, opaque, flag });
        let mut scanner = HeadScanner::default();
        assert_eq!(scanner.head(&json(header)).ok(), expected, "first sight of {header}");
        assert_eq!(scanner.head(&json(header)).ok(), expected, "second sight of {header}");
        let mut spoiled = HeadScanner::default();
        spoiled.head(&json(JAVA_REPLY)).expect("a good reply");
        assert_eq!(spoiled.head(&json(header)).ok(), expected, "after a reply of another shape: {header}");
    };
    check(JAVA_REPLY, Some((0, 1_000_000_042, 1)));
    check(r#"{"opaque":5,"flag":1,"code":17}"#, Some((17, 5, 1)));
    check(r#" { "flag" : 1 , "opaque" : -7 , "code" : 2 } "#, Some((2, -7, 1)));
    check(r#"{"code":1,"extFields":{"opaque":"9","flag":"8","code":"7"},"flag":1,"opaque":3}"#, Some((1, 3, 1)));
    check(
        r#"{"extFields":{"a":"}\"{"},"remark":"say \"opaque\":4, twice \\","code":1,"opaque":3,"flag":1}"#,
        Some((1, 3, 1)),
    );
    check(r#"{"code":"0","flag":"1","opaque":"12","list":[1,{"opaque":2}],"nothing":null}"#, Some((0, 12, 1)));
    check(r#"{"code":40,"flag":2,"opaque":2147483647}"#, Some((40, 2_147_483_647, 2)));
    check(r#"{"code":0,"flag":1,"opaque":2147483648}"#, None);
    check(r#"{"code":0,"flag":1}"#, None);
    check(r#"{"code":0,"flag":1,"opaque":1"#, None);
    check(r#"{"code":0,"flag":1,"opaque":1x}"#, None);
    check(r#"{"code":0,"flag":1,"opaque":}"#, None);
    check(r#"{"code":0,"flag":1,"opaque":99999999999999999999999}"#, None);
    check("[]", None);
    check("{}", None);
    check("", None);
}

#[test]
fn a_remembered_place_never_yields_part_of_a_number() {
    let mut scanner = HeadScanner::default();
    scanner.head(&json(JAVA_REPLY)).expect("a good reply");
    for (code, opaque) in [(10, 1_999_999_999), (1_234, 1_000_000_000), (0, 7), (-5, 123_456_789)] {
        let header = JAVA_REPLY.replace("\"code\":0", &format!("\"code\":{code}"));
        let header = header.replace("1000000042", &opaque.to_string());
        assert_eq!(scanner.head(&json(&header)), Ok(Head { code, opaque, flag: 1 }));
    }
}

fn binary_reply(code: i16, opaque: i32, remark: &str, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut entries = Vec::new();
    for (name, value) in fields {
        entries.extend_from_slice(&u16::try_from(name.len()).expect("short").to_be_bytes());
        entries.extend_from_slice(name.as_bytes());
        entries.extend_from_slice(&u32::try_from(value.len()).expect("short").to_be_bytes());
        entries.extend_from_slice(value.as_bytes());
    }
    let mut header = code.to_be_bytes().to_vec();
    header.push(0);
    header.extend_from_slice(&479i16.to_be_bytes());
    header.extend_from_slice(&opaque.to_be_bytes());
    header.extend_from_slice(&1i32.to_be_bytes());
    header.extend_from_slice(&u32::try_from(remark.len()).expect("short").to_be_bytes());
    header.extend_from_slice(remark.as_bytes());
    header.extend_from_slice(&u32::try_from(entries.len()).expect("short").to_be_bytes());
    header.extend_from_slice(&entries);
    header
}

#[test]
fn binary_headers_are_read_too() {
    let header = binary_reply(2, 1_000_000_001, "[OVERLOAD]system busy", &[("msgId", "7F"), ("nextBeginOffset", "77")]);
    let frame = Frame { header_type: 1, header: &header, body: &[] };
    let head = HeadScanner::default().head(&frame);
    assert_eq!(head, Ok(Head { code: 2, opaque: 1_000_000_001, flag: 1 }));
    assert_eq!(remark(&frame), "[OVERLOAD]system busy");
    assert_eq!(field_number(&frame, "nextBeginOffset"), Some(77));
    assert_eq!(field_number(&frame, "msgId"), None);
    assert_eq!(field_number(&frame, "absent"), None);
    for cut in 0..header.len() {
        let frame = Frame { header_type: 1, header: &header[..cut], body: &[] };
        let _ = (HeadScanner::default().head(&frame), remark(&frame), field_number(&frame, "nextBeginOffset"));
    }
    let frame = Frame { header_type: 9, header: &header, body: &[] };
    assert!(HeadScanner::default().head(&frame).is_err(), "an unknown header type");
}

#[test]
fn remarks_and_fields_are_found() {
    let header = r#"{"code":21,"extFields":{"minOffset":"0","nextBeginOffset":"9223372036854775807"},"flag":1,"opaque":1,"remark":"line\n\u0041\"quoted\""}"#;
    let frame = json(header);
    assert_eq!(remark(&frame), "line\nA\"quoted\"");
    assert_eq!(field_number(&frame, "nextBeginOffset"), Some(i64::MAX));
    assert_eq!(field_number(&frame, "maxOffset"), None);
    assert_eq!(remark(&json(JAVA_REPLY)), "");
}

#[test]
fn frames_come_out_whole_however_the_bytes_arrive() {
    let mut stream = json_frame(JAVA_REPLY, b"");
    let first_len = stream.len();
    stream.extend(json_frame(r#"{"code":0,"flag":1,"opaque":2}"#, b"a body"));
    for end in 0..first_len {
        assert_eq!(split_frame(&stream[..end]), Ok(None), "{end} of {first_len} bytes");
    }
    for end in first_len..=stream.len() {
        let (frame, frame_len) = split_frame(&stream[..end]).expect("good").expect("whole");
        assert_eq!((frame.header, frame_len), (JAVA_REPLY.as_bytes(), first_len));
        let second = split_frame(&stream[first_len..end]).expect("good");
        assert_eq!(second.is_some(), end == stream.len());
    }
    let (second, _) = split_frame(&stream[first_len..]).expect("good").expect("whole");
    assert_eq!(second.body, b"a body");
}

#[test]
fn impossible_lengths_are_refused_before_anything_is_awaited() {
    let check = |length: u32, header_word: u32, expected: WireError| {
        let mut bytes = length.to_be_bytes().to_vec();
        bytes.extend_from_slice(&header_word.to_be_bytes());
        assert_eq!(split_frame(&bytes), Err(expected));
    };
    check(0, 0, WireError::FrameLength { bytes: 4 });
    check(3, 0, WireError::FrameLength { bytes: 7 });
    check(u32::MAX, 0, WireError::FrameLength { bytes: 0x1_0000_0003 });
    check(16 * 1024 * 1024, 0, WireError::FrameLength { bytes: FRAME_BYTES_MAX + 4 });
    check(100, 97, WireError::HeaderLength { header_bytes: 97, bytes: 104 });
}
