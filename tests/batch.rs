//! Batches that are stored whole (`queue.type=BatchCQ`), producers that gather messages into batches (`autoBatch`), and messages that are in light queues as
//! well (`enableLmq`): what stock clients see on Apache RocketMQ 5.3.3, they see on ringmq; and what a `kill -9` leaves.
//!
//! Requests that no stock client sends are sent by hand ([`raw`]). `tests/stock/facts` holds the facts of Apache, one file a client; Apache itself
//! must tell the same on every run ([`on_apache`]), and so must ringmq. `RINGMQ_WRITE_FACTS=1` writes the files from what Apache does.
#![allow(clippy::disallowed_methods, reason = "a test has clocks, files, threads and sockets")]
#[path = "batch/raw.rs"]
mod raw;

use std::time::Duration;

use harness::{
    APACHE, Client, ClientRun, KnownDifference, Node, NodeOptions, check_apache, check_facts, prefix_of, tell_facts,
    wait_for,
};
use ringmq_peers::StockClient;

/// Longest run of a client's scenarios; on an idle machine they take 15 s, which is how long a message that failed waits.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Where ringmq differs on purpose: facts file, what the line holds, and why.
const KNOWN_DIFFERENCES: [KnownDifference; 10] = [
    (
        "batch-java-5.3.3",
        "of the far future",
        "what comes next, as in any other queue: Apache names its last batch, and a group that is set there has it twice",
    ),
    ("batch-java-4.9.8", "of the far future", "the same"),
    ("batch-raw", "LOWER behind the last", "the same"),
    ("batch-raw", "UPPER behind the second", "the batch before that time: Apache names the one after it"),
    ("batch-raw", "an empty queue", "it begins at 0, as any other: Apache says -1"),
    (
        "batch-raw",
        "less than it says",
        "a batch that does not hold what it says is refused: Apache counts what is not there",
    ),
    ("batch-raw", "without a number", "the same: Apache counts one"),
    (
        "batch-raw",
        "103 from 0",
        "an answer has 32 messages at most, or one batch: Apache adds one more if the client's limit allows",
    ),
    ("batch-raw", "half a batch", "13: Apache's broker fails over it, and says 1"),
    (
        "batch-raw",
        "sent to itself: %LMQ%raw",
        "it is at the next offset: Apache counts what is sent to a light queue apart from what names it",
    ),
];

/// What lets a broker have light queues, and subscriptions by SQL92.
const SETTINGS: [&str; 3] = ["enableLmq", "enableMultiDispatch", "enablePropertyFilter"];

/// Scenarios whose topics are of `queue.type=BatchCQ`.
const BATCHES: [&str; 5] = ["batch-read", "batch-whole", "batch-sql", "batch-pushed", "batch-auto"];

fn clients() -> Vec<ClientRun> {
    vec![
        (
            "batch-java-5.3.3",
            StockClient::java_5().map(|client| client.hastened(4)),
            &[
                "batch-read",
                "batch-whole",
                "batch-sql",
                "batch-pushed",
                "batch-auto",
                "batch-auto-plain",
                "light-queues",
            ],
        ),
        ("batch-java-4.9.8", StockClient::java_4(), &["batch-read", "batch-whole"]),
    ]
}

fn check(broker: &str, name_server: &str, address: &str, known: &[KnownDifference]) {
    let mut client = Client::connect(address).expect("it listens");
    for name in ["Java 5.3.3", "Java 4.9.8"] {
        for scenario in BATCHES {
            let topic = format!("{}_{scenario}", prefix_of(name));
            client.expect_success("a topic", raw::topic_request(&topic, "+queue.type=BatchCQ")).expect("it answers");
        }
        let topic = format!("{}_batch-read", prefix_of(name));
        let messages = [("one", "KEYS\u{1}k1\u{2}TAGS\u{1}a\u{2}"), ("two", "KEYS\u{1}k2\u{2}")];
        let request = raw::batch_request(&topic, raw::batch_body(&messages), &[("UNIQ_KEY", "U"), ("TAGS", "a")]);
        client.expect_success("a batch", request).expect("it answers");
    }
    let found = tell_facts(name_server, clients, TIMEOUT, ("batch-raw", || raw::run(address)));
    check_facts(broker, &found, known);
}

#[test]
fn on_apache() {
    check_apache(&SETTINGS.map(|key| (key, "true")), |name_server, broker| check(APACHE, name_server, broker, &[]));
}

#[test]
fn on_ringmq() {
    let more = SETTINGS.map(|key| (key, "true".to_owned())).to_vec();
    let node = Node::start(&NodeOptions { more, ..NodeOptions::default() });
    check("ringmq", &node.name_server(), &node.broker(0), &KNOWN_DIFFERENCES);
}

/// `kill -9` while batches are sent: each that was acknowledged is there, whole and at the offset that was said, and the queue goes on behind them.
#[test]
fn a_kill_leaves_whole_batches() {
    let mut node = Node::start(&NodeOptions::default());
    let mut expected: Vec<(i64, usize)> = Vec::new();
    let mut client = Client::connect(&node.broker(0)).expect("it listens");
    client.expect_success("a topic", raw::topic_request("KEPT", "+queue.type=BatchCQ")).expect("it answers");
    for _ in 0..3 {
        let mut client = wait_for("the broker", || Client::connect(&node.broker(0)).ok());
        for number in 0..40_usize {
            let messages = vec![("kept", ""); 1 + number * 7 % 50];
            let request = raw::batch_request("KEPT", raw::batch_body(&messages), &[("UNIQ_KEY", "U")]);
            let answer = client.call(request).expect("it answers");
            let offset = Client::receipt(&answer).expect("it is stored").queue_offset;
            expected.push((offset, messages.len()));
        }
        node.kill();
        node.restart();
    }
    let mut client = Client::connect(&node.broker(0)).expect("it listens");
    let records = client.read_queue("KEPT", 0, 0).expect("it answers");
    let found: Vec<(i64, usize)> = records
        .iter()
        .map(|record| (record.queue_offset, record.properties["INNER_NUM"].parse().expect("a number")))
        .collect();
    assert_eq!(found, expected);
    let mut next = 0;
    for (offset, count) in expected {
        assert_eq!(offset, next, "a queue goes on where it ends");
        next += i64::try_from(count).expect("small");
    }
    assert_eq!(client.max_offset("KEPT", 0).expect("it answers"), next);
}
