//! The checker: goes along the half messages and asks producers about those that have not ended (39). And 323, by which an operator has it ask again.

use bytes::BytesMut;

use super::{Broker, Pass, QUEUE};
use crate::broker::ack::Promise;
use crate::broker::job::{JobBudget, ONE_MESSAGE, OwnRead, Tries, Wait};
use crate::broker::store::{NotStored, real_place};
use crate::broker::{Asked, Handled, Output, Refusal};
use crate::config::TransactionConfig;
use crate::limits::{
    JOB_BYTES_PER_TURN, JOB_RETRY_MS, TRANSACTION_NOTES_PER_TURN, TRANSACTION_PASSED_MAX, TRANSACTION_RUN_MAX,
};
use crate::log::{AppendError, Appended, BlockId, ReadLimits, RecordRead};
use crate::model::{LogOffset, Now, QueueId, QueueOffset};
use crate::protocol::code::{RequestCode, ResponseCode};
use crate::protocol::frame::Encoding;
use crate::protocol::message::{
    CHECK_MAX_TOPIC, HALF_TOPIC, MessageId, OP_TAG, OP_TOPIC, Properties, append_property, ended, property,
    set_property, without_property,
};
use crate::protocol::record::{Check, Marks, Place, RecordDraft, RecordView, Sized};
use crate::protocol::reply::{ExtValue, Reply, encode_reply, encode_request};
use crate::protocol::request::ResumeCheckRequest;
use crate::said::BY_STRANGERS;

/// What of a half message decides what becomes of it. Times are Unix ms.
#[derive(Clone, Copy, Debug)]
struct HalfState {
    born: i64,
    stored: i64,
    /// How often its producers were asked.
    times: Option<i64>,
    /// `CHECK_IMMUNITY_TIME_IN_SECONDS` in ms; `Some(None)` if that is no number.
    immunity_ms: Option<Option<i64>>,
    /// It is a copy of what has ended since.
    has_ended: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// It, and all behind it, is for a later pass.
    Early,
    Ended,
    /// Nobody is to be asked about it yet, and others behind it may be older.
    Immune,
    Ask,
    GiveUp,
}

impl HalfState {
    fn of(half: &RecordView<'_>, has_ended: impl Fn(QueueOffset) -> bool) -> HalfState {
        let properties = Properties::new(half.properties);
        let first = properties.get(property::PREPARED_QUEUE_OFFSET).and_then(|text| text.parse().ok());
        HalfState {
            born: half.born_timestamp,
            stored: half.store_timestamp,
            times: properties.get(property::TRANSACTION_CHECK_TIMES).map(|text| text.parse().unwrap_or(-1)),
            immunity_ms: properties.get(property::CHECK_IMMUNITY_SEC).map(immunity_ms),
            has_ended: first.is_some_and(|first| has_ended(QueueOffset(first))),
        }
    }

    /// In RocketMQ's order, but that a message is not given up for tries that were none. Source: `TransactionalMessageServiceImpl.check`.
    fn verdict(&self, now: i64, pass: &Pass, settings: &TransactionConfig, kept_ms: i64) -> Verdict {
        let age_ms = now.saturating_sub(self.born);
        let timeout_ms = timeout_ms(settings);
        let is_immune = match self.immunity_ms {
            Some(immunity_ms) => age_ms < immunity_ms.unwrap_or(timeout_ms),
            None => (0..timeout_ms).contains(&age_ms),
        };
        match self {
            HalfState { has_ended: true, .. } => Verdict::Ended,
            HalfState { times: Some(times), .. } if *times >= i64::from(settings.checks_max) => Verdict::GiveUp,
            _ if age_ms > kept_ms => Verdict::GiveUp,
            _ if self.stored >= pass.begun => Verdict::Early,
            HalfState { immunity_ms: Some(_), .. } if is_immune => Verdict::Immune,
            _ if is_immune => Verdict::Early,
            _ => Verdict::Ask,
        }
    }

    fn next_times(&self) -> i64 {
        self.times.map_or(1, |times| times.saturating_add(1))
    }
}

impl Broker {
    /// Goes on with the notes, or with the pass, as much as one turn allows.
    pub(super) fn check_transactions(&mut self, now: Now, out: &mut Output) {
        let mut budget = JobBudget::of_turn();
        let mut record = std::mem::take(&mut self.scratch.records);
        while self.transactions.wait == Wait::Turn
            && budget.has_rest()
            && self.transactions.passed.len() < TRANSACTION_PASSED_MAX
        {
            record.clear();
            budget.messages = budget.messages.saturating_sub(1);
            self.transactions.wait = self.check_next(now, &mut record, out);
            budget.bytes = budget.bytes.saturating_sub(record.len());
            self.transactions.wait.fetch(out);
        }
        self.scratch.records = record;
    }

