//! Damage to the files of a store is found, said and mended, or the store is refused as it is: never cut, never passed over in silence.
//!
//! Each test fills a node, ends it, changes its files as a bad disk or a bad day would, starts it and compares with what was acknowledged.
//!
//! What it cannot show: damage at each place and moment; the simulator does that.
#![allow(clippy::disallowed_methods, reason = "a test has clocks, files, threads and sockets")]

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use harness::{Client, Frame, Node, NodeOptions, TailFolder, copy_folder, wait_for};
use ringmq_peers::Flush;
use tempfile::TempDir;

const TOPIC: &str = "damaged";
const SEGMENT_BYTES: u64 = 32 * 1024 * 1024;
const MIB: u64 = 1024 * 1024;
/// Bytes of one body; its record is some 200 longer.
const BODY_BYTES: usize = 2000;

struct World {
    node: Node,
    tails: TailFolder,
}

impl World {
    fn new(flush: Flush) -> World {
        World::with(flush, SEGMENT_BYTES, &[])
    }

    fn with(flush: Flush, segment_bytes: u64, settings: &[(&'static str, &str)]) -> World {
        let tails = TailFolder::create();
        let mut more = vec![
            ("mappedFileSizeCommitLog", segment_bytes.to_string()),
            ("maxMessageSize", "1048576".to_owned()),
            ("tailSize", (8 * MIB).to_string()),
            tails.setting(),
        ];
        more.extend(settings.iter().map(|(key, value)| (*key, (*value).to_owned())));
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

    /// Exactly these, in order.
    fn assert_serves(&self, numbers: std::ops::Range<u32>) {
        assert_eq!(self.served(), numbers.collect::<Vec<_>>());
    }

    /// The first ones without a gap, of which there are about so many.
    fn assert_serves_first(&self, count: std::ops::Range<u32>) {
        let served = u32::try_from(self.served().len()).expect("few");
        assert!(count.contains(&served), "{served} are served");
        self.assert_serves(0..served);
    }

    /// A copy of its store, in a folder that goes with it.
    fn copy_store(&self) -> (TempDir, PathBuf) {
        let folder = TempDir::new().expect("a folder");
        let copy = folder.path().join("store");
        copy_folder(&self.node.store_dir(), &copy).expect("a copy");
        (folder, copy)
    }

    fn segment(&self, number: u64) -> PathBuf {
        self.shard().join(format!("commitlog/{:020}", number * SEGMENT_BYTES))
    }

    fn shard(&self) -> PathBuf {
        self.node.store_dir().join("shard-0")
    }

    /// A number of what the broker says of itself (28).
    fn info(&self, key: &str) -> i64 {
        let answer = self.client().expect_success("runtime info", Frame::request(28)).expect("answered");
        let info = answer.json().expect("JSON");
        let number = info["table"][key].as_str().and_then(|text| text.parse().ok());
        number.unwrap_or_else(|| panic!("{key}: {info}"))
    }

    /// Until the broker says so of itself.
    fn wait_until_info(&self, key: &str, is_it: impl Fn(i64) -> bool) {
        wait_for(key, || is_it(self.info(key)).then_some(()));
    }

    fn tail(&self) -> PathBuf {
        let mut tails = fs::read_dir(self.tails.path()).expect("a folder");
        tails.next().expect("one shard has a tail").expect("an entry").path()
    }

    /// Takes the newest bytes of the first segment away, as if they had not been written: the tail has them.
    fn forget_from(&self, at: u64) {
        let file = File::options().write(true).open(self.segment(0)).expect("the file is there");
        file.set_len(at).and_then(|()| file.set_len(SEGMENT_BYTES)).expect("a hole");
    }

    /// Where a repair has put what it took away.
    fn aside(&self) -> PathBuf {
        let entries = fs::read_dir(self.shard()).expect("a folder").map(|entry| entry.expect("an entry").path());
        let mut asides: Vec<PathBuf> = entries.filter(|path| path.to_string_lossy().contains("/aside-")).collect();
        asides.sort();
        asides.pop().expect("a folder for it")
    }

    /// Whether `ringmq store ARGUMENTS` ends well with its store, and what it says.
    fn store(&self, arguments: &[&str]) -> (bool, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringmq"));
        let output = command.arg("store").args(arguments).arg(self.node.store_dir()).output().expect("it runs");
        let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        (output.status.success(), said.concat())
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
    world.assert_serves(0..10_000);
}

#[test]
fn damage_that_the_tail_covers_is_mended_from_it() {
    let mut world = World::new(Flush::Async);
    world.fill(0..10_000);
    world.node.kill();
    flip(&world.segment(0), 18 * MIB);
    world.node.restart();
    world.assert_serves(0..10_000);
}

#[test]
fn damage_further_back_than_a_power_loss_reaches_is_refused_without_a_tail() {
    let mut world = World::new(Flush::Sync);
    world.fill(0..10_000);
    world.node.kill();
    world.tails.lose();
    let segment = world.segment(0);
    flip(&segment, 15 * MIB);
    let before = fs::read(&segment).expect("readable");
    let refusal = world.refusal();
    assert!(refusal.contains("is damaged at byte 157"), "{refusal}");
    assert!(fs::read(&segment).expect("readable") == before, "the segment was changed");
}

#[test]
fn a_cut_is_previewed_and_what_lies_behind_it_is_kept() {
    let mut world = World::new(Flush::Sync);
    world.fill(0..10_000);
    world.node.kill();
    world.tails.lose();
    let segment = world.segment(0);
    flip(&segment, 15 * MIB);
    let damaged = fs::read(&segment).expect("readable");
    world.refusal();
    let run = |arguments: &[&str]| world.store(arguments);
    let (is_sound, said) = run(&["check"]);
    assert!(!is_sound && said.contains("commitlog/00000000000000000000  157"), "{said}");
    let (_, said) = run(&["repair", "--cut"]);
    assert!(said.contains("would: end the log of") && said.contains("nothing was changed"), "{said}");
    assert!(fs::read(&segment).expect("readable") == damaged, "a preview has changed the segment");
    let (is_done, said) = run(&["repair", "--cut", "--yes"]);
    assert!(is_done, "{said}");
    assert!(run(&["check"]).0, "it is sound now");
    assert!(fs::read(world.aside().join("00000000000000000000")).expect("kept") == damaged, "what was cut off is kept");
    world.node.restart();
    let served = world.served();
    assert!((5_000..8_000).contains(&served.len()), "{} are served", served.len());
    assert!(served.iter().copied().eq(0..u32::try_from(served.len()).expect("few")));
}

#[test]
fn a_cut_keeps_what_only_the_tail_has() {
    let mut world = World::new(Flush::Async);
    world.fill(0..10_000);
    world.node.kill();
    world.forget_from(17 * MIB);
    flip(&world.segment(0), 5 * MIB);
    world.refusal();
    let (_, said) = world.store(&["repair", "--cut"]);
    assert!(said.contains("messages that only the tail has") && said.contains("nothing was changed"), "{said}");
    let (is_done, said) = world.store(&["repair", "--cut", "--yes"]);
    assert!(is_done, "{said}");
    let kept = fs::read(world.aside().join("00000000000000000000")).expect("kept");
    let last = body(9_999);
    assert!(kept.windows(last.len()).any(|bytes| bytes == last), "the last message is gone");
    assert!(world.aside().join("tail").exists() && fs::read_dir(world.tails.path()).expect("a folder").count() == 0);
    let (is_sound, said) = world.store(&["check"]);
    assert!(is_sound, "{said}");
    world.node.restart();
    let served = world.served();
    assert!((2_000..2_700).contains(&served.len()), "{} are served", served.len());
}

#[test]
fn a_damaged_tail_is_left_by_an_order_and_what_is_sound_in_it_is_kept() {
    let mut world = World::new(Flush::Async);
    world.fill(0..10_000);
    world.node.kill();
    world.forget_from(17 * MIB);
    flip(&world.tail(), 4096 + (18 * MIB + MIB / 2) % (8 * MIB));
    let refusal = world.refusal();
    assert!(refusal.contains("the tail in shared memory is damaged at log offset 19"), "{refusal}");
    let (is_sound, said) = world.store(&["check"]);
    assert!(!is_sound && said.contains("the tail in shared memory is damaged at log offset 19"), "{said}");
    let (_, said) = world.store(&["repair", "--cut"]);
    assert!(said.contains("would: write what only the tail has") && said.contains("nothing was changed"), "{said}");
    world.refusal();
    let (is_done, said) = world.store(&["repair", "--cut", "--yes"]);
    assert!(is_done, "{said}");
    assert!(world.aside().join("tail").exists());
    let (is_sound, said) = world.store(&["check"]);
    assert!(is_sound && !said.contains("tail"), "nobody misses what was moved aside: {said}");
    world.node.restart();
    world.assert_serves_first(8_700..9_000);
}

#[test]
fn a_tail_that_is_gone_is_missed_before_a_start() {
    const GONE: &str = "the tail of the last run is gone from ";
    let mut world = World::new(Flush::Async);
    world.fill(0..1_000);
    world.node.kill();
    let (is_sound, said) = world.store(&["check"]);
    assert!(is_sound && !said.contains(GONE), "{said}");
    let elsewhere = TempDir::with_prefix_in("ringmq-tails-", "/dev/shm").expect("a folder in shared memory");
    let (tail, moved) = (world.tail(), elsewhere.path().join(world.tail().file_name().expect("it has a name")));
    fs::rename(&tail, &moved).expect("moved");
    let (is_sound, said) = world.store(&["check"]);
    let expected = format!("{GONE}{}, though the machine", world.tails.path().display());
    assert!(is_sound && said.contains(&expected) && said.contains("Put it back"), "a start takes the store: {said}");
    let (_, said) = world.store(&["check", "--json"]);
    assert!(said.contains(&expected), "{said}");
    let (_, said) = world.store(&["check", "--tails", elsewhere.path().to_str().expect("a path")]);
    // How many are written, and how many the tail alone has, is the disk's to say.
    assert!(!said.contains(GONE) && said.contains(" messages from 0 to "), "{said}");
    fs::rename(&moved, &tail).expect("put back");
    let (_, said) = world.store(&["check"]);
    assert!(!said.contains(GONE), "{said}");
    world.tails.lose();
    world.node.restart();
    let said = world.node.process().log_text();
    assert!(said.contains("the tail of the last run is not there"), "{said}");
}

#[test]
fn a_damaged_run_file_costs_no_message_of_the_tail() {
    let mut world = World::new(Flush::Async);
    world.fill(0..10_000);
    world.node.kill();
    world.forget_from(17 * MIB);
    flip(&world.shard().join("run"), 40);
    let refusal = world.refusal();
    assert!(refusal.contains("shard-0/run is damaged") && !refusal.contains("direct I/O"), "{refusal}");
    let elsewhere = TempDir::new().expect("a folder");
    let (_, said) = world.store(&["repair", "--cut", "--tails", elsewhere.path().to_str().expect("a path")]);
    assert!(said.contains("there is no tail") && said.contains("say --tails"), "{said}");
    let (_, said) = world.store(&["repair", "--cut"]);
    assert!(said.contains("would: write what only the tail has"), "{said}");
    let (is_done, said) = world.store(&["repair", "--cut", "--yes"]);
    assert!(is_done, "{said}");
    world.node.restart();
    world.assert_serves(0..10_000);
}

#[test]
fn a_check_refuses_what_a_start_refuses_and_a_repair_mends_it() {
    let mut world = World::with(Flush::Async, 4 * MIB, &[]);
    world.fill(0..5_000);
    assert!(world.node.stop(Duration::from_secs(30)).success());
    let (_copies, copy) = world.copy_store();
    let topics = world.shard().join("config/topics.json");
    let segment = |number: u64| world.shard().join(format!("commitlog/{:020}", number * 4 * MIB));
    let [first, middle] = [segment(0), segment(1)];
    let shorten = |path: &Path, bytes| File::options().write(true).open(path)?.set_len(bytes);
    let damage = |what: &str| match what {
        "missing" => fs::remove_file(&middle),
        "first" => fs::remove_file(&first),
        "short" => shorten(&middle, MIB + 77),
        "empty" => shorten(&middle, 0),
        _ => shorten(&topics, 20),
    };
    for (what, sentence) in [
        ("missing", "commitlog/00000000000004194304 is missing"),
        ("first", "commitlog/00000000000000000000 is missing"),
        ("short", "has 1048653 bytes instead of 4194304"),
        ("empty", "has 0 bytes instead of 4194304"),
        ("table", "config/topics.json cannot be read"),
    ] {
        damage(what).expect("it is there");
        let refusal = world.node.try_restart().expect_err("the start is refused").to_string();
        assert!(refusal.contains(sentence), "{what}: {refusal}");
        let (is_sound, said) = world.store(&["check"]);
        assert!(!is_sound && said.contains(sentence), "{what}: {said}");
        if what == "table" {
            fs::copy(copy.join("shard-0/config/topics.json"), &topics).expect("a copy");
        } else {
            let (is_done, said) = world.store(&["repair", "--yes", "--from", copy.to_str().expect("a path")]);
            assert!(is_done, "{what}: {said}");
        }
        let (is_sound, said) = world.store(&["check"]);
        assert!(is_sound, "{what}: {said}");
    }
    fs::remove_file(&middle).expect("it is there");
    let (is_done, said) = world.store(&["repair", "--cut", "--yes"]);
    assert!(is_done, "{said}");
    assert!(world.aside().join("00000000000008388608").exists(), "what lies behind is kept");
    world.node.restart();
    world.assert_serves_first(1_700..2_000);
}

#[test]
fn a_damaged_segment_is_mended_from_the_store_of_a_replica() {
    let mut world = World::new(Flush::Async);
    world.fill(0..10_000);
    assert!(world.node.stop(Duration::from_secs(30)).success());
    let (_replica, there) = world.copy_store();
    flip(&world.segment(0), 2 * MIB);
    let (is_sound, said) = world.store(&["check"]);
    assert!(!is_sound && said.contains("a start takes the store"), "{said}");
    let (_, said) = world.store(&["repair", "--cut"]);
    assert!(said.contains("there is nothing to do"), "what a start takes is not cut: {said}");
    let (is_done, said) = world.store(&["repair", "--yes", "--from", there.to_str().expect("a path")]);
    assert!(is_done, "{said}");
    world.node.restart();
    world.assert_serves(0..10_000);
}

/// Two masters went on from one log, each by itself: what lies behind is sound in both, and not the same.
#[test]
fn a_log_that_goes_on_otherwise_mends_only_what_both_have() {
    let mut world = World::new(Flush::Async);
    world.fill(0..3000);
    assert!(world.node.stop(Duration::from_secs(30)).success());
    let (_folder, copy) = world.copy_store();
    world.node.restart();
    world.fill(3000..6000);
    assert!(world.node.stop(Duration::from_secs(30)).success());
    fs::remove_file(copy.join("place")).expect("an operator says that the copy is to be used");
    let mut other = World::new(Flush::Async);
    assert!(other.node.stop(Duration::from_secs(30)).success());
    other.node.options_mut().store_dir = Some(copy.clone());
    other.node.restart();
    other.fill(6000..9000);
    assert!(other.node.stop(Duration::from_secs(30)).success());

    let from = ["repair", "--yes", "--from", copy.to_str().expect("a path")];
    let segment = world.segment(0);
    let before = fs::read(&segment).expect("readable");
    flip(&segment, 10 * MIB);
    let (is_done, said) = world.store(&from);
    assert!(!is_done && said.contains("is of another master's reign"), "{said}");
    flip(&segment, 10 * MIB);
    flip(&segment, 2 * MIB);
    let (is_done, said) = world.store(&from);
    assert!(is_done && fs::read(&segment).expect("readable") == before, "{said}");
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
    assert_eq!((world.info("damagedMessages"), world.info("damagedMessagesPassed")), (1, 1));
    let replication = world.client().ha_status().expect("answered");
    assert_eq!(replication["damagedMessages"], 1, "{replication}");
}

#[test]
fn the_scrub_finds_damage_where_nobody_reads_and_forgets_what_was_mended() {
    let world = World::with(Flush::Async, SEGMENT_BYTES, &[("scrubInterval", "1000")]);
    world.fill(0..20_000);
    let segment = world.segment(0);
    world.wait_until_info("scrubLastEnd", |ended| ended > 0);
    assert!(world.info("scrubBytesTotal") >= i64::try_from(SEGMENT_BYTES).expect("small"), "one segment is closed");
    assert_eq!((world.info("damagedMessages"), world.info("failedReads")), (0, 0));
    for at in [5 * MIB, 9 * MIB, SEGMENT_BYTES - MIB] {
        flip(&segment, at);
    }
    world.wait_until_info("damagedMessages", |count| count == 3);
    let log = world.node.process().log_text();
    assert!(log.contains("a message is damaged on the disk") && log.contains("byte="), "{log}");
    for at in [5 * MIB, 9 * MIB, SEGMENT_BYTES - MIB] {
        flip(&segment, at);
    }
    world.wait_until_info("damagedMessages", |count| count == 0);
    world.assert_serves(0..20_000);
    assert_eq!(world.info("damagedMessagesPassed"), 0);
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
    world.assert_serves(0..10_000);
}

#[test]
fn what_was_taken_away_from_a_stopped_store_is_missed_by_name() {
    let mut world = World::with(Flush::Async, 4 * MIB, &[]);
    world.fill(0..5_000);
    assert!(world.node.stop(Duration::from_secs(30)).success());
    let check = |world: &mut World, what: &str| {
        let (path, aside) = (world.node.store_dir().join(what), world.tails.path().join("aside"));
        let moved = Command::new("mv").arg(&path).arg(&aside).status().expect("mv");
        assert!(moved.success(), "{what}");
        let refusal = world.refusal();
        assert!(refusal.contains(&format!("{what} is missing")), "{what}: {refusal}");
        assert!(!path.exists(), "{what} was made");
        assert!(Command::new("mv").arg(&aside).arg(&path).status().expect("mv").success(), "{what}");
    };
    for what in ["shard-0/commitlog", "shard-0/config", "shard-0/config/consumerOffset.json", "shard-0"] {
        check(&mut world, what);
    }
    let (path, aside) = (world.segment(0), world.tails.path().join("aside"));
    fs::copy(&path, &aside).and_then(|_| fs::remove_file(&path)).expect("moved");
    let refusal = world.refusal();
    assert!(refusal.contains("commitlog/00000000000000000000 is missing"), "{refusal}");
    fs::copy(&aside, &path).expect("moved back");
    world.node.restart();
    world.assert_serves(0..5_000);
}

#[test]
fn a_log_that_is_shorter_than_the_last_run_has_found_it_is_refused() {
    let mut world = World::new(Flush::Async);
    world.fill(0..1_000);
    world.node.kill();
    world.node.restart();
    world.node.kill();
    world.tails.lose();
    assert!(!world.shard().join("checkpoint").exists(), "nothing else knows of the log");
    let (_copies, copy) = world.copy_store();
    for entry in fs::read_dir(world.shard().join("commitlog")).expect("a folder") {
        fs::remove_file(entry.expect("an entry").path()).expect("it is there");
    }
    let refusal = world.refusal();
    assert!(refusal.contains("commitlog/00000000000000000000 is missing"), "{refusal}");
    let (is_done, said) = world.store(&["repair", "--cut", "--yes"]);
    assert!(!is_done && said.contains("a cut does not help"), "{said}");
    let (is_done, said) = world.store(&["repair", "--yes", "--from", copy.to_str().expect("a path")]);
    assert!(is_done, "{said}");
    world.node.restart();
    world.assert_serves(0..1_000);
    world.node.kill();
    world.tails.lose();
    world.forget_from(MIB);
    let refusal = world.refusal();
    assert!(refusal.contains("commitlog/00000000000000000000 is damaged at byte 104"), "{refusal}");
}

#[test]
fn a_topic_that_its_table_has_lost_is_taken_from_the_log() {
    let mut world = World::new(Flush::Async);
    world.fill(0..100);
    world.node.kill();
    let table = world.shard().join("config/topics.json");
    fs::remove_file(&table).expect("there is one");
    let refusal = world.refusal();
    assert!(refusal.contains("config/topics.json is missing") && refusal.contains("`changes-NUMBER`"), "{refusal}");
    fs::write(&table, "{}").expect("an operator begins without it");
    for entry in fs::read_dir(world.shard().join("config")).expect("there is one").flatten() {
        if entry.file_name().as_encoded_bytes().starts_with(b"changes") {
            fs::write(entry.path(), "").expect("nobody has it open");
        }
    }
    world.node.restart();
    world.assert_serves(0..100);
}

#[test]
fn a_changed_bit_of_a_small_file_is_refused_by_name_until_it_is_undone() {
    let mut world = World::new(Flush::Async);
    world.fill(0..100);
    world.client().heartbeat("c", "g", TOPIC).expect("a group");
    world.client().commit_offset("g", TOPIC, 0, 81).expect("an offset");
    assert!(world.node.stop(Duration::from_secs(30)).success());
    let names = ["run", "config/topics.json", "config/subscriptionGroup.json", "config/consumerOffset.json"];
    for name in names.into_iter().chain(["config/delayOffset.json", "config/epochs", "../store"]) {
        let path = world.shard().join(name);
        let bytes = fs::read(&path).expect("readable");
        let at = 40;
        flip(&path, at);
        let refusal = world.refusal();
        assert!(refusal.contains(name.trim_start_matches("../")), "{name}: {refusal}");
        assert!(!refusal.contains("direct I/O"), "{name}: {refusal}");
        flip(&path, at);
        assert!(fs::read(&path).expect("readable") == bytes, "{name} was changed");
    }
    world.node.restart();
    assert_eq!(world.client().consumer_offset("g", TOPIC, 0).expect("answered"), Some(81));
    world.node.kill();
    let table = world.shard().join("config/consumerOffset.json");
    let edited = fs::read_to_string(&table).expect("text").replace(":81", ":18");
    fs::write(&table, &edited).expect("written");
    let refusal = world.refusal();
    assert!(refusal.contains("consumerOffset.json.bak"), "{refusal}");
    let (edited, _) = edited.rsplit_once(",\"crc32\"").expect("its last field");
    fs::write(&table, format!("{edited}}}")).expect("written");
    world.node.restart();
    assert_eq!(world.client().consumer_offset("g", TOPIC, 0).expect("answered"), Some(18), "edited on purpose");
}

#[test]
fn no_kill_leaves_a_table_that_is_refused() {
    let mut world = World::new(Flush::Async);
    for round in 0..6_u64 {
        let mut client = world.client();
        for number in 0..30 {
            client.start(Client::send_request(&format!("t-{round}-{number}"), 0, b"x", &[])).expect("sent");
        }
        std::thread::sleep(Duration::from_millis(7 * round));
        world.node.kill();
        if round % 2 == 0 {
            world.tails.lose();
        }
        world.node.restart();
    }
}

#[test]
fn a_damaged_change_of_the_tables_is_refused_by_name() {
    let mut world = World::new(Flush::Async);
    for number in 0..5 {
        world.client().create_topic(&format!("t{number}"), 4).expect("a topic");
    }
    world.node.kill();
    let changes = world.shard().join("config/changes-1");
    let written = fs::read(&changes).expect("it was answered");
    flip(&changes, 100);
    for _ in 0..2 {
        let refusal = world.refusal();
        let expected = "config/changes-1: the line at byte 23 is damaged, and was flushed; restore it";
        assert!(refusal.contains(expected), "{refusal}");
    }
    flip(&changes, 100);
    assert_eq!(fs::read(&changes).expect("it is there"), written);
    // What a crash leaves of a line that nobody was told of is no damage.
    File::options().append(true).open(&changes).expect("it is there").write_all(b"12345678 {\"top").expect("written");
    world.node.restart();
    let known = world.client().send("t4", 3, b"x");
    assert!(known.is_ok(), "a topic is there after a kill: {known:?}");
    assert!(world.node.stop(Duration::from_secs(20)).success());
    let left = fs::read_dir(world.shard().join("config")).expect("a folder").flatten();
    let left: Vec<_> = left.filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b"changes-")).collect();
    assert!(left.is_empty(), "a stop writes the tables whole: {left:?}");
    world.node.restart();
    world.client().send("t0", 3, b"x").expect("still there");
}

#[test]
fn a_copy_beside_its_original_is_refused() {
    let mut world = World::new(Flush::Async);
    world.fill(0..100);
    world.node.kill();
    let (_copies, copy) = world.copy_store();
    let options = NodeOptions { store_dir: Some(copy), ..NodeOptions::default() };
    let refusal = Node::try_start(&options).expect_err("two nodes would answer for one").to_string();
    assert!(refusal.contains("is a copy of"), "{refusal}");
    world.node.restart();
    world.assert_serves(0..100);
}

/// What a killed node has acknowledged and not written lies in its tail: its store may be renamed or taken to another disk before it starts again, and
/// other nodes may start meanwhile.
#[test]
fn a_store_that_is_moved_after_a_kill_keeps_its_tail() {
    let mut world = World::new(Flush::Async);
    world.fill(0..3000);
    world.node.kill();
    world.forget_from(4096);
    let elsewhere = TempDir::new().expect("a folder");
    let neighbour = vec![("tailPath", world.tails.path().display().to_string())];
    for (name, is_copied) in [("renamed", false), ("copied", true)] {
        let (from, to) = (world.node.store_dir(), elsewhere.path().join(name));
        if is_copied {
            copy_folder(&from, &to).and_then(|()| fs::remove_dir_all(&from)).expect("copied");
        } else {
            fs::rename(&from, &to).expect("one file system");
        }
        let mut other = Node::start(&NodeOptions { more: neighbour.clone(), ..NodeOptions::default() });
        let said = other.process().log_text();
        assert!(said.contains("tails of stores that are not where they were"), "{said}");
        assert!(other.stop(Duration::from_secs(20)).success());
        world.node.options_mut().store_dir = Some(to);
        world.node.restart();
        world.assert_serves(0..3000);
        world.node.kill();
        world.forget_from(4096);
    }
}

/// What was acknowledged and is nowhere else is not written over because it looks strange.
#[test]
fn a_tail_that_is_not_as_it_was_left_is_refused_and_stays() {
    let mut world = World::new(Flush::Async);
    world.fill(0..3000);
    world.node.kill();
    world.forget_from(4096);
    let path = world.tail();
    let whole = fs::read(&path).expect("readable");
    let cut = |bytes: usize| whole[..bytes].to_vec();
    let mut of_none = whole.clone();
    of_none[0] ^= 1;
    let mut of_another_shard = whole.clone();
    of_another_shard[8] ^= 1;
    for (name, spoiled) in [
        ("cut off", cut(whole.len() - 4096)),
        ("emptied", Vec::new()),
        ("of no tail", of_none),
        ("of another shard", of_another_shard),
    ] {
        fs::write(&path, &spoiled).expect("the file is ours");
        let refusal = world.refusal();
        assert!(refusal.contains("should have the messages that the last run acknowledged"), "{name}: {refusal}");
        let (is_sound, said) = world.store(&["check"]);
        assert!(!is_sound && said.contains("should have the messages"), "{name}: {said}");
        assert!(fs::read(&path).expect("it is there") == spoiled, "{name}: it was changed");
    }
    fs::write(&path, &whole).expect("the file is ours");
    world.node.restart();
    world.assert_serves(0..3000);
}

#[test]
fn a_tail_is_taken_along_to_another_folder() {
    let mut world = World::new(Flush::Async);
    world.fill(0..3000);
    world.node.kill();
    world.forget_from(4096);
    let before = std::mem::replace(&mut world.tails, TailFolder::create());
    let setting = world.tails.setting();
    let more = &mut world.node.options_mut().more;
    more.retain(|(key, _)| *key != setting.0);
    more.push(setting);
    for _ in 0..2 {
        world.node.restart();
        world.assert_serves(0..3000);
        assert_eq!(fs::read_dir(before.path()).expect("a folder").count(), 0, "it is in one place");
        let said = world.node.process().log_text();
        assert!(!said.contains("ERROR"), "nothing is lost: {said}");
        world.node.kill();
    }
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

#[test]
fn a_file_of_changes_that_is_gone_is_missed_wherever_it_was() {
    let mut world = World::new(Flush::Async);
    world.client().create_topic("t0", 4).expect("a topic");
    world.node.kill();
    // Each start goes on in a file of its own.
    world.node.restart();
    world.client().create_topic("t1", 4).expect("a topic");
    world.node.kill();
    world.node.restart();
    world.client().create_topic("t2", 4).expect("a topic");
    world.node.kill();
    let config = world.shard().join("config");
    let entries = fs::read_dir(&config).expect("a folder").flatten().map(|entry| entry.path());
    let mut changes: Vec<PathBuf> = entries.filter(|path| path.to_string_lossy().contains("/changes-")).collect();
    changes.sort();
    assert!(changes.len() >= 3, "{changes:?}");
    let aside = TempDir::new().expect("a folder");
    for path in &changes {
        let kept = aside.path().join("kept");
        fs::copy(path, &kept).expect("copied");
        fs::remove_file(path).expect("by hand");
        let refusal = world.refusal();
        let name = path.file_name().expect("it has a name").to_string_lossy();
        assert!(refusal.contains(&format!("config/{name} is missing, and with it what had changed")), "{refusal}");
        fs::copy(&kept, path).expect("copied back");
    }
    fs::remove_file(config.join("changes")).expect("by hand");
    let refusal = world.refusal();
    assert!(refusal.contains("config/changes is missing"), "{refusal}");
    fs::write(config.join("changes"), "").expect("by hand");
    // To begin without what one said is an operator's to decide.
    fs::write(&changes[1], "").expect("by hand");
    world.node.restart();
    let mut client = world.client();
    for (topic, is_there) in [("t0", true), ("t1", false), ("t2", true)] {
        let stats = client.call(Frame::request(202).ext("topic", topic)).expect("answered");
        assert_eq!(stats.code == 0, is_there, "{topic}: {stats:?}");
    }
}

/// Numbers and contents of the files of changes.
fn changes_of(config: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let paths = fs::read_dir(config).expect("a folder").flatten().map(|entry| entry.path());
    let mut paths: Vec<PathBuf> = paths.filter(|path| path.to_string_lossy().contains("/changes-")).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), fs::read(&path).expect("readable"))).collect()
}

