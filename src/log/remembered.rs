//! What is remembered for whoever may be back: so much of it, and what was kept longest ago goes first.

use std::collections::BTreeMap;

/// Up to `MAX` values by their keys.
#[derive(Debug)]
pub(super) struct Remembered<K, V, const MAX: usize> {
    kept: BTreeMap<K, (u64, V)>,
    /// Of what was kept, by when.
    by_age: BTreeMap<u64, K>,
    count: u64,
}

impl<K, V, const MAX: usize> Default for Remembered<K, V, MAX> {
    fn default() -> Self {
        Remembered { kept: BTreeMap::new(), by_age: BTreeMap::new(), count: 0 }
    }
}

impl<K: Copy + Ord, V, const MAX: usize> Remembered<K, V, MAX> {
    /// Keeps a value, in place of what was kept by this key.
    pub(super) fn insert(&mut self, key: K, value: V) {
        self.remove(&key);
        if self.kept.len() == MAX
            && let Some((_, oldest)) = self.by_age.pop_first()
        {
            self.kept.remove(&oldest);
        }
        self.count += 1;
        self.by_age.insert(self.count, key);
        self.kept.insert(key, (self.count, value));
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        let (age, value) = self.kept.remove(key)?;
        self.by_age.remove(&age);
        Some(value)
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.kept.get(key).map(|(_, value)| value)
    }

    /// What is kept by the last key of `from..=to`.
    pub(super) fn last_of(&self, from: K, to: K) -> Option<&V> {
        self.kept.range(from..=to).next_back().map(|(_, (_, value))| value)
    }

    pub(super) fn retain(&mut self, stays: impl Fn(&K, &V) -> bool) {
        self.kept.retain(|key, (_, value)| stays(key, value));
        if self.kept.len() < self.by_age.len() {
            self.by_age.retain(|_, key| self.kept.contains_key(key));
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        assert_eq!(self.kept.len(), self.by_age.len());
        self.kept.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_longest_ago_goes_first_and_what_is_kept_again_is_new() {
        let mut remembered: Remembered<u32, &str, 3> = Remembered::default();
        for key in [5, 3, 4, 5] {
            remembered.insert(key, "first");
        }
        remembered.insert(1, "one more");
        assert_eq!((remembered.get(&3), remembered.len()), (None, 3));
        assert_eq!((remembered.last_of(0, 3), remembered.last_of(2, 3)), (Some(&"one more"), None));
        remembered.retain(|key, value| *key > 1 && *value == "first");
        assert_eq!((remembered.remove(&1), remembered.remove(&4), remembered.len()), (None, Some("first"), 1));
    }
}
