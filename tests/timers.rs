//! Timer messages: what stock clients see on Apache RocketMQ 5.3.3, they see on ringmq; and what a `kill -9` leaves.
//!
//! Requests that no stock client sends are sent by hand ([`raw`]). `tests/stock/facts` holds the facts of Apache, one file a client; Apache itself
//! must tell the same on every run ([`on_apache`]), and so must ringmq. `RINGMQ_WRITE_FACTS=1` writes the files from what Apache does. That nothing
//! comes before its time is checked where it arrives; how late it is, a busy machine decides.
#![allow(clippy::disallowed_methods, reason = "a test has clocks, files, threads and sockets")]
#[path = "timers/raw.rs"]
mod raw;

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use harness::{
    APACHE, Client, ClientRun, KnownDifference, Node, NodeOptions, check_apache, check_facts, tell_facts, wait_for,
};
use ringmq_peers::StockClient;

/// Longest run of a client's scenarios; on an idle machine they take 9 s.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Where ringmq differs on purpose: facts file, what the line holds, and why.
const KNOWN_DIFFERENCES: [KnownDifference; 2] = [
    (
        "timer-raw",
        "of a transaction",
        "a half message that asks for a time is refused: Apache forgets where it belongs, and loses it",
    ),
    (
        "timer-raw",
        "to the wheel",
        "no client sends there: Apache stores what no broker can deliver, and stands still over it",
    ),
];

fn clients() -> Vec<ClientRun> {
    vec![
        ("timer-java-5.3.3", StockClient::java_5(), &["timers"]),
        ("timer-java-4.9.8", StockClient::java_4(), &["timers"]),
        ("timer-go-2.1.2", StockClient::go(), &["timers"]),
    ]
}

fn check(broker: &str, name_server: &str, address: &str, known: &[KnownDifference]) {
    let found = tell_facts(name_server, clients, TIMEOUT, ("timer-raw", || raw::run(address)));
    check_facts(broker, &found, known);
}

#[test]
fn on_apache() {
    check_apache(&[("recallMessageEnable", "true")], |name_server, broker| check(APACHE, name_server, broker, &[]));
}

#[test]
fn on_ringmq() {
    let more = vec![("recallMessageEnable", "true".to_owned())];
    let node = Node::start(&NodeOptions { more, ..NodeOptions::default() });
    check("ringmq", &node.name_server(), &node.broker(0), &KNOWN_DIFFERENCES);
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
    i64::try_from(since.as_millis()).expect("it is not far after")
}

/// `kill -9` while messages wait, while some are delivered, and while all that are left are overdue: each comes, at its time or after, what was recalled
/// does not, and twice only what was under way.
#[test]
fn a_kill_loses_nothing_that_waits() {
    const MESSAGES: i64 = 300;
    let more = vec![("recallMessageEnable", "true".to_owned()), ("timerPrecisionMs", "100".to_owned())];
    let mut node = Node::start(&NodeOptions { more, ..NodeOptions::default() });
    let mut client = Client::connect(&node.broker(0)).expect("it listens");
    client.create_topic("TIMED", 1).expect("it answers");
    let begun = now_ms();
    let asked = |number: i64| begun + 500 + 20 * (number * 7 % MESSAGES);
    let mut recalled = BTreeSet::new();
    for number in 0..MESSAGES {
        let (deliver, unique) = (asked(number).to_string(), format!("K{number}"));
        let properties = [("TIMER_DELIVER_MS", deliver.as_str()), ("UNIQ_KEY", &unique)];
        let request = Client::send_request("TIMED", 0, number.to_string().as_bytes(), &properties);
        let response = client.call(request).expect("it answers");
        Client::receipt(&response).expect("it is stored");
        if let Some(handle) = response.ext.get("recallHandle").filter(|_| number % 10 == 9) {
            let request = harness::Frame::request(370).ext("topic", "TIMED").ext("recallHandle", handle);
            if client.call(request).expect("it answers").code == 0 {
                recalled.insert(number);
            }
        }
    }
    assert!(recalled.len() > 20, "{} could be recalled", recalled.len());
    node.kill();
    node.restart();
    thread::sleep(Duration::from_millis(1_500));
    node.kill();
    thread::sleep(Duration::from_millis(2_000));
    node.restart();
    let mut client = Client::connect(&node.broker(0)).expect("it listens");
    let expected: BTreeSet<i64> = (0..MESSAGES).filter(|number| !recalled.contains(number)).collect();
    let records = wait_for("all messages", || {
        let records = client.read_queue("TIMED", 0, 0).ok()?;
        let found: BTreeSet<i64> = records.iter().map(|record| number_of(&record.body)).collect();
        if found.is_superset(&expected) { Some(records) } else { None }
    });
    let twice = records.len() - expected.len();
    assert!(twice < 60, "{twice} came twice, which is more than was under way");
    for record in &records {
        let number = number_of(&record.body);
        assert!(expected.contains(&number), "{number} was recalled");
        assert!(record.store_timestamp_ms >= asked(number), "{number} came before its time");
    }
}

fn number_of(body: &[u8]) -> i64 {
    String::from_utf8_lossy(body).parse().expect("a number")
}
