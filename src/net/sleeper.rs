//! The task of a connection while it sleeps, and how the rest of the shard wakes it.

use std::cell::RefCell;
use std::task::{Context, Waker};

/// Holds the waker of one task.
#[derive(Debug, Default)]
pub(super) struct Sleeper(RefCell<Option<Waker>>);

impl Sleeper {
    /// Wakes the task, if it has gone to sleep since it was last woken.
    pub(super) fn wake(&self) {
        if let Some(waker) = self.0.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Called by the task at the start of its turn. A waker that is still good is kept: glommio counts the references to a task.
    pub(super) fn keep(&self, context: &Context<'_>) {
        let mut waker = self.0.borrow_mut();
        if !waker.as_ref().is_some_and(|old| old.will_wake(context.waker())) {
            *waker = Some(context.waker().clone());
        }
    }
}
