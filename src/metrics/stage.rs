//! How long messages take from one stage of their way to the next.
//!
//! The broker is told the time once a turn, and no clock is read for these numbers: the messages of a turn share its begin and its end, and
//! are recorded together. What that means for each is said at [`Stage`]. Histograms have two digits and hold the running minute and the one
//! before it.

use std::collections::VecDeque;

use hdrhistogram::Histogram;

use crate::limits::STAGE_MARKS_MAX;
use crate::model::{LogOffset, MonoNs};
use crate::protocol::body::STAGE_KEYS;

/// How often the older of the two histograms is emptied.
const MINUTE_MS: u64 = 60_000;

/// The longest time that is told from a longer one, in microseconds.
const LONGEST_US: u64 = 60_000_000;

/// Upper bounds in ms of RocketMQ's classes of the time to store a message; the last class has none. Source: `StoreStatsService`.
const CLASSES_MS: [u64; 12] = [0, 10, 50, 100, 200, 500, 1_000, 2_000, 3_000, 4_000, 5_000, 10_000];

/// A part of a message's way through a master.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Socket to append: from the begin of the turn in which the bytes were read to its end, when all of the turn's messages are appended.
    /// How long bytes lay in the kernel's buffer before is not seen.
    Append,
    /// Append to durable: from there until the log is flushed beyond them. Under `ASYNC_FLUSH` no reply waits for it.
    Durable,
    /// Durable to replicated: until all replicas in sync have acknowledged them, 0 if they had before. Only while a slave is in sync.
    Replicated,
    /// Socket to reply: from the begin of a send's turn until its answer is in the outbox, with all that it waits for between. An answer that
    /// waits for nothing counts to the end of its turn.
    Reply,
    /// Append to pulled: from the end of a message's turn until it is put into the answer of a pull; of the first message of each answer, if it
    /// is among those that were appended last.
    Pulled,
}

impl Stage {
    /// How many there are.
    pub(crate) const COUNT: usize = 5;

    /// In the order of a message's way.
    pub(crate) const ALL: [Stage; Stage::COUNT] =
        [Stage::Append, Stage::Durable, Stage::Replicated, Stage::Reply, Stage::Pulled];

    /// Its key among what a broker says of its state (28): its place in [`STAGE_KEYS`].
    #[must_use]
    pub(crate) const fn key(self) -> &'static str {
        STAGE_KEYS[self.index()]
    }

    const fn index(self) -> usize {
        match self {
            Stage::Append => 0,
            Stage::Durable => 1,
            Stage::Replicated => 2,
            Stage::Reply => 3,
            Stage::Pulled => 4,
        }
    }
}

/// One stage over the last one to two minutes, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct StageLatency {
    /// Messages; of [`Stage::Pulled`] answers.
    pub(crate) count: u64,
    pub(crate) p50_us: u64,
    /// 99 of 100 take no longer.
    pub(crate) p99_us: u64,
    /// 999 of 1,000 take no longer.
    pub(crate) p999_us: u64,
    pub(crate) max_us: u64,
}

/// Messages of one turn, or of a few that followed each other closely.
#[derive(Clone, Copy, Debug)]
struct Mark {
    /// Where their records lie: from the first's begin to the last's end.
    from: LogOffset,
    end: LogOffset,
    messages: u32,
    /// The turn's end.
    appended: MonoNs,
    durable: MonoNs,
}

/// What the running turn has done so far.
#[derive(Clone, Copy, Debug, Default)]
struct RunningTurn {
    began: MonoNs,
    from: LogOffset,
    end: LogOffset,
    messages: u32,
    /// Answers that waited for nothing.
    answers: u32,
}

type Histograms = [Histogram<u32>; Stage::COUNT];

