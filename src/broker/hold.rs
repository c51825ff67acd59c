//! Pulls that wait for a message or their deadline: RocketMQ's long polling.
//!
//! State of the shard, in memory only. A hold is found by its queue (to be woken), by its connection (to be dropped with it)
//! and by its deadline. What a hold carries is the caller's: the table knows when, not what.
//!
//! When something happens to a queue, all of its holds are to run, but not all in one turn: a hundred thousand of one queue would stop the shard.
//! [`HoldTable::next_turn`] gives them one by one, those of different queues in turns, so that a crowd waits for itself and not for others. A
//! queue's holds stand in a line; one that has run and goes on waiting stands at the line's end, so those that are still to run are
//! the line's front, and each step costs the same however long the line is.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, VecDeque};

use slab::Slab;

use crate::limits::{HOLDS_MAX, HOLDS_PER_CONNECTION_MAX};
use crate::model::{ConnectionId, FastMap, MonoNs};

/// Which hold; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct HoldId {
    slot: usize,
    serial: u64,
}

/// Why a hold has its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Turn {
    /// Its queue has grown.
    Grown,
    /// It is to be answered before its time, with nothing.
    Hurried,
    /// Its queue is gone.
    Ended,
}

/// The held pulls of a shard. `Q` names a queue, `T` is what is held.
#[derive(Debug)]
pub(crate) struct HoldTable<Q, T> {
    holds: Slab<Hold<Q, T>>,
    by_queue: FastMap<Q, Line>,
    by_connection: FastMap<ConnectionId, BTreeSet<HoldId>>,
    /// Queues whose line has holds to run, each once.
    turns: VecDeque<Q>,
    /// Deadlines, those of holds that are gone included: they are skipped, and swept when they are the most.
    deadlines: BinaryHeap<Reverse<(MonoNs, HoldId)>>,
    serial: u64,
}

/// The holds of one queue, linked by their slots. There while it has some, or has a place among [`HoldTable::turns`].
#[derive(Debug, Default)]
struct Line {
    ends: Option<Ends>,
    /// Counts what has happened to the queue.
    events: u64,
    /// The last event that was such.
    hurried: u64,
    ended: u64,
    has_turn: bool,
}

#[derive(Clone, Copy, Debug)]
struct Ends {
    first: usize,
    last: usize,
}

#[derive(Debug)]
struct Hold<Q, T> {
    serial: u64,
    queue: Q,
    connection: ConnectionId,
    deadline: MonoNs,
    before: Option<usize>,
    behind: Option<usize>,
    /// The queue's last event that this hold has run for; never falls along a line.
    seen: u64,
    held: T,
}

impl<Q: Copy + Eq + std::hash::Hash, T> HoldTable<Q, T> {
    /// An empty table.
    #[must_use]
    pub(crate) fn new() -> Self {
        HoldTable {
            holds: Slab::new(),
            by_queue: FastMap::default(),
            by_connection: FastMap::default(),
            turns: VecDeque::new(),
            deadlines: BinaryHeap::new(),
            serial: 0,
        }
    }

    /// Holds `held` until `deadline`, or gives it back if the shard or the connection holds too many.
    ///
    /// # Errors
    /// `held`, unchanged, when a bound of `limits` is reached.
    pub(crate) fn insert(
        &mut self,
        queue: Q,
        connection: ConnectionId,
        deadline: MonoNs,
        held: T,
    ) -> Result<HoldId, T> {
        let of_connection = self.by_connection.get(&connection).map_or(0, BTreeSet::len);
        if self.holds.len() >= HOLDS_MAX || of_connection >= HOLDS_PER_CONNECTION_MAX {
            return Err(held);
        }
        self.serial += 1;
        let serial = self.serial;
        let (before, behind, seen) = (None, None, 0);
        let slot = self.holds.insert(Hold { serial, queue, connection, deadline, before, behind, seen, held });
        let id = HoldId { slot, serial };
        self.append(queue, slot);
        self.by_connection.entry(connection).or_default().insert(id);
        if self.deadlines.len() > 2 * self.holds.len() + 1024 {
            self.sweep_deadlines();
        }
        self.deadlines.push(Reverse((deadline, id)));
        Ok(id)
    }

    /// Consumers may see more of a queue: its holds are to run.
    #[inline]
    pub(super) fn queue_has_grown(&mut self, queue: Q) {
        self.happen(queue, Turn::Grown);
    }

    /// The holds that a queue has now are to be answered with nothing.
    pub(super) fn hurry_queue(&mut self, queue: Q) {
        self.happen(queue, Turn::Hurried);
    }

