//! A reply to a request reaches its requester wherever in the node that is connected, over the real control plane.
//!
//! What a reply message is told when that fails, and what is stored of it, is in the broker's own tests; stock clients are in `clients`.

use std::time::Duration;

use harness::{Client, Frame, Node, NodeOptions, code};
use serde_json::json;

const SEND_REPLY_MESSAGE_V2: i32 = 325;
const PUSH_REPLY_MESSAGE_TO_CLIENT: i32 = 326;

fn reply_to(client_id: &str) -> Frame {
    let properties = format!("REPLY_TO_CLIENT\u{1}{client_id}\u{2}CORRELATION_ID\u{1}c1\u{2}MSG_TYPE\u{1}reply\u{2}");
    let mut frame = Client::send_request("DefaultCluster_REPLY_TOPIC", 0, b"answer", &[]).ext("i", properties);
    frame.code = SEND_REPLY_MESSAGE_V2;
    frame
}

fn produce(client: &mut Client, client_id: &str) {
    let body = json!({ "clientID": client_id, "producerDataSet": [{ "groupName": "ASKING" }], "consumerDataSet": [] });
    client.expect_success("heartbeat", Frame::request(code::HEART_BEAT).body(body.to_string())).expect("it is taken");
}

#[test]
fn a_requester_of_another_shard_has_its_reply() {
    let node = Node::start(&NodeOptions { shards: 3, ..NodeOptions::default() });
    let mut asker = Client::connect(&node.broker(2)).expect("it listens");
    asker.set_timeout(Duration::from_secs(20)).expect("a socket");
    produce(&mut asker, "asker@1");
    for shard in [0, 1, 2] {
        let mut replier = Client::connect(&node.broker(shard)).expect("it listens");
        let opaque = replier.start(reply_to("asker@1")).expect("it is sent");
        while asker.from_server.is_empty() {
            asker.read_one().expect("a push");
        }
        let push = asker.from_server.remove(0);
        assert_eq!((push.code, &push.body[..]), (PUSH_REPLY_MESSAGE_TO_CLIENT, &b"answer"[..]), "shard {shard}");
        assert!(push.ext["properties"].contains("CORRELATION_ID\u{1}c1"), "shard {shard}: {:?}", push.ext);
        asker.answer(&push, code::SUCCESS).expect("it is sent");
        let answer = replier.finish(opaque).expect("an answer");
        assert_eq!(
            (answer.code, answer.ext["queueOffset"].as_str()),
            (code::SUCCESS, "0"),
            "shard {shard}: it is stored there"
        );
    }
    let mut replier = Client::connect(&node.broker(0)).expect("it listens");
    let answer = replier.call(reply_to("nobody@1")).expect("an answer");
    assert_eq!(answer.code, code::SYSTEM_ERROR);
    assert_eq!(answer.remark.as_deref(), Some("push reply message fail, channel of <nobody@1> not found."));
}
