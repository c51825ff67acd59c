//! Requests to Apache RocketMQ 5.3.3 and to ringmq, answer beside answer; and each one's brokers with the other's name
//! server.
//!
//! Response codes, names of ext fields, and bodies must be the same but for what cannot be (times, ids, offsets in the
//! log). A difference that is meant stands in [`KNOWN_DIFFERENCES`] with its reason; any other is a failure, and so is
//! an entry that no longer holds. This cannot show timing, nor what only a sequence of clients would bring out.
#[path = "differential/script.rs"]
mod script;

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::time::Duration;

use harness::{Client, Frame, NameServer, Node, NodeOptions, code};
use ringmq_peers::{Apache, BrokerOptions, Flush, StockClient};
use script::{Answers, run_script};

/// Step of the script, beginning of the path in its answer, and why ringmq differs there.
const KNOWN_DIFFERENCES: [(&str, &str, &str); 26] = [
    ("all topic configs", "ext.totalTopicNum", "clients that page need the total, whoever asks"),
    ("send without body", "code", "no retry helps a message without body: illegal, not a system error"),
    ("send without body", "ext.", "Apache fails on it before it has an answer"),
    ("who consumes", "body.groupList[", "Apache lists a topic's name as if it were a group"),
    ("runtime", "body.table.getTransferedTps", "the exporter asks for the old spelling"),
    ("runtime", "body.table.remainHowManyDataToCommit", "the exporter needs it, whatever the store is"),
    ("runtime", "body.table.stage", "latency by stage, which RocketMQ does not measure"),
    ("runtime", "body.table.sendHeaders", "how headers were read, of which RocketMQ has one way"),
    ("runtime", "body.table.damagedMessages", "damage, which RocketMQ does not count"),
    ("runtime", "body.table.timerMessagesRecalled", "RocketMQ does not count them"),
    ("runtime", "body.table.popsWithoutRoom", "RocketMQ does not count them"),
    ("runtime", "body.table.memoryOfQueues", "what tables cost, which RocketMQ does not say"),
    ("runtime", "body.table.memoryOfIndex", "what tables cost, which RocketMQ does not say"),
    ("runtime", "body.table.memoryOfTopics", "what tables cost, which RocketMQ does not say"),
    ("runtime", "body.table.memoryOfGroups", "what tables cost, which RocketMQ does not say"),
    ("runtime", "body.table.memoryOfOffsets", "what tables cost, which RocketMQ does not say"),
    ("runtime", "body.table.memoryOfClients", "what tables cost, which RocketMQ does not say"),
    ("runtime", "body.table.failedReads", "likewise"),
    ("runtime", "body.table.unreadableBlocks", "likewise"),
    ("runtime", "body.table.indexBlocksRebuilt", "likewise"),
    ("runtime", "body.table.scrub", "how far the scrub is, which RocketMQ has not"),
    ("reset a queue that is not there", "code", "it is refused: Apache makes it"),
    ("reset a queue that is not there", "body.offsetTable.", "the same"),
    ("where it stands beyond the end", "ext.offset", "who goes on from there would miss what takes those places"),
    ("entries of no topic", "code", "Apache makes queues of topics that are asked about"),
    (
        "where all groups stand",
        "body.totalInflightDiff",
        "Apache takes 0 for what was pulled: less than nothing is in flight",
    ),
];

/// The same for ringmq's name server before Apache's broker.
const NAME_SERVER_DIFFERENCES: [(&str, &str, &str); 0] = [];

/// Scenarios that touch name server and broker alike.
const SCENARIOS: [&str; 4] = ["create-topic", "auto-create", "push-concurrent", "pull"];
const TIMEOUT: Duration = Duration::from_secs(120);

/// Writes past the test's captured output: what is not tested must be seen.
fn skipped(why: &str) {
    writeln!(io::stderr(), "skipped: {why}").expect("standard error is open");
}

/// Apache, or `None` with one line that says why this test is skipped.
fn apache_or_skip() -> Option<Apache> {
    Apache::locate().map_err(|missing| skipped(&missing.to_string())).ok()
}

fn answers_of_apache(apache: &Apache) -> io::Result<Answers> {
    let name_server = apache.start_name_server().expect("it starts");
    let broker = apache.start_broker(&checksummed(&name_server.address())).expect("it starts");
    run_script(&name_server.address(), &broker.address())
}

