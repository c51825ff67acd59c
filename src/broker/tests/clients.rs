//! Clients: heartbeats, memberships and notices, offsets, locks, messages sent back.

use super::*;
use crate::limits::NOTICES_PER_TICK;
use crate::protocol::message::MessageId;

fn list(world: &mut World, connection: ConnectionId, group: &str) -> Received {
    world.call(connection, RequestCode::GetConsumerListByGroup, &[("consumerGroup", group)], b"")
}

#[test]
fn the_consumer_list_holds_the_caller_and_is_an_error_when_empty() {
    let mut world = World::new();
    let c = world.connect();
    assert_eq!(list(&mut world, c, "g").code, 1);
    let answer = world.heartbeat(c, "cid@1", "g", "T");
    assert_eq!((answer.code, answer.ext["IS_SUPPORT_HEART_BEAT_V2"].as_str()), (0, "true"));
    assert_eq!(list(&mut world, c, "g").text(), r#"{"consumerIdList":["cid@1"]}"#);
    let ext = [("clientID", "cid@1"), ("consumerGroup", "g")];
    assert_eq!(world.call(c, RequestCode::UnregisterClient, &ext, b"").code, 0);
    assert_eq!(list(&mut world, c, "g").code, 1);
}

#[test]
fn a_client_that_comes_back_survives_the_end_of_its_old_connection() {
    let mut world = World::new();
    let (old, new) = (world.connect(), world.connect());
    world.heartbeat(old, "cid", "g", "T");
    world.heartbeat(new, "cid", "g", "T");
    assert_eq!(list(&mut world, new, "g").text(), r#"{"consumerIdList":["cid"]}"#, "once, though on two connections");
    world.disconnect(old);
    assert_eq!(list(&mut world, new, "g").text(), r#"{"consumerIdList":["cid"]}"#);
}

#[test]
fn members_are_told_of_real_changes_only() {
    let mut world = World::new();
    let (a, b) = (world.connect(), world.connect());
    world.heartbeat(a, "a", "g", "T");
    assert_eq!(world.notices(a), 1);
    world.heartbeat(a, "a", "g", "T");
    assert_eq!(world.notices(a), 0, "nothing changed");
    world.heartbeat(b, "b", "g", "T");
    assert_eq!((world.notices(a), world.notices(b)), (1, 1));
    world.disconnect(b);
    assert_eq!(world.notices(a), 1);
    // The group subscribes to another topic.
    world.heartbeat(a, "a", "g", "U");
    assert_eq!(world.notices(a), 1);
}

/// A crowd that joins one by one would be told of itself as often as it has members.
#[test]
fn a_crowd_is_told_of_its_changes_in_turns_and_of_the_last_one_for_sure() {
    let mut world = World::new();
    let members: Vec<ConnectionId> = (0..2 * NOTICES_PER_TICK).map(|_| world.connect()).collect();
    let beat = |world: &mut World, number: usize, topic: &str| {
        world.heartbeat(members[number], &number.to_string(), "crowd", topic)
    };
    for number in 0..members.len() {
        beat(&mut world, number, "T");
    }
    let told: usize = members.iter().map(|member| world.notices(*member)).sum();
    assert!(told <= NOTICES_PER_TICK, "{told} in no time");
    // Another group has its turn beside it.
    let (a, b) = (world.connect(), world.connect());
    world.heartbeat(a, "a", "small", "T");
    world.heartbeat(b, "b", "small", "T");
    world.wait_ms(100);
    assert_eq!((world.notices(a).min(1), world.notices(b).min(1)), (1, 1));
    // In the middle of a turn the last one comes.
    beat(&mut world, 0, "U");
    for member in &members {
        world.notices(*member);
    }
    let mut told = vec![0; members.len()];
    for _ in 0..8 {
        world.wait_ms(100);
        let now: Vec<usize> = members.iter().map(|member| world.notices(*member)).collect();
        assert!(now.iter().sum::<usize>() <= NOTICES_PER_TICK);
        told.iter_mut().zip(now).for_each(|(all, now)| *all += now);
    }
    assert!(told.iter().all(|count| (1..=2).contains(count)), "{told:?}");
}

#[test]
fn broadcast_groups_are_told_nothing() {
    let mut world = World::new();
    let (a, b) = (world.connect(), world.connect());
    for (connection, client) in [(a, "a"), (b, "b")] {
        let body = heartbeat_body(client, "g", "T", "BROADCASTING", 1);
        world.call(connection, RequestCode::HeartBeat, &[], body.as_bytes());
    }
    world.disconnect(b);
    assert_eq!(world.notices(a), 0);
}

#[test]
fn a_new_group_s_heartbeat_waits_for_its_retry_topic() {
    let mut world = World::new();
    let c = world.connect();
    world.registers = false;
    let body = heartbeat_body("cid", "g", "T", "CLUSTERING", 1);
    let opaque = world.ask(c, RequestCode::HeartBeat, &[], body.as_bytes());
    world.run();
    assert!(world.answer(c, opaque).is_none());
    let Some(ToControl::TopicsChanged { ticket, topics, spread, .. }) = world.controls.last().cloned() else {
        panic!("the control plane was not told");
    };
    assert_eq!((topics[0].name.as_str(), topics[0].write_queues, spread), ("%RETRY%g", 1, false));
    world.broker.handle_control(world.now, ToShard::Registered { ticket }, &mut world.out);
    world.run();
    assert_eq!(world.answer(c, opaque).unwrap().code, 0);
    assert_eq!(world.heartbeat(c, "cid", "g", "T").code, 0, "the next one waits for nothing");
}

#[test]
fn heartbeats_without_subscriptions_keep_those_that_are_known() {
    let mut world = World::new();
    world.make_topic("T", 1);
    let c = world.connect();
    let full = heartbeat_body("cid", "g", "T", "CLUSTERING", 1)
        .replace("\"producerDataSet\"", "\"heartbeatFingerprint\":77,\"withoutSub\":false,\"producerDataSet\"");
    let short = full.replace("\"withoutSub\":false", "\"withoutSub\":true");
    let start = short.find("\"subscriptionDataSet\":[").unwrap() + "\"subscriptionDataSet\":[".len();
    let end = short[start..].find("}]").unwrap() + start + 1;
    let short = format!("{}{}", &short[..start], &short[end..]);
    let change = |world: &mut World, body: &str| {
        world.call(c, RequestCode::HeartBeat, &[], body.as_bytes()).ext["IS_SUB_CHANGE"].clone()
    };
    assert_eq!(change(&mut world, &short), "true", "nothing is known, as after a restart");
    assert_eq!(change(&mut world, &full), "false");
    assert_eq!(change(&mut world, &short), "false");
    assert!(world.broker.clients.consumer_group("g").unwrap().subscription("T").is_some());
    assert_eq!(change(&mut world, &short.replace("77", "78")), "true");
}

#[test]
fn members_without_heartbeats_are_forgotten_after_two_minutes() {
    let mut world = World::new();
    let (a, b) = (world.connect(), world.connect());
    world.heartbeat(a, "a", "g", "T");
    world.heartbeat(b, "b", "g", "T");
    world.wait_ms(100_000);
    world.heartbeat(b, "b", "g", "T");
    world.notices(b);
    world.wait_ms(20_001);
    assert_eq!(list(&mut world, b, "g").text(), r#"{"consumerIdList":["b"]}"#);
    assert_eq!(world.notices(b), 1);
}

#[test]
fn offsets_are_found_as_committed() {
    let mut world = World::new();
    world.make_topic("T", 2);
    let c = world.connect();
    let at = [("consumerGroup", "g"), ("topic", "T"), ("queueId", "1")];
    let mut strict = at.to_vec();
    strict.push(("setZeroIfNotFound", "false"));
    assert_eq!(world.call(c, RequestCode::QueryConsumerOffset, &strict, b"").code, 22);
    let young = world.call(c, RequestCode::QueryConsumerOffset, &at, b"");
    world.make_group("g");
    assert_eq!((young.code, young.number("offset")), (0, 0), "a young topic is read from its beginning");
    for _ in 0..12 {
        world.send(c, "T", 1, "", "x");
    }
    for offset in ["12", "3"] {
        let mut commit = at.to_vec();
        commit.push(("commitOffset", offset));
        assert_eq!(world.call(c, RequestCode::UpdateConsumerOffset, &commit, b"").code, 0);
        let stored = world.call(c, RequestCode::QueryConsumerOffset, &strict, b"");
        assert_eq!(stored.ext["offset"], offset);
    }
    let mut check = |topic: &str, queue: &str, offset: &str, expected: i32| {
        let ext = [("consumerGroup", "g"), ("topic", topic), ("queueId", queue), ("commitOffset", offset)];
        assert_eq!(world.call(c, RequestCode::UpdateConsumerOffset, &ext, b"").code, expected, "{topic} {queue}");
    };
    check("Missing", "0", "1", 17);
    check("T", "2", "1", 29);
    check("T", "0", "-1", 0);
    check("T", "0", "-5", 29);
    check("T", "0", "x", 29);
}

#[test]
fn an_old_topic_says_apply_your_own_beginning() {
    let mut world = World::new();
    world.make_topic("T", 1);
    let c = world.connect();
    for n in 0..300 {
        world.send(c, "T", 0, "", &format!("{n:0>1000}"));
    }
    let at = [("consumerGroup", "g"), ("topic", "T"), ("queueId", "0")];
    assert_eq!(world.call(c, RequestCode::QueryConsumerOffset, &at, b"").code, 22);
}

#[test]
fn offsets_are_written_once_a_second_while_they_change() {
    let mut world = World::new();
    world.make_topic("T", 1);
    let c = world.connect();
    world.make_group("g");
    world.send(c, "T", 0, "", "x");
    world.wait_ms(1_000);
    world.persists = false;
    let ext = [("consumerGroup", "g"), ("topic", "T"), ("queueId", "0"), ("commitOffset", "1")];
    world.call(c, RequestCode::UpdateConsumerOffset, &ext, b"");
    world.wait_ms(999);
    assert_eq!(world.unwritten, None);
    world.wait_ms(1);
    let append = world.unwritten.expect("it is time");
    let line = String::from_utf8(append.bytes.to_vec()).expect("text");
    assert!(append.flush && line.contains(r#""offsetTable":{"T@g":{0:1}}"#), "{line}");
}

#[test]
fn ends_of_queues_are_answered() {
    let mut world = World::new();
    world.make_topic("T", 2);
    let c = world.connect();
    for _ in 0..3 {
        world.send(c, "T", 0, "", "x");
        world.wait_ms(1_000);
    }
    let mut check = |code: RequestCode, topic: &str, queue: &str, field: &str, expected: Result<i64, i32>| {
        let answer = world.call(c, code, &[("topic", topic), ("queueId", queue)], b"");
        let found = if answer.code == 0 { Ok(answer.number(field)) } else { Err(answer.code) };
        assert_eq!(found, expected, "{code:?} {topic} {queue}");
    };
    check(RequestCode::GetMaxOffset, "T", "0", "offset", Ok(3));
    check(RequestCode::GetMinOffset, "T", "0", "offset", Ok(0));
    check(RequestCode::GetMaxOffset, "T", "1", "offset", Ok(0));
    check(RequestCode::GetMaxOffset, "T", "2", "offset", Ok(0));
    check(RequestCode::GetMaxOffset, "Missing", "0", "offset", Ok(0));
    check(RequestCode::GetEarliestMsgStoretime, "T", "0", "timestamp", Ok(1_700_000_000_000));
    check(RequestCode::GetEarliestMsgStoretime, "T", "1", "timestamp", Ok(-1));
    check(RequestCode::GetMinOffset, "T", "x", "offset", Err(29));
    let mut search = |time: &str, side: &str, expected: i64| {
        let ext = [("topic", "T"), ("queueId", "0"), ("timestamp", time), ("boundaryType", side)];
        let answer = world.call(c, RequestCode::SearchOffsetByTimestamp, &ext, b"");
        assert_eq!(answer.number("offset"), expected, "{time} {side}");
    };
    search("0", "LOWER", 0);
    search("1700000000001", "lower", 1);
    search("1700000001000", "LOWER", 1);
    search("1700000001500", "UPPER", 1);
    search("1800000000000", "LOWER", 3);
}

#[test]
fn queues_are_locked_for_one_client() {
    let mut world = World::new();
    world.make_topic("T", 2);
    let c = world.connect();
    let body = |client: &str, queue: u32| {
        format!(
            r#"{{"clientId":"{client}","consumerGroup":"g","mqSet":[{{"brokerName":"broker-a","queueId":{queue},"topic":"T"}}]}}"#
        )
    };
    let mut check = |client: &str, queue: u32, locked: bool| {
        let answer = world.call(c, RequestCode::LockBatchMq, &[], body(client, queue).as_bytes());
        assert_eq!(answer.text().contains(r#""topic":"T""#), locked, "{client} {queue} {}", answer.text());
    };
    check("a", 0, true);
    check("b", 0, false);
    check("b", 1, true);
    check("a", 2, false); // no such queue
    world.call(c, RequestCode::UnlockBatchMq, &[], body("a", 0).as_bytes());
    let answer = world.call(c, RequestCode::LockBatchMq, &[], body("b", 0).as_bytes());
    assert!(answer.text().contains(r#""queueId":0"#));
}

#[test]
fn a_message_that_is_sent_back_is_tried_again_and_at_last_given_up() {
    let mut world = World::new();
    world.make_topic("T", 1);
    let c = world.connect();
    world.heartbeat(c, "cid", "g", "T");
    world.send(c, "T", 0, "UNIQ_KEY\u{1}U\u{2}TAGS\u{1}A\u{2}mine\u{1}1", "x");
    let original = world.pull(c, "T", 0, "*").records()[0].clone();
    let send_back = |world: &mut World, offset: u64, level: &str| {
        let offset = offset.to_string();
        let ext = [("offset", offset.as_str()), ("group", "g"), ("delayLevel", level), ("maxReconsumeTimes", "2")];
        let code = world.call(c, RequestCode::ConsumerSendMsgBack, &ext, b"").code;
        // The clocks of the levels: 10 s, 5 s, and what is given up is not delayed.
        for _ in 0..11 {
            world.wait_ms(1_000);
            world.wait_ms(0);
        }
        code
    };
    assert_eq!(send_back(&mut world, original.log_offset, "0"), 0);
    let retried = world.pull(c, "%RETRY%g", 0, "*").records()[0].clone();
    assert_eq!((retried.reconsume_times, retried.body.as_str()), (1, "x"));
    let origin = MessageId { store_host: settings().address, log_offset: LogOffset(original.log_offset) }.encode();
    let has = |record: &Record, expected: &[(&str, &str)]| {
        for (name, value) in expected {
            assert_eq!(record.properties.get(*name).map(String::as_str), Some(*value), "{name} of {record:?}");
        }
    };
    let always = [
        ("RETRY_TOPIC", "T"),
        ("UNIQ_KEY", "U"),
        ("mine", "1"),
        ("TAGS", "A"),
        ("WAIT", "false"),
        ("ORIGIN_MESSAGE_ID", origin.as_str()),
        ("REAL_TOPIC", "%RETRY%g"),
        ("REAL_QID", "0"),
    ];
    has(&retried, &always);
    has(&retried, &[("DELAY", "3")]);
    assert_eq!(send_back(&mut world, retried.log_offset, "2"), 0);
    let again = world.pull(c, "%RETRY%g", 1, "*").records()[0].clone();
    assert_eq!(again.reconsume_times, 2);
    has(&again, &always);
    has(&again, &[("DELAY", "2")]);
    assert_eq!(send_back(&mut world, again.log_offset, "0"), 0);
    let dead = world.pull(c, "%DLQ%g", 0, "*").records()[0].clone();
    assert_eq!((dead.body.as_str(), dead.reconsume_times), ("x", 3));
    has(&dead, &always);
    has(&dead, &[("DELAY", "0")]);
    assert!(!dead.properties.contains_key("DLQ_ORIGIN_TOPIC"), "RocketMQ's broker does not say it");
    let topic = &world.broker.topics.get("%DLQ%g").unwrap().config;
    assert_eq!((topic.write_queues, topic.read_queues, topic.perm), (1, 1, 6));
    // A level below 0 gives up at once.
    assert_eq!(send_back(&mut world, original.log_offset, "-1"), 0);
    assert_eq!(world.pull(c, "%DLQ%g", 1, "*").records()[0].reconsume_times, 1);
    assert_eq!(send_back(&mut world, 13, "0"), 1, "no record begins there");
}

#[test]
fn the_first_message_that_is_sent_back_makes_the_retry_topic_wherever_its_copy_goes() {
    let mut world = World::new();
    world.make_topic("T", 1);
    let c = world.connect();
    let group = br#"{"groupName":"g","retryQueueNums":2,"retryMaxTimes":0}"#;
    assert_eq!(world.call(c, RequestCode::UpdateAndCreateSubscriptiongroup, &[], group).code, 0);
    let ext = [("offset", "77"), ("group", "g"), ("delayLevel", "0")];
    assert_eq!(world.call(c, RequestCode::ConsumerSendMsgBack, &ext, b"").code, 1, "there is no such message");
    let topic = &world.broker.topics.get("%RETRY%g").expect("made before the message is looked for").config;
    assert_eq!((topic.write_queues, topic.read_queues, topic.perm), (2, 2, 6));
    world.send(c, "T", 0, "", "x");
    let offset = world.pull(c, "T", 0, "*").records()[0].log_offset.to_string();
    let ext = [("offset", offset.as_str()), ("group", "g"), ("delayLevel", "0")];
    assert_eq!(world.call(c, RequestCode::ConsumerSendMsgBack, &ext, b"").code, 0);
    assert_eq!(world.pull(c, "%DLQ%g", 0, "*").records().len(), 1);
}
