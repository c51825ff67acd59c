//! What an operator can get wrong is refused at the start: one sentence on standard error that says what to do, an exit code
//! that is not 0, and no damage.
//!
//! Each case starts the binary as an operator would. "One sentence" is held as one line without a trace or a debug print, beside
//! lines of the log with their time in front; that it names the key, file or limit in question is held by the words each case
//! expects.
//!
//! What it cannot show: every mistake. Cases that need another user, Python or mounts are skipped with a line where those are
//! not to be had.
#![allow(clippy::disallowed_methods, reason = "a test has clocks, files, threads and sockets")]

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::io::Read as _;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use harness::{Client, Frame, Node, NodeOptions, code, say, small_log};
use ringmq_peers::PortBlock;
use tempfile::TempDir;

/// A refusal takes no longer than this, also on a busy machine.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(30);
/// The sentence may name a long path, but it is no essay.
const SENTENCE_LENGTH_MAX: usize = 700;
const RINGMQ: &str = env!("CARGO_BIN_EXE_ringmq");

/// A configuration of two lines too many or wrong, its folder and its ports.
struct Operator {
    folder: TempDir,
    ports: PortBlock,
    name_server: PortBlock,
    lines: Vec<(String, String)>,
}

impl Operator {
    fn new() -> Self {
        let folder = TempDir::with_prefix("ringmq-operator-").expect("the temporary folder is writable");
        let (ports, name_server) = (PortBlock::reserve(2), PortBlock::reserve(1));
        let store = folder.path().join("store").display().to_string();
        let mut operator = Self { folder, ports, name_server, lines: Vec::new() };
        let (listen, names) = (operator.ports.listen().to_string(), operator.name_server.listen().to_string());
        for (key, value) in [
            ("brokerClusterName", "DefaultCluster"),
            ("brokerName", "broker-a"),
            ("brokerIP1", "127.0.0.1"),
            ("listenPort", &listen),
            ("namesrvListenPort", &names),
            ("storePathRootDir", &store),
            ("shards", "1"),
            ("flushDiskType", "ASYNC_FLUSH"),
        ] {
            operator.set(key, value);
        }
        operator
    }

    /// Sets a key, in its old place if it has one.
    fn set(&mut self, key: &str, value: &str) {
        match self.lines.iter_mut().find(|(known, _)| known == key) {
            Some((_, old)) => value.clone_into(old),
            None => self.lines.push((key.to_owned(), value.to_owned())),
        }
    }

