//! Pop consumption: what stock clients see on Apache RocketMQ 5.3.3, they see on ringmq; and what a `kill -9` leaves.
//!
//! Requests that no stock client sends so, and what they are answered, are in [`raw`]. `tests/stock/facts` holds the facts of Apache, one file a client;
//! Apache itself must tell the same on every run ([`on_apache`]), and so must ringmq. `RINGMQ_WRITE_FACTS=1` writes the files from what Apache does.
#![allow(clippy::disallowed_methods, reason = "a test has clocks, files, threads and sockets")]
#[path = "pop/raw.rs"]
mod raw;

use std::collections::BTreeSet;
use std::io;
use std::time::{Duration, Instant};

use harness::{
    APACHE, Client, ClientRun, KnownDifference, Node, NodeOptions, Record, check_apache, check_facts, tell_facts,
    wait_for,
};
use ringmq_peers::StockClient;

/// Longest run of a client's scenarios; on an idle machine they take 60 s on Apache, 25 s here.
const TIMEOUT: Duration = Duration::from_secs(180);

/// Where ringmq differs on purpose: facts file, what the line holds, and why.
const KNOWN_DIFFERENCES: [KnownDifference; 3] = [
    (
        "pop-raw",
        "acks of another group",
        "what this group has not popped is refused: Apache answers 0, and the message stays in flight",
    ),
    ("pop-raw", "acks not popped yet", "the same; Apache's consumer does not expect what is to come"),
    (
        "pop-raw",
        "changes by the first handle",
        "a handle that was renewed is of no use any more: with Apache the message comes twice",
    ),
];

fn clients() -> Vec<ClientRun> {
    vec![("pop-java-5.3.3", StockClient::java_5(), &["pop", "pop-failing", "pop-shared"])]
}

fn check(broker: &str, name_server: &str, address: &str, known: &[KnownDifference]) {
    let found = tell_facts(name_server, clients, TIMEOUT, ("pop-raw", || raw::run(address)));
    check_facts(broker, &found, known);
}

#[test]
fn on_apache() {
    check_apache(&[], |name_server, broker| check(APACHE, name_server, broker, &[]));
}

#[test]
fn on_ringmq() {
    let node = Node::start(&NodeOptions::default());
    check("ringmq", &node.name_server(), &node.broker(0), &KNOWN_DIFFERENCES);
}

/// Pops what there is, for so long.
fn pop(client: &mut Client, invisible_ms: i64) -> io::Result<Vec<Record>> {
    raw::records_of(&client.call(raw::pop_request("G", "HANDED", -1, 32, invisible_ms, 200))?)
}

fn ack(client: &mut Client, record: &Record) -> io::Result<i32> {
    client.call(raw::ack_request(raw::ACK, "G", record)).map(|answer| answer.code)
}

fn number_of(record: &Record) -> u32 {
    String::from_utf8_lossy(&record.body).parse().expect("a number")
}

/// `kill -9` between pop and acknowledgement, twice, and a consumer that goes: what was not acknowledged comes again, when its time is over and not before,
/// and what was acknowledged does not, whichever life of the broker was told.
#[test]
fn a_kill_loses_nothing_that_is_in_flight() {
    const MESSAGES: u32 = 300;
    const INVISIBLE_MS: i64 = 20_000;
    let mut node = Node::start(&NodeOptions::default());
    let mut client = Client::connect(&node.broker(0)).expect("it listens");
    client.create_topic("HANDED", 3).expect("it answers");
    for number in 0..MESSAGES {
        let queue = i32::try_from(number % 3).expect("small");
        client.send("HANDED", queue, number.to_string().as_bytes()).expect("it is stored");
    }
    let begun = Instant::now();
    let mut held = Vec::new();
    while held.len() < MESSAGES as usize {
        held.extend(pop(&mut client, INVISIBLE_MS).expect("it answers"));
    }
    let mut acked = BTreeSet::new();
    for record in held.iter().filter(|record| number_of(record).is_multiple_of(3)) {
        assert_eq!(ack(&mut client, record).expect("it answers"), 0);
        acked.insert(number_of(record));
    }
    node.kill();
    node.restart();
    // Of the life before, and in this one the consumer goes.
    let mut other = Client::connect(&node.broker(0)).expect("it listens");
    for record in held.iter().filter(|record| number_of(record) % 3 == 1) {
        assert_eq!(ack(&mut other, record).expect("it answers"), 0, "{} is in flight still", number_of(record));
        acked.insert(number_of(record));
    }
    let early = pop(&mut other, INVISIBLE_MS).expect("it answers");
    let is_early = begun.elapsed() < Duration::from_millis(INVISIBLE_MS.unsigned_abs());
    assert!(early.is_empty() || !is_early, "{} came before their time", early.len());
    drop(other);
    node.kill();
    node.restart();
    let mut client = Client::connect(&node.broker(0)).expect("it listens");
    let mut again = BTreeSet::new();
    wait_for("all that was not acknowledged", || {
        for record in pop(&mut client, 60_000).expect("it answers") {
            let number = number_of(&record);
            assert!(!acked.contains(&number), "{number} was acknowledged, and came again");
            assert_eq!(record.reconsume_times, 1, "{number} was given twice before");
            assert_eq!(ack(&mut client, &record).expect("it answers"), 0);
            again.insert(number);
        }
        (again.len() + acked.len() >= MESSAGES as usize).then_some(())
    });
    assert!(begun.elapsed() >= Duration::from_millis(INVISIBLE_MS.unsigned_abs()), "before their time");
}
