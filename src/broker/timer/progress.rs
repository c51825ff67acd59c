//! Which timer messages are done with: an order of all of them, and places in it.
//!
//! Messages come in the order of their codes, and of one code in that of the log, so one place says it all, as long as what is put comes after it.
//! After the clock was set back it does not: then what is put from there on has a place of its own, a [`TimerStep`], until the first one
//! is reached again.

use crate::limits::TIMER_STEPS_MAX;
use crate::model::{LogOffset, QueueOffset};
use crate::protocol::body::TimerStep;
use crate::protocol::message::WheelCode;

/// A timer message that waits. Their order is that of delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TimerKey {
    pub(super) code: WheelCode,
    /// Where it begins in the log.
    pub(super) place: LogOffset,
    /// Its place in its queue.
    pub(super) at: QueueOffset,
}

impl TimerKey {
    /// No message comes before this one, and none that comes earlier after.
    pub(super) fn first_of(code: i64) -> TimerKey {
        TimerKey { code: WheelCode(code), place: LogOffset(0), at: QueueOffset(0) }
    }

    pub(super) const MIN: TimerKey = TimerKey { code: WheelCode(i64::MIN), place: LogOffset(0), at: QueueOffset(0) };
    pub(super) const MAX: TimerKey =
        TimerKey { code: WheelCode(i64::MAX), place: LogOffset(u64::MAX), at: QueueOffset(u64::MAX) };
}

/// What is done with.
#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    steps: Vec<TimerStep>,
}

impl Progress {
    /// As it was written down, of a log that holds messages of which nothing is said there from `end` on.
    pub(super) fn new(steps: &[TimerStep], end: LogOffset) -> Progress {
        let mut progress = Progress { steps: steps.to_vec() };
        progress.begin_step(TimerStep { from: end, code: i64::MIN, at: LogOffset(0) });
        progress
    }

    pub(super) fn steps(&self) -> &[TimerStep] {
        &self.steps
    }

    /// Whether a message is done with. What recalls others is read again as long as those of its time may come.
    pub(super) fn has(&self, key: &TimerKey) -> bool {
        let step = self.steps.iter().rev().find(|step| step.from <= key.place);
        step.is_some_and(|step| match key.code.is_recall() {
            true => key.code.out_ms() < WheelCode(step.code).out_ms(),
            false => (key.code.0, key.place) <= (step.code, step.at),
        })
    }

    /// The first of those that waited when the log ended at `end` is done with. What was put since counts for itself.
    pub(super) fn pass(&mut self, key: &TimerKey, end: LogOffset) {
        self.begin();
        for step in self.steps.iter_mut().filter(|step| step.from < end.max(LogOffset(1))) {
            (step.code, step.at) = (step.code, step.at).max((key.code.0, key.place));
        }
        // From where on both say the same there is one.
        self.steps.dedup_by(|later, earlier| (later.code, later.at) == (earlier.code, earlier.at));
    }

    /// A message begins at `from`, which may come before what is done with: from there on that is all up to `out_ms`.
    pub(super) fn set_back(&mut self, from: LogOffset, out_ms: i64) {
        let at = LogOffset(i64::MAX.unsigned_abs());
        self.begin();
        self.begin_step(TimerStep { from, code: WheelCode::new(out_ms, false).0, at });
    }

    fn begin(&mut self) {
        if self.steps.is_empty() {
            self.steps.push(TimerStep { from: LogOffset(0), code: i64::MIN, at: LogOffset(0) });
        }
    }

    fn begin_step(&mut self, step: TimerStep) {
        let Some(last) = self.steps.last().copied() else { return };
        if self.steps.len() >= TIMER_STEPS_MAX {
            self.steps.pop();
            self.steps.push(TimerStep { from: last.from, ..step });
        } else {
            self.steps.push(step);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(out_ms: i64, place: u64) -> TimerKey {
        TimerKey { code: WheelCode::new(out_ms, false), place: LogOffset(place), at: QueueOffset(place) }
    }

    fn recall(out_ms: i64, place: u64) -> TimerKey {
        TimerKey { code: WheelCode::new(out_ms, true), ..key(out_ms, place) }
    }

    #[test]
    fn what_comes_before_the_place_is_done_with() {
        let mut progress = Progress::default();
        assert!(!progress.has(&key(-5, 0)));
        progress.pass(&key(5, 100), LogOffset(150));
        let done = |key| progress.has(&key);
        assert!(done(key(5, 100)) && done(key(5, 99)) && done(key(4, 900)));
        assert!(!done(key(5, 101)) && !done(key(6, 0)));
        assert!(done(recall(4, 900)) && !done(recall(5, 1)), "a message of its time may come yet");
    }

    #[test]
    fn what_is_put_after_the_clock_was_set_back_has_a_place_of_its_own_until_the_first_is_reached() {
        let mut progress = Progress::default();
        progress.pass(&key(1_000, 100), LogOffset(150));
        progress.set_back(LogOffset(200), 499);
        assert!(progress.has(&key(900, 150)) && !progress.has(&key(900, 200)) && progress.has(&key(499, 300)));
        progress.pass(&key(900, 200), LogOffset(260));
        assert!(progress.has(&key(900, 200)) && !progress.has(&key(901, 250)) && progress.has(&key(1_000, 100)));
        assert_eq!(progress.steps().len(), 2);
        progress.pass(&key(1_001, 150), LogOffset(300));
        assert_eq!(progress.steps().len(), 1);
        assert!(progress.has(&key(950, 1_000)) && !progress.has(&key(1_001, 151)));
    }

    #[test]
    fn what_is_promised_late_says_nothing_of_what_was_put_since() {
        let mut done = Progress::default();
        done.set_back(LogOffset(200), 499);
        done.pass(&key(1_000, 100), LogOffset(180));
        assert!(done.has(&key(1_000, 100)) && !done.has(&key(500, 200)));
    }

    #[test]
    fn what_was_put_after_the_places_were_written_is_not_done_with() {
        let mut progress = Progress::default();
        progress.pass(&key(1_000, 100), LogOffset(150));
        let mut read = Progress::new(progress.steps(), LogOffset(300));
        assert!(read.has(&key(1_000, 100)) && !read.has(&key(7, 300)));
        read.pass(&key(1_002, 400), LogOffset(500));
        assert_eq!(read.steps().len(), 1);
        assert!(Progress::new(&[], LogOffset(300)).steps().is_empty(), "nothing was said");
    }

    #[test]
    fn many_steps_back_are_no_more_than_a_bound_and_lose_nothing() {
        let mut progress = Progress::default();
        progress.pass(&key(1_000_000, 100), LogOffset(150));
        for back in 1..100 {
            progress.set_back(LogOffset(1_000 * back), 1_000_000 - 1_000 * back.cast_signed());
        }
        assert_eq!(progress.steps().len(), TIMER_STEPS_MAX);
        assert!(!progress.has(&key(950_000, 99_500)) && progress.has(&key(1_000_000, 100)));
    }
}
