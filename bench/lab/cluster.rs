//! Clusters on this machine: started in a folder of their own, paused while another is measured, killed, and gone with this program.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ringmq_peers::{Apache, BrokerOptions, Flush, PortBlock, Relay, Role, remove_tails_below};
use rustix::process::Signal;

use crate::lab::attached;
use crate::lab::node::{NAME_SERVER, Node, Recipe, Running, node_name, one_sentence, store};
use crate::lab::probe::{self, ProbeError, Replicas};
use crate::lab::site::Builds;
use crate::lab::spec::{Replication, Software, Spec};

/// Longest that a cluster may take until all of it is ready.
const START_TIMEOUT: Duration = Duration::from_secs(120);
/// How often is looked whether it is.
const POLL: Duration = Duration::from_millis(5);
/// A paused neighbour is silent for longer than the 20 s after which replication would be given up. The longest that ringmq takes, ms.
const NO_HOUSEKEEPING: &str = "3600000";

/// Where a process may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cpu {
    /// On this processor only.
    Only(usize),
    /// On all that this program may use.
    Any,
}

impl std::str::FromStr for Cpu {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "any" => Ok(Self::Any),
            number => number.parse().map(Self::Only).map_err(|_| "it takes a processor's number, or any".to_owned()),
        }
    }
}

impl std::fmt::Display for Cpu {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Only(cpu) => write!(out, "processor {cpu}"),
            Self::Any => out.write_str("any processor"),
        }
    }
}

impl Cpu {
    fn number(self) -> Option<usize> {
        match self {
            Self::Only(cpu) => Some(cpu),
            Self::Any => None,
        }
    }
}

/// How clusters are brought up.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Binaries of ringmq.
    pub ringmq: Builds,
    /// Binary of the echo.
    pub echo: PathBuf,
    /// Folder on the disk in question; each cluster gets one inside.
    pub store: PathBuf,
    /// Whether stores stay when their cluster ends.
    pub is_kept: bool,
    /// Processor of masters; chosen by software if `None`.
    pub masters_cpu: Option<Cpu>,
    /// Processor of slaves; chosen by software if `None`.
    pub slaves_cpu: Option<Cpu>,
    /// Heap of Apache's brokers, MiB.
    pub heap_mb: u32,
    /// Whether clusters are paused while others are measured.
    pub is_paused_at_times: bool,
    /// Between master and slave, there and back; a relay makes it.
    pub round_trip: Option<Duration>,
}

/// Why a cluster is not up.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what each is")]
pub enum ClusterError {
    /// It does not start.
    #[error("{cluster} does not come up: {reason}")]
    Start {
        cluster: String,
        /// What, and what to do about it.
        reason: String,
    },
    /// It does not come back after a pause.
    #[error("{cluster} does not store after it was paused: {source}")]
    Resume {
        cluster: String,
        /// What the broker says.
        source: ProbeError,
    },
    #[error("{cluster} has no {broker}; it has {known}")]
    NoSuchBroker {
        cluster: String,
        broker: String,
        /// Names that it has.
        known: String,
    },
    #[error("interrupted")]
    Interrupted,
}

/// What the echo is called as a broker.
const ECHO: &str = "echo";

/// Where the echo listens: on the one block of ports that it has.
fn echo_address(ports: &[PortBlock]) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], ports.first().map_or(0, PortBlock::listen)))
}

/// A broker of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// `brokerName`.
    pub broker: String,
    /// `brokerId`, 0 for a master.
    pub id: u64,
    /// Where it listens.
    pub address: SocketAddr,
}

/// A cluster that is up. Its processes end, and its folder goes, when it is dropped.
#[derive(Debug)]
pub struct Cluster {
    /// As asked for.
    pub name: String,
    /// How its processes were started: what matters of it.
    pub how: Vec<String>,
    /// Masters first.
    pub members: Vec<Member>,
    /// An echo has none.
    name_server: Option<SocketAddr>,
    // In this order: processes end before their folder goes and their ports are free.
    nodes: Vec<Node>,
    _relays: Vec<Relay>,
    folder: Folder,
    _ports: Vec<PortBlock>,
}

/// A folder that goes with its value.
#[derive(Debug)]
struct Folder {
    path: PathBuf,
    is_kept: bool,
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.is_kept {
            // What cannot be removed is for the person to remove; the figures are none the worse.
            let _ = fs::remove_dir_all(&self.path);
            remove_tails_below(&self.path);
        }
    }
}

