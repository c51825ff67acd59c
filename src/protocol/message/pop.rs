//! Popped messages: the names of their topics, the handle that a consumer gets, and the notes by which a broker knows what is in flight.
//!
//! A message that was popped is its consumer's for a while. If it is not acknowledged by then, a copy goes to the group's pop retry topic. What is
//! in flight is kept as notes in queue 0 of the revive topic ([`revive_topic`]). Names are RocketMQ's; the notes are not, since no client sees them:
//! RocketMQ keeps checkpoints and acknowledgements there as JSON. Source: RocketMQ `KeyBuilder`, `ExtraInfoUtil`, `PopAckConstants`.

use std::fmt;

use crate::cursor::{Cursor, Ended};
use crate::limits::POP_MESSAGES_MAX;
use crate::model::{QueueId, QueueOffset, UnixMs};

/// What the name of a revive topic begins with; behind it stands the cluster's.
const REVIVE_TOPIC_PREFIX: &str = "rmq_sys_REVIVE_LOG_";

/// The group whose offset in the revive topic says from where on notes are of use.
pub const REVIVE_GROUP: &str = "CID_RMQ_SYS_REVIVE_GROUP";

/// `reviveQid` of messages that were popped in order.
pub const ORDER_REVIVE_QUEUE: i32 = 999;

/// Fields of a handle that an acknowledgement must have. The eighth is the message's own offset, which the request says as well.
const HANDLE_FIELDS_MIN: usize = 6;

/// The topic of the notes. No client sends to it.
#[must_use]
pub fn revive_topic(cluster: &str) -> String {
    format!("{REVIVE_TOPIC_PREFIX}{cluster}")
}

/// Whether notes of popped messages are kept there.
#[must_use]
pub fn is_revive_topic(name: &str) -> bool {
    name.starts_with(REVIVE_TOPIC_PREFIX)
}

/// The topic in which messages are tried again that a group has popped from `topic` and not acknowledged.
#[must_use]
pub fn pop_retry_topic(group: &str, topic: &str) -> String {
    format!("{}_{topic}", super::retry_topic(group))
}

/// The same with `enableRetryTopicV2`. No name of a group or a topic has its separator, so that they can be told apart in it.
#[must_use]
fn second_pop_retry_topic(group: &str, topic: &str) -> String {
    format!("{}+{topic}", super::retry_topic(group))
}

/// How a reply or a handle names a message's topic: `retryFlag`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PopOrigin {
    /// The topic that was asked for.
    Topic,
    /// Its pop retry topic.
    Retry,
    /// Its pop retry topic by the name that it has with `enableRetryTopicV2`.
    SecondRetry,
}

impl PopOrigin {
    /// As it is on the wire.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            PopOrigin::Topic => "0",
            PopOrigin::Retry => "1",
            PopOrigin::SecondRetry => "2",
        }
    }

    /// As it came back.
    #[must_use]
    pub fn parse(text: &str) -> Option<PopOrigin> {
        [PopOrigin::Topic, PopOrigin::Retry, PopOrigin::SecondRetry].into_iter().find(|origin| origin.text() == text)
    }

    /// The topic in which a message lies that a group has popped from `topic`.
    #[must_use]
    pub fn topic(self, group: &str, topic: &str) -> String {
        match self {
            PopOrigin::Topic => topic.to_owned(),
            PopOrigin::Retry => pop_retry_topic(group, topic),
            PopOrigin::SecondRetry => second_pop_retry_topic(group, topic),
        }
    }
}

/// What a consumer gives back with a popped message: `extraInfo`, or the property `POP_CK`. Fields in this order, with a space between each two;
/// the last two may be missing where it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PopHandle<'a> {
    /// First offset of those that were popped together.
    pub start: QueueOffset,
    /// When.
    pub popped: UnixMs,
    /// For how long they are the consumer's.
    pub invisible_ms: u64,
    /// [`ORDER_REVIVE_QUEUE`] or any other number.
    pub revive_queue: i32,
    /// From where.
    pub origin: PopOrigin,
    /// The broker's name.
    pub broker: &'a str,
    /// Queue within the topic.
    pub queue_id: QueueId,
    /// The message's own offset.
    pub offset: QueueOffset,
}

