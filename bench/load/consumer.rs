//! One consuming connection: a long poll a queue, as a stock pull consumer keeps it, and the books on what arrived.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use hdrhistogram::Histogram;
use mio::{Registry, Token};

use crate::load::connection::{Connection, ReadBuffer};
use crate::load::error::LoadError;
use crate::load::frame::{HEART_BEAT, HeaderKind, OPAQUE_MIN, PULL_MESSAGE, request};
use crate::load::record::{BadRecord, Stamp, bodies, is_intact};
use crate::load::scan::{Frame, field_number, remark};
use crate::load::settings::Filter;
use crate::load::skew::Skew;
use crate::load::tally::{Tally, latency_histogram};
use crate::load::transaction::Endings;

/// How long the broker may hold a pull without messages, ms: the stock client's value.
const SUSPEND_MS: &str = "15000";
/// Messages a pull may return: the stock client's value.
const MESSAGES_MAX: &str = "32";
/// May suspend (2); the subscription in the header counts (4), so that no heartbeat is needed.
const PULL_FLAGS: &str = "6";

/// The first has no number, for most loads have one group.
pub fn group_name(number: usize) -> String {
    if number == 0 { "ringmq_bench_consumer".to_owned() } else { format!("ringmq_bench_consumer_{number}") }
}

/// A queue of the load.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub struct Queue {
    pub topic: Rc<str>,
    /// Its number.
    pub id: u32,
}

/// Name of topic `number` of those that are called `first`, `first-1`, `first-2` ...
pub fn topic_name(first: &str, number: u32) -> String {
    if number == 0 { first.to_owned() } else { format!("{first}-{number}") }
}

/// All queues of a load, topic by topic.
pub fn queues(first: &str, topics: u32, queues: u32) -> Rc<[Queue]> {
    let topics = (0..topics).map(|number| Rc::from(topic_name(first, number)));
    topics.flat_map(|topic: Rc<str>| (0..queues).map(move |id| Queue { topic: Rc::clone(&topic), id })).collect()
}

/// Who pulls, and from where.
#[derive(Debug, Clone)]
pub struct Post {
    /// Number of the group.
    pub group: usize,
    /// Number of the broker among the sources.
    pub source: usize,
    /// The broker's replicas in the order in which they are tried.
    pub replicas: Vec<SocketAddr>,
    /// All queues of the load.
    pub queues: Rc<[Queue]>,
    /// How headers are written.
    pub header: HeaderKind,
    /// What the group asks for; none for all.
    pub filter: Option<Filter>,
    /// Whether it pops.
    pub pops: bool,
}

impl Post {
    /// Those who pop are no members of a group that pulls.
    pub fn group_name(&self) -> String {
        let name = group_name(self.group);
        if self.pops { format!("{name}_pop") } else { name }
    }
}

/// Pulls all queues of one broker for one group on one connection.
#[derive(Debug)]
pub struct Consumer {
    post: Post,
    group: String,
    /// Which replica it is connected to.
    at: usize,
    link: Option<Connection>,
    is_up: bool,
    /// The offset that each queue's next pull asks for.
    offsets: Vec<i64>,
    /// Queues whose pull was refused; asked again by [`Self::retry`].
    refused: Vec<usize>,
}

impl Consumer {
    /// Pulls queue `n` from `offsets[n]` on, over a connection that is made.
    pub fn new(connection: Connection, post: Post, offsets: Vec<i64>) -> Self {
        let refused = (0..offsets.len()).collect();
        let group = post.group_name();
        Self { post, group, at: 0, link: Some(connection), is_up: true, offsets, refused }
    }

    /// Asks all queues that have no pull outstanding: at the start, and once a second those that were refused.
    pub fn retry(&mut self) {
        if self.is_up {
            for queue in std::mem::take(&mut self.refused) {
                self.pull(queue);
            }
        }
    }

    /// Makes the group known once more: brokers forget clients that are silent for two minutes.
    pub fn heartbeat(&mut self) {
        let frame = heartbeat(&self.post);
        if let Some(link) = self.link.as_mut().filter(|_| self.is_up) {
            link.out().extend_from_slice(&frame);
        }
    }

