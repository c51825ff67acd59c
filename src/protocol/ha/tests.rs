//! Both streams against bytes laid out by hand from the tables of their modules.

use bytes::BytesMut;
use proptest::prelude::*;

use super::epoch::{Ack, Handshake, HandshakeReply, encode_handshake_reply, handshake_reply_bytes};
use super::identity::{Lineage, LogVerdict, Statement, encode_lineage};
use super::*;
use crate::limits::EPOCHS_MAX;
use crate::model::{BrokerId, Epoch, LogId, ReignId};

fn encoded(encode: impl FnOnce(&mut BytesMut)) -> Vec<u8> {
    let mut out = BytesMut::new();
    encode(&mut out);
    out.to_vec()
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<_> = text.chars().filter(|digit| !digit.is_whitespace()).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).expect("hexadecimal"))
        .collect()
}

/// A message is encoded to these bytes and decoded from them, also if more follow, and from no fewer.
fn check<T: PartialEq + std::fmt::Debug>(
    golden: &str,
    message: &T,
    encode: impl FnOnce(&mut BytesMut),
    decode: impl Fn(&[u8]) -> Result<Option<T>, HaError>,
) {
    let golden = hex(golden);
    assert_eq!(encoded(encode), golden);
    for len in 0..golden.len() {
        assert_eq!(decode(&golden[..len]), Ok(None), "of {message:?} {len} bytes are too few");
    }
    let more = [&golden[..], b"more"].concat();
    for bytes in [&golden, &more] {
        let decoded = decode(bytes).expect("sound").expect("whole");
        assert_eq!(&decoded, message);
    }
}

#[test]
fn classic_messages_lie_as_the_tables_say() {
    for (end, golden) in [(0, "0000000000000000"), (0x1122_3344, "0000000011223344"), (1 << 40, "0000010000000000")] {
        let end = LogOffset(end);
        check(golden, &end, |out| classic::encode_report(end, out), classic::decode_report);
    }
    for (offset, body_bytes, golden) in
        [(0x4000_0000, 0x8000, "0000000040000000 00008000"), (7, 0, "0000000000000007 00000000")]
    {
        let header = classic::TransferHeader { offset: LogOffset(offset), body_bytes };
        check(golden, &header, |out| header.encode(out), classic::TransferHeader::decode);
    }
}

#[test]
fn messages_with_epochs_lie_as_the_tables_say() {
    let handshake =
        Handshake { from_last_segment: true, knows_identities: false, is_learner: false, broker_id: BrokerId(5) };
    check("00000001 0001 0000 0000000000000005", &handshake, |out| handshake.encode(out), Handshake::decode);
    let handshake =
        Handshake { from_last_segment: false, knows_identities: true, is_learner: true, broker_id: BrokerId(1 << 33) };
    check("00000001 0002 0001 0000000200000000", &handshake, |out| handshake.encode(out), Handshake::decode);
    let reply = HandshakeReply {
        end: LogOffset(0x1_0000_0010),
        epoch: Epoch(3),
        lineage: None,
        epochs: vec![entry(1, 0, 0), entry(3, 0x1234, 0)],
    };
    check(
        "00000001 00000018 0000000100000010 00000003  00000001 0000000000000000  00000003 0000000000001234",
        &reply,
        |out| encode_handshake_reply(reply.end, reply.epoch, pairs(&reply.epochs), out),
        HandshakeReply::decode,
    );
    let header = epoch::TransferHeader {
        body_bytes: 0x100,
        offset: LogOffset(0x2000),
        epoch: Epoch(3),
        epoch_start: LogOffset(0x1234),
        confirm: LogOffset(0x1FFF),
    };
    check(
        "00000002 00000100 0000000000002000 00000003 0000000000001234 0000000000001FFF",
        &header,
        |out| header.encode(out),
        epoch::TransferHeader::decode,
    );
    let ack = Ack { end: LogOffset(0x2100) };
    check("00000002 0000000000002100", &ack, |out| ack.encode(out), Ack::decode);
}

fn entry(epoch: u32, start: u64, id: u64) -> EpochEntry {
    EpochEntry { epoch: Epoch(epoch), start: LogOffset(start), id: ReignId(id) }
}

