//! Names and units of what a shard counts and measures.
//!
//! Counters are plain numbers of their shard: no atomics on the path of a message. The control plane gets copies ([`Snapshot`]).
//!
//! | file | what it is |
//! |---|---|
//! | [`stage`] | how long messages take from one stage of their way to the next |
//! | [`tally`] | what was counted in the last minute, hour and day |

pub(crate) mod stage;
pub(crate) mod tally;

use std::collections::VecDeque;

pub(crate) use stage::{Stage, StageLatency, Stages};
pub(crate) use tally::{Amount, Period, Tally};

use crate::model::UnixMs;

/// Length of a day.
const DAY_MS: i64 = 86_400_000;

/// How many samples of the counters are kept, one a second: the longest window is 600 s.
const SAMPLES_MAX: usize = 601;

/// Counters of one shard since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    pub(crate) put_count: u64,
    /// Of these, those in topics that are not the system's own: a delayed message counts when it is delivered.
    pub(crate) user_put_count: u64,
    /// Bytes of the records stored.
    pub(crate) put_bytes: u64,
    /// Sends that were refused or failed.
    pub(crate) put_failed_count: u64,
    /// Sends whose headers were read by a template, and those that were read in full.
    pub(crate) templated_count: u64,
    pub(crate) untemplated_count: u64,
    /// Pulls that found messages.
    pub(crate) get_found_count: u64,
    /// Pulls that found none.
    pub(crate) get_miss_count: u64,
    pub(crate) get_count: u64,
    /// Of these, those of topics that are not the system's own.
    pub(crate) user_get_count: u64,
    /// Bytes delivered.
    pub(crate) get_bytes: u64,
    /// Requests that waited for a block of the disk.
    pub(crate) cold_count: u64,
    /// Messages that are damaged on the disk, and that readers or jobs went on without.
    pub(crate) damaged_passed_count: u64,
    /// Timer messages that were not delivered because they were recalled.
    pub(crate) recalled_count: u64,
    /// Pops that were given nothing although there was something, because their group has too much in flight.
    pub(crate) pops_without_room_count: u64,
}

/// What the stall detector of a shard's executor has seen since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stalls {
    /// How often the thread was held longer than [`STALL_MS`](crate::limits::STALL_MS).
    pub(crate) count: u64,
    /// The longest, in microseconds.
    pub(crate) longest_us: u64,
    /// How often the executor slept although it had work, and was woken from outside.
    pub(crate) rescues: u64,
}

/// What a shard tells the control plane of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Since the start.
    pub(crate) counters: Counters,
    /// Of the last one to two minutes, in the order of [`Stage::ALL`].
    pub(crate) stages: [StageLatency; Stage::COUNT],
    /// Since the start.
    pub(crate) stalls: Stalls,
    /// Clients that are connected.
    pub connections: usize,
    /// Slaves, or the master, that are connected.
    pub(crate) replica_connections: usize,
    /// Bytes of frames that are not whole yet.
    pub partial_bytes: usize,
    /// Clients whose connections were closed because their frames stood still while there was no room for those of others.
    pub(crate) stalled_frames: u64,
}

/// Rates over the last 10 s, 60 s and 600 s, from one sample of the counters a second.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    samples: VecDeque<(u64, Counters)>,
}

impl Rates {
    /// Notes the counters at `mono_ms`, if a second has passed since the last sample.
    pub(crate) fn sample(&mut self, mono_ms: u64, counters: Counters) {
        if self.samples.back().is_some_and(|(last_ms, _)| mono_ms < last_ms + 1_000) {
            return;
        }
        if self.samples.len() >= SAMPLES_MAX {
            self.samples.pop_front();
        }
        self.samples.push_back((mono_ms, counters));
    }

    /// Increase of `pick` a second over the last 10 s, 60 s and 600 s, or over as much as is known.
    #[must_use]
    pub(crate) fn per_second(&self, pick: impl Fn(&Counters) -> u64) -> [f64; 3] {
        [10_usize, 60, 600].map(|seconds| {
            let Some((to_ms, to)) = self.samples.back() else { return 0.0 };
            let first = self.samples.len().saturating_sub(seconds + 1);
            let Some((from_ms, from)) = self.samples.get(first) else { return 0.0 };
            if to_ms <= from_ms {
                return 0.0;
            }
            #[expect(clippy::cast_precision_loss, reason = "a rate is for reading: 53 bits are enough")]
            let rate = pick(to).saturating_sub(pick(from)) as f64 * 1_000.0 / (to_ms - from_ms) as f64;
            rate
        })
    }
}

/// Where the counters stood at the last two midnights, UTC; at the start, if that is later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mornings {
    day: Option<i64>,
    today: Counters,
    yesterday: Counters,
}

impl Mornings {
    /// Takes note of the counters if a day has begun since the last call.
    pub(crate) fn tick(&mut self, now: UnixMs, counters: &Counters) {
        let day = now.0.div_euclid(DAY_MS);
        // A clock that is set back begins no day.
        if self.day.is_some_and(|last| day <= last) {
            return;
        }
        if self.day.replace(day).is_some() {
            self.yesterday = std::mem::replace(&mut self.today, *counters);
        }
    }

    /// The counters when this day began.
    #[must_use]
    pub(crate) fn today(&self) -> &Counters {
        &self.today
    }

    /// The counters when the day before began.
    #[must_use]
    pub(crate) fn yesterday(&self) -> &Counters {
        &self.yesterday
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_increases_over_their_window() {
        let mut rates = Rates::default();
        assert_eq!(rates.per_second(|counters| counters.put_count).map(f64::to_bits), [0.0_f64; 3].map(f64::to_bits));
        for second in 0..=700_u64 {
            // 100 a second at first, 10 a second in the last minute.
            let put_count = second.min(640) * 100 + second.saturating_sub(640) * 10;
            rates.sample(second * 1_000, Counters { put_count, ..Counters::default() });
        }
        let [short, middle, long] = rates.per_second(|counters| counters.put_count);
        assert!((short - 10.0).abs() < 1e-9 && (middle - 10.0).abs() < 1e-9, "{short} {middle}");
        assert!((long - (540.0 * 100.0 + 600.0) / 600.0).abs() < 1e-9, "{long}");
        assert!(rates.samples.len() <= SAMPLES_MAX);
    }

    #[test]
    fn a_day_begins_with_what_was_counted_before() {
        let mut mornings = Mornings::default();
        let counters = |put_count| Counters { put_count, ..Counters::default() };
        let mut at = |ms, put_count| {
            mornings.tick(UnixMs(ms), &counters(put_count));
            (mornings.yesterday().put_count, mornings.today().put_count)
        };
        assert_eq!(at(5 * DAY_MS + 7, 10), (0, 0), "the day of the start began with nothing");
        assert_eq!(at(6 * DAY_MS - 1, 20), (0, 0));
        assert_eq!(at(6 * DAY_MS, 30), (0, 30));
        assert_eq!(at(6 * DAY_MS - 5, 40), (0, 30), "the clock was set back");
        assert_eq!(at(7 * DAY_MS + 1, 50), (30, 50));
    }
}
