//! The one way to store: what may be stored now, one append, what is counted, and a record as the draft of a copy.
//!
//! Sends, batches and send-backs come here, and whatever is put again without a client that asks for it. When a client is answered
//! is [`super::ack`]'s matter: it is told where the record ends.

use std::borrow::Cow;

use super::{Broker, Refusal};
use crate::limits::{INNER_BATCH_MESSAGES_MAX, TOPIC_QUEUES_MAX};
use crate::log::{AppendError, Appended, QueueIndex};
use crate::metrics::Amount;
use crate::model::{LogOffset, Now, QueueId};
use crate::protocol::code::ResponseCode;
use crate::protocol::message::{Properties, append_property, property, split_batch, sys_flag, without_property};
use crate::protocol::record::{Marks, RecordDraft, RecordView};
use crate::said::BY_STRANGERS;

/// Why a message was not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotStored {
    /// The log took nothing.
    Append(AppendError),
    /// The record says that its body is a batch, and its topic does not store batches whole.
    InnerBatch,
    /// The record says that its body is a batch, and it does not hold as many messages as its properties say.
    NotABatch,
    /// Fewer replicas are in sync than `minInSyncReplicas` demands.
    LacksReplicas,
    /// A replica may have what this log has lost, and says so in a moment; or one has said so, and somebody has to decide.
    HeldBack,
    /// A timer message asks for a time that is none, or too far away; or it recalls one whose time has come.
    TimerIllegal {
        /// `timerMaxDelaySec`.
        delay_max_sec: u64,
    },
    /// Timer messages are not taken: `timerWheelEnable`.
    TimersOff,
}

impl From<NotStored> for Refusal {
    fn from(error: NotStored) -> Refusal {
        match error {
            NotStored::Append(AppendError::TailFull) => busy(),
            NotStored::Append(AppendError::NoSegment { disk_full: true }) => Refusal::new(
                ResponseCode::ServiceNotAvailable,
                "service not available now: the disk is full; free space or shorten fileReservedTime, sends resume by themselves",
            ),
            // The next segment is on its way.
            NotStored::Append(AppendError::NoSegment { disk_full: false }) => busy(),
            NotStored::Append(AppendError::Stopped) => Refusal::new(
                ResponseCode::ServiceNotAvailable,
                "service not available now: the log has stopped after a disk failure",
            ),
            NotStored::Append(AppendError::TooLarge(error)) => {
                Refusal::new(ResponseCode::MessageIllegal, Cow::Owned(error.to_string()))
            }
            NotStored::HeldBack => Refusal::new(
                ResponseCode::ServiceNotAvailable,
                "service not available now: a replica may have messages that this master has lost; if this lasts, `ringmq-admin cluster list` tells more",
            ),
            NotStored::LacksReplicas => Refusal::new(ResponseCode::SystemError, "in-sync replicas not enough"),
            NotStored::TimerIllegal { delay_max_sec } => Refusal::new(
                ResponseCode::MessageIllegal,
                format!(
                    "timer message illegal, the delay time should not be bigger than the max delay {}ms; or if set del msg, the delay time should be bigger than the current time",
                    delay_max_sec.saturating_mul(1_000)
                ),
            ),
            NotStored::TimersOff => Refusal::new(
                ResponseCode::SystemError,
                "accurate timer message is not enabled, timerWheelEnable is false",
            ),
            NotStored::InnerBatch => Refusal::new(
                ResponseCode::MessageIllegal,
                "the message is an inner batch, and its topic is not of that type",
            ),
            NotStored::NotABatch => Refusal::new(
                ResponseCode::MessageIllegal,
                format!(
                    "the message is an inner batch, and its body does not hold as many messages as INNER_NUM says, {INNER_BATCH_MESSAGES_MAX} at most"
                ),
            ),
        }
    }
}

/// Where a message belongs that waits elsewhere: topic and queue; `None` if it does not say.
pub(super) fn real_place<'a>(properties: &Properties<'a>) -> Option<(&'a str, QueueId)> {
    let queue_id = properties.get(property::REAL_QUEUE_ID)?.parse().ok().filter(|id| *id < TOPIC_QUEUES_MAX)?;
    Some((properties.get(property::REAL_TOPIC)?, QueueId(queue_id)))
}

impl Broker {
    /// Refuses before anything is done if nothing can be stored now. Whoever does not wait (`WAIT=false`) asks for no replica, so
    /// `minInSyncReplicas` is not for them. Source: RocketMQ `CommitLog.needHandleHA`.
    pub(super) fn check_can_store(&self, waits: bool) -> Result<(), Refusal> {
        if let Some(failure) = self.log.failure() {
            return Err(Refusal::new(
                ResponseCode::ServiceNotAvailable,
                format!("service not available now: {failure}"),
            ));
        }
        if self.lowered_offsets.is_some_and(|lowered| lowered.has_failed) {
            return Err(Refusal::new(
                ResponseCode::ServiceNotAvailable,
                "service not available now: consumer offsets that lay beyond the log's end cannot be written; let there be room on the disk, sends resume by themselves",
            ));
        }
        if self.acks.is_full() || self.awaits_tables() {
            return Err(busy());
        }
        Ok(self.check_replicas(waits)?)
    }