    fn check_next(&mut self, now: Now, record: &mut BytesMut, out: &mut Output) -> Wait {
        let Some(places) = self.transactions.places else { return Wait::Growth };
        if places.note < places.notes_end {
            return self.read_notes(now, record);
        }
        let end = self.log.bounds(places.half).appended_max;
        let pass = match self.transactions.pass {
            Some(pass) => pass,
            None if places.next >= end => return Wait::Growth,
            None if now.mono < self.transactions.next_pass => return Wait::Until(self.transactions.next_pass),
            None => *self.transactions.pass.insert(Pass { begun: now.unix.0, end, given_up: 0 }),
        };
        let run_end = pass.end.min(places.next.plus(TRANSACTION_RUN_MAX));
        let open = self.transactions.ended.next_open(places.next, run_end);
        if open > places.next {
            self.transactions.pass(open, self.log.appended());
            return Wait::Turn;
        }
        if open >= pass.end {
            return self.end_pass(now);
        }
        match self.read_own(places.half, open, &ONE_MESSAGE, ("a half message", "its transaction does not end"), record)
        {
            OwnRead::Found { .. } => self.check_one(now, &pass, record, out),
            OwnRead::LeftOut { next, .. } => {
                self.transactions.pass(next, self.log.appended());
                Wait::Turn
            }
            // It is not with the replicas yet.
            OwnRead::Nothing => self.end_pass(now),
            OwnRead::Cold(block) => Wait::Block(block),
            OwnRead::Failed => self.wait_for_record(now, HALF_TOPIC, open),
        }
    }

    fn end_pass(&mut self, now: Now) -> Wait {
        let next_pass = now.mono.plus_ms(self.settings.transactions.check_interval_ms);
        if let Some(Pass { given_up: count @ 1.., .. }) = self.transactions.pass.take() {
            tracing::warn!(count, "nobody has said how transactions end: their messages went to {CHECK_MAX_TOPIC}");
        }
        self.transactions.next_pass = next_pass;
        Wait::Until(next_pass)
    }

    /// An error moves no reader.
    fn wait_for_record(&mut self, now: Now, topic: &str, at: QueueOffset) -> Wait {
        let wait_ms = self.transactions.tries.fail(|tries, wait_ms| {
            tracing::error!(topic, %at, tries, wait_ms, "a message of a transaction cannot be read: it is tried again");
        });
        Wait::for_ms(now, wait_ms)
    }

    /// Reads some of the notes that were there when the life began.
    fn read_notes(&mut self, now: Now, record: &mut BytesMut) -> Wait {
        let Some(places) = self.transactions.places else { return Wait::Growth };
        let limits = ReadLimits {
            messages_max: TRANSACTION_NOTES_PER_TURN,
            bytes_max: JOB_BYTES_PER_TURN / 4,
            entries_max: TRANSACTION_NOTES_PER_TURN,
        };
        let said = ("a note of ended transactions", "their producers are asked");
        let next = match self.read_own(places.op, places.note, &limits, said, record) {
            OwnRead::Found { next } | OwnRead::LeftOut { next, .. } => next,
            OwnRead::Nothing => return Wait::for_ms(now, JOB_RETRY_MS),
            OwnRead::Cold(block) => return Wait::Block(block),
            OwnRead::Failed => return self.wait_for_record(now, OP_TOPIC, places.note),
        };
        let half_end = self.log.bounds(places.half).appended_max;
        let mut rest = &record[..];
        while let Ok(note) = RecordView::decode(rest, None, Check::Shape) {
            rest = rest.get(note.size as usize..).unwrap_or_default();
            self.learn(&note, places.next, half_end);
        }
        self.transactions.tries = Tries::default();
        if let Some(places) = &mut self.transactions.places {
            places.note = next;
        }
        Wait::Turn
    }

    /// Takes what a note says of half messages from `from` on, and of those before, whose copies may stand before `half_end`.
    fn learn(&mut self, note: &RecordView<'_>, from: QueueOffset, half_end: QueueOffset) {
        let known = &mut self.transactions.ended;
        let mut of_use_until = QueueOffset(0);
        if Properties::new(note.properties).tag() == Some(OP_TAG) {
            for half in ended(note.body).map(QueueOffset).filter(|half| *half < half_end) {
                if half >= from {
                    known.insert(half);
                    of_use_until = of_use_until.max(half.plus(1));
                } else {
                    known.insert_late(half, half_end);
                    of_use_until = half_end;
                }
            }
        } else {
            tracing::error!(at = %note.queue_offset, "a message among the notes of ended transactions is none");
        }
        known.note(note.queue_offset.plus(1), of_use_until);
    }

