//! What is put and got, by topic and by topic and group: sums over the last minute, hour and day.
//!
//! State of the shard, in memory only. A queue leads to its topic's tallies by a number, so counting a message looks up no name; and what is
//! put is summed by queue until the turn ends, so that tallies are touched once a queue and turn ([`Statistics::settle`]). Tallies are bounded by
//! [`STATS_MAX`]: one more takes the place of the one that has rested longest. Tallies are ordered by their last span of ten seconds, and only the
//! first message of a span moves one. Source of names and keys: RocketMQ `BrokerStatsManager`.

use slab::Slab;

use crate::limits::{STATS_IDLE_MS, STATS_MAX};
use crate::log::QueueIndex;
use crate::metrics::{Amount, Period, Tally};
use crate::model::{FastMap, GroupName, MonoNs, TopicName};
use crate::protocol::body::{BrokerStats, StatsItem};
use crate::protocol::message::is_system_topic;

/// The tallies of a shard.
#[derive(Debug)]
pub(super) struct Statistics {
    topics: Slab<TopicTallies>,
    by_name: FastMap<TopicName, usize>,
    /// By the queue's number.
    by_queue: Vec<QueuePuts>,
    /// Queues to which something was put in this turn.
    unsettled: Vec<QueueIndex>,
    entries: Slab<Counted>,
    /// Ends of the list of entries, from the one that has rested longest to the one that was used last.
    oldest: Option<usize>,
    newest: Option<usize>,
    topics_made: u64,
    /// All of the broker: what is the system's own, and what is not. Each message is counted in one of them.
    system_puts: Tally,
    user_puts: Tally,
    system_gets: Tally,
    user_gets: Tally,
}

/// What was put into a queue in this turn.
#[derive(Clone, Copy, Debug, Default)]
struct QueuePuts {
    /// The queue's topic, as far as it was looked up, and whether that is the system's own.
    topic: Option<TopicId>,
    is_system: bool,
    put: Amount,
}

/// A place in `topics`, and which of those that were there one after the other.
#[derive(Clone, Copy, Debug)]
struct TopicId {
    slot: usize,
    serial: u64,
}

/// The tallies of one topic; it has at least one.
#[derive(Debug)]
struct TopicTallies {
    name: TopicName,
    serial: u64,
    is_system: bool,
    /// Its entry of what is put.
    puts: Option<usize>,
    /// By group, its entries of what is got.
    readers: FastMap<GroupName, usize>,
}

#[derive(Debug)]
struct Counted {
    topic: usize,
    /// `None`: of what is put.
    group: Option<GroupName>,
    tally: Tally,
    /// What the group has sent back.
    sent_back: Option<Box<Tally>>,
    /// When it became the newest of the list.
    used: MonoNs,
    older: Option<usize>,
    newer: Option<usize>,
}

impl Statistics {
    /// Nothing is counted yet.
    pub(super) fn new(now: MonoNs) -> Statistics {
        Statistics {
            topics: Slab::new(),
            by_name: FastMap::default(),
            by_queue: Vec::new(),
            unsettled: Vec::new(),
            entries: Slab::new(),
            oldest: None,
            newest: None,
            topics_made: 0,
            system_puts: Tally::new(now),
            user_puts: Tally::new(now),
            system_gets: Tally::new(now),
            user_gets: Tally::new(now),
        }
    }

    /// Messages were appended to a queue of `topic`. Whether it is a user's, not the system's own.
    #[inline]
    pub(super) fn note_put(&mut self, now: MonoNs, queue: QueueIndex, topic: &str, amount: Amount) -> bool {
        let Some(is_system) = self.topic_of(queue).filter(|topic| topic.puts.is_some()).map(|topic| topic.is_system)
        else {
            return self.note_first_put(now, queue, topic, amount);
        };
        let counted = &mut self.by_queue[queue.number()].put;
        if counted.calls == 0 {
            self.unsettled.push(queue);
        }
        counted.add(amount);
        !is_system
    }

    #[cold]
    fn note_first_put(&mut self, now: MonoNs, queue: QueueIndex, topic: &str, amount: Amount) -> bool {
        let is_system = is_system_topic(topic);
        let entry = self.open(now, Some(queue), topic, None);
        self.add_put(now, is_system, entry, amount);
        !is_system
    }

