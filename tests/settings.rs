//! Settings that change while a node runs: by 25 on one shard, in force on every shard, in the file, and after a restart.
//!
//! What it cannot show: that a crash between the file's rename and the answer leaves one of both; the file is renamed whole.
#![allow(clippy::disallowed_methods, reason = "a test has files")]

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use harness::{Client, Frame, Node, NodeOptions};

const UPDATE_BROKER_CONFIG: i32 = 25;
const GET_BROKER_CONFIG: i32 = 26;

struct World {
    node: Node,
}

impl World {
    /// A node of two shards.
    fn start() -> Self {
        Self { node: Node::start(&NodeOptions { shards: 2, ..NodeOptions::default() }) }
    }

    fn client(&self, shard: u16) -> Client {
        Client::connect(&self.node.broker(shard)).expect("it listens")
    }

    /// The answer's code and remark.
    fn change(&self, shard: u16, text: &str) -> (i32, String) {
        let answer = self.client(shard).call(Frame::request(UPDATE_BROKER_CONFIG).body(text.as_bytes()));
        let answer = answer.expect("it answers");
        (answer.code, answer.remark.unwrap_or_default())
    }

    fn value(&self, shard: u16, key: &str) -> String {
        let answer = self.client(shard).call(Frame::request(GET_BROKER_CONFIG)).expect("it answers");
        let text = String::from_utf8(answer.body).expect("properties are text");
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{key}=")));
        line.unwrap_or_else(|| panic!("no {key} in {text}")).to_owned()
    }

    fn file(&self) -> PathBuf {
        self.node.config_path()
    }

    fn text(&self) -> String {
        fs::read_to_string(self.file()).expect("the file is there")
    }
}

#[test]
fn a_change_is_on_every_shard_in_the_file_and_there_after_a_restart() {
    let mut world = World::start();
    let before = format!("# mine\n{}", world.text());
    fs::write(world.file(), &before).expect("it is writable");
    world.client(1).create_topic("T", 1).expect("a topic");
    assert_eq!(world.change(0, "maxMessageSize=1000\nautoCreateTopicEnable=false\n"), (0, String::new()));
    for shard in 0..2 {
        assert_eq!(world.value(shard, "maxMessageSize"), "1000");
        assert_eq!(world.value(shard, "autoCreateTopicEnable"), "false");
        assert!(world.client(shard).send("NEW", 0, b"x").is_err(), "shard {shard} still creates topics");
    }
    assert!(world.client(1).send("T", 0, &[1; 1_001]).is_err());
    let kept = world.text();
    let expected = before.replace("autoCreateTopicEnable=true", "autoCreateTopicEnable=false");
    assert_eq!(kept, format!("{expected}maxMessageSize=1000\n"), "order and comments stay");

    assert!(world.node.stop(Duration::from_secs(20)).success());
    world.node.restart_as_it_is();
    for shard in 0..2 {
        assert_eq!(world.value(shard, "maxMessageSize"), "1000");
    }
    assert!(world.client(1).send("T", 0, &[1; 1_001]).is_err());
}

#[test]
fn name_servers_learn_of_a_permission() {
    let world = World::start();
    world.client(0).create_topic("T", 1).expect("a topic");
    assert_eq!(world.change(1, "brokerPermission=4").0, 0);
    let mut client = Client::connect(&world.node.name_server()).expect("it listens");
    let route = client.route("T").expect("it answers").expect("there is a route");
    assert!(route["queueDatas"].as_array().expect("a list").iter().all(|queue| queue["perm"] == 4), "{route}");
}

#[test]
fn what_cannot_be_is_refused_in_one_sentence_and_changes_nothing() {
    let world = World::start();
    let before = world.text();
    for (text, code, words) in [
        ("", 29, "no setting is named"),
        ("listenPort=1234", 16, "listenPort cannot change while the node runs"),
        ("rocketmqHome=/tmp", 16, "rocketmqHome cannot change"),
        ("messageDelayLevel=1s 2s", 16, "messageDelayLevel cannot change while the node runs"),
        ("aclEnable=true", 16, "aclEnable=true is not supported"),
        ("traceOn=false\nmaxMesageSize=7", 29, "unknown key maxMesageSize; did you mean maxMessageSize?"),
        ("traceOn=false\nmaxMessageSize=much", 29, "maxMessageSize=much is not a whole number"),
        ("traceOn=false\nmaxMessageSize=8388608\ndeleteWhen=25", 29, "deleteWhen=25 is not"),
        ("minInSyncReplicas=3", 29, "minInSyncReplicas=3 is more than inSyncReplicas=1"),
        ("sendMessageThreadPoolNums=8", 29, "does nothing here; nothing was changed"),
        ("traceOn=false\ntraceOn=true", 29, "traceOn is set here and at line 1"),
    ] {
        let (found, remark) = world.change(0, text);
        assert_eq!(found, code, "{text:?}: {remark}");
        assert!(remark.contains(words) && !remark.contains('\n'), "{text:?}: {remark}");
    }
    for shard in 0..2 {
        assert_eq!(world.value(shard, "traceOn"), "true", "half of a change is none");
    }
    assert_eq!(world.text(), before);
    fs::write(world.file(), format!("{before}nonsense=1\n")).expect("it is writable");
    let (code, remark) = world.change(0, "traceOn=false");
    assert!(code == 1 && remark.contains("unknown key nonsense"), "{code}: {remark}");
    assert_eq!(world.value(1, "traceOn"), "true");
}
