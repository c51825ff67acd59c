//! Messages whose time is over: a copy of each goes to the group's pop retry topic.

use bytes::BytesMut;

use super::{Broker, Flight, PopQueue};
use crate::broker::job::{JobBudget, Loss, ONE_MESSAGE, OwnRead};
use crate::broker::store::NotStored;
use crate::broker::{Effect, Output, Refusal};
use crate::limits::{JOB_RETRY_MS, POP_COLD_MAX};
use crate::log::{AppendError, BlockId};
use crate::model::{Now, QueueId, QueueOffset, TopicName};
use crate::protocol::message::{
    PopNote, PopOrigin, Properties, append_property, is_retry_topic, property, without_property,
};
use crate::protocol::record::{Check, Marks, RecordDraft, RecordView};
use crate::said::BY_STRANGERS;

/// The one queue of a pop retry topic.
const RETRY_QUEUE: QueueId = QueueId(0);

/// What became of a message whose time is over.
enum Revived {
    /// A copy is stored, or there is no message any more.
    Over,
    Cold(BlockId),
    /// It is not with the replicas of this master yet.
    NotSeen,
    /// It cannot be read.
    Unreadable,
    /// The log takes nothing now, or never takes this.
    NotStored(NotStored),
}

impl Broker {
    /// Deals with flights whose time is over, as much as one turn allows.
    pub(super) fn revive_due(&mut self, now: Now, out: &mut Output) {
        let mut budget = JobBudget::of_turn();
        while budget.has_rest()
            && self.pops.unnoted.is_empty()
            && self.pops.cold.len() < POP_COLD_MAX
            && let Some((look, note)) = self.pops.flights.next_look()
        {
            let Some(flight) = self.pops.flights.get(note).cloned() else { return };
            let wait_ms = look.saturating_sub(now.unix.0);
            // One that would wait for longer than it was asked for was popped before the clock was set back.
            let is_beyond = look == flight.due() && u64::try_from(wait_ms).is_ok_and(|wait| wait > flight.invisible_ms);
            if wait_ms > 0 && !is_beyond {
                return;
            }
            budget.messages -= 1;
            self.revive(now, note, &flight, &mut budget, out);
        }
    }

    fn revive(&mut self, now: Now, note: QueueOffset, flight: &Flight, budget: &mut JobBudget, out: &mut Output) {
        let (group, topic, _) = &flight.queue;
        let retry = match self.retry_topic_of(now, &flight.queue, out) {
            Ok(retry) => retry,
            Err(refusal) => {
                // The table of topics has no room: the message waits until it has.
                tracing::debug!(%group, %topic, why = %refusal.remark, "a pop retry topic is not made");
                return self.look_later(now, note);
            }
        };
        let mut over = Vec::with_capacity(flight.open.len());
        let mut record = std::mem::take(&mut self.scratch.records);
        for &offset in &flight.open {
            if !budget.has_rest() && !over.is_empty() {
                break;
            }
            budget.messages = budget.messages.saturating_sub(1);
            record.clear();
            let revived = match &retry {
                // Nobody is there to get it. Source: `PopReviveService.mergeAndRevive`.
                None => Revived::Over,
                Some(retry) => self.revive_message(now, flight, offset, retry, &mut record),
            };
            budget.bytes = budget.bytes.saturating_sub(record.len());
            match revived {
                Revived::Over => over.push(offset),
                Revived::Cold(block) => {
                    self.wait_for_message(note, block, out);
                    break;
                }
                Revived::Unreadable => {
                    self.wait_to_revive(now, note, flight, offset, "cannot be read");
                    break;
                }
                Revived::NotStored(NotStored::Append(AppendError::TooLarge(error))) => {
                    self.wait_to_revive(now, note, flight, offset, &format!("cannot be stored again ({error})"));
                    break;
                }
                Revived::NotSeen | Revived::NotStored(_) => {
                    self.look_later(now, note);
                    break;
                }
            }
        }
        self.scratch.records = record;
        if over.is_empty() {
            return;
        }
        let ended = PopNote::Ended { place: flight.place(), time: flight.time, offsets: over.clone() };
        self.note_in_any_case(now, &ended);
        self.pops.flights.end(note, |offset| over.contains(&offset));
        if !self.pops.flights.has_any_of(group) {
            self.pops.gone_groups.remove(group);
        }
    }

    /// The topic in which a flight's messages are tried again, made if it is not there; `None` if their group or their topic is gone. A group that is
    /// unknown, and was not deleted in this life, may have been made a moment before the last one ended, and its table not be written by then; and one that
    /// may be made by whoever consumes is never gone for good.
    fn retry_topic_of(
        &mut self,
        now: Now,
        (group, topic, _): &PopQueue,
        out: &mut Output,
    ) -> Result<Option<TopicName>, Refusal> {
        let Some(first_queue) =
            self.topics.get_mut(topic.as_str()).map(|topic| topic.queue(&mut self.log, RETRY_QUEUE))
        else {
            return Ok(None);
        };
        let may_come_back = self.settings.auto_create_group || !self.pops.gone_groups.contains(group);
        if self.groups.get(group.as_str()).is_none() && !may_come_back {
            tracing::warn!(target: BY_STRANGERS, %group, %topic, "messages that were popped are not given again: their group was deleted");
            return Ok(None);
        }
        if is_retry_topic(topic.as_str()) {
            return Ok(Some(topic.clone()));
        }
        let origin = if self.settings.pops.second_retry_names { PopOrigin::SecondRetry } else { PopOrigin::Retry };
        let name = origin.topic(group.as_str(), topic.as_str());
        if self.topics.get(&name).is_none() {
            self.make_plain_topic(now, &name, 1, 0, out)?;
        }
        let Some(retry) = self.topics.get_mut(&name) else { return Ok(None) };
        let queue = retry.queue(&mut self.log, RETRY_QUEUE);
        self.pops.anchors.entry(queue).or_insert(first_queue);
        Ok(Some(retry.name.clone()))
    }

