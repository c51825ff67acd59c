//! One popping connection: messages of any queue, taken for a minute and acknowledged one by one, as stock consumers in pop mode do.

use crate::load::clock::unix_ms;
use crate::load::connection::{Connection, Pending, ReadBuffer, Waiting};
use crate::load::consumer::{Books, Post, heartbeat};
use crate::load::error::LoadError;
use crate::load::frame::{ACK_MESSAGE, HeaderKind, OPAQUE_MIN, POP_MESSAGE, request};
use crate::load::record::{Record, records};
use crate::load::scan::{Frame, field_number, field_text, remark};
use crate::load::settings::Filter;
use crate::load::tally::Tally;

/// Messages a pop may return: the stock client's value, and the most that brokers give.
const MESSAGES_MAX: &str = "32";
/// How long they are this group's alone, ms: the stock client's value.
const INVISIBLE_MS: &str = "60000";
/// How long the broker may hold a pop without messages, ms: the stock client's value.
const POLL_MS: &str = "15000";
/// Messages without an answer to their acknowledgement at which it pops no more: the stock client's value.
const UNANSWERED_MAX: usize = 96;
/// That of a pop: one is under way at most.
const POP_OPAQUE: i32 = OPAQUE_MIN - 2;
/// Codes of a broker that had nothing, or no room to wait.
const NOTHING: [i32; 3] = [19, 209, 210];

/// Pops and acknowledges.
#[derive(Debug)]
pub struct Popper {
    post: Post,
    group: String,
    /// Name of the broker, as receipts have it.
    broker: String,
    link: Connection,
    /// Acknowledgements without an answer.
    acks: Pending,
    is_popping: bool,
    /// The last pop was, and [`Self::retry`] is the next.
    is_refused: bool,
}

impl Popper {
    /// Pops the topic of `post` over a connection that is made, from a broker of that name.
    pub fn new(link: Connection, post: Post, broker: String) -> Self {
        let group = post.group_name();
        Self { post, group, broker, link, acks: Pending::default(), is_popping: false, is_refused: false }
    }

    /// Asks for messages, unless that is under way, was refused, or too much is without an answer.
    pub fn pop(&mut self) {
        let Some(queue) = self.post.queues.first() else { return };
        if self.is_popping || self.is_refused || self.acks.len() > UNANSWERED_MAX {
            return;
        }
        self.is_popping = true;
        let (expression_type, expression) = Filter::expression(self.post.filter);
        let born_ms = unix_ms().to_string();
        let fields = [
            ("consumerGroup", self.group.as_str()),
            ("topic", &queue.topic),
            ("queueId", "-1"),
            ("maxMsgNums", MESSAGES_MAX),
            ("invisibleTime", INVISIBLE_MS),
            ("pollTime", POLL_MS),
            ("bornTime", &born_ms),
            ("initMode", "1"),
            ("expType", expression_type),
            ("exp", expression),
            ("order", "false"),
        ];
        self.link.out().extend(request(HeaderKind::Json, POP_MESSAGE, POP_OPAQUE, &fields, &[]));
    }

    /// Makes the group known once more: brokers forget clients that are silent for two minutes.
    pub fn heartbeat(&mut self) {
        self.link.out().extend(heartbeat(&self.post));
    }

    /// Writes what was gathered.
    ///
    /// # Errors
    /// When the connection broke.
    pub fn flush(&mut self) -> Result<(), LoadError> {
        self.link.flush()
    }