impl fmt::Display for PopHandle<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PopHandle { start, popped, invisible_ms, revive_queue, origin, broker, queue_id, offset } = self;
        let origin = origin.text();
        write!(f, "{start} {popped} {invisible_ms} {revive_queue} {origin} {broker} {queue_id} {offset}")
    }
}

/// What of a handle says which messages were popped together, as it came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GivenHandle {
    /// First offset of those that were popped together.
    pub start: QueueOffset,
    /// When.
    pub popped: UnixMs,
    /// [`ORDER_REVIVE_QUEUE`] or any other number.
    pub revive_queue: i32,
}

impl GivenHandle {
    /// Reads a handle; `None` if it is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<GivenHandle> {
        if text.split(' ').count() < HANDLE_FIELDS_MIN {
            return None;
        }
        let mut fields = text.split(' ');
        let start = QueueOffset(fields.next()?.parse().ok()?);
        let popped = UnixMs(fields.next()?.parse().ok()?);
        let _invisible_ms: i64 = fields.next()?.parse().ok()?;
        Some(GivenHandle { start, popped, revive_queue: fields.next()?.parse().ok()? })
    }
}

/// Whose messages a note is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PopPlace<'a> {
    /// Who popped them.
    pub group: &'a str,
    /// From where; a pop retry topic by its own name.
    pub topic: &'a str,
    /// Queue within the topic.
    pub queue_id: QueueId,
}

/// Messages of one queue that were popped together: their first offset and the time are their name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PopTime {
    /// First offset of those that were popped together.
    pub start: QueueOffset,
    /// When.
    pub popped: UnixMs,
}

/// One note: the body of a message in the revive topic. Big-endian; a text is its length (i32) and its bytes.
///
/// | field          | form                                            | in                        |
/// |----------------|-------------------------------------------------|---------------------------|
/// | kind           | u8: 1 taken, 2 ended, 3 changed, 4 set back, 5 forgotten, 6 given back | all |
/// | group, topic   | two texts                                       | all                       |
/// | queue id       | i32                                             | all                       |
/// | start, popped  | u64, i64: name of the messages                  | 1, 2, 3, 6                |
/// | invisible ms   | u64                                             | 1, 3                      |
/// | next           | i64: where the group goes on; -1 if that is not said | 1, 4                 |
/// | again          | u64, i64: the new name                          | 3                         |
/// | offsets        | i32 count, then u64 each                        | 1, 2, 6; one without a count: 3 is its new start |
///
/// Notes of a kind 4 that are older end before `next`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PopNote<'a> {
    /// Messages were popped. Of a copy of an older note only what is in flight still, and not where the group went on.
    Taken {
        /// Whose.
        place: PopPlace<'a>,
        /// Their name.
        time: PopTime,
        /// For how long.
        invisible_ms: u64,
        /// Where the group goes on.
        next: Option<QueueOffset>,
        /// Their offsets, ascending.
        offsets: Vec<QueueOffset>,
    },
    /// Messages were acknowledged, or put up for another try.
    Ended {
        /// Whose.
        place: PopPlace<'a>,
        /// Their name.
        time: PopTime,
        /// Their offsets.
        offsets: Vec<QueueOffset>,
    },
    /// A message is its consumer's for another while, under a new name, which begins with its own offset.
    Changed {
        /// Whose.
        place: PopPlace<'a>,
        /// Its name before.
        time: PopTime,
        /// For how long.
        invisible_ms: u64,
        /// Its new name.
        again: PopTime,
    },
    /// The group does not go on any more where notes before this one say.
    SetBack {
        /// Where.
        place: PopPlace<'a>,
        /// Where it goes on; `None` if it has no offset there any more.
        next: Option<QueueOffset>,
    },
    /// Messages are in flight no longer, since their group was set back, and pops them again.
    GivenBack {
        /// Whose.
        place: PopPlace<'a>,
        /// Their name.
        time: PopTime,
        /// Their offsets.
        offsets: Vec<QueueOffset>,
    },
    /// The topic is gone, and what was popped from it is in flight no longer. Group and queue say nothing.
    Forgotten {
        /// By which it is found again.
        topic: &'a str,
    },
}

const TAKEN: u8 = 1;
const ENDED: u8 = 2;
const CHANGED: u8 = 3;
const SET_BACK: u8 = 4;
const FORGOTTEN: u8 = 5;
const GIVEN_BACK: u8 = 6;

