//! `ringmq all | broker | namesrv | controller`: read the configuration, wire up, exit code. `ringmq store`: the files of a store whose node does not run.
//!
//! Exit codes: 0 after a signal, 1 if it cannot start or a store is not sound, 2 for a wrong command line, 3 if a shard or a controller failed while it
//! served (its log met an error of the disk: look at the disk before it is started again). Every error is one sentence on stderr that says what to do.

use std::fmt::Debug;
use std::io::{IsTerminal as _, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use ringmq::broker::life::Life;
use ringmq::broker::settings::BrokerSettings;
use ringmq::config::{ControllerConfig, FlushDiskType, NamesrvConfig, NodeConfig, NodeKind, NotNeeded};
use ringmq::control::address;
use ringmq::control::clock::Clock;
use ringmq::control::configuration::Configuration;
use ringmq::control::controller::ControllerProcess;
use ringmq::control::mailbox::{control_mailbox, shard_mailbox};
use ringmq::control::plane::{NameServerPlan, NodePlan, Outcome, Plane, Ready, Seat};
use ringmq::control::registrar::{Identity, Pace};
use ringmq::disk::Store;
use ringmq::letter::ToShard;
use ringmq::model::{Role, ShardId};
use ringmq::repair::StoreArguments;
use ringmq::said::{BY_STRANGERS, Lines};
use ringmq::shard::descriptors::Descriptors;
use ringmq::shard::{self, ShardHandle, ShardSettings, cpus, runtime};
use tracing::field::Field;
use tracing::warn;
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer};

/// A message broker that speaks Apache RocketMQ's protocol; every core is a broker.
#[derive(Parser)]
#[command(version = env!("RINGMQ_VERSION"), about, max_term_width = 100, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Mode,
}

#[derive(Subcommand)]
enum Mode {
    /// A name server and a broker node in one process: the way to begin.
    ///
    /// Without a file it listens on loopback, keeps its data in ./ringmq-data and uses every core.
    All(NodeArguments),
    /// A broker node, registered with the name servers given by -n or namesrvAddr.
    Broker(NodeArguments),
    /// A name server alone.
    Namesrv(NameServerArguments),
    /// A controller alone: with others like it, it decides who is the master of each group of Apache's brokers.
    Controller(ControllerArguments),
    /// The files of a store whose node does not run: check, repair.
    Store(StoreArguments),
}

#[derive(Args)]
struct NodeArguments {
    /// RocketMQ properties; conf/all.conf and conf/broker.conf explain every key.
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Name servers to register with, HOST:PORT separated by ';'; wins over namesrvAddr and NAMESRV_ADDR.
    #[arg(short = 'n', long = "namesrv", value_name = "ADDRESSES")]
    name_servers: Option<String>,
    /// Print the configuration in force and exit.
    #[arg(short = 'p', long = "print")]
    print: bool,
}

#[derive(Args)]
struct NameServerArguments {
    /// RocketMQ properties; conf/namesrv.conf explains every key.
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print the configuration in force and exit.
    #[arg(short = 'p', long = "print")]
    print: bool,
}

#[derive(Args)]
struct ControllerArguments {
    /// RocketMQ properties; conf/controller.conf explains every key.
    #[arg(short = 'c', long = "config", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print the configuration in force and exit.
    #[arg(short = 'p', long = "print")]
    print: bool,
}

/// The exit code when a shard failed while it served.
const SHARD_FAILED: u8 = 3;

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let cli = Cli::parse();
    // What a start logs of a store that it opens is not true of one that is only looked at.
    if !matches!(cli.command, Mode::Store(_)) {
        log_to_stderr();
    }
    let outcome = match &cli.command {
        Mode::Namesrv(arguments) => name_server(arguments),
        Mode::Controller(arguments) => controller(arguments),
        Mode::All(arguments) => node(NodeKind::All, arguments),
        Mode::Broker(arguments) => node(NodeKind::Broker, arguments),
        Mode::Store(arguments) => arguments.run().map(|()| Outcome::Stopped).map_err(Failure::from),
    };
    match outcome {
        Ok(Outcome::Stopped) => ExitCode::SUCCESS,
        Ok(Outcome::Failed) => ExitCode::from(SHARD_FAILED),
        Err(sentence) => {
            eprintln!("ringmq: {sentence}");
            ExitCode::FAILURE
        }
    }
}