/// What was answered is on the disk. Wherever a file that says it ends too early, newest or not, a start says so, and takes it only when it is told to.
#[test]
fn a_file_of_changes_that_has_lost_its_end_is_refused_by_name() {
    let mut world = World::new(Flush::Async);
    world.client().create_topic("t0", 4).expect("a topic");
    world.client().create_topic("t1", 4).expect("a topic");
    world.node.kill();
    // Each start goes on in a file of its own.
    world.node.restart();
    world.client().create_topic("t2", 4).expect("a topic");
    world.client().create_topic("t3", 4).expect("a topic");
    world.node.kill();
    let config = world.shard().join("config");
    let files = changes_of(&config);
    assert!(files.len() >= 2, "{files:?}");
    for (path, whole) in &files {
        let name = path.file_name().expect("it has a name").to_string_lossy();
        let last_line = whole[..whole.len() - 1].iter().rposition(|byte| *byte == b'\n').expect("several lines") + 1;
        for end in [whole.len() - 1, whole.len() - 7, last_line, 0] {
            fs::write(path, &whole[..end]).expect("by hand");
            let (is_sound, said) = world.store(&["check"]);
            let expected =
                format!("config/{name}: it ends at byte {end}, and {} bytes of it were flushed", whole.len());
            assert!(!is_sound && said.contains(&expected), "{said}");
            let refusal = world.refusal();
            assert!(refusal.contains(&expected) && refusal.contains("restore it from a backup"), "{refusal}");
        }
        // A line that nobody was told of may be torn; one that was promised may not, and no later one says so.
        let mut damaged = whole.clone();
        damaged[last_line + 3] ^= 1;
        fs::write(path, &damaged).expect("by hand");
        let refusal = world.refusal();
        assert!(refusal.contains(&format!("config/{name}: the line at byte {last_line} is damaged")), "{refusal}");
        fs::write(path, [&whole[..], b"12345678 {\"top"].concat()).expect("by hand");
    }
    world.node.restart();
    let said = world.node.process().log_tail();
    assert!(said.contains("the end of a file of changes is left out"), "{said}");
    for topic in ["t0", "t1", "t2", "t3"] {
        assert!(has_topic(&mut world.client(), topic), "{topic}");
    }
    world.node.kill();
    let files = changes_of(&config);
    let (newest, whole) = files.last().expect("there are some");
    fs::write(newest, &whole[..whole.len() / 2]).expect("by hand");
    assert!(world.refusal().contains("make the file `changes` beside it empty"));
    fs::write(config.join("changes"), "").expect("an operator goes on with what is left");
    world.node.restart();
    assert!(has_topic(&mut world.client(), "t0"));
    let said = world.node.process().log_tail();
    assert!(said.contains("they are taken as they are"), "{said}");
}