    fn add_put(&mut self, now: MonoNs, is_system: bool, entry: Option<usize>, amount: Amount) {
        let all = if is_system { &mut self.system_puts } else { &mut self.user_puts };
        all.add(now, amount);
        if let Some(entry) = entry {
            self.add(now, entry, amount);
        }
    }

    /// Takes over what was put in this turn: at its end, and before somebody looks.
    pub(super) fn settle(&mut self, now: MonoNs) {
        while let Some(queue) = self.unsettled.pop() {
            let counted = &mut self.by_queue[queue.number()];
            let (is_system, amount) = (counted.is_system, std::mem::take(&mut counted.put));
            let entry = self.topic_of(queue).and_then(|topic| topic.puts);
            self.add_put(now, is_system, entry, amount);
        }
    }

    /// Messages of a queue of `topic` were put into an answer to `group`. Whether it is a user's, not the system's own.
    pub(super) fn note_got(
        &mut self,
        now: MonoNs,
        queue: QueueIndex,
        topic: &TopicName,
        group: &GroupName,
        amount: Amount,
    ) -> bool {
        let known = self.topic_of(queue);
        let known = known.map(|known| (known.is_system, known.readers.get(group.as_str()).copied()));
        let (is_system, entry) = known.unwrap_or_else(|| (is_system_topic(topic.as_str()), None));
        let all = if is_system { &mut self.system_gets } else { &mut self.user_gets };
        all.add(now, amount);
        if let Some(entry) = entry.or_else(|| self.open(now, Some(queue), topic.as_str(), Some(group.as_str()))) {
            self.add(now, entry, amount);
        }
        !is_system
    }

    /// A group has sent back a message of `topic`.
    pub(super) fn note_sent_back(&mut self, now: MonoNs, topic: &str, group: &str, bytes: u64) {
        let known = self.reader(topic, group);
        let Some(entry) = known.or_else(|| self.open(now, None, topic, Some(group))) else { return };
        let amount = Amount { messages: 1, bytes, calls: 1 };
        if self.entries[entry].sent_back.get_or_insert_with(|| Box::new(Tally::new(now))).add(now, amount) {
            self.use_now(now, entry);
        }
    }

    /// The topic is gone.
    pub(super) fn forget_topic(&mut self, now: MonoNs, topic: &str) {
        self.settle(now);
        let Some(&slot) = self.by_name.get(topic) else { return };
        let tallies = &self.topics[slot];
        // Each is taken out by itself, so the order is of no account.
        let entries: Vec<usize> = tallies.puts.into_iter().chain(tallies.readers.values().copied()).collect();
        entries.into_iter().for_each(|entry| self.remove(entry));
    }

    /// The group is gone; `topic` is one that it has read.
    pub(super) fn forget_reader(&mut self, topic: &str, group: &str) {
        if let Some(entry) = self.reader(topic, group) {
            self.remove(entry);
        }
    }

    /// Messages a second that were put into `topic` within the last minute.
    pub(super) fn put_rate(&self, now: MonoNs, topic: &str) -> f64 {
        let entry = self.by_name.get(topic).and_then(|slot| self.topics[*slot].puts);
        entry.map_or(0.0, |entry| minute_rate(&self.entries[entry].tally, now))
    }

    /// Messages a second of `topic` that `group` has got within the last minute.
    pub(super) fn get_rate(&self, now: MonoNs, topic: &str, group: &str) -> f64 {
        self.reader(topic, group).map_or(0.0, |entry| minute_rate(&self.entries[entry].tally, now))
    }

