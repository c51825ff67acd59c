//! Damage to the files of a store is found, said and mended, or the store is refused as it is: never cut, never passed over in silence.
//!
//! Each test fills a node, ends it, changes its files as a bad disk or a bad day would, starts it and compares with what was acknowledged.
//!
//! What it cannot show: damage at each place and moment; the simulator does that.
#![allow(clippy::disallowed_methods, reason = "a test has clocks, files, threads and sockets")]
mod harness;

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use harness::{Client, Frame, Node, NodeOptions};
use ringmq_peers::Flush;
use tempfile::TempDir;

const TOPIC: &str = "damaged";
const SEGMENT_BYTES: u64 = 32 * 1024 * 1024;
const MIB: u64 = 1024 * 1024;
/// Bytes of one body; its record is some 200 longer.
const BODY_BYTES: usize = 2000;

struct World {
    node: Node,
    tails: TempDir,
}

impl World {
    fn new(flush: Flush) -> World {
        World::with(flush, SEGMENT_BYTES)
    }

    fn with(flush: Flush, segment_bytes: u64) -> World {
        let tails = TempDir::with_prefix_in("ringmq-tails-", "/dev/shm").expect("a folder in shared memory");
        let more = vec![
            ("mappedFileSizeCommitLog", segment_bytes.to_string()),
            ("maxMessageSize", "1048576".to_owned()),
            ("tailSize", (8 * MIB).to_string()),
            ("tailPath", tails.path().display().to_string()),
        ];
        World { node: Node::start(&NodeOptions { flush, more, ..NodeOptions::default() }), tails }
    }

    fn client(&self) -> Client {
        Client::connect(&self.node.broker(0)).expect("it listens")
    }

    /// Sends so many messages to queue 0, many at a time; each body begins with its number.
    fn fill(&self, numbers: std::ops::Range<u32>) {
        let mut client = self.client();
        client.create_topic(TOPIC, 4).expect("a topic");
        let numbers: Vec<u32> = numbers.collect();
        for some in numbers.chunks(100) {
            let sent = some.iter().map(|number| client.start(Client::send_request(TOPIC, 0, &body(*number), &[])));
            let sent: Vec<i32> = sent.collect::<Result<_, _>>().expect("sent");
            for opaque in sent {
                let answer = client.finish(opaque).expect("answered");
                Client::receipt(&answer).expect("stored");
            }
        }
    }

    /// Numbers of the messages of queue 0, in order.
    fn served(&self) -> Vec<u32> {
        let records = self.client().read_queue(TOPIC, 0, 0).expect("readable");
        let number = |body: &[u8]| u32::from_be_bytes(*body.first_chunk().expect("a body has a number"));
        records.iter().map(|record| number(&record.body)).collect()
    }

    fn segment(&self, number: u64) -> PathBuf {
        self.shard().join(format!("commitlog/{:020}", number * SEGMENT_BYTES))
    }

    fn shard(&self) -> PathBuf {
        self.node.store_dir().join("shard-0")
    }

    fn lose_tail(&self) {
        for entry in fs::read_dir(self.tails.path()).expect("a folder") {
            fs::remove_file(entry.expect("an entry").path()).expect("the file is ours");
        }
    }

    /// What a start that must fail has said.
    fn refusal(&mut self) -> String {
        self.node.try_restart().expect_err("the start is refused").to_string()
    }
}

fn body(number: u32) -> Vec<u8> {
    let mut body = number.to_be_bytes().to_vec();
    body.resize(BODY_BYTES, b'x');
    body
}

fn flip(path: &Path, at: u64) {
    let file = File::options().read(true).write(true).open(path).expect("the file is there");
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("within the file");
    file.write_all_at(&[byte[0] ^ 1], at).expect("written");
}

#[test]
fn damage_before_the_reach_of_the_tail_is_refused_and_not_a_byte_is_changed() {
    let mut world = World::new(Flush::Async);
    world.fill(0..10_000);
    world.node.kill();
    let segment = world.segment(0);
    flip(&segment, 5 * MIB);
    let before = fs::read(&segment).expect("readable");
    for _ in 0..2 {
        let refusal = world.refusal();
        assert!(refusal.contains("commitlog/00000000000000000000 is damaged at byte 52"), "{refusal}");
        assert!(fs::read(&segment).expect("readable") == before, "the segment was changed");
    }
    flip(&segment, 5 * MIB);
    world.node.restart();
    assert_eq!(world.served(), (0..10_000).collect::<Vec<_>>());
}

