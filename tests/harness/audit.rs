//! A book of everything that was sent, and its comparison with what a broker has.
//!
//! Each message has a number, which decides all of its body: what comes back is compared byte for byte without keeping it. The
//! book knows of each number where it was sent and, once the broker has said so, where it is stored.
//!
//! What [`Audit::verify`] holds a broker to:
//!
//! - every acknowledged message is at the queue offset and log offset of its reply, with its content;
//! - what is there was sent, to this queue, and is there once; nothing is torn or invented, nothing refused is there;
//! - the offsets of a queue have no gap from its minimum, 0, to its maximum.
//!
//! A message without a reply may be there or not: that is what no reply means.
use std::collections::BTreeMap;
use std::io;

use crate::client::{Client, code};
use crate::frame::{Frame, invalid};
use crate::record::Record;
use crate::seed::Random;

/// The body of the smallest message: its number and its length.
pub(crate) const BODY_BYTES_MIN: usize = 12;

/// A message queue of the node under test.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Queue {
    pub shard: u16,
    pub topic: String,
    pub queue_id: i32,
}

/// Where a reply says that a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub queue_offset: i64,
    pub log_offset: i64,
}

/// One message of the book.
#[derive(Debug, Clone)]
pub struct Sent {
    pub number: u64,
    pub queue: Queue,
    pub body_bytes: usize,
    /// `None` without a reply of success.
    pub place: Option<Place>,
    /// The broker said that it did not store it.
    pub refused: bool,
}

/// The body of message `number`: number, length, and bytes that follow from both.
pub fn body_of(number: u64, body_bytes: usize) -> Vec<u8> {
    assert!(body_bytes >= BODY_BYTES_MIN, "no room for number and length");
    let mut body = vec![0; body_bytes];
    let length = u32::try_from(body_bytes).expect("messages of a test are small");
    body[..8].copy_from_slice(&number.to_be_bytes());
    body[8..12].copy_from_slice(&length.to_be_bytes());
    Random::of(number).fill(&mut body[12..]);
    body
}

/// The number in a body, if all of it is as [`body_of`] makes it.
fn number_of(body: &[u8]) -> Result<u64, &'static str> {
    let number = body.first_chunk::<8>().map(|bytes| u64::from_be_bytes(*bytes)).ok_or("shorter than its number")?;
    if body.len() < BODY_BYTES_MIN {
        return Err("shorter than its length field");
    }
    if body_of(number, body.len()) == body { Ok(number) } else { Err("not the bytes of its number") }
}

/// Log offset in a broker's message id: the last 16 of 32 or 56 hexadecimal digits.
pub fn log_offset_of(msg_id: &str) -> io::Result<i64> {
    let digits = msg_id.len().checked_sub(16).and_then(|at| msg_id.get(at..));
    digits
        .and_then(|digits| i64::from_str_radix(digits, 16).ok())
        .ok_or_else(|| invalid(format!("message id {msg_id:?}")))
}

/// The book.
#[derive(Debug, Default)]
pub struct Audit {
    sent: BTreeMap<u64, Sent>,
    /// Number of the message at each offset of a queue, as far as verified.
    found: BTreeMap<Queue, Vec<u64>>,
    /// Queue and offset of each number found: a second place is a copy.
    places: BTreeMap<u64, (Queue, i64)>,
}

impl Audit {
    /// Enters messages; their numbers must be new.
    pub fn enter(&mut self, messages: Vec<Sent>) {
        for message in messages {
            let old = self.sent.insert(message.number, message);
            assert!(old.is_none(), "a number was used twice: {old:?}");
        }
    }

    /// How many messages have been acknowledged.
    pub fn acknowledged(&self) -> usize {
        self.sent.values().filter(|message| message.place.is_some()).count()
    }

    /// The same of one shard.
    pub fn acknowledged_of(&self, shard: u16) -> usize {
        self.sent.values().filter(|message| message.place.is_some() && message.queue.shard == shard).count()
    }

    /// How many messages were found, and how many of them had no reply.
    pub fn found(&self) -> (usize, usize) {
        let without_reply = self.places.keys().filter(|number| self.sent[*number].place.is_none()).count();
        (self.places.len(), without_reply)
    }

    /// Forgets what was found, so that the next [`Audit::verify`] reads all again.
    pub fn read_all_again(&mut self) {
        self.found.clear();
        self.places.clear();
    }

