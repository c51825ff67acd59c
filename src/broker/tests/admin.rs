//! What tools ask: topics, groups, statistics, connections, the state of the broker.

use super::*;
use crate::protocol::body::DelayOffsets;
use crate::protocol::body::TopicConfig;

fn topic(world: &mut World, code: RequestCode, name: &str) -> Received {
    let connection = world.connect();
    world.call(connection, code, &[("topic", name)], b"")
}

#[test]
fn rocketmq_s_own_topics_are_there_and_told_to_the_control_plane() {
    let mut world = World::new();
    let [ToControl::LifeBegan { .. }, ToControl::TopicsChanged { topics, full: true, .. }, ..] =
        &world.controls.clone()[..]
    else {
        panic!("the first words are not what it is and the whole table");
    };
    let queues = |name: &str| {
        topics.iter().find(|topic| topic.name.as_str() == name).map(|topic| (topic.write_queues, topic.perm))
    };
    assert_eq!(queues("TBW102"), Some((8, 7)));
    assert_eq!(queues("DefaultCluster"), Some((16, 7)));
    assert_eq!(queues("broker-a"), Some((1, 7)));
    assert_eq!(queues("BenchmarkTest"), Some((1024, 6)));
    assert_eq!(queues("SCHEDULE_TOPIC_XXXX"), Some((18, 6)));
    assert_eq!(queues("rmq_sys_SYNC_BROKER_MEMBER_broker-a"), Some((1, 1)));
    let listed = topic(&mut world, RequestCode::GetSystemTopicListFromBroker, "");
    assert!(listed.text().contains("\"DefaultCluster\"") && listed.text().contains("\"TBW102\""));
}

