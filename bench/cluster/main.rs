//! `ringmq-cluster up FOLDER`: every node of a folder of `conf/` on this machine, until Ctrl-C.
//!
//! Each `*.properties` file is a process of its own: `ringmq namesrv` for those whose name begins with `namesrv`, `ringmq broker` for the
//! others. What they say is printed behind their names. On standard input it takes `kill NAME`, `stop NAME`, `start NAME`, `list` and `quit`,
//! so that one can watch what a cluster does when a node is lost. Its nodes end with it, whatever ends it.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "starts processes and reads files and the keyboard: it is the world around a broker, not a broker"
)]

use std::io::{self, BufRead as _, BufReader, ErrorKind, Read, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use ringmq::config::{NamesrvConfig, NodeConfig, NodeKind};
use ringmq_bench::lab::attached::{AttachedArgs, become_attached};
use ringmq_bench::lab::node;
use rustix::process::Signal;

/// Lines that wait to be printed; who says more waits.
const LINES_MAX: usize = 1024;
/// How often is looked whether a node, or all of it, is to end.
const LOOK: Duration = Duration::from_millis(50);
/// Nodes flush and say goodbye within this; then they are killed.
const STOP_WITHIN: Duration = Duration::from_secs(10);
/// A port in use is looked at again for a second: the kernel lets go of the sockets of a process that has ended in its own time.
const PORT_TRIES: u32 = 50;
const PORT_WAIT: Duration = Duration::from_millis(20);

/// Starts the nodes of a cluster on this machine, and ends them together.
#[derive(Parser)]
#[command(name = "ringmq-cluster", version = env!("RINGMQ_VERSION"), max_term_width = 100, disable_help_subcommand = true)]
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
    /// Become a node that ends with its parent
    #[command(hide = true)]
    Attached(AttachedArgs),
}

/// Why nothing is started, or a node is not.
#[derive(Debug, thiserror::Error)]
enum ClusterError {
    #[error("{path} cannot be read: {source}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} has no *.properties file; name a folder such as conf/2m-2s-sync")]
    Empty { path: PathBuf },
    #[error("{0}")]
    Config(#[from] ringmq::config::ConfigError),
    #[error(
        "{path}: {address} cannot be listened on: {source}; give it a port of its own, or end the program that has this one"
    )]
    Port { path: PathBuf, address: SocketAddr, source: io::Error },
    #[error("{program} cannot be started: {source}; build it, or name it with --ringmq")]
    Start { program: PathBuf, source: io::Error },
    #[error(transparent)]
    Io(#[from] io::Error),
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
    /// It has said so since it was started.
    is_ready: bool,
}

/// With which words a line begins that a node says when it serves: of a broker, and of a name server.
const READY_LINES: [&str; 2] = ["replication ", "keeps "];

enum Heard {
    /// What a node said, and its name.
    Line(String, String),
    /// What a person typed.
    Typed(String),
}

fn main() -> ExitCode {
    let ended = match Cli::parse().action {
        Action::Up { folder, ringmq } => up(&folder, ringmq).map_err(|error| error.to_string()),
        Action::Attached(args) => Err(become_attached(&args)),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(sentence) => {
            // With stderr closed there is nobody to tell.
            drop(writeln!(io::stderr(), "ringmq-cluster: {sentence}"));
            ExitCode::FAILURE
        }
    }
}

fn up(folder: &Path, ringmq: Option<PathBuf>) -> Result<(), ClusterError> {
    let mut nodes = read_nodes(folder)?;
    check_ports(&nodes)?;
    let program = match ringmq {
        Some(program) => program,
        None => std::env::current_exe()?.with_file_name("ringmq"),
    };
    let (say, heard) = sync_channel(LINES_MAX);
    let told = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&told))?;
    }
    let started = nodes.iter_mut().try_for_each(|node| node.start(&program, &say));
    if started.is_ok() {
        let typing = say.clone();
        // A read of the keyboard cannot be taken back, and is not waited for.
        thread::spawn(move || read_commands(&typing));
        serve(&mut nodes, &program, &say, &heard, &told);
    }
    stop_all(&mut nodes, &heard);
    started
}

/// Prints what nodes say and does what a person types, until it is told to end.
fn serve(nodes: &mut [Node], program: &Path, say: &SyncSender<Heard>, heard: &Receiver<Heard>, told: &AtomicBool) {
    let mut is_said = false;
    while !told.load(Ordering::Relaxed) {
        match heard.recv_timeout(LOOK) {
            Ok(Heard::Line(name, line)) => {
                print(&format!("[{name}] {line}"));
                if READY_LINES.iter().any(|words| line.starts_with(words))
                    && let Some(node) = nodes.iter_mut().find(|node| node.name == name)
                {
                    (node.is_ready, is_said) = (true, false);
                }
            }
            Ok(Heard::Typed(typed)) => {
                if obey(nodes, &typed, program, say) {
                    return;
                }
            }
            // Nobody says anything now, so that what is said here is not buried. Without a terminal it runs until a signal.
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                let running = || nodes.iter().filter(|node| node.child.is_some());
                if !is_said && running().count() > 0 && running().all(|node| node.is_ready) {
                    is_said = true;
                    say_ready(nodes);
                }
            }
        }
        for node in nodes.iter_mut() {
            if let Some(Ok(Some(status))) = node.child.as_mut().map(Child::try_wait) {
                node.child = None;
                print(&format!("[{}] ended: {status}; `start {}` brings it back", node.name, node.name));
            }
        }
    }
}