    /// Reads what is new in `queues`, which are all queues of `client`'s shard, and compares it with the book. The error lists
    /// what is wrong, up to twenty lines.
    pub fn verify(&mut self, client: &mut Client, queues: &[Queue]) -> Result<(), String> {
        let mut problems = Vec::new();
        for queue in queues {
            if let Err(error) = self.verify_queue(client, queue, &mut problems) {
                problems.push(format!("{queue:?}: {error}"));
            }
        }
        for message in self.sent.values().filter(|message| queues.contains(&message.queue)) {
            let Some(place) = message.place else { continue };
            if !self.places.contains_key(&message.number) {
                problems.push(format!("lost: {} of {:?}, acknowledged at {place:?}", message.number, message.queue));
            }
        }
        if problems.is_empty() {
            return Ok(());
        }
        let count = problems.len();
        problems.truncate(20);
        Err(format!("{count} problems:\n{}", problems.join("\n")))
    }

    /// The same for a replica that may lack the newest messages: of each queue only those at its end. Returns how many acknowledged ones it
    /// lacks.
    pub fn verify_but_ends(&mut self, client: &mut Client, queues: &[Queue]) -> Result<usize, String> {
        let mut problems = Vec::new();
        for queue in queues {
            if let Err(error) = self.verify_queue(client, queue, &mut problems) {
                problems.push(format!("{queue:?}: {error}"));
            }
        }
        let mut missing = 0;
        for message in self.sent.values().filter(|message| queues.contains(&message.queue)) {
            let Some(place) = message.place.filter(|_| !self.places.contains_key(&message.number)) else { continue };
            let end = self.found.get(&message.queue).map_or(0, Vec::len);
            if usize::try_from(place.queue_offset).is_ok_and(|offset| offset >= end) {
                missing += 1;
            } else {
                problems.push(format!("lost: {} of {:?}, which goes on behind it", message.number, message.queue));
            }
        }
        if problems.is_empty() { Ok(missing) } else { Err(problems.join("\n")) }
    }

    /// The same for a replica whose oldest messages retention took: of each queue all that lies from its first offset on. Begin with
    /// [`Audit::read_all_again`]. Returns how many acknowledged messages are there.
    pub fn verify_from_start(&mut self, client: &mut Client, queues: &[Queue]) -> Result<usize, String> {
        let (mut problems, mut kept) = (Vec::new(), 0);
        for queue in queues {
            let begin = first_offset(client, queue).map_err(|error| error.to_string())?;
            if let Err(error) = self.verify_records(client, queue, begin, &mut problems) {
                problems.push(format!("{queue:?}: {error}"));
            }
            for message in self.sent.values().filter(|message| message.queue == *queue) {
                match (message.place, self.places.contains_key(&message.number)) {
                    (Some(_), true) => kept += 1,
                    (Some(place), false) if place.queue_offset >= begin => {
                        problems.push(format!("lost: {} of {queue:?}, which begins at {begin}", message.number));
                    }
                    _ => {}
                }
            }
        }
        if problems.is_empty() { Ok(kept) } else { Err(problems.join("\n")) }
    }

    fn verify_queue(&mut self, client: &mut Client, queue: &Queue, problems: &mut Vec<String>) -> io::Result<()> {
        let begin = self.found.get(queue).map_or(0, Vec::len);
        let begin = i64::try_from(begin).expect("a test's queue is short");
        let (min, max) =
            (client.min_offset(&queue.topic, queue.queue_id)?, client.max_offset(&queue.topic, queue.queue_id)?);
        if min != 0 || max < begin {
            problems.push(format!("{queue:?}: offsets {min}..{max}, but 0..{begin} were there"));
            return Ok(());
        }
        self.verify_records(client, queue, begin, problems)
    }

    fn verify_records(
        &mut self,
        client: &mut Client,
        queue: &Queue,
        begin: i64,
        problems: &mut Vec<String>,
    ) -> io::Result<()> {
        let max = client.max_offset(&queue.topic, queue.queue_id)?;
        let records = client.read_queue(&queue.topic, queue.queue_id, begin)?;
        for (offset, record) in (begin..).zip(&records) {
            if let Err(problem) = self.verify_record(queue, offset, record) {
                problems.push(format!("{queue:?} offset {offset}: {problem}"));
            }
        }
        let end = begin + i64::try_from(records.len()).expect("a test's queue is short");
        if end != max {
            problems.push(format!("{queue:?}: {} records from {begin} on, but the end is {max}", records.len()));
        }
        Ok(())
    }