    /// Whether slaves allow that something is stored now, of which those know that are waited for if it `waits`.
    pub(super) fn check_replicas(&self, waits: bool) -> Result<(), NotStored> {
        if self.holds_back() {
            return Err(NotStored::HeldBack);
        }
        if waits && self.lacks_replicas() {
            return Err(NotStored::LacksReplicas);
        }
        Ok(())
    }

    /// A draft with what this broker says of each message that it stores; all else is empty.
    #[inline]
    pub(super) fn draft(&self, now: Now) -> RecordDraft<'static> {
        RecordDraft {
            topic: "",
            queue_id: QueueId(0),
            flag: 0,
            sys_flag: 0,
            born_timestamp: 0,
            born_host: self.settings.address,
            store_host: self.settings.address,
            store_timestamp: now.unix.0,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body: &[],
            properties: &[],
            marks: Marks::default(),
        }
    }

    /// A draft of the same message: the producer's own, stored anew. Topic, queue and properties are for the caller to say.
    pub(super) fn draft_of_copy<'a>(&self, now: Now, original: &RecordView<'a>) -> RecordDraft<'a> {
        RecordDraft {
            flag: original.flag,
            // A copy is for consumers to see, whatever the original's part in a transaction was.
            sys_flag: if original.is_queued() {
                original.sys_flag
            } else {
                original.sys_flag & !sys_flag::TRANSACTION_MASK
            },
            born_timestamp: original.born_timestamp,
            born_host: original.born_host,
            reconsume_times: original.reconsume_times,
            body: original.body,
            ..self.draft(now)
        }
    }

    /// Stores the copy of a record that has waited where it says that it belongs, under the properties that `write` gives it. One that can never be
    /// stored is left out, with a line that says so of `what`. `is_place`: whether messages may go to that topic.
    ///
    /// # Errors
    /// There is no room now, or not enough replicas.
    pub(super) fn put_where_it_belongs(
        &mut self,
        now: Now,
        view: &RecordView<'_>,
        what: &str,
        is_place: impl Fn(&str) -> bool,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), NotStored> {
        let read = Properties::new(view.properties);
        let Some((topic, queue_id)) = real_place(&read).filter(|(topic, _)| is_place(topic)) else {
            tracing::error!(target: BY_STRANGERS, at = %view.log_offset, "{what} does not say where it belongs and is left out");
            return Ok(());
        };
        self.check_replicas(true)?;
        if self.topics.get(topic).is_none_or(|topic| queue_id.0 >= topic.config.read_queues) {
            // So does RocketMQ: whoever gives the topic its queues again finds it there.
            tracing::warn!(target: BY_STRANGERS, topic, %queue_id, at = %view.log_offset, "{what} goes to a queue that its topic has no more, where nobody reads");
        }
        let mut properties = std::mem::take(&mut self.scratch.properties);
        properties.clear();
        write(&mut properties);
        let queue = self.log.queue(topic, queue_id);
        let draft = RecordDraft {
            topic,
            queue_id,
            properties: &properties,
            marks: Marks::of(&properties),
            ..self.draft_of_copy(now, view)
        };
        let stored = self.store(now, queue, &draft);
        self.scratch.properties = properties;
        match stored {
            Ok(_) => Ok(()),
            Err(error @ (NotStored::InnerBatch | NotStored::NotABatch)) => {
                tracing::error!(target: BY_STRANGERS, at = %view.log_offset, topic, ?error, "{what} cannot be stored and is left out");
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Stores one message in `queue`, or puts it off if its properties name a delay level, or a time of its own. `queue` is that of the draft's topic
    /// and queue id.
    ///
    /// # Errors
    /// [`NotStored`]; nothing has changed then.
    #[inline]
    pub(super) fn store_or_put_off(
        &mut self,
        now: Now,
        queue: QueueIndex,
        draft: &RecordDraft<'_>,
    ) -> Result<Appended, NotStored> {
        if let Some(level) = self.log.delay_levels().clamp(draft.marks.delay_level) {
            return self.put_off(now, level, draft);
        }
        match self.timer_out_ms(now, &draft.marks, draft.properties)? {
            None => self.store(now, queue, draft),
            Some(out_ms) => self.put_timer(now, out_ms, draft),
        }
    }

    /// Stores one message and counts it. `queue` is that of the draft's topic and queue id.
    ///
    /// # Errors
    /// [`NotStored`]; nothing has changed then.
    #[inline]
    pub(super) fn store(
        &mut self,
        now: Now,
        queue: QueueIndex,
        draft: &RecordDraft<'_>,
    ) -> Result<Appended, NotStored> {
        if draft.marks.wants_light || draft.marks.is_in_light {
            return self.store_for_light_queues(now, queue, draft);
        }
        if is_inner_batch(draft) {
            return self.store_inner_batch(now, queue, draft);
        }
        self.append_one(now, queue, draft)
    }

    /// One append, counted as one message.
    #[inline]
    pub(super) fn append_one(
        &mut self,
        now: Now,
        queue: QueueIndex,
        draft: &RecordDraft<'_>,
    ) -> Result<Appended, NotStored> {
        let appended = self.log.append(queue, draft).map_err(NotStored::Append)?;
        self.note_put(now, queue, draft.topic, (appended.log_offset, appended.end), one_put(appended.size, 1));
        Ok(appended)
    }

    /// Stores a batch as one record, which takes as many queue offsets as it has messages and says where they begin.
    /// Source: RocketMQ `HookUtils.checkInnerBatch`, `BatchConsumeQueue.assignQueueOffset`.
    #[inline(never)]
    pub(super) fn store_inner_batch(
        &mut self,
        now: Now,
        queue: QueueIndex,
        draft: &RecordDraft<'_>,
    ) -> Result<Appended, NotStored> {
        if !self.topics.get(draft.topic).is_some_and(|topic| topic.has_inner_batches) {
            return Err(NotStored::InnerBatch);
        }
        // The index has an entry for each: what is not there takes none.
        let count = split_batch(draft.body).try_fold(0_u32, |count, message| message.map(|_| count.saturating_add(1)));
        let count = count.ok().filter(|count| draft.marks.inner_count == Some(*count));
        let count = count.filter(|count| *count as usize <= INNER_BATCH_MESSAGES_MAX).ok_or(NotStored::NotABatch)?;
        let base = self.log.bounds(queue).appended_max;
        let mut properties = Vec::with_capacity(draft.properties.len() + 32);
        without_property(draft.properties, property::INNER_BASE, &mut properties);
        append_property(&mut properties, property::INNER_BASE, &base.to_string());
        let draft = RecordDraft { properties: &properties, marks: Marks::of(&properties), ..*draft };
        let appended = self.log.append(queue, &draft).map_err(NotStored::Append)?;
        assert_eq!(appended.queue_offset, base, "a queue goes on where it ends");
        self.note_put(now, queue, draft.topic, (appended.log_offset, appended.end), one_put(appended.size, count));
        Ok(appended)
    }

    /// Stores messages of one queue, all of them or none, with offsets in a row, and counts them.
    ///
    /// # Errors
    /// [`NotStored`]; nothing has changed then.
    pub(super) fn store_all(
        &mut self,
        now: Now,
        queue: QueueIndex,
        drafts: &[RecordDraft<'_>],
    ) -> Result<Vec<Appended>, NotStored> {
        if drafts.iter().any(is_inner_batch) {
            return Err(NotStored::InnerBatch);
        }
        let stored = self.log.append_batch(queue, drafts).map_err(NotStored::Append)?;
        if let (Some(draft), Some(first), Some(last)) = (drafts.first(), stored.first(), stored.last()) {
            let bytes = stored.iter().map(|one| u64::from(one.size)).sum();
            let amount = Amount { messages: stored.len() as u64, bytes, calls: 1 };
            self.note_put(now, queue, draft.topic, (first.log_offset, last.end), amount);
        }
        Ok(stored)
    }

    /// Counts what one request has appended to a queue of `topic`, from where to where in the log.
    #[inline]
    fn note_put(&mut self, now: Now, queue: QueueIndex, topic: &str, (from, end): (LogOffset, LogOffset), put: Amount) {
        self.counters.put_count += put.messages;
        self.counters.put_bytes += put.bytes;
        if self.statistics.note_put(now.mono, queue, topic, put) {
            self.counters.user_put_count += put.messages;
        }
        self.stages.note_append(now.mono, from, end, u32::try_from(put.messages).unwrap_or(u32::MAX));
    }
}

/// A record of so many messages.
#[inline]
fn one_put(size: u32, messages: u32) -> Amount {
    Amount { messages: u64::from(messages), bytes: u64::from(size), calls: 1 }
}

/// Whether the draft says that its body is a batch.
#[inline]
pub(super) fn is_inner_batch(draft: &RecordDraft<'_>) -> bool {
    draft.sys_flag & sys_flag::INNER_BATCH != 0
}

/// Flow control, as stock clients know it.
pub(super) fn busy() -> Refusal {
    Refusal::new(ResponseCode::SystemBusy, "[REJECTREQUEST]system busy, start flow control for a while")
}
