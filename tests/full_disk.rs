//! A full disk is an answer, not an end: sends are refused in words, reads go on, and with room sends come back by themselves.
//!
//! The store lies on a small ext4 file system of its own, in a file, mounted through a loop device. What was acknowledged before,
//! while and after it was full is there in the end, also after `kill -9`. Likewise for the memory of the tail: a tmpfs that is too
//! small or missing costs speed, never an acknowledged message. A slave with a full disk is missed by its master, and heals by itself.
//!
//! Needs root; otherwise each test says in a line that it is skipped. What it cannot show: other file systems, quotas, and disks
//! that fail rather than fill; the simulator has those.
#![allow(clippy::disallowed_methods, reason = "a test has clocks, files, threads and sockets")]

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use harness::{
    Client, Node, NodeOptions, Pair, PairOptions, Seed, SmallDisk, TailFolder, World, body_of, code, probe, rounds,
    say, wait_for, wait_for_answer,
};
use ringmq_peers::Flush;

const TOPIC: &str = "full";
const BODY_BYTES: usize = 60_000;
const DISK_MB: u64 = 96;
const BALLAST_MB: usize = 24;
/// Sends after which the disk must have been full: twice its size.
const SENDS_MAX: u64 = 2 * (DISK_MB << 20) / 60_000;

fn options(flush: Flush, store: Option<&Path>, tails: &Path) -> NodeOptions {
    let more = [("mappedFileSizeCommitLog", "4194304"), ("maxMessageSize", "1048576"), ("tailSize", "8388608")];
    let mut more = more.map(|(key, value)| (key, value.to_owned())).to_vec();
    more.push(("tailPath", tails.display().to_string()));
    NodeOptions { flush, store_dir: store.map(Path::to_owned), more, ..NodeOptions::default() }
}

/// Messages sent and acknowledged, by number; message `n` of the list is at queue offset `n`.
#[derive(Default)]
struct Book {
    next: u64,
    acknowledged: Vec<u64>,
}

impl Book {
    /// Sends one message; the refusal's code and remark when it is not stored.
    fn send(&mut self, client: &mut Client) -> io::Result<Result<(), (i32, String)>> {
        let number = self.next;
        self.next += 1;
        let response = client.call(Client::send_request(TOPIC, 0, &body_of(number, BODY_BYTES), &[]))?;
        if response.code != code::SUCCESS {
            return Ok(Err((response.code, response.remark.unwrap_or_default())));
        }
        let receipt = Client::receipt(&response)?;
        assert_eq!(usize::try_from(receipt.queue_offset).ok(), Some(self.acknowledged.len()), "a gap in the offsets");
        self.acknowledged.push(number);
        Ok(Ok(()))
    }

    /// Sends until one is refused.
    fn send_until_refused(&mut self, client: &mut Client) -> io::Result<(i32, String)> {
        for _ in 0..SENDS_MAX {
            if let Err(refusal) = self.send(client)? {
                return Ok(refusal);
            }
        }
        panic!("{SENDS_MAX} messages of {BODY_BYTES} bytes fit a disk of {DISK_MB} MiB");
    }

    /// All that was acknowledged is there, in order, and nothing else.
    fn verify(&self, client: &mut Client) -> io::Result<()> {
        assert_eq!(client.min_offset(TOPIC, 0)?, 0, "a full disk costs no message");
        let records = client.read_queue(TOPIC, 0, 0)?;
        assert_eq!(records.len(), self.acknowledged.len(), "messages acknowledged and messages there");
        for (offset, (record, number)) in records.iter().zip(&self.acknowledged).enumerate() {
            assert_eq!(usize::try_from(record.queue_offset).ok(), Some(offset), "a gap");
            assert_eq!(record.body, body_of(*number, BODY_BYTES), "message {number} at offset {offset}");
        }
        Ok(())
    }
}

fn is_clear((code, remark): &(i32, String)) {
    assert!(
        [code::SYSTEM_ERROR, code::SYSTEM_BUSY, code::SERVICE_NOT_AVAILABLE].contains(code),
        "code {code}: {remark}"
    );
    let remark = remark.to_lowercase();
    assert!(remark.contains("disk") || remark.contains("space"), "no word of the disk in {remark:?}");
}

