//! The servers compared: started, paused while another is measured, killed.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use ringmq_peers::{Apache, Broker, BrokerOptions, Flush, NameServer, PortBlock, Process};
use rustix::process::{Pid, Signal, kill_process};

use crate::Failure;
use crate::probe;

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
}

impl Kind {
    /// In tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ringmq => "ringmq",
            Self::Apache => "Apache 5.3.3",
            Self::Echo => "glommio echo",
        }
    }

    /// For folders.
    pub(crate) fn slug(self) -> &'static str {
        match self {
            Self::Ringmq => "ringmq",
            Self::Apache => "apache",
            Self::Echo => "echo",
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
    Own { process: Process, _ports: Vec<PortBlock> },
    Apache { broker: Box<Broker>, _name_server: NameServer },
}

impl Contender {
    /// Starts `kind` on `dir`, which may hold what an earlier one left, and waits for its first stored message.
    pub(crate) fn start(stable: &Stable, kind: Kind, flush: Flush, dir: &Path) -> Result<Self, Failure> {
        fs::create_dir_all(dir)?;
        match kind {
            Kind::Ringmq => Self::start_ringmq(stable, flush, dir),
            Kind::Apache => Self::start_apache(flush, dir),
            Kind::Echo => Self::start_echo(stable, dir),
        }
    }

    fn start_ringmq(stable: &Stable, flush: Flush, dir: &Path) -> Result<Self, Failure> {
        let ports = vec![PortBlock::reserve(1), PortBlock::reserve(1)];
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
        let start = first_message(address, begun, &mut process)?;
        Ok(Self { kind: Kind::Ringmq, address, settings, start, server: Server::Own { process, _ports: ports } })
    }

    fn start_apache(flush: Flush, dir: &Path) -> Result<Self, Failure> {
        let apache = Apache::locate()?;
        let name_server = apache.start_name_server()?;
        let options =
            BrokerOptions { flush, store_dir: Some(dir.join("store")), ..BrokerOptions::fast(&name_server.address()) };
        let begun = Instant::now();
        let broker = Box::new(apache.start_broker(&options)?);
        let address: SocketAddr = broker.address().parse()?;
        let start = loop {
            match probe::store_one(address) {
                Ok(()) => break begun.elapsed(),
                Err(error) if begun.elapsed() > START_TIMEOUT => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(1)),
            }
        };
        let settings = format!("{options:#?}");
        Ok(Self {
            kind: Kind::Apache,
            address,
            settings,
            start,
            server: Server::Apache { broker, _name_server: name_server },
        })
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
        Ok(Self { kind: Kind::Echo, address, settings, start, server: Server::Own { process, _ports: ports } })
    }

    /// Keeps it from running, so that it does not disturb the one that is measured.
    pub(crate) fn pause(&self) -> Result<(), Failure> {
        self.signal(Signal::STOP)
    }

    /// Lets it run again.
    pub(crate) fn go_on(&self) -> Result<(), Failure> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<(), Failure> {
        let pid = i32::try_from(self.process_id()).ok().and_then(Pid::from_raw).ok_or("a process id out of range")?;
        kill_process(pid, signal)?;
        Ok(())
    }

    /// Kills it (SIGKILL), as a crash would.
    pub(crate) fn kill(&mut self) {
        match &mut self.server {
            Server::Own { process, .. } => process.kill(),
            Server::Apache { broker, .. } => broker.kill(),
        }
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
