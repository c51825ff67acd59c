//! A slave beside its log: what it refuses, its master's tables, the commits that it keeps, where it sends readers.

use super::*;
use crate::letter::{KeptOffsets, Metadata, OffsetCommit};
use crate::model::{GroupName, LogId, QueueId, QueueOffset, TopicName};
use crate::protocol::body::{ConsumerOffsets, TopicConfig, TopicTable};

fn slave() -> World {
    World::living(life(Role::Slave), settings(), FlushPolicy::Sync, false)
}

impl World {
    pub(super) fn tell(&mut self, letter: ToShard) {
        self.broker.handle_control(self.now, letter, &mut self.out);
        self.run();
    }

    pub(super) fn tell_offsets(&mut self, offsets: &[(u32, u64)]) {
        let queues = offsets.iter().map(|(queue, offset)| (QueueId(*queue), QueueOffset(*offset))).collect();
        let offsets = [((TopicName::from("T"), GroupName::from("g")), queues)].into();
        let offsets = Some(ConsumerOffsets { offsets, ..ConsumerOffsets::default() });
        self.tell(ToShard::Metadata(Box::new(Metadata { offsets, ..Metadata::default() })));
    }

    pub(super) fn tell_topics(&mut self, names: &[&str], counter: i64) {
        let topics = names.iter().map(|name| (TopicName::from(*name), TopicConfig::new(name, 4))).collect();
        let version = crate::protocol::body::DataVersion { counter, ..Default::default() };
        let topics = Some(TopicTable { version, topics });
        self.tell(ToShard::Metadata(Box::new(Metadata { topics, ..Metadata::default() })));
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
        .any(|letter| matches!(letter, ToControl::TopicsChanged { full: true, topics, .. } if topics.len() == 1));
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

#[test]
fn a_table_that_the_asker_has_is_not_told_again() {
    let mut world = World::new();
    world.make_topic("T", 4);
    let c = world.connect();
    let tables =
        [RequestCode::GetAllTopicConfig, RequestCode::GetAllConsumerOffset, RequestCode::GetAllSubscriptiongroupConfig];
    let mut versions = Vec::new();
    for code in tables {
        let first = world.call(c, code, &[("unlessVersion", "")], b"");
        assert!(!first.body.is_empty(), "{code:?}");
        let version = first.ext["tableVersion"].clone();
        assert!(world.call(c, code, &[("unlessVersion", &version)], b"").body.is_empty(), "{code:?}");
        versions.push(version);
    }
    // A heartbeat makes the group, too.
    world.make_topic("U", 1);
    world.commit_at("0", "1");
    for (code, version) in tables.into_iter().zip(versions) {
        assert!(!world.call(c, code, &[("unlessVersion", &version)], b"").body.is_empty(), "{code:?}");
    }
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
