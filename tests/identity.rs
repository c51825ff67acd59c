//! A replica keeps what it has acknowledged, whoever presents himself as its master.
//!
//! Two nodes of the built binary under one name server, and masters that are not what they were: wiped, restored from a backup, of another group,
//! or strangers that were registered in the true one's place. What both have acknowledged is asked of the slave afterwards, message by message.
//!
//! What it cannot show: every order of events; the simulator's replica world does (`tests/sim.rs`).
#![allow(clippy::disallowed_methods, reason = "a test has clocks, files, threads and sockets")]

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use harness::{Client, Frame, NameServer, Node, NodeOptions, Pair, PairOptions, say, wait_for};
use serde_json::Value;

const TOPIC: &str = "precious";
const GROUP: &str = "readers";
const MESSAGES: u32 = 500;

/// A message of a length that its number tells.
fn body(number: u32) -> Vec<u8> {
    format!("{number:06}").into_bytes().repeat(1 + usize::try_from(number % 7).expect("small"))
}

/// A pair in which the slave has all that was acknowledged, and its master's tables.
fn pair_with_messages(options: &PairOptions) -> Pair {
    let pair = Pair::start(options);
    pair.wait_in_sync();
    let mut producer = pair.to_master();
    producer.create_topic(TOPIC, 1).expect("it answers");
    for number in 0..MESSAGES {
        assert_eq!(producer.send(TOPIC, 0, &body(number)).expect("it answers").code, 0, "message {number}");
    }
    assert_eq!(producer.heartbeat("C", GROUP, TOPIC).expect("it answers").code, 0);
    producer.commit_offset(GROUP, TOPIC, 0, 123).expect("it answers");
    wait_for("tables at the slave", || has_tables(&mut pair.to_slave()).ok()?.then_some(()));
    pair
}

/// Whether a slave has its master's topic and group, and the group's offset.
fn has_tables(slave: &mut Client) -> io::Result<bool> {
    Ok(slave.max_offset(TOPIC, 0)? > 0 && slave.consumer_offset(GROUP, TOPIC, 0)? == Some(123))
}

/// The slave serves every message that was acknowledged.
#[track_caller]
fn assert_slave_has_all(pair: &Pair) {
    let records = pair.to_slave().read_queue(TOPIC, 0, 0).expect("it answers");
    let log = pair.slave.process().log_tail();
    assert!(records.len() >= usize::try_from(MESSAGES).expect("small"), "{} are left\n{log}", records.len());
    for (number, record) in (0..MESSAGES).zip(&records) {
        assert_eq!(record.body, body(number), "message {number}\n{log}");
    }
}

fn refusal_of_slave(pair: &Pair) -> Option<String> {
    let status = pair.to_slave().ha_status().ok()?;
    Some(status["haClientRuntimeInfo"]["refusal"].as_str()?.to_owned())
}

/// What the slave says of its master, once it says something with these words.
#[track_caller]
fn wait_slave_refuses(pair: &Pair, words: &str) -> String {
    wait_for("slave that refuses its master", || refusal_of_slave(pair).filter(|why| why.contains(words)))
}

/// What the master says of its slave, once it does.
#[track_caller]
fn wait_master_refuses(master: &mut Client) -> String {
    wait_for("master that names the slave", || {
        let status: Value = master.ha_status().ok()?;
        Some(status["refusedSlaves"][0]["why"].as_str()?.to_owned())
    })
}

