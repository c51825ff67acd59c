//! Time and sleep: one monotonic clock for all stamps, and a timer that epoll waits for.
//!
//! epoll's own timeout counts whole milliseconds, which would clump 10,000 sends a second into tens. A `timerfd` is exact to some
//! microseconds, not subject to timer slack, and lets the thread sleep: a generator that spins instead takes the core that the broker needs.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime, timerfd_create,
    timerfd_settime,
};

/// Nanoseconds in a second.
pub const SECOND_NS: u64 = 1_000_000_000;

/// Nanoseconds on the monotonic clock of this machine.
pub fn now_ns() -> u64 {
    timespec_ns(clock_gettime(ClockId::Monotonic))
}

/// Nanoseconds of processor time that this thread has used.
pub fn cpu_time_ns() -> u64 {
    timespec_ns(clock_gettime(ClockId::ThreadCPUTime))
}

/// Nanoseconds of a duration; one of centuries counts as the longest.
pub fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Unix time in milliseconds.
pub fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn timespec_ns(time: Timespec) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds.saturating_mul(SECOND_NS).saturating_add(u64::try_from(time.tv_nsec).unwrap_or(0))
}

/// Wakes the epoll loop at one moment at a time.
#[derive(Debug)]
pub struct Timer {
    fd: OwnedFd,
    armed_ns: u64,
}

impl Timer {
    /// A timer that `registry` reports as `token`.
    ///
    /// # Errors
    /// When the kernel has no more descriptors.
    pub fn new(registry: &Registry, token: Token) -> io::Result<Self> {
        let fd = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        registry.register(&mut SourceFd(&fd.as_raw_fd()), token, Interest::READABLE)?;
        Ok(Self { fd, armed_ns: 0 })
    }

    /// Wakes at `at_ns` of [`now_ns`]'s clock instead of what was armed before; at once if that is over.
    ///
    /// # Errors
    /// None is known for a valid time.
    pub fn arm(&mut self, at_ns: u64, now_ns: u64) -> io::Result<()> {
        // Only what lies ahead is still armed: what is over has fired, and fires no second time.
        if at_ns == self.armed_ns && at_ns > now_ns {
            return Ok(());
        }
        self.armed_ns = at_ns;
        // Zero would disarm.
        let at_ns = at_ns.max(1);
        let moment = Timespec {
            tv_sec: i64::try_from(at_ns / SECOND_NS).unwrap_or(i64::MAX),
            tv_nsec: i64::try_from(at_ns % SECOND_NS).expect("below a second"),
        };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: moment };
        timerfd_settime(&self.fd, TimerfdTimerFlags::ABSTIME, &once)?;
        Ok(())
    }
}
