//! Batches that are stored whole: what is stored, answered, counted and refused.

use super::*;
use crate::limits::INNER_BATCH_MESSAGES_MAX;
use crate::protocol::message::{BatchedMessage, append_batched};

fn world() -> World {
    let mut world = World::new();
    let c = world.connect();
    let ext = [&topic_ext("B", "1")[..], &[("attributes", "+queue.type=BatchCQ")]].concat();
    assert_eq!(world.call(c, RequestCode::UpdateAndCreateTopic, &ext, b"").code, 0);
    world.make_topic("T", 1);
    world
}

fn batch(messages: usize) -> Vec<u8> {
    let mut body = Vec::new();
    for _ in 0..messages {
        append_batched(&BatchedMessage { flag: 0, body: b"x", properties: b"KEYS\x01inner\x02" }, &mut body);
    }
    body
}

fn send_batch(world: &mut World, topic: &str, properties: &str, body: &[u8]) -> Received {
    let c = world.connect();
    let mut ext = send_ext(topic, "0", properties);
    ext.retain(|(name, _)| *name != "m");
    ext.push(("m", "true"));
    world.call(c, RequestCode::SendBatchMessage, &ext, body)
}

/// What is a batch already, by a plain send.
fn send_whole(world: &mut World, topic: &str, properties: &str, body: &[u8]) -> Received {
    let c = world.connect();
    let mut ext = send_ext(topic, "0", properties);
    ext.retain(|(name, _)| *name != "f");
    ext.push(("f", "192"));
    world.call(c, RequestCode::SendMessageV2, &ext, body)
}

#[test]
fn a_batch_is_one_record_with_as_many_offsets_as_messages() {
    let mut world = world();
    let c = world.connect();
    for (messages, offset) in [(3, 0), (40, 3), (1, 43)] {
        let answer = send_batch(&mut world, "B", "UNIQ_KEY\u{1}U\u{2}KEYS\u{1}outer\u{2}", &batch(messages));
        assert_eq!((answer.code, answer.number("queueOffset")), (0, offset), "{answer:?}");
        assert_eq!((answer.ext["batchUniqId"].as_str(), answer.ext["msgId"].len()), ("U", 32));
    }
    assert_eq!(world.send(c, "B", 0, "", "plain").number("queueOffset"), 44);
    assert_eq!(world.broker.counters.put_count, 45);
    let pulled = world.pull(c, "B", 0, "*");
    assert_eq!((pulled.code, pulled.number("nextBeginOffset"), pulled.number("maxOffset")), (0, 3, 45));
    let record = &pulled.records()[0];
    assert_eq!((record.properties["INNER_NUM"].as_str(), record.properties["INNER_BASE"].as_str()), ("3", "0"));
    assert_eq!(record.body.as_bytes(), batch(3));
    let pulled = world.pull(c, "B", 17, "*");
    assert_eq!((pulled.number("nextBeginOffset"), pulled.records()[0].queue_offset), (43, 3));
    assert_eq!(world.broker.counters.get_count, 43);
    let ext =
        [("topic", "B"), ("key", "outer"), ("maxNum", "9"), ("beginTimestamp", "0"), ("endTimestamp", "9000000000000")];
    assert_eq!(world.call(c, RequestCode::QueryMessage, &ext, b"").records().len(), 3);
}

#[test]
fn what_is_no_whole_batch_is_refused_and_takes_nothing() {
    let mut world = world();
    let number = |count: &str| format!("UNIQ_KEY\u{1}U\u{2}INNER_NUM\u{1}{count}\u{2}");
    for (topic, count, code) in
        [("B", "2", 13), ("B", "4", 13), ("B", "x", 13), ("B", "-3", 13), ("T", "3", 13), ("B", "3", 0)]
    {
        let answer = send_whole(&mut world, topic, &number(count), &batch(3));
        assert_eq!(answer.code, code, "{topic} {count}: {answer:?}");
    }
    assert_eq!(send_whole(&mut world, "B", "UNIQ_KEY\u{1}U\u{2}", &batch(3)).code, 13);
    assert_eq!(send_whole(&mut world, "B", &number("3"), b"no batch").code, 13);
    for asked in ["DELAY\u{1}1\u{2}", "TIMER_DELAY_MS\u{1}5000\u{2}", "TRAN_MSG\u{1}true\u{2}"] {
        let properties = format!("{}{asked}", number("3"));
        assert_eq!(send_whole(&mut world, "B", &properties, &batch(3)).code, 13, "{asked}");
    }
    let c = world.connect();
    assert_eq!(world.send(c, "T", 0, &number("1"), "x").code, 13, "the number of a batch on what is none");
    assert_eq!(send_batch(&mut world, "B", "UNIQ_KEY\u{1}U\u{2}", &batch(3)[..40]).code, 13);
    let pulled = world.pull(c, "B", 0, "*");
    assert_eq!((pulled.number("nextBeginOffset"), pulled.number("maxOffset")), (3, 3));
}

#[test]
fn the_largest_number_of_messages_is_what_java_s_brokers_can_read() {
    let mut settings = settings();
    settings.message_body_bytes_max = 1 << 20;
    let mut world = World::with(settings, FlushPolicy::Sync, false);
    let c = world.connect();
    let ext = [&topic_ext("B", "1")[..], &[("attributes", "+queue.type=BatchCQ")]].concat();
    assert_eq!(world.call(c, RequestCode::UpdateAndCreateTopic, &ext, b"").code, 0);
    let empty = |messages: usize| [&22_u32.to_be_bytes()[..], &[0; 18]].concat().repeat(messages);
    let too_many = send_batch(&mut world, "B", "UNIQ_KEY\u{1}U\u{2}", &empty(INNER_BATCH_MESSAGES_MAX + 1));
    assert_eq!(too_many.code, 13, "{too_many:?}");
}

#[test]
fn a_message_of_a_batch_is_not_sent_back_nor_popped() {
    let mut world = world();
    world.make_group("g");
    send_batch(&mut world, "B", "UNIQ_KEY\u{1}U\u{2}", &batch(3));
    let c = world.connect();
    let place = world.pull(c, "B", 0, "*").records()[0].log_offset.to_string();
    let ext = [
        ("offset", place.as_str()),
        ("group", "g"),
        ("delayLevel", "0"),
        ("originTopic", "B"),
        ("maxReconsumeTimes", "16"),
    ];
    let answer = world.call(c, RequestCode::ConsumerSendMsgBack, &ext, b"");
    assert_eq!((answer.code, answer.remark.as_str()), (1, "MESSAGE_ILLEGAL"));
    let ext = [
        ("consumerGroup", "g"),
        ("topic", "B"),
        ("queueId", "0"),
        ("maxMsgNums", "32"),
        ("invisibleTime", "10000"),
        ("pollTime", "0"),
        ("bornTime", "1700000000000"),
        ("initMode", "0"),
    ];
    assert_eq!(world.call(c, RequestCode::PopMessage, &ext, b"").code, 29);
}

#[test]
fn topics_of_messages_that_come_again_take_no_batches() {
    let mut world = world();
    let c = world.connect();
    for (topic, code) in [("%RETRY%g_B", 29), ("%RETRY%g", 29), ("%DLQ%g", 29), ("RETRY", 0)] {
        let ext = [&topic_ext(topic, "1")[..], &[("attributes", "+queue.type=BatchCQ")]].concat();
        assert_eq!(world.call(c, RequestCode::UpdateAndCreateTopic, &ext, b"").code, code, "{topic}");
    }
}
