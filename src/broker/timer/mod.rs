//! Timer messages: how they are put off to a time of their own, and where they wait.
//!
//! State of the shard, durable: which were delivered, in `delayOffset.json` beside the delay levels. A message whose properties name a time is
//! stored in [`WHEEL_TOPIC`] and says in its properties where it belongs. The index of that queue says when each comes, so it is the wheel: what
//! waits is not in memory but for the next ones ([`due`]), a start and a slave derive the same, and no file is beside it. What is delivered is
//! told by one place in the order of delivery ([`progress`]). Source: RocketMQ 5.3.3 `HookUtils.transformTimerMessage`, `TimerMessageStore`.

mod deliver;
mod due;
mod oldest;
mod progress;
mod recall;

use std::collections::BTreeSet;

pub(crate) use self::due::WindowBounds;

use self::due::DueIndex;
use self::progress::{Progress, TimerKey};
use super::Broker;
use super::job::{Tries, Wait};
use super::store::NotStored;
use super::unsettled::Unsettled;
use crate::limits::{JOB_UNPROMISED_MAX, TIMER_PRECISION_MS_MAX, TIMER_RECALLS_BYTES_MAX, TIMER_RECALLS_MAX};
use crate::log::{Appended, BlockId, QueueIndex};
use crate::model::{LogOffset, MonoNs, Now, QueueId, QueueOffset};
use crate::protocol::body::TimerPlaces;
use crate::protocol::message::{Properties, WHEEL_TOPIC, WheelCode, append_property, property};
use crate::protocol::record::{Marks, RecordDraft, RecordView};
use crate::said::BY_STRANGERS;

/// Timer messages wait in one queue, whatever topic they are for.
const QUEUE: QueueId = QueueId(0);

/// Most by which the properties of a message grow when it is delivered or stored again: the names of two times and a count, and their values.
const PROPERTIES_GROWTH: usize = 128;

/// The timer messages of a shard.
#[derive(Debug)]
pub(super) struct Timers {
    /// `None` on a slave.
    queue: Option<QueueIndex>,
    due: DueIndex,
    /// What is dealt with.
    taken: Progress,
    /// The same of what is as safe as was promised.
    done: Progress,
    /// Of what begins before this in the log the two know.
    end: LogOffset,
    /// What was dealt with and is not safe yet.
    passed: Unsettled<TimerKey>,
    /// Where the log ends that holds all that `done` speaks of.
    log_offset: LogOffset,
    recalls: Recalls,
    /// What delivery waits for,
    next: Wait,
    /// and what the reading of the index.
    scan: Wait,
    /// None before this offset of the queue waits, as far as was looked.
    oldest: QueueOffset,
    /// How often in a row the next message, or an entry of the index, could not be read.
    tries: Tries,
}

/// Messages that are recalled, of those of one time.
#[derive(Debug, Default)]
struct Recalls {
    out_ms: i64,
    names: BTreeSet<String>,
    bytes: usize,
    /// What has recalled them, in its order. They are closed when all of their time are.
    read: Vec<TimerKey>,
    /// The last of what recalls that was read, whether it has had an effect or not.
    last: Option<TimerKey>,
}

impl Recalls {
    /// Whether a message of the wheel is one of those that were read: it is not to be read for its time again.
    fn have(&self, key: &TimerKey) -> bool {
        self.last.is_some_and(|last| key.code == last.code && *key <= last)
    }
}

impl Default for Timers {
    fn default() -> Timers {
        Timers {
            queue: None,
            due: DueIndex::new(WindowBounds::default(), QueueOffset(0), QueueOffset(0)),
            taken: Progress::default(),
            done: Progress::default(),
            end: LogOffset(0),
            passed: Unsettled::default(),
            log_offset: LogOffset(0),
            recalls: Recalls::default(),
            next: Wait::Turn,
            scan: Wait::Turn,
            oldest: QueueOffset(0),
            tries: Tries::default(),
        }
    }
}