fn a_full_disk(flush: Flush) -> io::Result<()> {
    let Some(disk) = SmallDisk::ext4(DISK_MB) else { return Ok(()) };
    let ballast = disk.ballast("ballast", BALLAST_MB);
    let tails = TailFolder::create();
    let mut node = Node::start(&options(flush, Some(&disk.path().join("store")), tails.path()));
    let mut client = Client::connect(&node.broker(0))?;
    client.create_topic(TOPIC, 1)?;
    client.heartbeat("c@1", "G", TOPIC)?;
    client.commit_offset("G", TOPIC, 0, 0)?;
    let mut book = Book::default();
    let refusal = book.send_until_refused(&mut client)?;
    say(&format!("{flush:?}: {} messages, then {refusal:?}", book.acknowledged.len()));
    is_clear(&refusal);
    assert!(book.acknowledged.len() > 300, "{} messages filled 60 MiB", book.acknowledged.len());

    // Full: refused again and again, but read.
    for _ in 0..20 {
        if let Err(refusal) = book.send(&mut client)? {
            is_clear(&refusal);
        }
    }
    book.verify(&mut client)?;
    client.commit_offset("G", TOPIC, 0, 5)?;
    assert_eq!(client.consumer_offset("G", TOPIC, 0)?, Some(5));

    // Room: sends come back on the same connection.
    fs::remove_file(ballast)?;
    let before = book.acknowledged.len();
    wait_for("stored message", || book.send(&mut client).expect("it answers").ok());
    for _ in 0..50 {
        book.send(&mut client)?.unwrap_or_else(|refusal| panic!("there is room, but {refusal:?}"));
    }
    assert_eq!(book.acknowledged.len(), before + 51);
    book.verify(&mut client)?;

    // Full again, and then a crash: nothing of it is lost, and the full node starts and is read.
    is_clear(&book.send_until_refused(&mut client)?);
    node.kill();
    node.restart();
    let mut client = Client::connect(&node.broker(0))?;
    book.verify(&mut client)?;
    assert!(node.stop(Duration::from_secs(20)).success());
    node.restart();
    book.verify(&mut Client::connect(&node.broker(0))?)
}

#[test]
fn a_full_disk_refuses_sends_until_there_is_room_async() -> io::Result<()> {
    a_full_disk(Flush::Async)
}

#[test]
fn a_full_disk_refuses_sends_until_there_is_room_sync() -> io::Result<()> {
    a_full_disk(Flush::Sync)
}

/// Full to the last block, by somebody else: not even a table can be written. The node is read, also after a restart, and nothing of it is
/// lost; with room it is as it was.
#[test]
fn a_disk_without_a_free_block_costs_no_message() -> io::Result<()> {
    let Some(disk) = SmallDisk::ext4(DISK_MB) else { return Ok(()) };
    let tails = TailFolder::create();
    let mut node = Node::start(&options(Flush::Async, Some(&disk.path().join("store")), tails.path()));
    let mut client = Client::connect(&node.broker(0))?;
    client.create_topic(TOPIC, 1)?;
    let mut book = Book::default();
    for _ in 0..150 {
        book.send(&mut client)?.unwrap_or_else(|refusal| panic!("there is room, but {refusal:?}"));
    }
    let filler = disk.fill("filler");
    // The prepared segment is still there to be filled.
    is_clear(&book.send_until_refused(&mut client)?);
    book.verify(&mut client)?;
    node.kill();
    node.restart();
    book.verify(&mut Client::connect(&node.broker(0))?)?;
    fs::remove_file(filler)?;
    let mut client = Client::connect(&node.broker(0))?;
    book.verify(&mut client)?;
    wait_for("stored message", || book.send(&mut client).expect("it answers").ok());
    client.create_topic("later", 1)?;
    node.kill();
    node.restart();
    let mut client = Client::connect(&node.broker(0))?;
    book.verify(&mut client)?;
    assert_eq!(client.send("later", 0, b"x")?.queue_offset, 0);
    Ok(())
}

/// What a slave says once its disk is full, and once it is not.
const SAYS_FULL: &str = "the disk is full";
const SAYS_ROOM: &str = "the disk has room again";

/// The slave's disk is full: the master goes on, and says of each message that the slave does not have it. With room the slave catches up by
/// itself. Then it is full again, and the master is lost: the slave has all that was acknowledged as on both.
#[test]
fn a_slave_with_a_full_disk_is_missed_until_there_is_room() -> io::Result<()> {
    let Some(disk) = SmallDisk::ext4(DISK_MB) else { return Ok(()) };
    let seed = Seed::of("full_disk", "a_slave_with_a_full_disk_is_missed_until_there_is_room");
    let mut options = PairOptions { slave_store: Some(disk.path().join("store")), ..PairOptions::small(true) };
    // Replies give up sooner than they would, and a slave that does not read sees sooner that its master is gone.
    options.master = vec![("slaveTimeout", "1000".to_owned()), ("haMaxTimeSlaveNotCatchup", "3000".to_owned())];
    options.slave = vec![("haSendHeartbeatInterval", "500".to_owned())];
    let mut world = World::start(&options, &seed);
    // More than its producers send meanwhile.
    world.messages_max = 20_000;
    for _ in 0..rounds(1) {
        let said = |pair: &Pair, what: &str| pair.slave.process().log_text().matches(what).count();
        let (full_before, room_before) = (said(&world.pair, SAYS_FULL), said(&world.pair, SAYS_ROOM));
        // What it has prepared takes some more.
        let filler = disk.fill("filler");
        world.produce_until(|pair, load, _| {
            wait_for_answer(pair, 12);
            let burden = Burden::begin(pair);
            wait_for_answer(pair, 11);
            wait_for("word of the full disk", || (said(pair, SAYS_FULL) > full_before).then_some(()));
            for mut replica in [pair.to_master(), pair.to_slave()] {
                let pulled = replica.pull("G", World::TOPIC, 0, 0, 32).expect("it answers");
                assert_eq!((pulled.code, pulled.records[0].queue_offset), (code::SUCCESS, 0), "reads go on");
            }
            burden.end(pair);
            fs::remove_file(filler).expect("it is there");
            wait_for_answer(pair, 0);
            assert!(said(pair, SAYS_ROOM) > room_before, "no word of the room");
            load.wait_acknowledged(500);
        });
        world.verify_both();

        let filler = disk.fill("filler");
        world.produce_until(|pair, _, _| {
            wait_for_answer(pair, 12);
            pair.lose_master();
        });
        world.verify_slave().unwrap_or_else(|problems| panic!("on the full slave: {problems}"));
        // The returned master begins an epoch, which the slave cannot store.
        world.pair.master.restart();
        wait_for_answer(&world.pair, 11);
        world.produce_until(|pair, _, _| {
            let (burden, begun, mut client) = (Burden::begin(pair), Instant::now(), pair.to_master());
            while begun.elapsed() < Duration::from_secs(2) {
                let (code, _) = probe(&mut client).expect("it answers");
                assert!(code == 11 || code == 12, "answer {code}, but the slave stores nothing");
            }
            burden.end(pair);
        });
        fs::remove_file(filler)?;
        world.wait_replicated();
        world.verify_both();
    }
    Ok(())
}