/// Apache's broker, told to write the checksum into each record that ringmq always writes, and to let a slave serve locks while its master
/// is away, as ringmq's always may.
fn checksummed(name_server: &str) -> BrokerOptions {
    let more = ["enabledAppendPropCRC", "enableSlaveActingMaster"].map(|key| (key.to_owned(), "true".to_owned()));
    BrokerOptions { more: more.to_vec(), ..BrokerOptions::small(name_server) }
}

#[test]
fn ringmq_answers_as_apache_does() -> io::Result<()> {
    let Some(apache) = apache_or_skip() else { return Ok(()) };
    let node = Node::start(&NodeOptions { flush: Flush::Async, ..NodeOptions::default() });
    let ours = run_script(&node.name_server(), &node.broker(0))?;
    compare(&answers_of_apache(&apache)?, &ours, &KNOWN_DIFFERENCES);
    Ok(())
}

/// What differs between two Apache clusters is no property of a broker, and the script must mask it.
#[test]
fn apache_answers_as_apache_does() -> io::Result<()> {
    if std::env::var_os("RINGMQ_REFERENCE").is_none() {
        skipped("the script on two Apache clusters: RINGMQ_REFERENCE=1 runs it, for changes of the script");
        return Ok(());
    }
    let Some(apache) = apache_or_skip() else { return Ok(()) };
    compare(&answers_of_apache(&apache)?, &answers_of_apache(&apache)?, &[]);
    Ok(())
}

/// Fails with every path that differs and is not known, and every known one that does not differ.
fn compare(apache: &Answers, ours: &Answers, known: &[(&str, &str, &str)]) {
    let mut findings = Vec::new();
    let mut met = vec![false; known.len()];
    let steps: Vec<&str> = apache.iter().map(|(step, _)| step.as_str()).collect();
    assert_eq!(steps, ours.iter().map(|(step, _)| step.as_str()).collect::<Vec<_>>(), "the script took other steps");
    for ((step, expected), (_, found)) in apache.iter().zip(ours) {
        for (path, theirs, own) in differences(expected, found) {
            let entry = known.iter().position(|(known_step, prefix, _)| known_step == step && path.starts_with(prefix));
            match entry {
                Some(index) => met[index] = true,
                None => findings.push(format!("{step}: {path}: Apache {theirs}, ringmq {own}")),
            }
        }
    }
    for ((step, path, _), met) in known.iter().zip(met) {
        if !met {
            findings.push(format!("{step}: {path} no longer differs: take it out of KNOWN_DIFFERENCES"));
        }
    }
    assert!(findings.is_empty(), "{} differences:\n{}", findings.len(), findings.join("\n"));
}

/// Paths whose values differ, with both values.
fn differences(apache: &BTreeMap<String, String>, ours: &BTreeMap<String, String>) -> Vec<(String, String, String)> {
    let mut paths: Vec<&String> = apache.keys().chain(ours.keys()).collect();
    paths.sort_unstable();
    paths.dedup();
    let value =
        |answer: &BTreeMap<String, String>, path: &String| answer.get(path).cloned().unwrap_or("nothing".into());
    paths
        .into_iter()
        .map(|path| (path.clone(), value(apache, path), value(ours, path)))
        .filter(|(_, theirs, own)| theirs != own)
        .collect()
}

/// Apache's broker behind ringmq's name server: only the name server differs, so the whole script must agree, and stock
/// clients find their way.
#[test]
fn apache_broker_with_our_name_server() -> io::Result<()> {
    let Some(apache) = apache_or_skip() else { return Ok(()) };
    let name_server = NameServer::start(&[]);
    let broker = apache.start_broker(&BrokerOptions::small(&name_server.address())).expect("it starts");
    check_route(&name_server.address(), &broker.address());
    check_client(&name_server.address(), "ours");
    drop(broker);

    let name_server = NameServer::start(&[]);
    let broker = apache.start_broker(&checksummed(&name_server.address())).expect("it starts");
    let ours = run_script(&name_server.address(), &broker.address())?;
    compare(&answers_of_apache(&apache)?, &ours, &NAME_SERVER_DIFFERENCES);
    Ok(())
}