impl Timers {
    /// What is known, as it may be written down. `None` on a slave, which knows what its master told.
    pub(super) fn places(&self) -> Option<TimerPlaces> {
        self.queue?;
        if self.done.steps().is_empty() {
            return Some(TimerPlaces::default());
        }
        Some(TimerPlaces { end: self.end, floor: self.due.floor(), steps: self.done.steps().to_vec() })
    }

    pub(super) fn log_offset(&self) -> LogOffset {
        self.log_offset
    }

    /// The next message that comes, and how often in a row it could not be read or stored, if that is why all stand still.
    pub(super) fn blocked(&self) -> Option<(QueueOffset, u32)> {
        self.tries.count().zip(self.due.first()).map(|(tries, key)| (key.at, tries))
    }

    /// When the next message comes whose time is known, Unix ms.
    pub(super) fn next_due_ms(&self, precision_ms: u64) -> Option<i64> {
        self.due.first().map(|key| due_ms(key.code, precision_ms))
    }

    /// Consumers may see more of a queue.
    #[inline]
    pub(super) fn queue_has_grown(&mut self, queue: QueueIndex) {
        if self.queue == Some(queue) {
            for wait in [&mut self.next, &mut self.scan] {
                wait.end_if(*wait == Wait::Growth);
            }
        }
    }

    /// A block was read, or could not be.
    pub(super) fn block_has_come(&mut self, block: BlockId) {
        self.next.block_has_come(block);
        self.scan.block_has_come(block);
    }

    fn wake_due(&mut self, now: MonoNs) {
        self.next.wake_due(now);
        self.scan.wake_due(now);
    }

    /// When there is something to do.
    fn next_time(&self) -> Option<MonoNs> {
        let next = self.next.time().filter(|_| self.passed.len() < JOB_UNPROMISED_MAX && self.due.first().is_some());
        let scan = self.scan.time().filter(|_| self.due.wants_scan());
        next.into_iter().chain(scan).min()
    }

    /// A message waits, of those that have come to this log in this life.
    fn put(&mut self, key: TimerKey, end: LogOffset, set_back_to: i64) {
        if self.taken.has(&key) {
            // The clock was set back.
            self.taken.set_back(key.place, set_back_to);
            self.done.set_back(key.place, set_back_to);
        }
        self.end = end;
        self.due.put(key);
        let is_next = self.due.first() == Some(key);
        if is_next && matches!(self.next, Wait::Until(_) | Wait::Growth) {
            self.next = Wait::Turn;
        }
    }

    /// The next message is dealt with: the log ended at `at` behind what was stored for it.
    fn pass(&mut self, key: &TimerKey, at: LogOffset) {
        self.due.take(key);
        self.taken.pass(key, at);
        self.tries = Tries::default();
        self.passed.push(at, *key);
    }

    /// The log is safe up to `safe`. Whether it is known of more messages that they are done with.
    pub(super) fn promised(&mut self, safe: LogOffset) -> bool {
        let mut has_moved = false;
        while let Some((at, key)) = self.passed.take(safe) {
            self.done.pass(&key, at);
            self.due.close(&key);
            self.log_offset = at;
            has_moved = true;
        }
        has_moved
    }

    /// Whether something that was delivered is not known to be safe.
    #[inline]
    pub(super) fn is_waiting_for_promises(&self) -> bool {
        !self.passed.is_empty()
    }

    /// The next message recalls the one of this name: the log ends at `at`.
    fn recall(&mut self, key: &TimerKey, name: &str, at: LogOffset) {
        let recalls = &mut self.recalls;
        (recalls.out_ms, recalls.last) = (key.code.out_ms(), Some(*key));
        let is_known = recalls.names.contains(name);
        let is_full = recalls.read.len() >= TIMER_RECALLS_MAX || recalls.bytes + name.len() > TIMER_RECALLS_BYTES_MAX;
        if is_known || is_full {
            if !is_known {
                tracing::error!(target: BY_STRANGERS, at = %key.at, "too many messages of one time were recalled: this one is delivered");
            }
            return self.pass(key, at);
        }
        recalls.names.insert(name.to_owned());
        recalls.bytes += name.len();
        recalls.read.push(*key);
        self.due.take(key);
        self.tries = Tries::default();
    }