#[test]
fn a_wiped_master_leaves_its_slaves_log_alone() {
    let mut options = PairOptions::small(true);
    options.both.environment.push(("RUST_LOG", "info,ringmq::broker::replica=debug".to_owned()));
    let mut pair = pair_with_messages(&options);
    assert!(pair.master.stop(Duration::from_secs(20)).success());
    fs::remove_dir_all(pair.master.store_dir()).expect("the store is the master's");
    pair.master.restart();
    let why = wait_slave_refuses(&pair, "is not this one");
    assert!(why.contains("nothing is cut"), "{why}");
    let why = wait_master_refuses(&mut pair.to_master());
    assert!(why.contains("brokerId 1"), "{why}");
    assert_slave_has_all(&pair);
    assert!(has_tables(&mut pair.to_slave()).expect("it answers"), "the tables are still the old master's");
    // It is tried again and again, and said once.
    let said = |text: &str, words: &str| text.matches(words).count();
    wait_for("further tries", || {
        (said(&pair.slave.process().log_text(), "connected to the master") >= 4).then_some(())
    });
    assert_eq!(said(&pair.slave.process().log_text(), "the master is left"), 1);
    assert_eq!(
        said(&pair.slave.process().log_text(), "the connection to the master is gone"),
        1,
        "when it was stopped"
    );
    assert_eq!(said(&pair.master.process().log_text(), "has the log"), 1);
    assert_slave_has_all(&pair);
}

/// Makes the epochs of a store that does not run as they were before logs had names: nothing in them tells two logs apart.
fn forget_names(store: &Path) {
    fs::write(store.join("shard-0/config/epochs"), "1 0\n").expect("it is writable");
}

/// What the file of the epochs says, line by line.
fn epochs_of(store: &Path) -> Vec<String> {
    let text = fs::read_to_string(store.join("shard-0/config/epochs")).expect("it is there");
    text.lines().map(str::to_owned).collect()
}

/// Both were made by a ringmq that knew no names, and have begun alike.
#[test]
fn logs_without_names_are_one_if_their_bytes_are() {
    let mut pair = pair_with_messages(&PairOptions::small(true));
    let mut stranger = Node::start(&NodeOptions { broker_name: "broker-b", ..other_master(&pair) });
    // The same lengths, so the same borders, and some more.
    let mut producer = Client::connect(&stranger.broker(0)).expect("it listens");
    producer.create_topic(TOPIC, 1).expect("it answers");
    for number in 0..MESSAGES + 10 {
        assert_eq!(producer.send(TOPIC, 0, &body(number)).expect("it answers").code, 0);
    }
    assert!(stranger.stop(Duration::from_secs(20)).success());
    for node in [&mut pair.slave, &mut pair.master] {
        assert!(node.stop(Duration::from_secs(20)).success());
    }
    for node in [&stranger, &pair.slave, &pair.master] {
        forget_names(&node.store_dir());
    }
    stranger.restart();
    pair.slave.options_mut().more.push(("haMasterAddress", stranger.replication_port(0)));
    pair.slave.restart();
    wait_slave_refuses(&pair, "its bytes at");
    wait_master_refuses(&mut Client::connect(&stranger.broker(0)).expect("it listens"));
    assert_slave_has_all(&pair);
    let records = pair.to_slave().read_queue(TOPIC, 0, 0).expect("it answers");
    assert_eq!(records.len(), usize::try_from(MESSAGES).expect("small"), "nothing was added");
    assert!(epochs_of(&pair.slave.store_dir()).iter().all(|line| !line.starts_with("log ") || line == "log unknown"));
    // Its own master has the same bytes, and gives it its name.
    pair.slave.kill();
    pair.slave.options_mut().more.retain(|(key, _)| *key != "haMasterAddress");
    pair.master.restart();
    pair.slave.restart();
    wait_both_acknowledge(&pair);
    assert_slave_has_all(&pair);
    let (master, slave) = (epochs_of(&pair.master.store_dir()), epochs_of(&pair.slave.store_dir()));
    assert_eq!(master.first(), slave.first());
    assert_ne!(slave.first().map(String::as_str), Some("log unknown"));
}

