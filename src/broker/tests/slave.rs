//! A slave beside its log: what it refuses, its master's tables, the commits that it keeps, where it sends readers.

use super::delay::levels;
use super::*;
use crate::broker::persist::Table;
use crate::broker::topic::plain_config;
use crate::letter::{KeptOffsets, MasterTables, OffsetCommit, TableFollower, parts_of_offsets, parts_of_topics};
use crate::model::{GroupName, LogId, QueueId, QueueOffset, TopicName};
use crate::protocol::body::{
    ConsumerOffsets, DelayOffsets, GroupTable, OffsetTable, SubscriptionGroupConfig, TableChange, TopicConfig,
    TopicTable,
};

/// Of a slave and its master, at both ends.
const LINK: LinkId = LinkId(1);

fn slave() -> World {
    World::living(life(Role::Slave), settings(), FlushPolicy::Sync, false)
}

impl World {
    pub(super) fn tell(&mut self, letter: ToShard) {
        self.broker.handle_control(self.now, letter, &mut self.out);
        self.run();
    }

    pub(super) fn tell_parts(&mut self, parts: Vec<MasterTables>) {
        for part in parts {
            self.tell(ToShard::MasterTables(Box::new(part)));
        }
    }

    /// Takes what has changed at its master since it was asked last. How long the answers were.
    fn follow_tables(&mut self, master: &mut World, c: ConnectionId, follower: &mut TableFollower) -> Vec<usize> {
        let mut bytes = Vec::new();
        loop {
            let request = follower.request();
            let ext: Vec<(&str, &str)> = request.iter().map(|(field, value)| (*field, value.as_str())).collect();
            let answer = master.call(c, RequestCode::TableChanges, &ext, b"");
            assert_eq!(answer.code, 0, "{}", answer.remark);
            bytes.push(answer.body.len());
            let field = |name: &str| answer.ext.get(name).map(String::as_str);
            let followed = follower.answered(field, &answer.body).expect("it can be read");
            self.tell_parts(followed.letters);
            if !followed.goes_on {
                return bytes;
            }
        }
    }

    /// Connects this slave to its master, and lets bytes go both ways until neither has more to say.
    fn replicate(&mut self, master: &mut World) {
        let address = SocketAddr::from(([10, 0, 0, 1], 10912));
        self.tell(ToShard::MasterFound { ha_address: Some(address), address: None });
        self.advance(1_000);
        assert_eq!(self.connects, [address]);
        master.broker.handle_link_up(master.now, LINK, SocketAddr::from(([10, 0, 0, 2], 4_000)), &mut master.out);
        self.broker.handle_link_up(self.now, LINK, address, &mut self.out);
        while self.hear_from(master) | master.hear_from(self) {}
    }

    /// Takes what the other end has to say now on the one connection between them. Whether there was something.
    fn hear_from(&mut self, other: &mut World) -> bool {
        let mut said = BytesMut::new();
        // What it needs of its disk for this is read after the first try.
        for _ in 0..2 {
            if said.is_empty() {
                other.broker.fill_link(other.now, LINK, &mut said, &mut other.out);
                other.run();
            }
        }
        self.broker.handle_link_bytes(self.now, LINK, &said, &mut self.out);
        self.run();
        !said.is_empty()
    }

    pub(super) fn tell_offsets(&mut self, offsets: &[(u32, u64)]) {
        let queues = offsets.iter().map(|(queue, offset)| (QueueId(*queue), QueueOffset(*offset))).collect();
        let offsets = [((TopicName::from("T"), GroupName::from("g")), queues)].into();
        self.tell_parts(parts_of_offsets(ConsumerOffsets { offsets, ..ConsumerOffsets::default() }));
    }

    pub(super) fn tell_topics(&mut self, names: &[&str], counter: i64) {
        let topics = names.iter().map(|name| (TopicName::from(*name), TopicConfig::new(name, 4))).collect();
        let version = crate::protocol::body::DataVersion { counter, ..Default::default() };
        self.tell_parts(parts_of_topics(TopicTable { version, topics }));
    }

