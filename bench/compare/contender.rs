//! The servers compared: started, paused while another is measured, killed.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use ringmq_bench::lab::probe::{self, ProbeError};
use ringmq_peers::{Apache, Broker, BrokerOptions, Flush, NameServer, PortBlock, Process, Relay, Role};
use rustix::process::{Pid, Signal, kill_process};

use crate::Failure;

/// Who takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// This project's node, one shard
    Ringmq,
    /// Apache RocketMQ 5.3.3
    Apache,
    /// The bare glommio echo
    Echo,
    /// ringmq, a master and a slave, synchronous double write
    RingmqDouble,
    /// ringmq, a master and a slave, asynchronous replication
    RingmqAsync,
    /// ringmq's double write with 2 ms each way between master and slave
    RingmqFar,
    /// The same without the 2 ms: the relay alone
    RingmqRelayed,
    /// Apache's synchronous double write (inSyncReplicas=2)
    ApacheDouble,
    /// Apache's asynchronous replication
    ApacheAsync,
}

/// A master's slave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Replication {
    /// Replies wait for it.
    is_double_write: bool,
    /// It is connected through a relay, and so far away.
    distance: Option<Duration>,
}

/// How far a far slave is, each way.
const DISTANCE: Duration = Duration::from_millis(2);

impl Kind {
    /// In tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ringmq => "ringmq",
            Self::Apache => "Apache 5.3.3",
            Self::Echo => "glommio echo",
            Self::RingmqDouble => "ringmq double write",
            Self::RingmqAsync => "ringmq async",
            Self::RingmqFar => "ringmq double write, 2 ms apart",
            Self::RingmqRelayed => "ringmq double write, relay alone",
            Self::ApacheDouble => "Apache double write",
            Self::ApacheAsync => "Apache async",
        }
    }

    /// A Java broker compiles its hot paths while it runs.
    pub(crate) fn is_apache(self) -> bool {
        matches!(self, Self::Apache | Self::ApacheDouble | Self::ApacheAsync)
    }

    fn replication(self) -> Option<Replication> {
        let (is_double_write, distance) = match self {
            Self::Ringmq | Self::Apache | Self::Echo => return None,
            Self::RingmqDouble | Self::ApacheDouble => (true, None),
            Self::RingmqAsync | Self::ApacheAsync => (false, None),
            Self::RingmqFar => (true, Some(DISTANCE)),
            Self::RingmqRelayed => (true, Some(Duration::ZERO)),
        };
        Some(Replication { is_double_write, distance })
    }

    /// For folders.
    pub(crate) fn slug(self) -> &'static str {
        match self {
            Self::Ringmq => "ringmq",
            Self::Apache => "apache",
            Self::Echo => "echo",
            Self::RingmqDouble => "ringmq-double",
            Self::RingmqAsync => "ringmq-async",
            Self::RingmqFar => "ringmq-far",
            Self::RingmqRelayed => "ringmq-relayed",
            Self::ApacheDouble => "apache-double",
            Self::ApacheAsync => "apache-async",
        }
    }
}

/// How to start the servers.
#[derive(Debug)]
pub(crate) struct Stable {
    /// Binary of ringmq.
    pub(crate) ringmq: PathBuf,
    /// Properties added to ringmq's configuration, one a line.
    pub(crate) ringmq_more: String,
    /// Binary of the echo.
    pub(crate) echo: PathBuf,
    /// Processor of the echo.
    pub(crate) echo_cpu: usize,
    /// Processor of ringmq's slaves: their masters have the first.
    pub(crate) slave_cpu: usize,
}

/// Longest that a server may take until it stores its first message.
const START_TIMEOUT: Duration = Duration::from_secs(120);

/// A server that has stored its first message.
#[derive(Debug)]
pub(crate) struct Contender {
    /// Who it is.
    pub(crate) kind: Kind,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// How it was configured, for the record.
    pub(crate) settings: String,
    /// From the start of its process to its first stored message.
    pub(crate) start: Duration,
    server: Server,
}

