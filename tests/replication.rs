//! A slave has what its master has, whatever happens to either.
//!
//! Two nodes of the built binary under one name server, producers that run, and faults: `kill -9` of either or both, a slave that is stopped, a
//! network that cuts and damages, strangers at the replication port. What was sent is compared with what the slave has by the book of all that
//! was sent ([`harness::Audit`]): content, queue offsets and log offsets.
//!
//! What it cannot show: loss of power, and every interleaving; the simulator does both (`tests/sim.rs`).
//!
//! `RINGMQ_SEED` and `RINGMQ_ROUNDS` choose seed and rounds; a failure prints the command.
#![allow(clippy::disallowed_methods, reason = "a test has clocks, files, threads and sockets")]
mod harness;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use harness::{
    Audit, Client, Load, NameServer, Node, NodeOptions, Pair, PairOptions, Queue, Random, Relay, Seed, rounds, wait_for,
};

const TOPIC: &str = "replicated";
const QUEUES: i32 = 4;
const PRODUCERS: usize = 3;
/// Messages that one producer sends in a round at most.
const PRODUCER_MESSAGES_MAX: usize = 4000;
/// Segments of 2 MiB, the smallest that hold two messages of the largest size, and the smallest tail.
const SMALL: [(&str, &str); 3] =
    [("mappedFileSizeCommitLog", "2097152"), ("maxMessageSize", "1048576"), ("tailSize", "8388608")];

fn small() -> NodeOptions {
    let more = SMALL.iter().map(|(key, value)| (*key, (*value).to_owned())).collect();
    NodeOptions { more, ..NodeOptions::default() }
}

fn options(sync: bool) -> PairOptions {
    PairOptions { sync, both: small(), ..PairOptions::default() }
}

/// A pair under load.
struct World {
    pair: Pair,
    load: Load,
    audit: Audit,
    queues: Vec<Queue>,
    random: Random,
}

impl World {
    fn start(options: &PairOptions, seed: &Seed) -> Self {
        let pair = Pair::start(options);
        pair.to_master().create_topic(TOPIC, u32::try_from(QUEUES).expect("few")).expect("it answers");
        let queues = (0..QUEUES).map(|queue_id| Queue { shard: 0, topic: TOPIC.to_owned(), queue_id }).collect();
        let world = Self { pair, load: Load::default(), audit: Audit::default(), queues, random: seed.random(1) };
        world.wait_replicated();
        world
    }

    /// Waits until a message is acknowledged as on both, or is on the slave.
    fn wait_replicated(&self) {
        wait_for("slave that follows", || {
            let number = self.load.take_number();
            let body = harness::body_of(number, 12);
            let receipt = self.pair.to_master().send("probe", 0, &body).ok()?;
            let end = receipt.queue_offset + 1;
            wait_for("probe on the slave", || {
                let found = self.pair.to_slave().max_offset("probe", 0).unwrap_or(0);
                (found >= end).then_some(())
            });
            (receipt.code == 0).then_some(())
        });
    }

    /// Produces until `fault` has come about, and enters what was sent. `fault` gets the pair and a way to wait for acknowledgements.
    fn produce_until(&mut self, fault: impl FnOnce(&mut Pair, &Load, &mut Random)) {
        let address = self.pair.master.broker(0);
        let Self { pair, load, audit, queues, random } = self;
        let (load, queues): (&Load, &[Queue]) = (load, queues);
        load.begin();
        let books = thread::scope(|scope| {
            let producers: Vec<_> = (0..PRODUCERS)
                .map(|_| {
                    let (mut random, address) = (Random::of(random.number()), address.clone());
                    scope.spawn(move || load.produce(&address, queues, PRODUCER_MESSAGES_MAX, &mut random).0)
                })
                .collect();
            fault(pair, load, random);
            load.end();
            producers
                .into_iter()
                .map(|producer| producer.join().expect("a producer does not panic"))
                .collect::<Vec<_>>()
        });
        books.into_iter().for_each(|book| audit.enter(book));
    }

