//! At a bound: no success for what was not kept, and nothing kept of what was refused.

use super::*;
use crate::limits::{CHANGES_UNDER_WAY_MAX, OFFSETS_MAX, TOPICS_MAX};
use crate::model::{QueueId, QueueOffset};

#[test]
fn no_commit_is_lost_to_a_full_table_without_a_word() {
    let mut world = World::new();
    world.make_topic("T", 1);
    let c = world.connect();
    for group in ["G", "H"] {
        world.heartbeat(c, "c@1", group, "T");
    }
    for _ in 0..8 {
        world.send(c, "T", 0, "", "x");
    }
    world.broker.commit("G", "T", QueueId(0), QueueOffset(0)).expect("there is room");
    for n in 1..u32::try_from(OFFSETS_MAX).unwrap() {
        assert!(world.broker.offsets.commit("FULL", "OTHER", QueueId(n), QueueOffset(1)));
    }
    let commit = |world: &mut World, group: &str| {
        let ext = [("consumerGroup", group), ("topic", "T"), ("queueId", "0"), ("commitOffset", "7")];
        world.call(c, RequestCode::UpdateConsumerOffset, &ext, &[]).code
    };
    let pull = |world: &mut World, group: &str| {
        let ext = [
            ("consumerGroup", group),
            ("topic", "T"),
            ("queueId", "0"),
            ("queueOffset", "0"),
            ("maxMsgNums", "1"),
            // Commits, and brings its subscription.
            ("sysFlag", "5"),
            ("commitOffset", "8"),
            ("suspendTimeoutMillis", "0"),
            ("subscription", "*"),
            ("subVersion", "0"),
        ];
        world.call(c, RequestCode::PullMessage, &ext, &[]).code
    };
    assert_eq!((commit(&mut world, "H"), pull(&mut world, "H")), (1, 1), "there is no room for another");
    assert_eq!((commit(&mut world, "G"), pull(&mut world, "G")), (0, 0), "what is there may move");
    assert_eq!(world.broker.offsets.get("G", "T", QueueId(0)), Some(QueueOffset(8)));
}

#[test]
fn of_several_topics_all_are_made_or_none() {
    let mut world = World::new();
    let room = TOPICS_MAX - world.broker.topics.len();
    for n in 0..room - 1 {
        let config = crate::protocol::body::TopicConfig::new(&format!("T{n}"), 1);
        world.broker.topics.put(UnixMs(0), config).expect("there is room");
    }
    let c = world.connect();
    let topic = |name: &str| {
        format!(
            r#"{{"topicName":"{name}","readQueueNums":1,"writeQueueNums":1,"perm":6,"topicFilterType":"SINGLE_TAG","topicSysFlag":0,"order":false}}"#
        )
    };
    let make = |world: &mut World, names: &[&str]| {
        let topics: Vec<String> = names.iter().map(|name| topic(name)).collect();
        let body = format!(r#"{{"topicConfigList":[{}]}}"#, topics.join(","));
        world.call(c, RequestCode::UpdateAndCreateTopicList, &[], body.as_bytes()).code
    };
    assert_eq!(make(&mut world, &["A", "B"]), 1);
    assert!(world.broker.topics.get("A").is_none() && world.broker.topics.get("B").is_none());
    assert_eq!(make(&mut world, &["A"]), 0);
}

/// Who wants no answer waits for none, and each change is looked at until it is on the disk and registered.
#[test]
fn so_many_changes_are_under_way_and_no_more_whether_they_are_answered_or_not() {
    let mut world = World::new();
    let c = world.connect();
    (world.persists, world.registers) = (false, false);
    for n in 0..CHANGES_UNDER_WAY_MAX {
        let name = format!("T{n}");
        world.ask_raw(c, RequestCode::UpdateAndCreateTopic.number(), true, &topic_ext(&name, "1"), b"");
    }
    world.run();
    assert_eq!(world.broker.topics.get("T1023").map(|topic| topic.config.write_queues), Some(1));
    let group = br#"{"groupName":"g"}"#;
    assert_eq!(world.call(c, RequestCode::UpdateAndCreateTopic, &topic_ext("more", "1"), b"").code, 2);
    assert_eq!(world.call(c, RequestCode::UpdateAndCreateSubscriptiongroup, &[], group).code, 2);
    assert_eq!(world.call(c, RequestCode::DeleteTopicInBroker, &[("topic", "T0")], b"").code, 2);
    assert_eq!(world.send(c, "made-by-a-send", 0, "", "x").code, 2);
    assert!(world.broker.topics.get("more").is_none() && world.broker.topics.get("T0").is_some());
    (world.persists, world.registers) = (true, true);
    world.advance(3_000);
    assert_eq!(world.call(c, RequestCode::UpdateAndCreateTopic, &topic_ext("more", "1"), b"").code, 0);
    assert_eq!(world.call(c, RequestCode::UpdateAndCreateSubscriptiongroup, &[], group).code, 0);
}