#[derive(Debug)]
enum Server {
    Own { process: Process, slave: Option<(Process, SlavePlan)>, _ports: Vec<PortBlock>, _relay: Option<Relay> },
    Apache { broker: Box<Broker>, slave: Option<Box<Broker>>, _name_server: NameServer },
}

/// How a slave of ringmq is started.
#[derive(Debug)]
struct SlavePlan {
    /// Where it listens.
    address: SocketAddr,
    cpu: usize,
    binary: PathBuf,
    config: PathBuf,
}

impl SlavePlan {
    fn start(&self) -> Result<Process, Failure> {
        let mut command = Command::new("taskset");
        command.args(["-c", &self.cpu.to_string()]).arg(&self.binary).args(["broker", "-c"]).arg(&self.config);
        Ok(Process::start("ringmq slave", command, &self.config.with_extension("log"))?)
    }
}

/// A quiet neighbour is stopped for longer than the 20 s after which replication would be given up.
const NO_HOUSEKEEPING: &str = "600000";

impl Contender {
    /// Starts `kind` on `dir`, which may hold what an earlier one left, and waits for its first stored message.
    pub(crate) fn start(stable: &Stable, kind: Kind, flush: Flush, dir: &Path) -> Result<Self, Failure> {
        fs::create_dir_all(dir)?;
        match kind {
            Kind::Apache | Kind::ApacheDouble | Kind::ApacheAsync => Self::start_apache(kind, flush, dir),
            Kind::Echo => Self::start_echo(stable, dir),
            _ => Self::start_ringmq(stable, kind, flush, dir),
        }
    }

    fn start_ringmq(stable: &Stable, kind: Kind, flush: Flush, dir: &Path) -> Result<Self, Failure> {
        let ports = vec![PortBlock::reserve(1), PortBlock::reserve(1), PortBlock::reserve(1)];
        let (listen, name_server) = (ports[0].listen(), ports[1].listen());
        let flush = match flush {
            Flush::Sync => "SYNC_FLUSH",
            Flush::Async => "ASYNC_FLUSH",
        };
        let mut settings = format!(
            "brokerClusterName=DefaultCluster\nbrokerName=broker-a\nbrokerIP1=127.0.0.1\nlistenPort={listen}\n\
             namesrvListenPort={name_server}\nstorePathRootDir={}\nshards=1\nflushDiskType={flush}\n\
             autoCreateTopicEnable=true\n",
            dir.join("store").display()
        );
        if let Some(replication) = kind.replication() {
            let role = if replication.is_double_write { "SYNC_MASTER\ninSyncReplicas=2" } else { "ASYNC_MASTER" };
            writeln!(settings, "brokerRole={role}\nhaHousekeepingInterval={NO_HOUSEKEEPING}")?;
        }
        for line in stable.ringmq_more.lines() {
            writeln!(settings, "{line}")?;
        }
        let config = dir.join("ringmq.properties");
        fs::write(&config, &settings)?;
        let mut command = Command::new(&stable.ringmq);
        command.args(["all", "-c"]).arg(&config);
        let address = SocketAddr::from(([127, 0, 0, 1], listen));
        let begun = Instant::now();
        let mut process = Process::start("ringmq", command, &dir.join("ringmq.log"))?;
        let Some(replication) = kind.replication() else {
            let start = first_message(address, begun, &mut process)?;
            let server = Server::Own { process, slave: None, _ports: ports, _relay: None };
            return Ok(Self { kind, address, settings, start, server });
        };
        let port = SocketAddr::from(([127, 0, 0, 1], listen + 1));
        let relay = replication.distance.map(|distance| Relay::start(port, distance)).transpose()?;
        let slave_listen = ports[2].listen();
        let mut slave_settings = format!(
            "brokerClusterName=DefaultCluster\nbrokerName=broker-a\nbrokerId=1\nbrokerRole=SLAVE\nbrokerIP1=127.0.0.1\n\
             listenPort={slave_listen}\nnamesrvAddr=127.0.0.1:{name_server}\nstorePathRootDir={}\nshards=1\n\
             flushDiskType={flush}\nhaHousekeepingInterval={NO_HOUSEKEEPING}\n",
            dir.join("slave-store").display()
        );
        if let Some(relay) = &relay {
            writeln!(slave_settings, "haMasterAddress={}", relay.address())?;
        }
        for line in stable.ringmq_more.lines() {
            writeln!(slave_settings, "{line}")?;
        }
        let slave_config = dir.join("slave.properties");
        fs::write(&slave_config, &slave_settings)?;
        let plan = SlavePlan {
            address: SocketAddr::from(([127, 0, 0, 1], slave_listen)),
            cpu: stable.slave_cpu,
            binary: stable.ringmq.clone(),
            config: slave_config,
        };
        let mut slave = plan.start()?;
        let start = replicated_message(address, plan.address, begun, &mut [&mut process, &mut slave])?;
        writeln!(settings, "\n# slave, on processor {}\n{slave_settings}", stable.slave_cpu)?;
        let server = Server::Own { process, slave: Some((slave, plan)), _ports: ports, _relay: relay };
        Ok(Self { kind, address, settings, start, server })
    }