    /// Waits until the slave has as many messages as the master, and compares both with the book.
    fn verify_both(&mut self) {
        for queue_id in 0..QUEUES {
            self.pair.wait_caught_up(TOPIC, queue_id);
        }
        self.audit.read_all_again();
        let verified = self.audit.verify(&mut self.pair.to_master(), &self.queues);
        verified.unwrap_or_else(|problems| panic!("on the master: {problems}"));
        self.audit.read_all_again();
        let verified = self.audit.verify(&mut self.pair.to_slave(), &self.queues);
        verified
            .unwrap_or_else(|problems| panic!("on the slave: {problems}\n{}", self.pair.slave.process().log_tail()));
    }
}

/// Waits for so many acknowledgements, or some seconds: a machine may be slow.
fn wait_acknowledged(load: &Load, count: u64) {
    let (before, deadline) = (load.acknowledged(), Instant::now() + Duration::from_secs(5));
    while load.acknowledged() < before + count && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(2));
    }
}

fn below(random: &mut Random, end: usize) -> u64 {
    u64::try_from(random.below(end)).expect("64-bit machine")
}

#[test]
fn a_slave_has_the_bytes_of_its_master_and_serves_them_when_it_is_gone() {
    let mut pair = Pair::start(&PairOptions::default());
    let mut producer = pair.to_master();
    producer.create_topic(TOPIC, 2).expect("it answers");
    for number in 0..500_u32 {
        let body = vec![number.to_be_bytes()[3]; 1 + usize::try_from(number).expect("small") * 7];
        let receipt = producer.send(TOPIC, i32::try_from(number % 2).expect("small"), &body).expect("it answers");
        assert_eq!(receipt.code, 0);
    }
    let expected: Vec<Vec<u8>> =
        (0..2).map(|queue_id| producer.read_bytes(TOPIC, queue_id).expect("it answers")).collect();
    (0..2).for_each(|queue_id| pair.wait_caught_up(TOPIC, queue_id));
    pair.lose_master();
    let mut consumer = pair.to_slave();
    for (queue_id, expected) in (0..2).zip(&expected) {
        assert!(consumer.read_bytes(TOPIC, queue_id).expect("it answers") == *expected, "queue {queue_id} differs");
    }
}

#[test]
fn a_synchronous_slave_has_all_that_a_killed_master_acknowledged() {
    let seed = Seed::of("replication", "a_synchronous_slave_has_all_that_a_killed_master_acknowledged");
    let mut world = World::start(&options(true), &seed);
    for round in 0..rounds(6) {
        world.produce_until(|pair, load, random| {
            wait_acknowledged(load, 1 + below(random, 2000));
            pair.lose_master();
        });
        let verified = world.audit.verify(&mut world.pair.to_slave(), &world.queues);
        verified.unwrap_or_else(|problems| panic!("round {round}: {problems}"));
        world.pair.master.restart();
        world.wait_replicated();
    }
    assert!(world.audit.acknowledged() > 0, "nothing was acknowledged: nothing was tested");
    world.verify_both();
}

#[test]
fn an_asynchronous_slave_lacks_only_the_last_moments_of_a_killed_master() {
    let seed = Seed::of("replication", "an_asynchronous_slave_lacks_only_the_last_moments_of_a_killed_master");
    let mut world = World::start(&options(false), &seed);
    for round in 0..rounds(3) {
        world.produce_until(|pair, load, random| {
            wait_acknowledged(load, 1 + below(random, 2000));
            pair.lose_master();
        });
        let missing = world.audit.verify_but_ends(&mut world.pair.to_slave(), &world.queues);
        let missing = missing.unwrap_or_else(|problems| panic!("round {round}: {problems}"));
        eprintln!("round {round}: the slave lacks {missing} of {} acknowledged messages", world.audit.acknowledged());
        world.pair.master.restart();
        world.wait_replicated();
    }
    world.verify_both();
}