    fn store(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    /// Writes the configuration.
    fn config(&self) -> PathBuf {
        let path = self.folder.path().join("ringmq.properties");
        let text: String = self.lines.iter().map(|(key, value)| format!("{key}={value}\n")).collect();
        fs::write(&path, text).expect("the temporary folder is writable");
        path
    }

    /// `ringmq all -c` with it.
    fn command(&self) -> Command {
        let mut command = Command::new(RINGMQ);
        command.arg("all").arg("-c").arg(self.config());
        command
    }
}

/// How a process ended.
struct End {
    status: ExitStatus,
    errors: String,
}

/// Runs `command` to its end; panics when it goes on running.
fn run(mut command: Command) -> End {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut pipe = child.stderr.take().expect("it is piped");
    let reader = thread::spawn(move || {
        let mut text = String::new();
        drop(pipe.read_to_string(&mut text));
        text
    });
    let deadline = Instant::now() + REFUSAL_TIMEOUT;
    let status = loop {
        if let Some(status) = child.try_wait().expect("it is our child") {
            break Some(status);
        }
        if Instant::now() >= deadline {
            child.kill().expect("it is our child");
            child.wait().expect("it is our child");
            break None;
        }
        thread::sleep(Duration::from_millis(10));
    };
    let errors = reader.join().expect("reading does not panic");
    let status = status.unwrap_or_else(|| panic!("{command:?} was not refused; it wrote:\n{errors}"));
    End { status, errors }
}

/// Expects one sentence with all of `words`, and a failure that the process chose itself.
fn refused(command: Command, words: &[&str]) {
    let what = format!("{command:?}");
    let End { status, errors } = run(command);
    let code = status.code();
    assert!(code.is_some_and(|code| code != 0 && code != 101), "{what}: {status}:\n{errors}");
    let is_log =
        |line: &str| line.get(10..11) == Some("T") && ["  INFO ", "  WARN "].iter().any(|level| line.contains(level));
    let lines: Vec<&str> = errors.lines().filter(|line| !line.trim().is_empty() && !is_log(line)).collect();
    let &[sentence] = lines.as_slice() else { panic!("{what}: not one sentence:\n{errors}") };
    for bad in ["panicked", "RUST_BACKTRACE", "Error {", "Os {", "\u{1b}["] {
        assert!(!errors.contains(bad), "{what}: {bad:?} is for programmers:\n{errors}");
    }
    assert!((20..SENTENCE_LENGTH_MAX).contains(&sentence.len()), "{what}: {} bytes: {sentence}", sentence.len());
    for word in words {
        assert!(sentence.contains(word), "{what}: the sentence does not name {word:?}: {sentence}");
    }
    say(sentence);
}

/// Settings that are changed, and words of the refusal.
type Case = (&'static [(&'static str, &'static str)], &'static [&'static str]);

#[test]
fn a_wrong_setting_is_refused_with_its_line() {
    let cases: &[Case] = &[
        // A slip of the finger, and a key that nobody knows.
        (&[("flushDiskTyp", "SYNC_FLUSH")], &["line 9", "flushDiskTyp", "flushDiskType?"]),
        (&[("brokername", "b")], &["line 9", "brokername", "brokerName?"]),
        (&[("makeItFast", "true")], &["line 9", "makeItFast"]),
        // Values.
        (&[("flushDiskType", "SOMETIMES")], &["line 8", "flushDiskType", "SOMETIMES", "SYNC_FLUSH"]),
        (&[("brokerRole", "KING")], &["line 9", "brokerRole", "KING", "ASYNC_MASTER"]),
        (&[("shards", "two")], &["line 7", "shards", "two"]),
        (&[("shards", "0")], &["line 7", "shards", "1"]),
        (&[("listenPort", "99999")], &["line 4", "listenPort", "99999"]),
        (&[("listenPort", "-1")], &["line 4", "listenPort", "-1"]),
        (&[("brokerIP1", "somewhere")], &["line 3", "brokerIP1", "somewhere"]),
        (&[("autoCreateTopicEnable", "yes")], &["line 9", "autoCreateTopicEnable", "true or false"]),
        (&[("tailSize", "32M")], &["line 9", "tailSize", "32M"]),
        (&[("brokerName", "")], &["line 2", "brokerName"]),
        // Contradictions.
        (&[("namesrvListenPort", "12345"), ("listenPort", "12345")], &["12345", "listenPort", "line"]),
        (&[("namesrvListenPort", "12343"), ("listenPort", "12345")], &["12343", "VIP", "line"]),
        (&[("portStride", "2"), ("shards", "2")], &["portStride", "line"]),
        (&[("listenPort", "65530"), ("shards", "2")], &["65530", "65535", "line"]),
        (&[("mappedFileSizeCommitLog", "2000000")], &["line 9", "mappedFileSizeCommitLog", "4096"]),
        (&[("mappedFileSizeCommitLog", "1048576")], &["line 9", "mappedFileSizeCommitLog", "maxMessageSize"]),
        (&[("tailSize", "8388608"), ("maxMessageSize", "8388608")], &["tailSize", "maxMessageSize", "line"]),
        (&[("brokerIP1", "0.0.0.0")], &["line 3", "brokerIP1"]),
        (&[("brokerIP1", "10.1.2.3"), ("bindAddress", "127.0.0.1")], &["10.1.2.3", "bindAddress", "line"]),
        (&[("storePathCommitLog", "/somewhere/else")], &["line 9", "storePathCommitLog", "storePathRootDir"]),
        // Promises that are not kept yet must not be made.
        (&[("aclEnable", "true")], &["line 9", "aclEnable"]),
        (&[("brokerId", "1")], &["line 9", "brokerId"]),
    ];
    for (changes, words) in cases {
        let mut operator = Operator::new();
        for (key, value) in *changes {
            operator.set(key, value);
        }
        refused(operator.command(), &[*words, &["ringmq.properties"]].concat());
        assert!(!operator.store().exists(), "{changes:?}: a refused configuration has made a store");
    }
    let mut operator = Operator::new();
    operator.lines.push(("listenPort".to_owned(), "1234".to_owned()));
    refused(operator.command(), &["line 9", "listenPort", "line 4"]);
}

#[test]
fn a_file_that_cannot_be_read_is_refused() {
    for subcommand in ["all", "broker", "namesrv"] {
        let operator = Operator::new();
        let with = |path: &Path| {
            let mut command = Command::new(RINGMQ);
            command.arg(subcommand).arg("-c").arg(path);
            command
        };
        refused(with(&operator.folder.path().join("absent.properties")), &["absent.properties"]);
        refused(with(operator.folder.path()), &[&operator.folder.path().display().to_string()]);
        let binary = operator.folder.path().join("binary.properties");
        fs::write(&binary, [0xFF, 0xFE, 0x00, 0x80]).expect("the temporary folder is writable");
        refused(with(&binary), &["binary.properties"]);
    }
}

#[test]
fn the_name_server_refuses_as_the_broker_does() {
    let operator = Operator::new();
    let path = operator.folder.path().join("namesrv.properties");
    for (text, words) in [
        ("listenPot=9876\n", ["line 1", "listenPot", "listenPort?"]),
        ("\nlistenPort=none\n", ["line 2", "listenPort", "none"]),
    ] {
        fs::write(&path, text).expect("the temporary folder is writable");
        let mut command = Command::new(RINGMQ);
        command.arg("namesrv").arg("-c").arg(&path);
        refused(command, &[words.as_slice(), &["namesrv.properties"]].concat());
    }
    let _taken = TcpListener::bind((Ipv4Addr::UNSPECIFIED, operator.name_server.listen())).expect("it is reserved");
    fs::write(&path, format!("listenPort={}\n", operator.name_server.listen())).expect("the folder is writable");
    let mut command = Command::new(RINGMQ);
    command.arg("namesrv").arg("-c").arg(&path);
    refused(command, &[&operator.name_server.listen().to_string()]);
}

#[test]
fn a_taken_port_is_refused() {
    let mut operator = Operator::new();
    operator.set("shards", "2");
    for (key, value) in small_node(Path::new(""), 2).more {
        operator.set(key, &value);
    }
    let first = operator.ports.listen();
    for port in [first, first - 2, first + 10, first + 8, operator.name_server.listen()] {
        // The kernel takes a moment to close the listeners of the attempt before.
        let taken = harness::wait_for("free port", || TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).ok());
        refused(operator.command(), &[&port.to_string()]);
        drop(taken);
    }
    // Nothing of these attempts is in the way of a good one.
    let (_, mut node) = store_with_messages(&operator.store(), 2, 3);
    assert!(node.stop(Duration::from_secs(20)).success());
}

/// Makes or opens a store of `shards` shards, and sends until `count` messages more are in it. The node is running.
fn store_with_messages(store: &Path, shards: u16, count: i64) -> (i64, Node) {
    let node = Node::start(&small_node(store, shards));
    let mut client = Client::connect(&node.broker(0)).expect("it listens");
    client.create_topic("kept", 1).expect("a topic");
    let begin = client.max_offset("kept", 0).expect("it answers");
    for _ in 0..count {
        client.send("kept", 0, &[5; 100 << 10]).expect("it is stored");
    }
    (begin + count, node)
}

fn small_node(store: &Path, shards: u16) -> NodeOptions {
    NodeOptions { shards, store_dir: Some(store.to_owned()), more: small_log(), ..NodeOptions::default() }
}

/// The store opens and has its messages.
fn opens_undamaged(store: &Path, shards: u16, count: i64) {
    let mut node = Node::start(&small_node(store, shards));
    let mut client = Client::connect(&node.broker(0)).expect("it listens");
    let records = client.read_queue("kept", 0, 0).expect("it answers");
    assert_eq!(i64::try_from(records.len()).ok(), Some(count));
    assert!(records.iter().all(|record| record.body == [5; 100 << 10]), "a body changed");
    node.stop(Duration::from_secs(20));
}

#[test]
fn a_store_of_another_kind_is_refused_and_left_alone() {
    let mut operator = Operator::new();
    for (key, value) in small_node(Path::new(""), 1).more {
        operator.set(key, &value);
    }
    let store = operator.store();
    let (count, mut node) = store_with_messages(&store, 1, 70);
    node.stop(Duration::from_secs(20));
    drop(node);
    let path = store.display().to_string();

    operator.set("shards", "2");
    refused(operator.command(), &[&path, "shards", "2", "1"]);
    operator.set("shards", "1");
    opens_undamaged(&store, 1, count);

    let manifest = store.join("store");
    let good = fs::read_to_string(&manifest).expect("the manifest is text");
    let (older, _) = good.split_once("crc32 ").expect("its last line");
    assert!(older.contains("format=2\n"), "the manifest has changed its form: {good}");
    for (bad, words) in [
        (older.replace("format=2\n", "format=99\n"), ["99", "2"]),
        (older.replace("format=2\n", ""), ["format", "store"]),
        (older.replace("shards=1", "shards=none"), ["shards", "store"]),
        (good.replace("created_ms=1", "created_ms=2"), ["crc32", "store"]),
        (String::new(), ["store", "backup"]),
    ] {
        fs::write(&manifest, bad).expect("the manifest is writable");
        refused(operator.command(), &words);
    }
    // In place, since another file would have another identity, and the tail of the store would not be taken.
    fs::write(&manifest, &good).expect("the manifest is writable");
    opens_undamaged(&store, 1, count);

    // A store of an older ringmq is opened, and is one of this format from then on.
    fs::write(&manifest, older.replace("format=2\n", "format=1\n")).expect("the manifest is writable");
    opens_undamaged(&store, 1, count);
    assert_eq!(fs::read_to_string(&manifest).expect("the manifest is text"), good);

    let aside = operator.folder.path().join("aside");
    fs::rename(&manifest, &aside).expect("same file system");
    refused(operator.command(), &[&path, "backup"]);
    fs::rename(&aside, &manifest).expect("same file system");
    opens_undamaged(&store, 1, count);
}

/// A configuration and a stopped store with a second segment; the segment's path, and how many messages there are.
fn store_of_segments() -> (Operator, PathBuf, i64) {
    let mut operator = Operator::new();
    for (key, value) in small_node(Path::new(""), 1).more {
        operator.set(key, &value);
    }
    let (count, mut node) = store_with_messages(&operator.store(), 1, 70);
    node.stop(Duration::from_secs(20));
    let segment = operator.store().join("shard-0").join("commitlog").join(SECOND_SEGMENT);
    assert!(segment.exists(), "no second segment {}", segment.display());
    (operator, segment, count)
}

/// Segments are named by the log offset at which they begin.
const SECOND_SEGMENT: &str = "00000000000002097152";
/// The one in which the messages of [`store_of_segments`] end.
const NEWEST_SEGMENT: &str = "00000000000006291456";

/// A segment of the middle that is missing is named, not skipped.
#[test]
fn a_missing_segment_is_refused_by_name() {
    let (operator, segment, count) = store_of_segments();
    let aside = operator.folder.path().join("segment");
    fs::rename(&segment, &aside).expect("same file system");
    refused(operator.command(), &[SECOND_SEGMENT]);
    fs::rename(&aside, &segment).expect("same file system");
    opens_undamaged(&operator.store(), 1, count);
}

/// So is one that holds another place of the log.
#[test]
fn a_foreign_segment_is_refused_by_name() {
    let (operator, segment, count) = store_of_segments();
    let aside = operator.folder.path().join("segment");
    fs::rename(&segment, &aside).expect("same file system");
    fs::copy(segment.with_file_name(format!("{:020}", 0)), &segment).expect("the folder is ours");
    refused(operator.command(), &[SECOND_SEGMENT]);
    fs::rename(&aside, &segment).expect("same file system");
    opens_undamaged(&operator.store(), 1, count);
}

/// So is one of another store, which holds sound records of the very same place: an old one as well as the newest, after an orderly stop as
/// well as after `kill -9`, when the newest messages may be in the tail only. The right file is taken back, and nothing is lost.
#[test]
fn a_segment_of_another_store_is_refused_by_name() {
    let (operator, segment, count) = store_of_segments();
    let (other, others, _) = store_of_segments();
    let store = operator.store();
    let refuse_both = |end: &str| {
        for name in [SECOND_SEGMENT, NEWEST_SEGMENT] {
            let (ours, theirs) = (segment.with_file_name(name), others.with_file_name(name));
            let aside = operator.folder.path().join("segment");
            fs::rename(&ours, &aside).expect("same file system");
            fs::copy(&theirs, &ours).expect("the folder is ours");
            let before = contents(&store.join("shard-0"));
            refused(operator.command(), &[name, "another store", "put the right one back"]);
            assert!(before == contents(&store.join("shard-0")), "{name}: the refusal after {end} changed the store");
            fs::rename(&aside, &ours).expect("same file system");
        }
    };
    refuse_both("an orderly stop");
    let (count, mut node) = {
        opens_undamaged(&store, 1, count);
        store_with_messages(&store, 1, 3)
    };
    node.kill();
    refuse_both("kill -9");
    opens_undamaged(&store, 1, count);
    // The other store has lent its files and is as good as before.
    opens_undamaged(&other.store(), 1, count - 3);
}

/// Every file below a folder.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else {
            found.insert(path.clone(), fs::read(&path).expect("the file is ours"));
        }
    }
    found
}