fn pairs(epochs: &[EpochEntry]) -> impl ExactSizeIterator<Item = (Epoch, LogOffset)> {
    epochs.iter().map(|entry| (entry.epoch, entry.start))
}

#[test]
fn identities_lie_as_the_tables_say() {
    let log = LogId(0x0123_4567_89AB_CDEF_0000_0000_0000_0001);
    let (end, epoch, epochs) = (LogOffset(0x1_0000_0010), Epoch(3), vec![entry(1, 0, 0), entry(3, 0x1234, 0xABCD)]);
    let reply =
        HandshakeReply { end, epoch, lineage: Some(Lineage { log, is_durable: true, can_be_asked: true }), epochs };
    check(
        "524D0001 00000028 0000000100000010 00000003 0123456789ABCDEF0000000000000001 00000003
         00000001 0000000000000000 0000000000000000  00000003 0000000000001234 000000000000ABCD",
        &reply,
        |out| encode_lineage(reply.end, reply.lineage.expect("told"), &reply.epochs, out),
        HandshakeReply::decode,
    );
    let (start, point) = (LogOffset(16), LogOffset(0x30));
    let statement =
        Statement { verdict: LogVerdict::Ahead, log, start, end, last: entry(3, 0x20, 7), point, can_be_asked: false };
    check(
        "524D0002 00000002 0123456789ABCDEF0000000000000001 0000000000000010 0000000100000010
         00000003 0000000000000020 0000000000000007 0000000000000030",
        &statement,
        |out| statement.encode(out),
        Statement::decode,
    );
    let asked = Statement { can_be_asked: true, ..statement };
    check(
        "524D0002 00000102 0123456789ABCDEF0000000000000001 0000000000000010 0000000100000010
         00000003 0000000000000020 0000000000000007 0000000000000030",
        &asked,
        |out| asked.encode(out),
        Statement::decode,
    );
    assert_eq!(Statement::decode(&hex("524D0002 00000006")), Err(HaError::BadVerdict));
    assert_eq!(Statement::decode(&hex("524D0002 00000200")), Err(HaError::BadVerdict));
    assert_eq!(HandshakeReply::decode(&hex("524D0001 0000000C")), Err(HaError::BadList { bytes: 12 }));
}

#[test]
fn what_is_asked_of_a_log_lies_as_the_tables_say() {
    let from = LogOffset(0x1_0000_0010);
    let ask = MendMessage::Ask(Ask { from, len: 0x1000 });
    let golden = hex("524D0003 00001000 0000000100000010");
    assert_eq!(encoded(|out| ask.encode(out)), golden);
    let piece = MendMessage::Piece { from, bytes: b"log" };
    let longer = hex("524D0004 00000003 0000000100000010 6C6F67");
    assert_eq!(encoded(|out| piece.encode(out)), longer);
    let nothing = MendMessage::Piece { from, bytes: b"" };
    for (bytes, message) in [(golden, ask), (longer, piece), (hex("524D0004 00000000 0000000100000010"), nothing)] {
        for len in 0..bytes.len() {
            assert_eq!(MendMessage::decode(&bytes[..len]), Ok(None), "{len} bytes are too few");
            assert_eq!(SlaveMessage::decode(Some(StreamKind::Epoch), &bytes[..len]), Ok(None));
            let wanted = StreamKind::Epoch.message_bytes(&bytes[..len]).expect("sound");
            assert!(len < wanted && wanted <= bytes.len(), "{wanted} wanted of {} when {len} are there", bytes.len());
        }
        let more = [&bytes[..], &hex("00000002")].concat();
        assert_eq!(MendMessage::decode(&more), Ok(Some(message)));
        assert_eq!(MendMessage::size(&more), Ok(Some(bytes.len())));
        assert_eq!(StreamKind::Epoch.message_bytes(&more), Ok(bytes.len()));
        let said = SlaveMessage::decode(Some(StreamKind::Epoch), &more);
        assert_eq!(said, Ok(Some((SlaveMessage::Mend(message), bytes.len()))));
    }
    assert_eq!(MendMessage::size(&hex("00000002 00000000")), Ok(None), "a transfer or a report");
    let max = crate::limits::MEND_PIECE_BYTES;
    let too_long = HaError::TooLong { bytes: max + 1, max };
    assert_eq!(MendMessage::size(&hex("524D0004 00010001")), Err(too_long), "before its body comes");
    assert_eq!(MendMessage::decode(&hex("524D0003 00010001 0000000000000000")), Err(too_long));
    assert_eq!(MendMessage::decode(&hex("524D0003 00000000 0000000000000000")), Err(HaError::Empty));
    assert_eq!(
        MendMessage::decode(&hex("524D0003 00000001 8000000000000000")),
        Err(HaError::Negative { what: "log offset", value: i64::MIN })
    );
}

