//! Light queues: what is put into them, who reads them, and what is refused.

use super::*;
use crate::limits::{LIGHT_QUEUES_PER_MESSAGE_MAX, TOPIC_NAME_BYTES_MAX};
use crate::protocol::message::{BatchedMessage, LIGHT_QUEUE, append_batched};

fn world(queues_max: u64) -> World {
    let mut settings = settings();
    (settings.light.is_enabled, settings.light.queues_max) = (true, queues_max);
    let mut world = World::with(settings, FlushPolicy::Sync, false);
    world.make_topic("T", 1);
    world
}

fn light(names: &str) -> String {
    format!("UNIQ_KEY\u{1}U\u{2}INNER_MULTI_DISPATCH\u{1}{names}\u{2}")
}

/// What each light queue holds, and where its reader goes on.
fn read(world: &mut World, name: &str, from: i64) -> (i64, i64, Vec<String>) {
    let c = world.connect();
    let pulled = world.pull(c, name, from, "*");
    let next = pulled.number("nextBeginOffset");
    let bodies = pulled.records().into_iter().map(|record| record.body).collect();
    (next, pulled.number("maxOffset"), bodies)
}

#[test]
fn a_message_is_in_each_queue_that_it_names_and_in_its_own() {
    let mut world = world(100);
    let c = world.connect();
    for (body, names) in [("a", "%LMQ%x"), ("b", "%LMQ%x,%LMQ%y"), ("c", "%LMQ%y"), ("d", "%LMQ%x")] {
        assert_eq!(world.send(c, "T", 0, &light(names), body).code, 0);
    }
    world.send(c, "T", 0, "", "e");
    assert_eq!(read(&mut world, "%LMQ%x", 0), (3, 3, vec!["a".into(), "b".into(), "d".into()]));
    assert_eq!(read(&mut world, "%LMQ%x", 2), (3, 3, vec!["d".into()]));
    assert_eq!(read(&mut world, "%LMQ%y", 0), (2, 2, vec!["b".into(), "c".into()]));
    assert_eq!(read(&mut world, "T", 0).2.concat(), "abcde");
    let pulled = world.pull(c, "%LMQ%y", 0, "*").records();
    assert_eq!((pulled[0].topic.as_str(), pulled[0].queue_offset), ("T", 1));
    assert_eq!(pulled[0].properties["INNER_MULTI_QUEUE_OFFSET"], "1,0");
    // Offsets are kept and told like any.
    world.make_group("g");
    let at = [("consumerGroup", "g"), ("topic", "%LMQ%x"), ("queueId", "0")];
    let ext = [&at[..], &[("commitOffset", "2")]].concat();
    assert_eq!(world.call(c, RequestCode::UpdateConsumerOffset, &ext, b"").code, 0);
    assert_eq!(world.call(c, RequestCode::QueryConsumerOffset, &at, b"").number("offset"), 2);
    let queue = [("topic", "%LMQ%x"), ("queueId", "0")];
    assert_eq!(world.call(c, RequestCode::GetMaxOffset, &queue, b"").number("offset"), 3);
    assert_eq!(world.call(c, RequestCode::GetMinOffset, &queue, b"").number("offset"), 0);
}

#[test]
fn a_reader_waits_for_the_first_message_of_a_light_queue() {
    let mut world = world(100);
    let (reader, c) = (world.connect(), world.connect());
    let held = world.ask_pull(reader, "%LMQ%new", 0, "*", 10_000);
    world.run();
    assert!(world.answer(reader, held).is_none());
    world.send(c, "T", 0, &light("%LMQ%new"), "x");
    let woken = world.answer(reader, held).expect("it was held for this");
    assert_eq!((woken.code, woken.records()[0].body.as_str()), (0, "x"));
}

