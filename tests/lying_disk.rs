//! What the built binary does on a disk that forgets what was not synced, and on one whose calls fail.
//!
//! The store lies on [`LyingDisk`], a file system of this process. The simulator has such a disk for the log alone; here are the files, names
//! and tables of the whole node, through the kernel. Needs root and `/dev/fuse`; otherwise each test says in a line that it is skipped.
//!
//! `RINGMQ_SEED` and `RINGMQ_ROUNDS` choose seed and rounds. What it cannot show: a disk that says that it has flushed and has not.
#![allow(clippy::disallowed_methods, reason = "a test has clocks, files, threads and sockets")]
#[path = "lying_disk/disk.rs"]
mod disk;

use std::cell::Cell;
use std::slice;
use std::time::{Duration, Instant};

use disk::{Call, LyingDisk};
use harness::{
    Audit, Clerk, Client, Frame, Load, Node, NodeOptions, Pair, PairOptions, Queue, Random, Seed, TailFolder, rounds,
    say, small_log, wait_for,
};
use ringmq_peers::Flush;
use rustix::io::Errno;

const TOPICS: [&str; 2] = ["lying-a", "lying-b"];
const QUEUES: i32 = 3;
/// How long a round takes at most.
const PATIENCE: Duration = Duration::from_secs(3);

/// A node on such a disk, its load, and the book. The disk is dropped last.
struct World {
    node: Node,
    queues: Vec<Queue>,
    clerk: Clerk,
    load: Load,
    audit: Audit,
    random: Random,
    tails: TailFolder,
    disk: LyingDisk,
}

impl World {
    fn new(seed: &Seed) -> Option<Self> {
        let disk = LyingDisk::mount()?;
        let tails = TailFolder::create();
        let mut more = small_log();
        more.push(tails.setting());
        let store_dir = Some(disk.path().join("store"));
        let node = Node::start(&NodeOptions { flush: Flush::Sync, store_dir, more, ..NodeOptions::default() });
        let mut client = Client::connect(&node.broker(0)).expect("it listens");
        let mut queues = Vec::new();
        for topic in TOPICS {
            client.create_topic(topic, QUEUES.unsigned_abs()).expect("a topic");
            queues.extend((0..QUEUES).map(|queue_id| Queue { shard: 0, topic: topic.to_owned(), queue_id }));
        }
        let (load, audit, random) = (Load::default(), Audit::default(), seed.random(0));
        Some(Self { node, queues, clerk: Clerk::new(TOPICS[0]), load, audit, random, tails, disk })
    }

    /// Produces until `is_over`, then kills the node. Returns when it was killed.
    fn load_until(&mut self, is_over: impl Fn(&Load, &LyingDisk, &mut Random) -> bool) -> Instant {
        let Self { node, load, queues, clerk, random, disk, .. } = self;
        let begin = Instant::now();
        let (produced, killed) =
            load.produce_and_kill(node, slice::from_ref(queues), slice::from_mut(clerk), random, |random| {
                begin.elapsed() >= PATIENCE || is_over(load, disk, random)
            });
        produced.into_iter().for_each(|(book, _)| self.audit.enter(book));
        killed
    }

    /// Starts the node on what the disk has, without its tail, and compares it with the book.
    fn verify_after(&mut self, killed: Instant, round: u32) {
        self.tails.lose();
        self.disk.restore_power();
        self.node.restart();
        let mut client = Client::connect(&self.node.broker(0)).expect("it listens");
        self.audit.verify(&mut client, &self.queues).unwrap_or_else(|problems| panic!("round {round}: {problems}"));
        self.clerk.verify(&mut client, killed).unwrap_or_else(|problems| panic!("round {round}: {problems}"));
        let (found, without_reply) = self.audit.found();
        say(&format!("round {round}: {found} messages, {without_reply} without a reply"));
    }

    fn end(mut self) {
        assert!(self.audit.acknowledged() > 0, "no round got a single acknowledgement: nothing was tested");
        let status = self.node.stop(Duration::from_secs(30));
        assert!(status.success(), "the last stop: {status}");
    }
}

#[test]
fn what_was_acknowledged_is_there_after_the_power_was_lost() {
    let seed = Seed::of("lying_disk", "what_was_acknowledged_is_there_after_the_power_was_lost");
    let Some(mut world) = World::new(&seed) else { return };
    for round in 0..rounds(8) {
        let wanted = world.load.acknowledged() + world.random.below(1500) as u64;
        let killed = world.load_until(|load, disk, random| {
            let is_over = load.acknowledged() >= wanted;
            if is_over {
                disk.lose_power(random);
            }
            is_over
        });
        world.verify_after(killed, round);
    }
    world.end();
}

