//! What came of the messages: counts by outcome and latencies.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use crate::load::clock::SECOND_NS;
use crate::load::connection::Waiting;
use crate::load::run::ratio;
use crate::load::schedule::Window;
use crate::load::series::Second;

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
    from_send: Histogram<u64>,
    send_delay: Histogram<u64>,
    end_to_end: Histogram<u64>,
    ack: Histogram<u64>,
    acknowledged: u64,
    last_ack_ns: u64,
    sent: u64,
    flush_disk_timeout: u64,
    slave_not_available: u64,
    flush_slave_timeout: u64,
    unanswered: u64,
    resent: u64,
    transactions: Transactions,
    failures: BTreeMap<i32, Failures>,
    last_reply_ns: u64,
    /// Of the second that runs.
    recent: Recent,
    seconds: Vec<Second>,
    stored_gaps: Gaps,
    received_gaps: Gaps,
}

/// What is known of transactions beside their whole latency, which is that of all messages.
#[derive(Debug)]
pub struct Transactions {
    /// From the intended moment to the reply to the half message, ns.
    pub prepare: Histogram<u64>,
    /// From there to the reply to its end, ns.
    pub end: Histogram<u64>,
    /// Rolled back, of [`Tally::sent`].
    pub rolled_back: u64,
    /// Times that brokers asked what became of one, warm-up included.
    pub asked: u64,
}

/// What happened in the second that runs.
#[derive(Debug)]
struct Recent {
    latency: Histogram<u64>,
    failed_before: u64,
    received: u64,
    received_sum_ns: u64,
    received_max_ns: u64,
}

/// Stretches without an event, longer than [`GAP_MIN_NS`].
#[derive(Debug, Clone, Default)]
pub struct Gaps {
    last_ns: Option<u64>,
    found: Vec<Gap>,
}

/// From one event to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// The event before, ns.
    pub start_ns: u64,
    /// The event after, ns.
    pub end_ns: u64,
}

/// Shorter ones are everyday life.
const GAP_MIN_NS: u64 = 10_000_000;
/// A broker with so many gaps is not worth a longer list.
const GAPS_MAX: usize = 100_000;

impl Gaps {
    fn event(&mut self, now_ns: u64) {
        if let Some(start_ns) = self.last_ns.replace(now_ns)
            && now_ns.saturating_sub(start_ns) > GAP_MIN_NS
            && self.found.len() < GAPS_MAX
        {
            self.found.push(Gap { start_ns, end_ns: now_ns });
        }
    }

    /// In the order of time.
    pub fn all(&self) -> &[Gap] {
        &self.found
    }

    /// The last event, ns.
    pub fn last_ns(&self) -> Option<u64> {
        self.last_ns
    }
}

impl Tally {
    /// Nothing counted yet.
    pub fn new(window: Window) -> Self {
        let latency = Histogram::new_with_bounds(1_000, LATENCY_MAX_NS, 2).expect("constant bounds that hold");
        Self {
            window,
            latency: latency_histogram(),
            from_send: latency_histogram(),
            send_delay: latency_histogram(),
            end_to_end: latency_histogram(),
            ack: latency_histogram(),
            acknowledged: 0,
            last_ack_ns: 0,
            sent: 0,
            flush_disk_timeout: 0,
            slave_not_available: 0,
            flush_slave_timeout: 0,
            unanswered: 0,
            resent: 0,
            transactions: Transactions {
                prepare: latency_histogram(),
                end: latency_histogram(),
                rolled_back: 0,
                asked: 0,
            },
            failures: BTreeMap::new(),
            last_reply_ns: 0,
            recent: Recent { latency, failed_before: 0, received: 0, received_sum_ns: 0, received_max_ns: 0 },
            seconds: Vec::new(),
            stored_gaps: Gaps::default(),
            received_gaps: Gaps::default(),
        }
    }

    /// What is due from `end_ns` on does not count any more.
    pub fn end_window(&mut self, end_ns: u64) {
        self.window.end_ns = self.window.end_ns.min(end_ns);
    }

