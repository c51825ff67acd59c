//! Sends: what is stored, when it is answered, what is refused.

use super::*;
use crate::protocol::body::TopicConfig;
use crate::protocol::code::{Endpoint, Status};
use crate::protocol::message::{BatchedMessage, MessageId, append_batched};

#[test]
fn sends_are_numbered_and_found_by_their_id() {
    let mut world = World::new();
    world.make_topic("T", 2);
    let c = world.connect();
    for n in 0..3 {
        let answer = world.send(c, "T", 1, "UNIQ_KEY\u{1}U1\u{2}", &format!("body{n}"));
        assert_eq!((answer.code, answer.flag), (0, 1), "{answer:?}");
        assert_eq!((answer.number("queueId"), answer.number("queueOffset")), (1, n));
        assert_eq!(answer.ext["transactionId"], "U1");
        assert_eq!((answer.ext["MSG_REGION"].as_str(), answer.ext["TRACE_ON"].as_str()), ("DefaultRegion", "true"));
        let id = MessageId::decode(&answer.ext["msgId"]).unwrap();
        assert_eq!(id.store_host, settings().address);
        let offset = id.log_offset.to_string();
        let viewed = world.call(c, RequestCode::ViewMessageById, &[("offset", &offset)], b"");
        assert_eq!(viewed.records()[0].body, format!("body{n}"));
    }
    let viewed = world.call(c, RequestCode::ViewMessageById, &[("offset", "17")], b"");
    assert_eq!(viewed.code, 1, "no record begins there");
}

#[test]
fn first_version_names_fields_in_full() {
    let mut world = World::new();
    world.make_topic("T", 1);
    let c = world.connect();
    let ext = [
        ("producerGroup", "pg"),
        ("topic", "T"),
        ("defaultTopic", "TBW102"),
        ("defaultTopicQueueNums", "4"),
        ("queueId", "0"),
        ("sysFlag", "0"),
        ("bornTimestamp", "1"),
        ("flag", "0"),
        ("maxReconsumeTimes", "0"),
    ];
    assert_eq!(world.call(c, RequestCode::SendMessage, &ext, b"x").code, 0);
}

#[test]
fn the_answer_comes_when_its_promise_is_met() {
    // Flush setting, a tail that survives, WAIT, and whether the answer comes before any write.
    let check = |flush: FlushPolicy, survives: bool, properties: &str, at_once: bool| {
        let mut world = World::with(settings(), flush, survives);
        world.make_topic("T", 1);
        let c = world.connect();
        world.commits = false;
        let opaque = world.ask_send(c, "T", 0, properties, "x");
        world.run();
        assert_eq!(world.answer(c, opaque).is_some(), at_once, "{flush:?} {survives} {properties}");
        world.commits = true;
        world.run();
        assert_eq!(world.answer(c, opaque).is_some(), !at_once, "{flush:?} {survives} {properties}");
    };
    check(FlushPolicy::Sync, false, "", false);
    check(FlushPolicy::Sync, true, "", false);
    check(FlushPolicy::Sync, true, "WAIT\u{1}false", true);
    check(FlushPolicy::Sync, true, "WAIT\u{1}true", false);
    check(FlushPolicy::ASYNC, true, "", true);
    check(FlushPolicy::ASYNC, false, "", false);
}

#[test]
fn answers_of_a_connection_come_in_the_order_of_the_log() {
    let mut world = World::new();
    world.make_topic("T", 1);
    let c = world.connect();
    world.commits = false;
    let asked: Vec<i32> = (0..20).map(|n| world.ask_send(c, "T", 0, "", &n.to_string())).collect();
    world.commits = true;
    world.run();
    let got: Vec<i32> = world.received[&c].iter().map(|frame| frame.opaque).collect();
    assert_eq!(got, asked);
}

#[test]
fn a_flush_that_takes_too_long_is_status_10_with_all_fields() {
    let mut world = World::new();
    world.make_topic("T", 1);
    let c = world.connect();
    world.commits = false;
    let opaque = world.ask_send(c, "T", 0, "UNIQ_KEY\u{1}U", "x");
    world.wait_ms(2_699);
    assert!(world.answer(c, opaque).is_none());
    world.wait_ms(1);
    let late = world.answer(c, opaque).unwrap();
    assert_eq!((late.code, late.number("queueId"), late.number("queueOffset")), (10, 0, 0));
    assert_eq!(late.ext["msgId"].len(), 32);
    world.commits = true;
    world.run();
    assert!(world.answer(c, opaque).is_none(), "answered once");
}

