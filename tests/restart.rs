//! Stopping and starting as operators do: orderly, under load, with clients that are in the way; and what is there afterwards.
//!
//! SIGTERM and SIGINT end the process with 0 within five seconds and lose nothing acknowledged; consumers go on where they were.
//! How long a start takes is printed, not asserted: the bench measures it on a machine of its own.
//!
//! What it cannot show: loss of power, and moments of a kill; see `crash.rs` and the simulator.
#![allow(clippy::disallowed_methods, reason = "a test has clocks, files, threads and sockets")]

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use harness::{Audit, Client, Frame, Load, Node, NodeOptions, Queue, Random, Seed, code, rounds, say, wait_for};
use ringmq_peers::{Flush, PortBlock, Process};
use tempfile::TempDir;

/// What the issue of an orderly stop promises.
const STOP_MAX: Duration = Duration::from_secs(5);
const TOPIC: &str = "stopped";

fn small() -> Vec<(&'static str, String)> {
    [("mappedFileSizeCommitLog", "4194304"), ("maxMessageSize", "1048576"), ("tailSize", "8388608")]
        .map(|(key, value)| (key, value.to_owned()))
        .to_vec()
}

fn queues(shard: u16) -> Vec<Queue> {
    (0..4).map(|queue_id| Queue { shard, topic: TOPIC.to_owned(), queue_id }).collect()
}

/// Stops the node and checks how it went; returns how long it took.
fn stop(node: &mut Node, signal: &str) -> Duration {
    let begin = Instant::now();
    // SIGINT is what a terminal sends; `Node::stop` then sends SIGTERM, which must not hurt a process that ends already.
    if signal == "INT" {
        let id = node.process().id().to_string();
        assert!(Command::new("sh").args(["-c", &format!("kill -INT {id}")]).status().expect("sh").success());
    }
    let status = node.stop(Duration::from_secs(30));
    assert_eq!(status.code(), Some(0), "after SIG{signal}: {status}");
    let took = begin.elapsed();
    assert!(took <= STOP_MAX, "the stop took {took:?}");
    took
}

#[test]
fn an_orderly_stop_under_load_loses_nothing() -> io::Result<()> {
    let seed = Seed::of("restart", "an_orderly_stop_under_load_loses_nothing");
    let mut random = seed.random(0);
    for (flush, shards) in [(Flush::Async, 1), (Flush::Sync, 2)] {
        let mut node = Node::start(&NodeOptions { flush, shards, more: small(), ..NodeOptions::default() });
        let mut audit = Audit::default();
        let load = Load::default();
        for shard in 0..shards {
            Client::connect(&node.broker(shard))?.create_topic(TOPIC, 4)?;
        }
        for round in 0..rounds(4) {
            let took = stop_under_load(&mut node, shards, &load, &mut audit, &mut random);
            let begin = Instant::now();
            node.restart();
            say(&format!("{flush:?}, round {round}: stopped in {took:?}, served after {:?}", begin.elapsed()));
            for shard in 0..shards {
                let mut client = Client::connect(&node.broker(shard))?;
                audit.verify(&mut client, &queues(shard)).unwrap_or_else(|problems| panic!("{problems}"));
            }
        }
        assert!(audit.acknowledged() > 0, "nothing was acknowledged: nothing was tested");
    }
    Ok(())
}

fn stop_under_load(node: &mut Node, shards: u16, load: &Load, audit: &mut Audit, random: &mut Random) -> Duration {
    let addresses: Vec<String> = (0..shards).map(|shard| node.broker(shard)).collect();
    let signal = *random.choose(&["TERM", "INT"]);
    let acknowledged = load.acknowledged() + u64::try_from(random.below(3000)).expect("small");
    let (books, took) = thread::scope(|scope| {
        let producers: Vec<_> = (0..4_u16)
            .map(|producer| {
                let shard = producer % shards;
                let address = &addresses[usize::from(shard)];
                let mut random = Random::of(random.number());
                scope.spawn(move || load.produce(address, &queues(shard), 50_000, &mut random))
            })
            .collect();
        wait_for("acknowledgements", || (load.acknowledged() >= acknowledged).then_some(()));
        let took = stop(node, signal);
        load.end();
        (producers.into_iter().map(|producer| producer.join().expect("it ends")).collect::<Vec<_>>(), took)
    });
    load.begin();
    for (book, _) in books {
        audit.enter(book);
    }
    took
}

