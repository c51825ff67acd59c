//! The built `ringmq` binary as a child process.
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

use ringmq_peers::{Flush, PortBlock, Process, StartError, remove_tails_below};
use tempfile::TempDir;

use crate::client::Client;

/// Ports between shards, as `portStride` defaults.
const STRIDE: u16 = 10;
/// A start has this long; what takes longer is broken even on a busy machine.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// How a node is started.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub struct NodeOptions {
    pub broker_name: &'static str,
    pub shards: u16,
    /// `flushDiskType`.
    pub flush: Flush,
    /// `autoCreateTopicEnable`.
    pub auto_create_topics: bool,
    /// Name servers of others to register with; with some, `ringmq broker` runs instead of `ringmq all`.
    pub name_servers: Option<String>,
    /// `storePathRootDir`; a fresh folder, removed at the end, when `None`.
    pub store_dir: Option<PathBuf>,
    /// Further lines of the configuration: key, value.
    pub more: Vec<(&'static str, String)>,
    /// Files and sockets that the process may have open, if not as many as this one.
    pub open_files: Option<u64>,
    /// Environment variables of the process.
    pub environment: Vec<(&'static str, String)>,
}

impl Default for NodeOptions {
    fn default() -> Self {
        Self {
            broker_name: "broker-a",
            shards: 1,
            flush: Flush::Async,
            auto_create_topics: true,
            name_servers: None,
            store_dir: None,
            more: Vec::new(),
            open_files: None,
            environment: Vec::new(),
        }
    }
}

/// A running node: a name server (unless others serve it) and a broker of one or more shards.
/// Killed when dropped; its log's end is shown when the test fails.
#[derive(Debug)]
pub struct Node {
    process: Option<Process>,
    options: NodeOptions,
    broker_ports: PortBlock,
    name_server_port: PortBlock,
    folder: TempDir,
    starts: u32,
    keeps_file: bool,
}

impl Node {
    /// Starts a node and waits until it serves; panics with its log when it does not.
    pub fn start(options: &NodeOptions) -> Self {
        Self::try_start(options).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The same, for tests of starts that must fail: the error holds the end of the log.
    pub fn try_start(options: &NodeOptions) -> Result<Self, StartError> {
        // What earlier nodes of this and other tests have left.
        remove_tails_below(&std::env::temp_dir());
        let mut node = Self {
            process: None,
            options: options.clone(),
            broker_ports: PortBlock::reserve(options.shards),
            name_server_port: PortBlock::reserve(1),
            folder: TempDir::with_prefix("ringmq-test-").expect("the temporary folder is writable"),
            starts: 0,
            keeps_file: false,
        };
        node.try_restart()?;
        Ok(node)
    }

    /// Starts it again with the same ports and store, after [`Node::kill`] or [`Node::stop`].
    pub fn restart(&mut self) {
        self.try_restart().unwrap_or_else(|error| panic!("{error}"));
    }

    /// Starts it again with the file as it is on the disk now.
    pub fn restart_as_it_is(&mut self) {
        self.keeps_file = true;
        self.restart();
    }

    /// Its properties file.
    pub fn config_path(&self) -> PathBuf {
        self.folder.path().join("ringmq.properties")
    }

    /// The same, for restarts that may fail.
    pub fn try_restart(&mut self) -> Result<(), StartError> {
        let began = Instant::now();
        loop {
            match self.start_once() {
                // The kernel takes down a killed process' ring, and the sockets in it, a moment after its end.
                Err(StartError::Ended { tail, .. })
                    if self.starts > 1
                        && tail.contains("Address already in use")
                        && began.elapsed() < Duration::from_secs(5) =>
                {
                    thread::sleep(Duration::from_millis(50));
                }
                end => return end,
            }
        }
    }

    fn start_once(&mut self) -> Result<(), StartError> {
        let mut process = self.spawn()?;
        let name_server = self.name_server();
        let brokers: Vec<String> = (0..self.options.shards).map(|shard| self.broker(shard)).collect();
        process.wait_until(START_TIMEOUT, |_| is_serving(&name_server, &brokers))?;
        self.process = Some(process);
        Ok(())
    }

    /// Starts the process without waiting for anything.
    pub fn spawn(&mut self) -> Result<Process, StartError> {
        assert!(self.process.is_none(), "the node is running");
        let config = self.config_path();
        if !self.keeps_file {
            fs::write(&config, self.properties()).expect("the temporary folder is writable");
        }
        self.starts += 1;
        let log = self.folder.path().join(format!("output-{}.log", self.starts));
        let program = crate::program("ringmq");
        let mut command = match self.options.open_files {
            None => Command::new(&program),
            Some(limit) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", "ulimit -n \"$1\" && shift && exec \"$@\"", "sh", &limit.to_string()]).arg(program);
                shell
            }
        };
        command.arg(if self.options.name_servers.is_some() { "broker" } else { "all" }).arg("-c").arg(&config);
        command.envs(self.options.environment.iter().map(|(name, value)| (name, value)));
        Process::start("ringmq", command, &log)
    }

    /// Options for the next restart.
    pub fn options_mut(&mut self) -> &mut NodeOptions {
        &mut self.options
    }

    /// `HOST:PORT` of the name server: its own, or the first of the others.
    pub fn name_server(&self) -> String {
        match &self.options.name_servers {
            Some(list) => list.split(';').next().unwrap_or_default().to_owned(),
            None => format!("127.0.0.1:{}", self.name_server_port.listen()),
        }
    }

    /// `HOST:PORT` of a shard.
    pub fn broker(&self, shard: u16) -> String {
        format!("127.0.0.1:{}", self.broker_ports.listen() + STRIDE * shard)
    }

    /// `HOST:PORT` of a shard's replication port.
    pub fn replication_port(&self, shard: u16) -> String {
        format!("127.0.0.1:{}", self.broker_ports.listen() + STRIDE * shard + 1)
    }

    /// How many brokers it is.
    pub fn shards(&self) -> u16 {
        self.options.shards
    }

    /// As the name server knows it: with the shard's number where there are several.
    pub fn broker_name(&self, shard: u16) -> String {
        let name = self.options.broker_name;
        if self.options.shards == 1 { name.to_owned() } else { format!("{name}-{shard}") }
    }

    /// `storePathRootDir`.
    pub fn store_dir(&self) -> PathBuf {
        self.options.store_dir.clone().unwrap_or_else(|| self.folder.path().join("store"))
    }

    /// Its process, for its id and its log.
    pub fn process(&self) -> &Process {
        self.process.as_ref().expect("the node is running")
    }

    /// Kills it as a crash would (SIGKILL) and waits for its end.
    pub fn kill(&mut self) {
        self.process.take().expect("the node is running").kill();
    }

    /// Asks it to stop (SIGTERM) and waits for its end; panics after `timeout`.
    pub fn stop(&mut self, timeout: Duration) -> ExitStatus {
        let mut process = self.process.take().expect("the node is running");
        process.terminate();
        process.wait_for_end(timeout).unwrap_or_else(|| {
            panic!("ringmq still runs {timeout:?} after SIGTERM; its log ends:\n{}", process.log_tail())
        })
    }

    /// Waits for an end that nobody has asked it for; panics after `timeout`.
    pub fn wait_for_end(&mut self, timeout: Duration) -> ExitStatus {
        let process = self.process.as_mut().expect("the node is running");
        let ended = process.wait_for_end(timeout);
        ended.unwrap_or_else(|| panic!("ringmq still runs after {timeout:?}; its log ends:\n{}", process.log_tail()))
    }

    fn properties(&self) -> String {
        let options = &self.options;
        let flush = match options.flush {
            Flush::Async => "ASYNC_FLUSH",
            Flush::Sync => "SYNC_FLUSH",
        };
        let name_server = match &options.name_servers {
            Some(list) => format!("namesrvAddr={list}"),
            None => format!("namesrvListenPort={}", self.name_server_port.listen()),
        };
        let mut text = format!(
            "brokerClusterName=DefaultCluster\nbrokerName={}\nbrokerIP1=127.0.0.1\nlistenPort={}\n{name_server}\n\
             storePathRootDir={}\nshards={}\nflushDiskType={flush}\nautoCreateTopicEnable={}\n",
            options.broker_name,
            self.broker_ports.listen(),
            self.store_dir().display(),
            options.shards,
            options.auto_create_topics,
        );
        for (key, value) in &options.more {
            writeln!(text, "{key}={value}").expect("a string takes all");
        }
        text
    }
}

/// Whether all of `brokers` have registered and take connections: `BenchmarkTest` is on every broker from the start.
fn is_serving(name_server: &str, brokers: &[String]) -> bool {
    let Ok(Some(route)) = Client::connect(name_server).and_then(|mut client| client.route("BenchmarkTest")) else {
        return false;
    };
    let registered: Vec<&str> = route["brokerDatas"]
        .as_array()
        .into_iter()
        .flatten()
        // A master is number 0 of its name, slaves have numbers of their own.
        .filter_map(|broker| broker["brokerAddrs"].as_object())
        .flat_map(|addresses| addresses.values().filter_map(|address| address.as_str()))
        .collect();
    brokers.iter().all(|broker| registered.contains(&broker.as_str()) && Client::connect(broker).is_ok())
}

/// Waits until `condition` gives a value; panics with `what` after a minute.
pub fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < deadline, "after a minute still no {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// The bytes of all files below `folder`.
pub fn folder_bytes(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => folder_bytes(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}
