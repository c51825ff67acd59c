//! The delivery of timer messages: what is due is stored where it belongs, what was recalled is passed over, and the index is read for the next ones.

use super::{PROPERTIES_GROWTH, due_ms, waits_since_ms};
use crate::broker::job::{JobBudget, ONE_MESSAGE, OwnRead, Wait};
use crate::broker::store::{NotStored, real_place};
use crate::broker::{Broker, Effect, Output};
use crate::limits::{JOB_CLOCK_MS, JOB_RETRY_MS, JOB_UNPROMISED_MAX, TIMER_ENTRIES_PER_TURN};
use crate::log::{AppendError, Coded, QueueIndex};
use crate::model::{MonoNs, Now};
use crate::protocol::message::{HALF_TOPIC, Properties, WHEEL_TOPIC, WheelCode, append_property, property, recall_key};
use crate::protocol::record::{Check, Marks, RecordView};

use super::progress::TimerKey;

impl Broker {
    /// When there is something to do for timer messages.
    pub(in crate::broker) fn next_timer_time(&self) -> Option<MonoNs> {
        if self.holds_delays() { None } else { self.delays.timers.next_time() }
    }

    /// Delivers what is due, and reads the index, as much as one turn allows.
    pub(in crate::broker) fn run_timers(&mut self, now: Now, out: &mut Output) {
        let Some(queue) = self.delays.timers.queue.filter(|_| !self.holds_delays()) else { return };
        self.delays.timers.wake_due(now.mono);
        self.scan_timers(now, queue, out);
        let mut budget = JobBudget::of_turn();
        while budget.has_rest()
            && self.delays.timers.next == Wait::Turn
            && self.delays.timers.passed.len() < JOB_UNPROMISED_MAX
            && let Some(key) = self.delays.timers.due.first()
        {
            let due_ms = due_ms(key.code, self.settings.timers.precision_ms);
            let wait_ms = due_ms.saturating_sub(now.unix.0);
            if wait_ms > 0 {
                self.delays.timers.next = Wait::for_ms(now, wait_ms.unsigned_abs().min(JOB_CLOCK_MS));
                break;
            }
            self.delays.timers.end_recalls(key.code.out_ms(), self.log.appended());
            let mut record = std::mem::take(&mut self.scratch.records);
            record.clear();
            let wait = self.deliver_timer(now, queue, key, &mut record, &mut budget);
            self.scratch.records = record;
            wait.fetch(out);
            self.delays.timers.next = wait;
        }
    }

    /// Reads the index for what comes next.
    fn scan_timers(&mut self, now: Now, queue: QueueIndex, out: &mut Output) {
        for _ in 0..TIMER_ENTRIES_PER_TURN {
            let timers = &mut self.delays.timers;
            if timers.scan != Wait::Turn {
                return;
            }
            let Some(at) = timers.due.next_to_scan() else { break };
            let found = match self.log.code(queue, at) {
                Coded::Code(code, place) => {
                    let key = TimerKey { code: WheelCode(code), place, at };
                    Some(key).filter(|key| !timers.taken.has(key) && !timers.recalls.have(key))
                }
                Coded::Cold(block) => {
                    out.effects.push(Effect::Fetch(block));
                    timers.scan = Wait::Block(block);
                    return;
                }
                Coded::Unreadable => {
                    let wait_ms = timers.tries.fail(|tries, wait_ms| {
                        tracing::error!(%at, tries, wait_ms, "the index of timer messages cannot be read: it is tried again");
                    });
                    timers.scan = Wait::for_ms(now, wait_ms);
                    return;
                }
                // Found when this life began, and not promised yet.
                Coded::None if at >= self.log.bounds(queue).max => {
                    timers.scan = Wait::Growth;
                    return;
                }
                Coded::None => None,
            };
            timers.due.scanned(found);
        }
        let timers = &mut self.delays.timers;
        if timers.next == Wait::Growth {
            timers.next = Wait::Turn;
        }
    }