fn log_to_stderr() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(has_colours())
        .finish();
    let limit =
        Arc::new(Limit { lines: Mutex::default(), clock: Clock::start(), unregistered: AtomicBool::new(false) });
    log.with(Limited(limit.clone())).init();
    // The process does not wait for it. Without it nothing is said of what was left out.
    drop(std::thread::Builder::new().name("ringmq-log".to_owned()).spawn(move || limit.say_left_out()));
}

/// Whether lines of the log are coloured: on a terminal that knows colours, unless somebody wants none (<https://no-color.org>).
fn has_colours() -> bool {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    std::io::stderr().is_terminal() && !is_set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// The lines that strangers can cause, and one of glommio's.
struct Limit {
    lines: Mutex<Lines>,
    clock: Clock,
    /// glommio has said that memory was not registered.
    unregistered: AtomicBool,
}

/// How glommio says that it goes on without registered memory, with an error's insides behind it.
const UNREGISTERED: &str = "Error: registering buffers";

impl Limit {
    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[expect(clippy::disallowed_methods, reason = "a thread of its own")]
    fn say_left_out(&self) {
        loop {
            std::thread::sleep(Duration::from_secs(1));
            if self.unregistered.swap(false, Ordering::Relaxed) {
                warn!(
                    "the limit of locked memory has no room to register memory for I/O, so old messages are read at twice the cost; set `LimitMEMLOCK=infinity` (systemd), `--ulimit memlock=-1` (Docker) or `ulimit -l unlimited`"
                );
            }
            let left_out = self.lines().left_out(self.clock.now().mono);
            for (count, first) in left_out {
                warn!("{count} more lines like this were left out: {first}");
            }
        }
    }
}

/// Leaves lines out, before they are written.
struct Limited(Arc<Limit>);

impl<S: tracing::Subscriber> Layer<S> for Limited {
    fn event_enabled(&self, event: &tracing::Event<'_>, _context: Context<'_, S>) -> bool {
        let place = event.metadata();
        if place.target() == "log" && text_of(event).starts_with(UNREGISTERED) {
            self.0.unregistered.store(true, Ordering::Relaxed);
            return false;
        }
        // Only lines of what tools change have the name of their request: a deletion is told beside many changes.
        place.target() != BY_STRANGERS
            || self
                .0
                .lines()
                .admit(self.0.clock.now().mono, (place.name(), field_of(event, "request")), || text_of(event))
    }
}

/// The words of a line, without its other fields.
fn text_of(event: &tracing::Event<'_>) -> String {
    field_of(event, "message")
}

/// A field of a line; empty if it has none of this name.
fn field_of(event: &tracing::Event<'_>, name: &str) -> String {
    let mut text = String::new();
    event.record(&mut |field: &Field, value: &dyn Debug| {
        if field.name() == name {
            text = format!("{value:?}");
        }
    });
    text
}

fn name_server(arguments: &NameServerArguments) -> Result<Outcome, Failure> {
    let (file, text) = read_config(arguments.config.as_ref())?;
    let config = NamesrvConfig::read(&file, &text)?;
    if arguments.print {
        say(config.print().trim_end());
        return Ok(Outcome::Stopped);
    }
    log_not_needed(&file, &config.not_needed);
    let connections_max = Descriptors::of_process(0, 1 + usize::from(config.has_controller))?.name_server;
    let (ip, port, kept) = (config.bind_ip, config.listen_port, config.kv_config_path.display().to_string());
    let beside = if config.has_controller { Some(ControllerConfig::read(&file, &text)?) } else { None };
    let plane = Plane::start(Some(NameServerPlan { config, port_key: "listenPort", connections_max }))?;
    say(&format!("name server  {}", host_port(ip, port)));
    if let Some(beside) = beside {
        run_controller_beside(beside, connections_max)?;
    }
    say("promises     routes live in memory: brokers register again after a restart");
    say(&format!("keeps        {kept}"));
    Ok(plane.run_name_server())
}

fn controller(arguments: &ControllerArguments) -> Result<Outcome, Failure> {
    let (file, text) = read_config(arguments.config.as_ref())?;
    let config = ControllerConfig::read(&file, &text)?;
    if arguments.print {
        say(config.print().trim_end());
        return Ok(Outcome::Stopped);
    }
    log_not_needed(&file, &config.not_needed);
    let connections_max = Descriptors::of_process(0, 1)?.name_server;
    let lines = controller_lines(&config);
    let process = ControllerProcess::open(config, connections_max)?;
    lines.iter().for_each(|line| say(line));
    Ok(process.run()?)
}

/// Starts the controller of a name server's process, on a thread of its own.
fn run_controller_beside(config: ControllerConfig, connections_max: usize) -> Result<(), Failure> {
    let lines = controller_lines(&config);
    ControllerProcess::open(config, connections_max)?.run_beside()?;
    lines.iter().for_each(|line| say(line));
    Ok(())
}

/// The same of a whole node, if its name server has one.
fn run_controller_of_node(config: &NodeConfig, file: &str, text: &str, connections_max: usize) -> Result<(), Failure> {
    if !config.namesrv.has_controller {
        return Ok(());
    }
    run_controller_beside(ControllerConfig::read_beside(file, text, Some(&config.store_root))?, connections_max)
}

fn controller_lines(config: &ControllerConfig) -> [String; 2] {
    let address = host_port(config.bind_ip, config.port());
    [
        format!("controller   {address:<22} {}", config.this().id()),
        format!("decisions    {}", config.store_path.display()),
    ]
}

fn node(kind: NodeKind, arguments: &NodeArguments) -> Result<Outcome, Failure> {
    let (file, text) = read_config(arguments.config.as_ref())?;
    let mut config = NodeConfig::read(kind, &file, &text, arguments.name_servers.as_deref())?;
    let needs_name_server = config.replication.master_address.is_none();
    if kind == NodeKind::Broker && config.name_servers.is_empty() && needs_name_server {
        let from_environment = std::env::var("NAMESRV_ADDR").ok();
        let Some(addresses) = from_environment else {
            return Err("no name server is known; give -n HOST:9876 or set namesrvAddr, or run `ringmq all`".into());
        };
        config = NodeConfig::read(kind, &file, &text, Some(&addresses))?;
    }
    if arguments.print {
        say(config.print().trim_end());
        return Ok(Outcome::Stopped);
    }
    log_not_needed(&file, &config.not_needed);
    if let Some(sentence) = config.too_long_delay() {
        warn!("{sentence}");
    }
    config.memory_bytes = memory_bytes();
    let ip = advertised_ip(&config)?;
    runtime::check()?;
    runtime::abort_on_panic();
    let now = Clock::start().now().unix;
    let store = Arc::new(Store::open(&config.store_root, config.shards, cpus::shards_default(), now)?);
    config.check_shards(&file, store.shards())?;
    let servers = if kind == NodeKind::All { 1 + usize::from(config.namesrv.has_controller) } else { 0 };
    let descriptors = Descriptors::of_process(store.shards(), servers)?;
    let plan = (kind == NodeKind::All).then(|| NameServerPlan {
        config: config.namesrv.clone(),
        port_key: "namesrvListenPort",
        connections_max: descriptors.name_server,
    });
    let plane = Plane::start(plan)?;
    let identities: Vec<Identity> =
        (0..store.shards()).map(|index| identity(&config, index, store.shards(), ip)).collect();
    // The name server of this process knows nobody yet.
    let replicas =
        if config.role.is_master() { plane.find_replicas(&identities, &config.name_servers) } else { Vec::new() };
    let mut replicas = replicas.into_iter();
    if kind == NodeKind::All {
        let own = if config.bind_ip.is_unspecified() { ip } else { config.bind_ip };
        config.name_servers.insert(0, host_port(own, config.namesrv_listen_port));
        run_controller_of_node(&config, &file, &text, descriptors.name_server)?;
    }
    let (to_control, from_shards) = control_mailbox();
    let mut seats = Vec::new();
    let mut handles: Vec<ShardHandle> = Vec::new();
    for (index, identity) in (0..store.shards()).zip(identities) {
        let (mailbox, receiver) = shard_mailbox();
        if let Some(found) = replicas.next() {
            // An empty mailbox has room for as many replicas as there can be.
            drop(mailbox.try_send(ToShard::ReplicasFound { broker_ids: found.broker_ids }));
            for offsets in found.kept {
                drop(mailbox.try_send(ToShard::TakeOffsets(Box::new(offsets))));
            }
        }
        let settings = shard_settings(&config, index, &store, ip, descriptors);
        seats.push(Seat { identity, mailbox });
        handles.push(shard::start(settings, to_control.clone(), receiver)?);
    }
    drop(to_control);
    for handle in &handles {
        handle.wait_ready()?;
    }
    let pace = Pace {
        period: Duration::from_millis(config.register_period_ms),
        answer_within: Duration::from_millis(config.register_timeout_ms),
    };
    let name_servers = config.name_servers.clone();
    let configuration = Configuration::new(config.clone(), arguments.config.clone());
    let plan = NodePlan { seats, mailbox: from_shards, name_servers, pace, configuration };
    Ok(plane.run_node(plan, |ready| say_ready(kind, &config, &store, ip, ready)))
}

/// Memory of this machine.
fn memory_bytes() -> u64 {
    let machine = rustix::system::sysinfo();
    machine.totalram.saturating_mul(u64::from(machine.mem_unit))
}

/// What clients are told to connect to.
fn advertised_ip(config: &NodeConfig) -> Result<IpAddr, Failure> {
    match config.advertised_ip {
        Some(ip) => Ok(ip),
        None => address::advertised(config.name_servers.first().map(String::as_str))
            .map_err(|error| format!("no address of this machine to tell clients: {error}; set brokerIP1").into()),
    }
}

fn identity(config: &NodeConfig, index: u16, shards: u16, ip: IpAddr) -> Identity {
    Identity {
        shard: ShardId(index),
        cluster: config.cluster.clone(),
        broker_name: config.shard_name(index, shards),
        address: host_port(ip, config.port(index)),
        ha_address: host_port(config.replication_ip.unwrap_or(ip), config.ha_port(index)),
        ha_master: config.ha_master_address(index),
    }
}

fn shard_settings(
    config: &NodeConfig,
    index: u16,
    store: &Arc<Store>,
    ip: IpAddr,
    descriptors: Descriptors,
) -> ShardSettings {
    let address = SocketAddr::new(ip, config.port(index));
    let broker = BrokerSettings::of(config, ShardId(index), store.shards(), address);
    ShardSettings {
        shard: ShardId(index),
        store: Arc::clone(store),
        bind_ip: config.bind_ip,
        port: config.port(index),
        ha_port: config.ha_port(index),
        descriptors,
        tail_folder: config.tail_path.clone(),
        tail_bytes: config.tail_bytes,
        life: Life::first(config),
        broker,
    }
}

/// The start lines: where it listens, what it promises, where data is, how to begin.
fn say_ready(kind: NodeKind, config: &NodeConfig, store: &Store, ip: IpAddr, ready: Ready) {
    let shards = store.shards();
    for index in 0..shards {
        say(&format!("broker       {:<22} {}", host_port(ip, config.port(index)), config.shard_name(index, shards)));
    }
    // Which of them know it by now is in the log.
    let whose = if kind == NodeKind::All { "name server " } else { "name servers" };
    say(&format!("{whose} {}", config.name_servers.join(";")));
    say(&format!("data         {}", store.root().display()));
    say(&format!("room         {}", room(config, ready)));
    say(&format!("promises     {}", promise(config, ready)));
    say(&format!("replication  {}", replication(config)));
    if let Some(first) = config.name_servers.first() {
        say(&format!("try          {} -n {first} send -t hello -b \"first message\"", admin()));
    }
}

/// How to start `ringmq-admin` from here: as it is if it is on the PATH, else the one beside this program, else by building it.
fn admin() -> String {
    const ADMIN: &str = "ringmq-admin";
    let path = std::env::var_os("PATH").unwrap_or_default();
    if std::env::split_paths(&path).any(|folder| folder.join(ADMIN).is_file()) {
        return ADMIN.to_owned();
    }
    let own = std::env::current_exe().unwrap_or_default();
    let beside = own.with_file_name(ADMIN);
    if beside.is_file() {
        let here = std::env::current_dir().unwrap_or_default();
        return beside.strip_prefix(here).unwrap_or(&beside).display().to_string();
    }
    // What cargo has built lies in a folder of its profile.
    match own.parent().and_then(|folder| folder.file_name()?.to_str()) {
        Some("release") => format!("cargo run --release -p ringmq-tools --bin {ADMIN} --"),
        Some("debug") => format!("cargo run -p ringmq-tools --bin {ADMIN} --"),
        _ => ADMIN.to_owned(),
    }
}

/// What a shard takes before anything is sent to it.
fn room(config: &NodeConfig, ready: Ready) -> String {
    let (segment, tail) = (config.segment_bytes >> 20, config.tail_bytes >> 20);
    let tails = if ready.tails_survive_kill { config.tail_path.display().to_string() } else { "memory".to_owned() };
    format!(
        "of each shard: two segments of {segment} MiB on the disk, written in advance, and {tail} MiB in {tails} while it runs"
    )
}

fn promise(config: &NodeConfig, ready: Ready) -> String {
    match (config.flush, ready.tails_survive_kill) {
        (FlushDiskType::Sync, _) => "SYNC_FLUSH: a message that was acknowledged survives power loss".to_owned(),
        (FlushDiskType::Async, true) => {
            "ASYNC_FLUSH: a message that was acknowledged survives kill -9; flushDiskType=SYNC_FLUSH adds power loss"
                .to_owned()
        }
        (FlushDiskType::Async, false) => format!(
            "ASYNC_FLUSH without its fast rung, as tailPath={} is no tmpfs that outlives this process, with room for all shards: acknowledged after the write, survives kill -9",
            config.tail_path.display()
        ),
    }
}

/// What the role adds to the promise, truthfully.
fn replication(config: &NodeConfig) -> String {
    let replicas = config.replication.replica.in_sync_replicas;
    match config.role {
        Role::AsyncMaster => {
            "ASYNC_MASTER: no slave is waited for; if this disk is lost, slaves have all but the last moments, and without a slave all is lost".to_owned()
        }
        Role::SyncMaster if replicas == 1 => {
            "SYNC_MASTER with inSyncReplicas=1: no slave is waited for, as under ASYNC_MASTER; inSyncReplicas=2 waits for one".to_owned()
        }
        Role::SyncMaster => format!(
            "SYNC_MASTER: acknowledged when {replicas} replicas have it, this one among them; without them a send is answered SLAVE_NOT_AVAILABLE or FLUSH_SLAVE_TIMEOUT"
        ),
        Role::Slave => format!(
            "SLAVE {} of {}: copies its master's log, serves its readers, refuses sends",
            config.broker_id, config.broker_name
        ),
    }
}

fn log_not_needed(file: &str, entries: &[NotNeeded]) {
    for entry in entries {
        let NotNeeded { line, key, missing } = entry;
        match missing {
            Some(missing) => warn!("{file} line {line}: {key} has no effect: {missing} are not supported yet"),
            None => warn!("{file} line {line}: {key} is not needed by ringmq"),
        }
    }
}

/// The file's name and text; both of them stand for "no file" if there is none.
#[expect(clippy::disallowed_methods, reason = "main reads the configuration, once")]
fn read_config(path: Option<&PathBuf>) -> Result<(String, String), Failure> {
    let Some(path) = path else { return Ok(("defaults".to_owned(), String::new())) };
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("{} cannot be read: {error}; give -c a properties file", path.display()))?;
    Ok((path.display().to_string(), text))
}

fn host_port(ip: IpAddr, port: u16) -> String {
    SocketAddr::new(ip, port).to_string()
}

/// A start line. Whoever closed stdout does not want it, and the broker runs on.
fn say(line: &str) {
    drop(writeln!(std::io::stdout(), "{line}"));
}
