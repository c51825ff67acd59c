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
    started: Instant,
    pulse: Arc<Pulse>,
    longest: Cell<LongTurn>,
    stalls: Cell<u64>,
    stalled_max: Cell<Duration>,
    reported: Cell<Option<Instant>>,
}

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
    /// A watch that shows its ticks to the watchdog.
    pub(super) fn new(pulse: Arc<Pulse>) -> Watch {
        Watch {
            started: instant(),
            pulse,
            longest: Cell::default(),
            stalls: Cell::new(0),
            stalled_max: Cell::default(),
            reported: Cell::new(None),
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
        let quiet = self.reported.get().is_some_and(|at| at.elapsed() < Duration::from_secs(10));
        if quiet {
            return;
        }
        self.reported.set(Some(instant()));
        let (late_ms, turn_ms, count) = (late.as_millis(), longest.took.as_millis(), self.stalls.get());
        if longest.took * 2 > late {
            tracing::warn!(task = longest.name, turn_ms, late_ms, count, "a task held the shard's thread too long");
        } else {
            tracing::warn!(
                task = longest.name,
                turn_ms,
                late_ms,
                count,
                "the shard's thread ran late; no task held it that long"
            );
        }
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
        let watch = Watch::new(Arc::default());
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
}
