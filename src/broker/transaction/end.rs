//! The end of a transaction, as its producer says it: 37, asked or unasked.

use bytes::BytesMut;

use super::QUEUE;
use super::check::{immunity_ms, timeout_ms};
use crate::broker::ack::Promise;
use crate::broker::store::{NotStored, busy, real_place};
use crate::broker::{Asked, Broker, Handled, Output, Refusal};
use crate::limits::{TRANSACTION_NOTE_BYTES_MAX, TRANSACTION_UNNOTED_MAX};
use crate::log::RecordRead;
use crate::model::{LogOffset, Now, QueueOffset};
use crate::protocol::code::ResponseCode;
use crate::protocol::message::{
    HALF_TOPIC, MessageId, OP_TAG, OP_TOPIC, Properties, append_ended, append_property, property, sys_flag,
    without_property,
};
use crate::protocol::record::{Check, Marks, RecordDraft, RecordView};
use crate::protocol::reply::{Reply, encode_reply};
use crate::protocol::request::{EndTransactionRequest, TransactionEnd};

/// A note waits for the flush, and Apache's checker reads those of this tag.
const NOTE_PROPERTIES: [(&str, &str); 2] = [(property::WAIT, "true"), (property::TAGS, OP_TAG)];

impl Broker {
    /// END_TRANSACTION 37. What is not known yet is not answered: the producer will be asked.
    pub(in crate::broker) fn end_transaction(
        &mut self,
        asked: &Asked,
        request: &EndTransactionRequest<'_>,
        out: &mut Output,
    ) -> Result<Handled, Refusal> {
        if request.end == TransactionEnd::Unknown {
            return Ok(Handled::Done);
        }
        let mut record = std::mem::take(&mut self.scratch.records);
        record.clear();
        let result = self.end_of_record(asked, request, &mut record, out);
        self.scratch.records = record;
        result
    }

    fn end_of_record(
        &mut self,
        asked: &Asked,
        request: &EndTransactionRequest<'_>,
        record: &mut BytesMut,
        out: &mut Output,
    ) -> Result<Handled, Refusal> {
        let at = request.log_offset.ok_or_else(not_found)?;
        // The answer to a question may be here before the copy that was put back is safe: what is stored now comes behind it.
        match self.log.stored_record(at, record) {
            RecordRead::Found { .. } => {}
            RecordRead::Cold(block) => return Ok(Handled::Cold(block)),
            RecordRead::Failed => return Err(Refusal::unreadable()),
            RecordRead::Missing => return Err(not_found()),
        }
        let half = RecordView::decode(record, Some(at), Check::Shape).map_err(|_| not_found())?;
        if half.topic != HALF_TOPIC || half.queue_id != QUEUE {
            return Err(not_found());
        }
        self.check_end(asked.now, request, &half)?;
        let waits =
            Properties::new(half.properties).get(property::WAIT).is_none_or(|text| !text.eq_ignore_ascii_case("false"));
        self.check_can_store(waits)?;
        let is_known = self
            .transactions
            .places
            .is_some_and(|places| places.note >= places.notes_end || half.queue_offset >= places.half_of_notes);
        if !is_known || self.transactions.unnoted.len() >= TRANSACTION_UNNOTED_MAX {
            // How it ended before this life is still being read. Who is not answered is asked.
            return Err(busy());
        }
        let end = match request.end {
            TransactionEnd::Commit => {
                let end = self.store_committed(asked.now, &half)?;
                self.transactions.unnoted.push(half.queue_offset);
                end
            }
            TransactionEnd::Rollback | TransactionEnd::Unknown => self.note_rollback(asked.now, half.queue_offset)?,
        };
        self.pass_over(&half);
        self.answer(asked, Promise::stored(end, waits), out, |_, frame| {
            encode_reply(asked.encoding, asked.opaque, &Reply::new(ResponseCode::Success), frame);
        });
        Ok(Handled::Done)
    }

    /// Whether this producer may end this transaction now. Source: RocketMQ `EndTransactionProcessor.checkPrepareMessage`, `rejectCommitOrRollback`.
    fn check_end(&self, now: Now, request: &EndTransactionRequest<'_>, half: &RecordView<'_>) -> Result<(), Refusal> {
        let properties = Properties::new(half.properties);
        if let Some(immunity) = properties.get(property::CHECK_IMMUNITY_SEC)
            && !request.is_asked
        {
            let age_ms = now.unix.0.saturating_sub(half.born_timestamp);
            if age_ms > immunity_ms(immunity).unwrap_or_default().max(timeout_ms(&self.settings.transactions)) {
                let remark =
                    "the transaction ends later than its CHECK_IMMUNITY_TIME_IN_SECONDS: its producer will be asked";
                return Err(Refusal::new(ResponseCode::IllegalOperation, remark));
            }
        }
        let refuse = |remark: &'static str| Err(Refusal::new(ResponseCode::SystemError, remark));
        if properties.get(property::PRODUCER_GROUP) != Some(request.group) {
            return refuse("The producer group wrong");
        }
        if request.queue_offset != Some(half.queue_offset) {
            return refuse("The transaction state table offset wrong");
        }
        if !is_meant(request, half) {
            return Err(not_found());
        }
        // Apache stores a second copy for whoever commits twice, and one of what was rolled back.
        if self.transactions.ended.contains(half.queue_offset) {
            return refuse("the transaction has ended already, and how it did stands");
        }
        Ok(())
    }

