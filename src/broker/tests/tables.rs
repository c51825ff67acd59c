//! The tables and their files under random changes, failing appends, snapshots in pieces, and ends of the process at any moment.

use super::*;
use crate::broker::persist::Table;
use crate::broker::snapshot::SnapshotWork;
use crate::broker::topic::plain_config;
use crate::limits::REMOVED_UNWRITTEN_MAX;
use crate::model::{GroupName, QueueId, QueueOffset, TopicName};
use crate::protocol::body::{ConsumerOffsets, GroupTable, SubscriptionGroupConfig, TopicTable};
use crate::sim::{Random, TableFiles};

/// Small tables: names, queues, offsets.
const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

/// What a start reads of the tables as they are now.
fn tables_of(broker: &Broker) -> StoredTables {
    let [topics, groups, offsets, _] = broker.view_tables();
    StoredTables {
        topics: Some(TopicTable::decode(&topics.1).unwrap()),
        groups: Some(GroupTable::decode(&groups.1).unwrap()),
        offsets: Some(ConsumerOffsets::decode(&offsets.1).unwrap()),
        delay_offsets: None,
    }
}

/// One value of each name.
type Values = BTreeMap<String, String>;

fn values(stored: &StoredTables) -> Values {
    let mut values = Values::new();
    let topics = stored.topics.iter().flat_map(|table| &table.topics);
    values.extend(topics.map(|(name, config)| (format!("topic {name}"), format!("{config:?}"))));
    if let Some(table) = &stored.groups {
        let value = |(name, config)| (format!("group {name}"), format!("{config:?} {:?}", table.forbidden.get(name)));
        values.extend(table.groups.iter().map(value));
    }
    if let Some(table) = &stored.offsets {
        for (pair, queues) in &table.offsets {
            for (queue, offset) in queues {
                values.insert(format!("offset {pair:?} {queue}"), offset.to_string());
            }
        }
        // In a snapshot this may be older than the offset: then a commit of the last second is not given back, as if it had been lost.
        let kept = table.kept.iter().flat_map(|(pair, queues)| queues.keys().map(move |queue| (pair, queue)));
        // One whose offset is gone says nothing.
        let has_offset = |(pair, queue): &(_, _)| table.offsets.get(*pair).is_some_and(|of| of.contains_key(*queue));
        let kept = kept.filter(has_offset);
        values.extend(kept.map(|(pair, queue)| (format!("kept {pair:?} {queue}"), String::new())));
    }
    values
}

struct TableWorld {
    world: World,
    files: TableFiles,
    random: Random,
    under_way: Option<Append>,
    /// What the tables were, from what is safe to now; and which of them is safe when the append under way is.
    history: Vec<Values>,
    safe_next: Option<usize>,
    forgets_early: bool,
    snapshots: u64,
    /// Files of changes that were cut when the process had ended: how often a start refused them, and took them all the same.
    cuts: [u64; 2],
}

impl TableWorld {
    fn new(seed: u64, forgets_early: bool) -> TableWorld {
        let world = World::with(settings(), FlushPolicy::Sync, false);
        let mut world = TableWorld {
            world,
            files: TableFiles::default(),
            random: Random::new(seed),
            under_way: None,
            history: Vec::new(),
            safe_next: None,
            forgets_early,
            snapshots: 0,
            cuts: [0; 2],
        };
        world.begin_life();
        world
    }

    fn begin_life(&mut self) {
        let (stored, changes) = self.files.read();
        self.history = vec![values(&stored)];
        let log = Log::create(log_settings(FlushPolicy::Sync), Box::new(HeapTail::new(64 * 1024)));
        let tables = Tables { stored, changes, ..Tables::default() };
        self.world.broker = Broker::new(life(Role::AsyncMaster), settings(), log, tables);
        self.world.out = Output::default();
        (self.under_way, self.safe_next) = (None, None);
    }

