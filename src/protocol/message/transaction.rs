//! Transactions: where half messages wait, and how it is noted which of them have ended.
//!
//! A half message lies in queue 0 of [`HALF_TOPIC`] until its transaction ends. Its end is noted in queue 0 of [`OP_TOPIC`]: a message whose tag is
//! [`OP_TAG`] and whose body is the half messages' queue offsets in decimal, each with a comma behind it. Source: RocketMQ
//! `TransactionalMessageUtil`, `TransactionalMessageServiceImpl`.

/// Half messages. No client sends to it.
pub const HALF_TOPIC: &str = "RMQ_SYS_TRANS_HALF_TOPIC";
/// Which of them have ended. No client sends to it.
pub const OP_TOPIC: &str = "RMQ_SYS_TRANS_OP_HALF_TOPIC";
/// Half messages whose producers did not say how they end. No client sends to it.
pub const CHECK_MAX_TOPIC: &str = "TRANS_CHECK_MAX_TIME_TOPIC";
/// The group whose offsets in the first two say how far a broker has looked.
pub const TRANSACTION_GROUP: &str = "CID_RMQ_SYS_TRANS";
/// Tag of a note.
pub const OP_TAG: &str = "d";

/// Between two offsets of a note.
const SEPARATOR: u8 = b',';

/// Appends a half message's queue offset to the body of a note.
pub fn append_ended(body: &mut Vec<u8>, half: u64) {
    body.extend_from_slice(half.to_string().as_bytes());
    body.push(SEPARATOR);
}

/// The offsets of a note's body. What is no number is left out, as RocketMQ does.
pub fn ended(body: &[u8]) -> impl Iterator<Item = u64> {
    let pieces = body.split(|byte| *byte == SEPARATOR);
    pieces.filter_map(|piece| std::str::from_utf8(piece).ok()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_as_it_was_written() {
        let mut body = Vec::new();
        for half in [0, 7, u64::MAX] {
            append_ended(&mut body, half);
        }
        assert_eq!(body, b"0,7,18446744073709551615,");
        assert_eq!(ended(&body).collect::<Vec<_>>(), [0, 7, u64::MAX]);
    }

    #[test]
    fn what_is_no_offset_is_left_out() {
        let check = |body: &[u8], expected: &[u64]| assert_eq!(ended(body).collect::<Vec<_>>(), expected, "{body:?}");
        check(b"", &[]);
        check(b",,", &[]);
        check(b"12", &[12]);
        check(b"1,x,-3,2 ,+4,18446744073709551616,\xFF,5", &[1, 4, 5]);
    }
}