    /// A queue is gone: so are the holds that it has now.
    pub(super) fn end_queue(&mut self, queue: Q) {
        self.happen(queue, Turn::Ended);
    }

    fn happen(&mut self, queue: Q, what: Turn) {
        let Some(line) = self.by_queue.get_mut(&queue).filter(|line| line.ends.is_some()) else { return };
        line.events += 1;
        match what {
            Turn::Grown => {}
            Turn::Hurried => line.hurried = line.events,
            Turn::Ended => line.ended = line.events,
        }
        if !line.has_turn {
            line.has_turn = true;
            self.turns.push_back(queue);
        }
    }

    /// The next hold that is to run, and why. It goes on waiting unless it is removed.
    pub(super) fn next_turn(&mut self) -> Option<(HoldId, Turn)> {
        loop {
            let queue = self.turns.pop_front()?;
            let line = self.by_queue.get_mut(&queue).expect("a queue that has a turn has a line");
            let (events, hurried, ended) = (line.events, line.hurried, line.ended);
            let first = line.ends.map(|ends| ends.first).filter(|&slot| hold(&self.holds, slot).seen < events);
            let Some(slot) = first else {
                line.has_turn = false;
                if line.ends.is_none() {
                    self.by_queue.remove(&queue);
                }
                continue;
            };
            self.turns.push_back(queue);
            let Hold { serial, seen, .. } = *hold(&self.holds, slot);
            self.unlink(slot);
            self.append(queue, slot);
            let why = match () {
                () if seen < ended => Turn::Ended,
                () if seen < hurried => Turn::Hurried,
                () => Turn::Grown,
            };
            return Some((HoldId { slot, serial }, why));
        }
    }

    /// Whether [`Self::next_turn`] may have one.
    #[must_use]
    pub(super) fn has_turns(&self) -> bool {
        !self.turns.is_empty()
    }

    /// What is held under `id`, if it still is.
    pub(crate) fn get_mut(&mut self, id: HoldId) -> Option<&mut T> {
        self.holds.get_mut(id.slot).filter(|hold| hold.serial == id.serial).map(|hold| &mut hold.held)
    }

    /// Those of one queue, in their order.
    pub(super) fn of_queue(&self, queue: Q) -> impl Iterator<Item = &T> {
        let first = self.by_queue.get(&queue).and_then(|line| line.ends).map(|ends| ends.first);
        let slots = std::iter::successors(first, |slot| hold(&self.holds, *slot).behind);
        slots.map(|slot| &hold(&self.holds, slot).held)
    }

    pub(crate) fn remove(&mut self, id: HoldId) -> Option<T> {
        if self.holds.get(id.slot)?.serial != id.serial {
            return None;
        }
        self.unlink(id.slot);
        let hold = self.holds.remove(id.slot);
        if self.by_queue.get(&hold.queue).is_some_and(|line| line.ends.is_none() && !line.has_turn) {
            self.by_queue.remove(&hold.queue);
        }
        if let Some(ids) = self.by_connection.get_mut(&hold.connection) {
            ids.remove(&id);
            if ids.is_empty() {
                self.by_connection.remove(&hold.connection);
            }
        }
        Some(hold.held)
    }

    /// Puts a hold at the end of its queue's line. It has seen all that has happened.
    fn append(&mut self, queue: Q, slot: usize) {
        let line = self.by_queue.entry(queue).or_default();
        let before = line.ends.map(|ends| ends.last);
        line.ends = Some(Ends { first: line.ends.map_or(slot, |ends| ends.first), last: slot });
        let hold = hold_mut(&mut self.holds, slot);
        (hold.before, hold.behind, hold.seen) = (before, None, line.events);
        if let Some(before) = before {
            hold_mut(&mut self.holds, before).behind = Some(slot);
        }
    }

    /// Takes a hold out of its queue's line.
    fn unlink(&mut self, slot: usize) {
        let Hold { queue, before, behind, .. } = *hold(&self.holds, slot);
        if let Some(before) = before {
            hold_mut(&mut self.holds, before).behind = behind;
        }
        if let Some(behind) = behind {
            hold_mut(&mut self.holds, behind).before = before;
        }
        let line = self.by_queue.get_mut(&queue).expect("a hold stands in its queue's line");
        line.ends = line.ends.and_then(|ends| {
            let first = if ends.first == slot { behind } else { Some(ends.first) }?;
            let last = if ends.last == slot { before } else { Some(ends.last) }?;
            Some(Ends { first, last })
        });
    }

    /// Drops the holds of a connection that is gone.
    pub(crate) fn drop_connection(&mut self, connection: ConnectionId) {
        for id in self.by_connection.remove(&connection).unwrap_or_default() {
            self.remove(id);
        }
    }

