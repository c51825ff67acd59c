//! What was counted in the last minute, hour and day.
//!
//! Nobody samples: a tally closes its span of ten seconds when it is next added to, so one that rests costs nothing. Spans are counted from
//! the zero of the shard's clock. Source of the periods: RocketMQ `StatsItem`.

use std::collections::VecDeque;

use crate::model::MonoNs;

/// Length of the shortest span.
const SPAN_NS: u64 = 10_000_000_000;

/// What is counted together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Amount {
    pub(crate) messages: u64,
    /// Bytes of their records.
    pub(crate) bytes: u64,
    /// Requests that brought or took them.
    pub(crate) calls: u64,
}

impl Amount {
    /// Counts both together.
    pub(crate) fn add(&mut self, other: Amount) {
        self.messages += other.messages;
        self.bytes += other.bytes;
        self.calls += other.calls;
    }
}

/// How far back a tally is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Period {
    /// By spans of ten seconds: the running one and the five before it, so 50 to 60 s.
    Minute,
    /// By spans of ten minutes: the running one and the five before it.
    Hour,
    /// By spans of an hour: the running one and the 23 before it.
    Day,
}

impl Period {
    /// Length of its spans in the shortest ones, and how many of them it has.
    const fn spans(self) -> (u32, u32) {
        match self {
            Period::Minute => (1, 6),
            Period::Hour => (60, 6),
            Period::Day => (360, 24),
        }
    }
}

/// Sum over a period.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Measured {
    /// What was counted.
    pub(crate) sum: Amount,
    /// Over how long: the period, or since the tally began, at least ten seconds.
    pub(crate) seconds: f64,
}

impl Measured {
    /// A number of `sum` by the second.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a rate is for reading: 53 bits are enough")]
    pub(crate) fn per_second(&self, pick: impl Fn(&Amount) -> u64) -> f64 {
        pick(&self.sum) as f64 / self.seconds.max(1.0)
    }
}

/// One counter over time. It takes at most 1.5 KiB, and only what spans were counted in.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    began: MonoNs,
    /// The span that `running` belongs to.
    span: u32,
    running: Amount,
    /// Closed spans of each period by their number, oldest first. None is empty.
    minute: VecDeque<(u32, Amount)>,
    hour: VecDeque<(u32, Amount)>,
    day: VecDeque<(u32, Amount)>,
}

impl Tally {
    /// An empty tally.
    #[must_use]
    pub(crate) fn new(now: MonoNs) -> Tally {
        let (minute, hour, day) = (VecDeque::new(), VecDeque::new(), VecDeque::new());
        Tally { began: now, span: span_of(now), running: Amount::default(), minute, hour, day }
    }

    /// Counts. Returns whether this is the first in its span.
    #[inline]
    pub(crate) fn add(&mut self, now: MonoNs, amount: Amount) -> bool {
        let span = span_of(now);
        let is_first = span != self.span || self.running.calls == 0;
        if span != self.span {
            self.close(span);
        }
        self.running.add(amount);
        is_first
    }

    /// What was counted in a period that ends now.
    #[must_use]
    pub(crate) fn over(&self, now: MonoNs, period: Period) -> Measured {
        let (len, count) = period.spans();
        let first = (span_of(now) / len).saturating_sub(count - 1);
        let closed = match period {
            Period::Minute => &self.minute,
            Period::Hour => &self.hour,
            Period::Day => &self.day,
        };
        let mut sum = Amount::default();
        closed.iter().filter(|(span, _)| *span >= first).for_each(|(_, amount)| sum.add(*amount));
        if self.span / len >= first {
            sum.add(self.running);
        }
        let from = self.began.0.max(u64::from(first) * u64::from(len) * SPAN_NS);
        let took_ns = now.0.saturating_sub(from).max(SPAN_NS);
        #[expect(clippy::cast_precision_loss, reason = "a rate is for reading: 53 bits are enough")]
        let seconds = took_ns as f64 / 1e9;
        Measured { sum, seconds }
    }

    #[cold]
    fn close(&mut self, next: u32) {
        let (span, amount) = (self.span, std::mem::take(&mut self.running));
        self.span = next;
        let all = [(Period::Minute, &mut self.minute), (Period::Hour, &mut self.hour), (Period::Day, &mut self.day)];
        for (period, closed) in all {
            let (len, count) = period.spans();
            let number = span / len;
            match closed.back_mut() {
                _ if amount == Amount::default() => {}
                Some((last, sum)) if *last == number => sum.add(amount),
                _ => closed.push_back((number, amount)),
            }
            let first = (next / len).saturating_sub(count - 1);
            while closed.front().is_some_and(|(span, _)| *span < first) {
                closed.pop_front();
            }
        }
    }
}

#[inline]
fn span_of(now: MonoNs) -> u32 {
    u32::try_from(now.0 / SPAN_NS).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> MonoNs {
        MonoNs(seconds * 1_000_000_000)
    }

    fn messages(messages: u64) -> Amount {
        Amount { messages, bytes: messages * 100, calls: 1 }
    }

    #[test]
    fn a_burst_is_seen_at_once_and_leaves_each_period_in_turn() {
        let mut tally = Tally::new(at(1_000));
        tally.add(at(1_001), messages(50));
        let sum = |tally: &Tally, seconds, period| tally.over(at(seconds), period).sum.messages;
        let rate = tally.over(at(1_001), Period::Minute).per_second(|sum| sum.messages);
        assert!((rate - 5.0).abs() < 1e-9, "{rate}: over ten seconds at least");
        for (seconds, expected) in [
            (1_005, [50, 50, 50]),
            (1_059, [50, 50, 50]),
            (1_060, [0, 50, 50]),
            (4_199, [0, 50, 50]),
            (4_200, [0, 0, 50]),
            (86_399, [0, 0, 50]),
            (86_400, [0, 0, 0]),
        ] {
            let found = [Period::Minute, Period::Hour, Period::Day].map(|period| sum(&tally, seconds, period));
            assert_eq!(found, expected, "at {seconds} s");
        }
    }

    #[test]
    fn a_steady_rate_is_measured_over_every_period_and_memory_stays() {
        let mut tally = Tally::new(at(7));
        for second in 7..200_000 {
            tally.add(at(second), messages(3));
        }
        for period in [Period::Minute, Period::Hour, Period::Day] {
            let measured = tally.over(at(199_999), period);
            let rate = measured.per_second(|sum| sum.messages);
            assert!((rate - 3.0).abs() < 0.1, "{period:?}: {rate} over {} s", measured.seconds);
            assert!((measured.per_second(|sum| sum.bytes) - 300.0).abs() < 10.0);
        }
        assert!(tally.minute.len() <= 6 && tally.hour.len() <= 6 && tally.day.len() <= 24, "{tally:?}");
    }

    #[test]
    fn what_rests_for_long_and_wakes_has_forgotten() {
        let mut tally = Tally::new(at(0));
        assert!(tally.add(at(1), messages(1)));
        assert!(!tally.add(at(2), messages(1)));
        assert!(tally.add(at(500_000), messages(7)), "first in its span");
        for period in [Period::Minute, Period::Hour, Period::Day] {
            assert_eq!(tally.over(at(500_001), period).sum.messages, 7, "{period:?}");
        }
    }
}
