//! Queue locks of orderly consumers: which client of a group may consume a queue.
//!
//! State of the shard, in memory only: after a restart clients lock again within 20 s. A lock belongs to a client id, not to a
//! connection, so that a client that reconnects keeps its queues; it lives 60 s from its last renewal.
//! Source: RocketMQ `RebalanceLockManager`, `rocketmq.broker.rebalance.lockMaxLiveTime`.

use std::collections::{BTreeMap, BTreeSet};

use super::due::DueSet;
use crate::limits::{EXPIRIES_PER_TICK, QUEUE_LOCKS_MAX};
use crate::model::{ClientId, GroupName, MonoNs, QueueId, TopicName};

/// How long a lock lives without renewal.
const LOCK_MS: u64 = 60_000;

/// The queue locks of a shard.
#[derive(Debug, Default)]
pub(crate) struct QueueLocks {
    groups: BTreeMap<GroupName, BTreeMap<(TopicName, QueueId), Lock>>,
    /// Groups that have locks of a topic.
    by_topic: BTreeMap<TopicName, BTreeSet<GroupName>>,
    due: DueSet<(GroupName, TopicName, QueueId)>,
    count: usize,
}

#[derive(Debug)]
struct Lock {
    client: ClientId,
    expires: MonoNs,
    /// Under which it is in [`QueueLocks::due`]; renewals do not move it.
    looked_at: MonoNs,
}

impl QueueLocks {
    /// Locks the queue for `client` or renews its lock; takes over an expired one. False if another client holds it, or if there
    /// are too many locks.
    pub(crate) fn lock(
        &mut self,
        now: MonoNs,
        group: &GroupName,
        topic: &TopicName,
        queue: QueueId,
        client: &ClientId,
    ) -> bool {
        let expires = now.plus_ms(LOCK_MS);
        let known = self.groups.get_mut(group.as_str()).and_then(|locks| locks.get_mut(&(topic.clone(), queue)));
        if let Some(lock) = known {
            if lock.client != *client && lock.expires > now {
                return false;
            }
            (lock.client, lock.expires) = (client.clone(), expires);
            return true;
        }
        if self.count >= QUEUE_LOCKS_MAX {
            return false;
        }
        self.count += 1;
        let lock = Lock { client: client.clone(), expires, looked_at: expires };
        self.due.insert(expires, (group.clone(), topic.clone(), queue));
        if !self.by_topic.get(topic.as_str()).is_some_and(|groups| groups.contains(group)) {
            self.by_topic.entry(topic.clone()).or_default().insert(group.clone());
        }
        self.groups.entry(group.clone()).or_default().insert((topic.clone(), queue), lock);
        true
    }

    /// Gives up the lock if `client` holds it.
    pub(crate) fn unlock(&mut self, group: &GroupName, topic: &TopicName, queue: QueueId, client: &ClientId) {
        let Some(locks) = self.groups.get_mut(group.as_str()) else { return };
        let key = (topic.clone(), queue);
        let looked_at = locks.get(&key).filter(|lock| lock.client == *client).map(|lock| lock.looked_at);
        if let Some(looked_at) = looked_at {
            locks.remove(&key);
            self.due.remove(looked_at, (group.clone(), topic.clone(), queue));
            self.count -= 1;
        }
        if locks.is_empty() {
            self.groups.remove(group.as_str());
        }
        self.note_gone(topic, group);
    }

    /// A lock is gone: it may have been the group's last one of the topic.
    fn note_gone(&mut self, topic: &TopicName, group: &GroupName) {
        let locks = self.groups.get(group.as_str());
        let next = locks.and_then(|locks| locks.range((topic.clone(), QueueId(0))..).next());
        if next.is_some_and(|((other, _), _)| other == topic) {
            return;
        }
        if let Some(groups) = self.by_topic.get_mut(topic) {
            groups.remove(group);
            if groups.is_empty() {
                self.by_topic.remove(topic);
            }
        }
    }

    /// Whether the group holds a lock that has not expired: it then consumes in order.
    #[must_use]
    pub(crate) fn is_orderly(&self, now: MonoNs, group: &str) -> bool {
        self.groups.get(group).is_some_and(|locks| locks.values().any(|lock| lock.expires > now))
    }

