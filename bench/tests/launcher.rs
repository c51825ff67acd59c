//! `ringmq-cluster up FOLDER` on a copy of `conf/2m-2s-sync` with ports and folders of its own: all of it serves, and all of it ends.
//!
//! Messages go through `ringmq-admin`, as `conf/README.md` shows it. The cluster runs the `ringmq` beside it, which a test of the whole workspace
//! builds, and so does the `ringmq-admin`; without them the tests say so and are skipped. What a lost node does is in `tests/cluster.rs`.
#![allow(clippy::disallowed_methods, reason = "a test has clocks, files, threads and sockets")]

use std::fs;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use ringmq_peers::{PortBlock, Process, remove_tails_below};
use tempfile::TempDir;

const CLUSTER: &str = env!("CARGO_BIN_EXE_ringmq-cluster");
/// The files of the mode.
const BROKERS: [&str; 4] = ["broker-a", "broker-a-s", "broker-b", "broker-b-s"];
const NAME_SERVERS: [&str; 2] = ["namesrv-1", "namesrv-2"];
/// A start, and what is waited for afterwards, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// An end takes no longer.
const END_WITHIN: Duration = Duration::from_secs(15);

/// A folder of configurations, and the ports that they name.
struct Mode {
    folder: TempDir,
    brokers: [PortBlock; 4],
    name_servers: [PortBlock; 2],
}

impl Mode {
    /// `None` with a line when there is no `ringmq` or no `ringmq-admin` to run.
    fn copy() -> Option<Mode> {
        for program in [beside("ringmq"), beside("ringmq-admin")] {
            if !program.exists() {
                let line = format!("skipped: {} is missing; cargo test --workspace builds it", program.display());
                writeln!(io::stderr(), "{line}").expect("stderr is open");
                return None;
            }
        }
        let mode = Mode {
            folder: TempDir::with_prefix("ringmq-cluster-").expect("the temporary folder is writable"),
            brokers: [(); 4].map(|()| PortBlock::reserve(1)),
            name_servers: [(); 2].map(|()| PortBlock::reserve(1)),
        };
        let data = |name: &str| mode.folder.path().join("data").join(name).display().to_string();
        for (name, ports) in NAME_SERVERS.iter().zip(&mode.name_servers) {
            let kept = format!("{}/kvConfig.json", data(name));
            mode.rewrite(name, &[("listenPort", &ports.listen().to_string()), ("kvConfigPath", &kept)]);
        }
        for (name, ports) in BROKERS.iter().zip(&mode.brokers) {
            let port = ports.listen().to_string();
            let both = mode.name_servers().join(";");
            mode.rewrite(name, &[("listenPort", &port), ("namesrvAddr", &both), ("storePathRootDir", &data(name))]);
        }
        Some(mode)
    }

    /// Copies one file with other values, which it must have.
    fn rewrite(&self, name: &str, values: &[(&str, &str)]) {
        let file = format!("{name}.properties");
        let original = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conf/2m-2s-sync").join(&file);
        let mut text = fs::read_to_string(original).expect("the mode has this file");
        for (key, value) in values {
            let is_set = |line: &&str| line.starts_with(&format!("{key}="));
            let old = text.lines().find(is_set).unwrap_or_else(|| panic!("{file} sets no {key}")).to_owned();
            text = text.replace(&format!("\n{old}\n"), &format!("\n{key}={value}\n"));
        }
        fs::write(self.config(name), text).expect("the temporary folder is writable");
    }

    fn config(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.properties"))
    }

    /// `HOST:PORT` of each.
    fn name_servers(&self) -> Vec<String> {
        self.name_servers.iter().map(|ports| format!("127.0.0.1:{}", ports.listen())).collect()
    }

    /// The processes that run with a file of this folder, but for the cluster itself.
    fn nodes(&self) -> Vec<u32> {
        let folder = self.folder.path().display().to_string();
        let ids = fs::read_dir("/proc").expect("there is /proc").flatten();
        ids.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(|id| {
                let line = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
                let words: Vec<_> = line.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
                words.iter().any(|word| word == "-c") && words.iter().any(|word| word.starts_with(&folder))
            })
            .collect()
    }

    /// A command of `ringmq-admin`, with one of the name servers; what it prints.
    fn admin(&self, name_server: usize, words: &str) -> String {
        let mut command = Command::new(beside("ringmq-admin"));
        command.args(words.split_whitespace()).env("NAMESRV_ADDR", &self.name_servers()[name_server]);
        let Output { stdout, stderr, .. } = run(command);
        format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr))
    }
}

/// No node outlives the test, whatever happens.
impl Drop for Mode {
    fn drop(&mut self) {
        for id in self.nodes() {
            drop(Command::new("kill").args(["-KILL", &id.to_string()]).status());
        }
        drop(fs::remove_dir_all(self.folder.path()));
        remove_tails_below(self.folder.path());
    }
}

/// Another program of the workspace.
fn beside(program: &str) -> PathBuf {
    Path::new(CLUSTER).with_file_name(program)
}

/// `ringmq-cluster up`, to its end.
fn up(folder: &Path) -> Output {
    let mut command = Command::new(CLUSTER);
    command.arg("up").arg(folder);
    run(command)
}