/// When all that run serve: what they are, and what can be typed.
fn say_ready(nodes: &[Node]) {
    list(nodes);
    print("ready; type kill NAME (as a crash), stop NAME, start NAME, list or quit; Ctrl-C ends all");
}

/// The files of the folder, name servers first.
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
        nodes.push(Node { name, file, kind, what, ports, child: None, is_ready: false });
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
fn check_ports(nodes: &[Node]) -> Result<(), ClusterError> {
    let mut held = Vec::new();
    for node in nodes {
        for address in &node.ports {
            let failed = |source| ClusterError::Port { path: node.file.clone(), address: *address, source };
            let mut tried = 0;
            let listener = loop {
                tried += 1;
                match TcpListener::bind(address) {
                    Err(error) if error.kind() == ErrorKind::AddrInUse && tried < PORT_TRIES => sleep(PORT_WAIT),
                    bound => break bound.map_err(failed)?,
                }
            };
            held.push(listener);
        }
    }
    Ok(())
}

impl Node {
    fn start(&mut self, program: &Path, say: &SyncSender<Heard>) -> Result<(), ClusterError> {
        let failed = |source| ClusterError::Start { program: program.to_owned(), source };
        // What becomes the node would say so too, but as a node that ended. A bare name is looked up where the system looks.
        if program.components().count() > 1 {
            program.metadata().map_err(failed)?;
        }
        let mut command = node::ringmq(program, self.kind, &self.file, None).map_err(failed)?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(failed)?;
        if let Some(stdout) = child.stdout.take() {
            self.pass_on(stdout, say);
        }
        if let Some(stderr) = child.stderr.take() {
            self.pass_on(stderr, say);
        }
        (self.child, self.is_ready) = (Some(child), false);
        Ok(())
    }

    fn signal(&self, signal: Signal) {
        if let Some(child) = &self.child {
            node::signal(child.id(), signal);
        }
    }

    /// Its lines behind its name, until it closes them.
    fn pass_on(&self, from: impl Read + Send + 'static, say: &SyncSender<Heard>) {
        let (name, say) = (self.name.clone(), say.clone());
        thread::spawn(move || {
            for line in BufReader::new(from).lines().map_while(Result::ok) {
                if say.send(Heard::Line(name.clone(), line)).is_err() {
                    return;
                }
            }
        });
    }
}

/// Carries out what a person typed. True: they want it to end.
fn obey(nodes: &mut [Node], typed: &str, program: &Path, say: &SyncSender<Heard>) -> bool {
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

/// Brokers first: they say goodbye to the name servers.
fn stop_all(nodes: &mut [Node], heard: &Receiver<Heard>) {
    for kind in ["broker", "namesrv"] {
        let of_kind = |node: &&mut Node| node.kind == kind;
        nodes.iter_mut().filter(of_kind).for_each(|node| node.signal(Signal::TERM));
        let deadline = Instant::now() + STOP_WITHIN;
        for node in nodes.iter_mut().filter(of_kind) {
            let Some(mut child) = node.child.take() else { continue };
            while matches!(child.try_wait(), Ok(None)) && Instant::now() < deadline {
                say_on(heard, LOOK);
            }
            if matches!(child.try_wait(), Ok(None)) {
                print(&format!("[{}] did not stop within {STOP_WITHIN:?} and is killed", node.name));
                node::signal(child.id(), Signal::KILL);
                // It cannot refuse.
                drop(child.wait());
            }
        }
    }
}

/// Prints the next line that a node says, if it comes in time: one that is not heard could not go on to its end.
fn say_on(heard: &Receiver<Heard>, time: Duration) {
    if let Ok(Heard::Line(name, line)) = heard.recv_timeout(time) {
        print(&format!("[{name}] {line}"));
    }
}

fn list(nodes: &[Node]) {
    for node in nodes {
        let id = node.child.as_ref().map(Child::id);
        let state = id.map_or_else(|| "down".to_owned(), |id| format!("process {id}"));
        print(&format!("{:<12} {state:<16} {}", node.name, node.what));
    }
}

fn read_commands(say: &SyncSender<Heard>) {
    for line in io::stdin().lines().map_while(Result::ok) {
        if say.send(Heard::Typed(line)).is_err() {
            return;
        }
    }
}

fn print(line: &str) {
    // A closed stdout is no reason to end the nodes.
    drop(writeln!(io::stdout(), "{line}"));
}
