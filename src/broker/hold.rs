//! Pulls that wait for a message or their deadline: RocketMQ's long polling.
//!
//! State of the shard, in memory only. A hold is found by its queue (to be woken), by its connection (to be dropped with it)
//! and by its deadline. What a hold carries is the caller's: the table knows when, not what.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use slab::Slab;

use crate::limits::{HOLDS_MAX, HOLDS_PER_CONNECTION_MAX};
use crate::model::{ConnectionId, FastMap, MonoNs};

/// Which hold; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HoldId {
    slot: usize,
    serial: u64,
}

/// The held pulls of a shard. `Q` names a queue, `T` is what is held.
#[derive(Debug)]
pub struct HoldTable<Q, T> {
    holds: Slab<Hold<Q, T>>,
    by_queue: FastMap<Q, Vec<HoldId>>,
    by_connection: FastMap<ConnectionId, BTreeSet<HoldId>>,
    /// Deadlines, those of holds that are gone included: they are skipped, and swept when they are the most.
    deadlines: BinaryHeap<Reverse<(MonoNs, HoldId)>>,
    serial: u64,
}

#[derive(Debug)]
struct Hold<Q, T> {
    serial: u64,
    queue: Q,
    connection: ConnectionId,
    deadline: MonoNs,
    held: T,
}

impl<Q: Copy + Eq + std::hash::Hash, T> HoldTable<Q, T> {
    /// An empty table.
    #[must_use]
    pub fn new() -> Self {
        HoldTable {
            holds: Slab::new(),
            by_queue: FastMap::default(),
            by_connection: FastMap::default(),
            deadlines: BinaryHeap::new(),
            serial: 0,
        }
    }

    /// Holds `held` until `deadline`, or gives it back if the shard or the connection holds too many.
    ///
    /// # Errors
    /// `held`, unchanged, when a bound of `limits` is reached.
    pub fn insert(&mut self, queue: Q, connection: ConnectionId, deadline: MonoNs, held: T) -> Result<HoldId, T> {
        let of_connection = self.by_connection.get(&connection).map_or(0, BTreeSet::len);
        if self.holds.len() >= HOLDS_MAX || of_connection >= HOLDS_PER_CONNECTION_MAX {
            return Err(held);
        }
        self.serial += 1;
        let serial = self.serial;
        let slot = self.holds.insert(Hold { serial, queue, connection, deadline, held });
        let id = HoldId { slot, serial };
        self.by_queue.entry(queue).or_default().push(id);
        self.by_connection.entry(connection).or_default().insert(id);
        if self.deadlines.len() > 2 * self.holds.len() + 1024 {
            self.sweep_deadlines();
        }
        self.deadlines.push(Reverse((deadline, id)));
        Ok(id)
    }

    /// Holds of `queue` in the order in which they came, appended to `out`.
    pub fn of_queue(&self, queue: Q, out: &mut Vec<HoldId>) {
        if let Some(ids) = self.by_queue.get(&queue) {
            out.extend_from_slice(ids);
        }
    }

    /// What is held under `id`, if it still is.
    pub fn get_mut(&mut self, id: HoldId) -> Option<&mut T> {
        self.holds.get_mut(id.slot).filter(|hold| hold.serial == id.serial).map(|hold| &mut hold.held)
    }