    /// The next message is of this time. Those of an earlier one that were recalled are behind: the log ends at `at`.
    fn end_recalls(&mut self, out_ms: i64, at: LogOffset) {
        if self.recalls.out_ms == out_ms || self.recalls.read.is_empty() {
            return;
        }
        let recalls = std::mem::take(&mut self.recalls);
        if recalls.out_ms < out_ms {
            for key in recalls.read {
                // As any that is dealt with: a clock that is set back after it is noticed by the next message.
                self.taken.pass(&key, at);
                self.passed.push(at, key);
            }
            return;
        }
        // The clock was set back amid them: they are read again when it is their time.
        for key in recalls.read {
            self.due.put(key);
            self.due.close(&key);
        }
    }
}

impl Broker {
    /// A life begins: a master goes on where the last one was.
    pub(super) fn start_timers(&mut self, places: &TimerPlaces) {
        let queue = self.log.queue(WHEEL_TOPIC, QUEUE);
        let bounds = self.log.bounds(queue);
        let from = places.floor.max(bounds.min).min(bounds.appended_max);
        let known = Progress::new(&places.steps, places.end);
        self.delays.timers = Timers {
            queue: Some(queue),
            due: DueIndex::new(self.settings.timer_window, from, bounds.appended_max),
            taken: known.clone(),
            done: known,
            end: self.log.appended(),
            ..Timers::default()
        };
    }

    /// For which step of `timerPrecisionMs` a message waits that asks for a time, Unix ms; `None` if it asks for none, or for one that has come.
    ///
    /// # Errors
    /// [`NotStored::TimersOff`], [`NotStored::TimerIllegal`].
    pub(super) fn timer_out_ms(
        &self,
        now: Now,
        marks: &Marks<'_>,
        properties: &[u8],
    ) -> Result<Option<i64>, NotStored> {
        // Beside a level it counts for nothing; and whoever has waited once does not wait again.
        if !marks.is_timer || marks.delay_level > 0 || marks.timer_out_ms.is_some() {
            return Ok(None);
        }
        let settings = &self.settings.timers;
        if !settings.is_enabled {
            return Err(NotStored::TimersOff);
        }
        let illegal = NotStored::TimerIllegal { delay_max_sec: settings.delay_max_sec };
        let deliver_ms = deliver_ms(now.unix.0, properties).ok_or(illegal)?;
        if deliver_ms <= now.unix.0 {
            return if marks.is_recall { Err(illegal) } else { Ok(None) };
        }
        let delay_ms = deliver_ms.saturating_sub(now.unix.0).unsigned_abs();
        if delay_ms > settings.delay_max_sec.saturating_mul(1_000) {
            return Err(illegal);
        }
        Ok(Some(self.step_of(deliver_ms)))
    }

    /// Stores a message that waits for the step that begins at `out_ms`.
    ///
    /// # Errors
    /// [`NotStored`]; nothing has changed then.
    pub(super) fn put_timer(&mut self, now: Now, out_ms: i64, draft: &RecordDraft<'_>) -> Result<Appended, NotStored> {
        let mut properties = waiting_properties(draft, out_ms);
        let bytes = properties.len();
        // What could not be delivered is refused, not left out when its time has come.
        properties.resize(bytes + PROPERTIES_GROWTH, 0);
        let topic = if draft.topic.len() > WHEEL_TOPIC.len() { draft.topic } else { WHEEL_TOPIC };
        let longest = RecordDraft { topic, properties: &properties, ..*draft };
        self.log.check_size(&longest).map_err(NotStored::Append)?;
        properties.truncate(bytes);
        let marks = Marks { timer_out_ms: Some(out_ms), ..draft.marks };
        let waiting = RecordDraft { topic: WHEEL_TOPIC, queue_id: QUEUE, properties: &properties, marks, ..*draft };
        self.store_in_wheel(now, &waiting)
    }

    /// For which step a message still has to wait that was stored when the steps were longer than today's, Unix ms; `None` if its time has come.
    pub(super) fn step_left(&self, now: Now, view: &RecordView<'_>) -> Option<i64> {
        let asked = deliver_ms(waits_since_ms(view), view.properties)?;
        let out_ms = Marks::of(view.properties).timer_out_ms?;
        let longest = i64::try_from(TIMER_PRECISION_MS_MAX).unwrap_or(i64::MAX);
        let is_left = asked > now.unix.0 && asked <= out_ms.saturating_add(longest);
        is_left.then(|| self.step_of(asked))
    }