    pub(super) fn commit_at(&mut self, queue: &str, offset: &str) {
        let c = self.connect();
        self.heartbeat(c, "c@1", "g", "T");
        let ext = [("consumerGroup", "g"), ("topic", "T"), ("queueId", queue), ("commitOffset", offset)];
        assert_eq!(self.call(c, RequestCode::UpdateConsumerOffset, &ext, b"").code, 0);
    }

    fn given_back(&mut self) -> Vec<OffsetCommit> {
        let letters = std::mem::take(&mut self.controls).into_iter();
        letters
            .filter_map(|letter| if let ToControl::GiveBack { commits, .. } = letter { Some(commits) } else { None })
            .flatten()
            .collect()
    }
}

#[test]
fn what_only_a_master_may_do_is_refused_as_apache_does() {
    let mut world = slave();
    world.tell_topics(&["T"], 7);
    let c = world.connect();
    let opaque = world.ask_send(c, "T", 0, "", "x");
    world.run();
    let answer = world.answer(c, opaque).expect("refused at once");
    assert_eq!(
        (answer.code, answer.remark.as_str()),
        (2, "[REJECTREQUEST]system busy, start flow control for a while")
    );
    let back = [("offset", "0"), ("group", "g"), ("delayLevel", "0")];
    assert_eq!(world.call(c, RequestCode::ConsumerSendMsgBack, &back, b"").code, 2);
    let topic = topic_ext("U", "1");
    assert_eq!(world.call(c, RequestCode::UpdateAndCreateTopic, &topic, b"").code, 1);
    // Its groups are its master's: a slave that deleted one would be without it until the master's table changes again.
    assert_eq!(world.call(c, RequestCode::DeleteSubscriptiongroup, &[("groupName", "g")], b"").code, 1);
    // Here a topic goes when it has gone from the master: it is there that tools delete.
    assert_eq!(world.call(c, RequestCode::DeleteTopicInBroker, &[("topic", "T")], b"").code, 1);
    assert!(world.broker.topics.get("T").is_some());
}

#[test]
fn topics_are_the_masters() {
    let mut world = slave();
    world.tell_topics(&["T", "U"], 7);
    world.controls.clear();
    world.tell_topics(&["T", "U"], 7);
    assert!(world.controls.is_empty(), "nothing has changed");
    world.tell_topics(&["T"], 8);
    assert!(world.broker.topics.get("U").is_none() && world.broker.topics.get("T").is_some());
    assert_eq!(world.broker.topics.version.counter, 8);
    let told = world
        .controls
        .iter()
        .any(|letter| matches!(letter, ToControl::TopicDeleted { topic, version, .. } if topic == "U" && version.counter == 8));
    assert!(told, "name servers hear of it");
}

#[test]
fn commits_while_the_master_is_away_are_kept_and_given_back() {
    let mut world = slave();
    world.tell_topics(&["T"], 7);
    world.tell_offsets(&[(0, 10), (1, 10)]);
    world.commit_at("0", "20");
    assert_eq!(world.given_back(), []);
    // The master is there again and did not ask.
    world.tell_offsets(&[(0, 10), (1, 12)]);
    let commits = world.given_back();
    assert_eq!(commits.iter().map(|commit| (commit.queue.0, commit.offset.0)).collect::<Vec<_>>(), [(0, 20)]);
    world.tell(ToShard::GivenBack { commits });
    world.tell_offsets(&[(0, 5), (1, 12)]);
    assert_eq!(world.given_back(), [], "set back by an operator");
    assert_eq!(world.broker.offsets.get("g", "T", QueueId(0)), Some(QueueOffset(5)));
}