    /// Stores what consumers are to see. Returns where it ends.
    ///
    /// # Errors
    /// There is no room, or the half message does not say where it belongs.
    fn store_committed(&mut self, now: Now, half: &RecordView<'_>) -> Result<LogOffset, Refusal> {
        let (topic, queue_id) = real_place(&Properties::new(half.properties)).ok_or_else(not_found)?;
        let mut properties = std::mem::take(&mut self.scratch.properties);
        properties.clear();
        without_property(half.properties, property::CRC32, &mut properties);
        let queue = self.log.queue(topic, queue_id);
        let copy = self.draft_of_copy(now, half);
        let draft = RecordDraft {
            topic,
            queue_id,
            sys_flag: copy.sys_flag & !sys_flag::TRANSACTION_MASK | sys_flag::TRANSACTION_COMMIT,
            prepared_transaction_offset: i64::try_from(half.log_offset.0).unwrap_or(i64::MAX),
            properties: &properties,
            marks: Marks::of(&properties),
            ..copy
        };
        let stored = self.store_or_put_off(now, queue, &draft);
        self.scratch.properties = properties;
        Ok(stored?.end)
    }

    /// Nothing else is stored of what is rolled back, so the answer promises the note. Returns where that ends.
    ///
    /// # Errors
    /// The log takes nothing now.
    fn note_rollback(&mut self, now: Now, half: QueueOffset) -> Result<LogOffset, Refusal> {
        self.transactions.unnoted.push(half);
        self.note_ends(now);
        if self.transactions.unnoted.is_empty() {
            return Ok(self.log.appended());
        }
        self.transactions.unnoted.pop();
        self.transactions.note_again = self.transactions.note_again.filter(|_| !self.transactions.unnoted.is_empty());
        Err(busy())
    }

    /// The checker passes over what has ended.
    fn pass_over(&mut self, half: &RecordView<'_>) {
        let Some(places) = self.transactions.places else { return };
        if half.queue_offset >= places.next {
            self.transactions.ended.insert(half.queue_offset);
        } else if Properties::new(half.properties).get(property::CHECK_IMMUNITY_SEC).is_some() {
            // A copy was put back, which names it: it stands before this end.
            let until = self.log.bounds(places.half).appended_max;
            self.transactions.ended.insert_late(half.queue_offset, until);
        }
    }

    /// Notes some of what has ended, as much as one note holds.
    ///
    /// # Errors
    /// The log takes nothing now; nothing has changed.
    pub(super) fn note_some_ends(&mut self, now: Now) -> Result<(), NotStored> {
        let Some(places) = self.transactions.places else { return Ok(()) };
        let mut body = Vec::new();
        let mut half_end = QueueOffset(0);
        let mut count = 0;
        for half in &self.transactions.unnoted {
            if body.len() >= TRANSACTION_NOTE_BYTES_MAX {
                break;
            }
            append_ended(&mut body, half.0);
            count += 1;
            // Of what the checker has passed, a copy may stand anywhere before the end.
            let until = if *half < places.next { self.log.bounds(places.half).appended_max } else { half.plus(1) };
            half_end = half_end.max(until);
        }
        let mut properties = Vec::with_capacity(24);
        for (name, value) in NOTE_PROPERTIES {
            append_property(&mut properties, name, value);
        }
        let draft = RecordDraft {
            topic: OP_TOPIC,
            queue_id: QUEUE,
            born_timestamp: now.unix.0,
            body: &body,
            properties: &properties,
            marks: Marks::of(&properties),
            ..self.draft(now)
        };
        let stored = self.store(now, places.op, &draft)?;
        self.transactions.unnoted.drain(..count);
        self.transactions.ended.note(stored.queue_offset.plus(1), half_end);
        Ok(())
    }
}

/// Whether this is the message that the producer means. After a power loss another may lie at the very place of one that is gone; Apache takes it
/// for the same. Who names no transaction is believed.
fn is_meant(request: &EndTransactionRequest<'_>, half: &RecordView<'_>) -> bool {
    let (Some(transaction), Some(unique)) = (request.transaction_id, Properties::new(half.properties).unique_key())
    else {
        return true;
    };
    let id = || MessageId { store_host: half.store_host, log_offset: half.log_offset }.encode();
    let is_id = |text: &str| text == unique || text == id().as_str();
    is_id(transaction) || request.message_id.is_some_and(is_id)
}

fn not_found() -> Refusal {
    Refusal::new(ResponseCode::SystemError, "Find prepared transaction message failed")
}
