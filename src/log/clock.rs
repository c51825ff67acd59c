//! The time by which retention goes: the wall clock, as long as it agrees with the time that passes.
//!
//! A clock that is set four days forward must not take what is an hour old. So each step of the wall clock that the monotonic clock has not seen is
//! held: retention goes on by the time that passes, until the wall clock comes back to it or an operator says that it is right. A step back
//! holds retention by itself: nothing looks old.
//!
//! No clock sees how long a machine was off. If the wall clock is then far ahead of what the store's newest file says, either much time has passed
//! or the clock is wrong, and nothing on the machine can tell which. So it is held as well, for an hour in which it may be set right.

use crate::limits::{CLOCK_ACCEPTED_MS_MAX, CLOCK_BOOT_HOLD_MS, CLOCK_STEP_MS_MAX};
use crate::model::{MonoNs, Now, UnixMs};

/// What retention believes of the clock.
#[derive(Debug, Default)]
pub(super) struct RetentionClock {
    /// A moment at which the two clocks were believed to agree.
    base: Option<Now>,
    is_held: bool,
    /// When the wall clock is believed in any case: it is held because the machine was started anew.
    held_until: Option<MonoNs>,
}

impl RetentionClock {
    /// Goes on from what the last process knew: `expected` is what the wall clock should say at `now`.
    pub(super) fn resume(&mut self, now: Now, expected: UnixMs) {
        self.base = Some(Now { unix: expected, mono: now.mono });
    }

    /// The machine was started anew since `newest`, the time of the newest file.
    pub(super) fn resume_after_boot(&mut self, now: Now, newest: UnixMs) {
        if now.unix.0.saturating_sub(newest.0) > CLOCK_STEP_MS_MAX {
            self.base = Some(Now { unix: newest, mono: now.mono });
            self.held_until = Some(now.mono.plus_ms(CLOCK_BOOT_HOLD_MS));
        } else {
            self.base = Some(now);
        }
    }

    /// The moment of now, to tell later how long ago it was: by the time that passes, whatever the wall clock was set to.
    pub(super) fn stamp(&self, now: Now) -> UnixMs {
        let base = self.base.unwrap_or(now);
        let passed = i64::try_from(now.mono.ms_since(base.mono)).unwrap_or(i64::MAX);
        UnixMs(base.unix.0.saturating_add(passed))
    }

    /// The time to go by. `accepted`: when an operator last said that the clock is right.
    pub(super) fn time(&mut self, now: Now, accepted: UnixMs) -> UnixMs {
        self.base.get_or_insert(now);
        let expected = self.stamp(now).0;
        let step_ms = now.unix.0.saturating_sub(expected);
        let is_accepted = now.unix.0.saturating_sub(accepted.0).abs() <= CLOCK_ACCEPTED_MS_MAX;
        let is_over = self.held_until.is_some_and(|until| until <= now.mono);
        if step_ms.abs() <= CLOCK_STEP_MS_MAX || is_accepted || is_over {
            self.held_until = None;
            if std::mem::take(&mut self.is_held) {
                tracing::info!("the wall clock is believed again: retention goes by it");
            }
            self.base = Some(now);
            return now.unix;
        }
        let is_news = !std::mem::replace(&mut self.is_held, true);
        if is_news && self.held_until.is_some() {
            tracing::warn!(
                step_ms,
                clock = now.unix.0,
                newest_file = expected,
                "the machine was started anew, and its clock is far ahead of the store's newest file: retention waits an hour, in which a wrong clock may be set right; say that it is right with retentionClockAccepted={}",
                now.unix.0
            );
        } else if is_news {
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

    #[test]
    fn a_clock_far_ahead_of_the_newest_file_after_a_boot_has_an_hour_to_be_set_right() {
        let now = |unix_ms: i64, mono_ms: u64| Now { unix: UnixMs(unix_ms), mono: MonoNs(0).plus_ms(mono_ms) };
        let (never, newest, hour) = (UnixMs(0), 1_700_000_000_000, CLOCK_BOOT_HOLD_MS);
        let ahead = newest + 4 * DAY_MS;
        let booted = || {
            let mut clock = RetentionClock::default();
            clock.resume_after_boot(now(ahead, 5), UnixMs(newest));
            assert_eq!(clock.time(now(ahead, 6), never), UnixMs(newest + 1), "held");
            clock
        };
        let (mut set, mut off, mut accepted) = (booted(), booted(), booted());
        assert_eq!(set.time(now(newest + 60_000, 60_000), never), UnixMs(newest + 60_000), "set right");
        assert_eq!(
            set.time(now(ahead, hour + 60_000), never),
            UnixMs(newest + 60_000 + 3_600_000),
            "any later step is held"
        );
        assert_eq!(off.time(now(ahead + 3_599_000, hour), never), UnixMs(newest + 3_599_995), "not yet");
        assert_eq!(
            off.time(now(ahead + 3_600_000, hour + 5), never),
            UnixMs(ahead + 3_600_000),
            "it was off for four days"
        );
        assert_eq!(
            off.time(now(ahead + 9 * DAY_MS, hour + 6), never),
            UnixMs(ahead + 3_600_001),
            "and held as ever then"
        );
        assert_eq!(accepted.time(now(ahead, 7), UnixMs(ahead)), UnixMs(ahead), "an operator says so");
        let mut short = RetentionClock::default();
        short.resume_after_boot(now(newest + 60_000, 5), UnixMs(newest));
        assert_eq!(short.time(now(newest + 60_001, 6), never), UnixMs(newest + 60_001), "a quick reboot");
    }

    #[test]
    fn what_happens_while_the_clock_is_set_back_is_not_old_when_it_is_right_again() {
        let now = |unix_ms: i64, mono_ms: u64| Now { unix: UnixMs(unix_ms), mono: MonoNs(0).plus_ms(mono_ms) };
        let (mut clock, never, start) = (RetentionClock::default(), UnixMs(0), 1_700_000_000_000);
        clock.time(now(start, 0), never);
        let back = now(start + 1_000 - 4 * DAY_MS, 1_000);
        assert_eq!(clock.time(back, never), back.unix, "nothing looks old");
        let stamp = clock.stamp(back);
        assert_eq!(stamp, UnixMs(start + 1_000), "and nothing will");
        assert_eq!(clock.time(now(start + 2_000, 2_000), never), UnixMs(start + 2_000), "right again");
    }
}