    /// Deals with the half message that is next.
    fn check_one(&mut self, now: Now, pass: &Pass, record: &[u8], out: &mut Output) -> Wait {
        let half = RecordView::decode(record, None, Check::Shape).expect("the log has read it as a record");
        let waiting = HalfState::of(&half, |first| self.transactions.ended.has_late(first));
        let kept_ms = i64::from(self.settings.log.retention.reserved_hours).saturating_mul(3_600_000);
        let done = match waiting.verdict(now.unix.0, pass, &self.settings.transactions, kept_ms) {
            Verdict::Early => return self.end_pass(now),
            Verdict::Ended => Ok(()),
            Verdict::Immune => self.put_back(now, &half, &immune_properties(&half)).map(drop),
            Verdict::Ask => self.ask_producer(now, &half, waiting.next_times(), out),
            Verdict::GiveUp => self.give_up_half(now, &half, &waiting, out),
        };
        match done {
            Ok(()) => {}
            Err(NotStored::Append(AppendError::TooLarge(error))) => {
                tracing::error!(target: BY_STRANGERS, at = %half.queue_offset, %error, "a half message cannot be stored again and is left out");
            }
            Err(_) => return Wait::for_ms(now, JOB_RETRY_MS),
        }
        self.transactions.pass(half.queue_offset.plus(1), self.log.appended());
        Wait::Turn
    }

    /// Puts a half message back behind all others.
    fn put_back(&mut self, now: Now, half: &RecordView<'_>, properties: &[u8]) -> Result<Appended, NotStored> {
        self.store_waiting(now, (HALF_TOPIC, QUEUE), half, properties)
    }

    fn store_waiting(
        &mut self,
        now: Now,
        (topic, queue_id): (&str, QueueId),
        half: &RecordView<'_>,
        properties: &[u8],
    ) -> Result<Appended, NotStored> {
        self.check_replicas(true)?;
        let marks = Marks { delay_level: 0, ..Marks::of(properties) };
        let draft = RecordDraft { topic, queue_id, properties, marks, ..self.draft_of_copy(now, half) };
        let queue = self.log.queue(topic, queue_id);
        self.store(now, queue, &draft)
    }

    /// Nobody has said how the transaction ends.
    fn give_up_half(
        &mut self,
        now: Now,
        half: &RecordView<'_>,
        waiting: &HalfState,
        out: &mut Output,
    ) -> Result<(), NotStored> {
        // Only where the table has no room: the message waits until it has.
        self.ensure_plain_topic(now, CHECK_MAX_TOPIC, 1, 0, out).map_err(|_| NotStored::HeldBack)?;
        let has_had_all = waiting.times.is_some_and(|times| times >= i64::from(self.settings.transactions.checks_max));
        let mut properties = own_properties(half);
        if !has_had_all {
            set_property(&mut properties, property::TRANSACTION_CHECK_TIMES, &waiting.next_times().to_string());
        }
        self.store_waiting(now, (CHECK_MAX_TOPIC, QueueId(0)), half, &properties)?;
        if let Some(pass) = &mut self.transactions.pass {
            pass.given_up += 1;
        }
        Ok(())
    }

    /// Puts a half message back, with one more try, and asks a producer of its group. One that does not answer is asked again in a later pass;
    /// nothing waits for its answer.
    fn ask_producer(&mut self, now: Now, half: &RecordView<'_>, times: i64, out: &mut Output) -> Result<(), NotStored> {
        if !out.outbox.has_room_for_notices() {
            // Producers do not read. The try would be none.
            return Err(NotStored::HeldBack);
        }
        let mut properties = own_properties(half);
        set_property(&mut properties, property::TRANSACTION_CHECK_TIMES, &times.to_string());
        let stored = self.put_back(now, half, &properties)?;
        let read = Properties::new(half.properties);
        let group = read.get(property::PRODUCER_GROUP).unwrap_or_default();
        let last = self.transactions.last_asked;
        let Some(connection) = self.clients.next_producer(group, last, |connection| !out.outbox.is_over(connection))
        else {
            tracing::debug!(group, at = %half.queue_offset, "no producer of the group can be asked about a transaction");
            return Ok(());
        };
        self.transactions.last_asked = connection;
        // What is told is the message as its producer knows it, at the place where it waits now.
        append_property(&mut properties, property::WAIT, "false");
        let Some((topic, queue_id)) = real_place(&read) else { return Ok(()) };
        let draft = RecordDraft {
            topic,
            queue_id,
            store_timestamp: half.store_timestamp,
            properties: &properties,
            ..self.draft_of_copy(now, half)
        };
        // Shorter than what was just stored.
        let Ok(told) = Sized::new(&draft, false) else { return Ok(()) };
        let mut body = vec![0; told.size() as usize];
        told.encode(Place { log_offset: stored.log_offset, queue_offset: stored.queue_offset }, &mut body);
        let id = MessageId { store_host: self.settings.address, log_offset: stored.log_offset }.encode();
        let number = |value: u64| ExtValue::I64(i64::try_from(value).unwrap_or(i64::MAX));
        let unique = read.get(property::UNIQUE_KEY).unwrap_or_default();
        let ext = [
            ("topic", ExtValue::Str(HALF_TOPIC)),
            ("commitLogOffset", number(stored.log_offset.0)),
            ("offsetMsgId", ExtValue::Str(id.as_str())),
            ("msgId", ExtValue::Str(unique)),
            ("transactionId", ExtValue::Str(unique)),
            ("tranStateTableOffset", number(stored.queue_offset.0)),
            ("bname", ExtValue::Str(self.settings.name.as_str())),
        ];
        self.next_opaque = self.next_opaque.wrapping_add(1);
        let frame = out.outbox.buffer(connection);
        let code = RequestCode::CheckTransactionState.number();
        encode_request(Encoding::Json, code, self.next_opaque, true, &ext, &body, frame);
        Ok(())
    }

