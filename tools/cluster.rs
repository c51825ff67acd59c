//! `ringmq-cluster up FOLDER`: every node of a folder of `conf/` on this machine, until Ctrl-C.
//!
//! Each `*.properties` file is a process of its own: `ringmq namesrv` for those whose name begins with `namesrv`, `ringmq broker` for the
//! others. What they say is printed behind their names. On standard input it takes `kill NAME`, `stop NAME`, `start NAME`, `list` and `quit`,
//! so that one can watch what a cluster does when a node is lost.

use std::io::{ErrorKind, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus, Stdio};
use std::time::Duration;

use clap::{Parser, Subcommand};
use ringmq::config::{NamesrvConfig, NodeConfig, NodeKind};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

/// Nodes flush and say goodbye within this; then they are killed.
const STOP_WITHIN: Duration = Duration::from_secs(10);
/// A port in use is looked at again for a second: the kernel lets go of the sockets of a process that has ended in its own time.
const PORT_TRIES: u32 = 50;
const PORT_WAIT: Duration = Duration::from_millis(20);

/// Starts the nodes of a cluster on this machine, and ends them together.
#[derive(Parser)]
#[command(name = "ringmq-cluster", version, about, max_term_width = 100, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Start every *.properties file of a folder, for example conf/2m-2s-sync.
    Up {
        /// The folder.
        folder: PathBuf,
        /// The ringmq program. Default: the one beside this program.
        #[arg(long)]
        ringmq: Option<PathBuf>,
    },
}