#[test]
fn a_new_topic_answers_202_at_once_while_empty() {
    let mut world = World::new();
    world.make_topic("T", 2);
    let stats = topic(&mut world, RequestCode::GetTopicStatsInfo, "T");
    assert_eq!(
        stats.text(),
        r#"{"offsetTable":{{"brokerName":"broker-a","queueId":0,"topic":"T"}:{"lastUpdateTimestamp":0,"maxOffset":0,"minOffset":0},{"brokerName":"broker-a","queueId":1,"topic":"T"}:{"lastUpdateTimestamp":0,"maxOffset":0,"minOffset":0}},"topicPutTps":0.0}"#
    );
    assert_eq!(topic(&mut world, RequestCode::GetTopicStatsInfo, "Missing").code, 17);
    let c = world.connect();
    world.send(c, "T", 1, "", "x");
    let stats = topic(&mut world, RequestCode::GetTopicStatsInfo, "T");
    assert!(stats.text().contains(r#""lastUpdateTimestamp":1700000000000,"maxOffset":1"#), "{}", stats.text());
}

#[test]
fn topics_are_changed_listed_and_deleted() {
    let mut world = World::new();
    world.make_topic("T", 2);
    world.make_topic("T", 4);
    let config = TopicConfig::decode(&topic(&mut world, RequestCode::GetTopicConfig, "T").body).unwrap();
    assert_eq!(config.write_queues, 4);
    let all = topic(&mut world, RequestCode::GetAllTopicConfig, "");
    assert!(all.number("totalTopicNum") > 10 && all.text().contains("\"T\":"));
    let c = world.connect();
    world.send(c, "T", 0, "", "x");
    world.make_group("g");
    let commit = [("consumerGroup", "g"), ("topic", "T"), ("queueId", "0"), ("commitOffset", "1")];
    world.call(c, RequestCode::UpdateConsumerOffset, &commit, b"");
    let held = world.ask_pull(c, "T", 1, "*", 15_000);
    assert_eq!(topic(&mut world, RequestCode::DeleteTopicInBroker, "T").code, 0);
    assert_eq!(world.answer(c, held).unwrap().code, 17, "who waits for it is told");
    assert!(matches!(world.controls.last(), Some(ToControl::TopicDeleted { .. })));
    assert_eq!(topic(&mut world, RequestCode::GetTopicConfig, "T").code, 17);
    world.make_topic("T", 1);
    assert_eq!(world.pull(c, "T", 0, "*").code, 19, "a topic of the same name begins empty");
    assert_eq!(world.broker.offsets.groups_of("T").count(), 0);
}

#[test]
fn names_of_the_system_are_not_for_tools() {
    let mut world = World::new();
    let c = world.connect();
    let mut check = |name: &str, expected: i32| {
        let ext = [("topic", name), ("readQueueNums", "1"), ("writeQueueNums", "1"), ("perm", "6")];
        assert_eq!(world.call(c, RequestCode::UpdateAndCreateTopic, &ext, b"").code, expected, "{name}");
    };
    check("TBW102", 29);
    check("rmq_sys_mine", 29);
    check("", 29);
    check("bad name", 29);
    check("fine", 0);
    let ext = [("topic", "fine"), ("readQueueNums", "2147483647"), ("writeQueueNums", "1"), ("perm", "6")];
    assert_eq!(world.call(c, RequestCode::UpdateAndCreateTopic, &ext, b"").code, 29);
    assert_eq!(topic(&mut world, RequestCode::DeleteTopicInBroker, "TBW102").code, 29);
}

#[test]
fn a_sibling_s_topic_is_created_here() {
    let mut world = World::new();
    let ticket = crate::letter::CONTROL_TICKET_MIN + 5;
    let event = ToShard::EnsureTopic { ticket, config: TopicConfig::new("S", 4) };
    world.broker.handle_control(world.now, event, &mut world.out);
    world.run();
    assert!(matches!(world.controls.last(), Some(ToControl::TopicsChanged { ticket: told, .. }) if *told == ticket));
    assert_eq!(topic(&mut world, RequestCode::GetTopicConfig, "S").code, 0);
}

#[test]
fn groups_are_changed_listed_and_deleted() {
    let mut world = World::new();
    let c = world.connect();
    let body = br#"{"groupName":"g","retryMaxTimes":3}"#;
    assert_eq!(world.call(c, RequestCode::UpdateAndCreateSubscriptiongroup, &[], body).code, 0);
    let one = world.call(c, RequestCode::GetSubscriptiongroupConfig, &[("group", "g")], b"");
    assert!(one.text().contains(r#""retryMaxTimes":3"#));
    let all = world.call(c, RequestCode::GetAllSubscriptiongroupConfig, &[], b"");
    assert!(all.text().contains("\"g\":") && all.text().contains("TOOLS_CONSUMER"));
    let bad = br#"{"groupName":"bad name"}"#;
    assert_eq!(world.call(c, RequestCode::UpdateAndCreateSubscriptiongroup, &[], bad).code, 29);
    let delete = [("groupName", "g"), ("cleanOffset", "true")];
    assert_eq!(world.call(c, RequestCode::DeleteSubscriptiongroup, &delete, b"").code, 0);
    assert!(world.broker.groups.get("g").is_none());
}

#[test]
fn consume_stats_say_how_far_a_group_is_behind() {
    let mut world = World::new();
    world.make_topic("T", 1);
    let c = world.connect();
    for _ in 0..5 {
        world.send(c, "T", 0, "", "x");
    }
    world.make_group("g");
    let commit = [("consumerGroup", "g"), ("topic", "T"), ("queueId", "0"), ("commitOffset", "3")];
    world.call(c, RequestCode::UpdateConsumerOffset, &commit, b"");
    let stats = world.call(c, RequestCode::GetConsumeStats, &[("consumerGroup", "g")], b"");
    assert_eq!(
        stats.text(),
        r#"{"consumeTps":0.0,"offsetTable":{{"brokerName":"broker-a","queueId":0,"topic":"T"}:{"brokerOffset":5,"consumerOffset":3,"lastTimestamp":1700000000000,"pullOffset":3}}}"#
    );
    let nobody = world.call(c, RequestCode::GetConsumeStats, &[("consumerGroup", "nobody")], b"");
    assert_eq!((nobody.code, nobody.text()), (0, r#"{"consumeTps":0.0,"offsetTable":{}}"#));
}

#[test]
fn who_is_connected_is_answered() {
    let mut world = World::new();
    let c = world.connect();
    let consumers = [("consumerGroup", "g")];
    assert_eq!(world.call(c, RequestCode::GetConsumerConnectionList, &consumers, b"").code, 206);
    let producers = [("producerGroup", "pg")];
    assert_eq!(world.call(c, RequestCode::GetProducerConnectionList, &producers, b"").code, 1);
    world.heartbeat(c, "cid", "g", "T");
    let answer = world.call(c, RequestCode::GetConsumerConnectionList, &consumers, b"");
    assert!(answer.text().contains(r#""clientAddr":"10.0.0.9:"#) && answer.text().contains(r#""clientId":"cid""#));
    let answer = world.call(c, RequestCode::GetProducerConnectionList, &producers, b"");
    assert!(answer.text().contains(r#""clientId":"cid""#));
    let who = world.call(c, RequestCode::QueryTopicConsumeByWho, &[("topic", "T")], b"");
    assert_eq!(who.text(), r#"{"groupList":["g"]}"#);
}

#[test]
fn the_state_of_the_broker_has_every_key_that_tools_read() {
    let mut world = World::new();
    world.make_topic("T", 1);
    let c = world.connect();
    for _ in 0..20 {
        world.wait_ms(1_000);
        world.send(c, "T", 0, "", "x");
    }
    world.wait_ms(1_000);
    world.wait_ms(100);
    let info = world.call(c, RequestCode::GetBrokerRuntimeInfo, &[], b"");
    for wanted in [
        r#""brokerVersion":"479""#,
        r#""brokerVersionDesc":"V5_3_3""#,
        r#""putTps":"1.0 1.0 1.0""#,
        r#""putMessageTimesTotal":"20""#,
        r#""brokerActive":"true""#,
        r#""bootTimestamp":"1700000000000""#,
        r#""commitLogDiskRatio":"0.2500""#,
        r#""earliestMessageTimeStamp":"17000"#,
        r#""commitLogDirCapacity":"Total : "#,
    ] {
        assert!(info.text().contains(wanted), "{wanted} in {}", info.text());
    }
    let config = world.call(c, RequestCode::GetBrokerConfig, &[], b"");
    assert_eq!(config.text(), "brokerName=broker-a\n");
    assert!(config.ext["version"].starts_with("{\"counter\":0"));
}

/// The bodies of the messages of `T` with a key, newest first.
fn check_key(world: &mut World, c: ConnectionId, (key, unique): (&str, &str), expected: &[&str]) {
    let ext = [
        ("topic", "T"),
        ("key", key),
        ("maxNum", "32"),
        ("beginTimestamp", "0"),
        ("endTimestamp", "9223372036854775807"),
        ("_UNIQUE_KEY_QUERY", unique),
    ];
    let answer = world.call(c, RequestCode::QueryMessage, &ext, b"");
    assert_eq!(answer.code, if expected.is_empty() { 22 } else { 0 }, "{key}: {}", answer.remark);
    let found: Vec<String> = answer.records().into_iter().map(|record| record.body).collect();
    assert_eq!(found, expected, "{key}: newest first");
}

#[test]
fn messages_are_found_by_key() {
    let mut world = World::new();
    world.make_topic("T", 1);
    let c = world.connect();
    for n in 0..3 {
        world.send(c, "T", 0, &format!("UNIQ_KEY\u{1}U{n}\u{2}KEYS\u{1}all k{n}\u{2}"), &n.to_string());
    }
    let mut check = |key: &str, unique: &str, expected: &[&str]| check_key(&mut world, c, (key, unique), expected);
    check("all", "false", &["2", "1", "0"]);
    check("k1", "false", &["1"]);
    check("U2", "true", &["2"]);
    check("none", "false", &[]);
}

/// Each run of the index is read for itself, and may be anywhere on the disk: a search among millions of keys was told to ask for less.
#[test]
fn a_key_is_found_however_many_there_are() {
    let mut world = World::new();
    world.make_topic("T", 1);
    let c = world.connect();
    for n in 0..20_000 {
        world.send(c, "T", 0, &format!("KEYS\u{1}k{n}\u{2}"), &n.to_string());
    }
    let rounds = world.broker.view_counters().cold_count;
    for (key, expected) in [("k0", &["0"][..]), ("k9999", &["9999"]), ("none", &[])] {
        check_key(&mut world, c, (key, "false"), expected);
    }
    let rounds = world.broker.view_counters().cold_count - rounds;
    assert!((65..4_000).contains(&rounds), "{rounds} blocks were waited for");
}

#[test]
fn tables_survive_a_restart() {
    let mut world = World::new();
    world.make_topic("T", 3);
    let c = world.connect();
    world.heartbeat(c, "cid", "g", "T");
    for _ in 0..3 {
        world.send(c, "T", 0, "", "x");
    }
    let commit = [("consumerGroup", "g"), ("topic", "T"), ("queueId", "0"), ("commitOffset", "3")];
    world.call(c, RequestCode::UpdateConsumerOffset, &commit, b"");
    let [topics, groups, offsets, delay_offsets] = world.broker.view_tables();
    let stored = StoredTables {
        topics: Some(crate::protocol::body::TopicTable::decode(&topics.1).unwrap()),
        groups: Some(crate::protocol::body::GroupTable::decode(&groups.1).unwrap()),
        offsets: Some(crate::protocol::body::ConsumerOffsets::decode(&offsets.1).unwrap()),
        delay_offsets: Some(DelayOffsets::decode(&delay_offsets.1).unwrap()),
    };
    let tables = Tables { stored, ..Tables::default() };
    let log = Log::create(log_settings(FlushPolicy::Sync), Box::new(HeapTail::new(64 * 1024)));
    let again = Broker::new(life(Role::AsyncMaster), settings(), log, tables);
    assert_eq!(again.topics.get("T").unwrap().config.write_queues, 3);
    assert!(again.groups.get("g").is_some());
    assert_eq!(again.offsets.get("g", "T", crate::model::QueueId(0)), Some(crate::model::QueueOffset(3)));
}

#[test]
fn a_change_that_is_not_on_the_disk_in_time_is_not_answered_as_done() {
    let mut world = World::new();
    let c = world.connect();
    world.persists = false;
    let topic = topic_ext("T", "1");
    let made = world.ask(c, RequestCode::UpdateAndCreateTopic, &topic, b"");
    let group = world.ask(
        c,
        RequestCode::UpdateAndCreateSubscriptiongroup,
        &[],
        br#"{"groupName":"g","consumeEnable":true,"retryQueueNums":1,"retryMaxTimes":16}"#,
    );
    let sent = world.ask_send(c, "auto", 0, "", "x");
    let beat = heartbeat_body("c@1", "h", "auto", "CLUSTERING", 1);
    let beat = world.ask(c, RequestCode::HeartBeat, &[], beat.as_bytes());
    world.run();
    assert!([made, group, sent, beat].iter().all(|opaque| world.answer(c, *opaque).is_none()), "all of them wait");
    world.advance(3_000);
    for opaque in [made, group] {
        let answer = world.answer(c, opaque).expect("answered before its client gives up");
        assert!(answer.code == 1 && answer.remark.contains("is not on the disk"), "{answer:?}");
    }
    let sent = world.answer(c, sent).expect("likewise");
    assert_eq!(sent.code, 0, "the log has it, and tells its topic to the next start: {sent:?}");
    assert_eq!(world.answer(c, beat).map(|answer| answer.code), Some(0), "its topic is made again by the next one");
    // What only name servers do not know yet is on the disk.
    (world.persists, world.registers) = (true, false);
    world.advance(1_000);
    let made = world.ask(c, RequestCode::UpdateAndCreateTopic, &topic, b"");
    world.advance(3_000);
    assert_eq!(world.answer(c, made).map(|answer| answer.code), Some(0));
}

/// They say where the broker goes on with transactions and with what was popped.
#[test]
fn the_brokers_own_offsets_are_not_removed_with_a_group() {
    let mut world = World::new();
    let c = world.connect();
    for group in ["CID_RMQ_SYS_TRANS", "CID_RMQ_SYS_REVIVE_GROUP"] {
        let ext = [("groupName", group), ("cleanOffset", "true")];
        let answer = world.call(c, RequestCode::DeleteSubscriptiongroup, &ext, b"");
        assert_eq!(answer.code, 16, "{group}");
    }
}
