//! A master and its slave under load, and the book of what was sent.
use std::fs;
use std::io;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::audit::{Audit, Queue, body_of};
use crate::client::Client;
use crate::load::Load;
use crate::node::{Node, wait_for};
use crate::pair::{Pair, PairOptions};
use crate::seed::{Random, Seed};

/// Messages that one producer sends in a round at most, unless set otherwise.
const PRODUCER_MESSAGES_MAX: usize = 4000;
const PRODUCERS: usize = 3;
/// Of each shard, when there is more than one.
const PRODUCERS_PER_SHARD: usize = 2;
/// Messages of no number go to this topic.
const PROBES: &str = "probe";

/// A pair under load.
pub struct World {
    pub pair: Pair,
    pub load: Load,
    pub audit: Audit,
    /// Messages that one producer sends in a round at most.
    pub messages_max: usize,
    /// By shard.
    queues: Vec<Vec<Queue>>,
    random: Random,
}

impl World {
    /// The topic that is produced to, on every shard.
    pub const TOPIC: &str = "replicated";
    /// Its queues a shard.
    pub const QUEUES: i32 = 4;

    /// Starts a pair and waits until the slave follows.
    pub fn start(options: &PairOptions, seed: &Seed) -> Self {
        Self::of(Pair::start(options), seed)
    }

    /// The same with a pair that runs.
    pub fn of(pair: Pair, seed: &Seed) -> Self {
        let shards = pair.master.shards();
        for shard in 0..shards {
            pair.to_master_of(shard).create_topic(Self::TOPIC, Self::QUEUES.unsigned_abs()).expect("it answers");
        }
        let queue = |shard, queue_id| Queue { shard, topic: Self::TOPIC.to_owned(), queue_id };
        let of_shard = |shard| (0..Self::QUEUES).map(|queue_id| queue(shard, queue_id)).collect();
        let queues = (0..shards).map(of_shard).collect();
        let (load, audit, random) = (Load::default(), Audit::default(), seed.random(1));
        let world = Self { pair, load, audit, messages_max: PRODUCER_MESSAGES_MAX, queues, random };
        world.wait_replicated();
        world
    }

    /// Waits until a message is acknowledged as on both, or is on the slave, on every shard.
    pub fn wait_replicated(&self) {
        for shard in 0..self.pair.master.shards() {
            wait_for("slave that follows", || {
                let receipt = self.pair.to_master_of(shard).send(PROBES, 0, &body_of(0, 12)).ok()?;
                let end = receipt.queue_offset + 1;
                wait_for("probe on the slave", || {
                    let found = self.pair.to_slave_of(shard).max_offset(PROBES, 0).unwrap_or(0);
                    (found >= end).then_some(())
                });
                (receipt.code == 0).then_some(())
            });
        }
    }

    /// Produces until `fault` has come about, and enters what was sent. `fault` gets the pair and a way to wait for acknowledgements.
    pub fn produce_until(&mut self, fault: impl FnOnce(&mut Pair, &Load, &mut Random)) {
        let Self { pair, load, audit, queues, random, messages_max } = self;
        let messages_max = *messages_max;
        let (load, queues): (&Load, &[Vec<Queue>]) = (load, queues);
        let addresses: Vec<String> = (0..pair.master.shards()).map(|shard| pair.master.broker(shard)).collect();
        let producers_per_shard = if addresses.len() == 1 { PRODUCERS } else { PRODUCERS_PER_SHARD };
        load.begin();
        let books = thread::scope(|scope| {
            let shards = addresses.iter().zip(queues);
            let producers: Vec<_> = shards
                .flat_map(|shard| std::iter::repeat_n(shard, producers_per_shard))
                .map(|(address, queues)| {
                    let mut random = Random::of(random.number());
                    scope.spawn(move || load.produce(address, queues, messages_max, &mut random).0)
                })
                .collect();
            let ending = Ending(load);
            fault(pair, load, random);
            drop(ending);
            producers
                .into_iter()
                .map(|producer| producer.join().expect("a producer does not panic"))
                .collect::<Vec<_>>()
        });
        books.into_iter().for_each(|book| audit.enter(book));
    }

    /// Compares what is new on the slave with the book; its master is gone, so that it shows all that it has.
    pub fn verify_slave(&mut self) -> Result<(), String> {
        for (shard, queues) in (0..).zip(&self.queues) {
            self.audit.verify(&mut self.pair.to_slave_of(shard), queues)?;
        }
        Ok(())
    }