    /// A counter by RocketMQ's name and key; those of the whole broker have its cluster for a key. `None` if there is no such counter, or if
    /// nothing was counted yet.
    pub(super) fn view(&self, now: MonoNs, cluster: &str, name: &str, key: &str) -> Option<BrokerStats> {
        let of_topic = || self.by_name.get(key).and_then(|slot| self.topics[*slot].puts);
        let of_group = || key.split_once('@').and_then(|(topic, group)| self.reader(topic, group));
        let of_broker = |tally| Some(tally).filter(|_| key == cluster);
        let system = match name {
            "BROKER_PUT_NUMS" => Some(&self.system_puts),
            "BROKER_GET_NUMS" => Some(&self.system_gets),
            _ => None,
        };
        let tally = match name {
            "TOPIC_PUT_NUMS" | "TOPIC_PUT_SIZE" => of_topic().map(|entry| &self.entries[entry].tally),
            "GROUP_GET_NUMS" | "GROUP_GET_SIZE" => of_group().map(|entry| &self.entries[entry].tally),
            "SNDBCK_PUT_NUMS" => of_group().and_then(|entry| self.entries[entry].sent_back.as_deref()),
            "BROKER_PUT_NUMS" | "BROKER_PUT_NUMS_WITHOUT_SYSTEM_TOPIC" => of_broker(&self.user_puts),
            "BROKER_GET_NUMS" | "BROKER_GET_NUMS_WITHOUT_SYSTEM_TOPIC" => of_broker(&self.user_gets),
            _ => None,
        }?;
        let pick = |amount: &Amount| if name.ends_with("_SIZE") { amount.bytes } else { amount.messages };
        let item = |period| {
            let mut measured = tally.over(now, period);
            if let Some(system) = system {
                measured.sum.add(system.over(now, period).sum);
            }
            #[expect(clippy::cast_precision_loss, reason = "an average is for reading: 53 bits are enough")]
            let average = pick(&measured.sum) as f64 / measured.sum.calls.max(1) as f64;
            let sum = i64::try_from(pick(&measured.sum)).unwrap_or(i64::MAX);
            StatsItem { sum, tps: measured.per_second(pick), average }
        };
        Some(BrokerStats { minute: item(Period::Minute), hour: item(Period::Hour), day: item(Period::Day) })
    }

    fn reader(&self, topic: &str, group: &str) -> Option<usize> {
        self.by_name.get(topic).and_then(|slot| self.topics[*slot].readers.get(group)).copied()
    }

    #[inline]
    fn topic_of(&self, queue: QueueIndex) -> Option<&TopicTallies> {
        let id = self.by_queue.get(queue.number())?.topic?;
        self.topics.get(id.slot).filter(|topic| topic.serial == id.serial)
    }

    #[inline]
    fn add(&mut self, now: MonoNs, entry: usize, amount: Amount) {
        if self.entries[entry].tally.add(now, amount) {
            self.use_now(now, entry);
        }
    }

    /// The entry of a topic, or of a group that reads it: found by name, or made if there is room. Remembers the queue's topic.
    #[cold]
    fn open(&mut self, now: MonoNs, queue: Option<QueueIndex>, topic: &str, group: Option<&str>) -> Option<usize> {
        let known = self.by_name.get(topic).and_then(|slot| {
            let tallies = &self.topics[*slot];
            group.map_or(tallies.puts, |group| tallies.readers.get(group).copied())
        });
        if known.is_none() && self.entries.len() >= STATS_MAX {
            // What was used in this turn is not the oldest.
            self.settle(now);
            let oldest = self.oldest?;
            if now.ms_since(self.entries[oldest].used) < STATS_IDLE_MS {
                return None;
            }
            self.remove(oldest);
        }
        let slot = self.by_name.get(topic).copied().unwrap_or_else(|| self.add_topic(topic));
        if let Some(queue) = queue {
            let number = queue.number();
            if number >= self.by_queue.len() {
                self.by_queue.resize(number + 1, QueuePuts::default());
            }
            let TopicTallies { serial, is_system, .. } = self.topics[slot];
            let put = self.by_queue[number].put;
            self.by_queue[number] = QueuePuts { topic: Some(TopicId { slot, serial }), is_system, put };
        }
        Some(known.unwrap_or_else(|| self.add_entry(now, slot, group)))
    }

    fn add_topic(&mut self, topic: &str) -> usize {
        self.topics_made += 1;
        let name = TopicName::from(topic);
        let slot = self.topics.insert(TopicTallies {
            name: name.clone(),
            serial: self.topics_made,
            is_system: is_system_topic(topic),
            puts: None,
            readers: FastMap::default(),
        });
        self.by_name.insert(name, slot);
        slot
    }