#[test]
fn a_killed_slave_goes_on_where_it_ended() {
    let seed = Seed::of("replication", "a_killed_slave_goes_on_where_it_ended");
    let mut world = World::start(&options(true), &seed);
    for _ in 0..rounds(3) {
        world.produce_until(|pair, load, random| {
            wait_acknowledged(load, 1 + below(random, 2000));
            pair.slave.kill();
            // The master goes on without it, and says so.
            let receipt = pair.to_master().send(TOPIC, 0, b"alone, and of no number");
            assert!(receipt.is_ok_and(|receipt| receipt.code == 11 || receipt.code == 12), "there is no slave");
            pair.slave.restart();
        });
        world.wait_replicated();
    }
    for queue_id in 0..QUEUES {
        world.pair.wait_caught_up(TOPIC, queue_id);
    }
}

#[test]
fn both_are_killed_and_start_in_either_order() {
    let seed = Seed::of("replication", "both_are_killed_and_start_in_either_order");
    let mut world = World::start(&options(true), &seed);
    for round in 0..rounds(4) {
        world.produce_until(|pair, load, random| {
            wait_acknowledged(load, 1 + below(random, 2000));
            if random.once_in(2) {
                pair.slave.kill();
                pair.master.kill();
            } else {
                pair.master.kill();
                pair.slave.kill();
            }
        });
        if round % 2 == 0 {
            world.pair.slave.restart();
            world.pair.master.restart();
        } else {
            world.pair.master.restart();
            world.pair.slave.restart();
        }
        world.wait_replicated();
        world.verify_both();
    }
}

#[test]
fn a_stopped_slave_delays_only_those_who_wait_for_it() {
    let seed = Seed::of("replication", "a_stopped_slave_delays_only_those_who_wait_for_it");
    let mut world = World::start(&options(true), &seed);
    let signal = |name: &str, node: &Node| {
        let sent = Command::new("kill").args([name, &node.process().id().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "{name} was not sent");
    };
    world.produce_until(|pair, load, _| {
        wait_acknowledged(load, 200);
        signal("-STOP", &pair.slave);
        let mut patient = pair.to_master();
        let begun = Instant::now();
        let request = Client::send_request("stopped", 0, b"waits for the slave", &[]);
        let opaque = patient.start(request).expect("the master listens");
        let mut hasty = pair.to_master();
        for _ in 0..50 {
            let asked = Instant::now();
            let receipt = hasty.send_with("stopped", 1, b"does not wait", &[("WAIT", "false")]).expect("it answers");
            assert_eq!(receipt.code, 0);
            assert!(asked.elapsed() < Duration::from_secs(1), "a send that does not wait took {:?}", asked.elapsed());
        }
        let receipt = Client::receipt(&patient.finish(opaque).expect("it answers")).expect("it is stored");
        assert_eq!(receipt.code, 12, "FLUSH_SLAVE_TIMEOUT");
        assert!(begun.elapsed() < Duration::from_secs(3), "a client has given up after {:?}", begun.elapsed());
        signal("-CONT", &pair.slave);
    });
    world.wait_replicated();
    world.verify_both();
}

#[test]
fn cuts_and_damages_on_the_way_leave_no_trace() {
    let seed = Seed::of("replication", "cuts_and_damages_on_the_way_leave_no_trace");
    let name_server = NameServer::start(&[]);
    let master = Node::start(&Pair::master_options(&options(false), &name_server));
    let relay = Relay::start(master.replication_port(0));
    let with_relay = PairOptions { slave: vec![("haMasterAddress", relay.address())], ..options(false) };
    let slave = Node::start(&Pair::slave_options(&with_relay, &name_server));
    let pair = Pair { name_server, master, slave };
    pair.to_master().create_topic(TOPIC, u32::try_from(QUEUES).expect("few")).expect("it answers");
    let queues = (0..QUEUES).map(|queue_id| Queue { shard: 0, topic: TOPIC.to_owned(), queue_id }).collect();
    let mut world = World { pair, load: Load::default(), audit: Audit::default(), queues, random: seed.random(1) };
    world.wait_replicated();
    for round in 0..rounds(6) {
        let before = relay.counts();
        world.produce_until(|_, load, random| {
            let bytes = 1 + below(random, 200_000);
            if round % 2 == 0 {
                relay.cut_after(bytes)
            } else {
                relay.damage_after(bytes)
            }
            let deadline = Instant::now() + Duration::from_secs(5);
            let has_happened = || relay.counts().0 + relay.counts().1 > before.0 + before.1;
            while !has_happened() && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(2));
            }
            wait_acknowledged(load, 500);
        });
        world.wait_replicated();
    }
    let (cuts, damages, connections) = relay.counts();
    assert!(cuts > 0 && damages > 0, "{cuts} cuts, {damages} damages: nothing was tested");
    assert!(connections > cuts, "{connections} connections in spite of {cuts} cuts");
    world.verify_both();
}