#[test]
fn a_store_in_use_is_refused_and_goes_on_being_used() {
    let operator = Operator::new();
    let store = operator.store();
    let (count, mut node) = store_with_messages(&store, 1, 5);
    refused(operator.command(), &[&store.display().to_string(), "in use", &node.process().id().to_string()]);
    let mut client = Client::connect(&node.broker(0)).expect("it still listens");
    assert_eq!(client.send("kept", 0, &[5; 100 << 10]).expect("it still stores").queue_offset, count);
    node.kill();
    opens_undamaged(&store, 1, count + 1);
}

#[test]
fn a_folder_that_cannot_be_written_is_refused() {
    let mut operator = Operator::new();
    let file = operator.folder.path().join("file");
    fs::write(&file, b"a file").expect("the temporary folder is writable");
    for store in [file.join("below"), file.clone(), PathBuf::from("/proc/ringmq")] {
        let store = store.display().to_string();
        operator.set("storePathRootDir", &store);
        refused(operator.command(), &["storePathRootDir", &store]);
    }
    operator.set("storePathRootDir", &operator.store().display().to_string());
    let Some(nobody) = Nobody::new(&operator) else { return };
    fs::create_dir(operator.store()).expect("the temporary folder is writable");
    fs::set_permissions(operator.store(), fs::Permissions::from_mode(0o555)).expect("it is ours");
    refused(nobody.command("", &operator), &["storePathRootDir", &operator.store().display().to_string()]);
    fs::set_permissions(operator.config(), fs::Permissions::from_mode(0o000)).expect("it is ours");
    refused(nobody.command("", &operator), &["ringmq.properties"]);
}