#[test]
fn a_master_asks_for_what_was_kept_and_takes_it() {
    let mut world = slave();
    world.tell_topics(&["T"], 7);
    world.tell_offsets(&[(0, 10), (1, 10)]);
    world.commit_at("0", "20");
    let c = world.connect();
    let kept = world.call(c, RequestCode::GetAllConsumerOffset, &[("keptOnly", "true")], b"");
    let kept = ConsumerOffsets::decode(&kept.body).expect("a table");
    let all = world.call(c, RequestCode::GetAllConsumerOffset, &[], b"");
    assert_eq!(
        ConsumerOffsets::decode(&all.body).expect("a table").offsets.values().next().map(|queues| queues.len()),
        Some(2)
    );

    let mut master = World::new();
    master.make_topic("T", 4);
    let c = master.connect();
    for _ in 0..19 {
        master.send(c, "T", 0, "", "x");
        master.send(c, "T", 1, "", "x");
    }
    master.commit_at("0", "10");
    master.commit_at("1", "10");
    let told = |log: Option<u128>, offsets: &ConsumerOffsets| {
        ToShard::TakeOffsets(Box::new(KeptOffsets { log: log.map(LogId), offsets: offsets.clone() }))
    };
    // What is a replica of another log has counted other messages.
    master.tell(told(Some(u128::MAX), &kept));
    assert_eq!(master.broker.offsets.get("g", "T", QueueId(0)), Some(QueueOffset(10)));
    let own = master.broker.view_replicas().log;
    master.tell(told(Some(own.0), &kept));
    // It has lost the last one: whoever went on from 20 would miss what takes its place.
    assert_eq!(master.broker.offsets.get("g", "T", QueueId(0)), Some(QueueOffset(19)));
    assert_eq!(master.broker.offsets.get("g", "T", QueueId(1)), Some(QueueOffset(10)));

    // A group that came to be at the replica comes to be here; what Java's replica tells may be of a group that was deleted.
    for (table, expected) in [(kept.clone(), true), (ConsumerOffsets { kept: Default::default(), ..kept }, false)] {
        let mut master = World::new();
        master.make_topic("T", 4);
        master.tell(told(None, &table));
        assert_eq!(master.broker.groups.get("g").is_some(), expected);
        assert_eq!(master.broker.offsets.get("g", "T", QueueId(0)).is_some(), expected);
    }
}

fn tables(world: &World) -> (TopicTable, GroupTable, OffsetTable) {
    let broker = &world.broker;
    (broker.topic_table(), broker.groups.table().clone(), broker.offsets.table().offsets)
}

#[test]
fn a_slave_takes_large_tables_in_parts_and_then_what_has_changed() {
    let (mut master, mut slave) = (World::new(), slave());
    for number in 0..1_500 {
        let name = format!("t{number}");
        assert!(master.broker.topics.put(master.now.unix, plain_config(&name, 4, 6)).is_ok());
        assert!(master.broker.groups.put(master.now, SubscriptionGroupConfig::new(&name)).is_ok());
        master.broker.offsets.commit(&name, &name, QueueId(0), QueueOffset(0));
    }
    for table in [Table::Topics, Table::Groups, Table::ConsumerOffsets] {
        master.broker.persistence.change(table);
    }
    master.advance(3_000);
    slave.tell_topics(&["gone"], 7);
    let (c, mut follower) = (master.connect(), TableFollower::default());
    let told = slave.follow_tables(&mut master, c, &mut follower);
    assert_eq!(tables(&slave), tables(&master));
    assert!(told.len() > 9 && told.iter().all(|bytes| *bytes < 512 * 512), "{told:?}");
    // From now on it costs what has changed.
    master.make_topic("U", 1);
    assert!(master.broker.offsets.commit("t1", "U", QueueId(0), QueueOffset(9)));
    assert_eq!(master.call(c, RequestCode::DeleteTopicInBroker, &[("topic", "t7")], b"").code, 0);
    master.advance(3_000);
    let told = slave.follow_tables(&mut master, c, &mut follower);
    assert_eq!(tables(&slave), tables(&master));
    assert!(slave.broker.topics.get("U").is_some() && slave.broker.topics.get("t7").is_none());
    assert!(told.iter().sum::<usize>() < 16_384, "{told:?}");
    assert_eq!(slave.follow_tables(&mut master, c, &mut follower), [0], "nothing has changed");
}

