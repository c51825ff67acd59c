//! What work without a connection has done and may not rely on yet: the log has to be safe up to the end of what was stored for it.

use std::collections::VecDeque;

use crate::model::LogOffset;

/// What was done, in the order of the log, each with the offset up to which the log must be safe before it holds.
#[derive(Debug)]
pub(super) struct Unsettled<T> {
    done: VecDeque<(LogOffset, T)>,
}

impl<T> Default for Unsettled<T> {
    fn default() -> Unsettled<T> {
        Unsettled { done: VecDeque::new() }
    }
}

impl<T> Unsettled<T> {
    /// `what` holds when the log is safe up to `at`.
    pub(super) fn push(&mut self, at: LogOffset, what: T) {
        if let Some((last, _)) = self.done.back() {
            assert!(*last <= at, "what holds at {at} came after what holds at {last}");
        }
        self.done.push_back((at, what));
    }

    /// The same of a place on a way: of two that hold at once, the later one says it all.
    pub(super) fn push_place(&mut self, at: LogOffset, place: T) {
        match self.done.back_mut() {
            Some(last) if last.0 == at => last.1 = place,
            _ => self.push(at, place),
        }
    }

    /// The first that holds now that the log is safe up to `safe`, with its offset.
    #[inline]
    pub(super) fn take(&mut self, safe: LogOffset) -> Option<(LogOffset, T)> {
        self.done.pop_front_if(|(at, _)| *at <= safe)
    }

    pub(super) fn retain(&mut self, mut keeps: impl FnMut(&T) -> bool) {
        self.done.retain(|(_, what)| keeps(what));
    }

    pub(super) fn len(&self) -> usize {
        self.done.len()
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.done.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_holds_in_the_order_of_the_log() {
        let mut unsettled = Unsettled::default();
        for (at, what) in [(100, "a"), (100, "b"), (200, "c")] {
            unsettled.push(LogOffset(at), what);
        }
        assert_eq!(unsettled.take(LogOffset(99)), None);
        assert_eq!(unsettled.take(LogOffset(150)), Some((LogOffset(100), "a")));
        assert_eq!(unsettled.take(LogOffset(150)), Some((LogOffset(100), "b")));
        assert_eq!((unsettled.take(LogOffset(150)), unsettled.len()), (None, 1));
        unsettled.retain(|what| *what != "c");
        assert!(unsettled.is_empty());
    }

    #[test]
    fn of_places_that_hold_at_once_the_last_is_kept() {
        let mut unsettled = Unsettled::default();
        for (at, place) in [(100, 1), (100, 2), (200, 3)] {
            unsettled.push_place(LogOffset(at), place);
        }
        assert_eq!(unsettled.len(), 2);
        assert_eq!(unsettled.take(LogOffset(100)), Some((LogOffset(100), 2)));
    }

    #[test]
    #[should_panic(expected = "came after")]
    fn what_comes_out_of_order_is_our_own_fault() {
        let mut unsettled = Unsettled::default();
        unsettled.push(LogOffset(2), ());
        unsettled.push(LogOffset(1), ());
    }
}
