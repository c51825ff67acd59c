//! Honest clients in great numbers, and strangers with little effort: no shard stops, and whoever is beside them is served.
//!
//! A neighbour sends messages and asks for routes meanwhile; each of its requests must succeed within the three seconds that stock clients
//! wait, which tells what costs by the square from what does not. Bounds of one turn are counted in unit tests
//! (`src/broker/tests/crowd.rs`); here the built binary shows that its shell keeps to them.
#![allow(clippy::disallowed_methods, reason = "a test has clocks, files, threads and sockets")]

use std::io::{self, BufReader, Write as _};
use std::net::TcpStream;
use std::ops::Range;
use std::process::Command;
use std::thread;
use std::time::Duration;

use harness::{Client, Frame, Neighbour, Node, NodeOptions};

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// A node, and the neighbour on it.
fn begin(options: &NodeOptions) -> io::Result<(Node, Neighbour)> {
    let node = Node::start(options);
    Client::connect(&node.broker(0))?.create_topic("neighbour", 1)?;
    harness::wait_for("route", || Client::connect(&node.name_server()).ok()?.route("neighbour").ok()?);
    let neighbour = Neighbour::start(&node.broker(0), &node.name_server())?;
    Ok((node, neighbour))
}

#[test]
fn ninety_thousand_held_pulls_of_one_queue_wake_beside_others() -> io::Result<()> {
    const CONNECTIONS: usize = 9;
    const PULLS: usize = 10_000;
    let (node, neighbour) = begin(&NodeOptions::default())?;
    let mut producer = Client::connect(&node.broker(0))?;
    producer.create_topic("crowd", 1)?;
    let mut readers = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut stream = TcpStream::connect(node.broker(0))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut requests = Vec::new();
        for opaque in 1..=i32::try_from(PULLS).expect("few") {
            let mut request = Client::long_pull_request("crowd", "crowd", 0, 0, Duration::from_secs(50));
            request.opaque = opaque;
            requests.extend(request.encode());
        }
        stream.write_all(&requests)?;
        // What this client asks comes behind the pulls: its answer says that they are held.
        stream.write_all(&Frame::request(7777).encode())?;
        let mut reader = BufReader::new(stream);
        let last = Frame::read(&mut reader)?;
        assert_eq!(last.code, harness::code::REQUEST_CODE_NOT_SUPPORTED, "a pull was not held: {last:?}");
        readers.push(reader);
    }
    let readers: Vec<_> = readers
        .into_iter()
        .map(|mut reader| {
            thread::spawn(move || -> io::Result<usize> {
                let mut found = 0;
                for _ in 0..PULLS {
                    let answer = Frame::read(&mut reader)?;
                    // A client that does not keep up with reading is told to ask again.
                    assert!([0, 19].contains(&answer.code), "{answer:?}");
                    found += usize::from(answer.code == 0);
                }
                Ok(found)
            })
        })
        .collect();
    producer.send("crowd", 0, b"for all of them")?;
    let mut found = 0;
    for reader in readers {
        found += reader.join().expect("no assertion failed")?;
    }
    let latencies = neighbour.end()?;
    assert!(found > 0, "nobody got the message");
    assert!(latencies.count > 0 && latencies.max < Duration::from_secs(3), "{latencies:?}");
    Ok(())
}

/// Twelve half frames hold more than the shard's budget for them: a client beside them, from the same address, is served at once.
#[test]
fn half_frames_make_room_for_an_honest_large_one() -> io::Result<()> {
    let options = NodeOptions { more: vec![("tailSize", "33554432".to_owned())], ..NodeOptions::default() };
    let (node, neighbour) = begin(&options)?;
    let part = vec![0_u8; (6 << 20) + (256 << 10)];
    let mut halves = Vec::new();
    for _ in 0..12 {
        let mut stream = TcpStream::connect(node.broker(0))?;
        stream.set_write_timeout(Some(Duration::from_millis(300)))?;
        stream.write_all(&[0, 0xFF, 0xFF, 0xF0, 0, 0, 0, 100])?;
        // The server need not take all of it.
        drop(stream.write_all(&part));
        halves.push(stream);
    }
    let mut client = Client::connect(&node.broker(0))?;
    client.set_timeout(Duration::from_secs(3))?;
    client.create_topic("large", 1)?;
    for size in [300 << 10, 3 << 20, 300 << 10] {
        client.send("large", 0, &vec![1; size])?;
    }
    let latencies = neighbour.end()?;
    assert!(latencies.max < Duration::from_secs(3), "{latencies:?}");
    assert!(
        node.process().log_text().contains("its frame stood still"),
        "the reason is not in the log:\n{}",
        node.process().log_tail()
    );
    drop(halves);
    Ok(())
}