    fn revive_message(
        &mut self,
        now: Now,
        flight: &Flight,
        offset: QueueOffset,
        retry: &TopicName,
        record: &mut BytesMut,
    ) -> Revived {
        let (_, topic, queue_id) = &flight.queue;
        let Some(queue) = self.log.find_queue(topic.as_str(), *queue_id) else { return Revived::Over };
        match self.read_alone(queue, offset, &ONE_MESSAGE, record) {
            OwnRead::Found { .. } => {}
            OwnRead::Nothing if offset < self.log.bounds(queue).appended_max => return Revived::NotSeen,
            // It was cut from the end of the log, or retention has taken it.
            OwnRead::Nothing | OwnRead::LeftOut { loss: Loss::Removed, .. } => {
                tracing::warn!(target: BY_STRANGERS, %topic, %queue_id, %offset, "a message was popped, not acknowledged, and is gone from the log");
                return Revived::Over;
            }
            OwnRead::LeftOut { loss: Loss::Damaged, .. } => {
                tracing::error!(target: BY_STRANGERS, %topic, %queue_id, %offset, "a popped message is damaged on the disk and is not given again");
                return Revived::Over;
            }
            OwnRead::Cold(block) => return Revived::Cold(block),
            OwnRead::Failed => return Revived::Unreadable,
        }
        match self.store_for_retry(now, flight, retry, record) {
            Ok(()) => Revived::Over,
            Err(error) => Revived::NotStored(error),
        }
    }

    /// Source: `PopReviveService.reviveRetry`. A delay level of the original is over.
    fn store_for_retry(
        &mut self,
        now: Now,
        flight: &Flight,
        retry: &TopicName,
        record: &[u8],
    ) -> Result<(), NotStored> {
        let view = RecordView::decode(record, None, Check::Shape).expect("the log has read it as a record");
        self.check_replicas(true)?;
        let mut properties = Vec::with_capacity(view.properties.len() + 32);
        without_property(view.properties, property::CRC32, &mut properties);
        let plain = properties.len();
        if Properties::new(view.properties).get(property::FIRST_POP_TIME).is_none() {
            append_property(&mut properties, property::FIRST_POP_TIME, &flight.time.popped.to_string());
        }
        let queue = self.log.queue(retry.as_str(), RETRY_QUEUE);
        let stored = self.store_copy_for_retry(now, (retry, queue), &view, &properties);
        match stored {
            // It is longer than a message may be by what is said of it: it is given again without.
            Err(NotStored::Append(AppendError::TooLarge(_))) if properties.len() > plain => {
                let properties = properties.get(..plain).unwrap_or_default();
                self.store_copy_for_retry(now, (retry, queue), &view, properties)
            }
            stored => stored,
        }
    }

    fn store_copy_for_retry(
        &mut self,
        now: Now,
        (retry, queue): (&TopicName, crate::log::QueueIndex),
        view: &RecordView<'_>,
        properties: &[u8],
    ) -> Result<(), NotStored> {
        let draft = RecordDraft {
            topic: retry.as_str(),
            queue_id: RETRY_QUEUE,
            reconsume_times: view.reconsume_times.saturating_add(1),
            properties,
            marks: Marks::of(properties),
            born_host: self.settings.address,
            ..self.draft_of_copy(now, view)
        };
        self.store(now, queue, &draft).map(drop)
    }

    fn wait_for_message(&mut self, note: QueueOffset, block: BlockId, out: &mut Output) {
        self.pops.flights.look_again(note, None);
        let waiting = self.pops.cold.entry(block).or_default();
        if waiting.is_empty() {
            out.effects.push(Effect::Fetch(block));
        }
        waiting.push(note);
    }

    /// An error loses no message: it is tried again, and others do not wait for it.
    fn wait_to_revive(&mut self, now: Now, note: QueueOffset, flight: &Flight, offset: QueueOffset, why: &str) {
        let Some(tries) = self.pops.flights.tries(note) else { return };
        let (group, topic, queue_id) = &flight.queue;
        let wait_ms = tries.fail(|tries, wait_ms| {
            tracing::error!(%group, %topic, %queue_id, %offset, tries, wait_ms, "a message that was not acknowledged {why}: it is tried again");
        });
        self.pops.flights.look_again(note, Some(now.unix.0.saturating_add(i64::try_from(wait_ms).unwrap_or(i64::MAX))));
    }

    fn look_later(&mut self, now: Now, note: QueueOffset) {
        let wait_ms = i64::try_from(JOB_RETRY_MS).unwrap_or(i64::MAX);
        self.pops.flights.look_again(note, Some(now.unix.0.saturating_add(wait_ms)));
    }
}