    /// Forgets locks that have expired, some at a time. Call it at each tick.
    pub(crate) fn expire(&mut self, now: MonoNs) {
        for _ in 0..EXPIRIES_PER_TICK {
            let Some((group, topic, queue)) = self.due.pop(now) else { return };
            let Some(locks) = self.groups.get_mut(group.as_str()) else { continue };
            let key = (topic, queue);
            if let Some(lock) = locks.get_mut(&key).filter(|lock| lock.expires > now) {
                lock.looked_at = lock.expires;
                self.due.insert(lock.expires, (group, key.0, queue));
                continue;
            }
            self.count -= usize::from(locks.remove(&key).is_some());
            if locks.is_empty() {
                self.groups.remove(group.as_str());
            }
            self.note_gone(&key.0, &group);
        }
    }

    /// Forgets the locks of a topic that is deleted.
    pub(crate) fn remove_topic(&mut self, topic: &str) {
        for group in self.by_topic.remove(topic).unwrap_or_default() {
            let Some(locks) = self.groups.get_mut(group.as_str()) else { continue };
            let from = (TopicName::from(topic), QueueId(0));
            let of_topic =
                locks.range(from..).map(|(key, _)| key.clone()).take_while(|(name, _)| name.as_str() == topic);
            let gone: Vec<(TopicName, QueueId)> = of_topic.collect();
            self.count -= gone.len();
            for key in gone {
                let Some(lock) = locks.remove(&key) else { continue };
                self.due.remove(lock.looked_at, (group.clone(), key.0, key.1));
            }
            if locks.is_empty() {
                self.groups.remove(group.as_str());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_belongs_to_one_client_for_sixty_seconds() {
        let (group, topic) = (GroupName::from("g"), TopicName::from("t"));
        let (a, b) = (ClientId::from("a"), ClientId::from("b"));
        let mut locks = QueueLocks::default();
        let at = |ms| MonoNs(0).plus_ms(ms);
        let mut check = |ms, client: &ClientId, expected| {
            assert_eq!(locks.lock(at(ms), &group, &topic, QueueId(0), client), expected, "{client} at {ms}");
        };
        check(0, &a, true);
        check(1_000, &b, false);
        check(20_000, &a, true); // renewed
        check(79_999, &b, false);
        check(80_000, &b, true); // 60 s after the renewal
        check(80_001, &a, false);
        assert!(locks.is_orderly(at(80_001), "g"));
        locks.unlock(&group, &topic, QueueId(0), &a);
        assert!(locks.is_orderly(at(80_001), "g"), "only its holder unlocks");
        locks.unlock(&group, &topic, QueueId(0), &b);
        assert!(!locks.is_orderly(at(80_001), "g"));
        assert_eq!((locks.count, locks.due.len()), (0, 0));
    }

    #[test]
    fn expired_locks_and_deleted_topics_leave_nothing() {
        let mut locks = QueueLocks::default();
        for queue in 0..10 {
            locks.lock(MonoNs(0), &"g".into(), &"t".into(), QueueId(queue), &"c".into());
            locks.lock(MonoNs(0), &"g".into(), &"u".into(), QueueId(queue), &"c".into());
        }
        locks.lock(MonoNs(0), &"h".into(), &"t".into(), QueueId(3), &"c".into());
        locks.remove_topic("t");
        assert_eq!((locks.count, locks.groups.len()), (10, 1));
        locks.expire(MonoNs(0).plus_ms(LOCK_MS));
        assert!(locks.groups.is_empty() && locks.by_topic.is_empty() && locks.count == 0 && locks.due.len() == 0);
    }

    #[test]
    fn locks_that_are_renewed_stay_and_those_that_are_over_go_some_at_a_time() {
        let mut locks = QueueLocks::default();
        let count = u32::try_from(EXPIRIES_PER_TICK).expect("small") + 5;
        for queue in 0..=count {
            locks.lock(MonoNs(0), &"g".into(), &"t".into(), QueueId(queue), &"c".into());
        }
        let at = |ms| MonoNs(0).plus_ms(ms);
        locks.lock(at(LOCK_MS - 1), &"g".into(), &"t".into(), QueueId(0), &"c".into());
        locks.expire(at(LOCK_MS - 1));
        assert_eq!(locks.count, EXPIRIES_PER_TICK + 6);
        locks.expire(at(LOCK_MS));
        assert_eq!((locks.count, locks.due.len()), (7, 7), "as many as a tick looks at, less the one that was renewed");
        locks.expire(at(LOCK_MS + 100));
        assert_eq!((locks.count, locks.due.len()), (1, 1));
        locks.expire(at(2 * LOCK_MS - 2));
        assert!(locks.is_orderly(at(2 * LOCK_MS - 2), "g"));
        locks.expire(at(2 * LOCK_MS - 1));
        assert_eq!((locks.count, locks.due.len(), locks.groups.len()), (0, 0, 0));
    }
}
