//! The shard's clock, and who held its thread too long.
//!
//! A shard has one thread: a task that does not return keeps every other waiting. The keep-alive timer ([`Watch::keep_alive`])
//! sees how late it is woken, and names the longest turn since it last ran.

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::pump::Shard;
use super::watchdog::Pulse;
use crate::limits::{KEEP_ALIVE_MS, STALL_MS};
use crate::metrics::Stalls;
use crate::model::{MonoNs, Now, UnixMs};
use crate::net::Host;

/// Clock and stall detector of one shard.
#[derive(Debug)]
pub struct Watch {
    /// Of the thread.
    name: String,
    started: Instant,
    pulse: Arc<Pulse>,
    longest: Cell<LongTurn>,
    stalls: Cell<u64>,
    stalled_max: Cell<Duration>,
    reported: Cell<Option<Instant>>,
    starved: Cell<Starved>,
}

/// Ticks that came late by no fault of a task's, since they were last told of.
#[derive(Clone, Copy, Debug, Default)]
struct Starved {
    count: u64,
    longest: Duration,
    /// When that was, from the start of the watch. A start on a busy machine is nothing to tell of.
    told_at: Duration,
}

/// Between two lines that say so.
const STARVED_LINE_EVERY: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, Debug, Default)]
struct LongTurn {
    name: &'static str,
    took: Duration,
}

#[expect(clippy::disallowed_methods, reason = "shard is a shell: the one place where its clock is read")]
fn instant() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "shard is a shell: the one place where its clock is read")]
fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

impl Watch {
    /// A watch of the executor `name` that shows its ticks to the watchdog.
    pub(super) fn new(name: &str, pulse: Arc<Pulse>) -> Watch {
        Watch {
            name: name.to_owned(),
            started: instant(),
            pulse,
            longest: Cell::default(),
            stalls: Cell::new(0),
            stalled_max: Cell::default(),
            reported: Cell::new(None),
            starved: Cell::default(),
        }
    }

    /// What time it is.
    #[must_use]
    pub fn now(&self) -> Now {
        Now { unix: UnixMs(unix_ms()), mono: self.mono() }
    }

    /// What time it is for what only measures: the wall clock is not asked.
    #[must_use]
    pub fn mono(&self) -> MonoNs {
        MonoNs(u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// How long until `deadline`.
    #[must_use]
    pub(crate) fn until(&self, deadline: MonoNs) -> Duration {
        Duration::from_nanos(deadline.0.saturating_sub(self.mono().0))
    }

    /// Does one turn of a task under its name. A turn has no await in it.
    pub fn turn<T>(&self, name: &'static str, work: impl FnOnce() -> T) -> T {
        let before = instant();
        let done = work();
        let took = before.elapsed();
        if took > self.longest.get().took {
            self.longest.set(LongTurn { name, took });
        }
        done
    }

    /// What was seen so far.
    #[must_use]
    pub(crate) fn stalls(&self) -> Stalls {
        let longest_us = u64::try_from(self.stalled_max.get().as_micros()).unwrap_or(u64::MAX);
        Stalls { count: self.stalls.get(), longest_us, rescues: self.pulse.rescues() }
    }

    /// Wakes the executor every [`KEEP_ALIVE_MS`], for ever.
    ///
    /// glommio 0.9 can go to sleep with runnable tasks (a preemption between looking for work and the first task is taken for "no
    /// work"); only a completion wakes it then. This timer is that completion, and measures how late it comes. It can be
    /// lost in the same way, for which there is [`super::watchdog`].
    pub(crate) async fn keep_alive(&self) {
        let period = Duration::from_millis(KEEP_ALIVE_MS);
        loop {
            let before = instant();
            glommio::timer::sleep(period).await;
            self.pulse.tick();
            self.note_tick(before.elapsed().saturating_sub(period));
        }
    }

    /// Takes note of a tick that came `late`.
    fn note_tick(&self, late: Duration) {
        let longest = self.longest.replace(LongTurn::default());
        if late < Duration::from_millis(STALL_MS) {
            return;
        }
        self.stalls.set(self.stalls.get() + 1);
        self.stalled_max.set(self.stalled_max.get().max(late));
        if longest.took * 2 <= late {
            if let Some(Starved { count, longest, .. }) = self.starve(late, self.started.elapsed()) {
                let longest_ms = longest.as_millis();
                tracing::warn!(
                    thread = self.name,
                    "the machine gave this shard no processor for up to {longest_ms} ms, {count} times since the last such line or the start: other \
                     programs had it, or the kernel waited for a disk; no task of ringmq's held it"
                );
            }
            return;
        }
        let quiet = self.reported.get().is_some_and(|at| at.elapsed() < Duration::from_secs(10));
        if quiet {
            return;
        }
        self.reported.set(Some(instant()));
        let (late_ms, turn_ms, count) = (late.as_millis(), longest.took.as_millis(), self.stalls.get());
        tracing::warn!(
            thread = self.name,
            task = longest.name,
            turn_ms,
            late_ms,
            count,
            "a task held the shard's thread too long"
        );
    }

    /// Takes note of a tick that no task delayed, `since_start` after the start; what to say of those since the last line, once a minute.
    fn starve(&self, late: Duration, since_start: Duration) -> Option<Starved> {
        let mut starved = self.starved.get();
        starved.count += 1;
        starved.longest = starved.longest.max(late);
        let is_time = since_start.saturating_sub(starved.told_at) >= STARVED_LINE_EVERY;
        self.starved.set(if is_time { Starved { told_at: since_start, ..Starved::default() } } else { starved });
        is_time.then_some(starved)
    }
}

impl Host for Shard {
    fn now(&self) -> MonoNs {
        self.runtime.watch.mono()
    }

    fn turn<T>(&self, name: &'static str, work: impl FnOnce() -> T) -> T {
        self.runtime.watch.turn(name, work)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_is_counted_and_named() {
        let watch = Watch::new("shard-0", Arc::default());
        watch.turn("short", || {});
        watch.turn("long", || {
            let before = instant();
            while before.elapsed() < Duration::from_millis(2) {}
        });
        watch.turn("short", || {});
        assert_eq!(watch.longest.get().name, "long");
        watch.note_tick(Duration::from_millis(STALL_MS - 1));
        assert_eq!(watch.stalls(), Stalls::default());
        assert_eq!(watch.longest.get().name, "", "each tick looks at its own turns");
        watch.note_tick(Duration::from_millis(STALL_MS + 7));
        watch.note_tick(Duration::from_millis(STALL_MS));
        assert_eq!(watch.stalls(), Stalls { count: 2, longest_us: (STALL_MS + 7) * 1000, rescues: 0 });
    }

    #[test]
    fn a_machine_that_is_busy_with_other_things_is_told_of_once_a_minute() {
        let watch = Watch::new("shard-0", Arc::default());
        let minute = STARVED_LINE_EVERY;
        let starve = |late_ms: u64, at: Duration| {
            let told = watch.starve(Duration::from_millis(late_ms), at);
            told.map(|starved| (starved.count, starved.longest.as_millis()))
        };
        assert_eq!(starve(30, Duration::ZERO), None, "a start on a busy machine is nothing to tell of");
        assert_eq!(starve(90, minute / 2), None);
        assert_eq!(starve(40, minute), Some((3, 90)));
        assert_eq!(starve(50, minute + minute / 2), None);
        assert_eq!(starve(25, minute * 2), Some((2, 50)), "only what came since the last line");
    }
}
