//! Java brokers and ringmq as each other's slaves, over RocketMQ's classic stream.
//!
//! A ringmq shard follows an Apache 5.3.3 master, and an Apache slave a ringmq master: what was sent is compared with what the slave has by the
//! book of all that was sent ([`harness::Audit`]), and its records with the master's, byte for byte; so are light queues. Skipped where Apache cannot be had.
#![allow(clippy::disallowed_methods, reason = "a test has clocks, files, threads and sockets")]

use std::env;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use harness::{Audit, Client, Frame, Load, NameServer, Node, NodeOptions, Queue, Random, Seed, say, wait_for};
use ringmq_peers::{Apache, BrokerOptions, Role};

const TOPIC: &str = "java-peers";
const QUEUES: i32 = 2;
/// Most that an orderly stop takes.
const ORDERLY: Duration = Duration::from_secs(20);
/// Apache's slave looks at its master's topics once a minute, and a busy machine is slow.
const PATIENCE: Duration = Duration::from_secs(240);
/// Both must have segments of one size, and the backlog must fit one: a classic stream begins where the master's last segment does.
const SEGMENT_BYTES: &str = "1073741824";

/// What lets either have light queues.
const LIGHT_SETTINGS: [&str; 2] = ["enableLmq", "enableMultiDispatch"];
const LIGHT: [&str; 2] = ["%LMQ%one", "%LMQ%two"];

fn apache() -> Option<Apache> {
    Apache::locate().map_err(|missing| say(&format!("skipped: {missing}"))).ok()
}

/// An Apache broker.
fn broker(name_server: &str) -> BrokerOptions {
    let mut options = BrokerOptions::small(name_server);
    options.more.push(("mappedFileSizeCommitLog".to_owned(), SEGMENT_BYTES.to_owned()));
    options.more.extend(LIGHT_SETTINGS.map(|key| (key.to_owned(), "true".to_owned())));
    options
}

fn queues() -> Vec<Queue> {
    (0..QUEUES).map(|queue_id| Queue { shard: 0, topic: TOPIC.to_owned(), queue_id }).collect()
}

/// Messages that the slave has to catch up: `RINGMQ_PEER_MESSAGES`, or a few. 700,000 of them are nearly a gigabyte.
fn backlog() -> usize {
    let messages = env::var("RINGMQ_PEER_MESSAGES").ok();
    messages.map_or(1500, |text| text.parse().expect("RINGMQ_PEER_MESSAGES is a whole number"))
}

/// Where the queues end on a broker; `None` while it does not say.
fn ends(address: &str) -> Option<Vec<i64>> {
    let mut client = Client::connect(address).ok()?;
    (0..QUEUES).map(|queue_id| client.max_offset(TOPIC, queue_id).ok()).collect()
}

/// Whether a broker lets the topic be read: a Java slave knows its log before its topics.
fn is_read(address: &str, ends: &[i64]) -> bool {
    let Ok(mut client) = Client::connect(address) else { return false };
    (0..QUEUES).zip(ends).all(|(queue_id, &end)| client.read_queue(TOPIC, queue_id, end).is_ok())
}

/// Waits until the slave's queues end where its master's do, then looks for everything in the book, and compares the bytes.
fn compare(audit: &mut Audit, master: &str, slave: &str, log: impl Fn() -> String) {
    let begun = Instant::now();
    let wanted = ends(master).expect("the master answers");
    while ends(slave).as_ref() != Some(&wanted) || !is_read(slave, &wanted) {
        assert!(begun.elapsed() < PATIENCE, "the slave is at {:?} of {wanted:?}\n{}", ends(slave), log());
        thread::sleep(Duration::from_millis(50));
    }
    say(&format!("caught up after {:?}", begun.elapsed()));
    // A Java slave empties its table of topics for a moment whenever its master's has changed, and refuses pulls meanwhile.
    loop {
        audit.read_all_again();
        let verified = Client::connect(slave).map_err(|error| error.to_string());
        match verified.and_then(|mut client| audit.verify(&mut client, &queues())) {
            Ok(()) => break,
            Err(problems) => assert!(begun.elapsed() < PATIENCE, "{problems}\n{}", log()),
        }
    }
    for queue_id in 0..QUEUES {
        let bytes = |address: &str| {
            Client::connect(address).expect("it listens").read_bytes(TOPIC, queue_id).expect("it answers")
        };
        assert!(bytes(master) == bytes(slave), "queue {queue_id} differs");
    }
}

/// Sends to a topic, and to light queues with it: to the first of them each, to the second each third.
fn produce_light(master: &str) {
    let mut client = Client::connect(master).expect("it listens");
    client.create_topic("java-light", 1).expect("it answers");
    for number in 0..60 {
        let names = if number % 3 == 0 { LIGHT.join(",") } else { LIGHT[0].to_owned() };
        let body = format!("light {number}");
        client.send_with("java-light", 0, body.as_bytes(), &[("INNER_MULTI_DISPATCH", &names)]).expect("it is stored");
    }
}

