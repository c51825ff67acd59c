//! What is answered is what was done: no success for what was dropped, no state of what does not exist, no stale number.
//!
//! Each test asks a built node as a client or a tool would, and then looks whether what it was told is so. Stock clients come where it is
//! they who suffered. What it cannot show: that Apache answers alike; `differential.rs` does, where both are to be had.
#![allow(clippy::disallowed_methods, reason = "a test has clocks, files, threads and sockets")]

use std::io::{self, Write as _};
use std::net::{IpAddr, TcpListener};
use std::thread;
use std::time::{Duration, Instant};

use harness::{Client, Frame, NameServer, Node, NodeOptions, Record, SmallDisk, code, expect_passed, wait_for};
use ringmq_peers::{Apache, Missing, StockClient};
use serde_json::{Value, json};

const SLAVE_NOT_AVAILABLE: i32 = 11;
const INVALID_PARAMETER: i32 = 29;
const UPDATE_AND_CREATE_TOPIC_LIST: i32 = 18;
const UPDATE_BROKER_CONFIG: i32 = 25;
const GET_BROKER_CONFIG: i32 = 26;
const GET_BROKER_RUNTIME_INFO: i32 = 28;
const GET_EARLIEST_MSG_STORETIME: i32 = 32;
const CONSUMER_SEND_MSG_BACK: i32 = 36;
const UPDATE_AND_CREATE_SUBSCRIPTIONGROUP: i32 = 200;
const GET_ALL_SUBSCRIPTIONGROUP_CONFIG: i32 = 201;
const GET_TOPIC_STATS_INFO: i32 = 202;
const WIPE_WRITE_PERM_OF_BROKER: i32 = 205;
const ADD_WRITE_PERM_OF_BROKER: i32 = 327;
const GET_CONSUMER_CONNECTION_LIST: i32 = 203;
const DELETE_SUBSCRIPTIONGROUP: i32 = 207;
const UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST: i32 = 225;
const QUERY_TOPIC_CONSUME_BY_WHO: i32 = 300;
const SUBSCRIPTION_GROUP_NOT_EXIST: i32 = 26;
/// Stock clients refuse longer names themselves.
const GROUP_NAME_BYTES_MAX: usize = 255;

