//! What retention leaves in the log although it is old: messages that wait for a time of their own, and that the broker is still to deliver.
//!
//! Whoever sent such a message was told that it is stored, and nobody has read it: it must not be gone when its time comes. So the log is told where
//! the oldest lies, on masters and, by what their masters told them, on slaves. What was delivered counts as that when its copy is on the disk here: a
//! power loss, or a master that is gone, may take one that is not. RocketMQ stores those of its timers once more before they are too old, and loses
//! those of its delay levels.

use super::Broker;
use super::delay::level_of_queue;
use crate::log::{BlockId, Coded, QueueIndex};
use crate::model::{LogOffset, QueueId, QueueOffset};
use crate::protocol::message::SCHEDULE_TOPIC;

/// Why it is not known where the oldest lies.
pub(super) enum Unknown {
    Cold(BlockId),
    /// It is looked for again, later.
    NotYet,
}

impl Broker {
    /// Tells the log what to leave. What is not known now is left as it was.
    pub(super) fn hold_undelivered(&mut self) {
        match self.oldest_undelivered() {
            Ok(oldest) => self.log.hold(oldest),
            Err(Unknown::Cold(block)) => self.log.want_ahead(block),
            Err(Unknown::NotYet) => {}
        }
    }

    fn oldest_undelivered(&mut self) -> Result<Option<LogOffset>, Unknown> {
        let mut oldest = self.oldest_timer()?;
        let (offsets, _) = self.delays.sure(self.durable_end());
        let queues: Vec<(QueueId, QueueIndex)> = self.log.queues_of(SCHEDULE_TOPIC).collect();
        for (queue_id, queue) in queues {
            let at = offsets.get(&level_of_queue(queue_id)).copied().unwrap_or_default();
            let at = at.max(self.log.bounds(queue).min);
            let place = self.waiting_at(queue, at)?.map(|(_, place)| place);
            oldest = oldest.into_iter().chain(place).min();
        }
        Ok(oldest)
    }

    /// What the index says of a message that waits, and where it lies; `None` if there is none.
    pub(super) fn waiting_at(
        &mut self,
        queue: QueueIndex,
        at: QueueOffset,
    ) -> Result<Option<(i64, LogOffset)>, Unknown> {
        match self.log.code(queue, at) {
            Coded::Code(code, place) => Ok(Some((code, place))),
            Coded::None => Ok(None),
            Coded::Unreadable => Err(Unknown::NotYet),
            Coded::Cold(block) => Err(Unknown::Cold(block)),
        }
    }
}
