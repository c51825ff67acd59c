//! Names of what has changed of a table and is not on the disk yet.
//!
//! ```text
//! insert ──▶ changed ──take──▶ on their way ──is_flushed──▶ gone
//!               ▲                   │
//!               └── first ── again ◀┘ put_back, when an append has failed
//! ```
//!
//! What is written of a name is what it stands for when it is taken: the newest. So what waits for a disk that takes nothing is as many names as have
//! changed, however often each has.

use std::collections::BTreeSet;

/// Names of one table.
#[derive(Debug)]
pub(super) struct Unwritten<N> {
    changed: BTreeSet<N>,
    /// Those of an append that has failed. They come behind the others, so that slaves hear of those while nothing can be written.
    again: BTreeSet<N>,
    /// Those that were taken, and are not flushed.
    on_way: BTreeSet<N>,
}

impl<N> Default for Unwritten<N> {
    fn default() -> Self {
        Unwritten { changed: BTreeSet::new(), again: BTreeSet::new(), on_way: BTreeSet::new() }
    }
}

impl<N: Ord + Clone> Unwritten<N> {
    pub(super) fn insert(&mut self, name: N) {
        self.again.remove(&name);
        self.changed.insert(name);
    }

    /// There is nothing to say of it any more.
    pub(super) fn remove(&mut self, name: &N) {
        self.changed.remove(name);
        self.again.remove(name);
    }

    /// So many names at most that are to be written next.
    pub(super) fn take(&mut self, most: usize) -> Vec<N> {
        let mut taken = Vec::new();
        while taken.len() < most
            && let Some(name) = self.changed.pop_first().or_else(|| self.again.pop_first())
        {
            self.on_way.insert(name.clone());
            taken.push(name);
        }
        taken
    }

    /// Whether all were taken.
    pub(super) fn is_taken(&self) -> bool {
        self.changed.is_empty() && self.again.is_empty()
    }

    /// All that was taken is on the disk.
    pub(super) fn is_flushed(&mut self) {
        self.on_way.clear();
    }

    /// What was taken and is not on the disk is to be written again.
    pub(super) fn put_back(&mut self) {
        self.again.append(&mut self.on_way);
    }

    /// How many names wait, one twice that has changed again on its way.
    pub(super) fn len(&self) -> usize {
        self.changed.len() + self.again.len() + self.on_way.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_waits_once_however_often_it_changes_and_is_tried() {
        let mut names = Unwritten::default();
        for _ in 0..10 {
            (0..5).for_each(|name| names.insert(name));
            assert_eq!(names.take(3), [0, 1, 2]);
            names.put_back();
            assert_eq!(names.len(), 5);
        }
        names.insert(1);
        assert_eq!(names.take(3), [1, 3, 4], "those of the failed append come last");
        assert!(!names.is_taken());
        names.is_flushed();
        assert_eq!((names.take(9), names.is_taken(), names.len()), (vec![0, 2], true, 2));
        names.insert(2);
        names.put_back();
        names.remove(&2);
        assert_eq!((names.take(9), names.len()), (vec![0], 1));
    }
}