    fn add_entry(&mut self, now: MonoNs, topic: usize, group: Option<&str>) -> usize {
        let group = group.map(GroupName::from);
        let (tally, older) = (Tally::new(now), self.newest);
        let entry = self.entries.insert(Counted {
            topic,
            group: group.clone(),
            tally,
            sent_back: None,
            used: now,
            older,
            newer: None,
        });
        match older {
            Some(older) => self.entries[older].newer = Some(entry),
            None => self.oldest = Some(entry),
        }
        self.newest = Some(entry);
        let tallies = &mut self.topics[topic];
        match group {
            Some(group) => {
                tallies.readers.insert(group, entry);
            }
            None => tallies.puts = Some(entry),
        }
        entry
    }

    /// Puts an entry at the end of the list.
    #[cold]
    fn use_now(&mut self, now: MonoNs, entry: usize) {
        self.entries[entry].used = now;
        if self.newest == Some(entry) {
            return;
        }
        self.unlink(entry);
        let older = self.newest.replace(entry);
        (self.entries[entry].older, self.entries[entry].newer) = (older, None);
        match older {
            Some(older) => self.entries[older].newer = Some(entry),
            None => self.oldest = Some(entry),
        }
    }

    fn unlink(&mut self, entry: usize) {
        let Counted { older, newer, .. } = self.entries[entry];
        match older {
            Some(older) => self.entries[older].newer = newer,
            None => self.oldest = newer,
        }
        match newer {
            Some(newer) => self.entries[newer].older = older,
            None => self.newest = older,
        }
    }

    fn remove(&mut self, entry: usize) {
        self.unlink(entry);
        let Counted { topic, group, .. } = self.entries.remove(entry);
        let tallies = &mut self.topics[topic];
        match group {
            Some(group) => {
                tallies.readers.remove(&group);
            }
            None => tallies.puts = None,
        }
        if tallies.puts.is_none() && tallies.readers.is_empty() {
            self.by_name.remove(&tallies.name);
            self.topics.remove(topic);
        }
    }
}