    /// Deals with the next message, which is due. What delivery waits for then.
    fn deliver_timer(
        &mut self,
        now: Now,
        queue: QueueIndex,
        key: TimerKey,
        record: &mut bytes::BytesMut,
        budget: &mut JobBudget,
    ) -> Wait {
        budget.messages = budget.messages.saturating_sub(1);
        match self.read_own(queue, key.at, &ONE_MESSAGE, ("a timer message", "it is not delivered"), record) {
            OwnRead::Found { .. } => {
                budget.bytes = budget.bytes.saturating_sub(record.len());
                self.deal_with(now, &key, record)
            }
            OwnRead::LeftOut { .. } => {
                self.delays.timers.pass(&key, self.log.appended());
                Wait::Turn
            }
            OwnRead::Nothing => Wait::Growth,
            OwnRead::Cold(block) => Wait::Block(block),
            OwnRead::Failed => self.wait_for_timer(now, &key, "cannot be read"),
        }
    }

    /// An error never moves a reader: all wait until the message was delivered, or the log knows it to be gone.
    fn wait_for_timer(&mut self, now: Now, key: &TimerKey, why: &str) -> Wait {
        let wait_ms = self.delays.timers.tries.fail(|tries, wait_ms| {
            tracing::error!(at = %key.at, tries, wait_ms, "a timer message {why}: those behind it wait, and it is tried again");
        });
        Wait::for_ms(now, wait_ms)
    }

    fn deal_with(&mut self, now: Now, key: &TimerKey, record: &[u8]) -> Wait {
        let view = RecordView::decode(record, None, Check::Shape).expect("the log has read it as a record");
        let marks = Marks::of(view.properties);
        let timers = &mut self.delays.timers;
        if WheelCode::of(&marks) > key.code {
            // Its entry was made by a version that knew no timers.
            timers.due.take(key);
            timers.due.put(TimerKey { code: WheelCode::of(&marks), ..*key });
            timers.due.close(key);
            return Wait::Turn;
        }
        let read = Properties::new(view.properties);
        if let Some(name) = read.get(property::TIMER_DEL_UNIQKEY) {
            timers.recall(key, name, self.log.appended());
            return Wait::Turn;
        }
        let is_recalled = !timers.recalls.names.is_empty()
            && real_place(&read)
                .zip(read.unique_key())
                .is_some_and(|((topic, _), unique)| timers.recalls.names.contains(&recall_key(topic, unique)));
        if is_recalled {
            self.counters.recalled_count += 1;
        } else {
            let stored = match self.step_left(now, &view) {
                Some(out_ms) => self.put_timer_again(now, out_ms, &view),
                None => self.deliver_to_topic(now, &view),
            };
            match stored {
                Ok(()) => {}
                Err(NotStored::Append(AppendError::TooLarge(error))) => {
                    return self.wait_for_timer(now, key, &format!("cannot be stored ({error})"));
                }
                Err(_) => return Wait::for_ms(now, JOB_RETRY_MS),
            }
        }
        self.delays.timers.pass(key, self.log.appended());
        Wait::Turn
    }

    /// Stores the copy of a record where it belongs. Errors as [`Broker::put_where_it_belongs`].
    fn deliver_to_topic(&mut self, now: Now, view: &RecordView<'_>) -> Result<(), NotStored> {
        let is_place = |topic: &str| topic != HALF_TOPIC && topic != WHEEL_TOPIC;
        self.put_where_it_belongs(now, view, "a timer message", is_place, |properties| {
            delivered_properties(now, view, properties);
        })
    }
}

/// The properties of a delivered message: those under which it waited, and since when and until when it has. Source: `TimerMessageStore.convert`.
fn delivered_properties(now: Now, view: &RecordView<'_>, out: &mut Vec<u8>) {
    let dropped =
        |name: &str| matches!(name, property::CRC32 | property::TIMER_ENQUEUE_MS | property::TIMER_DEQUEUE_MS);
    out.reserve(view.properties.len() + PROPERTIES_GROWTH);
    for (name, value) in Properties::new(view.properties).iter().filter(|(name, _)| !dropped(name)) {
        append_property(out, name, value);
    }
    append_property(out, property::TIMER_ENQUEUE_MS, &waits_since_ms(view).to_string());
    append_property(out, property::TIMER_DEQUEUE_MS, &now.unix.0.to_string());
}