    fn name(&mut self) -> &'static str {
        let at = self.random.index(NAMES.len());
        NAMES[at]
    }

    fn change(&mut self) {
        let (name, other, now) = (self.name(), self.name(), self.world.now);
        let queue = QueueId(u32::try_from(self.random.below(3)).unwrap());
        let offset = QueueOffset(self.random.below(1_000));
        let broker = &mut self.world.broker;
        match self.random.below(9) {
            0 | 1 => {
                let _ = broker.topics.put(now.unix, plain_config(name, queue.0 + 1, 6));
                broker.persistence.change(Table::Topics);
            }
            2 => {
                broker.topics.remove(now.unix, name);
                broker.offsets.remove_topic(name);
                broker.persistence.change(Table::Topics);
            }
            3 => {
                let mut config = SubscriptionGroupConfig::new(name);
                config.retry_queues = queue.0;
                broker.groups.put(now, config).ok().unwrap();
                broker.persistence.change(Table::Groups);
            }
            4 => {
                broker.groups.remove(now, name);
                broker.offsets.remove_group(name);
                broker.persistence.change(Table::Groups);
            }
            5 => drop(broker.offsets.commit_on_slave(name, other, queue, offset)),
            6 if self.random.percent(30) => {
                let mut table = broker.offsets.table();
                table.offsets.remove(&(TopicName::from(other), GroupName::from(name)));
                table.kept.clear();
                table.set_back = None;
                broker.offsets.take_part(None, None, &table);
            }
            _ => drop(broker.offsets.commit(name, other, queue, offset)),
        }
        if self.random.percent(30) && broker.offsets.take_dirty() {
            broker.persistence.change(Table::ConsumerOffsets);
        }
        let state = values(&tables_of(broker));
        self.history.push(state);
    }

    fn write(&mut self) {
        let now = self.world.now;
        if self.under_way.is_none() {
            self.world.broker.persistence.retry_failed();
            self.world.broker.write_changes(&mut self.world.out);
            self.take_append();
            return;
        }
        let append = self.under_way.take().unwrap();
        let is_safe = self.safe_next.take();
        let result = if self.random.percent(20) {
            self.files.fail(&append, &mut self.random);
            Err(IoError::NoSpace)
        } else {
            self.files.append(&append);
            if let Some(state) = is_safe {
                self.history.drain(..state);
            }
            Ok(())
        };
        self.world.broker.handle_appended(now, result, &mut self.world.out);
        self.take_append();
    }

    fn take_append(&mut self) {
        for effect in std::mem::take(&mut self.world.out.effects) {
            if let Effect::Append(append) = effect {
                let persistence = &self.world.broker.persistence;
                let has_all = Table::ALL.into_iter().all(|table| !persistence.is_due(table));
                // Offsets that nobody has noted yet are not in it.
                let has_all = has_all && !self.world.broker.offsets.take_dirty();
                self.safe_next = (has_all && append.flush).then(|| self.history.len() - 1);
                if !has_all {
                    self.world.broker.persistence.change(Table::ConsumerOffsets);
                }
                self.under_way = Some(append);
            }
        }
    }

    fn snapshot(&mut self) {
        let now = self.world.now;
        let Some(work) = self.world.broker.poll_snapshot(now) else {
            let later = now.mono.plus_ms(6_000);
            self.world.set_time(later);
            return;
        };
        if self.forgets_early && matches!(work, SnapshotWork::Write { at: 0, table: Table::Topics, .. }) {
            self.files.forget_older();
        }
        let fails = self.random.percent(2);
        if !fails {
            self.files.work(&work);
        }
        self.snapshots += u64::from(matches!(work, SnapshotWork::Forget(_)) && !fails);
        let result = if fails { Err(IoError::NoSpace) } else { Ok(()) };
        self.world.broker.handle_snapshot(now, &work, result);
    }

    /// The process ends; then nothing that was safe is missing, also if somebody cuts the end of a file meanwhile: that is refused, or nothing was lost.
    fn crash(&mut self) {
        let loses_power = self.random.percent(50);
        self.files.end(self.under_way.take().as_ref(), loses_power, &mut self.random);
        self.check(&self.files.read().0);
        if !loses_power {
            let mut cut = self.files.clone();
            if cut.cut(&mut self.random) {
                let taken = cut.try_read();
                self.cuts[usize::from(taken.is_ok())] += 1;
                taken.iter().for_each(|(stored, _)| self.check(stored));
            }
        }
        self.begin_life();
    }

    /// What a start has read is one of the values that each name had since the last safe state.
    fn check(&self, stored: &StoredTables) {
        let found = values(stored);
        let names = found.keys().chain(self.history.iter().flat_map(Values::keys));
        for name in names {
            let is_known = self.history.iter().any(|state| state.get(name) == found.get(name));
            let had: Vec<_> = self.history.iter().map(|state| state.get(name)).collect();
            assert!(is_known, "{name} is {:?}, and was {had:?}", found.get(name));
        }
    }

    fn run(&mut self, steps: u64) {
        for _ in 0..steps {
            match self.random.below(100) {
                0 | 1 => self.crash(),
                2..40 => self.change(),
                40..70 => self.snapshot(),
                _ => self.write(),
            }
        }
        self.crash();
    }
}

#[test]
fn a_start_reads_what_was_written_whatever_ends_the_process() {
    let (mut snapshots, mut refused, mut taken) = (0, 0, 0);
    for seed in 0..60 {
        let mut world = TableWorld::new(seed, false);
        world.run(1_500);
        snapshots += world.snapshots;
        (refused, taken) = (refused + world.cuts[0], taken + world.cuts[1]);
    }
    assert!(snapshots > 500, "{snapshots}");
    assert!(refused > 100 && taken > 10, "{refused} cuts were refused, {taken} taken");
}