#[test]
fn an_unknown_topic_is_created_after_tbw102_and_answered_when_it_can_be_found() {
    let mut world = World::new();
    let c = world.connect();
    world.persists = false;
    world.registers = false;
    let first = world.ask_send(c, "New", 0, "", "x");
    world.run();
    let second = world.ask_send(c, "New", 1, "", "y");
    world.run();
    let Some(ToControl::TopicsChanged { ticket, topics, spread, full, .. }) = world.controls.last().cloned() else {
        panic!("the control plane was not told");
    };
    assert!(spread && !full);
    assert_eq!((topics[0].write_queues, topics[0].read_queues, topics[0].perm), (4, 4, 6));
    assert!(world.answer(c, first).is_none() && world.answer(c, second).is_none());
    world.broker.handle_control(world.now, ToShard::Registered { ticket }, &mut world.out);
    world.run();
    assert!(world.answer(c, first).is_none(), "registered, but not written");
    world.persists = true;
    world.run();
    assert_eq!(world.answer(c, first).unwrap().code, 0);
    assert_eq!(world.answer(c, second).unwrap().code, 0, "who came second waits as well");
    let third = world.send(c, "New", 2, "", "z");
    assert_eq!(third.code, 0);
}

#[test]
fn a_name_server_that_is_away_delays_an_answer_by_three_seconds_at_most() {
    let mut world = World::new();
    let c = world.connect();
    world.registers = false;
    let opaque = world.ask_send(c, "New", 0, "", "x");
    world.run();
    assert!(world.answer(c, opaque).is_none());
    world.wait_ms(3_000);
    assert_eq!(world.answer(c, opaque).unwrap().code, 0);
}

#[test]
fn what_cannot_be_stored_is_refused_with_rocketmq_s_codes() {
    let mut world = World::new();
    world.make_topic("T", 2);
    let c = world.connect();
    let mut check = |topic: &str, queue: i32, properties: &str, body: &str, expected: i32| {
        let answer = world.send(c, topic, queue, properties, body);
        assert_eq!(answer.code, expected, "{topic} {queue} {properties} {answer:?}");
    };
    check("T", 2, "", "x", 29);
    check("T", i32::MAX, "", "x", 29);
    check("bad name", 0, "", "x", 29);
    check("", 0, "", "x", 29);
    check(&"a".repeat(128), 0, "", "x", 29);
    check("SCHEDULE_TOPIC_XXXX", 0, "", "x", 16);
    check("RMQ_SYS_TRANS_HALF_TOPIC", 0, "", "x", 16);
    check("TRANS_CHECK_MAX_TIME_TOPIC", 0, "", "x", 16);
    check("T", 0, "TIMER_DELAY_SEC\u{1}soon\u{2}", "x", 13);
    check("T", 0, "DELAY\u{1}0\u{2}", "x", 0);
    check("T", 0, "", &"x".repeat(4097), 13);
    check("T", 0, &format!("a\u{1}{}\u{2}", "b".repeat(32_700)), "x", 13);
    check("T", -1, "", "x", 0);
}

#[test]
fn a_topic_that_hands_nothing_on_creates_nothing() {
    let mut without = settings();
    without.auto_create_topic = false;
    let mut world = World::with(without, FlushPolicy::Sync, false);
    world.make_topic("T", 1);
    let c = world.connect();
    assert_eq!(world.send(c, "New", 0, "", "x").code, 17);
    let mut ext = send_ext("New", "0", "");
    ext[2].1 = "T";
    assert_eq!(world.call(c, RequestCode::SendMessageV2, &ext, b"x").code, 17);
    ext[2].1 = "broker-a";
    assert_eq!(world.call(c, RequestCode::SendMessageV2, &ext, b"x").code, 0, "its perm is 7");
}

