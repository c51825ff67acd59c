//! A transactional message as it is sent: stored where no consumer looks.

use crate::broker::store::NotStored;
use crate::broker::{Broker, Refusal};
use crate::limits::TRANSACTION_PROPERTIES_GROWTH;
use crate::log::Appended;
use crate::model::Now;
use crate::protocol::code::ResponseCode;
use crate::protocol::message::{CHECK_MAX_TOPIC, HALF_TOPIC, Properties, append_property, property};
use crate::protocol::record::{Marks, RecordDraft};

impl Broker {
    /// Refuses transactional messages if the settings do. Source: RocketMQ `SendMessageProcessor.sendMessage`.
    pub(in crate::broker) fn check_takes_transactions(&self) -> Result<(), Refusal> {
        if self.settings.transactions.is_refused {
            let remark = format!("the broker[{}] sending transaction message is forbidden", self.settings.address.ip());
            return Err(Refusal::new(ResponseCode::NoPermission, remark));
        }
        Ok(())
    }

    /// Stores a message that waits for the end of its transaction. `draft` is that of the message as it would be stored where it belongs.
    ///
    /// # Errors
    /// 13 if it could not be stored again with what is added, and as of [`Broker::store`]; nothing has changed then.
    pub(in crate::broker) fn store_half(&mut self, now: Now, draft: &RecordDraft<'_>) -> Result<Appended, Refusal> {
        let mut properties = half_properties(draft);
        let bytes = properties.len();
        // As long as it can become: where it belongs, or put back with what that adds.
        properties.resize(bytes + TRANSACTION_PROPERTIES_GROWTH, 0);
        let topic = if draft.topic.len() > CHECK_MAX_TOPIC.len() { draft.topic } else { CHECK_MAX_TOPIC };
        let longest = RecordDraft { topic, properties: &properties, ..*draft };
        self.log.check_size(&longest).map_err(NotStored::Append)?;
        properties.truncate(bytes);
        let half = RecordDraft {
            topic: HALF_TOPIC,
            queue_id: super::QUEUE,
            properties: &properties,
            marks: Marks { delay_level: 0, ..draft.marks },
            ..*draft
        };
        let queue = self.log.queue(HALF_TOPIC, super::QUEUE);
        let appended = self.store(now, queue, &half)?;
        self.transactions.wake_for_pass();
        Ok(appended)
    }
}

/// The properties under which a message waits: its own, its transaction, and where it belongs. A delay counts for nothing: stock clients send
/// none with a transaction, and Apache loses a message that has one.
fn half_properties(draft: &RecordDraft<'_>) -> Vec<u8> {
    let is_delayed = draft.marks.delay_level > 0;
    let dropped = |name: &str| {
        matches!(name, property::REAL_TOPIC | property::REAL_QUEUE_ID | property::TRANSACTION_ID)
            || (name == property::DELAY && is_delayed)
    };
    let mut properties = Vec::with_capacity(draft.properties.len() + draft.topic.len() + 96);
    for (name, value) in Properties::new(draft.properties).iter().filter(|(name, _)| !dropped(name)) {
        append_property(&mut properties, name, value);
    }
    if let Some(unique) = draft.marks.keys.unique.filter(|unique| !unique.is_empty()) {
        append_property(&mut properties, property::TRANSACTION_ID, unique);
    }
    append_property(&mut properties, property::REAL_TOPIC, draft.topic);
    append_property(&mut properties, property::REAL_QUEUE_ID, &draft.queue_id.to_string());
    properties
}