/// ringmq and Apache side by side in one cluster: the client spreads over both.
#[test]
fn both_brokers_in_one_cluster() {
    let Some(apache) = apache_or_skip() else { return };
    let node = Node::start(&NodeOptions::default());
    let options =
        BrokerOptions { broker_name: "broker-apache".to_owned(), ..BrokerOptions::small(&node.name_server()) };
    let broker = apache.start_broker(&options).expect("it starts");
    check_route(&node.name_server(), &broker.address());
    check_route(&node.name_server(), &node.broker(0));
    check_client(&node.name_server(), "mixed");
}

/// Stock clients through ringmq's broker behind Apache's name server.
#[test]
fn our_broker_with_apache_name_server() {
    let Some(apache) = apache_or_skip() else { return };
    let name_server = apache.start_name_server().expect("it starts");
    let name_servers = Some(name_server.address());
    let node = Node::start(&NodeOptions { shards: 2, name_servers, ..NodeOptions::default() });
    for shard in 0..2 {
        check_route(&name_server.address(), &node.broker(shard));
    }
    check_client(&name_server.address(), "theirs");
}

fn check_route(name_server: &str, broker: &str) {
    harness::wait_for(&format!("route to {broker}"), || {
        let route = Client::connect(name_server).and_then(|mut client| client.route("TBW102")).ok().flatten()?;
        route.to_string().contains(&format!("\"{broker}\"")).then_some(())
    });
}

fn check_client(name_server: &str, prefix: &str) {
    let client = match StockClient::java_5() {
        Ok(client) => client,
        Err(missing) => return skipped(&missing.to_string()),
    };
    for outcome in client.run(name_server, prefix, &SCENARIOS, TIMEOUT).expect("the client runs") {
        assert!(outcome.passed, "{}: {:?}", outcome.scenario, outcome.error);
    }
}

/// The hand-written client speaks the protocol as Apache does; else its verdicts on ringmq would be worth nothing.
#[test]
fn the_harness_speaks_to_apache() -> io::Result<()> {
    let Some(apache) = apache_or_skip() else { return Ok(()) };
    let name_server = apache.start_name_server().expect("it starts");
    let broker = apache.start_broker(&BrokerOptions::small(&name_server.address())).expect("it starts");
    check_harness(&name_server.address(), &broker.address())
}

/// The same on ringmq: the shortest test that says that a node works.
#[test]
fn the_harness_speaks_to_ringmq() -> io::Result<()> {
    let node = Node::start(&NodeOptions::default());
    check_harness(&node.name_server(), &node.broker(0))
}

fn check_harness(name_server: &str, broker: &str) -> io::Result<()> {
    let mut client = Client::connect(broker)?;
    client.create_topic("T", 4)?;
    let mut names = Client::connect(name_server)?;
    let route = names.route("T")?.expect("a created topic has a route");
    assert_eq!(route["brokerDatas"][0]["brokerAddrs"]["0"], broker);
    assert!(names.route("NONE")?.is_none());

    let receipt = client.send_with("T", 1, b"one", &[("TAGS", "a"), ("own", "x")])?;
    assert_eq!((receipt.code, receipt.queue_id, receipt.queue_offset), (0, 1, 0));
    let binary = client.call(Client::send_request("T", 1, b"two", &[]).binary())?;
    assert_eq!(Client::receipt(&binary)?.queue_offset, 1);
    let records = harness::wait_for("dispatch", || client.read_queue("T", 1, 0).ok().filter(|all| all.len() == 2));
    assert_eq!(records[0].body, b"one");
    assert_eq!(records[0].properties["TAGS"], "a");
    assert_eq!((records[1].queue_offset, records[1].topic.as_str()), (1, "T"));
    assert_eq!((client.min_offset("T", 1)?, client.max_offset("T", 1)?), (0, 2));

    client.heartbeat("me", "G", "T")?;
    let listed = client.call(Frame::request(code::GET_CONSUMER_LIST_BY_GROUP).ext("consumerGroup", "G"))?;
    assert_eq!(listed.json()?["consumerIdList"][0], "me");
    client.commit_offset("G", "T", 1, 1)?;
    assert_eq!(client.consumer_offset("G", "T", 1)?, Some(1));
    assert_eq!(client.consumer_offset("H", "T", 1)?, None);
    client.unregister("me", "G")?;

    let held = client.start(Client::long_pull_request("G", "T", 2, 0, Duration::from_secs(20)))?;
    client.send("T", 2, b"three")?;
    assert_eq!(Client::pulled(&client.finish(held)?)?.records[0].body, b"three");
    Ok(())
}