/// A write or a flush fails in the middle of the load. Whatever the node does then, what it has acknowledged is there when it runs again; and what
/// was written before a failed flush counts as lost from then on.
fn a_call_fails(call: Call, test: &'static str) {
    let seed = Seed::of("lying_disk", test);
    let Some(mut world) = World::new(&seed) else { return };
    let mut failed = 0;
    for round in 0..rounds(4) {
        let wanted = world.load.acknowledged() + world.random.below(500) as u64;
        let asked = Cell::new(None);
        let killed = world.load_until(|load, disk, _| {
            if asked.get().is_none() && load.acknowledged() >= wanted {
                disk.fail(call, "commitlog", 1, Errno::IO);
                asked.set(Some(Instant::now()));
            }
            // What the node makes of it takes a moment.
            disk.has_failed() && asked.get().is_some_and(|since| since.elapsed() > Duration::from_millis(300))
        });
        failed += u32::from(asked.get().is_some() && world.disk.has_failed());
        world.disk.lose_power(&mut world.random);
        world.verify_after(killed, round);
    }
    assert!(failed > 0, "no call has failed: nothing was tested");
    world.end();
}

#[test]
fn a_failed_write_loses_nothing_that_was_acknowledged() {
    a_call_fails(Call::Write, "a_failed_write_loses_nothing_that_was_acknowledged");
}

#[test]
fn a_failed_flush_loses_nothing_that_was_acknowledged() {
    a_call_fails(Call::Flush, "a_failed_flush_loses_nothing_that_was_acknowledged");
}

/// Whoever watches over the process starts it again: a shard that has stopped is not covered up by its siblings, and the code tells it from a start
/// that is refused.
#[test]
fn a_node_whose_log_has_failed_ends_with_a_code_of_its_own() {
    let Some(mut filled) = filled(10) else { return };
    filled.disk.fail(Call::Write, "commitlog", 1, Errno::IO);
    // It may or may not be answered.
    drop(filled.client.start(Client::send_request(COLD, 0, b"the last one", &[])));
    let status = filled.node.wait_for_end(Duration::from_secs(20));
    assert_eq!(status.code(), Some(3), "{status}: {}", filled.node.process().log_text());
}

/// A node on such a disk with so many messages of 2 KiB in one queue, started again, so that they are read from the disk, which is dropped last.
struct Filled {
    node: Node,
    client: Client,
    disk: LyingDisk,
}

const COLD: &str = "lying-cold";
/// More than the tail holds.
const MESSAGES: i64 = 6_000;

fn cold_body(number: usize) -> Vec<u8> {
    let mut body = format!("message {number:04} ").into_bytes();
    body.resize(2_048, b'.');
    body
}

fn filled(messages: i64) -> Option<Filled> {
    let disk = LyingDisk::mount()?;
    let more = small_log();
    let store_dir = Some(disk.path().join("store"));
    let mut node = Node::start(&NodeOptions { flush: Flush::Async, store_dir, more, ..NodeOptions::default() });
    let mut client = Client::connect(&node.broker(0)).expect("it listens");
    fill(&mut client, messages);
    assert!(node.stop(Duration::from_secs(30)).success());
    node.restart();
    let client = Client::connect(&node.broker(0)).expect("it listens");
    Some(Filled { node, client, disk })
}

fn fill(client: &mut Client, messages: i64) {
    client.create_topic(COLD, 1).expect("a topic");
    let numbers: Vec<i64> = (0..messages).collect();
    for some in numbers.chunks(100) {
        let bodies = some.iter().map(|number| cold_body(usize::try_from(*number).expect("small")));
        let sent = bodies.map(|body| client.start(Client::send_request(COLD, 0, &body, &[])));
        let sent: Vec<i32> = sent.collect::<Result<_, _>>().expect("sent");
        for opaque in sent {
            Client::receipt(&client.finish(opaque).expect("answered")).expect("stored");
        }
    }
}

/// Reads so many messages; each time before it asks, `beside` is done. Numbers of those that came, each with the body that was sent.
fn read_cold(client: &mut Client, messages: i64, mut beside: impl FnMut(&mut Client)) -> Vec<i64> {
    let (mut offset, mut read) = (0, Vec::new());
    let begin = Instant::now();
    while offset < messages {
        assert!(begin.elapsed() < Duration::from_secs(60), "the reader stands at {offset}");
        beside(client);
        let answer = client.call(Client::pull_request("g", COLD, 0, offset, 32)).expect("answered");
        // An error moves no reader: it asks again.
        let Ok(pulled) = Client::pulled(&answer) else {
            assert_eq!(answer.code, 1, "at {offset}: {:?}", answer.remark);
            std::thread::sleep(Duration::from_millis(20));
            continue;
        };
        for record in pulled.records.iter().filter(|record| record.queue_offset < messages) {
            let number = record.queue_offset;
            assert!(
                record.body == cold_body(usize::try_from(number).expect("an offset")),
                "message {number} is another"
            );
            read.push(number);
        }
        offset = pulled.next_begin_offset;
    }
    read
}

fn info(client: &mut Client, key: &str) -> String {
    let answer = client.expect_success("runtime info", Frame::request(28)).expect("answered");
    answer.json().expect("JSON")["table"][key].as_str().expect("it is said").to_owned()
}