#[test]
fn what_no_broker_says_is_refused_with_its_facts() {
    let negative = |what, value| Some(HaError::Negative { what, value });
    let report = |text: &str| classic::decode_report(&hex(text)).err();
    assert_eq!(report("FFFFFFFFFFFFFFFE"), negative("end of the log", -2));
    let classic = |text: &str| classic::TransferHeader::decode(&hex(text)).err();
    assert_eq!(classic("8000000000000000 00000000"), negative("log offset", i64::MIN));
    assert_eq!(classic("0000000000000000 FFFFFFFF"), negative("body size", -1));
    let max = HA_BODY_BYTES_MAX;
    assert_eq!(classic("0000000000000000 00400001"), Some(HaError::TooLong { bytes: max + 1, max }));
    assert_eq!(classic("0000000000000000 00400000"), None);

    let state = |expected, found| Some(HaError::BadState { expected, found });
    let handshake = |text: &str| Handshake::decode(&hex(text)).err();
    assert_eq!(handshake("00000002"), state(1, 2));
    assert_eq!(handshake("47455420"), state(1, 0x4745_5420), "GET");
    assert_eq!(handshake("00000001 0000 0000 FFFFFFFFFFFFFFFF"), negative("broker id", -1));
    let reply = |text: &str| HandshakeReply::decode(&hex(text)).err();
    assert_eq!(reply("00000000"), state(1, 0));
    assert_eq!(reply("00000001 0000000D"), Some(HaError::BadList { bytes: 13 }));
    assert_eq!(reply("00000001 80000000"), negative("body size", i32::MIN.into()));
    let max = 12 * EPOCHS_MAX;
    assert_eq!(reply("00000001 7FFFFFFF"), Some(HaError::TooLong { bytes: 0x7FFF_FFFF, max }));
    assert_eq!(reply("00000001 00000000 0000000000000000 FFFFFFFF"), negative("epoch", -1));
    let transfer = |text: &str| epoch::TransferHeader::decode(&hex(text)).err();
    assert_eq!(transfer("00000003"), state(2, 3));
    let tail = "0000000000000000 00000000 0000000000000000";
    assert_eq!(transfer(&format!("00000002 00000000 {tail} FFFFFFFFFFFFFFFF")), negative("confirm offset", -1));
    let ack = |text: &str| Ack::decode(&hex(text)).err();
    assert_eq!(ack("00000001"), state(2, 1));
    assert_eq!(ack("00000002 FFFFFFFFFFFFFFFF"), negative("end of the log", -1));
}

#[test]
fn a_handshake_is_told_from_a_report() {
    for flags in 0..8 {
        let (from_last_segment, is_learner, knows_identities) = (flags & 1 > 0, flags & 2 > 0, flags & 4 > 0);
        let handshake = Handshake { from_last_segment, knows_identities, is_learner, broker_id: BrokerId(9) };
        let report = classic::decode_report(&encoded(|out| handshake.encode(out)));
        assert!(Handshake::may_begin_with(report.expect("not negative").expect("8 bytes")));
    }
    for report in [0, 1, 1 << 30, (1 << 32) - 1, (1 << 32) + 2, (1 << 32) + (1 << 18), 1 << 33, (1 << 33) + 1] {
        assert!(!Handshake::may_begin_with(LogOffset(report)), "{report}");
    }
}