/// Runs the binary without any privilege, as `nobody` of group 65534.
struct Nobody {
    binary: PathBuf,
}

impl Nobody {
    /// `None` with a line when this user cannot become another one.
    fn new(operator: &Operator) -> Option<Self> {
        let possible = Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups", "true"])
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        if !possible {
            say("skipped: running as another user needs root and setpriv");
            return None;
        }
        // The target folder may be closed to others.
        let binary = operator.folder.path().join("ringmq");
        // A copy that is still open for writing in a process that another test starts just now cannot be run.
        fs::hard_link(RINGMQ, &binary)
            .or_else(|_| fs::copy(RINGMQ, &binary).map(drop))
            .expect("the temporary folder is writable");
        fs::set_permissions(operator.folder.path(), fs::Permissions::from_mode(0o777)).expect("it is ours");
        fs::set_permissions(&binary, fs::Permissions::from_mode(0o755)).expect("it is ours");
        Some(Self { binary })
    }

    /// `ringmq all -c` after the shell command `before`.
    fn command(&self, before: &str, operator: &Operator) -> Command {
        let script = format!("{before}exec setpriv --reuid=65534 --regid=65534 --clear-groups \"$0\" all -c \"$1\"");
        let mut command = Command::new("sh");
        command.arg("-c").arg(script).arg(&self.binary).arg(operator.config()).current_dir("/");
        command
    }
}