#[test]
fn a_flipped_byte_is_named_and_never_served() {
    const FLIPPED: i64 = 300;
    let Some(mut filled) = filled(MESSAGES) else { return };
    assert_eq!(filled.disk.flip("commitlog", format!("message {FLIPPED:04}").as_bytes()), 1, "one record has it");
    let read = read_cold(&mut filled.client, MESSAGES, |_| ());
    let others: Vec<i64> = (0..MESSAGES).filter(|number| *number != FLIPPED).collect();
    assert_eq!(read, others);
    assert_eq!(info(&mut filled.client, "damagedMessages"), "1");
    let said = filled.node.process().log_text();
    assert!(said.contains("damaged") && said.contains("commitlog/"), "the file is named: {said}");
}

#[test]
fn a_failing_read_fails_that_read_only() {
    let Some(mut filled) = filled(MESSAGES) else { return };
    filled.disk.fail(Call::Read, "commitlog", 3, Errno::IO);
    // Whoever writes meanwhile notices nothing.
    let read = read_cold(&mut filled.client, MESSAGES, |client| {
        Client::receipt(&client.call(Client::send_request(COLD, 0, b"beside", &[])).expect("answered"))
            .expect("stored");
    });
    assert_eq!(read, (0..MESSAGES).collect::<Vec<i64>>());
    assert!(filled.disk.has_failed(), "no read has failed: nothing was tested");
    assert_eq!(info(&mut filled.client, "damagedMessages"), "0", "nothing is damaged");
    assert!(info(&mut filled.client, "failedReads").parse::<u64>().expect("a number") > 0);
}

/// Writes that were on their way when a node was killed come to the disk behind its back. They are older than what the next one writes there.
#[test]
fn a_start_waits_for_the_last_writes_of_a_node_that_was_killed() {
    let seed = Seed::of("lying_disk", "a_start_waits_for_the_last_writes_of_a_node_that_was_killed");
    let Some(mut world) = World::new(&seed) else { return };
    let mut client = Client::connect(&world.node.broker(0)).expect("it listens");
    let send = |client: &mut Client, body: &str| {
        client.send(TOPICS[0], 0, body.as_bytes()).map(|receipt| receipt.queue_offset)
    };
    assert_eq!(send(&mut client, "before").expect("stored"), 0);
    world.disk.hold_writes("commitlog");
    client.start(Client::send_request(TOPICS[0], 0, b"on its way", &[])).expect("sent");
    harness::wait_for("a write that is on its way", || (world.disk.held() > 0).then_some(()));
    world.node.kill();
    let lock = std::fs::File::open(world.disk.path().join("store/lock")).expect("it is there");
    assert!(lock.try_lock().is_err(), "the store is not free while something is written to it");

    let World { node, disk, .. } = &mut world;
    std::thread::scope(|scope| {
        let started = scope.spawn(|| node.restart());
        // Longer than a start takes; the log says that it waits.
        std::thread::sleep(Duration::from_millis(1_500));
        assert!(!started.is_finished(), "it did not wait");
        disk.let_go();
    });
    assert!(world.node.process().log_text().contains("waits for the last writes of process"));
    let mut client = Client::connect(&world.node.broker(0)).expect("it listens");
    assert!(send(&mut client, "after").expect("stored") >= 1);
    let bodies: Vec<_> =
        client.read_queue(TOPICS[0], 0, 0).expect("read").into_iter().map(|record| record.body).collect();
    assert!(bodies.first().is_some_and(|body| body == b"before") && bodies.last().is_some_and(|body| body == b"after"));
}

#[test]
fn a_block_that_cannot_be_read_is_written_anew_from_a_replica() {
    const LOST: [i64; 2] = [300, 700];
    let Some(disk) = LyingDisk::mount() else { return };
    let options = PairOptions { master_store: Some(disk.path().join("store")), ..PairOptions::small(false) };
    let pair = Pair::start(&options);
    let mut client = pair.to_master();
    fill(&mut client, MESSAGES);
    pair.wait_caught_up(&Queue { shard: 0, topic: COLD.to_owned(), queue_id: 0 });
    for lost in LOST {
        assert!(disk.lose_block("commitlog", format!("message {lost:04}").as_bytes()), "a record has it");
    }
    assert_eq!(disk.bad_blocks(), LOST.len());
    let read = read_cold(&mut client, MESSAGES, |_| ());
    assert_eq!(read, (0..MESSAGES).collect::<Vec<i64>>(), "no reader was moved, and none stands for ever");
    wait_for("blocks that can be read", || (disk.bad_blocks() == 0).then_some(()));
    wait_for("node without damage", || (info(&mut client, "unreadableBlocks") == "0").then_some(()));
    assert_eq!(
        (info(&mut client, "damagedMessages"), info(&mut client, "damagedMessagesLost")),
        ("0".into(), "0".into())
    );
    let said = pair.master.process().log_text();
    for part in ["a block of the disk cannot be read", "is not kept aside", "was mended from a replica"] {
        assert!(said.contains(part), "{part} is said: {said}");
    }
}