    /// RESUME_CHECK_HALF_MESSAGE 323: a half message that was given up is put back, as one that was never asked about.
    pub(in crate::broker) fn resume_check(
        &mut self,
        asked: &Asked,
        request: &ResumeCheckRequest,
        out: &mut Output,
    ) -> Result<Handled, Refusal> {
        self.check_can_store(false)?;
        let mut record = std::mem::take(&mut self.scratch.records);
        record.clear();
        let result = self.put_back_given_up(asked.now, request.log_offset, &mut record);
        self.scratch.records = record;
        let at = match result? {
            Resumed::Stored(at) => at,
            Resumed::Cold(block) => return Ok(Handled::Cold(block)),
        };
        let promise = Promise::stored(at, true);
        self.answer(asked, promise, out, |_, frame| {
            encode_reply(asked.encoding, asked.opaque, &Reply::new(ResponseCode::Success), frame);
        });
        Ok(Handled::Done)
    }

    fn put_back_given_up(
        &mut self,
        now: Now,
        at: Option<LogOffset>,
        record: &mut BytesMut,
    ) -> Result<Resumed, Refusal> {
        let missing =
            || Refusal::new(ResponseCode::SystemError, "there is no half message with this id to be checked again");
        let at = at.ok_or_else(missing)?;
        match self.log.record(at, record) {
            RecordRead::Found { .. } => {}
            RecordRead::Cold(block) => return Ok(Resumed::Cold(block)),
            RecordRead::Failed => return Err(Refusal::unreadable()),
            RecordRead::Missing => return Err(missing()),
        }
        let half = RecordView::decode(record, Some(at), Check::Shape).map_err(|_| missing())?;
        if half.topic != CHECK_MAX_TOPIC && half.topic != HALF_TOPIC {
            return Err(missing());
        }
        let mut properties = own_properties(&half);
        set_property(&mut properties, property::TRANSACTION_CHECK_TIMES, "0");
        let stored = self.put_back(now, &half, &properties)?;
        self.transactions.wake_for_pass();
        Ok(Resumed::Stored(stored.end))
    }
}

/// How far 323 has come.
enum Resumed {
    Stored(LogOffset),
    Cold(BlockId),
}

/// The properties of a half message, as they are stored once more.
fn own_properties(half: &RecordView<'_>) -> Vec<u8> {
    let mut properties = Vec::with_capacity(half.properties.len() + 64);
    without_property(half.properties, property::CRC32, &mut properties);
    properties
}

/// The same of one about which nobody is to be asked yet: its copy says where it lay at first, by which its producer ends it.
fn immune_properties(half: &RecordView<'_>) -> Vec<u8> {
    let mut properties = own_properties(half);
    if Properties::new(half.properties).get(property::PREPARED_QUEUE_OFFSET).is_none() {
        append_property(&mut properties, property::PREPARED_QUEUE_OFFSET, &half.queue_offset.to_string());
    }
    properties
}

/// Milliseconds of `CHECK_IMMUNITY_TIME_IN_SECONDS`; `None` if that is no number.
pub(super) fn immunity_ms(text: &str) -> Option<i64> {
    text.parse::<i64>().ok().filter(|seconds| *seconds != -1).map(|seconds| seconds.saturating_mul(1_000))
}

pub(super) fn timeout_ms(settings: &TransactionConfig) -> i64 {
    i64::try_from(settings.timeout_ms).unwrap_or(i64::MAX)
}