    /// Stores a message of the wheel once more, for a later step.
    ///
    /// # Errors
    /// [`NotStored`]; nothing has changed then.
    pub(super) fn put_timer_again(&mut self, now: Now, out_ms: i64, view: &RecordView<'_>) -> Result<(), NotStored> {
        self.check_replicas(true)?;
        let dropped =
            |name: &str| matches!(name, property::CRC32 | property::TIMER_OUT_MS | property::TIMER_ENQUEUE_MS);
        let mut properties = Vec::with_capacity(view.properties.len() + PROPERTIES_GROWTH);
        for (name, value) in Properties::new(view.properties).iter().filter(|(name, _)| !dropped(name)) {
            append_property(&mut properties, name, value);
        }
        append_property(&mut properties, property::TIMER_OUT_MS, &out_ms.to_string());
        // Its delay is counted from there.
        append_property(&mut properties, property::TIMER_ENQUEUE_MS, &waits_since_ms(view).to_string());
        let draft = RecordDraft {
            topic: WHEEL_TOPIC,
            queue_id: QUEUE,
            properties: &properties,
            marks: Marks::of(&properties),
            ..self.draft_of_copy(now, view)
        };
        self.store_in_wheel(now, &draft).map(drop)
    }

    /// When the step begins at whose end a time has come, Unix ms: it ends with the time itself, or with the next multiple.
    fn step_of(&self, time_ms: i64) -> i64 {
        let precision = i64::try_from(self.settings.timers.precision_ms).unwrap_or(i64::MAX);
        time_ms.saturating_sub(1).div_euclid(precision) * precision
    }

    /// Stores a record of the wheel, and knows of it.
    fn store_in_wheel(&mut self, now: Now, waiting: &RecordDraft<'_>) -> Result<Appended, NotStored> {
        let queue = self.log.queue(WHEEL_TOPIC, QUEUE);
        let stored = self.store(now, queue, waiting)?;
        let key = TimerKey { code: WheelCode::of(&waiting.marks), place: stored.log_offset, at: stored.queue_offset };
        let precision = i64::try_from(self.settings.timers.precision_ms).unwrap_or(i64::MAX);
        self.delays.timers.put(key, stored.end, now.unix.0.saturating_sub(precision));
        Ok(stored)
    }
}

/// When a message is due, Unix ms: at the end of its step.
fn due_ms(code: WheelCode, precision_ms: u64) -> i64 {
    code.out_ms().saturating_add(i64::try_from(precision_ms).unwrap_or(i64::MAX))
}

/// The time that the properties ask for, Unix ms; `None` if that is no number, or beyond all times. Seconds count before milliseconds, and
/// either before a time of day.
fn deliver_ms(now_ms: i64, properties: &[u8]) -> Option<i64> {
    let read = Properties::new(properties);
    let number = |name| read.get(name).map(|text| text.parse::<i64>().ok());
    if let Some(seconds) = number(property::TIMER_DELAY_SEC) {
        return now_ms.checked_add(seconds?.checked_mul(1_000)?);
    }
    if let Some(ms) = number(property::TIMER_DELAY_MS) {
        return now_ms.checked_add(ms?);
    }
    number(property::TIMER_DELIVER_MS)?
}

/// Since when a message waits, Unix ms. It may have been stored again since.
fn waits_since_ms(view: &RecordView<'_>) -> i64 {
    let since = Properties::new(view.properties).get(property::TIMER_ENQUEUE_MS);
    since.and_then(|since| since.parse().ok()).unwrap_or(view.store_timestamp)
}

