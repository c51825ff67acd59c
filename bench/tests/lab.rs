//! The built `ringmq-bench` makes small experiments on clusters of the built `ringmq`, and on peers with known faults. What is shown: whole and
//! partial files of results, verdicts and exit codes, that nothing outlives the tool, and one sentence for what is wrong. Figures mean nothing
//! here.
//!
//! Clusters run the `ringmq` beside the tool, which a test of the whole workspace builds; without one those tests say so and are skipped.
#![allow(clippy::disallowed_methods, reason = "a test of a tool that lives among files, sockets and threads")]

#[allow(dead_code, reason = "produce.rs needs the rest of it")]
mod peer;

use std::fs;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use peer::{Fault, Peer};
use ringmq_bench::lab::results::Results;
use ringmq_bench::load::settings::PulledFrom;
use ringmq_peers::{PortBlock, Process, remove_tails_below};
use rustix::process::{Pid, Signal, kill_process};

const TOOL: &str = env!("CARGO_BIN_EXE_ringmq-bench");
/// Longest time for anything, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A folder of one test, for stores and results; what still runs with a file in it is killed when it goes.
struct Folder {
    path: PathBuf,
}

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ringmq-lab-test-{}-{name}", std::process::id()));
        fs::create_dir_all(path.join("store")).expect("the temporary folder is writable");
        Self { path }
    }

    /// For a test that needs the broker's binary; `None`, and a line, without it.
    fn with_ringmq(name: &str) -> Option<Self> {
        let ringmq = ringmq();
        if !ringmq.exists() {
            let line = format!("skipped: {} is missing; cargo test --workspace builds it", ringmq.display());
            writeln!(io::stderr(), "{line}").expect("stderr is open");
            return None;
        }
        Some(Self::new(name))
    }

    /// `ringmq-bench` with these words, and the folder's own store if it brings something up.
    fn start(&self, words: &str) -> Child {
        let mut command = Command::new(TOOL);
        command.args(words.split_whitespace()).arg("--out").arg(&self.path);
        if words.contains("--up") {
            command.arg("--store").arg(self.path.join("store"));
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).current_dir(&self.path);
        command.spawn().expect("the binary was just built")
    }

    fn run(&self, words: &str) -> (Option<i32>, String) {
        finish(self.start(words))
    }

    fn results(&self, name: &str) -> Results {
        Results::load(&self.path.join(format!("{name}.json"))).expect("a file of results")
    }

    /// Processes that run with a file of this folder, but for the tool itself.
    fn brokers(&self) -> Vec<u32> {
        let store = self.path.join("store").display().to_string() + "/";
        let ids = fs::read_dir("/proc").expect("there is /proc").flatten();
        ids.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(|id| {
                let line = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
                line.split(|byte| *byte == 0).any(|word| String::from_utf8_lossy(word).starts_with(&store))
            })
            .collect()
    }

    /// No process and no store is left.
    fn assert_nothing_is_left(&self) {
        wait_for("end of all brokers", || if self.brokers().is_empty() { Some(()) } else { None });
        let left: Vec<_> = fs::read_dir(self.path.join("store")).expect("it was made").flatten().collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        for id in self.brokers() {
            // It may have ended meanwhile.
            let _ended = kill_process(pid(id), Signal::KILL);
        }
        drop(fs::remove_dir_all(&self.path));
        remove_tails_below(&self.path);
    }
}

fn ringmq() -> PathBuf {
    Path::new(TOOL).with_file_name("ringmq")
}

fn pid(id: u32) -> Pid {
    i32::try_from(id).ok().and_then(Pid::from_raw).expect("a process id")
}

/// Exit code, and all that was said.
fn finish(child: Child) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } = child.wait_with_output().expect("it ends");
    let said = format!("{}\n{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    (status.code(), said)
}

fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "after {PATIENCE:?} still no {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn two_clusters_are_compared_in_turn() {
    let Some(folder) = Folder::with_ringmq("compare") else { return };
    let words = "compare --up ringmq:all --up ringmq:1m-1s-sync,flushDiskType=SYNC_FLUSH --rounds 2 --rate 500 --end-to-end --warmup 0s \
                 --duration 1s --settle 200ms --title Both";
    let (code, said) = folder.run(words);
    assert_eq!(code, Some(0), "{said}");
    let results = folder.results("compare");
    assert!(results.complete && results.title == "Both" && results.ended == "finished", "{said}");
    let order: Vec<_> = results.runs.iter().map(|run| (run.round, run.subject)).collect();
    assert_eq!(order, [(1, 0), (1, 1), (2, 1), (2, 0)]);
    for run in &results.runs {
        assert_eq!((run.report.sent, run.report.failed), (500, 0), "{said}");
        assert_eq!(run.histograms.reply.unpack().expect("a histogram").len(), 500);
        assert!(
            run.seconds.iter().all(|second| second.resident_mb > 1.0 && second.descriptors > 0),
            "{:?}",
            run.seconds
        );
    }
    let roles = |subject: usize| -> Vec<_> {
        let brokers = &results.subjects[subject].brokers;
        brokers
            .iter()
            .map(|broker| (broker.settings["brokerRole"].as_str(), broker.settings["flushDiskType"].as_str()))
            .collect()
    };
    assert_eq!(roles(0), [("ASYNC_MASTER", "ASYNC_FLUSH")]);
    assert_eq!(roles(1), [("SYNC_MASTER", "SYNC_FLUSH"), ("SLAVE", "SYNC_FLUSH")]);
    let processes: Vec<_> = results.runs[1].processes.iter().map(|process| process.name.as_str()).collect();
    assert_eq!(processes, ["name server", "broker-a master", "broker-a slave"]);
    assert!(
        results.machine.kernel.len() > 2 && results.subjects[0].software.starts_with("ringmq "),
        "{:?}",
        results.machine
    );
    let is_debug = results.warnings.iter().any(|warning| warning.contains("debug build"));
    assert_eq!(is_debug, cfg!(debug_assertions), "{:?}", results.warnings);
    folder.assert_nothing_is_left();
}

#[test]
fn nothing_acknowledged_is_lost_with_a_master_under_double_write() {
    let Some(folder) = Folder::with_ringmq("failover") else { return };
    let words = "failover --up ringmq:1m-1s-sync --kill broker-a --at 1s --restart-after 500ms --rate 1000 --warmup 0s --duration 3s \
                 --drain 30s --settle 0s";
    let (code, said) = folder.run(words);
    assert_eq!(code, Some(0), "{said}");
    let results = folder.results("failover");
    let failover = results.runs[0].failover.as_ref().expect("it was killed");
    assert_eq!(failover.lost, 0, "{said}");
    assert!(failover.fault.contains("SIGKILL of broker-a master") && failover.at_s >= 0.9, "{failover:?}");
    // It was not there for half a second, so nobody can have been faster.
    let first = failover.first_success_s.expect("it came back");
    assert!(first >= 0.5 && failover.longest_gap_s >= 0.4 && failover.first_received_s.is_some(), "{failover:?}");
    assert!(results.findings[0].text.contains("0 acknowledged messages lost"), "{said}");
    folder.assert_nothing_is_left();
}

#[test]
fn a_broker_starts_again_on_what_it_left_and_on_nothing() {
    let Some(folder) = Folder::with_ringmq("restart") else { return };
    let load = "--in-flight 4 --warmup 0s --duration 500ms --settle 0s --rounds 2";
    let (code, said) = folder.run(&format!("restart --up ringmq:all --fill 20MB {load}"));
    assert_eq!(code, Some(0), "{said}");
    let results = folder.results("restart");
    let starts: Vec<_> = results.runs.iter().filter_map(|run| run.restart.as_ref()).collect();
    assert_eq!(starts.len(), 2, "{said}");
    assert!(starts.iter().all(|start| start.log_bytes >= 20_000_000 && start.seconds > 0.0), "{starts:?}");
    // What the killed load and the measured one sent is still there at the second start.
    assert!(starts[1].log_bytes > starts[0].log_bytes, "{starts:?}");
    assert!(results.runs.iter().all(|run| run.report.complete && run.report.sent > 0), "{said}");
    assert_eq!(results.findings.len(), 2, "{said}");
    folder.assert_nothing_is_left();

    let (code, said) = folder.run(&format!("restart --up ringmq:all --up echo --empty {load}"));
    assert_eq!(code, Some(0), "{said}");
    let results = folder.results("restart");
    let order: Vec<_> = results.runs.iter().map(|run| run.subject).collect();
    assert_eq!(order, [0, 1, 1, 0], "{said}");
    let is_empty = |start: &ringmq_bench::lab::results::Restart| start.log_bytes == 0 && start.seconds > 0.0;
    assert!(results.runs.iter().all(|run| run.restart.as_ref().is_some_and(is_empty)), "{said}");
    folder.assert_nothing_is_left();
}