    /// Ends a hold.
    pub fn remove(&mut self, id: HoldId) -> Option<T> {
        if self.holds.get(id.slot)?.serial != id.serial {
            return None;
        }
        let hold = self.holds.remove(id.slot);
        if let Some(ids) = self.by_queue.get_mut(&hold.queue) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.by_queue.remove(&hold.queue);
            }
        }
        if let Some(ids) = self.by_connection.get_mut(&hold.connection) {
            ids.remove(&id);
            if ids.is_empty() {
                self.by_connection.remove(&hold.connection);
            }
        }
        Some(hold.held)
    }

    /// Drops the holds of a connection that is gone.
    pub fn drop_connection(&mut self, connection: ConnectionId) {
        for id in self.by_connection.remove(&connection).unwrap_or_default() {
            self.remove(id);
        }
    }

    /// Ends one hold whose deadline has come.
    pub fn pop_due(&mut self, now: MonoNs) -> Option<T> {
        while let Some(Reverse((deadline, id))) = self.deadlines.peek().copied() {
            if deadline > now {
                return None;
            }
            self.deadlines.pop();
            if let Some(held) = self.remove(id) {
                return Some(held);
            }
        }
        None
    }

    /// The next deadline; it may be that of a hold that is gone, which only wakes the shard once for nothing.
    #[must_use]
    pub fn next_deadline(&self) -> Option<MonoNs> {
        self.deadlines.peek().map(|Reverse((deadline, _))| *deadline)
    }

    /// Number of holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.holds.len()
    }

    /// Whether nothing is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.holds.is_empty()
    }

    fn sweep_deadlines(&mut self) {
        let live = self.holds.iter().map(|(slot, hold)| Reverse((hold.deadline, HoldId { slot, serial: hold.serial })));
        self.deadlines = live.collect();
    }
}

impl<Q: Copy + Eq + std::hash::Hash, T> Default for HoldTable<Q, T> {
    fn default() -> Self {
        HoldTable::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(value: u64) -> MonoNs {
        MonoNs(0).plus_ms(value)
    }

    #[test]
    fn holds_wake_in_order_and_end_once() {
        let mut table = HoldTable::new();
        let a = table.insert(7_u32, ConnectionId(1), ms(10), "a").unwrap();
        let b = table.insert(7, ConnectionId(2), ms(20), "b").unwrap();
        table.insert(8, ConnectionId(2), ms(5), "c").unwrap();
        let mut woken = Vec::new();
        table.of_queue(7, &mut woken);
        assert_eq!(woken, [a, b]);
        assert_eq!(table.remove(a), Some("a"));
        assert_eq!(table.remove(a), None);
        assert_eq!(table.pop_due(ms(4)), None);
        assert_eq!(table.pop_due(ms(30)), Some("c"));
        assert_eq!(table.pop_due(ms(30)), Some("b"));
        assert_eq!(table.pop_due(ms(30)), None);
        assert!(table.is_empty());
    }

    #[test]
    fn a_connection_that_is_gone_leaves_no_hold() {
        let mut table = HoldTable::new();
        for queue in 0..100_u32 {
            table.insert(queue, ConnectionId(u64::from(queue % 2)), ms(10), queue).unwrap();
        }
        table.drop_connection(ConnectionId(1));
        assert_eq!(table.len(), 50);
        let mut woken = Vec::new();
        table.of_queue(1, &mut woken);
        assert!(woken.is_empty());
        table.drop_connection(ConnectionId(0));
        assert!(table.by_queue.is_empty() && table.by_connection.is_empty());
    }

    #[test]
    fn a_reused_slot_is_another_hold() {
        let mut table = HoldTable::new();
        let first = table.insert(1_u32, ConnectionId(1), ms(10), "first").unwrap();
        table.remove(first);
        table.insert(1, ConnectionId(1), ms(99), "second").unwrap();
        assert_eq!(table.remove(first), None);
        assert_eq!(table.pop_due(ms(50)), None, "the deadline of the first must not end the second");
    }

    #[test]
    fn holds_and_deadlines_are_bounded() {
        let mut table = HoldTable::new();
        for _ in 0..HOLDS_PER_CONNECTION_MAX {
            table.insert(1_u32, ConnectionId(1), ms(10), ()).unwrap();
        }
        assert!(table.insert(1, ConnectionId(1), ms(10), ()).is_err());
        assert!(table.insert(1, ConnectionId(2), ms(10), ()).is_ok());
        let mut churn = HoldTable::new();
        for _ in 0..50_000 {
            let id = churn.insert(1_u32, ConnectionId(1), ms(15_000), ()).unwrap();
            churn.remove(id);
        }
        assert!(churn.deadlines.len() < 3_000, "{} stale deadlines", churn.deadlines.len());
    }
}
