//! Wakes executors that sleep on runnable tasks.
//!
//! glommio 0.9 takes a preemption before the first task for "no work" and sleeps. A timer task wakes it then, unless that very task was
//! among the runnable ones: then it is never armed again, and the shard sleeps for ever. That is no theory: on a busy machine two
//! executors that stream to each other get there within seconds, and an executor can get there before it has run anything at all. So one
//! thread of the process looks whether each executor's timer ticks, and if not, interrupts its thread with a signal: whatever the kernel
//! call, it returns, and the executor looks at its tasks.
//!
//! State of the process: one thread, one entry an executor.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use nix::sys::pthread::{Pthread, pthread_kill, pthread_self};
use nix::sys::signal::Signal;

use crate::limits::KEEP_ALIVE_MS;

/// Looks without a tick before an executor is woken.
const SILENT_LOOKS: u64 = 2;

/// Looks without a tick after which it is woken only at every so many looks: a shard that is held for minutes has other troubles.
const PATIENT_LOOKS: u64 = 100;

/// Out-of-band data on a socket, which nobody here uses; ignored where nobody asks for it, so it ends no process that has no handler.
const SIGNAL: Signal = Signal::SIGURG;

/// The sign of life of one executor.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    ticks: AtomicU64,
    rescues: AtomicU64,
    /// The executor's thread while it lives.
    thread: Mutex<Option<Pthread>>,
}

/// Keeps the watchdog's eye on the calling thread. To be dropped by that thread.
#[derive(Debug)]
pub(super) struct Watched(Arc<Pulse>);

impl Watched {
    /// The watchdog looks at the calling thread from now on.
    pub(super) fn this_thread() -> Watched {
        let pulse = Arc::new(Pulse { thread: Mutex::new(Some(pthread_self())), ..Pulse::default() });
        lock(watched()).push(Arc::downgrade(&pulse));
        Watched(pulse)
    }

    /// What the executor's timer ticks into.
    pub(super) fn pulse(&self) -> Arc<Pulse> {
        self.0.clone()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // A signal to a thread that has ended would be undefined; the lock keeps the watchdog's away from here on.
        *lock(&self.0.thread) = None;
    }
}

impl Pulse {
    /// The executor's timer has come.
    pub(super) fn tick(&self) {
        self.ticks.fetch_add(1, Ordering::Relaxed);
    }

    /// How often the executor had to be woken from outside.
    pub(super) fn rescues(&self) -> u64 {
        self.rescues.load(Ordering::Relaxed)
    }

    /// One look: whether the thread is to be woken. `seen` is what the last look saw: the ticks, and how many looks they have stood still.
    fn look(&self, seen: &mut (u64, u64)) -> bool {
        let ticks = self.ticks.load(Ordering::Relaxed);
        *seen = if ticks == seen.0 { (ticks, seen.1 + 1) } else { (ticks, 0) };
        let still = seen.1;
        // Before the first tick the executor is being made, which takes a while.
        if still == SILENT_LOOKS && ticks > 0 {
            self.rescues.fetch_add(1, Ordering::Relaxed);
        }
        still >= SILENT_LOOKS && (still <= PATIENT_LOOKS || still.is_multiple_of(PATIENT_LOOKS))
    }

    fn wake(&self) {
        let thread = lock(&self.thread);
        if let Some(thread) = *thread
            && let Err(error) = pthread_kill(thread, SIGNAL)
        {
            tracing::error!(%error, "a shard that may sleep on runnable tasks cannot be woken");
        }
    }
}

/// A poisoned lock only says that a thread has panicked, which is no news about a waker.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The list of executors; the first look at it starts the thread.
fn watched() -> &'static Mutex<Vec<Weak<Pulse>>> {
    static WATCHED: OnceLock<Mutex<Vec<Weak<Pulse>>>> = OnceLock::new();
    WATCHED.get_or_init(|| {
        // The handler does nothing: that there is one makes the kernel interrupt what the thread waits in.
        let handler = signal_hook::flag::register(SIGNAL as i32, Arc::new(AtomicBool::new(false)));
        let thread = std::thread::Builder::new().name("watchdog".into()).spawn(watch);
        if let Some(error) = handler.err().or(thread.err()) {
            tracing::error!(%error, "no watchdog: a shard may sleep on runnable tasks");
        }
        Mutex::default()
    })
}

#[expect(clippy::disallowed_methods, reason = "a thread of its own, where nothing else waits")]
fn watch() {
    let mut seen: Vec<(Weak<Pulse>, (u64, u64))> = Vec::new();
    loop {
        std::thread::sleep(Duration::from_millis(KEEP_ALIVE_MS));
        seen.extend(lock(watched()).drain(..).map(|pulse| (pulse, (0, 0))));
        seen.retain_mut(|(pulse, seen)| {
            let pulse = pulse.upgrade();
            if let Some(pulse) = pulse.as_ref().filter(|pulse| pulse.look(seen)) {
                pulse.wake();
            }
            pulse.is_some()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_executor_is_woken_until_it_ticks() {
        let pulse = Pulse::default();
        let mut seen = (0, 0);
        let mut woken = |looks: u32| (0..looks).filter(|_| pulse.look(&mut seen)).count();
        pulse.tick();
        assert_eq!((woken(2), pulse.rescues()), (0, 0), "it may be a little late");
        assert_eq!((woken(3), pulse.rescues()), (3, 1), "a wake can be lost as well");
        pulse.tick();
        assert_eq!(woken(1), 0);
        let often = woken(100_000);
        assert!(often < 1200, "a shard that is held is interrupted {often} times");
    }

    #[test]
    fn one_that_has_never_run_is_woken_too() {
        let (pulse, mut seen) = (Pulse::default(), (0, 0));
        assert_eq!((0..10).filter(|_| pulse.look(&mut seen)).count(), 9);
        assert_eq!(pulse.rescues(), 0, "it was only late to begin");
    }

    /// What a thread waits in when its executor sleeps is a kernel call that ends with a signal; so is a sleep.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "the thread that is woken sleeps")]
    fn a_thread_that_waits_in_the_kernel_is_interrupted() {
        let thread = std::thread::spawn(|| {
            let _watched = Watched::this_thread();
            let minute = rustix::time::Timespec { tv_sec: 60, tv_nsec: 0 };
            rustix::thread::nanosleep(&minute)
        });
        let slept = thread.join().expect("it ends");
        assert!(matches!(slept, rustix::thread::NanosleepRelativeResult::Interrupted(_)), "{slept:?}");
    }
}
