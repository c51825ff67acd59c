//! Delayed messages and retries, with `kill -9` in the middle, of a node alone and of a master with a slave.
//!
//! Proves for the built binary: what was acknowledged comes, after its time by the broker's own clock, in the order of its level, and twice only
//! if it was on its way when the process was killed; in quiet, it comes within milliseconds; a consumer's retries wait and end among
//! the dead letters. While a master is away, its slave serves what has come and delivers nothing. Levels are short here, so that the
//! test is. What stock clients see, and Apache's broker beside ours, is in `delay_peers.rs`, what they see of a lost master in `cluster.rs`; power loss
//! is in the simulator.
//!
//! `RINGMQ_SEED` and `RINGMQ_ROUNDS` choose seed and rounds.
#![allow(clippy::disallowed_methods, reason = "a test has clocks, files, threads and sockets")]

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::RangeInclusive;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use harness::{
    Client, Frame, Node, NodeOptions, Pair, PairOptions, Queue, Random, Record, Seed, code, rounds, wait_for,
};
use ringmq_peers::Flush;

const TOPIC: &str = "delayed";
const SCHEDULED: &str = "SCHEDULE_TOPIC_XXXX";
/// In ms; level 1 is the first.
const DELAYS_MS: [i64; 3] = [1_000, 2_000, 3_000];
const LEVELS: &str = "1s 2s 3s";
const GET_BROKER_RUNTIME_INFO: i32 = 28;
const CONSUMER_SEND_MSG_BACK: i32 = 36;
/// Positions are written some times a second: what was delivered longer before a kill does not come again.
const IN_FLIGHT_MS: i64 = 1_500;

fn options(flush: Flush) -> NodeOptions {
    NodeOptions { flush, more: vec![("messageDelayLevel", LEVELS.to_owned())], ..NodeOptions::default() }
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_millis()).expect("fits")
}

/// Copies by body, and what waits in the levels.
struct Seen {
    copies: BTreeMap<Vec<u8>, Vec<Record>>,
    scheduled: Vec<Vec<Record>>,
}

fn look(node: &Node) -> io::Result<Seen> {
    let mut client = Client::connect(&node.broker(0))?;
    let mut copies: BTreeMap<Vec<u8>, Vec<Record>> = BTreeMap::new();
    for record in client.read_queue(TOPIC, 0, 0)? {
        copies.entry(record.body.clone()).or_default().push(record);
    }
    let scheduled = (0..3).map(|queue| client.read_queue(SCHEDULED, queue, 0)).collect::<io::Result<_>>()?;
    Ok(Seen { copies, scheduled })
}

/// Whether every level is at the end of its queue, as `mqadmin brokerStatus` shows it.
fn is_at_end(node: &Node) -> io::Result<bool> {
    let answer = Client::connect(&node.broker(0))?.call(Frame::request(GET_BROKER_RUNTIME_INFO))?;
    let info: serde_json::Value = serde_json::from_slice(&answer.body)?;
    let mut levels = (1..=3).map(|level| info["table"][format!("scheduleMessageOffset_{level}")].as_str());
    Ok(levels.all(|ends| ends.and_then(|ends| ends.split_once(',')).is_some_and(|(done, max)| done == max)))
}

impl Seen {
    fn is_complete(&self) -> bool {
        self.scheduled.iter().flatten().all(|waiting| self.copies.contains_key(&waiting.body))
    }

    /// What was put off, with the index of its level.
    fn waiting(&self) -> impl Iterator<Item = (usize, &Record)> {
        self.scheduled.iter().enumerate().flat_map(|(level, waiting)| waiting.iter().map(move |record| (level, record)))
    }

    /// How late each message came, in ms.
    fn check(&self, acknowledged: &BTreeSet<Vec<u8>>, kills_ms: &[RangeInclusive<i64>]) -> Vec<i64> {
        let mut late_ms = Vec::new();
        for (level, waiting) in self.scheduled.iter().enumerate() {
            let mut last = -1;
            for original in waiting {
                let copies = &self.copies[&original.body];
                let due = original.store_timestamp_ms + DELAYS_MS[level];
                assert!(
                    copies.iter().all(|copy| copy.store_timestamp_ms >= due),
                    "{original:?} came early: {copies:?}"
                );
                assert!(copies[0].log_offset > last, "level {} is out of order at {original:?}", level + 1);
                last = copies[0].log_offset;
                late_ms.push(copies[0].store_timestamp_ms - due);
                for copy in &copies[..copies.len() - 1] {
                    let stored = copy.store_timestamp_ms;
                    let is_excused =
                        kills_ms.iter().any(|kill| *kill.start() < stored + IN_FLIGHT_MS && stored <= *kill.end());
                    assert!(is_excused, "delivered at {stored} and again, kills at {kills_ms:?}: {copies:?}");
                }
                assert_eq!(copies[0].properties["REAL_TOPIC"], TOPIC);
            }
        }
        let lost: Vec<_> = acknowledged.iter().filter(|body| !self.copies.contains_key(*body)).collect();
        assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
        late_ms
    }
}