#[test]
#[should_panic(expected = "and was")]
fn changes_that_are_forgotten_before_the_tables_have_them_are_missed() {
    for seed in 0..60 {
        TableWorld::new(seed, true).run(1_500);
    }
}

#[test]
fn the_removal_of_a_topic_is_answered_when_it_is_on_the_disk() {
    let mut world = World::with(settings(), FlushPolicy::Async { flush_ms: 3_600_000, flush_bytes: 1 << 20 }, true);
    world.make_topic("T", 1);
    let c = world.connect();
    assert_eq!(world.send(c, "T", 0, "", "x").code, 0);
    assert!(world.broker.log.flushed() < world.broker.log.appended(), "nobody waits for a flush");
    let deleted = world.ask(c, RequestCode::DeleteTopicInBroker, &[("topic", "T")], b"");
    assert!(world.answer(c, deleted).is_none());
    assert!(!world.broker.log.has_flushed_removals());
    world.run();
    let answer = world.answer(c, deleted).expect("the flush was asked for");
    assert_eq!((answer.code, world.broker.log.has_flushed_removals()), (0, true));
    // Whoever asks again is told no sooner.
    world.make_topic("U", 1);
    let first = world.ask(c, RequestCode::DeleteTopicInBroker, &[("topic", "U")], b"");
    let again = world.ask(c, RequestCode::DeleteTopicInBroker, &[("topic", "U")], b"");
    assert!(world.answer(c, first).is_none() && world.answer(c, again).is_none());
    world.run();
    assert!(world.answer(c, first).is_some() && world.answer(c, again).is_some());
}

/// A disk that takes nothing: what waits for it does not grow with the number of commits, and is written when there is room.
#[test]
fn a_full_disk_keeps_the_newest_offset_of_each_queue_waiting() {
    const GROUPS: u64 = 1_000;
    let mut world = TableWorld::new(1, false);
    let mut longest = 0;
    for round in 1..=200_u64 {
        for group in 0..GROUPS {
            assert!(world.world.broker.offsets.commit(&format!("g{group}"), "t", QueueId(0), QueueOffset(round)));
        }
        if world.world.broker.offsets.take_dirty() {
            world.world.broker.persistence.change(Table::ConsumerOffsets);
        }
        let now = world.world.now;
        world.world.broker.persistence.retry_failed();
        world.world.broker.write_changes(&mut world.world.out);
        world.take_append();
        let append = world.under_way.take().expect("there is something to write");
        longest = longest.max(append.bytes.len());
        world.world.broker.handle_appended(now, Err(IoError::NoSpace), &mut world.world.out);
        assert!(longest < 200 * 1_000, "{longest} bytes wait in round {round}");
        assert!(world.world.broker.offsets.unwritten() as u64 <= GROUPS, "round {round}");
    }
    world.world.broker.persistence.retry_failed();
    world.world.broker.write_changes(&mut world.world.out);
    world.take_append();
    while let Some(append) = world.under_way.take() {
        world.files.append(&append);
        let now = world.world.now;
        world.world.broker.handle_appended(now, Ok(()), &mut world.world.out);
        world.take_append();
    }
    let offsets = world.files.read().0.offsets.expect("they are written").offsets;
    assert_eq!(offsets.len() as u64, GROUPS);
    assert!(offsets.values().all(|queues| queues[&QueueId(0)] == QueueOffset(200)), "{offsets:?}");
    assert_eq!(world.world.broker.offsets.unwritten(), 0);
}

#[test]
fn removals_that_cannot_be_written_are_refused_at_the_bound() {
    let mut world = World::new();
    let c = world.connect();
    world.persists = false;
    // What is there may have changed as well, and is written.
    for number in 0..REMOVED_UNWRITTEN_MAX + world.broker.groups.all().len() {
        let (name, now) = (format!("g{number}"), world.now);
        world.broker.groups.put(now, SubscriptionGroupConfig::new(&name)).ok().unwrap();
        assert!(world.broker.check_unwritten().is_ok(), "{number}");
        assert!(world.broker.groups.remove(now, &name));
    }
    let refused = world.call(c, RequestCode::DeleteSubscriptiongroup, &[("groupName", "g")], b"");
    assert_eq!(refused.code, 1);
    assert!(refused.remark.contains("not written yet"));
    world.broker.persistence.change(Table::Groups);
    world.persists = true;
    world.wait_ms(1_000);
    assert_eq!(world.call(c, RequestCode::DeleteSubscriptiongroup, &[("groupName", "g")], b"").code, 0);
}