/// Waits until the light queues of both have `times` of what is sent at once, and are the same.
fn compare_light(master: &str, slave: &str, times: i64, log: impl Fn() -> String) {
    let begun = Instant::now();
    for (name, end) in LIGHT.into_iter().zip([60 * times, 20 * times]) {
        let read = |address: &str| {
            let mut client = Client::connect(address).ok()?;
            let end = client.max_offset(name, 0).ok()?;
            Some((end, client.read_bytes(name, 0).ok()?))
        };
        loop {
            let (theirs, ours) = (read(master), read(slave));
            if theirs.as_ref().is_some_and(|(at, bytes)| *at == end && !bytes.is_empty()) && theirs == ours {
                break;
            }
            let ends = [theirs, ours].map(|read| read.map(|(end, bytes)| (end, bytes.len())));
            assert!(begun.elapsed() < PATIENCE, "{name} is to end at {end}: {ends:?}\n{}", log());
            thread::sleep(Duration::from_millis(50));
        }
    }
}

/// A group that is to pop.
fn set_mode(master: &str) {
    let body = format!(r#"{{"topic":"{TOPIC}","consumerGroup":"G_POPS","mode":"POP","popShareQueueNum":3}}"#);
    let mut client = Client::connect(master).expect("it listens");
    client.expect_success("a mode", Frame::request(401).body(body)).expect("it answers");
}

/// Waits until the slave says so as well.
fn compare_modes(slave: &str, log: impl Fn() -> String) {
    let begun = Instant::now();
    let expected = format!(
        r#"{{"messageRequestModeMap":{{"{TOPIC}":{{"G_POPS":{{"consumerGroup":"G_POPS","mode":"POP","popShareQueueNum":3,"topic":"{TOPIC}"}}}}}}}}"#
    );
    loop {
        let told = Client::connect(slave).and_then(|mut client| client.call(Frame::request(402)));
        match told {
            Ok(answer) if answer.body == expected.as_bytes() => return,
            told => assert!(begun.elapsed() < PATIENCE, "{told:?}\n{}", log()),
        }
        thread::sleep(Duration::from_millis(200));
    }
}

/// Sends to a master and enters what was sent.
fn produce(audit: &mut Audit, load: &Load, master: &str, count: usize, random: &mut Random) {
    let (book, ended) = load.produce(master, &queues(), count, random);
    ended.expect("the master lives");
    audit.enter(book);
}

#[test]
fn ringmq_follows_an_apache_master() {
    let Some(apache) = apache() else { return };
    let seed = Seed::of("java_peers", "ringmq_follows_an_apache_master");
    let name_server = apache.start_name_server().expect("it starts");
    let master = apache.start_broker(&broker(&name_server.address())).expect("it starts");
    Client::connect(&master.address()).expect("it listens").create_topic(TOPIC, 2).expect("it answers");
    let (mut audit, load) = (Audit::default(), Load::default());
    produce(&mut audit, &load, &master.address(), backlog(), &mut seed.random(1));
    produce_light(&master.address());
    let more = [("brokerRole", "SLAVE"), ("brokerId", "1"), ("mappedFileSizeCommitLog", SEGMENT_BYTES)];
    let more = more.into_iter().chain(LIGHT_SETTINGS.map(|key| (key, "true")));
    let slave = Node::start(&NodeOptions {
        name_servers: Some(name_server.address()),
        more: more.map(|(key, value)| (key, value.to_owned())).collect(),
        ..NodeOptions::default()
    });
    compare(&mut audit, &master.address(), &slave.broker(0), || slave.process().log_tail());
    // And live.
    set_mode(&master.address());
    produce(&mut audit, &load, &master.address(), 1500, &mut seed.random(2));
    produce_light(&master.address());
    compare(&mut audit, &master.address(), &slave.broker(0), || slave.process().log_tail());
    compare_light(&master.address(), &slave.broker(0), 2, || slave.process().log_tail());
    compare_modes(&slave.broker(0), || slave.process().log_tail());
}

/// What an Apache master has delivered of its delayed messages, its slave does not deliver again when an operator makes it the master, and what
/// waits still comes: the slave has its master's `delayOffset.json` by request 45, and starts on the file itself as well.
#[test]
fn ringmq_goes_on_with_the_delayed_messages_of_a_lost_apache_master() {
    const LEVELS: (&str, &str) = ("messageDelayLevel", "1s 30s");
    const EARLY: usize = 20;
    const LATE: usize = 7;
    let Some(apache) = apache() else { return };
    let name_server = apache.start_name_server().expect("it starts");
    let mut options = broker(&name_server.address());
    options.more.push((LEVELS.0.to_owned(), LEVELS.1.to_owned()));
    let master = apache.start_broker(&options).expect("it starts");
    let mut client = Client::connect(&master.address()).expect("it listens");
    client.create_topic(TOPIC, 1).expect("it answers");
    let as_node = |role: &str, id: &str| {
        let own = [("brokerRole", role), ("brokerId", id), ("mappedFileSizeCommitLog", SEGMENT_BYTES), LEVELS];
        own.iter().map(|(key, value)| (*key, (*value).to_owned())).collect::<Vec<_>>()
    };
    let mut node = Node::start(&NodeOptions {
        name_servers: Some(name_server.address()),
        more: as_node("SLAVE", "1"),
        ..NodeOptions::default()
    });
    let mut send = |level: &str, count: usize| {
        for number in 0..count {
            let body = format!("{level}-{number}");
            client.send_with(TOPIC, 0, body.as_bytes(), &[("DELAY", level)]).expect("it is stored");
        }
    };
    send("1", EARLY);
    send("2", LATE);
    let bodies = |address: &str| -> Vec<String> {
        let records =
            Client::connect(address).and_then(|mut client| client.read_queue(TOPIC, 0, 0)).unwrap_or_default();
        records.into_iter().map(|record| String::from_utf8_lossy(&record.body).into_owned()).collect()
    };
    let early: Vec<String> = (0..EARLY).map(|number| format!("1-{number}")).collect();
    wait_for("what is due on the slave", || (bodies(&node.broker(0)) == early).then_some(()));
    wait_for("the places of the levels on the slave", || {
        let told = Client::connect(&node.broker(0)).and_then(|mut client| client.call(Frame::request(45))).ok()?;
        let text = String::from_utf8(told.body).ok()?.replace('"', "");
        text.contains(&format!("offsetTable:{{1:{EARLY}")).then_some(())
    });
    assert_eq!(bodies(&master.address()), early);
    let places = master.store_dir().join("config/delayOffset.json");
    let written = wait_for("the places of the levels in the master's file", || {
        let text = fs::read_to_string(&places).ok()?;
        text.replace('"', "").contains(&format!("1:{EARLY}")).then_some(text)
    });
    drop(master);
    // An orderly stop: what changed since a table was written is in it, and would be taken over what an operator puts there.
    node.stop(ORDERLY);
    let own = node.store_dir().join("shard-0/config/delayOffset.json");
    let told = fs::read_to_string(&own).expect("a shard has its tables");
    assert_ne!(written, told);
    fs::write(&own, &written).expect("the store can be written");
    node.options_mut().more = as_node("ASYNC_MASTER", "0");
    node.restart();
    let late = (0..LATE).map(|number| format!("2-{number}"));
    let all: Vec<String> = early.into_iter().chain(late).collect();
    wait_for("what waited", || (bodies(&node.broker(0)).len() >= all.len()).then_some(()));
    assert_eq!(bodies(&node.broker(0)), all, "{}", node.process().log_tail());
}

#[test]
fn an_apache_slave_follows_ringmq() {
    let Some(apache) = apache() else { return };
    let seed = Seed::of("java_peers", "an_apache_slave_follows_ringmq");
    let name_server = NameServer::start(&[]);
    let master = Node::start(&NodeOptions {
        name_servers: Some(name_server.address()),
        more: std::iter::once(("mappedFileSizeCommitLog", SEGMENT_BYTES))
            .chain(LIGHT_SETTINGS.map(|key| (key, "true")))
            .map(|(key, value)| (key, value.to_owned()))
            .collect(),
        ..NodeOptions::default()
    });
    Client::connect(&master.broker(0)).expect("it listens").create_topic(TOPIC, 2).expect("it answers");
    let (mut audit, load) = (Audit::default(), Load::default());
    produce(&mut audit, &load, &master.broker(0), backlog(), &mut seed.random(1));
    produce_light(&master.broker(0));
    let mut options = BrokerOptions { broker_id: 1, role: Role::Slave, ..broker(&name_server.address()) };
    // Without it Apache's slave refuses every pull.
    options.more.push(("slaveReadEnable".to_owned(), "true".to_owned()));
    let slave = apache.start_broker(&options).expect("it starts");
    compare(&mut audit, &master.broker(0), &slave.address(), || slave.process().log_tail());
    set_mode(&master.broker(0));
    produce(&mut audit, &load, &master.broker(0), 1500, &mut seed.random(2));
    produce_light(&master.broker(0));
    compare(&mut audit, &master.broker(0), &slave.address(), || slave.process().log_tail());
    compare_light(&master.broker(0), &slave.address(), 2, || slave.process().log_tail());
    compare_modes(&slave.address(), || slave.process().log_tail());
}
