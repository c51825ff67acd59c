//! One consuming connection: a long poll a queue, as a stock pull consumer keeps it, and the books on what arrived.

use crate::load::connection::{Connection, ReadBuffer};
use crate::load::error::LoadError;
use crate::load::frame::{HEART_BEAT, HeaderKind, OPAQUE_MIN, PULL_MESSAGE, request};
use crate::load::record::{Stamp, bodies};
use crate::load::scan::{Frame, field_number, remark};
use crate::load::tally::Tally;

/// The group that pulls.
pub const GROUP: &str = "ringmq_bench_consumer";

/// How long the broker may hold a pull without messages, ms: the stock client's value.
const SUSPEND_MS: &str = "15000";
/// Messages a pull may return: the stock client's value.
const MESSAGES_MAX: &str = "32";
/// May suspend (2); the subscription in the header counts (4), so that no heartbeat is needed.
const PULL_FLAGS: &str = "6";

/// Pulls all queues of one broker on one connection.
#[derive(Debug)]
pub struct Consumer {
    /// The socket; the loop flushes it.
    pub connection: Connection,
    kind: HeaderKind,
    topic: String,
    /// The offset that each queue's next pull asks for.
    offsets: Vec<i64>,
    /// Queues whose pull was refused; asked again by [`Self::retry`].
    refused: Vec<usize>,
}

impl Consumer {
    /// Pulls queue `n` from `offsets[n]` on.
    pub fn new(connection: Connection, kind: HeaderKind, topic: &str, offsets: Vec<i64>) -> Self {
        let refused = (0..offsets.len()).collect();
        Self { connection, kind, topic: topic.to_owned(), offsets, refused }
    }

    /// Asks all queues that have no pull outstanding: at the start, and once a second those that were refused.
    pub fn retry(&mut self) {
        for queue in std::mem::take(&mut self.refused) {
            self.pull(queue);
        }
    }

    /// Makes the group known once more: brokers forget clients that are silent for two minutes.
    pub fn heartbeat(&mut self) {
        let frame = heartbeat(self.kind, &self.topic);
        self.connection.out().extend_from_slice(&frame);
    }

    fn pull(&mut self, queue: usize) {
        let (queue_id, offset) = (queue.to_string(), self.offsets[queue].to_string());
        let fields = [
            ("consumerGroup", GROUP),
            ("topic", &self.topic),
            ("queueId", &queue_id),
            ("queueOffset", &offset),
            ("maxMsgNums", MESSAGES_MAX),
            ("sysFlag", PULL_FLAGS),
            ("commitOffset", "0"),
            ("suspendTimeoutMillis", SUSPEND_MS),
            ("subscription", "*"),
            ("subVersion", "0"),
            ("expressionType", "TAG"),
        ];
        let opaque = OPAQUE_MIN + i32::try_from(queue).expect("queues are few");
        let frame = request(self.kind, PULL_MESSAGE, opaque, &fields, &[]);
        self.connection.out().extend_from_slice(&frame);
    }

    /// Reads replies, pulls again, and enters what arrived into `books` and `tally`.
    ///
    /// # Errors
    /// When the connection ended, broke, or brings what is no frame or no record.
    pub fn receive(&mut self, buffer: &mut ReadBuffer, books: &mut Books, tally: &mut Tally) -> Result<(), LoadError> {
        let target = self.connection.target();
        let (offsets, refused) = (&mut self.offsets, &mut self.refused);
        let mut answered = Vec::new();
        self.connection.receive(buffer, |now, head, frame| {
            let queue = head.opaque.checked_sub(OPAQUE_MIN).and_then(|number| usize::try_from(number).ok());
            let Some((queue, offset)) = queue.and_then(|queue| Some((queue, offsets.get_mut(queue)?))) else {
                return Ok(());
            };
            if !head.is_reply() {
                return Ok(());
            }
            match head.code {
                0 => books.enter(frame, now, tally).map_err(|source| LoadError::Record { target, source })?,
                19..=21 => {}
                code => {
                    books.refusals += 1;
                    books.first_refusal.get_or_insert_with(|| format!("code {code}: {}", remark(frame)));
                    refused.push(queue);
                    return Ok(());
                }
            }
            if let Some(next) = field_number(frame, "nextBeginOffset") {
                *offset = next;
            }
            answered.push(queue);
            Ok(())
        })?;
        for queue in answered {
            self.pull(queue);
        }
        Ok(())
    }
}