/// The properties under which a message waits: its own, its time, and where it belongs.
fn waiting_properties(draft: &RecordDraft<'_>, out_ms: i64) -> Vec<u8> {
    let dropped = |name: &str| {
        matches!(
            name,
            property::REAL_TOPIC | property::REAL_QUEUE_ID | property::TIMER_OUT_MS | property::TIMER_ENQUEUE_MS
        )
    };
    let mut properties = Vec::with_capacity(draft.properties.len() + draft.topic.len() + PROPERTIES_GROWTH);
    for (name, value) in Properties::new(draft.properties).iter().filter(|(name, _)| !dropped(name)) {
        append_property(&mut properties, name, value);
    }
    append_property(&mut properties, property::TIMER_OUT_MS, &out_ms.to_string());
    append_property(&mut properties, property::REAL_TOPIC, draft.topic);
    append_property(&mut properties, property::REAL_QUEUE_ID, &draft.queue_id.to_string());
    properties
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_recalls_twice_counts_once_and_there_is_an_end_of_room() {
        let mut timers = Timers::default();
        let recall = |timers: &mut Timers, name: usize| {
            let at = timers.end.0;
            let key = TimerKey { code: WheelCode::new(5, true), place: LogOffset(at), at: QueueOffset(at) };
            timers.put(key, LogOffset(at + 1), 0);
            timers.recall(&key, &format!("T+{name}"), LogOffset(at + 1));
            timers.recalls.have(&key)
        };
        assert!(recall(&mut timers, 0) && recall(&mut timers, 0));
        assert_eq!((timers.recalls.read.len(), timers.passed.len()), (1, 1));
        for name in 1..TIMER_RECALLS_MAX + 9 {
            assert!(recall(&mut timers, name));
        }
        assert_eq!(
            (timers.recalls.read.len(), timers.recalls.names.len(), timers.passed.len()),
            (TIMER_RECALLS_MAX, TIMER_RECALLS_MAX, 10)
        );
        timers.end_recalls(6, timers.end);
        assert!(timers.promised(timers.end));
        assert_eq!((timers.passed.len(), timers.due.floor()), (0, QueueOffset(timers.end.0 / 512 * 512)));
    }

    /// Simulator seed 52739: the message could not be stored for which the recalls were closed, and then the clock was set back.
    #[test]
    fn what_is_put_after_recalls_were_closed_and_the_clock_set_back_is_not_done_with() {
        let mut timers = Timers::default();
        let key = |out_ms, is_recall, at| TimerKey {
            code: WheelCode::new(out_ms, is_recall),
            place: LogOffset(at),
            at: QueueOffset(at),
        };
        let recall = key(700, true, 10);
        timers.put(recall, LogOffset(20), 0);
        timers.recall(&recall, "T+K", LogOffset(20));
        timers.end_recalls(800, LogOffset(20));
        assert!(timers.promised(LogOffset(20)));
        let earlier = key(200, false, 30);
        timers.put(earlier, LogOffset(40), 100);
        assert!(!timers.done.has(&earlier) && !timers.taken.has(&earlier));
        assert!(timers.done.has(&key(700, false, 5)) == timers.taken.has(&key(700, false, 5)));
    }

    #[test]
    fn seconds_count_before_milliseconds_and_either_before_a_time_of_day() {
        let check = |properties: &str, expected: Option<i64>| {
            assert_eq!(deliver_ms(10_000, properties.as_bytes()), expected, "{properties}");
        };
        check("TIMER_DELIVER_MS\u{1}7\u{2}", Some(7));
        check("TIMER_DELIVER_MS\u{1}7\u{2}TIMER_DELAY_MS\u{1}5\u{2}", Some(10_005));
        check("TIMER_DELAY_SEC\u{1}2\u{2}TIMER_DELIVER_MS\u{1}7\u{2}TIMER_DELAY_MS\u{1}5\u{2}", Some(12_000));
        check("TIMER_DELAY_SEC\u{1}-2\u{2}", Some(8_000));
        check("TIMER_DELAY_SEC\u{1}soon\u{2}TIMER_DELIVER_MS\u{1}7\u{2}", None);
        check("TIMER_DELAY_MS\u{1}1.5\u{2}", None);
        check("TIMER_DELAY_SEC\u{1}9223372036854775807\u{2}", None);
        check("TIMER_DELAY_MS\u{1}9223372036854775807\u{2}", None);
    }
}
