//! Transactions: a half message that consumers do not see, and the request that commits it or rolls it back.
//!
//! What becomes of a transaction is known by its number, so whoever asks is told the same: the end that follows the half message, and the
//! answer when a broker asks because no end came.

use crate::load::frame::{
    CHECK_TRANSACTION_STATE, END_TRANSACTION, HeaderKind, OPAQUE_MIN, SEND_GROUP, oneway, request,
};
use crate::load::record::{Stamp, bodies};
use crate::load::scan::{Frame, Head, field_number, field_text};

/// What a transaction ends with, as END_TRANSACTION has it; a broker that is told 0 asks again.
const COMMIT: &str = "8";
const ROLL_BACK: &str = "12";
const UNKNOWN: &str = "0";

/// Which transactions are committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endings {
    /// Every so many-th is rolled back; 0 for none.
    pub roll_back: u32,
}

impl Endings {
    /// Whether number `sequence` is committed.
    pub fn commits(self, sequence: u64) -> bool {
        self.roll_back == 0 || !(sequence + 1).is_multiple_of(u64::from(self.roll_back))
    }

    fn code(self, sequence: u64) -> &'static str {
        if self.commits(sequence) { COMMIT } else { ROLL_BACK }
    }

    /// The request that ends number `sequence` of `run_id`.
    pub fn end(self, kind: HeaderKind, opaque: i32, half: &Half, (run_id, sequence): (u64, u64)) -> Vec<u8> {
        let (queue_offset, log_offset) = (half.queue_offset.to_string(), half.log_offset.to_string());
        let key = format!("{run_id:016X}{sequence:016X}");
        let fields = [
            ("producerGroup", SEND_GROUP),
            ("tranStateTableOffset", queue_offset.as_str()),
            ("commitLogOffset", &log_offset),
            ("commitOrRollback", self.code(sequence)),
            ("fromTransactionCheck", "false"),
            ("msgId", &key),
            ("transactionId", &key),
        ];
        request(kind, END_TRANSACTION, opaque, &fields, &[])
    }

    /// The answer to a broker that asks what became of a transaction, oneway as stock clients give it; `None` if this is no such question, or
    /// one without the message. Of another run's nothing is known.
    pub fn answer(self, kind: HeaderKind, head: Head, frame: &Frame<'_>, run_id: u64) -> Option<Vec<u8>> {
        if head.code != CHECK_TRANSACTION_STATE || head.is_reply() {
            return None;
        }
        let stamp = Stamp::read(bodies(frame.body).next()?.ok()?)?;
        let code = if stamp.run_id == run_id { self.code(stamp.sequence) } else { UNKNOWN };
        let [queue_offset, log_offset] =
            [field_number(frame, "tranStateTableOffset")?, field_number(frame, "commitLogOffset")?]
                .map(|offset| offset.to_string());
        let [key, transaction] = ["msgId", "transactionId"].map(|name| field_text(frame, name).unwrap_or_default());
        let fields = [
            ("producerGroup", SEND_GROUP),
            ("tranStateTableOffset", queue_offset.as_str()),
            ("commitLogOffset", &log_offset),
            ("commitOrRollback", code),
            ("fromTransactionCheck", "true"),
            ("msgId", &key),
            ("transactionId", &transaction),
        ];
        Some(oneway(kind, END_TRANSACTION, OPAQUE_MIN, &fields, &[]))
    }
}

/// Where a broker keeps a half message, by its reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Half {
    /// In the queue of half messages.
    queue_offset: i64,
    /// In the commit log: the last 16 hex digits of `msgId`, behind the broker's address.
    log_offset: u64,
}