/// The stages of one shard. About 100 KiB.
///
/// [`Stages::note_append`] and [`Stages::note_answer`] for what a turn does, [`Stages::end_turn`] at its end, [`Stages::note_progress`] whenever
/// the log or a slave may have gone on, [`Stages::note_replies`] and [`Stages::note_pulled`] when it happens.
#[derive(Debug)]
pub(crate) struct Stages {
    running: Histograms,
    before: Histograms,
    /// When `running` was emptied.
    since: MonoNs,
    longest_reply_us: u64,
    turn: RunningTurn,
    /// In the order of the log.
    marks: VecDeque<Mark>,
    /// So many of `marks` are durable, and so many replicated; never more of the latter.
    durable: usize,
    replicated: usize,
}

impl Default for Stages {
    fn default() -> Self {
        let empty = || -> Histograms {
            std::array::from_fn(|_| {
                Histogram::new_with_bounds(1, LONGEST_US, 2).expect("the bounds are in order and two digits are few")
            })
        };
        Stages {
            running: empty(),
            before: empty(),
            since: MonoNs(0),
            longest_reply_us: 0,
            turn: RunningTurn::default(),
            marks: VecDeque::new(),
            durable: 0,
            replicated: 0,
        }
    }
}

impl Stages {
    /// Messages were appended in the turn that began at `began`; their records are from `from` to `end`.
    #[inline]
    pub(crate) fn note_append(&mut self, began: MonoNs, from: LogOffset, end: LogOffset, messages: u32) {
        let turn = &mut self.turn;
        if turn.messages == 0 {
            (turn.began, turn.from) = (began, from);
        }
        turn.end = end;
        turn.messages += messages;
    }

    /// A send of this turn is answered at once.
    #[inline]
    pub(crate) fn note_answer(&mut self) {
        self.turn.answers += 1;
    }

    /// The turn has ended, or another event, which changes nothing here.
    pub(crate) fn end_turn(&mut self, now: MonoNs) {
        let RunningTurn { began, from, end, messages, answers } = std::mem::take(&mut self.turn);
        if messages == 0 {
            return;
        }
        self.record(Stage::Append, began, now, messages);
        if answers > 0 {
            self.record(Stage::Reply, began, now, answers);
            self.longest_reply_us = self.longest_reply_us.max(us_since(now, began));
        }
        if self.marks.len() >= STAGE_MARKS_MAX {
            self.make_room();
        }
        self.marks.push_back(Mark { from, end, messages, appended: now, durable: now });
    }

    /// The log is flushed up to `flushed`, and all replicas in sync have it up to `replicated`, if there are any but the master.
    pub(crate) fn note_progress(&mut self, now: MonoNs, flushed: LogOffset, replicated: Option<LogOffset>) {
        while let Some(mark) = self.marks.get_mut(self.durable).filter(|mark| mark.end <= flushed) {
            mark.durable = now;
            let Mark { appended, messages, .. } = *mark;
            self.durable += 1;
            self.record(Stage::Durable, appended, now, messages);
        }
        let Some(replicated) = replicated else {
            self.replicated = self.durable;
            return;
        };
        while self.replicated < self.durable
            && let Some(mark) = self.marks.get(self.replicated).filter(|mark| mark.end <= replicated)
        {
            let Mark { durable, messages, .. } = *mark;
            self.replicated += 1;
            self.record(Stage::Replicated, durable, now, messages);
        }
    }

    /// `count` sends that came at `since` and had to wait are answered.
    pub(crate) fn note_replies(&mut self, now: MonoNs, since: MonoNs, count: u32) {
        if count > 0 {
            self.longest_reply_us = self.longest_reply_us.max(us_since(now, since));
            self.record(Stage::Reply, since, now, count);
        }
    }

    /// The message whose record lies at `at` is the first of a pull's answer.
    pub(crate) fn note_pulled(&mut self, now: MonoNs, at: LogOffset) {
        // Most often it is one of the last turn.
        let place = match self.marks.back() {
            Some(last) if last.from <= at => self.marks.len() - 1,
            _ => self.marks.partition_point(|mark| mark.end <= at),
        };
        if let Some(mark) = self.marks.get(place).filter(|mark| mark.from <= at && at < mark.end) {
            let appended = mark.appended;
            self.record(Stage::Pulled, appended, now, 1);
        }
    }