/// Large messages from many clients of one address at once, which hold more than the budget together: all of them arrive.
#[test]
fn honest_large_frames_all_arrive() -> io::Result<()> {
    const CLIENTS: usize = 24;
    let options = NodeOptions { more: vec![("tailSize", "33554432".to_owned())], ..NodeOptions::default() };
    let (node, neighbour) = begin(&options)?;
    Client::connect(&node.broker(0))?.create_topic("large", 1)?;
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let address = node.broker(0);
            thread::spawn(move || -> io::Result<()> {
                let mut client = Client::connect(&address)?;
                for _ in 0..3 {
                    client.send("large", 0, &vec![1; 3 << 20])?;
                }
                Ok(())
            })
        })
        .collect();
    for client in clients {
        client.join().expect("no assertion failed")?;
    }
    assert_eq!(Client::connect(&node.broker(0))?.max_offset("large", 0)?, 3 * 24);
    neighbour.end()?;
    Ok(())
}

/// More idle connections than the process may have files open, beside a producer that fills segment after segment: the log has what it needs.
#[test]
fn idle_connections_beyond_the_limit_take_nothing_from_the_log() -> io::Result<()> {
    const LIMIT: u64 = 600;
    let more = vec![("mappedFileSizeCommitLog", "8388608".to_owned()), ("tailSize", "8388608".to_owned())];
    let node = Node::start(&NodeOptions { open_files: Some(LIMIT), more, ..NodeOptions::default() });
    let mut client = Client::connect(&node.broker(0))?;
    client.create_topic("large", 1)?;
    let idle: Vec<TcpStream> =
        (0..LIMIT + 60).map(|_| TcpStream::connect(node.broker(0))).collect::<io::Result<_>>()?;
    for number in 0..200 {
        assert_eq!(client.send("large", 0, &vec![1; 100 << 10])?.code, 0, "message {number}");
    }
    let text = node.process().log_text();
    assert!(text.contains("as many as it may"), "no word of the connections that were refused:\n{text}");
    drop(idle);
    harness::wait_for("room for a newcomer", || Client::connect(&node.broker(0)).ok()?.max_offset("large", 0).ok());
    Ok(())
}

/// The system lets the process open nothing more for a while: what was acknowledged stays, and sends go on afterwards.
#[test]
fn the_log_waits_for_descriptors() -> io::Result<()> {
    let more = vec![("mappedFileSizeCommitLog", "8388608".to_owned()), ("tailSize", "8388608".to_owned())];
    let node = Node::start(&NodeOptions { more, ..NodeOptions::default() });
    let mut client = Client::connect(&node.broker(0))?;
    client.create_topic("large", 1)?;
    let limit = |soft: u64| -> io::Result<()> {
        let id = node.process().id().to_string();
        let done = Command::new("prlimit").args(["--pid", &id, &format!("--nofile={soft}:")]).status()?;
        if done.success() { Ok(()) } else { Err(io::Error::other("prlimit failed")) }
    };
    client.send("large", 0, b"before")?;
    limit(10)?;
    let address = node.broker(0);
    let producer = thread::spawn(move || -> io::Result<Client> {
        for _ in 0..200 {
            client.send("large", 0, &vec![1; 100 << 10])?;
        }
        Ok(client)
    });
    harness::wait_for("word that the log waits", || {
        node.process().log_text().contains("the log waits for a free descriptor").then_some(())
    });
    limit(1024)?;
    let mut client = producer.join().expect("no assertion failed")?;
    assert_eq!(client.max_offset("large", 0)?, 201);
    assert_eq!(Client::connect(&address)?.read_queue("large", 0, 0)?.len(), 201);
    Ok(())
}

/// Ids, groups and subscriptions of megabytes are refused, and cost nothing afterwards.
#[test]
fn what_clients_say_of_themselves_is_bounded_in_bytes() -> io::Result<()> {
    let options = NodeOptions { more: vec![("tailSize", "8388608".to_owned())], ..NodeOptions::default() };
    let (node, neighbour) = begin(&options)?;
    let heartbeat = |id: &str, groups: &[String], expression: &str| {
        let producers: Vec<_> = groups.iter().map(|group| serde_json::json!({ "groupName": group })).collect();
        let subscription = serde_json::json!({
            "topic": "neighbour", "subString": expression, "tagsSet": [], "codeSet": [], "subVersion": 1, "expressionType": "TAG",
        });
        let consumer = serde_json::json!({
            "groupName": "crowd", "consumeType": "CONSUME_PASSIVELY", "messageModel": "CLUSTERING",
            "consumeFromWhere": "CONSUME_FROM_LAST_OFFSET", "subscriptionDataSet": [subscription],
        });
        let body = serde_json::json!({ "clientID": id, "producerDataSet": producers, "consumerDataSet": [consumer] });
        Frame::request(harness::code::HEART_BEAT).body(body.to_string())
    };
    let mut strangers = Vec::new();
    for number in 0..20 {
        let mut stranger = Client::connect(&node.broker(0))?;
        let long = "i".repeat(12 << 20);
        assert_ne!(stranger.call(heartbeat(&long, &[], "*"))?.code, 0, "a client id of 12 MiB");
        let groups: Vec<String> = (0..100).map(|group| format!("{number}-{group}-{}", "g".repeat(64 << 10))).collect();
        assert_ne!(stranger.call(heartbeat("id", &groups, "*"))?.code, 0, "groups of 64 KiB");
        assert_ne!(stranger.call(heartbeat("id", &[], &"e".repeat(8 << 20)))?.code, 0, "an expression of 8 MiB");
        strangers.push(stranger);
    }
    // Whoever asks about them is answered at once, and hears of what was taken.
    let mut client = Client::connect(&node.broker(0))?;
    client.set_timeout(Duration::from_secs(3))?;
    client.call(Frame::request(harness::code::GET_CONSUMER_LIST_BY_GROUP).ext("consumerGroup", "crowd"))?;
    neighbour.end()?;
    let resident = harness::resident_mb_max(node.process().id())?;
    assert!(resident <= 512, "{resident} MiB resident");
    Ok(())
}