#[test]
fn a_slave_that_begins_empty_catches_up_under_load() {
    let Some(folder) = Folder::with_ringmq("catch-up") else { return };
    let load = "--rate 500 --warmup 200ms --duration 500ms --settle 0s";
    let (code, said) = folder.run(&format!("catch-up --up ringmq:1m-1s-async --fill 50MB --rounds 2 {load}"));
    assert_eq!(code, Some(0), "{said}");
    let results = folder.results("catch-up");
    let points: Vec<_> = results.runs.iter().filter_map(|run| Some(run.point.as_ref()?.value)).collect();
    assert_eq!(points, [0.0, 1.0, 0.0, 1.0], "{said}");
    for run in &results.runs {
        let is_beside = run.point.as_ref().is_some_and(|point| point.value == 1.0);
        assert_eq!(run.catch_up.is_some(), is_beside, "{said}");
        assert!(run.report.complete && run.report.sent > 0 && run.report.failed == 0, "{said}");
    }
    // It ended when the slave had all, not after the two minutes that it may take.
    assert!(results.runs[1].report.elapsed_s < 60.0 && results.findings[0].text.contains("MB/s"), "{said}");
    folder.assert_nothing_is_left();
}

#[test]
fn the_lag_of_a_slave_is_that_between_two_consumers() {
    let Some(folder) = Folder::with_ringmq("lag") else { return };
    let (code, said) =
        folder.run("lag --up ringmq:1m-1s-async --rate 200 --rounds 1 --warmup 200ms --duration 1s --settle 0s");
    assert_eq!(code, Some(0), "{said}");
    let results = folder.results("lag");
    let from: Vec<_> = results.runs.iter().map(|run| run.report.settings.pulled_from).collect();
    assert_eq!(from, [PulledFrom::Both, PulledFrom::Slaves, PulledFrom::Masters], "{said}");
    let has_lag: Vec<_> = results.runs.iter().map(|run| run.report.lag_us.is_some()).collect();
    assert_eq!(has_lag, [true, false, false], "{said}");
    assert!(results.runs.iter().all(|run| run.report.end_to_end_us.is_some() && run.report.sent == 200), "{said}");
    assert!(results.findings[0].text.contains("later at slaves"), "{said}");
    folder.assert_nothing_is_left();
}

#[test]
fn cases_have_a_file_each_and_one_document() {
    let Some(folder) = Folder::with_ringmq("cases") else { return };
    let scenario = folder.path.join("goals.toml");
    let load = "load = { warmup = \"0s\", duration = \"300ms\" }";
    let text = format!(
        "experiment = \"cases\"\n[[case]]\nname = \"closed\"\nexperiment = \"compare\"\nrounds = 1\nclosed = [\"2x1\"]\n\
         both-writes = true\nsubjects = {{ up = [\"ringmq@other:all\", \"echo\"], ringmq = [\"other={}\"], settle = \"0s\" }}\n{load}\n\
         goals = [{{ figure = \"rate\", at-least = 1e-9, times = \"echo\" }}, {{ figure = \"resident\", at-most = 1e-3 }}]\n\
         [[case]]\nname = \"memory\"\nexperiment = \"compare\"\nsubjects = {{ up = [\"ringmq:all\", \"echo\"] }}\nload = {{ rate = 1 }}\n",
        ringmq().display()
    );
    fs::write(&scenario, text).expect("the folder is there");
    let store = folder.path.join("store");
    let (code, said) = folder.run(&format!("run {} --case closed --store {}", scenario.display(), store.display()));
    assert_eq!(code, Some(0), "{said}");
    let results = folder.results("closed");
    let writes: Vec<_> = results.runs.iter().map(|run| run.report.settings.write_each).collect();
    assert_eq!(writes, [false, false, true, true], "{said}");
    let kept: Vec<_> = results.goals.iter().map(|goal| goal.is_kept).collect();
    assert_eq!(kept, [Some(true), Some(true), Some(false), Some(false)], "{said}");
    let document = fs::read_to_string(folder.path.join("goals.md")).expect("it is written");
    assert!(document.contains("## closed\n") && document.contains("**missed**"), "{document}");
    // Of this machine's folders it says nothing.
    assert!(!document.contains(&store.display().to_string()), "{document}");
    assert!(!folder.path.join("memory.json").exists() && !document.contains("## memory"), "it was left out");
    folder.assert_nothing_is_left();
}

