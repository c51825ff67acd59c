//! Both replication streams of any bytes; what was decoded is encoded to the same bytes.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use ringmq_protocol::ha::{MendMessage, SLAVE_MESSAGE_BYTES_MAX, SlaveMessage, StreamKind, Transfer, classic, epoch, identity};

fuzz_target!(|bytes: &[u8]| {
    let mut out = BytesMut::new();
    if let Ok(Some(end)) = classic::decode_report(bytes) {
        classic::encode_report(end, &mut out);
        assert!(bytes.starts_with(&out));
    }
    out.clear();
    if let Ok(Some(header)) = classic::TransferHeader::decode(bytes) {
        header.encode(&mut out);
        assert!(bytes.starts_with(&out));
    }
    out.clear();
    if let Ok(Some(header)) = epoch::TransferHeader::decode(bytes) {
        header.encode(&mut out);
        assert!(bytes.starts_with(&out));
    }
    out.clear();
    if let Ok(Some(ack)) = epoch::Ack::decode(bytes) {
        ack.encode(&mut out);
        assert!(bytes.starts_with(&out));
    }
    out.clear();
    if let Ok(Some(reply)) = epoch::HandshakeReply::decode(bytes) {
        match reply.lineage {
            None => {
                let epochs = reply.epochs.iter().map(|entry| (entry.epoch, entry.start));
                epoch::encode_handshake_reply(reply.end, reply.epoch, epochs, &mut out);
                assert!(bytes.starts_with(&out));
            }
            Some(lineage) => {
                identity::encode_lineage(reply.end, lineage, &reply.epochs, &mut out);
                let again = epoch::HandshakeReply::decode(&out).expect("as it was written").expect("whole");
                assert_eq!((again.end, again.lineage, again.epochs), (reply.end, reply.lineage, reply.epochs));
            }
        }
    }
    out.clear();
    if let Ok(Some(statement)) = identity::Statement::decode(bytes) {
        statement.encode(&mut out);
        assert!(bytes.starts_with(&out));
    }
    out.clear();
    if let Ok(Some(message)) = MendMessage::decode(bytes) {
        message.encode(&mut out);
        assert!(bytes.starts_with(&out));
        assert_eq!(MendMessage::size(bytes), Ok(Some(out.len())));
    }
    if let Ok(Some(handshake)) = epoch::Handshake::decode(bytes) {
        out.clear();
        handshake.encode(&mut out);
        assert_eq!(epoch::Handshake::decode(&out), Ok(Some(handshake)));
    }
    streams(bytes);
});

/// Either stream from its first byte on, as master and slave take it.
fn streams(bytes: &[u8]) {
    let (mut kind, mut rest) = (None, bytes);
    while let Ok(Some((message, size))) = SlaveMessage::decode(kind, rest) {
        assert!((1..=rest.len()).contains(&size));
        let opens = if matches!(message, SlaveMessage::Handshake(_)) { StreamKind::Epoch } else { StreamKind::Classic };
        kind = kind.or(Some(opens));
        rest = &rest[size..];
    }
    if SlaveMessage::decode(kind, rest) == Ok(None) {
        assert!(rest.len() <= SLAVE_MESSAGE_BYTES_MAX, "more than the longest message, and none of it whole");
    }
    for kind in [StreamKind::Classic, StreamKind::Epoch] {
        if let Ok(Some(transfer)) = Transfer::decode(kind, bytes) {
            let mut out = BytesMut::new();
            transfer.encode(&mut out);
            assert!(bytes.starts_with(&out));
        }
    }
}