#[test]
fn a_small_limit_on_locked_memory_is_refused_or_enough() {
    let mut operator = Operator::new();
    operator.set("tailPath", &operator.folder.path().display().to_string());
    let Some(nobody) = Nobody::new(&operator) else { return };
    for limit_kb in [0, 64, 511] {
        refused(nobody.command(&format!("ulimit -l {limit_kb}; "), &operator), &["memlock"]);
    }
    // What most systems allow must do.
    let mut command = nobody.command("ulimit -l 8192; ", &operator);
    let log = operator.folder.path().join("output.log");
    let output = fs::File::create(&log).expect("the temporary folder is writable");
    let mut child = command.stdout(Stdio::null()).stderr(output).spawn().expect("it starts");
    let address = format!("127.0.0.1:{}", operator.ports.listen());
    harness::wait_for("service under 8 MiB of locked memory", || {
        let ended = child.try_wait().expect("it is our child");
        let text = || fs::read_to_string(&log).unwrap_or_default();
        assert!(ended.is_none(), "under 8 MiB of locked memory: {ended:?}:\n{}", text());
        Client::connect(&address).and_then(|mut client| client.send("TBW-made", 0, b"x")).ok()
    });
    let text = fs::read_to_string(&log).unwrap_or_default();
    assert!(!text.contains("Os {") && !text.contains("Error: registering"), "that is for programmers:\n{text}");
    child.kill().expect("it is our child");
    child.wait().expect("it is our child");
}

