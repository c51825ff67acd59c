//! Apache's mqadmin 5.3.3, unchanged, against ringmq: what it prints must hold what an operator looks for.
//!
//! The same checks run on Apache's own broker first, so they say what mqadmin really prints.

use std::io::{self, Write as _};

use harness::{Client, Frame, Node, NodeOptions, code, expect, expect_row};
use ringmq_peers::{Apache, BrokerOptions, Flush, Mqadmin};

const TOPIC: &str = "MQADMIN_TOPIC";
const GROUP: &str = "MQADMIN_GROUP";
const GROUP_GONE: &str = "MQADMIN_GROUP_GONE";
/// Messages in queue 0 of each broker, and how many of them the group has consumed.
const SENT: u32 = 10;
const CONSUMED: i64 = 4;

/// Apache, or `None` with one line that says why this test is skipped.
fn apache_or_skip() -> Option<Apache> {
    Apache::locate().map_err(|missing| writeln!(io::stderr(), "skipped: {missing}").expect("stderr is open")).ok()
}

#[test]
fn on_apache_as_reference() -> io::Result<()> {
    let Some(apache) = apache_or_skip() else { return Ok(()) };
    let name_server = apache.start_name_server().expect("it starts");
    let broker = apache.start_broker(&BrokerOptions::small(&name_server.address())).expect("it starts");
    check(&apache, &name_server.address(), &[("broker-a".to_owned(), broker.address())])
}

#[test]
fn on_ringmq_with_one_shard() -> io::Result<()> {
    on_ringmq(1)
}

#[test]
fn on_ringmq_with_two_shards() -> io::Result<()> {
    on_ringmq(2)
}

fn on_ringmq(shards: u16) -> io::Result<()> {
    let Some(apache) = apache_or_skip() else { return Ok(()) };
    let node = Node::start(&NodeOptions { shards, flush: Flush::Async, ..NodeOptions::default() });
    let brokers: Vec<_> = (0..shards).map(|shard| (node.broker_name(shard), node.broker(shard))).collect();
    check(&apache, &node.name_server(), &brokers)
}

/// Creates through mqadmin, sends and consumes beside it, then looks at all of it through mqadmin.
fn check(apache: &Apache, name_server: &str, brokers: &[(String, String)]) -> io::Result<()> {
    let mut mqadmin = apache.start_mqadmin(name_server).unwrap_or_else(|missing| panic!("{missing}"));
    check_creation(&mut mqadmin, brokers);
    // The connections stay open: mqadmin lists who is online.
    let mut clients = Vec::new();
    let mut message_id = String::new();
    for (_, address) in brokers {
        let mut client = Client::connect(address)?;
        client.heartbeat("harness@1", GROUP, TOPIC)?;
        // A group that was there once: its retry topic stays, which mqadmin needs to look for it.
        client.heartbeat("harness@1", GROUP_GONE, TOPIC)?;
        client.unregister("harness@1", GROUP_GONE)?;
        for number in 0..SENT {
            message_id = client.send_with(TOPIC, 0, format!("body {number}").as_bytes(), &[("KEYS", "k")])?.msg_id;
        }
        harness::wait_for("dispatch", || client.max_offset(TOPIC, 0).ok().filter(|&offset| offset == i64::from(SENT)));
        client.commit_offset(GROUP, TOPIC, 0, CONSUMED)?;
        clients.push(client);
    }
    let outputs = mqadmin.run(&[
        format!("topicStatus -t {TOPIC}"),
        format!("brokerStatus -b {}", brokers[0].1),
        format!("consumerProgress -g {GROUP}"),
        format!("consumerConnection -g {GROUP}"),
        format!("producerConnection -g HARNESS_PRODUCER -t {TOPIC}"),
        format!("queryMsgById -t {TOPIC} -i {message_id}"),
        format!("consumerConnection -g {GROUP_GONE}"),
    ]);
    let [status, broker_status, progress, consumers, producers, message, gone] = &outputs[..] else {
        panic!("seven outputs, not {}", outputs.len())
    };
    for (name, _) in brokers {
        // Broker, queue, smallest offset, largest offset.
        expect_row(status, &[name, "0", "0", &SENT.to_string()]);
        expect_row(status, &[name, "5", "0", "0"]);
        // Topic, broker, queue, broker's offset, consumer's offset, difference.
        let behind = (i64::from(SENT) - CONSUMED).to_string();
        expect_row(progress, &[TOPIC, name, "0", &SENT.to_string(), &CONSUMED.to_string(), &behind]);
    }
    check_broker_status(broker_status);
    expect_row(consumers, &["harness@1"]);
    for line in ["ConsumeType: CONSUME_PASSIVELY", "MessageModel: CLUSTERING", "JAVA", "V5_3_3", TOPIC] {
        expect(consumers, line);
    }
    expect(producers, "127.0.0.1");
    for text in ["harness@1", "JAVA", "V5_3_3"] {
        expect(producers, text);
    }
    for text in [TOPIC, message_id.as_str(), "[k]"] {
        expect(message, text);
    }
    expect_row(message, &["Queue", "Offset:", &(SENT - 1).to_string()]);
    expect(gone, "CODE: 206");

    check_deletion(&mut mqadmin, brokers)
}