/// Sends for this long, or until the broker is gone.
fn send_for(node: &Node, how_long: Duration, random: &mut Random, next: &mut u64) -> io::Result<BTreeSet<Vec<u8>>> {
    let mut client = Client::connect(&node.broker(0))?;
    let (begin, mut acknowledged) = (std::time::Instant::now(), BTreeSet::new());
    while begin.elapsed() < how_long {
        let level = (1 + random.below(3)).to_string();
        let body = next.to_string().into_bytes();
        *next += 1;
        client.send_with(TOPIC, 0, &body, &[("DELAY", &level)])?;
        acknowledged.insert(body);
        thread::sleep(Duration::from_millis(1));
    }
    Ok(acknowledged)
}

fn run(test: &'static str, flush: Flush) -> io::Result<()> {
    let seed = Seed::of("delay", test);
    let mut random = seed.random(0);
    let mut node = Node::start(&options(flush));
    Client::connect(&node.broker(0))?.create_topic(TOPIC, 1)?;
    let (mut acknowledged, mut kills_ms, mut next) = (BTreeSet::new(), Vec::new(), 0);
    for _ in 0..rounds(4) {
        let how_long = Duration::from_millis(u64::try_from(600 + random.below(1_500)).expect("small"));
        acknowledged.extend(send_for(&node, how_long, &mut random, &mut next)?);
        thread::sleep(Duration::from_millis(u64::try_from(random.below(1_000)).expect("small")));
        let kill_ms = now_ms();
        node.kill();
        kills_ms.push(kill_ms..=now_ms());
        node.restart();
    }
    wait_for("all levels at their end", || is_at_end(&node).ok().filter(|is_at_end| *is_at_end));
    let seen = look(&node)?;
    assert!(seen.is_complete());
    seen.check(&acknowledged, &kills_ms);
    assert!(acknowledged.len() > 500, "only {} were acknowledged", acknowledged.len());
    // Positions are where they were: an orderly stop delivers nothing again.
    let count = seen.copies.values().map(Vec::len).sum::<usize>();
    assert!(node.stop(Duration::from_secs(30)).success());
    node.restart();
    thread::sleep(Duration::from_millis(500));
    assert_eq!(look(&node)?.copies.values().map(Vec::len).sum::<usize>(), count, "delivered again");
    Ok(())
}

#[test]
fn kills_under_async_flush_lose_no_delayed_message() -> io::Result<()> {
    run("kills_under_async_flush_lose_no_delayed_message", Flush::Async)
}

#[test]
fn kills_under_sync_flush_lose_no_delayed_message() -> io::Result<()> {
    run("kills_under_sync_flush_lose_no_delayed_message", Flush::Sync)
}

#[test]
fn in_quiet_a_message_comes_within_milliseconds_of_its_time() -> io::Result<()> {
    let node = Node::start(&options(Flush::Async));
    Client::connect(&node.broker(0))?.create_topic(TOPIC, 1)?;
    let mut random = Seed::of("delay", "in_quiet").random(0);
    let acknowledged = send_for(&node, Duration::from_secs(1), &mut random, &mut 0)?;
    let seen = wait_for("all that waits to be delivered", || look(&node).ok().filter(Seen::is_complete));
    let mut late_ms = seen.check(&acknowledged, &[]);
    late_ms.sort_unstable();
    let median = late_ms[late_ms.len() / 2];
    assert!(median <= 20, "half come later than {median} ms: {late_ms:?}");
    Ok(())
}

#[test]
fn a_slave_serves_what_came_and_delivers_nothing_and_the_master_delivers_the_rest_when_it_is_back() -> io::Result<()> {
    let seed = Seed::of(
        "delay",
        "a_slave_serves_what_came_and_delivers_nothing_and_the_master_delivers_the_rest_when_it_is_back",
    );
    let mut random = seed.random(0);
    let mut pair = pair();
    pair.to_master().create_topic(TOPIC, 1)?;
    let (mut acknowledged, mut kills_ms, mut next, mut cut_short) = (BTreeSet::new(), Vec::new(), 0, 0);
    for _ in 0..rounds(3) {
        pair.wait_in_sync();
        let how_long = Duration::from_millis(u64::try_from(1_000 + random.below(1_500)).expect("small"));
        acknowledged.extend(send_for(&pair.master, how_long, &mut random, &mut next)?);
        thread::sleep(Duration::from_millis(u64::try_from(random.below(1_000)).expect("small")));
        let kill_ms = now_ms();
        pair.lose_master();
        kills_ms.push(kill_ms..=now_ms());
        let at_slave = wait_for("topic at the slave", || look(&pair.slave).ok());
        for (level, original) in at_slave.waiting() {
            let due = original.store_timestamp_ms + DELAYS_MS[level];
            let has_come = at_slave.copies.contains_key(&original.body);
            assert!(
                has_come || due + IN_FLIGHT_MS > kill_ms,
                "due at {due}, killed at {kill_ms}, not on the slave: {original:?}"
            );
            cut_short += usize::from(!has_come);
        }
        let is_known = |body: &Vec<u8>| at_slave.waiting().any(|(_, original)| original.body == *body);
        assert!(acknowledged.iter().all(is_known), "the slave does not have all that was acknowledged");
        // All is due long before this is over.
        thread::sleep(Duration::from_millis(DELAYS_MS[2].unsigned_abs() + 500));
        assert_eq!(look(&pair.slave)?.copies, at_slave.copies, "a slave delivers nothing");
        pair.master.restart();
    }
    assert!(cut_short > 0, "all had come before the master was killed: nothing was tested");
    pair.wait_in_sync();
    wait_for("all levels at their end", || is_at_end(&pair.master).ok().filter(|is_at_end| *is_at_end));
    let seen = look(&pair.master)?;
    assert!(seen.is_complete());
    seen.check(&acknowledged, &kills_ms);
    pair.wait_caught_up(&Queue { shard: 0, topic: TOPIC.to_owned(), queue_id: 0 });
    pair.lose_master();
    assert_eq!(look(&pair.slave)?.copies, seen.copies, "the slave has what its master delivered");
    Ok(())
}