#[test]
fn an_audit_passes_on_a_broker_and_finds_what_a_peer_loses() {
    if let Some(folder) = Folder::with_ringmq("audit") {
        let (code, said) =
            folder.run("audit --up ringmq:1m-1s-async --in-flight 4 --warmup 0s --duration 1s --keys --tags 2");
        assert_eq!(code, Some(0), "{said}");
        assert!(folder.results("audit").findings[0].text.starts_with("kept: "), "{said}");
        folder.assert_nothing_is_left();
    }
    let folder = Folder::new("audit-loss");
    let peer = Peer::start(&[(20, Fault::Lose), (40, Fault::Double)]);
    let load = "--rate 200 --warmup 0s --duration 1s --drain 500ms --connections 1";
    let (code, said) = folder.run(&format!("audit --target {} {load}", peer.address));
    assert_eq!(code, Some(1), "{said}");
    let results = folder.results("audit");
    let text = &results.findings[0].text;
    assert!(text.starts_with("broken: ") && text.contains("1 acknowledged ones never arrived"), "{text}");
    assert!(
        results.complete && results.runs[0].report.consumed.as_ref().is_some_and(|books| books.duplicates == 1),
        "{said}"
    );
}

#[test]
fn an_interrupt_keeps_what_was_measured_and_ends_what_was_started() {
    let Some(folder) = Folder::with_ringmq("interrupt") else { return };
    let words = "compare --up ringmq:1m-1s-async --up ringmq:all --rounds 1000 --in-flight 1 --warmup 0s --duration 300ms --settle 0s";
    let child = folder.start(words);
    wait_for("run in the file of results", || {
        Results::load(&folder.path.join("compare.json")).ok().filter(|results| !results.runs.is_empty())
    });
    assert_eq!(folder.brokers().len(), 4, "two brokers with their name server, and one with its own");
    kill_process(pid(child.id()), Signal::INT).expect("it runs");
    let (code, said) = finish(child);
    assert_eq!(code, Some(130), "{said}");
    let results = folder.results("compare");
    assert!(!results.complete && results.ended == "interrupted" && !results.runs.is_empty(), "{said}");
    assert!(said.contains("p99.9 us") && said.contains("not whole: interrupted"), "{said}");
    folder.assert_nothing_is_left();
}

#[test]
fn brokers_end_with_a_tool_that_is_killed() {
    let Some(folder) = Folder::with_ringmq("killed") else { return };
    let mut child = folder.start("soak --up ringmq:1m-1s-sync --rate 100 --for 10m --settle 0s");
    wait_for("cluster", || (folder.brokers().len() == 3).then_some(()));
    child.kill().expect("it is our child");
    child.wait().expect("it is our child");
    wait_for("end of all brokers", || folder.brokers().is_empty().then_some(()));
}