/// A table that an operator has emptied is named with what can stand in its place.
#[test]
fn an_empty_table_is_refused_by_name() {
    let mut operator = Operator::new();
    for (key, value) in small_node(Path::new(""), 1).more {
        operator.set(key, &value);
    }
    let (count, mut node) = store_with_messages(&operator.store(), 1, 3);
    node.stop(Duration::from_secs(20));
    let table = operator.store().join("shard-0").join("config").join("consumerOffset.json");
    fs::write(&table, "").expect("the store is ours");
    let path = table.display().to_string();
    refused(operator.command(), &[&path, "it is empty", "backup", "`{}`"]);
    fs::write(&table, "{}").expect("the store is ours");
    opens_undamaged(&operator.store(), 1, count);
}

/// What tools and producers make, and who that was, is in the log.
#[test]
fn who_makes_and_removes_what_is_in_the_log() {
    let node = Node::start(&NodeOptions { shards: 1, ..NodeOptions::default() });
    let mut client = Client::connect(&node.broker(0)).expect("it listens");
    client.create_topic("made", 1).expect("a topic");
    client.send("sent-to", 0, b"x").expect("it is stored");
    for words in ["changed by a tool: UPDATE_AND_CREATE_TOPIC", "a topic is made, as a producer sent to it"] {
        harness::wait_for(words, || node.process().log_text().contains(words).then_some(()));
    }
    // To ask whether a group may read a topic changes nothing, to forbid it does.
    let forbidden = |client: &mut Client, readable: Option<&str>| {
        let mut request = Frame::request(353).ext("group", "G").ext("topic", "made");
        if let Some(readable) = readable {
            request = request.ext("readable", readable);
        }
        client.call(request).expect("it answers")
    };
    assert_eq!(forbidden(&mut client, None).code, code::SUCCESS);
    assert!(!node.process().log_text().contains("UPDATE_AND_GET_GROUP_FORBIDDEN"), "nothing was changed");
    assert_eq!(forbidden(&mut client, Some("false")).code, code::SUCCESS);
    let words = "changed by a tool: UPDATE_AND_GET_GROUP_FORBIDDEN";
    harness::wait_for(words, || node.process().log_text().contains(words).then_some(()));
    let text = node.process().log_text();
    assert!(text.contains("topic=made") && text.contains("sent-to") && text.contains("by=127.0.0.1"), "{text}");
}

