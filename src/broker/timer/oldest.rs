//! The oldest timer message that waits, for retention.

use super::progress::{Progress, TimerKey};
use super::{Broker, QUEUE};
use crate::broker::undelivered::Unknown;
use crate::limits::TIMER_ENTRIES_PER_TURN;
use crate::model::{LogOffset, QueueOffset};
use crate::protocol::message::{WHEEL_TOPIC, WheelCode};

impl Broker {
    /// Where it lies. Goes on where the last look has ended: what is done with stays so.
    pub(in crate::broker) fn oldest_timer(&mut self) -> Result<Option<LogOffset>, Unknown> {
        let Some(queue) = self.log.find_queue(WHEEL_TOPIC, QUEUE) else { return Ok(None) };
        let bounds = self.log.bounds(queue);
        let (_, places) = self.delays.sure(self.durable_end());
        let done = Progress::new(&places.steps, places.end);
        let from = places.floor.max(self.delays.timers.oldest).max(bounds.min);
        let end = QueueOffset(bounds.max.0.min(from.0.saturating_add(TIMER_ENTRIES_PER_TURN as u64)));
        for at in (from.0..end.0).map(QueueOffset) {
            self.delays.timers.oldest = at;
            if let Some((code, place)) = self.waiting_at(queue, at)?
                && let key = (TimerKey { code: WheelCode(code), place, at })
                // What recalls others is of no use without them.
                && !key.code.is_recall()
                && !done.has(&key)
            {
                return Ok(Some(place));
            }
        }
        self.delays.timers.oldest = end.max(from);
        if end < bounds.max { Err(Unknown::NotYet) } else { Ok(None) }
    }
}