    /// Counts the reply to a request of `messages`, read at `now_ns`.
    pub fn reply(&mut self, waiting: Waiting, now_ns: u64, verdict: Verdict, messages: u64) {
        if let Verdict::Failed(code) = verdict {
            self.failures.entry(code).or_default().count += messages;
            return;
        }
        if verdict == Verdict::Stored {
            self.stored_gaps.event(now_ns);
        }
        let latency_ns = now_ns.saturating_sub(waiting.intended_ns);
        self.recent.latency.saturating_record_n(latency_ns, messages);
        if !self.window.holds(waiting.intended_ns) {
            return;
        }
        self.last_reply_ns = now_ns;
        let count = match verdict {
            Verdict::FlushDiskTimeout => &mut self.flush_disk_timeout,
            Verdict::SlaveNotAvailable => &mut self.slave_not_available,
            Verdict::FlushSlaveTimeout => &mut self.flush_slave_timeout,
            Verdict::Stored | Verdict::Failed(_) => &mut self.sent,
        };
        *count += messages;
        self.latency.saturating_record_n(latency_ns, messages);
        self.from_send.saturating_record_n(now_ns.saturating_sub(waiting.sent_ns), messages);
    }

    /// Counts the reply to a half message, read at `now_ns`.
    pub fn prepared(&mut self, waiting: Waiting, now_ns: u64) {
        if self.window.holds(waiting.intended_ns) {
            self.transactions.prepare.saturating_record(now_ns.saturating_sub(waiting.intended_ns));
        }
    }

    /// Counts the reply to the end of a transaction whose half message was answered at `half_ns`; [`Self::reply`] says what it was.
    pub fn ended(&mut self, waiting: Waiting, half_ns: u64, now_ns: u64, is_committed: bool) {
        if self.window.holds(waiting.intended_ns) {
            self.transactions.end.saturating_record(now_ns.saturating_sub(half_ns));
            self.transactions.rolled_back += u64::from(!is_committed);
        }
    }

    /// Counts a broker that asks what became of a transaction.
    pub fn asked(&mut self) {
        self.transactions.asked += 1;
    }

    /// What is known of transactions.
    pub fn transactions(&self) -> &Transactions {
        &self.transactions
    }

    /// Keeps what the broker says to error `code`, the first time.
    pub fn remark(&mut self, code: i32, remark: impl FnOnce() -> String) {
        let failures = self.failures.entry(code).or_default();
        if failures.remark.is_empty() {
            failures.remark = remark();
        }
    }

    /// Counts how late `messages` left: the generator's own share of their latency, and that of full socket buffers.
    pub fn left(&mut self, intended_ns: u64, now_ns: u64, messages: u64) {
        if self.window.holds(intended_ns) {
            self.send_delay.saturating_record_n(now_ns.saturating_sub(intended_ns), messages);
        }
    }

    /// Counts `messages` that want no reply as sent: all that can be known of them here.
    pub fn left_for_good(&mut self, intended_ns: u64, now_ns: u64, messages: u64) {
        if self.window.holds(intended_ns) {
            self.sent += messages;
            self.last_reply_ns = now_ns;
        }
    }

    /// Counts a message that was meant to leave at `intended_ns` and to arrive from `due_ns` on, and that a consumer got at `now_ns`.
    pub fn received(&mut self, intended_ns: u64, due_ns: u64, now_ns: u64) {
        let latency_ns = now_ns.saturating_sub(due_ns);
        self.recent.received += 1;
        self.recent.received_sum_ns += latency_ns;
        self.recent.received_max_ns = self.recent.received_max_ns.max(latency_ns);
        self.received_gaps.event(now_ns);
        if self.window.holds(intended_ns) {
            self.end_to_end.saturating_record(latency_ns);
        }
    }

    /// Counts the reply to the acknowledgement of a message, read at `now_ns`. Those of a message that came twice count twice.
    pub fn acknowledged(&mut self, waiting: Waiting, now_ns: u64) {
        if self.window.holds(waiting.intended_ns) {
            self.acknowledged += 1;
            self.last_ack_ns = now_ns;
            self.ack.saturating_record(now_ns.saturating_sub(waiting.sent_ns));
        }
    }

