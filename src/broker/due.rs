//! What is to be looked at again at a time: what costs the table no more than what is due.

use std::collections::BTreeSet;

use crate::model::MonoNs;

/// Keys by when to look at each. What is renewed often stays where it stands: whoever looks finds that it is not over, and puts it further on.
#[derive(Debug)]
pub(super) struct DueSet<K> {
    by_time: BTreeSet<(MonoNs, K)>,
}

impl<K: Ord + Clone> DueSet<K> {
    /// Looks at `key` at `at`. Whoever puts it in keeps `at`, to take it out with.
    pub(super) fn insert(&mut self, at: MonoNs, key: K) {
        self.by_time.insert((at, key));
    }

    /// `key` is gone.
    pub(super) fn remove(&mut self, at: MonoNs, key: K) {
        self.by_time.remove(&(at, key));
    }

    /// Takes out the one that has been due for longest.
    pub(super) fn pop(&mut self, now: MonoNs) -> Option<K> {
        let is_due = self.by_time.first().is_some_and(|(at, _)| *at <= now);
        if is_due { self.by_time.pop_first().map(|(_, key)| key) } else { None }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.by_time.len()
    }
}

impl<K> Default for DueSet<K> {
    fn default() -> DueSet<K> {
        DueSet { by_time: BTreeSet::new() }
    }
}
