//! Nothing acknowledged is lost by `kill -9`, again and again on the same store.
//!
//! Each round loads the broker, kills it at a moment of the seed's choosing (sometimes while it recovers from the last time),
//! starts it again and compares what it has with the book of what was sent ([`harness::Audit`]): every acknowledged message at
//! the queue offset and log offset of its reply, nothing torn, doubled or invented, no gap. Topics, groups and deletions stay;
//! consumer offsets lose at most the last second. Segments are small, so that rounds end in the middle of rolls.
//!
//! What it cannot show: loss of power. The page cache and the tail outlive a killed process, so a missing flush is not seen here;
//! where the tail is removed between kill and start, writes that never reached the kernel are. The simulator's disk loses both.
//!
//! `RINGMQ_SEED` and `RINGMQ_ROUNDS` choose seed and rounds; a failure prints the command. A seed repeats all choices, not the
//! scheduler's.
#![allow(clippy::disallowed_methods, reason = "a test has clocks, files, threads and sockets")]

use std::io;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use harness::{
    Audit, Clerk, Client, Frame, Load, Node, NodeOptions, Queue, Random, Seed, TailFolder, code, copy_folder, rounds,
    say, small_log, wait_for,
};
use ringmq_peers::{Apache, BrokerOptions, Flush};
use tempfile::TempDir;

const TOPICS: [&str; 3] = ["crash-a", "crash-b", "crash-c"];
const QUEUES: i32 = 4;

/// What happens to the tails in shared memory between kill and start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tails {
    Kept,
    /// Removed in about half of the rounds, as a restart of the machine would.
    OftenRemoved,
}

#[test]
fn async_flush_keeps_what_it_acknowledged() {
    let seed = Seed::of("crash", "async_flush_keeps_what_it_acknowledged");
    World::new(&seed, Flush::Async, 1, Tails::Kept).run(rounds(20));
}

#[test]
fn async_flush_on_two_shards_keeps_what_it_acknowledged() {
    let seed = Seed::of("crash", "async_flush_on_two_shards_keeps_what_it_acknowledged");
    World::new(&seed, Flush::Async, 2, Tails::Kept).run(rounds(8));
}

#[test]
fn sync_flush_keeps_what_it_acknowledged_even_without_its_tail() {
    let seed = Seed::of("crash", "sync_flush_keeps_what_it_acknowledged_even_without_its_tail");
    World::new(&seed, Flush::Sync, 1, Tails::OftenRemoved).run(rounds(20));
}

#[test]
fn sync_flush_on_two_shards_keeps_what_it_acknowledged_even_without_its_tail() {
    let seed = Seed::of("crash", "sync_flush_on_two_shards_keeps_what_it_acknowledged_even_without_its_tail");
    World::new(&seed, Flush::Sync, 2, Tails::OftenRemoved).run(rounds(8));
}

/// A node, its load, and the book.
struct World {
    node: Node,
    shards: u16,
    tails: Tails,
    tail_folder: TailFolder,
    queues: Vec<Vec<Queue>>,
    clerks: Vec<Clerk>,
    load: Load,
    audit: Audit,
    random: Random,
}

impl World {
    fn new(seed: &Seed, flush: Flush, shards: u16, tails: Tails) -> Self {
        let tail_folder = TailFolder::create();
        let node = Node::start(&NodeOptions { shards, flush, more: small(&tail_folder), ..NodeOptions::default() });
        let mut queues = Vec::new();
        for shard in 0..shards {
            let mut client = Client::connect(&node.broker(shard)).expect("it listens");
            for topic in TOPICS {
                client.create_topic(topic, QUEUES.unsigned_abs()).expect("a topic");
            }
            let all = TOPICS.iter().flat_map(|topic| (0..QUEUES).map(move |queue_id| (*topic, queue_id)));
            queues.push(all.map(|(topic, queue_id)| Queue { shard, topic: topic.to_owned(), queue_id }).collect());
        }
        let clerks = (0..shards).map(|_| Clerk::new(TOPICS[0])).collect();
        let (load, audit, random) = (Load::default(), Audit::default(), seed.random(0));
        Self { node, shards, tails, tail_folder, queues, clerks, load, audit, random }
    }