    fn start_apache(kind: Kind, flush: Flush, dir: &Path) -> Result<Self, Failure> {
        let apache = Apache::locate()?;
        let name_server = apache.start_name_server()?;
        let mut options =
            BrokerOptions { flush, store_dir: Some(dir.join("store")), ..BrokerOptions::fast(&name_server.address()) };
        if let Some(replication) = kind.replication() {
            options.more.push(("haHousekeepingInterval".to_owned(), NO_HOUSEKEEPING.to_owned()));
            if replication.is_double_write {
                (options.role, options.in_sync_replicas) = (Role::SyncMaster, 2);
            }
        }
        let begun = Instant::now();
        let broker = Box::new(apache.start_broker(&options)?);
        let slave = if kind.replication().is_some() {
            let options = BrokerOptions {
                broker_id: 1,
                role: Role::Slave,
                in_sync_replicas: 1,
                store_dir: Some(dir.join("slave-store")),
                ..options.clone()
            };
            Some(Box::new(apache.start_broker(&options)?))
        } else {
            None
        };
        let address: SocketAddr = broker.address().parse()?;
        let start = loop {
            match probe::store_one(address) {
                Ok(()) => break begun.elapsed(),
                Err(error) if begun.elapsed() > START_TIMEOUT => return Err(error.into()),
                Err(_) => std::thread::sleep(Duration::from_millis(1)),
            }
        };
        let settings = format!("{options:#?}");
        let server = Server::Apache { broker, slave, _name_server: name_server };
        Ok(Self { kind, address, settings, start, server })
    }

    fn start_echo(stable: &Stable, dir: &Path) -> Result<Self, Failure> {
        let ports = vec![PortBlock::reserve(1)];
        let address = SocketAddr::from(([127, 0, 0, 1], ports[0].listen()));
        let mut command = Command::new(&stable.echo);
        command.arg("--listen").arg(address.to_string()).arg("--cpu").arg(stable.echo_cpu.to_string());
        let settings = format!("ringmq-echo --listen {address} --cpu {}", stable.echo_cpu);
        let begun = Instant::now();
        let mut process = Process::start("ringmq-echo", command, &dir.join("echo.log"))?;
        let start = first_message(address, begun, &mut process)?;
        Ok(Self {
            kind: Kind::Echo,
            address,
            settings,
            start,
            server: Server::Own { process, slave: None, _ports: ports, _relay: None },
        })
    }

    /// Keeps it from running, so that it does not disturb the one that is measured.
    pub(crate) fn pause(&self) -> Result<(), Failure> {
        self.signal(Signal::STOP)
    }

