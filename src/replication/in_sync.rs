//! Who is in sync: the replicas whose acknowledgements bound what consumers see.
//!
//! A slave is *caught up* as of a moment if it has acknowledged all that was in the log at that moment. One that was caught up within
//! `haMaxTimeSlaveNotCatchup` stays in the set; one that was not leaves it, and one that is disconnected leaves it at once, so that
//! consumers go on. A slave that catches up joins in two steps: as soon as it is caught up it bounds the confirm offset, which therefore
//! stands still until the slave has acknowledged it; from then on it is a member. So all members hold all that is confirmed, always.

use std::collections::BTreeMap;

use crate::model::{LinkId, LogOffset, MonoNs};

/// The slaves of one master, in sync or not. The master itself is always in sync and not in here.
#[derive(Debug)]
pub(super) struct InSyncSet {
    catch_up_within_ms: u64,
    slaves: BTreeMap<LinkId, Standing>,
}

#[derive(Clone, Copy, Debug)]
struct Standing {
    acked: LogOffset,
    /// The last moment as of which it was caught up; `None` if it never was.
    caught_up: Option<MonoNs>,
    /// An end of the log that was sent completely, and when: acknowledging it is catching up as of then.
    mark: Option<(LogOffset, MonoNs)>,
    membership: Membership,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Membership {
    Out,
    /// Bounds the confirm offset, which it has not reached yet.
    Joining,
    In,
}

impl InSyncSet {
    /// No slaves yet. `catch_up_within_ms`: RocketMQ's `haMaxTimeSlaveNotCatchup`.
    #[must_use]
    pub(super) fn new(catch_up_within_ms: u64) -> InSyncSet {
        InSyncSet { catch_up_within_ms, slaves: BTreeMap::new() }
    }

    /// A slave begins to follow and holds everything below `acked`.
    pub(super) fn add(&mut self, slave: LinkId, acked: LogOffset) {
        let standing = Standing { acked, caught_up: None, mark: None, membership: Membership::Out };
        self.slaves.insert(slave, standing);
    }

    /// A slave is gone. Returns whether it was in sync.
    pub(super) fn remove(&mut self, slave: LinkId) -> bool {
        self.slaves.remove(&slave).is_some_and(|standing| standing.membership == Membership::In)
    }

    /// The log's end `end` was wholly sent to a slave.
    pub(super) fn note_sent_all(&mut self, now: MonoNs, slave: LinkId, end: LogOffset) {
        let Some(standing) = self.slaves.get_mut(&slave) else { return };
        if standing.acked >= end {
            standing.caught_up = Some(now);
            standing.mark = None;
        } else if standing.mark.is_none() {
            standing.mark = Some((end, now));
        }
    }

    /// A slave has acknowledged `acked`. `end` is the log's end now, `confirm` the confirm offset.
    pub(super) fn acknowledge(
        &mut self,
        now: MonoNs,
        slave: LinkId,
        acked: LogOffset,
        end: LogOffset,
        confirm: LogOffset,
    ) {
        let within_ms = self.catch_up_within_ms;
        let Some(standing) = self.slaves.get_mut(&slave) else { return };
        standing.acked = acked;
        if acked >= end {
            standing.caught_up = Some(now);
            standing.mark = None;
        } else if let Some((mark, at)) = standing.mark
            && acked >= mark
        {
            standing.caught_up = Some(at);
            standing.mark = None;
        }
        let is_recent = standing.caught_up.is_some_and(|at| now.ms_since(at) < within_ms);
        if standing.membership == Membership::Out && is_recent {
            standing.membership = Membership::Joining;
        }
        if standing.membership == Membership::Joining && acked >= confirm {
            standing.membership = Membership::In;
        }
    }

    /// Time passes: slaves that are behind for too long leave the set. Returns those that did.
    pub(super) fn shrink(&mut self, now: MonoNs, end: LogOffset) -> Vec<LinkId> {
        let mut left = Vec::new();
        for (slave, standing) in &mut self.slaves {
            if standing.acked >= end {
                standing.caught_up = Some(now);
            }
            let is_late = standing.caught_up.is_none_or(|at| now.ms_since(at) >= self.catch_up_within_ms);
            if is_late && standing.membership != Membership::Out {
                if standing.membership == Membership::In {
                    left.push(*slave);
                }
                standing.membership = Membership::Out;
            }
        }
        left
    }

    /// What those acknowledge who bound the confirm offset.
    pub(super) fn bounds(&self) -> impl Iterator<Item = LogOffset> {
        self.slaves.values().filter(|standing| standing.membership != Membership::Out).map(|standing| standing.acked)
    }

