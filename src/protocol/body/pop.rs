//! Acknowledgements of popped messages, many in one request.

use super::BodyError;
use super::fields::Fields;
use crate::json::parse;
use crate::limits::{JSON_NODES_MAX, POP_BATCH_ACKS_MAX};
use crate::message::PopTime;
use crate::model::{GroupName, QueueId, QueueOffset, TopicName, UnixMs};

/// Messages of one queue that were popped together, and which of them were consumed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AckedMessages {
    /// Who popped them.
    pub group: GroupName,
    /// The topic that was asked for.
    pub topic: TopicName,
    /// `r`: `0` if they came from it, `1` and `2` if from its pop retry topic under either name.
    pub retry: String,
    /// Queue within the topic; none if negative.
    pub queue_id: Option<QueueId>,
    /// Their name.
    pub time: PopTime,
    /// `rq`: whether they were popped in order.
    pub revive_queue: i32,
    /// Bit `n`, from the lowest of each byte on: the message at offset `start + n`.
    bits: Vec<u8>,
}

impl AckedMessages {
    /// Reads the body of 200151.
    ///
    /// # Errors
    /// [`BodyError`].
    pub fn decode(body: &[u8]) -> Result<Vec<AckedMessages>, BodyError> {
        if body.is_empty() {
            return Ok(Vec::new());
        }
        let value = parse(body, JSON_NODES_MAX)?;
        let acks = Fields::of(&value, "body")?.array("acks")?;
        if acks.len() > POP_BATCH_ACKS_MAX {
            return Err(BodyError::TooMany { field: "acks", max: POP_BATCH_ACKS_MAX });
        }
        acks.iter().map(|ack| AckedMessages::read(Fields::of(ack, "acks")?)).collect()
    }

    fn read(fields: Fields<'_>) -> Result<AckedMessages, BodyError> {
        let start: u64 = fields.number("so", 0)?;
        Ok(AckedMessages {
            group: GroupName::from(&*fields.required_text("c")?),
            topic: TopicName::from(&*fields.required_text("t")?),
            retry: fields.required_text("r")?.into_owned(),
            queue_id: u32::try_from(fields.number("q", -1)?).ok().map(QueueId),
            time: PopTime { start: QueueOffset(start), popped: UnixMs(fields.number("pt", 0)?) },
            revive_queue: fields.number("rq", 0)?,
            bits: base64(&fields.required_text("b")?).ok_or(BodyError::Kind { field: "b", expected: "base64" })?,
        })
    }

    /// Whether the message at this offset was consumed.
    #[must_use]
    pub fn has(&self, offset: QueueOffset) -> bool {
        let Some(bit) = offset.0.checked_sub(self.time.start.0).and_then(|bit| usize::try_from(bit).ok()) else {
            return false;
        };
        self.bits.get(bit.wrapping_div(8)).is_some_and(|byte| byte & (1 << (bit % 8)) != 0)
    }
}

/// The bytes that base64 stands for, with or without its padding.
fn base64(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=').as_bytes();
    let mut bytes = Vec::with_capacity(digits.len());
    for four in digits.chunks(4) {
        let mut bits = 0_u32;
        for index in 0..4 {
            let value = four.get(index).map_or(Some(0), |digit| value_of(*digit))?;
            bits = (bits << 6) | u32::from(value);
        }
        let [_, first, second, third] = bits.to_be_bytes();
        let count = four.len().checked_sub(1).filter(|count| *count > 0)?;
        bytes.extend([first, second, third].into_iter().take(count));
    }
    Some(bytes)
}

fn value_of(digit: u8) -> Option<u8> {
    let place = |first: u8, value: u8| digit.checked_sub(first)?.checked_add(value);
    match digit {
        b'A'..=b'Z' => place(b'A', 0),
        b'a'..=b'z' => place(b'a', 26),
        b'0'..=b'9' => place(b'0', 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_of_acknowledgements_is_read_as_java_writes_it() {
        let body = br#"{"acks":[{"b":"CQI=","c":"G","it":60000,"pt":1700000000000,"q":1,"r":"0","rq":2,"so":100,"t":"T"}],"brokerName":"broker-a"}"#;
        let acks = AckedMessages::decode(body).expect("a batch");
        let [ack] = &acks[..] else { panic!("one: {acks:?}") };
        assert_eq!((ack.group.as_str(), ack.topic.as_str(), ack.retry.as_str()), ("G", "T", "0"));
        assert_eq!((ack.queue_id, ack.revive_queue), (Some(QueueId(1)), 2));
        assert_eq!(ack.time, PopTime { start: QueueOffset(100), popped: UnixMs(1_700_000_000_000) });
        let offsets: Vec<u64> = (0..200).filter(|offset| ack.has(QueueOffset(*offset))).collect();
        assert_eq!(offsets, [100, 103, 109], "bits 0, 3 and 9");
        assert_eq!(AckedMessages::decode(b""), Ok(Vec::new()));
        assert_eq!(AckedMessages::decode(b"{}"), Ok(Vec::new()));
        let bad = AckedMessages::decode(br#"{"acks":[{"b":"*","c":"G","r":"0","t":"T"}]}"#);
        assert_eq!(bad, Err(BodyError::Kind { field: "b", expected: "base64" }));
    }

    #[test]
    fn base64_is_read() {
        let check = |text: &str, expected: Option<&[u8]>| assert_eq!(base64(text).as_deref(), expected, "{text}");
        check("", Some(b""));
        check("YQ==", Some(b"a"));
        check("YWI=", Some(b"ab"));
        check("YWJj", Some(b"abc"));
        check("+/8", Some(&[0xFB, 0xFF]));
        check("Y", None);
        check("Y Q=", None);
    }
}
