//! Transactions: what stock clients see on Apache RocketMQ 5.3.3, they see on ringmq.
//!
//! Requests that no stock client sends are sent by hand ([`raw`]). `tests/stock/facts` holds the facts of Apache, one file a client; Apache itself
//! must tell the same on every run ([`on_apache`]), and so must ringmq. `RINGMQ_WRITE_FACTS=1` writes the files from what Apache does.
#![allow(clippy::disallowed_methods, reason = "a test has clocks, files, threads and sockets")]
#[path = "transactions/raw.rs"]
mod raw;

use std::thread;
use std::time::Duration;

use harness::{
    APACHE, Client, ClientRun, Frame, KnownDifference, Node, NodeOptions, Record, check_apache, check_facts,
    log_offset_of, say, tell_facts, wait_for,
};
use ringmq_peers::StockClient;
use serde_json::json;

/// Longest run of a client's scenarios; on an idle machine they take 10 s.
const TIMEOUT: Duration = Duration::from_secs(120);

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

fn clients() -> Vec<ClientRun> {
    vec![
        ("transaction-java-5.3.3", StockClient::java_5(), &["transactions"]),
        ("transaction-java-4.9.8", StockClient::java_4(), &["transactions"]),
        ("transaction-go-2.1.2", StockClient::go(), &["transactions"]),
    ]
}

fn check(broker: &str, name_server: &str, address: &str, known: &[KnownDifference]) {
    let found = tell_facts(name_server, clients, TIMEOUT, ("transaction-raw", || raw::run(address)));
    check_facts(broker, &found, known);
}

#[test]
fn on_apache() {
    // On a busy machine it asks about what has just ended, which is as it should be, and no fact.
    if std::env::var_os("RINGMQ_REFERENCE").is_none() && std::env::var_os("RINGMQ_WRITE_FACTS").is_none() {
        return say("skipped: the script on Apache itself: RINGMQ_REFERENCE=1 runs it, for changes of the script");
    }
    // Apache notes the end of a transaction so much later, and may check until then what has ended.
    let settings = [&SETTINGS[..], &[("transactionOpBatchInterval", "100")]].concat();
    check_apache(&settings, |name_server, broker| check(APACHE, name_server, broker, &[]));
}

#[test]
fn on_ringmq() {
    let more = SETTINGS.map(|(key, value)| (key, value.to_owned())).to_vec();
    let node = Node::start(&NodeOptions { more, ..NodeOptions::default() });
    check("ringmq", &node.name_server(), &node.broker(0), &KNOWN_DIFFERENCES);
}

/// A half message of a producer, and its end.
fn half(client: &mut Client, body: &str) -> Frame {
    let properties = [("TRAN_MSG", "true"), ("PGROUP", "KILLED_P"), ("UNIQ_KEY", body)];
    let request = Client::send_request("KILLED", 0, body.as_bytes(), &properties).ext("f", 4);
    let receipt = Client::receipt(&client.call(request).expect("it answers")).expect("it is stored");
    Frame::request(37)
        .ext("producerGroup", "KILLED_P")
        .ext("tranStateTableOffset", receipt.queue_offset)
        .ext("commitLogOffset", log_offset_of(&receipt.msg_id).expect("an id"))
        .ext("fromTransactionCheck", false)
        .ext("msgId", body)
        .ext("transactionId", body)
}

fn producer(node: &Node) -> Client {
    let mut client = Client::connect(&node.broker(0)).expect("it listens");
    let body = json!({ "clientID": "p", "producerDataSet": [{"groupName": "KILLED_P"}], "consumerDataSet": [] });
    client.expect_success("heartbeat", Frame::request(34).body(body.to_string())).expect("it answers");
    client
}

/// `kill -9` after each answer: what was said stands, and who has said nothing is asked by the next process.
#[test]
fn a_kill_between_two_steps_forgets_nothing() {
    let more = SETTINGS.map(|(key, value)| (key, value.to_owned())).to_vec();
    let mut node = Node::start(&NodeOptions { more, ..NodeOptions::default() });
    let mut client = producer(&node);
    client.create_topic("KILLED", 1).expect("it answers");
    let [committed, rolled_back, _asked, later] =
        ["committed", "rolled back", "asked", "later"].map(|body| half(&mut client, body));
    node.kill();
    node.restart();
    let mut client = producer(&node);
    client.expect_success("commit", committed.ext("commitOrRollback", 8)).expect("it answers");
    client.expect_success("roll back", rolled_back.ext("commitOrRollback", 12)).expect("it answers");
    node.kill();
    node.restart();
    let mut client = producer(&node);
    client.expect_success("commit", later.ext("commitOrRollback", 8)).expect("it answers");
    let check = wait_for("a check", || {
        thread::sleep(Duration::from_millis(20));
        client.max_offset("KILLED", 0).ok()?;
        client.from_server.iter().position(|frame| frame.code == 39).map(|at| client.from_server.remove(at))
    });
    let asked = Record::decode_all(&check.body).expect("a record").remove(0);
    assert_eq!(asked.body, b"asked", "the only one about which nobody has said anything");
    let end = ["tranStateTableOffset", "commitLogOffset", "msgId", "transactionId"]
        .into_iter()
        .fold(Frame::request(37), |end, name| end.ext(name, &check.ext[name]));
    let end = end.ext("producerGroup", "KILLED_P").ext("commitOrRollback", 8).ext("fromTransactionCheck", true);
    client.expect_success("commit", end).expect("it answers");
    // How far the checker has come is written once a second; whoever was passed since then is asked again.
    thread::sleep(Duration::from_millis(2_500));
    node.kill();
    node.restart();
    let mut client = producer(&node);
    thread::sleep(Duration::from_secs(3));
    let seen = client.read_queue("KILLED", 0, 0).expect("it answers");
    let bodies: Vec<_> = seen.iter().map(|record| String::from_utf8_lossy(&record.body).into_owned()).collect();
    assert_eq!(bodies, ["committed", "later", "asked"]);
    assert!(client.from_server.iter().all(|frame| frame.code != 39), "nobody is asked about what has ended");
}