    /// Lets it run again, until it stores as it promises.
    pub(crate) fn go_on(&self) -> Result<(), Failure> {
        self.signal(Signal::CONT)?;
        let begun = Instant::now();
        while let Err(error) = probe::store_one(self.address) {
            if begun.elapsed() > START_TIMEOUT {
                return Err(error.into());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    fn signal(&self, signal: Signal) -> Result<(), Failure> {
        let slave = match &self.server {
            Server::Own { slave, .. } => slave.as_ref().map(|(slave, _)| slave.id()),
            Server::Apache { slave, .. } => slave.as_ref().map(|slave| slave.process().id()),
        };
        for id in slave.into_iter().chain([self.process_id()]) {
            let pid = i32::try_from(id).ok().and_then(Pid::from_raw).ok_or("a process id out of range")?;
            kill_process(pid, signal)?;
        }
        Ok(())
    }

    /// Kills it (SIGKILL), as a crash would.
    pub(crate) fn kill(&mut self) {
        match &mut self.server {
            Server::Own { process, .. } => process.kill(),
            Server::Apache { broker, .. } => broker.kill(),
        }
    }

    /// Where its slave listens, if it has one.
    pub(crate) fn slave_address(&self) -> Option<SocketAddr> {
        match &self.server {
            Server::Own { slave, .. } => slave.as_ref().map(|(_, plan)| plan.address),
            Server::Apache { slave, .. } => slave.as_ref().and_then(|slave| slave.address().parse().ok()),
        }
    }

    /// Kills the slave and removes what it has stored. Only of ringmq.
    pub(crate) fn lose_slave(&mut self, dir: &Path) -> Result<(), Failure> {
        let Server::Own { slave: Some((slave, _)), .. } = &mut self.server else {
            return Err("there is no slave to lose".into());
        };
        slave.kill();
        Ok(fs::remove_dir_all(dir.join("slave-store"))?)
    }

    /// Starts the slave again.
    pub(crate) fn start_slave(&mut self) -> Result<(), Failure> {
        let Server::Own { slave: Some((slave, plan)), .. } = &mut self.server else {
            return Err("there is no slave to start".into());
        };
        *slave = plan.start()?;
        Ok(())
    }

    /// Resident memory now, MB.
    pub(crate) fn resident_mb(&self) -> Result<f64, Failure> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process_id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS in /proc")?;
        let kib: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
        Ok((kib / 1024.0 * 10.0).round() / 10.0)
    }

    fn process_id(&self) -> u32 {
        match &self.server {
            Server::Own { process, .. } => process.id(),
            Server::Apache { broker, .. } => broker.process().id(),
        }
    }
}

/// Waits until a message is stored and its slave has all that its master has.
fn replicated_message(
    address: SocketAddr,
    slave: SocketAddr,
    begun: Instant,
    processes: &mut [&mut Process],
) -> Result<Duration, Failure> {
    loop {
        let is_there: Result<bool, ProbeError> =
            probe::store_one(address).and_then(|()| Ok(probe::log_end(slave)? >= probe::log_end(address)?));
        match is_there {
            Ok(true) => return Ok(begun.elapsed()),
            Ok(false) | Err(_) if begun.elapsed() < START_TIMEOUT => {}
            Ok(false) => return Err(format!("the slave at {slave} does not catch up").into()),
            Err(error) => return Err(error.into()),
        }
        for process in &mut *processes {
            if let Some(status) = process.wait_for_end(Duration::ZERO) {
                return Err(format!("a broker ended with {status}; its log ends:\n{}", process.log_tail()).into());
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until the server at `address` stores a message; says what it wrote if it ends before.
fn first_message(address: SocketAddr, begun: Instant, process: &mut Process) -> Result<Duration, Failure> {
    loop {
        let Err(error) = probe::store_one(address) else { return Ok(begun.elapsed()) };
        if begun.elapsed() > START_TIMEOUT {
            return Err(format!("{address} stores nothing: {error}; its log ends:\n{}", process.log_tail()).into());
        }
        if let Some(status) = process.wait_for_end(Duration::ZERO) {
            return Err(format!("the server ended with {status}; its log ends:\n{}", process.log_tail()).into());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}