impl<'a> PopNote<'a> {
    /// Appends the note's bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            PopNote::Taken { place, time, invisible_ms, next, offsets } => {
                put_head(TAKEN, place, out);
                put_time(time, out);
                out.extend_from_slice(&invisible_ms.to_be_bytes());
                put_next(*next, out);
                put_offsets(offsets, out);
            }
            PopNote::Ended { place, time, offsets } | PopNote::GivenBack { place, time, offsets } => {
                let is_given_back = matches!(self, PopNote::GivenBack { .. });
                put_head(if is_given_back { GIVEN_BACK } else { ENDED }, place, out);
                put_time(time, out);
                put_offsets(offsets, out);
            }
            PopNote::Changed { place, time, invisible_ms, again } => {
                put_head(CHANGED, place, out);
                put_time(time, out);
                out.extend_from_slice(&invisible_ms.to_be_bytes());
                put_time(again, out);
            }
            PopNote::SetBack { place, next } => {
                put_head(SET_BACK, place, out);
                put_next(*next, out);
            }
            PopNote::Forgotten { .. } => put_head(FORGOTTEN, &self.place(), out),
        }
    }

    /// What it is about.
    #[must_use]
    pub fn place(&self) -> PopPlace<'a> {
        match self {
            PopNote::Taken { place, .. }
            | PopNote::Ended { place, .. }
            | PopNote::Changed { place, .. }
            | PopNote::GivenBack { place, .. }
            | PopNote::SetBack { place, .. } => *place,
            PopNote::Forgotten { topic } => PopPlace { group: "", topic, queue_id: QueueId(0) },
        }
    }

    /// Reads a note; `None` if it is none, or one of another broker.
    #[must_use]
    pub fn decode(body: &'a [u8]) -> Option<PopNote<'a>> {
        PopNote::read(&mut Cursor::new(body)).ok().flatten()
    }

    fn read(input: &mut Cursor<'a>) -> Result<Option<PopNote<'a>>, Ended> {
        let kind = input.u8()?;
        let (group, topic) = (text(input)?, text(input)?);
        let queue_id = QueueId(u32::try_from(input.i32()?).map_err(|_| Ended)?);
        let place = PopPlace { group, topic, queue_id };
        Ok(Some(match kind {
            TAKEN => PopNote::Taken {
                place,
                time: time(input)?,
                invisible_ms: input.u64()?,
                next: next(input)?,
                offsets: offsets(input)?,
            },
            ENDED => PopNote::Ended { place, time: time(input)?, offsets: offsets(input)? },
            CHANGED => PopNote::Changed { place, time: time(input)?, invisible_ms: input.u64()?, again: time(input)? },
            SET_BACK if input.is_empty() => PopNote::SetBack { place, next: None },
            SET_BACK => PopNote::SetBack { place, next: next(input)? },
            FORGOTTEN => PopNote::Forgotten { topic },
            GIVEN_BACK => PopNote::GivenBack { place, time: time(input)?, offsets: offsets(input)? },
            _ => return Ok(None),
        }))
    }
}

fn put_head(kind: u8, place: &PopPlace<'_>, out: &mut Vec<u8>) {
    out.push(kind);
    for text in [place.group, place.topic] {
        let length = i32::try_from(text.len()).expect("names are short");
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(text.as_bytes());
    }
    out.extend_from_slice(&place.queue_id.0.to_be_bytes());
}

fn put_time(time: &PopTime, out: &mut Vec<u8>) {
    out.extend_from_slice(&time.start.0.to_be_bytes());
    out.extend_from_slice(&time.popped.0.to_be_bytes());
}

fn put_next(next: Option<QueueOffset>, out: &mut Vec<u8>) {
    let next = next.and_then(|next| i64::try_from(next.0).ok()).unwrap_or(-1);
    out.extend_from_slice(&next.to_be_bytes());
}

fn put_offsets(offsets: &[QueueOffset], out: &mut Vec<u8>) {
    let count = i32::try_from(offsets.len()).expect("a pop has few messages");
    out.extend_from_slice(&count.to_be_bytes());
    for offset in offsets {
        out.extend_from_slice(&offset.0.to_be_bytes());
    }
}

fn text<'a>(input: &mut Cursor<'a>) -> Result<&'a str, Ended> {
    std::str::from_utf8(input.sized()?).map_err(|_| Ended)
}

