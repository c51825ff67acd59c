//! Stock RocketMQ clients against ringmq: Java 5.3.3 (both header forms) and 4.9.8, Go, and C++ through Python.
//!
//! Each client checks content, order and completeness itself (`tests/stock`). The same scenarios pass on Apache
//! RocketMQ 5.3.3, which makes it the reference: `RINGMQ_REFERENCE=1 cargo test --test clients apache` shows it.
//! This cannot show what a client never asks for, nor behaviour under faults.

use std::io::{self, Write as _};
use std::time::Duration;

use harness::{Client, Frame, Node, NodeOptions, expect_passed};
use ringmq_peers::{Apache, BrokerOptions, Flush, Missing, StockClient};

const GET_BROKER_RUNTIME_INFO: i32 = 28;
/// Longest run of one client's scenarios; on an idle machine they take half a minute.
const TIMEOUT: Duration = Duration::from_secs(240);

const JAVA: [&str; 29] = [
    // The longest first: several run at a time.
    "push-rebalance",
    "push-resume",
    "lite-pull",
    "push-concurrent",
    "push-orderly",
    "push-broadcast",
    "filter-push",
    "filter-broadcast",
    "filter-lite-pull",
    "filter-pull",
    "filter-wrong",
    "request-sync",
    "request-async",
    "request-late",
    "push-tags",
    "send-sync",
    "send-async",
    "send-oneway",
    "send-batch",
    "send-ordered",
    "send-large",
    "send-vip",
    "auto-create",
    "pull",
    "lite-pull-assign",
    "create-topic",
    "view-message",
    "query-message",
    "offsets",
];
/// What depends on the form of headers: every kind of request once.
const JAVA_BINARY: [&str; 9] = [
    "push-concurrent",
    "push-orderly",
    "send-sync",
    "send-batch",
    "pull",
    "lite-pull",
    "view-message",
    "filter-push",
    "request-sync",
];
const GO: [&str; 14] = [
    "filter-push",
    "send-sync",
    "send-async",
    "send-oneway",
    "send-batch",
    "send-ordered",
    "push-tags",
    "push-live",
    "push-orderly",
    "push-broadcast",
    "pull",
    "request-sync",
    "request-async",
    "request-late",
];
/// What of the C++ client the package hands on. A batch is not among them: the library sends it as one message, whose body is the batch.
const PYTHON: [&str; 7] =
    ["send-sync", "send-async", "send-oneway", "push-tags", "push-orderly", "push-broadcast", "pull"];

/// Writes past the test's captured output: what is not tested must be seen.
fn skipped(why: &str) {
    writeln!(io::stderr(), "skipped: {why}").expect("standard error is open");
}

/// Runs scenarios and fails with all that did not pass.
fn check(client: &StockClient, name_server: &str, scenarios: &[&str]) {
    let prefix: String = client.name().chars().filter(char::is_ascii_alphanumeric).collect();
    let outcomes = client.run(name_server, &prefix, scenarios, TIMEOUT).expect("the client runs");
    expect_passed(client.name(), &outcomes);
}

/// A client on a fresh ringmq node.
fn on_ringmq(client: Result<StockClient, Missing>, shards: u16, flush: Flush, scenarios: &[&str]) {
    match client {
        Ok(client) => {
            let more = vec![("enablePropertyFilter", "true".to_owned())];
            let node = Node::start(&NodeOptions { shards, flush, more, ..NodeOptions::default() });
            check(&client, &node.name_server(), scenarios);
            check_templates(client.name(), &node, shards);
        }
        Err(missing) => skipped(&missing.to_string()),
    }
}