#[test]
fn a_slave_that_is_ahead_of_a_master_without_its_tail_is_cut() {
    let seed = Seed::of("replication", "a_slave_that_is_ahead_of_a_master_without_its_tail_is_cut");
    let tails = tempfile::TempDir::with_prefix_in("ringmq-test-", "/dev/shm").expect("there is shared memory");
    let tail_path = vec![("tailPath", tails.path().display().to_string())];
    let mut world = World::start(&PairOptions { master: tail_path, ..options(false) }, &seed);
    let cuts = |world: &World| world.pair.slave.process().log_text().matches("the log is opened anew and cut").count();
    for _ in 0..rounds(30) {
        world.produce_until(|pair, load, random| {
            wait_acknowledged(load, 1 + below(random, 1000));
            pair.master.kill();
        });
        // As after a loss of power: what was not written yet is gone, and the slave may have it.
        for file in std::fs::read_dir(tails.path()).expect("the folder is there").flatten() {
            std::fs::remove_file(file.path()).expect("the master is gone");
        }
        world.pair.master.restart();
        world.wait_replicated();
        for queue_id in 0..QUEUES {
            world.pair.wait_caught_up(TOPIC, queue_id);
            let (master, slave) = [world.pair.to_master(), world.pair.to_slave()]
                .map(|mut client| client.read_bytes(TOPIC, queue_id).expect("it answers"))
                .into();
            assert!(master == slave, "queue {queue_id} differs: {} and {} bytes", master.len(), slave.len());
        }
        if cuts(&world) >= 2 {
            return;
        }
    }
    panic!("the slave was cut {} times: nothing was tested", cuts(&world));
}

#[test]
fn strangers_at_the_replication_port_are_refused_and_named() {
    let seed = Seed::of("replication", "strangers_at_the_replication_port_are_refused_and_named");
    let mut world = World::start(&options(true), &seed);
    let port = world.pair.master.replication_port(0);
    let knock = |bytes: &[u8]| {
        let mut stranger = TcpStream::connect(&port).expect("it listens");
        stranger.set_read_timeout(Some(Duration::from_secs(20))).expect("a socket has a timeout");
        drop(stranger.write_all(bytes));
        // It is closed, with or without having said something.
        let mut said = Vec::new();
        drop(stranger.read_to_end(&mut said));
        said
    };
    // Beyond the end, negative, garbage that is an offset beyond the end, and a handshake followed by nonsense.
    assert!(knock(&(1_u64 << 50).to_be_bytes()).is_empty());
    assert!(knock(&(-5_i64).to_be_bytes()).is_empty());
    assert!(knock(b"GET / HTTP/1.1\r\n\r\n").is_empty());
    let handshake = [&[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9][..], &[0xFF; 24]].concat();
    knock(&handshake);
    let crowd: Vec<TcpStream> = (0..1000).filter_map(|_| TcpStream::connect(&port).ok()).collect();
    world.produce_until(|_, load, _| wait_acknowledged(load, 500));
    drop(crowd);
    world.wait_replicated();
    world.verify_both();
    let log = world.pair.master.process().log_text();
    for sentence in ["it asks for the log from 1125899906842624 on", "is not RocketMQ's replication protocol"] {
        assert!(log.contains(sentence), "the log does not say {sentence:?}");
    }
}