    /// Acknowledgements that brokers took, and the time over which that came about, ns.
    pub fn acknowledgements(&self, now_ns: u64) -> (u64, u64) {
        let end_ns = now_ns.min(self.window.end_ns).max(self.last_ack_ns);
        (self.acknowledged, end_ns.saturating_sub(self.window.start_ns))
    }

    /// From the moment a message was popped to the reply to its acknowledgement, ns.
    pub fn ack(&self) -> &Histogram<u64> {
        &self.ack
    }

    /// Counts `messages` whose reply is given up at `now_ns`. They are in the latencies with the age that they have reached: a lower bound,
    /// but leaving them out would make the worst case the best.
    pub fn given_up(&mut self, waiting: Waiting, now_ns: u64, messages: u64) {
        self.unanswered += messages;
        if self.window.holds(waiting.intended_ns) {
            self.latency.saturating_record_n(now_ns.saturating_sub(waiting.intended_ns), messages);
            self.from_send.saturating_record_n(now_ns.saturating_sub(waiting.sent_ns), messages);
        }
    }

    /// Counts `messages` that are sent once more because their connection broke or stayed silent.
    pub fn resent(&mut self, messages: u64) {
        self.resent += messages;
    }

    /// Ends the second `at`, with what waits for a reply and for a consumer.
    pub fn end_second(&mut self, at: u64, is_warmup: bool, outstanding: u64, backlog: u64) -> Second {
        let failed = self.failed();
        let latency = &self.recent.latency;
        let micros = |quantile| ratio(latency.value_at_quantile(quantile), 1000);
        let second = Second {
            at,
            is_warmup,
            replies: latency.len(),
            failed: failed - self.recent.failed_before,
            received: self.recent.received,
            mean_us: latency.mean() / 1000.0,
            p50_us: micros(0.5),
            p99_us: micros(0.99),
            p99_9_us: micros(0.999),
            max_us: if latency.is_empty() { 0.0 } else { ratio(latency.max(), 1000) },
            received_mean_us: ratio(self.recent.received_sum_ns, 1000 * self.recent.received.max(1)),
            received_max_us: ratio(self.recent.received_max_ns, 1000),
            outstanding,
            backlog,
            ..Second::default()
        };
        self.recent.latency.reset();
        (self.recent.received, self.recent.received_sum_ns, self.recent.received_max_ns) = (0, 0, 0);
        self.recent.failed_before = failed;
        self.seconds.push(second);
        second
    }

    /// All seconds that are over.
    pub fn seconds(&self) -> &[Second] {
        &self.seconds
    }

    /// Stretches in which no message was answered as stored as promised.
    pub fn stored_gaps(&self) -> &Gaps {
        &self.stored_gaps
    }