/// Clients that wait, do not read or do not finish their frames must not hold up the end.
#[test]
fn a_stop_waits_for_no_client() -> io::Result<()> {
    let mut node = Node::start(&NodeOptions { more: small(), ..NodeOptions::default() });
    let mut client = Client::connect(&node.broker(0))?;
    client.create_topic(TOPIC, 4)?;
    for _ in 0..16 {
        client.send(TOPIC, 0, &vec![3; 200 << 10])?;
    }
    let mut waiting = Client::connect(&node.broker(0))?;
    waiting.start(Client::long_pull_request("G", TOPIC, 1, 0, Duration::from_secs(600)))?;
    let mut others = Vec::new();
    for address in [node.broker(0), node.name_server()] {
        others.push(TcpStream::connect(&address)?);
        let mut cut = TcpStream::connect(&address)?;
        cut.write_all(&[0, 0, 1, 0, 0, 0, 0, 100, b'{'])?;
        others.push(cut);
        let mut never_reads = TcpStream::connect(&address)?;
        never_reads.set_write_timeout(Some(Duration::from_millis(300)))?;
        let requests = Client::pull_request("G", TOPIC, 0, 0, 32).encode().repeat(2000);
        drop(never_reads.write_all(&requests));
        others.push(never_reads);
    }
    say(&format!("stopped in {:?} with clients in the way", stop(&mut node, "TERM")));
    // All connections have been closed; that they see it is how clients learn to go elsewhere.
    for mut stream in others {
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let mut rest = Vec::new();
        if let Err(error) = stream.read_to_end(&mut rest) {
            assert_ne!(error.kind(), io::ErrorKind::WouldBlock, "a connection outlives its server");
        }
    }
    Ok(())
}

#[test]
fn consumers_go_on_where_they_were() -> io::Result<()> {
    let mut node = Node::start(&NodeOptions { more: small(), ..NodeOptions::default() });
    let mut client = Client::connect(&node.broker(0))?;
    client.create_topic(TOPIC, 4)?;
    let mut consumed = 0;
    for round in 0_u8..4 {
        let mut client = Client::connect(&node.broker(0))?;
        client.heartbeat("me", "G", TOPIC)?;
        for _ in 0..10 {
            client.send(TOPIC, 2, &[round])?;
        }
        assert_eq!(client.consumer_offset("G", TOPIC, 2)?, (round > 0).then_some(consumed), "round {round}");
        let pulled = client.pull("G", TOPIC, 2, consumed, 7)?;
        assert_eq!(pulled.records.len(), 7);
        assert!(pulled.records.iter().map(|record| record.queue_offset).eq(consumed..consumed + 7));
        consumed = pulled.next_begin_offset;
        client.commit_offset("G", TOPIC, 2, consumed)?;
        if round % 2 == 0 {
            stop(&mut node, "TERM");
        } else {
            // At kill -9 the last second may be lost: the second must pass, so here is a wait that is one.
            thread::sleep(Duration::from_millis(2500));
            node.kill();
        }
        node.restart();
    }
    let mut client = Client::connect(&node.broker(0))?;
    assert_eq!(client.consumer_offset("G", TOPIC, 2)?, Some(consumed));
    let rest = client.read_queue(TOPIC, 2, consumed)?;
    assert!(rest.iter().map(|record| record.queue_offset).eq(consumed..40));
    Ok(())
}

/// After an orderly stop and after a crash alike, no client is sent to a broker that is not there.
#[test]
fn a_stopped_broker_leaves_the_routes() -> io::Result<()> {
    let folder = TempDir::with_prefix("ringmq-routes-")?;
    let port = PortBlock::reserve(1);
    let config = folder.path().join("namesrv.properties");
    std::fs::write(&config, format!("listenPort={}\nbindAddress=127.0.0.1\n", port.listen()))?;
    let mut command = Command::new(harness::program("ringmq"));
    command.arg("namesrv").arg("-c").arg(&config).current_dir(folder.path()).stdin(Stdio::null());
    let address = format!("127.0.0.1:{}", port.listen());
    let mut names = Process::start("ringmq namesrv", command, &folder.path().join("namesrv.log")).expect("it starts");
    names.wait_until(Duration::from_secs(30), |_| Client::connect(&address).is_ok()).expect("it serves");

    let options =
        NodeOptions { name_servers: Some(address.clone()), shards: 2, more: small(), ..NodeOptions::default() };
    let mut node = Node::start(&options);
    let mut client = Client::connect(&address)?;
    assert!(client.route("BenchmarkTest")?.is_some());
    stop(&mut node, "TERM");
    assert!(client.route("BenchmarkTest")?.is_none(), "it said good-bye before it ended");
    node.restart();
    assert!(client.route("BenchmarkTest")?.is_some());
    node.kill();
    wait_for("end of the routes", || client.route("BenchmarkTest").ok()?.is_none().then_some(()));
    node.restart();
    let registered = client.expect_success("cluster", Frame::request(GET_CLUSTER_INFO))?;
    let text = String::from_utf8_lossy(&registered.body).into_owned();
    assert!(text.contains("broker-a-0") && text.contains("broker-a-1"), "{text}");
    stop(&mut node, "TERM");
    names.terminate();
    let status = names.wait_for_end(STOP_MAX).expect("a name server ends on SIGTERM");
    assert_eq!(status.code(), Some(0), "the name server's end: {status}");
    Ok(())
}

