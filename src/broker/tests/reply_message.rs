//! Reply messages: pushed to the requester here, or by a sibling, and told to whoever replied.

use super::*;
use crate::letter::{PassedBy, ReplyMessage, ReplyOutcome};
use crate::limits::{REPLIES_PASSED_BYTES_MAX, REPLIES_PASSED_MAX};
use crate::model::QueueId;
use crate::protocol::code::ResponseCode;
use crate::protocol::reply::{Reply, encode_reply};

const REPLY_TOPIC: &str = "DefaultCluster_REPLY_TOPIC";
const PROPERTIES: &str = "REPLY_TO_CLIENT\u{1}asker@1\u{2}CORRELATION_ID\u{1}c1\u{2}MSG_TYPE\u{1}reply\u{2}";

impl World {
    fn produce(&mut self, connection: ConnectionId, client: &str) {
        let body = format!(r#"{{"clientID":"{client}","consumerDataSet":[],"producerDataSet":[{{"groupName":"P"}}]}}"#);
        assert_eq!(self.call(connection, RequestCode::HeartBeat, &[], body.as_bytes()).code, 0);
    }

    fn ask_reply(&mut self, connection: ConnectionId, properties: &str) -> i32 {
        let ext = [
            ("a", "ANSWERING"),
            ("b", REPLY_TOPIC),
            ("c", "TBW102"),
            ("d", "4"),
            ("e", "0"),
            ("f", "0"),
            ("g", "1700000000001"),
            ("h", "7"),
            ("i", properties),
            ("j", "0"),
            ("k", "false"),
        ];
        let opaque = self.ask(connection, RequestCode::SendReplyMessageV2, &ext, b"answer");
        self.run();
        opaque
    }

    /// The push that a client has received, taken.
    fn pushed(&mut self, connection: ConnectionId) -> Option<Received> {
        let frames = self.received.get_mut(&connection)?;
        let at = frames.iter().position(|frame| frame.flag == 0)?;
        Some(frames.remove(at))
    }

    fn take_push(&mut self, connection: ConnectionId, opaque: i32, code: ResponseCode) {
        let mut bytes = BytesMut::new();
        let reply = Reply { code, ..Reply::body(b"") };
        encode_reply(Encoding::Json, opaque, &reply, &mut bytes);
        let frame = split(&bytes).unwrap().unwrap();
        self.broker.handle_frame(self.now, connection, &frame, &mut self.out).unwrap();
        self.run();
    }

    fn stored_replies(&mut self) -> u64 {
        let queue = self.broker.log.queue(REPLY_TOPIC, QueueId(0));
        self.broker.log.bounds(queue).max.0
    }
}

#[test]
fn a_reply_is_pushed_stored_and_told() {
    let mut world = World::new();
    let (asker, replier) = (world.connect(), world.connect());
    world.produce(asker, "asker@1");
    let opaque = world.ask_reply(replier, PROPERTIES);
    assert!(world.answer(replier, opaque).is_none(), "the requester has said nothing");
    let push = world.pushed(asker).expect("pushed");
    assert_eq!((push.code, push.text()), (326, "answer"));
    for (name, value) in [
        ("producerGroup", "ANSWERING"),
        ("topic", REPLY_TOPIC),
        ("flag", "7"),
        ("sysFlag", "0"),
        ("bornTimestamp", "1700000000001"),
        ("unitMode", "false"),
        ("storeHost", "127.0.0.1:10911"),
    ] {
        assert_eq!(push.ext.get(name).map(String::as_str), Some(value), "{name}");
    }
    assert!(push.ext["properties"].starts_with(PROPERTIES) && push.ext["properties"].contains("PUSH_REPLY_TIME"));
    world.take_push(asker, push.opaque, ResponseCode::Success);
    let answer = world.answer(replier, opaque).expect("told");
    assert_eq!((answer.code, answer.number("queueId"), answer.number("queueOffset")), (0, 0, 0));
    assert_eq!(answer.ext["msgId"].len(), 32);
    assert_eq!(world.stored_replies(), 1);
    let kept = world.pull(replier, REPLY_TOPIC, 0, "*").records();
    assert!(!kept[0].properties.contains_key("PUSH_REPLY_TIME"), "it is stored as it came");
}

#[test]
fn a_reply_that_fails_says_why() {
    let mut world = World::new();
    let (asker, replier) = (world.connect(), world.connect());
    world.produce(asker, "asker@1");
    let failed = "push reply message to asker@1fail.";

    let opaque = world.ask_reply(replier, PROPERTIES);
    let push = world.pushed(asker).unwrap();
    world.take_push(asker, push.opaque, ResponseCode::SystemError);
    let answer = world.answer(replier, opaque).unwrap();
    assert_eq!((answer.code, answer.remark.as_str()), (1, failed));

    let opaque = world.ask_reply(replier, PROPERTIES);
    world.wait_ms(9_999);
    assert!(world.answer(replier, opaque).is_none());
    world.wait_ms(1);
    assert_eq!(world.answer(replier, opaque).unwrap().remark, failed);

    let opaque = world.ask_reply(replier, PROPERTIES);
    world.disconnect(asker);
    world.run();
    assert_eq!(world.answer(replier, opaque).unwrap().remark, failed);

    let opaque = world.ask_reply(replier, "MSG_TYPE\u{1}reply\u{2}");
    let answer = world.answer(replier, opaque).unwrap();
    assert_eq!((answer.code, answer.remark.as_str()), (1, "reply message properties[REPLY_TO_CLIENT] is null"));
    assert_eq!(world.stored_replies(), 4, "stored all the same");
}

#[test]
fn the_newest_connection_of_a_client_has_the_push() {
    let mut world = World::new();
    let (old, new, replier) = (world.connect(), world.connect(), world.connect());
    world.produce(new, "asker@1");
    world.produce(old, "asker@1");
    world.ask_reply(replier, PROPERTIES);
    assert!(world.pushed(old).is_none() && world.pushed(new).is_some());
    world.disconnect(new);
    world.ask_reply(replier, PROPERTIES);
    assert!(world.pushed(old).is_some());
    let leave = [("clientID", "asker@1"), ("producerGroup", "P")];
    assert_eq!(world.call(old, RequestCode::UnregisterClient, &leave, b"").code, 0);
    world.ask_reply(replier, PROPERTIES);
    assert!(world.pushed(old).is_none(), "it produces no longer");
}

fn passed(world: &mut World) -> Vec<(u64, std::sync::Arc<ReplyMessage>)> {
    let passed = world.controls.iter().filter_map(|letter| match letter {
        ToControl::PassReply { ticket, message, .. } => Some((*ticket, std::sync::Arc::clone(message))),
        _ => None,
    });
    let passed = passed.collect();
    world.controls.clear();
    passed
}

#[test]
fn a_requester_of_a_sibling_is_reached_by_letter() {
    let (mut here, mut there) = (World::new(), World::new());
    let (replier, asker) = (here.connect(), there.connect());
    there.produce(asker, "asker@1");
    let opaque = here.ask_reply(replier, PROPERTIES);
    let (ticket, message) = passed(&mut here).remove(0);
    assert_eq!(message.body, "answer");

    let from = PassedBy { origin: ShardId(3), ticket, asked: 2 };
    there.broker.handle_control(there.now, ToShard::PushReply { from, message }, &mut there.out);
    there.run();
    let push = there.pushed(asker).expect("pushed by the sibling");
    there.take_push(asker, push.opaque, ResponseCode::Success);
    let said = there.controls.iter().find_map(|letter| match letter {
        ToControl::ReplyPushed { to, outcome, .. } => Some((*to, *outcome)),
        _ => None,
    });
    assert_eq!(said, Some((from, ReplyOutcome::Taken)));
    assert_eq!(there.stored_replies(), 0, "it is stored where it was sent to");

    let told = |outcome| ToShard::ReplyPassed { ticket, asked: 2, outcome };
    here.broker.handle_control(here.now, told(ReplyOutcome::NotConnected), &mut here.out);
    here.run();
    assert!(here.answer(replier, opaque).is_none(), "the other sibling has said nothing");
    here.broker.handle_control(here.now, told(ReplyOutcome::Taken), &mut here.out);
    here.run();
    assert_eq!(here.answer(replier, opaque).unwrap().code, 0);
    here.broker.handle_control(here.now, told(ReplyOutcome::Taken), &mut here.out);
    here.run();
    assert!(here.received[&replier].is_empty(), "a second word is passed over");
}

#[test]
fn a_requester_of_nobody_is_not_found() {
    let mut world = World::new();
    let replier = world.connect();
    let opaque = world.ask_reply(replier, PROPERTIES);
    let (ticket, message) = passed(&mut world).remove(0);
    let outcome = ReplyOutcome::NotConnected;
    world.broker.handle_control(world.now, ToShard::ReplyPassed { ticket, asked: 0, outcome }, &mut world.out);
    world.run();
    let answer = world.answer(replier, opaque).unwrap();
    assert_eq!((answer.code, answer.remark.as_str()), (1, "push reply message fail, channel of <asker@1> not found."));

    let from = PassedBy { origin: ShardId(3), ticket, asked: 1 };
    world.broker.handle_control(world.now, ToShard::PushReply { from, message }, &mut world.out);
    world.run();
    let said = world.controls.iter().any(
        |letter| matches!(letter, ToControl::ReplyPushed { outcome, .. } if *outcome == ReplyOutcome::NotConnected),
    );
    assert!(said, "nor is it here");
}

#[test]
fn replies_at_siblings_are_bounded_and_end() {
    let mut world = World::new();
    let repliers: Vec<ConnectionId> = (0..REPLIES_PASSED_MAX).map(|_| world.connect()).collect();
    let opaques: Vec<i32> = repliers.iter().map(|replier| world.ask_reply(*replier, PROPERTIES)).collect();
    assert_eq!(passed(&mut world).len(), REPLIES_PASSED_MAX);
    let late = world.ask_reply(repliers[0], PROPERTIES);
    assert!(world.answer(repliers[0], late).unwrap().remark.ends_with("fail."), "no more at once");
    world.wait_ms(10_000);
    for (replier, opaque) in repliers.iter().zip(opaques) {
        assert!(world.answer(*replier, opaque).unwrap().remark.ends_with("fail."), "no sibling has said anything");
    }
    world.ask_reply(repliers[0], PROPERTIES);
    assert_eq!(passed(&mut world).len(), 1, "there is room again");
    const _: () =
        assert!(REPLIES_PASSED_MAX * 64 * 1024 <= REPLIES_PASSED_BYTES_MAX, "ordinary replies reach the number first");
}
