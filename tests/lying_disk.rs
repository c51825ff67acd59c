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
use harness::{Audit, Clerk, Client, Load, Node, NodeOptions, Queue, Random, Seed, TailFolder, rounds, say, small_log};
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
