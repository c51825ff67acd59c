//! Wakes executors that sleep on runnable tasks.
//!
//! glommio 0.9 takes a preemption before the first task for "no work" and sleeps. A timer task wakes it then, unless that very task was
//! among the runnable ones: then it is never armed again, and the shard sleeps for ever. That is no theory: on a busy machine two
//! executors that stream to each other get there within seconds. So one thread of the process looks whether each executor's timer
//! still ticks, and if not, wakes it from outside, again and again until it does.
//!
//! State of the process: one thread, one entry an executor.

use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::{Poll, Waker};
use std::time::Duration;

use crate::limits::KEEP_ALIVE_MS;

/// Looks without a tick before an executor is woken.
const SILENT_LOOKS: u64 = 2;

/// Looks without a tick after which it is woken only at every so many looks. Each wake costs a reference to the waking task, which glommio
/// counts in 16 bits, until the executor runs again: a shard that is held for minutes must not overflow them.
const PATIENT_LOOKS: u64 = 100;

/// The sign of life of one executor.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    ticks: AtomicU64,
    rescues: AtomicU64,
    waker: Mutex<Option<Waker>>,
}

impl Pulse {
    /// A pulse that the watchdog looks at from now on.
    pub(super) fn watched() -> Arc<Pulse> {
        let pulse = Arc::new(Pulse::default());
        lock(watched()).push(Arc::downgrade(&pulse));
        pulse
    }

    /// The executor's timer has come.
    pub(super) fn tick(&self) {
        self.ticks.fetch_add(1, Ordering::Relaxed);
    }

    /// How often the executor had to be woken from outside.
    pub(super) fn rescues(&self) -> u64 {
        self.rescues.load(Ordering::Relaxed)
    }

    /// A task for the executor: it does nothing but be woken.
    pub(super) async fn attend(self: Arc<Self>) {
        poll_fn(|context| {
            lock(&self.waker).get_or_insert_with(|| context.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// Takes the waker back, on the executor's own thread, before the executor ends.
    pub(super) fn leave(&self) {
        drop(lock(&self.waker).take());
    }

    /// One look. `seen` is what the last look saw: the ticks, and how many looks they have stood still.
    fn look(&self, seen: &mut (u64, u64)) {
        let ticks = self.ticks.load(Ordering::Relaxed);
        *seen = if ticks == seen.0 { (ticks, seen.1 + 1) } else { (ticks, 0) };
        let still = seen.1;
        let is_due = still >= SILENT_LOOKS && (still <= PATIENT_LOOKS || still.is_multiple_of(PATIENT_LOOKS));
        if is_due && let Some(waker) = lock(&self.waker).as_ref() {
            waker.wake_by_ref();
            if still == SILENT_LOOKS {
                self.rescues.fetch_add(1, Ordering::Relaxed);
            }
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
        let thread = std::thread::Builder::new().name("watchdog".into()).spawn(watch);
        if let Err(error) = thread {
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
        seen.retain_mut(|(pulse, seen)| pulse.upgrade().map(|pulse| pulse.look(seen)).is_some());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_silent_executor_is_woken_until_it_ticks() {
        let (pulse, count) = (Pulse::default(), Arc::new(Count::default()));
        *lock(&pulse.waker) = Some(Waker::from(count.clone()));
        let woken = || count.0.load(Ordering::Relaxed);
        let mut seen = (0, 0);
        pulse.tick();
        (0..2).for_each(|_| pulse.look(&mut seen));
        assert_eq!((woken(), pulse.rescues()), (0, 0), "it may be a little late");
        (0..3).for_each(|_| pulse.look(&mut seen));
        assert_eq!((woken(), pulse.rescues()), (3, 1), "a wake can be lost as well");
        pulse.tick();
        pulse.look(&mut seen);
        assert_eq!(woken(), 3);
        (0..100_000).for_each(|_| pulse.look(&mut seen));
        assert!(woken() < 1200, "{} wakes are pending on a shard that is held", woken());
        pulse.leave();
        pulse.look(&mut seen);
    }
}