/// Shared memory is given back by an orderly stop, after which nothing is missed and nothing lost; not by `kill -9`.
#[test]
fn an_orderly_stop_leaves_nothing_in_shared_memory() {
    let tails = harness::TailFolder::create();
    let folder = TempDir::with_prefix("ringmq-operator-").expect("the temporary folder is writable");
    let mut options = small_node(&folder.path().join("store"), 1);
    options.more.push(tails.setting());
    let left = || fs::read_dir(tails.path()).expect("a folder").count();
    let mut count = 0;
    for is_orderly in [true, false, true, true] {
        let mut node = Node::start(&options);
        let mut client = Client::connect(&node.broker(0)).expect("it listens");
        client.create_topic("kept", 1).expect("a topic");
        for _ in 0..3 {
            client.send("kept", 0, &[5; 100 << 10]).expect("it is stored");
        }
        count += 3;
        let records = client.read_queue("kept", 0, 0).expect("it answers");
        assert_eq!(records.len(), count, "after the stop before this start");
        assert_eq!(left(), 1);
        let text = node.process().log_text();
        assert!(!text.contains("the tail of the last run is not there"), "{text}");
        if is_orderly {
            assert!(node.stop(Duration::from_secs(20)).success());
        } else {
            node.kill();
        }
        assert_eq!(left(), usize::from(!is_orderly), "orderly: {is_orderly}");
    }
}

/// Nor does a start that fails leave any, as on a disk that is full: here a table that cannot be read stops it, when the tail is made.
#[test]
fn a_start_that_fails_leaves_nothing_in_shared_memory() {
    let tails = harness::TailFolder::create();
    let mut operator = Operator::new();
    let mut options = small_node(&operator.store(), 1);
    options.more.push(tails.setting());
    for (key, value) in &options.more {
        operator.set(key, value);
    }
    let mut node = Node::start(&options);
    assert!(node.stop(Duration::from_secs(20)).success());
    let left = || fs::read_dir(tails.path()).expect("a folder").count();
    assert_eq!(left(), 0, "it ended in order");
    let table = operator.store().join("shard-0").join("config").join("topics.json");
    fs::write(&table, "{").expect("the store is ours");
    refused(operator.command(), &["topics.json"]);
    assert_eq!(left(), 0, "no shard came to run");
}

/// A node whose name server is away says where it registers, and not that it has.
#[test]
fn the_start_block_says_what_is_so() {
    let mut operator = Operator::new();
    operator.lines.retain(|(key, _)| key != "namesrvListenPort");
    let nowhere = format!("127.0.0.1:{}", operator.name_server.listen());
    operator.set("namesrvAddr", &nowhere);
    let mut command = Command::new(RINGMQ);
    command.arg("broker").arg("-c").arg(operator.config()).env_remove("PATH");
    let log = operator.folder.path().join("output.log");
    let output = fs::File::create(&log).expect("the temporary folder is writable");
    let mut child = command.stdin(Stdio::null()).stderr(Stdio::null()).stdout(output).spawn().expect("it starts");
    let text = harness::wait_for("line to try", || {
        let text = fs::read_to_string(&log).unwrap_or_default();
        text.lines().any(|line| line.starts_with("try ")).then_some(text)
    });
    child.kill().expect("it is our child");
    child.wait().expect("it is our child");
    assert!(text.contains(&format!("name servers {nowhere}")) && !text.contains("registered"), "{text}");
    // Without a PATH the program beside this one is shown, or how to build it.
    let tried = text.lines().find(|line| line.starts_with("try ")).expect("it is there");
    assert!(tried.contains("/ringmq-admin -n ") || tried.contains("cargo run -p ringmq-tools"), "{tried}");
}