/// Sends of stock clients are read by templates of earlier ones, but for those with binary headers, and those of Go, whose fields have another order each
/// time. How many says the log of this test: what its scenarios send is as unlike as can be.
fn check_templates(client: &str, node: &Node, shards: u16) {
    let (mut by_template, mut in_full) = (0, 0);
    for shard in 0..shards {
        let mut asker = Client::connect(&node.broker(shard)).expect("it listens");
        let answer = asker.expect_success("runtime info", Frame::request(GET_BROKER_RUNTIME_INFO)).expect("answered");
        let info = answer.json().expect("an object");
        let number =
            |key: &str| info["table"][key].as_str().and_then(|text| text.parse::<u64>().ok()).expect("a number");
        by_template += number("sendHeadersByTemplate");
        in_full += number("sendHeadersInFull");
    }
    eprintln!("{client}: {by_template} headers of sends were read by a template, {in_full} in full");
    let has_templates = !client.contains("binary") && !client.contains("Go");
    assert!(by_template > 0 || !has_templates, "{client}: {by_template} by a template, {in_full} in full");
}

#[test]
fn java_5_on_one_shard() {
    on_ringmq(StockClient::java_5(), 1, Flush::Sync, &JAVA);
}

#[test]
fn java_5_on_two_shards() {
    on_ringmq(StockClient::java_5(), 2, Flush::Async, &JAVA);
}

#[test]
fn java_5_with_binary_headers() {
    on_ringmq(StockClient::java_5_binary(), 1, Flush::Async, &JAVA_BINARY);
}

#[test]
fn java_4_on_two_shards() {
    on_ringmq(StockClient::java_4(), 2, Flush::Async, &JAVA);
}

#[test]
fn go_on_one_shard() {
    on_ringmq(StockClient::go(), 1, Flush::Async, &GO);
}

#[test]
fn go_on_two_shards() {
    on_ringmq(StockClient::go(), 2, Flush::Sync, &GO);
}

#[test]
fn python_on_two_shards() {
    on_ringmq(StockClient::python(), 2, Flush::Async, &PYTHON);
}

/// Requests and replies between two nodes: the topics of both are on both, and a Java requester is known to both. One of Go is known where topics lie
/// that it has sent to, wherever its reply goes.
#[test]
fn requests_are_answered_across_two_nodes() {
    let first = Node::start(&NodeOptions::default());
    let name_servers = Some(first.name_server());
    let _second = Node::start(&NodeOptions { broker_name: "broker-b", name_servers, ..NodeOptions::default() });
    for client in [StockClient::java_5(), StockClient::java_4()] {
        match client {
            Ok(client) => check(&client, &first.name_server(), &["request-sync", "request-async"]),
            Err(missing) => skipped(&missing.to_string()),
        }
    }
}

/// The scenarios themselves: what fails here is wrong in the scenario, or not worth imitating.
#[test]
fn apache_reference() {
    if std::env::var_os("RINGMQ_REFERENCE").is_none() {
        skipped("the stock clients on Apache itself: RINGMQ_REFERENCE=1 runs them, for changes of the scenarios");
        return;
    }
    let apache = match Apache::locate() {
        Ok(apache) => apache,
        Err(missing) => return skipped(&missing.to_string()),
    };
    let name_server = apache.start_name_server().expect("it starts");
    let address = name_server.address();
    let mut first = BrokerOptions::small(&address);
    first.more.push(("enablePropertyFilter".to_owned(), "true".to_owned()));
    let _first = apache.start_broker(&first).expect("it starts");
    let runs: [(Result<StockClient, Missing>, &[&str]); 5] = [
        (StockClient::java_5(), &JAVA),
        (StockClient::java_5_binary(), &JAVA_BINARY),
        (StockClient::java_4(), &JAVA),
        (StockClient::go(), &GO),
        (StockClient::python(), &PYTHON),
    ];
    for (client, scenarios) in &runs {
        match client {
            Ok(client) => check(client, &address, scenarios),
            Err(missing) => skipped(&missing.to_string()),
        }
    }
    let second = BrokerOptions { broker_name: "broker-b".to_owned(), ..first };
    let _second = apache.start_broker(&second).expect("it starts");
    // Once more with two brokers, as two shards are: under names of their own, since the first run's are taken.
    let both = StockClient::java_5().expect("it ran before").named("Java on two brokers");
    check(&both, &address, &JAVA);
}