    /// Reads replies, acknowledges what came, pops again, and enters all of it into `books` and `tally`.
    ///
    /// # Errors
    /// When the connection ended, broke, or brings what is no frame, no record or no receipt.
    pub fn receive(&mut self, buffer: &mut ReadBuffer, books: &mut Books, tally: &mut Tally) -> Result<(), LoadError> {
        let target = self.link.target();
        let (acks, post, group, broker) = (&mut self.acks, &self.post, &self.group, &self.broker);
        let (is_popping, is_refused) = (&mut self.is_popping, &mut self.is_refused);
        let topic = post.queues.first().map_or("", |queue| &*queue.topic);
        let mut frames = Vec::new();
        self.link.receive(buffer, |now, head, frame| {
            if !head.is_reply() {
                return Ok(());
            }
            if head.opaque != POP_OPAQUE {
                let Some(waiting) = acks.take(head.opaque) else { return Ok(()) };
                if head.code == 0 {
                    tally.acknowledged(waiting, now);
                    books.acknowledged(post.group, waiting.sequence);
                } else {
                    books.refused(head.code, || remark(frame));
                }
                return Ok(());
            }
            *is_popping = false;
            if head.code != 0 {
                if !NOTHING.contains(&head.code) {
                    *is_refused = true;
                    books.refused(head.code, || remark(frame));
                }
                return Ok(());
            }
            let lacking = || LoadError::FieldMissing { target, request: "pop", field: "startOffsetInfo" };
            let receipts = Receipts::read(frame).ok_or_else(lacking)?;
            for record in records(frame.body) {
                let record = record.map_err(|source| LoadError::Record { target, source })?;
                let receipt = receipts.of(&record, broker).ok_or_else(lacking)?;
                let at = (post.group, post.source, usize::try_from(record.queue_id).unwrap_or(usize::MAX));
                let stamp = books.take(record.body, now, tally, at);
                // What is of another run is acknowledged as well, and counts nowhere.
                let (intended_ns, sequence) = stamp.map_or((0, u64::MAX), |stamp| (stamp.intended_ns, stamp.sequence));
                let opaque = acks.insert(Waiting { intended_ns, sent_ns: now, sequence, half_ns: None });
                frames.extend(receipt.acknowledgement(opaque, group, topic));
            }
            Ok(())
        })?;
        self.link.out().extend(frames);
        self.pop();
        Ok(())
    }

    /// Asks again after a pop that was refused.
    pub fn retry(&mut self) {
        self.is_refused = false;
        self.pop();
    }
}

/// What the reply to a pop says of its messages.
#[derive(Debug)]
struct Receipts {
    pop_time: i64,
    invisible: i64,
    revive_queue: i64,
    /// Of the topic's own queues: where what was popped of each begins.
    starts: Vec<(u32, i64)>,
}

/// What an acknowledgement names a message by.
#[derive(Debug, PartialEq, Eq)]
struct Receipt {
    /// Eight words with spaces between: start, pop time, invisible time, revive queue, whether it comes again, broker, queue, offset.
    handle: String,
    /// 0 for the topic's own queues, 1 and 2 for those of its retry topics by their two names.
    retry: String,
    queue: String,
    offset: String,
}

impl Receipts {
    fn read(frame: &Frame<'_>) -> Option<Self> {
        let mut starts = Vec::new();
        for part in field_text(frame, "startOffsetInfo")?.split(';') {
            let mut words = part.split(' ');
            let (retry, queue, start) = (words.next()?, words.next()?.parse().ok()?, words.next()?.parse().ok()?);
            // What comes again has its receipt with it.
            if retry == "0" {
                starts.push((queue, start));
            }
        }
        Some(Self {
            pop_time: field_number(frame, "popTime")?,
            invisible: field_number(frame, "invisibleTime")?,
            revive_queue: field_number(frame, "reviveQid")?,
            starts,
        })
    }

    /// `None` for a message of which the reply does not speak.
    fn of(&self, record: &Record<'_>, broker: &str) -> Option<Receipt> {
        if let Some(handle) = record.property("POP_CK") {
            let words: Vec<&str> = handle.split(' ').collect();
            let word = |place: usize| words.get(place).map(|word| (*word).to_owned());
            return Some(Receipt { handle: handle.to_owned(), retry: word(4)?, queue: word(6)?, offset: word(7)? });
        }
        let (queue, offset) = (record.queue_id, record.queue_offset);
        let (_, start) = self.starts.iter().find(|(known, _)| *known == queue)?;
        let Self { pop_time, invisible, revive_queue, .. } = self;
        Some(Receipt {
            handle: format!("{start} {pop_time} {invisible} {revive_queue} 0 {broker} {queue} {offset}"),
            retry: "0".to_owned(),
            queue: queue.to_string(),
            offset: offset.to_string(),
        })
    }
}