    /// Ends one hold whose deadline has come.
    pub(crate) fn pop_due(&mut self, now: MonoNs) -> Option<T> {
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
    pub(crate) fn next_deadline(&self) -> Option<MonoNs> {
        self.deadlines.peek().map(|Reverse((deadline, _))| *deadline)
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.holds.len()
    }

    /// Whether nothing is held.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.holds.is_empty()
    }

    fn sweep_deadlines(&mut self) {
        let live = self.holds.iter().map(|(slot, hold)| Reverse((hold.deadline, HoldId { slot, serial: hold.serial })));
        self.deadlines = live.collect();
    }
}

fn hold<Q, T>(holds: &Slab<Hold<Q, T>>, slot: usize) -> &Hold<Q, T> {
    holds.get(slot).expect("a line links holds that are there")
}

fn hold_mut<Q, T>(holds: &mut Slab<Hold<Q, T>>, slot: usize) -> &mut Hold<Q, T> {
    holds.get_mut(slot).expect("a line links holds that are there")
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

    fn turns<Q: Copy + Eq + std::hash::Hash, T>(table: &mut HoldTable<Q, T>) -> Vec<(HoldId, Turn)> {
        std::iter::from_fn(|| table.next_turn()).collect()
    }

    #[test]
    fn holds_wake_in_order_and_end_once() {
        let mut table = HoldTable::new();
        let a = table.insert(7_u32, ConnectionId(1), ms(10), "a").unwrap();
        let b = table.insert(7, ConnectionId(2), ms(20), "b").unwrap();
        table.insert(8, ConnectionId(2), ms(5), "c").unwrap();
        table.queue_has_grown(7);
        assert_eq!(turns(&mut table), [(a, Turn::Grown), (b, Turn::Grown)]);
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
        table.queue_has_grown(1);
        assert!(turns(&mut table).is_empty());
        table.drop_connection(ConnectionId(0));
        assert!(table.by_queue.is_empty() && table.by_connection.is_empty());
    }

    #[test]
    fn each_hold_has_one_turn_an_event_and_a_crowd_waits_for_itself() {
        let mut table = HoldTable::new();
        let crowd: Vec<HoldId> = (0..1000).map(|n| table.insert('a', ConnectionId(n), ms(10), n).unwrap()).collect();
        let alone = table.insert('b', ConnectionId(1), ms(10), 0).unwrap();
        table.queue_has_grown('a');
        table.queue_has_grown('b');
        let first: Vec<HoldId> = (0..4).filter_map(|_| table.next_turn()).map(|(id, _)| id).collect();
        assert_eq!(first, [crowd[0], alone, crowd[1], crowd[2]]);
        // Those that come or go meanwhile have no turn; those that have had theirs have another when more comes.
        let late = table.insert('a', ConnectionId(1), ms(10), 0).unwrap();
        table.remove(crowd[3]);
        table.remove(crowd[999]);
        let rest: Vec<HoldId> = turns(&mut table).into_iter().map(|(id, _)| id).collect();
        assert_eq!(rest, crowd[4..999]);
        table.queue_has_grown('a');
        assert_eq!(table.next_turn(), Some((crowd[0], Turn::Grown)));
        table.queue_has_grown('a');
        let rest: Vec<HoldId> = turns(&mut table).into_iter().map(|(id, _)| id).collect();
        let expected = [&crowd[1..3], &[late], &crowd[4..999], &crowd[..1]].concat();
        assert_eq!(rest, expected, "each once, and the one that ran between the two events again");
        assert!(!table.has_turns());
    }

    #[test]
    fn an_event_is_for_those_that_were_there() {
        let mut table = HoldTable::new();
        let a = table.insert(1_u32, ConnectionId(1), ms(10), "a").unwrap();
        table.hurry_queue(1);
        let b = table.insert(1, ConnectionId(1), ms(10), "b").unwrap();
        table.queue_has_grown(1);
        let c = table.insert(1, ConnectionId(1), ms(10), "c").unwrap();
        assert_eq!(turns(&mut table), [(a, Turn::Hurried), (b, Turn::Grown)]);
        table.end_queue(1);
        table.queue_has_grown(1);
        assert_eq!(turns(&mut table), [(c, Turn::Ended), (a, Turn::Ended), (b, Turn::Ended)]);
        for id in [a, b, c] {
            table.queue_has_grown(1);
            table.remove(id);
        }
        table.end_queue(1);
        assert!(turns(&mut table).is_empty() && table.by_queue.is_empty());
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