    fn verify_record(&mut self, queue: &Queue, offset: i64, record: &Record) -> Result<(), String> {
        if record.queue_offset != offset {
            return Err(format!("the record there says offset {}", record.queue_offset));
        }
        let number =
            number_of(&record.body).map_err(|problem| format!("a body of {}: {problem}", record.body.len()))?;
        let sent = self.sent.get(&number).ok_or_else(|| format!("message {number} was never sent"))?;
        let same_queue = sent.queue == *queue && record.topic == queue.topic && record.queue_id == queue.queue_id;
        if !same_queue || sent.body_bytes != record.body.len() {
            return Err(format!("{} with {} bytes is {sent:?}", record.topic, record.body.len()));
        }
        if sent.refused {
            return Err(format!("message {number} was refused"));
        }
        let here = Place { queue_offset: record.queue_offset, log_offset: record.log_offset };
        if let Some(place) = sent.place.filter(|place| *place != here) {
            return Err(format!("message {number} is at {here:?}, its reply said {place:?}"));
        }
        if let Some((other_queue, other)) = self.places.insert(number, (queue.clone(), offset)) {
            return Err(format!("message {number} is there twice, also at {other} of {other_queue:?}"));
        }
        self.found.entry(queue.clone()).or_default().push(number);
        Ok(())
    }

    /// Asks for `count` acknowledged messages of a shard by their log offsets, as `queryMsgById` does.
    pub fn view_some(&self, client: &mut Client, shard: u16, count: usize, random: &mut Random) -> Result<(), String> {
        let stored: Vec<(&Sent, Place)> = self
            .sent
            .values()
            .filter(|message| message.queue.shard == shard)
            .filter_map(|message| Some((message, message.place?)))
            .collect();
        for _ in 0..if stored.is_empty() { 0 } else { count } {
            let (sent, place) = random.choose(&stored);
            let record = view(client, &sent.queue.topic, place.log_offset)
                .map_err(|error| format!("no message at {place:?} for {sent:?}: {error}"))?;
            let same = record.queue_offset == place.queue_offset
                && record.log_offset == place.log_offset
                && record.queue_id == sent.queue.queue_id
                && number_of(&record.body) == Ok(sent.number);
            if !same {
                return Err(format!("at {place:?} is {record:?} instead of {sent:?}"));
            }
        }
        Ok(())
    }
}

/// Offset of the first message of a queue that is there, or of its end. What a broker calls its minimum may be lower: it knows without reading
/// only which blocks of a queue are gone, not where in a block the log begins.
fn first_offset(client: &mut Client, queue: &Queue) -> io::Result<i64> {
    let mut next = client.min_offset(&queue.topic, queue.queue_id)?;
    loop {
        let pulled = client.pull("HARNESS_READER", &queue.topic, queue.queue_id, next, 1)?;
        match pulled.records.first() {
            Some(record) => return Ok(record.queue_offset),
            None if pulled.code == code::PULL_RETRY_IMMEDIATELY && pulled.next_begin_offset > next => {
                next = pulled.next_begin_offset;
            }
            None => return Ok(next),
        }
    }
}

/// `VIEW_MESSAGE_BY_ID`: the one record at a log offset.
pub fn view(client: &mut Client, topic: &str, log_offset: i64) -> io::Result<Record> {
    let request = Frame::request(code::VIEW_MESSAGE_BY_ID).ext("offset", log_offset).ext("topic", topic);
    let response = client.expect_success("view", request)?;
    let mut records = Record::decode_all(&response.body)?;
    match (records.pop(), records.is_empty()) {
        (Some(record), true) => Ok(record),
        _ => Err(invalid("not one record")),
    }
}

#[test]
fn a_body_tells_its_number_and_any_damage() {
    let body = body_of(7, 100);
    assert_eq!(number_of(&body), Ok(7));
    for at in 0..body.len() {
        let mut damaged = body.clone();
        damaged[at] ^= 1;
        assert!(number_of(&damaged).is_err(), "byte {at}");
    }
    assert!(number_of(&body[..99]).is_err() && number_of(&body[..3]).is_err());
}