/// Python as the loader of a seccomp filter: `io_uring_setup` (425) fails with `errno`, all else is allowed.
const WITHOUT_IO_URING: &str = r"
import ctypes, os, struct, sys
error = int(sys.argv[1])
code = struct.pack('HBBI', 0x20, 0, 0, 0) + struct.pack('HBBI', 0x15, 0, 1, 425)
code += struct.pack('HBBI', 0x06, 0, 0, 0x00050000 | error) + struct.pack('HBBI', 0x06, 0, 0, 0x7fff0000)
buffer = ctypes.create_string_buffer(code)
program = ctypes.create_string_buffer(struct.pack('HxxxxxxQ', len(code) // 8, ctypes.addressof(buffer)))
libc = ctypes.CDLL(None, use_errno=True)
if libc.prctl(38, 1, 0, 0, 0) != 0 or libc.prctl(22, 2, program, 0, 0) != 0:
    sys.exit(77)
os.execv(sys.argv[2], sys.argv[2:])
";

#[test]
fn a_machine_without_io_uring_is_refused() {
    let operator = Operator::new();
    for (errno, words) in [(1, ["io_uring", "seccomp"]), (38, ["io_uring", "kernel"])] {
        let python = |program: &[OsString]| {
            let mut command = Command::new("python3");
            command.args(["-c", WITHOUT_IO_URING, &errno.to_string()]).args(program);
            command
        };
        let able = python(&["/bin/true".into()]).stderr(Stdio::null()).status().is_ok_and(|status| status.success());
        if !able {
            say("skipped: hiding io_uring needs python3 and seccomp");
            return;
        }
        let program = [OsString::from(RINGMQ), "all".into(), "-c".into(), operator.config().into()];
        refused(python(&program), &words);
    }
}

/// Each file of a store is in ARCHITECTURE.md, which says what it is and what its loss means.
#[test]
fn every_file_of_a_store_is_in_the_table_of_files() {
    let page = include_str!("../src/ARCHITECTURE.md");
    let table =
        page.split("## The files of a store").nth(1).and_then(|rest| rest.split("\n## ").next()).expect("it is there");
    let mut known = Vec::new();
    for row in table.lines().filter_map(|line| line.split('|').nth(1)) {
        let names: Vec<&str> = row.split('`').skip(1).step_by(2).collect();
        let folder = names.first().and_then(|name| name.rsplit_once('/')).map_or("", |(folder, _)| folder);
        known.extend(
            names.iter().map(|name| if name.contains('/') { (*name).to_owned() } else { format!("{folder}/{name}") }),
        );
    }
    let mut operator = Operator::new();
    for (key, value) in small_node(Path::new(""), 1).more {
        operator.set(key, &value);
    }
    let (_, mut node) = store_with_messages(&operator.store(), 1, 300);
    let mut client = Client::connect(&node.broker(0)).expect("it listens");
    client.create_topic("listed", 1).expect("a topic");
    let is_listed = |path: &str| {
        let plain = path.trim_end_matches(".new").trim_end_matches(".bak");
        known.iter().any(|name| is_named(name.trim_start_matches('/'), plain))
    };
    let mut seen = BTreeSet::new();
    let mut look = |root: &Path| {
        let mut folders = vec![root.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).expect("a folder").map(|entry| entry.expect("an entry")) {
                // A file may go meanwhile.
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                    _ => drop(seen.insert(entry.path().strip_prefix(root).expect("below").display().to_string())),
                }
            }
        }
    };
    look(&operator.store());
    node.kill();
    look(&operator.store());
    node.restart();
    node.stop(Duration::from_secs(20));
    look(&operator.store());
    let unknown: Vec<&String> = seen.iter().filter(|path| !is_listed(path)).collect();
    assert!(unknown.is_empty() && seen.len() > 10, "not in the table: {unknown:?}\nknown: {known:?}");
}

/// Whether a path is one of a name in the table, where words in capitals stand for numbers and `N` for one.
fn is_named(name: &str, path: &str) -> bool {
    let of = |text: &str| -> Vec<String> {
        text.split(['/', '-', '.'])
            .map(|part| if part.bytes().all(|byte| byte.is_ascii_digit()) { "#".to_owned() } else { part.to_owned() })
            .collect()
    };
    let wanted = of(name)
        .into_iter()
        .map(|part| if part.bytes().all(|byte| byte.is_ascii_uppercase()) { "#".to_owned() } else { part });
    wanted.eq(of(path))
}