/// Why nothing is started, or a node is not.
#[derive(Debug, thiserror::Error)]
enum ClusterError {
    #[error("{path} cannot be read: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path} has no *.properties file; name a folder such as conf/2m-2s-sync")]
    Empty { path: PathBuf },
    #[error("{0}")]
    Config(#[from] ringmq::config::ConfigError),
    #[error(
        "{path}: {address} cannot be listened on: {source}; give it a port of its own, or end the program that has this one"
    )]
    Port { path: PathBuf, address: SocketAddr, source: std::io::Error },
    #[error("{program} cannot be started: {source}; build it, or name it with --ringmq")]
    Start { program: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// One file of the folder, and its process.
struct Node {
    name: String,
    file: PathBuf,
    kind: &'static str,
    /// What it is and where it listens, for `list`.
    what: String,
    ports: Vec<SocketAddr>,
    child: Option<Child>,
}

enum Heard {
    Line(String),
    /// What a person typed; `None`: there is no more.
    Typed(Option<String>),
}

fn main() -> ExitCode {
    let Action::Up { folder, ringmq } = Cli::parse().action;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let ended = runtime.map_err(ClusterError::Io).and_then(|runtime| {
        let ended = runtime.block_on(up(&folder, ringmq));
        // A read of the keyboard cannot be taken back, and must not be waited for.
        runtime.shutdown_background();
        ended
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ringmq-cluster: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn up(folder: &Path, ringmq: Option<PathBuf>) -> Result<(), ClusterError> {
    let mut nodes = read_nodes(folder)?;
    check_ports(&nodes).await?;
    let program = match ringmq {
        Some(program) => program,
        None => std::env::current_exe()?.with_file_name("ringmq"),
    };
    let (say, mut heard) = mpsc::channel(1024);
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut started = Ok(());
    for node in &mut nodes {
        started = node.start(&program, &say);
        if started.is_err() {
            break;
        }
    }
    if started.is_ok() {
        tokio::spawn(read_commands(say.clone()));
        list(&nodes);
        print("kill NAME (as a crash), stop NAME, start NAME, list, quit; Ctrl-C ends all");
        loop {
            tokio::select! {
                _ = interrupt.recv() => break,
                _ = terminate.recv() => break,
                next = heard.recv() => match next {
                    Some(Heard::Line(line)) => print(&line),
                    Some(Heard::Typed(Some(typed))) => {
                        if obey(&mut nodes, &typed, &program, &say).await {
                            break;
                        }
                    }
                    // Without a terminal it runs until a signal.
                    Some(Heard::Typed(None)) | None => {}
                },
                (index, status) = first_end(&mut nodes) => {
                    if let Some(node) = nodes.get_mut(index) {
                        node.child = None;
                        print(&format!("[{}] ended: {status}; `start {}` brings it back", node.name, node.name));
                    }
                }
            }
        }
    }
    stop_all(&mut nodes).await;
    started
}

/// The files of the folder, name servers first.
#[expect(clippy::disallowed_methods, reason = "this tool reads the files that it starts nodes from")]
fn read_nodes(folder: &Path) -> Result<Vec<Node>, ClusterError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| ClusterError::Read { path, source }
    };
    let mut nodes = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed(folder))? {
        let file = entry.map_err(failed(folder))?.path();
        let Some(name) = file.file_name().and_then(|name| name.to_str()?.strip_suffix(".properties")) else { continue };
        let name = name.to_owned();
        let text = std::fs::read_to_string(&file).map_err(failed(&file))?;
        let shown = file.display().to_string();
        let (kind, what, ports) = if name.starts_with("namesrv") {
            let config = NamesrvConfig::read(&shown, &text)?;
            let ports = vec![SocketAddr::new(config.bind_ip, config.listen_port)];
            ("namesrv", format!("name server, port {}", config.listen_port), ports)
        } else {
            let config = NodeConfig::read(NodeKind::Broker, &shown, &text, None)?;
            let what = format!("{} of {}, port {}", config.role, config.broker_name, config.listen_port);
            ("broker", what, ports_of(&config))
        };
        nodes.push(Node { name, file, kind, what, ports, child: None });
    }
    if nodes.is_empty() {
        return Err(ClusterError::Empty { path: folder.to_owned() });
    }
    nodes.sort_by(|a, b| (a.kind == "broker", &a.name).cmp(&(b.kind == "broker", &b.name)));
    Ok(nodes)
}

/// Where a broker will listen. How many shards there are may be known to its store alone; then these are the first one's.
fn ports_of(config: &NodeConfig) -> Vec<SocketAddr> {
    let shards = 0..config.shards.unwrap_or(1);
    let ports = shards.flat_map(|shard| [config.port(shard), config.vip_port(shard), config.ha_port(shard)]);
    ports.map(|port| SocketAddr::new(config.bind_ip, port)).collect()
}

/// Fails with the first port that is taken, by another program or by another file of the folder: its node would end a moment after its start, and
/// the others would run without it.
#[expect(clippy::disallowed_methods, reason = "this tool looks whether its nodes will be able to listen")]
async fn check_ports(nodes: &[Node]) -> Result<(), ClusterError> {
    let mut held = Vec::new();
    for node in nodes {
        for address in &node.ports {
            let failed = |source| ClusterError::Port { path: node.file.clone(), address: *address, source };
            let mut tried = 0;
            let listener = loop {
                tried += 1;
                match TcpListener::bind(address) {
                    Err(error) if error.kind() == ErrorKind::AddrInUse && tried < PORT_TRIES => sleep(PORT_WAIT).await,
                    bound => break bound.map_err(failed)?,
                }
            };
            held.push(listener);
        }
    }
    Ok(())
}

impl Node {
    fn start(&mut self, program: &Path, say: &mpsc::Sender<Heard>) -> Result<(), ClusterError> {
        let mut command = Command::new(program);
        // A group of its own: Ctrl-C reaches this program alone, which then ends all in order.
        command.arg(self.kind).arg("-c").arg(&self.file).stdin(Stdio::null()).process_group(0).kill_on_drop(true);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let failed = |source| ClusterError::Start { program: program.to_owned(), source };
        let mut child = command.spawn().map_err(failed)?;
        if let Some(stdout) = child.stdout.take() {
            tokio::spawn(pass_on(self.name.clone(), stdout, say.clone()));
        }
        if let Some(stderr) = child.stderr.take() {
            tokio::spawn(pass_on(self.name.clone(), stderr, say.clone()));
        }
        self.child = Some(child);
        Ok(())
    }

    fn signal(&self, signal: Signal) {
        let id = self.child.as_ref().and_then(Child::id).and_then(|id| i32::try_from(id).ok());
        if let Some(pid) = id.and_then(Pid::from_raw) {
            // It may have ended by itself a moment ago.
            let _ended = kill_process(pid, signal);
        }
    }
}

/// Carries out what a person typed. True: they want it to end.
async fn obey(nodes: &mut [Node], typed: &str, program: &Path, say: &mpsc::Sender<Heard>) -> bool {
    let mut words = typed.split_whitespace();
    let (verb, name) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    match verb {
        "" => return false,
        "quit" | "exit" => return true,
        "list" => {
            list(nodes);
            return false;
        }
        "kill" | "stop" | "start" => {}
        _ => {
            print(&format!("there is no `{verb}`: kill NAME, stop NAME, start NAME, list, quit"));
            return false;
        }
    }
    let Some(node) = nodes.iter_mut().find(|node| node.name == name) else {
        print(&format!("there is no node `{name}`; `list` shows them"));
        return false;
    };
    match (verb, node.child.is_some()) {
        ("start", false) => {
            if let Err(error) = node.start(program, say) {
                print(&error.to_string());
            }
        }
        ("start", true) => print(&format!("{name} runs already")),
        (_, false) => print(&format!("{name} does not run")),
        ("kill", true) => node.signal(Signal::KILL),
        _ => node.signal(Signal::TERM),
    }
    false
}

/// Waits until one of the nodes has ended.
async fn first_end(nodes: &mut [Node]) -> (usize, ExitStatus) {
    loop {
        for (index, node) in nodes.iter_mut().enumerate() {
            if let Some(child) = &mut node.child
                && let Ok(Some(status)) = child.try_wait()
            {
                return (index, status);
            }
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// Brokers first: they say goodbye to the name servers.
async fn stop_all(nodes: &mut [Node]) {
    for kind in ["broker", "namesrv"] {
        for node in nodes.iter().filter(|node| node.kind == kind) {
            node.signal(Signal::TERM);
        }
        for node in nodes.iter_mut().filter(|node| node.kind == kind) {
            let Some(child) = &mut node.child else { continue };
            if timeout(STOP_WITHIN, child.wait()).await.is_err() {
                print(&format!("[{}] did not stop within {STOP_WITHIN:?} and is killed", node.name));
                node.signal(Signal::KILL);
            }
            node.child = None;
        }
    }
}

fn list(nodes: &[Node]) {
    for node in nodes {
        let id = node.child.as_ref().and_then(Child::id);
        let state = id.map_or_else(|| "down".to_owned(), |id| format!("process {id}"));
        print(&format!("{:<12} {state:<16} {}", node.name, node.what));
    }
}

async fn pass_on(name: String, from: impl AsyncRead + Unpin, say: mpsc::Sender<Heard>) {
    let mut lines = BufReader::new(from).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if say.send(Heard::Line(format!("[{name}] {line}"))).await.is_err() {
            return;
        }
    }
}

async fn read_commands(say: mpsc::Sender<Heard>) {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Ok(line) = lines.next_line().await {
        let is_end = line.is_none();
        if say.send(Heard::Typed(line)).await.is_err() || is_end {
            return;
        }
    }
}

fn print(line: &str) {
    drop(writeln!(std::io::stdout(), "{line}"));
}