#[test]
fn whoever_reads_or_is_refused_takes_no_place() {
    let mut world = world(2);
    let (reader, c) = (world.connect(), world.connect());
    let held = world.ask_pull(reader, "%LMQ%new", 0, "*", 10_000);
    world.run();
    for nth in 0..10 {
        let pulled = world.pull(c, &format!("%LMQ%{nth}"), nth, "*");
        let expected = if nth == 0 { 19 } else { 21 };
        assert_eq!((pulled.code, pulled.number("nextBeginOffset"), pulled.number("maxOffset")), (expected, 0, 0));
        assert_eq!(world.send(c, &format!("%LMQ%{nth}"), 0, "", "").code, 13, "it has no body");
    }
    assert_eq!(world.broker.log.light_queues(), 0);
    for name in ["%LMQ%other", "%LMQ%new"] {
        assert!(world.answer(reader, held).is_none());
        assert_eq!(world.send(c, "T", 0, &light(name), name).code, 0);
    }
    let woken = world.answer(reader, held).expect("it was held for this");
    assert_eq!((woken.code, woken.records()[0].body.as_str()), (0, "%LMQ%new"));
    assert_eq!(world.send(c, "T", 0, &light("%LMQ%more"), "x").code, 1);
}

#[test]
fn what_was_taken_to_wait_has_its_light_queues_whatever_comes_between() {
    let mut world = world(3);
    let c = world.connect();
    let delayed = format!("{}DELAY\u{1}1\u{2}", light("%LMQ%x,%LMQ%y"));
    assert_eq!(world.send(c, "T", 0, &delayed, "late").code, 0);
    assert_eq!(world.send(c, "T", 0, &light("%LMQ%z"), "a").code, 0);
    assert_eq!(world.send(c, "T", 0, &light("%LMQ%more"), "b").code, 1, "all places are taken or kept");
    // As after a start with less room.
    world.broker.settings.light.queues_max = 1;
    assert_eq!(world.broker.log.light_queues(), 3);
    for _ in 0..20 {
        world.wait_ms(100);
    }
    for name in ["%LMQ%x", "%LMQ%y"] {
        assert_eq!(read(&mut world, name, 0).2, ["late"]);
    }
    let long = format!("%LMQ%{}", "n".repeat(TOPIC_NAME_BYTES_MAX - 4));
    for refused in [world.send(c, "T", 0, &light(&long), "x"), world.pull(c, &long, 0, "*")] {
        assert!(refused.remark.contains("longer than 127 bytes"), "{}", refused.remark);
    }
}