#[test]
fn a_cluster_that_is_there_is_found_through_its_name_server() {
    let Some(folder) = Folder::with_ringmq("there") else { return };
    let ports = [PortBlock::reserve(1), PortBlock::reserve(1)];
    let config = folder.path.join("store/all.properties");
    let text = format!(
        "brokerName=there\nlistenPort={}\nnamesrvListenPort={}\nshards=1\nstorePathRootDir={}\n",
        ports[0].listen(),
        ports[1].listen(),
        folder.path.join("store/data").display()
    );
    fs::write(&config, text).expect("the folder is there");
    let mut command = Command::new(ringmq());
    command.args(["all", "-c"]).arg(&config);
    let _broker = Process::start("ringmq", command, &folder.path.join("log")).expect("it is there");
    let name_server = format!("127.0.0.1:{}", ports[1].listen());
    let address = name_server.parse().expect("an address");
    wait_for("broker", || ringmq_bench::lab::probe::cluster(address).ok().filter(|found| !found.is_empty()));

    let json = folder.path.join("report.json");
    let load = "--rate 200 --warmup 0s --duration 1s --end-to-end";
    let (code, said) = folder.run(&format!("produce -n {name_server} {load} --json {}", json.display()));
    assert_eq!(code, Some(0), "{said}");
    let results = folder.results("produce");
    let broker = &results.subjects[0].brokers[0];
    assert_eq!((broker.name.as_str(), broker.settings["shards"].as_str()), ("there", "1"));
    // Its process was found by the port that it listens on.
    assert_eq!(results.runs[0].processes.len(), 1, "{said}");
    let report: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(json).expect("it was asked for")).expect("JSON");
    assert_eq!(report["sent"], 200, "{said}");
}

#[test]
fn a_sweep_ends_beyond_the_knee_and_a_scenario_names_its_file() {
    let folder = Folder::new("knee");
    let peer = Peer::start(&[]);
    let scenario = folder.path.join("too-fast.toml");
    let text = format!(
        "experiment = \"sweep\"\nvary = \"rate=50,90000000,95000000,99000000\"\n[subjects]\ntarget = [\"{}\"]\nsettle = \"0s\"\n\
         [load]\nwarmup = \"0s\"\nduration = \"500ms\"\ndrain = \"500ms\"\noutstanding-max = 64\nconnections = 1\n",
        peer.address
    );
    fs::write(&scenario, text).expect("the folder is there");
    let (_, said) = folder.run(&format!("run {}", scenario.display()));
    let results = folder.results("too-fast");
    assert!(results.complete, "{said}");
    let points: Vec<f64> = results.runs.iter().filter_map(|run| Some(run.point.as_ref()?.value)).collect();
    assert_eq!(points, [50.0, 90_000_000.0, 95_000_000.0], "{said}");
    assert!(results.warnings.iter().any(|warning| warning.contains("90000000 messages/s were asked for")), "{said}");
}

#[test]
fn a_broker_that_dies_leaves_what_was_measured() {
    let folder = Folder::new("dies");
    let peer = Peer::start(&[(500, Fault::Die)]);
    let (code, said) = folder
        .run(&format!("produce --target {} --connections 1 --rate 1000 --warmup 0s --duration 60s", peer.address));
    assert_eq!(code, Some(1), "{said}");
    let results = folder.results("produce");
    assert!(!results.complete && results.ended.contains("lost in mid-run"), "{}", results.ended);
    assert!(results.runs[0].report.sent > 0 && !results.runs[0].report.complete, "{said}");
}

#[test]
fn a_broker_of_ours_that_dies_is_named() {
    let Some(folder) = Folder::with_ringmq("ours-dies") else { return };
    let mut child = folder.start("audit --up ringmq:all --rate 100 --warmup 0s --duration 10m");
    let mut lines = BufReader::new(child.stderr.take().expect("it is piped")).lines().map_while(Result::ok);
    assert!(lines.by_ref().any(|line| line.contains(" replies ")), "no load");
    let brokers = folder.brokers();
    assert_eq!(brokers.len(), 1);
    kill_process(pid(brokers[0]), Signal::KILL).expect("it runs");
    let said: Vec<String> = lines.collect();
    assert_eq!(child.wait().expect("it ends").code(), Some(1), "{said:?}");
    let results = folder.results("audit");
    assert!(!results.complete && results.ended.contains("broker-a master ended with signal: 9"), "{}", results.ended);
    folder.assert_nothing_is_left();
}