impl Half {
    /// `None` for a reply that does not say it.
    pub fn read(frame: &Frame<'_>) -> Option<Self> {
        let id = field_text(frame, "msgId")?;
        let digits = id.get(id.len().checked_sub(16)?..)?;
        let log_offset = u64::from_str_radix(digits, 16).ok()?;
        Some(Self { queue_offset: field_number(frame, "queueOffset")?, log_offset })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::scan::{HeadScanner, split_frame};

    const KINDS: [HeaderKind; 2] = [HeaderKind::Json, HeaderKind::Binary];

    #[test]
    fn every_nth_is_rolled_back() {
        let rolled_back = |roll_back: u32| -> Vec<u64> {
            (0..7).filter(|sequence| !Endings { roll_back }.commits(*sequence)).collect()
        };
        assert_eq!((rolled_back(0), rolled_back(3), rolled_back(1).len()), (vec![], vec![2, 5], 7));
    }

    #[test]
    fn an_end_names_the_half_message_as_its_reply_does() {
        let endings = Endings { roll_back: 2 };
        for kind in KINDS {
            let fields = [("msgId", "7F00000100002A9F00000000000004D2"), ("queueOffset", "77")];
            let bytes = request(kind, 0, 1, &fields, &[]);
            let (reply, _) = split_frame(&bytes).expect("a frame").expect("whole");
            let half = Half::read(&reply).expect("a half message");
            assert_eq!(half, Half { queue_offset: 77, log_offset: 1234 });
            for (sequence, code) in [(4, 8), (5, 12)] {
                let bytes = endings.end(kind, OPAQUE_MIN + 3, &half, (1, sequence));
                let (end, _) = split_frame(&bytes).expect("a frame").expect("whole");
                let head = HeadScanner::default().head(&end).expect("a header");
                assert_eq!((head.code, head.opaque, head.flag), (37, OPAQUE_MIN + 3, 0));
                let number = |name| field_number(&end, name);
                assert_eq!((number("tranStateTableOffset"), number("commitLogOffset")), (Some(77), Some(1234)));
                assert_eq!(
                    (number("commitOrRollback"), field_text(&end, "producerGroup")),
                    (Some(code), Some(SEND_GROUP.to_owned()))
                );
                assert_eq!(field_text(&end, "msgId"), Some(format!("{:016X}{sequence:016X}", 1)));
            }
            for lacking in [&fields[..1], &fields[1..], &[("msgId", "2A9F"), ("queueOffset", "1")]] {
                let bytes = request(kind, 0, 1, lacking, &[]);
                assert_eq!(Half::read(&split_frame(&bytes).expect("a frame").expect("whole").0), None);
            }
        }
    }

    #[test]
    fn a_broker_that_asks_is_told_what_the_end_said() {
        let endings = Endings { roll_back: 2 };
        let asked = |kind, code, stamp: Stamp| {
            let mut record = vec![0u8; 88];
            let mut body = [0u8; 40];
            stamp.write(&mut body);
            record[84..88].copy_from_slice(&40u32.to_be_bytes());
            record.extend_from_slice(&body);
            record.extend_from_slice(b"\x01T\x00\x00");
            let size = u32::try_from(record.len()).expect("short");
            record[..4].copy_from_slice(&size.to_be_bytes());
            let fields =
                [("tranStateTableOffset", "5"), ("commitLogOffset", "900"), ("msgId", "K"), ("transactionId", "K")];
            let bytes = request(kind, code, 9, &fields, &record);
            let (frame, _) = split_frame(&bytes).expect("a frame").expect("whole");
            let head = HeadScanner::default().head(&frame).expect("a header");
            endings.answer(kind, head, &frame, 1)
        };
        for kind in KINDS {
            let stamp = |run_id, sequence| Stamp { intended_ns: 0, sequence, run_id, sender: 0 };
            for (stamp, code) in [(stamp(1, 4), 8), (stamp(1, 5), 12), (stamp(2, 4), 0)] {
                let bytes = asked(kind, CHECK_TRANSACTION_STATE, stamp).expect("an answer");
                let (answer, _) = split_frame(&bytes).expect("a frame").expect("whole");
                let head = HeadScanner::default().head(&answer).expect("a header");
                assert_eq!((head.code, head.flag, field_number(&answer, "commitOrRollback")), (37, 2, Some(code)));
                assert_eq!(field_text(&answer, "fromTransactionCheck").as_deref(), Some("true"));
                assert_eq!(
                    (field_number(&answer, "commitLogOffset"), field_text(&answer, "msgId")),
                    (Some(900), Some("K".to_owned()))
                );
            }
            assert_eq!(asked(kind, 40, stamp(1, 4)), None, "another request");
        }
    }
}