/// Where it found its master is kept: whoever is registered in its place meanwhile is tried, named, and not followed.
#[test]
fn a_slave_remembers_whom_it_followed() {
    let mut pair = pair_with_messages(&PairOptions::small(true));
    let followed = format!("followed {}", pair.master.replication_port(0));
    wait_for("slave that has noted its master", || {
        epochs_of(&pair.slave.store_dir()).contains(&followed).then_some(())
    });
    pair.slave.kill();
    let stranger = Node::start(&NodeOptions { broker_name: "broker-b", ..other_master(&pair) });
    send_some(&stranger, 50);
    pair.slave.options_mut().more.push(("haMasterAddress", stranger.replication_port(0)));
    pair.slave.restart();
    wait_both_acknowledge(&pair);
    let text = pair.slave.process().log_text();
    assert!(text.contains("another is named as the master than the one that was followed last"), "{text}");
    assert_slave_has_all(&pair);
}

/// What a wiped master takes may end just where the slave's log has a message's border, and go on from there.
#[test]
fn a_wiped_masters_new_log_is_not_spliced_to_the_old_one() {
    let mut pair = pair_with_messages(&PairOptions::small(true));
    assert!(pair.master.stop(Duration::from_secs(20)).success());
    fs::remove_dir_all(pair.master.store_dir()).expect("the store is the master's");
    pair.slave.kill();
    pair.master.restart();
    let mut producer = pair.to_master();
    producer.create_topic(TOPIC, 1).expect("it answers");
    // The same messages again and some more: the same lengths, so the same borders.
    for number in 0..MESSAGES + 10 {
        producer.send_with(TOPIC, 0, &body(number), &[("WAIT", "false")]).expect("it answers");
    }
    pair.slave.restart();
    wait_slave_refuses(&pair, "is not this one");
    wait_master_refuses(&mut pair.to_master());
    let records = pair.to_slave().read_queue(TOPIC, 0, 0).expect("it answers");
    assert_eq!(records.len(), usize::try_from(MESSAGES).expect("small"), "nothing was added");
    let receipt = pair.to_master().send(TOPIC, 0, b"waits for the slave").expect("it answers");
    assert_ne!(receipt.code, 0, "the slave does not have it");
}

/// Copies a folder with all that is in it.
fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("it is there").flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("it is readable");
        }
    }
}

/// The same log, with less of it than both have acknowledged.
#[test]
fn a_master_restored_from_a_backup_takes_nothing_from_its_slave() {
    let options = PairOptions::small(true);
    let name_server = NameServer::start(&[]);
    let master = Node::start(&Pair::master_options(&options, &name_server));
    let slave = Node::start(&Pair::slave_options(&options, &name_server));
    let mut pair = Pair { name_server, master, slave };
    pair.wait_in_sync();
    let backup = tempfile::TempDir::with_prefix("ringmq-backup-").expect("a folder");
    for number in 0..MESSAGES {
        if number == MESSAGES / 2 {
            assert!(pair.master.stop(Duration::from_secs(20)).success());
            copy_folder(&pair.master.store_dir(), backup.path());
            pair.master.restart();
            pair.wait_in_sync();
        }
        let receipt = pair.to_master().send(TOPIC, 0, &body(number)).expect("it answers");
        assert_eq!(receipt.code, 0, "message {number}");
    }
    pair.master.kill();
    fs::remove_dir_all(pair.master.store_dir()).expect("the store is the master's");
    copy_folder(backup.path(), &pair.master.store_dir());
    pair.master.restart();
    let why = wait_slave_refuses(&pair, "the master has lost what both had");
    assert!(why.contains("nothing is cut"), "{why}");
    let why = wait_master_refuses(&mut pair.to_master());
    assert!(why.contains("was confirmed to the slave"), "{why}");
    assert_slave_has_all(&pair);
    // And so it stays when the slave has been away itself.
    pair.slave.kill();
    pair.slave.restart();
    wait_slave_refuses(&pair, "the master has lost what both had");
    assert_slave_has_all(&pair);
}