fn check_creation(mqadmin: &mut Mqadmin, brokers: &[(String, String)]) {
    let outputs = mqadmin.run(&[
        format!("updateTopic -c DefaultCluster -t {TOPIC} -r 6 -w 6"),
        format!("updateSubGroup -c DefaultCluster -g {GROUP} -r 3"),
        format!("setConsumeMode -c DefaultCluster -t {TOPIC} -g {GROUP} -m POP -q 2"),
        format!("setConsumeMode -b {} -t {TOPIC} -g {GROUP} -m PULL", brokers[0].1),
        format!("setConsumeMode -b {} -t NO_SUCH_TOPIC -g {GROUP} -m POP", brokers[0].1),
        "clusterList".to_owned(),
        "topicList".to_owned(),
        format!("topicRoute -t {TOPIC}"),
        "topicRoute -t NO_SUCH_TOPIC".to_owned(),
    ]);
    let [topic, group, popped, pulled, no_mode, clusters, topics, route, no_route] = &outputs[..] else {
        panic!("nine outputs, not {}", outputs.len())
    };
    for (name, address) in brokers {
        expect(topic, &format!("create topic to {address} success."));
        expect(group, &format!("create subscription group to {address} success."));
        expect(popped, &format!("set consume mode to {address} success."));
        expect_row(clusters, &["DefaultCluster", name, "0", address, "V5_3_3"]);
        expect(route, &format!("\"{address}\""));
        expect(route, &format!("\"brokerName\":\"{name}\""));
    }
    expect(topic, "readQueueNums=6, writeQueueNums=6, perm=RW-");
    expect(group, "retryMaxTimes=3");
    expect(pulled, &format!("set consume mode to {} success.", brokers[0].1));
    expect(no_mode, "topic[NO_SUCH_TOPIC] not exist");
    for listed in [TOPIC, "TBW102", "DefaultCluster", "BenchmarkTest", "SELF_TEST_TOPIC", "OFFSET_MOVED_EVENT"] {
        expect_row(topics, &[listed]);
    }
    assert_eq!(route.matches("\"readQueueNums\":6").count(), brokers.len(), "{route}");
    expect(no_route, "CODE: 17");
}

fn check_broker_status(status: &str) {
    expect_row(status, &["brokerVersionDesc", ":", "V5_3_3"]);
    for key in ["brokerActive", "putTps", "getTransferredTps", "msgPutTotalTodayNow", "commitLogMaxOffset", "runtime"] {
        expect(status, key);
    }
}

fn check_deletion(mqadmin: &mut Mqadmin, brokers: &[(String, String)]) -> io::Result<()> {
    let outputs = mqadmin.run(&[
        format!("deleteTopic -c DefaultCluster -t {TOPIC}"),
        "topicList".to_owned(),
        format!("topicRoute -t {TOPIC}"),
    ]);
    let [deleted, topics, route] = &outputs[..] else { panic!("three outputs, not {}", outputs.len()) };
    expect(deleted, &format!("delete topic [{TOPIC}] from NameServer success."));
    assert!(!topics.lines().any(|line| line.trim() == TOPIC), "{TOPIC} is still listed:\n{topics}");
    expect(route, "CODE: 17");
    for (_, address) in brokers {
        let mut client = Client::connect(address)?;
        let request = Frame::request(code::GET_MAX_OFFSET).ext("topic", TOPIC).ext("queueId", 0);
        // Apache answers an offset of 0 for what it does not know; the messages must be gone either way.
        let response = client.call(request)?;
        assert!(response.code != code::SUCCESS || response.ext_number("offset")? <= 0, "{response:?}");
    }
    Ok(())
}