    /// Writes what was gathered.
    ///
    /// # Errors
    /// When the connection broke.
    pub fn flush(&mut self) -> Result<(), LoadError> {
        match &mut self.link {
            Some(link) if self.is_up => link.flush(),
            _ => Ok(()),
        }
    }

    fn pull(&mut self, queue: usize) {
        let Some(link) = &mut self.link else { return };
        let at = &self.post.queues[queue];
        let (queue_id, offset) = (at.id.to_string(), self.offsets[queue].to_string());
        let (expression_type, expression) = Filter::expression(self.post.filter);
        let fields = [
            ("consumerGroup", self.group.as_str()),
            ("topic", &at.topic),
            ("queueId", &queue_id),
            ("queueOffset", &offset),
            ("maxMsgNums", MESSAGES_MAX),
            ("sysFlag", PULL_FLAGS),
            ("commitOffset", "0"),
            ("suspendTimeoutMillis", SUSPEND_MS),
            ("subscription", expression),
            ("subVersion", "0"),
            ("expressionType", expression_type),
        ];
        let opaque = OPAQUE_MIN + i32::try_from(queue).expect("queues are at most 100,000");
        link.out().extend_from_slice(&request(self.post.header, PULL_MESSAGE, opaque, &fields, &[]));
    }

    /// Reads replies, pulls again, and enters what arrived into `books` and `tally`.
    ///
    /// # Errors
    /// When the connection ended, broke, or brings what is no frame or no record.
    pub fn receive(&mut self, buffer: &mut ReadBuffer, books: &mut Books, tally: &mut Tally) -> Result<(), LoadError> {
        let Some(link) = &mut self.link else { return Ok(()) };
        if !self.is_up {
            self.is_up = link.is_up()?;
            if !self.is_up {
                return Ok(());
            }
            self.heartbeat();
            self.retry();
        }
        let Some(link) = &mut self.link else { return Ok(()) };
        let target = link.target();
        let (offsets, refused, post) = (&mut self.offsets, &mut self.refused, &self.post);
        let mut answered = Vec::new();
        link.receive(buffer, |now, head, frame| {
            let queue = head.opaque.checked_sub(OPAQUE_MIN).and_then(|number| usize::try_from(number).ok());
            let Some((queue, offset)) = queue.and_then(|queue| Some((queue, offsets.get_mut(queue)?))) else {
                return Ok(());
            };
            if !head.is_reply() {
                return Ok(());
            }
            match head.code {
                0 => {
                    let entered = books.enter(frame, now, tally, (post.group, post.source, queue));
                    entered.map_err(|source| LoadError::Record { target, source })?;
                }
                19..=21 => {}
                code => {
                    books.refused(code, || remark(frame));
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

    /// Whether each queue's next pull asks for what lies at `ends` or behind.
    pub fn is_past(&self, ends: &[i64]) -> bool {
        self.offsets.iter().zip(ends).all(|(offset, end)| offset >= end)
    }

    /// Gives the connection up; the broker's next replica is the next to be asked.
    pub fn lose(&mut self) {
        self.link = None;
        self.is_up = false;
        self.at = (self.at + 1) % self.post.replicas.len();
        self.refused = (0..self.offsets.len()).collect();
    }

    /// Begins to connect again if it has no connection.
    pub fn reconnect(&mut self, registry: &Registry, token: Token) {
        if self.link.is_none() {
            self.link = Connection::begin(self.post.replicas[self.at], registry, token).ok();
            if self.link.is_none() {
                self.at = (self.at + 1) % self.post.replicas.len();
            }
        }
    }
}

/// What makes a consumer known: its group, and what that asks for.
pub fn heartbeat(post: &Post) -> Vec<u8> {
    let mut topics: Vec<&str> = post.queues.iter().map(|queue| &*queue.topic).collect();
    topics.dedup();
    let (expression_type, expression) = Filter::expression(post.filter);
    let tags: &[&str] = if post.filter == Some(Filter::Tag) { &[expression] } else { &[] };
    // Java's hash of a text.
    let code = |tag: &&str| tag.bytes().fold(0i32, |code, byte| code.wrapping_mul(31).wrapping_add(i32::from(byte)));
    let codes: Vec<i32> = tags.iter().map(code).collect();
    let subscriptions: Vec<serde_json::Value> = topics
        .iter()
        .map(|topic| {
            serde_json::json!({
                "classFilterMode": false, "codeSet": codes, "expressionType": expression_type, "subString": expression,
                "subVersion": 0, "tagsSet": tags, "topic": topic,
            })
        })
        .collect();
    let body = serde_json::json!({
        "clientID": format!("127.0.0.1@ringmq-bench#{}", std::process::id()),
        "consumerDataSet": [{
            "consumeFromWhere": "CONSUME_FROM_LAST_OFFSET",
            "consumeType": if post.pops { "CONSUME_PASSIVELY" } else { "CONSUME_ACTIVELY" },
            "groupName": post.group_name(),
            "messageModel": "CLUSTERING",
            "subscriptionDataSet": subscriptions,
            "unitMode": false,
        }],
        "producerDataSet": [],
    });
    request(post.header, HEART_BEAT, OPAQUE_MIN - 1, &[], body.to_string().as_bytes())
}

/// Which messages consumers are to get, of those that are stored.
#[derive(Debug, Clone, Copy)]
pub struct Selection {
    /// Those that are committed, of transactions.
    pub transactions: Option<Endings>,
    /// Every so many-th, from the first on: what a filter lets pass.
    pub one_in: u64,
}

impl Default for Selection {
    fn default() -> Self {
        Self { transactions: None, one_in: 1 }
    }
}

impl Selection {
    /// Whether number `sequence` is to arrive.
    pub fn holds(self, sequence: u64) -> bool {
        sequence.is_multiple_of(self.one_in) && self.transactions.is_none_or(|endings| endings.commits(sequence))
    }
}

/// What the producers know to be stored and what each group got, by message number.
#[derive(Debug)]
pub struct Books {
    /// `None` for the messages of whatever run.
    run_id: Option<u64>,
    /// The clock of those who send, if it is another than ours.
    clock: Option<Skew>,
    /// Messages pulled, of whatever run, and bytes of their bodies.
    pulled: (u64, u64),
    is_audit: bool,
    /// How long brokers keep each message.
    deliver_after_ns: u64,
    selection: Selection,
    stored: Bits,
    received: Vec<Bits>,
    /// By group; empty where messages are pulled.
    acknowledged: Vec<Bits>,
    duplicates: u64,
    unwanted: u64,
    corrupt: u64,
    out_of_order: u64,
    /// The last number that a group got from a queue of a source by a sender.
    last: HashMap<(usize, usize, usize, u32), u64>,
    refusals: u64,
    first_refusal: Option<String>,
    lag: Option<Lag>,
}

/// How much later messages arrive at the second group, which pulls from slaves, than at the first, which pulls from their masters.
#[derive(Debug)]
struct Lag {
    /// When each message arrived at the first of the two to get it, by its number; 0 for not yet.
    first_ns: Vec<u64>,
    histogram: Histogram<u64>,
}

impl Lag {
    fn arrived(&mut self, sequence: u64, group: usize, now: u64) {
        let Ok(index) = usize::try_from(sequence) else { return };
        if index >= self.first_ns.len() {
            self.first_ns.resize(index + 1, 0);
        }
        match std::mem::replace(&mut self.first_ns[index], now) {
            0 => {}
            // The slave's consumer was the first: it waited for nothing.
            _ if group == 0 => self.histogram.saturating_record(0),
            first => self.histogram.saturating_record(now.saturating_sub(first)),
        }
    }
}

impl Books {
    /// For the messages of one run that `groups` pull; `is_audit` to check content and order, `is_lag` if the second group pulls from slaves.
    pub fn new(run_id: u64, groups: usize, is_audit: bool, is_lag: bool) -> Self {
        let lag = is_lag.then(|| Lag { first_ns: Vec::new(), histogram: latency_histogram() });
        Self { run_id: Some(run_id), is_audit, lag, ..Self::of_others(groups, None) }
    }

    /// The same of messages that brokers keep for so long before they deliver them.
    #[must_use]
    pub fn deliver_after(self, time: Duration) -> Self {
        Self { deliver_after_ns: u64::try_from(time.as_nanos()).expect("a time for people"), ..self }
    }

    /// The same of messages that are popped, and to be acknowledged.
    #[must_use]
    pub fn popped(self) -> Self {
        Self { acknowledged: self.received.iter().map(|_| Bits::default()).collect(), ..self }
    }

    /// The same of messages that are not all to arrive.
    #[must_use]
    pub fn select(self, selection: Selection) -> Self {
        Self { selection, ..self }
    }

    /// For the messages of whatever run, stamped with `clock`: they are counted and timed, and nothing is known of them.
    pub fn of_others(groups: usize, clock: Option<Skew>) -> Self {
        Self {
            run_id: None,
            clock,
            pulled: (0, 0),
            is_audit: false,
            deliver_after_ns: 0,
            selection: Selection::default(),
            stored: Bits::default(),
            received: (0..groups).map(|_| Bits::default()).collect(),
            acknowledged: Vec::new(),
            duplicates: 0,
            unwanted: 0,
            corrupt: 0,
            out_of_order: 0,
            last: HashMap::new(),
            refusals: 0,
            first_refusal: None,
            lag: None,
        }
    }

    /// The broker says that it holds these messages.
    pub fn stored(&mut self, first: u64, messages: u64) {
        for sequence in (first..first + messages).filter(|sequence| self.selection.holds(*sequence)) {
            self.stored.set(sequence);
        }
    }

    fn enter(
        &mut self,
        frame: &Frame<'_>,
        now: u64,
        tally: &mut Tally,
        (group, source, queue): (usize, usize, usize),
    ) -> Result<(), BadRecord> {
        for body in bodies(frame.body) {
            self.take(body?, now, tally, (group, source, queue));
        }
        Ok(())
    }

    /// Enters a message that arrived at `now` at a group from a queue of a source; its stamp if it is of this run and whole.
    pub fn take(
        &mut self,
        body: &[u8],
        now: u64,
        tally: &mut Tally,
        (group, source, queue): (usize, usize, usize),
    ) -> Option<Stamp> {
        self.pulled = (self.pulled.0 + 1, self.pulled.1 + body.len() as u64);
        let stamp = Stamp::read(body)?;
        match self.run_id {
            Some(run_id) if run_id != stamp.run_id => return None,
            Some(_) => {}
            None => {
                let intended_ns = self.clock.map_or(stamp.intended_ns, |clock| clock.to_ours(stamp.intended_ns));
                tally.received(intended_ns, intended_ns, now);
                return None;
            }
        }
        if self.is_audit && !is_intact(body) {
            self.corrupt += 1;
            return None;
        }
        if !self.selection.holds(stamp.sequence) {
            self.unwanted += 1;
            return Some(stamp);
        }
        if !self.received[group].set(stamp.sequence) {
            self.duplicates += 1;
            return Some(stamp);
        }
        tally.received(stamp.intended_ns, stamp.intended_ns + self.deliver_after_ns, now);
        if let Some(lag) = &mut self.lag {
            lag.arrived(stamp.sequence, group, now);
        }
        // Those who pop share the queues of their group, and none sees the order of one.
        if self.is_audit && self.acknowledged.is_empty() {
            let last = self.last.entry((group, source, queue, stamp.sender)).or_insert(stamp.sequence);
            if stamp.sequence < *last {
                self.out_of_order += 1;
            }
            *last = stamp.sequence.max(*last);
        }
        Some(stamp)
    }

    /// The broker says that it knows this message to be done by a group.
    pub fn acknowledged(&mut self, group: usize, sequence: u64) {
        if let Some(acknowledged) = self.acknowledged.get_mut(group) {
            acknowledged.set(sequence);
        }
    }

    /// The broker refuses a consumer's request.
    pub fn refused(&mut self, code: i32, remark: impl FnOnce() -> String) {
        self.refusals += 1;
        self.first_refusal.get_or_insert_with(|| format!("code {code}: {}", remark()));
    }

    /// Messages pulled, of whatever run, and bytes of their bodies.
    pub fn pulled(&self) -> (u64, u64) {
        self.pulled
    }

    /// Different messages received, by all groups.
    pub fn received_count(&self) -> u64 {
        self.received.iter().map(|received| received.count).sum()
    }

    /// Messages received once more.
    pub fn duplicates(&self) -> u64 {
        self.duplicates
    }

    /// Messages received that are not to arrive.
    pub fn unwanted(&self) -> u64 {
        self.unwanted
    }

    /// Messages of this run whose content is not what was sent. Only in an audit.
    pub fn corrupt(&self) -> u64 {
        self.corrupt
    }

    /// Messages received after a later one of the same sender and queue. Only in an audit.
    pub fn out_of_order(&self) -> u64 {
        self.out_of_order
    }

    /// Messages that the broker holds, by its own word, and that a group did not get, summed over the groups.
    pub fn missing(&self) -> u64 {
        self.received.iter().map(|received| self.stored.count_without(received)).sum()
    }

    /// Messages that the broker holds and that a group did not acknowledge, summed over the groups; 0 where messages are pulled.
    pub fn unacknowledged(&self) -> u64 {
        self.acknowledged.iter().map(|acknowledged| self.stored.count_without(acknowledged)).sum()
    }

    /// Whether there is nothing more to come.
    pub fn is_even(&self) -> bool {
        self.missing() == 0 && self.unacknowledged() == 0
    }

    /// About [`Self::missing`], or [`Self::unacknowledged`] of what is popped, without a look at each message.
    pub fn backlog(&self) -> u64 {
        let done = if self.acknowledged.is_empty() { &self.received } else { &self.acknowledged };
        done.iter().map(|received| self.stored.count.saturating_sub(received.count)).sum()
    }

    /// How much later messages arrived over the slaves, ns; if that was asked for.
    pub fn lag(&self) -> Option<&Histogram<u64>> {
        self.lag.as_ref().map(|lag| &lag.histogram)
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
        let mut books = Books::new(1, 2, false, false);
        for sequence in [0, 1, 63, 64, 1000] {
            books.stored(sequence, 1);
        }
        for sequence in [1, 64, 2] {
            assert!(books.received[0].set(sequence) && books.received[1].set(sequence));
        }
        assert!(!books.received[0].set(64));
        assert_eq!((books.missing(), books.received_count(), books.backlog()), (6, 6, 4));
        assert!(!books.received[0].set(u64::MAX), "a number out of all bounds");
    }

    #[test]
    fn what_is_popped_is_done_when_it_is_acknowledged() {
        let mut books = Books::new(1, 1, false, false).popped();
        books.stored(0, 3);
        books.received[0].set(0);
        books.acknowledged(0, 0);
        books.received[0].set(1);
        assert_eq!((books.missing(), books.unacknowledged(), books.backlog()), (1, 2, 2));
        books.acknowledged(0, 0);
        books.acknowledged(0, u64::MAX);
        assert_eq!((books.unacknowledged(), books.is_even()), (2, false));
        books.acknowledged(0, 1);
        books.acknowledged(0, 2);
        books.received[0].set(2);
        assert!(books.is_even() && books.backlog() == 0);
    }

    #[test]
    fn what_is_not_to_arrive_is_not_waited_for() {
        let waited_for = |selection: Selection| {
            let mut books = Books::new(1, 1, false, false).select(selection);
            books.stored(0, 9);
            books.stored(9, 3);
            books.missing()
        };
        let transactions = Some(Endings { roll_back: 2 });
        assert_eq!(waited_for(Selection { transactions, ..Selection::default() }), 6);
        assert_eq!(waited_for(Selection { one_in: 4, ..Selection::default() }), 3);
        assert_eq!(waited_for(Selection { one_in: 3, transactions }), 2, "0 and 6; 3 and 9 are rolled back");
        assert_eq!(waited_for(Selection::default()), 12);
    }
}