    /// Lets time pass: each minute what is older than the last minute is forgotten.
    pub(crate) fn tick(&mut self, now: MonoNs) {
        if now.ms_since(self.since) < MINUTE_MS {
            return;
        }
        self.since = now;
        std::mem::swap(&mut self.running, &mut self.before);
        self.running.iter_mut().for_each(Histogram::reset);
    }

    /// One stage, of the last one to two minutes.
    #[must_use]
    pub(crate) fn latency(&self, stage: Stage) -> StageLatency {
        let both = self.both(stage);
        let quantile = |part| both.value_at_quantile(part).min(both.max());
        StageLatency {
            count: both.len(),
            p50_us: quantile(0.5),
            p99_us: quantile(0.99),
            p999_us: quantile(0.999),
            max_us: both.max(),
        }
    }

    /// Every stage, in the order of [`Stage::ALL`].
    #[must_use]
    pub(crate) fn latencies(&self) -> [StageLatency; Stage::COUNT] {
        Stage::ALL.map(|stage| self.latency(stage))
    }

    /// How many sends of the last one to two minutes took how long, by RocketMQ's classes of whole ms. A bound is met to one percent.
    #[must_use]
    pub(crate) fn reply_classes(&self) -> [u64; CLASSES_MS.len() + 1] {
        let mut classes = [0; CLASSES_MS.len() + 1];
        for bucket in self.both(Stage::Reply).iter_recorded() {
            let ms = bucket.value_iterated_to() / 1_000;
            classes[CLASSES_MS.partition_point(|bound| *bound < ms)] += bucket.count_since_last_iteration();
        }
        classes
    }

    /// The longest time from a send to its answer since the start, in ms.
    #[must_use]
    pub(crate) fn longest_reply_ms(&self) -> u64 {
        self.longest_reply_us / 1_000
    }

    fn both(&self, stage: Stage) -> Histogram<u32> {
        let mut both = self.running[stage.index()].clone();
        both.add(&self.before[stage.index()]).expect("the two have the same bounds");
        both
    }

    #[inline]
    fn record(&mut self, stage: Stage, from: MonoNs, to: MonoNs, count: u32) {
        self.running[stage.index()].saturating_record_n(us_since(to, from), count);
    }

    /// Forgets the oldest turn, if there is nothing to be learnt of it any more; else joins each two turns that follow one another.
    #[cold]
    fn make_room(&mut self) {
        if self.replicated > 0 {
            self.marks.pop_front();
            self.durable -= 1;
            self.replicated -= 1;
            return;
        }
        let mut joined: VecDeque<Mark> = VecDeque::with_capacity(self.marks.len());
        let durable = self.durable;
        for (index, mark) in self.marks.drain(..).enumerate() {
            // Those that are durable are joined among themselves only.
            let is_second = if index < durable { index % 2 == 1 } else { (index - durable) % 2 == 1 };
            match joined.back_mut() {
                Some(first) if is_second => (first.end, first.messages) = (mark.end, first.messages + mark.messages),
                _ => joined.push_back(mark),
            }
        }
        self.marks = joined;
        self.durable = durable.div_ceil(2);
    }
}

fn us_since(now: MonoNs, earlier: MonoNs) -> u64 {
    now.0.saturating_sub(earlier.0) / 1_000
}

#[cfg(test)]
mod tests {
    use super::*;

    fn us(us: u64) -> MonoNs {
        MonoNs(us * 1_000)
    }

    /// A turn of `messages` from `began` to `ended`, whose records end at `end`.
    fn turn(stages: &mut Stages, began: u64, ended: u64, (from, end): (u64, u64), messages: u32) {
        stages.note_append(us(began), LogOffset(from), LogOffset(end), messages);
        stages.end_turn(us(ended));
    }

