//! A trouble that lasts is said when it begins, and now and then: not as often as a connection is tried.

use std::collections::BTreeMap;

use crate::limits::{HA_REMIND_MS, HA_SLAVES_MAX};
use crate::model::MonoNs;

/// What was said last of each peer. `K` tells kinds of trouble apart.
#[derive(Debug)]
pub(crate) struct Quiet<K> {
    said: BTreeMap<u64, (K, MonoNs)>,
}

impl<K> Default for Quiet<K> {
    fn default() -> Quiet<K> {
        Quiet { said: BTreeMap::new() }
    }
}

impl<K: PartialEq> Quiet<K> {
    /// Whether a trouble of this kind with this peer is to be said: it is another than the last one, or that was said a while ago.
    pub(crate) fn is_due(&mut self, now: MonoNs, peer: u64, kind: K) -> bool {
        if self.said.get(&peer).is_some_and(|(last, at)| *last == kind && now.ms_since(*at) < HA_REMIND_MS) {
            return false;
        }
        if self.said.len() >= HA_SLAVES_MAX && !self.said.contains_key(&peer) {
            self.said.pop_first();
        }
        self.said.insert(peer, (kind, now));
        true
    }

    /// All is well with this peer: the next trouble is news.
    pub(crate) fn forget(&mut self, peer: u64) {
        self.said.remove(&peer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_said_once_a_minute() {
        let (mut quiet, at) = (Quiet::default(), |ms| MonoNs(0).plus_ms(ms));
        let due = |quiet: &mut Quiet<&str>, ms, peer, kind| quiet.is_due(at(ms), peer, kind);
        assert!(due(&mut quiet, 0, 1, "a") && !due(&mut quiet, 100, 1, "a"));
        assert!(due(&mut quiet, 200, 2, "a"), "of another peer");
        assert!(due(&mut quiet, 300, 1, "b"), "another trouble");
        assert!(!due(&mut quiet, 300 + HA_REMIND_MS - 1, 1, "b") && due(&mut quiet, 300 + HA_REMIND_MS, 1, "b"));
        quiet.forget(1);
        assert!(due(&mut quiet, 301 + HA_REMIND_MS, 1, "b"));
        for peer in 0..100 {
            due(&mut quiet, 0, peer, "a");
        }
        assert_eq!(quiet.said.len(), HA_SLAVES_MAX);
    }
}