    /// Stretches in which no message arrived at a consumer.
    pub fn received_gaps(&self) -> &Gaps {
        &self.received_gaps
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

    /// Messages sent more than once, each time.
    pub fn resent_count(&self) -> u64 {
        self.resent
    }

    /// Refusals by response code.
    pub fn failures(&self) -> &BTreeMap<i32, Failures> {
        &self.failures
    }

    /// From the intended moment to the reply, ns.
    pub fn latency(&self) -> &Histogram<u64> {
        &self.latency
    }

    /// From the moment a request was handed to its socket to the reply, ns: what a closed look at an open loop would show.
    pub fn from_send(&self) -> &Histogram<u64> {
        &self.from_send
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

    fn due(intended_ns: u64) -> Waiting {
        Waiting { intended_ns, sent_ns: intended_ns, sequence: 0, half_ns: None }
    }

    #[test]
    fn only_messages_due_in_the_window_count() {
        let mut tally = Tally::new(WINDOW);
        tally.reply(due(999_999), 2_000_000, Verdict::Stored, 1);
        tally.reply(due(1_000_000), 1_500_000, Verdict::Stored, 1);
        tally.reply(due(8_999_999), 12_000_000, Verdict::Stored, 1);
        tally.reply(due(9_000_000), 12_000_000, Verdict::Stored, 1);
        assert_eq!((tally.sent(), tally.latency().len()), (2, 2));
        assert_eq!(tally.elapsed_ns(13_000_000), 11_000_000, "the last reply came after the window");
        assert_eq!(Tally::new(WINDOW).elapsed_ns(3_000_000), 2_000_000, "cut short");
    }

    #[test]
    fn outcomes_are_counted_apart() {
        let mut tally = Tally::new(WINDOW);
        for code in [0, 10, 11, 12, 12, 2, 2, 1] {
            tally.reply(due(2_000_000), 2_000_100, Verdict::of_code(code), 1);
        }
        tally.remark(2, || "busy".to_owned());
        tally.remark(2, || "busy again".to_owned());
        tally.given_up(due(2_000_000), 5_000_000, 1);
        assert_eq!((tally.sent(), tally.below_promise(), tally.failed(), tally.unanswered()), (1, [1, 1, 2], 4, 1));
        assert_eq!(tally.failures()[&2], Failures { count: 2, remark: "busy".to_owned() });
        assert!(tally.latency().max() >= 3_000_000, "what was given up counts with its age");
    }

    #[test]
    fn a_transaction_has_two_parts_within_its_latency() {
        let mut tally = Tally::new(WINDOW);
        for (intended_ns, is_committed) in [(999_999, false), (2_000_000, true), (2_000_000, false)] {
            tally.prepared(due(intended_ns), 3_000_000);
            tally.ended(due(intended_ns), 3_000_000, 3_500_000, is_committed);
            tally.reply(due(intended_ns), 3_500_000, Verdict::Stored, 1);
        }
        tally.asked();
        let found = tally.transactions();
        assert_eq!((tally.sent(), found.prepare.len(), found.end.len()), (2, 2, 2));
        assert_eq!((found.rolled_back, found.asked), (1, 1));
        assert!(found.prepare.max() <= 1_010_000 && found.end.max() <= 505_000 && tally.latency().min() >= 1_490_000);
    }

    #[test]
    fn acknowledgements_count_with_their_messages() {
        let mut tally = Tally::new(WINDOW);
        let popped = |intended_ns| Waiting { sent_ns: 8_000_000, ..due(intended_ns) };
        for intended_ns in [999_999, 2_000_000, 8_999_999, 9_000_000] {
            tally.acknowledged(popped(intended_ns), 11_000_000);
        }
        assert_eq!((tally.acknowledgements(12_000_000), tally.ack().len()), ((2, 10_000_000), 2));
        assert!((2_990_000..3_010_000).contains(&tally.ack().max()));
    }

    #[test]
    fn both_series_are_kept_and_differ_by_the_wait_before_the_send() {
        let mut tally = Tally::new(WINDOW);
        let late = Waiting { intended_ns: 2_000_000, sent_ns: 6_000_000, sequence: 0, half_ns: None };
        tally.reply(late, 7_000_000, Verdict::Stored, 10);
        assert_eq!((tally.sent(), tally.latency().len(), tally.from_send().len()), (10, 10, 10));
        assert!(tally.latency().min() >= 4_990_000 && tally.from_send().max() <= 1_010_000);
    }

    #[test]
    fn a_gap_is_longer_than_everyday_life() {
        let mut gaps = Gaps::default();
        for at in [1, 2, 3, 60, 61, 100] {
            gaps.event(at * 1_000_000);
        }
        let found: Vec<_> = gaps.all().iter().map(|gap| (gap.start_ns / 1_000_000, gap.end_ns / 1_000_000)).collect();
        assert_eq!((found, gaps.last_ns()), (vec![(3, 60), (61, 100)], Some(100_000_000)));
    }

    #[test]
    fn a_second_holds_what_happened_in_it() {
        let mut tally = Tally::new(WINDOW);
        tally.reply(due(1_000_000), 2_000_000, Verdict::Stored, 1);
        tally.reply(due(1_000_000), 2_000_000, Verdict::Failed(2), 3);
        tally.received(1_000_000, 1_000_000, 2_000_000);
        let first = tally.end_second(1, true, 7, 8);
        assert_eq!((first.replies, first.failed, first.received, first.outstanding, first.backlog), (1, 3, 1, 7, 8));
        assert!((990.0..1010.0).contains(&first.p50_us), "{}", first.p50_us);
        let second = tally.end_second(2, false, 0, 0);
        assert_eq!((second.replies, second.failed, second.received), (0, 0, 0));
        assert_eq!(tally.seconds().len(), 2);
    }
}