fn time(input: &mut Cursor<'_>) -> Result<PopTime, Ended> {
    Ok(PopTime { start: QueueOffset(input.u64()?), popped: UnixMs(input.i64()?) })
}

fn next(input: &mut Cursor<'_>) -> Result<Option<QueueOffset>, Ended> {
    Ok(u64::try_from(input.i64()?).ok().map(QueueOffset))
}

fn offsets(input: &mut Cursor<'_>) -> Result<Vec<QueueOffset>, Ended> {
    let count = usize::try_from(input.i32()?).ok().filter(|count| *count <= POP_MESSAGES_MAX as usize).ok_or(Ended)?;
    (0..count).map(|_| input.u64().map(QueueOffset)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn handles_are_rocketmq_s() {
        let handle = PopHandle {
            start: QueueOffset(120),
            popped: UnixMs(1_700_000_000_000),
            invisible_ms: 60_000,
            revive_queue: 3,
            origin: PopOrigin::Retry,
            broker: "broker-a",
            queue_id: QueueId(2),
            offset: QueueOffset(121),
        };
        assert_eq!(handle.to_string(), "120 1700000000000 60000 3 1 broker-a 2 121");
        let given = GivenHandle { start: QueueOffset(120), popped: UnixMs(1_700_000_000_000), revive_queue: 3 };
        let check =
            |text: &str, expected: Option<GivenHandle>| assert_eq!(GivenHandle::parse(text), expected, "{text}");
        check(&handle.to_string(), Some(given));
        check("120 1700000000000 60000 3 0 b", Some(given));
        check("120 1700000000000 60000 3 0", None);
        check("-1 1700000000000 60000 3 0 b", None);
        check("120 x 60000 3 0 b", None);
        check("", None);
        assert_eq!(pop_retry_topic("G", "T"), "%RETRY%G_T");
        assert_eq!(PopOrigin::parse("2").map(|origin| origin.topic("G", "T")).as_deref(), Some("%RETRY%G+T"));
        assert_eq!(PopOrigin::parse("3"), None);
        assert!(is_revive_topic(&revive_topic("C")) && !is_revive_topic("rmq_sys_wheel_timer"));
    }

    fn notes<'a>(place: PopPlace<'a>, time: PopTime, offsets: &[u64]) -> [PopNote<'a>; 8] {
        let offsets: Vec<QueueOffset> = offsets.iter().copied().map(QueueOffset).collect();
        let again = PopTime { start: time.start, popped: UnixMs(time.popped.0.wrapping_add(1)) };
        [
            PopNote::Taken { place, time, invisible_ms: 7, next: None, offsets: offsets.clone() },
            PopNote::Taken { place, time, invisible_ms: 7, next: Some(QueueOffset(9)), offsets: offsets.clone() },
            PopNote::Ended { place, time, offsets: offsets.clone() },
            PopNote::GivenBack { place, time, offsets },
            PopNote::Changed { place, time, invisible_ms: u64::MAX, again },
            PopNote::SetBack { place, next: None },
            PopNote::SetBack { place, next: Some(QueueOffset(9)) },
            PopNote::Forgotten { topic: place.topic },
        ]
    }

    proptest! {
        #[test]
        fn notes_survive_and_halves_of_them_are_none(
            group in "[a-z%]{0,9}", topic in "[a-z%]{0,9}", queue in 0..i32::MAX as u32, start: u64, popped: i64,
            offsets in prop::collection::vec(any::<u64>(), 0..=POP_MESSAGES_MAX as usize),
        ) {
            let place = PopPlace { group: &group, topic: &topic, queue_id: QueueId(queue) };
            let time = PopTime { start: QueueOffset(start), popped: UnixMs(popped) };
            for note in notes(place, time, &offsets) {
                let mut bytes = Vec::new();
                note.encode(&mut bytes);
                prop_assert_eq!(PopNote::decode(&bytes), Some(note.clone()));
                let older = matches!(note, PopNote::SetBack { .. }).then(|| bytes.len() - 8);
                for end in 0..bytes.len() {
                    let half = (Some(end) == older).then_some(PopNote::SetBack { place, next: None });
                    prop_assert_eq!(PopNote::decode(&bytes[..end]), half);
                }
            }
        }

        #[test]
        fn any_bytes_are_a_note_or_none(bytes: Vec<u8>) {
            let _ = PopNote::decode(&bytes);
        }
    }
}