#[test]
fn a_slave_of_another_group_keeps_what_it_has() {
    let mut pair = pair_with_messages(&PairOptions::small(true));
    let stranger = Node::start(&NodeOptions { broker_name: "broker-b", ..other_master(&pair) });
    send_some(&stranger, 700);
    pair.slave.kill();
    pair.slave.options_mut().more.push(("haMasterAddress", stranger.replication_port(0)));
    pair.slave.restart();
    wait_slave_refuses(&pair, "is not this one");
    wait_master_refuses(&mut Client::connect(&stranger.broker(0)).expect("it listens"));
    assert_slave_has_all(&pair);
}

/// A master of the pair's name server, of another store.
fn other_master(pair: &Pair) -> NodeOptions {
    let mut options = Pair::master_options(&PairOptions::small(false), &pair.name_server);
    options.store_dir = None;
    options
}

fn send_some(node: &Node, count: u32) {
    let mut producer = Client::connect(&node.broker(0)).expect("it listens");
    producer.create_topic(TOPIC, 1).expect("it answers");
    for number in 0..count {
        assert_eq!(producer.send(TOPIC, 0, &body(number * 3)).expect("it answers").code, 0);
    }
}

/// Sends are acknowledged by both again: the slave has gone back to its master.
#[track_caller]
fn wait_both_acknowledge(pair: &Pair) {
    wait_for("slave that goes back to its master", || {
        let receipt = pair.to_master().send(TOPIC, 0, b"of both").ok()?;
        (receipt.code == 0).then_some(())
    });
}

#[test]
fn a_second_master_of_the_same_name_does_not_get_the_slave() {
    let mut options = PairOptions::small(true);
    // It asks for its master more often than the two masters register: each of them is there at some time.
    options.slave.push(("registerNameServerPeriod", "10000".to_owned()));
    options.master.push(("registerNameServerPeriod", "20000".to_owned()));
    let pair = pair_with_messages(&options);
    // As empty as it is it would wait for the slave, which has more, and store nothing.
    let mut second = other_master(&pair);
    second.more.push(("haMasterBehindSlave", "GO_ON".to_owned()));
    second.more.push(("haMaxTimeWaitInSyncSlaves", "0".to_owned()));
    let second = Node::start(&second);
    send_some(&second, 50);
    // It was registered last, so the slave is sent to it.
    wait_for("slave that was sent to the second", || {
        pair.slave.process().log_text().contains("is not this one").then_some(())
    });
    wait_both_acknowledge(&pair);
    assert_slave_has_all(&pair);
    assert!(has_tables(&mut pair.to_slave()).expect("it answers"), "no stranger's tables");
    let claimed = |text: String, words: &str| text.contains(words).then_some(());
    let words = "another address has registered as this broker";
    wait_for("second master that hears of the first", || claimed(second.process().log_text(), words));
    wait_for("master that hears of the second", || claimed(pair.master.process().log_text(), words));
    let words = "another address claims the place of a living broker";
    wait_for("name server that says so", || claimed(pair.name_server.process().log_text(), words));
}

