//! Calls to clients, and offsets that an operator sets.

use super::*;
use crate::limits::{CLIENT_CALLS_MAX, CLIENT_CALLS_PER_ASKER_MAX};
use crate::protocol::message::MessageId;
use crate::protocol::reply::{Reply, encode_reply};

const INFO: RequestCode = RequestCode::GetConsumerRunningInfo;
const STATUS: RequestCode = RequestCode::InvokeBrokerToGetConsumerStatus;
const RESET: RequestCode = RequestCode::InvokeBrokerToResetOffset;

impl World {
    /// The calls that a client has received, taken.
    fn calls(&mut self, client: ConnectionId) -> Vec<Received> {
        let frames = std::mem::take(self.received.entry(client).or_default());
        let (calls, rest) = frames.into_iter().partition(|frame| frame.flag == 0);
        self.received.insert(client, rest);
        calls
    }

    fn the_call(&mut self, client: ConnectionId) -> Received {
        let mut calls = self.calls(client);
        assert_eq!(calls.len(), 1, "{calls:?}");
        calls.remove(0)
    }

    fn answer_call(&mut self, client: ConnectionId, opaque: i32, reply: &Reply<'_>) {
        let mut bytes = BytesMut::new();
        encode_reply(Encoding::Json, opaque, reply, &mut bytes);
        let frame = split(&bytes).unwrap().unwrap();
        self.broker.handle_frame(self.now, client, &frame, &mut self.out).unwrap();
        self.run();
    }

    fn ask_info(&mut self, asker: ConnectionId, client: &str) -> i32 {
        let opaque =
            self.ask(asker, INFO, &[("consumerGroup", "g"), ("clientId", client), ("jstackEnable", "true")], b"");
        self.run();
        opaque
    }

    fn reset(&mut self, asker: ConnectionId, ext: &[(&str, &str)]) -> Received {
        let all = [&[("group", "g"), ("topic", "T"), ("isForce", "true")], ext].concat();
        self.call(asker, RESET, &all, b"")
    }

    fn committed(&mut self, c: ConnectionId, queue: &str) -> i64 {
        let ext = [("consumerGroup", "g"), ("topic", "T"), ("queueId", queue)];
        self.call(c, RequestCode::QueryConsumerOffset, &ext, b"").number("offset")
    }

    fn commit(&mut self, c: ConnectionId, queue: &str, offset: &str) {
        let ext = [("consumerGroup", "g"), ("topic", "T"), ("queueId", queue), ("commitOffset", offset)];
        assert_eq!(self.call(c, RequestCode::UpdateConsumerOffset, &ext, b"").code, 0);
    }
}

/// A topic with two queues of five messages a second apart, and a client of the group that reads it.
fn world() -> (World, ConnectionId, ConnectionId) {
    let mut world = World::new();
    world.make_topic("T", 2);
    let (asker, client) = (world.connect(), world.connect());
    for n in 0..5 {
        for queue in 0..2 {
            assert_eq!(world.send(asker, "T", queue, "", &format!("{n}")).code, 0);
        }
        world.wait_ms(1_000);
    }
    world.heartbeat(client, "cid", "g", "T");
    world.received.clear();
    (world, asker, client)
}

#[test]
fn a_call_goes_to_the_client_and_its_answer_to_the_asker() {
    let (mut world, asker, client) = world();
    let opaque = world.ask_info(asker, "cid");
    assert!(world.answer(asker, opaque).is_none(), "nobody has answered yet");
    let call = world.the_call(client);
    let expected = [("clientId", "cid"), ("consumerGroup", "g"), ("jstackEnable", "true")];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!((call.code, call.ext), (INFO.number(), expected.into()));
    // Another connection, and another number: nobody waits for those.
    world.answer_call(asker, call.opaque, &Reply::body(b"forged"));
    world.answer_call(client, call.opaque + 1, &Reply::body(b"unasked"));
    assert!(world.answer(asker, opaque).is_none());
    let ext = [("x", ExtValue::Str("y"))];
    let reply =
        Reply { code: crate::protocol::code::ResponseCode::Success, remark: Some("r"), ext: &ext, body: b"info" };
    world.answer_call(client, call.opaque, &reply);
    let answer = world.answer(asker, opaque).expect("relayed");
    assert_eq!((answer.code, answer.remark.as_str(), answer.text(), answer.ext["x"].as_str()), (0, "r", "info", "y"));
    world.answer_call(client, call.opaque, &reply);
    assert!(world.received[&asker].is_empty(), "a second answer is passed over");
}

