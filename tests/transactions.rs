//! Transactions: what stock clients see on Apache RocketMQ 5.3.3, they see on ringmq.
//!
//! Requests that no stock client sends are sent by hand ([`raw`]). `tests/stock/facts` holds the facts of Apache, one file a client; Apache itself
//! must tell the same on every run ([`on_apache`]), and so must ringmq. `RINGMQ_WRITE_FACTS=1` writes the files from what Apache does.
#![allow(clippy::disallowed_methods, reason = "a test has clocks, files, threads and sockets")]
mod harness;
#[path = "transactions/raw.rs"]
mod raw;

use harness::{KnownDifference, Node, NodeOptions, compare_facts, say, write_facts};
use ringmq_peers::{Apache, BrokerOptions};

/// Checks come early, often, and soon no more.
const SETTINGS: [(&str, &str); 3] =
    [("transactionTimeOut", "1000"), ("transactionCheckInterval", "1000"), ("transactionCheckMax", "3")];

/// Where ringmq differs on purpose: facts file, what the line holds, and why.
const KNOWN_DIFFERENCES: [KnownDifference; 13] = [
    (
        "transaction-raw",
        "flag alone",
        "a message that no consumer could ever get is one for consumers: Apache stores it and shows it to nobody",
    ),
    ("transaction-raw", "retried with level 3", "the same of what a consumer sends to its retry topic"),
    ("transaction-raw", "with level 1", "a delay of a half message counts for nothing: Apache loses the message"),
    ("transaction-raw", "retried: topic TRANS_CHECK", "a half message that was put back keeps flag and tries"),
    (
        "transaction-raw",
        "immune: topic TRANS_CHECK",
        "Apache counts looks as tries, and gives up what nobody was to be asked about yet",
    ),
    ("transaction-raw", "immune and checked", "the same"),
    ("transaction-raw", "not before its time", "the same"),
    ("transaction-raw", "neither: code", "a field that cannot be read is an invalid parameter"),
    ("transaction-raw", "without tranStateTableOffset: code", "the same"),
    ("transaction-raw", "without commitLogOffset: code", "the same"),
    ("transaction-raw", "without commitOrRollback: code", "the same"),
    ("transaction-raw", "not a half message: code", "the same code, with a sentence for a remark"),
    ("transaction-raw", "empty: code", "a message without a body is illegal, whoever sends it"),
];

fn check(broker: &str, name_server: &str, address: &str, known: &[KnownDifference], is_written: bool) {
    let _ = name_server;
    let found = raw::run(address).expect("the broker answers");
    if is_written {
        write_facts("transaction-raw", &found);
    }
    compare_facts(broker, "transaction-raw", &found, known);
}

#[test]
fn on_apache() {
    let apache = match Apache::locate() {
        Ok(apache) => apache,
        Err(missing) => return say(&format!("skipped: {missing}")),
    };
    let name_server = apache.start_name_server().expect("it starts");
    let mut options = BrokerOptions::small(&name_server.address());
    options.more.extend(SETTINGS.map(|(key, value)| (key.to_owned(), value.to_owned())));
    // Apache notes the end of a transaction so much later, and may check until then what has ended.
    options.more.push(("transactionOpBatchInterval".to_owned(), "100".to_owned()));
    let broker = apache.start_broker(&options).expect("it starts");
    let is_written = std::env::var_os("RINGMQ_WRITE_FACTS").is_some();
    check("Apache", &name_server.address(), &broker.address(), &[], is_written);
}

#[test]
fn on_ringmq() {
    let more = SETTINGS.map(|(key, value)| (key, value.to_owned())).to_vec();
    let node = Node::start(&NodeOptions { more, ..NodeOptions::default() });
    check("ringmq", &node.name_server(), &node.broker(0), &KNOWN_DIFFERENCES, false);
}
