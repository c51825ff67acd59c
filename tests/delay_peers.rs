//! Delay levels, retries and dead letters: what stock clients see on Apache RocketMQ 5.3.3, they see on ringmq.
//!
//! The programs (`tests/stock`) check times themselves: nothing comes before its time. What else they see they tell as facts, without what differs
//! from run to run. `tests/stock/facts` holds the facts of Apache, one file a client; Apache itself must tell the same on every run
//! ([`on_apache`]), and so must ringmq. `RINGMQ_WRITE_FACTS=1` writes the files from what Apache does, for changes of the programs.
//! Requests that no stock client sends are sent by hand ([`raw`]). This cannot show how late a message is: a busy machine decides that.
#![allow(clippy::disallowed_methods, reason = "a test has clocks, files, threads and sockets")]
#[path = "delay_peers/raw.rs"]
mod raw;

use std::time::Duration;

use harness::{
    APACHE, Client, ClientRun, KnownDifference, Node, NodeOptions, check_apache, check_facts, prefix_of, tell_facts,
    wait_for,
};
use ringmq_peers::{Missing, StockClient};

/// Two levels that differ, two like them from level 3 where retries begin, and one more for a third try. The programs know them.
const LEVELS: &str = "1s 2s 1s 2s 3s 4s";
/// Longest run of one client's scenarios; on an idle machine they take 12 s.
const TIMEOUT: Duration = Duration::from_secs(240);

const JAVA: [&str; 12] = [
    "delay-levels",
    "delay-odd-levels",
    "delay-ways-to-send",
    "delay-auto-created",
    "delay-to-retry-topic",
    "retry-levels",
    "retry-own-level",
    "retry-at-once",
    "retry-no-second-try",
    "retry-after-delay",
    "retry-orderly",
    "retry-orderly-to-the-end",
];
const GO: [&str; 4] = ["delay-levels", "retry-levels", "retry-own-level", "retry-at-once"];
/// C++ through Python, which has no way to say a level for the next try.
const PYTHON: [&str; 2] = ["delay-levels", "retry-levels"];

/// Where ringmq differs on purpose: facts file, what the line holds, and why.
const KNOWN_DIFFERENCES: [KnownDifference; 7] = [
    (
        "raw",
        "in a batch",
        "a level in a batch is refused: Apache drops it and delivers at once, and its clients refuse it themselves",
    ),
    ("raw", "level <>:", "an empty property is kept as it was sent"),
    ("raw", "back at level x: code", "a field that cannot be read is an invalid parameter, which no retry mends"),
    ("raw", "back from before the log: code", "the same"),
    ("raw", "back without group: code", "the same"),
    ("raw", "back without level: code", "the same"),
    ("raw", "back without offset: code", "the same"),
];

fn runs() -> Vec<ClientRun> {
    let hastened = |client: Result<StockClient, Missing>| client.map(|client| client.hastened(JAVA.len()));
    vec![
        ("java-5.3.3", hastened(StockClient::java_5()), &JAVA),
        ("java-4.9.8", hastened(StockClient::java_4()), &JAVA),
        ("go-2.1.2", StockClient::go(), &GO),
        ("python-0.4.4", StockClient::python(), &PYTHON),
    ]
}

fn check(broker: &str, name_server: &str, address: &str, known: &[KnownDifference]) {
    make_retry_topics(name_server, address);
    let found = tell_facts(name_server, runs, TIMEOUT, ("raw", || raw::run(address)));
    check_facts(broker, &found, known);
}

/// Go and C++ look for a new retry topic 20 s or more after their first look, and nothing can change that: they find one at their first.
fn make_retry_topics(name_server: &str, address: &str) {
    let mut client = Client::connect(address).expect("the broker listens");
    let go = GO.map(|scenario| format!("G_{}_{scenario}", prefix_of("Go 2.1.2")));
    let python = PYTHON.map(|scenario| format!("G_{}_{scenario}", prefix_of("Python 0.4.4")));
    for group in go.iter().chain(&python) {
        client.heartbeat("before@first", group, "TBW102").expect("the broker answers");
        wait_for("route of the retry topic", || {
            Client::connect(name_server).and_then(|mut client| client.route(&format!("%RETRY%{group}"))).ok().flatten()
        });
    }
}

#[test]
fn on_apache() {
    check_apache(&[("messageDelayLevel", LEVELS)], |name_server, broker| check(APACHE, name_server, broker, &[]));
}

#[test]
fn on_ringmq() {
    let more = vec![("messageDelayLevel", LEVELS.to_owned())];
    let node = Node::start(&NodeOptions { more, ..NodeOptions::default() });
    check("ringmq", &node.name_server(), &node.broker(0), &KNOWN_DIFFERENCES);
}
