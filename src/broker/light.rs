//! Light queues: a message of a topic is put into queues of other names as well, each of which somebody pulls.
//!
//! The message is one record; which light queues it is in, and at which offsets, its properties say from when it is stored, so that a slave and a restart
//! put it where its master has. There is no topic of such a name, and no route: whoever reads it knows the broker from the message's topic. Source:
//! RocketMQ `LmqDispatch`, `LmqTopicConfigManager`.

use std::fmt::Write as _;

use super::send::{CRC_PROPERTY_BYTES, OWN_PROPERTIES_BYTES};
use super::store::{NotStored, is_inner_batch};
use super::{Broker, Refusal};
use crate::limits::{LIGHT_QUEUES_MAX, PROPERTIES_BYTES_MAX, TOPIC_NAME_BYTES_MAX};
use crate::log::{Appended, QueueIndex};
use crate::model::{Now, QueueId};
use crate::protocol::code::ResponseCode;
use crate::protocol::message::{
    CHECK_MAX_TOPIC, HALF_TOPIC, LIGHT_QUEUE, OP_TOPIC, Properties, allows_light, append_property, is_dlq_topic,
    is_light, is_retry_topic, light_queues, property, sys_flag, without_property,
};
use crate::protocol::record::{Marks, RecordDraft};

/// Bytes of the property that says at which offsets a message is in so many light queues, at most: each is a number of 64 bits and a comma.
fn light_bytes_max(queues: usize) -> usize {
    property::LIGHT_OFFSETS.len() + 2 + queues * 21
}

/// Whether such messages are put into light queues: those that consumers read where they are. What waits, or was given up, is in its own queue alone, and
/// so is a batch that is stored whole.
fn may_be_in_light(topic: &str, flags: i32) -> bool {
    let is_read =
        allows_light(topic) && !is_dlq_topic(topic) && ![HALF_TOPIC, OP_TOPIC, CHECK_MAX_TOPIC].contains(&topic);
    is_read && flags & sys_flag::INNER_BATCH == 0
}

/// Checks what a request says to be a light queue.
///
/// # Errors
/// 29.
pub(super) fn check_light_queue(name: &str, queue_id: Option<QueueId>) -> Result<(), Refusal> {
    if queue_id == Some(LIGHT_QUEUE) && light_queues(name).is_some_and(|names| names.len() == 1) {
        return Ok(());
    }
    let remark = if name.len() > TOPIC_NAME_BYTES_MAX {
        format!("the name of a light queue is longer than {TOPIC_NAME_BYTES_MAX} bytes: it has {}", name.len())
    } else {
        format!("a light queue has a name of its own and the number 0: [{name}] is none")
    };
    Err(Refusal::new(ResponseCode::InvalidParameter, remark))
}

impl Broker {
    /// Whether this is the name of a light queue here.
    pub(super) fn is_light(&self, name: &str) -> bool {
        self.settings.light.is_enabled && is_light(name)
    }

    /// Whether this names a light queue, and no topic: for tools and consumers a topic of one queue, whether it is there or not, as with RocketMQ.
    pub(super) fn is_light_queue(&self, name: &str) -> bool {
        self.is_light(name) && self.topics.get(name).is_none() && check_light_queue(name, Some(LIGHT_QUEUE)).is_ok()
    }

    /// How many queues of it consumers may read, and how many it has to send to; `None` if it is neither a topic nor the name of a light queue.
    pub(super) fn queues_of(&self, name: &str) -> Option<(u32, u32)> {
        let topic = self.topics.get(name).map(|topic| (topic.config.read_queues, topic.config.write_queues));
        topic.or_else(|| self.is_light_queue(name).then_some((1, 1)))
    }

    /// The log's handle of a light queue that is sent to; it is made if there is room for one more.
    pub(super) fn light_queue(&mut self, name: &str, queue_id: Option<QueueId>) -> Result<QueueIndex, Refusal> {
        check_light_queue(name, queue_id)?;
        if self.log.find_queue(name, LIGHT_QUEUE).is_none() && !self.has_room_for(1) {
            return Err(self.too_many_queues());
        }
        Ok(self.log.queue(name, LIGHT_QUEUE))
    }