    fn check(stages: &Stages, stage: Stage, count: u64, max_us: u64) {
        let latency = stages.latency(stage);
        assert_eq!(latency.count, count, "{stage:?}");
        assert!(latency.max_us.abs_diff(max_us) <= max_us / 100, "{stage:?}: {latency:?}, not {max_us}");
    }

    #[test]
    fn each_stage_is_from_where_the_last_one_ended() {
        let mut stages = Stages::default();
        turn(&mut stages, 100, 130, (0, 1_000), 10);
        turn(&mut stages, 200, 260, (1_000, 2_000), 5);
        check(&stages, Stage::Append, 15, 60);
        stages.note_progress(us(1_130), LogOffset(1_999), Some(LogOffset(0)));
        check(&stages, Stage::Durable, 10, 1_000);
        stages.note_progress(us(1_500), LogOffset(2_000), Some(LogOffset(5_000)));
        check(&stages, Stage::Durable, 15, 1_240);
        check(&stages, Stage::Replicated, 15, 370);
        stages.note_replies(us(1_600), us(100), 1);
        check(&stages, Stage::Reply, 1, 1_500);
        stages.note_pulled(us(1_300), LogOffset(999));
        check(&stages, Stage::Pulled, 1, 1_170);
        stages.note_pulled(us(1_300), LogOffset(2_000));
        check(&stages, Stage::Pulled, 1, 1_170);
    }

    #[test]
    fn an_answer_that_waits_for_nothing_counts_to_the_end_of_its_turn() {
        let mut stages = Stages::default();
        stages.note_append(us(10), LogOffset(0), LogOffset(100), 1);
        stages.note_answer();
        stages.note_append(us(10), LogOffset(100), LogOffset(200), 1);
        stages.note_answer();
        stages.end_turn(us(50));
        stages.end_turn(us(90));
        check(&stages, Stage::Reply, 2, 40);
        check(&stages, Stage::Replicated, 0, 0);
        assert_eq!(stages.reply_classes(), [2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        for ms in [1, 10, 11, 5_001, 99_999] {
            stages.note_replies(MonoNs(0).plus_ms(ms), MonoNs(0), 1);
        }
        assert_eq!(stages.reply_classes(), [2, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
        assert_eq!(stages.longest_reply_ms(), 99_999);
    }

    #[test]
    fn after_two_minutes_all_is_forgotten_but_the_longest() {
        let mut stages = Stages::default();
        stages.note_replies(us(700), us(0), 1);
        stages.tick(MonoNs(0).plus_ms(MINUTE_MS - 1));
        stages.tick(MonoNs(0).plus_ms(MINUTE_MS));
        check(&stages, Stage::Reply, 1, 700);
        stages.tick(MonoNs(0).plus_ms(2 * MINUTE_MS));
        check(&stages, Stage::Reply, 0, 0);
        stages.note_replies(us(5_000), us(0), 1);
        assert_eq!(stages.longest_reply_ms(), 5);
    }

    #[test]
    fn a_log_that_is_flushed_late_costs_no_more_marks_and_loses_no_message() {
        let mut stages = Stages::default();
        let turns = 10 * STAGE_MARKS_MAX as u64;
        for number in 0..turns {
            turn(&mut stages, number * 10, number * 10 + 5, (number * 100, number * 100 + 100), 3);
            assert!(stages.marks.len() <= STAGE_MARKS_MAX);
        }
        let flushed = LogOffset(turns * 100);
        stages.note_progress(us(turns * 10), LogOffset(turns * 50), None);
        stages.note_progress(us(turns * 10), flushed, Some(LogOffset(0)));
        check(&stages, Stage::Durable, 3 * turns, turns * 10);
        // The older half was known to have no slave to wait for.
        stages.note_progress(us(turns * 10), flushed, Some(flushed));
        let replicated = stages.latency(Stage::Replicated).count;
        assert!(replicated.abs_diff(3 * turns / 2) < turns / 10, "{replicated}");
        stages.note_pulled(us(turns * 10), LogOffset(turns * 100 - 1));
        assert_eq!(stages.latency(Stage::Pulled).count, 1);
    }
}