    /// Whether a slave is a member.
    #[must_use]
    pub(super) fn contains(&self, slave: LinkId) -> bool {
        self.slaves.get(&slave).is_some_and(|standing| standing.membership == Membership::In)
    }

    /// Members, the master among them.
    #[must_use]
    pub(super) fn count(&self) -> usize {
        1 + self.slaves.values().filter(|standing| standing.membership == Membership::In).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replication::confirm;
    use proptest::prelude::*;

    const A: LinkId = LinkId(1);
    const WITHIN_MS: u64 = 15_000;

    fn at(ms: u64) -> MonoNs {
        MonoNs(0).plus_ms(ms)
    }

    #[test]
    fn a_slave_joins_when_it_holds_what_is_confirmed() {
        let mut set = InSyncSet::new(WITHIN_MS);
        set.add(A, LogOffset(0));
        set.acknowledge(at(1), A, LogOffset(50), LogOffset(100), LogOffset(100));
        assert_eq!((set.count(), set.bounds().count()), (1, 0), "it is behind");
        // All of the log was sent at 2 ms, and while the slave takes it, the log grows on.
        set.note_sent_all(at(2), A, LogOffset(100));
        set.acknowledge(at(3), A, LogOffset(100), LogOffset(180), LogOffset(150));
        assert_eq!((set.count(), set.bounds().next()), (1, Some(LogOffset(100))), "confirm waits for it");
        set.acknowledge(at(4), A, LogOffset(150), LogOffset(190), LogOffset(150));
        assert!(set.contains(A) && set.count() == 2);
    }

    #[test]
    fn a_slave_that_is_behind_for_too_long_leaves() {
        let mut set = InSyncSet::new(WITHIN_MS);
        set.add(A, LogOffset(100));
        set.acknowledge(at(0), A, LogOffset(100), LogOffset(100), LogOffset(100));
        assert!(set.contains(A));
        // Nothing is appended: it has nothing to acknowledge and stays.
        assert!(set.shrink(at(60_000), LogOffset(100)).is_empty());
        set.note_sent_all(at(60_000), A, LogOffset(200));
        assert!(set.shrink(at(60_000 + WITHIN_MS - 1), LogOffset(200)).is_empty());
        assert_eq!(set.shrink(at(60_000 + WITHIN_MS), LogOffset(200)), [A]);
        assert_eq!((set.count(), set.bounds().count()), (1, 0));
        set.acknowledge(at(80_000), A, LogOffset(200), LogOffset(200), LogOffset(200));
        assert!(set.contains(A));
        assert!(set.remove(A) && set.count() == 1);
    }

    #[test]
    fn a_slave_that_is_always_a_little_behind_stays() {
        let mut set = InSyncSet::new(WITHIN_MS);
        set.add(A, LogOffset(0));
        for step in 0..100_u64 {
            let (end, now) = (LogOffset(step * 10), at(step * 1000));
            set.note_sent_all(now, A, end);
            let acked = LogOffset(end.0.saturating_sub(10));
            set.acknowledge(now, A, acked, end, acked);
            assert!(set.shrink(now, end).is_empty(), "step {step}");
        }
        assert!(set.contains(A));
    }

    proptest! {
        #[test]
        fn all_members_hold_all_that_is_confirmed(steps in prop::collection::vec((0_u8..6, 0_u64..3, 0_u64..60), 1..300)) {
            let mut set = InSyncSet::new(100);
            let (mut now, mut end, mut confirmed) = (0, 0_u64, LogOffset(0));
            let mut acked = [0_u64; 3];
            for (what, slave, amount) in steps {
                let id = LinkId(slave);
                let index = usize::try_from(slave).expect("small");
                now += amount / 10;
                match what {
                    0 => end += amount,
                    1 => set.note_sent_all(at(now), id, LogOffset(end)),
                    2 | 3 => {
                        acked[index] = (acked[index] + amount).min(end);
                        set.acknowledge(at(now), id, LogOffset(acked[index]), LogOffset(end), confirmed);
                    }
                    4 => drop(set.shrink(at(now), LogOffset(end))),
                    _ => {
                        set.remove(id);
                        acked[index] = acked[index].saturating_sub(amount);
                        set.add(id, LogOffset(acked[index]));
                    }
                }
                confirmed = confirm::confirm(confirmed, LogOffset(end), set.bounds());
                for (index, acked) in acked.iter().enumerate() {
                    let id = LinkId(index as u64);
                    prop_assert!(!set.contains(id) || *acked >= confirmed.0, "{} of {confirmed}", acked);
                }
            }
        }
    }
}