/// Whether a broker has a topic, by what it says of its queues (202).
fn has_topic(client: &mut Client, topic: &str) -> bool {
    client.call(Frame::request(202).ext("topic", topic)).expect("answered").code == 0
}

/// A node is killed while its tables' own files are written anew, and when the changes that they hold are gone; then one of these comes back, as names
/// do on a disk that forgets. Nothing of it is taken over what is newer.
#[test]
fn what_is_left_of_a_snapshot_does_no_harm() {
    let mut world = World::new(Flush::Async);
    let mut client = world.client();
    client.create_topic("gone", 1).expect("a topic");
    let config = world.shard().join("config");
    let old = config.join("changes-1");
    let before = fs::read(&old).expect("it was answered");
    client.expect_success("a removal", Frame::request(215).ext("topic", "gone")).expect("answered");
    // A topic that is removed and made again while changes are written is what was said last.
    let making = |queues: u32| {
        Frame::request(17)
            .ext("topic", "again")
            .ext("readQueueNums", queues)
            .ext("writeQueueNums", queues)
            .ext("perm", 6)
            .ext("topicFilterType", "SINGLE_TAG")
            .ext("topicSysFlag", 0)
            .ext("order", false)
            .ext("defaultTopic", "TBW102")
    };
    let requests = [making(3), Frame::request(215).ext("topic", "again"), making(5)];
    let asked: Vec<i32> = requests.into_iter().map(|request| client.start(request).expect("sent")).collect();
    for opaque in asked {
        assert_eq!(client.finish(opaque).expect("answered").code, 0);
    }
    let mut made = 0;
    let mut make = |client: &mut Client| {
        client.create_topic(&format!("t{made}"), 1).expect("a topic");
        made += 1;
    };
    let is_begun = |config: &Path| config.join("topics.json.new").exists() || !config.join("changes-1").exists();
    while !is_begun(&config) {
        make(&mut client);
    }
    world.node.kill();
    world.node.restart();
    let mut client = world.client();
    wait_for("the changes of before to go", || {
        make(&mut client);
        (!old.exists()).then_some(())
    });
    world.node.kill();
    fs::write(&old, before).expect("it comes back");
    world.node.restart();
    let mut client = world.client();
    assert!(!has_topic(&mut client, "gone"), "its removal is newer");
    for number in 0..made {
        assert!(has_topic(&mut client, &format!("t{number}")), "topic {number} of {made}");
    }
    let stats = client.expect_success("queues", Frame::request(202).ext("topic", "again")).expect("answered");
    assert_eq!(String::from_utf8_lossy(&stats.body).matches("queueId").count(), 5);
}

/// An older version has not noted which files of changes there are.
#[test]
fn a_store_that_does_not_say_which_changes_there_are_is_opened() {
    let mut world = World::new(Flush::Async);
    world.client().create_topic("t", 3).expect("a topic");
    world.node.kill();
    let config = world.shard().join("config");
    for name in ["changes", "changes.bak"] {
        drop(fs::remove_file(config.join(name)));
    }
    let run = world.shard().join("run");
    let text = fs::read_to_string(&run).expect("text");
    let lines = text.lines().filter(|line| !line.starts_with("crc32 ") && !line.is_empty());
    let older: Vec<String> = lines.map(|line| line.replace(",changes", "")).collect();
    fs::write(&run, older.join("\n") + "\n").expect("written");
    world.node.restart();
    assert!(has_topic(&mut world.client(), "t"));
    assert!(config.join("changes").exists(), "from now on it is noted");
}