impl Receipt {
    fn acknowledgement(&self, opaque: i32, group: &str, topic: &str) -> Vec<u8> {
        let topic = match self.retry.as_str() {
            "1" => format!("%RETRY%{group}_{topic}"),
            "2" => format!("%RETRY%{group}+{topic}"),
            _ => topic.to_owned(),
        };
        let fields = [
            ("consumerGroup", group),
            ("topic", &topic),
            ("queueId", &self.queue),
            ("extraInfo", &self.handle),
            ("offset", &self.offset),
        ];
        request(HeaderKind::Json, ACK_MESSAGE, opaque, &fields, &[])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::scan::{HeadScanner, split_frame};

    fn reply(starts: &str) -> Vec<u8> {
        let fields = [("popTime", "1700"), ("invisibleTime", "60000"), ("reviveQid", "5"), ("startOffsetInfo", starts)];
        request(HeaderKind::Json, 0, POP_OPAQUE, &fields, &[])
    }

    fn receipts(bytes: &[u8]) -> Option<Receipts> {
        Receipts::read(&split_frame(bytes).expect("a frame").expect("whole").0)
    }

    /// Of queue 3, at offset 121.
    fn record(properties: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0u8; 88];
        bytes[12..16].copy_from_slice(&3u32.to_be_bytes());
        bytes[20..28].copy_from_slice(&121u64.to_be_bytes());
        bytes.extend_from_slice(b"\x01T");
        bytes.extend_from_slice(&u16::try_from(properties.len()).expect("short").to_be_bytes());
        bytes.extend_from_slice(properties);
        let size = u32::try_from(bytes.len()).expect("short");
        bytes[..4].copy_from_slice(&size.to_be_bytes());
        bytes
    }

    #[test]
    fn a_message_is_acknowledged_by_what_the_pop_said_of_it() {
        let receipts = receipts(&reply("1 0 7;0 3 120;0 1 9")).expect("receipts");
        let bytes = record(b"A\x01b\x02");
        let found = records(&bytes).next().expect("one").expect("whole");
        let receipt = receipts.of(&found, "broker-a").expect("a receipt");
        assert_eq!(receipt.handle, "120 1700 60000 5 0 broker-a 3 121");
        let bytes = receipt.acknowledgement(OPAQUE_MIN + 4, "G", "T");
        let (ack, _) = split_frame(&bytes).expect("a frame").expect("whole");
        let head = HeadScanner::default().head(&ack).expect("a header");
        assert_eq!((head.code, head.opaque), (ACK_MESSAGE, OPAQUE_MIN + 4));
        assert_eq!(
            (field_text(&ack, "topic").as_deref(), field_text(&ack, "extraInfo")),
            (Some("T"), Some(receipt.handle))
        );
        assert_eq!((field_number(&ack, "queueId"), field_number(&ack, "offset")), (Some(3), Some(121)));
    }

    #[test]
    fn what_comes_again_brings_its_receipt() {
        let receipts = receipts(&reply("1 0 7")).expect("receipts");
        for (retry, topic) in [("1", "%RETRY%G_T"), ("2", "%RETRY%G+T"), ("0", "T")] {
            let handle = format!("7 1690 60000 2 {retry} broker-b 0 8");
            let bytes = record(format!("POP_CK\u{1}{handle}\u{2}").as_bytes());
            let found = records(&bytes).next().expect("one").expect("whole");
            let receipt = receipts.of(&found, "broker-a").expect("a receipt");
            assert_eq!(
                (receipt.handle.as_str(), receipt.queue.as_str(), receipt.offset.as_str()),
                (&*handle, "0", "8")
            );
            let bytes = receipt.acknowledgement(OPAQUE_MIN, "G", "T");
            let (ack, _) = split_frame(&bytes).expect("a frame").expect("whole");
            assert_eq!(field_text(&ack, "topic").as_deref(), Some(topic));
        }
    }

    #[test]
    fn what_says_too_little_is_no_receipt() {
        for starts in ["", "0 3", "0 x 120", "0 3 120;"] {
            assert!(receipts(&reply(starts)).is_none(), "{starts}");
        }
        let without = receipts(&reply("0 2 120")).expect("receipts");
        for properties in [b"A\x01b\x02".as_slice(), b"POP_CK\x017 1690\x02"] {
            let bytes = record(properties);
            assert_eq!(without.of(&records(&bytes).next().expect("one").expect("whole"), "b"), None);
        }
    }
}