    /// Checks what a client wants of light queues, before anything of its message is stored. What is tried again is in its own queue alone, whatever it says.
    #[inline(never)]
    pub(super) fn check_light(&self, topic: &str, sys_flag: i32, properties: &str) -> Result<(), Refusal> {
        if !self.settings.light.is_enabled || is_retry_topic(topic) {
            return Ok(());
        }
        let illegal =
            |why: &str| Err(Refusal::new(ResponseCode::MessageIllegal, format!("the message is illegal: {why}")));
        let names = Properties::new(properties.as_bytes()).get(property::LIGHT_QUEUES).unwrap_or_default();
        if names.split(',').any(|name| name.len() > TOPIC_NAME_BYTES_MAX) {
            return illegal(&format!(
                "INNER_MULTI_DISPATCH names a light queue whose name is longer than {TOPIC_NAME_BYTES_MAX} bytes"
            ));
        }
        let Some(names) = light_queues(names).filter(|names| !names.contains(&topic)) else {
            return illegal("INNER_MULTI_DISPATCH names light queues (%LMQ%NAME), each once and 256 at most");
        };
        if !may_be_in_light(topic, sys_flag) {
            return illegal("a batch, or a message of this topic, cannot be in light queues (INNER_MULTI_DISPATCH)");
        }
        // Its offsets are known when it is stored, which may be later.
        if properties.len() + light_bytes_max(names.len()) + OWN_PROPERTIES_BYTES > PROPERTIES_BYTES_MAX {
            return illegal("its properties are too long: what the broker says of its light queues must have room");
        }
        if self.has_room_for(self.new_among(&names)) { Ok(()) } else { Err(self.too_many_queues()) }
    }

    fn new_among(&self, names: &[&str]) -> u64 {
        names.iter().filter(|name| self.log.find_queue(name, LIGHT_QUEUE).is_none()).count() as u64
    }

    fn has_room_for(&self, more: u64) -> bool {
        more == 0 || self.log.light_queues().saturating_add(more) <= self.settings.light.queues_max
    }

    fn too_many_queues(&self) -> Refusal {
        let remark = format!(
            "[LMQ_CONSUME_QUEUE_NUM_EXCEEDED]broker config enableLmq and enableMultiDispatch, lmq consumeQueue num exceed maxLmqConsumeQueueNum config num, which is {}.",
            self.settings.light.queues_max
        );
        Refusal::new(ResponseCode::SystemError, remark)
    }

    /// Stores a message that speaks of light queues, in those and in its own.
    ///
    /// One that has waited was acknowledged, so `maxLmqConsumeQueueNum` does not count for it here: the log has made its queues when it was taken
    /// ([`LogSettings::has_light`](crate::log::LogSettings)), and they count for those that come later. Only one that was taken where there were no
    /// light queues may find neither a queue nor a place, and is in its own queue alone.
    #[inline(never)]
    pub(super) fn store_for_light_queues(
        &mut self,
        now: Now,
        queue: QueueIndex,
        draft: &RecordDraft<'_>,
    ) -> Result<Appended, NotStored> {
        let mut properties = Vec::with_capacity(draft.properties.len() + 64);
        without_property(draft.properties, property::LIGHT_OFFSETS, &mut properties);
        let names = Properties::new(draft.properties).get(property::LIGHT_QUEUES).and_then(light_queues);
        let is_meant = self.settings.light.is_enabled && may_be_in_light(draft.topic, draft.sys_flag);
        if let Some(names) = names.filter(|names| is_meant && !names.contains(&draft.topic)) {
            let bytes_max = properties.len() + light_bytes_max(names.len()) + CRC_PROPERTY_BYTES;
            if bytes_max <= PROPERTIES_BYTES_MAX && self.log.light_queues() + self.new_among(&names) <= LIGHT_QUEUES_MAX
            {
                let mut offsets = String::with_capacity(light_bytes_max(names.len()));
                for (nth, name) in names.iter().enumerate() {
                    let comma = if nth == 0 { "" } else { "," };
                    // Writing to a text does not fail.
                    let _ = write!(offsets, "{comma}{}", self.end_of(name, LIGHT_QUEUE));
                }
                append_property(&mut properties, property::LIGHT_OFFSETS, &offsets);
            } else {
                tracing::warn!(target: crate::said::BY_STRANGERS, topic = draft.topic, "a message that has waited is not put into light queues: there are too many, or its properties have no room");
            }
        }
        let draft = RecordDraft { properties: &properties, marks: Marks::of(&properties), ..*draft };
        if is_inner_batch(&draft) {
            self.store_inner_batch(now, queue, &draft)
        } else {
            self.append_one(now, queue, &draft)
        }
    }
}