/// As Apache's `msgCheck` has it: after the default topic where that hands on what it has, else with one queue; the flag is that of a group in unit mode.
#[test]
fn a_retry_topic_that_a_send_makes_is_a_copy_of_the_default_topic_if_it_may() {
    let check = |auto_create: bool, unit: &str, expected: (u32, u32, i32)| {
        let mut chosen = settings();
        chosen.auto_create_topic = auto_create;
        let mut world = World::with(chosen, FlushPolicy::Sync, false);
        let c = world.connect();
        let group = world.call(c, RequestCode::UpdateAndCreateSubscriptiongroup, &[], br#"{"groupName":"g"}"#);
        assert_eq!(group.code, 0, "{group:?}");
        let mut ext = send_ext("%RETRY%g", "0", "");
        ext[10].1 = unit;
        assert_eq!(world.call(c, RequestCode::SendMessageV2, &ext, b"x").code, 0);
        let config = world.call(c, RequestCode::GetTopicConfig, &[("topic", "%RETRY%g")], b"");
        let config = TopicConfig::decode(&config.body).unwrap();
        assert_eq!((config.write_queues, config.perm, config.sys_flag), expected, "{auto_create} {unit}");
    };
    check(true, "false", (4, 6, 0));
    check(true, "true", (4, 6, 2));
    check(false, "true", (1, 6, 2));
    check(false, "false", (1, 6, 0));
}

/// The flag says what the topic is; the code of the tags stays that of the whole text, as Apache has it (`MessageExtBrokerInner.tagsString2tagsCode`).
#[test]
fn what_is_sent_to_a_topic_of_several_tags_says_so() {
    let mut world = World::new();
    let c = world.connect();
    let mut ext = topic_ext("T", "1");
    ext[5].1 = "MULTI_TAG";
    assert_eq!(world.call(c, RequestCode::UpdateAndCreateTopic, &ext, b"").code, 0);
    world.send(c, "T", 0, "TAGS\u{1}A B\u{2}", "x");
    world.send(c, "T", 0, "TRAN_MSG\u{1}true\u{2}UNIQ_KEY\u{1}U\u{2}PGROUP\u{1}pg\u{2}", "half");
    let mut body = Vec::new();
    append_batched(&BatchedMessage { flag: 0, body: b"of a batch", properties: b"TAGS\x01A\x02" }, &mut body);
    assert_eq!(world.call(c, RequestCode::SendBatchMessage, &send_ext("T", "0", ""), &body).code, 0);
    let flags: Vec<_> = world.pull(c, "T", 0, "*").records().iter().map(|record| record.sys_flag).collect();
    assert_eq!(flags, [2, 2]);
    assert_eq!(
        world.pull(c, "RMQ_SYS_TRANS_HALF_TOPIC", 0, "*").records()[0].sys_flag,
        2,
        "and so will what is committed"
    );
    assert_eq!(world.pull(c, "T", 0, "A").records().len(), 1, "only what the batch had");
    ext[5].1 = "SINGLE_TAG";
    assert_eq!(world.call(c, RequestCode::UpdateAndCreateTopic, &ext, b"").code, 0);
    world.send(c, "T", 0, "TAGS\u{1}A\u{2}", "x");
    assert_eq!(world.pull(c, "T", 2, "*").records()[0].sys_flag, 0);
}

#[test]
fn single_messages_get_the_broker_s_properties() {
    let mut world = World::new();
    world.make_topic("T", 1);
    let c = world.connect();
    world.send(c, "T", 0, "KEYS\u{1}k\u{2}POP_CK\u{1}old\u{2}CLUSTER\u{1}other\u{2}TAGS\u{1}A", "x");
    world.send(c, "T", 0, "TAGS\u{1}A", "y");
    let records = world.pull(c, "T", 0, "*").records();
    let first = &records[0].properties;
    assert_eq!(first["CLUSTER"], "DefaultCluster");
    assert_eq!((first["MSG_REGION"].as_str(), first["TRACE_ON"].as_str()), ("DefaultRegion", "true"));
    assert_eq!((first["TAGS"].as_str(), first["KEYS"].as_str()), ("A", "k"));
    assert_eq!(first["UNIQ_KEY"].len(), 32, "made by the broker");
    assert!(!first.contains_key("POP_CK"));
    assert_eq!(records[1].properties["TAGS"], "A", "a missing separator does not join two properties");
    assert_ne!(first["UNIQ_KEY"], records[1].properties["UNIQ_KEY"]);
}

#[test]
fn a_batch_is_stored_message_by_message_or_not_at_all() {
    let mut world = World::new();
    world.make_topic("T", 1);
    let c = world.connect();
    world.send(c, "T", 0, "", "before");
    let mut body = Vec::new();
    for n in 0..3 {
        let properties = format!("UNIQ_KEY\u{1}U{n}\u{2}TAGS\u{1}A\u{2}");
        let text = format!("m{n}");
        append_batched(
            &BatchedMessage { flag: n, body: text.as_bytes(), properties: properties.as_bytes() },
            &mut body,
        );
    }
    let ext = send_ext("T", "0", "");
    let answer = world.call(c, RequestCode::SendBatchMessage, &ext, &body);
    assert_eq!((answer.code, answer.number("queueOffset")), (0, 1));
    let ids: Vec<&str> = answer.ext["msgId"].split(',').collect();
    assert_eq!(ids.len(), 3);
    let records = world.pull(c, "T", 1, "A").records();
    assert_eq!(records.iter().map(|record| record.queue_offset).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(MessageId::decode(ids[2]).unwrap().log_offset.0, records[2].log_offset);
    assert_eq!(
        records[0].properties["CLUSTER"], "DefaultCluster",
        "each is a message of its own, as Apache 5.3.3 stores it"
    );
    body.truncate(body.len() - 1);
    assert_eq!(world.call(c, RequestCode::SendBatchMessage, &ext, &body).code, 13);
    assert_eq!(world.call(c, RequestCode::SendBatchMessage, &ext, b"").code, 13);
    assert_eq!(world.pull(c, "T", 4, "*").code, 19, "nothing of the broken batch is there");
}

#[test]
fn oneway_requests_and_answers_are_never_answered() {
    let mut world = World::new();
    world.make_topic("T", 1);
    let c = world.connect();
    world.ask_raw(c, RequestCode::SendMessageV2.number(), true, &send_ext("T", "0", ""), b"x");
    world.ask_raw(c, RequestCode::SendMessageV2.number(), true, &send_ext("T", "9", ""), b"x");
    world.ask_raw(c, 4711, true, &[], b"");
    world.ask_raw(c, RequestCode::PullMessage.number(), true, &[], b"");
    world.ask_raw(c, RequestCode::HeartBeat.number(), true, &[], b"garbage");
    world.run();
    assert!(world.received.get(&c).is_none_or(Vec::is_empty));
    assert_eq!(world.pull(c, "T", 0, "*").records().len(), 1);
}

#[test]
fn every_code_is_answered() {
    let mut world = World::new();
    let c = world.connect();
    let unknown = world.ask_raw(c, 4711, false, &[], b"");
    let answer = world.answer(c, unknown).unwrap();
    assert_eq!((answer.code, answer.remark.as_str()), (3, " request type 4711 not supported"));
    for code in RequestCode::ALL {
        let opaque = world.ask(c, *code, &[], b"");
        world.run();
        let answer = world.answer(c, opaque).unwrap_or_else(|| panic!("{code:?} is not answered"));
        let row = code.row();
        let works = row.status != Status::NotYet && matches!(row.endpoint, Endpoint::Broker(_));
        assert_eq!(answer.code == 3, !works, "{code:?} {answer:?}");
    }
}

#[test]
fn a_full_tail_stops_input_before_a_send_is_refused() {
    let mut world = World::new();
    world.make_topic("T", 1);
    let c = world.connect();
    world.commits = false;
    let mut sent = 0;
    while world.broker.poll_input(&world.out) {
        world.ask_send(c, "T", 0, "", &"x".repeat(1000));
        sent += 1;
        assert!(sent < 1_000);
    }
    assert!(world.received.get(&c).is_none_or(Vec::is_empty), "none was refused");
    let mut refused = None;
    for _ in 0..100 {
        let opaque = world.ask_send(c, "T", 0, "", &"x".repeat(1000));
        refused = refused.or(world.answer(c, opaque));
    }
    let refused = refused.expect("a shell that goes on reading is told so");
    assert_eq!((refused.code, refused.remark.starts_with("[REJECTREQUEST]")), (2, true));
    world.commits = true;
    world.run();
    assert!(world.broker.poll_input(&world.out));
    assert!(world.received[&c].iter().filter(|answer| answer.code == 0).count() >= sent);
}

#[test]
fn a_retry_that_was_tried_too_often_ends_in_the_dead_letters() {
    let mut world = World::new();
    let c = world.connect();
    world.heartbeat(c, "cid", "g", "T");
    let mut check = |times: &str, max: &str, expected: &str| {
        let mut ext = send_ext("%RETRY%g", "0", "RETRY_TOPIC\u{1}T\u{2}DELAY\u{1}3\u{2}");
        ext[9].1 = times;
        ext.push(("l", max));
        let answer = world.call(c, RequestCode::SendMessageV2, &ext, b"x");
        assert_eq!(answer.code, 0, "{answer:?}");
        let offset = MessageId::decode(&answer.ext["msgId"]).unwrap().log_offset.to_string();
        let viewed = world.call(c, RequestCode::ViewMessageById, &[("offset", &offset)], b"");
        let record = viewed.records()[0].clone();
        assert_eq!(record.topic, expected, "{times} of {max}");
        let is_given_up = expected == "%DLQ%g";
        assert_eq!(record.properties["DELAY"], if is_given_up { "-1" } else { "3" });
        let real = record.properties.get("REAL_TOPIC").map(String::as_str);
        assert_eq!(real, (!is_given_up).then_some("%RETRY%g"), "{times} of {max}");
    };
    check("1", "16", "SCHEDULE_TOPIC_XXXX");
    check("16", "16", "SCHEDULE_TOPIC_XXXX");
    check("17", "16", "%DLQ%g");
    check("3", "2", "%DLQ%g");
}