fn node(more: &[(&'static str, &str)]) -> Node {
    let more = more.iter().map(|(key, value)| (*key, (*value).to_owned())).collect();
    Node::start(&NodeOptions { more, ..NodeOptions::default() })
}

fn client(node: &Node) -> Client {
    Client::connect(&node.broker(0)).expect("it listens")
}

/// Writes past the test's captured output: what is not tested must be seen.
fn skipped(why: &str) {
    writeln!(io::stderr(), "skipped: {why}").expect("standard error is open");
}

/// One consumer group of a heartbeat, with an expression a topic.
fn consumer(group: &str, topics: &[(String, String)]) -> Value {
    let subscriptions: Vec<Value> = topics
        .iter()
        .map(|(topic, expression)| {
            json!({"classFilterMode": false, "topic": topic, "subString": expression, "tagsSet": [], "codeSet": [],
                   "subVersion": 1, "expressionType": "TAG"})
        })
        .collect();
    json!({"groupName": group, "consumeType": "CONSUME_PASSIVELY", "messageModel": "CLUSTERING",
           "consumeFromWhere": "CONSUME_FROM_FIRST_OFFSET", "unitMode": false, "subscriptionDataSet": subscriptions})
}

fn heartbeat(client: &mut Client, producers: &[String], consumers: &[Value]) -> (i32, String) {
    let producers: Vec<Value> = producers.iter().map(|group| json!({"groupName": group})).collect();
    let body = json!({"clientID": "c@1", "producerDataSet": producers, "consumerDataSet": consumers});
    let answer = client.call(Frame::request(code::HEART_BEAT).body(body.to_string())).expect("it answers");
    (answer.code, answer.remark.unwrap_or_default())
}

fn members(client: &mut Client, group: &str) -> usize {
    let request = Frame::request(code::GET_CONSUMER_LIST_BY_GROUP).ext("consumerGroup", group);
    let answer = client.call(request).expect("it answers");
    if answer.code != code::SUCCESS {
        return 0;
    }
    answer.json().expect("a list")["consumerIdList"].as_array().map_or(0, Vec::len)
}

/// Stock clients allow groups of 255 characters, and Apache serves them. Such a group is a member, reads by its heartbeat's subscription, and
/// gets what it sends back.
#[test]
fn groups_of_up_to_255_characters_are_served() {
    let node = node(&[("messageDelayLevel", "1s 1s 1s")]);
    let mut client = client(&node);
    client.create_topic("T", 1).expect("a topic");
    client.send("T", 0, b"body").expect("it is stored");
    for length in [120, 121, GROUP_NAME_BYTES_MAX] {
        let group = format!("{length}{}", "g".repeat(length - 3));
        let said = heartbeat(&mut client, &[], &[consumer(&group, &[("T".to_owned(), "*".to_owned())])]);
        assert_eq!(said, (0, String::new()), "{length}");
        assert_eq!(members(&mut client, &group), 1, "{length}");
        let pull = Client::pull_request(&group, "T", 0, 0, 1).ext("sysFlag", 0);
        let pulled = Client::pulled(&client.call(pull).expect("it answers")).expect("it is served");
        let record = &pulled.records[0];
        assert_eq!(record.body, b"body", "{length}");
        let back = Frame::request(CONSUMER_SEND_MSG_BACK)
            .ext("offset", record.log_offset)
            .ext("group", &group)
            .ext("delayLevel", 1)
            .ext("originMsgId", "none")
            .ext("originTopic", "T");
        client.expect_success("send back", back).expect("it is taken");
        let retry = format!("%RETRY%{group}");
        let again = wait_for("second try", || client.pull(&group, &retry, 0, 0, 1).ok()?.records.into_iter().next());
        assert_eq!((again.topic.as_str(), again.body.as_slice()), (retry.as_str(), b"body".as_slice()));
        client.commit_offset(&group, &retry, 0, 1).expect("it is stored");
        client.commit_offset(&group, "T", 0, 1).expect("it is stored");
    }
    let too_long = "g".repeat(GROUP_NAME_BYTES_MAX + 1);
    let (code, remark) = heartbeat(&mut client, &[], &[consumer(&too_long, &[])]);
    assert_ne!(code, 0, "it is no member");
    assert!(remark.contains(&too_long), "{remark}");
    // What was acknowledged is there after a restart.
    drop(client);
    let mut node = node;
    assert!(node.stop(Duration::from_secs(20)).success());
    node.restart();
    let mut client = Client::connect(&node.broker(0)).expect("it listens");
    for length in [120, 121, GROUP_NAME_BYTES_MAX] {
        let group = format!("{length}{}", "g".repeat(length - 3));
        for topic in ["T".to_owned(), format!("%RETRY%{group}")] {
            assert_eq!(client.consumer_offset(&group, &topic, 0).expect("it answers"), Some(1), "{length} {topic}");
        }
    }
}

/// The names of the clients' scenarios are as long as topics may be, and a group's is two characters longer.
#[test]
fn stock_clients_consume_in_long_groups() {
    let clients: [(Result<StockClient, Missing>, &[&str]); 3] = [
        (StockClient::java_5(), &["push-concurrent", "push-orderly", "retry-at-once"]),
        (StockClient::java_4(), &["push-concurrent", "push-orderly"]),
        (StockClient::go(), &["push-tags", "push-live"]),
    ];
    for (client, scenarios) in clients {
        let client = match client {
            Ok(client) => client,
            Err(missing) => {
                skipped(&missing.to_string());
                continue;
            }
        };
        let node = node(&[]);
        for scenario in scenarios {
            let prefix = "p".repeat(127 - 1 - scenario.len());
            let outcomes = client.run(&node.name_server(), &prefix, &[scenario], Duration::from_secs(240));
            expect_passed(client.name(), &outcomes.expect("the client runs"));
        }
    }
}

/// What one heartbeat may hold is bounded; what goes beyond is said, and all else of it is taken.
#[test]
fn a_heartbeat_that_is_not_taken_whole_is_no_success() {
    /// Producers, subscriptions of a group, and what the remark names.
    type Case<'a> = (&'a [String], Vec<(String, String)>, &'a str);
    let node = node(&[]);
    let star = |count: usize| (0..count).map(|n| (format!("T{n}"), "*".to_owned())).collect::<Vec<_>>();
    let many_producers: Vec<String> = (0..4_097).map(|n| format!("P{n}")).collect();
    let long = vec![("T".to_owned(), "a||".repeat(30_000))];
    let cases: [Case<'_>; 3] = [(&many_producers, star(1), "4096"), (&[], star(4_097), "4096"), (&[], long, "65536")];
    for (producers, topics, named) in cases {
        let mut client = client(&node);
        let sound = consumer("SOUND", &star(1));
        let (code, remark) = heartbeat(&mut client, producers, &[consumer("G", &topics), sound]);
        assert_eq!(code, code::SYSTEM_ERROR, "{named}: {remark}");
        assert!(remark.contains(named), "{remark}");
        assert_eq!(members(&mut client, "SOUND"), 1, "the other group works");
    }
}

/// A group that may not be created is not consumed for; its heartbeat says so, and the others of the same client count.
#[test]
fn a_heartbeat_for_a_group_that_does_not_exist_is_no_success() {
    let node = node(&[("autoCreateSubscriptionGroup", "false")]);
    let mut client = client(&node);
    let topics = [("T".to_owned(), "*".to_owned())];
    let consumers = [consumer("ABSENT", &topics), consumer("SELF_TEST_C_GROUP", &topics)];
    let (code, remark) = heartbeat(&mut client, &[], &consumers);
    assert_eq!(code, SUBSCRIPTION_GROUP_NOT_EXIST, "{remark}");
    assert!(remark.contains("ABSENT"), "{remark}");
    assert_eq!((members(&mut client, "ABSENT"), members(&mut client, "SELF_TEST_C_GROUP")), (0, 1));
}

/// A late commit brings no deleted group back, and a commit makes none: what belongs to nobody is not stored. As RocketMQ does.
#[test]
fn a_commit_for_a_group_that_does_not_exist_is_refused_and_stored_nowhere() {
    let node = node(&[]);
    let mut client = client(&node);
    client.create_topic("T", 1).expect("a topic");
    client.send("T", 0, b"body").expect("it is stored");
    let commit = |client: &mut Client, group: &str| {
        let request = Frame::request(code::UPDATE_CONSUMER_OFFSET)
            .ext("consumerGroup", group)
            .ext("topic", "T")
            .ext("queueId", 0)
            .ext("commitOffset", 1);
        client.call(request).expect("it answers").code
    };
    let readers = |client: &mut Client| {
        let answer = client.expect_success("readers", Frame::request(QUERY_TOPIC_CONSUME_BY_WHO).ext("topic", "T"));
        answer.expect("it answers").json().expect("a list")["groupList"].clone()
    };
    assert_eq!(commit(&mut client, "NEVER"), SUBSCRIPTION_GROUP_NOT_EXIST);
    assert_eq!(client.consumer_offset("NEVER", "T", 0).expect("it answers"), None);
    assert_eq!(readers(&mut client), json!([]));

    client.heartbeat("c@1", "GONE", "T").expect("it is taken");
    assert_eq!(commit(&mut client, "GONE"), code::SUCCESS);
    client.unregister("c@1", "GONE").expect("it is taken");
    let delete = Frame::request(DELETE_SUBSCRIPTIONGROUP).ext("groupName", "GONE").ext("cleanOffset", true);
    client.expect_success("delete the group", delete).expect("it is deleted");
    assert_eq!(commit(&mut client, "GONE"), SUBSCRIPTION_GROUP_NOT_EXIST);
    assert_eq!(client.consumer_offset("GONE", "T", 0).expect("it answers"), None);
    assert_eq!(readers(&mut client), json!([]));
    let groups = client.expect_success("groups", Frame::request(GET_ALL_SUBSCRIPTIONGROUP_CONFIG)).expect("it answers");
    let groups = groups.json().expect("a table")["subscriptionGroupTable"].clone();
    assert!(groups.get("NEVER").is_none() && groups.get("GONE").is_none(), "{groups}");
}

/// What retention has removed is gone for everyone who asks, whether somebody has read there since or not, and after a restart as well.
#[test]
fn the_smallest_offset_is_that_of_the_first_message_that_is_left() {
    let Some(disk) = SmallDisk::ext4(96) else { return };
    let more = [
        ("cleanFileForciblyEnable", "true"),
        ("diskSpaceCleanForciblyRatio", "20"),
        ("mappedFileSizeCommitLog", "8388608"),
        ("tailSize", "8388608"),
        ("maxMessageSize", "1048576"),
    ];
    let more = more.map(|(key, value)| (key, value.to_owned())).to_vec();
    let mut node =
        Node::start(&NodeOptions { more, store_dir: Some(disk.path().join("store")), ..NodeOptions::default() });
    let mut connected = client(&node);
    connected.create_topic("T", 1).expect("a topic");
    for _ in 0..400 {
        connected.send("T", 0, &[1; 100_000]).expect("it is stored");
    }
    let removed = wait_for("retention", || {
        let log_start = log_start(&mut connected);
        // Segments still go while the disk has little room: it must have come to rest.
        thread::sleep(Duration::from_millis(500));
        (log_start > 0 && log_start == self::log_start(&mut connected)).then_some(log_start)
    });
    let said = |client: &mut Client| {
        let stats = client.expect_success("stats", Frame::request(GET_TOPIC_STATS_INFO).ext("topic", "T"));
        let stats = String::from_utf8(stats.expect("it answers").body).expect("text");
        let earliest = Frame::request(GET_EARLIEST_MSG_STORETIME).ext("topic", "T").ext("queueId", 0);
        let earliest = client.expect_success("time", earliest).expect("it answers").ext_number("timestamp");
        let stats = stats.split("\"minOffset\":").nth(1).expect("a queue").split([',', '}']).next().expect("a number");
        (
            client.min_offset("T", 0).expect("it answers"),
            stats.parse::<i64>().expect("a number"),
            earliest.expect("one"),
        )
    };
    let before = said(&mut connected);
    assert!(node.stop(Duration::from_secs(20)).success());
    node.options_mut().more.retain(|(key, _)| *key != "cleanFileForciblyEnable");
    node.restart();
    let mut connected = client(&node);
    assert_eq!(log_start(&mut connected), removed, "nothing more went meanwhile");
    let after = said(&mut connected);
    let pulled = connected.pull("G", "T", 0, 0, 1).expect("it answers").next_begin_offset;
    let first = &connected.pull("G", "T", 0, pulled, 1).expect("it answers").records[0];
    let truth = (first.queue_offset, first.queue_offset, first.store_timestamp_ms);
    assert!(first.log_offset >= removed && first.queue_offset > 0, "{first:?}");
    assert_eq!([before, after], [truth, truth], "before and after a restart");
}

/// Where the log begins.
fn log_start(client: &mut Client) -> i64 {
    let info = client.expect_success("runtime", Frame::request(GET_BROKER_RUNTIME_INFO)).expect("it answers");
    let info = info.json().expect("a table")["table"]["commitLogMinOffset"].clone();
    info.as_str().expect("text").parse().expect("a number")
}

/// On `::` the kernel shows IPv4 clients as IPv6. What is stored is what they are: other records stop C++ and Python consumers.
#[test]
fn clients_over_ipv4_are_stored_as_such_on_a_dual_stack_socket() {
    if let Err(error) = TcpListener::bind("[::]:0") {
        return skipped(&format!("this machine has no IPv6: {error}"));
    }
    let node = node(&[("bindAddress", "::")]);
    let ipv4 = |record: &Record| {
        let hosts = [record.born_host.ip(), record.store_host.ip()];
        (hosts, record.sys_flag) == ([IpAddr::from([127, 0, 0, 1]); 2], 0)
    };
    let mut connected = client(&node);
    connected.create_topic("T", 1).expect("a topic");
    connected.send("T", 0, b"main port").expect("it is stored");
    let port: u16 = node.broker(0).rsplit(':').next().expect("a port").parse().expect("a number");
    let mut vip = Client::connect(&format!("127.0.0.1:{}", port - 2)).expect("it listens");
    vip.send("T", 0, b"VIP port").expect("it is stored");
    let records = connected.read_queue("T", 0, 0).expect("it answers");
    assert!(records.len() == 2 && records.iter().all(ipv4), "{records:?}");
    connected.heartbeat("c@1", "G", "T").expect("it is taken");
    let online = Frame::request(GET_CONSUMER_CONNECTION_LIST).ext("consumerGroup", "G");
    let online = connected.expect_success("who is online", online).expect("it answers").json().expect("a table");
    let address = online["connectionSet"][0]["clientAddr"].as_str().expect("an address");
    assert!(address.starts_with("127.0.0.1:"), "{address}");
    match StockClient::python() {
        Ok(python) => {
            let outcomes = python.run(&node.name_server(), "dual", &["push-tags"], Duration::from_secs(240));
            expect_passed(python.name(), &outcomes.expect("the client runs"));
        }
        Err(missing) => skipped(&missing.to_string()),
    }
}

/// Draining for maintenance holds: what happens to other topics and groups gives no write permission back, wherever the name server is.
#[test]
fn a_wiped_write_permission_stays_wiped_whatever_else_changes() {
    let whole = NameServer::start(&[]);
    let strict = NameServer::start(&[("deleteTopicWithBrokerRegistration", "true")]);
    for name_server in [&whole, &strict] {
        let address = name_server.address();
        let node = Node::start(&NodeOptions { name_servers: Some(address.clone()), ..NodeOptions::default() });
        let (mut broker, mut names) = (client(&node), Client::connect(&address).expect("it listens"));
        let permission = |names: &mut Client, topic: &str| {
            let route = names.route(topic).expect("it answers");
            route.map(|route| route["queueDatas"][0]["perm"].as_i64().expect("a number"))
        };
        broker.create_topic("OLD", 1).expect("a topic");
        let wipe = Frame::request(WIPE_WRITE_PERM_OF_BROKER).ext("brokerName", "broker-a");
        names.expect_success("wipe", wipe).expect("it is wiped");
        assert_eq!(permission(&mut names, "OLD"), Some(4));
        let unchanged = |names: &mut Client, after: &str| {
            // Each of these is answered when the name server knows of it.
            assert_eq!(permission(names, "OLD"), Some(4), "after {after}");
            assert_eq!(permission(names, "BenchmarkTest"), Some(4), "after {after}");
        };
        broker.create_topic("MADE", 1).expect("a topic");
        unchanged(&mut names, "a topic was created");
        assert_eq!(permission(&mut names, "MADE"), Some(6), "a new topic is registered as it is");
        broker.send("SENT", 0, b"body").expect("it is stored");
        unchanged(&mut names, "a send created a topic");
        broker.heartbeat("c@1", "G", "OLD").expect("it is taken");
        unchanged(&mut names, "a group's retry topic came to be");
        let delete = Frame::request(code::DELETE_TOPIC_IN_BROKER).ext("topic", "MADE");
        broker.expect_success("delete", delete).expect("it is deleted");
        unchanged(&mut names, "a topic was deleted");
        assert!(permission(&mut names, "SENT").is_some(), "what was told alone has displaced nothing");
        let add = Frame::request(ADD_WRITE_PERM_OF_BROKER).ext("brokerName", "broker-a");
        names.expect_success("add", add).expect("it is back");
        assert_eq!(permission(&mut names, "OLD"), Some(6));
    }
}

/// The same before Apache's name server, whose rules these are.
#[test]
fn a_wiped_write_permission_stays_wiped_at_apaches_name_server() {
    let apache = match Apache::locate() {
        Ok(apache) => apache,
        Err(missing) => return skipped(&missing.to_string()),
    };
    let name_server = apache.start_name_server().expect("it starts");
    let address = name_server.address();
    let node = Node::start(&NodeOptions { name_servers: Some(address.clone()), ..NodeOptions::default() });
    let (mut broker, mut names) = (client(&node), Client::connect(&address).expect("it listens"));
    broker.create_topic("OLD", 1).expect("a topic");
    let wipe = Frame::request(WIPE_WRITE_PERM_OF_BROKER).ext("brokerName", "broker-a");
    names.expect_success("wipe", wipe).expect("it is wiped");
    broker.create_topic("MADE", 1).expect("a topic");
    broker.heartbeat("c@1", "G", "OLD").expect("it is taken");
    let route = names.route("OLD").expect("it answers").expect("a route");
    assert_eq!(route["queueDatas"][0]["perm"], 4);
}

/// One of the name servers takes connections and never says a word: a hung process, or a firewall that drops what follows the handshake. No reply
/// comes so late that a client has given up.
#[test]
fn a_silent_name_server_delays_no_reply_beyond_a_clients_patience() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let name_server = NameServer::start(&[]);
    let both = format!("{};{}", name_server.address(), silent.local_addr().expect("it is bound"));
    let node = Node::start(&NodeOptions { name_servers: Some(both), ..NodeOptions::default() });
    let mut connected = client(&node);
    let mut slowest = Vec::new();
    for round in 0..3 {
        let begun = Instant::now();
        connected.create_topic(&format!("MADE{round}"), 4).expect("a topic");
        let made = begun.elapsed();
        connected.send(&format!("SENT{round}"), 0, b"body").expect("it is stored");
        let sent = begun.elapsed() - made;
        connected.heartbeat("c@1", &format!("G{round}"), "SENT0").expect("it is taken");
        slowest.push([made, sent, begun.elapsed() - made - sent].into_iter().max().expect("three"));
    }
    // What a busy machine takes is in this as well; the wait itself is half a second, and for the first of these only.
    assert!(slowest.iter().all(|took| *took < Duration::from_millis(2_000)), "{slowest:?}");
    assert!(slowest[2] < Duration::from_millis(400), "nobody waits for it again and again: {slowest:?}");
    let mut names = Client::connect(&name_server.address()).expect("it listens");
    for topic in ["MADE2", "SENT2", "%RETRY%G2"] {
        assert!(names.route(topic).expect("it answers").is_some(), "{topic} was not known when it was answered");
    }
}

/// Values in the forms that RocketMQ's own files have start a node, mean what they mean there, and may be set online.
#[test]
fn values_are_read_by_rocketmqs_grammar() {
    let node = node(&[
        ("deleteWhen", "04;16"),
        // RocketMQ brings these within bounds.
        ("diskMaxUsedSpaceRatio", "98"),
        ("diskSpaceCleanForciblyRatio", "5"),
        ("registerNameServerPeriod", "5000"),
        // Its separators, at the end as well.
        ("messageDelayLevel", "1s  5s 1m"),
        ("slaveTimeout", "+3000"),
        ("traceOn", "TRUE"),
    ]);
    let mut connected = client(&node);
    let mut in_force = |expected: &[(&str, &str)]| {
        let answer = connected.expect_success("settings", Frame::request(GET_BROKER_CONFIG)).expect("it answers");
        let text = String::from_utf8(answer.body).expect("text");
        for (key, value) in expected {
            assert!(text.lines().any(|line| line == format!("{key}={value}")), "{key} is not {value} in\n{text}");
        }
    };
    in_force(&[
        ("deleteWhen", "04;16"),
        ("diskMaxUsedSpaceRatio", "95"),
        ("diskSpaceCleanForciblyRatio", "20"),
        ("registerNameServerPeriod", "10000"),
        ("messageDelayLevel", "1s 5s 1m"),
        ("slaveTimeout", "3000"),
        ("traceOn", "true"),
    ]);
    let online = Frame::request(UPDATE_BROKER_CONFIG).body("deleteWhen=00;12;23\ndiskMaxUsedSpaceRatio=3\n");
    client(&node).expect_success("settings", online).expect("they change");
    in_force(&[("deleteWhen", "00;12;23"), ("diskMaxUsedSpaceRatio", "10")]);
}

/// A new group reads a young queue from its first message, and a queue is young as long as RocketMQ's users are used to: until 40 % of the memory
/// was stored since. Far less than that is the tail, 8 MiB here.
#[test]
fn a_new_group_does_not_skip_what_was_sent_some_traffic_ago() {
    let mut node = node(&[("tailSize", "8388608"), ("maxMessageSize", "1048576")]);
    let mut connected = client(&node);
    for topic in ["T", "TRAFFIC"] {
        connected.create_topic(topic, 2).expect("a topic");
    }
    connected.send("T", 0, b"first").expect("it is stored");
    for _ in 0..20 {
        connected.send("TRAFFIC", 0, &[1; 1_000_000]).expect("it is stored");
    }
    let begins = |client: &mut Client, queue_id: i32| {
        let request = Frame::request(code::QUERY_CONSUMER_OFFSET)
            .ext("consumerGroup", "NEW")
            .ext("topic", "T")
            .ext("queueId", queue_id);
        let answer = client.call(request).expect("it answers");
        (answer.code, answer.ext.get("offset").cloned())
    };
    let at_first = (code::SUCCESS, Some("0".to_owned()));
    assert_eq!(begins(&mut connected, 0), at_first);
    assert_eq!(begins(&mut connected, 1), at_first, "an empty queue");
    assert!(node.stop(Duration::from_secs(20)).success());
    node.restart();
    let mut connected = client(&node);
    assert_eq!(begins(&mut connected, 0), at_first, "after a restart");
    let online = Frame::request(UPDATE_BROKER_CONFIG).body("accessMessageInMemoryMaxRatio=0");
    connected.expect_success("settings", online).expect("it changes");
    assert_eq!(
        begins(&mut connected, 0),
        (code::QUERY_NOT_FOUND, None),
        "an old queue: the consumers say where to begin"
    );
}

/// Each settings promises something that is not there: refused at the start, in one sentence. What asks for nothing is accepted.
#[test]
fn settings_that_would_do_nothing_are_refused() {
    for (key, value) in [
        ("enableMultiDispatch", "true"),
        ("enableMixedMessageType", "true"),
        ("timerStopEnqueue", "true"),
        ("rejectPullConsumerEnable", "true"),
        ("allAckInSyncStateSet", "true"),
        ("metricsExporterType", "PROM"),
        ("messageStorePlugIn", "org.apache.rocketmq.tieredstore.TieredMessageStore"),
        ("fetchNamesrvAddrByAddressServer", "true"),
        ("configBlackList", "maxMessageSize"),
        ("aclEnable", "true"),
    ] {
        let options = NodeOptions { more: vec![(key, value.to_owned())], ..NodeOptions::default() };
        let refused = Node::try_start(&options).map(|_| ()).expect_err(key).to_string();
        assert!(refused.contains(&format!("{key}={value}")), "{refused}");
    }
    let node = node(&[
        ("enableLmq", "false"),
        ("metricsExporterType", "DISABLE"),
        ("messageStorePlugIn", ""),
        ("defaultMessageRequestMode", "PULL"),
    ]);
    let change = Frame::request(UPDATE_BROKER_CONFIG).body("enableMixedMessageType=true");
    let change = client(&node).call(change).expect("it answers");
    assert_ne!(change.code, code::SUCCESS, "nor online");
}

/// As RocketMQ's `alterCurrentAttributes`, wherever attributes come from, and what is not there yet is not promised.
#[test]
fn attributes_are_checked_by_name_and_value() {
    let node = node(&[]);
    let mut connected = client(&node);
    let mut made = 0;
    let mut by_17 = |client: &mut Client, topic: Option<&str>, attributes: &str| {
        made += 1;
        let request = Frame::request(code::UPDATE_AND_CREATE_TOPIC)
            .ext("topic", topic.map_or(format!("T{made}"), str::to_owned))
            .ext("defaultTopic", "TBW102")
            .ext("readQueueNums", 1)
            .ext("writeQueueNums", 1)
            .ext("perm", 6)
            .ext("topicFilterType", "SINGLE_TAG")
            .ext("topicSysFlag", 0)
            .ext("order", false)
            .ext("attributes", attributes);
        client.call(request).expect("it answers").code
    };
    for (attributes, expected) in [
        ("+message.type=FIFO", code::SUCCESS),
        ("+queue.type=SimpleCQ,+cleanup.policy=DELETE", code::SUCCESS),
        ("+message.type=WRONG", code::SYSTEM_ERROR),
        ("+message.type=MIXED", INVALID_PARAMETER),
        ("+queue.type=BatchCQ", code::SUCCESS),
        ("+queue.type=batchcq", code::SYSTEM_ERROR),
        ("+cleanup.policy=COMPACTION", code::SYSTEM_ERROR),
        ("+reserve.time=never", code::SYSTEM_ERROR),
        ("+nonsense=1", code::SYSTEM_ERROR),
        ("-message.type", code::SYSTEM_ERROR),
    ] {
        assert_eq!(by_17(&mut connected, None, attributes), expected, "{attributes}");
    }
    assert_eq!(by_17(&mut connected, Some("T1"), "+message.type=NORMAL"), code::SUCCESS);
    assert_eq!(by_17(&mut connected, Some("T1"), "+message.type=WRONG"), code::SYSTEM_ERROR);
    assert_eq!(by_17(&mut connected, Some("T1"), "-queue.type"), code::SYSTEM_ERROR, "it has none");
    let of_t1 = connected.expect_success("topic", Frame::request(code::GET_TOPIC_CONFIG).ext("topic", "T1"));
    let of_t1 = of_t1.expect("it answers").json().expect("settings")["attributes"].clone();
    assert_eq!(of_t1, json!({"message.type": "NORMAL"}));

    let attributes = |key: &str, value: &str| json!({ key: value });
    let by_18 = |client: &mut Client, attributes: Value| {
        let topic = |name: &str, attributes: Value| {
            json!({"topicName": name, "readQueueNums": 1, "writeQueueNums": 1, "perm": 6, "topicFilterType": "SINGLE_TAG",
                   "topicSysFlag": 0, "order": false, "attributes": attributes})
        };
        let body = json!({"topicConfigList": [topic("A", json!({})), topic("B", attributes)]});
        client.call(Frame::request(UPDATE_AND_CREATE_TOPIC_LIST).body(body.to_string())).expect("it answers").code
    };
    assert_eq!(by_18(&mut connected, attributes("+message.type", "WRONG")), code::SYSTEM_ERROR);
    assert_eq!(by_18(&mut connected, attributes("message.type", "FIFO")), code::SYSTEM_ERROR);
    assert!(connected.send("A", 0, b"x").is_ok(), "made by the send alone");
    assert_eq!(by_18(&mut connected, attributes("+message.type", "FIFO")), code::SUCCESS);
    let by_200 = |client: &mut Client, code: i32, attributes: Value| {
        let group = json!({"groupName": "G", "attributes": attributes});
        let list = code == UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST;
        let body = if list { json!({"groupConfigList": [group]}) } else { group };
        client.call(Frame::request(code).body(body.to_string())).expect("it answers").code
    };
    for code in [UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST] {
        assert_eq!(by_200(&mut connected, code, attributes("+anything", "1")), code::SYSTEM_ERROR);
        assert_eq!(by_200(&mut connected, code, json!({})), code::SUCCESS);
    }
}

/// A message that is sent back is stored once. A client that is not told success puts a second copy up itself.
#[test]
fn a_message_sent_back_without_a_slave_is_stored_once() {
    let node = node(&[("brokerRole", "SYNC_MASTER"), ("messageDelayLevel", "1s 1s 1s")]);
    let mut connected = client(&node);
    connected.create_topic("T", 1).expect("a topic");
    connected.heartbeat("c@1", "G", "T").expect("it is taken");
    let sent = connected.send("T", 0, b"body").expect("it is stored");
    assert_eq!(sent.code, SLAVE_NOT_AVAILABLE, "a send can say so");
    let record = connected.pull("G", "T", 0, 0, 1).expect("it answers").records.remove(0);
    let back = Frame::request(CONSUMER_SEND_MSG_BACK)
        .ext("offset", record.log_offset)
        .ext("group", "G")
        .ext("delayLevel", 1)
        .ext("originMsgId", sent.msg_id)
        .ext("originTopic", "T");
    assert_eq!(connected.call(back).expect("it answers").code, code::SUCCESS);
    wait_for("second try", || (connected.max_offset("%RETRY%G", 0).ok()? == 1).then_some(()));
}

/// Whoever waits for nothing asks for no replica.
#[test]
fn min_in_sync_replicas_is_for_those_who_wait() {
    let node = node(&[("brokerRole", "SYNC_MASTER"), ("minInSyncReplicas", "2")]);
    let mut connected = client(&node);
    connected.create_topic("T", 1).expect("a topic");
    let refused = connected.send("T", 0, b"waits").expect_err("there is one replica only");
    assert!(refused.to_string().contains("in-sync replicas not enough"), "{refused}");
    let taken = connected.send_with("T", 0, b"does not", &[("WAIT", "false")]).expect("it is stored");
    assert_eq!((taken.code, taken.queue_offset), (code::SUCCESS, 0));
}

/// A negative offset is none, but for the -1 with which Go says that it has none.
#[test]
fn a_commit_of_a_negative_offset_is_refused() {
    let node = node(&[]);
    let mut connected = client(&node);
    connected.create_topic("T", 1).expect("a topic");
    connected.heartbeat("c@1", "G", "T").expect("it is taken");
    for _ in 0..3 {
        connected.send("T", 0, b"body").expect("it is stored");
    }
    connected.commit_offset("G", "T", 0, 2).expect("it is stored");
    assert!(connected.commit_offset("G", "T", 0, -5).is_err());
    connected.commit_offset("G", "T", 0, -1).expect("it says nothing");
    assert_eq!(connected.consumer_offset("G", "T", 0).expect("it answers"), Some(2));
}

/// A terminal that closes ends the node as SIGTERM does.
#[test]
fn a_hangup_stops_a_node_in_order() {
    let mut node = node(&[]);
    let mut connected = client(&node);
    connected.create_topic("T", 1).expect("a topic");
    connected.heartbeat("c@1", "G", "T").expect("it is taken");
    connected.send("T", 0, b"body").expect("it is stored");
    connected.commit_offset("G", "T", 0, 1).expect("it is stored");
    let id = node.process().id().to_string();
    let sent = std::process::Command::new("kill").args(["-HUP", &id]).status().expect("there is a kill");
    assert!(sent.success());
    assert!(node.stop(Duration::from_secs(20)).success(), "it is no failure");
    node.restart();
    let mut connected = client(&node);
    assert_eq!(connected.consumer_offset("G", "T", 0).expect("it answers"), Some(1), "what a kill may lose");
    assert_eq!(connected.read_queue("T", 0, 0).expect("it answers").len(), 1);
}

/// A port that takes connections belongs to a broker that serves: a probe that only connects is not misled.
#[test]
fn whoever_can_connect_during_a_start_is_served_at_once() {
    let mut node = node(&[("mappedFileSizeCommitLog", "8388608"), ("maxMessageSize", "1048576")]);
    let mut connected = client(&node);
    connected.create_topic("T", 1).expect("a topic");
    for _ in 0..60 {
        connected.send("T", 0, &[1; 1_000_000]).expect("it is stored");
    }
    drop(connected);
    let address = node.broker(0);
    for round in 0..6 {
        if round % 2 == 0 {
            node.kill()
        } else {
            assert!(node.stop(Duration::from_secs(20)).success())
        }
        // The kernel keeps a killed process's sockets for a moment.
        wait_for("closed port", || Client::connect(&address).err());
        let address = address.clone();
        let probe = thread::spawn(move || {
            loop {
                if let Ok(mut client) = Client::connect(&address) {
                    let connected = Instant::now();
                    let answer = client.call(Frame::request(GET_BROKER_RUNTIME_INFO));
                    return answer.map(|answer| (answer.code, connected.elapsed()));
                }
                thread::sleep(Duration::from_micros(200));
            }
        });
        node.restart();
        let (code, took) = probe.join().expect("it does not panic").expect("whoever is let in is answered");
        assert_eq!(code, code::SUCCESS);
        assert!(
            took < Duration::from_millis(500),
            "round {round}: the port was open {took:?} before the broker served"
        );
    }
}

/// Tools see how full the disk of the store is.
#[test]
fn the_disk_in_use_is_shown() {
    let node = node(&[]);
    let ratio = wait_for("look at the disk", || {
        let answer = client(&node).call(Frame::request(GET_BROKER_RUNTIME_INFO)).ok()?;
        let table = answer.json().ok()?["table"].clone();
        let ratio: f64 = table["commitLogDiskRatio"].as_str()?.parse().ok()?;
        (ratio > 0.0).then_some(ratio)
    });
    assert!(ratio < 1.0, "{ratio}");
}