#[test]
fn a_call_without_an_answer_ends() {
    let (mut world, asker, client) = world();
    let opaque = world.ask_info(asker, "cid");
    let call = world.the_call(client);
    assert_eq!(world.broker.poll_timeout(), Some(world.now.mono.plus_ms(4_000)), "tools wait 5 s");
    world.wait_ms(3_999);
    assert!(world.answer(asker, opaque).is_none());
    world.wait_ms(1);
    let answer = world.answer(asker, opaque).expect("its time is over");
    assert_eq!((answer.code, answer.remark.contains("<g> <cid> Timeout")), (207, true), "{answer:?}");
    world.answer_call(client, call.opaque, &Reply::body(b"late"));
    assert!(world.received[&asker].is_empty());
    // A client that goes away is not waited for, and neither is an asker answered that has gone.
    let opaque = world.ask_info(asker, "cid");
    let other = world.connect();
    world.ask_info(other, "cid");
    world.disconnect(other);
    world.disconnect(client);
    let answer = world.answer(asker, opaque).expect("at once");
    assert_eq!((answer.code, answer.remark.contains("closed")), (1, true), "{answer:?}");
    assert!(!world.received.get(&other).is_some_and(|frames| frames.iter().any(|frame| frame.flag == 1)));
    assert_eq!(world.broker.poll_timeout(), None);
}

#[test]
fn who_cannot_be_called_is_said_at_once() {
    let (mut world, asker, client) = world();
    let check = |world: &mut World, client: &str, code: i32, remark: &str| {
        let opaque = world.ask_info(asker, client);
        let answer = world.answer(asker, opaque).expect("at once");
        assert_eq!((answer.code, answer.remark.contains(remark)), (code, true), "{answer:?}");
    };
    check(&mut world, "nobody", 1, "The Consumer <g> <nobody> not online");
    let askers: Vec<ConnectionId> =
        (0..CLIENT_CALLS_MAX / CLIENT_CALLS_PER_ASKER_MAX).map(|_| world.connect()).collect();
    for _ in 0..CLIENT_CALLS_PER_ASKER_MAX {
        for other in &askers {
            world.ask_info(*other, "cid");
        }
    }
    world.calls(client);
    check(&mut world, "cid", 215, "too many calls");
    world.wait_ms(10_000);
    for other in askers {
        let late = world.received[&other].iter().filter(|frame| frame.code == 207).count();
        assert_eq!(late, CLIENT_CALLS_PER_ASKER_MAX);
    }
    world.received.clear();
    // An old client would not understand.
    let member = crate::broker::client::Member {
        client: "old".into(),
        language: crate::protocol::code::Language::Java,
        version: 61,
        seen: world.now.mono,
        seen_unix_ms: 0,
    };
    let body = heartbeat_body("old", "g", "T", "CLUSTERING", 1);
    let beat = crate::protocol::body::HeartbeatData::decode(body.as_bytes()).unwrap();
    let old = world.connect();
    world.broker.clients.register_consumer(old, &beat.consumers[0], member, 0, false);
    check(&mut world, "old", 1, "too low");
}

