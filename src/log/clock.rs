//! The time by which retention goes: the wall clock, as long as it agrees with the time that passes.
//!
//! A clock that is set four days forward must not take what is an hour old. So each step of the wall clock that the monotonic clock has not seen is
//! held: retention goes on by the time that passes, until the wall clock comes back to it or an operator says that it is right. A step back
//! holds retention by itself: nothing looks old.

use crate::limits::{CLOCK_ACCEPTED_MS_MAX, CLOCK_STEP_MS_MAX};
use crate::model::{Now, UnixMs};

/// What retention believes of the clock.
#[derive(Debug, Default)]
pub(super) struct RetentionClock {
    /// A moment at which the two clocks were believed to agree.
    base: Option<Now>,
    is_held: bool,
}

impl RetentionClock {
    /// Goes on from what the last process knew: `expected` is what the wall clock should say at `now`.
    pub(super) fn resume(&mut self, now: Now, expected: UnixMs) {
        self.base = Some(Now { unix: expected, mono: now.mono });
    }

    /// The time to go by. `accepted`: when an operator last said that the clock is right.
    pub(super) fn time(&mut self, now: Now, accepted: UnixMs) -> UnixMs {
        let base = *self.base.get_or_insert(now);
        let passed = i64::try_from(now.mono.ms_since(base.mono)).unwrap_or(i64::MAX);
        let expected = base.unix.0.saturating_add(passed);
        let step_ms = now.unix.0.saturating_sub(expected);
        let is_accepted = now.unix.0.saturating_sub(accepted.0).abs() <= CLOCK_ACCEPTED_MS_MAX;
        if step_ms.abs() <= CLOCK_STEP_MS_MAX || is_accepted {
            if std::mem::take(&mut self.is_held) {
                tracing::info!("the wall clock is believed again: retention goes by it");
            }
            self.base = Some(now);
            return now.unix;
        }
        if !std::mem::replace(&mut self.is_held, true) {
            tracing::warn!(
                step_ms,
                clock = now.unix.0,
                expected,
                "the wall clock was set: retention goes on by the time that passes; set it right, or say that it is right with retentionClockAccepted={}",
                now.unix.0
            );
        }
        UnixMs(now.unix.0.min(expected))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::MonoNs;

    const DAY_MS: i64 = 24 * 3_600_000;

    #[test]
    fn a_step_of_the_clock_is_held_until_it_is_undone_or_accepted() {
        let now = |unix_ms: i64, mono_ms: u64| Now { unix: UnixMs(unix_ms), mono: MonoNs(0).plus_ms(mono_ms) };
        let mut clock = RetentionClock::default();
        let never = UnixMs(0);
        let start = 1_700_000_000_000;
        assert_eq!(clock.time(now(start, 0), never), UnixMs(start));
        assert_eq!(clock.time(now(start + 1_500, 1_000), never), UnixMs(start + 1_500), "clocks drift");
        let ahead = start + 4 * DAY_MS;
        assert_eq!(clock.time(now(ahead, 2_000), never), UnixMs(start + 2_500), "held");
        assert_eq!(clock.time(now(ahead + 3_600_000, 3_602_000), never), UnixMs(start + 3_602_500), "time passes");
        assert_eq!(clock.time(now(start + 3_603_000, 3_603_000), never), UnixMs(start + 3_603_000), "undone");
        assert_eq!(clock.time(now(ahead, 3_604_000), UnixMs(ahead)), UnixMs(ahead), "accepted");
        assert_eq!(
            clock.time(now(ahead + DAY_MS, 3_604_000 + 86_400_000), never),
            UnixMs(ahead + DAY_MS),
            "from now on"
        );
        let back = ahead - 10 * DAY_MS;
        assert_eq!(clock.time(now(back, 3_605_000 + 86_400_000), never), UnixMs(back), "nothing looks old");
        let mut next = RetentionClock::default();
        next.resume(now(ahead, 5), UnixMs(start));
        assert_eq!(next.time(now(ahead, 6), never), UnixMs(start + 1), "a restart does not make it right");
    }
}