    /// The same for a slave that may lack the newest messages. Returns how many acknowledged ones it lacks.
    pub fn verify_slave_but_ends(&mut self) -> Result<usize, String> {
        let mut missing = 0;
        for (shard, queues) in (0..).zip(&self.queues) {
            missing += self.audit.verify_but_ends(&mut self.pair.to_slave_of(shard), queues)?;
        }
        Ok(missing)
    }

    /// Waits until the slave has as many messages as the master, which is quiet.
    pub fn wait_caught_up(&self) {
        for queue in self.queues.iter().flatten() {
            self.pair.wait_caught_up(queue);
        }
    }

    /// Waits until the slave has as many messages as the master, and compares both with the book.
    pub fn verify_both(&mut self) {
        self.wait_caught_up();
        self.audit.read_all_again();
        for (shard, queues) in (0..).zip(&self.queues) {
            let verified = self.audit.verify(&mut self.pair.to_master_of(shard), queues);
            verified.unwrap_or_else(|problems| panic!("on the master's shard {shard}: {problems}"));
        }
        self.audit.read_all_again();
        let verified = self.verify_slave();
        verified
            .unwrap_or_else(|problems| panic!("on the slave: {problems}\n{}", self.pair.slave.process().log_tail()));
    }

    /// The same when retention has taken the oldest messages of the master, and the slave never had them. Returns how many of the acknowledged
    /// messages are left.
    pub fn verify_both_from_start(&mut self) -> usize {
        self.wait_caught_up();
        let mut kept = [0, 0];
        for (shard, queues) in (0..).zip(&self.queues) {
            let clients = [("master", self.pair.to_master_of(shard)), ("slave", self.pair.to_slave_of(shard))];
            for ((name, mut client), kept) in clients.into_iter().zip(&mut kept) {
                self.audit.read_all_again();
                let verified = self.audit.verify_from_start(&mut client, queues);
                *kept += verified.unwrap_or_else(|problems| panic!("on the {name}'s shard {shard}: {problems}"));
            }
        }
        assert_eq!(kept[0], kept[1], "messages left on the master and on the slave");
        kept[0]
    }

    /// Ends the slave and takes its store away.
    pub fn empty_slave(&mut self) {
        self.pair.slave.kill();
        fs::remove_dir_all(self.pair.slave.store_dir()).expect("the store is the slave's");
    }
}

/// Lets producers end, also when a test fails while they run.
struct Ending<'a>(&'a Load);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Load {
    /// Waits for so many acknowledgements, or some seconds: a machine may be slow.
    pub fn wait_acknowledged(&self, count: u64) {
        let (before, deadline) = (self.acknowledged(), Instant::now() + Duration::from_secs(5));
        while self.acknowledged() < before + count && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(2));
        }
    }
}

/// How a master answers a message of no number, and after how long.
pub fn probe(master: &mut Client) -> io::Result<(i32, Duration)> {
    let asked = Instant::now();
    let receipt = master.send(PROBES, 0, b"of no number")?;
    Ok((receipt.code, asked.elapsed()))
}

/// Waits until a master answers with `code`. A stock client gives up after 3 s, so every answer must come before.
pub fn wait_for_answer(pair: &Pair, code: i32) {
    let mut client = pair.to_master();
    wait_for(&format!("answer {code}"), || {
        let (found, after) = match probe(&mut client) {
            // A master that has begun a moment ago asks its slaves first.
            Err(error) if error.to_string().contains("a replica may have messages") => return None,
            answer => answer.expect("it answers"),
        };
        assert!(after < Duration::from_secs(3), "the answer {found} came after {after:?}");
        (found == code).then_some(())
    });
}

/// Stops a node (SIGSTOP) and waits until all of its threads stand still: they go on until the first of them has seen the signal.
pub fn pause(node: &Node) {
    signal(node, "-STOP");
    let id = node.process().id();
    wait_for("thread that stands still", || {
        let mut threads = fs::read_dir(format!("/proc/{id}/task")).ok()?.flatten();
        let is_stopped =
            |stat: String| stat.rsplit(')').next().is_some_and(|state| state.trim_start().starts_with('T'));
        threads.all(|thread| fs::read_to_string(thread.path().join("stat")).is_ok_and(is_stopped)).then_some(())
    });
}

/// Lets a stopped node go on (SIGCONT).
pub fn resume(node: &Node) {
    signal(node, "-CONT");
}

fn signal(node: &Node, name: &str) {
    let sent = Command::new("kill").args([name, &node.process().id().to_string()]).status();
    assert!(sent.is_ok_and(|status| status.success()), "{name} was not sent");
}
