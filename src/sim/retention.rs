//! What retention may take from a made-up log, and the clock by which it goes.

use super::world::{LogWorld, Rule, START_UNIX_MS};
use crate::limits::CLOCK_STEP_MS_MAX;
use crate::log::{DiskUsage, LogSettings, Retention};
use crate::model::{LogOffset, UnixMs};

/// Hours for which messages are kept, whatever the log was told.
pub(super) const RESERVED_HOURS: u32 = 12;
const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

impl LogWorld {
    /// Time passes, by both clocks.
    pub(super) fn pass(&mut self, ms: u64) {
        self.now = super::later(self.now, ms);
    }

    /// What the wall clock would say if nobody had set it.
    pub(super) fn true_time(&self) -> UnixMs {
        UnixMs(START_UNIX_MS + i64::try_from(self.now.mono.0 / 1_000_000).expect("small"))
    }

    /// Somebody sets the wall clock, or sets it right.
    pub(super) fn step_clock(&mut self) {
        let is_right = self.now.unix == self.true_time();
        let step_ms = self.random.pick(&[-4 * DAY_MS, -HOUR_MS, HOUR_MS, 4 * DAY_MS]);
        self.now.unix = if is_right { UnixMs(self.now.unix.0 + step_ms) } else { self.true_time() };
        self.counts.clock_changes += 1;
    }

    pub(super) fn tick(&mut self) {
        let (now, disk) = (self.now, DiskUsage { used_bytes: self.disk.used(), total_bytes: self.disk.capacity });
        let before = self.log().start();
        self.log().tick(now, disk);
        let after = self.log().start();
        if after != before {
            self.check_retired(before, after, disk);
            self.start_seen = after;
        }
    }

    /// Only whole segments go that are flushed and whose messages are all old, in the hour for it or when room is scarce.
    fn check_retired(&mut self, before: LogOffset, after: LogOffset, disk: DiskUsage) {
        assert_eq!(after, before.plus(self.settings.segment_bytes), "one segment goes at a time");
        assert!(after <= self.log().flushed(), "{after} is not flushed, and what lies before was taken");
        let (now, time, started_at) = (self.now, self.true_time(), self.started_at);
        let kept_ms = i64::from(RESERVED_HOURS) * HOUR_MS - CLOCK_STEP_MS_MAX;
        for message in self.model.within(before..after) {
            let age_ms = i64::try_from(now.mono.ms_since(message.appended_at)).expect("small");
            // Of a process that has ended only the stamps are known, if there was no checkpoint.
            let is_backdated = message.time < time.0 - age_ms - CLOCK_STEP_MS_MAX && message.appended_at < started_at;
            assert!(age_ms > kept_ms || is_backdated, "retention took what is not old: {message:?} after {age_ms} ms");
        }
        let hour = u32::try_from(time.0.div_euclid(HOUR_MS).rem_euclid(24)).expect("an hour");
        let is_hour = Retention::default().delete_hours & (1 << hour) != 0;
        let is_tight = disk.used_bytes * 100 >= disk.total_bytes * u64::from(self.settings.retention.used_percent_max);
        let is_right = now.unix == time;
        assert!(is_hour || is_tight || !is_right, "retention took {before} in hour {hour} with room left");
        self.counts.segments_retired += 1;
    }

    /// The next day, half an hour into the first hour in which expired segments go.
    pub(super) fn skip_to_delete_hour(&mut self) {
        let delete_ms = i64::from(self.settings.retention.delete_hours.trailing_zeros()) * HOUR_MS + HOUR_MS / 2;
        let next = (self.now.unix.0 / DAY_MS + 1) * DAY_MS + delete_ms;
        self.pass(u64::try_from(next - self.now.unix.0).expect("later"));
    }

    /// Somebody sets the clock days forward, into the hour in which expired segments go, and back: nothing goes that would not have gone.
    pub(super) fn check_clock_step(&mut self) {
        if self.now.unix != self.true_time() {
            return;
        }
        self.settle_retention();
        let (start, now) = (self.log().start(), self.now);
        self.skip_to_delete_hour();
        self.now.unix.0 += 3 * DAY_MS;
        self.now.mono = now.mono;
        let accepted = if self.rule == Rule::AcceptAnyClock { self.now.unix } else { UnixMs(0) };
        let retention = Retention { clock_accepted: accepted, ..self.settings.retention };
        let settings = LogSettings { retention, ..self.settings };
        self.log().change_settings(&settings);
        self.settle_retention();
        let moved = self.log().start();
        assert_eq!(moved, start, "the clock was set, and retention took what is not old");
        self.now.unix = now.unix;
        self.counts.clock_steps += u64::from(self.log().appended() > start);
    }

    /// Ticks until nothing more goes.
    fn settle_retention(&mut self) {
        for _ in 0..120 {
            self.tick();
            self.background();
            self.background();
            self.begin_commit();
            self.end_commit(false);
            if self.log().failure().is_some() {
                return;
            }
        }
    }
}