const GET_CLUSTER_INFO: i32 = 106;

/// A name server and a store that have never seen a message stop and start as well as others.
#[test]
fn an_empty_node_stops_and_starts() -> io::Result<()> {
    let mut node = Node::start(&NodeOptions { more: small(), ..NodeOptions::default() });
    for _ in 0..3 {
        stop(&mut node, "TERM");
        node.restart();
        node.kill();
        node.restart();
    }
    let mut client = Client::connect(&node.broker(0))?;
    client.create_topic(TOPIC, 1)?;
    let receipt = client.send(TOPIC, 0, b"first")?;
    assert_eq!((receipt.code, receipt.queue_offset), (code::SUCCESS, 0));
    Ok(())
}

/// A library before libc: its wall clock is as many seconds ahead as a file says, that of no other clock.
const AHEAD_C: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t id, struct timespec *now) {
    int failed = (int)syscall(SYS_clock_gettime, id, now);
    const char *path = getenv("RINGMQ_TEST_AHEAD");
    if (failed || id != CLOCK_REALTIME || !path) return failed;
    char text[24] = {0};
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return 0;
    if (read(file, text, sizeof text - 1) > 0) now->tv_sec += atol(text);
    close(file);
    return 0;
}
"#;

/// The hour of deletion is any, and messages stay for three days; then somebody sets the clock four days forward.
#[test]
fn a_clock_that_is_set_forward_takes_nothing_until_an_operator_says_that_it_is_right() -> io::Result<()> {
    let folder = TempDir::with_prefix("ringmq-clock-")?;
    let (source, library, ahead) = (folder.path().join("a.c"), folder.path().join("a.so"), folder.path().join("ahead"));
    std::fs::write(&source, AHEAD_C)?;
    let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status()?;
    assert!(built.success(), "cc: {built}");
    std::fs::write(&ahead, "0")?;
    let path = |path: &std::path::Path| path.display().to_string();
    let hours: Vec<String> = (0..24).map(|hour| format!("{hour:02}")).collect();
    let mut more = small();
    more.extend([("fileReservedTime", "72".to_owned()), ("deleteWhen", hours.join(";"))]);
    let environment = vec![("LD_PRELOAD", path(&library)), ("RINGMQ_TEST_AHEAD", path(&ahead))];
    let mut node = Node::start(&NodeOptions { more, environment, ..NodeOptions::default() });
    let mut client = Client::connect(&node.broker(0))?;
    client.create_topic(TOPIC, 1)?;
    for _ in 0..300 {
        client.send(TOPIC, 0, &[3; 50_000])?;
    }
    let four_days_s: i64 = 4 * 24 * 3600;
    std::fs::write(&ahead, four_days_s.to_string())?;
    let words = "retention goes on by the time that passes";
    wait_for(words, || node.process().log_text().contains(words).then_some(()));
    // Each tick may take a segment; in three seconds there are thirty.
    thread::sleep(Duration::from_secs(3));
    assert_eq!(client.min_offset(TOPIC, 0)?, 0);
    node.kill();
    node.restart();
    let mut client = Client::connect(&node.broker(0))?;
    wait_for(words, || node.process().log_text().contains(words).then_some(()));
    thread::sleep(Duration::from_secs(2));
    assert_eq!(client.read_queue(TOPIC, 0, 0)?.len(), 300, "after a start");
    // That it was the hold, and nothing else, which kept them.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
    let right = format!("retentionClockAccepted={}", (now.cast_signed() + four_days_s) * 1000);
    client.expect_success("a setting", Frame::request(25).body(right.as_bytes()))?;
    wait_for("retention", || client.min_offset(TOPIC, 0).ok().filter(|first| *first > 0));
    Ok(())
}