#[test]
fn a_slave_that_was_away_for_too_many_changes_is_told_all_again() {
    let (mut master, mut slave) = (World::new(), slave());
    let (c, mut follower) = (master.connect(), TableFollower::default());
    slave.follow_tables(&mut master, c, &mut follower);
    let long = "x".repeat(12_000);
    for number in 0..400 {
        let mut config = plain_config(&format!("t{number}"), 1, 6);
        config.attributes.insert("+a".to_owned(), long.clone());
        assert!(master.broker.topics.put(master.now.unix, config).is_ok());
        master.broker.persistence.change(Table::Topics);
        master.advance(100);
    }
    let told = slave.follow_tables(&mut master, c, &mut follower);
    assert!(told.len() >= 5, "{told:?}");
    assert_eq!(tables(&slave), tables(&master));
}

#[test]
fn only_a_master_tells_what_has_changed() {
    let mut world = slave();
    let c = world.connect();
    assert_eq!(world.call(c, RequestCode::TableChanges, &[], b"").code, 11);
    let mut master = World::new();
    let c = master.connect();
    assert_ne!(master.call(c, RequestCode::TableChanges, &[("behind", "nowhere")], b"").code, 0);
}

#[test]
fn what_was_committed_at_a_slave_is_given_back_as_long_as_the_master_lacks_it() {
    let (mut master, mut slave) = (World::new(), slave());
    master.make_topic("T", 4);
    let (c, mut follower) = (master.connect(), TableFollower::default());
    slave.follow_tables(&mut master, c, &mut follower);
    slave.commit_at("0", "20");
    assert_eq!(slave.given_back(), []);
    for _ in 0..21 {
        slave.follow_tables(&mut master, c, &mut follower);
    }
    let commits = slave.given_back();
    assert_eq!(commits.iter().map(|commit| (commit.queue.0, commit.offset.0)).collect::<Vec<_>>(), [(0, 20)]);
    slave.tell(ToShard::GivenBack { commits });
    for _ in 0..41 {
        slave.follow_tables(&mut master, c, &mut follower);
    }
    assert_eq!(slave.given_back(), [], "the master has it");
}

#[test]
fn a_whole_table_is_put_together_over_several_turns() {
    let mut world = World::new();
    for number in 0..3_000 {
        assert!(world.broker.topics.put(world.now.unix, plain_config(&format!("t{number}"), 4, 6)).is_ok());
    }
    let c = world.connect();
    let answer = world.call(c, RequestCode::GetAllTopicConfig, &[], b"");
    assert_eq!(TopicTable::decode(&answer.body), Ok(world.broker.topic_table()));
    assert_eq!(answer.number("totalTopicNum"), world.broker.topics.len() as i64);
    let gone = world.connect();
    world.ask(gone, RequestCode::GetAllTopicConfig, &[], b"");
    assert!(world.broker.whole_tables.is_waiting(), "not in one turn");
    assert_eq!(world.broker.poll_timeout(), Some(MonoNs(0)));
}

#[test]
fn a_slave_without_a_master_serves_and_corrects_nobody() {
    let mut world = slave();
    world.tell_topics(&["T"], 7);
    let c = world.connect();
    for (from, expected) in [(0, 0), (9, 9)] {
        let answer = world.pull(c, "T", from, "*");
        let fields = (answer.code, answer.number("suggestWhichBrokerId"), answer.number("nextBeginOffset"));
        assert_eq!(fields, (19, 1, expected), "from {from}");
    }
}

/// The master has it, or alone knows that nobody has: a slave that waited for it would hold its readers up for ever.
#[test]
fn a_reader_of_what_is_damaged_at_a_slave_is_sent_to_the_master_that_it_follows() {
    let mut master = World::new();
    master.make_topic("T", 1);
    let c = master.connect();
    for n in 0..300 {
        master.send(c, "T", 0, "", &format!("{n:0>1000}"));
    }
    let mut slave = slave();
    slave.tell_topics(&["T"], 7);
    slave.replicate(&mut master);
    assert_eq!(slave.end(), master.end());
    slave.damage(&format!("{:0>1000}", 1));
    let c = slave.connect();
    let mut pull = || {
        let answer = slave.pull(c, "T", 1, "*");
        let field = |name| answer.ext.get(name).cloned();
        (answer.code, field("suggestWhichBrokerId"), field("nextBeginOffset"))
    };
    let is_at_the_master = (20, Some("0".to_owned()), Some("1".to_owned()));
    assert_eq!([pull(), pull()], [is_at_the_master.clone(), is_at_the_master], "and not moved");
    slave.broker.handle_link_down(slave.now, LINK, &mut slave.out);
    slave.run();
    let alone = slave.pull(c, "T", 1, "*");
    assert_eq!((alone.code, alone.ext.get("nextBeginOffset")), (1, None), "{alone:?}");
}