/// What `limits` states of memory, against what the process has: topics with queues and a message in each, groups with an offset in each queue.
#[test]
fn tables_cost_no_more_memory_than_is_stated() -> io::Result<()> {
    const TOPICS: usize = 400;
    const QUEUES: i32 = 16;
    /// Buffers and caches that fill by the way, and what the allocator keeps.
    const BESIDE_KB: u64 = 6 * 1024;
    let node = Node::start(&NodeOptions::default());
    let mut client = Client::connect(&node.broker(0))?;
    let mut fill = |from: usize, to: usize| -> io::Result<(u64, u64)> {
        for number in from..to {
            let (topic, group) =
                (format!("topic-of-usual-length-{number:05}"), format!("group-of-usual-length-{number:05}"));
            client.create_topic(&topic, QUEUES.unsigned_abs())?;
            client.heartbeat("client", &group, &topic)?;
            let mut asked = Vec::new();
            for queue in 0..QUEUES {
                asked.push(client.start(Client::send_request(&topic, queue, b"x", &[]))?);
            }
            for opaque in asked {
                Client::receipt(&client.finish(opaque)?)?;
            }
            for queue in 0..QUEUES {
                client.commit_offset(&group, &topic, queue, 1)?;
            }
        }
        let info = client.expect_success("runtime info", Frame::request(28))?.json()?;
        let stated = ["Queues", "Index", "Topics", "Groups", "Offsets", "Clients"].map(|of| {
            let text = info["table"][format!("memoryOf{of}")].as_str().expect("it is stated").to_owned();
            text.parse::<u64>().expect("bytes")
        });
        Ok((stated.iter().sum::<u64>() >> 10, harness::own_kb(node.process().id())?))
    };
    // What is made once is there after the first ones.
    let (stated_before, own_before) = fill(0, 40)?;
    let (stated, own) = fill(40, 40 + TOPICS)?;
    let (stated, own) = (stated - stated_before, own.saturating_sub(own_before));
    assert!(stated > 6 * 1024, "{stated} KiB are stated: nothing was tested");
    assert!(own <= stated + BESIDE_KB, "{own} KiB more, {stated} KiB are stated");
    Ok(())
}

/// A table that was within its bound could once not be read by the next start: as many groups as there may be are there again.
#[test]
fn a_start_reads_as_many_groups_as_there_may_be() -> io::Result<()> {
    const GROUPS_MAX: usize = 100_000;
    let mut node = Node::start(&NodeOptions::default());
    let mut client = Client::connect(&node.broker(0))?;
    let name = |number: usize| format!("group-of-usual-length-{number:06}");
    let make = |client: &mut Client, numbers: Range<usize>| {
        let groups: Vec<String> = numbers.map(|number| format!(r#"{{"groupName":"{}"}}"#, name(number))).collect();
        let body = format!(r#"{{"groupConfigList":[{}]}}"#, groups.join(","));
        client.call(Frame::request(225).body(body.into_bytes()))
    };
    let is_there = |client: &mut Client, number: usize| -> io::Result<bool> {
        let asked = Frame::request(352).ext("group", name(number));
        Ok(client.call(asked)?.code == 0)
    };
    // A list goes in whole or not at all, and some groups are the broker's own: it says how many.
    let refusal = make(&mut client, 0..GROUPS_MAX)?;
    let own = refusal.remark.as_deref().unwrap_or_default().split(' ').find_map(|word| word.parse::<usize>().ok());
    let made = GROUPS_MAX - own.filter(|_| refusal.code != 0).expect("how many there are");
    for from in (0..made).step_by(10_000) {
        assert_eq!(make(&mut client, from..made.min(from + 10_000))?.code, 0, "from {from} to {made}");
    }
    assert_ne!(make(&mut client, made..made + 1)?.code, 0, "one more");
    node.kill();
    node.restart();
    let mut client = Client::connect(&node.broker(0))?;
    for number in (0..made).step_by(997).chain([made - 1]) {
        assert!(is_there(&mut client, number)?, "{number}");
    }
    assert!(!is_there(&mut client, made)?, "it was refused");
    assert!(node.stop(PATIENCE).success());
    node.restart();
    let mut client = Client::connect(&node.broker(0))?;
    assert!(is_there(&mut client, made - 1)?, "from the table as a stop has written it");
    Ok(())
}
