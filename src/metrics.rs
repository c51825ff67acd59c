//! Names, units and one registry a shard.
//!
//! Counters are plain numbers of their shard: no atomics on the path of a message. The control plane gets copies.

use std::collections::VecDeque;

/// Upper bounds in ms of the classes of [`Latency`]; the last class has none. Source: RocketMQ `StoreStatsService`.
const LATENCY_CLASSES_MS: [u64; 12] = [0, 10, 50, 100, 200, 500, 1_000, 2_000, 3_000, 4_000, 5_000, 10_000];

/// How many samples of the counters are kept, one a second: the longest window is 600 s.
const SAMPLES_MAX: usize = 601;

/// Counters of one shard since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Messages stored.
    pub put_count: u64,
    /// Bytes of the records stored.
    pub put_bytes: u64,
    /// Sends that were refused or failed.
    pub put_failed_count: u64,
    /// Pulls that found messages.
    pub get_found_count: u64,
    /// Pulls that found none.
    pub get_miss_count: u64,
    /// Messages delivered.
    pub get_count: u64,
    /// Bytes delivered.
    pub get_bytes: u64,
    /// Requests that waited for a block of the disk.
    pub cold_count: u64,
}

/// Counts of waiting times by RocketMQ's classes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Latency {
    classes: [u64; 13],
    max_ms: u64,
}

impl Latency {
    /// Counts one.
    pub fn record(&mut self, ms: u64) {
        let class = LATENCY_CLASSES_MS.partition_point(|bound| *bound < ms);
        if let Some(count) = self.classes.get_mut(class) {
            *count += 1;
        }
        self.max_ms = self.max_ms.max(ms);
    }

    /// The longest, in ms.
    #[must_use]
    pub fn max_ms(&self) -> u64 {
        self.max_ms
    }

    /// How many there are in each of RocketMQ's classes.
    #[must_use]
    pub fn counts(&self) -> [u64; 13] {
        self.classes
    }

    /// The upper bound in ms of the class in which this part (0..1) of all is reached; of the last class, the maximum.
    #[must_use]
    pub fn quantile_ms(&self, part: f64) -> f64 {
        let total: u64 = self.classes.iter().sum();
        let mut below = 0;
        for (class, count) in self.classes.iter().enumerate() {
            below += count;
            #[expect(clippy::cast_precision_loss, reason = "a quantile is for reading: 53 bits are enough")]
            if below as f64 >= total as f64 * part {
                return LATENCY_CLASSES_MS.get(class).map_or(self.max_ms as f64, |bound| *bound as f64);
            }
        }
        0.0
    }
}

/// Rates over the last 10 s, 60 s and 600 s, from one sample of the counters a second.
#[derive(Debug, Default)]
pub struct Rates {
    samples: VecDeque<(u64, Counters)>,
}

impl Rates {
    /// Notes the counters at `mono_ms`, if a second has passed since the last sample.
    pub fn sample(&mut self, mono_ms: u64, counters: Counters) {
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
    pub fn per_second(&self, pick: impl Fn(&Counters) -> u64) -> [f64; 3] {
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
    fn latency_falls_into_rocketmq_s_classes() {
        let mut latency = Latency::default();
        assert!(latency.quantile_ms(0.99).abs() < 1e-9);
        for ms in [0, 1, 10, 11, 5_001, 99_999] {
            latency.record(ms);
        }
        assert_eq!(latency.counts(), [1, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
        assert_eq!(latency.max_ms(), 99_999);
        assert!((latency.quantile_ms(0.5) - 10.0).abs() < 1e-9);
    }
}