#[test]
fn a_message_is_consumed_directly() {
    let (mut world, asker, client) = world();
    let sent = world.send(asker, "T", 0, "TAGS\u{1}A\u{2}", "look at me");
    let id = sent.ext["msgId"].clone();
    let ext = [("consumerGroup", "g"), ("clientId", "cid"), ("msgId", id.as_str()), ("topic", "T")];
    let opaque = world.ask(asker, RequestCode::ConsumeMessageDirectly, &ext, b"");
    world.run();
    let call = world.the_call(client);
    assert_eq!((call.code, call.records()[0].body.as_str()), (309, "look at me"));
    let fields = ["brokerName", "topicSysFlag", "groupSysFlag", "msgId"].map(|name| call.ext[name].as_str());
    assert_eq!(fields, ["broker-a", "0", "0", id.as_str()]);
    world.answer_call(client, call.opaque, &Reply::body(br#"{"consumeResult":"CR_SUCCESS"}"#));
    assert_eq!(world.answer(asker, opaque).unwrap().text(), r#"{"consumeResult":"CR_SUCCESS"}"#);
    let opaque = world.ask(asker, RequestCode::ConsumeMessageDirectly, &ext, b"");
    world.wait_ms(9_999);
    assert!(world.answer(asker, opaque).is_none(), "a listener may take its time");
    world.wait_ms(1);
    assert_eq!(world.answer(asker, opaque).unwrap().code, 207);
    let mut check = |id: &str, code: i32| {
        let ext = [("consumerGroup", "g"), ("clientId", "cid"), ("msgId", id)];
        let answer = world.call(asker, RequestCode::ConsumeMessageDirectly, &ext, b"");
        assert_eq!((answer.code, answer.remark.is_empty()), (code, false), "{answer:?}");
    };
    check("no id", 29);
    check(MessageId { store_host: settings().address, log_offset: LogOffset(77) }.encode().as_str(), 1);
}

#[test]
fn an_old_message_is_read_from_the_disk_for_its_call() {
    let (mut world, asker, client) = world();
    let id = world.send(asker, "T", 0, "", "old").ext["msgId"].clone();
    for _ in 0..200 {
        world.send(asker, "T", 1, "", &"x".repeat(1000));
    }
    world.received.clear();
    let ext = [("consumerGroup", "g"), ("clientId", "cid"), ("msgId", id.as_str())];
    world.fetches.clear();
    let opaque = world.ask(asker, RequestCode::ConsumeMessageDirectly, &ext, b"");
    world.run();
    assert!(!world.fetches.is_empty(), "it was in the ring still: the test shows nothing");
    let call = world.the_call(client);
    assert_eq!(call.records()[0].body, "old");
    world.answer_call(client, call.opaque, &Reply::body(b"{}"));
    assert_eq!(world.answer(asker, opaque).unwrap().code, 0);
}

#[test]
fn where_clients_stand_is_gathered() {
    let (mut world, asker, client) = world();
    let (second, silent) = (world.connect(), world.connect());
    world.heartbeat(second, "cid2", "g", "T");
    world.heartbeat(silent, "cid3", "g", "T");
    let ext = [("topic", "T"), ("group", "g")];
    let opaque = world.ask(asker, STATUS, &ext, b"");
    world.run();
    let offsets = |queue: u32, offset: u32| {
        format!(r#"{{"messageQueueTable":{{{{"brokerName":"broker-a","queueId":{queue},"topic":"T"}}:{offset}}}}}"#)
    };
    for (connection, body) in [(client, offsets(0, 3)), (second, offsets(1, 4))] {
        let call = world.the_call(connection);
        assert_eq!((call.code, call.ext["topic"].as_str(), call.ext["group"].as_str()), (221, "T", "g"));
        world.answer_call(connection, call.opaque, &Reply::body(body.as_bytes()));
    }
    assert!(world.answer(asker, opaque).is_none(), "one is waited for");
    world.wait_ms(4_000);
    let answer = world.answer(asker, opaque).expect("those that answered");
    let expected = r#"{"consumerTable":{"cid":{{"brokerName":"broker-a","queueId":0,"topic":"T"}:3},"cid2":{{"brokerName":"broker-a","queueId":1,"topic":"T"}:4}},"messageQueueTable":{}}"#;
    assert_eq!((answer.code, answer.text()), (0, expected));
    // One client, which goes away: an answer without anybody.
    let opaque = world.ask(asker, STATUS, &[("topic", "T"), ("group", "g"), ("clientAddr", "cid3")], b"");
    world.run();
    assert_eq!((world.calls(silent).len(), world.calls(client).len()), (2, 0));
    world.disconnect(silent);
    let nobody = r#"{"consumerTable":{},"messageQueueTable":{}}"#;
    assert_eq!(world.answer(asker, opaque).expect("at once").text(), nobody);
    let mut check = |ext: &[(&str, &str)], code: i32| {
        let answer = world.call(asker, STATUS, ext, b"");
        assert_eq!((answer.code, answer.remark.is_empty()), (code, false), "{answer:?}");
    };
    check(&[("topic", "U"), ("group", "g")], 17);
    check(&[("topic", "T"), ("group", "nobody")], 1);
    let unknown = world.call(asker, STATUS, &[("topic", "T"), ("group", "g"), ("clientAddr", "nobody")], b"");
    assert_eq!((unknown.code, unknown.text()), (0, nobody));
}

#[test]
fn offsets_that_are_set_are_told_to_the_next_pull() {
    let (mut world, asker, client) = world();
    world.commit(client, "0", "5");
    world.commit(client, "1", "5");
    // The consumer waits at the end of queue 0.
    let held = world.ask_pull(client, "T", 5, "*", 15_000);
    assert!(world.answer(client, held).is_none());
    // The third message was stored two seconds after the first.
    let time = (1_700_000_000_000_i64 + 2_000).to_string();
    let answer = world.reset(asker, &[("timestamp", &time), ("queueId", "-1")]);
    let expected = r#"{"offsetTable":{{"brokerName":"broker-a","queueId":0,"topic":"T"}:2,{"brokerName":"broker-a","queueId":1,"topic":"T"}:2}}"#;
    assert_eq!((answer.code, answer.text()), (0, expected));
    assert_eq!(world.answer(client, held).expect("it asks again").code, 19);
    // What the consumer still commits is from before.
    world.commit(client, "0", "5");
    assert_eq!((world.committed(client, "0"), world.committed(client, "1")), (2, 2));
    let moved = world.pull(client, "T", 5, "*");
    assert_eq!((moved.code, moved.remark.as_str(), moved.number("nextBeginOffset")), (21, "OFFSET_RESET", 2));
    assert_eq!(world.pull(client, "T", 2, "*").records().len(), 3);
    world.commit(client, "0", "4");
    assert_eq!(world.committed(client, "0"), 4, "it has been told, so its commits count again");
    // One queue, to an offset; to the end by time; what makes no sense.
    assert_eq!(
        world.reset(asker, &[("timestamp", "0"), ("queueId", "0"), ("offset", "6")]).code,
        0,
        "one beyond the end"
    );
    assert_eq!(world.reset(asker, &[("timestamp", "-1")]).code, 0);
    assert_eq!((world.committed(client, "0"), world.committed(client, "1")), (5, 5));
    let mut check = |ext: &[(&str, &str)], code: i32| {
        let answer = world.call(asker, RESET, ext, b"");
        assert_eq!((answer.code, answer.remark.is_empty()), (code, false), "{answer:?}");
    };
    check(&[("group", "g"), ("topic", "U"), ("timestamp", "0")], 17);
    check(&[("group", "nobody"), ("topic", "T"), ("timestamp", "0")], 26);
    check(&[("group", "g"), ("topic", "T"), ("timestamp", "0"), ("queueId", "0"), ("offset", "7")], 1);
    check(&[("group", "g"), ("topic", "T"), ("timestamp", "0"), ("queueId", "2")], 29);
    check(&[("group", "g"), ("topic", "T")], 29);
    assert_eq!((world.committed(client, "0"), world.committed(client, "1")), (5, 5));
}

#[test]
fn clients_are_told_where_the_broker_does_not_set_offsets() {
    let settings = BrokerSettings { resets_offsets: false, ..settings() };
    let mut world = World::with(settings, FlushPolicy::Sync, false);
    world.make_topic("T", 1);
    let (asker, client) = (world.connect(), world.connect());
    for _ in 0..3 {
        world.send(asker, "T", 0, "", "x");
    }
    let all = [("timestamp", "0")];
    assert_eq!(world.reset(asker, &all).code, 1, "the group has no offset");
    world.heartbeat(client, "cid", "g", "T");
    world.commit(client, "0", "2");
    world.received.clear();
    let answer = world.reset(asker, &all);
    let expected = r#"{"offsetTable":{{"brokerName":"broker-a","queueId":0,"topic":"T"}:0}}"#;
    assert_eq!((answer.code, answer.text()), (0, expected));
    let told = world.received.get_mut(&client).map(std::mem::take).unwrap_or_default();
    let [told] = &told[..] else { panic!("told once, not {told:?}") };
    assert_eq!((told.code, told.flag, told.text(), told.ext["timestamp"].as_str()), (220, 2, expected, "0"));
    assert_eq!((told.ext["isForce"].as_str(), told.ext["queueId"].as_str()), ("false", "-1"));
    assert_eq!(world.committed(client, "0"), 2, "the client commits");
    // Not forced: only back, never on.
    let ext = [("group", "g"), ("topic", "T"), ("isForce", "false"), ("timestamp", "-1")];
    assert!(world.call(asker, RESET, &ext, b"").text().ends_with(":2}}"));
    world.disconnect(client);
    let answer = world.reset(asker, &all);
    assert_eq!((answer.code, answer.remark.contains("not online")), (206, true), "{answer:?}");
}

#[test]
fn a_client_that_came_back_is_called_where_it_was_heard_last() {
    let (mut world, asker, before) = world();
    let again = world.connect();
    world.wait_ms(1_000);
    world.heartbeat(again, "cid", "g", "T");
    let opaque = world.ask_info(asker, "cid");
    assert!(world.calls(before).is_empty());
    let call = world.the_call(again);
    world.answer_call(again, call.opaque, &Reply::body(b"info"));
    assert_eq!(world.answer(asker, opaque).map(|answer| answer.code), Some(0));
    // The old connection was alive all the time: it counts again when it speaks.
    world.wait_ms(1_000);
    world.heartbeat(before, "cid", "g", "T");
    let opaque = world.ask(asker, STATUS, &[("group", "g"), ("topic", "T"), ("clientAddr", "")], b"");
    world.run();
    assert!(world.calls(again).is_empty(), "one answer a client is enough");
    let call = world.the_call(before);
    world.answer_call(before, call.opaque, &Reply::body(br#"{"messageQueueTable":{}}"#));
    assert!(world.answer(asker, opaque).is_some());
}

#[test]
fn an_offset_that_no_queue_has_is_refused_and_does_not_let_the_time_decide() {
    let (mut world, asker, client) = world();
    world.commit(client, "0", "3");
    for (offset, said) in [("-5", "Target offset -5 not in consume queue range [0-5]"), ("7", "[0-5]")] {
        let answer = world.reset(asker, &[("queueId", "0"), ("offset", offset), ("timestamp", "0")]);
        assert!(answer.code == 1 && answer.remark.contains(said), "{answer:?}");
    }
    assert_eq!(world.committed(client, "0"), 3);
    // -1 is none.
    assert_eq!(world.reset(asker, &[("queueId", "0"), ("offset", "-1"), ("timestamp", "0")]).code, 0);
    assert_eq!(world.committed(client, "0"), 0);
}

#[test]
fn clients_that_do_not_read_take_no_more_than_their_part_of_what_waits() {
    use crate::limits::{OUTBOX_NOTICE_BYTES_MAX, OUTBOX_TOTAL_BYTES_MAX};
    let (mut world, asker, _) = world();
    let mut refused = 0;
    for number in 0..40 {
        let deaf = world.connect();
        world.heartbeat(deaf, &format!("deaf{number}"), "g", "T");
        world.out.outbox.note_unsent(deaf, 1024 * 1024);
        let opaque = world.ask_info(asker, &format!("deaf{number}"));
        refused += usize::from(world.answer(asker, opaque).is_some_and(|answer| answer.code == 215));
    }
    assert!(refused >= 40 - OUTBOX_NOTICE_BYTES_MAX / (1024 * 1024) - 1, "{refused} were refused");
    assert!(40 * 1024 * 1024 < OUTBOX_TOTAL_BYTES_MAX && !world.out.outbox.is_full(), "consumers are served");
}

#[test]
fn one_asker_leaves_calls_to_the_others() {
    let (mut world, asker, client) = world();
    let asked: Vec<i32> = (0..=CLIENT_CALLS_PER_ASKER_MAX).map(|_| world.ask_info(asker, "cid")).collect();
    let codes: Vec<_> = asked.into_iter().filter_map(|opaque| world.answer(asker, opaque)).collect();
    assert!(codes.len() == 1 && codes[0].code == 215, "{codes:?}");
    let other = world.connect();
    let opaque = world.ask_info(other, "cid");
    assert!(world.answer(other, opaque).is_none(), "it was called");
    let call = world.calls(client).pop().unwrap();
    world.answer_call(client, call.opaque, &Reply::body(b"info"));
    assert_eq!(world.answer(other, opaque).map(|answer| answer.code), Some(0));
    world.wait_ms(5_000);
    world.ask_info(asker, "cid");
    assert_eq!(world.calls(client).len(), 1, "what has ended makes room");
}