/// A cluster while it is put together.
struct Builder<'a> {
    spec: &'a Spec,
    setup: &'a Setup,
    folder: &'a Path,
    stop: &'a AtomicBool,
    how: Vec<String>,
    nodes: Vec<Node>,
    relays: Vec<Relay>,
    ports: Vec<PortBlock>,
}

impl Cluster {
    /// Starts all of it and waits until each master has stored a message and each slave has it. `stop` ends the wait early.
    ///
    /// # Errors
    /// When something is not there (ringmq's binary, Java, a processor), ends before it is ready, or is not ready in two minutes.
    pub fn start(spec: &Spec, setup: &Setup, stop: &AtomicBool) -> Result<Self, ClusterError> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let failed = |reason: String| ClusterError::Start { cluster: spec.text.clone(), reason };
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = setup.store.join(format!("ringmq-bench-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).map_err(|error| failed(format!("cannot create {}: {error}", path.display())))?;
        let folder = Folder { path, is_kept: setup.is_kept };
        let mut builder = Builder {
            spec,
            setup,
            folder: &folder.path,
            stop,
            how: Vec::new(),
            nodes: Vec::new(),
            relays: Vec::new(),
            ports: Vec::new(),
        };
        let name_server = match &spec.software {
            Software::Ringmq { build } => builder.ringmq(build.as_deref()).map(Some),
            Software::Apache { version } => builder.apache(version).map(Some),
            Software::Echo => builder.echo().map(|()| None),
        }
        .map_err(|reason| if stop.load(Ordering::Relaxed) { ClusterError::Interrupted } else { failed(reason) })?;
        let Builder { how, nodes, relays, ports, .. } = builder;
        let name = spec.text.clone();
        let mut cluster =
            Self { name, how, members: Vec::new(), name_server, nodes, _relays: relays, folder, _ports: ports };
        cluster.wait_for_members(spec, stop)?;
        cluster.wait_until_stored(stop)?;
        Ok(cluster)
    }

    /// Until its name server knows all brokers.
    fn wait_for_members(&mut self, spec: &Spec, stop: &AtomicBool) -> Result<(), ClusterError> {
        let ids: u64 = if spec.mode.replication.is_some() { 2 } else { 1 };
        let is_whole = |found: &[Replicas]| {
            found.len() == usize::from(spec.mode.masters * spec.shards())
                && found.iter().all(|replicas| replicas.addresses.keys().copied().eq(0..ids))
        };
        let Some(name_server) = self.name_server else {
            let address = echo_address(&self._ports);
            self.members.push(Member { broker: ECHO.to_owned(), id: 0, address });
            return Ok(());
        };
        let begun = Instant::now();
        let found = loop {
            match probe::cluster(name_server) {
                Ok(found) if is_whole(&found) => break found,
                _ if begun.elapsed() < START_TIMEOUT => self.wait_a_moment(stop)?,
                Ok(found) => {
                    return Err(self.failed(format!("after {START_TIMEOUT:?} its name server knows {found:?} only")));
                }
                Err(error) => return Err(self.failed(error.to_string())),
            }
        };
        for replicas in found {
            for (id, address) in replicas.addresses {
                let address =
                    address.parse().map_err(|_| self.failed(format!("its name server says {address}, no address")))?;
                self.members.push(Member { broker: replicas.name.clone(), id, address });
            }
        }
        self.members.sort_by(|one, other| (one.id, &one.broker).cmp(&(other.id, &other.broker)));
        Ok(())
    }

    /// Until each master stores, and each slave has what its master has.
    fn wait_until_stored(&mut self, stop: &AtomicBool) -> Result<(), ClusterError> {
        let begun = Instant::now();
        loop {
            match self.is_stored() {
                Ok(true) => return Ok(()),
                _ if begun.elapsed() < START_TIMEOUT => self.wait_a_moment(stop)?,
                Ok(false) => return Err(self.failed("a slave does not catch up with its master".to_owned())),
                Err(error) => return Err(self.failed(error.to_string())),
            }
        }
    }

    fn is_stored(&self) -> Result<bool, ProbeError> {
        let mut ends = BTreeMap::new();
        let has_slaves = self.members.iter().any(|member| member.id != 0);
        for member in &self.members {
            if member.id == 0 {
                probe::store_one(member.address)?;
                if has_slaves {
                    ends.insert(&member.broker, probe::log_end(member.address)?);
                }
            } else if ends
                .get(&member.broker)
                .is_some_and(|end| probe::log_end(member.address).is_ok_and(|own| own < *end))
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn wait_a_moment(&mut self, stop: &AtomicBool) -> Result<(), ClusterError> {
        if stop.load(Ordering::Relaxed) {
            return Err(ClusterError::Interrupted);
        }
        match self.first_end() {
            Some(reason) => Err(self.failed(reason)),
            None => {
                thread::sleep(POLL);
                Ok(())
            }
        }
    }

    /// The first process that has ended by itself, how, and what it said last: `broker-a master ended with signal: 9 (SIGKILL): ...`. Of
    /// ringmq only.
    pub fn first_end(&mut self) -> Option<String> {
        self.nodes.iter_mut().find_map(Node::end)
    }

    fn failed(&self, reason: String) -> ClusterError {
        ClusterError::Start { cluster: self.name.clone(), reason }
    }

    /// Keeps all of it from running, so that it does not disturb the one that is measured.
    pub fn pause(&self) {
        self.nodes.iter().rev().for_each(|node| node.signal(Signal::STOP));
    }

    /// Lets it run again, until it stores as it promises and its slaves have it.
    ///
    /// # Errors
    /// When it does not within two minutes.
    pub fn resume(&mut self, stop: &AtomicBool) -> Result<(), ClusterError> {
        self.nodes.iter().for_each(|node| node.signal(Signal::CONT));
        self.wait_until_stored(stop)
    }

    /// Processes that run: name and id.
    pub fn processes(&self) -> Vec<(String, u32)> {
        let running = |node: &Node| Some((node.name.clone(), node.id()?));
        self.nodes.iter().filter_map(running).collect()
    }

    fn node(&mut self, broker: &str) -> Result<&mut Node, ClusterError> {
        let wanted = match broker.split_once(':') {
            None => format!("{broker} master"),
            Some((broker, role)) => format!("{broker} {role}"),
        };
        if let Some(index) = self.nodes.iter().position(|node| node.name == wanted) {
            return Ok(&mut self.nodes[index]);
        }
        let known = self.nodes.iter().filter(|node| !node.is_name_server()).filter_map(|node| {
            let (broker, role) = node.name.split_once(' ')?;
            Some(if role == "slave" { format!("{broker}:slave") } else { broker.to_owned() })
        });
        let known = known.collect::<Vec<_>>().join(", ");
        Err(ClusterError::NoSuchBroker { cluster: self.name.clone(), broker: broker.to_owned(), known })
    }

    /// The full name of `broker-a` or `broker-a:slave`: `broker-a master`.
    ///
    /// # Errors
    /// When it has none of that name.
    pub fn full_name(&mut self, broker: &str) -> Result<String, ClusterError> {
        self.node(broker).map(|node| node.name.clone())
    }

    /// Kills a broker (SIGKILL), as a crash would.
    ///
    /// # Errors
    /// When it has none of that name.
    pub fn kill(&mut self, broker: &str) -> Result<(), ClusterError> {
        self.node(broker)?.kill();
        Ok(())
    }

    /// Sends a signal to a broker.
    ///
    /// # Errors
    /// When it has none of that name.
    pub fn signal(&mut self, broker: &str, signal: Signal) -> Result<(), ClusterError> {
        self.node(broker)?.signal(signal);
        Ok(())
    }

    /// Starts a killed broker again on what it left; does not wait until it is ready.
    ///
    /// # Errors
    /// When it has none of that name, or its program does not start.
    pub fn restart(&mut self, broker: &str) -> Result<(), ClusterError> {
        let cluster = self.name.clone();
        let node = self.node(broker)?;
        node.start_again().map_err(|reason| ClusterError::Start { cluster, reason })
    }

    /// Removes what a killed broker has stored.
    ///
    /// # Errors
    /// When it has none of that name, or the disk refuses.
    pub fn wipe(&mut self, broker: &str) -> Result<(), ClusterError> {
        let (cluster, folder) = (self.name.clone(), self.folder.path.clone());
        let wiped = self.node(broker)?.wipe(&folder);
        wiped.map_err(|error| ClusterError::Start { cluster, reason: format!("the store of {broker} stays: {error}") })
    }
}

impl Builder<'_> {
    /// Processors of masters and slaves. A JVM is made for all of them, and a node of several shards needs several.
    fn cpus(&self) -> (Cpu, Cpu) {
        let last = thread::available_parallelism().map_or(1, usize::from) - 1;
        let is_one_thread = !self.spec.is_java() && self.spec.shards() == 1;
        let (masters, slaves) = if is_one_thread { (Cpu::Only(0), Cpu::Only(last)) } else { (Cpu::Any, Cpu::Any) };
        (self.setup.masters_cpu.unwrap_or(masters), self.setup.slaves_cpu.unwrap_or(slaves))
    }

    /// What broker `name` with `id` is configured with beside ports, folders and name servers; and whether it is a slave.
    fn properties(&self, name: &str, id: u64) -> Vec<(String, String)> {
        let role = match (id, self.spec.mode.replication) {
            (0, None | Some(Replication::Async)) => "ASYNC_MASTER",
            (0, Some(Replication::Sync)) => "SYNC_MASTER",
            _ => "SLAVE",
        };
        let mut all = vec![
            ("brokerName", name.to_owned()),
            ("brokerId", id.to_string()),
            ("brokerRole", role.to_owned()),
            ("flushDiskType", "ASYNC_FLUSH".to_owned()),
        ];
        if role == "SYNC_MASTER" {
            all.push(("inSyncReplicas", "2".to_owned()));
        }
        if !self.spec.is_java() {
            all.push(("shards", "1".to_owned()));
        }
        if self.setup.is_paused_at_times && self.spec.mode.replication.is_some() {
            all.push(("haHousekeepingInterval", NO_HOUSEKEEPING.to_owned()));
        }
        let mut all: Vec<(String, String)> = all.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        for (key, value) in &self.spec.properties {
            all.retain(|(known, _)| known != key);
            all.push((key.clone(), value.clone()));
        }
        all
    }

    /// `broker-a master: SYNC_MASTER ...`.
    fn note(&mut self, what: &str, properties: &[(String, String)], cpu: Cpu) {
        let settings: Vec<String> = properties.iter().map(|(key, value)| format!("{key}={value}")).collect();
        self.how.push(format!("{what}, on {cpu}: {}", settings.join(" ")));
    }

    /// A relay to the master's replication port, if the slave is to be far away.
    fn relay(&mut self, to: SocketAddr) -> Result<Option<SocketAddr>, String> {
        let Some(round_trip) = self.spec.round_trip.or(self.setup.round_trip) else { return Ok(None) };
        if self.spec.shards() != 1 {
            return Err("a distance between master and slave needs shards=1".to_owned());
        }
        let relay = Relay::start(to, round_trip / 2).map_err(|error| format!("no port for a relay: {error}"))?;
        let address = relay.address();
        self.how.push("a relay between master and slave, which makes the round-trip time".to_owned());
        self.relays.push(relay);
        Ok(Some(address))
    }

    fn reserve(&mut self) -> u16 {
        let block = PortBlock::reserve(self.spec.shards());
        let listen = block.listen();
        self.ports.push(block);
        listen
    }

    fn ringmq(&mut self, build: Option<&str>) -> Result<SocketAddr, String> {
        let program = self.setup.ringmq.find(build).ok_or("its binary is not named")?.to_owned();
        if !program.exists() {
            let shown = program.display();
            return Err(format!("{shown} is not there; cargo build --release builds it, or name it with --ringmq"));
        }
        let (masters, slaves) = self.cpus();
        let name_server = self.reserve();
        let is_all = self.spec.mode.is_single();
        if !is_all {
            let config = self.folder.join("namesrv.properties");
            let kept = self.folder.join("kvConfig.json");
            let text = format!("listenPort={name_server}\nbindAddress=127.0.0.1\nkvConfigPath={}\n", kept.display());
            fs::write(&config, text).map_err(|error| format!("cannot write {}: {error}", config.display()))?;
            self.start(NAME_SERVER, Recipe::Ringmq { program: program.clone(), verb: "namesrv", config, cpu: None })?;
        }
        for master in 0..self.spec.mode.masters {
            let broker = format!("broker-{}", char::from(b'a' + u8::try_from(master).unwrap_or(0)));
            let listen = self.reserve();
            let (verb, more) = if is_all {
                ("all", format!("namesrvListenPort={name_server}\n"))
            } else {
                ("broker", format!("namesrvAddr=127.0.0.1:{name_server}\n"))
            };
            self.ringmq_node(&program, verb, (&broker, 0, masters), listen, &more)?;
            if self.spec.mode.replication.is_some() {
                let ha = SocketAddr::from(([127, 0, 0, 1], listen + 1));
                let relay = self.relay(ha)?.map(|relay| format!("haMasterAddress={relay}\n")).unwrap_or_default();
                let listen = self.reserve();
                self.ringmq_node(&program, verb, (&broker, 1, slaves), listen, &format!("{more}{relay}"))?;
            }
        }
        Ok(SocketAddr::from(([127, 0, 0, 1], name_server)))
    }

    fn ringmq_node(
        &mut self,
        program: &Path,
        verb: &'static str,
        (broker, id, cpu): (&str, u64, Cpu),
        listen: u16,
        more: &str,
    ) -> Result<(), String> {
        let properties = self.properties(broker, id);
        let name = node_name(broker, id);
        self.note(&format!("{name}, ringmq {verb}"), &properties, cpu);
        let lines: String = properties.iter().map(|(key, value)| format!("{key}={value}\n")).collect();
        let store = store(self.folder, &name);
        let text = format!(
            "{lines}brokerClusterName=DefaultCluster\nbrokerIP1=127.0.0.1\nbindAddress=127.0.0.1\nlistenPort={listen}\n\
             storePathRootDir={}\nautoCreateTopicEnable=true\n{more}",
            store.display()
        );
        let config = store.with_extension("properties");
        fs::write(&config, text).map_err(|error| format!("cannot write {}: {error}", config.display()))?;
        self.start(&name, Recipe::Ringmq { program: program.to_owned(), verb, config, cpu: cpu.number() })
    }

    fn start(&mut self, name: &str, recipe: Recipe) -> Result<(), String> {
        if self.stop.load(Ordering::Relaxed) {
            return Err("interrupted".to_owned());
        }
        self.nodes.push(Node::start(name, recipe)?);
        Ok(())
    }

    fn echo(&mut self) -> Result<(), String> {
        let program = self.setup.echo.clone();
        if !program.exists() {
            return Err(format!("{} is not there; cargo build --release -p ringmq-bench builds it", program.display()));
        }
        let cpu = self.setup.masters_cpu.unwrap_or(Cpu::Only(0));
        self.reserve();
        let listen = echo_address(&self.ports);
        self.how.push(format!("ringmq-echo, on {cpu}: stores nothing"));
        let log = self.folder.join("echo.log");
        self.start(&node_name(ECHO, 0), Recipe::Echo { program, listen, cpu: cpu.number(), log })
    }

    fn apache(&mut self, version: &str) -> Result<SocketAddr, String> {
        let located = Apache::locate_version(version).map_err(|error| error.to_string())?;
        let launched = |cpu: Cpu| -> Result<Apache, String> {
            let words = attached::words(cpu.number()).map_err(|error| error.to_string())?;
            Ok(located.clone().launched_by(words))
        };
        let (masters, slaves) = self.cpus();
        let server = launched(Cpu::Any)?.start_name_server().map_err(|error| one_sentence(&error))?;
        let name_server = server.address();
        self.nodes.push(Node::once(NAME_SERVER, Running::NameServer(Box::new(server))));
        for master in 0..self.spec.mode.masters {
            let broker = format!("broker-{}", char::from(b'a' + u8::try_from(master).unwrap_or(0)));
            let listen = self.reserve();
            self.apache_broker(launched(masters)?, (&broker, 0, masters), listen, &name_server, None)?;
            if self.spec.mode.replication.is_some() {
                let relay = self.relay(SocketAddr::from(([127, 0, 0, 1], listen + 1)))?;
                let listen = self.reserve();
                self.apache_broker(launched(slaves)?, (&broker, 1, slaves), listen, &name_server, relay)?;
            }
        }
        name_server.parse().map_err(|_| format!("{name_server} is no address"))
    }

    fn apache_broker(
        &mut self,
        apache: Apache,
        (broker, id, cpu): (&str, u64, Cpu),
        listen: u16,
        name_server: &str,
        relay: Option<SocketAddr>,
    ) -> Result<(), String> {
        let name = node_name(broker, id);
        let mut more = self.properties(broker, id);
        let role = match (id, self.spec.mode.replication) {
            (0, None | Some(Replication::Async)) => Role::AsyncMaster,
            (0, Some(Replication::Sync)) => Role::SyncMaster,
            _ => Role::Slave,
        };
        let mut options = BrokerOptions {
            broker_name: broker.to_owned(),
            broker_id: id,
            role,
            flush: Flush::Async,
            heap_mb: self.setup.heap_mb,
            listen_port: listen,
            store_dir: Some(store(self.folder, &name)),
            ..BrokerOptions::fast(name_server)
        };
        let flags = options.java_flags().join(" ");
        self.note(&format!("{name}, java {flags}"), &more, cpu);
        more.extend(relay.map(|relay| ("haMasterAddress".to_owned(), relay.to_string())));
        options.more = more;
        self.start(&name, Recipe::Apache { apache, options: Box::new(options) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_numbers_or_any() {
        assert_eq!(("3".parse(), "any".parse()), (Ok(Cpu::Only(3)), Ok(Cpu::Any)));
        assert!("all".parse::<Cpu>().is_err_and(|error| error.contains("any")));
    }
}
