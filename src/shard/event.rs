//! A flag that a task of this shard waits for.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Poll, Waker};

/// Set by whoever made work, taken by the one task that does it. Setting it twice is setting it once.
#[derive(Debug, Default)]
pub(crate) struct Event {
    is_set: Cell<bool>,
    /// One waiter: a glommio task counts its wakers in 16 bits, so it must not leave one per event.
    waiter: RefCell<Option<Waker>>,
}

impl Event {
    /// Sets the flag and wakes the waiter.
    pub(crate) fn set(&self) {
        if !self.is_set.replace(true)
            && let Some(waiter) = self.waiter.borrow_mut().take()
        {
            waiter.wake();
        }
    }

    /// Waits for the flag and clears it.
    pub(crate) async fn wait(&self) {
        poll_fn(|context| {
            if self.is_set.replace(false) {
                return Poll::Ready(());
            }
            let mut waiter = self.waiter.borrow_mut();
            if !waiter.as_ref().is_some_and(|old| old.will_wake(context.waker())) {
                *waiter = Some(context.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_lite::future::{block_on, poll_once};

    #[test]
    fn an_event_is_seen_once_before_or_after_the_wait_began() {
        block_on(async {
            let event = Event::default();
            event.set();
            event.set();
            event.wait().await;
            let mut waiting = Box::pin(event.wait());
            assert!(poll_once(&mut waiting).await.is_none());
            event.set();
            assert!(poll_once(&mut waiting).await.is_some());
        });
    }
}