/// The heartbeat of a pull consumer.
pub fn heartbeat(kind: HeaderKind, topic: &str) -> Vec<u8> {
    let body = serde_json::json!({
        "clientID": format!("127.0.0.1@ringmq-bench#{}", std::process::id()),
        "consumerDataSet": [{
            "consumeFromWhere": "CONSUME_FROM_LAST_OFFSET",
            "consumeType": "CONSUME_ACTIVELY",
            "groupName": GROUP,
            "messageModel": "CLUSTERING",
            "subscriptionDataSet": [{
                "classFilterMode": false, "codeSet": [], "expressionType": "TAG", "subString": "*", "subVersion": 0, "tagsSet": [],
                "topic": topic,
            }],
            "unitMode": false,
        }],
        "producerDataSet": [],
    });
    request(kind, HEART_BEAT, 1, &[], body.to_string().as_bytes())
}

/// What the producers know to be stored and what the consumers got, by message number.
#[derive(Debug, Default)]
pub struct Books {
    run_id: u64,
    stored: Bits,
    received: Bits,
    duplicates: u64,
    refusals: u64,
    first_refusal: Option<String>,
}

impl Books {
    /// For the messages of one run.
    pub fn new(run_id: u64) -> Self {
        Self { run_id, ..Self::default() }
    }

    /// The broker says that it holds this message.
    pub fn stored(&mut self, sequence: u64) {
        self.stored.set(sequence);
    }

    fn enter(&mut self, frame: &Frame<'_>, now: u64, tally: &mut Tally) -> Result<(), crate::load::record::BadRecord> {
        for body in bodies(frame.body) {
            let Some(stamp) = Stamp::read(body?) else { continue };
            if stamp.run_id != self.run_id {
                continue;
            }
            if self.received.set(stamp.sequence) {
                tally.received(stamp.intended_ns, now);
            } else {
                self.duplicates += 1;
            }
        }
        Ok(())
    }

    /// Different messages received.
    pub fn received_count(&self) -> u64 {
        self.received.count
    }

    /// Messages received once more.
    pub fn duplicates(&self) -> u64 {
        self.duplicates
    }

    /// Messages that the broker holds, by its own word, and that no consumer got.
    pub fn missing(&self) -> u64 {
        self.stored.count_without(&self.received)
    }

    /// Pulls refused, and what the broker said the first time.
    pub fn refusals(&self) -> (u64, Option<&str>) {
        (self.refusals, self.first_refusal.as_deref())
    }
}

/// A growing set of small numbers.
#[derive(Debug, Default)]
struct Bits {
    words: Vec<u64>,
    count: u64,
}

/// Numbers beyond this are not ours: no run sends that many, and a forged stamp must not take the memory.
const SEQUENCE_MAX: u64 = 1 << 32;

impl Bits {
    /// Whether `number` is new.
    fn set(&mut self, number: u64) -> bool {
        if number >= SEQUENCE_MAX {
            return false;
        }
        let (word, bit) = (usize::try_from(number / 64).expect("64-bit machine"), 1u64 << (number % 64));
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        let is_new = self.words[word] & bit == 0;
        self.words[word] |= bit;
        self.count += u64::from(is_new);
        is_new
    }

    fn count_without(&self, others: &Self) -> u64 {
        let others = others.words.iter().copied().chain(std::iter::repeat(0));
        self.words.iter().zip(others).map(|(word, other)| u64::from((word & !other).count_ones())).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_is_what_was_stored_and_not_received() {
        let mut books = Books::new(1);
        for sequence in [0, 1, 63, 64, 1000] {
            books.stored(sequence);
        }
        for sequence in [1, 64, 2] {
            assert!(books.received.set(sequence));
        }
        assert!(!books.received.set(64));
        assert_eq!((books.missing(), books.received_count()), (3, 3));
        assert!(!books.received.set(u64::MAX), "a number out of all bounds");
    }
}