/// Runs a command to its end; panics when it goes on.
fn run(mut command: Command) -> Output {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it was just built");
    let deadline = Instant::now() + END_WITHIN;
    while child.try_wait().expect("it is our child").is_none() {
        if Instant::now() >= deadline {
            child.kill().expect("it is our child");
            let said = child.wait_with_output().expect("it is our child");
            panic!("{command:?} goes on, having said:\n{}", String::from_utf8_lossy(&said.stdout));
        }
        thread::sleep(Duration::from_millis(10));
    }
    child.wait_with_output().expect("it is our child")
}

/// Waits until `condition` gives a value; panics with `what` and the last thing it saw.
fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match condition() {
            Ok(value) => return value,
            Err(seen) => assert!(Instant::now() < deadline, "after {PATIENCE:?} still no {what}:\n{seen}"),
        }
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_cluster_serves_until_it_is_told_to_end() {
    let Some(mode) = Mode::copy() else { return };
    for (round, signal) in ["-INT", "-TERM"].into_iter().enumerate() {
        let log = mode.folder.path().join(format!("output-{round}.log"));
        let mut command = Command::new(CLUSTER);
        command.arg("up").arg(mode.folder.path());
        let mut cluster = Process::start("ringmq-cluster", command, &log).expect("it was just built");
        for name_server in 0..NAME_SERVERS.len() {
            wait_for("cluster whose slaves follow", || {
                let listed = mode.admin(name_server, "cluster list");
                let in_sync = listed.matches("2 in sync of 2").count();
                if in_sync == 2 && listed.matches("follows").count() == 2 { Ok(()) } else { Err(listed) }
            });
        }
        wait_for("word that it is ready", || {
            let text = cluster.log_text();
            if text.contains("\nready; type kill NAME") { Ok(()) } else { Err(text) }
        });
        let nodes = mode.nodes();
        assert_eq!(nodes.len(), BROKERS.len() + NAME_SERVERS.len(), "{}", cluster.log_text());
        let body = format!("of-round-{round}");
        mode.admin(0, "topic create -t orders --queues broker-a=3,broker-b=1");
        let sent = mode.admin(0, &format!("send -t orders -b {body} --count 8"));
        assert_eq!(sent.matches("SUCCESS").count(), 8, "{sent}");
        // The second round reads what the first has left as well.
        let count = 8 * (round + 1);
        let read = mode.admin(1, &format!("consume -t orders -g readers-{round} --commit --count {count}"));
        assert_eq!(read.lines().filter(|line| line.ends_with(&body)).count(), 8, "{read}");
        assert_eq!(read.lines().count(), count, "{read}");

        let told = Command::new("kill").args([signal, &cluster.id().to_string()]).status();
        assert!(told.is_ok_and(|status| status.success()));
        let ended = cluster.wait_for_end(END_WITHIN);
        let ended = ended.unwrap_or_else(|| panic!("it goes on after {signal}:\n{}", cluster.log_tail()));
        assert_eq!(ended.code(), Some(0), "{signal}: {}", cluster.log_tail());
        assert_eq!(mode.nodes(), Vec::<u32>::new(), "{signal}: of {nodes:?} these are left");
        assert!(!cluster.log_text().contains("is killed"), "a node did not stop:\n{}", cluster.log_text());
    }
}

/// It ends at once with one sentence that has these words, and no node runs.
#[track_caller]
fn is_refused(mode: &Mode, ended: &Output, words: &[&str]) {
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    for word in words {
        assert!(said.contains(word), "{word:?} is not in: {said}");
    }
    assert_eq!(mode.nodes(), Vec::<u32>::new(), "{said}");
}

#[test]
fn a_folder_that_is_none_is_refused() {
    let Some(mode) = Mode::copy() else { return };
    let missing = mode.folder.path().join("nowhere");
    is_refused(&mode, &up(&missing), &["nowhere", "No such file"]);
    fs::create_dir(&missing).expect("the temporary folder is writable");
    is_refused(&mode, &up(&missing), &["nowhere", "*.properties", "conf/2m-2s-sync"]);
    let wrong = mode.config("broker-b");
    let text = fs::read_to_string(&wrong).expect("it was written");
    fs::write(&wrong, format!("{text}\nbrokerNam=broker-b\n")).expect("it was written before");
    is_refused(&mode, &up(mode.folder.path()), &["broker-b.properties line", "brokerNam", "did you mean brokerName"]);
}

#[test]
fn a_port_in_use_is_refused() {
    let Some(mode) = Mode::copy() else { return };
    // The name server's; a broker's own, its port for old clients, and that of replication.
    let broker = mode.brokers[3].listen();
    for (file, port) in [
        ("namesrv-2", mode.name_servers[1].listen()),
        ("broker-b-s", broker),
        ("broker-b-s", broker - 2),
        ("broker-b-s", broker + 1),
    ] {
        let _taken = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).expect("the block is ours");
        is_refused(&mode, &up(mode.folder.path()), &[&format!("{file}.properties"), &port.to_string(), "in use"]);
    }
    // Two files with the same port are no cluster either.
    let port = mode.brokers[0].listen().to_string();
    mode.rewrite("broker-b", &[("listenPort", &port)]);
    is_refused(&mode, &up(mode.folder.path()), &["broker-b.properties", &port, "in use"]);
}