fn minute_rate(tally: &Tally, now: MonoNs) -> f64 {
    tally.over(now, Period::Minute).per_second(|amount| amount.messages)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{HeapTail, Log, LogSettings};
    use crate::model::QueueId;

    fn at(seconds: u64) -> MonoNs {
        MonoNs(seconds * 1_000_000_000)
    }

    fn one(bytes: u64) -> Amount {
        Amount { messages: 1, bytes, calls: 1 }
    }

    /// Handles of queues as a log gives them.
    fn log() -> Log {
        Log::create(LogSettings::default(), Box::new(HeapTail::new(1 << 20)))
    }

    fn sum(statistics: &mut Statistics, now: MonoNs, name: &str, key: &str) -> Option<i64> {
        statistics.settle(now);
        statistics.view(now, "C", name, key).map(|stats| stats.minute.sum)
    }

    #[test]
    fn counters_have_rocketmq_s_names_and_keys() {
        let (mut log, mut statistics) = (log(), Statistics::new(at(0)));
        let (topic, group) = (TopicName::from("T"), GroupName::from("G"));
        let queues = [0, 1].map(|id| log.queue("T", QueueId(id)));
        for queue in queues {
            statistics.note_put(at(5), queue, "T", Amount { messages: 3, bytes: 900, calls: 1 });
        }
        statistics.note_got(at(6), queues[1], &topic, &group, Amount { messages: 2, bytes: 500, calls: 1 });
        statistics.note_sent_back(at(7), "T", "G", 250);
        let system = log.queue("SCHEDULE_TOPIC_XXXX", QueueId(0));
        statistics.note_put(at(7), system, "SCHEDULE_TOPIC_XXXX", one(100));
        for (name, key, expected) in [
            ("TOPIC_PUT_NUMS", "T", Some(6)),
            ("TOPIC_PUT_SIZE", "T", Some(1_800)),
            ("GROUP_GET_NUMS", "T@G", Some(2)),
            ("GROUP_GET_SIZE", "T@G", Some(500)),
            ("SNDBCK_PUT_NUMS", "T@G", Some(1)),
            ("BROKER_PUT_NUMS", "C", Some(7)),
            ("BROKER_PUT_NUMS_WITHOUT_SYSTEM_TOPIC", "C", Some(6)),
            ("BROKER_GET_NUMS", "C", Some(2)),
            ("BROKER_PUT_NUMS", "", None),
            ("TOPIC_PUT_NUMS", "T@G", None),
            ("GROUP_GET_NUMS", "T", None),
            ("GROUP_GET_NUMS", "T@H", None),
            ("SNDBCK_PUT_NUMS", "T@H", None),
            ("NO_SUCH_NUMS", "T", None),
        ] {
            assert_eq!(sum(&mut statistics, at(9), name, key), expected, "{name} {key}");
        }
        let stats = statistics.view(at(10), "C", "TOPIC_PUT_NUMS", "T").expect("it was counted");
        assert!((stats.minute.average - 3.0).abs() < 1e-9 && (stats.minute.tps - 0.6).abs() < 1e-9, "{stats:?}");
        assert!((statistics.put_rate(at(10), "T") - 0.6).abs() < 1e-9);
        assert!((statistics.get_rate(at(10), "T", "G") - 0.2).abs() < 1e-9);
        assert!(statistics.put_rate(at(10), "U").abs() < 1e-9);
    }

    #[test]
    fn what_is_deleted_is_forgotten_and_counted_anew() {
        let (mut log, mut statistics) = (log(), Statistics::new(at(0)));
        let (topic, group) = (TopicName::from("T"), GroupName::from("G"));
        let queue = log.queue("T", QueueId(0));
        let count = |statistics: &mut Statistics| {
            statistics.note_put(at(1), queue, "T", one(1));
            statistics.note_got(at(1), queue, &topic, &group, one(1));
        };
        count(&mut statistics);
        statistics.forget_reader("T", "G");
        assert_eq!(sum(&mut statistics, at(2), "GROUP_GET_NUMS", "T@G"), None);
        assert_eq!(sum(&mut statistics, at(2), "TOPIC_PUT_NUMS", "T"), Some(1));
        count(&mut statistics);
        statistics.forget_topic(at(1), "T");
        assert!(statistics.entries.is_empty() && statistics.topics.is_empty() && statistics.by_name.is_empty());
        // The queue's number leads nowhere now, and another topic may have the place.
        statistics.note_put(at(2), log.queue("U", QueueId(0)), "U", one(1));
        count(&mut statistics);
        assert_eq!(sum(&mut statistics, at(2), "TOPIC_PUT_NUMS", "T"), Some(1));
        assert_eq!(sum(&mut statistics, at(2), "TOPIC_PUT_NUMS", "U"), Some(1));
    }

    #[test]
    fn one_too_many_takes_the_place_of_the_one_that_rested_longest() {
        let (mut log, mut statistics) = (log(), Statistics::new(at(0)));
        let names: Vec<String> = (0..=STATS_MAX).map(|number| format!("T{number}")).collect();
        let mut put = |statistics: &mut Statistics, second: u64, number: usize| {
            let name = &names[number];
            statistics.note_put(at(second), log.queue(name, QueueId(0)), name, one(1));
            statistics.settle(at(second));
        };
        for number in 0..STATS_MAX {
            put(&mut statistics, 1, number);
        }
        put(&mut statistics, 100, 0);
        put(&mut statistics, 300, STATS_MAX);
        assert_eq!(statistics.entries.len(), STATS_MAX, "all others were used a moment ago");
        assert_eq!(sum(&mut statistics, at(300), "TOPIC_PUT_NUMS", &names[STATS_MAX]), None);
        let later = STATS_IDLE_MS / 1_000 + 10;
        put(&mut statistics, later, STATS_MAX);
        assert_eq!(sum(&mut statistics, at(later), "TOPIC_PUT_NUMS", &names[STATS_MAX]), Some(1));
        assert_eq!(statistics.entries.len(), STATS_MAX);
        assert!(statistics.by_name.contains_key("T0"), "it was used later than T1");
        assert!(!statistics.by_name.contains_key("T1"));
        let all = statistics.view(at(later), "C", "BROKER_PUT_NUMS", "C").expect("the sums miss nothing");
        assert_eq!(all.day.sum, i64::try_from(STATS_MAX + 3).expect("it fits"));
    }
}