/// What a slave has flushed and nobody has confirmed may be cut off when another is the master, and with it the copies that positions speak of.
#[test]
fn delay_positions_are_sure_at_a_slave_when_its_log_is_confirmed_that_far() {
    let replica = ReplicaSettings { in_sync_replicas: 2, ..ReplicaSettings::default() };
    let settings = BrokerSettings { replica, ..settings() };
    let mut master = World::living(life(Role::SyncMaster), settings, FlushPolicy::Sync, false);
    let mut slave = slave();
    slave.replicate(&mut master);
    master.make_topic("T", 1);
    let c = master.connect();
    master.ask_send(c, "T", 0, "", "x");
    master.run();
    while slave.hear_from(&mut master) {}
    let end = slave.end();
    assert!(end > LogOffset(0) && slave.broker.log.flushed() == end && slave.broker.log.confirm() < end);
    let told = DelayOffsets { offsets: levels(&[(1, 1)]), log_offset: end, ..DelayOffsets::default() };
    let tell = |slave: &mut World| {
        slave.tell(ToShard::MasterTables(Box::new(MasterTables::Changes(vec![TableChange::DelayOffsets(
            told.clone(),
        )]))));
        slave.delay_file().safe
    };
    assert_eq!([tell(&mut slave), tell(&mut slave)], [levels(&[]), levels(&[])], "it is flushed, and not confirmed");
    while slave.hear_from(&mut master) | master.hear_from(&mut slave) {}
    // With its next heartbeat the master says what is confirmed.
    master.advance(5_000);
    while slave.hear_from(&mut master) | master.hear_from(&mut slave) {}
    assert_eq!((slave.broker.log.confirm(), tell(&mut slave)), (end, levels(&[(1, 1)])));
}

/// Retention has taken the front of a block of the slave's index; its master may go by other hours.
#[test]
fn a_slave_moves_nobody_past_what_its_master_may_still_have() {
    let mut world = World::new();
    world.make_topic("T", 1);
    let c = world.connect();
    let body = "x".repeat(2_500);
    for _ in 0..900 {
        assert_eq!(world.send(c, "T", 0, "", &body).code, 0);
    }
    world.wait_ms(73 * 3_600_000);
    assert_eq!(world.ask_tool(RequestCode::DeleteExpiredCommitlog, &[]).code, 0);
    for _ in 0..50 {
        world.wait_ms(1_000);
    }
    let queue = world.broker.log.find_queue("T", QueueId(0)).expect("it has messages");
    let gone = world.broker.log.bounds(queue).min.0;
    world.live_again(life(Role::Slave), Default::default());
    world.tell_topics(&["T"], 7);
    let c = world.connect();
    let answer = world.pull(c, "T", gone as i64, "*");
    assert_eq!((answer.code, answer.number("nextBeginOffset")), (19, gone as i64));
    let first = world.broker.log.first(queue).expect("it was read");
    assert!(gone < first.0, "{first} is the first");
    assert_eq!(world.pull(c, "T", first.0 as i64, "*").code, 0);
}

#[test]
fn of_topics_that_its_master_did_not_tell_a_slave_adopts_those_with_messages() {
    let mut world = World::new();
    let c = world.connect();
    for topic in ["T", "U"] {
        world.make_topic(topic, 1);
        assert_eq!(world.send(c, topic, 0, "", "x").code, 0);
    }
    assert_eq!(world.call(c, RequestCode::DeleteTopicInBroker, &[("topic", "T")], b"").code, 0);
    world.live_again(life(Role::Slave), Default::default());
    world.tell_topics(&[], 7);
    assert!(world.broker.topics.get("U").is_none());
    world.advance(5_000);
    assert!(world.broker.topics.get("U").is_some(), "it lives in the log alone");
    assert!(world.broker.topics.get("T").is_none(), "it was removed");
}