/// What a slave costs while it can do nothing: it must neither spin nor fill its log.
struct Burden {
    since: Instant,
    cpu: Duration,
    lines: usize,
}

impl Burden {
    fn begin(pair: &Pair) -> Self {
        let (cpu, lines) = Self::of(pair);
        Self { since: Instant::now(), cpu, lines }
    }

    fn end(self, pair: &Pair) {
        let ((cpu, lines), elapsed) = (Self::of(pair), self.since.elapsed());
        let (cpu, lines) = (cpu - self.cpu, lines - self.lines);
        say(&format!("a full slave took {cpu:?} of CPU and wrote {lines} lines in {elapsed:?}"));
        assert!(cpu < elapsed / 2, "{cpu:?} of CPU in {elapsed:?}");
        let text = pair.slave.process().log_text();
        let last: Vec<&str> = text.lines().skip(self.lines).take(20).collect();
        assert!(lines < 20, "{lines} lines in {elapsed:?}:\n{}", last.join("\n"));
    }

    /// CPU time, and lines of the log.
    fn of(pair: &Pair) -> (Duration, usize) {
        let process = pair.slave.process();
        let stat = fs::read_to_string(format!("/proc/{}/stat", process.id())).expect("it runs");
        // Behind the name, which may hold anything: the third field is the first, user and system time the 14th and 15th, in hundredths.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks: u64 = fields[11..13].iter().map(|ticks| ticks.parse::<u64>().expect("a number")).sum();
        (Duration::from_millis(10 * ticks), process.log_text().lines().count())
    }
}

/// Sends in bursts, kills, and holds the broker to what it acknowledged.
fn async_flush_is_honest(tails: &Path, expected_in_log: &str) -> io::Result<()> {
    let mut node = Node::start(&options(Flush::Async, None, tails));
    let log = node.process().log_text();
    let said = log.lines().any(|line| line.contains("tail") && line.contains(expected_in_log));
    assert!(said, "no line of the log names the tail and {expected_in_log:?}:\n{log}");
    Client::connect(&node.broker(0))?.create_topic(TOPIC, 1)?;
    let mut book = Book::default();
    for round in 0..5 {
        let mut client = Client::connect(&node.broker(0))?;
        book.verify(&mut client)?;
        for _ in 0..(10 + round) {
            book.send(&mut client)?.unwrap_or_else(|refusal| panic!("refused: {refusal:?}"));
        }
        node.kill();
        node.restart();
    }
    book.verify(&mut Client::connect(&node.broker(0))?)
}

#[test]
fn a_tmpfs_too_small_for_the_tail_costs_no_message() -> io::Result<()> {
    let Some(tmpfs) = SmallDisk::tmpfs(1) else { return Ok(()) };
    async_flush_is_honest(&tmpfs.path(), &tmpfs.path().display().to_string())
}

#[test]
fn a_missing_folder_for_the_tail_costs_no_message() -> io::Result<()> {
    async_flush_is_honest(Path::new("/nonexistent/tails"), "/nonexistent/tails")
}

/// The tail took its memory at the start: what fills the tmpfs later cannot take it away.
#[test]
fn a_tmpfs_that_fills_up_later_hurts_nobody() -> io::Result<()> {
    let Some(tmpfs) = SmallDisk::tmpfs(10) else { return Ok(()) };
    let mut node = Node::start(&options(Flush::Async, None, &tmpfs.path()));
    tmpfs.fill("filler");
    let mut client = Client::connect(&node.broker(0))?;
    client.create_topic(TOPIC, 1)?;
    let mut book = Book::default();
    // More than the ring holds, so that every page of it is touched.
    for _ in 0..300 {
        book.send(&mut client)?.unwrap_or_else(|refusal| panic!("refused: {refusal:?}"));
    }
    node.kill();
    node.restart();
    book.verify(&mut Client::connect(&node.broker(0))?)
}