#[test]
fn what_a_slave_says_is_told_by_its_stream() {
    let check = |stream, said: &str, expected: Result<Option<(SlaveMessage, usize)>, ()>| {
        assert_eq!(SlaveMessage::decode(stream, &hex(said)).map_err(|_| ()), expected, "{stream:?} {said}");
    };
    let report = |end, size| Ok(Some((SlaveMessage::Report(LogOffset(end)), size)));
    let handshake =
        Handshake { from_last_segment: false, knows_identities: false, is_learner: false, broker_id: BrokerId(7) };
    check(None, "0000000000001000 0000", report(0x1000, 8));
    check(None, "00000001 0000 0000 0000000000000007", Ok(Some((SlaveMessage::Handshake(handshake), 16))));
    // A classic slave that ends at 4 GiB sharp is known by its second report.
    check(None, "00000001 0000 0000 00000000000000", Ok(None));
    check(None, "00000001 0000 0000 0000000100000000", report(1 << 32, 8));
    check(None, "FFFFFFFFFFFFFFFF", Err(()));
    check(Some(StreamKind::Classic), "00000001 0000 0000", report(1 << 32, 8));
    check(Some(StreamKind::Epoch), "00000002 0000000000000009 00", report(9, 12));
    check(Some(StreamKind::Epoch), "00000001 0000 0000 0000000000000007", Err(()));
}

#[test]
fn transfers_and_reports_take_the_form_of_their_stream() {
    let reign = TransferReign { epoch: Epoch(3), start: LogOffset(2), confirm: LogOffset(9) };
    for (stream, reign) in [(StreamKind::Classic, None), (StreamKind::Epoch, Some(reign))] {
        let transfer = Transfer { offset: LogOffset(8), body_bytes: 5, reign };
        let bytes = encoded(|out| transfer.encode(out));
        assert_eq!((bytes.len(), transfer.header_bytes()), (stream.header_bytes(), stream.header_bytes()));
        assert_eq!(Transfer::decode(stream, &bytes), Ok(Some(transfer)));
        let said = encoded(|out| SlaveMessage::encode_report(stream, LogOffset(6), out));
        let report = (SlaveMessage::Report(LogOffset(6)), said.len());
        assert_eq!(SlaveMessage::decode(Some(stream), &said), Ok(Some(report)));
    }
}

proptest! {
    #[test]
    fn decoders_survive_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200), state in 0u8..4) {
        let mut bytes = bytes;
        if let Some(front) = bytes.get_mut(..4) {
            front.copy_from_slice(&[0, 0, 0, state]);
        }
        let _ = classic::decode_report(&bytes);
        let _ = Handshake::decode(&bytes);
        let _ = handshake_reply_bytes(&bytes);
        let _ = Ack::decode(&bytes);
        let _ = Statement::decode(&bytes);
        for stream in [None, Some(StreamKind::Classic), Some(StreamKind::Epoch)] {
            if let Ok(Some((_, size))) = SlaveMessage::decode(stream, &bytes) {
                prop_assert!(size <= bytes.len() && size <= SLAVE_MESSAGE_BYTES_MAX);
            } else {
                prop_assert!(SlaveMessage::decode(stream, &bytes).is_err() || bytes.len() < SLAVE_MESSAGE_BYTES_MAX);
            }
        }
        if let Ok(Some(header)) = classic::TransferHeader::decode(&bytes) {
            prop_assert_eq!(&encoded(|out| header.encode(out)), &bytes[..12]);
        }
        if let Ok(Some(header)) = epoch::TransferHeader::decode(&bytes) {
            prop_assert_eq!(&encoded(|out| header.encode(out)), &bytes[..36]);
        }
        if let Ok(Some(reply)) = HandshakeReply::decode(&bytes) {
            let again = match reply.lineage {
                None => encoded(|out| encode_handshake_reply(reply.end, reply.epoch, pairs(&reply.epochs), out)),
                Some(said) => encoded(|out| encode_lineage(reply.end, said, &reply.epochs, out)),
            };
            // Of an answer with identities, the reign is that of its last epoch.
            prop_assert!(reply.lineage.is_some() || again == bytes[..again.len()]);
            prop_assert!(again.len() <= bytes.len());
        }
    }
}
