//! When messages are due: pure arithmetic over a start, a rate and the time now.
//!
//! Message `n` of an open loop is due at `start + n / rate`, whatever became of the messages before it. A broker that stalls, or a generator
//! that wakes late, finds the due messages waiting; they leave late and are measured from the moment they were due, so the stall is in the
//! figures once for each message that it hit.

use crate::load::clock::SECOND_NS;
use crate::load::run::ratio;
use crate::load::settings::Arrivals;

/// A stretch of a run: the whole of it, or the part that counts. A message belongs to it by the moment it was due, not by when its reply came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The first message is due here at the earliest, ns.
    pub start_ns: u64,
    /// The last message is due before this, ns.
    pub end_ns: u64,
}

impl Window {
    /// Whether a message due at `intended_ns` counts.
    pub fn holds(&self, intended_ns: u64) -> bool {
        (self.start_ns..self.end_ns).contains(&intended_ns)
    }
}

/// One request to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// Number of its first message in the run, from 0.
    pub sequence: u64,
    /// When it should leave, ns.
    pub intended_ns: u64,
}

/// The open loop's schedule, and its one exception: a bound on requests without a reply, so that a dead broker does not fill the memory.
#[derive(Debug, Clone)]
pub struct OpenSchedule {
    start_ns: u64,
    end_ns: u64,
    rhythm: Rhythm,
    /// Messages that leave together.
    batch: u64,
    outstanding_max: usize,
    next: u64,
    held_back: u64,
    holding: bool,
}

/// What is due when.
#[derive(Debug, Clone)]
enum Rhythm {
    /// By count: no sum of small errors.
    Constant { rate_per_s: u64 },
    /// By sum of random distances.
    Poisson { mean_ns: f64, after_start_ns: f64, random: Random },
}

impl OpenSchedule {
    /// From `start_ns` until before `end_ns`: `rate_per_s` messages a second, `batch` of them at a time.
    pub fn new(window: Window, rate_per_s: u64, arrivals: Arrivals, batch: usize, outstanding_max: usize) -> Self {
        let batch = batch as u64;
        let rhythm = match arrivals {
            Arrivals::Constant => Rhythm::Constant { rate_per_s },
            Arrivals::Poisson => {
                let mut random = Random(window.start_ns | 1);
                let mean_ns = ratio(batch * SECOND_NS, rate_per_s);
                Rhythm::Poisson { mean_ns, after_start_ns: mean_ns * random.exponential(), random }
            }
        };
        let (start_ns, end_ns) = (window.start_ns, window.end_ns);
        Self { start_ns, end_ns, rhythm, batch, outstanding_max, next: 0, held_back: 0, holding: false }
    }

    /// The next request if its time has come and fewer than the bound are outstanding. Call until `None`.
    pub fn take(&mut self, now_ns: u64, outstanding: usize) -> Option<Due> {
        let intended_ns = self.next_due_ns()?;
        if intended_ns > now_ns {
            return None;
        }
        if outstanding >= self.outstanding_max {
            if !self.holding {
                self.held_back += 1;
            }
            self.holding = true;
            return None;
        }
        self.holding = false;
        let due = Due { sequence: self.next, intended_ns };
        self.next += self.batch;
        if let Rhythm::Poisson { mean_ns, after_start_ns, random } = &mut self.rhythm {
            *after_start_ns += *mean_ns * random.exponential();
        }
        Some(due)
    }

    /// Nothing is due from `end_ns` on.
    pub fn end(&mut self, end_ns: u64) {
        self.end_ns = self.end_ns.min(end_ns);
    }

    /// When the next request is due; `None` after the last.
    pub fn next_due_ns(&self) -> Option<u64> {
        let after_start = match &self.rhythm {
            Rhythm::Constant { rate_per_s } => {
                let after = u128::from(self.next) * u128::from(SECOND_NS) / u128::from(*rate_per_s);
                u64::try_from(after).unwrap_or(u64::MAX)
            }
            Rhythm::Poisson { after_start_ns, .. } => whole(*after_start_ns),
        };
        let intended_ns = self.start_ns.saturating_add(after_start);
        (intended_ns < self.end_ns).then_some(intended_ns)
    }

    /// When to wake up for the next request: `None` after the last, or while the bound holds it back and a reply must come first.
    pub fn wake_ns(&self) -> Option<u64> {
        if self.holding { None } else { self.next_due_ns() }
    }

    /// How often the bound on outstanding requests began to hold messages back.
    pub fn held_back(&self) -> u64 {
        self.held_back
    }
}

/// xorshift64*: a load needs no better, and a run can be understood without knowing a library's version.
#[derive(Debug, Clone)]
struct Random(u64);