#[test]
fn damage_that_the_tail_covers_is_mended_from_it() {
    let mut world = World::new(Flush::Async);
    world.fill(0..10_000);
    world.node.kill();
    flip(&world.segment(0), 18 * MIB);
    world.node.restart();
    assert_eq!(world.served(), (0..10_000).collect::<Vec<_>>());
}

#[test]
fn damage_further_back_than_a_power_loss_reaches_is_refused_without_a_tail() {
    let mut world = World::new(Flush::Sync);
    world.fill(0..10_000);
    world.node.kill();
    world.lose_tail();
    let segment = world.segment(0);
    flip(&segment, 15 * MIB);
    let before = fs::read(&segment).expect("readable");
    let refusal = world.refusal();
    assert!(refusal.contains("is damaged at byte 157"), "{refusal}");
    assert!(fs::read(&segment).expect("readable") == before, "the segment was changed");
}

#[test]
fn a_cut_is_previewed_and_what_lies_behind_it_is_kept() {
    let Some(admin) = admin() else { return };
    let mut world = World::new(Flush::Sync);
    world.fill(0..10_000);
    world.node.kill();
    world.lose_tail();
    let segment = world.segment(0);
    flip(&segment, 15 * MIB);
    let damaged = fs::read(&segment).expect("readable");
    world.refusal();
    let store = world.node.store_dir();
    let run = |arguments: &[&str]| {
        let output = Command::new(&admin).arg("store").args(arguments).arg(&store).output().expect("it runs");
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (is_sound, said) = run(&["check"]);
    assert!(!is_sound && said.contains("commitlog/00000000000000000000  157"), "{said}");
    let (_, said) = run(&["repair", "--cut"]);
    assert!(said.contains("would: end the log of") && said.contains("nothing was changed"), "{said}");
    assert!(fs::read(&segment).expect("readable") == damaged, "a preview has changed the segment");
    let (is_done, said) = run(&["repair", "--cut", "--yes"]);
    assert!(is_done, "{said}");
    assert!(run(&["check"]).0, "it is sound now");
    let aside = fs::read_dir(world.shard()).expect("a folder").map(|entry| entry.expect("an entry").path());
    let aside = aside.into_iter().find(|path| path.to_string_lossy().contains("/aside-")).expect("a folder for it");
    assert!(fs::read(aside.join("00000000000000000000")).expect("kept") == damaged, "what was cut off is kept");
    world.node.restart();
    let served = world.served();
    assert!((5_000..8_000).contains(&served.len()), "{} are served", served.len());
    assert!(served.iter().copied().eq(0..u32::try_from(served.len()).expect("few")));
}

#[test]
fn a_damaged_segment_is_mended_from_the_store_of_a_replica() {
    let Some(admin) = admin() else { return };
    let mut world = World::new(Flush::Async);
    world.fill(0..10_000);
    assert!(world.node.stop(Duration::from_secs(30)).success());
    let replica = TempDir::new().expect("a folder");
    let there = replica.path().join("shard-0/commitlog");
    fs::create_dir_all(&there).expect("a folder");
    fs::copy(world.segment(0), there.join("00000000000000000000")).expect("a copy");
    flip(&world.segment(0), 2 * MIB);
    let mut repair = Command::new(&admin);
    repair.args(["store", "repair", "--yes", "--from"]).arg(replica.path()).arg(world.node.store_dir());
    let output = repair.output().expect("it runs");
    assert!(output.status.success(), "{output:?}");
    world.node.restart();
    assert_eq!(world.served(), (0..10_000).collect::<Vec<_>>());
}

#[test]
fn one_damaged_message_is_left_out_and_counted_and_no_other_is() {
    let world = World::new(Flush::Async);
    world.fill(0..10_000);
    flip(&world.segment(0), 2 * MIB);
    let served = world.served();
    assert_eq!(served.len(), 9_999, "one message is damaged");
    let lost = (0..10_000).find(|number| served.get(*number as usize) != Some(number)).expect("one is missing");
    assert!((800..1_200).contains(&lost), "the {lost}th does not lie at 2 MiB");
    assert!(served.iter().skip(lost as usize).copied().eq(lost + 1..10_000), "and all others are in order");
    let info =
        world.client().expect_success("runtime info", Frame::request(28)).expect("answered").json().expect("JSON");
    assert_eq!(
        (&info["table"]["damagedMessages"], &info["table"]["damagedMessagesPassed"]),
        (&"1".into(), &"1".into())
    );
}

#[test]
fn a_damaged_index_is_built_again_from_the_log() {
    let mut world = World::new(Flush::Async);
    world.fill(0..10_000);
    assert!(world.node.stop(Duration::from_secs(30)).success());
    let index = world.shard().join("index/0000000000");
    for at in (100..fs::metadata(&index).expect("an index").len()).step_by(4096) {
        flip(&index, at);
    }
    world.node.restart();
    assert_eq!(world.served(), (0..10_000).collect::<Vec<_>>());
}

#[test]
fn what_was_taken_away_from_a_stopped_store_is_missed_by_name() {
    let mut world = World::with(Flush::Async, 4 * MIB);
    world.fill(0..5_000);
    assert!(world.node.stop(Duration::from_secs(30)).success());
    let check = |world: &mut World, what: &str, expected: &str| {
        let (path, aside) = (world.shard().join(what), world.tails.path().join("aside"));
        let moved = Command::new("mv").arg(&path).arg(&aside).status().expect("mv");
        assert!(moved.success(), "{what}");
        let refusal = world.refusal();
        assert!(refusal.contains(expected), "{what}: {refusal}");
        fs::remove_dir(&path).ok();
        assert!(Command::new("mv").arg(&aside).arg(&path).status().expect("mv").success(), "{what}");
    };
    check(&mut world, "commitlog/00000000000000000000", "commitlog/00000000000000000000 is missing");
    check(&mut world, "config", "shard-0/config is missing, though there are messages");
    world.node.restart();
    assert_eq!(world.served(), (0..5_000).collect::<Vec<_>>());
}

#[test]
fn a_topic_that_its_table_has_lost_is_taken_from_the_log() {
    let mut world = World::new(Flush::Async);
    world.fill(0..100);
    world.node.kill();
    fs::remove_file(world.shard().join("config/topics.json")).expect("there is one");
    world.node.restart();
    assert_eq!(world.served(), (0..100).collect::<Vec<_>>());
}

#[test]
fn a_copy_beside_its_original_is_refused() {
    let mut world = World::new(Flush::Async);
    world.fill(0..100);
    world.node.kill();
    let copies = TempDir::new().expect("a folder");
    let copy = copies.path().join("store");
    assert!(Command::new("cp").arg("-r").arg(world.node.store_dir()).arg(&copy).status().expect("cp").success());
    let options = NodeOptions { store_dir: Some(copy), ..NodeOptions::default() };
    let refusal = Node::try_start(&options).expect_err("two nodes would answer for one").to_string();
    assert!(refusal.contains("is a copy of"), "{refusal}");
    world.node.restart();
    assert_eq!(world.served(), (0..100).collect::<Vec<_>>());
}

#[test]
fn a_tail_on_a_disk_is_not_promised_to_be_memory() {
    let binary = PathBuf::from(env!("CARGO_BIN_EXE_ringmq"));
    let folder = TempDir::new_in(binary.parent().expect("its folder")).expect("a folder on a disk");
    let more = vec![("tailPath", folder.path().display().to_string())];
    let mut node = Node::start(&NodeOptions { more, ..NodeOptions::default() });
    let said = node.process().log_tail();
    assert!(said.contains("which is no tmpfs"), "{said}");
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0, "there is no tail");
    node.kill();
}

/// The tool of the same build; it belongs to another package, which may not have been built.
fn admin() -> Option<PathBuf> {
    let admin = PathBuf::from(env!("CARGO_BIN_EXE_ringmq")).with_file_name("ringmq-admin");
    let has_store = Command::new(&admin).args(["store", "--help"]).output().is_ok_and(|output| output.status.success());
    if !has_store {
        writeln!(io::stderr(), "skipped: {} is not built", admin.display()).expect("stderr is open");
    }
    has_store.then_some(admin)
}