#[test]
fn a_full_disk_is_one_sentence_and_the_figures_are_printed() {
    let folder = Folder::new("full");
    let peer = Peer::start(&[]);
    // Files end at 4 KiB: no file of results is that short.
    let script = format!(
        "trap '' XFSZ; ulimit -f 8; exec {TOOL} produce --target {} --connections 1 --rate 1000 --warmup 0s --duration 1s --out {}",
        peer.address,
        folder.path.display()
    );
    let mut command = Command::new("sh");
    command.args(["-c", &script]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let (code, said) = finish(command.spawn().expect("sh is there"));
    assert_eq!(code, Some(1), "{said}");
    assert_eq!(
        said.matches("the results are not kept: ").count(),
        2,
        "once with the table, once as the reason: {said}"
    );
    assert!(said.contains("p99.9 us") && said.contains("give --out"), "{said}");
    assert!(!folder.path.join("produce.json").exists(), "half a file helps nobody");
}

#[test]
fn what_makes_no_sense_is_one_sentence() {
    let folder = Folder::new("wrong");
    let closed = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
    let wrong = folder.path.join("wrong.toml");
    fs::write(&wrong, "experiment = \"audit\"\n[load]\nrat = 1\n").expect("the folder is there");
    let refusing = Peer::start(&[]);
    let missing = folder.path.join("nowhere");
    let cases = [
        ("compare --up ringmq:all --rate 1".to_owned(), 2, "compare takes two subjects or more, and 1 were given"),
        ("compare --up ringmq:all --up ringmq:3m --rate 1".to_owned(), 2, "there is no mode 3m; the modes are"),
        ("audit --rate 1".to_owned(), 2, "say what to measure: --up"),
        (format!("audit --target {closed}"), 2, "say how to send"),
        (format!("audit --target {closed} --rate 900000000"), 2, "--rate 900000000 is out of range"),
        (format!("audit --target {closed} --rate 1 --topic a.b"), 2, "is no topic name"),
        ("audit --target 192.0.2.1:10911 --rate 1".to_owned(), 2, "--allow-remote"),
        (format!("sweep --target {closed} --vary rats=1"), 2, "there is no setting rats"),
        (format!("failover --target {closed} --rate 1 --kill broker-a"), 2, "name a process with --pid"),
        ("failover --up ringmq:all --rate 1".to_owned(), 2, "say what is to fail"),
        ("restart --up echo --rate 1".to_owned(), 2, "stores nothing that could be found again"),
        ("catch-up --up ringmq:all --fill 5GB --rate 1".to_owned(), 2, "with a mode that has slaves"),
        ("lag --up ringmq:all --rate 1".to_owned(), 2, "with a mode that has slaves"),
        ("produce --up ringmq@old:all --rate 1".to_owned(), 2, "--ringmq old=FILE"),
        (format!("run {}", wrong.display()), 2, "wrong.toml:3: unknown field `rat`"),
        (format!("run {}", missing.display()), 2, "No such file"),
        (format!("audit --target {closed} --rate 1"), 1, "is a broker there, and is that its port?"),
        (format!("produce -n {closed} --rate 1"), 1, "is a name server there, and is that its port?"),
        (format!("produce -n {} --rate 1", refusing.address), 1, "refuses request 105 with code 3"),
        (format!("audit --up ringmq:all --rate 1 --ringmq {}", missing.display()), 1, "name it with --ringmq"),
        ("audit --up apache:all --rate 1".to_owned(), 1, "java is missing: install JDK 17"),
    ];
    for (words, expected_code, expected) in cases {
        let mut command = Command::new(TOOL);
        // No Java on this path.
        command.args(words.split_whitespace()).args(["--out"]).arg(folder.path.join("x.json")).env("PATH", &missing);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let (code, said) = finish(command.spawn().expect("the binary was just built"));
        let last = said.lines().last().unwrap_or_default();
        assert_eq!(code, Some(expected_code), "{words}\n{said}");
        assert!(
            last.starts_with("ringmq-bench: ") && last.contains(expected),
            "{words}\n  says: {said}\n  wanted: {expected}"
        );
        let is_other = |line: &&str| {
            !["debug build", "starting", "run 1 of 1", "the results are in"].iter().any(|known| line.contains(known))
        };
        assert_eq!(said.lines().filter(|line| !line.is_empty()).filter(is_other).count(), 1, "{words}\n{said}");
    }
    let blocked = folder.path.join("blocked");
    fs::write(&blocked, "a file").expect("the folder is there");
    let mut command = Command::new(TOOL);
    command.args(["audit", "--target", &closed.to_string(), "--rate", "1", "--out"]).arg(blocked.join("deep"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let (code, said) = finish(command.spawn().expect("the binary was just built"));
    assert!(code == Some(1) && said.contains("the results are not kept: "), "{said}");
}