impl Random {
    /// Exponentially distributed with mean 1.
    fn exponential(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        // 53 bits and a half: never 0, whose logarithm is no number.
        let bits = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11;
        -((ratio(bits, 1) + 0.5) / ratio(1 << 53, 1)).ln()
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a time of days in ns, not negative")]
fn whole(nanoseconds: f64) -> u64 {
    nanoseconds as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::connection::Waiting;
    use crate::load::tally::{Tally, Verdict};

    const MS: u64 = 1_000_000;

    fn constant(start_ns: u64, end_ns: u64, rate_per_s: u64, outstanding_max: usize) -> OpenSchedule {
        OpenSchedule::new(Window { start_ns, end_ns }, rate_per_s, Arrivals::Constant, 1, outstanding_max)
    }

    #[test]
    fn a_batch_is_due_as_often_as_its_messages_need() {
        let mut schedule =
            OpenSchedule::new(Window { start_ns: 0, end_ns: SECOND_NS }, 1000, Arrivals::Constant, 10, 100);
        let first = [schedule.take(SECOND_NS, 0), schedule.take(SECOND_NS, 0)];
        assert_eq!(
            first.map(|due| due.map(|due| (due.sequence, due.intended_ns))),
            [Some((0, 0)), Some((10, 10 * MS))]
        );
        assert_eq!(std::iter::from_fn(|| schedule.take(SECOND_NS, 0)).count(), 98);
    }

    #[test]
    fn random_arrivals_keep_the_rate_and_are_exponential() {
        let window = Window { start_ns: 7, end_ns: 100 * SECOND_NS };
        let mut schedule = OpenSchedule::new(window, 1000, Arrivals::Poisson, 1, 100);
        let due: Vec<u64> = std::iter::from_fn(|| schedule.take(u64::MAX, 0)).map(|due| due.intended_ns).collect();
        // 100,000 are expected; their number varies by its root, 316.
        assert!((98_700..101_300).contains(&due.len()), "{}", due.len());
        let apart: Vec<u64> = due.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let longer = |ms: u64| ratio(apart.iter().filter(|apart| **apart > ms * MS).count() as u64, apart.len() as u64);
        for (ms, expected) in [(1, 0.3679), (2, 0.1353), (5, 0.0067)] {
            assert!((longer(ms) - expected).abs() < 0.01, "{} of all are more than {ms} ms apart", longer(ms));
        }
    }

    #[test]
    fn messages_are_due_at_even_distances_without_drift() {
        let mut schedule = constant(50, 50 + SECOND_NS, 3, 100);
        let mut due = Vec::new();
        while let Some(next) = schedule.take(u64::MAX, 0) {
            due.push((next.sequence, next.intended_ns));
        }
        assert_eq!(due, [(0, 50), (1, 333_333_383), (2, 666_666_716)]);
        let mut schedule = constant(0, 3600 * SECOND_NS, 7, 100);
        let mut last = None;
        while let Some(next) = schedule.take(u64::MAX, 0) {
            last = Some(next);
        }
        let last = last.expect("messages");
        assert_eq!(last.sequence, 3600 * 7 - 1);
        assert_eq!(last.intended_ns, (3600 * 7 - 1) * SECOND_NS / 7);
    }

    #[test]
    fn nothing_leaves_before_its_time() {
        let mut schedule = constant(10 * MS, 20 * MS, 1000, 100);
        assert_eq!(schedule.take(10 * MS - 1, 0), None);
        assert_eq!(schedule.take(10 * MS, 0), Some(Due { sequence: 0, intended_ns: 10 * MS }));
        assert_eq!(schedule.take(10 * MS, 1), None);
        assert_eq!(schedule.wake_ns(), Some(11 * MS));
    }

    #[test]
    fn the_bound_delays_messages_but_not_their_intended_time() {
        let mut schedule = constant(0, SECOND_NS, 1000, 2);
        assert_eq!(schedule.take(0, 0).map(|due| due.sequence), Some(0));
        assert_eq!(schedule.take(5 * MS, 1).map(|due| due.sequence), Some(1));
        assert_eq!(schedule.take(5 * MS, 2), None);
        assert_eq!(schedule.take(6 * MS, 2), None);
        assert_eq!(
            (schedule.held_back(), schedule.wake_ns()),
            (1, None),
            "one stretch of holding back; a reply wakes us"
        );
        assert_eq!(schedule.take(500 * MS, 1), Some(Due { sequence: 2, intended_ns: 2 * MS }));
        assert_eq!(schedule.wake_ns(), Some(3 * MS));
    }

    /// A broker that answers within a millisecond but for one second in which it answers nothing, against a fake clock. Each of the messages
    /// due in that second waits for its end: a thousand latencies spread over the second, not one.
    fn stalled_run(outstanding_max: usize) -> Tally {
        let (stall_start, stall_end, end) = (1000 * MS, 2000 * MS, 3000 * MS);
        let mut schedule = constant(0, end, 1000, outstanding_max);
        let mut tally = Tally::new(Window { start_ns: 0, end_ns: end });
        let mut outstanding: Vec<Due> = Vec::new();
        for now in (0..4000 * MS).step_by(usize::try_from(MS).expect("small")) {
            if !(stall_start..stall_end).contains(&now) {
                for due in outstanding.drain(..) {
                    let waiting = Waiting {
                        intended_ns: due.intended_ns,
                        sent_ns: due.intended_ns,
                        sequence: due.sequence,
                        half_ns: None,
                    };
                    tally.reply(waiting, now, Verdict::Stored, 1);
                }
            }
            while let Some(due) = schedule.take(now, outstanding.len()) {
                outstanding.push(due);
            }
        }
        tally
    }

    #[test]
    fn a_stalled_broker_shows_in_the_latency_of_every_message_it_held() {
        let tally = stalled_run(usize::MAX);
        assert_eq!(tally.sent(), 3000);
        let slow = tally.sent() - tally.latency().count_between(0, 100 * MS);
        assert!((890..=910).contains(&slow), "{slow} of the 1000 messages due in the stall waited more than 0.1 s");
        assert!(tally.latency().value_at_quantile(0.999) >= 990 * MS);
        assert!(tally.latency().value_at_quantile(0.5) <= 2 * MS);
    }

    #[test]
    fn a_bound_on_outstanding_requests_hides_no_latency() {
        let tally = stalled_run(10);
        let slow = tally.sent() - tally.latency().count_between(0, 100 * MS);
        assert!(slow >= 890, "{slow} messages waited more than 0.1 s, held back or not");
        assert!(tally.latency().value_at_quantile(0.999) >= 990 * MS);
    }
}