#[test]
fn a_forged_registration_costs_nothing() {
    let pair = pair_with_messages(&PairOptions::small(true));
    let stranger = Node::start(&NodeOptions { broker_name: "broker-b", ..other_master(&pair) });
    send_some(&stranger, 50);
    let mut forger = Client::connect(&pair.name_server.address()).expect("it listens");
    let forged = Frame::request(103)
        .ext("brokerName", "broker-a")
        .ext("brokerAddr", stranger.broker(0))
        .ext("clusterName", "DefaultCluster")
        .ext("haServerAddr", stranger.replication_port(0))
        .ext("brokerId", 0)
        .body(br#"{"topicConfigSerializeWrapper":{"topicConfigTable":{},"dataVersion":{"counter":9,"stateVersion":9,"timestamp":9999999999999}},"filterServerList":[]}"#.to_vec());
    assert_eq!(forger.call(forged).expect("it answers").code, 0);
    wait_for("slave that was sent to the stranger", || {
        pair.slave.process().log_text().contains("is not this one").then_some(())
    });
    wait_both_acknowledge(&pair);
    assert_slave_has_all(&pair);
    assert!(has_tables(&mut pair.to_slave()).expect("it answers"), "no stranger's tables");
}

/// A request of `ringmq-admin replica give-up`.
const DECIDE_REPLICA: i32 = 720_001;

#[test]
fn an_operator_lets_a_slave_give_up_what_is_then_moved_aside() {
    let mut pair = pair_with_messages(&PairOptions::small(true));
    assert!(pair.master.stop(Duration::from_secs(20)).success());
    fs::remove_dir_all(pair.master.store_dir()).expect("the store is the master's");
    pair.master.restart();
    wait_slave_refuses(&pair, "is not this one");
    let preview = pair.to_slave().call(Frame::request(DECIDE_REPLICA)).expect("it answers");
    assert_eq!(preview.code, 0, "{:?}", preview.remark);
    let (from, to) = (preview.ext_number("from").expect("a number"), preview.ext_number("to").expect("a number"));
    assert!(from == 0 && to > 0, "{from} to {to}");
    assert_slave_has_all(&pair);
    let decide = |to: i64| Frame::request(DECIDE_REPLICA).ext("from", from).ext("to", to);
    let other = pair.to_slave().call(decide(to + 1)).expect("it answers");
    assert_ne!(other.code, 0, "that is not what was previewed");
    assert_eq!(pair.to_slave().call(decide(to)).expect("it answers").code, 0);
    wait_both_acknowledge(&pair);
    let aside = pair.slave.store_dir().join("shard-0/aside");
    let folders: Vec<_> = fs::read_dir(&aside).expect("what was cut is there").flatten().collect();
    assert_eq!(folders.len(), 1, "{folders:?}");
    let kept = fs::read(folders[0].path().join("commitlog/00000000000000000000")).expect("its first segment");
    let last = body(MESSAGES - 1);
    assert!(kept.windows(last.len()).any(|bytes| bytes == last), "the last message is kept");
    let nothing = pair.to_slave().call(Frame::request(DECIDE_REPLICA)).expect("it answers");
    assert_ne!(nothing.code, 0, "there is nothing to decide any more");
}

/// `ringmq-admin`, if it was built beside the node.
fn admin() -> Option<PathBuf> {
    let admin = PathBuf::from(env!("CARGO_BIN_EXE_ringmq")).with_file_name("ringmq-admin");
    if !admin.is_file() {
        say("SKIPPED: ringmq-admin is not built; `cargo build -p ringmq-tools` does");
        return None;
    }
    Some(admin)
}

/// `ringmq-admin replica take-back` of the pair's master: whether it ended well, and what it said.
fn take_back(admin: &Path, pair: &Pair, more: &[&str]) -> (bool, String) {
    take_back_from(admin, pair, &pair.slave.broker(0), more)
}

fn take_back_from(admin: &Path, pair: &Pair, from: &str, more: &[&str]) -> (bool, String) {
    let mut command = Command::new(admin);
    command.args(["-n", &pair.name_server.address(), "replica", "take-back", "-b", &pair.master.broker(0)]);
    command.args(["--from", from]).args(more);
    let output = command.output().expect("it starts");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

/// The master has every message and the tables, and both take what is sent.
#[track_caller]
fn assert_master_has_all(pair: &Pair) {
    wait_both_acknowledge(pair);
    let records = pair.to_master().read_queue(TOPIC, 0, 0).expect("it answers");
    for (number, record) in (0..MESSAGES).zip(&records) {
        assert_eq!(record.body, body(number), "message {number}");
    }
    assert!(records.len() > usize::try_from(MESSAGES).expect("small"), "{}", records.len());
    assert!(has_tables(&mut pair.to_master()).expect("it answers"));
    assert_slave_has_all(pair);
}

/// A pair whose master was wiped and refuses sends.
fn pair_with_a_wiped_master() -> Pair {
    let mut pair = pair_with_messages(&PairOptions::small(true));
    assert!(pair.master.stop(Duration::from_secs(20)).success());
    fs::remove_dir_all(pair.master.store_dir()).expect("the store is the master's");
    pair.master.restart();
    wait_master_refuses(&mut pair.to_master());
    let mut producer = pair.to_master();
    let sent = producer.create_topic(TOPIC, 1).and_then(|_| producer.send(TOPIC, 0, b"too early"));
    assert!(sent.is_err(), "{sent:?}: what it stores parts it from its slave");
    pair
}

#[test]
fn a_wiped_master_is_rebuilt_from_its_slave_by_one_command() {
    let Some(admin) = admin() else { return };
    let pair = pair_with_a_wiped_master();
    let wait_permission = |expected: i64| {
        wait_for("its permission in routes", || {
            let route = Client::connect(&pair.name_server.address()).ok()?.route("BenchmarkTest").ok()??;
            (route["queueDatas"][0]["perm"].as_i64() == Some(expected)).then_some(())
        });
    };
    wait_permission(4);
    let (is_ok, said) = take_back_from(&admin, &pair, &pair.master.broker(0), &["--yes"]);
    assert!(!is_ok && said.contains("are one broker"), "{said}");
    let (is_ok, said) = take_back(&admin, &pair, &["--dry-run"]);
    assert!(is_ok && said.contains("--yes does it"), "{said}");
    assert!(
        pair.to_master().ha_status().expect("it answers")["refusedSlaves"][0]["why"].is_string(),
        "nothing is done yet"
    );
    let (is_ok, said) = take_back(&admin, &pair, &["--yes"]);
    assert!(is_ok && said.contains("is its master again"), "{said}");
    assert_master_has_all(&pair);
    wait_permission(6);
    let (is_ok, said) = take_back(&admin, &pair, &["--yes"]);
    assert!(!is_ok && said.contains("is a master that takes messages"), "{said}");
}

/// The slave that has what its master has lost goes as well, and the master is started again: nobody is there to say it, and it is not forgotten.
#[test]
fn a_master_that_holds_back_is_no_other_after_a_start_without_its_slave() {
    let mut options = PairOptions::small(true);
    // Nobody is waited for: what is refused is refused for what the master knows itself.
    options.master.push(("haMaxTimeWaitInSyncSlaves", "0".to_owned()));
    let mut pair = pair_with_messages(&options);
    assert!(pair.master.stop(Duration::from_secs(20)).success());
    fs::remove_dir_all(pair.master.store_dir()).expect("the store is the master's");
    pair.master.restart();
    wait_master_refuses(&mut pair.to_master());
    let ahead = "ahead 1".to_owned();
    wait_for("note in the store", || epochs_of(&pair.master.store_dir()).contains(&ahead).then_some(()));
    pair.slave.kill();
    let send = |pair: &Pair| {
        let mut producer = pair.to_master();
        let receipt = producer.create_topic(TOPIC, 1).and_then(|_| producer.send(TOPIC, 0, b"too early"));
        receipt.is_ok_and(|receipt| receipt.code == 0 || receipt.code == 11)
    };
    for _ in 0..2 {
        pair.master.kill();
        pair.master.restart();
        for _ in 0..20 {
            assert!(!send(&pair), "what it stores parts it from its slave");
            std::thread::sleep(Duration::from_millis(50));
        }
        let said = "sends are refused: replicas have what this master has not";
        wait_for("word of it", || pair.master.process().log_text().contains(said).then_some(()));
        let status: Value = pair.to_master().ha_status().expect("it answers");
        assert_eq!(status["aheadBrokerIds"], "1", "{status}");
    }
    if let Some(admin) = admin() {
        let output = Command::new(admin).args(["-n", &pair.name_server.address(), "cluster", "list"]).output();
        let said = String::from_utf8_lossy(&output.expect("it starts").stdout).into_owned();
        assert!(said.contains("takes no messages until it is decided what becomes of what brokerId 1 has"), "{said}");
    }
    // An operator goes on without what the slave has.
    let goes_on = Frame::request(25).body(b"haMasterBehindSlave=GO_ON\n".to_vec());
    pair.to_master().expect_success("the setting", goes_on).expect("it answers");
    wait_for("master that goes on", || send(&pair).then_some(()));
    wait_for("decision in the store", || (!epochs_of(&pair.master.store_dir()).contains(&ahead)).then_some(()));
}

/// What `ringmq-admin cluster list` says of a broker with this number.
fn listed(admin: &Path, pair: &Pair, id: &str) -> Value {
    let output = Command::new(admin).args(["-n", &pair.name_server.address(), "--json", "cluster", "list"]).output();
    let rows: Value = serde_json::from_slice(&output.expect("it starts").stdout).expect("JSON");
    let is_it = |row: &&Value| row["id"].to_string().trim_matches('"') == id;
    rows.as_array().and_then(|rows| rows.iter().find(is_it)).unwrap_or_else(|| panic!("{rows}")).clone()
}

#[test]
fn a_slave_that_does_not_follow_is_not_listed_as_one_that_lacks_nothing() {
    let Some(admin) = admin() else { return };
    let pair = pair_with_a_wiped_master();
    wait_slave_refuses(&pair, "is not this one");
    let row = listed(&admin, &pair, "1");
    assert_eq!(row.get("behind"), Some(&Value::Null), "{row}");
    assert!(row["replicas"].as_str().is_some_and(|text| text.contains("does not follow")), "{row}");
    let (is_ok, said) = take_back(&admin, &pair, &["--yes"]);
    assert!(is_ok, "{said}");
    wait_both_acknowledge(&pair);
    wait_for("slave that lacks nothing", || (listed(&admin, &pair, "1")["behind"] == 0).then_some(()));
    let ahead = |line: &String| line.starts_with("ahead");
    assert!(!epochs_of(&pair.master.store_dir()).iter().any(ahead), "its data is back");
}

/// A request of `ringmq-admin replica take-back`.
const ORDER_ROLE: i32 = 720_002;

/// The master ends while it is its slave's slave. By its configuration it would be a master at its next start, with whatever it has by then.
#[test]
fn a_copy_that_is_broken_off_takes_no_messages_and_goes_on() {
    let Some(admin) = admin() else { return };
    let mut pair = pair_with_a_wiped_master();
    let order = |address: &str, role: &str, id: i32| {
        let order = Frame::request(ORDER_ROLE).ext("brokerRole", role).ext("brokerId", id).ext("epoch", 50);
        let answer = Client::connect(address).expect("it listens").call(order).expect("it answers");
        assert_eq!(answer.code, 0, "{:?}", answer.remark);
    };
    order(&pair.master.broker(0), "SLAVE", 2);
    wait_for("master that is a slave", || {
        let status: Value = Client::connect(&pair.master.broker(0)).ok()?.ha_status().ok()?;
        status["haClientRuntimeInfo"].is_object().then_some(())
    });
    order(&pair.slave.broker(0), "SYNC_MASTER", 1);
    // Its connections end with the life before.
    wait_for("slave that is the master", || {
        let status: Value = Client::connect(&pair.slave.broker(0)).ok()?.ha_status().ok()?;
        (status["master"] == true).then_some(())
    });
    pair.master.kill();
    pair.master.restart();
    wait_for("master that knows what it is", || {
        pair.master
            .process()
            .log_text()
            .contains("this shard ended as a slave, by an order or amid a copy")
            .then_some(())
    });
    let mut producer = pair.to_master();
    let sent = producer.create_topic("other", 1).and_then(|_| producer.send("other", 0, b"too early"));
    assert!(sent.is_err(), "{sent:?}");
    let (is_ok, said) = take_back(&admin, &pair, &["--yes"]);
    assert!(is_ok, "{said}");
    assert_master_has_all(&pair);
}