    fn run(mut self, rounds: u32) {
        for round in 0..rounds {
            let killed = self.load_and_kill();
            if self.tails == Tails::OftenRemoved && self.random.once_in(2) {
                self.tail_folder.lose();
            }
            if self.random.once_in(3) {
                self.kill_while_it_starts();
            }
            let started = Instant::now();
            self.node.restart();
            let recovery = started.elapsed();
            self.verify(killed).unwrap_or_else(|problems| panic!("round {round}: {problems}"));
            let (found, without_reply) = self.audit.found();
            say(&format!(
                "round {round}: {found} messages, {without_reply} without a reply, served after {recovery:?}"
            ));
        }
        assert!(self.audit.acknowledged() > 0, "no round got a single acknowledgement: nothing was tested");
        assert!(self.clerks.iter().any(|clerk| clerk.known() > 0) || rounds < 8, "no setting was ever changed");
        self.audit.read_all_again();
        self.verify(Instant::now()).unwrap_or_else(|problems| panic!("in the end: {problems}"));
        let status = self.node.stop(Duration::from_secs(30));
        assert!(status.success(), "the last stop: {status}");
        self.node.restart();
        self.audit.read_all_again();
        self.verify(Instant::now()).unwrap_or_else(|problems| panic!("after an orderly stop: {problems}"));
    }

    /// Produces on all shards and kills the node after a number of acknowledgements or a time. Returns when it was killed.
    fn load_and_kill(&mut self) -> Instant {
        let acknowledgements = u64::try_from(1 + self.random.below(6000)).expect("small");
        let by_count = self.random.once_in(2);
        let patience = Duration::from_millis(u64::try_from(20 + self.random.below(900)).expect("small"));
        let patience = if by_count { Duration::from_secs(3) } else { patience };
        let before = self.load.acknowledged();
        let Self { node, load, queues, clerks, random, .. } = self;
        let begin = Instant::now();
        let (produced, killed) = load.produce_and_kill(node, queues, clerks, random, |_| {
            begin.elapsed() >= patience || (by_count && load.acknowledged() - before >= acknowledgements)
        });
        for (book, end) in produced {
            if let Err(error) = end {
                assert_ne!(error.kind(), io::ErrorKind::Other, "a send was refused: {error}");
                assert_ne!(error.kind(), io::ErrorKind::InvalidData, "an answer makes no sense: {error}");
            }
            self.audit.enter(book);
        }
        killed
    }

    /// Kills it a second time, somewhere in its recovery.
    fn kill_while_it_starts(&mut self) {
        let mut process = self.node.spawn().expect("it starts");
        thread::sleep(Duration::from_millis(u64::try_from(self.random.below(250)).expect("small")));
        process.kill();
    }

    fn verify(&mut self, killed: Instant) -> Result<(), String> {
        for shard in 0..self.shards {
            let mut client = Client::connect(&self.node.broker(shard)).map_err(|error| error.to_string())?;
            let index = usize::from(shard);
            self.audit.verify(&mut client, &self.queues[index])?;
            self.audit.view_some(&mut client, shard, 100, &mut self.random)?;
            self.clerks[index].verify(&mut client, killed)?;
        }
        Ok(())
    }
}

/// A deleted topic is gone with its messages, also for those who create it anew.
#[test]
fn a_deleted_topic_does_not_come_back() -> io::Result<()> {
    let tail_folder = TailFolder::create();
    let mut node =
        Node::start(&NodeOptions { auto_create_topics: false, more: small(&tail_folder), ..NodeOptions::default() });
    for round in 0..4 {
        let mut client = Client::connect(&node.broker(0))?;
        client.create_topic("brief", 1)?;
        assert_eq!((client.min_offset("brief", 0)?, client.max_offset("brief", 0)?), (0, 0), "round {round}");
        for number in 0..10 {
            assert_eq!(client.send("brief", 0, format!("{round} {number}").as_bytes())?.queue_offset, number);
        }
        client.expect_success("delete", Frame::request(code::DELETE_TOPIC_IN_BROKER).ext("topic", "brief"))?;
        if round % 2 == 0 {
            node.kill();
            node.restart();
            let mut client = Client::connect(&node.broker(0))?;
            let gone = client.pull("G", "brief", 0, 0, 32).expect_err("the topic is deleted");
            assert!(gone.to_string().contains("code 17"), "{gone}");
        }
    }
    let mut client = Client::connect(&node.broker(0))?;
    client.create_topic("brief", 1)?;
    client.send("brief", 0, b"only")?;
    node.kill();
    node.restart();
    let mut client = Client::connect(&node.broker(0))?;
    let records = client.read_queue("brief", 0, 0)?;
    assert_eq!(records.iter().map(|record| record.body.as_slice()).collect::<Vec<_>>(), [b"only"]);
    Ok(())
}