/// A master and a slave that has all that is acknowledged.
fn pair() -> Pair {
    Pair::start(&PairOptions { sync: true, both: options(Flush::Async), ..PairOptions::default() })
}

#[test]
fn retries_wait_and_end_among_the_dead_letters_whatever_is_killed() -> io::Result<()> {
    retries(Subject::Alone(Box::new(Node::start(&options(Flush::Sync)))))
}

#[test]
fn retries_wait_for_a_lost_master_and_end_among_the_dead_letters() -> io::Result<()> {
    retries(Subject::Pair(Box::new(pair())))
}

/// Who is killed.
enum Subject {
    Alone(Box<Node>),
    Pair(Box<Pair>),
}

impl Subject {
    fn master(&self) -> &Node {
        match self {
            Subject::Alone(node) => node,
            Subject::Pair(pair) => &pair.master,
        }
    }

    /// Kills the master and brings it back. Its slave meanwhile has `count` messages in the topic, whatever falls due.
    fn lose_master(&mut self, topic: &str, count: usize) -> io::Result<()> {
        match self {
            Subject::Alone(node) => {
                node.kill();
                node.restart();
            }
            Subject::Pair(pair) => {
                pair.lose_master();
                thread::sleep(Duration::from_millis(DELAYS_MS[2].unsigned_abs() + 500));
                let found = || pair.to_slave().read_queue(topic, 0, 0).ok();
                // It learns of a topic from its master, or from a message in it.
                let found =
                    if count == 0 { found().unwrap_or_default() } else { wait_for("topic at the slave", found) };
                assert_eq!(found.len(), count, "{topic} at the slave: {found:?}");
                pair.master.restart();
                pair.wait_in_sync();
            }
        }
        Ok(())
    }
}

fn retries(mut subject: Subject) -> io::Result<()> {
    let mut client = Client::connect(&subject.master().broker(0))?;
    if let Subject::Pair(pair) = &subject {
        pair.wait_in_sync();
    }
    client.create_topic(TOPIC, 1)?;
    client.send_with(TOPIC, 0, b"x", &[("KEYS", "k"), ("UNIQ_KEY", "U")])?;
    let mut place = client.read_queue(TOPIC, 0, 0)?[0].clone();
    let origin = place.log_offset;
    for (try_number, level) in [(1, "3"), (2, "3"), (3, "0")] {
        let topic = if level == "0" { "%DLQ%G" } else { "%RETRY%G" };
        let before = client.read_queue(topic, 0, 0).map_or(0, |copies| copies.len());
        let back = Frame::request(CONSUMER_SEND_MSG_BACK)
            .ext("offset", place.log_offset)
            .ext("group", "G")
            .ext("delayLevel", 0)
            .ext("originTopic", TOPIC)
            .ext("unitMode", false)
            .ext("maxReconsumeTimes", 2);
        let begin_ms = now_ms();
        let answer = client.call(back)?;
        assert_eq!(answer.code, code::SUCCESS, "{answer:?}");
        // What is given up waits for nothing.
        subject.lose_master(topic, before + usize::from(level == "0"))?;
        client = Client::connect(&subject.master().broker(0))?;
        // The copy before may have come again: it was delivered a moment before the kill.
        place = wait_for("the copy", || {
            let copies = client.read_queue(topic, 0, 0).ok()?;
            copies.into_iter().find(|copy| i64::from(copy.reconsume_times) == try_number)
        });
        // Level 3, and 3 again for 4: there are three here.
        let waited_ms = place.store_timestamp_ms - begin_ms;
        assert_eq!(waited_ms >= DELAYS_MS[2], level == "3", "try {try_number} came after {waited_ms} ms");
        assert_eq!((place.properties["DELAY"].as_str(), place.properties["RETRY_TOPIC"].as_str()), (level, TOPIC));
        assert!(place.properties["ORIGIN_MESSAGE_ID"].ends_with(&format!("{origin:016X}")), "{place:?}");
    }
    assert_eq!(
        client.read_queue("%DLQ%G", 0, 0)?.len(),
        1,
        "what is given up is not delayed, so it does not come twice"
    );
    Ok(())
}