#[test]
fn consumers_lock_and_are_given_light_queues_and_tools_see_them() {
    let mut world = world(100);
    let c = world.connect();
    world.make_group("g");
    let body = heartbeat_body("c@1", "g", "%LMQ%x", "CLUSTERING", 1);
    assert_eq!(world.call(c, RequestCode::HeartBeat, &[], body.as_bytes()).code, 0);
    for topic in ["%LMQ%x", "T"] {
        let queue = format!(r#"{{"brokerName":"b","queueId":0,"topic":"{topic}"}}"#);
        let lock = format!(r#"{{"clientId":"c@1","consumerGroup":"g","mqSet":[{queue}]}}"#);
        let locked = world.call(c, RequestCode::LockBatchMq, &[], lock.as_bytes());
        assert!(locked.text().contains(topic), "{}", locked.text());
    }
    let ask =
        r#"{"clientId":"c@1","consumerGroup":"g","messageModel":"CLUSTERING","strategyName":"AVG","topic":"%LMQ%x"}"#;
    let given = world.call(c, RequestCode::QueryAssignment, &[], ask.as_bytes());
    assert!(given.text().contains(r#""queueId":0,"topic":"%LMQ%x"},"mode":"PULL""#), "{}", given.text());
    for (mode, code) in [("PULL", 0), ("POP", 29)] {
        let body = format!(r#"{{"consumerGroup":"g","mode":"{mode}","topic":"%LMQ%x"}}"#);
        assert_eq!(world.call(c, RequestCode::SetMessageRequestMode, &[], body.as_bytes()).code, code);
    }
    for _ in 0..3 {
        assert_eq!(world.send(c, "T", 0, &light("%LMQ%x"), "a").code, 0);
    }
    for group in ["g", "%LMQ%nobody_made_it"] {
        let at = [("consumerGroup", group), ("topic", "%LMQ%x"), ("queueId", "0"), ("commitOffset", "1")];
        assert_eq!(world.call(c, RequestCode::UpdateConsumerOffset, &at, b"").code, 0);
        let lag = [("consumerGroup", group), ("topic", "%LMQ%x")];
        let lag = world.call(c, RequestCode::GetConsumeStats, &lag, b"").text().to_owned();
        assert!(lag.contains(r#""brokerOffset":3,"consumerOffset":1"#), "{lag}");
    }
    let topic = [("topic", "%LMQ%x")];
    let stats = world.call(c, RequestCode::GetTopicStatsInfo, &topic, b"").text().to_owned();
    assert!(stats.contains(r#""maxOffset":3"#), "{stats}");
    let config = world.call(c, RequestCode::GetTopicConfig, &topic, b"").text().to_owned();
    assert!(config.contains(r#""readQueueNums":1"#), "{config}");
    let spans = [("topic", "%LMQ%x"), ("group", "g")];
    assert!(world.call(c, RequestCode::QueryConsumeTimeSpan, &spans, b"").text().contains("%LMQ%x"));
    for (name, code) in [("%LMQ%x", 0), ("%LMQ%none", 17)] {
        let reset = [("topic", name), ("group", "g"), ("timestamp", "0"), ("isForce", "true")];
        assert_eq!(world.call(c, RequestCode::InvokeBrokerToResetOffset, &reset, b"").code, code);
    }
    assert_eq!(world.pull(c, "%LMQ%x", 1, "*").code, 21, "it is told of the reset");
}

#[test]
fn what_names_no_light_queues_or_too_many_is_refused() {
    let mut world = world(300);
    let c = world.connect();
    let many = |count: usize| (0..count).map(|nth| format!("%LMQ%{nth}")).collect::<Vec<_>>().join(",");
    for names in ["T", "%LMQ%a,T", "%LMQ%a,%LMQ%a", "%LMQ%", "%LMQ%a/b", &many(LIGHT_QUEUES_PER_MESSAGE_MAX + 1)] {
        assert_eq!(world.send(c, "T", 0, &light(names), "x").code, 13, "{names}");
    }
    assert_eq!(world.send(c, "T", 0, &light(&many(LIGHT_QUEUES_PER_MESSAGE_MAX)), "x").code, 0);
    for nth in 0..44 {
        assert_eq!(world.send(c, "T", 0, &light(&format!("%LMQ%more{nth}")), "x").code, 0);
    }
    let full = world.send(c, "T", 0, &light("%LMQ%more43,%LMQ%one_more"), "x");
    assert!(full.code == 1 && full.remark.contains("LMQ_CONSUME_QUEUE_NUM_EXCEEDED"), "{full:?}");
    assert_eq!(world.send(c, "T", 0, &light("%LMQ%more43"), "x").code, 0, "it is there already");
    assert_eq!(world.pull(c, "%LMQ%one_more", 0, "*").code, 19, "it is empty");
    assert_eq!(world.pull(c, "%LMQ%a/b", 0, "*").code, 29);
    let queue = world.broker.log.find_queue("T", crate::model::QueueId(0)).unwrap();
    assert_eq!(world.broker.log.bounds(queue).max.0, 46, "what was refused was not stored");
}

#[test]
fn what_a_client_says_of_offsets_counts_for_nothing() {
    for is_enabled in [true, false] {
        let mut world = world(100);
        world.broker.settings.light.is_enabled = is_enabled;
        let c = world.connect();
        for _ in 0..2 {
            let properties = format!("{}INNER_MULTI_QUEUE_OFFSET\u{1}77\u{2}", light("%LMQ%x"));
            assert_eq!(world.send(c, "T", 0, &properties, "x").code, 0);
        }
        let stored = world.pull(c, "T", 0, "*").records();
        let told = stored[1].properties.get("INNER_MULTI_QUEUE_OFFSET").map(String::as_str);
        assert_eq!(told, is_enabled.then_some("1"));
        let expected = if is_enabled { 0 } else { 17 };
        assert_eq!(world.pull(c, "%LMQ%x", 0, "*").code, expected);
    }
}

#[test]
fn what_waits_is_in_its_light_queues_when_it_comes() {
    let mut world = world(100);
    let c = world.connect();
    let properties = format!("{}DELAY\u{1}1\u{2}", light("%LMQ%x"));
    assert_eq!(world.send(c, "T", 0, &properties, "late").code, 0);
    assert_eq!(world.send(c, "T", 0, &light("%LMQ%x"), "soon").code, 0);
    assert_eq!(read(&mut world, "%LMQ%x", 0).2, ["soon"]);
    for _ in 0..20 {
        world.wait_ms(100);
    }
    assert_eq!(read(&mut world, "%LMQ%x", 0).2, ["soon", "late"]);
    // Sent back, it is tried again elsewhere, and not put into the light queue once more.
    world.make_group("g");
    let place = world.pull(c, "%LMQ%x", 0, "*").records()[0].log_offset.to_string();
    let ext = [
        ("offset", place.as_str()),
        ("group", "g"),
        ("delayLevel", "1"),
        ("originTopic", "T"),
        ("maxReconsumeTimes", "16"),
    ];
    assert_eq!(world.call(c, RequestCode::ConsumerSendMsgBack, &ext, b"").code, 0);
    for _ in 0..20 {
        world.wait_ms(100);
    }
    assert_eq!(read(&mut world, "%RETRY%g", 0).2, ["soon"]);
    assert_eq!(read(&mut world, "%LMQ%x", 0).1, 2);
}

#[test]
fn a_light_queue_that_is_deleted_begins_at_0_again() {
    let mut world = world(100);
    let c = world.connect();
    world.make_group("g");
    for body in ["a", "b"] {
        assert_eq!(world.send(c, "T", 0, &light("%LMQ%x,%LMQ%y"), body).code, 0);
    }
    let at = [("consumerGroup", "g"), ("topic", "%LMQ%x"), ("queueId", "0")];
    let ext = [&at[..], &[("commitOffset", "2")]].concat();
    assert_eq!(world.call(c, RequestCode::UpdateConsumerOffset, &ext, b"").code, 0);
    assert_eq!(world.call(c, RequestCode::DeleteTopicInBroker, &[("topic", "%LMQ%x")], b"").code, 0);
    assert_eq!(read(&mut world, "%LMQ%x", 0).1, 0);
    let told = world.call(c, RequestCode::QueryConsumerOffset, &at, b"").number("offset");
    assert_eq!(told, 0, "its offsets went with it");
    assert_eq!(read(&mut world, "%LMQ%y", 0).2, ["a", "b"], "others keep theirs");
    assert_eq!(world.send(c, "T", 0, &light("%LMQ%x,%LMQ%y"), "c").code, 0);
    assert_eq!(read(&mut world, "%LMQ%x", 0), (1, 1, vec!["c".into()]));
    assert_eq!(read(&mut world, "T", 0).2.concat(), "abc");
    assert_eq!(world.call(c, RequestCode::DeleteTopicInBroker, &[("topic", "%LMQ%none")], b"").code, 0, "as any topic");
}

#[test]
fn a_light_queue_can_be_sent_to_and_no_topic_stands_for_it() {
    let mut world = world(2);
    let c = world.connect();
    assert_eq!(world.send(c, "%LMQ%x", 0, "", "direct").code, 0);
    assert_eq!(world.send(c, "T", 0, &light("%LMQ%x"), "named").code, 0);
    assert_eq!(read(&mut world, "%LMQ%x", 0), (2, 2, vec!["direct".into(), "named".into()]));
    assert!(world.broker.topics.get("%LMQ%x").is_none());
    assert_eq!(world.send(c, "%LMQ%x", 0, &light("%LMQ%y,%LMQ%x"), "both").code, 13, "it is in its own already");
    assert_eq!(world.send(c, "%LMQ%x", 0, &light("%LMQ%y"), "two").code, 0);
    assert_eq!(read(&mut world, "%LMQ%y", 0).2, ["two"]);
    assert_eq!(world.send(c, "%LMQ%x", 1, "", "a").code, 29, "it has one queue");
    assert_eq!(world.send(c, "%LMQ%z", 0, "", "a").code, 1, "two are enough here");
    assert_eq!(world.call(c, RequestCode::UpdateAndCreateTopic, &topic_ext("%LMQ%x", "1"), b"").code, 29);
    world.make_group("g");
    let at = [("consumerGroup", "g"), ("topic", "%LMQ%none"), ("queueId", "0"), ("commitOffset", "2")];
    assert_eq!(world.call(c, RequestCode::UpdateConsumerOffset, &at, b"").code, 17, "nobody has used it");
}

#[test]
fn what_cannot_be_in_light_queues_is_refused_before_it_is_stored() {
    let mut world = world(100);
    let c = world.connect();
    let mut body = Vec::new();
    append_batched(&BatchedMessage { flag: 0, body: b"x", properties: light("%LMQ%a").as_bytes() }, &mut body);
    for (properties, body) in [("", body.as_slice()), (&light("%LMQ%a"), &batch_of_one())] {
        let mut ext = send_ext("T", "0", properties);
        ext.retain(|(name, _)| *name != "m");
        ext.push(("m", "true"));
        assert_eq!(world.call(c, RequestCode::SendBatchMessage, &ext, body).code, 13);
    }
    assert_eq!(world.send(c, "%DLQ%g", 0, &light("%LMQ%a"), "x").code, 13);
    // The broker's own properties must have room, also when it is stored later.
    let names = (0..200).map(|nth| format!("%LMQ%{nth}")).collect::<Vec<_>>().join(",");
    for delay in ["", "DELAY\u{1}1\u{2}"] {
        let long = format!("{}{delay}A\u{1}{}\u{2}", light(&names), "a".repeat(27_000));
        assert_eq!(world.send(c, "T", 0, &long, "x").code, 13);
    }
    assert_eq!(read(&mut world, "T", 0).1, 0);
    assert!(world.broker.log.find_queue("%LMQ%a", LIGHT_QUEUE).is_none());
}

fn batch_of_one() -> Vec<u8> {
    let mut body = Vec::new();
    append_batched(&BatchedMessage { flag: 0, body: b"x", properties: b"" }, &mut body);
    body
}

#[test]
fn a_half_message_is_in_its_light_queues_when_it_is_committed() {
    let mut world = world(100);
    let c = world.connect();
    let half =
        |which: &str| format!("{}TRAN_MSG\u{1}true\u{2}PGROUP\u{1}P\u{2}WHICH\u{1}{which}\u{2}", light("%LMQ%x"));
    let sent: Vec<Received> = ["commit", "roll back"].map(|which| world.send(c, "T", 0, &half(which), which)).into();
    assert_eq!(read(&mut world, "%LMQ%x", 0).1, 0, "nobody is to see it");
    for (sent, end) in sent.iter().zip(["8", "12"]) {
        let place =
            crate::protocol::message::MessageId::decode(&sent.ext["msgId"]).expect("an id").log_offset.to_string();
        let ext = [
            ("producerGroup", "P"),
            ("tranStateTableOffset", sent.ext["queueOffset"].as_str()),
            ("commitLogOffset", place.as_str()),
            ("commitOrRollback", end),
            ("fromTransactionCheck", "false"),
            ("msgId", "U"),
            ("transactionId", "U"),
        ];
        assert_eq!(world.call(c, RequestCode::EndTransaction, &ext, b"").code, 0);
    }
    assert_eq!(read(&mut world, "%LMQ%x", 0).2, ["commit"]);
    assert_eq!(read(&mut world, "T", 0).2, ["commit"]);
}

#[test]
fn a_removal_is_answered_when_the_offsets_that_went_with_it_are_on_the_disk() {
    for (code, name) in [
        (RequestCode::DeleteTopicInBroker, ("topic", "%LMQ%x")),
        (RequestCode::DeleteSubscriptiongroup, ("groupName", "g")),
    ] {
        let mut world = world(100);
        let c = world.connect();
        world.make_group("g");
        assert_eq!(world.send(c, "T", 0, &light("%LMQ%x"), "a").code, 0);
        let at = [("consumerGroup", "g"), ("topic", "%LMQ%x"), ("queueId", "0"), ("commitOffset", "1")];
        assert_eq!(world.call(c, RequestCode::UpdateConsumerOffset, &at, b"").code, 0);
        world.persists = false;
        let asked = world.ask(c, code, &[name, ("cleanOffset", "true")], b"");
        world.run();
        assert!(world.answer(c, asked).is_none(), "a start would have them again");
        world.persists = true;
        world.run();
        let flushed = world.broker.persistence.flushed(crate::broker::Table::ConsumerOffsets);
        assert!(flushed > 0 && !world.broker.offsets.is_dirty());
        assert_eq!(world.answer(c, asked).map(|answer| answer.code), Some(0));
    }
}