/// A tail belongs to one store: a copy that was taken while the store was stopped has the same id, and must not take it.
#[test]
fn a_copied_store_leaves_the_tail_to_the_original() -> io::Result<()> {
    let tail_folder = TailFolder::create();
    let folder = TempDir::with_prefix("ringmq-copy-")?;
    let (original, copy) = (folder.path().join("original"), folder.path().join("copy"));
    let options = |store: &Path| NodeOptions {
        store_dir: Some(store.to_owned()),
        more: small(&tail_folder),
        ..NodeOptions::default()
    };
    let mut first = Node::start(&options(&original));
    let mut client = Client::connect(&first.broker(0))?;
    client.create_topic("copied", 1)?;
    for number in 0..500 {
        client.send("copied", 0, format!("both {number}").as_bytes())?;
    }
    first.kill();
    copy_folder(&original, &copy)?;
    first.restart();
    let mut client = Client::connect(&first.broker(0))?;
    assert_eq!(client.max_offset("copied", 0)?, 500, "the original takes its tail");
    for number in 500..700 {
        client.send("copied", 0, format!("first {number}").as_bytes())?;
    }
    first.kill();

    // Beside its original a copy is refused, unless an operator says that it is to live.
    std::fs::remove_file(copy.join("place"))?;
    let mut second = Node::start(&options(&copy));
    let mut client = Client::connect(&second.broker(0))?;
    let copied = client.read_queue("copied", 0, 0)?;
    for (number, record) in copied.iter().enumerate() {
        assert_eq!(record.body, format!("both {number}").as_bytes(), "the copy has only what was copied");
    }
    let receipt = client.send("copied", 0, b"second")?;
    assert_eq!(usize::try_from(receipt.queue_offset).ok(), Some(copied.len()));
    second.kill();
    first.restart();
    second.restart();
    let mut client = Client::connect(&first.broker(0))?;
    assert_eq!(client.read_queue("copied", 0, 500)?.len(), 200, "the original takes its tail again");
    let last = Client::connect(&second.broker(0))?.read_queue("copied", 0, receipt.queue_offset)?;
    assert_eq!(last.iter().map(|record| record.body.as_slice()).collect::<Vec<_>>(), [b"second"]);
    Ok(())
}

/// Settings may be changed while the node is down after a crash; what it acknowledged must survive that too.
#[test]
fn a_changed_tail_size_loses_nothing() -> io::Result<()> {
    let tail_folder = TailFolder::create();
    let mut node = Node::start(&NodeOptions { more: small(&tail_folder), ..NodeOptions::default() });
    Client::connect(&node.broker(0))?.create_topic("resized", 1)?;
    let mut expected = 0;
    for size in ["16777216", "8388608", "33554432"] {
        let mut client = Client::connect(&node.broker(0))?;
        let sends: Vec<i32> = (0..300)
            .map(|_| client.start(Client::send_request("resized", 0, &[7; 3000], &[])))
            .collect::<io::Result<_>>()?;
        for opaque in sends {
            Client::receipt(&client.finish(opaque)?)?;
            expected += 1;
        }
        node.kill();
        let more = &mut node.options_mut().more;
        more.retain(|(key, _)| *key != "tailSize");
        more.push(("tailSize", size.to_owned()));
        node.restart();
        let found = Client::connect(&node.broker(0))?.max_offset("resized", 0)?;
        assert_eq!(found, expected, "after the tail's size became {size}");
    }
    Ok(())
}

/// The audit says yes to a broker that is known to be right, and no to a book that is wrong: else its silence means nothing.
#[test]
fn the_audit_agrees_with_apache() -> io::Result<()> {
    let apache = match Apache::locate() {
        Ok(apache) => apache,
        Err(missing) => {
            say(&format!("skipped: {missing}"));
            return Ok(());
        }
    };
    let name_server = apache.start_name_server().expect("it starts");
    let broker = apache.start_broker(&BrokerOptions::small(&name_server.address())).expect("it starts");
    let mut client = Client::connect(&broker.address())?;
    client.create_topic(TOPICS[0], 2)?;
    let queues: Vec<Queue> = (0..2).map(|queue_id| Queue { shard: 0, topic: TOPICS[0].to_owned(), queue_id }).collect();
    let load = Load::default();
    let mut random = Seed::of("crash", "the_audit_agrees_with_apache").random(0);
    let (book, end) = load.produce(&broker.address(), &queues, 1000, &mut random);
    end?;
    let mut audit = Audit::default();
    let mut damaged = Audit::default();
    damaged.enter(book.iter().filter(|sent| sent.number != 500).cloned().collect());
    audit.enter(book);
    wait_for("dispatch of all", || {
        audit.read_all_again();
        audit.verify(&mut client, &queues).ok()
    });
    audit.view_some(&mut client, 0, 100, &mut random).expect("all are where they were stored");
    assert_eq!(audit.found().0, audit.acknowledged());
    let problems = damaged.verify(&mut client, &queues).expect_err("one message was never sent");
    assert!(problems.contains("message 500 was never sent"), "{problems}");
    let mut clerk = Clerk::new(TOPICS[0]);
    for _ in 0..24 {
        clerk.turn(&mut client)?;
    }
    clerk.verify(&mut client, Instant::now()).expect("a living broker has all settings");
    assert!(clerk.known() > 0);
    Ok(())
}

fn small(tail_folder: &TailFolder) -> Vec<(&'static str, String)> {
    let mut more = small_log();
    more.push(tail_folder.setting());
    more
}
