//! What came of the messages: counts by outcome and latencies.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use crate::load::clock::SECOND_NS;
use crate::load::schedule::Window;

/// Latencies beyond this count as this, ns.
const LATENCY_MAX_NS: u64 = 60 * SECOND_NS;
/// Latencies are kept to this at least, ns.
const LATENCY_MIN_NS: u64 = 100;

/// A histogram of nanoseconds, three significant digits, up to a minute.
pub fn latency_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(LATENCY_MIN_NS, LATENCY_MAX_NS, 3).expect("constant bounds that hold")
}

/// What a reply to a send says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Stored as the broker's settings promise.
    Stored,
    /// Stored, but the flush did not end in time (code 10).
    FlushDiskTimeout,
    /// Stored, but there is no slave (code 11).
    SlaveNotAvailable,
    /// Stored, but a slave did not confirm in time (code 12).
    FlushSlaveTimeout,
    /// Not stored; the response code.
    Failed(i32),
}

impl Verdict {
    /// From a response code.
    pub fn of_code(code: i32) -> Self {
        match code {
            0 => Self::Stored,
            10 => Self::FlushDiskTimeout,
            11 => Self::SlaveNotAvailable,
            12 => Self::FlushSlaveTimeout,
            other => Self::Failed(other),
        }
    }
}

/// Replies with one error code.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Failures {
    /// How many.
    pub count: u64,
    /// What the broker said the first time.
    pub remark: String,
}

/// Everything counted in one run. Only messages due within the window count, but for failures: those of the warm-up count too, since a run
/// that fails while warming up is no good run.
#[derive(Debug)]
pub struct Tally {
    window: Window,
    latency: Histogram<u64>,
    send_delay: Histogram<u64>,
    end_to_end: Histogram<u64>,
    /// Of the second that runs; coarse, for the live line.
    recent: Histogram<u64>,
    sent: u64,
    flush_disk_timeout: u64,
    slave_not_available: u64,
    flush_slave_timeout: u64,
    unanswered: u64,
    failures: BTreeMap<i32, Failures>,
    last_reply_ns: u64,
}

impl Tally {
    /// Nothing counted yet.
    pub fn new(window: Window) -> Self {
        let recent = Histogram::new_with_bounds(1_000, LATENCY_MAX_NS, 2).expect("constant bounds that hold");
        Self {
            window,
            latency: latency_histogram(),
            send_delay: latency_histogram(),
            end_to_end: latency_histogram(),
            recent,
            sent: 0,
            flush_disk_timeout: 0,
            slave_not_available: 0,
            flush_slave_timeout: 0,
            unanswered: 0,
            failures: BTreeMap::new(),
            last_reply_ns: 0,
        }
    }

    /// Counts the reply to a message due at `intended_ns`, read at `now_ns`.
    pub fn reply(&mut self, intended_ns: u64, now_ns: u64, verdict: Verdict) {
        let latency_ns = now_ns.saturating_sub(intended_ns);
        if let Verdict::Failed(code) = verdict {
            self.failures.entry(code).or_default().count += 1;
            return;
        }
        self.recent.saturating_record(latency_ns);
        if !self.window.holds(intended_ns) {
            return;
        }
        self.last_reply_ns = now_ns;
        let count = match verdict {
            Verdict::FlushDiskTimeout => &mut self.flush_disk_timeout,
            Verdict::SlaveNotAvailable => &mut self.slave_not_available,
            Verdict::FlushSlaveTimeout => &mut self.flush_slave_timeout,
            Verdict::Stored | Verdict::Failed(_) => &mut self.sent,
        };
        *count += 1;
        self.latency.saturating_record(latency_ns);
    }

    /// Keeps what the broker says to error `code`, the first time.
    pub fn remark(&mut self, code: i32, remark: impl FnOnce() -> String) {
        let failures = self.failures.entry(code).or_default();
        if failures.remark.is_empty() {
            failures.remark = remark();
        }
    }

    /// Counts how late a message left: the generator's own share of its latency, and that of full socket buffers.
    pub fn left(&mut self, intended_ns: u64, now_ns: u64) {
        if self.window.holds(intended_ns) {
            self.send_delay.saturating_record(now_ns.saturating_sub(intended_ns));
        }
    }

