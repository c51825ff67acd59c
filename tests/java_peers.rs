//! Java brokers and ringmq as each other's slaves, over RocketMQ's classic stream.
//!
//! A ringmq shard follows an Apache 5.3.3 master, and an Apache slave a ringmq master: what was sent is compared with what the slave has by the
//! book of all that was sent ([`harness::Audit`]), and its records with the master's, byte for byte. Skipped where Apache cannot be had.
#![allow(clippy::disallowed_methods, reason = "a test has clocks, files, threads and sockets")]
mod harness;

use std::io::Write as _;
use std::thread;
use std::time::{Duration, Instant};

use harness::{Audit, Client, Load, NameServer, Node, NodeOptions, Queue, Seed};
use ringmq_peers::{Apache, BrokerOptions, Role};

const TOPIC: &str = "java-peers";
const QUEUES: i32 = 2;
/// Apache's slave looks at its master's topics once a minute, and a busy machine is slow.
const PATIENCE: Duration = Duration::from_secs(180);
/// As [`BrokerOptions::small`] has it: both must have segments of one size.
const SEGMENT_BYTES: &str = "67108864";

fn say(line: &str) {
    writeln!(std::io::stderr(), "{line}").expect("stderr is open");
}

fn apache() -> Option<Apache> {
    Apache::locate().map_err(|missing| say(&format!("skipped: {missing}"))).ok()
}

fn queues() -> Vec<Queue> {
    (0..QUEUES).map(|queue_id| Queue { shard: 0, topic: TOPIC.to_owned(), queue_id }).collect()
}

/// Waits until the slave has everything in the book, then compares the bytes.
fn compare(audit: &mut Audit, master: &str, slave: &str, log: impl Fn() -> String) {
    let begun = Instant::now();
    loop {
        audit.read_all_again();
        let verified = Client::connect(slave).map_err(|error| error.to_string());
        match verified.and_then(|mut client| audit.verify(&mut client, &queues())) {
            Ok(()) => break,
            Err(problems) => assert!(begun.elapsed() < PATIENCE, "{problems}\n{}", log()),
        }
        thread::sleep(Duration::from_millis(200));
    }
    say(&format!("caught up after {:?}", begun.elapsed()));
    for queue_id in 0..QUEUES {
        let bytes = |address: &str| {
            Client::connect(address).expect("it listens").read_bytes(TOPIC, queue_id).expect("it answers")
        };
        assert!(bytes(master) == bytes(slave), "queue {queue_id} differs");
    }
}

/// Sends to a master and enters what was sent.
fn produce(audit: &mut Audit, load: &Load, master: &str, seed: &Seed, purpose: u64) {
    let (book, ended) = load.produce(master, &queues(), 1500, &mut seed.random(purpose));
    ended.expect("the master lives");
    audit.enter(book);
}

#[test]
fn ringmq_follows_an_apache_master() {
    let Some(apache) = apache() else { return };
    let seed = Seed::of("java_peers", "ringmq_follows_an_apache_master");
    let name_server = apache.start_name_server().expect("it starts");
    let master = apache.start_broker(&BrokerOptions::small(&name_server.address())).expect("it starts");
    Client::connect(&master.address()).expect("it listens").create_topic(TOPIC, 2).expect("it answers");
    let (mut audit, load) = (Audit::default(), Load::default());
    produce(&mut audit, &load, &master.address(), &seed, 1);
    let more = [("brokerRole", "SLAVE"), ("brokerId", "1"), ("mappedFileSizeCommitLog", SEGMENT_BYTES)];
    let slave = Node::start(&NodeOptions {
        name_servers: Some(name_server.address()),
        more: more.iter().map(|(key, value)| (*key, (*value).to_owned())).collect(),
        ..NodeOptions::default()
    });
    compare(&mut audit, &master.address(), &slave.broker(0), || slave.process().log_tail());
    // And live.
    produce(&mut audit, &load, &master.address(), &seed, 2);
    compare(&mut audit, &master.address(), &slave.broker(0), || slave.process().log_tail());
}

#[test]
fn an_apache_slave_follows_ringmq() {
    let Some(apache) = apache() else { return };
    let seed = Seed::of("java_peers", "an_apache_slave_follows_ringmq");
    let name_server = NameServer::start(&[]);
    let master = Node::start(&NodeOptions {
        name_servers: Some(name_server.address()),
        more: vec![("mappedFileSizeCommitLog", SEGMENT_BYTES.to_owned())],
        ..NodeOptions::default()
    });
    Client::connect(&master.broker(0)).expect("it listens").create_topic(TOPIC, 2).expect("it answers");
    let (mut audit, load) = (Audit::default(), Load::default());
    produce(&mut audit, &load, &master.broker(0), &seed, 1);
    let mut options = BrokerOptions { broker_id: 1, role: Role::Slave, ..BrokerOptions::small(&name_server.address()) };
    // Without it Apache's slave refuses every pull.
    options.more.push(("slaveReadEnable".to_owned(), "true".to_owned()));
    let slave = apache.start_broker(&options).expect("it starts");
    compare(&mut audit, &master.broker(0), &slave.address(), || slave.process().log_tail());
    produce(&mut audit, &load, &master.broker(0), &seed, 2);
    compare(&mut audit, &master.broker(0), &slave.address(), || slave.process().log_tail());
}