    /// Counts a message that a consumer got at `now_ns`.
    pub fn received(&mut self, intended_ns: u64, now_ns: u64) {
        if self.window.holds(intended_ns) {
            self.end_to_end.saturating_record(now_ns.saturating_sub(intended_ns));
        }
    }

    /// Counts a message whose reply is given up at `now_ns`. It is in the latencies with the age it has reached: a lower bound, but leaving it
    /// out would make the worst case the best.
    pub fn given_up(&mut self, intended_ns: u64, now_ns: u64) {
        self.unanswered += 1;
        if self.window.holds(intended_ns) {
            self.latency.saturating_record(now_ns.saturating_sub(intended_ns));
        }
    }

    /// Replies of the second now over, and its p50, p99 and max, ns; then starts the next second.
    pub fn end_second(&mut self) -> (u64, [u64; 3]) {
        let recent = &self.recent;
        let line = (recent.len(), [recent.value_at_quantile(0.5), recent.value_at_quantile(0.99), recent.max()]);
        self.recent.reset();
        line
    }

    /// Messages stored as promised.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Messages stored with less than what the broker's settings promise: codes 10, 11 and 12.
    pub fn below_promise(&self) -> [u64; 3] {
        [self.flush_disk_timeout, self.slave_not_available, self.flush_slave_timeout]
    }

    /// Messages refused or without a reply.
    pub fn failed(&self) -> u64 {
        self.unanswered + self.failures.values().map(|failures| failures.count).sum::<u64>()
    }

    /// Messages without a reply.
    pub fn unanswered(&self) -> u64 {
        self.unanswered
    }

    /// Refusals by response code.
    pub fn failures(&self) -> &BTreeMap<i32, Failures> {
        &self.failures
    }

    /// From the intended moment to the reply, ns.
    pub fn latency(&self) -> &Histogram<u64> {
        &self.latency
    }

    /// From the intended moment to the write, ns.
    pub fn send_delay(&self) -> &Histogram<u64> {
        &self.send_delay
    }

    /// From the intended moment until a consumer had it, ns.
    pub fn end_to_end(&self) -> &Histogram<u64> {
        &self.end_to_end
    }

    /// Seconds over which [`Self::sent`] came about: the window as far as it went, and longer if replies came after its end.
    pub fn elapsed_ns(&self, now_ns: u64) -> u64 {
        now_ns.min(self.window.end_ns).max(self.last_reply_ns).saturating_sub(self.window.start_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Window = Window { start_ns: 1_000_000, end_ns: 9_000_000 };

    #[test]
    fn only_messages_due_in_the_window_count() {
        let mut tally = Tally::new(WINDOW);
        tally.reply(999_999, 2_000_000, Verdict::Stored);
        tally.reply(1_000_000, 1_500_000, Verdict::Stored);
        tally.reply(8_999_999, 12_000_000, Verdict::Stored);
        tally.reply(9_000_000, 12_000_000, Verdict::Stored);
        assert_eq!((tally.sent(), tally.latency().len()), (2, 2));
        assert_eq!(tally.elapsed_ns(13_000_000), 11_000_000, "the last reply came after the window");
        assert_eq!(Tally::new(WINDOW).elapsed_ns(3_000_000), 2_000_000, "cut short");
    }

    #[test]
    fn outcomes_are_counted_apart() {
        let mut tally = Tally::new(WINDOW);
        for code in [0, 10, 11, 12, 12, 2, 2, 1] {
            tally.reply(2_000_000, 2_000_100, Verdict::of_code(code));
        }
        tally.remark(2, || "busy".to_owned());
        tally.remark(2, || "busy again".to_owned());
        tally.given_up(2_000_000, 5_000_000);
        assert_eq!((tally.sent(), tally.below_promise(), tally.failed(), tally.unanswered()), (1, [1, 1, 2], 4, 1));
        assert_eq!(tally.failures()[&2], Failures { count: 2, remark: "busy".to_owned() });
        assert!(tally.latency().max() >= 3_000_000, "what was given up counts with its age");
    }
}
